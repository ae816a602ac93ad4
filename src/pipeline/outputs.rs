//! What is made of a result besides the structure set, and which peer gets what; it writes none of it.

use super::definition::{Output, parse_short_text};
use super::steps::{ArtefactRef, Step};
use super::structure_set::STAMP;
use crate::document::{Node, Problems};
use crate::limits::SERIES_DESCRIPTION_LENGTH_MAX;
use crate::output::{capture, derived, document, registration, rtstruct, seg, sr};

/// Kinds of outputs, in the words of a pipeline.
pub const OUTPUT_KINDS: [&str; 7] =
    ["rtstruct", "seg", "registration", "derived_image", "sr", "pdf", "secondary_capture"];

impl Output {
    /// The SOP class of its objects, which a destination has to accept.
    pub fn sop_class_uid(&self) -> &'static str {
        match self {
            Output::RtStruct(_) => rtstruct::SOP_CLASS_UID,
            Output::Seg(SegOutput { kind: seg::Kind::Binary, .. }) => seg::SOP_CLASS_UID,
            Output::Seg(SegOutput { kind: seg::Kind::LabelMap, .. }) => seg::LABEL_MAP_SOP_CLASS_UID,
            Output::Registration(_) => registration::SOP_CLASS_UID,
            Output::DerivedImage(image) => image.written_as.sop_class_uid(),
            Output::Sr(_) => sr::SOP_CLASS_UID,
            Output::Pdf(_) => document::SOP_CLASS_UID,
            Output::SecondaryCapture(_) => capture::SOP_CLASS_UID,
        }
    }
}

/// A DICOM Segmentation of all structures.
#[derive(Clone, Debug, PartialEq)]
pub struct SegOutput {
    /// Content Label (0070,0080): 1 to 16 characters.
    pub label: String,
    pub kind: seg::Kind,
}

/// A DICOM Deformable Spatial Registration.
#[derive(Clone, Debug)]
pub struct RegistrationOutput {
    /// The deformation of a model.
    pub of: ArtefactRef,
    /// The input of images that the displacements lead to.
    pub moving: String,
}

/// An image that a model makes, as DICOM.
#[derive(Clone, Debug)]
pub struct DerivedOutput {
    pub of: ArtefactRef,
    pub written_as: derived::As,
    /// Series Description, at most 64 characters; none for what the pipeline is called.
    pub description: Option<String>,
}

/// What people and archives read: a report of measurements, or the page of the run as PDF or as pictures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DocumentOutput {
    /// Series Description before its stamp; none for what the pipeline is called.
    pub description: Option<String>,
}

/// Longest description of a document's series: the stamp stands behind it.
pub const DOCUMENT_DESCRIPTION_LENGTH_MAX: usize = SERIES_DESCRIPTION_LENGTH_MAX - STAMP.len();

impl DocumentOutput {
    /// Series Description; `what` says what the pipeline made where the file says nothing.
    pub fn series_description(&self, pipeline: &str, what: &str) -> String {
        let usual = || format!("contourd {pipeline} {what}");
        let text = self.description.clone().unwrap_or_else(usual);
        let cut: String = text.chars().take(DOCUMENT_DESCRIPTION_LENGTH_MAX).collect();
        format!("{}{STAMP}", cut.trim_end())
    }
}

pub(super) fn parse_document(node: &Node, problems: &mut Problems) -> Option<DocumentOutput> {
    let mut fields = node.object(problems)?;
    let description = fields
        .optional("description")
        .and_then(|text| parse_short_text(text, DOCUMENT_DESCRIPTION_LENGTH_MAX, problems));
    fields.finish(problems);
    Some(DocumentOutput { description })
}

pub(super) fn parse_seg(node: &Node, problems: &mut Problems) -> Option<SegOutput> {
    let mut fields = node.object(problems)?;
    let label = fields.required("label", problems).and_then(|label| parse_short_text(label, 16, problems));
    let kind = fields.optional("kind").map_or(Some(seg::Kind::Binary), |kind| kind.choice(&seg::Kind::ALL, problems));
    fields.finish(problems);
    Some(SegOutput { label: label?, kind: kind? })
}

/// `images` are the inputs of images besides the primary one.
pub(super) fn parse_registration(
    node: &Node,
    steps: &[Step],
    images: &[&str],
    problems: &mut Problems,
) -> Option<RegistrationOutput> {
    let mut fields = node.object(problems)?;
    let of = fields.required("of", problems).and_then(|of| parse_of(of, steps, problems));
    let moving = fields.required("moving", problems).and_then(|moving| {
        let name = moving.text(problems)?;
        if !images.contains(&name) {
            let expected = format!("an input of images that is not the primary one: {}", images.join(", "));
            problems.add(moving, format!("{name:?}"), expected);
            return None;
        }
        Some(name.to_owned())
    });
    fields.finish(problems);
    Some(RegistrationOutput { of: of?, moving: moving? })
}

pub(super) fn parse_derived(node: &Node, steps: &[Step], problems: &mut Problems) -> Option<DerivedOutput> {
    let mut fields = node.object(problems)?;
    let of = fields.required("of", problems).and_then(|of| parse_of(of, steps, problems));
    let written_as =
        fields.optional("as").map_or(Some(derived::As::default()), |kind| kind.choice(&derived::As::ALL, problems));
    let description = fields.optional("description").and_then(|text| parse_short_text(text, 64, problems));
    fields.finish(problems);
    Some(DerivedOutput { of: of?, written_as: written_as?, description })
}

/// An image of a step. That the model makes it is checked where models are known.
fn parse_of(node: &Node, steps: &[Step], problems: &mut Problems) -> Option<ArtefactRef> {
    let of = ArtefactRef::parse(node.text(problems)?, node, problems)?;
    let ids: Vec<&str> = steps.iter().map(|step| step.id.as_str()).collect();
    if !ids.contains(&of.step.as_str()) {
        problems.add(node, format!("the step {:?}", of.step), format!("one of the steps {}", ids.join(", ")));
        return None;
    }
    Some(of)
}
