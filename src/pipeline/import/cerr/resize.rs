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
    ("sinc", Some("sinc")),
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
    /// Rows and columns added or cut about the middle, by the operation of this name.
    Fit(&'static str),
    Window,
    /// What takes each slice back to where it was cut; CERR uses it on results, and as a first step it means nothing.
    BackFromWindow,
    Scale(&'static str),
    Slices(&'static str),
}

const RESIZES: [(&str, Method); 14] = [
    ("none", Method::Nothing),
    ("pad3d", Method::Fit("pad_to")),
    ("unpad3d", Method::Fit("crop_to")),
    ("padorcrop3d", Method::Fit("pad_or_crop")),
    ("pad2d", Method::Window),
    ("unpad2d", Method::BackFromWindow),
    ("padorcrop2d", Method::Window),
    ("bilinear", Method::Scale("bilinear")),
    ("bicubic", Method::Scale("bicubic")),
    ("sinc", Method::Scale("lanczos3")),
    ("lanczos3", Method::Scale("lanczos3")),
    ("nearest", Method::Scale("nearest")),
    ("padslices", Method::Slices("pad_slices")),
    ("unpadslices", Method::Slices("keep_slices")),
];

/// `resize` of a scan: one object or a list, in order. What it fixes of the size is put into `size`.
pub(super) fn resize(node: &Node, size: &mut [Option<i64>; 3], reading: &mut Reading) -> Vec<Json> {
    let mut steps = Vec::new();
    for entry in one_or_many(node) {
        let Some(Some(step)) = parse_entry(entry, reading) else { continue };
        match &step["size"] {
            Json::Array(sides) => {
                let last = |from_end: usize| sides.get(sides.len() - from_end).and_then(Json::as_i64);
                let slices = if sides.len() == 3 { last(3) } else { size[0] };
                *size = [slices, last(2), last(1)];
            }
            _ => size[0] = step["count"].as_i64(),
        }
        steps.push(step);
    }
    steps
}

fn parse_entry(node: &Node, reading: &mut Reading) -> Option<Option<Json>> {
    let mut fields = node.object(&mut reading.problems)?;
    let word = fields.required("method", &mut reading.problems)?;
    let method = if is_blank(word) { Method::Nothing } else { reading.word(word, &RESIZES)? };
    let size = fields.optional("size").filter(|size| !is_blank(size));
    // MATLAB code compares with "Yes" exactly; any other spelling leaves the aspect alone.
    let aspect = fields.optional("preserveAspectRatio").map(|node| (node, reading.flag(node)));
    if let Some((node, true)) = aspect
        && node.text(&mut reading.problems).is_some_and(|text| text != "Yes")
    {
        reading
            .note("preserveAspectRatio is written other than \"Yes\", which CERR reads as no; it is imported as meant");
    }
    let aspect = aspect.is_some_and(|(_, aspect)| aspect);
    let known = ["method", "size", "preserveAspectRatio"];
    fields.finish(&mut reading.problems);
    if let Method::Nothing = method {
        return Some(None);
    }
    let Some(size) = size else {
        reading.problems.add(node, "no \"size\"", format!("the size, beside {}", known.join(", ")));
        return None;
    };
    let (least, most) = if let Method::Slices(_) = method { (1, 1) } else { (2, 3) };
    let size = reading.numbers(size, least, most)?;
    let count = number_of(size[0]);
    let plane: Json = size.iter().take(2).copied().map(number_of).collect();
    // CERR's three sides are [rows, columns, slices].
    let sides: Json = match size.as_slice() {
        [rows, columns, slices] => [*slices, *rows, *columns].map(number_of).into_iter().collect(),
        _ => plane.clone(),
    };
    let step = match method {
        Method::Nothing => return Some(None),
        Method::Fit(op) => {
            let mut step = json!({"op": op, "size": sides});
            if aspect && op == "pad_or_crop" {
                step["preserve_aspect"] = json!(true);
            }
            step
        }
        Method::Window => json!({"op": "window_2d", "size": plane}),
        Method::BackFromWindow => {
            reading.not_expressed.push(
                "unpad2d before the network: it undoes pad2d on results, which happens by itself here".to_owned(),
            );
            return Some(None);
        }
        Method::Scale(method) => {
            let mut step = json!({"op": "scale", "size": plane, "method": method});
            if aspect {
                step["preserve_aspect"] = json!(true);
            }
            step
        }
        // CERR appends slices of zeros.
        Method::Slices("pad_slices") => json!({"op": "pad_slices", "count": count, "value": 0}),
        Method::Slices(op) => json!({"op": op, "count": count}),
    };
    Some(Some(step))
}
