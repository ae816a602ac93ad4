//! What has to hold before a structure set is encoded, and whether the finished bytes say it; validators check neither.

use std::collections::HashSet;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use rayon::prelude::*;

use super::SOP_CLASS_UID;
use super::contours::geometric_type;
use super::crossing::crosses_itself;
use super::read::{ParsedContour, ParsedRoi, color, contours, without_contours};
use super::{Roi, RtstructError, StructureSet};
use crate::dicom::Instance;
use crate::dicom::instance::{integer, items};
use crate::limits::CONTOUR_POINTS_MAX;
use crate::output::object::{common, plain};
use crate::structure::{RoiStyle, check_names};
use crate::volume::dot;

/// How far a point may lie off the plane of its image, before and after rounding; readers match within 0.01 mm.
const PLANE_MM: f64 = 0.005;

/// Refuses input that makes no structure set.
pub fn input(set: &StructureSet<'_>) -> Result<(), RtstructError> {
    if set.rois.is_empty() {
        return Err(RtstructError::Empty);
    }
    if plain(set.label, 16).is_empty() {
        return Err(RtstructError::Label);
    }
    let slices = set.source.geometry.slices();
    if set.source.slices.len() != slices {
        return Err(RtstructError::SliceReferences { references: set.source.slices.len(), slices });
    }
    let images: HashSet<&str> =
        set.source.instances.iter().map(|instance| instance.sop_instance_uid.as_str()).collect();
    for (slice, reference) in set.source.slices.iter().enumerate() {
        if !images.contains(reference.sop_instance_uid.as_str()) {
            return Err(RtstructError::UnknownImage { slice, sop_instance_uid: reference.sop_instance_uid.clone() });
        }
    }
    let styles: Vec<RoiStyle> = set.rois.iter().map(|roi| roi.style.clone()).collect();
    let problems = check_names(&styles, set.dialect.name_rules());
    if !problems.is_empty() {
        return Err(RtstructError::Names(problems));
    }
    let points = set.rois.iter().flat_map(|roi| &roi.contours).map(|contour| contour.points.len()).sum();
    if points > CONTOUR_POINTS_MAX {
        return Err(RtstructError::TooManyPointsInAll { points, most: CONTOUR_POINTS_MAX });
    }
    set.rois.iter().try_for_each(|roi| region(set, roi))
}

fn region(set: &StructureSet<'_>, roi: &Roi) -> Result<(), RtstructError> {
    let name = || roi.style.name.clone();
    if plain(&roi.algorithm.name, 64).is_empty() || plain(&roi.algorithm.version, 64).is_empty() {
        return Err(RtstructError::Algorithm { roi: name() });
    }
    for contour in &roi.contours {
        let (slice, slices) = (contour.slice, set.source.geometry.slices());
        if slice >= slices {
            return Err(RtstructError::Slice { roi: name(), slice, slices });
        }
        if contour.points.iter().flatten().any(|mm| !mm.is_finite()) {
            return Err(RtstructError::Coordinate { roi: name(), slice });
        }
        let distance_mm = off_plane_mm(set, slice, &contour.points);
        if distance_mm > PLANE_MM {
            return Err(RtstructError::OffPlane { roi: name(), slice, distance_mm });
        }
    }
    Ok(())
}

/// Largest distance of points from the plane of a slice.
fn off_plane_mm(set: &StructureSet<'_>, slice: usize, points: &[[f64; 3]]) -> f64 {
    let (normal, here) = (set.source.geometry.normal(), set.source.geometry.positions_mm()[slice]);
    points.iter().map(|&point| (dot(normal, point) - here).abs()).fold(0.0, f64::max)
}

/// Reads finished bytes and compares them with what was meant.
///
/// # Errors
/// [`RtstructError::SelfCheck`] with the first difference, and errors of a source that makes no structure set.
pub fn verify(set: &StructureSet<'_>, bytes: &[u8]) -> Result<(), RtstructError> {
    let wrong = |what: String| Err(RtstructError::SelfCheck(what));
    let unreadable = |error: String| RtstructError::SelfCheck(error);
    let (common, uids) = (common(set.source.instances)?, set.uids());
    // All regions at once would be many times the size of the file: they are read and compared one by one.
    let instance = Instance::read_part10_apart(bytes, tags::ROI_CONTOUR_SEQUENCE);
    let instance = instance.map_err(|error| unreadable(error.to_string()))?;
    if instance.sop_class_uid.as_str() != SOP_CLASS_UID {
        return wrong("SOP class".to_owned());
    }
    let (parsed, _) = without_contours(&instance);
    if parsed.sop_instance_uid != uids.sop_instance_uid
        || parsed.series_instance_uid != uids.series_instance_uid
        || parsed.study_instance_uid != common.study_instance_uid
    {
        return wrong("UIDs of the object, its series or its study".to_owned());
    }
    if parsed.frame_of_reference_uid.as_ref() != Some(&common.frame_of_reference_uid) {
        return wrong("frame of reference".to_owned());
    }
    if parsed.predecessor_uid.as_ref() != set.predecessor {
        return wrong("reference to the predecessor".to_owned());
    }
    let images = set.source.instances.iter().map(|image| &image.sop_instance_uid);
    if parsed.referenced_series_uid.as_ref() != Some(&common.series_instance_uid)
        || !parsed.referenced_images.iter().eq(images)
    {
        return wrong("references to the images of the series".to_owned());
    }
    sequences(set, &instance)?;
    if parsed.rois.len() != set.rois.len() || parsed.left_out != 0 {
        return wrong(format!("{} structures, {} items left out", parsed.rois.len(), parsed.left_out));
    }
    for (index, (found, meant)) in parsed.rois.iter().zip(set.rois).enumerate() {
        let same = same_region(found, meant, index)
            && found.frame_of_reference_uid.as_ref() == Some(&common.frame_of_reference_uid);
        if !same {
            return wrong(format!("structure {}", meant.style.name));
        }
    }
    let bad = set.rois.par_iter().enumerate().find_map_first(|(index, meant)| {
        let Some(item) = instance.item(tags::ROI_CONTOUR_SEQUENCE, index) else {
            return Some(format!("item {} of ROI Contour Sequence (3006,0039) cannot be read", index + 1));
        };
        region_problem(set, &item, meant, index)
    });
    bad.map_or(Ok(()), wrong)
}

