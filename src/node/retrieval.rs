//! Retrievals: series that are to be fetched from a peer, because an operator asks for them or because an input of a
//! pipeline is missing. Asked for once, tried again by the peer's policy and within bounds, told in the end.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Effect, Node, Record};
use crate::dicom::{SeriesKey, Uid};
use crate::limits::{RETRIEVAL_ATTEMPTS_MAX, RETRIEVAL_KEPT_DAYS, RETRIEVALS_EACH_MAX, RETRIEVALS_MAX};
use crate::pipeline::Fetch;

/// Series that are to be fetched, and what has become of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retrieval {
    pub id: Uid,
    /// Name of the peer.
    pub from: String,
    pub what: Asked,
    pub asked_at: Timestamp,
    pub state: RetrievalState,
    /// How often it was begun.
    pub attempts: u32,
    /// Why it was not done at the last attempt.
    #[serde(default)]
    pub last_reason: String,
    /// What the last attempt that got so far says of each series.
    #[serde(default)]
    pub report: Vec<SeriesReport>,
}

/// What is to be fetched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// These series of a study, or all of them where none is named.
    Series { study: Uid, series: Vec<Uid> },
    /// What can fill an input of a pipeline whose primary input is `of`.
    Slot { pipeline: String, slot: String, fetch: Fetch, of: SeriesKey },
}

/// Where a retrieval stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetrievalState {
    /// Written by an operator; the gateway has not taken it yet.
    Asked,
    /// To be begun at this time.
    Pending {
        not_before: Timestamp,
    },
    Running,
    /// All that was found is here; that can be nothing for an input of a pipeline.
    Done {
        at: Timestamp,
    },
    Failed {
        at: Timestamp,
        cause: String,
    },
}

impl RetrievalState {
    /// The word for lists and for the ledger.
    pub fn name(&self) -> &'static str {
        match self {
            RetrievalState::Asked => "asked",
            RetrievalState::Pending { .. } => "pending",
            RetrievalState::Running => "running",
            RetrievalState::Done { .. } => "done",
            RetrievalState::Failed { .. } => "failed",
        }
    }

    /// When it ended; none while it is open.
    pub fn ended_at(&self) -> Option<Timestamp> {
        match self {
            RetrievalState::Done { at } | RetrievalState::Failed { at, .. } => Some(*at),
            RetrievalState::Asked | RetrievalState::Pending { .. } | RetrievalState::Running => None,
        }
    }
}

/// What became of one series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesReport {
    pub series: SeriesKey,
    /// How many instances the peer has of it that can be stored here.
    pub wanted: usize,
    /// How many of them are here.
    pub here: usize,
    /// Whether the attempt has brought something of it. Ledgers of before did not say.
    #[serde(default = "yes")]
    pub brought: bool,
    /// What is worth telling; no patient attribute.
    pub note: String,
}

