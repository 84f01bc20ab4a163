//! See `groma_ndt7::fuzz::measurement`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| groma_ndt7::fuzz::measurement(data));
