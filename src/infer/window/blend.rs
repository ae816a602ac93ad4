//! Weighted sums of overlapping windows, of which only the slices that windows still reach are held.

use std::ops::Range;

use ndarray::{Array4, ArrayView4, Axis, Slice, parallel::prelude::*};

use super::tiles::Tiles;
use crate::infer::InferError;
use crate::infer::part::part;
use crate::infer::recipe::Blend as Kind;
use crate::limits::WINDOW_BYTES_MAX;

/// The least weight of MONAI's importance map.
const MONAI_LEAST: f32 = 1e-3;

/// Weighted sums of the slices that windows still reach, in the order of the array. Where a window covers the whole slice
/// and none overlaps, values pass through untouched.
pub(super) struct Blend {
    direct: Option<(usize, Array4<f32>)>,
    sums: Option<Array4<f32>>,
    weight_sums: Array4<f32>,
    weights: [Vec<f32>; 3],
    least: f32,
    shape: [usize; 3],
    /// Index of the first slice of the sums.
    start: usize,
    /// Slices below this one were handed on.
    emitted: usize,
    pass_through: bool,
}

impl Blend {
    /// `tiles` in the order of the array.
    pub fn new(kind: Kind, tiles: [&Tiles; 3]) -> Blend {
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
            pass_through: whole_slices && (apart(&firsts) || (last_only && kind == Kind::Constant)),
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
        if self.sums.is_none() {
            let needed = (channels + 1) * slices * rows * columns * size_of::<f32>();
            if needed > WINDOW_BYTES_MAX {
                return Err(InferError::Memory { needed_mib: needed >> 20, allowed_mib: WINDOW_BYTES_MAX >> 20 });
            }
            self.weight_sums = Array4::zeros((1, slices, rows, columns));
        }
        let sums = self.sums.get_or_insert_with(|| Array4::zeros((channels, slices, rows, columns)));
        let (first, least) = (place[0].start - self.start, self.least);
        let depth = own[0].len();
        let target = |channels: usize| [0..channels, first..first + depth, place[1].clone(), place[2].clone()];
        let mut sums = part(sums.view_mut(), &target(channels));
        let mut weight_sums = part(self.weight_sums.view_mut(), &target(1));
        let [wz, wy, wx] = [0, 1, 2].map(|axis: usize| &self.weights[axis][own[axis].clone()]);
        let planes =
            sums.axis_iter_mut(Axis(1)).into_par_iter().zip(weight_sums.axis_iter_mut(Axis(1)).into_par_iter());
        planes.zip(values.axis_iter(Axis(1)).into_par_iter()).enumerate().for_each(
            |(k, ((mut sums, mut total), values))| {
                let mut weights = vec![0.0_f32; wx.len()];
                for (j, along_rows) in wy.iter().enumerate() {
                    let outer = wz[k] * along_rows;
                    weights.iter_mut().zip(wx).for_each(|(weight, along)| *weight = (outer * along).max(least));
                    let mut row = total.index_axis_mut(Axis(0), 0);
                    row.row_mut(j).iter_mut().zip(&weights).for_each(|(total, weight)| *total += weight);
                    for (mut sums, values) in sums.outer_iter_mut().zip(values.outer_iter()) {
                        let mut row = sums.row_mut(j);
                        let pairs = row.iter_mut().zip(values.row(j));
                        pairs.zip(&weights).for_each(|((sum, value), weight)| *sum += weight * value);
                    }
                }
            },
        );
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
        let Some(sums) = self.sums.as_mut() else { return };
        let count = next - self.start;
        if count == 0 {
            return;
        }
        let weights = self.weight_sums.slice_axis(Axis(1), Slice::from(..count));
        let mut done = sums.slice_axis_mut(Axis(1), Slice::from(..count));
        done.axis_iter_mut(Axis(0)).into_par_iter().for_each(|mut channel| {
            channel /= &weights.index_axis(Axis(0), 0);
        });
        emit(self.start, done.view());
        for array in [sums, &mut self.weight_sums] {
            let slices = array.shape()[1];
            for slice in count..slices {
                let (mut before, after) = array.view_mut().split_at(Axis(1), slice);
                before.index_axis_mut(Axis(1), slice - count).assign(&after.index_axis(Axis(1), 0));
            }
            array.slice_axis_mut(Axis(1), Slice::from(slices.saturating_sub(count)..)).fill(0.0);
        }
        self.start = next;
    }
}
