//! Everything that a structure set of a synthetic or real series needs, for the tests of this folder.

use std::sync::Arc;

use contourd::contour::{Holes, trace, trace_as};
use contourd::dicom::{Instance, Uid};
use contourd::output::object::{Algorithm, AlgorithmFamily, Equipment, Provenance, SliceReference, Source};
use contourd::output::rtstruct::{
    Dialect, Encoded, ParsedStructureSet, Roi, RtstructError, StructureSet, encode, read,
};
use contourd::structure::{Color, RoiStyle, RoiType, lookup};
use contourd::volume::{Mask, VolumeGeometry};
use ndarray::Array3;

use crate::series::Recipe;

/// Everything that a structure set borrows.
pub struct Job {
    pub name: String,
    pub instances: Vec<Instance>,
    pub slices: Vec<SliceReference>,
    pub geometry: Arc<VolumeGeometry>,
    pub masks: Vec<(&'static str, Mask)>,
    pub rois: Vec<Roi>,
    pub provenance: Provenance,
    pub equipment: Equipment,
    pub dialect: Dialect,
    pub predecessor: Option<Uid>,
}

impl Job {
    pub fn new(recipe: Recipe) -> Job {
        let geometry = recipe.geometry();
        let masks = masks(&geometry);
        Job::of(recipe.name, recipe.instances(), geometry, masks)
    }

