//! Parses the header of a scanned data set by dicom-rs; what it cannot read is left out and listed.

use std::borrow::Cow;
use std::ops::Range;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;
use dicom_encoding::text::SpecificCharacterSet;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::entries;

use super::Syntax;
use super::scan::{Element, Scan};

pub(super) struct Parsed {
    pub header: InMemDicomObject,
    /// Top-level elements that could not be parsed.
    pub unread: Vec<Tag>,
}

/// Parses the header in one go, and element by element where that fails: one broken private element must not cost
/// an image. The bytes were approved by the scanner, so the parser's own lack of bounds does not matter. Elements that
/// are `apart` are passed over.
pub(super) fn parse(scan: &Scan, syntax: Syntax, apart: impl Fn(&Element) -> bool) -> Parsed {
    let wanted = || scan.elements.iter().filter(|element| !apart(element));
    let bytes = match scan.elements.iter().any(&apart) {
        true => Cow::Owned(wanted().map(|element| &scan.header[element.whole.clone()]).collect::<Vec<_>>().concat()),
        false => Cow::Borrowed(scan.header.as_slice()),
    };
    if !scan.elements.iter().any(|element| element.unknown_inside || element.uneven_inside)
        && let Some(header) = parse_bytes(&bytes, syntax, SpecificCharacterSet::default())
    {
        return Parsed { header, unread: Vec::new() };
    }
    let mut parsed = Parsed { header: InMemDicomObject::new_empty(), unread: Vec::new() };
    let mut character_set = SpecificCharacterSet::default();
    for element in wanted() {
        if element.is_beyond_the_parser() {
            parsed.unread.push(element.tag);
            continue;
        }
        let Some(object) = parse_element(scan, element, syntax, &character_set) else {
            parsed.unread.push(element.tag);
            continue;
        };
        if element.tag == Tag(0x0008, 0x0005) {
            character_set = declared(&object).unwrap_or_default();
        }
        for read in object {
            parsed.header.put(read);
        }
    }
    parsed
}

/// The elements of a data set that was scanned whole, such as that of a message; what the parser cannot read is left out.
pub fn elements(scan: &Scan, syntax: Syntax) -> InMemDicomObject {
    parse(scan, syntax, |_| false).header
}

/// Parses one item of a sequence that was kept apart from `header`.
pub(super) fn parse_item(
    bytes: &[u8],
    range: &Range<usize>,
    syntax: Syntax,
    header: &InMemDicomObject,
) -> Option<InMemDicomObject> {
    parse_bytes(bytes.get(range.clone())?, syntax, declared(header).unwrap_or_default())
}

/// As the parser chooses it when it reads all in one go: by the first value.
fn declared(object: &InMemDicomObject) -> Option<SpecificCharacterSet> {
    let value = object.get(Tag(0x0008, 0x0005))?.value().to_multi_str().ok()?;
    SpecificCharacterSet::from_code(value.first()?)
}

fn parse_element(
    scan: &Scan,
    element: &Element,
    syntax: Syntax,
    character_set: &SpecificCharacterSet,
) -> Option<InMemDicomObject> {
    if element.vr == VR::UN && element.unknown_inside {
        // The parser reads a UN of undefined length as if it were encoded like what surrounds it; it is Implicit VR
        // Little Endian in every transfer syntax (PS3.5 6.2.2).
        let mut bytes = Vec::with_capacity(8 + element.value.len());
        bytes.extend_from_slice(&element.tag.group().to_le_bytes());
        bytes.extend_from_slice(&element.tag.element().to_le_bytes());
        bytes.extend_from_slice(&[0xff; 4]);
        bytes.extend_from_slice(&scan.header[element.value.clone()]);
        let implicit = Syntax { explicit: false, big_endian: false, deflated: false };
        return parse_bytes(&bytes, implicit, character_set.clone());
    }
    parse_bytes(&scan.header[element.whole.clone()], syntax, character_set.clone())
}

fn parse_bytes(bytes: &[u8], syntax: Syntax, character_set: SpecificCharacterSet) -> Option<InMemDicomObject> {
    // The bytes are inflated already, so a deflated data set is Explicit VR Little Endian here.
    let transfer_syntax = match (syntax.explicit, syntax.big_endian) {
        (false, _) => entries::IMPLICIT_VR_LITTLE_ENDIAN.erased(),
        (true, false) => entries::EXPLICIT_VR_LITTLE_ENDIAN.erased(),
        (true, true) => entries::EXPLICIT_VR_BIG_ENDIAN.erased(),
    };
    InMemDicomObject::read_dataset_with_dict_ts_cs(bytes, StandardDataDictionary, &transfer_syntax, character_set).ok()
}
