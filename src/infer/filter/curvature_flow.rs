//! Smoothing that moves level lines by their curvature, so that edges stay; it knows no spacing but what it is given.
//!
//! Sethian, Level Set Methods, 1996; discretised as ITK's `CurvatureFlowFunction`: central differences, the outermost voxels
//! repeated beyond the ends, all voxels updated at once.

use ndarray::{Array3, ArrayView3, Axis, parallel::prelude::*};

/// `iterations` steps of `time_step`. `scale` is one over the spacing of each axis; an axis of scale 0 is not looked along,
/// so that each of its planes is smoothed by itself.
pub fn curvature_flow(pixels: ArrayView3<'_, f32>, scale: [f64; 3], time_step: f64, iterations: usize) -> Array3<f32> {
    let mut current = pixels.to_owned();
    let mut next = current.clone();
    let axes: Vec<usize> = (0..3).filter(|axis| scale[*axis] > 0.0).collect();
    for _ in 0..iterations {
        next.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(k, mut plane)| {
            for ((j, i), value) in plane.indexed_iter_mut() {
                let update = update(&current, [k, j, i], &axes, scale) * time_step;
                *value = current[[k, j, i]] + update as f32;
            }
        });
        std::mem::swap(&mut current, &mut next);
    }
    current
}

/// The curvature of the level line through a voxel times the magnitude of the gradient.
fn update(values: &Array3<f32>, centre: [usize; 3], axes: &[usize], scale: [f64; 3]) -> f64 {
    let shape = values.dim();
    let shape = [shape.0, shape.1, shape.2];
    let moved = |mut index: [usize; 3], axis: usize, up: bool| {
        let at = index[axis];
        index[axis] = if up { (at + 1).min(shape[axis] - 1) } else { at.saturating_sub(1) };
        index
    };
    let value = |index: [usize; 3]| f64::from(values[index]);
    let here = value(centre);
    let (mut first, mut second) = ([0.0; 3], [0.0; 3]);
    for &axis in axes {
        let (up, down) = (value(moved(centre, axis, true)), value(moved(centre, axis, false)));
        first[axis] = 0.5 * (up - down) * scale[axis];
        second[axis] = (up - 2.0 * here + down) * scale[axis] * scale[axis];
    }
    let magnitude: f64 = first.iter().map(|slope| slope * slope).sum();
    // ITK leaves voxels alone where the gradient is nothing.
    if magnitude < 1e-9 {
        return 0.0;
    }
    let all: f64 = second.iter().sum();
    let mut sum: f64 = axes.iter().map(|&axis| (all - second[axis]) * first[axis] * first[axis]).sum();
    for (place, &a) in axes.iter().enumerate() {
        for &b in &axes[place + 1..] {
            let corner = |up_a: bool, up_b: bool| value(moved(moved(centre, a, up_a), b, up_b));
            let mixed = corner(false, false) - corner(false, true) - corner(true, false) + corner(true, true);
            sum -= 2.0 * first[a] * first[b] * 0.25 * mixed * scale[a] * scale[b];
        }
    }
    sum / magnitude
}
