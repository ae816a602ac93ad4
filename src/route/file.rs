//! What can be said of an image that is no DICOM series: its modality and its geometry. It has no header, so whatever a
//! pipeline asks of one is told as not asked, and neither holds nor fails.

use dicom_core::{DataElement, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::attribute::{holds, values};
use super::evaluate::stack;
use super::view::of_geometry;
use crate::pipeline::{Group, Input, PathTag, Predicate, Test, Wants};
use crate::volume::VolumeGeometry;

/// What a slot says of an image from a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileVerdict {
    /// Why it does not fill the slot; empty when it does.
    pub refusals: Vec<String>,
    /// Conditions on headers, which were not asked.
    pub not_asked: Vec<String>,
}

/// Whether the predicate of a slot lets an image of this modality pass, as far as its modality decides.
pub fn may_take(input: &Input, modality: &str) -> bool {
    decided(&input.predicate, &header(modality)) != Some(false)
}

/// Asks a slot for an image of a file.
pub fn of_file(input: &Input, modality: &str, geometry: &VolumeGeometry) -> FileVerdict {
    let mut verdict = FileVerdict::default();
    if !may_take(input, modality) {
        verdict.refusals.push(format!("the input {} does not take the modality {modality}", input.name));
    }
    let mut tests = Vec::new();
    leaves(&input.predicate, &mut tests);
    let unknown = tests.into_iter().filter(|test| !is_modality(test));
    verdict.not_asked = unknown.map(|test| format!("{} {}", test.tag, test.comparison.describe())).collect();
    if let Wants::Image { slices, geometry: condition, .. } = &input.wants {
        let path = format!("inputs.{}", input.name);
        let traces = stack(&of_geometry(geometry), slices, condition, &path);
        verdict.refusals.extend(traces.iter().flat_map(|trace| trace.reasons()));
    }
    verdict
}

fn header(modality: &str) -> InMemDicomObject {
    InMemDicomObject::from_element_iter([DataElement::new(tags::MODALITY, VR::CS, modality)])
}

fn is_modality(test: &Test) -> bool {
    matches!(test.tag.tags(), [PathTag::Standard(tag)] if *tag == tags::MODALITY)
}

/// Whether the predicate holds; none where that is up to attributes that are not there.
fn decided(predicate: &Predicate, header: &InMemDicomObject) -> Option<bool> {
    let (group, of) = match predicate {
        Predicate::Test(test) => {
            let holds = || holds(&values(header, &test.tag), test.tag.kind(), &test.comparison, test.which);
            return is_modality(test).then(holds);
        }
        Predicate::Group { group, of, .. } => (group, of.iter().map(|child| decided(child, header))),
    };
    let found: Vec<Option<bool>> = of.collect();
    let any = |wanted: bool| found.contains(&Some(wanted));
    let every = |wanted: bool| found.iter().all(|held| *held == Some(wanted));
    let (settled, otherwise) = match group {
        Group::All => (any(false).then_some(false), every(true).then_some(true)),
        Group::Any => (any(true).then_some(true), every(false).then_some(false)),
        Group::None => (any(true).then_some(false), every(false).then_some(true)),
    };
    settled.or(otherwise)
}

fn leaves<'a>(predicate: &'a Predicate, tests: &mut Vec<&'a Test>) {
    match predicate {
        Predicate::Test(test) => tests.push(test),
        Predicate::Group { of, .. } => of.iter().for_each(|child| leaves(child, tests)),
    }
}
