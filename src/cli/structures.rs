//! Structures of a file of any kind (RT Structure Set, segmentation, NIfTI) by name, and as voxels on a grid that suits
//! them; it compares nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use dicom_dictionary_std::tags;

use super::discover::find;
use crate::assemble::{SeriesPlan, plan};
use crate::dicom::{Instance, Uid};
use crate::infer::post::onto;
use crate::limits::STRUCTURES_LOOKED_AT_MAX;
use crate::output::{nifti, rtstruct, seg};
use crate::quality::{covering, of_planes};
use crate::volume::{CompactMask, Mask, Volume, VolumeGeometry};

/// What a file holds.
pub(super) struct StructureFile {
    /// The Frame of Reference of all of it; not known of NIfTI.
    frame: Option<Uid>,
    pub structures: Vec<Found>,
}

/// One structure.
pub(super) struct Found {
    pub name: String,
    what: What,
}

enum What {
    Drawn(rtstruct::ParsedRoi),
    /// Nothing for a segment without frames.
    Voxels(Option<CompactMask>),
}

/// Names compare without case and padding.
pub(super) fn folded(name: &str) -> String {
    name.trim().to_lowercase()
}

impl StructureFile {
    pub(super) fn read(path: &Path) -> anyhow::Result<StructureFile> {
        let shown = path.display();
        let bytes = fs::read(path).with_context(|| format!("cannot read {shown}"))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem = name.strip_suffix(".nii.gz").or_else(|| name.strip_suffix(".nii"));
        let file = match stem {
            Some(stem) => of_nifti(&bytes, stem),
            None => of_dicom(&bytes),
        };
        let file = file.with_context(|| format!("{shown}"))?;
        let count = file.structures.len();
        ensure!(
            count <= STRUCTURES_LOOKED_AT_MAX,
            "{shown}: found {count} structures, at most {STRUCTURES_LOOKED_AT_MAX}"
        );
        Ok(file)
    }

    /// The structure of a name; of two the last counts (as in CERR).
    pub(super) fn get(&self, name: &str) -> Option<&Found> {
        self.structures.iter().rev().find(|found| folded(&found.name) == folded(name))
    }

    /// The structure that an operator named.
    pub(super) fn named(&self, name: &str, file: &Path) -> anyhow::Result<&Found> {
        let known = || self.structures.iter().map(|found| format!("{:?}", found.name)).collect::<Vec<_>>().join(", ");
        self.get(name)
            .with_context(|| format!("{}: found no structure {name:?}, expected one of {}", file.display(), known()))
    }
}

/// Refuses what lies in another Frame of Reference; what has none (NIfTI) is taken to lie in the same.
pub(super) fn check_frames(what: [(&Path, Option<&Uid>); 2]) -> anyhow::Result<()> {
    let [(a, frame_a), (b, frame_b)] = what;
    if let (Some(frame_a), Some(frame_b)) = (frame_a, frame_b) {
        ensure!(
            frame_a == frame_b,
            "{} lies in the Frame of Reference {frame_a} and {} in {frame_b}, expected one for both: where they lie to each \
             other is not known; bring one onto the images of the other first",
            a.display(),
            b.display()
        );
    }
    Ok(())
}

impl StructureFile {
    pub(super) fn frame(&self) -> Option<&Uid> {
        self.frame.as_ref()
    }
}

fn of_dicom(bytes: &[u8]) -> anyhow::Result<StructureFile> {
    let instance = Instance::read_part10(bytes)?;
    let uid = |text: Option<String>| text.and_then(|text| text.parse().ok());
    match instance.sop_class_uid.as_str() {
        rtstruct::SOP_CLASS_UID => {
            let set = rtstruct::read_instance(&instance)?;
            let frame = set.frame_of_reference_uid.clone();
            let mut frames = set.rois.iter().filter_map(|roi| roi.frame_of_reference_uid.as_ref());
            if let Some(other) = frames.find(|other| frame.as_ref() != Some(*other)) {
                bail!("found structures in the Frames of Reference {frame:?} and {other}, expected one for all");
            }
            let found = |roi: rtstruct::ParsedRoi| Found { name: roi.name.clone(), what: What::Drawn(roi) };
            Ok(StructureFile { frame, structures: set.rois.into_iter().map(found).collect() })
        }
        class if seg::is_segmentation(class) => {
            let segments = seg::read(bytes)?.into_iter();
            let found = |segment: seg::Segment| Found {
                name: segment.label,
                what: What::Voxels(segment.mask.map(CompactMask::from)),
            };
            let frame = uid(instance.text(tags::FRAME_OF_REFERENCE_UID));
            Ok(StructureFile { frame, structures: segments.map(found).collect() })
        }
        other => bail!(
            "found an object of SOP class {other}, expected an RT Structure Set, a segmentation, or a file .nii or .nii.gz"
        ),
    }
}

/// A mask is named by its file, a label by its number, a channel by its number from 1 on.
fn of_nifti(bytes: &[u8], stem: &str) -> anyhow::Result<StructureFile> {
    let volumes = nifti::read(bytes)?;
    let mut structures = Vec::new();
    for (index, volume) in volumes.iter().enumerate() {
        let labels = labels(volume)?;
        let alone = labels.len() <= 1;
        ensure!(
            alone || volumes.len() == 1,
            "found labels {labels:?} in a file of four axes, expected a mask in each channel"
        );
        for label in labels.iter().copied().chain(labels.is_empty().then_some(1)) {
            let name = match (volumes.len(), alone) {
                (1, true) => stem.to_owned(),
                (1, false) => label.to_string(),
                _ => (index + 1).to_string(),
            };
            let voxels = volume.pixels.mapv(|value| value == f32::from(label));
            let mask = CompactMask::of(Arc::clone(&volume.geometry), &voxels);
            structures.push(Found { name, what: What::Voxels(Some(mask)) });
        }
    }
    Ok(StructureFile { frame: None, structures })
}

