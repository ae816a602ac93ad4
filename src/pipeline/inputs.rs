//! The slots of a pipeline: what a series must be to fill each, and which one is taken of several; it chooses none.

use serde::{Deserialize, Serialize};

use super::definition::parse_id;
use super::fetch::{Fetch, FromStudy};
use super::predicate::Predicate;
use crate::document::{Fields, Node, Problems, Value};
use crate::limits::{PIPELINE_INPUTS_MAX, ROI_NAME_LENGTH_MAX, SLICES_MAX, STRUCTURE_ALIASES_MAX, WAIT_S_MAX};

/// What the series that fill the slots of one pipeline must have in common, besides the patient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Same {
    /// Study Instance UID.
    #[default]
    Study,
    /// Patient ID and its issuer; the studies may differ.
    Patient,
}

impl Same {
    /// Every one with its word.
    pub const ALL: [(&'static str, Same); 2] = [("study", Same::Study), ("patient", Same::Patient)];
}

/// A named slot that one series fills.
#[derive(Clone, Debug)]
pub struct Input {
    pub name: String,
    pub predicate: Predicate,
    pub wants: Wants,
    /// The result has its grid and refers to its images. One input of a pipeline is, the first unless another says so.
    pub primary: bool,
    /// The pipeline goes on without it when it does not come in time.
    pub optional: bool,
    /// How long an optional input is waited for once the others are there; none for the longest wait of a series.
    pub wait_s: Option<f64>,
    pub picking: Picking,
    pub frame: Frame,
    /// Images only: what becomes of a series that holds several volumes which fill it.
    pub volumes: Volumes,
    /// Structures only: the input on whose images they must have been drawn; none for any.
    pub drawn_on: Option<String>,
    /// Where it is looked for when it is missing.
    pub fetch: Option<Fetch>,
}

/// What fills a slot.
#[derive(Clone, Debug)]
pub enum Wants {
    /// A series of images that makes a volume.
    Image { slices: SliceCount, geometry: GeometryCondition, unit: Unit },
    /// Structures that were drawn elsewhere: an RT Structure Set, or a DICOM Segmentation.
    Structures(Vec<AliasRule>),
}

/// A structure that is looked for by the names that it may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasRule {
    /// By which steps refer to it, `slot:Label`.
    pub label: String,
    /// Compared without regard to case and padding.
    pub names: Vec<String>,
    /// All names that are found are joined; otherwise the first of the list that is found is taken.
    pub union: bool,
}

/// How one is picked of several series that could fill a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picking {
    pub pick: Pick,
    pub by: By,
}

/// Which of several is taken. When two are equally early or late, nobody is: that is for the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    First,
    Last,
    /// The last by the time of the series.
    #[default]
    Newest,
    /// There must not be several.
    Only,
}

