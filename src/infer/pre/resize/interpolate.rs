//! Interpolate slices to a size: all of them alike, or each slice's own box; slices stay as many.

use ndarray::{Array2, Array3, ArrayView2, Axis, parallel::prelude::*};

use super::imresize::{Kernel, Weights, nearest, resized};
use super::{
    Operation, PLANE_SIZE, PRESERVE_ASPECT, Parameter, Prepared, corner_mean, failed, size_of, squared,
    start_in_square, whole_size,
};
use crate::infer::frame::{Frame, Line, SliceBox, SliceWindow, refuse_size};
use crate::infer::parameter::Kind;
use crate::infer::part::part;
use crate::volume::VolumeGeometry;

pub(in crate::infer::pre) const ENTRY: Operation = Operation {
    name: "resize",
    doc: "Interpolates rows and columns to `size` with the same outer edges: of the image, or after a crop slice by slice (`_2d`) of each slice's own box. What shrinks is smoothed first, but for `nearest`. A crop mask goes along by the nearest voxel.",
    source: "CERR's bilinear, bicubic, sinc and nearest: MATLAB's imresize",
    parameters: &[
        PLANE_SIZE,
        Parameter {
            name: "method",
            doc: "How values between voxels are made; `bicubic` is Keys' with a = -1/2.",
            unit: "",
            kind: Kind::Choice(&Kernel::WORDS),
            default: Some("\"bilinear\""),
        },
        PRESERVE_ASPECT,
    ],
    check: whole_size,
    apply: |arguments, image, _| {
        let [_, rows, columns] = size_of(arguments);
        let (kernel, square) = (Kernel::of(arguments.choice("method")), arguments.flag("preserve_aspect"));
        let scaled = match image.boxes.clone() {
            Some(boxes) => boxes_scaled(image, &boxes, (rows, columns), kernel, square),
            None if square => squared(image).and_then(|image| scaled(image, (rows, columns), kernel)),
            None => scaled(image, (rows, columns), kernel),
        };
        scaled.map_err(failed("resize"))
    },
};

/// All rows and columns in another size: still a grid, if the image was one.
fn scaled(image: Prepared<'_>, (rows, columns): (usize, usize), kernel: Kernel) -> Result<Prepared<'_>, String> {
    let [slices, height, width] = image.frame.shape();
    if (height, width) == (rows, columns) {
        return Ok(image);
    }
    refuse_size([slices, rows, columns])?;
    let weights = (Weights::new(height, rows, kernel), Weights::new(width, columns, kernel));
    let planes = by_slice(slices, (rows, columns), |slice| {
        resized(image.pixels.index_axis(Axis(0), slice), &weights.0, &weights.1)
    });
    let mask = image
        .mask
        .as_ref()
        .map(|mask| by_slice(slices, (rows, columns), |slice| nearest(mask.index_axis(Axis(0), slice), rows, columns)));
    let (row, column) = (same_edges(0.0, height, rows), same_edges(0.0, width, columns));
    if image.frame.windows.is_some() {
        let cuts: Vec<_> = (0..slices).map(|slice| Some(SliceWindow { slice, row, column })).collect();
        return Ok(image.rewindowed(&cuts, planes, mask));
    }
    let geometry = scaled_geometry(&image.frame.geometry, (rows, row), (columns, column))?;
    let frame = Frame { geometry: geometry.into(), ..image.frame };
    Ok(Prepared { frame, pixels: planes.into(), mask, boxes: None, saved: image.saved })
}

/// The box of each slice in one size.
fn boxes_scaled<'a>(
    image: Prepared<'a>,
    boxes: &[SliceBox],
    (rows, columns): (usize, usize),
    kernel: Kernel,
    square: bool,
) -> Result<Prepared<'a>, String> {
    refuse_size([boxes.len(), rows, columns])?;
    let mean = if square { corner_mean(&image) } else { 0.0 };
    let pixels = by_slice(boxes.len(), (rows, columns), |slice| {
        let plane = cut_box(image.pixels.index_axis(Axis(0), slice), boxes[slice], square, mean);
        let (height, width) = plane.dim();
        resized(plane.view(), &Weights::new(height, rows, kernel), &Weights::new(width, columns, kernel))
    });
    let mask = image.mask.as_ref().map(|mask| {
        by_slice(boxes.len(), (rows, columns), |slice| {
            nearest(cut_box(mask.index_axis(Axis(0), slice), boxes[slice], square, false).view(), rows, columns)
        })
    });
    let cut = |(slice, found): (usize, &SliceBox)| {
        let lengths = [found.rows, found.columns].map(|(first, last)| last - first + 1);
        let line = |(first, _): (usize, usize), length: usize, new: usize| {
            let side = if square { lengths[0].max(lengths[1]) } else { length };
            same_edges(first as f64 - start_in_square(length, side) as f64, side, new)
        };
        let (row, column) = (line(found.rows, lengths[0], rows), line(found.columns, lengths[1], columns));
        Some(SliceWindow { slice, row, column })
    };
    let cuts: Vec<Option<SliceWindow>> = boxes.iter().enumerate().map(cut).collect();
    Ok(image.rewindowed(&cuts, pixels, mask))
}

/// A box of a slice; in a square of one value when asked for.
fn cut_box<T: Copy>(plane: ArrayView2<'_, T>, found: SliceBox, square: bool, around: T) -> Array2<T> {
    let inner = part(plane, &[found.rows.0..found.rows.1 + 1, found.columns.0..found.columns.1 + 1]);
    let (height, width) = inner.dim();
    if !square || height == width {
        return inner.to_owned();
    }
    let side = height.max(width);
    let mut out = Array2::from_elem((side, side), around);
    let (row, column) = (start_in_square(height, side), start_in_square(width, side));
    part(out.view_mut(), &[row..row + height, column..column + width]).assign(&inner);
    out
}

fn by_slice<T: Clone + Copy + Default + Send + Sync>(
    slices: usize,
    (rows, columns): (usize, usize),
    plane: impl Fn(usize) -> Array2<T> + Sync,
) -> Array3<T> {
    let mut out = Array3::from_elem((slices, rows, columns), T::default());
    out.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(slice, mut into)| into.assign(&plane(slice)));
    out
}

/// Positions on the old axis of `new` voxels that share the outer edges of `old` voxels from `first` on.
fn same_edges(first: f64, old: usize, new: usize) -> Line {
    let step = old as f64 / new as f64;
    Line { first: first + 0.5 * step - 0.5, step }
}

fn scaled_geometry(
    old: &VolumeGeometry,
    (rows, row): (usize, Line),
    (columns, column): (usize, Line),
) -> Result<VolumeGeometry, String> {
    let spacing = [old.row_spacing_mm() * row.step, old.column_spacing_mm() * column.step];
    let origins = (0..old.slices()).map(|k| old.index_to_patient([k as f64, row.first, column.first])).collect();
    VolumeGeometry::new((rows, columns), spacing, old.row_direction(), old.column_direction(), origins)
        .map_err(|error| error.to_string())
}
