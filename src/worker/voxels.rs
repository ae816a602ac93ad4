//! What a run writes for people with other tools, where its order asks for it: masks, label maps, planC.
//!
//! A format that cannot say where the slices lie is left out with a warning; the other results are good without it.

use rayon::prelude::*;

use super::bench::BenchError;
use super::documents::quantity;
use super::objects::{Finished, write};
use super::steps::Delivered;
use crate::output::grid::FileGrid;
use crate::output::layers::Layers;
use crate::output::nrrd::{self, Segment};
use crate::output::planc::{self, PlanStructure, Scan};
use crate::output::sr::Quantity;
use crate::output::{Format, csv, nifti};
use crate::volume::CompactMask;

impl Finished<'_> {
    /// Writes the formats that the order names; the names of the files.
    pub fn write_formats(&self, warnings: &mut Vec<String>) -> Result<Vec<String>, BenchError> {
        let mut files = Vec::new();
        for format in &self.order.write {
            let made = match format {
                _ if self.chosen.is_empty() => Ok(Vec::new()),
                Format::Nifti => self.grid().map(|grid| nifti_files(&grid, &self.chosen)),
                Format::Nrrd => self.grid().map(|grid| nrrd_files(&grid, &self.chosen)),
                Format::PlanC => Ok(vec![self.planc_file()?]),
            };
            match made {
                Ok(made) => {
                    for (name, bytes) in made {
                        write(&self.order.folder.join(&name), &bytes)?;
                        files.push(name);
                    }
                }
                Err(uneven) => {
                    let name = Format::ALL.iter().find(|(_, known)| known == format).map_or("", |(name, _)| name);
                    warnings.push(format!("{name} is left out: {uneven}"));
                }
            }
        }
        Ok(files)
    }

    fn planc_file(&self) -> Result<(String, Vec<u8>), BenchError> {
        let structures: Vec<PlanStructure<'_>> = self
            .chosen
            .iter()
            .zip(&self.contours)
            .map(|((rule, structure), contours)| PlanStructure {
                style: &rule.style,
                mask: &structure.mask,
                contours,
                description: structure.reason.as_deref().unwrap_or_default(),
            })
            .collect();
        let slices = self.slices();
        let scan = Scan {
            volume: self.volume,
            modality: self.plan.modality.as_str(),
            study_instance_uid: self.plan.key.study_instance_uid.as_str(),
            series_instance_uid: self.plan.key.series_instance_uid.as_str(),
            frame_of_reference_uid: self.plan.frame_of_reference_uid.as_str(),
            slices: &slices,
            units: units(quantity(self)),
            date: &self.order.created_at.strftime("%Y%m%d").to_string(),
            job: self.order.job.as_str(),
        };
        let bytes = planc::encode(&scan, &structures).map_err(|error| BenchError::Output(error.to_string()))?;
        Ok(("planC.h5".to_owned(), bytes))
    }
}

/// `imageUnits` and `suvType` of a planC, as pyCERR takes them from DICOM.
fn units(quantity: Quantity) -> [&'static str; 2] {
    match quantity {
        Quantity::Hounsfield => ["HU", ""],
        Quantity::SuvBw => ["GML", "BW"],
        Quantity::Becquerel => ["BQML", ""],
        Quantity::MrSignal | Quantity::PetOther => ["", ""],
    }
}

/// `NAME.nii.gz` for each structure; `structures.nii.gz`, one label map where none overlaps another, else a volume for
/// each; and `structures.csv`, which says what the labels, or the volumes in their order, are.
fn nifti_files(grid: &FileGrid, chosen: &[Delivered<'_>]) -> Vec<(String, Vec<u8>)> {
    let one = |(rule, structure): &Delivered<'_>| {
        let bytes = nifti::encode_mask_on(grid, &structure.mask.to_mask());
        (format!("{}.nii.gz", rule.style.name), nifti::gzip(&bytes))
    };
    let mut files: Vec<(String, Vec<u8>)> = chosen.par_iter().map(one).collect();
    let masks: Vec<&CompactMask> = chosen.iter().map(|(_, structure)| &structure.mask).collect();
    let layers = Layers::of(&masks);
    let all = match layers.maps.as_slice() {
        [map] => nifti::gzip(&nifti::encode_labels_on(grid, map)),
        _ => nifti::gzip_stack(grid, &masks),
    };
    files.push(("structures.nii.gz".to_owned(), all));
    files.push(("structures.csv".to_owned(), table(chosen).into_bytes()));
    files
}

fn table(chosen: &[Delivered<'_>]) -> String {
    let head = csv::line(["number", "name", "red", "green", "blue"]);
    let row = |(index, (rule, _)): (usize, &Delivered<'_>)| {
        let numbers = rule.style.color.0.map(|part| part.to_string());
        let [red, green, blue] = numbers.each_ref().map(String::as_str);
        csv::line([&(index + 1).to_string(), rule.style.name.as_str(), red, green, blue])
    };
    head + &chosen.iter().enumerate().map(row).collect::<String>()
}

/// `NAME.nrrd` for each structure, and `structures.seg.nrrd`.
fn nrrd_files(grid: &FileGrid, chosen: &[Delivered<'_>]) -> Vec<(String, Vec<u8>)> {
    let one = |(rule, structure): &Delivered<'_>| {
        (format!("{}.nrrd", rule.style.name), nrrd::encode_mask(grid, &structure.mask.to_mask()))
    };
    let mut files: Vec<(String, Vec<u8>)> = chosen.par_iter().map(one).collect();
    let parts = chosen.iter();
    let parts = parts.map(|(rule, made)| Segment { name: &rule.style.name, color: rule.style.color, mask: &made.mask });
    let segments: Vec<Segment<'_>> = parts.collect();
    files.push(("structures.seg.nrrd".to_owned(), nrrd::encode_segmentation(grid, &segments)));
    files
}
