-- What evasions-more.sql needs besides evasions-setup.sql.
CREATE VIEW v_row AS SELECT id, to_jsonb(c) AS j FROM customers c;
CREATE VIEW v_above AS SELECT j AS again FROM v_row;
CREATE TABLE boxes(id int, c customers, list customers[]);
INSERT INTO boxes SELECT 1, c, ARRAY[c] FROM customers c WHERE id = 1;
CREATE TABLE mailbox(id int PRIMARY KEY, email text, note text);
INSERT INTO mailbox VALUES (1, 'alice.w@corp.example', 'x'), (2, 'bob.k@mail.example', 'y');
CREATE TABLE events(id int, note text);
CREATE TABLE events_old() INHERITS (events);
INSERT INTO events VALUES (1, 'x'); INSERT INTO events_old VALUES (2, 'y');
CREATE FUNCTION trg_loud() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$BEGIN INSERT INTO public.scratch SELECT 'trigger ran'; RETURN NEW; END$$;
CREATE TRIGGER t_loud BEFORE UPDATE ON events_old FOR EACH ROW EXECUTE FUNCTION trg_loud();
CREATE FUNCTION noisy(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RAISE EXCEPTION 'noisy ran' USING ERRCODE = '42P99'; END$$;
CREATE DOMAIN word AS text CHECK (noisy(VALUE));
CREATE DOMAIN longer AS word;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app, gw;
-- Owned by the role that the gateway signs in with, as a table of its own making would be.
ALTER TABLE mailbox OWNER TO gw;
