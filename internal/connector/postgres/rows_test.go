package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
)

// before puts a gateway with the policies before a database, and gives the address for clients.
func before(t *testing.T, databaseName, policies, more string) string {
	t.Helper()
	_, address := serveTest(t, "url: "+testServer.URL("rows_gw", "", databaseName)+"\npassword: {env: GW_PASSWORD}"+more, policy.Source{Name: "test.cedar", Text: []byte(policies)})
	return clientURL(address)
}

// gatewayRole makes the role that gateways of these tests sign in with, once.
func gatewayRole(t *testing.T) {
	t.Helper()
	admin, err := pgx.Connect(context.Background(), testServer.AdminURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.Background())
	_, err = admin.Exec(context.Background(), "CREATE ROLE rows_gw LOGIN PASSWORD 'p'")
	var pe *pgconn.PgError
	if err != nil && !(errors.As(err, &pe) && pe.Code == "42710") {
		t.Fatal(err)
	}
}

func dialPGX(t *testing.T, address string, mode pgx.QueryExecMode) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	config.DefaultQueryExecMode = mode
	conn, err := pgx.ConnectConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// rowsSetup has a visible and a hidden half. The hidden rows make an attack's expression fail: id - 666 is 0
// for one of them, and note is not a number for one of them.
const rowsSetup = `
	CREATE TABLE acc (id int PRIMARY KEY, region text, note text, amount numeric, owner text);
	INSERT INTO acc SELECT g, CASE WHEN g % 2 = 0 THEN 'us' ELSE 'eu' END, g::text, g, 'o' || g FROM generate_series(1, 20000) g;
	UPDATE acc SET note = 'witness-note' WHERE id = 666;
	CREATE INDEX ON acc (region);
	CREATE TABLE tags (id int PRIMARY KEY, acc int REFERENCES acc, tag text);
	INSERT INTO tags SELECT g, g, 'tag' FROM generate_series(1, 100) g;
	CREATE TABLE log (id int, region text, what text) PARTITION BY RANGE (id);
	CREATE TABLE log_old PARTITION OF log FOR VALUES FROM (0) TO (100);
	CREATE TABLE log_new PARTITION OF log FOR VALUES FROM (100) TO (200);
	INSERT INTO log VALUES (1, 'eu', 'seen'), (2, 'us', 'witness-log'), (101, 'eu', 'seen'), (102, 'us', 'witness-log');
	CREATE SEQUENCE acc_number OWNED BY acc.id;
	SELECT nextval('acc_number');
	GRANT ALL ON SEQUENCE acc_number TO rows_gw;
	CREATE VIEW all_acc AS SELECT id, note FROM acc;
	CREATE VIEW open_acc AS SELECT id, note FROM acc;
	CREATE TABLE regions (region text);
	INSERT INTO regions VALUES ('eu');
	CREATE VIEW joined_acc AS SELECT acc.id, acc.note FROM acc JOIN regions USING (region);
	ANALYZE;
	GRANT ALL ON ALL TABLES IN SCHEMA public TO rows_gw;
`

const rowsPolicies = `
@id("read") permit (principal, action in Action::"readonly", resource);
@id("write") permit (principal, action in Action::"write", resource);
@id("risky") permit (principal, action in Action::"risky", resource);
@id("eu") @rows("region = 'eu'")
forbid (principal, action in [Action::"read", Action::"insert", Action::"update", Action::"delete"], resource in Table::"shop/public.acc");
@id("eu-log") @rows("region = 'eu'")
forbid (principal, action == Action::"read", resource in Table::"shop/public.log");
@id("open-acc") permit (principal, action == Action::"read", resource == Table::"shop/public.open_acc");
@id("joined-acc") permit (principal, action == Action::"read", resource == Table::"shop/public.joined_acc");
`

