//! The table of regions that a crop keeps; each file of this folder is one of them. A region is a mask on the image.
//!
//! To add one: write a file with a `pub(super) const ENTRY`, and name it in [`TABLE`].

mod center;
mod center_of_mass;
mod chewing_structures;
pub(super) mod extent;
mod fixed_box;
pub(super) mod head_first;
mod larynx;
mod nonzero;
mod pancreas;
mod patient_outline;
mod shoulders;
mod sources;
mod structure;
mod structure_center;
mod superior_inferior;
mod threshold;

use std::collections::BTreeMap;

use ndarray::{Array3, Zip};

use super::InferError;
use super::frame::Prepared;
use super::parameter::{Arguments, Parameter};
use crate::document::{Node, Problems};
use crate::infer::pre::Moments;
use crate::volume::{Mask, Volume};

/// Every region, in the order of the reference.
pub static TABLE: &[&Entry] = &[
    &structure::VOLUME,
    &structure::PER_SLICE,
    &fixed_box::ENTRY,
    &center::ENTRY,
    &structure_center::ENTRY,
    &center_of_mass::ENTRY,
    &patient_outline::VOLUME,
    &patient_outline::PER_SLICE,
    &shoulders::ENTRY,
    &superior_inferior::ENTRY,
    &chewing_structures::ENTRY,
    &larynx::LARYNX,
    &larynx::CONSTRICTOR,
    &pancreas::ENTRY,
    &nonzero::ENTRY,
    &threshold::ENTRY,
];

/// One entry of the table.
pub struct Entry {
    /// The word of `"region"`.
    pub name: &'static str,
    /// Which voxels it holds, one sentence.
    pub doc: &'static str,
    /// Where the method comes from.
    pub source: &'static str,
    pub parameters: &'static [Parameter],
    /// The box is taken for each slice on its own.
    pub per_slice: bool,
    /// A structure or region that has the name of its `save_as` already is taken as it is, and not made again.
    pub reuses: bool,
    /// What is wrong with parameters that are each right: found, expected, cure.
    pub check: fn(&Arguments) -> Option<[String; 3]>,
    /// The mask on the array of the image.
    pub mask: fn(&Arguments, &Prepared<'_>, &Given<'_>) -> Result<Array3<bool>, String>,
}

/// What an operation may look at besides its own image.
pub struct Surroundings<'a> {
    /// Structures handed in and regions saved before, on any grid. An optional one that is missing is not here.
    pub structures: &'a BTreeMap<String, Mask>,
    /// All images of the model as they were handed in, by input.
    pub images: &'a BTreeMap<String, Volume>,
    /// What all images that measure together have, for the operation that does.
    pub pooled: Option<Moments>,
}

/// What a region may look at besides its own image.
pub struct Given<'a> {
    pub surroundings: &'a Surroundings<'a>,
    /// Regions kept by those before it in the same operation, and by operations before.
    pub saved: &'a [(String, Mask)],
}

impl Given<'_> {
    /// The region that was kept last under a name, else the structure of that name.
    fn structure(&self, name: &str) -> Option<&Mask> {
        let saved = self.saved.iter().rev().find(|(saved, _)| saved == name).map(|(_, mask)| mask);
        saved.or_else(|| self.surroundings.structures.get(name))
    }
}

/// How a region is joined to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Combine {
    Union,
    Intersection,
    Latest,
}

/// One region with its checked parameters.
#[derive(Clone)]
pub struct Region {
    entry: &'static Entry,
    arguments: Arguments,
    combine: Combine,
}

impl PartialEq for Region {
    fn eq(&self, other: &Region) -> bool {
        self.entry.name == other.entry.name && self.arguments == other.arguments && self.combine == other.combine
    }
}

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.entry.name, self.arguments)
    }
}

