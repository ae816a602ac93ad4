//! Reads NIfTI-1 files, plain or compressed, as volumes in patient LPS mm; it reads no pairs of header and image, no
//! NIfTI-2 and no values that are not one number (colours, complex).
//!
//! The affine alone says where the voxels lie in the patient, and no axis is turned because it looked right: [`read()`]
//! keeps the axes as they are stored (the first of the file is our columns, the second rows, the third slices, turned
//! around where they run against the normal, because a [`VolumeGeometry`] ascends), and [`read_image`] turns them as it
//! is told.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use ::nifti::volume::ndarray::IntoNdArray;
use ::nifti::{InMemNiftiVolume, NiftiHeader};
use flate2::read::MultiGzDecoder;
use thiserror::Error;

use crate::limits::{NIFTI_EXTENSIONS_BYTES_MAX, VOXELS_MAX};
use crate::output::grid::{FileGrid, GridError, Turn};
use crate::volume::{Volume, VolumeGeometry};

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
    Grid(#[from] GridError),
}

/// What a file says before its voxels.
pub struct Header {
    pub grid: FileGrid,
    /// Of the array that `grid` makes of the voxels.
    pub geometry: VolumeGeometry,
    /// How many volumes there are on the fourth axis.
    pub volumes: usize,
    fields: NiftiHeader,
}

/// The volumes of a file, all on one grid: one, or one for each step of the fourth axis. Values are scaled by
/// `scl_slope` and `scl_inter`. The axes stay as they are stored.
///
/// Where the voxels lie is taken from the sform, and from the qform only where the file has no sform (as nibabel does).
/// A unit of space that is not given is mm.
///
/// # Errors
/// [`ReadError`] when the bytes are not such a file, are too few, or do not say where the voxels lie.
pub fn read(bytes: &[u8]) -> Result<Vec<Volume>, ReadError> {
    let (header, values) = read_all(bytes, Turn::AsStored)?;
    let geometry = Arc::new(header.geometry);
    let [slices, rows, columns] = geometry.shape();
    let volume = |values: &[f32]| Volume::new(Arc::clone(&geometry), header.grid.array(values.to_vec()));
    Ok(values.chunks_exact(slices * rows * columns).map(volume).collect())
}

/// A file of one volume, its axes turned. Values are scaled by `scl_slope` and `scl_inter`.
///
/// # Errors
/// As [`read()`], and for a file of several volumes.
pub fn read_image(file: impl Read, turn: Turn) -> Result<(FileGrid, Volume), ReadError> {
    let (header, values) = read_all(file, turn)?;
    if header.volumes != 1 {
        return Err(content(format!("{} volumes along the fourth axis", header.volumes), "one; split the file"));
    }
    let pixels = header.grid.array(values);
    Ok((header.grid, Volume::new(Arc::new(header.geometry), pixels)))
}

/// What a file says before its voxels. It reads no more than that.
///
/// # Errors
/// As [`read()`], but for the voxels.
pub fn read_header(file: impl Read, turn: Turn) -> Result<Header, ReadError> {
    parse_header(&mut plain(file)?, turn)
}

fn read_all(file: impl Read, turn: Turn) -> Result<(Header, Vec<f32>), ReadError> {
    let mut file = plain(file)?;
    let header = parse_header(&mut file, turn)?;
    let start = header.fields.vox_offset.max(DATA_START_MIN);
    if start > NIFTI_EXTENSIONS_BYTES_MAX {
        let expected = format!("the voxels within the first {NIFTI_EXTENSIONS_BYTES_MAX} bytes");
        return Err(content(format!("voxels that begin at byte {start}"), expected));
    }
    // The crate reads 348 bytes of header; what extensions say is not needed.
    let rest = (start as u64).saturating_sub(348);
    io::copy(&mut (&mut file).take(rest), &mut io::sink()).map_err(|error| ReadError::Format(error.to_string()))?;
    let unreadable = |error: ::nifti::NiftiError| {
        content(error.to_string(), "as many numbers as its header says; the file is damaged, copy it again")
    };
    let volume = InMemNiftiVolume::from_reader(&mut file, &header.fields).map_err(unreadable)?;
    // A compressed file ends with a checksum, which is looked at when its end is read.
    file.read(&mut [0]).map_err(|error| unreadable(error.into()))?;
    let values = volume.into_ndarray::<f32>().map_err(unreadable)?;
    // The file has the first axis fastest.
    Ok((header, values.into_raw_vec_and_offset().0))
}