// TestRowsCannotBeOutrun runs conditions that would fail, or answer, by a row outside the filter. Each must
// behave as if the row were not there; sent directly, it tells.
func TestRowsCannotBeOutrun(t *testing.T) {
	gatewayRole(t)
	ctx := context.Background()
	admin := database(t, "rows_outrun", rowsSetup)
	address := before(t, "rows_outrun", rowsPolicies, "")
	attacks := []string{
		"SELECT count(*) FROM acc WHERE 1/(id-666) = 5",
		"SELECT count(*) FROM acc WHERE id > 0 AND 1/(id-666) = 5",
		"SELECT count(*) FROM acc WHERE id = 1 OR 1/(id-666) = 5",
		"SELECT count(*) FROM acc WHERE note::int = -1",
		"SELECT count(*) FROM acc WHERE 5 IN (SELECT 1/(id-666) FROM acc)",
		"SELECT count(*) FROM tags WHERE id IN (SELECT 1/(id-666) FROM acc)",
		"SELECT count(*) FROM acc a WHERE EXISTS (SELECT 1 FROM tags WHERE tags.id = 1/(a.id-666))",
		"SELECT count(*) FROM acc a WHERE NOT EXISTS (SELECT 1 FROM tags LIMIT 1/(a.id-666)+1)",
		"SELECT count(*) FROM acc WHERE lower(region) = 'us' AND 1/(id-666) = 5",
		"SELECT count(*) FROM (SELECT 1/(id-666) AS y FROM acc) s WHERE y = 5",
		"WITH s AS (SELECT 1/(id-666) AS y FROM acc) SELECT count(*) FROM s WHERE y = 5",
		"SELECT count(*) FROM (SELECT id AS y FROM tags UNION ALL SELECT 1/(id-666) FROM acc) s WHERE y = -5",
		"SELECT count(*) FROM acc a JOIN tags t ON t.id = 1/(a.id-666)",
		"SELECT count(*) FROM tags t LEFT JOIN acc a ON a.id = t.acc AND 1/(a.id-666) = 0 WHERE t.id > 0",
		"SELECT count(*) FROM acc a, LATERAL (SELECT 1/(a.id-666) AS y) s WHERE y = 5",
		"SELECT id FROM acc GROUP BY id HAVING 1/(id-666) = 5",
		"SELECT count(*) FROM acc WHERE CASE WHEN region = 'us' THEN 1/(id-666) = 5 ELSE false END",
		"SELECT count(*) FROM acc WHERE (SELECT 1/(id-666)) = 5",
		"SELECT count(*) FROM acc WHERE id = 666 AND 1/(id-666) = 5",
		"SELECT count(*) FROM acc TABLESAMPLE bernoulli (100) WHERE 1/(id-666) = 5",
		"UPDATE acc SET owner = 'x' WHERE 1/(id-666) = 5",
		"DELETE FROM acc WHERE 1/(id-666) = 5",
		"UPDATE acc SET owner = 'x' FROM tags t WHERE t.id = acc.id AND 1/(acc.id-666) = 5",
		"UPDATE tags SET tag = 'x' FROM acc WHERE acc.id = tags.acc AND 1/(acc.id-666) = 5",
		"DELETE FROM tags USING acc WHERE 1/(acc.id-666) = 5",
		"SELECT id FROM acc WHERE 1/(id-666) = 5 FOR UPDATE",
		"SELECT id FROM joined_acc WHERE 1/(id-666) = 5",
		"SELECT count(*) FROM joined_acc WHERE note::int = -1",
		"SELECT count(*) FROM tags t JOIN joined_acc a ON t.id = 1/(a.id-666)",
		"UPDATE tags SET tag = 'x' FROM joined_acc a WHERE a.id = tags.acc AND 1/(a.id-666) = 5",
	}
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec} {
		conn := dialPGX(t, address, mode)
		for _, text := range attacks {
			_, err := conn.Exec(ctx, text)
			var pe *pgconn.PgError
			if errors.As(err, &pe) && pe.Code[:2] == "22" {
				t.Errorf("LEAK %s: %v", text, err)
			} else if err != nil && !strings.Contains(err.Error(), "row filter") {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
	sizes := dialPGX(t, address, pgx.QueryExecModeExec)
	for _, f := range []string{"pg_relation_size", "pg_table_size", "pg_indexes_size", "pg_total_relation_size"} {
		for _, what := range []string{"'acc'", "'public.acc'::regclass", "(SELECT oid FROM pg_class WHERE relname = 'acc')"} {
			if got := outcome(ctx, sizes, "SELECT "+f+"("+what+") IS NULL"); got != "true" {
				t.Errorf("LEAK the size of a table with a row filter, %s(%s): %s", f, what, got)
			}
		}
	}
	for _, text := range []string{"SELECT pg_sequence_last_value('acc_number') IS NULL", "SELECT pg_sequence_last_value('acc_number'::regclass) IS NULL", "SELECT last_value IS NULL FROM pg_sequences WHERE sequencename = 'acc_number'"} {
		if got := outcome(ctx, sizes, text); got != "true" {
			t.Errorf("LEAK how often a number was taken for a table with a row filter, %s: %s", text, got)
		}
	}
	raised := 0
	for _, text := range attacks {
		tx, err := admin.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		// As a sub-select without a fence would be: the filter and the attack in one place.
		_, err = tx.Exec(ctx, strings.Replace(text, "FROM acc", "FROM (SELECT * FROM acc WHERE region = 'eu') acc", 1))
		var pe *pgconn.PgError
		if errors.As(err, &pe) && pe.Code[:2] == "22" {
			raised++
		}
		tx.Rollback(ctx)
	}
	if raised < 3 {
		t.Errorf("only %d attacks tell anything without the fence: they prove nothing", raised)
	}
	var n int
	if err := admin.QueryRow(ctx, "SELECT count(*) FROM acc WHERE owner = 'x'").Scan(&n); err != nil || n != 0 {
		t.Errorf("%d rows were changed: %v", n, err)
	}
}

// TestRows: what a filter leaves out is not there, for every kind of statement.
func TestRows(t *testing.T) {
	gatewayRole(t)
	ctx := context.Background()
	admin := database(t, "rows_plain", rowsSetup)
	address := before(t, "rows_plain", rowsPolicies, "")
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheDescribe} {
		conn := dialPGX(t, address, mode)
		for text, want := range map[string]string{
			"SELECT count(*) FROM acc":                                                        "10000",
			"SELECT count(*) FROM acc WHERE region = 'us'":                                    "0",
			"SELECT count(*) FROM acc WHERE note LIKE '6%'":                                   "555",
			"SELECT count(*) FROM acc a JOIN tags t ON t.acc = a.id":                          "50",
			"SELECT count(*) FROM log":                                                        "2",
			"SELECT count(*) FROM log_new":                                                    "1",
			"SELECT count(*) FROM log_old WHERE what LIKE '%'":                                "1",
			"SELECT count(*) FROM open_acc":                                                   "20000",
			"SELECT count(*) FROM all_acc":                                                    "refused 42501",
			"SELECT id FROM acc WHERE id = 667 FOR UPDATE":                                    "667",
			"SELECT id FROM acc WHERE id = 666 FOR UPDATE":                                    "nothing",
			"UPDATE acc SET owner = 'y' WHERE id = 666":                                       "UPDATE 0",
			"UPDATE acc SET owner = 'y' WHERE id IN (665, 666, 667)":                          "UPDATE 2",
			"UPDATE acc SET region = 'us' WHERE id = 667":                                     "refused 42501",
			"UPDATE acc SET region = 'eu' WHERE id = 667":                                     "UPDATE 1",
			"DELETE FROM acc WHERE id = 1000":                                                 "DELETE 0",
			"INSERT INTO acc (id, region) VALUES (-1, 'us')":                                  "refused 42501",
			"INSERT INTO acc (id, region) VALUES (-1, NULL)":                                  "refused 42501",
			"INSERT INTO acc (id, region) SELECT -2, 'us'":                                    "refused 42501",
			"INSERT INTO acc (id) VALUES (-3)":                                                "refused 42501",
			"INSERT INTO acc (id, region) VALUES (666, 'eu') ON CONFLICT (id) DO NOTHING":     "refused 42501",
			"INSERT INTO acc (id, region) VALUES (-4, 'eu') ON CONFLICT DO NOTHING":           "refused 42501",
			"TRUNCATE acc, tags":                                                              "refused 42501",
			"DROP TABLE acc":                                                                  "refused 42501",
			"ALTER TABLE acc ADD COLUMN x int CHECK (id <> 666)":                              "refused 42501",
			"COPY (SELECT count(*) FROM acc) TO STDOUT":                                       "COPY 1",
			"WITH d AS (DELETE FROM acc WHERE id = 12 RETURNING note) SELECT count(*) FROM d": "0",
		} {
			if got := outcome(ctx, conn, text); got != want {
				t.Errorf("%s: %s, want %s", text, got, want)
			}
		}
		if got := outcome(ctx, conn, "INSERT INTO acc (id, region, note) VALUES (-5, 'eu', 'n')"); got != "INSERT 0 1" {
			t.Errorf("a row inside the filter: %s", got)
		}
		if got := outcome(ctx, conn, "DELETE FROM acc WHERE id = -5"); got != "DELETE 1" {
			t.Errorf("deleting it: %s", got)
		}
	}
	conn := dialPGX(t, address, pgx.QueryExecModeCacheStatement)
	for _, region := range []string{"us", "eu"} {
		_, err := conn.Exec(ctx, "INSERT INTO acc (id, region) VALUES ($1, $2)", -6, region)
		if (err == nil) != (region == "eu") {
			t.Errorf("a new row of %s: %v", region, err)
		}
	}
	var n int
	if err := admin.QueryRow(ctx, "SELECT count(*) FROM acc WHERE id < 0 AND region IS DISTINCT FROM 'eu' OR owner = 'y' AND region <> 'eu'").Scan(&n); err != nil || n != 0 {
		t.Errorf("%d rows outside the filter were written: %v", n, err)
	}
}

// outcome runs a text: its one value, else its command tag, else how it was refused.
func outcome(ctx context.Context, conn *pgx.Conn, text string) string {
	if strings.HasPrefix(text, "COPY") {
		tag, err := conn.PgConn().CopyTo(ctx, discard{}, text)
		return cmpErr(err, tag.String())
	}
	rows, err := conn.Query(ctx, text)
	if err != nil {
		return cmpErr(err, "")
	}
	var values []string
	for rows.Next() {
		v, err := rows.Values()
		if err != nil {
			return err.Error()
		}
		values = append(values, fmt.Sprint(v...))
	}
	rows.Close()
	switch tag := rows.CommandTag().String(); {
	case rows.Err() != nil:
		return cmpErr(rows.Err(), "")
	case len(values) > 0:
		return strings.Join(values, ",")
	case strings.HasPrefix(tag, "SELECT"):
		return "nothing"
	default:
		return tag
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

func cmpErr(err error, ok string) string {
	var pe *pgconn.PgError
	switch {
	case errors.As(err, &pe) && pe.Code == "42501":
		return "refused 42501"
	case err != nil:
		return err.Error()
	}
	return ok
}

// TestFencedLookups: a look-up by key beside a condition that is not leakproof still uses the key's index.
func TestFencedLookups(t *testing.T) {
	gatewayRole(t)
	ctx := context.Background()
	admin := database(t, "rows_plans", rowsSetup)
	o := options(t, "url: "+testServer.URL("rows_gw", "", "rows_plans")+"\npassword: {env: ROWS_PASSWORD}")
	t.Setenv("ROWS_PASSWORD", "p")
	target, err := newTarget(gate.Connection{Name: "shop", Kind: kind, Options: o}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer target.close()
	set, err := policy.Compile(policy.Input{
		Schemas:  []policy.Source{{Name: "postgres.cedarschema", Text: schema}},
		Policies: []policy.Source{{Name: "test.cedar", Text: []byte(rowsPolicies)}},
		Rows:     connector{}.CheckRows,
	})
	if err != nil {
		t.Fatal(err)
	}
	slice := set.For(policy.Principal{Kind: policy.Agent, ID: "x"})
	for _, c := range []struct {
		text   string
		types  []uint32
		fenced bool
	}{
		{"SELECT * FROM acc WHERE id = 667", nil, false},
		{"SELECT * FROM acc WHERE id = 667 AND note LIKE '6%'", nil, true},
		{"SELECT * FROM acc WHERE id IN (1, 667) AND amount = 5", nil, true},
		{"SELECT * FROM acc WHERE id = ANY ('{1,667}'::int[])", nil, false},
		{"SELECT t.tag FROM tags t JOIN acc a ON a.id = t.acc WHERE t.id = 5", nil, false},
		{"SELECT * FROM acc WHERE id = 667::bigint", nil, false},
	} {
		plan, _, err := target.understand(ctx, slice, c.text, moment{types: declareTypes(c.types)})
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got := strings.Contains(plan.Text, "OFFSET 0"); got != c.fenced {
			t.Errorf("%s: fenced %v\n%s", c.text, got, plan.Text)
		}
		rows, err := admin.Query(ctx, "EXPLAIN "+plan.Text)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil || !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "acc_pkey") }) {
			t.Errorf("%s: %v\n%s", c.text, err, strings.Join(lines, "\n"))
		}
	}
	for declared, fenced := range map[uint32]bool{0: false, 23: false, 20: false, 1700: true, 701: true, 999999: true} {
		plan, _, err := target.understand(ctx, slice, "SELECT * FROM acc WHERE id = $1", moment{types: declareTypes([]uint32{declared})})
		if err != nil || strings.Contains(plan.Text, "OFFSET 0") != fenced {
			t.Errorf("a parameter of type %d: %v, %+v", declared, err, plan)
		}
	}
}

// TestLimits: a result ends at its limit with an error that says so, and the session goes on.
func TestLimits(t *testing.T) {
	gatewayRole(t)
	ctx := context.Background()
	database(t, "rows_limits", rowsSetup)
	address := before(t, "rows_limits", `
@id("read") @limit("rows=100") permit (principal, action == Action::"read", resource);
@id("time") @limit("seconds=1,rows=5000") forbid (principal, action == Action::"read", resource);
@id("write") permit (principal, action in Action::"write", resource);`, "")
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec} {
		conn := dialPGX(t, address, mode)
		for text, want := range map[string]string{
			"SELECT id FROM acc WHERE id <= 100": "100 rows",
			"SELECT id FROM acc WHERE id <= 101": "100 rows 54000",
			"SELECT id FROM acc":                 "100 rows 54000",
			"SELECT count(*) FROM acc":           "1 rows",
			"SELECT count(*) FROM acc a, acc b, acc c, acc d WHERE a.note = b.note || c.note || d.note": "0 rows 57014",
			"UPDATE acc SET owner = 'z' WHERE id <= 200 RETURNING id":                                   "100 rows 54000",
			"UPDATE acc SET owner = 'z' WHERE id <= 200":                                                "0 rows",
		} {
			rows, err := conn.Query(ctx, text)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for rows.Next() {
				n++
			}
			got := fmt.Sprintf("%d rows", n)
			var pe *pgconn.PgError
			if errors.As(rows.Err(), &pe) {
				got += " " + pe.Code
				if !strings.Contains(pe.Message, "policy") {
					t.Errorf("%s: %v", text, pe)
				}
			} else if rows.Err() != nil {
				got += rows.Err().Error()
			}
			if got != want {
				t.Errorf("%v %s: %s, want %s", mode, text, got, want)
			}
		}
		if err := conn.Ping(ctx); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	}
	conn := dialPGX(t, address, pgx.QueryExecModeExec)
	b := &pgx.Batch{}
	b.Queue("SELECT id FROM acc WHERE id <= 150")
	b.Queue("DELETE FROM tags WHERE id = 1")
	if err := conn.SendBatch(ctx, b).Close(); err == nil || !strings.Contains(err.Error(), "sent together") {
		t.Errorf("a write behind a limited result: %v", err)
	}
	b = &pgx.Batch{}
	b.Queue("SELECT id FROM acc WHERE id <= 150")
	b.Queue("SELECT id FROM acc WHERE id <= 10")
	if err := conn.SendBatch(ctx, b).Close(); err == nil || !strings.Contains(err.Error(), "100 rows") {
		t.Errorf("two results: %v", err)
	}
	if err := conn.Ping(ctx); err != nil {
		t.Error(err)
	}
}
