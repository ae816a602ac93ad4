//! Turns a complete series into an assessment: can it be a volume, which pipelines want it, what is to be run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::assemble::{self, SeriesPlan};
use crate::config::Configuration;
use crate::dicom::Instance;
use crate::node::{Assessment, Order, Verdict};
use crate::pipeline::{Mode, Orientation};
use crate::route::{self, Arrival, Assembly, InstanceView, SeriesView};

/// Reads the headers of the files of one series. What cannot be read is named in the error, by its file.
///
/// # Errors
/// The first file that is not a readable instance, with the reason.
pub fn read_instances(files: &[PathBuf]) -> Result<Vec<Instance>, String> {
    files.par_iter().map(|file| read_instance(file)).collect()
}

fn read_instance(file: &Path) -> Result<Instance, String> {
    let opened = File::open(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Instance::read_part10(BufReader::new(opened)).map_err(|error| format!("{}: {error}", file.display()))
}

/// Assesses the instances of one series. `arrivals` are the associations that brought it; `None` offline, where
/// conditions on them are not asked.
pub fn assess(instances: &[Instance], arrivals: Option<&[Arrival]>, configuration: &Configuration) -> Assessment {
    let plan = assemble::plan(instances);
    let view = SeriesView {
        instances: instances.iter().map(view_of).collect(),
        arrivals,
        assembly: match &plan {
            Ok(plan) => volume_of(plan),
            Err(refusals) => Assembly::Refused(refusals.iter().map(ToString::to_string).collect()),
        },
    };
    let verdicts = route::evaluate(&view, configuration.pipelines().map(|entry| &entry.pipeline));
    let mut assessment = Assessment { summary: summary(instances, plan.as_ref().ok()), ..Assessment::default() };
    match &plan {
        Ok(plan) => assessment.warnings = plan.warnings.iter().map(ToString::to_string).collect(),
        Err(refusals) => assessment.refusals = refusals.iter().map(ToString::to_string).collect(),
    }
    for (entry, verdict) in configuration.pipelines().zip(verdicts) {
        let (matched, trace) = (plan.is_ok() && verdict.matches(), verdict.reasons());
        assessment.verdicts.push(Verdict { pipeline: verdict.pipeline, matched, trace });
        if matched {
            assessment.orders.push(order(entry, configuration));
        }
    }
    assessment
}

fn view_of(instance: &Instance) -> InstanceView<'_> {
    InstanceView { sop_instance_uid: &instance.sop_instance_uid, header: &instance.header }
}

fn volume_of(plan: &SeriesPlan) -> Assembly {
    let orientation = Orientation::of_normal(plan.geometry.normal());
    let median = plan.geometry.slice_spacing_mm();
    let gaps = plan.geometry.positions_mm().windows(2).map(|pair| ((pair[1] - pair[0]) / median).round() as usize);
    let largest_gap = gaps.map(|slices| slices.saturating_sub(1)).max().unwrap_or(0);
    Assembly::Volume { slices: plan.geometry.slices(), orientation, largest_gap }
}

fn summary(instances: &[Instance], plan: Option<&SeriesPlan>) -> String {
    let Some(plan) = plan else {
        let mut classes: BTreeMap<&str, usize> = BTreeMap::new();
        for instance in instances {
            *classes.entry(instance.sop_class_uid.as_str()).or_default() += 1;
        }
        let parts: Vec<String> = classes.iter().map(|(class, count)| format!("{count} of SOP class {class}")).collect();
        return parts.join(", ");
    };
    let geometry = &plan.geometry;
    let [slices, rows, columns] = geometry.shape();
    format!(
        "{}, {slices} slices of {rows} x {columns}, {:.3} x {:.3} x {:.3} mm",
        plan.modality.as_str(),
        geometry.slice_spacing_mm(),
        geometry.row_spacing_mm(),
        geometry.column_spacing_mm()
    )
}
