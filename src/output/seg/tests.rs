//! Segmentations made by hand, right and wrong, read.

use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

use super::*;

fn item(elements: Vec<DataElement<InMemDicomObject>>) -> InMemDicomObject {
    InMemDicomObject::from_element_iter(elements)
}

fn text(tag: Tag, vr: VR, value: &str) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, vr, PrimitiveValue::from(value))
}

fn short(tag: Tag, value: u16) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::US, PrimitiveValue::from(value))
}

fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::SQ, DataSetSequence::from(items))
}

/// A segmentation of 3 rows and 3 columns; each frame is a segment, a position, and its pixels as `#` and `.`.
fn segmentation(frames: &[(u16, f64, &str)], changes: &[DataElement<InMemDicomObject>]) -> Vec<u8> {
    let frame = |(segment, z, _): &(u16, f64, &str)| {
        let number = item(vec![short(tags::REFERENCED_SEGMENT_NUMBER, *segment)]);
        let place = item(vec![text(tags::IMAGE_POSITION_PATIENT, VR::DS, &format!("-1\\2\\{z}"))]);
        item(vec![
            sequence(tags::SEGMENT_IDENTIFICATION_SEQUENCE, vec![number]),
            sequence(tags::PLANE_POSITION_SEQUENCE, vec![place]),
        ])
    };
    let measures = vec![text(tags::PIXEL_SPACING, VR::DS, "2\\1"), text(tags::SLICE_THICKNESS, VR::DS, "3")];
    let orientation = vec![text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0")];
    let shared = item(vec![
        sequence(tags::PIXEL_MEASURES_SEQUENCE, vec![item(measures)]),
        sequence(tags::PLANE_ORIENTATION_SEQUENCE, vec![item(orientation)]),
    ]);
    let segment = |number: u16, label: &str| {
        item(vec![short(tags::SEGMENT_NUMBER, number), text(tags::SEGMENT_LABEL, VR::LO, label)])
    };
    let bits: Vec<bool> = frames.iter().flat_map(|(_, _, pixels)| pixels.chars().map(|c| c == '#')).collect();
    let mut bytes = vec![0_u8; bits.len().div_ceil(16) * 2];
    bits.iter().enumerate().filter(|(_, set)| **set).for_each(|(index, _)| bytes[index / 8] |= 1 << (index % 8));
    let mut object = item(vec![
        text(tags::SOP_CLASS_UID, VR::UI, SOP_CLASS_UID),
        text(tags::SOP_INSTANCE_UID, VR::UI, "1.2.3"),
        text(tags::STUDY_INSTANCE_UID, VR::UI, "1.2.4"),
        text(tags::SERIES_INSTANCE_UID, VR::UI, "1.2.5"),
        text(tags::SEGMENTATION_TYPE, VR::CS, "BINARY"),
        text(tags::NUMBER_OF_FRAMES, VR::IS, &frames.len().to_string()),
        short(tags::ROWS, 3),
        short(tags::COLUMNS, 3),
        short(tags::BITS_ALLOCATED, 1),
        sequence(tags::SEGMENT_SEQUENCE, vec![segment(1, "Heart"), segment(2, "Lung_L"), segment(3, "none")]),
        sequence(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared]),
        sequence(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, frames.iter().map(frame).collect()),
        DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::from(bytes)),
    ]);
    changes.iter().for_each(|change| drop(object.put(change.clone())));
    let file = object.with_meta(FileMetaTableBuilder::new().transfer_syntax("1.2.840.10008.1.2.1")).expect("a file");
    let mut out = Vec::new();
    file.write_all(&mut out).expect("written");
    out
}

/// The slices of a mask as text.
fn slices(segment: &Segment) -> Vec<String> {
    let mask = segment.mask.as_ref().expect("a mask");
    let slice = |plane: ndarray::ArrayView2<'_, bool>| plane.iter().map(|&v| if v { '#' } else { '.' }).collect();
    mask.voxels.outer_iter().map(slice).collect()
}

#[test]
fn reads_bits_through_frames_and_puts_empty_planes_around_them() {
    // Out of order, two segments, and nine bits a frame, so that frames begin within bytes.
    let bytes = segmentation(&[(1, 6.0, "#...#...#"), (2, 3.0, "..#......"), (1, 3.0, ".#.....##")], &[]);
    let found = read(&bytes).unwrap_or_else(|error| panic!("{error}"));
    let labels: Vec<&str> = found.iter().map(|segment| segment.label.as_str()).collect();
    assert_eq!(labels, ["Heart", "Lung_L", "none"]);
    assert_eq!(slices(&found[0]), [".........", ".#.....##", "#...#...#", "........."]);
    assert_eq!(slices(&found[1]), [".........", "..#......", "........."]);
    assert!(found[2].mask.is_none());
    let geometry = &found[0].mask.as_ref().expect("a mask").geometry;
    assert_eq!(geometry.positions_mm(), [0.0, 3.0, 6.0, 9.0]);
    assert_eq!(geometry.slice_origins()[1], [-1.0, 2.0, 3.0]);
    assert_eq!((geometry.row_spacing_mm(), geometry.column_spacing_mm()), (2.0, 1.0));
}

