//! The life of a job: its states, what may happen in each, and what follows; it stores and sends nothing.
//!
//! ```text
//! Queued -> Running -> Delivering -> Delivered
//!    ^        |  |          |
//!    +--lost--+  +-> Failed <+      an operator's retry leads from Failed back to Queued or Delivering
//! ```

mod input;
mod name;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::dicom::{SeriesKey, Uid};
use crate::limits::LOST_WORKER_WAIT_S;
pub use crate::output::run::{DialectOf, ProducedObject, Run, Stage, StructureResult};
pub use input::JobInput;
pub use name::JobId;

/// Where a job stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for a worker.
    Queued,
    /// A worker has it.
    Running,
    /// Its objects are durable; some destination has not answered for good.
    Delivering,
    /// Every destination has every object.
    Delivered,
    /// Nothing more happens by itself; the cause is for the operator.
    Failed { cause: String },
}

impl JobState {
    /// The word for lists and for the ledger.
    pub fn name(&self) -> &'static str {
        match self {
            JobState::Queued => "queued",
            JobState::Running => "running",
            JobState::Delivering => "delivering",
            JobState::Delivered => "delivered",
            JobState::Failed { .. } => "failed",
        }
    }
}

/// Where the delivery to one destination stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// To be sent at or after this time.
    Pending { not_before: Timestamp },
    /// The destination has answered with success for every object.
    Done { at: Timestamp },
    /// Refused for good, or too old; the reason is for the operator.
    Refused { reason: String },
}

/// One destination of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Name of the peer.
    pub to: String,
    pub state: DeliveryState,
    /// How many times it was tried.
    pub attempts: u32,
    /// What the last unsuccessful attempt met; empty when there was none.
    pub last_reason: String,
    /// When the objects were first due; the age of a delivery counts from here.
    pub since: Timestamp,
}

/// When a delivery that failed is tried again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Wait after the first failure.
    pub initial_s: f64,
    /// Each further wait is this many times the one before.
    pub multiplier: f64,
    /// No wait is longer.
    pub max_s: f64,
    /// A delivery older than this is given up and waits for an operator.
    pub max_age_s: f64,
}

impl RetryPolicy {
    /// The wait after `attempts` failures (at least one).
    pub fn wait(&self, attempts: u32) -> SignedDuration {
        let exponent = attempts.saturating_sub(1).min(64) as i32;
        let wait_s = (self.initial_s * self.multiplier.powi(exponent)).min(self.max_s);
        SignedDuration::from_millis((wait_s * 1000.0) as i64)
    }

    /// Whether a delivery that is due since `since` has become too old at `now`.
    pub fn too_old(&self, since: Timestamp, now: Timestamp) -> bool {
        now.duration_since(since).as_secs_f64() > self.max_age_s
    }
}

/// One pipeline on one series, from assessed to delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub id: JobId,
    /// The primary series: the result lies on its grid and refers to its images.
    pub series: SeriesKey,
    /// Revision of the series that it works on; a late instance makes a new one.
    pub series_revision: u32,
    /// The instances of the primary series that it works on, and no others.
    pub instances: Vec<Uid>,
    /// Every slot of the pipeline with what fills it, the primary among them; the name of the job is derived from all
    /// of their instances. Empty in jobs of a ledger that knew one series a job: then the primary is all.
    #[serde(default)]
    pub inputs: Vec<JobInput>,
    pub pipeline: String,
    pub pipeline_revision: u32,
    /// The pipeline definition as it was when the series matched; the run uses this text and no other.
    pub pipeline_source: String,
    /// The definitions of its models as they were then, by id.
    pub models: BTreeMap<String, String>,
    /// How its destinations want structure sets, as configured when the series matched.
    #[serde(default)]
    pub dialects: Vec<DialectOf>,
    /// The objects of the job that this one replaces; looked up in the ledger when the job is run.
    #[serde(default)]
    pub predecessors: Vec<ProducedObject>,
    /// Why the pipeline matched, one finding a line.
    pub reasons: Vec<String>,
    pub created_at: Timestamp,
    /// A queued job waits until then: trouble that cost it a worker may pass.
    pub not_before: Timestamp,
    pub state: JobState,
    /// When its last run began.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// How many times a worker was given the job since it was made or retried by an operator.
    pub runs: u32,
    pub deliveries: Vec<Delivery>,
    /// What the run that produced the objects was; `None` before.
    pub run: Option<Run>,
}

