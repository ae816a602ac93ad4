//! Which voxels lie within a Euclidean distance in mm of a mask, exactly, axis by axis; it makes no distance map.
//!
//! Squared distances are separable (Felzenszwalb and Huttenlocher, Theory of Computing 8, 2012): along columns from
//! the two nearest voxels of the row, then the lowest sum over rows, then over slices. Only distances up to the radius
//! matter, so each minimum looks at the few rows and slices within it; those loops run over whole rows of memory.
//! Slices count by their own positions. A stack's lean (gantry tilt) is not counted.

use ndarray::{Array2, Array3, ArrayView2, ArrayViewMut2, Axis, parallel::prelude::*};

use crate::volume::VolumeGeometry;

/// Larger than any squared distance in mm, and still a number that can be added to.
const FAR: f32 = 1e12;

/// The voxels within `radius_mm` of a voxel of the mask that equals `value`, those included.
pub fn within(mask: &Array3<bool>, value: bool, radius_mm: f64, geometry: &VolumeGeometry) -> Array3<bool> {
    let positions = geometry.positions_mm();
    // The hair makes a radius of exactly n voxels reach n voxels whatever the rounding.
    let limit = (radius_mm * radius_mm * (1.0 + 1e-6)) as f32;
    let slices = mask.dim().0;
    let mut out = Array3::from_elem(mask.raw_dim(), false);
    let threads = rayon::current_num_threads().max(1);
    let share = slices.div_ceil(threads).max(1);
    out.axis_chunks_iter_mut(Axis(0), share).into_par_iter().enumerate().for_each(|(part, mut out)| {
        let mut planes = Planes { mask, value, radius_mm, geometry, first: 0, held: Default::default() };
        for (offset, mut out) in out.axis_iter_mut(Axis(0)).enumerate() {
            let slice = part * share + offset;
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
    out
}

/// Squared distances within each slice, for the slices that are looked at just now.
struct Planes<'a> {
    mask: &'a Array3<bool>,
    value: bool,
    radius_mm: f64,
    geometry: &'a VolumeGeometry,
    first: usize,
    /// `None` for a slice that holds nothing.
    held: std::collections::VecDeque<Option<Array2<f32>>>,
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
            ndarray::Zip::from(out).and(plane).for_each(|out, distance| *out |= *distance <= limit);
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
                out.iter_mut().zip(from).for_each(|(out, from)| *out = out.min(from + across));
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

/// The mask with everything within `radius_mm` of its outside removed. Beyond the image is not outside: a mask that
/// the image cuts is not worn away at the cut.
pub fn eroded(mask: &Array3<bool>, radius_mm: f64, geometry: &VolumeGeometry) -> Array3<bool> {
    let mut out = within(mask, false, radius_mm, geometry);
    out.par_mapv_inplace(|near| !near);
    out
}

/// The mask with everything within `radius_mm` of it added.
pub fn dilated(mask: &Array3<bool>, radius_mm: f64, geometry: &VolumeGeometry) -> Array3<bool> {
    within(mask, true, radius_mm, geometry)
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
