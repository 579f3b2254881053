package postgres

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestSnapshotMeans: every golden text means by a snapshot what it means by the catalog itself.
func TestSnapshotMeans(t *testing.T) {
	g, err := New()
	if err != nil {
		t.Fatal(err)
	}
	env := shop()
	text, err := env.Catalog.Snapshot("", true)
	if err != nil {
		t.Fatal(err)
	}
	other := env
	if other.Catalog, err = ReadSnapshot(text); err != nil {
		t.Fatal(err)
	}
	again, err := other.Catalog.Snapshot("", true)
	if err != nil || string(again) != string(text) {
		t.Errorf("a snapshot of a snapshot differs: %v", err)
	}
	files, _ := filepath.Glob("testdata/*.txtar")
	compared := 0
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range a.Files {
			if !strings.HasSuffix(f.Name, ".sql") {
				continue
			}
			want, got := report(g.Analyze(env, string(f.Data))), report(g.Analyze(other, string(f.Data)))
			if got != want {
				t.Errorf("%s: got\n%swant\n%s", f.Name, got, want)
			}
			compared++
		}
	}
	if compared < 100 {
		t.Errorf("only %d texts were compared", compared)
	}
}

func TestSnapshotRefuses(t *testing.T) {
	text, err := shop().Catalog.Snapshot("", false)
	if err != nil {
		t.Fatal(err)
	}
	good := string(text)
	change := func(old, by string) string { return strings.Replace(good, old, by, 1) }
	for name, c := range map[string]struct{ text, want string }{
		"empty":            {"", "EOF"},
		"not JSON":         {"\n  nonsense", "line 2"},
		"unknown key":      {change(`"search_path"`, `"serch_path"`), `unknown field "serch_path"`},
		"another format":   {change(`"gatehouse_catalog": 1`, `"gatehouse_catalog": 2`), "take it again"},
		"another kind":     {change(`"postgres"`, `"mysql"`), "take it again"},
		"no connection":    {change(`"connection": "orders"`, `"connection": ""`), "which connection"},
		"more":             {good + "{}", "more after"},
		"twice":            {change("\"oid\": 101,\n   \"name\"", "\"oid\": 100,\n   \"name\""), "twice"},
		"bad name":         {change(`"public.customers"`, `"customers"`), "schema.name"},
		"bad kind":         {change(`"kind": "r"`, `"kind": "z"`), "kind of relation"},
		"no type":          {change(`"spelled": "integer"`, `"spelled": ""`), "columns[0]"},
		"wrong type":       {change(`"number": 1`, `"number": "one"`), "line "},
		"null relation":    {change(`"relations": [`, `"relations": [null,`), "relations[0]"},
		"a leakproof cast": {change(`"relations"`, `"leakproof_casts": ["a"], "relations"`), "FROM TO"},
	} {
		if _, err := ReadSnapshot([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestName: what a name is written as is read as the same name.
func TestName(t *testing.T) {
	for _, n := range []Name{{"public", "customers"}, {"Odd.One", `a "b" c`}, {`"`, "."}} {
		b, _ := n.MarshalText()
		var got Name
		if err := got.UnmarshalText(b); err != nil || got != n {
			t.Errorf("%s is read as %v: %v", b, got, err)
		}
	}
	for _, bad := range []string{"", "a", "a.b.c", `"a.b`, "A.b", ".", "a.", ".b", `"".b`, `"a"b`} {
		var got Name
		if err := got.UnmarshalText([]byte(bad)); err == nil && !reflect.DeepEqual(got, Name{"", "b"}) {
			t.Errorf("%q is read as %v", bad, got)
		}
	}
}

func FuzzReadSnapshot(f *testing.F) {
	text, err := shop().Catalog.Snapshot("", true)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"gatehouse_catalog":1,"kind":"postgres","connection":"x","functions":{"a.b":null}}`))
	g, err := New()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ReadSnapshot(text)
		if err != nil {
			return
		}
		g.Analyze(Environment{Catalog: c, Sight: eyes{}}, "SELECT * FROM customers c JOIN orders o ON o.customer_id = c.id")
		if _, err := c.Snapshot("", true); err != nil {
			t.Fatal(err)
		}
	})
}
