-- What the honest statements need besides the shop: a value of each type, a tree, events. Always the same rows.
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN price AS numeric(10,2) CHECK (VALUE >= 0);
CREATE DOMAIN code AS text CHECK (VALUE ~ '^[A-Z]{3}$');
CREATE TYPE address AS (street text, number int, city text);
CREATE TYPE weightrange AS RANGE (subtype = float8);
CREATE SCHEMA staff;
GRANT USAGE ON SCHEMA staff TO gatehouse;
CREATE TABLE staff.people (id int PRIMARY KEY, name text NOT NULL, boss int REFERENCES staff.people, hired date, salary numeric(9,2));
INSERT INTO staff.people VALUES (1, 'Root', NULL, '2015-01-01', 9000), (2, 'Ann', 1, '2016-03-04', 7000.5), (3, 'Bob', 1, '2017-05-06', 6500),
	(4, 'Cid', 2, '2018-07-08', 5000), (5, 'Dot', 2, '2019-09-10', 5000), (6, 'Eve', 4, '2020-11-12', 4000);
GRANT SELECT, INSERT, UPDATE, DELETE ON staff.people TO gatehouse;

CREATE TABLE everything (
	id int PRIMARY KEY, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric(12,3), m money, b bool,
	t text, v varchar(30), c char(5), nm name, ch "char", by bytea, bi bit(4), vb varbit(10), u uuid,
	d date, tm time, tmz timetz, ts timestamp, tsz timestamptz, iv interval,
	j json, jb jsonb, x xml, ip inet, cd cidr, mac macaddr, mac8 macaddr8, o oid,
	p point, bx box, ls lseg, pa path, po polygon, ci circle, li line,
	tv tsvector, tq tsquery, r4 int4range, rn numrange, rd daterange, rt tstzrange, mr int4multirange,
	a4 int4[], at text[], a2 int4[][], ad date[], an numeric[], aj jsonb[],
	mo mood, mos mood[], pr price, co code, jp jsonpath, lsn pg_lsn
);
INSERT INTO everything VALUES
	(1, 2, 4, 8, 1.5, 2.25, 123.456, 12.34, true, 'text', 'var', 'ch', 'nam', 'z', '\xdeadbeef', B'1010', B'101', '00000000-0000-4000-8000-000000000001',
	'2024-02-29', '12:34:56.789', '12:34:56+02', '2024-02-29 12:34:56.789', '2024-02-29 12:34:56.789+00', '1 year 2 mons 3 days 04:05:06.7',
	'{"a": [1, 2, {"b": null}]}', '{"a": [1, 2, {"b": null}], "s": "x", "n": 1.50}', '<r><e a="1">t</e></r>', '10.1.2.3/16', '10.1.0.0/16', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', 42,
	'(1,2)', '((1,1),(0,0))', '((0,0),(3,4))', '((0,0),(1,1),(2,0))', '((0,0),(1,1),(2,0))', '<(1,2),3>', '{1,-1,0}',
	to_tsvector('english', 'The quick brown foxes'), 'quick & !slow', '[1,10)', '(1.5,2.5]', '[2024-01-01,2024-02-01)', '[2024-01-01 00:00+00,2024-01-02 00:00+00)', '{[1,3),[5,7)}',
	'{1,2,3}', '{a,"b c",NULL}', '{{1,2},{3,4}}', '{2024-01-01,2024-12-31}', '{1.10,2.20}', ARRAY['{"k": 1}'::jsonb, '[]'],
	'happy', '{sad,ok}', 9.99, 'ABC', '$.a[*] ? (@ > 1)', '16/B374D848'),
	(2, -2, -4, -8, 'NaN', 'Infinity', -0.001, -1, false, '', 'ünïcødé ☃', '', '', '', '', B'0000', B'', 'ffffffff-ffff-4fff-bfff-ffffffffffff',
	'infinity', '00:00', '23:59:59-12', '-infinity', 'infinity', '-1 day', 'null', 'null', '', '::1', '::/0', 'ff:ff:ff:ff:ff:ff', 'ff:ff:ff:ff:ff:ff:ff:ff', 0,
	'(-1.5,0)', '((2,2),(1,1))', '((1,1),(2,2))', '[(0,0),(1,1)]', '((0,0),(0,1),(1,1),(1,0))', '<(0,0),0>', '{0,1,2}',
	'', 'a | b', 'empty', '(,)', '(,2024-01-01)', '[,]', '{}', '{}', '{}', '{}', '{}', '{NaN}', '{}', 'sad', '{}', 0, 'XYZ', '$', '0/0');
INSERT INTO everything (id) VALUES (3);

CREATE TABLE events (
	id int PRIMARY KEY, happened timestamptz NOT NULL, during tstzrange, seats int4range, feeling mood, tags text[] NOT NULL,
	payload jsonb NOT NULL, body text NOT NULL, ticket price, venue address, search tsvector GENERATED ALWAYS AS (to_tsvector('english', body)) STORED
);
INSERT INTO events
SELECT i, '2024-01-01 00:00+00'::timestamptz + i * interval '7 hours 13 minutes',
	tstzrange('2024-01-01 00:00+00'::timestamptz + i * interval '1 day', '2024-01-03 00:00+00'::timestamptz + i * interval '1 day'),
	int4range(i, i + 10), (ARRAY['sad','ok','happy'])[1 + i % 3]::mood,
	ARRAY['tag' || i % 4, 'all'] || CASE WHEN i % 5 = 0 THEN ARRAY['five'] ELSE '{}' END,
	jsonb_build_object('kind', (ARRAY['concert','talk','play'])[1 + i % 3], 'visitors', i * 37 % 100, 'nested', jsonb_build_object('list', jsonb_build_array(i, i * 2), 'flag', i % 2 = 0)),
	(ARRAY['The quick brown fox jumps', 'A lazy dog sleeps all day', 'Foxes and dogs are running', 'Nothing to see here'])[1 + i % 4],
	i * 1.25, ROW('Main St', i, 'Town ' || i % 3)::address
FROM generate_series(1, 60) i;
CREATE TABLE notes (id int PRIMARY KEY, event_id int REFERENCES events, note text COLLATE "C", rating int CHECK (rating BETWEEN 1 AND 5), UNIQUE (event_id, note));
INSERT INTO notes SELECT i, 1 + i % 60, 'note ' || i, 1 + i % 5 FROM generate_series(1, 120) i;
CREATE VIEW happy_events AS SELECT id, happened, body, payload ->> 'kind' AS kind FROM events WHERE feeling = 'happy';
CREATE MATERIALIZED VIEW order_totals AS SELECT customer_id, count(*) AS orders, sum(total) AS total FROM orders GROUP BY customer_id;
CREATE TABLE measures (id int, at date, value float8) PARTITION BY RANGE (at);
CREATE TABLE measures_2023 PARTITION OF measures FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
CREATE TABLE measures_2024 PARTITION OF measures FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
INSERT INTO measures SELECT i, date '2023-06-01' + i * 3, sin(i) FROM generate_series(1, 150) i;
ANALYZE;

-- What clients of every language write to, and leave empty.
CREATE TABLE drivers (id int PRIMARY KEY, n numeric(12,2), t text, b bool, d date, ts timestamptz, u uuid, j json, jb jsonb, by bytea, a int[], at text[], f float8, big int8, iv interval);
