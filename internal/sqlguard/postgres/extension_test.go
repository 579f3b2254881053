package postgres

import "testing"

// extended is the shop with an extension in public, one in a schema that the pinned path does not have, and
// functions of a user's.
func extended() Environment {
	env := shop()
	c := env.Catalog
	c.SearchPath = []string{"public", "open"}
	c.OperatorPath = []string{"public"}
	c.RefusedOperators = map[string]bool{"#=": true}
	c.Types[Name{"public", "hstore"}] = &Type{OID: 20000, Name: Name{"public", "hstore"}, Kind: 'b', Usable: true, Array: 20001}
	c.Types[Name{"open", "citext"}] = &Type{OID: 20002, Name: Name{"open", "citext"}, Kind: 'b'}
	c.Types[Name{"public", "place"}] = &Type{OID: 20003, Name: Name{"public", "place"}, Kind: 'c', Array: 20004,
		Fields: []Field{{Name: "city", TypeOID: 25}, {Name: "nick", TypeOID: 20002}}}
	c.TypesByOID = map[uint32]*Type{}
	for _, t := range c.Types {
		c.TypesByOID[t.OID] = t
	}
	c.Functions = map[Name]*Overloads{
		{"public", "akeys"}:   {Allowed: true},
		{"public", "replace"}: {Allowed: true},
		{"public", "lower"}:   {},
		{"public", "each"}:    {Allowed: true, Fields: []Field{{Name: "key", TypeOID: 25}, {Name: "value", TypeOID: 25}}},
		{"public", "own"}:     {},
		{"public", "ask"}:     {Called: true, Result: 23},
		{"public", "change"}:  {Called: true, Volatile: true, Result: 2278},
		{"public", "people"}:  {Called: true, Result: 30001, Fields: []Field{{Name: "id", TypeOID: 23}}},
		{"public", "goods"}:   {Called: true, Result: 30002, Fields: []Field{{Name: "id", TypeOID: 23}}},
		{"public", "mixed"}:   {Allowed: true, Differ: true},
		{"open", "fold"}:      {Apart: true, Result: 20002},
		{"open", "spread"}:    {Apart: true, Result: 2249, Fields: []Field{{Name: "k", TypeOID: 25}}},
		{"open", "keys"}:      {Apart: true, Result: 1009},
		{"open", "rows"}:      {Apart: true, Result: 2249},
		{"open", "folds"}:     {Apart: true, Result: 2249, Fields: []Field{{Name: "k", TypeOID: 20002}}},
	}
	return env
}

// TestExtensionNames: what a name of an extension is printed as; "" where it is refused.
func TestExtensionNames(t *testing.T) {
	g, err := New()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"SELECT akeys('a=>1'::hstore)":                   "SELECT public.akeys('a=>1'::public.hstore)",
		"SELECT replace('a', 'b', 'c')":                  "SELECT replace('a', 'b', 'c')", // the pinned path finds both
		"SELECT lower('A')":                              "SELECT pg_catalog.lower('A')",
		"SELECT pg_catalog.replace('a', 'b', 'c')":       "SELECT pg_catalog.replace('a', 'b', 'c')",
		"SELECT public.replace('a', 'b', 'c')":           "SELECT public.replace('a', 'b', 'c')",
		"SELECT k FROM each('a=>1') AS e(k, v)":          "SELECT e.k FROM public.each('a=>1') e(k, v)",
		"SELECT value FROM each('a=>1')":                 "SELECT each.value FROM public.each('a=>1')",
		"SELECT (each('a=>1')).key":                      "SELECT (public.each('a=>1')).key",
		"SELECT (each('a=>1')).lower":                    "", // it would be lower(each(…))
		"SELECT * FROM mixed()":                          "",
		"SELECT own('x')":                                "",
		"SELECT fold('x')":                               "", // a value whose operators are not its own
		"SELECT fold('x') = 'X'":                         "",
		"SELECT open.fold('x')":                          "",
		"SELECT keys(fold('x'))":                         "SELECT open.keys(open.fold('x'))",
		"SELECT keys(fold(fold('x')))":                   "SELECT open.keys(open.fold(open.fold('x')))",
		"SELECT keys((fold('x')))":                       "SELECT open.keys(open.fold('x'))",
		"SELECT keys(fold('x') || 'y')":                  "",
		"SELECT keys(CASE WHEN true THEN fold('x') END)": "",
		"SELECT upper(fold('x'))":                        "",
		"SELECT k FROM spread(fold('x'))":                "SELECT spread.k FROM open.spread(open.fold('x'))",
		"SELECT k FROM open.spread(open.fold('x')) s":    "SELECT s.k FROM open.spread(open.fold('x')) s",
		"SELECT rows('x')":                               "",
		"SELECT folds('x')":                              "",
		"SELECT public.own('x')":                         "",
		"SELECT public.lower('x')":                       "",
		"SELECT 'x'::citext":                             "",
		"SELECT 'x'::open.citext":                        "",
		"SELECT NULL::hstore[]":                          "SELECT NULL::public.hstore[]",
		"SELECT 'a' OPERATOR(public.->) 'b'":             "SELECT 'a' OPERATOR(public.->) 'b'",
		"SELECT 'a' OPERATOR(open.=) 'b'":                "",
		"SELECT 'a' #= 'b'":                              "",
		"SELECT 'a' OPERATOR(public.#=) 'b'":             "",
		"SELECT (NULL::place).city":                      "SELECT (NULL::public.place).city",
		"SELECT (NULL::place).nick":                      "", // operators over it would not be its own
		"SELECT (NULL::place).own":                       "",
		"SELECT (NULL::place[])[1].city":                 "SELECT (NULL::public.place[])[1].city",
		"SELECT jsonb_populate_record(NULL::place, $1)":  "SELECT pg_catalog.jsonb_populate_record(NULL::public.place, $1)",
		"SELECT jsonb_populate_record($1, $2)":           "",
		"SELECT x.city FROM (SELECT NULL::place AS p) y, LATERAL (SELECT (y.p).city) x": "SELECT x.city FROM (SELECT NULL::public.place AS p) y, LATERAL (SELECT (y.p).city) x",
	} {
		plan, err := g.Analyze(extended(), text)
		switch {
		case err == nil && plan.Text != want:
			t.Errorf("%s\nis printed\n%s\nwant\n%s", text, plan.Text, want)
		case err != nil && want != "":
			t.Errorf("%s\nis refused: %v", text, err)
		}
	}
}

// TestExtensionFunction: what is not known as pure is not.
func TestExtensionFunction(t *testing.T) {
	for _, c := range []struct {
		extension, name, volatility string
		want                        bool
	}{
		{"hstore", "akeys", "i", true}, {"pg_trgm", "similarity", "i", true}, {"unaccent", "unaccent", "s", true},
		{"uuid-ossp", "uuid_generate_v4", "v", true}, {"pgcrypto", "digest", "i", true}, {"pgcrypto", "pgp_sym_decrypt", "i", false},
		{"pg_trgm", "set_limit", "v", false}, {"postgis", "st_estimatedextent", "s", false}, {"postgis", "_postgis_stats", "s", false},
		{"postgis", "postgis_full_version", "i", false}, {"postgis", "st_distance", "i", true}, {"hstore", "populate_record", "s", false},
		{"dblink", "dblink_connect", "i", false}, {"", "own", "i", false}, {"hstore", "akeys", "", false},
	} {
		if got := ExtensionFunction(c.extension, c.name, c.volatility); got != c.want {
			t.Errorf("%s.%s (%s): %v", c.extension, c.name, c.volatility, got)
		}
	}
}
