//! Pipelines of several series through the whole gateway on loopback: from C-STORE to the structure set that arrives.

mod gateway;

use std::process::Command;

use contourd::dicom::Uid;
use contourd::node::SeriesState;
use contourd::phantom::Identity;
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
fn two_series(play: &Play) -> [(Uid, Vec<std::path::PathBuf>); 2] {
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
    assert_eq!(set.referenced_images, first_files.len());
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
