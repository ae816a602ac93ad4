//! Which pipelines a series goes to, and for each that it does not, why; it reads headers, never pixels or files.
//!
//! Every condition is asked of all instances of the series. Every evaluation leaves a [`Trace`] that says what was
//! expected, what was found and in which instance. A trace never holds the value of an attribute that tells who the
//! patient is.

mod attribute;
mod evaluate;
mod trace;

use dicom_object::InMemDicomObject;

use crate::dicom::{AeTitle, Uid};
use crate::pipeline::{Mode, Orientation, Pipeline};

pub use trace::Trace;

/// A series as it is matched.
pub struct SeriesView<'a> {
    /// At least one for anything to match.
    pub instances: Vec<InstanceView<'a>>,
    /// The associations by which it came; `None` when it did not come over the network, and `when` is not asked.
    pub arrivals: Option<&'a [Arrival]>,
    pub assembly: Assembly,
}

/// One instance as it is matched.
#[derive(Clone, Copy)]
pub struct InstanceView<'a> {
    pub sop_instance_uid: &'a Uid,
    pub header: &'a InMemDicomObject,
}

/// The titles of an association that brought instances of the series.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Arrival {
    pub called_ae: AeTitle,
    pub calling_ae: AeTitle,
}

/// What the assembly made of the series.
#[derive(Clone, Debug, PartialEq)]
pub enum Assembly {
    Volume {
        slices: usize,
        orientation: Orientation,
        /// Most slices that are missing between two neighbours.
        largest_gap: usize,
    },
    /// It cannot be a volume, with the reasons.
    Refused(Vec<String>),
}

/// What one pipeline says of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The id of the pipeline.
    pub pipeline: String,
    pub revision: u32,
    pub mode: Mode,
    /// The conditions on mode and association.
    pub when: Trace,
    /// The conditions of each input slot, by name, in the order of the file.
    pub inputs: Vec<(String, Trace)>,
}

impl Verdict {
    /// The input slots of the pipeline that the series can fill; none when the pipeline does not want it.
    pub fn fills(&self) -> Vec<&str> {
        let filled = self.inputs.iter().filter(|(_, trace)| self.when.holds && trace.holds);
        filled.map(|(name, _)| name.as_str()).collect()
    }

    /// Whether the series alone makes the pipeline run: it fills the only slot. A pipeline of several slots needs
    /// several series, which the caller has to bring together.
    pub fn matches(&self) -> bool {
        self.inputs.len() == 1 && self.fills().len() == 1
    }

    /// Why the series fills no slot, one line for each condition that decided; empty when it fills one.
    pub fn reasons(&self) -> Vec<String> {
        if !self.fills().is_empty() {
            return Vec::new();
        }
        let when = self.when.reasons();
        if !when.is_empty() {
            return when;
        }
        self.inputs.iter().flat_map(|(_, trace)| trace.reasons()).collect()
    }
}

/// Asks every pipeline, in order, whether it wants the series.
pub fn evaluate<'p>(series: &SeriesView<'_>, pipelines: impl IntoIterator<Item = &'p Pipeline>) -> Vec<Verdict> {
    pipelines.into_iter().map(|pipeline| evaluate::verdict(series, pipeline)).collect()
}

#[cfg(test)]
mod tests;
