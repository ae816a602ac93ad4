//! What one sender brings from its first instance to its end, whichever way it came: counted, logged, told to the daemon.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::store::Finished;
use super::{Notice, StoredInstance};
use crate::dicom::{AeTitle, SeriesKey};
use crate::dimse::Outcome;
use crate::limits::{REFUSALS_LOGGED_MAX, SERIES_PER_ASSOCIATION_MAX};

/// Associations, requests and batches of files are counted over all ways into the process, so that a number names one.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The number of the next one.
pub(super) fn next_number() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// An association, a request, or a batch of files.
pub struct Intake {
    number: u64,
    calling: AeTitle,
    called: AeTitle,
    notices: mpsc::Sender<Notice>,
    series: BTreeSet<SeriesKey>,
    /// How many were stored, were here already, were refused.
    pub stored: u64,
    pub identical: u64,
    pub refused: u64,
}

impl Intake {
    /// Begins one with a number of its own.
    pub fn begin(calling: AeTitle, called: AeTitle, notices: mpsc::Sender<Notice>) -> Intake {
        Intake::numbered(next_number(), calling, called, notices)
    }

    /// Begins one that has its number already.
    pub(super) fn numbered(number: u64, calling: AeTitle, called: AeTitle, notices: mpsc::Sender<Notice>) -> Intake {
        let series = BTreeSet::new();
        Intake { number, calling, called, notices, series, stored: 0, identical: 0, refused: 0 }
    }

    /// Its number, as the events of the log have it.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Counts and logs what became of an instance, and tells the daemon of what is durable.
    pub async fn tell(&mut self, finished: Finished) {
        let Some(received) = finished.received else {
            self.refused += 1;
            if self.refused <= REFUSALS_LOGGED_MAX {
                let (status, _) = finished.outcome.status();
                let (association, calling) = (self.number, &self.calling);
                warn!(association, %calling, %status, "instance refused: {}", finished.reason);
            }
            return;
        };
        let key = received.instance.series_key();
        if self.series.len() < SERIES_PER_ASSOCIATION_MAX {
            self.series.insert(key);
        }
        let new = finished.outcome != Outcome::Identical;
        if new {
            self.stored += 1;
        } else {
            self.identical += 1;
        }
        let stored = StoredInstance {
            instance: received.instance,
            digest: received.digest,
            size_bytes: received.size_bytes,
            calling_ae: self.calling.clone(),
            called_ae: self.called.clone(),
            association: self.number,
            new,
        };
        if self.notices.send(Notice::Stored(Box::new(stored))).await.is_err() {
            debug!(association = self.number, "nobody takes notices any more; the instance is durable all the same");
        }
    }

    /// Ends it. `released` says that the sender was done, as it says itself.
    pub async fn end(&mut self, released: bool) {
        if !self.series.is_empty() {
            let series = std::mem::take(&mut self.series).into_iter().collect();
            let _ = self.notices.send(Notice::Closed { association: self.number, released, series }).await;
        }
    }
}