    pub fn of(
        name: &str,
        instances: Vec<Instance>,
        geometry: Arc<VolumeGeometry>,
        masks: Vec<(&'static str, Mask)>,
    ) -> Job {
        let slice = |instance: &Instance| SliceReference {
            sop_class_uid: instance.sop_class_uid.clone(),
            sop_instance_uid: instance.sop_instance_uid.clone(),
            frame_number: None,
        };
        Job {
            name: name.to_owned(),
            slices: instances.iter().map(slice).collect(),
            rois: masks.iter().map(|(name, mask)| roi(name, mask)).collect(),
            provenance: Provenance {
                pipeline_id: "ct-basic".into(),
                pipeline_revision: "1".into(),
                model_digests: vec!["ab12".into()],
                program_version: "0.1.0".into(),
            },
            equipment: Equipment {
                manufacturer: "contourd".into(),
                model_name: "contourd".into(),
                software_versions: vec!["0.1.0".into()],
                station_name: None,
                institution_name: None,
            },
            dialect: Dialect::default(),
            predecessor: None,
            instances,
            geometry,
            masks,
        }
    }

    pub fn encode(&self) -> Result<Encoded, RtstructError> {
        self.with(encode)
    }

    /// Shows the structure set to `look`.
    pub fn with<T>(&self, look: impl FnOnce(&StructureSet<'_>) -> T) -> T {
        let instances: Vec<&Instance> = self.instances.iter().collect();
        look(&StructureSet {
            source: Source {
                instances: &instances,
                slices: &self.slices,
                geometry: &self.geometry,
                provenance: &self.provenance,
                created: jiff::civil::date(2026, 1, 2).at(3, 4, 5, 0),
                equipment: &self.equipment,
            },
            rois: &self.rois,
            label: "AUTO",
            name: "ct-basic 1",
            description: "Made by an algorithm, not reviewed",
            series_number: 9001,
            series_description: "contourd ct-basic (not reviewed)",
            dialect: &self.dialect,
            predecessor: self.predecessor.as_ref(),
        })
    }

    /// The same with every structure traced anew, its holes in another way.
    pub fn with_holes(mut self, holes: Holes) -> Job {
        for (roi, (_, mask)) in self.rois.iter_mut().zip(&self.masks) {
            let traced = trace_as(&mask.clone().into(), holes);
            (roi.contours, roi.holes) = (traced.contours, traced.holes);
        }
        self
    }

    pub fn encoded(&self) -> Vec<u8> {
        self.encode().unwrap_or_else(|error| panic!("{}: {error}", self.name)).bytes
    }
}

pub fn roi(name: &str, mask: &Mask) -> Roi {
    let structure = lookup(name);
    let color = structure.map_or(Color([200, 10, 0]), |structure| structure.color);
    let roi_type = structure.map_or(RoiType::Organ, |structure| structure.roi_type);
    Roi {
        style: RoiStyle { name: name.into(), roi_type, color },
        structure,
        contours: trace(mask),
        holes: Holes::Keyhole,
        volume_cm3: Some(mask.volume_cm3()),
        description: String::new(),
        generation_description: "contourd 0.1.0 ct-basic 1".into(),
        algorithm: Algorithm {
            family: AlgorithmFamily::ArtificialIntelligence,
            name: "ct-classes".into(),
            version: "1".into(),
            source: "contourd".into(),
            parameters: "{\"sha256\":\"ab12\"}".into(),
        },
    }
}

/// A body with holes, lungs with vessels, rings in rings, a ball, one voxel, nothing.
pub fn masks(geometry: &Arc<VolumeGeometry>) -> Vec<(&'static str, Mask)> {
    let [slices, rows, columns] = geometry.shape();
    let (cy, cx) = (rows as f64 / 2.0, columns as f64 / 2.0);
    let (h, v) = (columns as f64 / 40.0, rows as f64 / 40.0);
    let disc = |r: usize, c: usize, x: f64, y: f64, radius: f64| {
        (((c as f64 - cx) / h - x).hypot((r as f64 - cy) / v - y)) < radius
    };
    let make = |inside: &dyn Fn(usize, usize, usize) -> bool| {
        let voxels = Array3::from_shape_fn(geometry.shape(), |(s, r, c)| inside(s, r, c));
        Mask::new(Arc::clone(geometry), voxels)
    };
    let vessel = |s: usize, r: usize, c: usize| {
        (0..6).any(|k| disc(r, c, -9.0 + f64::from(k % 3) * 2.5, -4.0 + f64::from(k) * 1.7 + s as f64 * 0.05, 0.7))
    };
    let middle = slices / 2;
    vec![
        ("BODY", make(&|s, r, c| s > 0 && disc(r, c, 0.0, 0.0, 17.0) && !disc(r, c, 2.0, 12.0, 1.5))),
        ("Lung_R", make(&|s, r, c| s > 1 && s + 2 < slices && disc(r, c, -7.0, 0.0, 6.0) && !vessel(s, r, c))),
        ("Lung_L", make(&|s, r, c| s > 1 && s + 2 < slices && disc(r, c, 8.0, 0.5, 5.5) && (r + s) % 9 != 0)),
        (
            "Rings",
            make(&|s, r, c| {
                s == middle && (0..9).filter(|&k| disc(r, c, 0.0, 0.0, 1.0 + 2.0 * f64::from(k))).count() % 2 == 1
            }),
        ),
        (
            "Heart",
            make(&|s, r, c| {
                let z = (s as f64 - middle as f64) * 3.0;
                disc(r, c, 1.0, 5.0, (36.0 - z * z).max(0.0).sqrt())
            }),
        ),
        ("Speck", make(&|s, r, c| s == middle && (r, c) == (rows / 3, columns / 4))),
        ("SpinalCord", make(&|_, _, _| false)),
        (
            "Box",
            make(&|s, r, c| {
                (1..slices - 1).contains(&s)
                    && (rows / 4..rows / 2).contains(&r)
                    && (columns / 3..columns / 2).contains(&c)
            }),
        ),
    ]
}

pub fn recipes() -> Vec<Recipe> {
    let even = |gap: f64, slices: usize| (0..slices).map(|k| gap * k as f64).collect();
    let (sin, cos) = 0.3_f64.sin_cos();
    let mut oblique = Recipe::axial("oblique", [20, 72, 80], ["1.25", "0.9765625"], even(2.5, 20));
    oblique.orientation = [cos, sin, 0.0, -sin * 0.8, cos * 0.8, 0.6];
    let uneven = vec![0.0, 2.5, 5.0, 7.5, 12.5, 17.5, 20.0, 22.5, 27.0, 28.0];
    let mut sagittal = Recipe::axial("sagittal", [12, 64, 70], ["1.1", "0.9"], even(3.0, 12));
    sagittal.orientation = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0];
    let mut tilted = Recipe::axial("tilted", [16, 96, 110], ["0.9765625", "0.9765625"], even(3.0, 16));
    tilted.tilt = 20_f64.to_radians().tan();
    vec![
        Recipe::axial("axial", [24, 128, 128], ["0.9765625", "0.9765625"], even(3.0, 24)),
        Recipe::axial("nonsquare", [20, 96, 128], ["1.25", "0.9765625"], even(2.5, 20)),
        Recipe::axial("uneven", [10, 96, 128], ["1.25", "0.9765625"], uneven),
        oblique,
        sagittal,
        Recipe::axial("isotropic", [40, 96, 96], ["1.5", "1.5"], even(1.5, 40)),
        tilted,
    ]
}

pub fn parsed(bytes: &[u8]) -> ParsedStructureSet {
    read(bytes).expect("our own structure set")
}
