//! The pipeline file, checked: identity, conditions, inputs, completeness, structures, outputs, destinations.

use std::collections::BTreeSet;

use super::completeness::CompletenessOverride;
use super::deliver::{Deliver, SENDER, parse_deliver};
use super::inputs::{Input, Same, check_fetch, parse_inputs};
use super::outputs::{
    DerivedOutput, DocumentOutput, OUTPUT_KINDS, RegistrationOutput, SegOutput, parse_derived, parse_document,
    parse_registration, parse_seg,
};
use super::steps::{ArtefactRef, Step, parse_steps, unknown};
use super::structure_set::{Known, RtStructOutput, parse_rtstruct};
use crate::dicom::AeTitle;
use crate::document::{Node, Problems, Value};
use crate::limits::{
    COLOR_COMPONENT_MAX, ID_LENGTH_MAX, PIPELINE_OUTPUTS_MAX, STRUCTURE_NAME_LENGTH_MAX, STRUCTURE_PARTS_MAX,
};
use crate::structure::{self, Color, NameRules, RoiStyle, RoiType, check_names};

/// A name that another file must have, and where it stands, so that both ends can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub name: String,
    pub line: usize,
    pub path: String,
}

impl Reference {
    pub(super) fn parse(node: &Node, problems: &mut Problems) -> Option<Reference> {
        let name = parse_id(node, problems)?;
        Some(Reference { name, line: node.line, path: node.path.clone() })
    }
}

/// Whether results of a pipeline are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Runs and delivers.
    Live,
    /// Runs and keeps the results, delivers nothing: to try a pipeline on real series.
    Shadow,
    /// Matches nothing.
    Off,
}

impl Mode {
    /// Every mode with its word.
    pub const ALL: [(&'static str, Mode); 3] = [("live", Mode::Live), ("shadow", Mode::Shadow), ("off", Mode::Off)];
}

/// Conditions on the association by which a series came. An empty list accepts every title.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    pub called_ae: Vec<AeTitle>,
    pub calling_ae: Vec<AeTitle>,
}

/// A structure that the result holds.
#[derive(Clone, Debug, PartialEq)]
pub struct StructureRule {
    /// The step and the label of its model.
    pub source: ArtefactRef,
    pub style: RoiStyle,
    /// The result is good without it.
    pub optional: bool,
    /// Each connected part is a structure of its own; its number stands in the place of `#` in the name.
    pub each: bool,
}

impl StructureRule {
    /// The rule of one of its parts, from 1 on.
    pub fn part(&self, number: usize) -> StructureRule {
        let name = self.style.name.replace(PART_NUMBER, &number.to_string());
        StructureRule { style: RoiStyle { name, ..self.style.clone() }, ..self.clone() }
    }
}

/// Stands for the number of a part in the name of structures that are made for each part.
const PART_NUMBER: char = '#';

/// An object that is made from the structures.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Output {
    RtStruct(RtStructOutput),
    Seg(SegOutput),
    Registration(RegistrationOutput),
    DerivedImage(DerivedOutput),
    /// Volumes and values of all structures, as a structured report.
    Sr(DocumentOutput),
    /// The page of the run as a PDF.
    Pdf(DocumentOutput),
    /// The pictures of the page.
    SecondaryCapture(DocumentOutput),
}

impl Output {
    /// Its word in the file, one of [`OUTPUT_KINDS`].
    pub fn kind(&self) -> &'static str {
        let [rtstruct, seg, registration, derived_image, sr, pdf, secondary_capture] = OUTPUT_KINDS;
        match self {
            Output::RtStruct(_) => rtstruct,
            Output::Seg(_) => seg,
            Output::Registration(_) => registration,
            Output::DerivedImage(_) => derived_image,
            Output::Sr(_) => sr,
            Output::Pdf(_) => pdf,
            Output::SecondaryCapture(_) => secondary_capture,
        }
    }
}

