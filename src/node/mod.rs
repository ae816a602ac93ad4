//! The gateway as a value: events in, effects out; it has no socket, no file and no clock.
//!
//! The node knows the series that arrive, the jobs that are not finished, and what has been asked of the shell. The
//! shell calls [`Node::handle`] with one [`Event`] and the present time, and carries out the [`Effect`]s *in order*:
//! every [`Effect::Record`] is durable before the effect after it begins. After a crash, [`Node::restore`] builds the
//! node from what was recorded; what was asked but not answered is asked again, and every answer can come twice.

mod arrival;
mod series;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::dicom::{AeTitle, SeriesKey, Uid};
use crate::job::{Delivery, DeliveryState, Job, JobEvent, JobId, JobState, RetryPolicy, Run};
use crate::pipeline::Completeness;
use crate::route::Arrival;

pub use arrival::{Association, Placed};
pub use series::{SeriesRecord, SeriesState};

use series::Gathering;

/// What the shell tells the node.
#[derive(Clone, Debug)]
pub enum Event {
    /// An instance is durable in the spool, whether it was there before or not.
    Stored(Stored),
    /// An association has ended. Only a release says that the sender was done.
    Closed { association: u64, released: bool },
    /// The answer to [`Effect::Assess`].
    Assessed { series: SeriesKey, revision: u32, assessment: Box<Assessment> },
    /// The answers to [`Effect::Infer`]: the objects of the job are durable ...
    Produced { job: JobId, run: Box<Run> },
    /// ... or the run came to an end without objects, for a reason that another run would meet again ...
    RunFailed { job: JobId, cause: String },
    /// ... or the worker was lost.
    WorkerLost { job: JobId, cause: String },
    /// The answer to [`Effect::Send`].
    Answered { job: JobId, to: String, answer: Answer },
    /// An operator wants a failed job again. The shell brings the job as recorded, and says whether its objects exist.
    Retry { job: Box<Job>, objects: bool },
    /// A new configuration is active.
    Settings(Box<Settings>),
    /// Series that have been at rest since before this time are to be removed.
    Expire { before: Timestamp },
    /// Time has passed.
    Tick,
}

/// What the node asks of the shell.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Make this durable before anything after it is done.
    Record(Record),
    /// Read the series from the spool, try to make a volume of it and match it to the pipelines.
    Assess { series: SeriesKey, revision: u32, instances: Vec<Uid>, arrivals: Vec<Arrival> },
    /// Give the job to a free worker.
    Infer { job: Box<Job> },
    /// Send the objects of the job to one destination.
    Send { job: JobId, to: String },
    /// Remove the instances of a series and the objects of its jobs: they are older than the site keeps them.
    Remove { series: SeriesKey, jobs: Vec<JobId> },
}

/// One thing to be written to the ledger.
#[derive(Clone, Debug)]
pub enum Record {
    Instance(Stored),
    Series(SeriesRecord),
    Job(Box<Job>),
    /// The instances of a series are about to be removed. The series, its jobs and its history stay.
    Forget(SeriesKey),
    /// A line for people, about a series or a job. Holds no patient attribute.
    History {
        at: Timestamp,
        series: SeriesKey,
        job: Option<JobId>,
        text: String,
    },
}

/// An instance as the node knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    pub series: SeriesKey,
    pub sop_instance_uid: Uid,
    /// SHA-256 of the data set as received, hexadecimal.
    pub digest: String,
    pub size_bytes: u64,
    pub calling_ae: AeTitle,
    pub called_ae: AeTitle,
    /// The association that brought it; 0 for one of an earlier life of the gateway.
    pub association: u64,
    pub received_at: Timestamp,
    /// Where the slice lies; `None` for what is not a single slice in space.
    pub placed: Option<Placed>,
}

/// What the shell found out about a complete series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// One line for people: modality, slices, matrix, spacing. No patient attribute.
    pub summary: String,
    /// Why the series cannot be a volume; empty when it can.
    pub refusals: Vec<String>,
    pub warnings: Vec<String>,
    /// One for every pipeline that was asked.
    pub verdicts: Vec<Verdict>,
    /// What is to be run.
    pub orders: Vec<Order>,
}

/// What one pipeline said of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub pipeline: String,
    pub matched: bool,
    /// The conditions that decided, with expected, found and where.
    pub trace: Vec<String>,
}

