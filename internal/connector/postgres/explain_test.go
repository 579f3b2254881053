package postgres

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// explainSetup has a labelled column whose values decide how many rows match it.
const explainSetup = `
	CREATE TABLE people (id int PRIMARY KEY, status text, email text, born date);
	INSERT INTO people SELECT g, CASE WHEN g % 10 = 0 THEN 'paid' ELSE 'open' END, ${email}, date '1980-01-01' + g % ${days} FROM generate_series(1, 5000) g;
	CREATE INDEX ON people (status);
	CREATE TABLE orders (id int PRIMARY KEY, person int REFERENCES people ON DELETE CASCADE, total int);
	INSERT INTO orders SELECT g, g, g FROM generate_series(1, 5000) g;
	CREATE VIEW vip AS SELECT id FROM people WHERE email LIKE 'v%';
	CREATE VIEW totals AS SELECT person, sum(total) AS total FROM orders GROUP BY person;
	CREATE TABLE tenants (id int, email text);
	ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON tenants USING (email = 'witness-policy');
	CREATE TABLE log (id int, what text) PARTITION BY LIST (what);
	CREATE TABLE log_witness PARTITION OF log FOR VALUES IN ('a');
	CREATE FUNCTION peek(int) RETURNS boolean LANGUAGE sql STABLE AS $$SELECT EXISTS (SELECT FROM people WHERE email LIKE 'witness%' AND id = $1)$$;
	CREATE TABLE regions (id int, region text);
	INSERT INTO regions SELECT g, CASE WHEN g % 2 = 0 THEN 'us' ELSE 'eu' END FROM generate_series(1, 1000) g;
	ANALYZE;
	GRANT ALL ON ALL TABLES IN SCHEMA public TO rows_gw;
`

const explainPolicies = `
@id("read") permit (principal, action in Action::"readonly", resource);
@id("write") permit (principal, action in Action::"write", resource);
@id("call") permit (principal, action == Action::"call", resource);
@id("set") permit (principal, action == Action::"set", resource);
@id("eu") @rows("region = 'eu'") forbid (principal, action == Action::"read", resource in Table::"shop/public.regions");
@id("no-part") forbid (principal, action == Action::"read", resource in Table::"shop/public.log_witness");
`

func explainField(t *testing.T, name, email, days string) (address string) {
	t.Helper()
	gatewayRole(t)
	database(t, name, strings.NewReplacer("${email}", email, "${days}", days).Replace(explainSetup)).Close(context.Background())
	return before(t, name, explainPolicies, "\nlabels:\n  public.people: {email: pii.email, born: pii}\n")
}

