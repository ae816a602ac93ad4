//! Smooth fields as cubic B-spline lattices: fitted to scattered values, refined, evaluated on a grid; no other order.
//!
//! Lee, Wolberg, Shin, IEEE Trans. Visualization and Computer Graphics 3, 1997, as ITK's
//! `BSplineScatteredDataPointSetToImageFilter` does it with one level.

use ndarray::{Array3, ArrayView3, Axis, parallel::prelude::*};

use crate::infer::grid::spline;

/// The control points; the first and last voxel of an axis lie at the ends of its spans.
#[derive(Clone, Debug)]
pub struct Lattice(pub Array3<f64>);

/// For each voxel of an axis the first control point and the weights of four.
struct Places(Vec<(usize, [f64; 4])>);

impl Places {
    fn of(length: usize, points: usize) -> Places {
        let spans = points as f64 - 3.0;
        let step = if length > 1 { spans / (length as f64 - 1.0) } else { 0.0 };
        let place = |index: usize| {
            // ITK pulls the last voxel in by a thousandth of a voxel, so that it lies within the last span.
            let position = (index as f64 * step).min(spans - 1e-3 * step.max(1e-6));
            let span = position.floor();
            (span as usize, spline::weights(position - span))
        };
        Places((0..length).map(place).collect())
    }
}

impl Lattice {
    /// Fits one to the values of the chosen voxels. `points` is the number of control points along each axis, at least 4.
    pub fn fitted(values: ArrayView3<'_, f32>, chosen: ArrayView3<'_, bool>, points: [usize; 3]) -> Lattice {
        let shape = [values.shape()[0], values.shape()[1], values.shape()[2]];
        let places = [0, 1, 2].map(|axis| Places::of(shape[axis], points[axis]));
        // Slices that begin in one span share four layers of control points; sums are joined in order.
        let sums: Vec<(Array3<f64>, Array3<f64>)> = (0..shape[0])
            .into_par_iter()
            .map(|k| {
                let mut sums = (Array3::zeros((4, points[1], points[2])), Array3::zeros((4, points[1], points[2])));
                let in_slice = (&places[0].0[k].1, &places[1], &places[2]);
                add_slice(values.index_axis(Axis(0), k), chosen.index_axis(Axis(0), k), in_slice, &mut sums);
                sums
            })
            .collect();
        let (mut above, mut below) = (Array3::<f64>::zeros(points), Array3::<f64>::zeros(points));
        for (k, (delta, omega)) in sums.iter().enumerate() {
            for layer in 0..4 {
                let point = places[0].0[k].0 + layer;
                above.index_axis_mut(Axis(0), point).zip_mut_with(&delta.index_axis(Axis(0), layer), |a, b| *a += b);
                below.index_axis_mut(Axis(0), point).zip_mut_with(&omega.index_axis(Axis(0), layer), |a, b| *a += b);
            }
        }
        above.zip_mut_with(&below, |a, b| *a = if *b == 0.0 { 0.0 } else { *a / *b });
        Lattice(above)
    }

    /// The same field with twice as many spans along every axis.
    #[must_use]
    pub fn refined(&self) -> Lattice {
        let mut lattice = self.0.clone();
        for axis in 0..3 {
            let mut shape = lattice.raw_dim();
            shape[axis] = 2 * (lattice.shape()[axis] - 3) + 3;
            let old = lattice;
            lattice = Array3::from_shape_fn(shape, |(k, j, i)| {
                let index = [k, j, i];
                let at = |point: usize| {
                    let mut place = index;
                    place[axis] = point;
                    old[place]
                };
                // New points lie on the old knots (odd ones) and midway between them.
                let half = index[axis] / 2;
                if index[axis] % 2 == 1 {
                    (at(half) + 6.0 * at(half + 1) + at(half + 2)) / 8.0
                } else {
                    (at(half) + at(half + 1)) / 2.0
                }
            });
        }
        Lattice(lattice)
    }

    /// The field at the voxels of a grid whose first and last voxels lie at the ends of the spans.
    pub fn field(&self, shape: [usize; 3]) -> Array3<f32> {
        let points = [self.0.shape()[0], self.0.shape()[1], self.0.shape()[2]];
        let places = [0, 1, 2].map(|axis| Places::of(shape[axis], points[axis]));
        let mut field = Array3::zeros(shape);
        field.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(k, mut plane)| {
            let (first, weights) = &places[0].0[k];
            let mut layer = ndarray::Array2::<f64>::zeros((points[1], points[2]));
            for (offset, weight) in weights.iter().enumerate() {
                layer.scaled_add(*weight, &self.0.index_axis(Axis(0), first + offset));
            }
            for (mut row, (first, weights)) in plane.outer_iter_mut().zip(&places[1].0) {
                let mut line = ndarray::Array1::<f64>::zeros(points[2]);
                for (offset, weight) in weights.iter().enumerate() {
                    line.scaled_add(*weight, &layer.row(first + offset));
                }
                for (value, (first, weights)) in row.iter_mut().zip(&places[2].0) {
                    *value = (0..4).map(|offset| weights[offset] * line[first + offset]).sum::<f64>() as f32;
                }
            }
        });
        field
    }
}

/// Adds the voxels of a slice to the sums of its four layers of control points.
fn add_slice(
    values: ndarray::ArrayView2<'_, f32>,
    chosen: ndarray::ArrayView2<'_, bool>,
    (weights, rows, columns): (&[f64; 4], &Places, &Places),
    (delta, omega): &mut (Array3<f64>, Array3<f64>),
) {
    let squares = |weights: &[f64; 4]| weights.iter().map(|weight| weight * weight).sum::<f64>();
    for ((row, column), value) in values.indexed_iter().filter(|(index, _)| chosen[*index]) {
        let ((j, along_j), (i, along_i)) = (&rows.0[row], &columns.0[column]);
        let sum = squares(weights) * squares(along_j) * squares(along_i);
        let value = f64::from(*value) / sum;
        for (layer, a) in weights.iter().enumerate() {
            for (down, b) in along_j.iter().enumerate() {
                for (right, c) in along_i.iter().enumerate() {
                    let weight = a * b * c;
                    let place = [layer, j + down, i + right];
                    delta[place] += value * weight * weight * weight;
                    omega[place] += weight * weight;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_is_met_where_it_stands() {
        let values = Array3::from_elem((5, 6, 7), 3.0_f32);
        let chosen = Array3::from_shape_fn((5, 6, 7), |index| index == (3, 1, 6));
        let field = Lattice::fitted(values.view(), chosen.view(), [4, 5, 4]).field([5, 6, 7]);
        assert!((field[[3, 1, 6]] - 3.0).abs() < 1e-5);
    }

    #[test]
    fn refining_changes_nothing() {
        let uneven = Lattice(Array3::from_shape_fn((4, 5, 4), |(k, j, i)| ((k * 7 + j * 3 + i * 5) % 11) as f64));
        let (before, after) = (uneven.field([9, 8, 7]), uneven.refined().field([9, 8, 7]));
        assert_eq!(uneven.refined().0.dim(), (5, 7, 5));
        let worst = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-2, "{worst}");
    }
}
