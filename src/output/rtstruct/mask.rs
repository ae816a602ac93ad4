//! Regions of a structure set that was drawn elsewhere as voxels; where it was drawn on other slices, on those.

use std::sync::Arc;

use super::read::{ParsedContour, ParsedRoi};
use crate::contour::{Contour, rasterise_xor};
use crate::volume::{Mask, VolumeGeometry, dot};

/// How far points of a contour may lie off its plane.
const FLAT_MM: f64 = 0.5;

/// How far a contour may lie off a slice and still be drawn on it, as part of the distance of slices.
const ON_SLICE: f64 = 0.1;

impl ParsedRoi {
    /// The voxels of the region. When the closed contours lie on the slices of `geometry` the mask has that grid; else its
    /// slices are the planes of the contours, with the rows and columns of `geometry`, and empty ones where a plane is
    /// missing and beyond both ends.
    ///
    /// A voxel inside an odd number of contours is inside: makers write holes as a keyhole, as CLOSEDPLANAR_XOR, or as
    /// a contour inside another, and this reads all three. A contour that is there twice counts once.
    ///
    /// # Errors
    /// Why it has no voxels, in words that name no structure: no closed contours, or contours across the slices.
    pub fn mask_on(&self, geometry: &Arc<VolumeGeometry>) -> Result<Mask, String> {
        let mut placed: Vec<(f64, &ParsedContour)> = Vec::new();
        for contour in self.contours.iter().filter(|contour| contour.is_closed() && contour.points.len() > 2) {
            let positions = contour.points.iter().map(|&point| dot(geometry.normal(), point));
            let (low, high) = positions.fold((f64::MAX, f64::MIN), |(low, high), at| (low.min(at), high.max(at)));
            if high - low > 2.0 * FLAT_MM {
                let off = (high - low) / 2.0;
                return Err(format!("found a contour {off:.1} mm across the slices of the images, expected it on one"));
            }
            if !placed.iter().any(|(_, other)| other.points == contour.points) {
                placed.push(((low + high) / 2.0, contour));
            }
        }
        if placed.is_empty() {
            return Err("found no closed contours".to_owned());
        }
        placed.sort_by(|a, b| a.0.total_cmp(&b.0));
        let on_slices: Option<Vec<usize>> = placed.iter().map(|(position, _)| slice_at(geometry, *position)).collect();
        // Every second slice and the like: drawn on thicker slices that happen to coincide with some of these.
        match on_slices.filter(|slices| usual_step(slices) <= 1) {
            Some(slices) => Ok(rasterise_xor(&contours(&placed, &slices), geometry)),
            None => on_planes(&placed, geometry),
        }
    }
}

fn contours(placed: &[(f64, &ParsedContour)], slices: &[usize]) -> Vec<Contour> {
    let pairs = placed.iter().zip(slices);
    pairs.map(|((_, contour), &slice)| Contour { slice, points: contour.points.clone() }).collect()
}

/// The slice at a position along the normal.
fn slice_at(geometry: &VolumeGeometry, position: f64) -> Option<usize> {
    let planes = geometry.positions_mm();
    let above = planes.partition_point(|&plane| plane < position);
    let near = above.saturating_sub(1)..(above + 1).min(planes.len());
    let slice = near.min_by(|&a, &b| (planes[a] - position).abs().total_cmp(&(planes[b] - position).abs()))?;
    ((planes[slice] - position).abs() <= ON_SLICE * geometry.slice_extent_mm(slice)).then_some(slice)
}

/// The median distance of neighbours among slices that ascend, each once; 1 for a single one.
fn usual_step(slices: &[usize]) -> usize {
    let mut steps: Vec<usize> = slices.windows(2).map(|pair| pair[1] - pair[0]).filter(|&step| step > 0).collect();
    steps.sort_unstable();
    steps.get(steps.len() / 2).copied().unwrap_or(1)
}

