//! A mask of a whole grid at one bit a voxel, for labels that may overlap: a hundred of them on a thousand slices.

use ndarray::{Array2, Array3, ArrayView2, ArrayViewMut2, Axis, parallel::prelude::*};

/// Rows are filled up to whole bytes; the first column is in the lowest bit.
pub(super) struct Bits {
    rows: Array3<u8>,
    columns: usize,
}

impl Bits {
    /// Nothing inside.
    pub fn empty([slices, rows, columns]: [usize; 3]) -> Bits {
        Bits { rows: Array3::zeros((slices, rows, columns.div_ceil(8))), columns }
    }

    pub fn of(mask: &Array3<bool>) -> Bits {
        let (slices, rows, columns) = mask.dim();
        let mut bits = Bits::empty([slices, rows, columns]);
        let planes = bits.rows.axis_iter_mut(Axis(0)).into_par_iter();
        planes.zip(mask.axis_iter(Axis(0))).for_each(|(mut packed, plane)| pack(plane, &mut packed));
        bits
    }

    /// The packed rows of every slice; [`Bits::work_on`] changes one.
    pub fn slices_mut(&mut self) -> (&mut Array3<u8>, usize) {
        (&mut self.rows, self.columns)
    }

    /// Lets `change` have the voxels of a slice, whose packed rows these are.
    pub fn work_on(
        packed: &mut ArrayViewMut2<'_, u8>,
        columns: usize,
        change: impl FnOnce(&mut ArrayViewMut2<'_, bool>),
    ) {
        let mut plane = Array2::from_elem((packed.nrows(), columns), false);
        change(&mut plane.view_mut());
        pack(plane.view(), packed);
    }

    pub fn to_mask(&self) -> Array3<bool> {
        let (slices, rows, _) = self.rows.dim();
        let mut mask = Array3::from_elem((slices, rows, self.columns), false);
        self.add_to(&mut mask);
        mask
    }

    /// Adds the voxels to a mask of the same shape.
    pub fn add_to(&self, mask: &mut Array3<bool>) {
        mask.axis_iter_mut(Axis(0)).into_par_iter().zip(self.rows.axis_iter(Axis(0))).for_each(
            |(mut plane, packed)| {
                for (mut row, bytes) in plane.outer_iter_mut().zip(packed.outer_iter()) {
                    row.iter_mut().enumerate().for_each(|(i, inside)| *inside |= bytes[i / 8] >> (i % 8) & 1 == 1);
                }
            },
        );
    }
}

fn pack(plane: ArrayView2<'_, bool>, packed: &mut ArrayViewMut2<'_, u8>) {
    for (row, mut bytes) in plane.outer_iter().zip(packed.outer_iter_mut()) {
        bytes.fill(0);
        row.iter().enumerate().for_each(|(i, inside)| bytes[i / 8] |= u8::from(*inside) << (i % 8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        let mut random = fastrand::Rng::with_seed(7);
        for columns in [1, 7, 8, 9, 31] {
            let mask = Array3::from_shape_fn((3, 4, columns), |_| random.bool());
            let mut bits = Bits::of(&mask);
            assert_eq!(bits.to_mask(), mask);
            let other = Array3::from_shape_fn(mask.dim(), |_| random.bool());
            let mut joined = other.clone();
            bits.add_to(&mut joined);
            assert_eq!(joined, Array3::from_shape_fn(mask.dim(), |at| mask[at] || other[at]));
            let (rows, width) = bits.slices_mut();
            Bits::work_on(&mut rows.index_axis_mut(Axis(0), 1), width, |plane| {
                plane.assign(&other.index_axis(Axis(0), 1));
            });
            let changed = Array3::from_shape_fn(mask.dim(), |at| if at.0 == 1 { other[at] } else { mask[at] });
            assert_eq!(bits.to_mask(), changed);
        }
    }
}
