//! What a pipeline makes besides its structure set: segmentations, registrations and derived images, through
//! `contourd segment`, on the phantom and a network that gives all of them. Foreign readers are shown the same files by
//! `integration/readers`.

#[path = "outputs/documents.rs"]
mod documents;
mod gateway;
mod onnx_stand_in;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use contourd::assemble;
use contourd::dicom::instance::items;
use contourd::dicom::{Instance, Uid};
use contourd::output::{rtstruct, seg};
use contourd::phantom::Identity;
use contourd::volume::Volume;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use gateway::{configure, thorax, write_series};
use onnx_stand_in::{StandIn, onnx};
use sha2::{Digest, Sha256};

const MODEL: &str = r#"{"id": "fuse", "name": "Fuse", "version": "1", "file": "model.onnx", "licence": "Apache-2.0",
 "reference": "none", "intended_use": "tests", "algorithm": "deterministic",
 "inputs": {"before": {}, "after": {}}, "tensor": {"layout": "NCDHW", "input": "image", "output": "scores"},
 "window": {"patch": ["all", "all", "all"]},
 "output": {"activation": "none", "decision": "argmax", "labels": {"Soft": 1, "Dense": 2}},
 "images": {"mean": {"output": "mean", "kind": "image", "channels": [0]},
            "field": {"output": "field", "kind": "deformation", "channels": [0, 1, 2]}},
 "structures": ["Soft", "Dense"]}"#;

const INPUTS: &str = r#""inputs": {
  "before": {"all": [{"tag": "Modality", "eq": "CT"}], "pick": "first"},
  "after": {"all": [{"tag": "Modality", "eq": "CT"}], "pick": "last"}},
 "steps": [{"id": "fuse", "model": "fuse", "in": {"before": "before", "after": "after"}}]"#;

const STRUCTURES: &str = r#""structures": {
  "fuse:Soft": {"name": "Brain", "type": "ORGAN", "color": [0, 255, 0]},
  "fuse:Dense": {"name": "Bone", "type": "ORGAN", "color": [255, 0, 0]}}"#;

/// Air scores best below -350 HU, bone above 140 HU.
const CLASSES: [(f32, f32); 3] = [(-1.0, -700.0), (0.0, 0.0), (1.0, -140.0)];

fn run(rest: &str) -> Result<(BTreeMap<String, Vec<PathBuf>>, Vec<PathBuf>, tempfile::TempDir), String> {
    run_with(&CLASSES, rest)
}

/// Runs a pipeline on two series of the phantom; the objects that it made, by the prefix of their files.
fn run_with(
    classes: &[(f32, f32)],
    rest: &str,
) -> Result<(BTreeMap<String, Vec<PathBuf>>, Vec<PathBuf>, tempfile::TempDir), String> {
    run_on(classes, rest, &|_| ())
}

/// The same on images each of which was changed.
fn run_on(
    classes: &[(f32, f32)],
    rest: &str,
    change: &dyn Fn(&Path),
) -> Result<(BTreeMap<String, Vec<PathBuf>>, Vec<PathBuf>, tempfile::TempDir), String> {
    let folder = tempfile::tempdir().expect("a folder");
    let inputs = if rest.contains(r#""steps": [{"#) { String::new() } else { format!("{INPUTS},") };
    let pipeline = format!(r#"{{"id": "fuse", "revision": 1, "mode": "live", {inputs} {rest}}}"#);
    configure(folder.path(), 11_112, 11_113, &[("fuse", &pipeline)]);
    fs::remove_file(folder.path().join("models")).expect("removed");
    let model = folder.path().join("models/fuse");
    fs::create_dir_all(&model).expect("a folder");
    let network = onnx(&StandIn {
        layout: "NCDHW",
        input: "image",
        output: "scores",
        channels: 2,
        sides: &[None, None, None],
        bytes: false,
        classes,
        label_map: false,
        images: &[("mean", 1), ("field", 3)],
    });
    let digest: String = Sha256::digest(&network).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(model.join("model.onnx"), network).expect("written");
    let text = MODEL.replace(r#""licence""#, &format!(r#""sha256": "{digest}", "licence""#));
    fs::write(model.join("model.json"), text).expect("written");
    let first = Identity::of(&thorax());
    let second = Identity { series_instance_uid: Uid::derived(["second"]), time: "130000".to_owned(), ..first.clone() };
    let images = write_series(&folder.path().join("in/first"), &thorax(), &first);
    let more = write_series(&folder.path().join("in/second"), &thorax(), &second);
    images.iter().chain(&more).for_each(|image| change(image));
    let program = Command::new(env!("CARGO_BIN_EXE_contourd"))
        .arg("segment")
        .arg(folder.path().join("in"))
        .arg("--output")
        .arg(folder.path().join("out"))
        .arg("--config")
        .arg(folder.path())
        .output()
        .expect("the command runs");
    let said = String::from_utf8_lossy(&program.stdout).into_owned() + &String::from_utf8_lossy(&program.stderr);
    if !program.status.success() {
        return Err(said);
    }
    Ok((objects(&folder.path().join("out")), images, folder))
}

fn objects(folder: &Path) -> BTreeMap<String, Vec<PathBuf>> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for path in fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "dcm") {
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                let prefix = name.split('.').next().expect("a prefix").to_owned();
                found.entry(prefix).or_default().push(path);
            }
        }
    }
    found
}

