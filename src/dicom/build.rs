//! Builds small data sets by hand for unit tests, legal and illegal ones, in Explicit VR Little Endian.

use dicom_core::Tag;

/// An element with a VR of 16-bit length.
pub fn short(tag: Tag, vr: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = head(tag, vr);
    let padded = value.len() + value.len() % 2;
    bytes.extend_from_slice(&(padded as u16).to_le_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len() + value.len() % 2, if vr == "UI" { 0 } else { b' ' });
    bytes
}

/// An element with a VR of 32-bit length; `length` may lie.
pub fn long(tag: Tag, vr: &str, length: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = head(tag, vr);
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(value);
    bytes
}

/// An item, a delimiter or a fragment; `length` may lie.
pub fn item(tag: Tag, length: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = tag_bytes(tag).to_vec();
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(value);
    bytes
}

/// Text, by default VR of the tag's use in tests.
pub fn text(tag: Tag, vr: &str, value: &str) -> Vec<u8> {
    short(tag, vr, value.as_bytes())
}

/// An unsigned short.
pub fn us(tag: Tag, value: u16) -> Vec<u8> {
    short(tag, "US", &value.to_le_bytes())
}

/// A file with preamble and meta group around a data set.
pub fn part10(transfer_syntax: &str, data_set: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 128];
    file.extend_from_slice(b"DICM");
    file.extend(short(Tag(0x0002, 0x0010), "UI", transfer_syntax.as_bytes()));
    file.extend_from_slice(data_set);
    file
}

fn head(tag: Tag, vr: &str) -> Vec<u8> {
    let mut bytes = tag_bytes(tag).to_vec();
    bytes.extend_from_slice(vr.as_bytes());
    bytes
}

fn tag_bytes(Tag(group, element): Tag) -> [u8; 4] {
    let ([a, b], [c, d]) = (group.to_le_bytes(), element.to_le_bytes());
    [a, b, c, d]
}
