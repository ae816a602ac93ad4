//! Imports of CERR's model configurations, held against what they mean; files of CERR are read where they are at hand.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use contourd::document::{self, Node, Problem, Problems, Value};
use contourd::pipeline::import::{Imported, cerr};
use contourd::pipeline::{Model, Pipeline};

/// Where CERR's own files are, if they are there. They are not part of this repository.
fn published() -> Option<Vec<(String, String)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/cerr-configs");
    folder.is_dir().then(|| texts(&folder))
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cerr")
}

fn texts(folder: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    paths.retain(|path| name(path).contains("_config") && name(path).ends_with(".json"));
    paths.sort();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).expect("a text"))).collect()
}

fn one(name: &str, text: &str) -> Result<Imported, Vec<String>> {
    let result = cerr::import(&[(name.to_owned(), text.to_owned())]).remove(0);
    result.map_err(|problems| problems.iter().map(Problem::to_string).collect())
}

/// What is wrong with the files that an import wrote, as the gateway would tell it.
fn problems_of(imported: &Imported) -> Vec<String> {
    let mut told = Vec::new();
    for (path, text) in &imported.files {
        let mut problems = Problems::of(path.display().to_string());
        if let Some(node) = document::parse(text, &mut problems) {
            if path.starts_with("models") {
                Model::parse(&node, &mut problems);
            } else {
                Pipeline::parse(&node, &mut problems);
            }
        }
        told.extend(problems.into_vec().iter().map(Problem::to_string));
    }
    told
}

/// A document without comments, keys sorted, a line for each value.
fn canonical(text: &str) -> String {
    fn write(node: &Node, indent: usize, out: &mut String) {
        let inner = " ".repeat(indent + 2);
        let join = |parts: Vec<String>| parts.join(",\n");
        let part = |key: String, node: &Node| {
            let mut text = format!("{inner}{key}");
            write(node, indent + 2, &mut text);
            text
        };
        match &node.value {
            Value::Object(fields) if !fields.is_empty() => {
                let mut fields: Vec<_> = fields.iter().collect();
                fields.sort_by_key(|(key, _)| key);
                let parts = fields.iter().map(|(key, node)| part(format!("{key:?}: "), node)).collect();
                out.push_str(&format!("{{\n{}\n{}}}", join(parts), " ".repeat(indent)));
            }
            Value::Array(items)
                if items.iter().any(|item| matches!(item.value, Value::Object(_) | Value::Array(_))) =>
            {
                let parts = items.iter().map(|item| part(String::new(), item)).collect();
                out.push_str(&format!("[\n{}\n{}]", join(parts), " ".repeat(indent)));
            }
            Value::Array(items) => {
                let parts: Vec<String> = items.iter().map(plain).collect();
                out.push_str(&format!("[{}]", parts.join(", ")));
            }
            _ => out.push_str(&plain(node)),
        }
    }
    fn plain(node: &Node) -> String {
        match &node.value {
            Value::Null => "null".to_owned(),
            Value::Bool(flag) => flag.to_string(),
            Value::Number(_, text) => text.clone(),
            Value::String(text) => format!("{text:?}"),
            Value::Array(_) => "[]".to_owned(),
            Value::Object(_) => "{}".to_owned(),
        }
    }
    let node = document::parse(text, &mut Problems::of("f")).expect("JSON");
    let mut out = String::new();
    write(&node, 0, &mut out);
    out + "\n"
}

