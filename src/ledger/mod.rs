//! The durable record of series, jobs, deliveries and history in SQLite; it alone names the database.
//!
//! Every call of [`Ledger::apply`] is one transaction in WAL mode with synchronous=FULL: when it returns, the records
//! survive the end of the process and of the power. Rows hold the record as JSON beside the columns that are asked for.

mod commitments;
mod removal;
mod requests;
mod retrievals;
mod schema;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, Transaction, named_params, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::dicom::SeriesKey;
use crate::job::{Job, JobId, JobState, ProducedObject};
use crate::node::{Record, Restored, SeriesRecord};

/// Why the ledger could not be read or written. All are for the operator.
#[derive(Debug, Error)]
pub enum LedgerError {
    #[error("ledger {path}: {source}; check that the disk has room and that the service user may write there")]
    Database { path: PathBuf, source: rusqlite::Error },
    #[error(
        "ledger {path}: found schema version {found}, expected at most {known}; it was written by a newer contourd: start that version"
    )]
    TooNew { path: PathBuf, found: u32, known: u32 },
    #[error("ledger {path}: found a row of {table} that cannot be read ({source}); restore the ledger from its backup")]
    Row { path: PathBuf, table: &'static str, source: serde_json::Error },
    #[error("ledger {path}: found no file; has the gateway run with this storage folder?")]
    Absent { path: PathBuf },
}

/// One line of the history.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HistoryLine {
    pub at: Timestamp,
    pub job: Option<String>,
    pub text: String,
}

/// An open ledger.
pub struct Ledger {
    path: PathBuf,
    connection: Connection,
}

impl Ledger {
    /// Opens the ledger for writing, makes it when it is not there, and brings its schema up to date.
    ///
    /// # Errors
    /// When the file cannot be opened or belongs to a newer version.
    pub fn open(path: &Path) -> Result<Ledger, LedgerError> {
        let connection = Connection::open(path);
        let connection = connection.map_err(|source| LedgerError::Database { path: path.to_owned(), source })?;
        let mut ledger = Ledger { path: path.to_owned(), connection };
        ledger.prepare().map_err(|source| LedgerError::Database { path: path.to_owned(), source })?;
        ledger.migrate()?;
        Ok(ledger)
    }

    /// Opens an existing ledger for commands that look at a gateway which may be running.
    ///
    /// # Errors
    /// [`LedgerError::Absent`] when there is none.
    pub fn open_existing(path: &Path) -> Result<Ledger, LedgerError> {
        if !path.is_file() {
            return Err(LedgerError::Absent { path: path.to_owned() });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags);
        let connection = connection.map_err(|source| LedgerError::Database { path: path.to_owned(), source })?;
        let ledger = Ledger { path: path.to_owned(), connection };
        ledger.connection.busy_timeout(Duration::from_secs(5)).map_err(|source| ledger.failed(source))?;
        ledger.version()?;
        Ok(ledger)
    }

    fn prepare(&mut self) -> rusqlite::Result<()> {
        self.connection.busy_timeout(Duration::from_secs(5))?;
        self.connection.pragma_update(None, "journal_mode", "WAL")?;
        self.connection.pragma_update(None, "synchronous", "FULL")
    }

    fn version(&self) -> Result<u32, LedgerError> {
        let known = schema::MIGRATIONS.len() as u32;
        let found = self.connection.pragma_query_value(None, "user_version", |row| row.get(0));
        match found.map_err(|source| self.failed(source))? {
            found if found > known => Err(LedgerError::TooNew { path: self.path.clone(), found, known }),
            found => Ok(found),
        }
    }

    fn migrate(&mut self) -> Result<(), LedgerError> {
        let found = self.version()?;
        let path = self.path.clone();
        let failed = |source| LedgerError::Database { path: path.clone(), source };
        for (index, migration) in schema::MIGRATIONS.iter().enumerate().skip(found as usize) {
            let transaction = self.connection.transaction().map_err(&failed)?;
            transaction.execute_batch(migration).map_err(&failed)?;
            transaction.pragma_update(None, "user_version", index as u32 + 1).map_err(&failed)?;
            transaction.commit().map_err(&failed)?;
        }
        Ok(())
    }

