//! The commands `compare` and `dvh` on files of every kind, with answers known beforehand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use contourd::output::{nifti, rtstruct};
use contourd::quality::dose;
use contourd::volume::{LabelMap, Mask, VolumeGeometry};
use dicom_core::{DataElement, PrimitiveValue, VR, value::DataSetSequence};
use dicom_dictionary_std::tags;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use ndarray::Array3;
use serde_json::Value;
use tempfile::TempDir;

const SLICES: usize = 12;

/// Slices 3 mm, rows and columns 1 mm apart.
fn grid() -> Arc<VolumeGeometry> {
    let origins = (0..SLICES).map(|k| [-20.0, -30.0, 100.0 + 3.0 * k as f64]).collect();
    let made = VolumeGeometry::new((40, 40), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
    Arc::new(made.expect("legal"))
}

/// A box of 5 slices, 10 rows and 20 columns from a row on.
fn cuboid(row: usize) -> Mask {
    let inside =
        |(k, j, i): (usize, usize, usize)| (3..8).contains(&k) && (row..row + 10).contains(&j) && (10..30).contains(&i);
    Mask::new(grid(), Array3::from_shape_fn((SLICES, 40, 40), inside))
}

fn object(sop_class_uid: &str, frame: &str) -> InMemDicomObject {
    let mut object = InMemDicomObject::new_empty();
    let uids = [
        (tags::SOP_CLASS_UID, sop_class_uid),
        (tags::SOP_INSTANCE_UID, "1.2.3"),
        (tags::STUDY_INSTANCE_UID, "1.2.4"),
        (tags::SERIES_INSTANCE_UID, "1.2.5"),
        (tags::FRAME_OF_REFERENCE_UID, frame),
    ];
    uids.into_iter().for_each(|(tag, uid)| put(&mut object, tag, VR::UI, uid));
    object
}

fn put(object: &mut InMemDicomObject, tag: dicom_core::Tag, vr: VR, value: &str) {
    object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
}

fn sequence(object: &mut InMemDicomObject, tag: dicom_core::Tag, items: Vec<InMemDicomObject>) {
    object.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

fn write(object: InMemDicomObject, sop_class_uid: &str, path: &Path) {
    let meta = FileMetaTableBuilder::new().transfer_syntax("1.2.840.10008.1.2.1");
    let file = object.with_meta(meta.media_storage_sop_class_uid(sop_class_uid)).expect("a file");
    file.write_to_file(path).expect("written");
}

/// A structure set of boxes, each on the slices of its mask, with the corners at the outer edges of its pixels.
fn write_structure_set(boxes: &[(&str, Option<usize>)], frame: &str, path: &Path) {
    let mut set = object(rtstruct::SOP_CLASS_UID, frame);
    let (mut rois, mut contours) = (Vec::new(), Vec::new());
    for (index, (name, row)) in boxes.iter().enumerate() {
        let number = (index + 1).to_string();
        let mut roi = InMemDicomObject::new_empty();
        put(&mut roi, tags::ROI_NUMBER, VR::IS, &number);
        put(&mut roi, tags::REFERENCED_FRAME_OF_REFERENCE_UID, VR::UI, frame);
        put(&mut roi, tags::ROI_NAME, VR::LO, name);
        rois.push(roi);
        let Some(row) = row else { continue };
        let (low, high) = (*row as f64 - 30.5, *row as f64 - 20.5);
        let on_slice = |k: usize| {
            let z = 100 + 3 * k;
            let mut contour = InMemDicomObject::new_empty();
            put(&mut contour, tags::CONTOUR_GEOMETRIC_TYPE, VR::CS, "CLOSED_PLANAR");
            put(&mut contour, tags::NUMBER_OF_CONTOUR_POINTS, VR::IS, "4");
            let corners = [(-10.5, low), (9.5, low), (9.5, high), (-10.5, high)];
            let data: Vec<String> = corners.iter().map(|(x, y)| format!("{x}\\{y}\\{z}")).collect();
            put(&mut contour, tags::CONTOUR_DATA, VR::DS, &data.join("\\"));
            contour
        };
        let mut item = InMemDicomObject::new_empty();
        put(&mut item, tags::REFERENCED_ROI_NUMBER, VR::IS, &number);
        sequence(&mut item, tags::CONTOUR_SEQUENCE, (3..8).map(on_slice).collect());
        contours.push(item);
    }
    sequence(&mut set, tags::STRUCTURE_SET_ROI_SEQUENCE, rois);
    sequence(&mut set, tags::ROI_CONTOUR_SEQUENCE, contours);
    write(set, rtstruct::SOP_CLASS_UID, path);
}

/// A dose of 1 Gy for each mm along y from the top of the grid, on planes of 3 mm of which some are missing at the end.
fn write_dose(planes: usize, path: &Path) {
    let mut made = object(dose::SOP_CLASS_UID, "1.2.6");
    put(&mut made, tags::DOSE_UNITS, VR::CS, "GY");
    put(&mut made, tags::IMAGE_POSITION_PATIENT, VR::DS, "-20\\-30\\100");
    put(&mut made, tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0");
    put(&mut made, tags::PIXEL_SPACING, VR::DS, "5\\40");
    put(&mut made, tags::NUMBER_OF_FRAMES, VR::IS, &planes.to_string());
    let offsets: Vec<String> = (0..planes).map(|plane| (3 * plane).to_string()).collect();
    put(&mut made, tags::GRID_FRAME_OFFSET_VECTOR, VR::DS, &offsets.join("\\"));
    put(&mut made, tags::DOSE_GRID_SCALING, VR::DS, "0.01");
    for (tag, value) in [(tags::ROWS, 9), (tags::COLUMNS, 2), (tags::BITS_ALLOCATED, 16_u16)] {
        made.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    }
    let values = (0..planes).flat_map(|_| (0..9_u16).flat_map(|row| [500 * row; 2])).collect();
    made.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(values)));
    write(made, dose::SOP_CLASS_UID, path);
}

fn contourd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_contourd")).args(arguments).output().expect("contourd runs")
}

