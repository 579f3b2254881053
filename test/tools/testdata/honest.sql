-- Statements that people and their tools send. Each goes to the database directly and through the gateway, by the
-- simple and the extended protocol, and everything that comes back must be the same.
--
--   -- @NAME [labelled] [simple]     a statement; labelled: it reads labelled columns, so that only one who may see
--                                    them gets the same; simple: the simple protocol only
--   -- args: ["1", null]            values of its parameters, as text
--   -- refused: why                 the gateway refuses it, for this reason

-- @select-plain
SELECT id, name, price FROM products WHERE id <= 5 ORDER BY id
-- @select-star
SELECT * FROM products WHERE id IN (1, 3, 5) ORDER BY id
-- @select-star-labelled labelled
SELECT * FROM customers WHERE id <= 3 ORDER BY id
-- @select-no-from
SELECT 1, 'a', 1.5, true, NULL, -3, 1e10, B'101', X'1F', 'it''s', E'tab\t', U&'\00e9', $$dollar$$, $t$tagged$t$
-- @select-qualified
SELECT public.products.name, p.id FROM public.products, products p WHERE products.id = p.id AND p.id < 4 ORDER BY 2
-- @select-schema
SELECT s.name, b.name AS boss FROM staff.people s LEFT JOIN staff.people b ON b.id = s.boss ORDER BY s.id
-- @select-distinct
SELECT DISTINCT status FROM orders ORDER BY status
-- @select-distinct-on
SELECT DISTINCT ON (customer_id) customer_id, id, total FROM orders WHERE customer_id <= 10 ORDER BY customer_id, total DESC, id
-- @select-limit-offset
SELECT id FROM orders ORDER BY id LIMIT 5 OFFSET 10
-- @select-fetch-first
SELECT id FROM orders ORDER BY id OFFSET 2 ROWS FETCH FIRST 3 ROWS ONLY
-- @select-with-ties
SELECT quantity FROM orders WHERE id < 20 ORDER BY quantity FETCH FIRST 2 ROWS WITH TIES
-- @select-limit-expression
SELECT id FROM products ORDER BY id LIMIT (SELECT 2 + 1) OFFSET 1 + 1
-- @select-limit-null
SELECT id FROM products WHERE id < 3 ORDER BY id LIMIT NULL
-- @table-command
TABLE staff.people
-- @select-only
SELECT count(*) FROM ONLY measures
-- @select-empty-target
SELECT FROM products WHERE id < 3
-- @select-aliases
SELECT p.id AS "Product Id", upper(p.name) AS name FROM products AS p(id, name, cost) WHERE p.cost > 200 ORDER BY "Product Id"
-- @select-order-nulls
SELECT id, t FROM everything ORDER BY t NULLS FIRST, id
-- @select-order-using
SELECT id FROM products WHERE id < 5 ORDER BY id USING >
-- @select-order-expression
SELECT id FROM products ORDER BY (id * 7) % 13, id LIMIT 5
-- @select-order-position
SELECT name, price FROM products ORDER BY 2 DESC, 1 LIMIT 5
-- @where-between
SELECT count(*) FROM orders WHERE total BETWEEN 10 AND 20
-- @where-between-symmetric
SELECT count(*) FROM orders WHERE total BETWEEN SYMMETRIC 20 AND 10
-- @where-not-between
SELECT count(*) FROM orders WHERE id NOT BETWEEN 100 AND 99990
-- @where-in-list
SELECT count(*) FROM orders WHERE status IN ('paid', 'open')
-- @where-in-subselect
SELECT count(*) FROM orders WHERE product_id IN (SELECT id FROM products WHERE price > 150)
-- @where-not-in
SELECT count(*) FROM products WHERE id NOT IN (SELECT product_id FROM orders WHERE quantity = 4)
-- @where-exists
SELECT count(*) FROM customers c WHERE EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id AND o.status = 'open')
-- @where-not-exists
SELECT count(*) FROM products p WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.product_id = p.id AND o.quantity > 3)
-- @where-any-array
SELECT id FROM products WHERE id = ANY (ARRAY[1, 5, 9]) ORDER BY id
-- @where-any-literal
SELECT id FROM products WHERE id = ANY ('{1,5,9}') ORDER BY id
-- @where-all
SELECT id FROM products WHERE price >= ALL (SELECT price FROM products) ORDER BY id
-- @where-row-comparison
SELECT id FROM orders WHERE (quantity, id) < (1, 50) ORDER BY id LIMIT 5
-- @where-row-in
SELECT id FROM orders WHERE (customer_id, product_id) IN (SELECT customer_id, product_id FROM orders WHERE id < 10) ORDER BY id
-- @where-row-values
SELECT id FROM products WHERE (id, price) IN (VALUES (1, 20.0), (2, 30.0)) ORDER BY id
-- @where-is-distinct
SELECT id FROM everything WHERE t IS DISTINCT FROM 'text' ORDER BY id
-- @where-is-not-distinct
SELECT id FROM everything WHERE t IS NOT DISTINCT FROM NULL ORDER BY id
-- @where-boolean-tests
SELECT id, b IS TRUE, b IS NOT TRUE, b IS FALSE, b IS NOT FALSE, b IS UNKNOWN, b IS NOT UNKNOWN, b ISNULL, b NOTNULL FROM everything ORDER BY id
-- @where-like
SELECT count(*) FROM products WHERE name LIKE 'Oak%' OR name LIKE '%100\%' ESCAPE '\'
-- @where-not-like
SELECT count(*) FROM products WHERE name NOT LIKE '%lamp%'
-- @where-ilike
SELECT count(*) FROM products WHERE name ILIKE 'oak%' AND name NOT ILIKE '%STOOL%'
-- @where-similar
SELECT count(*) FROM products WHERE name SIMILAR TO '(Oak|Steel) (lamp|chair)%'
-- @where-similar-escape
SELECT 'a%b' SIMILAR TO 'a#%b' ESCAPE '#', 'abc' NOT SIMILAR TO 'a_c'
-- @where-like-operators
SELECT 'abc' ~~ 'a%', 'ABC' ~~* 'a%', 'abc' !~~ 'b%', 'abc' !~~* 'B%', 'abc' ^@ 'ab'
-- @where-regex
SELECT count(*) FROM products WHERE name ~ '^(Oak|Wool)' AND name ~* 'LAMP' OR name !~ '[0-9]+$' AND name !~* 'x'
-- @where-like-any
SELECT count(*) FROM products WHERE name LIKE ANY (ARRAY['Oak%', 'Wool%']) AND name NOT LIKE ALL (ARRAY['%1', '%2'])
-- @where-current-of-nothing
SELECT id FROM orders WHERE id = 7 AND NOT (status = 'open') AND (total > 0 OR total IS NULL)
-- @where-xor
SELECT id FROM everything WHERE (i4 > 0) <> (b) ORDER BY id
-- @join-inner
SELECT o.id, p.name FROM orders o JOIN products p ON p.id = o.product_id WHERE o.id < 6 ORDER BY o.id
-- @join-using
SELECT count(*), count(n.note) FROM events JOIN notes n USING (id)
-- @join-using-alias
SELECT j.id, body FROM events JOIN notes USING (id) AS j WHERE j.id < 4 ORDER BY j.id
-- @join-left
SELECT e.id, count(n.id) FROM events e LEFT JOIN notes n ON n.event_id = e.id AND n.rating > 4 GROUP BY e.id ORDER BY e.id LIMIT 10
-- @join-right-full
SELECT a.i, b.i FROM (VALUES (1), (2)) a(i) FULL JOIN (VALUES (2), (3)) b(i) ON a.i = b.i ORDER BY 1, 2
-- @join-cross
SELECT * FROM (VALUES (1), (2)) a(x) CROSS JOIN (VALUES ('p'), ('q')) b(y) ORDER BY 1, 2
-- @join-natural
SELECT * FROM (SELECT 1 AS k, 2 AS a) l NATURAL JOIN (SELECT 1 AS k, 3 AS b) r
-- @join-nested
SELECT count(*) FROM (orders o JOIN products p ON p.id = o.product_id) JOIN (customers c JOIN payments y ON true) ON c.id = o.customer_id AND y.order_id = o.id WHERE o.id < 500
-- @join-alias
SELECT j.a, j.b FROM ((VALUES (1)) x(a) CROSS JOIN (VALUES (2)) y(b)) AS j
-- @join-self
SELECT a.name, b.name FROM staff.people a, staff.people b WHERE a.salary = b.salary AND a.id < b.id
-- @join-lateral
SELECT c.id, l.id, l.total FROM customers c, LATERAL (SELECT id, total FROM orders o WHERE o.customer_id = c.id ORDER BY total DESC, id LIMIT 2) l WHERE c.id <= 4 ORDER BY 1, 2
-- @join-lateral-left
SELECT c.id, l.n FROM customers c LEFT JOIN LATERAL (SELECT count(*) AS n FROM orders o WHERE o.customer_id = c.id AND o.status = 'open') l ON true WHERE c.id <= 5 ORDER BY 1
-- @join-lateral-function
SELECT e.id, t.tag, t.ord FROM events e CROSS JOIN LATERAL unnest(e.tags) WITH ORDINALITY AS t(tag, ord) WHERE e.id < 6 ORDER BY 1, 3
-- @group-by
SELECT status, count(*), sum(total), avg(total), min(total), max(total) FROM orders GROUP BY status ORDER BY status
-- @group-by-position
SELECT date_trunc('month', created_at), count(*) FROM orders GROUP BY 1 ORDER BY 1
-- @group-by-alias
SELECT upper(status) AS s, count(*) FROM orders GROUP BY s ORDER BY s
-- @group-by-primary-key
SELECT p.id, p.name, p.price, count(*) FROM products p JOIN orders o ON o.product_id = p.id GROUP BY p.id ORDER BY p.id LIMIT 5
-- @group-by-primary-key-labelled labelled
SELECT c.id, c.name, c.email, c.phone, count(*) FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.id < 10 GROUP BY c.id ORDER BY c.id
-- @group-having
SELECT customer_id, sum(total) FROM orders GROUP BY customer_id HAVING sum(total) > 11000 AND count(*) > 3 ORDER BY 1
-- @grouping-sets
SELECT status, quantity, count(*), grouping(status, quantity) FROM orders GROUP BY GROUPING SETS ((status, quantity), (status), ()) ORDER BY 1 NULLS LAST, 2 NULLS LAST
-- @rollup
SELECT status, quantity, sum(total) FROM orders GROUP BY ROLLUP (status, quantity) ORDER BY 1, 2
-- @cube
SELECT status, quantity, count(*) FROM orders GROUP BY CUBE (status, quantity) ORDER BY 1, 2
-- @group-distinct
SELECT status, quantity, count(*) FROM orders GROUP BY DISTINCT ROLLUP (status), ROLLUP (status, quantity) ORDER BY 1, 2
-- @grouping-mixed
SELECT status, quantity % 2, count(*) FROM orders GROUP BY status, GROUPING SETS ((quantity % 2), ()) ORDER BY 1, 2
-- @aggregate-filter
SELECT count(*) FILTER (WHERE status = 'open'), sum(total) FILTER (WHERE quantity > 2) FROM orders
-- @aggregate-distinct
SELECT count(DISTINCT customer_id), sum(DISTINCT quantity), string_agg(DISTINCT status, ',' ORDER BY status) FROM orders
-- @aggregate-order
SELECT array_agg(id ORDER BY total DESC, id), string_agg(status, '|' ORDER BY id) FROM orders WHERE id < 8
-- @aggregate-statistics
SELECT corr(quantity, total), covar_pop(quantity, total), regr_slope(total, quantity), stddev(total), variance(total), var_samp(quantity) FROM orders WHERE id < 100
-- @aggregate-bits
SELECT bit_and(id), bit_or(id), bit_xor(id), bool_and(id > 0), bool_or(id > 5), every(id < 9) FROM products WHERE id < 9
-- @aggregate-ordered-set
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY total), percentile_disc(ARRAY[0.25, 0.75]) WITHIN GROUP (ORDER BY total), mode() WITHIN GROUP (ORDER BY status) FROM orders
-- @aggregate-hypothetical
SELECT rank(50) WITHIN GROUP (ORDER BY total), dense_rank(50) WITHIN GROUP (ORDER BY total), percent_rank(50) WITHIN GROUP (ORDER BY total), cume_dist(50) WITHIN GROUP (ORDER BY total) FROM orders WHERE id < 100
-- @aggregate-json
SELECT json_agg(p), jsonb_agg(p.name ORDER BY p.id), json_object_agg(p.id, p.name ORDER BY p.id), jsonb_object_agg(p.id, p.price) FROM (SELECT * FROM products WHERE id < 4 ORDER BY id) p
-- @aggregate-range
SELECT range_agg(seats), range_intersect_agg(seats) FROM events WHERE id < 5
-- @aggregate-min-max-text
SELECT min(name), max(name), min(created_at), max(created_at) FROM customers
-- @aggregate-array-of-arrays
SELECT array_agg(ARRAY[id, quantity] ORDER BY id) FROM orders WHERE id < 4
-- @window-row-number
SELECT id, row_number() OVER (ORDER BY total DESC, id), rank() OVER w, dense_rank() OVER w, percent_rank() OVER w, cume_dist() OVER w, ntile(3) OVER w FROM orders WHERE id < 12 WINDOW w AS (ORDER BY quantity) ORDER BY id
-- @window-partition
SELECT customer_id, id, sum(total) OVER (PARTITION BY customer_id ORDER BY id), count(*) OVER (PARTITION BY customer_id) FROM orders WHERE customer_id < 4 ORDER BY 1, 2
-- @window-frame-rows
SELECT id, avg(total) OVER (ORDER BY id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW), sum(quantity) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) FROM orders WHERE id < 10 ORDER BY id
-- @window-frame-range
SELECT id, count(*) OVER (ORDER BY created_at RANGE BETWEEN interval '20 minutes' PRECEDING AND interval '10 minutes' FOLLOWING) FROM orders WHERE id < 10 ORDER BY id
-- @window-frame-groups
SELECT id, quantity, sum(total) OVER (ORDER BY quantity GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW) FROM orders WHERE id < 10 ORDER BY id
-- @window-frame-exclude
SELECT id, sum(id) OVER (ORDER BY quantity ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE TIES), max(id) OVER (ORDER BY quantity, id ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING EXCLUDE GROUP) FROM orders WHERE id < 9 ORDER BY id
-- @window-lag-lead
SELECT id, lag(total) OVER (ORDER BY id), lead(total, 2, 0.00) OVER (ORDER BY id), first_value(id) OVER w, last_value(id) OVER w, nth_value(id, 2) OVER w FROM orders WHERE id < 8 WINDOW w AS (ORDER BY id) ORDER BY id
-- @window-filter
SELECT id, count(*) FILTER (WHERE status = 'paid') OVER (ORDER BY id) FROM orders WHERE id < 8 ORDER BY id
-- @window-named-copy
SELECT id, sum(total) OVER (w ORDER BY id) FROM orders WHERE id < 8 WINDOW w AS (PARTITION BY quantity) ORDER BY id
-- @window-over-aggregate
SELECT status, sum(total), rank() OVER (ORDER BY sum(total) DESC), sum(total) / sum(sum(total)) OVER () FROM orders GROUP BY status ORDER BY status
-- @cte
WITH big AS (SELECT * FROM orders WHERE total > 700), named AS (SELECT b.id, p.name FROM big b JOIN products p ON p.id = b.product_id) SELECT count(*), min(name) FROM named
-- @cte-materialized
WITH a AS MATERIALIZED (SELECT id FROM products WHERE id < 5), b AS NOT MATERIALIZED (SELECT id FROM a) SELECT * FROM a JOIN b USING (id) ORDER BY id
-- @cte-columns
WITH t(a, b) AS (VALUES (1, 'x'), (2, 'y')) SELECT b, a FROM t ORDER BY a
-- @cte-nested
WITH x AS (WITH y AS (SELECT 1 AS one) SELECT one + 1 AS two FROM y) SELECT two FROM x
-- @cte-recursive-numbers
WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 10) SELECT sum(n), array_agg(n) FROM t
-- @cte-recursive-tree
WITH RECURSIVE tree AS (SELECT id, name, boss, 1 AS depth, name AS path FROM staff.people WHERE boss IS NULL UNION ALL SELECT p.id, p.name, p.boss, t.depth + 1, t.path || '/' || p.name FROM staff.people p JOIN tree t ON p.boss = t.id) SELECT depth, path FROM tree ORDER BY path
-- @cte-recursive-union
WITH RECURSIVE r(a, b) AS (SELECT 1, 1 UNION SELECT (a + 1) % 5, b FROM r) SELECT * FROM r ORDER BY 1
-- @cte-search-depth
WITH RECURSIVE t AS (SELECT id, name, boss FROM staff.people WHERE boss IS NULL UNION ALL SELECT p.id, p.name, p.boss FROM staff.people p JOIN t ON p.boss = t.id) SEARCH DEPTH FIRST BY name SET ord SELECT id, name FROM t ORDER BY ord
-- @cte-search-breadth
WITH RECURSIVE t AS (SELECT id, name, boss FROM staff.people WHERE boss IS NULL UNION ALL SELECT p.id, p.name, p.boss FROM staff.people p JOIN t ON p.boss = t.id) SEARCH BREADTH FIRST BY id SET ord SELECT id, name, ord FROM t ORDER BY ord
-- @cte-cycle
WITH RECURSIVE t AS (SELECT id, boss FROM staff.people WHERE boss = 1 UNION ALL SELECT p.id, p.boss FROM staff.people p JOIN t ON p.boss = t.id) CYCLE id SET seen USING path SELECT id, seen, path FROM t ORDER BY id
-- @cte-cycle-mark
WITH RECURSIVE t(a) AS (VALUES (1) UNION ALL SELECT a % 3 + 1 FROM t) CYCLE a SET cyc TO 'Y' DEFAULT 'N' USING p SELECT a, cyc FROM t ORDER BY p
-- @cte-forward-reference
WITH RECURSIVE a AS (SELECT x FROM b), b AS (SELECT 1 AS x) SELECT * FROM a
-- refused: the columns of a WITH query are not known before it was read; write it first
-- @union
SELECT id FROM products WHERE id < 3 UNION SELECT id FROM orders WHERE id < 4 ORDER BY id
-- @union-all
SELECT 1 AS x UNION ALL SELECT 2 UNION ALL (SELECT 3 ORDER BY 1 LIMIT 1) ORDER BY x DESC
-- @intersect-except
(SELECT id FROM products WHERE id < 10 INTERSECT SELECT id FROM orders WHERE id > 5) EXCEPT ALL SELECT 7 ORDER BY 1
-- @union-types
SELECT 1 UNION SELECT 2.5 UNION SELECT NULL ORDER BY 1
-- @values
VALUES (1, 'one'), (2, 'two'), (3, NULL) ORDER BY 1 DESC LIMIT 2
-- @values-join
SELECT v.label, p.name FROM products p JOIN (VALUES (1, 'first'), (2, 'second')) AS v(id, label) ON v.id = p.id ORDER BY p.id
-- @tablesample-system
SELECT count(*) > 0 FROM orders TABLESAMPLE SYSTEM (50) REPEATABLE (7)
-- @tablesample-bernoulli
SELECT count(*) FROM orders o TABLESAMPLE BERNOULLI (10) REPEATABLE (42)
-- @for-update simple
SELECT id, status FROM orders WHERE id = 5 FOR UPDATE
-- @for-share-of simple
SELECT o.id, p.name FROM orders o JOIN products p ON p.id = o.product_id WHERE o.id < 4 ORDER BY o.id FOR SHARE OF o SKIP LOCKED
-- @for-no-key-nowait simple
SELECT id FROM orders WHERE id = 6 FOR NO KEY UPDATE NOWAIT
-- @case-searched
SELECT id, CASE WHEN price < 50 THEN 'cheap' WHEN price < 150 THEN 'mid' ELSE 'dear' END FROM products WHERE id < 8 ORDER BY id
-- @case-simple
SELECT status, CASE status WHEN 'open' THEN 1 WHEN 'paid' THEN 2 END AS n FROM orders WHERE id < 8 ORDER BY id
-- @coalesce-nullif
SELECT coalesce(t, v, 'none'), nullif(t, 'text'), greatest(i4, i2, 1), least(i4, i8) FROM everything ORDER BY id
-- @row-constructors
SELECT ROW(1, 'a', NULL), (1, 2) = (1, 2), ROW(1, 2) < ROW(1, 3), ROW(1, NULL) IS NULL, ROW(NULL, NULL) IS NULL, ROW() IS NOT NULL
-- @row-whole
SELECT p FROM products p WHERE id = 1
-- @row-whole-field
SELECT (p).name, (p).id FROM products p WHERE id = 1
-- @row-whole-star
SELECT (p).* FROM products p WHERE id = 1
-- @row-to-json
SELECT row_to_json(p), to_jsonb(p), row_to_json(ROW(1, 'x')) FROM products p WHERE id = 1
-- @subselect-scalar
SELECT id, (SELECT count(*) FROM orders o WHERE o.product_id = p.id) AS n FROM products p WHERE id < 5 ORDER BY id
-- @subselect-array
SELECT id, ARRAY(SELECT o.id FROM orders o WHERE o.customer_id = c.id ORDER BY 1) FROM customers c WHERE id < 4 ORDER BY id
-- @subselect-from
SELECT s.status, s.n FROM (SELECT status, count(*) AS n FROM orders GROUP BY status) AS s WHERE s.n > 20000 ORDER BY 1
-- @subselect-row
SELECT id FROM orders WHERE (id, quantity) = (SELECT max(id), 2 FROM orders WHERE quantity = 2)
-- @operators-arithmetic
SELECT 7 / 2, 7 % 3, 2 ^ 10, |/ 25, ||/ 27, @ -5, 7.0 / 2, -(-3), +4, 5 & 3, 5 | 3, 5 # 3, ~5, 1 << 4, 256 >> 2
-- @operators-qualified
SELECT 1 OPERATOR(pg_catalog.+) 2, 3 OPERATOR(pg_catalog.=) ANY (ARRAY[3])
-- @operators-concat
SELECT 'a' || 'b', 'n' || 1, ARRAY[1] || 2, 0 || ARRAY[1], ARRAY[1] || ARRAY[2], NULL || 'x'
-- @functions-math
SELECT abs(-2.5), ceil(1.2), floor(-1.2), round(2.567, 2), trunc(2.567, 1), mod(10, 3), power(2, 0.5), sqrt(2), exp(1), ln(2), log(100), log(2, 8), sign(-3), pi(), degrees(pi()), radians(180), width_bucket(5, 0, 10, 4), gcd(12, 18), lcm(4, 6), div(7, 2), factorial(5), scale(1.230), trim_scale(1.230), cbrt(27)
-- @functions-trig
SELECT sin(1), cos(1), tan(1), asin(0.5), acos(0.5), atan(1), atan2(1, 2), sind(30), cosd(60), sinh(1), tanh(0.5), cot(1)
-- @functions-string
SELECT length('héllo'), octet_length('héllo'), bit_length('a'), upper('abc'), lower('ABC'), initcap('hello world'), left('hello', 2), right('hello', -2), lpad('7', 3, '0'), rpad('x', 3), repeat('ab', 3), reverse('abc'), replace('aXb', 'X', '-'), split_part('a,b,c', ',', -1), strpos('hello', 'l'), concat('a', NULL, 1), concat_ws('-', 'a', NULL, 'b'), translate('abc', 'ab', 'xy'), ascii('A'), chr(65), to_hex(255), md5('x'), quote_ident('a b'), quote_literal('it''s'), starts_with('abc', 'ab')
-- @functions-string-syntax
SELECT substring('hello' FROM 2 FOR 3), substring('hello' FROM '^h(.)'), substring('abc' SIMILAR '%#"b#"_' ESCAPE '#'), position('l' IN 'hello'), overlay('hello' PLACING 'XX' FROM 2 FOR 3), trim(BOTH 'x' FROM 'xxaxx'), trim(LEADING ' ' FROM '  a'), trim(TRAILING FROM 'a  '), trim('  b '), char_length('abc'), character_length('abc'), normalize('é', NFD), 'é' IS NORMALIZED, 'é' IS NFC NORMALIZED, 'é' IS NOT NFKD NORMALIZED
-- @functions-regexp
SELECT regexp_replace('foobar', 'o+', '0'), regexp_replace('aaa', 'a', 'b', 'g'), regexp_match('abc123', '([a-z]+)(\d+)'), regexp_split_to_array('a1b2c', '\d'), regexp_count('banana', 'a'), regexp_substr('abc123', '\d+'), regexp_instr('hello', 'l'), regexp_like('Hello', '^h', 'i')
-- @functions-regexp-sets
SELECT m FROM regexp_matches('a1b2c3', '[a-z]\d', 'g') m UNION ALL SELECT ARRAY[s] FROM regexp_split_to_table('x-y', '-') s
-- @functions-format
SELECT format('%s is %I or %L, %2$s %1$s', 'a', 'B c', 'it''s'), to_char(1234.5, 'FM9,999.00'), to_char(date '2024-03-04', 'Dy DD Mon YYYY'), to_number('1,234.5', '9,999.9'), to_char(interval '1 day 02:03', 'DD HH24:MI'), to_char(-1, '9PR')
-- @functions-binary
SELECT encode('\xdeadbeef', 'hex'), decode('3q2+7w==', 'base64'), sha256('abc'), get_byte('\x0102'::bytea, 1), set_bit('\x00'::bytea, 0, 1), convert_to('é', 'UTF8'), convert_from('\xc3a9', 'UTF8'), '\x01'::bytea || '\x02', substring('\x010203'::bytea, 2, 1), bit_count('\xff'::bytea), length('\x0102'::bytea), md5('\x01'::bytea)
-- @dates-arithmetic
SELECT date '2024-01-31' + 1, date '2024-03-01' - date '2024-02-01', date '2024-01-31' + interval '1 month', timestamp '2024-01-01' - interval '1 hour', timestamptz '2024-01-01 00:00+00' - timestamptz '2023-01-01 00:00+00', time '10:00' + interval '90 min', 2 * interval '3 days', interval '1 day' / 3, date '2024-01-01' + time '12:00', - interval '1 day', interval '1 day' - interval '1 hour'
-- @dates-extract
SELECT extract(year FROM ts), extract(epoch FROM tsz), extract(dow FROM d), date_part('hour', ts), extract(isoyear FROM d), extract(century FROM ts), extract(microseconds FROM tm), extract(timezone FROM tmz), extract(day FROM iv) FROM everything WHERE id = 1
-- @dates-functions
SELECT date_trunc('quarter', ts), date_trunc('day', tsz, 'Europe/Berlin'), date_bin('15 minutes', ts, '2001-01-01'), age(ts, timestamp '2020-01-01'), make_date(2024, 2, 29), make_time(1, 2, 3.5), make_timestamp(2024, 1, 2, 3, 4, 5), make_timestamptz(2024, 1, 2, 3, 4, 5, 'UTC'), make_interval(days => 3, hours => 4), justify_days(interval '45 days'), justify_interval(interval '1 mon -1 hour'), to_timestamp(1700000000), to_date('05 Dec 2000', 'DD Mon YYYY'), to_timestamp('2024-01-02', 'YYYY-MM-DD'), isfinite(d) FROM everything WHERE id = 1
-- @dates-zone
SELECT ts AT TIME ZONE 'America/New_York', tsz AT TIME ZONE 'Asia/Tokyo', tmz AT TIME ZONE 'UTC', ts AT TIME ZONE interval '-03:00', timezone('UTC', tsz) FROM everything WHERE id = 1
-- @dates-overlaps
SELECT (date '2024-01-01', date '2024-02-01') OVERLAPS (date '2024-01-15', interval '10 days'), (time '09:00', time '10:00') OVERLAPS (time '10:00', time '11:00')
-- @dates-now
SELECT now() = transaction_timestamp(), current_date = now()::date, statement_timestamp() >= now(), clock_timestamp() >= now(), localtimestamp IS NOT NULL, current_time(2) IS NOT NULL, current_timestamp(0) IS NOT NULL, localtime IS NOT NULL, timeofday() IS NOT NULL
-- @dates-literals
SELECT interval '1-2' YEAR TO MONTH, interval '3' DAY, interval '1.5 hours', interval(0) '1.9 seconds', timestamp(3) '2024-01-01 00:00:00.12345', timestamp with time zone '2024-01-01 00:00+02', time without time zone '01:02', date 'epoch', timestamp 'infinity', interval 'P1Y2M3DT4H5M6S', 'today'::date = current_date
-- @dates-series
SELECT generate_series(date '2024-01-01', date '2024-03-01', interval '1 month'), generate_series(1, 3)
-- @dates-group
SELECT date_trunc('week', created_at)::date AS week, count(*), sum(total) FROM orders WHERE created_at >= '2024-02-01' AND created_at < date '2024-02-01' + interval '1 month' GROUP BY week ORDER BY week
-- @casts
SELECT '1'::int, 1::text, CAST('2024-01-01' AS date), '1.5'::numeric(4,2), 3.7::int, 'true'::bool, 1::bool, '{1,2}'::int[], 'abc'::varchar(2), 'abc'::char(5), '101'::bit varying, 5::bit(8), '\x41'::bytea, 65::"char", 'f'::bool::int, 1.5::float4::float8, '12:00'::time, 100::money, '$1.50'::money::numeric, 'a'::name
-- @casts-types
SELECT 1::smallint, 2::bigint, 3::real, 4::double precision, 5::decimal, 'x'::character varying, 'y'::character(3), 'z'::bpchar, '1 day'::interval, '10.0.0.1'::inet, '10.0.0.0/8'::cidr, '08:00:2b:01:02:03'::macaddr, '00000000-0000-0000-0000-000000000000'::uuid, '{"a":1}'::json, '{"a":1}'::jsonb, '(1,2)'::point, '[1,2)'::int4range, '{[1,2)}'::int4multirange, 'a b'::tsvector, 'a & b'::tsquery, '0/1'::pg_lsn, '1'::oid, '$.a'::jsonpath, '1:2:'::txid_snapshot
-- @casts-xml
SELECT '<a/>'::xml, xmlparse(DOCUMENT '<a/>'), xmlexists('//a' PASSING BY VALUE x) FROM everything WHERE id = 1
-- refused: XML that a client sends is not parsed: what its entities expand to is libxml2's business
-- @casts-regclass
SELECT 'products'::regclass::text, 'int4'::regtype::text
-- @casts-function-style
SELECT int4(3.7), text(5), float8('1.5'), date('2024-01-01'), varchar 'abc', numeric '1.50', int8 '5'
-- @casts-try
SELECT '12abc'::int
-- @division-by-zero
SELECT 1 / (id - 1) FROM products WHERE id = 1
-- @unknown-table
SELECT * FROM no_such_table
-- @unknown-column
SELECT no_such_column FROM products
-- @syntax-error
SELEC 1
-- @ambiguous-column
SELECT id FROM products, orders
-- @arrays
SELECT ARRAY[1, 2, 3], ARRAY[[1, 2], [3, 4]], (ARRAY[1, 2, 3])[2], (ARRAY[1, 2, 3])[2:], (ARRAY[1, 2, 3])[:2], (ARRAY[[1, 2], [3, 4]])[2][1], (ARRAY[[1, 2], [3, 4]])[1:1][2], ARRAY[]::int[], ARRAY[1, 2] @> ARRAY[1], ARRAY[1] <@ ARRAY[1, 2], ARRAY[1, 2] && ARRAY[2, 3], ARRAY[1] = ARRAY[1], ARRAY[1, 2] < ARRAY[1, 3]
-- @arrays-columns
SELECT a4[1], a4[2:3], at[2], a2[2][1], a2, array_length(a4, 1), cardinality(a2), array_dims(a2), array_upper(a4, 1), array_position(at, 'b c'), array_remove(a4, 2), array_replace(a4, 1, 9), array_append(a4, 4), array_prepend(0, a4), array_cat(a4, a4), array_to_string(at, ',', '*'), string_to_array('a,b', ','), array_ndims(a2), trim_array(a4, 1), array_fill(7, ARRAY[2]), array_positions(a4, 2) FROM everything ORDER BY id
-- @arrays-unnest
SELECT * FROM unnest(ARRAY[1, 2], ARRAY['a', 'b', 'c']) AS t(n, s)
-- @arrays-unnest-target
SELECT id, unnest(tags) FROM events WHERE id < 4 ORDER BY 1, 2
-- @arrays-rows-from
SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY['a', 'b', 'c'])) WITH ORDINALITY AS t(n, s, o)
-- @arrays-subscripts
SELECT s, a4[s] FROM everything, generate_subscripts(a4, 1) s WHERE id = 1
-- @arrays-contains
SELECT count(*) FROM events WHERE tags @> ARRAY['five'] AND 'all' = ANY (tags) AND NOT tags && '{none}'
-- @series
SELECT * FROM generate_series(1, 10, 3) AS n, generate_series('2024-01-01'::timestamp, '2024-01-02', '12 hours') AS t
-- @json-operators
SELECT j -> 'a', j ->> 'a', j #> '{a,2}', j #>> '{a,1}', j -> 'a' -> 0, jb -> 'a' ->> -1, jb @> '{"s": "x"}', '{"s": "x"}' <@ jb, jb ? 's', jb ?| ARRAY['q', 's'], jb ?& ARRAY['a', 's'], jb || '{"z": 1}', jb - 's', jb - ARRAY['a'], jb #- '{a,0}', jb @? '$.a[*] ? (@ > 1)', jb @@ '$.n > 1', jb = '{}' FROM everything WHERE id = 1
-- @json-functions
SELECT to_json(t), json_build_object('k', i4), json_build_array(1, t), jsonb_set(jb, '{s}', '"y"'), jsonb_insert(jb, '{a,0}', '0'), jsonb_pretty(jb), jsonb_typeof(jb), json_array_length(j -> 'a'), jsonb_strip_nulls(jb), json_extract_path_text(j, 'a', '0'), jsonb_path_query_array(jb, '$.a[*]'), jsonb_path_exists(jb, '$.z'), jsonb_path_query_first(jb, '$.n'), json_object('{a,1,b,2}'), to_jsonb(a4), array_to_json(a4) FROM everything WHERE id = 1
-- @json-each
SELECT e.id, k.key, k.value FROM events e, jsonb_each(e.payload) k WHERE e.id < 3 ORDER BY 1, 2
-- @json-each-text
SELECT key, value FROM events, jsonb_each_text(payload -> 'nested') WHERE id = 1 ORDER BY key
-- @json-elements
SELECT id, x, x::int + 1 FROM events, jsonb_array_elements_text(payload -> 'nested' -> 'list') AS x WHERE id < 3 ORDER BY 1, 2
-- @json-elements-ordinality
SELECT elem ->> 'n', pos FROM jsonb_array_elements('[{"n": 1}, {"n": 2}]') WITH ORDINALITY AS a(elem, pos)
-- @json-keys
SELECT jsonb_object_keys(payload) FROM events WHERE id = 1
-- @json-to-record
SELECT * FROM jsonb_to_record('{"a": 1, "b": "x", "c": [1, 2]}') AS r(a int, b text, c int[])
-- @json-to-recordset
SELECT * FROM json_to_recordset('[{"a": 1, "b": "x"}, {"a": 2}]') AS r(a int, b text)
-- @json-populate-record
SELECT * FROM jsonb_populate_record(NULL::staff.people, '{"id": 9, "name": "Zed"}')
-- @json-populate-recordset
SELECT id, name FROM json_populate_recordset(NULL::products, '[{"id": 1, "name": "n"}]')
-- @json-subscript
SELECT payload['kind'], payload['nested']['list'][0], (payload['nested'])['flag'] FROM events WHERE id = 1
-- @json-where
SELECT id, payload ->> 'kind' AS kind FROM events WHERE (payload ->> 'visitors')::int > 80 AND payload @> '{"nested": {"flag": true}}' ORDER BY id
-- @json-path-table
SELECT id, v FROM events, jsonb_path_query(payload, '$.nested.list[*] ? (@ > 110)') v ORDER BY id, v
-- @json-group
SELECT payload ->> 'kind' AS kind, count(*), avg((payload ->> 'visitors')::numeric), jsonb_agg(DISTINCT payload -> 'nested' -> 'flag') FROM events GROUP BY payload ->> 'kind' ORDER BY 1
-- @json-labelled labelled
SELECT id, profile ->> 'email', profile -> 'newsletter', profile['notes'] FROM customers WHERE id < 4 ORDER BY id
-- @ranges
SELECT int4range(1, 5), numrange(1.5, 2.5, '[]'), r4 @> 5, r4 && '[8,20)', r4 <@ int4range(0, 100), r4 -|- '[10,20)', r4 << '[20,30)', r4 * '[5,20)', r4 + '[10,20)', r4 - '[5,20)', lower(r4), upper(r4), isempty(r4), lower_inc(r4), upper_inf(r4), range_merge(r4, '[50,60)'), r4 = '[1,9]' FROM everything WHERE id = 1
-- @multiranges
SELECT int4multirange(int4range(1, 3), int4range(5, 7)), mr @> 2, mr && '[2,9)'::int4range, mr + '{[3,5)}', mr - '{[1,2)}', lower(mr), range_merge(mr), multirange(r4), unnest(mr) FROM everything WHERE id = 1
-- @ranges-time
SELECT id FROM events WHERE during && tstzrange('2024-01-10 00:00+00', '2024-01-12 00:00+00') AND during @> '2024-01-11 12:00+00'::timestamptz ORDER BY id
-- @range-own
SELECT '[1.5,2.5]'::weightrange, weightrange(1, 2) @> 1.5::float8
-- @text-search
SELECT id, ts_rank(search, q), ts_headline('english', body, q) FROM events, to_tsquery('english', 'fox & !lazy') q WHERE search @@ q ORDER BY id LIMIT 4
-- @text-search-functions
SELECT to_tsvector('simple', 'a b a'), plainto_tsquery('english', 'the foxes'), phraseto_tsquery('english', 'quick fox'), websearch_to_tsquery('english', '"quick fox" -dog'), setweight(tv, 'A'), strip(tv), numnode(tq), tv || tv, tq && 'x'::tsquery, !! tq, tv @@ tq, tsvector_to_array(tv), ts_delete(tv, 'fox'), querytree(tq), tq <-> 'y', ts_rank_cd(tv, tq) FROM everything WHERE id = 1
-- @text-search-default
SELECT to_tsvector('The foxes'), 'foxes' @@ 'fox', to_tsquery('fox') @@ to_tsvector('foxes')
-- @enums
SELECT feeling, count(*) FROM events WHERE feeling >= 'ok' GROUP BY feeling ORDER BY feeling
-- @enums-functions
SELECT enum_range(NULL::mood), enum_first(NULL::mood), enum_last('sad'::mood), enum_range('ok'::mood, NULL), 'sad'::mood < 'happy'::mood, feeling::text, ARRAY['sad', 'ok']::mood[], feeling = ANY ('{ok,happy}') FROM events WHERE id = 1
-- @domains
SELECT ticket, ticket * 2, 5::price, 'ABC'::code, coalesce(ticket, 0) FROM events WHERE id < 3 ORDER BY id
-- @domains-violated
SELECT (-1)::price
-- @composites
SELECT venue, (venue).street, (venue).number + 1, (e.venue).city FROM events e WHERE id < 3 ORDER BY id
-- @composites-star
SELECT id, (venue).* FROM events WHERE id < 3 ORDER BY id
-- @composites-cast
SELECT ROW('a', 1, 'b')::address, ('x', 2, 'y')::address, (ROW('a', 1, 'b')::address).city, '(a,1,b)'::address
-- @composites-compare
SELECT id FROM events WHERE venue = ROW('Main St', 5, 'Town 2')::address OR (venue).number = 7 ORDER BY id
-- @collations
SELECT name FROM products WHERE id < 9 ORDER BY name COLLATE "C" DESC
-- @collations-compare
SELECT 'a' < 'B' COLLATE "C", 'a' COLLATE "POSIX" < 'B', max(note COLLATE "default"), min(note COLLATE pg_catalog."C") FROM notes
-- @xml
SELECT xmlelement(name item, xmlattributes(id AS id, name), xmlelement(name price, price)), xmlforest(id, name AS n), xmlconcat('<a/>', '<b/>'), xmlcomment('c'), xmlpi(name php, 'x'), xmlroot('<a/>', version '1.0', standalone yes), xmlserialize(CONTENT xmlelement(name e) AS text) FROM products WHERE id = 1
-- @xml-agg
SELECT xmlagg(xmlelement(name p, name) ORDER BY id) FROM products WHERE id < 4
-- @xml-values
SELECT x, x::text, x IS DOCUMENT FROM everything WHERE id = 1
-- @geometry
SELECT p, p[0], bx, ls, ci, p <-> point(0, 0), bx @> p, area(bx), center(ci), length(ls), box(p, point(5, 5)), p <@ ci, bx && '((0,0),(2,2))'::box, pa, po, li, diameter(ci), radius(ci), npoints(po), isclosed(pa), ?| ls, # po FROM everything WHERE id = 1
-- @network
SELECT ip, host(ip), masklen(ip), network(ip), netmask(ip), broadcast(ip), family(ip), ip << '10.0.0.0/8', ip >>= '10.1.2.3', abbrev(cd), set_masklen(cd, 8), text(ip), ip + 1, ip & '255.0.0.0', trunc(mac), macaddr8_set7bit(mac8), inet_same_family(ip, cd), inet_merge(ip, cd) FROM everything WHERE id = 1
-- @all-types
SELECT * FROM everything ORDER BY id
-- @pg-typeof
SELECT pg_typeof(1), pg_typeof('x'::text), pg_typeof(ARRAY[1.5]), pg_typeof(id) FROM products WHERE id = 1
-- @null-functions
SELECT num_nulls(1, NULL, 2), num_nonnulls(1, NULL), NULL IS NULL, NULL = NULL, coalesce(NULL, NULL, 3)
-- @session-functions simple
SELECT current_database(), current_schema(), current_schemas(false), version() IS NOT NULL, current_catalog, pg_backend_pid() > 0
-- @uuid
SELECT gen_random_uuid() IS NOT NULL, u, u > '00000000-0000-0000-0000-000000000000', length(u::text) FROM everything WHERE id = 1
-- @random
SELECT random() BETWEEN 0 AND 1, random()::text IS NOT NULL
-- @view
SELECT kind, count(*) FROM happy_events GROUP BY kind ORDER BY kind
-- @materialized-view
SELECT * FROM order_totals WHERE customer_id < 5 ORDER BY 1
-- @partitioned
SELECT extract(year FROM at), count(*), round(sum(value)::numeric, 6) FROM measures WHERE at >= '2023-12-01' GROUP BY 1 ORDER BY 1
-- @partition
SELECT count(*) FROM measures_2024
-- @system-columns
SELECT tableoid IS NOT NULL, ctid, xmin IS NOT NULL FROM products WHERE id = 1
-- @tableoid-regclass
SELECT DISTINCT tableoid::regclass::text FROM measures ORDER BY 1
-- @insert simple
INSERT INTO notes (id, event_id, note, rating) VALUES (1000, 1, 'new', 5), (1001, 2, DEFAULT, 3)
-- @insert-returning
INSERT INTO notes VALUES (1002, 3, 'r', 1) RETURNING id, note AS n, rating + 1
-- @insert-select
INSERT INTO notes (id, event_id, note) SELECT 2000 + id, id, body FROM events WHERE id < 4 RETURNING *
-- @insert-default-values
INSERT INTO everything DEFAULT VALUES
-- @insert-on-conflict-nothing
INSERT INTO notes VALUES (1, 1, 'x', 1) ON CONFLICT DO NOTHING
-- @insert-on-conflict-update
INSERT INTO notes AS n VALUES (1, 1, 'upserted', 2) ON CONFLICT (id) DO UPDATE SET note = excluded.note || '!', rating = n.rating WHERE n.rating <> 9 RETURNING id, note, rating
-- @insert-on-conflict-constraint
INSERT INTO notes VALUES (1, 1, 'c', 2) ON CONFLICT ON CONSTRAINT notes_pkey DO UPDATE SET (note, rating) = ROW(excluded.note, 4) RETURNING note, rating
-- @insert-overriding
INSERT INTO notes (id, note) OVERRIDING USER VALUE VALUES (3000, 'o') RETURNING id
-- @insert-array-element
INSERT INTO everything (id, a4[1], a4[2]) VALUES (77, 5, 6) RETURNING a4
-- @insert-types
INSERT INTO everything (id, j, jb, a4, mo, pr, r4, iv, by) VALUES (78, '{"a": 1}', '[]', '{1,2}', 'ok', 1.5, '[1,2]', '1 day', '\x00') RETURNING j, jb, a4, mo, pr, r4, iv, by
-- @insert-composite
INSERT INTO events (id, happened, tags, payload, body, venue) VALUES (500, '2024-01-01', '{}', '{}', 'b', ROW('s', 1, 'c')) RETURNING venue, search
-- @insert-duplicate
INSERT INTO notes VALUES (1, 1, 'dup', 1)
-- @insert-check
INSERT INTO notes VALUES (5000, 1, 'bad', 9)
-- @insert-foreign-key
INSERT INTO notes VALUES (5001, 99999, 'bad', 1)
-- @insert-not-null
INSERT INTO products (id) VALUES (5002)
-- @insert-too-long
INSERT INTO everything (id, v) VALUES (79, repeat('x', 31))
-- @update
UPDATE notes SET rating = 5, note = note || ' (edited)' WHERE id < 4 RETURNING id, note, rating
-- @update-from
UPDATE notes n SET rating = 1 FROM events e WHERE e.id = n.event_id AND e.feeling = 'sad' AND e.id < 10 RETURNING n.id, e.feeling
-- @update-subselect
UPDATE products SET price = (SELECT max(price) FROM products) WHERE id = 1 RETURNING price
-- @update-row
UPDATE notes SET (note, rating) = (SELECT body, 3 FROM events WHERE id = 1) WHERE id = 1 RETURNING *
-- @update-default
UPDATE notes SET note = DEFAULT WHERE id = 1 RETURNING note
-- @update-array-element
UPDATE everything SET a4[2] = 99, at[1:1] = '{q}' WHERE id = 1 RETURNING a4, at
-- @update-json-subscript
UPDATE events SET payload['kind'] = '"opera"', payload['nested']['flag'] = 'null' WHERE id = 1 RETURNING payload
-- @update-composite-field
UPDATE events SET venue.city = 'Newtown' WHERE id = 1 RETURNING venue
-- @update-cte
WITH top AS (SELECT id FROM notes ORDER BY id LIMIT 2) UPDATE notes SET rating = 2 FROM top WHERE notes.id = top.id RETURNING notes.id
-- @delete
DELETE FROM notes WHERE id BETWEEN 1 AND 3 RETURNING *
-- @delete-using
DELETE FROM notes USING events e WHERE e.id = notes.event_id AND e.id = 1 RETURNING notes.id, e.body
-- @delete-all
DELETE FROM notes
-- @write-cte
WITH gone AS (DELETE FROM notes WHERE id = 1 RETURNING *), kept AS (INSERT INTO notes SELECT id + 9000, event_id, note, rating FROM gone RETURNING id) SELECT g.id, k.id FROM gone g, kept k
-- @multi-statement simple
SELECT 1 AS a; SELECT 'two' AS b; UPDATE notes SET rating = 1 WHERE id = 1; SELECT count(*) FROM notes
-- @multi-statement-error simple
SELECT 1; SELECT 1 / 0; SELECT 2
-- @empty simple

