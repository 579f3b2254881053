package postgres

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	pg "github.com/pganalyze/pg_query_go/v6"
	"github.com/rogpeppe/go-internal/txtar"

	"gatehouse/internal/policy"
)

var update = flag.Bool("update", false, "write the golden files anew")

// eyes see what the map says of a resource; everything else as it is.
type eyes map[string]policy.Exposure

func (e eyes) Read(r policy.Resource) policy.Exposure {
	if x, ok := e[r.ID]; ok {
		return x
	}
	return policy.Exposure{Visible: true, Mask: policy.MaskNone}
}

// Permits everything but what the map hides.
func (e eyes) Permits(t policy.Touch) bool { return e.Read(t.Resource).Visible }

func (e eyes) May(action string, r policy.Resource) policy.Exposure {
	if action == "read" {
		return e.Read(r)
	}
	if x, ok := e[action+" "+r.ID]; ok {
		return x
	}
	return policy.Exposure{Visible: true, Mask: policy.MaskNone}
}

func shop() Environment {
	text := Name{"pg_catalog", "text"}
	col := func(n int16, name string, t Name, spelled string, labels ...string) Column {
		return Column{Name: name, Number: n, Type: t, TypeMod: -1, Spelled: spelled, Labels: labels}
	}
	integer := Name{"pg_catalog", "int4"}
	customers := &Relation{OID: 100, Name: Name{"public", "customers"}, Kind: Table, Natts: 7, PrimaryKey: []int16{1}, Columns: []Column{
		col(1, "id", integer, "integer"),
		col(2, "name", text, "text"),
		col(3, "email", text, "text", "pii.email"),
		col(4, "ssn", Name{"pg_catalog", "varchar"}, "character varying(20)", "pii.national_id"),
		col(6, "profile", Name{"pg_catalog", "jsonb"}, "jsonb", "pii"),
		col(7, "secret", text, "text", "secret"),
	}, Cascades: []Cascade{{OID: 101, OnDelete: "delete", OnUpdate: "update"}}}
	orders := &Relation{OID: 101, Name: Name{"public", "orders"}, Kind: Table, Natts: 4, PrimaryKey: []int16{1}, Columns: []Column{
		col(1, "id", integer, "integer"), col(2, "customer_id", integer, "integer"),
		col(3, "total", Name{"pg_catalog", "numeric"}, "numeric"), col(4, "status", text, "text"),
	}}
	audited := &Relation{OID: 102, Name: Name{"public", "audited"}, Kind: Table, Columns: []Column{col(1, "id", integer, "integer")},
		Calls: []Function{{OID: 1, Name: Name{"public", "trg"}}}}
	names := &Relation{OID: 103, Name: Name{"public", "names"}, Kind: View, Reaches: []uint32{100}, Columns: []Column{col(1, "who", text, "text", "pii.email")}}
	odd := &Relation{OID: 104, Name: Name{"public", "Odd Table"}, Kind: Table, Columns: []Column{col(1, "Col \"x\"", text, "text"), col(2, "tag", Name{"public", "citext"}, "public.citext")}}
	odd.Columns[1].Extension = true
	vault := &Relation{OID: 105, Name: Name{"public", "vault"}, Kind: Table, Columns: []Column{col(1, "id", integer, "integer")}}
	log := &Relation{OID: 106, Name: Name{"public", "log"}, Kind: PartitionedTable, Columns: []Column{col(1, "id", integer, "integer"), col(2, "said", text, "text"), col(3, "who", text, "text")}, Children: []uint32{107}}
	part := &Relation{OID: 107, Name: Name{"public", "log_2024"}, Kind: Table, Columns: []Column{col(1, "who", text, "text"), col(2, "id", integer, "integer"), col(3, "said", text, "text")}, Parents: []uint32{106}}
	below := &Relation{OID: 108, Name: Name{"public", "vault_part"}, Kind: Table, Columns: []Column{col(1, "id", integer, "integer")}, Parents: []uint32{105}}
	c := &Catalog{
		Connection: policy.Resource{Entity: policy.Entity{Type: "Connection", ID: "orders"}},
		Epoch:      1, SearchPath: []string{"public"},
		Relations: map[Name]*Relation{}, ByOID: map[uint32]*Relation{},
		Types: map[Name]*Type{{"public", "mood"}: {OID: 1, Name: Name{"public", "mood"}, Kind: 'e'}},
	}
	c.Schemas = map[string]uint32{"public": 2200}
	oid, name := Name{"pg_catalog", "oid"}, Name{"pg_catalog", "name"}
	c.System = map[Name]*Relation{
		{"pg_catalog", "pg_class"}: {OID: 1259, Name: Name{"pg_catalog", "pg_class"}, Kind: Table, Columns: []Column{
			col(1, "oid", oid, "oid"), col(2, "relname", name, "name"), col(3, "relnamespace", oid, "oid"), col(4, "reltype", oid, "oid"), col(34, "of_the_future", text, "text"),
		}},
		{"pg_catalog", "pg_authid"}: {OID: 1260, Name: Name{"pg_catalog", "pg_authid"}, Kind: Table, Columns: []Column{col(1, "oid", oid, "oid")}},
	}
	for _, r := range []*Relation{customers, orders, audited, names, odd, vault, log, part, below} {
		c.Relations[r.Name], c.ByOID[r.OID] = r, r
	}
	return Environment{Catalog: c, Sight: eyes{
		"orders/public.customers.email":   {Visible: true, Mask: policy.MaskEmail},
		"orders/public.customers.ssn":     {Visible: true, Mask: policy.MaskPartial},
		"orders/public.customers.profile": {Visible: true, Mask: policy.MaskRedact},
		"orders/public.customers.secret":  {},
		"orders/public.names.who":         {Visible: true, Mask: policy.MaskRedact},
		"orders/public.log.said":          {},
		"orders/public.log.who":           {Visible: true, Mask: policy.MaskRedact},
		"orders/public.vault":             {},
		"orders/public.vault.id":          {},
	}}
}

