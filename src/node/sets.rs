//! Pipelines that take several series: which wait for what, and the job once their slots are filled.
//!
//! A series that can fill a slot keeps the pipeline under `open` in its record until a job is made, so that a crash
//! loses nothing; what is asked again after it finds the same job by its name. Slots are judged when no other series
//! of the study is arriving any more, or after `settle_s`; an optional slot is waited for up to its own time.

mod fetch;

use std::collections::{BTreeSet, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::join::{Candidate, Choice, Joined, join, lacking};
use super::registration::{Registered, concerns, reaches, reason, relates_only, uid_of};
use super::series::Gathering;
use super::{Effect, InputRules, Node, Order, Record, Retrieval, SlotRule, Source, describe_queued, new_job, note};
use crate::dicom::{SeriesKey, Uid};
use crate::job::{Job, JobId, JobInput, RegisteredBy};
use crate::limits::SETTLE_POLL_S;
use crate::pipeline::Same;
use fetch::Fetching;

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
#[derive(Clone, Copy)]
struct Member<'a> {
    key: &'a SeriesKey,
    gathering: &'a Gathering,
    order: &'a Order,
    sources: &'a [Source],
}

/// A slot and what fills it.
struct Filling<'a> {
    slot: &'a str,
    member: Member<'a>,
    source: &'a Source,
    /// The registration that brings it to the primary, and what is known of it beside others.
    registration: Option<(Member<'a>, &'a Source, Registered)>,
}

/// What a look at a group comes to.
enum Look {
    /// Nothing is open any more.
    Over,
    /// To be looked at again at a time, or when a series was assessed; what it waits for.
    Later(Option<Timestamp>, String),
    /// These were assessed by another definition of the pipeline than the latest of them.
    Stale(Vec<SeriesKey>),
    /// A peer is to be asked for what is missing.
    Ask(Box<Retrieval>),
    Ready(Box<Job>),
}

impl Node {
    /// Looks again at all that is open, after a series was assessed.
    pub(super) fn touch_sets(&mut self, key: &SeriesKey, now: Timestamp) {
        self.open.values_mut().for_each(|due| *due = Some(now));
        for group in self.series.get(key).map(|gathering| self.groups(key, gathering)).unwrap_or_default() {
            self.open.insert(group, Some(now));
        }
    }

    /// What was open when the gateway ended.
    pub(super) fn reopen_sets(&mut self) {
        let open: Vec<Group> = self.series.iter().flat_map(|(key, gathering)| self.groups(key, gathering)).collect();
        self.open.extend(open.into_iter().map(|group| (group, Some(self.started_at))));
    }

