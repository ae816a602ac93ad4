//! Reads NIfTI-1 files for tests: images and label maps of reference programs; not part of the program.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use contourd::volume::{Mask, Volume, VolumeGeometry};
use flate2::read::GzDecoder;
use ndarray::{Array3, Array4, Axis};
use sha2::{Digest, Sha256};

/// A label map, or one channel for each label.
pub struct Labels {
    /// `[channel, slice, row, column]`, slices in the order of the image.
    values: Array4<f32>,
}

impl Labels {
    /// The voxels of a label: its value, or its channel.
    pub fn mask(&self, value: usize, overlapping: bool, geometry: &Arc<VolumeGeometry>) -> Mask {
        let voxels = if overlapping {
            self.values.index_axis(Axis(0), value).mapv(|found| found > 0.5)
        } else {
            self.values.index_axis(Axis(0), 0).mapv(|found| found.round() as usize == value)
        };
        Mask::new(Arc::clone(geometry), voxels)
    }
}

/// The image of a file, with its slices ascending along the normal.
pub fn volume(path: &Path) -> Volume {
    let (header, values) = read(path);
    let (geometry, reversed) = geometry(&header, values.shape());
    let mut pixels: Array3<f32> = values.index_axis_move(Axis(0), 0);
    if reversed {
        pixels.invert_axis(Axis(0));
    }
    Volume::new(Arc::new(geometry), pixels.as_standard_layout().into_owned())
}

/// The labels of a file on the grid of an image that was read by [`volume`].
pub fn labels(path: &Path, image: &Volume) -> Labels {
    let (header, mut values) = read(path);
    let (geometry, reversed) = geometry(&header, values.shape());
    assert_eq!(geometry.shape(), image.geometry.shape(), "{} lies on the grid of the image", path.display());
    if reversed {
        values.invert_axis(Axis(1));
    }
    Labels { values }
}

/// The digest of a file.
pub fn sha256(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The header of 348 bytes and the values, `[channel, slice, row, column]`.
fn read(path: &Path) -> (Vec<u8>, Array4<f32>) {
    let packed = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    GzDecoder::new(packed.as_slice()).read_to_end(&mut bytes).expect("gzip");
    let short = |at: usize| i16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let side = |axis: usize| (short(40 + 2 * axis).max(1)) as usize;
    let four = [if short(40) >= 4 { side(4) } else { 1 }, side(3), side(2), side(1)];
    let start = f32::from_le_bytes([bytes[108], bytes[109], bytes[110], bytes[111]]) as usize;
    let data = &bytes[start..];
    let values: Vec<f32> = match short(70) {
        2 => data.iter().map(|byte| f32::from(*byte)).collect(),
        4 => data.chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]]))).collect(),
        512 => data.chunks_exact(2).map(|b| f32::from(u16::from_le_bytes([b[0], b[1]]))).collect(),
        16 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        other => panic!("{}: data type {other}", path.display()),
    };
    let count = four.iter().product();
    (bytes[..348].to_vec(), Array4::from_shape_vec(four, values[..count].to_vec()).expect("as many as the header says"))
}

/// The grid in LPS from the sform, and whether slices had to be turned around to ascend along the normal.
fn geometry(header: &[u8], shape: &[usize]) -> (VolumeGeometry, bool) {
    let float = |at: usize| f64::from(f32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
    // Rows x, y, z of the affine, RAS; x and y change sign in LPS.
    let row = |axis: usize| [0, 1, 2, 3].map(|column| float(280 + 16 * axis + 4 * column));
    let (x, y, z) = (row(0), row(1), row(2));
    let column = |index: usize| [-x[index], -y[index], z[index]];
    let norm = |v: [f64; 3]| (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).sqrt();
    let unit = |v: [f64; 3]| v.map(|part| part / norm(v));
    let (along_columns, along_rows, along_slices, origin) = (column(0), column(1), column(2), column(3));
    let (a, b) = (unit(along_columns), unit(along_rows));
    let normal = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
    let ascending: f64 = (0..3).map(|axis| normal[axis] * along_slices[axis]).sum();
    let mut origins: Vec<[f64; 3]> = (0..shape[1])
        .map(|slice| [0, 1, 2].map(|axis: usize| origin[axis] + along_slices[axis] * slice as f64))
        .collect();
    if ascending < 0.0 {
        origins.reverse();
    }
    let spacing = [norm(along_rows), norm(along_columns)];
    let geometry = VolumeGeometry::new((shape[2], shape[3]), spacing, a, b, origins).expect("a legal grid");
    (geometry, ascending < 0.0)
}
