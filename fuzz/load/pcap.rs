//! See `groma_load::fuzz::pcap`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| groma_load::fuzz::pcap(data));
