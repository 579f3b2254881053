-- More of them. honest.sql says what the parts of an entry mean.

-- @lateral-values
SELECT p.id, v.x FROM products p, LATERAL (VALUES (p.id), (p.id * 2)) v(x) WHERE p.id < 3 ORDER BY 1, 2
-- @lateral-nested
SELECT a.id, c.n FROM products a LEFT JOIN LATERAL (SELECT b.n FROM (SELECT a.id * 10 AS n) b) c ON true WHERE a.id < 4 ORDER BY 1
-- @correlated-having
SELECT status FROM orders o GROUP BY status HAVING count(*) > (SELECT count(*) FROM orders WHERE status = 'open') ORDER BY 1
-- @exists-in-select
SELECT id, EXISTS (SELECT 1 FROM orders WHERE product_id = p.id AND quantity = 4) FROM products p WHERE id < 5 ORDER BY id
-- @not-equal-all
SELECT id FROM products WHERE id <> ALL (ARRAY[1, 2]) AND id < 5 ORDER BY id
-- @any-subselect-operator
SELECT id FROM products WHERE price > ANY (SELECT price FROM products WHERE id > 195) AND id < 10 ORDER BY id
-- @like-any-subselect
SELECT count(*) FROM products WHERE name LIKE ANY (SELECT 'Oak%' UNION SELECT 'Wool%')
-- @array-agg-row
SELECT array_agg(ROW(id, name)) FROM products WHERE id < 3
-- @json-agg-nested
SELECT json_agg(json_build_object('id', c.id, 'orders', (SELECT json_agg(json_build_object('id', o.id, 'total', o.total) ORDER BY o.id) FROM orders o WHERE o.customer_id = c.id)) ORDER BY c.id) FROM customers c WHERE c.id < 4
-- @json-agg-from-record
SELECT jsonb_agg(to_jsonb(o) - 'created_at' ORDER BY id) FROM orders o WHERE id < 3
-- @jsonb-concat-agg
SELECT jsonb_object_agg(k, v) FROM (SELECT 'a' AS k, 1 AS v UNION ALL SELECT 'b', 2) t
-- @json-arrow-int
SELECT '[1, 2, 3]'::json -> 1, '[1, 2, 3]'::json ->> -1, '{"a": {"b": [10]}}'::jsonb #>> '{a,b,0}'
-- @jsonpath-vars
SELECT jsonb_path_query('[1, 2, 3]', '$[*] ? (@ > $x)', '{"x": 1}'), jsonb_path_exists('{"a": "x"}', 'strict $.b', silent => true)
-- @named-arguments
SELECT make_interval(hours => 2, mins => 30), make_date(year => 2024, month => 1, day => 2)
-- @variadic
SELECT concat(VARIADIC ARRAY['a', 'b']), format('%s-%s', VARIADIC ARRAY['x', 'y']), jsonb_build_array(VARIADIC ARRAY[1, 2])
-- @case-nested
SELECT CASE WHEN (CASE WHEN id > 2 THEN true END) IS NULL THEN 'low' ELSE 'high' END FROM products WHERE id < 5 ORDER BY id
-- @string-continuation
SELECT 'a'
'b', E'\x41\u00e9\n', U&'d!0061t!+000061' UESCAPE '!'
-- @identifiers
SELECT id AS "select", name AS "Ünïcode Näme", price AS "a""b" FROM products WHERE id = 1
-- @keyword-columns
SELECT x.value, x.name, x.type, x.key FROM (SELECT 1 AS value, 2 AS name, 3 AS type, 4 AS key) x
-- @cast-chain
SELECT ('{"n": "42"}'::jsonb ->> 'n')::int::text::varchar(10)::numeric(5,2), (1 = 1)::int, (SELECT 5)::text, (ARRAY[1, 2])::text[], ('1,2'::text)
-- @interval-arithmetic
SELECT now() - interval '1 day' < now(), date_trunc('month', date '2024-05-17') + interval '1 month - 1 day', extract(epoch FROM interval '1 day 2 hours'), interval '1 month' > interval '29 days', age(date '2024-03-01', date '2023-01-15')
-- @date-formats
SELECT to_char(timestamp '2024-02-29 13:14:15', 'YYYY-MM-DD"T"HH24:MI:SS'), to_char(timestamp '2024-02-29 13:14:15', 'IYYY-"W"IW Q DDD J'), to_char(12.5, 'L999D99'), to_char(485, 'RN')
-- @date-comparison
SELECT count(*) FROM orders WHERE created_at::date = '2024-03-01' OR created_at BETWEEN '2024-04-01' AND '2024-04-02' OR date_part('year', created_at) = 2026
-- @window-distinct-from
SELECT id, status, CASE WHEN lag(status) OVER w IS DISTINCT FROM status THEN 1 ELSE 0 END AS changed FROM orders WHERE id < 12 WINDOW w AS (ORDER BY id) ORDER BY id
-- @window-running-share
SELECT id, round(100 * total / sum(total) OVER (), 2), sum(total) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) FROM orders WHERE id < 8 ORDER BY id
-- @window-islands
SELECT min(id), max(id), count(*) FROM (SELECT id, id - row_number() OVER (ORDER BY id) AS grp FROM orders WHERE id < 50 AND status = 'paid') t GROUP BY grp ORDER BY 1
-- @pagination-keyset
SELECT id, created_at FROM orders WHERE (created_at, id) > (timestamptz '2024-01-01 02:00+00', 10) ORDER BY created_at, id LIMIT 5
-- @count-over
SELECT id, count(*) OVER () AS total FROM products WHERE price > 200 ORDER BY id LIMIT 3
-- @order-by-case
SELECT DISTINCT status, CASE status WHEN 'open' THEN 0 ELSE 1 END AS o FROM orders ORDER BY o, status
-- @order-by-aggregate
SELECT product_id FROM orders GROUP BY product_id ORDER BY count(*) DESC, sum(total) DESC, product_id LIMIT 5
-- @group-by-expression
SELECT width_bucket(price, 0, 300, 6) AS bucket, count(*), min(price), max(price) FROM products GROUP BY bucket ORDER BY bucket
-- @group-by-case
SELECT CASE WHEN price < 100 THEN 'low' ELSE 'high' END AS band, count(*) FROM products GROUP BY CASE WHEN price < 100 THEN 'low' ELSE 'high' END ORDER BY 1
-- @union-in-subselect
SELECT kind, sum(n) FROM (SELECT 'orders' AS kind, count(*) AS n FROM orders UNION ALL SELECT 'products', count(*) FROM products UNION ALL SELECT 'customers', count(*) FROM customers) t GROUP BY kind ORDER BY kind
-- @cte-several-uses
WITH m AS (SELECT customer_id, sum(total) AS s FROM orders WHERE customer_id < 50 GROUP BY 1) SELECT count(*) FROM m a JOIN m b ON a.s > b.s
-- @cte-union-recursive-path
WITH RECURSIVE p(a, path) AS (SELECT 1, ARRAY[1] UNION ALL SELECT a + 1, path || (a + 1) FROM p WHERE a < 4) SELECT path FROM p ORDER BY a
-- @cte-insert-returning-join
WITH n AS (INSERT INTO notes (id, event_id, note) VALUES (6000, 5, 'fresh') RETURNING id, event_id) SELECT n.id, e.body FROM n JOIN events e ON e.id = n.event_id
-- @cte-update-returning
WITH u AS (UPDATE notes SET rating = 4 WHERE id IN (1, 2) RETURNING *) SELECT count(*), sum(rating) FROM u
-- @insert-cte
WITH src AS (SELECT 6001 AS id, 'x' AS note) INSERT INTO notes (id, note) SELECT id, note FROM src RETURNING id, note
-- @insert-many-conflict
INSERT INTO notes (id, event_id, note, rating) SELECT i, 1, 'n' || i, 3 FROM generate_series(1, 5) i ON CONFLICT (id) DO UPDATE SET rating = excluded.rating + notes.rating RETURNING id, rating
-- @insert-subselect-value
INSERT INTO notes (id, event_id, note) VALUES ((SELECT max(id) + 1 FROM notes), (SELECT min(id) FROM events), 'sub') RETURNING id
-- @update-case
UPDATE notes SET rating = CASE WHEN rating < 3 THEN rating + 1 ELSE rating END WHERE event_id < 4 RETURNING id, rating
-- @update-from-values
UPDATE notes SET rating = v.r FROM (VALUES (1, 1), (2, 2)) v(id, r) WHERE notes.id = v.id RETURNING notes.id, notes.rating
-- @update-correlated
UPDATE products p SET price = (SELECT avg(total) FROM orders o WHERE o.product_id = p.id) WHERE id < 3 RETURNING id, price
-- @delete-exists
DELETE FROM notes n WHERE EXISTS (SELECT 1 FROM events e WHERE e.id = n.event_id AND e.feeling = 'sad') AND n.id < 20 RETURNING n.id
-- @queue-skip-locked simple
UPDATE notes SET rating = 5 WHERE id = (SELECT id FROM notes WHERE rating < 5 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id
-- @transaction-block simple
SELECT 1; COMMIT; BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY; SELECT count(*) FROM orders; SHOW transaction_isolation; ROLLBACK; BEGIN
-- @set-local simple
SET LOCAL statement_timeout = 5000; SHOW statement_timeout; SET LOCAL lock_timeout TO '1s'; SHOW lock_timeout
-- @set-names simple
SET client_encoding = 'UTF8'; SET NAMES 'UTF8'; SHOW client_encoding
-- @set-search-path simple
SET LOCAL search_path = staff, public; SELECT name FROM people WHERE id = 1
-- @set-usual simple
SET extra_float_digits = 3; SET application_name = 'x'; SET standard_conforming_strings = on; SET TIME ZONE INTERVAL '+02:00' HOUR TO MINUTE; SET bytea_output = 'hex'; SET client_min_messages = warning
-- @set-config
SELECT set_config('statement_timeout', '5s', true)
-- @discard simple
DISCARD PLANS
-- @lock-table simple
LOCK TABLE notes IN ACCESS SHARE MODE
-- @explain
EXPLAIN (COSTS OFF) SELECT * FROM products WHERE id = 1
-- @explain-analyze simple
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT count(*) FROM products
-- @temporary-table simple
CREATE TEMP TABLE scratch AS SELECT id FROM products; SELECT count(*) FROM scratch
-- refused: nobody here has a permit to make temporary tables
-- @merge
MERGE INTO notes n USING (VALUES (1, 'merged')) v(id, note) ON n.id = v.id WHEN MATCHED THEN UPDATE SET note = v.note
-- @values-typed
SELECT * FROM (VALUES (1::int8, DATE '2024-01-01', NULL::numeric), (2, '2024-01-02', 1.5)) t(a, b, c) ORDER BY a
-- @string-agg-ordered
SELECT string_agg(name, ', ' ORDER BY name DESC) FROM products WHERE id < 5
-- @regexp-flags
SELECT regexp_replace('Hello World', '(\w+) (\w+)', '\2 \1'), regexp_matches('a=1,b=2', '(\w)=(\d)', 'g'), 'abc' ~ '^[[:alpha:]]+$', substring('key=value' FROM '=(.*)$')
-- @hex-octets
SELECT to_hex(255), encode(sha256('x'), 'hex'), ('x' || lpad('ff', 8, '0'))::bit(32)::int, get_bit('\x05'::bytea, 0)
-- @money-and-bits
SELECT '12.34'::money * 2, B'1010' & B'0110', B'1' || B'0', length(B'101'), ~B'10', 5::bit(4) << 1
-- @range-constructors
SELECT '[2024-01-01,2024-01-31]'::daterange @> date '2024-01-15', tsrange('2024-01-01', NULL), upper('[1,5]'::int4range), int4range(1, 5) * int4range(3, 8), isempty('(1,1)'::int4range)
-- @text-search-rank
SELECT id, ts_rank_cd(search, websearch_to_tsquery('english', 'fox or dog')) AS r FROM events WHERE search @@ websearch_to_tsquery('english', 'fox or dog') ORDER BY r DESC, id LIMIT 5
-- @inet-functions
SELECT inet '192.168.1.5/24' && inet '192.168.1.0/24', host(inet '10.0.0.1'), inet '10.0.0.5' - inet '10.0.0.1', cidr '10.0.0.0/8' >> inet '10.1.1.1', inet '10.0.0.1' < inet '10.0.0.2'
-- @composite-array
SELECT (ARRAY[ROW('a', 1, 'x')::address, ROW('b', 2, 'y')::address])[2].city
-- @composite-subselect
SELECT x.v, (x.v).city FROM (SELECT venue AS v FROM events WHERE id < 3) x ORDER BY (x.v).number
-- @composite-null
SELECT id, (venue).street IS NULL, venue IS NULL FROM events WHERE id = 1
-- @row-json-populate
SELECT (jsonb_populate_record(NULL::address, '{"city": "Rome"}')).city
-- @domain-array
SELECT ARRAY[1.5, 2]::price[], '{ABC,DEF}'::code[]
-- @enum-order
SELECT unnest(enum_range(NULL::mood)) AS m ORDER BY m DESC
-- @generate-series-numeric
SELECT g FROM generate_series(0, 1, 0.25) g
-- @generate-months
SELECT to_char(m, 'Mon YYYY') FROM generate_series(timestamp '2024-01-01', '2024-04-01', interval '1 month') AS m
-- @table-function-join
SELECT e.id, k FROM events e JOIN LATERAL jsonb_object_keys(e.payload -> 'nested') k ON true WHERE e.id = 1 ORDER BY k
-- @tablesample-alias
SELECT count(*) >= 0 FROM orders AS o TABLESAMPLE SYSTEM (1)
-- @partition-write
INSERT INTO measures VALUES (999, '2024-12-31', 1.5) RETURNING tableoid IS NOT NULL, id
-- @bulk-in-list
SELECT count(*) FROM orders WHERE id IN (1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30)
-- @null-literals
SELECT NULL, NULL::int, NULL::text[], ARRAY[NULL]::int[], ROW(NULL)
-- @numeric-literals
SELECT .5, 5., 1e-3, 1.5e10, 9223372036854775807, 99999999999999999999, -1.0
-- @special-floats
SELECT 'NaN'::float8, '-Infinity'::float4, 'NaN'::numeric = 'NaN'::numeric, 'Infinity'::numeric
-- @escape-like
SELECT 'a_b' LIKE 'a\_b', '50%' LIKE '50!%' ESCAPE '!', 'x' LIKE ''
-- @multi-column-in
SELECT count(*) FROM orders WHERE (customer_id, status) IN ((1, 'paid'), (2, 'open'), (3, 'shipped'))
-- @nested-aggregates-subselect
SELECT avg(n) FROM (SELECT count(*) AS n FROM orders GROUP BY customer_id) t
-- @filter-having
SELECT status, count(*) FILTER (WHERE total > 500) AS big FROM orders GROUP BY status HAVING count(*) FILTER (WHERE total > 500) > 10 ORDER BY status
-- @mode-percentile-discount
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY created_at), percentile_cont(0.9) WITHIN GROUP (ORDER BY total DESC) FROM orders
-- @grouping-id
SELECT grouping(status), grouping(quantity), status, quantity, count(*) FROM orders WHERE id < 100 GROUP BY ROLLUP (status, quantity) HAVING grouping(status) = 0 ORDER BY 3, 4
-- @is-json-like-cast
SELECT pg_typeof(payload -> 'visitors'), (payload -> 'visitors')::int, (payload -> 'nested' -> 'flag')::bool FROM events WHERE id = 1
-- @param-cast-array
SELECT id FROM products WHERE name = ANY ($1::text[]) ORDER BY id
-- args: ["{\"Oak lamp 8\",\"nothing\"}"]
-- @param-composite
SELECT ($1::address).city
-- args: ["(a,1,b)"]
-- @param-enum-array
SELECT count(*) FROM events WHERE feeling = ANY ($1)
-- args: ["{happy,ok}"]
-- @param-unused-types
SELECT coalesce($1, 5), $2 || 'x', $3 AND true
-- args: ["7", "a", "t"]
-- @param-in-values
INSERT INTO notes (id, event_id, note) VALUES ($1, $2, $3), ($4, $5, $6) RETURNING id
-- args: ["8100", "1", "p", "8101", "2", null]
-- @unnest-insert
INSERT INTO notes (id, note) SELECT * FROM unnest($1::int[], $2::text[]) RETURNING id, note
-- args: ["{8200,8201}", "{a,b}"]
-- @unnest-update
UPDATE notes SET rating = u.r FROM unnest($1::int[], $2::int[]) AS u(id, r) WHERE notes.id = u.id RETURNING notes.id, rating
-- args: ["{1,2}", "{5,4}"]
