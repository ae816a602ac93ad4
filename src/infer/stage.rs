//! One stage of a model on one set of images: prepare, slide each view's networks over it, bring results back.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::{Array3, Array4, ArrayView4, Axis, CowArray, Ix3, Slice, Zip};

use super::cascade;
use super::frame::{Frame, Prepared};
use super::grid::{Method, bring_onto};
use super::recipe::{Activate, Activation, ImageKind, Input, Pass, Recipe, Source, Stage};
use super::region::Surroundings;
use super::restore::Restored;
use super::together::{Way, walk};
use super::window::{ChannelView, Emit, Slide, activate};
use super::{DerivedImage, DerivedKind, InferError, Network};
use crate::limits::WINDOW_BYTES_MAX;
use crate::volume::{Mask, Volume, VolumeGeometry};

/// Regions that were kept under a name.
type Saved = Vec<(String, Mask)>;

/// What the stages of a model give.
pub(super) struct Outputs {
    pub restored: Restored,
    /// Regions that were kept under a name.
    pub saved: Saved,
    pub images: Vec<DerivedImage>,
}

/// Runs the stages of a model. Labels lie on the grid of the first input.
pub(super) fn run(
    recipe: &Recipe,
    inputs: &BTreeMap<String, Volume>,
    structures: &BTreeMap<String, Mask>,
    networks: &mut [&mut dyn Network],
    progress: &mut dyn FnMut(&str, f32),
) -> Result<Outputs, InferError> {
    let stage = &recipe.stage;
    progress("pre", 0.0);
    let mut known = Cow::Borrowed(structures);
    let mut ready = prepare(stage, inputs, &mut known)?;
    let saved = std::mem::take(&mut ready.saved);
    let source = input_of(stage, inputs, 0)?;
    progress("pre", 1.0);
    let previous = match &recipe.previous {
        None => None,
        Some(previous) => {
            // Regions that it saves are its own: those of the stage proper may have the same names.
            let mut known = Cow::Borrowed(structures);
            let low = prepare(previous, inputs, &mut known)?;
            let mut tell = |done| progress("previous network", done);
            let work = Work { stage: previous, ready: &low, inputs, structures: &known, previous: None };
            let found = work.run(networks, &source.geometry, &mut tell)?;
            Some(cascade::labels_on(&ready.frame, &found, &source.geometry, stage.output.separate)?)
        }
    };
    let mut tell = |done| progress("network", done);
    let work = Work { stage, ready: &ready, inputs, structures: &known, previous };
    let mut restored = work.run(networks, &source.geometry, &mut tell)?;
    let images = derived_images(stage, &mut restored, &ready.frame, &source.geometry);
    Ok(Outputs { restored, saved, images })
}

/// The images of a stage as its networks take them.
struct Ready<'a> {
    frame: Frame,
    /// `None` where an optional image is missing.
    images: Vec<Option<Prepared<'a>>>,
    saved: Saved,
}

/// The image of an input. Only optional ones may be missing, and the first never is optional.
fn input_of<'a>(stage: &Stage, inputs: &'a BTreeMap<String, Volume>, slot: usize) -> Result<&'a Volume, InferError> {
    let name = &stage.inputs[slot].name;
    inputs.get(name).ok_or_else(|| InferError::MissingInput { name: name.clone() })
}

/// Does what the inputs ask for. Regions that are kept become known to what comes after.
fn prepare<'a>(
    stage: &Stage,
    inputs: &'a BTreeMap<String, Volume>,
    known: &mut Cow<'_, BTreeMap<String, Mask>>,
) -> Result<Ready<'a>, InferError> {
    let mut saved = Saved::new();
    let is_there = |input: &&Input| !input.optional || inputs.contains_key(&input.name);
    let mut ways = Vec::new();
    for (slot, input) in stage.inputs.iter().enumerate().filter(|(_, input)| is_there(input)) {
        let source = input_of(stage, inputs, slot)?;
        let axes = stage.orientation.axes(&source.geometry).transposed(stage.transpose);
        ways.push(Way { image: Prepared::of(source, axes), steps: &input.pre });
    }
    let mut done = walk(ways, inputs, known, &mut saved)?.into_iter();
    let mut images: Vec<Option<Prepared<'a>>> = Vec::new();
    for input in &stage.inputs {
        let image = if is_there(&input) { done.next() } else { None };
        images.push(match (image, images.first()) {
            (Some(image), Some(Some(first))) => Some(placed(image, &first.frame, input.by_index, &input.name)?),
            (image, _) => image,
        });
    }
    let frame = match images.first() {
        Some(Some(first)) => first.frame.clone(),
        _ => return Err(InferError::MissingInput { name: stage.inputs[0].name.clone() }),
    };
    Ok(Ready { frame, images, saved })
}

