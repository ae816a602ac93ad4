//! What filters of neighbourhoods share: the boundary, sizes in voxels, spacing, axes; it is no operation.

use super::failed;
use crate::infer::InferError;
use crate::infer::axes::Axes;
use crate::infer::filter::convolution::{Boundary, Line};
use crate::infer::frame::{Prepared, spacing_mm};
use crate::infer::parameter::{Arguments, Kind, Parameter};

/// What lies beyond the image, zeros by default.
pub(super) const BOUNDARY: Parameter = boundary("\"zero\"");

/// What lies beyond the image.
pub(super) const fn boundary(default: &'static str) -> Parameter {
    Parameter {
        name: "boundary",
        doc: "What lies beyond the image: zeros, the outermost voxel, the image mirrored at its outer edges, or the image again. pyCERR and MATLAB's `same`: `zero`; SciPy's default: `mirror`; ITK: `edge`.",
        unit: "",
        kind: Kind::Choice(&Boundary::WORDS),
        default: Some(default),
    }
}

/// Whether slices along the network's first axis are filtered each by itself, or the volume.
pub(super) const DIMENSION: Parameter = Parameter {
    name: "dimension",
    doc: "Each slice along the network's first axis by itself, or the volume.",
    unit: "",
    kind: Kind::Choice(&["2d", "3d"]),
    default: Some("\"2d\""),
};

/// Spacing along array axes, for filters with sizes in mm. `used` tells the axes that are filtered along.
pub(super) fn spacing(image: &Prepared<'_>, used: [bool; 3], name: &'static str) -> Result<[f64; 3], InferError> {
    image.need_grid().map_err(failed(name))?;
    let geometry = &image.frame.geometry;
    let (deviation, gap) = (geometry.slice_spacing_deviation_mm(), geometry.slice_spacing_mm());
    if used[0] && deviation > 0.01 * gap {
        return Err(failed(name)(format!(
            "found slices whose spacing deviates by {deviation:.3} mm from {gap:.3} mm, expected at most 1 %; resample \
             before, or filter in planes"
        )));
    }
    Ok(spacing_mm(geometry))
}

/// A size of whole voxels for each array axis, at least 1.
pub(super) fn size(arguments: &Arguments, axes: Axes) -> [usize; 3] {
    axes.to_array(arguments.triple("size")).map(|count| (count.round() as usize).max(1))
}

/// Lines for working axes, as lines for array axes.
pub(super) fn lines_of(axes: Axes, working: [Option<Line>; 3]) -> [Option<Line>; 3] {
    let mut lines = [None, None, None];
    for (axis, line) in working.into_iter().enumerate() {
        lines[axes.array_axis(axis)] = line.map(|line| line.turned(axes.is_reversed(axis)));
    }
    lines
}
