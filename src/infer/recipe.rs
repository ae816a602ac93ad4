//! How a network is applied, as checked from `model.json`: inputs, tensor, window, output, post-processing; it runs nothing.

use super::parameter::parse_triple;
use super::{post, pre};
use crate::document::{Fields, Node, Problems, Value};
use crate::limits::{MODEL_INPUTS_MAX, MODEL_LABELS_MAX, MODEL_STEPS_MAX, WINDOW_SIDE_MAX};

/// Everything between images and masks. Names of structures are known to exist where they are referred to.
#[derive(Clone)]
pub struct Recipe {
    pub(super) inputs: Vec<Input>,
    pub(super) structures_in: Vec<String>,
    pub(super) tensor: Tensor,
    pub(super) window: Window,
    pub(super) output: Output,
    pub(super) post: Vec<(String, Vec<post::Step>)>,
    pub(super) structures: Vec<String>,
}

/// A named image that the network needs; one channel each, in order. The first one gives the grid of the results.
#[derive(Clone)]
pub(super) struct Input {
    pub name: String,
    pub pre: Vec<pre::Step>,
}

/// Order of the axes of the network's tensors: N batch, C channel, D slice, H row, W column. Without D, slices are
/// the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Ncdhw,
    Ndhwc,
    Nchw,
    Nhwc,
}

/// What the network's tensors look like.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub layout: Layout,
    /// Name of the input in the graph; `None` takes the only one.
    pub input: Option<String>,
    /// Name of the output in the graph; `None` takes the first.
    pub output: Option<String>,
}

/// The sliding window.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Slices, rows, columns; `None` takes the whole axis.
    pub patch: [Option<usize>; 3],
    /// Sides are rounded up to a multiple of these, for networks that halve them several times.
    pub multiple_of: [usize; 3],
    /// Fraction of the patch shared with the next one, 0 to 0.9.
    pub overlap: f64,
    pub gaussian: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    None,
    Softmax,
    Sigmoid,
}

/// How the network's output becomes masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The channel with the highest value wins; labels give channels.
    ArgMax,
    /// Each channel has its own threshold and labels may overlap.
    Threshold,
    /// The only channel holds the label as a number.
    LabelMap,
}

#[derive(Clone, Debug)]
pub(super) struct Output {
    pub activation: Activation,
    pub decision: Decision,
    /// Back onto the source grid: linear on values, then decide; or decide, then the nearest label.
    pub linear: bool,
    pub labels: Vec<Label>,
}

#[derive(Clone, Debug)]
pub(super) struct Label {
    pub name: String,
    /// Channel, or value of a label map.
    pub index: usize,
    pub threshold: f32,
}

impl Layout {
    const WORDS: [(&'static str, Layout); 4] =
        [("NCDHW", Layout::Ncdhw), ("NDHWC", Layout::Ndhwc), ("NCHW", Layout::Nchw), ("NHWC", Layout::Nhwc)];

    /// The word in `model.json`.
    pub fn word(self) -> &'static str {
        Layout::WORDS.iter().find(|(_, layout)| *layout == self).map_or("", |(word, _)| word)
    }
}

impl Recipe {
    /// Names of the images that the network needs; the first one gives the grid of the results.
    pub fn input_names(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().map(|input| input.name.as_str())
    }

    /// Names of the structures of earlier steps that it needs.
    pub fn structure_inputs(&self) -> &[String] {
        &self.structures_in
    }

    /// Names of the structures that it delivers, in order.
    pub fn structures(&self) -> &[String] {
        &self.structures
    }

