//! The grid on which structures from several sources are looked at; it brings nothing onto it.

use crate::limits::SLICES_MAX;
use crate::volume::{GeometryError, VolumeGeometry, cross, dot};

/// A gap this much wider than the usual one misses planes.
const GAP: f64 = 1.5;

/// A point this close to a voxel's centre, in voxels, lies on it.
const HAIR: f64 = 1e-6;

/// The grid with rows, columns and slices added on all sides until it has every voxel whose centre lies between the points,
/// and with the planes that are missing between its slices. The voxels of `whole` keep their places.
///
/// # Errors
/// [`GeometryError`] when it becomes larger than a volume may be.
pub fn covering(whole: &VolumeGeometry, points: &[[f64; 3]]) -> Result<VolumeGeometry, GeometryError> {
    let base = with_missing_planes(whole)?;
    let (mut low, mut high) = ([0.0_f64; 3], base.shape().map(|count| count as f64 - 1.0));
    for index in points.iter().map(|&point| base.patient_to_index(point)) {
        for axis in 0..3 {
            low[axis] = low[axis].min((index[axis] - HAIR).ceil());
            high[axis] = high[axis].max((index[axis] + HAIR).floor());
        }
    }
    if low.iter().chain(&high).any(|end| !end.is_finite()) {
        return Err(GeometryError::NotFinite);
    }
    let count = |axis: usize| (high[axis] - low[axis]) as usize + 1;
    if [0, 1, 2].map(count) == whole.shape() {
        // The very grid, so that masks on it are known to be.
        return Ok(whole.clone());
    }
    // One more than may be is enough for the error that tells it.
    let planes = (0..count(0).min(SLICES_MAX + 1)).map(|plane| low[0] + plane as f64);
    let origins = planes.map(|slice| base.index_to_patient([slice, low[1], low[2]])).collect();
    on_origins(&base, (count(1), count(2)), origins)
}

/// The grid with planes put into gaps that are wider than the usual one.
fn with_missing_planes(base: &VolumeGeometry) -> Result<VolumeGeometry, GeometryError> {
    let positions = base.positions_mm();
    let gaps: Vec<f64> = positions.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mut sorted = gaps.clone();
    sorted.sort_by(f64::total_cmp);
    let usual = sorted.get(gaps.len().saturating_sub(1) / 2).copied().unwrap_or(1.0);
    let mut origins = vec![base.slice_origins()[0]];
    for (slice, gap) in gaps.iter().enumerate() {
        let parts = if *gap > GAP * usual { (gap / usual).round().min(SLICES_MAX as f64) } else { 1.0 };
        let part = |part: usize| base.index_to_patient([slice as f64 + part as f64 / parts, 0.0, 0.0]);
        origins.extend((1..=parts as usize).map(part));
    }
    on_origins(base, (base.rows(), base.columns()), origins)
}

fn on_origins(
    base: &VolumeGeometry,
    size: (usize, usize),
    origins: Vec<[f64; 3]>,
) -> Result<VolumeGeometry, GeometryError> {
    let spacing_mm = [base.row_spacing_mm(), base.column_spacing_mm()];
    VolumeGeometry::new(size, spacing_mm, base.row_direction(), base.column_direction(), origins)
}

/// A grid of square pixels on the planes of contours, which holds them all; nothing when there are none.
///
/// Planes are parallel to the first contour's; across them rows run along x, for axial contours as in an image. The
/// distance of the planes is that of the contours; a single plane counts as 1 mm thick.
///
/// # Errors
/// [`GeometryError`] when it becomes larger than a volume may be.
pub fn of_planes(contours: &[&[[f64; 3]]], pixel_mm: f64) -> Result<Option<VolumeGeometry>, GeometryError> {
    let Some(normal) = contours.iter().find_map(|contour| normal(contour)) else { return Ok(None) };
    let row_direction = row_direction(normal);
    let column_direction = cross(normal, row_direction);
    let mean =
        |contour: &&[[f64; 3]]| contour.iter().map(|&point| dot(normal, point)).sum::<f64>() / contour.len() as f64;
    let mut positions: Vec<f64> = contours.iter().filter(|contour| !contour.is_empty()).map(mean).collect();
    positions.sort_by(f64::total_cmp);
    // Contours of one plane differ by how they were rounded.
    positions.dedup_by(|next, kept| *next - *kept < 0.1);
    let corner = contours.iter().flat_map(|contour| contour.iter()).fold([f64::MAX; 2], |corner, &point| {
        [corner[0].min(dot(row_direction, point)), corner[1].min(dot(column_direction, point))]
    });
    // Contours often run along the edges of pixels: centres half a pixel inside lie on none of them.
    let corner = corner.map(|mm| mm + pixel_mm / 2.0);
    let origin = |&position: &f64| {
        std::array::from_fn(|k| row_direction[k] * corner[0] + column_direction[k] * corner[1] + normal[k] * position)
    };
    let origins: Vec<[f64; 3]> = positions.iter().map(origin).collect();
    let base = VolumeGeometry::new((1, 1), [pixel_mm; 2], row_direction, column_direction, origins)?;
    let points: Vec<[f64; 3]> = contours.iter().flat_map(|contour| contour.iter().copied()).collect();
    covering(&base, &points).map(Some)
}

