//! Checks of where the slices lie.

use dicom_dictionary_std::tags;

use super::{Deviation, differing, where_found};
use crate::assemble::format::key;
use crate::assemble::frame::Frame;
use crate::assemble::placement::{missing_in, same_orientation};
use crate::assemble::series::{Series, Stack};
use crate::assemble::volumes::SAME_SPACING_MM;
use crate::dicom::Uid;
use crate::limits::{SLICES_MAX, VOXELS_MAX};
use crate::volume::dot;

/// Uneven spacing below this is rounding of positions in text.
const ROUNDING_MM: f64 = 0.01;

/// Beyond this part of the median, distances are no longer called equal. Real oblique MR jitters by 1.4 %.
const UNEVEN: f64 = 0.1;

/// A shift within the plane of more than this is a sheared stack.
const SHEAR_MM: f64 = 0.1;

/// What tells phases, echoes and reconstructions at one position apart.
const PHASE_TAGS: [(dicom_core::Tag, &str); 8] = [
    (tags::TEMPORAL_POSITION_IDENTIFIER, "Temporal Position Identifier"),
    (tags::ACQUISITION_NUMBER, "Acquisition Number"),
    (tags::TRIGGER_TIME, "Trigger Time"),
    (tags::NOMINAL_PERCENTAGE_OF_CARDIAC_PHASE, "Nominal Percentage of Cardiac Phase"),
    (tags::ECHO_NUMBERS, "Echo Number"),
    (tags::DIFFUSION_B_VALUE, "Diffusion b-value"),
    (tags::CONVOLUTION_KERNEL, "Convolution Kernel"),
    (tags::IMAGE_TYPE, "Image Type"),
];

pub(super) fn frame_of_reference(series: &Series) -> Option<Deviation> {
    let uid = |i: usize| -> Option<Uid> {
        series.instances[i].text(tags::FRAME_OF_REFERENCE_UID).and_then(|text| text.parse().ok())
    };
    let without: Vec<usize> = series.images.iter().copied().filter(|&i| uid(i).is_none()).collect();
    if !without.is_empty() {
        return Some(Deviation { instances: without, found: "none".to_owned() });
    }
    differing(&series.images, uid, |uid| uid.as_ref().map_or("none".to_owned(), Uid::to_string))
}

/// The instances of the frames for which a condition holds.
fn frames_where(series: &Series, find: impl Fn(&Frame) -> Option<String>) -> Option<Deviation> {
    let mut hits = series.frames.iter().filter_map(|frame| find(frame).map(|found| (frame.instance, found)));
    let (first, found) = hits.next()?;
    let instances = std::iter::once(first).chain(hits.map(|(i, _)| i)).collect();
    Some(Deviation { instances, found })
}

pub(super) fn no_placement(series: &Series) -> Option<Deviation> {
    frames_where(series, |frame| match (&frame.placement, &frame.spacing_mm) {
        (None, _) => Some("no legal position and orientation".to_owned()),
        (_, None) => Some("no legal pixel spacing".to_owned()),
        (Some(_), Some(_)) => None,
    })
}

pub(super) fn directions(series: &Series) -> Option<Deviation> {
    frames_where(series, |frame| {
        let placement = frame.placement.as_ref()?;
        let (row, column) = (placement.row_direction, placement.column_direction);
        let off = |a: [f64; 3]| (dot(a, a).sqrt() - 1.0).abs();
        let deviation = off(row).max(off(column)).max(dot(row, column).abs());
        (deviation > 1e-2).then(|| format!("a deviation of {deviation:.4}"))
    })
}

pub(super) fn orientation(series: &Series) -> Option<Deviation> {
    let first = series.frames.first()?;
    let expected = first.placement.as_ref()?;
    let others = |frame: &&Frame| frame.placement.as_ref().is_some_and(|other| !same_orientation(expected, other));
    let count = series.frames.iter().filter(others).count();
    let other = series.frames.iter().find(others)?;
    let found = format!("{count} of {} images unlike the first", series.frames.len());
    Some(Deviation { instances: vec![first.instance, other.instance], found })
}

pub(super) fn size(series: &Series) -> Option<Deviation> {
    let size = |i: usize| series.formats[i].map(|format| (format.rows, format.columns));
    differing(&series.images, size, |size| {
        size.map_or("none".to_owned(), |(rows, columns)| format!("{rows} x {columns}"))
    })
}

pub(super) fn pixel_spacing(series: &Series) -> Option<Deviation> {
    let first = series.frames.first()?;
    let expected = first.spacing_mm?;
    frames_where(series, |frame| {
        let found = frame.spacing_mm?;
        let same = found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= SAME_SPACING_MM);
        let plausible = found.iter().all(|mm| (0.01..=50.0).contains(mm));
        (!same || !plausible).then(|| format!("{} x {} mm", found[0], found[1]))
    })
}

pub(super) fn clashes(series: &Series) -> Option<Deviation> {
    let stack = series.stack.as_ref()?;
    let &(a, b) = stack.clashes.first()?;
    let (a, b) = (&series.frames[a], &series.frames[b]);
    let headers = (&series.instances[a.instance].header, &series.instances[b.instance].header);
    let differs = PHASE_TAGS.iter().find(|(tag, _)| key(headers.0, *tag) != key(headers.1, *tag));
    let by = differs.map_or("nothing that tells them apart", |(_, name)| name);
    let found = format!("{} pairs of slices at one position; they differ by {by}", stack.clashes.len());
    Some(Deviation { instances: vec![a.instance, b.instance], found })
}

