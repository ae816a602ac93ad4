//! The sliding window: cuts patches, runs the network, blends overlaps, hands finished slices on; it decides no labels.
//!
//! Windows go along the slices first, so that only the slices of one window are blended at a time: memory is bounded by
//! channels x window slices x image area, whatever the length of the stack.

use std::ops::Range;

use ndarray::{Array4, Array5, ArrayD, ArrayView4, Axis, IxDyn, Slice, parallel::prelude::*};

use super::frame::Prepared;
use super::part::part;
use super::recipe::{Activation, Decision, Layout, Recipe, Window};
use super::{InferError, Network, NetworkError};
use crate::limits::WINDOW_BYTES_MAX;

/// Refuses a network whose tensors cannot be what `model.json` says. Asked before any pixel is touched.
pub(super) fn check_shapes(recipe: &Recipe, network: &dyn Network) -> Result<(), InferError> {
    let layout = recipe.tensor.layout;
    let patch = recipe.window.patch.map(|side| side.map_or(Side::Free, Side::Exactly));
    let channels = Side::Exactly(recipe.inputs.len());
    let expected = arranged(layout, patch, channels, Side::Exactly(1));
    compare("input", network.input_shape(), &expected, layout)?;
    let found = network.output_shape();
    if found.is_empty() {
        return Ok(());
    }
    let highest = recipe.output.labels.iter().map(|label| label.index).max().unwrap_or(0);
    let channels = match recipe.output.decision {
        Decision::LabelMap => Side::Exactly(1),
        Decision::ArgMax | Decision::Threshold => Side::Least(highest + 1),
    };
    let expected = arranged(layout, patch, channels, Side::Exactly(1));
    let without_channel: Vec<Side> =
        expected.iter().enumerate().filter(|(axis, _)| *axis != channel_axis(layout)).map(|(_, side)| *side).collect();
    if recipe.output.decision == Decision::LabelMap && found.len() == without_channel.len() {
        return compare("output", found, &without_channel, layout);
    }
    compare("output", found, &expected, layout)
}

/// What a side of a tensor has to be.
#[derive(Clone, Copy)]
enum Side {
    Exactly(usize),
    Least(usize),
    /// Known with the image only: the network must leave it free.
    Free,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Side::Exactly(side) => write!(f, "{side}"),
            Side::Least(side) => write!(f, ">={side}"),
            Side::Free => f.write_str("free"),
        }
    }
}

/// The axes of a tensor in the order of its layout.
fn arranged<T: Copy>(layout: Layout, [d, h, w]: [T; 3], c: T, n: T) -> Vec<T> {
    match layout {
        Layout::Ncdhw => vec![n, c, d, h, w],
        Layout::Ndhwc => vec![n, d, h, w, c],
        Layout::Nchw => vec![d, c, h, w],
        Layout::Nhwc => vec![d, h, w, c],
    }
}

fn channel_axis(layout: Layout) -> usize {
    match layout {
        Layout::Ncdhw | Layout::Nchw => 1,
        Layout::Ndhwc => 4,
        Layout::Nhwc => 3,
    }
}

fn compare(side: &'static str, found: &[Option<usize>], expected: &[Side], layout: Layout) -> Result<(), InferError> {
    let fits = |(found, expected): (&Option<usize>, &Side)| match (found, expected) {
        (None, _) => true,
        (Some(found), Side::Exactly(side)) => found == side,
        (Some(found), Side::Least(side)) => found >= side,
        (Some(_), Side::Free) => false,
    };
    if found.len() == expected.len() && found.iter().zip(expected).all(fits) {
        return Ok(());
    }
    let list = |sides: Vec<String>| format!("[{}]", sides.join(", "));
    Err(InferError::Shape {
        side,
        found: list(found.iter().map(|side| side.map_or("free".to_owned(), |side| side.to_string())).collect()),
        expected: format!("{} ({})", list(expected.iter().map(Side::to_string).collect()), layout.word()),
        cure: "correct tensor.layout, window.patch, inputs or output.labels in model.json, or export the network again"
            .to_owned(),
    })
}

