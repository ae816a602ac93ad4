//! One configuration of nnU-Net v2 as a stage of `model.json`: inputs, channels, tensor, window, output; it reads no text.

use serde_json::{Map, Value, json};

use super::Fold;
use super::checkpoint::Export;
use super::labels::Labels;
use super::plans::{Configuration, Normalisation, Plans, Resampling};
use crate::pipeline::import::operations as op;

/// What a stage is made of besides the plans.
pub(super) struct Parts<'a> {
    pub plans: &'a Plans,
    pub labels: &'a Labels,
    /// Names of the images, in the order of the channels.
    pub inputs: &'a [String],
    pub folds: &'a [Fold],
    pub export: &'a Export,
    /// Before the name of each network's file.
    pub prefix: &'a str,
    pub orientation: &'a str,
    /// Spatial axes of the patch that are mirrored.
    pub mirror: &'a [usize],
    pub step_size: f64,
    /// Instead of what the plans say of the axis of lowest resolution.
    pub separate: Option<&'a str>,
}

/// The keys of a stage, in the order of the reference. `previous`: the labels of the stage before.
pub(super) fn stage(configuration: &Configuration, parts: &Parts<'_>, previous: Option<&Labels>) -> Map<String, Value> {
    let mut stage = networks(parts.folds, parts.prefix);
    stage.insert("orientation".to_owned(), Value::from(parts.orientation));
    if parts.plans.transpose != [0, 1, 2] {
        stage.insert("transpose".to_owned(), json!(parts.plans.transpose));
    }
    let inputs: Map<String, Value> = parts
        .inputs
        .iter()
        .zip(&configuration.channels)
        .map(|(name, how)| (name.clone(), json!({ "pre": pre(configuration, *how, parts.separate) })))
        .collect();
    stage.insert("inputs".to_owned(), Value::Object(inputs));
    if let Some(previous) = previous {
        let images = parts.inputs.iter().map(|name| json!({ "of": name }));
        let labels = previous.values.iter().map(|(_, value)| json!({ "previous": value }));
        stage.insert("channels".to_owned(), Value::Array(images.chain(labels).collect()));
    }
    stage.insert("tensor".to_owned(), tensor(configuration, parts.export));
    stage.insert("window".to_owned(), window(configuration, parts));
    let separate = parts.separate.unwrap_or_else(|| configuration.probabilities.separate());
    let mut output = parts.labels.output(separate);
    // Its resampling by torch gives single precision, the other one what it was given, which is half.
    if !matches!(configuration.probabilities, Resampling::Torch { .. }) {
        output["precision"] = Value::from("half");
    }
    stage.insert("output".to_owned(), output);
    stage
}

/// The name of the file of a fold in the model's folder.
pub(super) fn network_file(prefix: &str, fold: &str) -> String {
    format!("{prefix}fold_{fold}.onnx")
}

fn networks(folds: &[Fold], prefix: &str) -> Map<String, Value> {
    let mut keys = Map::new();
    let one = |fold: &Fold| (Value::from(network_file(prefix, &fold.name)), json!(fold.sha256));
    if let [only] = folds {
        let (file, sha256) = one(only);
        keys.insert("file".to_owned(), file);
        keys.insert("sha256".to_owned(), sha256);
        return keys;
    }
    let list = folds.iter().map(one).map(|(file, sha256)| json!({ "file": file, "sha256": sha256 }));
    keys.insert("networks".to_owned(), Value::Array(list.collect()));
    keys
}

/// Crop to non-zero, normalise, resample: never in another order (preprocessors/default_preprocessor.py).
fn pre(configuration: &Configuration, how: Normalisation, separate: Option<&str>) -> Vec<Value> {
    let mut pre = vec![op::crop_to_nonzero()];
    match how {
        Normalisation::Ct { low, high, mean, std } => pre.extend([op::clip(low, high), op::shift_scale(mean, std)]),
        Normalisation::ZScore { masked } => pre.push(op::z_score(if masked { "inside" } else { "all" })),
        Normalisation::RescaleTo01 => pre.push(op::min_max(0.0, 1.0)),
        Normalisation::RgbTo01 => pre.push(op::rgb()),
        Normalisation::None => {}
    }
    let mut spacing_mm = configuration.spacing_mm.clone();
    if configuration.is_flat() {
        // The distance between slices stays as it is.
        spacing_mm.insert(0, 0.0);
    }
    let separate = |own| separate.unwrap_or(own);
    match configuration.data {
        Resampling::Usual { separate: own, linear_z } => {
            let mut step = op::resample_nnunet(&spacing_mm, "nnunet", separate(own));
            if linear_z {
                step["across"] = json!("linear");
            }
            pre.push(step);
        }
        Resampling::Torch { separate: own } => pre.push(op::resample_nnunet(&spacing_mm, "linear", separate(own))),
        Resampling::None => {}
    }
    pre
}

fn tensor(configuration: &Configuration, export: &Export) -> Value {
    let mut tensor = json!({ "layout": if configuration.is_flat() { "NCHW" } else { "NCDHW" } });
    for (key, name) in [("input", &export.input), ("output", &export.output)] {
        if let Some(name) = name {
            tensor[key] = Value::from(name.as_str());
        }
    }
    tensor
}

/// inference/sliding_window_prediction.py and predict_from_raw_data.py.
fn window(configuration: &Configuration, parts: &Parts<'_>) -> Value {
    let flat = configuration.is_flat();
    let patch: Vec<usize> = flat.then_some(1).into_iter().chain(configuration.patch.iter().copied()).collect();
    let mirror: Vec<usize> = parts.mirror.iter().map(|axis| axis + usize::from(flat)).collect();
    let mut window = json!({
        "patch": patch,
        "overlap": overlap(parts.step_size),
        "tiling": "spread",
        "blend": "gaussian_nnunet",
        "pad": "constant",
        "pad_value": 0,
        "pad_side": "both",
        "precision": "half",
    });
    if !mirror.is_empty() {
        window["mirror"] = json!(mirror);
    }
    window
}

/// The overlap that gives back this step as `1 - overlap`, exactly for steps of a half and more, with few digits where that
/// is possible.
fn overlap(step_size: f64) -> f64 {
    let short = ((1.0 - step_size) * 1e6).round() / 1e6;
    if 1.0 - short == step_size { short } else { 1.0 - step_size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_comes_back_exactly() {
        for step in [0.5, 0.8, 0.25, 1.0, 0.7, 2.0 / 3.0] {
            assert_eq!(1.0 - overlap(step), step, "{step}");
        }
        assert_eq!(overlap(0.8), 0.2);
    }
}
