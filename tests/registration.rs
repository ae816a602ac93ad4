//! Two series of one phantom, the second in coordinates of its own, and a registration object that relates them, through
//! `contourd segment`: what is found on the second lies where the same is found on the first, and the inverse would not.

mod gateway;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use contourd::assemble;
use contourd::dicom::{Instance, Uid};
use contourd::output::registration::RIGID_SOP_CLASS_UID;
use contourd::output::rtstruct::{self, ParsedStructureSet};
use contourd::phantom::{Identity, Thorax};
use contourd::volume::{Mask, VolumeGeometry};
use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use gateway::write_series;

type Matrix = [[f64; 4]; 4];

const PIPELINE: &str = r#"{"id": "pair", "revision": 1, "mode": "live",
 "inputs": {"fixed": {"all": [{"tag": "Modality", "eq": "CT"}], "none": [{"tag": "SeriesDescription", "eq": "MOVING"}]},
            "moving": {"all": [{"tag": "Modality", "eq": "CT"}, {"tag": "SeriesDescription", "eq": "MOVING"}],
                       "geometry": {"max_gap": 1}, "frame": "any"}},
 "steps": [{"id": "here", "model": "ct-basic", "in": {"ct": "fixed"}},
           {"id": "there", "model": "ct-basic", "in": {"ct": "moving"}}],
 "structures": {"here:Lung_L": {"name": "Here", "type": "ORGAN", "color": [0, 255, 0]},
                "there:Lung_L": {"name": "There", "type": "ORGAN", "color": [255, 0, 0]}},
 "outputs": [{"rtstruct": {"label": "AUTO"}}], "deliver": [{"to": "tps"}]}"#;

const ALONE: &str = r#"{"id": "alone", "revision": 1, "mode": "live",
 "inputs": {"ct": {"all": [{"tag": "SeriesDescription", "eq": "MOVING"}], "geometry": {"max_gap": 1}}},
 "steps": [{"id": "there", "model": "ct-basic", "in": {"ct": "ct"}}],
 "structures": {"there:Lung_L": {"name": "Lung_L", "type": "ORGAN", "color": [255, 0, 0]}},
 "outputs": [{"rtstruct": {"label": "AUTO"}}], "deliver": [{"to": "tps"}]}"#;

fn text(tag: Tag, vr: VR, text: &str) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, vr, PrimitiveValue::from(text))
}

fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::SQ, DataSetSequence::from(items))
}

fn object(elements: Vec<DataElement<InMemDicomObject>>) -> InMemDicomObject {
    InMemDicomObject::from_element_iter(elements)
}

fn write(path: &Path, object: InMemDicomObject, class: &str) {
    let meta =
        FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN).media_storage_sop_class_uid(class);
    object.with_meta(meta).expect("a meta group").write_to_file(path).expect("written");
}

/// A turn of 14 degrees about z after 9 about x, then a shift: the way of the patient into the second frame.
fn pose() -> Matrix {
    let ((s, c), (t, d)) = (14.0_f64.to_radians().sin_cos(), 9.0_f64.to_radians().sin_cos());
    [[c, -s * d, s * t, 40.0], [s, c * d, -c * t, -30.0], [0.0, t, d, 55.0], [0.0, 0.0, 0.0, 1.0]]
}

const NOWHERE: Matrix = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];

/// The way back of a rotation and a shift.
fn back(m: &Matrix) -> Matrix {
    let mut inverse = [[0.0; 4]; 4];
    for row in 0..3 {
        for column in 0..3 {
            inverse[row][column] = m[column][row];
            inverse[row][3] -= m[column][row] * m[column][3];
        }
    }
    inverse[3][3] = 1.0;
    inverse
}

fn numbers(values: impl IntoIterator<Item = f64>) -> String {
    values.into_iter().map(|value| format!("{value:.9}")).collect::<Vec<_>>().join("\\")
}

/// An item of a registration: from a frame to that of the object.
fn side(frame: &str, matrix: &Matrix) -> InMemDicomObject {
    let matrix = object(vec![
        text(tags::FRAME_OF_REFERENCE_TRANSFORMATION_MATRIX, VR::DS, &numbers(matrix.iter().flatten().copied())),
        text(tags::FRAME_OF_REFERENCE_TRANSFORMATION_MATRIX_TYPE, VR::CS, "RIGID"),
    ]);
    let matrices = object(vec![sequence(tags::MATRIX_SEQUENCE, vec![matrix])]);
    object(vec![
        text(tags::FRAME_OF_REFERENCE_UID, VR::UI, frame),
        sequence(tags::MATRIX_REGISTRATION_SEQUENCE, vec![matrices]),
    ])
}

