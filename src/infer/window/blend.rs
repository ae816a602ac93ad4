//! Weighted sums of overlapping windows, of which only the slices that windows still reach are held.

use std::ops::Range;

use half::f16;
use ndarray::{Array3, Array4, ArrayView4, ArrayViewMut4, Axis, Slice, Zip, parallel::prelude::*};

use super::tiles::Tiles;
use crate::infer::InferError;
use crate::infer::part::part;
use crate::infer::recipe::{Blend as Kind, Window};
use crate::limits::{WINDOW_BYTES_MAX, WINDOW_SINGLE_BYTES_MAX, WINDOW_SLICES_AT_ONCE};

/// The least weight of MONAI's importance map.
const MONAI_LEAST: f32 = 1e-3;

/// The greatest weight of nnU-Net's map, which keeps small ones from vanishing in half precision.
const NNUNET_GREATEST: f64 = 10.0;

/// Weighted sums of the slices that windows still reach, in the order of the array. Where a window covers the whole slice
/// and none overlaps, values pass through untouched.
pub(super) struct Blend {
    direct: Option<(usize, Array4<f32>)>,
    sums: Option<Sums>,
    weight_sums: Array4<f32>,
    weights: Weights,
    shape: [usize; 3],
    /// In half precision: how many ensembles are blended each by itself; their means are one mean in the end.
    groups: usize,
    half: bool,
    /// A later window replaces what was found before: numbers of labels have no mean.
    replaces: bool,
    /// Index of the first slice of the sums.
    start: usize,
    /// Slices below this one were handed on.
    emitted: usize,
    pass_through: bool,
}

/// Weighted sums in single precision; or, where many classes would fill the memory, weighted means so far in half precision:
/// sums with the least weights of a Gaussian would underflow there. Or sums in half precision, as nnU-Net has them.
enum Sums {
    Single(Array4<f32>),
    Means(Array4<f16>),
    Half(Array4<Added>),
}

/// A sum that is rounded to half precision at each step.
#[derive(Clone, Copy, Default)]
struct Added(f16);

/// The weights of a window, along the axes of the array.
enum Weights {
    /// Products of three, and the least of them.
    Apart { sides: [Vec<f32>; 3], least: f32 },
    /// Of each voxel, as half precision holds them.
    Each(Array3<f32>),
}

impl Weights {
    fn of(window: &Window, tiles: [&Tiles; 3]) -> Weights {
        let kind = window.blend;
        let sides = tiles.map(|tile| tile.weights(kind));
        let least = if kind == Kind::Gaussian { MONAI_LEAST } else { 0.0 };
        if !window.half {
            return Weights::Apart {
                sides: sides.map(|side| side.iter().map(|weight| *weight as f32).collect()),
                least,
            };
        }
        let greatest = if kind == Kind::GaussianNnunet { NNUNET_GREATEST } else { 1.0 };
        let [z, y, x] = sides;
        let weight = |(k, j, i): (usize, usize, usize)| {
            f16::from_f64(z[k] * y[j] * x[i] * greatest).to_f32().max(f16::from_f32(least).to_f32())
        };
        let mut each = Array3::from_shape_fn((z.len(), y.len(), x.len()), weight);
        let lowest = each.iter().copied().filter(|weight| *weight > 0.0).fold(f32::INFINITY, f32::min);
        each.mapv_inplace(|weight| if weight > 0.0 { weight } else { lowest });
        Weights::Each(each)
    }

    /// The weights of one row of a window, from column `first` on.
    fn row(&self, slice: usize, row: usize, first: usize, out: &mut [f32]) {
        match self {
            Weights::Apart { sides: [z, y, x], least } => {
                let outer = z[slice] * y[row];
                out.iter_mut().zip(&x[first..]).for_each(|(weight, along)| *weight = (outer * along).max(*least));
            }
            Weights::Each(each) => {
                let lane = each.index_axis(Axis(0), slice);
                out.iter_mut().zip(lane.row(row).iter().skip(first)).for_each(|(weight, own)| *weight = *own);
            }
        }
    }
}

/// How what windows gave is kept.
trait Kept: Copy + Default + Send + Sync {
    /// Whether shares of the weight so far are wanted, not weights.
    const MEAN: bool;
    fn with(self, value: f32, weight: f32) -> Self;
    /// A sum of weights as it is kept.
    fn total(sum: f32) -> f32 {
        sum
    }
}

