//! Which registration object relates two series of different Frames of Reference; it moves nothing itself.
//!
//! A registration fills no slot. It is one of the candidates of a group, of the same patient, whatever study it lies in. Of
//! several that relate the same two, the newest counts, because it is what somebody has mended last: when that one cannot be
//! used, no older one takes its place. A deformable one beside a rigid one is passed over, and that is told.

use super::join::Candidate;
use super::{Assessment, InputRules, Source};
use crate::dicom::{SeriesKey, Uid};
use crate::output::registration::{End, Relation};
use crate::pipeline::Frame;
use crate::volume::Rigid;

/// The registration that brings a series to the primary one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Index in the candidates.
    pub candidate: usize,
    /// How many usable ones relate the two, this one among them.
    pub of: usize,
    /// Whether a deformable one relates the two that is newer.
    pub newer_deformable: bool,
}

impl Registered {
    /// What else there was, for people; empty where it is the only one.
    pub fn beside(self) -> String {
        let newest = if self.of > 1 { format!(", the newest of {}", self.of) } else { String::new() };
        let passed_over =
            if self.newer_deformable { "; a newer deformable registration of the two was passed over" } else { "" };
        newest + passed_over
    }
}

/// Whether a series holds registrations and nothing that fills a slot.
pub(super) fn relates_only(sources: &[Source]) -> bool {
    !sources.is_empty() && sources.iter().all(|source| source.registration.is_some())
}

/// Whether a registration may be for a series: of one study, or of one patient.
pub(super) fn reaches((key, sources): (&SeriesKey, &[Source]), (other, others): (&SeriesKey, &[Source])) -> bool {
    let patient = |sources: &[Source]| sources.iter().find_map(|source| source.patient.clone());
    let one = patient(sources);
    key.study_instance_uid == other.study_instance_uid || (one.is_some() && one == patient(others))
}

/// Whether two may be of one patient: they have the same ID, and not two issuers.
pub(super) fn of_one_patient(one: &Source, other: &Source) -> bool {
    let issuers = one.issuer.as_ref().zip(other.issuer.as_ref());
    one.patient == other.patient && issuers.is_none_or(|(one, other)| one == other)
}

/// Whether two series do not lie in one Frame of Reference; a series without one lies in none.
pub(super) fn are_apart(one: &Source, other: &Source) -> bool {
    one.frame_of_reference_uid.is_none() || one.frame_of_reference_uid != other.frame_of_reference_uid
}

/// Whether a registration relates two of the candidates as the slots may need it, usable or not.
pub(super) fn concerns(registration: &Source, rules: &InputRules, candidates: &[Candidate<'_>]) -> bool {
    let Some(relation) = registration.registration.as_ref().filter(|_| !registration.instances.is_empty()) else {
        return false;
    };
    let fitting = |slot: &str| -> Vec<&Candidate<'_>> {
        candidates.iter().filter(|one| one.fills.iter().any(|fills| fills == slot)).collect()
    };
    let primaries: Vec<&Candidate<'_>> =
        rules.slots.iter().filter(|slot| slot.primary).flat_map(|slot| fitting(&slot.name)).collect();
    let apart = rules.slots.iter().filter(|slot| slot.frame == Frame::Any);
    let mut moving = apart.flat_map(|slot| fitting(&slot.name).into_iter().map(|one| (one, slot.structures)));
    moving.any(|from| {
        primaries.iter().any(|to| {
            are_apart(from.0.source, to.source)
                && is_of_both(registration, from.0.source, to.source)
                && between(relation, from, to).is_some()
        })
    })
}

/// Whether a registration is of the patient of both series; each may say an issuer where the other says none.
fn is_of_both(registration: &Source, moving: &Source, fixed: &Source) -> bool {
    of_one_patient(registration, moving) && of_one_patient(registration, fixed)
}