/// A further image on the array of the first one.
fn placed<'a>(image: Prepared<'a>, first: &Frame, by_index: bool, name: &str) -> Result<Prepared<'a>, InferError> {
    if by_index {
        let (found, expected) = (image.frame.shape(), first.shape());
        if found != expected {
            let text = |sides: [usize; 3]| format!("{} x {} x {}", sides[0], sides[1], sides[2]);
            return Err(InferError::Sizes { name: name.to_owned(), found: text(found), expected: text(expected) });
        }
        return Ok(image);
    }
    if image.frame.geometry == first.geometry && image.frame.windows == first.windows {
        return Ok(image);
    }
    let lowest = image.minimum();
    let failed = |reason| InferError::Operation { name: "inputs", reason };
    let mut image = image.resampled((*first.geometry).clone(), Method::Linear, lowest).map_err(failed)?;
    if let Some(windows) = &first.windows {
        let cut = windows.cut(&image.pixels.to_owned(), lowest);
        image.frame.windows = first.windows.clone();
        image.pixels = cut.into();
        image.mask = None;
    }
    Ok(image)
}

/// A stage at work.
struct Work<'a> {
    stage: &'a Arc<Stage>,
    ready: &'a Ready<'a>,
    inputs: &'a BTreeMap<String, Volume>,
    structures: &'a BTreeMap<String, Mask>,
    /// Label values of the stage before, on the array of this one.
    previous: Option<Array3<u16>>,
}

impl<'a> Work<'a> {
    /// Results on the grid `target`.
    fn run(
        &self,
        networks: &mut [&mut dyn Network],
        target: &Arc<VolumeGeometry>,
        progress: &mut dyn FnMut(f32),
    ) -> Result<Restored, InferError> {
        let frame = &self.ready.frame;
        let mut restored = match &frame.windows {
            Some(_) => Restored::in_place(self.stage, frame.shape())?,
            None => Restored::new(self.stage, frame, target)?,
        };
        match self.stage.passes.as_slice() {
            [only] if only.pre.is_empty() => {
                let images = self.ready.images.iter().map(Option::as_ref).collect::<Vec<_>>();
                self.pass(only, frame, &images, networks, &mut |k, values| restored.push(k, values), progress)?;
            }
            passes => {
                let fused = self.fused(passes, networks, progress)?;
                restored.push(0, fused.view());
            }
        }
        match &frame.windows {
            Some(windows) => restored.through(frame, windows, target),
            None => restored.finish(),
        }
    }

