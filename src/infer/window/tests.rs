//! The sliding window with networks whose answer is known: nothing may be lost, shifted or scaled by cutting and blending.

use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::{Array3, ArrayViewD};

use super::*;
use crate::document::{self, Problem, Problems};
use crate::infer::part::part;
use crate::infer::{self, NetworkError, Recipe, Structure};
use crate::volume::Volume;
use crate::volume::VolumeGeometry;

/// A network that gives its input back as channel 1, and its negative as channel 0.
struct Identity {
    shape: Vec<Option<usize>>,
    output: Vec<Option<usize>>,
    calls: usize,
    channel: usize,
}

impl Identity {
    fn of(rank: usize, channel: usize) -> Identity {
        Identity { shape: vec![None; rank], output: Vec::new(), calls: 0, channel }
    }
}

impl Network for Identity {
    fn input_shape(&self) -> &[Option<usize>] {
        &self.shape
    }

    fn output_shape(&self) -> &[Option<usize>] {
        &self.output
    }

    fn run(&mut self, input: ArrayViewD<'_, f32>) -> Result<Vec<Box<dyn Values>>, NetworkError> {
        self.calls += 1;
        let negative = input.mapv(|value| -value);
        let both = ndarray::concatenate(Axis(self.channel), &[negative.view(), input]);
        Ok(vec![Box::new(both.map_err(|error| NetworkError(error.to_string()))?)])
    }
}

fn recipe(layout: &str, window: &str, pre: &str) -> Result<Recipe, Vec<String>> {
    let text = format!(
        r#"{{"file": "m.onnx", "sha256": null, "inputs": {{"ct": {{"pre": [{pre}]}}}}, "tensor": {{"layout": "{layout}"}}, "window": {window},
            "output": {{"decision": "argmax", "labels": {{"plus": 1}}}}, "structures": ["plus"]}}"#
    );
    let mut problems = Problems::of("m.json");
    let node = document::parse(&text, &mut problems);
    let recipe = node.as_ref().and_then(|node| {
        let mut fields = node.object(&mut problems)?;
        Recipe::parse(&mut fields, &mut problems)
    });
    recipe.ok_or_else(|| problems.into_vec().iter().map(Problem::to_string).collect())
}

fn random_volume(shape: [usize; 3], seed: u64) -> Volume {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut z = 0.0;
    let origins: Vec<[f64; 3]> = (0..shape[0])
        .map(|_| {
            z += 1.0 + random.f64();
            [5.0 + 0.1 * z, -7.0, z]
        })
        .collect();
    let geometry = VolumeGeometry::new((shape[1], shape[2]), [0.9, 1.1], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
    let pixels = Array3::from_shape_simple_fn(shape, || 2.0 * random.f32() - 1.0);
    Volume::new(Arc::new(geometry.expect("legal")), pixels)
}

fn values_after(recipe: &Recipe, volume: &Volume, network: &mut Identity) -> Array3<f32> {
    let mut values = Array3::from_elem(volume.pixels.raw_dim(), f32::NAN);
    let mut next = 0;
    let mut emit = |start: usize, planes: ArrayView4<'_, f32>| {
        assert_eq!(start, next, "slices come in order and once");
        next += planes.shape()[1];
        part(values.view_mut(), &[start..next, 0..planes.shape()[2], 0..planes.shape()[3]])
            .assign(&planes.index_axis(Axis(0), 1));
    };
    let stage = &recipe.stage;
    let axes = stage.orientation.axes(&volume.geometry).transposed(stage.transpose);
    let channels = vec![ChannelView { values: volume.pixels.view(), offset: 0 }];
    Slide { stage, axes, channels }.run(&mut [network], &mut emit, &mut |_| {}).expect("it runs");
    values
}

