//! What all pre-processing operations have in common: they parse from their table and run with their defaults.

use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::Array3;

use super::*;
use crate::document::{self, Problem};
use crate::infer::axes::Axes;
use crate::volume::{Mask, Volume, VolumeGeometry};

/// A volume of 4 x 6 x 8 voxels (uneven slices, non-square pixels) whose values are its linear indices.
pub(super) fn counted() -> Volume {
    let origins = [0.0, 2.0, 3.0, 5.0].map(|z| [10.0, 20.0, z]).to_vec();
    let geometry = VolumeGeometry::new((6, 8), [1.5, 0.5], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins).expect("legal");
    let pixels = Array3::from_shape_fn((4, 6, 8), |(k, j, i)| ((k * 6 + j) * 8 + i) as f32);
    Volume::new(Arc::new(geometry), pixels)
}

/// A grid of cubes of 1 mm.
pub(super) fn grid_of([slices, rows, columns]: [usize; 3]) -> Arc<VolumeGeometry> {
    let origins = (0..slices).map(|k| [0.0, 0.0, k as f64]).collect();
    let geometry = VolumeGeometry::new((rows, columns), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
    Arc::new(geometry.expect("legal"))
}

/// Runs one step given as JSON on a volume; problems and errors come back as text.
pub(super) fn check(json: &str, volume: Volume, structures: &BTreeMap<String, Mask>) -> Result<Volume, String> {
    let mut problems = Problems::of("f.json");
    let names: Vec<&str> = structures.keys().map(String::as_str).collect();
    let step = document::parse(json, &mut problems).and_then(|node| Step::parse(&node, &names, &mut problems));
    let list: Vec<String> = problems.into_vec().iter().map(Problem::to_string).collect();
    match step {
        Some(step) => {
            let surroundings = Surroundings { structures, images: &BTreeMap::new() };
            let found =
                step.apply(Prepared::of(&volume, Axes::ACQUIRED), &surroundings).map_err(|error| error.to_string())?;
            // Slices that were cut each in its own way lie on no grid: any of their shape will do.
            let geometry = match &found.frame.windows {
                None => found.frame.geometry.clone(),
                Some(_) => grid_of(found.frame.shape()),
            };
            Ok(Volume::new(geometry, found.pixels.into_owned()))
        }
        None => Err(list.join("\n")),
    }
}

#[test]
fn every_operation_has_a_documented_entry_and_runs() {
    let structures = BTreeMap::from([("S".to_owned(), Mask::empty(counted().geometry))]);
    for entry in TABLE {
        assert!(entry.doc.ends_with('.') && !entry.source.is_empty(), "{}", entry.name);
        let example = match entry.name {
            "clip" => r#"{"op": "clip", "low": 1, "high": 5}"#,
            "window" => r#"{"op": "window", "center": 3, "width": 5}"#,
            "resample" => r#"{"op": "resample", "spacing_mm": [1, 1, 1]}"#,
            "crop" => r#"{"op": "crop", "regions": [{"region": "structure", "names": ["S"]}]}"#,
            "pad" => r#"{"op": "pad", "size": [8, 8, 8]}"#,
            "pad_to" => r#"{"op": "pad_to", "size": [6, 8, 9]}"#,
            "crop_to" => r#"{"op": "crop_to", "size": [3, 5, 0]}"#,
            "pad_or_crop" => r#"{"op": "pad_or_crop", "size": [9, 4], "preserve_aspect": true}"#,
            "window_2d" => r#"{"op": "window_2d", "size": [4, 4], "value": 0}"#,
            "scale" => r#"{"op": "scale", "size": [9, 4], "method": "lanczos3"}"#,
            "pad_slices" => r#"{"op": "pad_slices", "count": 6}"#,
            "crop_slices" => r#"{"op": "crop_slices", "count": 2}"#,
            "normalise" => r#"{"op": "normalise"}"#,
            other => panic!("give an example of {other} here"),
        };
        let found = check(example, counted(), &structures).map_err(|reason| assert!(reason.contains(entry.name)));
        assert!(found.is_ok() || entry.name == "crop");
    }
}

#[test]
fn tells_the_nearest_operation_and_key() {
    let none = BTreeMap::new();
    let told = check(r#"{"op": "clp"}"#, counted(), &none).err().unwrap_or_default();
    assert!(told.contains(r#"did you mean "clip"?"#), "{told}");
    let told = check(r#"{"op": "clip", "lo": 4, "high": 9}"#, counted(), &none).err().unwrap_or_default();
    assert!(told.contains(r#"found no "low""#) && told.contains(r#"did you mean "low"?"#), "{told}");
}