/// The way from a series, images or structures, to images; `None` where the registration relates others.
fn between(
    relation: &Relation,
    (moving, are_structures): (&Candidate<'_>, bool),
    fixed: &Candidate<'_>,
) -> Option<Result<Rigid, String>> {
    let (of_moving, of_fixed) = (series_of(moving, are_structures), series_of(fixed, false));
    let from = End { frame_of_reference_uid: moving.source.frame_of_reference_uid.as_ref()?, series: &of_moving };
    let to = End { frame_of_reference_uid: fixed.source.frame_of_reference_uid.as_ref()?, series: &of_fixed };
    relation.between(from, to)
}

/// What brings the series `from`, images or structures, to the images `to`: nothing where they have one Frame of Reference.
///
/// # Errors
/// They are not related; what was looked for, and what was found.
pub(super) fn related(
    candidates: &[Candidate<'_>],
    (from, are_structures): (usize, bool),
    to: usize,
) -> Result<Option<Registered>, String> {
    let (moving, fixed) = (&candidates[from], &candidates[to]);
    if !are_apart(moving.source, fixed.source) {
        return Ok(None);
    }
    let frames = moving.source.frame_of_reference_uid.as_ref().zip(fixed.source.frame_of_reference_uid.as_ref());
    let Some((own, registered)) = frames else {
        return Err("found a series without a Frame of Reference, expected one: nothing can relate it".to_owned());
    };
    let mut relating: Vec<(usize, Result<Rigid, String>)> = Vec::new();
    let (mut others, mut strangers): (Vec<&Relation>, usize) = (Vec::new(), 0);
    for (index, candidate) in candidates.iter().enumerate() {
        let Some(relation) = &candidate.source.registration else { continue };
        if candidate.source.instances.is_empty() {
            continue;
        }
        if !is_of_both(candidate.source, moving.source, fixed.source) {
            strangers += 1;
            continue;
        }
        match between(relation, (moving, are_structures), fixed) {
            Some(rigid) => relating.push((index, rigid)),
            None => others.push(relation),
        }
    }
    // A deformable one beside a rigid one is another answer to the same question; ours is the rigid one.
    let key = |index: usize| {
        let source = candidates[index].source;
        let deformable = source.registration.as_ref().is_some_and(|relation| relation.is_deformable);
        (!deformable, source.series_date.as_str())
    };
    relating.sort_by(|(a, _), (b, _)| {
        key(*b).cmp(&key(*a)).then(candidates[*a].source.instances.cmp(&candidates[*b].source.instances))
    });
    let of = relating.iter().filter(|(_, rigid)| rigid.is_ok()).count();
    let lacking = || format!("found Frame of Reference {own}, and {registered} of the primary images");
    let Some((candidate, newest)) = relating.first() else {
        return Err(format!(
            "{}, expected a rigid registration object that relates the two; {}",
            lacking(),
            told(&others, strangers)
        ));
    };
    let rigid = newest.as_ref().map_err(|reason| {
        let which = uid_of(candidates[*candidate].source);
        format!("{}; the newest registration object of the two ({which}) cannot be used: {reason}", lacking())
    })?;
    let ties = relating.iter().skip(1).filter(|(index, _)| key(*index) == key(*candidate));
    if ties.into_iter().any(|(_, other)| other.as_ref().map_or(true, |other| !other.is_same(rigid))) {
        return Err(format!(
            "{}; several registration objects of the two have the same date and time and say different things, expected one \
             that is the newest",
            lacking()
        ));
    }
    let (is_rigid, date) = key(*candidate);
    let newer_deformable =
        relating.iter().map(|(index, _)| key(*index)).any(|other| is_rigid && !other.0 && other.1 > date);
    Ok(Some(Registered { candidate: *candidate, of, newer_deformable }))
}

/// What registrations there are that do not help; `strangers` are those of other patients.
fn told(others: &[&Relation], strangers: usize) -> String {
    let broken = others.iter().find_map(|relation| relation.problem.as_ref());
    let strange = match strangers {
        0 => String::new(),
        1 => "one came whose Patient ID, or its issuer, is another than that of the series".to_owned(),
        count => format!("{count} came whose Patient ID, or its issuer, is another than that of the series"),
    };
    let near = match (others.len(), broken) {
        (0, _) if strangers > 0 => return strange,
        (0, _) => "none came".to_owned(),
        (1, Some(problem)) => format!("one came that cannot be used: {problem}"),
        (count, Some(problem)) => format!("{count} came of which none does, and one cannot be used: {problem}"),
        (1, None) => "one came that relates others".to_owned(),
        (count, None) => {
            format!("{count} came that relate others, and no way through several of them is looked for")
        }
    };
    if strange.is_empty() { near } else { format!("{near}; {strange}") }
}

/// The series by which a registration of images without a Frame of Reference knows them: that of images, and those that
/// structures were drawn on.
fn series_of<'a>(candidate: &Candidate<'a>, are_structures: bool) -> Vec<&'a Uid> {
    if are_structures {
        candidate.source.drawn_on.iter().collect()
    } else {
        vec![&candidate.series.series_instance_uid]
    }
}

