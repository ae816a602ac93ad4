//! What an object takes over from the images: patient, study, frame of reference; byte for byte.

use std::collections::BTreeMap;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::ObjectError;
use super::encode::DataSet;
use crate::dicom::instance::items;
use crate::dicom::{Instance, Uid};

/// Attributes of Type 2: written empty where the images lack them (PS3.3 C.7.1.1, C.7.2.1, C.7.4.1).
const ALWAYS: [Tag; 9] = [
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::ACCESSION_NUMBER,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::STUDY_ID,
];

/// Attributes of Type 3 of the patient and study modules: written where the images have them, empty or not, so that all
/// objects of the study agree. All are text.
const WHERE_PRESENT: [Tag; 21] = [
    tags::STUDY_DESCRIPTION,
    tags::PHYSICIANS_OF_RECORD,
    tags::NAME_OF_PHYSICIANS_READING_STUDY,
    tags::ADMITTING_DIAGNOSES_DESCRIPTION,
    tags::ISSUER_OF_PATIENT_ID,
    tags::TYPE_OF_PATIENT_ID,
    tags::PATIENT_BIRTH_TIME,
    tags::OTHER_PATIENT_NAMES,
    tags::PATIENT_AGE,
    tags::PATIENT_SIZE,
    tags::PATIENT_WEIGHT,
    Tag(0x0010, 0x2160), // Ethnic Group, retired in 2024 and still in images
    tags::OCCUPATION,
    tags::ADDITIONAL_PATIENT_HISTORY,
    tags::PATIENT_SEX_NEUTERED,
    tags::PATIENT_BREED_DESCRIPTION,
    tags::RESPONSIBLE_PERSON,
    tags::RESPONSIBLE_ORGANIZATION,
    tags::PATIENT_COMMENTS,
    tags::SERVICE_EPISODE_ID,
    tags::SERVICE_EPISODE_DESCRIPTION,
];

/// Attributes of Type 1C and 1 of the same modules and of clinical trials, which may not be empty.
const WHERE_FILLED: [Tag; 20] = [
    tags::TIMEZONE_OFFSET_FROM_UTC,
    tags::PATIENT_SPECIES_DESCRIPTION,
    tags::RESPONSIBLE_PERSON_ROLE,
    tags::CLINICAL_TRIAL_SPONSOR_NAME,
    tags::CLINICAL_TRIAL_PROTOCOL_ID,
    tags::CLINICAL_TRIAL_PROTOCOL_NAME,
    tags::CLINICAL_TRIAL_SITE_ID,
    tags::CLINICAL_TRIAL_SITE_NAME,
    tags::CLINICAL_TRIAL_SUBJECT_ID,
    tags::CLINICAL_TRIAL_SUBJECT_READING_ID,
    tags::CLINICAL_TRIAL_TIME_POINT_ID,
    tags::CLINICAL_TRIAL_TIME_POINT_DESCRIPTION,
    tags::PATIENT_IDENTITY_REMOVED,
    tags::DEIDENTIFICATION_METHOD,
    tags::CLINICAL_TRIAL_PROTOCOL_ETHICS_COMMITTEE_NAME,
    tags::CLINICAL_TRIAL_PROTOCOL_ETHICS_COMMITTEE_APPROVAL_NUMBER,
    tags::ISSUER_OF_CLINICAL_TRIAL_PROTOCOL_ID,
    tags::ISSUER_OF_CLINICAL_TRIAL_SITE_ID,
    tags::ISSUER_OF_CLINICAL_TRIAL_SUBJECT_ID,
    tags::LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED,
];

/// Sequences of the same modules, taken over where all text in them is ASCII.
const SEQUENCES: [Tag; 6] = [
    tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE,
    tags::PROCEDURE_CODE_SEQUENCE,
    tags::ISSUER_OF_PATIENT_ID_QUALIFIERS_SEQUENCE,
    tags::OTHER_PATIENT_I_DS_SEQUENCE,
    tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE,
    tags::REQUEST_ATTRIBUTES_SEQUENCE,
];

/// Deepest nesting of a sequence that is taken over; codes and issuers need three.
const DEPTH_MAX: usize = 8;

/// What all images of a series share.
pub struct Common {
    pub study_instance_uid: Uid,
    pub series_instance_uid: Uid,
    pub frame_of_reference_uid: Uid,
}

/// Checks that the images are of one patient, study, series and frame of reference.
pub fn common(instances: &[&Instance]) -> Result<Common, ObjectError> {
    let first = instances.first().ok_or(ObjectError::NoInstances)?;
    let same = |name: &'static str, value: fn(&Instance) -> &[u8]| {
        let differs = |other: &&&Instance| trimmed(value(other)) != trimmed(value(first));
        match instances.iter().find(differs) {
            Some(other) => Err(ObjectError::Disagreement { name, sop_instance_uid: other.sop_instance_uid.clone() }),
            None => Ok(()),
        }
    };
    same("Study Instance UID", |i| i.study_instance_uid.as_str().as_bytes())?;
    same("Series Instance UID", |i| i.series_instance_uid.as_str().as_bytes())?;
    same("Patient ID", |i| i.raw(tags::PATIENT_ID).unwrap_or_default())?;
    same("Frame of Reference UID", |i| i.raw(tags::FRAME_OF_REFERENCE_UID).unwrap_or_default())?;
    let frame = first.raw(tags::FRAME_OF_REFERENCE_UID).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let frame_of_reference_uid = frame.unwrap_or("").parse().map_err(ObjectError::FrameOfReference)?;
    Ok(Common {
        study_instance_uid: first.study_instance_uid.clone(),
        series_instance_uid: first.series_instance_uid.clone(),
        frame_of_reference_uid,
    })
}

