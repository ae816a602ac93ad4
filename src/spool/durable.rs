//! The few steps from which every durable change of the storage folder is made; it knows no layout.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::SpoolError;

/// Makes a folder and its parents where they are missing.
pub(super) fn make_folder(path: &Path) -> Result<(), SpoolError> {
    fs::create_dir_all(path).map_err(|source| SpoolError::io(path, "creation", source))
}

/// Makes the names in a folder survive a power cut.
pub(crate) fn sync_folder(path: &Path) -> Result<(), SpoolError> {
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(|source| SpoolError::io(path, "fsync", source))
}

/// Gives a file its final name unless the name is taken; says whether it did. Durable after [`sync_folder`].
pub(crate) fn rename_new(from: &Path, to: &Path) -> Result<bool, SpoolError> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // NFS, 9p and some FUSE file systems know no such rename; a hard link does not overwrite either.
        Err(Errno::INVAL | Errno::NOSYS) => link_new(from, to),
        Err(error) => Err(SpoolError::io(to, "rename", error.into())),
    }
}

fn link_new(from: &Path, to: &Path) -> Result<bool, SpoolError> {
    match fs::hard_link(from, to) {
        Ok(()) => remove_if_there(from).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(SpoolError::io(to, "link", error)),
    }
}

/// Moves a folder; says whether it was there.
pub(super) fn move_away(from: &Path, to: &Path) -> Result<bool, SpoolError> {
    match fs::rename(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(SpoolError::io(from, "rename", error)),
    }
}

/// The files of a folder that were written before a time; none of a folder that is not there.
pub(super) fn files_before(folder: &Path, time: SystemTime) -> Result<Vec<PathBuf>, SpoolError> {
    let failed = |source| SpoolError::io(folder, "reading", source);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut before = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let written = entry.metadata().and_then(|data| data.modified()).map_err(failed)?;
        if written < time {
            before.push(entry.path());
        }
    }
    Ok(before)
}

/// Makes a file as young as one that was written now, durably.
pub(super) fn renew(path: &Path) -> Result<(), SpoolError> {
    let renewed = File::open(path).and_then(|file| {
        file.set_modified(SystemTime::now())?;
        file.sync_all()
    });
    renewed.map_err(|source| SpoolError::io(path, "renewal", source))
}

/// Removes a file; that it is gone already is no error.
pub(crate) fn remove_if_there(path: &Path) -> Result<(), SpoolError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(SpoolError::io(path, "removal", error)),
        _ => Ok(()),
    }
}
