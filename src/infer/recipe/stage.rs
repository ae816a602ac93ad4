//! One stage of a model: images in, what is done to them, channels, views, networks, and how their output is read.

use super::network::{NetworkFile, parse_networks};
use super::output::{Activate, Activation, Decision, ExtraImage, ImageKind, Output, parse_images, parse_output};
use super::window::{Tensor, View, Window, parse_tensor, parse_window};
use crate::document::{Fields, Node, Problems, Value};
use crate::infer::axes::Orientation;
use crate::infer::pre;
use crate::limits::{CHANNEL_OFFSET_MAX, MODEL_CHANNELS_MAX, MODEL_INPUTS_MAX};

/// Networks of one kind of input and output, over one prepared image.
#[derive(Clone)]
pub(in crate::infer) struct Stage {
    pub orientation: Orientation,
    /// A further order of the working axes, as `numpy.transpose` takes it.
    pub transpose: [usize; 3],
    /// The first one gives the grid.
    pub inputs: Vec<Input>,
    pub channels: Vec<Channel>,
    pub passes: Vec<Pass>,
    pub tensor: Tensor,
    pub window: Window,
    pub output: Output,
    /// Images that the networks give besides labels.
    pub images: Vec<ExtraImage>,
}

/// A named image that the networks need.
#[derive(Clone)]
pub(in crate::infer) struct Input {
    pub name: String,
    pub pre: Vec<pre::Step>,
    /// Laid on the first input array on array, not by geometry.
    pub by_index: bool,
    pub optional: bool,
}

/// One channel of the input tensor.
#[derive(Clone)]
pub(in crate::infer) struct Channel {
    pub source: Source,
    /// Slices farther along the first axis of the view; edge slices are repeated.
    pub offset: isize,
    pub pre: Vec<pre::Step>,
}

#[derive(Clone, Debug, PartialEq)]
pub(in crate::infer) enum Source {
    /// Index in the inputs.
    Input(usize),
    Structure(String),
    /// Voxels of one label value of the previous stage.
    Previous(usize),
}

/// One view with the networks that see it; networks of a pass are an ensemble.
#[derive(Clone)]
pub(in crate::infer) struct Pass {
    pub view: View,
    pub pre: Vec<pre::Step>,
    /// Indices in the networks of the recipe, at least one.
    pub networks: Vec<usize>,
}

impl Stage {
    /// Takes a stage out of the fields of the model, or of its `previous`; adds its networks to those of the model, and the
    /// names of its labels and saved regions to `names`, even where other parts are wrong.
    pub(super) fn parse(
        fields: &mut Fields<'_>,
        structures: &[&str],
        has_previous: bool,
        networks: &mut Vec<NetworkFile>,
        names: &mut Vec<String>,
        problems: &mut Problems,
    ) -> Option<Stage> {
        let orientation = fields.optional("orientation").map(|node| parse_orientation(node, problems));
        let transpose = fields.optional("transpose").map(|node| parse_transpose(node, problems));
        let files = parse_networks(fields, problems);
        let inputs = fields.required("inputs", problems).map(|node| parse_inputs(node, structures, problems));
        // Without inputs the rest is still read, so that its keys are not told as unknown.
        let inputs = inputs.unwrap_or_default();
        let mut saved = Vec::new();
        fields.optional("inputs").iter().for_each(|node| collect_saved(node, &mut saved));
        let known: Vec<&str> = structures.iter().copied().chain(saved.iter().map(String::as_str)).collect();
        let channels = match fields.optional("channels") {
            Some(node) => parse_channels(node, &inputs, &known, has_previous, problems),
            None => (0..inputs.len()).map(Channel::of_input).collect(),
        };
        let before = problems.count();
        let views = match fields.optional("views") {
            Some(node) => parse_views(node, &known, problems),
            None => vec![(View::Axial, Vec::new())],
        };
        let first = networks.len();
        let place = fields.optional("networks").unwrap_or(fields.node());
        // Of views in which something is wrong nothing can be said.
        let views = if problems.count() > before { Vec::new() } else { views };
        let passes = assign(views, &files, first, place, problems);
        networks.extend(files);
        let tensor = fields.required("tensor", problems).and_then(|node| parse_tensor(node, problems));
        let window = fields.required("window", problems).and_then(|node| parse_window(node, problems));
        let output = fields.required("output", problems).and_then(|node| parse_output(node, problems));
        names.extend(label_names(fields.optional("output")));
        names.extend(saved);
        let images = fields.optional("images").map_or(Vec::new(), |node| parse_images(node, problems));
        if images.is_empty() && output.as_ref().is_some_and(|output| output.labels.is_empty()) {
            let at = fields.optional("output").unwrap_or(fields.node());
            problems.add(at, "no labels", "\"labels\" with at least one, or \"images\" of the model");
        }
        let stage = Stage {
            orientation: orientation.map_or(Some(Orientation::Acquired), |found| found)?,
            transpose: transpose.map_or(Some([0, 1, 2]), |found| found)?,
            inputs,
            channels,
            passes,
            tensor: tensor?,
            window: window?,
            output: output?,
            images,
        };
        stage.refuse_contradictions(fields, problems);
        Some(stage)
    }

