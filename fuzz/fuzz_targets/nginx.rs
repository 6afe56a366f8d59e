#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hanok::testing::fuzz::nginx(bytes));
