//! The region about the middle of each slice; it looks at no voxel.

use super::Entry;
use super::extent::{filled, moved_inside, size_of, whole_size};
use super::sources::SAVE_AS;
use crate::infer::parameter::{Kind, Parameter};
use crate::limits::IMAGE_SIDE_MAX;

pub(super) const ENTRY: Entry = Entry {
    name: "center",
    doc: "`size` rows and columns about the middle of the image, in all slices; all of an axis that is not longer.",
    source: "CERR's crop_around_center, whose margins are [columns, rows]",
    parameters: &[
        Parameter {
            name: "size",
            doc: "Rows and columns; 0 takes all.",
            unit: "voxels",
            kind: Kind::Numbers { low: 0.0, high: IMAGE_SIDE_MAX as f64, count: (2, 2) },
            default: None,
        },
        SAVE_AS,
    ],
    per_slice: false,
    reuses: false,
    check: whole_size,
    mask: |arguments, prepared, _| {
        let (shape, size) = (prepared.frame.shape(), size_of(arguments));
        let side = |axis: usize| {
            let (count, length) = (if size[axis] == 0 { shape[axis] } else { size[axis] }, shape[axis]);
            // MATLAB: ceil(n / 2) - m / 2, from 1.
            moved_inside(length.div_ceil(2) as isize - 1 - (count / 2) as isize, count, length)
        };
        Ok(filled(shape, [(0, shape[0] - 1), side(1), side(2)]))
    },
};
