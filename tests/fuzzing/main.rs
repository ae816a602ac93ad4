//! Mutations of legal bytes against everything that reads bytes of others, for some seconds; minutes on demand
//! (`CONTOURD_FUZZ_S`), and what was ever found again each time. `fuzz/` has the same targets with coverage.

mod seeds;
mod targets;

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;
use targets::TARGETS;

/// Longest input of a mutation; longer ones only repeat.
const INPUT_BYTES_MAX: usize = 64 << 10;

/// No input may take longer, on a machine with other work.
const LONGEST: Duration = Duration::from_secs(10);

/// Seconds for each target.
fn seconds() -> f64 {
    std::env::var("CONTOURD_FUZZ_S").map_or(0.5, |text| text.parse().expect("CONTOURD_FUZZ_S is a number of seconds"))
}

fn rng() -> Rng {
    let seed = std::env::var("CONTOURD_FUZZ_SEED");
    Rng::with_seed(seed.map_or(1, |text| text.parse().expect("CONTOURD_FUZZ_SEED is a whole number")))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzzing/findings")
}

/// Inputs that once went wrong, by target.
fn findings(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder().join(target)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(&path).expect("a finding"))).collect()
}

fn check(name: &str, run: fn(&[u8]), input: &[u8]) {
    let start = Instant::now();
    let ended = catch_unwind(|| run(input));
    let took = start.elapsed();
    if ended.is_ok() && took < LONGEST {
        return;
    }
    let digest = input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let kept = std::env::temp_dir().join(format!("contourd-{name}-{digest:016x}"));
    fs::write(&kept, input).expect("a place for what was found");
    panic!(
        "{name} went wrong after {took:?}; mend it, and keep {} in {}",
        kept.display(),
        folder().join(name).display()
    );
}

#[test]
fn reads_whatever_is_legal_and_whatever_was_found() {
    for (name, run) in TARGETS {
        let seeds = seeds::of(name);
        assert!(seeds.len() >= 3, "{name} begins with {} inputs", seeds.len());
        seeds.iter().for_each(|seed| check(name, run, seed));
        findings(name).iter().for_each(|(_, input)| check(name, run, input));
    }
}

#[test]
fn survives_mutations() {
    let mut rng = rng();
    for (name, run) in TARGETS {
        let mut pool = seeds::of(name);
        pool.extend(findings(name).into_iter().map(|(_, input)| input));
        let (end, mut count) = (Instant::now() + Duration::from_secs_f64(seconds()), 0_u64);
        while Instant::now() < end {
            let input = mutated(&pool, &mut rng);
            check(name, run, &input);
            count += 1;
        }
        println!("{name}: {count} inputs");
        assert!(count > 0, "{name}: no time");
    }
}

/// The inputs to begin with, for libFuzzer: `CONTOURD_FUZZ_CORPUS=fuzz/corpus`.
#[test]
#[ignore = "writes files; run before fuzzing with coverage"]
fn writes_the_corpus() {
    let corpus = std::env::var("CONTOURD_FUZZ_CORPUS").expect("CONTOURD_FUZZ_CORPUS names a folder");
    for (name, _) in TARGETS {
        let folder = Path::new(&corpus).join(name);
        fs::create_dir_all(&folder).expect("a folder");
        for (index, seed) in seeds::of(name).iter().enumerate() {
            fs::write(folder.join(format!("seed-{index:03}")), seed).expect("written");
        }
    }
}

/// One to eight changes to one of the pool.
fn mutated(pool: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = rng.choice(pool).expect("something to begin with").clone();
    for _ in 0..rng.usize(1..=8) {
        mutate(&mut input, pool, rng);
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn mutate(input: &mut Vec<u8>, pool: &[Vec<u8>], rng: &mut Rng) {
    let length = input.len();
    let at = rng.usize(0..=length);
    let end = (at + rng.usize(0..=32)).min(length);
    match rng.u8(0..9) {
        0 if at < length => input[at] ^= 1 << rng.u8(0..8),
        1 if at < length => input[at] = *rng.choice(&[0, 1, 0x7f, 0x80, 0xfe, 0xff, b' ', b'\\']).expect("a byte"),
        2 => input.truncate(at),
        3 => drop(input.drain(at..end)),
        4 => {
            let again = input[at..end].to_vec();
            let to = rng.usize(0..=length);
            input.splice(to..to, again);
        }
        5 => {
            let word = rng.choice(&seeds::WORDS).expect("a word");
            let end = if rng.bool() { (at + word.len()).min(length) } else { at };
            input.splice(at..end, word.iter().copied());
        }
        // A length: two or four bytes in either order.
        6 => {
            let value = *rng.choice(&[0_u32, 1, 2, 7, 0xff, 0x100, 0xffff, 0x1_0000, u32::MAX, 1 << 31]).expect("one");
            let bytes = if rng.bool() { value.to_le_bytes() } else { value.to_be_bytes() };
            let end = (at + rng.usize(1..=4)).min(length);
            let new = bytes[..end - at].to_vec();
            input.splice(at..end, new);
        }
        7 => {
            let other = rng.choice(pool).expect("another");
            let from = rng.usize(0..=other.len());
            let to = (from + rng.usize(0..=64)).min(other.len());
            input.splice(at..at, other[from..to].iter().copied());
        }
        // Deep: the same piece many times.
        _ => {
            let piece = input[at..end].to_vec();
            let times = rng.usize(1..=200).min(INPUT_BYTES_MAX / piece.len().max(1));
            input.splice(at..at, piece.repeat(times));
        }
    }
}
