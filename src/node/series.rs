//! One series in the node: what has arrived, where it stands, and what follows when time passes.

mod complete;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::arrival::Stack;
use super::{Assessment, Effect, Order, Record, Source, Stored, registration};
use crate::dicom::{AeTitle, SeriesKey, Uid};
use crate::job::JobId;
use crate::route::Arrival;

pub use complete::Counted;
use complete::Source as Inquiry;

/// Where a series stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeriesState {
    /// Instances are expected, or the assessment is under way.
    Arriving,
    /// Incomplete for the longest time; waits for the missing slice.
    Held,
    /// Incomplete for the longest time, and the configuration says to leave it.
    Discarded,
    /// It cannot be a volume.
    Refused,
    /// No pipeline wants it.
    Unmatched,
    /// It fills a slot of a pipeline that takes several series, and nothing has come of it yet.
    Waiting,
    /// Jobs were made of it.
    Matched,
}

impl SeriesState {
    /// Every state with its word for lists and for the ledger.
    pub const ALL: [(&'static str, SeriesState); 7] = [
        ("arriving", SeriesState::Arriving),
        ("held", SeriesState::Held),
        ("discarded", SeriesState::Discarded),
        ("refused", SeriesState::Refused),
        ("unmatched", SeriesState::Unmatched),
        ("waiting", SeriesState::Waiting),
        ("matched", SeriesState::Matched),
    ];

    /// The word for lists and for the ledger.
    pub fn name(self) -> &'static str {
        SeriesState::ALL.iter().find(|(_, state)| *state == self).map_or("", |(name, _)| name)
    }
}

/// What the ledger keeps of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeriesRecord {
    pub series: SeriesKey,
    /// Counts the sets of instances that were or will be assessed; begins at 1.
    pub revision: u32,
    pub state: SeriesState,
    /// Why it is held, refused or unmatched, or what it waits for; empty otherwise.
    pub note: String,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    pub assessment: Option<Assessment>,
    /// Jobs made of any of its revisions.
    pub jobs: Vec<JobId>,
    /// When the assessment came.
    #[serde(default)]
    pub assessed_at: Option<Timestamp>,
    /// Pipelines of several series that it can be part of and that have not run on it yet, each with what is missing.
    #[serde(default)]
    pub open: BTreeMap<String, String>,
    /// When an instance of it was last committed to a peer (PS3.4 J): it is kept longer then.
    #[serde(default)]
    pub committed_at: Option<Timestamp>,
}

/// What an instance that came again does to its series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeated {
    /// It is looked at anew.
    Reopened,
    /// It is as young as this; recorded for the first of each association, so that a restart does not make it old.
    Younger,
    Known,
}

/// A series while the node knows it.
#[derive(Debug)]
pub(super) struct Gathering {
    record: SeriesRecord,
    /// Whether the shell was asked to assess this revision. Not recorded: after a crash it is asked again.
    assessing: bool,
    /// The pipelines for which a settled series is assessed again, because their definition has changed since.
    renewing: BTreeSet<String>,
    instances: BTreeMap<Uid, Stored>,
    /// What the instances that are there say of the others.
    stack: Option<Stack>,
    /// The associations that brought instances: `None` while open, else whether they were released.
    associations: BTreeMap<u64, Option<bool>>,
    /// What was asked of its source. Not recorded: after a crash it is asked again.
    inquiry: Inquiry,
}

impl Gathering {
    pub(super) fn new(series: SeriesKey, now: Timestamp) -> Gathering {
        let record = SeriesRecord {
            series,
            revision: 1,
            state: SeriesState::Arriving,
            note: String::new(),
            first_at: now,
            last_at: now,
            assessment: None,
            jobs: Vec::new(),
            assessed_at: None,
            open: BTreeMap::new(),
            committed_at: None,
        };
        Gathering::restored(record)
    }

    pub(super) fn restored(record: SeriesRecord) -> Gathering {
        let (instances, associations) = (BTreeMap::new(), BTreeMap::new());
        Gathering {
            record,
            assessing: false,
            renewing: BTreeSet::new(),
            instances,
            stack: None,
            associations,
            inquiry: Inquiry::default(),
        }
    }

