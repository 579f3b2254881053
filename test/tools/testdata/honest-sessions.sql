-- Statements that leave something behind in a session, in the format of honest.sql.

-- @copy-table
COPY products TO STDOUT
-- @copy-columns-csv
COPY orders (id, status, total) TO STDOUT WITH (FORMAT csv, HEADER, DELIMITER ';', FORCE_QUOTE *)
-- @copy-old-syntax
COPY products (id, name) TO STDOUT WITH CSV HEADER QUOTE '"' FORCE QUOTE name
-- @copy-binary
COPY products TO STDOUT (FORMAT binary)
-- @copy-null-escape
COPY (SELECT id, NULL, 'a"b', E'tab\tline\n' FROM products WHERE id < 3 ORDER BY id) TO STDOUT (FORMAT csv, NULL 'none', ESCAPE '\')
-- @copy-query
COPY (SELECT status, count(*) FROM orders GROUP BY 1 ORDER BY 1) TO STDOUT
-- @copy-header-false
COPY (SELECT 1 AS one) TO STDOUT (FORMAT csv, HEADER false)
-- @copy-header-one
COPY (SELECT 1 AS one) TO STDOUT (HEADER 1)
-- @copy-values
COPY (VALUES (1, 'x'), (2, NULL)) TO STDOUT (ENCODING 'UTF8')
-- @copy-returning
COPY (INSERT INTO notes (id, event_id, note, rating) VALUES (2000, 1, 'new', 5) RETURNING id, note) TO STDOUT
-- @copy-labelled labelled
COPY customers (id, name, email) TO STDOUT (FORMAT csv, HEADER)
-- @copy-labelled-query labelled
COPY (SELECT c FROM customers c WHERE id < 10) TO STDOUT
-- @copy-between simple
SELECT 1; COPY (SELECT 2) TO STDOUT; SELECT 3
-- @copy-wrong-option
COPY products TO STDOUT (FORMAT yaml)
-- refused: no such format
-- @copy-error
COPY (SELECT 1/(3-g) FROM generate_series(1,5) g) TO STDOUT
-- @cursor simple
DECLARE c CURSOR FOR SELECT id, name FROM products ORDER BY id; FETCH 2 FROM c; FETCH c; FETCH NEXT c; MOVE 3 IN c; FETCH FORWARD 2 FROM c; CLOSE c
-- @cursor-scroll simple
DECLARE "A c" SCROLL CURSOR WITHOUT HOLD FOR SELECT id FROM products ORDER BY id; FETCH LAST FROM "A c"; FETCH PRIOR FROM "A c"; FETCH FIRST FROM "A c"; FETCH ABSOLUTE 5 FROM "A c"; FETCH RELATIVE -2 FROM "A c"; FETCH BACKWARD 2 FROM "A c"; MOVE FORWARD ALL IN "A c"; FETCH BACKWARD ALL IN "A c"; FETCH ABSOLUTE 0 "A c"; FETCH RELATIVE 0 "A c"
-- @cursor-binary simple
DECLARE c BINARY INSENSITIVE NO SCROLL CURSOR FOR SELECT id, name FROM products WHERE id < 4 ORDER BY id; FETCH ALL IN c
-- @cursor-no-scroll simple
DECLARE c NO SCROLL CURSOR FOR SELECT id FROM products ORDER BY id; FETCH 2 FROM c; FETCH BACKWARD 1 FROM c
-- @cursor-twice simple
DECLARE c CURSOR FOR SELECT 1; CLOSE ALL; DECLARE c CURSOR FOR SELECT 2; FETCH c
-- @cursor-savepoint simple
SAVEPOINT s; DECLARE c CURSOR FOR SELECT id FROM products ORDER BY id; FETCH c; RELEASE s; FETCH c
-- @cursor-labelled simple labelled
DECLARE c CURSOR FOR SELECT id, email FROM customers ORDER BY id; FETCH 5 FROM c; MOVE c; FETCH c
-- @cursor-update simple
DECLARE c CURSOR FOR SELECT id FROM products WHERE id < 4 ORDER BY id FOR UPDATE; FETCH c
-- @prepare simple
PREPARE p_1 AS SELECT id, name FROM products WHERE id = $1; EXECUTE p_1(1); EXECUTE p_1(1 + 1); DEALLOCATE p_1
-- @prepare-types simple
PREPARE p_2(text, int[], timestamptz) AS SELECT $1, $2, $3; EXECUTE p_2('x', '{1,2}', '2024-01-01 00:00+00'); DEALLOCATE PREPARE p_2
-- @prepare-insert simple
PREPARE p_3(int) AS INSERT INTO notes (id, event_id, note, rating) VALUES ($1, 1, 'x', 5) RETURNING id; EXECUTE p_3(3000); EXECUTE p_3(3001); DEALLOCATE ALL
-- @prepare-update simple
PREPARE p_4 AS UPDATE products SET price = price + $1 WHERE id < $2; EXECUTE p_4(1.5, 4); DEALLOCATE p_4
-- @prepare-values simple
PREPARE p_5 AS VALUES (1), (2); EXECUTE p_5; DEALLOCATE p_5
-- @prepare-labelled simple labelled
PREPARE p_6 AS SELECT email FROM customers WHERE id = $1; EXECUTE p_6(3); DEALLOCATE p_6
-- @prepare-wrong-arguments simple
PREPARE p_7(int) AS SELECT $1; EXECUTE p_7(1, 2)
-- @deallocate-all simple
DEALLOCATE ALL
-- @set-show simple
SET LOCAL statement_timeout = '7s'; SHOW statement_timeout; SET LOCAL timezone TO 'Asia/Tokyo'; SHOW timezone; SELECT '2024-01-01 00:00+00'::timestamptz
-- @set-datestyle simple
SET LOCAL datestyle = 'German'; SELECT '2024-02-01'::date; SET LOCAL intervalstyle TO iso_8601; SELECT '1 day 2 hours'::interval
-- @set-floats simple
SET LOCAL extra_float_digits TO 0; SELECT 0.1::float8 + 0.2::float8
-- @set-pinned simple
SET standard_conforming_strings TO on; SET client_encoding TO 'UTF8'; SET client_min_messages TO warning; SET bytea_output = hex; SELECT '\x41'::bytea
-- @set-planner simple
SET LOCAL enable_seqscan = off; SET LOCAL work_mem = '32MB'; SHOW work_mem
-- @set-config
SELECT set_config('TimeZone', 'UTC', true), current_setting('TimeZone')
-- @set-path simple
SET LOCAL search_path TO nowhere, public; SHOW search_path; SELECT count(*) FROM products; SELECT current_setting('search_path')
-- @set-config-path simple
SELECT pg_catalog.set_config('search_path', '', true); SELECT count(*) FROM public.products; SHOW search_path
-- @reset simple
SET LOCAL statement_timeout = '7s'; RESET statement_timeout; SHOW statement_timeout; RESET ALL
-- @set-transaction
SET TRANSACTION ISOLATION LEVEL SERIALIZABLE
-- @show-isolation
SHOW TRANSACTION ISOLATION LEVEL
-- @show
SHOW server_version
-- @discard-plans
DISCARD PLANS
-- @discard-in-transaction
DISCARD ALL
-- @savepoints simple
SAVEPOINT a; INSERT INTO notes (id, event_id, note, rating) VALUES (4000, 1, 'x', 5); ROLLBACK TO a; RELEASE SAVEPOINT a; SELECT count(*) FROM notes WHERE id = 4000
-- @lock simple
LOCK TABLE products IN ACCESS SHARE MODE; LOCK TABLE notes IN SHARE ROW EXCLUSIVE MODE
-- @advisory
SELECT pg_try_advisory_xact_lock(4711)
