//! RT Structure Sets (PS3.3 A.19): from contours to a complete Part 10 file, and back from any maker's file.
//!
//! What it holds to:
//! - the same input gives the same bytes and UIDs, so that a repeated delivery is a repetition and not a second object;
//! - attributes of patient and study are taken over byte for byte, with their character set; text of our own is ASCII;
//! - every contour lies on an image plane, names that image, and repeats its position along the normal as it is written
//!   there, because planning systems match planes within 0.01 mm or less;
//! - holes are keyholes in CLOSED_PLANAR, which all readers measured understand (of nested contours some fill the hole,
//!   of CLOSEDPLANAR_XOR some read nothing);
//! - an algorithm made it and nobody has reviewed it: AUTOMATIC, UNAPPROVED, with the algorithm's name and version;
//! - the bytes are read back and compared before they are handed on ([`RtstructError::SelfCheck`]).
//!
//! It is Implicit VR Little Endian: in Explicit VR a contour above 65,534 bytes would need VR UN (PS3.5 6.2.2), at
//! which many readers stop.

mod check;
mod contours;
mod encode;
mod items;
mod mask;
mod patient;
mod read;
mod text;

use dicom_dictionary_std::tags;
use jiff::civil::DateTime;
use thiserror::Error;

use crate::contour::Contour;
use crate::dicom::{Instance, Uid, UidError};
use crate::structure::{Code, NameProblem, NameRules, RoiStyle, Structure};
use crate::volume::VolumeGeometry;
use encode::DataSet;
use items::{equipment_item, observation, structure_set_roi};
pub use read::{ParsedContour, ParsedRoi, ParsedStructureSet, ReadError, read, read_instance};
use text::plain;

/// RT Structure Set Storage (PS3.4 B.5).
pub const SOP_CLASS_UID: &str = "1.2.840.10008.5.1.4.1.1.481.3";

/// Detached Study Management, retired, which PS3.3 C.8.8.5.4 allows as class of the referenced study.
const STUDY_CLASS_UID: &str = "1.2.840.10008.3.1.2.3.1";

/// Everything that makes one RT Structure Set. It borrows images of a patient, so it derives no `Debug`.
pub struct StructureSet<'a> {
    /// All images of the series, in the order of their positions; of multi-frame images there may be only one.
    pub instances: &'a [&'a Instance],
    /// The image (or frame) of each slice of `geometry`, in its order.
    pub slices: &'a [SliceReference],
    /// The grid of the images, on which the contours lie.
    pub geometry: &'a VolumeGeometry,
    pub rois: &'a [Roi],
    /// Structure Set Label, at most 16 characters; planning systems take it as the ID of the structure set.
    pub label: &'a str,
    /// Structure Set Name, at most 64 characters; may be empty.
    pub name: &'a str,
    /// Structure Set Description, at most 1024 characters; may be empty.
    pub description: &'a str,
    pub series_number: u32,
    /// Series Description, at most 64 characters; may be empty.
    pub series_description: &'a str,
    pub provenance: &'a Provenance,
    /// When it was made, in the local time of the site; frozen with the job, so that a repetition has the same bytes.
    pub created: DateTime,
    pub equipment: &'a Equipment,
    pub options: Options,
}

/// The image that a slice comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceReference {
    pub sop_class_uid: Uid,
    pub sop_instance_uid: Uid,
    /// Frame number (1-based) of a multi-frame image; none for an image of one frame.
    pub frame_number: Option<u32>,
}

/// One region of interest.
#[derive(Clone, Debug)]
pub struct Roi {
    pub style: RoiStyle,
    /// What it is by the standards, which gives the codes: [`crate::structure::lookup`] of the name that it had before
    /// a site renamed it.
    pub structure: Option<&'static Structure>,
    /// On the slices of the geometry; empty when nothing was found, which is written as a region without contours.
    pub contours: Vec<Contour>,
    /// Volume of its voxels.
    pub volume_cm3: Option<f64>,
    /// ROI Description: what a reviewer should know (warnings, measures), at most 1024 characters; may be empty.
    pub description: String,
    /// ROI Generation Description: what made it, at most 64 characters; may be empty.
    pub generation_description: String,
    pub algorithm: Algorithm,
}

