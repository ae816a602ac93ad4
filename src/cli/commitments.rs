//! `contourd commitments`: what peers have asked us to commit to (storage commitment), and what they were told.

use std::fmt::Write;

use clap::Args;

use super::check::ConfigArgs;
use super::{EXIT_OK, open_ledger};
use crate::node::{Commitment, CommitmentState};

/// List storage commitments that peers have asked for.
#[derive(Debug, Args)]
pub(super) struct CommitmentsArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// How many of the latest to list
    #[arg(long, default_value_t = 30, value_name = "COUNT")]
    last: u32,
    /// Print JSON, with every instance
    #[arg(long)]
    json: bool,
}

impl CommitmentsArgs {
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        let commitments = open_ledger(&self.config.folder)?.commitments(self.last)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&commitments)?);
        } else {
            print!("{}", table(&commitments));
        }
        Ok(EXIT_OK)
    }
}

fn table(commitments: &[Commitment]) -> String {
    if commitments.is_empty() {
        return "no storage commitments\n".to_owned();
    }
    let mut text = format!("{:19}  {:16}  {:8}  transaction, instances\n", "asked (UTC)", "peer", "state");
    for commitment in commitments {
        let (asked, peer) = (commitment.asked_at.strftime("%Y-%m-%d %H:%M:%S"), commitment.peer.as_str());
        let count = commitment.references.len();
        let result = match commitment.state.failed() {
            None => format!("{count} to be looked at"),
            Some([]) => format!("{count} committed"),
            Some(failed) => {
                let (committed, first) = (count - failed.len(), &failed[0]);
                format!("{committed} committed, {} not: {}", failed.len(), first.reason)
            }
        };
        let note = match &commitment.state {
            CommitmentState::GivenUp { reason, .. } => format!("; {reason}"),
            CommitmentState::Checked { .. } if !commitment.last_reason.is_empty() => {
                format!("; not reported yet: {}", commitment.last_reason)
            }
            _ => String::new(),
        };
        let (state, uid) = (commitment.state.name(), &commitment.transaction_uid);
        let _ = writeln!(text, "{asked}  {peer:16}  {state:8}  {uid}  {result}{note}");
    }
    text
}
