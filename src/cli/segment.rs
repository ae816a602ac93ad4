//! `contourd segment`: the same path as the gateway's, from any number of files to objects, without a network.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use super::check::{ConfigArgs, told};
use super::{EXIT_CONFIGURATION, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK};
use crate::assemble::Modality;
use crate::cohort::{self, Finding, Found, Notice, Request, SUMMARY_FILE};
use crate::config;
use crate::job::Run;
use crate::onnx;
use crate::output::Format;

/// Run the pipelines that match on all series among files, alone or together, and write the results into a folder.
///
/// The files may be of any number of patients, in any layout of folders. Each series is judged as the gateway would,
/// and each case runs in a worker process. What is finished is not run again: after an interruption, or with new files,
/// the same command goes on. `DIR/summary.csv` holds all structures, and the reason of each case without any.
#[derive(Debug, Args)]
pub(super) struct SegmentArgs {
    /// Folders with DICOM files, searched with all folders in them, or files. With --pipeline also NIfTI, NRRD and planC
    /// files (.nii, .nii.gz, .nrrd, .nhdr, .h5), each a case of its own
    #[arg(value_name = "INPUT", required = true)]
    inputs: Vec<PathBuf>,
    /// Where the results go: DIR/SERIES/PIPELINE, and DIR/summary.csv
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
    /// Run only this pipeline
    #[arg(long, value_name = "ID")]
    pipeline: Option<String>,
    /// What NIfTI and NRRD files are, which do not say it: CT (values in HU), MR or PT [default: the only one that the
    /// pipeline takes]
    #[arg(long, value_name = "MODALITY", value_parser = modality)]
    modality: Option<Modality>,
    /// How many cases run at the same time, whatever memory there is [default: one for four processors, while the
    /// memory that is free at the start holds what they are expected to take]
    #[arg(long, value_name = "COUNT")]
    jobs: Option<usize>,
    /// What to write besides DICOM, separated by commas: nifti and nrrd (a mask for each structure, and all structures
    /// in one file), planc (scan and structures for CERR, HDF5)
    #[arg(long, value_name = "FORMATS", value_delimiter = ',')]
    write: Vec<Format>,
    /// The same as --write nifti
    #[arg(long)]
    masks: bool,
}

fn modality(text: &str) -> Result<Modality, String> {
    Modality::parse(&text.to_uppercase()).ok_or_else(|| "expected CT, MR or PT".to_owned())
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
        let request = Request {
            inputs: self.inputs.clone(),
            output: self.output.clone(),
            pipeline: self.pipeline.clone(),
            modality: self.modality,
            jobs: self.jobs,
            write: self.formats(),
            program: std::env::current_exe().context("the path of this program is not known")?,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
        };
        let runtime = tokio::runtime::Runtime::new()?;
        let mut display = Display::new();
        let totals = runtime.block_on(async {
            let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
            let stop = async move {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            };
            anyhow::Ok(cohort::run(request, Arc::new(configuration), stop, |notice| display.show(&notice)).await?)
        })?;
        // A thread may still be reading headers after an interruption; nobody waits for it.
        runtime.shutdown_background();
        display.bar.finish_and_clear();
        let kept = if totals.kept > 0 { format!(", {} of them from before", totals.kept) } else { String::new() };
        println!("{} results{kept}, {} failures", totals.done, totals.failed);
        let table = self.output.join(SUMMARY_FILE);
        if table.exists() {
            println!("the table is {}", table.display());
        }
        if totals.stopped {
            println!("stopped before the end; the same command goes on");
            return Ok(EXIT_INTERRUPTED);
        }
        Ok(if totals.done > 0 && totals.failed == 0 { EXIT_OK } else { EXIT_FAILED })
    }
}

impl SegmentArgs {
    /// Each once, in a fixed order, because the order in which they were named makes no other result.
    fn formats(&self) -> Vec<Format> {
        let named: BTreeSet<Format> = self.write.iter().copied().chain(self.masks.then_some(Format::Nifti)).collect();
        named.into_iter().collect()
    }
}