/// The labels that occur, without 0.
fn labels(volume: &Volume) -> anyhow::Result<Vec<u16>> {
    let mut found = BTreeSet::new();
    let mut last = 0.0;
    for &value in volume.pixels.iter().filter(|value| **value != 0.0) {
        // Neighbours are mostly alike.
        if value != last {
            let whole = value.fract() == 0.0 && (0.0..=f32::from(u16::MAX)).contains(&value);
            ensure!(whole, "found the value {value}, expected labels: whole numbers from 0 to {}", u16::MAX);
            found.insert(value as u16);
            last = value;
        }
    }
    Ok(found.into_iter().collect())
}

/// The images of a folder: the one series that makes a volume and may lie in a Frame of Reference.
pub(super) fn images(folder: &Path, frame: Option<&Uid>) -> anyhow::Result<SeriesPlan> {
    let found = find(folder)?;
    let plans = found.series.values().filter_map(|series| plan(&series.instances).ok());
    let mut plans: Vec<SeriesPlan> =
        plans.filter(|plan| frame.is_none_or(|frame| *frame == plan.frame_of_reference_uid)).collect();
    match (plans.pop(), plans.len()) {
        (Some(plan), 0) => Ok(plan),
        (found, others) => bail!(
            "{}: found {} series of images that make a volume{}, expected one",
            folder.display(),
            others + usize::from(found.is_some()),
            frame.map(|frame| format!(" in the Frame of Reference {frame}")).unwrap_or_default()
        ),
    }
}

impl Found {
    /// Points around all that it holds: half a voxel or half a plane beyond the outermost centres.
    fn reach(&self) -> Vec<[f64; 3]> {
        match &self.what {
            What::Drawn(_) => {
                let polygons = self.polygons();
                let planes = of_planes(&polygons, 1.0).ok().flatten();
                let half = planes.map_or([0.0; 3], |grid| grid.normal().map(|x| x * grid.slice_spacing_mm() / 2.0));
                let ends =
                    |point: &[f64; 3]| [-1.0, 1.0].map(|sign| [0, 1, 2].map(|k: usize| point[k] + sign * half[k]));
                polygons.into_iter().flatten().flat_map(ends).collect()
            }
            What::Voxels(None) => Vec::new(),
            What::Voxels(Some(mask)) if mask.is_empty() => Vec::new(),
            What::Voxels(Some(mask)) => {
                let ends = mask.extent().map(|range| [range.start as f64 - 0.5, range.end as f64 - 0.5]);
                let corner = |bits: usize| [0, 1, 2].map(|axis: usize| ends[axis][bits >> axis & 1]);
                (0..8).map(|bits| mask.geometry.index_to_patient(corner(bits))).collect()
            }
        }
    }

    /// Its closed contours, if it was drawn.
    fn polygons(&self) -> Vec<&[[f64; 3]]> {
        let What::Drawn(roi) = &self.what else { return Vec::new() };
        let closed = roi.contours.iter().filter(|contour| contour.is_closed() && contour.points.len() > 2);
        closed.map(|contour| contour.points.as_slice()).collect()
    }

    /// The voxels on a grid that holds it; empty for one without contours or frames.
    pub(super) fn on(&self, grid: &Arc<VolumeGeometry>) -> Result<Mask, String> {
        let own = match &self.what {
            What::Drawn(roi) if roi.unreadable > 0 => {
                return Err(format!(
                    "found {} contours that are not triples of numbers, expected none",
                    roi.unreadable
                ));
            }
            What::Drawn(_) if self.polygons().is_empty() => return Ok(Mask::empty(Arc::clone(grid))),
            What::Drawn(roi) => roi.mask_on(grid)?,
            What::Voxels(None) => return Ok(Mask::empty(Arc::clone(grid))),
            What::Voxels(Some(mask)) => mask.to_mask(),
        };
        Ok(onto(&own, grid))
    }
}

/// A grid that holds some structures whole: the grid of the images if there are any, else that of the first structure of
/// voxels, else the planes of the first one that was drawn; grown where it must be. Nothing where there is nothing.
pub(super) fn grid_for(
    structures: &[&Found],
    images: Option<&VolumeGeometry>,
    pixel_mm: f64,
) -> Result<Option<Arc<VolumeGeometry>>, String> {
    let reach: Vec<[f64; 3]> = structures.iter().flat_map(|found| found.reach()).collect();
    let of_voxels = structures.iter().find_map(|found| match &found.what {
        What::Voxels(Some(mask)) => Some(&*mask.geometry),
        _ => None,
    });
    let drawn;
    let base = match images.or(of_voxels) {
        Some(base) => base,
        None => {
            let polygons = structures.iter().map(|found| found.polygons()).find(|polygons| !polygons.is_empty());
            let made = of_planes(&polygons.unwrap_or_default(), pixel_mm).map_err(|error| error.to_string())?;
            let Some(made) = made else { return Ok(None) };
            drawn = made;
            &drawn
        }
    };
    covering(base, &reach).map(|grid| Some(Arc::new(grid))).map_err(|error| error.to_string())
}

/// Columns for people: the first to the left, numbers to the right, the last as it is.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cell = |(column, cell): (usize, &String)| match column {
            0 => format!("{cell:width$}", width = widths[0]),
            _ if column + 1 == count => cell.clone(),
            _ => format!("{cell:>width$}", width = widths[column]),
        };
        let cells: Vec<String> = row.iter().enumerate().map(cell).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
