//! Jobs as the node makes them, and what the history says of their events; it decides nothing.

use std::collections::HashSet;

use jiff::Timestamp;

use super::{Effect, Order, Record, Source};
use crate::dicom::{SeriesKey, Uid};
use crate::job::{Delivery, Job, JobEvent, JobId, JobInput, JobState, Proof, Sender, Turn};

/// A job of an order, queued.
pub(super) fn new_job(id: JobId, series: &SeriesKey, series_revision: u32, order: Order, now: Timestamp) -> Job {
    let groups = order.groups;
    let turn = |to: &String| {
        let (group, found) = (0_u32..).zip(&groups).find(|(_, group)| group.to.contains(to))?;
        Some(Turn { group, after: found.after, attempts: 0, began: now })
    };
    let delivery = |to: String| {
        let turn = turn(&to);
        Delivery::new(to, turn, now)
    };
    Job {
        id,
        series: series.clone(),
        series_revision,
        instances: Vec::new(),
        inputs: Vec::new(),
        pipeline: order.pipeline,
        pipeline_revision: order.pipeline_revision,
        pipeline_source: order.source,
        models: order.models,
        dialects: order.dialects,
        sender: order.sender,
        predecessors: Vec::new(),
        reasons: order.reasons,
        created_at: now,
        started_at: None,
        not_before: now,
        state: JobState::Queued,
        runs: 0,
        deliveries: order.destinations.into_iter().map(delivery).collect(),
        run: None,
    }
}

pub(super) fn note(at: Timestamp, job: &Job, text: &str) -> Effect {
    Effect::Record(Record::History { at, series: job.series.clone(), job: Some(job.id.clone()), text: text.to_owned() })
}

pub(super) fn describe(job: &Job, event: &JobEvent) -> String {
    let what = match event {
        JobEvent::Started => {
            let after = job.waited_s().map(|seconds| format!(", {seconds:.1} s after the last image"));
            return format!("run {} started{}", job.runs, after.unwrap_or_default());
        }
        JobEvent::Produced { .. } => "the objects are stored".to_owned(),
        JobEvent::RunFailed { cause } => format!("the run failed: {cause}"),
        JobEvent::WorkerLost { cause } => format!("the worker was lost: {cause}"),
        JobEvent::Stopped => "back in the queue: the gateway was stopped".to_owned(),
        JobEvent::Interrupted => format!("run {} was found interrupted: the gateway ended while it ran", job.runs),
        JobEvent::Sent { to, remark } => with(format!("sent to {to}"), remark),
        JobEvent::Unverified { to, remark, .. } => with(format!("sent to {to}, to be verified"), remark),
        JobEvent::Asked { to, reason, ask_at, .. } => format!("{to}: {reason}; until {ask_at:.0}"),
        JobEvent::Verified { to, proof: Proof::Committed } => format!("delivered to {to}: it has committed to keep it"),
        JobEvent::Verified { to, .. } => format!("delivered to {to}: it shows everything"),
        JobEvent::SendFailed { to, reason, not_before } => {
            format!("not delivered to {to}: {reason}; next attempt not before {not_before:.0}")
        }
        JobEvent::SendRefused { to, reason } => format!("delivery to {to} ended: {reason}"),
        JobEvent::PassedOn { to, reason, next, not_before } => {
            format!("not delivered to {to}: {reason}; {next} is tried in its place, not before {not_before:.0}")
        }
        JobEvent::Retried { .. } => "an operator asked for it again".to_owned(),
    };
    match &job.state {
        state if state.is_done() => format!("{what}; the job is done: {}", state.name()),
        JobState::Failed { .. } => format!("{what}; the job has failed and waits for an operator"),
        _ => what,
    }
}

/// The job of an order on one source of a series: a volume, or all of its images. Its name is derived from their
/// instances.
pub(super) fn alone(
    key: &SeriesKey,
    revision: u32,
    order: &Order,
    (index, source): (usize, &Source),
    (instances, last_at): (&[(Uid, String)], Timestamp),
    now: Timestamp,
) -> Job {
    let members: HashSet<&Uid> = source.instances.iter().collect();
    let used = instances.iter().filter(|(uid, _)| members.is_empty() || members.contains(uid));
    let used: Vec<&(Uid, String)> = used.collect();
    let named = format!("{}{}", order.digest, JobInput::frames_named(&source.frames));
    let id = JobId::derived(key, &named, used.iter().map(|(uid, digest)| (uid, digest.as_str())));
    let (fills, reasons) = (order.fills_of(index), order.reasons_of(index).to_vec());
    let mut job = new_job(id, key, revision, Order { reasons, ..order.clone() }, now);
    job.instances = used.iter().map(|(uid, _)| uid.clone()).collect();
    let (slot, frames) = (fills.first().cloned().unwrap_or_default(), source.frames.clone());
    let (instances, volume) = (job.instances.clone(), source.volume.clone());
    let (last_at, registration) = (Some(last_at), None);
    job.inputs = vec![JobInput { slot, series: key.clone(), instances, last_at, frames, volume, registration }];
    job
}

/// What the history says of a queued job.
pub(super) fn describe_queued_alone(job: &Job) -> String {
    let queued = match job.inputs.first().map_or("", |input| input.volume.as_str()) {
        "" => "queued".to_owned(),
        volume => format!("queued: {volume}"),
    };
    with(queued, &back(job))
}

/// Whom the results go back to, or why to nobody; empty where the pipeline does not ask for it, or delivers nothing.
fn back(job: &Job) -> String {
    match job.sender.as_ref().filter(|_| !job.deliveries.is_empty()) {
        None => String::new(),
        Some(Sender { peer: Some(peer), note }) if note.is_empty() => format!("the results go back to {peer}"),
        Some(Sender { note, .. }) => format!("nothing can go back to the sender: {note}"),
    }
}

fn with(what: String, remark: &str) -> String {
    if remark.is_empty() { what } else { format!("{what}; {remark}") }
}

/// What the history says of a job of several series.
pub(super) fn describe_queued(job: &Job) -> String {
    let slots = job.inputs.iter().map(|input| {
        let by = input.registration.as_ref().map(|by| format!(" registered by object {}", by.sop_instance_uid));
        format!("{} is series {}{}", input.slot, input.series.series_instance_uid, by.unwrap_or_default())
    });
    with(format!("queued: {}", slots.collect::<Vec<_>>().join(", ")), &back(job))
}
