//! Names of attributes in predicates: a keyword, `(gggg,eeee)`, or a path through sequences; it reads no data set.

use std::fmt;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;
use thiserror::Error;

use super::comparison::ValueKind;
use crate::document::nearest;
use crate::limits::TAG_PATH_LENGTH_MAX;

/// The groups whose keywords are offered for a mistyped one: those that image headers use.
const SUGGESTED_GROUPS: [u16; 9] = [0x0008, 0x0010, 0x0018, 0x0020, 0x0028, 0x0032, 0x0040, 0x0054, 0x5200];

/// One attribute of a path.
#[derive(Clone, Debug, PartialEq)]
pub enum PathTag {
    Standard(Tag),
    /// A private attribute: its block is found by its creator (PS3.5 7.8.1); `element` is the last two digits.
    Private {
        group: u16,
        element: u8,
        creator: String,
    },
}

/// Where an attribute stands in a data set: sequences from the outside in, then the attribute. Sequences are followed
/// through all their items.
#[derive(Clone, Debug, PartialEq)]
pub struct TagPath {
    /// At least one; all but the last are sequences.
    tags: Vec<PathTag>,
    /// As it was written.
    text: String,
    /// The value representation of the last attribute; `None` where the dictionary does not know it.
    vr: Option<VR>,
}

/// Why a text does not name an attribute.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum TagPathError {
    #[error("found {found:?}, expected a DICOM keyword such as SeriesDescription, or (gggg,eeee)")]
    Unknown { found: String, nearest: Option<&'static str> },
    #[error("found a path that goes through {0}, expected a sequence before the dot")]
    NotASequence(String),
    #[error("found a path of {0} attributes, expected at most {TAG_PATH_LENGTH_MAX}")]
    TooLong(usize),
    #[error("found the private attribute {0} without its creator, expected \"creator\" beside \"tag\"")]
    PrivateWithoutCreator(String),
    #[error("found pixel data, expected an attribute of the header: pixels are not looked at to route a series")]
    PixelData,
    #[error("found a creator, expected none because {0} is not private")]
    CreatorOfStandard(String),
}

impl TagPath {
    /// Parses `Modality`, `(0008,0060)`, `SharedFunctionalGroupsSequence.PixelMeasuresSequence.SliceThickness` or, with
    /// a creator, `(0043,xx39)`.
    ///
    /// # Errors
    /// [`TagPathError`] for names that are not in the dictionary, private tags without creator, and paths through what
    /// is not a sequence.
    pub fn parse(text: &str, creator: Option<&str>) -> Result<TagPath, TagPathError> {
        let parts: Vec<&str> = text.split('.').collect();
        if parts.len() > TAG_PATH_LENGTH_MAX {
            return Err(TagPathError::TooLong(parts.len()));
        }
        let mut tags = Vec::with_capacity(parts.len());
        let mut vr = None;
        for (index, part) in parts.iter().enumerate() {
            let last = index + 1 == parts.len();
            let (tag, found_vr) = parse_part(part, if last { creator } else { None })?;
            if !last && found_vr != Some(VR::SQ) {
                return Err(TagPathError::NotASequence((*part).to_owned()));
            }
            if matches!(tag, PathTag::Standard(Tag(0x7fe0, _))) {
                return Err(TagPathError::PixelData);
            }
            tags.push(tag);
            vr = found_vr;
        }
        Ok(TagPath { tags, text: text.to_owned(), vr })
    }

    /// The attributes from the outside in; at least one.
    pub fn tags(&self) -> &[PathTag] {
        &self.tags
    }

    /// What the values of the attribute can be compared with.
    pub fn kind(&self) -> ValueKind {
        self.vr.map_or(ValueKind::Unknown, ValueKind::of)
    }

    /// The value representation, where the dictionary knows it.
    pub fn vr(&self) -> Option<VR> {
        self.vr
    }

    /// Whether values may tell who the patient is. They are compared, but never repeated in a trace.
    ///
    /// Besides group 0010 (patient) these are all names of persons, accession and admission numbers, and texts of
    /// private attributes, of which nobody knows what they hold.
    pub fn is_confidential(&self) -> bool {
        const NUMBERS: [Tag; 2] = [Tag(0x0008, 0x0050), Tag(0x0038, 0x0010)];
        self.vr == Some(VR::PN)
            || self.tags.iter().any(|tag| match tag {
                PathTag::Standard(tag) => tag.group() == 0x0010 || NUMBERS.contains(tag),
                PathTag::Private { .. } => true,
            })
    }
}