    /// Makes the jobs whose slots are filled.
    pub(super) fn proceed_sets(&mut self, now: Timestamp) -> Vec<Effect> {
        let due = self.open.iter().filter(|(_, due)| due.is_some_and(|due| due <= now));
        let due: Vec<Group> = due.map(|(group, _)| group.clone()).collect();
        let (mut effects, mut settled) = (Vec::new(), Vec::new());
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
                Look::Ask(retrieval) => {
                    effects.extend(self.ask_for(&group, *retrieval, now));
                    self.open.insert(group, None);
                }
                Look::Ready(job) => {
                    let by = job
                        .inputs
                        .iter()
                        .filter_map(|input| Some(input.registration.as_ref()?.sop_instance_uid.clone()));
                    let by: BTreeSet<Uid> = by.collect();
                    effects.extend(self.settle_set(&group, *job, now));
                    self.open.remove(&group);
                    settled.push((group, by));
                }
            }
        }
        for (group, by) in settled {
            effects.extend(self.close_registrations(&group, &by));
        }
        effects
    }

    /// The series of a group, and the registrations that may relate them, of whatever study of the patient.
    fn members(&self, group: &Group) -> Vec<Member<'_>> {
        let (registrations, others): (Vec<Member<'_>>, Vec<Member<'_>>) =
            self.offering(&group.pipeline).into_iter().partition(|member| relates_only(member.sources));
        let mut members: Vec<Member<'_>> = others.into_iter().filter(|member| member.is_of(group)).collect();
        let near = registrations.into_iter().filter(|one| members.iter().any(|member| one.reaches(member)));
        let near: Vec<Member<'_>> = near.collect();
        members.extend(near);
        members
    }

    fn offering(&self, pipeline: &str) -> Vec<Member<'_>> {
        self.series.iter().filter_map(|(key, gathering)| member_of(key, gathering, pipeline)).collect()
    }

    /// The registrations that are open for a group because they relate two of its series, usable or not. One that merely is
    /// of the same patient neither opens a group nor is closed with it.
    fn open_registrations(&self, group: &Group) -> Vec<SeriesKey> {
        let members = self.members(group);
        let Some(newest) = newest(&members) else { return Vec::new() };
        let (candidates, _) = candidates(&members);
        let open = members.iter().filter(|member| {
            let rules = &newest.order.inputs;
            member.gathering.is_open(&group.pipeline) && member.relates_only() && member.concerns(rules, &candidates)
        });
        open.map(|member| member.key.clone()).collect()
    }

    /// The groups that a series is open for. A registration is open for those of the series that it may relate.
    fn groups(&self, key: &SeriesKey, gathering: &Gathering) -> Vec<Group> {
        let of_pipeline = |pipeline: &String| -> Vec<Group> {
            let Some(own) = member_of(key, gathering, pipeline) else { return Vec::new() };
            if !own.relates_only() {
                return vec![own.group()];
            }
            let others =
                self.offering(pipeline).into_iter().filter(|other| !other.relates_only() && own.reaches(other));
            others.map(|other| other.group()).collect()
        };
        gathering.open().flat_map(of_pipeline).collect()
    }

    fn look(&self, group: &Group, now: Timestamp) -> Look {
        let members = self.members(group);
        let Some(newest) = newest(&members) else { return Look::Over };
        let rules = &newest.order.inputs;
        let (candidates, of) = candidates(&members);
        let opens = |member: &Member<'_>| !member.relates_only() || member.concerns(rules, &candidates);
        if !members.iter().any(|member| member.gathering.is_open(&group.pipeline) && opens(member)) {
            return Look::Over;
        }
        let own = members.iter().filter(|member| !member.relates_only());
        if let Some(look) = stale(own.clone().filter(|member| member.order.digest != newest.order.digest)) {
            return look;
        }
        let (choice, is_whole) = match join(rules, &candidates) {
            Joined::Missing(what) => return self.look_for_missing(rules, &members, &candidates, what, now),
            Joined::Refused(what) => return Look::Later(None, what),
            Joined::Unregistered(choice) => (choice, false),
            Joined::Chosen(choice) => (choice, true),
        };
        let filled = filled(&choice, &candidates, |candidate| members[of[candidate]]);
        let registrations = filled.iter().filter_map(|one| one.registration.map(|(member, ..)| member));
        // Only those that are used have to be of the same definition; the older one is asked for again.
        let mut others = registrations.clone().filter(|member| member.order.digest != newest.order.digest);
        if let Some(other) = others.next() {
            let is_newer = other.gathering.assessed_at() > newest.gathering.assessed_at();
            return if is_newer { stale(own) } else { stale([&other].into_iter()) }.unwrap_or(Look::Over);
        }
        let unrelated = choice.lacks.iter().map(|lack| members[of[lack.candidate]]);
        let needed = filled.iter().map(|one| one.member).chain(registrations).chain(unrelated);
        let ready_at = needed.map(|member| member.gathering.assessed_at()).max();
        let ready_at = ready_at.unwrap_or(now).max(self.started_at);
        let later = |wait_s: f64| {
            let wait = SignedDuration::from_millis((wait_s * 1000.0) as i64);
            ready_at.checked_add(wait).ok().filter(|until| *until > now)
        };
        if let Some(look) = without_registration(rules, &choice, is_whole, later) {
            return look;
        }
        let absent = rules.slots.iter().filter(|slot| !filled.iter().any(|one| one.slot == slot.name));
        let taken: Vec<usize> = choice.chosen.iter().map(|one| one.candidate).collect();
        let mut waiting = Vec::new();
        for slot in absent {
            let nothing_fits =
                !lacking(rules, &candidates, taken[0], &taken, |one: &SlotRule| one.name == slot.name).is_empty();
            let end = Node::optional_until(slot, ready_at);
            // It is waited for until the peer has answered, and not longer; a peer that is away does not hold back the others.
            match self.fetching(slot, &filled[0].member, &members, now).filter(|_| nothing_fits) {
                Some(Fetching::Ask(retrieval)) => return Look::Ask(retrieval),
                Some(Fetching::Waits(until, what)) if end > now => {
                    return Look::Later(Some(until.unwrap_or(end).min(end)), what);
                }
                Some(Fetching::Waits(..) | Fetching::Over(_)) => {}
                None => waiting.extend(later(slot.wait_s).map(|until| (until, slot.name.as_str()))),
            }
        }
        if let Some((until, name)) = waiting.into_iter().max() {
            return Look::Later(Some(until), format!("waits a while for {name}, which is optional"));
        }
        if let Some(until) = later(rules.settle_s).filter(|_| self.is_arriving_beside(&members)) {
            let poll = now.checked_add(SignedDuration::from_secs(SETTLE_POLL_S)).unwrap_or(until);
            return Look::Later(Some(until.min(poll)), "waits for series that are still arriving".to_owned());
        }
        let mut job = job_of(&filled, now);
        job.reasons
            .extend(choice.lacks.iter().map(|lack| format!("{}: passed over a series: {}", lack.slot, lack.what)));
        Look::Ready(Box::new(job))
    }

    /// Whether a series of one of the studies is arriving: it might be what a slot prefers.
    fn is_arriving_beside(&self, members: &[Member<'_>]) -> bool {
        let studies: BTreeSet<&Uid> = members.iter().map(|member| &member.key.study_instance_uid).collect();
        self.series.iter().any(|(key, gathering)| !gathering.is_settled() && studies.contains(&key.study_instance_uid))
    }

    /// Tells what an open pipeline waits for, where that is news.
    fn tell_open(&mut self, group: &Group, what: &str, now: Timestamp) -> Vec<Effect> {
        // A registration from elsewhere may be in several groups, which wait for different things.
        let members: Vec<Member<'_>> = self.members(group).into_iter().filter(|member| member.is_of(group)).collect();
        let mut keys: Vec<SeriesKey> = members.iter().map(|member| member.key.clone()).collect();
        // A study that is finished says nothing; what a new registration does not come to is told of the registration.
        if !members.iter().any(|member| member.gathering.is_open(&group.pipeline)) {
            keys.extend(self.open_registrations(group));
        }
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

    /// Queues the job, unless there was one of this name, and closes what was open, except for registrations, which other
    /// groups may need.
    fn settle_set(&mut self, group: &Group, job: Job, now: Timestamp) -> Vec<Effect> {
        let used: BTreeSet<SeriesKey> = job.inputs.iter().flat_map(JobInput::needed_series).cloned().collect();
        let members = self.members(group);
        let keys: Vec<(SeriesKey, bool)> =
            members.iter().map(|member| (member.key.clone(), member.relates_only())).collect();
        let (id, mut effects) = (job.id.clone(), Vec::new());
        if self.known.insert(id.clone()) {
            effects.push(Effect::Record(Record::Job(Box::new(job.clone()))));
            effects.push(note(now, &job, &describe_queued(&job)));
            self.jobs.insert(id.clone(), job);
        }
        // After the job: after a crash between them the slots are looked at again, and lead to the same name.
        for (key, relates_only) in keys {
            let Some(gathering) = self.series.get_mut(&key) else { continue };
            let made = used.contains(&key).then_some(&id);
            let is_news = match (relates_only, made) {
                (true, Some(id)) => gathering.serves(id),
                (true, None) => false,
                (false, made) => gathering.settle(&group.pipeline, made, "took other series for its slots"),
            };
            if is_news {
                effects.push(Effect::Record(Record::Series(gathering.record())));
            }
        }
        effects
    }

    /// Closes the registrations of a group that no other group waits with. `by` are those that its job used.
    fn close_registrations(&mut self, group: &Group, by: &BTreeSet<Uid>) -> Vec<Effect> {
        let used: Vec<&str> = by.iter().map(Uid::as_str).collect();
        let used = if used.is_empty() { String::new() } else { format!("; it used {}", used.join(", ")) };
        let why_not = format!("did not need this registration{used}");
        let mut effects = Vec::new();
        for key in self.open_registrations(group) {
            let groups = self.series.get(&key).map(|gathering| self.groups(&key, gathering)).unwrap_or_default();
            let mut waiting =
                groups.iter().filter(|other| other.pipeline == group.pipeline && self.open.contains_key(other));
            if waiting.any(|other| self.open_registrations(other).contains(&key)) {
                continue;
            }
            let Some(gathering) = self.series.get_mut(&key) else { continue };
            if gathering.settle(&group.pipeline, None, &why_not) {
                effects.push(Effect::Record(Record::Series(gathering.record())));
            }
        }
        effects
    }
}

impl Member<'_> {
    fn group(&self) -> Group {
        Group::of(self.key, self.order, self.sources)
    }

    fn is_of(&self, group: &Group) -> bool {
        self.group() == *group
    }

    fn reaches(&self, other: &Member<'_>) -> bool {
        reaches((self.key, self.sources), (other.key, other.sources))
    }

    fn relates_only(&self) -> bool {
        relates_only(self.sources)
    }

    fn concerns(&self, rules: &InputRules, candidates: &[Candidate<'_>]) -> bool {
        self.sources.iter().any(|source| concerns(source, rules, candidates))
    }
}

/// The series of a group that was assessed last: its definition of the pipeline counts. A registration is no such series,
/// because it may be of several groups.
fn newest<'a, 'b>(members: &'b [Member<'a>]) -> Option<&'b Member<'a>> {
    let own = members.iter().filter(|member| !member.relates_only());
    own.max_by_key(|member| (member.gathering.assessed_at(), member.key))
}

