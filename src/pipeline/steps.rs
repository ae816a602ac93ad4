//! The steps of a pipeline: a graph of named results, checked to be free of cycles and put in an order that runs.

use super::definition::{Reference, parse_id};
use super::inputs::Input;
use crate::document::{Node, Problems, Value, nearest};
use crate::limits::PIPELINE_STEPS_MAX;

/// One step: what it does and from what.
#[derive(Clone, Debug)]
pub struct Step {
    pub id: String,
    pub action: Action,
    /// For each image that the model needs, by its name there, the input slot of the pipeline; at least one.
    pub images: Vec<(String, Reference)>,
    /// The structures of earlier steps that the model needs (`"structures"` in the file); their labels are the names
    /// by which the model knows them.
    pub structures: Vec<ArtefactRef>,
}

/// What a step does. Operations between models (margins, booleans) will be a second kind.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Action {
    /// Runs a model, `models/<id>/`.
    Model(Reference),
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
    let steps: Vec<(&Node, Step)> = items.iter().filter_map(|item| Some((item, parse_step(item, problems)?))).collect();
    for (index, (node, step)) in steps.iter().enumerate() {
        if steps[..index].iter().any(|(_, other)| other.id == step.id) {
            problems.add(node, format!("the step {:?} a second time", step.id), "each id once");
        }
        refuse_unknown_sources(step, &steps, inputs, problems);
    }
    if problems.count() > before { None } else { in_order(node, steps, problems) }
}

fn parse_step(node: &Node, problems: &mut Problems) -> Option<Step> {
    let mut fields = node.object(problems)?;
    let id = fields.required("id", problems).and_then(|id| parse_id(id, problems));
    if let Some(op) = fields.optional("op") {
        problems.add_with_cure(op, op.describe(), "a model", "operations between steps are not part of this version");
    }
    let model = fields.required("model", problems).and_then(|model| Reference::parse(model, problems));
    let slots = fields.required("in", problems).and_then(|slots| parse_slots(slots, problems));
    fields.finish(problems);
    let (images, structures) = slots?;
    Some(Step { id: id?, action: Action::Model(model?), images, structures })
}

type Slots = (Vec<(String, Reference)>, Vec<ArtefactRef>);

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

fn parse_structures(node: &Node, problems: &mut Problems) -> Vec<ArtefactRef> {
    let items = node.array(problems).unwrap_or_default();
    let parsed = items.iter().filter_map(|item| {
        let text = item.text(problems)?;
        ArtefactRef::parse(text, item, problems)
    });
    parsed.collect()
}

fn refuse_unknown_sources(step: &Step, steps: &[(&Node, Step)], inputs: &[Input], problems: &mut Problems) {
    let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
    let ids: Vec<&str> = steps.iter().map(|(_, step)| step.id.as_str()).collect();
    let mut told = |name: &str, what: &str, known: &[&str], line: usize, path: &str| {
        let at = Node { value: Value::Null, line, path: path.to_owned() };
        unknown(&at, &format!("the {what} {name:?}"), name, known, &format!("{what}s"), problems);
    };
    for (_, input) in &step.images {
        // No input at all was told already.
        if !names.is_empty() && !names.contains(&input.name.as_str()) {
            told(&input.name, "input", &names, input.line, &input.path);
        }
    }
    for artefact in &step.structures {
        if !ids.contains(&artefact.step.as_str()) {
            told(&artefact.step, "step", &ids, artefact.line, &artefact.path);
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
fn in_order(node: &Node, steps: Vec<(&Node, Step)>, problems: &mut Problems) -> Option<Vec<Step>> {
    let mut waiting = steps;
    let mut ordered: Vec<Step> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let ready =
            waiting.iter().position(|(_, step)| needs(step).all(|needed| ordered.iter().any(|done| done.id == needed)));
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
    step.structures.iter().map(|artefact| artefact.step.as_str())
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
