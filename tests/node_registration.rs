//! A pipeline of two series of different Frames of Reference and the registration that relates them, in the node as a value:
//! in whatever order the three come, once or twice, and with a crash after any effect, one job is made of all of them.

#[path = "node_registration/studies.rs"]
mod studies;

use std::collections::{BTreeMap, BTreeSet};

use contourd::dicom::{SeriesKey, Uid};
use contourd::job::{Job, JobId, JobState, RetryPolicy, Run};
use contourd::node::{
    Answer, Assessment, Effect, Event, InputRules, Node, Order, Record, Restored, SeriesRecord, SeriesState, Settings,
    SlotRule, Source, Stored,
};
use contourd::output::registration::{Relation, Side};
use contourd::pipeline::{Completeness, Frame, Picking, Same};
use contourd::volume::Rigid;
use jiff::{SignedDuration, Timestamp};

const CT: &str = "1.3.1";
const MR: &str = "1.3.2";
const REG: &str = "1.3.3";
/// A second study of the patient, which sorts after the first.
const LATER_CT: &str = "1.3.21";
const LATER_MR: &str = "1.3.22";
const LATER_REG: &str = "1.3.23";
const LATER_STUDY: &str = "1.9";
/// Longest wait of the pipeline, and of its optional slot.
const SETTLE_S: f64 = 100.0;

fn uid(text: &str) -> Uid {
    text.parse().expect("a UID")
}

/// What is durable, and the node that lives on it.
struct World {
    now: Timestamp,
    node: Node,
    spool: BTreeMap<Uid, Stored>,
    instances: BTreeMap<Uid, Stored>,
    series: BTreeMap<SeriesKey, SeriesRecord>,
    jobs: BTreeMap<JobId, Job>,
    history: Vec<String>,
    answers: Vec<Event>,
    /// After so many effects the process ends, once.
    crash_after: Option<usize>,
    optional: bool,
    /// What each registration says: its date, the Frame of Reference that it relates, whether it is rigid.
    says: BTreeMap<&'static str, (&'static str, &'static str, bool)>,
    studies: BTreeMap<&'static str, &'static str>,
    /// The Frame of Reference of a series, or that to which a registration leads, where it is another than usual.
    frames: BTreeMap<&'static str, &'static str>,
    /// The definition of the pipeline.
    digest: &'static str,
    removed: Vec<SeriesKey>,
}

impl World {
    fn new() -> World {
        World {
            now: Timestamp::from_second(1_000).expect("in range"),
            node: Node::new(settings()),
            spool: BTreeMap::new(),
            instances: BTreeMap::new(),
            series: BTreeMap::new(),
            jobs: BTreeMap::new(),
            history: Vec::new(),
            answers: Vec::new(),
            crash_after: None,
            optional: false,
            says: BTreeMap::from([(REG, ("1", "2.2", true))]),
            studies: BTreeMap::new(),
            frames: BTreeMap::new(),
            digest: "d",
            removed: Vec::new(),
        }
    }

    fn key(&self, series: &'static str) -> SeriesKey {
        let study_instance_uid = uid(self.studies.get(series).unwrap_or(&"1.2"));
        SeriesKey { study_instance_uid, series_instance_uid: uid(series) }
    }

    /// One instance of each series is enough here.
    fn send(&mut self, series: &'static str) {
        let stored = Stored {
            series: self.key(series),
            sop_instance_uid: uid(&format!("{series}.1")),
            digest: format!("digest of {series}"),
            size_bytes: 1,
            calling_ae: "CT".parse().expect("a title"),
            called_ae: "CONTOURD".parse().expect("a title"),
            association: 1,
            received_at: self.now,
            placed: None,
        };
        self.spool.insert(stored.sop_instance_uid.clone(), stored.clone());
        self.tell(Event::Stored(stored));
    }

    fn tell(&mut self, event: Event) {
        let effects = self.node.handle(event, self.now);
        self.carry_out(effects);
    }