/// What the members offer, and for each the index of its member.
fn candidates<'a>(members: &[Member<'a>]) -> (Vec<Candidate<'a>>, Vec<usize>) {
    let (mut candidates, mut of) = (Vec::new(), Vec::new());
    for (index, member) in members.iter().enumerate() {
        for (at, source) in member.sources.iter().enumerate() {
            candidates.push(Candidate { series: member.key, source, fills: member.order.fills_of(at) });
            of.push(index);
        }
    }
    (candidates, of)
}

/// What follows where members were assessed by another definition; `None` where there are none.
fn stale<'a, 'b: 'a>(members: impl Iterator<Item = &'a Member<'b>>) -> Option<Look> {
    let keys: Vec<SeriesKey> = members.map(|member| member.key.clone()).collect();
    (!keys.is_empty()).then_some(Look::Stale(keys))
}

/// What fills each slot, from a choice among candidates.
fn filled<'a>(
    choice: &'a Choice,
    candidates: &[Candidate<'a>],
    member: impl Fn(usize) -> Member<'a>,
) -> Vec<Filling<'a>> {
    let filling = |chosen: &'a super::Chosen| {
        let registration = chosen.registration.map(|by| (member(by.candidate), candidates[by.candidate].source, by));
        let (slot, source) = (chosen.slot.as_str(), candidates[chosen.candidate].source);
        Filling { slot, member: member(chosen.candidate), source, registration }
    };
    choice.chosen.iter().map(filling).collect()
}

