//! Where a slice lies and whether slices follow each other without a gap; it needs headers only, so that it can be
//! asked while a series is still arriving.

use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use crate::dicom::instance::f64s;
use crate::dicom::{Instance, Uid};
use crate::volume::{cross, dot};

/// Slices closer than this lie at one place.
pub const COINCIDENT_MM: f64 = 0.01;

/// Largest difference of a component of two directions that count as one orientation.
pub const SAME_DIRECTION: f64 = 1e-4;

/// A gap of so many medians or more means that at least one slice is missing.
const GAP_MEDIANS: f64 = 1.5;

/// Where one slice lies (PS3.3 C.7.6.2.1.1), in patient coordinates (LPS).
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// Unit vector along increasing column index.
    pub row_direction: [f64; 3],
    /// Unit vector along increasing row index.
    pub column_direction: [f64; 3],
    /// Row direction x column direction.
    pub normal: [f64; 3],
    /// Centre of the first voxel, in mm.
    pub origin: [f64; 3],
    /// Signed distance from the patient origin along the normal, in mm.
    pub position_mm: f64,
    pub frame_of_reference_uid: Option<Uid>,
}

/// How slices follow each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Spacing {
    /// How many different positions there are; duplicates count once.
    pub positions: usize,
    /// Median distance between neighbours in mm; 0 below two positions.
    pub median_mm: f64,
    /// Largest distance between neighbours in mm; 0 below two positions.
    pub largest_mm: f64,
    /// Largest deviation from the median in mm.
    pub deviation_mm: f64,
    /// Estimate of how many slices are missing between the first and the last.
    pub missing: usize,
    /// There are at least three positions of one orientation and frame of reference, and nothing is missing between
    /// them. What is missing at the ends cannot be seen.
    pub gap_free: bool,
}

/// Where the image of an instance lies; none for what is no image, has no or illegal geometry, and for multi-frame
/// images, which hold their geometry per frame and arrive in one piece.
pub fn placement(instance: &Instance) -> Option<Placement> {
    let orientation = directions(&instance.header)?;
    let origin = origin(&instance.header)?;
    let frame_of_reference_uid = instance.text(tags::FRAME_OF_REFERENCE_UID).and_then(|text| text.parse().ok());
    Some(place(orientation, origin, frame_of_reference_uid))
}

pub(super) fn place(
    [row_direction, column_direction]: [[f64; 3]; 2],
    origin: [f64; 3],
    frame_of_reference_uid: Option<Uid>,
) -> Placement {
    let normal = cross(row_direction, column_direction);
    let position_mm = dot(normal, origin);
    Placement { row_direction, column_direction, normal, origin, position_mm, frame_of_reference_uid }
}

/// Image Orientation Patient: row direction, column direction.
pub(super) fn directions(object: &InMemDicomObject) -> Option<[[f64; 3]; 2]> {
    let numbers = f64s(object, tags::IMAGE_ORIENTATION_PATIENT)?;
    let &[a, b, c, d, e, f] = numbers.as_slice() else { return None };
    Some([[a, b, c], [d, e, f]])
}

/// Image Position Patient.
pub(super) fn origin(object: &InMemDicomObject) -> Option<[f64; 3]> {
    f64s(object, tags::IMAGE_POSITION_PATIENT)?.try_into().ok()
}

/// How the slices of a series follow each other, from those that are there. Duplicates are tolerated; the order does
/// not matter. Distances are measured along the normal of the first slice.
pub fn spacing(placements: &[Placement]) -> Spacing {
    let Some(first) = placements.first() else { return of_positions(Vec::new()) };
    let together = placements
        .iter()
        .all(|other| same_orientation(first, other) && first.frame_of_reference_uid == other.frame_of_reference_uid);
    let positions = placements.iter().map(|other| dot(first.normal, other.origin)).collect();
    let found = of_positions(positions);
    Spacing { gap_free: found.gap_free && together, ..found }
}

pub(super) fn same_orientation(a: &Placement, b: &Placement) -> bool {
    let pairs = a.row_direction.iter().zip(&b.row_direction).chain(a.column_direction.iter().zip(&b.column_direction));
    pairs.into_iter().all(|(x, y)| (x - y).abs() <= SAME_DIRECTION)
}

/// The spacing of positions along one line.
pub(super) fn of_positions(mut positions: Vec<f64>) -> Spacing {
    positions.retain(|position| position.is_finite());
    positions.sort_by(f64::total_cmp);
    positions.dedup_by(|next, kept| *next - *kept < COINCIDENT_MM);
    let gaps: Vec<f64> = positions.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mut sorted = gaps.clone();
    sorted.sort_by(f64::total_cmp);
    let median_mm = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    let missing = gaps.iter().map(|&gap| missing_in(gap, median_mm)).sum();
    Spacing {
        positions: positions.len(),
        median_mm,
        largest_mm: sorted.last().copied().unwrap_or(0.0),
        deviation_mm: gaps.iter().map(|gap| (gap - median_mm).abs()).fold(0.0, f64::max),
        missing,
        gap_free: positions.len() >= 3 && missing == 0,
    }
}

/// How many slices are missing in a gap between neighbours.
pub(super) fn missing_in(gap_mm: f64, median_mm: f64) -> usize {
    if median_mm <= 0.0 || gap_mm < GAP_MEDIANS * median_mm {
        return 0;
    }
    // A gap of 1.5 medians is one missing slice, of 2.4 also.
    ((gap_mm / median_mm).round() as usize).saturating_sub(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(positions: &[f64]) -> Vec<Placement> {
        let axial = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]];
        positions.iter().map(|&z| place(axial, [-10.0, 5.0, z], None)).collect()
    }

    #[test]
    fn order_and_duplicates_do_not_matter() {
        let found = spacing(&at(&[6.0, 0.0, 3.0, 3.001, 9.0]));
        assert!(found.gap_free, "{found:?}");
        assert_eq!((found.positions, found.missing, found.median_mm), (4, 0, 3.0));
    }

    #[test]
    fn estimates_how_many_slices_are_missing() {
        let found = spacing(&at(&[0.0, 3.0, 6.0, 15.0, 18.0, 24.0]));
        assert_eq!((found.gap_free, found.missing, found.largest_mm), (false, 3, 9.0));
    }

    #[test]
    fn two_slices_tell_nothing_and_none_neither() {
        assert!(!spacing(&at(&[0.0, 3.0])).gap_free);
        assert_eq!(spacing(&[]).positions, 0);
    }

    #[test]
    fn mixed_orientations_or_frames_of_reference_are_not_free_of_gaps() {
        let mut placements = at(&[0.0, 3.0, 6.0]);
        placements[1] = place([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0]], [0.0, 0.0, 3.0], None);
        assert!(!spacing(&placements).gap_free);
        let mut placements = at(&[0.0, 3.0, 6.0]);
        placements[2].frame_of_reference_uid = Some(Uid::derived(["other"]));
        assert!(!spacing(&placements).gap_free);
    }
}