    fn pass(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now += SignedDuration::from_secs(1);
            self.tell(Event::Tick);
            while !self.answers.is_empty() {
                let answer = self.answers.remove(0);
                self.now += SignedDuration::from_millis(1);
                self.tell(answer.clone());
                self.tell(answer); // Every answer can come twice.
            }
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Record(Record::Instance(stored)) => {
                    drop(self.instances.insert(stored.sop_instance_uid.clone(), stored));
                }
                Effect::Record(Record::Series(series)) => drop(self.series.insert(series.series.clone(), series)),
                Effect::Record(Record::Job(job)) => drop(self.jobs.insert(job.id.clone(), *job)),
                Effect::Record(Record::History { text, .. }) => self.history.push(text),
                Effect::Record(_) => {}
                Effect::Assess { series, revision, .. } => {
                    let assessment = Box::new(self.assess(&series));
                    self.answers.push(Event::Assessed { series, revision, assessment });
                }
                Effect::Infer { job } => {
                    self.answers.push(Event::Produced { job: job.id.clone(), run: Box::new(Run::default()) });
                }
                Effect::Send { job, to, .. } => {
                    self.answers.push(Event::Answered { job, to, answer: Answer::Sent { remark: String::new() } });
                }
                Effect::Remove(removal) => self.removed.push(removal.series),
                other => panic!("not in this life: {other:?}"),
            }
            if let Some(left) = &mut self.crash_after {
                if *left == 0 {
                    self.crash_after = None;
                    return self.crash();
                }
                *left -= 1;
            }
        }
    }

    /// A new process starts from what is durable.
    fn crash(&mut self) {
        self.answers.clear();
        let restored = Restored {
            instances: self.instances.values().cloned().collect(),
            series: self.series.values().cloned().collect(),
            jobs: self.jobs.values().filter(|job| !job.state.is_final()).cloned().collect(),
            known: self.jobs.keys().cloned().collect(),
            commitments: Vec::new(),
            retrievals: Vec::new(),
        };
        let (node, effects) = Node::restore(settings(), restored, self.now);
        self.node = node;
        self.carry_out(effects);
        let known = &self.instances;
        let orphans: Vec<Stored> =
            self.spool.values().filter(|stored| !known.contains_key(&stored.sop_instance_uid)).cloned().collect();
        for orphan in orphans {
            self.tell(Event::Stored(orphan));
        }
    }

    fn assess(&self, key: &SeriesKey) -> Assessment {
        let series = key.series_instance_uid.as_str();
        let usual = if [CT, LATER_CT].contains(&series) { "2.1" } else { "2.2" };
        let frame = *self.frames.get(series).unwrap_or(&usual);
        let mut source = Source {
            patient: Some(uid("7")),
            frame_of_reference_uid: Some(uid(frame)),
            instances: vec![uid(&format!("{series}.1"))],
            ..Source::default()
        };
        if let Some((date, from, is_rigid)) = self.says.get(series) {
            let to_registered = if *is_rigid { Ok(Rigid::IDENTITY) } else { Err("it scales".to_owned()) };
            let side = Side { frame_of_reference_uid: Some(uid(from)), series: Vec::new(), to_registered };
            let registered = Some(uid(self.frames.get(series).unwrap_or(&"2.1")));
            source.registration = Some(Relation { registered, sides: vec![side], is_deformable: false, problem: None });
            source.series_date = (*date).to_owned();
        }
        let fills = match series {
            CT | LATER_CT => vec!["ct".to_owned()],
            MR | LATER_MR => vec!["mr".to_owned()],
            _ => Vec::new(),
        };
        let order = Order {
            pipeline: "pair".to_owned(),
            digest: self.digest.to_owned(),
            destinations: vec!["tps".to_owned()],
            fills,
            inputs: self.rules(),
            ..Order::default()
        };
        Assessment { orders: vec![order], sources: vec![source], ..Assessment::default() }
    }

    fn rules(&self) -> InputRules {
        let slot = |name: &str| SlotRule {
            name: name.to_owned(),
            primary: name == "ct",
            optional: name == "mr" && self.optional,
            wait_s: if name == "mr" && self.optional { 30.0 } else { SETTLE_S },
            picking: Picking::default(),
            frame: if name == "ct" { Frame::Same } else { Frame::Any },
            drawn_on: None,
            structures: false,
            fetch: None,
        };
        InputRules { same: Same::Study, slots: ["ct", "mr"].map(slot).to_vec(), settle_s: SETTLE_S }
    }

    fn state(&self, series: &'static str) -> (SeriesState, &str) {
        let record = &self.series[&self.key(series)];
        (record.state, &record.note)
    }

    /// The slots of the only job that is not finished otherwise.
    fn only_job(&self) -> &Job {
        assert_eq!(self.jobs.len(), 1, "{:?}", self.history);
        let job = self.jobs.values().next().expect("one");
        assert_eq!(job.state, JobState::Sent, "{:?}", self.history);
        job
    }
}