fn instance(path: &Path) -> Instance {
    Instance::read_part10(fs::File::open(path).expect("a file")).expect("an instance")
}

fn load(files: &[PathBuf]) -> Volume {
    let instances: Vec<Instance> = files.iter().map(|file| instance(file)).collect();
    let plan = assemble::plan(&instances).unwrap_or_else(|refused| panic!("{:?}", refused.len()));
    assemble::load(&plan, &|index| fs::read(&files[index])).unwrap_or_else(|error| panic!("{error}"))
}

fn bytes_of(object: &dicom_object::InMemDicomObject, tag: Tag) -> Vec<u8> {
    object.element(tag).expect("the element").to_bytes().expect("bytes").into_owned()
}

fn has_runtime() -> bool {
    let there = contourd::onnx::check_library().is_ok();
    if !there {
        println!("skipped: ONNX Runtime's library is not at hand");
    }
    there
}

#[test]
fn every_output_holds_what_the_network_gave() {
    if !has_runtime() {
        return;
    }
    let (found, images, folder) = run(&format!(
        r#"{STRUCTURES}, "outputs": [{{"rtstruct": {{"label": "AUTO"}}}}, {{"seg": {{"label": "AUTO"}}}},
            {{"registration": {{"of": "fuse:field", "moving": "after"}}}},
            {{"derived_image": {{"of": "fuse:mean", "as": "ct", "description": "synthetic"}}}},
            {{"derived_image": {{"of": "fuse:mean", "as": "mr"}}}}, {{"derived_image": {{"of": "fuse:mean"}}}},
            {{"sr": {{}}}}, {{"pdf": {{}}}}, {{"secondary_capture": {{}}}}],
          "deliver": [{{"to": "tps", "outputs": ["rtstruct", "derived_image"]}}]"#
    ))
    .unwrap_or_else(|said| panic!("{said}"));
    let counts: Vec<(&str, usize)> = found.iter().map(|(prefix, files)| (prefix.as_str(), files.len())).collect();
    let (slices, captures) = (images.len(), found["SC"].len());
    assert_eq!(
        counts,
        [
            ("CT", slices),
            ("DOC", 1),
            ("MR", slices),
            ("PM", 1),
            ("REG", 1),
            ("RS", 1),
            ("SC", captures),
            ("SEG", 1),
            ("SR", 1)
        ]
    );
    let original = load(&images);
    let uids: BTreeSet<Uid> = found.values().flatten().map(|file| instance(file).sop_instance_uid).collect();
    assert_eq!(uids.len(), 2 * slices + captures + 6, "every object has its own UID");

    let bytes = fs::read(&found["SEG"][0]).expect("a file");
    let segments = seg::read(&bytes).unwrap_or_else(|error| panic!("{error}"));
    let drawn = rtstruct::read(&fs::read(&found["RS"][0]).expect("a file")).expect("a structure set");
    assert_eq!(segments.iter().map(|s| s.label.as_str()).collect::<Vec<_>>(), ["Brain", "Bone"]);
    for (segment, roi) in segments.iter().zip(&drawn.rois) {
        let mask = segment.mask.as_ref().expect("frames");
        let by_contours = roi.mask_on(&original.geometry).expect("a mask");
        // Our reader adds an empty plane at each end.
        let inner: Vec<bool> = mask.voxels.iter().copied().collect();
        assert_eq!(inner.iter().filter(|inside| **inside).count(), by_contours.count(), "{}", segment.label);
        assert!((mask.volume_cm3() / by_contours.volume_cm3() - 1.0).abs() < 1e-9, "{}", segment.label);
    }

    // Both series are the same, so that their mean is the image.
    let ct = load(&found["CT"]);
    assert_eq!(ct.geometry, original.geometry);
    assert_eq!(ct.pixels, original.pixels);
    let mr = load(&found["MR"]);
    assert_eq!(mr.pixels, original.pixels);

    let map = fs::read(&found["PM"][0]).expect("a file");
    let map = dicom_object::from_reader(map.as_slice()).expect("a data set");
    let values = bytes_of(&map, tags::FLOAT_PIXEL_DATA);
    let values: Vec<f32> = values.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    assert!(values.iter().eq(original.pixels.iter()), "the pixels of a parametric map are the values");

    let registration = dicom_object::open_file(&found["REG"][0]).expect("a data set");
    let item = &items(&registration, tags::DEFORMABLE_REGISTRATION_SEQUENCE)[0];
    let grid = &items(item, tags::DEFORMABLE_REGISTRATION_GRID_SEQUENCE)[0];
    let vectors = bytes_of(grid, tags::VECTOR_GRID_DATA);
    let vectors: Vec<f32> = vectors.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    let geometry = &original.geometry;
    let spacing = [geometry.column_spacing_mm(), geometry.row_spacing_mm(), geometry.slice_spacing_mm()];
    let normal = geometry.normal()[2];
    assert_eq!(vectors.len(), 3 * original.pixels.len());
    for (value, vector) in original.pixels.iter().zip(vectors.as_chunks::<3>().0).step_by(97) {
        // Channels give 1, 2 and 3 times the value, in voxels along columns, rows and slices of an axial image.
        let expected = [1.0, 2.0, 3.0 * normal].into_iter().zip(spacing).map(|(n, mm)| n * mm * f64::from(*value));
        for (found, expected) in vector.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-3 * expected.abs().max(1.0), "{found} {expected}");
        }
    }
    if let Some(shown) = std::env::var_os("CONTOURD_READERS_DIR") {
        let shown = PathBuf::from(shown).join("outputs");
        fs::create_dir_all(&shown).expect("a folder");
        for file in found.values().flatten().chain(&images) {
            fs::copy(file, shown.join(file.file_name().expect("a name"))).expect("copied");
        }
    }
    drop(folder);
}

