//! The outputs of a run besides its structure set: segmentations, registrations, derived images; as DICOM and as NIfTI.

use super::bench::BenchError;
use super::inputs::Series;
use super::objects::{Finished, described, write};
use crate::dicom::Instance;
use crate::infer::{DerivedImage, DerivedKind};
use crate::output::derived::{self, As};
use crate::output::grid::FileGrid;
use crate::output::object::{Source, Uids};
use crate::output::{nifti, registration, seg};
use crate::pipeline::{ArtefactRef, DerivedOutput, Output, Pipeline, RegistrationOutput, SegOutput};
use crate::volume::Volume;

/// Far above the numbers of scanners; structure sets begin at 9001.
const SEG_SERIES_NUMBER: u32 = 9_051;
const REGISTRATION_SERIES_NUMBER: u32 = 9_052;
/// That of the first derived image; further ones count on.
const DERIVED_SERIES_NUMBER: u32 = 9_101;

pub(super) fn write_seg(job: &Finished<'_>, source: Source<'_>, output: &SegOutput) -> Result<Vec<String>, BenchError> {
    with_segmentation(job, source, output, |segmentation| {
        let bytes = seg::encode(segmentation).map_err(|error| BenchError::Output(format!("seg: {error}")))?;
        let name = format!("SEG.{}.dcm", segmentation.uids().sop_instance_uid);
        write(&job.order.folder.join(&name), &bytes)?;
        Ok(vec![name])
    })
}

/// The UIDs of the segmentation that [`write_seg`] writes.
pub(super) fn segmentation_uids(job: &Finished<'_>, source: Source<'_>, output: &SegOutput) -> Uids {
    with_segmentation(job, source, output, |segmentation| segmentation.uids())
}

