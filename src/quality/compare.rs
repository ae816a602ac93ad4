//! The figures of agreement between two masks of one structure, with nothing where a figure has no meaning.

use super::surface::SurfaceDistances;
use crate::volume::Mask;

/// How a mask A, which is judged, agrees with a mask B, the reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Of A and of B, each slice with its own extent.
    pub volumes_cm3: [f64; 2],
    /// Twice the common volume in the sum of both (Dice 1945); nothing when both are empty.
    pub dice: Option<f64>,
    /// The part of both surfaces within the tolerance, by area; nothing when both are empty, 0 when one is.
    pub surface_dice: Option<f64>,
    /// Nothing when either is empty.
    pub distances: Option<Distances>,
    /// The length of the contours of B that A lacks, in mm: what a person would have to draw (Vaassen et al., Phys.
    /// Imaging Radiat. Oncol. 13, 2020). Pixels of B's contour on each slice that are not pixels of A's contour, times
    /// the side of a pixel (the root of its area where pixels are not square). A contour pixel is inside and has one of
    /// its four neighbours outside.
    pub added_path_length_mm: f64,
}

/// Distances of two surfaces in mm, elements counted by their area.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distances {
    pub hausdorff_95_mm: f64,
    pub hausdorff_mm: f64,
    pub mean_mm: f64,
}

/// Compares two masks on one grid; the tolerance is that of the surface Dice coefficient.
///
/// # Panics
/// When the shapes differ.
pub fn compare(a: &Mask, b: &Mask, tolerance_mm: f64) -> Comparison {
    let volumes_cm3 = [a.volume_cm3(), b.volume_cm3()];
    let common = Mask::new(a.geometry.clone(), &a.voxels & &b.voxels).volume_cm3();
    let sum: f64 = volumes_cm3.iter().sum();
    let any = sum > 0.0;
    let surfaces = SurfaceDistances::of(&a.voxels, &b.voxels, &a.geometry);
    let distances = surfaces.as_ref().map(|surfaces| Distances {
        hausdorff_95_mm: surfaces.hausdorff_mm(0.95),
        hausdorff_mm: surfaces.hausdorff_mm(1.0),
        mean_mm: surfaces.mean_mm(),
    });
    Comparison {
        volumes_cm3,
        dice: any.then(|| 2.0 * common / sum),
        surface_dice: any.then(|| surfaces.map_or(0.0, |surfaces| surfaces.dice(tolerance_mm))),
        distances,
        added_path_length_mm: added_path_length_mm(a, b),
    }
}

fn added_path_length_mm(a: &Mask, b: &Mask) -> f64 {
    let side = (a.geometry.row_spacing_mm() * a.geometry.column_spacing_mm()).sqrt();
    let added = b.voxels.indexed_iter().filter(|(at, inside)| **inside && is_contour(b, *at) && !is_contour(a, *at));
    added.count() as f64 * side
}