/// Runs a command that must end with a code; its standard output and error.
fn run(arguments: &[&str], code: i32) -> String {
    let output = contourd(arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("written")).expect("JSON")
}

fn near(found: &Value, expected: f64) {
    assert!(found.as_f64().is_some_and(|found| (found - expected).abs() < 1e-6), "found {found}, expected {expected}");
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(TempDir::new().expect("a folder"))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }
}

#[test]
fn contours_and_masks_of_the_same_thing_agree_in_every_direction() {
    let folder = Folder::new();
    let bytes = nifti::encode_mask(&cuboid(15)).expect("even");
    fs::write(folder.at("box.nii"), &bytes).expect("written");
    fs::write(folder.at("BOX.nii.gz"), nifti::gzip(&bytes)).expect("written");
    write_structure_set(&[("Box", Some(15))], "1.2.6", &folder.at("box.dcm"));
    for (a, b) in [("box.dcm", "box.nii"), ("BOX.nii.gz", "box.dcm"), ("box.dcm", "box.dcm"), ("box.nii", "BOX.nii.gz")]
    {
        let out = folder.text("out.json");
        run(&["compare", &folder.text(a), &folder.text(b), "--json", &out], 0);
        let found = &json(&folder.at("out.json"))["structures"][0];
        for (name, expected) in [
            ("volume_a_cm3", 3.0),
            ("volume_b_cm3", 3.0),
            ("dice", 1.0),
            ("surface_dice", 1.0),
            ("hausdorff_mm", 0.0),
            ("added_path_length_mm", 0.0),
        ] {
            assert!((found[name].as_f64().expect(name) - expected).abs() < 1e-6, "{a} and {b}, {name}: {found}");
        }
    }
}

