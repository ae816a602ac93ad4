//! nnU-Net's own predictor and MONAI's own inferer against this program, on cases that `integration/oracles` made with
//! those packages: the model is imported as a user would import it and run on the image of the case.
//!
//! `CONTOURD_ORACLES=/folder` runs the cases of another folder (the whole set) instead.

mod nifti;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use contourd::document::{self, Problems};
use contourd::infer::{self, Network, NetworkError, Values};
use contourd::onnx::{Devices, Networks, with_networks};
use contourd::pipeline::Model;
use contourd::pipeline::import::{Imported, monai, nnunet};
use contourd::volume::Volume;
use ndarray::{ArrayD, ArrayViewD};
use serde_json::Value;

fn folder() -> PathBuf {
    std::env::var_os("CONTOURD_ORACLES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracles"), PathBuf::from)
}

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_case_gives_the_labels_of_the_reference() {
    let mut cases: Vec<PathBuf> = fs::read_dir(folder())
        .expect("the folder of cases")
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.join("case.json").is_file())
        .collect();
    cases.sort();
    let only = std::env::var("CONTOURD_ORACLE").ok();
    let mut failures = Vec::new();
    for case in cases {
        let name = case.file_name().expect("a name").to_string_lossy().into_owned();
        if only.as_ref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        match compare(&case) {
            Ok(told) => println!("{name}: {told}"),
            Err(told) => failures.push(format!("{name}: {told}")),
        }
    }
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

/// Imports and runs one case; what was compared, or what differs.
fn compare(case: &Path) -> Result<String, String> {
    let told = json(&case.join("case.json"));
    let work = tempfile::tempdir().map_err(|error| error.to_string())?;
    let imported = match told["kind"].as_str() {
        Some("nnunet") => import_nnunet(case, &told),
        _ => import_monai(case, &told),
    }?;
    if !imported.not_expressed.is_empty() {
        return Err(format!("not expressed: {}", imported.not_expressed.join("; ")));
    }
    for (path, text) in &imported.files {
        let target = work.path().join(path);
        fs::create_dir_all(target.parent().expect("a folder")).map_err(|error| error.to_string())?;
        fs::write(target, text).map_err(|error| error.to_string())?;
    }
    for (from, to) in &imported.networks {
        // A network lies below the folder of its model, or of the stage before.
        let folders = [told["model"].as_str(), told["previous_stage"].as_str()];
        let found =
            folders.into_iter().flatten().map(|folder| case.join(folder).join(from)).find(|path| path.is_file());
        let beside = if told["kind"] == "nnunet" { case.join("input").join(from) } else { case.join(from) };
        fs::copy(found.unwrap_or(beside), work.path().join(to))
            .map_err(|error| format!("{}: {error}", from.display()))?;
    }
    let model_file = imported.files.iter().find(|(path, _)| path.ends_with("model.json")).ok_or("no model.json")?;
    let mut problems = Problems::of("model.json");
    let model = document::parse(&model_file.1, &mut problems).and_then(|node| Model::parse(&node, &mut problems));
    if let Some(folder) = std::env::var_os("CONTOURD_ORACLES_KEEP") {
        let _ = fs::write(
            Path::new(&folder).join(format!("{}.json", model_file.0.display()).replace('/', "_")),
            &model_file.1,
        );
    }
    let model = model.ok_or_else(|| format!("{:#?}\n{}", problems.into_vec(), model_file.1))?;
    let definition: Value = serde_json::from_str(&model_file.1).map_err(|error| error.to_string())?;
    let images: Vec<Volume> = told["images"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|image| nifti::volume(&case.join(image.as_str().expect("a name"))))
        .collect();
    let inputs: BTreeMap<String, Volume> =
        model.recipe().input_names().map(str::to_owned).zip(images.clone()).collect();
    let networks = Networks::new(2, 1 << 30, Devices::CPU);
    let loaded =
        networks.get(&model, &work.path().join("models").join(model.id()), false).map_err(|error| error.to_string())?;
    let known = Window { input: npy(&case.join("patch_in.npy")), output: npy(&case.join("patch_out.npy")) };
    let (outcome, nearest) = with_networks(&loaded, |networks| {
        let mut nearest = Nearest::default();
        let last = networks.len() - 1;
        // Its first fold; of a cascade, the stage after.
        let of = last.min(if told["previous_stage"].is_string() { 1 } else { 0 });
        let mut inner: Vec<Option<&mut dyn Network>> =
            networks.iter_mut().map(|network| Some(&mut **network)).collect();
        let mut watched = Watched {
            inner: inner[of].take().expect("the network of the window"),
            known: &known,
            nearest: &mut nearest,
        };
        let mut list: Vec<&mut dyn Network> = Vec::new();
        let mut watched = Some(&mut watched);
        for (index, network) in inner.iter_mut().enumerate() {
            match network.take() {
                Some(network) => list.push(network),
                None if index == of => list.push(watched.take().expect("once")),
                None => {}
            }
        }
        let outcome = infer::run(model.recipe(), &inputs, &BTreeMap::new(), &mut list, &mut |_, _| {});
        drop(list);
        (outcome, nearest)
    });
    let outcome = outcome.map_err(|error| error.to_string())?;
    let most = told["tolerance"]["patch"].as_f64().ok_or("no tolerance of the window")? as f32;
    if nearest.input > most || nearest.output > most {
        return Err(format!(
            "the window of the reference is off by {} before and {} after",
            nearest.input, nearest.output
        ));
    }
    let expected = nifti::labels(&case.join("expected.nii.gz"), &images[0]);
    let told = judge(&outcome.structures, &definition, &expected, &told)?;
    Ok(format!("{told}; window {:.1e}, its values {:.1e}", nearest.input, nearest.output))
}

