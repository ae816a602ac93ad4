//! How networks are applied, as checked from `model.json`: stages, post-processing, what is delivered; it runs nothing.

mod network;
mod output;
pub mod reference;
mod stage;
mod window;

pub use network::NetworkFile;
pub(super) use output::{Activate, Activation, Back, Decision, ExtraImage, ImageKind, Label, Output, Separate, Spline};
pub(super) use stage::{Input, Pass, Source, Stage};
pub(super) use window::{Blend, PadSide, Tiling, Window};
pub use window::{Layout, Tensor};

use std::sync::Arc;

use super::post;
use crate::document::{Fields, Node, Problems, Value};
use crate::limits::MODEL_STEPS_MAX;

/// Everything between images and masks. Names of structures are known to exist where they are referred to.
#[derive(Clone)]
pub struct Recipe {
    pub(super) structures_in: Vec<StructureIn>,
    pub(super) networks: Vec<NetworkFile>,
    pub(super) stage: Arc<Stage>,
    /// The low-resolution stage of a cascade, whose labels are channels of the main one.
    pub(super) previous: Option<Arc<Stage>>,
    pub(super) post: Vec<(String, Vec<post::Step>)>,
    pub(super) structures: Vec<String>,
}

/// A mask of an earlier step, or one that came with the images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructureIn {
    pub name: String,
    /// Without it the model runs as if it were empty.
    pub optional: bool,
}

impl Recipe {
    /// Names of the images that it needs; the first one gives the grid of the results. Optional ones are among them.
    pub fn input_names(&self) -> impl Iterator<Item = &str> {
        self.stage.inputs.iter().map(|input| input.name.as_str())
    }

    /// Whether it runs without this image.
    pub fn is_optional(&self, input: &str) -> bool {
        self.stage.inputs.iter().any(|known| known.name == input && known.optional)
    }

    /// The structures of earlier steps that it takes.
    pub fn structure_inputs(&self) -> &[StructureIn] {
        &self.structures_in
    }

    /// Names of the structures that it delivers, in order.
    pub fn structures(&self) -> &[String] {
        &self.structures
    }

    /// Images that it makes besides, by name, and whether each is a deformation.
    pub fn images(&self) -> impl Iterator<Item = (&str, bool)> {
        self.stage.images.iter().map(|image| (image.name.as_str(), image.kind == output::ImageKind::Deformation))
    }

    /// The files of its networks, in the order in which [`super::run`] takes them.
    pub fn networks(&self) -> &[NetworkFile] {
        &self.networks
    }

    /// The stage that a network belongs to.
    pub(super) fn stage_of(&self, network: usize) -> &Arc<Stage> {
        let is_in = |stage: &Stage| stage.passes.iter().any(|pass| pass.networks.contains(&network));
        self.previous.as_ref().filter(|previous| is_in(previous)).unwrap_or(&self.stage)
    }

    /// What the tensors of one of its networks look like.
    pub fn tensor_of(&self, network: usize) -> &Tensor {
        &self.stage_of(network).tensor
    }

    /// Outputs of a network that it needs: the labels' (`None`: the graph's first), then those of images.
    pub fn outputs_of(&self, network: usize) -> Vec<Option<&str>> {
        self.stage_of(network).graph_outputs()
    }

    /// Parses all of `model.json` that says how it is applied; identity and licence are the caller's.
    pub fn parse(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Recipe> {
        let before = problems.count();
        let structures_in =
            fields.optional("structures_in").map_or(Vec::new(), |node| parse_structures_in(node, problems));
        let known: Vec<&str> = structures_in.iter().map(|structure| structure.name.as_str()).collect();
        let mut networks = Vec::new();
        let has_previous = fields.optional("previous").is_some();
        let previous = fields.optional("previous").and_then(|node| {
            let mut inner = node.object(problems)?;
            let stage = Stage::parse(&mut inner, &known, false, &mut networks, &mut Vec::new(), problems);
            inner.finish(problems);
            stage
        });
        let mut names: Vec<String> = structures_in.iter().map(|structure| structure.name.clone()).collect();
        let stage = Stage::parse(fields, &known, has_previous, &mut networks, &mut names, problems);
        if let (Some(stage), Some(previous)) = (&stage, &previous) {
            let channels = fields.optional("channels").unwrap_or(fields.node());
            stage.refuse_unknown_labels(previous, channels, problems);
        }
        let post = fields.optional("post").map_or(Vec::new(), |node| parse_post(node, &mut names, problems));
        let images = stage.as_ref().is_some_and(|stage| !stage.images.is_empty());
        let delivered = fields.required("structures", problems);
        let delivered = delivered.map(|node| parse_delivered(node, &names, images, problems));
        if problems.count() > before {
            return None;
        }
        let (stage, previous) = (Arc::new(stage?), previous.map(Arc::new));
        Some(Recipe { structures_in, networks, stage, previous, post, structures: delivered? })
    }
}

fn parse_structures_in(node: &Node, problems: &mut Problems) -> Vec<StructureIn> {
    let items = node.array(problems).unwrap_or_default();
    let one = |item: &Node, problems: &mut Problems| match &item.value {
        Value::Object(_) => {
            let mut fields = item.object(problems)?;
            let name = fields.required("name", problems).and_then(|name| name.text(problems)).map(str::to_owned);
            let optional = fields.optional("optional").and_then(|flag| flag.bool(problems)).unwrap_or(false);
            fields.finish(problems);
            Some(StructureIn { name: name?, optional })
        }
        _ => Some(StructureIn { name: item.text(problems)?.to_owned(), optional: false }),
    };
    items.iter().filter_map(|item| one(item, problems)).collect()
}

fn parse_post(node: &Node, names: &mut Vec<String>, problems: &mut Problems) -> Vec<(String, Vec<post::Step>)> {
    let list = node.named("an object from structure to a list of operations", problems).unwrap_or_default();
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

/// A model that gives images may deliver no structure.
fn parse_delivered(node: &Node, names: &[String], gives_images: bool, problems: &mut Problems) -> Vec<String> {
    let items = node.array(problems).unwrap_or_default();
    if items.is_empty() && !gives_images {
        problems.add(node, node.describe(), "at least one structure to deliver");
    }
    let choices: Vec<(&str, usize)> = names.iter().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
    items.iter().filter_map(|item| item.choice(&choices, problems).map(|index| names[index].clone())).collect()
}
