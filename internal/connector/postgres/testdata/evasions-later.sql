-- Ways around the guard by temporary tables, copies, plans, views by column, MERGE and what comes back from writes, in the
-- format of evasions.sql.
-- @l01 | temp | app | q | alice\.w | MASK
CREATE TEMP TABLE x AS SELECT * FROM customers
;;
SELECT email, ssn FROM x
-- @l02 | temp | app | q | alice\.w | MASK
SELECT email AS e INTO TEMP x FROM customers WHERE id=1
;;
SELECT e FROM x
-- @l03 | temp | app | q | alice\.w | MASK
CREATE TEMP TABLE x(c text)
;;
INSERT INTO x SELECT c::text FROM customers c WHERE id=1
;;
TABLE x
-- @l04 | temp | app | q | alice\.w | DENY
CREATE TEMP TABLE x AS SELECT c, ARRAY[c] AS l FROM customers c WHERE id=1
;;
SELECT (c).email, (l[1]).email FROM x
-- @l05 | temp | app | q | alice\.w | DENY
CREATE TEMP TABLE x(c customers)
;;
INSERT INTO x SELECT c FROM public.customers c WHERE id=1
;;
SELECT (c).email FROM x
-- @l06 | temp | app | q | alice\.w | MASK
CREATE TEMP TABLE x(id int, note text)
;;
INSERT INTO x SELECT id, email FROM mailbox
;;
UPDATE mailbox SET note='z' FROM x WHERE x.id=mailbox.id RETURNING x.note
-- @l07 | temp | app | q | alice\.w | DENY
CREATE TEMP TABLE x(id int, note text)
;;
WITH d AS (DELETE FROM mailbox WHERE id=1 RETURNING email||'' AS e) INSERT INTO x SELECT 1, e FROM d
;;
SELECT note FROM x
-- @l08 | temp | app | q | alice\.w | MASK
CREATE TEMP TABLE x(id int, note text)
;;
WITH d AS (DELETE FROM mailbox WHERE id=1 RETURNING email AS e) INSERT INTO x SELECT 1, e FROM d
;;
SELECT note FROM x
-- @l09 | temp | app | q | alice\.w | DENY
CREATE TEMP TABLE mailbox(id int, email text, note text)
;;
INSERT INTO mailbox SELECT * FROM public.mailbox
;;
UPDATE public.mailbox SET note=email WHERE id=1 RETURNING note
-- @l10 | temp | app | q | alice\.w | MASK
BEGIN; CREATE TEMP TABLE products ON COMMIT DROP AS SELECT id, email AS name FROM mailbox
;;
SELECT name FROM products
;;
COMMIT
-- @l11 | temp | app | q | alice\.w | DENY
CREATE TEMP TABLE pg_class AS SELECT email AS relname FROM mailbox
;;
SELECT relname FROM pg_temp.pg_class
-- @l12 | temp | app | q | alice\.w | DENY
CREATE TEMP TABLE x (LIKE mailbox)
;;
INSERT INTO x TABLE mailbox
;;
MERGE INTO mailbox m USING x ON m.id=x.id WHEN MATCHED THEN UPDATE SET note=m.email
;;
SELECT note FROM mailbox
-- @l13 | temp | app | q | D\tt\t | DENY
CREATE TEMP TABLE g(email text PRIMARY KEY)
;;
INSERT INTO g VALUES ('alice.w@corp.example')
;;
SELECT true FROM g JOIN mailbox m USING (email)
-- @l15 | temp | app | q | alice\.w | DENY
PREPARE p AS SELECT email FROM mailbox
;;
CREATE TEMP TABLE x AS EXECUTE p
;;
SELECT email FROM x
-- @l16 | temp | app | q | alice\.w | MASK
CREATE TEMP TABLE x AS TABLE mailbox
;;
ANALYZE x
;;
SELECT most_common_vals, histogram_bounds FROM pg_stats WHERE tablename='x'
-- @l17 | temp | app | q | alice\.w | MASK
CREATE TEMP TABLE x AS VALUES ((SELECT email FROM mailbox WHERE id=1))
;;
SELECT column1 FROM x
-- @l18 | temp | app | q | alice\.w | MASK
CREATE TEMP TABLE x AS SELECT email FROM mailbox UNION SELECT name FROM products
;;
SELECT email FROM x ORDER BY 1
-- @l19 | temp | app | q | alice\.w | MASK
CREATE TEMP TABLE x AS SELECT row_to_json(m) AS j FROM mailbox m
;;
SELECT j->>'email' FROM x
-- @l20 | temp | app | q | alice\.w | DENY
CREATE TEMP VIEW x AS SELECT email FROM mailbox
;;
SELECT email FROM x
-- @l21 | copy | app | q | alice\.w | MASK
CREATE TABLE x21 AS SELECT id, email AS z FROM mailbox
;;
SELECT z FROM x21
-- @l22 | copy | app | q | alice\.w | MASK
SELECT email AS z INTO x22 FROM mailbox
;;
SELECT z FROM x22
-- @l23 | copy | app | q | alice\.w | DENY
CREATE TABLE x23 (LIKE mailbox INCLUDING ALL); INSERT INTO x23 SELECT * FROM mailbox
;;
SELECT email AS a FROM x23
-- @l24 | copy | app | q | alice\.w | DENY
CREATE MATERIALIZED VIEW x24 AS SELECT email AS z FROM mailbox
;;
SELECT z FROM x24
-- @l25 | copy | gw | q | alice\.w | DENY
ALTER TABLE mailbox ADD COLUMN plain text; UPDATE mailbox SET plain=email
;;
SELECT plain FROM mailbox
-- @l26 | copy | gw | q | alice\.w | DENY
ALTER TABLE mailbox ADD COLUMN plain text GENERATED ALWAYS AS (email) STORED
;;
SELECT plain FROM mailbox
-- @l27 | copy | gw | q | alice\.w | DENY
ALTER TABLE mailbox RENAME COLUMN email TO z
;;
SELECT z FROM mailbox
-- @l28 | copy | app | q | alice\.w | MASK
INSERT INTO scratch SELECT email FROM mailbox WHERE id=1
;;
SELECT t FROM scratch
-- @l29 | copy | app | q | alice\.w | MASK
INSERT INTO scratch VALUES ((SELECT email FROM mailbox WHERE id=1)) RETURNING t
-- @l30 | copy | app | q | alice\.w | MASK
INSERT INTO products SELECT 7, email FROM mailbox WHERE id=1 ON CONFLICT (id) DO UPDATE SET name=excluded.name RETURNING name
-- @l32 | explain | app | q | rows=[0-9.]+ loops | DENY
EXPLAIN (ANALYZE) SELECT id FROM mailbox WHERE email LIKE 'alice%'
-- @l34 | explain | app | q | (?s)Output.*email | DENY
EXPLAIN (ANALYZE, VERBOSE) UPDATE mailbox SET note='z' RETURNING *
-- @l35 | explain | app | q | rows=[0-9.]+ loops | DENY
PREPARE p(text) AS SELECT id FROM mailbox WHERE email=$1
;;
EXPLAIN (ANALYZE) EXECUTE p('alice.w@corp.example')
-- @l36 | explain | app | q | rows=[0-9.]+ loops | DENY
EXPLAIN (ANALYZE) CREATE TEMP TABLE x AS SELECT email FROM mailbox WHERE email LIKE 'a%'
-- @l37 | explain | app | q | rows=[0-9]+ | DENY
EXPLAIN (ANALYZE) DECLARE k CURSOR FOR SELECT id FROM mailbox WHERE email LIKE 'a%'
-- @l38 | explain | app | q | rows=[0-9]+ width | DENY
EXPLAIN SELECT 1 FROM v_contacts WHERE contact LIKE 'alice%'
-- @l39 | explain | app | q | rows=[0-9]+ width | DENY
EXPLAIN SELECT who FROM v_ranked WHERE who IS NOT NULL
-- @l40 | explain | app | q | rows=[0-9]+ width | DENY
EXPLAIN SELECT 1 FROM orders WHERE customer_email='alice.w@corp.example'
-- @l41 | explain | app | q | rows=[0-9]+ width | DENY
EXPLAIN DELETE FROM customers_arch WHERE email LIKE 'old%'
-- @l42 | explain | app | q | rows=[0-9]+ width | DENY
EXPLAIN SELECT 1 FROM mv_addr WHERE addr LIKE 'alice%'
-- @l43 | view | app | q | alice\.w | MASK
SELECT contact FROM v_contacts WHERE id=1
-- @l44 | view | app | q | alice\.w | MASK
SELECT (v).contact, v::text FROM v_contacts v WHERE id=1
-- @l45 | view | app | q | alice\.w | MASK
SELECT addr FROM mv_addr WHERE id=1
-- @l46 | view | app | q | alice\.w | MASK
SELECT v.contact FROM v_contacts v FULL JOIN orders o ON v.contact=o.customer_email WHERE v.id=1
-- @l47 | view | app | q | D\t1\t | DENY
SELECT id FROM v_contacts WHERE contact='alice.w@corp.example'
-- @l48 | view | app | q | alice\.w | DENY
UPDATE v_contacts SET who='x' WHERE id=1 RETURNING contact
-- @l49 | view | app | q | alice\.w | DENY
DELETE FROM v_alice RETURNING id, (SELECT email||'' FROM customers WHERE id=1)
-- @l50 | view | app | q | is-alice | MASK
CREATE TEMP TABLE x AS SELECT * FROM v_ranked
;;
SELECT who FROM x WHERE name='Alice'
-- @l51 | view | app | q | corp\.example | MASK
SELECT email_domain FROM customers WHERE id=1
-- @l52 | merge | app | q | alice\.w | MASK
MERGE INTO products p USING mailbox m ON m.id=p.id WHEN MATCHED THEN UPDATE SET name=m.email
;;
SELECT name FROM products
-- @l53 | merge | app | q | alice\.w | DENY
MERGE INTO mailbox m USING (SELECT 1 AS id) s ON m.id=s.id WHEN MATCHED THEN UPDATE SET note=m.email
;;
SELECT note FROM mailbox
-- @l54 | merge | app | q | alice\.w | DENY
MERGE INTO mailbox m USING (SELECT 1 AS id) s ON m.id=s.id WHEN MATCHED THEN UPDATE SET note=to_jsonb(m)
;;
SELECT note FROM mailbox
-- @l55 | merge | app | q | MERGE 1 | DENY
MERGE INTO mailbox m USING (SELECT 'alice.w@corp.example' AS e) s ON m.email=s.e WHEN MATCHED THEN DELETE
-- @l56 | merge | app | q | MERGE 1 | DENY
MERGE INTO mailbox m USING (SELECT 1 AS id) s ON m.id=s.id WHEN MATCHED AND m.email LIKE 'alice%' THEN DELETE WHEN MATCHED THEN DO NOTHING
-- @l57 | merge | app | q | MERGE 1 | DENY
MERGE INTO products p USING mailbox m ON m.email='alice.w@corp.example' AND p.id=m.id WHEN MATCHED THEN DELETE
-- @l58 | merge | app | q | alice\.w | DENY
MERGE INTO scratch USING (SELECT 1) s ON false WHEN NOT MATCHED THEN INSERT VALUES ((SELECT string_agg(m.email||'','') FROM mailbox m, LATERAL (SELECT m) x))
;;
DELETE FROM scratch RETURNING (SELECT email||'' FROM mailbox WHERE id=1)
-- @l59 | write | app | q | alice\.w | DENY
UPDATE mailbox SET (note, id) = (SELECT email, 1) WHERE id=1 RETURNING note
-- @l60 | write | app | q | alice\.w | DENY
UPDATE mailbox SET (note, id) = ROW(mailbox.email, 1) WHERE id=1 RETURNING note
-- @l61 | write | app | q | alice\.w | DENY
UPDATE mailbox m SET note=(m).email WHERE id=1 RETURNING note
-- @l63 | write | app | q | alice\.w | DENY
INSERT INTO mailbox VALUES (1,'x','y') ON CONFLICT (id) DO UPDATE SET note=mailbox.email RETURNING note
-- @l64 | write | app | q | INSERT 0 1 | DENY
INSERT INTO mailbox VALUES (1,'x','y') ON CONFLICT (id) DO UPDATE SET note='z' WHERE mailbox.email LIKE 'alice%'
-- @l65 | write | app | q | DELETE 1 | DENY
DELETE FROM mailbox USING mailbox AS b WHERE mailbox.id=b.id AND mailbox.email='alice.w@corp.example'
-- @l66 | write | app | q | DELETE 1 | DENY
DELETE FROM products USING mailbox m WHERE m.id=products.id AND m.email='alice.w@corp.example'
-- @l67 | write | app | q | alice\.w | MASK
WITH u AS (UPDATE mailbox SET note='z' WHERE id=1 RETURNING *), v AS (SELECT u.* FROM u) SELECT email, v::text FROM v
-- @l68 | write | app | q | alice\.w | DENY
WITH u AS (UPDATE mailbox SET note='z' WHERE id=1 RETURNING mailbox) SELECT (mailbox).email FROM u
-- @l69 | write | app | q | alice\.w | DENY
UPDATE mailbox SET note='z' WHERE id=1 RETURNING (SELECT string_agg(e, '') FROM unnest(ARRAY[email]) e)
-- @l70 | write | app | q | alice\.w | DENY
UPDATE mailbox SET note='z' WHERE id=1 RETURNING json_build_object('a', mailbox.*)
-- @l71 | write | app | q | alice\.w | DENY
UPDATE mailbox SET note='z' WHERE id=1 RETURNING mailbox.*::text
-- @l72 | write | app | q | alice\.w | MASK
PREPARE p(int) AS UPDATE mailbox SET note='z' WHERE id=$1 RETURNING email
;;
EXECUTE p(1)
-- @l73 | each | app | q | alice\.w | MASK
SELECT value FROM customers c, each(hstore(c)) WHERE id=1 AND key='email'
-- @l74 | each | app | q | alice\.w | MASK
SELECT avals(hstore(c)), hstore_to_json(hstore(c)) FROM customers c WHERE id=1
-- @l75 | each | app | q | alice\.w | DENY
UPDATE mailbox SET note='z' WHERE id=1 RETURNING (SELECT string_agg(value,'') FROM each(hstore(mailbox)))
-- @l76 | each | app | q | alice\.w | MASK
SELECT (each(hstore(m))).value FROM mailbox m WHERE id=1
-- @l77 | each | app | q | alice\.w | MASK
SELECT svals(hstore('a', email)) FROM mailbox WHERE id=1
-- @l78 | each | app | q | alice\.w | DENY
SELECT hstore(m)->'email' FROM mailbox m WHERE id=1
-- @l79 | batch | app | q | alice\.w | MASK
BEGIN; SELECT 1; COMMIT; SELECT email FROM mailbox WHERE id=1; ROLLBACK; TABLE mailbox
-- @l80 | batch | app | q | alice\.w | MASK
BEGIN
;;
SAVEPOINT s
;;
SELECT email FROM mailbox; ROLLBACK TO s; SELECT email||'' FROM mailbox; COMMIT AND CHAIN; SELECT upper(email) FROM mailbox; ROLLBACK
