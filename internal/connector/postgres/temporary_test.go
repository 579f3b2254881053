package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/internal/policy"
)

const temporarySetup = `
	CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, region text);
	INSERT INTO people VALUES (1, 'Ada', 'eu'), (2, 'Bob', 'us'), (3, 'Cy', 'eu');
	CREATE TABLE customers (id int PRIMARY KEY, email text, secret text, region text);
	INSERT INTO customers VALUES (1, 'witness-ada@corp.example', 'witness-secret', 'eu'), (2, 'witness-bob@corp.example', 'witness-secret', 'us');
	CREATE TYPE mood AS ENUM ('ok', 'bad');
	CREATE DOMAIN positive AS int CHECK (VALUE > 0);
	CREATE FUNCTION plant() RETURNS int LANGUAGE plpgsql AS $$BEGIN CREATE TEMP TABLE planted AS SELECT * FROM public.customers; RETURN 1; END$$;
	CREATE FUNCTION checked(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 < 100';
	CREATE DOMAIN small AS int CHECK (checked(VALUE));
	GRANT ALL ON ALL TABLES IN SCHEMA public TO rows_gw;
	GRANT CREATE ON SCHEMA public TO rows_gw;
`

const temporaryLabels = `
labels:
  public.customers: {email: pii.email, secret: secret}
`

const temporaryPolicies = `
@id("read") permit (principal, action in Action::"readonly", resource);
@id("write") permit (principal, action in Action::"write", resource);
@id("ddl") permit (principal, action in Action::"risky", resource);
@id("temporary") permit (principal, action == Action::"temporary", resource);
`