/// Writes the attributes of patient and study.
///
/// Where images differ, the value that most of them have counts, and of two as frequent the earlier one. Values are
/// only taken from images with the most frequent character set, so that bytes and character set belong together.
pub fn copy(instances: &[&Instance], set: &mut DataSet) {
    let character_set = |i: &&Instance| i.raw(tags::SPECIFIC_CHARACTER_SET).unwrap_or_default().to_vec();
    let usual = most_frequent(instances.iter().map(character_set)).unwrap_or_default();
    let alike: Vec<&Instance> = instances.iter().copied().filter(|i| character_set(i) == usual).collect();
    if !trimmed(&usual).is_empty() {
        set.raw(tags::SPECIFIC_CHARACTER_SET, &usual);
    }
    let value = |tag: Tag| most_frequent(alike.iter().filter_map(|i| i.raw(tag)).map(<[u8]>::to_vec));
    for tag in ALWAYS {
        set.raw(tag, &value(tag).unwrap_or_default());
    }
    for tag in WHERE_PRESENT {
        if let Some(bytes) = value(tag) {
            set.raw(tag, &bytes);
        }
    }
    for tag in WHERE_FILLED {
        if let Some(bytes) = value(tag).filter(|bytes| !trimmed(bytes).is_empty()) {
            set.raw(tag, &bytes);
        }
    }
    set.raw(tags::POSITION_REFERENCE_INDICATOR, &value(tags::POSITION_REFERENCE_INDICATOR).unwrap_or_default());
    for tag in SEQUENCES {
        let found = alike.iter().map(|i| items(&i.header, tag)).find(|items| !items.is_empty());
        if let Some(items) = found.and_then(|items| copy_items(items, DEPTH_MAX)) {
            set.sequence(tag, items);
        }
    }
}

fn copy_items(items: &[InMemDicomObject], depth: usize) -> Option<Vec<DataSet>> {
    items.iter().map(|item| copy_item(item, depth)).collect()
}

/// One item with text and sequences only; none when a value is a number in binary, private or not ASCII.
fn copy_item(item: &InMemDicomObject, depth: usize) -> Option<DataSet> {
    let mut set = DataSet::default();
    for element in item {
        let tag = element.header().tag;
        if tag.group() % 2 == 1 || depth == 0 {
            return None;
        }
        if let Some(items) = element.items() {
            set.sequence(tag, copy_items(items, depth - 1)?);
            continue;
        }
        let text = element.value().to_str().ok().filter(|text| text.is_ascii())?;
        let is_text = matches!(
            element.value().primitive(),
            Some(
                dicom_core::PrimitiveValue::Str(_)
                    | dicom_core::PrimitiveValue::Strs(_)
                    | dicom_core::PrimitiveValue::Empty
            )
        );
        match element.vr() {
            _ if !is_text => return None,
            dicom_core::VR::UI => set.uid(tag, &text.parse().ok()?),
            _ => set.text(tag, &text),
        };
    }
    Some(set)
}

/// The most frequent value, the earliest of those as frequent; empty values count only when nothing else is there.
fn most_frequent(values: impl Iterator<Item = Vec<u8>>) -> Option<Vec<u8>> {
    let mut counts: BTreeMap<Vec<u8>, (usize, usize)> = BTreeMap::new();
    for (order, value) in values.enumerate() {
        counts.entry(value).or_insert((0, order)).0 += 1;
    }
    let rank = |(value, (count, order)): &(Vec<u8>, (usize, usize))| {
        (!trimmed(value).is_empty(), *count, std::cmp::Reverse(*order))
    };
    counts.into_iter().max_by_key(rank).map(|(value, _)| value)
}

/// A value without the padding at its ends.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let padding = |byte: &u8| matches!(byte, b' ' | 0);
    let start = bytes.iter().position(|byte| !padding(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !padding(byte)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_value_counts_and_then_the_earliest() {
        let check = |values: &[&str], expected: &str| {
            let found = most_frequent(values.iter().map(|value| value.as_bytes().to_vec()));
            assert_eq!(found.as_deref(), Some(expected.as_bytes()), "{values:?}");
        };
        check(&["b", "a", "a"], "a");
        check(&["b", "a"], "b");
        check(&["", "", "a "], "a ");
        check(&["", ""], "");
        assert_eq!(most_frequent([].into_iter()), None);
    }
}