/// What people see: lines on standard output, and a bar on a terminal.
struct Display {
    bar: ProgressBar,
    /// When the first case began to run.
    began: Option<Instant>,
    left: String,
}

impl Display {
    fn new() -> Display {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("  {bar:30} {pos} of {len} cases, {elapsed}{msg}");
        Display { bar: bar.with_style(style.unwrap_or(ProgressStyle::default_bar())), began: None, left: String::new() }
    }

    fn show(&mut self, notice: &Notice<'_>) {
        match notice {
            Notice::Found { found, jobs, budget_bytes } => {
                self.say(&describe(found));
                if let Some(bytes) = budget_bytes {
                    let gib = *bytes as f64 / f64::from(1 << 30);
                    self.say(&format!("up to {jobs} at the same time, within {gib:.1} GiB of memory"));
                }
            }
            Notice::Finding(finding) => self.say(&describe_finding(finding)),
            Notice::Kept(record) => {
                let what = record.series.as_ref().map_or(record.name.clone(), |series| format!("series {series}"));
                self.say(&format!("{}: {what} is finished from before", record.pipeline));
            }
            Notice::Progress { stage, fraction } => {
                self.bar.set_message(format!("{}; {stage} {:.0} %", self.left, fraction * 100.0));
            }
            Notice::Ended { case, record, results } => {
                let results = results.display();
                let slots = case.slots.iter().map(|(slot, filled)| format!("{slot} is {filled}"));
                let head = format!("{}: {}", case.pipeline, slots.collect::<Vec<_>>().join(", "));
                self.say(&match &record.run {
                    Some(run) => format!("{head}\n{}  {:.1} s; results are in {results}", told_of(run), record.seconds),
                    None => format!("{head}\n  failed: {}", record.reason),
                });
            }
            Notice::Count { done, known } => self.count(*done, *known),
        }
    }

    fn count(&mut self, done: usize, known: usize) {
        self.bar.set_length(known as u64);
        self.bar.set_position(done as u64);
        let began = *self.began.get_or_insert_with(Instant::now);
        if done > 0 {
            let left = began.elapsed().mul_f64(known.saturating_sub(done) as f64 / done as f64);
            self.left = format!(", {} left", HumanDuration(left));
            self.bar.set_message(self.left.clone());
        }
    }

    fn say(&self, text: &str) {
        if !text.is_empty() {
            self.bar.suspend(|| println!("{text}"));
        }
    }
}

fn describe(found: &Found) -> String {
    let mut lines = vec![format!("{} series in {} files", found.series.len(), found.files)];
    if !found.images.is_empty() {
        lines.push(format!("{} files of other formats (NIfTI, NRRD, planC)", found.images.len()));
    }
    if !found.others.is_empty() {
        lines.push(format!("{} of {} files are not DICOM instances", found.others.len(), found.files));
    }
    if found.directories > 0 {
        lines.push(format!("{} files are DICOMDIR, which is not needed", found.directories));
    }
    if found.copies > 0 {
        lines.push(format!("{} files are copies of others, which are used once", found.copies));
    }
    lines.join("\n")
}

fn describe_finding(finding: &Finding) -> String {
    match finding {
        Finding::Series { series, summary } => format!("series {series}: {summary}"),
        Finding::Image { file, summary } => format!("{}: {summary}", file.display()),
        Finding::Unused { series, folder, reasons, .. } => {
            let lines: String = reasons.iter().map(|reason| format!("\n  {reason}")).collect();
            let what = series.as_ref().map_or(folder.display().to_string(), |series| format!("series {series}"));
            format!("{what} is not used{lines}")
        }
        Finding::Unjoined { pipeline, reason, .. } => format!("{pipeline}: {reason}"),
        Finding::Case(_) => String::new(),
    }
}

fn told_of(run: &Run) -> String {
    let structures = run.structures.iter().map(|structure| {
        let line = format!("  {:16} {:10.1} cm3  {}", structure.name, structure.volume_cm3, structure.note);
        format!("{}\n", line.trim_end())
    });
    structures.chain(run.warnings.iter().map(|warning| format!("  warning: {warning}\n"))).collect()
}
