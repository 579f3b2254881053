package tools

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// statement is an entry of a file of statements; testdata/honest.sql says what its parts mean.
type statement struct {
	name, text string
	flags      []string
	args       []*string
	refused    string
}

func (s statement) is(flag string) bool { return slices.Contains(s.flags, flag) }

// statements reads a file of statements.
func statements(t testing.TB, file string) []statement {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []statement
	names := map[string]bool{}
	for _, entry := range strings.Split("\n"+string(b), "\n-- @")[1:] {
		head, body, _ := strings.Cut(entry, "\n")
		fields := strings.Fields(head)
		s := statement{name: fields[0], flags: fields[1:]}
		if names[s.name] {
			t.Fatalf("%s: two statements are called %s", file, s.name)
		}
		names[s.name] = true
		var lines []string
		for line := range strings.Lines(body) {
			line = strings.TrimSuffix(line, "\n")
			if args, ok := strings.CutPrefix(line, "-- args: "); ok {
				if err := json.Unmarshal([]byte(args), &s.args); err != nil {
					t.Fatalf("%s: %s: %v", file, s.name, err)
				}
			} else if why, ok := strings.CutPrefix(line, "-- refused: "); ok {
				s.refused = why
			} else {
				lines = append(lines, line)
			}
		}
		s.text = strings.Join(lines, "\n")
		out = append(out, s)
	}
	return out
}

// run runs a statement in a transaction that is rolled back, by every protocol that it can be sent by.
func (s statement) run(w *wire) string {
	var b strings.Builder
	around := func(run func() string) {
		w.simple("BEGIN")
		b.WriteString(run())
		w.simple("ROLLBACK")
	}
	if s.args == nil {
		around(func() string { return w.simple(s.text) })
	}
	if !s.is("simple") {
		around(func() string { return w.extended(s.text, s.args, false) })
		around(func() string { return w.extended(s.text, s.args, true) })
	}
	return b.String()
}

// refusal is how the gateway's own errors are told from the database's.
var refusal = regexp.MustCompile(`ErrorResponse ERROR [0-9A-Z]{5}: .*code: [a-z_]+; `)

// compare runs the statements of a file directly and through the gateway, and compares everything.
func compare(t *testing.T, b *bed, database, file string) {
	b.healthy(t)
	roads := b.roads(t, database)
	direct, reveals, masks := roads[0].dial(t), roads[1].dial(t), roads[2].dial(t)
	raw := b.rawForms(t, database)
	for _, s := range statements(t, file) {
		t.Run(s.name, func(t *testing.T) {
			direct.t, reveals.t, masks.t = t, t, t
			want, got, masked := s.run(direct), s.run(reveals), s.run(masks)
			switch {
			case s.refused != "":
				if !refusal.MatchString(got) {
					t.Errorf("it is said to be refused, and is not")
				}
				return
			case refusal.MatchString(got) && !sameError(want, got, refusal):
				t.Errorf("refused: %s\n%s", refusal.FindString(got), s.text)
			case got != want && !sameError(want, got, refusal):
				t.Errorf("%s\ndirect\n%sthrough the gateway\n%s", s.text, want, got)
			}
			if !s.is("labelled") {
				if origins(masked) != origins(got) && !sameError(want, masked, errorLine) {
					t.Errorf("%s\nwith reveal\n%swithout\n%s", s.text, got, masked)
				}
				return
			}
			if refusal.MatchString(masked) && !s.is("reveal") {
				t.Errorf("refused without reveal: %s\n%s", refusal.FindString(masked), s.text)
			}
			for _, value := range raw {
				if strings.Contains(masked, value) {
					t.Errorf("the raw value %q came back without reveal:\n%s", value, masked)
				}
			}
		})
	}
	b.healthy(t)
}

var (
	origin    = regexp.MustCompile(`(RowDescription| \S+):[0-9]+\.[0-9]+:`)
	errorLine = regexp.MustCompile(`ErrorResponse ERROR ([0-9A-Z]{5}): [^\n]*`)
)

// origins leaves out of which table and column a result's columns are.
func origins(s string) string { return origin.ReplaceAllString(s, "$1:") }

// sameError says whether two runs are the same but for the texts of errors, where those of the second are of
// a kind: the gateway words what it finds itself, and hides what can carry a value.
func sameError(want, got string, kind *regexp.Regexp) bool {
	state := func(s string) string { return origins(errorLine.ReplaceAllString(s, "ErrorResponse $1")) }
	return kind.MatchString(got) && state(want) == state(got)
}

// rawForms are values that one without reveal must not see.
func (b *bed) rawForms(t testing.TB, database string) []string {
	t.Helper()
	if database != "shop" {
		return nil
	}
	return column(t, b.AdminURL(database), `SELECT v FROM customers, LATERAL unnest(ARRAY[email, national_id, phone, birth_date::text, profile->>'email', profile->>'notes']) v WHERE id <= 40`)
}

// TestHonestStatements: what people and their tools send means through the gateway what it means without.
func TestHonestStatements(t *testing.T) {
	for _, file := range []string{"honest", "honest-more"} {
		t.Run(file, func(t *testing.T) { compare(t, bedOf(t, ""), "shop", "testdata/"+file+".sql") })
	}
}

// TestHonestSessions: COPY, cursors, statements prepared in SQL and settings.
func TestHonestSessions(t *testing.T) {
	compare(t, bedOf(t, ""), "shop", "testdata/honest-sessions.sql")
}
