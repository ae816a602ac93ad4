//! The row of the image at which the table begins; it never cuts a patient to be rid of a table.
//!
//! CERR's `getCouchLocationHough`: the maximum over slices, its histogram made even, horizontal Sobel edges, Hough lines,
//! and of the horizontal segments in the lower half that are longer than an eighth of the width the one that overlaps
//! the middle half of the columns most. Only horizontal lines are of use, and those of a Hough transform are the rows of
//! the image, so that edge pixels are counted by row. The histogram spans the values of the image (pyCERR; MATLAB's
//! `histeq` takes 0 to 1, where HU become black and white).
//!
//! Both take the row for the table whatever lies below. Here a row must leave the patient whole. A slab that is wider
//! than the body above it, down to the end, is a table that the body lies on: the uppermost row with one is taken.
//! Otherwise it is the first row, in CERR's order, below which next to nothing of the opened body lies; the table is then
//! no part of it. Without such a row there is no table.

use ndarray::{Array2, ArrayView2, ArrayView3, Axis, parallel::prelude::*};

use super::projected;

/// CERR asks for 20 Hough peaks.
const PEAKS: usize = 20;
/// MATLAB's `houghlines` joins segments across gaps below this many pixels.
const GAP_PIXELS: usize = 20;
/// Bins of the histogram (MATLAB's and pyCERR's number).
const BINS: usize = 64;
/// So many slices tell whether a row cuts the body.
const SAMPLES: usize = 48;
/// Share of the opened body that may lie below the table's row: what sinks into a mattress, less than 3 mm of a trunk.
const CUT_MAX: f64 = 0.005;
/// A table is this much wider than the body where it lies on it.
const SLAB_WIDER: f64 = 1.2;

/// First row of the table; the number of rows when there is none. `body_of` gives the opened body of a slice.
pub(super) fn first_row(
    image: ArrayView3<'_, f32>,
    body_of: impl Fn(ArrayView2<'_, f32>) -> Option<Array2<bool>> + Sync,
) -> usize {
    let (slices, rows, _) = image.dim();
    let candidates = candidates(&edges(&evened(&projected(image))));
    if candidates.is_empty() {
        return rows;
    }
    let step = slices.div_ceil(SAMPLES).max(1);
    let sampled: Vec<usize> = (0..slices).step_by(step).collect();
    // Summed over slices: how wide the body is in each row.
    let widths = sampled
        .into_par_iter()
        .filter_map(|slice| body_of(image.index_axis(Axis(0), slice)))
        .map(|body| body.outer_iter().map(|row| row.iter().filter(|inside| **inside).count() as f64).collect())
        .reduce(|| vec![0.0; rows], |a: Vec<f64>, b| a.iter().zip(b).map(|(a, b)| a + b).collect());
    let slab = candidates.iter().copied().filter(|row| slab_begins(&widths, *row)).min();
    slab.or_else(|| candidates.into_iter().find(|row| leaves_body_whole(&widths, *row))).unwrap_or(rows)
}

/// Whether next to nothing of the body lies below a row, from the width of the body in each row.
fn leaves_body_whole(widths: &[f64], row: usize) -> bool {
    widths[row..].iter().sum::<f64>() <= CUT_MAX * widths.iter().sum::<f64>()
}

/// Whether the body becomes a good deal wider at a row and stays so down to its end, as no back does.
fn slab_begins(widths: &[f64], row: usize) -> bool {
    let above = widths[row.saturating_sub(4)..row].iter().copied().fold(0.0, f64::max);
    let last = widths.iter().rposition(|width| *width > 0.0).unwrap_or(0);
    // Edges are two rows wide and opening rounds the last two rows of a slab.
    let slab = widths.get(row + 2..last.saturating_sub(1)).unwrap_or_default();
    above > 0.0 && !slab.is_empty() && slab.iter().all(|width| *width >= SLAB_WIDER * above)
}

/// The image with an even histogram, 0 to 1: each value becomes the share of pixels that are not larger.
fn evened(image: &Array2<f32>) -> Array2<f32> {
    let finite = || image.iter().copied().filter(|value| value.is_finite());
    let (low, high) = (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max));
    if low >= high {
        return Array2::zeros(image.raw_dim());
    }
    let width = (high - low) / BINS as f32;
    let mut counts = [0.0_f32; BINS];
    finite().for_each(|value| counts[(((value - low) / width) as usize).min(BINS - 1)] += 1.0);
    let total: f32 = counts.iter().sum();
    let mut sum = 0.0;
    let share = counts.map(|count| {
        sum += count;
        sum / total
    });
    image.mapv(|value| {
        // Between the centres of bins the straight line.
        let at = ((value - low) / width - 0.5).clamp(0.0, (BINS - 1) as f32);
        let bin = at as usize;
        share[bin] + (at - bin as f32) * (share[(bin + 1).min(BINS - 1)] - share[bin])
    })
}

