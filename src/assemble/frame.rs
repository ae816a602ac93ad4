//! One slice to be: a single-frame image or one frame of a multi-frame image, with its own geometry and rescale.

use dicom_dictionary_std::tags;

use super::format::{FoundRescale, PixelFormat, functional_group, is_multi_frame, rescale};
use super::placement::{Placement, directions, origin, place};
use crate::dicom::instance::f64s;
use crate::dicom::{Instance, Uid};
use crate::limits::SERIES_FRAMES_MAX;

/// One image plane of a series, before it is known whether the series makes a volume.
#[derive(Clone)]
pub(super) struct Frame {
    /// Index of the instance in the caller's slice.
    pub instance: usize,
    /// 0-based index of the frame in the pixel data.
    pub index: usize,
    /// It lies in a multi-frame image, so that references need its number.
    pub in_multi_frame: bool,
    pub placement: Option<Placement>,
    /// Between rows, between columns.
    pub spacing_mm: Option<[f64; 2]>,
    pub rescale: FoundRescale,
}

/// The frames of one instance; one for a classic image, none where the pixel attributes contradict each other.
pub(super) fn frames(index: usize, instance: &Instance) -> Vec<Frame> {
    let Some(format) = PixelFormat::of(instance) else { return Vec::new() };
    let frame_of_reference_uid: Option<Uid> =
        instance.text(tags::FRAME_OF_REFERENCE_UID).and_then(|text| text.parse().ok());
    if !is_multi_frame(instance.sop_class_uid.as_str()) {
        return vec![classic(index, instance, frame_of_reference_uid)];
    }
    // One more than allowed is enough to be refused.
    let count = format.frames.min(SERIES_FRAMES_MAX + 1);
    (0..count).map(|frame| of_group(index, instance, frame, frame_of_reference_uid.clone())).collect()
}

fn classic(index: usize, instance: &Instance, frame_of_reference_uid: Option<Uid>) -> Frame {
    let header = &instance.header;
    let place_at = directions(header).zip(origin(header));
    Frame {
        instance: index,
        index: 0,
        in_multi_frame: false,
        placement: place_at.map(|(directions, origin)| place(directions, origin, frame_of_reference_uid)),
        spacing_mm: f64s(header, tags::PIXEL_SPACING).and_then(|mm| mm.try_into().ok()),
        rescale: rescale(header),
    }
}

/// A frame by its functional groups: Plane Position, Plane Orientation, Pixel Measures, Pixel Value Transformation.
fn of_group(index: usize, instance: &Instance, frame: usize, frame_of_reference_uid: Option<Uid>) -> Frame {
    let header = &instance.header;
    let directions = functional_group(header, frame, tags::PLANE_ORIENTATION_SEQUENCE).and_then(directions);
    let origin = functional_group(header, frame, tags::PLANE_POSITION_SEQUENCE).and_then(origin);
    let measures = functional_group(header, frame, tags::PIXEL_MEASURES_SEQUENCE);
    let values = functional_group(header, frame, tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE);
    Frame {
        instance: index,
        index: frame,
        in_multi_frame: true,
        placement: directions.zip(origin).map(|(d, o)| place(d, o, frame_of_reference_uid)),
        spacing_mm: measures.and_then(|item| f64s(item, tags::PIXEL_SPACING)).and_then(|mm| mm.try_into().ok()),
        rescale: values.map_or(FoundRescale::Absent, rescale),
    }
}
