//! One job from its files to its objects, top to bottom: load, run the models, contour, encode, report.
//!
//! The same bench serves the worker process and `contourd segment`. It reads the instances and the models, and writes
//! only into the folder of the order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::WorkOrder;
use super::images::check_registrations;
use super::inputs::{load_volumes, read_series, registrations, unreadable, warnings};
use super::objects::Finished;
use super::steps::Delivered;
use super::structures::read_structures;
use crate::contour::{self, Contour, Holes};
use crate::document::{self, Problem, Problems};
use crate::infer::{self, NetworkFile, Outcome};
use crate::job::{Run, Stage, StructureResult};
use crate::limits::NETWORKS_BYTES_KEPT;
use crate::onnx::{Devices, Networks, device_of, with_networks};
use crate::pipeline::{Model, Pipeline, Step};
use crate::volume::{CompactMask, Mask, Volume};

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
    #[error("step {step}: {reason}")]
    Step { step: String, reason: String },
    #[error("pipeline {pipeline}: found no structure {structure}, expected one that its step makes: {made}")]
    NoStructure { pipeline: String, structure: String, made: String },
    #[error("no structure is left: {}", .0.join("; "))]
    Nothing(Vec<String>),
    #[error("{0}")]
    Output(String),
}

impl BenchError {
    /// Whether it may lie with this patient's images. Others are the site's to mend, and hide nothing behind a step that
    /// may fail.
    pub(super) fn is_of_the_images(&self) -> bool {
        !matches!(self, Self::File { .. } | Self::Definition(_) | Self::Digest { .. } | Self::NotInstalled { .. })
    }
}

/// Loaded models, kept between jobs.
pub struct Bench {
    networks: Networks,
    /// By network file: the digest that it was found to have, and its length and time then.
    checked: BTreeMap<PathBuf, (String, (u64, SystemTime))>,
}

/// What a model gave, and where its networks ran.
pub(super) struct Ran {
    pub outcome: Outcome,
    pub device: String,
}

impl Bench {
    /// An empty bench; each network runs on one of the `devices`, with `threads` CPU threads.
    pub fn new(threads: usize, devices: Devices) -> Bench {
        Bench { networks: Networks::new(threads, NETWORKS_BYTES_KEPT, devices), checked: BTreeMap::new() }
    }

    /// Does one job. `progress` is told the stage and how much of it is done, 0 to 1.
    ///
    /// # Errors
    /// [`BenchError`]; nothing in the folder of the order counts then.
    pub fn run(&mut self, order: &WorkOrder, progress: &mut dyn FnMut(&str, f32)) -> Result<Run, BenchError> {
        let mut clock = Stages { list: Vec::new(), progress };
        let pipeline = parse_pipeline(&order.pipeline_source)?;
        let series = clock.time("read headers", |_| read_series(&pipeline, order))?;
        check_registrations(&pipeline, &series)?;
        let mut volumes = clock.time("load pixels", |_| load_volumes(&series, &pipeline))?;
        let primary = &series[0];
        let mut warned = Vec::new();
        let (drawn, of_drawn) =
            clock.time("read structures", |_| read_structures(&pipeline, order, &series, &mut warned))?;
        let grid = &primary.plan.geometry;
        let made = self.run_steps(&pipeline, order, &mut volumes, drawn, grid, &mut clock)?;
        let (parts, of_parts) = made.parts(&pipeline);
        warned.extend(of_parts);
        let (chosen, left_out) = made.choose(&pipeline, &parts)?;
        let contours: Vec<Vec<Contour>> =
            clock.time("contour", |_| chosen.iter().map(|(_, made)| keyholes(&made.mask)).collect());
        let mut run = Run { structures: results(&chosen, &contours), warnings: warnings(&series), ..Run::default() };
        run.warnings.extend(warned.into_iter().chain(made.warnings.iter().cloned()));
        run.devices = made.devices.clone();
        run.registrations = registrations(&series).into_iter().chain(of_drawn).collect();
        for (rule, why) in left_out {
            run.warnings.push(format!("{} is left out: {why}", rule.style.name));
            let (name, note) = (rule.style.name.clone(), format!("left out: {why}"));
            run.structures.push(StructureResult { name, volume_cm3: 0.0, contours: 0, note });
        }
        let (plan, instances, volume) = (&primary.plan, &primary.instances, &volumes[primary.slot]);
        let made = &made;
        let (pipeline, series) = (&pipeline, series.as_slice());
        let job = Finished { order, pipeline, plan, instances, series, volume, made, chosen, contours };
        clock.time("write", |_| job.write_objects(&mut run))?;
        let drawn = clock.time("draw", |_| job.draw());
        run.stages = clock.list.clone();
        clock.time("report", |_| job.write_report(&mut run, drawn))?;
        run.stages = clock.list;
        run.memory_peak_bytes = memory_peak_bytes();
        Ok(run)
    }

