//! From the network's values, slice by slice, to labels on the source grid; it holds only the slices still needed, but for
//! a spline, which needs them all.

mod bits;
mod decide;
mod place;
mod whole;

use std::collections::VecDeque;
use std::sync::Arc;

use ndarray::{Array3, ArrayView3, ArrayView4, ArrayViewMut2, Axis, Slice, parallel::prelude::*};

use self::bits::Bits;
use self::decide::Decide;
pub(super) use self::place::separate_axis;
use self::place::{places, taps_back};
use self::whole::Whole;
use super::InferError;
use super::frame::{Frame, Windows};
use super::grid::{Method, Taps};
use super::part::part;
use super::recipe::{Activate, Activation, Back, Decision, ExtraImage, Output, Separate, Stage};
use super::window::label_channels;
use crate::volume::VolumeGeometry;

/// Labels (and images) on the source grid while they come in.
pub(super) struct Restored {
    output: Output,
    /// What the images of the stage are.
    extras: Vec<ExtraImage>,
    decide: Decide,
    taps: [Vec<Option<Taps>>; 3],
    /// Every axis is taken over voxel by voxel: no values are blended.
    plain: bool,
    /// Slices of `[channel, row, column]` that later source slices still blend.
    waiting: VecDeque<(usize, Array3<f32>)>,
    next: usize,
    /// All values, where a spline brings them back: nothing streams then.
    whole: Option<Whole>,
    found: Found,
    /// One array for each channel of each image of the stage.
    images: Vec<Array3<f32>>,
}

/// What was found where.
enum Found {
    /// 0 for none, else the place of the label in the list plus one.
    Exclusive(Array3<u8>),
    /// One array per label of the list.
    Overlapping(Vec<Bits>),
}

impl Restored {
    /// Results of a network on the array of `frame`, on the grid `target`.
    pub(super) fn new(stage: &Stage, frame: &Frame, target: &Arc<VolumeGeometry>) -> Result<Restored, InferError> {
        let taps = taps_back(&stage.output, frame, target)?;
        let mut restored = Restored::with_taps(stage.output.clone(), stage.images.clone(), taps, target.shape());
        if let Back::Spline(spline) = stage.output.back {
            let (places, channels) = (places(&stage.output, frame, target)?, stage.output.channels_least());
            restored.whole = Some(Whole::new(&places, spline, channels)?);
        }
        Ok(restored)
    }

    /// Results voxel by voxel on an array of this shape.
    ///
    /// # Errors
    /// Where a spline is asked for, which needs one grid.
    pub(super) fn in_place(stage: &Stage, shape: [usize; 3]) -> Result<Restored, InferError> {
        if let Back::Spline(..) = stage.output.back {
            let reason = "found slices that were cut each in its own way, expected a grid where \"back\" is \"bspline\"; \
                          set it to \"nearest\"";
            return Err(InferError::Operation { name: "restore", reason: reason.to_owned() });
        }
        let whole = |length: usize| (0..length).map(|index| Taps::at(index as f64, length, Method::Nearest)).collect();
        Ok(Restored::with_taps(stage.output.clone(), stage.images.clone(), shape.map(whole), shape))
    }

    /// No label at all, on an array of this shape: for operations on masks that no network made.
    pub(super) fn none(shape: [usize; 3]) -> Restored {
        let output = Output {
            activation: Activation::None,
            activate: Activate::Blended,
            decision: Decision::ArgMax,
            back: Back::Nearest,
            fades: false,
            separate: Separate::Never,
            half: false,
            labels: Vec::new(),
        };
        Restored::with_taps(output, Vec::new(), [Vec::new(), Vec::new(), Vec::new()], shape)
    }

    fn with_taps(output: Output, extras: Vec<ExtraImage>, taps: [Vec<Option<Taps>>; 3], shape: [usize; 3]) -> Restored {
        let plain = taps.iter().flatten().all(|tap| tap.as_ref().is_none_or(|tap| tap.single().is_some()));
        let found = match output.decision {
            Decision::Threshold => Found::Overlapping(output.labels.iter().map(|_| Bits::empty(shape)).collect()),
            _ => Found::Exclusive(Array3::zeros(shape)),
        };
        let channels = extras.iter().map(|image| image.channels.len()).sum();
        let images = (0..channels).map(|_| Array3::zeros(shape)).collect();
        let decide = Decide::of(&output);
        Restored { output, extras, decide, taps, plain, waiting: VecDeque::new(), next: 0, whole: None, found, images }
    }

