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

#[cfg(test)]
mod tests {
    use super::*;

    fn small(thorax: Thorax) -> Phantom {
        render(&thorax.coarser(4).with_slice_spacing(10.0), |_| ()).expect("a legal geometry")
    }

    fn truth(phantom: &Phantom, name: &str) -> Mask {
        phantom.truth(name).expect("a known structure")
    }

    fn count_both(a: &Mask, b: &Mask) -> usize {
        a.voxels.iter().zip(&b.voxels).filter(|(a, b)| **a && **b).count()
    }

    /// Mean patient point of a mask.
    fn middle(mask: &Mask) -> [f64; 3] {
        let inside = mask.voxels.indexed_iter().filter(|(_, inside)| **inside);
        let points = inside.map(|((k, j, i), _)| mask.geometry.index_to_patient([k as f64, j as f64, i as f64]));
        let sum = points.fold([0.0; 3], |sum, point| std::array::from_fn(|axis| sum[axis] + point[axis]));
        sum.map(|total| total / mask.count() as f64)
    }

    #[test]
    fn is_the_same_for_the_same_seed_and_another_for_another() {
        let (a, b, other) = (small(Thorax::random(4)), small(Thorax::random(4)), small(Thorax::random(5)));
        assert!(a.hounsfield == b.hounsfield && a.truth == b.truth);
        assert!(a.hounsfield != other.hounsfield);
        let identity = Identity::of(&a.thorax);
        assert!(identity == Identity::of(&b.thorax) && identity != Identity::of(&other.thorax));
    }

    #[test]
    fn truths_are_nested_and_disjoint_as_in_a_body() {
        for seed in 1..=3 {
            let phantom = small(Thorax::random(seed));
            let body = truth(&phantom, "BODY");
            let organs =
                ["Lung_L", "Lung_R", "Bone", "Heart", "SpinalCord", "Trachea"].map(|name| truth(&phantom, name));
            for (index, organ) in organs.iter().enumerate() {
                assert!(organ.count() > 0);
                assert_eq!(count_both(organ, &body), organ.count(), "seed {seed}: organ {index} lies in the body");
                for other in &organs[..index] {
                    assert_eq!(count_both(organ, other), 0, "seed {seed}: organ {index} overlaps one before it");
                }
            }
        }
    }

    #[test]
    fn volumes_are_those_of_adults() {
        for seed in 1..=3 {
            let phantom = small(Thorax::random(seed));
            let volume = |name: &str| truth(&phantom, name).volume_cm3();
            let ranges = [
                ("External", 14_000.0, 48_000.0),
                ("Lung_L", 1_300.0, 3_800.0),
                ("Lung_R", 1_300.0, 3_800.0),
                ("Bone", 700.0, 2_500.0),
                ("Heart", 300.0, 800.0),
                ("SpinalCord", 15.0, 60.0),
                ("Trachea", 25.0, 90.0),
            ];
            for (name, low, high) in ranges {
                assert!((low..high).contains(&volume(name)), "seed {seed}: {name} has {} cm3", volume(name));
            }
        }
    }

    #[test]
    fn left_is_the_patients_left_in_every_position() {
        use PatientPosition::*;
        for position in [HeadFirstSupine, HeadFirstProne, FeetFirstSupine, FeetFirstProne] {
            let phantom = small(Thorax { position, ..Thorax::standard() });
            let [left, right, cord, heart] =
                ["Lung_L", "Lung_R", "SpinalCord", "Heart"].map(|name| middle(&truth(&phantom, name)));
            assert!(left[0] > cord[0] + 40.0 && right[0] < cord[0] - 40.0, "{position:?}");
            assert!(heart[1] < cord[1] - 50.0, "{position:?}: the heart lies before the spine");
            let lowest_row = phantom.hounsfield.shape()[1] * 9 / 10;
            let under = phantom.geometry.index_to_patient([5.0, lowest_row as f64, 64.0]);
            assert!(under[1] * position.couch_side() > 0.0, "{position:?}: the couch is below in the image");
        }
    }

    #[test]
    fn tissues_have_their_hounsfield_units() {
        let phantom = small(Thorax::standard());
        let mean = |name: &str| {
            let mask = truth(&phantom, name);
            let inside = phantom.hounsfield.iter().zip(&mask.voxels).filter(|(_, inside)| **inside);
            inside.map(|(hu, _)| f64::from(*hu)).sum::<f64>() / mask.count() as f64
        };
        for (name, low, high) in [("Lung_L", -880.0, -700.0), ("Heart", 20.0, 70.0), ("Bone", 180.0, 600.0)] {
            assert!((low..high).contains(&mean(name)), "{name} has {} HU", mean(name));
        }
        let corner = phantom.hounsfield[[0, 0, 0]];
        assert_eq!(corner, -1024, "scanners fill the corners outside their circle");
    }

    #[test]
    fn instances_say_where_each_slice_lies_and_what_it_holds() {
        let thorax =
            Thorax { position: PatientPosition::FeetFirstSupine, spacing_mm: [1.25, 0.9], ..Thorax::standard() };
        let phantom = small(thorax);
        let identity = Identity::of(&phantom.thorax);
        let files: Vec<_> = instances(&phantom, &identity).map(|item| item.expect("encodes")).collect();
        assert_eq!(files.len(), phantom.geometry.slices());
        let (uid, bytes) = &files[7];
        let object = dicom_object::from_reader(&bytes[..]).expect("a Part 10 file");
        assert_eq!(object.meta().media_storage_sop_instance_uid(), uid.as_str());
        let numbers = |name: &str| object.element_by_name(name).expect(name).to_multi_float64().expect(name);
        let origin = phantom.geometry.slice_origins()[7];
        assert!(numbers("ImagePositionPatient").iter().zip(origin).all(|(a, b)| (a - b).abs() < 1e-6));
        assert_eq!(numbers("PixelSpacing"), [5.0, 3.6]);
        let pixels: Vec<u16> = object.element_by_name("PixelData").expect("pixels").to_multi_int().expect("u16");
        let expected = phantom.hounsfield.index_axis(ndarray::Axis(0), 7);
        assert!(pixels.iter().zip(expected).all(|(stored, hu)| i32::from(*stored) - 1024 == i32::from(*hu)));
    }

    #[test]
    fn refuses_a_grid_without_voxels() {
        let nothing = Thorax { rows: 0, ..Thorax::standard() };
        assert!(matches!(render(&nothing, |_| ()), Err(GeometryError::Size { .. })));
    }
}