    /// Writes the records in their order, all or none; durable when it returns.
    ///
    /// # Errors
    /// When the database refuses: nothing of `records` is written then.
    pub fn apply(&mut self, records: &[Record]) -> Result<(), LedgerError> {
        let path = self.path.clone();
        let write = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            for record in records {
                write_record(&transaction, record)?;
            }
            transaction.commit()
        };
        write(&mut self.connection).map_err(|source| LedgerError::Database { path, source })
    }

    /// All that a gateway needs to go on where it ended.
    ///
    /// # Errors
    /// When the database or a row cannot be read.
    pub fn restore(&self) -> Result<Restored, LedgerError> {
        Ok(Restored {
            instances: self.documents("instance", "SELECT document FROM instance", &[])?,
            series: self.documents(
                "series",
                "SELECT document FROM series WHERE (study, series) IN (SELECT study, series FROM instance)",
                &[],
            )?,
            jobs: self.documents(
                "job",
                "SELECT document FROM job WHERE state NOT IN ('sent', 'delivered', 'failed') ORDER BY created_at, id",
                &[],
            )?,
            known: self
                .texts("SELECT id FROM job WHERE id NOT IN (SELECT job FROM gone)")?
                .iter()
                .filter_map(|id| JobId::parse(id))
                .collect(),
            commitments: self.open_commitments()?,
            retrievals: self.taken_retrievals()?,
        })
    }

    /// The latest jobs, newest first.
    ///
    /// # Errors
    /// When the database or a row cannot be read.
    pub fn jobs(&self, count_max: u32) -> Result<Vec<Job>, LedgerError> {
        let statement = "SELECT document FROM job ORDER BY created_at DESC, id LIMIT ?1";
        self.documents("job", statement, &[&count_max])
    }

    /// The latest series, newest first.
    ///
    /// # Errors
    /// When the database or a row cannot be read.
    pub fn series(&self, count_max: u32) -> Result<Vec<SeriesRecord>, LedgerError> {
        let statement = "SELECT document FROM series ORDER BY last_at DESC, series LIMIT ?1";
        self.documents("series", statement, &[&count_max])
    }

    /// One job by its name.
    ///
    /// # Errors
    /// When the database or the row cannot be read.
    pub fn job(&self, id: &JobId) -> Result<Option<Job>, LedgerError> {
        let found = self.documents("job", "SELECT document FROM job WHERE id = ?1", &[&id.as_str()])?;
        Ok(found.into_iter().next())
    }

    /// The jobs whose names begin with `beginning`, at most two: one is found, two are too many.
    ///
    /// # Errors
    /// When the database or a row cannot be read.
    pub fn jobs_beginning(&self, beginning: &str) -> Result<Vec<Job>, LedgerError> {
        let statement = "SELECT document FROM job WHERE substr(id, 1, length(?1)) = ?1 LIMIT 2";
        self.documents("job", statement, &[&beginning])
    }

    /// The objects of the job that a job replaces: of the latest one before it that made objects of the same series with
    /// the same pipeline; none for the first.
    ///
    /// # Errors
    /// When the database or a row cannot be read.
    pub fn predecessors(&self, job: &Job) -> Result<Vec<ProducedObject>, LedgerError> {
        let (study, series) = (job.series.study_instance_uid.as_str(), job.series.series_instance_uid.as_str());
        let statement = "SELECT document FROM job WHERE study = ?1 AND series = ?2 AND pipeline = ?3";
        let jobs: Vec<Job> = self.documents("job", statement, &[&study, &series, &job.pipeline])?;
        let made = |other: &Job| other.run.as_ref().is_some_and(|run| !run.objects.is_empty());
        let earlier = jobs
            .into_iter()
            .filter(|other| other.created_at < job.created_at && made(other) && job.shares_images(other));
        let last = earlier.max_by_key(|other| (other.created_at, other.id.clone()));
        Ok(last.and_then(|job| job.run).map(|run| run.objects).unwrap_or_default())
    }

    /// One series by its key.
    ///
    /// # Errors
    /// When the database or the row cannot be read.
    pub fn one_series(&self, key: &SeriesKey) -> Result<Option<SeriesRecord>, LedgerError> {
        let (study, series) = (key.study_instance_uid.as_str(), key.series_instance_uid.as_str());
        let statement = "SELECT document FROM series WHERE study = ?1 AND series = ?2";
        Ok(self.documents("series", statement, &[&study, &series])?.into_iter().next())
    }

    /// What happened to a series and its jobs, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn history(&self, key: &SeriesKey) -> Result<Vec<HistoryLine>, LedgerError> {
        let query = || -> rusqlite::Result<Vec<(String, Option<String>, String)>> {
            let mut statement = self.connection.prepare_cached(
                "SELECT at, job, text FROM history WHERE study = ?1 AND series = ?2 ORDER BY sequence",
            )?;
            let keys = params![key.study_instance_uid.as_str(), key.series_instance_uid.as_str()];
            let rows = statement.query_map(keys, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect()
        };
        let lines = query().map_err(|source| self.failed(source))?.into_iter();
        Ok(lines
            .map(|(at, job, text)| HistoryLine { at: at.parse().unwrap_or(Timestamp::UNIX_EPOCH), job, text })
            .collect())
    }

    fn documents<T: DeserializeOwned>(
        &self,
        table: &'static str,
        statement: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<Vec<T>, LedgerError> {
        let query = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.connection.prepare_cached(statement)?;
            let rows = statement.query_map(values, |row| row.get(0))?;
            rows.collect()
        };
        let texts = query().map_err(|source| self.failed(source))?;
        let parse = |text: &String| serde_json::from_str(text);
        let parsed: Result<Vec<T>, _> = texts.iter().map(parse).collect();
        parsed.map_err(|source| LedgerError::Row { path: self.path.clone(), table, source })
    }

    fn texts(&self, statement: &str) -> Result<Vec<String>, LedgerError> {
        let query = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.connection.prepare_cached(statement)?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect()
        };
        query().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: rusqlite::Error) -> LedgerError {
        LedgerError::Database { path: self.path.clone(), source }
    }
}

