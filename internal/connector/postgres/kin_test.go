package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const kinSetup = `
	DROP SCHEMA IF EXISTS kin CASCADE; CREATE SCHEMA kin; GRANT ALL ON SCHEMA kin TO gw; SET search_path = kin;
	CREATE TABLE customers (id int NOT NULL, email text);
	INSERT INTO customers SELECT g, 'witness' || g FROM generate_series(1, 20) g;
	CREATE TABLE plain (id int NOT NULL, email text);
	INSERT INTO plain VALUES (0, 'nobody');
	CREATE TABLE above (id int NOT NULL, email text);
	ALTER TABLE plain INHERIT above;
	CREATE TABLE parts (id int NOT NULL, email text) PARTITION BY RANGE (id);
	CREATE TABLE low PARTITION OF parts FOR VALUES FROM (-10) TO (0);
	CREATE TABLE deep PARTITION OF parts FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id);
	CREATE VIEW seen AS SELECT email AS shown FROM plain;
	CREATE TABLE written (t text);
	CREATE TABLE keys (id int PRIMARY KEY); INSERT INTO keys VALUES (1);
	GRANT ALL ON ALL TABLES IN SCHEMA kin TO gw`

// attaches are changes by another session after which a table without labels shows labelled rows too.
var attaches = map[string]struct {
	change string
	texts  []string
}{
	"the first child":    {"ALTER TABLE customers INHERIT plain", []string{"SELECT * FROM plain", "SELECT string_agg(email, ',') FROM above", "SELECT shown FROM seen", "INSERT INTO written SELECT email FROM plain RETURNING t", "UPDATE keys SET id = 1 FROM plain WHERE plain.id > 0 RETURNING plain.email", "COPY (SELECT email FROM plain) TO STDOUT"}},
	"another child":      {"ALTER TABLE customers INHERIT above", []string{"SELECT email FROM above", "DELETE FROM written USING above RETURNING above.email"}},
	"a partition":        {"ALTER TABLE parts DETACH PARTITION deep; ALTER TABLE parts ATTACH PARTITION customers FOR VALUES FROM (1) TO (50)", []string{"SELECT email FROM parts", "SELECT email FROM parts WHERE id = 7"}},
	"a partition deeper": {"ALTER TABLE deep ATTACH PARTITION customers DEFAULT", []string{"SELECT email FROM parts", "SELECT email FROM deep WHERE id = 7"}},
}

// TestAttachedTables: a labelled table that another session attaches as a child or partition is masked at once where it
// shows, however the statement is sent.
func TestAttachedTables(t *testing.T) {
	f := evasionField(t)
	ctx := context.Background()
	admin, err := pgx.Connect(ctx, testServer.AdminURL("field"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	change := func(sql string) {
		t.Helper()
		if _, err := admin.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	change(kinSetup)
	f.serveWith("url: " + testServer.URL("gw", "", f.name) + "\npassword: {env: GW_PASSWORD}\nsearch_path: [kin]\nlabels: {kin.customers: {email: pii}}\nallow_privileged_role: true")
	modes := map[string]pgx.QueryExecMode{"simple": pgx.QueryExecModeSimpleProtocol, "exec": pgx.QueryExecModeExec, "prepared": pgx.QueryExecModeCacheStatement}
	for name, one := range attaches {
		for mode, how := range modes {
			for _, isolation := range []pgx.TxIsoLevel{"", pgx.ReadCommitted, pgx.RepeatableRead} {
				t.Run(name+" "+mode+" "+string(isolation), func(t *testing.T) {
					change(kinSetup)
					if _, err := f.server.targets["shop"].catalogs.Reload(ctx); err != nil {
						t.Fatal(err)
					}
					config, err := pgx.ParseConfig(f.url("app"))
					if err != nil {
						t.Fatal(err)
					}
					config.DefaultQueryExecMode = how
					conn, err := pgx.ConnectConfig(ctx, config)
					if err != nil {
						t.Fatal(err)
					}
					defer conn.Close(ctx)
					g := &groundLoad{t: t}
					for i, when := range []string{"before", "after"} {
						if i == 1 {
							change(one.change)
						}
						for _, text := range one.texts {
							if strings.HasPrefix(text, "COPY") {
								var b strings.Builder
								_, err = conn.PgConn().CopyTo(ctx, &b, text)
								if strings.Contains(b.String(), "witness") {
									t.Errorf("LEAK %s the change: %s: %s", when, text, b.String())
								}
							} else {
								var out string
								if out, err = g.ask(ctx, conn, isolation, text); strings.Contains(out, "witness") {
									t.Errorf("LEAK %s the change: %s: %.300s", when, text, out)
								}
							}
							var pe *pgconn.PgError
							if err != nil {
								t.Logf("%s the change: %s: %v", when, text, err)
							}
							if err != nil && (!errors.As(err, &pe) || i == 0 || pe.Code != "40001" && pe.Code != "0A000" && pe.Code != "42501") {
								t.Errorf("%s the change: %s: %v", when, text, err)
							}
						}
					}
				})
			}
		}
	}
}

// TestKnownChildren: what tables have anyway is no change, temporary children of other sessions included.
func TestKnownChildren(t *testing.T) {
	f := evasionField(t)
	ctx := context.Background()
	admin, err := pgx.Connect(ctx, testServer.AdminURL("field"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	if _, err := admin.Exec(ctx, kinSetup+"; CREATE TEMP TABLE passing () INHERITS (plain); INSERT INTO passing VALUES (5, 'x')"); err != nil {
		t.Fatal(err)
	}
	f.serveWith("url: " + testServer.URL("gw", "", f.name) + "\npassword: {env: GW_PASSWORD}\nsearch_path: [kin]\nlabels: {kin.customers: {email: pii}}\nallow_privileged_role: true")
	conn, err := pgx.Connect(ctx, f.url("app"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, text := range []string{"SELECT count(*) FROM plain", "SELECT count(*) FROM above", "SELECT count(*) FROM ONLY above", "SELECT count(*) FROM parts", "SELECT count(*) FROM seen"} {
		for _, begin := range []string{"", "BEGIN ISOLATION LEVEL REPEATABLE READ"} {
			if begin != "" {
				if _, err := conn.Exec(ctx, begin); err != nil {
					t.Fatal(err)
				}
			}
			var n int
			if err := conn.QueryRow(ctx, text).Scan(&n); err != nil {
				t.Errorf("%s %s: %v", begin, text, err)
			}
			if begin != "" {
				if _, err := conn.Exec(ctx, "COMMIT"); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
