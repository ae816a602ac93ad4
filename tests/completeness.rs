//! Series of which something is missing, through the whole gateway on loopback: they wait, they are shown with what is
//! missing, and they run by themselves when it comes.

mod gateway;

use std::path::{Path, PathBuf};

use contourd::dicom::Uid;
use contourd::node::{SeriesRecord, SeriesState};
use contourd::phantom::Identity;
use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::tags;
use gateway::{Play, thorax, write_series};

const BODY: &str = r#"{"id": "body", "revision": 1, "mode": "live",
 "inputs": {"ct": {"all": [{"tag": "Modality", "eq": "CT"}], "slices": {"min": 3}}},
 "steps": [{"id": "basic", "model": "ct-basic", "in": {"ct": "ct"}}],
 "structures": {"basic:BODY": {"name": "BODY", "type": "EXTERNAL", "color": [0, 255, 0]}},
 "outputs": [{"rtstruct": {"label": "AUTO"}}], "deliver": [{"to": "tps"}]}"#;

/// Files of the images with Number of Series Related Instances.
fn promising(folder: &Path, count: usize, files: &[PathBuf]) -> Vec<PathBuf> {
    std::fs::create_dir_all(folder).expect("a folder");
    let write = |file: &PathBuf| {
        let mut object = dicom_object::open_file(file).expect("an instance");
        let count = PrimitiveValue::from(count.to_string());
        object.put(DataElement::new(tags::NUMBER_OF_SERIES_RELATED_INSTANCES, VR::IS, count));
        let path = folder.join(file.file_name().expect("a name"));
        object.write_to_file(&path).expect("written");
        path
    };
    files.iter().map(write).collect()
}

#[test]
fn a_series_with_a_gap_or_fewer_images_than_promised_is_held_and_runs_when_the_rest_comes() {
    let play = Play::start(&[("body", BODY)]);
    let first = Identity::of(&thorax());
    let second = Identity { series_instance_uid: Uid::derived(["promising series"]), ..first.clone() };
    let gap = write_series(&play.path("gap"), &thorax(), &first);
    let plain = write_series(&play.path("plain"), &thorax(), &second);
    let short = promising(&play.path("promising"), plain.len(), &plain);
    let (count, middle, last) = (gap.len(), gap.len() / 2, short.len() - 1);
    play.send(&[&gap[..middle], &gap[middle + 1..]].concat());
    play.send(&short[..last]);
    let note = |series: &[SeriesRecord], uid: &Uid| {
        let of = series.iter().find(|one| one.series.series_instance_uid == *uid && one.state == SeriesState::Held);
        of.map(|one| one.note.clone())
    };
    let (jobs, series) = play.wait("the series are not held", |_, series| {
        note(series, &first.series_instance_uid).is_some() && note(series, &second.series_instance_uid).is_some()
    });
    assert!(jobs.is_empty(), "{}", play.describe());
    let told = |uid| note(&series, uid).unwrap_or_default();
    assert_eq!(told(&first.series_instance_uid), format!("1 slice seems to be missing among {}", count - 1));
    assert!(told(&second.series_instance_uid).starts_with(&format!("{last} of {count} instances came")));
    play.send(&[gap[middle].clone(), short[last].clone()]);
    let jobs = play.wait_for_delivered(2);
    assert_eq!(jobs.len(), 2, "{}", play.describe());
    assert!(jobs.iter().all(|job| job.instances.len() == count));
    for job in &jobs {
        // The quiet time after a release is a second here.
        let waited_s = job.waited_s().expect("it has run");
        assert!((0.5..60.0).contains(&waited_s), "{waited_s} s");
    }
}

#[test]
fn a_number_that_an_archive_tells_too_high_holds_no_series_for_good() {
    let play = Play::start(&[("body", BODY)]);
    let plain = write_series(&play.path("plain"), &thorax(), &Identity::of(&thorax()));
    let files = promising(&play.path("promising"), plain.len() + 1, &plain);
    play.send(&files);
    play.wait("the series is not held", |_, series| series.iter().any(|one| one.state == SeriesState::Held));
    let jobs = play.wait_for_delivered(1);
    let told = format!("{} of {} instances came", plain.len(), plain.len() + 1);
    assert!(jobs[0].reasons.iter().any(|reason| reason.contains(&told)), "{:?}", jobs[0].reasons);
    let (_, series) = play.wait("it is not matched", |_, series| series[0].state == SeriesState::Matched);
    let warnings = series[0].assessment.clone().map(|assessment| assessment.warnings).unwrap_or_default();
    assert!(warnings.iter().any(|warning| warning.contains(&told)), "{warnings:?}");
}
