//! Resampling between grids whose axes are parallel: per axis a list of taps, applied one axis after the other.
//!
//! Grids share their centre (first voxel at `first_in + (d_in (n_in - 1) - d_out (n_out - 1)) / 2`), slices are placed
//! by their own positions, never by a mean spacing, and a sheared stack stays sheared. Other rules for grids stand in
//! [`target`], kernels that need more than four neighbours in [`kernel`], both applied by [`lines`].

pub mod kernel;
pub mod lines;
pub mod spline;
pub mod target;

use std::sync::Arc;

use ndarray::{Array2, Array3, ArrayView3, Axis as NdAxis, Zip, parallel::prelude::*};

use crate::limits::SLICES_MAX;
use crate::volume::{Volume, VolumeGeometry};

/// How values between voxels are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Nearest,
    Linear,
    /// Keys' cubic convolution, a = -0.5 (IEEE Trans. ASSP 29, 1981, equation 15). Between uneven slices the
    /// fractions are those of the gap that the point lies in.
    Cubic,
}

impl Method {
    /// The words for configuration, in the order of [`Method::of`].
    pub const WORDS: [&'static str; 3] = ["nearest", "linear", "cubic"];

    /// The method that a word of [`Method::WORDS`] stands for.
    pub fn of(word: &str) -> Method {
        match word {
            "nearest" => Method::Nearest,
            "cubic" => Method::Cubic,
            _ => Method::Linear,
        }
    }
}

/// Which input voxels of one axis make one output voxel, and with which weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Taps {
    count: usize,
    index: [usize; 4],
    weight: [f32; 4],
}

impl Taps {
    /// The taps at a fractional index of an axis of `length`; `None` farther than half a voxel outside the grid.
    /// Within it, voxels beyond the ends repeat the outermost one.
    pub fn at(position: f64, length: usize, method: Method) -> Option<Taps> {
        // A hair of tolerance: positions come out of divisions, and half a voxel is a common offset.
        let last = length as f64 - 1.0;
        if !(-0.5 - 1e-6..=last + 0.5 + 1e-6).contains(&position) {
            return None;
        }
        let clamp = |index: f64| index.clamp(0.0, last) as usize;
        let base = position.floor();
        let t = position - base;
        if method == Method::Nearest || !(1e-9..=1.0 - 1e-9).contains(&t) {
            // Halves go up, those that noise of the division has left just below included.
            let nearest = clamp((position + 0.5 + 1e-6).floor());
            return Some(Taps { count: 1, index: [nearest; 4], weight: [1.0, 0.0, 0.0, 0.0] });
        }
        if method == Method::Linear {
            let (a, b) = (clamp(base), clamp(base + 1.0));
            return Some(Taps { count: 2, index: [a, b, b, b], weight: [(1.0 - t) as f32, t as f32, 0.0, 0.0] });
        }
        let weight = [
            ((-0.5 * t + 1.0) * t - 0.5) * t,
            (1.5 * t - 2.5) * t * t + 1.0,
            ((-1.5 * t + 2.0) * t + 0.5) * t,
            (0.5 * t - 0.5) * t * t,
        ];
        let index = [base - 1.0, base, base + 1.0, base + 2.0].map(clamp);
        Some(Taps { count: 4, index, weight: weight.map(|w| w as f32) })
    }

    /// The taps of a linear method at a fractional index of an axis beyond which all values are 0: from the outermost voxel
    /// they fade to nothing over one voxel. `None` farther out.
    pub fn fading(position: f64, length: usize) -> Option<Taps> {
        let last = length as f64 - 1.0;
        let (index, weight) = if position < 0.0 { (0, 1.0 + position) } else { (length - 1, 1.0 + last - position) };
        if (0.0..=last).contains(&position) {
            return Taps::at(position, length, Method::Linear);
        }
        // Two taps, so that nobody takes the voxel as it is.
        (weight > 0.0).then_some(Taps { count: 2, index: [index; 4], weight: [weight as f32, 0.0, 0.0, 0.0] })
    }

