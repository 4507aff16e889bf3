-- +goose Up
CREATE TABLE access_key (
    id         TEXT   NOT NULL PRIMARY KEY,
    name       TEXT   NOT NULL,
    hash       TEXT   NOT NULL UNIQUE, -- SHA-256 of the secret, in hexadecimal; the secret itself is nowhere
    owner      BIGINT NOT NULL,        -- 1 for an owner
    created_at BIGINT NOT NULL,        -- microseconds since 1970, UTC
    created_by TEXT   NOT NULL,
    revoked_at BIGINT NOT NULL,        -- 0 while the key is good
    revoked_by TEXT   NOT NULL
);
CREATE UNIQUE INDEX access_key_name ON access_key (name) WHERE revoked_at = 0;

-- +goose Down
DROP TABLE access_key;
