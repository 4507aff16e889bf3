-- +goose Up
-- Times are milliseconds since 1970, as on the wire. A run has a number beside its id, which every other table uses.
CREATE TABLE experiment_sequence (
    name TEXT   NOT NULL PRIMARY KEY,
    last BIGINT NOT NULL
);
INSERT INTO experiment_sequence (name, last) VALUES ('experiment', 0), ('run', 0), ('dataset', 0),
    ('model', 0), ('trace', 0);

CREATE TABLE experiment_experiment (
    id       INTEGER NOT NULL PRIMARY KEY,
    name     TEXT    NOT NULL UNIQUE,
    location TEXT    NOT NULL,
    stage    TEXT    NOT NULL,
    created  BIGINT  NOT NULL,
    updated  BIGINT  NOT NULL
);

CREATE TABLE experiment_experiment_tag (
    experiment INTEGER NOT NULL REFERENCES experiment_experiment (id) ON DELETE CASCADE,
    key        TEXT    NOT NULL,
    head       TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    PRIMARY KEY (experiment, key)
);

CREATE TABLE experiment_run (
    id         INTEGER NOT NULL PRIMARY KEY,
    run_id     TEXT    NOT NULL UNIQUE,
    experiment INTEGER NOT NULL REFERENCES experiment_experiment (id),
    name       TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    started    BIGINT  NOT NULL,
    ended      BIGINT,
    location   TEXT    NOT NULL,
    stage      TEXT    NOT NULL,
    deleted    BIGINT           -- when it was deleted
);
CREATE INDEX experiment_run_by_start ON experiment_run (experiment, stage, started, run_id);

CREATE TABLE experiment_metric (
    run    INTEGER  NOT NULL,
    key    TEXT     NOT NULL,
    at     BIGINT   NOT NULL,
    step   BIGINT   NOT NULL,
    value  DOUBLE PRECISION NOT NULL, -- 0 when it is not a number
    is_nan SMALLINT NOT NULL,
    PRIMARY KEY (run, key, at, step, value, is_nan)
);

-- The tables that a search scans carry the experiment, so that a scan sees no other one's rows, and of a text its first
-- bytes, the head, which an index can hold whatever the length of the text.
CREATE TABLE experiment_latest (
    run        INTEGER  NOT NULL,
    experiment INTEGER  NOT NULL,
    key        TEXT     NOT NULL,
    at         BIGINT   NOT NULL,
    step       BIGINT   NOT NULL,
    value      DOUBLE PRECISION NOT NULL,
    is_nan     SMALLINT NOT NULL,
    PRIMARY KEY (run, key)
);
CREATE INDEX experiment_latest_by_value ON experiment_latest (experiment, key, value, run, is_nan);

CREATE TABLE experiment_param (
    run        INTEGER NOT NULL,
    experiment INTEGER NOT NULL,
    key        TEXT    NOT NULL,
    head       TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    PRIMARY KEY (run, key)
);
CREATE INDEX experiment_param_by_value ON experiment_param (experiment, key, head, run);

CREATE TABLE experiment_tag (
    run        INTEGER NOT NULL,
    experiment INTEGER NOT NULL,
    key        TEXT    NOT NULL,
    head       TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    PRIMARY KEY (run, key)
);
CREATE INDEX experiment_tag_by_value ON experiment_tag (experiment, key, head, run);

CREATE TABLE experiment_dataset (
    id          INTEGER NOT NULL PRIMARY KEY,
    experiment  INTEGER NOT NULL,
    name        TEXT    NOT NULL,
    digest      TEXT    NOT NULL,
    source_type TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    schema      TEXT    NOT NULL,
    profile     TEXT    NOT NULL,
    UNIQUE (experiment, name, digest)
);

CREATE TABLE experiment_input (
    run     INTEGER NOT NULL,
    dataset INTEGER NOT NULL,
    PRIMARY KEY (run, dataset)
);
CREATE INDEX experiment_input_by_dataset ON experiment_input (dataset, run);

CREATE TABLE experiment_input_tag (
    run     INTEGER NOT NULL,
    dataset INTEGER NOT NULL,
    key     TEXT    NOT NULL,
    value   TEXT    NOT NULL,
    PRIMARY KEY (run, dataset, key)
);

CREATE TABLE experiment_run_model (
    run      INTEGER  NOT NULL,
    is_input SMALLINT NOT NULL, -- 1 when the run used the model, 0 when it made it
    model_id TEXT     NOT NULL,
    step     BIGINT   NOT NULL,
    PRIMARY KEY (run, is_input, model_id, step)
);

