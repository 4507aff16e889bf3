-- +goose Up
CREATE TABLE ledger_event (
    seq     BIGINT NOT NULL PRIMARY KEY, -- from 1, without gaps
    at      BIGINT NOT NULL,             -- microseconds since 1970, UTC
    what    TEXT   NOT NULL,
    actor   TEXT   NOT NULL,
    entry   BIGINT NOT NULL,             -- 0 when the event belongs to none
    kind    TEXT   NOT NULL,
    subject TEXT   NOT NULL,
    key     TEXT   NOT NULL,
    step    TEXT   NOT NULL,
    why     TEXT   NOT NULL,
    error   TEXT   NOT NULL,
    data    TEXT   NOT NULL,             -- JSON, or empty
    prev    TEXT   NOT NULL,             -- hash of the event before
    hash    TEXT   NOT NULL
);
CREATE INDEX ledger_event_entry ON ledger_event (entry, seq);

-- What the events amount to; it can be computed again from them.
CREATE TABLE ledger_entry (
    id          BIGINT NOT NULL PRIMARY KEY, -- seq of the event that proposed it
    key         TEXT   NOT NULL UNIQUE,
    kind        TEXT   NOT NULL,
    subject     TEXT   NOT NULL,
    state       TEXT   NOT NULL,
    payload     TEXT   NOT NULL,
    result      TEXT   NOT NULL,
    why         TEXT   NOT NULL,
    decision    TEXT   NOT NULL,
    proposed_by TEXT   NOT NULL,
    decided_by  TEXT   NOT NULL,
    error       TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);
CREATE INDEX ledger_entry_state ON ledger_entry (state, kind, id);

-- The newest event, so that one missing from the end is noticed.
CREATE TABLE ledger_head (
    one  BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    seq  BIGINT NOT NULL,
    hash TEXT   NOT NULL
);
INSERT INTO ledger_head (one, seq, hash) VALUES (1, 0, '');
