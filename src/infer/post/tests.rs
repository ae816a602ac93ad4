//! Masks drawn as text, in and out, for the tests of all operations; and what the operations have in common.

use super::*;
use crate::document::{self, Problem};

/// Slices parted by an empty line, rows by a line end, `#` inside.
fn drawn(text: &str) -> Array3<bool> {
    let slices: Vec<Vec<Vec<bool>>> = text
        .split("\n\n")
        .map(|slice| slice.lines().map(|row| row.chars().map(|voxel| voxel == '#').collect()).collect())
        .collect();
    let shape = (slices.len(), slices[0].len(), slices[0][0].len());
    Array3::from_shape_fn(shape, |(k, j, i)| slices[k][j][i])
}

fn as_text(mask: &Array3<bool>) -> String {
    let row = |row: ndarray::ArrayView1<'_, bool>| row.iter().map(|inside| if *inside { '#' } else { '.' }).collect();
    let slice = |plane: ndarray::ArrayView2<'_, bool>| plane.outer_iter().map(row).collect::<Vec<String>>().join("\n");
    mask.outer_iter().map(slice).collect::<Vec<String>>().join("\n\n")
}

/// Applies one operation to a drawn mask of 1 mm voxels, whose image holds the column index. Columns run to the
/// patient's left.
pub(super) fn check(mask: &str, structures: &[(&str, &str)], json: &str, expected: &str) {
    assert_eq!(apply(mask, structures, json, 1.0), expected, "{json}");
}

/// The same with columns that run to the patient's right, as in a prone or feet-first image.
pub(super) fn check_mirrored(mask: &str, structures: &[(&str, &str)], json: &str, expected: &str) {
    assert_eq!(apply(mask, structures, json, -1.0), expected, "{json}");
}

fn apply(mask: &str, structures: &[(&str, &str)], json: &str, x: f64) -> String {
    let voxels = drawn(mask);
    let (slices, rows, columns) = voxels.dim();
    let origins = (0..slices).map(|k| [0.0, 0.0, k as f64 * x]).collect::<Vec<_>>();
    let down = [0.0, 1.0, 0.0];
    let geometry = Arc::new(
        VolumeGeometry::new((rows, columns), [1.0, 1.0], [x, 0.0, 0.0], down, origins).expect("a legal geometry"),
    );
    let named = structures.iter().map(|(name, text)| (*name, drawn(text))).collect::<Vec<_>>();
    match changed(&Mask::new(geometry, voxels), &named, json) {
        Ok(mask) => as_text(&mask.voxels),
        Err(told) => told,
    }
}

/// Applies one operation to a mask on any grid.
pub(super) fn applied(mask: &Mask, json: &str) -> Mask {
    changed(mask, &[], json).unwrap_or_else(|told| panic!("{told}"))
}

/// Applies one operation to a mask beside structures on the same grid, or tells what is wrong with it.
pub(super) fn changed(mask: &Mask, structures: &[(&str, Array3<bool>)], json: &str) -> Result<Mask, String> {
    let image = Array3::from_shape_fn(mask.voxels.raw_dim(), |(_, _, i)| i as f32);
    changed_in(&image, mask, structures, json)
}

/// The same with an image of its own.
pub(super) fn changed_in(
    image: &Array3<f32>,
    mask: &Mask,
    structures: &[(&str, Array3<bool>)],
    json: &str,
) -> Result<Mask, String> {
    let geometry = &mask.geometry;
    let mut voxels = mask.voxels.clone();
    let named: BTreeMap<String, Mask> = structures
        .iter()
        .map(|(name, voxels)| ((*name).to_owned(), Mask::new(Arc::clone(geometry), voxels.clone())))
        .collect();
    let labels = Restored::none(geometry.shape());
    let context = Context { geometry, image, structures: &named, labels: &labels };
    let mut problems = Problems::of("f.json");
    let known: Vec<&str> = named.keys().map(String::as_str).collect();
    let step = document::parse(json, &mut problems).and_then(|node| Step::parse(&node, &known, &mut problems));
    let list: Vec<String> = problems.into_vec().iter().map(Problem::to_string).collect();
    let Some(step) = step else { return Err(list.join("\n")) };
    step.apply(&mut voxels, &context);
    Ok(Mask::new(Arc::clone(geometry), voxels))
}

#[test]
fn every_operation_is_documented() {
    for entry in TABLE {
        assert!(entry.doc.ends_with('.') && !entry.source.is_empty(), "{}", entry.name);
        assert!(entry.parameters.iter().all(|parameter| parameter.doc.ends_with('.')), "{}", entry.name);
    }
}