impl Kept for Added {
    const MEAN: bool = false;
    fn with(self, value: f32, weight: f32) -> Added {
        Added(f16::from_f32(self.0.to_f32() + weight * value))
    }
    fn total(sum: f32) -> f32 {
        rounded(sum)
    }
}

/// As half precision holds it.
fn rounded(value: f32) -> f32 {
    f16::from_f32(value).to_f32()
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
    pub fn new(window: &Window, tiles: [&Tiles; 3], slices_apart: bool, replaces: bool, groups: usize) -> Blend {
        let kind = window.blend;
        let whole_slices = tiles[1].starts.len() == 1 && tiles[2].starts.len() == 1;
        let firsts: Vec<usize> = tiles[0].starts.iter().map(|start| tiles[0].on_array(*start).0.start).collect();
        let apart = |firsts: &[usize]| firsts.windows(2).all(|pair| pair[1] - pair[0] >= tiles[0].patch);
        let last_only = firsts.len() < 2 || apart(&firsts[..firsts.len() - 1]);
        Blend {
            direct: None,
            sums: None,
            weight_sums: Array4::zeros((0, 0, 0, 0)),
            weights: Weights::of(window, tiles),
            groups,
            half: window.half,
            shape: [tiles[0].patch.min(tiles[0].length), tiles[1].length, tiles[2].length],
            start: 0,
            emitted: 0,
            replaces,
            // In half precision a value is not what it was after a weight was multiplied and divided.
            pass_through: !window.half
                && whole_slices
                && (apart(&firsts) || (last_only && slices_apart && kind == Kind::Constant && !tiles[0].reversed)),
        }
    }

    /// Takes the values of one group for one window, `[channel, slice, row, column]`: its part `own` lies at `place` in the
    /// image. Groups come in ascending order.
    ///
    /// # Errors
    /// [`InferError::Memory`].
    pub fn add(
        &mut self,
        group: usize,
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
            let half = self.groups * channels * voxels * size_of::<f16>() + voxels * size_of::<f32>();
            if half > WINDOW_BYTES_MAX {
                return Err(InferError::Memory { needed_mib: half >> 20, allowed_mib: WINDOW_BYTES_MAX >> 20 });
            }
            self.weight_sums = Array4::zeros((1, slices, rows, columns));
            self.sums = Some(if self.half {
                Sums::Half(Array4::from_elem((self.groups * channels, slices, rows, columns), Added::default()))
            } else if single > WINDOW_SINGLE_BYTES_MAX {
                Sums::Means(Array4::from_elem(shape, f16::ZERO))
            } else {
                Sums::Single(Array4::zeros(shape))
            });
        }
        let first = place[0].start - self.start;
        let target =
            |channels: Range<usize>| [channels, first..first + own[0].len(), place[1].clone(), place[2].clone()];
        let weight_sums = part(self.weight_sums.view_mut(), &target(0..1));
        let starts = [own[0].start, own[1].start, own[2].start];
        let how = How { weights: &self.weights, starts, replaces: self.replaces, counts: group == 0 };
        let own = target(group * channels..(group + 1) * channels);
        match &mut self.sums {
            Some(Sums::Single(sums)) => add_to(part(sums.view_mut(), &own), weight_sums, values, how),
            Some(Sums::Means(sums)) => add_to(part(sums.view_mut(), &own), weight_sums, values, how),
            Some(Sums::Half(sums)) => add_to(part(sums.view_mut(), &own), weight_sums, values, how),
            None => {}
        }
        Ok(())
    }

    /// Hands on every slice below `next`, where the next windows begin.
    ///
    /// # Errors
    /// [`InferError::Operation`] where sums are above what half precision holds.
    pub fn finish(&mut self, next: usize, emit: &mut dyn FnMut(usize, ArrayView4<'_, f32>)) -> Result<(), InferError> {
        if let Some((start, values)) = self.direct.take() {
            // The last window may begin before the end of the one before it: its first slices are known already.
            let known = self.emitted - start;
            emit(self.emitted, values.slice_axis(Axis(1), Slice::from(known..)));
            self.emitted = start + values.shape()[1];
            return Ok(());
        }
        let count = next - self.start;
        if count == 0 {
            return Ok(());
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
            Some(Sums::Means(sums)) => {
                for (from, slices) in a_few(count) {
                    let done = sums.slice_axis(Axis(1), slices).mapv(f16::to_f32);
                    emit(self.start + from, done.view());
                }
                shift(sums, count);
            }
            Some(Sums::Half(sums)) => {
                for (from, slices) in a_few(count) {
                    let part = sums.slice_axis(Axis(1), slices);
                    let done = quotients(part, weights.slice_axis(Axis(1), slices), self.groups);
                    if !done.iter().all(|value| value.is_finite()) {
                        return Err(beyond_half());
                    }
                    emit(self.start + from, done.view());
                }
                shift(sums, count);
            }
            None => return Ok(()),
        }
        shift(&mut self.weight_sums, count);
        self.start = next;
        Ok(())
    }
}

