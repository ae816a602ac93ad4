//! Reconciles the spool with the ledger at the start: what a crash kept out of the ledger is registered again.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;

use jiff::Timestamp;

use super::DaemonError;
use crate::dicom::{AeTitle, Instance, SeriesKey, Uid};
use crate::ledger::Ledger;
use crate::node::{Placed, Record, Removal, Restored, Stored};
use crate::spool::{Listed, Spool, SpoolError};

/// The instances that are durable in the spool and unknown to the ledger. One that cannot be read any more stays where
/// it is and is told in the log: its bytes are evidence.
///
/// # Errors
/// When the spool cannot be read.
pub(super) fn orphans(spool: &Spool, restored: &Restored, now: Timestamp) -> Result<Vec<Stored>, SpoolError> {
    let known: HashSet<(&SeriesKey, &Uid)> =
        restored.instances.iter().map(|stored| (&stored.series, &stored.sop_instance_uid)).collect();
    let mut orphans = Vec::new();
    spool.scan(|listed| {
        if !known.contains(&(&listed.series, &listed.sop_instance_uid)) {
            match register(spool, &listed, now) {
                Ok(stored) => orphans.push(stored),
                Err(reason) => tracing::error!("{}: left as it is: {reason}", listed.path.display()),
            }
        }
    })?;
    if !orphans.is_empty() {
        tracing::info!("{} instances were stored just before the last end; they are registered now", orphans.len());
    }
    Ok(orphans)
}

/// Finishes what was being removed when the gateway ended: such files are not to be worked on again.
///
/// # Errors
/// When the spool or the ledger fails; the gateway must not start then.
pub(super) fn finish_removals(spool: &Spool, ledger: &mut Ledger) -> Result<(), DaemonError> {
    for removal in ledger.removals()? {
        remove_objects(spool, &removal)?;
        spool.remove_series(&removal.series, removal.before.into())?;
        ledger.apply(&[Record::Removed(removal.series)])?;
    }
    Ok(())
}

/// Removes the objects of the jobs that go with a series.
///
/// # Errors
/// When the spool fails.
pub(super) fn remove_objects(spool: &Spool, removal: &Removal) -> Result<(), SpoolError> {
    removal.jobs.iter().try_for_each(|job| spool.remove_objects(job))
}

/// The instances of a series that are there.
///
/// # Errors
/// When the spool cannot be read.
pub(super) fn registered(spool: &Spool, series: &SeriesKey, now: Timestamp) -> Result<Vec<Stored>, SpoolError> {
    let register = |listed: Listed| {
        let told = |reason| tracing::error!("{}: left as it is: {reason}", listed.path.display());
        register(spool, &listed, now).map_err(told).ok()
    };
    Ok(spool.list(series)?.into_iter().filter_map(register).collect())
}

fn register(spool: &Spool, listed: &Listed, now: Timestamp) -> Result<Stored, String> {
    let file = File::open(&listed.path).map_err(|error| error.to_string())?;
    let instance = Instance::read_part10(BufReader::new(file)).map_err(|error| error.to_string())?;
    let found = spool.digest(listed).map_err(|error| error.to_string())?;
    let unknown = || -> Result<AeTitle, String> { "UNKNOWN".parse().map_err(|_| "no title".to_owned()) };
    Ok(Stored {
        series: listed.series.clone(),
        sop_instance_uid: listed.sop_instance_uid.clone(),
        digest: found.digest,
        size_bytes: found.size_bytes,
        calling_ae: found.meta.calling_ae.map_or_else(unknown, Ok)?,
        called_ae: found.meta.called_ae.map_or_else(unknown, Ok)?,
        association: 0,
        received_at: now,
        placed: Placed::of(&instance),
    })
}
