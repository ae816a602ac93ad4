//! Values that a B-spline brings back to the source grid: it runs through all of a line at once, so that they are kept
//! until they are whole, within a bound of memory. It decides nothing.

use std::ops::Range;

use ndarray::{Array3, Array4, ArrayView4, Axis, Slice};

use super::place::Place;
use crate::infer::InferError;
use crate::infer::grid::kernel::Kernel;
use crate::infer::grid::lines::{self, Plan};
use crate::infer::grid::spline::Ends;
use crate::infer::part::part;
use crate::infer::recipe::Spline;
use crate::limits::WINDOW_BYTES_MAX;

/// Values of all channels on the array of a frame, and how they come to the target.
pub(super) struct Whole {
    kernel: Kernel,
    /// The value beyond the outermost centres; `None` where the spline itself tells it.
    outside: Option<f32>,
    /// The part of the array that goes back, and where it lies on the grid that it is a part of.
    left: [Range<usize>; 3],
    first: [usize; 3],
    /// Shape of that grid.
    grid: [usize; 3],
    /// The part of the target that is reached, and where it lies on that grid.
    reached: [Range<usize>; 3],
    positions: [Vec<f64>; 3],
    /// `[channel, slice, row, column]` of the part that goes back.
    values: Option<Array4<f32>>,
    excess: Option<InferError>,
}

impl Whole {
    /// For values of at least so many channels.
    ///
    /// # Errors
    /// [`InferError::Operation`] when they would take too much memory.
    pub fn new(places: &[Place; 3], spline: Spline, channels: usize) -> Result<Whole, InferError> {
        let axis = |place: &Place| {
            let (first, end) = place.whole;
            let grid = usize::try_from(end - first).unwrap_or(0);
            let left = place.left.0..place.left.1.max(place.left.0);
            let own: Vec<f64> = place.positions.iter().map(|position| position - first as f64).collect();
            let is_reached = |index: &usize| place.reached[*index];
            let from = (0..own.len()).find(is_reached).unwrap_or(0);
            let to = (0..own.len()).rfind(is_reached).map_or(from, |last| last + 1);
            let into = usize::try_from(left.start as isize - first).unwrap_or(0);
            (left, into, grid, from..to, own[from..to].to_vec())
        };
        let [a, b, c] = [axis(&places[0]), axis(&places[1]), axis(&places[2])];
        let whole = Whole {
            kernel: Kernel::BSpline(spline.order, spline.ends),
            outside: (spline.ends == Ends::Mirror).then_some(0.0),
            left: [a.0, b.0, c.0],
            first: [a.1, b.1, c.1],
            grid: [a.2, b.2, c.2],
            reached: [a.3, b.3, c.3],
            positions: [a.4, b.4, c.4],
            values: None,
            excess: None,
        };
        whole.check(channels)?;
        Ok(whole)
    }

    /// Refuses what would fill the memory: all values, one channel on its grid and on its way to the target, and there the
    /// highest value so far.
    fn check(&self, channels: usize) -> Result<(), InferError> {
        let kept: usize = self.left.iter().map(ExactSizeIterator::len).product();
        let (grid, target): (usize, usize) =
            (self.grid.iter().product(), self.reached.iter().map(Range::len).product());
        let bytes = size_of::<f32>() * (channels * kept + 2 * grid.max(target) + 2 * target);
        if bytes <= WINDOW_BYTES_MAX {
            return Ok(());
        }
        let reason = format!(
            "found {} MB of values of {channels} classes, expected at most {} MB where they go back by a spline; crop the \
             image, resample it to larger voxels, or set \"back\" to \"linear\"",
            bytes >> 20,
            WINDOW_BYTES_MAX >> 20
        );
        Err(InferError::Operation { name: "restore", reason })
    }

    /// Keeps values from slice `start` of the array on.
    pub fn push(&mut self, start: usize, values: ArrayView4<'_, f32>) {
        let channels = values.shape()[0];
        if self.values.is_none() {
            // Channels that no label has are there too.
            if let Err(error) = self.check(channels) {
                self.excess = Some(error);
                return;
            }
        }
        let [slices, rows, columns] = &self.left;
        let all = self.values.get_or_insert_with(|| Array4::zeros((channels, slices.len(), rows.len(), columns.len())));
        let (first, end) = (start.max(slices.start), (start + values.shape()[1]).min(slices.end));
        if first >= end {
            return;
        }
        let whole = 0..channels;
        let from = part(values, &[whole.clone(), first - start..end - start, rows.clone(), columns.clone()]);
        all.slice_axis_mut(Axis(1), Slice::from(first - slices.start..end - slices.start)).assign(&from);
    }

    /// How many channels there are.
    ///
    /// # Errors
    /// When they took too much memory.
    pub fn channels(&mut self) -> Result<usize, InferError> {
        match self.excess.take() {
            Some(error) => Err(error),
            None => Ok(self.values.as_ref().map_or(0, |values| values.shape()[0])),
        }
    }

    /// The part of the target that [`Whole::channel`] is about.
    pub fn reached(&self) -> &[Range<usize>; 3] {
        &self.reached
    }

    /// One channel on the part of the target that is reached.
    pub fn channel(&self, channel: usize) -> Array3<f32> {
        if self.left.iter().any(Range::is_empty) || self.grid.contains(&0) {
            return Array3::zeros([0, 1, 2].map(|axis: usize| self.reached[axis].len())); // A crop left padding alone.
        }
        let mut grid = Array3::zeros(self.grid);
        if let Some(values) = &self.values {
            let place = [0, 1, 2].map(|axis| self.first[axis]..self.first[axis] + self.left[axis].len());
            part(grid.view_mut(), &place).assign(&values.index_axis(Axis(0), channel));
        }
        let kept = [0, 1, 2].map(|axis: usize| {
            let own = |(index, position): (usize, &f64)| (position - index as f64).abs() < 1e-6;
            self.positions[axis].len() == self.grid[axis] && self.positions[axis].iter().enumerate().all(own)
        });
        let plan = Plan {
            positions: &self.positions,
            kept,
            kernels: [self.kernel; 3],
            outside: self.outside,
            planes: None,
            clip: false,
        };
        lines::apply(grid.view(), &plan).unwrap_or(grid)
    }
}
