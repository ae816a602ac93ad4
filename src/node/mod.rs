//! The gateway as a value: events in, effects out; it has no socket, no file and no clock.
//!
//! The node knows the series that arrive, the jobs that are not finished, and what has been asked of the shell. The
//! shell calls [`Node::handle`] with one [`Event`] and the present time, and carries out the [`Effect`]s *in order*:
//! every [`Effect::Record`] is durable before the effect after it begins. After a crash, [`Node::restore`] builds the
//! node from what was recorded; what was asked but not answered is asked again, and every answer can come twice.

mod arrival;
mod assessment;
mod commitment;
mod deliveries;
mod incoming;
mod jobs;
mod join;
mod registration;
mod retention;
mod retrieval;
mod series;
mod sets;
mod together;
mod verify;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::dicom::{AeTitle, SeriesKey, Uid};
use crate::dimse::Outcome;
use crate::dimse::commitment::{CommitmentReport, Reference};
use crate::job::{Job, JobEvent, JobId, JobState, RetryPolicy, Run, Verification};
use crate::pipeline::Completeness;
use crate::route::Arrival;

pub use arrival::{Association, Placed};
pub use assessment::{Assessment, DeliveryGroup, InputRules, Offer, Order, SlotRule, Source, Verdict};
pub use commitment::{Commitment, CommitmentAsked, CommitmentKey, CommitmentState, Looked};
pub use join::{Candidate, Choice, Chosen, Joined, Lack, join};
pub use registration::{Registered, reason as registration_reason};
pub use retention::Removal;
pub use retrieval::{Asked, Retrieval, RetrievalState, Retrieved, SeriesReport};
pub use series::{Counted, SeriesRecord, SeriesState};
pub use together::{Filled, RegisteredWith, Together, together};
pub use verify::{Confirmation, Question};

use jobs::{describe, describe_queued, new_job, note};
use series::Gathering;
use sets::Group;

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
    /// The answer to [`Effect::Verify`].
    Confirmed { job: JobId, to: String, question: Question, said: Confirmation },
    /// A peer asks for storage commitment; it is answered by [`Effect::Reply`].
    CommitmentAsked(Box<CommitmentAsked>),
    /// The answer to [`Effect::Check`], in the order of the references.
    CommitmentChecked { key: CommitmentKey, looked: Vec<Looked> },
    /// The answer to [`Effect::Report`].
    CommitmentReported { key: CommitmentKey, answer: Answer },
    /// A peer that we have asked for storage commitment reports; it can be these of our peers. It is answered by
    /// [`Effect::Reply`].
    ReportReceived { token: u64, peers: Vec<String>, report: Box<CommitmentReport> },
    /// An operator wants a failed job again. The shell brings the job as recorded, and says whether its objects exist.
    Retry { job: Box<Job>, objects: bool },
    /// An operator wants series from a peer.
    RetrievalAsked(Box<Retrieval>),
    /// The answer to [`Effect::Retrieve`].
    Retrieved { id: Uid, said: Retrieved },
    /// The answer to [`Effect::Count`].
    Counted { series: SeriesKey, question: u32, said: Counted },
    /// A new configuration is active.
    Settings(Box<Settings>),
    /// Series that have been at rest since before this time are to be removed; those of which something was committed
    /// to a peer only when that was before the other time, and never without it.
    Expire { before: Timestamp, committed_before: Option<Timestamp> },
    /// The answer to [`Effect::Remove`].
    Removed { series: SeriesKey },
    /// Time has passed.
    Tick,
    /// The gateway is about to end in order; what runs will not answer any more.
    Stopping,
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
    /// Send the objects of the job to one destination: these files, or all where the run did not say whom they are for.
    Send { job: JobId, to: String, files: Option<Vec<String>> },
    /// Ask a destination whether it has these objects of the job.
    Verify { job: JobId, to: String, files: Option<Vec<String>>, question: Question },
    /// Answer the peer that waits under this token.
    Reply { token: u64, outcome: Outcome },
    /// Look whether these instances are here, whole.
    Check { key: CommitmentKey, references: Vec<Reference> },
    /// Tell the peer what is committed: on the association that has asked while it is open, else on another.
    Report { commitment: Box<Commitment> },
    /// Look what the peer has of this, and fetch it. What comes is told as all that is stored.
    Retrieve(Box<Retrieval>),
    /// Ask this peer how many instances it has of the series.
    Count { series: SeriesKey, question: u32, from: String },
    /// Remove the instances of a series and the objects of its jobs: they are older than the site keeps them. What was
    /// stored meanwhile, of which the node was not told yet, stays and is told again.
    Remove(Removal),
}