    /// The mean of several views on the array of the stage, `[channel, slice, row, column]`.
    fn fused(
        &self,
        passes: &[Pass],
        networks: &mut [&mut dyn Network],
        progress: &mut dyn FnMut(f32),
    ) -> Result<Array4<f32>, InferError> {
        let frame = &self.ready.frame;
        check_fused(self.stage.output.channels_least(), frame.shape())?;
        let mut sum: Option<Array4<f32>> = None;
        for (index, pass) in passes.iter().enumerate() {
            let images = self.of_view(pass)?;
            let seen = images.iter().flatten().next().map_or_else(|| frame.clone(), |image| image.frame.clone());
            let [slices, rows, columns] = seen.shape();
            let mut values: Option<Array4<f32>> = None;
            let mut excess = Ok(());
            let mut keep = |start: usize, part: ArrayView4<'_, f32>| {
                let shape = (part.shape()[0], slices, rows, columns);
                // Channels that no label has are there too.
                if let Err(error) = check_fused(shape.0, [slices, rows, columns]) {
                    excess = Err(error);
                    return;
                }
                let all = values.get_or_insert_with(|| Array4::zeros(shape));
                let end = start + part.shape()[1];
                all.slice_axis_mut(Axis(1), Slice::from(start..end)).assign(&part);
            };
            let borrowed: Vec<Option<&Prepared<'_>>> = images.iter().map(Option::as_ref).collect();
            let mut tell = |done: f32| progress((index as f32 + done) / passes.len() as f32);
            self.pass(pass, &seen, &borrowed, networks, &mut keep, &mut tell)?;
            excess?;
            let values = values.unwrap_or_else(|| Array4::zeros((1, slices, rows, columns)));
            let values = onto(values, &seen, frame)?;
            match &mut sum {
                None => sum = Some(values),
                Some(sum) => *sum += &values,
            }
        }
        let mut sum = sum.unwrap_or_else(|| Array4::zeros((1, 1, 1, 1)));
        let count = passes.len() as f32;
        sum.par_mapv_inplace(|value| value / count);
        Ok(sum)
    }

    /// The images as a view sees them, after its own pre-processing.
    fn of_view(&self, pass: &Pass) -> Result<Vec<Option<Prepared<'a>>>, InferError> {
        let surroundings = Surroundings { structures: self.structures, images: self.inputs, pooled: None };
        let mut seen: Vec<Option<Prepared<'a>>> = Vec::with_capacity(self.ready.images.len());
        for image in &self.ready.images {
            let Some(image) = image else {
                seen.push(None);
                continue;
            };
            let mut image = image.clone();
            image.frame.axes = self.ready.frame.axes.transposed(pass.view.order());
            for step in &pass.pre {
                image = step.apply(image, &surroundings)?;
            }
            image.frame.axes = self.ready.frame.axes;
            if let Some(Some(first)) = seen.first() {
                let first: &Prepared<'_> = first;
                let input = &self.stage.inputs[seen.len()];
                image = placed(image, &first.frame, input.by_index, &input.name)?;
            }
            seen.push(Some(image));
        }
        Ok(seen)
    }

    /// Slides the networks of one view over images on `frame`; activated values go to `emit`.
    fn pass(
        &self,
        pass: &Pass,
        frame: &Frame,
        images: &[Option<&Prepared<'_>>],
        networks: &mut [&mut dyn Network],
        emit: &mut Emit<'_>,
        progress: &mut dyn FnMut(f32),
    ) -> Result<(), InferError> {
        let arrays = self.arrays(frame, images)?;
        let views = arrays.iter().zip(&self.stage.channels);
        let channels =
            views.map(|(array, channel)| ChannelView { values: array.view(), offset: channel.offset }).collect();
        let slide = Slide { stage: self.stage, axes: frame.axes.transposed(pass.view.order()), channels };
        let mut chosen: Vec<&mut dyn Network> = Vec::new();
        for (index, network) in networks.iter_mut().enumerate() {
            if pass.networks.contains(&index) {
                chosen.push(&mut **network);
            }
        }
        let output = &self.stage.output;
        let changes = output.activate == Activate::Blended && output.activation != Activation::None;
        let mut activated = |start: usize, values: ArrayView4<'_, f32>| {
            if changes {
                let mut values = values.to_owned();
                activate(&mut values, self.stage);
                emit(start, values.view());
            } else {
                emit(start, values);
            }
        };
        slide.run(&mut chosen, &mut activated, progress)
    }

    /// The array of each channel on `frame`.
    fn arrays<'b>(
        &'b self,
        frame: &Frame,
        images: &[Option<&'b Prepared<'_>>],
    ) -> Result<Vec<CowArray<'b, f32, Ix3>>, InferError> {
        let image_of = |source: &Source| match source {
            Source::Input(index) => images.get(*index).copied().flatten(),
            _ => None,
        };
        let channels = &self.stage.channels;
        let with_own = channels.iter().filter(|channel| !channel.pre.is_empty());
        let ways = with_own.filter_map(|channel| {
            Some(Way { image: image_of(&channel.source)?.clone(), steps: channel.pre.as_slice() })
        });
        let (mut known, mut saved) = (Cow::Borrowed(self.structures), Saved::new());
        let mut done = walk(ways.collect(), self.inputs, &mut known, &mut saved)?.into_iter();
        let mut arrays = Vec::with_capacity(channels.len());
        for channel in channels {
            let array: CowArray<'b, f32, Ix3> = match (&channel.source, image_of(&channel.source)) {
                (Source::Input(_), None) => Array3::zeros(frame.shape()).into(),
                (Source::Input(_), Some(image)) if channel.pre.is_empty() => image.pixels.view().into(),
                (Source::Input(_), Some(_)) => match done.next().map(|image| image.pixels.into_owned()) {
                    Some(array) if <[usize; 3]>::from(array.dim()) == frame.shape() => array.into(),
                    _ => {
                        return Err(moved_by(
                            "channels",
                            "an operation of a channel that changes the size of the image",
                            "one that keeps it",
                        ));
                    }
                },
                (Source::Structure(name), _) => {
                    let mask = self.structures.get(name).map(|mask| frame.bring(mask));
                    mask.map_or_else(|| Array3::zeros(frame.shape()), |mask| mask.mapv(f32::from)).into()
                }
                (Source::Previous(value), _) => {
                    let own = &self.ready.frame;
                    match &self.previous {
                        None => Array3::zeros(frame.shape()).into(),
                        Some(_) if frame.geometry != own.geometry || frame.windows != own.windows => {
                            return Err(moved_by(
                                "views",
                                "a view whose operations move the image, and a label of the previous stage among its channels",
                                "views that leave it in place",
                            ));
                        }
                        Some(labels) => labels.mapv(|label| f32::from(usize::from(label) == *value)).into(),
                    }
                }
            };
            arrays.push(array);
        }
        Ok(arrays)
    }
}