impl Pick {
    /// Every one with its word.
    pub const ALL: [(&'static str, Pick); 4] =
        [("first", Pick::First), ("last", Pick::Last), ("newest", Pick::Newest), ("only", Pick::Only)];
}

/// The time by which first and last are told; what is missing counts as the earliest of all (as in CERR).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Series Date and Time; of structures those of the object.
    #[default]
    SeriesDate,
    /// Study Date and Time.
    StudyDate,
}

impl By {
    /// Every one with its word.
    pub const ALL: [(&'static str, By); 2] = [("series_date", By::SeriesDate), ("study_date", By::StudyDate)];
}

/// What the values of images are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// As the modality gives them: HU of CT, the scanner's own of MR, what Units (0054,1001) says of PET.
    #[default]
    Rescaled,
    /// Standardised uptake value by body weight, g/ml; of PET only.
    SuvBw,
}

impl Unit {
    /// Every one with its word.
    pub const ALL: [(&'static str, Unit); 2] = [("rescaled", Unit::Rescaled), ("suv_bw", Unit::SuvBw)];
}

/// What becomes of a series that holds several volumes which fill a slot: phases, echoes, reconstructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Volumes {
    /// The pipeline runs on each of them.
    #[default]
    Each,
    /// It does not run: which one is meant is for the operator.
    One,
}

impl Volumes {
    /// Every one with its word.
    pub const ALL: [(&'static str, Volumes); 2] = [("each", Volumes::Each), ("one", Volumes::One)];
}

/// Which Frame of Reference a series may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// That of the primary series; one with another does not fill the slot.
    #[default]
    Same,
    /// Any; with another than the primary's the pipeline runs once a registration object relates the two.
    Any,
}

impl Frame {
    /// Every one with its word.
    pub const ALL: [(&'static str, Frame); 2] = [("same", Frame::Same), ("any", Frame::Any)];
}

/// The word for structures drawn on the primary input, which is what counts when nothing is said.
pub const PRIMARY: &str = "primary";
/// The word for structures drawn on whatever images.
pub const ANY: &str = "any";

/// How many slices (or frames) the stack must have, both bounds included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceCount {
    pub min: usize,
    pub max: usize,
}

/// What the stack of slices must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeometryCondition {
    pub orientation: Orientation,
    /// Most slices that may be missing between neighbours.
    pub max_gap: usize,
}

/// The anatomical plane nearest to the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orientation {
    Axial,
    Coronal,
    Sagittal,
    Any,
}

impl Orientation {
    /// Every orientation with its word.
    pub const ALL: [(&'static str, Orientation); 4] = [
        ("axial", Orientation::Axial),
        ("coronal", Orientation::Coronal),
        ("sagittal", Orientation::Sagittal),
        ("any", Orientation::Any),
    ];

    /// The plane nearest to images with this normal (in patient LPS): the axis that it leans to most.
    pub fn of_normal(normal: [f64; 3]) -> Orientation {
        let [x, y, z] = normal.map(f64::abs);
        if z >= x && z >= y {
            Orientation::Axial
        } else if y >= x {
            Orientation::Coronal
        } else {
            Orientation::Sagittal
        }
    }

    /// The word in the file.
    pub fn word(self) -> &'static str {
        match self {
            Orientation::Axial => "axial",
            Orientation::Coronal => "coronal",
            Orientation::Sagittal => "sagittal",
            Orientation::Any => "any",
        }
    }
}

impl Input {
    /// The structures that the slot gives; none for images.
    pub fn aliases(&self) -> &[AliasRule] {
        match &self.wants {
            Wants::Structures(rules) => rules,
            Wants::Image { .. } => &[],
        }
    }

    /// Whether images fill it of which slices may be missing.
    pub fn takes_gaps(&self) -> bool {
        matches!(&self.wants, Wants::Image { geometry, .. } if geometry.max_gap > 0)
    }

