-- Statements over the types, operators and functions of extensions. honest.sql says what the parts of an entry mean.

-- @citext-equals
SELECT id FROM people WHERE nick = 'ADA'
-- @citext-operators
SELECT id, nick = 'ada', nick <> 'bob', nick < 'B', nick LIKE 'ADA%', nick ~ '^ad', nick !~ 'X', nick::citext ~~ 'aDa', 'x'::citext = 'X', 'x'::citext = 'X'::text FROM people ORDER BY id
-- @citext-in
SELECT id FROM people WHERE nick IN ('ADA', 'BOB') ORDER BY id
-- @citext-any
SELECT id FROM people WHERE nick = ANY ('{ADA,bob}'::citext[]) ORDER BY id
-- @citext-param
SELECT id FROM people WHERE nick = $1
-- args: ["aDA"]
-- @citext-param-any
SELECT id FROM people WHERE nick = ANY ($1) ORDER BY id
-- args: ["{ADA,BOB}"]
-- @citext-distinct
SELECT count(DISTINCT v), min(v), max(v) FROM (VALUES ('a'::citext), ('A'), ('b')) t(v)
-- @citext-group
SELECT v, count(*) FROM (VALUES ('a'::citext), ('A'), ('b')) t(v) GROUP BY v ORDER BY v
-- @citext-functions
SELECT replace(nick, 'A', 'x'), strpos(nick::citext, 'D'), split_part('aXb'::citext, 'x', 2), regexp_replace(nick::citext, 'ADA', 'z'), translate(nick::citext, 'A', 'q'), lower(nick), length(nick) FROM people ORDER BY id
-- @citext-case
SELECT CASE nick WHEN 'ada' THEN 1 ELSE 0 END, nullif(nick, 'ADA'), nick IS DISTINCT FROM 'ADA', coalesce(nick, 'none') FROM people ORDER BY id
-- @citext-between
SELECT id FROM people WHERE nick BETWEEN 'A' AND 'B' ORDER BY id
-- @citext-join
SELECT a.id FROM people a JOIN (VALUES ('ADA'::citext)) b(nick) USING (nick)
-- @citext-array
SELECT id, tags, tags[1] = 'RED', tags @> ARRAY['red']::citext[], 'blue' = ANY (tags) FROM people ORDER BY id
-- @citext-order
SELECT nick FROM people ORDER BY nick DESC NULLS LAST
-- @citext-labelled labelled
SELECT id, email FROM people WHERE email = 'ADA@corp.example' OR id = 2 ORDER BY id
-- @citext-write
UPDATE people SET nick = 'ZED' WHERE nick = 'ada' RETURNING id, nick
-- @citext-domain
SELECT ''::login
-- @hstore-operators
SELECT attrs -> 'a', attrs -> ARRAY['a','b'], attrs ? 'b', attrs ?& ARRAY['a','b'], attrs ?| ARRAY['z','a'], attrs @> 'a=>1', attrs <@ 'a=>1,b=>x', attrs || 'd=>4', attrs - 'a'::text, attrs - 'a=>1'::hstore, %% attrs, %# attrs, attrs = 'a=>2'::hstore FROM people ORDER BY id
-- @hstore-functions
SELECT hstore('k', 'v'), akeys(attrs), avals(attrs), hstore_to_json(attrs), hstore_to_jsonb(attrs), exist(attrs, 'a'), defined(attrs, 'c'), delete(attrs, 'a'), slice(attrs, ARRAY['a']), hstore(ARRAY['x','y'], ARRAY['1','2']), hstore_to_array(attrs), attrs::json, attrs['a'] FROM people ORDER BY id
-- @hstore-each
SELECT p.id, e.key, e.value FROM people p, each(p.attrs) e ORDER BY 1, 2
-- @hstore-each-alias
SELECT k, v FROM people, each(attrs) AS t(k, v) WHERE id = 1 ORDER BY 1
-- @hstore-each-field
SELECT id, (each(attrs)).key FROM people ORDER BY 1, 2
-- @hstore-keys
SELECT skeys(attrs), svals(attrs) FROM people WHERE id = 1
-- @hstore-cast
SELECT 'a=>1'::hstore, CAST('b=>2' AS hstore) -> 'b', hstore(ROW(1, 2))
-- @hstore-update
UPDATE people SET attrs = attrs || 'new=>1', nums = nums + 9 WHERE id = 1 RETURNING attrs, nums
-- @hstore-subscript-update
UPDATE people SET attrs['a'] = '9' WHERE id = 1 RETURNING attrs
-- @hstore-param
SELECT id FROM people WHERE attrs @> $1 AND attrs ? $2
-- args: ["a=>1", "b"]
-- @hstore-populate
SELECT NULL::people #= 'id=>5'::hstore
-- refused: a row of a type is made of what a value names; the checks of its domains would run unseen
-- @trgm-operators
SELECT id, name % 'lovelase', name <-> 'Ada', 'ada' <% name, similarity(name, 'Ada'), word_similarity('ada', name), strict_word_similarity('ada', name), show_trgm(name), show_limit() FROM people ORDER BY id
-- @trgm-order
SELECT name FROM people WHERE name ILIKE '%love%' ORDER BY name <-> 'lovelace' LIMIT 1
-- @ltree-operators
SELECT path <@ 'Top', path @> 'Top.Science.Math', path ~ '*.Science.*', path ~ '*.Science.*'::lquery, path ? ARRAY['Top.*','x']::lquery[], path @ 'Science & !Arts', path || 'New', nlevel(path), subpath(path, 0, 1), subltree(path, 0, 1), lca(path, 'Top.X'), index(path, 'Science'), text2ltree('a.b'), 'a.b'::ltree < 'a.c' FROM people WHERE id < 3 ORDER BY id
-- @intarray
SELECT nums && '{2,9}', nums @> '{3}', nums @@ '1 & (2|9)', nums + 7, nums - 3, nums | 8, nums & '{1,3}', # nums, sort(nums, 'desc'), uniq(nums), idx(nums, 3), subarray(nums, 1, 1), icount(nums), nums ~~ '1 & 2'::query_int FROM people WHERE id < 3 ORDER BY id
-- @unaccent
SELECT unaccent(name), unaccent('unaccent', 'é') FROM people ORDER BY id
-- @fuzzy
SELECT levenshtein('kitten', 'sitting'), soundex('Anne'), difference('Anne', 'Ann'), metaphone('Thompson', 4), dmetaphone('gambol'), levenshtein_less_equal('a', 'b', 1)
-- @pgcrypto
SELECT encode(digest('x', 'sha1'), 'hex'), encode(hmac('d', 'k', 'sha256'), 'hex'), gen_random_uuid() IS NOT NULL, length(gen_random_bytes(4))
-- @pgcrypto-other
SELECT crypt('x', gen_salt('bf', 12))
-- refused: of pgcrypto the digests and random sources are on the list
-- @uuid
SELECT uuid_generate_v5(uuid_ns_dns(), 'example.com'), uuid_nil(), uuid_generate_v4() IS NOT NULL
-- @btree-gist
SELECT id, id <-> 2, during && tsrange('2024-01-15', '2024-03-15') FROM people ORDER BY id
-- @qualified
SELECT public.similarity('a', 'ab'), 'a' OPERATOR(public.%) 'ab', 'X'::public.citext OPERATOR(public.=) 'x', public.hstore('a', 'b')
-- @insert-types
INSERT INTO people (id, email, nick, attrs, path, tags) VALUES (9, 'New@X', 'N', 'q=>1', 'Top.New', '{a,B}') RETURNING id, nick, attrs, path, tags
-- @upsert-citext reveal labelled
INSERT INTO people (id, email) VALUES (10, 'ADA@CORP.example') ON CONFLICT (email) DO UPDATE SET name = 'again' RETURNING id, name
