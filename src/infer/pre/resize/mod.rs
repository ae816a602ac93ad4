//! Operations that bring an image to a size: by adding, cutting or interpolating; each file holds one or two of them.
//!
//! Sizes are those of the array, `[rows, columns]` or `[slices, rows, columns]`, not of the network's axes, and 0 leaves an
//! axis. Slices are added and cut at the feet, as CERR does. CERR's zeros in new slices, which are water in CT, are not
//! copied: voxels that are added have the lowest value of the image where no other is given. What a network finds in
//! them is brought back to where they lie in the patient: to nowhere outside the image, and to its place where the image
//! was cropped before.

mod imresize;
mod interpolate;
mod pad_or_crop;
mod slices;
mod window_2d;

use super::{Operation, failed};
use crate::infer::InferError;
use crate::infer::frame::Prepared;
use crate::infer::parameter::{Arguments, Kind, Parameter};
use crate::infer::region::extent::{size_of, whole_size};
use crate::infer::region::head_first::HeadFirst;
use crate::limits::IMAGE_SIDE_MAX;

pub(super) use interpolate::ENTRY as RESIZE;
pub(super) use pad_or_crop::{CROP_TO, PAD_OR_CROP, PAD_TO};
pub(super) use slices::{CROP_SLICES, PAD_SLICES};
pub(super) use window_2d::ENTRY as WINDOW_2D;

const SIZE: Parameter = Parameter {
    name: "size",
    doc: "`[rows, columns]` or `[slices, rows, columns]` of the result, slices counted from the head; 0 leaves an axis.",
    unit: "voxels",
    kind: Kind::Numbers { low: 0.0, high: IMAGE_SIDE_MAX as f64, count: (2, 3) },
    default: None,
};

const PLANE_SIZE: Parameter = Parameter {
    name: "size",
    doc: "Rows and columns of the result.",
    unit: "voxels",
    kind: Kind::Numbers { low: 1.0, high: IMAGE_SIDE_MAX as f64, count: (2, 2) },
    default: None,
};

const VALUE: Parameter = Parameter {
    name: "value",
    doc: "Value of voxels that are added; none: the lowest of the image.",
    unit: "unit of the image",
    kind: Kind::Number { low: -1e9, high: 1e9 },
    default: Some("null"),
};

const PRESERVE_ASPECT: Parameter = Parameter {
    name: "preserve_aspect",
    doc: "Before, the shorter of rows and columns is padded on both sides to a square, with the mean of the 5 x 5 x 5 voxels at the first row, column and slice from the head.",
    unit: "",
    kind: Kind::Flag,
    default: Some("false"),
};

/// The value of voxels that are added.
fn fill(arguments: &Arguments, image: &Prepared<'_>) -> f32 {
    if arguments.has("value") { arguments.number("value") as f32 } else { image.minimum() }
}

/// Mean of the 5 x 5 x 5 voxels at the first row, first column and head, or of those that there are.
fn corner_mean(image: &Prepared<'_>) -> f32 {
    let [slices, rows, columns] = image.frame.shape().map(|side| side.min(5));
    let head = HeadFirst::of(&image.frame);
    let mut sum = 0.0;
    for slice in 0..slices {
        for row in 0..rows {
            for column in 0..columns {
                sum += f64::from(image.pixels[[head.turned(slice), row, column]]);
            }
        }
    }
    (sum / (slices * rows * columns) as f64) as f32
}

/// Where a side of `length` begins in a square of `square`: the odd voxel goes behind it.
fn start_in_square(length: usize, square: usize) -> usize {
    (square - length) / 2
}

/// The image with as many rows as columns.
fn squared(image: Prepared<'_>) -> Result<Prepared<'_>, String> {
    let [slices, rows, columns] = image.frame.shape();
    let square = rows.max(columns);
    let start = [rows, columns].map(|length| -(start_in_square(length, square) as isize));
    let mean = corner_mean(&image);
    image.boxed([0, start[0], start[1]], [slices, square, square], mean)
}

#[cfg(test)]
mod tests;
