//! Writes segmentations (PS3.3 A.51): a bit for each voxel of each structure, or one number for each voxel (A.90).
//!
//! The binary kind is what all readers know; structures may overlap in it. The label map kind (Supplement 243) is smaller
//! and read by new programs only; structures that overlap are refused in it.

use dicom_dictionary_std::tags;
use thiserror::Error;

use super::SOP_CLASS_UID;
use super::color::cielab;
use crate::dicom::Uid;
use crate::limits::{OBJECT_VALUE_BYTES_MAX, SEGMENT_FRAMES_MAX, SEGMENT_LABELS_MAX};
use crate::output::object::frames::{
    ALONG_SLICES, Derivation, Dimension, coded_with, derivation, frame_content, is_even, pixel_measures,
    plane_orientation, plane_position, put_content, put_dimensions, put_lossy, put_referenced_series,
    put_serial_number, put_u16,
};
use crate::output::object::{
    Algorithm, DataSet, ObjectError, SeriesOf, Source, Uids, part10, plain, property, put_if_any,
};
use crate::structure::{Code, RoiStyle, Structure};
use crate::volume::CompactMask;

/// Label Map Segmentation Storage (PS3.4 B.5, Supplement 243).
pub const LABEL_MAP_SOP_CLASS_UID: &str = "1.2.840.10008.5.1.4.1.1.66.7";

/// PS3.16 CID 7203.
const SEGMENTATION: Derivation = Derivation { code: Code::new("113076", "DCM", "Segmentation") };

/// How voxels are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A bit for each voxel of each structure.
    Binary,
    /// One number for each voxel.
    LabelMap,
}

impl Kind {
    /// Every one with its word.
    pub const ALL: [(&'static str, Kind); 2] = [("binary", Kind::Binary), ("label_map", Kind::LabelMap)];
}

/// Everything that makes one segmentation. It borrows images of a patient, so it derives no `Debug`.
pub struct Segmentation<'a> {
    pub source: Source<'a>,
    pub segments: &'a [SegmentOut<'a>],
    pub kind: Kind,
    /// Content Label, 1 to 16 characters.
    pub label: &'a str,
    pub series_number: u32,
    /// Series Description, at most 64 characters.
    pub series_description: &'a str,
}

/// One structure.
pub struct SegmentOut<'a> {
    pub style: RoiStyle,
    /// What it is by the standards, which gives the codes.
    pub structure: Option<&'static Structure>,
    /// On the grid of the images; empty when nothing was found, which is a segment without frames.
    pub mask: &'a CompactMask,
    /// What a reviewer should know; may be empty.
    pub description: String,
    pub algorithm: Algorithm,
}

/// Why there is no segmentation.
#[derive(Debug, Error)]
pub enum SegWriteError {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error("found {0} structures, expected 1 to {SEGMENT_LABELS_MAX}")]
    Count(usize),
    #[error("found no voxel in any structure, expected at least one: a segmentation without frames is illegal")]
    Empty,
    #[error("found {0} frames, expected at most {SEGMENT_FRAMES_MAX}; split the pipeline, or write label maps")]
    Frames(usize),
    #[error("found {0} bytes of pixels, expected at most {OBJECT_VALUE_BYTES_MAX}; split the pipeline")]
    Size(usize),
    #[error(
        "{first} and {second} overlap, expected structures apart, because a label map has one number for each voxel; set \"kind\" to \"binary\""
    )]
    Overlap { first: String, second: String },
}

impl Segmentation<'_> {
    /// The UIDs of the object before it exists.
    pub fn uids(&self) -> Uids {
        let kind = match self.kind {
            Kind::Binary => "segmentation",
            Kind::LabelMap => "label map segmentation",
        };
        // A run that left a structure out is another object.
        let names: Vec<&str> = self.segments.iter().map(|segment| segment.style.name.as_str()).collect();
        self.source.uids(&format!("{kind} {}", names.join("\\")))
    }
}

