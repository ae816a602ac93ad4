//! The life of a job: its states, what may happen in each, and what follows; it stores and sends nothing.
//!
//! ```text
//! Queued -> Running -> Delivering -> Delivered, Sent
//!    ^        |  |          |
//!    +--lost--+  +-> Failed <+      an operator's retry leads from Failed back to Queued or Delivering
//! ```

mod delivery;
mod input;
mod name;
mod sender;
mod turns;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::dicom::{SeriesKey, Uid};
use crate::limits::LOST_WORKER_WAIT_S;
pub use crate::output::run::{DialectOf, ProducedObject, RegisteredInput, Run, Stage, StructureResult};
pub use delivery::{Delivery, DeliveryState, Proof, RetryPolicy, Turn, Unverified, Verification, VerifyBy};
pub use input::{JobInput, RegisteredBy};
pub use name::JobId;
pub use sender::Sender;

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
    /// Every destination has answered with success for every object. Not every one of them was asked afterwards whether
    /// it has them, because its file asks for no verification.
    Sent,
    /// Every destination has every object, and has confirmed it.
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
            JobState::Sent => "sent",
            JobState::Delivered => "delivered",
            JobState::Failed { .. } => "failed",
        }
    }

    /// Whether every destination has what it shall have, as far as it can be known by what the site asks for.
    pub fn is_done(&self) -> bool {
        matches!(self, JobState::Sent | JobState::Delivered)
    }

    /// Whether nothing more happens by itself.
    pub fn is_final(&self) -> bool {
        self.is_done() || matches!(self, JobState::Failed { .. })
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
    /// Whom `sender` stands for in the pipeline; none where it does not stand there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Sender>,
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
    /// A destination has answered with success, and that is all that is asked of it. Warnings are in the remark.
    Sent { to: String, remark: String },
    /// A destination has answered with success, and is to be asked whether it has everything: by storage commitment in
    /// this transaction, or by C-FIND.
    Unverified { to: String, remark: String, transaction: Option<Uid> },
    /// It was asked and has not said yes: it does not show everything yet, could not be reached, or owes its report.
    Asked { to: String, reason: String, ask_at: Timestamp, awaits_report: bool },
    /// It has everything, and says so.
    Verified { to: String, proof: Proof },
    /// A destination could not be reached, asked to come again, or has not what it was sent.
    SendFailed { to: String, reason: String, not_before: Timestamp },
    /// A destination refused for good, or the delivery is too old.
    SendRefused { to: String, reason: String },
    /// A destination could not be sent to, and the next of its group is tried in its place.
    PassedOn { to: String, reason: String, next: String, not_before: Timestamp },
    /// An operator wants it again. `objects` tells whether its objects are still there.
    Retried { objects: bool },
}

