//! Reads NIfTI-1 files, plain or compressed, as volumes in patient LPS mm; it reads no pairs of header and image, no
//! NIfTI-2 and no values that are not one number (colours, complex).
//!
//! The axes stay as they are stored: the first of the file is our columns, the second rows, the third slices. The affine
//! alone says where they lie in the patient, so nothing is flipped; slices that run against the normal are turned around,
//! because a [`VolumeGeometry`] ascends.

use std::io::{self, Read};
use std::sync::Arc;

use ::nifti::volume::ndarray::IntoNdArray;
use ::nifti::{InMemNiftiVolume, NiftiHeader};
use flate2::read::MultiGzDecoder;
use ndarray::{Array3, Axis};
use thiserror::Error;

use crate::limits::VOXELS_MAX;
use crate::volume::{GeometryError, Volume, VolumeGeometry, cross, dot};

/// What the first two bytes of a compressed file are (RFC 1952 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Data types that are no single number (nifti1.h): complex ones and colours.
const NO_NUMBER: [i16; 5] = [32, 128, 1792, 2048, 2304];

/// Bytes before the voxels of a file without extensions: the header and four bytes that say so.
const DATA_START_MIN: f32 = 352.0;

/// Why bytes are no volume.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error("found no NIfTI-1 file ({0}), expected one file `.nii` or `.nii.gz`; convert it")]
    Format(String),
    #[error("found {found}, expected {expected}")]
    Content { found: String, expected: String },
    #[error(transparent)]
    Geometry(#[from] GeometryError),
}

/// The volumes of a file, all on one grid: one, or one for each step of the fourth axis. Values are scaled by
/// `scl_slope` and `scl_inter`.
///
/// Where the voxels lie is taken from the sform, and from the qform only where the file has no sform (as nibabel does).
/// A unit of space that is not given is mm.
///
/// # Errors
/// [`ReadError`] when the bytes are not such a file, are too few, or do not say where the voxels lie.
pub fn read(bytes: &[u8]) -> Result<Vec<Volume>, ReadError> {
    if bytes.starts_with(&GZIP) { read_plain(MultiGzDecoder::new(bytes)) } else { read_plain(bytes) }
}

fn read_plain(mut file: impl Read) -> Result<Vec<Volume>, ReadError> {
    let header = NiftiHeader::from_reader(&mut file).map_err(|error| ReadError::Format(error.to_string()))?;
    if header.sizeof_hdr != 348 || &header.magic != b"n+1\0" {
        return Err(ReadError::Format("a header whose image lies in another file, or of another version".to_owned()));
    }
    if NO_NUMBER.contains(&header.datatype) {
        return Err(content(format!("data type {}, colours or complex values", header.datatype), "a number a voxel"));
    }
    let [slices, rows, columns] = sizes(&header)?;
    let (geometry, reversed) = geometry(&header, [slices, rows, columns])?;
    // The crate reads 348 bytes of header; what extensions say is not needed.
    let rest = (header.vox_offset.max(DATA_START_MIN) as u64).saturating_sub(348);
    io::copy(&mut (&mut file).take(rest), &mut io::sink()).map_err(|error| ReadError::Format(error.to_string()))?;
    let unreadable = |error: ::nifti::NiftiError| content(error.to_string(), "as many numbers as its header says");
    let values = InMemNiftiVolume::from_reader(file, &header).and_then(IntoNdArray::into_ndarray::<f32>);
    // The file has the first axis fastest, which is our last one.
    let values = values.map_err(unreadable)?.into_raw_vec_and_offset().0;
    let geometry = Arc::new(geometry);
    let volume = |values: &[f32]| {
        let pixels = Array3::from_shape_vec((slices, rows, columns), values.to_vec());
        let mut pixels = pixels.expect("a chunk has as many values as the shape");
        if reversed {
            pixels.invert_axis(Axis(0));
            pixels = pixels.as_standard_layout().into_owned();
        }
        Volume::new(Arc::clone(&geometry), pixels)
    };
    Ok(values.chunks_exact(slices * rows * columns).map(volume).collect())
}

