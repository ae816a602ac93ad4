//! Pipelines: which series are segmented, by which models, and where the results go; it knows no files and no peers.
//!
//! A pipeline file is parsed into a [`Pipeline`] in one step; there is no half-checked form. References to models and
//! peers are kept with their place ([`Reference`]) and resolved when all files are read.

mod comparison;
mod completeness;
mod definition;
mod deliver;
mod fetch;
pub mod import;
mod inputs;
mod model;
mod outputs;
mod predicate;
mod steps;
mod structure_set;
mod tag_path;
mod template;
#[cfg(test)]
mod tests;

pub use comparison::{Comparison, OPERATORS, Operand, Operator, ValueKind};
pub use completeness::{Completeness, CompletenessOverride, OnTimeout};
pub use definition::{Mode, Output, Pipeline, Reference, StructureRule, When, parse_id};
pub use deliver::{After, Deliver, SENDER};
pub use fetch::{FETCH_AFTER_S, FETCH_SERIES, Fetch, FromStudy, is_modality};
pub use inputs::{
    AliasRule, By, Frame, GeometryCondition, Input, Orientation, Pick, Picking, Same, SliceCount, Unit, Volumes, Wants,
};
pub use model::{Algorithm, Model};
pub use outputs::{
    DOCUMENT_DESCRIPTION_LENGTH_MAX, DerivedOutput, DocumentOutput, OUTPUT_KINDS, RegistrationOutput, SegOutput,
};
pub use predicate::{Every, Group, Predicate, Test, Which};
pub use steps::{Action, ArtefactRef, OnFailure, Step};
pub use structure_set::{RtStructOutput, STAMP};
pub use tag_path::{PathTag, TagPath, TagPathError};
pub use template::{Facts, Template, WORDS};