/// What can happen to a job.
#[derive(Clone, Debug, PartialEq)]
pub enum JobEvent {
    /// A worker takes it.
    Started,
    /// Its objects are durable.
    Produced { run: Run },
    /// It ran and cannot succeed: the images or the model are at fault.
    RunFailed { cause: String },
    /// Its worker died, hung or was killed: one of the few runs that a job may cost.
    WorkerLost { cause: String },
    /// The gateway ended in order while it ran: not the job's fault, so the run is not counted.
    Stopped,
    /// It was found running at the start: the process was killed, or the machine went down, maybe by this very job. The
    /// run stays counted, as one that lost its worker, or such a job would take the machine down at every start.
    Interrupted,
    /// A destination has everything.
    Sent { to: String },
    /// A destination could not be reached or asked to come again.
    SendFailed { to: String, reason: String, not_before: Timestamp },
    /// A destination refused for good, or the delivery is too old.
    SendRefused { to: String, reason: String },
    /// An operator wants it again. `objects` tells whether its objects are still there.
    Retried { objects: bool },
}

impl JobEvent {
    fn name(&self) -> &'static str {
        match self {
            JobEvent::Started => "started",
            JobEvent::Produced { .. } => "produced",
            JobEvent::RunFailed { .. } => "run failed",
            JobEvent::WorkerLost { .. } => "worker lost",
            JobEvent::Stopped => "stopped",
            JobEvent::Interrupted => "interrupted",
            JobEvent::Sent { .. } => "sent",
            JobEvent::SendFailed { .. } => "send failed",
            JobEvent::SendRefused { .. } => "send refused",
            JobEvent::Retried { .. } => "retried",
        }
    }
}

/// An event that means nothing in the state of the job. The caller drops it: it is late or repeated.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("job {job}: found event {event:?} in state {state:?}, where it has no meaning")]
pub struct OutOfPlace {
    pub job: JobId,
    pub state: &'static str,
    pub event: &'static str,
}

impl Job {
    /// Applies an event. `runs_max` is how many workers a job may cost before it fails by itself.
    ///
    /// # Errors
    /// [`OutOfPlace`] when the event has no meaning in this state; the job is unchanged then.
    pub fn apply(&mut self, event: &JobEvent, runs_max: u32, now: Timestamp) -> Result<(), OutOfPlace> {
        let state = match (&self.state, event) {
            (JobState::Queued, JobEvent::Started) => {
                (self.runs, self.started_at) = (self.runs + 1, Some(now));
                JobState::Running
            }
            (JobState::Running, JobEvent::Produced { run }) => {
                self.run = Some(run.clone());
                for delivery in &mut self.deliveries {
                    delivery.state = DeliveryState::Pending { not_before: now };
                    delivery.since = now;
                }
                JobState::Delivering
            }
            (JobState::Running, JobEvent::RunFailed { cause }) => JobState::Failed { cause: cause.clone() },
            (JobState::Running, JobEvent::WorkerLost { cause }) => self.lost(cause, runs_max, now),
            (JobState::Running, JobEvent::Interrupted) => {
                self.lost("the gateway ended while the job ran", runs_max, now)
            }
            (JobState::Running, JobEvent::Stopped) => {
                self.runs -= 1;
                JobState::Queued
            }
            (
                JobState::Delivering,
                JobEvent::Sent { .. } | JobEvent::SendFailed { .. } | JobEvent::SendRefused { .. },
            ) => {
                self.answer(event, now);
                JobState::Delivering
            }
            (JobState::Failed { .. }, JobEvent::Retried { objects }) => {
                self.runs = 0;
                self.not_before = now;
                if *objects {
                    self.reopen_refused(now);
                    JobState::Delivering
                } else {
                    JobState::Queued
                }
            }
            (state, event) => {
                return Err(OutOfPlace { job: self.id.clone(), state: state.name(), event: event.name() });
            }
        };
        self.state = self.settled(state);
        Ok(())
    }

    /// A run that was begun and came to nothing: again after a while, unless it was one too many.
    fn lost(&mut self, cause: &str, runs_max: u32, now: Timestamp) -> JobState {
        if self.runs >= runs_max {
            let cause = format!("{} workers were lost on this job, the last one: {cause}", self.runs);
            return JobState::Failed { cause };
        }
        let wait = SignedDuration::from_secs(LOST_WORKER_WAIT_S * i64::from(self.runs));
        self.not_before = now.checked_add(wait).unwrap_or(Timestamp::MAX);
        JobState::Queued
    }

