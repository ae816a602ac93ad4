//! Weighted sums of overlapping windows, of which only the slices that windows still reach are held.

use std::ops::Range;

use half::f16;
use ndarray::{Array4, ArrayView4, ArrayViewMut4, Axis, Slice, parallel::prelude::*};

use super::tiles::Tiles;
use crate::infer::InferError;
use crate::infer::part::part;
use crate::infer::recipe::Blend as Kind;
use crate::limits::{WINDOW_BYTES_MAX, WINDOW_SINGLE_BYTES_MAX, WINDOW_SLICES_AT_ONCE};

/// The least weight of MONAI's importance map.
const MONAI_LEAST: f32 = 1e-3;

/// Weighted sums of the slices that windows still reach, in the order of the array. Where a window covers the whole slice
/// and none overlaps, values pass through untouched.
pub(super) struct Blend {
    direct: Option<(usize, Array4<f32>)>,
    sums: Option<Sums>,
    weight_sums: Array4<f32>,
    weights: [Vec<f32>; 3],
    least: f32,
    shape: [usize; 3],
    /// A later window replaces what was found before: numbers of labels have no mean.
    replaces: bool,
    /// Index of the first slice of the sums.
    start: usize,
    /// Slices below this one were handed on.
    emitted: usize,
    pass_through: bool,
}

/// Weighted sums in single precision; or, where many classes would fill the memory, weighted means so far in half precision:
/// sums with the least weights of a Gaussian would underflow there.
enum Sums {
    Single(Array4<f32>),
    Half(Array4<f16>),
}

/// How what windows gave is kept.
trait Kept: Copy + Default + Send + Sync {
    /// Whether shares of the weight so far are wanted, not weights.
    const MEAN: bool;
    fn with(self, value: f32, weight: f32) -> Self;
}

impl Kept for f32 {
    const MEAN: bool = false;
    fn with(self, value: f32, weight: f32) -> f32 {
        self + weight * value
    }
}

impl Kept for f16 {
    const MEAN: bool = true;
    fn with(self, value: f32, share: f32) -> f16 {
        let before = self.to_f32();
        f16::from_f32((before + share * (value - before)).clamp(f16::MIN.to_f32(), f16::MAX.to_f32()))
    }
}

impl Blend {
    /// `tiles` in the order of the array. `slices_apart`: the network sees each slice of a window for itself.
    pub fn new(kind: Kind, tiles: [&Tiles; 3], slices_apart: bool, replaces: bool) -> Blend {
        let whole_slices = tiles[1].starts.len() == 1 && tiles[2].starts.len() == 1;
        let firsts: Vec<usize> = tiles[0].starts.iter().map(|start| tiles[0].on_array(*start).0.start).collect();
        let apart = |firsts: &[usize]| firsts.windows(2).all(|pair| pair[1] - pair[0] >= tiles[0].patch);
        let last_only = firsts.len() < 2 || apart(&firsts[..firsts.len() - 1]);
        Blend {
            direct: None,
            sums: None,
            weight_sums: Array4::zeros((0, 0, 0, 0)),
            weights: tiles.map(|tile| tile.weights(kind)),
            least: if kind == Kind::Gaussian { MONAI_LEAST } else { 0.0 },
            shape: [tiles[0].patch.min(tiles[0].length), tiles[1].length, tiles[2].length],
            start: 0,
            emitted: 0,
            replaces,
            pass_through: whole_slices
                && (apart(&firsts) || (last_only && slices_apart && kind == Kind::Constant && !tiles[0].reversed)),
        }
    }

