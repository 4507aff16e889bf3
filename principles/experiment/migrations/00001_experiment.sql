-- +goose Up
-- Times are milliseconds since 1970, as on the wire. A run has a number beside its id, which every other table uses.
CREATE TABLE experiment_sequence (
    name TEXT   NOT NULL PRIMARY KEY,
    last BIGINT NOT NULL
);
INSERT INTO experiment_sequence (name, last) VALUES ('experiment', 0), ('run', 0), ('model', 0), ('trace', 0);

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

CREATE TABLE experiment_latest (
    run    INTEGER  NOT NULL,
    key    TEXT     NOT NULL,
    at     BIGINT   NOT NULL,
    step   BIGINT   NOT NULL,
    value  DOUBLE PRECISION NOT NULL,
    is_nan SMALLINT NOT NULL,
    PRIMARY KEY (run, key)
);
CREATE INDEX experiment_latest_by_value ON experiment_latest (key, value, run, is_nan);

CREATE TABLE experiment_param (
    run   INTEGER NOT NULL,
    key   TEXT    NOT NULL,
    value TEXT    NOT NULL,
    PRIMARY KEY (run, key)
);

CREATE TABLE experiment_tag (
    run   INTEGER NOT NULL,
    key   TEXT    NOT NULL,
    value TEXT    NOT NULL,
    PRIMARY KEY (run, key)
);
