//! Pixels with the geometry that places them in the patient; it does not read DICOM and does not resample.
//!
//! Conventions, said once:
//! - patient coordinates are LPS in mm (PS3.3 C.7.6.2.1.1): +x to the patient's left, +y posterior, +z superior;
//! - arrays and indices are `[slice, row, column]`, 0-based; an integer index is the *centre* of a voxel;
//! - slices ascend along the normal (row direction x column direction), whatever order they were sent in;
//! - points are `[x, y, z]`.

mod compact;
pub mod distances;
mod rigid;

use std::sync::Arc;

use ndarray::Array3;
use thiserror::Error;

use crate::limits::{IMAGE_SIDE_MAX, SLICES_MAX, VOXELS_MAX};

pub use compact::CompactMask;
pub use rigid::{NotRigid, Rigid};

/// Where the voxels of a volume lie. Each slice keeps its own origin, so spacing may vary and stacks may be sheared
/// (gantry tilt): no mean spacing is ever used to place a slice.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeGeometry {
    rows: usize,
    columns: usize,
    row_spacing_mm: f64,
    column_spacing_mm: f64,
    row_direction: [f64; 3],
    column_direction: [f64; 3],
    normal: [f64; 3],
    slice_origins: Vec<[f64; 3]>,
    positions_mm: Vec<f64>,
}

/// Why numbers do not make a geometry.
#[derive(Debug, Error, PartialEq)]
pub enum GeometryError {
    #[error(
        "found {rows} rows, {columns} columns and {slices} slices, expected at least 1 and at most {IMAGE_SIDE_MAX}, {IMAGE_SIDE_MAX} and {SLICES_MAX}, and {VOXELS_MAX} voxels in all"
    )]
    Size { rows: usize, columns: usize, slices: usize },
    #[error(
        "found spacing of {row_mm} mm between rows and {column_mm} mm between columns, expected two positive numbers"
    )]
    Spacing { row_mm: f64, column_mm: f64 },
    #[error("found directions that are not two perpendicular unit vectors (deviation {deviation:.4}, at most 0.01)")]
    Directions { deviation: f64 },
    #[error("found slice index {index} at {position_mm:.3} mm, not above the slice before it at {previous_mm:.3} mm")]
    Order { index: usize, position_mm: f64, previous_mm: f64 },
    #[error("found a coordinate that is not a finite number")]
    NotFinite,
}

impl VolumeGeometry {
    /// Makes a geometry from what an image says of itself.
    ///
    /// `spacing_mm` is Pixel Spacing as DICOM orders it: between rows, then between columns (PS3.3 10.7.1.3).
    /// `row_direction` points along increasing column index, `column_direction` along increasing row index (Image
    /// Orientation Patient). `slice_origins` are the centres of the first voxel of each slice (Image Position
    /// Patient), ascending along the normal. Directions are renormalised and made perpendicular.
    ///
    /// # Errors
    /// [`GeometryError`] for sizes out of bounds, spacing not positive, directions off by more than 1e-2, slices out
    /// of order or coincident (under 1e-3 mm), and numbers that are not finite.
    pub fn new(
        (rows, columns): (usize, usize),
        spacing_mm: [f64; 2],
        row_direction: [f64; 3],
        column_direction: [f64; 3],
        slice_origins: Vec<[f64; 3]>,
    ) -> Result<VolumeGeometry, GeometryError> {
        let slices = slice_origins.len();
        let sides = (1..=IMAGE_SIDE_MAX).contains(&rows) && (1..=IMAGE_SIDE_MAX).contains(&columns);
        if !sides || !(1..=SLICES_MAX).contains(&slices) || rows * columns * slices > VOXELS_MAX {
            return Err(GeometryError::Size { rows, columns, slices });
        }
        let numbers = slice_origins.iter().flatten().chain(&row_direction).chain(&column_direction).chain(&spacing_mm);
        if numbers.into_iter().any(|x| !x.is_finite()) {
            return Err(GeometryError::NotFinite);
        }
        if spacing_mm.iter().any(|&mm| mm <= 0.0) {
            return Err(GeometryError::Spacing { row_mm: spacing_mm[0], column_mm: spacing_mm[1] });
        }
        let deviation = (norm(row_direction) - 1.0)
            .abs()
            .max((norm(column_direction) - 1.0).abs())
            .max(dot(row_direction, column_direction).abs());
        if deviation > 1e-2 {
            return Err(GeometryError::Directions { deviation });
        }
        let row_direction = scale(row_direction, 1.0 / norm(row_direction));
        let across = sub(column_direction, scale(row_direction, dot(row_direction, column_direction)));
        let column_direction = scale(across, 1.0 / norm(across));
        let normal = cross(row_direction, column_direction);
        let positions_mm: Vec<f64> = slice_origins.iter().map(|&origin| dot(normal, origin)).collect();
        if let Some(index) = (1..slices).find(|&k| positions_mm[k] - positions_mm[k - 1] < 1e-3) {
            let (position_mm, previous_mm) = (positions_mm[index], positions_mm[index - 1]);
            return Err(GeometryError::Order { index, position_mm, previous_mm });
        }
        Ok(VolumeGeometry {
            rows,
            columns,
            row_spacing_mm: spacing_mm[0],
            column_spacing_mm: spacing_mm[1],
            row_direction,
            column_direction,
            normal,
            slice_origins,
            positions_mm,
        })
    }

