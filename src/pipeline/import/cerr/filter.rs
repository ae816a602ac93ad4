//! CERR's filters of channels and of whole scans as operations; it filters nothing.

use serde_json::{Value as Json, json};

use super::reading::{Reading, number_of, one_or_many};
use crate::document::{Fields, Node, Value, nearest};

/// A filter takes its parameters and gives operations.
type Make = fn(&mut Parameters<'_>, &mut Reading) -> Option<Vec<Json>>;

const FILTERS: [(&str, Make); 5] = [
    ("assignBkgIntensity", assign),
    ("SimpleITK", simple_itk),
    ("zScore", z_score),
    ("suv", suv),
    ("Sobel", sobel),
];

/// `imageType` of a channel, or of the whole-scan `filter`: `"original"`, or filters by name with their parameters.
pub(super) fn image_type(node: &Node, reading: &mut Reading) -> Vec<Json> {
    match &node.value {
        Value::String(word) => {
            if !word.eq_ignore_ascii_case("original") && !word.trim().is_empty() {
                reading.problems.add(node, node.describe(), "\"original\", or an object of one filter");
            }
            Vec::new()
        }
        Value::Object(list) => list.iter().flat_map(|(name, params)| filter(name, params, reading)).collect(),
        _ => {
            reading.problems.add(node, node.describe(), "\"original\", or an object of one filter");
            Vec::new()
        }
    }
}

fn filter(name: &str, node: &Node, reading: &mut Reading) -> Vec<Json> {
    if name.eq_ignore_ascii_case("original") {
        return Vec::new();
    }
    let Some((_, make)) = FILTERS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) else {
        let known: Vec<&str> = FILTERS.iter().map(|(known, _)| *known).collect();
        let expected = format!("one of original, {}", known.join(", "));
        match nearest(name, &known) {
            Some(near) => {
                reading.problems.add_with_cure(node, format!("{name:?}"), expected, format!("did you mean {near:?}?"));
            }
            None => reading.problems.add(node, format!("{name:?}"), expected),
        }
        return Vec::new();
    };
    let Some(fields) = node.object(&mut reading.problems) else { return Vec::new() };
    let mut parameters = Parameters { fields };
    let steps = make(&mut parameters, reading).unwrap_or_default();
    parameters.fields.finish(&mut reading.problems);
    steps
}

/// The parameters of a filter; each value may be wrapped as `{"val": ...}`.
struct Parameters<'a> {
    fields: Fields<'a>,
}

impl<'a> Parameters<'a> {
    /// A parameter by any of its spellings.
    fn take(&mut self, names: &[&'a str], reading: &mut Reading) -> Option<&'a Node> {
        let node = names.iter().find_map(|name| self.fields.optional(name))?;
        let Value::Object(_) = node.value else { return Some(node) };
        let mut inner = node.object(&mut reading.problems)?;
        let value = inner.required("val", &mut reading.problems);
        inner.finish(&mut reading.problems);
        value
    }

    fn number(&mut self, names: &[&'a str], reading: &mut Reading) -> Option<f64> {
        self.take(names, reading).and_then(|node| reading.number(node))
    }
}

/// Voxels outside the crop are set to one value.
fn assign(parameters: &mut Parameters<'_>, reading: &mut Reading) -> Option<Vec<Json>> {
    let value = parameters.number(&["assignVal"], reading).unwrap_or(0.0);
    Some(vec![json!({"op": "set_outside", "value": number_of(value)})])
}

/// Mean and deviation are those inside the crop.
fn z_score(_: &mut Parameters<'_>, _: &mut Reading) -> Option<Vec<Json>> {
    Some(vec![json!({"op": "normalise", "by": "z_score"})])
}

fn suv(parameters: &mut Parameters<'_>, reading: &mut Reading) -> Option<Vec<Json>> {
    if let Some(node) = parameters.take(&["suvType"], reading) {
        reading.keep("suvType", node);
    }
    Some(Vec::new())
}

fn sobel(_: &mut Parameters<'_>, _: &mut Reading) -> Option<Vec<Json>> {
    Some(vec![json!({"op": "sobel"})])
}

fn simple_itk(parameters: &mut Parameters<'_>, reading: &mut Reading) -> Option<Vec<Json>> {
    // Older files have one more level.
    if let Some(inner) = parameters.fields.optional("filterPar") {
        let fields = inner.object(&mut reading.problems)?;
        let mut parameters = Parameters { fields };
        let steps = simple_itk(&mut parameters, reading);
        parameters.fields.finish(&mut reading.problems);
        return steps;
    }
    let Some(name) = parameters.take(&["sitkFilterName"], reading) else {
        let at = parameters.fields.node();
        reading.problems.add(at, "no \"sitkFilterName\"", "the name of the filter of SimpleITK");
        return None;
    };
    let words = ["gradient", "match", "laplacian", "n4", "n4_match"];
    let names = [
        "GradientImageFilter",
        "HistogramMatchingImageFilter",
        "LaplacianRecursiveGaussianImageFilter",
        "N4BiasFieldCorrectionImageFilter",
        "N4BiasAndHistogramCorrectionImageFilter",
    ];
    let choices: Vec<(&str, &str)> = names.into_iter().zip(words).collect();
    Some(match reading.word(name, &choices)? {
        "gradient" => vec![json!({"op": "gradient_magnitude"})],
        "match" => vec![histogram_match(parameters, reading)],
        "laplacian" => {
            let sigma = parameters.number(&["sigma", "Sigma"], reading).unwrap_or(1.0);
            vec![json!({"op": "laplacian_of_gaussian", "sigma_mm": number_of(sigma)})]
        }
        "n4" => vec![n4(parameters, reading)],
        _ => {
            let first = n4(parameters, reading);
            vec![first, histogram_match(parameters, reading)]
        }
    })
}

fn histogram_match(parameters: &mut Parameters<'_>, reading: &mut Reading) -> Json {
    let levels = parameters.number(&["numHistLevel"], reading).unwrap_or(256.0);
    let points = parameters.number(&["numMatchPts"], reading).unwrap_or(1.0);
    let names = ["thresholdAtMeanIntensityOn", "ThresholdAtMeanIntensityOn"];
    let above_mean = parameters.take(&names, reading).is_some_and(|node| reading.flag(node));
    if let Some(image) = parameters.take(&["refImg"], reading) {
        reading.keep("refImg", image);
    }
    json!({"op": "histogram_match", "levels": number_of(levels), "points": number_of(points), "above_mean": above_mean})
}

fn n4(parameters: &mut Parameters<'_>, reading: &mut Reading) -> Json {
    let mut step = json!({"op": "n4"});
    if let Some(mask) = parameters.take(&["maskImg"], reading) {
        reading.keep("maskImg", mask);
    }
    if let Some(shrink) = parameters.number(&["shrinkFactor"], reading) {
        step["shrink"] = number_of(shrink);
    }
    if let Some(levels) = parameters.number(&["numFittingLevels"], reading) {
        step["levels"] = number_of(levels);
    }
    if let Some(node) = parameters.take(&["numIterations"], reading) {
        let numbers: Vec<Json> =
            one_or_many(node).into_iter().filter_map(|node| reading.number(node)).map(number_of).collect();
        step["iterations"] = Json::Array(numbers);
    }
    step
}
