package test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// TestCursors: cursors of SQL show what their query shows, and live as long as PostgreSQL lets them.
func TestCursors(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: readWrite})
	r := g.psql(`\set FETCH_COUNT 100
SELECT id, email FROM customers WHERE id <= 250;
\unset FETCH_COUNT
BEGIN;
DECLARE "K k" SCROLL CURSOR FOR SELECT id, email, phone FROM customers ORDER BY id;
FETCH 2 FROM "K k";
MOVE FORWARD ALL IN "K k";
FETCH LAST "K k";
FETCH ABSOLUTE 7 "K k";
FETCH BACKWARD ALL "K k";
CLOSE "K k";
DECLARE h BINARY CURSOR WITH HOLD FOR SELECT email FROM customers WHERE id <= 3;
COMMIT;
FETCH ALL h;
CLOSE ALL;
`)
	if r.err != "" || strings.Count(r.out, "MOVE 9998\n") != 1 || !strings.Contains(r.out, "(250 rows)") || !strings.Contains(r.out, "(6 rows)") || !strings.Contains(r.out, "(3 rows)") {
		t.Errorf("psql: %s %s", r.out, r.err)
	}
	noRaw(t, "psql", r.out)
	w := g.wire()
	query := func(want, sql string) {
		t.Helper()
		w.steps(want, &pgproto3.Query{String: sql})
	}
	const one = "RowDescription, DataRow, "
	query("CommandComplete BEGIN, ReadyForQuery T", "BEGIN")
	query("CommandComplete DECLARE CURSOR, ReadyForQuery T", "DECLARE a CURSOR FOR SELECT 1")
	query("CommandComplete SAVEPOINT, CommandComplete DECLARE CURSOR, CommandComplete ROLLBACK, ReadyForQuery T", "SAVEPOINT s; DECLARE b CURSOR FOR SELECT 2; ROLLBACK TO s")
	query("ErrorResponse 34000, ReadyForQuery E", "FETCH b")
	query("CommandComplete ROLLBACK, "+one+"CommandComplete FETCH 1, ReadyForQuery T", "ROLLBACK TO s; FETCH a")
	query("ErrorResponse 42P03, ReadyForQuery E", "DECLARE a CURSOR FOR SELECT 3")
	query("CommandComplete ROLLBACK, ReadyForQuery I", "COMMIT")
	query("ErrorResponse 34000, ReadyForQuery I", "FETCH a")
	// What the database refuses has no name, and a held cursor is made with its transaction alone.
	query("ErrorResponse 25P01, ReadyForQuery I", "DECLARE a CURSOR FOR SELECT 1")
	query("CommandComplete DECLARE CURSOR, ReadyForQuery I", "DECLARE a CURSOR WITH HOLD FOR SELECT 1")
	query("CommandComplete DECLARE CURSOR, RowDescription, ErrorResponse 22012, ReadyForQuery I", "DECLARE b CURSOR WITH HOLD FOR SELECT 1; SELECT 1/(id-id) FROM products")
	query("ErrorResponse 34000, ReadyForQuery I", "FETCH b")
	query(one+"CommandComplete FETCH 1, CommandComplete CLOSE CURSOR, ReadyForQuery I", "FETCH a; CLOSE a")
	query("CommandComplete DECLARE CURSOR, ReadyForQuery I", "DECLARE a CURSOR WITH HOLD FOR SELECT 4")
	// By the extended protocol, where a statement is prepared once and run again; a portal and a cursor are one.
	sync := &pgproto3.Sync{}
	parse := func(name, sql string) *pgproto3.Parse { return &pgproto3.Parse{Name: name, Query: sql} }
	bind := func(portal, name string) *pgproto3.Bind {
		return &pgproto3.Bind{DestinationPortal: portal, PreparedStatement: name}
	}
	run := func(portal string, n uint32) *pgproto3.Execute { return &pgproto3.Execute{Portal: portal, MaxRows: n} }
	w.steps("RowDescription, ReadyForQuery I", &pgproto3.Describe{ObjectType: 'P', Name: "a"}, sync)
	w.steps("ParseComplete, ReadyForQuery I", parse("d", "DECLARE c CURSOR FOR SELECT email FROM customers ORDER BY id"), sync)
	query("CommandComplete CLOSE CURSOR, CommandComplete DECLARE CURSOR, ReadyForQuery I", "CLOSE a; DECLARE a CURSOR WITH HOLD FOR SELECT id, email FROM customers WHERE id < 5 ORDER BY id")
	w.steps("DataRow, DataRow, PortalSuspended, DataRow, PortalSuspended, ReadyForQuery I", run("a", 2), run("a", 1), sync)
	query(one+"CommandComplete FETCH 1, ReadyForQuery I", "FETCH a")
	w.steps("CommandComplete SELECT 0, ReadyForQuery I", run("a", 0), sync)
	query("CommandComplete BEGIN, ReadyForQuery T", "BEGIN")
	w.steps("BindComplete, CommandComplete DECLARE CURSOR, ParseComplete, BindComplete, RowDescription, DataRow, DataRow, CommandComplete FETCH 2, ReadyForQuery T",
		bind("", "d"), run("", 0), parse("f", "FETCH 2 FROM c"), bind("", "f"), &pgproto3.Describe{ObjectType: 'P'}, run("", 0), sync)
	w.steps("ParseComplete, BindComplete, DataRow, PortalSuspended, ReadyForQuery T", parse("", "SELECT id FROM products ORDER BY id"), bind("p", ""), run("p", 1), sync)
	query(one+"DataRow, CommandComplete FETCH 2, ReadyForQuery T", "FETCH 2 FROM p")
	w.steps("DataRow, PortalSuspended, ReadyForQuery T", run("p", 1), sync)
	w.steps("ErrorResponse 42P03, ReadyForQuery E", parse("", "SELECT 1"), bind("c", ""), sync)
	query("CommandComplete ROLLBACK, ReadyForQuery I", "ROLLBACK")
	w.steps("ErrorResponse 34000, ReadyForQuery I", run("p", 1), sync)
	w.steps("ErrorResponse 42602, ReadyForQuery I", parse("", "SELECT 1"), bind("c:0123456789abcdef01234567", ""), sync)
}