    /// Takes the values of one window, `[channel, slice, row, column]`: its part `own` lies at `place` in the image.
    ///
    /// # Errors
    /// [`InferError::Memory`].
    pub fn add(
        &mut self,
        values: ArrayView4<'_, f32>,
        own: &[Range<usize>; 3],
        place: &[Range<usize>; 3],
    ) -> Result<(), InferError> {
        let channels = values.shape()[0];
        let ranges = [0..channels, own[0].clone(), own[1].clone(), own[2].clone()];
        let values = part(values, &ranges);
        if self.pass_through {
            self.direct = Some((place[0].start, values.to_owned()));
            return Ok(());
        }
        let [slices, rows, columns] = self.shape;
        let shape = (channels, slices, rows, columns);
        if self.sums.is_none() {
            let voxels = slices * rows * columns;
            let single = (channels + 1) * voxels * size_of::<f32>();
            let half = channels * voxels * size_of::<f16>() + voxels * size_of::<f32>();
            if half > WINDOW_BYTES_MAX {
                return Err(InferError::Memory { needed_mib: half >> 20, allowed_mib: WINDOW_BYTES_MAX >> 20 });
            }
            self.weight_sums = Array4::zeros((1, slices, rows, columns));
            self.sums = Some(if single > WINDOW_SINGLE_BYTES_MAX {
                Sums::Half(Array4::from_elem(shape, f16::ZERO))
            } else {
                Sums::Single(Array4::zeros(shape))
            });
        }
        let (first, least, replaces) = (place[0].start - self.start, self.least, self.replaces);
        let target = |channels: usize| [0..channels, first..first + own[0].len(), place[1].clone(), place[2].clone()];
        let weight_sums = part(self.weight_sums.view_mut(), &target(1));
        let weights = [0, 1, 2].map(|axis: usize| &self.weights[axis][own[axis].clone()]);
        match &mut self.sums {
            Some(Sums::Single(sums)) => {
                add_to(part(sums.view_mut(), &target(channels)), weight_sums, values, weights, least, replaces);
            }
            Some(Sums::Half(sums)) => {
                add_to(part(sums.view_mut(), &target(channels)), weight_sums, values, weights, least, replaces);
            }
            None => {}
        }
        Ok(())
    }