    fn refuse_contradictions(&self, fields: &mut Fields<'_>, problems: &mut Problems) {
        let [window, inputs, output, images] =
            ["window", "inputs", "output", "images"].map(|key| fields.optional(key).unwrap_or(fields.node()));
        self.refuse_of_images(images, problems);
        let averaged = self.passes.len() > 1 || self.passes.iter().any(|pass| pass.networks.len() > 1);
        let is_map = self.output.decision == Decision::LabelMap;
        if is_map && (averaged || self.window.mirror != [false; 3]) {
            problems.add_with_cure(
                output,
                "a label map of several networks, views or mirrored images",
                "one network in one view: label numbers have no mean",
                "let the network give one channel for each label, and set \"decision\": \"argmax\"",
            );
        }
        if is_map && (self.window.half || self.output.half) {
            let cure = "remove \"precision\"";
            problems.add_with_cure(
                output,
                "\"precision\": \"half\" with a label map",
                "label numbers as they are",
                cure,
            );
        }
        let mirrored = self.window.mirror.iter().any(|mirrored| *mirrored);
        if mirrored && self.passes.len() > 1 {
            problems.add(window, "\"mirror\" with several views", "one view, or no mirroring");
        }
        if self.inputs.iter().any(|input| input.optional) && self.inputs[0].optional {
            problems.add(inputs, "an optional first input", "a first input that is always there: it gives the grid");
        }
    }

    fn refuse_of_images(&self, images: &Node, problems: &mut Problems) {
        let late = self.output.activate == Activate::Restored && self.output.activation != Activation::None;
        if late && self.images.iter().any(|image| image.output.is_none()) {
            problems.add_with_cure(
                images,
                "an image from the labels' output with \"activate\": \"restored\"",
                "one that the activation changes too",
                "set \"activate\": \"blended\", or name another \"output\" of the network",
            );
        }
        let turned = self.passes.len() > 1 || self.passes.iter().any(|pass| pass.view != View::Axial);
        let deforms = self.images.iter().any(|image| image.kind == ImageKind::Deformation);
        if deforms && (turned || self.window.mirror != [false; 3]) {
            let expected = "one axial view without \"mirror\": the components of a displacement have directions";
            problems.add(images, "a deformation with other views or mirrored images", expected);
        }
    }

    /// Holds channels that take a label of the stage before against its labels.
    pub(super) fn refuse_unknown_labels(&self, previous: &Stage, channels: &Node, problems: &mut Problems) {
        for channel in &self.channels {
            let Source::Previous(value) = channel.source else { continue };
            let labels = &previous.output.labels;
            if !labels.iter().any(|label| label.index == value && label.last == value) {
                let known: Vec<String> = labels.iter().map(|label| label.index.to_string()).collect();
                let expected = format!("a single label of \"previous\": {}", known.join(", "));
                problems.add(channels, format!("the label {value} of the previous stage"), expected);
            }
        }
    }

    /// Outputs of the graph, the labels' first.
    pub(in crate::infer) fn graph_outputs(&self) -> Vec<Option<&str>> {
        let mut outputs = vec![self.tensor.output.as_deref()];
        for image in &self.images {
            let name = image.output.as_deref();
            if name.is_some() && !outputs.contains(&name) {
                outputs.push(name);
            }
        }
        outputs
    }
}

impl Channel {
    fn of_input(index: usize) -> Channel {
        Channel { source: Source::Input(index), offset: 0, pre: Vec::new() }
    }
}

/// The names that operations give to regions, as they are written, also where something else is wrong.
fn collect_saved(node: &Node, names: &mut Vec<String>) {
    match &node.value {
        Value::Array(items) => items.iter().for_each(|item| collect_saved(item, names)),
        Value::Object(fields) => {
            for (key, inner) in fields {
                match &inner.value {
                    Value::String(name) if key == "save_as" => names.push(name.clone()),
                    _ => collect_saved(inner, names),
                }
            }
        }
        _ => {}
    }
}

