//! Takes one instance from its first byte to its durable end, on a blocking thread; it answers nothing.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use dicom_core::Tag;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::assemble::Modality;
use crate::dicom::scan::ScanError;
use crate::dicom::{Instance, InstanceError, SeriesKey, Syntax, Uid};
use crate::dimse::Outcome;
use crate::limits::{
    CHECKED_MIB_MAX, ELEMENTS_MAX, FRAGMENTS_COLLECTED_BYTES, HEADER_BYTES_MAX, PARSED_BYTE_MEMORY_BYTES,
    RECEIVED_HEADER_BYTES_MAX, SCANNED_ELEMENT_MEMORY_BYTES, STORE_QUEUE_LENGTH,
};
use crate::spool::{Commit, Incoming, Meta, Spool, SpoolError};

/// Room in memory, in MiB, for the headers that are being checked. It is the process that has the memory, so all
/// listeners share it. Who waits for room holds back one sender alone.
static CHECK_ROOM: Semaphore = Semaphore::const_new(CHECKED_MIB_MAX);

/// The way of a data set to its thread. Dropped before [`Sink::finish`], it leaves nothing behind.
pub(crate) struct Sink {
    chunks: mpsc::Sender<Chunk>,
    thread: JoinHandle<Finished>,
    /// Small fragments on their way; the smallest have one byte.
    collected: BytesMut,
    size_bytes: u64,
    is_deflated: bool,
}

/// What an instance has to be of, where that is known.
#[derive(Default)]
struct Of {
    study: Option<Uid>,
    series: Option<SeriesKey>,
}

enum Chunk {
    Data(Bytes),
    /// All of the data set is there; without it, it is thrown away.
    End,
}

/// What became of an instance.
pub struct Finished {
    pub outcome: Outcome,
    /// Why it is not stored, for the log; no patient attribute.
    pub reason: String,
    pub received: Option<Received>,
}

/// An instance that is durable.
pub struct Received {
    pub instance: Instance,
    pub digest: String,
    pub size_bytes: u64,
}

impl Sink {
    /// Begins an instance.
    pub(crate) fn open(spool: Arc<Spool>, meta: Meta) -> Sink {
        Sink::open_of(spool, meta, Of::default())
    }

    /// Begins an instance that has to be of this study, if one is named.
    pub(super) fn open_in(spool: Arc<Spool>, meta: Meta, study: Option<Uid>) -> Sink {
        Sink::open_of(spool, meta, Of { study, series: None })
    }

    /// Begins an instance that has to be of this series, because another one was not asked for.
    pub(crate) fn open_asked(spool: Arc<Spool>, meta: Meta, series: SeriesKey) -> Sink {
        Sink::open_of(spool, meta, Of { study: None, series: Some(series) })
    }

    fn open_of(spool: Arc<Spool>, meta: Meta, of: Of) -> Sink {
        let (chunks, incoming) = mpsc::channel(STORE_QUEUE_LENGTH);
        let is_deflated = Syntax::of(&meta.transfer_syntax_uid).is_some_and(|syntax| syntax.deflated);
        let thread = tokio::task::spawn_blocking(move || write(&spool, meta, &of, incoming));
        Sink { chunks, thread, collected: BytesMut::new(), size_bytes: 0, is_deflated }
    }

    /// Appends bytes of the data set; waits while the disk is slower than the network. That the thread has given up
    /// shows in [`Sink::finish`].
    pub(crate) async fn write(&mut self, bytes: Bytes) {
        self.size_bytes += bytes.len() as u64;
        if bytes.len() < FRAGMENTS_COLLECTED_BYTES / 4 {
            self.collected.extend_from_slice(&bytes);
            if self.collected.len() >= FRAGMENTS_COLLECTED_BYTES {
                self.flush().await;
            }
            return;
        }
        self.flush().await;
        let _ = self.chunks.send(Chunk::Data(bytes)).await;
    }

    async fn flush(&mut self) {
        if !self.collected.is_empty() {
            let collected = self.collected.split().freeze();
            let _ = self.chunks.send(Chunk::Data(collected)).await;
        }
    }

    /// Ends the data set and waits until the instance is durable or refused.
    pub(crate) async fn finish(mut self) -> Finished {
        self.flush().await;
        // It is never closed.
        let _room = CHECK_ROOM.acquire_many(check_mib(self.size_bytes, self.is_deflated)).await;
        let _ = self.chunks.send(Chunk::End).await;
        self.thread.await.unwrap_or_else(|error| {
            let what = if error.is_panic() { "panicked" } else { "was cancelled" };
            Finished::refused(Outcome::ProcessingFailure, format!("the thread of the instance {what}"))
        })
    }
}

impl Finished {
    pub(super) fn refused(outcome: Outcome, reason: String) -> Finished {
        Finished { outcome, reason, received: None }
    }
}

impl From<SpoolError> for Finished {
    fn from(error: SpoolError) -> Finished {
        Finished::refused(Outcome::OutOfResources, error.to_string())
    }
}

