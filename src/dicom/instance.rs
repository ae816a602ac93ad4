//! One SOP instance: its identifiers, checked, and its header, parsed; pixel data stays where it is.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::Read;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;
use thiserror::Error;

use super::scan::{Bounds, Element, PixelData, Scan, ScanError, scan};
use super::{SeriesKey, Syntax, Uid, UidError, header, part10};
use crate::limits::{ELEMENT_MEMORY_BYTES, RECEIVED_ELEMENT_BYTES_MAX, RECEIVED_HEADER_BYTES_MAX};

/// One SOP instance without its pixels. Its data set was walked to the last byte and is complete.
///
/// It holds attributes of the patient, so it derives no `Debug`.
pub struct Instance {
    pub sop_class_uid: Uid,
    pub sop_instance_uid: Uid,
    pub study_instance_uid: Uid,
    pub series_instance_uid: Uid,
    pub transfer_syntax_uid: Uid,
    /// All elements before the pixel data, nested sequences included, except [`Instance::unread`].
    pub header: InMemDicomObject,
    /// Top-level elements which the parser could not read (private ones with broken content, mostly).
    pub unread: Vec<Tag>,
    /// Where the pixels lie, in bytes from the start of the data set.
    pub pixel_data: Option<PixelData>,
    bytes: Vec<u8>,
    elements: Vec<Element>,
    syntax: Syntax,
    count: usize,
}

/// Why bytes are not an instance; the variants are for the answer to a C-STORE (PS3.4 B.2.3).
#[derive(Debug, Error)]
pub enum InstanceError {
    /// Cannot understand: Cxxx.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// Cannot understand: Cxxx, with the tag as Offending Element.
    #[error("{name} {tag} is missing or empty, expected a UID; the sender has to fill it in")]
    MissingUid { tag: Tag, name: &'static str },
    /// Cannot understand: Cxxx, with the tag as Offending Element.
    #[error("{name} {tag}: {source}")]
    Uid {
        tag: Tag,
        name: &'static str,
        #[source]
        source: UidError,
    },
    /// Cannot understand: Cxxx, with the tag as Offending Element.
    #[error("{tag} appears twice in the data set, expected once: its value would be ambiguous")]
    Duplicate { tag: Tag },
}

impl Instance {
    /// Reads an instance from a DICOM file (PS3.10): preamble, file meta group, data set. Files that lack the first
    /// two are read where the encoding can be recognised. `reader` should be buffered.
    ///
    /// # Errors
    /// [`InstanceError`]: the data set is incomplete or out of bounds, or one of the four UIDs is missing or illegal.
    pub fn read_part10(reader: impl Read) -> Result<Instance, InstanceError> {
        let file = part10::read_part10(reader)?;
        Instance::from_scan(file.scan, file.transfer_syntax_uid, |_| false)
    }

    /// The same, but one top-level sequence stays out of the header: its items are parsed one by one, by
    /// [`Instance::item`], because all of them together would be many times the size of the file.
    ///
    /// # Errors
    /// As [`Instance::read_part10`].
    pub fn read_part10_apart(reader: impl Read, apart: Tag) -> Result<Instance, InstanceError> {
        let file = part10::read_part10(reader)?;
        Instance::from_scan(file.scan, file.transfer_syntax_uid, |element| element.tag == apart)
    }

    /// Reads an instance from a data set without file meta group, as it comes over the network, in the transfer
    /// syntax of its presentation context. `reader` should be buffered.
    ///
    /// # Errors
    /// As [`Instance::read_part10`].
    pub fn read_data_set(reader: impl Read, transfer_syntax_uid: &Uid) -> Result<Instance, InstanceError> {
        let syntax =
            Syntax::of(transfer_syntax_uid).ok_or_else(|| ScanError::TransferSyntax(transfer_syntax_uid.clone()))?;
        Instance::from_scan(scan(reader, syntax, Bounds::RECEIVED)?, transfer_syntax_uid.clone(), |_| false)
    }

    /// The same, of which what is large is walked through and forgotten: what a listener has to know of an instance is
    /// small, and a text of some megabytes, each of whose values the parser makes a string of, is none of it. The header
    /// lacks elements of more than [`RECEIVED_ELEMENT_BYTES_MAX`], and those for which [`RECEIVED_HEADER_BYTES_MAX`]
    /// leaves no room; [`Instance::raw`] and [`Instance::item`] know nothing.
    ///
    /// # Errors
    /// As [`Instance::read_part10`].
    pub fn read_received(reader: impl Read, transfer_syntax_uid: &Uid) -> Result<Instance, InstanceError> {
        let syntax =
            Syntax::of(transfer_syntax_uid).ok_or_else(|| ScanError::TransferSyntax(transfer_syntax_uid.clone()))?;
        let scan = scan(reader, syntax, Bounds::RECEIVED)?;
        let mut room = RECEIVED_HEADER_BYTES_MAX;
        let takes = |element: &&Element| {
            let taken = element.whole.len() <= RECEIVED_ELEMENT_BYTES_MAX.min(room);
            room -= if taken { element.whole.len() } else { 0 };
            taken
        };
        let kept: HashSet<usize> = scan.elements.iter().filter(takes).map(|element| element.whole.start).collect();
        let apart = |element: &Element| !kept.contains(&element.whole.start);
        let mut instance = Instance::from_scan(scan, transfer_syntax_uid.clone(), apart)?;
        instance.bytes = Vec::new();
        instance.elements.retain(|element| kept.contains(&element.whole.start));
        instance.elements.shrink_to_fit();
        Ok(instance)
    }

