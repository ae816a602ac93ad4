//! Folders of the shapes that nnunetv2 2.0 to 2.8 write, imported: a golden dump for each, and what is refused. What the
//! network then computes is for the tests of the oracles.

use std::fs;
use std::path::{Path, PathBuf};

use contourd::document::{self, Problem, Problems};
use contourd::pipeline::import::Imported;
use contourd::pipeline::import::nnunet::{self, Fold, Options, Source};
use contourd::pipeline::{Model, Pipeline};

/// The texts of a folder, owned.
#[derive(Default)]
struct Texts {
    folder: String,
    plans: String,
    dataset: String,
    postprocessing: Option<String>,
    fingerprint: Option<String>,
    export: Option<String>,
    folds: Vec<Fold>,
}

impl Texts {
    fn read(folder: &Path, folds: &[&str]) -> Texts {
        let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
        let onnx = |name: &str| format!("fold_{name}/fold_{name}.onnx");
        let fold = |name: &&str| {
            let file = folder.join(onnx(name));
            let here = file.exists() || folds.len() > 1;
            let sha256 = (folds.len() > 1).then(|| name.repeat(64));
            Fold { name: (*name).to_owned(), onnx: here.then(|| PathBuf::from(onnx(name))), sha256 }
        };
        Texts {
            folder: folder.file_name().expect("a name").to_string_lossy().into_owned(),
            plans: read("plans.json").unwrap_or_else(|| panic!("{}: no plans.json", folder.display())),
            dataset: read("dataset.json").expect("dataset.json"),
            postprocessing: read("postprocessing.json"),
            fingerprint: read("dataset_fingerprint.json"),
            export: read("export.json"),
            folds: folds.iter().map(fold).collect(),
        }
    }

