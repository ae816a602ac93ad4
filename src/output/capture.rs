//! Pictures as DICOM objects: Secondary Capture (PS3.3 A.8.1), one object of 24-bit colour each; it draws nothing.
//!
//! The plain class is what every archive and viewer knows; the multi-frame ones are not.

use dicom_dictionary_std::tags;
use sha2::{Digest, Sha256};

use super::derived::DERIVED_HERE;
use super::object::frames::{put_lossy, put_u16, put_unknown};
use super::object::{ObjectError, SeriesOf, Source, Uids, date_time, image_reference, part10, put_if_any};
use super::picture::Canvas;
use crate::dicom::Uid;

/// Secondary Capture Image Storage (PS3.4 B.5).
pub const SOP_CLASS_UID: &str = "1.2.840.10008.5.1.4.1.1.7";

/// Everything that makes one series of pictures. It borrows images of a patient, so it derives no `Debug`.
pub struct Captures<'a> {
    pub source: Source<'a>,
    /// The pictures in their order, each with what it shows (Image Comments).
    pub pictures: &'a [(String, Canvas)],
    pub series_number: u32,
    /// Series Description, at most 64 characters.
    pub series_description: &'a str,
}

/// A Part 10 file and its SOP Instance UID.
pub struct Encoded {
    pub sop_instance_uid: Uid,
    pub bytes: Vec<u8>,
}

/// Encodes each picture. The same input gives the same bytes.
///
/// # Errors
/// [`ObjectError`] when the images are not of one series.
pub fn encode(captures: &Captures<'_>) -> Result<Vec<Encoded>, ObjectError> {
    let numbered = captures.pictures.iter().zip(1_usize..);
    numbered.map(|((shown, picture), number)| encode_one(captures, shown, picture, number)).collect()
}

fn encode_one(captures: &Captures<'_>, shown: &str, picture: &Canvas, number: usize) -> Result<Encoded, ObjectError> {
    let source = &captures.source;
    let uids = source.uids("secondary capture");
    // A picture may tell what differs between runs of one job: another picture is another object.
    let digest: String = Sha256::digest(&picture.rgb).iter().map(|byte| format!("{byte:02x}")).collect();
    let from = [uids.sop_instance_uid.as_str(), &number.to_string(), shown, &digest];
    let own = Uids { sop_instance_uid: Uid::derived(from), ..uids };
    let series = SeriesOf {
        sop_class_uid: SOP_CLASS_UID,
        modality: "OT",
        number: captures.series_number,
        description: captures.series_description,
    };
    let mut data = source.begin_document(series, &own)?;
    let (date, time) = date_time(source.created);
    let images = source.instances.iter().map(|i| image_reference(&i.sop_class_uid, &i.sop_instance_uid, None));
    data.text(tags::INSTANCE_NUMBER, &number.to_string())
        .text(tags::CONTENT_DATE, &date)
        .text(tags::CONTENT_TIME, &time)
        .text(tags::CONVERSION_TYPE, "WSD")
        .text(tags::DATE_OF_SECONDARY_CAPTURE, &date)
        .text(tags::TIME_OF_SECONDARY_CAPTURE, &time)
        .text(tags::IMAGE_TYPE, "DERIVED\\SECONDARY")
        .text(tags::PATIENT_ORIENTATION, "")
        // Nothing in it names the patient.
        .text(tags::BURNED_IN_ANNOTATION, "NO")
        .text(tags::DERIVATION_DESCRIPTION, DERIVED_HERE)
        .sequence(tags::SOURCE_IMAGE_SEQUENCE, images)
        .text(tags::PHOTOMETRIC_INTERPRETATION, "RGB");
    put_if_any(&mut data, tags::IMAGE_COMMENTS, shown, 1024);
    put_lossy(&mut data, source);
    put_unknown(&mut data);
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 3),
        (tags::PLANAR_CONFIGURATION, 0),
        (tags::ROWS, picture.height as u16),
        (tags::COLUMNS, picture.width as u16),
        (tags::BITS_ALLOCATED, 8),
        (tags::BITS_STORED, 8),
        (tags::HIGH_BIT, 7),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        put_u16(&mut data, tag, &[value]);
    }
    data.bytes(tags::PIXEL_DATA, &picture.rgb);
    let bytes = part10(SOP_CLASS_UID, &own.sop_instance_uid, data);
    Ok(Encoded { sop_instance_uid: own.sop_instance_uid, bytes })
}
