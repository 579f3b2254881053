package postgres

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// TestExtensionsOfTheCatalog: an extension's schema joins the operator path only where nothing else can slip into
// it, and its functions are allowed only where they keep their meaning and nothing shares their name.
func TestExtensionsOfTheCatalog(t *testing.T) {
	ctx := context.Background()
	const setup = `
		CREATE ROLE extension_reader LOGIN PASSWORD 'reader';
		CREATE EXTENSION citext; CREATE EXTENSION pgcrypto;
		CREATE TABLE people (id int, nick citext, nicks citext[]);
		CREATE TYPE span AS RANGE (subtype = float8);
		CREATE FUNCTION digest(int, text) RETURNS bytea LANGUAGE sql AS 'SELECT NULL::bytea';
		CREATE FUNCTION own(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';`
	admin := database(t, "extended", setup)
	t.Setenv("READER", "reader")
	c, err := newCatalogs(options(t, "url: "+testServer.URL("extension_reader", "", "extended")+"\npassword: {env: READER}"), gate.Connection{Name: "extended"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	read := func(change string) *guard.Catalog {
		t.Helper()
		if _, err := admin.Exec(ctx, change); err != nil {
			t.Fatal(err)
		}
		got, err := c.Reload(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	public := func(name string) guard.Name { return guard.Name{Schema: "public", Name: name} }
	safe := read("SELECT 1")
	if !slices.Equal(safe.OperatorPath, []string{"public"}) {
		t.Errorf("the operator path is %v", safe.OperatorPath)
	}
	for name, want := range map[string]bool{
		"citext_eq": true, "hmac": true, "gen_random_bytes": true, "span": true, // a random source, a constructor
		"own": false, "digest": false, "pgp_sym_decrypt": false, "gen_salt": false, // a user's, one shared with a user's, off the list
	} {
		if o := safe.Functions[public(name)]; o == nil || o.Allowed != want {
			t.Errorf("%s: %+v, want allowed %v", name, o, want)
		}
	}
	people := safe.Relations[public("people")]
	if !safe.Types[public("citext")].Usable || people.Column("nick").Extension || people.Column("nicks").Extension {
		t.Errorf("citext is not usable: %+v", people.Columns)
	}
	for what, change := range map[string][2]string{
		"the role can create in it": {"GRANT CREATE ON SCHEMA public TO extension_reader", "REVOKE CREATE ON SCHEMA public FROM extension_reader"},
		"a user's operator is in it": {"CREATE OPERATOR public.= (LEFTARG = citext, RIGHTARG = int, FUNCTION = own_eq)",
			"DROP OPERATOR public.= (citext, int)"},
	} {
		if what == "a user's operator is in it" {
			read("CREATE FUNCTION own_eq(citext, int) RETURNS bool LANGUAGE sql AS 'SELECT true'")
		}
		unsafe := read(change[0])
		if len(unsafe.OperatorPath) != 0 || unsafe.Types[public("citext")].Usable || !unsafe.Relations[public("people")].Column("nick").Extension || unsafe.Functions[public("citext_eq")].Allowed {
			t.Errorf("%s, and it is on the operator path: %v", what, unsafe.OperatorPath)
		}
		if again := read(change[1]); !slices.Equal(again.OperatorPath, []string{"public"}) {
			t.Errorf("after that: %v", again.OperatorPath)
		}
	}
}
