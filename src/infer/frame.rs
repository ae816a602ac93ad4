//! An image on its way to the network, with all that is needed to bring results back; it knows no operation.
//!
//! The array stays `[slice, row, column]` as acquired. [`Frame::geometry`] places it in the patient. Operations that
//! treat each slice on its own (a box of its own, slices left out) cannot be told by one grid: they leave [`Windows`], which
//! say for each slice of the array where on the grid it was cut, by index.

use std::sync::Arc;

use ndarray::{Array2, Array3, ArrayView2, Axis, CowArray, Ix3, parallel::prelude::*};

use super::axes::Axes;
use super::grid::{self, Method};
use super::part::part;
use crate::limits::VOXELS_MAX;
use crate::volume::{Mask, Volume, VolumeGeometry};

/// An image while it is prepared.
#[derive(Clone)]
pub struct Prepared<'a> {
    pub frame: Frame,
    /// `[slice, row, column]`, of [`Frame::shape`].
    pub pixels: CowArray<'a, f32, Ix3>,
    /// Where the crop has to be, on the array: operations "inside the crop mask" measure and change these voxels only.
    /// `None` before the first crop: everywhere.
    pub mask: Option<Array3<bool>>,
    /// After a crop of each slice on its own: the box of each slice of the array, for the resize that follows.
    pub boxes: Option<Vec<SliceBox>>,
    /// Regions that operations were told to keep under a name (CERR's `saveStrToPlanCFlag`), for later steps.
    pub saved: Vec<(String, Mask)>,
}

/// Where the voxels of a prepared array lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// The grid of the array, or what [`Frame::windows`] are cut from.
    pub geometry: Arc<VolumeGeometry>,
    /// How the network sees the axes. Parameters with three values are in this order.
    pub axes: Axes,
    pub windows: Option<Windows>,
    /// First index and end of the voxels along each axis of the grid that show the image: those before and behind were
    /// padded, and what a network finds there is dropped.
    pub real: [(usize, usize); 3],
    /// Distance of neighbours along the array axes in mm that resampling was asked for; a grid of whole voxels may come
    /// near it only.
    pub nominal_mm: Option<[f64; 3]>,
    /// What the last resampling made; `None` while voxels are those of the image.
    pub resampled: Option<Resampled>,
}

/// The grid that a resampling made, as far as it is still there: what lay on it goes back to the grid before exactly, as
/// MONAI does by undoing each step.
#[derive(Clone, Debug, PartialEq)]
pub struct Resampled {
    /// The grid that was resampled.
    pub from: Arc<VolumeGeometry>,
    /// First index and end of the grid that it made along each axis of the grid now: crops since then left a part of it.
    pub whole: [(isize, isize); 3],
    /// First index and end of that part; the rest of the grid now is padding since then.
    pub left: [(usize, usize); 3],
}

/// First and last row, first and last column of a box in one slice of an array, 0-based, ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceBox {
    pub rows: (usize, usize),
    pub columns: (usize, usize),
}

/// Slices that were cut each in its own way.
#[derive(Clone, Debug, PartialEq)]
pub struct Windows {
    /// For each slice of the array; `None` where a slice was added that shows nothing.
    pub slices: Vec<Option<SliceWindow>>,
    pub rows: usize,
    pub columns: usize,
}

/// Where one slice of the array was cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SliceWindow {
    /// Slice of the grid.
    pub slice: usize,
    /// Row of the grid for each row of the array.
    pub row: Line,
    /// Column of the grid for each column of the array.
    pub column: Line,
}

/// A position on the grid for each index of the array: `first + step * index`, in voxels, centres at whole numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    pub first: f64,
    pub step: f64,
}

impl Line {
    /// Index of the array whose voxel holds this position of the grid.
    fn index_of(self, position: usize, length: usize) -> Option<usize> {
        let index = ((position as f64 - self.first) / self.step + 0.5 + 1e-9).floor();
        (index >= 0.0 && index < length as f64).then_some(index as usize)
    }

    /// The line of an array of which every index `i` is index `inner.first + inner.step * i` of this one.
    #[must_use]
    pub fn then(self, inner: Line) -> Line {
        Line { first: self.first + self.step * inner.first, step: self.step * inner.step }
    }
}

