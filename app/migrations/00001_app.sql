-- +goose Up
-- Who this database is, so that a data directory is not used with another.
CREATE TABLE app_identity (
    one  BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    name TEXT   NOT NULL
);
