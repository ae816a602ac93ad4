//! `contourd worker`: the child process that runs models; the daemon starts it.

use clap::Args;

use super::EXIT_OK;
use crate::onnx::{Device, Devices};
use crate::worker::{Bench, Report, serve};

/// Run models for a gateway: orders on standard input, reports on standard output.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// CPU threads of each network
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    threads: usize,
    /// Where networks run: cpu, cuda, cuda:N, tensorrt, tensorrt:N
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    device: Device,
    /// Let the processor take the place of a device that is not there
    #[arg(long)]
    cpu_instead: bool,
}

impl WorkerArgs {
    /// Works until standard input ends.
    pub fn run(&self) -> anyhow::Result<u8> {
        let mut bench = Bench::new(self.threads, Devices { wanted: self.device, cpu_instead: self.cpu_instead });
        serve(|order, progress| match bench.run(order, progress) {
            Ok(run) => Report::Done { run },
            Err(error) => Report::Failed { cause: error.to_string() },
        })?;
        Ok(EXIT_OK)
    }
}