#[test]
fn a_frame_that_is_left_out_is_an_empty_plane() {
    let (full, none) = ("#########", ".........");
    let bytes = segmentation(&[(1, 0.0, full), (1, 3.0, full), (1, 9.0, full), (1, 30.0, full)], &[]);
    let found = read(&bytes).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(slices(&found[0]), [none, full, full, none, full, none, none, full, none]);
    let positions = found[0].mask.as_ref().expect("a mask").geometry.positions_mm().to_vec();
    assert_eq!(positions, [-3.0, 0.0, 3.0, 6.0, 9.0, 12.0, 27.0, 30.0, 33.0]);
}

/// The same with a byte for each pixel.
fn bytes_of(class: &str, kind: &str, most: u16, pixels: &[u8]) -> Vec<u8> {
    let frames: Vec<(u16, f64, &str)> =
        (0..pixels.len() / 9).map(|index| (1, 3.0 * index as f64, ".........")).collect();
    let mut padded = pixels.to_vec();
    padded.resize(pixels.len().next_multiple_of(2), 0);
    let changes = [
        text(tags::SOP_CLASS_UID, VR::UI, class),
        text(tags::SEGMENTATION_TYPE, VR::CS, kind),
        short(tags::BITS_ALLOCATED, 8),
        short(tags::MAXIMUM_FRACTIONAL_VALUE, most),
        DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::from(padded)),
    ];
    segmentation(&frames, &changes)
}

#[test]
fn a_half_and_more_of_a_fraction_is_inside() {
    let bytes = bytes_of(SOP_CLASS_UID, "FRACTIONAL", 255, &[0, 1, 127, 128, 200, 255, 0, 0, 128]);
    assert_eq!(slices(&read(&bytes).unwrap_or_else(|e| panic!("{e}"))[0])[1], "...###..#");
    let bytes = bytes_of(SOP_CLASS_UID, "FRACTIONAL", 100, &[0, 1, 49, 50, 51, 100, 0, 0, 50]);
    assert_eq!(slices(&read(&bytes).unwrap_or_else(|e| panic!("{e}"))[0])[1], "...###..#");
}

#[test]
fn numbers_of_a_label_map_are_its_segments() {
    let bytes =
        bytes_of(LABEL_MAP_SOP_CLASS_UID, "LABELMAP", 255, &[0, 1, 2, 2, 1, 0, 3, 0, 7, 1, 1, 0, 0, 0, 0, 2, 0, 0]);
    let found = read(&bytes).unwrap_or_else(|error| panic!("{error}"));
    let shown = |index: usize| slices(&found[index])[1..3].join(" ");
    let expected = [".#..#.... ##.......", "..##..... ......#..", "......#.. ........."];
    assert_eq!([shown(0), shown(1), shown(2)], expected);
}

#[test]
fn says_what_it_cannot_read() {
    let frames = [(1, 0.0, "#########")];
    for (changes, expected) in [
        (vec![text(tags::SOP_CLASS_UID, VR::UI, "1.2.840.10008.5.1.4.1.1.2")], "expected a Segmentation"),
        (vec![text(tags::SEGMENTATION_TYPE, VR::CS, "FRACTIONAL")], "found Segmentation Type \"FRACTIONAL\" of 1 bits"),
        (vec![text(tags::NUMBER_OF_FRAMES, VR::IS, "2")], "found no Referenced Segment Number of frame 2"),
        (vec![text(tags::NUMBER_OF_FRAMES, VR::IS, "900000000")], "at most 131072"),
        (
            vec![sequence(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, Vec::new())],
            "no Image Orientation Patient of frame 1",
        ),
    ] {
        let told = read(&segmentation(&frames, &changes)).err().expect("an error").to_string();
        assert!(told.contains(expected), "{told}");
    }
    let bytes = segmentation(
        &[(1, 0.0, "#########"), (1, 3.0, "#########")],
        &[DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::from(vec![1_u8, 0]))],
    );
    let told = read(&bytes).err().expect("too few bytes").to_string();
    assert_eq!(told, "found 2 bytes of pixels, expected at least 3; export the segmentation again");
}
