//! Structures that came with the images: structure sets and segmentations, each name looked for among its aliases.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use dicom_dictionary_std::tags;

use super::WorkOrder;
use super::bench::BenchError;
use super::inputs::{Registered, Series, files_of, read_instance, unreadable};
use crate::dicom::{Instance, Uid};
use crate::infer::post::onto;
use crate::job::RegisteredInput;
use crate::output::{rtstruct, seg};
use crate::pipeline::{AliasRule, Input, Pipeline};
use crate::volume::{Mask, VolumeGeometry};

/// The structures of all inputs that hold such, by `slot:Label`, on the grid of the primary images; or why they are not
/// there.
pub(super) type Drawn = BTreeMap<String, Result<Mask, String>>;

/// Reads the objects of every slot of structures, and tells which came through a registration.
///
/// Warnings tell what a union was made without, and names that were passed over because nothing of them is there.
pub(super) fn read_structures(
    pipeline: &Pipeline,
    order: &WorkOrder,
    series: &[Series<'_>],
    warnings: &mut Vec<String>,
) -> Result<(Drawn, Vec<RegisteredInput>), BenchError> {
    let (mut drawn, mut registered) = (Drawn::new(), Vec::new());
    for input in pipeline.inputs().iter().filter(|input| !input.is_image()) {
        let files = files_of(order, input);
        let registration = files.and_then(|files| files.registration.as_deref()).map(read_instance).transpose()?;
        let registration = registration.map(|object| object.sop_instance_uid);
        let images = Images::of(series, input, registration.as_ref())?;
        let found = files.map(|files| regions(&files.files)).transpose()?;
        for rule in input.aliases() {
            let mask = match &found {
                Some(regions) => look_for(rule, regions, &images),
                None => Err(absent(input)),
            };
            let name = format!("{}:{}", input.name, rule.label);
            let mask = mask.map(|Found { mask, passed_over, through }| {
                warnings.extend(passed_over.into_iter().map(|why| format!("{name} was made without {why}")));
                registered.extend(through.map(|through| through.told(&name)));
                mask
            });
            drawn.insert(name, mask);
        }
    }
    Ok((drawn, registered))
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
    /// Those that the registration of the structures brought there, the ones that they were drawn on first, then those
    /// with the finest pixels.
    registered: Vec<Moved<'a>>,
}

/// Images that a registration brought to the primary ones.
#[derive(Clone, Copy)]
struct Moved<'a> {
    frame: &'a Uid,
    series: &'a Uid,
    by: &'a Registered,
    /// Whether the input says that the structures were drawn on them.
    is_named: bool,
}

impl<'a> Images<'a> {
    /// `registration` is the object that was chosen for the structures: they are moved by that one or not at all.
    fn of(series: &'a [Series<'_>], input: &Input, registration: Option<&Uid>) -> Result<Images<'a>, BenchError> {
        let plan = &series[0].plan;
        let mut registered: Vec<Moved<'a>> = Vec::new();
        for one in series {
            let Some(by) = one.registered.as_ref().filter(|by| Some(&by.sop_instance_uid) == registration) else {
                continue;
            };
            let (frame, series) = (&one.plan.frame_of_reference_uid, &one.plan.key.series_instance_uid);
            registered.push(Moved { frame, series, by, is_named: input.drawn_on.as_deref() == Some(one.slot) });
        }
        if let Some(object) = registration.filter(|_| registered.is_empty()) {
            return Err(BenchError::Series(vec![format!(
                "{}: found structures that registration object {object} brings to the primary images, expected images that it \
                 brings there too",
                input.name
            )]));
        }
        let pixel_mm2 = |one: &Moved<'_>| one.by.own.row_spacing_mm() * one.by.own.column_spacing_mm();
        registered.sort_by(|a, b| (!a.is_named).cmp(&!b.is_named).then(pixel_mm2(a).total_cmp(&pixel_mm2(b))));
        Ok(Images { geometry: &plan.geometry, frame: &plan.frame_of_reference_uid, registered })
    }

    /// The moved images of a region: those that it was drawn on by the input, then those that its object names, then the
    /// finest ones of its Frame of Reference.
    fn moved(&self, region: &Region) -> Option<&'a Registered> {
        let frame = region.frame.as_ref()?;
        let of_frame = self.registered.iter().filter(|one| one.frame == frame);
        let best = of_frame.min_by_key(|one| (!one.is_named, region.series.as_ref() != Some(one.series)));
        best.map(|one| one.by)
    }
}