// temporaryScripts are sessions, step by step. A step that begins with "!" is refused by the gateway though the
// server would run it.
var temporaryScripts = map[string][]string{
	"own": {
		"CREATE TEMP TABLE t (id serial PRIMARY KEY, body text DEFAULT 'x', CHECK (length(body) < 9))",
		"INSERT INTO t (body) VALUES ('a'), (DEFAULT) RETURNING *", "SELECT * FROM t ORDER BY id", "INSERT INTO t (id) VALUES (1)",
		"INSERT INTO t (body) VALUES ('too long by far')", "UPDATE t SET body = 'z' WHERE id = 2 RETURNING id, body", "DELETE FROM t WHERE id = 1",
		"SELECT p.name, t.body FROM people p JOIN t USING (id)", "SELECT id, body FROM t GROUP BY id", "CREATE INDEX t_body ON t (body)", "ANALYZE t",
		"ALTER TABLE t ADD COLUMN n int DEFAULT 5", "SELECT * FROM t", "ALTER TABLE t DROP COLUMN body", "SELECT * FROM t", "SELECT body FROM t",
		"TRUNCATE t", "SELECT count(*) FROM t", "DROP TABLE t", "SELECT * FROM t", "DROP TABLE IF EXISTS t", "DROP TABLE t",
	},
	"as": {
		"CREATE TEMP TABLE t AS SELECT region, count(*) AS n FROM people GROUP BY region", "SELECT * FROM t ORDER BY 1",
		"CREATE TEMP TABLE t AS SELECT 1", "CREATE TEMP TABLE IF NOT EXISTS t AS SELECT 1 AS other", "SELECT * FROM t ORDER BY 1",
		"CREATE TEMP TABLE u (a, b) AS TABLE people WITH NO DATA", "SELECT a FROM u", "SELECT a, b, region FROM u", "INSERT INTO u SELECT * FROM people", "SELECT count(*) FROM u",
		"SELECT id, name INTO TEMP v FROM people WHERE id > 1 ORDER BY id", "SELECT * FROM v", "SELECT 1 AS x INTO TEMPORARY TABLE w UNION SELECT 2", "SELECT * FROM w ORDER BY 1",
		"CREATE TABLE made AS SELECT id, name FROM people", "SELECT * FROM made ORDER BY id", "DROP TABLE made", "SELECT id INTO made2 FROM people", "SELECT sum(id) FROM made2", "DROP TABLE made2",
		"CREATE TEMP TABLE x (LIKE people)", "INSERT INTO x (id) VALUES (1)", "INSERT INTO x (id, name) VALUES (1, 'n')", "SELECT * FROM x",
		"INSERT INTO people SELECT id + 10, name, region FROM people WHERE id = 1 RETURNING id", "CREATE TEMP TABLE d AS WITH gone AS (DELETE FROM people WHERE id > 10 RETURNING *) SELECT * FROM gone", "SELECT * FROM d",
	},
	"shadow": {
		"CREATE TEMP TABLE people (id int, name text)", "SELECT * FROM people", "INSERT INTO people VALUES (7, 'mine')", "SELECT * FROM people", "SELECT count(*) FROM public.people",
		"SELECT p.name, people.name FROM people JOIN public.people p ON p.id = 1", "SELECT pg_temp.people.name FROM pg_temp.people", "SELECT public.people.name FROM people",
		"SET search_path = public, pg_temp", "SELECT count(*) FROM people", "SELECT count(*) FROM pg_temp.people", "SET search_path = pg_temp, public", "SELECT count(*) FROM people",
		"CREATE TABLE also (id int)", "SELECT count(*) FROM pg_temp.also", "RESET search_path", "DROP TABLE people", "SELECT count(*) FROM people", "SELECT count(*) FROM pg_temp.people",
	},
	"transactions": {
		"BEGIN", "CREATE TEMP TABLE people (x int)", "SELECT * FROM people", "ROLLBACK", "SELECT count(*) FROM people",
		"CREATE TEMP TABLE people (x int)", "BEGIN", "DROP TABLE people", "SELECT count(*) FROM people WHERE id = 1", "ROLLBACK", "SELECT * FROM people",
		"BEGIN", "SAVEPOINT a", "CREATE TEMP TABLE t (y int)", "INSERT INTO t VALUES (1)", "SELECT * FROM t", "SAVEPOINT b", "DROP TABLE t", "SELECT * FROM t", "ROLLBACK TO b", "SELECT * FROM t",
		"ROLLBACK TO a", "SELECT * FROM t", "ROLLBACK",
		"BEGIN", "CREATE TEMP TABLE t (y int)", "SELECT 1/0", "SELECT * FROM t", "COMMIT", "SELECT * FROM t",
		"BEGIN", "CREATE TEMP TABLE t (y int)", "SAVEPOINT a", "SELECT 1/0", "ROLLBACK TO a", "SELECT * FROM t", "COMMIT", "SELECT * FROM t", "DROP TABLE t",
		"BEGIN", "CREATE TEMP TABLE t (y int)", "COMMIT AND CHAIN", "SELECT * FROM t", "DROP TABLE t", "ROLLBACK AND CHAIN", "SELECT * FROM t", "COMMIT",
		"BEGIN ISOLATION LEVEL SERIALIZABLE", "SELECT count(*) FROM t", "ALTER TABLE t ADD COLUMN z int", "SELECT * FROM t", "COMMIT", "SELECT * FROM t",
	},
	"on commit": {
		"CREATE TEMP TABLE t (y int) ON COMMIT DROP", "SELECT * FROM t", "BEGIN", "CREATE TEMP TABLE t (y int) ON COMMIT DROP", "INSERT INTO t VALUES (1)", "SELECT * FROM t", "COMMIT", "SELECT * FROM t",
		"CREATE TEMP TABLE d (y int) ON COMMIT DELETE ROWS", "INSERT INTO d VALUES (1)", "SELECT * FROM d", "BEGIN", "INSERT INTO d VALUES (1)", "SELECT * FROM d", "COMMIT", "SELECT * FROM d",
		"CREATE TEMP TABLE p ON COMMIT PRESERVE ROWS AS SELECT 1 AS y", "SELECT * FROM p",
	},
	"discard": {
		"CREATE TEMP TABLE people (x int)", "DISCARD TEMP", "SELECT count(*) FROM people", "CREATE TEMP TABLE people (x int)", "DISCARD ALL", "SELECT count(*) FROM people", "CREATE TEMP TABLE people (x int)", "SELECT * FROM people",
	},
	"names": {
		"CREATE TEMP TABLE t AS SELECT 1 AS a", "PREPARE p AS SELECT * FROM t", "EXECUTE p", "DROP TABLE t", "EXECUTE p", "CREATE TEMP TABLE t AS SELECT 2 AS a", "EXECUTE p",
		"BEGIN", "DECLARE c CURSOR FOR SELECT * FROM t", "FETCH 1 FROM c", "CLOSE c", "COMMIT", "PREPARE i AS INSERT INTO t SELECT id FROM people WHERE id = $1", "EXECUTE i (3)", "SELECT * FROM t ORDER BY a",
		"SELECT 't'::regclass", "SELECT to_regclass('t') IS NULL", "SELECT to_regclass('pg_temp.t') IS NULL", "SELECT count(*) FROM pg_class WHERE relname = 't'", "SELECT relkind FROM pg_class WHERE oid = 't'::regclass",
		"SELECT pg_table_is_visible('t'::regclass)", "SELECT count(*) FROM pg_stats WHERE tablename = 't'", "SELECT attname FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0",
		"SELECT table_name FROM information_schema.tables WHERE table_type = 'LOCAL TEMPORARY'",
	},
	"types": {
		"CREATE TEMP TABLE t (m mood, p positive, a int[], j jsonb)", "INSERT INTO t VALUES ('ok', 1, '{1,2}', '{\"a\": 1}')", "SELECT m, p, a[1], j->>'a' FROM t", "INSERT INTO t (p) VALUES (-1)", "SELECT t.m FROM t WHERE m = 'ok'",
		"CREATE TEMP TABLE u AS SELECT * FROM t", "SELECT * FROM u", "SELECT u FROM u", "SELECT (u).p FROM u", "SELECT row_to_json(u) FROM u",
	},
	"refused": {
		"!CREATE TEMP TABLE pg_class (a int)", "!CREATE TEMP TABLE t (id int REFERENCES people(id))", "!CREATE TEMP TABLE t (LIKE people INCLUDING ALL)", "!CREATE TEMP VIEW v AS SELECT 1",
		"CREATE TEMP TABLE public.t (id int)", "CREATE TABLE t (id int) ON COMMIT DROP",
	},
}