    /// Whether images fill it.
    pub fn is_image(&self) -> bool {
        matches!(self.wants, Wants::Image { .. })
    }
}

/// Only another input than the primary one is fetched, and a prior only where studies may differ.
pub(super) fn check_fetch(inputs: &[Input], same: Option<Same>, node: &Node, problems: &mut Problems) {
    for (input, fetch) in inputs.iter().filter_map(|input| Some((input, input.fetch.as_ref()?))) {
        let name = &input.name;
        if input.primary {
            let found = format!("\"fetch\" of the primary input {name:?}");
            problems.add(node, found, "it for another input: the primary series is what a study is known by here");
        }
        if fetch.study == FromStudy::Prior && same == Some(Same::Study) {
            let found = format!("\"fetch\" of a prior study for {name:?}, with inputs of the same study");
            problems.add_with_cure(node, found, "inputs of the same patient", "add \"same\": \"patient\"");
        }
    }
}

pub(super) fn parse_inputs(node: &Node, problems: &mut Problems) -> Vec<Input> {
    if node.object(problems).is_none() {
        return Vec::new();
    }
    let Value::Object(list) = &node.value else { return Vec::new() };
    if list.is_empty() {
        problems.add(node, "no input", "at least one named slot, such as \"ct\"");
    }
    if list.len() > PIPELINE_INPUTS_MAX {
        problems.add(node, format!("{} inputs", list.len()), format!("at most {PIPELINE_INPUTS_MAX}"));
    }
    let before = problems.count();
    let mut inputs: Vec<Input> = list.iter().filter_map(|(name, slot)| parse_input(name, slot, problems)).collect();
    if problems.count() == before && !inputs.is_empty() {
        let slot = |name: &str| list.iter().find(|(key, _)| key == name).map_or(node, |(_, slot)| slot);
        check_primary(&mut inputs, node, slot, problems);
        if problems.count() == before {
            check_drawn_on(&mut inputs, slot, problems);
        }
    }
    inputs
}

/// One image is the primary one and always there.
fn check_primary<'a>(inputs: &mut [Input], node: &Node, slot: impl Fn(&str) -> &'a Node, problems: &mut Problems) {
    let named: Vec<String> = inputs.iter().filter(|input| input.primary).map(|input| input.name.clone()).collect();
    if let [_, second, ..] = named.as_slice() {
        problems.add(slot(second), "a second primary input", "one, whose grid the result has");
        return;
    }
    let primary = inputs.iter().position(|input| input.primary).unwrap_or(0);
    let first = &mut inputs[primary];
    first.primary = true;
    let (name, is_image, optional) = (first.name.clone(), first.is_image(), first.optional);
    if !is_image {
        let cure = "let the images stand first, or mark them with \"primary\": true";
        problems.add_with_cure(slot(&name), "structures as the first input", "images, whose grid the result has", cure);
    } else if optional {
        let cure = "remove \"optional\", or mark another input with \"primary\": true";
        problems.add_with_cure(slot(&name), "a primary input that is optional", "one that is always there", cure);
    }
    if inputs.len() == 1 && inputs[0].frame == Frame::Any {
        problems.add(node, "\"frame\" with a single input", "a second input whose Frame of Reference it is about");
    }
}

/// Structures are drawn on an input of images.
fn check_drawn_on<'a>(inputs: &mut [Input], slot: impl Fn(&str) -> &'a Node, problems: &mut Problems) {
    let images = inputs.iter().filter(|input| input.is_image());
    let (primary, others): (Vec<&Input>, Vec<&Input>) = images.partition(|input| input.primary);
    let primary = primary.first().map(|input| input.name.clone());
    let known: Vec<String> = primary.iter().cloned().chain(others.iter().map(|input| input.name.clone())).collect();
    for input in inputs {
        let Some(name) = &mut input.drawn_on else { continue };
        match &primary {
            Some(primary) if name == PRIMARY => name.clone_from(primary),
            _ if known.contains(name) => {}
            _ => {
                let expected = format!("{PRIMARY}, {ANY} or an input of images: {}", known.join(", "));
                problems.add(slot(&input.name), format!("\"drawn_on\": {name:?}"), expected);
            }
        }
    }
}

fn parse_input(name: &str, node: &Node, problems: &mut Problems) -> Option<Input> {
    let named = Node { value: Value::String(name.to_owned()), line: node.line, path: node.path.clone() };
    parse_id(&named, problems)?;
    let mut fields = node.object(problems)?;
    let predicate = Predicate::of_fields(&mut fields, problems);
    let slices = fields.optional("slices");
    let geometry = fields.optional("geometry");
    let unit = fields.optional("unit");
    let volumes = fields.optional("volumes");
    let structures = fields.optional("structures");
    let flag = |node: Option<&Node>, problems: &mut Problems| node.and_then(|node| node.bool(problems));
    let primary = flag(fields.optional("primary"), problems).unwrap_or(false);
    let optional = flag(fields.optional("optional"), problems).unwrap_or(false);
    let wait = fields.optional("wait_s");
    let wait_s = wait.and_then(|wait| wait.number(0.0, WAIT_S_MAX, problems));
    let picking = parse_picking(&mut fields, problems);
    let frame = fields.optional("frame").and_then(|frame| frame.choice(&Frame::ALL, problems)).unwrap_or_default();
    let drawn_on = fields.optional("drawn_on");
    let fetch = fields.optional("fetch").and_then(|fetch| Fetch::parse(fetch, problems));
    fields.finish(problems);
    if let (Some(wait), false) = (wait, optional) {
        let cure = "add \"optional\": true, or remove it";
        problems.add_with_cure(wait, "a wait for an input that must come", "one for an optional input", cure);
    }
    if let (Some(drawn_on), None) = (drawn_on, structures) {
        problems.add_with_cure(drawn_on, "\"drawn_on\" of images", "it beside \"structures\" only", "remove it");
    }
    // Which input is the primary one is known when all are read.
    let drawn_on = drawn_on.and_then(|node| node.text(problems)).unwrap_or(PRIMARY).to_owned();
    let drawn_on = (structures.is_some() && drawn_on != ANY).then_some(drawn_on);
    let choice = volumes.filter(|_| structures.is_none());
    let choice = choice.and_then(|node| node.choice(&Volumes::ALL, problems)).unwrap_or_default();
    let wants = match structures {
        Some(list) => {
            for only in [slices, geometry, unit, volumes].into_iter().flatten() {
                problems.add_with_cure(only, "a condition on images", "none beside \"structures\"", "remove it");
            }
            Wants::Structures(parse_aliases(list, problems))
        }
        None => {
            let slices = slices.and_then(|slices| parse_slices(slices, problems));
            let geometry = geometry.and_then(|geometry| parse_geometry(geometry, problems));
            let unit = unit.and_then(|unit| unit.choice(&Unit::ALL, problems)).unwrap_or_default();
            Wants::Image {
                unit,
                slices: slices.unwrap_or(SliceCount { min: 1, max: SLICES_MAX }),
                geometry: geometry.unwrap_or(GeometryCondition { orientation: Orientation::Any, max_gap: 0 }),
            }
        }
    };
    Some(Input {
        name: name.to_owned(),
        predicate,
        wants,
        primary,
        optional,
        wait_s,
        picking,
        frame,
        volumes: choice,
        drawn_on,
        fetch,
    })
}

fn parse_picking<'a>(fields: &mut Fields<'a>, problems: &mut Problems) -> Picking {
    let pick = fields.optional("pick").and_then(|pick| pick.choice(&Pick::ALL, problems)).unwrap_or_default();
    let by = fields.optional("by");
    if let (Some(by), Pick::Newest | Pick::Only) = (by, pick) {
        let cure = "add \"pick\": \"last\", or remove it";
        problems.add_with_cure(by, "\"by\" without \"pick\" first or last", "a pick that has an order", cure);
    }
    let by = by.and_then(|by| by.choice(&By::ALL, problems)).unwrap_or_default();
    Picking { pick, by }
}