#[test]
fn tells_the_nearest_structure_and_refuses_an_operation_without_effect() {
    let told = apply("#", &[("BODY", "#")], r#"{"op": "keep_inside", "of": ["BODI"]}"#, 1.0);
    assert_eq!(told, r#"f.json:1: of[0]: found "BODI", expected one of BODY; did you mean "BODY"?"#);
    let told = apply("#", &[], r#"{"op": "remove_small"}"#, 1.0);
    assert!(told.contains("give one of them"), "{told}");
}

#[test]
fn combines_the_result_with_the_mask_before_it_where_asked() {
    check("##..", &[("A", ".##.")], r#"{"op": "take", "of": ["A"]}"#, ".##.");
    check("##..", &[("A", ".##.")], r#"{"op": "take", "of": ["A"], "combine": "union"}"#, "###.");
    check("##..", &[("A", ".##.")], r#"{"op": "take", "of": ["A"], "combine": "intersection"}"#, ".#..");
    check("##.#", &[], r#"{"op": "largest_component", "combine": "union"}"#, "##.#");
    let told = apply("#", &[], r#"{"op": "grow", "radius_mm": 1, "combine": "or"}"#, 1.0);
    assert!(told.contains("expected one of replace, union, intersection"), "{told}");
}

/// Every operation with legal parameters; `A` is a structure.
const EXAMPLES: &[&str] = &[
    r#"{"op": "take", "of": ["A"]}"#,
    r#"{"op": "boolean", "operator": "xor", "of": ["A"]}"#,
    r#"{"op": "consensus", "of": ["A"], "method": "staple"}"#,
    r#"{"op": "threshold", "low": 0}"#,
    r#"{"op": "largest_component", "with": ["A"]}"#,
    r#"{"op": "largest_overlap", "of": ["A"]}"#,
    r#"{"op": "remove_small", "minimum_cm2": 1}"#,
    r#"{"op": "fill_holes", "plane": "slice", "open_mm": 3}"#,
    r#"{"op": "convex_hull"}"#,
    r#"{"op": "opening", "radius_mm": 0}"#,
    r#"{"op": "closing", "radius_mm": 3}"#,
    r#"{"op": "smooth", "sigma_mm": 3}"#,
    r#"{"op": "grow", "radius_mm": 100}"#,
    r#"{"op": "shrink", "radius_mm": 100}"#,
    r#"{"op": "margin", "margin_mm": [100, -100, 0, 3, -3, 100]}"#,
    r#"{"op": "ring", "from_mm": -3, "to_mm": 3}"#,
    r#"{"op": "reconstruct", "of": ["A"], "radius_mm": 3}"#,
    r#"{"op": "keep_inside", "of": ["A"]}"#,
    r#"{"op": "remove_inside", "of": ["A"]}"#,
    r#"{"op": "yields_to", "of": ["A"], "rule": "deeper"}"#,
    r#"{"op": "remove_background", "minimum_pixels": 1}"#,
    r#"{"op": "keep_near", "of": ["A"], "radius_mm": 3}"#,
    r#"{"op": "remove_near", "of": ["A"], "gap_mm": 3}"#,
    r#"{"op": "keep_touching", "of": ["A"]}"#,
    r#"{"op": "keep_slices", "of": ["A"]}"#,
    r#"{"op": "drop_end_slices", "superior_mm": 5}"#,
    r#"{"op": "interpolate_slices"}"#,
    r#"{"op": "split_left_right", "side": "left", "body": "A"}"#,
    r#"{"op": "cerr_chewing"}"#,
    r#"{"op": "cerr_larynx"}"#,
    r#"{"op": "cerr_constrictor"}"#,
];

#[test]
fn every_operation_is_in_the_reference_and_runs() {
    let text = crate::infer::reference();
    for entry in TABLE {
        assert_eq!(text.matches(&format!("\n### `{}`\n\n{}\n", entry.name, entry.doc)).count(), 1, "{}", entry.name);
        assert!(text.contains(&format!("\nSource: {}.\n", entry.source)), "{}", entry.name);
        let named = |json: &&&str| json.starts_with(&format!(r#"{{"op": "{}""#, entry.name));
        assert_eq!(EXAMPLES.iter().filter(named).count(), 1, "{} has one example", entry.name);
    }
    assert_eq!(EXAMPLES.len(), TABLE.len());
    for word in COMBINE.map(|(word, _)| word) {
        assert!(text.contains(&format!(r#""{word}""#)), "{word}");
    }
}

#[test]
fn says_where_neighbours_or_the_border_matter() {
    for entry in TABLE {
        let says = ["border", "voxel by voxel"].iter().any(|word| entry.doc.to_lowercase().contains(word));
        let slices = ["keep_slices", "drop_end_slices"].contains(&entry.name);
        assert!(says || slices, "{}: say what happens at the border of the image", entry.name);
        let connected = entry.doc.contains("connected") || entry.doc.contains("parts");
        let told =
            ["neighbours", "face", "corner", "all parts", "thin parts"].iter().any(|word| entry.doc.contains(word));
        assert!(!connected || told, "{}: say which voxels are connected", entry.name);
    }
}

#[test]
fn empty_masks_and_single_voxels_pass_through_every_operation() {
    for mask in [".", "#", "....\n....", "####\n####", "#\n\n.\n\n#"] {
        let blank = mask.replace('#', ".");
        for json in EXAMPLES {
            for other in [mask, blank.as_str()] {
                let found = apply(mask, &[("A", other)], json, 1.0);
                assert_eq!(found.len(), mask.len(), "{json}: {found}");
            }
        }
    }
}
