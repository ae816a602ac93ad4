//! Which pipelines a series goes to, and for each that it does not, why; it reads headers, never pixels or files.
//!
//! Every condition is asked of all instances of the series. Every evaluation leaves a [`Trace`] that says what was
//! expected, what was found and in which instance. A trace never holds the value of an attribute that tells who the
//! patient is.

mod attribute;
mod evaluate;
mod file;
mod trace;
mod view;

use crate::pipeline::{Mode, Pipeline};

pub use file::{FileVerdict, may_take, of_file};
pub use trace::{Evidence, Trace};
pub use view::{Arrival, Assembly, InstanceView, Seen, SeriesView, see};

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

    /// Whether the series would fill a slot by what its headers say, and makes no volume for it: it is refused, or slices
    /// are missing in it. How many slices there are is not asked then.
    pub fn lacks_a_volume(&self, slot: &str) -> bool {
        let Some((name, trace)) = self.inputs.iter().find(|(name, _)| name == slot) else { return false };
        let path = format!("inputs.{name}");
        let (geometry, gap, slices) =
            (format!("{path}.geometry"), format!("{path}.geometry.max_gap"), format!("{path}.slices"));
        let of_volume = |trace: &&Trace| trace.path == geometry || trace.path == gap;
        let is_broken = trace.children.iter().filter(of_volume).any(|trace| !trace.holds);
        let others = trace.children.iter().filter(|trace| !of_volume(trace) && trace.path != slices);
        self.when.holds && is_broken && others.into_iter().all(|trace| trace.holds)
    }

    /// Whether the series alone makes the pipeline run: it fills the only slot. A pipeline of several slots needs
    /// several series, which the caller has to bring together.
    pub fn matches(&self) -> bool {
        self.inputs.len() == 1 && self.fills().len() == 1
    }

    /// What was found for each condition, one line each, indented like the tree; for a series that matched.
    pub fn findings(&self) -> Vec<String> {
        let trees = std::iter::once(&self.when).chain(self.inputs.iter().map(|(_, trace)| trace));
        trees.flat_map(|trace| trace.to_string().lines().map(str::to_owned).collect::<Vec<_>>()).collect()
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
