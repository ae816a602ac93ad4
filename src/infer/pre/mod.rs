//! The table of pre-processing operations, from image to network input; each file of this folder is one of them.
//!
//! To add one: write a file with a `pub(super) const ENTRY`, and name it in [`TABLE`].

mod clip;
mod crop;
mod normalise;
mod pad;
mod resample;
mod window;

use std::collections::BTreeMap;

use super::InferError;
use super::parameter::{Arguments, Parameter};
use crate::document::{Node, Problems};
use crate::volume::{Mask, Volume};

/// Every pre-processing operation, in the order of the reference.
pub static TABLE: &[&Operation] =
    &[&clip::ENTRY, &window::ENTRY, &normalise::ENTRY, &resample::ENTRY, &crop::ENTRY, &pad::ENTRY];

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
    apply: fn(&Arguments, Volume, &BTreeMap<String, Mask>) -> Result<Volume, String>,
}

/// One operation with its checked parameters.
#[derive(Clone)]
pub struct Step {
    operation: &'static Operation,
    arguments: Arguments,
}

impl Step {
    /// Parses `{"op": "clip", ...}`; `structures` are the names of masks that are handed in.
    pub(super) fn parse(node: &Node, structures: &[&str], problems: &mut Problems) -> Option<Step> {
        let mut fields = node.object(problems)?;
        let choices: Vec<(&str, &'static Operation)> = TABLE.iter().map(|entry| (entry.name, *entry)).collect();
        let operation = fields.required("op", problems).and_then(|op| op.choice(&choices, problems))?;
        let before = problems.count();
        let arguments = Arguments::parse(operation.parameters, &mut fields, structures, problems);
        fields.finish(problems);
        if problems.count() > before {
            return None;
        }
        if let Some([found, expected, cure]) = (operation.check)(&arguments) {
            problems.add_with_cure(node, found, expected, cure);
            return None;
        }
        Some(Step { operation, arguments })
    }

    /// Applies it. `structures` may lie on any grid.
    pub(super) fn apply(&self, volume: Volume, structures: &BTreeMap<String, Mask>) -> Result<Volume, InferError> {
        (self.operation.apply)(&self.arguments, volume, structures)
            .map_err(|reason| InferError::Operation { name: self.operation.name, reason })
    }
}

/// For operations whose parameters cannot contradict each other.
fn always_consistent(_: &Arguments) -> Option<[String; 3]> {
    None
}

/// Shared check: `low` below `high`.
pub(in crate::infer) fn low_below_high(arguments: &Arguments) -> Option<[String; 3]> {
    let (low, high) = (arguments.number("low"), arguments.number("high"));
    (low >= high).then(|| {
        [format!("low {low}"), format!("less than high ({high})"), "swap them, lower low or raise high".to_owned()]
    })
}

#[cfg(test)]
mod tests;
