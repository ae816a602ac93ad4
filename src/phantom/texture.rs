//! Smooth random fields that make tissue uneven: value noise on a lattice, the same at every run of a seed.

use super::random::Random;
use super::shape::mix;

/// One slice through a random field with values from 0 to 1.
pub(super) struct Texture {
    cell: f32,
    side: usize,
    values: Vec<f32>,
}

/// Half the width of the square that a texture covers; it repeats beyond.
const HALF_WIDTH: f32 = 320.0;

impl Texture {
    /// The slice at height `z` of the field number `stream` of a seed; `cell` is the size of its lumps in mm.
    pub fn slice(seed: u64, stream: u64, cell: f32, z: f32) -> Texture {
        let side = (2.0 * HALF_WIDTH / cell) as usize + 2;
        let level = (z / cell).floor();
        let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
        let share = smooth(z / cell - level);
        let layer = |level: f32| {
            let mut random =
                Random::of(seed, stream.wrapping_mul(0x1_0000).wrapping_add((level as i64 + 0x4000) as u64));
            (0..side * side).map(move |_| random.between(0.0, 1.0) as f32)
        };
        let values = layer(level).zip(layer(level + 1.0)).map(|(low, high)| mix(low, high, share)).collect();
        Texture { cell, side, values }
    }

    pub fn at(&self, x: f32, y: f32) -> f32 {
        let place = |v: f32| ((v + HALF_WIDTH) / self.cell).clamp(0.0, (self.side - 2) as f32);
        let (u, v) = (place(x), place(y));
        let (i, j) = ((u as usize).min(self.side - 2), (v as usize).min(self.side - 2));
        let (s, t) = (u - i as f32, v - j as f32);
        let row = |j: usize| mix(self.values[j * self.side + i], self.values[j * self.side + i + 1], s);
        mix(row(j), row(j + 1), t)
    }
}
