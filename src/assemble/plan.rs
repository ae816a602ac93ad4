//! Decides from headers whether a series makes a volume, and which frame becomes which slice.

use std::sync::Arc;

use super::checks::{Finding, Refusal};
use super::format::{self, FoundRescale, Modality, Padding, PixelFormat, Rescale};
use super::series::{Series, Stack};
use super::volumes::volumes;
use crate::dicom::{Instance, SeriesKey, Uid};
use crate::limits::VOLUME_SLICES_MIN;
use crate::volume::VolumeGeometry;

/// What a caller may allow beyond the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Gaps and uneven distances between slices are accepted: each slice keeps its own position. Default: no.
    pub uneven_spacing: bool,
    /// Fewest slices of a volume. Default: three, below which spacing cannot be judged.
    pub slices_min: usize,
}

impl Default for Allowed {
    fn default() -> Allowed {
        Allowed { uneven_spacing: false, slices_min: VOLUME_SLICES_MIN }
    }
}

/// How a series becomes a volume.
#[derive(Clone)]
pub struct SeriesPlan {
    pub geometry: Arc<VolumeGeometry>,
    /// Where each slice of the geometry comes from, in its order.
    pub slices: Vec<SliceSource>,
    pub modality: Modality,
    pub key: SeriesKey,
    pub frame_of_reference_uid: Uid,
    /// What is strange, but no reason to refuse.
    pub warnings: Vec<Finding>,
    /// How to decode each slice, in the order of `slices`.
    pub(super) decodings: Vec<Decoding>,
}

/// The image or frame that a slice comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceSource {
    /// Index in the instances that were planned.
    pub instance: usize,
    pub sop_instance_uid: Uid,
    pub sop_class_uid: Uid,
    /// 1-based number of the frame, for multi-frame images only (Referenced Frame Number, PS3.3 10.3).
    pub frame_number: Option<u32>,
}

/// How the stored values of one slice become values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Decoding {
    pub format: PixelFormat,
    /// 0-based frame in the pixel data.
    pub frame: usize,
    pub rescale: Rescale,
    pub padding: Option<Padding>,
    /// What takes the place of padding.
    pub lowest: f32,
}

impl SeriesPlan {
    /// The plan of an image that is no DICOM series. Nothing is loaded by it: whoever has read the geometry reads the
    /// voxels too.
    pub fn of_file(
        geometry: VolumeGeometry,
        modality: Modality,
        key: SeriesKey,
        frame_of_reference_uid: Uid,
        slices: Vec<SliceSource>,
    ) -> SeriesPlan {
        let (geometry, warnings, decodings) = (Arc::new(geometry), Vec::new(), Vec::new());
        SeriesPlan { geometry, slices, modality, key, frame_of_reference_uid, warnings, decodings }
    }
}

/// Plans the one volume of all instances of one series, in any order. What is no image of it is set aside.
///
/// # Errors
/// All reasons why the series makes no volume, never none; or that it makes several.
pub fn plan(instances: &[Instance]) -> Result<SeriesPlan, Vec<Refusal>> {
    plan_with(instances, Allowed::default())
}

/// As [`plan`], with what the caller allows.
///
/// # Errors
/// As [`plan`].
pub fn plan_with(instances: &[Instance], allowed: Allowed) -> Result<SeriesPlan, Vec<Refusal>> {
    let found = volumes(instances, allowed)?;
    let count = found.len();
    let labels: Vec<String> = found.iter().map(|volume| volume.label.clone()).collect();
    match found.into_iter().next().filter(|_| count == 1) {
        Some(volume) => volume.plan,
        None => Err(vec![several(&labels)]),
    }
}

fn several(labels: &[String]) -> Refusal {
    Finding {
        rule: "series.several_volumes",
        what: "the images make several volumes",
        at: Vec::new(),
        more: 0,
        found: labels.join("; "),
        expected: "one volume",
        cure: "say which of them is meant",
    }
}

pub(super) fn build(series: &Series, warnings: Vec<Finding>) -> Result<SeriesPlan, Refusal> {
    let (Some(stack), Some(modality), Some(&first)) = (&series.stack, series.modality, series.images.first()) else {
        return Err(incomplete("the stack of slices"));
    };
    let instance = &series.instances[first];
    let frame_of_reference_uid =
        stack_frame_of_reference(series, stack).ok_or_else(|| incomplete("the frame of reference"))?;
    let geometry = geometry(series, stack)?;
    let mut slices = Vec::with_capacity(stack.order.len());
    let mut decodings = Vec::with_capacity(stack.order.len());
    for &index in &stack.order {
        let frame = &series.frames[index];
        let source = &series.instances[frame.instance];
        slices.push(SliceSource {
            instance: frame.instance,
            sop_instance_uid: source.sop_instance_uid.clone(),
            sop_class_uid: source.sop_class_uid.clone(),
            frame_number: frame.in_multi_frame.then_some(frame.index as u32 + 1),
        });
        decodings.push(decoding(series, index, modality).ok_or_else(|| incomplete("the pixel format"))?);
    }
    let key = instance.series_key();
    Ok(SeriesPlan { geometry, slices, modality, key, frame_of_reference_uid, warnings, decodings })
}

fn stack_frame_of_reference(series: &Series, stack: &Stack) -> Option<Uid> {
    series.frames[*stack.order.first()?].placement.as_ref()?.frame_of_reference_uid.clone()
}

fn decoding(series: &Series, frame: usize, modality: Modality) -> Option<Decoding> {
    let frame = &series.frames[frame];
    let format = series.formats[frame.instance]?;
    let rescale = match frame.rescale {
        FoundRescale::Linear(line) => line,
        FoundRescale::Absent => Rescale { slope: 1.0, intercept: 0.0 },
        FoundRescale::Illegal => return None,
    };
    let padding = format::padding(&series.instances[frame.instance], &format)
        .filter(|&padding| format::is_plausible(padding, rescale, modality));
    Some(Decoding { format, frame: frame.index, rescale, padding, lowest: modality.lowest() })
}

fn geometry(series: &Series, stack: &Stack) -> Result<Arc<VolumeGeometry>, Refusal> {
    let first = stack.order.first().map(|&index| &series.frames[index]);
    let found = first.and_then(|frame| {
        let format = series.formats[frame.instance]?;
        Some((format, frame.spacing_mm?, frame.placement.as_ref()?))
    });
    let Some((format, spacing_mm, placement)) = found else { return Err(incomplete("geometry")) };
    let origins: Vec<[f64; 3]> = stack
        .order
        .iter()
        .filter_map(|&index| series.frames[index].placement.as_ref().map(|placement| placement.origin))
        .collect();
    let directions = (placement.row_direction, placement.column_direction);
    VolumeGeometry::new((format.rows, format.columns), spacing_mm, directions.0, directions.1, origins)
        .map(Arc::new)
        .map_err(|error| Finding { found: error.to_string(), ..incomplete("") })
}

/// A refusal for what the table should have refused already.
fn incomplete(what: &str) -> Refusal {
    Finding {
        rule: "series.geometry",
        what: "the images make no volume",
        at: Vec::new(),
        more: 0,
        found: format!("no {what}"),
        expected: "complete geometry and pixel attributes",
        cure: "send the images again from their source",
    }
}
