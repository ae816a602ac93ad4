//! The regions of named structures, in the volume and slice by slice; they make no box.

use super::sources::{IMAGE, NAMES, SAVE_AS, on_image, union};
use super::{Entry, Given, always_consistent};
use crate::infer::frame::Prepared;
use crate::infer::parameter::Arguments;

pub(super) const VOLUME: Entry = Entry {
    name: "structure",
    doc: "The union of the named structures; those that are missing or empty are passed over.",
    source: "CERR's crop_to_str, crop_to_str_on_scan and crop_to_bounding_box",
    parameters: &[NAMES, IMAGE, SAVE_AS],
    per_slice: false,
    reuses: false,
    check: always_consistent,
    mask,
};

pub(super) const PER_SLICE: Entry = Entry {
    name: "structure_2d",
    doc: "The union of the named structures, cropped slice by slice: each slice gets its own box, those without are left out.",
    source: "CERR's crop_to_str_2d, crop_to_str_2d_on_scan and crop_to_bounding_box_2d",
    per_slice: true,
    ..VOLUME
};

fn mask(arguments: &Arguments, prepared: &Prepared<'_>, given: &Given<'_>) -> Result<ndarray::Array3<bool>, String> {
    on_image(arguments, prepared, given, |image| Ok(union(arguments, "names", image, given)))
}
