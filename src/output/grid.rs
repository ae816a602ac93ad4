//! What file formats with one affine for all voxels can say of a grid: slices one equal step apart.

use thiserror::Error;

use crate::volume::VolumeGeometry;

/// How far a slice may lie from where equal steps would put it.
pub(super) const STEP_MM: f64 = 0.1;

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

/// The vector from slice to slice in patient mm; along the normal for a single slice.
///
/// # Errors
/// [`UnevenSlices`].
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
