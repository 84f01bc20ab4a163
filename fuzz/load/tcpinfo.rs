//! See `groma_mlab::fuzz::tcpinfo`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| groma_mlab::fuzz::tcpinfo(data));
