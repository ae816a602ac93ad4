//! The rules by which a grid of another spacing is laid over an image: CERR's, nnU-Net's and MONAI's; it moves no values.

use super::{respaced_axis, respaced_slices};
use crate::infer::axes::Axes;
use crate::infer::frame::spacing_mm;
use crate::volume::{GeometryError, VolumeGeometry};

/// How the new grid lies over the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// One centre; n_out = ceil(n_in d_in / d_out) (CERR, `getResampledGrid`).
    Centred,
    /// One pair of outer edges; n_out = round(d_in / d_out n_in), half to even, and the spacing gives way (nnU-Net,
    /// `compute_new_shape`).
    Edges,
    /// The first voxel stays in its place; n_out = round((n_in - 1) d_in / d_out + 1), half to even (MONAI, `Spacing`).
    Corners,
}

/// Where the voxels of a new grid lie on the old one.
pub struct Target {
    /// For each axis of the array the fractional index on the old grid of each new index.
    pub positions: [Vec<f64>; 3],
    /// Axes that are taken over voxel by voxel.
    pub kept: [bool; 3],
    pub geometry: VolumeGeometry,
}

impl Rule {
    /// The words for configuration, in the order of [`Rule::of`].
    pub const WORDS: [&'static str; 3] = ["centred", "edges", "corners"];

    /// The rule that a word of [`Rule::WORDS`] stands for.
    pub fn of(word: &str) -> Rule {
        match word {
            "edges" => Rule::Edges,
            "corners" => Rule::Corners,
            _ => Rule::Centred,
        }
    }

    /// Lays the grid. `spacing` is in mm along slices, rows and columns; 0 keeps an axis. `axes` tell which end of an axis
    /// the network sees first.
    ///
    /// # Errors
    /// [`GeometryError::Size`] when the new grid would be too large.
    pub fn lay(self, source: &VolumeGeometry, axes: Axes, spacing: [f64; 3]) -> Result<Target, GeometryError> {
        let (shape, old) = (source.shape(), spacing_mm(source));
        let reversed = axes.reversed_on_array();
        let mut new = old;
        let mut positions: [Vec<f64>; 3] = shape.map(|length| (0..length).map(|index| index as f64).collect());
        for axis in (0..3).filter(|axis| spacing[*axis] > 0.0) {
            let length = shape[axis];
            // A count is refused below by VolumeGeometry; here it is only kept from filling the memory.
            let bounded = |count: f64| count.clamp(1.0, 1e5) as usize;
            (positions[axis], new[axis]) = match self {
                Rule::Centred if axis == 0 => (respaced_slices(source, spacing[0]), spacing[0]),
                Rule::Centred => {
                    let (count, mm, first) = respaced_axis(length, old[axis], spacing[axis]);
                    let step = mm / old[axis];
                    ((0..bounded(count as f64)).map(|index| first + step * index as f64).collect(), mm)
                }
                Rule::Edges => {
                    let count = bounded((old[axis] / spacing[axis] * length as f64).round_ties_even());
                    let step = length as f64 / count as f64;
                    ((0..count).map(|index| (index as f64 + 0.5) * step - 0.5).collect(), old[axis] * step)
                }
                Rule::Corners => {
                    let last = length as f64 - 1.0;
                    let count = bounded((last * old[axis] / spacing[axis] + 1.0).round_ties_even());
                    let step = spacing[axis] / old[axis];
                    let from_first = (0..count).map(|index| index as f64 * step);
                    let held: Vec<f64> = match reversed[axis] {
                        false => from_first.collect(),
                        true => from_first.rev().map(|position| last - position).collect(),
                    };
                    (held, spacing[axis])
                }
            };
        }
        let whole = |axis: usize| {
            positions[axis].len() == shape[axis]
                && positions[axis].iter().enumerate().all(|(index, position)| (position - index as f64).abs() < 1e-6)
        };
        let kept = [whole(0), whole(1), whole(2)];
        let first = [1, 2].map(|axis| positions[axis][0]);
        let origins = positions[0].iter().map(|&slice| source.index_to_patient([slice, first[0], first[1]])).collect();
        let directions = (source.row_direction(), source.column_direction());
        let sides = (positions[1].len(), positions[2].len());
        let geometry = VolumeGeometry::new(sides, [new[1], new[2]], directions.0, directions.1, origins)?;
        Ok(Target { positions, kept, geometry })
    }
}

/// Where MONAI's Spacing looks for one of `outputs` values on an axis of `inputs`, `step` input voxels apart, with a spline
/// and `align_corners`: its affine grid is stretched about the centre as if corners were to be aligned, and shrunk again in
/// voxels of the input, which leaves other places than without (MONAI 1.6.1, `AffineGrid` and `Resample`). `reversed`: the
/// network sees the end of the axis first.
pub fn aligned_position(output: f64, (outputs, inputs): (usize, usize), step: f64, reversed: bool) -> f64 {
    let stretched = |length: usize| length.max(2) as f64 / (length.max(2) as f64 - 1.0);
    let centre = (outputs as f64 - 1.0) / 2.0;
    let from_centre = if reversed { centre - output } else { output - centre };
    let position = (step * (stretched(outputs) * from_centre + centre) + 0.5) / stretched(inputs);
    if reversed { inputs as f64 - 1.0 - position } else { position }
}

/// The axis that nnU-Net resamples apart from the other two, by nearest neighbour: that of the largest spacing, where it
/// is more than three times the smallest, of the present spacing first, else of the new one (nnU-Net v2,
/// `determine_do_sep_z_and_axis`). Two axes that share the largest spacing are never apart. `always` takes the axis of
/// the present spacing whatever the ratio. For values of a network, the present spacing is the network's.
pub fn separate_axis(present_mm: [f64; 3], new_mm: [f64; 3], always: bool) -> Option<usize> {
    const ANISOTROPY: f64 = 3.0;
    let uneven = |spacing: [f64; 3]| {
        spacing.iter().copied().fold(0.0, f64::max) / spacing.iter().copied().fold(f64::INFINITY, f64::min) > ANISOTROPY
    };
    let coarsest = |spacing: [f64; 3]| {
        let largest = spacing.iter().copied().fold(0.0, f64::max);
        let mut axes = (0..3).filter(|axis| spacing[*axis] == largest);
        axes.next().filter(|_| axes.next().is_none())
    };
    if always || uneven(present_mm) {
        return coarsest(present_mm);
    }
    if uneven(new_mm) { coarsest(new_mm) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::axes::Orientation;

    fn grid(shape: [usize; 3], spacing: [f64; 3]) -> VolumeGeometry {
        let origins = (0..shape[0]).map(|k| [0.0, 0.0, spacing[0] * k as f64]).collect();
        VolumeGeometry::new((shape[1], shape[2]), [spacing[1], spacing[2]], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins)
            .expect("legal")
    }

    #[test]
    fn edges_round_half_to_even_and_share_the_outer_edges() {
        let source = grid([5, 3, 7], [1.0, 1.0, 1.0]);
        // 5 / 2 = 2.5 becomes 2, 7 / 2 = 3.5 becomes 4: numpy's rounding.
        let target = Rule::Edges.lay(&source, Axes::ACQUIRED, [2.0, 0.0, 2.0]).expect("small");
        assert_eq!(target.geometry.shape(), [2, 3, 4]);
        assert_eq!(target.positions[0], [0.75, 3.25]);
        assert_eq!(target.positions[2], [0.375, 2.125, 3.875, 5.625]);
        assert!((target.geometry.column_spacing_mm() - 1.75).abs() < 1e-12);
        assert_eq!(target.kept, [false, true, false]);
        assert_eq!(target.geometry.slice_origins()[0], [0.375, 0.0, 0.75]);
    }

    #[test]
    fn corners_keep_the_voxel_that_the_network_sees_first() {
        // 9 x 1 mm at 2 mm: 8 / 2 + 1 = 5; 10: 4.5 + 1 = 5.5 becomes 6 (measured in MONAI 1.6.1).
        for (length, expected) in [(9, 5), (10, 6)] {
            let source = grid([3, 4, length], [1.0, 1.0, 1.0]);
            let target = Rule::Corners.lay(&source, Axes::ACQUIRED, [0.0, 0.0, 2.0]).expect("small");
            assert_eq!(target.geometry.shape(), [3, 4, expected]);
            assert_eq!(target.positions[2][..2], [0.0, 2.0]);
            let ras = Orientation::parse("RAS").expect("a word").axes(&source);
            let target = Rule::Corners.lay(&source, ras, [2.0, 0.0, 0.0].map(|mm: f64| mm)).expect("small");
            // The first working axis of RAS is the columns, reversed: the last column stays.
            assert_eq!(target.geometry.shape()[0], 2);
            let along = Rule::Corners.lay(&source, ras, [0.0, 0.0, 2.0]).expect("small");
            assert_eq!(along.positions[2].last(), Some(&(length as f64 - 1.0)));
        }
    }

    #[test]
    fn the_coarsest_axis_is_apart_beyond_a_ratio_of_three() {
        assert_eq!(separate_axis([3.0, 1.0, 1.0], [1.0, 1.0, 1.0], false), None);
        assert_eq!(separate_axis([3.1, 1.0, 1.0], [1.0, 1.0, 1.0], false), Some(0));
        assert_eq!(separate_axis([1.0, 1.0, 1.0], [1.0, 1.0, 4.0], false), Some(2));
        assert_eq!(separate_axis([5.0, 5.0, 1.0], [1.0, 1.0, 1.0], false), None);
        assert_eq!(separate_axis([2.0, 1.0, 1.0], [1.0, 1.0, 1.0], true), Some(0));
        assert_eq!(separate_axis([1.0, 1.0, 1.0], [1.0, 1.0, 1.0], true), None);
    }
}
