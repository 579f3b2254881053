SELECT id, name, price FROM products WHERE id < 3 ORDER BY id;
\x on
SELECT * FROM products WHERE id = 1;
\x off
SELECT id, name AS "Label", price * 2 AS twice FROM products \gdesc
SELECT count(*) AS n FROM products \gset
\echo :n
\if :n
SELECT 'yes' AS answer;
\endif
SELECT status, quantity, count(*) FROM orders WHERE id < 100 GROUP BY 1, 2 \crosstabview
BEGIN;
SELECT 1/0;
SELECT 1;
ROLLBACK;
SELECT 1 AS a\; SELECT 2 AS b;
\set ON_ERROR_ROLLBACK on
BEGIN;
SELECT * FROM nowhere;
SELECT 'still here' AS a;
COMMIT;
\copy (SELECT id, name FROM products WHERE id < 3 ORDER BY id) TO STDOUT CSV HEADER
PREPARE p(int) AS SELECT name FROM products WHERE id = $1;
EXECUTE p(5);
DEALLOCATE p;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM products ORDER BY id;
FETCH 3 FROM c;
COMMIT;
\set FETCH_COUNT 50
SELECT id FROM products WHERE id < 120 ORDER BY id;
\unset FETCH_COUNT
\errverbose
SELECT id, name FROM products ORDER BY id LIMIT 1 \bind \g
SELECT 'SELECT ' || g FROM generate_series(1, 3) g \gexec
SHOW server_version_num;
\encoding
