//! Phantoms with a known truth, and pyCERR's answer to one of them.

use super::*;

const SHAPE: (usize, usize, usize) = (4, 256, 240);

fn ellipse(row: usize, column: usize, middle: (f64, f64), half: (f64, f64)) -> bool {
    ((row as f64 - middle.0) / half.0).powi(2) + ((column as f64 - middle.1) / half.1).powi(2) < 1.0
}

/// Water within fat with an airway, 4 pixels above a table of two shells with foam between. A pattern of 16 values lies
/// over water and fat, so that the 5th percentile falls into the fat.
fn phantom(table: impl Fn(usize, usize) -> Option<f32>) -> Array3<f32> {
    Array3::from_shape_fn(SHAPE, |(_, row, column)| {
        let inside = |middle, half| ellipse(row, column, middle, half);
        let body = match () {
            () if inside((100.0, 120.0), (12.0, 9.0)) => Some(-950.0),
            () if inside((118.0, 120.0), (72.0, 88.0)) => Some(40.0 + pattern(row, column)),
            () if inside((118.0, 120.0), (80.0, 96.0)) => Some(-100.0 + pattern(row, column)),
            () => None,
        };
        body.or_else(|| table(row, column)).unwrap_or(-1000.0)
    })
}

fn shells(row: usize, column: usize) -> Option<f32> {
    let shell = (202..206).contains(&row) || (224..228).contains(&row);
    let foam = (206..224).contains(&row);
    (20..220).contains(&column).then(|| if shell { Some(150.0) } else { foam.then_some(-850.0) }).flatten()
}

fn pattern(row: usize, column: usize) -> f32 {
    ((row * 7 + column * 3) % 16) as f32 - 8.0
}

/// A tenth of the body with one value.
fn lung(mut image: Array3<f32>, value: f32) -> Array3<f32> {
    for ((_, row, column), voxel) in image.indexed_iter_mut() {
        if ellipse(row, column, (120.0, 160.0), (30.0, 26.0)) {
            *voxel = value;
        }
    }
    image
}

fn is_body(row: usize, column: usize) -> bool {
    ellipse(row, column, (118.0, 120.0), (80.0, 96.0))
}

/// Dice with the ellipse of the phantom, and how many of its voxels are missing.
fn against_truth(found: &Array3<bool>) -> (f64, usize) {
    let (mut both, mut sum, mut lost) = (0, 0, 0);
    for ((_, row, column), inside) in found.indexed_iter() {
        let truth = is_body(row, column);
        both += usize::from(truth && *inside);
        sum += usize::from(truth) + usize::from(*inside);
        lost += usize::from(truth && !*inside);
    }
    (2.0 * both as f64 / sum as f64, lost)
}

#[test]
fn a_table_below_the_body_is_left_out_and_the_fat_of_the_back_stays() {
    let found = patient_outline(phantom(shells).view(), &OutlineParameters::CT);
    assert!(found[[0, 100, 120]] && !found[[0, 203, 120]]);
    // pyCERR 2.5.1 has 23601 voxels in each slice: it loses the lowest eight rows, where T lies in the noise of fat.
    let (dice, lost) = against_truth(&found);
    assert!(dice > 0.99 && lost < 4 * 60, "{dice} {lost}");
}

#[test]
fn equals_pycerr_where_the_percentile_lies_below_fat() {
    let image = lung(phantom(shells), -350.0);
    let found = patient_outline(image.view(), &OutlineParameters::CT);
    // pyCERR 2.5.1, getPatientOutline(scan, -400).
    assert_eq!(found.iter().filter(|inside| **inside).count(), 4 * 24_089);
}

#[test]
fn a_solid_table_that_the_body_lies_on_is_taken_away() {
    let solid = |row, column| ((190..226).contains(&row) && (20..220).contains(&column)).then_some(100.0);
    let found = patient_outline(phantom(solid).view(), &OutlineParameters::CT);
    let (dice, _) = against_truth(&found);
    assert!(dice > 0.97 && !found[[0, 215, 120]] && !found[[0, 200, 40]], "{dice}");
}

#[test]
fn no_edge_inside_a_body_without_table_cuts_it() {
    // A flat bone below the middle of the body, the only long horizontal edges of the image.
    let mut image = phantom(|_, _| None);
    crate::infer::part::part(image.view_mut(), &[0..4, 150..156, 60..180]).fill(900.0);
    let found = patient_outline(image.view(), &OutlineParameters::CT);
    let (dice, lost) = against_truth(&found);
    assert!(dice > 0.99 && lost < 4 * 100, "{dice} {lost}");
}

#[test]
fn a_body_of_one_value_above_zero_is_not_lost() {
    // pyCERR and MATLAB find nothing here: nothing is above its own percentile, and 1.5 T is above all tissue.
    let image = phantom(|_, _| None).mapv(|value| if value > -500.0 { 36.0 } else { value });
    let (dice, _) = against_truth(&patient_outline(image.view(), &OutlineParameters::CT));
    assert!(dice > 0.98, "{dice}");
}

#[test]
fn an_edge_of_the_image_wears_no_body_away() {
    let whole = phantom(|_, _| None);
    let cut = crate::infer::part::part(whole.view(), &[0..4, 0..256, 60..180]).to_owned();
    let found = patient_outline(cut.view(), &OutlineParameters::CT);
    assert!(found[[0, 118, 0]] && found[[0, 118, 119]]);
}

#[test]
fn a_fraction_of_the_largest_value_does_not_mind_the_scale() {
    let mr = lung(phantom(|_, _| None).mapv(|value| if value < -500.0 { 3.0 } else { value + 300.0 }), 20.0);
    let parameters = OutlineParameters { threshold: 0.03, minimum_pixels: 1500, normalise: true };
    let found = patient_outline(mr.view(), &parameters);
    let scaled = patient_outline(mr.mapv(|value| value * 8.0).view(), &parameters);
    assert_eq!(found, scaled);
    assert!(against_truth(&found).0 > 0.98);
}

#[test]
fn nothing_above_the_threshold_and_nothing_large_enough_are_empty() {
    let air = Array3::from_elem((2, 64, 64), -1000.0);
    assert!(!patient_outline(air.view(), &OutlineParameters::CT).iter().any(|inside| *inside));
    let small = OutlineParameters { minimum_pixels: 60_000, ..OutlineParameters::CT };
    assert!(!patient_outline(phantom(shells).view(), &small).iter().any(|inside| *inside));
}

#[test]
fn percentiles_are_those_of_matlab() {
    // prctile([1 2 3 4 5 6 7 8 9 10 11 12], 5): rank 0.05 * 12 - 0.5 = 0.1, so 1.1; values at the bound do not count.
    let values = [12.0, 3.0, 5.0, -7.0, 1.0, 2.0, 0.0, 4.0, 11.0, 9.0, 10.0, 6.0, 7.0, 8.0];
    let image = Array3::from_shape_vec((2, 7, 1), values.to_vec()).expect("14 values");
    let found = percentile_above(image.view(), 0.0, 5.0).expect("values");
    assert!((found - 1.1).abs() < 1e-6, "{found}");
    // With the two below: ranks of -7, 0, 1, ...: 0.05 * 14 - 0.5 = 0.2 from -7 to 0.
    let found = percentile_above(image.view(), -100.0, 5.0).expect("values");
    assert!((found + 5.6).abs() < 1e-5, "{found}");
    assert_eq!(percentile_above(image.view(), 12.0, 5.0), None);
}
