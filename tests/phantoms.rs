//! ct-basic on ten random phantoms (size, arms, position, roll, couch, contrast, noise) against their analytic truth.

use std::collections::BTreeMap;
use std::path::Path;

use contourd::document::{self, Problem, Problems};
use contourd::infer::{self, Structure};
use contourd::onnx::{Devices, Networks, with_networks};
use contourd::phantom::{self, Phantom, Thorax};
use contourd::pipeline::Model;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/ct-basic");

fn model() -> Model {
    let text = std::fs::read_to_string(Path::new(FOLDER).join("model.json")).expect("model.json is shipped");
    let mut problems = Problems::of("models/ct-basic/model.json");
    let model = document::parse(&text, &mut problems).and_then(|node| Model::parse(&node, &mut problems));
    let list: Vec<String> = problems.into_vec().iter().map(Problem::to_string).collect();
    model.unwrap_or_else(|| panic!("{}", list.join("\n")))
}

fn segmented(model: &Model, networks: &Networks, phantom: &Phantom) -> Vec<Structure> {
    let network = networks.get(model, Path::new(FOLDER), false).unwrap_or_else(|error| panic!("{error}"));
    let inputs = BTreeMap::from([("ct".to_owned(), phantom.volume())]);
    let nothing = BTreeMap::new();
    let outcome =
        with_networks(&network, |networks| infer::run(model.recipe(), &inputs, &nothing, networks, &mut |_, _| {}));
    outcome.expect("ct-basic runs on any CT").structures
}

fn dice(found: &[Structure], phantom: &Phantom, name: &str) -> f64 {
    let structure = found.iter().find(|structure| structure.label == name).expect("ct-basic delivers it");
    structure.mask.to_mask().dice(&phantom.truth(name).expect("the phantom knows it"))
}

#[test]
fn body_and_lungs_agree_with_ten_random_phantoms() {
    let (model, networks) = (model(), Networks::new(2, 1 << 30, Devices::CPU));
    let mut wrong = Vec::new();
    for seed in 0..10 {
        // Half the pixels of practice in each direction keep the test under a minute; noise is per pixel, as drawn.
        let thorax = Thorax::random(seed).coarser(2);
        let told = format!("seed {seed}: {:?}, arms {:?}", thorax.position, thorax.arms);
        let phantom = phantom::render(&thorax, |_| {}).expect("a legal phantom");
        let found = segmented(&model, &networks, &phantom);
        let [body, left, right, bone] = ["BODY", "Lung_L", "Lung_R", "Bone"].map(|name| dice(&found, &phantom, name));
        println!("{told}: BODY {body:.4}, Lung_L {left:.4}, Lung_R {right:.4}, Bone {bone:.4}");
        if body < 0.99 || left < 0.97 || right < 0.97 {
            wrong.push(format!("{told}: BODY {body:.4} (0.99), Lung_L {left:.4}, Lung_R {right:.4} (0.97)"));
        }
    }
    assert!(wrong.is_empty(), "found less agreement than expected:\n{}", wrong.join("\n"));
}

#[test]
fn a_file_that_is_not_onnx_is_told_with_the_cure() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("model.onnx"), "not a network").expect("written");
    let told = Networks::new(1, 1 << 30, Devices::CPU)
        .get(&model(), folder.path(), false)
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(told.contains("found a file that is not an ONNX network") && told.contains("sha256"), "{told}");
}

#[test]
fn an_image_without_lungs_has_empty_lungs_with_a_reason() {
    let (model, networks) = (model(), Networks::new(2, 1 << 30, Devices::CPU));
    let mut phantom = phantom::render(&Thorax::standard().coarser(4).with_slice_spacing(10.0), |_| {}).expect("legal");
    // All air inside the patient becomes soft tissue.
    let inside = phantom.truth("External").expect("known").voxels;
    phantom.hounsfield.zip_mut_with(&inside, |hu, inside| *hu = if *inside { (*hu).max(20) } else { *hu });
    for structure in segmented(&model, &networks, &phantom) {
        let lung = structure.label.starts_with("Lung");
        assert_eq!(structure.mask.is_empty(), lung, "{}", structure.label);
        assert_eq!(structure.reason.is_some(), lung, "{:?}", structure.reason);
    }
}
