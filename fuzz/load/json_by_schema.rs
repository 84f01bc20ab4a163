//! See `groma_load::fuzz::json_by_schema`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| groma_load::fuzz::json_by_schema(data));
