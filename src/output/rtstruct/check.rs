//! What has to hold before a structure set is encoded, and whether the finished bytes say it; validators check neither.

use std::collections::HashSet;

use super::read::{ParsedContour, ParsedRoi, read};
use super::{Roi, RtstructError, StructureSet};
use crate::limits::CONTOUR_POINTS_MAX;
use crate::output::object::{Common, Uids, plain};
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
    let problems = check_names(&styles, set.options.names);
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

/// Reads the finished bytes and compares them with what was meant.
pub fn output(set: &StructureSet<'_>, common: &Common, uids: &Uids, bytes: &[u8]) -> Result<(), RtstructError> {
    let wrong = |what: String| Err(RtstructError::SelfCheck(what));
    let parsed = read(bytes).map_err(|error| RtstructError::SelfCheck(error.to_string()))?;
    if parsed.sop_instance_uid != uids.sop_instance_uid || parsed.study_instance_uid != common.study_instance_uid {
        return wrong("UIDs of the object or its study".to_owned());
    }
    if parsed.frame_of_reference_uid.as_ref() != Some(&common.frame_of_reference_uid) {
        return wrong("frame of reference".to_owned());
    }
    if parsed.referenced_series_uid.as_ref() != Some(&common.series_instance_uid)
        || parsed.referenced_images != set.source.instances.len()
    {
        return wrong("references to the images of the series".to_owned());
    }
    if parsed.rois.len() != set.rois.len() || parsed.left_out != 0 {
        return wrong(format!("{} structures, {} items left out", parsed.rois.len(), parsed.left_out));
    }
    for (index, (found, meant)) in parsed.rois.iter().zip(set.rois).enumerate() {
        if !same_region(found, meant, index)
            || !found.contours.iter().zip(&meant.contours).all(|(found, meant)| same_contour(set, found, meant.slice))
        {
            return wrong(format!("structure {}", meant.style.name));
        }
    }
    Ok(())
}

fn same_region(found: &ParsedRoi, meant: &Roi, index: usize) -> bool {
    found.number == index as i64 + 1
        && found.name == meant.style.name
        && found.color == Some(meant.style.color)
        && found.interpreted_type == meant.style.roi_type.dicom_term()
        && found.generation_algorithm == "AUTOMATIC"
        && found.contours.len() == meant.contours.len()
}

fn same_contour(set: &StructureSet<'_>, found: &ParsedContour, slice: usize) -> bool {
    let image = &set.source.slices[slice];
    found.geometric_type == "CLOSED_PLANAR"
        && found.number_of_points == Some(found.points.len())
        && found.points.len() >= 3
        && found.points.first() != found.points.last()
        && found.sop_instance_uid.as_ref() == Some(&image.sop_instance_uid)
        && found.frame_number == image.frame_number
        && off_plane_mm(set, slice, &found.points) <= PLANE_MM
}
