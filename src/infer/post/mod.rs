//! The table of post-processing operations, from labels to structures; each file of this folder is one of them.
//!
//! To add one: write a file with a `pub(super) const ENTRY`, and name it in [`TABLE`]. Lengths are in mm and use the
//! position of every slice. An operation changes one mask and may look at others and at the source image.

mod between;
mod boolean;
mod cerr;
mod cerr_chewing;
mod cerr_constrictor;
mod cerr_larynx;
mod closing;
pub(super) mod components;
mod consensus;
mod convex_hull;
mod distance;
mod drop_end_slices;
mod element;
mod fill_holes;
mod grow;
mod interpolate_slices;
mod keep_inside;
mod keep_near;
mod keep_slices;
mod keep_touching;
mod largest_component;
mod largest_overlap;
mod margin;
mod opening;
mod parts;
mod reconstruct;
mod remove_background;
mod remove_inside;
mod remove_near;
mod remove_small;
mod ring;
mod shrink;
mod smooth;
mod split_left_right;
mod take;
mod threshold;
mod yields_to;

pub use between::{Between, onto, run_between};
pub use parts::parts;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::Array3;

use super::parameter::{Arguments, Parameter};
use super::recipe::Recipe;
use super::restore::Restored;
use super::{InferError, Structure};
use crate::document::{Node, Problems};
use crate::volume::{CompactMask, Mask, Volume, VolumeGeometry};

/// Every post-processing operation, in the order of the reference.
pub static TABLE: &[&Operation] = &[
    &take::ENTRY,
    &boolean::ENTRY,
    &consensus::ENTRY,
    &threshold::ENTRY,
    &largest_component::ENTRY,
    &largest_overlap::ENTRY,
    &remove_small::ENTRY,
    &fill_holes::ENTRY,
    &convex_hull::ENTRY,
    &opening::ENTRY,
    &closing::ENTRY,
    &smooth::ENTRY,
    &grow::ENTRY,
    &shrink::ENTRY,
    &margin::ENTRY,
    &ring::ENTRY,
    &reconstruct::ENTRY,
    &keep_inside::ENTRY,
    &remove_inside::ENTRY,
    &yields_to::ENTRY,
    &remove_background::ENTRY,
    &keep_near::ENTRY,
    &remove_near::ENTRY,
    &keep_touching::ENTRY,
    &keep_slices::ENTRY,
    &drop_end_slices::ENTRY,
    &interpolate_slices::ENTRY,
    &split_left_right::ENTRY,
    &cerr_chewing::ENTRY,
    &cerr_larynx::ENTRY,
    &cerr_constrictor::ENTRY,
];

/// One entry of the table.
pub struct Operation {
    /// The word of `"op"`.
    pub name: &'static str,
    /// What it does, one sentence.
    pub doc: &'static str,
    /// Where the method comes from.
    pub source: &'static str,
    pub parameters: &'static [Parameter],
    /// What is wrong with parameters that are each right: found, expected, cure.
    check: fn(&Arguments) -> Option<[String; 3]>,
    apply: fn(&Arguments, &mut Array3<bool>, &Context<'_>),
}

/// What an operation may look at besides its own mask.
struct Context<'a> {
    /// The grid of all masks and of the image.
    geometry: &'a VolumeGeometry,
    /// The first input as it was handed in, `[slice, row, column]`.
    image: &'a Array3<f32>,
    /// Structures made so far and those handed in.
    structures: &'a BTreeMap<String, Mask>,
    labels: &'a Restored,
}

impl Context<'_> {
    /// The voxels of a structure or label. Names are checked when the recipe is parsed.
    fn mask(&self, name: &str) -> Cow<'_, Array3<bool>> {
        match self.structures.get(name) {
            Some(mask) => Cow::Borrowed(&mask.voxels),
            None => {
                Cow::Owned(self.labels.mask(name).unwrap_or_else(|| Array3::from_elem(self.geometry.shape(), false)))
            }
        }
    }

    /// The union of structures or labels.
    fn union(&self, names: &[String]) -> Cow<'_, Array3<bool>> {
        if let [only] = names {
            return self.mask(only);
        }
        let mut union = Array3::from_elem(self.geometry.shape(), false);
        for name in names {
            match self.structures.get(name) {
                Some(mask) => ndarray::Zip::from(&mut union).and(&mask.voxels).par_for_each(|u, m| *u |= *m),
                None => self.labels.add_to(name, &mut union),
            }
        }
        Cow::Owned(union)
    }
}

/// What every operation may carry besides its own parameters. CERR calls it `operator`.
const COMBINE: [(&str, Combine); 3] =
    [("replace", Combine::Replace), ("union", Combine::Union), ("intersection", Combine::Intersection)];