/// What made a region: the Algorithm Identification Macro (PS3.3 10.16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithm {
    pub family: AlgorithmFamily,
    /// At most 64 characters, never empty.
    pub name: String,
    /// At most 64 characters, never empty.
    pub version: String,
    /// Who made it; may be empty.
    pub source: String,
    /// Digest of the model, thresholds and the like, at most 10240 characters; may be empty.
    pub parameters: String,
}

/// The family of an algorithm (PS3.16 CID 7162).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlgorithmFamily {
    /// A model with trained weights.
    ArtificialIntelligence,
    /// Thresholds and classes of pixel values.
    HistogramAnalysis,
    /// Margins, unions, opening and closing of other structures.
    MorphologicalOperations,
}

impl AlgorithmFamily {
    /// The code of the family.
    pub const fn code(self) -> Code {
        match self {
            AlgorithmFamily::ArtificialIntelligence => Code::new("123110", "DCM", "Artificial Intelligence"),
            AlgorithmFamily::HistogramAnalysis => Code::new("123105", "DCM", "Histogram Analysis"),
            AlgorithmFamily::MorphologicalOperations => Code::new("123104", "DCM", "Morphological Operations"),
        }
    }
}

/// What the UIDs are derived from besides the images. Whatever can change the contours has to be part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    pub pipeline_id: String,
    /// Revision of the pipeline definition; a text that changes whenever the definition does.
    pub pipeline_revision: String,
    /// SHA-256 of every model file, in the order of the steps.
    pub model_digests: Vec<String>,
    pub program_version: String,
}

/// Who we are: General Equipment (PS3.3 C.7.5.1), not the scanner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equipment {
    pub manufacturer: String,
    pub model_name: String,
    pub software_versions: Vec<String>,
    pub station_name: Option<String>,
    pub institution_name: Option<String>,
}

/// What differs between destinations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    pub names: NameRules,
    /// Most points of one contour, if the destination has such a limit. A contour above it is simplified.
    pub points_max: Option<usize>,
    /// How far simplifying may move a contour at most; with 0, a contour above the limit is an error.
    pub tolerance_mm: f64,
    /// Whether each region says by ROI Creator Sequence (3006,004D) that a device made it. It came after 2020;
    /// validators of 2022 and older report it as unknown. The same is said in three older places anyway.
    pub roi_creator: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { names: NameRules::default(), points_max: None, tolerance_mm: 0.0, roi_creator: false }
    }
}