    fn from_scan(
        scan: Scan,
        transfer_syntax_uid: Uid,
        apart: impl Fn(&Element) -> bool,
    ) -> Result<Instance, InstanceError> {
        if let Some(tag) = duplicate(&scan.elements) {
            return Err(InstanceError::Duplicate { tag });
        }
        let uid = |tag, name| {
            let value = scan.elements.iter().find(|element| element.tag == tag);
            let bytes = value.map_or(&[][..], |element| &scan.header[element.value.clone()]);
            // A byte outside ASCII becomes a character that the UID refuses.
            let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
            text.parse::<Uid>().map_err(|source| match source {
                UidError::Empty => InstanceError::MissingUid { tag, name },
                source => InstanceError::Uid { tag, name, source },
            })
        };
        let sop_class_uid = uid(tags::SOP_CLASS_UID, "SOP Class UID")?;
        let sop_instance_uid = uid(tags::SOP_INSTANCE_UID, "SOP Instance UID")?;
        let study_instance_uid = uid(tags::STUDY_INSTANCE_UID, "Study Instance UID")?;
        let series_instance_uid = uid(tags::SERIES_INSTANCE_UID, "Series Instance UID")?;
        let syntax =
            Syntax::of(&transfer_syntax_uid).ok_or_else(|| ScanError::TransferSyntax(transfer_syntax_uid.clone()))?;
        let header::Parsed { header, unread } = header::parse(&scan, syntax, apart);
        Ok(Instance {
            sop_class_uid,
            sop_instance_uid,
            study_instance_uid,
            series_instance_uid,
            transfer_syntax_uid,
            header,
            unread,
            pixel_data: scan.pixel_data,
            bytes: scan.header,
            elements: scan.elements,
            syntax,
            count: scan.count,
        })
    }

    /// The number of items of a top-level sequence; 0 when it is absent or not a sequence.
    pub fn count_items(&self, tag: Tag) -> usize {
        self.elements.iter().find(|element| element.tag == tag).map_or(0, |element| element.items.len())
    }

    /// One item of a top-level sequence, from the header or, where that was kept apart, parsed now. None where there is
    /// no such item or the parser cannot read it.
    pub fn item(&self, tag: Tag, index: usize) -> Option<Cow<'_, InMemDicomObject>> {
        if let Some(element) = self.header.get(tag) {
            return element.items()?.get(index).map(Cow::Borrowed);
        }
        let element = self.elements.iter().find(|element| element.tag == tag && !element.is_beyond_the_parser())?;
        // What lies in an unknown element is implicit in every transfer syntax (PS3.5 6.2.2).
        let implicit = Syntax { explicit: false, big_endian: false, deflated: false };
        let syntax = if element.vr == VR::UN { implicit } else { self.syntax };
        header::parse_item(&self.bytes, element.items.get(index)?, syntax, &self.header).map(Cow::Owned)
    }

    /// The series that this instance belongs to.
    pub fn series_key(&self) -> SeriesKey {
        SeriesKey {
            study_instance_uid: self.study_instance_uid.clone(),
            series_instance_uid: self.series_instance_uid.clone(),
        }
    }

    /// About how much memory the header takes.
    pub fn memory_bytes(&self) -> u64 {
        2 * self.bytes.len() as u64 + self.count as u64 * ELEMENT_MEMORY_BYTES
    }

    /// The value of a top-level element before the pixel data, byte for byte as it came, with its padding and in its
    /// own character set; none when the element is absent. Text looks the same in every transfer syntax.
    pub fn raw(&self, tag: Tag) -> Option<&[u8]> {
        let element = self.elements.iter().find(|element| element.tag == tag)?;
        self.bytes.get(element.value.clone())
    }

    /// The VR of a top-level element before the pixel data, as written or from the dictionary.
    pub fn vr(&self, tag: Tag) -> Option<VR> {
        self.elements.iter().find(|element| element.tag == tag).map(|element| element.vr)
    }

    /// Whether the elements were encoded big endian; it matters to whoever reads [`Instance::raw`] numbers.
    pub fn is_big_endian(&self) -> bool {
        self.syntax.big_endian
    }

    /// The text of a top-level element, decoded, without padding; values stay separated by backslashes. None when it
    /// is absent or empty.
    pub fn text(&self, tag: Tag) -> Option<String> {
        text(&self.header, tag)
    }