/// How the result of an operation goes together with the mask before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Combine {
    Replace,
    Union,
    Intersection,
}

/// What the reference says of all operations.
pub(super) const REFERENCE: &str = "## Operations one after another\n\nEach operation works on the mask that the one before it left, and its result replaces it. With \
    `\"combine\": \"union\"` or `\"intersection\"` (default `\"replace\"`), which every operation may carry, the result is \
    combined with the mask before it, as CERR's `operator` does.\n";

/// One operation with its checked parameters.
#[derive(Clone)]
pub struct Step {
    operation: &'static Operation,
    arguments: Arguments,
    combine: Combine,
}

impl Step {
    /// Parses `{"op": "opening", ...}`; `known` are the names of the structures that exist here.
    pub(super) fn parse(node: &Node, known: &[&str], problems: &mut Problems) -> Option<Step> {
        let mut fields = node.object(problems)?;
        let choices: Vec<(&str, &'static Operation)> = TABLE.iter().map(|entry| (entry.name, *entry)).collect();
        let operation = fields.required("op", problems).and_then(|op| op.choice(&choices, problems))?;
        let before = problems.count();
        let arguments = Arguments::parse(operation.parameters, &mut fields, known, problems);
        let combine = fields.optional("combine").map_or(Some(Combine::Replace), |node| node.choice(&COMBINE, problems));
        fields.finish(problems);
        if problems.count() > before {
            return None;
        }
        if let Some([found, expected, cure]) = (operation.check)(&arguments) {
            problems.add_with_cure(node, found, expected, cure);
            return None;
        }
        Some(Step { operation, arguments, combine: combine? })
    }

    /// Changes the mask.
    fn apply(&self, mask: &mut Array3<bool>, context: &Context<'_>) {
        let before = (self.combine != Combine::Replace).then(|| mask.clone());
        (self.operation.apply)(&self.arguments, mask, context);
        let Some(before) = before else { return };
        let union = self.combine == Combine::Union;
        ndarray::Zip::from(mask)
            .and(&before)
            .par_for_each(|mask, before| *mask = if union { *mask || *before } else { *mask && *before });
    }
}

/// For operations whose parameters cannot contradict each other.
fn always_consistent(_: &Arguments) -> Option<[String; 3]> {
    None
}

/// Makes the structures of a recipe, in its order, and returns those that it delivers.
pub(super) fn run(
    recipe: &Recipe,
    source: &Volume,
    mut structures: BTreeMap<String, Mask>,
    labels: Restored,
    progress: &mut dyn FnMut(&str, f32),
) -> Result<Vec<Structure>, InferError> {
    let geometry = &source.geometry;
    let mut reasons: BTreeMap<&str, String> = BTreeMap::new();
    for (name, steps) in &recipe.post {
        let stage = format!("post {name}");
        let mut voxels = Context { geometry, image: &source.pixels, structures: &structures, labels: &labels }
            .mask(name)
            .into_owned();
        for (index, step) in steps.iter().enumerate() {
            progress(&stage, index as f32 / steps.len() as f32);
            let context = Context { geometry, image: &source.pixels, structures: &structures, labels: &labels };
            let had = step.operation.name != "take" && voxels.iter().any(|inside| *inside);
            step.apply(&mut voxels, &context);
            if step.operation.name == "take" && !voxels.iter().any(|inside| *inside) {
                let of = step.arguments.names("of").iter();
                let why =
                    of.filter_map(|source| reasons.get(source.as_str()).map(|why| format!("{source}: {why}"))).next();
                reasons.extend(why.map(|why| (name.as_str(), why)));
            }
            if had && !voxels.iter().any(|inside| *inside) {
                let operation = step.operation.name;
                reasons.insert(name, format!("nothing is left after {operation} ({})", step.arguments));
            }
        }
        progress(&stage, 1.0);
        structures.insert(name.clone(), Mask::new(Arc::clone(geometry), voxels));
    }
    let mut delivered = Vec::with_capacity(recipe.structures.len());
    for label in &recipe.structures {
        let mask = match structures.get(label) {
            Some(mask) => CompactMask::of(Arc::clone(geometry), &mask.voxels),
            None => {
                let voxels = labels.mask(label).unwrap_or_else(|| Array3::from_elem(geometry.shape(), false));
                CompactMask::of(Arc::clone(geometry), &voxels)
            }
        };
        let reason = mask.is_empty().then(|| {
            reasons
                .get(label.as_str())
                .cloned()
                .unwrap_or_else(|| "the model found none of it in this image".to_owned())
        });
        delivered.push(Structure { label: label.clone(), mask, reason });
    }
    Ok(delivered)
}

#[cfg(test)]
mod tests;
