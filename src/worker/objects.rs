//! What a finished run leaves in its folder besides its page: DICOM objects and other formats.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::WorkOrder;
use super::bench::{BenchError, hex};
use super::documents::write_sr;
use super::images::{write_derived, write_nifti, write_registration, write_seg};
use super::inputs::{FileSeries, Series, files_of, unreadable};
use super::steps::{Delivered, Made};
use super::structure_set::write_structure_sets;
use crate::assemble::{ONE_STACK, SeriesPlan, SliceSource};
use crate::contour::Contour;
use crate::dicom::Instance;
use crate::job::{ProducedObject, Run};
use crate::limits::SERIES_DESCRIPTION_LENGTH_MAX;
use crate::output::grid::{FileGrid, UnevenSlices};
use crate::output::object::{Algorithm, AlgorithmFamily, Equipment, Provenance, SliceReference, Source};
use crate::pipeline::{self, Model, Output, Pipeline, STAMP, StructureRule};
use crate::structure::{Structure as Tg263, lookup};
use crate::volume::Volume;

/// Name of the report page in the folder of a job.
pub const REPORT_FILE: &str = "report.html";

/// A run with everything that its objects are made of.
pub(super) struct Finished<'a> {
    pub order: &'a WorkOrder,
    pub pipeline: &'a Pipeline,
    pub plan: &'a SeriesPlan,
    pub instances: &'a [Instance],
    /// Every series of images that came, the primary first.
    pub series: &'a [Series<'a>],
    pub volume: &'a Volume,
    pub made: &'a Made,
    /// The structures that are delivered, in the order of the pipeline, with their contours.
    pub chosen: Vec<Delivered<'a>>,
    pub contours: Vec<Vec<Contour>>,
}

