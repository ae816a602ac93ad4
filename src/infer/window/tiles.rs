//! Where the windows of one axis begin and how their voxels are weighted; it cuts nothing.

use crate::infer::recipe::{Blend, PadSide, Tiling, Window};

/// The windows of one working axis, ascending along its array axis.
pub(super) struct Tiles {
    /// First index of each window on the padded working axis.
    pub starts: Vec<usize>,
    pub patch: usize,
    /// Length of the image.
    pub length: usize,
    /// Voxels of padding before the image, on the working axis.
    pub before: usize,
    pub reversed: bool,
}

impl Tiles {
    /// The windows over `length` voxels of working axis `axis`.
    pub fn of(window: &Window, axis: usize, length: usize, reversed: bool) -> Tiles {
        let multiple = window.multiple_of[axis];
        let patch = window.patch[axis].unwrap_or(length).div_ceil(multiple) * multiple;
        let padded = patch.max(length);
        let before = if window.pad_side == PadSide::Both { (padded - length) / 2 } else { 0 };
        let mut starts = match window.tiling {
            Tiling::Fixed => fixed(padded, patch, window.overlap),
            Tiling::Spread => spread(padded, patch, window.overlap),
        };
        starts.dedup();
        if reversed {
            starts.reverse();
        }
        Tiles { starts, patch, length, before, reversed }
    }

    /// Where a window lies on the array: the indices of the image that it covers, and which of its own voxels, counted
    /// along the array axis, these are.
    pub fn on_array(&self, start: usize) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let padded = self.patch.max(self.length);
        let (start, before) = if self.reversed {
            (padded - self.patch - start, padded - self.length - self.before)
        } else {
            (start, self.before)
        };
        let first = start.saturating_sub(before);
        let last = (start + self.patch).saturating_sub(before).min(self.length).max(first);
        let own = (first + before).saturating_sub(start);
        (first..last, own..own + (last - first))
    }

    /// Weight of each voxel of a window, along the array axis. `Blend::Gaussian` still has to be raised to its least.
    pub fn weights(&self, blend: Blend) -> Vec<f64> {
        let sigma = self.patch as f64 / 8.0;
        let centre = match blend {
            Blend::Constant => return vec![1.0; self.patch],
            Blend::Gaussian => (self.patch as f64 - 1.0) / 2.0,
            Blend::GaussianNnunet => (self.patch / 2) as f64,
        };
        let at = |index: usize| (-0.5 * ((index as f64 - centre) / sigma).powi(2)).exp();
        let mut weights: Vec<f64> = (0..self.patch).map(at).collect();
        if self.reversed {
            weights.reverse();
        }
        weights
    }
}

/// Starts at multiples of the interval, the last one moved back to end with the image (MONAI `dense_patch_slices`).
fn fixed(padded: usize, patch: usize, overlap: f64) -> Vec<usize> {
    if patch >= padded {
        return vec![0];
    }
    // Truncated as it comes out in double precision: 10 x (1 - 0.9) is below 1 there, and here.
    let interval = ((patch as f64 * (1.0 - overlap)) as usize).max(1);
    let count = (padded - patch).div_ceil(interval) + 1;
    (0..count).map(|index| (index * interval).min(padded - patch)).collect()
}

/// Starts evenly spread, rounded half to even (nnU-Net `compute_steps_for_sliding_window`).
fn spread(padded: usize, patch: usize, overlap: f64) -> Vec<usize> {
    let most = patch as f64 * (1.0 - overlap);
    let count = (((padded - patch) as f64 / most).ceil() as usize) + 1;
    if count == 1 {
        return vec![0];
    }
    let step = (padded - patch) as f64 / (count - 1) as f64;
    (0..count).map(|index| (step * index as f64).round_ties_even() as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_those_of_the_references() {
        // monai.data.utils.dense_patch_slices(50, 16, int(16 * 0.75)) and nnunetv2's steps for the same sides.
        assert_eq!(fixed(50, 16, 0.25), [0, 12, 24, 34]);
        assert_eq!(spread(50, 16, 0.5), [0, 7, 14, 20, 27, 34]);
        assert_eq!(spread(33, 16, 0.5), [0, 6, 11, 17]);
        assert_eq!(spread(16, 16, 0.5), [0]);
        assert_eq!(fixed(50, 16, 0.0), [0, 16, 32, 34]);
    }

    #[test]
    fn windows_of_a_reversed_axis_are_the_same_windows_seen_from_the_other_end() {
        let window = Window {
            patch: [Some(8), Some(8), Some(8)],
            multiple_of: [1; 3],
            overlap: 0.5,
            tiling: Tiling::Fixed,
            blend: Blend::Constant,
            mirror: [false; 3],
            pad_value: None,
            pad_side: PadSide::Both,
            half: false,
        };
        let seen = |reversed| {
            let tiles = Tiles::of(&window, 0, 21, reversed);
            tiles.starts.iter().map(|start| tiles.on_array(*start).0).collect::<Vec<_>>()
        };
        assert_eq!(seen(false), [0..8, 4..12, 8..16, 12..20, 13..21]);
        assert_eq!(seen(true), [0..8, 1..9, 5..13, 9..17, 13..21]);
        let small = Tiles::of(&window, 0, 5, false);
        assert_eq!((small.before, small.on_array(0)), (1, (0..5, 1..6)));
        let small = Tiles::of(&window, 0, 5, true);
        assert_eq!(small.on_array(0), (0..5, 2..7));
    }
}
