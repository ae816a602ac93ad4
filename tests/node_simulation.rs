//! Whole lives of the gateway from seeds, without a socket or a clock: instances lost, repeated, reordered and
//! interleaved, workers lost, destinations away, pipelines changed, and a crash after any effect. What must hold in the
//! end is asserted. A pipeline "alone" takes each series, "pair" the first and second of the study, with the third if
//! it comes in time or is fetched from the archive, which is asked how many instances a series has, too.

#[path = "node_simulation/archive.rs"]
mod archive;

use std::collections::{BTreeMap, BTreeSet};

use contourd::dicom::{SeriesKey, Uid};
use contourd::dimse::commitment::{CommitmentReport, Failed, FailureReason, Reference};
use contourd::job::{Delivery, Job, JobId, JobState, ProducedObject, RetryPolicy, Run, Verification, VerifyBy};
use contourd::node::{
    Answer, Assessment, Confirmation, DeliveryGroup, Effect, Event, InputRules, Node, Order, Placed, Question, Record,
    Restored, Retrieval, SeriesRecord, Settings, SlotRule, Source, Stored,
};
use contourd::pipeline::{After, Completeness, Frame, OnTimeout, Picking, Same};
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

const LIVES: u64 = 10_000;
/// The SOP Instance UID of what a job makes; destinations know it by the job.
const OBJECT: &str = "1.7";
const DESTINATIONS: [&str; 4] = ["tps", "pacs", "main", "standby"];
/// Those of which one gets a result.
const GROUP: [&str; 2] = ["main", "standby"];

#[test]
fn every_complete_series_ends_in_one_result_at_each_destination() {
    let (mut crashes, mut lost_workers, mut revisions, mut pairs, mut stopped, mut stood_in) = (0, 0, 0, 0, 0, 0);
    let (mut retrievals, mut fetched) = (0, 0);
    for seed in 0..LIVES {
        let world = World::live(seed);
        crashes += world.crashes;
        lost_workers += world.lost_workers;
        revisions += world.ledger.series.values().filter(|series| series.revision > 1).count();
        pairs += world.ledger.jobs.values().filter(|job| job.pipeline == "pair").count();
        stopped += world.stopped;
        retrievals += world.ledger.retrievals.len();
        fetched += world.fetched;
        stood_in += world.ledger.jobs.values().filter(|job| world.holder(seed, job) == "standby").count();
    }
    println!(
        "{LIVES} lives: {crashes} crashes, {stopped} orderly ends, {lost_workers} workers lost, {revisions} series with \
         a late instance, {pairs} jobs of several series, {stood_in} results at a standby, {retrievals} retrievals, \
         {fetched} instances fetched"
    );
    assert!(retrievals > 1_000 && fetched > 100, "{retrievals} retrievals, {fetched} instances");
    assert!(
        crashes > LIVES
            && lost_workers > LIVES / 10
            && revisions > 100
            && pairs > LIVES as usize / 4
            && stopped > 100
            && stood_in > 100,
        "the lives are too quiet to show anything"
    );
}

/// What is durable of the gateway's records.
#[derive(Default)]
struct Ledger {
    instances: BTreeMap<Uid, Stored>,
    series: BTreeMap<SeriesKey, SeriesRecord>,
    jobs: BTreeMap<JobId, Job>,
    retrievals: BTreeMap<Uid, Retrieval>,
}

impl Ledger {
    fn apply(&mut self, record: Record) {
        match record {
            Record::Instance(stored) => {
                let before = self.instances.insert(stored.sop_instance_uid.clone(), stored);
                assert!(before.is_none(), "an instance is recorded once");
            }
            Record::Series(series) => drop(self.series.insert(series.series.clone(), series)),
            Record::Job(job) => drop(self.jobs.insert(job.id.clone(), *job)),
            Record::Retrieval(retrieval) => drop(self.retrievals.insert(retrieval.id.clone(), *retrieval)),
            Record::Removing(_) | Record::Removed(_) | Record::History { .. } | Record::Commitment(_) => {}
        }
    }
}

