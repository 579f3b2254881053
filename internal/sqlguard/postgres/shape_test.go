package postgres

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// TestShape says which texts have a shape and which of them have the same one.
func TestShape(t *testing.T) {
	same := [][2]string{
		{"SELECT 1", "SELECT 999999999"},
		{"SELECT * FROM t WHERE a = 'x' AND b < 7", "SELECT * FROM t WHERE a = 'it is -- no comment' AND b < 0"},
		{"SELECT $1, a1, \"b 2\" FROM t WHERE c IN (1, 2)", "SELECT $1, a1, \"b 2\" FROM t WHERE c IN (30, 4)"},
	}
	for _, c := range same {
		a, okA := ShapeOf(c[0])
		b, okB := ShapeOf(c[1])
		if !okA || !okB || a.Key != b.Key {
			t.Errorf("%s and %s: %v %q, %v %q", c[0], c[1], okA, a.Key, okB, b.Key)
		}
	}
	differ := [][2]string{
		{"SELECT 1", "SELECT '1'"}, {"SELECT 1", "SELECT 1.0"}, {"SELECT 1", "SELECT 1e3"}, {"SELECT 1", "SELECT 1234567890"},
		{"SELECT 1", "SELECT 01"}, {"SELECT 1", "SELECT 0x1"}, {"SELECT a1", "SELECT a2"}, {"SELECT $1", "SELECT $2"},
		{"SELECT \"a1\"", "SELECT \"a2\""}, {"SELECT t.1", "SELECT t.2"}, {"SELECT 1_0", "SELECT 2_0"}, {"SELECT 1a", "SELECT 2a"},
		{"SELECT 1 ", "SELECT 1"}, {"SELECT 'a' 1", "SELECT 'a'"},
	}
	for _, c := range differ {
		a, okA := ShapeOf(c[0])
		b, okB := ShapeOf(c[1])
		if okA && okB && a.Key == b.Key {
			t.Errorf("%s and %s have the same shape", c[0], c[1])
		}
	}
	none := []string{
		"SELECT 1 -- x", "SELECT /* x */ 1", "SELECT $$x$$", "SELECT $a$x$a$", "SELECT E'x'", "SELECT 1e-5", "SELECT U&'x'", "SELECT B'1'", "SELECT n'x'",
		"SELECT 'it''s'", "SELECT 'a\\'", "SELECT 'a'\n'b'", "SELECT 'ä'", "SELECT ä", "SELECT 'open", "SELECT \"open", "SELECT 'a\nb'", "SELECT \x00", "SELECT \x01",
		"SELECT U&\"d\\0061t\"",
	}
	for _, c := range none {
		if s, ok := ShapeOf(c); ok {
			t.Errorf("%q has the shape %q", c, s.Key)
		}
	}
}

// TestTemplate says which literals of a text are left open.
func TestTemplate(t *testing.T) {
	env := shop()
	g, err := New()
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		first, second string
		open          bool
	}{
		{"SELECT id FROM orders WHERE id = 1", "SELECT id FROM orders WHERE id = 4711", true},
		{"SELECT id FROM orders WHERE 1 = id AND status <> 'paid'", "SELECT id FROM orders WHERE 22 = id AND status <> 'open it'", true},
		{"SELECT id FROM orders WHERE id IN (1, 2, 3)", "SELECT id FROM orders WHERE id IN (3, 3, 9)", true},
		{"SELECT email FROM customers WHERE email = 'a'", "SELECT email FROM customers WHERE email = 'bb'", true},
		{"UPDATE orders SET status = 'a' WHERE id = 1", "UPDATE orders SET status = 'b' WHERE id = 2", true},
		{"INSERT INTO orders (id, status, customer_id) VALUES (1, 'a', 2)", "INSERT INTO orders (id, status, customer_id) VALUES (3, 'b', 4)", true},
		{"DELETE FROM orders WHERE id = 1", "DELETE FROM orders WHERE id = 2", true},
		{"SELECT id FROM orders WHERE id = 1 LIMIT 10", "SELECT id FROM orders WHERE id = 2 LIMIT 10", true},
		{"SELECT id FROM orders WHERE id = 1 LIMIT 10", "SELECT id FROM orders WHERE id = 1 LIMIT 11", false},
		{"SELECT id FROM orders LIMIT 10", "SELECT id FROM orders LIMIT 11", false},
		{"SELECT 1 AS one FROM orders WHERE id = 1", "SELECT 2 AS one FROM orders WHERE id = 1", false},
		{"SELECT concat('day', status) FROM orders WHERE id = 1", "SELECT concat('month', status) FROM orders WHERE id = 1", false},
		{"SELECT id FROM orders WHERE id = -1", "SELECT id FROM orders WHERE id = -2", false},
		{"SELECT id FROM orders ORDER BY 1", "SELECT id FROM orders ORDER BY 2", false},
	}
	for _, c := range cases {
		plan, err := g.Analyze(env, c.first)
		if err != nil {
			t.Fatalf("%s: %v", c.first, err)
		}
		shape, ok := ShapeOf(c.first)
		if !ok {
			t.Fatalf("%s has no shape", c.first)
		}
		second, ok := ShapeOf(c.second)
		if !ok || second.Key != shape.Key {
			t.Fatalf("%s has another shape", c.second)
		}
		template := g.Template(env, c.first, shape, plan)
		var made *Plan
		if template != nil {
			made = template.Plan(second)
		}
		if (made != nil) != c.open {
			t.Errorf("%s for %s: %v", c.first, c.second, made)
			continue
		}
		if made == nil {
			continue
		}
		want, err := g.Analyze(env, c.second)
		if err != nil || !reflect.DeepEqual(made, want) {
			t.Errorf("%s\nthe template made %s\nthe analysis     %s (%v)", c.second, made.Text, want.Text, err)
		}
	}
}