/// A clinic of two series: `fixed`, and `moving` whose patient lies as `pose` says.
struct Clinic {
    config: tempfile::TempDir,
    identity: Identity,
    fixed: Vec<PathBuf>,
    moving: Vec<PathBuf>,
}

const MOVING_FRAME: &str = "1.2.3.4.9";

impl Clinic {
    fn new(pipelines: &[(&str, &str)]) -> Clinic {
        Clinic::with(pipelines, &pose())
    }

    fn with(pipelines: &[(&str, &str)], pose: &Matrix) -> Clinic {
        let config = tempfile::tempdir().expect("a folder");
        gateway::configure(config.path(), 11_112, 11_113, pipelines);
        let thorax = Thorax { roll_degrees: 0.0, ..Thorax::standard() }.coarser(4).with_slice_spacing(9.0);
        let identity = Identity::of(&thorax);
        let fixed = write_series(&config.path().join("fixed"), &thorax, &identity);
        // The same patient on another grid.
        let other = Thorax { roll_degrees: 0.0, ..Thorax::standard() }.coarser(3).with_slice_spacing(7.0);
        let own = Identity {
            study_instance_uid: identity.study_instance_uid.clone(),
            frame_of_reference_uid: MOVING_FRAME.parse().expect("a UID"),
            ..Identity::of(&other)
        };
        let mut moving = write_series(&config.path().join("moving"), &other, &own);
        let turned =
            |v: &[f64]| (0..3).map(|row| (0..3).map(|k| pose[row][k] * v[k]).sum::<f64>()).collect::<Vec<f64>>();
        for path in &moving {
            let mut image = dicom_object::open_file(path).expect("an instance").into_inner();
            let read = |tag| image.element(tag).expect("there").to_multi_float64().expect("numbers");
            let (position, orientation) = (read(tags::IMAGE_POSITION_PATIENT), read(tags::IMAGE_ORIENTATION_PATIENT));
            let position = turned(&position).into_iter().zip([pose[0][3], pose[1][3], pose[2][3]]).map(|(a, b)| a + b);
            image.put(text(tags::IMAGE_POSITION_PATIENT, VR::DS, &numbers(position)));
            let directions = orientation.chunks(3).flat_map(turned);
            image.put(text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, &numbers(directions)));
            image.put(text(tags::SERIES_DESCRIPTION, VR::LO, "MOVING"));
            write(path, image, uids::CT_IMAGE_STORAGE);
        }
        // Uneven slices: one is missing in the middle.
        moving.remove(moving.len() / 2);
        Clinic { config, identity, fixed, moving }
    }

    /// A registration object from the frame of `moving` to that of `fixed`, made at a date.
    fn registration(&self, name: &str, date: &str, matrix: &Matrix) -> PathBuf {
        self.changed_registration(name, date, matrix, |_| ())
    }

    fn changed_registration(
        &self,
        name: &str,
        date: &str,
        matrix: &Matrix,
        change: impl Fn(&mut InMemDicomObject),
    ) -> PathBuf {
        let uid = |what: &str| Uid::derived(["registration", what, name]);
        let own = self.identity.frame_of_reference_uid.as_str();
        let mut registration = object(vec![
            text(tags::SOP_CLASS_UID, VR::UI, RIGID_SOP_CLASS_UID),
            text(tags::SOP_INSTANCE_UID, VR::UI, uid("instance").as_str()),
            text(tags::STUDY_INSTANCE_UID, VR::UI, self.identity.study_instance_uid.as_str()),
            text(tags::SERIES_INSTANCE_UID, VR::UI, uid("series").as_str()),
            text(tags::MODALITY, VR::CS, "REG"),
            text(tags::PATIENT_ID, VR::LO, &self.identity.patient_id),
            text(tags::CONTENT_DATE, VR::DA, date),
            text(tags::CONTENT_TIME, VR::TM, "120000"),
            text(tags::FRAME_OF_REFERENCE_UID, VR::UI, own),
            sequence(tags::REGISTRATION_SEQUENCE, vec![side(own, &NOWHERE), side(MOVING_FRAME, matrix)]),
        ]);
        change(&mut registration);
        let path = self.config.path().join(format!("{name}.dcm"));
        write(&path, registration, RIGID_SOP_CLASS_UID);
        path
    }

    /// What `contourd segment` said of these files, whether it was good, and the structure sets.
    fn segment(&self, files: &[&[PathBuf]]) -> (String, bool, Vec<PathBuf>) {
        let (input, output) = (self.config.path().join("in"), self.config.path().join("out"));
        let _ = fs::remove_dir_all(&output);
        let _ = fs::remove_dir_all(&input);
        fs::create_dir_all(&input).expect("a folder");
        for (index, file) in files.iter().copied().flatten().enumerate() {
            fs::copy(file, input.join(format!("{index}.dcm"))).expect("copied");
        }
        let (said, good) = self.contourd(&["segment", "--output", "out", "in"]);
        let (mut sets, mut open) = (Vec::new(), vec![output]);
        while let Some(folder) = open.pop() {
            for path in fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.expect("an entry").path()) {
                if path.is_dir() {
                    open.push(path);
                } else if path.extension().is_some_and(|extension| extension == "dcm") {
                    sets.push(path);
                }
            }
        }
        (said, good, sets)
    }

    fn contourd(&self, arguments: &[&str]) -> (String, bool) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_contourd"));
        command.current_dir(self.config.path()).args(arguments).args(["--config", "."]);
        let program = command.output().expect("the command runs");
        let said = String::from_utf8_lossy(&program.stdout).into_owned() + &String::from_utf8_lossy(&program.stderr);
        (said, program.status.success())
    }

    fn geometry(&self) -> Arc<VolumeGeometry> {
        let read = |path: &PathBuf| Instance::read_part10(fs::File::open(path).expect("a file")).expect("an instance");
        let instances: Vec<Instance> = self.fixed.iter().map(read).collect();
        assemble::plan(&instances).unwrap_or_else(|_| panic!("a volume")).geometry
    }
}

