//! Dilation by any convex element, row by row; what the element looks like is the caller's.
//!
//! A convex element cuts each row in one stretch, so a run of the mask adds one run to each row within reach. Rows are
//! summed as differences and only inside the box that the element can reach: no voxel is visited once per neighbour.

use ndarray::{Array3, Axis, parallel::prelude::*};

use super::components::{Components, Neighbours, Run};
use super::distance::Extent;
use crate::infer::part::part;

/// How far an element reaches from one row of the mask to another one: first and last column offset.
pub type Span = Option<(i64, i64)>;

/// The voxels of `within` that the element reaches from the voxels of the mask that equal `value`.
///
/// `span(from_slice, to_slice, rows)` is what the element covers in the row that lies `rows` below, in another slice;
/// `reach` gives the slices that are worth asking, and the most rows up or down.
pub fn reached(
    mask: &Array3<bool>,
    value: bool,
    within: &Extent,
    reach: &(dyn Fn(usize) -> (std::ops::Range<usize>, i64) + Sync),
    span: &(dyn Fn(usize, usize, i64) -> Span + Sync),
) -> Array3<bool> {
    let mut out = Array3::from_elem(mask.raw_dim(), false);
    let parts = Components::of(mask, value, Neighbours::Faces, true);
    let rows = mask.dim().1;
    let first = first_runs(&parts.runs, mask.dim().0, rows);
    let mut target = part(out.view_mut(), within);
    let (top, left, width) = (within[1].start, within[2].start, within[2].len());
    target.axis_iter_mut(Axis(0)).into_par_iter().zip(within[0].clone()).for_each(|(mut plane, slice)| {
        let (sources, most) = reach(slice);
        // Spans depend on the two slices and the rows between, not on the row itself: asked once for a slice.
        let spans: Vec<(usize, i64, (i64, i64))> = sources
            .flat_map(|from| (-most..=most).map(move |rows| (from, rows)))
            .filter_map(|(from, rows)| span(from, slice, rows).map(|span| (from, rows, span)))
            .collect();
        let mut difference = vec![0_i32; width + 1];
        for (offset, mut row) in plane.outer_iter_mut().enumerate() {
            difference.fill(0);
            for (from, down, (low, high)) in &spans {
                let source = (top + offset) as i64 - down;
                if !(0..rows as i64).contains(&source) {
                    continue;
                }
                let at = from * rows + source as usize;
                for run in &parts.runs[first[at]..first[at + 1]] {
                    let begin = (i64::from(run.start) + low - left as i64).clamp(0, width as i64);
                    let end = (i64::from(run.end) + high - left as i64).clamp(0, width as i64);
                    difference[begin as usize] += 1;
                    difference[end as usize] -= 1;
                }
            }
            let mut depth = 0;
            for (voxel, change) in row.iter_mut().zip(&difference) {
                depth += change;
                *voxel = depth > 0;
            }
        }
    });
    out
}

/// Where the runs of each row begin; runs come in the order of slices and rows.
fn first_runs(runs: &[Run], slices: usize, rows: usize) -> Vec<usize> {
    let mut first = vec![0; slices * rows + 1];
    runs.iter().for_each(|run| first[run.slice as usize * rows + run.row as usize + 1] += 1);
    (0..slices * rows).for_each(|line| first[line + 1] += first[line]);
    first
}
