//! Rigid transforms of patient coordinates, and a geometry that is moved by one; it reads no DICOM.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{VolumeGeometry, add, cross, dot, norm, scale, sub};

/// Largest deviation from a rotation of a matrix that is still one: makers write four decimals. At 250 mm from the origin it
/// is an eighth of a millimetre.
const DEVIATION_MAX: f64 = 5e-4;

/// Longest shift of a matrix (mm): devices and couches lie within it, and what is beyond is in another unit or wrong.
const SHIFT_MAX_MM: f64 = 10_000.0;

/// Points along each side of the grid by which an overlap is judged.
const OVERLAP_POINTS: usize = 24;

/// Two transforms that move no point within this distance of the origin (mm) further apart than [`SAME_MM`] are the same.
const REACH_MM: f64 = 1000.0;
const SAME_MM: f64 = 0.01;

/// A rotation about the patient's origin, then a shift, both in LPS mm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rigid {
    /// Row by row.
    rotation: [[f64; 3]; 3],
    shift_mm: [f64; 3],
}

/// Why a matrix is no rigid transform.
#[derive(Debug, Error, PartialEq)]
pub enum NotRigid {
    #[error("found a last row of {0:?}, expected 0 0 0 1")]
    LastRow([f64; 4]),
    #[error("found axes of length {0:.5}, {1:.5} and {2:.5}, expected 1: the matrix scales")]
    Scales(f64, f64, f64),
    #[error("found axes that are not at right angles (their product is {0:.5}): the matrix shears")]
    Shears(f64),
    #[error("found a determinant of -1: the matrix mirrors the patient")]
    Mirrors,
    #[error("found a value that is not a finite number")]
    NotFinite,
    #[error("found a shift of {0:.0} mm, expected at most {SHIFT_MAX_MM} mm")]
    Far(f64),
}

impl Rigid {
    /// Leaves every point where it is.
    pub const IDENTITY: Rigid =
        Rigid { rotation: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], shift_mm: [0.0; 3] };

    /// Of a homogeneous matrix, row by row, that is multiplied from the left with the column (x, y, z, 1). What deviates from
    /// a rotation by rounding becomes the rotation beside it.
    ///
    /// # Errors
    /// [`NotRigid`], judged by the numbers alone.
    pub fn of_matrix(matrix: [f64; 16]) -> Result<Rigid, NotRigid> {
        if matrix.iter().any(|value| !value.is_finite()) {
            return Err(NotRigid::NotFinite);
        }
        let [a, b, c, x, d, e, f, y, g, h, i, z, last @ ..] = matrix;
        if last.iter().zip([0.0, 0.0, 0.0, 1.0]).any(|(found, expected)| (found - expected).abs() > 1e-6) {
            return Err(NotRigid::LastRow(last));
        }
        // The images of the axes of the patient.
        let axes = [[a, d, g], [b, e, h], [c, f, i]];
        let lengths = axes.map(norm);
        if lengths.iter().any(|length| (length - 1.0).abs() > DEVIATION_MAX) {
            return Err(NotRigid::Scales(lengths[0], lengths[1], lengths[2]));
        }
        let products = [dot(axes[0], axes[1]), dot(axes[1], axes[2]), dot(axes[2], axes[0])];
        if let Some(product) = products.into_iter().find(|product| product.abs() > DEVIATION_MAX) {
            return Err(NotRigid::Shears(product));
        }
        if dot(cross(axes[0], axes[1]), axes[2]) < 0.0 {
            return Err(NotRigid::Mirrors);
        }
        if norm([x, y, z]) > SHIFT_MAX_MM {
            return Err(NotRigid::Far(norm([x, y, z])));
        }
        let first = scale(axes[0], 1.0 / lengths[0]);
        let second = sub(axes[1], scale(first, dot(first, axes[1])));
        let second = scale(second, 1.0 / norm(second));
        let third = cross(first, second);
        let row = |k: usize| [first[k], second[k], third[k]];
        Ok(Rigid { rotation: [row(0), row(1), row(2)], shift_mm: [x, y, z] })
    }

    /// Where a direction points after it.
    pub fn turn(&self, direction: [f64; 3]) -> [f64; 3] {
        self.rotation.map(|row| dot(row, direction))
    }

    /// Where a point lies after it.
    pub fn apply(&self, point: [f64; 3]) -> [f64; 3] {
        add(self.turn(point), self.shift_mm)
    }

    /// This one first, then the other.
    pub fn then(&self, after: &Rigid) -> Rigid {
        let column = |k: usize| after.turn(self.rotation.map(|row| row[k]));
        let columns = [column(0), column(1), column(2)];
        let row = |k: usize| columns.map(|column| column[k]);
        Rigid { rotation: [row(0), row(1), row(2)], shift_mm: after.apply(self.shift_mm) }
    }

    /// The way back.
    pub fn inverse(&self) -> Rigid {
        let row = |k: usize| self.rotation.map(|row| row[k]);
        let back = Rigid { rotation: [row(0), row(1), row(2)], shift_mm: [0.0; 3] };
        Rigid { shift_mm: scale(back.turn(self.shift_mm), -1.0), ..back }
    }

    /// The angle by which it turns, 0 to 180 degrees.
    pub fn angle_degrees(&self) -> f64 {
        let [[a, b, c], [d, e, f], [g, h, i]] = self.rotation;
        // By sine and cosine: the cosine alone says nothing of small angles.
        let twice_sine = norm([h - f, c - g, d - b]);
        twice_sine.atan2(a + e + i - 1.0).to_degrees()
    }

    /// How far it moves a point.
    pub fn distance_mm(&self, point: [f64; 3]) -> f64 {
        norm(sub(self.apply(point), point))
    }

    /// Whether it moves every point of a patient as another does, within what rounding makes of it.
    pub fn is_same(&self, other: &Rigid) -> bool {
        let corners =
            (0..8).map(|corner: u32| [0, 1, 2].map(|axis| if corner >> axis & 1 == 1 { REACH_MM } else { -REACH_MM }));
        corners.into_iter().all(|corner| norm(sub(self.apply(corner), other.apply(corner))) <= SAME_MM)
    }
}

