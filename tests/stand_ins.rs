//! Every model bundle without weights, and every configuration of CERR that can be imported, run with networks that stand
//! in for theirs: same tensors, no anatomy. It shows that all of it fits together, not that contours are right.

mod onnx_stand_in;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use contourd::document::{self, Problem, Problems};
use contourd::infer::{self, Structure};
use contourd::onnx::{Devices, Networks, with_networks};
use contourd::phantom::{self, Thorax};
use contourd::pipeline::Model;
use contourd::pipeline::import::cerr;
use contourd::volume::{Mask, Volume};
use onnx_stand_in::{StandIn, onnx};
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The bundles of the five models of the paper.
const BUNDLES: [&str; 12] = [
    "ct-hn-chewing",
    "ct-hn-larynx",
    "ct-hn-constrictor",
    "ct-hn-oar-selfattention",
    "ct-heart-structure",
    "ct-heart-substructures",
    "ct-heart-atria",
    "ct-heart-ventricles",
    "ct-heart-pericardium",
    "ct-lung-nodule-mrrn",
    "ct-lung-oar-mrrn",
    "mr-prostate-deeplab",
];

fn has_runtime() -> bool {
    let there = contourd::onnx::check_library().is_ok();
    if !there {
        eprintln!("skipped: ONNX Runtime's library is not at hand");
    }
    there
}

/// A definition as JSON, without its comments.
fn json(text: &str) -> Value {
    let plain: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|l| format!("{l}\n")).collect();
    serde_json::from_str(&plain).expect("JSON")
}

fn sides(value: &Value) -> Vec<Option<usize>> {
    value.as_array().expect("a patch").iter().map(|side| side.as_u64().map(|side| side as usize)).collect()
}

/// The lowest and the highest value that the network of a definition is likely to see.
fn range(model: &Value) -> (f32, f32) {
    let text = model.to_string();
    let has = |part: &str| text.contains(part);
    match () {
        () if has("histogram_clip") => (80.0, 175.0),
        () if has("\"std\":257") => (0.0, 255.0),
        () if has("quantise") => (-1.5, 3.5),
        () if has("\"to_low\":-1") => (-1.0, 1.0),
        () if has("\"op\":\"offset\"") => (24.0, 2000.0),
        () => (-900.0, 900.0),
    }
}

/// The bytes of a network with the tensors that a definition asks for. Each class is nearest to one value of the range, so
/// that classes follow the values of the image.
fn network_for(model: &Value) -> Vec<u8> {
    let layout = model["tensor"]["layout"].as_str().expect("a layout");
    let patch = sides(&model["window"]["patch"]);
    let spatial = if layout.len() == 5 { &patch[..] } else { &patch[1..] };
    let inputs = model["inputs"].as_object().expect("inputs").len();
    let channels = model["channels"].as_array().map_or(inputs, Vec::len);
    let labels = model["output"]["labels"].as_object().expect("labels");
    let highest = labels.values().filter_map(Value::as_u64).max();
    let label_map = model["output"]["decision"] == "label_map";
    let count = highest.map_or(if label_map { 6 } else { 1 }, |highest| highest as usize + 1);
    let (low, high) = range(model);
    let class = |index: usize| {
        let value = low + (high - low) * (index as f32 + 0.5) / count as f32;
        (2.0 * value, -value * value)
    };
    let classes: Vec<(f32, f32)> = (0..count).map(class).collect();
    let images = model["images"].as_object();
    let further = images
        .into_iter()
        .flatten()
        .filter_map(|(_, image)| Some((image["output"].as_str()?, image["channels"].as_array().map_or(1, Vec::len))));
    let further: Vec<(&str, usize)> = further.collect();
    let name = |key: &str, default: &'static str| model["tensor"][key].as_str().unwrap_or(default).to_owned();
    let (input, output) = (name("input", "image"), name("output", "scores"));
    let bytes = input.starts_with("ImageTensor");
    onnx(&StandIn {
        layout,
        input: &input,
        output: &output,
        channels,
        sides: spatial,
        bytes,
        classes: &classes,
        label_map,
        images: &further,
    })
}

