//! The transforms after the network as output and post-processing, in their order; it knows no images.
//!
//! Facts: MONAI 1.6.1, transforms/post/array.py and spatial/dictionary.py. The order tells where things happen: an activation
//! before Invertd is applied before values are brought back, a decision before it is brought back as labels.

use serde_json::{Map, Value, json};

use super::config::{Component, Config};
use super::images::Image;
use super::step::Step;
use crate::document::{Node, Problems, Value as Read};
use crate::pipeline::import::nnunet::largest_component;
use crate::pipeline::import::post_chain::Chain;

/// How labels come out.
pub(super) struct Segments {
    /// The value of `output`.
    pub output: Value,
    pub post: Option<Value>,
    /// Names of the labels that are delivered.
    pub delivered: Vec<String>,
    pub not_expressed: Vec<String>,
    pub notes: Vec<String>,
}

/// What is known while the transforms are read.
struct Reader<'a> {
    names: &'a [(String, usize)],
    channels: usize,
    activation: &'static str,
    activated_after: bool,
    back: Option<bool>,
    /// The key whose transforms Invertd undoes.
    undone: Option<String>,
    decision: Option<Decision>,
    decided_before: bool,
    chain: Chain,
    delivered: Vec<String>,
    not_expressed: Vec<String>,
    notes: Vec<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Decision {
    Argmax,
    /// Argmax, then one channel for each label.
    Onehot,
    Threshold(f64),
}

const IGNORED: &[&str] = &[
    "DeleteItemsd",
    "EnsureTyped",
    "FromMetaTensord",
    "SaveImaged",
    "ToDeviced",
    "ToMetaTensord",
    "ToNumpyd",
    "ToTensord",
];

/// Reads the transforms of `postprocessing`. `names`: channel or label of each structure; `channels`: of the network.
pub(super) fn read(
    config: &Config<'_>,
    list: &[Component],
    at: &Node,
    (names, channels): (&[(String, usize)], usize),
    images: &[&Image],
    problems: &mut Problems,
) -> Option<Segments> {
    let labels: Vec<String> = names.iter().map(|(name, _)| name.clone()).collect();
    let mut reader = Reader {
        names,
        channels,
        activation: "none",
        activated_after: false,
        back: None,
        undone: None,
        decision: None,
        decided_before: false,
        chain: Chain::new(&labels),
        delivered: labels.clone(),
        not_expressed: Vec::new(),
        notes: Vec::new(),
    };
    for component in list {
        let step = Step { config, component };
        match component.name.as_str() {
            name if component.of_monai && IGNORED.contains(&name) => {}
            "Activationsd" if component.of_monai => reader.activate(&step, problems),
            "Invertd" if component.of_monai => reader.invert(&step, problems),
            "AsDiscreted" if component.of_monai => reader.decide(&step, problems),
            "KeepLargestConnectedComponentd" if component.of_monai => reader.keep_largest(&step, problems),
            "FillHolesd" if component.of_monai => reader.fill_holes(&step, problems),
            "RemoveSmallObjectsd" if component.of_monai => reader.remove_small(&step, problems),
            "LabelFilterd" if component.of_monai => reader.filter(&step, problems),
            _ => {
                let func = component.argument("func").map(|func| format!(" (its function is {})", func.describe()));
                let known = "Activationsd, Invertd, AsDiscreted, KeepLargestConnectedComponentd, FillHolesd, \
                             RemoveSmallObjectsd, LabelFilterd or SaveImaged";
                step.refuse(&format!("{known}{}", func.unwrap_or_default()), problems);
            }
        }
    }
    reader.finish(at, images, problems)
}

