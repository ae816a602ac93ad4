//! C-FIND, C-MOVE and C-GET of the Study Root model (PS3.4 C.6.2) as values: the identifiers that ask, and what answers
//! say. It sends nothing. A [`Query`] and a [`Found`] can hold attributes of a patient, so they derive no `Debug`.

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use thiserror::Error;

use super::commitment::{CommitmentError, put_uid, read, write};
use crate::dicom::instance::{integer, text};
use crate::dicom::{SeriesKey, Uid};
use crate::limits::{FIND_MODALITIES_MAX, RETRIEVE_FAILED_MAX, UID_LENGTH_MAX};

/// Characters of a text that are kept: one more than a text of VR LO can have.
const TEXT_KEPT: usize = 65;

/// Longest value of VR CS.
const CODE_KEPT: usize = 16;

/// A key is no text that can be asked for exactly.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "found {what} with a wildcard, a backslash, a control character, or nothing or too much in it, expected one value of at most 64 characters: it would match others too"
)]
pub struct KeyError {
    /// Which key; never its value.
    pub what: &'static str,
}

/// What is asked for at one level.
#[derive(Clone)]
pub struct Query {
    object: InMemDicomObject,
}

/// One answer. What a peer does not say is `None` or empty.
#[derive(Clone, Default)]
pub struct Found {
    pub study_instance_uid: Option<Uid>,
    pub series_instance_uid: Option<Uid>,
    pub sop_instance_uid: Option<Uid>,
    pub sop_class_uid: Option<Uid>,
    /// Of a series.
    pub modality: String,
    /// Of the series of a study.
    pub modalities: Vec<String>,
    /// Of a series or a study; people write what they like into it, so it is for the terminal alone.
    pub description: String,
    /// `YYYYMMDD`, of a study or series.
    pub date: String,
    pub time: String,
    /// Number of Series (0020,1209) or Study (0020,1208) Related Instances.
    pub instances: Option<u32>,
    /// Of a study; empty where it is not told.
    pub accession: String,
    patient_id: Option<String>,
    issuer: Option<String>,
    birth_date: Option<String>,
}

/// Whose studies are looked for; it derives no `Debug`.
#[derive(Clone, Copy)]
pub struct Whose<'a> {
    pub id: &'a str,
    pub issuer: Option<&'a str>,
    /// `YYYYMMDD`
    pub birth_date: Option<&'a str>,
}

impl Query {
    /// One study.
    pub fn study(study_instance_uid: &Uid) -> Query {
        let mut object = studies();
        put_uid(&mut object, tags::STUDY_INSTANCE_UID, study_instance_uid);
        Query { object }
    }

    /// The studies of an order.
    ///
    /// # Errors
    /// The number would match other ones too.
    pub fn accession(number: &str) -> Result<Query, KeyError> {
        let mut object = studies();
        put(&mut object, tags::ACCESSION_NUMBER, VR::SH, exact(number, "an accession number")?);
        Ok(Query { object })
    }

    /// The studies of a patient between two days (`YYYYMMDD`), both included.
    ///
    /// # Errors
    /// The Patient ID would match those of others too.
    pub fn patient(patient_id: &str, days: (Option<&str>, &str)) -> Result<Query, KeyError> {
        let mut object = studies();
        put(&mut object, tags::PATIENT_ID, VR::LO, exact(patient_id, "a Patient ID")?);
        let range = format!("{}-{}", days.0.unwrap_or_default(), days.1);
        put(&mut object, tags::STUDY_DATE, VR::DA, &range);
        Ok(Query { object })
    }

    /// The series of a study, or one of them, or those of a modality.
    pub fn series(study_instance_uid: &Uid, series: Option<&Uid>, modality: Option<&str>) -> Query {
        let mut object = level("SERIES");
        for (tag, vr) in [
            (tags::SERIES_DATE, VR::DA),
            (tags::SERIES_TIME, VR::TM),
            (tags::SERIES_DESCRIPTION, VR::LO),
            (tags::NUMBER_OF_SERIES_RELATED_INSTANCES, VR::IS),
            (tags::SERIES_INSTANCE_UID, VR::UI),
        ] {
            put(&mut object, tag, vr, "");
        }
        put(&mut object, tags::MODALITY, VR::CS, modality.unwrap_or_default());
        put_uid(&mut object, tags::STUDY_INSTANCE_UID, study_instance_uid);
        if let Some(series) = series {
            put_uid(&mut object, tags::SERIES_INSTANCE_UID, series);
        }
        Query { object }
    }