impl Frame {
    /// A grid that was not changed yet.
    pub fn of(geometry: Arc<VolumeGeometry>, axes: Axes) -> Frame {
        let real = geometry.shape().map(|length| (0, length));
        Frame { geometry, axes, windows: None, real, nominal_mm: None, resampled: None }
    }

    /// The same image on another grid whose axes are parallel.
    pub fn regridded(self, geometry: Arc<VolumeGeometry>) -> Frame {
        let whole = geometry.shape().map(|length| (0, length));
        let before = self.geometry.shape().map(|length| (0, length));
        let real = match grid::positions_between(&self.geometry, &geometry) {
            Some(positions) if self.real != before => [0, 1, 2].map(|axis: usize| {
                let (first, end) = self.real[axis];
                let bounds = first as f64 - 0.5 - 1e-6..=end as f64 - 0.5 + 1e-6;
                let shown = |position: &f64| bounds.contains(position);
                let first = positions[axis].iter().position(shown);
                first.map_or(whole[axis], |first| (first, positions[axis].iter().rposition(shown).unwrap_or(first) + 1))
            }),
            _ => whole,
        };
        let made = whole.map(|(first, end)| (first as isize, end as isize));
        let resampled = Some(Resampled { from: self.geometry, whole: made, left: whole });
        Frame { geometry, real, nominal_mm: None, resampled, ..self }
    }

    /// Shape of the array: slices, rows, columns.
    pub fn shape(&self) -> [usize; 3] {
        self.windows
            .as_ref()
            .map_or(self.geometry.shape(), |windows| [windows.slices.len(), windows.rows, windows.columns])
    }

    /// Distance of neighbours along slices, rows and columns of the grid in mm; between slices the median.
    pub fn spacing_mm(&self) -> [f64; 3] {
        spacing_mm(&self.geometry)
    }

    /// As resampling was asked for, else that of the grid: what decides which axis is treated apart (nnU-Net).
    pub fn nominal_mm(&self) -> [f64; 3] {
        self.nominal_mm.unwrap_or_else(|| self.spacing_mm())
    }

    /// The windows, or those that take every slice of the grid as it is.
    pub fn windows_or_whole(&self) -> Windows {
        let [slices, rows, columns] = self.geometry.shape();
        let whole = Line { first: 0.0, step: 1.0 };
        let all = |slice| Some(SliceWindow { slice, row: whole, column: whole });
        self.windows.clone().unwrap_or_else(|| Windows { slices: (0..slices).map(all).collect(), rows, columns })
    }

    /// A mask of any grid on this array. Where grids differ the nearest voxel decides, as in CERR.
    pub fn bring(&self, mask: &Mask) -> Array3<bool> {
        let on_grid = if mask.geometry == self.geometry {
            mask.voxels.clone()
        } else {
            let values = Volume::new(Arc::clone(&mask.geometry), mask.voxels.mapv(f32::from));
            grid::bring_onto(&values, &self.geometry, Method::Nearest, 0.0).pixels.mapv(|value| value >= 0.5)
        };
        match &self.windows {
            None => on_grid,
            Some(windows) => windows.cut(&on_grid, false),
        }
    }
}

/// Distance of neighbours along slices, rows and columns in mm; between slices the median.
pub fn spacing_mm(geometry: &VolumeGeometry) -> [f64; 3] {
    [geometry.slice_spacing_mm(), geometry.row_spacing_mm(), geometry.column_spacing_mm()]
}

impl Windows {
    /// The nearest voxel of the grid for each voxel of the array; `outside` where the grid has none.
    pub fn cut<T: Copy + Send + Sync>(&self, on_grid: &Array3<T>, outside: T) -> Array3<T> {
        let (_, rows, columns) = on_grid.dim();
        let at = |line: Line, index: usize, length: usize| {
            let position = (line.first + line.step * index as f64 + 0.5 + 1e-9).floor();
            (position >= 0.0 && position < length as f64).then_some(position as usize)
        };
        let mut array = Array3::from_elem((self.slices.len(), self.rows, self.columns), outside);
        array.axis_iter_mut(Axis(0)).into_par_iter().zip(self.slices.par_iter()).for_each(|(mut plane, window)| {
            let Some(window) = window else { return };
            let source = on_grid.index_axis(Axis(0), window.slice);
            for ((row, column), value) in plane.indexed_iter_mut() {
                let place = at(window.row, row, rows).zip(at(window.column, column, columns));
                *value = place.map_or(outside, |(row, column)| source[[row, column]]);
            }
        });
        array
    }

