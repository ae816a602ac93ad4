//! Pipelines of several series, as `contourd explain` tells of them: which series fills which input, and what is missing.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{Assessed, Explained};
use crate::config::Configuration;
use crate::dicom::SeriesKey;
use crate::node::{Together, together};
use crate::pipeline::{Mode, Pipeline};

/// One section for each pipeline of several series and study; empty when there is none.
pub(super) fn as_text(assessed: &Assessed, explained: &[Explained], configuration: &Configuration) -> String {
    let title = |key: &SeriesKey| explained.iter().find(|one| one.key == *key).map_or("", |one| one.title.as_str());
    let sets = together(assessed);
    let mut text = String::new();
    for pipeline in several(configuration) {
        let own: Vec<&Together<'_>> = sets.iter().filter(|set| set.order.pipeline == pipeline.id()).collect();
        if own.is_empty() {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "\npipeline {}, several series: no series fits an input", pipeline.id());
        }
        for set in own {
            let _ = writeln!(text, "\npipeline {} revision {}, several series", pipeline.id(), pipeline.revision());
            for slot in &set.order.inputs.slots {
                let _ = write!(text, "  {:12}  ", slot.name);
                let filled = set.outcome.iter().flatten().find(|filled| filled.slot == slot.name);
                let count = set.offered.iter().filter(|(_, fills)| fills.contains(&slot.name)).count();
                let _ = match (filled, count) {
                    (Some(filled), 1) => {
                        writeln!(text, "{} ({})", filled.series.series_instance_uid, title(filled.series))
                    }
                    (Some(filled), _) => {
                        let uid = &filled.series.series_instance_uid;
                        writeln!(text, "{uid} ({}), picked of {count}", title(filled.series))
                    }
                    (None, 0) if slot.optional => writeln!(text, "no series fits; optional"),
                    (None, 0) => writeln!(text, "no series fits"),
                    (None, 1) => writeln!(text, "1 series fits"),
                    (None, count) => writeln!(text, "{count} series fit"),
                };
            }
            for filled in set.outcome.iter().flatten() {
                let Some(by) = filled.registration else { continue };
                let beside = by.by.beside();
                let uid = &by.series.series_instance_uid;
                let _ = writeln!(text, "  {:12}  registered by {uid} ({}){beside}", filled.slot, title(by.series));
            }
            for lack in &set.lacks {
                let _ = writeln!(text, "  passed over a series for {lack}");
            }
            let _ = match &set.outcome {
                Ok(_) => writeln!(text, "  runs"),
                Err(what) => writeln!(text, "  does not run: {what}"),
            };
        }
    }
    text
}

/// The same for programs.
pub(super) fn as_json(assessed: &Assessed, configuration: &Configuration) -> Value {
    let known = |set: &Together<'_>| several(configuration).any(|pipeline| pipeline.id() == set.order.pipeline);
    let slot = |set: &Together<'_>, name: &str| {
        let filled = set.outcome.iter().flatten().find(|filled| filled.slot == name);
        let offered = set.offered.iter().filter(|(_, fills)| fills.iter().any(|slot| slot == name));
        let offered: Vec<&str> = offered.map(|(key, _)| key.series_instance_uid.as_str()).collect();
        let registration = filled.and_then(|filled| filled.registration);
        let registration = registration.map(|by| by.source.instances.first().map(|uid| uid.as_str()));
        json!({"input": name, "series": filled.map(|filled| filled.series.series_instance_uid.as_str()), "fitting": offered,
               "registration": registration})
    };
    let one = |set: &Together<'_>| {
        let slots: Vec<Value> = set.order.inputs.slots.iter().map(|rule| slot(set, &rule.name)).collect();
        json!({"pipeline": set.order.pipeline, "runs": set.outcome.is_ok(), "reason": set.outcome.as_ref().err(),
               "inputs": slots, "passed_over": set.lacks})
    };
    together(assessed).iter().filter(|set| known(set)).map(one).collect()
}

fn several(configuration: &Configuration) -> impl Iterator<Item = &Pipeline> {
    let running = configuration.pipelines.values().map(|pipeline| &*pipeline.value);
    running.filter(|pipeline| pipeline.inputs().len() > 1 && pipeline.mode() != Mode::Off)
}