// report is what a golden case shows of an analysis.
func report(p *Plan, err error) string {
	var b strings.Builder
	var e *Error
	if errors.As(err, &e) {
		fmt.Fprintf(&b, "%s %s at %d: %s\nremedy: %s\n", e.Reason, e.SQLState, e.Position, e.Message, e.Remedy)
		return b.String()
	}
	b.WriteString(p.Text + "\n")
	for _, s := range p.Statements {
		fmt.Fprintf(&b, "%s", s.Verb)
		if s.Writes {
			b.WriteString(" writes")
		}
		b.WriteString("\n")
	}
	if p.Masked {
		b.WriteString("masked\n")
	}
	if p.Filtered {
		b.WriteString("filtered\n")
	}
	b.WriteString(temporaryReport(p))
	for _, t := range p.Touches {
		b.WriteString("  " + t.String() + "\n")
	}
	return b.String()
}

// TestGolden runs the cases of testdata: files of statements, each followed by what became of it.
func TestGolden(t *testing.T) {
	g, err := New()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			out := &txtar.Archive{Comment: archive.Comment}
			for i := 0; i < len(archive.Files); i++ {
				f := archive.Files[i]
				sql, ok := strings.CutSuffix(f.Name, ".sql")
				if !ok {
					continue
				}
				env := shop()
				switch filepath.Base(file) {
				case "merge.txtar":
					env.Catalog.Server = 17
				case "returning.txtar":
					env.Catalog.Server = 18
				case "rows.txtar":
					env = filtered()
				case "rows-columns.txtar":
					env = filteredColumns()
				case "temporary.txtar":
					env = session()
				case "views.txtar":
					env = watched(false)
				case "views-written.txtar":
					env = watched(true)
				case "copies.txtar":
					env = revealing()
				}
				got := report(g.Analyze(env, strings.TrimSuffix(string(f.Data), "\n")))
				out.Files = append(out.Files, f, txtar.File{Name: sql + ".want", Data: []byte(got)})
				if *update {
					continue
				}
				if i+1 >= len(archive.Files) || archive.Files[i+1].Name != sql+".want" {
					t.Errorf("%s: no expectation", f.Name)
				} else if want := string(archive.Files[i+1].Data); got != want {
					t.Errorf("%s\n%sgot\n%swant\n%s", f.Name, f.Data, got, want)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(out), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// one is a golden case.
type one struct{ name, sql string }

func cases(t *testing.T, file string) []one {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []one
	for _, f := range archive.Files {
		if name, ok := strings.CutSuffix(f.Name, ".sql"); ok {
			out = append(out, one{name, strings.TrimSuffix(string(f.Data), "\n")})
		}
	}
	return out
}

// TestMaskText: a mask's expression is a constant, or built of functions that never raise.
func TestMaskText(t *testing.T) {
	c := Column{Name: "c", Type: Name{"pg_catalog", "int4"}, Spelled: "integer"}
	for m := policy.MaskNull; m < policy.MaskNone; m++ {
		want := "NULL::integer"
		if m == policy.MaskBucket {
			want = "(t.c1 - t.c1 % 10)::integer"
		}
		if got := maskText(&c, policy.Exposure{Mask: m, Width: 10}, "t.c1"); got != want {
			t.Errorf("%v of an integer: %s", m, got)
		}
	}
	c.Domain = true
	if got := maskText(&c, policy.Exposure{Mask: policy.MaskEmail}, "t.c1"); got != "CASE WHEN false THEN t.c1 END" {
		t.Errorf("a domain: %s", got)
	}
}

func TestRedactError(t *testing.T) {
	got := RedactError(map[byte]string{'S': "ERROR", 'C': "22P02", 'M': `invalid input syntax for type integer: "alice@x"`, 'D': "x", 'H': "x", 'W': "x", 'q': "x", 'P': "3", 'F': "f.c"})
	if len(got) != 3 || strings.Contains(got['M'], "alice") {
		t.Errorf("got %v", got)
	}
	got = RedactError(map[byte]string{'S': "ERROR", 'C': "42601", 'M': `syntax error in tsquery: "alice@x y"`})
	if strings.Contains(got['M'], "alice") {
		t.Errorf("got %v", got)
	}
	got = RedactError(map[byte]string{'S': "ERROR", 'C': "42P01", 'M': `relation "x" does not exist`, 'D': "x"})
	if got['M'] != `relation "x" does not exist` || got['D'] != "" {
		t.Errorf("got %v", got)
	}
}

func TestParameter(t *testing.T) {
	c := shop().Catalog
	c.Types[Name{"public", "word"}] = &Type{OID: 20001, Name: Name{"public", "word"}, Kind: 'd', Calls: []Function{{OID: 1, Name: Name{"public", "ok"}, Arguments: "text"}}}
	c.Types[Name{"public", "citext"}] = &Type{OID: 20002, Name: Name{"public", "citext"}, Kind: 'b'}
	c.TypesByOID = map[uint32]*Type{}
	for _, t := range c.Types {
		c.TypesByOID[t.OID] = t
	}
	for _, oid := range []uint32{0, 23, 25} {
		if touches, err := c.Parameter(oid); err != nil || touches != nil {
			t.Errorf("%d: %v, %v", oid, touches, err)
		}
	}
	if touches, err := c.Parameter(20001); err != nil || len(touches) != 1 || touches[0].String() != "call function orders/public.ok(text)" {
		t.Errorf("a domain: %v, %v", touches, err)
	}
	for _, oid := range []uint32{20002, 20003} {
		if _, err := c.Parameter(oid); err == nil {
			t.Errorf("%d may be declared", oid)
		}
	}
}

func TestBounds(t *testing.T) {
	g, _ := New()
	for name, text := range map[string]string{
		"nul":     "SELECT '\x00'",
		"utf8":    "SELECT '\xff'",
		"long":    "SELECT '" + strings.Repeat("x", MaxText) + "'",
		"nested":  "SELECT " + strings.Repeat("(SELECT ", 1000) + "1" + strings.Repeat(")", 1000),
		"many":    strings.Repeat("SELECT 1;", maxStatements+1),
		"deep or": "SELECT " + strings.Repeat("NOT ", 5000) + "true",
	} {
		var e *Error
		if _, err := g.Analyze(shop(), text); !errors.As(err, &e) || e.Remedy == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := g.Analyze(Environment{}, "SELECT 1"); err == nil {
		t.Error("the zero environment understands")
	}
	p, err := g.Analyze(shop(), "  -- nothing\n")
	if err != nil || len(p.Statements) != 0 || len(p.Touches) == 0 {
		t.Errorf("an empty text: %+v, %v", p, err)
	}
}

// FuzzAnalyze: no text makes the guard panic; what it prints parses, and it touches something; no scan of a
// partly seen table stays a plain table.
func FuzzAnalyze(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, one := range archive.Files {
			if strings.HasSuffix(one.Name, ".sql") {
				f.Add(string(one.Data))
			}
		}
	}
	g, err := New()
	if err != nil {
		f.Fatal(err)
	}
	env := shop()
	f.Fuzz(func(t *testing.T, text string) {
		p, err := g.Analyze(env, text)
		if err != nil {
			if e, ok := err.(*Error); !ok || e.Remedy == "" || e.SQLState == "" {
				t.Fatalf("not a proper error: %#v", err)
			}
			return
		}
		if len(p.Touches) == 0 {
			t.Fatal("a plan without touches")
		}
		tree, err := pg.Parse(p.Text)
		if err != nil {
			t.Fatalf("the print does not parse: %v\n%s", err, p.Text)
		}
		if len(tree.Stmts) != len(p.Statements) {
			t.Fatalf("%d statements printed as %d", len(p.Statements), len(tree.Stmts))
		}
		if p.Writes {
			return
		}
		for _, hidden := range []string{".secret", ".vault"} {
			if strings.Contains(p.Text, hidden) && !strings.Contains(text, hidden) {
				t.Fatalf("a hidden name came in: %s", p.Text)
			}
		}
	})
}

func BenchmarkAnalyze(b *testing.B) {
	g, _ := New()
	env := shop()
	for b.Loop() {
		if _, err := g.Analyze(env, "SELECT c.name, c.email, sum(o.total) FROM customers c JOIN orders o ON o.customer_id = c.id WHERE o.status = 'paid' GROUP BY c.id"); err != nil {
			b.Fatal(err)
		}
	}
}
