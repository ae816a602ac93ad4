//! What the values of an image are within a structure: mean, deviation, extremes, median; it knows no unit.

use crate::volume::{CompactMask, Volume};

/// Figures over all voxels of a structure, each voxel counting once, in the unit of the image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Values {
    /// How many voxels had a number.
    pub voxels: usize,
    pub mean: f64,
    /// Of the voxels themselves (divided by their count), not an estimate of a larger population.
    pub standard_deviation: f64,
    pub minimum: f64,
    pub maximum: f64,
    /// The mean of the two middle values where their count is even.
    pub median: f64,
}

/// The figures of an image within a mask; none where no voxel of it holds a number.
///
/// # Panics
/// When the mask lies on another grid than the image: that is an error of the calling code.
pub fn values(image: &Volume, mask: &CompactMask) -> Option<Values> {
    assert_eq!(image.geometry.shape(), mask.geometry.shape(), "the mask lies on the grid of the image");
    let mut inside: Vec<f32> = Vec::new();
    let [slices, rows, columns] = mask.extent();
    for slice in slices {
        for row in rows.clone() {
            let held = columns.clone().filter(|column| mask.contains([slice, row, *column]));
            inside.extend(held.map(|column| image.pixels[[slice, row, column]]).filter(|value| value.is_finite()));
        }
    }
    inside.sort_unstable_by(f32::total_cmp);
    let (voxels, first, last) = (inside.len(), *inside.first()?, *inside.last()?);
    let mean = inside.iter().map(|value| f64::from(*value)).sum::<f64>() / voxels as f64;
    let squares: f64 = inside.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum();
    let median = (f64::from(inside[(voxels - 1) / 2]) + f64::from(inside[voxels / 2])) / 2.0;
    let standard_deviation = (squares / voxels as f64).sqrt();
    Some(Values { voxels, mean, standard_deviation, minimum: first.into(), maximum: last.into(), median })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ndarray::Array3;

    use super::*;
    use crate::volume::VolumeGeometry;

    fn figures(inside: &[(usize, f32)]) -> Option<Values> {
        let geometry = VolumeGeometry::new((1, 8), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], vec![[0.0; 3]]);
        let geometry = Arc::new(geometry.expect("legal"));
        let mut voxels = Array3::from_elem(geometry.shape(), false);
        let mut pixels = Array3::from_elem(geometry.shape(), 1e6_f32);
        for (column, value) in inside {
            voxels[[0, 0, *column]] = true;
            pixels[[0, 0, *column]] = *value;
        }
        values(&Volume::new(Arc::clone(&geometry), pixels), &CompactMask::of(geometry, &voxels))
    }

    #[test]
    fn figures_are_those_worked_out_by_hand() {
        // Mean 5, squared differences 9 + 1 + 1 + 9 = 20 over 4; the middle values are 4 and 6.
        let found = figures(&[(0, 8.0), (2, 4.0), (5, 6.0), (7, 2.0)]).expect("some");
        let expected =
            Values { voxels: 4, mean: 5.0, standard_deviation: 5_f64.sqrt(), minimum: 2.0, maximum: 8.0, median: 5.0 };
        assert_eq!(found, expected);
        let odd = figures(&[(1, -1000.0), (2, 40.0), (3, 30.0)]).expect("some");
        assert_eq!((odd.median, odd.minimum, odd.maximum), (30.0, -1000.0, 40.0));
    }

    #[test]
    fn what_is_no_number_is_not_counted() {
        let found = figures(&[(0, f32::NAN), (1, 3.0)]).expect("some");
        assert_eq!((found.voxels, found.mean, found.standard_deviation), (1, 3.0, 0.0));
        assert_eq!(figures(&[(0, f32::NAN)]), None);
        assert_eq!(figures(&[]), None);
    }
}
