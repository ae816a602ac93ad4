//! The patient in an image, without table and air; it knows no body part and no organ.
//!
//! CERR's `getPatientOutline`, slice by slice in rows and columns: rows count downward, toward the table. Where MATLAB
//! and pyCERR differ, and where both can cut a patient, the reading that loses no body is taken:
//!
//! - The 5th percentile of all voxels above the threshold is T, and what is at least T and above the table is opened with
//!   an octagon of radius 5. Both ask for more than T, where a body of one value has nothing, and both lose the fat of the
//!   back where T lies in the noise of fat and opening removes it: here the lower of T and 1.5 T is asked for. Outside the
//!   image counts as inside while eroding (MATLAB; SciPy wears the body away at the edge).
//! - The largest part in which corners connect (MATLAB; pyCERR takes faces) is the body of the slice. Rows below its
//!   lowest one are cleared, that row is kept (pyCERR; MATLAB clears it and the one above).
//! - The rest of the slice is taken again at 1.5 T, which is lower for CT, where T is negative. Where T is positive it is
//!   higher: if that loses more than a tenth of the body, T itself is used.
//! - Holes are filled, parts below 200 pixels dropped, gaps closed with a square of 5, and the mean of 5 x 5 must be above
//!   one half; the image repeats its edge there (MATLAB).
//! - The largest part of the volume in which corners connect is the patient.

mod couch;
mod plane;

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis, Zip, parallel::prelude::*};

use super::post::components::{Components, Neighbours, Run};

/// What [`patient_outline`] may be told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::infer) struct OutlineParameters {
    /// Air is at most this: -400 HU for CT; a fraction of the largest value with `normalise`.
    pub threshold: f64,
    /// A slice whose largest part has fewer pixels shows no patient.
    pub minimum_pixels: usize,
    /// The threshold is a fraction of the largest value of the image, as is right for MR.
    pub normalise: bool,
}

impl OutlineParameters {
    /// CERR's values for CT.
    #[cfg(test)]
    pub const CT: OutlineParameters = OutlineParameters { threshold: -400.0, minimum_pixels: 1500, normalise: false };
}

/// Parts of a slice below this many pixels are no body (CERR's `bwareaopen`).
const ISLAND_PIXELS: f64 = 200.0;
/// Share of the body of a slice that may be lost at 1.5 T.
const LOST_MAX: f64 = 0.1;

/// The voxels of the patient. Rows of the image run toward the table; nothing is there when no voxel is above the
/// threshold or no slice shows a part of `minimum_pixels`.
pub(in crate::infer) fn patient_outline(image: ArrayView3<'_, f32>, parameters: &OutlineParameters) -> Array3<bool> {
    let mut outline = Array3::from_elem(image.raw_dim(), false);
    let Some(air) = air_threshold(image, parameters) else { return outline };
    let table = couch::first_row(image, |plane| body_of(plane, air, plane.nrows(), parameters.minimum_pixels));
    outline.axis_iter_mut(Axis(0)).into_par_iter().zip(image.axis_iter(Axis(0)).into_par_iter()).for_each(
        |(mut out, plane)| {
            if let Some(body) = body_of(plane, air, table, parameters.minimum_pixels) {
                out.assign(&filled_outline(plane, &body, air));
            }
        },
    );
    keep_largest(&mut outline);
    outline
}

/// T in the unit of the image: the 5th percentile of what is above the threshold.
fn air_threshold(image: ArrayView3<'_, f32>, parameters: &OutlineParameters) -> Option<f32> {
    let mut above = parameters.threshold;
    if parameters.normalise {
        let maximum = image.into_par_iter().copied().reduce(|| f32::NEG_INFINITY, f32::max);
        // The fraction of a value that is not positive means nothing.
        if maximum.is_nan() || maximum <= 0.0 {
            return None;
        }
        above *= f64::from(maximum);
    }
    percentile_above(image, above as f32, 5.0)
}

/// MATLAB's `prctile` of the values above a bound: the value of rank i lies at 100 (i - 0.5) / n percent, between
/// them the straight line. Found by counting, so that no copy of a large image is sorted.
fn percentile_above(image: ArrayView3<'_, f32>, bound: f32, percent: f64) -> Option<f32> {
    let above = |value: &&f32| **value > bound;
    let high = counts(image, |value| above(&value).then(|| ordered(*value) >> 16));
    let count: u64 = high.iter().sum();
    if count == 0 {
        return None;
    }
    let rank = (percent / 100.0 * count as f64 - 0.5).clamp(0.0, (count - 1) as f64);
    let value_of = |rank: u64| {
        let (upper, before) = bin_of(&high, rank);
        let inside = |value: &f32| (above(&value) && ordered(*value) >> 16 == upper as u32).then(|| ordered(*value));
        let low = counts(image, |value| inside(value).map(|bits| bits & 0xffff));
        let bits = (upper as u32) << 16 | bin_of(&low, rank - before).0 as u32;
        f64::from(f32::from_bits(if bits >> 31 == 1 { bits & 0x7fff_ffff } else { !bits }))
    };
    let below = value_of(rank.floor() as u64);
    let fraction = rank - rank.floor();
    let next = if fraction == 0.0 { below } else { value_of(rank.floor() as u64 + 1) };
    Some((below + fraction * (next - below)) as f32)
}

