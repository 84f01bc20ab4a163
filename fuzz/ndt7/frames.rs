//! See `groma_ndt7::fuzz::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| groma_ndt7::fuzz::frames(data));
