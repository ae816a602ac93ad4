//! `contourd segment`: the same path as the gateway's, from files to objects, without a network.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::check::{ConfigArgs, told};
use super::discover::{FoundSeries, find};
use super::{EXIT_CONFIGURATION, EXIT_FAILED, EXIT_OK};
use crate::config::{self, Configuration};
use crate::daemon::assess;
use crate::dicom::SeriesKey;
use crate::job::{JobId, Run};
use crate::node::{Assessment, Order};
use crate::onnx;
use crate::worker::{Bench, WorkOrder};

/// Run the pipelines that match on the series in a folder, and write the results into another.
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
        let mut bench = Bench::new(configuration.gateway.worker.threads);
        let (mut done, mut failed) = (0, 0);
        for (key, series) in &found.series {
            let (good, bad) = self.series(key, series, &configuration, &mut bench)?;
            done += good;
            failed += bad;
        }
        if !found.others.is_empty() {
            println!("{} of {} files are not DICOM instances", found.others.len(), found.files);
        }
        println!("{done} results, {failed} failures");
        Ok(if done > 0 && failed == 0 { EXIT_OK } else { EXIT_FAILED })
    }

    /// How many results and failures one series gave.
    fn series(
        &self,
        key: &SeriesKey,
        series: &FoundSeries,
        configuration: &Configuration,
        bench: &mut Bench,
    ) -> anyhow::Result<(usize, usize)> {
        let assessment = assess(&series.instances, None, configuration);
        println!("series {}: {}", key.series_instance_uid, assessment.summary);
        let wanted = |order: &&Order| self.pipeline.as_ref().is_none_or(|id| *id == order.pipeline);
        let orders: Vec<&Order> = assessment.orders.iter().filter(wanted).collect();
        if orders.is_empty() {
            tell_why_not(&assessment);
        }
        let (mut done, mut failed) = (0, 0);
        for order in orders {
            match self.work(key, series, order, configuration, bench)? {
                Ok((run, folder)) => {
                    tell(&run, &folder);
                    done += 1;
                }
                Err(cause) => {
                    println!("  {}: failed: {cause}", order.pipeline);
                    failed += 1;
                }
            }
        }
        Ok((done, failed))
    }

    fn work(
        &self,
        key: &SeriesKey,
        series: &FoundSeries,
        order: &Order,
        configuration: &Configuration,
        bench: &mut Bench,
    ) -> anyhow::Result<Result<(Run, PathBuf), String>> {
        let folder = self.output.join(key.series_instance_uid.as_str()).join(&order.pipeline);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let uids = series.instances.iter().map(|instance| (&instance.sop_instance_uid, ""));
        let order = WorkOrder {
            job: JobId::derived(key, &order.digest, uids),
            created_at: newest(&series.files)?,
            instances: series.files.clone(),
            pipeline_source: order.source.clone(),
            model_sources: order.models.clone(),
            models: configuration.folder.join("models"),
            folder: folder.clone(),
            reasons: order.reasons.clone(),
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

fn tell_why_not(assessment: &Assessment) {
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
