//! NIfTI-1 files of masks, label maps and images, for people with other tools; it writes single files (`.nii`), and
//! [`read()`] reads them.
//!
//! Voxels keep the order of our arrays (column fastest, then row, then slice), or have that of the file that the image
//! came from; the affine changes from LPS to the RAS of NIfTI, by turning the signs of x and y.

mod read;

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::grid::{FileGrid, UnevenSlices};
use crate::volume::{CompactMask, LabelMap, Mask, Volume, cross, dot};
pub use read::{Header, ReadError, read, read_header, read_image};

/// NIfTI-1 stores sizes as signed 16 bits; `IMAGE_SIDE_MAX` and `SLICES_MAX` stay below.
const SIDE_MAX: usize = i16::MAX as usize;

const _: () = assert!(crate::limits::IMAGE_SIDE_MAX <= SIDE_MAX && crate::limits::SLICES_MAX <= SIDE_MAX);

/// A mask as a file of bytes, 1 inside and 0 outside.
///
/// # Errors
/// [`UnevenSlices`].
pub fn encode_mask(mask: &Mask) -> Result<Vec<u8>, UnevenSlices> {
    Ok(encode_mask_on(&FileGrid::of(&mask.geometry)?, mask))
}

/// The same on the grid of the file that the image came from.
pub fn encode_mask_on(grid: &FileGrid, mask: &Mask) -> Vec<u8> {
    let mut bytes = header(grid, 2, 8);
    bytes.extend(grid.in_order(mask.voxels.view()).iter().map(|&inside| u8::from(inside)));
    bytes
}

/// A label map as a file of unsigned 16 bit numbers.
///
/// # Errors
/// [`UnevenSlices`].
pub fn encode_labels(map: &LabelMap) -> Result<Vec<u8>, UnevenSlices> {
    Ok(encode_labels_on(&FileGrid::of(&map.geometry)?, map))
}

/// The same on the grid of the file that the image came from.
pub fn encode_labels_on(grid: &FileGrid, map: &LabelMap) -> Vec<u8> {
    let mut bytes = header(grid, 512, 16);
    bytes.extend(grid.in_order(map.labels.view()).iter().flat_map(|label| label.to_le_bytes()));
    bytes
}

/// An image as a file of 32 bit floating point numbers.
///
/// # Errors
/// [`UnevenSlices`].
pub fn encode_image(volume: &Volume) -> Result<Vec<u8>, UnevenSlices> {
    Ok(encode_image_on(&FileGrid::of(&volume.geometry)?, volume))
}