    /// The instances of a series, or one of them. All keys are unique, as PS3.4 C.4.1.2.1 wants them for a level beneath
    /// the study.
    pub fn instances(series: &SeriesKey, sop_instance_uid: Option<&Uid>) -> Query {
        let mut object = level("IMAGE");
        put_uid(&mut object, tags::STUDY_INSTANCE_UID, &series.study_instance_uid);
        put_uid(&mut object, tags::SERIES_INSTANCE_UID, &series.series_instance_uid);
        match sop_instance_uid {
            Some(uid) => put_uid(&mut object, tags::SOP_INSTANCE_UID, uid),
            None => {
                put(&mut object, tags::SOP_INSTANCE_UID, VR::UI, "");
                put(&mut object, tags::SOP_CLASS_UID, VR::UI, "");
            }
        }
        Query { object }
    }

    /// The identifier as a data set.
    ///
    /// # Errors
    /// The transfer syntax is not one that can be written.
    pub fn encode(&self, transfer_syntax_uid: &str) -> Result<Vec<u8>, CommitmentError> {
        write(&self.object, transfer_syntax_uid)
    }
}

impl Found {
    /// Reads the data set of a pending answer.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn decode(bytes: &[u8], transfer_syntax_uid: &Uid) -> Result<Found, CommitmentError> {
        let object = read(bytes, transfer_syntax_uid)?;
        // No value that is compared or shown is longer; what is, cannot be equal to one that was asked for.
        let short = |text: String| text.chars().take(TEXT_KEPT).collect::<String>();
        let said = |tag| short(text(&object, tag).unwrap_or_default());
        let uid = |tag| text(&object, tag).and_then(|text| text.parse().ok());
        let count = |tag| integer(&object, tag).and_then(|count| u32::try_from(count).ok());
        let first = |one: String, other: String| if one.is_empty() { other } else { one };
        let modalities = text(&object, tags::MODALITIES_IN_STUDY).unwrap_or_default();
        let modalities = modalities.split('\\').map(str::trim).filter(|m| !m.is_empty() && m.len() <= CODE_KEPT);
        Ok(Found {
            study_instance_uid: uid(tags::STUDY_INSTANCE_UID),
            series_instance_uid: uid(tags::SERIES_INSTANCE_UID),
            sop_instance_uid: uid(tags::SOP_INSTANCE_UID),
            sop_class_uid: uid(tags::SOP_CLASS_UID),
            modality: said(tags::MODALITY),
            modalities: modalities.take(FIND_MODALITIES_MAX).map(str::to_owned).collect(),
            description: first(said(tags::SERIES_DESCRIPTION), said(tags::STUDY_DESCRIPTION)),
            date: first(said(tags::SERIES_DATE), said(tags::STUDY_DATE)),
            time: first(said(tags::SERIES_TIME), said(tags::STUDY_TIME)),
            instances: count(tags::NUMBER_OF_SERIES_RELATED_INSTANCES)
                .or_else(|| count(tags::NUMBER_OF_STUDY_RELATED_INSTANCES)),
            accession: said(tags::ACCESSION_NUMBER),
            patient_id: text(&object, tags::PATIENT_ID).map(short),
            issuer: text(&object, tags::ISSUER_OF_PATIENT_ID).map(short),
            birth_date: text(&object, tags::PATIENT_BIRTH_DATE).map(short),
        })
    }

    /// Whether the answer is of this patient, as it says itself: the same ID, and no other issuer or date of birth.
    pub fn is_of(&self, whose: &Whose<'_>) -> bool {
        let differs = |own: Option<&str>, other: Option<&str>| {
            let (own, other) = (own.map_or("", str::trim), other.map_or("", str::trim));
            !own.is_empty() && !other.is_empty() && own != other
        };
        self.patient_id.as_deref().map(str::trim) == Some(whose.id.trim())
            && !differs(self.issuer.as_deref(), whose.issuer)
            && !differs(self.birth_date.as_deref(), whose.birth_date)
    }

    /// Issuer of Patient ID, where it is told.
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref().map(str::trim).filter(|issuer| !issuer.is_empty())
    }
}

