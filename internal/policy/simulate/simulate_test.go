package simulate

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"gatehouse/internal/policy"
	"gatehouse/internal/policy/offline"
)

var update = flag.Bool("update", false, "write what the reports are into testdata")

func compile(t rapid.TB, name, text string) *policy.Set {
	t.Helper()
	schema, err := os.ReadFile("../../connector/postgres/schema.cedarschema")
	if err != nil {
		t.Fatal(err)
	}
	set, err := policy.Compile(policy.Input{
		Schemas:  []policy.Source{{Name: "postgres", Text: schema}},
		Policies: []policy.Source{{Name: name, Text: []byte(text)}},
		Rows:     func(string) error { return nil },
	})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return set
}

var shop = policy.Resource{Entity: policy.Entity{Type: "Connection", ID: "shop"}, Parents: []policy.Entity{{Type: "Tag", ID: "env:prod"}}}

// labels: a column called email is an e-mail address, one called secret a secret.
func labels(column string) []string {
	switch {
	case strings.HasSuffix(column, ".email"):
		return []string{"pii.email"}
	case strings.HasSuffix(column, ".secret"):
		return []string{"secret"}
	}
	return nil
}

// decided makes the case of a request as it was decided by a set.
func decided(t rapid.TB, set *policy.Set, p policy.Principal, lines ...string) *Case[string] {
	t.Helper()
	slice := set.For(p)
	var touches []policy.Touch
	c := &Case[string]{Principal: p, Connection: "shop", Requests: 1}
	for _, l := range lines {
		touch, err := offline.Touch(strings.TrimSpace(l), shop, labels)
		if err != nil {
			t.Fatal(err)
		}
		touches = append(touches, touch)
		c.Touches = append(c.Touches, policy.Judged{Touch: touch, Verdict: slice.Verdict(touch)})
	}
	c.Was = slice.Decide(touches)
	c.Examples = []string{strings.Join(lines, " +")}
	return c
}

