-- +goose Up
CREATE TABLE outbox (
    id     TEXT PRIMARY KEY,
    target TEXT NOT NULL,
    event  TEXT NOT NULL,
    due    BIGINT NOT NULL,
    until  BIGINT NOT NULL,
    tries  BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX outbox_by_due ON outbox (target, due);
-- +goose Down
DROP TABLE outbox;
