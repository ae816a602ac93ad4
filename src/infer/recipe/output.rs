//! How the output of networks becomes labels and images, as checked from `model.json`.

use super::window::PRECISIONS;
use crate::document::{Fields, Node, Problems, Value};
use crate::infer::grid::spline::{Ends, Order};
use crate::limits::{MODEL_LABEL_VALUE_MAX, MODEL_LABELS_MAX};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::infer) enum Activation {
    None,
    Softmax,
    Sigmoid,
}

/// Where the activation is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::infer) enum Activate {
    /// On the output of each window, before windows are blended.
    Window,
    /// On the blended values (MONAI; and CERR's fusion of views).
    Blended,
    /// On values that were brought to the source grid (nnU-Net).
    Restored,
}

/// How values become labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::infer) enum Decision {
    /// The channel with the highest value wins; labels give channels.
    ArgMax,
    /// Each channel has its own threshold and labels may overlap.
    Threshold,
    /// The only channel holds the label as a number.
    LabelMap,
    /// Channel by channel: where its value is above a half it sets this label, and later ones win (nnU-Net's regions).
    Regions(Vec<usize>),
}

#[derive(Clone, Debug)]
pub(in crate::infer) struct Output {
    pub activation: Activation,
    pub activate: Activate,
    pub decision: Decision,
    /// How results go back onto the source grid.
    pub back: Back,
    /// Beyond a crop the values are 0 and are blended in; else nothing is found there.
    pub fades: bool,
    /// Along the axis of lowest resolution the nearest instead.
    pub separate: Separate,
    /// Values on the source grid are rounded to half precision before they decide, as nnU-Net does: ties become real.
    pub half: bool,
    pub labels: Vec<Label>,
}

/// How results go back onto the source grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::infer) enum Back {
    /// Decide, then the nearest label.
    Nearest,
    /// Values linearly, then decide.
    Linear,
    /// Values by a B-spline through all of them, then decide (MONAI's Invertd of a Spacing with a spline).
    Spline(Spline),
}

/// The B-spline that brings values back. Of mirrored ends nothing is found beyond the outermost centres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::infer) struct Spline {
    pub order: Order,
    pub ends: Ends,
    /// Values are taken where MONAI does with `align_corners`.
    pub aligned: bool,
}

/// Whether the axis of lowest resolution is treated apart, as nnU-Net does with anisotropic images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::infer) enum Separate {
    Never,
    Auto,
    Always,
}

#[derive(Clone, Debug)]
pub(in crate::infer) struct Label {
    pub name: String,
    /// Channel, or first value of a label map.
    pub index: usize,
    /// Last value of a label map, included; `index` for a single one.
    pub last: usize,
    pub threshold: f32,
}

/// An image that networks give besides labels.
#[derive(Clone, Debug)]
pub(in crate::infer) struct ExtraImage {
    pub name: String,
    /// Name of the output in the graph; `None`: that of the labels.
    pub output: Option<String>,
    pub kind: ImageKind,
    /// Channels of that output: one of an image, three of a deformation (along columns, rows, slices).
    pub channels: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::infer) enum ImageKind {
    /// Values on the grid of the first input.
    Image,
    /// Displacements in voxels of the network's grid.
    Deformation,
}

impl Output {
    fn highest_index(&self) -> usize {
        self.labels.iter().map(|label| label.index).max().unwrap_or(0)
    }

    /// Channels that the labels' output must have at least.
    pub fn channels_least(&self) -> usize {
        match &self.decision {
            Decision::LabelMap => 1,
            Decision::Regions(order) => order.len(),
            // The highest of one channel would be everywhere.
            Decision::ArgMax if !self.labels.is_empty() => self.highest_index().max(1) + 1,
            Decision::ArgMax => 1,
            Decision::Threshold => self.highest_index() + 1,
        }
    }
}

