//! How file formats with one affine for all voxels lay them out: equal steps along three axes, in any order and
//! direction.
//!
//! Our arrays are `[slice, row, column]` with slices that ascend along the normal; a file may run along other axes, or
//! against them. [`FileGrid`] brings voxels from one order to the other. It moves none and computes none anew.

use ndarray::{Array3, ArrayView3};
use thiserror::Error;

use crate::limits::{IMAGE_SIDE_MAX, VOXELS_MAX};
use crate::volume::{GeometryError, VolumeGeometry, cross, dot};

/// How far a slice may lie from where equal steps would put it.
const STEP_MM: f64 = 0.1;

/// What may lie between two voxels: the bounds that the assembly has for Pixel Spacing. Beyond them the unit is wrong.
const SPACING_MM: std::ops::RangeInclusive<f64> = 0.01..=50.0;

/// Beyond this the third axis leans too far over to be called slices: gantries tilt by 30 degrees (cosine 0.87).
const LEAN_COSINE_MIN: f64 = 0.7;

/// Slices that no single affine can place.
#[derive(Debug, Error, PartialEq)]
#[error(
    "slice {slice} lies {off_mm:.3} mm from where evenly spaced slices would put it, expected at most {STEP_MM} mm: the \
     format has one spacing for all slices; use the RT Structure Set, which has none, or planC"
)]
pub struct UnevenSlices {
    pub slice: usize,
    pub off_mm: f64,
}

/// Why an affine places no voxels.
#[derive(Debug, Error, PartialEq)]
pub enum GridError {
    #[error(
        "found {0:?} voxels along its axes, expected 1 to {IMAGE_SIDE_MAX} along each and {VOXELS_MAX} in all; crop the image"
    )]
    Size([usize; 3]),
    #[error(
        "found steps of {found:?} mm between voxels, expected {} to {} mm; mend its spacing or its unit",
        SPACING_MM.start(),
        SPACING_MM.end()
    )]
    Spacing { found: [f64; 3] },
    #[error(
        "found an affine with a number that is not finite, expected directions and an origin; convert the image again"
    )]
    NotFinite,
    #[error("found axes of the image that are not at right angles ({0}); resample it onto axes that are")]
    Sheared(GeometryError),
    #[error(
        "found slices that lean over by {degrees:.0} degrees, expected at most {:.0}; resample the image onto axes at right angles",
        LEAN_COSINE_MIN.acos().to_degrees()
    )]
    Leaning { degrees: f64 },
}

/// Which of our axes a file's axes become. But for the first, it is how scanners lay out images of a plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The first is columns, the second rows, the third slices.
    AsStored,
    /// Rows run to the patient's left, columns to the back.
    Axial,
    /// Rows run to the patient's left, columns to the feet.
    Coronal,
    /// Rows run to the patient's back, columns to the feet.
    Sagittal,
}

/// The voxels of a file: equal steps along three axes, of which the first is the fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct FileGrid {
    /// How many voxels there are along each axis.
    sizes: [usize; 3],
    /// From voxel to voxel along each axis, in LPS mm.
    steps: [[f64; 3]; 3],
    /// Centre of the first voxel in LPS mm.
    first: [f64; 3],
    /// For each axis of our arrays (slice, row, column): the axis of the file, and whether it runs against it.
    axes: [(usize, bool); 3],
}

