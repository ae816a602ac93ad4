//! `contourd segment`: the same path as the gateway's, from files to objects, without a network.

use std::collections::BTreeMap;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::check::{ConfigArgs, told};
use super::discover::{Found, FoundSeries, find};
use super::{EXIT_CONFIGURATION, EXIT_FAILED, EXIT_OK};
use crate::config::{self, Configuration};
use crate::daemon::assess;
use crate::dicom::{SeriesKey, Uid};
use crate::job::{JobId, Run};
use crate::node::{Assessment, Order, together};
use crate::onnx;
use crate::worker::{Bench, InputFiles, WorkOrder};

/// Run the pipelines that match on the series in a folder, alone or together, and write the results into another.
#[derive(Debug, Args)]
pub(super) struct SegmentArgs {
    /// A folder with DICOM files, searched with all folders in it
    #[arg(value_name = "FOLDER")]
    input: PathBuf,
    /// Where the results go: a folder for each series and pipeline
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
    /// Run only this pipeline
    #[arg(long, value_name = "ID")]
    pipeline: Option<String>,
    /// Write the voxels of each structure as NIfTI too
    #[arg(long)]
    masks: bool,
}

impl SegmentArgs {
    /// Fails when no series gave a result, or one that matched failed; the others are done all the same.
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        let configuration = match config::load(&self.config.folder) {
            Ok(configuration) => configuration,
            Err(problems) => {
                eprint!("{}", told(&problems));
                return Ok(EXIT_CONFIGURATION);
            }
        };
        if let Some(id) = &self.pipeline
            && !configuration.pipelines.contains_key(id)
        {
            let known: Vec<&str> = configuration.pipelines.keys().map(String::as_str).collect();
            bail!("found no pipeline {id:?}, expected one of {}", known.join(", "));
        }
        onnx::check_library()?;
        let found = find(&self.input)?;
        let mut bench = Bench::new(configuration.gateway.worker.threads, configuration.gateway.worker.devices);
        let assess = |(key, series): (&SeriesKey, &FoundSeries)| {
            let assessment = assess(&series.instances, None, &configuration);
            println!("series {}: {}", key.series_instance_uid, assessment.summary);
            (key.clone(), assessment)
        };
        let assessed: BTreeMap<SeriesKey, Assessment> = found.series.iter().map(assess).collect();
        let tasks = self.tasks(&assessed);
        let (mut done, mut failed) = (0, 0);
        for task in &tasks {
            println!("{}: {}", task.order.pipeline, task.describe());
            match self.work(task, &found, &configuration, &mut bench)? {
                Ok((run, folder)) => {
                    tell(&run, &folder);
                    done += 1;
                }
                Err(cause) => {
                    println!("  failed: {cause}");
                    failed += 1;
                }
            }
        }
        if !found.others.is_empty() {
            println!("{} of {} files are not DICOM instances", found.others.len(), found.files);
        }
        println!("{done} results, {failed} failures");
        Ok(if done > 0 && failed == 0 { EXIT_OK } else { EXIT_FAILED })
    }

    /// What is to be run; says why the rest is not.
    fn tasks<'a>(&self, assessed: &'a BTreeMap<SeriesKey, Assessment>) -> Vec<Task<'a>> {
        let wanted = |order: &Order| self.pipeline.as_ref().is_none_or(|id| *id == order.pipeline);
        let mut tasks = Vec::new();
        for (key, assessment) in assessed {
            let orders: Vec<&Order> = assessment.orders.iter().filter(|order| wanted(order)).collect();
            if orders.is_empty() {
                tell_why_not(key, assessment);
            }
            for order in orders.into_iter().filter(|order| order.inputs.is_alone()) {
                let slot = order.fills.first().cloned().unwrap_or_default();
                tasks.push(Task { order, inputs: vec![(slot, key, &[])], reasons: order.reasons.clone() });
            }
        }
        for set in together(assessed).into_iter().filter(|set| wanted(set.order)) {
            let filled = match set.outcome {
                Ok(filled) => filled,
                Err(what) => {
                    println!("{}: {what}", set.order.pipeline);
                    continue;
                }
            };
            let reasons = filled.iter().flat_map(|filled| {
                let orders = &assessed[filled.series].orders;
                let own = orders.iter().find(|order| order.pipeline == set.order.pipeline);
                let lines = own.map(|order| order.reasons.clone()).unwrap_or_default();
                lines.into_iter().map(|line| format!("{}: {line}", filled.slot)).collect::<Vec<_>>()
            });
            let reasons = reasons.collect();
            let inputs = filled.into_iter().map(|f| (f.slot, f.series, f.source.instances.as_slice())).collect();
            tasks.push(Task { order: set.order, inputs, reasons });
        }
        tasks
    }

    fn work(
        &self,
        task: &Task<'_>,
        found: &Found,
        configuration: &Configuration,
        bench: &mut Bench,
    ) -> anyhow::Result<Result<(Run, PathBuf), String>> {
        let (_, primary, _) = &task.inputs[0];
        let folder = self.output.join(primary.series_instance_uid.as_str()).join(&task.order.pipeline);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let (mut inputs, mut uids, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for (slot, key, only) in &task.inputs {
            let series = &found.series[*key];
            let used = series.instances.iter().zip(&series.files);
            let used = used.filter(|(instance, _)| only.is_empty() || only.contains(&instance.sop_instance_uid));
            let (instances, files): (Vec<_>, Vec<PathBuf>) =
                used.map(|(instance, file)| ((&instance.sop_instance_uid, ""), file.clone())).unzip();
            uids.extend(instances);
            all.extend(files.clone());
            inputs.push(InputFiles { slot: slot.clone(), files });
        }
        let order = WorkOrder {
            job: JobId::derived(primary, &task.order.digest, uids),
            created_at: newest(&all)?,
            inputs,
            pipeline_source: task.order.source.clone(),
            model_sources: task.order.models.clone(),
            models: configuration.folder.join("models"),
            folder: folder.clone(),
            dialects: task.order.dialects.clone(),
            predecessors: Vec::new(),
            reasons: task.reasons.clone(),
            masks: self.masks,
        };
        let bar = progress_bar();
        let result = bench.run(&order, &mut |stage, fraction| {
            bar.set_position((fraction * 100.0) as u64);
            bar.set_message(stage.to_owned());
        });
        bar.finish_and_clear();
        Ok(result.map(|run| (run, folder)).map_err(|error| error.to_string()))
    }
}

