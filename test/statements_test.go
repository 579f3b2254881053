package test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// readWrite are policies that let an agent write without asking anyone.
const readWrite = `
@id("read") permit (principal, action == Action::"read", resource);
@id("write") permit (principal, action in Action::"write", resource);
@id("dba-approves") permit (principal is User in Group::"dba", action in [Action::"approve", Action::"review"], resource);
`

func asPg(err error, e **pgconn.PgError) bool { return errors.As(err, e) }

// TestHonestWorkPasses runs what agents usually send, by psql.
func TestHonestWorkPasses(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	r := g.psql(`SELECT status, count(*), sum(total) FROM orders GROUP BY status ORDER BY status;
SELECT p.name, sum(o.quantity) AS n FROM orders o JOIN products p ON p.id = o.product_id GROUP BY 1 ORDER BY n DESC LIMIT 3;
SET application_name = 'honest';
SHOW application_name;
SELECT 1; SELECT 2\; SELECT 3;
EXPLAIN (COSTS off) SELECT count(*) FROM orders WHERE status = 'paid';
BEGIN; SELECT count(*) FROM payments; COMMIT;
SELECT now() IS NOT NULL AS b, 'x''y' AS quoted, E'\n' <> '' AS e, 1.50::numeric(10,2) AS n, NULL AS nothing;
`, "-At")
	if r.err != "" || r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	contains(t, r.out, "paid|", "Filter: (status = 'paid'", "honest\n", "1\n2\n3\n", "t|x'y|t|1.50|\n")
}

// TestRefusals looks at what a client is told.
func TestRefusals(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	conn := g.dial(nil)
	for _, one := range []struct {
		sql, code, state string
		words            []string
	}{
		{"DROP TABLE customers", "policy_denied", "42501", []string{"forbidden", "agents-never-drop"}},
		{"TRUNCATE orders", "policy_denied", "42501", []string{"agents-never-drop"}},
		{"SELECT * FROM no_such_table", "not_understood", "42P01", []string{`relation "no_such_table" does not exist`}},
		{"SELECT no_such_column FROM orders", "not_understood", "42703", []string{`column "no_such_column" does not exist`}},
		{"SELECT FROM WHERE", "not_understood", "42601", []string{"syntax error"}},
		{"SELECT pg_read_file('/etc/passwd')", "", "", nil},
		{"SELECT * FROM pg_catalog.pg_authid", "", "", nil},
		{"COPY customers FROM PROGRAM 'id'", "", "", nil},
		{"DO $$ BEGIN RAISE NOTICE 'x'; END $$", "", "", nil},
		{"SET ROLE postgres", "", "", nil},
		{"SET SESSION AUTHORIZATION postgres", "", "", nil},
		{"LISTEN x", "", "", nil},
		{"PREPARE TRANSACTION 'x'", "", "", nil},
		{"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "", "", nil},
		{"SELECT set_config('role', 'postgres', false)", "", "", nil},
		{"SELECT query_to_xml('SELECT * FROM customers', true, true, '')", "", "", nil},
		{"SELECT 1; DROP TABLE customers", "policy_denied", "42501", nil},
		{"EXPLAIN SELECT id FROM customers WHERE email = 'x'", "policy_denied", "42501", []string{"EXPLAIN", "reveal column shop/public.customers.email"}},
		{"EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1", "", "", nil},
		{"ALTER ROLE gatehouse SUPERUSER", "", "", nil},
		{"GRANT ALL ON customers TO PUBLIC", "", "", nil},
	} {
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec, pgx.QueryExecModeDescribeExec} {
			_, err := conn.Exec(within(t), one.sql, mode)
			var e *pgconn.PgError
			if !asPg(err, &e) {
				t.Errorf("%s in mode %s: got %v, want a refusal", one.sql, mode, err)
				continue
			}
			code, state := one.code, one.state
			if state == "" {
				state = e.Code
			}
			if mode != pgx.QueryExecModeSimpleProtocol && strings.Contains(one.sql, ";") && e.Code == "42601" {
				continue // two statements in one
			}
			judgedRefusal(t, err, code, state, one.words...)
			if e.Code == "42601" && e.Position == 0 || e.Severity != "ERROR" {
				t.Errorf("%s: %+v", one.sql, e)
			}
		}
	}
	if n := truth[int](t, "SELECT count(*)::int FROM customers"); n < 10000 {
		t.Errorf("%d customers are left", n)
	}
}

