//! Turns a complete series into an assessment: can it be a volume, which pipelines want it, what is to be run.

use std::collections::BTreeMap;

use super::source::sources;
use crate::assemble::{self, SeriesPlan};
use crate::config::{Configuration, Loaded};
use crate::dicom::Instance;
use crate::node::{Assessment, InputRules, Offer, Order, SlotRule, Verdict};
use crate::pipeline::{Input, Mode, Pipeline, Volumes};
use crate::route::{self, Arrival, Assembly, Seen};

/// Assesses the instances of one series. `arrivals` are the associations that brought it; `None` offline, where
/// conditions on them are not asked. Each volume of the series is judged by itself.
pub fn assess(instances: &[Instance], arrivals: Option<&[Arrival]>, configuration: &Configuration) -> Assessment {
    let seen = route::see(instances, arrivals);
    let mut assessment = Assessment { summary: summary(instances, &seen), ..Assessment::default() };
    for pipeline in configuration.pipelines.values() {
        let verdicts: Vec<route::Verdict> =
            seen.iter().flat_map(|one| route::evaluate(&one.view, [&*pipeline.value])).collect();
        let offers = offers(&pipeline.value, &seen, &verdicts);
        let matched = offers.iter().any(|offer| !offer.fills.is_empty());
        let trace = trace(&seen, &offers, matched);
        if matched {
            assessment.orders.push(order(pipeline, offers, configuration));
        }
        assessment.verdicts.push(Verdict { pipeline: pipeline.value.id().to_owned(), matched, trace });
    }
    assessment.warnings = warnings(&seen);
    assessment.sources = sources(instances, &seen);
    if assessment.orders.is_empty()
        && seen.len() == 1
        && let Err(refusals) = assemble::plan(instances)
    {
        assessment.refusals = refusals.iter().map(ToString::to_string).collect();
    }
    assessment
}

/// What each volume is good for in a pipeline, with the reason why it is or is not.
fn offers(pipeline: &Pipeline, seen: &[Seen<'_>], verdicts: &[route::Verdict]) -> Vec<Offer> {
    let offer = |verdict: &route::Verdict| {
        let fills: Vec<String> = verdict.fills().into_iter().map(str::to_owned).collect();
        let reasons = if fills.is_empty() { verdict.reasons() } else { verdict.findings() };
        Offer { fills, reasons }
    };
    let mut offers: Vec<Offer> = verdicts.iter().map(offer).collect();
    for input in pipeline.inputs().iter().filter(|input| input.volumes == Volumes::One) {
        let fit = |offer: &&mut Offer| offer.fills.contains(&input.name);
        let names: Vec<&str> =
            seen.iter().zip(&offers).filter(|(_, o)| o.fills.contains(&input.name)).map(|(s, _)| s.label()).collect();
        if names.len() > 1 {
            let found = format!(
                "inputs.{}.volumes: found {} volumes of one series that fit ({}), expected one; make the conditions \
                 stricter, or say \"volumes\": \"each\"",
                input.name,
                names.len(),
                names.join("; ")
            );
            for offer in offers.iter_mut().filter(fit) {
                offer.fills.retain(|slot| *slot != input.name);
                offer.reasons = vec![found.clone()];
            }
        }
    }
    offers
}

/// The reasons of all volumes, each once, with its name where there are several volumes.
fn trace(seen: &[Seen<'_>], offers: &[Offer], matched: bool) -> Vec<String> {
    let of_matched = seen.iter().zip(offers).filter(|(_, offer)| offer.fills.is_empty() != matched);
    let mut lines: Vec<String> = Vec::new();
    for (one, offer) in of_matched {
        let told =
            |line: &String| if one.label().is_empty() { line.clone() } else { format!("{}: {line}", one.label()) };
        lines.extend(offer.reasons.iter().map(told));
    }
    lines
}

/// What is strange in the volumes, each once, and which make none.
fn warnings(seen: &[Seen<'_>]) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    for one in seen {
        let told = match (&one.plan, &one.view.assembly) {
            (Some(plan), _) => plan.warnings.iter().map(ToString::to_string).collect(),
            (None, Assembly::Refused(reasons)) if seen.len() > 1 => {
                reasons.iter().map(|reason| format!("{} makes no volume: {reason}", one.label())).collect()
            }
            _ => Vec::new(),
        };
        for warning in told {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    }
    warnings
}

fn summary(instances: &[Instance], seen: &[Seen<'_>]) -> String {
    let plans: Vec<&SeriesPlan> = seen.iter().filter_map(|one| one.plan.as_ref()).collect();
    let Some(first) = plans.first() else {
        let mut classes: BTreeMap<&str, usize> = BTreeMap::new();
        for instance in instances {
            *classes.entry(instance.sop_class_uid.as_str()).or_default() += 1;
        }
        let parts: Vec<String> = classes.iter().map(|(class, count)| format!("{count} of SOP class {class}")).collect();
        return parts.join(", ");
    };
    let mut sizes: Vec<(String, usize)> = Vec::new();
    for plan in &plans {
        let size = size(plan);
        match sizes.iter_mut().find(|(known, _)| *known == size) {
            Some((_, count)) => *count += 1,
            None => sizes.push((size, 1)),
        }
    }
    let told = |(size, count): &(String, usize)| match (count, plans.len()) {
        (_, 1) => size.clone(),
        (1, _) => format!("a volume of {size}"),
        (count, _) => format!("{count} volumes of {size}"),
    };
    format!("{}, {}", first.modality.as_str(), sizes.iter().map(told).collect::<Vec<_>>().join(", "))
}

fn size(plan: &SeriesPlan) -> String {
    let geometry = &plan.geometry;
    let [slices, rows, columns] = geometry.shape();
    format!(
        "{slices} slices of {rows} x {columns}, {:.3} x {:.3} x {:.3} mm",
        geometry.slice_spacing_mm(),
        geometry.row_spacing_mm(),
        geometry.column_spacing_mm()
    )
}

fn order(pipeline: &Loaded<Pipeline>, offers: Vec<Offer>, configuration: &Configuration) -> Order {
    let mut fills: Vec<String> = Vec::new();
    for input in pipeline.value.inputs() {
        if offers.iter().any(|offer| offer.fills.contains(&input.name)) {
            fills.push(input.name.clone());
        }
    }
    let reasons = offers.iter().find(|offer| !offer.fills.is_empty()).map(|offer| offer.reasons.clone());
    // Of a series that is one volume nothing is said twice.
    let offers = if offers.len() > 1 { offers } else { Vec::new() };
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
        reasons: reasons.unwrap_or_default(),
        dialects: configuration.dialects(&pipeline.value),
        destinations: deliver.iter().map(|deliver| deliver.to.name.clone()).collect(),
        fills,
        offers,
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
