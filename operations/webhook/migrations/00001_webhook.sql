-- +goose Up
-- Times are microseconds since 1970.
CREATE TABLE webhook_hooks (
    id          TEXT   NOT NULL PRIMARY KEY,
    name        TEXT   NOT NULL,
    description TEXT   NOT NULL,
    url         TEXT   NOT NULL,
    secret      TEXT   NOT NULL, -- as given; empty for none
    status      TEXT   NOT NULL,
    created     BIGINT NOT NULL,
    updated     BIGINT NOT NULL
);

-- What a webhook is told of, and since when.
CREATE TABLE webhook_subscriptions (
    hook  TEXT   NOT NULL REFERENCES webhook_hooks (id) ON DELETE CASCADE,
    place BIGINT NOT NULL,
    event TEXT   NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (hook, event)
);

-- How far the ledger has been followed.
CREATE TABLE webhook_cursors (
    name TEXT   NOT NULL PRIMARY KEY,
    seq  BIGINT NOT NULL
);
INSERT INTO webhook_cursors (name, seq) VALUES ('ledger', 0);

-- What is still to be sent. An event of the ledger may have several parts.
CREATE TABLE webhook_deliveries (
    id       TEXT   NOT NULL PRIMARY KEY,
    hook     TEXT   NOT NULL REFERENCES webhook_hooks (id) ON DELETE CASCADE,
    seq      BIGINT NOT NULL,
    part     BIGINT NOT NULL,
    body     TEXT   NOT NULL,
    attempts BIGINT NOT NULL,
    due      BIGINT NOT NULL,
    UNIQUE (hook, seq, part)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due);

-- +goose Down
DROP TABLE webhook_deliveries;
DROP TABLE webhook_cursors;
DROP TABLE webhook_subscriptions;
DROP TABLE webhook_hooks;
