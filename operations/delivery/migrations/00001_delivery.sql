-- +goose Up
-- State of each rollout by the id of its ledger entry.
CREATE TABLE delivery_rollouts (
    id    BIGINT NOT NULL PRIMARY KEY,
    model TEXT   NOT NULL,
    over  BIGINT NOT NULL, -- 1 when promoted or withdrawn
    json  TEXT   NOT NULL
);
CREATE UNIQUE INDEX delivery_rollouts_active ON delivery_rollouts (model) WHERE over = 0;

-- +goose Down
DROP TABLE delivery_rollouts;
