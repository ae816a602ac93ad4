//! Interpolation of a slice to another size with the same outer edges, as MATLAB's `imresize` does it; it knows no place
//! in the patient.
//!
//! The centre of new pixel i lies at (i + 1/2) s - 1/2 of the old ones, s old pixels to a new one. Where s is above 1 the
//! kernel is s times as wide, so that what is shrunk is not aliased (`nearest` excepted). Beyond the edge the image is
//! mirrored about its edge, and the weights of a pixel sum to 1.

use ndarray::{Array2, ArrayView2, Axis, Zip};

/// How values between pixels are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    Nearest,
    /// A triangle, two pixels wide.
    Bilinear,
    /// Keys' cubic, a = -1/2, four pixels wide (IEEE Trans. ASSP 29, 1981, equation 15).
    Bicubic,
    /// sinc(x) sinc(x / 3), six pixels wide.
    Lanczos3,
}

impl Kernel {
    /// The words for configuration, in the order of [`Kernel::of`].
    pub const WORDS: [&'static str; 4] = ["nearest", "bilinear", "bicubic", "lanczos3"];

    /// The kernel that a word of [`Kernel::WORDS`] stands for.
    pub fn of(word: &str) -> Kernel {
        match word {
            "nearest" => Kernel::Nearest,
            "bicubic" => Kernel::Bicubic,
            "lanczos3" => Kernel::Lanczos3,
            _ => Kernel::Bilinear,
        }
    }

    fn reach(self) -> f64 {
        match self {
            Kernel::Nearest => 0.5,
            Kernel::Bilinear => 1.0,
            Kernel::Bicubic => 2.0,
            Kernel::Lanczos3 => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let t = x.abs();
        match self {
            Kernel::Nearest => 1.0,
            Kernel::Bilinear => (1.0 - t).max(0.0),
            Kernel::Bicubic if t <= 1.0 => (1.5 * t - 2.5) * t * t + 1.0,
            Kernel::Bicubic if t <= 2.0 => ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0,
            Kernel::Lanczos3 if t < 1e-9 => 1.0,
            Kernel::Lanczos3 if t < 3.0 => {
                let angle = std::f64::consts::PI * t;
                3.0 * angle.sin() * (angle / 3.0).sin() / (angle * angle)
            }
            Kernel::Bicubic | Kernel::Lanczos3 => 0.0,
        }
    }
}

/// The old pixels and their weights for each new one along an axis.
pub(super) struct Weights(Vec<Vec<(usize, f32)>>);

impl Weights {
    /// From `old` to `new` pixels with the same outer edges.
    pub fn new(old: usize, new: usize, kernel: Kernel) -> Weights {
        let step = old as f64 / new as f64;
        let wide = if kernel == Kernel::Nearest { 1.0 } else { step.max(1.0) };
        Weights((0..new).map(|index| taps((index as f64 + 0.5) * step - 0.5, old, kernel, wide)).collect())
    }
}

fn taps(position: f64, length: usize, kernel: Kernel, wide: f64) -> Vec<(usize, f32)> {
    if kernel == Kernel::Nearest {
        // A hair: positions come out of a division, and halves, which go up, are common.
        let nearest = (position + 0.5 + 1e-9).floor().clamp(0.0, length as f64 - 1.0);
        return vec![(nearest as usize, 1.0)];
    }
    let reach = kernel.reach() * wide;
    let (first, last) = ((position - reach).floor() as i64, (position + reach).ceil() as i64);
    let weights: Vec<f64> = (first..=last).map(|index| kernel.weight((position - index as f64) / wide)).collect();
    let total: f64 = weights.iter().sum();
    let pairs = (first..=last).zip(weights).filter(|(_, weight)| *weight != 0.0);
    pairs.map(|(index, weight)| (mirrored(index, length), (weight / total) as f32)).collect()
}

/// An index mirrored about the outer edges: ... 1 0 | 0 1 ... n-1 | n-1 ...
fn mirrored(index: i64, length: usize) -> usize {
    let at = index.rem_euclid(2 * length as i64) as usize;
    if at < length { at } else { 2 * length - 1 - at }
}

/// A slice in another size.
pub(super) fn resized(plane: ArrayView2<'_, f32>, rows: &Weights, columns: &Weights) -> Array2<f32> {
    let mut tall = Array2::<f32>::zeros((rows.0.len(), plane.ncols()));
    for (mut row, taps) in tall.outer_iter_mut().zip(&rows.0) {
        for (index, weight) in taps {
            Zip::from(&mut row).and(plane.row(*index)).for_each(|sum, value| *sum += weight * value);
        }
    }
    let mut out = Array2::<f32>::zeros((rows.0.len(), columns.0.len()));
    for (from, mut into) in tall.outer_iter().zip(out.outer_iter_mut()) {
        for (value, taps) in into.iter_mut().zip(&columns.0) {
            *value = taps.iter().map(|(index, weight)| weight * from[*index]).sum();
        }
    }
    out
}

/// A slice of a mask in another size, each pixel from the nearest.
pub(super) fn nearest(plane: ArrayView2<'_, bool>, rows: usize, columns: usize) -> Array2<bool> {
    let along = |axis: usize, new: usize| Weights::new(plane.len_of(Axis(axis)), new, Kernel::Nearest).0;
    let (rows, columns) = (along(0, rows), along(1, columns));
    Array2::from_shape_fn((rows.len(), columns.len()), |(row, column)| plane[[rows[row][0].0, columns[column][0].0]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: &[f32], new: usize, kernel: Kernel) -> Vec<f32> {
        let plane = Array2::from_shape_vec((1, values.len()), values.to_vec()).expect("a line");
        let found = resized(plane.view(), &Weights::new(1, 1, kernel), &Weights::new(values.len(), new, kernel));
        found.into_iter().collect()
    }

    fn check(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        let near = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 2e-4);
        assert!(near, "found {found:?}, expected {expected:?}");
    }

    #[test]
    fn shrinking_is_smoothed_as_by_hand() {
        // Two pixels to one: positions 0.5, 2.5, triangle of half width 2: weights 1/8 3/8 3/8 1/8, mirrored at the edge.
        check(&line(&[8.0, 16.0, 24.0, 32.0], 2, Kernel::Bilinear), &[13.0, 27.0]);
        // Keys at 1/4, 3/4, 5/4, 7/4, halved: 0.43359, 0.11328, -0.03516, -0.01172, a half together.
        let e = [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        check(&line(&e, 5, Kernel::Bicubic), &[-0.011_719, 0.113_281, 0.433_594, -0.035_156, 0.0]);
    }

    #[test]
    fn enlarging_equals_matlab_by_hand() {
        // imresize([10 20], [1 4], 'bilinear') is 10 12.5 17.5 20.
        check(&line(&[10.0, 20.0], 4, Kernel::Bilinear), &[10.0, 12.5, 17.5, 20.0]);
        // Nearest of 3 to 5: positions -0.2, 0.4, 1, 1.6, 2.2; halves go up: 2 to 1 at 0.5 takes the second.
        check(&line(&[1.0, 2.0, 3.0], 5, Kernel::Nearest), &[1.0, 1.0, 2.0, 3.0, 3.0]);
        check(&line(&[1.0, 2.0], 1, Kernel::Nearest), &[2.0]);
        check(&line(&[5.0; 7], 11, Kernel::Lanczos3), &[5.0; 11]);
    }

    #[test]
    fn equals_pillow_away_from_the_edges() {
        // Pillow 13, Image.resize of one row in mode F: the same kernels, but without mirror images at the edges.
        let values = [3.0, -7.0, 12.0, 40.0, 8.0, -5.0, 21.0, 33.0, 60.0, -12.0, 4.0, 9.0, 18.0, -30.0, 25.0, 7.0, 1.0];
        check(&line(&values, 7, Kernel::Bilinear)[3..4], &[30.3488]);
        check(&line(&values, 7, Kernel::Bicubic)[3..4], &[31.5198]);
        check(&line(&values, 7, Kernel::Lanczos3)[3..4], &[32.0541]);
        check(&line(&values, 29, Kernel::Bilinear)[10..14], &[12.0345, 23.8966, 30.931, 44.1724]);
        check(&line(&values, 29, Kernel::Bicubic)[10..14], &[11.5515, 24.5375, 30.2176, 48.0744]);
        check(&line(&values, 29, Kernel::Lanczos3)[10..14], &[11.6137, 24.3652, 28.453, 51.6901]);
    }

    #[test]
    fn edges_are_mirrored() {
        assert_eq!((-3..6).map(|index| mirrored(index, 3)).collect::<Vec<_>>(), [2, 1, 0, 0, 1, 2, 2, 1, 0]);
        assert_eq!((mirrored(-7, 1), mirrored(4, 1)), (0, 0));
    }
}
