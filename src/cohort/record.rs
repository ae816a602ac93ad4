//! What is kept of a case in the output folder, so that a run can go on after any end; it runs nothing.
//!
//! ```text
//! DIR/NAME/PIPELINE/         results and case.json: finished. It comes there by one rename.
//! DIR/.work/JOB/             a case that runs, or whose run was interrupted: removed at the next start.
//! DIR/.lock                  held while a process works on DIR.
//! DIR/summary.csv            all of it as a table, made of the records.
//! ```

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::CohortError;
use super::cases::Case;
use crate::dicom::Uid;
use crate::job::{JobId, Run};
use crate::output::Format;

/// The file that says what became of a case.
const RECORD_FILE: &str = "case.json";
const WORK_FOLDER: &str = ".work";

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// None for an image of another format.
    pub series: Option<Uid>,
    /// What the image is called in the folder of results.
    pub name: String,
    pub pipeline: String,
    /// Where the images lay, for people: a name that is no text is not whole.
    pub folder: String,
    #[serde(flatten)]
    pub key: Key,
    pub seconds: f64,
    /// `None` for a case without results.
    pub run: Option<Run>,
    /// Why it has none.
    pub reason: String,
}

/// What a result depends on: with all of it equal, another run would give the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// Instances, pipeline, models.
    pub job: JobId,
    pub created_at: Timestamp,
    /// Of this program.
    pub version: String,
    /// What is written besides DICOM.
    pub write: Vec<Format>,
}

/// The folder of results.
pub struct Store {
    folder: PathBuf,
    _lock: File,
}

impl Store {
    /// Opens or makes the folder, and removes what interrupted runs left.
    ///
    /// # Errors
    /// Another process works on it, or it cannot be written.
    pub fn open(folder: &Path) -> Result<Store, CohortError> {
        let failed = |source| CohortError::Output { folder: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = File::create(folder.join(".lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(CohortError::Locked { folder: folder.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let work = folder.join(WORK_FOLDER);
        if work.exists() {
            fs::remove_dir_all(&work).map_err(failed)?;
        }
        Ok(Store { folder: folder.to_owned(), _lock: lock })
    }

    /// Where the results of a case are, or will be.
    pub fn results(&self, name: &str, pipeline: &str) -> PathBuf {
        self.folder.join(name).join(pipeline)
    }

    /// An empty folder for the results of a run.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn work_folder(&self, case: &Case) -> Result<PathBuf, CohortError> {
        let folder = self.folder.join(WORK_FOLDER).join(case.job.as_str());
        let made = || {
            if folder.exists() {
                fs::remove_dir_all(&folder)?;
            }
            fs::create_dir_all(&folder)
        };
        made().map_err(|source| CohortError::Output { folder: folder.clone(), source })?;
        Ok(folder)
    }

    /// Every case of the folder, also of earlier calls on other inputs. A record that cannot be read is none.
    pub fn records(&self) -> Vec<Record> {
        let inside = |folder: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
        };
        let series = inside(&self.folder).into_iter().filter(|path| !path.ends_with(WORK_FOLDER));
        let cases = series.flat_map(|series| inside(&series));
        let mut records: Vec<Record> = cases.filter_map(|case| read(&case.join(RECORD_FILE))).collect();
        records.sort_by(|a, b| (&a.name, &a.pipeline).cmp(&(&b.name, &b.pipeline)));
        records
    }

    /// The record of a case, where it has one.
    pub fn record_of(&self, case: &Case) -> Option<Record> {
        read(&self.results(&case.name, &case.pipeline).join(RECORD_FILE))
    }

    /// Puts what a run left where results are, with its record, in the place of an earlier one. Of a failed case only
    /// the record stays.
    ///
    /// # Errors
    /// The disk.
    pub fn keep(&self, case: &Case, record: &Record) -> Result<(), CohortError> {
        let work = if record.run.is_some() {
            self.folder.join(WORK_FOLDER).join(case.job.as_str())
        } else {
            self.work_folder(case)?
        };
        let results = self.results(&record.name, &record.pipeline);
        let old = work.with_extension("old");
        let place = |record: &Record| fs::canonicalize(&record.folder).ok();
        let kept = || {
            let held = read(&results.join(RECORD_FILE)).filter(|held| held.series.is_none());
            if let Some(held) = held.filter(|held| place(held).is_some() && place(held) != place(record)) {
                let reason = format!("found the result of {} there; name another folder for this one", held.folder);
                return Err(std::io::Error::other(reason));
            }
            let mut file = File::create(work.join(RECORD_FILE))?;
            file.write_all(serde_json::to_string_pretty(record)?.as_bytes())?;
            file.sync_all()?;
            if let Some(parent) = results.parent() {
                fs::create_dir_all(parent)?;
            }
            if results.exists() {
                fs::rename(&results, &old)?;
            }
            fs::rename(&work, &results)?;
            if old.exists() { fs::remove_dir_all(&old) } else { Ok(()) }
        };
        kept().map_err(|source| CohortError::Output { folder: results.clone(), source })
    }

    /// Writes a file beside the results, whole or not at all.
    ///
    /// # Errors
    /// The disk.
    pub fn write(&self, name: &str, text: &str) -> Result<(), CohortError> {
        let (file, new) = (self.folder.join(name), self.folder.join(format!(".{name}.new")));
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &file));
        written.map_err(|source| CohortError::Output { folder: file, source })
    }

    /// Removes the places of runs, at the end.
    pub fn close(self) {
        // What is left is removed at the next start.
        let _ = fs::remove_dir_all(self.folder.join(WORK_FOLDER));
    }
}

fn read(file: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}
