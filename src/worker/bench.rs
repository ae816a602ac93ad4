//! One job from its files to its objects, top to bottom: load, run the models, contour, encode, report.
//!
//! The same bench serves the worker process and `contourd segment`. It reads the instances and the models, and writes
//! only into the folder of the order.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::WorkOrder;
use super::inputs::{load_volumes, read_series, unreadable, warnings};
use super::objects::Finished;
use crate::contour::{self, Contour};
use crate::document::{self, Problem, Problems};
use crate::infer::post::onto;
use crate::infer::{self, NetworkFile, Structure};
use crate::job::{Run, Stage, StructureResult};
use crate::limits::NETWORKS_BYTES_KEPT;
use crate::onnx::{Devices, Networks, with_networks};
use crate::pipeline::{Action, Model, Pipeline, Reference, Step, StructureRule};
use crate::volume::{Mask, Volume, VolumeGeometry};

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
        let series = clock.time("read headers", |_| read_series(&pipeline, order))?;
        let mut volumes = clock.time("load pixels", |_| load_volumes(&series))?;
        let primary = &series[0];
        let made = self.infer(&pipeline, order, &mut volumes, &primary.plan.geometry, &mut clock)?;
        let chosen = choose(&pipeline, &made)?;
        let contours: Vec<Vec<Contour>> =
            clock.time("contour", |_| chosen.iter().map(|(_, structure)| contour::trace(&structure.mask)).collect());
        let structures = results(&chosen, &contours);
        let mut run = Run { structures, warnings: warnings(&series), ..Run::default() };
        let (plan, instances, volume) = (&primary.plan, &primary.instances, &volumes[primary.slot]);
        let made = &made;
        let job = Finished { order, pipeline: &pipeline, plan, instances, volume, made, chosen, contours };
        run.files = clock.time("write", |_| job.write_objects())?;
        let drawn = clock.time("draw", |_| job.draw());
        run.stages = clock.list.clone();
        clock.time("report", |_| job.write_report(&mut run, drawn))?;
        run.stages = clock.list;
        run.memory_peak_bytes = memory_peak_bytes();
        Ok(run)
    }

    /// Runs the steps. Every structure that is made lies on `grid`, that of the primary image.
    fn infer(
        &mut self,
        pipeline: &Pipeline,
        order: &WorkOrder,
        volumes: &mut BTreeMap<String, Volume>,
        grid: &Arc<VolumeGeometry>,
        clock: &mut Stages<'_>,
    ) -> Result<Made, BenchError> {
        let mut made = Made { structures: BTreeMap::new(), models: BTreeMap::new() };
        for step in pipeline.steps() {
            let Action::Model(reference) = &step.action;
            let model = self.model(order, &reference.name)?;
            let failed =
                |reason: String| BenchError::Step { step: step.id.clone(), model: model.id().to_owned(), reason };
            let mut masks = BTreeMap::new();
            for artefact in &step.structures {
                let name = format!("{}:{}", artefact.step, artefact.label);
                let found = made.structures.get(&name).ok_or_else(|| failed(format!("no structure {name}")))?;
                masks.insert(artefact.label.clone(), found.mask.clone());
            }
            // Images move in and out: a copy of one would be the largest thing in memory.
            let moved = Moved::out_of(volumes, &step.images).map_err(failed)?;
            let structures = self.run_model(step, &model, order, &moved.images, &masks, clock);
            moved.back_to(volumes);
            for structure in structures? {
                let mask = if structure.mask.geometry == *grid { structure.mask } else { onto(&structure.mask, grid) };
                let structure = Structure { mask, ..structure };
                made.structures.insert(format!("{}:{}", step.id, structure.label), structure);
            }
            made.models.insert(step.id.clone(), model);
        }
        Ok(made)
    }

    /// The one place where a network is loaded and run.
    fn run_model(
        &mut self,
        step: &Step,
        model: &Model,
        order: &WorkOrder,
        images: &BTreeMap<String, Volume>,
        masks: &BTreeMap<String, Mask>,
        clock: &mut Stages<'_>,
    ) -> Result<Vec<Structure>, BenchError> {
        let failed = |reason: String| BenchError::Step { step: step.id.clone(), model: model.id().to_owned(), reason };
        let networks = clock.time(&format!("{}: load model", step.id), |_| {
            let folder = order.models.join(model.id());
            self.networks.get(model, &folder, false).map_err(|error| failed(error.to_string()))
        })?;
        let outcome = clock.time(&format!("{}: infer", step.id), |progress| {
            with_networks(&networks, |networks| infer::run(model.recipe(), images, masks, networks, progress))
        });
        outcome.map(|outcome| outcome.structures).map_err(|error| failed(error.to_string()))
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

/// Images on their way through a model, by the names that they have there.
struct Moved {
    images: BTreeMap<String, Volume>,
    /// Name in the model and slot, once for each slot.
    from: Vec<(String, String)>,
}

impl Moved {
    fn out_of(volumes: &mut BTreeMap<String, Volume>, wanted: &[(String, Reference)]) -> Result<Moved, String> {
        if let Some((_, slot)) = wanted.iter().find(|(_, slot)| !volumes.contains_key(&slot.name)) {
            return Err(format!("no image {}, which is optional and did not come", slot.name));
        }
        let mut moved = Moved { images: BTreeMap::new(), from: Vec::new() };
        for (name, slot) in wanted {
            let volume = match volumes.remove(&slot.name) {
                Some(volume) => {
                    moved.from.push((name.clone(), slot.name.clone()));
                    volume
                }
                // The model takes one image twice.
                None => {
                    let first = moved.from.iter().find(|(_, from)| *from == slot.name);
                    let image = first.and_then(|(name, _)| moved.images.get(name));
                    image.cloned().ok_or_else(|| format!("no image {}", slot.name))?
                }
            };
            moved.images.insert(name.clone(), volume);
        }
        Ok(moved)
    }

    fn back_to(mut self, volumes: &mut BTreeMap<String, Volume>) {
        for (name, slot) in self.from {
            volumes.extend(self.images.remove(&name).map(|volume| (slot, volume)));
        }
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
