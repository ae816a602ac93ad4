//! Jobs as the node makes them, and what the history says of their events; it decides nothing.

use jiff::Timestamp;

use super::{Effect, Order, Record};
use crate::dicom::SeriesKey;
use crate::job::{Delivery, DeliveryState, Job, JobEvent, JobId, JobState, Proof};

/// A job of an order, queued.
pub(super) fn new_job(id: JobId, series: &SeriesKey, series_revision: u32, order: Order, now: Timestamp) -> Job {
    let delivery = |to: String| {
        let state = DeliveryState::Pending { not_before: now };
        Delivery { to, state, attempts: 0, last_reason: String::new(), since: now }
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
        predecessors: Vec::new(),
        reasons: order.reasons,
        created_at: now,
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
        JobEvent::Started => return format!("run {} started", job.runs),
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
        JobEvent::Retried { .. } => "an operator asked for it again".to_owned(),
    };
    match &job.state {
        state if state.is_done() => format!("{what}; the job is done: {}", state.name()),
        JobState::Failed { .. } => format!("{what}; the job has failed and waits for an operator"),
        _ => what,
    }
}

fn with(what: String, remark: &str) -> String {
    if remark.is_empty() { what } else { format!("{what}; {remark}") }
}

/// What the history says of a job of several series.
pub(super) fn describe_queued(job: &Job) -> String {
    let slots = job.inputs.iter().map(|input| format!("{} is series {}", input.slot, input.series.series_instance_uid));
    format!("queued: {}", slots.collect::<Vec<_>>().join(", "))
}