    /// `[slices, rows, columns]`, the shape of every array on this grid.
    pub fn shape(&self) -> [usize; 3] {
        [self.slice_origins.len(), self.rows, self.columns]
    }

    /// How many slices there are.
    pub fn slices(&self) -> usize {
        self.slice_origins.len()
    }

    /// How many rows a slice has.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns a slice has.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Distance between the centres of adjacent rows (vertical), the first value of Pixel Spacing.
    pub fn row_spacing_mm(&self) -> f64 {
        self.row_spacing_mm
    }

    /// Distance between the centres of adjacent columns (horizontal), the second value of Pixel Spacing.
    pub fn column_spacing_mm(&self) -> f64 {
        self.column_spacing_mm
    }

    /// Unit vector along increasing column index.
    pub fn row_direction(&self) -> [f64; 3] {
        self.row_direction
    }

    /// Unit vector along increasing row index.
    pub fn column_direction(&self) -> [f64; 3] {
        self.column_direction
    }

    /// Unit vector from slice to slice at right angles to the image plane: row direction x column direction.
    pub fn normal(&self) -> [f64; 3] {
        self.normal
    }

    /// Centre of the first voxel of each slice in patient mm, ascending along the normal.
    pub fn slice_origins(&self) -> &[[f64; 3]] {
        &self.slice_origins
    }

    /// Signed distance of each slice from the patient origin along the normal, ascending.
    pub fn positions_mm(&self) -> &[f64] {
        &self.positions_mm
    }

    /// Median distance between adjacent slices; 1 mm for a single slice. For choices, never for placing a slice.
    pub fn slice_spacing_mm(&self) -> f64 {
        let mut gaps: Vec<f64> = self.positions_mm.windows(2).map(|pair| pair[1] - pair[0]).collect();
        if gaps.is_empty() {
            return 1.0;
        }
        gaps.sort_by(f64::total_cmp);
        gaps[gaps.len() / 2]
    }

    /// Largest deviation of a gap between slices from the median gap.
    pub fn slice_spacing_deviation_mm(&self) -> f64 {
        let median = self.slice_spacing_mm();
        self.positions_mm.windows(2).map(|pair| (pair[1] - pair[0] - median).abs()).fold(0.0, f64::max)
    }

    /// Extent of one slice along the normal: half the gap to each neighbour, a whole gap at the ends of the stack.
    pub fn slice_extent_mm(&self, slice: usize) -> f64 {
        let p = &self.positions_mm;
        let below = slice.checked_sub(1).map(|k| p[slice] - p[k]);
        let above = p.get(slice + 1).map(|next| next - p[slice]);
        match (below, above) {
            (Some(below), Some(above)) => (below + above) / 2.0,
            (Some(gap), None) | (None, Some(gap)) => gap,
            (None, None) => 1.0,
        }
    }

    /// Volume of one voxel of a slice in mm3.
    pub fn voxel_volume_mm3(&self, slice: usize) -> f64 {
        self.slice_extent_mm(slice) * self.row_spacing_mm * self.column_spacing_mm
    }