struct World {
    seed: u64,
    rng: Rng,
    now: Timestamp,
    /// Chance in a thousand of a crash after an effect.
    crash: u64,
    crashes: u64,
    lost_workers: u64,
    stopped: u64,
    /// Instances that came from the archive.
    fetched: u64,
    /// Counts the changes of the pipeline "pair".
    version: u32,
    /// What the senders have not had acknowledged yet.
    unsent: Vec<Stored>,
    /// What the archive alone has.
    archived: Vec<Stored>,
    /// Durable and acknowledged.
    spool: BTreeMap<Uid, Stored>,
    ledger: Ledger,
    /// Instances that a job was made from; objects are durable.
    objects: BTreeMap<JobId, Vec<Uid>>,
    /// What each destination holds.
    received: BTreeMap<&'static str, BTreeMap<JobId, Vec<Uid>>>,
    /// What a destination has said that it has: it does not lose it after.
    confirmed: BTreeSet<(JobId, String)>,
    /// Answers on their way to the node; gone with a crash.
    answers: Vec<Event>,
    node: Node,
}

impl World {
    fn live(seed: u64) -> World {
        let mut rng = Rng::with_seed(seed);
        let mut unsent = shuffled_series(&mut rng);
        let archived = archive::archived(&mut unsent, &mut rng);
        let crash = rng.u64(0..60);
        let received = DESTINATIONS.map(|to| (to, BTreeMap::new())).into_iter().collect();
        let mut world = World {
            seed,
            rng,
            now: Timestamp::UNIX_EPOCH,
            crash,
            crashes: 0,
            lost_workers: 0,
            stopped: 0,
            fetched: 0,
            version: 0,
            unsent,
            archived,
            spool: BTreeMap::new(),
            ledger: Ledger::default(),
            objects: BTreeMap::new(),
            received,
            confirmed: BTreeSet::new(),
            answers: Vec::new(),
            node: Node::new(settings()),
        };
        for _ in 0..200 {
            world.step();
        }
        world.settle();
        world.check();
        world
    }

    fn step(&mut self) {
        match self.rng.u8(0..10) {
            0..=3 => self.send(),
            4 => self.pass(500),
            5 => self.pass(4_000),
            6 => {
                let released = self.rng.bool();
                let association = self.rng.u64(1..4);
                self.tell(Event::Closed { association, released });
            }
            7 if self.rng.u8(0..20) == 0 => self.crash(),
            7 if self.rng.u8(0..20) == 0 => self.stop(),
            7 if self.rng.u8(0..20) == 0 => self.version += 1,
            _ => self.answer(),
        }
    }

    /// A sender sends one instance: it may be lost before it is durable, or its acknowledgement may be lost after.
    fn send(&mut self) {
        if self.unsent.is_empty() || self.rng.u8(0..10) == 0 {
            return;
        }
        let index = if self.rng.bool() { 0 } else { self.rng.usize(..self.unsent.len()) };
        let mut stored = self.unsent[index].clone();
        stored.received_at = self.now;
        stored.association = self.rng.u64(1..4);
        let new = !self.spool.contains_key(&stored.sop_instance_uid);
        if new {
            self.spool.insert(stored.sop_instance_uid.clone(), stored.clone());
        }
        if self.rng.u64(0..1000) < self.crash {
            return self.crash(); // Durable, not acknowledged, the node never heard of it.
        }
        let acknowledged = self.rng.u8(0..10) > 0;
        if acknowledged {
            self.unsent.remove(index);
        }
        if new || self.rng.u8(0..20) == 0 {
            self.tell(Event::Stored(stored)); // Now and then once too often.
        }
    }

    fn pass(&mut self, milliseconds: i64) {
        self.now += SignedDuration::from_millis(self.rng.i64(0..milliseconds));
        self.tell(Event::Tick);
    }

