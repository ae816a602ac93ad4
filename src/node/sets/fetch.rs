//! Inputs that are missing and can be fetched: when a peer is asked, once for each set of series, and what follows from the
//! answer. A series that was itself fetched for an input asks for nothing, so that no chain of studies begins.

use jiff::{SignedDuration, Timestamp};

use super::{Group, Look, Member};
use crate::dicom::{SeriesKey, Uid};
use crate::limits::{FETCH_OPTIONAL_S, FETCH_SETTLE_S, SETTLE_POLL_S};
use crate::node::join::{Candidate, in_order, lacking};
use crate::node::{Asked, Effect, InputRules, Node, Record, Retrieval, RetrievalState, SlotRule};
use crate::pipeline::FromStudy;

/// What fetching says of one missing input.
pub(super) enum Fetching {
    /// The peer is to be asked.
    Ask(Box<Retrieval>),
    /// To be looked at again at a time, or when something happens; what it waits for.
    Waits(Option<Timestamp>, String),
    /// Nothing more comes of it; why.
    Over(String),
}

impl Node {
    /// What is done about required inputs that nothing fits. Nothing is asked while one of them cannot be fetched: the
    /// others may be the wrong ones.
    pub(super) fn look_for_missing(
        &self,
        rules: &InputRules,
        members: &[Member<'_>],
        candidates: &[Candidate<'_>],
        what: String,
        now: Timestamp,
    ) -> Look {
        let best = rules.slots.iter().find(|slot| slot.primary).and_then(|slot| {
            let best = *in_order(slot, candidates).first()?;
            Some((best, members.iter().find(|member| member.key == candidates[best].series)?))
        });
        let Some((best, primary)) = best else { return Look::Later(None, what) };
        // What the primary series would fill as well it cannot fill besides.
        let required = lacking(rules, candidates, best, &[], |slot| !slot.primary && !slot.optional);
        if required.is_empty() {
            return Look::Later(None, what);
        }
        if required.iter().any(|slot| slot.fetch.is_none()) {
            return Look::Later(None, what);
        }
        let (mut texts, mut due) = (Vec::new(), None);
        for slot in required {
            match self.fetching(slot, primary, members, now) {
                Some(Fetching::Ask(retrieval)) => return Look::Ask(retrieval),
                Some(Fetching::Waits(again, text)) => {
                    due = [due, again].into_iter().flatten().min();
                    texts.push(text);
                }
                Some(Fetching::Over(text)) => texts.push(text),
                None => {}
            }
        }
        Look::Later(due, texts.join("; "))
    }

    /// What is done about one input; `None` where it cannot be fetched.
    pub(super) fn fetching(
        &self,
        slot: &SlotRule,
        primary: &Member<'_>,
        members: &[Member<'_>],
        now: Timestamp,
    ) -> Option<Fetching> {
        let fetch = slot.fetch.as_ref()?;
        let (name, from) = (&slot.name, &fetch.from);
        let id = id_of(slot, primary);
        if let Some(retrieval) = self.retrievals.get(&id) {
            return Some(self.fetched(name, retrieval, now));
        }
        if self.was_fetched(primary.key) {
            let uid = &primary.key.series_instance_uid;
            return Some(Fetching::Over(format!(
                "waits for {name}: {uid} was fetched itself, so nothing is fetched for it"
            )));
        }
        let ready_at = members.iter().map(|member| member.gathering.assessed_at()).max().unwrap_or(now);
        let after = SignedDuration::from_millis((fetch.after_s * 1_000.0) as i64);
        let ask_at = ready_at.max(self.started_at).checked_add(after).unwrap_or(now);
        if ask_at > now {
            return Some(Fetching::Waits(Some(ask_at), format!("waits for {name}; {from} is asked for it in a while")));
        }
        if self.is_arriving_beside(members) {
            let poll = now.checked_add(SignedDuration::from_secs(SETTLE_POLL_S)).ok();
            return Some(Fetching::Waits(poll, "waits for series that are still arriving".to_owned()));
        }
        if self.may_be_bringing(primary) {
            let uid = &primary.key.series_instance_uid;
            return Some(Fetching::Waits(
                None,
                format!("waits for {name}; it is not known yet whether {uid} is fetched itself"),
            ));
        }
        let what = Asked::Slot {
            pipeline: primary.order.pipeline.clone(),
            slot: name.clone(),
            fetch: fetch.clone(),
            of: primary.key.clone(),
        };
        Some(Fetching::Ask(Box::new(Retrieval::new(id, from.clone(), what, now))))
    }

    /// Whether a retrieval that is under way for another series can be what brings this one: which series it brings is told
    /// at its end.
    fn may_be_bringing(&self, primary: &Member<'_>) -> bool {
        let is_open = |one: &&Retrieval| one.state.ended_at().is_none();
        let patient = primary.sources.iter().find_map(|source| source.patient.as_ref());
        self.retrievals.values().filter(is_open).any(|one| {
            let Asked::Slot { fetch, of, .. } = &one.what else { return false };
            let is_near = match fetch.study {
                FromStudy::Same => of.study_instance_uid == primary.key.study_instance_uid,
                FromStudy::Prior => {
                    self.series.get(of).is_none_or(|other| other.patient().is_none_or(|uid| Some(uid) == patient))
                }
            };
            is_near && of != primary.key
        })
    }

    /// How long an optional input may still hold back the others.
    pub(super) fn optional_until(slot: &SlotRule, ready_at: Timestamp) -> Timestamp {
        let wait = SignedDuration::from_millis((slot.wait_s * 1_000.0) as i64);
        let wait = wait.max(SignedDuration::from_secs(FETCH_OPTIONAL_S));
        ready_at.checked_add(wait).unwrap_or(Timestamp::MAX)
    }

    fn fetched(&self, name: &str, retrieval: &Retrieval, now: Timestamp) -> Fetching {
        let from = &retrieval.from;
        match &retrieval.state {
            RetrievalState::Asked | RetrievalState::Pending { .. } | RetrievalState::Running => {
                let why = match retrieval.last_reason.as_str() {
                    "" => String::new(),
                    reason => format!(" (attempt {} failed: {reason})", retrieval.attempts),
                };
                Fetching::Waits(None, format!("waits for {name}, which is being fetched from {from}{why}"))
            }
            RetrievalState::Failed { cause, .. } => {
                Fetching::Over(format!("waits for {name}, which could not be fetched from {from}: {cause}"))
            }
            RetrievalState::Done { .. } if retrieval.report.is_empty() => {
                Fetching::Over(format!("waits for {name}, of which {from} has none that fits"))
            }
            RetrievalState::Done { at } => {
                let waited_s = now.duration_since(*at).as_secs();
                let on_the_way = retrieval.report.iter().any(|told| !self.is_settled_here(&told.series, told.here));
                if on_the_way && waited_s < FETCH_SETTLE_S || retrieval.report.iter().any(|t| self.arrives(&t.series)) {
                    let poll = now.checked_add(SignedDuration::from_secs(SETTLE_POLL_S)).ok();
                    return Fetching::Waits(poll, format!("waits for {name}, which comes from {from}"));
                }
                let count = retrieval.report.len();
                let series = if count == 1 { "a series".to_owned() } else { format!("{count} series") };
                Fetching::Over(format!("waits for {name}: {series} came from {from}, and none fits"))
            }
        }
    }

    fn arrives(&self, series: &SeriesKey) -> bool {
        self.series.get(series).is_some_and(|gathering| !gathering.is_settled())
    }

    /// Whether all that was brought of a series has been told and judged.
    fn is_settled_here(&self, series: &SeriesKey, here: usize) -> bool {
        self.series.get(series).is_some_and(|gathering| gathering.count() >= here && gathering.is_settled())
    }

    /// Records that a peer is asked.
    pub(super) fn ask_for(&mut self, group: &Group, retrieval: Retrieval, now: Timestamp) -> Vec<Effect> {
        let Asked::Slot { slot, .. } = &retrieval.what else { return Vec::new() };
        let what = format!("waits for {slot}, which is being fetched from {}", retrieval.from);
        let mut effects = vec![Effect::Record(Record::Retrieval(Box::new(retrieval.clone())))];
        self.retrievals.insert(retrieval.id.clone(), retrieval);
        effects.extend(self.tell_open(group, &what, now));
        effects
    }
}

/// One retrieval for each input, definition of the pipeline, and set of images that the primary series has had.
fn id_of(slot: &SlotRule, primary: &Member<'_>) -> Uid {
    let (order, key) = (primary.order, primary.key);
    let revision = primary.gathering.revision().to_string();
    // Removed and sent again, it begins with the same revision, at another time.
    let begun = primary.gathering.first_at().to_string();
    Uid::derived([
        "contourd",
        "fetch",
        &order.pipeline,
        &order.digest,
        &slot.name,
        key.study_instance_uid.as_str(),
        key.series_instance_uid.as_str(),
        &revision,
        &begun,
    ])
}
