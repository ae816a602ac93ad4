//! Turns a complete series into an assessment: can it be a volume, which pipelines want it, what is to be run.

use std::collections::BTreeMap;

use dicom_dictionary_std::tags;

use super::destinations::{destinations, sender};
use super::source::sources;
use crate::assemble::{self, SeriesPlan};
use crate::config::{Configuration, Loaded};
use crate::dicom::Instance;
use crate::job::Sender;
use crate::node::{Assessment, InputRules, Offer, Order, SlotRule, Verdict};
use crate::output::registration::{self, Relation};
use crate::pipeline::{Frame, Input, Mode, Pipeline, Volumes};
use crate::route::{self, Arrival, Assembly, Seen};

/// Assesses the instances of one series. `arrivals` are the associations that brought it; `None` offline, where
/// conditions on them are not asked. Each volume of the series is judged by itself.
pub fn assess(instances: &[Instance], arrivals: Option<&[Arrival]>, configuration: &Configuration) -> Assessment {
    let seen = route::see(instances, arrivals);
    let relations = relations(instances);
    let mut assessment = Assessment { summary: summary(instances, &seen), ..Assessment::default() };
    if let [first, ..] = relations.as_slice() {
        let others = if relations.len() > 1 { format!(", and {} more", relations.len() - 1) } else { String::new() };
        assessment.summary = first.describe() + &others;
    }
    for pipeline in configuration.pipelines.values() {
        let verdicts: Vec<route::Verdict> =
            seen.iter().flat_map(|one| route::evaluate(&one.view, [&*pipeline.value])).collect();
        let offers = offers(&pipeline.value, &seen, &verdicts);
        let relates = !relations.is_empty() && takes_registrations(&pipeline.value, &verdicts);
        let matched = relates || offers.iter().any(|offer| !offer.fills.is_empty());
        let trace = if relates {
            relations
                .iter()
                .map(|relation| format!("it may relate the series for its inputs: {}", relation.describe()))
                .collect()
        } else {
            trace(&seen, &offers, matched)
        };
        if matched {
            let sender = sender(&pipeline.value, arrivals, &configuration.peers);
            assessment.orders.push(order(pipeline, offers, sender, configuration));
        }
        assessment.verdicts.push(Verdict { pipeline: pipeline.value.id().to_owned(), matched, trace });
    }
    assessment.warnings = warnings(&seen);
    if let Some(short) = promised(instances) {
        // With the reasons it comes into the report of the job.
        for order in &mut assessment.orders {
            order.reasons.push(short.clone());
            order.offers.iter_mut().for_each(|offer| offer.reasons.push(short.clone()));
        }
        assessment.warnings.push(short);
    }
    assessment.sources = sources(instances, &seen);
    if assessment.orders.is_empty()
        && seen.len() == 1
        && let Err(refusals) = assemble::plan(instances)
    {
        assessment.refusals = refusals.iter().map(ToString::to_string).collect();
    }
    assessment
}

/// What each object of a series of registrations relates; empty for any other series, and for what a model of ours made.
fn relations(instances: &[Instance]) -> Vec<Relation> {
    let ours = |instance: &Instance| instance.text(tags::MANUFACTURER).is_some_and(|maker| maker == "contourd");
    let read = |instance: &Instance| (!ours(instance)).then(|| registration::read(&instance.header))?;
    instances.iter().map(read).collect::<Option<Vec<Relation>>>().unwrap_or_default()
}

/// Whether registrations can bring together what fills its slots, and came as it wants.
fn takes_registrations(pipeline: &Pipeline, verdicts: &[route::Verdict]) -> bool {
    let inputs = pipeline.inputs();
    let any = inputs.iter().any(|input| !input.primary && input.frame == Frame::Any);
    inputs.len() > 1 && any && verdicts.iter().any(|verdict| verdict.when.holds)
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
        let Some(found) = too_many(&input.name, seen, &offers, verdicts) else { continue };
        for offer in offers.iter_mut().filter(|offer| offer.fills.contains(&input.name)) {
            offer.fills.retain(|slot| *slot != input.name);
            offer.reasons = vec![found.clone()];
        }
    }
    offers
}