fn with_segmentation<T>(
    job: &Finished<'_>,
    source: Source<'_>,
    output: &SegOutput,
    work: impl FnOnce(&seg::Segmentation<'_>) -> T,
) -> T {
    let segments: Vec<seg::SegmentOut<'_>> = job
        .chosen
        .iter()
        .map(|(rule, structure)| {
            let said = described(job, rule);
            seg::SegmentOut {
                style: rule.style.clone(),
                structure: said.structure,
                mask: &structure.mask,
                description: structure.reason.clone().unwrap_or_default(),
                algorithm: said.algorithm,
            }
        })
        .collect();
    work(&seg::Segmentation {
        source,
        segments: &segments,
        kind: output.kind,
        label: &output.label,
        series_number: SEG_SERIES_NUMBER,
        series_description: &job.series_description(&format!("contourd {} (unreviewed)", job.pipeline.id())),
    })
}

/// Whether anything can come of a pipeline that writes nothing but deformations, before pixels are loaded.
///
/// # Errors
/// The moving images of all of them were registered rigidly first.
pub(super) fn check_registrations(pipeline: &Pipeline, series: &[Series<'_>]) -> Result<(), BenchError> {
    let refused = |output: &Output| match output {
        Output::Registration(output) => {
            let moving = series.iter().find(|one| one.slot == output.moving && one.registered.is_some());
            moving.map(|one| format!("registration of {}: {}", shown(&output.of), after_rigid(one.slot)))
        }
        _ => None,
    };
    let reasons: Option<Vec<String>> = pipeline.outputs().iter().map(refused).collect();
    match reasons.filter(|reasons| !reasons.is_empty()) {
        Some(reasons) => Err(BenchError::Output(reasons.join("; "))),
        None => Ok(()),
    }
}

fn after_rigid(slot: &str) -> String {
    format!("{slot} was registered rigidly first, and the deformation leads to where that put it")
}

pub(super) fn write_registration(
    job: &Finished<'_>,
    source: Source<'_>,
    output: &RegistrationOutput,
) -> Result<Vec<String>, BenchError> {
    let failed = |reason: String| BenchError::Output(format!("registration of {}: {reason}", shown(&output.of)));
    let DerivedKind::Deformation(displacement) = &image_of(job, &output.of)?.kind else {
        return Err(failed("found an image, expected a deformation".to_owned()));
    };
    let moving = job.series.iter().find(|series| series.slot == output.moving);
    let moving = moving.ok_or_else(|| failed(format!("the input {} did not come", output.moving)))?;
    if moving.registered.is_some() {
        return Err(failed(after_rigid(moving.slot)));
    }
    let moving: Vec<&Instance> = moving.instances.iter().collect();
    let registration = registration::Registration {
        source,
        displacement,
        moving: &moving,
        name: &shown(&output.of),
        series_number: REGISTRATION_SERIES_NUMBER,
        series_description: &job
            .series_description(&format!("contourd {} deformation (unreviewed)", job.pipeline.id())),
    };
    let bytes = registration::encode(&registration).map_err(|error| failed(error.to_string()))?;
    let name = format!("REG.{}.dcm", registration.uids().sop_instance_uid);
    write(&job.order.folder.join(&name), &bytes)?;
    Ok(vec![name])
}

/// `index` counts the derived images of the pipeline, from 0.
pub(super) fn write_derived(
    job: &Finished<'_>,
    source: Source<'_>,
    output: &DerivedOutput,
    index: u32,
) -> Result<Vec<String>, BenchError> {
    let failed = |reason: String| BenchError::Output(format!("derived image {}: {reason}", shown(&output.of)));
    let DerivedKind::Image(volume) = &image_of(job, &output.of)?.kind else {
        return Err(failed("found a deformation, expected an image; write it as a registration".to_owned()));
    };
    let usual = format!("contourd {} {} (derived)", job.pipeline.id(), output.of.label);
    let image = derived::DerivedImage {
        source,
        volume,
        name: &shown(&output.of),
        series_number: DERIVED_SERIES_NUMBER + index,
        series_description: &job.series_description(output.description.as_deref().unwrap_or(&usual)),
    };
    let prefix = match output.written_as {
        As::Ct => "CT",
        As::Mr => "MR",
        As::ParametricMap => "PM",
    };
    let encoded = derived::encode(&image, output.written_as).map_err(|error| failed(error.to_string()))?;
    let write_one = |encoded: derived::Encoded| {
        let name = format!("{prefix}.{}.dcm", encoded.sop_instance_uid);
        write(&job.order.folder.join(&name), &encoded.bytes)?;
        Ok(name)
    };
    encoded.into_iter().map(write_one).collect()
}

/// An image that a step made.
fn image_of<'a>(job: &'a Finished<'_>, of: &ArtefactRef) -> Result<&'a DerivedImage, BenchError> {
    let found = job.made.images.iter().find(|(step, image)| *step == of.step && image.name == of.label);
    let missing = || BenchError::Output(format!("found no image {}, expected one of its model", shown(of)));
    found.map(|(_, image)| image).ok_or_else(missing)
}

fn shown(of: &ArtefactRef) -> String {
    format!("{}:{}", of.step, of.label)
}

/// The images that models gave besides structures, as NIfTI; a deformation has one file for each component. What the
/// format cannot place is left out with a warning.
pub(super) fn write_nifti(job: &Finished<'_>, warnings: &mut Vec<String>) -> Result<Vec<String>, BenchError> {
    let mut files = Vec::new();
    let mut write_one = |name: String, volume: &Volume| {
        let on_the_images = volume.geometry == job.plan.geometry;
        match if on_the_images { job.grid() } else { FileGrid::of(&volume.geometry) } {
            Ok(grid) => {
                write(&job.order.folder.join(&name), &nifti::gzip(&nifti::encode_image_on(&grid, volume)))?;
                files.push(name);
            }
            Err(uneven) => warnings.push(format!("{name} is left out: {uneven}")),
        }
        Ok::<(), BenchError>(())
    };
    for (step, image) in &job.made.images {
        match &image.kind {
            DerivedKind::Image(volume) => write_one(format!("{step}.{}.nii.gz", image.name), volume)?,
            DerivedKind::Deformation(components) => {
                for (axis, volume) in ["x", "y", "z"].iter().zip(components) {
                    write_one(format!("{step}.{}.{axis}_mm.nii.gz", image.name), volume)?;
                }
            }
        }
    }
    Ok(files)
}