fn parse_aliases(node: &Node, problems: &mut Problems) -> Vec<AliasRule> {
    if node.object(problems).is_none() {
        return Vec::new();
    }
    let Value::Object(list) = &node.value else { return Vec::new() };
    if list.is_empty() {
        problems.add(node, "no structure", "at least one, such as \"Lung_L\": [\"Lung_L\", \"lung_left\"]");
    }
    let rules = list.iter().filter_map(|(label, names)| {
        if label.is_empty() || label.contains(':') || label.len() > ROI_NAME_LENGTH_MAX {
            let expected = format!("a name of 1 to {ROI_NAME_LENGTH_MAX} characters without a colon");
            problems.add(names, format!("{label:?}"), expected);
        }
        let union = matches!(names.value, Value::Object(_));
        let inner = if union {
            let mut fields = names.object(problems)?;
            let inner = fields.required("union", problems);
            fields.finish(problems);
            inner?
        } else {
            names
        };
        Some(AliasRule { label: label.clone(), names: parse_names(inner, problems), union })
    });
    rules.collect()
}

fn parse_names(node: &Node, problems: &mut Problems) -> Vec<String> {
    let Value::Array(items) = &node.value else {
        let expected = "a list of the names that it may have, or {\"union\": [names]} to join them";
        problems.add(node, node.describe(), expected);
        return Vec::new();
    };
    if items.is_empty() || items.len() > STRUCTURE_ALIASES_MAX {
        problems.add(node, format!("{} names", items.len()), format!("1 to {STRUCTURE_ALIASES_MAX} names"));
    }
    let mut names: Vec<String> = Vec::new();
    for item in items {
        let Some(text) = item.text(problems) else { continue };
        let name = text.trim();
        if name.is_empty() || name.len() > ROI_NAME_LENGTH_MAX {
            problems.add(item, format!("{text:?}"), format!("1 to {ROI_NAME_LENGTH_MAX} bytes"));
        } else if names.iter().any(|other| other.to_lowercase() == name.to_lowercase()) {
            let expected = "each name once: case makes no difference";
            problems.add_with_cure(item, format!("{text:?} a second time"), expected, "remove it");
        } else {
            names.push(name.to_owned());
        }
    }
    names
}

fn parse_slices(node: &Node, problems: &mut Problems) -> Option<SliceCount> {
    let mut fields = node.object(problems)?;
    let mut count = |key, default: usize, problems: &mut Problems| match fields.optional(key) {
        Some(node) => node.integer(1, SLICES_MAX as i64, problems).map_or(default, |count: i64| count as usize),
        None => default,
    };
    let (min, max) = (count("min", 1, problems), count("max", SLICES_MAX, problems));
    fields.finish(problems);
    if min > max {
        problems.add_with_cure(node, format!("min {min} above max {max}"), "min up to max", "swap them");
    }
    Some(SliceCount { min, max })
}

fn parse_geometry(node: &Node, problems: &mut Problems) -> Option<GeometryCondition> {
    let mut fields = node.object(problems)?;
    let orientation = fields.optional("orientation").and_then(|node| node.choice(&Orientation::ALL, problems));
    let max_gap = fields.optional("max_gap").and_then(|node| node.integer(0, SLICES_MAX as i64, problems));
    fields.finish(problems);
    let max_gap = usize::try_from(max_gap.unwrap_or(0)).unwrap_or(0);
    Some(GeometryCondition { orientation: orientation.unwrap_or(Orientation::Any), max_gap })
}

#[cfg(test)]
mod tests;