/// One pipeline to be run on a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    pub pipeline: String,
    pub pipeline_revision: u32,
    /// Digest of the pipeline definition and its models: the same digest on the same instances is the same job.
    pub digest: String,
    /// The definition itself.
    pub source: String,
    /// The definitions of its models, by id.
    pub models: BTreeMap<String, String>,
    /// Why it matched, one finding a line.
    pub reasons: Vec<String>,
    /// Names of the peers that get the result.
    pub destinations: Vec<String>,
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Every object was answered with success.
    Sent,
    /// Not this time.
    Again { reason: String },
    /// Never.
    Refused { reason: String },
}

/// What of the configuration the node must know.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// When a series is complete: the most patient of the entries whose titles fit, else `waiting_default`.
    pub waiting: Vec<(Association, Completeness)>,
    pub waiting_default: Completeness,
    /// How many jobs run at the same time.
    pub workers: usize,
    /// How many workers one job may cost.
    pub runs_max: u32,
    /// Retry policy of each peer by name, else `retry_default`.
    pub retry: BTreeMap<String, RetryPolicy>,
    pub retry_default: RetryPolicy,
}

/// What was recorded before the gateway ended.
#[derive(Debug, Default)]
pub struct Restored {
    pub instances: Vec<Stored>,
    pub series: Vec<SeriesRecord>,
    /// The jobs that are not finished.
    pub jobs: Vec<Job>,
    /// The names of all jobs ever made.
    pub known: Vec<JobId>,
}

/// The state of the gateway.
#[derive(Debug)]
pub struct Node {
    settings: Settings,
    series: BTreeMap<SeriesKey, Gathering>,
    /// Jobs that are queued, running or delivering.
    jobs: BTreeMap<JobId, Job>,
    known: HashSet<JobId>,
    sending: BTreeSet<(JobId, String)>,
}

impl Node {
    /// A node that knows nothing yet.
    pub fn new(settings: Settings) -> Node {
        let (series, jobs) = (BTreeMap::new(), BTreeMap::new());
        Node { settings, series, jobs, known: HashSet::new(), sending: BTreeSet::new() }
    }

    /// A node as it was when it ended, and what has to be done first. Running jobs return to the queue.
    pub fn restore(settings: Settings, restored: Restored, now: Timestamp) -> (Node, Vec<Effect>) {
        let mut node = Node::new(settings);
        node.known = restored.known.into_iter().collect();
        for record in restored.series {
            node.series.insert(record.series.clone(), Gathering::restored(record));
        }
        for stored in restored.instances {
            let key = stored.series.clone();
            let gathering = node.series.entry(key.clone()).or_insert_with(|| Gathering::new(key, now));
            gathering.restore_instance(stored, now);
        }
        let mut effects = Vec::new();
        for mut job in restored.jobs {
            node.known.insert(job.id.clone());
            job.forgive_downtime(now);
            if job.apply(&JobEvent::Interrupted, node.settings.runs_max, now).is_ok() {
                effects.push(Effect::Record(Record::Job(Box::new(job.clone()))));
                effects.push(note(now, &job, "back in the queue: the gateway ended while it ran"));
            }
            node.jobs.insert(job.id.clone(), job);
        }
        effects.extend(node.proceed(now));
        (node, effects)
    }

    /// Takes one event at the present time and says what is to be done.
    pub fn handle(&mut self, event: Event, now: Timestamp) -> Vec<Effect> {
        let mut effects = match event {
            Event::Stored(stored) => self.stored(stored, now),
            Event::Closed { association, released } => {
                self.series.values_mut().for_each(|gathering| gathering.closed(association, released));
                Vec::new()
            }
            Event::Assessed { series, revision, assessment } => self.assessed(&series, revision, *assessment, now),
            Event::Produced { job, run } => self.advance(&job, &JobEvent::Produced { run: *run }, now),
            Event::RunFailed { job, cause } => self.advance(&job, &JobEvent::RunFailed { cause }, now),
            Event::WorkerLost { job, cause } => self.advance(&job, &JobEvent::WorkerLost { cause }, now),
            Event::Answered { job, to, answer } => self.answered(&job, to, answer, now),
            Event::Retry { job, objects } => self.retry(*job, objects, now),
            Event::Settings(settings) => {
                self.settings = *settings;
                Vec::new()
            }
            Event::Expire { before } => self.expire(before, now),
            Event::Tick => Vec::new(),
        };
        effects.extend(self.proceed(now));
        effects
    }

