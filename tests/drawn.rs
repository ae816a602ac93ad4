//! Structures that come with the images: real structure sets and segmentations read onto real images, and pipelines
//! that take them, through `contourd segment`. What needs images that are not in the repository says so and passes.

mod gateway;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use contourd::assemble;
use contourd::dicom::Instance;
use contourd::output::rtstruct::{self, ParsedRoi, ParsedStructureSet};
use contourd::output::seg;
use contourd::volume::VolumeGeometry;
use sha2::{Digest, Sha256};

/// A folder of real images; none where they are not there.
fn data(folder: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(folder);
    if !folder.is_dir() {
        println!("skipped: {} is not there", folder.display());
        return None;
    }
    Some(folder)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

fn geometry(folder: &Path) -> Arc<VolumeGeometry> {
    let read = |path: &PathBuf| Instance::read_part10(fs::File::open(path).expect("a file")).expect("an instance");
    let instances: Vec<Instance> = files(folder).iter().map(read).collect();
    assemble::plan(&instances).unwrap_or_else(|_| panic!("{} is a volume", folder.display())).geometry
}

/// Volume of the polygons in cm3, by the shoelace formula, each as thick as the slices are apart.
fn polygon_cm3(roi: &ParsedRoi, geometry: &VolumeGeometry) -> f64 {
    let area = |points: &[[f64; 3]]| {
        let pairs = points.iter().zip(points.iter().cycle().skip(1));
        let sum = |axis: [usize; 2]| {
            pairs.clone().map(|(a, b)| a[axis[0]] * b[axis[1]] - a[axis[1]] * b[axis[0]]).sum::<f64>() / 2.0
        };
        [[1, 2], [2, 0], [0, 1]].map(sum).iter().map(|x| x * x).sum::<f64>().sqrt()
    };
    roi.contours.iter().map(|contour| area(&contour.points)).sum::<f64>() * geometry.slice_spacing_mm() / 1000.0
}

#[test]
fn real_structure_sets_become_voxels_of_their_volume() {
    for (series, images, name, expected_cm3) in [
        ("series/01_ct_thorax_4dlung_pinnacle", "ct", "Tumor_c40", Some(67.6)),
        ("series/01_ct_thorax_4dlung_pinnacle", "ct", "LN_c40", Some(6.4)),
        ("series/03_mr_thigh_sts001_siemens", "mr", "GTV_Mass", Some(364.8)),
        ("series/05_ct_thigh_sts002_crop", "ct", "GTV_Mass_CT", None),
    ] {
        let Some(folder) = data(series) else { return };
        let geometry = geometry(&folder.join(images));
        let set = rtstruct::read(&fs::read(folder.join("rtstruct/rs.dcm")).expect("a file")).expect("a structure set");
        let roi = set.rois.iter().find(|roi| roi.name == name).expect("the structure");
        let mask = roi.mask_on(&geometry).unwrap_or_else(|reason| panic!("{name}: {reason}"));
        assert_eq!(mask.geometry, geometry, "{name} lies on the slices");
        let (found, polygons) = (mask.volume_cm3(), polygon_cm3(roi, &geometry));
        println!("{series} {name}: {found:.1} cm3, polygons {polygons:.1} cm3");
        assert!((found / polygons - 1.0).abs() < 0.02, "{name}: {found} and {polygons}");
        assert!(expected_cm3.is_none_or(|expected| (found / expected - 1.0_f64).abs() < 0.03), "{name}: {found}");
    }
}

#[test]
fn real_segmentations_are_read_as_pydicom_reads_them() {
    let Some(folder) = data("quirks/other_sop") else { return };
    let read = |name: &str| {
        let found = seg::read(&fs::read(folder.join(name)).expect("a file")).unwrap_or_else(|error| panic!("{error}"));
        let segment = |segment: &seg::Segment| {
            let mask = segment.mask.as_ref().expect("a mask");
            let counts: Vec<usize> =
                mask.voxels.outer_iter().map(|slice| slice.iter().filter(|&&v| v).count()).collect();
            (segment.label.clone(), mask.geometry.positions_mm().to_vec(), counts)
        };
        found.iter().map(segment).collect::<Vec<_>>()
    };
    let near = |found: &[f64], expected: &[f64]| {
        assert_eq!(found.len(), expected.len(), "{found:?}");
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4), "{found:?} {expected:?}");
    };
    // Numbers of pydicom 3.0: pixels of each frame, and its position; an empty plane at each end and in each gap.
    let found = read("seg_image_ct_binary.dcm");
    let (label, positions, counts) = &found[0];
    assert_eq!((found.len(), label.as_str(), counts.as_slice()), (1, "first segment", &[0, 127, 256, 255, 0][..]));
    near(positions, &[101.77, 103.02, 104.27, 105.52, 106.77]);
    let found = read("seg_image_ct_binary_overlap.dcm");
    assert_eq!(found[0].2, [0, 16, 0, 0, 16, 16, 16, 0]);
    assert_eq!(found[1].2, [0, 4, 0, 0, 4, 4, 4, 0]);
    near(&found[1].1, &[-100.73, -99.48, -98.23, 101.77, 103.02, 104.27, 105.52, 106.77]);
    // A fraction of 128 of 255 is more than a half.
    let found = read("seg_image_ct_true_fractional.dcm");
    assert_eq!((found.len(), found[0].2.as_slice()), (1, &[0, 127, 256, 255, 0][..]));
}

