//! Structures that came with the images: structure sets and segmentations, each name looked for among its aliases.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::WorkOrder;
use super::bench::BenchError;
use super::inputs::{files_of, unreadable};
use crate::assemble::SeriesPlan;
use crate::dicom::Instance;
use crate::infer::post::onto;
use crate::output::{rtstruct, seg};
use crate::pipeline::{AliasRule, Input, Pipeline};
use crate::volume::{Mask, VolumeGeometry};

/// The structures of all inputs that hold such, by `slot:Label`, on the grid of the primary images; or why they are not
/// there.
pub(super) type Drawn = BTreeMap<String, Result<Mask, String>>;

/// Reads the objects of every slot of structures.
pub(super) fn read_structures(pipeline: &Pipeline, order: &WorkOrder, plan: &SeriesPlan) -> Result<Drawn, BenchError> {
    let mut drawn = Drawn::new();
    for input in pipeline.inputs().iter().filter(|input| !input.is_image()) {
        let found = match files_of(order, input) {
            Some(files) => Some(regions(files, plan)?),
            None => None,
        };
        for rule in input.aliases() {
            let mask = match &found {
                Some(regions) => look_for(rule, regions, &plan.geometry),
                None => Err(absent(input)),
            };
            drawn.insert(format!("{}:{}", input.name, rule.label), mask);
        }
    }
    Ok(drawn)
}

/// Why nothing of an optional input is there.
pub(super) fn absent(input: &Input) -> String {
    format!("the input {} is optional and did not come", input.name)
}

/// A region or segment by its name, not yet brought onto the images.
struct Region {
    name: String,
    what: What,
}

enum What {
    Drawn(rtstruct::ParsedRoi),
    Segmented(Option<Mask>),
}

/// Everything that the objects hold, in their order.
fn regions(files: &[PathBuf], plan: &SeriesPlan) -> Result<Vec<Region>, BenchError> {
    let mut regions = Vec::new();
    for file in files {
        let bytes = fs::read(file).map_err(|error| unreadable(file, error))?;
        let instance = Instance::read_part10(bytes.as_slice()).map_err(|error| unreadable(file, error))?;
        if instance.sop_class_uid.as_str() == seg::SOP_CLASS_UID {
            let segments = seg::read(&bytes).map_err(|error| unreadable(file, error))?;
            let region = |segment: seg::Segment| Region { name: segment.label, what: What::Segmented(segment.mask) };
            regions.extend(segments.into_iter().map(region));
            continue;
        }
        let set = rtstruct::read_instance(&instance).map_err(|error| unreadable(file, error))?;
        // A set may hold regions of several Frames of Reference; only those of the images can be placed in them.
        let here = |roi: &rtstruct::ParsedRoi| {
            roi.frame_of_reference_uid.as_ref().is_none_or(|frame| *frame == plan.frame_of_reference_uid)
        };
        let rois = set.rois.into_iter().filter(here);
        regions.extend(rois.map(|roi| Region { name: roi.name.clone(), what: What::Drawn(roi) }));
    }
    Ok(regions)
}

/// The first name of the list that is found and not empty, or all of them joined. Names compare without case and
/// padding; of two regions of one name the last counts (as in CERR).
fn look_for(rule: &AliasRule, regions: &[Region], geometry: &Arc<VolumeGeometry>) -> Result<Mask, String> {
    let folded = |text: &str| text.trim().to_lowercase();
    let mut reasons: Vec<String> = Vec::new();
    let mut joined: Option<Mask> = None;
    for name in &rule.names {
        let named = regions.iter().rev().filter(|region| folded(&region.name) == folded(name));
        for region in named {
            match mask_of(region, geometry) {
                Ok(mask) if !rule.union => return Ok(mask),
                Ok(mask) => {
                    if let Some(sum) = &mut joined {
                        ndarray::Zip::from(&mut sum.voxels).and(&mask.voxels).par_for_each(|a, b| *a |= *b);
                    } else {
                        joined = Some(mask);
                    }
                    break;
                }
                Err(reason) => reasons.push(format!("{name}: {reason}")),
            }
        }
    }
    if let Some(joined) = joined {
        return Ok(joined);
    }
    if reasons.is_empty() {
        let (count, names) = (regions.len(), rule.names.join(", "));
        return Err(format!("found none of the names {names} among {count} structures that came with the images"));
    }
    Err(reasons.join("; "))
}

/// The voxels on the grid of the images.
fn mask_of(region: &Region, geometry: &Arc<VolumeGeometry>) -> Result<Mask, String> {
    let own = match &region.what {
        What::Drawn(roi) => roi.mask_on(geometry)?,
        What::Segmented(mask) => mask.clone().ok_or("found a segment without frames")?,
    };
    let mask = if own.geometry == *geometry { own } else { onto(&own, geometry) };
    if mask.voxels.iter().any(|inside| *inside) {
        Ok(mask)
    } else {
        Err("found nothing of it within the images".to_owned())
    }
}
