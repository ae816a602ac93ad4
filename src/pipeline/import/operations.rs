//! Operations before a model as JSON, in one place for all importers; it applies none.

use serde_json::{Value, json};

/// The box of what is not 0 in any image of the model, holes filled.
pub(super) fn crop_to_nonzero() -> Value {
    json!({ "op": "crop", "regions": [{ "region": "nonzero" }] })
}

/// Values below and above become the bounds.
pub(super) fn clip(low: f64, high: f64) -> Value {
    json!({ "op": "clip", "low": low, "high": high })
}

/// Minus an offset, then divided by a scale.
pub(super) fn shift_scale(offset: f64, scale: f64) -> Value {
    json!({ "op": "normalise", "by": "fixed", "mean": offset, "std": scale })
}

/// Minus the mean, divided by the standard deviation. `masked`: over and of the voxels that the crop to non-zero found.
pub(super) fn z_score(masked: bool) -> Value {
    if masked {
        json!({ "op": "normalise", "by": "z_score", "within": "nonzero" })
    } else {
        json!({ "op": "normalise", "by": "z_score" })
    }
}

/// To 0 for the least and 1 for the greatest value.
pub(super) fn min_max() -> Value {
    json!({ "op": "normalise", "by": "min_max" })
}

/// As nnU-Net resamples: the edges of the volume stay, not the centres of its first voxels.
pub(super) fn resample_nnunet(spacing_mm: &[f64], method: &str, separate: &str) -> Value {
    json!({ "op": "resample", "spacing_mm": spacing_mm, "grid": "edges", "method": method, "separate": separate })
}
