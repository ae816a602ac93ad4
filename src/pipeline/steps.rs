//! The steps of a pipeline: a graph of named results, checked to be free of cycles and put in an order that runs.

use super::definition::{Reference, parse_id};
use super::inputs::Input;
use crate::document::{Node, Problems, Value, nearest};
use crate::infer::post::Between;
use crate::limits::PIPELINE_STEPS_MAX;

/// One step: what it does and from what.
#[derive(Clone, Debug)]
pub struct Step {
    pub id: String,
    pub action: Action,
    /// For each image that the model needs, by its name there, the input slot of the pipeline; none for operations.
    pub images: Vec<(String, Reference)>,
    /// The structures of earlier steps, or of inputs, that it needs, each with the name by which the model knows it;
    /// operations know them by the whole `step:Label`.
    pub structures: Vec<(String, ArtefactRef)>,
    pub on_failure: OnFailure,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Runs a model, `models/<id>/`.
    Model(Reference),
    /// Makes structures of structures.
    Post(Between),
}

impl Action {
    /// The model that is run, if one is.
    pub fn model(&self) -> Option<&Reference> {
        match self {
            Action::Model(model) => Some(model),
            Action::Post(_) => None,
        }
    }
}

/// What follows when a step cannot do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The job fails.
    Fail,
    /// Its structures are missing, and those of the steps that need them; the rest goes on.
    Skip,
}

