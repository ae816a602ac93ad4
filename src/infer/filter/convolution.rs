//! Convolution with kernels that are products of one line for each axis; it knows no particular kernel.

use ndarray::{Array3, ArrayView3};

use crate::infer::grid::kernel::Along;
use crate::infer::grid::lines::along_axis;

/// What lies beyond the ends of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// Zeros.
    Zero,
    /// The outermost voxel for ever.
    Edge,
    /// The image mirrored at its outer edges, `c b a | a b c`.
    Mirror,
    /// The image again.
    Periodic,
}

impl Boundary {
    /// The words for configuration.
    pub const WORDS: [&'static str; 4] = ["zero", "edge", "mirror", "periodic"];

    /// The boundary that a word of [`Boundary::WORDS`] stands for.
    pub fn of(word: &str) -> Boundary {
        match word {
            "edge" => Boundary::Edge,
            "mirror" => Boundary::Mirror,
            "periodic" => Boundary::Periodic,
            _ => Boundary::Zero,
        }
    }

    /// The voxel at an index that may lie outside.
    pub fn place(self, index: i64, length: usize) -> Option<usize> {
        let last = length as i64 - 1;
        if (0..=last).contains(&index) {
            return Some(index as usize);
        }
        let place = match self {
            Boundary::Zero => return None,
            Boundary::Edge => index.clamp(0, last),
            Boundary::Mirror => {
                let within = index.rem_euclid(2 * (last + 1));
                within.min(2 * last + 1 - within)
            }
            Boundary::Periodic => index.rem_euclid(last + 1),
        };
        Some(place as usize)
    }
}

/// One line of a kernel: `out[o]` is the sum of `weights[k] in[o + centre - k]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub weights: Vec<f64>,
    pub centre: usize,
    /// The line is meant for an axis that runs the other way.
    pub reversed: bool,
}

impl Line {
    /// A line about its middle; the earlier of two middles, as `same` of SciPy and MATLAB has it.
    pub fn centred(weights: Vec<f64>) -> Line {
        let centre = weights.len().saturating_sub(1) / 2;
        Line { weights, centre, reversed: false }
    }

    /// The same line, turned round where `reversed` is set.
    pub fn turned(mut self, reversed: bool) -> Line {
        self.reversed ^= reversed;
        self
    }

    fn along(&self, length: usize, boundary: Boundary) -> Along {
        let taps = |index: usize| {
            let terms =
                self.weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0).filter_map(|(k, weight)| {
                    let from = index as i64 + self.centre as i64 - k as i64;
                    boundary.place(from, length).map(|from| (from, *weight))
                });
            terms.collect::<Vec<(usize, f64)>>()
        };
        let turned = |index: usize| {
            let mut taps = taps(length - 1 - index);
            taps.iter_mut().for_each(|(from, _)| *from = length - 1 - *from);
            taps
        };
        let points = (0..length).map(|index| if self.reversed { turned(index) } else { taps(index) });
        Along::weighted(length, points.collect())
    }
}

/// Convolves along the axes that have a line, one after the other.
pub fn separable(pixels: ArrayView3<'_, f32>, lines: &[Option<Line>; 3], boundary: Boundary) -> Array3<f32> {
    let mut current: Option<Array3<f32>> = None;
    for (axis, line) in lines.iter().enumerate() {
        if let Some(line) = line {
            let source = current.as_ref().map_or(pixels, |values| values.view());
            current = Some(along_axis(source, axis, &line.along(source.shape()[axis], boundary), 0.0));
        }
    }
    current.unwrap_or_else(|| pixels.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_boundary_goes_on_in_its_own_way() {
        let at = |boundary: Boundary| (-4..7).map(|index| boundary.place(index, 3)).collect::<Vec<_>>();
        let some = |list: [usize; 11]| list.map(Some).to_vec();
        assert_eq!(at(Boundary::Edge), some([0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2]));
        assert_eq!(at(Boundary::Mirror), some([2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0]));
        assert_eq!(at(Boundary::Periodic), some([2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0]));
        assert_eq!(at(Boundary::Zero)[3..8], [None, Some(0), Some(1), Some(2), None]);
    }

    #[test]
    fn a_turned_line_is_the_line_of_the_turned_image() {
        let pixels = Array3::from_shape_fn((1, 1, 5), |(_, _, i)| (i * i) as f32);
        let line = Line { weights: vec![1.0, 2.0, -1.0, 0.5], centre: 2, reversed: false };
        let lines = |line: Line| [None, None, Some(line)];
        let straight = separable(pixels.view(), &lines(line.clone()), Boundary::Mirror);
        let mut turned = pixels.clone();
        turned.invert_axis(ndarray::Axis(2));
        let mut back = separable(turned.view(), &lines(line.turned(true)), Boundary::Mirror);
        back.invert_axis(ndarray::Axis(2));
        assert_eq!(straight, back);
        // out[1] = in[3] + 2 in[2] - in[1] + 0.5 in[0].
        assert_eq!(straight[[0, 0, 1]], 9.0 + 8.0 - 1.0);
    }
}
