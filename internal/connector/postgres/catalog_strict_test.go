package postgres

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

const strictSetup = `
	CREATE TABLE people (id int PRIMARY KEY, name text, email text, shout text GENERATED ALWAYS AS (upper(name)) STORED, twice int GENERATED ALWAYS AS (id * 2) STORED);
	INSERT INTO people VALUES (1, 'witness-name', 'ada@x.example');
	CREATE TABLE visits (id int, person int REFERENCES people, page text) PARTITION BY RANGE (id);
	CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM (1) TO (10);
	INSERT INTO visits VALUES (1, 1, 'witness-page');
	CREATE VIEW seen AS SELECT id FROM people;
	CREATE VIEW named AS SELECT upper(name) AS n FROM people;
	CREATE VIEW open AS SELECT page FROM visits;
	GRANT ALL ON ALL TABLES IN SCHEMA public TO rows_gw;
`

const strictOptions = `
strict: true
labels: {public.people: {email: pii.email}}
reviewed: {public.people: [id], public.visits: [id, page]}
`

// TestStrict: a column that nobody has said anything of is masked, a new one too, and so is what comes of it.
func TestStrict(t *testing.T) {
	gatewayRole(t)
	admin := database(t, "strict", strictSetup)
	conn := dialPGX(t, before(t, "strict", `@id("all") permit (principal, action in Action::"readonly", resource);`, strictOptions), pgx.QueryExecModeSimpleProtocol)
	for text, want := range map[string]string{
		"SELECT name FROM people":                      "***",
		"SELECT shout FROM people":                     "***",
		"SELECT twice::text FROM people":               "2",
		"SELECT id::text FROM people":                  "1",
		"SELECT email FROM people":                     "a***@***.invalid",
		"SELECT id::text FROM seen":                    "1",
		"SELECT n FROM named":                          "***",
		"SELECT page FROM visits":                      "witness-page",
		"SELECT page FROM visits_1":                    "witness-page",
		"SELECT page FROM open":                        "witness-page",
		"SELECT coalesce(person, 0)::text FROM visits": "0",
	} {
		if got, err := lines(conn, text); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
	ctx := context.Background()
	// A new column, and another one that takes the name of a reviewed one.
	if _, err := admin.Exec(ctx, "ALTER TABLE people ADD note text DEFAULT 'witness-note'; ALTER TABLE visits ADD extra text DEFAULT 'witness-extra'; ALTER TABLE visits RENAME page TO was; ALTER TABLE visits RENAME extra TO page"); err != nil {
		t.Fatal(err)
	}
	conn = dialPGX(t, conn.Config().ConnString(), pgx.QueryExecModeSimpleProtocol)
	for _, text := range []string{"SELECT note FROM people", "SELECT page FROM visits"} {
		got, err := lines(conn, text)
		var pe *pgconn.PgError
		if errors.As(err, &pe) && pe.Code == "42703" { // the catalog is not that old yet
			got, err = lines(conn, text)
		}
		if err != nil || got != "***" {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
}

// TestStrictIsShown: check says what is masked for want of a review, and names that are not there are errors.
func TestStrictIsShown(t *testing.T) {
	gatewayRole(t)
	database(t, "strict_check", strictSetup)
	t.Setenv("P", "p")
	i, err := newInspector(gate.Connection{Name: "shop", Options: options(t, "url: "+testServer.URL("rows_gw", "", "strict_check")+"\npassword: {env: P}"+strictOptions)})
	if err != nil {
		t.Fatal(err)
	}
	out := i.Check(context.Background())
	if !slices.ContainsFunc(out.Findings, func(f gate.Finding) bool {
		return f.Level == gate.Warning && strings.Contains(f.Problem, "2 columns") && strings.Contains(f.Remedy, "reviewed: {public.people: [name], public.visits: [person]}")
	}) {
		t.Errorf("%+v", out.Findings)
	}
	c, err := newCatalogs(options(t, "url: "+testServer.URL("rows_gw", "", "strict_check")+"\npassword: {env: P}\nstrict: true\nreviewed: {public.people: [nme]}"), gate.Connection{Name: "shop"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if _, _, err := c.Current(context.Background()); err == nil || !strings.Contains(err.Error(), "is name meant?") {
		t.Errorf("a reviewed column that does not exist: %v", err)
	}
}

// TestStrictKeeps: a column that was unreviewed stays so under the name of a reviewed one.
func TestStrictKeeps(t *testing.T) {
	gatewayRole(t)
	admin := database(t, "strict_keeps", strictSetup)
	t.Setenv("P", "p")
	c, err := newCatalogs(options(t, "url: "+testServer.URL("rows_gw", "", "strict_keeps")+"\npassword: {env: P}"+strictOptions), gate.Connection{Name: "shop"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	ctx := context.Background()
	if _, _, err := c.Current(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Exec(ctx, "ALTER TABLE people DROP COLUMN shout; ALTER TABLE visits DROP CONSTRAINT visits_person_fkey; DROP VIEW seen; ALTER TABLE people RENAME id TO x; ALTER TABLE people RENAME name TO id"); err != nil {
		t.Log(err)
	}
	catalog, err := c.Reload(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if l := catalog.Relations[guard.Name{Schema: "public", Name: "people"}].Column("id").Labels; !slices.Contains(l, unreviewed) {
		t.Errorf("the labels are %v", l)
	}
}