impl Finished<'_> {
    /// What every object is made of, for as long as it is needed.
    pub fn with_source<T>(&self, work: impl FnOnce(Source<'_>) -> T) -> T {
        let ordered: Vec<&Instance> = in_order_of_slices(self.plan, self.instances);
        let (slices, provenance, equipment) = (self.slices(), self.provenance_of_objects(), equipment());
        let source = Source {
            instances: &ordered,
            slices: &slices,
            geometry: &self.plan.geometry,
            provenance: &provenance,
            created: self.order.created_at.to_zoned(jiff::tz::TimeZone::system()).datetime(),
            equipment: &equipment,
        };
        work(source)
    }

    /// Writes what is delivered besides the page, and other formats where the order asks for them, and says so in the run.
    pub fn write_objects(&self, run: &mut Run) -> Result<(), BenchError> {
        if self.file().is_none() {
            let left_out = self.with_source(|source| self.write_outputs(source, run))?;
            let of_page = |output: &Output| matches!(output, Output::Pdf(_) | Output::SecondaryCapture(_));
            let none_follows = !self.pipeline.outputs().iter().any(of_page);
            if run.objects.is_empty() && !left_out.is_empty() && none_follows {
                return Err(BenchError::Output(left_out.join("; ")));
            }
            run.warnings.extend(left_out);
        } else if !self.pipeline.outputs().is_empty() {
            let kinds: BTreeSet<&str> = self.pipeline.outputs().iter().map(Output::kind).collect();
            run.warnings.push(format!(
                "left out: {}; a DICOM object refers to the images of a DICOM series, and this image is none",
                kinds.into_iter().collect::<Vec<_>>().join(", ")
            ));
        }
        run.files.extend(run.objects.iter().map(|object| object.file.clone()));
        run.files.extend(self.write_formats(&mut run.warnings)?);
        run.files.extend(write_nifti(self, &mut run.warnings)?);
        Ok(())
    }

    /// What tells the volume from others of its series; none where there is no other.
    pub fn volume_name(&self) -> Option<&str> {
        let files = files_of(self.order, self.pipeline.primary())?;
        Some(files.volume.as_str()).filter(|name| !name.is_empty() && *name != ONE_STACK)
    }

    /// Series Description, with the name of the volume where the series has several: objects of two phases are told apart
    /// where they are received.
    pub fn series_description(&self, usual: &str) -> String {
        self.volume_name().map_or_else(|| usual.to_owned(), |name| with_volume(usual, name))
    }

    /// What the primary image is, where it is no DICOM series.
    pub fn file(&self) -> Option<&FileSeries<'_>> {
        self.series.first().and_then(|series| series.file.as_ref())
    }

    /// How files of masks lay out their voxels: as that of the image did, or in the order of its slices.
    pub fn grid(&self) -> Result<FileGrid, UnevenSlices> {
        let of_file = self.file().and_then(|file| file.grid.clone());
        of_file.map_or_else(|| FileGrid::of(&self.plan.geometry), Ok)
    }

    /// The outputs that need no pictures; what could not be made, with its reason.
    fn write_outputs(&self, source: Source<'_>, run: &mut Run) -> Result<Vec<String>, BenchError> {
        let mut derived = 0..;
        let mut sets = 0..;
        let mut left_out = Vec::new();
        let mut segmentation = None;
        // Reports refer to the segmentation, wherever that stands in the list.
        let (reports, others): (Vec<&Output>, Vec<&Output>) =
            self.pipeline.outputs().iter().partition(|output| matches!(output, Output::Sr(_)));
        for output in others.into_iter().chain(reports) {
            let files = match output {
                Output::Pdf(_) | Output::SecondaryCapture(_) => continue, // They come with the page.
                Output::RtStruct(output) => {
                    match write_structure_sets(self, source, (sets.next().unwrap_or(0), output), run) {
                        // Its steps were skipped.
                        Err(BenchError::Nothing(reasons)) => left_out.push(format!("left out: {}", reasons.join("; "))),
                        // Whatever else is wrong with a structure set fails the run: somebody waits for it.
                        written => written?,
                    }
                    continue;
                }
                Output::Seg(output) => {
                    let files = write_seg(self, source, output);
                    segmentation = files.is_ok().then_some(output);
                    files
                }
                Output::Sr(output) => write_sr(self, source, output, segmentation),
                Output::Registration(output) => write_registration(self, source, output),
                Output::DerivedImage(output) => write_derived(self, source, output, derived.next().unwrap_or(0)),
            };
            // The others are as good without it.
            let files = match files {
                Err(BenchError::Output(reason)) => {
                    left_out.push(format!("left out: {reason}"));
                    continue;
                }
                files => files?,
            };
            run.objects.extend(files.into_iter().map(|file| self.object(output, file)));
        }
        Ok(left_out)
    }

    /// A file of an output, for the peers that want its kind.
    pub fn object(&self, output: &Output, file: String) -> ProducedObject {
        let to = Some(self.pipeline.peers_for(output.kind(), self.order.sender.as_deref()));
        let kind = output.kind().to_owned();
        ProducedObject { file, kind, sop_instance_uid: None, label: None, dialect: None, to }
    }

    /// The image of each slice.
    pub fn slices(&self) -> Vec<SliceReference> {
        let reference = |slice: &SliceSource| SliceReference {
            sop_class_uid: slice.sop_class_uid.clone(),
            sop_instance_uid: slice.sop_instance_uid.clone(),
            frame_number: slice.frame_number,
        };
        self.plan.slices.iter().map(reference).collect()
    }

    /// What the UIDs of objects are derived from.
    fn provenance_of_objects(&self) -> Provenance {
        let (order, pipeline) = (self.order, self.pipeline);
        let digest = hex(&Sha256::digest(order.pipeline_source.as_bytes()));
        Provenance {
            pipeline_id: pipeline.id().to_owned(),
            // The job names all instances and the models' definitions; its time stands in the object. Whatever changes
            // the bytes changes the UID.
            pipeline_revision: format!("{} {digest} {} {}", pipeline.revision(), order.job, order.created_at),
            model_digests: self.made.models.values().map(Model::digests).collect(),
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// The name of a volume stands before the stamp; what is too long is cut at the end of what is usual, then at the begin of
/// the name, whose end differs between phases.
fn with_volume(usual: &str, name: &str) -> String {
    let stamps = [STAMP, " (unreviewed)", " (derived)"];
    let stamp = stamps.into_iter().find(|stamp| usual.ends_with(stamp)).unwrap_or("");
    let text = usual.strip_suffix(stamp).unwrap_or(usual);
    let room = SERIES_DESCRIPTION_LENGTH_MAX - stamp.len();
    let length = name.chars().count();
    let name: String = name.chars().skip(length.saturating_sub(room)).collect();
    let before: String = text.chars().take(room.saturating_sub(length + 2)).collect();
    let (before, name) = (before.trim_end(), name.trim_start());
    if before.is_empty() { format!("{name}{stamp}") } else { format!("{before}, {name}{stamp}") }
}

fn equipment() -> Equipment {
    Equipment {
        manufacturer: "contourd".to_owned(),
        model_name: "contourd".to_owned(),
        software_versions: vec![env!("CARGO_PKG_VERSION").to_owned()],
        station_name: None,
        institution_name: None,
    }
}

/// Each image once, in the order of its first slice.
fn in_order_of_slices<'a>(plan: &SeriesPlan, instances: &'a [Instance]) -> Vec<&'a Instance> {
    let mut seen = vec![false; instances.len()];
    let mut ordered = Vec::new();
    for slice in &plan.slices {
        if !std::mem::replace(&mut seen[slice.instance], true) {
            ordered.push(&instances[slice.instance]);
        }
    }
    ordered
}