    fn answer(&mut self) {
        if !self.answers.is_empty() {
            let index = self.rng.usize(..self.answers.len());
            let event = self.answers.remove(index);
            if self.rng.u8(0..10) == 0 {
                self.answers.push(event.clone());
            }
            self.tell(event);
        }
    }

    fn tell(&mut self, event: Event) {
        let effects = self.node.handle(event, self.now);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Record(record) => self.ledger.apply(record),
                Effect::Assess { series, revision, instances, .. } => {
                    let assessment = Box::new(self.assess(&instances));
                    self.answers.push(Event::Assessed { series, revision, assessment });
                }
                Effect::Infer { job } => self.infer(&job),
                Effect::Send { job, to, .. } => self.deliver(job, to),
                Effect::Verify { job, to, question, .. } => self.verify(job, to, question),
                Effect::Retrieve(retrieval) => self.retrieve(&retrieval),
                Effect::Count { series, question, .. } => self.count(series, question),
                Effect::Reply { .. } => {}
                Effect::Remove(_) | Effect::Check { .. } | Effect::Report { .. } => {
                    unreachable!("nothing expires in these lives, and nobody asks for a commitment")
                }
            }
            if self.rng.u64(0..1000) < self.crash {
                return self.crash();
            }
        }
    }

    fn assess(&self, instances: &[Uid]) -> Assessment {
        let mut positions: Vec<i64> = instances.iter().map(|uid| position(&self.spool[uid])).collect();
        positions.sort_unstable();
        if positions.windows(2).any(|pair| pair[1] - pair[0] != 1) {
            return Assessment { refusals: vec!["a slice is missing".to_owned()], ..Assessment::default() };
        }
        let order = |pipeline: &str, digest: String| Order {
            pipeline: pipeline.to_owned(),
            pipeline_revision: 1,
            digest,
            destinations: DESTINATIONS.map(str::to_owned).to_vec(),
            groups: vec![DeliveryGroup {
                to: GROUP.map(str::to_owned).to_vec(),
                after: After { attempts: 2, wait_s: None },
            }],
            ..Order::default()
        };
        let series = self.spool[&instances[0]].series.series_instance_uid.as_str().to_owned();
        let slot = SLOTS[series[4..].parse::<usize>().expect("a number")];
        let alone = order("alone", "d".to_owned());
        let pair = order("pair", format!("p{}", self.version));
        let pair = Order { fills: vec![slot.to_owned()], inputs: pair_rules(), ..pair };
        let source = Source { frame_of_reference_uid: Some("1.5".parse().expect("a UID")), ..Source::default() };
        Assessment { orders: vec![alone, pair], sources: vec![source], ..Assessment::default() }
    }

    fn infer(&mut self, job: &Job) {
        let instances: Vec<Uid> = job.inputs.iter().flat_map(|input| input.instances.clone()).collect();
        assert!(job.runs <= settings().runs_max, "seed {}: a run too many was begun", self.seed);
        assert_eq!(self.ledger.jobs[&job.id].state, JobState::Running, "recorded before it is acted on");
        if self.rng.u8(0..8) == 0 {
            self.lost_workers += 1;
            return self.answers.push(Event::WorkerLost { job: job.id.clone(), cause: "killed".to_owned() });
        }
        if let Some(before) = self.objects.insert(job.id.clone(), instances.clone()) {
            assert_eq!(before, instances, "seed {}: one job made two different results", self.seed);
        }
        let object = ProducedObject {
            file: "RS.dcm".to_owned(),
            kind: "rtstruct".to_owned(),
            sop_instance_uid: Some(OBJECT.parse().expect("a UID")),
            label: None,
            dialect: None,
            to: None,
        };
        let run = Run { objects: vec![object], files: vec!["RS.dcm".to_owned()], ..Run::default() };
        self.answers.push(Event::Produced { job: job.id.clone(), run: Box::new(run) });
    }

    fn deliver(&mut self, job: JobId, to: String) {
        let to = *DESTINATIONS.iter().find(|name| **name == to).expect("a known destination");
        let of_group = self.ledger.jobs[&job].deliveries.iter().filter(|d| GROUP.contains(&d.to.as_str()));
        assert!(of_group.filter(|d| d.state.is_open()).count() <= 1, "seed {}: two have their turn", self.seed);
        // The first is away more often, so that the other stands in for it.
        let away = if to == GROUP[0] { 3 } else { 1 };
        let answer = match self.rng.u8(0..6) {
            found if found < away => Answer::Again { reason: "away".to_owned() },
            _ => {
                let objects = self.objects[&job].clone();
                let before = self.received.get_mut(to).expect("a destination").insert(job.clone(), objects.clone());
                assert!(before.is_none_or(|before| before == objects), "a retry sends the same objects");
                Answer::Sent { remark: String::new() }
            }
        };
        self.answers.push(Event::Answered { job, to: to.to_owned(), answer });
    }

    /// What was sent is lost at the destination now and then, questions and reports as well; a destination never says
    /// that it has what it has not.
    fn verify(&mut self, job: JobId, to: String, question: Question) {
        assert!(self.ledger.jobs.contains_key(&job), "recorded before it is asked");
        if self.rng.u64(0..1000) < self.crash && !self.confirmed.contains(&(job.clone(), to.clone())) {
            let at = DESTINATIONS.iter().find(|name| **name == to).expect("a known destination");
            self.received.get_mut(at).expect("a destination").remove(&job);
        }
        let has = self.received[to.as_str()].contains_key(&job);
        self.confirmed.extend(has.then(|| (job.clone(), to.clone())));
        let reason = "not there".to_owned();
        let said = match (&question, self.rng.u8(0..4)) {
            (_, 0) => Confirmation::Again { reason },
            (Question::Find, _) if has => Confirmation::Has,
            (Question::Find, _) => Confirmation::HasNot { reason },
            (Question::Commit { transaction }, report) => {
                if report > 1 || self.crash == 0 {
                    self.report(transaction.clone(), &to, has);
                }
                Confirmation::Owes
            }
        };
        self.answers.push(Event::Confirmed { job, to, question, said });
    }

    fn report(&mut self, transaction_uid: Uid, to: &str, has: bool) {
        let class = "1.2.840.10008.5.1.4.1.1.481.3".parse().expect("a UID");
        let object = Reference { sop_class_uid: class, sop_instance_uid: OBJECT.parse().expect("a UID") };
        let failed = Failed { reference: object.clone(), reason: FailureReason::NO_SUCH_OBJECT_INSTANCE };
        let (committed, failed) = if has { (vec![object], vec![]) } else { (vec![], vec![failed]) };
        let report = Box::new(CommitmentReport { transaction_uid, committed, failed });
        self.answers.push(Event::ReportReceived { token: 0, peers: vec![to.to_owned()], report });
    }

    /// The process is told to end, and does so in order.
    fn stop(&mut self) {
        self.stopped += 1;
        let crashes = self.crashes;
        self.tell(Event::Stopping);
        if self.crashes == crashes {
            assert!(self.ledger.jobs.values().all(|job| job.state != JobState::Running), "none is left running");
            self.crash();
        }
    }

    /// The process ends here; a new one starts from what is durable.
    fn crash(&mut self) {
        self.crashes += 1;
        self.answers.clear();
        let finished = |job: &&Job| job.state.is_final();
        let restored = Restored {
            instances: self.ledger.instances.values().cloned().collect(),
            series: self.ledger.series.values().cloned().collect(),
            jobs: self.ledger.jobs.values().filter(|job| !finished(job)).cloned().collect(),
            known: self.ledger.jobs.keys().cloned().collect(),
            commitments: Vec::new(),
            retrievals: self.ledger.retrievals.values().cloned().collect(),
        };
        let (node, effects) = Node::restore(settings(), restored, self.now);
        self.node = node;
        self.carry_out(effects);
        let orphans: Vec<Stored> =
            self.spool.values().filter(|s| !self.ledger.instances.contains_key(&s.sop_instance_uid)).cloned().collect();
        for orphan in orphans {
            self.tell(Event::Stored(orphan));
        }
    }

    /// No more faults: the senders repeat what was not acknowledged, everybody answers, operators retry.
    fn settle(&mut self) {
        self.crash = 0;
        while !self.unsent.is_empty() {
            self.send();
        }
        for _ in 0..400 {
            for count in 0.. {
                if self.answers.is_empty() {
                    break;
                }
                let last = &self.answers[self.answers.len().saturating_sub(4)..];
                assert!(count < 10_000, "seed {}: asked without end at one time: {last:?}", self.seed);
                // An answer takes time: of two assessments at one instant the node cannot tell which is the newer.
                self.now += SignedDuration::from_millis(1);
                self.answer();
            }
            self.now += SignedDuration::from_secs(5);
            self.tell(Event::Tick);
            let failed = |job: &&Job| matches!(job.state, JobState::Failed { .. });
            if let Some(job) = self.ledger.jobs.values().find(failed).cloned() {
                let objects = job.run.is_some() && self.objects.contains_key(&job.id);
                self.tell(Event::Retry { job: Box::new(job), objects });
            } else if self.node.is_idle() && self.answers.is_empty() {
                return;
            }
        }
        let jobs: Vec<_> = self.ledger.jobs.values().map(|job| (&job.id, &job.state, &job.deliveries)).collect();
        let series: Vec<_> = self.ledger.series.values().map(|s| (s.state, &s.note, &s.open)).collect();
        panic!("seed {}: the gateway does not come to rest: {series:?} {jobs:?}", self.seed);
    }

    /// Which of the group has a result, as recorded.
    fn holder(&self, seed: u64, job: &Job) -> &str {
        let of_group = job.deliveries.iter().filter(|d| GROUP.contains(&d.to.as_str()));
        let (done, others): (Vec<&Delivery>, _) = of_group.partition(|d| d.state.name() == "delivered");
        assert_eq!(done.len(), 1, "seed {seed}: one of the group has the result: {:?}", job.deliveries);
        let holder = GROUP.iter().find(|name| **name == done[0].to).expect("one of the group");
        assert!(self.received[holder].contains_key(&job.id), "seed {seed}: it holds it");
        for other in others {
            assert_eq!(other.state.name(), "not needed", "seed {seed}");
            // It can have taken it when its answer was lost, or came behind a repeated one; the record tells of it.
            let holds = self.received[other.to.as_str()].contains_key(&job.id);
            assert!(!holds || other.attempts > 0, "seed {seed}: two results without telling");
        }
        holder
    }

    /// One result of all instances at each destination; results of fewer, before a late instance came, may be there.
    fn check_results(&self, pipeline: &str, series: &SeriesKey, full: &[Uid]) {
        for (to, objects) in self.received.iter().filter(|(to, _)| !GROUP.contains(to)) {
            let of = |id: &JobId| &self.ledger.jobs[id];
            let wanted = |(id, used): &(&JobId, &Vec<Uid>)| {
                of(id).pipeline == pipeline && of(id).series == *series && used.as_slice() == full
            };
            let results = objects.iter().filter(wanted).count();
            assert_eq!(results, 1, "seed {}: results of {pipeline} on a complete study at {to}", self.seed);
        }
    }

    fn check(&self) {
        let seed = self.seed;
        let mut whole: BTreeMap<SeriesKey, BTreeSet<Uid>> = BTreeMap::new();
        for (uid, stored) in &self.spool {
            assert!(self.ledger.instances.contains_key(uid), "seed {seed}: an acknowledged instance is not recorded");
            whole.entry(stored.series.clone()).or_default().insert(uid.clone());
        }
        for (series, instances) in &whole {
            let full: Vec<Uid> = instances.iter().cloned().collect();
            self.check_results("alone", series, &full);
        }
        let mut sets: Vec<_> = whole.iter().collect();
        sets.sort_by_key(|(series, _)| series.series_instance_uid.clone());
        if let [(first, _), (_, _), ..] = sets[..] {
            let full: Vec<Uid> = sets.iter().flat_map(|(_, instances)| (*instances).clone()).collect();
            self.check_results("pair", first, &full);
        } else {
            assert!(self.ledger.jobs.values().all(|job| job.pipeline == "alone"), "seed {seed}: half a pair ran");
            assert!(self.ledger.series.values().all(|series| series.note == "pair: waits for second"));
        }
        assert!(self.ledger.jobs.values().all(|job| job.state == JobState::Delivered), "seed {seed}: all are verified");
        let open = |one: &&Retrieval| one.state.ended_at().is_none();
        assert!(!self.ledger.retrievals.values().any(|one| open(&one)), "seed {seed}: a retrieval does not end");
        self.ledger.jobs.values().for_each(|job| assert!(!self.holder(seed, job).is_empty()));
    }
}

