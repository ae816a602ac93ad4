//! The evaluation of one pipeline on one series; every branch is evaluated, so that the trace is whole.

use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::attribute::{describe, holds, values};
use super::trace::{Evidence, Trace};
use super::{Arrival, Assembly, InstanceView, SeriesView, Verdict};
use crate::dicom::AeTitle;
use crate::dicom::instance::text;
use crate::output::derived::DERIVED_HERE;
use crate::output::{rtstruct, seg};
use crate::pipeline::{
    GeometryCondition, Group, Input, Mode, Orientation, Pipeline, Predicate, SliceCount, Test, Wants, When,
};

/// What the pipeline says of the series.
pub fn verdict(series: &SeriesView<'_>, pipeline: &Pipeline) -> Verdict {
    let mode = match pipeline.mode() {
        Mode::Off => Trace::leaf("mode", false, "\"live\" or \"shadow\"", "\"off\""),
        Mode::Live => Trace::leaf("mode", true, "\"live\" or \"shadow\"", "\"live\""),
        Mode::Shadow => Trace::leaf("mode", true, "\"live\" or \"shadow\"", "\"shadow\""),
    };
    let when = Trace::joined("when", Group::All, vec![mode, arrival(series.arrivals, pipeline.when())]);
    let inputs = pipeline.inputs().iter().map(|input| (input.name.clone(), input_trace(series, input))).collect();
    let (revision, mode) = (pipeline.revision(), pipeline.mode());
    Verdict { pipeline: pipeline.id().to_owned(), revision, mode, when, inputs }
}

/// One association that fits is enough: a series that a second node sends again is still the series of the first.
fn arrival(arrivals: Option<&[Arrival]>, when: &When) -> Trace {
    let allows = |list: &[AeTitle], title: &AeTitle| list.is_empty() || list.contains(title);
    let expected = format!("an association from {} to {}", titles(&when.calling_ae), titles(&when.called_ae));
    let Some(arrivals) = arrivals else {
        return Trace::leaf("when", true, expected, "files instead of an association: not asked");
    };
    let fits = |arrival: &Arrival| {
        allows(&when.called_ae, &arrival.called_ae) && allows(&when.calling_ae, &arrival.calling_ae)
    };
    let found: Vec<String> =
        arrivals.iter().map(|arrival| format!("{} to {}", arrival.calling_ae, arrival.called_ae)).collect();
    Trace::leaf("when", arrivals.iter().any(fits), expected, found.join(", "))
}

fn titles(list: &[AeTitle]) -> String {
    match list {
        [] => "anyone".to_owned(),
        list => list.iter().map(AeTitle::as_str).collect::<Vec<_>>().join(" or "),
    }
}

fn input_trace(series: &SeriesView<'_>, input: &Input) -> Trace {
    let path = format!("inputs.{}", input.name);
    let count = series.instances.len();
    let any = Trace::leaf(&path, count > 0, "at least one instance", if count > 0 { "some" } else { "no instance" });
    let mut conditions = vec![any, predicate(&input.predicate, true, &series.instances)];
    match &input.wants {
        Wants::Image { slices, geometry, .. } => {
            conditions.extend(stack(&series.assembly, slices, geometry, &path));
            conditions.extend(derived(&series.instances, &path));
        }
        Wants::Structures(_) => conditions.extend(drawn(&series.instances, &path)),
    }
    Trace::joined(&path, Group::All, conditions)
}

/// Nothing, unless they are images that a model of ours made: an archive that passes them on would have them worked on
/// again and again.
fn derived(instances: &[InstanceView<'_>], path: &str) -> Option<Trace> {
    let ours = |instance: &InstanceView<'_>| {
        text(instance.header, tags::DERIVATION_DESCRIPTION).is_some_and(|d| d == DERIVED_HERE)
    };
    let expected = "images that were acquired, not made by contourd";
    instances.iter().any(ours).then(|| Trace::leaf(path, false, expected, "a result of our own"))
}

