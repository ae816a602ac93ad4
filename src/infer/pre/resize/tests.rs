//! Every voxel that an operation moves comes back to where it was, through the frame alone.

use std::collections::BTreeMap;

use ndarray::{Array3, Axis};

use crate::document;
use crate::document::Problems;
use crate::infer::axes::Axes;
use crate::infer::frame::Prepared;
use crate::infer::grid::{Method, bring_onto};
use crate::infer::pre::Step;
use crate::infer::region::Surroundings;
use crate::volume::{Mask, Volume, VolumeGeometry};

/// What voxels that were added hold; every voxel of the image holds its own number.
const ADDED: f32 = -1.0;

/// A volume of uneven slices; its normal points up or, with `down`, to the feet.
fn numbered([slices, rows, columns]: [usize; 3], down: bool) -> Volume {
    let sign = if down { -1.0 } else { 1.0 };
    let gaps: Vec<f64> = (0..slices).map(|k| 2.0 * k as f64 + if k % 3 == 1 { 0.5 } else { 0.0 }).collect();
    let origins = gaps.into_iter().map(|z| [10.0, -20.0, sign * z]).collect();
    let geometry =
        VolumeGeometry::new((rows, columns), [1.5, 0.5], [1.0, 0.0, 0.0], [0.0, sign, 0.0], origins).expect("legal");
    let pixels = Array3::from_shape_fn((slices, rows, columns), |(k, j, i)| ((k * rows + j) * columns + i) as f32);
    Volume::new(geometry.into(), pixels)
}

fn applied<'a>(steps: &[String], volume: &'a Volume, mask: &Mask) -> Result<Prepared<'a>, String> {
    let structures = BTreeMap::from([("S".to_owned(), mask.clone())]);
    let mut image = Prepared::of(volume, Axes::ACQUIRED);
    for json in steps {
        let mut problems = Problems::of("f.json");
        let step = document::parse(json, &mut problems).and_then(|node| Step::parse(&node, &["S"], &mut problems));
        let told: Vec<String> = problems.into_vec().iter().map(ToString::to_string).collect();
        let step = step.ok_or_else(|| told.join(" "))?;
        let surroundings = Surroundings { structures: &structures, images: &BTreeMap::new(), pooled: None };
        image = step.apply(image, &surroundings).map_err(|error| error.to_string())?;
        assert_eq!(image.frame.shape(), *image.pixels.shape(), "{json}");
        assert!(image.mask.as_ref().is_none_or(|mask| mask.dim() == image.pixels.dim()), "{json}");
    }
    Ok(image)
}

/// What the array holds, on the grid of the source: through windows to the grid of the frame, from there the nearest.
fn brought_back(image: &Prepared<'_>, source: &Volume) -> Array3<f32> {
    let frame = &image.frame;
    let mut on_grid = Array3::from_elem(frame.geometry.shape(), ADDED);
    match &frame.windows {
        None => on_grid.assign(&image.pixels),
        Some(windows) => {
            let [_, rows, columns] = frame.geometry.shape();
            for (plane, window) in image.pixels.outer_iter().zip(&windows.slices) {
                let Some(window) = window else { continue };
                let back = windows.plane_back(plane, window, (rows, columns), ADDED);
                on_grid.index_axis_mut(Axis(0), window.slice).assign(&back);
            }
        }
    }
    bring_onto(&Volume::new(frame.geometry.clone(), on_grid), &source.geometry, Method::Nearest, ADDED).pixels
}

fn random_mask(source: &Volume, random: &mut fastrand::Rng) -> Mask {
    let [slices, rows, columns] = source.geometry.shape();
    let mut mask = Mask::empty(source.geometry.clone());
    while mask.count() == 0 {
        for slice in (0..slices).filter(|_| random.f64() < 0.6).collect::<Vec<_>>() {
            let ends = |random: &mut fastrand::Rng, length: usize| {
                let first = random.usize(0..length);
                (first, random.usize(first..length))
            };
            let (row, column) = (ends(random, rows), ends(random, columns));
            mask.voxels[[slice, row.0, column.0]] = true;
            mask.voxels[[slice, row.1, column.1]] = true;
        }
    }
    mask
}

fn crop(random: &mut fastrand::Rng) -> String {
    let region = random.choice(["structure", "structure_2d"]).expect("two");
    let slices = random.choice(["marked", "range"]).expect("two");
    format!(
        r#"{{"op": "crop", "regions": [{{"region": "{region}", "names": ["S"]}}], "slices": "{slices}",
            "margin_mm": [{}, {}, 0]}}"#,
        random.usize(0..3),
        random.usize(0..3)
    )
}

