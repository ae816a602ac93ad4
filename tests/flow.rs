//! Pipelines of several series through the whole gateway on loopback: from C-STORE to the structure set that arrives.

mod gateway;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use contourd::contour::{Holes, trace};
use contourd::dicom::{Instance, Uid};
use contourd::node::SeriesState;
use contourd::output::object::{Algorithm, AlgorithmFamily, Equipment, Provenance, SliceReference, Source};
use contourd::output::rtstruct::{Dialect, Roi, StructureSet, encode};
use contourd::phantom::{Identity, render};
use contourd::structure::{Color, RoiStyle, RoiType};
use contourd::volume::Mask;
use gateway::{Play, thorax, write_series};

const CHANGE: &str = r#"{"id": "change", "revision": 1, "mode": "live",
 "inputs": {"before": {"all": [{"tag": "Modality", "eq": "CT"}], "slices": {"min": 3}, "pick": "first"},
            "after": {"all": [{"tag": "Modality", "eq": "CT"}], "slices": {"min": 3}, "pick": "last"}},
 "steps": [{"id": "old", "model": "ct-basic", "in": {"ct": "before"}},
           {"id": "new", "model": "ct-basic", "in": {"ct": "after"}}],
 "structures": {"old:BODY": {"name": "BODY", "type": "EXTERNAL", "color": [0, 255, 0]},
                "new:BODY": {"name": "BODY_new", "type": "CONTROL", "color": [0, 128, 0]}},
 "outputs": [{"rtstruct": {"label": "AUTO"}}], "deliver": [{"to": "tps"}]}"#;

/// Two series of one study: the second an hour later, on other slices, in the same Frame of Reference.
fn two_series(play: &Play) -> [(Uid, Vec<PathBuf>); 2] {
    let first = Identity::of(&thorax());
    let second = Identity {
        series_instance_uid: Uid::derived(["second series of the study"]),
        time: "130000".to_owned(),
        ..first.clone()
    };
    [(first, thorax()), (second, thorax().with_slice_spacing(20.0))].map(|(identity, thorax)| {
        let files = write_series(&play.path(identity.series_instance_uid.as_str()), &thorax, &identity);
        (identity.series_instance_uid, files)
    })
}

#[test]
fn two_series_of_a_study_make_one_structure_set_on_the_first() {
    let mut play = Play::start(&[("change", CHANGE)]);
    let [(first, first_files), (_, second_files)] = two_series(&play);
    // The later series comes first.
    play.send(&second_files);
    let waiting = |series: &[contourd::node::SeriesRecord]| {
        series.len() == 1 && series[0].state == SeriesState::Waiting && series[0].note.contains("change: waits for")
    };
    play.wait("the first series does not wait", |jobs, series| jobs.is_empty() && waiting(series));
    play.kill_and_start();
    play.send(&first_files);
    let jobs = play.wait_for_delivered(1);
    assert_eq!(jobs.len(), 1, "{}", play.describe());
    let slots: Vec<(&str, usize)> = jobs[0].inputs.iter().map(|i| (i.slot.as_str(), i.instances.len())).collect();
    assert_eq!(slots, [("before", first_files.len()), ("after", second_files.len())]);
    let sets = play.received();
    assert_eq!(sets.len(), 1);
    let set = &sets[0];
    assert_eq!(set.referenced_series_uid.as_ref(), Some(&first));
    assert_eq!(set.referenced_images.len(), first_files.len());
    let volume = |name: &str| {
        let roi = set.rois.iter().find(|roi| roi.name == name).expect("the structure is there");
        assert!(roi.contours.iter().all(|contour| contour.sop_instance_uid.is_some()), "{name} lies on the images");
        roi.volume_cm3.expect("a volume")
    };
    // The patient is the same; the outline of the other series was brought onto the slices of this one.
    let (old, new) = (volume("BODY"), volume("BODY_new"));
    assert!((new / old - 1.0).abs() < 0.15, "{old} cm3 and {new} cm3");

    // The same again is nothing new; every list tells of it.
    play.send(&first_files);
    play.send(&second_files);
    std::thread::sleep(std::time::Duration::from_secs(4));
    let jobs = play.wait_for_delivered(1);
    assert_eq!(jobs.len(), 1, "{}", play.describe());
    let show = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_contourd"))
            .args(arguments)
            .arg("--config")
            .arg(play.folder())
            .output()
            .expect("the command runs");
        String::from_utf8(output.stdout).expect("text")
    };
    let page = show(&["show", jobs[0].id.as_str()]);
    for slot in ["before", "after"] {
        assert!(page.contains(&format!("input {slot}: series ")), "{page}");
    }
}

