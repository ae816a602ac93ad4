//! The sliding window: cuts patches, runs the networks, blends overlaps, hands finished slices on; it decides no labels.
//!
//! Windows go along the slices of the array first, so that only the slices of one window are blended at a time: memory is
//! bounded by channels x window slices x image area, whatever the length of the stack. Networks see the image along
//! working axes ([`Axes`]); values are handed on in the order of the array.

mod blend;
mod shapes;
mod tiles;

use ndarray::{Array4, ArrayD, ArrayView3, ArrayView4, Axis, CowArray, Ix4, concatenate, parallel::prelude::*};

use super::axes::Axes;
use super::recipe::{Activate, Activation, Decision, ExtraImage, Layout, Stage, Window};
use super::{InferError, Network, Values};
use crate::limits::WINDOW_BYTES_MAX;
use blend::Blend;
pub use shapes::check_shapes;
use shapes::{in_layout, to_channels_first};
use tiles::Tiles;

/// One channel of the input: an array `[slice, row, column]`, and how many slices of the view farther it is taken.
#[derive(Clone)]
pub(super) struct ChannelView<'a> {
    pub values: ArrayView3<'a, f32>,
    pub offset: isize,
}

/// What slides: a stage, seen along `axes`.
pub(super) struct Slide<'a> {
    pub stage: &'a Stage,
    pub axes: Axes,
    /// All of one shape.
    pub channels: Vec<ChannelView<'a>>,
}

/// Where finished slices go: the index of the first one, and `[channel, slice, row, column]`.
pub(super) type Emit<'a> = dyn FnMut(usize, ArrayView4<'_, f32>) + 'a;

