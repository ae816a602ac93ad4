//! The tables of the ledger, one migration a version. A migration that was released is never changed.

/// `user_version` N means that the first N entries have been applied.
pub(super) const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE instance (
    study TEXT NOT NULL,
    series TEXT NOT NULL,
    sop TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (study, series, sop)
) WITHOUT ROWID;

CREATE TABLE series (
    study TEXT NOT NULL,
    series TEXT NOT NULL,
    state TEXT NOT NULL,
    last_at TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (study, series)
) WITHOUT ROWID;
CREATE INDEX series_by_time ON series (last_at);

CREATE TABLE job (
    id TEXT NOT NULL PRIMARY KEY,
    study TEXT NOT NULL,
    series TEXT NOT NULL,
    pipeline TEXT NOT NULL,
    state TEXT NOT NULL,
    cause TEXT NOT NULL,
    created_at TEXT NOT NULL,
    document TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX job_by_time ON job (created_at);

CREATE TABLE delivery (
    job TEXT NOT NULL REFERENCES job (id),
    destination TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (job, destination)
) WITHOUT ROWID;

CREATE TABLE history (
    sequence INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    study TEXT NOT NULL,
    series TEXT NOT NULL,
    job TEXT,
    text TEXT NOT NULL
);
CREATE INDEX history_by_series ON history (study, series);

-- What operators ask of the running gateway; it takes and deletes the rows.
CREATE TABLE request (
    sequence INTEGER PRIMARY KEY,
    job TEXT NOT NULL
);
",
    "
-- Series whose files are being removed; a row goes when they are gone.
CREATE TABLE removal (
    study TEXT NOT NULL,
    series TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (study, series)
) WITHOUT ROWID;

-- Jobs of removed series: they are made again when the series comes again.
CREATE TABLE gone (
    job TEXT NOT NULL PRIMARY KEY
) WITHOUT ROWID;
-- Storage commitment names an instance by its SOP Instance UID alone.
CREATE INDEX instance_by_sop ON instance (sop);

CREATE TABLE commitment (
    peer TEXT NOT NULL,
    transaction_uid TEXT NOT NULL,
    state TEXT NOT NULL,
    asked_at TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (peer, transaction_uid)
) WITHOUT ROWID;
CREATE INDEX commitment_by_time ON commitment (asked_at);

-- What was called delivered was answered with success; nobody was asked whether it has it.
UPDATE delivery SET state = 'sent' WHERE state = 'done';
UPDATE job SET state = 'sent', document = json_set(document, '$.state', 'sent')
    WHERE state = 'delivered' AND id IN (SELECT job FROM delivery);
",
    "
-- Series that are to be fetched from a peer. Operators write rows in state 'asked'; the gateway takes them.
CREATE TABLE retrieval (
    id TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    asked_at TEXT NOT NULL,
    document TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX retrieval_by_time ON retrieval (asked_at);
",
];