/// A pipeline, checked; only [`Pipeline::parse`] makes one.
#[derive(Clone, Debug)]
pub struct Pipeline {
    id: String,
    revision: u32,
    mode: Mode,
    when: When,
    same: Same,
    inputs: Vec<Input>,
    complete: CompletenessOverride,
    steps: Vec<Step>,
    structures: Vec<StructureRule>,
    outputs: Vec<Output>,
    deliver: Vec<Deliver>,
    cpu_instead: bool,
}

impl Pipeline {
    /// Parses the document of a pipeline file. `None` when anything is wrong; everything that is, is in `problems`.
    pub fn parse(node: &Node, problems: &mut Problems) -> Option<Pipeline> {
        let before = problems.count();
        let mut fields = node.object(problems)?;
        fields.optional("$schema").and_then(|schema| schema.text(problems));
        fields.optional("description").and_then(|description| description.text(problems));
        let id = fields.required("id", problems).and_then(|id| parse_id(id, problems));
        let revision = fields.required("revision", problems).and_then(|r| r.integer(1, i64::from(u32::MAX), problems));
        let mode = fields.required("mode", problems).and_then(|mode| mode.choice(&Mode::ALL, problems));
        let when = fields.optional("when").map(|when| parse_when(when, problems)).unwrap_or_default();
        let same = fields.optional("same").map_or(Some(Same::Study), |same| same.choice(&Same::ALL, problems));
        let inputs = fields.required("inputs", problems).map(|inputs| parse_inputs(inputs, problems));
        let inputs = inputs.unwrap_or_default();
        check_fetch(&inputs, same, node, problems);
        let complete = fields.optional("complete").and_then(|node| CompletenessOverride::parse(node, problems));
        let steps = fields.required("steps", problems).and_then(|steps| parse_steps(steps, &inputs, problems));
        let listed = fields.optional("structures");
        let structures = listed.map(|list| parse_structures(list, steps.as_deref(), problems)).unwrap_or_default();
        let outputs = fields.required("outputs", problems);
        let known = Known {
            id: id.as_deref().unwrap_or_default(),
            revision: revision.and_then(|revision| u32::try_from(revision).ok()).unwrap_or_default(),
            steps: steps.as_deref().unwrap_or_default(),
            structures: &structures,
        };
        let outputs = outputs.map(|list| parse_outputs(list, &known, &inputs, problems));
        let holds_structures = |output: &Output| matches!(output, Output::RtStruct(_) | Output::Seg(_) | Output::Sr(_));
        if listed.is_none() && outputs.as_ref().is_none_or(|outputs| outputs.iter().any(holds_structures)) {
            problems.add(node, "no \"structures\"", "the structures that the outputs hold");
        }
        let cpu_instead = fields.optional("cpu_instead").and_then(|flag| flag.bool(problems)).unwrap_or(false);
        let deliver = fields
            .optional("deliver")
            .map(|list| parse_deliver(list, outputs.as_deref(), problems))
            .unwrap_or_default();
        fields.finish(problems);
        if mode == Some(Mode::Live) && deliver.is_empty() && problems.count() == before {
            let cure = "name a peer, or set \"mode\" to \"shadow\"";
            problems.add_with_cure(node, "no destination", "at least one in \"deliver\" of a live pipeline", cure);
        }
        if problems.count() > before {
            return None;
        }
        let (complete, outputs) = (complete.unwrap_or_default(), outputs?);
        let revision = u32::try_from(revision?).ok()?;
        let (id, mode, same, steps) = (id?, mode?, same?, steps?);
        Some(Pipeline {
            id,
            revision,
            mode,
            when,
            same,
            inputs,
            complete,
            steps,
            structures,
            outputs,
            deliver,
            cpu_instead,
        })
    }

    /// The name, also of the file.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Counts up with each change that changes results; part of the UIDs of what is produced.
    pub fn revision(&self) -> u32 {
        self.revision
    }