/// A region or segment by its name, not yet brought onto the images.
struct Region {
    name: String,
    /// Of the object, where it says one.
    frame: Option<Uid>,
    /// The images that the object names first.
    series: Option<Uid>,
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
                Region { name, frame, series: None, what: What::Segmented(segment.mask) }
            };
            regions.extend(segments.into_iter().map(region));
            continue;
        }
        let set = rtstruct::read_instance(&instance).map_err(|error| unreadable(file, error))?;
        regions.extend(set.rois.into_iter().map(|roi| {
            let frame = roi.frame_of_reference_uid.clone().or_else(|| set.frame_of_reference_uid.clone());
            let series = set.referenced_series_uid.clone();
            Region { name: roi.name.clone(), frame, series, what: What::Drawn(roi) }
        }));
    }
    Ok(regions)
}

/// A structure on the grid of the primary images.
struct Found<'a> {
    mask: Mask,
    /// What it was made without.
    passed_over: Vec<String>,
    /// What brought it, or a part of it, there.
    through: Option<&'a Registered>,
}

/// The first name of the list that is found and not empty, or all of them joined; and what was passed over because nothing
/// of it lies within the images. Names compare without case and padding; of two regions of one name the last counts (as in
/// CERR). A region that is there and cannot be used is an error: another name, or a union without it, would be another
/// structure.
fn look_for<'a>(rule: &AliasRule, regions: &[Region], images: &Images<'a>) -> Result<Found<'a>, String> {
    let folded = |text: &str| text.trim().to_lowercase();
    let (mut passed_over, mut joined, mut present): (Vec<String>, Option<Mask>, bool) = (Vec::new(), None, false);
    let mut through = None;
    for name in &rule.names {
        let (mut found, mut is_there) = (None, false);
        for region in regions.iter().rev().filter(|region| folded(&region.name) == folded(name)) {
            is_there = true;
            match region.mask_on(images).map_err(|reason| format!("{name}: {reason}"))? {
                Ok(mask) => {
                    through = through.or(images.moved(region));
                    found = Some(mask);
                }
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
        Some(mask) => Ok(Found { mask, passed_over, through }),
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
        let registered = images.moved(self);
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
            What::Drawn(roi) => {
                if let Some(registered) = registered {
                    lie_within(roi, &registered.own)?;
                }
                roi.mask_on(geometry)?
            }
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

/// Whether the contours lie on the images by whose rows, columns and slices they become voxels; they would be cut there, and
/// the primary images may go on.
///
/// # Errors
/// How many points do not.
fn lie_within(roi: &rtstruct::ParsedRoi, geometry: &VolumeGeometry) -> Result<(), String> {
    // Contours around the whole of the images run along their borders, and may be a voxel beyond.
    let points = || roi.contours.iter().flat_map(|contour| &contour.points);
    let beyond = points().filter(|&&point| !geometry.holds(point, 1.0)).count();
    if beyond == 0 {
        return Ok(());
    }
    let count = points().count();
    Err(format!(
        "found {beyond} of {count} points outside the registered images of its Frame of Reference, expected all within: it \
         would be cut there; add the images that it was drawn on as an input and say so (\"drawn_on\")"
    ))
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;
    use crate::volume::Rigid;

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
        Region { name: name.to_owned(), frame: None, series: None, what: What::Drawn(roi) }
    }

    fn empty(name: &str) -> Region {
        let mask = Mask::new(grid(), Array3::from_elem((2, 8, 8), false));
        Region { name: name.to_owned(), frame: None, series: None, what: What::Segmented(Some(mask)) }
    }

    fn look(names: &[&str], union: bool, regions: &[Region]) -> Result<(usize, Vec<String>), String> {
        let rule =
            AliasRule { label: "X".to_owned(), names: names.iter().map(|name| (*name).to_owned()).collect(), union };
        let frame = Uid::derived(["frame"]);
        let images = Images { geometry: &grid(), frame: &frame, registered: Vec::new() };
        look_for(&rule, regions, &images).map(|found| (found.mask.count(), found.passed_over))
    }

    /// Images of the frame `moved` that were brought 3 mm along x, with pixels of a size.
    fn registered(object: &str, side: usize, mm: f64) -> Registered {
        let origins = vec![[0.0, 0.0, 0.0], [0.0, 0.0, 3.0]];
        let own =
            VolumeGeometry::new((side, side), [mm, mm], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins).expect("legal");
        let by = [1.0, 0.0, 0.0, 3.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0];
        let by = Rigid::of_matrix(by).expect("rigid");
        Registered { by, sop_instance_uid: Uid::derived([object]), own: Arc::new(own), warning: None }
    }

    #[test]
    fn a_region_is_moved_with_the_images_of_its_own_frame_and_says_so() {
        let (frame, moved) = (Uid::derived(["frame"]), Uid::derived(["moved"]));
        let series = ["coarse", "fine", "named"].map(|name| Uid::derived([name]));
        let by = [registered("one", 4, 2.0), registered("two", 8, 1.0), registered("three", 2, 2.0)];
        let rule = AliasRule { label: "X".to_owned(), names: vec!["GTV".to_owned()], union: false };
        let look = |which: &[usize], named: Option<usize>, change: &dyn Fn(&mut Region)| {
            let one = |&k: &usize| Moved { frame: &moved, series: &series[k], by: &by[k], is_named: named == Some(k) };
            let images = Images { geometry: &grid(), frame: &frame, registered: which.iter().map(one).collect() };
            let mut region = drawn("GTV", 1.0, 0);
            region.frame = Some(moved.clone());
            change(&mut region);
            look_for(&rule, &[region], &images).map(|found| {
                let first = found.mask.voxels.indexed_iter().find(|(_, inside)| **inside).map(|(at, _)| at);
                (first, found.through.map(|by| by.sop_instance_uid.clone()))
            })
        };
        // One of the primary frame stays where it is, and comes through nothing.
        let (stays, through) = look(&[1], None, &|region| region.frame = Some(frame.clone())).expect("there");
        assert_eq!(through, None);
        let (first, through) = look(&[1], None, &|_| ()).expect("moved");
        assert_eq!(first.map(|at| at.2), stays.map(|at| at.2 + 3));
        assert_eq!(through, Some(Uid::derived(["two"])));
        // Images of its frame that another registration moves, or none, move nothing.
        let told = look(&[], None, &|_| ()).expect_err("apart");
        assert!(told.contains("it lies in another Frame of Reference than the images"), "{told}");
        // Those that its object names, else the first, which are the finest; those of the input before all.
        let of = |which: &[usize], named, series: Option<&Uid>| {
            look(which, named, &|region| region.series = series.cloned()).expect("moved").1
        };
        assert_eq!(of(&[1, 0], None, Some(&series[0])), Some(Uid::derived(["one"])));
        assert_eq!(of(&[1, 0], None, None), Some(Uid::derived(["two"])));
        assert_eq!(of(&[1, 0], Some(0), Some(&series[1])), Some(Uid::derived(["one"])));
        // On images that are too small it would be cut.
        let told = look(&[2], None, &|region| {
            let What::Drawn(roi) = &mut region.what else { return };
            roi.contours[0].points.iter_mut().for_each(|point| point[0] += 3.0);
        });
        assert!(told.expect_err("cut").contains("points outside the registered images"));
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