    /// Puts back an instance of an earlier life. Its association is gone and was not released, so an unfinished series
    /// waits its whole quiet time from now: the sender may come again with the rest.
    pub(super) fn restore_instance(&mut self, mut stored: Stored, now: Timestamp) {
        stored.association = 0;
        if self.record.state == SeriesState::Arriving {
            (self.record.first_at, self.record.last_at) = (now, now);
        }
        self.stack = None;
        self.instances.insert(stored.sop_instance_uid.clone(), stored);
    }

    pub(super) fn has(&self, stored: &Stored) -> bool {
        self.instances.contains_key(&stored.sop_instance_uid)
    }

    /// An instance that is known came again: the sender is at it. A series that came to nothing is looked at anew, which
    /// is how an operator has it done again after the cause is gone.
    pub(super) fn repeated(&mut self, association: u64, now: Timestamp) -> Repeated {
        use SeriesState::{Arriving, Discarded, Held, Matched, Refused, Unmatched, Waiting};
        let reopened = match self.record.state {
            // It is not looked at anew, but it is as young as this.
            Matched | Arriving => false,
            Held | Discarded | Refused | Unmatched | Waiting => {
                self.reopen(now);
                true
            }
        };
        self.record.last_at = now;
        let is_news = self.sends(association);
        match reopened {
            true => Repeated::Reopened,
            false if is_news => Repeated::Younger,
            false => Repeated::Known,
        }
    }

    /// An association brings instances. What is found in the spool after a crash came by none that is still open.
    /// Whether it is the first that it brings to this series.
    fn sends(&mut self, association: u64) -> bool {
        let is_news = association != 0 && !self.associations.contains_key(&association);
        if is_news {
            self.associations.insert(association, None);
        }
        is_news
    }

    fn reopen(&mut self, now: Timestamp) {
        let counts = self.assessing || self.record.assessment.is_some();
        self.record.revision += u32::from(counts);
        self.record.state = SeriesState::Arriving;
        self.record.note.clear();
        self.record.first_at = now;
        self.assessing = false;
        self.renewing.clear();
        self.inquiry = Inquiry::default();
    }

    /// Adds a new instance; whether it reopened a series that had been assessed or was being assessed.
    pub(super) fn add(&mut self, stored: Stored, now: Timestamp) -> bool {
        let reopened = self.record.state != SeriesState::Arriving || self.assessing;
        if reopened {
            self.reopen(now);
        }
        self.record.last_at = now;
        self.stack = None;
        self.sends(stored.association);
        self.instances.insert(stored.sop_instance_uid.clone(), stored);
        reopened
    }

