//! The one writer of instances and produced objects; it knows files and folders, not series, jobs or networks.
//!
//! ```text
//! lock                                   held while a gateway uses the folder
//! incoming/<number>.part                 being received; worth nothing after a crash, removed at the start
//! instances/<study>/<series>/<sop>.dcm   acknowledged instances, never changed
//! work/<job>/                            being produced by a worker; emptied at the start
//! objects/<job>/                         produced objects, never changed
//! quarantine/                            other bytes under a SOP Instance UID that is taken, for the operator
//! ```
//!
//! A file appears under its final name complete and synchronised, or not at all: `.part`, fdatasync, rename without
//! overwriting, fsync of the folder. Leaving out the last step loses the newest acknowledged instance at every power
//! cut; overwriting in place loses acknowledged ones at every kill.

mod durable;
mod incoming;
mod meta;
mod objects;
mod removal;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use thiserror::Error;

use crate::dicom::{SeriesKey, Uid};
use crate::limits::{QUARANTINE_FILES_MAX, SERIES_FOLDERS_KNOWN_MAX};

pub use incoming::{Commit, Digested, Incoming};
pub use meta::Meta;

use durable::make_folder;
/// The durable steps, for the one other file that writes beside what it does not own: the delivery into a folder.
pub(crate) use durable::{remove_if_there, rename_new, sync_folder};

/// One storage folder and everything in it.
#[derive(Debug)]
pub struct Spool {
    root: PathBuf,
    floor_bytes: u64,
    next_part: AtomicU64,
    quarantined: AtomicUsize,
    /// Series folders whose names are durable, so that their parents need no further fsync.
    known_folders: Mutex<HashSet<SeriesKey>>,
    /// Held to read while an instance gets its name, to write while a series is removed: an acknowledged instance is
    /// never in a folder that is on its way out.
    removal: RwLock<()>,
    _lock: File,
}

/// An instance on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub series: SeriesKey,
    pub sop_instance_uid: Uid,
    pub path: PathBuf,
}

/// What went wrong with the storage folder. All of it is for the operator; the sender is told to try again.
#[derive(Debug, Error)]
pub enum SpoolError {
    #[error("{path}: another gateway uses this storage folder; stop it, or give this one a folder of its own")]
    Locked { path: PathBuf },
    #[error(
        "{path}: {free_bytes} bytes are free, expected at least {floor_bytes}; free space or lower the free-space floor"
    )]
    Floor { path: PathBuf, free_bytes: u64, floor_bytes: u64 },
    #[error("{path}: the disk is full")]
    Full { path: PathBuf },
    #[error("{path}: {action} failed: {source}")]
    Io { path: PathBuf, action: &'static str, source: io::Error },
    #[error("{path}: not written by the spool, expected a DICOM file with a file meta group")]
    Foreign { path: PathBuf },
}

impl Spool {
    /// Takes possession of a storage folder, makes what is missing and removes what a crash left half done.
    ///
    /// New instances are refused while less than `floor_bytes` are free.
    ///
    /// # Errors
    /// The folder is in use, or cannot be made or written.
    pub fn open(root: &Path, floor_bytes: u64) -> Result<Arc<Spool>, SpoolError> {
        make_folder(root)?;
        let lock = lock(&root.join("lock"))?;
        for name in ["incoming", "instances", "work", "objects", "quarantine"] {
            make_folder(&root.join(name))?;
        }
        sync_folder(root)?;
        empty(&root.join("incoming"))?;
        empty(&root.join("work"))?;
        let quarantined = entries(&root.join("quarantine"))?.count();
        Ok(Arc::new(Spool {
            root: root.to_owned(),
            floor_bytes,
            next_part: AtomicU64::new(0),
            quarantined: AtomicUsize::new(quarantined),
            known_folders: Mutex::default(),
            removal: RwLock::new(()),
            _lock: lock,
        }))
    }

    /// The storage folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where an instance lies, or would lie.
    pub fn instance_path(&self, series: &SeriesKey, sop_instance_uid: &Uid) -> PathBuf {
        self.series_folder(series).join(format!("{sop_instance_uid}.dcm"))
    }

