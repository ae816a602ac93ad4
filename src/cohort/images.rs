//! Turns files of other formats into cases: each image is one, for the pipeline that the operator named.
//!
//! Such a file says voxels and geometry, and a planC the modality. What a pipeline asks of headers is not asked of it,
//! and the report says so. A file that cannot be read is a case that fails in its worker, for all to see.

use std::fs;

use super::cases::{Case, Finding, Looker, newest};
use super::find::FoundImage;
use super::memory::{estimate, networks_bytes};
use crate::assemble::Modality;
use crate::dicom::{SeriesKey, Uid};
use crate::job::JobId;
use crate::output::Format;
use crate::pipeline::{Input, Pipeline};
use crate::route;
use crate::worker::{ImageHead, ImageOrder, InputFiles, head, plan_scans, turn_of};

impl Looker<'_> {
    /// What a file comes to: a case for each image that it holds.
    pub fn look_at_image(&self, image: &FoundImage) -> Vec<Finding> {
        let Some(only) = self.only.and_then(|id| self.configuration.pipelines.get(id)) else {
            let reason = "it has no header by which pipelines could be chosen; name one with --pipeline".to_owned();
            return vec![self.unused_image(image, vec![reason])];
        };
        let pipeline = &only.value;
        let needed = pipeline.inputs().iter().filter(|input| !input.primary && !input.optional);
        let needed: Vec<&str> = needed.map(|input| input.name.as_str()).collect();
        if !needed.is_empty() {
            let reason = format!(
                "{} needs {} besides {}, and a file of this format fills one input; use DICOM series",
                pipeline.id(),
                needed.join(", "),
                pipeline.primary().name
            );
            return vec![self.unused_image(image, vec![reason])];
        }
        let scans = match image.format {
            // One that cannot be opened is a case that fails.
            Format::PlanC => plan_scans(&image.file).unwrap_or(1),
            Format::Nifti | Format::Nrrd => 1,
        };
        let named = |scan: usize| match scans {
            1 => image.clone(),
            _ => FoundImage { name: format!("{}_scan{scan}", image.name), ..image.clone() },
        };
        (0..scans).flat_map(|scan| self.look_at_scan(&named(scan), pipeline, scan)).collect()
    }

    fn look_at_scan(&self, image: &FoundImage, pipeline: &Pipeline, scan: usize) -> Vec<Finding> {
        let input = pipeline.primary();
        let found = head(&image.file, image.format, scan, turn_of(input)).ok();
        let own = found.as_ref().and_then(|head| head.modality.as_deref());
        let modality = match self.modality_of(own, input) {
            Ok(modality) => modality.as_str().to_owned(),
            Err(reason) => return vec![self.unused_image(image, vec![reason])],
        };
        let (mut findings, mut reasons) = (Vec::new(), vec!["named by the operator".to_owned()]);
        if let Some(head) = &found {
            findings.push(Finding::Image { file: image.file.clone(), summary: summary(head, &modality) });
            let verdict = route::of_file(input, &modality, &head.geometry);
            if !verdict.refusals.is_empty() {
                findings.push(self.unused_image(image, verdict.refusals));
                return findings;
            }
            let not_asked = verdict.not_asked.iter();
            reasons
                .extend(not_asked.map(|condition| format!("not asked, because the file has no header: {condition}")));
        }
        let case = self.image_case(image, pipeline, scan, (modality, found), reasons);
        findings.push(case.unwrap_or_else(|reason| self.unused_image(image, vec![reason])));
        findings
    }

    /// What an image is: what its file says, else the operator, else the pipeline.
    fn modality_of(&self, own: Option<&str>, input: &Input) -> Result<Modality, String> {
        match (own.and_then(Modality::parse).or(self.modality), own) {
            (Some(modality), _) => Ok(modality),
            (None, Some(own)) => {
                Err(format!("its type is {own:?}, expected CT, MR or PT; say with --modality which it is"))
            }
            (None, None) => only_modality(input),
        }
    }

    fn image_case(
        &self,
        image: &FoundImage,
        pipeline: &Pipeline,
        scan: usize,
        (modality, head): (String, Option<ImageHead>),
        reasons: Vec<String>,
    ) -> Result<Finding, String> {
        let files = || std::iter::once(&image.file).chain(head.iter().flat_map(|head| &head.data_files));
        let created_at = newest(files())?;
        let bytes: u64 = files().map(|file| fs::metadata(file).map_or(0, |data| data.len())).sum();
        // Place, length and time stand for what a DICOM series has its UIDs for.
        let place = fs::canonicalize(&image.file).unwrap_or_else(|_| image.file.clone());
        let place = place.display().to_string();
        let (bytes, time) = (bytes.to_string(), created_at.to_string());
        let uid = Uid::derived(["contourd", "image of a file", &image.name, &place, &bytes, &time, &modality]);
        let key = SeriesKey { study_instance_uid: uid.clone(), series_instance_uid: uid.clone() };
        let digest = self.configuration.pipelines.get(pipeline.id()).map(|loaded| self.configuration.digest(loaded));
        let voxels: usize = head.map_or(0, |head| head.geometry.shape().iter().product());
        let slot = pipeline.primary().name.clone();
        let order = ImageOrder { format: image.format, scan, modality, uid: uid.clone() };
        let which = if image.format == Format::PlanC { format!(", scan {scan}") } else { String::new() };
        Ok(Finding::Case(Box::new(Case {
            pipeline: pipeline.id().to_owned(),
            series: None,
            name: image.name.clone(),
            slots: vec![(slot.clone(), format!("{}{which}", image.file.display()))],
            folder: image.file.clone(),
            job: JobId::derived(&key, &digest.unwrap_or_default(), [(&uid, "")]),
            created_at,
            usual: vec![image.format],
            reasons,
            memory_bytes: estimate(voxels as u64, networks_bytes(pipeline.id(), self.configuration)),
            files: vec![InputFiles {
                slot,
                files: vec![image.file.clone()],
                image: Some(order),
                ..InputFiles::default()
            }],
        })))
    }

    /// What to say of a file that makes no case.
    pub fn unused_image(&self, image: &FoundImage, reasons: Vec<String>) -> Finding {
        Finding::Unused { series: None, name: image.name.clone(), folder: image.file.clone(), reasons }
    }
}

/// The modality that an image must have for the slot, where its predicate leaves one.
fn only_modality(input: &Input) -> Result<Modality, String> {
    let all = [Modality::Ct, Modality::Mr, Modality::Pet];
    let possible: Vec<Modality> =
        all.into_iter().filter(|modality| route::may_take(input, modality.as_str())).collect();
    match possible[..] {
        [only] => Ok(only),
        [] => Err(format!("the input {} takes neither CT nor MR nor PT", input.name)),
        _ => {
            let words: Vec<&str> = possible.iter().map(|modality| modality.as_str()).collect();
            let words = words.join(" or ");
            Err(format!(
                "it does not say whether it is {words}, which the input {} takes; say it with --modality",
                input.name
            ))
        }
    }
}

fn summary(head: &ImageHead, modality: &str) -> String {
    let [slices, rows, columns] = head.geometry.shape();
    format!(
        "taken for {modality}, {slices} slices of {rows} x {columns}, {:.3} x {:.3} x {:.3} mm",
        head.geometry.slice_spacing_mm(),
        head.geometry.row_spacing_mm(),
        head.geometry.column_spacing_mm()
    )
}
