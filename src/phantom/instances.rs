//! A phantom as CT Image Storage instances (PS3.3 A.3) of a patient who plainly does not exist; it writes no files.

use dicom_core::header::VR;
use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use ndarray::Axis;
use thiserror::Error;

use super::{Phantom, Thorax};
use crate::dicom::Uid;
use crate::volume::VolumeGeometry;

/// Who the phantom is in DICOM: the same for the same parameters, so that sending it twice is sending it again.
#[derive(Clone, PartialEq)]
pub struct Identity {
    pub patient_name: String,
    pub patient_id: String,
    pub study_instance_uid: Uid,
    pub series_instance_uid: Uid,
    pub frame_of_reference_uid: Uid,
    /// `YYYYMMDD`
    pub date: String,
    /// `HHMMSS`
    pub time: String,
}

/// Why an instance could not be encoded.
#[derive(Debug, Error)]
#[error("the phantom's slice index {slice} could not be encoded ({reason}); this is an error of contourd")]
pub struct InstanceEncodingError {
    slice: usize,
    reason: String,
}

impl Identity {
    /// The identity that follows from the parameters of a phantom.
    pub fn of(thorax: &Thorax) -> Identity {
        let parameters = format!("{thorax:?}");
        let uid = |what: &str| Uid::derived(["contourd phantom", what, parameters.as_str()]);
        Identity {
            patient_name: "CONTOURD^PHANTOM".to_owned(),
            patient_id: format!("PHANTOM-{}", thorax.seed),
            study_instance_uid: uid("study"),
            series_instance_uid: uid("series"),
            frame_of_reference_uid: uid("frame of reference"),
            date: "20260101".to_owned(),
            time: "120000".to_owned(),
        }
    }

    /// SOP Instance UID of the slice with an index.
    pub fn sop_instance_uid(&self, slice: usize) -> Uid {
        Uid::derived(["contourd phantom image", self.series_instance_uid.as_str(), &slice.to_string()])
    }
}

/// The slices as Part 10 files in Explicit VR Little Endian, in the order of the geometry, each with its SOP Instance
/// UID.
///
/// # Errors
/// An item is an `InstanceEncodingError` when a value has no place in DICOM, which no phantom should bring about.
pub fn instances<'a>(
    phantom: &'a Phantom,
    identity: &'a Identity,
) -> impl Iterator<Item = Result<(Uid, Vec<u8>), InstanceEncodingError>> + 'a {
    (0..phantom.geometry.slices()).map(move |slice| {
        let uid = identity.sop_instance_uid(slice);
        let mut object = who(identity);
        put_scan(&mut object, phantom, slice, &uid);
        put_pixels(&mut object, phantom, slice);
        let failed = |reason: String| InstanceEncodingError { slice, reason };
        let meta = FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
        let file = object.with_meta(meta).map_err(|error| failed(error.to_string()))?;
        let mut bytes = Vec::new();
        file.write_all(&mut bytes).map_err(|error| failed(error.to_string()))?;
        Ok((uid, bytes))
    })
}

fn put(object: &mut InMemDicomObject, tag: Tag, vr: VR, value: impl Into<PrimitiveValue>) {
    object.put(DataElement::new(tag, vr, value.into()));
}

fn put_numbers(object: &mut InMemDicomObject, tag: Tag, numbers: &[f64]) {
    let texts: Vec<String> = numbers.iter().map(|&number| decimal(number)).collect();
    put(object, tag, VR::DS, texts.join("\\"));
}

/// A number in at most 16 characters (PS3.5 6.2, VR DS), as exact as they allow.
fn decimal(number: f64) -> String {
    let texts = (0..=12).rev().map(|digits| format!("{number:.digits$}"));
    let short = texts.into_iter().find(|text| text.len() <= 16).unwrap_or_else(|| format!("{number:.6e}"));
    match short.contains('.') {
        true => short.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => short,
    }
}

