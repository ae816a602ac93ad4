//! Where the voxels of the target lie on the array of a frame, one axis at a time; it reads no values.

use std::sync::Arc;

use crate::infer::InferError;
use crate::infer::axes::REVERSED_HAIR;
use crate::infer::frame::{Frame, spacing_mm};
use crate::infer::grid::target::aligned_position;
use crate::infer::grid::{Method, Taps, positions_between};
use crate::infer::recipe::{Back, Output, Separate, Spline};
use crate::volume::VolumeGeometry;

/// Where one axis of the target lies on the array.
pub(super) struct Place {
    /// Fractional index on the array of each index of the target.
    pub positions: Vec<f64>,
    /// Whether the target is there; elsewhere the image had been cropped before it was resampled.
    pub reached: Vec<bool>,
    /// First index and end of the values on the array that go back.
    pub left: (usize, usize),
    /// First index and end, on the array, of the grid that they are a part of: beyond `left` it holds zeros.
    pub whole: (isize, isize),
}

/// The place of each axis. Where values beyond a crop count as 0 ([`Output::fades`], MONAI) each step of the frame is undone
/// for itself: padding since the resampling is dropped, what was cropped since then is 0, and so is what was cropped before.
/// Else what shows the image goes back, and nothing lies beyond it.
///
/// # Errors
/// When the axes of the grids are not parallel.
pub(super) fn places(output: &Output, frame: &Frame, target: &VolumeGeometry) -> Result<[Place; 3], InferError> {
    let apart = || InferError::Operation {
        name: "restore",
        reason: "found a network grid whose axes are not parallel to those of the source image, expected \
                 pre-processing of the first input that keeps them parallel"
            .to_owned(),
    };
    let on_array = positions_between(&frame.geometry, target).ok_or_else(apart)?;
    let resampled = frame.resampled.as_ref().filter(|_| output.fades);
    let on_from =
        resampled.map(|resampled| positions_between(&resampled.from, target).ok_or_else(apart)).transpose()?;
    let reversed = frame.axes.reversed_on_array();
    let place = |axis: usize, mut positions: Vec<f64>| {
        let real = frame.real[axis];
        let (Some(resampled), Some(on_from)) = (resampled, &on_from) else {
            let shown = real.0 as f64 - 0.5 - 1e-6..=real.1 as f64 - 0.5 + 1e-6;
            let reached = positions.iter().map(|position| shown.contains(position)).collect();
            return Place { positions, reached, left: real, whole: (real.0 as isize, real.1 as isize) };
        };
        let (outputs, whole) = (resampled.from.shape()[axis], resampled.whole[axis]);
        if let Back::Spline(Spline { aligned: true, .. }) = output.back {
            let sizes = (outputs, (whole.1 - whole.0).max(1) as usize);
            let step = spacing_mm(&resampled.from)[axis] / spacing_mm(&frame.geometry)[axis];
            // An axis that stayed as it was moves no sample, on the way there neither.
            let stayed = sizes.0 == sizes.1 && (step - 1.0).abs() < 1e-6;
            let places = positions.iter_mut().zip(&on_from[axis]).filter(|_| !stayed);
            places.for_each(|(position, output)| {
                *position = whole.0 as f64 + aligned_position(*output, sizes, step, reversed[axis]);
            });
        }
        let within = -0.5 - 1e-6..=outputs as f64 - 0.5 + 1e-6;
        let reached = on_from[axis].iter().map(|position| within.contains(position)).collect();
        Place { positions, reached, left: resampled.left[axis], whole }
    };
    let [a, b, c] = on_array;
    Ok([place(0, a), place(1, b), place(2, c)])
}

/// Taps from the network's grid onto the target, for results that are not brought back by a spline. Up to half a voxel beyond
/// what goes back the outermost voxel is taken. Where values fade they do so over one voxel, because what lies beyond a crop
/// counts as 0 (MONAI inverts a crop by padding with zeros, and interpolates then).
///
/// # Errors
/// When the axes of the grids are not parallel.
pub(super) fn taps_back(
    output: &Output,
    frame: &Frame,
    target: &Arc<VolumeGeometry>,
) -> Result<[Vec<Option<Taps>>; 3], InferError> {
    let places = places(output, frame, target)?;
    let separate = separate_axis(output.separate, frame.nominal_mm(), spacing_mm(target));
    let reversed = frame.axes.reversed_on_array();
    let along = |axis: usize| {
        if output.back == Back::Linear && separate != Some(axis) {
            return places[axis].taps(Method::Linear, 0.0);
        }
        places[axis].taps(Method::Nearest, if reversed[axis] { REVERSED_HAIR } else { 0.0 })
    };
    Ok([along(0), along(1), along(2)])
}

impl Place {
    /// Taps at the positions less a `hair`.
    fn taps(&self, method: Method, hair: f64) -> Vec<Option<Taps>> {
        let (first, end) = self.left;
        let length = end.saturating_sub(first);
        if length == 0 {
            return vec![None; self.positions.len()];
        }
        let last = length as f64 - 1.0;
        let (cropped_low, cropped_high) = (self.whole.0 < first as isize, self.whole.1 > end as isize);
        let taps = |(position, reached): (&f64, &bool)| {
            let position = position - hair - first as f64;
            let fading = (position < 0.0 && cropped_low) || (position > last && cropped_high);
            let taps = match method {
                _ if !reached => None,
                Method::Linear if fading => Taps::fading(position, length),
                _ => Taps::at(position, length, method),
            };
            taps.map(|taps| taps.shifted(first))
        };
        self.positions.iter().zip(&self.reached).map(taps).collect()
    }
}

/// The axis that is treated apart: the one of the largest spacing, when that is more than three times the smallest in the
/// one grid or, failing that, in the other, and no other axis shares it (nnU-Net `determine_do_sep_z_and_axis`).
pub(in crate::infer) fn separate_axis(separate: Separate, from_mm: [f64; 3], to_mm: [f64; 3]) -> Option<usize> {
    let largest = |spacing: [f64; 3]| spacing.iter().copied().fold(0.0, f64::max);
    let smallest = |spacing: [f64; 3]| spacing.iter().copied().fold(f64::INFINITY, f64::min);
    let is_apart = |spacing: [f64; 3]| largest(spacing) / smallest(spacing) > 3.0;
    let spacing = match separate {
        Separate::Never => return None,
        Separate::Always => from_mm,
        Separate::Auto if is_apart(from_mm) => from_mm,
        Separate::Auto if is_apart(to_mm) => to_mm,
        Separate::Auto => return None,
    };
    let lowest: Vec<usize> = (0..3).filter(|axis| (largest(spacing) / spacing[*axis] - 1.0).abs() < 1e-9).collect();
    match lowest.as_slice() {
        [only] => Some(*only),
        _ => None,
    }
}
