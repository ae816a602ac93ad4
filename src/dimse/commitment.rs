//! Storage Commitment (PS3.4 J) as values: what is asked, what is answered, as data sets; it sends and stores nothing.

use std::fmt;

use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::tags;
use dicom_encoding::TransferSyntaxIndex;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::dicom::instance::{integer, items, text};
use crate::dicom::scan::{Bounds, scan};
use crate::dicom::{Syntax, Uid, elements};
use crate::limits::COMMITMENT_REFERENCES_MAX;

/// Action Type ID of "Request Storage Commitment" (PS3.4 J.3.2).
pub const REQUEST_ACTION: u16 = 1;
/// Event Type ID of "all instances are committed" (PS3.4 J.3.3).
pub const ALL_COMMITTED: u16 = 1;
/// Event Type ID of "some instances are not committed" (PS3.4 J.3.3).
pub const FAILURES_EXIST: u16 = 2;

/// An instance by the two UIDs that name it in a commitment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reference {
    pub sop_class_uid: Uid,
    pub sop_instance_uid: Uid,
}

/// Why an instance is not committed: Failure Reason (0008,1197) of PS3.3 C.14.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FailureReason(pub u16);

impl FailureReason {
    /// A general failure, such as a file that cannot be read or is no longer what was received.
    pub const PROCESSING_FAILURE: FailureReason = FailureReason(0x0110);
    /// It is not stored here.
    pub const NO_SUCH_OBJECT_INSTANCE: FailureReason = FailureReason(0x0112);
    /// It is stored under another SOP class.
    pub const CLASS_INSTANCE_CONFLICT: FailureReason = FailureReason(0x0119);
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.0 {
            0x0110 => "processing failure",
            0x0112 => "no such object instance",
            0x0119 => "class and instance conflict",
            0x0122 => "SOP class not supported",
            0x0131 => "duplicate transaction UID",
            0x0213 => "resource limitation",
            _ => "no reason that the standard names",
        };
        write!(f, "0x{:04X} ({word})", self.0)
    }
}

/// An instance that is not committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    pub reference: Reference,
    pub reason: FailureReason,
}

/// What the N-ACTION asks for (PS3.4 table J.3-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitmentRequest {
    pub transaction_uid: Uid,
    pub references: Vec<Reference>,
}

/// What the N-EVENT-REPORT says (PS3.4 table J.3-2): every reference of the request stands in one of the lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitmentReport {
    pub transaction_uid: Uid,
    pub committed: Vec<Reference>,
    pub failed: Vec<Failed>,
}

/// Why a data set is no request or report. No text of the peer is repeated.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CommitmentError {
    #[error("the data set cannot be read: {0}")]
    Unreadable(String),
    #[error("found {found}, expected {expected}")]
    Content { found: &'static str, expected: &'static str },
    #[error("found more than {COMMITMENT_REFERENCES_MAX} references in one transaction; ask for them in parts")]
    TooMany,
}

impl CommitmentRequest {
    /// Reads the data set of an N-ACTION-RQ.
    ///
    /// # Errors
    /// It lacks what PS3.4 table J.3-1 requires, or asks for too much at once.
    pub fn decode(bytes: &[u8], transfer_syntax_uid: &Uid) -> Result<CommitmentRequest, CommitmentError> {
        let object = read(bytes, transfer_syntax_uid)?;
        let transaction_uid = transaction_uid(&object)?;
        let references: Vec<Reference> = references(&object)?;
        if references.is_empty() {
            let expected = "a Referenced SOP Sequence (0008,1199) with items";
            return Err(CommitmentError::Content { found: "no reference", expected });
        }
        Ok(CommitmentRequest { transaction_uid, references })
    }

    /// The data set of an N-ACTION-RQ.
    ///
    /// # Errors
    /// The transfer syntax is not one that can be written.
    pub fn encode(&self, transfer_syntax_uid: &str) -> Result<Vec<u8>, CommitmentError> {
        let mut object = InMemDicomObject::new_empty();
        put_uid(&mut object, tags::TRANSACTION_UID, &self.transaction_uid);
        put_items(&mut object, tags::REFERENCED_SOP_SEQUENCE, self.references.iter().map(item).collect());
        write(&object, transfer_syntax_uid)
    }
}

impl CommitmentReport {
    /// Event Type ID under which it is sent.
    pub fn event_type(&self) -> u16 {
        if self.failed.is_empty() { ALL_COMMITTED } else { FAILURES_EXIST }
    }