    /// Whether its models may run on the processor where the device of the gateway is not there.
    pub fn cpu_instead(&self) -> bool {
        self.cpu_instead
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    pub fn when(&self) -> &When {
        &self.when
    }

    /// What the series that fill the slots must have in common.
    pub fn same(&self) -> Same {
        self.same
    }

    /// At least one.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The slot whose grid the result has and whose images it refers to.
    pub fn primary(&self) -> &Input {
        self.inputs.iter().find(|input| input.primary).unwrap_or(&self.inputs[0])
    }

    pub fn complete(&self) -> &CompletenessOverride {
        &self.complete
    }

    /// In an order in which each comes after what it needs; at least one.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What the result holds, in the order of the file; at least one, unless it is made of images alone.
    pub fn structures(&self) -> &[StructureRule] {
        &self.structures
    }

    /// At least one.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// The peers that get outputs of a kind, those that may take the place of others among them; `sender` is what the
    /// word stands for.
    pub fn peers_for(&self, kind: &str, sender: Option<&str>) -> Vec<String> {
        let gets = |deliver: &&Deliver| deliver.outputs.as_ref().is_none_or(|kinds| kinds.iter().any(|k| k == kind));
        let named = self.deliver.iter().filter(gets).flat_map(|deliver| &deliver.to);
        let mut peers: Vec<String> = Vec::new();
        for name in named.filter_map(|to| if to.name == SENDER { sender } else { Some(to.name.as_str()) }) {
            if !peers.iter().any(|other| other == name) {
                peers.push(name.to_owned());
            }
        }
        peers
    }

    /// At least one for a live pipeline.
    pub fn deliver(&self) -> &[Deliver] {
        &self.deliver
    }
}

/// A name of a pipeline, step, slot, model or peer: letters, digits, `-`, `_` and dots inside; a file can be called so.
pub fn parse_id(node: &Node, problems: &mut Problems) -> Option<String> {
    let text = node.text(problems)?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.is_empty() || text.len() > ID_LENGTH_MAX || !text.bytes().all(legal) || text.starts_with('.') {
        let expected = format!("a name of 1 to {ID_LENGTH_MAX} letters, digits, '-', '_' or '.', not first a '.'");
        problems.add(node, node.describe(), expected);
        return None;
    }
    Some(text.to_owned())
}

fn parse_when(node: &Node, problems: &mut Problems) -> When {
    let Some(mut fields) = node.object(problems) else { return When::default() };
    let mut titles = |key, problems: &mut Problems| {
        fields.optional(key).map(|node: &Node| parse_ae_titles(node, problems)).unwrap_or_default()
    };
    let (called_ae, calling_ae) = (titles("called_ae", problems), titles("calling_ae", problems));
    fields.finish(problems);
    When { called_ae, calling_ae }
}

/// A list of AE titles, at least one.
fn parse_ae_titles(node: &Node, problems: &mut Problems) -> Vec<AeTitle> {
    let Some(items) = node.array(problems) else { return Vec::new() };
    if items.is_empty() {
        problems.add_with_cure(node, "an empty list", "at least one AE title", "leave the key out to accept every one");
    }
    items.iter().filter_map(|item| item.parsed("an AE title", problems)).collect()
}

fn parse_structures(node: &Node, steps: Option<&[Step]>, problems: &mut Problems) -> Vec<StructureRule> {
    if node.object(problems).is_none() {
        return Vec::new();
    }
    let Value::Object(list) = &node.value else { return Vec::new() };
    if list.is_empty() {
        problems.add(node, "no structure", "at least one, such as \"lungs:Lung_L\": {...}");
    }
    let parsed = list.iter().filter_map(|(key, value)| Some((value, parse_structure(key, value, steps, problems)?)));
    let (places, rules): (Vec<&Node>, Vec<StructureRule>) = parsed.unzip();
    // The longest names that parts can have; whether one of them is another structure's is looked for below.
    let longest = |rule: &StructureRule| if rule.each { rule.part(STRUCTURE_PARTS_MAX) } else { rule.clone() };
    let styles: Vec<RoiStyle> = rules.iter().map(|rule| longest(rule).style).collect();
    // A destination that takes less gets them shortened.
    let allowed = NameRules { length_max: STRUCTURE_NAME_LENGTH_MAX, spaces: false };
    for problem in check_names(&styles, allowed) {
        let text = problem.to_string();
        let told = text.split_once(": found ").map_or(text.as_str(), |(_, told)| told);
        let (found, expected) =
            told.split_once(", expected ").unwrap_or((told, "names that every planning system keeps apart"));
        if let Some(place) = places.get(problem.index()) {
            problems.add(place, found, expected);
        }
    }
    refuse_names_of_parts(&places, &rules, problems);
    rules
}

/// Tells names that a part of another structure may have.
fn refuse_names_of_parts(places: &[&Node], rules: &[StructureRule], problems: &mut Problems) {
    let names = |rule: &StructureRule| -> BTreeSet<String> {
        let parts = 1..=if rule.each { STRUCTURE_PARTS_MAX } else { 0 };
        let own = (!rule.each).then(|| rule.style.name.clone());
        parts.map(|number| rule.part(number).style.name).chain(own).map(|name| name.to_ascii_lowercase()).collect()
    };
    let all: Vec<BTreeSet<String>> = rules.iter().map(names).collect();
    for (index, (place, rule)) in places.iter().zip(rules).enumerate() {
        // Of two with parts the later is told; equal names of structures without parts are told already.
        let is_other = |other: &usize| rules[*other].each && (!rule.each || *other < index);
        let shares = |other: &usize| !all[index].is_disjoint(&all[*other]);
        if let Some(other) = (0..rules.len()).filter(is_other).find(shares) {
            let found = format!("the name {:?}, which a part of {} may have", rule.style.name, rules[other].style.name);
            problems.add(place, found, "another name");
        }
    }
}

fn parse_structure(key: &str, node: &Node, steps: Option<&[Step]>, problems: &mut Problems) -> Option<StructureRule> {
    let source = ArtefactRef::parse(key, node, problems);
    if let (Some(source), Some(steps)) = (&source, steps) {
        let ids: Vec<&str> = steps.iter().map(|step| step.id.as_str()).collect();
        if !ids.contains(&source.step.as_str()) {
            unknown(node, &format!("the step {:?}", source.step), &source.step, &ids, "steps", problems);
        }
    }
    let mut fields = node.object(problems)?;
    let name = fields.required("name", problems).and_then(|name| name.text(problems)).map(str::to_owned);
    // TG-263 names bring their type and colour; others have to say them.
    let known = name.as_deref().and_then(structure::lookup);
    let roi_type = match (fields.optional("type"), known) {
        (None, Some(known)) => Some(known.roi_type),
        _ => fields.required("type", problems).and_then(|node| node.choice(&RoiType::ALL, problems)),
    };
    let color = match (fields.optional("color"), known) {
        (None, Some(known)) => Some(known.color),
        _ => fields.required("color", problems).and_then(|color| parse_color(color, problems)),
    };
    let optional = fields.optional("optional").and_then(|node| node.bool(problems)).unwrap_or(false);
    let each = fields.optional("each").and_then(|node| node.bool(problems)).unwrap_or(false);
    fields.finish(problems);
    let name = name?;
    let numbers = name.matches(PART_NUMBER).count();
    if each && numbers != 1 {
        let expected = "a name with one #, in whose place the number of each part stands, such as \"GTVn#\"";
        problems.add(node, format!("the name {name:?} with \"each\""), expected);
    }
    if each && roi_type == Some(RoiType::External) {
        problems.add(node, "EXTERNAL with \"each\"", "one EXTERNAL structure at most");
    }
    let style = RoiStyle { name, roi_type: roi_type?, color: color? };
    Some(StructureRule { source: source?, style, optional, each })
}

pub(super) fn parse_short_text(node: &Node, longest: usize, problems: &mut Problems) -> Option<String> {
    let text = node.text(problems)?;
    let printable = text.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'\\');
    if text.is_empty() || text.len() > longest || !printable || text.trim() != text {
        let expected = format!("1 to {longest} ASCII characters without backslash and without space at the ends");
        problems.add(node, format!("{text:?} ({} characters)", text.chars().count()), expected);
        return None;
    }
    Some(text.to_owned())
}

