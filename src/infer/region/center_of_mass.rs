//! The region of a fixed size about the centre of mass of a structure; slices count alike, whatever their thickness.

use ndarray::Array3;

use super::Entry;
use super::extent::filled;
use super::head_first::HeadFirst;
use super::sources::{IMAGE, NAMES, SAVE_AS, on_image, union};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Entry = Entry {
    name: "center_of_mass",
    doc: "`size` about the mean index of the named structures, rounded: from half the size before it up to, but without, half the size after it. It ends with the image, there without the last voxel, as CERR has it.",
    source: "CERR's crop_around_center_of_mass and crop_around_center_of_mass_on_scan",
    parameters: &[
        NAMES,
        Parameter {
            name: "size",
            doc: "[rows, columns], in all slices, or [slices, rows, columns]; 0 takes all of an axis.",
            unit: "`unit`",
            kind: Kind::Numbers { low: 0.0, high: 1e5, count: (2, 3) },
            default: None,
        },
        Parameter {
            name: "unit",
            doc: "What `size` counts; lengths are rounded to whole voxels.",
            unit: "",
            kind: Kind::Choice(&["voxels", "mm", "cm"]),
            default: Some("\"voxels\""),
        },
        IMAGE,
        SAVE_AS,
    ],
    per_slice: false,
    reuses: false,
    check: |arguments| match arguments.choice("unit") {
        "voxels" => super::extent::whole_size(arguments),
        _ => None,
    },
    mask: |arguments, prepared, given| {
        on_image(arguments, prepared, given, |image| {
            let (shape, mask) = (image.frame.shape(), union(arguments, "names", image, given));
            let Some(mean) = mean_index(&mask, HeadFirst::of(&image.frame)) else { return Ok(mask) };
            let numbers = arguments.numbers("size");
            let given_size = [0, 1, 2].map(|axis| (axis + numbers.len()).checked_sub(3).map_or(0.0, |at| numbers[at]));
            let voxel_mm = match arguments.choice("unit") {
                "mm" => image.frame.spacing_mm(),
                "cm" => image.frame.spacing_mm().map(|mm| mm / 10.0),
                _ => [1.0; 3],
            };
            let side = |axis: usize| {
                let size = (given_size[axis] / voxel_mm[axis]).round();
                if size == 0.0 || (axis == 0 && size == shape[0] as f64) {
                    return Some((0, shape[axis] - 1));
                }
                let (half, centre) = ((size / 2.0).round() as usize, (mean[axis] + 0.5).floor() as usize);
                let (first, end) = (centre.saturating_sub(half), (centre + half).min(shape[axis] - 1));
                (first < end).then(|| (first, end - 1))
            };
            let (Some(slices), Some(rows), Some(columns)) = (side(0), side(1), side(2)) else {
                return Ok(Array3::from_elem(shape, false));
            };
            Ok(filled(shape, [HeadFirst::of(&image.frame).turned_ends(slices), rows, columns]))
        })
    },
};

/// Mean index along slices from the head, rows and columns.
fn mean_index(mask: &Array3<bool>, head: HeadFirst) -> Option<[f64; 3]> {
    let (mut sum, mut count) = ([0.0; 3], 0.0);
    for ((slice, row, column), _) in mask.indexed_iter().filter(|(_, inside)| **inside) {
        let at = [head.turned(slice), row, column];
        (0..3).for_each(|axis| sum[axis] += at[axis] as f64);
        count += 1.0;
    }
    (count > 0.0).then(|| sum.map(|sum| sum / count))
}