    pub(super) fn closed(&mut self, association: u64, released: bool) {
        if let Some(ended) = self.associations.get_mut(&association) {
            *ended = Some(released);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.instances.len()
    }

    pub(super) fn record(&self) -> SeriesRecord {
        self.record.clone()
    }

    pub(super) fn note(&self, at: Timestamp, text: String) -> Effect {
        Effect::Record(Record::History { at, series: self.record.series.clone(), job: None, text })
    }

    /// Called and calling AE title of the first instance by UID; a series from several senders follows one of them.
    pub(super) fn association(&self) -> Option<(&AeTitle, &AeTitle)> {
        self.instances.values().next().map(|first| (&first.called_ae, &first.calling_ae))
    }

    pub(super) fn digests(&self) -> Vec<(Uid, String)> {
        self.instances.iter().map(|(uid, instance)| (uid.clone(), instance.digest.clone())).collect()
    }

    pub(super) fn made(&mut self, job: JobId) {
        if !self.record.jobs.contains(&job) {
            self.record.jobs.push(job);
        }
    }

    pub(super) fn jobs(&self) -> Vec<JobId> {
        self.record.jobs.clone()
    }

    pub(super) fn rests_since_before(&self, time: Timestamp) -> bool {
        self.is_settled() && self.record.last_at < time
    }

    /// Notes that an instance was committed to a peer.
    pub(super) fn commit(&mut self, now: Timestamp) {
        self.record.committed_at = Some(now);
    }

    /// Whether something of it was committed since a time; without a time, whether it ever was.
    pub(super) fn is_committed_since(&self, time: Option<Timestamp>) -> bool {
        self.record.committed_at.is_some_and(|at| time.is_none_or(|time| at >= time))
    }

    pub(super) fn holds(&self, sop_instance_uid: &Uid) -> bool {
        self.instances.contains_key(sop_instance_uid)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.record.state != SeriesState::Arriving && !self.assessing
    }

    /// Whether an assessment that is under way is for a changed pipeline and not for changed instances.
    pub(super) fn is_renewing(&self) -> bool {
        !self.renewing.is_empty()
    }

    pub(super) fn awaits_assessment(&self, revision: u32) -> bool {
        self.assessing && self.record.revision == revision
    }

    /// Takes the assessment; a line about it for the history.
    pub(super) fn conclude(&mut self, assessment: Assessment, now: Timestamp) -> String {
        self.assessing = false;
        self.record.assessed_at = Some(now);
        if self.is_renewing() {
            return self.renew(assessment);
        }
        let matched: Vec<&str> = assessment.orders.iter().map(|order| order.pipeline.as_str()).collect();
        let (state, note, text) = if !assessment.refusals.is_empty() {
            let reasons = assessment.refusals.join("; ");
            (SeriesState::Refused, reasons.clone(), format!("cannot be a volume: {reasons}"))
        } else if matched.is_empty() {
            let note = "no pipeline matched";
            (SeriesState::Unmatched, note.to_owned(), format!("{}: {note}", assessment.summary))
        } else {
            let text = format!("{}: matched {}", assessment.summary, matched.join(", "));
            let alone = assessment.orders.iter().any(|order| order.inputs.is_alone());
            (if alone { SeriesState::Matched } else { SeriesState::Waiting }, String::new(), text)
        };
        self.record.state = state;
        self.record.note = note;
        let together = assessment.orders.iter().filter(|order| !order.inputs.is_alone());
        let waits = registration::waits(&assessment);
        self.record.open = together.map(|order| (order.pipeline.clone(), waits.clone())).collect();
        self.record.assessment = Some(assessment);
        if !waits.is_empty() {
            self.describe_open();
        }
        text
    }

    /// Takes what an assessment says anew of the pipelines that asked for it; all else stands.
    fn renew(&mut self, assessment: Assessment) -> String {
        let asked = std::mem::take(&mut self.renewing);
        // A registration is asked for anew because one group needs it; those that are finished stay so.
        let (relates_only, waits) = (registration::relates_only(&assessment.sources), registration::waits(&assessment));
        let mut old = self.record.assessment.take().unwrap_or_default();
        old.orders.retain(|order| !asked.contains(&order.pipeline));
        old.verdicts.retain(|verdict| !asked.contains(&verdict.pipeline));
        old.verdicts.extend(assessment.verdicts.into_iter().filter(|verdict| asked.contains(&verdict.pipeline)));
        let orders = assessment.orders.into_iter();
        let orders: Vec<Order> = orders.filter(|o| asked.contains(&o.pipeline) && !o.inputs.is_alone()).collect();
        let was_open: BTreeSet<String> = self.record.open.keys().cloned().collect();
        self.record.open.retain(|pipeline, _| !asked.contains(pipeline));
        let open = orders.iter().filter(|order| !relates_only || was_open.contains(&order.pipeline));
        self.record.open.extend(open.map(|order| (order.pipeline.clone(), waits.clone())));
        old.orders.extend(orders);
        old.sources = assessment.sources;
        self.record.assessment = Some(old);
        self.describe_open();
        let names: Vec<&str> = asked.iter().map(String::as_str).collect();
        format!("looked at anew for {}, which has changed", names.join(", "))
    }

    /// The order of a pipeline of several series, with what of the series can fill slots; `None` while it arrives.
    pub(super) fn offer(&self, pipeline: &str) -> Option<(&Order, &[Source])> {
        if !matches!(self.record.state, SeriesState::Matched | SeriesState::Waiting | SeriesState::Unmatched) {
            return None;
        }
        let assessment = self.record.assessment.as_ref()?;
        let order = assessment.orders.iter().find(|o| o.pipeline == pipeline && !o.inputs.is_alone())?;
        Some((order, &assessment.sources))
    }

    pub(super) fn last_at(&self) -> Timestamp {
        self.record.last_at
    }

    /// When the revision began.
    pub(super) fn first_at(&self) -> Timestamp {
        self.record.first_at
    }

    /// The patient of its images; none where they name none.
    pub(super) fn patient(&self) -> Option<&Uid> {
        let assessment = self.record.assessment.as_ref()?;
        assessment.sources.iter().find_map(|source| source.patient.as_ref())
    }

    pub(super) fn assessed_at(&self) -> Timestamp {
        self.record.assessed_at.unwrap_or(Timestamp::UNIX_EPOCH)
    }

    pub(super) fn revision(&self) -> u32 {
        self.record.revision
    }

    /// The pipelines of several series that have not run on it yet.
    pub(super) fn open(&self) -> impl Iterator<Item = &String> {
        self.record.open.keys()
    }

    pub(super) fn is_open(&self, pipeline: &str) -> bool {
        self.record.open.contains_key(pipeline)
    }

    /// Says what an open pipeline waits for; whether that is news.
    pub(super) fn waits(&mut self, pipeline: &str, what: &str) -> bool {
        let Some(text) = self.record.open.get_mut(pipeline).filter(|text| *text != what) else { return false };
        what.clone_into(text);
        self.describe_open();
        true
    }

    /// A job uses it that was made for others. Whether that changes the record.
    pub(super) fn serves(&mut self, job: &JobId) -> bool {
        let before = (self.record.state, self.record.jobs.len());
        self.made(job.clone());
        self.record.state = SeriesState::Matched;
        before != (self.record.state, self.record.jobs.len())
    }

    /// A pipeline of several series has run: on this one too when there is a `job`, else without it for the reason. Whether
    /// that changes the record.
    pub(super) fn settle(&mut self, pipeline: &str, job: Option<&JobId>, why_not: &str) -> bool {
        let before = self.record.clone();
        self.record.open.remove(pipeline);
        if let Some(job) = job {
            self.made(job.clone());
            self.record.state = SeriesState::Matched;
        }
        self.describe_open();
        if self.record.state == SeriesState::Unmatched {
            self.record.note = format!("{pipeline} {why_not}");
        }
        self.record != before
    }

    /// State and note of a series that no pipeline has run on by itself, from what is open.
    fn describe_open(&mut self) {
        let lines = self.record.open.iter().filter(|(_, what)| !what.is_empty());
        let lines: Vec<String> = lines.map(|(pipeline, what)| format!("{pipeline}: {what}")).collect();
        self.record.note = lines.join("; ");
        let open = !self.record.open.is_empty();
        match self.record.state {
            SeriesState::Waiting if !open => {
                self.record.state = SeriesState::Unmatched;
                self.record.note = "no pipeline matched".to_owned();
            }
            SeriesState::Unmatched if open => self.record.state = SeriesState::Waiting,
            _ => {}
        }
    }

    /// Asks for another look at a settled series, for a pipeline that has changed.
    pub(super) fn ask_again(&mut self, pipeline: &str) -> Vec<Effect> {
        let asked = self.assessing;
        self.renewing.insert(pipeline.to_owned());
        // The answer of one that is under way may be by the old definition too; then it is asked for once more.
        if asked { Vec::new() } else { self.assess() }
    }

    fn assess(&mut self) -> Vec<Effect> {
        self.assessing = true;
        let instances = self.instances.keys().cloned().collect();
        let mut arrivals: Vec<Arrival> = Vec::new();
        for stored in self.instances.values() {
            let arrival = Arrival { called_ae: stored.called_ae.clone(), calling_ae: stored.calling_ae.clone() };
            if !arrivals.contains(&arrival) {
                arrivals.push(arrival);
            }
        }
        let (series, revision) = (self.record.series.clone(), self.record.revision);
        vec![Effect::Assess { series, revision, instances, arrivals }]
    }

    fn set_aside(&mut self, state: SeriesState, note: String, now: Timestamp) -> Vec<Effect> {
        self.record.state = state;
        self.record.note = note.clone();
        vec![Effect::Record(Record::Series(self.record.clone())), self.note(now, format!("{}: {note}", state.name()))]
    }
}

#[cfg(test)]
mod tests {
    use super::super::arrival::Sender;
    use super::*;

    #[test]
    fn what_was_found_after_a_crash_keeps_no_sender_busy() {
        let uid = |name: &str| Uid::derived([name]);
        let key = SeriesKey { study_instance_uid: uid("study"), series_instance_uid: uid("series") };
        let mut series = Gathering::new(key, Timestamp::UNIX_EPOCH);
        series.repeated(0, Timestamp::UNIX_EPOCH);
        series.repeated(7, Timestamp::UNIX_EPOCH);
        assert!(matches!(series.sender(), Sender::Sending));
        series.closed(7, false);
        assert!(matches!(series.sender(), Sender::Aborted));
    }
}
