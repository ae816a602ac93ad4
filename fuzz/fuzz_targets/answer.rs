//! libFuzzer on the target `answer` of tests/fuzzing/targets.rs; it holds nothing of its own.
#![no_main]

#[path = "../../tests/fuzzing/seeds.rs"]
#[allow(dead_code)]
mod seeds;
#[path = "../../tests/fuzzing/targets.rs"]
#[allow(dead_code)]
mod targets;

// A panic that the program itself catches (a codec on a crafted image) is no finding: libFuzzer's hook would end there.
libfuzzer_sys::fuzz_target!(init: std::panic::set_hook(Box::new(|_| ())), |bytes: &[u8]| targets::answer(bytes));
