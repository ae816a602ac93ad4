//! The end of what is old: recorded first, finished after a crash, and no obstacle to the same series sent again.

mod gateway;

use contourd::daemon::LEDGER_FILE;
use contourd::dicom::{SeriesKey, Uid};
use contourd::job::{Job, JobId, RetryPolicy};
use contourd::ledger::Ledger;
use contourd::node::{
    Answer, Assessment, Effect, Event, Node, Order, Placed, Record, Removal, Settings, Source, Stored,
};
use contourd::phantom::Identity;
use contourd::pipeline::Completeness;
use gateway::{Play, thorax, write_series};
use jiff::{SignedDuration, Timestamp};

const BODY: &str = r#"{"id": "body", "revision": 1, "mode": "live",
 "inputs": {"ct": {"all": [{"tag": "Modality", "eq": "CT"}], "slices": {"min": 3}}},
 "steps": [{"id": "basic", "model": "ct-basic", "in": {"ct": "ct"}}],
 "structures": {"basic:BODY": {"name": "BODY", "type": "EXTERNAL", "color": [0, 255, 0]}},
 "outputs": [{"rtstruct": {"label": "AUTO"}}], "deliver": [{"to": "tps"}]}"#;

#[test]
fn a_removal_that_a_crash_cut_short_is_finished_and_the_series_may_come_again() {
    let mut play = Play::start(&[("body", BODY)]);
    let identity = Identity::of(&thorax());
    let files = write_series(&play.path("images"), &thorax(), &identity);
    play.send(&files);
    let job = play.wait_for_delivered(1).remove(0);
    // The gateway ends right after it has recorded that the series goes: some files are gone, others are not.
    play.stop();
    let series = job.series.clone();
    let folder = play.path("var").join("instances").join(series.study_instance_uid.as_str());
    let folder = folder.join(series.series_instance_uid.as_str());
    let first = std::fs::read_dir(&folder).expect("the series").next().expect("an instance").expect("an entry");
    std::fs::remove_file(first.path()).expect("removed");
    let path = play.path("var").join(LEDGER_FILE);
    let mut ledger = Ledger::open(&path).expect("opens");
    let before = Timestamp::now().checked_add(SignedDuration::from_secs(1)).expect("in range");
    let removal = Removal { series, jobs: vec![job.id.clone()], before };
    ledger.apply(&[Record::Removing(removal)]).expect("recorded");
    drop(ledger);
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    play.start_again();
    play.wait("the removal is not finished", |_, _| !folder.exists());
    assert!(!play.path("var").join("objects").join(job.id.as_str()).exists(), "its objects are gone too");
    std::thread::sleep(std::time::Duration::from_secs(7));
    assert_eq!(play.wait_for_delivered(1).len(), 1, "what was left over is not worked on:\n{}", play.describe());
    assert_eq!(play.received().len(), 1);
    assert_eq!(Ledger::open_existing(&path).expect("opens").removals().expect("reads"), []);
    // The same images again are a new series to the gateway: the job is made anew, with objects of its own.
    play.send(&files);
    play.wait("the series that came again is not worked on", |jobs, _| {
        jobs.len() == 1 && jobs[0].created_at > job.created_at && jobs[0].state.is_done()
    });
    assert_eq!(play.received().len(), 2, "{}", play.describe());
}

fn settings() -> Settings {
    let retry_default = RetryPolicy { initial_s: 1.0, multiplier: 2.0, max_s: 2.0, max_age_s: 60.0 };
    Settings {
        waiting: Vec::new(),
        waiting_default: Completeness::default(),
        ask: Vec::new(),
        ask_default: None,
        workers: 1,
        runs_max: 3,
        retry: Default::default(),
        retry_default,
        verify: Default::default(),
    }
}

fn stored(slice: u32) -> Stored {
    Stored {
        series: SeriesKey {
            study_instance_uid: "1.2".parse().expect("a UID"),
            series_instance_uid: "1.3".parse().expect("a UID"),
        },
        sop_instance_uid: format!("1.4.{slice}").parse().expect("a UID"),
        digest: "d".to_owned(),
        size_bytes: 1,
        calling_ae: "CT".parse().expect("a title"),
        called_ae: "CONTOURD".parse().expect("a title"),
        association: 1,
        received_at: Timestamp::UNIX_EPOCH,
        placed: Some(Placed { position_mm: f64::from(slice), ..Placed::default() }),
    }
}

fn records(effects: &[Effect]) -> Vec<Record> {
    effects
        .iter()
        .filter_map(|effect| if let Effect::Record(record) = effect { Some(record.clone()) } else { None })
        .collect()
}

