//! What the scanner accepts and where it refuses.

use dicom_core::{Tag, VR};

use super::*;
use crate::dicom::build::{item, long, short, text, us};
use crate::dicom::walk::{ITEM, ITEM_END, PIXEL_DATA, SEQUENCE_END, UNDEFINED};

const EXPLICIT: Syntax = Syntax { explicit: true, big_endian: false, deflated: false };
const IMPLICIT: Syntax = Syntax { explicit: false, big_endian: false, deflated: false };
const SEQUENCE: Tag = Tag(0x0008, 0x1140);
const NAME: Tag = Tag(0x0010, 0x0010);

fn message(bytes: &[u8], syntax: Syntax) -> String {
    match scan(bytes, syntax, Bounds::RECEIVED) {
        Ok(_) => "complete".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn check(bytes: &[u8], part: &str) {
    let found = message(bytes, EXPLICIT);
    assert!(found.contains(part), "{found}");
}

fn nested(levels: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..levels {
        bytes.extend(long(SEQUENCE, "SQ", UNDEFINED, &[]));
        bytes.extend(item(ITEM, UNDEFINED, &[]));
    }
    for _ in 0..levels {
        bytes.extend(item(ITEM_END, 0, &[]));
        bytes.extend(item(SEQUENCE_END, 0, &[]));
    }
    bytes
}

#[test]
fn finds_elements_and_pixel_data() {
    let mut bytes = text(NAME, "PN", "A^B");
    let inner = us(Tag(0x0028, 0x0010), 7);
    let one = item(ITEM, inner.len() as u32, &inner);
    bytes.extend(long(SEQUENCE, "SQ", one.len() as u32, &one));
    let header = bytes.len();
    bytes.extend(long(PIXEL_DATA, "OW", 4, &[1, 2, 3, 4]));
    bytes.extend(long(Tag(0xfffc, 0xfffc), "OB", 2, &[0, 0]));
    let found = scan(bytes.as_slice(), EXPLICIT, Bounds::RECEIVED).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((found.header.len(), found.length), (header, bytes.len() as u64));
    assert_eq!(found.elements.iter().map(|e| (e.tag, e.vr)).collect::<Vec<_>>(), [(NAME, VR::PN), (SEQUENCE, VR::SQ)]);
    assert_eq!(&found.header[found.elements[0].value.clone()], b"A^B ");
    assert_eq!(found.elements[1].whole.end, header);
    let start = header as u64 + 12;
    let pixels = found.pixel_data.expect("pixel data");
    assert_eq!(pixels.value, PixelValue::Native(start..start + 4));
}

#[test]
fn equal_pixels_have_one_digest_and_others_another() {
    let digest = |pixels: &[u8]| {
        let bytes = long(PIXEL_DATA, "OW", pixels.len() as u32, pixels);
        scan(bytes.as_slice(), EXPLICIT, Bounds::RECEIVED)
            .ok()
            .and_then(|scan| scan.pixel_data)
            .expect("pixel data")
            .digest
    };
    assert_eq!(digest(&[1, 2]), digest(&[1, 2]));
    assert_ne!(digest(&[1, 2]), digest(&[1, 3]));
}

#[test]
fn refuses_nesting_beyond_the_limit_without_recursion() {
    assert_eq!(message(&nested(NESTING_MAX), EXPLICIT), "complete");
    for levels in [NESTING_MAX + 1, 5_000, 100_000] {
        check(&nested(levels), "nested 63 sequences deep");
    }
}

#[test]
fn refuses_lengths_beyond_the_data_without_allocating_them() {
    for vr in ["OB", "UN", "UT", "OW"] {
        let bytes = long(Tag(0x0009, 0x1001), vr, 0xffff_fff0, &[0; 16]);
        let started = std::time::Instant::now();
        check(&bytes, "header is longer than");
        assert!(started.elapsed().as_millis() < 500);
    }
    check(&long(PIXEL_DATA, "OW", 0xffff_fff0, &[0; 16]), "needs 4294967264 more bytes");
    check(&long(Tag(0x0009, 0x1001), "OB", 1_000_000, &[0; 16]), "needs 999984 more bytes");
    let implicit = item(PIXEL_DATA, 0xffff_fff0, &[0; 16]);
    assert!(message(&implicit, IMPLICIT).contains("truncated"));
}

#[test]
fn refuses_truncation_at_every_byte_of_a_data_set() {
    let mut bytes = text(NAME, "PN", "A^B");
    let boundary = bytes.len();
    let inner = text(NAME, "PN", "C");
    bytes.extend(long(SEQUENCE, "SQ", UNDEFINED, &item(ITEM, inner.len() as u32, &inner)));
    bytes.extend(item(SEQUENCE_END, 0, &[]));
    let header = bytes.len();
    bytes.extend(long(PIXEL_DATA, "OB", UNDEFINED, &item(ITEM, 0, &[])));
    bytes.extend(item(ITEM, 4, &[1, 2, 3, 4]));
    bytes.extend(item(SEQUENCE_END, 0, &[]));
    for end in 1..bytes.len() {
        let is_whole = end == boundary || end == header;
        let found = message(&bytes[..end], EXPLICIT);
        assert_eq!(found == "complete", is_whole, "cut at byte {end} of {}: {found}", bytes.len());
        assert!(is_whole || found.contains("truncated"), "cut at byte {end}: {found}");
    }
    assert_eq!(message(&bytes, EXPLICIT), "complete");
}

#[test]
fn refuses_a_fragment_longer_than_the_data() {
    let mut bytes = long(PIXEL_DATA, "OB", UNDEFINED, &item(ITEM, 0, &[]));
    bytes.extend(item(ITEM, 0xffff_fff0, &[0; 64]));
    check(&bytes, "truncated");
    let mut bytes = long(PIXEL_DATA, "OB", UNDEFINED, &item(ITEM, 0, &[]));
    bytes.extend(item(ITEM, UNDEFINED, &[0; 64]));
    check(&bytes, "undefined length");
    let mut bytes = long(PIXEL_DATA, "OB", UNDEFINED, &item(ITEM, 0, &[]));
    bytes.extend(item(NAME, 2, &[0; 2]));
    check(&bytes, "a fragment or the end of pixel data");
}

#[test]
fn refuses_items_and_delimiters_where_none_belong() {
    check(&item(ITEM, 0, &[]), "expected an element");
    check(&item(ITEM_END, 0, &[]), "expected an element");
    check(&item(SEQUENCE_END, 0, &[]), "expected an element");
    check(&long(SEQUENCE, "SQ", 8, &item(NAME, 0, &[])), "expected an item");
    check(&text(Tag(0x0000, 0x0002), "UI", "1.2"), "no element of a command");
}

#[test]
fn refuses_an_element_that_leaves_its_item() {
    let inner = text(NAME, "PN", "ABCD");
    let cut = item(ITEM, inner.len() as u32 - 2, &inner);
    check(&long(SEQUENCE, "SQ", cut.len() as u32, &cut), "bytes are left in the item");
    let header_only = item(ITEM, 4, &inner);
    check(&long(SEQUENCE, "SQ", header_only.len() as u32, &header_only), "bytes are left in the item");
}

#[test]
fn refuses_another_encoding_than_the_transfer_syntax_says() {
    let explicit = text(NAME, "PN", "A^B");
    assert!(message(&explicit, IMPLICIT).contains("truncated"));
    let implicit = item(NAME, 4, b"A^B ");
    check(&implicit, "two capital letters");
    check(&[], "empty");
    check(&long(Tag(0x0009, 0x1001), "OB", UNDEFINED, &[]), "undefined length");
}

#[test]
fn unknown_of_undefined_length_holds_implicit_elements() {
    let mut inner = item(ITEM, UNDEFINED, &item(NAME, 4, b"A^B "));
    inner.extend(item(ITEM_END, 0, &[]));
    inner.extend(item(SEQUENCE_END, 0, &[]));
    let bytes = long(Tag(0x0009, 0x1001), "UN", UNDEFINED, &inner);
    let found = scan(bytes.as_slice(), EXPLICIT, Bounds::RECEIVED).unwrap_or_else(|error| panic!("{error}"));
    assert!(found.elements[0].unknown_inside);
    assert_eq!(found.elements[0].whole, 0..bytes.len());
}

#[test]
fn unknown_of_undefined_length_within_a_sequence_never_reaches_the_parser() {
    // For the scanner an implicit element of 17,237 bytes; for the parser, which goes on in explicit, UC of 4 GiB.
    let mut value = vec![0xF0, 0xFF, 0xFF, 0xFF];
    value.resize(0x4355, b' ');
    let inner = item(Tag(0x0009, 0x1002), 0x4355, &value);
    let mut unknown = item(ITEM, inner.len() as u32, &inner);
    unknown.extend(item(SEQUENCE_END, 0, &[]));
    let unknown = long(Tag(0x0009, 0x1001), "UN", UNDEFINED, &unknown);
    let inside = long(SEQUENCE, "SQ", unknown.len() as u32 + 8, &item(ITEM, unknown.len() as u32, &unknown));
    let bytes = [inside, text(NAME, "PN", "A^B")].concat();
    let found = scan(bytes.as_slice(), EXPLICIT, Bounds::RECEIVED).unwrap_or_else(|error| panic!("{error}"));
    let beyond: Vec<bool> = found.elements.iter().map(|element| element.is_beyond_the_parser()).collect();
    assert_eq!(beyond, [true, false]);
    let parsed = crate::dicom::header::parse(&found, EXPLICIT, |_| false);
    assert_eq!(parsed.unread, [SEQUENCE]);
    assert_eq!(parsed.header.iter().count(), 1, "the rest is read");
}

#[test]
fn numbers_of_uneven_length_are_marked_wherever_they_stand() {
    let odd = short(Tag(0x0028, 0x1199), "UL", &[1, 0]);
    let inside = long(SEQUENCE, "SQ", odd.len() as u32 + 8, &item(ITEM, odd.len() as u32, &odd));
    let bytes = [inside, text(NAME, "PN", "A^B"), odd, long(PIXEL_DATA, "OW", 3, &[1, 2, 3])].concat();
    let found = scan(bytes.as_slice(), EXPLICIT, Bounds::RECEIVED).unwrap_or_else(|error| panic!("{error}"));
    let marked: Vec<bool> = found.elements.iter().map(|element| element.uneven_inside).collect();
    assert_eq!(marked, [true, false, true]);
    // The parser would take what follows for an element of 4 GiB.
    let parsed = crate::dicom::header::parse(&found, EXPLICIT, |_| false);
    assert_eq!(parsed.unread, [SEQUENCE, Tag(0x0028, 0x1199)]);
    assert!(parsed.header.get(NAME).is_some());
}

#[test]
fn an_icon_with_an_uneven_offset_table_is_marked() {
    let icon = |table: &[u8]| {
        let fragments = [item(ITEM, table.len() as u32, table), item(SEQUENCE_END, 0, &[])].concat();
        let pixels = long(PIXEL_DATA, "OB", UNDEFINED, &fragments);
        let bytes = long(SEQUENCE, "SQ", pixels.len() as u32 + 8, &item(ITEM, pixels.len() as u32, &pixels));
        let found = scan(bytes.as_slice(), EXPLICIT, Bounds::RECEIVED).unwrap_or_else(|error| panic!("{error}"));
        found.elements[0].uneven_inside
    };
    assert_eq!([icon(&[]), icon(&[0; 4]), icon(&[0; 2])], [false, false, true]);
}

#[test]
fn zeros_after_pixel_data_are_padding_and_anything_else_is_not() {
    let mut bytes = long(PIXEL_DATA, "OW", 2, &[1, 2]);
    bytes.extend([0; 37]);
    assert_eq!(message(&bytes, EXPLICIT), "complete");
    bytes.push(1);
    check(&bytes, "expected the end of the data set");
}

#[test]
fn a_deflate_bomb_stops_at_its_bound() {
    use flate2::{Compression, write::DeflateEncoder};
    use std::io::Write;
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&long(PIXEL_DATA, "OW", 0xffff_fff0, &[])).expect("memory");
    encoder.write_all(&vec![0; 4 << 20]).expect("memory");
    let deflated = Syntax { deflated: true, ..EXPLICIT };
    let bytes = encoder.finish().expect("memory");
    assert!(message(&bytes, deflated).contains("inflates to more than"));
    assert!(message(&bytes[..bytes.len() / 2], deflated).contains("inflates to more than"));
}

#[test]
fn a_deflated_stream_that_stops_short_is_truncated() {
    use flate2::{Compression, write::DeflateEncoder};
    use std::io::Write;
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    let noise: Vec<u8> = (0..4096_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    encoder.write_all(&long(PIXEL_DATA, "OW", 4096, &noise)).expect("memory");
    let bytes = encoder.finish().expect("memory");
    let deflated = Syntax { deflated: true, ..EXPLICIT };
    assert_eq!(message(&bytes, deflated), "complete");
    assert!(message(&bytes[..bytes.len() / 2], deflated).contains("truncated"));
}

#[test]
fn counts_elements_against_their_bound() {
    let one = short(Tag(0x0009, 0x1001), "LO", b"");
    check(&one.repeat(ELEMENTS_MAX + 1), "more than 500000 elements");
}