/// The one object of a source.
pub(super) fn uid_of(source: &Source) -> &str {
    source.instances.first().map_or("", Uid::as_str)
}

/// Why a slot was filled by a registered series, for the job and its report.
pub fn reason(slot: &str, registration: &Source, by: Registered) -> String {
    format!("{slot}: registered to the primary images by object {}{}", uid_of(registration), by.beside())
}

/// What an assessment of registrations waits for at first.
pub(super) fn waits(assessment: &Assessment) -> String {
    if relates_only(&assessment.sources) { "waits for the series that it relates".to_owned() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::registration::Side;

    struct Item {
        key: SeriesKey,
        source: Source,
    }

    fn uid(text: &str) -> Uid {
        text.parse().expect("a UID")
    }

    fn item(series: &str, frame: &str) -> Item {
        let key = SeriesKey { study_instance_uid: uid("1.2"), series_instance_uid: uid(series) };
        let frame_of_reference_uid = Some(uid(frame));
        let source = Source { patient: Some(uid("7")), frame_of_reference_uid, ..Source::default() };
        Item { key, source }
    }

    fn shift(mm: f64) -> Result<Rigid, String> {
        let rigid = Rigid::of_matrix([1.0, 0.0, 0.0, mm, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        Ok(rigid.expect("rigid"))
    }

    /// A registration `name` of two frames, made at a time.
    fn registration(name: &str, from: &str, to: &str, date: &str, by: Result<Rigid, String>) -> Item {
        let mut item = item(name, to);
        let side = Side { frame_of_reference_uid: Some(uid(from)), series: Vec::new(), to_registered: by };
        let registered = Some(uid(to));
        item.source.registration =
            Some(Relation { registered, sides: vec![side], is_deformable: false, problem: None });
        item.source.instances = vec![uid(name)];
        item.source.series_date = date.to_owned();
        item
    }

    /// What relates the second to the first, in both orders of the registrations.
    fn check(registrations: &[&Item], expected: &str) {
        let (fixed, moving) = (item("1", "9"), item("2", "8"));
        for reversed in [false, true] {
            let mut others = registrations.to_vec();
            if reversed {
                others.reverse();
            }
            let all: Vec<&Item> = [&fixed, &moving].into_iter().chain(others).collect();
            let candidates: Vec<Candidate<'_>> =
                all.iter().map(|item| Candidate { series: &item.key, source: &item.source, fills: &[] }).collect();
            let found = match related(&candidates, (1, false), 0) {
                Ok(found) => found.map_or("nothing".to_owned(), |found| {
                    let source = candidates[found.candidate].source;
                    let told = if found.newer_deformable { reason("mr", source, found) } else { String::new() };
                    format!("{} of {}{told}", uid_of(source), found.of)
                }),
                Err(reason) => reason,
            };
            assert!(found.contains(expected), "{found}\n{expected}");
        }
    }

    #[test]
    fn the_newest_that_relates_the_two_counts() {
        check(&[], "found Frame of Reference 8, and 9 of the primary images, expected a rigid registration object");
        let one = registration("3", "8", "9", "1", shift(5.0));
        check(&[&one], "3 of 1");
        let back = registration("4", "9", "8", "2", shift(5.0));
        check(&[&one, &back], "4 of 2");
        let other = registration("5", "8", "7", "3", shift(5.0));
        check(&[&one, &other], "3 of 1");
        check(&[&other], "one came that relates others");
        let further = registration("6", "7", "9", "3", shift(5.0));
        check(&[&other, &further], "2 came that relate others, and no way through several");
    }

    #[test]
    fn the_newest_is_not_replaced_by_an_older_one_when_it_is_unusable() {
        let good = registration("3", "8", "9", "1", shift(5.0));
        let bad = registration("4", "8", "9", "2", Err("it scales".to_owned()));
        check(&[&good, &bad], "object of the two (4) cannot be used: it scales");
        let bad = registration("4", "8", "9", "0", Err("it scales".to_owned()));
        check(&[&good, &bad], "3 of 1");
        // A deformable one is made beside the rigid one.
        let mut beside = registration("4", "8", "9", "2", Err("it is deformable".to_owned()));
        beside.source.registration.as_mut().expect("one").is_deformable = true;
        check(
            &[&good, &beside],
            "3 of 1mr: registered to the primary images by object 3; a newer deformable registration of the two was passed over",
        );
        check(&[&beside], "(4) cannot be used: it is deformable");
        beside.source.series_date = "0".to_owned();
        let told = |found: Registered| (found.of, found.newer_deformable);
        let items = [item("1", "9"), item("2", "8"), good, beside];
        let candidates = items.each_ref().map(|item| Candidate { series: &item.key, source: &item.source, fills: &[] });
        assert_eq!(related(&candidates, (1, false), 0).expect("related").map(told), Some((1, false)));
    }

    #[test]
    fn images_without_a_frame_of_reference_in_it_are_known_by_their_own_series() {
        let (fixed, mut moving) = (item("1", "9"), item("2", "8"));
        let mut registration = registration("3", "8", "9", "1", shift(5.0));
        let side = &mut registration.source.registration.as_mut().expect("one").sides[0];
        (side.frame_of_reference_uid, side.series) = (None, vec![uid("2")]);
        let related_as = |moving: &Item, are_structures: bool| {
            let of = |item: &'_ Item| -> (SeriesKey, Source) { (item.key.clone(), item.source.clone()) };
            let all = [of(&fixed), of(moving), of(&registration)];
            let candidates = all.each_ref().map(|(series, source)| Candidate { series, source, fills: &[] });
            related(&candidates, (1, are_structures), 0).is_ok()
        };
        assert!(related_as(&moving, false) && !related_as(&moving, true));
        // Images that refer to those are others; structures that were drawn on those go with them.
        moving.key.series_instance_uid = uid("4");
        moving.source.drawn_on = vec![uid("2")];
        assert!(!related_as(&moving, false) && related_as(&moving, true));
    }

    #[test]
    fn two_of_one_time_must_say_the_same() {
        let one = registration("3", "8", "9", "1", shift(5.0));
        check(&[&one, &registration("4", "8", "9", "1", shift(6.0))], "say different things");
        check(&[&one, &registration("4", "8", "9", "1", shift(5.0))], "3 of 2");
        let older = registration("5", "8", "9", "0", shift(9.0));
        check(&[&one, &older, &registration("4", "8", "9", "1", shift(5.0))], "3 of 3");
    }

    #[test]
    fn that_of_another_patient_or_a_cut_one_relates_nothing() {
        let mut other = registration("3", "8", "9", "1", shift(5.0));
        other.source.patient = Some(uid("6"));
        check(&[&other], "one came whose Patient ID, or its issuer, is another than that of the series");
        let further = registration("5", "8", "7", "1", shift(5.0));
        check(&[&other, &further], "one came that relates others; one came whose Patient ID, or its issuer");
        let mut cut = registration("3", "8", "9", "1", shift(5.0));
        let relation = cut.source.registration.as_mut().expect("one");
        (relation.registered, relation.problem) = (None, Some("it is cut".to_owned()));
        relation.sides.clear();
        check(&[&cut], "one came that cannot be used: it is cut");
    }

    #[test]
    fn its_issuer_is_that_of_the_moved_series_too() {
        // The primary images say no issuer; then its own and that of the moved series are compared.
        let (fixed, mut moving) = (item("1", "9"), item("2", "8"));
        let mut one = registration("3", "8", "9", "1", shift(5.0));
        moving.source.issuer = Some(uid("5"));
        let mut told = |issuer: Option<&str>| {
            one.source.issuer = issuer.map(uid);
            let all = [&fixed, &moving, &one];
            let candidates = all.map(|item| Candidate { series: &item.key, source: &item.source, fills: &[] });
            related(&candidates, (1, false), 0).map_or_else(|told| told, |found| format!("{}", found.is_some()))
        };
        assert_eq!(told(None), "true");
        assert_eq!(told(Some("5")), "true");
        assert!(
            told(Some("6")).contains("one came whose Patient ID, or its issuer, is another"),
            "{}",
            told(Some("6"))
        );
    }

    #[test]
    fn a_registration_reaches_its_study_and_its_patient() {
        let (one, mut other) = (item("1", "9"), item("2", "8"));
        let near = |one: &Item, other: &Item| {
            let own = std::slice::from_ref(&one.source);
            reaches((&one.key, own), (&other.key, std::slice::from_ref(&other.source)))
        };
        assert!(near(&one, &other));
        other.key.study_instance_uid = uid("1.3");
        assert!(near(&one, &other));
        other.source.patient = None;
        assert!(!near(&one, &other) && !near(&other, &one));
    }
}
