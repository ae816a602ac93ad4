//! The table of pre-processing operations, from image to network input; each file of this folder is one of them.
//!
//! To add one: write a file with a `pub(super) const ENTRY`, and name it in [`TABLE`].

mod clip;
mod crop;
mod curvature_flow;
mod fit;
mod gabor;
mod gaussian;
mod gradient;
mod histogram_clip;
mod histogram_match;
mod invert;
mod laplacian_recursive_gaussian;
mod laws;
mod laws_energy;
mod log;
mod mask_by;
mod mean;
mod measured;
mod median;
mod multiply;
mod n4;
mod neighbourhood;
mod normalise;
mod offset;
mod pad;
mod quantise;
mod resample;
mod resize;
mod scale_percentiles;
mod scale_range;
mod set_outside;
mod sobel;
mod to_integer;
mod unit_scale;
mod wavelet;
mod window;

pub use measured::Moments;

use super::InferError;
use super::frame::Prepared;
use super::parameter::{Arguments, Parameter};
use super::region::Surroundings;
use crate::document::{Node, Problems};

/// Every pre-processing operation, in the order of the reference.
pub static TABLE: &[&Operation] = &[
    &resample::ENTRY,
    &crop::ENTRY,
    &pad::ENTRY,
    &fit::ENTRY,
    &resize::PAD_TO,
    &resize::CROP_TO,
    &resize::PAD_OR_CROP,
    &resize::WINDOW_2D,
    &resize::RESIZE,
    &resize::PAD_SLICES,
    &resize::CROP_SLICES,
    &offset::ENTRY,
    &multiply::ENTRY,
    &unit_scale::ENTRY,
    &clip::ENTRY,
    &window::ENTRY,
    &normalise::ENTRY,
    &scale_range::ENTRY,
    &scale_percentiles::ENTRY,
    &quantise::ENTRY,
    &to_integer::ENTRY,
    &invert::ENTRY,
    &histogram_clip::ENTRY,
    &histogram_match::ENTRY,
    &set_outside::ENTRY,
    &mask_by::ENTRY,
    &n4::ENTRY,
    &curvature_flow::ENTRY,
    &mean::ENTRY,
    &gaussian::ENTRY,
    &median::ENTRY,
    &gradient::ENTRY,
    &sobel::ENTRY,
    &log::ENTRY,
    &laplacian_recursive_gaussian::ENTRY,
    &gabor::ENTRY,
    &laws::ENTRY,
    &laws_energy::ENTRY,
    &wavelet::ENTRY,
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
    apply: Apply,
}

/// An operation at work: it takes an image as far as it is prepared and returns it one step further.
type Apply = for<'a> fn(&Arguments, Prepared<'a>, &Surroundings<'_>) -> Result<Prepared<'a>, InferError>;

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

    /// Applies it. Structures of the surroundings may lie on any grid.
    pub(super) fn apply<'a>(
        &self,
        image: Prepared<'a>,
        surroundings: &Surroundings<'_>,
    ) -> Result<Prepared<'a>, InferError> {
        (self.operation.apply)(&self.arguments, image, surroundings)
    }

    /// Whether it measures all images that come with the same operation.
    pub(in crate::infer) fn is_together(&self) -> bool {
        self.operation.name == normalise::ENTRY.name && self.arguments.flag("together")
    }

    /// What it measures of one image.
    pub(super) fn moments(&self, image: &Prepared<'_>) -> Result<Moments, InferError> {
        measured::moments(image, measured::On::of(&self.arguments)).map_err(failed(self.operation.name))
    }

    /// Names that it gives to regions.
    pub(super) fn saved_names(&self) -> Vec<&str> {
        self.arguments.saved_names()
    }
}

/// An error of an operation, with its name.
pub(super) fn failed(name: &'static str) -> impl FnOnce(String) -> InferError {
    move |reason| InferError::Operation { name, reason }
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
