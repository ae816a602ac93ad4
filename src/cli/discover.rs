//! Finds the series in a folder of DICOM files; it reads headers only and decides nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rayon::prelude::*;

use crate::dicom::{Instance, SeriesKey};
use crate::limits::EXPLAIN_FILES_MAX;

/// What the files of a folder are.
pub(super) struct Found {
    pub series: BTreeMap<SeriesKey, FoundSeries>,
    pub files: usize,
    /// Files that could not be read as instances, with the reason.
    pub others: Vec<(PathBuf, String)>,
}

/// The instances of one series, and the file of each.
#[derive(Default)]
pub(super) struct FoundSeries {
    pub instances: Vec<Instance>,
    pub files: Vec<PathBuf>,
}

/// Reads the headers of all files below a folder.
pub(super) fn find(folder: &Path) -> anyhow::Result<Found> {
    let files = files_below(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let read = |file: &PathBuf| match File::open(file) {
        Ok(opened) => Instance::read_part10(BufReader::new(opened)).map_err(|error| (file.clone(), error.to_string())),
        Err(error) => Err((file.clone(), error.to_string())),
    };
    let results: Vec<Result<Instance, (PathBuf, String)>> = files.par_iter().map(read).collect();
    let mut found = Found { series: BTreeMap::new(), files: files.len(), others: Vec::new() };
    for (result, path) in results.into_iter().zip(files) {
        match result {
            Ok(instance) => {
                let series = found.series.entry(instance.series_key()).or_default();
                series.instances.push(instance);
                series.files.push(path);
            }
            Err((file, reason)) => {
                found.others.push((file.strip_prefix(folder).map(Path::to_owned).unwrap_or(file), reason));
            }
        }
    }
    Ok(found)
}

/// All regular files below a folder, sorted; links to folders are not followed, so that no circle is walked.
fn files_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if entry.path().is_file() {
                files.push(entry.path());
            }
            anyhow::ensure!(
                files.len() <= EXPLAIN_FILES_MAX,
                "more than {EXPLAIN_FILES_MAX} files; choose a folder inside"
            );
        }
    }
    files.sort();
    Ok(files)
}
