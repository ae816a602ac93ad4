//! A window of one size from each slice, about the slice's own box; it interpolates nothing.

use ndarray::{Array3, Axis, parallel::prelude::*};

use super::{Operation, PLANE_SIZE, Prepared, VALUE, failed, fill, size_of, whole_size};
use crate::infer::frame::{Line, SliceBox, SliceWindow, refuse_size};
use crate::infer::part::part;

pub(in crate::infer::pre) const ENTRY: Operation = Operation {
    name: "window_2d",
    doc: "Cuts from each slice a window of exactly `size` about the middle of the box that a crop slice by slice (`_2d`) left, rounded up; without one about the middle of the slice. The window takes what lies around the box, too. It begins inside the image; where it reaches beyond the far side, its last rows or columns get `value`.",
    source: "CERR's pad2d and padorcrop2d",
    parameters: &[PLANE_SIZE, VALUE],
    check: whole_size,
    apply: |arguments, image, _| {
        let [_, rows, columns] = size_of(arguments);
        let value = fill(arguments, &image);
        windowed(image, (rows, columns), value).map_err(failed("window_2d"))
    },
};

fn windowed(image: Prepared<'_>, (rows, columns): (usize, usize), value: f32) -> Result<Prepared<'_>, String> {
    let [slices, height, width] = image.frame.shape();
    refuse_size([slices, rows, columns])?;
    let whole = SliceBox { rows: (0, height - 1), columns: (0, width - 1) };
    let starts: Vec<(usize, usize)> = (0..slices)
        .map(|slice| {
            let found = image.boxes.as_ref().map_or(whole, |boxes| boxes[slice]);
            (start(found.rows, rows), start(found.columns, columns))
        })
        .collect();
    let line = |first: usize| Line { first: first as f64, step: 1.0 };
    let cut = |(slice, (row, column)): (usize, &(usize, usize))| {
        Some(SliceWindow { slice, row: line(*row), column: line(*column) })
    };
    let cuts: Vec<Option<SliceWindow>> = starts.iter().enumerate().map(cut).collect();
    let pixels = cut_out(&image.pixels.to_owned(), &starts, (rows, columns), value);
    let mask = image.mask.as_ref().map(|mask| cut_out(mask, &starts, (rows, columns), false));
    Ok(image.rewindowed(&cuts, pixels, mask))
}

/// Where a window of `size` begins: MATLAB's round((first + last) / 2) - size / 2 from 1, not before the image.
fn start((first, last): (usize, usize), size: usize) -> usize {
    (first + last).div_ceil(2).saturating_sub(size / 2)
}

fn cut_out<T: Copy + Send + Sync>(
    array: &Array3<T>,
    starts: &[(usize, usize)],
    (rows, columns): (usize, usize),
    outside: T,
) -> Array3<T> {
    let (slices, height, width) = array.dim();
    let mut out = Array3::from_elem((slices, rows, columns), outside);
    let planes = out.axis_iter_mut(Axis(0)).into_par_iter().zip(array.axis_iter(Axis(0)).into_par_iter());
    planes.zip(starts).for_each(|((mut plane, source), (row, column))| {
        let (row, column) = (*row.min(&height), *column.min(&width));
        let (rows, columns) = (rows.min(height - row), columns.min(width - column));
        part(plane.view_mut(), &[0..rows, 0..columns])
            .assign(&part(source, &[row..row + rows, column..column + columns]));
    });
    out
}

#[cfg(test)]
mod tests {
    use super::start;

    #[test]
    fn windows_begin_where_those_of_matlab_begin() {
        // pyCERR 2.5.1: [20..40] x [15..44] in 32 x 32 begins at 14 and 14; both sums are even or odd: 60 and 59.
        assert_eq!((start((20, 40), 32), start((15, 44), 32)), (14, 14));
        // From 1: rows 21 to 42, middle 31.5, rounded to 32, begins at 16; from 0 at 15.
        assert_eq!(start((20, 41), 32), 15);
        assert_eq!((start((2, 8), 32), start((3, 9), 5)), (0, 4));
    }
}
