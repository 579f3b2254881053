-- +goose Up
CREATE TABLE windows (
    id         TEXT PRIMARY KEY,
    state      TEXT NOT NULL CHECK (state IN ('open', 'ended', 'reviewed')),
    connection TEXT NOT NULL,
    kind       TEXT NOT NULL,
    principal  TEXT NOT NULL,
    body       TEXT NOT NULL,
    opened     BIGINT NOT NULL
);
CREATE UNIQUE INDEX windows_open ON windows (kind, principal, connection) WHERE state = 'open';
CREATE INDEX windows_by_time ON windows (opened);
CREATE TABLE window_sessions (
    window_id TEXT NOT NULL REFERENCES windows (id),
    session   TEXT NOT NULL,
    since     BIGINT NOT NULL,
    PRIMARY KEY (window_id, session)
);
-- +goose Down
DROP TABLE window_sessions;
DROP TABLE windows;