/// Ranges of a few slices: all of them in single precision would be twice the sums.
fn a_few(count: usize) -> impl Iterator<Item = (usize, Slice)> {
    let ranges = (0..count).step_by(WINDOW_SLICES_AT_ONCE);
    ranges.map(move |from| (from, Slice::from(from..(from + WINDOW_SLICES_AT_ONCE).min(count))))
}

/// Means in half precision: each group's sums by the weights, then, of several groups, the mean of these.
fn quotients(sums: ArrayView4<'_, Added>, weights: ArrayView4<'_, f32>, groups: usize) -> Array4<f32> {
    let (channels, slices, rows, columns) = sums.dim();
    let channels = channels / groups;
    let mut means = Array4::zeros((channels, slices, rows, columns));
    let weights = weights.index_axis(Axis(0), 0);
    means.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(channel, mut mean)| {
        for group in 0..groups {
            let sums = sums.index_axis(Axis(0), group * channels + channel);
            Zip::from(&mut mean).and(&sums).and(&weights).for_each(|mean, sum, weight| {
                let own = rounded(sum.0.to_f32() / weight);
                *mean = if group == 0 { own } else { rounded(*mean + own) };
            });
        }
        if groups > 1 {
            mean.mapv_inplace(|sum| rounded(sum / groups as f32));
        }
    });
    means
}

fn beyond_half() -> InferError {
    let reason = "found sums of overlapping windows above 65504, expected what half precision holds, as nnU-Net does; \
                  set \"precision\" of the window to \"single\""
        .to_owned();
    InferError::Operation { name: "window", reason }
}

/// How values of a window are added.
#[derive(Clone, Copy)]
struct How<'a> {
    weights: &'a Weights,
    /// First slice, row and column of the window that lie on the image.
    starts: [usize; 3],
    replaces: bool,
    /// Whether its weights count: they do once, for the first group.
    counts: bool,
}

