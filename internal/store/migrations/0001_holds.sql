-- +goose Up
CREATE TABLE holds (
    id         TEXT PRIMARY KEY,
    state      TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'expired', 'withdrawn', 'running', 'done', 'unknown')),
    connection TEXT NOT NULL,
    principal  TEXT NOT NULL,
    hash       TEXT NOT NULL,
    body       TEXT NOT NULL,
    outcome    TEXT NOT NULL DEFAULT '',
    created    BIGINT NOT NULL,
    expires    BIGINT NOT NULL,
    changed    BIGINT NOT NULL
);
CREATE INDEX holds_by_state ON holds (state, created);
CREATE TABLE answers (
    hold    TEXT NOT NULL REFERENCES holds (id),
    person  TEXT NOT NULL,
    name    TEXT NOT NULL,
    approve BOOLEAN NOT NULL,
    reason  TEXT NOT NULL,
    groups  TEXT NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY (hold, person)
);
-- +goose Down
DROP TABLE answers;
DROP TABLE holds;