#[test]
fn our_own_files_give_what_they_gave() {
    let texts = texts(&golden());
    assert_eq!(texts.len(), 10);
    let bless = std::env::var_os("CONTOURD_BLESS").is_some();
    let mut wrong = Vec::new();
    for (name, text) in &texts {
        let imported = one(name, text).unwrap_or_else(|told| panic!("{name}: {told:#?}"));
        assert_eq!(imported.not_expressed, Vec::<String>::new(), "{name}");
        assert_eq!(problems_of(&imported), Vec::<String>::new(), "{name}");
        for (path, text) in &imported.files {
            let model = path.starts_with("models");
            let id = if model { path.parent().and_then(Path::file_name) } else { path.file_stem() };
            let id = id.expect("an id").to_string_lossy().into_owned();
            let expected = golden().join(format!("{id}.{}.json", if model { "model" } else { "pipeline" }));
            let found = canonical(text);
            if bless {
                fs::write(&expected, &found).expect("written");
            }
            if fs::read_to_string(&expected).ok().as_ref() != Some(&found) {
                wrong.push(format!("{}\n{found}", expected.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "write them anew with CONTOURD_BLESS=1 if this is meant:\n{}", wrong.join("\n"));
}

#[test]
fn published_files_are_read_whole_alone_and_together() {
    let Some(texts) = published() else {
        eprintln!("skipped: CERR's files are not at hand");
        return;
    };
    assert_eq!(texts.len(), 22);
    let mut wrong = BTreeSet::new();
    let alone = texts.iter().map(|(name, text)| one(name, text));
    let told = |problems: Vec<Problem>| problems.iter().map(Problem::to_string).collect::<Vec<String>>();
    let together = cerr::import(&texts).into_iter().map(|result| result.map_err(told));
    for (result, (name, _)) in alone.chain(together).zip(texts.iter().chain(&texts)) {
        match result {
            Ok(imported) => {
                assert_eq!(imported.not_expressed, Vec::<String>::new(), "{name}");
                wrong.extend(problems_of(&imported));
            }
            Err(told) => wrong.extend(told),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The files of one import, without comments, on one line.
fn flat(imported: &Imported, index: usize) -> String {
    let text = canonical(&imported.files[index].1);
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn published_files_mean_what_cerr_means() {
    let Some(texts) = published() else {
        eprintln!("skipped: CERR's files are not at hand");
        return;
    };
    let of = |name: &str| {
        let (name, text) = texts.iter().find(|(known, _)| known == name).expect("a file");
        one(name, text).expect("imported")
    };
    let lung = of("CT_LungOAR_incrMRRN_config.json");
    let post = r#""Cord": [ { "op": "remove_background", "threshold": -400 }, { "combine": "intersection", "count": 1, "neighbours": "corners", "op": "largest_component", "size": "voxels", "ties": "cerr" } ]"#;
    holds(
        &flat(&lung, 0),
        &[
            post,
            r#"{ "op": "pad_or_crop", "size": [512, 512] }"#,
            r#""orientation": "SRA""#,
            r#""version": "64907""#,
            r#""imageOffset": 1024"#,
        ],
    );
    holds(&flat(&lung, 1), &[r#":Cord": { "name": "SpinalCord" }"#, r#":PBT": { "name": "AirWay_Prox" }"#]);
    let head = of("CT_HeadAndNeck_SelfAttention_config.json");
    let spline = r#"{ "method": "spline", "op": "resample", "outside": 0, "spacing_mm": [0, 1, 1] }"#;
    holds(
        &flat(&head, 0),
        &[
            spline,
            r#""region": "patient_outline_2d""#,
            r#"{ "op": "window_2d", "size": [256, 256] }"#,
            r#""Spinal cord": 8"#,
        ],
    );
    let heart = of("CT_HeartSubStructures_DeepLab_config.json");
    holds(
        &flat(&heart, 0),
        &[
            r#"{ "name": "totallung", "optional": true }"#,
            r#""Lungs", "Lungs_NOT_GTV"], "region": "structure""#,
            r#""AORTA": 2"#,
        ],
    );
    let lungs = of("CT_CBCT_Lung_Fullshot_AnatomicCtxShape_config.json");
    holds(
        &flat(&lungs, 0),
        &[
            r#""names": ["GTV_copy"], "region": "structure_center", "size": [48, 192, 192]"#,
            r#""place": "index""#,
            r#""kind": "deformation""#,
        ],
    );
    // Results belong to the last scan, so it comes first; channels keep the order of the file.
    holds(&flat(&lungs, 0), &[r#""channels": [ { "of": "first" }, { "of": "last" }, { "structure": "GTV_copy" } ]"#]);
    holds(&flat(&lungs, 1), &[r#""GTV_copy": ["GTV_copy", "GTV"]"#, r#""pick": "last""#, r#""same": "patient""#]);
    let prostate = of("MR_Prostate_DeepLab_config.json");
    holds(&flat(&prostate, 0), &[r#""spacing_mm": [2, 1, 1]"#, r#""input": "ImageTensor:0""#, r#""op": "invert""#]);
    let flat_one = of("CT_Atria_DeepLab_config_new1.json");
    holds(
        &flat(&flat_one, 0),
        &[r#"{ "add": 1024, "op": "offset" }"#, r#""names": ["lung_l", "lung_right"]"#, r#""schema": "flat""#],
    );
}

#[test]
fn files_of_one_call_are_chained() {
    let Some(texts) = published() else {
        eprintln!("skipped: CERR's files are not at hand");
        return;
    };
    let three: Vec<(String, String)> = texts.into_iter().filter(|(name, _)| name.contains("DeepLabV3")).collect();
    assert_eq!(three.len(), 3);
    let last = cerr::import(&three).remove(2).expect("imported");
    let pipeline = flat(&last, 1);
    holds(
        &pipeline,
        &[
            r#""ct-chewingstructures-deeplabv3:crop_for_chewing_structs""#,
            r#"["ct-larynx-deeplabv3:Larynx_DLabV3", "ct-larynx-deeplabv3:crop_for_larynx"]"#,
            r#""drawn": { "optional": true, "structures": { "OUTER_1": ["OUTER_1"] } }"#,
            r#"{ "name": "Musc_Constrict" }"#,
        ],
    );
}

/// A configuration of the newest generation with one thing in its scan, or in its output.
fn with(scan: &str, map: &str) -> String {
    format!(
        r#"{{"input": {{"structure": {{"name": ["A", "B"]}}, "scan": {{"identifier": {{"imageType": "CT SCAN"}}{scan}}}}},
          "output": {{"labelMap": {{"strNameToLabelMap": [{{"structureName": "Left Parotid", "value": 1}}]{map}}}}}}}"#
    )
}

#[test]
fn uptake_values_and_images_reach_the_pipeline() {
    let text = r#"{"input": {"scan": [
        {"identifier": {"imageType": "PT SCAN"}, "channels": {"imageType": {"suv": {"suvType": {"val": "BW"}}}}},
        {"identifier": {"imageType": "CT SCAN"}}]},
        "output": {"labelMap": {"strNameToLabelMap": [{"structureName": "GTV", "value": 1}]},
                   "DVF": {"outputFormat": "H5"}, "derivedImage": {"outputFormat": "H5", "imageType": "TBR"}}}"#;
    let imported = one("X_config.json", text).unwrap_or_else(|told| panic!("{told:#?}"));
    assert_eq!((imported.not_expressed.as_slice(), problems_of(&imported)), ([].as_slice(), Vec::new()));
    let parts = [
        r#""unit": "suv_bw""#,
        r#"{ "registration": { "moving": "ct", "of": "x:DVF" } }"#,
        r#"{ "derived_image": { "of": "x:TBR" } }"#,
    ];
    holds(&flat(&imported, 1), &parts);
    let body = text.replace("BW", "LBM");
    let imported = one("X_config.json", &body).unwrap_or_else(|told| panic!("{told:#?}"));
    assert_eq!(imported.not_expressed, ["suv LBM: only SUV by body weight (BW) is known"]);
}

#[test]
fn every_method_of_the_vocabulary_is_an_operation() {
    let crop = |method: &str, params: &str| format!(r#", "crop": {{"method": "{method}", "params": {params}}}"#);
    let cases = [
        (crop("crop_fixed_amt", r#"{"margins": [1, 20, 3, 40, 5, 6]}"#), r#"{ "columns": [3, 40], "region": "box", "rows": [1, 20], "slices": [5, 6] }"#),
        (crop("crop_to_bounding_box", r#"{"label": 2}"#), r#"{ "names": ["B"], "region": "structure" }"#),
        (crop("crop_to_bounding_box_2D", r#"{"label": 1}"#), r#"{ "names": ["A"], "region": "structure_2d" }"#),
        (crop("crop_to_str_2d", r#"{"structureName": "C"}"#), r#"{ "names": ["C"], "region": "structure_2d" }"#),
        (crop("crop_around_center", r#"{"margins": [100, 200]}"#), r#"{ "region": "center", "size": [200, 100] }"#),
        (crop("crop_around_structure_center", r#"{"structureName": "A", "margins": [10, 20]}"#), r#"{ "names": ["A"], "region": "structure_center", "size": [10, 20] }"#),
        (crop("crop_around_center_of_mass", r#"{"structureName": "A", "margins": [1, 2, 3], "marginUnits": "cm"}"#), r#"{ "names": ["A"], "region": "center_of_mass", "size": [3, 1, 2], "unit": "cm" }"#),
        (crop("crop_pt_outline", r#"{"structureName": "BODY", "outlineThreshold": -300, "minMaskSize": 900, "saveStrToPlanCFlag": "Yes", "outStrName": "found"}"#), r#"{ "minimum_pixels": 900, "region": "patient_outline", "save_as": "found", "structure": "BODY", "threshold": -300 }"#),
        (crop("crop_shoulders", r#"{"structureName": "BODY"}"#), r#"{ "region": "shoulders", "structure": "BODY" }"#),
        (crop("crop_sup_inf", r#""""#), r#"{ "names": ["A", "B"], "region": "superior_inferior" }"#),
        (crop("crop_for_chewing_structs", r#"{"structureName": "BODY", "headSizeLimitCm": 23}"#), r#"{ "head_size_cm": 23, "region": "chewing_structures", "structure": "BODY" }"#),
        (crop("crop_for_pancreas", r#"{"scan": "fixed", "threshold": 0.1}"#), r#"{ "region": "pancreas", "save_as": "bounding_box", "threshold": 0.1 }"#),
        (r#", "resize": {"method": "padOrCrop3d", "size": [512, 500], "preserveAspectRatio": "Yes"}"#.to_owned(), r#"{ "op": "pad_or_crop", "preserve_aspect": true, "size": [512, 500] }"#),
        (r#", "resize": [{"method": "pad3d", "size": [512, 512, 80]}, {"method": "unpad3d", "size": [256, 256]}]"#.to_owned(), r#"{ "op": "pad_to", "size": [80, 512, 512] }, { "op": "crop_to", "size": [256, 256] }"#),
        (r#", "resize": [{"method": "sinc", "size": [128, 96]}, {"method": "unpadSlices", "size": 40}]"#.to_owned(), r#"{ "method": "lanczos3", "op": "resize", "size": [128, 96] }, { "count": 40, "op": "crop_slices" }"#),
        (r#", "resample": {"resolutionXCm": 0.1, "resolutionYCm": 0.2, "resolutionZCm": 0.3, "method": "sinc"}"#.to_owned(), r#"{ "method": "sinc", "op": "resample", "outside": 0, "spacing_mm": [3, 2, 1] }"#),
        (r#", "channels": {"imageType": {"zScore": {}}, "slice": "current-2"}"#.to_owned(), r#"{ "of": "ct", "pre": [ { "by": "z_score", "ddof": 1, "on": "inside", "op": "normalise" } ], "slice": -2 }"#),
        (r#", "channels": {"imageType": {"Mean": {"KernelSize": {"val": [3, 5, 7]}}}}"#.to_owned(), r#""op": "mean", "size": [7, 3, 5]"#),
        (r#", "channels": {"imageType": {"LoG": {"Sigma_mm": {"val": 2}, "CutOff_mm": {"val": 6}}}}"#.to_owned(), r#""cutoff": 3, "op": "log", "sigma_mm": [2, 2, 2]"#),
        (r#", "channels": {"imageType": {"LawsEnergy": {"Direction": "2d", "Type": "L5E5", "Normalize": "yes", "EnergyKernelSize": [7, 7]}}}"#.to_owned(), r#""kernel": "L5E5", "normalised": true, "op": "laws_energy", "size": [1, 7, 7]"#),
        (r#", "channels": {"imageType": {"Wavelets": {"Wavelets": "db", "Index": "3", "Direction": "HL", "RotationInvariance": {"AggregationMethod": "avg", "Dim": "2d"}}}}"#.to_owned(), r#"{ "band": "HL", "op": "wavelet", "rotations": "avg", "wavelet": "db3" }"#),
        (r#", "channels": {"imageType": {"Gabor": {"Sigma_mm": 2, "Wavlength_mm": 4, "Orientation": [0, 45], "SpatialAspectRatio": 0.5}}}"#.to_owned(), r#""gamma": 0.5, "op": "gabor", "sigma_mm": 2, "theta": [0, 45], "wavelength_mm": 4"#),
        (r#", "channels": {"imageType": {"SimpleITK": {"sitkFilterName": {"val": "GradientImageFilter"}}}}"#.to_owned(), r#"{ "op": "gradient" }"#),
        (
            r#", "channels": {"imageType": {"SimpleITK": {"sitkFilterName": {"val": "N4BiasFieldCorrectionImageFilter"},
                "shrinkFactor": {"val": 2}, "numFittingLevels": {"val": 3}, "numIterations": {"val": 40}}}}"#
                .to_owned(),
            r#"{ "iterations": [40, 40, 40], "op": "n4", "shrink": 2 }"#,
        ),
        (
            r#", "channels": {"imageType": {"SimpleITK": {"sitkFilterName": "LaplacianRecursiveGaussianImageFilter"}}}"#
                .to_owned(),
            r#"{ "op": "laplacian_recursive_gaussian" }"#,
        ),
        (r#", "channels": {"imageType": {"Sobel": {}}}"#.to_owned(), r#"{ "give": "magnitude", "op": "sobel" }"#),
    ];
    for (scan, expected) in &cases {
        let imported = one("X_config.json", &with(scan, "")).unwrap_or_else(|told| panic!("{scan}: {told:#?}"));
        assert_eq!(imported.not_expressed, Vec::<String>::new(), "{scan}");
        assert_eq!(problems_of(&imported), Vec::<String>::new(), "{scan}");
        holds(&flat(&imported, 0), &[expected]);
    }
}

#[test]
fn post_processing_is_done_where_cerr_lost_it() {
    let methods = r#"[{"method": "getSegInROI", "params": {"roiName": "BODY"}}, {"method": "none", "operator": "union"},
        {"method": "getLargestOverlappingComp", "params": {"roiName": "BODY"}, "operator": "intersection"},
        {"method": "removeBackgroundFP", "params": {"threshold": -500}, "operator": "intersection"},
        {"method": "getLargestConnComps", "params": {"numCC": 2}, "operator": "union"}]"#;
    // MATLAB cannot have a key with a blank; here both spellings name the structure.
    for key in ["Left Parotid", "LeftParotid", "left_parotid"] {
        let imported =
            one("X_config.json", &with("", &format!(r#", "postProc": {{"{key}": {methods}}}"#))).expect("imported");
        assert_eq!(problems_of(&imported), Vec::<String>::new());
        let expected = r#""post": { "Left Parotid": [ { "of": ["BODY"], "op": "keep_inside" }, { "combine": "intersection", "of": ["BODY"], "op": "largest_overlap", "without_overlap": "first" }, { "combine": "intersection", "op": "remove_background", "threshold": -500 }, { "combine": "union", "count": 2, "#;
        holds(&flat(&imported, 0), &[expected, r#""structures_in": ["A", "B", "BODY"]"#]);
    }
}

#[test]
fn crops_fold_from_left_to_right() {
    let crop = |list: &str| one("X_config.json", &with(&format!(r#", "crop": [{list}]"#), "")).expect("imported");
    let to = |name: &str, operator: &str| {
        format!(r#"{{"method": "crop_to_str", "params": {{"structureName": "{name}"}}, "operator": "{operator}"}}"#)
    };
    let none = |operator: &str| format!(r#"{{"method": "none", "params": "", "operator": "{operator}"}}"#);
    let cases = [
        (
            vec![to("P", ""), to("Q", "union"), to("R", "intersection")],
            r#"[ { "names": ["P", "Q"], "region": "structure" }, { "combine": "intersection", "names": ["R"], "region": "structure" } ]"#,
        ),
        (vec![to("P", ""), to("Q", "")], r#"[ { "names": ["Q"], "region": "structure" } ]"#),
        (vec![none(""), to("P", "intersection")], r#"[ { "names": ["P"], "region": "structure" } ]"#),
        (vec![to("P", ""), none("intersection")], r#"[ { "names": ["P"], "region": "structure" } ]"#),
    ];
    for (list, expected) in cases {
        holds(&flat(&crop(&list.join(", ")), 0), &[&format!(r#"{{ "op": "crop", "regions": {expected} }}"#)]);
    }
    for whole in [vec![to("P", ""), none("union")], vec![none(""), to("P", "union")], vec![to("P", ""), none("")]] {
        assert!(!flat(&crop(&whole.join(", ")), 0).contains("\"crop\""), "{whole:?}");
    }
}

#[test]
fn mistakes_are_told_with_place_and_cure() {
    let told = |text: &str| one("X_config.json", text).expect_err("something is wrong");
    let cases = [
        (with(r#", "resise": {}"#, ""), r#"input.scan.resise: found the unknown key "resise", expected only the keys"#, r#"did you mean "resize"?"#),
        (with(r#", "crop": {"method": "crop_to_strct", "params": {"structureName": "A"}}"#, ""), r#"X_config.json:1: input.scan.crop.method: found "crop_to_strct", expected one of none, crop_fixed_amt"#, r#"did you mean "crop_to_str"?"#),
        (with(r#", "crop": {"method": "crop_to_bounding_box", "params": {"label": 3}}"#, ""), "found the number 3, expected a label of input.structure: 1 (A), 2 (B)", ""),
        (with(r#", "resample": {"resolutionXCm": 0.1, "method": "linear"}"#, ""), "found resolutionXCm alone, expected resolutionXCm and resolutionYCm together", ""),
        (with(r#", "channels": {"slice": "next"}"#, ""), r#"found the text "next", expected "current""#, ""),
        (with(r#", "identifier": {}"#, ""), r#"found "identifier" a second time"#, ""),
        (with("", r#", "postProc": {"Right Parotid": {"method": "none"}}"#), r#"found "Right Parotid", expected a structure of strNameToLabelMap: Left Parotid"#, ""),
        (with("", r#", "postProc": {"Left Parotid": [{"method": "none"}, {"method": "none"}]}"#), r#"found no "operator""#, r#"add "operator": "intersection""#),
        (with("", r#", "postProc": {"Left Parotid": {"method": "getLargestConComps"}}"#), r#"found "getLargestConComps""#, r#"did you mean "getLargestConnComps"?"#),
        (r#"{"scan": {}, "strNameToLabelMap": [{"structureName": "a", "value": 1}, {"structureName": "a", "value": 2}]}"#.to_owned(), "each name and each value once", ""),
        (r#"{"scan": {}}"#.to_owned(), "found no output", ""),
        ("[1]".to_owned(), "found an array of 1, expected an object", ""),
    ];
    for (text, first, second) in cases {
        let told = told(&text);
        assert!(told.iter().any(|line| line.contains(first) && line.contains(second)), "{first} {second}\n{told:#?}");
    }
}