/// A grid of planes at the contours.
fn on_planes(placed: &[(f64, &ParsedContour)], geometry: &VolumeGeometry) -> Result<Mask, String> {
    let mut planes: Vec<f64> = Vec::new();
    for (position, _) in placed {
        if planes.last().is_none_or(|last| position - last > 2.0 * FLAT_MM * ON_SLICE) {
            planes.push(*position);
        }
    }
    let mut gaps: Vec<f64> = planes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_by(f64::total_cmp);
    let step = gaps.get(gaps.len() / 2).copied().unwrap_or_else(|| geometry.slice_spacing_mm());
    let (first, last) = (planes[0], planes[planes.len() - 1]);
    let mut whole = vec![first - step];
    for &plane in &planes {
        let before = whole[whole.len() - 1];
        // A gap of two planes or more is a gap in the structure: the planes beside it are empty.
        match ((plane - before) / step).round() as i64 {
            ..=1 => {}
            2 => whole.push((plane + before) / 2.0),
            _ => whole.extend([before + step, plane - step]),
        }
        whole.push(plane);
    }
    whole.push(last + step);
    let origin = |&position: &f64| {
        let normal = geometry.normal();
        let foot = normal.map(|x| x * position);
        let slice = geometry.patient_to_index(foot)[0];
        geometry.index_to_patient([slice, 0.0, 0.0])
    };
    let spacing = [geometry.row_spacing_mm(), geometry.column_spacing_mm()];
    let origins = whole.iter().map(origin).collect();
    let directions = (geometry.row_direction(), geometry.column_direction());
    let size = (geometry.rows(), geometry.columns());
    let grid = VolumeGeometry::new(size, spacing, directions.0, directions.1, origins);
    let grid = Arc::new(grid.map_err(|error| format!("the planes of its contours make no grid: {error}"))?);
    let nearest = |position: f64| {
        let apart = |slice: &usize| (whole[*slice] - position).abs();
        (0..whole.len()).min_by(|a, b| apart(a).total_cmp(&apart(b))).unwrap_or(0)
    };
    let slices: Vec<usize> = placed.iter().map(|(position, _)| nearest(*position)).collect();
    Ok(rasterise_xor(&contours(placed, &slices), &grid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(positions: &[f64]) -> Arc<VolumeGeometry> {
        let origins = positions.iter().map(|&z| [0.0, 0.0, z]).collect();
        Arc::new(VolumeGeometry::new((8, 8), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins).expect("legal"))
    }

    /// A square from `low` to `high` on a plane.
    fn square(low: f64, high: f64, z: f64) -> ParsedContour {
        ParsedContour {
            geometric_type: "CLOSED_PLANAR".to_owned(),
            number_of_points: Some(4),
            points: vec![[low, low, z], [high, low, z], [high, high, z], [low, high, z]],
            sop_instance_uid: None,
            frame_number: None,
        }
    }

    fn roi(contours: Vec<ParsedContour>) -> ParsedRoi {
        ParsedRoi {
            number: 1,
            name: "x".to_owned(),
            frame_of_reference_uid: None,
            interpreted_type: String::new(),
            color: None,
            generation_algorithm: String::new(),
            volume_cm3: None,
            contours,
            unreadable: 0,
        }
    }

    #[test]
    fn a_contour_inside_another_is_a_hole_and_one_twice_is_one() {
        let geometry = geometry(&[0.0, 2.0, 4.0]);
        let (outer, inner) = (square(0.5, 6.5, 2.0), square(2.5, 4.5, 2.0));
        let mask = roi(vec![outer.clone(), inner, outer]).mask_on(&geometry).expect("a mask");
        assert_eq!(mask.geometry, geometry);
        assert_eq!(mask.count(), 36 - 4);
    }

    #[test]
    fn contours_on_other_slices_keep_their_planes() {
        let geometry = geometry(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        let squares = [1.5, 4.5, 7.5].map(|z| square(0.5, 2.5, z)).to_vec();
        let mask = roi(squares).mask_on(&geometry).expect("a mask");
        assert_eq!(mask.geometry.positions_mm(), [-1.5, 1.5, 4.5, 7.5, 10.5]);
        assert_eq!(
            mask.voxels.outer_iter().map(|s| s.iter().filter(|v| **v).count()).collect::<Vec<_>>(),
            [0, 4, 4, 4, 0]
        );
        let apart = [1.5, 4.5, 7.5, 22.5].map(|z| square(0.5, 2.5, z)).to_vec();
        let mask = roi(apart).mask_on(&geometry).expect("a mask");
        assert_eq!(mask.geometry.positions_mm(), [-1.5, 1.5, 4.5, 7.5, 10.5, 19.5, 22.5, 25.5]);
    }

    #[test]
    fn contours_on_every_second_slice_are_of_thicker_slices() {
        let geometry = geometry(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let squares = [1.0, 3.0, 5.0].map(|z| square(0.5, 2.5, z)).to_vec();
        let mask = roi(squares).mask_on(&geometry).expect("a mask");
        assert_eq!(mask.geometry.positions_mm(), [-1.0, 1.0, 3.0, 5.0, 7.0]);
    }

    #[test]
    fn says_why_there_are_no_voxels() {
        let geometry = geometry(&[0.0, 1.0]);
        assert_eq!(roi(Vec::new()).mask_on(&geometry).err().as_deref(), Some("found no closed contours"));
        let mut across = square(0.5, 2.5, 0.0);
        across.points[2][2] = 4.0;
        let told = roi(vec![across]).mask_on(&geometry).err().expect("a reason");
        assert_eq!(told, "found a contour 2.0 mm across the slices of the images, expected it on one");
    }
}
