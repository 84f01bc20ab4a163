//! See `groma_mlab::fuzz::json_by_rules`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| groma_mlab::fuzz::json_by_rules(data));