/// What follows while a registration is missing: its slot is waited for, then the choice that is whole without it is taken,
/// or none.
fn without_registration(
    rules: &InputRules,
    choice: &Choice,
    is_whole: bool,
    later: impl Fn(f64) -> Option<Timestamp>,
) -> Option<Look> {
    let wait_s =
        |slot: &str| rules.slots.iter().find(|rule| rule.name == slot).map_or(rules.settle_s, |rule| rule.wait_s);
    let what: Vec<String> = choice.lacks.iter().map(|lack| format!("{}: {}", lack.slot, lack.what)).collect();
    let what = what.join("; ");
    match choice.lacks.iter().filter_map(|lack| later(wait_s(&lack.slot))).max() {
        Some(until) => Some(Look::Later(Some(until), format!("waits for a registration: {what}"))),
        None if is_whole => None,
        None => Some(Look::Later(
            None,
            format!("refused, because no registration came in time: {what}; send it, and it runs"),
        )),
    }
}

fn member_of<'a>(key: &'a SeriesKey, gathering: &'a Gathering, pipeline: &str) -> Option<Member<'a>> {
    let (order, sources) = gathering.offer(pipeline)?;
    Some(Member { key, gathering, order, sources })
}

/// The job of a pipeline on what fills its slots, the primary first. Its name is derived from all instances and from the
/// slots that they fill.
fn job_of(filled: &[Filling<'_>], now: Timestamp) -> Job {
    // All are of one definition; to whom the results go back, the primary series says.
    let order = filled[0].member.order;
    let (mut inputs, mut digests, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    let mut named = order.digest.clone();
    for Filling { slot, member, source, registration } in filled {
        let all = member.gathering.digests().into_iter();
        let members: HashSet<&Uid> = source.instances.iter().collect();
        let used: Vec<(Uid, String)> = all.filter(|(uid, _)| members.is_empty() || members.contains(uid)).collect();
        named += &format!(" {slot}={}{}", member.key.series_instance_uid, JobInput::frames_named(&source.frames));
        let at = member.sources.iter().position(|other| std::ptr::eq(other, *source)).unwrap_or(0);
        reasons.extend(member.order.reasons_of(at).iter().map(|reason| format!("{slot}: {reason}")));
        let instances = used.iter().map(|(uid, _)| uid.clone()).collect();
        let (frames, volume) = (source.frames.clone(), source.volume.clone());
        let last_at = Some(member.gathering.last_at());
        digests.extend(used);
        let registration = registration.map(|(by, object, known)| {
            let own = by.gathering.digests().into_iter().filter(|(uid, _)| object.instances.contains(uid));
            digests.extend(own);
            named += &format!(" registered by {}", uid_of(object));
            reasons.push(reason(slot, object, known));
            RegisteredBy { series: by.key.clone(), sop_instance_uid: object.instances[0].clone() }
        });
        let (slot, series) = ((*slot).to_owned(), member.key.clone());
        inputs.push(JobInput { slot, series, instances, last_at, frames, volume, registration });
    }
    let primary = filled[0].member;
    let id = JobId::derived(primary.key, &named, digests.iter().map(|(uid, digest)| (uid, digest.as_str())));
    let mut job = new_job(id, primary.key, primary.gathering.revision(), order.clone(), now);
    job.instances.clone_from(&inputs[0].instances);
    job.inputs = inputs;
    job.reasons = reasons;
    job
}