#[test]
fn an_identity_network_gives_the_image_back_whatever_the_window() {
    let windows = [
        r#"{"patch": ["all", "all", "all"]}"#,
        r#"{"patch": [2, "all", "all"]}"#,
        r#"{"patch": [3, "all", "all"], "overlap": 0.5, "blend": "gaussian"}"#,
        r#"{"patch": [3, 4, 5]}"#,
        r#"{"patch": [3, 4, 5], "overlap": 0.5, "blend": "gaussian"}"#,
        r#"{"patch": [1, 3, 2], "overlap": 0.9, "blend": "gaussian"}"#,
        r#"{"patch": [16, 16, 16], "overlap": 0.25}"#,
        r#"{"patch": ["all", "all", "all"], "multiple_of": [4, 8, 8]}"#,
    ];
    for (seed, window) in windows.iter().enumerate() {
        for (layout, rank, channel) in [("NCDHW", 5, 1), ("NDHWC", 5, 4), ("NCHW", 4, 1), ("NHWC", 4, 3)] {
            let volume = random_volume([7, 9, 11], seed as u64);
            let recipe = recipe(layout, window, "").expect("a recipe");
            let found = values_after(&recipe, &volume, &mut Identity::of(rank, channel));
            let worst = found.iter().zip(&volume.pixels).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-5, "{layout} {window}: {worst}");
            assert!(found.iter().all(|value| value.is_finite()), "{layout} {window}: a voxel was left out");
        }
    }
}

fn run(recipe: &Recipe, volume: &Volume, network: &mut Identity) -> Result<Vec<Structure>, InferError> {
    let inputs = BTreeMap::from([("ct".to_owned(), volume.clone())]);
    infer::run(recipe, &inputs, &BTreeMap::new(), &mut [network], &mut |_, _| {}).map(|outcome| outcome.structures)
}