impl fmt::Display for TagPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse_part(part: &str, creator: Option<&str>) -> Result<(PathTag, Option<VR>), TagPathError> {
    if let Some((group, element)) = hexadecimal(part) {
        return numbered(part, group, element, creator);
    }
    match StandardDataDictionary.by_name(part) {
        Some(_) if creator.is_some() => Err(TagPathError::CreatorOfStandard(part.to_owned())),
        Some(entry) => Ok((PathTag::Standard(entry.tag()), Some(entry.vr().relaxed()))),
        None => Err(TagPathError::Unknown { found: part.to_owned(), nearest: nearest_keyword(part) }),
    }
}

fn numbered(
    part: &str,
    group: u16,
    element: &str,
    creator: Option<&str>,
) -> Result<(PathTag, Option<VR>), TagPathError> {
    let unknown = || TagPathError::Unknown { found: part.to_owned(), nearest: None };
    if group % 2 == 1 {
        // The first two digits name the block, which differs from file to file, so they are not looked at.
        let low = element.get(2..).and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or_else(unknown)?;
        let creator = creator.ok_or_else(|| TagPathError::PrivateWithoutCreator(part.to_owned()))?.trim().to_owned();
        return Ok((PathTag::Private { group, element: low, creator }, None));
    }
    if creator.is_some() {
        return Err(TagPathError::CreatorOfStandard(part.to_owned()));
    }
    let tag = Tag(group, u16::from_str_radix(element, 16).map_err(|_| unknown())?);
    let vr = StandardDataDictionary.by_tag(tag).map(|entry| entry.vr().relaxed());
    Ok((PathTag::Standard(tag), vr))
}

/// The two halves of `(gggg,eeee)`; the element is four characters, hexadecimal or, in front, `xx`.
fn hexadecimal(part: &str) -> Option<(u16, &str)> {
    let (group, element) = part.strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let block = element.get(..2)?;
    let plausible = group.len() == 4
        && element.len() == 4
        && digits(group)
        && digits(&element[2..])
        && (digits(block) || block.eq_ignore_ascii_case("xx"));
    if plausible { Some((u16::from_str_radix(group, 16).ok()?, element)) } else { None }
}

/// The dictionary can be asked but not listed; a walk over the image groups takes milliseconds and only follows an
/// error.
fn nearest_keyword(found: &str) -> Option<&'static str> {
    let tags = SUGGESTED_GROUPS.iter().flat_map(|&group| (0..=0xffff).map(move |element| Tag(group, element)));
    let entries = tags.filter_map(|tag| StandardDataDictionary.by_tag(tag).filter(|entry| entry.tag() == tag));
    let keywords: Vec<&'static str> = entries.map(|entry| entry.alias).collect();
    nearest(found, &keywords)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, creator: Option<&str>) -> String {
        match TagPath::parse(text, creator) {
            Ok(path) => format!("{:?} {:?} {}", path.tags(), path.vr(), path.is_confidential()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn reads_keywords_numbers_and_paths() {
        assert_eq!(check("Modality", None), "[Standard(Tag(0x0008, 0x0060))] Some(CS) false");
        assert_eq!(check("(0018,0050)", None), "[Standard(Tag(0x0018, 0x0050))] Some(DS) false");
        assert!(
            check("PerFrameFunctionalGroupsSequence.PlanePositionSequence.ImagePositionPatient", None)
                .ends_with("Some(DS) false")
        );
        assert_eq!(
            check("(0043,xx39)", Some("GEMS_PARM_01")),
            r#"[Private { group: 67, element: 57, creator: "GEMS_PARM_01" }] None true"#
        );
    }

    #[test]
    fn knows_what_tells_who_the_patient_is() {
        for name in ["PatientID", "PatientBirthDate", "PatientName", "OperatorsName", "AccessionNumber", "(0010,0010)"]
        {
            assert!(check(name, None).ends_with("true"), "{name}");
        }
    }

    #[test]
    fn refuses_what_names_no_attribute() {
        let told = TagPath::parse("SliceThicknes", None).expect_err("mistyped");
        assert_eq!(told, TagPathError::Unknown { found: "SliceThicknes".into(), nearest: Some("SliceThickness") });
        assert!(check("Modality.SliceThickness", None).contains("goes through Modality"));
        assert!(check("(0043,1039)", None).contains("without its creator"));
        assert!(check("PixelData", None).starts_with("found pixel data"));
        assert!(check("Modality", Some("X")).contains("is not private"));
        for text in ["", ".", "(00zz,0010)", "(0008,006)", "(0008,0060", "(0043,é39)"] {
            assert!(check(text, None).starts_with("found"), "{text}");
        }
        assert!(check(&"RequestAttributesSequence.".repeat(9), None).contains("at most 8"));
    }
}