// TestTemporaryTables: each step of each session ends as it does at the server itself, in each way of sending it.
func TestTemporaryTables(t *testing.T) {
	gatewayRole(t)
	database(t, "temporary", temporarySetup)
	database(t, "temporary_direct", temporarySetup)
	address := before(t, "temporary", temporaryPolicies, temporaryLabels)
	direct := testServer.URL("rows_gw", "p", "temporary_direct")
	for name, steps := range temporaryScripts {
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeCacheDescribe} {
			t.Run(name+"/"+mode.String(), func(t *testing.T) {
				server, gateway := dialPGX(t, direct, mode), dialPGX(t, address, mode)
				for i, step := range steps {
					text, refused := strings.CutPrefix(step, "!")
					want, got := "", stepOf(gateway, text)
					if refused {
						if !strings.HasPrefix(got, "0A000 ") && !strings.HasPrefix(got, "42939 ") {
							t.Errorf("step %d: %s\n%s", i, text, got)
						}
						continue
					}
					if want = stepOf(server, text); got != want && !(len(got) > 6 && len(want) > 6 && got[:6] == want[:6] && got[5] == ' ') {
						t.Errorf("step %d: %s\ngot  %s\nwant %s", i, text, got, want)
					}
				}
			})
		}
	}
}

// stepOf runs one statement, and says what came of it: its rows, or its SQLSTATE and message.
func stepOf(conn *pgx.Conn, text string) string {
	rows, err := conn.Query(context.Background(), text, pgx.QueryResultFormats{pgx.TextFormatCode})
	if err != nil {
		return stateOf(err)
	}
	defer rows.Close()
	var b strings.Builder
	for rows.Next() {
		for _, v := range rows.RawValues() {
			fmt.Fprintf(&b, "%s|", v)
		}
		b.WriteString("\n")
	}
	if rows.Err() != nil {
		return stateOf(rows.Err())
	}
	return b.String() + rows.CommandTag().String()
}

func stateOf(err error) string {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Code + " " + pe.Message + " " + pe.Hint
	}
	return err.Error()
}