impl Region {
    /// Parses `{"region": "structure", ..., "combine": "union"}`.
    fn parse(node: &Node, structures: &[&str], problems: &mut Problems) -> Option<Region> {
        let mut fields = node.object(problems)?;
        let choices: Vec<(&str, &'static Entry)> = TABLE.iter().map(|entry| (entry.name, *entry)).collect();
        let entry = fields.required("region", problems).and_then(|word| word.choice(&choices, problems))?;
        let before = problems.count();
        let words = [("union", Combine::Union), ("intersection", Combine::Intersection), ("latest", Combine::Latest)];
        let combine = fields.optional("combine").map_or(Some(Combine::Latest), |node| node.choice(&words, problems));
        let arguments = Arguments::parse(entry.parameters, &mut fields, structures, problems);
        fields.finish(problems);
        if problems.count() > before {
            return None;
        }
        if let Some([found, expected, cure]) = (entry.check)(&arguments) {
            problems.add_with_cure(node, found, expected, cure);
            return None;
        }
        Some(Region { entry, arguments, combine: combine? })
    }

    /// Its mask on the array of an image; kept in `saved` where it was given a name that is not there yet.
    fn mask(
        &self,
        prepared: &Prepared<'_>,
        surroundings: &Surroundings<'_>,
        saved: &mut Vec<(String, Mask)>,
    ) -> Result<Array3<bool>, InferError> {
        let failed = |reason| InferError::Operation { name: self.entry.name, reason };
        let given = Given { surroundings, saved };
        let name = self.saved_names().first().copied();
        if let Some(before) = name.filter(|_| self.entry.reuses).and_then(|name| given.structure(name)) {
            return Ok(prepared.frame.bring(before));
        }
        let mask = (self.entry.mask)(&self.arguments, prepared, &given).map_err(failed)?;
        if let Some(name) = name {
            prepared.need_grid().map_err(failed)?;
            saved.push((name.to_owned(), Mask::new(prepared.frame.geometry.clone(), mask.clone())));
        }
        Ok(mask)
    }

    /// Names that it gives to regions.
    pub(super) fn saved_names(&self) -> Vec<&str> {
        self.arguments.saved_names()
    }
}

/// Parses a list of regions, at least one.
pub(super) fn parse_list(node: &Node, structures: &[&str], problems: &mut Problems) -> Option<Vec<Region>> {
    let items = node.array(problems)?;
    if items.is_empty() {
        problems.add(node, "an empty list", "at least one region");
        return None;
    }
    let mut known: Vec<String> = structures.iter().map(|name| (*name).to_owned()).collect();
    let mut regions = Vec::with_capacity(items.len());
    for item in items {
        let names: Vec<&str> = known.iter().map(String::as_str).collect();
        let region = Region::parse(item, &names, problems);
        // What a region saves is known to those after it.
        known.extend(region.iter().flat_map(Region::saved_names).map(str::to_owned));
        regions.push(region);
    }
    regions.into_iter().collect()
}

/// The regions joined from left to right: each is united with, cut with, or takes the place of what stands before it
/// (CERR folds its crop list so). The second value says whether boxes are taken for each slice on its own; regions that
/// were to be kept under a name are added to `saved`, each as it is before it is joined.
///
/// # Errors
/// Why a region cannot be found in this image.
pub(super) fn joined(
    regions: &[Region],
    prepared: &Prepared<'_>,
    surroundings: &Surroundings<'_>,
    saved: &mut Vec<(String, Mask)>,
) -> Result<(Array3<bool>, bool), InferError> {
    let mut joined: Option<Array3<bool>> = None;
    for region in regions {
        let mut mask = region.mask(prepared, surroundings, saved)?;
        if let Some(before) = &joined {
            match region.combine {
                Combine::Union => Zip::from(&mut mask).and(before).par_for_each(|m, b| *m |= *b),
                Combine::Intersection => Zip::from(&mut mask).and(before).par_for_each(|m, b| *m &= *b),
                Combine::Latest => {}
            }
        }
        joined = Some(mask);
    }
    let mask = joined.unwrap_or_else(|| Array3::from_elem(prepared.frame.shape(), true));
    Ok((mask, regions.iter().any(|region| region.entry.per_slice)))
}

/// For regions whose parameters cannot contradict each other.
pub(super) fn always_consistent(_: &Arguments) -> Option<[String; 3]> {
    None
}

#[cfg(test)]
mod tests;