/// A configuration folder with one pipeline, the shipped models, and one whose network cannot be loaded.
fn configured(pipeline: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    gateway::configure(folder.path(), 11_112, 11_113, &[("drawn", pipeline)]);
    let models = folder.path().join("models");
    let shipped = fs::read_link(&models).expect("a link");
    fs::remove_file(&models).expect("removed");
    fs::create_dir_all(models.join("broken")).expect("a folder");
    std::os::unix::fs::symlink(shipped.join("ct-basic"), models.join("ct-basic")).expect("a link");
    let network = b"not a network";
    fs::write(models.join("broken/model.onnx"), network).expect("written");
    let digest: String = Sha256::digest(network).iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!(
        r#"{{"id": "broken", "name": "B", "version": "1", "file": "model.onnx", "licence": "Apache-2.0",
             "sha256": "{digest}", "reference": "none", "intended_use": "tests", "algorithm": "deterministic",
             "inputs": {{"ct": {{}}}}, "tensor": {{"layout": "NCDHW"}}, "window": {{"patch": [8, "all", "all"]}},
             "output": {{"activation": "none", "decision": "argmax", "labels": {{"Heart": 1}}}},
             "structures": ["Heart"]}}"#
    );
    fs::write(models.join("broken/model.json"), text).expect("written");
    folder
}

/// Runs `contourd segment` on copies of files; what it said, whether it was good, and the structure sets.
fn segment(config: &Path, images: &[PathBuf]) -> (String, bool, Vec<ParsedStructureSet>) {
    let (input, output) = (config.join("in"), config.join("out"));
    let _ = fs::remove_dir_all(&output);
    let _ = fs::remove_dir_all(&input);
    fs::create_dir_all(&input).expect("a folder");
    for (index, file) in images.iter().enumerate() {
        fs::copy(file, input.join(format!("{index}.dcm"))).expect("copied");
    }
    let program = Command::new(env!("CARGO_BIN_EXE_contourd"))
        .arg("segment")
        .arg(&input)
        .arg("--output")
        .arg(&output)
        .arg("--config")
        .arg(config)
        .output()
        .expect("the command runs");
    let said = String::from_utf8_lossy(&program.stdout).into_owned() + &String::from_utf8_lossy(&program.stderr);
    let mut sets = Vec::new();
    let mut open = vec![output];
    while let Some(folder) = open.pop() {
        for path in fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "dcm") {
                sets.push(rtstruct::read(&fs::read(&path).expect("a file")).expect("a structure set"));
            }
        }
    }
    (said, program.status.success(), sets)
}

/// The folder of the results of the one case.
fn results(out: &Path) -> PathBuf {
    let mut entries = fs::read_dir(out).expect("a folder").map(|entry| entry.expect("an entry").path().join("drawn"));
    entries.find(|path| path.is_dir()).expect("results")
}