/// The names of labels as they are written, also where something else is wrong: what refers to them is not wrong too.
fn label_names(output: Option<&Node>) -> Vec<String> {
    let inner = |node: &'_ Node, key: &str| match &node.value {
        Value::Object(list) => list.iter().find(|(name, _)| name == key).map(|(_, node)| node.clone()),
        _ => None,
    };
    let mut names: Vec<String> = match output.and_then(|node| inner(node, "labels")).map(|node| node.value) {
        Some(Value::Object(list)) => list.into_iter().map(|(name, _)| name).collect(),
        _ => Vec::new(),
    };
    names.dedup();
    names
}

fn saved_names(inputs: &[Input]) -> Vec<String> {
    inputs.iter().flat_map(|input| &input.pre).flat_map(pre::Step::saved_names).map(str::to_owned).collect()
}

fn parse_orientation(node: &Node, problems: &mut Problems) -> Option<Orientation> {
    let found = Orientation::parse(node.text(problems)?);
    if found.is_none() {
        let expected = "\"acquired\", \"acquired_reversed\" or three of the letters L R A P S I, one for each axis of the \
                        patient, such as \"RAS\"";
        problems.add(node, node.describe(), expected);
    }
    found
}

fn parse_transpose(node: &Node, problems: &mut Problems) -> Option<[usize; 3]> {
    let items = node.array(problems)?;
    let order: Vec<usize> =
        items.iter().filter_map(|item| item.integer(0, 2, problems)).map(|axis| axis as usize).collect();
    let order: Option<[usize; 3]> = order.try_into().ok();
    let found = order.filter(|order| (0..3).all(|axis| order.contains(&axis)));
    if found.is_none() {
        problems.add(node, node.describe(), "0, 1 and 2 in some order");
    }
    found
}

fn parse_inputs(node: &Node, structures: &[&str], problems: &mut Problems) -> Vec<Input> {
    let slots = match &node.value {
        Value::Object(slots) if (1..=MODEL_INPUTS_MAX).contains(&slots.len()) => {
            node.object(problems); // Tells names that stand there twice.
            slots
        }
        _ => {
            let expected = format!("an object with 1 to {MODEL_INPUTS_MAX} named inputs");
            problems.add(node, node.describe(), expected);
            return Vec::new();
        }
    };
    let mut inputs: Vec<Input> = Vec::new();
    for (name, slot) in slots {
        let Some(mut fields) = slot.object(problems) else { continue };
        // Regions that earlier inputs saved are known to later ones.
        let saved = saved_names(&inputs);
        let known: Vec<&str> = structures.iter().copied().chain(saved.iter().map(String::as_str)).collect();
        let pre = fields.optional("pre").map_or(Vec::new(), |list| parse_pre(list, &known, problems));
        let places = [("resample", false), ("index", true)];
        let by_index = fields.optional("place").and_then(|word| word.choice(&places, problems)).unwrap_or(false);
        let optional = fields.optional("optional").and_then(|flag| flag.bool(problems)).unwrap_or(false);
        fields.finish(problems);
        inputs.push(Input { name: name.clone(), pre, by_index, optional });
    }
    inputs
}

/// A list of operations; regions that one of them saves are known to those after it.
fn parse_pre(list: &Node, structures: &[&str], problems: &mut Problems) -> Vec<pre::Step> {
    let mut steps: Vec<pre::Step> = Vec::new();
    for item in list.array(problems).unwrap_or_default() {
        let saved: Vec<&str> = steps.iter().flat_map(pre::Step::saved_names).collect();
        let known: Vec<&str> = structures.iter().copied().chain(saved).collect();
        let step = pre::Step::parse(item, &known, problems);
        let waits = steps.iter().any(pre::Step::is_together);
        if step.as_ref().is_some_and(|step| waits && !step.saved_names().is_empty()) {
            let cure = "save it before, or measure each image alone";
            let expected = "regions of earlier operations only: other images do not wait for it";
            problems.add_with_cure(item, "a region saved after an operation that measures together", expected, cure);
        }
        steps.extend(step);
    }
    steps
}

