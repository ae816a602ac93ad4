//! The regions of the patient in the image, in the volume and slice by slice; how it is found is in `outline`.

use super::sources::{IMAGE, MINIMUM_PIXELS, NORMALISE, OUTLINE, SAVE_AS, THRESHOLD, on_image, outline};
use super::{Entry, Given, always_consistent};
use crate::infer::frame::Prepared;
use crate::infer::parameter::Arguments;

pub(super) const VOLUME: Entry = Entry {
    name: "patient_outline",
    doc: "The patient without table and air: a structure of the given name when there is one, else found in the image as it is at this step.",
    source: "CERR's crop_pt_outline, crop_pt_outline_on_scan and getPatientOutline, without its losses of body",
    parameters: &[OUTLINE, THRESHOLD, MINIMUM_PIXELS, NORMALISE, IMAGE, SAVE_AS],
    per_slice: false,
    reuses: false,
    check: always_consistent,
    mask,
};

pub(super) const PER_SLICE: Entry = Entry {
    name: "patient_outline_2d",
    doc: "The patient, cropped slice by slice: each slice gets its own box, those without the patient are left out.",
    source: "CERR's crop_pt_outline_2d and crop_pt_outline_on_scan_2d",
    per_slice: true,
    ..VOLUME
};

fn mask(arguments: &Arguments, prepared: &Prepared<'_>, given: &Given<'_>) -> Result<ndarray::Array3<bool>, String> {
    on_image(arguments, prepared, given, |image| Ok(outline(arguments, image, given)))
}
