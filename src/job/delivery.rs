//! The delivery of a job to one destination: where it stands, when it is tried again, how it is verified; it sends
//! nothing.
//!
//! ```text
//! Pending -> Done{answered}                       no verification is asked for
//!   ^  |
//!   |  +---> Sent -> Done{found | committed}      the destination was asked, and has everything
//!   |         |
//!   +---------+                                   it has not: everything is sent again, by the retry policy
//!
//! Pending, Sent -> Refused                        for good; an operator has to act
//!
//! Pending -> Standby -> Pending                   of several of which one gets everything (src/job/turns.rs)
//!               `-----> NotNeeded
//! ```

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::JobEvent;
use crate::dicom::Uid;
use crate::pipeline::After;

/// Where the delivery to one destination stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// To be sent at or after this time.
    Pending { not_before: Timestamp },
    /// The destination has answered with success for every object; whether it has them is not verified yet.
    Sent(Unverified),
    /// Nothing is left to be done.
    Done {
        at: Timestamp,
        #[serde(default)]
        proof: Proof,
    },
    /// Refused for good, or too old; the reason is for the operator.
    Refused { reason: String },
    /// Another of its group has its turn.
    Standby,
    /// Another of its group has everything.
    NotNeeded { by: String },
}

impl DeliveryState {
    /// The word for lists and for the ledger.
    pub fn name(&self) -> &'static str {
        match self {
            DeliveryState::Pending { .. } => "pending",
            DeliveryState::Sent(_) => "unverified",
            DeliveryState::Done { proof: Proof::Answered, .. } => "sent",
            DeliveryState::Done { .. } => "delivered",
            DeliveryState::Refused { .. } => "refused",
            DeliveryState::Standby => "standby",
            DeliveryState::NotNeeded { .. } => "not needed",
        }
    }

    /// Whether something is still to be done.
    pub fn is_open(&self) -> bool {
        matches!(self, DeliveryState::Pending { .. } | DeliveryState::Sent(_))
    }
}

/// What was sent and is to be verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unverified {
    /// When the last object was answered.
    pub at: Timestamp,
    /// The destination is asked at or after this time; when its report is awaited, that long.
    pub ask_at: Timestamp,
    /// How many times it was asked.
    pub asked: u32,
    /// The Transaction UID of a storage commitment; recorded before the request goes out.
    #[serde(default)]
    pub transaction: Option<Uid>,
    /// Whether the destination has taken the request and owes us its report.
    #[serde(default)]
    pub awaits_report: bool,
}

/// Why a delivery counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// The destination has answered with success: it says that it took them. It was not asked afterwards.
    #[default]
    Answered,
    /// It shows every object in answer to a C-FIND.
    Found,
    /// It has committed to keep every object (PS3.4 J).
    Committed,
}

/// How a destination is asked whether it has what it was sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verification {
    pub by: VerifyBy,
    /// It counts as not there when the destination does not show it, or report on it, for so long.
    pub within_s: f64,
}

impl Verification {
    /// The usual times: an archive shows what it has taken within minutes; a report may wait for a tape or a night.
    pub const fn usual(by: VerifyBy) -> Verification {
        match by {
            VerifyBy::Find => Verification { by, within_s: 120.0 },
            VerifyBy::Commitment => Verification { by, within_s: 6.0 * 3_600.0 },
        }
    }
}

/// The service that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyBy {
    /// C-FIND, Study Root, for each object.
    Find,
    /// Storage Commitment Push Model.
    Commitment,
}

impl VerifyBy {
    /// What a delivery is when the destination has confirmed it.
    pub fn proof(self) -> Proof {
        match self {
            VerifyBy::Find => Proof::Found,
            VerifyBy::Commitment => Proof::Committed,
        }
    }
}

/// One destination of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Its place among several of which one gets the objects; none for one that stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
    /// Whether it has ever answered with success for every object. No other takes its place from then on: it may have
    /// them, whatever it shows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub answered: bool,
}

/// The place of a destination in a group, of which one gets the objects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// The number of the group in its job.
    pub group: u32,
    /// When the next one is tried.
    pub after: After,
    /// Attempts since the turn began.
    pub attempts: u32,
    pub began: Timestamp,
}

impl Delivery {
    /// One that was never tried.
    pub fn new(to: String, turn: Option<Turn>, now: Timestamp) -> Delivery {
        let state = DeliveryState::Pending { not_before: now };
        Delivery { to, state, attempts: 0, last_reason: String::new(), since: now, turn, answered: false }
    }

