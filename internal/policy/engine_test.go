package policy_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"gatehouse/deploy"
	"gatehouse/internal/policy"
)

func sqlSchema(t interface{ Fatal(...any) }) policy.Source {
	text, err := os.ReadFile("../connector/postgres/schema.cedarschema")
	if err != nil {
		t.Fatal(err)
	}
	return policy.Source{Name: "postgres", Text: text}
}

// rows takes every filter that does not say that it is bad.
func rows(text string) error {
	if strings.Contains(text, "bad") {
		return errors.New("bad filter")
	}
	return nil
}

func compile(t interface{ Fatal(...any) }, text string) *policy.Set {
	set, err := policy.Compile(policy.Input{
		Schemas:  []policy.Source{sqlSchema(t)},
		Policies: []policy.Source{{Name: "test.cedar", Text: []byte(text)}},
		Access:   []policy.Access{{Connection: "orders", Groups: []string{"ai-agents", "staff"}}},
		Rows:     rows,
	})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// touch reads `read column orders/public.customers.email [pii.email]`.
func touch(line string) policy.Touch {
	line, labels, _ := strings.Cut(line, " [")
	f := strings.Fields(line)
	typ := strings.ToUpper(f[1][:1]) + f[1][1:]
	t := policy.Touch{Action: f[0], Resource: policy.Resource{Entity: policy.Entity{Type: typ, ID: f[2]}}}
	connection, rest, _ := strings.Cut(f[2], "/")
	parts := strings.Split(rest, ".")
	parent := func(typ, id string) {
		t.Resource.Parents = append(t.Resource.Parents, policy.Entity{Type: typ, ID: id})
	}
	switch typ {
	case "Column":
		parent("Table", connection+"/"+parts[0]+"."+parts[1])
		fallthrough
	case "Table", "Function":
		parent("Schema", connection+"/"+parts[0])
		fallthrough
	case "Schema":
		parent("Connection", connection)
	}
	parent("Tag", "env:prod")
	if labels != "" {
		t.Resource.Labels = strings.Split(strings.TrimSuffix(labels, "]"), ",")
	}
	return t
}

// principal reads `agent bot in ai-agents for user ada in dba`.
func principal(line string) policy.Principal {
	own, behalf, acts := strings.Cut(line, " for ")
	who, groups, _ := strings.Cut(own, " in ")
	f := strings.Fields(who)
	p := policy.Principal{Kind: policy.Kind(f[0]), ID: "test:" + f[1], Name: f[1]}
	if groups != "" {
		p.Groups = strings.Split(groups, ",")
	}
	if acts {
		user := principal(behalf)
		p.OnBehalfOf = &user
	}
	return p
}

// Each case is a file: policies.cedar, then `ask` with lines `principal: touch -> what is decided`.
func TestGolden(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txtar")
	if len(files) < 5 {
		t.Fatalf("only %d cases were found", len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text := string(a.Files[0].Data)
			if strings.TrimSpace(text) == "starter" {
				text = string(deploy.Starter)
			}
			if a.Files[1].Name == "problems" {
				_, err := policy.Compile(policy.Input{Schemas: []policy.Source{sqlSchema(t)}, Policies: []policy.Source{{Name: "test.cedar", Text: []byte(text)}}, Rows: rows})
				if err == nil {
					t.Fatal("it compiles")
				}
				if got, want := strings.TrimSpace(err.Error()), strings.TrimSpace(string(a.Files[1].Data)); got != want {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
				return
			}
			set := compile(t, text)
			for line := range strings.Lines(string(a.Files[1].Data)) {
				ask, want, ok := strings.Cut(strings.TrimSpace(line), " -> ")
				who, what, ok2 := strings.Cut(ask, ": ")
				if !ok || !ok2 {
					continue
				}
				slice := set.For(principal(who))
				one := touch(what)
				if got := describe(slice.Decide([]policy.Touch{one}), slice.May(one.Action, one.Resource), one); got != want {
					t.Errorf("%s\ngot  %s\nwant %s", ask, got, want)
				}
			}
		})
	}
}

func describe(d policy.Decision, e policy.Exposure, t policy.Touch) string {
	out := d.Effect.String()
	if t.Action == "read" && d.Effect != policy.Refuse {
		out += " " + e.Mask.String()
		if e.Width != 0 {
			out += fmt.Sprintf(":%d", e.Width)
		}
	}
	for _, clause := range e.Rows {
		var texts []string
		for _, r := range clause {
			text := strings.ReplaceAll(r.Text, "principal.id", r.ID)
			texts = append(texts, strings.ReplaceAll(text, "principal.user", r.User))
		}
		out += " (" + strings.Join(texts, " or ") + ")"
	}
	if d.Limit != (policy.Limit{}) {
		out += fmt.Sprintf(" limit %d/%d", d.Limit.Rows, d.Limit.Seconds)
	}
	for _, a := range d.Approvals {
		out += fmt.Sprintf(" %s×%d", a.Group, a.Quorum)
	}
	if len(d.Forbidden) > 0 {
		out += " forbidden"
	}
	if len(d.Policies) > 0 {
		out += " by " + strings.Join(d.Policies, ",")
	}
	if len(d.Errors) > 0 {
		out += " error"
	}
	return out
}

// pool are policies that the laws are tried with.
var pool = []string{
	`@id("p1") permit(principal, action == Action::"read", resource);`,
	`@id("p2") @mask("null") permit(principal, action == Action::"read", resource is Column);`,
	`@id("p3") @mask("email") permit(principal in Group::"a", action == Action::"read", resource);`,
	`@id("p4") @approval("dba") permit(principal, action == Action::"read", resource);`,
	`@id("p5") permit(principal, action == Action::"reveal", resource);`,
	`@id("p6") @approval("dba,2") permit(principal, action in Action::"write", resource);`,
	`@id("p7") permit(principal is Agent, action == Action::"update", resource);`,
	`@id("f1") forbid(principal is Agent, action == Action::"update", resource);`,
	`@id("f2") @approval("board") forbid(principal, action == Action::"read", resource is Column) when { resource.labels.contains("pii.email") };`,
	`@id("f3") @mask("partial") forbid(principal, action == Action::"read", resource is Column);`,
	`@id("f4") @mask("null") forbid(principal in Group::"a", action == Action::"read", resource is Column);`,
	`@id("p8") @rows("r8") permit(principal in Group::"a", action == Action::"read", resource);`,
	`@id("p9") @rows("r9") @limit("rows=10") permit(principal is Agent, action in [Action::"read", Action::"update"], resource);`,
	`@id("f6") @rows("r6") forbid(principal, action in [Action::"read", Action::"update"], resource);`,
	`@id("f7") @limit("rows=5,seconds=9") @rows("r7") forbid(principal is Agent, action == Action::"read", resource);`,
	`@id("f5") forbid(principal, action == Action::"reveal", resource) unless { principal in Group::"a" };`,
}

var touches = []policy.Touch{
	touch("read table orders/public.t"),
	touch("read column orders/public.t.a"),
	touch("read column orders/public.t.email [pii.email]"),
	touch("read column orders/public.t.key [secret]"),
	touch("update table orders/public.t"),
	touch("update column orders/public.t.a"),
}

// Adding a permit never refuses, holds or hides more; adding a forbid never permits or shows more.
func TestLaws(t *testing.T) {
	all := make([]*policy.Set, 1<<len(pool))
	get := func(bits int) *policy.Set {
		if all[bits] == nil {
			var text []string
			for i, p := range pool {
				if bits&(1<<i) != 0 {
					text = append(text, p)
				}
			}
			all[bits] = compile(t, strings.Join(text, "\n"))
		}
		return all[bits]
	}
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.IntRange(0, len(all)-1).Draw(t, "policies")
		add := rapid.IntRange(0, len(pool)-1).Draw(t, "added")
		who := principal(rapid.SampledFrom([]string{"agent x", "agent x in a", "user u in a,dba", "agent x for user u in a"}).Draw(t, "principal"))
		one := rapid.SampledFrom(touches).Draw(t, "touch")
		without, with := get(bits&^(1<<add)).For(who), get(bits|1<<add).For(who)
		before, after := without.Decide([]policy.Touch{one}), with.Decide([]policy.Touch{one})
		shownBefore, shownAfter := without.Read(one.Resource), with.Read(one.Resource)
		if strings.HasPrefix(pool[add], `@id("p`) {
			if after.Effect < before.Effect {
				t.Errorf("adding a permit turned %v into %v", before.Effect, after.Effect)
			}
			// A way without an approval (also where a forbid asks for one), without a filter, or with a larger limit is
			// preferred even when it shows less.
			same := before.Effect == policy.Permit && after.Effect == policy.Permit && len(shownBefore.Rows) == len(shownAfter.Rows) && before.Limit == after.Limit
			if same && one.Action == "read" && shownAfter.Mask < shownBefore.Mask {
				t.Errorf("adding a permit turned the mask %v into %v", shownBefore.Mask, shownAfter.Mask)
			}
			return
		}
		if after.Effect > before.Effect {
			t.Errorf("adding a forbid turned %v into %v", before.Effect, after.Effect)
		}
		if one.Action == "read" && after.Effect != policy.Refuse && shownAfter.Mask > shownBefore.Mask {
			t.Errorf("adding a forbid turned the mask %v into %v", shownBefore.Mask, shownAfter.Mask)
		}
		if after.Effect == policy.Refuse {
			return
		}
		if !passes(shownBefore.Rows, shownAfter.Rows) {
			t.Errorf("adding a forbid turned the rows %v into %v", shownBefore.Rows, shownAfter.Rows)
		}
		if after.Limit.And(before.Limit) != after.Limit {
			t.Errorf("adding a forbid turned the limit %v into %v", before.Limit, after.Limit)
		}
	})
}

