//! Deformable Spatial Registrations (PS3.3 A.39.2, C.20.3): a displacement at each voxel of the images, as a DICOM object.
//!
//! The vector at a place of the images (the registered Frame of Reference) leads to the same tissue in the other images (the
//! source), in mm along patient +x, +y, +z. It is what a network gives that moves the second image onto the first.

mod read;

use dicom_dictionary_std::tags;
use thiserror::Error;

use super::grid::{self, UnevenSlices};
use super::object::frames::{decimals, put_content, put_referenced_series, put_serial_number, put_u32, put_unknown};
use super::object::{DataSet, ObjectError, SeriesOf, Source, Uids, date_time, image_reference, part10};
use crate::dicom::{Instance, Uid};
use crate::limits::OBJECT_VALUE_BYTES_MAX;
use crate::structure::Code;
use crate::volume::{Volume, VolumeGeometry, dot};

pub use read::{End, RIGID_SOP_CLASS_UID, Relation, Side, read};

/// Deformable Spatial Registration Storage (PS3.4 B.5).
pub const SOP_CLASS_UID: &str = "1.2.840.10008.5.1.4.1.1.66.3";

/// PS3.16 CID 7100: how the two were brought together.
const BY_CONTENT: Code = Code::new("125024", "DCM", "Image Content-based Alignment");

/// How far the last slice may lie aside of the first, mm.
const SHEAR_MM: f64 = 0.01;

/// Everything that makes one registration. It borrows images of a patient, so it derives no `Debug`.
pub struct Registration<'a> {
    pub source: Source<'a>,
    /// Displacements along +x, +y and +z at each voxel of the images, mm.
    pub displacement: &'a [Volume; 3],
    /// The images that the displacements lead to.
    pub moving: &'a [&'a Instance],
    /// What made it, in the UIDs: `step.name`.
    pub name: &'a str,
    pub series_number: u32,
    /// Series Description, at most 64 characters.
    pub series_description: &'a str,
}

/// Why there is no registration.
#[derive(Debug, Error)]
pub enum RegistrationError {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error("{0}; or resample the images first")]
    Uneven(#[from] UnevenSlices),
    #[error(
        "found slices that step {0:.3} mm aside, as of a tilted gantry, expected a step along their normal: a grid has three \
         directions at right angles; resample the images first"
    )]
    Tilted(f64),
    #[error("found {0} voxels, expected fewer: their vectors do not fit into one value of an object")]
    Size(usize),
    #[error("the other images: {0}")]
    Moving(ObjectError),
}

impl Registration<'_> {
    /// The UIDs of the object before it exists.
    pub fn uids(&self) -> Uids {
        self.source.uids(&format!("registration {}", self.name))
    }
}

/// Encodes a registration as a Part 10 file. The same input gives the same bytes.
///
/// # Errors
/// [`RegistrationError`].
pub fn encode(registration: &Registration<'_>) -> Result<Vec<u8>, RegistrationError> {
    let source = &registration.source;
    check_grid(source.geometry)?;
    let voxels: usize = source.geometry.shape().iter().product();
    if voxels * 12 > OBJECT_VALUE_BYTES_MAX {
        return Err(RegistrationError::Size(voxels));
    }
    let moving = super::object::common(registration.moving).map_err(RegistrationError::Moving)?;
    let uids = registration.uids();
    let series = SeriesOf {
        sop_class_uid: SOP_CLASS_UID,
        modality: "REG",
        number: registration.series_number,
        description: registration.series_description,
    };
    let mut data = source.begin(series, &uids)?;
    let (date, time) = date_time(source.created);
    data.text(tags::CONTENT_DATE, &date).text(tags::CONTENT_TIME, &time);
    put_serial_number(&mut data);
    put_unknown(&mut data);
    put_content(&mut data, "DEFORMATION", "Made by an algorithm, not reviewed");
    put_referenced(&mut data, registration);
    let images = |instances: &[&Instance]| -> Vec<DataSet> {
        instances.iter().map(|i| image_reference(&i.sop_class_uid, &i.sop_instance_uid, None)).collect()
    };
    let mut item = DataSet::default();
    item.uid(tags::SOURCE_FRAME_OF_REFERENCE_UID, &moving.frame_of_reference_uid)
        .sequence(tags::REFERENCED_IMAGE_SEQUENCE, images(registration.moving))
        .code(tags::REGISTRATION_TYPE_CODE_SEQUENCE, BY_CONTENT)
        .sequence(tags::DEFORMABLE_REGISTRATION_GRID_SEQUENCE, [grid(registration)]);
    data.sequence(tags::DEFORMABLE_REGISTRATION_SEQUENCE, [item]);
    Ok(part10(SOP_CLASS_UID, &uids.sop_instance_uid, data))
}