impl Slide<'_> {
    /// Runs an ensemble over all windows. `emit` receives finished slices of the array, in ascending order and each once.
    ///
    /// # Errors
    /// Those of the network; output of another shape than expected; values that are no numbers; too large windows.
    pub fn run(
        &self,
        networks: &mut [&mut dyn Network],
        emit: &mut Emit<'_>,
        progress: &mut dyn FnMut(f32),
    ) -> Result<(), InferError> {
        let (slices, rows, columns) = self.channels[0].values.dim();
        let lengths = self.axes.to_working([slices, rows, columns]);
        let tiles: [Tiles; 3] =
            [0, 1, 2].map(|axis| Tiles::of(&self.stage.window, axis, lengths[axis], self.axes.is_reversed(axis)));
        let patch = [tiles[0].patch, tiles[1].patch, tiles[2].patch];
        let working = self.axes.to_array([0, 1, 2]);
        let [z, y, x] = working.map(|axis| &tiles[axis]);
        let total = (z.starts.len() * y.starts.len() * x.starts.len()) as f32;
        let mut done = 0.0;
        self.refuse_size(patch)?;
        let slices_apart = working[0] == 0 && matches!(self.stage.tensor.layout, Layout::Nchw | Layout::Nhwc);
        let replaces = self.stage.output.decision == Decision::LabelMap;
        let groups = self.groups(networks.len());
        let mut blend = Blend::new(&self.stage.window, [z, y, x], slices_apart, replaces, groups);
        for (step, &k) in z.starts.iter().enumerate() {
            for &j in &y.starts {
                for &i in &x.starts {
                    let starts = self.axes.to_working([k, j, i]);
                    let input = self.cut(&tiles, starts);
                    let on_array = [z.on_array(k), y.on_array(j), x.on_array(i)];
                    let place = on_array.clone().map(|(place, _)| place);
                    let own = on_array.map(|(_, own)| own);
                    self.ensemble(networks, input, patch, &mut |group, values| {
                        blend.add(group, self.axes.view_back(&values), &own, &place)
                    })?;
                    done += 1.0;
                    progress(done / total);
                }
            }
            let next = z.starts.get(step + 1).map_or(slices, |next| z.on_array(*next).0.start);
            blend.finish(next, emit)?;
        }
        Ok(())
    }

    /// How many means of an ensemble are blended each by itself: one, or in half precision, where sums are not those of
    /// means, each network's.
    fn groups(&self, networks: usize) -> usize {
        if self.stage.window.half && !self.activates() { networks } else { 1 }
    }

    fn activates(&self) -> bool {
        self.stage.output.activate == Activate::Window && self.stage.output.activation != Activation::None
    }

    /// Refuses a window that is larger than blending allows, before it is made.
    fn refuse_size(&self, patch: [usize; 3]) -> Result<(), InferError> {
        let channels = self.channels.len().max(self.stage.output.channels_least());
        let sides = [channels, patch[0], patch[1], patch[2], size_of::<f32>()];
        let needed = sides.into_iter().fold(1_usize, usize::saturating_mul);
        if needed > WINDOW_BYTES_MAX {
            return Err(InferError::Memory { needed_mib: needed >> 20, allowed_mib: WINDOW_BYTES_MAX >> 20 });
        }
        Ok(())
    }

    /// A patch of all channels, `[channel, depth, height, width]` in working order.
    fn cut(&self, tiles: &[Tiles; 3], starts: [usize; 3]) -> Array4<f32> {
        let patch = [0, 1, 2].map(|axis: usize| tiles[axis].patch);
        let mut out = Array4::zeros((self.channels.len(), patch[0], patch[1], patch[2]));
        let indices = |axis: usize, offset: isize| indices(&self.stage.window, &tiles[axis], starts[axis], offset);
        let (heights, widths) = (indices(1, 0), indices(2, 0));
        let fill = self.stage.window.pad_value.unwrap_or(0.0);
        for (channel, mut target) in self.channels.iter().zip(out.outer_iter_mut()) {
            let seen = self.axes.view(&channel.values);
            let depths = indices(0, channel.offset);
            target.axis_iter_mut(Axis(0)).into_par_iter().zip(depths).for_each(|(mut plane, depth)| {
                let Some(depth) = depth else {
                    plane.fill(fill);
                    return;
                };
                let source = seen.index_axis(Axis(0), depth);
                for (mut row, height) in plane.outer_iter_mut().zip(&heights) {
                    let Some(height) = height else {
                        row.fill(fill);
                        continue;
                    };
                    let source = source.row(*height);
                    let pairs = row.iter_mut().zip(&widths);
                    pairs.for_each(|(value, width)| *value = width.map_or(fill, |width| source[width]));
                }
            });
        }
        out
    }

    /// The mean of what the networks give for one patch, each mirrored in all ways that are asked for; of each group of
    /// them one after the other.
    fn ensemble(
        &self,
        networks: &mut [&mut dyn Network],
        input: Array4<f32>,
        patch: [usize; 3],
        take: &mut dyn FnMut(usize, ArrayView4<'_, f32>) -> Result<(), InferError>,
    ) -> Result<(), InferError> {
        let size = networks.len() / self.groups(networks.len());
        let mut groups = networks.chunks_mut(size).enumerate();
        groups.try_for_each(|(group, networks)| self.mean(networks, &input, patch, &mut |values| take(group, values)))
    }

    fn mean(
        &self,
        networks: &mut [&mut dyn Network],
        input: &Array4<f32>,
        patch: [usize; 3],
        take: &mut dyn FnMut(ArrayView4<'_, f32>) -> Result<(), InferError>,
    ) -> Result<(), InferError> {
        let mirrors = mirrors(self.stage.window.mirror);
        let count = networks.len() * mirrors.len();
        let activates = self.activates();
        let mut sum: Option<Array4<f32>> = None;
        for network in networks.iter_mut() {
            for axes in &mirrors {
                let mut seen = input.view();
                axes.iter().for_each(|axis| seen.invert_axis(Axis(axis + 1)));
                let tensor: ArrayD<f32> = in_layout(seen.to_owned(), self.stage.tensor.layout);
                let outputs = network.run(tensor.view())?;
                let mut values = self.joined(&outputs, patch)?;
                axes.iter().for_each(|axis| values.invert_axis(Axis(axis + 1)));
                match &mut sum {
                    // Nothing to add or change: no copy of what may be a gigabyte.
                    None if count == 1 && !activates => return take(values.view()),
                    None => sum = Some(values.into_owned()),
                    Some(sum) => *sum += &values,
                }
            }
        }
        let Some(mut values) = sum else { return Ok(()) };
        if count > 1 {
            values.par_mapv_inplace(|value| value / count as f32);
        }
        if activates {
            activate(&mut values, self.stage);
        }
        take(values.view())
    }

    /// All outputs of a network as channels of one array: those of the labels, then those of images.
    fn joined<'a>(
        &self,
        outputs: &'a [Box<dyn Values>],
        patch: [usize; 3],
    ) -> Result<CowArray<'a, f32, Ix4>, InferError> {
        let mut parts = Vec::with_capacity(outputs.len());
        for (index, values) in outputs.iter().enumerate() {
            let values = to_channels_first(values.view(), self.stage, patch, index == 0)?;
            // A sum is finite when all values are; an overflow of it would need values that mean nothing either.
            if !values.axis_iter(Axis(0)).into_par_iter().all(|channel| channel.sum().is_finite()) {
                return Err(InferError::NotNumbers);
            }
            parts.push(values);
        }
        let names = self.stage.graph_outputs();
        let mut chosen = Vec::new();
        for image in self.stage.images.iter().filter(|image| image.output.is_some()) {
            let part =
                names.iter().position(|name| *name == image.output.as_deref()).and_then(|place| parts.get(place));
            let part = part.filter(|part| image.channels.iter().all(|channel| *channel < part.shape()[0]));
            let part = part.ok_or_else(|| {
                super::NetworkError(format!("found no channels {:?} for the image {}", image.channels, image.name))
            })?;
            chosen.push(part.select(Axis(0), &image.channels));
        }
        let of_labels = self.stage.images.iter().filter(|image| image.output.is_none());
        let highest = of_labels.flat_map(|image| &image.channels).max();
        if highest.zip(parts.first()).is_some_and(|(channel, part)| *channel >= part.shape()[0]) {
            return Err(super::NetworkError(format!("found no channel {highest:?} for an image")).into());
        }
        let labels = *parts.first().ok_or_else(|| super::NetworkError("found no output".to_owned()))?;
        if chosen.is_empty() {
            return Ok(labels.into());
        }
        let views: Vec<ArrayView4<'_, f32>> =
            std::iter::once(labels).chain(chosen.iter().map(|part| part.view())).collect();
        let joined = concatenate(Axis(0), &views).map_err(|error| super::NetworkError(error.to_string()))?;
        Ok(joined.into())
    }
}

