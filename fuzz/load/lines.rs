//! See `groma_load::fuzz::lines`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| groma_load::fuzz::lines(data));
