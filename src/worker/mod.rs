//! Inference in a child process: what is said between the daemon and its worker; the work itself is in `job`.
//!
//! The worker is this same program, started as `contourd worker`. Orders come as JSON lines on its standard input,
//! reports go out as JSON lines on its standard output. A worker that crashes, hangs, leaks or is killed costs one
//! attempt of one job: the daemon sees the end of the pipe, and the listener does not notice.

mod bench;
mod child;
mod documents;
mod image_file;
mod images;
mod inputs;
mod objects;
mod page;
mod steps;
mod structure_set;
mod structures;
mod supervisor;
mod voxels;

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::dicom::Uid;
use crate::job::{DialectOf, JobId, ProducedObject, Run};
use crate::output::Format;

pub use bench::{Bench, BenchError};
pub use child::serve;
pub use image_file::{ImageError, ImageHead, head, plan_scans};
pub use inputs::{read_instances, turn_of};
pub use objects::REPORT_FILE;
pub use supervisor::{Limits, Outcome, Supervisor, worker_arguments};

/// One job for a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkOrder {
    pub job: JobId,
    /// Goes into the objects as their date and time, so that a repeated run writes the same bytes.
    pub created_at: Timestamp,
    /// What fills the slots of the pipeline. A slot that is missing here was optional and did not come.
    pub inputs: Vec<InputFiles>,
    /// The pipeline definition as matched.
    pub pipeline_source: String,
    /// The definitions of its models as matched, by id.
    pub model_sources: BTreeMap<String, String>,
    /// The folder that holds a folder for each model, with its network file.
    pub models: PathBuf,
    /// An empty folder for the objects; the daemon adopts it when the worker reports [`Report::Done`].
    pub folder: PathBuf,
    /// The dialects of the destinations, each with the peers that want it. Empty where nothing is delivered: then one
    /// structure set is written in the generic one.
    #[serde(default)]
    pub dialects: Vec<DialectOf>,
    /// The peer that `sender` stands for in the pipeline; none where nobody does.
    #[serde(default)]
    pub sender: Option<String>,
    /// The structure sets of an earlier revision of the series that those of this job replace.
    #[serde(default)]
    pub predecessors: Vec<ProducedObject>,
    /// Why the pipeline matched, one finding a line, for the report.
    pub reasons: Vec<String>,
    /// What is written besides DICOM.
    pub write: Vec<Format>,
}

/// The files of one slot.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct InputFiles {
    /// The name in the pipeline; empty for the primary one.
    pub slot: String,
    /// Part 10 files, in any order; or one file of another format.
    pub files: Vec<PathBuf>,
    /// What is known of a file of another format besides what it holds.
    #[serde(default)]
    pub image: Option<ImageOrder>,
    /// Of multi-frame images that hold several volumes: the numbers (1-based) of the frames that are meant.
    #[serde(default)]
    pub frames: BTreeMap<Uid, Vec<u32>>,
    /// What tells the volume from others of its series, for people; empty for the whole series.
    #[serde(default)]
    pub volume: String,
    /// The registration object that brings it to the primary images; none where both have one Frame of Reference.
    #[serde(default)]
    pub registration: Option<PathBuf>,
}

/// An image that is no DICOM series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageOrder {
    pub format: Format,
    /// Which scan of a planC, from 0; 0 for other formats.
    pub scan: usize,
    /// The value of Modality (0008,0060) that it would have: `CT`, `MR` or `PT`.
    pub modality: String,
    /// Stands for the UIDs that it has not.
    pub uid: Uid,
}

/// What a worker says while it works.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// It has begun a stage, or is so far in it (0 to 1).
    Progress { stage: String, fraction: f32 },
    /// The objects are written and synchronised.
    Done { run: Run },
    /// Another run would fail as well; the cause names what, where, found, expected and cure.
    Failed { cause: String },
}