fn parse_color(node: &Node, problems: &mut Problems) -> Option<Color> {
    let items = node.array(problems)?;
    let parts: Vec<Option<u8>> = items
        .iter()
        .map(|item| item.integer(0, COLOR_COMPONENT_MAX, problems).and_then(|part| u8::try_from(part).ok()))
        .collect();
    match parts.as_slice() {
        [red, green, blue] => Some(Color([(*red)?, (*green)?, (*blue)?])),
        _ => {
            problems.add(node, node.describe(), "an array of 3: red, green, blue");
            None
        }
    }
}

fn parse_outputs(node: &Node, known: &Known<'_>, inputs: &[Input], problems: &mut Problems) -> Vec<Output> {
    let Some(items) = node.array(problems) else { return Vec::new() };
    if items.is_empty() {
        problems.add(node, "no output", "at least one, such as {\"rtstruct\": {\"label\": \"AUTO\"}}");
    }
    if items.len() > PIPELINE_OUTPUTS_MAX {
        problems.add(node, format!("{} outputs", items.len()), format!("at most {PIPELINE_OUTPUTS_MAX}"));
    }
    let is_other_image = |input: &&Input| input.is_image() && !input.primary;
    let images: Vec<&str> = inputs.iter().filter(is_other_image).map(|input| input.name.as_str()).collect();
    let mut outputs: Vec<Output> = Vec::new();
    let mut labels: Vec<String> = Vec::new();
    for item in items {
        let Some(output) = parse_output(item, known, &images, problems) else { continue };
        let single = matches!(output, Output::Seg(_) | Output::Sr(_) | Output::Pdf(_) | Output::SecondaryCapture(_));
        if single && outputs.iter().any(|other| other.kind() == output.kind()) {
            problems.add(item, format!("a second {}", output.kind()), "one of all structures");
        }
        if let Output::RtStruct(set) = &output {
            let label = known.label_of(set);
            if labels.iter().any(|other| other.eq_ignore_ascii_case(&label)) {
                let found = format!("the label {label:?} a second time");
                problems.add(item, found, "structure sets with labels of their own");
            }
            labels.push(label);
        }
        outputs.push(output);
    }
    outputs
}

fn parse_output(item: &Node, known: &Known<'_>, images: &[&str], problems: &mut Problems) -> Option<Output> {
    let mut fields = item.object(problems)?;
    let output = if let Some(node) = fields.optional("seg") {
        parse_seg(node, problems).map(Output::Seg)
    } else if let Some(node) = fields.optional("registration") {
        parse_registration(node, known.steps, images, problems).map(Output::Registration)
    } else if let Some(node) = fields.optional("derived_image") {
        parse_derived(node, known.steps, problems).map(Output::DerivedImage)
    } else if let Some(node) = fields.optional("sr") {
        parse_document(node, problems).map(Output::Sr)
    } else if let Some(node) = fields.optional("pdf") {
        parse_document(node, problems).map(Output::Pdf)
    } else if let Some(node) = fields.optional("secondary_capture") {
        parse_document(node, problems).map(Output::SecondaryCapture)
    } else {
        let node = fields.required("rtstruct", problems);
        node.and_then(|node| parse_rtstruct(node, known, problems)).map(Output::RtStruct)
    };
    fields.finish(problems);
    output
}