const SLOTS: [&str; 3] = ["first", "second", "third"];

/// The first two series of a study, and the third if it comes within a minute.
fn pair_rules() -> InputRules {
    let slot = |name: &&str| SlotRule {
        name: (*name).to_owned(),
        primary: *name == "first",
        optional: *name == "third",
        wait_s: 60.0,
        picking: Picking::default(),
        frame: Frame::Same,
        drawn_on: None,
        structures: false,
        fetch: (*name == "third").then(archive::rule),
    };
    InputRules { same: Same::Study, slots: SLOTS.iter().map(slot).collect(), settle_s: 30.0 }
}

fn position(stored: &Stored) -> i64 {
    stored.placed.as_ref().expect("placed").position_mm as i64
}

fn settings() -> Settings {
    let waiting_default = Completeness {
        quiet_s: 3.0,
        released_quiet_s: 1.0,
        gap_quiet_s: 20.0,
        max_wait_s: 60.0,
        on_timeout: OnTimeout::Hold,
        takes_gaps: false,
    };
    let retry_default = RetryPolicy { initial_s: 1.0, multiplier: 2.0, max_s: 30.0, max_age_s: 1e9 };
    let (waiting, retry) = (Vec::new(), BTreeMap::new());
    let verify = DESTINATIONS.map(|name| match name {
        "pacs" => (name.to_owned(), Verification { by: VerifyBy::Commitment, within_s: 60.0 }),
        _ => (name.to_owned(), Verification { by: VerifyBy::Find, within_s: 10.0 }),
    });
    let (ask, ask_default) = (Vec::new(), Some("archive".to_owned()));
    let (workers, runs_max, verify) = (2, 3, verify.into());
    Settings { waiting, waiting_default, ask, ask_default, workers, runs_max, retry, retry_default, verify }
}

/// Up to three series of four to nine slices, interleaved in any order.
fn shuffled_series(rng: &mut Rng) -> Vec<Stored> {
    let mut instances = Vec::new();
    for series in 0..rng.u32(1..4) {
        let key = SeriesKey {
            study_instance_uid: "1.2".parse().expect("a UID"),
            series_instance_uid: format!("1.3.{series}").parse().expect("a UID"),
        };
        for slice in 0..rng.u32(4..10) {
            instances.push(Stored {
                series: key.clone(),
                sop_instance_uid: format!("1.4.{series}.{slice}").parse().expect("a UID"),
                digest: format!("{slice}"),
                size_bytes: 1,
                calling_ae: "CT".parse().expect("a title"),
                called_ae: "CONTOURD".parse().expect("a title"),
                association: 0,
                received_at: Timestamp::UNIX_EPOCH,
                placed: Some(Placed { position_mm: f64::from(slice), ..Placed::default() }),
            });
        }
    }
    rng.shuffle(&mut instances);
    instances
}