/// The file without compression, which two bytes tell.
fn plain<'a>(file: impl Read + 'a) -> Result<Box<dyn Read + 'a>, ReadError> {
    let mut file = BufReader::new(file);
    let begin = file.fill_buf().map_err(|error| ReadError::Format(error.to_string()))?;
    Ok(if begin.starts_with(&GZIP) { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

fn parse_header(file: &mut impl Read, turn: Turn) -> Result<Header, ReadError> {
    let mut fields = NiftiHeader::from_reader(file).map_err(|error| ReadError::Format(error.to_string()))?;
    if !(fields.scl_slope.is_finite() && fields.scl_inter.is_finite()) {
        fields.scl_slope = 0.0; // No scaling, as in nibabel.
    }
    if fields.sizeof_hdr != 348 || &fields.magic != b"n+1\0" {
        return Err(ReadError::Format("a header whose image lies in another file, or of another version".to_owned()));
    }
    if NO_NUMBER.contains(&fields.datatype) {
        let found = format!("data type {}, colours or complex values", fields.datatype);
        return Err(content(found, "a number a voxel; convert it to grey values"));
    }
    // The crate counts bytes by `bitpix` and numbers by `datatype`, and panics where they differ; some writers leave the
    // first at 0.
    let kind = fields.data_type().map_err(|error| content(error.to_string(), "a data type of NIfTI-1"))?;
    fields.bitpix = kind.size_of() as i16 * 8;
    let (sizes, volumes) = sizes(&fields)?;
    let ras = affine(&fields)?;
    // Units of space (nifti1.h, NIFTI_UNITS_*): 1 metre, 2 mm, 3 micrometre.
    let mm = match fields.xyzt_units & 7 {
        1 => 1000.0,
        3 => 0.001,
        _ => 1.0,
    };
    let column = |index: usize| [-ras[0][index] * mm, -ras[1][index] * mm, ras[2][index] * mm];
    let (grid, geometry) = FileGrid::new(sizes, [column(0), column(1), column(2)], column(3), turn)?;
    Ok(Header { grid, geometry, volumes, fields })
}

fn content(found: impl Into<String>, expected: impl Into<String>) -> ReadError {
    ReadError::Content { found: found.into(), expected: expected.into() }
}

/// How many voxels there are along the three axes of space, and how many volumes.
fn sizes(header: &NiftiHeader) -> Result<([usize; 3], usize), ReadError> {
    let axes = header.dim().map_err(|error| content(error.to_string(), "sizes of its axes"))?;
    let size = |axis: usize| axes.get(axis).map_or(1, |size| usize::from(*size));
    let count = axes.iter().try_fold(1_usize, |product, size| product.checked_mul(usize::from(*size)));
    if (4..axes.len()).any(|axis| size(axis) > 1) || count.is_none_or(|count| count > VOXELS_MAX) {
        return Err(content(format!("axes of {axes:?} voxels"), format!("up to four, and {VOXELS_MAX} voxels in all")));
    }
    Ok(([size(0), size(1), size(2)], size(3)))
}

/// How far a corner by sform may lie from that by qform, in the unit of the file: a quaternion cannot say the small shear of
/// real scanners.
const FORMS_APART: f64 = 0.3;

/// Rows x, y and z of the affine from `(column, row, slice)` to RAS, in the unit of the file.
fn affine(header: &NiftiHeader) -> Result<[[f64; 4]; 3], ReadError> {
    let sform = [header.srow_x, header.srow_y, header.srow_z].map(|row| row.map(f64::from));
    match (header.sform_code > 0, header.qform_code > 0) {
        (true, false) => Ok(sform),
        (false, true) => qform(header),
        (false, false) => Err(content("neither sform nor qform", "one that says where the voxels lie in the patient")),
        (true, true) => {
            // ITK and with it most viewers go by the one, others by the other.
            let qform = qform(header)?;
            let far = [1, 2, 3].map(|k: usize| f64::from(header.dim[k]) - 1.0);
            let apart = |corner: usize| {
                let index = [0, 1, 2].map(|axis: usize| far[axis] * (corner >> axis & 1) as f64);
                let differ = |k: usize| {
                    let at = |rows: &[[f64; 4]; 3]| rows[k][3] + (0..3).map(|m| rows[k][m] * index[m]).sum::<f64>();
                    (at(&sform) - at(&qform)).powi(2)
                };
                (0..3).map(differ).sum::<f64>().sqrt()
            };
            let apart = (0..8).map(apart).fold(0.0, f64::max);
            if apart > FORMS_APART {
                let found = format!("an sform and a qform whose corners lie up to {apart:.3} apart");
                return Err(content(
                    found,
                    "the same place by both, because programs differ in which they go by; set one code to 0",
                ));
            }
            Ok(sform)
        }
    }
}

fn qform(header: &NiftiHeader) -> Result<[[f64; 4]; 3], ReadError> {
    // nifti1.h, METHOD 2.
    let [b, c, d] = [header.quatern_b, header.quatern_c, header.quatern_d].map(f64::from);
    let a = (1.0 - (b * b + c * c + d * d)).max(0.0).sqrt();
    let rotation = [
        [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
        [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
        [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ];
    let [qfac, x, y, z] = [0, 1, 2, 3].map(|k: usize| f64::from(header.pixdim[k]));
    if !(x > 0.0 && y > 0.0 && z > 0.0) {
        return Err(content(format!("pixdim {x}, {y}, {z}"), "positive sizes of voxels with a qform"));
    }
    let step = [x, y, if qfac < 0.0 { -z } else { z }];
    let offset = [header.quatern_x, header.quatern_y, header.quatern_z].map(f64::from);
    Ok([0, 1, 2].map(|k: usize| {
        let [i, j, s] = [0, 1, 2].map(|m: usize| rotation[k][m] * step[m]);
        [i, j, s, offset[k]]
    }))
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

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
        // The qform says another place now.
        let told = read(&bytes).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told.contains("found an sform and a qform whose corners lie up to"), "{told}");
        bytes[252..254].fill(0);
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