impl Reader<'_> {
    fn activate(&mut self, step: &Step<'_, '_>, problems: &mut Problems) {
        step.only(&["sigmoid", "softmax", "other"], problems);
        if step.component.argument("other").is_some_and(|other| other.value != Read::Null) {
            step.refuse("sigmoid or softmax, no other function", problems);
        }
        if self.decision.is_some() {
            step.refuse("an activation before AsDiscreted", problems);
        }
        let flag = |key: &str, problems: &mut Problems| per_key(step, key, problems).is_some_and(|node| truth(&node));
        let (sigmoid, softmax) = (flag("sigmoid", problems), flag("softmax", problems));
        if sigmoid || softmax {
            self.activation = if sigmoid { "sigmoid" } else { "softmax" };
            self.activated_after = self.back.is_some();
        }
    }

    fn invert(&mut self, step: &Step<'_, '_>, problems: &mut Problems) {
        step.only(&["transform", "orig_keys", "nearest_interp", "to_tensor", "orig_meta_keys", "post_func"], problems);
        if self.back.is_some() {
            step.refuse("one Invertd", problems);
        }
        if step.component.argument("post_func").is_some_and(|func| func.value != Read::Null) {
            step.refuse("no post_func", problems);
        }
        self.back = Some(step.flag("nearest_interp", true, problems));
        self.undone = per_key(step, "orig_keys", problems).and_then(|node| node.text(problems).map(str::to_owned));
        self.decided_before = self.decision.is_some();
    }

    fn decide(&mut self, step: &Step<'_, '_>, problems: &mut Problems) {
        step.only(&["argmax", "to_onehot", "threshold", "rounding", "keepdim", "dim"], problems);
        if per_key(step, "rounding", problems).is_some() {
            step.refuse("no rounding", problems);
        }
        let argmax = per_key(step, "argmax", problems).is_some_and(|node| truth(&node));
        let onehot = per_key(step, "to_onehot", problems).is_some();
        let threshold = per_key(step, "threshold", problems).and_then(|node| node.number(-1e9, 1e9, problems));
        if self.decision.is_some() {
            step.refuse("one AsDiscreted", problems);
        }
        self.decision = match (argmax, threshold) {
            (true, None) if onehot => Some(Decision::Onehot),
            (true, None) => Some(Decision::Argmax),
            (false, Some(threshold)) => Some(Decision::Threshold(threshold)),
            _ => {
                step.refuse("argmax: true, or a threshold", problems);
                None
            }
        };
        if self.channels == 1 && argmax {
            step.refuse("a threshold for a network of one channel", problems);
        }
    }

    /// Whether labels are channels of their own, which may overlap.
    fn apart(&self) -> bool {
        matches!(self.decision, Some(Decision::Onehot | Decision::Threshold(_)))
    }

    /// Begins a step on labels; it must come after the decision, and on the grid of the image.
    fn begin(&mut self, step: &Step<'_, '_>, problems: &mut Problems) {
        self.chain.step();
        if self.decision.is_none() {
            step.refuse("AsDiscreted before it", problems);
        }
        if self.back.is_none() {
            self.not_expressed.push(format!(
                "{}: it stands before Invertd and works on the voxels of the network; here it works on those of the image",
                step.component.name
            ));
        }
    }

    /// The labels that a step is about: all, or those of `applied_labels`.
    fn applied(&self, step: &Step<'_, '_>, problems: &mut Problems) -> Vec<String> {
        let all = || self.names.iter().map(|(name, _)| name.clone()).collect();
        let Some(node) = step.get("applied_labels", problems) else { return all() };
        let wanted: Vec<usize> = match &node.value {
            Read::Array(items) => {
                items.iter().filter_map(|item| item.integer(0, 65_535, problems)).map(|v| v as usize).collect()
            }
            _ => node.integer(0, 65_535, problems).map(|value| value as usize).into_iter().collect(),
        };
        for label in wanted.iter().filter(|label| **label != 0 || self.apart()) {
            if !self.names.iter().any(|(_, index)| index == label) {
                let known: Vec<String> = self.names.iter().map(|(name, index)| format!("{index} {name}")).collect();
                problems.add(&node, format!("the label {label}"), format!("one of {}", known.join(", ")));
            }
        }
        self.names.iter().filter(|(_, index)| wanted.contains(index)).map(|(name, _)| name.clone()).collect()
    }

    fn keep_largest(&mut self, step: &Step<'_, '_>, problems: &mut Problems) {
        step.only(&["applied_labels", "is_onehot", "independent", "connectivity", "num_components"], problems);
        self.begin(step, problems);
        let neighbours = connectivity(step, "corners", problems);
        let count = step.number("num_components", problems).unwrap_or(1.0).max(1.0) as usize;
        let labels = self.applied(step, problems);
        let jointly = !step.flag("independent", true, problems);
        let before = self.chain.names(labels.iter().map(String::as_str));
        for (index, label) in labels.iter().enumerate() {
            let others = before.iter().enumerate().filter(|(other, _)| jointly && *other != index);
            let others: Vec<&String> = others.map(|(_, name)| name).collect();
            let mut operation = largest_component(count, "last", &others);
            operation["neighbours"] = Value::from(neighbours);
            self.chain.add(label, vec![operation]);
        }
    }

    fn fill_holes(&mut self, step: &Step<'_, '_>, problems: &mut Problems) {
        step.only(&["applied_labels", "connectivity"], problems);
        let neighbours = connectivity(step, "corners", problems);
        let labels = self.applied(step, problems);
        for label in labels {
            self.begin(step, problems);
            self.chain.add(&label, vec![json!({ "op": "fill_holes", "neighbours": neighbours })]);
            if self.apart() {
                continue;
            }
            // In a label map what is filled loses the label that it had.
            let filled = self.chain.name(&label);
            let others: Vec<String> =
                self.names.iter().map(|(name, _)| name.clone()).filter(|name| *name != label).collect();
            for other in others {
                self.chain.add(&other, vec![json!({ "op": "remove_inside", "of": [filled] })]);
            }
        }
        self.not_expressed.dedup();
    }

    fn remove_small(&mut self, step: &Step<'_, '_>, problems: &mut Problems) {
        step.only(&["min_size", "connectivity", "independent_channels", "by_measure", "pixdim"], problems);
        self.begin(step, problems);
        let least = step.number("min_size", problems).unwrap_or(64.0);
        let neighbours = connectivity(step, "faces", problems);
        let jointly = !step.flag("independent_channels", true, problems);
        let size = if step.flag("by_measure", false, problems) {
            // In the cube of the image's unit, which is mm.
            ("minimum_cm3", json!(least / 1000.0))
        } else {
            ("minimum_voxels", json!(least.ceil() as i64))
        };
        let before = self.chain.names(self.names.iter().map(|(name, _)| name.as_str()));
        let labels: Vec<String> = self.names.iter().map(|(name, _)| name.clone()).collect();
        for (index, label) in labels.iter().enumerate() {
            let mut operation = json!({ "op": "remove_small", size.0: size.1, "neighbours": neighbours });
            let others: Vec<&String> = before
                .iter()
                .enumerate()
                .filter(|(other, _)| jointly && *other != index)
                .map(|(_, name)| name)
                .collect();
            if !others.is_empty() {
                operation["with"] = json!(others);
            }
            self.chain.add(label, vec![operation]);
        }
    }

    fn filter(&mut self, step: &Step<'_, '_>, problems: &mut Problems) {
        step.only(&["applied_labels"], problems);
        let kept = self.applied(step, problems);
        self.delivered.retain(|name| kept.contains(name));
    }

    fn finish(mut self, at: &Node, images: &[&Image], problems: &mut Problems) -> Option<Segments> {
        let Some(decision) = self.decision else {
            problems.add(at, "post-processing without AsDiscreted", "AsDiscreted, which makes labels of values");
            return None;
        };
        let nearest = self.back.unwrap_or_else(|| {
            self.notes.push(
                "there is no Invertd: labels of the network's voxels are brought to the image by the nearest voxel"
                    .to_owned(),
            );
            true
        });
        let mut output = json!({ "activation": self.activation });
        if self.activated_after && self.activation != "none" {
            output["activate"] = Value::from("restored");
        }
        let by_label = |(name, index): &(String, usize)| match decision {
            Decision::Threshold(threshold) if threshold != 0.5 => {
                (name.clone(), json!({ "index": index, "threshold": threshold }))
            }
            _ => (name.clone(), Value::from(*index)),
        };
        let labels: Map<String, Value> = self.names.iter().map(by_label).collect();
        output["decision"] =
            Value::from(if matches!(decision, Decision::Threshold(_)) { "threshold" } else { "argmax" });
        self.bring_back(&mut output, nearest, images, at, problems);
        output["labels"] = Value::Object(labels);
        if self.activated_after && self.activation == "sigmoid" {
            self.notes.push(
                "Activationsd(sigmoid) after Invertd: MONAI takes what was cropped away as 0 there, which the sigmoid makes \
                 0.5; with a threshold of 0.5 it would all be foreground. Here it is background"
                    .to_owned(),
            );
        }
        let Reader { chain, delivered, not_expressed, notes, .. } = self;
        Some(Segments { output, post: chain.into_post(), delivered, not_expressed, notes })
    }
}