impl FileGrid {
    /// The grid of a file that says where its voxels lie, and the geometry of the array that [`FileGrid::array`] gives.
    ///
    /// # Errors
    /// [`GridError`].
    pub fn new(
        sizes: [usize; 3],
        steps: [[f64; 3]; 3],
        first: [f64; 3],
        turn: Turn,
    ) -> Result<(FileGrid, VolumeGeometry), GridError> {
        let voxels = sizes.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
        if sizes.iter().any(|size| !(1..=IMAGE_SIDE_MAX).contains(size)) || voxels.is_none_or(|all| all > VOXELS_MAX) {
            return Err(GridError::Size(sizes));
        }
        if steps.iter().flatten().chain(&first).any(|number| !number.is_finite()) {
            return Err(GridError::NotFinite);
        }
        let spacing = steps.map(norm);
        if spacing.iter().any(|mm| !SPACING_MM.contains(mm)) {
            return Err(GridError::Spacing { found: spacing });
        }
        let mut axes = wanted(turn).map_or(AS_STORED, |wanted| nearest(steps, wanted));
        let unit = |(axis, against): (usize, bool)| {
            let length = if against { -spacing[axis] } else { spacing[axis] };
            steps[axis].map(|part| part / length)
        };
        let [_, down, right] = axes.map(unit);
        // Slices ascend along the normal, whichever way the file runs.
        let normal = cross(right, down);
        if dot(normal, unit(axes[0])) < 0.0 {
            axes[0].1 = !axes[0].1;
        }
        let cosine = dot(normal, unit(axes[0])) / norm(normal).max(f64::MIN_POSITIVE);
        let grid = FileGrid { sizes, steps, first, axes };
        let [slices, rows, columns] = axes.map(|(axis, _)| sizes[axis]);
        let origins = (0..slices).map(|slice| grid.place([slice, 0, 0])).collect();
        let spacing_mm = [spacing[axes[1].0], spacing[axes[2].0]];
        let geometry =
            VolumeGeometry::new((rows, columns), spacing_mm, right, down, origins).map_err(GridError::Sheared)?;
        if cosine < LEAN_COSINE_MIN {
            return Err(GridError::Leaning { degrees: cosine.acos().to_degrees() });
        }
        Ok((grid, geometry))
    }

    /// The grid of files of our own, in the order of our arrays: column fastest, then row, then slice.
    ///
    /// # Errors
    /// [`UnevenSlices`].
    pub fn of(geometry: &VolumeGeometry) -> Result<FileGrid, UnevenSlices> {
        let [slices, rows, columns] = geometry.shape();
        let right = geometry.row_direction().map(|part| part * geometry.column_spacing_mm());
        let down = geometry.column_direction().map(|part| part * geometry.row_spacing_mm());
        Ok(FileGrid {
            sizes: [columns, rows, slices],
            steps: [right, down, step(geometry)?],
            first: geometry.slice_origins()[0],
            axes: AS_STORED,
        })
    }

    /// How many voxels there are along each axis, the fastest first.
    pub fn sizes(&self) -> [usize; 3] {
        self.sizes
    }

    /// From voxel to voxel along each axis, the fastest first, in LPS mm.
    pub fn steps(&self) -> [[f64; 3]; 3] {
        self.steps
    }

    /// Centre of the first voxel in LPS mm.
    pub fn first(&self) -> [f64; 3] {
        self.first
    }

    /// Unit vectors along the axes where these are at right angles, to a tenth of a millimetre over the whole image.
    pub fn right_angled(&self) -> Option<[[f64; 3]; 3]> {
        let units: [[f64; 3]; 3] = self.steps.map(|step| step.map(|part| part / norm(step)));
        let along = |axis: usize| norm(self.steps[axis]) * (self.sizes[axis] - 1) as f64;
        let off = |(a, b): (usize, usize)| dot(units[a], units[b]).abs() * along(a).max(along(b));
        [(0, 1), (0, 2), (1, 2)].into_iter().all(|pair| off(pair) <= STEP_MM).then_some(units)
    }

    /// The values of a file, in its order, as an array `[slice, row, column]`.
    ///
    /// # Panics
    /// When there are not as many values as voxels: an error of the calling code.
    pub fn array<T: Clone>(&self, values: Vec<T>) -> Array3<T> {
        let [fastest, middle, slowest] = self.sizes;
        let stored = Array3::from_shape_vec((slowest, middle, fastest), values).expect("a value for each voxel");
        // The axes of `stored` run from the slowest: axis 2 of the file is its axis 0.
        let mut turned = stored.permuted_axes(self.axes.map(|(axis, _)| 2 - axis));
        for (ours, (_, against)) in self.axes.into_iter().enumerate() {
            if against {
                turned.invert_axis(ndarray::Axis(ours));
            }
        }
        turned.as_standard_layout().into_owned()
    }

