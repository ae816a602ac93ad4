//! What all DICOM objects that we make have in common: patient, study, equipment, UIDs, bytes; no kind of object.

mod encode;
pub mod frames;
mod patient;
mod text;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use jiff::civil::DateTime;
use thiserror::Error;

use crate::dicom::{Instance, Uid, UidError};
use crate::structure::{Category, Code, Structure};
use crate::volume::VolumeGeometry;

pub use encode::{DataSet, Items, coded, part10};
pub use patient::{Common, common};
pub use text::{decimal, plain, push_decimal, repeated_decimal};

/// PS3.16 CID 7005: what contributed to an object.
const PROCESSING_EQUIPMENT: Code = Code::new("109102", "DCM", "Processing Equipment");

/// What an object is made of and by whom. It borrows images of a patient, so it derives no `Debug`.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// All images of the series, in the order of their positions; of multi-frame images there may be only one.
    pub instances: &'a [&'a Instance],
    /// The image (or frame) of each slice of `geometry`, in its order.
    pub slices: &'a [SliceReference],
    /// The grid of the images.
    pub geometry: &'a VolumeGeometry,
    pub provenance: &'a Provenance,
    /// When it was made, in the local time of the site; frozen with the job, so that a repetition has the same bytes.
    pub created: DateTime,
    pub equipment: &'a Equipment,
}

/// The image that a slice comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceReference {
    pub sop_class_uid: Uid,
    pub sop_instance_uid: Uid,
    /// Frame number (1-based) of a multi-frame image; none for an image of one frame.
    pub frame_number: Option<u32>,
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

/// What the UIDs are derived from besides the images. Whatever can change the result has to be part of it.
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

/// Why images can have no object.
#[derive(Debug, Error)]
pub enum ObjectError {
    #[error("there are no images, expected those of the series")]
    NoInstances,
    #[error(
        "{name} of image {sop_instance_uid} differs from that of the first image, expected one for all of a series"
    )]
    Disagreement { name: &'static str, sop_instance_uid: Uid },
    #[error("the images name no Frame of Reference, without which coordinates mean nothing: {0}")]
    FrameOfReference(#[source] UidError),
}

/// The UIDs of an object before it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uids {
    pub sop_instance_uid: Uid,
    pub series_instance_uid: Uid,
}

/// The series that an object stands in: one of its own.
#[derive(Clone, Copy)]
pub struct SeriesOf<'a> {
    pub sop_class_uid: &'static str,
    pub modality: &'static str,
    pub number: u32,
    /// At most 64 characters; may be empty.
    pub description: &'a str,
}

impl Source<'_> {
    /// Derives the UIDs of an object from the images (whatever order they came in), the pipeline, its models and the
    /// program. `kind` keeps the objects of one job apart.
    pub fn uids(&self, kind: &str) -> Uids {
        let from = self.provenance;
        let mut images: Vec<&str> = self.instances.iter().map(|instance| instance.sop_instance_uid.as_str()).collect();
        images.sort_unstable();
        let derive = |what: &str| {
            let what = format!("contourd {kind} {what}");
            let who = [what.as_str(), &from.program_version, &from.pipeline_id, &from.pipeline_revision];
            Uid::derived(who.into_iter().chain(from.model_digests.iter().map(String::as_str)).chain(images.clone()))
        };
        Uids { sop_instance_uid: derive("instance"), series_instance_uid: derive("series") }
    }

    /// A data set that holds what every object has: SOP Common, Patient, Study, Series, General Equipment, Frame of
    /// Reference (PS3.3 C.12.1, C.7.1.1, C.7.2.1, C.7.3.1, C.7.5.1, C.7.4.1).
    ///
    /// # Errors
    /// [`ObjectError`] when the images are not of one patient, study, series and frame of reference.
    pub fn begin(&self, series: SeriesOf<'_>, uids: &Uids) -> Result<DataSet, ObjectError> {
        let common = common(self.instances)?;
        let (date, time) = date_time(self.created);
        let mut data = DataSet::default();
        patient::copy(self.instances, &mut data);
        data.uid_text(tags::SOP_CLASS_UID, series.sop_class_uid)
            .text(tags::INSTANCE_CREATION_DATE, &date)
            .text(tags::INSTANCE_CREATION_TIME, &time)
            .text(tags::SERIES_DATE, &date)
            .text(tags::SERIES_TIME, &time)
            .text(tags::MODALITY, series.modality)
            .text(tags::SERIES_NUMBER, &series.number.to_string())
            .text(tags::INSTANCE_NUMBER, "1");
        data.uid(tags::SOP_INSTANCE_UID, &uids.sop_instance_uid)
            .uid(tags::SERIES_INSTANCE_UID, &uids.series_instance_uid)
            .uid(tags::STUDY_INSTANCE_UID, &common.study_instance_uid)
            .uid(tags::FRAME_OF_REFERENCE_UID, &common.frame_of_reference_uid);
        put_if_any(&mut data, tags::SERIES_DESCRIPTION, series.description, 64);
        put_equipment(&mut data, self.equipment);
        data.sequence(tags::CONTRIBUTING_EQUIPMENT_SEQUENCE, [self.equipment_item()]);
        Ok(data)
    }

    /// The same without the frame of reference (PS3.3 C.7.4.1): documents and pictures for people lie in none.
    ///
    /// # Errors
    /// Those of [`Source::begin`].
    pub fn begin_document(&self, series: SeriesOf<'_>, uids: &Uids) -> Result<DataSet, ObjectError> {
        let mut data = self.begin(series, uids)?;
        data.remove(tags::FRAME_OF_REFERENCE_UID);
        data.remove(tags::POSITION_REFERENCE_INDICATOR);
        Ok(data)
    }

    /// What contributed to the object (PS3.3 C.12.1.1.5).
    fn equipment_item(&self) -> DataSet {
        let (date, time) = date_time(self.created);
        let pipeline = format!("pipeline {} {}", self.provenance.pipeline_id, self.provenance.pipeline_revision);
        let mut item = DataSet::default();
        put_equipment(&mut item, self.equipment);
        item.text(tags::CONTRIBUTION_DATE_TIME, &format!("{date}{time}"))
            .text(tags::CONTRIBUTION_DESCRIPTION, &plain(&pipeline, 1024))
            .code(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, PROCESSING_EQUIPMENT);
        item
    }
}

