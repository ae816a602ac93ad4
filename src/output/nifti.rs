//! NIfTI-1 files of masks, label maps and images, for people with other tools; it writes single files (`.nii`), and
//! [`read()`] reads them.
//!
//! Voxels keep the order of our arrays (column fastest, then row, then slice); only the affine changes from LPS to the
//! RAS of NIfTI, by turning the signs of x and y.

mod read;

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use thiserror::Error;

use crate::volume::{LabelMap, Mask, Volume, VolumeGeometry};
pub use read::{ReadError, read};

/// How far a slice may lie from where the one affine of NIfTI puts it.
const AFFINE_MM: f64 = 0.1;

/// NIfTI-1 stores sizes as signed 16 bits; `IMAGE_SIDE_MAX` and `SLICES_MAX` stay below.
const SIDE_MAX: usize = i16::MAX as usize;

const _: () = assert!(crate::limits::IMAGE_SIDE_MAX <= SIDE_MAX && crate::limits::SLICES_MAX <= SIDE_MAX);

/// Why a volume has no NIfTI file.
#[derive(Debug, Error, PartialEq)]
pub enum NiftiError {
    #[error(
        "slice {slice} lies {off_mm:.3} mm from where evenly spaced slices would put it, expected at most {AFFINE_MM} mm: NIfTI has one spacing for all slices; resample the volume to even spacing"
    )]
    Uneven { slice: usize, off_mm: f64 },
}

/// A mask as a file of bytes, 1 inside and 0 outside.
///
/// # Errors
/// [`NiftiError::Uneven`] for slices that one affine cannot place.
pub fn encode_mask(mask: &Mask) -> Result<Vec<u8>, NiftiError> {
    let mut bytes = header(&mask.geometry, 2, 8)?;
    bytes.extend(mask.voxels.iter().map(|&inside| u8::from(inside)));
    Ok(bytes)
}

/// A label map as a file of unsigned 16 bit numbers.
///
/// # Errors
/// [`NiftiError::Uneven`] for slices that one affine cannot place.
pub fn encode_labels(map: &LabelMap) -> Result<Vec<u8>, NiftiError> {
    let mut bytes = header(&map.geometry, 512, 16)?;
    bytes.extend(map.labels.iter().flat_map(|label| label.to_le_bytes()));
    Ok(bytes)
}

/// An image as a file of 32 bit floating point numbers.
///
/// # Errors
/// [`NiftiError::Uneven`] for slices that one affine cannot place.
pub fn encode_image(volume: &Volume) -> Result<Vec<u8>, NiftiError> {
    let mut bytes = header(&volume.geometry, 16, 32)?;
    bytes.extend(volume.pixels.iter().flat_map(|value| value.to_le_bytes()));
    Ok(bytes)
}

/// The same file compressed (`.nii.gz`); the same input gives the same bytes.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 16), Compression::default());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("writing to memory does not fail")
}

/// The header of 348 bytes and the four bytes that say that no extension follows.
fn header(geometry: &VolumeGeometry, datatype: i16, bits: i16) -> Result<Vec<u8>, NiftiError> {
    let affine = affine(geometry)?;
    let [slices, rows, columns] = geometry.shape();
    let mut bytes = vec![0_u8; 352];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    let column = |k: usize| [affine[0][k], affine[1][k], affine[2][k]];
    let norm = |v: [f64; 3]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    put(0, &348_i32.to_le_bytes());
    for (k, size) in [3, columns, rows, slices, 1, 1, 1, 1].into_iter().enumerate() {
        put(40 + 2 * k, &(size as i16).to_le_bytes());
    }
    put(70, &datatype.to_le_bytes());
    put(72, &bits.to_le_bytes());
    let (qfac, quaternion) = rotation(geometry);
    for (k, size) in [qfac, norm(column(0)), norm(column(1)), norm(column(2))].into_iter().enumerate() {
        put(76 + 4 * k, &(size as f32).to_le_bytes());
    }
    put(108, &352_f32.to_le_bytes());
    put(112, &1_f32.to_le_bytes());
    put(123, &[2]); // xyzt_units: mm
    // A quaternion cannot say that slices are sheared; then only the affine of the sform holds.
    put(252, &i16::from(is_right_angled(geometry)).to_le_bytes());
    put(254, &1_i16.to_le_bytes());
    let offset = [affine[0][3], affine[1][3], affine[2][3]];
    for (k, value) in quaternion.into_iter().chain(offset).enumerate() {
        put(256 + 4 * k, &(value as f32).to_le_bytes());
    }
    for (k, value) in affine.into_iter().flatten().enumerate() {
        put(280 + 4 * k, &(value as f32).to_le_bytes());
    }
    put(344, b"n+1\0");
    Ok(bytes)
}

