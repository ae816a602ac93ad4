//! One job from its files to its objects, top to bottom: load, run the models, contour, encode, report.
//!
//! The same bench serves the worker process and `contourd segment`. It reads the instances and the models, and writes
//! only into the folder of the order.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::WorkOrder;
use crate::assemble::{self, SeriesPlan};
use crate::contour::{self, Contour};
use crate::dicom::Instance;
use crate::document::{self, Problem, Problems};
use crate::infer::{self, Structure};
use crate::job::{Run, Stage, StructureResult};
use crate::onnx::Networks;
use crate::output::nifti;
use crate::output::rtstruct::{
    Algorithm, AlgorithmFamily, Equipment, Options, Provenance, Roi, SliceReference, StructureSet, Uids, encode,
};
use crate::pipeline::{self, Action, Model, Output, Pipeline, RtStructOutput, StructureRule};
use crate::structure::{Structure as Tg263, lookup};
use crate::volume::{Mask, Volume};

/// Why a job has no objects. Another run would meet the same.
#[derive(Debug, Error)]
pub enum BenchError {
    #[error("{file}: {reason}")]
    File { file: PathBuf, reason: String },
    #[error("the series cannot be a volume: {}", .0.join("; "))]
    Series(Vec<String>),
    #[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("; "))]
    Definition(Vec<Problem>),
    #[error(
        "models/{model}/{file}: found SHA-256 {found}, expected {expected} as in model.json; put the right file there, or the new digest into model.json"
    )]
    Digest { model: String, file: String, found: String, expected: String },
    #[error("step {step}, model {model}: {reason}")]
    Step { step: String, model: String, reason: String },
    #[error("pipeline {pipeline}: found no structure {structure}, expected one that its step makes: {made}")]
    NoStructure { pipeline: String, structure: String, made: String },
    #[error("{0}")]
    Output(String),
}

/// Loaded models, kept between jobs.
pub struct Bench {
    networks: Networks,
    /// Models whose network file was found to have the digest of its definition.
    checked: BTreeMap<String, Model>,
}

/// What has been made so far.
struct Made {
    /// By `step:Label`.
    structures: BTreeMap<String, Structure>,
    models: BTreeMap<String, Model>,
}

impl Bench {
    /// An empty bench; each network runs on `threads` CPU threads.
    pub fn new(threads: usize) -> Bench {
        Bench { networks: Networks::new(threads), checked: BTreeMap::new() }
    }

    /// Does one job. `progress` is told the stage and how much of it is done, 0 to 1.
    ///
    /// # Errors
    /// [`BenchError`]; nothing in the folder of the order counts then.
    pub fn run(&mut self, order: &WorkOrder, progress: &mut dyn FnMut(&str, f32)) -> Result<Run, BenchError> {
        let mut clock = Stages { list: Vec::new(), progress };
        let pipeline = parse_pipeline(&order.pipeline_source)?;
        let instances = clock.time("read headers", |_| read_instances(&order.instances))?;
        let plan = clock.time("assemble", |_| plan(&instances))?;
        let volume = clock.time("load pixels", |_| load(&plan, order))?;
        let made = self.infer(&pipeline, &order.models, &volume, &mut clock)?;
        let chosen = choose(&pipeline, &made)?;
        let contours: Vec<Vec<Contour>> =
            clock.time("contour", |_| chosen.iter().map(|(_, structure)| contour::trace(&structure.mask)).collect());
        let structures = results(&chosen, &contours);
        let mut run = Run { structures, warnings: warnings(&plan), ..Run::default() };
        clock.time("write", |_| {
            for output in pipeline.outputs() {
                let Output::RtStruct(output) = output;
                let sources = Sources { order, pipeline: &pipeline, plan: &plan, instances: &instances, made: &made };
                run.files.push(write_rtstruct(&sources, output, &chosen, &contours)?);
            }
            run.files.extend(write_masks(order, &chosen)?);
            Ok::<(), BenchError>(())
        })?;
        run.stages = clock.list;
        run.memory_peak_bytes = memory_peak_bytes();
        Ok(run)
    }