/// The series of both images (PS3.3 C.12.2). Images of another study are named by it.
fn put_referenced(data: &mut DataSet, registration: &Registration<'_>) {
    let (fixed, moving) = (registration.source.instances, registration.moving);
    put_referenced_series(data, &registration.source);
    let (Some(first), Some(other)) = (fixed.first(), moving.first()) else { return };
    if other.series_instance_uid == first.series_instance_uid {
        return;
    }
    let series_of = |instances: &[&Instance], uid: &Uid| {
        let images = instances.iter().map(|i| image_reference(&i.sop_class_uid, &i.sop_instance_uid, None));
        let mut series = DataSet::default();
        series.uid(tags::SERIES_INSTANCE_UID, uid).sequence(tags::REFERENCED_INSTANCE_SEQUENCE, images);
        series
    };
    let of_other = series_of(moving, &other.series_instance_uid);
    if other.study_instance_uid == first.study_instance_uid {
        let of_first = series_of(fixed, &first.series_instance_uid);
        data.sequence(tags::REFERENCED_SERIES_SEQUENCE, [of_first, of_other]);
    } else {
        let mut study = DataSet::default();
        study
            .uid(tags::STUDY_INSTANCE_UID, &other.study_instance_uid)
            .sequence(tags::REFERENCED_SERIES_SEQUENCE, [of_other]);
        data.sequence(tags::STUDIES_CONTAINING_OTHER_REFERENCED_INSTANCES_SEQUENCE, [study]);
    }
}

/// Deformable Registration Grid Sequence (PS3.3 C.20.3.1.2): columns fastest, then rows, then slices.
fn grid(registration: &Registration<'_>) -> DataSet {
    let geometry = registration.source.geometry;
    let [slices, rows, columns] = geometry.shape();
    let [x, y, z] = registration.displacement.each_ref().map(|volume| volume.pixels.iter());
    let mut vectors = Vec::with_capacity(slices * rows * columns * 12);
    for ((x, y), z) in x.zip(y).zip(z) {
        [x, y, z].iter().for_each(|part| vectors.extend_from_slice(&part.to_le_bytes()));
    }
    let mut item = DataSet::default();
    let directions = geometry.row_direction().into_iter().chain(geometry.column_direction());
    item.text(tags::IMAGE_ORIENTATION_PATIENT, &decimals(directions))
        .text(tags::IMAGE_POSITION_PATIENT, &decimals(geometry.slice_origins()[0]));
    put_u32(&mut item, tags::GRID_DIMENSIONS, &[columns as u32, rows as u32, slices as u32]);
    let resolution = [geometry.column_spacing_mm(), geometry.row_spacing_mm(), geometry.slice_spacing_mm()];
    let bytes: Vec<u8> = resolution.iter().flat_map(|mm| mm.to_le_bytes()).collect();
    item.bytes(tags::GRID_RESOLUTION, &bytes).bytes(tags::VECTOR_GRID_DATA, &vectors);
    item
}

/// Origin, directions and one resolution must say where each voxel lies.
fn check_grid(geometry: &VolumeGeometry) -> Result<(), RegistrationError> {
    let step = grid::step(geometry)?;
    let whole = (geometry.slices() - 1) as f64;
    let aside = |along: [f64; 3]| (dot(step, along) * whole).abs();
    let aside = aside(geometry.row_direction()).max(aside(geometry.column_direction()));
    if aside < SHEAR_MM { Ok(()) } else { Err(RegistrationError::Tilted(aside)) }
}
