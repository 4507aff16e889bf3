-- +goose Up
-- A model may be there before its first version, and carries what people write about it.
CREATE TABLE registry_model (
    name        TEXT   NOT NULL PRIMARY KEY,
    description TEXT   NOT NULL,
    tags        TEXT   NOT NULL, -- JSON
    created_at  BIGINT NOT NULL, -- microseconds since 1970, UTC
    updated_at  BIGINT NOT NULL
);

INSERT INTO registry_model (name, description, tags, created_at, updated_at)
SELECT model, '', '{}', MIN(created_at), MAX(created_at) FROM registry_version GROUP BY model;

-- Two versions may have one artifact, and a version may have none: the table is made anew without its UNIQUE.
CREATE TABLE registry_version_2 (
    model       TEXT   NOT NULL REFERENCES registry_model (name),
    number      BIGINT NOT NULL CHECK (number > 0), -- from 1, without gaps
    digest      TEXT   NOT NULL, -- empty when there is no artifact
    size        BIGINT NOT NULL,
    format      TEXT   NOT NULL,
    parent      BIGINT NOT NULL,
    data_digest TEXT   NOT NULL,
    code        TEXT   NOT NULL,
    parameters  TEXT   NOT NULL, -- JSON, as are the next three
    metrics     TEXT   NOT NULL,
    inputs      TEXT   NOT NULL,
    outputs     TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    created_by  TEXT   NOT NULL,
    source      TEXT   NOT NULL,
    run_id      TEXT   NOT NULL,
    unservable  TEXT   NOT NULL, -- why it cannot be served; empty when it can
    model_id    TEXT   NOT NULL,
    run_link    TEXT   NOT NULL,
    storage     TEXT   NOT NULL, -- where its files are; empty when the source says so
    description TEXT,
    stage       TEXT   NOT NULL,
    tags        TEXT   NOT NULL, -- JSON
    gates       TEXT   NOT NULL, -- JSON
    updated_at  BIGINT NOT NULL,
    deleted_at  BIGINT NOT NULL, -- 0 while it is there
    PRIMARY KEY (model, number)
);

INSERT INTO registry_version_2
SELECT model, number, digest, size, format, parent, data_digest, code, parameters, metrics, inputs, outputs, created_at,
    created_by, '', '', '', '', '', '', NULL, 'None', '{}', '{}', created_at, 0
FROM registry_version;

CREATE TABLE registry_alias_2 (
    model  TEXT   NOT NULL,
    alias  TEXT   NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (model, alias),
    FOREIGN KEY (model, number) REFERENCES registry_version_2 (model, number)
);

INSERT INTO registry_alias_2 SELECT model, alias, number FROM registry_alias;

DROP TABLE registry_alias;
DROP TABLE registry_version;
ALTER TABLE registry_version_2 RENAME TO registry_version;
ALTER TABLE registry_alias_2 RENAME TO registry_alias;
CREATE INDEX registry_version_digest ON registry_version (model, digest);

-- What became of the aliases, for the lineage of a version: the ledger has the same, in one chain with all else.
CREATE TABLE registry_move (
    id         BIGINT NOT NULL PRIMARY KEY,
    model      TEXT   NOT NULL,
    alias      TEXT   NOT NULL,
    from_number BIGINT NOT NULL, -- 0 when the alias was not there
    to_number   BIGINT NOT NULL, -- 0 when it was removed
    moved_by   TEXT   NOT NULL,
    entry      BIGINT NOT NULL, -- of the ledger; 0 for none
    why        TEXT   NOT NULL,
    moved_at   BIGINT NOT NULL
);
CREATE INDEX registry_move_model ON registry_move (model, id);

-- Who has approved an entry that needs several people.
CREATE TABLE registry_approval (
    entry       BIGINT NOT NULL,
    approved_by TEXT   NOT NULL,
    why         TEXT   NOT NULL,
    approved_at BIGINT NOT NULL,
    PRIMARY KEY (entry, approved_by)
);