/// The identifier of a C-MOVE or C-GET of a series (PS3.4 C.4.2.1.4).
///
/// # Errors
/// The transfer syntax is not one that can be written.
pub fn encode_retrieve(series: &SeriesKey, transfer_syntax_uid: &str) -> Result<Vec<u8>, CommitmentError> {
    let mut object = level("SERIES");
    put_uid(&mut object, tags::STUDY_INSTANCE_UID, &series.study_instance_uid);
    put_uid(&mut object, tags::SERIES_INSTANCE_UID, &series.series_instance_uid);
    write(&object, transfer_syntax_uid)
}

/// The instances that a final answer to a C-MOVE or C-GET says to have failed (0008,0058); as many as are listed at all.
/// What cannot be read lists none.
pub fn failed_instances(bytes: &[u8], transfer_syntax_uid: &Uid) -> Vec<Uid> {
    let listed = read(bytes, transfer_syntax_uid).ok().and_then(|object| {
        let element = object.element(tags::FAILED_SOP_INSTANCE_UID_LIST).ok()?;
        element.to_multi_str().ok().map(|texts| texts.to_vec())
    });
    let texts = listed.unwrap_or_default().into_iter().take(RETRIEVE_FAILED_MAX);
    texts.filter_map(|text| text.trim_end_matches(['\0', ' ']).parse().ok()).collect()
}

/// A value that matches itself alone (PS3.4 C.2.2.2.1).
fn exact<'a>(value: &'a str, what: &'static str) -> Result<&'a str, KeyError> {
    let value = value.trim();
    let bad = |c: char| matches!(c, '*' | '?' | '\\') || c.is_control();
    let fits = !value.is_empty() && value.chars().count() <= UID_LENGTH_MAX && !value.contains(bad);
    if fits { Ok(value) } else { Err(KeyError { what }) }
}

fn level(level: &str) -> InMemDicomObject {
    let mut object = InMemDicomObject::new_empty();
    put(&mut object, tags::QUERY_RETRIEVE_LEVEL, VR::CS, level);
    object
}

/// The level STUDY with all that is to be told of each.
fn studies() -> InMemDicomObject {
    let mut object = level("STUDY");
    for (tag, vr) in [
        (tags::STUDY_DATE, VR::DA),
        (tags::STUDY_TIME, VR::TM),
        (tags::ACCESSION_NUMBER, VR::SH),
        (tags::MODALITIES_IN_STUDY, VR::CS),
        (tags::STUDY_DESCRIPTION, VR::LO),
        (tags::PATIENT_ID, VR::LO),
        (tags::ISSUER_OF_PATIENT_ID, VR::LO),
        (tags::PATIENT_BIRTH_DATE, VR::DA),
        (tags::STUDY_INSTANCE_UID, VR::UI),
        (tags::NUMBER_OF_STUDY_RELATED_INSTANCES, VR::IS),
    ] {
        put(&mut object, tag, vr, "");
    }
    object
}