/// Why there is no structure set. None of these goes away by trying again.
#[derive(Debug, Error)]
pub enum RtstructError {
    #[error("the structure set has no structures, expected at least one")]
    Empty,
    #[error("there are no images, expected those of the series")]
    NoInstances,
    #[error(
        "the label is empty, expected 1 to 16 characters of ASCII: planning systems take it as the ID of the structure set"
    )]
    Label,
    #[error(
        "{name} of image {sop_instance_uid} differs from that of the first image, expected one for all of a series"
    )]
    Disagreement { name: &'static str, sop_instance_uid: Uid },
    #[error("the images name no Frame of Reference, without which coordinates mean nothing: {0}")]
    FrameOfReference(#[source] UidError),
    #[error("found {references} references to images for {slices} slices, expected one for each")]
    SliceReferences { references: usize, slices: usize },
    #[error("slice {slice} refers to image {sop_instance_uid}, which is not among the images of the series")]
    UnknownImage { slice: usize, sop_instance_uid: Uid },
    #[error("names of structures: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Names(Vec<NameProblem>),
    #[error("structure {roi}: the name or the version of its algorithm is empty, expected both")]
    Algorithm { roi: String },
    #[error("structure {roi}: found a contour on slice {slice}, expected slices below {slices}")]
    Slice { roi: String, slice: usize, slices: usize },
    #[error("structure {roi}, slice {slice}: found a contour of {points} different points, expected at least 3")]
    TooFewPoints { roi: String, slice: usize, points: usize },
    #[error(
        "structure {roi}, slice {slice}: found a contour of {points} points, expected at most {most}; raise the tolerance of the destination"
    )]
    TooManyPoints { roi: String, slice: usize, points: usize, most: usize },
    #[error("found {points} points in all contours together, expected at most {most}")]
    TooManyPointsInAll { points: usize, most: usize },
    #[error("structure {roi}, slice {slice}: found a point {distance_mm:.4} mm off the plane of its image")]
    OffPlane { roi: String, slice: usize, distance_mm: f64 },
    #[error("structure {roi}, slice {slice}: found a coordinate that is not a number of at most 16 characters")]
    Coordinate { roi: String, slice: usize },
    #[error("the finished structure set does not say what it should: {0}; this is an error of the program, report it")]
    SelfCheck(String),
}

/// Encodes a structure set as a Part 10 file. The same input gives the same bytes.
///
/// # Errors
/// [`RtstructError`] for input that is no structure set, and when the finished bytes do not read back as the input.
pub fn encode(set: &StructureSet<'_>) -> Result<Vec<u8>, RtstructError> {
    check::input(set)?;
    let common = patient::common(set.instances)?;
    let planes = contours::planes(set);
    let contours = set.rois.iter().map(|roi| contours::items(set, roi, &planes)).collect::<Result<Vec<_>, _>>()?;
    let uids = Uids::of(set);
    let mut data = DataSet::default();
    patient::copy(set.instances, &mut data);
    put_series(&mut data, set, &common, &uids);
    put_structure_set(&mut data, set, &common);
    put_rois(&mut data, set, &common, contours);
    let bytes = encode::part10(SOP_CLASS_UID, &uids.sop_instance_uid, &data);
    check::output(set, &common, &uids, &bytes)?;
    Ok(bytes)
}

/// The UIDs of a structure set before it exists: those of [`encode()`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uids {
    pub sop_instance_uid: Uid,
    pub series_instance_uid: Uid,
}

impl Uids {
    /// Derives both from the images (whatever order they came in), the pipeline, its models and the program.
    pub fn of(set: &StructureSet<'_>) -> Uids {
        let from = set.provenance;
        let mut images: Vec<&str> = set.instances.iter().map(|instance| instance.sop_instance_uid.as_str()).collect();
        images.sort_unstable();
        let derive = |what: &'static str| {
            let who = [what, &from.program_version, &from.pipeline_id, &from.pipeline_revision];
            Uid::derived(who.into_iter().chain(from.model_digests.iter().map(String::as_str)).chain(images.clone()))
        };
        Uids {
            sop_instance_uid: derive("contourd rtstruct instance"),
            series_instance_uid: derive("contourd rtstruct series"),
        }
    }
}