    /// Patient point of a (fractional) index `[slice, row, column]`. Between slices the origin is interpolated;
    /// beyond the ends it continues with the outermost gap.
    pub fn index_to_patient(&self, index: [f64; 3]) -> [f64; 3] {
        let origin = self.origin_at(index[0]);
        let down = scale(self.column_direction, index[1] * self.row_spacing_mm);
        let right = scale(self.row_direction, index[2] * self.column_spacing_mm);
        add(origin, add(down, right))
    }

    /// Fractional index `[slice, row, column]` of a patient point; the inverse of [`Self::index_to_patient`].
    pub fn patient_to_index(&self, point: [f64; 3]) -> [f64; 3] {
        let slice = self.slice_at(dot(self.normal, point));
        let offset = sub(point, self.origin_at(slice));
        let row = dot(offset, self.column_direction) / self.row_spacing_mm;
        let column = dot(offset, self.row_direction) / self.column_spacing_mm;
        [slice, row, column]
    }

    fn origin_at(&self, slice: f64) -> [f64; 3] {
        let last = self.slice_origins.len() - 1;
        if last == 0 {
            return add(self.slice_origins[0], scale(self.normal, slice * self.slice_spacing_mm()));
        }
        let below = (slice.floor().max(0.0) as usize).min(last - 1);
        let (a, b) = (self.slice_origins[below], self.slice_origins[below + 1]);
        add(a, scale(sub(b, a), slice - below as f64))
    }

    fn slice_at(&self, position_mm: f64) -> f64 {
        let p = &self.positions_mm;
        let last = p.len() - 1;
        if last == 0 {
            return (position_mm - p[0]) / self.slice_spacing_mm();
        }
        let below = p.partition_point(|&q| q <= position_mm).saturating_sub(1).min(last - 1);
        below as f64 + (position_mm - p[below]) / (p[below + 1] - p[below])
    }
}

/// An image: values with their geometry. CT values are HU; others are in the unit that their source states.
#[derive(Clone)]
pub struct Volume {
    pub geometry: Arc<VolumeGeometry>,
    /// `[slice, row, column]`, of the geometry's shape.
    pub pixels: Array3<f32>,
}

/// The voxels of one structure: true inside. Structures overlap (lungs lie in the body), so each has its own.
#[derive(Clone)]
pub struct Mask {
    pub geometry: Arc<VolumeGeometry>,
    /// `[slice, row, column]`, of the geometry's shape.
    pub voxels: Array3<bool>,
}

/// Exclusive labels of a model's output, 0 for background.
#[derive(Clone)]
pub struct LabelMap {
    pub geometry: Arc<VolumeGeometry>,
    /// `[slice, row, column]`, of the geometry's shape.
    pub labels: Array3<u16>,
}

impl Volume {
    /// Joins pixels and geometry.
    ///
    /// # Panics
    /// When the shapes differ: that is an error of the calling code.
    pub fn new(geometry: Arc<VolumeGeometry>, pixels: Array3<f32>) -> Volume {
        assert_eq!(pixels.shape(), geometry.shape(), "pixels and geometry of a volume have one shape");
        Volume { geometry, pixels }
    }
}

impl Mask {
    /// Joins voxels and geometry.
    ///
    /// # Panics
    /// When the shapes differ: that is an error of the calling code.
    pub fn new(geometry: Arc<VolumeGeometry>, voxels: Array3<bool>) -> Mask {
        assert_eq!(voxels.shape(), geometry.shape(), "voxels and geometry of a mask have one shape");
        Mask { geometry, voxels }
    }

    /// A mask without any voxel.
    pub fn empty(geometry: Arc<VolumeGeometry>) -> Mask {
        let voxels = Array3::from_elem(geometry.shape(), false);
        Mask { geometry, voxels }
    }

    /// How many voxels are inside.
    pub fn count(&self) -> usize {
        self.voxels.iter().filter(|&&inside| inside).count()
    }

    /// Volume in cm3, each slice with its own extent.
    pub fn volume_cm3(&self) -> f64 {
        let slices = self.voxels.outer_iter().enumerate();
        let mm3 = slices.map(|(k, slice)| {
            slice.iter().filter(|&&inside| inside).count() as f64 * self.geometry.voxel_volume_mm3(k)
        });
        mm3.sum::<f64>() / 1000.0
    }