    fn infer(
        &mut self,
        pipeline: &Pipeline,
        models: &Path,
        volume: &Volume,
        clock: &mut Stages<'_>,
    ) -> Result<Made, BenchError> {
        let mut made = Made { structures: BTreeMap::new(), models: BTreeMap::new() };
        for step in pipeline.steps() {
            let Action::Model(reference) = &step.action;
            let model = self.model(models, &reference.name)?;
            let failed =
                |reason: String| BenchError::Step { step: step.id.clone(), model: model.id().to_owned(), reason };
            let images = step.images.iter().map(|(slot, _)| (slot.clone(), volume.clone())).collect();
            let mut masks = BTreeMap::new();
            for artefact in &step.structures {
                let name = format!("{}:{}", artefact.step, artefact.label);
                let found = made.structures.get(&name).ok_or_else(|| failed(format!("no structure {name}")))?;
                masks.insert(artefact.label.clone(), found.mask.clone());
            }
            let network = clock.time(&format!("{}: load model", step.id), |_| {
                self.networks.get(&model, &models.join(model.id())).map_err(|error| failed(error.to_string()))
            })?;
            let structures = clock.time(&format!("{}: infer", step.id), |progress| {
                let mut network = network.lock().unwrap_or_else(PoisonError::into_inner);
                infer::run(model.recipe(), &images, &masks, &mut *network, progress)
                    .map_err(|error| failed(error.to_string()))
            })?;
            for structure in structures {
                made.structures.insert(format!("{}:{}", step.id, structure.label), structure);
            }
            made.models.insert(step.id.clone(), model);
        }
        Ok(made)
    }

    /// The definition of a model, with its network file checked against the digest once in the life of the bench.
    fn model(&mut self, models: &Path, id: &str) -> Result<Model, BenchError> {
        if let Some(model) = self.checked.get(id) {
            return Ok(model.clone());
        }
        let folder = models.join(id);
        let file = folder.join("model.json");
        let text = fs::read_to_string(&file).map_err(|error| unreadable(&file, error))?;
        let mut problems = Problems::of(format!("models/{id}/model.json"));
        let node = document::parse(&text, &mut problems);
        let model = node.and_then(|node| Model::parse(&node, &mut problems));
        let Some(model) = model else { return Err(BenchError::Definition(problems.into_vec())) };
        let network = folder.join(model.file());
        let bytes = fs::read(&network).map_err(|error| unreadable(&network, error))?;
        let found = hex(&Sha256::digest(&bytes));
        if found != model.sha256() {
            let (model_id, file, expected) = (id.to_owned(), model.file().to_owned(), model.sha256().to_owned());
            return Err(BenchError::Digest { model: model_id, file, found, expected });
        }
        self.checked.insert(id.to_owned(), model.clone());
        Ok(model)
    }
}

/// Measures and reports the stages of a run.
struct Stages<'a> {
    list: Vec<Stage>,
    progress: &'a mut dyn FnMut(&str, f32),
}

impl Stages<'_> {
    fn time<T>(&mut self, name: &str, work: impl FnOnce(&mut dyn FnMut(&str, f32)) -> T) -> T {
        (self.progress)(name, 0.0);
        let begin = Instant::now();
        let progress = &mut *self.progress;
        let result = work(&mut |part, fraction| progress(&format!("{name}: {part}"), fraction));
        self.list.push(Stage { name: name.to_owned(), seconds: begin.elapsed().as_secs_f64() });
        result
    }
}

/// What the objects refer to.
struct Sources<'a> {
    order: &'a WorkOrder,
    pipeline: &'a Pipeline,
    plan: &'a SeriesPlan,
    instances: &'a [Instance],
    made: &'a Made,
}