fn read(path: &Path) -> ParsedStructureSet {
    rtstruct::read(&fs::read(path).expect("a file")).expect("a structure set")
}

/// Overlap (Dice) of two masks, and the distance of their centres in mm.
fn compare(one: &Mask, other: &Mask) -> (f64, f64) {
    let both = one.voxels.iter().zip(&other.voxels).filter(|(a, b)| **a && **b).count();
    let centre = |mask: &Mask| {
        let inside = mask.voxels.indexed_iter().filter(|(_, inside)| **inside);
        let points = inside.map(|((k, j, i), _)| mask.geometry.index_to_patient([k as f64, j as f64, i as f64]));
        let sum = points.fold([0.0; 3], |sum, point| [sum[0] + point[0], sum[1] + point[1], sum[2] + point[2]]);
        sum.map(|x| x / mask.count() as f64)
    };
    let (a, b) = (centre(one), centre(other));
    let apart = a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt();
    (2.0 * both as f64 / (one.count() + other.count()) as f64, apart)
}

fn masks(set: &Path, geometry: &Arc<VolumeGeometry>, names: [&str; 2]) -> [Mask; 2] {
    let set = read(set);
    names.map(|name| {
        let roi = set.rois.iter().find(|roi| roi.name == name).unwrap_or_else(|| panic!("{name} is there"));
        roi.mask_on(geometry).unwrap_or_else(|reason| panic!("{name}: {reason}"))
    })
}

/// What is found on the second series where it lies in the coordinates of the first, by its own headers: the truth for all
/// that a registration brings back. The two grids differ, and with them what is found.
fn unmoved(geometry: &Arc<VolumeGeometry>) -> Mask {
    let clinic = Clinic::with(&[("pair", PIPELINE)], &NOWHERE);
    let registration = clinic.registration("identity", "20260101", &NOWHERE);
    let (said, is_good, sets) = clinic.segment(&[&clinic.fixed, &clinic.moving, &[registration]]);
    assert!(is_good && sets.len() == 1, "{said}");
    let [here, there] = masks(&sets[0], geometry, ["Here", "There"]);
    let (overlap, apart) = compare(&here, &there);
    println!("not moved: overlap {overlap:.3}, centres {apart:.2} mm apart");
    there
}