    /// Dice coefficient of two masks on one grid, by voxel count; 1 when both are empty.
    ///
    /// # Panics
    /// When the shapes differ.
    pub fn dice(&self, other: &Mask) -> f64 {
        assert_eq!(self.voxels.shape(), other.voxels.shape(), "Dice compares masks on one grid");
        let both = self.voxels.iter().zip(&other.voxels).filter(|(a, b)| **a && **b).count();
        let sum = self.count() + other.count();
        if sum == 0 { 1.0 } else { 2.0 * both as f64 / sum as f64 }
    }
}

impl LabelMap {
    /// The voxels that carry one label.
    pub fn mask(&self, label: u16) -> Mask {
        Mask { geometry: Arc::clone(&self.geometry), voxels: self.labels.mapv(|found| found == label) }
    }
}

/// Scalar product.
pub fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Vector product, right-handed.
pub fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

fn norm(a: [f64; 3]) -> f64 {
    dot(a, a).sqrt()
}

fn scale(a: [f64; 3], by: f64) -> [f64; 3] {
    a.map(|x| x * by)
}

fn add(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

fn sub(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oblique() -> VolumeGeometry {
        let (sin, cos) = 0.3_f64.sin_cos();
        let origins = [0.0, 2.5, 6.0, 7.0].map(|z| [1.0 + 0.1 * z, 2.0 - 0.2 * z, z]).to_vec();
        VolumeGeometry::new((4, 5), [1.25, 0.75], [cos, sin, 0.0], [-sin, cos, 0.0], origins).expect("a legal geometry")
    }

    #[test]
    fn index_and_patient_are_inverse_on_a_sheared_uneven_stack() {
        let geometry = oblique();
        for index in [[0.0, 0.0, 0.0], [1.4, 2.2, 3.3], [-0.5, -1.0, 9.0], [3.5, 0.0, 4.0]] {
            let back = geometry.patient_to_index(geometry.index_to_patient(index));
            assert!(index.iter().zip(back).all(|(a, b)| (a - b).abs() < 1e-9), "{index:?} came back as {back:?}");
        }
    }

    #[test]
    fn integer_indices_are_the_slice_origins() {
        let geometry = oblique();
        assert_eq!(geometry.index_to_patient([2.0, 0.0, 0.0]), geometry.slice_origins()[2]);
    }

    #[test]
    fn a_compact_mask_comes_back_whole() {
        let geometry = Arc::new(oblique());
        let mut mask = Mask::empty(Arc::clone(&geometry));
        assert!(CompactMask::from(mask.clone()).is_empty());
        assert_eq!(CompactMask::from(mask.clone()).to_mask().voxels, mask.voxels);
        mask.voxels[[1, 2, 3]] = true;
        mask.voxels[[2, 0, 3]] = true;
        let compact = CompactMask::from(mask.clone());
        assert_eq!(compact.extent(), [1..3, 0..3, 3..4]);
        assert_eq!(compact.row(1, 2).collect::<Vec<_>>(), [true]);
        assert!(compact.contains([1, 2, 3]) && !compact.contains([1, 1, 3]) && !compact.contains([0, 2, 3]));
        assert_eq!(compact.to_mask().voxels, mask.voxels);
        assert!((compact.volume_cm3() - mask.volume_cm3()).abs() < 1e-12);
    }

    #[test]
    fn refuses_slices_out_of_order_and_skew_directions() {
        let flat = |origins| VolumeGeometry::new((2, 2), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
        assert!(matches!(flat(vec![[0.0; 3], [0.0; 3]]), Err(GeometryError::Order { index: 1, .. })));
        let skew = VolumeGeometry::new((2, 2), [1.0, 1.0], [1.0, 0.0, 0.0], [0.1, 1.0, 0.0], vec![[0.0; 3]]);
        assert!(matches!(skew, Err(GeometryError::Directions { .. })));
    }

    #[test]
    fn volume_uses_the_extent_of_each_slice() {
        let geometry = Arc::new(oblique());
        let mut mask = Mask::empty(Arc::clone(&geometry));
        mask.voxels[[1, 0, 0]] = true;
        assert!((mask.volume_cm3() - 3.0 * 1.25 * 0.75 / 1000.0).abs() < 1e-12);
    }
}
