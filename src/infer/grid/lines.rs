//! A volume on another grid, one axis after the other, for kernels of any kind; it knows no geometry.

use ndarray::{Array3, ArrayView2, ArrayView3, ArrayViewMut2, Axis, Zip, parallel::prelude::*};

use super::kernel::{Along, Kernel};

/// How many lines are worked on at once: eight values of a cache line twice, so that strided axes are read whole.
const LANES: usize = 16;

/// How a volume is taken to new positions.
pub struct Plan<'a> {
    /// For each axis the fractional index of each new index.
    pub positions: &'a [Vec<f64>; 3],
    /// Axes that are taken over as they are.
    pub kept: [bool; 3],
    /// The kernel of each axis.
    pub kernels: [Kernel; 3],
    /// The value beyond the outermost centres; `None` takes the outermost.
    pub outside: Option<f32>,
    /// An axis each of whose planes is kept to its own lowest and highest value (nnU-Net with a separate axis); see
    /// [`Plan::clip`].
    pub planes: Option<usize>,
    /// Whether values are kept to the lowest and highest before: those of the volume, or of each plane of [`Plan::planes`].
    pub clip: bool,
}

/// Takes a volume to new positions: rows, then columns, then slices (the order of MATLAB's dimensions, which matters for
/// kernels that are not linear); an axis of [`Plan::planes`] comes last.
pub fn apply(pixels: ArrayView3<'_, f32>, plan: &Plan<'_>) -> Option<Array3<f32>> {
    let mut order = vec![1, 2, 0];
    if let Some(apart) = plan.planes {
        order.retain(|axis| *axis != apart);
        order.push(apart);
    }
    let bounds = plan.clip.then(|| bounds_of(pixels, plan.planes));
    let mut current: Option<Array3<f32>> = None;
    for axis in order {
        let last = Some(axis) == plan.planes;
        if last && let (Some(bounds), Some(values)) = (&bounds, &mut current) {
            clip(values, bounds, plan.planes);
        }
        if plan.kept[axis] {
            continue;
        }
        let source = current.as_ref().map_or(pixels, |values| values.view());
        let along = Along::new(plan.kernels[axis], &plan.positions[axis], source.shape()[axis], plan.outside.is_none());
        current = Some(along_axis(source, axis, &along, plan.outside.unwrap_or(0.0)));
    }
    if plan.planes.is_none()
        && let (Some(bounds), Some(values)) = (&bounds, &mut current)
    {
        clip(values, bounds, None);
    }
    current
}

/// A mask at new positions: the nearest voxel, nothing beyond half a voxel outside.
pub fn nearest_of(mask: &Array3<bool>, positions: &[Vec<f64>; 3]) -> Array3<bool> {
    let (slices, rows, columns) = mask.dim();
    let along = |axis: usize, length: usize| -> Vec<Option<usize>> {
        let place = |position: &f64| {
            let inside = (-0.5 - 1e-6..=length as f64 - 0.5 + 1e-6).contains(position);
            inside.then(|| (position + 0.5 + 1e-6).floor().clamp(0.0, length as f64 - 1.0) as usize)
        };
        positions[axis].iter().map(place).collect()
    };
    let (k, j, i) = (along(0, slices), along(1, rows), along(2, columns));
    let mut out = Array3::from_elem((k.len(), j.len(), i.len()), false);
    out.axis_iter_mut(Axis(0)).into_par_iter().zip(k).for_each(|(mut plane, k)| {
        for ((row, column), inside) in plane.indexed_iter_mut() {
            *inside = matches!((k, j[row], i[column]), (Some(k), Some(j), Some(i)) if mask[[k, j, i]]);
        }
    });
    out
}

/// Does to every line along one axis what `along` says.
pub fn along_axis(source: ArrayView3<'_, f32>, axis: usize, along: &Along, outside: f32) -> Array3<f32> {
    let mut shape = [source.shape()[0], source.shape()[1], source.shape()[2]];
    shape[axis] = along.count();
    let mut out = Array3::zeros(shape);
    // Planes that hold the axis and, as lanes, the one that lies densest in memory.
    let across = if axis == 0 { Axis(1) } else { Axis(0) };
    let pairs = out.axis_iter_mut(across).into_par_iter().zip(source.axis_iter(across).into_par_iter());
    pairs.for_each(|(mut out, plane)| match axis {
        2 => lanes_of(plane.t(), out.view_mut().reversed_axes(), along, outside),
        _ => lanes_of(plane, out.view_mut(), along, outside),
    });
    out
}

/// One plane `[index, lane]`.
fn lanes_of(plane: ArrayView2<'_, f32>, mut out: ArrayViewMut2<'_, f32>, along: &Along, outside: f32) {
    let (room, first) = along.room();
    let mut line = vec![0.0_f64; room * LANES];
    let mut made = vec![0.0_f64; along.count() * LANES];
    for start in (0..plane.ncols()).step_by(LANES) {
        let lanes = LANES.min(plane.ncols() - start);
        for (index, row) in plane.outer_iter().enumerate() {
            let to = &mut line[(index + first) * lanes..(index + first + 1) * lanes];
            to.iter_mut().zip(row.iter().skip(start)).for_each(|(to, from)| *to = f64::from(*from));
        }
        let made = &mut made[..along.count() * lanes];
        along.run(&mut line[..room * lanes], lanes, f64::from(outside), made);
        for (mut row, from) in out.outer_iter_mut().zip(made.chunks_exact(lanes)) {
            row.iter_mut().skip(start).zip(from).for_each(|(to, from)| *to = *from as f32);
        }
    }
}

/// Lowest and highest value of the volume, or of each plane along an axis.
fn bounds_of(pixels: ArrayView3<'_, f32>, planes: Option<usize>) -> Vec<(f32, f32)> {
    let of = |plane: ArrayView2<'_, f32>| {
        plane.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)))
    };
    let each: Vec<(f32, f32)> = pixels.axis_iter(Axis(planes.unwrap_or(0))).into_par_iter().map(of).collect();
    match planes {
        Some(_) => each,
        None => vec![each.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |a, b| (a.0.min(b.0), a.1.max(b.1)))],
    }
}

fn clip(values: &mut Array3<f32>, bounds: &[(f32, f32)], planes: Option<usize>) {
    // f32::clamp refuses bounds that are not in order, as those of an image of NaN are.
    let within = |value: &mut f32, (low, high): (f32, f32)| *value = value.max(low).min(high);
    match planes {
        Some(axis) => {
            let each = values.axis_iter_mut(Axis(axis)).into_par_iter().zip(bounds);
            each.for_each(|(mut plane, bounds)| plane.iter_mut().for_each(|value| within(value, *bounds)));
        }
        None => Zip::from(values).par_for_each(|value| within(value, bounds[0])),
    }
}
