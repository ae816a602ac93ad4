//! Boxes of arrays; ndarray's own `s!` is not used because its expansion holds `unsafe`, which this crate forbids.

use std::ops::Range;

use ndarray::{ArrayBase, Dimension, RawData, Slice};

/// The part of a view within index ranges, one per axis.
///
/// # Panics
/// When a range reaches outside the view or there are fewer ranges than axes: an error of the calling code.
pub(super) fn part<S: RawData, D: Dimension>(mut view: ArrayBase<S, D>, ranges: &[Range<usize>]) -> ArrayBase<S, D> {
    view.slice_each_axis_inplace(|axis| Slice::from(ranges[axis.axis.index()].clone()));
    view
}