// TestPositions points at the character that is meant, counted as PostgreSQL counts.
func TestPositions(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	conn := g.dial(nil)
	for sql, at := range map[string]int32{
		"SELECT 'häuser' FRM orders x":   21,
		"SELECT 'ü', nix FROM orders":    13,
		"SELECT id FROM orders, nowhere": 24,
	} {
		_, err := conn.Exec(within(t), sql, pgx.QueryExecModeSimpleProtocol)
		var e *pgconn.PgError
		if !asPg(err, &e) || e.Position != at {
			t.Errorf("%s: got %+v, want position %d", sql, e, at)
		}
	}
	r := g.psql("SELECT no_such_column FROM orders;\n")
	contains(t, r.err, "ERROR:  42703: column \"no_such_column\" does not exist", "LINE 1: SELECT no_such_column FROM orders;", "DETAIL:", "HINT:")
}

// TestFailedTransaction: after a refusal a transaction can only be rolled back, as after any error.
func TestFailedTransaction(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: readWrite})
	name := table(t, "id int PRIMARY KEY, n int")
	conn := g.dial(nil)
	status := func(want byte) {
		t.Helper()
		if got := conn.PgConn().TxStatus(); got != want {
			t.Errorf("the status is %c, want %c", got, want)
		}
	}
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec} {
		exec1(t, conn, "BEGIN")
		status('T')
		exec1(t, conn, "INSERT INTO "+name+" VALUES (1, 1)")
		_, err := conn.Exec(within(t), "DROP TABLE customers", mode)
		judgedRefusal(t, err, "policy_denied", "42501")
		status('E')
		_, err = conn.Exec(within(t), "SELECT 1", mode)
		var e *pgconn.PgError
		if !asPg(err, &e) || e.Code != "25P02" {
			t.Errorf("got %v, want 25P02", err)
		}
		if tag := exec1(t, conn, "COMMIT"); tag != "ROLLBACK" {
			t.Errorf("COMMIT said %s", tag)
		}
		status('I')
		if n := truth[int](t, "SELECT count(*)::int FROM "+name); n != 0 {
			t.Fatalf("%d rows were kept", n)
		}
	}
	// A savepoint that was set before is a way back.
	exec1(t, conn, "BEGIN")
	exec1(t, conn, "INSERT INTO "+name+" VALUES (1, 1)")
	exec1(t, conn, "SAVEPOINT a")
	exec1(t, conn, "INSERT INTO "+name+" VALUES (2, 2)")
	_, err := conn.Exec(within(t), "TRUNCATE orders", pgx.QueryExecModeSimpleProtocol)
	judgedRefusal(t, err, "policy_denied", "42501")
	exec1(t, conn, "ROLLBACK TO SAVEPOINT a")
	status('T')
	exec1(t, conn, "INSERT INTO "+name+" VALUES (3, 3)")
	if tag := exec1(t, conn, "COMMIT"); tag != "COMMIT" {
		t.Errorf("COMMIT said %s", tag)
	}
	if got := truth[string](t, "SELECT string_agg(id::text, ',' ORDER BY id) FROM "+name); got != "1,3" {
		t.Errorf("kept %s, want 1,3", got)
	}
	// Two statements in one text are one transaction, and refused as one.
	_, err = conn.Exec(within(t), "INSERT INTO "+name+" VALUES (9, 9); DROP TABLE "+name, pgx.QueryExecModeSimpleProtocol)
	judgedRefusal(t, err, "policy_denied", "42501")
	status('I')
	if n := truth[int](t, "SELECT count(*)::int FROM "+name); n != 2 {
		t.Errorf("%d rows are left, want 2", n)
	}
}

// TestNoticesAreDropped: a notice of the database can carry a value.
func TestNoticesAreDropped(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: readWrite + `@id("call") permit (principal, action == Action::"call", resource);`})
	name := table(t, "id int PRIMARY KEY, n int")
	admin(t, "CREATE FUNCTION public.tell_"+name+"() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'value %', NEW.n; RAISE WARNING 'value %', NEW.n; RETURN NEW; END $$;"+
		"CREATE TRIGGER tell BEFORE INSERT ON public."+name+" FOR EACH ROW EXECUTE FUNCTION public.tell_"+name+"()")
	var notices []string
	conn := g.dial(func(c *pgx.ConnConfig) {
		c.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notices = append(notices, n.Message) }
	})
	if tag := exec1(t, conn, "INSERT INTO "+name+" VALUES (1, 4711)"); tag != "INSERT 0 1" {
		t.Error(tag)
	}
	if _, err := conn.Exec(within(t), "INSERT INTO "+name+" VALUES ($1, $2)", 2, 4712); err != nil {
		t.Error(err)
	}
	if len(notices) > 0 {
		t.Errorf("notices came through: %q", notices)
	}
	if r := g.psql("INSERT INTO " + name + " VALUES (3, 4713);\n"); r.err != "" || r.out != "INSERT 0 1\n" {
		t.Errorf("psql: %s%s", r.out, r.err)
	}
}