    /// The jobs that are not finished, by name.
    pub fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values()
    }

    /// Whether nothing is under way: no series arrives or is assessed, no job is unfinished.
    pub fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.series.values().all(Gathering::is_settled)
    }

    fn stored(&mut self, stored: Stored, now: Timestamp) -> Vec<Effect> {
        let key = stored.series.clone();
        let gathering = self.series.entry(key.clone()).or_insert_with(|| Gathering::new(key, now));
        if gathering.has(&stored) {
            if !gathering.repeated(stored.association, now) {
                return Vec::new();
            }
            let text = "sent again: looked at anew".to_owned();
            return vec![Effect::Record(Record::Series(gathering.record())), gathering.note(now, text)];
        }
        let reopened = gathering.add(stored.clone(), now);
        let mut effects = Vec::new();
        if reopened || gathering.count() == 1 {
            // Before the instance: after a crash between the two, the spool still brings the instance back.
            effects.push(Effect::Record(Record::Series(gathering.record())));
        }
        effects.push(Effect::Record(Record::Instance(stored)));
        if reopened {
            let text = "a late instance reopened the series; earlier results stand".to_owned();
            effects.push(gathering.note(now, text));
        }
        effects
    }

    fn assessed(&mut self, key: &SeriesKey, revision: u32, assessment: Assessment, now: Timestamp) -> Vec<Effect> {
        let Some(gathering) = self.series.get_mut(key).filter(|g| g.awaits_assessment(revision)) else {
            return Vec::new(); // An instance arrived meanwhile: the series will be assessed anew.
        };
        let orders = assessment.orders.clone();
        let text = gathering.conclude(assessment);
        let instances = gathering.digests();
        let mut effects = Vec::new();
        for order in orders {
            let id = JobId::derived(key, &order.digest, instances.iter().map(|(uid, digest)| (uid, digest.as_str())));
            gathering.made(id.clone());
            if self.known.insert(id.clone()) {
                let mut job = new_job(id.clone(), key, revision, order, now);
                job.instances = instances.iter().map(|(uid, _)| uid.clone()).collect();
                effects.push(Effect::Record(Record::Job(Box::new(job.clone()))));
                effects.push(note(now, &job, "queued"));
                self.jobs.insert(id, job);
            }
        }
        // After its jobs: after a crash between them the series is assessed again, and finds its jobs by their names.
        effects.extend([Effect::Record(Record::Series(gathering.record())), gathering.note(now, text)]);
        effects
    }

    /// Applies an event to a job that is not finished. What has no meaning there is late or repeated: dropped.
    fn advance(&mut self, id: &JobId, event: &JobEvent, now: Timestamp) -> Vec<Effect> {
        let Some(job) = self.jobs.get_mut(id) else { return Vec::new() };
        if job.apply(event, self.settings.runs_max, now).is_err() {
            return Vec::new();
        }
        let text = describe(job, event);
        let effects = vec![Effect::Record(Record::Job(Box::new(job.clone()))), note(now, job, &text)];
        if matches!(job.state, JobState::Delivered | JobState::Failed { .. }) {
            self.jobs.remove(id);
        }
        effects
    }

    fn answered(&mut self, id: &JobId, to: String, answer: Answer, now: Timestamp) -> Vec<Effect> {
        self.sending.remove(&(id.clone(), to.clone()));
        let Some(delivery) = self.jobs.get(id).and_then(|job| job.deliveries.iter().find(|d| d.to == to)) else {
            return Vec::new();
        };
        let policy = self.settings.retry.get(&to).unwrap_or(&self.settings.retry_default);
        let event = match answer {
            Answer::Sent => JobEvent::Sent { to },
            Answer::Refused { reason } => JobEvent::SendRefused { to, reason },
            Answer::Again { reason } if policy.too_old(delivery.since, now) => JobEvent::SendRefused {
                to,
                reason: format!("given up after {} attempts: {reason}", delivery.attempts + 1),
            },
            Answer::Again { reason } => {
                let not_before = now.checked_add(policy.wait(delivery.attempts + 1)).unwrap_or(Timestamp::MAX);
                JobEvent::SendFailed { to, reason, not_before }
            }
        };
        self.advance(id, &event, now)
    }

    fn retry(&mut self, job: Job, objects: bool, now: Timestamp) -> Vec<Effect> {
        let id = job.id.clone();
        if self.jobs.contains_key(&id) {
            return Vec::new();
        }
        self.jobs.insert(id.clone(), job);
        let effects = self.advance(&id, &JobEvent::Retried { objects }, now);
        if effects.is_empty() {
            self.jobs.remove(&id); // It had not failed.
        }
        effects
    }

    fn expire(&mut self, before: Timestamp, now: Timestamp) -> Vec<Effect> {
        let busy: BTreeSet<&SeriesKey> = self.jobs.values().map(|job| &job.series).collect();
        let old = self.series.iter().filter(|(key, g)| g.rests_since_before(before) && !busy.contains(*key));
        let old: Vec<SeriesKey> = old.map(|(key, _)| key.clone()).collect();
        let mut effects = Vec::new();
        for key in old {
            let Some(gathering) = self.series.remove(&key) else { continue };
            effects.push(Effect::Record(Record::Forget(key.clone())));
            effects.push(gathering.note(now, "removed: older than the retention time".to_owned()));
            effects.push(Effect::Remove { series: key, jobs: gathering.jobs() });
        }
        effects
    }

    /// What time and free workers allow: assessments, runs, deliveries.
    fn proceed(&mut self, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        for gathering in self.series.values_mut() {
            if let Some(association) = gathering.association() {
                let waiting = self.settings.waiting_of(association);
                effects.extend(gathering.proceed(&waiting, now));
            }
        }
        effects.extend(self.start_jobs(now));
        effects.extend(self.start_deliveries(now));
        effects
    }

    fn start_jobs(&mut self, now: Timestamp) -> Vec<Effect> {
        let running = self.jobs.values().filter(|job| job.state == JobState::Running).count();
        let mut queued: Vec<(Timestamp, JobId)> = Vec::new();
        for job in self.jobs.values().filter(|job| job.state == JobState::Queued && job.not_before <= now) {
            queued.push((job.created_at, job.id.clone()));
        }
        queued.sort();
        let mut effects = Vec::new();
        for (_, id) in queued.into_iter().take(self.settings.workers.saturating_sub(running)) {
            effects.extend(self.advance(&id, &JobEvent::Started, now));
            effects.push(Effect::Infer { job: Box::new(self.jobs[&id].clone()) });
        }
        effects
    }

    fn start_deliveries(&mut self, now: Timestamp) -> Vec<Effect> {
        let due = |d: &&Delivery| matches!(d.state, DeliveryState::Pending { not_before } if not_before <= now);
        let mut effects = Vec::new();
        for job in self.jobs.values().filter(|job| job.state == JobState::Delivering) {
            for delivery in job.deliveries.iter().filter(due) {
                if self.sending.insert((job.id.clone(), delivery.to.clone())) {
                    effects.push(Effect::Send { job: job.id.clone(), to: delivery.to.clone() });
                }
            }
        }
        effects
    }
}