fn json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn write_record(transaction: &Transaction<'_>, record: &Record) -> rusqlite::Result<()> {
    match record {
        Record::Instance(stored) => {
            let sql = "INSERT INTO instance (study, series, sop, document) VALUES (?1, ?2, ?3, ?4)
                       ON CONFLICT DO NOTHING";
            let (study, series) = (&stored.series.study_instance_uid, &stored.series.series_instance_uid);
            let values = params![study.as_str(), series.as_str(), stored.sop_instance_uid.as_str(), json(stored)?];
            transaction.prepare_cached(sql)?.execute(values)?;
        }
        Record::Series(record) => {
            let sql = "INSERT OR REPLACE INTO series (study, series, state, last_at, document)
                       VALUES (?1, ?2, ?3, ?4, ?5)";
            let (study, series) = (&record.series.study_instance_uid, &record.series.series_instance_uid);
            let state = record.state.name();
            let values = params![study.as_str(), series.as_str(), state, record.last_at.to_string(), json(record)?];
            transaction.prepare_cached(sql)?.execute(values)?;
        }
        Record::Job(job) => write_job(transaction, job).and_then(|()| removal::is_back(transaction, &job.id))?,
        Record::Removing(removal) => removal::begin(transaction, removal)?,
        Record::Removed(series) => removal::end(transaction, series)?,
        Record::Commitment(commitment) => commitments::write(transaction, commitment)?,
        Record::Retrieval(retrieval) => retrievals::write(transaction, retrieval)?,
        Record::History { at, series, job, text } => {
            let sql = "INSERT INTO history (at, study, series, job, text) VALUES (:at, :study, :series, :job, :text)";
            transaction.prepare_cached(sql)?.execute(named_params! {
                ":at": at.to_string(),
                ":study": series.study_instance_uid.as_str(),
                ":series": series.series_instance_uid.as_str(),
                ":job": job.as_ref().map(JobId::as_str),
                ":text": text,
            })?;
        }
    }
    Ok(())
}