/// Each voxel of the source that the array holds has its own number there again, every number of the array is back at
/// its place, and nothing else is.
#[test]
fn what_is_padded_cropped_and_cut_comes_back_exactly() {
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..400 {
        let shape = [random.usize(1..7), random.usize(1..14), random.usize(1..14)];
        let source = numbered(shape, round % 2 == 0);
        let mask = random_mask(&source, &mut random);
        let (rows, columns, count) = (random.usize(1..17), random.usize(1..17), random.usize(1..9));
        let steps = [
            format!(r#"{{"op": "pad_or_crop", "size": [{count}, {rows}, {columns}], "value": -1}}"#),
            format!(r#"{{"op": "pad_or_crop", "size": [0, {columns}], "value": -1}}"#),
            format!(r#"{{"op": "window_2d", "size": [{rows}, {columns}], "value": -1}}"#),
            format!(r#"{{"op": "pad_to", "size": [9, {}, {}], "value": -1}}"#, 13 + rows, 13 + columns),
            r#"{"op": "crop_to", "size": [1, 1, 1]}"#.to_owned(),
            format!(r#"{{"op": "pad_slices", "count": {}, "value": -1}}"#, 6 + count),
            r#"{"op": "crop_slices", "count": 1}"#.to_owned(),
        ];
        let mut list = if random.bool() { vec![crop(&mut random)] } else { Vec::new() };
        list.push(random.choice(&steps).expect("some").clone());
        let image = applied(&list, &source, &mask).unwrap_or_else(|told| panic!("{list:?}: {told}"));
        let held: std::collections::BTreeSet<i64> =
            image.pixels.iter().filter(|value| **value != ADDED).map(|value| *value as i64).collect();
        let back = brought_back(&image, &source);
        for (at, value) in source.pixels.indexed_iter() {
            let expected = if held.contains(&(*value as i64)) { *value } else { ADDED };
            assert_eq!(back[at], expected, "{list:?} of {shape:?} at {at:?}");
        }
    }
}

/// Enlarged by the nearest voxel everything comes back exactly; shrunk, what comes back is at most as far away as one
/// new voxel is wide, and making it again gives the same array.
#[test]
fn what_is_scaled_comes_back_to_the_nearest() {
    let mut random = fastrand::Rng::with_seed(4);
    for round in 0..400 {
        let shape = [random.usize(1..6), random.usize(1..12), random.usize(1..12)];
        let source = numbered(shape, round % 2 == 0);
        let mask = random_mask(&source, &mut random);
        let (rows, columns) = (random.usize(1..30), random.usize(1..30));
        let scale = format!(r#"{{"op": "resize", "size": [{rows}, {columns}], "method": "nearest"}}"#);
        let list = if random.bool() { vec![crop(&mut random), scale] } else { vec![scale] };
        let image = applied(&list, &source, &mask).unwrap_or_else(|told| panic!("{list:?}: {told}"));
        let back = brought_back(&image, &source);
        let (shrunk_rows, shrunk_columns) = (12.0 / rows as f64, 12.0 / columns as f64);
        for ((k, j, i), value) in back.indexed_iter().filter(|(_, value)| **value != ADDED) {
            let number = *value as usize;
            let (slice, row, column) =
                (number / (shape[1] * shape[2]), number / shape[2] % shape[1], number % shape[2]);
            assert_eq!(slice, k, "{list:?}");
            let far = |a: usize, b: usize, step: f64| a != b && a.abs_diff(b) as f64 > step;
            let is_far = far(row, j, if rows >= 12 { 0.0 } else { shrunk_rows })
                || far(column, i, if columns >= 12 { 0.0 } else { shrunk_columns });
            assert!(!is_far, "{list:?} of {shape:?}: {row}, {column} came back to {j}, {i}");
        }
        // Every voxel that was kept came back: all of the array's slices, rows and columns are somewhere.
        let again = Volume::new(source.geometry.clone(), back);
        let twice = applied(&list, &again, &mask).expect("as before");
        assert_eq!(twice.pixels, image.pixels, "{list:?} of {shape:?}");
    }
}

#[test]
fn a_square_is_padded_with_the_mean_of_the_corner_at_the_head() {
    let source = numbered([6, 8, 5], false);
    let mask = Mask::empty(source.geometry.clone());
    let steps = [r#"{"op": "resize", "size": [8, 8], "method": "nearest", "preserve_aspect": true}"#.to_owned()];
    let image = applied(&steps, &source, &mask).expect("scaled");
    // Slices 1 to 5, rows 0 to 4, columns 0 to 4: (3 * 8 + 2) * 5 + 2.
    assert_eq!(image.pixels[[0, 0, 0]], 132.0);
    // 3 columns are added: 1 before, 2 behind.
    assert_eq!((image.pixels[[0, 0, 1]], image.pixels[[0, 0, 5]], image.pixels[[0, 0, 6]]), (0.0, 4.0, 132.0));
    let all = image.frame.geometry.index_to_patient([0.0, 0.0, 1.0]);
    assert_eq!(all, source.geometry.index_to_patient([0.0; 3]));
}

#[test]
fn slices_come_and_go_at_the_feet() {
    for down in [false, true] {
        let source = numbered([3, 2, 2], down);
        let mask = Mask::empty(source.geometry.clone());
        let (feet, head) = if down { (2, 0) } else { (0, 2) };
        let kept = applied(&[r#"{"op": "crop_slices", "count": 1}"#.to_owned()], &source, &mask).expect("kept");
        assert_eq!(kept.pixels[[0, 0, 0]], source.pixels[[head, 0, 0]]);
        let more = applied(&[r#"{"op": "pad_slices", "count": 4, "value": -9}"#.to_owned()], &source, &mask);
        let more = more.expect("padded");
        assert_eq!(more.pixels[[if down { 3 } else { 0 }, 0, 0]], -9.0);
        assert_eq!(more.pixels[[if down { 2 } else { 1 }, 0, 0]], source.pixels[[feet, 0, 0]]);
    }
}

#[test]
fn what_cannot_be_done_is_told() {
    let source = numbered([3, 4, 5], false);
    let told = |json: &str| applied(&[json.to_owned()], &source, &Mask::empty(source.geometry.clone())).err();
    let check = |json: &str, expected: &str| {
        let found = told(json).unwrap_or_default();
        assert!(found.contains(expected), "{found}");
    };
    check(
        r#"{"op": "pad_to", "size": [3, 9]}"#,
        "found 4 rows and a size of 3: the image is longer than it; crop before",
    );
    check(r#"{"op": "crop_to", "size": [3, 9]}"#, "found 5 columns and a size of 9: the image is shorter than it");
    check(r#"{"op": "pad_slices", "count": 2}"#, "found 3 slices and count 2, expected at most that many");
    check(r#"{"op": "crop_slices", "count": 4}"#, "found 3 slices and count 4, expected at least that many");
    check(r#"{"op": "window_2d", "size": [3.5, 9]}"#, "found size 3.5, expected whole numbers");
    check(r#"{"op": "crop", "regions": [{"region": "structure", "names": ["S"]}]}"#, "found nothing of the regions");
    let whole = r#"{"op": "crop", "regions": [{"region": "structure", "names": ["S"]}], "on_empty": "whole"}"#;
    assert_eq!(told(whole), None);
}

#[test]
fn a_crop_slice_by_slice_leaves_boxes_and_drops_empty_slices() {
    let source = numbered([5, 9, 9], false);
    let mut mask = Mask::empty(source.geometry.clone());
    for (slice, row, column) in [(1, 2, 3), (1, 4, 8), (4, 0, 0)] {
        mask.voxels[[slice, row, column]] = true;
    }
    let crop = r#"{"op": "crop", "regions": [{"region": "structure_2d", "names": ["S"]}]}"#.to_owned();
    let image = applied(std::slice::from_ref(&crop), &source, &mask).expect("cropped");
    assert_eq!(image.frame.shape(), [2, 9, 9]);
    let boxes = image.boxes.clone().expect("boxes");
    assert_eq!((boxes[0].rows, boxes[0].columns, boxes[1].rows), ((2, 4), (3, 8), (0, 0)));
    let windowed = applied(&[crop.clone(), r#"{"op": "window_2d", "size": [4, 4]}"#.to_owned()], &source, &mask);
    let windowed = windowed.expect("windows");
    // Middles 3 and 6 (5.5 rounded up), so that rows 1 to 4 and columns 4 to 7 are cut; the box at the corner stays there.
    assert_eq!(windowed.pixels[[0, 0, 0]], source.pixels[[1, 1, 4]]);
    assert_eq!(windowed.pixels[[1, 3, 3]], source.pixels[[4, 3, 3]]);
    // Each box in 6 x 6: rows 2 to 4 doubled, columns 3 to 8 as they are.
    let scaled =
        applied(&[crop, r#"{"op": "resize", "size": [6, 6], "method": "nearest"}"#.to_owned()], &source, &mask);
    let scaled = scaled.expect("scaled");
    assert_eq!(
        (scaled.pixels[[0, 1, 0]], scaled.pixels[[0, 5, 5]]),
        (source.pixels[[1, 2, 3]], source.pixels[[1, 4, 8]])
    );
    assert!(scaled.mask.expect("a mask").iter().any(|inside| *inside));
}