CREATE TABLE experiment_model (
    id         INTEGER NOT NULL PRIMARY KEY,
    model_id   TEXT    NOT NULL UNIQUE,
    experiment INTEGER NOT NULL REFERENCES experiment_experiment (id),
    name       TEXT    NOT NULL,
    created    BIGINT  NOT NULL,
    updated    BIGINT  NOT NULL,
    location   TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    model_type TEXT    NOT NULL,
    source_run TEXT    NOT NULL,
    stage      TEXT    NOT NULL
);
CREATE INDEX experiment_model_by_experiment ON experiment_model (experiment, stage, created);

CREATE TABLE experiment_model_param (
    model      INTEGER NOT NULL,
    experiment INTEGER NOT NULL,
    key        TEXT    NOT NULL,
    head       TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    PRIMARY KEY (model, key)
);

CREATE TABLE experiment_model_tag (
    model      INTEGER NOT NULL,
    experiment INTEGER NOT NULL,
    key        TEXT    NOT NULL,
    head       TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    PRIMARY KEY (model, key)
);

CREATE TABLE experiment_model_metric (
    model          INTEGER  NOT NULL,
    experiment     INTEGER  NOT NULL,
    key            TEXT     NOT NULL,
    at             BIGINT   NOT NULL,
    step           BIGINT   NOT NULL,
    run_id         TEXT     NOT NULL,
    value          DOUBLE PRECISION NOT NULL,
    is_nan         SMALLINT NOT NULL,
    dataset_name   TEXT     NOT NULL,
    dataset_digest TEXT     NOT NULL,
    PRIMARY KEY (model, key, at, step, run_id, dataset_name, dataset_digest)
);
CREATE INDEX experiment_model_metric_by_value ON experiment_model_metric (experiment, key, value, model, is_nan);

CREATE TABLE experiment_trace (
    id                INTEGER NOT NULL PRIMARY KEY,
    trace_id          TEXT    NOT NULL UNIQUE,
    experiment        INTEGER NOT NULL REFERENCES experiment_experiment (id),
    at                BIGINT  NOT NULL, -- when the request came
    duration          BIGINT,           -- milliseconds
    state             TEXT    NOT NULL,
    client_request_id TEXT    NOT NULL,
    request           TEXT    NOT NULL,
    response          TEXT    NOT NULL,
    assessments       TEXT    NOT NULL, -- a JSON array
    finalized         SMALLINT NOT NULL -- 1 when the client has said what the trace is, not only its spans
);
CREATE INDEX experiment_trace_by_time ON experiment_trace (experiment, at, trace_id);

CREATE TABLE experiment_trace_tag (
    trace      INTEGER NOT NULL,
    experiment INTEGER NOT NULL,
    key        TEXT    NOT NULL,
    head       TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    PRIMARY KEY (trace, key)
);
CREATE INDEX experiment_trace_tag_by_value ON experiment_trace_tag (experiment, key, head, trace);

CREATE TABLE experiment_trace_metadata (
    trace      INTEGER NOT NULL,
    experiment INTEGER NOT NULL,
    key        TEXT    NOT NULL,
    head       TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    PRIMARY KEY (trace, key)
);
CREATE INDEX experiment_trace_metadata_by_value ON experiment_trace_metadata (experiment, key, head, trace);

CREATE TABLE experiment_span (
    trace      INTEGER NOT NULL,
    span_id    TEXT    NOT NULL,
    experiment INTEGER NOT NULL,
    parent     TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    span_type  TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    started    BIGINT  NOT NULL, -- nanoseconds since 1970, as is the next
    ended      BIGINT  NOT NULL,
    attributes TEXT    NOT NULL, -- a JSON object of strings
    wire       TEXT    NOT NULL, -- the span as it is given back, JSON
    PRIMARY KEY (trace, span_id)
);
-- Runs that a trace was linked to after the fact.
CREATE TABLE experiment_trace_run (
    trace      INTEGER NOT NULL,
    experiment INTEGER NOT NULL,
    run_id     TEXT    NOT NULL,
    PRIMARY KEY (trace, run_id)
);

CREATE INDEX experiment_span_by_name ON experiment_span (experiment, name, trace);

-- The files of the artifacts and their directories, each beneath its parent; the root is the parent ''.
CREATE TABLE experiment_artifact (
    parent TEXT   NOT NULL,
    name   TEXT   NOT NULL,
    digest TEXT   NOT NULL, -- empty for a directory
    size   BIGINT NOT NULL, -- bytes
    PRIMARY KEY (parent, name)
);
CREATE INDEX experiment_artifact_by_digest ON experiment_artifact (digest);

CREATE TABLE experiment_upload (
    upload  TEXT   NOT NULL PRIMARY KEY,
    path    TEXT   NOT NULL,
    started BIGINT NOT NULL
);

CREATE TABLE experiment_part (
    upload TEXT    NOT NULL REFERENCES experiment_upload (upload) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    digest TEXT    NOT NULL,
    size   BIGINT  NOT NULL,
    PRIMARY KEY (upload, number)
);
CREATE INDEX experiment_part_by_digest ON experiment_part (digest);
