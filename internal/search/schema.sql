CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    id         INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    principal  INTEGER NOT NULL,
    connection TEXT    NOT NULL,
    protocol   TEXT    NOT NULL,
    opened     INTEGER NOT NULL -- microseconds since 1970, as all times here
) STRICT;

CREATE TABLE principals (
    id   INTEGER PRIMARY KEY,
    body TEXT NOT NULL UNIQUE, -- JSON
    text TEXT NOT NULL         -- what a search for a part of it looks at
) STRICT;

-- What was decided for many requests alike.
CREATE TABLE verdicts (
    id       INTEGER PRIMARY KEY,
    hash     BLOB NOT NULL UNIQUE,
    effect   TEXT NOT NULL,
    policies TEXT NOT NULL, -- JSON
    touches  TEXT NOT NULL  -- JSON
) STRICT;

-- What verdicts are found by: their policies, actions and objects.
CREATE TABLE marks (
    mark    BLOB    NOT NULL,
    verdict INTEGER NOT NULL,
    PRIMARY KEY (mark, verdict)
) STRICT, WITHOUT ROWID;

-- In the order in which they were recorded.
CREATE TABLE requests (
    id      INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    segment INTEGER NOT NULL, -- the entry that it is recorded in
    offset  INTEGER NOT NULL,
    verdict INTEGER NOT NULL,
    status  TEXT
) STRICT;
CREATE INDEX requests_at ON requests (at);

-- Where sessions are in the recordings: their first and last entry, and one now and then. Columns is where the columns of the
-- newest result are described by then; 0, 0: nowhere.
CREATE TABLE places (
    session         INTEGER NOT NULL,
    at              INTEGER NOT NULL,
    segment         INTEGER NOT NULL,
    offset          INTEGER NOT NULL,
    columns_segment INTEGER NOT NULL,
    columns_offset  INTEGER NOT NULL,
    PRIMARY KEY (session, at, segment, offset)
) STRICT, WITHOUT ROWID;

-- The words of each request, and in marks who asked, where, and its verdict. Nothing can be read back from it.
CREATE VIRTUAL TABLE words USING fts5 (text, marks, content = '', contentless_delete = 1, detail = full,
    tokenize = "unicode61 remove_diacritics 2 tokenchars '_'");
INSERT INTO words (words, rank) VALUES ('hashsize', 33554432);
