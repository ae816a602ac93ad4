//! `contourd worker`: the child process that runs models; the daemon starts it.

use clap::Args;

use super::EXIT_OK;
use crate::worker::{Bench, Report, serve};

/// Run models for a gateway: orders on standard input, reports on standard output.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// CPU threads of each network
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    threads: usize,
}

impl WorkerArgs {
    /// Works until standard input ends.
    pub fn run(&self) -> anyhow::Result<u8> {
        let mut bench = Bench::new(self.threads);
        serve(|order, progress| match bench.run(order, progress) {
            Ok(run) => Report::Done { run },
            Err(error) => Report::Failed { cause: error.to_string() },
        })?;
        Ok(EXIT_OK)
    }
}
