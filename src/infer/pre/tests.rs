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

/// The same volume with the values (7 i mod 31) - 5.
pub(super) fn uneven() -> Volume {
    let mut volume = counted();
    volume.pixels.mapv_inplace(|value| (7.0 * value) % 31.0 - 5.0);
    volume
}

/// The image that the reference programs were given: sines and cosines of the indices, and one bright voxel at [2, 3, 4].
/// `spacing` is in mm along slices, rows and columns.
pub(super) fn waves(shape: [usize; 3], spacing: [f64; 3]) -> Volume {
    let origins = (0..shape[0]).map(|k| [0.0, 0.0, spacing[0] * k as f64]).collect();
    let (sides, mm) = ((shape[1], shape[2]), [spacing[1], spacing[2]]);
    let geometry = VolumeGeometry::new(sides, mm, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
    let mut pixels = Array3::from_shape_fn(shape, |(k, j, i)| {
        let (k, j, i) = (k as f64, j as f64, i as f64);
        (100.0 * (0.9 * k + 0.3 * j).sin() + 50.0 * (0.7 * i - 0.2 * j).cos()) as f32
    });
    pixels[[2, 3, 4]] = 400.0;
    Volume::new(Arc::new(geometry.expect("legal")), pixels)
}

/// Where the answers of reference programs to [`waves`] are written down.
pub(super) const AT: [[usize; 3]; 5] = [[2, 3, 4], [2, 3, 3], [0, 0, 0], [4, 5, 6], [1, 2, 5]];

/// One step on a volume gives the expected values at [`AT`].
pub(super) fn found_at(json: &str, volume: &Volume, expected: &[f32; 5], bound: f32) {
    let found = check(json, volume.clone(), &BTreeMap::new()).expect("it runs").pixels;
    let values = AT.map(|index| found[index]);
    let near = values.iter().zip(expected).all(|(a, b)| (a - b).abs() <= bound);
    assert!(near, "{json}: found {values:?}, expected {expected:?}");
}

fn parsed(json: &str, names: &[&str]) -> Result<Step, String> {
    let mut problems = Problems::of("f.json");
    let step = document::parse(json, &mut problems).and_then(|node| Step::parse(&node, names, &mut problems));
    let list: Vec<String> = problems.into_vec().iter().map(Problem::to_string).collect();
    step.ok_or_else(|| list.join("\n"))
}

/// Runs one step on a volume whose crop mask holds the voxels that `inside` says.
pub(super) fn check_inside(
    json: &str,
    volume: &Volume,
    inside: impl Fn([usize; 3]) -> bool,
) -> Result<Array3<f32>, String> {
    let mut image = Prepared::of(volume, Axes::ACQUIRED);
    image.mask = Some(Array3::from_shape_fn(volume.pixels.raw_dim(), |(k, j, i)| inside([k, j, i])));
    let surroundings = Surroundings { structures: &BTreeMap::new(), images: &BTreeMap::new(), pooled: None };
    let found = parsed(json, &[])?.apply(image, &surroundings).map_err(|error| error.to_string())?;
    Ok(found.pixels.into_owned())
}

/// Runs one step beside other inputs of the model.
pub(super) fn check_with_images(
    json: &str,
    volume: &Volume,
    images: &BTreeMap<String, Volume>,
) -> Result<Array3<f32>, String> {
    let surroundings = Surroundings { structures: &BTreeMap::new(), images, pooled: None };
    let image = Prepared::of(volume, Axes::ACQUIRED);
    let found = parsed(json, &[])?.apply(image, &surroundings).map_err(|error| error.to_string())?;
    Ok(found.pixels.into_owned())
}

/// A grid of cubes of 1 mm.
pub(super) fn grid_of([slices, rows, columns]: [usize; 3]) -> Arc<VolumeGeometry> {
    let origins = (0..slices).map(|k| [0.0, 0.0, k as f64]).collect();
    let geometry = VolumeGeometry::new((rows, columns), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
    Arc::new(geometry.expect("legal"))
}

/// Runs one step given as JSON on a volume; problems and errors come back as text.
pub(super) fn check(json: &str, volume: Volume, structures: &BTreeMap<String, Mask>) -> Result<Volume, String> {
    let names: Vec<&str> = structures.keys().map(String::as_str).collect();
    let surroundings = Surroundings { structures, images: &BTreeMap::new(), pooled: None };
    let image = Prepared::of(&volume, Axes::ACQUIRED);
    let found = parsed(json, &names)?.apply(image, &surroundings).map_err(|error| error.to_string())?;
    // Slices that were cut each in its own way lie on no grid: any of their shape will do.
    let geometry = match &found.frame.windows {
        None => found.frame.geometry.clone(),
        Some(_) => grid_of(found.frame.shape()),
    };
    Ok(Volume::new(geometry, found.pixels.into_owned()))
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
            "fit" => r#"{"op": "fit", "size": [8, 8, 8]}"#,
            "offset" => r#"{"op": "offset", "add": 1024}"#,
            "multiply" => r#"{"op": "multiply", "by": 2}"#,
            "unit_scale" => r#"{"op": "unit_scale", "from": "mm^2/s", "to": "10^-6mm^2/s"}"#,
            "scale_range" => r#"{"op": "scale_range", "a_min": -5, "a_max": 9}"#,
            "scale_percentiles" => r#"{"op": "scale_percentiles", "lower": 1, "upper": 99}"#,
            "gaussian" => r#"{"op": "gaussian", "sigma_mm": [0, 1, 1]}"#,
            "gradient" => r#"{"op": "gradient", "dimension": "2d"}"#,
            "log" => r#"{"op": "log", "sigma_mm": [0, 1, 1]}"#,
            "laplacian_recursive_gaussian" => r#"{"op": "laplacian_recursive_gaussian"}"#,
            "gabor" => r#"{"op": "gabor", "sigma_mm": 1, "wavelength_mm": 2}"#,
            "laws" => r#"{"op": "laws", "kernel": "L5E5"}"#,
            "laws_energy" => r#"{"op": "laws_energy", "kernel": "L3E3S3"}"#,
            "wavelet" => r#"{"op": "wavelet", "wavelet": "haar", "band": "LLH"}"#,
            "mask_by" => r#"{"op": "mask_by", "names": ["S"]}"#,
            "histogram_match" => r#"{"op": "histogram_match", "landmarks": [1, 2, 3]}"#,
            "normalise" | "quantise" | "to_integer" | "invert" | "histogram_clip" | "set_outside"
            | "curvature_flow" | "mean" | "median" | "sobel" | "n4" => &format!(r#"{{"op": "{}"}}"#, entry.name),
            "pad_to" => r#"{"op": "pad_to", "size": [6, 8, 9]}"#,
            "crop_to" => r#"{"op": "crop_to", "size": [3, 5, 0]}"#,
            "pad_or_crop" => r#"{"op": "pad_or_crop", "size": [9, 4], "preserve_aspect": true}"#,
            "window_2d" => r#"{"op": "window_2d", "size": [4, 4], "value": 0}"#,
            "resize" => r#"{"op": "resize", "size": [9, 4], "method": "lanczos3"}"#,
            "pad_slices" => r#"{"op": "pad_slices", "count": 6}"#,
            "crop_slices" => r#"{"op": "crop_slices", "count": 2}"#,
            other => panic!("give an example of {other} here"),
        };
        let found = check(example, counted(), &structures).map_err(|reason| assert!(reason.contains(entry.name)));
        // The crop finds nothing; the Laplacian refuses uneven slices.
        assert!(found.is_ok() || matches!(entry.name, "crop" | "laplacian_recursive_gaussian"), "{}", entry.name);
    }
}

#[test]
fn tells_the_nearest_operation_and_key() {
    let none = BTreeMap::new();
    let told = check(r#"{"op": "clp"}"#, counted(), &none).err().unwrap_or_default();
    assert!(told.contains(r#"did you mean "clip"?"#), "{told}");
    let told = check(r#"{"op": "window", "centr": 4, "width": 9}"#, counted(), &none).err().unwrap_or_default();
    assert!(told.contains(r#"found no "center""#) && told.contains(r#"did you mean "center"?"#), "{told}");
}