    /// The plane of grid slice `slice` from the planes of the array, each voxel from the nearest; `outside` where no
    /// window reaches.
    pub fn plane_back<T: Copy>(
        &self,
        array_plane: ArrayView2<'_, T>,
        window: &SliceWindow,
        onto: (usize, usize),
        outside: T,
    ) -> Array2<T> {
        Array2::from_shape_fn(onto, |(row, column)| {
            let place = window.row.index_of(row, self.rows).zip(window.column.index_of(column, self.columns));
            place.map_or(outside, |(row, column)| array_plane[[row, column]])
        })
    }
}

impl<'a> Prepared<'a> {
    /// An image as it was handed in, to be seen along `axes`.
    pub fn of(volume: &'a Volume, axes: Axes) -> Prepared<'a> {
        let frame = Frame::of(Arc::clone(&volume.geometry), axes);
        Prepared { frame, pixels: volume.pixels.view().into(), mask: None, boxes: None, saved: Vec::new() }
    }

    /// Whether a voxel counts for operations inside the crop mask.
    pub fn is_inside(&self, index: [usize; 3]) -> bool {
        self.mask.as_ref().is_none_or(|mask| mask[index])
    }

    /// The smallest value of the image; 0 of an image without voxels.
    pub fn minimum(&self) -> f32 {
        let minimum = self.pixels.view().into_par_iter().copied().reduce(|| f32::INFINITY, f32::min);
        if minimum.is_finite() { minimum } else { 0.0 }
    }

    /// Refuses what needs a grid after slices were cut each in its own way.
    ///
    /// # Errors
    /// When there are windows.
    pub fn need_grid(&self) -> Result<(), String> {
        match self.frame.windows {
            None => Ok(()),
            Some(_) => {
                Err("found slices that were cut each in its own way, expected a grid; move the operation before the \
                            crop or the resize that does so"
                    .to_owned())
            }
        }
    }

    /// The box of `size` voxels that begins at `start`, both along array axes; voxels outside the image get `fill`.
    /// Crops, pads, or both at once. Boxes of slices go along.
    ///
    /// # Errors
    /// Sizes beyond what a volume may have.
    pub fn boxed(self, start: [isize; 3], size: [usize; 3], fill: f32) -> Result<Prepared<'a>, String> {
        let old = self.frame.shape();
        if start == [0; 3] && size == old {
            return Ok(self);
        }
        refuse_size(size)?;
        let cuts = (0..size[0]).map(|k| {
            let slice = usize::try_from(start[0] + k as isize).ok().filter(|slice| *slice < old[0])?;
            let line = |axis: usize| Line { first: start[axis] as f64, step: 1.0 };
            Some(SliceWindow { slice, row: line(1), column: line(2) })
        });
        let cuts: Vec<Option<SliceWindow>> = cuts.collect();
        let pixels = boxed(&self.pixels.view(), start, size, fill);
        let mask = self.mask.as_ref().map(|mask| boxed(&mask.view(), start, size, false));
        let boxes = self.boxes.as_ref().map(|boxes| boxed_boxes(boxes, &cuts, start, size));
        if self.frame.windows.is_some() {
            return Ok(Prepared { boxes, ..self.rewindowed(&cuts, pixels, mask) });
        }
        let geometry = geometry_of_box(&self.frame.geometry, start, size)?;
        let moved = |index: usize, axis: usize| (index as isize - start[axis]).clamp(0, size[axis] as isize) as usize;
        let part = |of: [(usize, usize); 3]| [0, 1, 2].map(|axis| (moved(of[axis].0, axis), moved(of[axis].1, axis)));
        let real = part(self.frame.real);
        let resampled = self.frame.resampled.map(|resampled| Resampled {
            whole: [0, 1, 2].map(|axis| {
                let (first, end) = resampled.whole[axis];
                (first - start[axis], end - start[axis])
            }),
            left: part(resampled.left),
            ..resampled
        });
        let frame = Frame { geometry: Arc::new(geometry), real, resampled, ..self.frame };
        Ok(Prepared { frame, pixels: pixels.into(), mask, boxes, saved: self.saved })
    }

