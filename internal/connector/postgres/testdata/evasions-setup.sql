-- The database of the PostgreSQL evasion corpus (evasions.sql), PostgreSQL 15 with contrib.
-- Run by a superuser in an empty database, after these roles exist:
--   CREATE ROLE app LOGIN; CREATE ROLE gw LOGIN; CREATE ROLE rep LOGIN REPLICATION; CREATE ROLE su LOGIN SUPERUSER;
--   GRANT pg_read_all_stats TO app;
-- The server needs wal_level=logical and shared_preload_libraries=pg_stat_statements.
-- Labelled: customers.email, customers.ssn, customers.profile, audit_log.row_data. Everything else that can
-- carry those values (orders.customer_email, customers_arch, customers.email_domain, v_contacts, mv_addr)
-- must be found from the catalog. hist.k is an unlabelled copy without any trace in the catalog: entries that
-- read it (202) show a known limit and do not count.
CREATE EXTENSION hstore; CREATE EXTENSION tablefunc; CREATE EXTENSION dblink; CREATE EXTENSION postgres_fdw;
CREATE EXTENSION pageinspect; CREATE EXTENSION pg_stat_statements;

GRANT CREATE, USAGE ON SCHEMA public TO app, gw;
CREATE TABLE customers(
 id int PRIMARY KEY, name text, email text NOT NULL UNIQUE, ssn text CHECK (length(ssn)>=4), tier text DEFAULT 'std',
 profile jsonb, balance numeric, email_domain text GENERATED ALWAYS AS (split_part(email,'@',2)) STORED);
INSERT INTO customers(id,name,email,ssn,tier,profile,balance) VALUES
 (1,'Alice','alice.w@corp.example','123-45-6789','gold','{"email":"alice.w@corp.example","ids":{"ssn":"123-45-6789"}}',10),
 (2,'Bob','bob.k@mail.example','987-65-4321','std','{"email":"bob.k@mail.example","ids":{"ssn":"987-65-4321"}}',20),
 (3,'Carol','carol.z@mail.example','555-12-3456','std','{"email":"carol.z@mail.example","ids":{"ssn":"555-12-3456"}}',30);
CREATE TABLE orders(id int PRIMARY KEY, customer_email text REFERENCES customers(email) ON UPDATE CASCADE, amount numeric);
INSERT INTO orders VALUES (1,'alice.w@corp.example',5),(2,'bob.k@mail.example',6);
CREATE TABLE customers_arch() INHERITS (customers);
INSERT INTO customers_arch(id,name,email,ssn) VALUES (90,'Old','old.o@corp.example','222-33-4444');
CREATE TABLE uniq_email(email text PRIMARY KEY);
CREATE TABLE chk(v text CHECK (v !~ '@'));
CREATE TABLE intcol(v int);
CREATE TABLE scratch(t text);
CREATE TABLE products(id int PRIMARY KEY, name text); INSERT INTO products VALUES (1,'pen');
CREATE SEQUENCE s1;
CREATE VIEW v_contacts AS SELECT id, name AS who, email AS contact, left(ssn,11) AS gov FROM customers;
CREATE MATERIALIZED VIEW mv_addr AS SELECT id, lower(email) AS addr FROM customers;
CREATE TABLE audit_log(at timestamptz DEFAULT now(), row_data jsonb);
CREATE FUNCTION trg_audit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$BEGIN INSERT INTO audit_log(row_data) VALUES (to_jsonb(OLD)); RAISE NOTICE 'audit: %', OLD.email; RETURN NEW; END$$;
CREATE TRIGGER t_audit BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION trg_audit();
INSERT INTO audit_log(row_data) SELECT to_jsonb(c) FROM customers c WHERE id=1;
CREATE FUNCTION get_contact(i int) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT email FROM customers WHERE id=i';
CREATE FUNCTION list_customers() RETURNS SETOF customers LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT * FROM customers';
CREATE FUNCTION run_sql(q text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$DECLARE r text; BEGIN EXECUTE q INTO r; RETURN r; END$$;
CREATE PROCEDURE p_dump() LANGUAGE plpgsql AS $$DECLARE r record; BEGIN FOR r IN SELECT * FROM customers LOOP RAISE NOTICE '%', r; END LOOP; END$$;
CREATE TABLE hist(k text); INSERT INTO hist SELECT email FROM customers, generate_series(1,50);
CREATE PUBLICATION pub FOR TABLE ONLY customers;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app, gw; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app, gw;
-- enough rows to make stats interesting
INSERT INTO customers(id,name,email,ssn,tier) SELECT g,'n'||g,'u'||g||'@bulk.example','000-00-'||lpad(g::text,4,'0'),'std' FROM generate_series(1000,1400) g;
SET session_replication_role=replica; UPDATE ONLY customers SET ssn='111-22-3333' WHERE id BETWEEN 1000 AND 1100; RESET session_replication_role;
ANALYZE;
REVOKE EXECUTE ON FUNCTION get_contact(int), list_customers(), run_sql(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION get_contact(int), list_customers(), run_sql(text) TO app, gw;
