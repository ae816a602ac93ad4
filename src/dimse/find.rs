//! C-FIND at the level of instances (PS3.4 C.6.2.1): the identifier that asks for one instance, and what answers say.

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::commitment::{CommitmentError, put_uid, read, write};
use crate::dicom::instance::text;
use crate::dicom::{SeriesKey, Uid};

/// The identifier of a request for one instance in its series: all keys are unique, as PS3.4 C.4.1.2.1 wants them for a
/// level beneath the study.
///
/// # Errors
/// The transfer syntax is not one that can be written.
pub fn encode_identifier(
    series: &SeriesKey,
    sop_instance_uid: &Uid,
    transfer_syntax_uid: &str,
) -> Result<Vec<u8>, CommitmentError> {
    let mut object = InMemDicomObject::new_empty();
    object.put(DataElement::new(tags::QUERY_RETRIEVE_LEVEL, VR::CS, PrimitiveValue::from("IMAGE")));
    put_uid(&mut object, tags::SOP_INSTANCE_UID, sop_instance_uid);
    put_uid(&mut object, tags::STUDY_INSTANCE_UID, &series.study_instance_uid);
    put_uid(&mut object, tags::SERIES_INSTANCE_UID, &series.series_instance_uid);
    write(&object, transfer_syntax_uid)
}

/// The SOP Instance UID that a pending answer tells of; `None` when it holds none.
///
/// # Errors
/// The data set cannot be read.
pub fn found_instance(bytes: &[u8], transfer_syntax_uid: &Uid) -> Result<Option<Uid>, CommitmentError> {
    let object = read(bytes, transfer_syntax_uid)?;
    Ok(text(&object, tags::SOP_INSTANCE_UID).and_then(|text| text.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dimse::syntaxes::IMPLICIT_VR_LITTLE_ENDIAN;

    #[test]
    fn asks_for_the_instance_and_reads_it_in_the_answer() {
        let uid = |text: &str| text.parse::<Uid>().expect("a legal UID");
        let series = SeriesKey { study_instance_uid: uid("1.2"), series_instance_uid: uid("1.3") };
        let bytes = encode_identifier(&series, &uid("1.4"), IMPLICIT_VR_LITTLE_ENDIAN).expect("written");
        let syntax = uid(IMPLICIT_VR_LITTLE_ENDIAN);
        assert_eq!(found_instance(&bytes, &syntax), Ok(Some(uid("1.4"))));
        assert!(found_instance(&bytes[..bytes.len() - 1], &syntax).is_err());
        assert!(bytes.windows(6).any(|window| window == b"IMAGE "));
    }
}