pub(super) fn repeated(series: &Series) -> Option<Deviation> {
    let stack = series.stack.as_ref()?;
    let instances: Vec<usize> = stack.repeated.iter().map(|&frame| series.frames[frame].instance).collect();
    let found = format!("{} repeated images", instances.len());
    (!instances.is_empty()).then_some(Deviation { instances, found })
}

pub(super) fn too_few(series: &Series) -> Option<Deviation> {
    let stack = series.stack.as_ref()?;
    let (found, least) = (stack.order.len(), series.allowed.slices_min);
    if found >= least {
        return None;
    }
    let found = format!("{found} of {least} slices");
    Some(Deviation { instances: series.images.clone(), found })
}

pub(super) fn too_large(series: &Series) -> Option<Deviation> {
    let samples = series.formats.iter().flatten().map(|format| format.samples()).max()?;
    let slices = series.frames.len();
    if slices <= SLICES_MAX && samples.saturating_mul(slices) <= VOXELS_MAX {
        return None;
    }
    let found = format!("{slices} slices of {samples} pixels, at most {SLICES_MAX} and {VOXELS_MAX} voxels");
    Some(Deviation { instances: series.images.clone(), found })
}

/// The neighbours on both sides of the largest gap, with its width.
fn largest_gap(stack: &Stack) -> Option<(usize, usize, f64)> {
    let gaps = stack.positions_mm.windows(2).zip(stack.order.windows(2));
    gaps.map(|(at, frames)| (frames[0], frames[1], at[1] - at[0])).max_by(|a, b| a.2.total_cmp(&b.2))
}

pub(super) fn gap(series: &Series) -> Option<Deviation> {
    let stack = series.stack.as_ref().filter(|_| !series.allowed.uneven_spacing)?;
    let gaps = stack.positions_mm.windows(2).map(|pair| pair[1] - pair[0]);
    let missing: usize = gaps.map(|gap| missing_in(gap, stack.median_mm)).sum();
    if missing == 0 {
        return None;
    }
    let (below, above, width) = largest_gap(stack)?;
    let found =
        format!("a gap of {width:.3} mm where the median is {:.3} mm: about {missing} missing", stack.median_mm);
    Some(Deviation { instances: vec![series.frames[below].instance, series.frames[above].instance], found })
}

/// The pair of neighbours whose distance deviates most from the median, with the deviation.
fn worst_deviation(stack: &Stack) -> Option<(usize, f64)> {
    let gaps = stack.positions_mm.windows(2).zip(stack.order.windows(2));
    let deviations = gaps.map(|(at, frames)| (frames[0], (at[1] - at[0] - stack.median_mm).abs()));
    deviations.max_by(|a, b| a.1.total_cmp(&b.1))
}

pub(super) fn uneven(series: &Series) -> Option<Deviation> {
    if series.allowed.uneven_spacing || gap(series).is_some() {
        return None;
    }
    deviation_above(series, UNEVEN)
}

pub(super) fn slightly_uneven(series: &Series) -> Option<Deviation> {
    let is_refused = gap(series).is_some() || uneven(series).is_some();
    if is_refused { None } else { deviation_above(series, 0.0) }
}

fn deviation_above(series: &Series, part: f64) -> Option<Deviation> {
    let stack = series.stack.as_ref()?;
    let (frame, deviation) = worst_deviation(stack)?;
    if deviation <= ROUNDING_MM.max(part * stack.median_mm) {
        return None;
    }
    let found = format!("up to {deviation:.3} mm from the median of {:.3} mm", stack.median_mm);
    Some(Deviation { instances: vec![series.frames[frame].instance], found })
}

pub(super) fn sheared(series: &Series) -> Option<Deviation> {
    let stack = series.stack.as_ref()?;
    let first = series.frames[*stack.order.first()?].placement.as_ref()?;
    let drift = |frame: &Frame| -> Option<f64> {
        let origin = frame.placement.as_ref()?.origin;
        let offset: [f64; 3] = std::array::from_fn(|axis| origin[axis] - first.origin[axis]);
        let along = dot(offset, first.normal);
        let within: [f64; 3] = std::array::from_fn(|axis| offset[axis] - along * first.normal[axis]);
        Some(dot(within, within).sqrt())
    };
    let worst = series.frames.iter().filter_map(|frame| drift(frame).map(|mm| (frame.instance, mm)));
    let (instance, mm) = worst.max_by(|a, b| a.1.total_cmp(&b.1))?;
    (mm > SHEAR_MM).then(|| Deviation { instances: vec![instance], found: format!("a shift of up to {mm:.2} mm") })
}

pub(super) fn tilt_attribute(series: &Series) -> Option<Deviation> {
    where_found(series, |instance| {
        let tilt = instance.f64s(tags::GANTRY_DETECTOR_TILT)?.first().copied()?;
        (tilt.abs() > 1e-3).then(|| format!("{tilt} degrees"))
    })
}