// lines are the rows of a text, in one string.
func lines(conn *pgx.Conn, text string, args ...any) (string, error) {
	rows, err := conn.Query(context.Background(), text, args...)
	if err != nil {
		return "", err
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	out = slices.DeleteFunc(out, func(l string) bool { return strings.Contains(l, "Query Identifier") }) // made of OIDs
	return strings.Join(out, "\n"), err
}

// TestExplain: the plans that are shown do not depend on what is masked. The two databases differ in labelled values
// alone, of the same length, so that the estimates over these differ by thousands of rows; a statement over them
// is refused in both. What is shown is the same in both, and of a plain statement what a client gets directly.
func TestExplain(t *testing.T) {
	few := dialPGX(t, explainField(t, "explain_few", "'v' || lpad(g::text, 7, '0')", "4000"), pgx.QueryExecModeSimpleProtocol)
	many := dialPGX(t, explainField(t, "explain_many", "'x' || lpad((g % 2)::text, 7, '0')", "2"), pgx.QueryExecModeSimpleProtocol)
	direct := dialPGX(t, testServer.AdminURL("explain_few"), pgx.QueryExecModeSimpleProtocol)
	ctx := context.Background()
	for _, one := range []*pgx.Conn{few, many, direct} {
		if _, err := one.Exec(ctx, "SET jit = off; PREPARE p(int) AS SELECT total FROM orders WHERE id = $1; PREPARE hers AS SELECT id FROM people WHERE email = 'v0000001'"); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{
		"EXPLAIN SELECT id FROM people WHERE status = 'paid'",
		"EXPLAIN (ANALYZE, COSTS ON, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT p.id, o.total FROM people p JOIN orders o ON o.person = p.id WHERE p.status = 'paid'",
		"EXPLAIN SELECT status, count(*) FROM people GROUP BY status ORDER BY 2",
		"EXPLAIN (FORMAT JSON) SELECT * FROM totals WHERE person = 7",
		"EXPLAIN (VERBOSE, SETTINGS) SELECT * FROM orders WHERE total = 3",
		"EXPLAIN DELETE FROM people WHERE id = 1",
		"EXPLAIN UPDATE people SET email = 'x' WHERE status = 'paid'",
		"EXPLAIN INSERT INTO orders SELECT id, id, 1 FROM people WHERE status = 'paid'",
		"EXPLAIN EXECUTE p(3)",
	} {
		a, err := lines(few, text)
		b, err2 := lines(many, text)
		if err != nil || err2 != nil || a != b || a == "" {
			t.Errorf("%s: %v, %v\n%s\n%s", text, err, err2, a, b)
		}
		if strings.Contains(text, "people") { // as a sub-select under another name
			continue
		}
		if want, err := lines(direct, text); err != nil || a != want && !strings.Contains(text, "SETTINGS") {
			t.Errorf("%s: %v\n%s\ndirect\n%s", text, err, a, want)
		}
	}
	for _, text := range []string{
		"EXPLAIN SELECT id FROM people WHERE email = 'x0000001'",
		"EXPLAIN (COSTS OFF) SELECT id FROM people WHERE email = 'x0000001'",
		"EXPLAIN SELECT DISTINCT email FROM people",
		"EXPLAIN SELECT count(*) FROM people GROUP BY born",
		"EXPLAIN SELECT 1 FROM people a JOIN people b USING (email)",
		"EXPLAIN (ANALYZE, TIMING OFF) SELECT id FROM people WHERE email LIKE 'v%'",
		"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT id FROM people ORDER BY email LIMIT 1",
		"EXPLAIN ANALYZE UPDATE people SET status = 'z' WHERE id = 1 RETURNING email",
		"EXPLAIN DELETE FROM people WHERE email = 'x'",
		"EXPLAIN UPDATE people SET status = email WHERE id = 1",
		"EXPLAIN WITH p AS MATERIALIZED (SELECT email FROM people) SELECT 1 FROM p",
		"EXPLAIN VERBOSE SELECT id FROM people",
		"EXPLAIN SELECT id FROM vip",
		"EXPLAIN ANALYZE SELECT count(*) FROM vip",
		"EXPLAIN SELECT id FROM tenants",
		"EXPLAIN SELECT id FROM log",
		"EXPLAIN SELECT peek(1)",
		"EXPLAIN SELECT id FROM orders WHERE peek(id)",
		"EXPLAIN SELECT id FROM regions",
		"EXPLAIN ANALYZE SELECT id FROM regions WHERE id = 2",
		"EXPLAIN UPDATE regions SET id = 1 WHERE id = 2",
		"EXPLAIN EXECUTE hers",
		"EXPLAIN SELECT relname FROM pg_class",
		"EXPLAIN SELECT most_common_vals FROM pg_stats",
		"EXPLAIN SELECT 'people'::regclass",
		"EXPLAIN (ANALYZE) CREATE TABLE x AS SELECT 1",
		"SET auto_explain.log_level = 'notice'",
		"SELECT set_config('auto_explain.log_analyze', 'on', false)",
		"SET debug_print_plan = on",
		"SET client_min_messages = 'log'; SET log_statement_stats = on",
	} {
		for _, one := range []*pgx.Conn{few, many} {
			got, err := lines(one, text)
			var pe *pgconn.PgError
			if !errors.As(err, &pe) || pe.Hint == "" || strings.Contains(got+pe.Message+pe.Detail+pe.Hint, "witness") && !strings.Contains(text, "log") {
				t.Errorf("%s: %v\n%s", text, err, got)
			}
		}
	}
	if _, err := lines(few, "EXPLAIN (ANALYZE) DELETE FROM orders WHERE id = 4000"); err != nil {
		t.Error(err)
	}
	if n, err := lines(few, "SELECT count(*)::text FROM orders WHERE id = 4000"); err != nil || n != "0" {
		t.Errorf("EXPLAIN ANALYZE of a DELETE: %s rows, %v", n, err)
	}
	extended := dialPGX(t, few.Config().ConnString(), pgx.QueryExecModeExec)
	if got, err := lines(extended, "EXPLAIN SELECT total FROM orders WHERE id = $1", 7); err != nil || !strings.Contains(got, "7") {
		t.Errorf("with a parameter: %v\n%s", err, got)
	}
}

// TestExplainNeedsItsPermit: a table may be read and not explained, and a write that would run needs its own permits.
func TestExplainNeedsItsPermit(t *testing.T) {
	gatewayRole(t)
	database(t, "explain_permit", "CREATE TABLE a (id int); CREATE TABLE b (id int); GRANT ALL ON ALL TABLES IN SCHEMA public TO rows_gw").Close(context.Background())
	conn := dialPGX(t, before(t, "explain_permit", `
@id("read") permit (principal, action == Action::"read", resource);
@id("explain") permit (principal, action == Action::"explain", resource == Table::"shop/public.a");
`, ""), pgx.QueryExecModeSimpleProtocol)
	for text, permitted := range map[string]bool{
		"EXPLAIN SELECT id FROM a":                                               true,
		"EXPLAIN SELECT id FROM b":                                               false,
		"EXPLAIN SELECT 1 FROM a, b":                                             false,
		"EXPLAIN DELETE FROM a":                                                  true, // it does not run
		"EXPLAIN ANALYZE DELETE FROM a":                                          false,
		"EXPLAIN (ANALYZE off) DELETE FROM a":                                    true,
		"EXPLAIN (ANALYZE off, ANALYZE) DELETE FROM a":                           false,
		"EXPLAIN ANALYZE SELECT id FROM a FOR UPDATE":                            false,
		"EXPLAIN ANALYZE INSERT INTO a VALUES (1)":                               false,
		"EXPLAIN ANALYZE WITH x AS (DELETE FROM a RETURNING id) SELECT 1 FROM x": false,
	} {
		if _, err := lines(conn, text); (err == nil) != permitted {
			t.Errorf("%s: %v", text, err)
		}
	}
}
