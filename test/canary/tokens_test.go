package canary

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
)

// pseudonymous are the data classes that researchers see by pseudonyms.
const pseudonymous = `["pii.email", "pii.national_id", "pii.phone", "pii.name", "secret", "hr.badge"]`

// pseudonym stands for one of those that there are: each database has its own in its place.
func (g *generator) pseudonym() string {
	if g.chance(15) {
		return "'tok_0123456789abcdef01234567'::text"
	}
	return fmt.Sprintf("'<pseudonym %d>'::text", g.IntN(g.tokens))
}

var placeholder = regexp.MustCompile(`<pseudonym (\d+)>`)

// ofTokens is an expression of pseudonyms that says nothing of how they are spelled.
func (g *generator) ofTokens(s scope) string {
	c, ok := g.column(kToken, s)
	if !ok {
		return g.pseudonym()
	}
	d, _ := g.column(kToken, s)
	return one(g, c, c, c+"::text", "coalesce("+c+", "+d+")", "nullif("+c+", "+d+")", "("+c+" || '-x')", "concat('<', "+c+", '>')", "CASE WHEN "+c+" = "+d+" THEN "+c+" ELSE '-' END",
		"("+c+" || "+d+")", "format('%s', "+c+")", "(SELECT "+c+")", "(ARRAY["+c+", "+d+"])[2]")
}

// tokenCondition is a predicate over pseudonyms: of equality alone.
func (g *generator) tokenCondition(s scope) string {
	c, ok := g.column(kToken, s)
	if !ok {
		return "true"
	}
	e := func() string { return g.expr(kToken, s) }
	t := g.table()
	src := g.named(t)
	within, ok := g.column(kToken, scope{src})
	if !ok {
		within = g.pseudonym()
	}
	return g.either(
		func() string { return c + " = " + e() }, func() string { return c + " = " + g.pseudonym() }, func() string { return c + " <> " + e() },
		func() string { return c + " IS NULL" }, func() string { return c + " IS NOT NULL" }, func() string { return c + " IS DISTINCT FROM " + e() },
		func() string { return c + " IN (" + g.pseudonym() + ", " + g.pseudonym() + ", " + e() + ")" },
		func() string { return c + " = ANY (ARRAY[" + g.pseudonym() + ", " + e() + "])" },
		func() string {
			return c + one(g, " IN", " NOT IN") + " (SELECT " + within + " FROM " + src.from(t) + ")"
		},
		func() string {
			return one(g, "", "NOT ") + "EXISTS (SELECT 1 FROM " + src.from(t) + " WHERE " + within + " = " + c + ")"
		},
		func() string { return "(" + c + ", " + e() + ") = (" + e() + ", " + g.pseudonym() + ")" },
		func() string {
			return "(SELECT count(*) FROM " + src.from(t) + " WHERE " + within + " = " + c + ") > 1"
		},
	)
}

// distinct gives an aggregate an order where that of the rows depends on how pseudonyms are spelled.
func (g *generator) distinct() string {
	if g.opaque != nil {
		return "DISTINCT "
	}
	return ""
}

// readable is one of the columns that is no pseudonym.
func (g *generator) readable(names ...string) string {
	if g.opaque != nil {
		return "name"
	}
	return one(g, names...)
}

// dictionary are the pseudonyms of a database, in the order in which they are first met.
type dictionary struct {
	list    []string
	columns map[string]bool
	common  *strings.Replacer
}