    /// Reads the data set of an N-EVENT-REPORT-RQ.
    ///
    /// # Errors
    /// It lacks what PS3.4 table J.3-2 requires.
    pub fn decode(bytes: &[u8], transfer_syntax_uid: &Uid) -> Result<CommitmentReport, CommitmentError> {
        let object = read(bytes, transfer_syntax_uid)?;
        let transaction_uid = transaction_uid(&object)?;
        let committed = references(&object)?;
        let failed = items(&object, tags::FAILED_SOP_SEQUENCE);
        if committed.len() + failed.len() > COMMITMENT_REFERENCES_MAX {
            return Err(CommitmentError::TooMany);
        }
        let failed = failed.iter().map(|item| {
            let reason = integer(item, tags::FAILURE_REASON).and_then(|reason| u16::try_from(reason).ok());
            let reason = reason.map_or(FailureReason::PROCESSING_FAILURE, FailureReason);
            Ok(Failed { reference: reference(item)?, reason })
        });
        Ok(CommitmentReport { transaction_uid, committed, failed: failed.collect::<Result<_, CommitmentError>>()? })
    }

    /// The data set of an N-EVENT-REPORT-RQ.
    ///
    /// # Errors
    /// The transfer syntax is not one that can be written.
    pub fn encode(&self, transfer_syntax_uid: &str) -> Result<Vec<u8>, CommitmentError> {
        let mut object = InMemDicomObject::new_empty();
        put_uid(&mut object, tags::TRANSACTION_UID, &self.transaction_uid);
        // Type 1C: only where there are items (PS3.4 table J.3-2).
        if !self.failed.is_empty() {
            let failed = self.failed.iter().map(|failed| {
                let mut item = item(&failed.reference);
                item.put(DataElement::new(tags::FAILURE_REASON, VR::US, PrimitiveValue::from(failed.reason.0)));
                item
            });
            put_items(&mut object, tags::FAILED_SOP_SEQUENCE, failed.collect());
        }
        if !self.committed.is_empty() {
            put_items(&mut object, tags::REFERENCED_SOP_SEQUENCE, self.committed.iter().map(item).collect());
        }
        write(&object, transfer_syntax_uid)
    }
}

/// Decodes a data set that the scanner has walked through: its depth and lengths are within bounds, and the parser is not
/// shown what it would lose its place in (some eighty bytes of an answer kept it busy for half a minute).
pub(super) fn read(bytes: &[u8], transfer_syntax_uid: &Uid) -> Result<InMemDicomObject, CommitmentError> {
    let unreadable = |what: String| CommitmentError::Unreadable(what);
    let unknown = || unreadable(format!("transfer syntax {transfer_syntax_uid} is not known"));
    let syntax = Syntax::of(transfer_syntax_uid).ok_or_else(unknown)?;
    let scan = scan(bytes, syntax, Bounds::RECEIVED).map_err(|error| unreadable(error.to_string()))?;
    Ok(elements(&scan, syntax))
}

pub(super) fn write(object: &InMemDicomObject, transfer_syntax_uid: &str) -> Result<Vec<u8>, CommitmentError> {
    let unreadable = |what: String| CommitmentError::Unreadable(what);
    let syntax = TransferSyntaxRegistry.get(transfer_syntax_uid);
    let syntax = syntax.ok_or_else(|| unreadable(format!("transfer syntax {transfer_syntax_uid} is not known")))?;
    let mut bytes = Vec::new();
    object.write_dataset_with_ts(&mut bytes, syntax).map_err(|error| unreadable(error.to_string()))?;
    Ok(bytes)
}

pub(super) fn put_uid(object: &mut InMemDicomObject, tag: dicom_core::Tag, uid: &Uid) {
    object.put(DataElement::new(tag, VR::UI, PrimitiveValue::from(uid.as_str())));
}

