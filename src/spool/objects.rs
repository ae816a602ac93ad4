//! Produced objects: written by a worker into a folder of its own, then taken over whole or not at all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::durable::{make_folder, move_away, sync_folder};
use super::{Spool, SpoolError, entries};
use crate::job::JobId;
use crate::limits::{OBJECT_FILES_MAX, OBJECT_FOLDERS_DEPTH_MAX};

impl Spool {
    /// An empty folder for one run of a job. What an earlier run left there is removed.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn work_folder(&self, job: &JobId) -> Result<PathBuf, SpoolError> {
        let folder = self.root.join("work").join(job.as_str());
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|source| SpoolError::io(&folder, "removal", source))?;
        }
        make_folder(&folder)?;
        Ok(folder)
    }

    /// Takes over what a run has left in its folder: durable, and never changed again. Objects that the job has
    /// already are kept instead: they are the result, and a second run writes the same.
    ///
    /// # Errors
    /// A file cannot be synchronised or the folder not moved; the job has no objects then.
    pub fn adopt(&self, job: &JobId) -> Result<Vec<PathBuf>, SpoolError> {
        let (work, target) = (self.root.join("work").join(job.as_str()), self.objects_folder(job));
        if self.objects(job)?.is_empty() {
            // A folder without objects is what somebody left of an earlier result; the new one takes its place.
            self.remove_objects(job)?;
            sync_tree(&work, 0)?;
            move_away(&work, &target)?;
            sync_folder(&self.root.join("objects"))?;
        }
        // What lost the race, or came second.
        if work.exists() {
            fs::remove_dir_all(&work).map_err(|source| SpoolError::io(&work, "removal", source))?;
        }
        self.objects(job)
    }

    /// The DICOM objects of a job by name; empty when it has none. What lies in folders beneath is for people.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn objects(&self, job: &JobId) -> Result<Vec<PathBuf>, SpoolError> {
        let folder = self.objects_folder(job);
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let is_object = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "dcm");
        let mut objects: Vec<PathBuf> = entries(&folder)?.filter(is_object).collect();
        objects.sort();
        Ok(objects)
    }

    /// Those of the DICOM objects of a job that have these names, or all; empty when one of them is gone.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn objects_named(&self, job: &JobId, names: Option<&[String]>) -> Result<Vec<PathBuf>, SpoolError> {
        let mut objects = self.objects(job)?;
        let Some(names) = names else { return Ok(objects) };
        objects.retain(|path| names.iter().any(|name| path.file_name().is_some_and(|file| file == name.as_str())));
        if objects.len() < names.len() {
            objects.clear();
        }
        Ok(objects)
    }

    /// Where the objects of a job lie, or would lie.
    pub fn objects_folder(&self, job: &JobId) -> PathBuf {
        self.root.join("objects").join(job.as_str())
    }

    /// Removes the objects of a job; that there are none is no error.
    ///
    /// # Errors
    /// The folder cannot be moved or removed.
    pub fn remove_objects(&self, job: &JobId) -> Result<(), SpoolError> {
        let grave = self.root.join("work").join(format!("removed-{}", self.next_number()));
        if super::durable::move_away(&self.objects_folder(job), &grave)? {
            sync_folder(&self.root.join("objects"))?;
            fs::remove_dir_all(&grave).map_err(|source| SpoolError::io(&grave, "removal", source))?;
        }
        Ok(())
    }
}

/// Synchronises all files of a folder and then the folder; the depth is bounded, and links are not followed.
fn sync_tree(folder: &Path, depth: usize) -> Result<(), SpoolError> {
    let refused = |path: &Path| SpoolError::Io {
        path: path.to_owned(),
        action: "taking over",
        source: std::io::Error::other(format!(
            "expected files and at most {OBJECT_FOLDERS_DEPTH_MAX} levels of folders with {OBJECT_FILES_MAX} files each"
        )),
    };
    for (index, path) in entries(folder)?.enumerate() {
        let kind = fs::symlink_metadata(&path).map_err(|source| SpoolError::io(&path, "reading", source))?;
        if index >= OBJECT_FILES_MAX || (kind.is_dir() && depth >= OBJECT_FOLDERS_DEPTH_MAX) {
            return Err(refused(&path));
        }
        if kind.is_dir() {
            sync_tree(&path, depth + 1)?;
        } else if kind.is_file() {
            let synced = File::open(&path).and_then(|file| file.sync_all());
            synced.map_err(|source| SpoolError::io(&path, "fsync", source))?;
        } else {
            return Err(refused(&path));
        }
    }
    sync_folder(folder)
}
