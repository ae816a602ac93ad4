//! RT Structure Sets of any maker as values; it takes what is there, counts what it had to leave out, repairs nothing.

use std::collections::HashMap;

use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use thiserror::Error;

use super::SOP_CLASS_UID;
use crate::contour::Contour;
use crate::dicom::instance::{f64s, integer, items, text};
use crate::dicom::{Instance, InstanceError, Uid};
use crate::structure::Color;
use crate::volume::{VolumeGeometry, dot};

/// A structure set as it was found in a file. It holds nothing about the patient.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedStructureSet {
    pub sop_instance_uid: Uid,
    pub series_instance_uid: Uid,
    pub study_instance_uid: Uid,
    /// Of the object itself, or of its first region where the object has none.
    pub frame_of_reference_uid: Option<Uid>,
    /// The image series of the first reference.
    pub referenced_series_uid: Option<Uid>,
    /// The images that the first reference names, in its order.
    pub referenced_images: Vec<Uid>,
    pub label: String,
    /// The structure set that it replaces.
    pub predecessor_uid: Option<Uid>,
    /// In the order of the Structure Set ROI Sequence.
    pub rois: Vec<ParsedRoi>,
    /// Regions without a number, regions whose number an earlier one has, and contours whose coordinates are not
    /// triples of numbers.
    pub left_out: usize,
}

/// One region of a structure set.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedRoi {
    pub number: i64,
    /// Decoded, without padding; may be empty.
    pub name: String,
    /// The Frame of Reference that its contours lie in.
    pub frame_of_reference_uid: Option<Uid>,
    /// RT ROI Interpreted Type; empty when it has none.
    pub interpreted_type: String,
    pub color: Option<Color>,
    /// ROI Generation Algorithm; empty when it has none.
    pub generation_algorithm: String,
    pub volume_cm3: Option<f64>,
    pub contours: Vec<ParsedContour>,
    /// Contours whose coordinates are not triples of numbers.
    pub unreadable: usize,
}

/// One contour as it is written, of whatever type.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedContour {
    /// CLOSED_PLANAR, POINT, CLOSEDPLANAR_XOR ..., as written.
    pub geometric_type: String,
    /// Number of Contour Points as written, which may differ from the number of points.
    pub number_of_points: Option<usize>,
    /// `[x, y, z]` in patient LPS mm.
    pub points: Vec<[f64; 3]>,
    pub sop_instance_uid: Option<Uid>,
    /// 1-based, for a multi-frame image.
    pub frame_number: Option<u32>,
}

/// Why bytes are not a structure set.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error(transparent)]
    Instance(#[from] InstanceError),
    #[error("found an object of SOP class {0}, expected an RT Structure Set ({SOP_CLASS_UID})")]
    SopClass(Uid),
}

/// Reads a Part 10 file in any transfer syntax.
///
/// # Errors
/// [`ReadError`] when the bytes are not a complete data set within bounds, or not an RT Structure Set.
pub fn read(bytes: &[u8]) -> Result<ParsedStructureSet, ReadError> {
    read_instance(&Instance::read_part10_apart(bytes, tags::ROI_CONTOUR_SEQUENCE)?)
}

/// As [`read()`], from an instance that was read already.
///
/// # Errors
/// [`ReadError::SopClass`] when it is no structure set.
pub fn read_instance(instance: &Instance) -> Result<ParsedStructureSet, ReadError> {
    if instance.sop_class_uid.as_str() != SOP_CLASS_UID {
        return Err(ReadError::SopClass(instance.sop_class_uid.clone()));
    }
    let (mut set, index_of) = without_contours(instance);
    for index in 0..instance.count_items(tags::ROI_CONTOUR_SEQUENCE) {
        let item = instance.item(tags::ROI_CONTOUR_SEQUENCE, index);
        let number = item.as_deref().and_then(|item| integer(item, tags::REFERENCED_ROI_NUMBER));
        let roi = number.and_then(|number| index_of.get(&number)).and_then(|&index| set.rois.get_mut(index));
        let (Some(item), Some(roi)) = (item, roi) else {
            set.left_out += 1;
            continue;
        };
        roi.color = color(&item);
        let all = contours(&item);
        let unreadable = all.iter().filter(|contour| contour.is_none()).count();
        set.left_out += unreadable;
        roi.unreadable += unreadable;
        roi.contours.extend(all.into_iter().flatten());
    }
    Ok(set)
}

/// All of an RT Structure Set but its ROI Contour Sequence, and the index of the region of each number.
pub(super) fn without_contours(instance: &Instance) -> (ParsedStructureSet, HashMap<i64, usize>) {
    let object = &instance.header;
    let mut left_out = 0;
    let mut rois: Vec<ParsedRoi> = Vec::new();
    let mut index_of: HashMap<i64, usize> = HashMap::new();
    let regions = items(object, tags::STRUCTURE_SET_ROI_SEQUENCE);
    for item in regions {
        match integer(item, tags::ROI_NUMBER) {
            Some(number) if !index_of.contains_key(&number) => {
                index_of.insert(number, rois.len());
                rois.push(region(item, number));
            }
            _ => left_out += 1,
        }
    }
    for item in items(object, tags::RTROI_OBSERVATIONS_SEQUENCE) {
        let number = integer(item, tags::REFERENCED_ROI_NUMBER);
        if let Some(roi) = number.and_then(|number| index_of.get(&number)).and_then(|&index| rois.get_mut(index)) {
            roi.interpreted_type = text(item, tags::RTROI_INTERPRETED_TYPE).unwrap_or_default();
        }
    }
    let (referenced_series_uid, referenced_images) = references(object);
    let of_first = || uid(regions.first()?, tags::REFERENCED_FRAME_OF_REFERENCE_UID);
    let set = ParsedStructureSet {
        frame_of_reference_uid: uid(object, tags::FRAME_OF_REFERENCE_UID).or_else(of_first),
        referenced_series_uid,
        referenced_images,
        label: text(object, tags::STRUCTURE_SET_LABEL).unwrap_or_default(),
        predecessor_uid: items(object, tags::PREDECESSOR_STRUCTURE_SET_SEQUENCE)
            .first()
            .and_then(|item| uid(item, tags::REFERENCED_SOP_INSTANCE_UID)),
        rois,
        left_out,
        sop_instance_uid: instance.sop_instance_uid.clone(),
        series_instance_uid: instance.series_instance_uid.clone(),
        study_instance_uid: instance.study_instance_uid.clone(),
    };
    (set, index_of)
}

