//! Many cases from files, run by worker processes: found, judged as the gateway judges, run, kept, summed up.
//!
//! A model that crashes, hangs or fills the memory costs its case and no other, because each case runs in a child
//! process under the supervisor of the gateway. What is finished stands in the folder of results by one rename, so that
//! an interrupted call goes on where it was. It prints nothing: what happens is told by [`Notice`].

mod cases;
mod find;
mod images;
mod memory;
mod record;
mod run;
mod summary;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

pub use cases::{Case, Finding};
pub use find::Found;
pub use record::Record;
pub use run::{Notice, Request, Totals, run};

/// The name of the table in the folder of results.
pub const SUMMARY_FILE: &str = "summary.csv";

/// Why a cohort cannot be run, or cannot go on. The cases that are finished are kept.
#[derive(Debug, Error)]
pub enum CohortError {
    #[error("cannot read {input}: {source}")]
    Input {
        input: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "found more than {} files, expected at most that many in one call; name a part of the folders",
        crate::limits::COHORT_FILES_MAX
    )]
    Files,
    #[error("cannot write {folder}: {source}")]
    Output {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another contourd works on {folder}; wait for its end, or name another folder")]
    Locked { folder: PathBuf },
    #[error("no worker processes can be started: {0}")]
    Workers(#[source] io::Error),
}