fn settings() -> Settings {
    let retry_default = RetryPolicy { initial_s: 1.0, multiplier: 2.0, max_s: 2.0, max_age_s: 60.0 };
    let waiting_default = Completeness { quiet_s: 3.0, released_quiet_s: 1.0, ..Completeness::default() };
    Settings {
        waiting: Vec::new(),
        waiting_default,
        workers: 1,
        runs_max: 3,
        retry: BTreeMap::new(),
        retry_default,
        verify: BTreeMap::new(),
        ask: Vec::new(),
        ask_default: None,
    }
}

const ORDERS: [[&str; 3]; 6] =
    [[CT, MR, REG], [CT, REG, MR], [MR, CT, REG], [MR, REG, CT], [REG, CT, MR], [REG, MR, CT]];

/// What the job is made of.
fn check_job(job: &Job, registration: &str) {
    let slots: Vec<(&str, &str)> =
        job.inputs.iter().map(|input| (input.slot.as_str(), input.series.series_instance_uid.as_str())).collect();
    assert_eq!(slots, [("ct", CT), ("mr", MR)]);
    let by = job.inputs[1].registration.as_ref().expect("a registration");
    assert_eq!(by.series.series_instance_uid.as_str(), registration);
    assert_eq!(by.sop_instance_uid.as_str(), format!("{registration}.1"));
    assert!(job.inputs[0].registration.is_none());
    assert!(
        job.reasons.iter().any(|reason| reason.contains(&format!("by object {registration}.1"))),
        "{:?}",
        job.reasons
    );
}

#[test]
fn every_order_of_arrival_ends_in_one_and_the_same_job() {
    let mut names = BTreeSet::new();
    for order in ORDERS {
        for pause_s in [0, 10, 60] {
            let mut world = World::new();
            for series in order {
                world.send(series);
                world.pass(pause_s);
            }
            world.pass(300);
            check_job(world.only_job(), REG);
            names.insert(world.only_job().id.clone());
            for series in order {
                assert_eq!(world.state(series).0, SeriesState::Matched, "{series} of {order:?}");
            }
            // Once more is nothing new.
            for series in order {
                world.send(series);
                world.pass(20);
            }
            world.pass(300);
            check_job(world.only_job(), REG);
        }
    }
    assert_eq!(names.len(), 1);
}

#[test]
fn a_crash_after_any_effect_makes_no_second_job_and_loses_none() {
    let mut crashes = 0;
    for order in ORDERS {
        for crash_after in 0.. {
            let mut world = World::new();
            world.crash_after = Some(crash_after);
            for series in order {
                world.send(series);
                world.pass(8);
            }
            world.pass(300);
            check_job(world.only_job(), REG);
            if world.crash_after.is_some() {
                break; // It lived to the end.
            }
            crashes += 1;
        }
    }
    assert!(crashes > 100, "only {crashes} crashes");
}

#[test]
fn without_a_registration_the_pair_is_refused_in_time_and_runs_when_it_comes() {
    let mut world = World::new();
    world.send(CT);
    world.send(MR);
    world.pass(20);
    let told = world.state(MR).1.to_owned();
    assert!(
        told.contains("pair: waits for a registration: mr: found Frame of Reference 2.2, and 2.1 of the"),
        "{told}"
    );
    assert!(told.contains("none came"), "{told}");
    world.pass(SETTLE_S as i64 - 30);
    assert!(world.state(CT).1.contains("waits for a registration"), "{}", world.state(CT).1);
    world.pass(30);
    for series in [CT, MR] {
        let (state, told) = world.state(series);
        assert!(
            state == SeriesState::Waiting && told.contains("refused, because no registration came in time"),
            "{told}"
        );
    }
    assert!(world.jobs.is_empty() && world.node.is_idle());
    let refusals = world.history.iter().filter(|text| text.contains("refused, because")).count();
    assert_eq!(refusals, 2, "told once of each series");
    world.send(REG);
    world.pass(20);
    check_job(world.only_job(), REG);
}