impl Settings {
    fn waiting_of(&self, (called, calling): (&AeTitle, &AeTitle)) -> Completeness {
        let fits = self.waiting.iter().filter(|(association, _)| association.fits(called, calling));
        // Which pipeline it is for is not known yet: the most patient of them decides.
        fits.map(|(_, waiting)| *waiting).reduce(Completeness::more_patient).unwrap_or(self.waiting_default)
    }
}

fn new_job(id: JobId, series: &SeriesKey, series_revision: u32, order: Order, now: Timestamp) -> Job {
    let delivery = |to: String| {
        let state = DeliveryState::Pending { not_before: now };
        Delivery { to, state, attempts: 0, last_reason: String::new(), since: now }
    };
    Job {
        id,
        series: series.clone(),
        series_revision,
        instances: Vec::new(),
        pipeline: order.pipeline,
        pipeline_revision: order.pipeline_revision,
        pipeline_source: order.source,
        models: order.models,
        reasons: order.reasons,
        created_at: now,
        not_before: now,
        state: JobState::Queued,
        runs: 0,
        deliveries: order.destinations.into_iter().map(delivery).collect(),
        run: None,
    }
}

fn note(at: Timestamp, job: &Job, text: &str) -> Effect {
    Effect::Record(Record::History { at, series: job.series.clone(), job: Some(job.id.clone()), text: text.to_owned() })
}

fn describe(job: &Job, event: &JobEvent) -> String {
    let what = match event {
        JobEvent::Started => return format!("run {} started", job.runs),
        JobEvent::Produced { .. } => "the objects are stored".to_owned(),
        JobEvent::RunFailed { cause } => format!("the run failed: {cause}"),
        JobEvent::WorkerLost { cause } => format!("the worker was lost: {cause}"),
        JobEvent::Interrupted => "interrupted".to_owned(),
        JobEvent::Sent { to } => format!("delivered to {to}"),
        JobEvent::SendFailed { to, reason, not_before } => {
            format!("not delivered to {to}: {reason}; next attempt not before {not_before:.0}")
        }
        JobEvent::SendRefused { to, reason } => format!("delivery to {to} ended: {reason}"),
        JobEvent::Retried { .. } => "an operator asked for it again".to_owned(),
    };
    match &job.state {
        JobState::Delivered => format!("{what}; the job is done"),
        JobState::Failed { .. } => format!("{what}; the job has failed and waits for an operator"),
        _ => what,
    }
}