fn yes() -> bool {
    true
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Retrieved {
    /// All that fits is here; the remark is for people.
    Done { report: Vec<SeriesReport>, remark: String },
    /// Not this time.
    Again { reason: String, report: Vec<SeriesReport> },
    /// Never.
    Never { reason: String, report: Vec<SeriesReport> },
}

impl Retrieval {
    /// One that is to begin at once.
    pub fn new(id: Uid, from: String, what: Asked, now: Timestamp) -> Retrieval {
        let state = RetrievalState::Pending { not_before: now };
        Retrieval { id, from, what, asked_at: now, state, attempts: 0, last_reason: String::new(), report: Vec::new() }
    }
}

impl Node {
    /// An operator asks. What is known already is not begun anew.
    pub(super) fn retrieval_asked(&mut self, mut retrieval: Retrieval, now: Timestamp) -> Vec<Effect> {
        if self.retrievals.contains_key(&retrieval.id) {
            return Vec::new();
        }
        retrieval.state = RetrievalState::Pending { not_before: now };
        let record = Effect::Record(Record::Retrieval(Box::new(retrieval.clone())));
        self.retrievals.insert(retrieval.id.clone(), retrieval);
        vec![record]
    }

    /// What was open when the gateway ended. An attempt that was under way counts.
    pub(super) fn restore_retrievals(&mut self, restored: Vec<Retrieval>, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        for mut retrieval in restored {
            if retrieval.state == RetrievalState::Running {
                retrieval.last_reason = "the gateway ended while it was fetched".to_owned();
                retrieval.state = match retrieval.attempts < RETRIEVAL_ATTEMPTS_MAX {
                    true => RetrievalState::Pending { not_before: now },
                    false => RetrievalState::Failed { at: now, cause: retrieval.last_reason.clone() },
                };
                effects.push(Effect::Record(Record::Retrieval(Box::new(retrieval.clone()))));
                effects.extend(told(&retrieval, now));
            }
            self.retrievals.insert(retrieval.id.clone(), retrieval);
        }
        effects
    }

    /// What is under way when the gateway ends in order is cancelled, which is not the peer's fault: it does not count.
    pub(super) fn put_back_retrievals(&mut self, now: Timestamp) -> Vec<Effect> {
        let running = self.retrievals.values_mut().filter(|one| one.state == RetrievalState::Running);
        let put_back = running.map(|one| {
            one.state = RetrievalState::Pending { not_before: now };
            one.attempts = one.attempts.saturating_sub(1);
            Effect::Record(Record::Retrieval(Box::new(one.clone())))
        });
        put_back.collect()
    }

    /// Begins what is due, as many as there are places, the oldest first: to wait for a place is no attempt.
    pub(super) fn start_retrievals(&mut self, now: Timestamp) -> Vec<Effect> {
        let running = self.retrievals.values().filter(|one| one.state == RetrievalState::Running);
        let mut taken: Vec<String> = running.map(|one| one.from.clone()).collect();
        let due =
            |one: &&mut Retrieval| matches!(one.state, RetrievalState::Pending { not_before } if not_before <= now);
        let mut due: Vec<&mut Retrieval> = self.retrievals.values_mut().filter(due).collect();
        due.sort_by_key(|one| one.asked_at);
        let mut effects = Vec::new();
        for retrieval in due {
            let of_peer = taken.iter().filter(|from| **from == retrieval.from).count();
            if taken.len() < RETRIEVALS_MAX && of_peer < RETRIEVALS_EACH_MAX {
                taken.push(retrieval.from.clone());
                retrieval.state = RetrievalState::Running;
                retrieval.attempts += 1;
                effects.push(Effect::Record(Record::Retrieval(Box::new(retrieval.clone()))));
                effects.push(Effect::Retrieve(Box::new(retrieval.clone())));
            }
        }
        effects
    }

    /// Takes the end of an attempt.
    pub(super) fn retrieved(&mut self, id: &Uid, said: Retrieved, now: Timestamp) -> Vec<Effect> {
        let Some(retrieval) = self.retrievals.get_mut(id).filter(|one| one.state == RetrievalState::Running) else {
            return Vec::new(); // It came twice.
        };
        let (report, reason, again) = match said {
            Retrieved::Done { report, remark } => (report, remark, None),
            Retrieved::Again { reason, report } => (report, reason, Some(true)),
            Retrieved::Never { reason, report } => (report, reason, Some(false)),
        };
        // One that did not get so far says nothing of the series.
        if !report.is_empty() || again.is_none() {
            retrieval.report = report;
        }
        retrieval.last_reason = reason.clone();
        let policy = self.settings.retry.get(&retrieval.from).unwrap_or(&self.settings.retry_default);
        let is_over = retrieval.attempts >= RETRIEVAL_ATTEMPTS_MAX || policy.too_old(retrieval.asked_at, now);
        retrieval.state = match again {
            None => RetrievalState::Done { at: now },
            Some(true) if !is_over => {
                let not_before = now.checked_add(policy.wait(retrieval.attempts)).unwrap_or(Timestamp::MAX);
                RetrievalState::Pending { not_before }
            }
            Some(true) => {
                let cause = format!("given up after {} attempts: {reason}", retrieval.attempts);
                RetrievalState::Failed { at: now, cause }
            }
            Some(false) => RetrievalState::Failed { at: now, cause: reason },
        };
        let mut effects = vec![Effect::Record(Record::Retrieval(Box::new(retrieval.clone())))];
        effects.extend(told(retrieval, now));
        // What waits for it looks again.
        self.open.values_mut().for_each(|due| *due = Some(now));
        effects
    }

    /// Forgets what has ended so long ago that nothing follows from it.
    pub(super) fn forget_retrievals(&mut self, now: Timestamp) {
        let kept = SignedDuration::from_hours(24 * RETRIEVAL_KEPT_DAYS);
        let Ok(before) = now.checked_sub(kept) else { return };
        self.retrievals.retain(|_, retrieval| retrieval.state.ended_at().is_none_or(|at| at >= before));
    }

    /// Whether a series was fetched because it was to fill an input.
    pub(super) fn was_fetched(&self, series: &SeriesKey) -> bool {
        let brought = |one: &&Retrieval| {
            matches!(one.what, Asked::Slot { .. })
                && one.report.iter().any(|told| told.brought && told.series == *series)
        };
        self.retrievals.values().any(|one| brought(&one))
    }
}

/// The lines of the history: of each series that was fetched, and of the one whose pipeline has asked.
fn told(retrieval: &Retrieval, now: Timestamp) -> Vec<Effect> {
    let from = &retrieval.from;
    let line = |series: &SeriesKey, text: String| {
        Effect::Record(Record::History { at: now, series: series.clone(), job: None, text })
    };
    let mut lines: Vec<Effect> = retrieval
        .report
        .iter()
        .map(|one| {
            let verb = if one.brought { "fetched from" } else { "looked for at" };
            let note = if one.note.is_empty() { String::new() } else { format!("; {}", one.note) };
            line(&one.series, format!("{verb} {from}: {} of {} instances are here{note}", one.here, one.wanted))
        })
        .collect();
    if let Asked::Slot { pipeline, slot, of, .. } = &retrieval.what {
        let said = match &retrieval.state {
            RetrievalState::Done { .. } if retrieval.report.is_empty() => {
                format!("{from} has no series for {slot}; {}", retrieval.last_reason)
            }
            RetrievalState::Done { .. } => {
                let came = retrieval.report.iter().filter(|one| one.brought).count();
                format!("{came} series for {slot} came from {from}")
            }
            RetrievalState::Failed { cause, .. } => format!("{slot} could not be fetched from {from}: {cause}"),
            RetrievalState::Pending { not_before } => format!(
                "{slot} could not be fetched from {from}: {}; next attempt not before {not_before:.0}",
                retrieval.last_reason
            ),
            RetrievalState::Asked | RetrievalState::Running => return lines,
        };
        lines.push(line(of, format!("{pipeline}: {said}")));
    }
    lines
}

#[cfg(test)]
#[path = "retrieval_tests.rs"]
mod tests;
