//! `contourd serve`: runs the gateway until it is told to stop.

use clap::Args;

use super::check::{ConfigArgs, told};
use super::{EXIT_CONFIGURATION, EXIT_OK};
use crate::daemon::{self, DaemonError};

/// Run the gateway.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

impl ServeArgs {
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        match daemon::run(&self.config.folder) {
            Ok(()) => Ok(EXIT_OK),
            Err(DaemonError::Configuration(problems)) => {
                eprint!("{}", told(&problems));
                Ok(EXIT_CONFIGURATION)
            }
            Err(error) => Err(error.into()),
        }
    }
}
