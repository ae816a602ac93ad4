//! Operations before a model as JSON, in one place for all importers; it applies none.

use serde_json::{Map, Value, json};

/// The box of what is not 0 in any image of the model, holes filled; of an empty image all.
pub(super) fn crop_to_nonzero() -> Value {
    json!({ "op": "crop", "regions": [{ "region": "nonzero" }], "slices": "range", "on_empty": "whole" })
}

/// Values below and above become the bounds.
pub(super) fn clip(low: f64, high: f64) -> Value {
    json!({ "op": "clip", "low": low, "high": high })
}

/// Minus an offset, then divided by a scale.
pub(super) fn shift_scale(offset: f64, scale: f64) -> Value {
    json!({ "op": "normalise", "by": "fixed", "mean": offset, "std": scale })
}

/// Minus the mean, divided by the standard deviation, measured on all voxels, on those `inside` the crop, or on those
/// that are `nonzero`; only the measured ones change.
pub(super) fn z_score(on: &str) -> Value {
    match on {
        "all" => json!({ "op": "normalise", "by": "z_score" }),
        _ => json!({ "op": "normalise", "by": "z_score", "on": on, "change": "measured" }),
    }
}

/// The least value becomes `low`, the greatest `high`.
pub(super) fn min_max(low: f64, high: f64) -> Value {
    match (low, high) {
        (0.0, 1.0) => json!({ "op": "normalise", "by": "min_max" }),
        _ => json!({ "op": "normalise", "by": "min_max", "to_low": low, "to_high": high }),
    }
}

/// Colours as nnU-Net takes them: divided by 255, other values than 0 to 255 refused.
pub(super) fn rgb() -> Value {
    json!({ "op": "normalise", "by": "rgb" })
}

/// As nnU-Net resamples: the edges of the volume stay, not the centres of its first voxels.
pub(super) fn resample_nnunet(spacing_mm: &[f64], method: &str, separate: &str) -> Value {
    json!({ "op": "resample", "spacing_mm": spacing_mm, "grid": "edges", "method": method, "separate": separate })
}

/// As MONAI's Spacing: the centre of the first voxel stays.
pub(super) fn resample_monai(spacing_mm: &[f64], method: &str) -> Value {
    json!({ "op": "resample", "spacing_mm": spacing_mm, "grid": "corners", "method": method })
}

/// As MONAI's Spacing with a spline: `spline` holds the keys of `resample` that tell which one.
pub(super) fn resample_spline(spacing_mm: &[f64], spline: &Map<String, Value>) -> Value {
    let mut operation = resample_monai(spacing_mm, "bspline");
    spline.iter().for_each(|(key, value)| operation[key] = value.clone());
    operation
}

/// An operation that measures all images that have it.
pub(super) fn together(mut operation: Value) -> Value {
    operation["together"] = Value::from(true);
    operation
}

pub(super) fn is_together(operation: &Value) -> bool {
    operation["together"] == true
}

/// MONAI's Resize.
pub(super) fn resample_to(size: &[f64], method: &str) -> Value {
    json!({ "op": "resample", "size": size, "grid": "edges", "method": method })
}

/// MONAI's ScaleIntensityRange.
pub(super) fn scale_range(a_min: f64, a_max: f64, to: Option<(f64, f64)>, clip: bool) -> Value {
    with_bounds(json!({ "op": "scale_range", "a_min": a_min, "a_max": a_max }), to, &[("clip", clip)])
}

/// MONAI's ScaleIntensityRangePercentiles.
pub(super) fn scale_percentiles(lower: f64, upper: f64, to: Option<(f64, f64)>, clip: bool, relative: bool) -> Value {
    let operation = json!({ "op": "scale_percentiles", "lower": lower, "upper": upper });
    with_bounds(operation, to, &[("clip", clip), ("relative", relative)])
}

fn with_bounds(mut operation: Value, to: Option<(f64, f64)>, flags: &[(&str, bool)]) -> Value {
    if let Some((low, high)) = to {
        operation["b_min"] = Value::from(low);
        operation["b_max"] = Value::from(high);
    }
    for (key, _) in flags.iter().filter(|(_, set)| *set) {
        operation[*key] = Value::Bool(true);
    }
    operation
}

/// Minus an offset, divided by a scale, of all voxels or of those that are not 0.
pub(super) fn shift_scale_on(offset: f64, scale: f64, on: &str) -> Value {
    let mut operation = shift_scale(offset, scale);
    if on != "all" {
        operation["on"] = Value::from(on);
        operation["change"] = Value::from("measured");
    }
    operation
}

/// Every voxel times a factor.
pub(super) fn scale(by: f64) -> Value {
    json!({ "op": "multiply", "by": by })
}

/// One bound, or both.
pub(super) fn clip_to(low: Option<f64>, high: Option<f64>) -> Value {
    bounds(json!({ "op": "clip" }), [("low", low), ("high", high)])
}

/// Bounds that are percentiles of the image.
pub(super) fn clip_percentiles(low: Option<f64>, high: Option<f64>) -> Value {
    bounds(json!({ "op": "clip" }), [("low_percentile", low), ("high_percentile", high)])
}

fn bounds(mut operation: Value, bounds: [(&str, Option<f64>); 2]) -> Value {
    for (key, bound) in bounds {
        if let Some(bound) = bound {
            operation[key] = Value::from(bound);
        }
    }
    operation
}

/// Brings axes to a size about their middle, 0 leaves one; `only`: `both`, `pad` or `cut`.
pub(super) fn fit(size: [f64; 3], only: &str, value: f64) -> Value {
    let mut operation = json!({ "op": "fit", "size": whole(size) });
    if only != "both" {
        operation["only"] = Value::from(only);
    }
    with_value(operation, value)
}

/// To the next multiple, the odd voxel on the far side.
pub(super) fn fit_to_multiple(multiple: [f64; 3], value: f64) -> Value {
    with_value(json!({ "op": "fit", "multiple_of": whole(multiple) }), value)
}

fn with_value(mut operation: Value, value: f64) -> Value {
    if value != 0.0 {
        operation["value"] = Value::from(value);
    }
    operation
}

/// The box of what is above a bound, with a margin and multiples in voxels. `stays`: the margin ends with the image.
pub(super) fn crop_above(bound: f64, margin: [f64; 3], divisible: [f64; 3], stays: bool) -> Value {
    let mut operation =
        json!({ "op": "crop", "regions": [{ "region": "threshold", "above": bound }], "slices": "range" });
    if margin != [0.0; 3] {
        operation["margin_voxels"] = json!(whole(margin));
    }
    if divisible != [1.0; 3] {
        operation["divisible_by"] = json!(whole(divisible));
    }
    if divisible != [1.0; 3] || (margin != [0.0; 3] && !stays) {
        operation["at_edge"] = json!("pad");
    }
    operation
}

fn whole(values: [f64; 3]) -> [i64; 3] {
    values.map(|value| value as i64)
}