/// Encodes a segmentation as a Part 10 file. The same input gives the same bytes.
///
/// # Errors
/// [`SegWriteError`].
pub fn encode(seg: &Segmentation<'_>) -> Result<Vec<u8>, SegWriteError> {
    if seg.segments.is_empty() || seg.segments.len() > SEGMENT_LABELS_MAX {
        return Err(SegWriteError::Count(seg.segments.len()));
    }
    let frames = match seg.kind {
        Kind::Binary => binary(seg),
        Kind::LabelMap => label_map(seg)?,
    };
    match frames.places.len() {
        0 => return Err(SegWriteError::Empty),
        count if count > SEGMENT_FRAMES_MAX => return Err(SegWriteError::Frames(count)),
        _ if frames.pixels.len() > OBJECT_VALUE_BYTES_MAX => return Err(SegWriteError::Size(frames.pixels.len())),
        _ => {}
    }
    let uids = seg.uids();
    let sop_class_uid = if seg.kind == Kind::Binary { SOP_CLASS_UID } else { LABEL_MAP_SOP_CLASS_UID };
    let series =
        SeriesOf { sop_class_uid, modality: "SEG", number: seg.series_number, description: seg.series_description };
    let mut data = seg.source.begin(series, &uids)?;
    put_serial_number(&mut data);
    put_content(&mut data, seg.label, "Made by an algorithm, not reviewed");
    put_lossy(&mut data, &seg.source);
    put_referenced_series(&mut data, &seg.source);
    put_image(&mut data, seg, &frames);
    put_segments(&mut data, seg);
    put_groups(&mut data, seg, &frames, &uids);
    Ok(part10(sop_class_uid, &uids.sop_instance_uid, data))
}

/// The frames that are written: for each its segment (0 in a label map) and slice, and all pixels after each other.
struct Frames {
    places: Vec<(usize, usize)>,
    pixels: Vec<u8>,
    bits: u16,
}

/// A frame for each slice of each structure on which something of it lies, packed without gaps (PS3.5 8.1.1).
fn binary(seg: &Segmentation<'_>) -> Frames {
    let [_, rows, columns] = seg.source.geometry.shape();
    let (mut places, mut pixels) = (Vec::new(), Vec::new());
    for (index, segment) in seg.segments.iter().enumerate() {
        let [slices, held_rows, held_columns] = segment.mask.extent();
        for slice in slices {
            let first = places.len() * rows * columns;
            pixels.resize((first + rows * columns).div_ceil(8), 0_u8);
            let mut any = false;
            for row in held_rows.clone() {
                for column in held_columns.clone() {
                    if segment.mask.contains([slice, row, column]) {
                        let bit = first + row * columns + column;
                        pixels[bit / 8] |= 1 << (bit % 8);
                        any = true;
                    }
                }
            }
            if any {
                places.push((index, slice));
            }
        }
    }
    pixels.truncate((places.len() * rows * columns).div_ceil(8));
    Frames { places, pixels, bits: 1 }
}

/// A frame for each slice; its pixels hold the numbers of structures.
fn label_map(seg: &Segmentation<'_>) -> Result<Frames, SegWriteError> {
    let [slices, rows, columns] = seg.source.geometry.shape();
    let bits = if seg.segments.len() < 256 { 8 } else { 16 };
    let mut numbers = vec![0_u16; slices * rows * columns];
    for (index, segment) in seg.segments.iter().enumerate() {
        let [held_slices, held_rows, held_columns] = segment.mask.extent();
        for slice in held_slices {
            for row in held_rows.clone() {
                for column in held_columns.clone() {
                    if !segment.mask.contains([slice, row, column]) {
                        continue;
                    }
                    let number = &mut numbers[(slice * rows + row) * columns + column];
                    if *number != 0 {
                        let name = |index: usize| seg.segments[index].style.name.clone();
                        let (first, second) = (name(usize::from(*number) - 1), name(index));
                        return Err(SegWriteError::Overlap { first, second });
                    }
                    *number = (index + 1) as u16;
                }
            }
        }
    }
    let pixels = match bits {
        8 => numbers.iter().map(|number| *number as u8).collect(),
        _ => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
    };
    Ok(Frames { places: (0..slices).map(|slice| (0, slice)).collect(), pixels, bits })
}

/// Segmentation Image and Image Pixel (PS3.3 C.8.20.2, C.7.6.3).
fn put_image(data: &mut DataSet, seg: &Segmentation<'_>, frames: &Frames) {
    let [_, rows, columns] = seg.source.geometry.shape();
    data.text(tags::IMAGE_TYPE, "DERIVED\\PRIMARY")
        .text(tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME2")
        .text(tags::NUMBER_OF_FRAMES, &frames.places.len().to_string())
        .text(tags::SEGMENTATION_TYPE, if seg.kind == Kind::Binary { "BINARY" } else { "LABELMAP" })
        .text(tags::SEGMENTS_OVERLAP, if seg.kind == Kind::Binary { "UNDEFINED" } else { "NO" });
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, rows as u16),
        (tags::COLUMNS, columns as u16),
        (tags::BITS_ALLOCATED, frames.bits),
        (tags::BITS_STORED, frames.bits),
        (tags::HIGH_BIT, frames.bits - 1),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        put_u16(data, tag, &[value]);
    }
    if seg.kind == Kind::LabelMap {
        put_u16(data, tags::PIXEL_PADDING_VALUE, &[0]);
    }
    data.bytes(tags::PIXEL_DATA, &frames.pixels);
}