impl JobEvent {
    /// The peer that a delivery's event is about.
    fn to(&self) -> Option<&str> {
        match self {
            JobEvent::Sent { to, .. }
            | JobEvent::Unverified { to, .. }
            | JobEvent::Asked { to, .. }
            | JobEvent::Verified { to, .. }
            | JobEvent::SendFailed { to, .. }
            | JobEvent::SendRefused { to, .. }
            | JobEvent::PassedOn { to, .. } => Some(to),
            _ => None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            JobEvent::Started => "started",
            JobEvent::Produced { .. } => "produced",
            JobEvent::RunFailed { .. } => "run failed",
            JobEvent::WorkerLost { .. } => "worker lost",
            JobEvent::Stopped => "stopped",
            JobEvent::Interrupted => "interrupted",
            JobEvent::Sent { .. } => "sent",
            JobEvent::Unverified { .. } => "unverified",
            JobEvent::Asked { .. } => "asked",
            JobEvent::Verified { .. } => "verified",
            JobEvent::SendFailed { .. } => "send failed",
            JobEvent::SendRefused { .. } => "send refused",
            JobEvent::PassedOn { .. } => "passed on",
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
        let answered = self.state == JobState::Delivering && self.answer(event, now);
        let state = match (&self.state, event) {
            (JobState::Queued, JobEvent::Started) => {
                (self.runs, self.started_at) = (self.runs + 1, Some(now));
                JobState::Running
            }
            (JobState::Running, JobEvent::Produced { run }) => {
                self.run = Some(run.clone());
                self.begin_deliveries(|_| true, now);
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
            (JobState::Delivering, _) if answered => JobState::Delivering,
            (JobState::Failed { .. }, JobEvent::Retried { objects }) => {
                self.runs = 0;
                self.not_before = now;
                if *objects {
                    self.begin_deliveries(|delivery| !matches!(delivery.state, DeliveryState::Done { .. }), now);
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

    /// A delivering job is settled when no delivery is open.
    fn settled(&self, state: JobState) -> JobState {
        if state != JobState::Delivering || self.deliveries.iter().any(|d| d.state.is_open()) {
            return state;
        }
        let refused = self.deliveries.iter().filter_map(|d| match &d.state {
            DeliveryState::Refused { reason } => Some(format!("{}: {reason}", d.to)),
            _ => None,
        });
        let refused: Vec<String> = refused.collect();
        let only_sent = |d: &Delivery| matches!(d.state, DeliveryState::Done { proof: Proof::Answered, .. });
        if !refused.is_empty() {
            JobState::Failed { cause: format!("not delivered to {}", refused.join("; ")) }
        } else if self.deliveries.iter().any(only_sent) {
            JobState::Sent
        } else {
            JobState::Delivered
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn job(state: JobState, runs: u32) -> Job {
        let series = SeriesKey {
            study_instance_uid: "1.2".parse().expect("a UID"),
            series_instance_uid: "1.3".parse().expect("a UID"),
        };
        let now = Timestamp::UNIX_EPOCH;
        let delivery = |to: &str| Delivery::new(to.to_owned(), None, now);
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
            sender: None,
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
            JobEvent::Sent { to: to.clone(), remark: String::new() },
            JobEvent::Unverified { to: to.clone(), remark: String::new(), transaction: None },
            JobEvent::SendFailed { to: to.clone(), reason: cause.clone(), not_before: Timestamp::UNIX_EPOCH },
            JobEvent::SendRefused { to, reason: cause },
            JobEvent::Retried { objects: true },
        ]
    }

    #[test]
    fn table_of_states_and_events() {
        let failed = JobState::Failed { cause: "c".to_owned() };
        let states =
            [JobState::Queued, JobState::Running, JobState::Delivering, JobState::Sent, JobState::Delivered, failed];
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
queued     + unverified   -> -
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
running    + unverified   -> -
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
delivering + unverified   -> delivering
delivering + send failed  -> delivering
delivering + send refused -> delivering
delivering + retried      -> -
sent       + started      -> -
sent       + produced     -> -
sent       + run failed   -> -
sent       + worker lost  -> -
sent       + stopped      -> -
sent       + interrupted  -> -
sent       + sent         -> -
sent       + unverified   -> -
sent       + send failed  -> -
sent       + send refused -> -
sent       + retried      -> -
delivered  + started      -> -
delivered  + produced     -> -
delivered  + run failed   -> -
delivered  + worker lost  -> -
delivered  + stopped      -> -
delivered  + interrupted  -> -
delivered  + sent         -> -
delivered  + unverified   -> -
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
failed     + unverified   -> -
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
    fn is_sent_delivered_or_failed_when_the_last_destination_is_done() {
        let to = |name: &str| name.to_owned();
        let send = |job: &mut Job, event| job.apply(&event, 3, Timestamp::UNIX_EPOCH).expect("a delivering job");
        let sent = |name: &str| JobEvent::Sent { to: to(name), remark: String::new() };
        let mut plain = job(JobState::Delivering, 1);
        send(&mut plain, sent("tps"));
        assert_eq!(plain.state, JobState::Delivering);
        send(&mut plain, sent("pacs"));
        assert_eq!(plain.state, JobState::Sent, "nobody was asked whether it has them");

        let mut verified = job(JobState::Delivering, 1);
        for name in ["tps", "pacs"] {
            send(&mut verified, JobEvent::Unverified { to: to(name), remark: String::new(), transaction: None });
            assert_eq!(verified.state, JobState::Delivering);
            send(&mut verified, JobEvent::Verified { to: to(name), proof: Proof::Found });
        }
        assert_eq!(verified.state, JobState::Delivered);
        let late = JobEvent::Verified { to: to("tps"), proof: Proof::Found };
        assert!(verified.apply(&late, 3, Timestamp::UNIX_EPOCH).is_err(), "a repeated answer means nothing");

        let mut bad = job(JobState::Delivering, 1);
        send(&mut bad, JobEvent::SendRefused { to: to("tps"), reason: "no".to_owned() });
        send(&mut bad, sent("pacs"));
        assert_eq!(bad.state, JobState::Failed { cause: "not delivered to tps: no".to_owned() });
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
