//! Storage commitment as SCP (PS3.4 J): what peers have asked for, from the request to the report; it reads no file and
//! sends nothing.
//!
//! ```text
//! asked, recorded -> answered 0000 -> checked, recorded -> reported
//!                                         ^      |    `--> given up, when the report finds no taker for too long
//!                                         +------+ tried again by the retry policy of the peer
//! ```

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Answer, Effect, Node, Record};
use crate::dicom::{AeTitle, SeriesKey, Uid};
use crate::dimse::Outcome;
use crate::dimse::commitment::{CommitmentReport, Failed, FailureReason, Reference};
use crate::limits::{
    COMMITMENT_REFERENCES_OPEN_EACH_MAX, COMMITMENT_REFERENCES_OPEN_MAX, COMMITMENTS_OPEN_EACH_MAX,
    COMMITMENTS_OPEN_MAX,
};

/// A transaction by its peer and its UID: peers number their transactions by themselves.
pub type CommitmentKey = (AeTitle, Uid);

/// What a peer has asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitmentAsked {
    /// Under which the shell waits for the answer.
    pub token: u64,
    pub peer: AeTitle,
    /// The name of the peer: several can have one title.
    pub name: String,
    /// Which of our titles it has asked.
    pub called: AeTitle,
    /// The association that it has asked on.
    pub association: u64,
    pub transaction_uid: Uid,
    pub references: Vec<Reference>,
    /// The transaction as recorded, when the ledger has one of this name.
    pub known: Option<Box<Commitment>>,
}

/// One transaction, from its request on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commitment {
    /// The title that the peer has asked under.
    pub peer: AeTitle,
    /// The name of the peer, which alone gets the report; empty in what an earlier version has recorded.
    #[serde(default)]
    pub name: String,
    pub called: AeTitle,
    pub transaction_uid: Uid,
    pub references: Vec<Reference>,
    pub asked_at: Timestamp,
    pub state: CommitmentState,
    /// How many times the report was tried.
    pub attempts: u32,
    /// What the last unsuccessful attempt met.
    pub last_reason: String,
    /// When the result was first known; the age of the report counts from here.
    pub since: Timestamp,
    /// The association that has asked; it is gone after a restart.
    #[serde(skip)]
    pub association: u64,
}

/// Where a transaction stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitmentState {
    /// Answered with success; the instances are to be looked at.
    Asked,
    /// The result is known and is to be reported at or after this time. What is not in `failed` is committed.
    Checked { failed: Vec<Failed>, not_before: Timestamp },
    /// The peer has taken the report.
    Reported { failed: Vec<Failed>, at: Timestamp },
    /// Nobody took the report; the peer can ask again.
    GivenUp { failed: Vec<Failed>, reason: String },
}

impl CommitmentState {
    /// The word for lists and for the ledger.
    pub fn name(&self) -> &'static str {
        match self {
            CommitmentState::Asked => "asked",
            CommitmentState::Checked { .. } => "checked",
            CommitmentState::Reported { .. } => "reported",
            CommitmentState::GivenUp { .. } => "given up",
        }
    }

    /// The instances that are not committed, once that is known.
    pub fn failed(&self) -> Option<&[Failed]> {
        match self {
            CommitmentState::Asked => None,
            CommitmentState::Checked { failed, .. }
            | CommitmentState::Reported { failed, .. }
            | CommitmentState::GivenUp { failed, .. } => Some(failed),
        }
    }
}

impl Commitment {
    pub fn key(&self) -> CommitmentKey {
        (self.peer.clone(), self.transaction_uid.clone())
    }

    /// What the peer is told; everything is committed that did not fail.
    pub fn report(&self) -> CommitmentReport {
        let failed = self.state.failed().unwrap_or_default().to_vec();
        let is_failed: BTreeSet<&Reference> = failed.iter().map(|failed| &failed.reference).collect();
        let committed = self.references.iter().filter(|reference| !is_failed.contains(reference)).cloned().collect();
        CommitmentReport { transaction_uid: self.transaction_uid.clone(), committed, failed }
    }

    fn new(asked: &CommitmentAsked, now: Timestamp) -> Commitment {
        Commitment {
            peer: asked.peer.clone(),
            name: asked.name.clone(),
            called: asked.called.clone(),
            transaction_uid: asked.transaction_uid.clone(),
            references: asked.references.clone(),
            asked_at: now,
            state: CommitmentState::Asked,
            attempts: 0,
            last_reason: String::new(),
            since: now,
            association: asked.association,
        }
    }
}

/// What was found of one reference: every series that holds the instance whole, or why it cannot be committed.
pub type Looked = Result<Vec<SeriesKey>, FailureReason>;

impl Node {
    /// Takes a request. It is answered with success after it is durable.
    ///
    /// The same transaction again, for the same instances, is answered as before: while it is open nothing changes, and
    /// after its end the instances are looked at and reported anew, because the peer has not heard, or not believed.
    /// The same UID for other instances, or while it is open from another peer of the same title, is refused.
    pub(super) fn commitment_asked(&mut self, asked: CommitmentAsked, now: Timestamp) -> Vec<Effect> {
        let token = asked.token;
        let reply = |outcome| Effect::Reply { token, outcome };
        let key = (asked.peer.clone(), asked.transaction_uid.clone());
        if let Some(open) = self.commitments.get_mut(&key) {
            let is_another = !open.name.is_empty() && open.name != asked.name;
            if is_another || open.references != asked.references {
                return vec![reply(Outcome::DuplicateTransaction)];
            }
            open.association = asked.association;
            open.name = asked.name;
            return vec![reply(Outcome::Accepted)];
        }
        if asked.known.as_ref().is_some_and(|known| known.references != asked.references) {
            return vec![reply(Outcome::DuplicateTransaction)];
        }
        if !self.has_room(&asked) {
            return vec![reply(Outcome::ResourceLimitation)];
        }
        let commitment = Commitment::new(&asked, now);
        let record = Effect::Record(Record::Commitment(Box::new(commitment.clone())));
        self.commitments.insert(key, commitment);
        vec![record, reply(Outcome::Accepted)]
    }

