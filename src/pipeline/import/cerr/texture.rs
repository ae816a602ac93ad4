//! CERR's filters of texture (IBSI) as operations: mean, Sobel, LoG, Gabor, Laws, wavelets; it filters nothing.

use serde_json::{Value as Json, json};

use super::filter::Parameters;
use super::reading::{Reading, number_of};
use crate::document::Node;

/// Kernel size [rows, columns, slices] as [slices, rows, columns].
pub(super) fn mean(parameters: &mut Parameters<'_>, reading: &mut Reading) -> Option<Vec<Json>> {
    let mut step = json!({"op": "mean"});
    if let Some(node) = parameters.take(&["KernelSize"], reading) {
        step["size"] = size_of(node, reading)?;
    }
    if flag(parameters, &["Absolute", "AbsFlag"], reading) {
        step["absolute"] = json!(true);
    }
    boundary(parameters, &mut step, reading);
    Some(vec![step])
}

fn size_of(node: &Node, reading: &mut Reading) -> Option<Json> {
    let numbers = reading.numbers(node, 1, 3)?;
    let at = |index: usize| {
        number_of(numbers.get(index).or_else(|| numbers.first().filter(|_| index < 2)).copied().unwrap_or(1.0))
    };
    Some(json!([at(2), at(0), at(1)]))
}

fn flag<'a>(parameters: &mut Parameters<'a>, names: &[&'a str], reading: &mut Reading) -> bool {
    parameters.take(names, reading).is_some_and(|node| reading.flag(node))
}

/// Padding of CERR's filters: `{"Size": ..., "Method": ..., "Flag": ...}`, or the method alone.
fn boundary(parameters: &mut Parameters<'_>, step: &mut Json, reading: &mut Reading) {
    parameters.keep(&["Padding", "PadMethod", "PadSize", "VoxelSize_mm"], reading);
    step["boundary"] = json!("zero");
}

pub(super) fn sobel(_: &mut Parameters<'_>, _: &mut Reading) -> Option<Vec<Json>> {
    Some(vec![json!({"op": "sobel", "give": "magnitude"})])
}

/// `Sigma_mm` and `CutOff_mm`; both generations of the filter have them.
pub(super) fn log(parameters: &mut Parameters<'_>, reading: &mut Reading) -> Option<Vec<Json>> {
    let sigma = parameters.required_number(&["Sigma_mm"], reading)?;
    let cutoff = parameters.take(&["CutOff_mm"], reading).and_then(|node| reading.numbers(node, 1, 3));
    let mut step = json!({"op": "log", "sigma_mm": [number_of(sigma), number_of(sigma), number_of(sigma)]});
    if let Some(cutoff) = cutoff.as_deref().and_then(<[f64]>::first) {
        step["cutoff"] = number_of(cutoff / sigma);
    }
    boundary(parameters, &mut step, reading);
    Some(vec![step])
}

pub(super) fn gabor(parameters: &mut Parameters<'_>, reading: &mut Reading) -> Option<Vec<Json>> {
    let sigma = parameters.required_number(&["Sigma_mm"], reading)?;
    let wavelength = parameters.required_number(&["Wavlength_mm", "Wavelength_mm"], reading)?;
    let mut step = json!({"op": "gabor", "sigma_mm": number_of(sigma), "wavelength_mm": number_of(wavelength)});
    if let Some(gamma) = parameters.number(&["SpatialAspectRatio", "Gamma"], reading) {
        step["gamma"] = number_of(gamma);
    }
    if let Some(node) = parameters.take(&["Orientation"], reading) {
        let angles = reading.numbers(node, 1, 64)?;
        step["theta"] = angles.into_iter().map(number_of).collect();
    }
    if let Some(radius) = parameters.number(&["Radius_mm"], reading) {
        step["radius_mm"] = number_of(radius);
    }
    for (key, names) in [("angles", "OrientationAggregation"), ("planes", "PlaneAggregation")] {
        if let Some(word) = aggregate(parameters, names, reading) {
            step[key] = json!(word);
            if key == "planes" {
                step["dimension"] = json!("3d");
            }
        }
    }
    boundary(parameters, &mut step, reading);
    Some(vec![step])
}

/// `"avg"`, or `{"AggregationMethod": "avg", ...}`.
fn aggregate<'a>(parameters: &mut Parameters<'a>, name: &'a str, reading: &mut Reading) -> Option<&'static str> {
    let node = parameters.take(&[name], reading)?;
    let node = super::reading::child(node, "AggregationMethod").unwrap_or(node);
    reading.word(node, &[("avg", "avg"), ("max", "max"), ("std", "std")])
}