    /// The one place where a network is loaded and run.
    pub(super) fn run_model(
        &mut self,
        step: &Step,
        model: &Model,
        order: &WorkOrder,
        (images, masks): (&BTreeMap<String, Volume>, &BTreeMap<String, Mask>),
        cpu_instead: bool,
        clock: &mut Stages<'_>,
    ) -> Result<Ran, BenchError> {
        let failed = |reason: String| {
            let reason = format!("model {}: {reason}", model.id());
            BenchError::Step { step: step.id.clone(), reason }
        };
        let networks = clock.time(&format!("{}: load model", step.id), |_| {
            let folder = order.models.join(model.id());
            self.networks.get(model, &folder, cpu_instead).map_err(|error| failed(error.to_string()))
        })?;
        let outcome = clock.time(&format!("{}: infer", step.id), |progress| {
            with_networks(&networks, |networks| infer::run(model.recipe(), images, masks, networks, progress))
        });
        let outcome = outcome.map_err(|error| failed(error.to_string()))?;
        let devices: BTreeSet<String> = networks.iter().map(device_of).collect();
        Ok(Ran { outcome, device: devices.into_iter().collect::<Vec<_>>().join(", ") })
    }

    /// The definition of a model as it was when the series matched, its network file checked against the digest. The
    /// file is looked at again when it has changed, because the configuration is reloaded while the worker runs.
    pub(super) fn model(&mut self, order: &WorkOrder, id: &str) -> Result<Model, BenchError> {
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
pub(super) struct Stages<'a> {
    list: Vec<Stage>,
    progress: &'a mut dyn FnMut(&str, f32),
}

impl Stages<'_> {
    /// Does work under a name; its progress is told with the name.
    pub fn time<T>(&mut self, name: &str, work: impl FnOnce(&mut dyn FnMut(&str, f32)) -> T) -> T {
        (self.progress)(name, 0.0);
        let begin = Instant::now();
        let progress = &mut *self.progress;
        let result = work(&mut |part, fraction| progress(&format!("{name}: {part}"), fraction));
        self.list.push(Stage { name: name.to_owned(), seconds: begin.elapsed().as_secs_f64() });
        result
    }
}

fn keyholes(mask: &CompactMask) -> Vec<Contour> {
    contour::trace_as(mask, Holes::Keyhole).contours
}

fn parse_pipeline(source: &str) -> Result<Pipeline, BenchError> {
    let mut problems = Problems::of("the pipeline of the job");
    let pipeline = document::parse(source, &mut problems).and_then(|node| Pipeline::parse(&node, &mut problems));
    pipeline.ok_or_else(|| BenchError::Definition(problems.into_vec()))
}

fn results(chosen: &[Delivered<'_>], contours: &[Vec<Contour>]) -> Vec<StructureResult> {
    let result = |((rule, structure), contours): (&Delivered<'_>, &Vec<Contour>)| StructureResult {
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