// TestTemporaryTablesFollow: what a temporary table holds is shown no longer than what it came from; and a permanent
// table gets no labelled value as it is.
func TestTemporaryTablesFollow(t *testing.T) {
	gatewayRole(t)
	database(t, "temporary_follow", temporarySetup)
	reveal := compiled(t, policy.Source{Name: "a.cedar", Text: []byte(temporaryPolicies + `@id("reveal") permit (principal, action == Action::"reveal", resource);`)})
	masked := compiled(t, policy.Source{Name: "a.cedar", Text: []byte(temporaryPolicies)})
	filtered := compiled(t, policy.Source{Name: "a.cedar", Text: []byte(temporaryPolicies + `@id("reveal") permit (principal, action == Action::"reveal", resource);
		@id("eu") @rows("region = 'eu'") forbid (principal, action == Action::"read", resource in Table::"shop/public.customers");`)})
	limited := compiled(t, policy.Source{Name: "a.cedar", Text: []byte(temporaryPolicies + `@id("reveal") permit (principal, action == Action::"reveal", resource);
		@id("one") @limit("rows=1") forbid (principal, action == Action::"read", resource in Table::"shop/public.customers");`)})
	without := compiled(t, policy.Source{Name: "a.cedar", Text: []byte(temporaryPolicies + `@id("no") forbid (principal, action == Action::"temporary", resource);`)})
	var now atomic.Pointer[policy.Set]
	_, listen := serveSets(t, yes{}, "url: "+testServer.URL("rows_gw", "", "temporary_follow")+"\npassword: {env: GW_PASSWORD}"+temporaryLabels, now.Load)
	fills := map[string][]string{
		"as":        {"CREATE TEMP TABLE t AS SELECT * FROM customers"},
		"into":      {"SELECT * INTO TEMP t FROM customers"},
		"insert":    {"CREATE TEMP TABLE t (LIKE customers)", "INSERT INTO t SELECT * FROM customers"},
		"update":    {"CREATE TEMP TABLE t (id int, email text)", "INSERT INTO t VALUES (1), (2)", "UPDATE t SET email = c.email FROM customers c WHERE c.id = t.id"},
		"merge":     {"CREATE TEMP TABLE t (id int, email text)", "MERGE INTO t USING customers c ON c.id = t.id WHEN NOT MATCHED THEN INSERT VALUES (c.id, c.email)"},
		"execute":   {"CREATE TEMP TABLE t (id int, email text)", "PREPARE p AS INSERT INTO t SELECT id, email FROM customers", "EXECUTE p"},
		"explained": {"CREATE TEMP TABLE t (id int, email text)", "EXPLAIN ANALYZE INSERT INTO t SELECT id, email FROM customers"},
		"copy":      {"CREATE TEMP TABLE s AS SELECT * FROM customers", "CREATE TEMP TABLE t AS SELECT * FROM s", "DROP TABLE s"},
		"with":      {"CREATE TEMP TABLE t (email text)", "WITH c AS (SELECT email FROM customers) INSERT INTO t SELECT * FROM c"},
		"written":   {"CREATE TEMP TABLE t (email text)", "WITH c AS (UPDATE customers SET region = region RETURNING email) INSERT INTO t SELECT * FROM c"},
		"condition": {"CREATE TEMP TABLE t AS SELECT id FROM customers WHERE email LIKE 'witness%'"},
		"rolled":    {"CREATE TEMP TABLE t (email text)", "BEGIN", "SAVEPOINT a", "INSERT INTO t SELECT email FROM customers", "COMMIT"},
		"dropped":   {"CREATE TEMP TABLE t AS SELECT email FROM customers", "BEGIN", "DROP TABLE t", "ROLLBACK"},
		"altered":   {"CREATE TEMP TABLE t AS SELECT email FROM customers", "ALTER TABLE t ADD COLUMN x int"},
	}
	reads := []string{"SELECT * FROM t", "SELECT count(*) FROM t", "COPY t TO STDOUT", "COPY (SELECT * FROM t) TO STDOUT", "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM t", "PREPARE q AS SELECT * FROM t", "INSERT INTO people SELECT 99, 'x', t::text FROM t",
		"CREATE TEMP TABLE u AS SELECT * FROM t", "UPDATE t SET email = '' RETURNING *", "DELETE FROM t RETURNING *", "CREATE UNIQUE INDEX ON t (email)", "SELECT * FROM people p WHERE EXISTS (SELECT FROM t WHERE t.email LIKE 'w%')", "SELECT * FROM pg_temp.t", "LOCK TABLE t", "CREATE TABLE k AS SELECT * FROM t"}
	ctx := context.Background()
	for name, steps := range fills {
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeDescribeExec} {
			t.Run(name+"/"+mode.String(), func(t *testing.T) {
				now.Store(reveal)
				conn := dialPGX(t, clientURL(listen), mode)
				for _, step := range steps {
					if _, err := conn.Exec(ctx, step); err != nil {
						t.Fatalf("%s: %v", step, err)
					}
				}
				if _, err := conn.Exec(ctx, "SELECT * FROM t"); err != nil {
					t.Fatal(err)
				}
				for what, set := range map[string]*policy.Set{"masked": masked, "filtered": filtered, "without": without} {
					now.Store(set)
					for _, text := range reads {
						got := stepOf(conn, text)
						if !strings.HasPrefix(got, "42501 ") && !strings.HasPrefix(got, "42703 ") || strings.Contains(got, "witness") {
							t.Errorf("%s: %s: %s", what, text, got)
						}
					}
				}
				now.Store(limited)
				if got := stepOf(conn, "SELECT * FROM t"); !strings.HasPrefix(got, "54000 ") {
					t.Errorf("limited: %s", got)
				}
				now.Store(masked)
				for _, text := range []string{"TRUNCATE t", "DROP TABLE t"} {
					if _, err := conn.Exec(ctx, text); err != nil {
						t.Errorf("%s: %v", text, err)
					}
				}
			})
		}
	}
	now.Store(reveal)
	conn := dialPGX(t, clientURL(listen), pgx.QueryExecModeExec)
	for _, text := range []string{"CREATE TABLE k AS SELECT email FROM customers", "SELECT * INTO k FROM customers", "CREATE TABLE k AS SELECT id FROM customers WHERE email > 'a'", "CREATE TABLE k AS SELECT c FROM customers c"} {
		if got := stepOf(conn, text); !strings.HasPrefix(got, "42501 ") || !strings.Contains(got, "labels") {
			t.Errorf("%s: %s", text, got)
		}
	}
	now.Store(masked)
	if got := stepOf(conn, "CREATE TABLE k AS SELECT * FROM customers"); got != "SELECT 2" {
		t.Error(got)
	}
	if got := stepOf(conn, "SELECT * FROM k ORDER BY id"); strings.Contains(got, "itness") || !strings.Contains(got, "w***@***.invalid") {
		t.Error(got)
	}
}

