package postgres

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// TestLabelsStayOnWhatTheyWerePutOn: a column keeps its labels under another name, in a table of another name,
// and without the foreign key that they came over.
func TestLabelsStayOnWhatTheyWerePutOn(t *testing.T) {
	ctx := context.Background()
	admin := database(t, "kept", `
		CREATE ROLE kept_reader LOGIN PASSWORD 'reader';
		CREATE TABLE people (id int PRIMARY KEY, name text, email text UNIQUE);
		CREATE TABLE letters (id int, sent_to text REFERENCES people(email));
		CREATE VIEW names AS SELECT name FROM people;
		GRANT SELECT ON ALL TABLES IN SCHEMA public TO kept_reader`)
	t.Setenv("READER", "reader")
	o := options(t, "url: "+testServer.URL("kept_reader", "", "kept")+"\npassword: {env: READER}\nlabels: {public.people: {email: pii}}")
	c, err := newCatalogs(o, gate.Connection{Name: "kept"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	labelled := func(when string, want ...string) {
		t.Helper()
		catalog, err := c.Reload(ctx)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		var got []string
		for name, r := range catalog.Relations {
			for _, col := range r.Columns {
				if len(col.Labels) > 0 {
					got = append(got, name.Name+"."+col.Name)
				}
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: labelled are %v, want %v", when, got, want)
		}
	}
	change := func(sql string) {
		t.Helper()
		if _, err := admin.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	labelled("at first", "letters.sent_to", "people.email")
	change("ALTER TABLE people RENAME email TO spare; ALTER TABLE people RENAME name TO email; ALTER TABLE people RENAME spare TO name")
	labelled("names swapped", "letters.sent_to", "names.name", "people.email", "people.name")
	change("CREATE OR REPLACE VIEW names AS SELECT id::text AS name FROM people")
	labelled("view replaced", "letters.sent_to", "people.email", "people.name")
	change("ALTER TABLE letters DROP CONSTRAINT letters_sent_to_fkey; DROP VIEW names; ALTER TABLE people DROP COLUMN email; ALTER TABLE people RENAME TO old")
	labelled("table renamed", "letters.sent_to", "old.name")
	change("CREATE TABLE people (email text, id int)")
	labelled("table made anew", "letters.sent_to", "old.name", "people.email")
	change("DROP TABLE old, people, letters")
	labelled("all dropped")
	if _, err := newCatalogsOf(t, o).Reload(ctx); err == nil {
		t.Error("a configuration that names a table which was never there is taken")
	}
	if catalog, err := c.Reload(ctx); err != nil || catalog.Relations[guard.Name{Schema: "public", Name: "people"}] != nil {
		t.Errorf("after the drop: %v", err)
	}
}

func newCatalogsOf(t *testing.T, o *Options) *catalogs {
	t.Helper()
	c, err := newCatalogs(o, gate.Connection{Name: "other"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}
