//! The median of a box around each voxel; no other rank.

use ndarray::{Array3, ArrayView3, Axis, parallel::prelude::*};

use super::convolution::Boundary;

/// The median of `size` voxels around each; of an even number the later of the two middle ones (SciPy's `median_filter`).
pub fn median(pixels: ArrayView3<'_, f32>, size: [usize; 3], boundary: Boundary) -> Array3<f32> {
    let shape = [pixels.shape()[0], pixels.shape()[1], pixels.shape()[2]];
    // For each axis and index the voxels of the box; where size is even the box reaches farther back, as in SciPy.
    let reach: [Vec<Vec<Option<usize>>>; 3] = [0, 1, 2].map(|axis| {
        let around = |index: usize| {
            let first = index as i64 - (size[axis] / 2) as i64;
            (first..first + size[axis] as i64).map(|index| boundary.place(index, shape[axis])).collect()
        };
        (0..shape[axis]).map(around).collect()
    });
    let mut out = Array3::zeros(shape);
    out.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(k, mut plane)| {
        let mut values = Vec::with_capacity(size.iter().product());
        for ((j, i), value) in plane.indexed_iter_mut() {
            values.clear();
            for k in &reach[0][k] {
                for j in &reach[1][j] {
                    values.extend(reach[2][i].iter().map(|i| match (k, j, i) {
                        (Some(k), Some(j), Some(i)) => pixels[[*k, *j, *i]],
                        _ => 0.0,
                    }));
                }
            }
            let middle = values.len() / 2;
            *value = *values.select_nth_unstable_by(middle, f32::total_cmp).1;
        }
    });
    out
}