#[test]
fn what_is_found_on_the_moved_series_lies_on_the_first_and_the_inverse_is_centimetres_off() {
    let clinic = Clinic::new(&[("pair", PIPELINE)]);
    let geometry = clinic.geometry();
    let good = clinic.registration("good", "20260101", &back(&pose()));
    let (said, is_good, sets) = clinic.segment(&[&clinic.fixed, &clinic.moving, std::slice::from_ref(&good)]);
    assert!(is_good && sets.len() == 1, "{said}");
    let [here, there] = masks(&sets[0], &geometry, ["Here", "There"]);
    let (overlap, apart) = compare(&here, &there);
    println!("registered: overlap {overlap:.3}, centres {apart:.2} mm apart; voxels of 3.9 x 3.9 x 9 mm");
    assert!(overlap > 0.93 && apart < 3.0, "{overlap} {apart}");
    let (overlap, apart) = compare(&unmoved(&geometry), &there);
    println!("registered and not moved: overlap {overlap:.3}, centres {apart:.2} mm apart");
    // A quarter of a pixel: the slices of the one lie across those of the other, and each is 7 mm thick.
    assert!(overlap > 0.98 && apart < 1.0, "{overlap} {apart}");
    let set = read(&sets[0]);
    assert_eq!(set.referenced_series_uid.as_ref(), Some(&clinic.identity.series_instance_uid));
    let registered = Uid::derived(["registration", "instance", "good"]);
    let page = sets[0].parent().expect("a folder").join("report.html");
    let page = fs::read_to_string(page).expect("a report");
    assert!(page.contains("moving: registered to the primary images by object"), "the reasons");
    assert!(page.contains(registered.as_str()) && page.contains("turned by 16.6 degrees"), "the provenance");

    // A newer one counts; and what is derived from it is another object.
    let wrong = clinic.registration("wrong", "20260102", &pose());
    let (said, is_good, others) = clinic.segment(&[&clinic.fixed, &clinic.moving, &[good.clone(), wrong]]);
    assert!(is_good && others.len() == 1 && read(&others[0]).sop_instance_uid != set.sop_instance_uid, "{said}");
    let [here, there] = masks(&others[0], &geometry, ["Here", "There"]);
    let (overlap, apart) = compare(&here, &there);
    println!("the inverse: overlap {overlap:.3}, centres {apart:.1} mm apart");
    assert!(overlap < 0.6 && apart > 30.0, "{overlap} {apart}");
    let (told, _) = clinic.contourd(&["explain", "in"]);
    assert!(told.contains("the newest of 2") && told.contains("  runs\n"), "{told}");
}

#[test]
fn what_cannot_be_used_is_told_and_nothing_runs() {
    let clinic = Clinic::new(&[("pair", PIPELINE)]);
    let both: [&[PathBuf]; 2] = [&clinic.fixed, &clinic.moving];
    let mut scaled = back(&pose());
    scaled.iter_mut().take(3).for_each(|row| row.iter_mut().take(3).for_each(|value| *value *= 1.02));
    let cut = |object: &mut InMemDicomObject| assert!(object.remove_element(tags::REGISTRATION_SEQUENCE));
    let stranger = |object: &mut InMemDicomObject| drop(object.put(text(tags::PATIENT_ID, VR::LO, "ANOTHER")));
    for (registration, told) in [
        (None, "none came"),
        (
            Some(clinic.registration("scaled", "20260101", &scaled)),
            "not rigid (its type is RIGID): found axes of length 1.02",
        ),
        (
            Some(clinic.changed_registration("cut", "20260101", &back(&pose()), cut)),
            "found no item in its Registration Sequence",
        ),
        (
            Some(clinic.changed_registration("stranger", "20260101", &back(&pose()), stranger)),
            // What a folder holds of another patient is not looked at together with these.
            "none came",
        ),
    ] {
        let registration: Vec<PathBuf> = registration.into_iter().collect();
        let (said, is_good, sets) = clinic.segment(&[both[0], both[1], &registration]);
        assert!(!is_good && sets.is_empty(), "{said}");
        assert!(said.contains("pair: waits for a registration: moving: found Frame of Reference 1.2.3.4.9"), "{said}");
        assert!(said.contains(told), "{told}\n{said}");
        let (explained, _) = clinic.contourd(&["explain", "in"]);
        // It looks at all series of the study, whoever they say the patient is.
        let is_stranger = registration.iter().any(|file| file.ends_with("stranger.dcm"));
        let told = if is_stranger { "one came whose Patient ID, or its issuer, is another" } else { told };
        assert!(
            explained.contains("does not run: waits for a registration") && explained.contains(told),
            "{explained}"
        );
    }
}