/// The unit normal of a planar polygon (Newell's method), towards the head, the back or the left, whichever it is nearest
/// to; nothing for one without an area. Within rounding of an axis it is the axis.
fn normal(polygon: &[[f64; 3]]) -> Option<[f64; 3]> {
    let mut sum = [0.0; 3];
    for (a, b) in polygon.iter().zip(polygon.iter().cycle().skip(1)) {
        // Against the first point, so that contours far from the origin lose no digits.
        let [p, q] = [a, b].map(|point| -> [f64; 3] { std::array::from_fn(|k| point[k] - polygon[0][k]) });
        let part = cross(p, q);
        (0..3).for_each(|k| sum[k] += part[k]);
    }
    let length = dot(sum, sum).sqrt();
    if !(length.is_finite() && length > 1e-6) {
        return None;
    }
    let largest = (0..3).max_by(|&a, &b| sum[a].abs().total_cmp(&sum[b].abs()))?;
    let normal = sum.map(|x| x / (length * sum[largest].signum()));
    let axis = std::array::from_fn(|k| f64::from(u8::from(k == largest)));
    Some(if normal[largest] > 1.0 - 1e-6 { axis } else { normal })
}

/// The direction in the plane nearest to x, or to y where the plane is across x.
fn row_direction(normal: [f64; 3]) -> [f64; 3] {
    let along = if normal[0].abs() > 0.9 { [0.0, 1.0, 0.0] } else { [1.0, 0.0, 0.0] };
    let across = dot(normal, along);
    let flat: [f64; 3] = std::array::from_fn(|k| along[k] - across * normal[k]);
    let length = dot(flat, flat).sqrt();
    flat.map(|x| x / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(z: f64, tilt: f64) -> Vec<[f64; 3]> {
        [[-3.0, -2.0], [5.0, -2.0], [5.0, 4.0], [-3.0, 4.0]].map(|[x, y]| [x, y, z + tilt * y]).to_vec()
    }

    #[test]
    fn planes_of_contours_hold_them() {
        let squares = [0.0, 3.0, 9.0, 9.02].map(|z| square(z, 0.0));
        let contours: Vec<&[[f64; 3]]> = squares.iter().map(Vec::as_slice).collect();
        let grid = of_planes(&contours, 0.5).expect("small").expect("a grid");
        assert_eq!(grid.positions_mm(), [0.0, 3.0, 6.0, 9.0]);
        assert_eq!((grid.row_direction(), grid.column_direction()), ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]));
        // 8 x 6 mm, with the contours along the edges of pixels.
        assert_eq!((grid.rows(), grid.columns()), (12, 16));
        assert_eq!(grid.patient_to_index([-3.0, -2.0, 0.0]), [0.0, -0.5, -0.5]);
        assert_eq!(of_planes(&[], 1.0), Ok(None));
    }

    #[test]
    fn oblique_contours_lie_in_their_planes() {
        let squares = [0.0, 3.0, 6.0].map(|z| square(z, 0.2));
        let contours: Vec<&[[f64; 3]]> = squares.iter().map(Vec::as_slice).collect();
        let grid = of_planes(&contours, 1.0).expect("small").expect("a grid");
        let slices = squares[1].iter().map(|&point| grid.patient_to_index(point)[0]);
        assert!(slices.into_iter().all(|slice| (slice - 1.0).abs() < 1e-6));
    }

    #[test]
    fn a_grid_grows_and_keeps_its_voxels_in_place() {
        let origins = [0.0, 2.0, 8.0].map(|z| [10.0, 20.0, z]).to_vec();
        let base = VolumeGeometry::new((4, 5), [1.5, 0.5], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins).expect("legal");
        let grown = covering(&base, &[[8.9, 30.0, -5.0]]).expect("small");
        let expected = [-4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 8.0];
        assert_eq!(grown.slices(), expected.len());
        assert!(grown.positions_mm().iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-9));
        let at = grown.patient_to_index(base.slice_origins()[1]);
        assert_eq!(at, [3.0, 0.0, 2.0]);
        assert_eq!((grown.rows(), grown.columns()), (7, 7));
        let even = covering(&grown, &[[10.0, 20.0, 0.0]]).expect("small");
        assert_eq!(even, grown, "nothing to add");
        assert!(matches!(covering(&base, &[[1e9, 0.0, 0.0]]), Err(GeometryError::Size { .. })));
    }
}
