-- Evasion corpus, PostgreSQL 15: ways to get a labelled value out of a database (set-up: evasions-setup.sql).
-- Format of an entry:
--   -- @ID | category | role | proto | witness | safe outcome
--   SQL (one wire message, unless split by a line that holds only ";;")
-- role: app = ordinary role with table grants, su = superuser, rep = replication role (direct runs only; a gateway has its own)
-- proto: q simple query (also sent extended, with text and with binary results, where it is one statement) | qx extended, text
--   results | qb extended, binary results | x:NAME needs a protocol script, described in the entry
-- witness: Go regexp. If it matches what the server sent, the raw value left the database. The transcript has one line per
--   message: type byte, then tab and text of each field. DataRow: D<tab>cell<tab>cell<tab>
-- safe: MASK (answer, masked) DENY (refuse) REDACT (answer or refuse, error and notice text hidden) RULE (needs the catalog)
--   LIMIT (a known limit, run but not counted)
-- {{dir}} {{port}} {{db}} {{log}}: a directory that the server can write, its port, this database, the server's log file
-- @001 | alias | app | q | alice\.w@corp | MASK
SELECT email FROM customers WHERE id=1
-- @002 | alias | app | q | alice\.w@corp | MASK
SELECT email AS note FROM customers WHERE id=1
-- @003 | alias | app | q | alice\.w@corp | MASK
SELECT * FROM customers AS t(a,b,c,d,e,f,g,h) WHERE a=1
-- @006 | alias | app | q | alice\.w@corp | MASK
SELECT/**/"email"/*x*/FROM/**/"public"."customers"--
-- @007 | alias | app | q | alice\.w@corp | MASK
TABLE customers
-- @008 | alias | app | q | alice\.w@corp | MASK
SELECT c.* FROM ONLY customers c WHERE id=1
-- @011 | expr | app | q | ALICE\.W@CORP | MASK
SELECT upper(email) FROM customers WHERE id=1
-- @012 | expr | app | q | D\ta\t\nD\tl\t\nD\ti\t\nD\tc\t | MASK
SELECT substr(email,g,1) FROM customers, generate_series(1,20) g WHERE id=1 ORDER BY g
-- @013 | expr | app | q | YWxpY2Uud0Bjb3JwLmV4YW1wbGU= | MASK
SELECT encode(email::bytea,'base64') FROM customers WHERE id=1
-- @016 | expr | app | q | elpmaxe\.proc | MASK
SELECT reverse(email) FROM customers WHERE id=1
-- @017 | expr | app | q | 97\t108\t105 | MASK
SELECT ascii(email), ascii(substr(email,2)), ascii(substr(email,3)) FROM customers WHERE id=1
-- @018 | expr | app | q | nyvpr\.j | MASK
SELECT translate(email,'abcdefghijklmnopqrstuvwxyz','nopqrstuvwxyzabcdefghijklm') FROM customers WHERE id=1
-- @021 | expr | app | q | \{alice\.w,corp | MASK
SELECT string_to_array(email,'@') FROM customers WHERE id=1
-- @022 | expr | app | q | alice\.w | MASK
SELECT r FROM customers, regexp_split_to_table(email,'@') r WHERE id=1
-- @023 | expr | app | q | alice | MASK
SELECT COALESCE(NULLIF(email,''),'x') FROM customers WHERE id=1
-- @026 | expr | app | q | alice | MASK
SELECT email || '' FROM customers WHERE id=1
-- @027 | expr | app | q | alice | MASK
SELECT lexeme FROM customers, unnest(to_tsvector('simple',email)) WHERE id=1
-- @028 | expr | app | q | alice | MASK
SELECT email::varchar(3), left(email,3), email COLLATE "C" FROM customers WHERE id=1
-- @031 | row | app | q | alice | MASK
SELECT c::text FROM customers c WHERE id=1
-- @032 | row | app | q | alice | MASK
SELECT row_to_json(c) FROM customers c WHERE id=1
-- @033 | row | app | q | alice | MASK
SELECT to_jsonb(customers) -> 'email' FROM customers WHERE id=1
-- @036 | row | app | q | alice | MASK
SELECT k,v FROM customers c, each(hstore(c)) AS e(k,v) WHERE c.id=1
-- @037 | row | app | q | alice | MASK
SELECT j.key, j.value FROM customers c, jsonb_each_text(to_jsonb(c)) j WHERE c.id=1
-- @038 | row | app | q | alice | MASK
SELECT concat(c), format('%s',c), quote_literal(c) FROM customers c WHERE id=1
-- @041 | row | app | q | alice | MASK
SELECT customers.email, c2 FROM customers JOIN LATERAL (SELECT customers) c2 ON true WHERE customers.id=1
-- @042 | agg | app | q | alice | MASK
SELECT string_agg(email,',') FROM customers
-- @043 | agg | app | q | alice | MASK
SELECT array_agg(email) FROM customers WHERE id<5
-- @046 | agg | app | q | alice | MASK
SELECT min(email), max(ssn) FROM customers
-- @047 | agg | app | q | alice | MASK
SELECT mode() WITHIN GROUP (ORDER BY email) , percentile_disc(0) WITHIN GROUP (ORDER BY email) FROM customers WHERE id=1
-- @048 | agg | app | q | alice | MASK
SELECT lag(email) OVER w, first_value(email) OVER w FROM customers WINDOW w AS (ORDER BY id)
-- @051 | xml | app | q | alice | DENY
BEGIN; DECLARE cx CURSOR FOR SELECT email FROM customers; SELECT cursor_to_xml('cx',5,true,false,''); COMMIT
-- @052 | xml | app | q | alice | DENY
SELECT schema_to_xml('public',true,false,'')
-- @053 | xml | app | q | alice | DENY
SELECT database_to_xml(true,false,'')
-- @056 | sub | app | q | alice | MASK
SELECT name FROM products UNION SELECT email FROM customers
-- @057 | sub | app | q | alice | MASK
SELECT * FROM (VALUES ((SELECT email FROM customers WHERE id=1))) v(x)
-- @058 | sub | app | q | alice | MASK
SELECT (SELECT email FROM customers WHERE id=p.id) FROM products p
-- @061 | sub | app | q | alice | MASK
SELECT * FROM orders JOIN (SELECT email AS customer_email, tier FROM customers) c USING (customer_email)
-- @062 | sub | app | q | alice | MASK
SELECT name FROM products INTERSECT SELECT 'pen' UNION ALL (SELECT email FROM customers EXCEPT SELECT 'x')
-- @063 | sub | app | q | alice | MASK
WITH customers AS (SELECT 1 AS email) SELECT * FROM customers, public.customers c2 WHERE c2.id=1
-- @066 | object | app | q | alice | RULE
SELECT customer_email FROM orders
-- @067 | object | app | q | alice | RULE
SELECT profile FROM customers WHERE id=1
-- @068 | object | app | q | alice | RULE
SELECT profile->>'email', jsonb_path_query(profile,'$.ids.ssn') FROM customers WHERE id=1
-- @071 | object | app | q | alice | RULE
CREATE VIEW v9 AS SELECT email AS z FROM customers;;
;;
SELECT z FROM v9
-- @072 | object | app | q | alice | DENY
CREATE MATERIALIZED VIEW m9 AS SELECT email AS z FROM customers
;;
SELECT z FROM m9
-- @073 | func | app | q | alice | DENY
SELECT get_contact(1)
-- @076 | func | app | q | alice | DENY
CREATE FUNCTION f9() RETURNS text LANGUAGE sql AS 'select email from customers where id=1'
;;
SELECT f9()
-- @077 | func | app | q | alice | DENY
CREATE FUNCTION upper(varchar) RETURNS text LANGUAGE sql AS 'select min(email) from customers'
;;
SELECT upper('x'::varchar)
-- @078 | func | app | q | alice | DENY
CREATE FUNCTION opf(int,int) RETURNS text LANGUAGE sql AS 'select min(email) from customers'; CREATE OPERATOR <%> (leftarg=int,rightarg=int,function=opf)
;;
SELECT 1 <%> 2
-- @081 | func | app | q | alice | DENY
DO $$DECLARE r record; BEGIN FOR r IN EXECUTE 'sel'||'ect * from cust'||'omers' LOOP RAISE WARNING '%', r; END LOOP; END$$
-- @082 | func | app | q | alice | DENY
SELECT * FROM crosstab('select 1,2,email from customers where id=1') AS t(a int, b text)
-- @083 | func | app | q | alice | DENY
CREATE FUNCTION pg_temp.leak(text) RETURNS bool LANGUAGE plpgsql COST 0.0001 AS $$BEGIN RAISE NOTICE '%',$1; RETURN true; END$$
;;
SELECT id FROM customers WHERE pg_temp.leak(email)
-- @086 | error | app | q | alice | REDACT
SELECT (SELECT email FROM customers WHERE id=1)::date
-- @087 | error | app | q | alice | REDACT
INSERT INTO intcol SELECT email::int FROM customers WHERE id=1
-- @088 | error | app | q | alice | REDACT
INSERT INTO uniq_email SELECT email FROM customers WHERE id=1; INSERT INTO uniq_email SELECT email FROM customers WHERE id=1
-- @091 | error | app | q | alice | REDACT
UPDATE customers SET email=NULL WHERE id=1
-- @092 | error | app | q | alice | REDACT
DELETE FROM customers WHERE id=1
-- @093 | error | app | q | alice | REDACT
INSERT INTO orders SELECT 77, email||'X', 1 FROM customers WHERE id=1
-- @096 | error | app | q | alic | REDACT
SELECT to_date(email,'YYYY'), email::inet FROM customers WHERE id=1
-- @097 | error | app | q | alice | REDACT
SELECT jsonb(email) FROM customers WHERE id=1
-- @098 | error | app | q | alice | REDACT
SELECT email::uuid FROM customers WHERE id=1
-- @101 | error | su | q | bob\.k@mail|alice|carol | DENY
CREATE UNIQUE INDEX ON hist(k)
-- @102 | explain | app | q | actual [^)]*rows=101 | DENY
EXPLAIN (ANALYZE, TIMING OFF) SELECT * FROM customers WHERE ssn='111-22-3333'
-- @103 | explain | app | q | rows=1[0-9][0-9] | DENY
EXPLAIN SELECT * FROM customers WHERE ssn='111-22-3333'
-- @106 | stats | app | q | 111-22-3333 | DENY
SELECT most_common_vals FROM pg_stats WHERE tablename='customers' AND attname='ssn'
-- @107 | stats | su | q | u[0-9]+@bulk|alice | DENY
SELECT stavalues1 FROM pg_statistic WHERE starelid='customers'::regclass
-- @108 | stats | app | x:activity | alice | DENY
SELECT query FROM pg_stat_activity
-- @111 | copy | app | q | alice | MASK
COPY customers TO STDOUT
-- @112 | copy | app | q | alice | MASK
COPY (SELECT email AS x FROM customers WHERE id=1) TO STDOUT (FORMAT csv, HEADER)
-- @113 | copy | app | q | alice | MASK
COPY customers(id,email) TO STDOUT (FORMAT binary)
-- @116 | copy | app | q | alice | MASK
COPY (DELETE FROM orders RETURNING customer_email) TO STDOUT
-- @117 | infer | app | q | COPY 1 | DENY
COPY orders FROM STDIN
-- @118 | wire | app | qb | alice | MASK
SELECT email FROM customers WHERE id=1
-- @121 | wire | app | q | alice | MASK
BEGIN; DECLARE k CURSOR FOR SELECT email FROM customers ORDER BY id; FETCH 1 FROM k; COMMIT
-- @122 | wire | app | q | alice | MASK
BEGIN; DECLARE k SCROLL CURSOR WITH HOLD FOR SELECT email FROM customers ORDER BY id; COMMIT
;;
FETCH ALL FROM k
-- @123 | wire | app | q | alice | MASK
PREPARE p AS SELECT email FROM customers WHERE id=$1; EXECUTE p(1)
-- @126 | wire | app | x:fcall | alice | DENY
FunctionCall ('F') message calling get_contact(1) by OID
-- @127 | wire | app | q | alice | MASK
SELECT 1; SELECT email FROM customers WHERE id=1; SELECT 2
-- @128 | wire | app | x:nul | alice | DENY
'Q' message whose body is SELECT 1 NUL SELECT email FROM customers NUL
-- @131 | wire | rep | x:logical | alice | DENY
START_REPLICATION SLOT ... LOGICAL with test_decoding
-- @132 | wire | su | q | alice | DENY
SELECT pg_create_logical_replication_slot('z9','test_decoding')
;;
UPDATE orders SET amount=1 WHERE id=1; UPDATE orders SET customer_email=customer_email, id=101 WHERE id=1
;;
SELECT data FROM pg_logical_slot_get_changes('z9',NULL,NULL)
;;
SELECT pg_drop_replication_slot('z9')
-- @133 | wire | rep | x:basebackup | alice | DENY
BASE_BACKUP on a physical replication connection
-- @136 | state | app | q | alice | DENY
INSERT INTO scratch SELECT email FROM customers WHERE id=1
;;
SELECT t FROM scratch
-- @137 | state | app | q | alice | MASK
INSERT INTO scratch SELECT email FROM customers WHERE id=1 RETURNING t
-- @138 | state | app | q | alice | MASK
UPDATE products SET name=c.email FROM customers c WHERE c.id=1 RETURNING products.name
-- @141 | state | app | q | alice | DENY
UPDATE customers SET name=email WHERE id=1
;;
SELECT name FROM customers WHERE id=1
-- @142 | state | app | q | alice | MASK
WITH d AS (DELETE FROM orders RETURNING *) SELECT customer_email AS z FROM d
-- @143 | state | app | q | alice | DENY
MERGE INTO products p USING customers c ON p.id=c.id WHEN MATCHED THEN UPDATE SET name=c.email
;;
SELECT name FROM products
-- @146 | state | app | q | alice | DENY
SELECT count(set_config('my.x',email,false)) FROM customers WHERE id=1
;;
SHOW my.x
-- @147 | state | app | q | alice | DENY
SELECT count(set_config('application_name',email,false)) FROM customers WHERE id=1
-- @148 | state | app | q | 6384745 | DENY
SELECT setval('s1',ascii(email)*65536+ascii(substr(email,2))*256+ascii(substr(email,3))) IS NULL FROM customers WHERE id=1
;;
SELECT last_value FROM s1
-- @151 | state | app | q | alice | DENY
CREATE TABLE copycat (LIKE customers INCLUDING ALL); INSERT INTO copycat(id,name,email,ssn) SELECT id,name,email,ssn FROM customers
;;
SELECT email AS a, ssn AS b FROM copycat WHERE id=1
-- @152 | state | su | q | alice | DENY
CREATE TABLE x9 (customer_email text); INSERT INTO x9 SELECT email FROM customers; ALTER TABLE x9 RENAME customer_email TO c0
;;
SELECT c0 FROM x9
-- @153 | state | su | q | ALICE | DENY
CREATE RULE r9 AS ON UPDATE TO scratch DO INSTEAD SELECT upper(email) AS t FROM customers WHERE id=1
;;
UPDATE scratch SET t=t
-- @156 | infer | app | q | (?s)n1007.*n1006.*n1005.*n1004.*n1003.*n1002.*n1001.*n1000.*Carol.*Bob.*Alice | DENY
SELECT name FROM customers WHERE id<4 OR id BETWEEN 1000 AND 1007 ORDER BY email DESC
-- @157 | infer | app | q | D\t101\t | DENY
SELECT count(*) FROM customers GROUP BY ssn HAVING count(*)>1
-- @158 | infer | app | q | D\tyes\t | DENY
SELECT CASE WHEN email LIKE 'alice%' THEN 'yes' ELSE 'no' END FROM customers WHERE id=1
-- @161 | infer | app | q | CommandComplete.*DELETE 1|DELETE 1 | DENY
BEGIN; DELETE FROM scratch; INSERT INTO scratch VALUES('k'); DELETE FROM scratch WHERE EXISTS (SELECT 1 FROM customers WHERE email LIKE 'alice%'); ROLLBACK
-- @162 | infer | app | q | division by zero | DENY
SELECT 1/(CASE WHEN email LIKE 'alice%' THEN 0 ELSE 1 END) FROM customers WHERE id=1
-- @163 | infer | app | q | duplicate key | REDACT
BEGIN; INSERT INTO customers(id,email) VALUES (555,'alice.w@corp.example'); ROLLBACK
-- @166 | infer | app | q | Alice | DENY
SELECT name FROM customers JOIN LATERAL (SELECT email ~ '^alice' AS hit) h ON h.hit
-- @167 | priv | su | q | alice | DENY
SELECT * FROM dblink('host={{dir}} port={{port}} dbname={{db}} user=su','select email from customers where id=1') AS t(z text)
-- @168 | priv | su | q | alice | DENY
CREATE SERVER lb FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{{dir}}', port '{{port}}', dbname '{{db}}'); CREATE USER MAPPING FOR su SERVER lb OPTIONS (user 'su'); CREATE FOREIGN TABLE ft(email text) SERVER lb OPTIONS (table_name 'customers')
;;
SELECT email AS q FROM ft WHERE email LIKE 'alice%'
-- @171 | priv | su | q | alice|616c696365 | DENY
SELECT t_data FROM heap_page_items(get_raw_page('customers',0))
-- @172 | priv | su | q | alice | DENY
SELECT lo_from_bytea(77,convert_to(string_agg(email,','),'UTF8')) FROM customers WHERE id<5; SELECT lo_export(77,'{{dir}}/lo.txt')
;;
SELECT pg_read_file('{{dir}}/lo.txt')
-- @173 | priv | su | q | alice\.w@corp | DENY
SET log_statement='all'
;;
SELECT 'x' FROM customers WHERE email='alice.w@corp.example'
;;
SELECT right(pg_read_file('{{log}}'),4000)
-- @176 | priv | app | q | QUERY.*rtable|rewritten parse tree | DENY
SET client_min_messages=log; SET debug_print_rewritten=on; SELECT 1 FROM v_contacts
-- @177 | error | su | q | alice | DENY
ALTER TABLE customers ALTER COLUMN name TYPE int USING email::int
-- @178 | parse | app | q | alice | DENY
CREATE TEMP TABLE customers(id int, email text)
;;
SELECT email FROM public.customers c WHERE c.id=1
-- @181 | parse | app | q | alice | DENY
SET standard_conforming_strings=off
;;
SELECT '\'', email FROM customers WHERE id=1 -- '
-- @182 | parse | app | q | alice | DENY
SET client_encoding='SJIS'
;;
SELECT email FROM customers WHERE id=1
-- @183 | parse | app | q | alice | DENY
SET client_encoding='UTF8'; SET backslash_quote=on; SET standard_conforming_strings=off
;;
SELECT '\'' || email || '\'' FROM customers WHERE id=1
-- @186 | parse | app | x:parseonly17 | alice | DENY
SELECT JSON_VALUE(profile,'$.email') FROM customers  -- PG17 grammar; gateway parser newer/older than server
-- @187 | parse | app | q | alice | MASK
SELECT id, (SELECT email FROM customers c WHERE c.id=o.id LIMIT 1) FROM orders o TABLESAMPLE SYSTEM (100)
-- @188 | parse | app | q | alice | MASK
SELECT t.* FROM ROWS FROM (jsonb_to_recordset((SELECT jsonb_agg(c) FROM public.customers c WHERE id=1)) AS (email text, ssn text)) t
-- @191 | parse | app | q | alice | MASK
SELECT (SELECT set_config('a.b',c.email,true)) IS NULL FROM customers c WHERE id=1; SELECT current_setting('a.b',true)
-- @192 | parse | app | q | alice | MASK
SELECT id FROM customers WHERE id=1 FOR UPDATE; SELECT c.email FROM customers c WHERE c.ctid=(SELECT ctid FROM customers WHERE id=1)
-- @193 | parse | app | q | alice | MASK
SELECT a.attname, c.email FROM pg_attribute a, customers c WHERE a.attrelid='customers'::regclass AND c.id=1 LIMIT 1
-- @196 | infer | app | q | 21\t12|20\t11 | DENY
SELECT octet_length(email), octet_length(ssn) FROM customers WHERE id=1
-- @197 | agg | app | q | alice | MASK
SELECT xmlforest(c.email AS a), xmlconcat(xmlelement(name b, c.ssn)) FROM customers c WHERE id=1
-- @198 | agg | app | q | alice | MASK
SELECT json_build_object('k',email), jsonb_build_array(ssn), array_to_string(ARRAY[email],''), ('{'||email||'}')::text[] FROM customers WHERE id=1
-- @201 | row | app | q | alice | DENY
CREATE FUNCTION leak(customers) RETURNS text LANGUAGE sql AS 'select $1.email'
;;
SELECT customers.leak FROM customers WHERE id=1
-- @202 | object | app | q | alice | LIMIT
SELECT k FROM hist LIMIT 1