    /// What fills the slots, also for a job of a ledger that knew one series a job: its slot has no name there.
    pub fn inputs(&self) -> Vec<JobInput> {
        if !self.inputs.is_empty() {
            return self.inputs.clone();
        }
        vec![JobInput::of_primary(&self.series, &self.instances)]
    }

    fn answer(&mut self, event: &JobEvent, now: Timestamp) {
        let (name, state, reason) = match event {
            JobEvent::Sent { to } => (to, DeliveryState::Done { at: now }, ""),
            JobEvent::SendFailed { to, reason, not_before } => {
                (to, DeliveryState::Pending { not_before: *not_before }, reason.as_str())
            }
            JobEvent::SendRefused { to, reason } => {
                (to, DeliveryState::Refused { reason: reason.clone() }, reason.as_str())
            }
            _ => return,
        };
        let open = |d: &&mut Delivery| d.to == *name && matches!(d.state, DeliveryState::Pending { .. });
        if let Some(delivery) = self.deliveries.iter_mut().find(open) {
            delivery.state = state;
            delivery.attempts += 1;
            delivery.last_reason = reason.to_owned();
        }
    }

    /// Counts the age of open deliveries from now: the gateway's own absence is not the destination's.
    pub fn forgive_downtime(&mut self, now: Timestamp) {
        for delivery in &mut self.deliveries {
            if let DeliveryState::Pending { not_before } = &mut delivery.state {
                *not_before = (*not_before).min(now);
                delivery.since = now;
            }
        }
    }

    fn reopen_refused(&mut self, now: Timestamp) {
        for delivery in &mut self.deliveries {
            if !matches!(delivery.state, DeliveryState::Done { .. }) {
                delivery.state = DeliveryState::Pending { not_before: now };
                delivery.since = now;
            }
        }
    }