    /// The same taps farther along the axis.
    #[must_use]
    pub fn shifted(self, by: usize) -> Taps {
        Taps { index: self.index.map(|index| index + by), ..self }
    }

    /// Pairs of input index and weight.
    pub fn iter(&self) -> impl Iterator<Item = (usize, f32)> + '_ {
        self.index.iter().copied().zip(self.weight).take(self.count)
    }

    /// The input index when there is but one.
    pub fn single(&self) -> Option<usize> {
        (self.count == 1).then_some(self.index[0])
    }

    /// Highest input index used.
    pub fn last(&self) -> usize {
        self.index[..self.count].iter().copied().max().unwrap_or(0)
    }

    /// Lowest input index used.
    pub fn first(&self) -> usize {
        self.index[..self.count].iter().copied().min().unwrap_or(0)
    }
}

/// Applies taps along slices, rows and columns; where an axis has none the value is `outside`.
pub fn resample(pixels: ArrayView3<'_, f32>, taps: [&[Option<Taps>]; 3], outside: f32) -> Array3<f32> {
    let mut out = Array3::from_elem((taps[0].len(), taps[1].len(), taps[2].len()), outside);
    out.axis_iter_mut(NdAxis(0)).into_par_iter().zip(taps[0].par_iter()).for_each(|(mut plane, along_slices)| {
        let Some(along_slices) = along_slices else { return };
        let blended = blend_planes(pixels, along_slices);
        let mut row_buffer = vec![0.0_f32; blended.ncols()];
        for (mut row, along_rows) in plane.outer_iter_mut().zip(taps[1]) {
            let Some(along_rows) = along_rows else { continue };
            row_buffer.fill(0.0);
            for (index, weight) in along_rows.iter() {
                row_buffer.iter_mut().zip(blended.row(index)).for_each(|(sum, value)| *sum += weight * value);
            }
            for (value, along_columns) in row.iter_mut().zip(taps[2]) {
                if let Some(along_columns) = along_columns {
                    *value = along_columns.iter().map(|(index, weight)| weight * row_buffer[index]).sum();
                }
            }
        }
    });
    out
}

/// The weighted sum of planes along the first axis.
fn blend_planes(pixels: ArrayView3<'_, f32>, taps: &Taps) -> Array2<f32> {
    let mut sum = Array2::zeros((pixels.dim().1, pixels.dim().2));
    for (index, weight) in taps.iter() {
        Zip::from(&mut sum).and(pixels.index_axis(NdAxis(0), index)).for_each(|sum, value| *sum += weight * value);
    }
    sum
}

/// Fractional index of a position among ascending positions; it goes on with the outermost gap beyond the ends, and
/// with `single_gap` where there is one position only.
pub fn index_of_position(positions: &[f64], position: f64, single_gap: f64) -> f64 {
    let last = positions.len() - 1;
    if last == 0 {
        return (position - positions[0]) / single_gap;
    }
    let below = positions.partition_point(|&p| p <= position).saturating_sub(1).min(last - 1);
    below as f64 + (position - positions[below]) / (positions[below + 1] - positions[below])
}

/// Length, spacing and fractional input index of the first voxel of a respaced axis.
fn respaced_axis(length: usize, from_mm: f64, to_mm: f64) -> (usize, f64, f64) {
    if to_mm == 0.0 {
        return (length, from_mm, 0.0);
    }
    // The hair keeps noise of the division from adding a voxel (64 x 0.2 mm at 0.1 mm is 128, not 129).
    let new_length = ((length as f64 * from_mm / to_mm - 1e-6).ceil() as usize).max(1);
    let first_mm = (from_mm * (length as f64 - 1.0) - to_mm * (new_length as f64 - 1.0)) / 2.0;
    (new_length, to_mm, first_mm / from_mm)
}