// passes says whether every row that passes after is one that passes before, whatever the filters mean.
func passes(before, after policy.Rows) bool {
	filters := []string{"r6", "r7", "r8", "r9"}
	for truth := range 1 << len(filters) {
		holds := func(rows policy.Rows) bool {
			return !slices.ContainsFunc(rows, func(clause []policy.Row) bool {
				return !slices.ContainsFunc(clause, func(r policy.Row) bool { return truth&(1<<slices.Index(filters, r.Text)) != 0 })
			})
		}
		if holds(after) && !holds(before) {
			return false
		}
	}
	return true
}

func TestParseLimit(t *testing.T) {
	for text, want := range map[string]policy.Limit{
		"rows=1": {Rows: 1}, "seconds=30": {Seconds: 30}, " rows = 1000 , seconds = 30 ": {Rows: 1000, Seconds: 30},
	} {
		if got, err := policy.ParseLimit(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "rows", "rows=0", "rows=-1", "rows=x", "rows=1,rows=2", "lines=1", "seconds=9999999", "rows=1,", "rows=99999999999999999999"} {
		if got, err := policy.ParseLimit(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestZeroValuesRefuse(t *testing.T) {
	var none *policy.Slice
	set := compile(t, pool[0])
	for name, d := range map[string]policy.Decision{
		"no slice":          none.Decide(touches),
		"empty slice":       new(policy.Slice).Decide(touches),
		"no touches":        set.For(principal("agent x")).Decide(nil),
		"no principal":      set.For(policy.Principal{}).Decide(touches[:1]),
		"nobody's kind":     set.For(policy.Principal{ID: "x"}).Decide(touches[:1]),
		"behalf of nobody":  set.For(policy.Principal{Kind: policy.Agent, ID: "x", OnBehalfOf: &policy.Principal{}}).Decide(touches[:1]),
		"an unknown action": set.For(principal("agent x")).Decide([]policy.Touch{touch("fly table orders/public.t")}),
	} {
		if d.Effect != policy.Refuse {
			t.Errorf("%s: %v", name, d.Effect)
		}
	}
	if none.Read(touches[0].Resource).Visible {
		t.Error("no slice shows something")
	}
}

func TestVersionAndKey(t *testing.T) {
	a, b := compile(t, pool[0]), compile(t, pool[0])
	if a.Version() != b.Version() || a.Version() == compile(t, pool[1]).Version() {
		t.Error("versions do not follow the texts")
	}
	x, y := principal("agent x in a,b"), principal("agent x in b,a")
	if a.For(x) != a.For(y) || a.For(x).Key() != b.For(x).Key() || a.For(x).Key() == a.For(principal("agent x in a")).Key() {
		t.Error("slices do not follow the principals")
	}
}

func TestLabelsAreNotRememberedAcrossChanges(t *testing.T) {
	slice := compile(t, pool[0]).For(principal("agent x"))
	plain, labelled := touches[1].Resource, touches[1].Resource
	labelled.Labels = []string{"secret"}
	if m := slice.Read(plain).Mask; m != policy.MaskNone {
		t.Errorf("an unlabelled column has the mask %v", m)
	}
	if m := slice.Read(labelled).Mask; m != policy.MaskNull {
		t.Errorf("the same column, labelled now, has the mask %v", m)
	}
}

// TestOwn: what a permit for exactly one thing gives is given on its own terms: another permit that asks for less is not one
// for exactly that thing.
func TestOwn(t *testing.T) {
	const wide = "@id(\"wide\") permit(principal, action == Action::\"read\", resource in Schema::\"orders/public\");\n"
	for exact, want := range map[string][2]bool{ // alone, and beside the wide one
		`permit(principal, action == Action::"read", resource == Table::"orders/public.t");`:                                    {true, true},
		`permit(principal, action == Action::"read", resource in Table::"orders/public.t");`:                                    {true, true},
		`@approval("dba") permit(principal, action == Action::"read", resource == Table::"orders/public.t");`:                   {true, false},
		`@rows("r6") permit(principal, action == Action::"read", resource == Table::"orders/public.t");`:                        {true, false},
		`@limit("rows=5") permit(principal, action == Action::"read", resource == Table::"orders/public.t");`:                   {true, false},
		`permit(principal, action == Action::"read", resource == Table::"orders/public.u");`:                                    {false, false},
		`@approval("dba") permit(principal, action == Action::"read", resource in Connection::"orders");`:                       {false, false},
		`permit(principal in Group::"b", action == Action::"read", resource == Table::"orders/public.t");`:                      {false, false},
		`@rows("r6") permit(principal is Agent in Group::"a", action == Action::"read", resource == Table::"orders/public.t");`: {true, false},
	} {
		for i, more := range []string{"", wide} {
			if e := compile(t, more+exact).For(principal("agent x in a")).Read(touches[0].Resource); e.Own != want[i] {
				t.Errorf("%s%s: %v, want %v", more, exact, e.Own, want[i])
			}
		}
	}
	// Of two filters that are or-ed one is not that of the permit for the thing.
	if e := compile(t, `@id("x") @rows("r6") permit(principal, action == Action::"read", resource == Table::"orders/public.t");
@id("y") @rows("r7") permit(principal, action == Action::"read", resource);`).For(principal("agent x")).Read(touches[0].Resource); e.Own || len(e.Rows) != 1 || len(e.Rows[0]) != 2 {
		t.Errorf("%+v", e)
	}
	column := compile(t, `@id("x") @mask("null") permit(principal, action == Action::"read", resource == Column::"orders/public.t.a");
`+wide).For(principal("agent x")).Read(touches[1].Resource)
	if column.Own || column.Mask != policy.MaskNone {
		t.Errorf("%+v", column)
	}
}

func FuzzCompile(f *testing.F) {
	f.Add(string(deploy.Starter))
	for _, p := range pool {
		f.Add(p)
	}
	schema := sqlSchema(f)
	f.Fuzz(func(t *testing.T, text string) {
		set, err := policy.Compile(policy.Input{Schemas: []policy.Source{schema}, Policies: []policy.Source{{Name: "f", Text: []byte(text)}}})
		if err == nil {
			set.For(principal("agent x in a")).Decide(touches)
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	slice := compile(b, string(deploy.Starter)).For(principal("agent x in ai-agents"))
	asked := slices.Concat(touches[:4], touches[:4], touches[:2])
	for b.Loop() {
		slice.Decide(asked)
	}
}

// TestJoin: fragments that declare the same entity with the same attributes say together what it is in.
func TestJoin(t *testing.T) {
	compile := func(more ...string) error {
		sources := []policy.Source{{Name: "one", Text: []byte(`entity Endpoint in [Connection]; entity Field in [Endpoint] { labels: Set<String> }; action read appliesTo { principal: [Agent, User], resource: [Field] };`)}}
		for _, m := range more {
			sources = append(sources, policy.Source{Name: "two", Text: []byte(m)})
		}
		_, err := policy.Compile(policy.Input{Schemas: sources, Policies: []policy.Source{{Name: "p", Text: []byte(`@id("m") permit (principal, action == Action::"read", resource in Method::"c/a.S/M");`)}}})
		return err
	}
	const method = `entity Method in [Connection]; action read appliesTo { principal: [Agent, User], resource: [Field] };`
	if err := compile(method + `entity Field in [Method] { labels: Set<String> };`); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{`entity Field in [Method] { labels: Set<Long> };`, `entity Field in [Method];`, `entity Field { labels: Set<String> };`, `entity Field in [Method] { labels?: Set<String> };`} {
		if err := compile(method + bad); err == nil || !strings.Contains(err.Error(), "the entity Field") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
