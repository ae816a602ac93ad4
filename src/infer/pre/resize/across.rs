//! Interpolate the rows and columns of a view that looks across the slices as acquired; slices of the view stay as many.

use ndarray::Axis;

use super::Prepared;
use super::imresize::{Kernel, Weights, nearest, resized};
use super::interpolate::{by_slice, same_edges};
use crate::infer::frame::refuse_size;
use crate::volume::VolumeGeometry;

/// Brings the planes of a coronal or sagittal view to a size. Slices as acquired are rows or columns there: they get new
/// positions, evenly between the old ones.
pub(super) fn across(
    image: Prepared<'_>,
    (rows, columns): (usize, usize),
    kernel: Kernel,
    square: bool,
) -> Result<Prepared<'_>, String> {
    if image.boxes.is_some() || image.frame.windows.is_some() || square {
        let found = "found slices that were cut each in its own way, or a square, in a view across slices";
        return Err(format!("{found}, expected one box for all; crop without _2d, and remove preserve_aspect"));
    }
    let axes = [0, 1, 2].map(|working| image.frame.axes.array_axis(working));
    let old = image.frame.shape();
    let mut new = old;
    (new[axes[1]], new[axes[2]]) = (rows, columns);
    refuse_size(new)?;
    let weights = (Weights::new(old[axes[1]], rows, kernel), Weights::new(old[axes[2]], columns, kernel));
    // The planes as the view has them, and then back in the order of the array.
    let mut back = [0; 3];
    (0..3).for_each(|working| back[axes[working]] = working);
    let seen = image.pixels.view().permuted_axes(axes);
    let plane = |k: usize| resized(seen.index_axis(Axis(0), k), &weights.0, &weights.1);
    let planes = by_slice(old[axes[0]], (rows, columns), plane);
    let pixels = planes.permuted_axes(back).as_standard_layout().into_owned();
    let mask = image.mask.as_ref().map(|mask| {
        let seen = mask.view().permuted_axes(axes);
        let planes = by_slice(old[axes[0]], (rows, columns), |k| nearest(seen.index_axis(Axis(0), k), rows, columns));
        planes.permuted_axes(back).as_standard_layout().into_owned()
    });
    let lines = [0, 1, 2].map(|axis| same_edges(0.0, old[axis], new[axis]));
    let whole = &image.frame.geometry;
    let origin = |k: usize| {
        let slice = lines[0].first + lines[0].step * k as f64;
        whole.index_to_patient([slice, lines[1].first, lines[2].first])
    };
    let spacing = [whole.row_spacing_mm() * lines[1].step, whole.column_spacing_mm() * lines[2].step];
    let origins = (0..new[0]).map(origin).collect();
    let (row, column) = (whole.row_direction(), whole.column_direction());
    let geometry = VolumeGeometry::new((new[1], new[2]), spacing, row, column, origins).map_err(|e| e.to_string())?;
    let frame = image.frame.regridded(geometry.into());
    Ok(Prepared { frame, pixels: pixels.into(), mask, boxes: None, saved: image.saved })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ndarray::Array3;

    use super::*;
    use crate::infer::axes::Orientation;
    use crate::volume::Volume;

    #[test]
    fn a_sagittal_view_scales_slices_and_rows() {
        let origins = (0..3).map(|k| [0.0, 0.0, 2.0 * k as f64]).collect();
        let geometry =
            VolumeGeometry::new((4, 5), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins).expect("legal");
        let pixels = Array3::from_shape_fn((3, 4, 5), |(k, j, i)| (100 * k + 10 * j + i) as f32);
        let source = Volume::new(Arc::new(geometry), pixels);
        let axes = Orientation::AcquiredReversed.axes(&source.geometry).transposed([2, 0, 1]);
        let found = across(Prepared::of(&source, axes), (6, 8), Kernel::Bilinear, false).expect("scaled");
        // Six slices of three, eight rows of four, the same columns; spacing halves, the edges stay.
        assert_eq!(found.frame.shape(), [6, 8, 5]);
        let corners = [[0.0, 0.0, 0.0], [5.0, 7.0, 4.0]].map(|index| found.frame.geometry.index_to_patient(index));
        assert_eq!(corners, [[0.0, -0.25, -0.5], [4.0, 3.25, 4.5]]);
        // A quarter of the way from slice 0 to slice 1, three quarters from row 1 to row 2.
        let value = found.pixels[[1, 4, 2]];
        assert!((value - (25.0 + 17.5 + 2.0)).abs() < 1e-4, "{value}");
        assert_eq!(found.pixels[[0, 0, 3]], 3.0);
    }
}