/// Fractional source slice of each slice of a respaced stack.
fn respaced_slices(source: &VolumeGeometry, to_mm: f64) -> Vec<f64> {
    let positions = source.positions_mm();
    if to_mm == 0.0 {
        return (0..positions.len()).map(|slice| slice as f64).collect();
    }
    let ends = (positions[0], positions[positions.len() - 1]);
    let outer = (source.slice_extent_mm(0) + source.slice_extent_mm(positions.len() - 1)) / 2.0;
    // More slices than a volume may have are refused with its geometry; here they must not fill the memory.
    let count = (((ends.1 - ends.0 + outer) / to_mm - 1e-6).ceil() as usize).clamp(1, SLICES_MAX + 1);
    let first = (ends.0 + ends.1) / 2.0 - to_mm * (count as f64 - 1.0) / 2.0;
    let at = |k: usize| index_of_position(positions, first + to_mm * k as f64, source.slice_spacing_mm());
    (0..count).map(at).collect()
}

/// Taps per axis that bring values of `from` onto `onto`, or `None` when the axes of the two are not parallel or
/// their stacks lean differently where they overlap (by more than [`PARALLEL_VOXELS`] and [`PARALLEL_MM`] at any corner).
pub fn taps_between(from: &VolumeGeometry, onto: &VolumeGeometry, method: Method) -> Option<[Vec<Option<Taps>>; 3]> {
    taps_between_separate(from, onto, [method; 3])
}

/// [`taps_between`] with a method for each array axis: for values of a network whose coarsest axis goes back by the nearest
/// slice and the other two linearly ([`target::separate_axis`]). Up to half a voxel beyond the outermost centres the
/// outermost voxel is taken; farther out, where a crop ended, there is none.
pub fn taps_between_separate(
    from: &VolumeGeometry,
    onto: &VolumeGeometry,
    methods: [Method; 3],
) -> Option<[Vec<Option<Taps>>; 3]> {
    let [along_slices, along_rows, along_columns] = &positions_between(from, onto)?;
    let [slices, rows, columns] = from.shape();
    let taps = |positions: &[f64], length: usize, method: Method| {
        positions.iter().map(|position| Taps::at(*position, length, method)).collect()
    };
    Some([
        taps(along_slices, slices, methods[0]),
        taps(along_rows, rows, methods[1]),
        taps(along_columns, columns, methods[2]),
    ])
}

/// How far a slice may lie from where parallel axes put it, in voxels and, where that is more, in mm: scanners that write
/// positions to 0.1 mm shift slices against their mean by as much.
const PARALLEL_VOXELS: f64 = 0.1;
const PARALLEL_MM: f64 = 0.1;

/// For each axis the fractional index of `from` at each index of `onto`; `None` when the axes are not parallel where the two
/// overlap. Beyond the ends of a stack its positions, which files round, say nothing exact.
pub fn positions_between(from: &VolumeGeometry, onto: &VolumeGeometry) -> Option<[Vec<f64>; 3]> {
    let shape = onto.shape();
    let far = [shape[0] as f64 - 1.0, shape[1] as f64 - 1.0, shape[2] as f64 - 1.0];
    let slice_of = |k: usize| index_of_position(from.positions_mm(), onto.positions_mm()[k], from.slice_spacing_mm());
    let last = from.slices() as f64 - 1.0;
    let from_middle = |k: &usize| (slice_of(*k) - last / 2.0).abs();
    let middle = (0..shape[0]).min_by(|a, b| from_middle(a).total_cmp(&from_middle(b)))?;
    let overlaps = |slice: &usize| *slice == middle || (-0.5..=last + 0.5).contains(&slice_of(*slice));
    let overlapping: Vec<usize> = (0..shape[0]).filter(overlaps).collect();
    let corner =
        |slice: usize, row: f64, column: f64| from.patient_to_index(onto.index_to_patient([slice as f64, row, column]));
    let mean = |row: f64, column: f64| {
        let sum = overlapping.iter().map(|slice| corner(*slice, row, column));
        sum.fold([0.0; 3], |sum, at| [0, 1, 2].map(|k| sum[k] + at[k] / overlapping.len() as f64))
    };
    let (start, end) = (mean(0.0, 0.0), mean(far[1], far[2]));
    let at = |axis: usize, index: f64| match far[axis] {
        0.0 => start[axis],
        far => start[axis] + (end[axis] - start[axis]) * index / far,
    };
    let spacing = [from.slice_spacing_mm(), from.row_spacing_mm(), from.column_spacing_mm()];
    let off = |exact: [f64; 3], separate: [f64; 3]| {
        (0..3).any(|k| (exact[k] - separate[k]).abs() > PARALLEL_VOXELS.max(PARALLEL_MM / spacing[k]))
    };
    for &slice in &overlapping {
        for (row, column) in [(0.0, 0.0), (0.0, far[2]), (far[1], 0.0), (far[1], far[2])] {
            if off(corner(slice, row, column), [slice_of(slice), at(1, row), at(2, column)]) {
                return None;
            }
        }
    }
    Some([
        (0..shape[0]).map(slice_of).collect(),
        (0..shape[1]).map(|j| at(1, j as f64)).collect(),
        (0..shape[2]).map(|i| at(2, i as f64)).collect(),
    ])
}

