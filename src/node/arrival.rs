//! When a series that is still arriving may be taken as complete; DICOM has no message for it.

use std::collections::BTreeMap;

use dicom_dictionary_std::tags;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::assemble::{self, Phase};
use crate::dicom::{AeTitle, Instance};
use crate::pipeline::Completeness;

/// Which senders a rule is for; an empty list means all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Association {
    pub called_ae: Vec<AeTitle>,
    pub calling_ae: Vec<AeTitle>,
}

impl Association {
    /// Whether both titles are in their lists.
    pub fn fits(&self, called: &AeTitle, calling: &AeTitle) -> bool {
        let allows = |list: &[AeTitle], title| list.is_empty() || list.contains(title);
        allows(&self.called_ae, called) && allows(&self.calling_ae, calling)
    }
}

/// Whether any of the times has passed, so that a decision other than waiting is possible.
pub(super) fn could_end(
    waiting: &Completeness,
    sender: Sender,
    (first_at, last_at): (Timestamp, Timestamp),
    now: Timestamp,
) -> bool {
    let shortest_s = match sender {
        Sender::Done => waiting.quiet_s.min(waiting.released_quiet_s),
        Sender::Sending | Sender::Aborted | Sender::Unknown => waiting.quiet_s,
    };
    let waited_long = seconds(first_at, now) >= waiting.max_wait_s && sender != Sender::Sending;
    seconds(last_at, now) >= shortest_s || waited_long
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// Where a slice lies: its stack (orientation and frame of reference, as a key) and its position along the normal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Placed {
    pub stack: String,
    pub position_mm: f64,
    /// Rows, columns and pixel spacing, as a key: other ones are another stack. Empty in a ledger that did not know it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub grid: String,
    /// What tells it from others at its position.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phase: Phase,
    #[serde(default)]
    pub promised: Promised,
}

/// How many images there are to be, as an image says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promised {
    /// Number of Series Related Instances (0020,1209): of the series.
    pub series: Option<u32>,
    /// Images in Acquisition (0020,1002). An acquisition may be in several series, so this only lengthens the wait.
    pub acquisition: Option<u32>,
    pub acquisition_number: Option<i64>,
}

impl Promised {
    fn of(instance: &Instance) -> Promised {
        let count = |tag| instance.integer(tag).and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0);
        Promised {
            series: count(tags::NUMBER_OF_SERIES_RELATED_INSTANCES),
            acquisition: count(tags::IMAGES_IN_ACQUISITION),
            acquisition_number: instance.integer(tags::ACQUISITION_NUMBER),
        }
    }
}

/// What is missing of what was promised by any of the images.
pub(super) fn kept<'a>(count: usize, promised: impl Iterator<Item = &'a Promised>) -> Stack {
    let (mut of_series, mut acquisitions) = (0, BTreeMap::<Option<i64>, (usize, usize)>::new());
    for one in promised {
        of_series = of_series.max(one.series.unwrap_or(0) as usize);
        let (promised, came) = acquisitions.entry(one.acquisition_number).or_default();
        *promised = (*promised).max(one.acquisition.unwrap_or(0) as usize);
        *came += 1;
    }
    let lacking = acquisitions.into_values().any(|(promised, came)| came < promised);
    match (count < of_series, lacking) {
        (true, _) => Stack::Short { came: count, promised: of_series },
        (false, true) => Stack::Fewer,
        (false, false) => Stack::Whole,
    }
}

impl Placed {
    /// Where the slice of an instance lies; none for what is no single slice in space.
    pub fn of(instance: &Instance) -> Option<Placed> {
        let placement = assemble::placement(instance)?;
        // Rounded so that noise in the last digits, which scanners write, does not make two stacks of one.
        let direction = placement.normal.map(|x| format!("{x:.3}")).join(" ");
        let frame = placement.frame_of_reference_uid.as_ref().map_or("", |uid| uid.as_str());
        let sizes = [tags::ROWS, tags::COLUMNS].map(|tag| instance.integer(tag).unwrap_or(0).to_string());
        let spacing = instance.f64s(tags::PIXEL_SPACING).unwrap_or_default();
        let spacing: Vec<String> = spacing.iter().take(2).map(|mm| format!("{mm:.3}")).collect();
        Some(Placed {
            stack: format!("{frame} {direction}"),
            position_mm: placement.position_mm,
            grid: format!("{} {}", sizes.join(" "), spacing.join(" ")),
            phase: assemble::phase(instance),
            promised: Promised::of(instance),
        })
    }
}

