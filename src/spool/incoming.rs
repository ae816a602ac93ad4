//! Writes one instance while it arrives, and gives it its name when all of it is there and was checked.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use sha2::{Digest, Sha256};

use super::durable::{remove_if_there, rename_new, renew, sync_folder};
use super::{Meta, Spool, SpoolError};
use crate::dicom::{SeriesKey, Uid};
use crate::limits::FLOOR_CHECK_BYTES;

/// Collects what comes in small pieces; larger ones pass it by.
const BUFFER_BYTES: usize = 64 << 10;

/// A file that is being written. Dropped without [`Incoming::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct Incoming {
    spool: Arc<Spool>,
    path: PathBuf,
    writer: BufWriter<File>,
    hash: Sha256,
    meta: Meta,
    data_set_offset: u64,
    size_bytes: u64,
    unchecked_bytes: u64,
}

/// What a commit found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commit {
    /// The instance is durable and was not here before.
    New(PathBuf),
    /// The same data set was stored already, in the same transfer syntax. It is durable.
    Identical,
    /// Another data set, or another encoding of it, is stored under this UID; it stays.
    Different {
        /// SHA-256 of the data set that stays.
        kept_digest: String,
    },
}

/// What is in a file of ours.
pub struct Digested {
    pub meta: Meta,
    /// SHA-256 of the data set, hexadecimal.
    pub digest: String,
    /// Length of the data set.
    pub size_bytes: u64,
}

impl Spool {
    /// Begins a file for an instance that will be, by its sender's word, `meta`.
    ///
    /// # Errors
    /// The disk is below its floor, full or failing.
    pub fn receive(self: &Arc<Spool>, meta: Meta) -> Result<Incoming, SpoolError> {
        self.check_floor()?;
        let path = self.root.join("incoming").join(format!("{}.part", self.next_number()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(|source| SpoolError::io(&path, "creation", source))?;
        let head = meta.encode();
        let mut incoming = Incoming {
            spool: self.clone(),
            path,
            writer: BufWriter::with_capacity(BUFFER_BYTES, file),
            hash: Sha256::new(),
            meta,
            data_set_offset: head.len() as u64,
            size_bytes: 0,
            unchecked_bytes: 0,
        };
        let written = incoming.writer.write_all(&head);
        written.map_err(|source| SpoolError::io(&incoming.path, "writing", source))?;
        Ok(incoming)
    }
}

impl Incoming {
    /// Appends bytes of the data set, as they came.
    ///
    /// # Errors
    /// The disk is below its floor, full or failing.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        self.size_bytes += bytes.len() as u64;
        self.unchecked_bytes += bytes.len() as u64;
        if self.unchecked_bytes >= FLOOR_CHECK_BYTES {
            self.unchecked_bytes = 0;
            self.spool.check_floor()?;
        }
        self.hash.update(bytes);
        self.writer.write_all(bytes).map_err(|source| SpoolError::io(&self.path, "writing", source))
    }

    /// Length of the data set so far, in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// SHA-256 of the data set so far, hexadecimal.
    pub fn digest(&self) -> String {
        hex(self.hash.clone())
    }

    /// The data set as it was written, to check it before it is kept.
    ///
    /// # Errors
    /// The disk is full or failing.
    pub fn read_back(&mut self) -> Result<impl Read + '_, SpoolError> {
        let path = &self.path;
        self.writer.flush().map_err(|source| SpoolError::io(path, "writing", source))?;
        let mut file = self.writer.get_ref();
        let sought = file.seek(SeekFrom::Start(self.data_set_offset));
        sought.map_err(|source| SpoolError::io(path, "reading", source))?;
        Ok(BufReader::with_capacity(BUFFER_BYTES, file))
    }

    /// Makes the instance durable under its name in its series. When this returns, `kill -9` and a power cut lose
    /// nothing of it.
    ///
    /// # Errors
    /// The disk is full or failing; nothing is left behind, and nothing was promised.
    pub fn commit(mut self, series: &SeriesKey) -> Result<Commit, SpoolError> {
        let digest = self.digest();
        let synced = self.writer.flush().and_then(|()| self.writer.get_ref().sync_data());
        synced.map_err(|source| SpoolError::io(&self.path, "fdatasync", source))?;
        let spool = Arc::clone(&self.spool);
        let _no_removal = spool.removal.read().unwrap_or_else(PoisonError::into_inner);
        let folder = self.spool.make_series_folder(series)?;
        let path = self.spool.instance_path(series, &self.meta.sop_instance_uid);
        if rename_new(&self.path, &path)? {
            sync_folder(&folder)?;
            return Ok(Commit::New(path));
        }
        let kept = digest_file(&path)?;
        if kept.digest == digest && kept.meta.transfer_syntax_uid == self.meta.transfer_syntax_uid {
            // It was acknowledged anew: its age counts from now. Whoever stored it first may have been killed just before
            // this step.
            renew(&path)?;
            sync_folder(&folder)?;
            return Ok(Commit::Identical);
        }
        self.spool.quarantine(&self.path, &self.meta.sop_instance_uid, &digest)?;
        Ok(Commit::Different { kept_digest: kept.digest })
    }

    /// The SOP Instance UID under which it will be stored.
    pub fn sop_instance_uid(&self) -> &Uid {
        &self.meta.sop_instance_uid
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // After a commit the name is gone already; after an error the next start removes what cannot be removed now.
        let _ = remove_if_there(&self.path);
    }
}

/// Reads a file of ours through.
pub(super) fn digest_file(path: &Path) -> Result<Digested, SpoolError> {
    let failed = |source| SpoolError::io(path, "reading", source);
    let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(path).map_err(failed)?);
    let meta = Meta::read(&mut file).ok_or_else(|| SpoolError::Foreign { path: path.to_owned() })?;
    let mut hash = Sha256::new();
    let mut size_bytes = 0;
    loop {
        let chunk = file.fill_buf().map_err(failed)?;
        if chunk.is_empty() {
            break;
        }
        hash.update(chunk);
        let length = chunk.len();
        size_bytes += length as u64;
        file.consume(length);
    }
    Ok(Digested { meta, digest: hex(hash), size_bytes })
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
