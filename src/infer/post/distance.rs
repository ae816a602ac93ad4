//! Which voxels lie within a Euclidean distance in mm of a mask, exactly, axis by axis; it makes no distance map.
//!
//! Squared distances are separable (Felzenszwalb and Huttenlocher, Theory of Computing 8, 2012): along columns from
//! the two nearest voxels of the row, then the lowest sum over rows, then over slices. Only distances up to the radius
//! matter, so each minimum looks at the few rows and slices within it; those loops run over whole rows of memory.
//! Slices count by their own positions. A stack's lean (gantry tilt) is not counted.

use std::collections::VecDeque;
use std::ops::Range;

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, ArrayViewMut2, Axis, Zip, parallel::prelude::*};

use crate::infer::part::part;

use crate::volume::VolumeGeometry;

/// Larger than any squared distance in mm, and still a number that can be added to.
const FAR: f32 = 1e12;

/// Index ranges of slices, rows and columns.
pub type Extent = [Range<usize>; 3];

/// The mask with everything within `radius_mm` of its outside removed. Beyond its edge the image counts as its own
/// mirror: a mask that the image cuts is not worn away at the cut.
pub fn eroded(mask: &Array3<bool>, radius_mm: f64, geometry: &VolumeGeometry) -> Array3<bool> {
    let mut out = Array3::from_elem(mask.raw_dim(), false);
    let Some(extent) = extent_of(mask) else { return out };
    // One voxel around the mask is outside; farther ones are no nearer.
    let around = widened(&extent, [1; 3], mask);
    mark_within(mask, false, radius_mm, geometry, &around, &mut out);
    let mut inside = part(out.view_mut(), &around);
    Zip::from(&mut inside).and(part(mask.view(), &around)).par_for_each(|near, mask| *near = *mask && !*near);
    out
}

/// The mask with everything within `radius_mm` of it added.
pub fn dilated(mask: &Array3<bool>, radius_mm: f64, geometry: &VolumeGeometry) -> Array3<bool> {
    let mut out = Array3::from_elem(mask.raw_dim(), false);
    let Some(extent) = extent_of(mask) else { return out };
    let reach = |step: f64| (radius_mm * (1.0 + 1e-6) / step).floor() as usize;
    let p = geometry.positions_mm();
    let near = |a: usize, b: usize| (p[a] - p[b]).abs() <= radius_mm * (1.0 + 1e-6);
    let below = (0..extent[0].start).rev().take_while(|k| near(*k, extent[0].start)).count();
    let above = (extent[0].end..p.len()).take_while(|k| near(*k, extent[0].end - 1)).count();
    let sides = [below.max(above), reach(geometry.row_spacing_mm()), reach(geometry.column_spacing_mm())];
    mark_within(mask, true, radius_mm, geometry, &widened(&extent, sides, mask), &mut out);
    out
}

/// The smallest box that holds the mask.
pub fn extent_of(mask: &Array3<bool>) -> Option<Extent> {
    let none = || [(usize::MAX, 0); 3];
    let of_slice = |(k, plane): (usize, ArrayView2<'_, bool>)| {
        let mut found = none();
        for (j, row) in plane.outer_iter().enumerate() {
            let row = row.to_slice().unwrap_or_default();
            if let Some(first) = row.iter().position(|inside| *inside) {
                let last = row.iter().rposition(|inside| *inside).unwrap_or(first);
                found = joined(found, [(k, k + 1), (j, j + 1), (first, last + 1)]);
            }
        }
        found
    };
    let found = mask.axis_iter(Axis(0)).into_par_iter().enumerate().map(of_slice).reduce(none, joined);
    (found[0].1 > 0).then(|| found.map(|(start, end)| start..end))
}

fn joined(a: [(usize, usize); 3], b: [(usize, usize); 3]) -> [(usize, usize); 3] {
    std::array::from_fn(|axis| (a[axis].0.min(b[axis].0), a[axis].1.max(b[axis].1)))
}