/// Where the windows of one axis begin, and how long they are.
struct Tiles {
    starts: Vec<usize>,
    patch: usize,
    length: usize,
}

impl Tiles {
    fn of(window: &Window, axis: usize, length: usize) -> Tiles {
        let multiple = window.multiple_of[axis];
        let patch = window.patch[axis].unwrap_or(length).div_ceil(multiple) * multiple;
        if patch >= length {
            return Tiles { starts: vec![0], patch, length };
        }
        let stride = ((patch as f64 * (1.0 - window.overlap)).round() as usize).max(1);
        let count = (length - patch).div_ceil(stride) + 1;
        // The last window ends with the image: it overlaps more instead of reaching outside.
        let starts = (0..count).map(|index| (index * stride).min(length - patch)).collect();
        Tiles { starts, patch, length }
    }

    /// Weight of each place in a window. A Gaussian with a deviation of an eighth of the side (nnU-Net, Nature
    /// Methods 18, 2021): at the far corner of three axes it is still 4e-11, far above the smallest f32.
    fn weights(&self, gaussian: bool) -> Vec<f32> {
        let (centre, sigma) = ((self.patch as f64 - 1.0) / 2.0, self.patch as f64 / 8.0);
        let at = |index: usize| (-0.5 * ((index as f64 - centre) / sigma).powi(2)).exp() as f32;
        (0..self.patch).map(|index| if gaussian { at(index) } else { 1.0 }).collect()
    }

    /// How much of a window that starts here lies in the image.
    fn inside(&self, start: usize) -> usize {
        self.patch.min(self.length - start)
    }
}