fn parse_pipeline(source: &str) -> Result<Pipeline, BenchError> {
    let mut problems = Problems::of("the pipeline of the job");
    let pipeline = document::parse(source, &mut problems).and_then(|node| Pipeline::parse(&node, &mut problems));
    pipeline.ok_or_else(|| BenchError::Definition(problems.into_vec()))
}

/// Reads the headers of Part 10 files.
///
/// # Errors
/// The first file that is not a readable instance.
pub fn read_instances(files: &[PathBuf]) -> Result<Vec<Instance>, BenchError> {
    let read = |file: &PathBuf| {
        let opened = File::open(file).map_err(|error| unreadable(file, error))?;
        Instance::read_part10(BufReader::new(opened)).map_err(|error| unreadable(file, error))
    };
    files.par_iter().map(read).collect()
}

fn unreadable(file: &Path, reason: impl ToString) -> BenchError {
    BenchError::File { file: file.to_owned(), reason: reason.to_string() }
}

fn plan(instances: &[Instance]) -> Result<SeriesPlan, BenchError> {
    let told = |refusals: Vec<assemble::Refusal>| refusals.iter().map(ToString::to_string).collect();
    assemble::plan(instances).map_err(|refusals| BenchError::Series(told(refusals)))
}

fn load(plan: &SeriesPlan, order: &WorkOrder) -> Result<Volume, BenchError> {
    assemble::load(plan, &|index| fs::read(&order.instances[index]))
        .map_err(|error| BenchError::Series(vec![error.to_string()]))
}

/// The structures that the pipeline delivers, in its order.
fn choose<'a>(pipeline: &'a Pipeline, made: &'a Made) -> Result<Vec<(&'a StructureRule, &'a Structure)>, BenchError> {
    let find = |rule: &'a StructureRule| {
        let name = format!("{}:{}", rule.source.step, rule.source.label);
        made.structures.get(&name).map(|structure| (rule, structure)).ok_or_else(|| {
            let names: Vec<&str> = made.structures.keys().map(String::as_str).collect();
            BenchError::NoStructure { pipeline: pipeline.id().to_owned(), structure: name, made: names.join(", ") }
        })
    };
    pipeline.structures().iter().map(find).collect()
}

fn results(chosen: &[(&StructureRule, &Structure)], contours: &[Vec<Contour>]) -> Vec<StructureResult> {
    let result = |((rule, structure), contours): (&(&StructureRule, &Structure), &Vec<Contour>)| StructureResult {
        name: rule.style.name.clone(),
        volume_cm3: structure.mask.volume_cm3(),
        contours: contours.len(),
        note: structure.reason.clone().unwrap_or_default(),
    };
    chosen.iter().zip(contours).map(result).collect()
}

fn warnings(plan: &SeriesPlan) -> Vec<String> {
    plan.warnings.iter().map(ToString::to_string).collect()
}