pub(super) fn parse_output(node: &Node, problems: &mut Problems) -> Option<Output> {
    let mut fields = node.object(problems)?;
    let activations = [("none", Activation::None), ("softmax", Activation::Softmax), ("sigmoid", Activation::Sigmoid)];
    let activation = fields.optional("activation").map_or(Some(Activation::None), |n| n.choice(&activations, problems));
    let places = [("window", Activate::Window), ("blended", Activate::Blended), ("restored", Activate::Restored)];
    let activate = fields.optional("activate").map_or(Some(Activate::Blended), |n| n.choice(&places, problems));
    let words = ["argmax", "threshold", "label_map", "regions"].map(|word| (word, word));
    let word = fields.required("decision", problems).and_then(|n| n.choice(&words.map(|(w, _)| (w, w)), problems));
    let order = fields.optional("region_order").map(|n| (n, parse_order(n, problems)));
    let decision = match (word, order) {
        (Some("regions"), Some((_, order))) => Some(Decision::Regions(order)),
        (Some("regions"), None) => {
            problems.add(
                node,
                "regions without \"region_order\"",
                "\"region_order\": the label that each channel sets",
            );
            None
        }
        (_, Some((order, _))) => {
            problems.add_with_cure(order, "a region_order", "none with this decision", "set \"decision\": \"regions\"");
            None
        }
        (Some("argmax"), None) => Some(Decision::ArgMax),
        (Some("threshold"), None) => Some(Decision::Threshold),
        (Some(_), None) => Some(Decision::LabelMap),
        (None, None) => None,
    };
    let back = parse_back(&mut fields, decision.as_ref(), problems);
    let outside = [("nothing", false), ("zero", true)];
    let fades = fields.optional("outside").map_or(Some(false), |n| n.choice(&outside, problems));
    let words = [("never", Separate::Never), ("auto", Separate::Auto), ("always", Separate::Always)];
    let separate = fields.optional("separate").map_or(Some(Separate::Never), |n| n.choice(&words, problems));
    let half = fields.optional("precision").and_then(|n| n.choice(&PRECISIONS, problems)).unwrap_or(false);
    let labels = fields.required("labels", problems).map(|n| parse_labels(n, decision.as_ref(), problems));
    let activations = fields.optional("activation").unwrap_or(node);
    fields.finish(problems);
    let (activation, activate, decision, back) = (activation?, activate?, decision?, back?);
    if decision == Decision::LabelMap && activation != Activation::None {
        problems.add_with_cure(
            activations,
            "an activation of a label map",
            "none: label numbers are no scores",
            "remove it",
        );
    }
    let alone = matches!(decision, Decision::Threshold | Decision::Regions(_));
    if alone && activation == Activation::Softmax && activate == Activate::Restored {
        let found = "softmax with \"activate\": \"restored\" and a decision channel by channel";
        let cure = "set \"activate\": \"blended\"";
        problems.add_with_cure(activations, found, "softmax where all channels are together", cure);
    }
    let (fades, separate) = (fades?, separate?);
    if let (Back::Spline(..), true) = (back, separate != Separate::Never) {
        let cure = "remove \"separate\", or set \"back\" to \"linear\"";
        problems.add_with_cure(node, "\"separate\" beside \"back\": \"bspline\"", "one of them", cure);
    }
    if let (Back::Spline(Spline { aligned: true, .. }), false) = (back, fades) {
        let cure = "set \"outside\" to \"zero\", or remove \"aligned\"";
        problems.add_with_cure(node, "\"aligned\" without \"outside\": \"zero\"", "both, or none", cure);
    }
    Some(Output { activation, activate, decision, back, fades, separate, half, labels: labels? })
}

/// `back`, and `order`, `ends` and `aligned` of a spline. A label map goes back by the nearest label, also where nothing is said.
fn parse_back(fields: &mut Fields<'_>, decision: Option<&Decision>, problems: &mut Problems) -> Option<Back> {
    let node = fields.optional("back");
    let words = ["linear", "nearest", "bspline"].map(|word| (word, word));
    let word = node.map_or(Some("linear"), |node| node.choice(&words, problems));
    let order = fields.optional("order").map(|node| (node, node.integer(2, 5, problems)));
    let choices = Ends::WORDS.map(|word| (word, Ends::of(word)));
    let ends = fields.optional("ends").map(|node| (node, node.choice(&choices, problems)));
    let aligned = fields.optional("aligned").map(|node| (node, node.bool(problems)));
    let word = word?;
    let given = [order.map(|(node, _)| node), ends.map(|(node, _)| node), aligned.map(|(node, _)| node)];
    for (key, at) in ["order", "ends", "aligned"].into_iter().zip(given) {
        if let Some(at) = at.filter(|_| word != "bspline") {
            let cure = "remove it, or set \"back\" to \"bspline\"";
            problems.add_with_cure(at, format!("{key:?} with \"back\": {word:?}"), "it with a spline only", cure);
        }
    }
    if let (Some(Decision::LabelMap), true, Some(node)) = (decision, word != "nearest", node) {
        let cure = "set it to \"nearest\"";
        problems.add_with_cure(node, format!("{word} with a label map"), "nearest: label numbers have no mean", cure);
    }
    match word {
        _ if decision == Some(&Decision::LabelMap) => Some(Back::Nearest),
        "nearest" => Some(Back::Nearest),
        "linear" => Some(Back::Linear),
        _ => {
            let order = order.map_or(Some(3), |(_, order)| order);
            let ends = ends.map_or(Some(Ends::Mirror), |(_, ends)| ends);
            let aligned = aligned.map_or(Some(false), |(_, aligned)| aligned);
            Some(Back::Spline(Spline { order: Order::of(order?)?, ends: ends?, aligned: aligned? }))
        }
    }
}