#[test]
fn a_pipeline_of_images_alone_needs_no_structures_and_label_maps_hold_numbers() {
    if !has_runtime() {
        return;
    }
    let alone = r#""outputs": [{"derived_image": {"of": "fuse:mean"}}], "deliver": [{"to": "tps"}]"#;
    let (found, ..) = run(alone).unwrap_or_else(|said| panic!("{said}"));
    assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), ["PM"]);

    let label_map = format!(
        r#"{STRUCTURES}, "outputs": [{{"seg": {{"label": "AUTO", "kind": "label_map"}}}}], "deliver": [{{"to": "tps"}}]"#
    );
    let (found, images, folder) = run(&label_map).unwrap_or_else(|said| panic!("{said}"));
    let object = dicom_object::open_file(&found["SEG"][0]).expect("a data set");
    let original = load(&images);
    let numbers = bytes_of(&object, tags::PIXEL_DATA);
    let expected = original.pixels.iter().map(|&hu| if hu > 140.0 { 2 } else { u8::from(hu > -700.0) });
    let differing = numbers.iter().zip(expected).filter(|(found, expected)| **found != *expected).count();
    // Values on a border go to either side.
    assert!(differing < 20, "{differing} of {}", numbers.len());
    if let Some(shown) = std::env::var_os("CONTOURD_READERS_DIR") {
        let shown = PathBuf::from(shown).join("outputs");
        fs::create_dir_all(&shown).expect("a folder");
        fs::copy(&found["SEG"][0], shown.join("labelmap.dcm")).expect("copied");
    }
    let file = &found["SEG"][0];
    let compared = Command::new(env!("CARGO_BIN_EXE_contourd")).arg("compare").args([file, file]).output();
    let compared = compared.expect("the command runs");
    let said = String::from_utf8_lossy(&compared.stdout);
    assert!(compared.status.success() && said.contains("Bone") && said.contains("1.000"), "{said}");
    drop(folder);
}

#[test]
fn an_output_that_cannot_be_made_takes_no_other_with_it() {
    if !has_runtime() {
        return;
    }
    // Air everywhere: both structures are empty, and a segmentation has no frame.
    let air = [(0.0, 1.0), (0.0, 0.0), (0.0, 0.0)];
    let outputs = format!(
        r#"{STRUCTURES}, "outputs": [{{"seg": {{"label": "AUTO"}}}}, {{"derived_image": {{"of": "fuse:mean"}}}}],
          "deliver": [{{"to": "tps"}}]"#
    );
    let (found, _, folder) = run_with(&air, &outputs).unwrap_or_else(|said| panic!("{said}"));
    assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), ["PM"]);
    let report = found["PM"][0].with_file_name("report.html");
    let page = fs::read_to_string(report).expect("a report");
    assert!(page.contains("left out: seg: "), "{page}");
    drop(folder);
    let alone = format!(r#"{STRUCTURES}, "outputs": [{{"seg": {{"label": "AUTO"}}}}], "deliver": [{{"to": "tps"}}]"#);
    let said = run_with(&air, &alone).err().unwrap_or_default();
    assert!(said.contains("left out: seg: "), "{said}");
}

