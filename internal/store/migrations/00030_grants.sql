-- +goose Up
CREATE TABLE grants (
    id         TEXT PRIMARY KEY,
    state      TEXT NOT NULL CHECK (state IN ('pending', 'granted', 'denied', 'withdrawn', 'lapsed', 'expired', 'revoked')),
    connection TEXT NOT NULL,
    kind       TEXT NOT NULL,
    principal  TEXT NOT NULL,
    grp        TEXT NOT NULL,
    body       TEXT NOT NULL,
    asked      BIGINT NOT NULL,
    used       BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX grants_alive ON grants (kind, principal, connection, grp) WHERE state IN ('pending', 'granted');
CREATE INDEX grants_by_time ON grants (asked);
-- +goose Down
DROP TABLE grants;
