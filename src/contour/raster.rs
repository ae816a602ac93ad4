//! Polygons back to voxels: a voxel is inside when its centre is; it does not decide which contours belong together.

use std::sync::Arc;

use ndarray::ArrayViewMut2;
use ndarray::parallel::prelude::*;

use crate::contour::Contour;
use crate::volume::{Mask, VolumeGeometry, dot};

/// Voxels whose centres lie in any of the contours: even-odd inside each contour (a keyhole leaves its hole open), the
/// union over the contours of a slice (islands). Contours on slices that the geometry lacks are left out.
pub fn rasterise(contours: &[Contour], geometry: &Arc<VolumeGeometry>) -> Mask {
    rasterise_with(contours, geometry, |voxel| *voxel = true)
}

/// Voxels whose centres lie in an odd number of contours: the meaning of CLOSEDPLANAR_XOR (PS3.3 C.8.8.6.3).
pub fn rasterise_xor(contours: &[Contour], geometry: &Arc<VolumeGeometry>) -> Mask {
    rasterise_with(contours, geometry, |voxel| *voxel = !*voxel)
}

fn rasterise_with(contours: &[Contour], geometry: &Arc<VolumeGeometry>, set: fn(&mut bool)) -> Mask {
    let mut mask = Mask::empty(Arc::clone(geometry));
    let mut by_slice: Vec<Vec<&Contour>> = vec![Vec::new(); geometry.slices()];
    for contour in contours {
        if let Some(list) = by_slice.get_mut(contour.slice) {
            list.push(contour);
        }
    }
    let slices = mask.voxels.outer_iter_mut().into_par_iter().zip(by_slice).enumerate();
    slices.for_each(|(slice, (mut voxels, contours))| {
        for contour in contours {
            fill(&mut voxels, &to_index(geometry, slice, &contour.points), set);
        }
    });
    mask
}

/// Points `[column, row]` of one slice from patient mm, against the origin of that slice alone.
fn to_index(geometry: &VolumeGeometry, slice: usize, points: &[[f64; 3]]) -> Vec<[f64; 2]> {
    let origin = geometry.slice_origins()[slice];
    let offset = |point: &[f64; 3]| -> [f64; 3] { std::array::from_fn(|k| point[k] - origin[k]) };
    let place = |offset| {
        let column = dot(offset, geometry.row_direction()) / geometry.column_spacing_mm();
        [column, dot(offset, geometry.column_direction()) / geometry.row_spacing_mm()]
    };
    points.iter().map(|point| place(offset(point))).collect()
}

/// Sets the pixels of one polygon. An edge owns its lower end and not its upper one, so that a vertex on a row of
/// centres counts once.
fn fill(voxels: &mut ArrayViewMut2<bool>, polygon: &[[f64; 2]], set: fn(&mut bool)) {
    let (rows, columns) = voxels.dim();
    if polygon.len() < 3 || polygon.iter().flatten().any(|x| !x.is_finite()) {
        return;
    }
    let mut crossings: Vec<(usize, f64)> = Vec::new();
    let edges = polygon.iter().zip(polygon.iter().cycle().skip(1));
    for (a, b) in edges {
        let (top, bottom) = if a[1] <= b[1] { (a, b) } else { (b, a) };
        let (first, end) = (ceil_index(top[1], rows), ceil_index(bottom[1], rows));
        for row in first..end {
            let share = (row as f64 - top[1]) / (bottom[1] - top[1]);
            crossings.push((row, top[0] + (bottom[0] - top[0]) * share));
        }
    }
    crossings.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    for pair in crossings.chunks_exact(2) {
        let [(row, from), (_, to)] = [pair[0], pair[1]];
        for column in ceil_index(from, columns)..ceil_index(to, columns) {
            set(&mut voxels[[row, column]]);
        }
    }
}

/// The first index at or above a coordinate, within 0 and `end`.
fn ceil_index(coordinate: f64, end: usize) -> usize {
    coordinate.ceil().clamp(0.0, end as f64) as usize
}
