//! One job from its files to its objects, top to bottom: load, run the models, contour, encode, report.
//!
//! The same bench serves the worker process and `contourd segment`. It reads the instances and the models, and writes
//! only into the folder of the order.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::WorkOrder;
use super::objects::Finished;
use crate::assemble::{self, Allowed, SeriesPlan};
use crate::contour::{self, Contour};
use crate::dicom::Instance;
use crate::document::{self, Problem, Problems};
use crate::infer::{self, NetworkFile, Structure};
use crate::job::{Run, Stage, StructureResult};
use crate::limits::NETWORKS_BYTES_KEPT;
use crate::onnx::{Devices, Networks, with_networks};
use crate::pipeline::{Action, Model, Pipeline, StructureRule};
use crate::volume::Volume;

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
    #[error(
        "models/{model}/{file}: found no digest in model.json, expected installed weights; run `contourd model install {model} FILE.onnx`"
    )]
    NotInstalled { model: String, file: String },
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
    /// By network file: the digest that it was found to have, and its length and time then.
    checked: BTreeMap<PathBuf, (String, (u64, SystemTime))>,
}

/// What has been made so far.
pub(super) struct Made {
    /// By `step:Label`.
    structures: BTreeMap<String, Structure>,
    /// By step.
    pub models: BTreeMap<String, Model>,
}

impl Bench {
    /// An empty bench; each network runs on `threads` CPU threads.
    pub fn new(threads: usize) -> Bench {
        Bench { networks: Networks::new(threads, NETWORKS_BYTES_KEPT, Devices::CPU), checked: BTreeMap::new() }
    }

    /// Does one job. `progress` is told the stage and how much of it is done, 0 to 1.
    ///
    /// # Errors
    /// [`BenchError`]; nothing in the folder of the order counts then.
    pub fn run(&mut self, order: &WorkOrder, progress: &mut dyn FnMut(&str, f32)) -> Result<Run, BenchError> {
        let mut clock = Stages { list: Vec::new(), progress };
        let pipeline = parse_pipeline(&order.pipeline_source)?;
        let instances = clock.time("read headers", |_| read_instances(&order.instances))?;
        let plan = clock.time("assemble", |_| plan(&instances, &pipeline))?;
        let volume = clock.time("load pixels", |_| load(&plan, order))?;
        let (made, volume) = self.infer(&pipeline, order, volume, &mut clock)?;
        let chosen = choose(&pipeline, &made)?;
        let contours: Vec<Vec<Contour>> =
            clock.time("contour", |_| chosen.iter().map(|(_, structure)| contour::trace(&structure.mask)).collect());
        let structures = results(&chosen, &contours);
        let mut run = Run { structures, warnings: warnings(&plan), ..Run::default() };
        let (made, instances) = (&made, &instances);
        let job =
            Finished { order, pipeline: &pipeline, plan: &plan, instances, volume: &volume, made, chosen, contours };
        run.files = clock.time("write", |_| job.write_objects())?;
        let drawn = clock.time("draw", |_| job.draw());
        run.stages = clock.list.clone();
        clock.time("report", |_| job.write_report(&mut run, drawn))?;
        run.stages = clock.list;
        run.memory_peak_bytes = memory_peak_bytes();
        Ok(run)
    }

