//! Which series fill the slots of a pipeline together; it knows no time and keeps nothing.
//!
//! Slots are filled one after the other, the primary first, then in the order of the file, structures that must be drawn on
//! certain images last, each with the series that
//! its `pick` prefers among those that leave the others a way to be filled. One series fills one slot. The same
//! candidates give the same answer, in whatever order they came.

use std::collections::BTreeMap;

use super::registration::{Registered, are_apart, of_one_patient, related};
use super::{InputRules, SlotRule, Source};
use crate::dicom::{SeriesKey, Uid};
use crate::limits::JOIN_STEPS_MAX;
use crate::pipeline::{By, Frame, Pick, Same};

/// A series, or one object of it, that can fill slots.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub series: &'a SeriesKey,
    pub source: &'a Source,
    /// The slots whose conditions it fulfils.
    pub fills: &'a [String],
}

/// A slot and the candidate that fills it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub slot: String,
    /// Index in the candidates.
    pub candidate: usize,
    /// What brings it to the primary; none where both have one Frame of Reference.
    pub registration: Option<Registered>,
}

/// A series that would have filled a slot if a registration related it to the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    pub slot: String,
    /// Index in the candidates.
    pub candidate: usize,
    /// What was looked for, and what was found.
    pub what: String,
}

/// A choice for the slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The primary comes first; optional slots that are not filled are left out.
    pub chosen: Vec<Chosen>,
    /// What another choice, which would be preferred, lacks.
    pub lacks: Vec<Lack>,
}

/// What the candidates come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// A slot that must be filled is not; what is missing, in words.
    Missing(String),
    /// The slots could be filled, but not in one way; why, and what to do.
    Refused(String),
    /// Nothing but registrations is missing.
    Unregistered(Choice),
    /// Every required slot is filled.
    Chosen(Choice),
}

/// Fills the slots of `rules` from candidates of one study (or patient).
pub fn join(rules: &InputRules, candidates: &[Candidate<'_>]) -> Joined {
    // Structures come after the images that they are drawn on.
    let mut slots: Vec<&SlotRule> = rules.slots.iter().collect();
    slots.sort_by_key(|slot| (!slot.primary, slot.drawn_on.is_some()));
    let fitting: Vec<Vec<usize>> = slots.iter().map(|slot| in_order(slot, candidates)).collect();
    let relations = relations(&slots, &fitting, candidates);
    let mut search = Search { rules, slots, candidates, fitting, relations, as_wished: false, steps: 0 };
    let found = search.assign(None);
    let (wished, lacks) = search.wished(found.as_deref());
    if search.steps > JOIN_STEPS_MAX {
        return too_many();
    }
    let wished = wished.filter(|_| !lacks.is_empty());
    // What a required slot prefers is not replaced by an older series because a registration is missing.
    if let Some(wished) = wished.filter(|wished| search.is_preferred(wished, found.as_deref(), &lacks)) {
        return Joined::Unregistered(Choice { chosen: search.chosen(&wished), lacks });
    }
    let Some(found) = found else { return Joined::Missing(search.missing()) };
    for slot in 0..search.slots.len() {
        if let Some(problem) = search.ambiguity(slot, &found).or_else(|| search.without_images(slot, &found)) {
            return Joined::Refused(format!("{}: {problem}", search.slots[slot].name));
        }
    }
    if search.steps > JOIN_STEPS_MAX {
        return too_many();
    }
    Joined::Chosen(Choice { chosen: search.chosen(&found), lacks })
}

/// The slots among `wanted` that none of the candidates can fill beside a primary: each takes one of its own, and none that
/// is `taken`. One that only a registration is missing for can.
pub(super) fn lacking<'r>(
    rules: &'r InputRules,
    candidates: &[Candidate<'_>],
    primary: usize,
    taken: &[usize],
    wanted: impl Fn(&SlotRule) -> bool,
) -> Vec<&'r SlotRule> {
    // Without relations every registration counts as there.
    let (slots, relations) = (rules.slots.iter().collect(), BTreeMap::new());
    let search = Search { rules, slots, candidates, fitting: Vec::new(), relations, as_wished: true, steps: 0 };
    let mut taken = [&[primary], taken].concat();
    let mut lacking = Vec::new();
    for (index, slot) in rules.slots.iter().enumerate().filter(|(_, slot)| wanted(slot)) {
        let fits = |candidate: &usize| {
            !taken.contains(candidate) && search.obstacle(index, *candidate, &[Some(primary)]).is_none()
        };
        match in_order(slot, candidates).into_iter().find(fits) {
            Some(candidate) => taken.push(candidate),
            None => lacking.push(slot),
        }
    }
    lacking
}

