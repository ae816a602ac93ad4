//! When a series that is still arriving may be taken as complete; DICOM has no message for it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::dicom::AeTitle;

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

/// What happens to a series that stays incomplete for the longest time allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTimeout {
    /// It is shown as held, with what is missing; it goes on by itself when the slice arrives.
    Hold,
    /// It is assessed as it is.
    Run,
    /// It is shown as discarded and not assessed; a further instance reopens it.
    Discard,
}

/// How long to wait after the last instance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Waiting {
    /// The ordinary case.
    pub quiet: SignedDuration,
    /// When every sender has released its association and the slices are evenly spaced without a gap.
    pub released_quiet: SignedDuration,
    /// When a slice seems to be missing.
    pub gap_quiet: SignedDuration,
    /// From the first instance of the revision; then `on_timeout` decides.
    pub max_wait: SignedDuration,
    pub on_timeout: OnTimeout,
}

impl Waiting {
    /// Whether any of the times has passed, so that a decision other than waiting is possible.
    pub(super) fn could_end(&self, (first_at, last_at): (Timestamp, Timestamp), now: Timestamp) -> bool {
        let shortest = self.quiet.min(self.released_quiet).min(self.gap_quiet);
        now.duration_since(last_at) >= shortest || now.duration_since(first_at) >= self.max_wait
    }
}

/// Where a slice lies: its stack (orientation and frame of reference, as a key) and its position along the normal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placed {
    pub stack: String,
    pub position_mm: f64,
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

/// Decides from the times and the stack.
///
/// `first_at` is when the revision began, `last_at` when its last instance came, `released` whether every association
/// that brought an instance has been released.
pub(super) fn decide(
    waiting: &Waiting,
    stack: Stack,
    released: bool,
    (first_at, last_at): (Timestamp, Timestamp),
    now: Timestamp,
) -> Decision {
    let quiet = now.duration_since(last_at);
    let waited_long = now.duration_since(first_at) >= waiting.max_wait;
    match stack {
        Stack::Missing(count) if quiet >= waiting.gap_quiet || waited_long => Decision::TimedOut(count),
        Stack::Missing(_) => Decision::Wait,
        Stack::Whole if released && quiet >= waiting.released_quiet => Decision::Assess,
        _ if quiet >= waiting.quiet || waited_long => Decision::Assess,
        _ => Decision::Wait,
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
        let seconds = SignedDuration::from_secs;
        let waiting = Waiting {
            quiet: seconds(10),
            released_quiet: seconds(2),
            gap_quiet: seconds(120),
            max_wait: seconds(900),
            on_timeout: OnTimeout::Hold,
        };
        let times = (at(0), at(100));
        let decide = |stack, released, now| decide(&waiting, stack, released, times, at(now));
        assert_eq!(decide(Stack::Whole, true, 102), Decision::Assess);
        assert_eq!(decide(Stack::Whole, false, 102), Decision::Wait);
        assert_eq!(decide(Stack::Whole, false, 110), Decision::Assess);
        assert_eq!(decide(Stack::Unknown, true, 109), Decision::Wait);
        assert_eq!(decide(Stack::Missing(1), true, 219), Decision::Wait);
        assert_eq!(decide(Stack::Missing(1), true, 220), Decision::TimedOut(1));
        assert_eq!(decide(Stack::Missing(1), true, 900), Decision::TimedOut(1));
    }
}