const MARGIN: &str = r#"{"id": "margin", "revision": 1, "mode": "live",
 "inputs": {"ct": {"all": [{"tag": "Modality", "eq": "CT"}], "slices": {"min": 3}},
            "rs": {"structures": {"Target": ["GTV", "target_volume"]}}},
 "steps": [{"id": "prv", "op": "grow", "radius_mm": 12, "in": "rs:Target", "as": "Target_PRV"}],
 "structures": {"prv:Target_PRV": {"name": "Target_PRV", "type": "CONTROL", "color": [255, 0, 0]}},
 "outputs": [{"rtstruct": {"label": "AUTO"}}], "deliver": [{"to": "tps"}]}"#;

/// A structure set of another maker on the images: a box of so many pixels around the middle, drawn at an hour.
fn drawn(play: &Play, images: &[PathBuf], side: usize, hour: i8) -> PathBuf {
    let read = |path: &PathBuf| Instance::read_part10(fs::File::open(path).expect("a file")).expect("an instance");
    let instances: Vec<Instance> = images.iter().map(read).collect();
    let geometry = render(&thorax(), |_| ()).expect("a phantom").geometry;
    let mut mask = Mask::empty(geometry.clone());
    let [slices, rows, columns] = geometry.shape();
    for ((slice, row, column), voxel) in mask.voxels.indexed_iter_mut() {
        let near = |index: usize, length: usize| index.abs_diff(length / 2) < side;
        *voxel = slice.abs_diff(slices / 2) < 2 && near(row, rows) && near(column, columns);
    }
    let reference = |instance: &Instance| SliceReference {
        sop_class_uid: instance.sop_class_uid.clone(),
        sop_instance_uid: instance.sop_instance_uid.clone(),
        frame_number: None,
    };
    let text = |text: &str| text.to_owned();
    let roi = Roi {
        style: RoiStyle { name: text("TARGET_volume"), roi_type: RoiType::Gtv, color: Color([255, 0, 0]) },
        structure: None,
        contours: trace(&mask),
        holes: Holes::Keyhole,
        volume_cm3: None,
        description: String::new(),
        generation_description: String::new(),
        algorithm: Algorithm {
            family: AlgorithmFamily::MorphologicalOperations,
            name: text("box"),
            version: text("1"),
            source: String::new(),
            parameters: String::new(),
        },
    };
    let provenance = Provenance {
        pipeline_id: text("planning"),
        pipeline_revision: format!("{side}"),
        model_digests: Vec::new(),
        program_version: text("1"),
    };
    let equipment = Equipment {
        manufacturer: text("Another"),
        model_name: text("Planning"),
        software_versions: vec![text("1")],
        station_name: None,
        institution_name: None,
    };
    let bytes = encode(&StructureSet {
        source: Source {
            instances: &instances.iter().collect::<Vec<_>>(),
            slices: &instances.iter().map(reference).collect::<Vec<_>>(),
            geometry: &geometry,
            provenance: &provenance,
            created: jiff::civil::date(2026, 1, 1).at(hour, 0, 0, 0),
            equipment: &equipment,
        },
        rois: &[roi],
        label: "PLAN",
        name: "",
        description: "",
        series_number: 7,
        series_description: "",
        dialect: &Dialect::default(),
        predecessor: None,
    });
    let path = play.path(&format!("drawn-{side}.dcm"));
    fs::write(&path, bytes.unwrap_or_else(|error| panic!("{error}")).bytes).expect("written");
    path
}