#[test]
fn a_shift_is_measured_and_partners_are_found_or_listed() {
    let folder = Folder::new();
    write_structure_set(&[("Box", Some(15)), ("Gone", None), ("Mine", Some(2))], "1.2.6", &folder.at("a.dcm"));
    let mut labels = Array3::from_elem((SLICES, 40, 40), 0_u16);
    labels.zip_mut_with(&cuboid(19).voxels, |label, inside| *label += 5 * u16::from(*inside));
    labels[[0, 0, 0]] = 7;
    let map = LabelMap { geometry: grid(), labels };
    fs::write(folder.at("b.nii"), nifti::encode_labels(&map).expect("even")).expect("written");
    let (a, b) = (folder.text("a.dcm"), folder.text("b.nii"));
    let said = run(&["compare", &a, &b], 1);
    assert!(said.contains("in A alone: Box, Gone, Mine\nin B alone: 5, 7"), "{said}");
    assert!(said.contains("pair them with --pair A=B"), "{said}");
    let said = run(&["compare", &a, &b, "--pair", "Bix=5"], 1);
    assert!(said.contains("found no structure \"Bix\", expected one of \"Box\", \"Gone\", \"Mine\""), "{said}");
    let (csv, out) = (folder.text("out.csv"), folder.text("out.json"));
    let files = ["--csv", &csv, "--json", &out];
    let said = run(&[&["compare", &a, &b, "--pair", "Box=5", "--pair", "gone=7"][..], &files].concat(), 0);
    assert!(
        said.contains("in A alone: Mine\n") && !said.contains("in B alone") && said.contains("A is empty"),
        "{said}"
    );
    let found = json(&folder.at("out.json"));
    let first = &found["structures"][0];
    // 10 rows, shifted by 4: 6 are common.
    near(&first["dice"], 0.6);
    near(&first["hausdorff_mm"], 4.0);
    near(&first["volume_difference_cm3"], 0.0);
    // On each of 5 slices the outline of 56 pixels, less 6 rows of both sides that run together.
    near(&first["added_path_length_mm"], 5.0 * (56.0 - 12.0));
    let empty = &found["structures"][1];
    assert_eq!((&empty["dice"], &empty["hausdorff_mm"]), (&Value::from(0.0), &Value::Null));
    let text = fs::read_to_string(folder.at("out.csv")).expect("written");
    assert!(
        text.lines().nth(2).is_some_and(|line| line.starts_with("Gone = 7,0.000000,") && line.contains(",,")),
        "{text}"
    );
    assert!(!text.contains("NaN"), "{text}");
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let folder = Folder::new();
    write_structure_set(&[("Box", Some(15))], "1.2.6", &folder.at("a.dcm"));
    write_structure_set(&[("Box", Some(15))], "1.2.7", &folder.at("b.dcm"));
    write_dose(SLICES, &folder.at("dose.dcm"));
    let (a, b, dose) = (folder.text("a.dcm"), folder.text("b.dcm"), folder.text("dose.dcm"));
    let said = run(&["compare", &a, &b], 1);
    assert!(said.contains("in the Frame of Reference 1.2.6 and ") && said.contains("in 1.2.7"), "{said}");
    let said = run(&["dvh", "--dose", &dose, "--structures", &b], 1);
    assert!(said.contains("in the Frame of Reference 1.2.7 and "), "{said}");
    let said = run(&["compare", &a, &dose], 1);
    assert!(said.contains("expected an RT Structure Set, a segmentation, or a file .nii"), "{said}");
    let said = run(&["dvh", "--dose", &a, "--structures", &a], 1);
    assert!(said.contains("expected an RT Dose"), "{said}");
}

#[test]
fn a_dose_that_grows_along_y_gives_its_figures() {
    let folder = Folder::new();
    write_structure_set(&[("Box", Some(15)), ("Gone", None)], "1.2.6", &folder.at("a.dcm"));
    write_dose(SLICES, &folder.at("dose.dcm"));
    let [a, dose, csv, out, svg] =
        ["a.dcm", "dose.dcm", "out.csv", "out.json", "out.svg"].map(|name| folder.text(name));
    let files = ["--csv", &csv, "--json", &out, "--svg", &svg, "--bin-gy", "1", "--geud", "-1"];
    let asked = ["--metric", "D50%", "--metric", "D0.3cc", "--metric", "V17.5Gy"];
    let said = run(&[&["dvh", "--dose", &dose, "--structures", &a][..], &files, &asked].concat(), 0);
    assert!(said.contains("Gone") && said.contains("it is empty"), "{said}");
    let found = &json(&folder.at("out.json"))["results"][0];
    // Rows 15 to 24 of 1 mm: 15 to 24 Gy, 0.3 cm3 each.
    let inverse_mean = (15..25).map(|gy| 1.0 / f64::from(gy)).sum::<f64>() / 10.0;
    for (name, expected) in [
        ("volume_cm3", 3.0),
        ("mean_gy", 19.5),
        ("min_gy", 15.0),
        ("max_gy", 24.0),
        ("D50% (Gy)", 20.0),
        ("D0.3cc (Gy)", 24.0),
        ("V17.5Gy (%)", 70.0),
        ("gEUD a=-1 (Gy)", 1.0 / inverse_mean),
    ] {
        near(&found[name], expected);
    }
    let curve = fs::read_to_string(folder.at("out.csv")).expect("written");
    assert!(curve.starts_with("dose (Gy),Box (cm3)\r\n0.0000,3.000000\r\n"), "{curve}");
    assert!(fs::read_to_string(folder.at("out.svg")).expect("written").contains(">Box</text>"));
    // The last three of the box's five slices lie above the dose.
    write_dose(5, &folder.at("dose.dcm"));
    let said = run(&["dvh", "--dose", &dose, "--structures", &a, "--json", &out, "--structure", "box"], 0);
    assert!(said.contains("1.800 cm3 of it lie outside the dose grid"), "{said}");
    near(&json(&folder.at("out.json"))["results"][0]["volume_cm3"], 1.2);
    run(&["dvh", "--dose", &dose, "--structures", &a, "--structure", "gone"], 1);
}