impl VolumeGeometry {
    /// The same voxels in other coordinates: every point goes where the transform takes it. Slices keep their distances, even
    /// or not.
    #[must_use]
    pub fn moved(&self, by: &Rigid) -> VolumeGeometry {
        let slice_origins: Vec<[f64; 3]> = self.slice_origins.iter().map(|&origin| by.apply(origin)).collect();
        let (row_direction, column_direction) = (by.turn(self.row_direction), by.turn(self.column_direction));
        let normal = cross(row_direction, column_direction);
        let positions_mm = slice_origins.iter().map(|&origin| dot(normal, origin)).collect();
        VolumeGeometry { row_direction, column_direction, normal, slice_origins, positions_mm, ..self.clone() }
    }

    /// How much of the smaller of two stacks lies within the other, 0 to 1, to a few hundredths.
    pub fn overlap(&self, other: &VolumeGeometry) -> f64 {
        self.part_within(other).max(other.part_within(self))
    }

    /// How much of it lies within another, by points in the middles of equal parts.
    fn part_within(&self, other: &VolumeGeometry) -> f64 {
        let sides = self.shape();
        let at = |side: usize, k: usize| (k as f64 + 0.5) / OVERLAP_POINTS as f64 * side as f64 - 0.5;
        let each = || 0..OVERLAP_POINTS;
        let points = each().flat_map(|k| each().flat_map(move |j| each().map(move |i| [k, j, i])));
        let inside = points.filter(|&[k, j, i]| {
            other.holds(self.index_to_patient([at(sides[0], k), at(sides[1], j), at(sides[2], i)]), 0.0)
        });
        inside.count() as f64 / OVERLAP_POINTS.pow(3) as f64
    }

