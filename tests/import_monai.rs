//! Bundles of the layout that MONAI's model zoo has, imported: a golden dump for each, and what is refused. What the network
//! then computes is for the tests of the oracles.

use std::fs;
use std::path::{Path, PathBuf};

use contourd::document::{self, Problem, Problems};
use contourd::pipeline::import::Imported;
use contourd::pipeline::import::monai::{self, Bundle, Options};
use contourd::pipeline::{Model, Pipeline};

const DIGEST: &str = "9999999999999999999999999999999999999999999999999999999999999999";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/monai")
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

/// Imports a folder; `change` may put another text in the place of `inference.json`.
fn import(folder: &Path, change: impl Fn(String) -> String, options: &Options) -> Result<Imported, Vec<Problem>> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let export = read("models/export.json");
    let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
    let bundle = Bundle {
        folder: &name,
        inference: &change(read("configs/inference.json").expect("inference.json")),
        metadata: &read("configs/metadata.json").expect("metadata.json"),
        export: export.as_deref(),
        network: export.as_ref().map(|_| ("models/model.onnx", DIGEST)),
    };
    monai::import(&bundle, options)
}

/// Compares with the files of `expected`, or writes them where `CONTOURD_GOLDEN` is set.
fn check(case: &str, options: &Options) -> Imported {
    let folder = golden().join(case);
    let imported =
        import(&folder, |text| text, options).unwrap_or_else(|problems| panic!("{case}: {:#?}", told(&problems)));
    let mut lines = String::new();
    for (title, list) in [("not expressed", &imported.not_expressed), ("note", &imported.notes)] {
        list.iter().for_each(|line| lines.push_str(&format!("{title}: {line}\n")));
    }
    let mut files = vec![(PathBuf::from("told.txt"), lines)];
    for (path, text) in &imported.files {
        let name = if path.starts_with("pipelines") { "pipeline.json" } else { "model.json" };
        files.push((PathBuf::from(name), text.clone()));
    }
    for (name, text) in files {
        let file = folder.join("expected").join(name);
        if std::env::var_os("CONTOURD_GOLDEN").is_some() {
            fs::create_dir_all(folder.join("expected")).expect("a folder");
            fs::write(&file, &text).expect("a golden file");
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        assert!(text == expected, "{} differs; look at it, then run with CONTOURD_GOLDEN=1:\n{text}", file.display());
    }
    assert_eq!(problems_of(&imported), Vec::<String>::new(), "{case}");
    imported
}

#[test]
fn the_layout_of_the_spleen_bundle() {
    let imported = check("spleen", &Options { id: Some("monai-spleen".to_owned()), ..Options::default() });
    assert_eq!(imported.not_expressed, Vec::<String>::new());
    let to = PathBuf::from("models/monai-spleen/model.onnx");
    assert_eq!(imported.networks, [(PathBuf::from("spleen/models/model.onnx"), to)]);
    // The shipped model is this one, without its digest.
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/monai-spleen/model.json");
    let shipped = fs::read_to_string(shipped).expect("the model");
    let part = |text: &str, end: &str| {
        let (from, to) = (text.find("  \"orientation\"").expect("a part"), text.find(end).expect("its end"));
        text[from..to].trim_end_matches([',', ' ', '\n']).to_owned()
    };
    assert_eq!(part(&shipped, "\n}\n"), part(&imported.files[0].1, "  \"origin\""));
}

#[test]
fn references_expressions_and_the_order_of_post_processing() {
    let imported = check("language", &Options::default());
    assert_eq!(imported.not_expressed, Vec::<String>::new());
}

#[test]
fn four_images_with_labels_that_overlap() {
    check("mr_overlapping", &Options::default());
}

#[test]
fn images_joined_and_seen_slice_by_slice() {
    check("slices", &Options::default());
}

#[test]
fn crops_and_pads() {
    check("crops", &Options::default());
}

#[test]
fn bundles_that_monai_itself_ran_are_imported() {
    let oracles = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracles");
    let mut seen = 0;
    for case in fs::read_dir(&oracles).into_iter().flatten().flatten() {
        let folder = case.path().join("input");
        if !folder.join("configs/inference.json").exists() {
            continue;
        }
        let imported = import(&folder, |text| text, &Options::default())
            .unwrap_or_else(|problems| panic!("{}: {:#?}", folder.display(), told(&problems)));
        assert_eq!(problems_of(&imported), Vec::<String>::new(), "{}", folder.display());
        assert_eq!(imported.not_expressed, Vec::<String>::new(), "{}", folder.display());
        seen += 1;
    }
    if seen == 0 {
        println!("skipped: no bundles in tests/oracles of this checkout");
    }
}

#[test]
fn every_transform_without_a_counterpart_is_refused_by_name() {
    let refused = |case: &str, part: &str, by: &str, expected: &str| {
        let change = |text: String| {
            let flat: String = text.split('\n').map(str::trim).collect::<Vec<_>>().join(" ");
            assert!(flat.contains(part), "{part} in {flat}");
            flat.replace(part, by)
        };
        let problems = import(&golden().join(case), change, &Options::default()).err().unwrap_or_default();
        let told = told(&problems);
        assert!(told.iter().any(|line| line.contains(expected)), "{by}: {told:#?}");
    };
    let lambda = r#""_target_": "Lambdad", "func": "$lambda x: x[1:]", "#;
    for (case, part, by, expected) in [
        (
            "spleen",
            r#""_target_": "EnsureTyped","#,
            r#""_target_": "RandFlipd","#,
            "found the transform RandFlipd, expected a tr",
        ),
        (
            "spleen",
            r#""_target_": "EnsureTyped","#,
            lambda,
            "expected a transform whose function is known, not the text \"$lambda x: x[1:]\"",
        ),
        (
            "spleen",
            r#""_target_": "EnsureTyped","#,
            r#""_target_": "scripts.mine.EnsureTyped","#,
            "the transform EnsureTyped, expected a dict",
        ),
        (
            "spleen",
            r#""mode": "bilinear""#,
            r#""mode": 6"#,
            "transforms[3].mode: found the number 6, expected the mode \"bilinear\"",
        ),
        (
            "spleen",
            r#""mode": "bilinear""#,
            r#""mode": 3, "padding_mode": "wrap""#,
            "expected padding_mode \"border\", \"zeros\" or \"reflection\", not \"wrap\"",
        ),
        (
            "spleen",
            r#""mode": "bilinear""#,
            r#""mode": "bilinear", "scale_extent": true"#,
            "the transform Spacingd, expected scale_extent: false",
        ),
        (
            "spleen",
            r#""_target_": "EnsureTyped","#,
            r#""_target_": "Spacingd", "pixdim": 2, "mode": 3, "#,
            "a Spacingd with a spline that Invertd undoes, beside another resampling",
        ),
        (
            "spleen",
            r#""pixdim": [ 1.5, 1.5, 2.0 ]"#,
            r#""pixdim": "$make()""#,
            "\"make\" is Python that is not run here, expected a literal",
        ),
        ("spleen", r#""axcodes": "RAS""#, r#""axcodes": "@gone""#, "the reference \"@gone\" to what is not there"),
        (
            "spleen",
            r#""clip": true"#,
            r#""clamp": true"#,
            "the argument \"clamp\" of ScaleIntensityRanged, expected only a_min",
        ),
        (
            "spleen",
            r#""_target_": "SlidingWindowInferer","#,
            r#""_target_": "scripts.mine.Inferer","#,
            "found the inferer Inferer, expected one of MONAI's",
        ),
        ("spleen", r#""overlap": 0.5"#, r#""overlap": [0.5, 0.5, 0.25]"#, "expected the same overlap for all axes"),
        (
            "spleen",
            r#""overlap": 0.5"#,
            r#""overlap": 0.5, "padding_mode": "reflect""#,
            "expected padding_mode \"constant\" or \"replicate\"",
        ),
        (
            "spleen",
            r#""argmax": true"#,
            r#""rounding": "torchrounding""#,
            "the transform AsDiscreted, expected no rounding",
        ),
        ("spleen", r#""_target_": "AsDiscreted","#, lambda, "(its function is the text \"$lambda x: x[1:]\")"),
        ("spleen", r#""preprocessing": {"#, r#""before": {"#, "found no \"preprocessing\", expected the entry"),
        (
            "mr_overlapping",
            r#""_target_": "LoadImaged","#,
            r#""_target_": "Zoomd","#,
            "the transform Zoomd, expected a transform of this",
        ),
        (
            "spleen",
            r#""_target_": "EnsureTyped","#,
            r#""_target_": "Resized", "spatial_size": [96, 96, 48], "#,
            "the transform Resized, expected mode \"trilinear\" of size_mode \"all\"",
        ),
    ] {
        refused(case, part, by, expected);
    }
}

fn model_of(imported: Result<Imported, Vec<Problem>>) -> String {
    let files = imported.unwrap_or_else(|problems| panic!("{:#?}", told(&problems))).files;
    let model = files.into_iter().find(|(name, _)| name.ends_with("model.json"));
    model.expect("a model").1
}

#[test]
fn channels_are_measured_together_and_images_brought_to_a_size() {
    let flat = |text: &str| text.split('\n').map(str::trim).collect::<Vec<_>>().join(" ");
    let together = |text: String| {
        let text = flat(&text);
        let (before, after) = text.split_once("NormalizeIntensityd").expect("the transform");
        before.to_owned()
            + "NormalizeIntensityd"
            + &after.replacen(r#""channel_wise": true"#, r#""channel_wise": false"#, 1)
    };
    let imported = import(&golden().join("mr_overlapping"), together, &Options::default());
    let model = model_of(imported);
    assert_eq!(flat(&model).matches(r#""together": true"#).count(), 4, "{model}");
    let resized = |text: String| {
        let by = r#""_target_": "Resized", "spatial_size": [96, -1, 48], "mode": "trilinear", "#;
        flat(&text).replace(r#""_target_": "EnsureTyped","#, by)
    };
    let imported = import(&golden().join("spleen"), resized, &Options::default());
    let model = model_of(imported);
    let numbers: String = model.split_whitespace().collect();
    assert!(numbers.contains(r#""size":[96"#) && numbers.contains(r#"0,48"#), "{model}");
}

#[test]
fn a_spline_brings_results_back_as_it_took_the_image() {
    let flat = |text: &str| text.split_whitespace().collect::<String>();
    let with = |by: &'static str, nearest: bool| {
        let change = move |text: String| {
            let text = flat(&text).replace(r#""mode":"bilinear""#, by);
            if nearest { text.replace(r#""nearest_interp":false"#, r#""nearest_interp":true"#) } else { text }
        };
        flat(&model_of(import(&golden().join("spleen"), change, &Options::default())))
    };
    let zeros = with(r#""mode":3,"padding_mode":"zeros""#, false);
    assert!(zeros.contains(r#""method":"bspline","order":3,"outside":0}"#), "{zeros}");
    assert!(zeros.contains(r#""back":"bspline","outside":"zero","order":3,"#), "{zeros}");
    let aligned = with(r#""mode":[5],"padding_mode":["reflection"],"align_corners":[true]"#, false);
    let keys = r#""order":5,"ends":"reflect","aligned":true"#;
    assert_eq!(aligned.matches(keys).count(), 2, "{aligned}");
    let nearest = with(r#""mode":4"#, true);
    assert!(nearest.contains(r#""order":4,"ends":"edge""#) && nearest.contains(r#""back":"nearest""#), "{nearest}");
}

#[test]
fn orientation_after_resampling_is_refused() {
    let swap = |text: String| {
        let orient = "\"_target_\": \"Orientationd\",\n                \"keys\": \"@image_key\",\n                \"axcodes\": \"RAS\"";
        let space = "\"_target_\": \"Spacingd\",\n                \"keys\": \"@image_key\",\n                \"pixdim\": [\n                    1.5,\n                    1.5,\n                    2.0\n                ],\n                \"mode\": \"bilinear\"";
        assert!(text.contains(orient) && text.contains(space));
        text.replace(orient, "ORIENT").replace(space, orient).replace("ORIENT", space)
    };
    let problems = import(&golden().join("spleen"), swap, &Options::default()).err().unwrap_or_default();
    assert!(
        told(&problems)[0].contains("the transform Orientationd, expected Orientationd before whatever"),
        "{problems:#?}"
    );
}