    /// Hands on every slice below `next`, where the next windows begin.
    pub fn finish(&mut self, next: usize, emit: &mut dyn FnMut(usize, ArrayView4<'_, f32>)) {
        if let Some((start, values)) = self.direct.take() {
            // The last window may begin before the end of the one before it: its first slices are known already.
            let known = self.emitted - start;
            emit(self.emitted, values.slice_axis(Axis(1), Slice::from(known..)));
            self.emitted = start + values.shape()[1];
            return;
        }
        let count = next - self.start;
        if count == 0 {
            return;
        }
        let weights = self.weight_sums.slice_axis(Axis(1), Slice::from(..count));
        match &mut self.sums {
            Some(Sums::Single(sums)) => {
                let mut done = sums.slice_axis_mut(Axis(1), Slice::from(..count));
                done.axis_iter_mut(Axis(0)).into_par_iter().for_each(|mut channel| {
                    channel /= &weights.index_axis(Axis(0), 0);
                });
                emit(self.start, done.view());
                shift(sums, count);
            }
            Some(Sums::Half(sums)) => {
                // A few slices at a time: all of them in single precision would be twice the sums.
                for from in (0..count).step_by(WINDOW_SLICES_AT_ONCE) {
                    let slices = Slice::from(from..(from + WINDOW_SLICES_AT_ONCE).min(count));
                    let done = sums.slice_axis(Axis(1), slices).mapv(f16::to_f32);
                    emit(self.start + from, done.view());
                }
                shift(sums, count);
            }
            None => return,
        }
        shift(&mut self.weight_sums, count);
        self.start = next;
    }
}

/// Adds the weighted values of a window.
fn add_to<T: Kept>(
    mut sums: ArrayViewMut4<'_, T>,
    mut weight_sums: ArrayViewMut4<'_, f32>,
    values: ArrayView4<'_, f32>,
    [wz, wy, wx]: [&[f32]; 3],
    least: f32,
    replaces: bool,
) {
    let planes = sums.axis_iter_mut(Axis(1)).into_par_iter().zip(weight_sums.axis_iter_mut(Axis(1)).into_par_iter());
    planes.zip(values.axis_iter(Axis(1)).into_par_iter()).enumerate().for_each(
        |(k, ((mut sums, mut total), values))| {
            let mut weights = vec![0.0_f32; wx.len()];
            for (j, along_rows) in wy.iter().enumerate() {
                let outer = wz[k] * along_rows;
                weights.iter_mut().zip(wx).for_each(|(weight, along)| *weight = (outer * along).max(least));
                let mut row = total.index_axis_mut(Axis(0), 0);
                for (total, weight) in row.row_mut(j).iter_mut().zip(&mut weights) {
                    if replaces {
                        (*total, *weight) = (1.0, 1.0);
                        continue;
                    }
                    *total += *weight;
                    if T::MEAN {
                        *weight /= *total;
                    }
                }
                for (mut sums, values) in sums.outer_iter_mut().zip(values.outer_iter()) {
                    let mut row = sums.row_mut(j);
                    let pairs = row.iter_mut().zip(values.row(j));
                    pairs.zip(&weights).for_each(|((sum, value), weight)| {
                        let before = if replaces { T::default() } else { *sum };
                        *sum = before.with(*value, *weight);
                    });
                }
            }
        },
    );
}

/// Moves slices from `count` on to the front and clears those behind.
fn shift<T: Kept>(array: &mut Array4<T>, count: usize) {
    let slices = array.shape()[1];
    for slice in count..slices {
        let (mut before, after) = array.view_mut().split_at(Axis(1), slice);
        before.index_axis_mut(Axis(1), slice - count).assign(&after.index_axis(Axis(1), 0));
    }
    array.slice_axis_mut(Axis(1), Slice::from(slices.saturating_sub(count)..)).fill(T::default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::recipe::{PadSide, Tiling, Window};

    /// What comes out of two windows of three slices over four, one voxel wide, with these values.
    fn of_two(slices_apart: bool, replaces: bool, values: [f32; 2]) -> Vec<f32> {
        let window = Window {
            patch: [Some(3), Some(1), Some(1)],
            multiple_of: [1; 3],
            overlap: 0.5,
            tiling: Tiling::Fixed,
            blend: Kind::Constant,
            mirror: [false; 3],
            pad_value: None,
            pad_side: PadSide::End,
        };
        let tiles = [0, 1, 2].map(|axis| Tiles::of(&window, axis, [4, 1, 1][axis], false));
        let mut blend = Blend::new(Kind::Constant, [&tiles[0], &tiles[1], &tiles[2]], slices_apart, replaces);
        let mut found = Vec::new();
        for (start, value) in values.into_iter().enumerate() {
            let window = Array4::from_elem((1, 3, 1, 1), value);
            blend.add(window.view(), &[0..3, 0..1, 0..1], &[start..start + 3, 0..1, 0..1]).expect("it fits");
            blend.finish([1, 4][start], &mut |_, part| found.extend(part.iter().copied()));
        }
        found
    }

    #[test]
    fn overlapping_windows_are_averaged_but_numbers_of_labels_are_not() {
        assert_eq!(of_two(false, false, [1.0, 3.0]), [1.0, 2.0, 2.0, 3.0]);
        assert_eq!(of_two(false, true, [1.0, 3.0]), [1.0, 3.0, 3.0, 3.0]);
        // Slices that the network sees each for itself come twice with one value.
        assert_eq!(of_two(true, false, [1.0, 1.0]), [1.0; 4]);
    }

    #[test]
    fn means_in_half_precision_keep_what_the_least_weights_say() {
        // In the corner of a patch of 128 the Gaussian is 4e-11, below any half-precision number.
        let weight = [(-0.5_f32 * 16.0).exp()];
        let mut means = Array4::from_elem((2, 1, 1, 1), f16::ZERO);
        let mut total = Array4::zeros((1, 1, 1, 1));
        for window in [[-6.0_f32, 5.0], [-4.0, 9.0]] {
            let values = Array4::from_shape_vec((2, 1, 1, 1), window.to_vec()).expect("two values");
            add_to(means.view_mut(), total.view_mut(), values.view(), [&weight; 3].map(|w| w.as_slice()), 0.0, false);
        }
        assert_eq!(means.mapv(f16::to_f32).into_raw_vec_and_offset().0, [-5.0, 7.0]);
    }
}