/// Horizontal Sobel edges that are steepest in their column, above MATLAB's threshold (four times the mean square).
fn edges(image: &Array2<f32>) -> Array2<bool> {
    let (rows, columns) = image.dim();
    let at = |row: usize, column: usize| image[[row.min(rows - 1), column.min(columns - 1)]];
    let smooth =
        |row: usize, column: usize| at(row, column.saturating_sub(1)) + 2.0 * at(row, column) + at(row, column + 1);
    let steep = Array2::from_shape_fn((rows, columns), |(row, column)| {
        ((smooth(row.saturating_sub(1), column) - smooth(row + 1, column)) / 8.0).powi(2)
    });
    let threshold = 4.0 * steep.iter().map(|value| f64::from(*value)).sum::<f64>() / steep.len().max(1) as f64;
    Array2::from_shape_fn((rows, columns), |(row, column)| {
        let here = steep[[row, column]];
        let above = if row > 0 { steep[[row - 1, column]] } else { 0.0 };
        let below = if row + 1 < rows { steep[[row + 1, column]] } else { 0.0 };
        f64::from(here) > threshold && here >= above && here > below
    })
}

/// Rows of horizontal segments that may be the table, most overlap with the middle first.
fn candidates(edges: &Array2<bool>) -> Vec<usize> {
    let (rows, columns) = edges.dim();
    // MATLAB thickens edges by a pixel: a line that lies between two rows counts for both.
    let thick =
        |row: usize, column: usize| (row.saturating_sub(1)..(row + 2).min(rows)).any(|near| edges[[near, column]]);
    let votes: Vec<usize> = (0..rows).map(|row| (0..columns).filter(|column| thick(row, *column)).count()).collect();
    let exact: Vec<usize> = edges.outer_iter().map(|row| row.iter().filter(|edge| **edge).count()).collect();
    let middle = columns / 4..columns / 4 + columns / 2 + 1;
    let mut found: Vec<(usize, usize)> = Vec::new();
    for row in peaks(&votes, &exact) {
        let overlap = segments(columns, |column| thick(row, column))
            .into_iter()
            .filter(|(start, end)| end - start > columns / 8)
            .map(|(start, end)| end.min(middle.end).saturating_sub(start.max(middle.start)))
            .max();
        // The table is below the middle; image rows run toward it.
        found.extend(overlap.filter(|overlap| *overlap > 0 && row + 1 > rows / 2).map(|overlap| (row, overlap)));
    }
    found.sort_by_key(|(_, overlap)| std::cmp::Reverse(*overlap));
    found.into_iter().map(|(row, _)| row).collect()
}

/// Rows with most votes; rows near one that was taken are passed over, as `houghpeaks` does (a fiftieth of the size).
fn peaks(votes: &[usize], exact: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..votes.len()).filter(|row| votes[*row] > 0).collect();
    order.sort_by_key(|row| (std::cmp::Reverse((votes[*row], exact[*row])), *row));
    let apart = votes.len() / 100 + 1;
    let mut taken: Vec<usize> = Vec::new();
    for row in order {
        if taken.len() < PEAKS && taken.iter().all(|other| other.abs_diff(row) > apart) {
            taken.push(row);
        }
    }
    taken
}

/// Runs of set pixels as `start..end`, joined across short gaps.
fn segments(length: usize, set: impl Fn(usize) -> bool) -> Vec<(usize, usize)> {
    let mut segments: Vec<(usize, usize)> = Vec::new();
    for index in (0..length).filter(|index| set(*index)) {
        match segments.last_mut() {
            Some((_, end)) if index - *end < GAP_PIXELS => *end = index + 1,
            _ => segments.push((index, index + 1)),
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_cuts_the_body_is_no_table_and_a_slab_below_it_is() {
        // A body that tapers, alone: no row may take more than a two-hundredth of it.
        let mut widths = vec![0.0; 100];
        (20..=80).for_each(|row| widths[row] = f64::from(30 - (row as i32 - 50).abs()) + 5.0);
        assert!(!leaves_body_whole(&widths, 70) && leaves_body_whole(&widths, 80));
        assert!((51..100).all(|row| !slab_begins(&widths, row)));
        // With a slab of 60 under it rows 79 to 82 begin a table; above them the body follows, below them more slab.
        (81..=95).for_each(|row| widths[row] = 60.0);
        assert_eq!((51..100).filter(|row| slab_begins(&widths, *row)).collect::<Vec<usize>>(), [79, 80, 81]);
    }

    #[test]
    fn segments_join_across_short_gaps_only() {
        let set = |index: usize| (3..8).contains(&index) || (27..30).contains(&index) || (50..52).contains(&index);
        assert_eq!(segments(60, set), [(3, 30), (50, 52)]);
    }
}