// TestTemporaryTablesApart: sessions do not see each other's tables, nor share plans over them, and a table that a
// function made is not read.
func TestTemporaryTablesApart(t *testing.T) {
	gatewayRole(t)
	database(t, "temporary_apart", temporarySetup)
	address := before(t, "temporary_apart", temporaryPolicies+`@id("call") permit (principal, action == Action::"call", resource);`, temporaryLabels)
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement} {
		one, two := dialPGX(t, address, mode), dialPGX(t, address, mode)
		for _, x := range []struct {
			conn       *pgx.Conn
			text, want string
		}{
			{one, "CREATE TEMP TABLE people (mine text)", "CREATE TABLE"},
			{one, "INSERT INTO people VALUES ('one')", "INSERT 0 1"},
			{one, "SELECT * FROM people", "one|\nSELECT 1"},
			{two, "SELECT count(*) FROM people WHERE id = 1", "1|\nSELECT 1"},
			{two, "SELECT count(*) FROM pg_temp.people", "42P01"},
			{two, "SELECT count(*) FROM pg_class WHERE relname = 'people'", "1|\nSELECT 1"},
			{one, "SELECT count(*) FROM pg_class WHERE relname = 'people'", "2|\nSELECT 1"},
			{two, "CREATE TEMP TABLE people (his int, more int)", "CREATE TABLE"},
			{two, "SELECT * FROM people", "SELECT 0"},
			{one, "SELECT * FROM people", "one|\nSELECT 1"},
			{one, "DROP TABLE people", "DROP TABLE"},
			{one, "SELECT name FROM people WHERE id = 1", "Ada|\nSELECT 1"},
			{two, "SELECT * FROM people", "SELECT 0"},
			{two, "SELECT plant()", "1|\nSELECT 1"},
			{two, "SELECT email FROM planted", "42P01"}, // what a function made is not known
			{two, "CREATE TEMP TABLE t (a small)", "CREATE TABLE"},
			{two, "SELECT email FROM planted", "42501"}, // nor, once it is seen, what it holds
			{two, "SELECT email FROM pg_temp.planted", "42501"},
			{two, "INSERT INTO planted SELECT 9, 'x', 'y'", "42501"},
			{two, "CREATE TEMP TABLE again AS SELECT * FROM planted", "42501"},
			{two, "INSERT INTO t VALUES (100)", "23514"},
			{two, "INSERT INTO t VALUES (1)", "INSERT 0 1"},
		} {
			if got := stepOf(x.conn, x.text); got != x.want && !(len(x.want) == 5 && strings.HasPrefix(got, x.want)) {
				t.Errorf("%s: %s\n%s, want %s", mode, x.text, got, x.want)
			}
		}
	}
}