/// One window as the reference cut it, and what its network gave.
struct Window {
    input: ArrayD<f32>,
    output: ArrayD<f32>,
}

/// How far the most similar window of this program is from it, and what the network gave for that.
struct Nearest {
    input: f32,
    output: f32,
}

impl Default for Nearest {
    fn default() -> Nearest {
        Nearest { input: f32::INFINITY, output: f32::INFINITY }
    }
}

/// A network that looks for a window among those it is given.
struct Watched<'a> {
    inner: &'a mut dyn Network,
    known: &'a Window,
    nearest: &'a mut Nearest,
}

impl Network for Watched<'_> {
    fn input_shape(&self) -> &[Option<usize>] {
        self.inner.input_shape()
    }

    fn output_shape(&self) -> &[Option<usize>] {
        self.inner.output_shape()
    }

    fn run(&mut self, input: ArrayViewD<'_, f32>) -> Result<Vec<Box<dyn Values>>, NetworkError> {
        let outputs = self.inner.run(input.view())?;
        let off = apart(input, self.known.input.view());
        if off < self.nearest.input {
            *self.nearest = Nearest { input: off, output: apart(outputs[0].view(), self.known.output.view()) };
        }
        Ok(outputs)
    }
}

/// The largest difference of two arrays of one shape; batches of one may be left out.
fn apart(a: ArrayViewD<'_, f32>, b: ArrayViewD<'_, f32>) -> f32 {
    let sides =
        |array: &ArrayViewD<'_, f32>| array.shape().iter().copied().filter(|side| *side > 1).collect::<Vec<_>>();
    if sides(&a) != sides(&b) {
        return f32::INFINITY;
    }
    a.iter().zip(b.iter()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// An array of NumPy's format 1.0, float32 in C order.
fn npy(path: &Path) -> ArrayD<f32> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8_lossy(&bytes[10..end]);
    assert!(header.contains("'<f4'") && header.contains("'fortran_order': False"), "{header}");
    let (_, shape) = header.split_once("'shape': (").expect("a shape");
    let (shape, _) = shape.split_once(')').expect("its end");
    let shape: Vec<usize> = shape.split(',').filter_map(|side| side.trim().parse().ok()).collect();
    let values = bytes[end..].chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("four")));
    ArrayD::from_shape_vec(shape, values.collect()).expect("as many values as the shape says")
}

