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
UPDATE notes SET rating = 1 WHERE id = 1 RETURNING old.rating, new.rating, rating, old.ctid = new.ctid
-- @returning-old-new-star
UPDATE notes SET rating = 1 WHERE id = 1 RETURNING old.*, new.*
-- @returning-old-new-row
UPDATE notes SET rating = 1 WHERE id = 1 RETURNING old, new, (old).id, to_jsonb(new) ->> 'rating'
-- @returning-old-new-deep
UPDATE notes SET rating = 1 WHERE id = 1 RETURNING (SELECT old.id), (SELECT n.id FROM notes n WHERE n.id = new.id)
-- @returning-old-delete
DELETE FROM notes WHERE id = 1 RETURNING old.id, new.id, new IS NULL
-- @returning-old-insert
INSERT INTO notes (id, note) VALUES (987654, 'n') RETURNING old.id, new.note, old IS NULL
-- @returning-old-upsert
INSERT INTO notes (id, note) VALUES (1, 'n') ON CONFLICT (id) DO UPDATE SET note = excluded.note RETURNING old.id, new.note, old IS NULL
-- @returning-alias-old
UPDATE notes AS old SET rating = 1 WHERE id = 1 RETURNING old.rating, new.rating
-- @returning-alias-new
UPDATE notes AS new SET rating = 1 WHERE id = 1 RETURNING old.rating, new.rating
-- @returning-from-old
UPDATE notes SET rating = 1 FROM products AS old WHERE notes.id = 1 AND old.id = 1 RETURNING old.name, new.rating
-- @returning-hidden-old
UPDATE notes SET rating = 1 FROM (products AS old JOIN orders o ON o.id = old.id) AS j WHERE notes.id = 1 AND j.name IS NOT NULL AND o.id = 1 RETURNING old.rating
-- @returning-hidden-old-right
UPDATE notes SET rating = 1 FROM (products AS old JOIN orders o ON o.product_id = old.id) AS j(a, b) WHERE notes.id = 1 AND j.a = 1 RETURNING old.rating
-- @returning-old-with
WITH u AS (UPDATE notes SET rating = 1 WHERE id = 1 RETURNING old.rating AS was, new.rating AS now) SELECT was, now FROM u
-- @returning-old-labelled labelled
UPDATE customers SET name = 'Zed' WHERE id = 1 RETURNING old.name, new.name, old.email, new.phone
-- @returning-old-labelled-star labelled
UPDATE customers SET name = 'Zed' WHERE id = 1 RETURNING old.*, new.*
-- @returning-old-labelled-alias labelled
UPDATE customers AS new SET name = 'Zed' WHERE new.id = 1 RETURNING new.email, old.email
-- @returning-old-labelled-row labelled reveal
UPDATE customers SET name = 'Zed' WHERE id = 1 RETURNING to_jsonb(old) ->> 'email'
-- @merge-returning
MERGE INTO notes n USING (VALUES (1, 'merged')) v(id, note) ON n.id = v.id WHEN MATCHED THEN UPDATE SET note = v.note RETURNING n.id, n.note
-- @merge-returning-star
MERGE INTO notes n USING (VALUES (1, 'merged')) v(id, note) ON n.id = v.id WHEN MATCHED THEN UPDATE SET note = v.note RETURNING *
-- @merge-returning-action
MERGE INTO notes n USING (VALUES (1, 'merged'), (987654, 'made')) v(id, note) ON n.id = v.id WHEN MATCHED THEN UPDATE SET note = v.note WHEN NOT MATCHED THEN INSERT (id, note) VALUES (v.id, v.note) RETURNING merge_action(), v.*, n.note, (SELECT merge_action()), old.id, new.id
-- @merge-returning-delete
MERGE INTO notes n USING (VALUES (1)) v(id) ON n.id = v.id WHEN MATCHED THEN DELETE RETURNING merge_action() AS did, n.*
-- @merge-returning-with
WITH m AS (MERGE INTO notes n USING (VALUES (1, 'merged')) v(id, note) ON n.id = v.id WHEN MATCHED THEN UPDATE SET note = v.note RETURNING merge_action() AS did, n.id) SELECT did, id FROM m
-- @merge-returning-labelled labelled
MERGE INTO customers c USING orders o ON c.id = o.customer_id AND o.id = 1 WHEN MATCHED THEN UPDATE SET name = o.status RETURNING merge_action(), c.email, c.phone, o.id
-- @merge-returning-labelled-star labelled
MERGE INTO customers c USING orders o ON c.id = o.customer_id AND o.id = 1 WHEN MATCHED THEN UPDATE SET name = o.status RETURNING *
-- @merge-returning-labelled-source labelled
MERGE INTO notes n USING customers c ON n.id = c.id AND c.id = 1 WHEN MATCHED THEN UPDATE SET note = 'x' RETURNING c.email, c.birth_date, n.id
-- @merge-returning-labelled-old labelled
MERGE INTO customers c USING orders o ON c.id = o.customer_id AND o.id = 1 WHEN MATCHED THEN UPDATE SET name = o.status RETURNING old.email, new.email, old.name
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
