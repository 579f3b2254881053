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
CREATE VIEW v_alice AS SELECT id FROM customers WHERE email LIKE 'alice%';
GRANT ALL ON v_alice TO app, gw;
-- Views by whose rows a writer asks for values, by whose order they rank, and whose columns are made of them.
CREATE TABLE guesses (id int, guess text);
INSERT INTO guesses VALUES (4711, 'alice.w@corp.example'), (4712, 'nobody@corp.example');
CREATE VIEW v_right AS SELECT g.id, g.guess FROM guesses g JOIN customers c ON c.email = g.guess;
CREATE VIEW v_unnested AS SELECT u.id FROM (SELECT id, unnest(ARRAY[guess]) AS x FROM guesses) u JOIN customers c ON c.email = u.x;
CREATE VIEW v_chain AS WITH RECURSIVE r AS (SELECT id, guess FROM guesses UNION SELECT r.id + 1000, c.name FROM r JOIN customers c ON c.email = r.guess) SELECT id FROM r;
CREATE VIEW v_by_ssn AS SELECT name FROM customers WHERE id < 4 ORDER BY ssn DESC;
CREATE VIEW v_ranked AS SELECT name, rank() OVER (ORDER BY ssn) AS place, CASE WHEN email LIKE 'alice%' THEN 'is-alice' END AS who FROM customers;
GRANT ALL ON guesses, v_right, v_unnested, v_chain, v_by_ssn, v_ranked TO app, gw;
