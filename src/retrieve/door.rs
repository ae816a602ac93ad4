//! Where what is fetched by C-GET comes in: the same sink, checks, statuses and notices as for what is sent to us.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::dicom::{AeTitle, SeriesKey, Uid};
use crate::dimse::{Outcome, StoreRequest, syntaxes};
use crate::limits::{REFUSALS_LOGGED_MAX, SERIES_PER_ASSOCIATION_MAX};
use crate::receive::{Finished, Notice, Sink, StoredInstance, next_association};
use crate::spool::{Meta, Spool};

/// What is fetched.
pub struct Wanted {
    pub series: SeriesKey,
    /// The instances that the peer has listed; `None` when its list is not whole, and then what it sends of the series is
    /// taken.
    pub instances: Option<BTreeSet<Uid>>,
}

/// The way of fetched instances into the spool, and to the loop.
pub struct Door {
    spool: Arc<Spool>,
    notices: mpsc::Sender<Notice>,
    /// Our title, and that of the peer, as if it had called.
    titles: (AeTitle, AeTitle),
    instance_bytes_max: u64,
    wanted: Option<Wanted>,
    association: u64,
    brought: BTreeSet<SeriesKey>,
    /// What was refused here: for good or not, and why.
    refused: BTreeMap<Uid, (bool, String)>,
    is_whole: bool,
}

impl Door {
    /// A door for what comes from the peer `calling` to our title `called`.
    pub fn new(
        spool: Arc<Spool>,
        notices: mpsc::Sender<Notice>,
        (called, calling): (AeTitle, AeTitle),
        instance_bytes_max: u64,
    ) -> Door {
        Door {
            spool,
            notices,
            titles: (called, calling),
            instance_bytes_max,
            wanted: None,
            association: 0,
            brought: BTreeSet::new(),
            refused: BTreeMap::new(),
            is_whole: false,
        }
    }

    pub(super) fn instance_bytes_max(&self) -> u64 {
        self.instance_bytes_max
    }

    /// How many of these instances are durable here; without a list, how many there are of the series.
    pub(super) async fn present(&self, series: &SeriesKey, instances: &[Uid]) -> usize {
        let (spool, series, instances) = (Arc::clone(&self.spool), series.clone(), instances.to_vec());
        let count = move || match instances.as_slice() {
            [] => spool.list(&series).map_or(0, |listed| listed.len()),
            _ => instances.iter().filter(|uid| spool.instance_path(&series, uid).is_file()).count(),
        };
        tokio::task::spawn_blocking(count).await.unwrap_or(0)
    }

    /// Begins a series.
    pub(super) fn begin(&mut self, wanted: Wanted) {
        self.wanted = Some(wanted);
        self.association = next_association();
        self.refused.clear();
        self.brought.clear();
        self.is_whole = true;
    }

    /// How a conversation about the series ended.
    pub(super) fn ended(&mut self, success: bool) {
        self.is_whole &= success;
    }

    /// How many instances of the series are here.
    pub(super) async fn here(&self) -> usize {
        match &self.wanted {
            Some(wanted) => self.present(&wanted.series, &[]).await,
            None => 0,
        }
    }

    /// Ends the series: the loop hears that nothing more comes. What was refused.
    pub(super) async fn end(&mut self) -> BTreeMap<Uid, (bool, String)> {
        self.wanted = None;
        if !self.brought.is_empty() {
            let series = std::mem::take(&mut self.brought).into_iter().collect();
            let closed = Notice::Closed { association: self.association, released: self.is_whole, series };
            let _ = self.notices.send(closed).await;
        }
        std::mem::take(&mut self.refused)
    }

    /// What can be said before the data set is there.
    pub(super) fn admit(
        &self,
        (abstract_syntax, transfer_syntax): (&str, &str),
        store: &StoreRequest,
    ) -> Result<Sink, Finished> {
        let refused = |outcome, reason: String| Finished { outcome, reason, received: None };
        let unidentified = |what: &str, error: &dyn std::fmt::Display| {
            refused(Outcome::Unidentified, format!("Affected SOP {what} UID of the command: {error}"))
        };
        let class = store.sop_class_uid.as_ref().map_err(|error| unidentified("Class", error))?;
        let instance = store.sop_instance_uid.as_ref().map_err(|error| unidentified("Instance", error))?;
        let listed = self.wanted.as_ref().and_then(|wanted| wanted.instances.as_ref());
        if listed.is_some_and(|listed| !listed.contains(instance)) {
            return Err(refused(Outcome::NotAskedFor, format!("instance {instance} was not asked for")));
        }
        if syntaxes::storage_name(class.as_str()).is_none() {
            return Err(refused(Outcome::SopClassNotSupported, format!("SOP class {class} is not stored here")));
        }
        if abstract_syntax != class.as_str() {
            let reason = format!("found SOP class {class} in a presentation context for {abstract_syntax}");
            return Err(refused(Outcome::SopClassMismatch, reason));
        }
        let transfer_syntax_uid = transfer_syntax.parse().map_err(|_| {
            refused(Outcome::ProcessingFailure, "the transfer syntax of the context is no UID".to_owned())
        })?;
        let meta = Meta {
            sop_class_uid: class.clone(),
            sop_instance_uid: instance.clone(),
            transfer_syntax_uid,
            calling_ae: Some(self.titles.1.clone()),
            called_ae: Some(self.titles.0.clone()),
        };
        let spool = Arc::clone(&self.spool);
        Ok(match &self.wanted {
            Some(wanted) => Sink::open_asked(spool, meta, wanted.series.clone()),
            None => Sink::open(spool, meta),
        })
    }

    /// Tells the loop of what is durable, and keeps in mind what is not.
    pub(super) async fn tell(&mut self, store: &StoreRequest, finished: Finished) {
        let calling = &self.titles.1;
        let Some(received) = finished.received else {
            let (status, _) = finished.outcome.status();
            if (self.refused.len() as u64) < REFUSALS_LOGGED_MAX {
                tracing::warn!(from = %calling, %status, "fetched instance refused: {}", finished.reason);
            }
            if let (Ok(uid), false) = (&store.sop_instance_uid, finished.outcome == Outcome::NotAskedFor) {
                self.refused.insert(uid.clone(), (!status.is_transient(), finished.reason));
            }
            return;
        };
        let key = received.instance.series_key();
        if self.brought.len() < SERIES_PER_ASSOCIATION_MAX {
            self.brought.insert(key);
        }
        let stored = StoredInstance {
            new: finished.outcome != Outcome::Identical,
            instance: received.instance,
            digest: received.digest,
            size_bytes: received.size_bytes,
            calling_ae: self.titles.1.clone(),
            called_ae: self.titles.0.clone(),
            association: self.association,
        };
        // Without a loop the gateway ends; the instance is durable, and found at the next start.
        let _ = self.notices.send(Notice::Stored(Box::new(stored))).await;
    }
}