fn put(object: &mut InMemDicomObject, tag: Tag, vr: VR, value: &str) {
    let value = if value.is_empty() { PrimitiveValue::Empty } else { PrimitiveValue::from(value) };
    object.put(DataElement::new(tag, vr, value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dimse::syntaxes::{EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN};

    fn uid(text: &str) -> Uid {
        text.parse().expect("a legal UID")
    }

    fn series() -> SeriesKey {
        SeriesKey { study_instance_uid: uid("1.2"), series_instance_uid: uid("1.3") }
    }

    #[test]
    fn asks_for_the_instance_and_reads_it_in_the_answer() {
        let query = Query::instances(&series(), Some(&uid("1.4")));
        let bytes = query.encode(IMPLICIT_VR_LITTLE_ENDIAN).expect("written");
        let syntax = uid(IMPLICIT_VR_LITTLE_ENDIAN);
        let found = Found::decode(&bytes, &syntax).expect("readable");
        assert_eq!((found.sop_instance_uid, found.study_instance_uid), (Some(uid("1.4")), Some(uid("1.2"))));
        assert!(Found::decode(&bytes[..bytes.len() - 1], &syntax).is_err());
        assert!(bytes.windows(6).any(|window| window == b"IMAGE "));
    }

    #[test]
    fn reads_back_what_a_series_says_in_both_encodings() {
        for syntax in [IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN] {
            let mut query = Query::series(&uid("1.2"), Some(&uid("1.3")), Some("MR"));
            put(&mut query.object, tags::NUMBER_OF_SERIES_RELATED_INSTANCES, VR::IS, "120");
            put(&mut query.object, tags::SERIES_DESCRIPTION, VR::LO, "T2 ax");
            let found = Found::decode(&query.encode(syntax).expect("written"), &uid(syntax)).expect("readable");
            let (count, words) = (found.instances, (found.modality.as_str(), found.description.as_str()));
            assert_eq!((count, words, found.series_instance_uid), (Some(120), ("MR", "T2 ax"), Some(uid("1.3"))));
        }
    }

    #[test]
    fn a_key_that_would_match_others_is_refused() {
        for bad in ["", "  ", "A*", "A?", "A\\B", "A\nB", &"1".repeat(65)] {
            assert_eq!(Query::accession(bad).err(), Some(KeyError { what: "an accession number" }), "{bad:?}");
            assert!(Query::patient(bad, (None, "20260101")).is_err(), "{bad:?}");
        }
        assert!(Query::accession(" A 1-2 ").is_ok());
    }

    #[test]
    fn a_prior_is_of_the_same_patient_only_where_it_says_so() {
        let of = |id: Option<&str>, issuer: Option<&str>| Found {
            patient_id: id.map(str::to_owned),
            issuer: issuer.map(str::to_owned),
            birth_date: Some("19500102 ".to_owned()),
            ..Found::default()
        };
        let whose = |issuer| Whose { id: "7", issuer, birth_date: None };
        assert!(of(Some("7 "), None).is_of(&whose(Some("A"))));
        assert!(of(Some("7"), Some("A ")).is_of(&whose(Some("A"))));
        assert!(!of(Some("7"), Some("B")).is_of(&whose(Some("A"))), "the same number of another hospital");
        assert!(!of(Some("77"), None).is_of(&whose(None)), "a peer that takes the number for a beginning");
        assert!(!of(None, None).is_of(&whose(None)));
        let born = |day| Whose { birth_date: Some(day), ..whose(None) };
        assert!(of(Some("7"), None).is_of(&born("19500102")) && of(Some("7"), None).is_of(&born("")));
        assert!(!of(Some("7"), None).is_of(&born("19710102")), "another one of the same number");
    }

    #[test]
    fn an_answer_is_kept_in_bounds() {
        let mut object = studies();
        put(&mut object, tags::STUDY_DESCRIPTION, VR::LT, &"d".repeat(9_000));
        put(&mut object, tags::PATIENT_ID, VR::LT, &"7".repeat(9_000));
        let many = vec!["CT"; 9_000].join("\\");
        put(&mut object, tags::MODALITIES_IN_STUDY, VR::LT, &many);
        let bytes = write(&object, IMPLICIT_VR_LITTLE_ENDIAN).expect("written");
        let found = Found::decode(&bytes, &uid(IMPLICIT_VR_LITTLE_ENDIAN)).expect("readable");
        assert_eq!((found.description.len(), found.modalities.len()), (TEXT_KEPT, FIND_MODALITIES_MAX));
        let id = "7".repeat(64);
        assert!(!found.is_of(&Whose { id: &id, issuer: None, birth_date: None }), "cut, it is no other one's number");
    }

    #[test]
    fn reads_which_instances_failed() {
        let mut object = InMemDicomObject::new_empty();
        let uids = PrimitiveValue::Strs(["1.4.1".to_owned(), "x".to_owned(), "1.4.2".to_owned()].into_iter().collect());
        object.put(DataElement::new(tags::FAILED_SOP_INSTANCE_UID_LIST, VR::UI, uids));
        let bytes = write(&object, IMPLICIT_VR_LITTLE_ENDIAN).expect("written");
        assert_eq!(failed_instances(&bytes, &uid(IMPLICIT_VR_LITTLE_ENDIAN)), [uid("1.4.1"), uid("1.4.2")]);
        assert_eq!(failed_instances(&bytes[..9], &uid(IMPLICIT_VR_LITTLE_ENDIAN)), []);
    }
}
