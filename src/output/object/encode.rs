//! Bytes of a data set in Implicit VR Little Endian, exactly as given; it knows no module and no type of attribute.
//!
//! The writer of dicom-rs decodes and encodes text, which changes what it does not know (ISO 2022, GB18030, Turkish).
//! Attributes of the patient have to stay as they came, so this writes values as bytes.

use std::collections::BTreeMap;

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use crate::dicom::Uid;
use crate::structure::Code;

/// Implicit VR Little Endian, which every DICOM node reads and in which a contour may have any length.
const IMPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2";

/// One data set or sequence item: values by tag, sorted as PS3.5 7.1 asks.
#[derive(Default)]
pub struct DataSet(BTreeMap<Tag, Vec<u8>>);

/// Items of a sequence, encoded one by one.
#[derive(Default)]
pub struct Items(Vec<u8>);

impl Items {
    /// Adds an item.
    pub fn push(&mut self, item: DataSet) {
        let start = self.0.len();
        put_header(&mut self.0, Tag(0xfffe, 0xe000), 0);
        item.write_to(&mut self.0);
        let length = (self.0.len() - start - 8) as u32;
        self.0[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
    }
}

impl DataSet {
    /// Sets text; an odd length is filled with a space (PS3.5 6.2).
    pub fn text(&mut self, tag: Tag, value: &str) -> &mut DataSet {
        self.raw(tag, value.as_bytes())
    }

    /// Sets text as bytes of whatever character set; an odd length is filled with a space.
    pub fn raw(&mut self, tag: Tag, value: &[u8]) -> &mut DataSet {
        self.insert(tag, value.to_vec(), b' ')
    }

    /// Sets bytes of a binary value; an odd length is filled with 0 (PS3.5 8.1.1).
    pub fn bytes(&mut self, tag: Tag, value: &[u8]) -> &mut DataSet {
        self.insert(tag, value.to_vec(), 0)
    }

    /// Sets a UID; an odd length is filled with NUL (PS3.5 9.1).
    pub fn uid(&mut self, tag: Tag, uid: &Uid) -> &mut DataSet {
        self.uid_text(tag, uid.as_str())
    }

    /// Sets a UID that is a constant of the standard.
    pub fn uid_text(&mut self, tag: Tag, uid: &str) -> &mut DataSet {
        self.insert(tag, uid.as_bytes().to_vec(), 0)
    }

    /// Sets a sequence. Items have their lengths, which the oldest readers need.
    pub fn sequence(&mut self, tag: Tag, items: impl IntoIterator<Item = DataSet>) -> &mut DataSet {
        let mut encoded = Items::default();
        items.into_iter().for_each(|item| encoded.push(item));
        self.items(tag, encoded)
    }

    /// Sets a sequence of items that were encoded before.
    pub fn items(&mut self, tag: Tag, items: Items) -> &mut DataSet {
        self.insert(tag, items.0, 0)
    }

    /// Takes an attribute out, where a kind of object has no place for it.
    pub fn remove(&mut self, tag: Tag) {
        self.0.remove(&tag);
    }

    /// Sets a sequence of one coded concept (PS3.3 8.8).
    pub fn code(&mut self, tag: Tag, code: Code) -> &mut DataSet {
        self.sequence(tag, [coded(code)])
    }

    /// Adds the bytes of the data set; each value is gone when it is written, because the contours of a structure set are large.
    pub fn write_to(self, bytes: &mut Vec<u8>) {
        for (tag, value) in self.0 {
            put_header(bytes, tag, value.len());
            bytes.extend_from_slice(&value);
        }
    }

    fn insert(&mut self, tag: Tag, mut value: Vec<u8>, padding: u8) -> &mut DataSet {
        if value.len() % 2 == 1 {
            value.push(padding);
        }
        self.0.insert(tag, value);
        self
    }
}

/// The item of one coded concept, to which modifiers may be added.
pub fn coded(code: Code) -> DataSet {
    let mut item = DataSet::default();
    item.text(tags::CODE_VALUE, code.value)
        .text(tags::CODING_SCHEME_DESIGNATOR, code.scheme)
        .text(tags::CODE_MEANING, code.meaning);
    item
}

/// A file of PS3.10 7: preamble, file meta group in Explicit VR Little Endian, data set.
pub fn part10(sop_class_uid: &str, sop_instance_uid: &Uid, data_set: DataSet) -> Vec<u8> {
    let mut meta = Vec::new();
    let mut put = |element: u16, vr: &[u8; 2], value: &[u8]| {
        meta.extend_from_slice(&[0x02, 0x00]);
        meta.extend_from_slice(&element.to_le_bytes());
        meta.extend_from_slice(vr);
        let odd = value.len() % 2;
        let length = (value.len() + odd) as u16;
        if vr == b"OB" {
            meta.extend_from_slice(&[0, 0]);
            meta.extend_from_slice(&u32::from(length).to_le_bytes());
        } else {
            meta.extend_from_slice(&length.to_le_bytes());
        }
        meta.extend_from_slice(value);
        meta.extend_from_slice(&[if vr == b"SH" { b' ' } else { 0 }][..odd]);
    };
    put(0x0001, b"OB", &[0, 1]);
    put(0x0002, b"UI", sop_class_uid.as_bytes());
    put(0x0003, b"UI", sop_instance_uid.as_str().as_bytes());
    put(0x0010, b"UI", IMPLICIT_VR_LITTLE_ENDIAN.as_bytes());
    put(0x0012, b"UI", crate::dicom::implementation_class_uid().as_str().as_bytes());
    put(0x0013, b"SH", crate::dicom::IMPLEMENTATION_VERSION_NAME.as_bytes());
    let mut bytes = vec![0; 128];
    bytes.extend_from_slice(b"DICM");
    bytes.extend_from_slice(&[0x02, 0x00, 0x00, 0x00, b'U', b'L', 4, 0]);
    bytes.extend_from_slice(&(meta.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&meta);
    data_set.write_to(&mut bytes);
    bytes
}

fn put_header(bytes: &mut Vec<u8>, tag: Tag, length: usize) {
    bytes.extend_from_slice(&tag.group().to_le_bytes());
    bytes.extend_from_slice(&tag.element().to_le_bytes());
    bytes.extend_from_slice(&(length as u32).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_tags_and_fills_odd_values() {
        let mut set = DataSet::default();
        set.text(tags::MODALITY, "RTSTRUCT").uid(tags::SOP_CLASS_UID, &"1.2.3".parse().expect("legal"));
        let mut bytes = Vec::new();
        set.write_to(&mut bytes);
        assert_eq!(bytes, b"\x08\x00\x16\x00\x06\x00\x00\x001.2.3\0\x08\x00\x60\x00\x08\x00\x00\x00RTSTRUCT");
    }

    #[test]
    fn nests_items_with_their_lengths() {
        let mut inner = DataSet::default();
        inner.raw(tags::PATIENT_NAME, b"\xd0\xd1\xd2");
        let mut set = DataSet::default();
        set.sequence(tags::CONTOUR_SEQUENCE, [inner, DataSet::default()]);
        let mut bytes = Vec::new();
        set.write_to(&mut bytes);
        let expected = b"\x06\x30\x40\x00\x1c\x00\x00\x00\xfe\xff\x00\xe0\x0c\x00\x00\x00\x10\x00\x10\x00\x04\x00\x00\x00\xd0\xd1\xd2 \xfe\xff\x00\xe0\x00\x00\x00\x00";
        assert_eq!(bytes, expected);
    }
}