/// Whether a voxel is inside and one of its four neighbours on the slice is outside.
fn is_contour(mask: &Mask, (slice, row, column): (usize, usize, usize)) -> bool {
    let inside = |row: usize, column: usize| mask.voxels.get([slice, row, column]).is_some_and(|inside| *inside);
    let around = [(row.wrapping_sub(1), column), (row + 1, column), (row, column.wrapping_sub(1)), (row, column + 1)];
    inside(row, column) && around.into_iter().any(|(row, column)| !inside(row, column))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ndarray::Array3;

    use super::*;
    use crate::volume::VolumeGeometry;

    /// Slices 2 mm, rows 1.5 mm, columns 1 mm apart.
    fn grid() -> Arc<VolumeGeometry> {
        let origins = (0..20).map(|k| [0.0, 0.0, 2.0 * f64::from(k)]).collect();
        let made = VolumeGeometry::new((24, 32), [1.5, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
        Arc::new(made.expect("legal"))
    }

    fn mask(inside: impl Fn([f64; 3]) -> bool) -> Mask {
        let at = |(k, j, i): (usize, usize, usize)| [i as f64, 1.5 * j as f64, 2.0 * k as f64];
        Mask::new(grid(), Array3::from_shape_fn((20, 24, 32), |index| inside(at(index))))
    }

    /// A box of 6 slices, 8 rows and 10 columns from a corner of indices.
    fn cuboid([slice, row, column]: [usize; 3]) -> Mask {
        let voxels = Array3::from_shape_fn((20, 24, 32), |(k, j, i)| {
            (slice..slice + 6).contains(&k) && (row..row + 8).contains(&j) && (column..column + 10).contains(&i)
        });
        Mask::new(grid(), voxels)
    }

    fn near(found: f64, expected: f64, within: f64) {
        assert!((found - expected).abs() <= within, "found {found}, expected {expected} within {within}");
    }

    #[test]
    fn a_mask_agrees_with_itself_wherever_it_lies() {
        for corner in [[4, 4, 4], [0, 0, 0], [14, 16, 22]] {
            let found = compare(&cuboid(corner), &cuboid(corner), 0.0);
            let distances = Distances { hausdorff_95_mm: 0.0, hausdorff_mm: 0.0, mean_mm: 0.0 };
            let volume = 6.0 * 8.0 * 10.0 * 3.0 / 1000.0;
            near(found.volumes_cm3[0], volume, 1e-12);
            assert_eq!((found.dice, found.surface_dice), (Some(1.0), Some(1.0)), "{found:?}");
            assert_eq!((found.distances, found.added_path_length_mm), (Some(distances), 0.0));
        }
    }

    #[test]
    fn a_box_shifted_along_each_axis_is_as_far_as_the_shift() {
        for (to, mm, common) in [([7, 4, 4], 6.0, 3.0 / 6.0), ([4, 7, 4], 4.5, 5.0 / 8.0), ([4, 4, 7], 3.0, 7.0 / 10.0)]
        {
            let (a, b) = (cuboid([4, 4, 4]), cuboid(to));
            let found = compare(&a, &b, mm);
            near(found.dice.expect("not empty"), common, 1e-12);
            near(found.distances.expect("not empty").hausdorff_mm, mm, 1e-9);
            assert_eq!(found.surface_dice, Some(1.0), "within the shift all is");
            assert!(compare(&a, &b, mm - 0.01).surface_dice.expect("not empty") < 1.0);
            assert_eq!(compare(&a, &b, mm), compare(&b, &a, mm), "a shift looks the same from both sides");
        }
    }

    #[test]
    fn balls_of_two_radii_are_their_difference_apart() {
        let ball = |radius: f64| {
            mask(move |p| {
                [15.5, 17.25, 19.0].iter().zip(p).map(|(c, x)| (c - x).powi(2)).sum::<f64>() <= radius.powi(2)
            })
        };
        let found = compare(&ball(14.0), &ball(10.0), 2.0);
        let volume = |radius: f64| 4.0 / 3.0 * std::f64::consts::PI * f64::powi(radius, 3) / 1000.0;
        near(found.volumes_cm3[0], volume(14.0), 0.02 * volume(14.0));
        near(found.dice.expect("not empty"), 2.0 * volume(10.0) / (volume(10.0) + volume(14.0)), 0.01);
        let distances = found.distances.expect("not empty");
        // Surfaces of voxels are known to half a voxel's diagonal.
        near(distances.mean_mm, 4.0, 1.35);
        near(distances.hausdorff_mm, 4.0, 1.35);
        assert!(distances.hausdorff_95_mm <= distances.hausdorff_mm);
        assert!(found.surface_dice.expect("not empty") < 0.05);
    }

    #[test]
    fn added_path_is_the_contour_that_the_other_lacks() {
        // Of each of 6 slices the outline of 8 x 10 pixels, of which two rows less their ends' columns coincide.
        let (a, b) = (cuboid([4, 4, 4]), cuboid([4, 4, 4]));
        let mut more = b.clone();
        more.voxels.outer_iter_mut().skip(4).take(6).for_each(|mut slice| {
            (4..12).for_each(|row| slice[[row, 14]] = true);
        });
        let side = 1.5_f64.sqrt();
        near(compare(&a, &more, 0.0).added_path_length_mm, 6.0 * 8.0 * side, 1e-9);
        // The column that is inside now, less the two pixels that are still on the outline.
        near(compare(&more, &a, 0.0).added_path_length_mm, 6.0 * 6.0 * side, 1e-9);
        let nothing = mask(|_| false);
        near(compare(&nothing, &b, 0.0).added_path_length_mm, 6.0 * 32.0 * side, 1e-9);
        assert_eq!(compare(&b, &nothing, 0.0).added_path_length_mm, 0.0);
    }

    #[test]
    fn empty_masks_have_no_figures_that_mean_nothing() {
        let (nothing, something) = (mask(|_| false), cuboid([4, 4, 4]));
        let found = compare(&nothing, &nothing, 3.0);
        assert_eq!((found.dice, found.surface_dice, found.distances), (None, None, None));
        let found = compare(&nothing, &something, 3.0);
        assert_eq!((found.dice, found.surface_dice, found.distances), (Some(0.0), Some(0.0), None));
        assert_eq!(found.volumes_cm3[0], 0.0);
    }

    #[test]
    fn uneven_slices_count_by_their_own_positions() {
        let origins = [0.0, 1.0, 2.0, 6.0, 10.0, 11.0].map(|z| [0.0, 0.0, z]).to_vec();
        let made = VolumeGeometry::new((4, 4), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
        let geometry = Arc::new(made.expect("legal"));
        let slab =
            |end: usize| Mask::new(geometry.clone(), Array3::from_shape_fn((6, 4, 4), |(k, ..)| (1..end).contains(&k)));
        let distances = compare(&slab(3), &slab(4), 0.0).distances.expect("not empty");
        // Half-way between 2 and 6 against half-way between 6 and 10.
        near(distances.hausdorff_mm, 4.0, 1e-12);
    }
}
