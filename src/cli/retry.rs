//! `contourd retry JOB`: asks the running gateway to try a failed job again.

use anyhow::bail;
use clap::Args;

use super::check::ConfigArgs;
use super::{EXIT_OK, find_job, open_ledger};
use crate::job::JobState;

/// Try a failed job again: its run when there are no objects yet, else its deliveries.
#[derive(Debug, Args)]
pub(super) struct RetryArgs {
    /// Name of the job, or the beginning of it
    job: String,
    #[command(flatten)]
    config: ConfigArgs,
}

impl RetryArgs {
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        let ledger = open_ledger(&self.config.folder)?;
        let job = find_job(&ledger, &self.job)?;
        if !matches!(job.state, JobState::Failed { .. }) {
            bail!("job {}: found {}, expected failed; only a failed job can be tried again", job.id, job.state.name());
        }
        ledger.request_retry(&job.id)?;
        println!("asked for job {} again; the running gateway takes it within a second or two", job.id);
        Ok(EXIT_OK)
    }
}