/// What the positions of the slices say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stack {
    /// Evenly spaced, without a gap: all that has arrived fits together.
    Whole,
    /// So many slices seem to be missing between others, or in one of several phases.
    Missing(usize),
    /// The images say that the series has more of them.
    Short { came: usize, promised: usize },
    /// The images say that their acquisition has more of them, which may be in another series; or a phase has one or two
    /// slices, which may be left over. This only lengthens the wait.
    Fewer,
    /// Nothing can be said: fewer than three slices, or instances without a position.
    Unknown,
}

/// Positions closer than this are the same slice (two acquisitions, a repeated image).
const SAME_POSITION_MM: f64 = 0.01;

/// Judges all stacks of a series. A gap counts when it is above 1.5 times the median of its stack. Stacks of one or two
/// slices, such as localizers, say nothing where another one can be judged.
pub(super) fn judge<'a>(placed: impl Iterator<Item = Option<&'a Placed>>) -> Stack {
    let Some(placed) = placed.collect::<Option<Vec<&Placed>>>() else { return Stack::Unknown };
    let knows_grids = placed.iter().all(|place| !place.grid.is_empty());
    let mut stacks: BTreeMap<(&str, &str), Vec<&Placed>> = BTreeMap::new();
    for place in placed {
        let grid = if knows_grids { place.grid.as_str() } else { "" };
        stacks.entry((&place.stack, grid)).or_default().push(place);
    }
    let found: Vec<Stack> = stacks.into_values().map(judge_stack).collect();
    let missing = found.iter().map(|stack| if let Stack::Missing(count) = stack { *count } else { 0 }).sum();
    match missing {
        0 if found.contains(&Stack::Fewer) => Stack::Fewer,
        0 if found.contains(&Stack::Whole) => Stack::Whole,
        0 => Stack::Unknown,
        missing => Stack::Missing(missing),
    }
}

/// Of images at one position each phase is a stack of its own, and has as many slices as most phases have; where most do
/// not agree, as the longest one.
fn judge_stack(placed: Vec<&Placed>) -> Stack {
    let positions: Vec<f64> = placed.iter().map(|place| place.position_mm).collect();
    let mut sorted = positions.clone();
    sorted.sort_by(f64::total_cmp);
    let coincide = sorted.windows(2).any(|pair| pair[1] - pair[0] < SAME_POSITION_MM);
    let phases: Vec<Phase> = placed.iter().map(|place| place.phase.clone()).collect();
    let parts = if coincide { assemble::split(&positions, &phases) } else { None };
    let Some(parts) = parts else {
        return match missing_in(positions) {
            None => Stack::Unknown,
            Some(0) => Stack::Whole,
            Some(missing) => Stack::Missing(missing),
        };
    };
    let places = |part: &assemble::Part| part.members.iter().map(|&image| positions[image]).collect::<Vec<f64>>();
    let gaps: Vec<(usize, usize)> =
        parts.iter().filter_map(|part| missing_in(places(part)).map(|missing| (part.members.len(), missing))).collect();
    let with = |count: usize| gaps.iter().filter(|(other, _)| *other == count).count();
    let longest = gaps.iter().map(|(count, _)| *count).max().unwrap_or(0);
    let usual = gaps.iter().map(|(count, _)| *count).find(|count| 2 * with(*count) > gaps.len()).unwrap_or(longest);
    let missing = gaps.iter().map(|(count, own)| (*own).max(usual.saturating_sub(*count))).sum();
    // Several images at one position watch it, and nothing is missing there; else a phase has begun, or it is left over:
    // of what is too short for a volume nothing is made.
    let has_begun = |part: &assemble::Part| {
        let places = places(part);
        let watches = places.len() > 1 && places.iter().all(|at| (at - places[0]).abs() < SAME_POSITION_MM);
        missing_in(places).is_none() && !watches
    };
    match missing {
        0 if parts.iter().any(has_begun) => Stack::Fewer,
        0 => Stack::Whole,
        missing => Stack::Missing(missing),
    }
}

fn missing_in(mut positions: Vec<f64>) -> Option<usize> {
    positions.sort_by(f64::total_cmp);
    positions.dedup_by(|a, b| (*a - *b).abs() < SAME_POSITION_MM);
    let gaps: Vec<f64> = positions.windows(2).map(|pair| pair[1] - pair[0]).collect();
    if gaps.len() < 2 {
        return None;
    }
    let mut sorted = gaps.clone();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[(sorted.len() - 1) / 2];
    let wide = gaps.iter().filter(|&&gap| gap > 1.5 * median);
    Some(wide.map(|gap| (gap / median).round() as usize - 1).sum())
}

