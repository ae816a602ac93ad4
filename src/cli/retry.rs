//! `contourd retry JOB`: asks the running gateway to try a failed job again.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use super::{EXIT_OK, find_job, open_ledger};
use crate::job::JobState;

/// Try a failed job again: its run when there are no objects yet, else its deliveries.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Name of the job, or the beginning of it
    job: String,
    /// Folder that holds ae-config/, pipelines/ and models/
    #[arg(long, default_value = ".", value_name = "DIR")]
    config: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// When there is no such job, it has not failed, or the ledger cannot be written.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let ledger = open_ledger(&arguments.config)?;
    let Some(job) = find_job(&ledger, &arguments.job)? else {
        bail!("no job begins with {:?}; `contourd jobs` lists them", arguments.job);
    };
    if !matches!(job.state, JobState::Failed { .. }) {
        bail!("job {}: found {}, expected failed; only a failed job can be tried again", job.id, job.state.name());
    }
    ledger.request_retry(&job.id)?;
    println!("asked for job {} again; the running gateway takes it within a second or two", job.id);
    Ok(EXIT_OK)
}
