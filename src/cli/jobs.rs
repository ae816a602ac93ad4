//! `contourd jobs`: what the gateway has done and is doing, and the series that became no job, with the reason.

use std::fmt::Write;

use clap::Args;
use serde_json::json;

use super::check::ConfigArgs;
use super::{EXIT_OK, open_ledger};
use crate::job::{Delivery, DeliveryState, Job, JobState};
use crate::node::{SeriesRecord, SeriesState};

/// List jobs, and series that became none.
#[derive(Debug, Args)]
pub(super) struct JobsArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// How many of the latest to list
    #[arg(long, default_value_t = 30, value_name = "COUNT")]
    last: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl JobsArgs {
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        let ledger = open_ledger(&self.config.folder)?;
        let (jobs, series) = (ledger.jobs(self.last)?, ledger.series(self.last)?);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&json!({ "jobs": jobs, "series": series }))?);
        } else {
            print!("{}", table(&jobs, &series));
        }
        Ok(EXIT_OK)
    }
}

fn table(jobs: &[Job], series: &[SeriesRecord]) -> String {
    let mut text = String::new();
    if jobs.is_empty() {
        text += "no jobs yet\n";
    } else {
        let _ = writeln!(text, "{:12}  {:20}  {:10}  {:19}  note", "job", "pipeline", "state", "created (UTC)");
    }
    for job in jobs {
        let created = job.created_at.strftime("%Y-%m-%d %H:%M:%S");
        let line = format!("{:12}  {:20}  {:10}  {created}  {}", job.id, job.pipeline, job.state.name(), note(job));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let without: Vec<&SeriesRecord> = series.iter().filter(|s| s.state != SeriesState::Matched).collect();
    if !without.is_empty() {
        text += "\nseries without a job\n";
    }
    for record in without {
        let uid = &record.series.series_instance_uid;
        let _ = writeln!(text, "{:10}  {uid}  {}", record.state.name(), record.note);
    }
    text
}

fn note(job: &Job) -> String {
    let reasons = || job.deliveries.iter().filter(|d| !d.last_reason.is_empty());
    match &job.state {
        JobState::Failed { cause } => cause.clone(),
        JobState::Delivering => {
            let waiting: Vec<String> = reasons().map(|d| format!("{}: {}", d.to, d.last_reason)).collect();
            waiting.join("; ")
        }
        JobState::Sent => {
            let only_sent = job.deliveries.iter().filter(|d| d.state.name() == "sent").map(|d| d.to.as_str());
            let only_sent = format!("not verified at {}", only_sent.collect::<Vec<_>>().join(", "));
            in_place_of(job).into_iter().chain([only_sent]).collect::<Vec<_>>().join("; ")
        }
        JobState::Delivered => in_place_of(job).join("; "),
        _ => String::new(),
    }
}

/// Where the results are instead of at a destination that did not take them.
fn in_place_of(job: &Job) -> Vec<String> {
    let line = |delivery: &Delivery| match &delivery.state {
        DeliveryState::NotNeeded { by } if delivery.attempts > 0 => {
            Some(format!("at {by} in the place of {}: {}", delivery.to, delivery.last_reason))
        }
        _ => None,
    };
    job.deliveries.iter().filter_map(line).collect()
}
