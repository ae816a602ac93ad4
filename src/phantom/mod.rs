//! A thorax CT with known structures, made from a seed: for the demonstration and for tests; it writes no files.
//!
//! Everything is analytic: the truth is what the formulas say at the centre of each voxel, before blur and noise.
//!
//! - `External` is the patient with arms and with the air inside, without couch and mattress.
//! - `Lung_L`, `Lung_R` hold the vessels and bronchi within them, not the hilum, trachea, main bronchi or great vessels.
//! - `Bone` is cortex and marrow; cartilage and discs are not in it.
//! - `Trachea` is the air of the trachea and the main bronchi.

mod anatomy;
mod instances;
mod parameters;
mod plane;
mod random;
mod scanner;
mod shape;
mod texture;
mod vessels;

use std::sync::Arc;

use ndarray::Array3;
use rayon::prelude::*;

use crate::volume::{GeometryError, Mask, Volume, VolumeGeometry};
pub use instances::{Identity, instances};
pub use parameters::{Arms, Couch, PatientPosition, Thorax};

/// The structures of the truth by TG-263 name, with the bit that marks each.
const TRUTHS: [(&str, u8); 7] = [
    ("External", plane::truth::EXTERNAL),
    ("Lung_L", plane::truth::LUNG_L),
    ("Lung_R", plane::truth::LUNG_R),
    ("Bone", plane::truth::BONE),
    ("Heart", plane::truth::HEART),
    ("SpinalCord", plane::truth::CORD),
    ("Trachea", plane::truth::TRACHEA),
];

/// A rendered phantom: the image and what is known of it.
pub struct Phantom {
    pub thorax: Thorax,
    pub geometry: Arc<VolumeGeometry>,
    /// HU, `[slice, row, column]`, -1024 to 3071.
    pub hounsfield: Array3<i16>,
    truth: Array3<u8>,
}

impl Phantom {
    /// The image as a volume of HU.
    pub fn volume(&self) -> Volume {
        Volume::new(Arc::clone(&self.geometry), self.hounsfield.mapv(f32::from))
    }

    /// The names of the structures that are known, by TG-263.
    pub fn truth_names() -> impl Iterator<Item = &'static str> {
        TRUTHS.iter().map(|(name, _)| *name)
    }

    /// The voxels of a known structure, irrespective of case; `Body` is another name of `External`.
    pub fn truth(&self, name: &str) -> Option<Mask> {
        let name = if name.eq_ignore_ascii_case("body") { "External" } else { name };
        let (_, bit) = TRUTHS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(Mask::new(Arc::clone(&self.geometry), self.truth.mapv(|bits| bits & bit != 0)))
    }
}

/// The grid of a phantom's images: centred on the axis of the scanner.
///
/// # Errors
/// [`GeometryError`] when the parameters ask for sizes or spacings that no image can have.
pub fn geometry(thorax: &Thorax) -> Result<VolumeGeometry, GeometryError> {
    let [row, column] = thorax.position.directions();
    let ascends = row[0] * column[1] - row[1] * column[0];
    let half = |count: usize, mm: f64| (count.max(1) - 1) as f64 / 2.0 * mm;
    let (across, down) = (half(thorax.columns, thorax.spacing_mm[1]), half(thorax.rows, thorax.spacing_mm[0]));
    let origin = |slice: usize| {
        let index = if ascends > 0.0 { slice } else { thorax.slices - 1 - slice };
        let z = thorax.lowest_mm + index as f64 * thorax.slice_spacing_mm;
        [-across * row[0] - down * column[0], -across * row[1] - down * column[1], z]
    };
    let origins = (0..thorax.slices).map(origin).collect();
    VolumeGeometry::new((thorax.rows, thorax.columns), thorax.spacing_mm, row, column, origins)
}

/// Renders a phantom, slice by slice on all cores; `progress` is told how many slices one step has finished.
///
/// # Errors
/// [`GeometryError`] when the parameters ask for sizes or spacings that no image can have.
pub fn render(thorax: &Thorax, progress: impl Fn(usize) + Sync) -> Result<Phantom, GeometryError> {
    let geometry = Arc::new(geometry(thorax)?);
    let anatomy = anatomy::Anatomy::of(thorax);
    let [slices, rows, columns] = geometry.shape();
    let mut hounsfield = Array3::<i16>::zeros([slices, rows, columns]);
    let mut truth = Array3::<u8>::zeros([slices, rows, columns]);
    let planes = hounsfield.outer_iter_mut().into_par_iter().zip(truth.outer_iter_mut()).enumerate();
    planes.for_each(|(index, (mut hounsfield, mut truth))| {
        let first = geometry.slice_origins()[index];
        let frame = scanner::Frame::of(thorax, first);
        let slice = scanner::slice(thorax, &anatomy, &frame, first[2], index as u64);
        hounsfield.iter_mut().zip(slice.hounsfield).for_each(|(to, from)| *to = from);
        truth.iter_mut().zip(slice.truth).for_each(|(to, from)| *to = from);
        progress(1);
    });
    Ok(Phantom { thorax: thorax.clone(), geometry, hounsfield, truth })
}