    /// What it is after an event; `None` when the event means nothing in its state.
    pub(super) fn after(&self, event: &JobEvent, now: Timestamp) -> Option<Delivery> {
        let pending = matches!(self.state, DeliveryState::Pending { .. });
        let unverified = match &self.state {
            DeliveryState::Sent(unverified) => Some(unverified),
            _ => None,
        };
        let (state, reason) = match event {
            JobEvent::Sent { remark, .. } if pending => {
                (DeliveryState::Done { at: now, proof: Proof::Answered }, remark.clone())
            }
            JobEvent::Unverified { remark, transaction, .. } if pending => {
                let transaction = transaction.clone();
                let sent = Unverified { at: now, ask_at: now, asked: 0, transaction, awaits_report: false };
                (DeliveryState::Sent(sent), remark.clone())
            }
            JobEvent::Asked { ask_at, reason, awaits_report, .. } => {
                let before = unverified?;
                let sent = Unverified {
                    ask_at: *ask_at,
                    asked: before.asked + 1,
                    awaits_report: *awaits_report,
                    ..before.clone()
                };
                (DeliveryState::Sent(sent), reason.clone())
            }
            JobEvent::Verified { proof, .. } if unverified.is_some() => {
                (DeliveryState::Done { at: now, proof: *proof }, String::new())
            }
            JobEvent::SendFailed { reason, not_before, .. } if self.state.is_open() => {
                (DeliveryState::Pending { not_before: *not_before }, reason.clone())
            }
            JobEvent::SendRefused { reason, .. } if self.state.is_open() => {
                (DeliveryState::Refused { reason: reason.clone() }, reason.clone())
            }
            JobEvent::PassedOn { reason, .. } if pending && self.turn.is_some() && !self.answered => {
                (DeliveryState::Standby, reason.clone())
            }
            _ => return None,
        };
        // An attempt is counted when it was sent or could not be, not again when it turns out not to have arrived.
        let counted = u32::from(pending);
        let attempts = self.attempts + counted;
        let turn = self.turn.clone().map(|turn| Turn { attempts: turn.attempts + counted, ..turn });
        let answered = self.answered || matches!(event, JobEvent::Sent { .. } | JobEvent::Unverified { .. });
        Some(Delivery { state, attempts, last_reason: reason, turn, answered, ..self.clone() })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_maximum() {
        let policy = RetryPolicy { initial_s: 2.0, multiplier: 3.0, max_s: 10.0, max_age_s: 60.0 };
        assert_eq!([1, 2, 3, 400].map(|n| policy.wait(n).as_secs()), [2, 6, 10, 10]);
    }

    #[test]
    fn table_of_deliveries_and_events() {
        let now = Timestamp::UNIX_EPOCH;
        let text = || "t".to_owned();
        let sent = Unverified { at: now, ask_at: now, asked: 0, transaction: None, awaits_report: false };
        let states = [
            DeliveryState::Pending { not_before: now },
            DeliveryState::Sent(sent),
            DeliveryState::Done { at: now, proof: Proof::Answered },
            DeliveryState::Done { at: now, proof: Proof::Committed },
            DeliveryState::Refused { reason: text() },
            DeliveryState::Standby,
            DeliveryState::NotNeeded { by: text() },
        ];
        let events = [
            JobEvent::Sent { to: text(), remark: text() },
            JobEvent::Unverified { to: text(), remark: text(), transaction: None },
            JobEvent::Asked { to: text(), reason: text(), ask_at: now, awaits_report: false },
            JobEvent::Verified { to: text(), proof: Proof::Found },
            JobEvent::SendFailed { to: text(), reason: text(), not_before: now },
            JobEvent::SendRefused { to: text(), reason: text() },
            JobEvent::PassedOn { to: text(), reason: text(), next: text(), not_before: now },
        ];
        let mut table = String::new();
        for state in &states {
            for event in &events {
                let turn = Turn { group: 0, after: After::default(), attempts: 0, began: now };
                let new = Delivery::new(text(), Some(turn), now);
                let delivery = Delivery { state: state.clone(), attempts: 3, ..new };
                let after = delivery.after(event, now).map(|d| format!("{} {}", d.state.name(), d.attempts));
                let after = after.unwrap_or_else(|| "-".to_owned());
                table += &format!("{:10} + {:12} -> {after}\n", state.name(), event.name());
            }
        }
        print!("{table}");
        let expected = "\
pending    + sent         -> sent 4
pending    + unverified   -> unverified 4
pending    + asked        -> -
pending    + verified     -> -
pending    + send failed  -> pending 4
pending    + send refused -> refused 4
pending    + passed on    -> standby 4
unverified + sent         -> -
unverified + unverified   -> -
unverified + asked        -> unverified 3
unverified + verified     -> delivered 3
unverified + send failed  -> pending 3
unverified + send refused -> refused 3
unverified + passed on    -> -
sent       + sent         -> -
sent       + unverified   -> -
sent       + asked        -> -
sent       + verified     -> -
sent       + send failed  -> -
sent       + send refused -> -
sent       + passed on    -> -
delivered  + sent         -> -
delivered  + unverified   -> -
delivered  + asked        -> -
delivered  + verified     -> -
delivered  + send failed  -> -
delivered  + send refused -> -
delivered  + passed on    -> -
refused    + sent         -> -
refused    + unverified   -> -
refused    + asked        -> -
refused    + verified     -> -
refused    + send failed  -> -
refused    + send refused -> -
refused    + passed on    -> -
standby    + sent         -> -
standby    + unverified   -> -
standby    + asked        -> -
standby    + verified     -> -
standby    + send failed  -> -
standby    + send refused -> -
standby    + passed on    -> -
not needed + sent         -> -
not needed + unverified   -> -
not needed + asked        -> -
not needed + verified     -> -
not needed + send failed  -> -
not needed + send refused -> -
not needed + passed on    -> -
";
        assert_eq!(table, expected);
    }

    #[test]
    fn a_delivery_of_an_older_ledger_is_not_taken_for_verified() {
        let state: DeliveryState = serde_json::from_str(r#"{"done": {"at": "2026-01-01T00:00:00Z"}}"#).expect("read");
        assert_eq!(state.name(), "sent");
    }
}
