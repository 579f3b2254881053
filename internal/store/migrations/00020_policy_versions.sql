-- +goose Up
CREATE TABLE policy_files (
    hash  TEXT PRIMARY KEY,
    files TEXT NOT NULL
);
CREATE TABLE policy_versions (
    number      BIGINT PRIMARY KEY,
    base        BIGINT NOT NULL,
    hash        TEXT NOT NULL REFERENCES policy_files (hash),
    source      TEXT NOT NULL CHECK (source IN ('person', 'files')),
    author      TEXT NOT NULL,
    author_name TEXT NOT NULL,
    reason      TEXT NOT NULL,
    restores    BIGINT NOT NULL,
    approval    TEXT NOT NULL,
    approvers   TEXT NOT NULL,
    at          BIGINT NOT NULL
);
CREATE TABLE policy_in_force (
    effective TEXT NOT NULL,
    number    BIGINT NOT NULL REFERENCES policy_versions (number),
    since     BIGINT NOT NULL,
    PRIMARY KEY (effective, number)
);
ALTER TABLE holds ADD COLUMN kind TEXT NOT NULL DEFAULT 'request';
-- +goose Down
ALTER TABLE holds DROP COLUMN kind;
DROP TABLE policy_in_force;
DROP TABLE policy_versions;
DROP TABLE policy_files;