    /// An array of which each slice was cut from a slice of this one; `cuts` are in voxels of this array. Boxes of slices
    /// are done with.
    pub fn rewindowed(
        self,
        cuts: &[Option<SliceWindow>],
        pixels: Array3<f32>,
        mask: Option<Array3<bool>>,
    ) -> Prepared<'a> {
        let old = self.frame.windows_or_whole();
        let through = |cut: SliceWindow| {
            let before = old.slices[cut.slice]?;
            let (row, column) = (before.row.then(cut.row), before.column.then(cut.column));
            Some(SliceWindow { slice: before.slice, row, column })
        };
        let slices = cuts.iter().map(|cut| cut.and_then(through)).collect();
        let (_, rows, columns) = pixels.dim();
        let frame = Frame { windows: Some(Windows { slices, rows, columns }), ..self.frame };
        Prepared { frame, pixels: pixels.into(), mask, boxes: None, saved: self.saved }
    }

    /// The image on another grid whose axes are parallel; values outside become `outside`. A crop mask goes along by the
    /// nearest voxel.
    ///
    /// # Errors
    /// Slices cut each in its own way.
    pub fn resampled(self, target: VolumeGeometry, method: Method, outside: f32) -> Result<Prepared<'a>, String> {
        self.need_grid()?;
        let target = Arc::new(target);
        if *target == *self.frame.geometry {
            return Ok(self);
        }
        let mask = self.mask.as_ref().map(|mask| {
            let mask = Mask::new(Arc::clone(&self.frame.geometry), mask.clone());
            Frame::of(Arc::clone(&target), self.frame.axes).bring(&mask)
        });
        let volume = Volume::new(Arc::clone(&self.frame.geometry), self.pixels.into_owned());
        let pixels = grid::bring_onto(&volume, &target, method, outside).pixels;
        let frame = self.frame.regridded(target);
        Ok(Prepared { frame, pixels: pixels.into(), mask, boxes: None, saved: self.saved })
    }
}

/// Refuses an array that is larger than any volume, before it is made.
///
/// # Errors
/// Sizes beyond what a volume may have.
pub fn refuse_size(shape: [usize; 3]) -> Result<(), String> {
    let fits = shape.iter().try_fold(1_usize, |product, side| product.checked_mul(*side));
    match fits {
        Some(voxels) if voxels <= VOXELS_MAX => Ok(()),
        _ => Err(format!("found a size of {shape:?} voxels, expected at most {VOXELS_MAX} in all; make it smaller")),
    }
}

/// Boxes of slices after a box of the array was taken; slices that were added, and boxes that lie outside, take all.
fn boxed_boxes(boxes: &[SliceBox], cuts: &[Option<SliceWindow>], start: [isize; 3], size: [usize; 3]) -> Vec<SliceBox> {
    let moved = |(first, last): (usize, usize), axis: usize| {
        let (first, last) = (first as isize - start[axis], last as isize - start[axis]);
        let end = size[axis] as isize - 1;
        (first <= end && last >= 0).then(|| (first.max(0) as usize, last.min(end) as usize))
    };
    let whole = SliceBox { rows: (0, size[1] - 1), columns: (0, size[2] - 1) };
    let of = |cut: &Option<SliceWindow>| {
        let old = boxes[cut.as_ref()?.slice];
        Some(SliceBox { rows: moved(old.rows, 1)?, columns: moved(old.columns, 2)? })
    };
    cuts.iter().map(|cut| of(cut).unwrap_or(whole)).collect()
}

/// A box of an array; voxels outside get `fill`.
fn boxed<T: Copy>(array: &ndarray::ArrayView3<'_, T>, start: [isize; 3], size: [usize; 3], fill: T) -> Array3<T> {
    let (slices, rows, columns) = array.dim();
    let old = [slices, rows, columns];
    let mut out = Array3::from_elem(size, fill);
    let from = [0, 1, 2].map(|a| start[a].clamp(0, old[a] as isize) as usize);
    let to = [0, 1, 2].map(|a| (start[a] + size[a] as isize).clamp(0, old[a] as isize) as usize);
    if (0..3).all(|a| from[a] < to[a]) {
        let source = [0, 1, 2].map(|a| from[a]..to[a]);
        let target = [0, 1, 2].map(|a| {
            let first = (from[a] as isize - start[a]) as usize;
            first..first + to[a] - from[a]
        });
        part(out.view_mut(), &target).assign(&part(array.view(), &source));
    }
    out
}

