//! From the network's values, slice by slice, to labels on the source grid; it holds only the slices still needed.

use std::collections::VecDeque;
use std::sync::Arc;

use ndarray::{Array3, ArrayView3, ArrayView4, ArrayViewMut2, Axis, parallel::prelude::*};

use super::InferError;
use super::grid::{Method, Taps, taps_between};
use super::recipe::{Decision, Label, Output};
use crate::volume::VolumeGeometry;

/// Labels on the source grid while they come in.
pub(super) struct Restored {
    decision: Decision,
    labels: Vec<Label>,
    taps: [Vec<Option<Taps>>; 3],
    /// Every axis is taken over voxel by voxel: no values are blended.
    plain: bool,
    /// Slices of `[channel, row, column]` that later source slices still blend.
    waiting: VecDeque<(usize, Array3<f32>)>,
    next: usize,
    found: Found,
}

/// What was found where.
enum Found {
    /// 0 for none, else the place of the label in the list plus one.
    Exclusive(Array3<u8>),
    /// One array per label of the list.
    Overlapping(Vec<Array3<bool>>),
}

impl Restored {
    /// `tensor` is the grid of the network's values, `source` the grid of the results.
    pub(super) fn new(
        output: &Output,
        tensor: &Arc<VolumeGeometry>,
        source: &Arc<VolumeGeometry>,
    ) -> Result<Restored, InferError> {
        let method = if output.linear { Method::Linear } else { Method::Nearest };
        let taps = taps_between(tensor, source, method).ok_or_else(|| InferError::Operation {
            name: "restore",
            reason: "found a network grid whose axes are not parallel to those of the source image, expected \
                     pre-processing of the first input that keeps them parallel"
                .to_owned(),
        })?;
        let plain = taps.iter().flatten().all(|tap| tap.as_ref().is_none_or(|tap| tap.single().is_some()));
        let found = match output.decision {
            Decision::Threshold => {
                Found::Overlapping(output.labels.iter().map(|_| Array3::from_elem(source.shape(), false)).collect())
            }
            Decision::ArgMax | Decision::LabelMap => Found::Exclusive(Array3::zeros(source.shape())),
        };
        let (decision, labels) = (output.decision, output.labels.clone());
        Ok(Restored { decision, labels, taps, plain, waiting: VecDeque::new(), next: 0, found })
    }

    /// Takes `[channel, slice, row, column]` values from slice `start` of the network's grid on, in ascending order.
    pub(super) fn push(&mut self, start: usize, values: ArrayView4<'_, f32>) {
        let end = start + values.shape()[1];
        // Source slices all of whose taps are there now.
        let upto = (self.next..self.taps[0].len())
            .find(|&k| self.taps[0][k].as_ref().is_some_and(|tap| tap.last() >= end))
            .unwrap_or(self.taps[0].len());
        let ready = self.next..upto;
        let waiting = &self.waiting;
        let (taps, labels, decision, plain) = (&self.taps, &self.labels, self.decision, self.plain);
        let plane = |index: usize| -> Option<ArrayView3<'_, f32>> {
            if index >= start {
                return Some(values.index_axis(Axis(1), index - start));
            }
            waiting.iter().find(|(k, _)| *k == index).map(|(_, plane)| plane.view())
        };
        let decide_slice = |k: usize, decide: &mut dyn FnMut(ArrayView3<'_, f32>)| {
            let Some(along) = &taps[0][k] else { return };
            if let Some(only) = along.single().filter(|_| plain).and_then(plane) {
                decide(only);
            } else if let Some(blended) = blend(along, &plane) {
                decide(blended.view());
            }
        };
        match &mut self.found {
            Found::Exclusive(all) => {
                let mut part = all.slice_axis_mut(Axis(0), ndarray::Slice::from(ready.clone()));
                part.axis_iter_mut(Axis(0)).into_par_iter().zip(ready.clone()).for_each(|(out, k)| {
                    decide_slice(k, &mut decide_exclusive(out, decision, labels, [&taps[1], &taps[2]]));
                });
            }
            Found::Overlapping(all) => {
                for (label, all) in labels.iter().zip(all) {
                    let mut part = all.slice_axis_mut(Axis(0), ndarray::Slice::from(ready.clone()));
                    part.axis_iter_mut(Axis(0)).into_par_iter().zip(ready.clone()).for_each(|(out, k)| {
                        decide_slice(k, &mut decide_threshold(out, label, [&taps[1], &taps[2]]));
                    });
                }
            }
        }
        self.next = upto;
        self.keep_waiting(start, values);
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

    /// The voxels of one label.
    pub(super) fn mask(&self, name: &str) -> Option<Array3<bool>> {
        let place = self.labels.iter().position(|label| label.name == name)?;
        Some(match &self.found {
            Found::Overlapping(all) => all[place].clone(),
            Found::Exclusive(all) => {
                let wanted = place as u8 + 1;
                let mut mask = Array3::from_elem(all.raw_dim(), false);
                ndarray::Zip::from(&mut mask).and(all).par_for_each(|inside, found| *inside = *found == wanted);
                mask
            }
        })
    }

    /// Adds the voxels of one label to a mask; cheaper than making the label's own.
    pub(super) fn add_to(&self, name: &str, mask: &mut Array3<bool>) {
        let Some(place) = self.labels.iter().position(|label| label.name == name) else { return };
        match &self.found {
            Found::Overlapping(all) => ndarray::Zip::from(mask).and(&all[place]).par_for_each(|m, f| *m |= *f),
            Found::Exclusive(all) => {
                let wanted = place as u8 + 1;
                ndarray::Zip::from(mask).and(all).par_for_each(|inside, found| *inside |= *found == wanted);
            }
        }
    }
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

/// A decision for one source slice from the values of its network slice, `[channel, row, column]`.
fn decide_exclusive<'a>(
    mut out: ArrayViewMut2<'a, u8>,
    decision: Decision,
    labels: &'a [Label],
    taps: [&'a [Option<Taps>]; 2],
) -> impl FnMut(ArrayView3<'_, f32>) + 'a {
    move |values| {
        let channels = values.shape()[0];
        let mut place_of = vec![0_u8; channels.max(256)];
        for (place, label) in labels.iter().enumerate() {
            place_of[label.index] = place as u8 + 1;
        }
        for_each_pixel(values, taps, &mut out, |pixel| match decision {
            Decision::LabelMap => {
                let number = pixel[0].round();
                if (0.0..256.0).contains(&number) { place_of[number as usize] } else { 0 }
            }
            _ => {
                let mut best = 0;
                for channel in 1..pixel.len() {
                    // The first of equals wins, so that a tie with background stays background.
                    if pixel[channel] > pixel[best] {
                        best = channel;
                    }
                }
                place_of[best]
            }
        });
    }
}

fn decide_threshold<'a>(
    mut out: ArrayViewMut2<'a, bool>,
    label: &'a Label,
    taps: [&'a [Option<Taps>]; 2],
) -> impl FnMut(ArrayView3<'_, f32>) + 'a {
    move |values| {
        let channel = values.slice_axis(Axis(0), ndarray::Slice::from(label.index..=label.index));
        for_each_pixel(channel, taps, &mut out, |pixel| pixel[0] >= label.threshold);
    }
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