/// Sends four slices, and answers until the job of their two volumes are delivered; the jobs.
fn life(node: &mut Node, ledger: &mut Ledger, begin_s: i64) -> Vec<Job> {
    let at = |second: i64| Timestamp::from_second(begin_s + second).expect("in range");
    let mut effects: Vec<Effect> = (0..4).flat_map(|slice| node.handle(Event::Stored(stored(slice)), at(0))).collect();
    effects.extend(node.handle(Event::Tick, at(60)));
    ledger.apply(&records(&effects)).expect("applies");
    let of = |slices: [u32; 2]| Source {
        instances: slices.map(|s| stored(s).sop_instance_uid).to_vec(),
        ..Source::default()
    };
    let order = Order { pipeline: "p".to_owned(), destinations: vec!["tps".to_owned()], ..Order::default() };
    let order = Order { fills: vec!["ct".to_owned()], ..order };
    let assessment = Assessment { orders: vec![order], sources: vec![of([0, 1]), of([2, 3])], ..Assessment::default() };
    let series = stored(0).series;
    let mut effects = node.handle(Event::Assessed { series, revision: 1, assessment: Box::new(assessment) }, at(61));
    let mut second = 62;
    let mut jobs = Vec::new();
    while let Some(effect) = (!effects.is_empty()).then(|| effects.remove(0)) {
        second += 1;
        let answer = match effect {
            Effect::Record(record) => {
                ledger.apply(&[record]).expect("applies");
                continue;
            }
            Effect::Infer { job } => {
                jobs.push(*job.clone());
                Event::Produced { job: job.id, run: Box::default() }
            }
            Effect::Send { job, to, .. } => Event::Answered { job, to, answer: Answer::Sent { remark: String::new() } },
            other => panic!("not now: {other:?}"),
        };
        effects.extend(node.handle(answer, at(second)));
    }
    jobs
}

#[test]
fn what_goes_is_recorded_before_it_is_removed_and_its_jobs_are_made_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut ledger = Ledger::open(&folder.path().join("ledger.sqlite")).expect("opens");
    let mut node = Node::new(settings());
    let jobs = life(&mut node, &mut ledger, 0);
    let mut used: Vec<Vec<Uid>> = jobs.iter().map(|job| job.instances.clone()).collect();
    used.sort();
    let uids = |slices: [u32; 2]| slices.map(|slice| stored(slice).sop_instance_uid).to_vec();
    assert_eq!(used, [uids([0, 1]), uids([2, 3])], "a job for each volume, of its images");
    assert_eq!(jobs[0].waited_s(), Some(61.0), "from the last image to the begin of the run");
    let before = Timestamp::from_second(10_000).expect("in range");
    let effects = node.handle(Event::Expire { before, committed_before: None }, before);
    let removal = match effects.as_slice() {
        [Effect::Record(Record::Removing(recorded)), Effect::Record(Record::History { .. }), Effect::Remove(asked)] => {
            assert_eq!(recorded, asked);
            asked.clone()
        }
        _ => panic!("{effects:?}"),
    };
    let ids = |jobs: &[Job]| -> Vec<JobId> { jobs.iter().map(|job| job.id.clone()).collect() };
    let mut gone = ids(&jobs);
    gone.sort();
    let mut named = removal.jobs.clone();
    named.sort();
    assert_eq!(named, gone);
    ledger.apply(&records(&effects)).expect("applies");
    // After a crash here nothing of it is known, and its files are still to be removed.
    let restored = ledger.restore().expect("restores");
    assert!(restored.instances.is_empty() && restored.series.is_empty() && restored.known.is_empty());
    assert_eq!(ledger.removals().expect("reads"), std::slice::from_ref(&removal));
    let (mut again, _) = Node::restore(settings(), restored, before);
    let effects = node.handle(Event::Removed { series: removal.series }, before);
    ledger.apply(&records(&effects)).expect("applies");
    assert_eq!(ledger.removals().expect("reads"), []);
    for node in [&mut node, &mut again] {
        assert_eq!(ids(&life(node, &mut ledger, 20_000)), ids(&jobs), "made again, whether it crashed or not");
        node.handle(
            Event::Expire { before: Timestamp::from_second(90_000).expect("in range"), committed_before: None },
            before,
        );
    }
    assert_eq!(ledger.restore().expect("restores").known.len(), 2, "and known again");
}

#[test]
fn a_series_that_is_sent_again_is_young_after_a_restart_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut ledger = Ledger::open(&folder.path().join("ledger.sqlite")).expect("opens");
    let mut node = Node::new(settings());
    life(&mut node, &mut ledger, 0);
    let at = |second: i64| Timestamp::from_second(second).expect("in range");
    let again = |slice: u32| Event::Stored(Stored { association: 2, ..stored(slice) });
    let effects = node.handle(again(1), at(9_000));
    let [Effect::Record(Record::Series(recorded))] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(recorded.last_at, at(9_000));
    ledger.apply(&records(&effects)).expect("applies");
    assert!(node.handle(again(2), at(9_001)).is_empty(), "once for each association");
    let (mut restarted, _) = Node::restore(settings(), ledger.restore().expect("restores"), at(9_500));
    assert!(restarted.handle(Event::Expire { before: at(8_000), committed_before: None }, at(9_501)).is_empty());
    assert!(!restarted.handle(Event::Expire { before: at(9_400), committed_before: None }, at(9_502)).is_empty());
}

#[test]
fn a_removal_that_is_finished_late_spares_what_jobs_made_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut ledger = Ledger::open(&folder.path().join("ledger.sqlite")).expect("opens");
    let jobs = life(&mut Node::new(settings()), &mut ledger, 0);
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id.clone()).collect();
    let removal = Removal { series: stored(0).series, jobs: ids.clone(), before: Timestamp::UNIX_EPOCH };
    ledger.apply(&[Record::Removing(removal)]).expect("applies");
    assert_eq!(ledger.removals().expect("reads")[0].jobs, ids);
    ledger.apply(&[Record::Job(Box::new(jobs[0].clone()))]).expect("applies");
    assert_eq!(ledger.removals().expect("reads")[0].jobs, ids[1..]);
}
