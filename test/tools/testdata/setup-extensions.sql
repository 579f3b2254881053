-- Extensions whose types and operators must keep their meaning.
CREATE EXTENSION citext;
CREATE EXTENSION hstore;
CREATE EXTENSION pg_trgm;
CREATE EXTENSION ltree;
CREATE EXTENSION intarray;
CREATE EXTENSION unaccent;
CREATE EXTENSION fuzzystrmatch;
CREATE EXTENSION btree_gist;
CREATE EXTENSION btree_gin;
CREATE EXTENSION pgcrypto;
CREATE EXTENSION "uuid-ossp";
CREATE DOMAIN login AS citext CHECK (VALUE <> '');
CREATE TABLE people (id int PRIMARY KEY, email citext UNIQUE, nick login, attrs hstore, path ltree, nums int[], name text, tags citext[], during tsrange);
INSERT INTO people VALUES
	(1, 'Ada@Corp.Example', 'Ada', 'a=>1, b=>x, c=>NULL', 'Top.Science.Math', '{1,2,3}', 'Ada Lovelace', '{Red,BLUE}', '[2024-01-01,2024-02-01)'),
	(2, 'bob@corp.example', 'bOB', 'a=>2', 'Top.Arts', '{3,4}', 'Bób Ångström', '{green}', '[2024-03-01,2024-04-01)'),
	(3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE INDEX ON people USING gist (name gist_trgm_ops);
CREATE INDEX ON people USING gin (attrs);