    /// A view of an array `[slice, row, column]` whose elements come in the order of the file.
    pub fn in_order<'a, T>(&self, mut array: ArrayView3<'a, T>) -> ArrayView3<'a, T> {
        let mut place = [0; 3];
        for (ours, (axis, against)) in self.axes.into_iter().enumerate() {
            if against {
                array.invert_axis(ndarray::Axis(ours));
            }
            place[2 - axis] = ours;
        }
        array.permuted_axes(place)
    }

    /// Where a box of voxels of an array lies in the file: first and last index along each axis, the fastest first.
    pub fn extent(&self, ranges: [std::ops::Range<usize>; 3]) -> [[usize; 2]; 3] {
        let mut extent = [[0; 2]; 3];
        for (range, (axis, against)) in ranges.into_iter().zip(self.axes) {
            let (first, last) = (range.start, range.end.saturating_sub(1));
            let end = self.sizes[axis] - 1;
            extent[axis] = if against && range.end > 0 { [end - last, end - first] } else { [first, last] };
        }
        extent
    }

    /// The centre of a voxel `[slice, row, column]` of our array.
    fn place(&self, index: [usize; 3]) -> [f64; 3] {
        let mut place = self.first;
        for (ours, (axis, against)) in index.into_iter().zip(self.axes) {
            let along = if against { self.sizes[axis] - 1 - ours } else { ours };
            place = std::array::from_fn(|k| place[k] + self.steps[axis][k] * along as f64);
        }
        place
    }
}

/// Slices along the third axis of the file, rows along the second, columns along the first.
const AS_STORED: [(usize, bool); 3] = [(2, false), (1, false), (0, false)];

/// Where slices, rows and columns are to ascend to, in LPS; none for wherever they do.
fn wanted(turn: Turn) -> Option<[[f64; 3]; 3]> {
    let (left, back, feet) = ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]);
    let (down, right) = match turn {
        Turn::AsStored => return None,
        Turn::Axial => (back, left),
        Turn::Coronal => (feet, left),
        Turn::Sagittal => (feet, back),
    };
    Some([cross(right, down), down, right])
}

/// For each wanted direction the axis that is nearest to it, each axis once, and whether it runs against it.
fn nearest(steps: [[f64; 3]; 3], wanted: [[f64; 3]; 3]) -> [(usize, bool); 3] {
    const ORDERS: [[usize; 3]; 6] = [[2, 1, 0], [1, 2, 0], [2, 0, 1], [0, 2, 1], [1, 0, 2], [0, 1, 2]];
    let along = |ours: usize, axis: usize| dot(wanted[ours], steps[axis]) / norm(steps[axis]);
    let agreement = |order: &[usize; 3]| (0..3).map(|ours| along(ours, order[ours]).abs()).sum::<f64>();
    // Of equals the first is taken: images at 45 degrees stay as they are stored.
    let better = |best: [usize; 3], order: [usize; 3]| {
        if agreement(&order) > agreement(&best) + 1e-6 { order } else { best }
    };
    let order = ORDERS.into_iter().fold(ORDERS[0], better);
    std::array::from_fn(|ours| (order[ours], along(ours, order[ours]) < 0.0))
}

fn norm(v: [f64; 3]) -> f64 {
    dot(v, v).sqrt()
}