#[test]
fn a_structure_set_whose_steps_were_skipped_takes_no_other_with_it() {
    if !has_runtime() {
        return;
    }
    let rest = r#""inputs": {
          "before": {"all": [{"tag": "Modality", "eq": "CT"}], "pick": "first"},
          "after": {"all": [{"tag": "Modality", "eq": "CT"}], "pick": "last"},
          "drawn": {"optional": true, "structures": {"GTV": ["GTV"]}}},
        "steps": [{"id": "fuse", "model": "fuse", "in": {"before": "before", "after": "after"}},
          {"id": "near", "op": "grow", "radius_mm": 3, "in": "drawn:GTV", "as": "PTV", "on_failure": "skip"}],
        "structures": {"fuse:Soft": {"name": "Brain"},
          "near:PTV": {"name": "PTV", "type": "PTV", "color": [255, 0, 0]}},
        "outputs": [{"rtstruct": {"label": "A", "steps": ["fuse"]}}, {"rtstruct": {"label": "B", "steps": ["near"]}}],
        "deliver": [{"to": "tps"}]"#;
    let (found, _, folder) = run(rest).unwrap_or_else(|said| panic!("{said}"));
    assert_eq!(found["RS"].len(), 1);
    let page = fs::read_to_string(found["RS"][0].with_file_name("report.html")).expect("a report");
    assert!(page.contains("left out: the structure set B: none of its structures is left"), "{page}");
    assert!(page.contains(">not made<"), "{page}");
    drop(folder);
}

#[test]
fn each_part_can_be_a_structure_of_its_own() {
    if !has_runtime() {
        return;
    }
    let with = |bone: &str| {
        let rest = format!(
            r#""structures": {{"fuse:Soft": {{"name": "Brain"}},
                "fuse:Dense": {{{bone}, "type": "ORGAN", "color": [255, 0, 0]}}}},
              "outputs": [{{"rtstruct": {{"label": "AUTO"}}}}], "deliver": [{{"to": "tps"}}]"#
        );
        let (found, images, folder) = run(&rest).unwrap_or_else(|said| panic!("{said}"));
        let set = rtstruct::read(&fs::read(&found["RS"][0]).expect("a file")).expect("a structure set");
        let geometry = load(&images).geometry;
        drop(folder);
        let volumes =
            set.rois.iter().map(|roi| (roi.name.clone(), roi.mask_on(&geometry).expect("a mask").volume_cm3()));
        volumes.collect::<Vec<(String, f64)>>()
    };
    let whole = with(r#""name": "Dense""#);
    let parts = with(r#""name": "Dense_#", "each": true"#);
    let names: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
    // The phantom's spine and ribs do not touch.
    assert!(names.len() > 3 && names[..4] == ["Brain", "Dense_1", "Dense_2", "Dense_3"], "{names:?}");
    assert!(parts[1..].is_sorted_by(|a, b| a.1 >= b.1), "{parts:?}");
    let sum: f64 = parts[1..].iter().map(|(_, volume)| volume).sum();
    assert!((sum / whole[1].1 - 1.0).abs() < 1e-9, "{sum} {whole:?}");
}

#[test]
fn outputs_that_no_model_makes_are_refused() {
    let told = |rest: &str| run(rest).err().unwrap_or_default();
    for (rest, expected) in [
        (
            r#""outputs": [{"derived_image": {"of": "fuse:meen"}}], "deliver": [{"to": "tps"}]"#,
            "found \"meen\", expected an image that models/fuse/model.json makes (\"images\") (mean); did you mean \"mean\"?",
        ),
        (
            r#""outputs": [{"registration": {"of": "fuse:mean", "moving": "after"}}], "deliver": [{"to": "tps"}]"#,
            "found \"mean\", expected a deformation that models/fuse/model.json makes (\"images\") (field)",
        ),
        (
            r#""outputs": [{"registration": {"of": "fuse:field", "moving": "before"}}], "deliver": [{"to": "tps"}]"#,
            "outputs[0].registration.moving: found \"before\", expected an input of images that is not the primary one: after",
        ),
        (
            r#""outputs": [{"derived_image": {"of": "fuse:mean"}}], "deliver": [{"to": "tps", "outputs": ["seg"]}]"#,
            "deliver[0].outputs[0]: found \"seg\", which the pipeline does not make, expected a kind that stands in \"outputs\"",
        ),
        (
            r#""outputs": [{"seg": {"label": "A"}}], "deliver": [{"to": "tps"}]"#,
            "found no \"structures\", expected the structures that the outputs hold",
        ),
    ] {
        let said = told(rest);
        assert!(said.contains(expected), "{said}\n{expected}");
    }
}
