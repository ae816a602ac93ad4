//! `contourd show JOB`: everything that is known of one job, for a person or as JSON.

use std::fmt::Write;

use clap::Args;
use serde_json::json;

use super::check::ConfigArgs;
use super::{EXIT_OK, find_job, open_ledger};
use crate::job::{DeliveryState, Job, JobState, Proof, Run};
use crate::ledger::HistoryLine;
use crate::node::SeriesRecord;

/// Show one job: series, stages with their times, structures, deliveries, history.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Name of the job, or the beginning of it
    job: String,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl ShowArgs {
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        let ledger = open_ledger(&self.config.folder)?;
        let job = find_job(&ledger, &self.job)?;
        let (series, history) = (ledger.one_series(&job.series)?, ledger.history(&job.series)?);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&json!({ "job": job, "series": series, "history": history }))?);
        } else {
            print!("{}", page(&job, series.as_ref(), &history));
        }
        Ok(EXIT_OK)
    }
}

fn page(job: &Job, series: Option<&SeriesRecord>, history: &[HistoryLine]) -> String {
    let mut text = format!("job {}: pipeline {} revision {}, ", job.id, job.pipeline, job.pipeline_revision);
    let _ = match &job.state {
        JobState::Failed { cause } => writeln!(text, "failed: {cause}"),
        state => writeln!(text, "{}", state.name()),
    };
    let _ = writeln!(text, "series {}", job.series.series_instance_uid);
    for input in job.inputs.iter().filter(|input| !input.volume.is_empty()) {
        let _ = writeln!(text, "  volume: {}, {} instances", input.volume, input.instances.len());
    }
    if let Some(seconds) = job.waited_s() {
        let _ = writeln!(text, "  begun {seconds:.1} s after the last image came");
    }
    for input in job.inputs.iter().filter(|_| job.inputs.len() > 1) {
        let (slot, series, count) = (&input.slot, &input.series.series_instance_uid, input.instances.len());
        let _ = writeln!(text, "  input {slot}: series {series}, {count} instances");
        if let Some(by) = &input.registration {
            let _ = writeln!(
                text,
                "    registered by object {} of series {}",
                by.sop_instance_uid, by.series.series_instance_uid
            );
        }
    }
    if let Some(assessment) = series.and_then(|record| record.assessment.as_ref()) {
        let _ = writeln!(text, "  {}", assessment.summary);
        for warning in &assessment.warnings {
            let _ = writeln!(text, "  warning: {warning}");
        }
    }
    if let Some(run) = &job.run {
        describe_run(&mut text, run);
    }
    text += "deliveries\n";
    for delivery in &job.deliveries {
        let _ = match &delivery.state {
            DeliveryState::Pending { not_before } => {
                writeln!(text, "  {}: pending, not before {not_before:.0} {}", delivery.to, delivery.last_reason)
            }
            DeliveryState::Sent(sent) => {
                writeln!(text, "  {}: sent {:.0}, not verified; {}", delivery.to, sent.at, delivery.last_reason)
            }
            DeliveryState::Done { at, proof } => {
                let proof = match proof {
                    Proof::Answered => "sent, not verified (its file asks for no verification)",
                    Proof::Found => "delivered, it was asked and shows everything",
                    Proof::Committed => "delivered, it has committed to keep everything",
                };
                writeln!(text, "  {}: {proof} {at:.0} {}", delivery.to, delivery.last_reason)
            }
            DeliveryState::Refused { reason } => writeln!(text, "  {}: ended: {reason}", delivery.to),
            DeliveryState::Standby => {
                writeln!(text, "  {}: stands by for another {}", delivery.to, delivery.last_reason)
            }
            DeliveryState::NotNeeded { by } => {
                writeln!(text, "  {}: not needed, {by} has everything {}", delivery.to, delivery.last_reason)
            }
        };
    }
    text += "history\n";
    for line in history.iter().filter(|line| line.job.as_deref().is_none_or(|id| id == job.id.as_str())) {
        let _ = writeln!(text, "  {:.3}  {}", line.at, line.text);
    }
    text
}

fn describe_run(text: &mut String, run: &Run) {
    let total: f64 = run.stages.iter().map(|stage| stage.seconds).sum();
    let _ = writeln!(text, "stages ({total:.2} s, worker memory at most {} MiB)", run.memory_peak_bytes >> 20);
    for stage in &run.stages {
        let _ = writeln!(text, "  {:24} {:8.2} s", stage.name, stage.seconds);
    }
    text.push_str("structures\n");
    for structure in &run.structures {
        let (name, volume, contours) = (&structure.name, structure.volume_cm3, structure.contours);
        let line = format!("  {name:16} {volume:10.1} cm3 {contours:6} contours  {}", structure.note);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for warning in &run.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text.push_str("files\n");
    for file in &run.files {
        let object = run.objects.iter().find(|object| object.file == *file);
        let peers = object
            .and_then(|object| object.to.as_ref())
            .filter(|peers| !peers.is_empty())
            .map(|peers| format!("  for {}", peers.join(", ")));
        let _ = writeln!(text, "  {file}{}", peers.unwrap_or_default());
    }
}