/// How the candidates of the slots that take another Frame of Reference are related to those of the primary slot.
fn relations(
    slots: &[&SlotRule],
    fitting: &[Vec<usize>],
    candidates: &[Candidate<'_>],
) -> BTreeMap<(usize, usize), Result<Option<Registered>, String>> {
    let apart = slots.iter().zip(fitting).filter(|(slot, _)| slot.frame == Frame::Any);
    let apart = apart.flat_map(|(slot, fitting)| fitting.iter().map(|from| (*from, slot.structures)));
    let pairs = apart.flat_map(|from| fitting[0].iter().map(move |to| (from, *to)));
    pairs.map(|(from, to)| ((from.0, to), related(candidates, from, to))).collect()
}

fn too_many() -> Joined {
    Joined::Refused("too many series fit its inputs; make their conditions stricter".to_owned())
}

/// The time by which a slot orders its candidates.
fn time<'a>(slot: &SlotRule, source: &'a Source) -> &'a str {
    match slot.picking.by {
        By::SeriesDate => &source.series_date,
        By::StudyDate => &source.study_date,
    }
}

/// The candidates that fulfil the conditions of a slot, the preferred one first.
pub(super) fn in_order(slot: &SlotRule, candidates: &[Candidate<'_>]) -> Vec<usize> {
    let fits = |index: &usize| candidates[*index].fills.contains(&slot.name);
    let mut order: Vec<usize> = (0..candidates.len()).filter(fits).collect();
    let key = |index: &usize| {
        let Candidate { series, source, .. } = candidates[*index];
        (time(slot, source), series, &source.instances)
    };
    order.sort_by(|a, b| match slot.picking.pick {
        Pick::First | Pick::Only => key(a).cmp(&key(b)),
        Pick::Last | Pick::Newest => key(b).cmp(&key(a)),
    });
    order
}

struct Search<'a> {
    rules: &'a InputRules,
    /// The primary first.
    slots: Vec<&'a SlotRule>,
    candidates: &'a [Candidate<'a>],
    /// For each slot its candidates, the preferred one first.
    fitting: Vec<Vec<usize>>,
    /// By candidate of a slot and of the primary one.
    relations: BTreeMap<(usize, usize), Result<Option<Registered>, String>>,
    /// Whether series count as related whose registration has not come.
    as_wished: bool,
    steps: usize,
}

/// Whether structures refer to images of a volume; of a multi-frame image that is in several volumes, to its frames.
fn refers_to(structures: &Source, volume: &Source) -> bool {
    let meant = |uid: &Uid, named: &Vec<u32>| match volume.frames.get(uid) {
        Some(frames) => named.is_empty() || named.iter().any(|frame| frames.contains(frame)),
        None => true,
    };
    let (refers, instances) = (&structures.refers, &volume.instances);
    instances.iter().any(|uid| refers.get(uid).is_some_and(|named| meant(uid, named)))
}

