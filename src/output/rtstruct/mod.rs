//! RT Structure Sets (PS3.3 A.19): from contours to a complete Part 10 file, and back from any maker's file.
//!
//! What it holds to:
//! - the same input gives the same bytes and UIDs, so that a repeated delivery is a repetition and not a second object;
//! - attributes of patient and study are taken over byte for byte, with their character set; text of our own is ASCII;
//! - every contour lies on an image plane, names that image, and repeats its position along the normal as it is written
//!   there, because planning systems match planes within 0.01 mm or less;
//! - holes are keyholes in CLOSED_PLANAR, which all readers measured understand (of nested contours some fill the hole,
//!   of CLOSEDPLANAR_XOR some read nothing); for a destination that wants it, all contours of a structure with holes are
//!   CLOSEDPLANAR_XOR;
//! - what differs between destinations is a [`Dialect`], and its choices are part of what the UIDs derive from;
//! - an algorithm made it and nobody has reviewed it: AUTOMATIC, UNAPPROVED, with the algorithm's name and version;
//! - the bytes are read back and compared before they are handed on ([`RtstructError::SelfCheck`]).
//!
//! It is Implicit VR Little Endian: in Explicit VR a contour above 65,534 bytes would need VR UN (PS3.5 6.2.2), at
//! which many readers stop.

mod check;
mod contours;
mod crossing;
mod dialect;
mod items;
mod mask;
mod read;

use dicom_dictionary_std::tags;
use rayon::prelude::*;
use thiserror::Error;

use super::object::{
    Algorithm, Common, DataSet, Items, ObjectError, SeriesOf, Source, Uids, common, date_time, image_reference, part10,
    plain, put_if_any,
};
use crate::contour::{Contour, Holes};
use crate::dicom::Uid;
use crate::structure::{NameProblem, RoiStyle, Structure};
pub use check::verify;
use contours::Made;
pub use dialect::{Choice, DIALECTS, Dialect, Entry, Named};
use items::{observation, structure_set_roi};
pub use read::{ParsedContour, ParsedRoi, ParsedStructureSet, ReadError, read, read_instance};

/// RT Structure Set Storage (PS3.4 B.5).
pub const SOP_CLASS_UID: &str = "1.2.840.10008.5.1.4.1.1.481.3";

/// Detached Study Management, retired, which PS3.3 C.8.8.5.4 allows as class of the referenced study.
const STUDY_CLASS_UID: &str = "1.2.840.10008.3.1.2.3.1";

/// Everything that makes one RT Structure Set. It borrows images of a patient, so it derives no `Debug`.
pub struct StructureSet<'a> {
    /// The images, on whose planes the contours lie.
    pub source: Source<'a>,
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
    pub dialect: &'a Dialect,
    /// The structure set of an earlier revision of the same series that this one replaces.
    pub predecessor: Option<&'a Uid>,
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
    /// How the contours belong together: CLOSED_PLANAR with keyholes, or all of them CLOSEDPLANAR_XOR.
    pub holes: Holes,
    /// Volume of its voxels.
    pub volume_cm3: Option<f64>,
    /// ROI Description: what a reviewer should know (warnings, measures), at most 1024 characters; may be empty.
    pub description: String,
    /// ROI Generation Description: what made it, at most 64 characters; may be empty.
    pub generation_description: String,
    pub algorithm: Algorithm,
}

/// A finished structure set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// A Part 10 file.
    pub bytes: Vec<u8>,
    /// What of the wishes of the destination could not be met.
    pub warnings: Vec<String>,
}

/// Why there is no structure set. None of these goes away by trying again.
#[derive(Debug, Error)]
pub enum RtstructError {
    #[error("the structure set has no structures, expected at least one")]
    Empty,
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(
        "the label is empty, expected 1 to 16 characters of ASCII: planning systems take it as the ID of the structure set"
    )]
    Label,
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
pub fn encode(set: &StructureSet<'_>) -> Result<Encoded, RtstructError> {
    check::input(set)?;
    let common = common(set.source.instances)?;
    let planes = contours::planes(set);
    let made: Vec<Made> =
        set.rois.par_iter().map(|roi| contours::items(set, roi, &planes)).collect::<Result<_, _>>()?;
    let (contours, warnings): (Vec<Option<Items>>, Vec<Vec<String>>) =
        made.into_iter().map(|made| (made.items, made.warnings)).unzip();
    let uids = set.uids();
    let series = SeriesOf {
        sop_class_uid: SOP_CLASS_UID,
        modality: "RTSTRUCT",
        number: set.series_number,
        description: set.series_description,
    };
    let mut data = set.source.begin(series, &uids)?;
    // RT Series (PS3.3 C.8.8.1) asks for it besides; no person operated.
    data.text(tags::OPERATORS_NAME, "");
    put_structure_set(&mut data, set, &common);
    put_rois(&mut data, set, &common, contours);
    let bytes = part10(SOP_CLASS_UID, &uids.sop_instance_uid, data);
    verify(set, &bytes)?;
    Ok(Encoded { bytes, warnings: warnings.concat() })
}

impl StructureSet<'_> {
    /// The UIDs of the structure set before it exists: those of [`encode()`].
    pub fn uids(&self) -> Uids {
        let names: Vec<&str> = self.rois.iter().map(|roi| roi.style.name.as_str()).collect();
        let predecessor = self.predecessor.map_or("", Uid::as_str);
        self.source.uids(&format!("rtstruct {} {predecessor} {} {names:?}", self.label, self.dialect.text()))
    }
}

/// Structure Set and Approval (PS3.3 C.8.8.5, C.8.8.16).
fn put_structure_set(data: &mut DataSet, set: &StructureSet<'_>, common: &Common) {
    let (date, time) = date_time(set.source.created);
    data.text(tags::STRUCTURE_SET_LABEL, &plain(set.label, set.dialect.label_length))
        .text(tags::STRUCTURE_SET_DATE, &date)
        .text(tags::STRUCTURE_SET_TIME, &time)
        .text(tags::APPROVAL_STATUS, "UNAPPROVED");
    put_if_any(data, tags::STRUCTURE_SET_NAME, set.name, 64);
    put_if_any(data, tags::STRUCTURE_SET_DESCRIPTION, set.description, 1024);
    if let Some(predecessor) = set.predecessor {
        let mut item = DataSet::default();
        item.uid_text(tags::REFERENCED_SOP_CLASS_UID, SOP_CLASS_UID)
            .uid(tags::REFERENCED_SOP_INSTANCE_UID, predecessor);
        data.sequence(tags::PREDECESSOR_STRUCTURE_SET_SEQUENCE, [item]);
    }
    let images = set
        .source
        .instances
        .iter()
        .map(|instance| image_reference(&instance.sop_class_uid, &instance.sop_instance_uid, None));
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
fn put_rois(data: &mut DataSet, set: &StructureSet<'_>, common: &Common, contours: Vec<Option<Items>>) {
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