impl ParsedRoi {
    /// The closed contours on the slices of a geometry, and how many closed contours lie on none of them.
    ///
    /// A contour belongs to the nearest slice when all of its points lie within `tolerance_mm` of its plane.
    pub fn contours_on(&self, geometry: &VolumeGeometry, tolerance_mm: f64) -> (Vec<Contour>, usize) {
        let closed = self.contours.iter().filter(|contour| contour.is_closed());
        let (mut found, mut off) = (Vec::new(), 0);
        for contour in closed {
            match slice_of(geometry, &contour.points, tolerance_mm) {
                Some(slice) => found.push(Contour { slice, points: contour.points.clone() }),
                None => off += 1,
            }
        }
        (found, off)
    }
}

impl ParsedContour {
    /// Whether it is a polygon: CLOSED_PLANAR or CLOSEDPLANAR_XOR.
    pub fn is_closed(&self) -> bool {
        matches!(self.geometric_type.as_str(), "CLOSED_PLANAR" | "CLOSEDPLANAR_XOR")
    }
}

fn slice_of(geometry: &VolumeGeometry, points: &[[f64; 3]], tolerance_mm: f64) -> Option<usize> {
    let position = |point: &[f64; 3]| dot(geometry.normal(), *point);
    let first = position(points.first()?);
    let planes = geometry.positions_mm();
    let above = planes.partition_point(|&plane| plane < first);
    let near = above.saturating_sub(1)..(above + 1).min(planes.len());
    let slice = near.min_by(|&a, &b| (planes[a] - first).abs().total_cmp(&(planes[b] - first).abs()))?;
    points.iter().all(|point| (position(point) - planes[slice]).abs() <= tolerance_mm).then_some(slice)
}

fn region(item: &InMemDicomObject, number: i64) -> ParsedRoi {
    ParsedRoi {
        number,
        name: text(item, tags::ROI_NAME).unwrap_or_default(),
        frame_of_reference_uid: uid(item, tags::REFERENCED_FRAME_OF_REFERENCE_UID),
        interpreted_type: String::new(),
        color: None,
        generation_algorithm: text(item, tags::ROI_GENERATION_ALGORITHM).unwrap_or_default(),
        volume_cm3: f64s(item, tags::ROI_VOLUME).map(|values| values[0]),
        contours: Vec::new(),
        unreadable: 0,
    }
}

/// The contours of an item of the ROI Contour Sequence; `None` for coordinates that are not triples of numbers.
pub(super) fn contours(item: &InMemDicomObject) -> Vec<Option<ParsedContour>> {
    items(item, tags::CONTOUR_SEQUENCE).iter().map(contour).collect()
}

fn contour(item: &InMemDicomObject) -> Option<ParsedContour> {
    let values = f64s(item, tags::CONTOUR_DATA)?;
    let (points, rest) = values.as_chunks::<3>();
    let image = items(item, tags::CONTOUR_IMAGE_SEQUENCE).first();
    rest.is_empty().then(|| ParsedContour {
        geometric_type: text(item, tags::CONTOUR_GEOMETRIC_TYPE).unwrap_or_default(),
        number_of_points: integer(item, tags::NUMBER_OF_CONTOUR_POINTS).and_then(|count| count.try_into().ok()),
        points: points.to_vec(),
        sop_instance_uid: image.and_then(|image| uid(image, tags::REFERENCED_SOP_INSTANCE_UID)),
        frame_number: image
            .and_then(|image| integer(image, tags::REFERENCED_FRAME_NUMBER))
            .and_then(|number| number.try_into().ok()),
    })
}

pub(super) fn color(item: &InMemDicomObject) -> Option<Color> {
    let values = f64s(item, tags::ROI_DISPLAY_COLOR)?;
    let legal = |value: &f64| value.fract() == 0.0 && (0.0..=255.0).contains(value);
    let [red, green, blue] = values[..] else { return None };
    [red, green, blue].iter().all(legal).then_some(Color([red as u8, green as u8, blue as u8]))
}

/// The first referenced series and its images.
fn references(object: &InMemDicomObject) -> (Option<Uid>, Vec<Uid>) {
    let series = items(object, tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE)
        .iter()
        .flat_map(|frame| items(frame, tags::RT_REFERENCED_STUDY_SEQUENCE))
        .flat_map(|study| items(study, tags::RT_REFERENCED_SERIES_SEQUENCE))
        .next();
    let images = series.map(|series| items(series, tags::CONTOUR_IMAGE_SEQUENCE)).unwrap_or_default();
    let images = images.iter().filter_map(|image| uid(image, tags::REFERENCED_SOP_INSTANCE_UID)).collect();
    (series.and_then(|series| uid(series, tags::SERIES_INSTANCE_UID)), images)
}

fn uid(object: &InMemDicomObject, tag: dicom_core::Tag) -> Option<Uid> {
    text(object, tag)?.parse().ok()
}