/// Index of the image for each voxel of a window along one working axis; `None` where padding is a constant.
fn indices(window: &Window, tiles: &Tiles, start: usize, offset: isize) -> Vec<Option<usize>> {
    let last = tiles.length as isize - 1;
    let at = |index: usize| {
        let place = (start + index) as isize - tiles.before as isize;
        let outside = !(0..=last).contains(&place);
        (!outside || window.pad_value.is_none()).then(|| (place + offset).clamp(0, last) as usize)
    };
    (0..tiles.patch).map(at).collect()
}

/// Every combination of the axes that are mirrored, none of them first.
fn mirrors(axes: [bool; 3]) -> Vec<Vec<usize>> {
    let axes: Vec<usize> = (0..3).filter(|axis| axes[*axis]).collect();
    let combination =
        |bits: usize| axes.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, axis)| *axis).collect();
    (0..1_usize << axes.len()).map(combination).collect()
}

/// Applies the activation of a stage to the channels of the labels' output, `[channel, slice, row, column]`.
pub(super) fn activate(values: &mut Array4<f32>, stage: &Stage) {
    let labels = label_channels(values.shape()[0], &stage.images);
    match stage.output.activation {
        Activation::None => {}
        Activation::Sigmoid => {
            let mut values = values.slice_axis_mut(Axis(0), ndarray::Slice::from(..labels));
            values.par_mapv_inplace(|value| 1.0 / (1.0 + (-value).exp()));
        }
        Activation::Softmax => {
            values.axis_iter_mut(Axis(1)).into_par_iter().for_each(|mut planes| {
                let mut planes = planes.slice_axis_mut(Axis(0), ndarray::Slice::from(..labels));
                for mut channels in planes.lanes_mut(Axis(0)) {
                    let highest = channels.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    channels.mapv_inplace(|value| (value - highest).exp());
                    let sum = channels.sum();
                    channels.mapv_inplace(|value| value / sum);
                }
            });
        }
    }
}

/// How many of all channels are those of labels: the others come from outputs of images.
pub(super) fn label_channels(channels: usize, images: &[ExtraImage]) -> usize {
    let from_others = images.iter().filter(|image| image.output.is_some()).map(|image| image.channels.len());
    channels - from_others.sum::<usize>().min(channels - 1)
}

#[cfg(test)]
mod tests;