// TestTemplatesOfGolden makes a template of every golden case that has one, puts other literals into its open
// places, and analyses the same text in full: both must come out the same, refusals included.
func TestTemplatesOfGolden(t *testing.T) {
	env := shop()
	g, err := New()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	templates := 0
	for _, file := range files {
		for _, c := range cases(t, file) {
			shape, ok := ShapeOf(c.sql)
			plan, err := g.Analyze(env, c.sql)
			if !ok || err != nil {
				continue
			}
			template := g.Template(env, c.sql, shape, plan)
			if template == nil {
				continue
			}
			templates++
			for _, others := range [][2]string{{"0", "''"}, {"999999999", "'public.customers'"}, {"7", "'{}'"}} {
				var text strings.Builder
				last := 0
				for i, l := range shape.literals {
					text.WriteString(c.sql[last:l.at])
					last = l.at + len(l.text)
					switch {
					case template.fixed[i] != "":
						text.WriteString(l.text)
					case l.text[0] == '\'':
						text.WriteString(others[1])
					default:
						text.WriteString(others[0])
					}
				}
				text.WriteString(c.sql[last:])
				second, ok := ShapeOf(text.String())
				if !ok || second.Key != shape.Key {
					t.Errorf("%s: %s has another shape", c.name, text.String())
					continue
				}
				made := template.Plan(second)
				want, err := g.Analyze(env, text.String())
				if err != nil || made == nil || !reflect.DeepEqual(made, want) {
					t.Errorf("%s: %s\nthe template made %v\nthe analysis     %v (%v)", c.name, text.String(), made, want, err)
				}
			}
		}
	}
	if templates < 20 {
		t.Errorf("%d cases have a template", templates)
	}
}

// FuzzShape looks for a text whose shape is another than the server's own scanner would have it: texts of one shape
// must have the same tokens but for the values of literals.
func FuzzShape(f *testing.F) {
	for _, s := range []string{"SELECT 1 FROM t WHERE a = 'x'", "a'b'1.5e3$1\"q\"", "- -1 -- 1\n'x'", "1.5.1 ..1 1..2 1e-5 0x1F", "e'' U&'' 'a''b' 'a' 'b'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		shape, ok := ShapeOf(text)
		if !ok {
			return
		}
		scanned, err := pg.Scan(text)
		if err != nil {
			return
		}
		ends := map[int]int{} // of the tokens that are literals
		for _, token := range scanned.Tokens {
			if token.Token == pg.Token_ICONST || token.Token == pg.Token_SCONST {
				ends[int(token.Start)] = int(token.End)
			}
			if token.Token == pg.Token_SQL_COMMENT || token.Token == pg.Token_C_COMMENT {
				t.Errorf("%q holds a comment", text)
			}
		}
		for _, l := range shape.literals {
			if ends[l.at] != l.at+len(l.text) {
				t.Errorf("%q: %q is no literal to the server", text, l.text)
			}
		}
	})
}
