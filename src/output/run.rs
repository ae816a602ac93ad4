//! What a run says of itself: stages with their times, structures, files, warnings. It is stored with the job.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a successful run has to tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The stages in their order, with their durations.
    pub stages: Vec<Stage>,
    pub structures: Vec<StructureResult>,
    /// Files in the job's folder of the spool.
    pub files: Vec<String>,
    pub warnings: Vec<String>,
    /// Largest resident memory of the worker up to the end of this run.
    pub memory_peak_bytes: u64,
    /// Where the networks of each step ran.
    #[serde(default)]
    pub devices: BTreeMap<String, String>,
}

/// One stage of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    pub name: String,
    pub seconds: f64,
}

/// One structure that a run made, or could not make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StructureResult {
    pub name: String,
    /// 0 for a structure that is not there.
    pub volume_cm3: f64,
    pub contours: usize,
    /// Why it is empty, or what to look at; empty when there is nothing to say.
    pub note: String,
}