impl Search<'_> {
    /// The preferred assignment: for each slot a candidate, `None` for an optional one that is not filled. `fixed` asks
    /// for an assignment in which that slot has that candidate.
    fn assign(&mut self, fixed: Option<(usize, usize)>) -> Option<Vec<Option<usize>>> {
        let mut found = Vec::with_capacity(self.slots.len());
        self.go_on(&mut found, fixed).then_some(found)
    }

    fn go_on(&mut self, found: &mut Vec<Option<usize>>, fixed: Option<(usize, usize)>) -> bool {
        self.steps += 1;
        let slot = found.len();
        if slot == self.slots.len() {
            return true;
        }
        let wanted = fixed.filter(|(at, _)| *at == slot).map(|(_, candidate)| candidate);
        for candidate in self.fitting[slot].clone() {
            let allowed = wanted.is_none_or(|wanted| wanted == candidate);
            if self.steps > JOIN_STEPS_MAX || !allowed || found.contains(&Some(candidate)) {
                continue;
            }
            if self.obstacle(slot, candidate, found).is_some() {
                continue;
            }
            found.push(Some(candidate));
            if self.go_on(found, fixed) {
                return true;
            }
            found.pop();
        }
        if self.slots[slot].optional && wanted.is_none() {
            found.push(None);
            if self.go_on(found, fixed) {
                return true;
            }
            found.pop();
        }
        false
    }

    /// Why a candidate cannot stand beside what fills the slots before, of which the primary is the first.
    fn obstacle(&self, slot: usize, candidate: usize, found: &[Option<usize>]) -> Option<&'static str> {
        let source = self.candidates[candidate].source;
        if self.rules.same == Same::Patient && source.patient.is_none() {
            return Some("it has no Patient ID");
        }
        let primary = self.candidates[found.first().copied().flatten()?].source;
        if !of_one_patient(source, primary) {
            return Some("it is of another patient");
        }
        if self.slots[slot].frame == Frame::Same && are_apart(source, primary) {
            return Some("it has another Frame of Reference");
        }
        let first = found.first().copied().flatten()?;
        if !self.as_wished && self.relations.get(&(candidate, first)).is_some_and(Result::is_err) {
            return Some("it has another Frame of Reference, and no registration relates it");
        }
        // Phases of a 4D CT, and a CT before and after an injection, share a Frame of Reference; what is drawn on one
        // does not lie on the other.
        let rule = self.slots[slot].drawn_on.as_ref()?;
        let on = self.slots.iter().position(|slot| slot.name == *rule)?;
        let images = found.get(on).copied().flatten()?;
        let series = self.candidates[images].series;
        if !source.drawn_on.is_empty() && !source.drawn_on.contains(&series.series_instance_uid) {
            return Some("it was drawn on another series of images (\"drawn_on\")");
        }
        let is_other = |(index, other): &(usize, &Candidate<'_>)| *index != images && other.series == series;
        let others = self.candidates.iter().enumerate().filter(is_other).map(|(_, other)| other.source);
        let mut others = others.peekable();
        others.peek()?;
        // One of several volumes of a series.
        if !refers_to(source, self.candidates[images].source) {
            return Some("it does not say that it was drawn on this volume of the series (\"drawn_on\")");
        }
        let many = others.any(|other| refers_to(source, other));
        many.then_some("it refers to several volumes of the series (\"drawn_on\")")
    }

    /// Whether another candidate could be here with the same right.
    fn ambiguity(&mut self, slot: usize, found: &[Option<usize>]) -> Option<String> {
        let (chosen, rule) = (found[slot]?, self.slots[slot]);
        let own = time(rule, self.candidates[chosen].source);
        let (mut equals, mut of_one_series) = (0, true);
        for other in self.fitting[slot].clone() {
            let is_only = rule.picking.pick == Pick::Only;
            let equal = is_only || time(rule, self.candidates[other].source) == own;
            // Where only one is expected, one that is not registered yet is a second.
            self.as_wished = is_only;
            let is_rival = other != chosen && equal && self.assign(Some((slot, other))).is_some();
            self.as_wished = false;
            if is_rival {
                equals += 1;
                of_one_series &= self.candidates[other].series == self.candidates[chosen].series;
            }
        }
        let count = equals + 1;
        match (equals, rule.picking.pick) {
            (0, _) => None,
            (_, _) if of_one_series => Some(format!(
                "found {count} volumes or objects of one series that could fill it, expected only one; make its \
                 conditions stricter"
            )),
            (_, Pick::Only) => Some(format!(
                "found {count} series that could fill it, expected only one; make its conditions stricter, or say \
                 which to \"pick\""
            )),
            (_, _) => Some(format!(
                "found {count} series of the same date and time, expected one that is first or last; make its \
                 conditions stricter"
            )),
        }
    }

    /// The assignment as it would be if all registrations had come, where that is another, and what it lacks.
    fn wished(&mut self, found: Option<&[Option<usize>]>) -> (Option<Vec<Option<usize>>>, Vec<Lack>) {
        if self.relations.values().all(Result::is_ok) {
            return (None, Vec::new());
        }
        self.as_wished = true;
        let wished = self.assign(None);
        self.as_wished = false;
        let Some(wished) = wished.filter(|wished| Some(wished.as_slice()) != found) else { return (None, Vec::new()) };
        let lack = |(slot, candidate): (&&SlotRule, &Option<usize>)| {
            let candidate = (*candidate)?;
            let what = self.relations.get(&(candidate, wished[0]?))?.as_ref().err()?.clone();
            Some(Lack { slot: slot.name.clone(), candidate, what })
        };
        let lacks = self.slots.iter().zip(&wished).filter_map(lack).collect();
        (Some(wished), lacks)
    }

    /// Whether a required slot would get an older (or newer) series than it prefers, if `found` were taken instead of what
    /// is wished and lacks registrations. Of two of one time, the related one is as good.
    fn is_preferred(&self, wished: &[Option<usize>], found: Option<&[Option<usize>]>, lacks: &[Lack]) -> bool {
        let Some(found) = found else { return true };
        let time_of = |slot: &SlotRule, candidate: Option<usize>| {
            candidate.map(|index| time(slot, self.candidates[index].source))
        };
        let differs = self.slots.iter().zip(wished.iter().zip(found)).any(|(slot, (wished, found))| {
            !slot.optional && slot.picking.pick != Pick::Only && time_of(slot, *wished) != time_of(slot, *found)
        });
        let mut required = self.slots.iter().filter(|slot| !slot.optional);
        differs && required.any(|slot| lacks.iter().any(|lack| lack.slot == slot.name))
    }

    fn chosen(&self, found: &[Option<usize>]) -> Vec<Chosen> {
        let chosen = |(slot, candidate): (&&SlotRule, &Option<usize>)| {
            let candidate = (*candidate)?;
            let relation = self.relations.get(&(candidate, found[0]?));
            let registration = relation.and_then(|relation| relation.as_ref().ok().copied().flatten());
            Some(Chosen { slot: slot.name.clone(), candidate, registration })
        };
        self.slots.iter().zip(found).filter_map(chosen).collect()
    }

    /// Structures of another Frame of Reference lie in the planes of images which must be there too.
    fn without_images(&self, slot: usize, found: &[Option<usize>]) -> Option<String> {
        let source = self.candidates[found[slot]?].source;
        if !self.slots[slot].structures || !are_apart(source, self.candidates[found[0]?].source) {
            return None;
        }
        let images = self.slots.iter().zip(found).filter(|(slot, _)| !slot.structures);
        let images = images.filter_map(|(_, candidate)| *candidate);
        let images: Vec<usize> = images.filter(|&index| !are_apart(source, self.candidates[index].source)).collect();
        if images.is_empty() {
            return Some(
                "found structures of another Frame of Reference than the primary images, expected another input whose \
                 images have it: contours lie in the planes of images; add one with \"frame\": \"any\""
                    .to_owned(),
            );
        }
        let by = |index: usize| {
            let relation = self.relations.get(&(index, found[0]?))?;
            relation.as_ref().ok().copied().flatten().map(|by| by.candidate)
        };
        let own = by(found[slot]?);
        images.iter().all(|&index| by(index) != own).then(|| {
            "found structures that another registration object brings to the primary images than the images of their Frame \
             of Reference, expected the same: each would be moved its own way; send one that relates both"
                .to_owned()
        })
    }

    /// What keeps the required slots from being filled.
    fn missing(&self) -> String {
        let mut lines = Vec::new();
        for (slot, rule) in self.slots.iter().enumerate().filter(|(_, rule)| !rule.optional) {
            let fitting = &self.fitting[slot];
            if fitting.is_empty() {
                lines.push(format!("waits for {}", rule.name));
                continue;
            }
            let primaries: Vec<Option<usize>> = match slot {
                0 => vec![None],
                _ => self.fitting[0].iter().map(|&index| Some(index)).collect(),
            };
            let obstacles = |candidate: usize| {
                let of_each = primaries.iter().filter(|primary| **primary != Some(candidate));
                let of_each: Option<Vec<&str>> = of_each.map(|p| self.obstacle(slot, candidate, &[*p])).collect();
                of_each.and_then(|reasons| reasons.first().copied())
            };
            let reasons: Option<Vec<&str>> = fitting.iter().map(|&candidate| obstacles(candidate)).collect();
            if let Some(reason) = reasons.and_then(|reasons| reasons.first().copied()) {
                let count = fitting.len();
                let series = if count == 1 { "a series fits".to_owned() } else { format!("{count} series fit") };
                lines.push(format!("waits for {}: {series}, but {reason}", rule.name));
            }
        }
        if lines.is_empty() {
            lines.push("waits for another series: one series cannot fill two inputs".to_owned());
        }
        lines.join("; ")
    }
}

#[cfg(test)]
mod tests;
