//! The region of a fixed size about the middle of a structure's box; it does not look at where its mass lies.

use ndarray::Array3;

use super::Entry;
use super::extent::{bounds, filled, moved_inside, size_of, whole_size};
use super::head_first::HeadFirst;
use super::sources::{IMAGE, NAMES, SAVE_AS, on_image, union};
use crate::infer::parameter::{Kind, Parameter};
use crate::limits::IMAGE_SIDE_MAX;

pub(super) const ENTRY: Entry = Entry {
    name: "structure_center",
    doc: "`size` voxels about the middle of the box of the named structures; a box that would reach outside is moved inside, and takes all of an axis that is not longer. Nothing is padded.",
    source: "CERR's crop_around_structure_center and crop_around_structure_center_on_scan, which move the box inside at the head only",
    parameters: &[
        NAMES,
        Parameter {
            name: "size",
            doc: "[rows, columns], in the slices of the structures, or [slices, rows, columns]; 0 takes all rows or columns.",
            unit: "voxels",
            kind: Kind::Numbers { low: 0.0, high: IMAGE_SIDE_MAX as f64, count: (2, 3) },
            default: None,
        },
        IMAGE,
        SAVE_AS,
    ],
    per_slice: false,
    reuses: false,
    check: whole_size,
    mask: |arguments, prepared, given| {
        on_image(arguments, prepared, given, |image| {
            let shape = image.frame.shape();
            let size = size_of(arguments);
            let Some(mut sides) = bounds(&union(arguments, "names", image, given)) else {
                return Ok(Array3::from_elem(shape, false));
            };
            let about = |(first, last): (usize, usize), count: usize, length: usize| {
                let count = if count == 0 { length } else { count };
                moved_inside(((first + last) / 2) as isize - (count / 2) as isize, count, length)
            };
            if size[0] > 0 {
                let head = HeadFirst::of(&image.frame);
                sides[0] = head.turned_ends(about(head.turned_ends(sides[0]), size[0], shape[0]));
            }
            Ok(filled(shape, [sides[0], about(sides[1], size[1], shape[1]), about(sides[2], size[2], shape[2])]))
        })
    },
};
