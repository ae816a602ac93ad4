//! The box in which CERR's model of the chewing muscles looks: the front of the head; it finds no muscle.

use ndarray::Array3;

use super::extent::{Sides, filled, slice_bounds};
use super::head_first::HeadFirst;
use super::sources::{MINIMUM_PIXELS, NORMALISE, OUTLINE, SAVE_AS, THRESHOLD, outline};
use super::{Entry, always_consistent};
use crate::infer::frame::{Frame, SliceBox};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Entry = Entry {
    name: "chewing_structures",
    doc: "Slices from the first one of the outline to the feet. Rows from the 5th percentile of the outline's first rows to a quarter above the median of its last rows, columns of the slice whose first row is nearest to that percentile; all measured in the head, down to one slice below `head_size_cm`.",
    source: "CERR's crop_for_chewing_structs",
    parameters: &[
        Parameter {
            name: "head_size_cm",
            doc: "How far down from the first slice of the outline the head is measured.",
            unit: "cm",
            kind: Kind::Number { low: 0.0, high: 300.0 },
            default: Some("23"),
        },
        OUTLINE,
        THRESHOLD,
        MINIMUM_PIXELS,
        NORMALISE,
        SAVE_AS,
    ],
    per_slice: false,
    reuses: true,
    check: always_consistent,
    mask: |arguments, prepared, given| {
        let (shape, head) = (prepared.frame.shape(), HeadFirst::of(&prepared.frame));
        let boxes = slice_bounds(&outline(arguments, prepared, given));
        let boxes: Vec<Option<SliceBox>> = (0..shape[0]).map(|slice| boxes[head.turned(slice)]).collect();
        let positions = positions_mm(&prepared.frame, head);
        let found = head_box(&boxes, &positions, arguments.number("head_size_cm") * 10.0);
        Ok(found.map_or_else(
            || Array3::from_elem(shape, false),
            |[slices, rows, columns]| filled(shape, [head.turned_ends(slices), rows, columns]),
        ))
    },
};

/// Position of each slice from the head; `None` for one that was added.
fn positions_mm(frame: &Frame, head: HeadFirst) -> Vec<Option<f64>> {
    let windows = frame.windows_or_whole();
    let position = |slice: usize| Some(frame.geometry.positions_mm()[windows.slices[slice]?.slice]);
    (0..frame.shape()[0]).map(|slice| position(head.turned(slice))).collect()
}

/// The box, slices counted from the head, from the outline's box in each slice.
fn head_box(boxes: &[Option<SliceBox>], positions_mm: &[Option<f64>], head_mm: f64) -> Option<Sides> {
    let last = boxes.len() - 1;
    let first = boxes.iter().position(Option::is_some)?;
    let start = positions_mm[first]?;
    let off = |slice: usize| positions_mm[slice].map(|at| ((at - start).abs() - head_mm).abs());
    let known = (first..=last).filter_map(|slice| Some((slice, off(slice)?)));
    let (nearest, _) = known.reduce(|best, next| if next.1 < best.1 { next } else { best })?;
    // MATLAB adds an index that counts from 1 to the first slice: one slice below the nearest is still measured.
    let head: Vec<SliceBox> = boxes[..=(nearest + 1).min(last)].iter().flatten().copied().collect();
    let tops = sorted(head.iter().map(|found| found.rows.0));
    let bottoms = sorted(head.iter().map(|found| found.rows.1));
    let top = rounded(percentile(&tops, 5.0));
    let bottom = rounded(percentile(&bottoms, 50.0));
    let height = (bottom + 1).saturating_sub(top);
    let bottom = rounded(bottom as f64 - 0.25 * height as f64);
    let widest = head.iter().reduce(
        |best, next| {
            if next.rows.0.abs_diff(top) < best.rows.0.abs_diff(top) { next } else { best }
        },
    )?;
    (top <= bottom).then_some([(first, last), (top, bottom), widest.columns])
}

fn sorted(values: impl Iterator<Item = usize>) -> Vec<f64> {
    let mut values: Vec<f64> = values.map(|value| value as f64).collect();
    values.sort_by(f64::total_cmp);
    values
}

/// MATLAB's `prctile` of ascending values; 50 is the median.
fn percentile(values: &[f64], percent: f64) -> f64 {
    let rank = (percent / 100.0 * values.len() as f64 - 0.5).clamp(0.0, values.len() as f64 - 1.0);
    let (low, high) = (values[rank.floor() as usize], values[rank.ceil() as usize]);
    low + (rank - rank.floor()) * (high - low)
}

/// MATLAB's `round` of a row that counts from 1, for one that counts from 0: halves go up.
fn rounded(value: f64) -> usize {
    (value + 0.5).floor().max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(rows: (usize, usize), columns: (usize, usize)) -> Option<SliceBox> {
        Some(SliceBox { rows, columns })
    }

    #[test]
    fn the_box_is_that_of_matlab_by_hand() {
        // 10 slices 10 mm apart, from the head: none, then first rows 50, 40, 30, 20, 21, 22, and shoulders at 5.
        let boxes = vec![
            None,
            slice((50, 90), (50, 60)),
            slice((40, 100), (40, 70)),
            slice((30, 110), (30, 80)),
            slice((20, 119), (20, 90)),
            slice((21, 121), (22, 88)),
            slice((22, 122), (24, 86)),
            slice((5, 140), (0, 120)),
            slice((5, 140), (0, 120)),
            slice((5, 140), (0, 120)),
        ];
        let positions: Vec<Option<f64>> = (0..10).map(|k| Some(500.0 - 10.0 * f64::from(k))).collect();
        // 41 mm below slice 1 is nearest slice 5, so that slices 1 to 6 are measured. Sorted first rows 20 21 22 30 40 50:
        // 5 % of 6 is rank 0.3 - 0.5, the lowest: 20. Last rows 90 100 110 119 121 122: median 114.5, up to 115 (from 1:
        // 115.5, up to 116). Height 96, a quarter is 24: 91. Columns of the slice whose first row is 20.
        assert_eq!(head_box(&boxes, &positions, 41.0), Some([(1, 9), (20, 91), (20, 90)]));
        assert_eq!(head_box(&vec![None; 10], &positions, 41.0), None);
        // Less than the head in the image: all slices are measured. 5, 5, 5, 20, 21, 22, 30, 40, 50: the lowest again.
        let [_, rows, columns] = head_box(&boxes, &positions, 230.0).expect("a box");
        assert_eq!((rows.0, columns), (5, (0, 120)));
    }
}
