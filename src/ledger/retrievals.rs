//! Retrievals in the ledger: what an operator asks for stands here until the running gateway takes it, so that neither a
//! restart nor a gateway that is down loses it.

use jiff::Timestamp;
use rusqlite::{Transaction, params};

use super::{Ledger, LedgerError, json};
use crate::dicom::{SeriesKey, Uid};
use crate::limits::RETRIEVAL_KEPT_DAYS;
use crate::node::{Retrieval, RetrievalState};

impl Ledger {
    /// Asks the running gateway to fetch; it looks for requests every second.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn request_retrieval(&self, retrieval: &Retrieval) -> Result<(), LedgerError> {
        let asked = Retrieval { state: RetrievalState::Asked, ..retrieval.clone() };
        let write = || {
            let sql = "INSERT INTO retrieval (id, state, asked_at, document) VALUES (?1, ?2, ?3, ?4)";
            let values = params![asked.id.as_str(), asked.state.name(), asked.asked_at.to_string(), json(&asked)?];
            self.connection.execute(sql, values)
        };
        write().map(drop).map_err(|source| self.failed(source))
    }

    /// What was asked for and not taken yet. It is asked for until it is recorded as taken.
    ///
    /// # Errors
    /// When the database or a row cannot be read.
    pub fn requested_retrievals(&self) -> Result<Vec<Retrieval>, LedgerError> {
        let statement = "SELECT document FROM retrieval WHERE state = 'asked' ORDER BY asked_at, id LIMIT 64";
        self.documents("retrieval", statement, &[])
    }

    /// One retrieval, whatever has become of it.
    ///
    /// # Errors
    /// When the database or the row cannot be read.
    pub fn retrieval(&self, id: &Uid) -> Result<Option<Retrieval>, LedgerError> {
        let statement = "SELECT document FROM retrieval WHERE id = ?1";
        Ok(self.documents("retrieval", statement, &[&id.as_str()])?.into_iter().next())
    }

    /// The latest retrievals, newest first.
    ///
    /// # Errors
    /// When the database or a row cannot be read.
    pub fn retrievals(&self, count_max: u32) -> Result<Vec<Retrieval>, LedgerError> {
        let statement = "SELECT document FROM retrieval ORDER BY asked_at DESC, id LIMIT ?1";
        self.documents("retrieval", statement, &[&count_max])
    }

    /// How many instances of a series are recorded.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn count_instances(&self, series: &SeriesKey) -> Result<usize, LedgerError> {
        let sql = "SELECT count(*) FROM instance WHERE study = ?1 AND series = ?2";
        let values = params![series.study_instance_uid.as_str(), series.series_instance_uid.as_str()];
        let count = self.connection.query_row(sql, values, |row| row.get::<_, i64>(0));
        let count = count.map_err(|source| self.failed(source))?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Forgets the retrievals that were asked for before this time and have ended; says how many.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn forget_retrievals(&self, asked_before: Timestamp) -> Result<usize, LedgerError> {
        let sql = "DELETE FROM retrieval WHERE asked_at < ?1 AND state IN ('done', 'failed')";
        self.connection.execute(sql, params![asked_before.to_string()]).map_err(|source| self.failed(source))
    }

    /// Those that the gateway has taken and not ended, and those that ended lately.
    pub(super) fn taken_retrievals(&self) -> Result<Vec<Retrieval>, LedgerError> {
        const { assert!(RETRIEVAL_KEPT_DAYS > 0) };
        self.documents("retrieval", "SELECT document FROM retrieval WHERE state != 'asked'", &[])
    }
}

pub(super) fn write(transaction: &Transaction<'_>, retrieval: &Retrieval) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO retrieval (id, state, asked_at, document) VALUES (?1, ?2, ?3, ?4)";
    let (id, state) = (retrieval.id.as_str(), retrieval.state.name());
    let values = params![id, state, retrieval.asked_at.to_string(), json(retrieval)?];
    transaction.prepare_cached(sql)?.execute(values).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Asked, Record};

    #[test]
    fn what_was_asked_for_stays_until_it_was_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger.sqlite");
        let mut ledger = Ledger::open(&path).expect("opens");
        let uid = |text: &str| text.parse::<Uid>().expect("a UID");
        let what = Asked::Series { study: uid("1.2"), series: vec![uid("1.3")] };
        let retrieval = Retrieval::new(uid("1.9"), "pacs".to_owned(), what, Timestamp::UNIX_EPOCH);
        Ledger::open_existing(&path).expect("opens beside").request_retrieval(&retrieval).expect("asks");
        for _ in 0..2 {
            let asked = ledger.requested_retrievals().expect("reads");
            assert_eq!((asked.len(), &asked[0].state), (1, &RetrievalState::Asked));
            assert!(ledger.restore().expect("reads").retrievals.is_empty(), "not taken yet");
        }
        ledger.apply(&[Record::Retrieval(Box::new(retrieval.clone()))]).expect("taken");
        assert!(ledger.requested_retrievals().expect("reads").is_empty());
        assert_eq!(ledger.restore().expect("reads").retrievals, std::slice::from_ref(&retrieval));
        let later = Timestamp::from_second(9).expect("in range");
        assert_eq!(ledger.forget_retrievals(later).expect("open"), 0);
        let done = Retrieval { state: RetrievalState::Done { at: later }, ..retrieval };
        ledger.apply(&[Record::Retrieval(Box::new(done.clone()))]).expect("ended");
        assert_eq!(ledger.retrieval(&done.id).expect("reads"), Some(done));
        assert_eq!(ledger.forget_retrievals(later).expect("forgets"), 1);
    }
}
