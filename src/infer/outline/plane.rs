//! Opening, closing and smoothing of one slice with the small elements of the outline; it takes no other elements.
//!
//! MATLAB's `strel('disk', 5)` is an octagon of 9 x 9 pixels without 3 at each corner, `strel('disk', 3)` a square of 5.

use ndarray::{Array2, Axis, Zip};

/// Half widths of the rows of the octagon, from its middle row outward.
const OCTAGON: [usize; 5] = [4, 4, 4, 3, 2];
/// Half widths of the rows of the square, from its middle row outward.
const SQUARE: [usize; 3] = [2, 2, 2];

/// Opening with the octagon. Outside the image counts as inside while eroding and as outside while dilating.
pub(super) fn opened(mask: &Array2<bool>) -> Array2<bool> {
    dilated(&eroded(mask, &OCTAGON), &OCTAGON)
}

/// Closing with the square, on a mask that goes on outside the image as nothing.
pub(super) fn closed(mask: &Array2<bool>) -> Array2<bool> {
    let margin = SQUARE.len();
    let (rows, columns) = mask.dim();
    let inner = [margin..margin + rows, margin..margin + columns];
    let mut padded = Array2::from_elem((rows + 2 * margin, columns + 2 * margin), false);
    crate::infer::part::part(padded.view_mut(), &inner).assign(mask);
    let closed = eroded(&dilated(&padded, &SQUARE), &SQUARE);
    crate::infer::part::part(closed.view(), &inner).to_owned()
}

/// Pixels whose 5 x 5 neighbourhood is more than half set; the image repeats its edge outside.
pub(super) fn smoothed(mask: &Array2<bool>) -> Array2<bool> {
    let along = |counts: &Array2<u8>, axis: usize| {
        let length = counts.len_of(Axis(axis));
        let mut sum = Array2::<u8>::zeros(counts.raw_dim());
        for (index, mut lane) in sum.axis_iter_mut(Axis(axis)).enumerate() {
            for offset in 0..5 {
                let from = (index + offset).saturating_sub(2).min(length - 1);
                lane += &counts.index_axis(Axis(axis), from);
            }
        }
        sum
    };
    along(&along(&mask.mapv(u8::from), 1), 0).mapv(|count| count > 12)
}

fn eroded(mask: &Array2<bool>, half_widths: &[usize]) -> Array2<bool> {
    let outside = dilated(&mask.mapv(|inside| !inside), half_widths);
    outside.mapv(|reached| !reached)
}

/// Dilation with an element that is its own mirror image, given by the half width of its rows from the middle outward,
/// none wider than the one before.
fn dilated(mask: &Array2<bool>, half_widths: &[usize]) -> Array2<bool> {
    let mut out = Array2::from_elem(mask.raw_dim(), false);
    let (rows, widest) = (mask.nrows(), half_widths[0]);
    // wide[w] is the mask widened by w along rows.
    let mut wide = vec![mask.clone()];
    for w in 0..widest {
        let next = widened_by_one(&wide[w]);
        wide.push(next);
    }
    for (distance, width) in half_widths.iter().enumerate() {
        for row in 0..rows {
            let above = row.checked_sub(distance);
            let below = Some(row + distance).filter(|other| *other < rows && distance > 0);
            for other in above.into_iter().chain(below) {
                let (mut out, from) = (out.row_mut(row), wide[*width].row(other));
                Zip::from(&mut out).and(from).for_each(|out, from| *out |= *from);
            }
        }
    }
    out
}

fn widened_by_one(mask: &Array2<bool>) -> Array2<bool> {
    let mut out = mask.clone();
    for (mut out, row) in out.outer_iter_mut().zip(mask.outer_iter()) {
        if let (Some(out), Some(row)) = (out.as_slice_mut(), row.as_slice()) {
            out[1..].iter_mut().zip(row).for_each(|(out, left)| *out |= *left);
            out.iter_mut().zip(row.iter().skip(1)).for_each(|(out, right)| *out |= *right);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(mask: &Array2<bool>) -> Vec<String> {
        mask.outer_iter().map(|row| row.iter().map(|inside| if *inside { '#' } else { '.' }).collect()).collect()
    }

    #[test]
    fn the_element_is_the_octagon_of_matlab() {
        let mut dot = Array2::from_elem((11, 11), false);
        dot[[5, 5]] = true;
        let expected = [
            "...........",
            "...#####...",
            "..#######..",
            ".#########.",
            ".#########.",
            ".#########.",
            ".#########.",
            ".#########.",
            "..#######..",
            "...#####...",
            "...........",
        ];
        assert_eq!(drawn(&dilated(&dot, &OCTAGON)), expected);
        let square = dilated(&dot, &SQUARE);
        assert_eq!(square.iter().filter(|inside| **inside).count(), 25);
        assert!(opened(&dilated(&dot, &OCTAGON)).iter().filter(|inside| **inside).count() == 69);
    }

    #[test]
    fn opening_keeps_what_the_edge_cuts_and_drops_what_is_thin() {
        let mut mask = Array2::from_elem((20, 20), false);
        crate::infer::part::part(mask.view_mut(), &[0..20, 0..6]).fill(true);
        crate::infer::part::part(mask.view_mut(), &[10..14, 6..20]).fill(true);
        let found = opened(&mask);
        assert!(found[[0, 0]] && found[[19, 5]] && !found[[12, 10]]);
    }

    #[test]
    fn closing_does_not_grow_into_the_edge_and_smoothing_takes_the_majority() {
        let mut mask = Array2::from_elem((9, 9), false);
        crate::infer::part::part(mask.view_mut(), &[0..9, 0..3]).fill(true);
        crate::infer::part::part(mask.view_mut(), &[0..9, 5..7]).fill(true);
        let found = closed(&mask);
        assert_eq!(drawn(&found)[0], "#######..");
        // Columns 3 to 7 hold 4 set ones around column 5, 3 around 6 and 2 around 7; the edge repeats beyond column 8.
        assert_eq!(drawn(&smoothed(&found))[4], "#######..");
        let mut one = Array2::from_elem((5, 5), false);
        crate::infer::part::part(one.view_mut(), &[0..3, 0..4]).fill(true);
        // 12 of 25 around the middle pixel; at row 1 the repeated edge adds four of row 0: 16.
        let found = smoothed(&one);
        assert!(!found[[2, 2]] && found[[1, 2]]);
    }
}
