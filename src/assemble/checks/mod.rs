//! The table of what is checked before a series becomes a volume: condition, outcome, message. Nothing else decides.

mod geometry;
mod identity;
mod pixels;

use std::fmt;

use super::series::Series;
use crate::dicom::{Instance, Uid};

/// How many UIDs a message lists.
const PLACES_MAX: usize = 3;

/// What was found wrong with a series, or strange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Short name that stays the same, such as `series.gap`.
    pub rule: &'static str,
    pub what: &'static str,
    /// SOP Instance UIDs of the first instances concerned.
    pub at: Vec<Uid>,
    /// How many more there are.
    pub more: usize,
    pub found: String,
    pub expected: &'static str,
    pub cure: &'static str,
}

/// Why a series does not become a volume.
pub type Refusal = Finding;

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)?;
        for (index, uid) in self.at.iter().enumerate() {
            write!(f, "{}{uid}", if index == 0 { " at " } else { ", " })?;
        }
        if self.more > 0 {
            write!(f, " and {} more", self.more)?;
        }
        write!(f, ": found {}, expected {}; {}", self.found, self.expected, self.cure)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Refuse,
    Warn,
}
use Outcome::{Refuse, Warn};

/// What a check found: where, by instance index, and what.
struct Deviation {
    instances: Vec<usize>,
    found: String,
}

type Find = fn(&Series) -> Option<Deviation>;

/// rule, outcome, condition, what, expected, cure.
type Row = (&'static str, Outcome, Find, &'static str, &'static str, &'static str);

/// Every condition under which a series is refused or accepted with a warning. PS3.3 C.7.3 to C.7.6 say what must hold;
/// the thresholds are in the conditions, with their reasons.
#[rustfmt::skip]
const CHECKS: &[Row] = &[
    // Which instances, of whom.
    ("series.no_image", Refuse, identity::no_image, "series has no CT, MR or PET image", "an image storage SOP class of CT, MR or PET", "send an image series; this one is not for contouring"),
    ("series.localizer", Refuse, identity::only_localizers, "series has only localizers", "an axial image stack", "send the reconstructed images instead of the topogram"),
    ("series.set_aside", Warn, identity::set_aside, "instances of other kinds are set aside", "images only", "nothing to do if the other images are complete"),
    ("series.study", Refuse, identity::mixed_series, "instances of several series or studies are mixed", "one Study and one Series Instance UID", "send each series by itself"),
    ("series.identity", Refuse, identity::mixed_patients, "two patients under one series", "one Patient ID and one Patient's Name", "find out at the sender which images belong to whom, correct them there and send the series again"),
    ("series.modality", Refuse, identity::mixed_modalities, "images of several modalities are mixed", "one modality", "send each modality as a series of its own"),
    ("series.modality_attribute", Warn, identity::modality_attribute, "Modality (0008,0060) is missing or contradicts the SOP class, which is followed", "the modality of the SOP class", "correct it at the sender"),
    ("series.patient_position", Warn, identity::patient_position, "Patient Position (0018,5100) is missing or not a defined term", "HFS, FFS or another of the eight", "nothing to do: the direction vectors are used; correct it at the sender"),
    // Pixels.
    ("series.pixel_data", Refuse, pixels::no_pixel_data, "image has no integer pixel data", "Pixel Data (7FE0,0010)", "send the image again from its source"),
    ("series.photometric", Refuse, pixels::photometric, "image is no grey-scale image of measured values", "MONOCHROME2 with one sample per pixel", "send the original images, not secondary captures or colour maps"),
    ("series.pixel_format", Refuse, pixels::format, "pixel attributes are missing or contradict each other", "rows, columns, 8, 16 or 32 bits allocated, bits stored and high bit within them, representation 0 or 1", "send the image again from its source"),
    ("series.transfer_syntax", Refuse, pixels::transfer_syntax, "transfer syntax cannot be decoded", "one of those that this node advertises", "let the sender convert it to Explicit VR Little Endian"),
    ("series.pixel_length", Refuse, pixels::length, "pixel data does not have the length of its image", "rows x columns x frames x bytes per sample", "send the image again from its source"),
    ("series.lookup_table", Refuse, pixels::lookup_table, "values need a modality lookup table", "Rescale Slope and Intercept", "export the images with a linear rescale"),
    ("series.rescale", Refuse, pixels::rescale, "Rescale Slope and Intercept are missing or illegal", "two numbers, slope not 0", "export the images with their rescale: without it the values are not HU or activity"),
    ("series.rescale_varies", Warn, pixels::rescale_varies, "slices of a CT have different rescale", "one rescale for all slices", "nothing to do: each slice is rescaled with its own"),
    ("series.padding", Warn, pixels::padding, "Pixel Padding Value lies among tissue values and is ignored", "padding at or below -900 HU", "nothing to do unless the corners of the image look wrong"),
    ("series.lossy", Warn, pixels::lossy, "images were compressed with loss", "lossless images", "send the original images if contours look wrong"),
    // Geometry.
    ("series.frame_of_reference", Refuse, geometry::frame_of_reference, "Frame of Reference UID is missing, illegal or not the same in all images", "one Frame of Reference UID", "send images with one: contours without it cannot be placed in the patient"),
    ("series.placement", Refuse, geometry::no_placement, "Image Position, Image Orientation or Pixel Spacing is missing or no number", "6, 3 and 2 finite numbers", "send the original images; derived ones often lack geometry"),
    ("series.directions", Refuse, geometry::directions, "Image Orientation is not two perpendicular unit vectors", "a deviation of at most 0.01", "send the images again from their source"),
    ("series.orientation", Refuse, geometry::orientation, "images have different orientations", "one orientation", "send each orientation as a series of its own; localizers do not belong here"),
    ("series.size", Refuse, geometry::size, "images have different sizes", "one number of rows and of columns", "send each reconstruction as a series of its own"),
    ("series.pixel_spacing", Refuse, geometry::pixel_spacing, "Pixel Spacing differs between images or is no plausible size", "one Pixel Spacing between 0.01 and 50 mm", "send each reconstruction as a series of its own"),
    ("series.duplicate_position", Refuse, geometry::clashes, "different images lie at one position", "one image for each position", "send each phase, echo or reconstruction as a series of its own"),
    ("series.repeated", Warn, geometry::repeated, "the same image came under several UIDs; the one with the lowest Instance Number is kept", "each image once", "nothing to do"),
    ("series.too_few", Refuse, geometry::too_few, "there are too few slices for a volume", "three or more, or what the caller asks for", "send the whole series; a topogram or a single slice cannot be contoured"),
    ("series.too_large", Refuse, geometry::too_large, "series exceeds the largest volume", "a volume within the limits", "send each phase or reconstruction as a series of its own"),
    ("series.gap", Refuse, geometry::gap, "slices are missing", "equal distances between slices", "send the missing slices, or allow uneven spacing in the pipeline if the scan has such gaps"),
    ("series.spacing", Refuse, geometry::uneven, "distances between slices differ by more than a tenth", "equal distances between slices", "reconstruct evenly, or allow uneven spacing in the pipeline"),
    ("series.spacing_varies", Warn, geometry::slightly_uneven, "distances between slices differ", "equal distances within 0.01 mm", "nothing to do: each slice keeps its own position"),
    ("series.sheared", Warn, geometry::sheared, "slices are shifted against each other within their plane (gantry tilt, or a sagging table)", "slices stacked along their normal", "nothing to do: each slice keeps its own position"),
    ("series.tilt_attribute", Warn, geometry::tilt_attribute, "Gantry/Detector Tilt is not 0; it is not used, because vendors differ in its sign", "0 degrees", "nothing to do: position and orientation of each slice are used"),
];