/// What is wrong with an item of the ROI Contour Sequence; `None` for a good one.
fn region_problem(set: &StructureSet<'_>, item: &InMemDicomObject, meant: &Roi, index: usize) -> Option<String> {
    if integer(item, tags::REFERENCED_ROI_NUMBER) != Some(index as i64 + 1) {
        return Some(CONTOUR_NUMBERS.to_owned());
    }
    let plain = |item: &InMemDicomObject| {
        let text = item.get(tags::CONTOUR_DATA).and_then(|data| data.value().to_str().ok());
        text.is_some_and(|text| text.trim_end().split('\\').all(plain_decimal))
    };
    if !items(item, tags::CONTOUR_SEQUENCE).iter().all(plain) {
        return Some("a coordinate that is no plain decimal of at most 16 characters".to_owned());
    }
    let found = contours(item);
    let unreadable = found.iter().filter(|contour| contour.is_none()).count();
    if unreadable > 0 {
        return Some(format!("structure {}: {unreadable} items left out", meant.style.name));
    }
    if color(item) != Some(meant.style.color) || found.len() != meant.contours.len() {
        return Some(format!("structure {}", meant.style.name));
    }
    found.iter().flatten().zip(&meant.contours).find_map(|(found, contour)| {
        let what = contour_problem(set, found, meant.holes, contour.slice)?;
        Some(format!("structure {}, slice {}: {what}", meant.style.name, contour.slice))
    })
}

const CONTOUR_NUMBERS: &str = "numbers of ROI Contour Sequence (3006,0039)";

/// Every region has one item in each of the three sequences.
fn sequences(set: &StructureSet<'_>, instance: &Instance) -> Result<(), RtstructError> {
    let wrong = |what: &str| Err(RtstructError::SelfCheck(what.to_owned()));
    let numbered = |sequence: Tag, number: Tag| {
        let found = items(&instance.header, sequence).iter().map(|item| integer(item, number));
        found.eq((1..=set.rois.len() as i64).map(Some))
    };
    if !numbered(tags::STRUCTURE_SET_ROI_SEQUENCE, tags::ROI_NUMBER) {
        return wrong("numbers of Structure Set ROI Sequence (3006,0020)");
    }
    if instance.count_items(tags::ROI_CONTOUR_SEQUENCE) != set.rois.len() {
        return wrong(CONTOUR_NUMBERS);
    }
    if !numbered(tags::RTROI_OBSERVATIONS_SEQUENCE, tags::REFERENCED_ROI_NUMBER) {
        return wrong("numbers of RT ROI Observations Sequence (3006,0080)");
    }
    Ok(())
}

/// At most 16 characters (PS3.5 6.2, VR DS), of which none is an exponent: the oldest readers do not take one.
fn plain_decimal(text: &str) -> bool {
    !text.is_empty() && text.len() <= 16 && text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte))
}

fn same_region(found: &ParsedRoi, meant: &Roi, index: usize) -> bool {
    found.number == index as i64 + 1
        && found.name == meant.style.name
        && found.interpreted_type == meant.style.roi_type.dicom_term()
        && found.generation_algorithm == "AUTOMATIC"
}

/// What is wrong with a contour; `None` for a good one.
fn contour_problem(
    set: &StructureSet<'_>,
    found: &ParsedContour,
    holes: crate::contour::Holes,
    slice: usize,
) -> Option<&'static str> {
    let image = &set.source.slices[slice];
    if found.geometric_type != geometric_type(holes) {
        return Some("the geometric type of a contour");
    }
    if found.number_of_points != Some(found.points.len()) || found.points.len() < 3 {
        return Some("the number of points of a contour");
    }
    if found.points.first() == found.points.last() {
        return Some("a contour repeats its first point");
    }
    if found.sop_instance_uid.as_ref() != Some(&image.sop_instance_uid) || found.frame_number != image.frame_number {
        return Some("a contour refers to another image than that of its slice");
    }
    if off_plane_mm(set, slice, &found.points) > PLANE_MM {
        return Some("a point lies off the plane of its image");
    }
    crosses_itself(set.source.geometry, &found.points).then_some("a contour crosses itself")
}
