//! See `groma_load::fuzz::packed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| groma_load::fuzz::packed(data));