/// Brings a volume onto any grid: through taps where the axes are parallel, else point by point (trilinear or
/// nearest; cubic falls to linear there, because its taps need parallel axes).
pub fn bring_onto(volume: &Volume, geometry: &Arc<VolumeGeometry>, method: Method, outside: f32) -> Volume {
    if let Some(taps) = taps_between(&volume.geometry, geometry, method) {
        let [slices, rows, columns] = &taps;
        let pixels = resample(volume.pixels.view(), [slices, rows, columns], outside);
        return Volume::new(Arc::clone(geometry), pixels);
    }
    let method = if method == Method::Nearest { Method::Nearest } else { Method::Linear };
    let [slices, rows, columns] = volume.geometry.shape();
    let mut pixels = Array3::from_elem(geometry.shape(), outside);
    pixels.axis_iter_mut(NdAxis(0)).into_par_iter().enumerate().for_each(|(k, mut plane)| {
        for ((row, column), value) in plane.indexed_iter_mut() {
            let point = geometry.index_to_patient([k as f64, row as f64, column as f64]);
            let index = volume.geometry.patient_to_index(point);
            let taps = (
                Taps::at(index[0], slices, method),
                Taps::at(index[1], rows, method),
                Taps::at(index[2], columns, method),
            );
            if let (Some(a), Some(b), Some(c)) = taps {
                *value = sum_of_taps(&volume.pixels, &a, &b, &c);
            }
        }
    });
    Volume::new(Arc::clone(geometry), pixels)
}