/// Which turns are joined, and how; with it `dimension`.
fn rotations(parameters: &mut Parameters<'_>, step: &mut Json, reading: &mut Reading) {
    let Some(node) = parameters.take(&["RotationInvariance"], reading) else { return };
    let Some(mut fields) = node.object(&mut reading.problems) else { return };
    let method = fields.optional("AggregationMethod");
    let method = method.and_then(|node| reading.word(node, &[("avg", "avg"), ("max", "max"), ("std", "std")]));
    let dimension = fields.optional("Dim").and_then(|node| reading.word(node, &[("2d", "2d"), ("3d", "3d")]));
    fields.finish(&mut reading.problems);
    if let Some(method) = method {
        step["rotations"] = json!(method);
    }
    if let Some(dimension) = dimension {
        step["dimension"] = json!(dimension);
    }
}

/// `Direction` is `"2d"` or `"3d"`, `Type` the kernel (`E5L5`), or one of them holds the kernel.
fn laws_kernel(parameters: &mut Parameters<'_>, reading: &mut Reading) -> Option<Json> {
    let direction = parameters.take(&["Direction"], reading).and_then(|node| reading.text(node));
    let kind = parameters.take(&["Type", "KernelType"], reading).and_then(|node| reading.text(node));
    let kernel = kind.filter(|kind| !matches!(kind.as_str(), "3" | "5" | "all"));
    let (kernel, direction) = (kernel.clone().or_else(|| direction.clone()), direction.filter(|_| kernel.is_some()));
    let Some(kernel) = kernel else {
        reading.problems.add(parameters.node(), "no \"Type\"", "the kernel of Laws, such as \"E5L5\"");
        return None;
    };
    let mut step = json!({"op": "laws", "kernel": kernel.to_ascii_uppercase()});
    if let Some(direction) = direction.filter(|direction| direction.eq_ignore_ascii_case("3d")) {
        step["dimension"] = json!(direction.to_ascii_lowercase());
    }
    let node = parameters.take(&["Normalize"], reading);
    step["normalised"] = json!(node.is_none_or(|node| reading.flag(node)));
    boundary(parameters, &mut step, reading);
    rotations(parameters, &mut step, reading);
    Some(step)
}

pub(super) fn laws(parameters: &mut Parameters<'_>, reading: &mut Reading) -> Option<Vec<Json>> {
    let mut step = laws_kernel(parameters, reading)?;
    // Two lines or three say whether planes or volumes are filtered.
    if let Json::Object(step) = &mut step {
        step.remove("dimension");
    }
    Some(vec![step])
}

pub(super) fn laws_energy(parameters: &mut Parameters<'_>, reading: &mut Reading) -> Option<Vec<Json>> {
    let mut step = laws(parameters, reading)?.remove(0);
    step["op"] = json!("laws_energy");
    if let Some(node) = parameters.take(&["EnergyKernelSize"], reading) {
        step["size"] = size_of(node, reading)?;
    }
    parameters.keep(&["EnergyPadSize", "EnergyPadMethod"], reading);
    Some(vec![step])
}

/// `Wavelets` names the family and `Index` its order: `db` and 3 are `db3`.
pub(super) fn wavelets(parameters: &mut Parameters<'_>, reading: &mut Reading) -> Option<Vec<Json>> {
    let family = parameters.take(&["Wavelets", "WaveletType"], reading).and_then(|node| reading.text(node));
    let index = parameters.number(&["Index"], reading);
    let band = parameters.take(&["Direction"], reading).and_then(|node| reading.text(node));
    let level = parameters.number(&["Level"], reading);
    let (Some(family), Some(band)) = (family, band) else {
        reading.problems.add(parameters.node(), "no wavelet or no direction", "\"Wavelets\" and \"Direction\"");
        return None;
    };
    let order = index.filter(|index| *index > 0.0).map_or(String::new(), |index| format!("{index}"));
    let mut step = json!({"op": "wavelet", "wavelet": format!("{}{order}", family.to_ascii_lowercase()), "band": band.to_ascii_uppercase()});
    if let Some(level) = level {
        step["level"] = number_of(level);
    }
    rotations(parameters, &mut step, reading);
    if let Json::Object(step) = &mut step {
        step.remove("dimension");
    }
    parameters.keep(&["Padding", "VoxelSize_mm"], reading);
    Some(vec![step])
}