    /// All values of a top-level DS, IS or binary number; none when it is absent, empty or one of the values is no
    /// finite number.
    pub fn f64s(&self, tag: Tag) -> Option<Vec<f64>> {
        f64s(&self.header, tag)
    }

    /// The first value of a top-level IS or binary integer.
    pub fn integer(&self, tag: Tag) -> Option<i64> {
        integer(&self.header, tag)
    }
}

/// The text of an element of a data set or an item, without padding; none when it is absent or empty.
pub fn text(object: &InMemDicomObject, tag: Tag) -> Option<String> {
    let value = object.get(tag)?.value().to_str().ok()?;
    let trimmed = value.trim_matches([' ', '\0']);
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

/// All values of a number; none when it is absent, empty or one of the values is no finite number.
pub fn f64s(object: &InMemDicomObject, tag: Tag) -> Option<Vec<f64>> {
    let values = numbers(object.get(tag)?)?;
    (!values.is_empty() && values.iter().all(|x| x.is_finite())).then_some(values)
}

/// The first value of an integer; none when it is absent or has a fraction.
pub fn integer(object: &InMemDicomObject, tag: Tag) -> Option<i64> {
    let first = *numbers(object.get(tag)?)?.first()?;
    (first.fract() == 0.0 && first.abs() < 9e15).then_some(first as i64)
}

/// The items of a sequence; none (an empty slice) when it is absent or not a sequence.
pub fn items(object: &InMemDicomObject, tag: Tag) -> &[InMemDicomObject] {
    object.get(tag).and_then(|element| element.items()).unwrap_or_default()
}

fn numbers(element: &InMemElement) -> Option<Vec<f64>> {
    let value = element.value().primitive()?;
    match value {
        dicom_core::PrimitiveValue::Str(_) | dicom_core::PrimitiveValue::Strs(_) => {
            let text = value.to_str();
            let text = text.trim_matches([' ', '\0']);
            if text.is_empty() {
                return None;
            }
            text.split('\\').map(|part| part.trim_matches([' ', '\0']).parse().ok()).collect()
        }
        _ => value.to_multi_float64().ok(),
    }
}

/// A standard tag that appears twice at the top level.
fn duplicate(elements: &[Element]) -> Option<Tag> {
    let mut standard: Vec<Tag> =
        elements.iter().map(|element| element.tag).filter(|tag| tag.group() % 2 == 0).collect();
    standard.sort_unstable();
    standard.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::build::{long, text};
    use crate::dicom::syntax::EXPLICIT_LITTLE;

    /// What a listener reads of a data set with these elements between its study and its position.
    fn received(between: &[Vec<u8>]) -> Instance {
        let data_set = [
            text(tags::SOP_CLASS_UID, "UI", "1.2.840.10008.5.1.4.1.1.2"),
            text(tags::SOP_INSTANCE_UID, "UI", "1.2.3.4"),
            between.concat(),
            text(tags::STUDY_INSTANCE_UID, "UI", "1.2.3"),
            text(tags::SERIES_INSTANCE_UID, "UI", "1.2.3.1"),
            text(tags::IMAGE_POSITION_PATIENT, "DS", "1\\2\\3"),
        ];
        let syntax = EXPLICIT_LITTLE.parse().expect("a UID");
        Instance::read_received(data_set.concat().as_slice(), &syntax).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_listener_makes_no_strings_of_a_large_text() {
        let many = b"\\ ".repeat(4 << 20);
        let instance = received(&[long(Tag(0x0009, 0x1001), "UT", many.len() as u32, &many)]);
        assert!(instance.header.get(Tag(0x0009, 0x1001)).is_none());
        assert_eq!(instance.f64s(tags::IMAGE_POSITION_PATIENT), Some(vec![1.0, 2.0, 3.0]), "what comes after is read");
        assert!(instance.bytes.is_empty() && instance.elements.len() == 5);
    }

    #[test]
    fn a_listener_reads_no_more_than_has_room() {
        let full = RECEIVED_ELEMENT_BYTES_MAX - 12;
        let some = |element| long(Tag(0x0009, element), "UT", full as u32, &b"\\ ".repeat(full / 2));
        let count = (RECEIVED_HEADER_BYTES_MAX / RECEIVED_ELEMENT_BYTES_MAX) as u16;
        let instance = received(&(0..4 * count).map(|index| some(0x1000 + index)).collect::<Vec<_>>());
        let read = instance.header.iter().filter(|element| element.header().tag.group() == 0x0009).count();
        assert_eq!(
            read,
            usize::from(count) - 1,
            "the UIDs before them took some room, and the rest is left to the position"
        );
        assert!(instance.f64s(tags::IMAGE_POSITION_PATIENT).is_some());
        assert_eq!(instance.series_key().series_instance_uid.as_str(), "1.2.3.1");
    }
}