    /// Takes `[channel, slice, row, column]` values from slice `start` of the network's grid on, in ascending order.
    pub(super) fn push(&mut self, start: usize, values: ArrayView4<'_, f32>) {
        if let Some(whole) = &mut self.whole {
            whole.push(start, values);
            return;
        }
        let end = start + values.shape()[1];
        // Source slices all of whose taps are there now.
        let upto = (self.next..self.taps[0].len())
            .find(|&k| self.taps[0][k].as_ref().is_some_and(|tap| tap.last() >= end))
            .unwrap_or(self.taps[0].len());
        let ready = self.next..upto;
        let labels = label_channels(values.shape()[0], &self.extras);
        let image_channels = self.image_channels(labels);
        let waiting = &self.waiting;
        let (taps, decide, plain) = (&self.taps, &self.decide, self.plain);
        let plane = |index: usize| -> Option<ArrayView3<'_, f32>> {
            if index >= start {
                return Some(values.index_axis(Axis(1), index - start));
            }
            waiting.iter().find(|(k, _)| *k == index).map(|(_, plane)| plane.view())
        };
        // The values of one source slice, blended along slices; `channels` are those that are wanted.
        let with_slice = |k: usize, channels: Slice, take: &mut dyn FnMut(ArrayView3<'_, f32>)| {
            let Some(along) = &taps[0][k] else { return };
            let plane = |index: usize| plane(index).map(|plane| plane.slice_axis_move(Axis(0), channels));
            if let Some(only) = along.single().filter(|_| plain).and_then(plane) {
                take(only);
            } else if let Some(blended) = blend(along, &plane) {
                take(blended.view());
            }
        };
        let in_plane = [taps[1].as_slice(), taps[2].as_slice()];
        match &mut self.found {
            Found::Exclusive(all) => for_each_slice(all, &ready, &|k, mut out| {
                with_slice(k, Slice::from(..labels), &mut |values| {
                    for_each_pixel(values, in_plane, &mut out, |pixel| decide.exclusive(pixel));
                });
            }),
            Found::Overlapping(all) => {
                for (label, all) in self.output.labels.iter().zip(all) {
                    let (rows, columns) = all.slices_mut();
                    for_each_slice(rows, &ready, &|k, mut packed| {
                        with_slice(k, Slice::from(label.index..=label.index), &mut |values| {
                            Bits::work_on(&mut packed, columns, |out| {
                                for_each_pixel(values, in_plane, out, |pixel| decide.is_above(pixel[0], label));
                            });
                        });
                    });
                }
            }
        }
        for (channel, all) in image_channels.into_iter().zip(&mut self.images) {
            for_each_slice(all, &ready, &|k, mut out| {
                with_slice(k, Slice::from(channel..=channel), &mut |values| {
                    for_each_pixel(values, in_plane, &mut out, |pixel| pixel[0]);
                });
            });
        }
        self.next = upto;
        self.keep_waiting(start, values);
    }

    /// The channel of each array of the images: those of outputs of their own come after the labels'.
    fn image_channels(&self, labels: usize) -> Vec<usize> {
        let mut next = labels;
        let mut channels = Vec::new();
        for image in &self.extras {
            if image.output.is_some() {
                channels.extend(next..next + image.channels.len());
                next += image.channels.len();
            } else {
                channels.extend(&image.channels);
            }
        }
        channels
    }

    /// Keeps the slices that a source slice to come still blends.
    fn keep_waiting(&mut self, start: usize, values: ArrayView4<'_, f32>) {
        let first = self.taps[0][self.next..].iter().flatten().map(Taps::first).min().unwrap_or(usize::MAX);
        self.waiting.retain(|(index, _)| *index >= first);
        for (offset, plane) in values.axis_iter(Axis(1)).enumerate() {
            if start + offset >= first {
                self.waiting.push_back((start + offset, plane.to_owned()));
            }
        }
    }

    /// Ends the run: where a spline brings values back, they are decided now, channel by channel.
    ///
    /// # Errors
    /// When they took too much memory.
    pub(super) fn finish(mut self) -> Result<Restored, InferError> {
        let Some(mut whole) = self.whole.take() else { return Ok(self) };
        let channels = whole.channels()?;
        let labels = if channels == 0 { 0 } else { label_channels(channels, &self.extras) };
        let of_images = self.image_channels(labels);
        let mut highest = None;
        for channel in 0..channels {
            let alone = self.output.labels.iter().filter(|label| label.index == channel);
            let wanted = of_images.contains(&channel)
                || channel < labels && (matches!(self.found, Found::Exclusive(_)) || alone.count() > 0);
            if !wanted {
                continue;
            }
            let values = whole.channel(channel);
            match &mut self.found {
                Found::Exclusive(all) if channel < labels => {
                    self.decide.compare(channel, &values, part(all.view_mut(), whole.reached()), &mut highest);
                }
                Found::Overlapping(all) if channel < labels => {
                    for (label, all) in self.output.labels.iter().zip(all).filter(|(label, _)| label.index == channel) {
                        let mut mask = all.to_mask();
                        let inside = values.mapv(|value| self.decide.is_above(value, label));
                        part(mask.view_mut(), whole.reached()).assign(&inside);
                        *all = Bits::of(&mask);
                    }
                }
                _ => {}
            }
            for (_, all) in of_images.iter().zip(&mut self.images).filter(|(of, _)| **of == channel) {
                part(all.view_mut(), whole.reached()).assign(&values);
            }
        }
        Ok(self)
    }

    /// What was found on the array of a frame whose slices were cut each in its own way, on the grid `target`: to the grid
    /// of the frame by its windows, from there the nearest voxel (as CERR undoes resize, crop and resample).
    pub(super) fn through(
        self,
        frame: &Frame,
        windows: &Windows,
        target: &Arc<VolumeGeometry>,
    ) -> Result<Restored, InferError> {
        let grid = frame.geometry.shape();
        let output = Output { back: Back::Nearest, separate: Separate::Never, ..self.output.clone() };
        let taps = taps_back(&output, frame, target)?;
        let found = match self.found {
            Found::Exclusive(all) => Found::Exclusive(nearest(&unwindowed(&all, windows, grid, 0), &taps, 0)),
            Found::Overlapping(all) => Found::Overlapping(
                all.iter()
                    .map(|one| Bits::of(&nearest(&unwindowed(&one.to_mask(), windows, grid, false), &taps, false)))
                    .collect(),
            ),
        };
        let images = self.images.iter().map(|one| nearest(&unwindowed(one, windows, grid, 0.0), &taps, 0.0)).collect();
        Ok(Restored { found, images, taps, ..self })
    }

    /// The voxels of one label.
    pub(super) fn mask(&self, name: &str) -> Option<Array3<bool>> {
        let place = self.place_of(name)?;
        Some(match &self.found {
            Found::Overlapping(all) => all[place].to_mask(),
            Found::Exclusive(all) => {
                let wanted = place as u8 + 1;
                let mut mask = Array3::from_elem(all.raw_dim(), false);
                ndarray::Zip::from(&mut mask).and(all).par_for_each(|inside, found| *inside = *found == wanted);
                mask
            }
        })
    }

    /// The value of the label at each voxel, 0 for none; of overlapping labels the last.
    pub(super) fn values(&self) -> Array3<u16> {
        let value = |place: usize| self.output.labels.get(place).map_or(0, |label| label.index as u16);
        match &self.found {
            Found::Exclusive(all) => all.mapv(|found| if found == 0 { 0 } else { value(usize::from(found) - 1) }),
            Found::Overlapping(all) => {
                let mut values = Array3::zeros(self.taps_shape());
                for (place, mask) in all.iter().enumerate() {
                    ndarray::Zip::from(&mut values)
                        .and(&mask.to_mask())
                        .par_for_each(|v, m| *v = if *m { value(place) } else { *v });
                }
                values
            }
        }
    }

    fn taps_shape(&self) -> [usize; 3] {
        [self.taps[0].len(), self.taps[1].len(), self.taps[2].len()]
    }

    /// Adds the voxels of one label to a mask; cheaper than making the label's own.
    pub(super) fn add_to(&self, name: &str, mask: &mut Array3<bool>) {
        let Some(place) = self.place_of(name) else { return };
        match &self.found {
            Found::Overlapping(all) => all[place].add_to(mask),
            Found::Exclusive(all) => {
                let wanted = place as u8 + 1;
                ndarray::Zip::from(mask).and(all).par_for_each(|inside, found| *inside |= *found == wanted);
            }
        }
    }

    /// The images of the stage, by name: one array for each channel.
    pub(super) fn take_images(&mut self) -> Vec<Vec<Array3<f32>>> {
        let mut arrays = std::mem::take(&mut self.images).into_iter();
        self.extras.iter().map(|image| arrays.by_ref().take(image.channels.len()).collect()).collect()
    }

    fn place_of(&self, name: &str) -> Option<usize> {
        self.output.labels.iter().position(|label| label.name == name)
    }
}