/// What is missing of a series of so many instances, in words.
pub(super) fn missing(stack: Stack, count: usize) -> String {
    match stack {
        Stack::Missing(1) => format!("1 slice seems to be missing among {count}"),
        Stack::Missing(missing) => format!("{missing} slices seem to be missing among {count}"),
        Stack::Short { came, promised } => {
            format!("{came} of {promised} instances came, as Number of Series Related Instances (0020,1209) says")
        }
        Stack::Fewer | Stack::Whole | Stack::Unknown => "nothing is known to be missing".to_owned(),
    }
}

/// What to do with a series now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Wait,
    Assess,
    /// Waited the longest time; what is missing.
    TimedOut(Stack),
}

/// What is known of the sender of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// An association that brought instances is open.
    Sending,
    /// The last one was released: the sender was done.
    Done,
    /// The last one ended otherwise: the sender was not done, and will come again.
    Aborted,
    /// The gateway was started anew since.
    Unknown,
}

/// Decides from the times, the stack and the sender. A series without a gap that has fewer images than promised is held,
/// and assessed in the end: archives tell wrong numbers.
///
/// `first_at` is when the revision began, `last_at` when its last instance came.
pub(super) fn decide(
    waiting: &Completeness,
    stack: Stack,
    sender: Sender,
    (first_at, last_at): (Timestamp, Timestamp),
    now: Timestamp,
) -> Decision {
    let quiet_s = seconds(last_at, now);
    let waited_long = seconds(first_at, now) >= waiting.max_wait_s && sender != Sender::Sending;
    let needed_s = match (stack, sender) {
        (Stack::Missing(_) | Stack::Short { .. } | Stack::Fewer, _) | (_, Sender::Aborted) => {
            waiting.gap_quiet_s.max(waiting.quiet_s)
        }
        (Stack::Whole, Sender::Done) => waiting.released_quiet_s,
        _ => waiting.quiet_s,
    };
    match stack {
        _ if quiet_s < needed_s && !waited_long => Decision::Wait,
        Stack::Missing(_) if waiting.takes_gaps => Decision::Assess,
        Stack::Short { .. } if gives_up(waiting, last_at, now) => Decision::Assess,
        Stack::Missing(_) | Stack::Short { .. } => Decision::TimedOut(stack),
        Stack::Whole | Stack::Fewer | Stack::Unknown => Decision::Assess,
    }
}