#[test]
fn a_registration_that_does_not_help_is_named() {
    for (says, told) in [(("1", "2.9", true), "one came that relates others"), (("1", "2.2", false), "it scales")] {
        let mut world = World::new();
        world.says.insert(REG, says);
        for series in [REG, CT, MR] {
            world.send(series);
        }
        world.pass(300);
        assert!(world.jobs.is_empty(), "{:?}", world.history);
        assert!(world.state(CT).1.contains(told), "{}", world.state(CT).1);
    }
}

#[test]
fn a_newer_registration_makes_a_newer_result() {
    let mut world = World::new();
    for series in [CT, MR, REG] {
        world.send(series);
    }
    world.pass(60);
    check_job(world.only_job(), REG);
    let first = world.only_job().id.clone();
    // An older one changes nothing.
    world.says.insert("1.3.4", ("0", "2.2", true));
    world.send("1.3.4");
    world.pass(60);
    check_job(world.only_job(), REG);
    let told = "pair did not need this registration; it used 1.3.3.1";
    assert_eq!(world.state("1.3.4"), (SeriesState::Unmatched, told));
    world.says.insert("1.3.5", ("2", "2.2", true));
    world.send("1.3.5");
    world.pass(60);
    assert_eq!(world.jobs.len(), 2);
    let second = world.jobs.values().find(|job| job.id != first).expect("a second");
    check_job(second, "1.3.5");
    assert!(second.reasons.iter().any(|reason| reason.ends_with("the newest of 3")), "{:?}", second.reasons);
    // One that cannot be used is told of where it lies, because the study is finished.
    world.says.insert("1.3.6", ("3", "2.2", false));
    world.send("1.3.6");
    world.pass(300);
    assert_eq!(world.jobs.len(), 2);
    let (state, told) = world.state("1.3.6");
    assert!(state == SeriesState::Waiting && told.contains("it scales"), "{told}");
}

#[test]
fn a_registration_of_another_study_of_the_patient_counts() {
    for order in ORDERS {
        let mut world = World::new();
        world.studies.insert(REG, "1.9");
        for series in order {
            world.send(series);
            world.pass(30);
        }
        world.pass(100);
        check_job(world.only_job(), REG);
        assert_eq!(world.state(REG).0, SeriesState::Matched);
    }
    // Alone it says what it is for.
    let mut world = World::new();
    world.send(REG);
    world.pass(300);
    assert_eq!(world.state(REG), (SeriesState::Waiting, "pair: waits for the series that it relates"));
}

#[test]
fn an_optional_series_without_a_registration_is_left_out_and_comes_in_later() {
    let mut world = World::new();
    world.optional = true;
    world.send(CT);
    world.send(MR);
    world.pass(20);
    assert!(world.jobs.is_empty(), "its time is not over");
    world.pass(40);
    let job = world.only_job();
    assert_eq!(job.inputs.len(), 1);
    assert!(job.reasons.iter().any(|reason| reason.starts_with("mr: passed over a series")), "{:?}", job.reasons);
    let first = job.id.clone();
    world.send(REG);
    world.pass(60);
    assert_eq!(world.jobs.len(), 2);
    check_job(world.jobs.values().find(|job| job.id != first).expect("a second"), REG);
}

#[test]
fn a_registration_goes_with_its_own_series_and_not_under_a_job() {
    let mut world = World::new();
    for series in [CT, MR, REG] {
        world.send(series);
    }
    // Until the job is queued, and not further: nobody answers.
    while world.jobs.is_empty() {
        world.now += SignedDuration::from_secs(1);
        world.tell(Event::Tick);
        let assessed = world.answers.iter().position(|answer| matches!(answer, Event::Assessed { .. }));
        if let Some(index) = assessed {
            let answer = world.answers.remove(index);
            world.tell(answer);
        }
    }
    let before = world.now + SignedDuration::from_secs(1);
    world.tell(Event::Expire { before, committed_before: None });
    assert!(world.removed.is_empty(), "what an unfinished job needs stays: {:?}", world.removed);
    world.pass(10);
    assert_eq!(world.only_job().state, JobState::Sent);
    let before = world.now + SignedDuration::from_secs(1);
    world.tell(Event::Expire { before, committed_before: None });
    assert_eq!(world.removed.len(), 3);
}
