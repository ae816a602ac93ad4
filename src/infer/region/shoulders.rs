//! The region of the patient above the shoulders; it finds them by width alone.

use ndarray::{Array3, Axis};

use super::extent::slice_bounds;
use super::head_first::HeadFirst;
use super::sources::{MINIMUM_PIXELS, NORMALISE, OUTLINE, SAVE_AS, THRESHOLD, outline};
use super::{Entry, always_consistent};

/// CERR compares with the widest of so many slices from the head.
const HEAD_SLICES: usize = 50;
/// Slices over which CERR takes the mean width: five before, the slice, four after.
const MEAN: (usize, usize) = (5, 4);

pub(super) const ENTRY: Entry = Entry {
    name: "shoulders",
    doc: "The outline of the patient without its first slice from the head and without what lies below three slices above the shoulders: the slice where the width, a mean of 10 slices, jumps most, if it is more than a fifth wider than the first 50 slices; else the last slice.",
    source: "CERR's crop_shoulders, cropShoulder and getShoulderStartSlice",
    parameters: &[OUTLINE, THRESHOLD, MINIMUM_PIXELS, NORMALISE, SAVE_AS],
    per_slice: false,
    reuses: false,
    check: always_consistent,
    mask: |arguments, prepared, given| {
        let mut mask = outline(arguments, prepared, given);
        clear_below_shoulders(&mut mask, HeadFirst::of(&prepared.frame));
        Ok(mask)
    },
};

fn clear_below_shoulders(mask: &mut Array3<bool>, head: HeadFirst) {
    let boxes = slice_bounds(mask);
    let slices = boxes.len();
    let width = |slice: usize| boxes[head.turned(slice)].map(|found| (found.columns.1 - found.columns.0) as f64);
    let Some(start) = (0..slices).find(|slice| width(*slice).is_some()) else { return };
    let widths: Vec<Option<f64>> = (start + 1..slices).map(width).collect();
    // In MATLAB's count the shoulder is one slice above the jump, and clearing begins three slices above that.
    let shoulder = jump(&widths).map_or(slices - 1, |at| start + at);
    for slice in (0..=start).chain(shoulder.saturating_sub(3)..slices) {
        mask.index_axis_mut(Axis(0), head.turned(slice)).fill(false);
    }
}

/// Index of the largest forward jump of the mean width, when the width there is that of shoulders. A mean over a slice
/// without patient is not known, as in MATLAB.
fn jump(widths: &[Option<f64>]) -> Option<usize> {
    let mean = |at: usize| {
        let near = &widths[at.saturating_sub(MEAN.0)..(at + MEAN.1 + 1).min(widths.len())];
        let sum: Option<f64> = near.iter().copied().sum();
        sum.map(|sum| sum / near.len() as f64)
    };
    let means: Vec<Option<f64>> = (0..widths.len()).map(mean).collect();
    let mut best: Option<(usize, f64)> = None;
    for at in 0..means.len() {
        let step = if at == 0 { Some(0.0) } else { means[at].zip(means[at - 1]).map(|(here, before)| here - before) };
        if let Some(step) = step.filter(|step| best.is_none_or(|(_, most)| *step > most)) {
            best = Some((at, step));
        }
    }
    let widest = means.iter().take(HEAD_SLICES).flatten().copied().fold(f64::NEG_INFINITY, f64::max);
    let (at, width) = best.and_then(|(at, _)| Some((at, means[at]?)))?;
    ((width - widest) / widest > 0.2).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jump_is_where_the_mean_width_grows_most_beyond_the_head() {
        // 60 slices of width 20, then a ramp to 40: means over [at-5, at+4] grow most where the ramp fills them.
        let widths = |slices: usize| -> Vec<Option<f64>> {
            (0..slices).map(|at| Some(if at < 60 { 20.0 } else { 60.0 })).collect()
        };
        // The step of the mean is 4 from at = 56 (first mean with one wide slice, at + 4 = 60) to 65: the first is taken,
        // whose mean of 24 is exactly a fifth above 20 and so not accepted.
        assert_eq!(jump(&widths(80)), None);
        let steeper: Vec<Option<f64>> =
            widths(80).into_iter().map(|w| w.map(|w| if w > 20.0 { 70.0 } else { w })).collect();
        assert_eq!(jump(&steeper), Some(56));
        assert_eq!(jump(&widths(50)), None);
        // An unknown slice makes the means around it unknown, the rest stays.
        let mut holed = steeper;
        holed[20] = None;
        assert_eq!(jump(&holed), Some(56));
    }
}
