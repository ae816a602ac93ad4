//! Turns a complete series into an assessment: can it be a volume, which pipelines want it, what is to be run.

use std::collections::BTreeMap;

use super::source::sources;
use crate::assemble::{self, SeriesPlan};
use crate::config::{Configuration, Loaded};
use crate::dicom::Instance;
use crate::node::{Assessment, InputRules, Order, SlotRule, Verdict};
use crate::pipeline::{Input, Mode, Pipeline};
use crate::route::{self, Arrival, SeriesView};

/// Assesses the instances of one series. `arrivals` are the associations that brought it; `None` offline, where
/// conditions on them are not asked.
pub fn assess(instances: &[Instance], arrivals: Option<&[Arrival]>, configuration: &Configuration) -> Assessment {
    let (view, plan) = SeriesView::of(instances, arrivals);
    let verdicts = route::evaluate(&view, configuration.pipelines.values().map(|pipeline| &*pipeline.value));
    let mut assessment = Assessment { summary: summary(instances, plan.as_ref()), ..Assessment::default() };
    for (pipeline, verdict) in configuration.pipelines.values().zip(verdicts) {
        let fills: Vec<String> = verdict.fills().into_iter().map(str::to_owned).collect();
        let matched = !fills.is_empty();
        let trace = if matched { verdict.findings() } else { verdict.reasons() };
        if matched {
            assessment.orders.push(order(pipeline, fills, trace.clone(), configuration));
        }
        assessment.verdicts.push(Verdict { pipeline: verdict.pipeline, matched, trace });
    }
    if let Some(plan) = &plan {
        assessment.warnings = plan.warnings.iter().map(ToString::to_string).collect();
    }
    assessment.sources = sources(instances, plan.as_ref());
    if assessment.orders.is_empty()
        && let Err(refusals) = assemble::plan(instances)
    {
        assessment.refusals = refusals.iter().map(ToString::to_string).collect();
    }
    assessment
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

fn order(
    pipeline: &Loaded<Pipeline>,
    fills: Vec<String>,
    reasons: Vec<String>,
    configuration: &Configuration,
) -> Order {
    let deliver = match pipeline.value.mode() {
        Mode::Live => pipeline.value.deliver(),
        Mode::Shadow | Mode::Off => &[],
    };
    Order {
        pipeline: pipeline.value.id().to_owned(),
        pipeline_revision: pipeline.value.revision(),
        digest: configuration.digest(pipeline),
        source: pipeline.source.to_string(),
        models: configuration.model_sources(&pipeline.value),
        reasons,
        dialects: configuration.dialects(&pipeline.value),
        destinations: deliver.iter().map(|deliver| deliver.to.name.clone()).collect(),
        fills,
        inputs: rules(&pipeline.value, configuration.completeness(&pipeline.value).max_wait_s),
    }
}

/// How the series for a pipeline are brought together; `longest_s` is the longest wait for one of them.
fn rules(pipeline: &Pipeline, longest_s: f64) -> InputRules {
    let slot = |input: &Input| SlotRule {
        name: input.name.clone(),
        primary: input.primary,
        optional: input.optional,
        wait_s: input.wait_s.unwrap_or(longest_s),
        picking: input.picking,
        frame: input.frame,
        drawn_on: input.drawn_on.clone(),
    };
    let slots = pipeline.inputs().iter().map(slot).collect();
    InputRules { same: pipeline.same(), slots, settle_s: longest_s }
}