/// Why none of the volumes of a series fills a slot that takes one: there are others that are meant as well. One that is
/// incomplete counts too, because it may be the one that is meant.
fn too_many(slot: &str, seen: &[Seen<'_>], offers: &[Offer], verdicts: &[route::Verdict]) -> Option<String> {
    let names = |fits: &dyn Fn(usize) -> bool| -> Vec<&str> {
        seen.iter().enumerate().filter(|(index, _)| fits(*index)).map(|(_, one)| one.label()).collect()
    };
    let fit = names(&|index| offers.get(index).is_some_and(|offer| offer.fills.iter().any(|fill| fill == slot)));
    let broken = names(&|index| verdicts.get(index).is_some_and(|verdict| verdict.lacks_a_volume(slot)));
    if fit.is_empty() || fit.len() + broken.len() < 2 {
        return None;
    }
    let besides = match broken.as_slice() {
        [] => String::new(),
        broken => format!(", and {} that would fit but for their geometry ({})", broken.len(), broken.join("; ")),
    };
    Some(format!(
        "inputs.{slot}.volumes: found {} volumes of one series that fit ({}){besides}, expected one; make the conditions \
         stricter, or say \"volumes\": \"each\"",
        fit.len(),
        fit.join("; ")
    ))
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

/// That fewer instances came than one of them says; it was waited for them.
fn promised(instances: &[Instance]) -> Option<String> {
    let count = |instance: &Instance| instance.integer(tags::NUMBER_OF_SERIES_RELATED_INSTANCES);
    let promised = instances.iter().filter_map(count).max()?;
    let came = instances.len();
    (i64::try_from(came).is_ok_and(|came| came < promised)).then(|| {
        format!(
            "series.promised: {came} of {promised} instances came, as Number of Series Related Instances (0020,1209) says; \
             look whether images are missing at the ends of the stack"
        )
    })
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

fn order(
    pipeline: &Loaded<Pipeline>,
    offers: Vec<Offer>,
    sender: Option<Sender>,
    configuration: &Configuration,
) -> Order {
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
    let (destinations, groups) = destinations(deliver, sender.as_ref());
    Order {
        pipeline: pipeline.value.id().to_owned(),
        pipeline_revision: pipeline.value.revision(),
        digest: configuration.digest(pipeline),
        source: pipeline.source.to_string(),
        models: configuration.model_sources(&pipeline.value),
        reasons: reasons.unwrap_or_default(),
        dialects: configuration.dialects(&pipeline.value, sender.as_ref().and_then(|sender| sender.peer.as_deref())),
        destinations,
        groups,
        sender,
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
        structures: !input.is_image(),
        fetch: input.fetch.clone(),
    };
    let slots = pipeline.inputs().iter().map(slot).collect();
    InputRules { same: pipeline.same(), slots, settle_s: longest_s }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dicom_core::{DataElement, VR};
    use dicom_object::InMemDicomObject;

    use super::*;
    use crate::assemble::VolumeOf;
    use crate::dicom::Uid;
    use crate::document::{self, Problems};
    use crate::pipeline::Orientation;
    use crate::route::{InstanceView, SeriesView};

    const PIPELINE: &str = r#"{"id": "p", "revision": 1, "mode": "live", "inputs": {"ct": {
        "all": [{"tag": "Modality", "eq": "CT"}], "slices": {"min": 30}, "volumes": "one"}},
        "steps": [{"id": "s", "model": "m", "in": {"scan": "ct"}}],
        "structures": {"s:Body": {"name": "Body", "type": "EXTERNAL", "color": [0, 0, 0]}},
        "outputs": [{"rtstruct": {"label": "AUTO"}}], "deliver": [{"to": "pacs"}]}"#;

    fn whole(slices: usize) -> Assembly {
        Assembly::Volume { slices, orientation: Orientation::Axial, largest_gap: 0 }
    }

    /// How many of the volumes fill the slot that takes one.
    fn check(volumes: &[(&str, Assembly)], expected: usize) -> Vec<Offer> {
        let mut problems = Problems::of("p.json");
        let parsed = document::parse(PIPELINE, &mut problems).and_then(|node| Pipeline::parse(&node, &mut problems));
        let pipeline = parsed.unwrap_or_else(|| panic!("{:?}", problems.into_vec()));
        let uid: Uid = "1.2".parse().expect("a UID");
        let header =
            |modality: &str| InMemDicomObject::from_element_iter([DataElement::new(tags::MODALITY, VR::CS, modality)]);
        let headers: Vec<InMemDicomObject> = volumes.iter().map(|(modality, _)| header(modality)).collect();
        let seen: Vec<Seen<'_>> = volumes
            .iter()
            .zip(&headers)
            .enumerate()
            .map(|(index, ((_, assembly), header))| {
                let instances = vec![InstanceView { sop_instance_uid: &uid, header }];
                let (label, frames) = (format!("volume {index}"), BTreeMap::new());
                let part = VolumeOf { label, instances: vec![0], frames, plan: Err(Vec::new()) };
                let view = SeriesView { instances, arrivals: None, assembly: assembly.clone() };
                Seen { view, plan: None, part: Some(part) }
            })
            .collect();
        let verdicts: Vec<route::Verdict> =
            seen.iter().flat_map(|one| route::evaluate(&one.view, [&pipeline])).collect();
        let offers = offers(&pipeline, &seen, &verdicts);
        assert_eq!(offers.iter().filter(|offer| !offer.fills.is_empty()).count(), expected, "{offers:?}");
        offers
    }

    #[test]
    fn a_slot_that_takes_one_volume_does_not_take_the_one_that_happens_to_be_complete() {
        check(&[("CT", whole(40)), ("CT", whole(20))], 1);
        check(&[("CT", whole(40)), ("CT", whole(40))], 0);
        let refused = || Assembly::Refused(vec!["series.gap: slices are missing at 1.2".to_owned()]);
        let offers = check(&[("CT", whole(40)), ("CT", refused())], 0);
        assert!(offers[0].reasons[0].contains("1 that would fit but for their geometry (volume 1)"), "{offers:?}");
        let gap = Assembly::Volume { slices: 20, orientation: Orientation::Axial, largest_gap: 2 };
        check(&[("CT", whole(40)), ("CT", gap)], 0);
        check(&[("CT", whole(40)), ("MR", refused())], 1);
    }
}