/// SOP Common, RT Series, General Equipment, Frame of Reference (PS3.3 C.12.1, C.8.8.1, C.7.5.1, C.7.4.1).
fn put_series(data: &mut DataSet, set: &StructureSet<'_>, common: &patient::Common, uids: &Uids) {
    let (date, time) = date_time(set.created);
    data.uid_text(tags::SOP_CLASS_UID, SOP_CLASS_UID)
        .text(tags::INSTANCE_CREATION_DATE, &date)
        .text(tags::INSTANCE_CREATION_TIME, &time)
        .text(tags::SERIES_DATE, &date)
        .text(tags::SERIES_TIME, &time)
        .text(tags::MODALITY, "RTSTRUCT")
        .text(tags::SERIES_NUMBER, &set.series_number.to_string())
        .text(tags::INSTANCE_NUMBER, "1")
        .text(tags::OPERATORS_NAME, "");
    data.uid(tags::SOP_INSTANCE_UID, &uids.sop_instance_uid)
        .uid(tags::SERIES_INSTANCE_UID, &uids.series_instance_uid)
        .uid(tags::STUDY_INSTANCE_UID, &common.study_instance_uid)
        .uid(tags::FRAME_OF_REFERENCE_UID, &common.frame_of_reference_uid);
    put_if_any(data, tags::SERIES_DESCRIPTION, set.series_description, 64);
    items::put_equipment(data, set.equipment);
    data.sequence(tags::CONTRIBUTING_EQUIPMENT_SEQUENCE, [equipment_item(set)]);
}

/// Structure Set and Approval (PS3.3 C.8.8.5, C.8.8.16).
fn put_structure_set(data: &mut DataSet, set: &StructureSet<'_>, common: &patient::Common) {
    let (date, time) = date_time(set.created);
    data.text(tags::STRUCTURE_SET_LABEL, &plain(set.label, 16))
        .text(tags::STRUCTURE_SET_DATE, &date)
        .text(tags::STRUCTURE_SET_TIME, &time)
        .text(tags::APPROVAL_STATUS, "UNAPPROVED");
    put_if_any(data, tags::STRUCTURE_SET_NAME, set.name, 64);
    put_if_any(data, tags::STRUCTURE_SET_DESCRIPTION, set.description, 1024);
    let images = set
        .instances
        .iter()
        .map(|instance| items::image_reference(&instance.sop_class_uid, &instance.sop_instance_uid, None));
    let mut series = DataSet::default();
    series.uid(tags::SERIES_INSTANCE_UID, &common.series_instance_uid).sequence(tags::CONTOUR_IMAGE_SEQUENCE, images);
    let mut study = DataSet::default();
    study
        .uid_text(tags::REFERENCED_SOP_CLASS_UID, STUDY_CLASS_UID)
        .uid(tags::REFERENCED_SOP_INSTANCE_UID, &common.study_instance_uid)
        .sequence(tags::RT_REFERENCED_SERIES_SEQUENCE, [series]);
    let mut frame = DataSet::default();
    frame
        .uid(tags::FRAME_OF_REFERENCE_UID, &common.frame_of_reference_uid)
        .sequence(tags::RT_REFERENCED_STUDY_SEQUENCE, [study]);
    data.sequence(tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE, [frame]);
}

/// Structure Set ROI, ROI Contour and RT ROI Observations: one item each for every region, numbered from 1.
fn put_rois(data: &mut DataSet, set: &StructureSet<'_>, common: &patient::Common, contours: Vec<Vec<DataSet>>) {
    let frame = &common.frame_of_reference_uid;
    let numbered = || set.rois.iter().zip(1_usize..);
    data.sequence(
        tags::STRUCTURE_SET_ROI_SEQUENCE,
        numbered().map(|(roi, number)| structure_set_roi(set, roi, number, frame)),
    );
    let outlined = numbered().zip(contours).map(|((roi, number), contours)| items::roi_contour(roi, number, contours));
    data.sequence(tags::ROI_CONTOUR_SEQUENCE, outlined);
    data.sequence(tags::RTROI_OBSERVATIONS_SEQUENCE, numbered().map(|(roi, number)| observation(roi, number)));
}

/// Values of VR DA and TM.
fn date_time(at: DateTime) -> (String, String) {
    (at.strftime("%Y%m%d").to_string(), at.strftime("%H%M%S").to_string())
}

/// Sets an attribute of Type 3 when there is something to say.
fn put_if_any(data: &mut DataSet, tag: dicom_core::Tag, value: &str, length_max: usize) {
    let value = plain(value, length_max);
    if !value.is_empty() {
        data.text(tag, &value);
    }
}
