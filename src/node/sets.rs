//! Pipelines that take several series: which wait for what, and the job once their slots are filled.
//!
//! A series that can fill a slot keeps the pipeline under `open` in its record until a job is made, so that a crash
//! loses nothing; what is asked again after it finds the same job by its name. Slots are judged when no other series
//! of the study is arriving any more, or after `settle_s`; an optional slot is waited for up to its own time.

use std::collections::{BTreeSet, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::join::{Candidate, Joined, join};
use super::series::Gathering;
use super::{Effect, Node, Order, Record, Source, describe_queued, new_job, note};
use crate::dicom::{SeriesKey, Uid};
use crate::job::{Job, JobId, JobInput};
use crate::limits::SETTLE_POLL_S;
use crate::pipeline::Same;

/// A pipeline and the study or patient whose series it brings together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    pipeline: String,
    scope: Scope,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Study(Uid),
    Patient(Uid),
}

impl Group {
    /// A series without a Patient ID is joined to those of its study alone.
    pub(super) fn of(key: &SeriesKey, order: &Order, sources: &[Source]) -> Group {
        let patient = sources.iter().find_map(|source| source.patient.clone());
        let scope = match (order.inputs.same, patient) {
            (Same::Patient, Some(patient)) => Scope::Patient(patient),
            (Same::Patient | Same::Study, _) => Scope::Study(key.study_instance_uid.clone()),
        };
        Group { pipeline: order.pipeline.clone(), scope }
    }
}

/// A series that can be part of a group.
struct Member<'a> {
    key: &'a SeriesKey,
    gathering: &'a Gathering,
    order: &'a Order,
    sources: &'a [Source],
}

/// What a look at a group comes to.
enum Look {
    /// Nothing is open any more.
    Over,
    /// To be looked at again at a time, or when a series was assessed; what it waits for.
    Later(Option<Timestamp>, String),
    /// These were assessed by another definition of the pipeline than the latest of them.
    Stale(Vec<SeriesKey>),
    Ready(Box<Job>),
}

impl Node {
    /// Looks again at all that is open, after a series was assessed.
    pub(super) fn touch_sets(&mut self, key: &SeriesKey, now: Timestamp) {
        self.open.values_mut().for_each(|due| *due = Some(now));
        for group in self.series.get(key).map(|gathering| groups(key, gathering)).unwrap_or_default() {
            self.open.insert(group, Some(now));
        }
    }

    /// What was open when the gateway ended.
    pub(super) fn reopen_sets(&mut self) {
        for group in self.series.iter().flat_map(|(key, gathering)| groups(key, gathering)) {
            self.open.insert(group, Some(self.started_at));
        }
    }

    /// Makes the jobs whose slots are filled.
    pub(super) fn proceed_sets(&mut self, now: Timestamp) -> Vec<Effect> {
        let due = self.open.iter().filter(|(_, due)| due.is_some_and(|due| due <= now));
        let due: Vec<Group> = due.map(|(group, _)| group.clone()).collect();
        let mut effects = Vec::new();
        for group in due {
            match self.look(&group, now) {
                Look::Over => drop(self.open.remove(&group)),
                Look::Later(again, what) => {
                    effects.extend(self.tell_open(&group, &what, now));
                    self.open.insert(group, again);
                }
                Look::Stale(series) => {
                    for key in series {
                        let gathering = self.series.get_mut(&key);
                        effects.extend(gathering.map(|g| g.ask_again(&group.pipeline)).unwrap_or_default());
                    }
                    self.open.insert(group, None);
                }
                Look::Ready(job) => {
                    effects.extend(self.settle_set(&group, *job, now));
                    self.open.remove(&group);
                }
            }
        }
        effects
    }