/// The same on the grid of the file that the image came from.
pub fn encode_image_on(grid: &FileGrid, volume: &Volume) -> Vec<u8> {
    let mut bytes = header(grid, 16, 32);
    bytes.extend(grid.in_order(volume.pixels.view()).iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// Masks as a compressed file (`.nii.gz`) of four axes, a volume of bytes for each mask.
pub fn gzip_stack(grid: &FileGrid, masks: &[&CompactMask]) -> Vec<u8> {
    let mut head = header(grid, 2, 8);
    let count = i16::try_from(masks.len()).expect("a pipeline has far fewer structures");
    head[40..42].copy_from_slice(&4_i16.to_le_bytes());
    head[48..50].copy_from_slice(&count.to_le_bytes());
    head[92..96].copy_from_slice(&1_f32.to_le_bytes());
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut written = encoder.write_all(&head);
    for mask in masks {
        let mask = mask.to_mask();
        let voxels: Vec<u8> = grid.in_order(mask.voxels.view()).iter().map(|inside| u8::from(*inside)).collect();
        written = written.and_then(|()| encoder.write_all(&voxels));
    }
    let written = written.and_then(|()| encoder.finish());
    written.expect("writing to memory does not fail")
}

/// The same file compressed (`.nii.gz`); the same input gives the same bytes.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 16), Compression::default());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("writing to memory does not fail")
}

/// The header of 348 bytes and the four bytes that say that no extension follows.
fn header(grid: &FileGrid, datatype: i16, bits: i16) -> Vec<u8> {
    // To RAS, by turning the signs of x and y.
    let ras = |[x, y, z]: [f64; 3]| [-x, -y, z];
    let (steps, first) = (grid.steps().map(ras), ras(grid.first()));
    let [columns, rows, slices] = grid.sizes();
    let mut bytes = vec![0_u8; 352];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &348_i32.to_le_bytes());
    for (k, size) in [3, columns, rows, slices, 1, 1, 1, 1].into_iter().enumerate() {
        put(40 + 2 * k, &(size as i16).to_le_bytes());
    }
    put(70, &datatype.to_le_bytes());
    put(72, &bits.to_le_bytes());
    // A quaternion cannot say that axes are sheared; then only the affine of the sform holds.
    let units = grid.right_angled().map(|units| units.map(ras));
    let (qfac, quaternion) = units.map_or((1.0, [0.0; 3]), rotation);
    let norm = |v: [f64; 3]| dot(v, v).sqrt();
    for (k, size) in [qfac, norm(steps[0]), norm(steps[1]), norm(steps[2])].into_iter().enumerate() {
        put(76 + 4 * k, &(size as f32).to_le_bytes());
    }
    put(108, &352_f32.to_le_bytes());
    put(112, &1_f32.to_le_bytes());
    put(123, &[2]); // xyzt_units: mm
    put(252, &i16::from(units.is_some()).to_le_bytes());
    put(254, &1_i16.to_le_bytes());
    for (k, value) in quaternion.into_iter().chain(first).enumerate() {
        put(256 + 4 * k, &(value as f32).to_le_bytes());
    }
    for row in 0..3 {
        for (k, value) in [steps[0][row], steps[1][row], steps[2][row], first[row]].into_iter().enumerate() {
            put(280 + 16 * row + 4 * k, &(value as f32).to_le_bytes());
        }
    }
    put(344, b"n+1\0");
    bytes
}

/// `qfac` (-1 where the axes are left-handed) and the quaternion `(b, c, d)` of directions in RAS.
fn rotation([r, c, mut n]: [[f64; 3]; 3]) -> (f64, [f64; 3]) {
    let qfac = if dot(cross(r, c), n) < 0.0 { -1.0 } else { 1.0 };
    n = n.map(|part| part * qfac);
    let m: [[f64; 3]; 3] = std::array::from_fn(|k| [r[k], c[k], n[k]]);
    let trace = m[0][0] + m[1][1] + m[2][2];
    // The largest of a, b, c, d is computed from the diagonal, the others from it, so that no small number divides.
    let diagonal = [m[0][0], m[1][1], m[2][2]];
    let largest = (0..3).max_by(|&i, &j| diagonal[i].total_cmp(&diagonal[j])).unwrap_or(0);
    if trace > 0.0 {
        let a4 = 2.0 * (1.0 + trace).sqrt();
        return (qfac, [(m[2][1] - m[1][2]) / a4, (m[0][2] - m[2][0]) / a4, (m[1][0] - m[0][1]) / a4]);
    }
    let (i, j, k) = (largest, (largest + 1) % 3, (largest + 2) % 3);
    let q4 = 2.0 * (1.0 + m[i][i] - m[j][j] - m[k][k]).sqrt();
    let mut quaternion = [0.0; 3];
    quaternion[i] = q4 / 4.0;
    quaternion[j] = (m[j][i] + m[i][j]) / q4;
    quaternion[k] = (m[k][i] + m[i][k]) / q4;
    // The scalar part is positive by definition in NIfTI.
    let sign = if m[k][j] < m[j][k] { -1.0 } else { 1.0 };
    (qfac, quaternion.map(|x| x * sign))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::volume::VolumeGeometry;

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
        assert_eq!(error.slice, 1, "{error}");
    }
}
