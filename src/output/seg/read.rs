//! Reads a segmentation, binary, fractional or label map: each segment as a mask on the planes of its own frames; it knows no image.
//!
//! A frame that is not there is an empty plane: makers leave such frames out. The planes of a segment are therefore the
//! places of its frames, with empty ones where a plane is missing between two and beyond both ends, so that a mask that
//! is brought onto another grid ends half a plane beyond its last frame. Of a fraction, a half and more is inside.

use std::collections::BTreeMap;
use std::sync::Arc;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use ndarray::{Array3, Axis};
use thiserror::Error;

use super::write::LABEL_MAP_SOP_CLASS_UID;
use crate::dicom::instance::{f64s, integer, items, text};
use crate::dicom::part10::read_part10;
use crate::dicom::scan::{PixelValue, ScanError};
use crate::dicom::{Instance, InstanceError, Uid};
use crate::limits::SEGMENT_FRAMES_MAX;
use crate::volume::{GeometryError, Mask, VolumeGeometry, cross, dot};

/// Segmentation Storage (PS3.4 B.5).
pub const SOP_CLASS_UID: &str = "1.2.840.10008.5.1.4.1.1.66.4";

/// One segment of a segmentation.
#[derive(Clone)]
pub struct Segment {
    pub number: i64,
    /// Segment Label, without padding; may be empty.
    pub label: String,
    /// `None` for a segment without frames: nothing was found of it.
    pub mask: Option<Mask>,
}

/// Why bytes are no segmentation that can be read.
#[derive(Debug, Error)]
pub enum SegError {
    #[error(transparent)]
    Instance(#[from] InstanceError),
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error("found an object of SOP class {0}, expected a Segmentation ({SOP_CLASS_UID})")]
    SopClass(Uid),
    #[error(
        "found Segmentation Type {0:?} of {1} bits, expected BINARY of 1, FRACTIONAL of 8 or LABELMAP of 8 or 16; export it as binary segments"
    )]
    Type(String, i64),
    #[error("found {found}, expected {expected}; export the segmentation again")]
    Content { found: String, expected: String },
    #[error("segment {segment}: {source}")]
    Geometry { segment: i64, source: GeometryError },
}

/// How pixels say what is inside.
#[derive(Clone, Copy)]
enum Coding {
    /// A bit for each pixel, set inside.
    Bits,
    /// A byte for each pixel; at least this inside.
    Fraction(u8),
    /// The number of a segment, in so many bytes.
    Numbers(usize),
}

impl Coding {
    fn of(instance: &Instance) -> Result<Coding, SegError> {
        let kind = instance.text(tags::SEGMENTATION_TYPE).unwrap_or_default();
        let bits = instance.integer(tags::BITS_ALLOCATED).unwrap_or(0);
        match (kind.as_str(), bits) {
            ("BINARY", 1) => Ok(Coding::Bits),
            ("FRACTIONAL", 8) => {
                let most = instance.integer(tags::MAXIMUM_FRACTIONAL_VALUE).unwrap_or(255);
                let most = u8::try_from(most).ok().filter(|most| *most > 0);
                let most = most.ok_or_else(|| content("no Maximum Fractional Value", "1 to 255"))?;
                Ok(Coding::Fraction(most.div_ceil(2)))
            }
            ("LABELMAP", 8) => Ok(Coding::Numbers(1)),
            ("LABELMAP", 16) => Ok(Coding::Numbers(2)),
            _ => Err(SegError::Type(kind, bits)),
        }
    }

    /// Bytes of so many pixels.
    fn bytes(self, pixels: usize) -> usize {
        match self {
            Coding::Bits => pixels.div_ceil(8),
            Coding::Fraction(_) => pixels,
            Coding::Numbers(bytes) => bytes * pixels,
        }
    }

    /// Whether a pixel, counted through all frames, lies inside a segment. Of bits the lowest of a byte is the first (PS3.5
    /// 8.1.1).
    fn is_inside(self, bytes: &[u8], pixel: usize, segment: i64) -> bool {
        match self {
            Coding::Bits => bytes[pixel / 8] >> (pixel % 8) & 1 == 1,
            Coding::Fraction(least) => bytes[pixel] >= least,
            Coding::Numbers(1) => i64::from(bytes[pixel]) == segment,
            Coding::Numbers(_) => i64::from(u16::from_le_bytes([bytes[2 * pixel], bytes[2 * pixel + 1]])) == segment,
        }
    }
}

/// The pixels of all frames, and what they mean.
#[derive(Clone, Copy)]
struct Pixels<'a> {
    bytes: &'a [u8],
    coding: Coding,
    /// Rows and columns of a frame.
    shape: (usize, usize),
}

/// One frame: a plane of one segment, or of all.
struct Frame {
    /// None in a label map, whose pixels say it.
    segment: Option<i64>,
    index: usize,
    origin: [f64; 3],
    directions: [[f64; 3]; 2],
    /// Between rows, between columns.
    spacing_mm: [f64; 2],
    /// Distance of planes as the maker says; none when it does not.
    planes_mm: Option<f64>,
}

