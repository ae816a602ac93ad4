//! What several regions have in common: where structures, outlines and further images come from; it makes no box.

use ndarray::{Array3, Zip};

use super::Given;
use crate::infer::frame::Prepared;
use crate::infer::outline::{OutlineParameters, patient_outline};
use crate::infer::parameter::{Arguments, Kind, Parameter};
use crate::volume::Mask;

pub(super) const NAMES: Parameter = Parameter {
    name: "names",
    doc: "Structures handed in, or regions saved before: their union. Missing and empty ones are passed over.",
    unit: "",
    kind: Kind::Names,
    default: None,
};

pub(super) const SAVE_AS: Parameter = Parameter {
    name: "save_as",
    doc: "Name under which the region is kept for later regions, operations and models.",
    unit: "",
    kind: Kind::Text,
    default: Some("null"),
};

pub(super) const IMAGE: Parameter = Parameter {
    name: "image",
    doc: "Input of the model on which the region is made, as it was handed in; none: the image of this operation.",
    unit: "",
    kind: Kind::Text,
    default: Some("null"),
};

/// Name of an outline that may exist.
pub(super) const OUTLINE: Parameter = Parameter {
    name: "structure",
    doc: "Outline that is taken when there is a structure or saved region of this name; else it is made from the image.",
    unit: "",
    kind: Kind::Text,
    default: Some("null"),
};

pub(super) const THRESHOLD: Parameter = Parameter {
    name: "threshold",
    doc: "What is at most this is air when the outline is made.",
    unit: "HU, or the unit of the image at this step; fraction of its maximum with `normalise`",
    kind: Kind::Number { low: -1e9, high: 1e9 },
    default: Some("-400"),
};

pub(super) const MINIMUM_PIXELS: Parameter = Parameter {
    name: "minimum_pixels",
    doc: "Slices whose largest part is smaller show no patient.",
    unit: "pixels",
    kind: Kind::Integer { low: 0, high: 1_000_000_000 },
    default: Some("1500"),
};

pub(super) const NORMALISE: Parameter = Parameter {
    name: "normalise",
    doc: "The threshold is a fraction of the largest value of the image (MR).",
    unit: "",
    kind: Kind::Flag,
    default: Some("false"),
};

/// The union of the structures of the parameter `names` on the array of an image.
pub(super) fn union(arguments: &Arguments, name: &str, prepared: &Prepared<'_>, given: &Given<'_>) -> Array3<bool> {
    let mut union = Array3::from_elem(prepared.frame.shape(), false);
    for mask in arguments.names(name).iter().filter_map(|name| given.structure(name)) {
        Zip::from(&mut union).and(&prepared.frame.bring(mask)).par_for_each(|u, m| *u |= *m);
    }
    union
}

/// The outline that the parameters [`OUTLINE`], [`THRESHOLD`], [`MINIMUM_PIXELS`] and [`NORMALISE`] ask for.
pub(super) fn outline(arguments: &Arguments, prepared: &Prepared<'_>, given: &Given<'_>) -> Array3<bool> {
    if let Some(mask) = arguments.text("structure").and_then(|name| given.structure(name)) {
        return prepared.frame.bring(mask);
    }
    let parameters = OutlineParameters {
        threshold: arguments.number("threshold"),
        minimum_pixels: arguments.integer("minimum_pixels") as usize,
        normalise: arguments.flag("normalise"),
    };
    patient_outline(prepared.pixels.view(), &parameters)
}

/// A region on the grid of the image that the parameter [`IMAGE`] names, brought onto the image of the operation.
///
/// # Errors
/// When there is no such image, and what the region says.
pub(super) fn on_image(
    arguments: &Arguments,
    prepared: &Prepared<'_>,
    given: &Given<'_>,
    region: impl Fn(&Prepared<'_>) -> Result<Array3<bool>, String>,
) -> Result<Array3<bool>, String> {
    let Some(name) = arguments.text("image") else { return region(prepared) };
    let images = given.surroundings.images;
    let volume = images.get(name).ok_or_else(|| {
        let known: Vec<&str> = images.keys().map(String::as_str).collect();
        format!("found no image {name:?}, expected an input of the model: {}; correct \"image\"", known.join(", "))
    })?;
    let mask = region(&Prepared::of(volume, prepared.frame.axes))?;
    Ok(prepared.frame.bring(&Mask::new(volume.geometry.clone(), mask)))
}