    fn infer(
        &mut self,
        pipeline: &Pipeline,
        order: &WorkOrder,
        mut volume: Volume,
        clock: &mut Stages<'_>,
    ) -> Result<(Made, Volume), BenchError> {
        let mut made = Made { structures: BTreeMap::new(), models: BTreeMap::new() };
        for step in pipeline.steps() {
            let Action::Model(reference) = &step.action;
            let model = self.model(order, &reference.name)?;
            let failed =
                |reason: String| BenchError::Step { step: step.id.clone(), model: model.id().to_owned(), reason };
            // The image moves in and out: a copy of it would be the largest thing in memory.
            let (first, more) = step.images.split_first().ok_or_else(|| failed("no image".to_owned()))?;
            let mut images: BTreeMap<String, Volume> =
                more.iter().map(|(slot, _)| (slot.clone(), volume.clone())).collect();
            images.insert(first.0.clone(), volume);
            let mut masks = BTreeMap::new();
            for artefact in &step.structures {
                let name = format!("{}:{}", artefact.step, artefact.label);
                let found = made.structures.get(&name).ok_or_else(|| failed(format!("no structure {name}")))?;
                masks.insert(artefact.label.clone(), found.mask.clone());
            }
            let networks = clock.time(&format!("{}: load model", step.id), |_| {
                self.networks
                    .get(&model, &order.models.join(model.id()), false)
                    .map_err(|error| failed(error.to_string()))
            })?;
            let outcome = clock.time(&format!("{}: infer", step.id), |progress| {
                with_networks(&networks, |networks| {
                    infer::run(model.recipe(), &images, &masks, networks, progress)
                        .map_err(|error| failed(error.to_string()))
                })
            })?;
            let structures = outcome.structures;
            volume = images.remove(&first.0).ok_or_else(|| failed("its image is gone".to_owned()))?;
            for structure in structures {
                made.structures.insert(format!("{}:{}", step.id, structure.label), structure);
            }
            made.models.insert(step.id.clone(), model);
        }
        Ok((made, volume))
    }

    /// The definition of a model as it was when the series matched, its network file checked against the digest. The
    /// file is looked at again when it has changed, because the configuration is reloaded while the worker runs.
    fn model(&mut self, order: &WorkOrder, id: &str) -> Result<Model, BenchError> {
        let folder = order.models.join(id);
        let mut problems = Problems::of(format!("models/{id}/model.json"));
        let text = order.model_sources.get(id).map_or("", String::as_str);
        let model = document::parse(text, &mut problems).and_then(|node| Model::parse(&node, &mut problems));
        let Some(model) = model else { return Err(BenchError::Definition(problems.into_vec())) };
        for network in model.recipe().networks() {
            self.check_digest(id, &folder, network)?;
        }
        Ok(model)
    }

    fn check_digest(&mut self, id: &str, folder: &Path, network: &NetworkFile) -> Result<(), BenchError> {
        let file = folder.join(&network.file);
        let Some(expected) = network.sha256.clone() else {
            return Err(BenchError::NotInstalled { model: id.to_owned(), file: network.file.clone() });
        };
        let changed = fs::metadata(&file).and_then(|data| Ok((data.len(), data.modified()?)));
        let changed = changed.map_err(|error| unreadable(&file, error))?;
        let seen = (expected.clone(), changed);
        if self.checked.get(&file) != Some(&seen) {
            let bytes = fs::read(&file).map_err(|error| unreadable(&file, error))?;
            let found = hex(&Sha256::digest(&bytes));
            if found != expected {
                let (model, file) = (id.to_owned(), network.file.clone());
                return Err(BenchError::Digest { model, file, found, expected });
            }
            self.checked.insert(file, seen);
        }
        Ok(())
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

pub(super) fn unreadable(file: &Path, reason: impl ToString) -> BenchError {
    BenchError::File { file: file.to_owned(), reason: reason.to_string() }
}

/// As strict as the pipeline: gaps only where one of its inputs allows them.
fn plan(instances: &[Instance], pipeline: &Pipeline) -> Result<SeriesPlan, BenchError> {
    let uneven_spacing = pipeline.inputs().iter().any(|input| input.geometry.max_gap > 0);
    let allowed = Allowed { uneven_spacing, ..Allowed::default() };
    let told = |refusals: Vec<assemble::Refusal>| refusals.iter().map(ToString::to_string).collect();
    assemble::plan_with(instances, allowed).map_err(|refusals| BenchError::Series(told(refusals)))
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

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `VmHWM` of this process; 0 where the system does not tell.
fn memory_peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}