    fn has_room(&self, asked: &CommitmentAsked) -> bool {
        let fits = |open: &mut dyn Iterator<Item = &Commitment>, most: usize, references_most: usize| {
            let (count, references) = open.fold((0, 0), |(count, sum), one| (count + 1, sum + one.references.len()));
            count < most && references + asked.references.len() <= references_most
        };
        let mut own = self.commitments.values().filter(|open| open.name == asked.name);
        fits(&mut self.commitments.values(), COMMITMENTS_OPEN_MAX, COMMITMENT_REFERENCES_OPEN_MAX)
            && fits(&mut own, COMMITMENTS_OPEN_EACH_MAX, COMMITMENT_REFERENCES_OPEN_EACH_MAX)
    }

    /// Takes what was found, in the order of the references. A series that was removed meanwhile is not committed; the
    /// others are kept for as long as the site keeps what it has committed.
    pub(super) fn commitment_checked(
        &mut self,
        key: &CommitmentKey,
        looked: Vec<Looked>,
        now: Timestamp,
    ) -> Vec<Effect> {
        self.checking.remove(key);
        let Some(commitment) = self.commitments.get_mut(key) else { return Vec::new() };
        if commitment.state != CommitmentState::Asked || looked.len() != commitment.references.len() {
            return Vec::new();
        }
        let (mut failed, mut series): (Vec<Failed>, BTreeSet<SeriesKey>) = Default::default();
        for (reference, looked) in commitment.references.iter().zip(looked) {
            let uid = &reference.sop_instance_uid;
            let holds = |key: &SeriesKey| self.series.get(key).is_some_and(|gathering| gathering.holds(uid));
            let present = looked.and_then(|keys| {
                let present: Vec<SeriesKey> = keys.into_iter().filter(holds).collect();
                if present.is_empty() { Err(FailureReason::NO_SUCH_OBJECT_INSTANCE) } else { Ok(present) }
            });
            match present {
                Ok(keys) => series.extend(keys),
                Err(reason) => failed.push(Failed { reference: reference.clone(), reason }),
            }
        }
        let (count, peer) = (commitment.references.len() - failed.len(), commitment.peer.clone());
        commitment.state = CommitmentState::Checked { failed, not_before: now };
        commitment.since = now;
        let record = Record::Commitment(Box::new(commitment.clone()));
        let mut effects = Vec::new();
        for key in series {
            let Some(gathering) = self.series.get_mut(&key) else { continue };
            gathering.commit(now);
            effects.push(Effect::Record(Record::Series(gathering.record())));
            let text = format!("storage commitment to {peer}: {count} instances of its request are committed");
            effects.push(gathering.note(now, text));
        }
        // After the series: what is reported as committed is recorded as such before.
        effects.push(Effect::Record(record));
        effects
    }

    /// Takes how the report ended.
    pub(super) fn commitment_reported(&mut self, key: &CommitmentKey, answer: Answer, now: Timestamp) -> Vec<Effect> {
        self.reporting.remove(key);
        let Some(commitment) = self.commitments.get_mut(key) else { return Vec::new() };
        let CommitmentState::Checked { failed, .. } = &commitment.state else { return Vec::new() };
        let failed = failed.clone();
        let policy = self.settings.retry.get(&commitment.name).unwrap_or(&self.settings.retry_default);
        commitment.attempts += 1;
        let attempts = commitment.attempts;
        let (state, reason) = match answer {
            Answer::Sent { .. } => (CommitmentState::Reported { failed, at: now }, String::new()),
            // A refusal is no last word: a peer that cannot take the report now keeps images that it could delete.
            Answer::Again { reason } | Answer::Refused { reason } | Answer::Closed { reason }
                if !policy.too_old(commitment.since, now) =>
            {
                let not_before = now.checked_add(policy.wait(attempts)).unwrap_or(Timestamp::MAX);
                (CommitmentState::Checked { failed, not_before }, reason)
            }
            Answer::Again { reason } | Answer::Refused { reason } | Answer::Closed { reason } => {
                let reason = format!("given up after {attempts} attempts: {reason}");
                (CommitmentState::GivenUp { failed, reason: reason.clone() }, reason)
            }
        };
        (commitment.state, commitment.last_reason) = (state, reason);
        let commitment = commitment.clone();
        if !matches!(commitment.state, CommitmentState::Checked { .. }) {
            self.commitments.remove(key);
        }
        vec![Effect::Record(Record::Commitment(Box::new(commitment)))]
    }

    /// What is to be looked at and reported now.
    pub(super) fn proceed_commitments(&mut self, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (key, commitment) in &self.commitments {
            match &commitment.state {
                CommitmentState::Asked if self.checking.insert(key.clone()) => {
                    effects.push(Effect::Check { key: key.clone(), references: commitment.references.clone() });
                }
                CommitmentState::Checked { not_before, .. }
                    if *not_before <= now && self.reporting.insert(key.clone()) =>
                {
                    effects.push(Effect::Report { commitment: Box::new(commitment.clone()) });
                }
                _ => {}
            }
        }
        effects
    }
}

#[cfg(test)]
#[path = "commitment_tests.rs"]
mod tests;