fn parse_channels(
    node: &Node,
    inputs: &[Input],
    structures: &[&str],
    has_previous: bool,
    problems: &mut Problems,
) -> Vec<Channel> {
    let items = node.array(problems).unwrap_or_default();
    if !(1..=MODEL_CHANNELS_MAX).contains(&items.len()) {
        problems.add(node, node.describe(), format!("1 to {MODEL_CHANNELS_MAX} channels"));
    }
    items.iter().filter_map(|item| parse_channel(item, inputs, structures, has_previous, problems)).collect()
}

fn parse_channel(
    node: &Node,
    inputs: &[Input],
    structures: &[&str],
    has_previous: bool,
    problems: &mut Problems,
) -> Option<Channel> {
    let mut fields = node.object(problems)?;
    let (of, structure, label) = (fields.optional("of"), fields.optional("structure"), fields.optional("previous"));
    let offset = fields.optional("slice").map(|n| n.integer(-CHANNEL_OFFSET_MAX, CHANNEL_OFFSET_MAX, problems));
    let pre = fields.optional("pre").map_or(Vec::new(), |list| parse_pre(list, structures, problems));
    fields.finish(problems);
    let source = match (of, structure, label) {
        // That there is no input was told already.
        (Some(_), None, None) if inputs.is_empty() => return None,
        (Some(of), None, None) => {
            let choices: Vec<(&str, usize)> =
                inputs.iter().enumerate().map(|(i, input)| (input.name.as_str(), i)).collect();
            Source::Input(of.choice(&choices, problems)?)
        }
        (None, Some(name), None) => {
            let choices: Vec<(&str, &str)> = structures.iter().map(|name| (*name, *name)).collect();
            Source::Structure(name.choice(&choices, problems)?.to_owned())
        }
        (None, None, Some(label)) => {
            if !has_previous {
                problems.add(label, "a label of the previous stage", "the key \"previous\" in this model beside it");
            }
            Source::Previous(label.integer(1, crate::limits::MODEL_LABELS_MAX as i64, problems)? as usize)
        }
        _ => {
            problems.add(node, node.describe(), "one of the keys \"of\", \"structure\" and \"previous\"");
            return None;
        }
    };
    let offset = offset.map_or(Some(0), |found| found)?;
    Some(Channel { source, offset: offset as isize, pre })
}

fn parse_views(node: &Node, structures: &[&str], problems: &mut Problems) -> Vec<(View, Vec<pre::Step>)> {
    let items = node.array(problems).unwrap_or_default();
    if items.is_empty() || items.len() > View::WORDS.len() {
        problems.add(node, node.describe(), "1 to 3 of axial, coronal, sagittal");
    }
    let mut views: Vec<(View, Vec<pre::Step>)> = Vec::new();
    for item in items {
        let (view, pre) = if let Value::Object(_) = item.value {
            let Some(mut fields) = item.object(problems) else { continue };
            let view = fields.required("view", problems).and_then(|word| word.choice(&View::WORDS, problems));
            let pre = fields.optional("pre").map_or(Vec::new(), |list| parse_pre(list, structures, problems));
            if pre.iter().any(pre::Step::is_together) {
                let cure = "move it to \"pre\" of the inputs";
                problems.add_with_cure(item, "\"together\" in a view", "operations of one image", cure);
            }
            fields.finish(problems);
            (view, pre)
        } else {
            (item.choice(&View::WORDS, problems), Vec::new())
        };
        let Some(view) = view else { continue };
        if views.iter().any(|(other, _)| *other == view) {
            problems.add(item, "a view a second time", "each view once");
        }
        views.push((view, pre));
    }
    views
}

/// Which network sees which view: those that name one see it alone, the others see all.
fn assign(
    views: Vec<(View, Vec<pre::Step>)>,
    files: &[NetworkFile],
    first: usize,
    node: &Node,
    problems: &mut Problems,
) -> Vec<Pass> {
    for file in files.iter().filter(|_| !views.is_empty()) {
        if file.view.is_some_and(|view| !views.iter().any(|(known, _)| *known == view)) {
            problems.add(
                node,
                format!("the network {} for a view that is not there", file.file),
                "a view of \"views\"",
            );
        }
    }
    let mut passes = Vec::new();
    for (view, pre) in views {
        let sees = |file: &NetworkFile| file.view.is_none_or(|only| only == view);
        let networks: Vec<usize> =
            files.iter().enumerate().filter(|(_, file)| sees(file)).map(|(index, _)| first + index).collect();
        if networks.is_empty() && !files.is_empty() {
            problems.add(node, format!("no network for the view {}", view.word()), "at least one for each view");
        }
        passes.push(Pass { view, pre, networks });
    }
    passes
}
