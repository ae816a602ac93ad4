//! The series of a folder brought together for pipelines that take several, as the gateway would; it waits for nothing.

use std::collections::BTreeMap;

use super::join::{Candidate, Choice, Chosen, Joined, join};
use super::registration::{Registered, reaches, relates_only};
use super::sets::Group;
use super::{Assessment, Order, Source};
use crate::dicom::SeriesKey;

/// A pipeline and what its slots come to in one study (or for one patient).
#[derive(Debug)]
pub struct Together<'a> {
    pub order: &'a Order,
    /// The series that could fill a slot, each with the slots.
    pub offered: Vec<(&'a SeriesKey, &'a [String])>,
    /// The registrations that may relate them.
    pub registrations: Vec<&'a SeriesKey>,
    /// What fills the slots, the primary first; or what is missing.
    pub outcome: Result<Vec<Filled<'a>>, String>,
    /// What was passed over, because no registration relates it.
    pub lacks: Vec<String>,
}

/// A slot and what fills it.
#[derive(Clone, Debug)]
pub struct Filled<'a> {
    pub slot: String,
    pub series: &'a SeriesKey,
    pub source: &'a Source,
    pub registration: Option<RegisteredWith<'a>>,
}

/// The registration that brings a series to the primary one.
#[derive(Clone, Copy, Debug)]
pub struct RegisteredWith<'a> {
    pub series: &'a SeriesKey,
    pub source: &'a Source,
    /// What is known of it beside the others.
    pub by: Registered,
}

/// A series with what a pipeline makes of it.
type Member<'a> = (&'a SeriesKey, &'a Order, &'a [Source]);

/// Brings together what can be, in the order of pipelines and studies.
pub fn together(assessed: &BTreeMap<SeriesKey, Assessment>) -> Vec<Together<'_>> {
    let mut groups: BTreeMap<Group, Vec<Member<'_>>> = BTreeMap::new();
    let mut registrations: Vec<Member<'_>> = Vec::new();
    for (key, assessment) in assessed {
        for order in assessment.orders.iter().filter(|order| !order.inputs.is_alone()) {
            let sources = assessment.sources.as_slice();
            if relates_only(sources) {
                registrations.push((key, order, sources));
            } else {
                groups.entry(Group::of(key, order, sources)).or_default().push((key, order, sources));
            }
        }
    }
    groups.into_values().filter_map(|members| bring(members, &registrations)).collect()
}

fn bring<'a>(mut members: Vec<Member<'a>>, registrations: &[Member<'a>]) -> Option<Together<'a>> {
    let (_, order, _) = *members.first()?;
    let offered = members.iter().map(|(series, order, _)| (*series, order.fills.as_slice())).collect();
    let reached = |one: &&Member<'a>| members.iter().any(|other| reaches((one.0, one.2), (other.0, other.2)));
    let near = registrations.iter().filter(|one| one.1.pipeline == order.pipeline).filter(reached);
    let near: Vec<Member<'a>> = near.copied().collect();
    members.extend(&near);
    let candidates: Vec<Candidate<'a>> = members
        .iter()
        .flat_map(|(series, order, sources)| {
            sources.iter().enumerate().map(|(at, source)| Candidate { series, source, fills: order.fills_of(at) })
        })
        .collect();
    let told = |choice: &Choice| -> Vec<String> {
        choice.lacks.iter().map(|lack| format!("{}: {}", lack.slot, lack.what)).collect()
    };
    let mut lacks = Vec::new();
    let outcome = match join(&order.inputs, &candidates) {
        Joined::Missing(what) | Joined::Refused(what) => Err(what),
        Joined::Unregistered(choice) => Err(format!("waits for a registration: {}", told(&choice).join("; "))),
        Joined::Chosen(choice) => {
            lacks = told(&choice);
            Ok(choice.chosen.into_iter().map(|chosen| filled(chosen, &candidates)).collect())
        }
    };
    let registrations = near.iter().map(|(series, ..)| *series).collect();
    Some(Together { order, offered, registrations, outcome, lacks })
}

fn filled<'a>(chosen: Chosen, candidates: &[Candidate<'a>]) -> Filled<'a> {
    let Candidate { series, source, .. } = candidates[chosen.candidate];
    let registration = chosen.registration.map(|by| {
        let Candidate { series, source, .. } = candidates[by.candidate];
        RegisteredWith { series, source, by }
    });
    Filled { slot: chosen.slot, series, source, registration }
}
