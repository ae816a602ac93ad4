//! What fills one slot of a job's pipeline; it reads no files.

use serde::{Deserialize, Serialize};

use crate::dicom::{SeriesKey, Uid};

/// One slot of a pipeline and the instances that fill it. A slot that is optional and was not filled has none of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobInput {
    /// The name in the pipeline.
    pub slot: String,
    pub series: SeriesKey,
    /// All instances of the series, or the one object (an RT Structure Set) that was picked of it.
    pub instances: Vec<Uid>,
}
