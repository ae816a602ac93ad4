//! What operators ask of the running gateway about jobs; it takes and deletes the rows.

use rusqlite::params;

use super::{Ledger, LedgerError};
use crate::job::{Job, JobId};

impl Ledger {
    /// Asks the running gateway to try a failed job again; it looks for requests every second.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn request_retry(&self, id: &JobId) -> Result<(), LedgerError> {
        let written = self.connection.execute("INSERT INTO request (job) VALUES (?1)", params![id.as_str()]);
        written.map(drop).map_err(|source| self.failed(source))
    }

    /// Takes the requests that came since the last call: the jobs to be tried again.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    pub fn take_requests(&mut self) -> Result<Vec<Job>, LedgerError> {
        let last =
            self.connection.query_row("SELECT max(sequence) FROM request", [], |row| row.get::<_, Option<i64>>(0));
        let last = last.map_err(|source| self.failed(source))?;
        let names = self.texts("SELECT DISTINCT job FROM request")?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut jobs = Vec::new();
        for id in names.iter().filter_map(|name| JobId::parse(name)) {
            jobs.extend(self.job(&id)?);
        }
        // Those that came meanwhile stay for the next time.
        self.connection
            .execute("DELETE FROM request WHERE sequence <= ?1", params![last])
            .map_err(|source| self.failed(source))?;
        Ok(jobs)
    }
}
