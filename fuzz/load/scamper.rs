//! See `groma_load::fuzz::scamper`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| groma_load::fuzz::scamper(data));
