//! Boxes of voxels: around a mask, as a mask, and moved into the image; it reads no parameters but sizes.

use ndarray::{Array3, ArrayView2, Axis, parallel::prelude::*};

use crate::infer::frame::SliceBox;
use crate::infer::parameter::Arguments;
use crate::infer::part::part;

/// First and last index along slices, rows and columns, ends included.
pub(in crate::infer) type Sides = [(usize, usize); 3];

/// The smallest box that holds a mask of one slice.
pub(in crate::infer) fn plane_bounds(plane: ArrayView2<'_, bool>) -> Option<SliceBox> {
    let mut found: Option<SliceBox> = None;
    for (row, voxels) in plane.outer_iter().enumerate() {
        let Some(first) = voxels.iter().position(|inside| *inside) else { continue };
        let last = voxels.iter().rposition(|inside| *inside).unwrap_or(first);
        let so_far = found.unwrap_or(SliceBox { rows: (row, row), columns: (first, last) });
        let columns = (so_far.columns.0.min(first), so_far.columns.1.max(last));
        found = Some(SliceBox { rows: (so_far.rows.0, row), columns });
    }
    found
}

/// The smallest box that holds a mask of each slice.
pub(in crate::infer) fn slice_bounds(mask: &Array3<bool>) -> Vec<Option<SliceBox>> {
    mask.axis_iter(Axis(0)).into_par_iter().map(plane_bounds).collect()
}

/// The smallest box that holds a mask.
pub(in crate::infer) fn bounds(mask: &Array3<bool>) -> Option<Sides> {
    let of_slices = slice_bounds(mask);
    let held = || of_slices.iter().enumerate().filter_map(|(slice, of_slice)| Some((slice, (*of_slice)?)));
    held()
        .map(|(slice, found)| [(slice, slice), found.rows, found.columns])
        .reduce(|a, b| [0, 1, 2].map(|axis| (a[axis].0.min(b[axis].0), a[axis].1.max(b[axis].1))))
}

/// A box as a mask.
pub(super) fn filled(shape: [usize; 3], sides: Sides) -> Array3<bool> {
    let mut mask = Array3::from_elem(shape, false);
    part(mask.view_mut(), &sides.map(|(first, last)| first..last + 1)).fill(true);
    mask
}

/// A stretch of `count` voxels from `start`, moved inside an axis of `length`; all of an axis that is not longer.
pub(super) fn moved_inside(start: isize, count: usize, length: usize) -> (usize, usize) {
    if count >= length {
        return (0, length - 1);
    }
    let first = start.clamp(0, (length - count) as isize) as usize;
    (first, first + count - 1)
}

/// The parameter `size`, `[rows, columns]` or `[slices, rows, columns]`, as slices, rows and columns; 0 leaves an axis.
pub(in crate::infer) fn size_of(arguments: &Arguments) -> [usize; 3] {
    match arguments.numbers("size") {
        [rows, columns] => [0, *rows as usize, *columns as usize],
        [slices, rows, columns] => [*slices as usize, *rows as usize, *columns as usize],
        _ => [0; 3],
    }
}

/// Refuses a `size` that is not whole.
pub(in crate::infer) fn whole_size(arguments: &Arguments) -> Option<[String; 3]> {
    whole(arguments, "size")
}

/// Refuses numbers of voxels that are not whole.
pub(super) fn whole(arguments: &Arguments, name: &str) -> Option<[String; 3]> {
    let broken = arguments.numbers(name).iter().find(|number| number.fract() != 0.0)?;
    Some([format!("{name} {broken}"), "whole numbers of voxels".to_owned(), "round it".to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_the_mask_and_nothing_is_without() {
        let mut mask = Array3::from_elem((4, 6, 8), false);
        assert_eq!(bounds(&mask), None);
        mask[[1, 2, 5]] = true;
        mask[[3, 4, 3]] = true;
        assert_eq!(bounds(&mask), Some([(1, 3), (2, 4), (3, 5)]));
        assert_eq!(slice_bounds(&mask)[3], Some(SliceBox { rows: (4, 4), columns: (3, 3) }));
        assert_eq!(slice_bounds(&mask)[2], None);
        let whole = filled([4, 6, 8], [(1, 3), (2, 4), (3, 5)]);
        assert_eq!((bounds(&whole), whole.iter().filter(|inside| **inside).count()), (bounds(&mask), 27));
    }

    #[test]
    fn stretches_are_moved_inside() {
        assert_eq!((moved_inside(-2, 4, 10), moved_inside(8, 4, 10), moved_inside(3, 4, 10)), ((0, 3), (6, 9), (3, 6)));
        assert_eq!(moved_inside(5, 12, 10), (0, 9));
    }
}
