//! From images to masks: pre-processing, a network over a sliding window, post-processing; it knows no network library.
//!
//! Pre- and post-processing operations are tables of one-file entries ([`pre::TABLE`], [`post::TABLE`]), from which
//! their parsing and their reference ([`reference()`]) come. Masks lie on the grid of the first input, as it was handed
//! in: what pre-processing did to the grid is undone by geometry, not by inverse operations.

mod axes;
mod cascade;
mod filter;
mod frame;
mod grid;
mod outline;
mod parameter;
mod part;
pub mod post;
pub mod pre;
mod recipe;
pub mod region;
mod restore;
mod stage;
mod together;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::{ArrayD, ArrayViewD};
use thiserror::Error;

pub use grid::Method;
pub use parameter::{Arguments, Kind, Parameter};
pub use recipe::reference as recipe_reference;
pub use recipe::{Layout, NetworkFile, Recipe, StructureIn, Tensor};
pub use window::check_shapes;

use crate::volume::{CompactMask, Mask, Volume};

/// Why a model gave no result. None of these names a patient.
#[derive(Debug, Error)]
pub enum InferError {
    /// The caller left an input out.
    #[error("found no input {name:?}, expected one; the pipeline step must name an image for it under \"in\"")]
    MissingInput { name: String },
    /// The caller left a structure out.
    #[error("found no input structure {name:?}, expected one; the pipeline step must name it under \"in\"")]
    MissingStructure { name: String },
    /// An operation cannot be applied to this image.
    #[error("operation {name}: {reason}")]
    Operation { name: &'static str, reason: String },
    /// The graph does not fit its `model.json`.
    #[error("the network's {side}: found shape {found}, expected {expected}; {cure}")]
    Shape { side: &'static str, found: String, expected: String, cure: String },
    /// The images of a model do not lie array on array.
    #[error(
        "input {name:?}: found {found} voxels, expected {expected} as of the first input; make its pre-processing end at one size, or set its \"place\" to \"resample\""
    )]
    Sizes { name: String, found: String, expected: String },
    /// The network gave NaN or infinity.
    #[error(
        "found values that are not finite numbers in the network's output, expected numbers; check its weights, its number type and the range of its input"
    )]
    NotNumbers,
    /// Blending would need more memory than allowed.
    #[error(
        "found a window that needs {needed_mib} MiB, expected at most {allowed_mib} MiB; make window.patch smaller, or set window.precision to \"single\" where several networks are blended in half"
    )]
    Memory { needed_mib: usize, allowed_mib: usize },
    /// The network library failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// Why a network did not run: what its library said.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct NetworkError(pub String);

/// A loaded network. Shapes are those of the graph, in its own axis order; `None` where a side is free.
pub trait Network {
    /// Shape of the input that is used.
    fn input_shape(&self) -> &[Option<usize>];
    /// Shape of the labels' output; empty when the graph does not tell.
    fn output_shape(&self) -> &[Option<usize>];
    /// One forward pass: the outputs that the recipe asks for ([`Recipe::outputs_of`]), in that order.
    ///
    /// # Errors
    /// [`NetworkError`] with what the library said.
    fn run(&mut self, input: ArrayViewD<'_, f32>) -> Result<Vec<Box<dyn Values>>, NetworkError>;
}

/// What a network gave, wherever its library keeps it: an output of many classes is the largest array of all.
pub trait Values {
    /// In the axis order of the network.
    fn view(&self) -> ArrayViewD<'_, f32>;
}

impl Values for ArrayD<f32> {
    fn view(&self) -> ArrayViewD<'_, f32> {
        (**self).view()
    }
}

/// One delivered structure, on the grid of the first input.
#[derive(Clone)]
pub struct Structure {
    /// The name in the model's `structures`.
    pub label: String,
    pub mask: CompactMask,
    /// Why it is empty, when it is: the operation that left nothing, in words for the operator.
    pub reason: Option<String>,
}

/// An image that a model gives besides structures, on the grid of the first input.
#[derive(Clone)]
pub struct DerivedImage {
    /// The name in the model's `images`.
    pub name: String,
    pub kind: DerivedKind,
}

/// What a derived image holds.
#[derive(Clone)]
pub enum DerivedKind {
    Image(Volume),
    /// Displacement in patient mm along +x, +y and +z (LPS) at each voxel.
    Deformation([Volume; 3]),
}

