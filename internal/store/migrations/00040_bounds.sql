-- +goose Up
ALTER TABLE answers ADD COLUMN max_rows BIGINT NOT NULL DEFAULT 0;
-- +goose Down
ALTER TABLE answers DROP COLUMN max_rows;
