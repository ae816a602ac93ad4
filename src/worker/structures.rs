//! Structures that came with the images: structure sets and segmentations, each name looked for among its aliases.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use dicom_dictionary_std::tags;

use super::WorkOrder;
use super::bench::BenchError;
use super::inputs::{Registered, Series, files_of, unreadable};
use crate::dicom::Instance;
use crate::dicom::Uid;
use crate::infer::post::onto;
use crate::output::{rtstruct, seg};
use crate::pipeline::{AliasRule, Input, Pipeline};
use crate::volume::{Mask, VolumeGeometry};

/// The structures of all inputs that hold such, by `slot:Label`, on the grid of the primary images; or why they are not
/// there.
pub(super) type Drawn = BTreeMap<String, Result<Mask, String>>;

/// Reads the objects of every slot of structures.
///
/// Warnings tell what a union was made without, and names that were passed over because nothing of them is there.
pub(super) fn read_structures(
    pipeline: &Pipeline,
    order: &WorkOrder,
    series: &[Series<'_>],
    warnings: &mut Vec<String>,
) -> Result<Drawn, BenchError> {
    let mut drawn = Drawn::new();
    for input in pipeline.inputs().iter().filter(|input| !input.is_image()) {
        let images = Images::of(series, input.drawn_on.as_deref());
        let found = match files_of(order, input) {
            Some(files) => Some(regions(&files.files)?),
            None => None,
        };
        for rule in input.aliases() {
            let mask = match &found {
                Some(regions) => look_for(rule, regions, &images),
                None => Err(absent(input)),
            };
            let name = format!("{}:{}", input.name, rule.label);
            let mask = mask.map(|(mask, passed_over)| {
                warnings.extend(passed_over.into_iter().map(|why| format!("{name} was made without {why}")));
                mask
            });
            drawn.insert(name, mask);
        }
    }
    Ok(drawn)
}

/// Why nothing of an optional input is there.
pub(super) fn absent(input: &Input) -> String {
    format!("the input {} is optional and did not come", input.name)
}

/// The images that structures may lie on.
struct Images<'a> {
    /// Of the primary ones.
    geometry: &'a Arc<VolumeGeometry>,
    frame: &'a Uid,
    /// Those of other Frames of Reference, the ones that structures were drawn on first.
    registered: Vec<(&'a Uid, &'a Registered)>,
}

impl<'a> Images<'a> {
    fn of(series: &'a [Series<'_>], drawn_on: Option<&str>) -> Images<'a> {
        let plan = &series[0].plan;
        let mut series: Vec<&Series<'_>> = series.iter().collect();
        series.sort_by_key(|one| Some(one.slot) != drawn_on);
        let frame = |one: &&'a Series<'_>| Some((&one.plan.frame_of_reference_uid, one.registered.as_ref()?));
        let registered = series.iter().filter_map(frame).collect();
        Images { geometry: &plan.geometry, frame: &plan.frame_of_reference_uid, registered }
    }
}

/// A region or segment by its name, not yet brought onto the images.
struct Region {
    name: String,
    /// Of the object, where it says one.
    frame: Option<Uid>,
    what: What,
}

enum What {
    Drawn(rtstruct::ParsedRoi),
    Segmented(Option<Mask>),
}

/// Everything that the objects hold, in their order.
fn regions(files: &[PathBuf]) -> Result<Vec<Region>, BenchError> {
    let mut regions = Vec::new();
    for file in files {
        let bytes = fs::read(file).map_err(|error| unreadable(file, error))?;
        let instance = Instance::read_part10(bytes.as_slice()).map_err(|error| unreadable(file, error))?;
        if seg::is_segmentation(instance.sop_class_uid.as_str()) {
            let segments = seg::read(&bytes).map_err(|error| unreadable(file, error))?;
            let frame: Option<Uid> = instance.text(tags::FRAME_OF_REFERENCE_UID).and_then(|text| text.parse().ok());
            let region = |segment: seg::Segment| {
                let (name, frame) = (segment.label, frame.clone());
                Region { name, frame, what: What::Segmented(segment.mask) }
            };
            regions.extend(segments.into_iter().map(region));
            continue;
        }
        let set = rtstruct::read_instance(&instance).map_err(|error| unreadable(file, error))?;
        regions.extend(set.rois.into_iter().map(|roi| {
            let frame = roi.frame_of_reference_uid.clone().or_else(|| set.frame_of_reference_uid.clone());
            Region { name: roi.name.clone(), frame, what: What::Drawn(roi) }
        }));
    }
    Ok(regions)
}

/// The first name of the list that is found and not empty, or all of them joined; and what was passed over because nothing
/// of it lies within the images. Names compare without case and padding; of two regions of one name the last counts (as in
/// CERR). A region that is there and cannot be used is an error: another name, or a union without it, would be another
/// structure.
fn look_for(rule: &AliasRule, regions: &[Region], images: &Images<'_>) -> Result<(Mask, Vec<String>), String> {
    let folded = |text: &str| text.trim().to_lowercase();
    let (mut passed_over, mut joined, mut present): (Vec<String>, Option<Mask>, bool) = (Vec::new(), None, false);
    for name in &rule.names {
        let (mut found, mut is_there) = (None, false);
        for region in regions.iter().rev().filter(|region| folded(&region.name) == folded(name)) {
            is_there = true;
            match region.mask_on(images).map_err(|reason| format!("{name}: {reason}"))? {
                Ok(mask) => found = Some(mask),
                Err(nothing) => passed_over.push(format!("{name}: {nothing}")),
            }
            if found.is_some() {
                break;
            }
        }
        present |= is_there;
        let Some(mask) = found else {
            if rule.union && !is_there {
                passed_over.push(format!("{name}: found no such structure"));
            }
            continue;
        };
        match &mut joined {
            Some(sum) => ndarray::Zip::from(&mut sum.voxels).and(&mask.voxels).par_for_each(|a, b| *a |= *b),
            None => joined = Some(mask),
        }
        if !rule.union {
            break;
        }
    }
    match joined {
        Some(joined) => Ok((joined, passed_over)),
        None if !present => {
            let (count, names) = (regions.len(), rule.names.join(", "));
            Err(format!("found none of the names {names} among {count} structures that came with the images"))
        }
        None => Err(passed_over.join("; ")),
    }
}

