//! nnU-Net's own predictor and MONAI's own inferer against this program, on cases that `integration/oracles` made with
//! those packages: the model is imported as a user would import it and run on the image of the case.
//!
//! `CONTOURD_ORACLES=/folder` runs the cases of another folder (the whole set) instead.

mod nifti;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use contourd::document::{self, Problems};
use contourd::infer;
use contourd::onnx::{Devices, Networks, with_networks};
use contourd::pipeline::Model;
use contourd::pipeline::import::{Imported, monai, nnunet};
use contourd::volume::Volume;
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
    let outcome = with_networks(&loaded, |networks| {
        infer::run(model.recipe(), &inputs, &BTreeMap::new(), networks, &mut |_, _| {})
    });
    let outcome = outcome.map_err(|error| error.to_string())?;
    let expected = nifti::labels(&case.join("expected.nii.gz"), &images[0]);
    judge(&outcome.structures, &definition, &expected, &told)
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
            postprocessing: text("postprocessing.json"),
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
