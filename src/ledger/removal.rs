//! What was decided to be removed and is not removed for certain yet; the ledger forgets it when the files are gone.

use std::collections::HashSet;

use rusqlite::{Transaction, params};

use super::{Ledger, LedgerError, json};
use crate::dicom::SeriesKey;
use crate::job::JobId;
use crate::node::Removal;

impl Ledger {
    /// The removals that were begun and not finished, each with those of its jobs that were not made again since: what
    /// these made is new.
    ///
    /// # Errors
    /// When the database or a row cannot be read.
    pub fn removals(&self) -> Result<Vec<Removal>, LedgerError> {
        let mut removals: Vec<Removal> = self.documents("removal", "SELECT document FROM removal", &[])?;
        let gone: HashSet<String> = self.texts("SELECT job FROM gone")?.into_iter().collect();
        removals.iter_mut().for_each(|removal| removal.jobs.retain(|job| gone.contains(job.as_str())));
        Ok(removals)
    }
}

/// Notes a removal, and forgets the instances. Its jobs stay for people to look at, and are made again when the series
/// comes again.
pub(super) fn begin(transaction: &Transaction<'_>, removal: &Removal) -> rusqlite::Result<()> {
    let (study, series) = (removal.series.study_instance_uid.as_str(), removal.series.series_instance_uid.as_str());
    let sql = "INSERT OR REPLACE INTO removal (study, series, document) VALUES (?1, ?2, ?3)";
    transaction.prepare_cached(sql)?.execute(params![study, series, json(removal)?])?;
    let sql = "DELETE FROM instance WHERE study = ?1 AND series = ?2";
    transaction.prepare_cached(sql)?.execute(params![study, series])?;
    for job in &removal.jobs {
        let sql = "INSERT OR IGNORE INTO gone (job) VALUES (?1)";
        transaction.prepare_cached(sql)?.execute(params![job.as_str()])?;
    }
    Ok(())
}

/// The files of a series are removed.
pub(super) fn end(transaction: &Transaction<'_>, series: &SeriesKey) -> rusqlite::Result<()> {
    let sql = "DELETE FROM removal WHERE study = ?1 AND series = ?2";
    let (study, series) = (series.study_instance_uid.as_str(), series.series_instance_uid.as_str());
    transaction.prepare_cached(sql)?.execute(params![study, series])?;
    Ok(())
}

/// A job that was removed is made again.
pub(super) fn is_back(transaction: &Transaction<'_>, job: &JobId) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM gone WHERE job = ?1")?.execute(params![job.as_str()])?;
    Ok(())
}
