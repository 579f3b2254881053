package test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

// TestSettings: what drivers send is answered, what would change the meaning of statements is kept by the gateway
// or refused, and a rollback takes back what PostgreSQL's would.
func TestSettings(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: readWrite})
	r := g.psql(`SET client_encoding TO 'UTF8';
SET client_min_messages TO 'warning';
SET standard_conforming_strings = on;
SET SESSION timezone TO 'Asia/Tokyo';
SET DateStyle = 'SQL, DMY';
SET extra_float_digits = 3;
SET statement_timeout = '30s';
SET bytea_output = 'hex';
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ;
SHOW timezone;
SELECT set_config('TimeZone', 'UTC', false), current_setting('TimeZone');
SELECT pg_catalog.set_config('search_path', '', false);
SHOW search_path;
SELECT count(*) FROM public.orders;
RESET ALL;
SHOW default_transaction_isolation;
SELECT count(*) FROM orders;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SHOW TRANSACTION ISOLATION LEVEL;
SET TRANSACTION READ ONLY;
COMMIT;
PREPARE p AS SELECT 'prepared';
DISCARD ALL;
`)
	if r.err != "" || !strings.Contains(r.out, "Asia/Tokyo") || !strings.Contains(r.out, "serializable") || strings.Count(r.out, " 100000\n") != 2 {
		t.Errorf("psql: %s %s", r.out, r.err)
	}
	w := g.wire()
	query := func(want, sql string) {
		t.Helper()
		w.steps(want, &pgproto3.Query{String: sql})
	}
	const row = "RowDescription, DataRow, CommandComplete SELECT 1, "
	for _, sql := range []string{"SET ROLE postgres", "SET SESSION AUTHORIZATION postgres", "SET row_security = off", "SET standard_conforming_strings = off",
		"SET bytea_output = 'escape'", "SET app.tenant = '7'", "SHOW gatehouse.key", "SELECT current_setting('gatehouse.key', true)", "SET session_replication_role = replica", "SHOW ALL",
		"SELECT set_config('row_security', 'off', false)", "SELECT set_config('app.tenant', '7', false)"} {
		query("ErrorResponse 42501, ReadyForQuery I", sql)
	}
	path := func(want string) {
		t.Helper()
		w.do(&pgproto3.Query{String: "SHOW search_path"})
		w.expect("RowDescription")
		if got := string(w.expect("DataRow").(*pgproto3.DataRow).Values[0]); got != want {
			t.Errorf("the search path is %s, want %s", got, want)
		}
		w.until("ReadyForQuery")
	}
	path("public")
	query("CommandComplete SET, RowDescription, ErrorResponse 22012, ReadyForQuery I", "SET search_path TO a; SELECT 1/(id-id) FROM public.products")
	path("public")
	const unqualified = "SELECT 1 FROM orders LIMIT 1"
	query(row+"ReadyForQuery I", unqualified)
	query(row+"ReadyForQuery I", "SELECT set_config('search_path', '', false)")
	query("ErrorResponse 42P01, ReadyForQuery I", unqualified)
	query("CommandComplete SET, ReadyForQuery I", `SET search_path TO a, "B"`)
	path(`a, "B"`)
	query("ErrorResponse 42P01, ReadyForQuery I", "SELECT 1 FROM orders LIMIT 1")
	query("CommandComplete BEGIN, CommandComplete SET, "+row+"ReadyForQuery T", "BEGIN; SET LOCAL search_path TO public; SELECT 1 FROM orders LIMIT 1")
	query("CommandComplete SAVEPOINT, CommandComplete SET, CommandComplete ROLLBACK, "+row+"ReadyForQuery T", "SAVEPOINT s; SET search_path = c; ROLLBACK TO s; SELECT 1 FROM orders LIMIT 1")
	query("CommandComplete COMMIT, ReadyForQuery I", "COMMIT")
	path(`a, "B"`)
	// In a pipeline: what stands before counts, and what fails takes what stood before with it.
	run := func(sql string) []pgproto3.FrontendMessage {
		return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Execute{}}
	}
	sync := &pgproto3.Sync{}
	const executed = "ParseComplete, BindComplete, "
	w.steps(executed+"CommandComplete SET, "+executed+"DataRow, CommandComplete SELECT 1, ReadyForQuery I", append(append(run("SET search_path TO public"), run("SELECT 1 FROM orders LIMIT 1")...), sync)...)
	path("public")
	w.steps(executed+"CommandComplete SET, "+executed+"ErrorResponse 22012, ReadyForQuery I", append(append(run("SET search_path TO a"), run("SELECT 1/(id-id) FROM public.products")...), sync)...)
	path("public")
	// DISCARD ALL ends what has a name, also in the protocol.
	w.steps("ParseComplete, ReadyForQuery I", &pgproto3.Parse{Name: "x", Query: "SELECT 1"}, sync)
	query("CommandComplete SET, ReadyForQuery I", "SET search_path TO a")
	query("CommandComplete DISCARD ALL, ReadyForQuery I", "DISCARD ALL")
	path("public")
	w.steps("ErrorResponse 26000, ReadyForQuery I", &pgproto3.Bind{PreparedStatement: "x"}, sync)
	w.steps("ParseComplete, ReadyForQuery I", &pgproto3.Parse{Name: "x", Query: "SELECT 2"}, sync)
	// What a client gives when it signs in.
	conn := g.dial(func(c *pgx.ConnConfig) {
		c.RuntimeParams["search_path"] = "elsewhere, public"
		c.RuntimeParams["client_min_messages"] = "warning"
		c.RuntimeParams["options"] = `-c statement_timeout=5s --standard_conforming_strings=on -c TimeZone=Asia/Tokyo`
	})
	var got string
	if err := conn.QueryRow(within(t), "SELECT concat(current_setting('search_path'), ' ', current_setting('statement_timeout'), ' ', current_setting('timezone'), ' ', count(*)) FROM orders").Scan(&got); err != nil || got != "elsewhere, public 5s Asia/Tokyo 100000" {
		t.Error(got, err)
	}
	for _, options := range []string{"-c row_security=off", "-c role=postgres", "-d 5", "-c gatehouse.key=x", "-c"} {
		err := g.signIn(g.token(), func(c *pgx.ConnConfig) { c.RuntimeParams["options"] = options })
		refused(t, err, "not_understood", "0A000")
	}
}
