//! Which series fill the slots of a pipeline together; it knows no time and keeps nothing.
//!
//! Slots are filled one after the other, the primary first, then in the order of the file, structures that must be drawn on
//! certain images last, each with the series that
//! its `pick` prefers among those that leave the others a way to be filled. One series fills one slot. The same
//! candidates give the same answer, in whatever order they came.

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
}

/// What the candidates come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// A slot that must be filled is not; what is missing, in words.
    Missing(String),
    /// The slots could be filled, but not in one way, or not without a registration; why, and what to do.
    Refused(String),
    /// Every required slot is filled; optional ones that are not are left out. The primary comes first.
    Chosen(Vec<Chosen>),
}

/// Fills the slots of `rules` from candidates of one study (or patient).
pub fn join(rules: &InputRules, candidates: &[Candidate<'_>]) -> Joined {
    // Structures come after the images that they are drawn on.
    let mut slots: Vec<&SlotRule> = rules.slots.iter().collect();
    slots.sort_by_key(|slot| (!slot.primary, slot.drawn_on.is_some()));
    let fitting = slots.iter().map(|slot| in_order(slot, candidates)).collect();
    let mut search = Search { rules, slots, candidates, fitting, steps: 0 };
    let Some(found) = search.assign(None) else {
        return if search.steps > JOIN_STEPS_MAX { too_many() } else { Joined::Missing(search.missing()) };
    };
    for slot in 0..search.slots.len() {
        if let Some(problem) = search.ambiguity(slot, &found).or_else(|| search.unregistered(slot, &found)) {
            return Joined::Refused(format!("{}: {problem}", search.slots[slot].name));
        }
    }
    if search.steps > JOIN_STEPS_MAX {
        return too_many();
    }
    let filled = search.slots.iter().zip(found);
    let chosen = filled.filter_map(|(slot, found)| Some(Chosen { slot: slot.name.clone(), candidate: found? }));
    Joined::Chosen(chosen.collect())
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
        let issuers = source.issuer.as_ref().zip(primary.issuer.as_ref());
        if source.patient != primary.patient || issuers.is_some_and(|(one, other)| one != other) {
            return Some("it is of another patient");
        }
        let apart =
            source.frame_of_reference_uid.is_none() || source.frame_of_reference_uid != primary.frame_of_reference_uid;
        if self.slots[slot].frame == Frame::Same && apart {
            return Some("it has another Frame of Reference");
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
            let equal = rule.picking.pick == Pick::Only || time(rule, self.candidates[other].source) == own;
            if other != chosen && equal && self.assign(Some((slot, other))).is_some() {
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

    fn unregistered(&self, slot: usize, found: &[Option<usize>]) -> Option<String> {
        let frame = |index: usize| self.candidates[index].source.frame_of_reference_uid.as_ref();
        let (own, primary) = (frame(found[slot]?), frame(found[0]?));
        (own.is_none() || own != primary).then(|| {
            format!(
                "found a series of another Frame of Reference than that of {}, expected the same: a registration \
                 object would have to relate them, which this version does not read",
                self.slots[0].name
            )
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
mod tests {
    use super::*;
    use crate::pipeline::Picking;

    struct Item {
        key: SeriesKey,
        source: Source,
        fills: Vec<String>,
    }

    fn uid(text: &str) -> Uid {
        text.parse().expect("a UID")
    }

    /// `name: slots; date; frame; patient; issuer of the patient's ID; series that it was drawn on`
    fn item(text: &str) -> Item {
        let (name, rest) = text.split_once(": ").expect("a name");
        let parts: Vec<&str> = rest.split("; ").collect();
        let key = SeriesKey { study_instance_uid: uid("1.2"), series_instance_uid: uid(name) };
        let date = parts.get(1).unwrap_or(&"").to_string();
        let source = Source {
            patient: Some(uid(parts.get(3).unwrap_or(&"7"))),
            issuer: parts.get(4).filter(|text| !text.is_empty()).map(|text| uid(text)),
            frame_of_reference_uid: Some(uid(parts.get(2).unwrap_or(&"9"))),
            drawn_on: parts.get(5).map(|text| text.split(' ').map(uid).collect()).unwrap_or_default(),
            series_date: date.clone(),
            study_date: date,
            ..Source::default()
        };
        Item { key, source, fills: parts[0].split(' ').map(str::to_owned).collect() }
    }

    /// `name flags...`, such as `pet optional any first` and `rs on:ct`.
    fn slot(text: &str) -> SlotRule {
        let words: Vec<&str> = text.split(' ').collect();
        let pick = Pick::ALL.iter().find(|(word, _)| words.contains(word)).map_or(Pick::Newest, |(_, pick)| *pick);
        SlotRule {
            name: words[0].to_owned(),
            primary: words.contains(&"primary"),
            optional: words.contains(&"optional"),
            wait_s: 0.0,
            picking: Picking { pick, by: By::SeriesDate },
            frame: if words.contains(&"any") { Frame::Any } else { Frame::Same },
            drawn_on: words.iter().find_map(|word| word.strip_prefix("on:")).map(str::to_owned),
            fetch: None,
        }
    }

    fn check(slots: &[&str], series: &[&str], expected: &str) {
        let rules = InputRules { slots: slots.iter().map(|text| slot(text)).collect(), ..InputRules::default() };
        let items: Vec<Item> = series.iter().map(|text| item(text)).collect();
        for reversed in [false, true] {
            let candidate = |item: &'_ Item| -> usize { items.iter().position(|i| i.key == item.key).expect("there") };
            let mut order: Vec<usize> = items.iter().map(candidate).collect();
            if reversed {
                order.reverse();
            }
            let of = |index: &usize| {
                let Item { key, source, fills } = &items[*index];
                Candidate { series: key, source, fills }
            };
            let candidates: Vec<Candidate<'_>> = order.iter().map(of).collect();
            let found = match join(&rules, &candidates) {
                Joined::Missing(text) => format!("missing: {text}"),
                Joined::Refused(text) => format!("refused: {text}"),
                Joined::Chosen(list) => {
                    let name = |chosen: &Chosen| {
                        format!("{}={}", chosen.slot, candidates[chosen.candidate].series.series_instance_uid)
                    };
                    list.iter().map(name).collect::<Vec<_>>().join(" ")
                }
            };
            assert!(found.starts_with(expected), "{slots:?} {series:?}\n{found}\n{expected}");
        }
    }

    #[test]
    fn fills_each_slot_and_waits_for_what_is_missing() {
        let slots = ["ct primary", "pet", "rs optional"];
        check(&slots, &["1: ct; 1"], "missing: waits for pet");
        check(&slots, &["1: ct; 1", "2: pet; 1"], "ct=1 pet=2");
        check(&slots, &["1: ct; 1", "2: pet; 1", "3: rs; 1"], "ct=1 pet=2 rs=3");
        check(&["pet", "ct primary"], &["1: ct; 1", "2: pet; 1"], "ct=1 pet=2");
        check(&["a primary", "b"], &["1: a b; 1"], "missing: waits for another series: one series cannot fill two");
    }

    #[test]
    fn picks_by_time_and_tells_ties() {
        let three = ["1: ct; 3", "2: ct; 1", "3: ct; 2", "4: pet; 1"];
        check(&["ct primary", "pet"], &three, "ct=1 pet=4");
        check(&["ct primary first", "pet"], &three, "ct=2 pet=4");
        check(&["ct primary only", "pet"], &three, "refused: ct: found 3 series that could fill it, expected only one");
        check(
            &["ct primary", "pet"],
            &["1: ct; 3", "2: ct; 3", "4: pet; 1"],
            "refused: ct: found 2 series of the same",
        );
        // An older tie does not matter.
        check(&["ct primary", "pet"], &["1: ct; 3", "2: ct; 2", "3: ct; 2", "4: pet; 1"], "ct=1 pet=4");
    }

    #[test]
    fn first_and_last_are_two_series() {
        let slots = ["first primary first", "last last"];
        check(&slots, &["1: first last; 1"], "missing: waits for another series");
        check(&slots, &["1: first last; 1", "2: first last; 5", "3: first last; 3"], "first=1 last=2");
        check(&slots, &["1: first last; 1", "2: first last; 1"], "refused: first: found 2 series of the same date");
    }

    #[test]
    fn a_slot_leaves_the_others_a_way_to_be_filled() {
        // The newest image that fits `a` is the only one that fits `b`.
        check(&["a primary", "b"], &["1: a; 1", "2: a b; 5"], "a=1 b=2");
        // The newest CT has no PET in its Frame of Reference.
        check(&["ct primary", "pet"], &["1: ct; 1; 8", "2: ct; 5; 9", "3: pet; 1; 8"], "ct=1 pet=3");
    }

    #[test]
    fn structures_lie_on_the_images_that_they_were_drawn_on() {
        // Two phases of one study and Frame of Reference, with a structure set each.
        let phases = ["1: ct; 1", "2: ct; 2", "3: rs; 5; 9; 7; ; 1", "4: rs; 4; 9; 7; ; 2"].map(str::to_owned).to_vec();
        let of = |which: &[usize]| which.iter().map(|&index| phases[index].as_str()).collect::<Vec<_>>();
        check(&["rs on:ct", "ct primary"], &of(&[0, 1, 2, 3]), "ct=2 rs=4");
        check(&["ct primary", "rs"], &of(&[0, 1, 2, 3]), "ct=2 rs=3");
        // The newest images that have one.
        check(&["ct primary", "rs on:ct"], &of(&[0, 1, 2]), "ct=1 rs=3");
        check(
            &["ct primary", "rs on:ct"],
            &of(&[0, 3]),
            "missing: waits for rs: a series fits, but it was drawn on another",
        );
        check(&["ct primary", "rs on:ct optional"], &of(&[0, 3]), "ct=1");
        // On the images of another slot; of several series, one is enough; who says nothing is believed.
        let pet = ["1: ct; 1", "2: pet; 1", "3: rs; 1; 9; 7; ; 2", "4: rs; 2; 9; 7; ; 1"];
        check(&["ct primary", "rs on:pet", "pet"], &pet, "ct=1 pet=2 rs=3");
        check(&["ct primary", "rs on:ct"], &["1: ct; 1", "2: rs; 1; 9; 7; ; 8 1"], "ct=1 rs=2");
        check(&["ct primary", "rs on:ct"], &["1: ct; 1", "2: rs; 1"], "ct=1 rs=2");
    }

    #[test]
    fn structures_lie_on_the_volume_of_a_series_that_they_were_drawn_on() {
        let uids = |text: &str| -> Vec<Uid> { text.split_whitespace().map(uid).collect() };
        let check = |refers: &[(&str, &[u32])], expected: &str| {
            let (ct, rs) = (item("1: ct; 1"), item("3: rs; 5; 9; 7; ; 1"));
            let frames = |numbers: &[u32]| std::collections::BTreeMap::from([(uid("5.9"), numbers.to_vec())]);
            let volume = |label: &str, instances: &str, numbers: &[u32]| Source {
                instances: uids(instances),
                frames: frames(numbers),
                volume: label.to_owned(),
                ..ct.source.clone()
            };
            let refers = refers.iter().map(|(image, frames)| (uid(image), frames.to_vec())).collect();
            let structures = Source { refers, ..rs.source };
            let sources = [volume("one", "5.1 5.2 5.9", &[1, 3]), volume("two", "6.1 6.2 5.9", &[2, 4])];
            let rules = ["ct primary", "rs on:ct"].map(slot).to_vec();
            let rules = InputRules { slots: rules, ..InputRules::default() };
            let candidate = |source| Candidate { series: &ct.key, source, fills: &ct.fills };
            let structures = Candidate { series: &rs.key, source: &structures, fills: &rs.fills };
            let candidates = [candidate(&sources[0]), candidate(&sources[1]), structures];
            let found = match join(&rules, &candidates) {
                Joined::Missing(text) | Joined::Refused(text) => text,
                Joined::Chosen(list) => candidates[list[0].candidate].source.volume.clone(),
            };
            assert!(found.contains(expected), "{found}");
        };
        check(&[("5.1", &[]), ("4.4", &[])], "one");
        check(&[("6.2", &[])], "two");
        check(&[("5.9", &[4])], "two");
        check(&[("5.9", &[])], "it refers to several volumes");
        check(&[("5.1", &[]), ("6.1", &[])], "it refers to several volumes");
        check(&[], "it does not say that it was drawn on this volume");
    }

    #[test]
    fn frames_of_reference_and_patients_are_not_mixed() {
        let slots = ["ct primary", "pet"];
        let apart = ["1: ct; 1; 8", "2: pet; 1; 9"];
        check(&slots, &apart, "missing: waits for pet: a series fits, but it has another Frame of Reference");
        check(&["ct primary", "pet any"], &apart, "refused: pet: found a series of another Frame of Reference");
        check(&["ct primary", "pet optional"], &apart, "ct=1");
        let other = ["1: ct; 1; 9; 7", "2: pet; 1; 9; 6"];
        check(&slots, &other, "missing: waits for pet: a series fits, but it is of another patient");
        let issued = ["1: ct; 1; 9; 7; 4", "2: pet; 1; 9; 7; 5"];
        check(&slots, &issued, "missing: waits for pet: a series fits, but it is of another patient");
        check(&slots, &["1: ct; 1; 9; 7; 4", "2: pet; 1; 9; 7"], "ct=1 pet=2");
    }
}