    /// What the network's tensors look like.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Parses `inputs`, `structures_in`, `tensor`, `window`, `output`, `post` and `structures` out of the fields of
    /// `model.json`; identity and licence are the caller's.
    pub fn parse(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Recipe> {
        let before = problems.count();
        let structures_in = fields.optional("structures_in").map_or(Vec::new(), |node| parse_texts(node, problems));
        let known: Vec<&str> = structures_in.iter().map(String::as_str).collect();
        let inputs = fields.required("inputs", problems).map(|node| parse_inputs(node, &known, problems));
        let tensor = fields.required("tensor", problems).and_then(|node| parse_tensor(node, problems));
        let window = fields.required("window", problems).and_then(|node| parse_window(node, problems));
        let output = fields.required("output", problems).and_then(|node| parse_output(node, problems));
        let labels =
            output.as_ref().map_or(Vec::new(), |output| output.labels.iter().map(|l| l.name.clone()).collect());
        let mut names: Vec<String> = structures_in.iter().cloned().chain(labels).collect();
        let post = fields.optional("post").map_or(Vec::new(), |node| parse_post(node, &mut names, problems));
        let delivered = fields.required("structures", problems).map(|node| parse_delivered(node, &names, problems));
        if problems.count() > before {
            return None;
        }
        Some(Recipe {
            inputs: inputs?,
            structures_in,
            tensor: tensor?,
            window: window?,
            output: output?,
            post,
            structures: delivered?,
        })
    }
}

fn parse_texts(node: &Node, problems: &mut Problems) -> Vec<String> {
    let items = node.array(problems).unwrap_or_default();
    items.iter().filter_map(|item| item.text(problems).map(str::to_owned)).collect()
}

fn parse_inputs(node: &Node, structures: &[&str], problems: &mut Problems) -> Vec<Input> {
    let slots = match &node.value {
        Value::Object(slots) if (1..=MODEL_INPUTS_MAX).contains(&slots.len()) => slots,
        _ => {
            let expected = format!("an object with 1 to {MODEL_INPUTS_MAX} named inputs");
            problems.add(node, node.describe(), expected);
            return Vec::new();
        }
    };
    let mut inputs = Vec::new();
    for (name, slot) in slots {
        let Some(mut fields) = slot.object(problems) else { continue };
        let items = fields.optional("pre").and_then(|pre| pre.array(problems)).unwrap_or_default();
        let pre = items.iter().filter_map(|item| pre::Step::parse(item, structures, problems)).collect();
        fields.finish(problems);
        inputs.push(Input { name: name.clone(), pre });
    }
    inputs
}

fn parse_tensor(node: &Node, problems: &mut Problems) -> Option<Tensor> {
    let mut fields = node.object(problems)?;
    let layout = fields.required("layout", problems).and_then(|layout| layout.choice(&Layout::WORDS, problems));
    if let Some(dtype) = fields.optional("dtype") {
        dtype.choice(&[("float32", ())], problems);
    }
    let mut text = |key| fields.optional(key).and_then(|node| node.text(problems)).map(str::to_owned);
    let (input, output) = (text("input"), text("output"));
    fields.finish(problems);
    Some(Tensor { layout: layout?, input, output })
}

fn parse_window(node: &Node, problems: &mut Problems) -> Option<Window> {
    let mut fields = node.object(problems)?;
    let patch = fields.required("patch", problems).and_then(|patch| parse_patch(patch, problems));
    let multiple_of = fields
        .optional("multiple_of")
        .and_then(|node| parse_triple(node, 1.0, WINDOW_SIDE_MAX as f64, problems))
        .map_or([1; 3], |sides| sides.map(|side| side as usize));
    let overlap = fields.optional("overlap").and_then(|node| node.number(0.0, 0.9, problems)).unwrap_or(0.0);
    let blends = [("constant", false), ("gaussian", true)];
    let gaussian = fields.optional("blend").and_then(|node| node.choice(&blends, problems)).unwrap_or(false);
    fields.finish(problems);
    Some(Window { patch: patch?, multiple_of, overlap, gaussian })
}

fn parse_patch(node: &Node, problems: &mut Problems) -> Option<[Option<usize>; 3]> {
    let items = node.array(problems)?;
    let side = |item: &Node, problems: &mut Problems| match &item.value {
        Value::String(word) if word == "all" => Some(None),
        Value::Number(..) => item.integer(1, WINDOW_SIDE_MAX as i64, problems).map(|side| Some(side as usize)),
        _ => {
            problems.add(item, item.describe(), "a whole number of voxels, or \"all\" for the whole axis");
            None
        }
    };
    let sides: Vec<Option<usize>> = items.iter().filter_map(|item| side(item, problems)).collect();
    if items.len() != 3 {
        problems.add(node, node.describe(), "three sides in the order [slices, rows, columns]");
    }
    sides.try_into().ok()
}

fn parse_output(node: &Node, problems: &mut Problems) -> Option<Output> {
    let mut fields = node.object(problems)?;
    let activations = [("none", Activation::None), ("softmax", Activation::Softmax), ("sigmoid", Activation::Sigmoid)];
    let activation = fields.optional("activation").map_or(Some(Activation::None), |n| n.choice(&activations, problems));
    let decisions =
        [("argmax", Decision::ArgMax), ("threshold", Decision::Threshold), ("label_map", Decision::LabelMap)];
    let decision = fields.required("decision", problems).and_then(|n| n.choice(&decisions, problems));
    let back = fields.optional("back");
    let linear = back.map_or(Some(true), |n| n.choice(&[("linear", true), ("nearest", false)], problems));
    let labels = fields.required("labels", problems).map(|n| parse_labels(n, decision, problems));
    fields.finish(problems);
    let (activation, decision, linear, labels) = (activation?, decision?, linear?, labels?);
    if let (Decision::LabelMap, true, Some(back)) = (decision, linear, back) {
        let cure = "set it to \"nearest\"";
        problems.add_with_cure(back, "linear with a label map", "nearest: label numbers have no mean", cure);
    }
    Some(Output { activation, decision, linear: linear && decision != Decision::LabelMap, labels })
}

fn parse_labels(node: &Node, decision: Option<Decision>, problems: &mut Problems) -> Vec<Label> {
    let mut labels = Vec::new();
    let Value::Object(list) = &node.value else {
        problems.add(node, node.describe(), "an object from name to index, such as {\"Lung_L\": 1}");
        return labels;
    };
    if list.is_empty() || list.len() > MODEL_LABELS_MAX {
        problems.add(node, node.describe(), format!("1 to {MODEL_LABELS_MAX} labels"));
    }
    for (name, item) in list {
        let label = match &item.value {
            Value::Object(_) if decision == Some(Decision::Threshold) => parse_threshold(name, item, problems),
            _ => item.integer(0, MODEL_LABELS_MAX as i64, problems).map(|index| Label {
                name: name.clone(),
                index: index as usize,
                threshold: 0.5,
            }),
        };
        labels.extend(label);
    }
    labels
}

fn parse_threshold(name: &str, node: &Node, problems: &mut Problems) -> Option<Label> {
    let mut fields = node.object(problems)?;
    let index = fields.required("index", problems).and_then(|n| n.integer(0, MODEL_LABELS_MAX as i64, problems));
    let threshold = fields.optional("threshold").map_or(Some(0.5), |n| n.number(-1e9, 1e9, problems));
    fields.finish(problems);
    Some(Label { name: name.to_owned(), index: index? as usize, threshold: threshold? as f32 })
}

fn parse_post(node: &Node, names: &mut Vec<String>, problems: &mut Problems) -> Vec<(String, Vec<post::Step>)> {
    let Value::Object(list) = &node.value else {
        problems.add(node, node.describe(), "an object from structure to a list of operations");
        return Vec::new();
    };
    let mut post = Vec::new();
    let mut count = 0;
    for (name, steps) in list {
        let items = steps.array(problems).unwrap_or_default();
        count += items.len();
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let steps = items.iter().filter_map(|item| post::Step::parse(item, &known, problems)).collect();
        post.push((name.clone(), steps));
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    if count > MODEL_STEPS_MAX {
        problems.add(node, format!("{count} operations"), format!("at most {MODEL_STEPS_MAX}"));
    }
    post
}

fn parse_delivered(node: &Node, names: &[String], problems: &mut Problems) -> Vec<String> {
    let items = node.array(problems).unwrap_or_default();
    if items.is_empty() {
        problems.add(node, node.describe(), "at least one structure to deliver");
    }
    let choices: Vec<(&str, usize)> = names.iter().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
    items.iter().filter_map(|item| item.choice(&choices, problems).map(|index| names[index].clone())).collect()
}