/// What an object says of a structure besides its voxels.
pub(super) struct Described {
    pub structure: Option<&'static Tg263>,
    pub algorithm: Algorithm,
    pub generation: String,
}

pub(super) fn described(job: &Finished<'_>, rule: &StructureRule) -> Described {
    let model = job.made.models.get(&rule.source.step);
    Described {
        structure: lookup(&rule.source.label).or_else(|| lookup(&rule.style.name)),
        algorithm: model.map_or_else(operations, algorithm_of),
        generation: match model {
            Some(model) => format!("contourd {} {}", model.id(), model.version()),
            None => format!("contourd operations, step {}", rule.source.step),
        },
    }
}

fn algorithm_of(model: &Model) -> Algorithm {
    let family = match model.algorithm() {
        pipeline::Algorithm::ArtificialIntelligence => AlgorithmFamily::ArtificialIntelligence,
        pipeline::Algorithm::Deterministic => AlgorithmFamily::HistogramAnalysis,
    };
    Algorithm {
        family,
        name: model.name().to_owned(),
        version: model.version().to_owned(),
        source: model.reference().to_owned(),
        parameters: format!("sha256:{}", model.digests()),
    }
}

/// Of a structure that operations of the pipeline made of others.
fn operations() -> Algorithm {
    Algorithm {
        family: AlgorithmFamily::MorphologicalOperations,
        name: "contourd operations".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        source: String::new(),
        parameters: String::new(),
    }
}

/// Writes a file and makes its bytes durable; the daemon makes its name durable when it adopts the folder.
pub(super) fn write(file: &Path, bytes: &[u8]) -> Result<(), BenchError> {
    let written = File::create(file).and_then(|mut out| {
        out.write_all(bytes)?;
        out.sync_data()
    });
    written.map_err(|error| unreadable(file, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_volume_stands_before_the_stamp_and_fits() {
        let check = |usual: &str, name: &str, expected: &str| {
            let found = with_volume(usual, name);
            assert_eq!(found, expected);
            assert!(found.len() <= 64, "{found}");
        };
        check("contourd body AI: review before use", "Echo Time 3", "contourd body, Echo Time 3 AI: review before use");
        check("contourd body (unreviewed)", "Echo Time 3", "contourd body, Echo Time 3 (unreviewed)");
        check("Body", "Echo Time 3", "Body, Echo Time 3");
        check(
            "contourd a-pipeline-of-a-long-name AI: review before use",
            "Respiratory Phase 10, Echo 2",
            "contourd a-p, Respiratory Phase 10, Echo 2 AI: review before use",
        );
        check(
            "contourd body AI: review before use",
            "stack 1 (40 images of 512 x 512), Temporal Position 3",
            "images of 512 x 512), Temporal Position 3 AI: review before use",
        );
    }
}
