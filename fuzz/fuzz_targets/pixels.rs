//! libFuzzer on the target `pixels` of tests/fuzzing/targets.rs; it holds nothing of its own.
#![no_main]

#[path = "../../tests/fuzzing/seeds.rs"]
#[allow(dead_code)]
mod seeds;
#[path = "../../tests/fuzzing/targets.rs"]
#[allow(dead_code)]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::pixels(bytes));