    fn source(&self) -> Source<'_> {
        Source {
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

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/nnunet")
}

fn told(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(Problem::to_string).collect()
}

/// The problems of the files of an import, read by the program itself.
fn problems_of(imported: &Imported) -> Vec<String> {
    let mut all = Vec::new();
    for (path, text) in &imported.files {
        let mut problems = Problems::of(path.display().to_string());
        if let Some(node) = document::parse(text, &mut problems) {
            if path.starts_with("models") {
                Model::parse(&node, &mut problems);
            } else {
                Pipeline::parse(&node, &mut problems);
            }
        }
        all.extend(told(&problems.into_vec()));
    }
    all
}

/// Compares with the files of `expected`, or writes them where `CONTOURD_GOLDEN` is set.
fn compare(folder: &Path, imported: &Imported) {
    let mut files: Vec<(PathBuf, String)> = imported.files.clone();
    let mut lines = String::new();
    for (title, list) in [("not expressed", &imported.not_expressed), ("note", &imported.notes)] {
        list.iter().for_each(|line| lines.push_str(&format!("{title}: {line}\n")));
    }
    for (from, to) in &imported.networks {
        lines.push_str(&format!("copy: {} to {}\n", from.display(), to.display()));
    }
    files.push((PathBuf::from("told.txt"), lines));
    for (path, text) in files {
        let file = folder.join(path.file_name().map_or(PathBuf::new(), |name| match path.starts_with("pipelines") {
            true => PathBuf::from("pipeline.json"),
            false => PathBuf::from(name),
        }));
        if std::env::var_os("CONTOURD_GOLDEN").is_some() {
            fs::create_dir_all(folder).expect("a folder");
            fs::write(&file, &text).expect("a golden file");
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        assert!(text == expected, "{} differs; look at it, then run with CONTOURD_GOLDEN=1:\n{text}", file.display());
    }
}

fn check(case: &str, folder: &str, previous: Option<&str>, folds: &[&str], options: &Options) -> Imported {
    let texts = Texts::read(&golden().join(case).join(folder), folds);
    let before = previous.map(|name| Texts::read(&golden().join(case).join(name), folds));
    let before = before.as_ref().map(Texts::source);
    let imported = nnunet::import(&texts.source(), before.as_ref(), options)
        .unwrap_or_else(|problems| panic!("{case}: {:#?}", told(&problems)));
    assert_eq!(problems_of(&imported), Vec::<String>::new(), "{case}");
    compare(&golden().join(case).join("expected"), &imported);
    imported
}

#[test]
fn ct_of_version_2_0_with_two_folds() {
    let imported =
        check("v20_ct_two_folds", "nnUNetTrainer__nnUNetPlans__3d_fullres", None, &["0", "1"], &Options::default());
    assert_eq!(imported.networks.len(), 2);
    assert_eq!(imported.not_expressed, Vec::<String>::new());
}

#[test]
fn slices_of_mr_of_version_2_0() {
    let imported = check("v20_mr_2d", "nnUNetTrainer__nnUNetPlans__2d", None, &["0"], &Options::default());
    assert!(imported.files[0].1.contains("\"layout\": \"NCHW\"") && imported.files[0].1.contains("[1, 256, 224]"));
}

#[test]
fn a_cascade_is_one_model() {
    let lowres = "nnUNetTrainerNoMirroring__nnUNetPlans__3d_lowres";
    let options = Options { step_size: 0.75, ..Options::default() };
    let imported =
        check("v22_cascade", "nnUNetTrainer__nnUNetPlans__3d_cascade_fullres", Some(lowres), &["0", "1"], &options);
    let names: Vec<String> = imported.networks.iter().map(|(_, to)| to.display().to_string()).collect();
    assert!(names.contains(&"models/abdomen-3d_cascade_fullres/3d_lowres_fold_1.onnx".to_owned()), "{names:?}");
    let plans = fs::read_to_string(golden().join("v22_cascade").join(lowres).join("plans.json")).expect("plans");
    assert_eq!(nnunet::previous_stage(&plans, "3d_cascade_fullres").as_deref(), Some("3d_lowres"));
    assert_eq!(nnunet::previous_stage(&plans, "3d_fullres"), None);
}

#[test]
fn regions_of_four_images_of_mr() {
    check("v24_mr_regions", "nnUNetTrainer__nnUNetPlans__3d_fullres", None, &[], &Options::default());
}

#[test]
fn torch_resampling_and_a_reader_that_reorients() {
    let folder = "nnUNetTrainer_2000epochs__nnUNetResEncUNetLPlans_torchres__3d_fullres_batch_4";
    let options = Options { id: Some("pelvis".to_owned()), ..Options::default() };
    let imported = check("v25_torch_resampling", folder, None, &["all"], &options);
    assert_eq!(imported.not_expressed, Vec::<String>::new());
}

#[test]
fn folders_that_nnunet_itself_made_are_imported() {
    let oracles = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracles");
    let mut seen = 0;
    for case in fs::read_dir(&oracles).into_iter().flatten().flatten() {
        let folders: Vec<PathBuf> =
            fs::read_dir(case.path().join("input")).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        for folder in folders.iter().filter(|folder| folder.join("plans.json").exists()) {
            let texts = Texts::read(folder, &["0"]);
            let configuration = nnunet::configuration_of(&texts.folder).expect("a configuration");
            let earlier = nnunet::previous_stage(&texts.plans, configuration);
            let before = earlier.and_then(|name| {
                folders.iter().find(|path| path.ends_with(format!("nnUNetTrainer__nnUNetPlans__{name}")))
            });
            let before = before.map(|path| Texts::read(path, &["0"]));
            let before = before.as_ref().map(Texts::source);
            let imported = nnunet::import(&texts.source(), before.as_ref(), &Options::default())
                .unwrap_or_else(|problems| panic!("{}: {:#?}", folder.display(), told(&problems)));
            assert_eq!(problems_of(&imported), Vec::<String>::new(), "{}", folder.display());
            assert_eq!(imported.not_expressed, Vec::<String>::new(), "{}", folder.display());
            seen += 1;
        }
    }
    if seen == 0 {
        println!("skipped: no folders of nnU-Net in tests/oracles of this checkout");
    }
}

/// JSON with comments as a value.
fn value_of(text: &str) -> serde_json::Value {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    serde_json::from_str(&lines.collect::<Vec<_>>().join("\n")).expect("JSON")
}

#[test]
fn the_shipped_totalsegmentator_is_what_imports_give() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let options = Options {
        id: Some("totalsegmentator-ribs".to_owned()),
        orientation: Some("SAR".to_owned()),
        separate: Some("never".to_owned()),
        step_size: 0.8,
        ..Options::default()
    };
    let folder = "nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres";
    let imported = value_of(&check("totalsegmentator_ribs", folder, None, &["0"], &options).files[0].1);
    let mut structures = Vec::new();
    for (part, count) in [("organs", 24), ("vertebrae", 26), ("cardiac", 18), ("muscles", 23), ("ribs", 26)] {
        let text =
            fs::read_to_string(root.join(format!("models/totalsegmentator-{part}/model.json"))).expect("a model");
        let shipped = value_of(&text);
        for key in ["orientation", "inputs", "window", "tensor"] {
            assert_eq!(shipped[key], imported[key], "{part} {key}");
        }
        let labels = shipped["output"]["labels"].as_object().expect("labels");
        assert_eq!(labels.len(), count, "{part}");
        assert!(labels.values().filter_map(serde_json::Value::as_u64).eq(1..=count as u64), "{part}");
        structures.extend(labels.keys().map(|label| format!("{part}:{label}")));
        if part == "ribs" {
            assert_eq!(shipped["output"], imported["output"]);
        }
    }
    let pipeline = value_of(&fs::read_to_string(root.join("pipelines/ct-total.json")).expect("the pipeline"));
    let delivered: Vec<&String> = pipeline["structures"].as_object().expect("structures").keys().collect();
    assert!(delivered.into_iter().eq(&structures), "117 structures in the order of the models");
}

#[test]
fn everything_that_cannot_be_exact_is_refused() {
    let folder = golden().join("v20_ct_two_folds/nnUNetTrainer__nnUNetPlans__3d_fullres");
    let refused = |file: &str, part: &str, by: &str, expected: &str| {
        let mut texts = Texts::read(&folder, &[]);
        let text = match file {
            "plans" => &mut texts.plans,
            "dataset" => &mut texts.dataset,
            _ => texts.postprocessing.as_mut().expect("postprocessing"),
        };
        assert!(text.contains(part), "{part}");
        *text = text.replace(part, by);
        let problems = nnunet::import(&texts.source(), None, &Options::default()).err().unwrap_or_default();
        let told = told(&problems);
        assert!(told.iter().any(|line| line.contains(expected)), "{by}: {told:#?}");
    };
    let plans: &[(&str, &str, &str)] = &[
        (
            "\"CTNormalization\"",
            "\"MyNormalization\"",
            "normalization_schemes[0]: found \"MyNormalization\", expected one of CT",
        ),
        (
            "\"resample_data_or_seg_to_shape\"",
            "\"resample_mine\"",
            "resampling_fn_data: found \"resample_mine\", expected one",
        ),
        ("\"order\": 3", "\"order\": 1", "resampling_fn_data_kwargs.order: found the number 1, expected 3"),
        (
            "\"DefaultPreprocessor\"",
            "\"MyPreprocessor\"",
            "preprocessor_name: found the text \"MyPreprocessor\", expected \"Def",
        ),
        ("\"LabelManager\"", "\"MyManager\"", "label_manager: found the text \"MyManager\", expected \"LabelManager\""),
        (
            "\"3d_fullres\": {",
            "\"3d_other\": {",
            "configurations: found no configuration \"3d_fullres\", expected one of 2d, 3d",
        ),
        ("\"std\": 50.9753", "\"std\": null", "found null, expected a number"),
        (
            "\"transpose_forward\": [",
            "\"transpose_forward\": [7,",
            "found the axes [7, 1, 0, 2], expected an order of 0, 1, 2",
        ),
    ];
    plans.iter().for_each(|(part, by, expected)| refused("plans", part, by, expected));
    refused("dataset", "\"liver tumour\": 2", "\"liver tumour\": 5", "expected 0, 1, 2, ... without a gap");
    refused("dataset", "\"0\": \"CT\"", "\"0\": \"CT\", \"1\": \"CT\"", "expected 2 of each, one for each channel");
    refused("postprocessing", "remove_all_but", "keep_all_but", "expected remove_all_but_largest_component");
}

#[test]
fn options_are_checked_and_kept() {
    let folder = golden().join("v20_ct_two_folds/nnUNetTrainer__nnUNetPlans__3d_fullres");
    let mut texts = Texts::read(&folder, &[]);
    let options = Options { step_size: 0.0, separate: Some("sometimes".to_owned()), ..Options::default() };
    let problems = told(&nnunet::import(&texts.source(), None, &options).expect_err("problems"));
    assert!(problems.iter().any(|line| line.contains("--step-size 0, expected 0.05 to 1")), "{problems:#?}");
    assert!(problems.iter().any(|line| line.contains("--separate sometimes")), "{problems:#?}");
    texts.folder = "renamed".to_owned();
    let problems = told(&nnunet::import(&texts.source(), None, &Options::default()).expect_err("problems"));
    assert!(problems[0].contains("expected --configuration with one of 2d, 3d_fullres"), "{problems:#?}");
    let options = Options {
        configuration: Some("2d".to_owned()),
        orientation: Some("SAR".to_owned()),
        mirroring: false,
        ..Options::default()
    };
    let imported = nnunet::import(&texts.source(), None, &options).expect("a model");
    let model = &imported.files[0].1;
    assert!(model.contains("\"orientation\": \"SAR\"") && !model.contains("\"mirror\""), "{model}");
}
