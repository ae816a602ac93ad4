//! The series of a folder brought together for pipelines that take several, as the gateway would; it waits for nothing.

use std::collections::BTreeMap;

use super::join::{Candidate, Joined, join};
use super::sets::Group;
use super::{Assessment, Order, Source};
use crate::dicom::SeriesKey;

/// A pipeline and what its slots come to in one study (or for one patient).
#[derive(Debug)]
pub struct Together<'a> {
    pub order: &'a Order,
    /// The series that could fill a slot, each with the slots.
    pub offered: Vec<(&'a SeriesKey, &'a [String])>,
    /// What fills the slots, the primary first; or what is missing.
    pub outcome: Result<Vec<Filled<'a>>, String>,
}

/// A slot and what fills it.
#[derive(Clone, Debug)]
pub struct Filled<'a> {
    pub slot: String,
    pub series: &'a SeriesKey,
    pub source: &'a Source,
}

/// Brings together what can be, in the order of pipelines and studies.
pub fn together(assessed: &BTreeMap<SeriesKey, Assessment>) -> Vec<Together<'_>> {
    let mut groups: BTreeMap<Group, Vec<(&SeriesKey, &Order, &[Source])>> = BTreeMap::new();
    for (key, assessment) in assessed {
        for order in assessment.orders.iter().filter(|order| !order.inputs.is_alone()) {
            let group = Group::of(key, order, &assessment.sources);
            groups.entry(group).or_default().push((key, order, &assessment.sources));
        }
    }
    groups.into_values().filter_map(|members| bring(&members)).collect()
}

fn bring<'a>(members: &[(&'a SeriesKey, &'a Order, &'a [Source])]) -> Option<Together<'a>> {
    let (_, order, _) = *members.first()?;
    let candidates: Vec<Candidate<'a>> = members
        .iter()
        .flat_map(|(series, order, sources)| {
            sources.iter().enumerate().map(|(at, source)| Candidate { series, source, fills: order.fills_of(at) })
        })
        .collect();
    let outcome = match join(&order.inputs, &candidates) {
        Joined::Missing(what) | Joined::Refused(what) => Err(what),
        Joined::Chosen(chosen) => Ok(chosen
            .into_iter()
            .map(|chosen| {
                let Candidate { series, source, .. } = candidates[chosen.candidate];
                Filled { slot: chosen.slot, series, source }
            })
            .collect()),
    };
    let offered = members.iter().map(|(series, order, _)| (*series, order.fills.as_slice())).collect();
    Some(Together { order, offered, outcome })
}