/// The planes of an array on the grid that its windows were cut from.
fn unwindowed<T: Copy + Send + Sync>(array: &Array3<T>, windows: &Windows, grid: [usize; 3], outside: T) -> Array3<T> {
    let mut out = Array3::from_elem(grid, outside);
    for (plane, window) in array.outer_iter().zip(&windows.slices) {
        if let Some(window) = window {
            let back = windows.plane_back(plane, window, (grid[1], grid[2]), outside);
            out.index_axis_mut(Axis(0), window.slice).assign(&back);
        }
    }
    out
}

/// The nearest voxel by taps that have one index each.
fn nearest<T: Copy + Send + Sync>(array: &Array3<T>, taps: &[Vec<Option<Taps>>; 3], outside: T) -> Array3<T> {
    let only = |tap: &Option<Taps>| tap.as_ref().and_then(Taps::single);
    let mut out = Array3::from_elem((taps[0].len(), taps[1].len(), taps[2].len()), outside);
    out.axis_iter_mut(Axis(0)).into_par_iter().zip(&taps[0]).for_each(|(mut plane, slice)| {
        let Some(k) = only(slice) else { return };
        for (mut row, along) in plane.outer_iter_mut().zip(&taps[1]) {
            let Some(j) = only(along) else { continue };
            for (value, along) in row.iter_mut().zip(&taps[2]) {
                if let Some(i) = only(along) {
                    *value = array[[k, j, i]];
                }
            }
        }
    });
    out
}