#[test]
fn masks_lie_on_the_source_grid_whatever_pre_processing_did_to_it() {
    let mut volume = random_volume([6, 20, 24], 3);
    // Half spaces: smooth enough that resampling there and back keeps the sign but for the boundary.
    volume.pixels = Array3::from_shape_fn((6, 20, 24), |(_, _, i)| i as f32 - 11.5);
    for pre in [
        r#"{"op": "resample", "spacing_mm": [1, 0.5, 0.5]}"#,
        r#"{"op": "resample", "spacing_mm": [3, 1.7, 0.6], "method": "cubic"}"#,
        r#"{"op": "pad", "size": [9, 31, 40], "value": -1}"#,
        r#"{"op": "resample", "spacing_mm": [2, 1, 0.6]}, {"op": "pad", "size": [9, 31, 60], "value": -1}"#,
    ] {
        let recipe = recipe("NCDHW", r#"{"patch": [4, 8, 8], "overlap": 0.5, "blend": "gaussian"}"#, pre).expect("ok");
        let found = run(&recipe, &volume, &mut Identity::of(5, 1)).expect("it runs");
        assert_eq!(found[0].mask.geometry, volume.geometry);
        let wrong =
            found[0].mask.to_mask().voxels.iter().zip(&volume.pixels).filter(|(m, v)| **m != (**v > 0.0)).count();
        assert_eq!(wrong, 0, "{pre}");
    }
}

#[test]
fn refuses_shapes_that_do_not_fit_before_any_pixel_work() {
    let volume = random_volume([4, 8, 8], 1);
    let recipe = recipe("NCDHW", r#"{"patch": [4, 8, 8]}"#, "").expect("a recipe");
    let mut network = Identity::of(5, 1);
    network.shape = [1, 2, 4, 8, 8].map(Some).to_vec();
    let told = run(&recipe, &volume, &mut network).err().map(|error| error.to_string()).unwrap_or_default();
    assert_eq!(
        told,
        "the network's input: found shape [1, 2, 4, 8, 8], expected [1, 1, 4, 8, 8] (NCDHW); correct tensor.layout, \
         window.patch, channels or output.labels in model.json, or export the network again"
    );
    assert_eq!(network.calls, 0);
    let mut network = Identity::of(5, 1);
    network.output = vec![Some(1), Some(1), None, None, None];
    let told = run(&recipe, &volume, &mut network).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(told.contains("output: found shape [1, 1, free, free, free], expected [1, >=2, 4, 8, 8]"), "{told}");
}

#[test]
fn tells_which_input_is_missing() {
    let recipe = recipe("NCDHW", r#"{"patch": [4, 8, 8]}"#, "").expect("a recipe");
    let none = BTreeMap::new();
    let told = infer::run(&recipe, &none, &BTreeMap::new(), &mut [&mut Identity::of(5, 1)], &mut |_, _| {});
    assert!(told.err().is_some_and(|error| error.to_string().contains("found no input \"ct\"")));
}

#[test]
fn softmax_and_sigmoid_are_what_they_are_called() {
    let values = Array4::from_shape_vec((2, 1, 1, 2), vec![0.0, 3.0, 0.0, 1.0]).expect("2 x 1 x 1 x 2");
    let after = |word: &str| {
        let text = r#"{"patch": [4, 8, 8]}"#;
        let mut stage = (*recipe("NCDHW", text, "").expect("a recipe").stage).clone();
        stage.output.activation = if word == "softmax" { Activation::Softmax } else { Activation::Sigmoid };
        let mut values = values.clone();
        activate(&mut values, &stage);
        values
    };
    let soft = after("softmax");
    assert!((soft[[0, 0, 0, 0]] - 0.5).abs() < 1e-6 && (soft[[0, 0, 0, 1]] - 0.880_797).abs() < 1e-5);
    assert!((after("sigmoid")[[1, 0, 0, 1]] - 0.731_059).abs() < 1e-5);
}

#[test]
fn the_order_in_which_a_network_sees_the_axes_changes_nothing_for_one_that_sees_voxels() {
    let volume = random_volume([7, 9, 11], 5);
    for extra in [
        r#""orientation": "RAS", "window""#,
        r#""orientation": "IPL", "window""#,
        r#""transpose": [2, 0, 1], "window""#,
        r#""orientation": "acquired_reversed", "transpose": [1, 2, 0], "window""#,
    ] {
        for window in [
            r#"{"patch": [4, 5, 6], "overlap": 0.3, "blend": "gaussian", "pad": "constant", "pad_side": "both"}"#,
            r#"{"patch": [4, 16, 3], "overlap": 0.5, "tiling": "spread", "blend": "gaussian_nnunet", "mirror": [0, 2]}"#,
        ] {
            let recipe = with(window, extra);
            let found = values_after(&recipe, &volume, &mut Identity::of(5, 1));
            let worst = found.iter().zip(&volume.pixels).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-5, "{extra} {window}: {worst}");
        }
    }
}

#[test]
fn channels_take_neighbouring_slices_of_the_view_and_repeat_those_at_the_edge() {
    let volume = random_volume([4, 3, 5], 9);
    let channels = |offsets: &[isize]| {
        offsets.iter().map(|offset| ChannelView { values: volume.pixels.view(), offset: *offset }).collect()
    };
    let recipe = with(r#"{"patch": [4, "all", "all"]}"#, r#""orientation": "acquired_reversed", "window""#);
    let axes = recipe.stage.orientation.axes(&volume.geometry);
    let slide = Slide { stage: &recipe.stage, axes, channels: channels(&[-1, 0, 1]) };
    let tiles = [0, 1, 2].map(|axis| Tiles::of(&recipe.stage.window, axis, [4, 3, 5][axis], axes.is_reversed(axis)));
    let cut = slide.cut(&tiles, [0, 0, 0]);
    // Working slice 0 is array slice 3; the slice before it, toward the head, is itself again.
    assert_eq!(cut[[0, 0, 1, 2]], volume.pixels[[3, 1, 2]]);
    assert_eq!(cut[[0, 1, 1, 2]], volume.pixels[[3, 1, 2]]);
    assert_eq!(cut[[1, 1, 1, 2]], volume.pixels[[2, 1, 2]]);
    assert_eq!(cut[[2, 1, 1, 2]], volume.pixels[[1, 1, 2]]);
    assert_eq!(cut[[2, 3, 1, 2]], volume.pixels[[0, 1, 2]]);
}

#[test]
fn refuses_values_that_are_no_numbers() {
    let mut volume = random_volume([4, 8, 8], 1);
    volume.pixels[[2, 3, 4]] = f32::NAN;
    let recipe = recipe("NCDHW", r#"{"patch": [4, 8, 8]}"#, "").expect("a recipe");
    let told = run(&recipe, &volume, &mut Identity::of(5, 1)).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(told.contains("not finite numbers in the network's output"), "{told}");
}

/// A recipe with further keys before its window.
fn with(window: &str, extra: &str) -> Recipe {
    let text = format!(
        r#"{{"file": "m.onnx", "sha256": null, "inputs": {{"ct": {{}}}}, "tensor": {{"layout": "NCDHW"}}, {extra}: {window},
            "output": {{"decision": "argmax", "labels": {{"plus": 1}}}}, "structures": ["plus"]}}"#
    );
    let mut problems = Problems::of("m.json");
    let node = document::parse(&text, &mut problems).expect("JSON");
    let mut fields = node.object(&mut problems).expect("an object");
    Recipe::parse(&mut fields, &mut problems).expect("a recipe")
}

/// A recipe of one label with these further keys, each followed by a comma.
fn with_keys(keys: &str, pre: &str) -> Recipe {
    let text = format!(
        r#"{{"file": "m.onnx", "sha256": null, {keys} "inputs": {{"ct": {{"pre": [{pre}]}}}}, "tensor": {{"layout": "NCDHW"}},
            "output": {{"decision": "argmax", "labels": {{"plus": 1}}}}, "structures": ["plus"]}}"#
    );
    let mut problems = Problems::of("m.json");
    let node = document::parse(&text, &mut problems).expect("JSON");
    let mut fields = node.object(&mut problems).expect("an object");
    let recipe = Recipe::parse(&mut fields, &mut problems);
    recipe.unwrap_or_else(|| panic!("{:?}", problems.into_vec()))
}