#[test]
fn the_moving_frame_may_be_the_registered_one() {
    let clinic = Clinic::new(&[("pair", PIPELINE)]);
    let own = clinic.identity.frame_of_reference_uid.as_str();
    // The item leads from the first series to the second, so that the way of the second is its inverse.
    let other_way = |object: &mut InMemDicomObject| {
        object.put(text(tags::FRAME_OF_REFERENCE_UID, VR::UI, MOVING_FRAME));
        let sides = vec![side(MOVING_FRAME, &NOWHERE), side(own, &pose())];
        object.put(sequence(tags::REGISTRATION_SEQUENCE, sides));
    };
    let registration = clinic.changed_registration("other way", "20260101", &NOWHERE, other_way);
    let (said, is_good, sets) = clinic.segment(&[&clinic.fixed, &clinic.moving, &[registration]]);
    assert!(is_good && sets.len() == 1, "{said}");
    let [here, there] = masks(&sets[0], &clinic.geometry(), ["Here", "There"]);
    let (overlap, apart) = compare(&here, &there);
    println!("the other way: overlap {overlap:.3}, centres {apart:.2} mm apart");
    assert!(overlap > 0.93 && apart < 3.0, "{overlap} {apart}");
}

#[test]
fn images_that_a_registration_brings_beside_the_primary_ones_are_refused() {
    let clinic = Clinic::new(&[("pair", PIPELINE)]);
    // As if its shift were in another unit.
    let mut far = back(&pose());
    far.iter_mut().take(3).for_each(|row| row[3] += 2_000.0);
    let registration = clinic.registration("far", "20260101", &far);
    let (said, is_good, sets) = clinic.segment(&[&clinic.fixed, &clinic.moving, &[registration]]);
    assert!(!is_good && sets.is_empty(), "{said}");
    assert!(said.contains("it brings the images beside the primary ones"), "{said}");
}

#[test]
fn structures_drawn_on_the_moved_series_come_with_it() {
    let drawn = PIPELINE
        .replace(
            r#""frame": "any"}},"#,
            r#""frame": "any"},
            "rs": {"structures": {"Lung": ["Lung_L"]}, "frame": "any", "drawn_on": "moving"}},"#,
        )
        .replace(
            r#""in": {"ct": "moving"}}],"#,
            r#""in": {"ct": "moving"}},
           {"id": "taken", "post": {"Lung": [{"op": "take", "of": ["rs:Lung"]}]}}],"#,
        )
        .replace(r#""there:Lung_L": {"name": "There""#, r#""taken:Lung": {"name": "There""#);
    let clinic = Clinic::new(&[("pair", &drawn), ("alone", ALONE)]);
    let (said, is_good, sets) = clinic.segment(&[&clinic.moving]);
    assert!(sets.len() == 1, "{is_good} {said}");
    // As if somebody else had drawn it.
    let mut set = dicom_object::open_file(&sets[0]).expect("an object").into_inner();
    set.put(text(tags::MANUFACTURER, VR::LO, "SOMEBODY"));
    let drawn = clinic.config.path().join("drawn.dcm");
    write(&drawn, set, uids::RT_STRUCTURE_SET_STORAGE);
    let registration = clinic.registration("good", "20260101", &back(&pose()));
    let (said, is_good, sets) = clinic.segment(&[&clinic.fixed, &clinic.moving, &[registration, drawn.clone()]]);
    assert!(is_good, "{said}");
    let joined = sets.iter().find(|set| set.parent().is_some_and(|folder| folder.ends_with("pair")));
    let [here, there] = masks(joined.expect("a set"), &clinic.geometry(), ["Here", "There"]);
    let (overlap, apart) = compare(&here, &there);
    println!("drawn on the moved series: overlap {overlap:.3}, centres {apart:.2} mm apart");
    let page = joined.and_then(|set| set.parent()).expect("a folder").join("report.html");
    let page = fs::read_to_string(page).expect("a report");
    assert!(page.contains("Input rs:Lung") && page.contains("Input moving"), "the provenance of the structure");
    assert!(overlap > 0.93 && apart < 3.0, "{overlap} {apart}");
    let (said, _, sets) = clinic.segment(&[&clinic.fixed, &clinic.moving, &[drawn]]);
    assert!(!sets.iter().any(|set| set.parent().is_some_and(|folder| folder.ends_with("pair"))), "{said}");
}