/// What a model gives.
pub struct Outcome {
    pub structures: Vec<Structure>,
    pub images: Vec<DerivedImage>,
}

/// Runs a model: `inputs` are images by slot name, `structures` masks of earlier steps by name (on any grid), `networks`
/// those of [`Recipe::networks`] in that order. `progress` is told the stage (`pre`, `network`, `post NAME`) and how much
/// of it is done, 0 to 1.
///
/// # Errors
/// [`InferError`]; shapes are checked before any pixel work.
pub fn run(
    recipe: &Recipe,
    inputs: &BTreeMap<String, Volume>,
    structures: &BTreeMap<String, Mask>,
    networks: &mut [&mut dyn Network],
    progress: &mut dyn FnMut(&str, f32),
) -> Result<Outcome, InferError> {
    for (index, network) in networks.iter().enumerate() {
        window::check_shapes(recipe, index, *network)?;
    }
    let needed = recipe.structures_in.iter().find(|one| !one.optional && !structures.contains_key(&one.name));
    if let Some(needed) = needed {
        return Err(InferError::MissingStructure { name: needed.name.clone() });
    }
    let first = &recipe.stage.inputs[0].name;
    let source = inputs.get(first).ok_or_else(|| InferError::MissingInput { name: first.clone() })?;
    let stage::Outputs { restored, saved, images } = stage::run(recipe, inputs, structures, networks, progress)?;
    let given = structures.iter().chain(saved.iter().map(|(name, mask)| (name, mask)));
    let given = given.map(|(name, mask)| (name.clone(), on_grid(mask, &source.geometry))).collect();
    let structures = post::run(recipe, source, given, restored, progress)?;
    Ok(Outcome { structures, images })
}

/// A mask brought onto another grid: linear, then at least a half.
fn on_grid(mask: &Mask, geometry: &Arc<crate::volume::VolumeGeometry>) -> Mask {
    if mask.geometry == *geometry {
        return mask.clone();
    }
    let soft = Volume::new(Arc::clone(&mask.geometry), mask.voxels.mapv(f32::from));
    let brought = grid::bring_onto(&soft, geometry, Method::Linear, 0.0);
    Mask::new(Arc::clone(geometry), brought.pixels.mapv(|inside| inside >= 0.5))
}

/// The Markdown reference of all operations, from their tables.
pub fn reference() -> String {
    let pre = pre::TABLE.iter().map(|entry| (entry.name, entry.doc, entry.source, entry.parameters));
    let post = post::TABLE.iter().map(|entry| (entry.name, entry.doc, entry.source, entry.parameters));
    let regions = region::TABLE.iter().map(|entry| (entry.name, entry.doc, entry.source, entry.parameters));
    let regions = parameter::reference_of("Regions of `crop`", regions);
    let before = parameter::reference_of("Pre-processing: `inputs.<name>.pre`", pre);
    let after = parameter::reference_of("Post-processing: `post.<structure>`", post);
    format!(
        "# Operations of `model.json`\n\nPrinted from the tables of the program; do not edit.\n\n{before}\n{regions}\n{after}\n{}",
        post::REFERENCE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(table: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
        table.collect()
    }

    #[test]
    fn the_reference_names_every_operation_and_parameter_once() {
        let text = reference();
        let pre = pre::TABLE.iter().map(|entry| (entry.name, entry.parameters));
        let post = post::TABLE.iter().map(|entry| (entry.name, entry.parameters));
        let regions = region::TABLE.iter().map(|entry| (entry.name, entry.parameters));
        for (name, parameters) in pre.chain(post).chain(regions) {
            assert!(text.contains(&format!("\n### `{name}`\n")), "{name}");
            assert!(parameters.iter().all(|parameter| text.contains(&format!("| `{}` | ", parameter.name))), "{name}");
        }
        for table in [
            names(pre::TABLE.iter().map(|e| e.name)),
            names(post::TABLE.iter().map(|e| e.name)),
            names(region::TABLE.iter().map(|e| e.name)),
        ] {
            assert_eq!(table.iter().collect::<std::collections::BTreeSet<_>>().len(), table.len(), "{table:?}");
        }
        let rows = text.lines().filter(|line| line.starts_with("| "));
        assert!(rows.clone().all(|row| row.matches(" | ").count() == 4), "a cell holds a bar");
    }
}
