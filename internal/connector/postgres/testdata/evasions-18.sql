-- Ways around the guard that need a server of PostgreSQL 18 (RETURNING's old and new, MERGE … RETURNING of 17), in the
-- format of evasions.sql. They run where the tests' server is one.
-- Format of an entry: see evasions.sql.
-- @n01 | returning | app | q | alice\.w | MASK
UPDATE mailbox SET note='z' WHERE id=1 RETURNING old.email, new.email
-- @n02 | returning | app | q | alice\.w | MASK
DELETE FROM mailbox WHERE id=1 RETURNING old.*
-- @n03 | returning | app | q | alice\.w | DENY
UPDATE mailbox SET note='z' WHERE id=1 RETURNING upper(old.email)||'alice.w'
-- @n04 | returning | app | q | alice\.w | DENY
UPDATE mailbox SET note='z' WHERE id=1 RETURNING old
-- @n05 | returning | app | q | alice\.w | DENY
UPDATE mailbox SET note='z' WHERE id=1 RETURNING to_jsonb(new)
-- @n06 | returning | app | q | alice\.w | DENY
UPDATE mailbox SET note='z' WHERE id=1 RETURNING (old).email
-- @n07 | returning | app | q | alice\.w | DENY
UPDATE mailbox SET note='z' WHERE id=1 RETURNING (SELECT old.email)
-- @n08 | returning | app | q | alice\.w | DENY
UPDATE mailbox SET note='z' WHERE id=1 RETURNING (SELECT x FROM (SELECT new.email AS x) s)
-- @n09 | returning | app | q | alice\.w | DENY
UPDATE mailbox SET note='z' FROM (products AS old JOIN products p ON true) AS j WHERE mailbox.id=1 RETURNING old.email||''
-- @n10 | returning | app | q | alice\.w | MASK
UPDATE mailbox SET note='z' FROM (products AS old JOIN products p ON true) AS j WHERE mailbox.id=1 RETURNING old.email
-- @n11 | returning | app | q | alice\.w | MASK
WITH old AS (SELECT 1 AS email) UPDATE mailbox SET note='z' WHERE id=1 RETURNING old.email
-- @n12 | returning | app | q | alice\.w | DENY
UPDATE mailbox SET note='z' WHERE id=1 RETURNING WITH (OLD AS o, NEW AS n) o.email, n.email
-- @n13 | returning | app | q | alice\.w | DENY
UPDATE mailbox AS old SET note='z' WHERE old.id=1 RETURNING old.email||''
-- @n14 | returning | app | q | alice\.w | MASK
UPDATE mailbox AS new SET note='z' WHERE new.id=1 RETURNING new.email, old.email
-- @n15 | returning | app | q | alice\.w | MASK
WITH u AS (UPDATE mailbox SET note='z' WHERE id=1 RETURNING old.email AS x) SELECT x FROM u
-- @n16 | returning | app | q | alice\.w | MASK
COPY (UPDATE mailbox SET note='z' WHERE id=1 RETURNING old.email, new.email) TO STDOUT
-- @n17 | returning | app | q | alice\.w | MASK
PREPARE p AS UPDATE mailbox SET note='z' WHERE id=$1 RETURNING old.email
;;
EXECUTE p(1)
-- @n18 | returning | app | q | D\tt\t | DENY
INSERT INTO mailbox VALUES (1,'x','y') ON CONFLICT (id) DO UPDATE SET note='z' RETURNING old.email LIKE 'alice%'
-- @n19 | returning | app | q | alice\.w | MASK
INSERT INTO mailbox VALUES (1,'x','y') ON CONFLICT (id) DO UPDATE SET note='z' RETURNING old.email
-- @n20 | returning | app | q | alice\.w | DENY
UPDATE mailbox SET note=old.email FROM mailbox AS old WHERE old.id=1 AND mailbox.id=1 RETURNING new.note
-- @n21 | returning | app | q | D\tt\t | DENY
UPDATE mailbox SET email='alice.w@corp.example' WHERE id=1 RETURNING old.email = new.email
-- @n22 | returning | app | q | D\tt\t | DENY
UPDATE mailbox SET email='alice.w@corp.example' WHERE id=1 RETURNING old IS NOT DISTINCT FROM new
-- @n23 | returning | app | q | alice\.w | DENY
UPDATE mailbox SET note='z' WHERE id=1 RETURNING (SELECT string_agg(v.x, '') FROM (VALUES (old.email)) v(x))
-- @n24 | returning | app | q | alice\.w | DENY
UPDATE mailbox SET note='z' WHERE id=1 RETURNING (SELECT email FROM (SELECT old.*) old)
-- @n25 | returning | app | q | alice\.w | DENY
UPDATE mailbox SET note='z' WHERE id=1 RETURNING ROW(old.*)
-- @n31 | merge | app | q | alice\.w | MASK
MERGE INTO mailbox m USING products p ON m.id=p.id WHEN MATCHED THEN UPDATE SET note='z' RETURNING merge_action(), m.email
-- @n32 | merge | app | q | alice\.w | MASK
MERGE INTO mailbox m USING products p ON m.id=p.id WHEN MATCHED THEN DELETE RETURNING *
-- @n33 | merge | app | q | alice\.w | DENY
MERGE INTO mailbox m USING products p ON m.id=p.id WHEN MATCHED THEN DELETE RETURNING to_jsonb(m)
-- @n34 | merge | app | q | alice\.w | DENY
MERGE INTO mailbox m USING products p ON m.id=p.id WHEN MATCHED THEN DELETE RETURNING (SELECT m.email)
-- @n35 | merge | app | q | alice\.w | MASK
MERGE INTO products p USING mailbox m ON m.id=p.id WHEN MATCHED THEN UPDATE SET name=m.email RETURNING m.email, p.name
-- @n36 | merge | app | q | alice\.w | MASK
WITH m AS (MERGE INTO mailbox m USING products p ON m.id=p.id WHEN MATCHED THEN DELETE RETURNING m.email AS x) SELECT upper(x), x FROM m
-- @n37 | merge | app | q | alice\.w | MASK
COPY (MERGE INTO mailbox m USING products p ON m.id=p.id WHEN MATCHED THEN DELETE RETURNING m.email, merge_action()) TO STDOUT
-- @n38 | merge | app | q | alice\.w | MASK
PREPARE p AS MERGE INTO mailbox m USING products p ON m.id=p.id WHEN MATCHED THEN DELETE RETURNING m.email
;;
EXECUTE p
-- @n39 | merge | app | q | alice\.w | DENY
MERGE INTO mailbox m USING products p ON m.id=p.id WHEN MATCHED THEN DELETE RETURNING CASE merge_action() WHEN 'DELETE' THEN m.email END
-- @n40 | merge | app | q | alice\.w | MASK
MERGE INTO mailbox m USING products p ON m.id=p.id WHEN MATCHED THEN UPDATE SET note='z' RETURNING old.email, new.email
-- @n41 | merge | app | q | alice\.w | DENY
MERGE INTO mailbox m USING products AS old ON m.id=old.id WHEN MATCHED THEN UPDATE SET note='z' RETURNING new.email||m.email
-- @n42 | merge | app | q | alice\.w | DENY
MERGE INTO mailbox m USING products p ON m.id=p.id WHEN MATCHED THEN UPDATE SET note=m.email RETURNING m.note
-- @n43 | merge | app | q | D\tDELETE\t | DENY
MERGE INTO mailbox m USING products p ON m.email LIKE 'alice%' WHEN MATCHED THEN DELETE RETURNING merge_action()
-- @n44 | merge | app | q | D\tUPDATE\t | DENY
MERGE INTO mailbox m USING products p ON m.id=p.id WHEN MATCHED AND m.email LIKE 'alice%' THEN UPDATE SET note='z' RETURNING merge_action()