/// Whether images that were promised are not waited for any longer.
pub(super) fn gives_up(waiting: &Completeness, last_at: Timestamp, now: Timestamp) -> bool {
    seconds(last_at, now) >= waiting.max_wait_s.max(waiting.gap_quiet_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn stack(positions: &[f64]) -> Stack {
        let placed: Vec<Placed> =
            positions.iter().map(|&position_mm| Placed { position_mm, ..Placed::default() }).collect();
        judge(placed.iter().map(Some))
    }

    /// Phases with the positions of their slices.
    fn phases(phases: &[&[f64]]) -> Stack {
        let placed = |(number, positions): (usize, &&[f64])| {
            let phase = vec![number.to_string()];
            positions
                .iter()
                .map(|&position_mm| Placed { position_mm, phase: phase.clone(), ..Placed::default() })
                .collect()
        };
        let placed: Vec<Placed> = phases.iter().enumerate().flat_map(|one| -> Vec<Placed> { placed(one) }).collect();
        judge(placed.iter().map(Some))
    }

    #[test]
    fn finds_what_is_missing_in_each_phase() {
        let whole = [0.0, 3.0, 6.0, 9.0];
        assert_eq!(phases(&[&whole, &whole, &whole]), Stack::Whole);
        assert_eq!(phases(&[&whole, &[0.0, 3.0, 9.0], &whole]), Stack::Missing(1));
        assert_eq!(phases(&[&whole, &whole[..3], &whole]), Stack::Missing(1), "the last slice of a phase");
        assert_eq!(phases(&[&whole, &whole[1..], &whole, &[6.0, 6.0]]), Stack::Missing(1));
        assert_eq!(phases(&[&whole, &[3.0, 3.0]]), Stack::Whole, "images that watch one place");
        assert_eq!(phases(&[&whole, &whole[..3]]), Stack::Missing(1), "one of two is shorter: it may still arrive");
        let begun = [&whole[..], &whole, &whole, &whole[..2]];
        assert_eq!(phases(&begun), Stack::Fewer, "a phase has begun");
        assert_eq!(phases(&[&whole, &whole, &whole[..1]]), Stack::Fewer);
    }

    #[test]
    fn stacks_are_told_apart_by_their_grid_and_small_ones_say_nothing() {
        let stack = |grid: &str, positions: &[f64]| -> Vec<Placed> {
            let placed = |&position_mm: &f64| Placed { position_mm, grid: grid.to_owned(), ..Placed::default() };
            positions.iter().map(placed).collect()
        };
        let judge = |stacks: &[Vec<Placed>]| judge(stacks.iter().flatten().map(Some));
        let whole = stack("512 512", &[0.0, 3.0, 6.0, 9.0]);
        // In one stack the slices of the other would fill the gap.
        assert_eq!(judge(&[whole.clone(), stack("256 256", &[1.0, 2.0, 4.0, 5.0])]), Stack::Missing(1));
        assert_eq!(judge(&[whole.clone(), stack("256 256", &[50.0, 90.0])]), Stack::Whole, "localizers");
        assert_eq!(judge(&[stack("512 512", &[0.0, 3.0]), stack("256 256", &[50.0])]), Stack::Unknown);
        // A ledger of before knows no grids.
        assert_eq!(judge(&[stack("", &[0.0, 6.0]), stack("512 512", &[3.0, 9.0])]), Stack::Whole);
    }

    #[test]
    fn what_the_images_promise_lengthens_the_wait() {
        let of_series = Promised { series: Some(5), ..Promised::default() };
        let acquisition = |number| Promised { acquisition: Some(2), acquisition_number: Some(number), series: None };
        assert_eq!(kept(4, [of_series, Promised::default()].iter()), Stack::Short { came: 4, promised: 5 });
        assert_eq!(kept(5, [of_series].iter()), Stack::Whole);
        assert_eq!(kept(4, [1, 1, 2, 2].map(acquisition).iter()), Stack::Whole);
        assert_eq!(kept(3, [1, 1, 2].map(acquisition).iter()), Stack::Fewer);
        let decide = |stack, now| decide(&Completeness::default(), stack, Sender::Done, (at(0), at(100)), at(now));
        assert_eq!(decide(Stack::Fewer, 219), Decision::Wait);
        assert_eq!(decide(Stack::Fewer, 220), Decision::Assess, "the rest may be in another series");
        let short = Stack::Short { came: 4, promised: 5 };
        assert_eq!((decide(short, 219), decide(short, 220)), (Decision::Wait, Decision::TimedOut(short)));
        assert_eq!((decide(short, 999), decide(short, 1_000)), (Decision::TimedOut(short), Decision::Assess));
    }

    #[test]
    fn finds_gaps_whatever_the_order_and_counts_what_is_missing() {
        assert_eq!(stack(&[9.0, 0.0, 3.0, 6.0]), Stack::Whole);
        assert_eq!(stack(&[0.0, 3.0, 12.0, 15.0]), Stack::Missing(2));
        assert_eq!(stack(&[0.0, 3.0, 3.0, 6.0]), Stack::Whole);
        assert_eq!(stack(&[0.0, 9.0]), Stack::Unknown);
    }

    #[test]
    fn waits_short_when_released_and_whole_and_long_with_a_gap() {
        let waiting = Completeness { released_quiet_s: 2.0, ..Completeness::default() };
        let times = (at(0), at(100));
        let decide = |stack, sender, now| decide(&waiting, stack, sender, times, at(now));
        assert_eq!(decide(Stack::Whole, Sender::Done, 102), Decision::Assess);
        assert_eq!(decide(Stack::Whole, Sender::Sending, 102), Decision::Wait);
        assert_eq!(decide(Stack::Whole, Sender::Unknown, 110), Decision::Assess);
        assert_eq!(decide(Stack::Unknown, Sender::Done, 109), Decision::Wait);
        assert_eq!(decide(Stack::Missing(1), Sender::Done, 219), Decision::Wait);
        assert_eq!(decide(Stack::Missing(1), Sender::Done, 220), Decision::TimedOut(Stack::Missing(1)));
        assert_eq!(decide(Stack::Missing(1), Sender::Done, 900), Decision::TimedOut(Stack::Missing(1)));
        let tolerant = Completeness { takes_gaps: true, ..waiting };
        let asked = |now| super::decide(&tolerant, Stack::Missing(1), Sender::Done, times, at(now));
        assert_eq!((asked(219), asked(220)), (Decision::Wait, Decision::Assess), "a pipeline may take it");
        assert_eq!(decide(Stack::Whole, Sender::Aborted, 219), Decision::Wait, "an abort completes no series");
        assert_eq!(decide(Stack::Whole, Sender::Aborted, 220), Decision::Assess);
    }
}
