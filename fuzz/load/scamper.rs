//! See `groma_mlab::fuzz::scamper`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| groma_mlab::fuzz::scamper(data));