-- @only-comment simple
-- nothing here
-- @comments
SELECT /* inline */ 1 -- trailing
-- @set-show simple
SET statement_timeout = '10s'; SHOW statement_timeout; SET TIME ZONE 'Europe/Berlin'; SHOW timezone; RESET timezone; SET datestyle = 'SQL, DMY'; SELECT date '2024-03-04'; RESET datestyle
-- @savepoints simple
SAVEPOINT a; INSERT INTO notes VALUES (7000, 1, 's', 1); ROLLBACK TO a; RELEASE SAVEPOINT a; SELECT count(*) FROM notes WHERE id = 7000
-- @param-int
SELECT $1::int + 1, $2::text
-- args: ["41", "x"]
-- @param-inferred
SELECT id, name FROM products WHERE id = $1 AND price < $2
-- args: ["3", "1000"]
-- @param-any
SELECT id FROM products WHERE id = ANY ($1) ORDER BY id
-- args: ["{1,2,3}"]
-- @param-null
SELECT $1::text IS NULL, coalesce($2, 'default')
-- args: [null, null]
-- @param-types
SELECT $1::date, $2::timestamptz, $3::uuid, $4::jsonb, $5::bytea, $6::numeric, $7::bool, $8::int8[], $9::interval
-- args: ["2024-01-01", "2024-01-01 00:00+00", "00000000-0000-0000-0000-000000000001", "{\"a\":1}", "\\x01", "1.50", "t", "{1,2}", "1 day"]
-- @param-enum
SELECT count(*) FROM events WHERE feeling = $1 AND ticket > $2
-- args: ["happy", "1"]
-- @param-like
SELECT count(*) FROM products WHERE name ILIKE '%' || $1 || '%'
-- args: ["lamp"]
-- @param-limit
SELECT id FROM products ORDER BY id LIMIT $1 OFFSET $2
-- args: ["2", "3"]
-- @param-insert
INSERT INTO notes (id, event_id, note, rating) VALUES ($1, $2, $3, $4) RETURNING *
-- args: ["8000", "4", "param", "2"]
-- @param-json
SELECT id FROM events WHERE payload @> $1 AND payload ->> $2 = $3 ORDER BY id LIMIT 3
-- args: ["{\"nested\": {\"flag\": true}}", "kind", "talk"]
-- @param-interval
SELECT count(*) FROM orders WHERE created_at > timestamptz '2024-06-01 00:00+00' - $1::interval AND created_at < $2
-- args: ["10 days", "2024-06-01 00:00+00"]
-- @param-row
SELECT id FROM orders WHERE (customer_id, id) > ($1, $2) ORDER BY customer_id, id LIMIT 3
-- args: ["10", "5"]
-- @param-bad-value
SELECT id FROM products WHERE id = $1
-- args: ["abc"]
-- @labelled-predicate labelled
SELECT count(*) FROM customers WHERE email LIKE 'ada%' AND phone IS NOT NULL
-- @labelled-aggregate labelled
SELECT substr(email, strpos(email, '@')) AS domain, count(*), min(birth_date) FROM customers GROUP BY 1 ORDER BY 1
-- @labelled-join labelled
SELECT c.email, sum(o.total) FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.id < 6 GROUP BY c.id, c.email ORDER BY c.id
-- @labelled-window labelled
SELECT id, email, lag(email) OVER (ORDER BY id), birth_date - lag(birth_date) OVER (ORDER BY id) FROM customers WHERE id < 6 ORDER BY id
-- @labelled-update labelled
UPDATE customers SET tier = 'gold' WHERE id = 1 RETURNING id, tier, email
-- @analytics-rfm
WITH spend AS (SELECT customer_id, max(created_at) AS last, count(*) AS n, sum(total) AS total FROM orders WHERE status IN ('paid', 'shipped') GROUP BY customer_id), scored AS (SELECT s.*, ntile(5) OVER (ORDER BY last, customer_id) AS r, ntile(5) OVER (ORDER BY n, customer_id) AS f, ntile(5) OVER (ORDER BY total, customer_id) AS m FROM spend s) SELECT r, f, m, count(*) FROM scored GROUP BY r, f, m ORDER BY count(*) DESC, r, f, m LIMIT 10
-- @analytics-cohort
SELECT date_trunc('month', c.created_at)::date AS cohort, (extract(year FROM o.created_at) - 2023) * 12 + extract(month FROM o.created_at) AS month, count(DISTINCT o.customer_id) FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.id <= 500 GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 20
-- @analytics-gaps
SELECT d::date, coalesce(n, 0) FROM generate_series('2024-01-01'::date, '2024-01-07', '1 day') d LEFT JOIN (SELECT created_at::date AS day, count(*) AS n FROM orders GROUP BY 1) o ON o.day = d::date ORDER BY 1
-- @analytics-pivot
SELECT product_id, count(*) FILTER (WHERE status = 'paid') AS paid, count(*) FILTER (WHERE status = 'open') AS open, round(100.0 * sum((status = 'cancelled')::int) / count(*), 1) AS pct FROM orders WHERE product_id < 6 GROUP BY product_id ORDER BY product_id
-- @analytics-median
SELECT status, percentile_cont(ARRAY[0.1, 0.5, 0.9]) WITHIN GROUP (ORDER BY total) FROM orders GROUP BY ROLLUP (status) ORDER BY status
-- @analytics-top-n
SELECT * FROM (SELECT status, id, total, row_number() OVER (PARTITION BY status ORDER BY total DESC, id) AS n FROM orders) x WHERE n <= 2 ORDER BY status, n
-- @current-user-ok
SELECT current_user IS NOT NULL, session_user IS NOT NULL, user IS NOT NULL, current_role IS NOT NULL
-- @string-agg-distinct
SELECT customer_id, string_agg(DISTINCT status, ', ') FROM orders WHERE customer_id < 5 GROUP BY 1 ORDER BY 1
-- @aggregates-any-value-newer
SELECT array_agg(DISTINCT quantity ORDER BY quantity DESC) FROM orders
-- @pg-size
SELECT pg_size_pretty(123456789::bigint), pg_size_pretty(5e12::numeric), pg_size_bytes('10 MB'), pg_column_size('abc'::text)
-- @hash-functions
SELECT hashtext('a'), hashint4(5), hashfloat8(1.5)
-- @settings-function
SELECT current_setting('TimeZone'), current_setting('server_version_num')::int > 0
-- @sleep-zero
SELECT pg_sleep(0)
-- refused: pg_sleep holds a session for as long as the client likes; it is not on the list