impl Region {
    /// The voxels on the grid of the images, or why there are none within them.
    ///
    /// # Errors
    /// Contours that cannot be used.
    fn mask_on(&self, images: &Images<'_>) -> Result<Result<Mask, &'static str>, String> {
        // Contours lie in the planes of the images that they were drawn on, so that they become voxels there.
        let registered =
            self.frame.as_ref().and_then(|frame| images.registered.iter().find(|(other, _)| *other == frame));
        let registered = registered.map(|(_, registered)| *registered);
        let geometry = registered.map_or(images.geometry, |registered| &registered.own);
        let own = match &self.what {
            What::Drawn(_)
                if registered.is_none() && self.frame.as_ref().is_some_and(|frame| frame != images.frame) =>
            {
                return Ok(Err("it lies in another Frame of Reference than the images"));
            }
            What::Drawn(roi) if roi.unreadable > 0 => {
                return Err(format!(
                    "found {} contours whose Contour Data (3006,0050) are not triples of numbers, expected none; export the \
                     structure set again",
                    roi.unreadable
                ));
            }
            What::Drawn(roi) => roi.mask_on(geometry)?,
            What::Segmented(None) => return Ok(Err("found a segment without frames")),
            What::Segmented(Some(mask)) => mask.clone(),
        };
        let own = match registered {
            Some(registered) => Mask::new(Arc::new(own.geometry.moved(&registered.by)), own.voxels),
            None => own,
        };
        let mask = if own.geometry == *images.geometry { own } else { onto(&own, images.geometry) };
        let any = mask.voxels.iter().any(|inside| *inside);
        Ok(if any { Ok(mask) } else { Err("found nothing of it within the images") })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;

    fn grid() -> Arc<VolumeGeometry> {
        let origins = vec![[0.0, 0.0, 0.0], [0.0, 0.0, 3.0]];
        Arc::new(VolumeGeometry::new((8, 8), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins).expect("legal"))
    }

    /// A square of the first slice, drawn.
    fn drawn(name: &str, low: f64, unreadable: usize) -> Region {
        let high = low + 2.0;
        let points = vec![[low, low, 0.0], [high, low, 0.0], [high, high, 0.0], [low, high, 0.0]];
        let contour = rtstruct::ParsedContour {
            geometric_type: "CLOSED_PLANAR".to_owned(),
            number_of_points: Some(points.len()),
            points,
            sop_instance_uid: None,
            frame_number: None,
        };
        let roi = rtstruct::ParsedRoi {
            number: 1,
            name: name.to_owned(),
            frame_of_reference_uid: None,
            interpreted_type: String::new(),
            color: None,
            generation_algorithm: String::new(),
            volume_cm3: None,
            contours: vec![contour],
            unreadable,
        };
        Region { name: name.to_owned(), frame: None, what: What::Drawn(roi) }
    }

    fn empty(name: &str) -> Region {
        let mask = Mask::new(grid(), Array3::from_elem((2, 8, 8), false));
        Region { name: name.to_owned(), frame: None, what: What::Segmented(Some(mask)) }
    }

    fn look(names: &[&str], union: bool, regions: &[Region]) -> Result<(usize, Vec<String>), String> {
        let rule =
            AliasRule { label: "X".to_owned(), names: names.iter().map(|name| (*name).to_owned()).collect(), union };
        let frame = Uid::derived(["frame"]);
        let images = Images { geometry: &grid(), frame: &frame, registered: Vec::new() };
        look_for(&rule, regions, &images).map(|(mask, passed_over)| (mask.count(), passed_over))
    }

    #[test]
    fn a_structure_that_is_there_and_cannot_be_used_is_not_replaced_by_another() {
        let regions = [drawn("GTV", 1.0, 2), drawn("GTV_old", 3.0, 0)];
        let told = look(&["GTV", "GTV_old"], false, &regions).expect_err("refused");
        assert!(told.starts_with("GTV: found 2 contours whose Contour Data"), "{told}");
        let told = look(&["GTV_old", "GTV"], true, &regions).expect_err("refused");
        assert!(told.starts_with("GTV: "), "{told}");
        assert_eq!(look(&["gtv_old ", "GTV"], false, &regions), Ok((4, Vec::new())));
    }

    #[test]
    fn what_was_passed_over_is_told() {
        let regions = [drawn("Lung_L", 1.0, 0), empty("Lungs")];
        let (count, told) = look(&["Lungs", "Lung_L"], false, &regions).expect("found");
        assert_eq!(
            (count, told.as_slice()),
            (4, ["Lungs: found nothing of it within the images".to_owned()].as_slice())
        );
        let (_, told) = look(&["Lung_L", "Lung_R"], true, &regions).expect("found");
        assert_eq!(told, ["Lung_R: found no such structure"]);
        let told = look(&["Heart", "Cor"], true, &regions).expect_err("nothing");
        assert_eq!(told, "found none of the names Heart, Cor among 2 structures that came with the images");
    }
}