/// Patient, study, series, frame of reference, equipment.
fn who(identity: &Identity) -> InMemDicomObject {
    let mut object = InMemDicomObject::new_empty();
    let texts = [
        (tags::PATIENT_NAME, VR::PN, identity.patient_name.as_str()),
        (tags::PATIENT_ID, VR::LO, &identity.patient_id),
        (tags::PATIENT_BIRTH_DATE, VR::DA, ""),
        (tags::PATIENT_SEX, VR::CS, "O"),
        (tags::PATIENT_COMMENTS, VR::LT, "Computed phantom, not a person"),
        (tags::STUDY_INSTANCE_UID, VR::UI, identity.study_instance_uid.as_str()),
        (tags::STUDY_DATE, VR::DA, &identity.date),
        (tags::STUDY_TIME, VR::TM, &identity.time),
        (tags::REFERRING_PHYSICIAN_NAME, VR::PN, ""),
        (tags::STUDY_ID, VR::SH, "1"),
        (tags::ACCESSION_NUMBER, VR::SH, ""),
        (tags::STUDY_DESCRIPTION, VR::LO, "contourd phantom"),
        (tags::MODALITY, VR::CS, "CT"),
        (tags::SERIES_INSTANCE_UID, VR::UI, identity.series_instance_uid.as_str()),
        (tags::SERIES_NUMBER, VR::IS, "1"),
        (tags::SERIES_DATE, VR::DA, &identity.date),
        (tags::SERIES_TIME, VR::TM, &identity.time),
        (tags::SERIES_DESCRIPTION, VR::LO, "Thorax phantom"),
        (tags::BODY_PART_EXAMINED, VR::CS, "CHEST"),
        (tags::FRAME_OF_REFERENCE_UID, VR::UI, identity.frame_of_reference_uid.as_str()),
        (tags::POSITION_REFERENCE_INDICATOR, VR::LO, ""),
        (tags::MANUFACTURER, VR::LO, "contourd"),
        (tags::MANUFACTURER_MODEL_NAME, VR::LO, "thorax phantom"),
        (tags::SOFTWARE_VERSIONS, VR::LO, env!("CARGO_PKG_VERSION")),
    ];
    for (tag, vr, text) in texts {
        put(&mut object, tag, vr, text);
    }
    object
}

/// General Image, Image Plane, CT Image and SOP Common.
fn put_scan(object: &mut InMemDicomObject, phantom: &Phantom, slice: usize, uid: &Uid) {
    let (thorax, geometry) = (&phantom.thorax, &phantom.geometry);
    let texts = [
        (tags::SOP_CLASS_UID, VR::UI, uids::CT_IMAGE_STORAGE),
        (tags::SOP_INSTANCE_UID, VR::UI, uid.as_str()),
        (tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\AXIAL"),
        (tags::PATIENT_POSITION, VR::CS, thorax.position.dicom_term()),
        (tags::ACQUISITION_DATE, VR::DA, "20260101"),
        (tags::ACQUISITION_TIME, VR::TM, "120000"),
        (tags::CONTENT_DATE, VR::DA, "20260101"),
        (tags::CONTENT_TIME, VR::TM, "120000"),
        (tags::ACQUISITION_NUMBER, VR::IS, "1"),
        (tags::KVP, VR::DS, "120"),
        (tags::RESCALE_INTERCEPT, VR::DS, "-1024"),
        (tags::RESCALE_SLOPE, VR::DS, "1"),
        (tags::RESCALE_TYPE, VR::LO, "HU"),
    ];
    for (tag, vr, text) in texts {
        put(object, tag, vr, text);
    }
    put(object, tags::INSTANCE_NUMBER, VR::IS, (slice + 1).to_string());
    put_plane(object, geometry, slice);
    put_numbers(object, tags::SLICE_THICKNESS, &[thorax.slice_thickness_mm]);
    put_numbers(object, tags::WINDOW_CENTER, &[40.0]);
    put_numbers(object, tags::WINDOW_WIDTH, &[400.0]);
}

fn put_plane(object: &mut InMemDicomObject, geometry: &VolumeGeometry, slice: usize) {
    let origin = geometry.slice_origins()[slice];
    let directions = [geometry.row_direction(), geometry.column_direction()].concat();
    put_numbers(object, tags::IMAGE_POSITION_PATIENT, &origin);
    put_numbers(object, tags::IMAGE_ORIENTATION_PATIENT, &directions);
    put_numbers(object, tags::PIXEL_SPACING, &[geometry.row_spacing_mm(), geometry.column_spacing_mm()]);
    put_numbers(object, tags::SLICE_LOCATION, &[origin[2]]);
}

fn put_pixels(object: &mut InMemDicomObject, phantom: &Phantom, slice: usize) {
    let geometry = &phantom.geometry;
    let side = |length: usize| u16::try_from(length).unwrap_or(u16::MAX);
    let numbers = [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, side(geometry.rows())),
        (tags::COLUMNS, side(geometry.columns())),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, 12),
        (tags::HIGH_BIT, 11),
        (tags::PIXEL_REPRESENTATION, 0),
    ];
    for (tag, number) in numbers {
        put(object, tag, VR::US, number);
    }
    put(object, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
    let image = phantom.hounsfield.index_axis(Axis(0), slice);
    let stored: Vec<u16> = image.iter().map(|&hu| (i32::from(hu) + 1024).clamp(0, 4095) as u16).collect();
    put(object, tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(stored.into()));
}