fn pipeline(on_failure: &str) -> String {
    format!(
        r#"{{"id": "drawn", "revision": 1, "mode": "live",
 "inputs": {{"ct": {{"all": [{{"tag": "Modality", "eq": "CT"}}]}},
            "rs": {{"structures": {{"GTV": ["no such name", "gtv_mass_ct"], "All": {{"union": ["x", "GTV_MASS_CT "]}},
                                  "Heart": ["Heart"]}}, "drawn_on": "any"}}}},
 "steps": [{{"id": "body", "model": "ct-basic", "in": {{"ct": "ct"}}}},
           {{"id": "prv", "op": "grow", "radius_mm": 5, "in": "rs:GTV", "as": "GTV_PRV05"}},
           {{"id": "parts", "post": {{
               "Shell": [{{"op": "take", "of": ["prv:GTV_PRV05"]}}, {{"op": "remove_inside", "of": ["rs:All"]}}],
               "Inside": [{{"op": "take", "of": ["Shell"]}}, {{"op": "keep_inside", "of": ["body:BODY"]}}]}}}},
           {{"id": "heart", "model": "broken", "in": {{"ct": "ct"}}{on_failure}}},
           {{"id": "heart_prv", "op": "grow", "radius_mm": 3, "in": "heart:Heart", "as": "Heart_PRV03"}},
           {{"id": "old", "op": "grow", "radius_mm": 3, "in": "rs:Heart", "as": "Old"{on_failure}}}],
 "structures": {{"prv:GTV_PRV05": {{"name": "GTV_PRV05", "type": "CONTROL", "color": [255, 0, 0]}},
                "parts:Shell": {{"name": "Shell", "type": "CONTROL", "color": [0, 0, 255]}},
                "parts:Inside": {{"name": "Inside", "type": "CONTROL", "color": [0, 255, 255]}},
                "heart_prv:Heart_PRV03": {{"name": "Heart_PRV03", "type": "CONTROL", "color": [0, 255, 0]}},
                "old:Old": {{"name": "Old", "type": "CONTROL", "color": [0, 255, 0]}}}},
 "outputs": [{{"rtstruct": {{"label": "AUTO"}}}}], "deliver": [{{"to": "tps"}}]}}"#
    )
}

