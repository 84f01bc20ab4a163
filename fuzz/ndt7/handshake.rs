//! See `groma_ndt7::fuzz::handshake`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| groma_ndt7::fuzz::handshake(data));