/// Runs the network over all windows. `emit` receives, in ascending order and each once, the index of the first slice
/// and `[channel, slice, row, column]` values on the grid of the channels.
pub(super) fn slide(
    recipe: &Recipe,
    channels: &[Prepared<'_>],
    network: &mut dyn Network,
    emit: &mut dyn FnMut(usize, ArrayView4<'_, f32>),
    progress: &mut dyn FnMut(f32),
) -> Result<(), InferError> {
    let [slices, rows, columns] = channels[0].frame.shape();
    let (z, y, x) = (
        Tiles::of(&recipe.window, 0, slices),
        Tiles::of(&recipe.window, 1, rows),
        Tiles::of(&recipe.window, 2, columns),
    );
    let total = (z.starts.len() * y.starts.len() * x.starts.len()) as f32;
    let mut done = 0.0;
    let mut blend = Blend::new(recipe.window.gaussian, [&z, &y, &x]);
    for (step, &k) in z.starts.iter().enumerate() {
        for &j in &y.starts {
            for &i in &x.starts {
                let input = cut(channels, [k, j, i], [z.patch, y.patch, x.patch], recipe.tensor.layout);
                let values = to_channels_first(network.run(input.view())?, recipe, [z.patch, y.patch, x.patch])?;
                let values = activate(values, recipe.output.activation);
                let inside = [0..values.shape()[0], 0..z.inside(k), 0..y.inside(j), 0..x.inside(i)];
                blend.add(values, &inside, [k, j, i])?;
                done += 1.0;
                progress(done / total);
            }
        }
        blend.finish(z.starts.get(step + 1).copied().unwrap_or(slices), emit);
    }
    Ok(())
}

/// A patch of all channels in the axis order of the network; what reaches outside the image repeats its last voxel.
fn cut(channels: &[Prepared<'_>], start: [usize; 3], patch: [usize; 3], layout: Layout) -> ArrayD<f32> {
    let mut five = Array5::zeros((1, channels.len(), patch[0], patch[1], patch[2]));
    let shape = channels[0].frame.shape();
    for (channel, volume) in channels.iter().enumerate() {
        let mut target = five.index_axis_mut(Axis(0), 0);
        let mut target = target.index_axis_mut(Axis(0), channel);
        target.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(k, mut plane)| {
            let slice = volume.pixels.index_axis(Axis(0), (start[0] + k).min(shape[0] - 1));
            for (j, mut row) in plane.outer_iter_mut().enumerate() {
                let source = slice.row((start[1] + j).min(shape[1] - 1));
                let inside = patch[2].min(shape[2] - start[2]);
                let whole = row.len();
                let taken = part(source, &[start[2]..start[2] + inside]);
                part(row.view_mut(), &[0..inside]).assign(&taken);
                part(row, &[inside..whole]).fill(source[shape[2] - 1]);
            }
        });
    }
    let arranged = match layout {
        Layout::Ncdhw => five.into_dyn(),
        Layout::Ndhwc => five.permuted_axes([0, 2, 3, 4, 1]).into_dyn(),
        Layout::Nchw => five.index_axis_move(Axis(0), 0).permuted_axes([1, 0, 2, 3]).into_dyn(),
        Layout::Nhwc => five.index_axis_move(Axis(0), 0).permuted_axes([1, 2, 3, 0]).into_dyn(),
    };
    if arranged.is_standard_layout() { arranged } else { arranged.as_standard_layout().into_owned() }
}

/// The network's output as `[channel, slice, row, column]`, its true shape checked.
fn to_channels_first(values: ArrayD<f32>, recipe: &Recipe, patch: [usize; 3]) -> Result<Array4<f32>, InferError> {
    let layout = recipe.tensor.layout;
    let axis = channel_axis(layout);
    let five = matches!(layout, Layout::Ncdhw | Layout::Ndhwc);
    let full = if five { 5 } else { 4 };
    let values = if values.ndim() + 1 == full && recipe.output.decision == Decision::LabelMap {
        values.insert_axis(Axis(axis))
    } else {
        values
    };
    let found = values.shape().to_vec();
    let highest = recipe.output.labels.iter().map(|label| label.index).max().unwrap_or(0);
    let least = if recipe.output.decision == Decision::LabelMap { Side::Exactly(1) } else { Side::Least(highest + 1) };
    let expected = arranged(layout, patch.map(Side::Exactly), least, Side::Exactly(1));
    let sides: Vec<Option<usize>> = found.iter().copied().map(Some).collect();
    compare("output", &sides, &expected, layout)?;
    let permuted = match layout {
        Layout::Ncdhw => values.index_axis_move(Axis(0), 0),
        Layout::Ndhwc => values.index_axis_move(Axis(0), 0).permuted_axes(IxDyn(&[3, 0, 1, 2])),
        Layout::Nchw => values.permuted_axes(IxDyn(&[1, 0, 2, 3])),
        Layout::Nhwc => values.permuted_axes(IxDyn(&[3, 0, 1, 2])),
    };
    permuted.into_dimensionality().map_err(|error| NetworkError(error.to_string()).into())
}

fn activate(mut values: Array4<f32>, activation: Activation) -> Array4<f32> {
    match activation {
        Activation::None => {}
        Activation::Sigmoid => values.par_mapv_inplace(|value| 1.0 / (1.0 + (-value).exp())),
        Activation::Softmax => {
            values.axis_iter_mut(Axis(1)).into_par_iter().for_each(|mut planes| {
                for mut channels in planes.lanes_mut(Axis(0)) {
                    let highest = channels.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    channels.mapv_inplace(|value| (value - highest).exp());
                    let sum = channels.sum();
                    channels.mapv_inplace(|value| value / sum);
                }
            });
        }
    }
    values
}

/// Weighted sums of the slices that windows still reach. Where a window covers the whole slice and none overlaps,
/// values pass through untouched.
struct Blend {
    direct: Option<(usize, Array4<f32>, [Range<usize>; 4])>,
    sums: Option<Array4<f32>>,
    weight_sums: Array4<f32>,
    weights: [Vec<f32>; 3],
    shape: [usize; 3],
    /// Index of the first slice of the sums.
    start: usize,
    /// Slices below this one were handed on.
    emitted: usize,
    pass_through: bool,
}

impl Blend {
    fn new(gaussian: bool, tiles: [&Tiles; 3]) -> Blend {
        let whole_slices = tiles[1].starts.len() == 1 && tiles[2].starts.len() == 1;
        let strides = tiles[0].starts.windows(2).all(|pair| pair[1] - pair[0] >= tiles[0].patch);
        let last_only = tiles[0].starts.len() < 2
            || tiles[0].starts[..tiles[0].starts.len() - 1].windows(2).all(|p| p[1] - p[0] >= tiles[0].patch);
        Blend {
            direct: None,
            sums: None,
            weight_sums: Array4::zeros((0, 0, 0, 0)),
            weights: tiles.map(|tile| tile.weights(gaussian)),
            shape: [tiles[0].patch.min(tiles[0].length), tiles[1].length, tiles[2].length],
            start: 0,
            emitted: 0,
            pass_through: whole_slices && (strides || (last_only && !gaussian)),
        }
    }

    /// Takes the values of one window, of which the part `inside` lies in the image.
    fn add(
        &mut self,
        values: Array4<f32>,
        inside: &[Range<usize>; 4],
        [k, j, i]: [usize; 3],
    ) -> Result<(), InferError> {
        if self.pass_through {
            self.direct = Some((k, values, inside.clone()));
            return Ok(());
        }
        let values = part(values.view(), inside);
        let channels = values.shape()[0];
        let [slices, rows, columns] = self.shape;
        if self.sums.is_none() {
            let needed = (channels + 1) * slices * rows * columns * size_of::<f32>();
            if needed > WINDOW_BYTES_MAX {
                return Err(InferError::Memory { needed_mib: needed >> 20, allowed_mib: WINDOW_BYTES_MAX >> 20 });
            }
            self.weight_sums = Array4::zeros((1, slices, rows, columns));
        }
        let sums = self.sums.get_or_insert_with(|| Array4::zeros((channels, slices, rows, columns)));
        let (depth, height, width) = (values.shape()[1], values.shape()[2], values.shape()[3]);
        let (first, [wz, wy, wx]) = (k - self.start, &self.weights);
        let target = [first..first + depth, j..j + height, i..i + width];
        let ranges = |channels: usize| [0..channels, target[0].clone(), target[1].clone(), target[2].clone()];
        let mut sums = part(sums.view_mut(), &ranges(channels));
        let mut weight_sums = part(self.weight_sums.view_mut(), &ranges(1));
        let planes =
            sums.axis_iter_mut(Axis(1)).into_par_iter().zip(weight_sums.axis_iter_mut(Axis(1)).into_par_iter());
        planes.zip(values.axis_iter(Axis(1)).into_par_iter()).enumerate().for_each(
            |(k, ((mut sums, mut total), values))| {
                for j in 0..height {
                    for i in 0..width {
                        let weight = wz[k] * wy[j] * wx[i];
                        total[[0, j, i]] += weight;
                        for channel in 0..channels {
                            sums[[channel, j, i]] += weight * values[[channel, j, i]];
                        }
                    }
                }
            },
        );
        Ok(())
    }

    /// Hands on every slice below `next`, where the next windows begin.
    fn finish(&mut self, next: usize, emit: &mut dyn FnMut(usize, ArrayView4<'_, f32>)) {
        if let Some((start, values, inside)) = self.direct.take() {
            let values = part(values.view(), &inside);
            // The last window may begin before the end of the one before it: its first slices are known already.
            let known = self.emitted - start;
            emit(self.emitted, values.slice_axis(Axis(1), Slice::from(known..)));
            self.emitted = start + values.shape()[1];
            return;
        }
        let Some(sums) = self.sums.as_mut() else { return };
        let count = next - self.start;
        let weights = self.weight_sums.slice_axis(Axis(1), Slice::from(..count));
        let mut done = sums.slice_axis_mut(Axis(1), Slice::from(..count));
        done.axis_iter_mut(Axis(0)).for_each(|mut channel| {
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

#[cfg(test)]
mod tests;
