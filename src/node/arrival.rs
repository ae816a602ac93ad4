//! When a series that is still arriving may be taken as complete; DICOM has no message for it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::assemble;
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
pub(super) fn could_end(waiting: &Completeness, (first_at, last_at): (Timestamp, Timestamp), now: Timestamp) -> bool {
    let shortest_s = waiting.quiet_s.min(waiting.released_quiet_s).min(waiting.gap_quiet_s);
    seconds(last_at, now) >= shortest_s || seconds(first_at, now) >= waiting.max_wait_s
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// Where a slice lies: its stack (orientation and frame of reference, as a key) and its position along the normal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placed {
    pub stack: String,
    pub position_mm: f64,
}

impl Placed {
    /// Where the slice of an instance lies; none for what is no single slice in space.
    pub fn of(instance: &Instance) -> Option<Placed> {
        let placement = assemble::placement(instance)?;
        // Rounded so that noise in the last digits, which scanners write, does not make two stacks of one.
        let direction = placement.normal.map(|x| format!("{x:.3}")).join(" ");
        let frame = placement.frame_of_reference_uid.as_ref().map_or("", |uid| uid.as_str());
        Some(Placed { stack: format!("{frame} {direction}"), position_mm: placement.position_mm })
    }
}

/// What the positions of the slices say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stack {
    /// Evenly spaced, without a gap: all that has arrived fits together.
    Whole,
    /// So many slices seem to be missing between others.
    Missing(usize),
    /// Nothing can be said: fewer than three slices, or instances without a position.
    Unknown,
}

/// Positions closer than this are the same slice (two acquisitions, a repeated image).
const SAME_POSITION_MM: f64 = 0.01;

/// Judges all stacks of a series. A gap counts when it is above 1.5 times the median of its stack.
pub(super) fn judge<'a>(placed: impl Iterator<Item = Option<&'a Placed>>) -> Stack {
    let mut stacks: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for place in placed {
        let Some(place) = place else { return Stack::Unknown };
        stacks.entry(&place.stack).or_default().push(place.position_mm);
    }
    let missing: Option<usize> = stacks.into_values().map(missing_in).sum();
    match missing {
        None => Stack::Unknown,
        Some(0) => Stack::Whole,
        Some(count) => Stack::Missing(count),
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

/// What to do with a series now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Wait,
    Assess,
    /// Waited the longest time; how many slices seem to be missing.
    TimedOut(usize),
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

/// Decides from the times, the stack and the sender.
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
        (Stack::Missing(_), _) | (_, Sender::Aborted) => waiting.gap_quiet_s.max(waiting.quiet_s),
        (Stack::Whole, Sender::Done) => waiting.released_quiet_s,
        _ => waiting.quiet_s,
    };
    match stack {
        _ if quiet_s < needed_s && !waited_long => Decision::Wait,
        Stack::Missing(count) => Decision::TimedOut(count),
        Stack::Whole | Stack::Unknown => Decision::Assess,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn stack(positions: &[f64]) -> Stack {
        let placed: Vec<Placed> =
            positions.iter().map(|&position_mm| Placed { stack: "a".to_owned(), position_mm }).collect();
        judge(placed.iter().map(Some))
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
        assert_eq!(decide(Stack::Missing(1), Sender::Done, 220), Decision::TimedOut(1));
        assert_eq!(decide(Stack::Missing(1), Sender::Done, 900), Decision::TimedOut(1));
        assert_eq!(decide(Stack::Whole, Sender::Aborted, 219), Decision::Wait, "an abort completes no series");
        assert_eq!(decide(Stack::Whole, Sender::Aborted, 220), Decision::Assess);
    }
}
