//! CERR's `resample` and `resize` as operations; it interpolates nothing.

use serde_json::{Value as Json, json};

use super::reading::{Reading, is_blank, mm, number_of, one_or_many};
use crate::document::Node;

/// CERR's names of interpolation, and ours.
const METHODS: [(&str, Option<&str>); 7] = [
    ("none", None),
    ("linear", Some("linear")),
    ("cubic", Some("cubic")),
    ("nearest", Some("nearest")),
    ("makima", Some("makima")),
    ("spline", Some("spline")),
    ("sinc", Some("lanczos3")),
];

/// `resample` of a scan. X runs along the columns, Y along the rows; without Z the slices stay.
pub(super) fn resample(node: &Node, reading: &mut Reading) -> Option<Json> {
    let mut fields = node.object(&mut reading.problems)?;
    let method = match fields.required("method", &mut reading.problems)? {
        word if is_blank(word) => None,
        word => reading.word(word, &METHODS)?,
    };
    let mut side = |key| match fields.optional(key) {
        Some(node) if !is_blank(node) => reading.number(node).map(|cm| (node, cm)),
        _ => None,
    };
    let (x, y, z) = (side("resolutionXCm"), side("resolutionYCm"), side("resolutionZCm"));
    for (node, cm) in [x, y, z].into_iter().flatten() {
        if cm <= 0.0 {
            reading.problems.add(node, node.describe(), "a distance of voxels above 0 cm");
        }
    }
    if x.is_some() != y.is_some() {
        let found = if x.is_some() { "resolutionXCm alone" } else { "resolutionYCm alone" };
        reading.problems.add(node, found, "resolutionXCm and resolutionYCm together");
    }
    fields.finish(&mut reading.problems);
    let sides = [z, y, x].map(|side| mm(side.map_or(0.0, |(_, cm)| cm)));
    // Outside the centres of the outermost voxels CERR's images are 0, in HU: water, not air.
    method.map(|method| json!({"op": "resample", "spacing_mm": sides, "method": method, "outside": 0}))
}

#[derive(Clone, Copy)]
enum Method {
    Nothing,
    Fit(&'static str),
    Window(&'static str),
    Scale(&'static str),
    Slices(&'static str),
}

const RESIZES: [(&str, Method); 14] = [
    ("none", Method::Nothing),
    ("pad3d", Method::Fit("pad")),
    ("unpad3d", Method::Fit("crop")),
    ("padorcrop3d", Method::Fit("pad_or_crop")),
    ("pad2d", Method::Window("pad")),
    ("unpad2d", Method::Window("crop")),
    ("padorcrop2d", Method::Window("pad_or_crop")),
    ("bilinear", Method::Scale("linear")),
    ("bicubic", Method::Scale("cubic")),
    ("sinc", Method::Scale("lanczos3")),
    ("lanczos3", Method::Scale("lanczos3")),
    ("nearest", Method::Scale("nearest")),
    ("padslices", Method::Slices("pad")),
    ("unpadslices", Method::Slices("crop")),
];

/// `resize` of a scan: one object or a list, in order. The second value says whether every image gets the same size.
pub(super) fn resize(node: &Node, reading: &mut Reading) -> (Vec<Json>, bool) {
    let (mut plane, mut depth) = (false, false);
    let mut steps = Vec::new();
    for entry in one_or_many(node) {
        let Some((step, method)) = parse_entry(entry, reading) else { continue };
        match method {
            Method::Nothing => {}
            Method::Slices(_) => depth = true,
            Method::Fit(_) | Method::Window(_) | Method::Scale(_) => plane = true,
        }
        steps.extend(step);
    }
    (steps, plane && depth)
}

fn parse_entry(node: &Node, reading: &mut Reading) -> Option<(Option<Json>, Method)> {
    let mut fields = node.object(&mut reading.problems)?;
    let word = fields.required("method", &mut reading.problems)?;
    let method = if is_blank(word) { Method::Nothing } else { reading.word(word, &RESIZES)? };
    let size = fields.optional("size").filter(|size| !is_blank(size));
    // MATLAB code compares with "Yes" exactly; any other spelling leaves the aspect alone.
    let aspect = fields.optional("preserveAspectRatio").map(|node| (node, reading.flag(node)));
    if let Some((node, true)) = aspect
        && node.text(&mut reading.problems).is_some_and(|text| text != "Yes")
    {
        reading.note("preserveAspectRatio is written other than \"Yes\", which CERR reads as no; it is imported as meant");
    }
    let aspect = aspect.is_some_and(|(_, aspect)| aspect);
    let known = ["method", "size", "preserveAspectRatio"];
    fields.finish(&mut reading.problems);
    if let Method::Nothing = method {
        return Some((None, method));
    }
    let Some(size) = size else {
        reading.problems.add(node, "no \"size\"", format!("the size, beside {}", known.join(", ")));
        return None;
    };
    let count = if let Method::Slices(_) = method { (1, 1) } else { (2, 3) };
    let size = reading.numbers(size, count.0, count.1)?;
    let plane = || json!([0, number_of(size[0]), number_of(size[1])]);
    let step = match method {
        Method::Nothing => return Some((None, method)),
        Method::Fit(mode) => {
            let mut step = json!({"op": "pad_to", "size": plane(), "mode": mode});
            // CERR first makes a square with the mean of a corner of the image.
            if aspect {
                step["square"] = json!(true);
            }
            step
        }
        Method::Window(mode) => json!({"op": "window_2d", "size": plane(), "mode": mode}),
        Method::Scale(method) => {
            let mut step = json!({"op": "scale", "size": plane(), "method": method});
            if aspect {
                step["square"] = json!(true);
            }
            step
        }
        Method::Slices(mode) => json!({"op": "pad_slices", "slices": number_of(size[0]), "mode": mode}),
    };
    Some((Some(step), method))
}