fn sum_of_taps(pixels: &Array3<f32>, slices: &Taps, rows: &Taps, columns: &Taps) -> f32 {
    let mut sum = 0.0;
    for (k, a) in slices.iter() {
        for (j, b) in rows.iter() {
            for (i, c) in columns.iter() {
                sum += a * b * c * pixels[[k, j, i]];
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::target::Rule;
    use super::*;
    use crate::infer::axes::Axes;

    fn respaced(source: &VolumeGeometry, spacing_mm: [f64; 3]) -> Option<VolumeGeometry> {
        Rule::Centred.lay(source, Axes::ACQUIRED, spacing_mm).ok().map(|target| target.geometry)
    }

    fn geometry(shape: [usize; 3], spacing: [f64; 2], positions: &[f64]) -> VolumeGeometry {
        let origins = positions.iter().map(|&z| [3.0 + 0.2 * z, -2.0, z]).collect();
        VolumeGeometry::new((shape[1], shape[2]), spacing, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins).expect("legal")
    }

    #[test]
    fn a_box_of_an_oblique_stack_is_parallel_though_files_round_positions() {
        let turn = 0.2_f64;
        let (along, down) = ([turn.cos(), turn.sin(), 0.0], [0.0, 0.0, -1.0]);
        let normal = [-turn.sin(), turn.cos(), 0.0];
        // As a scanner of 2005 does.
        let rounded = |mm: f64| (mm * 10.0).round() / 10.0;
        let origins =
            (0..60).map(|k| [0, 1, 2].map(|axis| rounded(5.3 + normal[axis] * 1.37 * f64::from(k)))).collect();
        let whole = VolumeGeometry::new((64, 64), [0.47, 0.47], along, down, origins).expect("legal");
        let inner = crate::infer::frame::geometry_of_box(&whole, [20, 10, 10], [5, 30, 30]).expect("a box");
        let [slices, rows, _] = positions_between(&inner, &whole).expect("parallel");
        for (k, slice) in slices.iter().enumerate().skip(19).take(7) {
            assert!((slice - (k as f64 - 20.0)).abs() < 0.1, "{k} {slice}");
        }
        // A scanner's pixels are larger; a grid without jitter stands for a resampled image.
        let even = |rounded: &dyn Fn(f64) -> f64| {
            let origins = (0..60).map(|k| [0, 1, 2].map(|axis| rounded(5.3 + normal[axis] * 6.97 * f64::from(k))));
            VolumeGeometry::new((64, 64), [0.86, 0.86], along, down, origins.collect()).expect("legal")
        };
        assert!(positions_between(&even(&|mm| mm), &even(&rounded)).is_some());
        assert!((rows[10] - 0.0).abs() < 1e-6 && (rows[39] - 29.0).abs() < 1e-6, "{} {}", rows[10], rows[39]);
        let turned = VolumeGeometry::new((30, 30), [0.47, 0.47], [1.0, 0.0, 0.0], down, inner.slice_origins().to_vec());
        assert!(turned.is_ok_and(|turned| positions_between(&turned, &whole).is_none()));
    }

    /// A field that is linear in patient coordinates, so that linear and cubic resampling must be exact inside.
    fn ramp(geometry: VolumeGeometry) -> Volume {
        let shape = geometry.shape();
        let pixels = Array3::from_shape_fn(shape, |(k, j, i)| {
            let [x, y, z] = geometry.index_to_patient([k as f64, j as f64, i as f64]);
            (2.0 * x - 3.0 * y + 0.5 * z) as f32
        });
        Volume::new(Arc::new(geometry), pixels)
    }

    fn deviation_from_ramp(volume: &Volume, inside_mm: f64, hull: &VolumeGeometry) -> f32 {
        let mut worst = 0.0_f32;
        for ((k, j, i), &value) in volume.pixels.indexed_iter() {
            let point = volume.geometry.index_to_patient([k as f64, j as f64, i as f64]);
            let index = hull.patient_to_index(point);
            let inside =
                index.iter().zip(hull.shape()).all(|(&x, n)| x >= inside_mm && x <= n as f64 - 1.0 - inside_mm);
            if inside {
                let [x, y, z] = point;
                worst = worst.max((value - (2.0 * x - 3.0 * y + 0.5 * z) as f32).abs());
            }
        }
        worst
    }

    #[test]
    fn a_linear_field_survives_on_uneven_sheared_slices_and_non_square_pixels() {
        let source = ramp(geometry([5, 9, 7], [1.5, 0.8], &[0.0, 2.0, 5.0, 6.0, 9.0]));
        let target = Arc::new(respaced(&source.geometry, [1.1, 0.7, 1.3]).expect("small"));
        let found = bring_onto(&source, &target, Method::Linear, f32::NAN);
        assert!(found.pixels.iter().all(|value| value.is_finite()), "the rim repeats the outermost voxel");
        assert!(deviation_from_ramp(&found, 0.0, &source.geometry) < 1e-4);
        let even = ramp(geometry([5, 9, 7], [1.5, 0.8], &[0.0, 2.0, 4.0, 6.0, 8.0]));
        let target = Arc::new(respaced(&even.geometry, [1.1, 0.7, 1.3]).expect("small"));
        let cubic = bring_onto(&even, &target, Method::Cubic, f32::NAN);
        assert!(deviation_from_ramp(&cubic, 1.0, &even.geometry) < 1e-3);
    }

    #[test]
    fn respaced_grids_share_their_centre_and_have_no_voxel_too_many() {
        let source = geometry([4, 64, 60], [0.2, 0.15], &[0.0, 3.0, 6.0, 9.0]);
        let target = respaced(&source, [1.5, 0.1, 0.1]).expect("small");
        assert_eq!(target.shape(), [8, 128, 90]);
        let centre = |g: &VolumeGeometry| {
            let middle = g.shape().map(|n| (n as f64 - 1.0) / 2.0);
            g.index_to_patient(middle)
        };
        let (a, b) = (centre(&source), centre(&target));
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9), "{a:?} and {b:?}");
    }

    #[test]
    fn each_axis_may_have_its_own_method_and_ends_with_the_outer_edges() {
        let upright = |shape: [usize; 3], mm: f64, positions: &[f64]| {
            let origins = positions.iter().map(|&z| [0.5 * mm, 0.5 * mm, z]).collect();
            VolumeGeometry::new((shape[1], shape[2]), [mm, mm], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins)
        };
        let (coarse, fine) =
            (upright([2, 2, 2], 2.0, &[0.0, 4.0]), upright([5, 4, 5], 1.0, &[-2.0, -1.0, 2.0, 3.0, 7.0]));
        let methods = [Method::Nearest, Method::Linear, Method::Linear];
        let taps = taps_between_separate(&coarse.expect("legal"), &fine.expect("legal"), methods).expect("parallel");
        let slices: Vec<Option<usize>> = taps[0].iter().map(|tap| tap.as_ref().and_then(Taps::single)).collect();
        assert_eq!(slices, [Some(0), Some(0), Some(1), Some(1), None]);
        let pairs: Vec<Vec<(usize, f32)>> = taps[1].iter().flatten().map(|tap| tap.iter().collect()).collect();
        assert_eq!(
            pairs,
            [
                vec![(0, 0.25), (0, 0.75)],
                vec![(0, 0.75), (1, 0.25)],
                vec![(0, 0.25), (1, 0.75)],
                vec![(1, 0.75), (1, 0.25)]
            ]
        );
        assert!(taps[2][3].is_some() && taps[2][4].is_none(), "column 4 lies beyond the outer edge");
    }

    #[test]
    fn the_same_grid_has_single_taps_and_rotated_grids_have_none() {
        let source = geometry([3, 4, 5], [1.0, 1.0], &[0.0, 2.0, 3.0]);
        let taps = taps_between(&source, &source, Method::Linear).expect("parallel");
        assert!(taps.iter().flatten().all(|tap| tap.is_some_and(|tap| tap.single().is_some())));
        let origins = vec![[0.0; 3], [0.0, 0.0, 1.0]];
        let (sin, cos) = 0.2_f64.sin_cos();
        let turned = VolumeGeometry::new((4, 4), [1.0, 1.0], [cos, sin, 0.0], [-sin, cos, 0.0], origins);
        assert!(taps_between(&source, &turned.expect("legal"), Method::Linear).is_none());
    }

    #[test]
    fn a_rotated_grid_takes_values_point_by_point() {
        let source = ramp(geometry([6, 12, 12], [1.0, 1.0], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
        let (sin, cos) = 0.3_f64.sin_cos();
        let origins = vec![[7.0, 3.0, 1.5], [7.2, 3.0, 2.5]];
        let turned = VolumeGeometry::new((5, 4), [1.0, 0.5], [cos, sin, 0.0], [-sin, cos, 0.0], origins);
        let found = bring_onto(&source, &Arc::new(turned.expect("legal")), Method::Linear, f32::NAN);
        assert!(found.pixels.iter().any(|value| value.is_finite()));
        assert!(deviation_from_ramp(&found, 0.0, &source.geometry) < 1e-4);
    }
}