fn write_rtstruct(
    sources: &Sources<'_>,
    output: &RtStructOutput,
    chosen: &[(&StructureRule, &Structure)],
    contours: &[Vec<Contour>],
) -> Result<String, BenchError> {
    let Sources { order, pipeline, plan, instances, made } = sources;
    let rois: Vec<Roi> = chosen
        .iter()
        .zip(contours)
        .map(|((rule, structure), contours)| roi(rule, structure, contours, &made.models[&rule.source.step]))
        .collect();
    let ordered: Vec<&Instance> = in_order_of_slices(plan, instances);
    let references = plan.slices.iter().map(|slice| SliceReference {
        sop_class_uid: slice.sop_class_uid.clone(),
        sop_instance_uid: slice.sop_instance_uid.clone(),
        frame_number: slice.frame_number,
    });
    let slices: Vec<SliceReference> = references.collect();
    let digest = hex(&Sha256::digest(order.pipeline_source.as_bytes()));
    let provenance = Provenance {
        pipeline_id: pipeline.id().to_owned(),
        pipeline_revision: format!("{} {digest}", pipeline.revision()),
        model_digests: made.models.values().map(|model| model.sha256().to_owned()).collect(),
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let set = StructureSet {
        instances: &ordered,
        slices: &slices,
        geometry: &plan.geometry,
        rois: &rois,
        label: &output.label,
        name: &format!("{} revision {}", pipeline.id(), pipeline.revision()),
        description: &format!(
            "Made by contourd {}, job {}, not reviewed. Review before use.",
            env!("CARGO_PKG_VERSION"),
            order.job
        ),
        series_number: RTSTRUCT_SERIES_NUMBER,
        series_description: &format!("contourd {} (unreviewed)", pipeline.id()),
        provenance: &provenance,
        created: order.created_at.to_zoned(jiff::tz::TimeZone::system()).datetime(),
        equipment: &Equipment {
            manufacturer: "contourd".to_owned(),
            model_name: "contourd".to_owned(),
            software_versions: vec![env!("CARGO_PKG_VERSION").to_owned()],
            station_name: None,
            institution_name: None,
        },
        options: Options::default(),
    };
    let bytes = encode(&set).map_err(|error| BenchError::Output(error.to_string()))?;
    let name = format!("RS.{}.dcm", Uids::of(&set).sop_instance_uid);
    write(&order.folder.join(&name), &bytes)?;
    Ok(name)
}

/// Far above the numbers of scanners, so that the series stands after the images in every list.
const RTSTRUCT_SERIES_NUMBER: u32 = 9_001;

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

fn roi(rule: &StructureRule, structure: &Structure, contours: &[Contour], model: &Model) -> Roi {
    let known: Option<&'static Tg263> = lookup(&rule.source.label).or_else(|| lookup(&rule.style.name));
    let family = match model.algorithm() {
        pipeline::Algorithm::ArtificialIntelligence => AlgorithmFamily::ArtificialIntelligence,
        pipeline::Algorithm::Deterministic => AlgorithmFamily::HistogramAnalysis,
    };
    Roi {
        style: rule.style.clone(),
        structure: known,
        contours: contours.to_vec(),
        volume_cm3: (!contours.is_empty()).then(|| structure.mask.volume_cm3()),
        description: structure.reason.clone().unwrap_or_default(),
        generation_description: format!("contourd {} {}", model.id(), model.version()),
        algorithm: Algorithm {
            family,
            name: model.name().to_owned(),
            version: model.version().to_owned(),
            source: model.reference().to_owned(),
            parameters: format!("sha256:{}", model.sha256()),
        },
    }
}

/// The voxels of each structure as NIfTI, where the order asks for them.
fn write_masks(order: &WorkOrder, chosen: &[(&StructureRule, &Structure)]) -> Result<Vec<String>, BenchError> {
    if !order.masks {
        return Ok(Vec::new());
    }
    let write_one = |(rule, structure): &(&StructureRule, &Structure)| {
        let Mask { geometry, voxels } = &structure.mask;
        let mask = Mask::new(Arc::clone(geometry), voxels.clone());
        let bytes = nifti::encode_mask(&mask).map_err(|error| BenchError::Output(error.to_string()))?;
        let name = format!("{}.nii.gz", rule.style.name);
        write(&order.folder.join(&name), &nifti::gzip(&bytes))?;
        Ok(name)
    };
    chosen.par_iter().map(write_one).collect()
}

/// Writes a file and makes its bytes durable; the daemon makes its name durable when it adopts the folder.
fn write(file: &Path, bytes: &[u8]) -> Result<(), BenchError> {
    let written = File::create(file).and_then(|mut out| {
        out.write_all(bytes)?;
        out.sync_data()
    });
    written.map_err(|error| unreadable(file, error))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `VmHWM` of this process; 0 where the system does not tell.
fn memory_peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}
