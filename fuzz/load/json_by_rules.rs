//! See `groma_load::fuzz::json_by_rules`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| groma_load::fuzz::json_by_rules(data));