/// The bits of a number such that larger numbers have larger bits.
fn ordered(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 }
}

/// How many voxels fall into each of 65536 bins.
fn counts(image: ArrayView3<'_, f32>, bin: impl Fn(&f32) -> Option<u32> + Sync) -> Vec<u64> {
    let none = || vec![0_u64; 1 << 16];
    let of_slices = |mut counts: Vec<u64>, plane: ArrayView2<'_, f32>| {
        plane.iter().filter_map(&bin).for_each(|bin| counts[bin as usize] += 1);
        counts
    };
    let sum = |mut a: Vec<u64>, b: Vec<u64>| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        a
    };
    image.axis_iter(Axis(0)).into_par_iter().fold(none, of_slices).reduce(none, sum)
}

/// The bin that holds a rank, and how many values lie in the bins before.
fn bin_of(counts: &[u64], rank: u64) -> (usize, u64) {
    let mut before = 0;
    for (bin, count) in counts.iter().enumerate() {
        if before + count > rank {
            return (bin, before);
        }
        before += count;
    }
    (counts.len() - 1, before)
}

/// The largest part of a slice that is neither air nor table, opened; `None` when it is smaller than `minimum_pixels`.
fn body_of(plane: ArrayView2<'_, f32>, air: f32, table: usize, minimum_pixels: usize) -> Option<Array2<bool>> {
    let lower = air.min(1.5 * air);
    let mut above = plane.mapv(|value| value >= lower);
    clear_below(&mut above, table);
    let mut opened = plane::opened(&above).insert_axis(Axis(0));
    let parts = Components::of(&opened, true, Neighbours::Corners, true);
    let sizes = parts.sum(Run::length);
    let largest = first_largest(&sizes)?;
    if sizes[largest] < minimum_pixels as f64 {
        return None;
    }
    parts.paint(&mut opened, false, |part| part != largest);
    Some(opened.remove_axis(Axis(0)))
}

/// The outline of a slice around its body: all of the slice down to the body's lowest row, holes filled, smoothed.
fn filled_outline(plane: ArrayView2<'_, f32>, body: &Array2<bool>, air: f32) -> Array2<bool> {
    let lowest = body.outer_iter().rposition(|row| row.iter().any(|inside| *inside)).unwrap_or(0);
    let at = |threshold: f32| {
        let mut mask = plane.mapv(|value| value >= threshold);
        clear_below(&mut mask, lowest + 1);
        let mut mask = mask.insert_axis(Axis(0));
        fill_holes(&mut mask);
        mask
    };
    let mut mask = at(1.5 * air);
    let lost = mask.iter().zip(body).filter(|(mask, body)| !**mask && **body).count() as f64;
    if lost > LOST_MAX * body.iter().filter(|inside| **inside).count() as f64 {
        mask = at(air);
    }
    let parts = Components::of(&mask, true, Neighbours::Corners, true);
    let sizes = parts.sum(Run::length);
    parts.paint(&mut mask, false, |part| sizes[part] < ISLAND_PIXELS);
    plane::smoothed(&plane::closed(&mask.remove_axis(Axis(0))))
}

fn clear_below(mask: &mut Array2<bool>, row: usize) {
    let rows = mask.nrows();
    mask.slice_axis_mut(Axis(0), ndarray::Slice::from(row.min(rows)..)).fill(false);
}

/// Sets what a slice encloses: parts of the background, connected by faces, that do not reach its edge.
fn fill_holes(mask: &mut Array3<bool>) {
    let (_, rows, columns) = mask.dim();
    let parts = Components::of(mask, false, Neighbours::Faces, true);
    let at_edge =
        |run: &Run| run.row == 0 || run.row as usize + 1 == rows || run.start == 0 || run.end as usize == columns;
    let touching = parts.sum(|run| f64::from(u8::from(at_edge(run))));
    parts.paint(mask, true, |part| touching[part] == 0.0);
}

/// Keeps the largest part of the volume in which corners connect; of equal ones the first.
fn keep_largest(mask: &mut Array3<bool>) {
    let parts = Components::of(mask, true, Neighbours::Corners, false);
    let sizes = parts.sum(Run::length);
    if let Some(largest) = first_largest(&sizes) {
        parts.paint(mask, false, |part| part != largest);
    }
}

fn first_largest(sizes: &[f64]) -> Option<usize> {
    (0..sizes.len()).reduce(|best, next| if sizes[next] > sizes[best] { next } else { best })
}

/// The maximum over slices.
fn projected(image: ArrayView3<'_, f32>) -> Array2<f32> {
    let none = || Array2::from_elem((image.dim().1, image.dim().2), f32::NEG_INFINITY);
    let larger = |mut most: Array2<f32>, plane: ArrayView2<'_, f32>| {
        Zip::from(&mut most).and(plane).for_each(|most, value| *most = if *value > *most { *value } else { *most });
        most
    };
    let planes = image.axis_iter(Axis(0)).into_par_iter();
    planes.fold(none, larger).reduce(none, |a, b| larger(a, b.view()))
}

#[cfg(test)]
mod tests;