/// Whether a SOP class is one of segmentations: of either storage.
pub fn is_segmentation(sop_class_uid: &str) -> bool {
    [SOP_CLASS_UID, LABEL_MAP_SOP_CLASS_UID].contains(&sop_class_uid)
}

/// Reads a Part 10 file.
///
/// # Errors
/// [`SegError`] when it is no segmentation in native pixels with a place for each frame.
pub fn read(bytes: &[u8]) -> Result<Vec<Segment>, SegError> {
    let instance = Instance::read_part10(bytes)?;
    if !is_segmentation(instance.sop_class_uid.as_str()) {
        return Err(SegError::SopClass(instance.sop_class_uid));
    }
    let coding = Coding::of(&instance)?;
    let side = |tag, name: &str| {
        let value = instance.integer(tag).and_then(|value| usize::try_from(value).ok());
        value.filter(|&value| value > 0).ok_or_else(|| content(format!("no {name}"), "a positive number"))
    };
    let shape = (side(tags::ROWS, "Rows")?, side(tags::COLUMNS, "Columns")?);
    let count = side(tags::NUMBER_OF_FRAMES, "Number of Frames")?;
    if count > SEGMENT_FRAMES_MAX {
        return Err(content(format!("{count} frames"), format!("at most {SEGMENT_FRAMES_MAX}")));
    }
    let is_of_all = matches!(coding, Coding::Numbers(_));
    let frames = (0..count).map(|index| frame(&instance.header, index, is_of_all)).collect::<Result<Vec<_>, _>>()?;
    let file = read_part10(bytes)?;
    let data_set = file.data_set(bytes)?;
    let range = match file.scan.pixel_data.as_ref().map(|pixels| &pixels.value) {
        Some(PixelValue::Native(range)) => range.start as usize..range.end as usize,
        Some(PixelValue::Encapsulated { .. }) => {
            return Err(content("compressed pixels", "native ones"));
        }
        None => return Err(content("no pixels", "those of the frames")),
    };
    let bytes = data_set.get(range).unwrap_or_default();
    let needed = coding.bytes(count * shape.0 * shape.1);
    if bytes.len() < needed {
        return Err(content(format!("{} bytes of pixels", bytes.len()), format!("at least {needed}")));
    }
    segments(&instance.header, &frames, Pixels { bytes, coding, shape })
}

fn content(found: impl Into<String>, expected: impl Into<String>) -> SegError {
    SegError::Content { found: found.into(), expected: expected.into() }
}