#[test]
fn structures_that_come_later_start_the_pipeline_and_newer_ones_start_it_again() {
    let play = Play::start(&[("margin", MARGIN)]);
    let identity = Identity::of(&thorax());
    let images = write_series(&play.path("images"), &thorax(), &identity);
    let (older, newer, newest) =
        (drawn(&play, &images, 2, 10), drawn(&play, &images, 4, 11), drawn(&play, &images, 6, 12));
    play.send(&images);
    play.wait("the images do not wait", |jobs, series| {
        jobs.is_empty() && series.iter().any(|s| s.note == "margin: waits for rs")
    });
    // The newest of all was drawn on images of the same Frame of Reference which never come: another phase.
    let phase = Identity { series_instance_uid: Uid::derived(["another phase"]), ..identity };
    let elsewhere = drawn(&play, &write_series(&play.path("phase"), &thorax(), &phase), 8, 13);
    play.send(&[elsewhere]);
    play.wait("a structure set of other images does not wait", |jobs, series| {
        jobs.is_empty() && series.iter().any(|s| s.note.contains("drawn on another series of images"))
    });
    play.send(&[newer.clone(), older]);
    let uid = |path: &PathBuf| {
        Instance::read_part10(fs::File::open(path).expect("a file")).expect("an instance").sop_instance_uid
    };
    let jobs = play.wait_for_delivered(1);
    assert_eq!(jobs.len(), 1, "{}", play.describe());
    let inputs = |job: &contourd::job::Job| -> Vec<(String, Vec<Uid>)> {
        job.inputs.iter().map(|input| (input.slot.clone(), input.instances.clone())).collect()
    };
    assert_eq!(inputs(&jobs[0])[1], ("rs".to_owned(), vec![uid(&newer)]));
    play.send(std::slice::from_ref(&newest));
    let jobs = play.wait_for_delivered(2);
    assert_eq!(jobs.len(), 2, "our own result is no input, and nothing runs twice:\n{}", play.describe());
    assert!(jobs.iter().any(|job| inputs(job)[1].1 == [uid(&newest)]));
    let mut volumes: Vec<f64> = play.received().iter().map(|set| set.rois[0].volume_cm3.expect("a volume")).collect();
    volumes.sort_by(f64::total_cmp);
    assert!(volumes.len() == 2 && volumes[1] > 1.3 * volumes[0], "{volumes:?}");
    // The second replaces the first, and says so.
    let sets = play.received();
    let (newer, older): (Vec<_>, Vec<_>) = sets.iter().partition(|set| set.predecessor_uid.is_some());
    assert_eq!((older.len(), newer.len()), (1, 1));
    assert_eq!(newer[0].predecessor_uid.as_ref(), Some(&older[0].sop_instance_uid));
}

const TWO_DIALECTS: &str = r#"{"id": "two", "revision": 1, "mode": "live",
 "inputs": {"ct": {"all": [{"tag": "Modality", "eq": "CT"}], "slices": {"min": 3}}},
 "steps": [{"id": "basic", "model": "ct-basic", "in": {"ct": "ct"}}],
 "structures": {"basic:BODY": {"name": "BODY"}, "basic:Lung_L": {"name": "Lung_L"},
                "basic:Bone": {"name": "Bone_of_the_whole_body", "type": "ORGAN", "color": [255, 255, 255]}},
 "outputs": [{"rtstruct": {"label": "{pipeline} {date}"}}, {"rtstruct": {"label": "LUNG", "structures": ["basic:Lung_L"]}}],
 "deliver": [{"to": "tps"}, {"to": "xor"}]}"#;

#[test]
fn each_destination_gets_the_structure_sets_of_its_dialect() {
    let play = Play::start(&[("two", TWO_DIALECTS)]);
    let identity = Identity::of(&thorax());
    play.send(&write_series(&play.path("images"), &thorax(), &identity));
    let jobs = play.wait_for_delivered(1);
    let run = jobs[0].run.as_ref().expect("a run");
    let to: Vec<String> = run.objects.iter().map(|object| object.to.as_ref().expect("peers").join(" ")).collect();
    assert_eq!(to, ["tps", "xor", "tps", "xor"]);
    assert!(
        run.warnings.iter().any(|told| told.contains("Bone_of_the_whole_body is called Bone_of_the_whol")),
        "{run:?}"
    );
    // Both peers are one receiver, so that it holds what each of them got.
    let sets = play.received();
    let names = |label: &str, first: &str| -> usize {
        let named = |set: &&contourd::output::rtstruct::ParsedStructureSet| {
            set.label.starts_with(label) && set.rois.iter().any(|roi| roi.name == first)
        };
        sets.iter().filter(named).count()
    };
    assert_eq!(sets.len(), 4);
    assert_eq!([names("two 20", "Lung_L"), names("two 20", "L_Lung")], [1, 1]);
    assert_eq!([names("LUNG", "Lung_L"), names("LUNG", "L_Lung")], [1, 1]);
    let series: std::collections::BTreeSet<&Uid> = sets.iter().map(|set| &set.series_instance_uid).collect();
    assert_eq!(series.len(), 4, "each in a series of its own");
}
