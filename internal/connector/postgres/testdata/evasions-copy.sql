-- Ways around the guard by COPY, cursors, statements prepared in SQL, settings and channels, in the format of
-- evasions.sql.
-- @c01 | copy | app | q | alice\.w | MASK
COPY customers TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE *)
-- @c02 | copy | app | q | alice\.w | MASK
COPY (TABLE customers) TO STDOUT CSV FORCE QUOTE email
-- @c03 | copy | app | q | old\.o@corp | MASK
COPY customers_arch TO STDOUT
-- @c04 | copy | app | q | alice\.w | MASK
COPY (SELECT * FROM v_contacts) TO STDOUT
-- @c05 | copy | app | q | alice\.w | MASK
COPY (SELECT c FROM customers c) TO STDOUT (FORMAT csv)
-- @c06 | copy | app | q | alice\.w | MASK
COPY (WITH x AS (DELETE FROM orders RETURNING customer_email) SELECT * FROM x) TO STDOUT
-- @c07 | copy | app | q | alice\.w | MASK
COPY (SELECT string_agg(email, ',') FROM customers) TO STDOUT (DELIMITER '@', NULL 'alice')
-- @c08 | copy | app | q | alice\.w | MASK
SELECT 1; COPY customers(email) TO STDOUT; COPY (SELECT 2) TO STDOUT
-- @c09 | copy | su | q | COPY [0-9] | DENY
COPY customers TO '{{dir}}/x'
-- @c10 | copy | su | q | COPY [0-9] | DENY
COPY (SELECT email FROM customers) TO PROGRAM 'cat'
-- @c20 | names | app | q | alice\.w | MASK
PREPARE p(int) AS SELECT email FROM customers WHERE id = $1; EXECUTE p((1)); EXECUTE p(1::int)
-- @c21 | names | app | q | 900 | DENY
PREPARE p AS INSERT INTO orders VALUES (900, NULL, $1) RETURNING id; EXECUTE p(1)
-- @c22 | names | app | q | alice\.w | MASK
BEGIN; DECLARE k CURSOR FOR SELECT c FROM customers c ORDER BY id; FETCH k; FETCH ALL FROM k; COMMIT
-- @c23 | names | app | q | alice\.w | MASK
BEGIN
;;
DECLARE k BINARY SCROLL CURSOR FOR TABLE customers
;;
FETCH LAST k; FETCH FIRST k; FETCH ABSOLUTE 1 k
-- @c24 | names | app | q | alice\.w | DENY
BEGIN; DECLARE k CURSOR FOR SELECT id FROM customers ORDER BY id FOR UPDATE; FETCH k; UPDATE customers SET name = 'x' WHERE CURRENT OF k RETURNING email || ''
-- @c25 | names | app | q | alice\.w | MASK
BEGIN; SAVEPOINT s; PREPARE p AS SELECT email FROM customers WHERE id=1; ROLLBACK TO s; EXECUTE p
-- @c40 | settings | app | q | alice\.w | MASK
SET search_path TO pg_catalog, public; SELECT email FROM customers WHERE id=1
-- @c41 | settings | app | q | alice\.w | MASK
PREPARE p AS SELECT email FROM customers WHERE id=1; SELECT set_config('search_path', 'public, pg_catalog', false); EXECUTE p
-- @c42 | settings | app | q | alice\.w | MASK
SELECT set_config('app.email', email, false) FROM customers WHERE id=1
;;
SELECT current_setting('app.email'); SHOW app.email
