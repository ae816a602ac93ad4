//! A small seeded generator, kept here so that a seed means the same phantom whatever version a library has.

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): every seed is good, and streams are split by hashing.
#[derive(Clone)]
pub(super) struct Random(u64);

impl Random {
    /// The stream number `stream` of a seed.
    pub fn of(seed: u64, stream: u64) -> Random {
        let mut random = Random(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        random.bits();
        Random(random.bits())
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform between two bounds.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        let unit = (self.bits() >> 11) as f64 / (1_u64 << 53) as f64;
        low + (high - low) * unit
    }

    /// True with a probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.between(0.0, 1.0) < probability
    }

    /// Mean 0, standard deviation 1: the sum of four 16-bit uniforms, which is close enough to normal for noise.
    pub fn normal(&mut self) -> f32 {
        let bits = self.bits();
        let sum: u32 = (0..4).map(|k| (bits >> (16 * k)) as u32 & 0xffff).sum();
        // The variance of one uniform is 1/12 of its width squared, of four 1/3.
        (sum as f32 - 131_070.0) * (3.0_f32.sqrt() / 65_536.0)
    }
}