var (
	token = regexp.MustCompile(`^tok_[0-9a-f]{16}([0-9a-f]{8})?$`)
	uuid  = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

// learn reads every column of every table, and notes what is a pseudonym.
func learn(t *testing.T, c session) *dictionary {
	t.Helper()
	d := &dictionary{columns: map[string]bool{}}
	var pairs, ordered []string
	known := map[string]bool{}
	for _, one := range tables {
		for _, col := range one.columns {
			if col.kind != kText && col.name != "badge" {
				continue
			}
			a, err := c.client.run(simple, step{text: "SELECT " + col.name + " FROM " + one.name + " WHERE " + col.name + " IS NOT NULL ORDER BY id"})
			if m, failed := a.failed(); failed || err != nil {
				t.Fatalf("%s.%s: %v %q", one.name, col.name, err, m.body)
			}
			for _, m := range a.messages {
				if m.typ != 'D' {
					continue
				}
				v := string(m.body[6:])
				if !token.MatchString(v) && !(col.name == "badge" && uuid.MatchString(v)) {
					continue
				}
				d.columns[one.name+"."+col.name] = col.name != "badge" // it is no text
				if known[v] {
					continue
				}
				known[v] = true
				number := fmt.Sprintf("%0*d", len(v), len(d.list))
				pairs = append(pairs, v, number)
				if col.name == "badge" {
					var bin pgtype.UUID
					if err := bin.Scan(v); err != nil {
						t.Fatal(err)
					}
					pairs = append(pairs, string(bin.Bytes[:]), number[:16-4]+number[len(number)-4:])
				}
				d.list = append(d.list, v)
			}
		}
	}
	// Of two of one value, one is the beginning of the other where the first column has less room.
	for size := 36; size > 0; size-- {
		for i := 0; i < len(pairs); i += 2 {
			if len(pairs[i]) == size {
				ordered = append(ordered, pairs[i], pairs[i+1])
			}
		}
	}
	d.common = strings.NewReplacer(ordered...)
	return d
}

// own is a script with the pseudonyms of the database in it.
func (d *dictionary) own(s script) script {
	fill := func(text string) string {
		return placeholder.ReplaceAllStringFunc(text, func(p string) string {
			var n int
			fmt.Sscanf(p, "<pseudonym %d>", &n)
			return d.list[n]
		})
	}
	out := s
	out.steps = nil
	for _, one := range s.steps {
		next := step{text: fill(one.text)}
		for _, v := range one.values {
			next.values = append(next.values, fill(v))
		}
		out.steps = append(out.steps, next)
	}
	return out
}

// plain are answers with numbers in place of pseudonyms, and rows in an order of their own: that in which they come
// can depend on how a pseudonym is spelled.
func (d *dictionary) plain(answers []answer) []answer {
	var out []answer
	for _, a := range answers {
		next := answer{status: a.status}
		for _, m := range a.messages {
			next.messages = append(next.messages, message{m.typ, []byte(d.common.Replace(string(m.body)))})
		}
		slices.SortStableFunc(next.messages, func(x, y message) int {
			if x.typ == 'D' && y.typ == 'D' {
				return bytes.Compare(x.body, y.body)
			}
			return 0
		})
		out = append(out, next)
	}
	return out
}

// TestPseudonyms: two databases that differ in labelled values give the same answers up to pseudonyms, also where these
// stand in conditions, joins, groups and set operations.
func TestPseudonyms(t *testing.T) {
	t.Parallel()
	g, h := start(t, eighth.name), start(t, ninth.name)
	a, b := session{dial(t, g.url(researcher)), g}, session{dial(t, h.url(researcher)), h}
	seen := []*finder{newFinder(eighth.planted), newFinder(ninth.planted)}
	da, db := learn(t, a), learn(t, b)
	if len(da.list) != len(db.list) || len(da.list) < 200 || len(da.columns) < 10 {
		t.Fatalf("%d pseudonyms and %d, in %v", len(da.list), len(db.list), da.columns)
	}
	same := 0
	for i := range da.list {
		if da.list[i] == db.list[i] {
			same++
		}
	}
	if same*2 > len(da.list) {
		t.Errorf("%d of %d pseudonyms are the same for other values", same, len(da.list))
	}
	y := newTally()
	each(t, manner{known: eighth.planted, opaque: da.columns, tokens: len(da.list)}, nil, func(s script) error {
		x, z, err := both(a, b, da.own(s), db.own(s))
		if err != nil {
			return err
		}
		if *only >= 0 {
			t.Logf("%s\n%s", s, show(x))
		}
		if timedOut(x) || timedOut(z) {
			y.late++
			return nil
		}
		y.note(s, x)
		if d := difference(da.plain(x), db.plain(z)); d != "" {
			return fmt.Errorf("the databases can be told apart by more than pseudonyms: %s", d)
		}
		for i, answers := range [][]answer{x, z} {
			if err := seen[i].search(s, answers); err != nil {
				return err
			}
		}
		return nil
	})
	y.report(t, 70)
}

// TestPseudonymsShowNoValue: whatever is done with pseudonyms, no value comes of it.
func TestPseudonymsShowNoValue(t *testing.T) {
	t.Parallel()
	g := start(t, fourth.name)
	c, seen, y := session{dial(t, g.url(researcher)), g}, newFinder(fourth.planted), newTally()
	each(t, manner{known: fourth.planted, reading: true}, nil, func(s script) error {
		x, err := c.run(s)
		if err != nil {
			return err
		}
		if *only >= 0 {
			t.Logf("%s\n%s", s, show(x))
		}
		if timedOut(x) {
			y.late++
			return nil
		}
		y.note(s, x)
		return seen.search(s, x)
	})
	y.report(t, 60)
}
