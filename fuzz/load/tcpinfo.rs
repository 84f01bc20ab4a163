//! See `groma_load::fuzz::tcpinfo`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| groma_load::fuzz::tcpinfo(data));