/// Rows of the affine from `(column, row, slice)` to RAS mm.
fn affine(geometry: &VolumeGeometry) -> Result<[[f64; 4]; 3], NiftiError> {
    let origins = geometry.slice_origins();
    let first = origins[0];
    let last = origins.len() - 1;
    let step: [f64; 3] =
        std::array::from_fn(
            |k| {
                if last == 0 { geometry.normal()[k] } else { (origins[last][k] - first[k]) / last as f64 }
            },
        );
    for (slice, origin) in origins.iter().enumerate() {
        let off = (0..3).map(|k| (first[k] + step[k] * slice as f64 - origin[k]).powi(2)).sum::<f64>().sqrt();
        if off > AFFINE_MM {
            return Err(NiftiError::Uneven { slice, off_mm: off });
        }
    }
    Ok(std::array::from_fn(|k| {
        let sign = if k < 2 { -1.0 } else { 1.0 };
        [
            sign * geometry.row_direction()[k] * geometry.column_spacing_mm(),
            sign * geometry.column_direction()[k] * geometry.row_spacing_mm(),
            sign * step[k],
            sign * first[k],
        ]
    }))
}

/// Whether slices follow each other along the normal.
fn is_right_angled(geometry: &VolumeGeometry) -> bool {
    let origins = geometry.slice_origins();
    let (first, last) = (origins[0], origins[origins.len() - 1]);
    let along = geometry.positions_mm()[origins.len() - 1] - geometry.positions_mm()[0];
    (0..3).map(|k| (last[k] - first[k] - along * geometry.normal()[k]).powi(2)).sum::<f64>().sqrt() <= AFFINE_MM
}

/// `qfac` (1: our axes are always right-handed, and turning two signs keeps them so) and the quaternion `(b, c, d)`
/// of the directions in RAS.
fn rotation(geometry: &VolumeGeometry) -> (f64, [f64; 3]) {
    let (r, c, n) = (geometry.row_direction(), geometry.column_direction(), geometry.normal());
    let m: [[f64; 3]; 3] = std::array::from_fn(|k| {
        let sign = if k < 2 { -1.0 } else { 1.0 };
        [sign * r[k], sign * c[k], sign * n[k]]
    });
    let trace = m[0][0] + m[1][1] + m[2][2];
    // The largest of a, b, c, d is computed from the diagonal, the others from it, so that no small number divides.
    let diagonal = [m[0][0], m[1][1], m[2][2]];
    let largest = (0..3).max_by(|&i, &j| diagonal[i].total_cmp(&diagonal[j])).unwrap_or(0);
    if trace > 0.0 {
        let a4 = 2.0 * (1.0 + trace).sqrt();
        return (1.0, [(m[2][1] - m[1][2]) / a4, (m[0][2] - m[2][0]) / a4, (m[1][0] - m[0][1]) / a4]);
    }
    let (i, j, k) = (largest, (largest + 1) % 3, (largest + 2) % 3);
    let q4 = 2.0 * (1.0 + m[i][i] - m[j][j] - m[k][k]).sqrt();
    let mut quaternion = [0.0; 3];
    quaternion[i] = q4 / 4.0;
    quaternion[j] = (m[j][i] + m[i][j]) / q4;
    quaternion[k] = (m[k][i] + m[i][k]) / q4;
    // The scalar part is positive by definition in NIfTI.
    let sign = if m[k][j] < m[j][k] { -1.0 } else { 1.0 };
    (1.0, quaternion.map(|x| x * sign))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn geometry(gap: f64) -> Arc<VolumeGeometry> {
        let origins = vec![[-10.0, -20.0, 5.0], [-10.0, -20.0, 7.5], [-10.0, -20.0, 7.5 + gap]];
        let made = VolumeGeometry::new((4, 5), [1.25, 0.75], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
        Arc::new(made.expect("a legal geometry"))
    }

    #[test]
    fn the_affine_is_in_ras_and_voxels_keep_their_order() {
        let mut mask = Mask::empty(geometry(2.5));
        mask.voxels[[1, 2, 3]] = true;
        let bytes = encode_mask(&mask).expect("even spacing");
        let float = |at: usize| f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let srow: Vec<f32> = (0..12).map(|k| float(280 + 4 * k)).collect();
        assert_eq!(srow, [-0.75, 0.0, 0.0, 10.0, 0.0, -1.25, 0.0, 20.0, 0.0, 0.0, 2.5, 5.0]);
        // Half a turn about z.
        assert_eq!([float(76), float(256), float(260), float(264)], [1.0, 0.0, 0.0, 1.0]);
        assert_eq!(bytes.len(), 352 + 60);
        assert_eq!(bytes[352..].iter().position(|&voxel| voxel == 1), Some((4 + 2) * 5 + 3));
    }

    #[test]
    fn refuses_uneven_slices() {
        let error = encode_mask(&Mask::empty(geometry(4.0))).expect_err("uneven spacing");
        assert!(matches!(error, NiftiError::Uneven { slice: 1, .. }), "{error}");
    }
}