/// One run: a pipeline on what fills its slots, the primary first. Of a series all instances, unless some are named.
struct Task<'a> {
    order: &'a Order,
    inputs: Vec<(String, &'a SeriesKey, &'a [Uid])>,
    reasons: Vec<String>,
}

impl Task<'_> {
    fn describe(&self) -> String {
        let slots = self.inputs.iter().map(|(slot, key, _)| format!("{slot} is series {}", key.series_instance_uid));
        slots.collect::<Vec<_>>().join(", ")
    }
}

/// When the newest of the files was written. It stands in the results as their date: the same files give the same
/// bytes under the same UID, however often they are segmented.
fn newest(files: &[PathBuf]) -> anyhow::Result<jiff::Timestamp> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for file in files {
        let modified = fs::metadata(file).and_then(|data| data.modified());
        newest = newest.max(modified.with_context(|| format!("cannot read {}", file.display()))?);
    }
    Ok(jiff::Timestamp::try_from(newest)?)
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("  {bar:30} {elapsed} {msg}").unwrap_or(ProgressStyle::default_bar());
    ProgressBar::new(100).with_style(style)
}

fn tell_why_not(key: &SeriesKey, assessment: &Assessment) {
    println!("series {} is not used", key.series_instance_uid);
    for refusal in &assessment.refusals {
        println!("  cannot be a volume: {refusal}");
    }
    for verdict in assessment.verdicts.iter().filter(|verdict| !verdict.matched) {
        println!("  {} does not want it: {}", verdict.pipeline, verdict.trace.join("; "));
    }
}

fn tell(run: &Run, folder: &Path) {
    for structure in &run.structures {
        let line = format!("  {:16} {:10.1} cm3  {}", structure.name, structure.volume_cm3, structure.note);
        println!("{}", line.trim_end());
    }
    for warning in &run.warnings {
        println!("  warning: {warning}");
    }
    let total: f64 = run.stages.iter().map(|stage| stage.seconds).sum();
    println!("  {total:.1} s; results are in {}", folder.display());
}