/// Segment Sequence. A label map describes its background too (PS3.3 C.8.20.4).
fn put_segments(data: &mut DataSet, seg: &Segmentation<'_>) {
    let background = (seg.kind == Kind::LabelMap).then(|| {
        let mut item = DataSet::default();
        put_u16(&mut item, tags::SEGMENT_NUMBER, &[0]);
        item.text(tags::SEGMENT_LABEL, "Background")
            .text(tags::SEGMENT_ALGORITHM_TYPE, "AUTOMATIC")
            .text(tags::SEGMENT_ALGORITHM_NAME, "contourd")
            .code(tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE, Code::new("125040", "DCM", "Background"))
            .code(tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE, Code::new("125040", "DCM", "Background"));
        item
    });
    let segments = seg.segments.iter().zip(1_u16..).map(|(segment, number)| segment_item(segment, number));
    data.sequence(tags::SEGMENT_SEQUENCE, background.into_iter().chain(segments));
}

/// Segment Description Macro (PS3.3 C.8.20.4).
fn segment_item(segment: &SegmentOut<'_>, number: u16) -> DataSet {
    let mut item = DataSet::default();
    put_u16(&mut item, tags::SEGMENT_NUMBER, &[number]);
    put_u16(&mut item, tags::RECOMMENDED_DISPLAY_CIE_LAB_VALUE, &cielab(segment.style.color));
    item.text(tags::SEGMENT_LABEL, &plain(&segment.style.name, 64))
        .text(tags::SEGMENT_ALGORITHM_TYPE, "AUTOMATIC")
        .text(tags::SEGMENT_ALGORITHM_NAME, &plain(&segment.algorithm.name, 64))
        .sequence(tags::SEGMENTATION_ALGORITHM_IDENTIFICATION_SEQUENCE, [segment.algorithm.item()]);
    put_if_any(&mut item, tags::SEGMENT_DESCRIPTION, &segment.description, 1024);
    let (category, code) = property(segment.structure);
    let side = segment.structure.and_then(|structure| structure.laterality);
    let side = side.map(|side| (tags::SEGMENTED_PROPERTY_TYPE_MODIFIER_CODE_SEQUENCE, side.code()));
    item.code(tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE, category)
        .sequence(tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE, [coded_with(code, side)]);
    item
}

/// The dimension of the segments.
const ALONG_SEGMENTS: Dimension = Dimension {
    pointer: tags::REFERENCED_SEGMENT_NUMBER,
    group: tags::SEGMENT_IDENTIFICATION_SEQUENCE,
    label: "Segment Number",
};

/// Functional groups and dimensions (PS3.3 A.51.5).
fn put_groups(data: &mut DataSet, seg: &Segmentation<'_>, frames: &Frames, uids: &Uids) {
    let geometry = seg.source.geometry;
    let organization = Uid::derived(["dimensions of", uids.sop_instance_uid.as_str()]);
    let is_binary = seg.kind == Kind::Binary;
    let dimensions = if is_binary { vec![ALONG_SEGMENTS, ALONG_SLICES] } else { vec![ALONG_SLICES] };
    put_dimensions(data, &seg.source, &organization, &dimensions);
    let even = is_even(geometry);
    let mut shared = DataSet::default();
    shared.sequence(tags::PLANE_ORIENTATION_SEQUENCE, [plane_orientation(geometry)]);
    if even {
        shared.sequence(tags::PIXEL_MEASURES_SEQUENCE, [pixel_measures(geometry, 0)]);
    }
    let frame = |&(segment, slice): &(usize, usize)| {
        let mut group = DataSet::default();
        let at = (slice + 1) as u32;
        let content = if is_binary { frame_content(&[(segment + 1) as u32, at]) } else { frame_content(&[at]) };
        group
            .sequence(tags::FRAME_CONTENT_SEQUENCE, [content])
            .sequence(tags::PLANE_POSITION_SEQUENCE, [plane_position(geometry, slice)])
            .sequence(tags::DERIVATION_IMAGE_SEQUENCE, [derivation(&seg.source.slices[slice], SEGMENTATION)]);
        if !even {
            group.sequence(tags::PIXEL_MEASURES_SEQUENCE, [pixel_measures(geometry, slice)]);
        }
        if is_binary {
            let mut identification = DataSet::default();
            put_u16(&mut identification, tags::REFERENCED_SEGMENT_NUMBER, &[(segment + 1) as u16]);
            group.sequence(tags::SEGMENT_IDENTIFICATION_SEQUENCE, [identification]);
        }
        group
    };
    data.sequence(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, [shared])
        .sequence(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, frames.places.iter().map(frame));
}