/// Dice of each structure that is a label of the output.
fn judge(
    structures: &[infer::Structure],
    definition: &Value,
    expected: &nifti::Labels,
    told: &Value,
) -> Result<String, String> {
    let labels = definition["output"]["labels"].as_object().ok_or("no labels")?;
    let allowed = told["tolerance"]["differing_voxels"].as_u64().unwrap_or(0) as usize;
    let overlapping = told["overlapping"].as_bool().unwrap_or(false);
    let (mut lines, mut bad, mut compared) = (Vec::new(), false, 0);
    for structure in structures {
        let Some(label) = labels.get(&structure.label) else { continue };
        let value = label.as_u64().or(label["index"].as_u64()).ok_or("no index")? as usize;
        let found = structure.mask.to_mask();
        let wanted = expected.mask(value, overlapping, &found.geometry);
        let differing = wanted.voxels.iter().zip(&found.voxels).filter(|(a, b)| a != b).count();
        let dice = wanted.dice(&found);
        compared += 1;
        if let Some(folder) = std::env::var_os("CONTOURD_ORACLES_KEEP") {
            let bytes = contourd::output::nifti::encode_mask(&found).map_err(|error| error.to_string())?;
            let name = format!("{}.nii", structure.label);
            fs::write(Path::new(&folder).join(name), bytes).map_err(|error| error.to_string())?;
        }
        bad |= dice < 0.999 && differing > allowed;
        lines.push(format!("{} {dice:.5} ({differing} of {})", structure.label, wanted.count()));
    }
    if compared == 0 {
        return Err("nothing was compared".to_owned());
    }
    if bad { Err(lines.join(", ")) } else { Ok(lines.join(", ")) }
}

fn import_nnunet(case: &Path, told: &Value) -> Result<Imported, String> {
    let texts = |model: &str| Texts::read(case, model);
    let main = texts(told["model"].as_str().ok_or("no model")?);
    let previous = told["previous_stage"].as_str().map(texts);
    let options = nnunet::Options {
        mirroring: told["use_mirroring"].as_bool().unwrap_or(false),
        step_size: told["tile_step_size"].as_f64().unwrap_or(0.5),
        ..nnunet::Options::default()
    };
    let source = main.source();
    let low = previous.as_ref().map(Texts::source);
    nnunet::import(&source, low.as_ref(), &options)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

/// The files of one trained configuration.
struct Texts {
    folder: String,
    plans: String,
    dataset: String,
    fingerprint: Option<String>,
    postprocessing: Option<String>,
    export: Option<String>,
    folds: Vec<nnunet::Fold>,
}

impl Texts {
    fn read(case: &Path, model: &str) -> Texts {
        let path = case.join(model);
        let text = |name: &str| fs::read_to_string(path.join(name)).ok();
        let mut folds: Vec<nnunet::Fold> = fs::read_dir(&path)
            .expect("the folder of the model")
            .filter_map(|entry| {
                let fold = entry.ok()?.path();
                let name = fold.file_name()?.to_str()?.strip_prefix("fold_")?.to_owned();
                let file = fs::read_dir(&fold).ok()?.find_map(|file| {
                    let file = file.ok()?.path();
                    (file.extension()?.to_str()? == "onnx").then_some(file)
                })?;
                let onnx = Some(PathBuf::from(fold.file_name()?).join(file.file_name()?));
                Some(nnunet::Fold { name, onnx, sha256: Some(nifti::sha256(&file)) })
            })
            .collect();
        folds.sort_by(|a, b| a.name.cmp(&b.name));
        Texts {
            folder: path.file_name().expect("a name").to_string_lossy().into_owned(),
            plans: text("plans.json").expect("plans"),
            dataset: text("dataset.json").expect("dataset"),
            fingerprint: text("dataset_fingerprint.json"),
            postprocessing: fs::read_dir(&path)
                .expect("the folder of the model")
                .filter_map(|entry| Some(entry.ok()?.path().join("postprocessing.json")))
                .find_map(|file| fs::read_to_string(file).ok()),
            export: text("export.json"),
            folds,
        }
    }

    fn source(&self) -> nnunet::Source<'_> {
        nnunet::Source {
            folder: &self.folder,
            plans: &self.plans,
            dataset: &self.dataset,
            fingerprint: self.fingerprint.as_deref(),
            postprocessing: self.postprocessing.as_deref(),
            export: self.export.as_deref(),
            folds: &self.folds,
        }
    }
}

fn import_monai(case: &Path, told: &Value) -> Result<Imported, String> {
    let bundle = case.join(told["model"].as_str().ok_or("no model")?);
    let text = |name: &str| fs::read_to_string(bundle.join(name)).map_err(|error| format!("{name}: {error}"));
    let (inference, metadata) = (text("configs/inference.json")?, text("configs/metadata.json")?);
    let export = text("models/export.json").ok();
    let sha256 = nifti::sha256(&bundle.join("models/model.onnx"));
    let bundle = monai::Bundle {
        folder: "input",
        inference: &inference,
        metadata: &metadata,
        export: export.as_deref(),
        network: Some(("models/model.onnx", &sha256)),
    };
    monai::import(&bundle, &monai::Options::default())
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}