    /// The files of a series, by SOP Instance UID; empty for a series that is not here.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self, series: &SeriesKey) -> Result<Vec<Listed>, SpoolError> {
        let folder = self.series_folder(series);
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut listed: Vec<Listed> = entries(&folder)?
            .filter_map(|path| {
                let sop_instance_uid = uid_of(&path, Some("dcm"))?;
                Some(Listed { series: series.clone(), sop_instance_uid, path })
            })
            .collect();
        listed.sort_by(|a, b| a.sop_instance_uid.cmp(&b.sop_instance_uid));
        Ok(listed)
    }

    /// Shows every instance to `visit`, series by series. What else lies there is passed over.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn scan(&self, mut visit: impl FnMut(Listed)) -> Result<(), SpoolError> {
        for study in entries(&self.root.join("instances"))? {
            let Some(study_instance_uid) = uid_of(&study, None) else { continue };
            for series in entries(&study)? {
                let Some(series_instance_uid) = uid_of(&series, None) else { continue };
                let key = SeriesKey { study_instance_uid: study_instance_uid.clone(), series_instance_uid };
                self.list(&key)?.into_iter().for_each(&mut visit);
            }
        }
        Ok(())
    }

    /// What a stored instance is, for one that a crash kept out of the ledger.
    ///
    /// # Errors
    /// The file cannot be read, or was not written here.
    pub fn digest(&self, listed: &Listed) -> Result<Digested, SpoolError> {
        incoming::digest_file(&listed.path)
    }

    /// Bytes that are free for an unprivileged writer.
    ///
    /// # Errors
    /// The file system does not tell.
    pub fn free_bytes(&self) -> Result<u64, SpoolError> {
        let stat =
            rustix::fs::statvfs(&self.root).map_err(|error| SpoolError::io(&self.root, "statvfs", error.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Whether anything would be taken now, before it comes.
    ///
    /// # Errors
    /// The free space is below the floor, or cannot be told.
    pub fn check_room(&self) -> Result<(), SpoolError> {
        self.check_floor()
    }

    /// Refuses when the free space is below the floor.
    fn check_floor(&self) -> Result<(), SpoolError> {
        let free_bytes = self.free_bytes()?;
        if free_bytes < self.floor_bytes {
            return Err(SpoolError::Floor { path: self.root.clone(), free_bytes, floor_bytes: self.floor_bytes });
        }
        Ok(())
    }

    fn series_folder(&self, series: &SeriesKey) -> PathBuf {
        self.root.join("instances").join(series.study_instance_uid.as_str()).join(series.series_instance_uid.as_str())
    }

    /// Makes the folder of a series, with names that are durable before the first instance is.
    fn make_series_folder(&self, series: &SeriesKey) -> Result<PathBuf, SpoolError> {
        let folder = self.series_folder(series);
        if self.folders().contains(series) && folder.exists() {
            return Ok(folder);
        }
        make_folder(&folder)?;
        // Also when the folder was there already: the process that made it may have been killed before it synced.
        for parent in folder.ancestors().skip(1).take(2) {
            sync_folder(parent)?;
        }
        let mut known = self.folders();
        if known.len() >= SERIES_FOLDERS_KNOWN_MAX {
            known.clear();
        }
        known.insert(series.clone());
        Ok(folder)
    }

    fn folders(&self) -> std::sync::MutexGuard<'_, HashSet<SeriesKey>> {
        self.known_folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_number(&self) -> u64 {
        self.next_part.fetch_add(1, Ordering::Relaxed)
    }

    /// The instances of which another version was refused, until an operator removes it from the quarantine.
    ///
    /// # Errors
    /// The quarantine cannot be read.
    pub fn refused(&self) -> Result<HashSet<Uid>, SpoolError> {
        let uid = |path: PathBuf| path.file_name()?.to_str()?.split_once('-')?.0.parse().ok();
        Ok(entries(&self.root.join("quarantine"))?.filter_map(uid).collect())
    }

    /// Keeps other bytes under a UID that is taken, as long as there is room for evidence; after that, one empty file
    /// for the instance tells that there were some.
    fn quarantine(&self, part: &Path, sop_instance_uid: &Uid, digest: &str) -> Result<(), SpoolError> {
        let folder = self.root.join("quarantine");
        let target = folder.join(format!("{sop_instance_uid}-{}.dcm", &digest[..16]));
        if target.exists() {
            return remove_if_there(part);
        }
        if self.quarantined.fetch_add(1, Ordering::Relaxed) < QUARANTINE_FILES_MAX {
            fs::rename(part, &target).map_err(|source| SpoolError::io(&target, "rename", source))?;
        } else {
            self.quarantined.fetch_sub(1, Ordering::Relaxed);
            let mark = folder.join(format!("{sop_instance_uid}-refused"));
            File::create(&mark).map_err(|source| SpoolError::io(&mark, "creation", source))?;
            remove_if_there(part)?;
        }
        sync_folder(&folder)
    }
}

impl SpoolError {
    fn io(path: &Path, action: &'static str, source: io::Error) -> SpoolError {
        match source.kind() {
            // EFBIG comes from a limit on file sizes, which for the sender is the same as a full disk.
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                SpoolError::Full { path: path.to_owned() }
            }
            _ => SpoolError::Io { path: path.to_owned(), action, source },
        }
    }
}

fn lock(path: &Path) -> Result<File, SpoolError> {
    let file = File::create(path).map_err(|source| SpoolError::io(path, "creation", source))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| SpoolError::Locked { path: path.to_owned() })?;
    Ok(file)
}

/// The paths in a folder.
fn entries(folder: &Path) -> Result<impl Iterator<Item = PathBuf>, SpoolError> {
    let read = fs::read_dir(folder).map_err(|source| SpoolError::io(folder, "reading", source))?;
    Ok(read.filter_map(Result::ok).map(|entry| entry.path()))
}

fn empty(folder: &Path) -> Result<(), SpoolError> {
    for path in entries(folder)? {
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(|source| SpoolError::io(&path, "removal", source))?;
    }
    Ok(())
}

/// The UID that a name stands for, when it is one with this extension.
fn uid_of(path: &Path, extension: Option<&str>) -> Option<Uid> {
    let name = path.file_name()?.to_str()?;
    let stem = match extension {
        Some(extension) => name.strip_suffix(extension)?.strip_suffix('.')?,
        None => name,
    };
    stem.parse().ok()
}

#[cfg(test)]
mod tests;