fn content(found: impl Into<String>, expected: impl Into<String>) -> ReadError {
    ReadError::Content { found: found.into(), expected: expected.into() }
}

/// How many slices, rows and columns there are.
fn sizes(header: &NiftiHeader) -> Result<[usize; 3], ReadError> {
    let axes = header.dim().map_err(|error| content(error.to_string(), "sizes of its axes"))?;
    let size = |axis: usize| axes.get(axis).map_or(1, |size| usize::from(*size));
    let count = axes.iter().try_fold(1_usize, |product, size| product.checked_mul(usize::from(*size)));
    if (4..axes.len()).any(|axis| size(axis) > 1) || count.is_none_or(|count| count > VOXELS_MAX) {
        return Err(content(format!("axes of {axes:?} voxels"), format!("up to four, and {VOXELS_MAX} voxels in all")));
    }
    Ok([size(2), size(1), size(0)])
}

/// The grid in LPS, and whether its slices are those of the file in reverse.
fn geometry(header: &NiftiHeader, [slices, rows, columns]: [usize; 3]) -> Result<(VolumeGeometry, bool), ReadError> {
    let ras = affine(header)?;
    // Units of space (nifti1.h, NIFTI_UNITS_*): 1 metre, 2 mm, 3 micrometre.
    let mm = match header.xyzt_units & 7 {
        1 => 1000.0,
        3 => 0.001,
        _ => 1.0,
    };
    let column = |index: usize| [-ras[0][index] * mm, -ras[1][index] * mm, ras[2][index] * mm];
    let (right, down, up, first) = (column(0), column(1), column(2), column(3));
    let norm = |v: [f64; 3]| dot(v, v).sqrt();
    let unit = |v: [f64; 3]| v.map(|x| x / norm(v));
    let (row_direction, column_direction) = (unit(right), unit(down));
    let reversed = dot(cross(row_direction, column_direction), up) < 0.0;
    let mut origins: Vec<[f64; 3]> =
        (0..slices).map(|slice| std::array::from_fn(|k| first[k] + up[k] * slice as f64)).collect();
    if reversed {
        origins.reverse();
    }
    let spacing_mm = [norm(down), norm(right)];
    let made = VolumeGeometry::new((rows, columns), spacing_mm, row_direction, column_direction, origins)?;
    Ok((made, reversed))
}

