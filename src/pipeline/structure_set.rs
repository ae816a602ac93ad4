//! RT Structure Sets among the `outputs` of a pipeline, checked: what each holds and says; it makes none.

use super::steps::{ArtefactRef, unknown};
use super::template::{Facts, Template};
use super::{Step, StructureRule};
use crate::contour::Holes;
use crate::document::{Fields, Node, Problems};
use crate::limits::{LABEL_LENGTH_MAX, SERIES_DESCRIPTION_LENGTH_MAX};

/// What stands behind the description of a series that nobody has reviewed.
pub const STAMP: &str = " AI: review before use";

/// How an RT Structure Set is written.
#[derive(Clone, Debug, PartialEq)]
pub struct RtStructOutput {
    /// Structure Set Label (3006,0002), VR SH: 1 to 16 characters when it is filled in.
    pub label: Template,
    /// Series Description (0008,103E), VR LO, before the stamp; `None` for program and pipeline.
    pub series: Option<Template>,
    /// Whether the series says by its description that it has to be reviewed.
    pub stamp: bool,
    /// `None` where the dialect of each destination says it.
    pub holes: Option<Holes>,
    /// The structures that it holds: those of these steps, and these. All when both are empty.
    pub steps: Vec<String>,
    pub structures: Vec<ArtefactRef>,
}

impl RtStructOutput {
    /// Whether it holds a structure of the pipeline.
    pub fn holds(&self, rule: &StructureRule) -> bool {
        let (step, label) = (&rule.source.step, &rule.source.label);
        (self.steps.is_empty() && self.structures.is_empty())
            || self.steps.contains(step)
            || self.structures.iter().any(|artefact| artefact.step == *step && artefact.label == *label)
    }

    /// The first model whose structures it holds; empty for operations alone.
    pub fn model<'a>(&self, steps: &'a [Step], rules: &[StructureRule]) -> &'a str {
        let held = rules.iter().filter(|rule| self.holds(rule));
        let mut models = held.filter_map(|rule| {
            steps.iter().find(|step| step.id == rule.source.step)?.action.model().map(|model| model.name.as_str())
        });
        models.next().unwrap_or("")
    }

    /// Series Description, at most 64 characters: where it would be longer the stamp stays.
    pub fn series_description(&self, facts: Facts<'_>) -> String {
        let stamp = if self.stamp { STAMP } else { "" };
        let text = match &self.series {
            Some(template) => template.fill(facts),
            None => format!("contourd {}", facts.pipeline),
        };
        let room = SERIES_DESCRIPTION_LENGTH_MAX - stamp.len();
        text.chars().take(room).chain(stamp.chars()).collect()
    }
}

/// What `outputs` may refer to; empty where it could not be read.
pub(super) struct Known<'a> {
    pub id: &'a str,
    pub revision: u32,
    pub steps: &'a [Step],
    pub structures: &'a [StructureRule],
}

impl Known<'_> {
    /// The label of a structure set as it will be, but for the day.
    pub fn label_of(&self, output: &RtStructOutput) -> String {
        output.label.fill(self.facts(output))
    }

    fn facts(&self, output: &RtStructOutput) -> Facts<'_> {
        let model = output.model(self.steps, self.structures);
        Facts { pipeline: self.id, revision: self.revision, model, date: "20000101", time: "000000" }
    }
}

pub(super) fn parse_rtstruct(node: &Node, known: &Known<'_>, problems: &mut Problems) -> Option<RtStructOutput> {
    let mut fields: Fields<'_> = node.object(problems)?;
    let label = fields.required("label", problems).and_then(|label| Template::parse(label, problems));
    let series = fields.optional("series").and_then(|series| Template::parse(series, problems));
    let stamp = fields.optional("stamp").and_then(|stamp| stamp.bool(problems)).unwrap_or(true);
    let holes = fields.optional("holes").and_then(|holes| holes.choice(&Holes::ALL, problems));
    let steps = fields.optional("steps").map(|list| parse_steps_of(list, known, problems)).unwrap_or_default();
    let structures = fields.optional("structures").map(|list| parse_structures_of(list, known, problems));
    fields.finish(problems);
    let structures = structures.unwrap_or_default();
    let output = RtStructOutput { label: label?, series, stamp, holes, steps, structures };
    check_texts(node, &output, known, problems);
    Some(output)
}

/// Steps whose structures the pipeline delivers.
fn parse_steps_of(node: &Node, known: &Known<'_>, problems: &mut Problems) -> Vec<String> {
    let ids: Vec<&str> = known.structures.iter().map(|rule| rule.source.step.as_str()).collect();
    let mut steps = Vec::new();
    for item in not_empty(node, problems) {
        let Some(id) = item.text(problems) else { continue };
        if !known.structures.is_empty() && !ids.contains(&id) {
            unknown(item, &format!("the step {id:?}"), id, &ids, "steps of the structures", problems);
        }
        steps.push(id.to_owned());
    }
    steps
}

fn parse_structures_of(node: &Node, known: &Known<'_>, problems: &mut Problems) -> Vec<ArtefactRef> {
    let name = |artefact: &ArtefactRef| format!("{}:{}", artefact.step, artefact.label);
    let names: Vec<String> = known.structures.iter().map(|rule| name(&rule.source)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut structures = Vec::new();
    for item in not_empty(node, problems) {
        let Some(text) = item.text(problems) else { continue };
        let Some(artefact) = ArtefactRef::parse(text, item, problems) else { continue };
        if !names.is_empty() && !names.contains(&text) {
            unknown(item, &format!("the structure {text:?}"), text, &names, "structures of the pipeline", problems);
        }
        structures.push(artefact);
    }
    structures
}

fn not_empty<'a>(node: &'a Node, problems: &mut Problems) -> &'a [Node] {
    let items = node.array(problems).unwrap_or_default();
    if items.is_empty() && matches!(node.value, crate::document::Value::Array(_)) {
        problems.add_with_cure(node, "an empty list", "at least one", "leave the key out for all structures");
    }
    items
}

/// Checks the lengths of what a run fills in.
fn check_texts(node: &Node, output: &RtStructOutput, known: &Known<'_>, problems: &mut Problems) {
    let (label, facts) = (known.label_of(output), known.facts(output));
    let mut check = |what: &str, text: &str, most: usize| {
        if text.len() > most || text.is_empty() {
            problems.add(
                node,
                format!("the {what} {text:?} of {} characters when it is filled in", text.len()),
                format!("1 to {most}"),
            );
        }
    };
    check("label", &label, LABEL_LENGTH_MAX);
    if let Some(series) = &output.series {
        let stamp = if output.stamp { STAMP.len() } else { 0 };
        check("series description", &series.fill(facts), SERIES_DESCRIPTION_LENGTH_MAX - stamp);
    }
}
