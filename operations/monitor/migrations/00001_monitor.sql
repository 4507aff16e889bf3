-- +goose Up
-- Model, version and role of predictions, numbered once.
CREATE TABLE monitor_series (
    id      BIGINT NOT NULL PRIMARY KEY,
    model   TEXT   NOT NULL,
    version BIGINT NOT NULL,
    role    TEXT   NOT NULL,
    UNIQUE (model, version, role)
);

-- How often each class was decided in each hour (hours since 1970).
CREATE TABLE monitor_counts (
    series   BIGINT NOT NULL,
    hour     BIGINT NOT NULL,
    decision TEXT   NOT NULL,
    n        BIGINT NOT NULL,
    PRIMARY KEY (series, hour, decision)
);

-- Predictions that wait for a label, many in a row. filter is a Bloom filter of their ids.
CREATE TABLE monitor_segments (
    seq     INTEGER NOT NULL PRIMARY KEY,
    entries BIGINT  NOT NULL,
    waiting BIGINT  NOT NULL, -- rows of predictions without a label
    last_at BIGINT  NOT NULL, -- of the newest prediction, microseconds since 1970
    filter  BLOB    NOT NULL,
    body    BLOB    NOT NULL
);

-- Predictions joined with their labels, in durable order. slot is a hash of id: its index stays small.
CREATE TABLE monitor_judgements (
    seq       INTEGER NOT NULL PRIMARY KEY,
    slot      BIGINT  NOT NULL,
    id        TEXT    NOT NULL,
    line      BIGINT  NOT NULL, -- row within the prediction
    series    BIGINT  NOT NULL,
    decision  TEXT    NOT NULL,
    truth     TEXT    NOT NULL,
    at        BIGINT  NOT NULL, -- of the prediction
    judged_at BIGINT  NOT NULL,
    judged_by TEXT    NOT NULL
);
CREATE INDEX monitor_judgements_slot ON monitor_judgements (slot);

-- The confusion matrix of each series in each hour of the prediction.
CREATE TABLE monitor_confusion (
    series   BIGINT NOT NULL,
    hour     BIGINT NOT NULL,
    decision TEXT   NOT NULL,
    truth    TEXT   NOT NULL,
    n        BIGINT NOT NULL,
    PRIMARY KEY (series, hour, decision, truth)
);

-- Running totals, in one row.
CREATE TABLE monitor_totals (
    one     BIGINT NOT NULL PRIMARY KEY,
    waiting BIGINT NOT NULL,
    expired BIGINT NOT NULL,
    evicted BIGINT NOT NULL,
    judged  BIGINT NOT NULL
);
INSERT INTO monitor_totals (one, waiting, expired, evicted, judged) VALUES (1, 0, 0, 0, 0);

-- Named states of those who follow the judgements.
CREATE TABLE monitor_states (
    name TEXT NOT NULL PRIMARY KEY,
    json TEXT NOT NULL
);

-- +goose Down
DROP TABLE monitor_states;
DROP TABLE monitor_totals;
DROP TABLE monitor_confusion;
DROP TABLE monitor_judgements;
DROP TABLE monitor_segments;
DROP TABLE monitor_counts;
DROP TABLE monitor_series;
