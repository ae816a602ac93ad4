//! The region of a box given by numbers; it looks at no voxel.

use ndarray::Array3;

use super::Entry;
use super::extent::{filled, whole};
use super::head_first::HeadFirst;
use super::sources::SAVE_AS;
use crate::infer::parameter::{Arguments, Kind, Parameter};
use crate::limits::IMAGE_SIDE_MAX;

const PAIR: Kind = Kind::Numbers { low: 1.0, high: IMAGE_SIDE_MAX as f64, count: (2, 2) };

pub(super) const ENTRY: Entry = Entry {
    name: "box",
    doc: "A box by its first and last row, column and slice, counted from 1, ends included, slices from the head; what lies outside the image is passed over.",
    source: "CERR's crop_fixed_amt",
    parameters: &[
        Parameter { name: "rows", doc: "First and last row; none: all.", unit: "", kind: PAIR, default: Some("null") },
        Parameter {
            name: "columns",
            doc: "First and last column; none: all.",
            unit: "",
            kind: PAIR,
            default: Some("null"),
        },
        Parameter {
            name: "slices",
            doc: "First and last slice, 1 is nearest the head; none: all.",
            unit: "",
            kind: PAIR,
            default: Some("null"),
        },
        SAVE_AS,
    ],
    per_slice: false,
    reuses: false,
    check: |arguments| {
        ["rows", "columns", "slices"].into_iter().find_map(|name| match arguments.numbers(name) {
            [first, last] if first > last => {
                Some([format!("{name} from {first} to {last}"), "first before last".to_owned(), "swap them".to_owned()])
            }
            _ => whole(arguments, name),
        })
    },
    mask: |arguments, prepared, _| {
        let shape = prepared.frame.shape();
        let ends = ["slices", "rows", "columns"].map(|name| indices(arguments, name));
        let inside: Vec<(usize, usize)> = (0..3)
            .filter_map(|axis| {
                let last = shape[axis] - 1;
                let (first, end) = ends[axis].unwrap_or((0, last));
                (first <= last).then_some((first, end.min(last)))
            })
            .collect();
        let [slices, rows, columns] = inside[..] else { return Ok(Array3::from_elem(shape, false)) };
        Ok(filled(shape, [HeadFirst::of(&prepared.frame).turned_ends(slices), rows, columns]))
    },
};

/// Indices from numbers that count from 1.
fn indices(arguments: &Arguments, name: &str) -> Option<(usize, usize)> {
    match arguments.numbers(name) {
        [first, last] => Some((*first as usize - 1, *last as usize - 1)),
        _ => None,
    }
}