/// The grid of a box of voxels that may reach outside; beyond the ends slices go on with the outermost gap.
///
/// # Errors
/// Sizes beyond what a volume may have.
pub fn geometry_of_box(whole: &VolumeGeometry, start: [isize; 3], size: [usize; 3]) -> Result<VolumeGeometry, String> {
    let origin = |k: usize| {
        let slice = (start[0] + k as isize) as f64;
        whole.index_to_patient([slice, start[1] as f64, start[2] as f64])
    };
    let spacing = [whole.row_spacing_mm(), whole.column_spacing_mm()];
    let origins = (0..size[0]).map(origin).collect();
    VolumeGeometry::new((size[1], size[2]), spacing, whole.row_direction(), whole.column_direction(), origins)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted() -> Volume {
        let origins = [0.0, 2.0, 5.0].map(|z| [1.0, 2.0, z]).to_vec();
        let geometry = VolumeGeometry::new((4, 5), [1.0, 0.5], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
        let pixels = Array3::from_shape_fn((3, 4, 5), |(k, j, i)| (100 * k + 10 * j + i) as f32);
        Volume::new(Arc::new(geometry.expect("legal")), pixels)
    }

    #[test]
    fn a_box_may_crop_and_pad_at_once_and_stays_in_its_place() {
        let source = counted();
        let found = Prepared::of(&source, Axes::ACQUIRED).boxed([1, -1, 2], [3, 3, 2], -7.0).expect("boxed");
        assert_eq!(found.frame.geometry.shape(), [3, 3, 2]);
        assert_eq!((found.pixels[[0, 1, 0]], found.pixels[[0, 0, 0]], found.pixels[[2, 1, 0]]), (102.0, -7.0, -7.0));
        let place = found.frame.geometry.index_to_patient([0.0, 1.0, 0.0]);
        assert_eq!(place, source.geometry.index_to_patient([1.0, 0.0, 2.0]));
        assert_eq!(found.frame.geometry.positions_mm(), [2.0, 5.0, 8.0]);
    }

    #[test]
    fn windows_cut_and_bring_back_every_voxel_that_they_hold() {
        let source = counted();
        let window = |slice, first, step| {
            Some(SliceWindow { slice, row: Line { first, step }, column: Line { first: 1.0, step: 1.0 } })
        };
        let windows = Windows { slices: vec![window(2, 1.0, 1.0), None, window(0, 0.5, 2.0)], rows: 2, columns: 3 };
        let cut = windows.cut(&source.pixels, -1.0);
        assert_eq!(cut.index_axis(Axis(0), 0), ndarray::array![[211.0, 212.0, 213.0], [221.0, 222.0, 223.0]]);
        assert_eq!(cut[[1, 0, 0]], -1.0);
        assert_eq!(cut.index_axis(Axis(0), 2), ndarray::array![[11.0, 12.0, 13.0], [31.0, 32.0, 33.0]]);
        let only = windows.slices[0].as_ref().expect("a window");
        let back = windows.plane_back(cut.index_axis(Axis(0), 0), only, (4, 5), 0.0);
        assert_eq!(back[[1, 1]], 211.0);
        assert_eq!(back[[2, 3]], 223.0);
        assert_eq!(back.iter().filter(|value| **value != 0.0).count(), 6);
        let halves = windows.slices[2].as_ref().expect("a window");
        let back = windows.plane_back(cut.index_axis(Axis(0), 2), halves, (4, 5), 0.0);
        assert_eq!(back.column(1).to_vec(), [11.0, 11.0, 31.0, 31.0]);
    }

    #[test]
    fn lines_compose() {
        let outer = Line { first: 10.0, step: 2.0 };
        assert_eq!(outer.then(Line { first: 0.5, step: 3.0 }), Line { first: 11.0, step: 6.0 });
    }
}