/// One thing to be written to the ledger.
#[derive(Clone, Debug)]
pub enum Record {
    Instance(Stored),
    Series(SeriesRecord),
    Job(Box<Job>),
    /// A series is about to be removed: its instances are forgotten, and its jobs may be made again. The rest stays for
    /// people to look at.
    Removing(Removal),
    /// Its files are gone.
    Removed(SeriesKey),
    Commitment(Box<Commitment>),
    Retrieval(Box<Retrieval>),
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

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Everything was answered with success; warnings are in the remark.
    Sent { remark: String },
    /// Not this time.
    Again { reason: String },
    /// Never.
    Refused { reason: String },
    /// Our own configuration keeps us from sending there: one that stands alone ends, and of a group another can have its
    /// turn, because the destination has not said anything.
    Closed { reason: String },
}

/// What of the configuration the node must know.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// When a series is complete: the most patient of the entries whose titles fit, else `waiting_default`.
    pub waiting: Vec<(Association, Completeness)>,
    pub waiting_default: Completeness,
    /// Which peer is asked how many instances a series has: the first whose titles fit, else `ask_default`.
    pub ask: Vec<(Association, String)>,
    pub ask_default: Option<String>,
    /// How many jobs run at the same time.
    pub workers: usize,
    /// How many workers one job may cost.
    pub runs_max: u32,
    /// Retry policy of each peer by name, else `retry_default`.
    pub retry: BTreeMap<String, RetryPolicy>,
    pub retry_default: RetryPolicy,
    /// How each peer by name is asked whether it has what it was sent; the others are not asked.
    pub verify: BTreeMap<String, Verification>,
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
    /// The storage commitments that are not reported.
    pub commitments: Vec<Commitment>,
    /// Retrievals that are open, and the latest that have ended.
    pub retrievals: Vec<Retrieval>,
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
    /// Deliveries whose destination is being asked whether it has them.
    verifying: BTreeSet<(JobId, String)>,
    /// Transactions of ours that were decided, the latest ones.
    verdicts: VecDeque<Uid>,
    /// Transactions of peers that are not reported; those that are looked at, and those whose report is under way.
    commitments: BTreeMap<CommitmentKey, Commitment>,
    checking: BTreeSet<CommitmentKey>,
    reporting: BTreeSet<CommitmentKey>,
    /// Retrievals that are open, and those that have ended lately: what was asked once is not asked again.
    retrievals: BTreeMap<Uid, Retrieval>,
    /// Pipelines of several series that wait, and when to look again; `None` until something happens.
    open: BTreeMap<Group, Option<Timestamp>>,
    /// Since when this life lasts: nothing is taken for late that the gateway was not there to receive.
    started_at: Timestamp,
}

impl Node {
    /// A node that knows nothing yet.
    pub fn new(settings: Settings) -> Node {
        Node {
            settings,
            series: BTreeMap::new(),
            jobs: BTreeMap::new(),
            known: HashSet::new(),
            sending: BTreeSet::new(),
            verifying: BTreeSet::new(),
            verdicts: VecDeque::new(),
            commitments: BTreeMap::new(),
            checking: BTreeSet::new(),
            reporting: BTreeSet::new(),
            retrievals: BTreeMap::new(),
            open: BTreeMap::new(),
            started_at: Timestamp::UNIX_EPOCH,
        }
    }