fn moved_by(name: &'static str, found: &str, expected: &str) -> InferError {
    let reason = format!("found {found}, expected {expected}; move it to \"pre\" of the input");
    InferError::Operation { name, reason }
}

/// Refuses views whose mean takes too much memory: the sum, a view, and that on the array of the stage.
fn check_fused(channels: usize, shape: [usize; 3]) -> Result<(), InferError> {
    let bytes = 3 * size_of::<f32>() * channels * shape.iter().product::<usize>();
    if bytes <= WINDOW_BYTES_MAX {
        return Ok(());
    }
    let reason = format!(
        "found {} MB of values of {channels} classes, expected at most {} MB where views are averaged; crop the image, or \
         resample it to larger voxels",
        bytes >> 20,
        WINDOW_BYTES_MAX >> 20
    );
    Err(InferError::Operation { name: "views", reason })
}

/// Values of a view's array on the array of the stage: linear between their grids.
fn onto(values: Array4<f32>, seen: &Frame, frame: &Frame) -> Result<Array4<f32>, InferError> {
    if seen.geometry == frame.geometry && seen.windows == frame.windows {
        return Ok(values);
    }
    if seen.windows.is_some() || frame.windows.is_some() {
        let reason = "found slices that were cut each in its own way under several views, expected one box for all \
                      slices; crop without per-slice regions"
            .to_owned();
        return Err(InferError::Operation { name: "views", reason });
    }
    let [slices, rows, columns] = frame.shape();
    let mut out = Array4::zeros((values.shape()[0], slices, rows, columns));
    for (channel, mut target) in values.outer_iter().zip(out.outer_iter_mut()) {
        let volume = Volume::new(Arc::clone(&seen.geometry), channel.to_owned());
        target.assign(&bring_onto(&volume, &frame.geometry, Method::Linear, 0.0).pixels);
    }
    Ok(out)
}

/// The images that a stage gives besides labels, on the grid of the first input.
fn derived_images(
    stage: &Stage,
    restored: &mut Restored,
    frame: &Frame,
    target: &Arc<VolumeGeometry>,
) -> Vec<DerivedImage> {
    let arrays = restored.take_images();
    let one = |(image, mut channels): (&super::recipe::ExtraImage, Vec<Array3<f32>>)| {
        let kind = match image.kind {
            ImageKind::Image => DerivedKind::Image(Volume::new(Arc::clone(target), channels.pop()?)),
            ImageKind::Deformation => {
                let [along_columns, along_rows, along_slices] = <[Array3<f32>; 3]>::try_from(channels).ok()?;
                DerivedKind::Deformation(in_patient(frame, target, [&along_slices, &along_rows, &along_columns]))
            }
        };
        Some(DerivedImage { name: image.name.clone(), kind })
    };
    stage.images.iter().zip(arrays).filter_map(one).collect()
}

/// Displacements in voxels of the network's grid along working axes (depth, height, width), as mm along x, y and z of the
/// patient.
fn in_patient(frame: &Frame, target: &Arc<VolumeGeometry>, along: [&Array3<f32>; 3]) -> [Volume; 3] {
    let axes = frame.axes;
    let directions = [target.normal(), target.column_direction(), target.row_direction()];
    let spacing = frame.spacing_mm();
    [0, 1, 2].map(|component: usize| {
        let mut sum = Array3::<f32>::zeros(target.shape());
        for (working, voxels) in along.into_iter().enumerate() {
            let axis = axes.array_axis(working);
            let sign = if axes.is_reversed(working) { -1.0 } else { 1.0 };
            let factor = (sign * directions[axis][component] * spacing[axis]) as f32;
            Zip::from(&mut sum).and(voxels).par_for_each(|sum, value| *sum += factor * value);
        }
        Volume::new(Arc::clone(target), sum)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_views_is_refused_before_it_fills_the_memory() {
        // Nine classes on a head and neck of 200 slices take 5.4 GB, on 400 slices 10.8 GB.
        assert!(check_fused(9, [200, 512, 512]).is_ok());
        let told = check_fused(9, [400, 512, 512]).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told.contains("found 10800 MB of values of 9 classes, expected at most 8192 MB"), "{told}");
    }
}
