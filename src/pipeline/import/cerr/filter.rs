//! CERR's filters of channels and of whole scans as operations; it filters nothing.

use serde_json::{Value as Json, json};

use super::reading::{Reading, number_of};
use super::texture;
use crate::document::{Fields, Node, Value, nearest};

/// A filter takes its parameters and gives operations.
type Make = fn(&mut Parameters<'_>, &mut Reading) -> Option<Vec<Json>>;

/// Every filter of CERR by its name.
const FILTERS: [(&str, Make); 18] = [
    ("assignBkgIntensity", assign),
    ("SimpleITK", simple_itk),
    ("zScore", z_score),
    ("suv", suv),
    ("Mean", texture::mean),
    ("Sobel", texture::sobel),
    ("LoG", texture::log),
    ("LoG_IBSI", texture::log),
    ("Gabor", texture::gabor),
    ("Gabor3d", texture::gabor),
    ("Wavelets", texture::wavelets),
    ("RotationInvariantWavelets", texture::wavelets),
    ("LawsConvolution", texture::laws),
    ("LawsEnergy", texture::laws_energy),
    ("RotationInvariantLaws", texture::laws),
    ("HaralickCooccurance", |parameters, reading| unknown("HaralickCooccurance", parameters, reading)),
    ("FirstOrderStatistics", |parameters, reading| unknown("FirstOrderStatistics", parameters, reading)),
    ("CoLlage", |parameters, reading| unknown("CoLlage", parameters, reading)),
];

/// `imageType` of a channel, or of the whole-scan `filter`: `"original"`, or filters by name with their parameters.
/// `scan` is the input that is filtered.
pub(super) fn image_type(node: &Node, scan: &str, reading: &mut Reading) -> Vec<Json> {
    match &node.value {
        Value::String(word) => {
            if !word.eq_ignore_ascii_case("original") && !word.trim().is_empty() {
                reading.problems.add(node, node.describe(), "\"original\", or an object of one filter");
            }
            Vec::new()
        }
        Value::Object(list) => list.iter().flat_map(|(name, params)| filter(name, params, scan, reading)).collect(),
        _ => {
            reading.problems.add(node, node.describe(), "\"original\", or an object of one filter");
            Vec::new()
        }
    }
}

fn filter(name: &str, node: &Node, scan: &str, reading: &mut Reading) -> Vec<Json> {
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
    let mut parameters = Parameters { fields, scan };
    let steps = make(&mut parameters, reading).unwrap_or_default();
    parameters.fields.finish(&mut reading.problems);
    steps
}

/// The parameters of a filter; each value may be wrapped as `{"val": ...}`.
pub(super) struct Parameters<'a> {
    fields: Fields<'a>,
    scan: &'a str,
}