fn put_items(object: &mut InMemDicomObject, tag: dicom_core::Tag, items: Vec<InMemDicomObject>) {
    object.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

fn item(reference: &Reference) -> InMemDicomObject {
    let mut item = InMemDicomObject::new_empty();
    put_uid(&mut item, tags::REFERENCED_SOP_CLASS_UID, &reference.sop_class_uid);
    put_uid(&mut item, tags::REFERENCED_SOP_INSTANCE_UID, &reference.sop_instance_uid);
    item
}

fn transaction_uid(object: &InMemDicomObject) -> Result<Uid, CommitmentError> {
    let uid = text(object, tags::TRANSACTION_UID).and_then(|text| text.parse().ok());
    let found = "no Transaction UID (0008,1195)";
    uid.ok_or(CommitmentError::Content { found, expected: "one that is a UID" })
}

fn references(object: &InMemDicomObject) -> Result<Vec<Reference>, CommitmentError> {
    let items = items(object, tags::REFERENCED_SOP_SEQUENCE);
    if items.len() > COMMITMENT_REFERENCES_MAX {
        return Err(CommitmentError::TooMany);
    }
    items.iter().map(reference).collect()
}

fn reference(item: &InMemDicomObject) -> Result<Reference, CommitmentError> {
    let uid = |tag| text(item, tag).and_then(|text| text.parse::<Uid>().ok());
    let (class, instance) = (uid(tags::REFERENCED_SOP_CLASS_UID), uid(tags::REFERENCED_SOP_INSTANCE_UID));
    let (Some(sop_class_uid), Some(sop_instance_uid)) = (class, instance) else {
        let found = "an item without Referenced SOP Class UID or Referenced SOP Instance UID";
        return Err(CommitmentError::Content { found, expected: "both, and UIDs" });
    };
    Ok(Reference { sop_class_uid, sop_instance_uid })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dimse::syntaxes::{EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN};

    fn uid(text: &str) -> Uid {
        text.parse().expect("a legal UID")
    }

    fn reference(number: u32) -> Reference {
        Reference { sop_class_uid: uid("1.2.840.10008.5.1.4.1.1.2"), sop_instance_uid: uid(&format!("1.2.3.{number}")) }
    }

    #[test]
    fn reads_back_what_it_writes_in_both_encodings() {
        let request = CommitmentRequest { transaction_uid: uid("1.9"), references: vec![reference(1), reference(22)] };
        let failed = vec![Failed { reference: reference(3), reason: FailureReason::NO_SUCH_OBJECT_INSTANCE }];
        let report = CommitmentReport { transaction_uid: uid("1.9"), committed: vec![reference(1)], failed };
        assert_eq!(report.event_type(), FAILURES_EXIST);
        for syntax in [IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN] {
            let bytes = request.encode(syntax).expect("written");
            assert_eq!(CommitmentRequest::decode(&bytes, &uid(syntax)), Ok(request.clone()));
            let bytes = report.encode(syntax).expect("written");
            assert_eq!(CommitmentReport::decode(&bytes, &uid(syntax)), Ok(report.clone()));
            let all = CommitmentReport { failed: Vec::new(), ..report.clone() };
            assert_eq!(all.event_type(), ALL_COMMITTED);
            let bytes = all.encode(syntax).expect("written");
            assert_eq!(CommitmentReport::decode(&bytes, &uid(syntax)), Ok(all));
        }
    }

    #[test]
    fn writes_the_bytes_of_the_standard() {
        let request = CommitmentRequest { transaction_uid: uid("1.9"), references: vec![reference(1)] };
        let bytes = request.encode(IMPLICIT_VR_LITTLE_ENDIAN).expect("written");
        // (0008,1195) UI "1.9" padded with NUL (PS3.5 9.1), then (0008,1199).
        assert_eq!(&bytes[..12], b"\x08\x00\x95\x11\x04\x00\x00\x001.9\0");
        assert_eq!(&bytes[12..16], b"\x08\x00\x99\x11");
    }

    #[test]
    fn refuses_what_lacks_or_cuts_something() {
        let syntax = uid(IMPLICIT_VR_LITTLE_ENDIAN);
        let request = CommitmentRequest { transaction_uid: uid("1.9"), references: vec![reference(1)] };
        let bytes = request.encode(syntax.as_str()).expect("written");
        for end in 0..bytes.len() {
            assert!(CommitmentRequest::decode(&bytes[..end], &syntax).is_err(), "cut at {end}");
        }
        let none = CommitmentRequest { references: Vec::new(), ..request.clone() };
        let none = none.encode(syntax.as_str()).expect("written");
        assert!(matches!(CommitmentRequest::decode(&none, &syntax), Err(CommitmentError::Content { .. })));
        let many = CommitmentRequest { references: vec![reference(1); COMMITMENT_REFERENCES_MAX + 1], ..request };
        let many = many.encode(syntax.as_str()).expect("written");
        assert_eq!(CommitmentRequest::decode(&many, &syntax), Err(CommitmentError::TooMany));
        // A UID that would be a path is none.
        let mut bytes = bytes;
        let at = bytes.windows(7).position(|window| window == b"1.2.3.1").expect("the instance");
        bytes[at..at + 7].copy_from_slice(b"../../x");
        assert!(CommitmentRequest::decode(&bytes, &syntax).is_err());
    }
}