/// The memory in MiB that checking a data set may take: its header as bytes, in a buffer that grows by doubling, where its
/// elements lie, and the values that are read. How much of the data set is header is not known before.
fn check_mib(size_bytes: u64, is_deflated: bool) -> u32 {
    let (bytes, elements) = if is_deflated { (u64::MAX, u64::MAX) } else { (size_bytes, size_bytes / 8) };
    let memory = bytes.min(HEADER_BYTES_MAX)
        + elements.min(ELEMENTS_MAX as u64) * SCANNED_ELEMENT_MEMORY_BYTES
        + bytes.min(RECEIVED_HEADER_BYTES_MAX as u64) * PARSED_BYTE_MEMORY_BYTES;
    u32::try_from((memory >> 20) + 1).unwrap_or(u32::MAX).min(CHECKED_MIB_MAX as u32)
}

fn write(spool: &Arc<Spool>, meta: Meta, of: &Of, chunks: mpsc::Receiver<Chunk>) -> Finished {
    try_write(spool, meta, of, chunks).unwrap_or_else(|refused| refused)
}

fn try_write(spool: &Arc<Spool>, meta: Meta, of: &Of, mut chunks: mpsc::Receiver<Chunk>) -> Result<Finished, Finished> {
    let mut incoming = spool.receive(meta.clone())?;
    loop {
        match chunks.blocking_recv() {
            Some(Chunk::Data(bytes)) => incoming.write(&bytes)?,
            Some(Chunk::End) => break,
            None => return Err(Finished::refused(Outcome::Truncated, "the sender went away".to_owned())),
        }
    }
    let instance = check(&mut incoming, &meta)?;
    if let Some(study) = of.study.as_ref().filter(|study| **study != instance.study_instance_uid) {
        let found = &instance.study_instance_uid;
        let reason = format!("found Study Instance UID {found} in the data set, expected {study} as in the request");
        return Err(Finished::refused(Outcome::StudyMismatch, reason));
    }
    if let Some(asked) = of.series.as_ref().filter(|asked| **asked != instance.series_key()) {
        let (found, asked) = (&instance.series_instance_uid, &asked.series_instance_uid);
        let reason = format!("found an instance of series {found}, expected series {asked} alone, which was asked for");
        return Err(Finished::refused(Outcome::NotAskedFor, reason));
    }
    let (digest, size_bytes) = (incoming.digest(), incoming.size_bytes());
    Ok(match incoming.commit(&instance.series_key())? {
        Commit::New(_) => Finished {
            outcome: Outcome::Stored,
            reason: String::new(),
            received: Some(Received { instance, digest, size_bytes }),
        },
        Commit::Identical => Finished {
            outcome: Outcome::Identical,
            reason: String::new(),
            received: Some(Received { instance, digest, size_bytes }),
        },
        Commit::Different { kept_digest } => Finished::refused(
            Outcome::Different,
            format!("stored before with digest {kept_digest}, sent again with {digest}; the first is kept"),
        ),
    })
}

/// Reads the data set through and compares it with the command (PS3.4 B.2.3: A900).
fn check(incoming: &mut Incoming, meta: &Meta) -> Result<Instance, Finished> {
    let instance = Instance::read_received(incoming.read_back()?, &meta.transfer_syntax_uid)
        .map_err(|error| Finished::refused(outcome_of(&error), error.to_string()))?;
    // Readers of the stored file would take a second file meta group for the first.
    if instance.vr(Tag(0x0002, 0x0010)).is_some() {
        let reason = "found a file meta group within the data set".to_owned();
        return Err(Finished::refused(Outcome::Unreadable, reason));
    }
    let differs = |what: &str, found: &Uid, expected: &Uid| {
        format!("found {what} {found} in the data set, expected {expected} as in the command")
    };
    // One that is cut where an element ends is complete but for its pixels, which images have (PS3.3 C.7.6.3).
    if instance.pixel_data.is_none() && Modality::of_sop_class(instance.sop_class_uid.as_str()).is_some() {
        let reason = "found an image without pixel data: the data set ends before it".to_owned();
        return Err(Finished::refused(Outcome::Truncated, reason));
    }
    if instance.sop_class_uid != meta.sop_class_uid {
        let reason = differs("SOP Class UID", &instance.sop_class_uid, &meta.sop_class_uid);
        return Err(Finished::refused(Outcome::SopClassMismatch, reason));
    }
    if instance.sop_instance_uid != meta.sop_instance_uid {
        let reason = differs("SOP Instance UID", &instance.sop_instance_uid, &meta.sop_instance_uid);
        return Err(Finished::refused(Outcome::SopInstanceMismatch, reason));
    }
    Ok(instance)
}

fn outcome_of(error: &InstanceError) -> Outcome {
    match error {
        InstanceError::MissingUid { .. } | InstanceError::Uid { .. } | InstanceError::Duplicate { .. } => {
            Outcome::Unidentified
        }
        InstanceError::Scan(scan) => match scan {
            ScanError::Truncated { .. } | ScanError::TruncatedHeader { .. } | ScanError::Empty => Outcome::Truncated,
            ScanError::Depth { .. }
            | ScanError::Elements { .. }
            | ScanError::HeaderBytes { .. }
            | ScanError::Fragments
            | ScanError::Inflated => Outcome::TooComplex,
            // A stream that cannot be inflated comes as this too, so that it is no word on our disk.
            ScanError::Io(_) => Outcome::Unreadable,
            _ => Outcome::Unreadable,
        },
    }
}
