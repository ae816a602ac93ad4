//! What people and archives read of a run: the structured report of its measurements, and its page as DICOM objects.

use dicom_dictionary_std::tags;

use super::bench::BenchError;
use super::images::segmentation_uids;
use super::objects::{Finished, described, write};
use crate::assemble::Modality;
use crate::output::object::Source;
use crate::output::picture::{Scene, Window};
use crate::output::report::{Report, pdf, sheets};
use crate::output::{capture, document, seg, sr};
use crate::pipeline::{DocumentOutput, SegOutput, Unit, Wants};
use crate::quality::values;

/// Beside those of segmentations and registrations.
const SR_SERIES_NUMBER: u32 = 9_053;
const PDF_SERIES_NUMBER: u32 = 9_054;
const CAPTURE_SERIES_NUMBER: u32 = 9_055;

/// `segmentation` is the one that was written beside it.
pub(super) fn write_sr(
    job: &Finished<'_>,
    source: Source<'_>,
    output: &DocumentOutput,
    segmentation: Option<&SegOutput>,
) -> Result<Vec<String>, BenchError> {
    let said: Vec<_> = job.chosen.iter().map(|(rule, _)| described(job, rule)).collect();
    let types = job.instances.iter().filter_map(|instance| instance.text(tags::RESCALE_TYPE));
    let other_unit = other_unit(job.plan.modality, types);
    let measured =
        job.chosen.iter().zip(&job.contours).zip(&said).map(|(((rule, made), contours), said)| sr::Measured {
            name: &rule.style.name,
            structure: said.structure,
            contours,
            volume_cm3: made.mask.volume_cm3(),
            values: if other_unit.is_none() { values(job.volume, &made.mask) } else { None },
            note: other_unit.as_deref().or(made.reason.as_deref()).unwrap_or_default(),
            algorithm: said.algorithm.clone(),
        });
    let structures: Vec<sr::Measured<'_>> = measured.collect();
    let segmentation = segmentation.map(|output| sr::SegmentationOf {
        sop_class_uid: match output.kind {
            seg::Kind::Binary => seg::SOP_CLASS_UID,
            seg::Kind::LabelMap => seg::LABEL_MAP_SOP_CLASS_UID,
        },
        uids: segmentation_uids(job, source, output),
    });
    let report = sr::Measurements {
        source,
        quantity: quantity(job),
        structures: &structures,
        segmentation,
        series_number: SR_SERIES_NUMBER,
        series_description: &job.series_description(&output.series_description(job.pipeline.id(), "measurements")),
    };
    let bytes = sr::encode(&report).map_err(|error| BenchError::Output(format!("sr: {error}")))?;
    let name = format!("SR.{}.dcm", report.uids().sop_instance_uid);
    write(&job.order.folder.join(&name), &bytes)?;
    Ok(vec![name])
}

/// Why the values of CT or MR are not told: they are in a unit of their own, such as those of an iodine or an ADC map.
fn other_unit(modality: Modality, mut types: impl Iterator<Item = String>) -> Option<String> {
    let usual = match modality {
        Modality::Ct => ["HU", ""],
        Modality::Mr => ["US", ""],
        Modality::Pet => return None,
    };
    let found = types.find(|found| !usual.contains(&found.trim()))?;
    Some(format!("Values are left out: Rescale Type of the images is {}.", found.trim()))
}

/// What the values of the primary images are.
pub(super) fn quantity(job: &Finished<'_>) -> sr::Quantity {
    let in_suv = matches!(job.pipeline.primary().wants, Wants::Image { unit: Unit::SuvBw, .. });
    match job.plan.modality {
        Modality::Ct => sr::Quantity::Hounsfield,
        Modality::Mr => sr::Quantity::MrSignal,
        Modality::Pet if in_suv => sr::Quantity::SuvBw,
        Modality::Pet => {
            let said = |tag| job.instances.iter().find_map(|instance| instance.text(tag)).unwrap_or_default();
            sr::Quantity::of_pet(&said(tags::UNITS), &said(tags::SUV_TYPE))
        }
    }
}

/// The page as a PDF.
pub(super) fn write_pdf(
    job: &Finished<'_>,
    source: Source<'_>,
    output: &DocumentOutput,
    report: &Report,
) -> Result<Vec<String>, BenchError> {
    let failed = |error: &dyn std::fmt::Display| BenchError::Output(format!("pdf: {error}"));
    let pages = pdf(report).map_err(|error| failed(&error))?;
    let document = document::Document {
        source,
        pdf: &pages,
        title: &format!("{}, not reviewed", report.title),
        series_number: PDF_SERIES_NUMBER,
        series_description: &job.series_description(&output.series_description(job.pipeline.id(), "report")),
    };
    let bytes = document::encode(&document).map_err(|error| failed(&error))?;
    let name = format!("DOC.{}.dcm", document.uids().sop_instance_uid);
    write(&job.order.folder.join(&name), &bytes)?;
    Ok(vec![name])
}

/// The pictures of the page, after one with the table of structures.
pub(super) fn write_captures(
    job: &Finished<'_>,
    source: Source<'_>,
    output: &DocumentOutput,
    report: &Report,
) -> Result<Vec<String>, BenchError> {
    let outlines = job.outlines();
    let scene = Scene::new(job.volume, &outlines);
    let window = Window::suited(job.volume, job.plan.modality == Modality::Ct);
    let captures = capture::Captures {
        source,
        pictures: &sheets(report, |figure, side| scene.draw(figure.view, window, side)),
        series_number: CAPTURE_SERIES_NUMBER,
        series_description: &job.series_description(&output.series_description(job.pipeline.id(), "pictures")),
    };
    let encoded = capture::encode(&captures);
    let encoded = encoded.map_err(|error| BenchError::Output(format!("secondary_capture: {error}")))?;
    let write_one = |encoded: capture::Encoded| {
        let name = format!("SC.{}.dcm", encoded.sop_instance_uid);
        write(&job.order.folder.join(&name), &encoded.bytes)?;
        Ok(name)
    };
    encoded.into_iter().map(write_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_a_unit_of_their_own_are_told_as_such() {
        let told = |modality, types: &[&str]| other_unit(modality, types.iter().map(|text| (*text).to_owned()));
        assert_eq!(told(Modality::Ct, &["HU ", "HU"]), None);
        assert_eq!(told(Modality::Mr, &["US"]), None);
        assert_eq!(told(Modality::Mr, &[]), None);
        // An iodine map is stored as CT.
        let iodine = told(Modality::Ct, &["HU", "MGML"]);
        assert_eq!(iodine.as_deref(), Some("Values are left out: Rescale Type of the images is MGML."));
        assert!(told(Modality::Mr, &["10^-6 mm2/s"]).is_some());
        assert_eq!(told(Modality::Pet, &["US"]), None);
    }
}
