//! Masks that keep no more than the box that holds them; it changes none.

use std::sync::Arc;

use ndarray::Array3;

use super::{Mask, VolumeGeometry};

/// A mask of which only the box that holds it is kept, a bit for each voxel: a hundred organs in a large image take the
/// room of a few masks.
#[derive(Clone)]
pub struct CompactMask {
    pub geometry: Arc<VolumeGeometry>,
    /// First index of the box along slices, rows and columns, and how many there are.
    start: [usize; 3],
    size: [usize; 3],
    /// The voxels of the box in the order of an array, eight to a byte, the first in the lowest bit.
    bits: Vec<u8>,
}

impl CompactMask {
    /// Keeps the box of a mask.
    pub fn of(geometry: Arc<VolumeGeometry>, voxels: &Array3<bool>) -> CompactMask {
        let along = |axis: usize| {
            let held = |plane: ndarray::ArrayView2<'_, bool>| plane.iter().any(|inside| *inside);
            let lanes = voxels.axis_iter(ndarray::Axis(axis));
            let first = lanes.clone().position(held)?;
            Some((first, lanes.len() - lanes.rev().position(held)?))
        };
        let ends = match (along(0), along(1), along(2)) {
            (Some(slices), Some(rows), Some(columns)) => [slices, rows, columns],
            _ => [(0, 0); 3],
        };
        let (start, size) = (ends.map(|(first, _)| first), ends.map(|(first, end)| end - first));
        let mut view = voxels.view();
        view.slice_each_axis_inplace(|axis| {
            let (first, end) = ends[axis.axis.index()];
            ndarray::Slice::from(first..end)
        });
        CompactMask { geometry, start, size, bits: bits_of(&view) }
    }

    /// A box of voxels whose first is `start` of the whole grid. The box must be as small as it can be and lie inside.
    pub fn within(geometry: Arc<VolumeGeometry>, start: [usize; 3], voxels: &Array3<bool>) -> CompactMask {
        let (slices, rows, columns) = voxels.dim();
        CompactMask { geometry, start, size: [slices, rows, columns], bits: bits_of(&voxels.view()) }
    }

    /// The first index of the box, and its voxels.
    pub fn boxed(&self) -> ([usize; 3], Array3<bool>) {
        let inside = |place: usize| self.bits[place / 8] >> (place % 8) & 1 == 1;
        let [_, rows, columns] = self.size;
        (
            self.start,
            Array3::from_shape_fn(self.size, |(slice, row, column)| inside((slice * rows + row) * columns + column)),
        )
    }

    /// The whole mask.
    pub fn to_mask(&self) -> Mask {
        let mut mask = Mask::empty(Arc::clone(&self.geometry));
        let extent = self.extent();
        let mut view = mask.voxels.view_mut();
        view.slice_each_axis_inplace(|axis| ndarray::Slice::from(extent[axis.axis.index()].clone()));
        view.iter_mut().enumerate().for_each(|(place, inside)| *inside = self.bit(place));
        mask
    }

    fn bit(&self, place: usize) -> bool {
        self.bits[place / 8] >> (place % 8) & 1 == 1
    }

    /// First index and end of the box along slices, rows and columns; empty for an empty mask.
    pub fn extent(&self) -> [std::ops::Range<usize>; 3] {
        [0, 1, 2].map(|axis: usize| self.start[axis]..self.start[axis] + self.size[axis])
    }

    /// Whether a voxel of the whole grid is inside.
    pub fn contains(&self, index: [usize; 3]) -> bool {
        let local = [0, 1, 2].map(|axis: usize| index[axis].wrapping_sub(self.start[axis]));
        let within = local.iter().zip(self.size).all(|(local, size)| *local < size);
        within && self.bit((local[0] * self.size[1] + local[1]) * self.size[2] + local[2])
    }

    /// The voxels of one row of the box, both indices of the whole grid and within the box.
    ///
    /// # Panics
    /// When they lie outside of the box: that is an error of the calling code.
    pub fn row(&self, slice: usize, row: usize) -> impl Iterator<Item = bool> + '_ {
        let [slices, rows, _] = self.extent();
        assert!(slices.contains(&slice) && rows.contains(&row), "a row of the box");
        let first = ((slice - self.start[0]) * self.size[1] + row - self.start[1]) * self.size[2];
        (first..first + self.size[2]).map(|place| self.bit(place))
    }

    /// Whether no voxel is inside.
    pub fn is_empty(&self) -> bool {
        self.bits.is_empty()
    }

    /// Volume in cm3, each slice with its own extent.
    pub fn volume_cm3(&self) -> f64 {
        let area = self.size[1] * self.size[2];
        let slices = (0..self.size[0]).map(|slice| {
            let count = (slice * area..(slice + 1) * area).filter(|place| self.bit(*place)).count();
            count as f64 * self.geometry.voxel_volume_mm3(self.start[0] + slice)
        });
        // The sum of nothing is -0.
        slices.sum::<f64>().abs() / 1000.0
    }
}

fn bits_of(voxels: &ndarray::ArrayView3<'_, bool>) -> Vec<u8> {
    let mut bits = vec![0_u8; voxels.len().div_ceil(8)];
    for (place, inside) in voxels.iter().enumerate() {
        bits[place / 8] |= u8::from(*inside) << (place % 8);
    }
    bits
}

impl From<Mask> for CompactMask {
    fn from(mask: Mask) -> CompactMask {
        CompactMask::of(mask.geometry, &mask.voxels)
    }
}