impl Algorithm {
    /// Algorithm Identification Macro (PS3.3 10.16).
    pub fn item(&self) -> DataSet {
        let mut item = DataSet::default();
        item.code(tags::ALGORITHM_FAMILY_CODE_SEQUENCE, self.family.code())
            .text(tags::ALGORITHM_NAME, &plain(&self.name, 64))
            .text(tags::ALGORITHM_VERSION, &plain(&self.version, 64));
        put_if_any(&mut item, tags::ALGORITHM_SOURCE, &self.source, 64);
        put_if_any(&mut item, tags::ALGORITHM_PARAMETERS, &self.parameters, 10_240);
        item
    }
}

/// What a structure is of which nobody has said it.
const ANATOMICAL_STRUCTURE: Code = Code::new("123037004", "SCT", "Anatomical Structure");

/// Category and code of a structure, in the words of segmentations and reports. The category says all of a target, and
/// nothing says more of an unknown structure.
pub fn property(structure: Option<&Structure>) -> (Code, Code) {
    let category = structure.map_or(Category::AnatomicalStructure, |structure| structure.category);
    let usual = if category == Category::AnatomicalStructure { ANATOMICAL_STRUCTURE } else { category.code() };
    (category.code(), structure.and_then(|structure| structure.code).unwrap_or(usual))
}

/// Who we are, in the attributes that all equipment modules share.
pub fn put_equipment(data: &mut DataSet, equipment: &Equipment) {
    data.text(tags::MANUFACTURER, &plain(&equipment.manufacturer, 64));
    put_if_any(data, tags::MANUFACTURER_MODEL_NAME, &equipment.model_name, 64);
    let versions: Vec<String> = equipment.software_versions.iter().map(|version| plain(version, 64)).collect();
    if !versions.is_empty() {
        data.text(tags::SOFTWARE_VERSIONS, &versions.join("\\"));
    }
    let mut put = |tag: Tag, value: &Option<String>, length_max| {
        put_if_any(data, tag, value.as_deref().unwrap_or(""), length_max);
    };
    put(tags::STATION_NAME, &equipment.station_name, 16);
    put(tags::INSTITUTION_NAME, &equipment.institution_name, 64);
}

/// A reference to an image (PS3.3 10.3).
pub fn image_reference(sop_class_uid: &Uid, sop_instance_uid: &Uid, frame_number: Option<u32>) -> DataSet {
    let mut item = DataSet::default();
    item.uid(tags::REFERENCED_SOP_CLASS_UID, sop_class_uid).uid(tags::REFERENCED_SOP_INSTANCE_UID, sop_instance_uid);
    if let Some(number) = frame_number {
        item.text(tags::REFERENCED_FRAME_NUMBER, &number.to_string());
    }
    item
}

/// Values of VR DA and TM.
pub fn date_time(at: DateTime) -> (String, String) {
    (at.strftime("%Y%m%d").to_string(), at.strftime("%H%M%S").to_string())
}

/// Sets an attribute of Type 3 when there is something to say.
pub fn put_if_any(data: &mut DataSet, tag: Tag, value: &str, length_max: usize) {
    let value = plain(value, length_max);
    if !value.is_empty() {
        data.text(tag, &value);
    }
}