/// An extent with voxels added on each side, as far as the mask's array goes.
pub fn widened(extent: &Extent, by: [usize; 3], mask: &Array3<bool>) -> Extent {
    std::array::from_fn(|axis| {
        extent[axis].start.saturating_sub(by[axis])..(extent[axis].end + by[axis]).min(mask.shape()[axis])
    })
}

/// Sets, inside the extent, the voxels within `radius_mm` of a voxel that equals `value` and lies in the extent.
fn mark_within(
    mask: &Array3<bool>,
    value: bool,
    radius_mm: f64,
    geometry: &VolumeGeometry,
    extent: &Extent,
    out: &mut Array3<bool>,
) {
    // The hair makes a radius of exactly n voxels reach n voxels whatever the rounding.
    let limit = (radius_mm * radius_mm * (1.0 + 1e-6)) as f32;
    let positions = &geometry.positions_mm()[extent[0].clone()];
    let mask = part(mask.view(), extent);
    let mut out = part(out.view_mut(), extent);
    let slices = positions.len();
    let share = slices.div_ceil(rayon::current_num_threads()).max(1);
    out.axis_chunks_iter_mut(Axis(0), share).into_par_iter().enumerate().for_each(|(chunk, mut out)| {
        let mut planes = Planes { mask, value, radius_mm, geometry, first: 0, held: VecDeque::new() };
        for (offset, mut out) in out.axis_iter_mut(Axis(0)).enumerate() {
            let slice = chunk * share + offset;
            let near = |k: &usize| (positions[*k] - positions[slice]).abs() <= radius_mm * (1.0 + 1e-6);
            let low = (0..=slice).rev().take_while(near).last().unwrap_or(slice);
            let high = (slice..slices).take_while(near).last().unwrap_or(slice);
            planes.hold(low, high);
            for k in low..=high {
                let along = (positions[k] - positions[slice]).powi(2) as f32;
                planes.mark(k, limit - along, &mut out);
            }
        }
    });
}

/// Squared distances within each slice, for the slices that are looked at just now.
struct Planes<'a> {
    mask: ArrayView3<'a, bool>,
    value: bool,
    radius_mm: f64,
    geometry: &'a VolumeGeometry,
    first: usize,
    /// `None` for a slice that holds nothing.
    held: VecDeque<Option<Array2<f32>>>,
}

impl Planes<'_> {
    /// Makes the planes of slices `low..=high` available; both ends only ever ascend.
    fn hold(&mut self, low: usize, high: usize) {
        if self.held.is_empty() {
            self.first = low;
        }
        while self.first < low {
            self.held.pop_front();
            self.first += 1;
        }
        while self.first + self.held.len() <= high {
            let plane = self.mask.index_axis(Axis(0), self.first + self.held.len());
            self.held.push_back(planar(plane, self.value, self.radius_mm, self.geometry));
        }
    }

    /// Sets the voxels whose squared distance within slice `k` is at most `limit`.
    fn mark(&self, k: usize, limit: f32, out: &mut ArrayViewMut2<'_, bool>) {
        if let Some(Some(plane)) = self.held.get(k - self.first) {
            Zip::from(out).and(plane).for_each(|out, distance| *out |= *distance <= limit);
        }
    }
}