/// The warning about instances that take no part, where there are some.
pub(super) fn set_aside(series: &Series) -> Vec<Finding> {
    run(series).1.into_iter().filter(|warning| warning.rule == "series.set_aside").collect()
}

/// Runs the table: all refusals, all warnings.
pub(super) fn run(series: &Series) -> (Vec<Refusal>, Vec<Finding>) {
    let mut refusals = Vec::new();
    let mut warnings = Vec::new();
    for &(rule, outcome, find, what, expected, cure) in CHECKS {
        let Some(Deviation { mut instances, found }) = find(series) else { continue };
        instances.dedup();
        let more = instances.len().saturating_sub(PLACES_MAX);
        let at = instances.iter().take(PLACES_MAX).map(|&i| series.instances[i].sop_instance_uid.clone()).collect();
        let finding = Finding { rule, what, at, more, found, expected, cure };
        match outcome {
            Refuse => refusals.push(finding),
            Warn => warnings.push(finding),
        }
    }
    (refusals, warnings)
}

/// The images for which a condition holds, with the text of the first.
fn where_found(series: &Series, find: impl Fn(&Instance) -> Option<String>) -> Option<Deviation> {
    where_found_at(series, |i| find(&series.instances[i]))
}

/// As [`where_found`], by index.
fn where_found_at(series: &Series, find: impl Fn(usize) -> Option<String>) -> Option<Deviation> {
    let mut hits = series.images.iter().filter_map(|&i| find(i).map(|found| (i, found)));
    let (first, found) = hits.next()?;
    let instances = std::iter::once(first).chain(hits.map(|(i, _)| i)).collect();
    Some(Deviation { instances, found })
}

/// Two images whose values differ, when there are such; `show` writes a value that may be shown.
fn differing<T: PartialEq>(
    images: &[usize],
    value: impl Fn(usize) -> T,
    show: impl Fn(&T) -> String,
) -> Option<Deviation> {
    let first = *images.first()?;
    let expected = value(first);
    let other = images[1..].iter().copied().find(|&i| value(i) != expected)?;
    let found = format!("{} and {}", show(&expected), show(&value(other)));
    Some(Deviation { instances: vec![first, other], found })
}
