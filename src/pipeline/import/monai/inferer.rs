//! How a bundle runs its network over the image: the inferer as a window; it knows no transform.
//!
//! Facts: MONAI 1.6.1, inferers/inferer.py and utils.py.

use serde_json::{Value, json};

use super::config::{Component, Config};
use super::step::Step;
use crate::document::{Problems, Value as Read};

/// The window of a bundle, in the order of its axes.
#[derive(Debug)]
pub(super) struct Inference {
    /// Sides; `None` takes the whole axis.
    roi: Vec<Option<usize>>,
    overlap: f64,
    gaussian: bool,
    /// The value around the image; `None` continues its edge.
    pad_value: Option<f64>,
    /// The axis of slices, for networks that see one at a time.
    slices: Option<usize>,
}

impl Inference {
    /// Reads `inferer`, for a network of 2 or 3 axes.
    pub fn read(config: &Config<'_>, component: &Component, axes: usize, problems: &mut Problems) -> Option<Inference> {
        let step = Step { config, component };
        let known = ["SlidingWindowInferer", "SimpleInferer", "SliceInferer"];
        if !component.of_monai || !known.contains(&component.name.as_str()) {
            let found = format!("the inferer {}", component.name);
            problems.add(&component.node, found, format!("one of MONAI's {}", known.join(", ")));
            return None;
        }
        let slices = (component.name == "SliceInferer")
            .then(|| step.number("spatial_dim", problems).unwrap_or(0.0).clamp(0.0, 2.0) as usize);
        if (axes == 2) != slices.is_some() {
            let expected = "SliceInferer for networks of 2 axes, and no other";
            problems.add(&component.node, format!("{} for a network of {axes} axes", component.name), expected);
            return None;
        }
        if component.name == "SimpleInferer" {
            return Some(Inference { roi: vec![None; 3], overlap: 0.0, gaussian: false, pad_value: Some(0.0), slices });
        }
        step.only(
            &[
                "roi_size",
                "sw_batch_size",
                "overlap",
                "mode",
                "sigma_scale",
                "padding_mode",
                "cval",
                "sw_device",
                "progress",
                "cache_roi_weight_map",
                "cpu_thresh",
                "spatial_dim",
                "buffer_steps",
                "buffer_dim",
                "with_coord",
            ],
            problems,
        );
        let roi = roi(&step, axes, problems)?;
        let mode = step.text("mode", problems).unwrap_or_else(|| "constant".to_owned());
        if mode != "constant" && mode != "gaussian" {
            step.refuse(&format!("mode \"constant\" or \"gaussian\", not {mode:?}"), problems);
        }
        if step.number("sigma_scale", problems).is_some_and(|scale| scale != 0.125) {
            step.refuse("sigma_scale 0.125, the only one of this program", problems);
        }
        let padding = step.text("padding_mode", problems).unwrap_or_else(|| "constant".to_owned());
        let pad_value = match padding.as_str() {
            "constant" => Some(step.number("cval", problems).unwrap_or(0.0)),
            "replicate" => None,
            _ => {
                step.refuse(&format!("padding_mode \"constant\" or \"replicate\", not {padding:?}"), problems);
                None
            }
        };
        let overlap = overlap(&step, problems)?;
        Some(Inference { roi, overlap, gaussian: mode == "gaussian", pad_value, slices })
    }

    /// The order of its axes in the image, slices first for networks that see one at a time.
    fn forward(&self) -> [usize; 3] {
        match self.slices {
            Some(1) => [1, 0, 2],
            Some(2) => [2, 0, 1],
            _ => [0, 1, 2],
        }
    }

    /// `transpose` of the model: from the axes of its orientation to those of the network. `loaded`: the orientation has
    /// [slice, row, column], and MONAI has [column, row, slice].
    pub fn transpose(&self, loaded: bool) -> Option<[usize; 3]> {
        let forward = self.forward();
        let transpose = if loaded { forward.map(|axis| 2 - axis) } else { forward };
        (transpose != [0, 1, 2]).then_some(transpose)
    }

    /// Where a value for each axis of MONAI's stands in the order of the network.
    pub fn order(&self) -> [usize; 3] {
        self.forward()
    }

    /// The layout of its tensors.
    pub fn layout(&self) -> &'static str {
        if self.slices.is_some() { "NCHW" } else { "NCDHW" }
    }

    /// The value of `window`.
    pub fn window(&self) -> Value {
        let side = |side: &Option<usize>| side.map_or(Value::from("all"), Value::from);
        let slices = self.slices.map(|_| Value::from(1));
        let patch: Vec<Value> = slices.into_iter().chain(self.roi.iter().map(side)).collect();
        let mut window = json!({
            "patch": patch,
            "overlap": self.overlap,
            "tiling": "fixed",
            "blend": if self.gaussian { "gaussian" } else { "constant" },
            "pad": if self.pad_value.is_some() { "constant" } else { "edge" },
            "pad_side": "both",
        });
        if let Some(value) = self.pad_value.filter(|value| *value != 0.0) {
            window["pad_value"] = Value::from(value);
        }
        window
    }
}

fn roi(step: &Step<'_, '_>, axes: usize, problems: &mut Problems) -> Option<Vec<Option<usize>>> {
    let Some(node) = step.get("roi_size", problems) else {
        step.refuse("the argument roi_size", problems);
        return None;
    };
    let side = |value: f64| (value >= 1.0).then_some(value as usize);
    let roi: Vec<Option<usize>> = match &node.value {
        Read::Number(value, _) => vec![side(*value); axes],
        _ => {
            let items = node.array(problems)?;
            // A side that is not given, or not positive, is that of the image.
            let value = |item: &crate::document::Node| match item.value {
                Read::Null => Some(None),
                _ => Some(side(item.number(-1.0, 1e6, &mut Problems::of(""))?)),
            };
            items.iter().map(value).collect::<Option<Vec<_>>>().unwrap_or_default()
        }
    };
    if roi.len() != axes {
        problems.add(&node, node.describe(), format!("one number, or {axes}"));
        return None;
    }
    Some(roi)
}

fn overlap(step: &Step<'_, '_>, problems: &mut Problems) -> Option<f64> {
    let Some(node) = step.get("overlap", problems) else { return Some(0.25) };
    let overlaps: Vec<f64> = match &node.value {
        Read::Array(items) => items.iter().filter_map(|item| item.number(0.0, 0.95, problems)).collect(),
        _ => vec![node.number(0.0, 0.95, problems)?],
    };
    let first = *overlaps.first()?;
    if overlaps.iter().any(|other| *other != first) {
        problems.add(&node, node.describe(), "the same overlap for all axes");
    }
    Some(first)
}
