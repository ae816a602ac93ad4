//! A PDF as a DICOM object: Encapsulated PDF (PS3.3 A.45.1); it does not look into the PDF.

use dicom_dictionary_std::tags;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::object::frames::put_u32;
use super::object::{ObjectError, SeriesOf, Source, Uids, date_time, image_reference, part10, plain};
use crate::dicom::Uid;
use crate::limits::OBJECT_VALUE_BYTES_MAX;
use crate::structure::Code;

/// Encapsulated PDF Storage (PS3.4 B.5).
pub const SOP_CLASS_UID: &str = "1.2.840.10008.5.1.4.1.1.104.1";

/// What the document is (PS3.16 CID 7020 is a baseline, so that a report of measurements may stand here).
const MEASUREMENT_REPORT: Code = Code::new("126000", "DCM", "Imaging Measurement Report");

/// Everything that makes one document. It borrows images of a patient, so it derives no `Debug`.
pub struct Document<'a> {
    pub source: Source<'a>,
    pub pdf: &'a [u8],
    /// Document Title, at most 1024 characters.
    pub title: &'a str,
    pub series_number: u32,
    /// Series Description, at most 64 characters.
    pub series_description: &'a str,
}

/// Why there is no document.
#[derive(Debug, Error)]
pub enum DocumentError {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error("found {0} bytes of PDF, expected at most {OBJECT_VALUE_BYTES_MAX}")]
    Size(usize),
}

impl Document<'_> {
    /// The UIDs of the object before it exists. The page tells times and devices, which differ between runs of one job:
    /// another page is another object.
    pub fn uids(&self) -> Uids {
        let uids = self.source.uids("report pdf");
        let digest: String = Sha256::digest(self.pdf).iter().map(|byte| format!("{byte:02x}")).collect();
        Uids { sop_instance_uid: Uid::derived([uids.sop_instance_uid.as_str(), &digest]), ..uids }
    }
}

/// Encodes a document as a Part 10 file. The same input gives the same bytes.
///
/// # Errors
/// [`DocumentError`].
pub fn encode(document: &Document<'_>) -> Result<Vec<u8>, DocumentError> {
    if document.pdf.len() > OBJECT_VALUE_BYTES_MAX {
        return Err(DocumentError::Size(document.pdf.len()));
    }
    let (source, uids) = (&document.source, document.uids());
    let series = SeriesOf {
        sop_class_uid: SOP_CLASS_UID,
        modality: "DOC",
        number: document.series_number,
        description: document.series_description,
    };
    let mut data = source.begin_document(series, &uids)?;
    let (date, time) = date_time(source.created);
    let images = source.instances.iter().map(|i| image_reference(&i.sop_class_uid, &i.sop_instance_uid, None));
    data.text(tags::CONTENT_DATE, &date)
        .text(tags::CONTENT_TIME, &time)
        .text(tags::ACQUISITION_DATE_TIME, "")
        .text(tags::CONVERSION_TYPE, "WSD")
        // The page names no patient.
        .text(tags::BURNED_IN_ANNOTATION, "NO")
        .text(tags::DOCUMENT_TITLE, &plain(document.title, 1024))
        .code(tags::CONCEPT_NAME_CODE_SEQUENCE, MEASUREMENT_REPORT)
        .text(tags::VERIFICATION_FLAG, "UNVERIFIED")
        .sequence(tags::SOURCE_INSTANCE_SEQUENCE, images)
        .text(tags::MIME_TYPE_OF_ENCAPSULATED_DOCUMENT, "application/pdf")
        .bytes(tags::ENCAPSULATED_DOCUMENT, document.pdf);
    // An odd length is filled; this says where the PDF ends (PS3.3 C.24.2).
    put_u32(&mut data, tags::ENCAPSULATED_DOCUMENT_LENGTH, &[document.pdf.len() as u32]);
    Ok(part10(SOP_CLASS_UID, &uids.sop_instance_uid, data))
}