// TestPreparedInSQL: statements prepared in SQL are judged when they are executed, share their names with the
// protocol's, and outlive a rollback.
func TestPreparedInSQL(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: readWrite})
	r := g.psql(`PREPARE q(int) AS SELECT id, email FROM customers WHERE id <= $1 ORDER BY id;
EXECUTE q(3);
EXECUTE q((1 + 1));
PREPARE drop_it AS DELETE FROM customers WHERE email = $1;
DEALLOCATE q;
EXECUTE q(1);
`)
	if !strings.Contains(r.out, "(3 rows)") || !strings.Contains(r.out, "(2 rows)") || !strings.Contains(r.err, "26000") || !strings.Contains(r.err, "reveal") {
		t.Errorf("psql: %s %s", r.out, r.err)
	}
	noRaw(t, "psql", r.out)
	name := table(t, "id int PRIMARY KEY, v text")
	w := g.wire()
	query := func(want, sql string) {
		t.Helper()
		w.steps(want, &pgproto3.Query{String: sql})
	}
	sync := &pgproto3.Sync{}
	run := func(sql string) []pgproto3.FrontendMessage {
		return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Execute{}}
	}
	one := "RowDescription, DataRow, CommandComplete SELECT 1, "
	query("CommandComplete PREPARE, CommandComplete INSERT 0 1, ReadyForQuery I", "PREPARE i(int) AS INSERT INTO "+name+" VALUES ($1); EXECUTE i(1)")
	query("CommandComplete BEGIN, CommandComplete PREPARE, ErrorResponse 23505, ReadyForQuery E", "BEGIN; PREPARE s AS SELECT 1; EXECUTE i(1); PREPARE never AS SELECT 2")
	query("CommandComplete ROLLBACK, "+one+"ReadyForQuery I", "ROLLBACK; EXECUTE s")
	query("ErrorResponse 26000, ReadyForQuery I", "EXECUTE never")
	query("ErrorResponse 42P05, ReadyForQuery I", "PREPARE s AS SELECT 2")
	// What the database did not take has no name, and what it skipped has not ended.
	query("ErrorResponse 42883, ReadyForQuery I", "PREPARE bad AS SELECT lower(1)")
	query("CommandComplete PREPARE, ReadyForQuery I", "PREPARE bad AS SELECT 3")
	w.steps("ParseComplete, BindComplete, ErrorResponse 22012, ReadyForQuery I", append(append(run("SELECT 1/(id-id) FROM products"), run("DEALLOCATE s")...), sync)...)
	query("ErrorResponse 22012, ReadyForQuery I", "SELECT 1/0; DEALLOCATE ALL")
	query(one+"ReadyForQuery I", "EXECUTE s")
	// One namespace with the protocol.
	w.steps("ParseComplete, ReadyForQuery I", &pgproto3.Parse{Name: "p", Query: "SELECT email FROM customers WHERE id = 1"}, sync)
	query(one+"ReadyForQuery I", "EXECUTE p")
	query("ErrorResponse 42P05, ReadyForQuery I", "PREPARE p AS SELECT 1")
	w.steps("ErrorResponse 42P05, ReadyForQuery I", &pgproto3.Parse{Name: "s", Query: "SELECT 2"}, sync)
	w.steps("BindComplete, RowDescription, DataRow, CommandComplete SELECT 1, ReadyForQuery I", &pgproto3.Bind{PreparedStatement: "s"}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, sync)
	w.steps("ParameterDescription, RowDescription, ReadyForQuery I", &pgproto3.Describe{ObjectType: 'S', Name: "s"}, sync)
	query("CommandComplete DEALLOCATE, CommandComplete PREPARE, "+one+"ReadyForQuery I", "DEALLOCATE p; PREPARE p AS SELECT 7; EXECUTE p")
	w.steps("ErrorResponse 42P05, ReadyForQuery I", &pgproto3.Parse{Name: "p", Query: "SELECT 2"}, sync)
	query("CommandComplete DEALLOCATE ALL, ReadyForQuery I", "DEALLOCATE ALL")
	w.steps("ParseComplete, ReadyForQuery I", &pgproto3.Parse{Name: "p", Query: "SELECT 2"}, sync)
	query("ErrorResponse 26000, ReadyForQuery I", "EXECUTE s")
	w.steps("ErrorResponse 42602, ReadyForQuery I", &pgproto3.Parse{Name: "s:0123456789abcdef01234567", Query: "SELECT 2"}, sync)
}