/// Objects that hold structures, and not of our own making: a result that comes back to the gateway (from a PACS that
/// passes it on) would be worked on again and again.
fn drawn(instances: &[InstanceView<'_>], path: &str) -> Vec<Trace> {
    let path = format!("{path}.structures");
    let of = |instance: &InstanceView<'_>| holder(instance.header);
    let other = instances.iter().map(of).find_map(|found| found.err());
    let expected = "RT Structure Sets or segmentations in every instance, not made by contourd";
    let found = other.clone().unwrap_or_else(|| "those".to_owned());
    vec![Trace::leaf(&path, other.is_none(), expected, found)]
}

/// Says what it is instead, when it holds no structures that can be taken.
fn holder(header: &InMemDicomObject) -> Result<(), String> {
    let class = text(header, tags::SOP_CLASS_UID).unwrap_or_default();
    if class != rtstruct::SOP_CLASS_UID && !seg::is_segmentation(&class) {
        return Err(format!("SOP class {class}"));
    }
    let ours = text(header, tags::MANUFACTURER).is_some_and(|maker| maker == "contourd");
    if ours { Err("one of our own".to_owned()) } else { Ok(()) }
}

pub(super) fn stack(assembly: &Assembly, count: &SliceCount, geometry: &GeometryCondition, path: &str) -> Vec<Trace> {
    let (slices, orientation, largest_gap) = match assembly {
        Assembly::Volume { slices, orientation, largest_gap } => (*slices, *orientation, *largest_gap),
        Assembly::Refused(reasons) => {
            let path = format!("{path}.geometry");
            return vec![Trace::leaf(
                &path,
                false,
                "instances that make a volume",
                format!("none: {}", reasons.iter().map(|reason| what(reason)).collect::<Vec<_>>().join("; ")),
            )];
        }
    };
    let enough = (count.min..=count.max).contains(&slices);
    let wanted = geometry.orientation;
    let oriented = wanted == Orientation::Any || wanted == orientation;
    let most = geometry.max_gap;
    let gaps = format!("at most {most} slices missing between neighbours");
    vec![
        Trace::leaf(
            &format!("{path}.slices"),
            enough,
            format!("{} to {} slices", count.min, count.max),
            slices.to_string(),
        ),
        Trace::leaf(&format!("{path}.geometry.orientation"), oriented, wanted.word(), orientation.word()),
        Trace::leaf(&format!("{path}.geometry.max_gap"), largest_gap <= most, gaps, largest_gap.to_string()),
    ]
}

/// A reason without its instances and figures, which stand with the series.
fn what(reason: &str) -> &str {
    reason.split_once(" at ").map_or(reason, |(what, _)| what)
}

/// `wanted` says whether the node should hold for the pipeline to match; it decides which instance is named.
fn predicate(node: &Predicate, wanted: bool, instances: &[InstanceView<'_>]) -> Trace {
    match node {
        Predicate::Test(test) => test_trace(test, wanted, instances),
        Predicate::Group { group, of, path } => {
            let wanted = wanted != (*group == Group::None);
            let children = of.iter().map(|child| predicate(child, wanted, instances)).collect();
            Trace::joined(path, *group, children)
        }
    }
}

fn test_trace(test: &Test, wanted: bool, instances: &[InstanceView<'_>]) -> Trace {
    let satisfies = |instance: &InstanceView<'_>| {
        holds(&values(instance.header, &test.tag), test.tag.kind(), &test.comparison, test.which)
    };
    let satisfied: Vec<bool> = instances.iter().map(satisfies).collect();
    let satisfying = satisfied.iter().filter(|held| **held).count();
    let met = test.every.is_met(satisfying, instances.len());
    // The instance that speaks against what is wanted, else the first of all.
    let telling =
        satisfied.iter().position(|&held| held != wanted).or(if instances.is_empty() { None } else { Some(0) });
    let witness = telling.and_then(|index| instances.get(index));
    let found = witness
        .map_or_else(|| "no instance".to_owned(), |instance| describe(&values(instance.header, &test.tag), &test.tag));
    let expected = format!("{} {} in {}", test.tag, test.comparison.describe(), test.every.describe());
    let instance = witness.map(|instance| instance.sop_instance_uid.clone());
    let evidence = Some(Evidence { instance, satisfying, of: instances.len() });
    Trace { evidence, ..Trace::leaf(&test.path, met, expected, found) }
}
