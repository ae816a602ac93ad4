//! One stage of a model on one set of images: prepare, slide each view's networks over it, bring results back.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::{Array3, Array4, ArrayView4, Axis, CowArray, Ix3, Slice, Zip};

use super::cascade;
use super::frame::{Frame, Prepared};
use super::grid::{Method, bring_onto};
use super::recipe::{Activate, Activation, Channel, ImageKind, Pass, Recipe, Source, Stage};
use super::region::Surroundings;
use super::restore::Restored;
use super::window::{ChannelView, Emit, Slide, activate};
use super::{DerivedImage, DerivedKind, InferError, Network};
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
    let mut known = structures.clone();
    let mut ready = prepare(stage, inputs, &mut known)?;
    let saved = std::mem::take(&mut ready.saved);
    let source = input_of(stage, inputs, 0)?;
    progress("pre", 1.0);
    let previous = match &recipe.previous {
        None => None,
        Some(previous) => {
            // Regions that it saves are its own: those of the stage proper may have the same names.
            let mut known = structures.clone();
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
    known: &mut BTreeMap<String, Mask>,
) -> Result<Ready<'a>, InferError> {
    let mut images: Vec<Option<Prepared<'a>>> = Vec::new();
    let mut saved = Saved::new();
    for (slot, input) in stage.inputs.iter().enumerate() {
        if input.optional && !inputs.contains_key(&input.name) {
            images.push(None);
            continue;
        }
        let source = input_of(stage, inputs, slot)?;
        let axes = stage.orientation.axes(&source.geometry).transposed(stage.transpose);
        let mut image = Prepared::of(source, axes);
        for step in &input.pre {
            image = step.apply(image, &Surroundings { structures: known, images: inputs })?;
            for (name, mask) in std::mem::take(&mut image.saved) {
                known.insert(name.clone(), mask.clone());
                saved.push((name, mask));
            }
        }
        if let Some(Some(first)) = images.first() {
            image = placed(image, &first.frame, input.by_index, &input.name)?;
        }
        images.push(Some(image));
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
            Some(_) => Restored::in_place(self.stage, frame.shape()),
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
            None => Ok(restored),
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
        let mut sum: Option<Array4<f32>> = None;
        for (index, pass) in passes.iter().enumerate() {
            let images = self.of_view(pass)?;
            let seen = images.iter().flatten().next().map_or_else(|| frame.clone(), |image| image.frame.clone());
            let [slices, rows, columns] = seen.shape();
            let mut values: Option<Array4<f32>> = None;
            let mut keep = |start: usize, part: ArrayView4<'_, f32>| {
                let shape = (part.shape()[0], slices, rows, columns);
                let all = values.get_or_insert_with(|| Array4::zeros(shape));
                let end = start + part.shape()[1];
                all.slice_axis_mut(Axis(1), Slice::from(start..end)).assign(&part);
            };
            let borrowed: Vec<Option<&Prepared<'_>>> = images.iter().map(Option::as_ref).collect();
            let mut tell = |done: f32| progress((index as f32 + done) / passes.len() as f32);
            self.pass(pass, &seen, &borrowed, networks, &mut keep, &mut tell)?;
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
        let surroundings = Surroundings { structures: self.structures, images: self.inputs };
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
        let mut arrays: Vec<Cow<'_, CowArray<'_, f32, Ix3>>> = Vec::with_capacity(self.stage.channels.len());
        for channel in &self.stage.channels {
            arrays.push(self.array_of(channel, frame, images)?);
        }
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

    /// The array of one channel on `frame`.
    fn array_of<'b>(
        &'b self,
        channel: &Channel,
        frame: &Frame,
        images: &[Option<&'b Prepared<'_>>],
    ) -> Result<Cow<'b, CowArray<'b, f32, Ix3>>, InferError> {
        let owned = |array: Array3<f32>| Ok(Cow::Owned(CowArray::from(array)));
        match &channel.source {
            Source::Input(index) => match images.get(*index).copied().flatten() {
                None => owned(Array3::zeros(frame.shape())),
                Some(image) if channel.pre.is_empty() => Ok(Cow::Owned(CowArray::from(image.pixels.view()))),
                Some(image) => {
                    let surroundings = Surroundings { structures: self.structures, images: self.inputs };
                    let mut image = image.clone();
                    for step in &channel.pre {
                        image = step.apply(image, &surroundings)?;
                    }
                    if image.frame.shape() != frame.shape() {
                        let reason =
                            "found an operation of a channel that changes the size of the image, expected one \
                                      that keeps it; move it to \"pre\" of the input"
                                .to_owned();
                        return Err(InferError::Operation { name: "channels", reason });
                    }
                    owned(image.pixels.into_owned())
                }
            },
            Source::Structure(name) => {
                let mask = self.structures.get(name).map(|mask| frame.bring(mask));
                owned(mask.map_or_else(|| Array3::zeros(frame.shape()), |mask| mask.mapv(f32::from)))
            }
            Source::Previous(value) => {
                let own = &self.ready.frame;
                let Some(labels) = &self.previous else { return owned(Array3::zeros(frame.shape())) };
                if frame.geometry != own.geometry || frame.windows != own.windows {
                    let reason = "found a view whose operations move the image, and a label of the previous stage among \
                                  its channels, expected views that leave it in place; move them to \"pre\" of the input"
                        .to_owned();
                    return Err(InferError::Operation { name: "views", reason });
                }
                owned(labels.mapv(|label| f32::from(usize::from(label) == *value)))
            }
        }
    }
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