/// Says one voxel everywhere, along all three axes.
struct OneVoxel;

impl Network for OneVoxel {
    fn input_shape(&self) -> &[Option<usize>] {
        &[None; 5]
    }

    fn output_shape(&self) -> &[Option<usize>] {
        &[]
    }

    fn run(&mut self, input: ArrayViewD<'_, f32>) -> Result<Vec<Box<dyn Values>>, NetworkError> {
        let mut shape = input.shape().to_vec();
        shape[1] = 3;
        Ok(vec![Box::new(ArrayD::from_elem(shape, 1.0))])
    }
}

const DEFORMATION: &str =
    r#""window": {"patch": ["all", "all", "all"]}, "images": {"DVF": {"kind": "deformation", "channels": [0, 1, 2]}},"#;

#[test]
fn displacements_are_in_voxels_of_the_networks_grid() {
    let origins = (0..8).map(|k| [0.0, 0.0, f64::from(k)]).collect();
    let geometry = VolumeGeometry::new((12, 12), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
    let volume = Volume::new(Arc::new(geometry.expect("legal")), Array3::zeros((8, 12, 12)));
    let recipe = with_keys(DEFORMATION, r#"{"op": "resample", "spacing_mm": [4, 3, 2]}"#);
    let inputs = BTreeMap::from([("ct".to_owned(), volume)]);
    let outcome = infer::run(&recipe, &inputs, &BTreeMap::new(), &mut [&mut OneVoxel], &mut |_, _| {}).expect("runs");
    let infer::DerivedKind::Deformation(components) = &outcome.images[0].kind else { panic!("no deformation") };
    let found: Vec<f32> = components.iter().map(|component| component.pixels[[4, 6, 6]]).collect();
    assert_eq!(found, [2.0, 3.0, 4.0]);
}

#[test]
fn refuses_a_network_without_the_channels_of_an_image() {
    let (recipe, volume) = (with_keys(DEFORMATION, ""), random_volume([4, 8, 8], 1));
    let told = run(&recipe, &volume, &mut Identity::of(5, 1)).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(told.contains("found no channel") || told.contains("expected [1, >=3, "), "{told}");
}

#[test]
fn refuses_a_window_that_no_memory_holds_before_it_is_made() {
    let (recipe, volume) = (with_keys(r#""window": {"patch": [8192, 8192, 8192]},"#, ""), random_volume([4, 8, 8], 1));
    let told = run(&recipe, &volume, &mut Identity::of(5, 1)).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(told.contains("make window.patch smaller"), "{told}");
}

#[test]
fn shapes_are_held_against_the_patch_as_it_is_rounded() {
    let recipe = with_keys(r#""window": {"patch": [100, 100, 100], "multiple_of": [16, 16, 16]},"#, "");
    let network = |side: usize| Identity { shape: [1, 1, side, side, side].map(Some).to_vec(), ..Identity::of(5, 1) };
    assert!(check_shapes(&recipe, 0, &network(112)).is_ok());
    assert!(check_shapes(&recipe, 0, &network(100)).is_err());
}
