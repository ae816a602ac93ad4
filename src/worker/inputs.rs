//! What fills the slots of a pipeline, read from the files of an order: headers, plans and pixels of the images.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::bench::BenchError;
use super::{InputFiles, WorkOrder};
use crate::assemble::{self, Allowed, SeriesPlan};
use crate::dicom::Instance;
use crate::pipeline::{Input, Pipeline, Unit, Wants};
use crate::volume::Volume;

/// A series of images, planned but not loaded.
pub(super) struct Series<'a> {
    pub slot: &'a str,
    pub files: &'a [PathBuf],
    pub instances: Vec<Instance>,
    pub plan: SeriesPlan,
}

/// The files of a slot; none for an optional one that did not come. An order of a single series names no slot.
pub(super) fn files_of<'a>(order: &'a WorkOrder, input: &Input) -> Option<&'a [PathBuf]> {
    let named = |files: &&InputFiles| files.slot == input.name || (files.slot.is_empty() && input.primary);
    order.inputs.iter().find(named).map(|input| input.files.as_slice())
}

/// Reads and plans the images of every slot that came, the primary first.
pub(super) fn read_series<'a>(pipeline: &'a Pipeline, order: &'a WorkOrder) -> Result<Vec<Series<'a>>, BenchError> {
    let mut inputs: Vec<&Input> = pipeline.inputs().iter().collect();
    inputs.sort_by_key(|input| !input.primary);
    let mut series = Vec::new();
    for input in inputs {
        let Wants::Image { geometry, unit, .. } = &input.wants else { continue };
        let Some(files) = files_of(order, input) else {
            if input.optional {
                continue;
            }
            return Err(BenchError::Series(vec![format!("the order has no files for the input {}", input.name)]));
        };
        let instances = read_instances(files)?;
        // As strict as the slot: gaps only where it allows them.
        let allowed = Allowed { uneven_spacing: geometry.max_gap > 0, ..Allowed::default() };
        let plan = assemble::plan_with(&instances, allowed);
        let mut plan =
            plan.map_err(|refusals| BenchError::Series(refusals.iter().map(ToString::to_string).collect()))?;
        if *unit == Unit::SuvBw {
            assemble::to_suv_bw(&mut plan, &instances)
                .map_err(|reason| BenchError::Series(vec![format!("{}: no SUV: {reason}", input.name)]))?;
        }
        series.push(Series { slot: &input.name, files, instances, plan });
    }
    Ok(series)
}

/// Loads the pixels of the images that a step takes, and of the primary ones, by slot.
pub(super) fn load_volumes(series: &[Series<'_>], pipeline: &Pipeline) -> Result<BTreeMap<String, Volume>, BenchError> {
    let taken =
        |slot: &str| pipeline.steps().iter().any(|step| step.images.iter().any(|(_, image)| image.name == slot));
    let wanted = |series: &&Series<'_>| series.slot == pipeline.primary().name || taken(series.slot);
    let load = |series: &Series<'_>| {
        let volume = assemble::load(&series.plan, &|index| fs::read(&series.files[index]))
            .map_err(|error| BenchError::Series(vec![error.to_string()]))?;
        Ok((series.slot.to_owned(), volume))
    };
    series.iter().filter(wanted).map(load).collect()
}

/// What is strange in the images, with the slot where there are several.
pub(super) fn warnings(series: &[Series<'_>]) -> Vec<String> {
    let told =
        series.iter().flat_map(|one| one.plan.warnings.iter().map(move |warning| (one.slot, warning.to_string())));
    told.map(|(slot, text)| if series.len() > 1 { format!("{slot}: {text}") } else { text }).collect()
}

/// Reads the headers of Part 10 files.
///
/// # Errors
/// The first file that is not a readable instance.
pub fn read_instances(files: &[PathBuf]) -> Result<Vec<Instance>, BenchError> {
    let read = |file: &PathBuf| {
        let opened = File::open(file).map_err(|error| unreadable(file, error))?;
        Instance::read_part10(BufReader::new(opened)).map_err(|error| unreadable(file, error))
    };
    files.par_iter().map(read).collect()
}

pub(super) fn unreadable(file: &Path, reason: impl ToString) -> BenchError {
    BenchError::File { file: file.to_owned(), reason: reason.to_string() }
}
