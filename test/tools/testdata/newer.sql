-- Statements that only servers newer than 15 know. honest.sql says what the parts of an entry mean.

-- @any-value
SELECT any_value(status) IS NOT NULL, any_value(id) FROM orders WHERE id = 1
-- @json-constructors
SELECT json_object('a': 1, 'b': 'x'), json_array(1, 2, NULL ABSENT ON NULL), json_objectagg(k: v), json_arrayagg(v ORDER BY k) FROM (VALUES ('x', 1), ('y', 2)) t(k, v)
-- @json-is
SELECT '{"a": 1}' IS JSON, '[1]' IS JSON ARRAY, 'x' IS JSON SCALAR, '{"a":1,"a":2}' IS JSON OBJECT WITH UNIQUE KEYS
-- @json-query
SELECT json_exists(payload, '$.kind'), json_value(payload, '$.kind'), json_query(payload, '$.nested.list'), json_value(payload, '$.visitors' RETURNING int) FROM events WHERE id = 1
-- @json-scalar
SELECT json('{"a": 1}'), json_scalar(1), json_serialize('{"a": 1}' RETURNING text)
-- @json-table
SELECT id, t.* FROM events, json_table(payload, '$.nested.list[*]' COLUMNS (n FOR ORDINALITY, v int PATH '$')) t WHERE id < 3 ORDER BY id, n
-- @numbers
SELECT 1_000_000, 0x1F, 0o17, 0b101
-- @range-agg
SELECT range_agg(mr) FROM everything WHERE id < 3
-- @array-functions
SELECT array_sample(ARRAY[1, 1], 1), array_shuffle(ARRAY[2, 2]), array_sort(ARRAY[3, 1, 2]), array_reverse(ARRAY[1, 2])
-- @string-functions
SELECT to_bin(5), to_oct(8), casefold('ABC'), crc32('x'::bytea), reverse('\x0102'::bytea), date_add(timestamptz '2024-01-01 00:00+00', interval '1 day'), random_normal(0, 0), erf(0), gamma(5)
-- @uuid-v7
SELECT uuidv7() IS NOT NULL, uuid_extract_version(u), uuidv4() IS NOT NULL FROM everything WHERE id = 1
-- @random-range
SELECT random(1, 1), random(2.0, 2.0)
-- @at-local
SELECT tsz AT LOCAL FROM everything WHERE id = 1
-- @returning-old-new
UPDATE notes SET rating = 1 WHERE id = 1 RETURNING old.rating, new.rating
-- refused: the parser that the gateway is built on is that of PostgreSQL 17
-- @merge-returning
MERGE INTO notes n USING (VALUES (1, 'merged')) v(id, note) ON n.id = v.id WHEN MATCHED THEN UPDATE SET note = v.note RETURNING n.id, n.note
-- refused: not built yet
-- @copy-on-error simple
SELECT count(*) FROM notes
-- @system-user
SELECT system_user IS NULL
-- refused: it says how the gateway signs in
-- @json-labelled labelled
SELECT json_object('id': id, 'mail': email), json_value(profile, '$.email'), json_exists(profile, '$.email ? (@ like_regex "ada")') FROM customers WHERE id < 4 ORDER BY id
-- @json-table-labelled labelled
SELECT c.id, t.mail FROM customers c, json_table(c.profile, '$' COLUMNS (mail text PATH '$.email')) t WHERE c.id < 4 ORDER BY c.id
-- @json-array-query
SELECT json_array(SELECT id FROM products WHERE id < 4 ORDER BY id), json_array(SELECT name FROM products WHERE id = 1 RETURNING jsonb)
-- @json-arrayagg-window
SELECT id, json_arrayagg(id ORDER BY id) FILTER (WHERE id > 1) OVER (ORDER BY id) FROM products WHERE id < 4 ORDER BY id