/// Adds the weighted values of a window.
fn add_to<T: Kept>(
    mut sums: ArrayViewMut4<'_, T>,
    mut weight_sums: ArrayViewMut4<'_, f32>,
    values: ArrayView4<'_, f32>,
    How { weights: own, starts: [first_slice, first_row, first_column], replaces, counts }: How<'_>,
) {
    let (_, _, rows, columns) = values.dim();
    let planes = sums.axis_iter_mut(Axis(1)).into_par_iter().zip(weight_sums.axis_iter_mut(Axis(1)).into_par_iter());
    planes.zip(values.axis_iter(Axis(1)).into_par_iter()).enumerate().for_each(
        |(k, ((mut sums, mut total), values))| {
            let mut weights = vec![0.0_f32; columns];
            for j in 0..rows {
                own.row(first_slice + k, first_row + j, first_column, &mut weights);
                let mut row = total.index_axis_mut(Axis(0), 0);
                for (total, weight) in row.row_mut(j).iter_mut().zip(&mut weights) {
                    if replaces {
                        (*total, *weight) = (1.0, 1.0);
                        continue;
                    }
                    if counts {
                        *total = T::total(*total + *weight);
                    }
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
            half: false,
        };
        let tiles = [0, 1, 2].map(|axis| Tiles::of(&window, axis, [4, 1, 1][axis], false));
        let mut blend = Blend::new(&window, [&tiles[0], &tiles[1], &tiles[2]], slices_apart, replaces, 1);
        let mut found = Vec::new();
        for (start, value) in values.into_iter().enumerate() {
            let window = Array4::from_elem((1, 3, 1, 1), value);
            blend.add(0, window.view(), &[0..3, 0..1, 0..1], &[start..start + 3, 0..1, 0..1]).expect("it fits");
            blend.finish([1, 4][start], &mut |_, part| found.extend(part.iter().copied())).expect("within half");
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
        let sides = [(); 3].map(|()| vec![(-0.5_f32 * 16.0).exp()]);
        let weights = Weights::Apart { sides, least: 0.0 };
        let how = How { weights: &weights, starts: [0; 3], replaces: false, counts: true };
        let mut means = Array4::from_elem((2, 1, 1, 1), f16::ZERO);
        let mut total = Array4::zeros((1, 1, 1, 1));
        for window in [[-6.0_f32, 5.0], [-4.0, 9.0]] {
            let values = Array4::from_shape_vec((2, 1, 1, 1), window.to_vec()).expect("two values");
            add_to(means.view_mut(), total.view_mut(), values.view(), how);
        }
        assert_eq!(means.mapv(f16::to_f32).into_raw_vec_and_offset().0, [-5.0, 7.0]);
    }
    #[test]
    fn half_precision_rounds_every_step_as_nnunet_does() {
        let window = Window {
            patch: [Some(4), Some(1), Some(1)],
            multiple_of: [1; 3],
            overlap: 0.5,
            tiling: Tiling::Spread,
            blend: Kind::GaussianNnunet,
            mirror: [false; 3],
            pad_value: None,
            pad_side: PadSide::Both,
            half: true,
        };
        let tiles = [0, 1, 2].map(|axis| Tiles::of(&window, axis, [6, 1, 1][axis], false));
        // torch: half sums, weights 10 exp(-0.5 (d / 0.5)^2) of d = 2, 1, 0, 1 as half numbers.
        let weights = [0.003_355_026_2_f32, 1.353_515_6, 10.0, 1.353_515_6];
        let Weights::Each(each) = Weights::of(&window, [&tiles[0], &tiles[1], &tiles[2]]) else { panic!("not apart") };
        assert_eq!(each.iter().copied().collect::<Vec<_>>(), weights);
        let half = |value: f32| f16::from_f32(value).to_f32();
        let mut blend = Blend::new(&window, [&tiles[0], &tiles[1], &tiles[2]], false, false, 2);
        let mut found = Vec::new();
        for (start, next) in [(0, 2), (2, 6)] {
            for group in 0..2 {
                let values = Array4::from_elem((1, 4, 1, 1), [[1.1_f32, 3.3], [0.7, -2.9]][start / 2][group]);
                blend.add(group, values.view(), &[0..4, 0..1, 0..1], &[start..start + 4, 0..1, 0..1]).expect("it fits");
            }
            blend.finish(next, &mut |_, part| found.extend(part.iter().copied())).expect("within half");
        }
        let mean = |of: [f32; 2]| half(half(of[0] + of[1]) / 2.0);
        let alone = |weight: f32, value: f32| half(half(weight * value) / weight);
        let both = |first: f32, second: f32, values: [f32; 2]| {
            half(half(half(first * values[0]) + second * values[1]) / half(first + second))
        };
        let [w0, w1, w2, w3] = weights;
        let expected = [
            mean([alone(w0, 1.1), alone(w0, 3.3)]),
            mean([alone(w1, 1.1), alone(w1, 3.3)]),
            mean([both(w2, w0, [1.1, 0.7]), both(w2, w0, [3.3, -2.9])]),
            mean([both(w3, w1, [1.1, 0.7]), both(w3, w1, [3.3, -2.9])]),
            mean([alone(w2, 0.7), alone(w2, -2.9)]),
            mean([alone(w3, 0.7), alone(w3, -2.9)]),
        ];
        assert_eq!(found, expected);
        // One network: its quotients are the numbers that go on.
        let mut alone_blend = Blend::new(&window, [&tiles[0], &tiles[1], &tiles[2]], false, false, 1);
        let values = Array4::from_elem((1, 4, 1, 1), 1.1_f32);
        alone_blend.add(0, values.view(), &[0..4, 0..1, 0..1], &[0..4, 0..1, 0..1]).expect("it fits");
        let mut found = Vec::new();
        alone_blend.finish(4, &mut |_, part| found.extend(part.iter().copied())).expect("within half");
        assert_eq!(found, [w0, w1, w2, w3].map(|weight| alone(weight, 1.1)));
        let values = Array4::from_elem((1, 4, 1, 1), 1e6_f32);
        blend.add(0, values.view(), &[0..4, 0..1, 0..1], &[6..10, 0..1, 0..1]).expect("it fits");
        let told = blend.finish(10, &mut |_, _| {}).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told.contains("above 65504"), "{told}");
    }
}