fn for_each_slice<T: Send + Sync>(
    all: &mut Array3<T>,
    ready: &std::ops::Range<usize>,
    work: &(dyn Fn(usize, ArrayViewMut2<'_, T>) + Sync),
) {
    let mut part = all.slice_axis_mut(Axis(0), Slice::from(ready.clone()));
    part.axis_iter_mut(Axis(0)).into_par_iter().zip(ready.clone()).for_each(|(out, k)| work(k, out));
}

fn blend<'a>(taps: &Taps, plane: &dyn Fn(usize) -> Option<ArrayView3<'a, f32>>) -> Option<Array3<f32>> {
    let mut sum: Option<Array3<f32>> = None;
    for (index, weight) in taps.iter() {
        let values = plane(index)?;
        let sum = sum.get_or_insert_with(|| Array3::zeros(values.raw_dim()));
        sum.scaled_add(weight, &values);
    }
    sum
}

/// Blends the channels of each pixel of a slice and lets `decide` choose; pixels outside the network's grid are left.
fn for_each_pixel<T>(
    values: ArrayView3<'_, f32>,
    [rows, columns]: [&[Option<Taps>]; 2],
    out: &mut ArrayViewMut2<'_, T>,
    decide: impl Fn(&[f32]) -> T,
) {
    let channels = values.shape()[0];
    let mut pixel = vec![0.0_f32; channels];
    // Most often columns are taken over one by one; whole rows are read then.
    let same = |(i, taps): (usize, &Option<Taps>)| taps.as_ref().and_then(Taps::single) == Some(i);
    let whole = columns.len() == values.shape()[2] && columns.iter().enumerate().all(same);
    for (mut out_row, along_rows) in out.outer_iter_mut().zip(rows) {
        let Some(along_rows) = along_rows else { continue };
        if let Some(lanes) = along_rows.single().filter(|_| whole).and_then(|row| lanes_of(&values, row)) {
            for (i, target) in out_row.iter_mut().enumerate() {
                pixel.iter_mut().zip(&lanes).for_each(|(value, lane)| *value = lane[i]);
                *target = decide(&pixel);
            }
            continue;
        }
        for (target, along_columns) in out_row.iter_mut().zip(columns) {
            let Some(along_columns) = along_columns else { continue };
            match (along_rows.single(), along_columns.single()) {
                (Some(j), Some(i)) => pixel.iter_mut().enumerate().for_each(|(c, value)| *value = values[[c, j, i]]),
                _ => {
                    pixel.fill(0.0);
                    for (j, a) in along_rows.iter() {
                        for (i, b) in along_columns.iter() {
                            pixel.iter_mut().enumerate().for_each(|(c, sum)| *sum += a * b * values[[c, j, i]]);
                        }
                    }
                }
            }
            *target = decide(&pixel);
        }
    }
}

/// One row of every channel, where rows lie in one piece.
fn lanes_of<'a>(values: &'a ArrayView3<'_, f32>, row: usize) -> Option<Vec<&'a [f32]>> {
    values.axis_iter(Axis(0)).map(|plane| plane.index_axis_move(Axis(0), row).to_slice()).collect()
}

#[cfg(test)]
mod tests;