/// Squared distance within one slice to the nearest voxel that equals `value`, right where it is at most the limit.
fn planar(plane: ArrayView2<'_, bool>, value: bool, radius_mm: f64, geometry: &VolumeGeometry) -> Option<Array2<f32>> {
    let (rows, columns) = plane.dim();
    let mut along = Array2::from_elem((rows, columns), FAR);
    let mut filled = vec![false; rows];
    for ((mut out, voxels), filled) in along.outer_iter_mut().zip(plane.outer_iter()).zip(&mut filled) {
        if let (Some(out), Some(voxels)) = (out.as_slice_mut(), voxels.as_slice()) {
            *filled = along_row(out, voxels, value, geometry.column_spacing_mm() as f32);
        }
    }
    if !filled.contains(&true) {
        return None;
    }
    let step = geometry.row_spacing_mm();
    let reach = (radius_mm * (1.0 + 1e-6) / step).floor() as usize;
    let mut out = along.clone();
    for row in 0..rows {
        for other in row.saturating_sub(reach)..(row + reach + 1).min(rows) {
            if other == row || !filled[other] {
                continue;
            }
            let across = ((other as f64 - row as f64) * step).powi(2) as f32;
            if let (Some(out), Some(from)) = (out.row_mut(row).as_slice_mut(), along.row(other).as_slice()) {
                // Written as a comparison, not as `f32::min`, which minds NaN and is not made into vector code.
                for (out, from) in out.iter_mut().zip(from) {
                    let sum = from + across;
                    *out = if sum < *out { sum } else { *out };
                }
            }
        }
    }
    Some(out)
}

/// Squared distance along a row to the nearest voxel that equals `value`; whether there is any.
fn along_row(out: &mut [f32], voxels: &[bool], value: bool, step: f32) -> bool {
    let Some(first) = voxels.iter().position(|voxel| *voxel == value) else { return false };
    let mut since = FAR;
    for (out, voxel) in out[first..].iter_mut().zip(&voxels[first..]) {
        since = if *voxel == value { 0.0 } else { since + step };
        *out = since;
    }
    since = FAR;
    for (out, voxel) in out.iter_mut().zip(voxels).rev() {
        since = if *voxel == value { 0.0 } else { since + step };
        let distance = out.min(since).min(1e6);
        *out = distance * distance;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_all_pairs_of_voxels_on_random_masks_and_uneven_slices() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..40 {
            let shape = [random.usize(1..6), random.usize(1..10), random.usize(1..10)];
            let mut z = 0.0;
            let origins: Vec<[f64; 3]> = (0..shape[0])
                .map(|_| {
                    z += 0.5 + 3.0 * random.f64();
                    [0.0, 0.0, z]
                })
                .collect();
            let spacing = [0.4 + random.f64(), 0.4 + random.f64()];
            let geometry =
                VolumeGeometry::new((shape[1], shape[2]), spacing, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins)
                    .expect("legal");
            let mask = Array3::from_shape_simple_fn(shape, || random.f64() < 0.06);
            let radius = 4.0 * random.f64();
            let found = dilated(&mask, radius, &geometry);
            for ((k, j, i), &near) in found.indexed_iter() {
                let here = geometry.index_to_patient([k as f64, j as f64, i as f64]);
                let nearest = mask
                    .indexed_iter()
                    .filter(|(_, inside)| **inside)
                    .map(|((k, j, i), _)| geometry.index_to_patient([k as f64, j as f64, i as f64]))
                    .map(|p| (0..3).map(|a| (p[a] - here[a]).powi(2)).sum::<f64>().sqrt())
                    .fold(f64::INFINITY, f64::min);
                assert_eq!(near, nearest <= radius, "{nearest} mm at radius {radius} mm");
            }
            let outside = mask.mapv(|inside| !inside);
            let expected = dilated(&outside, radius, &geometry).mapv(|near| !near);
            assert_eq!(eroded(&mask, radius, &geometry), expected);
            assert_eq!(eroded(&outside, radius, &geometry), found.mapv(|near| !near));
        }
    }

    #[test]
    fn a_radius_of_whole_voxels_reaches_them() {
        let geometry = VolumeGeometry::new((1, 30), [0.7, 0.1], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], vec![[0.0; 3]]);
        let mut mask = Array3::from_elem((1, 1, 30), false);
        mask[[0, 0, 10]] = true;
        let found = dilated(&mask, 0.3, &geometry.expect("legal"));
        assert_eq!(found.iter().filter(|near| **near).count(), 7);
    }
}