    /// A delivering job is settled when no delivery is pending.
    fn settled(&self, state: JobState) -> JobState {
        let pending = |d: &Delivery| matches!(d.state, DeliveryState::Pending { .. });
        if state != JobState::Delivering || self.deliveries.iter().any(pending) {
            return state;
        }
        let refused = self.deliveries.iter().filter_map(|d| match &d.state {
            DeliveryState::Refused { reason } => Some(format!("{}: {reason}", d.to)),
            _ => None,
        });
        let refused: Vec<String> = refused.collect();
        if refused.is_empty() {
            JobState::Delivered
        } else {
            JobState::Failed { cause: format!("not delivered to {}", refused.join("; ")) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: JobState, runs: u32) -> Job {
        let series = SeriesKey {
            study_instance_uid: "1.2".parse().expect("a UID"),
            series_instance_uid: "1.3".parse().expect("a UID"),
        };
        let now = Timestamp::UNIX_EPOCH;
        let delivery = |to: &str| Delivery {
            to: to.to_owned(),
            state: DeliveryState::Pending { not_before: now },
            attempts: 0,
            last_reason: String::new(),
            since: now,
        };
        Job {
            id: JobId::derived(&series, "p", []),
            series,
            series_revision: 1,
            instances: Vec::new(),
            inputs: Vec::new(),
            pipeline: "p".to_owned(),
            pipeline_revision: 1,
            pipeline_source: String::new(),
            models: BTreeMap::new(),
            dialects: Vec::new(),
            predecessors: Vec::new(),
            reasons: Vec::new(),
            created_at: now,
            started_at: None,
            not_before: now,
            state,
            runs,
            deliveries: vec![delivery("tps"), delivery("pacs")],
            run: None,
        }
    }

    fn events() -> Vec<JobEvent> {
        let (to, cause) = ("tps".to_owned(), "c".to_owned());
        vec![
            JobEvent::Started,
            JobEvent::Produced { run: Run::default() },
            JobEvent::RunFailed { cause: cause.clone() },
            JobEvent::WorkerLost { cause: cause.clone() },
            JobEvent::Stopped,
            JobEvent::Interrupted,
            JobEvent::Sent { to: to.clone() },
            JobEvent::SendFailed { to: to.clone(), reason: cause.clone(), not_before: Timestamp::UNIX_EPOCH },
            JobEvent::SendRefused { to, reason: cause },
            JobEvent::Retried { objects: true },
        ]
    }

    #[test]
    fn table_of_states_and_events() {
        let failed = JobState::Failed { cause: "c".to_owned() };
        let states = [JobState::Queued, JobState::Running, JobState::Delivering, JobState::Delivered, failed];
        let mut table = String::new();
        for state in states {
            for event in events() {
                let mut job = job(state.clone(), 1);
                let after = match job.apply(&event, 3, Timestamp::UNIX_EPOCH) {
                    Ok(()) => job.state.name(),
                    Err(_) => "-",
                };
                table += &format!("{:10} + {:12} -> {after}\n", state.name(), event.name());
            }
        }
        print!("{table}");
        let expected = "\
queued     + started      -> running
queued     + produced     -> -
queued     + run failed   -> -
queued     + worker lost  -> -
queued     + stopped      -> -
queued     + interrupted  -> -
queued     + sent         -> -
queued     + send failed  -> -
queued     + send refused -> -
queued     + retried      -> -
running    + started      -> -
running    + produced     -> delivering
running    + run failed   -> failed
running    + worker lost  -> queued
running    + stopped      -> queued
running    + interrupted  -> queued
running    + sent         -> -
running    + send failed  -> -
running    + send refused -> -
running    + retried      -> -
delivering + started      -> -
delivering + produced     -> -
delivering + run failed   -> -
delivering + worker lost  -> -
delivering + stopped      -> -
delivering + interrupted  -> -
delivering + sent         -> delivering
delivering + send failed  -> delivering
delivering + send refused -> delivering
delivering + retried      -> -
delivered  + started      -> -
delivered  + produced     -> -
delivered  + run failed   -> -
delivered  + worker lost  -> -
delivered  + stopped      -> -
delivered  + interrupted  -> -
delivered  + sent         -> -
delivered  + send failed  -> -
delivered  + send refused -> -
delivered  + retried      -> -
failed     + started      -> -
failed     + produced     -> -
failed     + run failed   -> -
failed     + worker lost  -> -
failed     + stopped      -> -
failed     + interrupted  -> -
failed     + sent         -> -
failed     + send failed  -> -
failed     + send refused -> -
failed     + retried      -> delivering
";
        assert_eq!(table, expected);
    }

    #[test]
    fn a_job_that_kills_its_workers_fails_by_itself() {
        let mut job = job(JobState::Queued, 0);
        for _ in 0..3 {
            job.apply(&JobEvent::Started, 3, Timestamp::UNIX_EPOCH).expect("a queued job starts");
            let lost = JobEvent::WorkerLost { cause: "killed".to_owned() };
            let lost = if job.runs == 2 { JobEvent::Interrupted } else { lost };
            job.apply(&lost, 3, Timestamp::UNIX_EPOCH).expect("a running job can lose its worker");
        }
        assert!(matches!(&job.state, JobState::Failed { cause } if cause.starts_with("3 workers")), "{:?}", job.state);
    }

    #[test]
    fn is_delivered_when_the_last_destination_has_it_and_failed_when_one_refused() {
        let send = |job: &mut Job, event| job.apply(&event, 3, Timestamp::UNIX_EPOCH).expect("a delivering job");
        let mut good = job(JobState::Delivering, 1);
        send(&mut good, JobEvent::Sent { to: "tps".to_owned() });
        assert_eq!(good.state, JobState::Delivering);
        send(&mut good, JobEvent::Sent { to: "pacs".to_owned() });
        assert_eq!(good.state, JobState::Delivered);

        let mut bad = job(JobState::Delivering, 1);
        send(&mut bad, JobEvent::SendRefused { to: "tps".to_owned(), reason: "no".to_owned() });
        send(&mut bad, JobEvent::Sent { to: "pacs".to_owned() });
        assert_eq!(bad.state, JobState::Failed { cause: "not delivered to tps: no".to_owned() });
    }

    #[test]
    fn waits_grow_to_their_maximum() {
        let policy = RetryPolicy { initial_s: 2.0, multiplier: 3.0, max_s: 10.0, max_age_s: 60.0 };
        assert_eq!([1, 2, 3, 400].map(|n| policy.wait(n).as_secs()), [2, 6, 10, 10]);
    }

    #[test]
    fn a_job_without_destinations_is_delivered_once_produced() {
        let mut job = job(JobState::Running, 1);
        job.deliveries.clear();
        job.apply(&JobEvent::Produced { run: Run::default() }, 3, Timestamp::UNIX_EPOCH)
            .expect("a running job produces");
        assert_eq!(job.state, JobState::Delivered);
    }
}
