package policy_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"gatehouse/internal/policy"
)

// TestExplain runs the cases of testdata/explain.txtar: `ask` has lines `principal: touch`, and `want` what is said
// of each.
func TestExplain(t *testing.T) {
	a, err := txtar.ParseFile("testdata/explain/explain.txtar")
	if err != nil {
		t.Fatal(err)
	}
	set := compile(t, string(a.Files[0].Data))
	var got strings.Builder
	for line := range strings.Lines(string(a.Files[1].Data)) {
		who, what, _ := strings.Cut(strings.TrimSpace(line), ": ")
		fmt.Fprintf(&got, "%s: %s\n", who, what)
		for _, e := range set.Explain(principal(who), policy.Moment{}, touch(what)) {
			fmt.Fprintf(&got, "  %s: %s\n", e.Party, e.Effect)
			for _, c := range e.Policies {
				if c.Fails == policy.Action {
					continue
				}
				mark := " "
				if c.Decides {
					mark = "*"
				}
				fmt.Fprintf(&got, "  %s %s %s:%d %s: %s %s\n", mark, c.Effect, c.Source, c.Line, c.Policy, c.Why, strings.Join(c.Asks, " "))
			}
		}
	}
	text := strings.ReplaceAll(got.String(), " \n", "\n")
	if os.Getenv("UPDATE") != "" {
		a.Files[2].Data = []byte(text)
		if err := os.WriteFile("testdata/explain/explain.txtar", txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := string(a.Files[2].Data); text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

// TestExplainAgrees: for random policies an explanation has the effect of the decision, every policy, and for one
// that does not match the part that does not; the least permit for what is missing permits it.
func TestExplainAgrees(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		pool := []string{
			`permit (principal in Group::"a", action == Action::"read", resource);`,
			`permit (principal, action in Action::"write", resource in Table::"orders/public.customers");`,
			`permit (principal is User, action, resource is Column) when { resource.labels.contains("pii") && resource in Schema::"orders/public" };`,
			`@approval("dba") permit (principal == Agent::"test:bot", action == Action::"read", resource);`,
			`forbid (principal, action == Action::"read", resource) unless { resource is Table || principal in Group::"b" };`,
			`@mask("null") forbid (principal in Group::"b", action == Action::"read", resource is Column);`,
			`permit (principal, action == Action::"read", resource) unless { resource is Table };`,
		}
		var text string
		for i, p := range pool {
			if rapid.Bool().Draw(r, "has") {
				text += fmt.Sprintf("@id(\"p%d\") %s\n", i, p)
			}
		}
		set := compile(t, text)
		who := principal(rapid.SampledFrom([]string{"agent bot", "agent bot in a", "agent bot in a,b for user ada in b", "user ada in a"}).Draw(r, "who"))
		what := touch(rapid.SampledFrom([]string{"read table orders/public.customers", "read column orders/public.customers.email [pii]", "update column orders/public.customers.id", "delete table orders/other.t"}).Draw(r, "what"))
		all := set.Explain(who, policy.Moment{}, what)
		effect := policy.Permit
		for _, e := range all {
			effect = min(effect, e.Effect)
			if len(e.Policies) != strings.Count(text, "@id")+2 {
				r.Fatalf("%d policies", len(e.Policies))
			}
			for _, c := range e.Policies {
				if c.Matches != (c.Fails == policy.NoPart) || c.Decides && !c.Matches || c.Why == "" || c.Why == "it does not match" {
					r.Fatalf("%+v", c)
				}
			}
		}
		d := set.For(who).Decide([]policy.Touch{what})
		if d.Effect != effect {
			r.Fatalf("explained %s, decided %s", effect, d.Effect)
		}
		if len(d.Missing) == 0 {
			return
		}
		for _, e := range all {
			if e.Effect == policy.Refuse {
				text += policy.LeastPermit(e.Party, d.Missing)
			}
		}
		if d := compile(t, text).For(who).Decide([]policy.Touch{what}); d.Effect == policy.Refuse {
			r.Fatalf("the least permit does not help: %v\n%s", d, text)
		}
	})
}

func TestActions(t *testing.T) {
	got := compile(t, "").Actions()
	if !slices.Contains(got, "read") || slices.Contains(got, "readonly") || !slices.IsSorted(got) {
		t.Errorf("%v", got)
	}
}
