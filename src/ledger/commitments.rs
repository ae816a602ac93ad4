//! Storage commitments in the ledger, and the instances that they name.

use jiff::Timestamp;
use rusqlite::{Transaction, params};

use super::{Ledger, LedgerError, json};
use crate::dicom::Uid;
use crate::node::{Commitment, CommitmentKey, Stored};

impl Ledger {
    /// The instances that are recorded under a SOP Instance UID: one, or one in each series that it came in.
    ///
    /// # Errors
    /// When the database or a row cannot be read.
    pub fn instances_named(&self, sop_instance_uid: &Uid) -> Result<Vec<Stored>, LedgerError> {
        self.documents("instance", "SELECT document FROM instance WHERE sop = ?1", &[&sop_instance_uid.as_str()])
    }

    /// A transaction by its peer and UID, whatever has become of it.
    ///
    /// # Errors
    /// When the database or the row cannot be read.
    pub fn commitment(&self, (peer, transaction_uid): &CommitmentKey) -> Result<Option<Commitment>, LedgerError> {
        let statement = "SELECT document FROM commitment WHERE peer = ?1 AND transaction_uid = ?2";
        let values: [&dyn rusqlite::ToSql; 2] = [&peer.as_str(), &transaction_uid.as_str()];
        Ok(self.documents("commitment", statement, &values)?.into_iter().next())
    }

    /// The latest transactions, newest first.
    ///
    /// # Errors
    /// When the database or a row cannot be read.
    pub fn commitments(&self, count: u32) -> Result<Vec<Commitment>, LedgerError> {
        let statement = "SELECT document FROM commitment ORDER BY asked_at DESC, transaction_uid LIMIT ?1";
        self.documents("commitment", statement, &[&count])
    }

    /// Forgets the transactions that were asked for before this time and have ended; says how many.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn forget_commitments(&self, asked_before: Timestamp) -> Result<usize, LedgerError> {
        let sql = "DELETE FROM commitment WHERE asked_at < ?1 AND state NOT IN ('asked', 'checked')";
        self.connection.execute(sql, params![asked_before.to_string()]).map_err(|source| self.failed(source))
    }

    pub(super) fn open_commitments(&self) -> Result<Vec<Commitment>, LedgerError> {
        let statement = "SELECT document FROM commitment WHERE state IN ('asked', 'checked')";
        self.documents("commitment", statement, &[])
    }
}

pub(super) fn write(transaction: &Transaction<'_>, commitment: &Commitment) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO commitment (peer, transaction_uid, state, asked_at, document)
               VALUES (?1, ?2, ?3, ?4, ?5)";
    let (peer, uid) = (commitment.peer.as_str(), commitment.transaction_uid.as_str());
    let asked_at = commitment.asked_at.to_string();
    let values = params![peer, uid, commitment.state.name(), asked_at, json(commitment)?];
    transaction.prepare_cached(sql)?.execute(values).map(drop)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::super::schema::MIGRATIONS;
    use super::*;
    use crate::dimse::commitment::{Failed, FailureReason, Reference};
    use crate::node::{CommitmentState, Record};

    fn commitment(transaction: &str, state: CommitmentState) -> Commitment {
        let uid = |text: &str| text.parse::<Uid>().expect("a UID");
        let at = Timestamp::UNIX_EPOCH;
        Commitment {
            peer: "CT".parse().expect("a title"),
            name: "ct".to_owned(),
            called: "CONTOURD".parse().expect("a title"),
            transaction_uid: uid(transaction),
            references: vec![Reference {
                sop_class_uid: uid("1.2.840.10008.5.1.4.1.1.2"),
                sop_instance_uid: uid("1.4"),
            }],
            asked_at: at,
            state,
            attempts: 2,
            last_reason: "away".to_owned(),
            since: at,
            association: 0,
        }
    }

    #[test]
    fn open_transactions_come_back_and_all_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger.sqlite");
        let at = Timestamp::UNIX_EPOCH;
        let open = commitment("1.9.1", CommitmentState::Asked);
        let reference = open.references[0].clone();
        let failed = vec![Failed { reference, reason: FailureReason::NO_SUCH_OBJECT_INSTANCE }];
        let checked = commitment("1.9.2", CommitmentState::Checked { failed: failed.clone(), not_before: at });
        let told = commitment("1.9.3", CommitmentState::Reported { failed, at });
        {
            let mut ledger = Ledger::open(&path).expect("opens");
            let records = [&open, &checked, &told].map(|one| Record::Commitment(Box::new(one.clone())));
            ledger.apply(&records).expect("applies");
        }
        let ledger = Ledger::open(&path).expect("opens again");
        assert_eq!(ledger.restore().expect("restores").commitments, [open, checked]);
        assert_eq!(ledger.commitment(&told.key()).expect("reads"), Some(told));
        assert_eq!(ledger.commitments(2).expect("reads").len(), 2);
        assert_eq!(ledger.forget_commitments(at).expect("deletes"), 0, "it is not older");
        assert_eq!(ledger.forget_commitments(Timestamp::MAX).expect("deletes"), 1, "what is open stays");
        assert_eq!(ledger.commitments(3).expect("reads").len(), 2);
    }

    #[test]
    fn what_an_older_version_called_delivered_becomes_sent() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger.sqlite");
        let old = Connection::open(&path).expect("opens");
        old.execute_batch(MIGRATIONS[0]).expect("the first version");
        old.execute_batch(
            "INSERT INTO job VALUES ('j', '1', '1', 'p', 'delivered', '', '', '{\"state\":\"delivered\",\"id\":\"j\"}');
             INSERT INTO job VALUES ('shadow', '1', '1', 'p', 'delivered', '', '', '{\"state\":\"delivered\"}');
             INSERT INTO delivery VALUES ('j', 'tps', 'done', 1, '');
             PRAGMA user_version = 1;",
        )
        .expect("rows of the first version");
        drop(old);
        let ledger = Ledger::open(&path).expect("brought up to date");
        let text = |sql: &str| ledger.connection.query_row(sql, [], |row| row.get::<_, String>(0)).expect("a row");
        assert_eq!(text("SELECT state || document FROM job WHERE id = 'j'"), r#"sent{"state":"sent","id":"j"}"#);
        assert_eq!(text("SELECT state FROM delivery"), "sent");
        assert_eq!(text("SELECT state FROM job WHERE id = 'shadow'"), "delivered", "it had no destination");
    }
}