fn parse_order(node: &Node, problems: &mut Problems) -> Vec<usize> {
    let items = node.array(problems).unwrap_or_default();
    if items.is_empty() {
        problems.add(node, "an empty list", "the label that each channel sets, in the order of the channels");
    }
    let label = |item: &Node, problems: &mut Problems| item.integer(0, MODEL_LABEL_VALUE_MAX as i64, problems);
    items.iter().filter_map(|item| label(item, problems)).map(|label| label as usize).collect()
}

fn parse_labels(node: &Node, decision: Option<&Decision>, problems: &mut Problems) -> Vec<Label> {
    let Some(list) = node.named("an object from name to index, such as {\"Lung_L\": 1}", problems) else {
        return Vec::new();
    };
    // That a model without labels gives images is for the caller to see.
    if list.len() > MODEL_LABELS_MAX {
        problems.add(node, node.describe(), format!("1 to {MODEL_LABELS_MAX} labels"));
    }
    let mut labels: Vec<Label> = Vec::new();
    for (name, item) in list {
        let Some(label) = parse_label(name, item, decision, problems) else { continue };
        let shared = labels.iter().find(|other| label.index <= other.last && other.index <= label.last);
        if let Some(other) = shared.filter(|_| decision != Some(&Decision::Threshold)) {
            let found = format!("{name} with a value that {} has", other.name);
            let cure = "give each its own values, and join structures by \"post\"";
            problems.add_with_cure(item, found, "one structure for each value", cure);
        }
        labels.push(label);
    }
    labels
}

fn parse_label(name: &str, node: &Node, decision: Option<&Decision>, problems: &mut Problems) -> Option<Label> {
    let most = MODEL_LABEL_VALUE_MAX as i64;
    if let Value::Object(_) = node.value {
        let mut fields = node.object(problems)?;
        let label = if decision == Some(&Decision::Threshold) {
            let index = fields.required("index", problems).and_then(|n| n.integer(0, most, problems));
            let threshold = fields.optional("threshold").map_or(Some(0.5), |n| n.number(-1e9, 1e9, problems));
            index.zip(threshold).map(|(index, threshold)| (index, index, threshold as f32))
        } else {
            let from = fields.required("from", problems).and_then(|n| n.integer(0, most, problems));
            let to = fields.required("to", problems).and_then(|n| n.integer(0, most, problems));
            if from.zip(to).is_some_and(|(from, to)| from > to) {
                problems.add_with_cure(node, "from above to", "from up to to", "swap them");
            }
            from.zip(to).map(|(from, to)| (from, to, 0.5))
        };
        fields.finish(problems);
        let (index, last, threshold) = label?;
        return Some(Label { name: name.to_owned(), index: index as usize, last: last as usize, threshold });
    }
    let index = node.integer(0, most, problems)? as usize;
    Some(Label { name: name.to_owned(), index, last: index, threshold: 0.5 })
}

pub(super) fn parse_images(node: &Node, problems: &mut Problems) -> Vec<ExtraImage> {
    let list = node.named("an object from name to image", problems).unwrap_or_default();
    let one = |name: &String, item: &Node, problems: &mut Problems| {
        let mut fields = item.object(problems)?;
        let output = fields.optional("output").and_then(|n| n.text(problems)).map(str::to_owned);
        let kinds = [("image", ImageKind::Image), ("deformation", ImageKind::Deformation)];
        let kind = fields.required("kind", problems).and_then(|n| n.choice(&kinds, problems));
        let channels = fields.required("channels", problems).and_then(|n| n.array(problems)).unwrap_or_default();
        let channels: Vec<usize> = channels
            .iter()
            .filter_map(|n| n.integer(0, MODEL_LABELS_MAX as i64, problems))
            .map(|n| n as usize)
            .collect();
        fields.finish(problems);
        let kind = kind?;
        let wanted = if kind == ImageKind::Image { 1 } else { 3 };
        if channels.len() != wanted {
            problems.add(item, format!("{} channels", channels.len()), format!("{wanted} of this kind"));
        }
        Some(ExtraImage { name: name.clone(), output, kind, channels })
    };
    list.iter().filter_map(|(name, item)| one(name, item, problems)).collect()
}