fn write_job(transaction: &Transaction<'_>, job: &Job) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO job (id, study, series, pipeline, state, cause, created_at, document)
               VALUES (:id, :study, :series, :pipeline, :state, :cause, :created_at, :document)";
    let cause = match &job.state {
        JobState::Failed { cause } => cause.as_str(),
        _ => "",
    };
    transaction.prepare_cached(sql)?.execute(named_params! {
        ":id": job.id.as_str(),
        ":study": job.series.study_instance_uid.as_str(),
        ":series": job.series.series_instance_uid.as_str(),
        ":pipeline": job.pipeline,
        ":state": job.state.name(),
        ":cause": cause,
        ":created_at": job.created_at.to_string(),
        ":document": json(job)?,
    })?;
    let sql = "INSERT OR REPLACE INTO delivery (job, destination, state, attempts, reason) VALUES (?1, ?2, ?3, ?4, ?5)";
    for delivery in &job.deliveries {
        let values =
            params![job.id.as_str(), delivery.to, delivery.state.name(), delivery.attempts, delivery.last_reason];
        transaction.prepare_cached(sql)?.execute(values)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::Uid;
    use crate::job::Delivery;
    use crate::node::{Placed, SeriesState, Stored};

    fn key() -> SeriesKey {
        SeriesKey {
            study_instance_uid: "1.2".parse().expect("a UID"),
            series_instance_uid: "1.3".parse().expect("a UID"),
        }
    }

    fn stored(uid: &str) -> Stored {
        Stored {
            series: key(),
            sop_instance_uid: uid.parse().expect("a UID"),
            digest: "d".to_owned(),
            size_bytes: 7,
            calling_ae: "CT".parse().expect("a title"),
            called_ae: "CONTOURD".parse().expect("a title"),
            association: 3,
            received_at: Timestamp::UNIX_EPOCH,
            placed: Some(Placed { position_mm: 1.0 / 3.0, ..Placed::default() }),
        }
    }

    fn series() -> SeriesRecord {
        let (at, state, note) = (Timestamp::UNIX_EPOCH, SeriesState::Held, "n".to_owned());
        SeriesRecord {
            series: key(),
            revision: 2,
            state,
            note,
            first_at: at,
            last_at: at,
            assessment: None,
            jobs: Vec::new(),
            assessed_at: None,
            open: std::collections::BTreeMap::from([("p".to_owned(), "waits for pet".to_owned())]),
            committed_at: None,
        }
    }

    fn job(state: JobState) -> Job {
        let uids: Vec<Uid> = vec!["1.4".parse().expect("a UID")];
        let at = Timestamp::UNIX_EPOCH;
        let delivery =
            Delivery { attempts: 1, last_reason: "away".to_owned(), ..Delivery::new("tps".to_owned(), None, at) };
        Job {
            id: JobId::derived(&key(), state.name(), []),
            series: key(),
            series_revision: 2,
            instances: uids,
            inputs: Vec::new(),
            pipeline: "p".to_owned(),
            pipeline_revision: 1,
            pipeline_source: "{}".to_owned(),
            models: std::collections::BTreeMap::new(),
            dialects: Vec::new(),
            sender: None,
            predecessors: Vec::new(),
            reasons: Vec::new(),
            created_at: at,
            started_at: None,
            not_before: at,
            state,
            runs: 1,
            deliveries: vec![delivery],
            run: None,
        }
    }

    #[test]
    fn what_was_applied_is_there_after_opening_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger.sqlite");
        let (open, done) = (job(JobState::Queued), job(JobState::Delivered));
        {
            let mut ledger = Ledger::open(&path).expect("opens");
            let history = Record::History {
                at: Timestamp::UNIX_EPOCH,
                series: key(),
                job: Some(open.id.clone()),
                text: "t".to_owned(),
            };
            let jobs = [&open, &done].map(|job| Record::Job(Box::new(job.clone())));
            ledger.apply(&[Record::Series(series()), Record::Instance(stored("1.4")), history]).expect("applies");
            ledger.apply(&jobs).expect("applies");
        }
        let ledger = Ledger::open(&path).expect("opens again");
        let restored = ledger.restore().expect("restores");
        assert_eq!(restored.instances, [stored("1.4")]);
        assert_eq!(restored.series, [series()]);
        assert_eq!(restored.jobs, std::slice::from_ref(&open));
        assert_eq!(restored.known.len(), 2);
        assert_eq!(ledger.job(&done.id).expect("reads"), Some(done));
        assert_eq!(ledger.history(&key()).expect("reads")[0].text, "t");
    }

    #[test]
    fn writes_with_full_synchronisation() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::open(&folder.path().join("ledger.sqlite")).expect("opens");
        let pragma = |name| ledger.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        assert_eq!(pragma("synchronous"), Ok(2), "FULL");
    }

    #[test]
    fn gives_each_request_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger.sqlite");
        let mut ledger = Ledger::open(&path).expect("opens");
        let failed = job(JobState::Failed { cause: "c".to_owned() });
        ledger.apply(&[Record::Job(Box::new(failed.clone()))]).expect("applies");
        let other = Ledger::open_existing(&path).expect("opens beside");
        other.request_retry(&failed.id).expect("asks");
        other.request_retry(&failed.id).expect("asks twice");
        assert_eq!(ledger.take_requests().expect("reads"), [failed]);
        assert_eq!(ledger.take_requests().expect("reads"), []);
    }

    #[test]
    fn refuses_a_ledger_of_a_newer_version() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger.sqlite");
        Ledger::open(&path).expect("opens").connection.pragma_update(None, "user_version", 99).expect("sets");
        assert!(matches!(Ledger::open(&path), Err(LedgerError::TooNew { found: 99, .. })));
        let absent = Ledger::open_existing(&folder.path().join("none.sqlite"));
        assert!(matches!(absent, Err(LedgerError::Absent { .. })));
    }
}