    fn members(&self, group: &Group) -> Vec<Member<'_>> {
        let members = self.series.iter().filter_map(|(key, gathering)| member_of(key, gathering, &group.pipeline));
        members.filter(|member| Group::of(member.key, member.order, member.sources) == *group).collect()
    }

    fn look(&self, group: &Group, now: Timestamp) -> Look {
        let members = self.members(group);
        let newest = members.iter().max_by_key(|member| (member.gathering.assessed_at(), member.key));
        let Some(newest) = newest.filter(|_| members.iter().any(|m| m.gathering.is_open(&group.pipeline))) else {
            return Look::Over;
        };
        let stale: Vec<&Member<'_>> = members.iter().filter(|m| m.order.digest != newest.order.digest).collect();
        if !stale.is_empty() {
            return Look::Stale(stale.into_iter().map(|member| member.key.clone()).collect());
        }
        let rules = &newest.order.inputs;
        let (mut candidates, mut of) = (Vec::new(), Vec::new());
        for (index, member) in members.iter().enumerate() {
            for (at, source) in member.sources.iter().enumerate() {
                candidates.push(Candidate { series: member.key, source, fills: member.order.fills_of(at) });
                of.push(index);
            }
        }
        let chosen = match join(rules, &candidates) {
            Joined::Missing(what) | Joined::Refused(what) => return Look::Later(None, what),
            Joined::Chosen(chosen) => chosen,
        };
        let filled: Vec<(&str, &Member<'_>, &Source)> = chosen
            .iter()
            .map(|c| (c.slot.as_str(), &members[of[c.candidate]], candidates[c.candidate].source))
            .collect();
        let ready_at = filled.iter().map(|(_, member, _)| member.gathering.assessed_at()).max();
        let ready_at = ready_at.unwrap_or(now).max(self.started_at);
        let later = |wait_s: f64| {
            let wait = SignedDuration::from_millis((wait_s * 1000.0) as i64);
            ready_at.checked_add(wait).ok().filter(|until| *until > now)
        };
        let absent = rules.slots.iter().filter(|slot| !filled.iter().any(|(name, ..)| *name == slot.name));
        let absent = absent.filter_map(|slot| Some((later(slot.wait_s)?, slot.name.as_str())));
        if let Some((until, name)) = absent.max() {
            return Look::Later(Some(until), format!("waits a while for {name}, which is optional"));
        }
        if let Some(until) = later(rules.settle_s).filter(|_| self.is_arriving_beside(&members)) {
            let poll = now.checked_add(SignedDuration::from_secs(SETTLE_POLL_S)).unwrap_or(until);
            return Look::Later(Some(until.min(poll)), "waits for series that are still arriving".to_owned());
        }
        Look::Ready(Box::new(job_of(&filled, now)))
    }

    /// Whether a series of one of the studies is arriving: it might be what a slot prefers.
    fn is_arriving_beside(&self, members: &[Member<'_>]) -> bool {
        let studies: BTreeSet<&Uid> = members.iter().map(|member| &member.key.study_instance_uid).collect();
        self.series.iter().any(|(key, gathering)| !gathering.is_settled() && studies.contains(&key.study_instance_uid))
    }

    /// Tells what an open pipeline waits for, where that is news.
    fn tell_open(&mut self, group: &Group, what: &str, now: Timestamp) -> Vec<Effect> {
        let keys: Vec<SeriesKey> = self.members(group).iter().map(|member| member.key.clone()).collect();
        let mut effects = Vec::new();
        for key in keys {
            let Some(gathering) = self.series.get_mut(&key) else { continue };
            if gathering.waits(&group.pipeline, what) {
                effects.push(Effect::Record(Record::Series(gathering.record())));
                effects.push(gathering.note(now, format!("{}: {what}", group.pipeline)));
            }
        }
        effects
    }

    /// Queues the job, unless there was one of this name, and closes what was open.
    fn settle_set(&mut self, group: &Group, job: Job, now: Timestamp) -> Vec<Effect> {
        let used: BTreeSet<SeriesKey> = job.inputs.iter().map(|input| input.series.clone()).collect();
        let keys: Vec<SeriesKey> = self.members(group).iter().map(|member| member.key.clone()).collect();
        let (id, mut effects) = (job.id.clone(), Vec::new());
        if self.known.insert(id.clone()) {
            effects.push(Effect::Record(Record::Job(Box::new(job.clone()))));
            effects.push(note(now, &job, &describe_queued(&job)));
            self.jobs.insert(id.clone(), job);
        }
        // After the job: after a crash between them the slots are looked at again, and lead to the same name.
        for key in keys {
            let Some(gathering) = self.series.get_mut(&key) else { continue };
            if gathering.settle(&group.pipeline, used.contains(&key).then_some(&id)) {
                effects.push(Effect::Record(Record::Series(gathering.record())));
            }
        }
        effects
    }
}

/// The groups that a series is open for.
fn groups(key: &SeriesKey, gathering: &Gathering) -> Vec<Group> {
    let group = |pipeline: &String| {
        let (order, sources) = gathering.offer(pipeline)?;
        Some(Group::of(key, order, sources))
    };
    gathering.open().filter_map(group).collect()
}

fn member_of<'a>(key: &'a SeriesKey, gathering: &'a Gathering, pipeline: &str) -> Option<Member<'a>> {
    let (order, sources) = gathering.offer(pipeline)?;
    Some(Member { key, gathering, order, sources })
}

/// The job of a pipeline on what fills its slots, the primary first. Its name is derived from all instances and from the
/// slots that they fill.
fn job_of(filled: &[(&str, &Member<'_>, &Source)], now: Timestamp) -> Job {
    // All are of one definition; to whom the results go back, the primary series says.
    let order = filled[0].1.order;
    let (mut inputs, mut digests, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    let mut named = order.digest.clone();
    for (slot, member, source) in filled {
        let all = member.gathering.digests().into_iter();
        let members: HashSet<&Uid> = source.instances.iter().collect();
        let used: Vec<(Uid, String)> = all.filter(|(uid, _)| members.is_empty() || members.contains(uid)).collect();
        named += &format!(" {slot}={}{}", member.key.series_instance_uid, JobInput::frames_named(&source.frames));
        let at = member.sources.iter().position(|other| std::ptr::eq(other, *source)).unwrap_or(0);
        reasons.extend(member.order.reasons_of(at).iter().map(|reason| format!("{slot}: {reason}")));
        let instances = used.iter().map(|(uid, _)| uid.clone()).collect();
        let (frames, volume) = (source.frames.clone(), source.volume.clone());
        let last_at = Some(member.gathering.last_at());
        inputs.push(JobInput {
            slot: (*slot).to_owned(),
            series: member.key.clone(),
            instances,
            last_at,
            frames,
            volume,
        });
        digests.extend(used);
    }
    let (_, primary, _) = &filled[0];
    let id = JobId::derived(primary.key, &named, digests.iter().map(|(uid, digest)| (uid, digest.as_str())));
    let mut job = new_job(id, primary.key, primary.gathering.revision(), order.clone(), now);
    job.instances.clone_from(&inputs[0].instances);
    job.inputs = inputs;
    job.reasons = reasons;
    job
}