/// The item of a functional group macro for one frame: its own, or the shared one (PS3.3 C.7.6.16.1).
fn group(header: &InMemDicomObject, index: usize, sequence: Tag) -> Option<&InMemDicomObject> {
    let own = items(header, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).get(index);
    let shared = items(header, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first();
    [own, shared].into_iter().flatten().find_map(|group| items(group, sequence).first())
}

fn frame(header: &InMemDicomObject, index: usize, is_of_all: bool) -> Result<Frame, SegError> {
    let missing = |what: &str| content(format!("no {what} of frame {}", index + 1), "one in its functional groups");
    let numbers = |sequence, tag| group(header, index, sequence).and_then(|item| f64s(item, tag));
    let segment = group(header, index, tags::SEGMENT_IDENTIFICATION_SEQUENCE)
        .and_then(|item| integer(item, tags::REFERENCED_SEGMENT_NUMBER));
    let origin = numbers(tags::PLANE_POSITION_SEQUENCE, tags::IMAGE_POSITION_PATIENT);
    let origin: Option<[f64; 3]> = origin.and_then(|values| values.try_into().ok());
    let directions = numbers(tags::PLANE_ORIENTATION_SEQUENCE, tags::IMAGE_ORIENTATION_PATIENT);
    let directions: Option<[f64; 6]> = directions.and_then(|values| values.try_into().ok());
    let [a, b, c, d, e, f] = directions.ok_or_else(|| missing("Image Orientation Patient"))?;
    let spacing = numbers(tags::PIXEL_MEASURES_SEQUENCE, tags::PIXEL_SPACING);
    let spacing_mm: Option<[f64; 2]> = spacing.and_then(|values| values.try_into().ok());
    let first = |tag| numbers(tags::PIXEL_MEASURES_SEQUENCE, tag).map(|values| values[0]).filter(|&mm| mm > 0.0);
    Ok(Frame {
        segment: if is_of_all { None } else { Some(segment.ok_or_else(|| missing("Referenced Segment Number"))?) },
        index,
        origin: origin.ok_or_else(|| missing("Image Position Patient"))?,
        directions: [[a, b, c], [d, e, f]],
        spacing_mm: spacing_mm.ok_or_else(|| missing("Pixel Spacing"))?,
        planes_mm: first(tags::SPACING_BETWEEN_SLICES).or_else(|| first(tags::SLICE_THICKNESS)),
    })
}

fn segments(header: &InMemDicomObject, frames: &[Frame], pixels: Pixels<'_>) -> Result<Vec<Segment>, SegError> {
    let mut of: BTreeMap<Option<i64>, Vec<&Frame>> = BTreeMap::new();
    frames.iter().for_each(|frame| of.entry(frame.segment).or_default().push(frame));
    let mut found = Vec::new();
    for item in items(header, tags::SEGMENT_SEQUENCE) {
        let Some(number) = integer(item, tags::SEGMENT_NUMBER) else { continue };
        // The background of a label map is described too.
        if number == 0 {
            continue;
        }
        let label = text(item, tags::SEGMENT_LABEL).unwrap_or_default();
        let frames = of.get(&Some(number)).or_else(|| of.get(&None));
        let mask = frames.map(|frames| mask(number, frames, pixels)).transpose()?;
        found.push(Segment { number, label, mask });
    }
    Ok(found)
}

/// Frames nearer than this lie on one plane.
const SAME_PLANE_MM: f64 = 0.01;

fn mask(number: i64, frames: &[&Frame], pixels: Pixels<'_>) -> Result<Mask, SegError> {
    let shape = pixels.shape;
    let first = frames[0];
    let [row_direction, column_direction] = first.directions;
    let alike = |frame: &&Frame| {
        let pairs = frame.directions.iter().flatten().zip(first.directions.iter().flatten());
        pairs.chain(frame.spacing_mm.iter().zip(&first.spacing_mm)).all(|(a, b)| (a - b).abs() < 1e-4)
    };
    if !frames.iter().all(alike) {
        return Err(content(
            format!("frames of segment {number} of several orientations"),
            "parallel frames of one size",
        ));
    }
    let normal = cross(row_direction, column_direction);
    let position = |frame: &Frame| dot(normal, frame.origin);
    let mut placed: Vec<(f64, &Frame)> = frames.iter().map(|frame| (position(frame), *frame)).collect();
    placed.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut planes: Vec<(f64, [f64; 3], Vec<usize>)> = Vec::new();
    for (position, frame) in placed {
        match planes.last_mut().filter(|(last, ..)| position - last < SAME_PLANE_MM) {
            Some((_, origin, indices)) => {
                let apart = origin.iter().zip(&frame.origin).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                if apart > 2.0 * SAME_PLANE_MM {
                    return Err(content(format!("tiles of a plane in segment {number}"), "whole planes"));
                }
                indices.push(frame.index);
            }
            None => planes.push((position, frame.origin, vec![frame.index])),
        }
    }
    let planes = with_empty_planes(planes, normal, first.planes_mm);
    let origins = planes.iter().map(|(_, origin, _)| *origin).collect();
    let geometry = VolumeGeometry::new(shape, first.spacing_mm, row_direction, column_direction, origins)
        .map_err(|source| SegError::Geometry { segment: number, source })?;
    let mut voxels = Array3::from_elem(geometry.shape(), false);
    for (mut plane, (_, _, indices)) in voxels.axis_iter_mut(Axis(0)).zip(&planes) {
        for &index in indices {
            let first = index * shape.0 * shape.1;
            for (offset, voxel) in plane.iter_mut().enumerate() {
                *voxel |= pixels.coding.is_inside(pixels.bytes, first + offset, number);
            }
        }
    }
    Ok(Mask::new(Arc::new(geometry), voxels))
}

type Plane = (f64, [f64; 3], Vec<usize>);

/// Adds empty planes where some are missing, and one beyond each end.
fn with_empty_planes(planes: Vec<Plane>, normal: [f64; 3], said_mm: Option<f64>) -> Vec<Plane> {
    let mut gaps: Vec<f64> = planes.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    gaps.sort_by(f64::total_cmp);
    // The smallest gap between frames is that of the planes, unless the maker says less: then frames are missing.
    let step_mm = match (gaps.first(), said_mm) {
        (Some(&gap), Some(said)) if said < 0.75 * gap => said,
        (Some(&gap), _) => gap,
        (None, said) => said.unwrap_or(1.0),
    };
    let beyond = |plane: &Plane, mm: f64| -> Plane {
        (plane.0 + mm, std::array::from_fn(|k| plane.1[k] + normal[k] * mm), Vec::new())
    };
    let mut whole: Vec<Plane> = Vec::with_capacity(planes.len() + 2);
    for plane in planes {
        match whole.last() {
            None => whole.push(beyond(&plane, -step_mm)),
            Some(last) => {
                let gap = plane.0 - last.0;
                let missing = if gap > 1.5 * step_mm { (gap / step_mm).round() as usize - 1 } else { 0 };
                // Two next to the frames are enough, however wide the gap: all between is empty.
                let last = last.clone();
                match missing {
                    0 => {}
                    1 => whole.push(beyond(&last, gap / 2.0)),
                    _ => whole.extend([beyond(&last, step_mm), beyond(&plane, -step_mm)]),
                }
            }
        }
        whole.push(plane);
    }
    if let Some(last) = whole.last().cloned() {
        whole.push(beyond(&last, step_mm));
    }
    whole
}
