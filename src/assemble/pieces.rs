//! Whether two parts of a series could be pieces of one volume: one goes on where the other ends, or lies between its
//! slices. It looks at places alone; what follows is decided by its caller, which refuses: half a volume is none.

use super::frame::Frame;
use super::placement::{Placement, Spacing, of_positions};
use crate::limits::VOLUME_SLICES_MIN;
use crate::volume::dot;

/// A direction that is off by less than eight degrees may be one written wrongly.
const NEARLY_PARALLEL: f64 = 0.99;

/// Parts of steps that differ by more than this factor were acquired differently.
const SAME_STEP: f64 = 1.5;

/// A slice that is so many steps or more away from every slice of the other part lies between these: packages of two are
/// half a step apart, packages of four a quarter.
const BETWEEN_STEPS: f64 = 0.2;

/// A slice so many steps beyond the end of a stack could be its next one.
const NEXT_STEPS: std::ops::RangeInclusive<f64> = 0.4..=1.6;

/// A part along a direction.
struct Along {
    positions_mm: Vec<f64>,
    spacing: Spacing,
}

impl Along {
    /// None where the frames have no place, or lie in another direction than `normal`.
    fn of(frames: &[Frame], normal: [f64; 3]) -> Option<Along> {
        let place = |frame: &Frame| {
            let placement = frame.placement.as_ref()?;
            (dot(normal, placement.normal) >= NEARLY_PARALLEL).then(|| dot(normal, placement.origin))
        };
        let mut positions_mm: Vec<f64> = frames.iter().map(place).collect::<Option<_>>()?;
        positions_mm.sort_by(f64::total_cmp);
        Some(Along { spacing: of_positions(positions_mm.clone()), positions_mm })
    }

    fn ends(&self) -> (f64, f64) {
        let first = self.positions_mm.first().copied().unwrap_or(0.0);
        (first, self.positions_mm.last().copied().unwrap_or(first))
    }

    /// Distance to the nearest slice; infinite without one.
    fn nearest_mm(&self, at: f64) -> f64 {
        let above = self.positions_mm.partition_point(|position| *position < at);
        let near = self.positions_mm[above.saturating_sub(1)..].iter().take(2);
        near.map(|position| (position - at).abs()).fold(f64::INFINITY, f64::min)
    }

    /// Whether most slices of `other` that lie in the extent of this part lie between its slices.
    fn holds_between(&self, other: &Along) -> bool {
        let (first, last) = self.ends();
        let inside = other.positions_mm.iter().filter(|at| (first..=last).contains(*at));
        let (mut count, mut between) = (0, 0);
        for &at in inside {
            count += 1;
            between += usize::from(self.nearest_mm(at) >= BETWEEN_STEPS * self.spacing.median_mm);
        }
        between > 0 && 2 * between >= count
    }
}

fn both(one: &[Frame], other: &[Frame]) -> Option<(Along, Along)> {
    let normal = one.first()?.placement.as_ref()?.normal;
    let found = (Along::of(one, normal)?, Along::of(other, normal)?);
    let fewest = found.0.spacing.positions.min(found.1.spacing.positions);
    (fewest >= VOLUME_SLICES_MIN).then_some(found)
}

/// Whether the slices of two parts alternate: packages of one acquisition, or one stack of which every second direction
/// is written differently.
pub(super) fn interleave(one: &[Frame], other: &[Frame]) -> bool {
    let Some((one, other)) = both(one, other) else { return false };
    let (a, b) = (one.spacing.median_mm, other.spacing.median_mm);
    a.max(b) <= SAME_STEP * a.min(b) && (one.holds_between(&other) || other.holds_between(&one))
}

/// Whether two phases of one stack lie one behind the other, for more than half of the shorter: a phase was cut into an
/// upper and a lower piece, or beds of a PET were not put together.
pub(super) fn follow(one: &[Frame], other: &[Frame]) -> bool {
    let Some((one, other)) = both(one, other) else { return false };
    let (a, b) = (one.ends(), other.ends());
    let shared_mm = a.1.min(b.1) - a.0.max(b.0);
    shared_mm < 0.5 * (a.1 - a.0).min(b.1 - b.0)
}

/// Whether a slice of a part lies where the next slice before the first or behind the last of a stack would.
pub(super) fn continues(stack: &[Frame], part: &[Frame]) -> bool {
    let along = stack.first().and_then(|frame| frame.placement.as_ref()).map(|first| first.normal);
    let Some((normal, stack)) = along.and_then(|normal| Some((normal, Along::of(stack, normal)?))) else {
        return false;
    };
    let (first, last) = stack.ends();
    let is_next = |place: &Placement| {
        let at = dot(normal, place.origin);
        let beyond_mm = (first - at).max(at - last);
        dot(normal, place.normal) >= NEARLY_PARALLEL && NEXT_STEPS.contains(&(beyond_mm / stack.spacing.median_mm))
    };
    part.iter().filter_map(|frame| frame.placement.as_ref()).any(is_next)
}

#[cfg(test)]
mod tests {
    use super::super::format::FoundRescale;
    use super::super::placement::place;
    use super::*;

    fn stack(positions: &[f64]) -> Vec<Frame> {
        let axial = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]];
        let frame = |&z: &f64| Frame {
            instance: 0,
            index: 0,
            in_multi_frame: false,
            placement: Some(place(axial, [0.0, 0.0, z], None)),
            spacing_mm: None,
            rescale: FoundRescale::Absent,
        };
        positions.iter().map(frame).collect()
    }

    #[test]
    fn packages_interleave_and_phases_do_not() {
        let check = |one: &[f64], other: &[f64], expected| {
            assert_eq!(interleave(&stack(one), &stack(other)), expected, "{one:?} {other:?}");
            assert_eq!(interleave(&stack(other), &stack(one)), expected, "{other:?} {one:?}");
        };
        let odd = [0.0, 6.0, 12.0, 18.0, 24.0];
        check(&odd, &[3.0, 9.0, 15.0, 21.0, 27.0], true);
        check(&odd, &[2.0, 8.0, 14.0, 20.0, 26.0], true);
        check(&odd, &[3.0, 9.0, 12.0, 15.0, 21.0, 27.0], true);
        check(&odd, &odd, false);
        check(&odd, &[0.4, 6.4, 12.4, 18.4, 24.4], false);
        check(&odd, &[0.5, 1.5, 2.5, 3.5, 4.5, 5.5], false);
        check(&odd, &[51.0, 57.0, 63.0], false);
    }

    #[test]
    fn pieces_follow_each_other_and_phases_lie_beside_each_other() {
        let check = |one: &[f64], other: &[f64], expected| {
            assert_eq!(follow(&stack(one), &stack(other)), expected, "{one:?} {other:?}");
        };
        let piece = [0.0, 3.0, 6.0, 9.0];
        check(&piece, &[12.0, 15.0, 18.0], true);
        check(&piece, &[9.0, 12.0, 15.0, 18.0], true);
        check(&piece, &[30.0, 33.0, 36.0], true);
        check(&piece, &[0.0, 3.0, 6.0], false);
        check(&piece, &[3.0, 6.0, 9.0, 12.0], false);
    }

    #[test]
    fn the_next_slice_of_a_stack_lies_about_a_step_beyond_its_end() {
        let next = |z: f64| continues(&stack(&[0.0, 6.0, 12.0]), &stack(&[z]));
        assert_eq!([15.0, 18.0, -6.0, -3.0].map(next), [true; 4]);
        assert_eq!([6.0, 13.0, 24.0, -9.7].map(next), [false, false, false, false]);
    }
}