/// Rows x, y and z of the affine from `(column, row, slice)` to RAS, in the unit of the file.
fn affine(header: &NiftiHeader) -> Result<[[f64; 4]; 3], ReadError> {
    if header.sform_code > 0 {
        return Ok([header.srow_x, header.srow_y, header.srow_z].map(|row| row.map(f64::from)));
    }
    if header.qform_code <= 0 {
        return Err(content("neither sform nor qform", "one that says where the voxels lie in the patient"));
    }
    // nifti1.h, METHOD 2.
    let [b, c, d] = [header.quatern_b, header.quatern_c, header.quatern_d].map(f64::from);
    let a = (1.0 - (b * b + c * c + d * d)).max(0.0).sqrt();
    let rotation = [
        [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
        [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
        [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ];
    let [qfac, x, y, z] = [0, 1, 2, 3].map(|k: usize| f64::from(header.pixdim[k]));
    let step = [x, y, if qfac < 0.0 { -z } else { z }];
    let offset = [header.quatern_x, header.quatern_y, header.quatern_z].map(f64::from);
    Ok([0, 1, 2].map(|k: usize| {
        let [i, j, s] = [0, 1, 2].map(|m: usize| rotation[k][m] * step[m]);
        [i, j, s, offset[k]]
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::nifti::{encode_image, gzip};

    fn image() -> Volume {
        let (sin, cos) = 0.3_f64.sin_cos();
        let origins = [0.0, 2.5, 5.0].map(|z| [1.0 - z * sin, 2.0, 3.0 + z * cos]).to_vec();
        let (right, down) = ([cos, 0.0, sin], [0.0, 1.0, 0.0]);
        let geometry = VolumeGeometry::new((4, 5), [1.25, 0.75], right, down, origins).expect("a legal geometry");
        let pixels = Array3::from_shape_fn((3, 4, 5), |(k, j, i)| (100 * k + 10 * j + i) as f32);
        Volume::new(Arc::new(geometry), pixels)
    }

    fn same_place(a: &VolumeGeometry, b: &VolumeGeometry) {
        assert_eq!(a.shape(), b.shape());
        for index in [[0.0, 0.0, 0.0], [2.0, 3.0, 4.0]] {
            let (p, q) = (a.index_to_patient(index), b.index_to_patient(index));
            assert!(p.iter().zip(q).all(|(p, q)| (p - q).abs() < 1e-4), "{p:?} and {q:?}");
        }
    }

    #[test]
    fn what_was_written_comes_back_by_sform_and_by_qform() {
        let image = image();
        let mut bytes = encode_image(&image).expect("even spacing");
        for what in ["sform", "qform"] {
            let found = read(&gzip(&bytes)).expect(what);
            same_place(&found[0].geometry, &image.geometry);
            assert_eq!((found.len(), &found[0].pixels), (1, &image.pixels), "{what}");
            bytes[254..256].fill(0);
        }
        bytes[252..254].fill(0);
        let told = read(&bytes).err().expect("refused").to_string();
        assert!(told.starts_with("found neither sform nor qform"), "{told}");
    }

    #[test]
    fn slices_against_the_normal_are_turned_around_and_values_scaled() {
        let image = image();
        let mut bytes = encode_image(&image).expect("even spacing");
        // The file as one with the slices from the other end: voxels and affine.
        let voxels: Vec<u8> = bytes[352..].chunks(4 * 20).rev().flatten().copied().collect();
        bytes[352..].copy_from_slice(&voxels);
        for row in 0..3 {
            let at = |k: usize| 280 + 16 * row + 4 * k;
            let get = |k: usize| f32::from_le_bytes(bytes[at(k)..at(k) + 4].try_into().expect("four bytes"));
            let (step, last) = (-get(2), get(3) + 2.0 * get(2));
            bytes[at(2)..at(3) + 4].copy_from_slice(&[step.to_le_bytes(), last.to_le_bytes()].concat());
        }
        bytes[112..120].copy_from_slice(&[2_f32.to_le_bytes(), (-1_f32).to_le_bytes()].concat());
        let found = read(&bytes).expect("a file");
        same_place(&found[0].geometry, &image.geometry);
        assert_eq!(found[0].pixels, image.pixels.mapv(|value| 2.0 * value - 1.0));
    }

    #[test]
    fn refuses_what_is_cut_short_too_large_or_of_another_kind() {
        let bytes = encode_image(&image()).expect("even spacing");
        let told = |bytes: &[u8]| read(bytes).err().expect("refused").to_string();
        assert!(told(&bytes[..400]).contains("expected as many numbers"), "{}", told(&bytes[..400]));
        assert!(told(&bytes[..100]).starts_with("found no NIfTI-1 file"), "{}", told(&bytes[..100]));
        assert!(told(b"DICM").starts_with("found no NIfTI-1 file"));
        let mut large = bytes.clone();
        large[42..48].copy_from_slice(&[0xff, 0x7f, 0xff, 0x7f, 0xff, 0x7f]);
        assert!(told(&large).starts_with("found axes of [32767, 32767, 32767]"), "{}", told(&large));
        let mut pair = bytes.clone();
        pair[344..348].copy_from_slice(b"ni1\0");
        assert!(told(&pair).contains("another file"));
        let mut colours = bytes;
        colours[70..72].copy_from_slice(&128_i16.to_le_bytes());
        assert!(told(&colours).starts_with("found data type 128"), "{}", told(&colours));
    }
}
