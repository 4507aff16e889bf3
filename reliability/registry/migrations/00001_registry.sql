-- +goose Up
CREATE TABLE registry_version (
    model       TEXT   NOT NULL,
    number      BIGINT NOT NULL CHECK (number > 0), -- from 1, without gaps
    digest      TEXT   NOT NULL,
    size        BIGINT NOT NULL,
    format      TEXT   NOT NULL,
    parent      BIGINT NOT NULL,
    data_digest TEXT   NOT NULL,
    code        TEXT   NOT NULL,
    parameters  TEXT   NOT NULL, -- JSON, as are the next three
    metrics     TEXT   NOT NULL,
    inputs      TEXT   NOT NULL,
    outputs     TEXT   NOT NULL,
    created_at  BIGINT NOT NULL, -- microseconds since 1970, UTC
    created_by  TEXT   NOT NULL,
    PRIMARY KEY (model, number),
    UNIQUE (model, digest)
);

CREATE TABLE registry_alias (
    model  TEXT   NOT NULL,
    alias  TEXT   NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (model, alias),
    FOREIGN KEY (model, number) REFERENCES registry_version (model, number)
);
