//! `contourd send`: sends DICOM files as they are stored (C-STORE), as a scanner would.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use super::echo::PeerArgs;
use super::{EXIT_FAILED, EXIT_OK};
use crate::deliver::{Outcome, dicom};
use crate::limits::{SEND_FILES_MAX, SEND_FOLDERS_DEPTH_MAX};

/// Send DICOM files, as they are stored, to a DICOM node (C-STORE).
#[derive(Debug, Args)]
pub(super) struct SendArgs {
    /// Files and folders; of folders, all files beneath.
    #[arg(required = true, value_name = "FILE|FOLDER")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    peer: PeerArgs,
}

impl SendArgs {
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        let mut files = Vec::new();
        for path in &self.paths {
            collect(path, 0, &mut files)?;
        }
        anyhow::ensure!(!files.is_empty(), "found no file in what was named, expected DICOM files");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let progress = indicatif::ProgressBar::new(files.len() as u64);
        if !std::io::stderr().is_terminal() {
            progress.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        let destination = self.peer.destination()?;
        let start = Instant::now();
        let results = runtime.block_on(dicom::store_each(&destination, &files, false, |_, _| progress.inc(1)));
        progress.finish_and_clear();
        Ok(report(&results, start.elapsed().as_secs_f64()))
    }
}

fn report(results: &[(PathBuf, Outcome)], seconds: f64) -> u8 {
    let mut sent = 0;
    for (path, outcome) in results {
        match outcome {
            Outcome::Delivered { warnings } => {
                sent += 1;
                warnings.iter().for_each(|warning| eprintln!("{}: {warning}", path.display()));
            }
            Outcome::Retry { reason, .. } | Outcome::Refused { reason, .. } => {
                eprintln!("{}: {}", path.display(), without_path(reason, path));
            }
        }
    }
    println!("{sent} of {} files sent in {seconds:.1} s", results.len());
    if sent == results.len() { EXIT_OK } else { EXIT_FAILED }
}

/// Errors about a file begin with its name; once is enough.
fn without_path<'a>(reason: &'a str, path: &Path) -> &'a str {
    let prefix = format!("{}: ", path.display());
    reason.strip_prefix(&prefix).unwrap_or(reason)
}

/// The files beneath a path, in the order of their names.
fn collect(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let kind = std::fs::metadata(path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    if !kind.is_dir() {
        anyhow::ensure!(files.len() < SEND_FILES_MAX, "found more than {SEND_FILES_MAX} files; send them in parts");
        files.push(path.to_owned());
        return Ok(());
    }
    anyhow::ensure!(depth < SEND_FOLDERS_DEPTH_MAX, "{}: nested too deep", path.display());
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    entries.iter().try_for_each(|entry| collect(entry, depth + 1, files))
}