#[test]
fn a_clinical_structure_is_worked_on_and_a_failed_step_leaves_the_rest() {
    let Some(series) = data("series/05_ct_thigh_sts002_crop") else { return };
    let images: Vec<PathBuf> = files(&series.join("ct")).into_iter().chain(files(&series.join("rtstruct"))).collect();

    let config = configured(&pipeline(r#", "on_failure": "skip""#));
    let (said, good, sets) = segment(config.path(), &images);
    assert!(good && sets.len() == 1, "{said}");
    for part in [
        "warning: step heart was skipped: model broken: ",
        "warning: step heart_prv was skipped: it needs heart:Heart, and heart was skipped: model broken",
        "warning: step old was skipped: it needs rs:Heart: found none of the names Heart among 1 structures",
        "warning: Heart_PRV03 is left out: it needs heart:Heart",
        "warning: Old is left out: it needs rs:Heart",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let names: Vec<&str> = sets[0].rois.iter().map(|roi| roi.name.as_str()).collect();
    assert_eq!(names, ["GTV_PRV05", "Shell", "Inside"]);
    let geometry = geometry(&series.join("ct"));
    let clinical = rtstruct::read(&fs::read(series.join("rtstruct/rs.dcm")).expect("a file")).expect("a structure set");
    let gtv = clinical.rois[0].mask_on(&geometry).expect("a mask").volume_cm3();
    let volume = |index: usize| sets[0].rois[index].volume_cm3.expect("a volume");
    // The margin is what it adds, and what it adds is all there is outside of the clinical contour.
    assert!((volume(0) - volume(1) - gtv).abs() < 0.05, "{} - {} is not {gtv}", volume(0), volume(1));
    assert!(volume(1) > 0.1 * gtv && volume(2) <= volume(1), "{} {}", volume(1), volume(2));
    let page = results(&config.path().join("out")).join("report.html");
    let page = fs::read_to_string(page).expect("a report");
    assert!(page.contains("step heart was skipped") && page.contains("left out: it needs heart:Heart"), "{page}");

    let config = configured(&pipeline(""));
    let (said, good, sets) = segment(config.path(), &images);
    assert!(!good && sets.is_empty() && said.contains("failed: step heart: model broken: "), "{said}");

    let (said, good, _) = segment(config.path(), &files(&series.join("ct")));
    assert!(!good && said.contains("drawn: waits for rs"), "{said}");
}

#[test]
fn a_result_of_our_own_is_no_input() {
    let Some(series) = data("series/05_ct_thigh_sts002_crop") else { return };
    let images: Vec<PathBuf> = files(&series.join("ct")).into_iter().chain(files(&series.join("rtstruct"))).collect();
    let config = configured(&pipeline(r#", "on_failure": "skip""#));
    let (said, good, sets) = segment(config.path(), &images);
    assert!(good && sets.len() == 1, "{said}");
    let ours = files(&results(&config.path().join("out")))
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "dcm"))
        .expect("an object");
    let kept = config.path().join("ours.dcm");
    fs::copy(ours, &kept).expect("copied");
    // Newer than the clinical one, and yet not taken.
    let with_ours: Vec<PathBuf> = images.into_iter().chain([kept]).collect();
    let (said, good, again) = segment(config.path(), &with_ours);
    assert!(good && said.contains("1 results"), "{said}");
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].rois.len(), 3, "{said}");
}

#[test]
fn images_of_two_modalities_are_joined_and_explained() {
    let (Some(ct), Some(pet)) = (data("series/05_ct_thigh_sts002_crop/ct"), data("series/04_pet_sts002_crop_ge/pt"))
    else {
        return;
    };
    let pipeline = r#"{"id": "drawn", "revision": 1, "mode": "live",
 "inputs": {"pet": {"all": [{"tag": "Modality", "eq": "PT"}]},
            "ct": {"all": [{"tag": "Modality", "eq": "CT"}], "primary": true},
            "rs": {"structures": {"Target": ["GTV_Mass_CT"]}, "optional": true}},
 "steps": [{"id": "body", "model": "ct-basic", "in": {"ct": "ct"}},
           {"id": "pet", "model": "ct-basic", "in": {"ct": "pet"}},
           {"id": "prv", "op": "grow", "radius_mm": 5, "in": "rs:Target", "as": "PRV", "on_failure": "skip"}],
 "structures": {"body:BODY": {"name": "BODY", "type": "EXTERNAL", "color": [0, 255, 0]},
                "pet:BODY": {"name": "BODY_PET", "type": "CONTROL", "color": [0, 128, 0]},
                "prv:PRV": {"name": "PRV", "type": "CONTROL", "color": [0, 128, 0]}},
 "outputs": [{"rtstruct": {"label": "AUTO"}}], "deliver": [{"to": "tps"}]}"#;
    let config = configured(pipeline);
    let explain = |folder: &str| {
        let program = Command::new(env!("CARGO_BIN_EXE_contourd"))
            .args(["explain", "--config"])
            .arg(config.path())
            .arg(config.path().join(folder))
            .output();
        String::from_utf8_lossy(&program.expect("the command runs").stdout).into_owned()
    };
    let (said, good, _) = segment(config.path(), &files(&ct));
    assert!(!good && said.contains("drawn: waits for pet"), "{said}");
    let told = explain("in");
    for part in [
        "  pet           no series fits\n",
        "  rs            no series fits; optional\n",
        "does not run: waits for pet",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    let both: Vec<PathBuf> = files(&ct).into_iter().chain(files(&pet)).collect();
    let (said, good, sets) = segment(config.path(), &both);
    assert!(good && sets.len() == 1, "{said}");
    assert!(
        said.contains("step prv was skipped: it needs rs:Target: the input rs is optional and did not come"),
        "{said}"
    );
    let names: Vec<&str> = sets[0].rois.iter().map(|roi| roi.name.as_str()).collect();
    assert_eq!(names, ["BODY", "BODY_PET"]);
    // The result refers to the CT, and what was made on the PET lies on its slices.
    let first = Instance::read_part10(fs::File::open(&files(&ct)[0]).expect("a file")).expect("an instance");
    assert_eq!(sets[0].referenced_series_uid.as_ref(), Some(&first.series_instance_uid));
    assert!(sets[0].rois[1].contours.iter().all(|contour| contour.sop_instance_uid.is_some()));
    let told = explain("in");
    for part in ["  pet           1.3.6", "(PT, 48 instances", "  ct            1.3.6", "(CT, 48 instances", "  runs\n"]
    {
        assert!(told.contains(part), "{part}\n{told}");
    }
}
