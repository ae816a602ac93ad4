//! Regions against boxes computed by hand from CERR's MATLAB: indices there count from 1, slices from the head.

use super::*;
use crate::document;
use crate::infer::axes::Axes;
use crate::volume::VolumeGeometry;
use extent::{Sides, bounds, filled};
use std::sync::Arc;

/// 10 slices of 40 x 50 voxels of 1 mm; slice 9 is at the head.
const SHAPE: [usize; 3] = [10, 40, 50];

fn image() -> Volume {
    Volume::new(geometry(SHAPE, 1.0), Array3::zeros(SHAPE))
}

fn geometry(shape: [usize; 3], slice_mm: f64) -> Arc<VolumeGeometry> {
    let origins = (0..shape[0]).map(|k| [0.0, 0.0, slice_mm * k as f64]).collect();
    let geometry = VolumeGeometry::new((shape[1], shape[2]), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
    Arc::new(geometry.expect("legal"))
}

fn mask(image: &Volume, sides: Sides) -> Mask {
    Mask::new(image.geometry.clone(), filled(image.geometry.shape(), sides))
}

/// One structure S: rows 5 to 10, columns 20 to 27, slices 3 to 6, which are 3 to 6 from the head, too.
fn structures() -> BTreeMap<String, Mask> {
    BTreeMap::from([("S".to_owned(), mask(&image(), [(3, 6), (5, 10), (20, 27)]))])
}

struct Found {
    mask: Array3<bool>,
    per_slice: bool,
    saved: Vec<(String, Mask)>,
}

/// Parses and joins a list of regions on an image. "missing" is a structure that was declared and is not there.
fn find(json: &str, image: &Volume, structures: &BTreeMap<String, Mask>) -> Result<Found, String> {
    let mut problems = Problems::of("f.json");
    let names: Vec<&str> = structures.keys().map(String::as_str).chain(["missing"]).collect();
    let node = document::parse(json, &mut problems).ok_or("no JSON")?;
    let Some(regions) = parse_list(&node, &names, &mut problems) else {
        return Err(problems.into_vec().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    };
    let images = BTreeMap::from([("other".to_owned(), image.clone())]);
    let surroundings = Surroundings { structures, images: &images, pooled: None };
    let mut saved = Vec::new();
    let (mask, per_slice) = joined(&regions, &Prepared::of(image, Axes::ACQUIRED), &surroundings, &mut saved)
        .map_err(|error| error.to_string())?;
    Ok(Found { mask, per_slice, saved })
}

/// The region is this box, filled.
fn check_box(json: &str, expected: Sides) {
    let found = find(json, &image(), &structures()).expect("a region").mask;
    assert_eq!(bounds(&found), Some(expected), "{json}");
    assert_eq!(found, filled(SHAPE, expected), "{json}");
}

#[test]
fn boxes_by_number_count_from_one_and_from_the_head() {
    check_box(r#"[{"region": "box", "rows": [3, 5], "columns": [1, 2], "slices": [1, 2]}]"#, [(8, 9), (2, 4), (0, 1)]);
    check_box(r#"[{"region": "box", "rows": [31, 90]}]"#, [(0, 9), (30, 39), (0, 49)]);
    let outside = find(r#"[{"region": "box", "slices": [11, 12]}]"#, &image(), &structures()).expect("empty");
    assert_eq!(bounds(&outside.mask), None);
    let told = find(r#"[{"region": "box", "rows": [5, 3]}]"#, &image(), &structures()).err().unwrap_or_default();
    assert!(told.contains("found rows from 5 to 3, expected first before last"), "{told}");
}

#[test]
fn boxes_about_the_middle_of_the_image() {
    // MATLAB: cr = 20, rows 18 to 21; cc = 25, columns 22 to 27.
    check_box(r#"[{"region": "center", "size": [4, 6]}]"#, [(0, 9), (17, 20), (21, 26)]);
    check_box(r#"[{"region": "center", "size": [41, 0]}]"#, [(0, 9), (0, 39), (0, 49)]);
    let told = find(r#"[{"region": "center", "size": [4.5, 6]}]"#, &image(), &structures()).err().unwrap_or_default();
    assert!(told.contains("found size 4.5, expected whole numbers of voxels"), "{told}");
}

#[test]
fn boxes_about_the_middle_of_a_structure() {
    let region = |size: &str| format!(r#"[{{"region": "structure_center", "names": ["S"], "size": {size}}}]"#);
    // MATLAB: rows 6 to 11, middle floor(8.5) = 8, from 6 to 9; columns 21 to 28, middle 24, from 20 to 27.
    check_box(&region("[4, 8]"), [(3, 6), (5, 8), (19, 26)]);
    // Slices 4 to 7 from the head: middle floor(5.5) = 5, from 3 to 7 of 10, which are 3 to 7 of the array.
    check_box(&region("[5, 4, 8]"), [(3, 7), (5, 8), (19, 26)]);
    // 8 slices would begin at 5 - 4 = 1 from the head; 9 at 1 too, moved as MATLAB moves it.
    check_box(&region("[9, 4, 8]"), [(1, 9), (5, 8), (19, 26)]);
    // Rows would begin before the image: the box is moved inside.
    check_box(&region("[30, 8]"), [(3, 6), (0, 29), (19, 26)]);
    let missing = r#"[{"region": "structure_center", "names": ["missing"], "size": [4, 4]}]"#;
    assert_eq!(bounds(&find(missing, &image(), &structures()).expect("empty").mask), None);
}

#[test]
fn boxes_about_the_centre_of_mass() {
    let region = |rest: &str| format!(r#"[{{"region": "center_of_mass", "names": ["S"], {rest}}}]"#);
    // MATLAB: mean row 8.5, rounded 9, rows 6 to 11; mean column 24.5, rounded 25, columns 22 to 27.
    check_box(&region(r#""size": [6, 6]"#), [(0, 9), (5, 10), (21, 26)]);
    check_box(&region(r#""size": [0.6, 0.6], "unit": "cm""#), [(0, 9), (5, 10), (21, 26)]);
    // Slices from the head: mean 5.5, rounded 6, slices 4 to 7.
    check_box(&region(r#""size": [4, 6, 6], "unit": "mm""#), [(3, 6), (5, 10), (21, 26)]);
    // At the end of the image CERR leaves out the last row: 9 + 31 is more than 40, rows 1 to 39.
    check_box(&region(r#""size": [62, 6]"#), [(0, 9), (0, 38), (21, 26)]);
}

#[test]
fn structures_are_united_and_kept_before_they_are_joined() {
    check_box(r#"[{"region": "structure", "names": ["missing", "S"]}]"#, [(3, 6), (5, 10), (20, 27)]);
    check_box(r#"[{"region": "structure", "names": ["S"], "image": "other"}]"#, [(3, 6), (5, 10), (20, 27)]);
    check_box(r#"[{"region": "superior_inferior", "names": ["S"]}]"#, [(3, 6), (0, 39), (0, 49)]);
    let list = r#"[{"region": "box", "rows": [1, 8]},
                   {"region": "structure", "names": ["S"], "save_as": "kept", "combine": "intersection"},
                   {"region": "box", "rows": [1, 1], "columns": [1, 1], "slices": [1, 1]},
                   {"region": "structure", "names": ["kept"], "combine": "union"}]"#;
    let found = find(list, &image(), &structures()).expect("a region");
    assert_eq!((found.saved.len(), found.per_slice), (1, false));
    // What is kept is the structure, not what the intersection left of it.
    assert_eq!(bounds(&found.saved[0].1.voxels), Some([(3, 6), (5, 10), (20, 27)]));
    assert_eq!(bounds(&found.mask), Some([(3, 9), (0, 10), (0, 27)]));
    assert!(find(r#"[{"region": "structure_2d", "names": ["S"]}]"#, &image(), &structures()).expect("found").per_slice);
    let told = find(r#"[{"region": "structure", "names": ["S"], "image": "x"}]"#, &image(), &structures()).err();
    assert!(told.is_some_and(|told| told.contains(r#"found no image "x", expected an input of the model: other"#)));
}

#[test]
fn an_outline_of_the_given_name_is_taken_before_one_is_made() {
    let whole = r#"[{"region": "patient_outline", "structure": "S"}]"#;
    check_box(whole, [(3, 6), (5, 10), (20, 27)]);
    // No such structure: found in the image, whose 40 x 50 voxels of 0 HU are all patient.
    let made = r#"[{"region": "patient_outline", "structure": "none", "minimum_pixels": 100, "save_as": "O"}]"#;
    let found = find(made, &image(), &structures()).expect("a region");
    assert_eq!((bounds(&found.mask), found.saved[0].0.as_str()), (Some([(0, 9), (0, 39), (0, 49)]), "O"));
}

#[test]
fn larynx_and_constrictor_join_what_came_before() {
    let image = image();
    let all = BTreeMap::from([
        ("M".to_owned(), mask(&image, [(6, 7), (8, 12), (10, 14)])),
        ("P".to_owned(), mask(&image, [(5, 6), (10, 20), (30, 34)])),
        ("chewing".to_owned(), mask(&image, [(0, 8), (2, 25), (1, 40)])),
        ("L".to_owned(), mask(&image, [(2, 4), (6, 9), (20, 22)])),
    ]);
    let larynx = r#"[{"region": "larynx", "names": ["M", "P"], "box": "chewing", "save_as": "larynx box"}]"#;
    let found = find(larynx, &image, &all).expect("a region");
    // From the head the muscles begin at slice 2, the chewing box ends at slice 9: slices 0 to 7 of the array.
    assert_eq!(bounds(&found.mask), Some([(0, 7), (8, 25), (10, 34)]));
    let whole = find(&larynx.replace(r#""M", "P""#, r#""missing""#), &image, &all).expect("a region");
    assert_eq!(bounds(&whole.mask), Some([(0, 9), (0, 25), (0, 49)]));
    let mut more = all.clone();
    more.insert("larynx box".to_owned(), found.saved[0].1.clone());
    let constrictor = r#"[{"region": "constrictor", "names": ["L"], "box": "larynx box"}]"#;
    // The larynx ends at row 9 and slice 7 from the head: row 39, and beyond the feet.
    assert_eq!(bounds(&find(constrictor, &image, &more).expect("a region").mask), Some([(0, 7), (8, 39), (10, 34)]));
    // A box that was kept under the same name is taken again.
    let again = find(&larynx.replace("\"larynx box\"", "\"L\""), &image, &more).expect("a region");
    assert_eq!((again.mask, again.saved.len()), (more["L"].voxels.clone(), 0));
    let lost = find(&larynx.replace("\"chewing\"", "\"missing\""), &image, &all).expect("empty");
    assert_eq!(bounds(&lost.mask), None);
}

#[test]
fn the_chewing_box_begins_at_the_head_of_the_outline() {
    // An outline of 8 slices, 2 at the head without: rows 4 to 35, columns 5 to 44.
    let image = image();
    let all = BTreeMap::from([("O".to_owned(), mask(&image, [(0, 7), (4, 35), (5, 44)]))]);
    let json = r#"[{"region": "chewing_structures", "structure": "O", "head_size_cm": 0.3}]"#;
    // From 1: rows 5 to 36, height 32, a quarter 8: rows 5 to 28.
    assert_eq!(bounds(&find(json, &image, &all).expect("a region").mask), Some([(0, 7), (4, 27), (5, 44)]));
}

#[test]
fn shoulders_and_the_crown_are_left_out_of_the_outline() {
    // 80 slices of 2 mm: none, then 60 of width 21, then 19 of width 71 to the feet. Counted from the head.
    let geometry = geometry([80, 20, 100], 2.0);
    let width = |from_head: usize| match from_head {
        0 => 0..0,
        1..61 => 40..61,
        _ => 15..86,
    };
    let voxels = Array3::from_shape_fn((80, 20, 100), |(k, j, i)| j > 3 && width(79 - k).contains(&i));
    let outline = Mask::new(geometry.clone(), voxels);
    let image = Volume::new(geometry, Array3::zeros((80, 20, 100)));
    let all = BTreeMap::from([("O".to_owned(), outline)]);
    let found = find(r#"[{"region": "shoulders", "structure": "O"}]"#, &image, &all).expect("a region").mask;
    // Widths of slices 2 on: 59 of 20, then 70. The mean over 10 first grows at index 55 (59 - 4), to 25, which is a
    // quarter above 20. In MATLAB's count: argMax 56, start 2, shoulder 57; slices 54 on and 1 to 2 are cleared, so
    // that slices 3 to 53 remain, 2 to 52 from the head, 27 to 77 of the array.
    assert_eq!(bounds(&found), Some([(27, 77), (4, 19), (40, 60)]));
}

#[test]
fn the_pancreas_box_joins_the_largest_parts_of_the_slices() {
    let mut image = image();
    let mut set = |slice: usize, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>| {
        rows.for_each(|row| columns.clone().for_each(|column| image.pixels[[slice, row, column]] = 100.0));
    };
    set(2, 10..20, 12..30);
    set(2, 30..32, 40..42);
    set(5, 8..14, 20..36);
    let json = r#"[{"region": "pancreas", "threshold": 50}]"#;
    let found = find(json, &image, &structures()).expect("a region");
    assert_eq!(bounds(&found.mask), Some([(0, 9), (8, 19), (12, 35)]));
}

#[test]
fn every_region_has_a_documented_entry() {
    for entry in TABLE {
        assert!(entry.doc.ends_with('.') && !entry.source.is_empty(), "{}", entry.name);
        assert!(
            !entry.reuses || entry.parameters.iter().any(|parameter| parameter.name == "save_as"),
            "{}",
            entry.name
        );
    }
}