impl OnFailure {
    /// Every one with its word.
    pub const ALL: [(&'static str, OnFailure); 2] = [("fail", OnFailure::Fail), ("skip", OnFailure::Skip)];
}

/// A structure of a step, written `step:Label`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArtefactRef {
    pub step: String,
    pub label: String,
    pub line: usize,
    pub path: String,
}

impl ArtefactRef {
    pub(super) fn parse(text: &str, at: &Node, problems: &mut Problems) -> Option<ArtefactRef> {
        match text.split_once(':') {
            Some((step, label)) if !step.is_empty() && !label.is_empty() => {
                let (step, label) = (step.to_owned(), label.to_owned());
                Some(ArtefactRef { step, label, line: at.line, path: at.path.clone() })
            }
            _ => {
                problems.add(at, format!("{text:?}"), "a step and a label of its model, such as \"lungs:Lung_L\"");
                None
            }
        }
    }
}

/// The steps in an order in which each comes after what it needs.
pub(super) fn parse_steps(node: &Node, inputs: &[Input], problems: &mut Problems) -> Option<Vec<Step>> {
    let items = node.array(problems)?;
    if items.is_empty() || items.len() > PIPELINE_STEPS_MAX {
        problems.add(node, format!("{} steps", items.len()), format!("1 to {PIPELINE_STEPS_MAX} steps"));
        return None;
    }
    let before = problems.count();
    // Also of steps in which something is wrong: what refers to them is not wrong too.
    let ids: Vec<&str> = items.iter().filter_map(id_of).collect();
    let steps: Vec<(&Node, Step)> = items.iter().filter_map(|item| Some((item, parse_step(item, problems)?))).collect();
    for (index, (node, step)) in steps.iter().enumerate() {
        if inputs.iter().any(|input| input.name == step.id && !input.is_image()) {
            let expected = "another name: an input of structures is called so";
            problems.add(node, format!("the step {:?}", step.id), expected);
        }
        if steps[..index].iter().any(|(_, other)| other.id == step.id) {
            problems.add(node, format!("the step {:?} a second time", step.id), "each id once");
        }
        refuse_unknown_sources(step, &ids, inputs, problems);
    }
    if problems.count() > before { None } else { in_order(node, steps, inputs, problems) }
}

fn id_of(step: &Node) -> Option<&str> {
    let Value::Object(fields) = &step.value else { return None };
    fields.iter().find_map(|(key, node)| match &node.value {
        Value::String(id) if key == "id" => Some(id.as_str()),
        _ => None,
    })
}

fn parse_step(node: &Node, problems: &mut Problems) -> Option<Step> {
    let mut fields = node.object(problems)?;
    let id = fields.required("id", problems).and_then(|id| parse_id(id, problems));
    let kinds = ["model", "post", "op"].map(|key| fields.optional(key));
    let [model, post, op] = kinds;
    let on_failure = fields.optional("on_failure");
    let on_failure = on_failure.map_or(Some(OnFailure::Fail), |word| word.choice(&OnFailure::ALL, problems));
    // After a word that is none, nothing is told that only "fail" would make wrong.
    let on_failure = on_failure.unwrap_or(OnFailure::Skip);
    let sources = fields.optional("in");
    let made = fields.optional("as");
    if kinds.iter().flatten().count() != 1 {
        let found = if kinds.iter().flatten().next().is_none() { "no \"model\"" } else { "several of them" };
        problems.add(node, found, "one of \"model\", \"post\" (operations on structures) and \"op\" (one operation)");
        return None;
    }
    let (action, images, structures) = if let Some(op) = op {
        let parsed = parse_single(node, op, sources, made, problems)?;
        (Action::Post(parsed.0), Vec::new(), parsed.1)
    } else {
        if let Some(made) = made {
            problems.add(made, "\"as\" without \"op\"", "it beside \"op\" alone, which makes one structure");
        }
        fields.finish(problems);
        match (model, post) {
            (Some(model), _) => {
                let Some(sources) = sources else {
                    problems.add(node, "no \"in\"", "the key \"in\"");
                    return None;
                };
                let model = Reference::parse(model, problems);
                let (images, structures) = parse_slots(sources, problems)?;
                (Action::Model(model?), images, structures)
            }
            (None, post) => {
                if let Some(sources) = sources {
                    let cure = "remove it: the operations name what they take as \"step:Label\"";
                    problems.add_with_cure(sources, "\"in\" beside \"post\"", "it beside \"model\" or \"op\"", cure);
                }
                let (between, structures) = parse_between(post?, problems)?;
                (Action::Post(between), Vec::new(), structures)
            }
        }
    };
    Some(Step { id: id?, action, images, structures, on_failure })
}

type Made = (Between, Vec<(String, ArtefactRef)>);

/// Operations on structures of other steps. Which labels a step has is checked when the models are known.
fn parse_between(node: &Node, problems: &mut Problems) -> Option<Made> {
    let mut structures: Vec<(String, ArtefactRef)> = Vec::new();
    collect_references(node, &mut structures);
    if let Value::Object(list) = &node.value {
        for (name, at) in list.iter().filter(|(name, _)| name.is_empty() || name.contains(':')) {
            problems.add(at, format!("{name:?}"), "a name without a colon, by which later steps refer to it");
        }
    }
    let outside: Vec<&str> = structures.iter().map(|(name, _)| name.as_str()).collect();
    let between = Between::parse(node, &outside, problems)?;
    Some((between, structures))
}

/// Every text of the form `step:Label` below a node, each once.
fn collect_references(node: &Node, found: &mut Vec<(String, ArtefactRef)>) {
    match &node.value {
        Value::String(text) => {
            if let Some((step, label)) =
                text.split_once(':').filter(|(step, label)| !step.is_empty() && !label.is_empty())
                && !found.iter().any(|(name, _)| name == text)
            {
                let (step, label) = (step.to_owned(), label.to_owned());
                found.push((text.clone(), ArtefactRef { step, label, line: node.line, path: node.path.clone() }));
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, found)),
        Value::Object(fields) => fields.iter().for_each(|(_, inner)| collect_references(inner, found)),
        Value::Null | Value::Bool(_) | Value::Number(..) => {}
    }
}

/// One operation on one structure (or the union of several): `{"op": ..., "in": "step:Label", "as": "Name", ...}` is
/// short for `"post": {"Name": [{"op": "take", "of": ["step:Label"]}, {"op": ..., ...}]}`.
fn parse_single(
    node: &Node,
    op: &Node,
    sources: Option<&Node>,
    made: Option<&Node>,
    problems: &mut Problems,
) -> Option<Made> {
    let Value::Object(list) = &node.value else { return None };
    let mut required = |key: &str, found: Option<&Node>, what: &str| {
        if found.is_none() {
            problems.add(node, format!("no {key:?} beside \"op\""), what);
        }
    };
    required("in", sources, "the structure that it works on, such as \"lungs:Lung_L\", or a list of them");
    required("as", made, "the name of the structure that it makes");
    let (sources, name) = (sources?, made?.text(problems)?);
    let at = |value: Value, like: &Node| Node { value, line: like.line, path: like.path.clone() };
    let of = match &sources.value {
        Value::Array(items) => items.clone(),
        Value::String(_) => vec![sources.clone()],
        _ => {
            problems.add(sources, sources.describe(), "a structure such as \"lungs:Lung_L\", or a list of them");
            return None;
        }
    };
    let mut named = Vec::new();
    of.iter().for_each(|item| collect_references(item, &mut named));
    if of.is_empty() || named.len() != of.len() {
        problems.add(sources, sources.describe(), "structures of steps or inputs, each once, such as \"lungs:Lung_L\"");
        return None;
    }
    let text = |text: &str, like: &Node| at(Value::String(text.to_owned()), like);
    let take = vec![("op".to_owned(), text("take", op)), ("of".to_owned(), at(Value::Array(of), sources))];
    let own = ["id", "in", "as", "on_failure"];
    let operation = list.iter().filter(|(key, _)| !own.contains(&key.as_str())).cloned().collect();
    let steps = vec![at(Value::Object(take), sources), at(Value::Object(operation), node)];
    let steps = at(Value::Array(steps), node);
    parse_between(&at(Value::Object(vec![(name.to_owned(), steps)]), made?), problems)
}

type Slots = (Vec<(String, Reference)>, Vec<(String, ArtefactRef)>);

fn parse_slots(node: &Node, problems: &mut Problems) -> Option<Slots> {
    let mut fields = node.object(problems)?;
    let Value::Object(list) = &node.value else { return None };
    let structures = fields.optional("structures").map(|list| parse_structures(list, problems)).unwrap_or_default();
    let images = list.iter().filter(|(slot, _)| slot != "structures");
    let images: Vec<Option<(String, Reference)>> =
        images.map(|(slot, input)| Some((slot.clone(), Reference::parse(input, problems)?))).collect();
    if images.is_empty() {
        problems.add(node, "no image", "at least one image of the model, such as {\"scan\": \"ct\"}");
    }
    Some((images.into_iter().collect::<Option<Vec<_>>>()?, structures))
}

/// A list, whose labels are the names in the model, or an object from names in the model.
fn parse_structures(node: &Node, problems: &mut Problems) -> Vec<(String, ArtefactRef)> {
    let pairs: Vec<(Option<&String>, &Node)> = match &node.value {
        Value::Array(items) => items.iter().map(|item| (None, item)).collect(),
        Value::Object(list) => list.iter().map(|(name, item)| (Some(name), item)).collect(),
        _ => {
            let expected = "a list of structures such as \"lungs:Lung_L\", or an object from their names in the model";
            problems.add(node, node.describe(), expected);
            Vec::new()
        }
    };
    let mut structures: Vec<(String, ArtefactRef)> = Vec::new();
    for (name, item) in pairs {
        let Some(artefact) = item.text(problems).and_then(|text| ArtefactRef::parse(text, item, problems)) else {
            continue;
        };
        let name = name.unwrap_or(&artefact.label).clone();
        if structures.iter().any(|(other, _)| *other == name) {
            let cure = "name them in an object: {\"name in the model\": \"step:Label\"}";
            problems.add_with_cure(item, format!("the structure {name:?} a second time"), "each name once", cure);
        }
        structures.push((name, artefact));
    }
    structures
}

fn refuse_unknown_sources(step: &Step, steps: &[&str], inputs: &[Input], problems: &mut Problems) {
    if inputs.is_empty() {
        return; // No input at all was told already.
    }
    let images: Vec<&str> = inputs.iter().filter(|input| input.is_image()).map(|input| input.name.as_str()).collect();
    let drawn: Vec<&str> = inputs.iter().filter(|input| !input.is_image()).map(|input| input.name.as_str()).collect();
    let ids: Vec<&str> = steps.iter().chain(&drawn).copied().collect();
    let at = |line: usize, path: &str| Node { value: Value::Null, line, path: path.to_owned() };
    for (_, image) in &step.images {
        let node = at(image.line, &image.path);
        if drawn.contains(&image.name.as_str()) {
            problems.add(&node, format!("the input {:?}, which holds structures", image.name), "an input of images");
        } else if !images.contains(&image.name.as_str()) {
            let found = format!("the input {:?}", image.name);
            unknown(&node, &found, &image.name, &images, "inputs", problems);
        }
    }
    for (_, artefact) in &step.structures {
        let node = at(artefact.line, &artefact.path);
        let input = inputs.iter().find(|input| input.name == artefact.step);
        let labels: Vec<&str> = input.iter().flat_map(|i| i.aliases()).map(|rule| rule.label.as_str()).collect();
        if !ids.contains(&artefact.step.as_str()) {
            let found = format!("the step {:?}", artefact.step);
            unknown(&node, &found, &artefact.step, &ids, "steps", problems);
        } else if input.is_some() && !labels.contains(&artefact.label.as_str()) {
            let found = format!("the structure {:?}", artefact.label);
            let what = format!("structures of the input {}", artefact.step);
            unknown(&node, &found, &artefact.label, &labels, &what, problems);
        }
    }
}

pub(super) fn unknown(at: &Node, found: &str, name: &str, known: &[&str], what: &str, problems: &mut Problems) {
    let expected = format!("one of the {what} of this file: {}", known.join(", "));
    match nearest(name, known) {
        Some(close) => problems.add_with_cure(at, found, expected, format!("did you mean {close:?}?")),
        None => problems.add(at, found, expected),
    }
}

/// Kahn's algorithm, which keeps the order of the file where it can; what it cannot place is on or behind a cycle.
fn in_order(node: &Node, steps: Vec<(&Node, Step)>, inputs: &[Input], problems: &mut Problems) -> Option<Vec<Step>> {
    let mut waiting = steps;
    let mut ordered: Vec<Step> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let is_there = |needed: &str| {
            ordered.iter().any(|done| done.id == needed)
                || inputs.iter().any(|input| input.name == needed && !input.is_image())
        };
        let ready = waiting.iter().position(|(_, step)| needs(step).all(is_there));
        let Some(ready) = ready else {
            problems.add_with_cure(
                node,
                format!("a cycle: {}", cycle(&waiting).join(" needs ")),
                "steps that need only what other steps made before",
                "break the cycle",
            );
            return None;
        };
        ordered.push(waiting.remove(ready).1);
    }
    Some(ordered)
}

fn needs(step: &Step) -> impl Iterator<Item = &str> {
    step.structures.iter().map(|(_, artefact)| artefact.step.as_str())
}

/// A walk from need to need among steps that wait, until one comes a second time.
fn cycle<'a>(waiting: &'a [(&Node, Step)]) -> Vec<&'a str> {
    let mut walk: Vec<&str> = Vec::new();
    let mut at = waiting.first().map(|(_, step)| step);
    while let Some(step) = at {
        if let Some(start) = walk.iter().position(|id| *id == step.id) {
            walk.drain(..start);
            walk.push(&step.id);
            break;
        }
        walk.push(&step.id);
        at = needs(step).find_map(|needed| waiting.iter().map(|(_, step)| step).find(|step| step.id == needed));
    }
    walk
}
