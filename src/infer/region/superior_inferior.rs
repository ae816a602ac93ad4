//! The region of the slices that structures span; it keeps all rows and columns.

use ndarray::Array3;

use super::extent::{bounds, filled};
use super::sources::{NAMES, SAVE_AS, union};
use super::{Entry, always_consistent};

pub(super) const ENTRY: Entry = Entry {
    name: "superior_inferior",
    doc: "All rows and columns of the slices from the first to the last one of the named structures.",
    source: "CERR's crop_sup_inf",
    parameters: &[NAMES, SAVE_AS],
    per_slice: false,
    reuses: false,
    check: always_consistent,
    mask: |arguments, prepared, given| {
        let shape = prepared.frame.shape();
        let found = bounds(&union(arguments, "names", prepared, given));
        Ok(found.map_or_else(
            || Array3::from_elem(shape, false),
            |sides| filled(shape, [sides[0], (0, shape[1] - 1), (0, shape[2] - 1)]),
        ))
    },
};