    /// Whether a point lies within its voxels, or within `beyond` voxels of them.
    pub fn holds(&self, point: [f64; 3], beyond: f64) -> bool {
        let reach = 0.5 + beyond;
        let index = self.patient_to_index(point);
        index.iter().zip(self.shape()).all(|(&at, side)| at >= -reach && at <= side as f64 - 1.0 + reach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 30 degrees about z, 5 about x, and a shift.
    fn pose() -> [f64; 16] {
        let (s, c) = (0.5, 0.75_f64.sqrt());
        let (t, d) = 5.0_f64.to_radians().sin_cos();
        [c, -s * d, s * t, 10.0, s, c * d, -c * t, -20.0, 0.0, t, d, 35.0, 0.0, 0.0, 0.0, 1.0]
    }

    fn close(a: [f64; 3], b: [f64; 3]) -> bool {
        norm(sub(a, b)) < 1e-9
    }

    #[test]
    fn multiplies_a_column_from_the_left() {
        let turn = [0.0, -1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 1.0, 3.0, 0.0, 0.0, 0.0, 1.0];
        let rigid = Rigid::of_matrix(turn).expect("rigid");
        assert!(close(rigid.apply([5.0, 0.0, 0.0]), [1.0, 7.0, 3.0]));
        assert!((rigid.angle_degrees() - 90.0).abs() < 1e-9);
        assert!((rigid.distance_mm([0.0; 3]) - 14.0_f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn goes_there_and_back_and_one_after_the_other() {
        let rigid = Rigid::of_matrix(pose()).expect("rigid");
        let other = Rigid::of_matrix([0.0, -1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 1.0, 3.0, 0.0, 0.0, 0.0, 1.0]);
        let other = other.expect("rigid");
        let point = [12.0, -7.0, 90.0];
        assert!(close(rigid.inverse().apply(rigid.apply(point)), point));
        assert!(close(rigid.then(&other).apply(point), other.apply(rigid.apply(point))));
        assert!(rigid.then(&rigid.inverse()).is_same(&Rigid::IDENTITY) && !rigid.is_same(&Rigid::IDENTITY));
    }

    #[test]
    fn takes_rounded_rotations_and_nothing_else() {
        let changed = |change: &dyn Fn(&mut [f64; 16])| {
            let mut matrix = pose();
            change(&mut matrix);
            Rigid::of_matrix(matrix)
        };
        let rounded = changed(&|matrix| matrix.iter_mut().for_each(|value| *value = (*value * 1e4).round() / 1e4));
        assert!(
            (rounded.expect("rounded").angle_degrees() - Rigid::of_matrix(pose()).expect("rigid").angle_degrees())
                .abs()
                < 0.01
        );
        let told = |result: Result<Rigid, NotRigid>| result.expect_err("refused").to_string();
        assert!(told(changed(&|matrix| [0, 4, 8].iter().for_each(|&k| matrix[k] *= 1.01))).contains("scales"));
        let sheared =
            Rigid::of_matrix([1.0, 0.02, 0.0, 0.0, 0.0, 0.9998, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        assert!(told(sheared).contains("shears"));
        assert_eq!(changed(&|matrix| [2, 6, 10].iter().for_each(|&k| matrix[k] *= -1.0)), Err(NotRigid::Mirrors));
        assert!(matches!(changed(&|matrix| matrix[12] = 0.1), Err(NotRigid::LastRow(_))));
        assert!(matches!(changed(&|matrix| matrix[15] = 0.0), Err(NotRigid::LastRow(_))));
        assert_eq!(changed(&|matrix| matrix[3] = f64::NAN), Err(NotRigid::NotFinite));
        assert!(told(changed(&|matrix| matrix[3] = 1e300)).contains("expected at most 10000 mm"));
        assert!(told(changed(&|matrix| matrix[7] = -10_500.0)).starts_with("found a shift of 10500 mm"));
        assert!(changed(&|matrix| matrix[7] = -9_900.0).is_ok());
        assert!(Rigid::of_matrix([0.0; 16]).is_err());
    }

    #[test]
    fn an_overlap_is_the_part_of_the_smaller_stack() {
        let grid = |side: usize, mm: f64| {
            let origins = (0..side).map(|k| [0.0, 0.0, k as f64 * mm]).collect();
            VolumeGeometry::new((side, side), [mm, mm], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins).expect("legal")
        };
        let shifted = |grid: &VolumeGeometry, mm: f64| {
            let by = [1.0, 0.0, 0.0, mm, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0];
            grid.moved(&Rigid::of_matrix(by).expect("rigid"))
        };
        let (large, small) = (grid(40, 2.0), grid(10, 2.0));
        assert!((large.overlap(&large) - 1.0).abs() < 1e-12);
        assert!((large.overlap(&shifted(&large, 20.0)) - 0.75).abs() < 0.05);
        // A small one within a large one is wholly there, and one that lies half beyond its border is half there.
        assert!((shifted(&small, 30.0).overlap(&large) - 1.0).abs() < 1e-12);
        assert!((large.overlap(&shifted(&small, 69.0)) - 0.5).abs() < 0.06);
        assert_eq!(large.overlap(&shifted(&large, 90.0)), 0.0);
    }

    #[test]
    fn a_moved_geometry_has_its_voxels_where_the_transform_takes_them() {
        // Uneven slices of a tilted gantry.
        let origins = vec![[0.0, 0.0, 0.0], [0.0, 0.4, 3.0], [0.0, 1.3, 10.0], [0.0, 1.4, 11.0]];
        let geometry =
            VolumeGeometry::new((4, 5), [0.8, 0.9], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins).expect("legal");
        let rigid = Rigid::of_matrix(pose()).expect("rigid");
        let moved = geometry.moved(&rigid);
        for index in [[0.0, 0.0, 0.0], [1.5, 2.0, 3.0], [3.0, 0.5, 4.0], [-0.5, 0.0, 0.0]] {
            let expected = rigid.apply(geometry.index_to_patient(index));
            assert!(close(moved.index_to_patient(index), expected));
            assert!(close(moved.patient_to_index(expected), index), "{index:?}");
        }
        assert!((0..4).all(|k| (moved.slice_extent_mm(k) - geometry.slice_extent_mm(k)).abs() < 1e-9));
    }
}