// TestSimulate: was.cedar decided the requests, draft.cedar decides them again; the report is as it is written.
// A request is PRINCIPAL [in GROUP…] [xN] [prepare|partial]: TOUCH, TOUCH.
func TestSimulate(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(f)
			if err != nil {
				t.Fatal(err)
			}
			part := map[string]*txtar.File{}
			for i := range a.Files {
				part[a.Files[i].Name] = &a.Files[i]
			}
			was, draft := compile(t, "was.cedar", string(part["was.cedar"].Data)), compile(t, "draft.cedar", string(part["draft.cedar"].Data))
			r := New[string]()
			for l := range strings.Lines(string(part["requests"].Data)) {
				head, touches, _ := strings.Cut(strings.TrimSpace(l), ": ")
				words := strings.Fields(head)
				p := policy.Principal{Kind: policy.Agent, ID: words[0]}
				var n int
				var prepare, partial bool
				for _, w := range words[1:] {
					switch {
					case w == "prepare":
						prepare = true
					case w == "partial":
						partial = true
					case strings.HasPrefix(w, "x"):
						fmt.Sscanf(w, "x%d", &n)
					case w != "in":
						p.Groups = append(p.Groups, w)
					}
				}
				c := decided(t, was, p, strings.Split(touches, ",")...)
				c.Requests, c.Prepare, c.Partial = max(n, 1), prepare, partial
				r.Add(c, draft.For(p))
			}
			got := text(r.Done())
			if *update {
				part["report"].Data = []byte(got)
				if err := os.WriteFile(f, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if want := string(part["report"].Data); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func text(r *Report[string]) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d requests, %d unchanged, %d changed\n", r.Requests, r.Unchanged, r.Changed)
	for _, c := range r.Changes {
		fmt.Fprintf(&b, "%s: %d by %s, %s to %s, by %v, recorded %v\n", c.Kind, c.Requests, c.Principal.ID, c.From, c.To, c.Policies, c.WasPolicies)
		for _, t := range c.Touches {
			fmt.Fprintf(&b, "  %d %s [%s] [%s]\n", t.Requests, t.Touch, t.Was, t.Is)
		}
		for _, e := range c.Examples {
			fmt.Fprintf(&b, "  e.g. %s\n", e)
		}
	}
	return b.String()
}

// TestUndecided: what is not known is counted, whatever a draft says.
func TestUndecided(t *testing.T) {
	set := compile(t, "all.cedar", `permit(principal, action, resource);`)
	p := policy.Principal{Kind: policy.Agent, ID: "bot"}
	r := New[string]()
	r.Add(&Case[string]{Principal: p, Requests: 3, Unknown: errors.New("old")}, set.For(p))
	r.Add(&Case[string]{Principal: p, Requests: 2}, set.For(p))
	r.Add(&Case[string]{Principal: p, Requests: 4, Unknown: errors.New("old")}, set.For(p))
	r.Done()
	if r.Requests != 9 || r.Changed+r.Unchanged != 0 || len(r.Undecided) != 2 || r.Undecided[0] != (Undecided{"old", 7}) {
		t.Errorf("%+v", r)
	}
}

var policyTexts = []string{
	`permit(principal, action == Action::"read", resource);`,
	`@mask("partial") permit(principal, action == Action::"read", resource in Table::"shop/public.a");`,
	`@rows("x") permit(principal, action == Action::"read", resource in Table::"shop/public.b");`,
	`@limit("rows=5") forbid(principal, action == Action::"read", resource in Table::"shop/public.a");`,
	`@approval("dba") permit(principal, action in Action::"write", resource);`,
	`permit(principal, action == Action::"update", resource in Table::"shop/public.a");`,
	`forbid(principal, action == Action::"delete", resource);`,
	`permit(principal, action == Action::"reveal", resource);`,
	`@approval("sec") forbid(principal, action == Action::"read", resource in Table::"shop/public.b");`,
	`@mask("null") forbid(principal, action == Action::"read", resource is Column) when { resource.labels.contains("secret") };`,
}

var touchLines = []string{
	"read table shop/public.a", "read column shop/public.a.email", "read column shop/public.a.id", "read table shop/public.b", "read column shop/public.b.secret",
	"update table shop/public.a", "update column shop/public.a.id", "delete table shop/public.b", "connect connection shop",
}

// TestSameChangesNothing: against the policies that decided them nothing changes; against others a change is
// reported exactly where the decision, a mask, a filter, a limit or an approval differs.
func TestSameChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pick := func(name string) *policy.Set {
			return compile(t, name, strings.Join(rapid.SliceOfN(rapid.SampledFrom(policyTexts), 0, 8).Draw(t, name), "\n"))
		}
		was, draft := pick("was"), pick("draft")
		p := policy.Principal{Kind: policy.Agent, ID: "bot"}
		c := decided(t, was, p, rapid.SliceOfN(rapid.SampledFrom(touchLines), 1, 4).Draw(t, "touches")...)
		same := New[string]()
		if same.Add(c, was.For(p)); same.Changed != 0 || same.Unchanged != 1 {
			t.Fatalf("the same policies: %s", text(same.Done()))
		}
		r := New[string]()
		r.Add(c, draft.For(p))
		differs := false
		var touches []policy.Touch
		for _, j := range c.Touches {
			touches = append(touches, j.Touch)
		}
		d := draft.For(p).Decide(touches)
		if d.Effect != c.Was.Effect {
			differs = true
		} else if d.Effect != policy.Refuse {
			for _, j := range c.Touches {
				v := draft.For(p).Verdict(j.Touch)
				differs = differs || v.Mask != j.Mask || rows(v.Rows) != rows(j.Rows) || d.Limit != c.Was.Limit || approvals(d.Approvals) != approvals(c.Was.Approvals)
			}
		}
		if (r.Changed == 1) != differs || len(r.Changes) == 0 && differs {
			t.Fatalf("differs %v, reported:\n%s", differs, text(r.Done()))
		}
	})
}