impl<'a> Parameters<'a> {
    /// The object that holds them.
    pub fn node(&self) -> &'a Node {
        self.fields.node()
    }

    /// A parameter by any of its spellings.
    pub fn take(&mut self, names: &[&'a str], reading: &mut Reading) -> Option<&'a Node> {
        let node = names.iter().find_map(|name| self.fields.optional(name))?;
        if super::reading::child(node, "val").is_none() {
            return Some(node);
        }
        let mut inner = node.object(&mut reading.problems)?;
        let value = inner.required("val", &mut reading.problems);
        inner.finish(&mut reading.problems);
        value
    }

    pub fn number(&mut self, names: &[&'a str], reading: &mut Reading) -> Option<f64> {
        self.take(names, reading).and_then(|node| reading.number(node))
    }

    pub fn required_number(&mut self, names: &[&'a str], reading: &mut Reading) -> Option<f64> {
        let found = self.take(names, reading);
        if found.is_none() {
            reading.problems.add(self.node(), format!("no {:?}", names[0]), "this parameter of the filter");
        }
        found.and_then(|node| reading.number(node))
    }

    /// Keeps parameters that change nothing here.
    pub fn keep(&mut self, names: &[&'a str], reading: &mut Reading) {
        for name in names {
            if let Some(node) = self.fields.optional(name) {
                reading.keep(&format!("filter.{name}"), node);
            }
        }
    }
}

/// Voxels outside the crop are set to one value.
fn assign(parameters: &mut Parameters<'_>, reading: &mut Reading) -> Option<Vec<Json>> {
    let value = parameters.number(&["assignVal"], reading).unwrap_or(0.0);
    Some(vec![json!({"op": "set_outside", "value": number_of(value)})])
}

/// Mean and deviation are those inside the crop.
fn z_score(_: &mut Parameters<'_>, _: &mut Reading) -> Option<Vec<Json>> {
    Some(vec![json!({"op": "normalise", "by": "z_score", "on": "inside", "ddof": 1})])
}

/// The input of the pipeline says so; the model takes what it gets.
fn suv(parameters: &mut Parameters<'_>, reading: &mut Reading) -> Option<Vec<Json>> {
    let kind = parameters.take(&["suvType"], reading).and_then(|node| reading.text(node));
    let kind = kind.unwrap_or_else(|| "BW".to_owned());
    reading.origin.insert("filter.suv.suvType".to_owned(), json!(kind));
    match kind.as_str() {
        "BW" => reading.suv = true,
        _ => reading.not_expressed.push(format!("suv {kind}: only SUV by body weight (BW) is known")),
    }
    Some(Vec::new())
}

/// Filters that have no operation here.
fn unknown(name: &str, parameters: &mut Parameters<'_>, reading: &mut Reading) -> Option<Vec<Json>> {
    let node = parameters.node();
    if let Value::Object(list) = &node.value {
        for (key, _) in list {
            parameters.fields.optional(key);
        }
    }
    reading.keep(&format!("filter.{name}"), node);
    reading
        .not_expressed
        .push(format!("the filter {name}: there is no such operation; leave the channel out, or compute it before"));
    Some(Vec::new())
}

fn simple_itk(parameters: &mut Parameters<'_>, reading: &mut Reading) -> Option<Vec<Json>> {
    // Older files have one more level.
    if let Some(inner) = parameters.fields.optional("filterPar") {
        let fields = inner.object(&mut reading.problems)?;
        let mut parameters = Parameters { fields, scan: parameters.scan };
        let steps = simple_itk(&mut parameters, reading);
        parameters.fields.finish(&mut reading.problems);
        return steps;
    }
    let Some(name) = parameters.take(&["sitkFilterName"], reading) else {
        reading.problems.add(parameters.node(), "no \"sitkFilterName\"", "the name of the filter of SimpleITK");
        return None;
    };
    let choices = [
        ("GradientImageFilter", 0),
        ("HistogramMatchingImageFilter", 1),
        ("LaplacianRecursiveGaussianImageFilter", 2),
        ("N4BiasFieldCorrectionImageFilter", 3),
        ("N4BiasAndHistogramCorrectionImageFilter", 4),
    ];
    Some(match reading.word(name, &choices)? {
        0 => vec![json!({"op": "gradient"})],
        1 => vec![histogram_match(parameters, reading)],
        2 => {
            let mut step = json!({"op": "laplacian_recursive_gaussian"});
            if let Some(sigma) = parameters.number(&["sigma", "Sigma"], reading) {
                step["sigma_mm"] = number_of(sigma);
            }
            vec![step]
        }
        3 => vec![n4(parameters, reading)],
        _ => {
            let first = n4(parameters, reading);
            vec![first, histogram_match(parameters, reading)]
        }
    })
}

/// The reference is a file beside the program, whose histogram no configuration tells. Until a person gives its landmarks,
/// an image is its own reference, which leaves it as it is.
fn histogram_match(parameters: &mut Parameters<'_>, reading: &mut Reading) -> Json {
    let mut step = json!({"op": "histogram_match", "reference": parameters.scan});
    if let Some(levels) = parameters.number(&["numHistLevel"], reading) {
        step["levels"] = number_of(levels);
    }
    if let Some(points) = parameters.number(&["numMatchPts"], reading) {
        step["match_points"] = number_of(points);
    }
    let names = ["thresholdAtMeanIntensityOn", "ThresholdAtMeanIntensityOn"];
    if let Some(node) = parameters.take(&names, reading) {
        step["threshold_at_mean"] = json!(reading.flag(node));
    }
    let told = "give the landmarks of the reference as \"landmarks\" of histogram_match in place of \"reference\"";
    match parameters.take(&["refImg"], reading) {
        Some(image) => {
            reading.keep("refImg", image);
            let name = image.describe();
            reading.not_expressed.push(format!("the histogram of the reference image ({name}), which the configuration names but does not hold; {told}"));
        }
        None => reading.note(format!("the configuration names no reference for the matching of histograms: images stay as they are until you {told}")),
    }
    step
}

/// ITK's filter of 4 levels and 50 iterations on each, unless told otherwise; a number of iterations is that of each level.
fn n4(parameters: &mut Parameters<'_>, reading: &mut Reading) -> Json {
    let mut step = json!({"op": "n4"});
    if let Some(mask) = parameters.take(&["maskImg"], reading) {
        reading.keep("maskImg", mask);
        let name = mask.describe();
        reading.not_expressed.push(format!("the mask of N4 ({name}), which the configuration names but does not hold; set \"on\" of n4 to \"inside\" to measure inside the crop"));
    }
    if let Some(shrink) = parameters.number(&["shrinkFactor"], reading) {
        step["shrink"] = number_of(shrink);
    }
    let levels = parameters.number(&["numFittingLevels"], reading);
    let iterations = parameters.take(&["numIterations"], reading).and_then(|node| reading.numbers(node, 1, 8));
    let told = match (levels, iterations) {
        (levels, Some(iterations)) if iterations.len() == 1 => {
            Some(vec![iterations[0]; levels.unwrap_or(4.0).clamp(1.0, 8.0) as usize])
        }
        (_, Some(iterations)) => Some(iterations),
        (Some(levels), None) => Some(vec![50.0; levels.clamp(1.0, 8.0) as usize]),
        (None, None) => None,
    };
    if let Some(told) = told {
        step["iterations"] = told.into_iter().map(number_of).collect();
    }
    step
}
