-- +goose Up
CREATE TABLE meter_usage (
    hour     BIGINT NOT NULL, -- hours since 1970, UTC
    caller   TEXT   NOT NULL,
    model    TEXT   NOT NULL,
    version  BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    failed   BIGINT NOT NULL,
    num_rows BIGINT NOT NULL,
    compute  BIGINT NOT NULL, -- nanoseconds
    PRIMARY KEY (hour, caller, model, version)
);

-- +goose Down
DROP TABLE meter_usage;
