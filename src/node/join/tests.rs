//! Candidates as short texts, and what they come to in whatever order they came.

use super::*;
use crate::output::registration::{Relation, Side};
use crate::pipeline::Picking;
use crate::volume::Rigid;

struct Item {
    key: SeriesKey,
    source: Source,
    fills: Vec<String>,
}

fn uid(text: &str) -> Uid {
    text.parse().expect("a UID")
}

/// `name: slots; date; frame; patient; issuer of the patient's ID; series that it was drawn on`. The slots of a
/// registration are `reg` and the frame that it relates to its own, or `reg series` and the series whose images it names.
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
    let registration = parts[0].strip_prefix("reg ").map(|from| {
        let (frame, series) = match from.strip_prefix("series ") {
            Some(series) => (None, vec![uid(series)]),
            None => (Some(uid(from)), Vec::new()),
        };
        let side = Side { frame_of_reference_uid: frame, series, to_registered: Ok(Rigid::IDENTITY) };
        let registered = source.frame_of_reference_uid.clone();
        Relation { registered, sides: vec![side], is_deformable: false, problem: None }
    });
    let fills = if registration.is_some() { "" } else { parts[0] };
    let source = Source { registration, instances: vec![uid(name)], ..source };
    Item { key, source, fills: fills.split_whitespace().map(str::to_owned).collect() }
}

fn lacking(choice: &Choice) -> String {
    choice.lacks.iter().map(|lack| format!("{}: {}", lack.slot, lack.what)).collect::<Vec<_>>().join("; ")
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
        structures: words[0] == "rs",
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
            Joined::Unregistered(choice) => format!("lacks: {}", lacking(&choice)),
            Joined::Chosen(choice) => {
                let of = |index: usize| candidates[index].series.series_instance_uid.to_string();
                let name = |chosen: &Chosen| {
                    let by = chosen.registration.map(|by| format!("@{}", of(by.candidate)));
                    format!("{}={}{}", chosen.slot, of(chosen.candidate), by.unwrap_or_default())
                };
                let lacks =
                    Some(lacking(&choice)).filter(|lacks| !lacks.is_empty()).map(|lacks| format!(" lacks: {lacks}"));
                choice.chosen.iter().map(name).collect::<Vec<_>>().join(" ") + &lacks.unwrap_or_default()
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
    check(&["ct primary", "pet"], &["1: ct; 3", "2: ct; 3", "4: pet; 1"], "refused: ct: found 2 series of the same");
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
            Joined::Chosen(choice) => candidates[choice.chosen[0].candidate].source.volume.clone(),
            Joined::Missing(text) | Joined::Refused(text) => text,
            Joined::Unregistered(choice) => lacking(&choice),
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
    check(&["ct primary", "pet any"], &apart, "lacks: pet: found Frame of Reference 9, and 8 of the primary images");
    check(&["ct primary", "pet optional"], &apart, "ct=1");
    let other = ["1: ct; 1; 9; 7", "2: pet; 1; 9; 6"];
    check(&slots, &other, "missing: waits for pet: a series fits, but it is of another patient");
    let issued = ["1: ct; 1; 9; 7; 4", "2: pet; 1; 9; 7; 5"];
    check(&slots, &issued, "missing: waits for pet: a series fits, but it is of another patient");
    check(&slots, &["1: ct; 1; 9; 7; 4", "2: pet; 1; 9; 7"], "ct=1 pet=2");
}

#[test]
fn a_registration_joins_series_of_two_frames_of_reference() {
    let slots = ["ct primary", "pet any"];
    let three = ["1: ct; 1; 8", "2: pet; 1; 9", "3: reg 9; 1; 8"];
    check(&slots, &three, "ct=1 pet=2@3");
    check(&["ct primary", "pet"], &three, "missing: waits for pet: a series fits, but it has another Frame");
    check(&slots, &["1: ct; 1; 8", "2: pet; 1; 9", "3: reg 8; 1; 9"], "ct=1 pet=2@3");
    check(&slots, &["1: ct; 1; 8", "2: pet; 1; 8", "3: reg 9; 1; 8"], "ct=1 pet=2");
    check(&slots, &["1: ct; 1; 8", "3: reg 9; 1; 8"], "missing: waits for pet");
    check(&slots, &["1: ct; 1; 8", "2: pet; 1; 9", "3: reg 7; 1; 8"], "lacks: pet: found Frame of Reference 9");
    check(&slots, &["1: ct; 1; 8", "2: pet; 1; 9", "3: reg 9; 1; 8; 6"], "lacks: pet: ");
    check(&slots, &["3: reg 9; 1; 8"], "missing: waits for ct; waits for pet");
}

#[test]
fn what_is_related_is_taken_and_what_would_be_preferred_is_told() {
    let slots = ["ct primary", "pet any"];
    let four = ["1: ct; 1; 8", "2: pet; 1; 9", "4: pet; 5; 7", "3: reg 9; 1; 8"];
    // A required slot does not fall back to an older one.
    check(&slots, &four, "lacks: pet: found Frame of Reference 7, and 8");
    check(&["ct primary", "pet any optional"], &four, "ct=1 pet=2@3 lacks: pet: found Frame of Reference 7, and 8");
    check(&["ct primary", "pet any first"], &four, "ct=1 pet=2@3");
    // Nor do the primary images.
    let cts = ["1: ct; 1; 8", "5: ct; 4; 6", "2: pet; 1; 9", "3: reg 9; 1; 8"];
    check(&slots, &cts, "lacks: pet: found Frame of Reference 9, and 6");
    // A second one is a second one, registered or not.
    let told = "refused: pet: found 2 series that could fill it, expected only one";
    check(&["ct primary", "pet any only"], &four, told);
    check(&["ct primary", "pet any only"], &["1: ct; 1; 8", "2: pet; 5; 9", "4: pet; 1; 7", "3: reg 9; 1; 8"], told);
    check(&["ct primary", "pet any optional"], &four[..2], "ct=1 lacks: pet: found Frame of Reference 9, and 8");
    check(&["ct primary", "pet any optional"], &[four[0], four[1], four[3]], "ct=1 pet=2@3");
    // Of two of one time, the related one.
    check(&slots, &["1: ct; 1; 8", "2: pet; 1; 9", "4: pet; 1; 7", "3: reg 9; 1; 8"], "ct=1 pet=2@3");
}

#[test]
fn structures_come_with_the_images_of_their_frame_of_reference() {
    let slots = ["ct primary", "rs any on:pet", "pet any"];
    let all = ["1: ct; 1; 8", "2: pet; 1; 9", "3: reg 9; 1; 8", "4: rs; 1; 9; 7; ; 2"];
    check(&slots, &all, "ct=1 pet=2@3 rs=4@3");
    check(&["ct primary", "rs any"], &all, "refused: rs: found structures of another Frame of Reference");
    // A newer registration of the images that they were drawn on, which are no input: each would be moved its own way.
    let apart = ["1: ct; 1; 8", "2: pet; 1; 9", "3: reg 9; 1; 8", "4: rs; 1; 9; 7; ; 5", "6: reg series 5; 2; 8"];
    check(
        &["ct primary", "rs any", "pet any"],
        &apart,
        "refused: rs: found structures that another registration object",
    );
    check(&["ct primary", "rs any", "pet any"], &apart[..4], "ct=1 rs=4@3 pet=2@3");
}
