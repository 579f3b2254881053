package policy_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"gatehouse/internal/policy"
)

var update = flag.Bool("update", false, "write what is found into testdata/lint")

var knownHere = policy.Known{
	Connections: []policy.KnownConnection{{Name: "orders", Tags: []string{"env:prod"}, Labels: []string{"pii.email", "secret"}}, {Name: "other"}},
	Groups:      func(g string) bool { return slices.Contains([]string{"a", "b", "dba", "analysts"}, g) },
}

// Each case is a file: policies.cedar, then what Lint says.
func TestLint(t *testing.T) {
	files, _ := filepath.Glob("testdata/lint/*.txtar")
	if len(files) < 4 {
		t.Fatalf("only %d cases were found", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			set, err := policy.Compile(policy.Input{Schemas: []policy.Source{sqlSchema(t)}, Policies: []policy.Source{{Name: "test.cedar", Text: a.Files[0].Data}}, Rows: rows, Known: knownHere})
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, p := range set.Warnings() {
				if !p.Warning || p.Code == "" || p.Policy == "" || p.EndColumn == 0 && p.Line == 0 {
					t.Errorf("%+v", p)
				}
				at, text, _ := strings.Cut(p.String(), " ")
				fmt.Fprintf(&b, "%s %s: %s\n", at, p.Code, text)
			}
			if *update {
				a.Files[1].Data = []byte(b.String())
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got, want := b.String(), string(a.Files[1].Data); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// TestHidden: no text is taken that looks other than it is read.
func TestHidden(t *testing.T) {
	const permit = "@id(\"p\") permit(principal, action == Action::\"read\", resource);\n"
	compiled := func(text string) error {
		_, err := policy.Compile(policy.Input{Schemas: []policy.Source{sqlSchema(t)}, Policies: []policy.Source{{Name: "x.cedar", Text: []byte(text)}}})
		return err
	}
	for what, text := range map[string]string{
		"a forbid that is a comment, where a carriage return ends lines": "// agents read\rforbid(principal, action, resource);\n" + permit,
		"the same with a line separator":                                 "// agents read\u2028forbid(principal, action, resource);\n" + permit,
		"the same with a next line":                                      "// agents read\u0085forbid(principal, action, resource);\n" + permit,
		"a condition that is a comment, turned around":                   strings.TrimSuffix(permit, ";\n") + "; //\u202e } eslaf { nehw\n",
		"a comment that wipes its line from a terminal":                  permit + "// \x1b[2K\x1b[1A\n",
		"a mark of direction in a name":                                  strings.Replace(permit, "\"read\"", "\"read\u200f\"", 1),
		"a byte that is no character":                                    "// \xff\n" + permit,
		"a zero byte":                                                    "// \x00\n" + permit,
		"a byte order mark":                                              "\ufeff" + permit,
	} {
		var problems policy.Problems
		if err := compiled(text); !errors.As(err, &problems) || len(problems) != 1 || problems[0].Code != "hidden" || problems[0].Line == 0 {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := compiled("// überall\t\U0001F512 \u0634\uFFFD\r\n" + strings.Replace(permit, "resource", "resource == Table::\"shop/public.\\u{202e}\"", 1)); err != nil {
		t.Error(err)
	}
}

// TestTooLarge: a text that is too deep or too long is refused where it is, and quickly.
func TestTooLarge(t *testing.T) {
	deep := func(open, middle, end string, n int) string {
		return "permit(principal, action, resource)\nwhen { " + strings.Repeat(open, n) + middle + strings.Repeat(end, n) + " };"
	}
	for what, text := range map[string]string{
		"parentheses":  deep("(", "true", ")", 1_000_000),
		"sets":         deep("[", "1", "]", 200) + "\n",
		"negations":    deep("!", "true", "", 1_000_000),
		"signs":        deep("!", "true", "", 1000),
		"minus":        deep("-", "1 > 0", "", 1000),
		"conjunctions": deep("true && ", "true", "", 200_000),
		"ifs":          deep("if true then true else ", "true", "", 100_000),
		"a string":     `permit(principal, action, resource == Connection::"` + strings.Repeat("x", 1<<20) + `");`,
		"no end":       strings.Repeat("permit ", 100_000),
		"braces":       strings.Repeat("{", 1_000_000),
		"a quote":      `@id("` + strings.Repeat("x", 1<<20),
	} {
		begun := time.Now()
		_, err := policy.Compile(policy.Input{Schemas: []policy.Source{sqlSchema(t)}, Policies: []policy.Source{{Name: "x.cedar", Text: []byte(text)}}})
		if err == nil || !strings.HasPrefix(err.Error(), "x.cedar:") || len(err.Error()) > 2000 {
			t.Errorf("%s: %.300v", what, err)
		}
		if time.Since(begun) > 20*time.Second {
			t.Errorf("%s: it took %v", what, time.Since(begun))
		}
	}
	// A megabyte of policies is taken.
	var b strings.Builder
	for i := 0; b.Len() < 1<<20; i++ {
		fmt.Fprintf(&b, "@id(\"p%d\") permit(principal in Group::\"g%d\", action == Action::\"read\", resource in Table::\"orders/public.t%d\");\n", i, i%100, i)
	}
	if _, err := policy.Compile(policy.Input{Schemas: []policy.Source{sqlSchema(t)}, Policies: []policy.Source{{Name: "x.cedar", Text: []byte(b.String())}}}); err != nil {
		t.Errorf("%.300v", err)
	}
}

// TestLongConditions: what is as long as a policy may be, and nested by operators instead of brackets, is read, compared and
// explained without costing many times its length: a set may have dozens of them.
func TestLongConditions(t *testing.T) {
	many := func(one, last string, n int) string {
		return "permit(principal, action == Action::\"read\", resource)\nwhen { " + strings.Repeat(one, n) + last + " };\n"
	}
	names := func(one string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, one, i)
		}
		return b.String()
	}
	var b strings.Builder
	for _, text := range []string{
		many("true && ", "true", 8000),
		many("principal == Agent::\"x\" || ", "false", 2200),
		many("1+", "1 > 0", 30_000),
		many("if principal in Group::\"a\" then true else ", "true", 1200),
		many("if ", "true"+strings.Repeat(" then true else false", 1500), 1500),
		many("resource has labels && ", "true", 2000),
		many("", names("resource has a%d && ", 2300)+"true", 1),
		many("", "["+names("%d,", 7000)+"0].containsAll(["+names("%d,", 4000)+"0])", 1),
	} {
		for range 8 {
			b.WriteString(text)
		}
	}
	set, err := policy.Compile(policy.Input{Schemas: []policy.Source{sqlSchema(t)}, Policies: []policy.Source{{Name: "x.cedar", Text: []byte(b.String())}}})
	if err != nil {
		t.Fatalf("%.500v", err)
	}
	if set.Momentary() {
		t.Error("it reads the time, or the source")
	}
	set.Warnings()
	who := principal("agent x in a")
	if d := set.For(who).Decide(touches[:1]); d.Effect != policy.Permit || len(d.Errors) != 0 {
		t.Errorf("%+v", d)
	}
	if e := set.Explain(who, policy.Moment{}, touches[0]); len(e) != 1 || len(e[0].Policies) != 64 {
		t.Errorf("%d", len(e))
	}
}

// many are n policies of a large installation.
func many(n int) []byte {
	var b strings.Builder
	for i := range n {
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "@id(\"p%d\") permit(principal in Group::\"g%d\", action == Action::\"read\", resource in Table::\"c%d/public.t%d\");\n", i, i%50, i%20, i)
		case 1:
			fmt.Fprintf(&b, "@id(\"p%d\") @mask(\"partial\") permit(principal in Group::\"g%d\", action == Action::\"read\", resource in Connection::\"c%d\") when { resource is Column && resource.labels.contains(\"pii\") };\n", i, i%50, i%20)
		case 2:
			fmt.Fprintf(&b, "@id(\"p%d\") @approval(\"dba\") permit(principal in Group::\"g%d\", action in Action::\"write\", resource in Schema::\"c%d/public\");\n", i, i%50, i%20)
		case 3:
			fmt.Fprintf(&b, "@id(\"p%d\") forbid(principal in Group::\"g%d\", action == Action::\"drop\", resource in Connection::\"c%d\");\n", i, i%50, i%20)
		}
	}
	return []byte(b.String())
}

func BenchmarkLoad10000(b *testing.B) {
	text := many(10_000)
	schema := sqlSchema(b)
	for b.Loop() {
		if _, err := policy.Compile(policy.Input{Schemas: []policy.Source{schema}, Policies: []policy.Source{{Name: "x", Text: text}}}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkColdSlice1000(b *testing.B) {
	set, err := policy.Compile(policy.Input{Schemas: []policy.Source{sqlSchema(b)}, Policies: []policy.Source{{Name: "x", Text: many(1000)}}})
	if err != nil {
		b.Fatal(err)
	}
	request := []policy.Touch{touch("read table c0/public.t0"), touch("read column c0/public.t0.a"), touch("read column c0/public.t0.email [pii]")}
	n := 0
	for b.Loop() {
		n++
		set.For(principal(fmt.Sprintf("agent a%d in g0,g1", n))).Decide(request)
	}
}

// BenchmarkCold10000 is a statement over a wide table with labels, by a new principal among 10,000 policies.
func BenchmarkCold10000(b *testing.B) {
	set, err := policy.Compile(policy.Input{Schemas: []policy.Source{sqlSchema(b)}, Policies: []policy.Source{{Name: "x", Text: many(10_000)}}})
	if err != nil {
		b.Fatal(err)
	}
	request := []policy.Touch{touch("read table c0/public.t0")}
	for i := range 50 {
		request = append(request, touch(fmt.Sprintf("read column c0/public.t0.c%d [pii]", i)))
	}
	n := 0
	for b.Loop() {
		n++
		set.For(principal(fmt.Sprintf("agent a%d in g0,g1", n))).Decide(request)
	}
}

func BenchmarkLint10000(b *testing.B) {
	set, err := policy.Compile(policy.Input{Schemas: []policy.Source{sqlSchema(b)}, Policies: []policy.Source{{Name: "x", Text: many(10_000)}}})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		set.Lint(knownHere)
	}
}

func BenchmarkKnown1000(b *testing.B) {
	set, err := policy.Compile(policy.Input{Schemas: []policy.Source{sqlSchema(b)}, Policies: []policy.Source{{Name: "x", Text: many(1000)}}})
	if err != nil {
		b.Fatal(err)
	}
	request := []policy.Touch{touch("read table c0/public.t0"), touch("read column c0/public.t0.a"), touch("read column c0/public.t0.email [pii]")}
	slice := set.For(principal("agent a in g0,g1"))
	for b.Loop() {
		slice.Decide(request)
	}
}
