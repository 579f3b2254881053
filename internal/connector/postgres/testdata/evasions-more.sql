-- Ways around the guard that were found by looking for them, in the format of evasions.sql (set-up:
-- evasions-setup.sql, then evasions-more-setup.sql). mailbox.email is labelled too.
-- Format of an entry: see evasions.sql.
-- @m01 | sort | app | q | D\t2\t\nD\t1\t | DENY
VALUES (1),(2) ORDER BY CASE WHEN (SELECT email FROM public.customers WHERE id=1) LIKE 'alice.w@corp%' THEN -column1 ELSE column1 END
-- @m02 | sort | app | q | C\tSELECT 1 | DENY
VALUES (1) ORDER BY pg_sleep(0)::text
-- @m03 | names | app | q | alice\.w | DENY
UPDATE mailbox SET note='z' WHERE id=1 RETURNING (SELECT email FROM unnest(to_tsvector('cat')) AS email)
-- @m04 | names | app | q | alice\.w | DENY
DELETE FROM mailbox WHERE id=1 RETURNING (SELECT email FROM products CROSS JOIN unnest(to_tsvector('cat')) AS email)
-- @m05 | names | app | q | UPDATE 1 | DENY
UPDATE mailbox SET note='z' WHERE EXISTS (SELECT 1 FROM unnest(ARRAY(SELECT p FROM products p)) AS email WHERE email LIKE 'alice%')
-- @m06 | row | app | q | alice\.w | MASK
SELECT j FROM v_row WHERE id=1
-- @m07 | row | app | q | alice\.w | MASK
SELECT again::text FROM v_above
-- @m08 | row | app | q | alice\.w | MASK
SELECT c, list FROM boxes
-- @m09 | func | app | q | trigger ran | DENY
UPDATE events SET note='z'
;;
SELECT t FROM scratch
-- @m10 | func | app | q | noisy ran | DENY
SELECT 'x'::longer
-- @m11 | ddl | gw | q | 23514 | DENY
ALTER TABLE mailbox ADD COLUMN extra int CHECK (id<>1 OR email NOT LIKE 'alice%')
-- @m12 | ddl | gw | q | 23505 | DENY
INSERT INTO mailbox VALUES (3,'alice.w@corp.example','z')
;;
CREATE UNIQUE INDEX ON mailbox(email)
-- @m13 | func | app | x:parameter | noisy ran | DENY
SELECT $1 IS NULL
-- @m90 | explain | app | q | rows=1[0-9][0-9] | DENY
EXPLAIN SELECT count(*) FROM customers GROUP BY ssn HAVING ssn='111-22-3333'
-- @m91 | explain | app | q | rows=101 | DENY
PREPARE p AS SELECT id FROM customers WHERE ssn='111-22-3333'
;;
EXPLAIN (ANALYZE, TIMING OFF) EXECUTE p
-- @m92 | explain | app | q | 'alice% | DENY
EXPLAIN VERBOSE SELECT * FROM v_alice
-- @m93 | explain | app | q | ~~ 'alice | DENY
EXPLAIN SELECT id FROM v_alice WHERE id = 1
-- @m94 | explain | app | q | Rows Removed by Filter: 4[0-9][0-9] | DENY
EXPLAIN (ANALYZE, FORMAT TEXT, TIMING OFF) UPDATE customers SET name = name WHERE ssn='123-45-6789'
-- @m95 | explain | app | q | "Actual Rows": 101 | DENY
EXPLAIN (ANALYZE, FORMAT JSON) WITH c AS MATERIALIZED (SELECT ssn s FROM customers) SELECT 1 FROM c WHERE s='111-22-3333'
-- @m96 | view | app | q | right:4711 | DENY
SELECT 'right:' || id FROM v_right
-- @m97 | view | app | q | rows:1 | DENY
SELECT 'rows:' || count(*) FROM v_right WHERE id IS NOT NULL OR id IS NULL
-- @m98 | view | app | q | right:4711 | DENY
SELECT 'right:' || id FROM v_unnested
-- @m99 | view | app | q | chain:5711 | DENY
SELECT 'chain:' || id FROM v_chain
-- @m100 | view | app | q | order:Bob,Carol,Alice | MASK
SELECT 'order:' || string_agg(name, ',') FROM v_by_ssn
-- @m101 | view | app | q | place:Alice:[0-9] | MASK
SELECT 'place:' || name || ':' || place FROM v_ranked
-- @m102 | view | app | q | is-alice | MASK
SELECT name, who FROM v_ranked