impl Reader<'_> {
    /// How results go back. Invertd takes the mode that a resampling had, unless it is told the nearest; what was cropped away
    /// it pads with zeros before it interpolates.
    fn bring_back(&mut self, output: &mut Value, nearest: bool, images: &[&Image], at: &Node, problems: &mut Problems) {
        // The nearest voxel of what is decided before or after is the same label.
        output["back"] = Value::from(if nearest || self.decided_before { "nearest" } else { "linear" });
        output["outside"] = Value::from("zero");
        let undone = images.iter().find(|image| self.undone.as_ref() == Some(&image.loaded)).or(images.first());
        let moves: Vec<&Value> = undone
            .map_or(Vec::new(), |image| image.pre.iter().filter(|operation| operation["op"] == "resample").collect());
        let Some(spline) = moves.iter().find(|operation| operation["method"] == "bspline").filter(|_| !nearest) else {
            if !moves.is_empty() && moves.iter().all(|operation| operation["method"] == "nearest") {
                output["back"] = Value::from("nearest");
            }
            return;
        };
        if moves.len() > 1 || self.decided_before {
            let found = "a Spacingd with a spline that Invertd undoes, beside another resampling or after AsDiscreted";
            problems.add(at, found, "the spline alone, undone before AsDiscreted, or nearest_interp: true");
        }
        output["back"] = Value::from("bspline");
        let crops = |operation: &Value| {
            let cuts = operation.get("size").is_some() && operation.get("only").is_none_or(|only| only != "pad");
            operation["op"] == "crop" || operation["op"] == "fit" && cuts
        };
        let after =
            undone.into_iter().flat_map(|image| image.pre.iter().skip_while(|operation| operation["op"] != "resample"));
        if !matches!(self.decision, Some(Decision::Threshold(_))) && after.into_iter().any(crops) {
            self.notes.push(
                "Invertd with a spline after a crop: MONAI takes what was cropped away as 0, in which the spline rings, and \
                 argmax finds the channel that is highest there, if by 1e-20 only. So it is here; to find nothing there set \
                 \"outside\" to \"nothing\""
                    .to_owned(),
            );
        }
        for key in ["order", "ends", "aligned"] {
            if let Some(value) = spline.get(key) {
                output[key] = value.clone();
            }
        }
    }
}

/// The value for the first key, where an argument is a list with one value for each key.
fn per_key(step: &Step<'_, '_>, key: &str, problems: &mut Problems) -> Option<Node> {
    let node = step.get(key, problems)?;
    let several = step.component.argument("keys").is_some_and(|keys| matches!(keys.value, Read::Array(_)));
    match &node.value {
        Read::Array(items) if several => items.first().filter(|item| item.value != Read::Null).cloned(),
        _ => Some(node),
    }
}

fn truth(node: &Node) -> bool {
    super::expression::is_true(&node.value)
}

fn connectivity(step: &Step<'_, '_>, default: &'static str, problems: &mut Problems) -> &'static str {
    match step.number("connectivity", problems) {
        None => default,
        Some(1.0) => "faces",
        Some(2.0) => "edges",
        Some(3.0) => "corners",
        Some(_) => {
            step.refuse("connectivity 1, 2 or 3", problems);
            default
        }
    }
}