    /// A node as it was when it ended, and what has to be done first. Running jobs return to the queue.
    pub fn restore(settings: Settings, restored: Restored, now: Timestamp) -> (Node, Vec<Effect>) {
        let mut node = Node::new(settings);
        node.known = restored.known.into_iter().collect();
        node.started_at = now;
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
                effects.push(note(now, &job, &describe(&job, &JobEvent::Interrupted)));
            }
            if !matches!(job.state, JobState::Failed { .. }) {
                node.jobs.insert(job.id.clone(), job);
            }
        }
        node.commitments = restored.commitments.into_iter().map(|known| (known.key(), known)).collect();
        effects.extend(node.restore_retrievals(restored.retrievals, now));
        node.reopen_sets();
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
            Event::Confirmed { job, to, question, said } => self.confirmed(&job, &to, &question, said, now),
            Event::CommitmentAsked(asked) => self.commitment_asked(*asked, now),
            Event::CommitmentChecked { key, looked } => self.commitment_checked(&key, looked, now),
            Event::CommitmentReported { key, answer } => self.commitment_reported(&key, answer, now),
            Event::ReportReceived { token, peers, report } => self.report_received(token, &peers, &report, now),
            Event::Retry { job, objects } => self.retry(*job, objects, now),
            Event::RetrievalAsked(retrieval) => self.retrieval_asked(*retrieval, now),
            Event::Retrieved { id, said } => self.retrieved(&id, said, now),
            Event::Counted { series, question, said } => {
                let gathering = self.series.get_mut(&series);
                gathering.map(|gathering| gathering.counted(question, said, now)).unwrap_or_default()
            }
            Event::Settings(settings) => {
                self.settings = *settings;
                Vec::new()
            }
            Event::Expire { before, committed_before } => {
                self.forget_retrievals(now);
                self.expire(before, committed_before, now)
            }
            Event::Removed { series } => vec![Effect::Record(Record::Removed(series))],
            Event::Stopping => return self.stopping(now),
            Event::Tick => Vec::new(),
        };
        effects.extend(self.proceed(now));
        effects
    }

    /// The jobs that are not finished, by name.
    pub fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values()
    }

    /// Whether nothing is under way: no series arrives or is assessed, no job is unfinished, no pipeline waits for an
    /// optional series.
    pub fn is_idle(&self) -> bool {
        let waits = self.open.values().any(Option::is_some)
            || self.retrievals.values().any(|retrieval| retrieval.state.ended_at().is_none());
        self.jobs.is_empty() && self.commitments.is_empty() && !waits && self.series.values().all(Gathering::is_settled)
    }

    /// Applies an event to a job that is not finished. What has no meaning there is late or repeated: dropped.
    fn advance(&mut self, id: &JobId, event: &JobEvent, now: Timestamp) -> Vec<Effect> {
        let Some(job) = self.jobs.get_mut(id) else { return Vec::new() };
        if job.apply(event, self.settings.runs_max, now).is_err() {
            return Vec::new();
        }
        let text = describe(job, event);
        let effects = vec![Effect::Record(Record::Job(Box::new(job.clone()))), note(now, job, &text)];
        if job.state.is_final() {
            self.jobs.remove(id);
        }
        effects
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

    /// Runs under way are not the job's fault when they end with the gateway: they are not counted. Retrievals neither.
    fn stopping(&mut self, now: Timestamp) -> Vec<Effect> {
        let running = self.jobs.values().filter(|job| job.state == JobState::Running);
        let running: Vec<JobId> = running.map(|job| job.id.clone()).collect();
        let mut effects: Vec<Effect> =
            running.iter().flat_map(|id| self.advance(id, &JobEvent::Stopped, now)).collect();
        effects.extend(self.put_back_retrievals(now));
        effects
    }

    /// What time and free workers allow: assessments, jobs of several series, runs, deliveries.
    fn proceed(&mut self, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        for gathering in self.series.values_mut() {
            if let Some(association) = gathering.association() {
                let waiting = self.settings.waiting_of(association);
                let source = self.settings.source_of(association);
                effects.extend(gathering.proceed(&waiting, source, now));
            }
        }
        effects.extend(self.proceed_sets(now));
        effects.extend(self.start_retrievals(now));
        effects.extend(self.start_jobs(now));
        effects.extend(self.start_deliveries(now));
        effects.extend(self.start_verifications(now));
        effects.extend(self.proceed_commitments(now));
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
}

impl Settings {
    fn source_of(&self, (called, calling): (&AeTitle, &AeTitle)) -> Option<&str> {
        let fits = self.ask.iter().find(|(association, _)| association.fits(called, calling));
        fits.map(|(_, peer)| peer.as_str()).or(self.ask_default.as_deref())
    }

    fn waiting_of(&self, (called, calling): (&AeTitle, &AeTitle)) -> Completeness {
        let fits = self.waiting.iter().filter(|(association, _)| association.fits(called, calling));
        // Which pipeline it is for is not known yet: the most patient of them decides.
        fits.map(|(_, waiting)| *waiting).reduce(Completeness::more_patient).unwrap_or(self.waiting_default)
    }
}