/// The vector from slice to slice in patient mm; along the normal for a single slice.
pub(super) fn step(geometry: &VolumeGeometry) -> Result<[f64; 3], UnevenSlices> {
    let origins = geometry.slice_origins();
    let (first, last) = (origins[0], origins.len() - 1);
    if last == 0 {
        return Ok(geometry.normal());
    }
    let step: [f64; 3] = std::array::from_fn(|k| (origins[last][k] - first[k]) / last as f64);
    for (slice, origin) in origins.iter().enumerate() {
        let off_mm = (0..3).map(|k| (first[k] + step[k] * slice as f64 - origin[k]).powi(2)).sum::<f64>().sqrt();
        if off_mm > STEP_MM {
            return Err(UnevenSlices { slice, off_mm });
        }
    }
    Ok(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every order and direction of three axes: which axis of the patient each axis of the file is, and its sign.
    pub(crate) fn layouts() -> Vec<([usize; 3], [bool; 3])> {
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let signs = (0..8).map(|bits| [bits & 1 > 0, bits & 2 > 0, bits & 4 > 0]);
        orders.iter().flat_map(|order| signs.clone().map(|sign| (*order, sign))).collect()
    }

    /// The steps of a file laid out so, of an image that is a little oblique, 0.5, 1 and 2 mm along the patient's axes.
    fn steps((order, against): ([usize; 3], [bool; 3])) -> [[f64; 3]; 3] {
        let (sin, cos) = 0.2_f64.sin_cos();
        let patient = [[0.5 * cos, 0.5 * sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 2.0]];
        std::array::from_fn(|k| patient[order[k]].map(|part| if against[k] { -part } else { part }))
    }

    #[test]
    fn every_layout_of_a_file_gives_the_same_array_and_comes_back() {
        for layout in layouts() {
            let (order, against) = layout;
            let sizes = order.map(|axis| [5, 4, 3][axis]);
            let steps = steps(layout);
            // The same corner of the patient is the first voxel of our array.
            let mut first = [-10.0, -20.0, 30.0];
            for k in 0..3 {
                if against[k] {
                    first = std::array::from_fn(|n| first[n] - steps[k][n] * (sizes[k] - 1) as f64);
                }
            }
            let (grid, geometry) = FileGrid::new(sizes, steps, first, Turn::Axial).expect("legal");
            assert_eq!(geometry.shape(), [3, 4, 5]);
            let origin = geometry.index_to_patient([0.0; 3]);
            assert!(origin.iter().zip([-10.0, -20.0, 30.0]).all(|(a, b)| (a - b).abs() < 1e-9), "{origin:?}");
            let values: Vec<usize> = (0..60).collect();
            let array = grid.array(values.clone());
            // A voxel of the file and of the array lie at the same place.
            let stored = |i: usize, j: usize, k: usize| (k * sizes[1] + j) * sizes[0] + i;
            for ((slice, row, column), value) in array.indexed_iter() {
                let place = geometry.index_to_patient([slice, row, column].map(|index| index as f64));
                let index = [value % sizes[0], value / sizes[0] % sizes[1], value / sizes[0] / sizes[1]];
                assert_eq!(stored(index[0], index[1], index[2]), *value);
                let of_file: [f64; 3] =
                    std::array::from_fn(|n| first[n] + (0..3).map(|k| steps[k][n] * index[k] as f64).sum::<f64>());
                assert!(place.iter().zip(of_file).all(|(a, b)| (a - b).abs() < 1e-9), "{layout:?}");
            }
            let back: Vec<usize> = grid.in_order(array.view()).iter().copied().collect();
            assert_eq!(back, values, "{layout:?}");
            let [i, j, k] = grid.extent([1..2, 1..3, 2..5]);
            let inside = array.slice_each_axis(|axis| [1..2, 1..3, 2..5][axis.axis.index()].clone().into());
            assert!(inside.iter().all(|value| {
                let index = [value % sizes[0], value / sizes[0] % sizes[1], value / sizes[0] / sizes[1]];
                index.iter().zip([i, j, k]).all(|(at, [first, last])| (first..=last).contains(at))
            }));
            assert_eq!([i, j, k].map(|[first, last]| last + 1 - first).iter().product::<usize>(), 6);
        }
    }

    #[test]
    fn a_plane_lays_images_out_as_scanners_do() {
        let layout = ([0, 1, 2], [false; 3]);
        let of = |turn| FileGrid::new([5, 4, 3], steps(layout), [0.0; 3], turn).expect("legal").1;
        assert_eq!(of(Turn::Sagittal).shape(), [5, 3, 4]);
        assert!(of(Turn::Sagittal).column_direction()[2] < -0.99);
        assert_eq!(of(Turn::Coronal).shape(), [4, 3, 5]);
        assert!(of(Turn::Coronal).normal()[1] > 0.9);
    }

    #[test]
    fn refuses_what_places_no_voxels() {
        let check = |sizes, steps: [[f64; 3]; 3], expected: &str| {
            let told = FileGrid::new(sizes, steps, [0.0; 3], Turn::AsStored).expect_err("refused").to_string();
            assert!(told.starts_with(expected), "{told}");
        };
        let even = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        check([9_000, 2, 2], even, "found [9000, 2, 2] voxels");
        check([8_000, 8_000, 1_000], even, "found [8000, 8000, 1000] voxels");
        check([2; 3], [even[0], even[1], [0.0; 3]], "found steps of [1.0, 1.0, 0.0] mm");
        check([2; 3], [even[0], even[1], [0.0, f64::NAN, 1.0]], "found an affine with a number that is not finite");
        check([2; 3], [even[0], [0.3, 1.0, 0.0], even[2]], "found axes of the image that are not at right angles");
        check(
            [2; 3],
            [even[0], even[1], [0.0, 2.0, 1.0]],
            "found slices that lean over by 63 degrees, expected at most 46",
        );
    }
}