/// A definition with the digests of its stand-ins, which lie in the folder.
fn installed(text: &str, folder: &Path) -> Model {
    let mut model = json(text);
    let bytes = network_for(&model);
    let digest = {
        use sha2::{Digest, Sha256};
        Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let mut put = |network: &mut Value| {
        network["sha256"] = Value::from(digest.as_str());
        let file = network["file"].as_str().expect("a file");
        fs::write(folder.join(file), &bytes).expect("written");
    };
    if let Some(networks) = model.get_mut("networks").and_then(Value::as_array_mut) {
        networks.iter_mut().for_each(&mut put);
    } else {
        put(&mut model);
    }
    let mut problems = Problems::of("model.json");
    let node = document::parse(&model.to_string(), &mut problems);
    let parsed = node.and_then(|node| Model::parse(&node, &mut problems));
    let told: Vec<String> = problems.into_vec().iter().map(Problem::to_string).collect();
    parsed.unwrap_or_else(|| panic!("{told:#?}"))
}

/// A thorax of thick slices with coarse pixels; as MR it has no negative values.
struct Patient {
    ct: Volume,
    mr: Volume,
    lungs: Mask,
    heart: Mask,
}

fn patient() -> Patient {
    let phantom = phantom::render(&Thorax::standard().coarser(4).with_slice_spacing(8.0), |_| {}).expect("legal");
    let ct = phantom.volume();
    let mr = Volume::new(Arc::clone(&ct.geometry), ct.pixels.mapv(|hu| hu + 1024.0));
    let truth = |name: &str| phantom.truth(name).expect("the phantom knows it");
    let mut lungs = truth("Lung_L");
    lungs.voxels.zip_mut_with(&truth("Lung_R").voxels, |a, b| *a |= *b);
    // A box in the middle stands for what is drawn there.
    let mut heart = Mask::empty(Arc::clone(&ct.geometry));
    let [slices, rows, columns] = ct.geometry.shape();
    let inside = |at: usize, length: usize, part: usize| at.abs_diff(length / 2) < length / part;
    for ((k, j, i), voxel) in heart.voxels.indexed_iter_mut() {
        *voxel = inside(k, slices, 4) && inside(j, rows, 8) && inside(i, columns, 8);
    }
    Patient { ct, mr, lungs, heart }
}

impl Patient {
    fn run(&self, text: &str) -> Vec<Structure> {
        let folder = tempfile::tempdir().expect("a folder");
        let model = installed(text, folder.path());
        let recipe = model.recipe();
        let image = |name: &str| match (name, text.contains("\"MR\"") || model.name().contains("MR")) {
            ("mr" | "pt" | "adc", _) => self.mr.clone(),
            (_, true) if name != "ct" => self.mr.clone(),
            _ => self.ct.clone(),
        };
        let inputs: BTreeMap<String, Volume> =
            recipe.input_names().map(|name| (name.to_owned(), image(name))).collect();
        let mask = |name: &str| match name.to_ascii_lowercase() {
            name if name.contains("lung") || name.contains("crop_for") => self.lungs.clone(),
            _ => self.heart.clone(),
        };
        let needed = recipe.structure_inputs().iter().filter(|one| !one.optional || one.name.contains("ung"));
        let masks: BTreeMap<String, Mask> = needed.map(|one| (one.name.clone(), mask(&one.name))).collect();
        let networks = Networks::new(2, 1 << 30, Devices::CPU);
        let loaded =
            networks.get(&model, folder.path(), false).unwrap_or_else(|error| panic!("{}: {error}", model.id()));
        let outcome = with_networks(&loaded, |networks| infer::run(recipe, &inputs, &masks, networks, &mut |_, _| {}));
        let outcome = outcome.unwrap_or_else(|error| panic!("{}: {error}", model.id()));
        assert_eq!(outcome.images.len(), json(text)["images"].as_object().map_or(0, serde_json::Map::len));
        let labels: Vec<&str> = outcome.structures.iter().map(|structure| structure.label.as_str()).collect();
        assert_eq!(labels, recipe.structures(), "{}", model.id());
        outcome.structures
    }

    /// Runs a definition and asks that something is found, and that classes follow the values of the image.
    fn check(&self, text: &str) {
        let structures = self.run(text);
        let model = json(text);
        let id = model["id"].as_str().expect("an id");
        let found = structures.iter().filter(|structure| !structure.mask.is_empty()).count();
        assert!(found > 0, "{id}: nothing was found in {} structures", structures.len());
        println!("{id}: {found} of {} structures", structures.len());
        if model.get("post").is_some() || model.to_string().contains("histogram_clip") {
            return;
        }
        let value = |label: &str| model["output"]["labels"][label].as_u64();
        let mean = |structure: &Structure| {
            let mask = structure.mask.to_mask();
            let inside =
                self.ct.pixels.iter().zip(&mask.voxels).filter(|(_, inside)| **inside).map(|(hu, _)| f64::from(*hu));
            inside.sum::<f64>() / mask.count().max(1) as f64
        };
        let mut means: Vec<(u64, f64)> = structures
            .iter()
            .filter(|structure| structure.mask.to_mask().count() > 200)
            .filter_map(|structure| Some((value(&structure.label)?, mean(structure))))
            .collect();
        means.sort_by_key(|(value, _)| *value);
        assert!(means.windows(2).all(|pair| pair[0].1 < pair[1].1 + 60.0), "{id}: {means:?}");
    }
}

#[test]
fn every_bundle_runs_with_a_stand_in() {
    if !has_runtime() {
        return;
    }
    let patient = patient();
    for id in BUNDLES {
        let text = fs::read_to_string(Path::new(ROOT).join("models").join(id).join("model.json")).expect("a bundle");
        assert!(text.contains("\"sha256\": null"), "{id}: weights are not shipped");
        patient.check(&text);
    }
}

#[test]
fn every_imported_configuration_runs_with_a_stand_in() {
    if !has_runtime() {
        return;
    }
    let folders = [Path::new(ROOT).join("tests/golden/cerr"), Path::new(ROOT).join("../shared/data/cerr-configs")];
    let patient = patient();
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if !name.contains("_config") {
                continue;
            }
            let text = fs::read_to_string(&path).expect("a text");
            let imported = cerr::import(&[(name.clone(), text)]).remove(0);
            let imported = imported.unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
            patient.check(&imported.files[0].1);
        }
    }
}

/// A run locks all networks of its model: the same file twice must be two of them, or it waits for itself for ever.
#[test]
fn one_file_may_stand_twice_in_a_model_and_changed_names_are_looked_for_anew() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let text = fs::read_to_string(Path::new(ROOT).join("models/ct-hn-larynx/model.json")).expect("a bundle");
    let model = installed(&text, folder.path());
    let networks = Networks::new(2, 1 << 30, Devices::CPU);
    let first = networks.get(&model, folder.path(), false).expect("loaded");
    assert_eq!(first.len(), 3);
    assert!(!std::sync::Arc::ptr_eq(&first[0], &first[1]) && !std::sync::Arc::ptr_eq(&first[1], &first[2]));
    let again = networks.get(&model, folder.path(), false).expect("warm");
    assert!(std::sync::Arc::ptr_eq(&first[0], &again[0]));
    // The same files, read by a definition that was changed meanwhile.
    let mut changed = json(&text);
    changed["tensor"]["output"] = Value::from("logits");
    for (network, known) in changed["networks"].as_array_mut().expect("three").iter_mut().zip(model.recipe().networks())
    {
        network["sha256"] = known.sha256.as_deref().into();
    }
    let mut problems = Problems::of("model.json");
    let node = document::parse(&changed.to_string(), &mut problems).expect("JSON");
    let changed = Model::parse(&node, &mut problems).expect("a definition");
    let told = networks.get(&changed, folder.path(), false).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(told.contains("logits"), "{told}");
}

/// Copies a folder with all that is below it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copied");
        }
    }
}

#[test]
fn every_pipeline_of_ct_makes_a_structure_set_of_files() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for part in ["ae-config", "pipelines", "models"] {
        copy(&Path::new(ROOT).join(part), &folder.path().join(part));
    }
    for id in BUNDLES {
        let place = folder.path().join("models").join(id);
        let text = fs::read_to_string(place.join("model.json")).expect("a bundle");
        installed(&text, &place);
        // The digest goes where `contourd model install` writes it.
        let digest = |bytes: &[u8]| {
            use sha2::{Digest, Sha256};
            Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let text = text.replace("\"sha256\": null", &format!("\"sha256\": \"{}\"", digest(&network_for(&json(&text)))));
        fs::write(place.join("model.json"), text).expect("written");
    }
    let thorax = Thorax::standard().coarser(4).with_slice_spacing(8.0);
    let phantom = phantom::render(&thorax, |_| {}).expect("legal");
    let identity = phantom::Identity::of(&thorax);
    let series = folder.path().join("series");
    fs::create_dir(&series).expect("made");
    for (number, instance) in phantom::instances(&phantom, &identity).enumerate() {
        fs::write(series.join(format!("{number}.dcm")), instance.expect("encoded").1).expect("written");
    }
    for id in ["ct-hn-swallowing", "ct-hn-oar", "ct-heart", "ct-lung-nodule", "ct-lung-oar"] {
        let file = folder.path().join("pipelines").join(format!("{id}.json"));
        let text = fs::read_to_string(&file).expect("a pipeline");
        fs::write(&file, text.replace("\"mode\": \"off\"", "\"mode\": \"shadow\"")).expect("written");
        let results = folder.path().join(format!("results-{id}"));
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_contourd"));
        command.current_dir(ROOT).arg("segment").arg(&series).args(["--pipeline", id, "--output"]).arg(&results);
        let output = command.arg("--config").arg(folder.path()).output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.contains("1 results, 0 failures"), "{id}: {told}");
        assert!(!told.contains("was skipped"), "{id}: {told}");
        println!("{told}");
    }
}
