package policy

import (
	"fmt"
	"strings"
	"testing"
)

// TestAdministrable: a set is administrable where somebody known could publish, and approve where that is asked.
func TestAdministrable(t *testing.T) {
	ada := Principal{Kind: User, ID: "test:ada", Groups: []string{"owners"}}
	known := func(g string) bool { return g == "owners" || g == "dba" }
	for _, c := range []struct {
		name, text string
		known      func(string) bool
		persons    []Principal
		want       bool
	}{
		{"nobody", `permit (principal, action == Action::"connect", resource);`, known, []Principal{ada}, false},
		{"a group", `permit (principal in Group::"owners", action == Action::"administer", resource);`, known, nil, true},
		{"a group that nobody is in", `permit (principal in Group::"ownres", action == Action::"administer", resource);`, known, []Principal{ada}, false},
		{"a group, where none is known", `permit (principal in Group::"ownres", action == Action::"administer", resource);`, nil, nil, true},
		{"a person", `permit (principal == User::"test:x", action == Action::"administer", resource == Gateway::"gatehouse");`, known, nil, true},
		{"an agent cannot", `permit (principal is Agent in Group::"owners", action == Action::"approve", resource);`, known, nil, false},
		{"forbidden", `permit (principal, action, resource);
			forbid (principal, action == Action::"administer", resource);`, known, []Principal{ada}, false},
		{"forbidden to all but a group", `permit (principal, action, resource);
			forbid (principal, action == Action::"administer", resource) unless { principal in Group::"dba" };`, known, nil, true},
		{"with an approval", `@approval("dba") permit (principal in Group::"owners", action == Action::"administer", resource);
			permit (principal in Group::"dba", action == Action::"approve", resource);`, known, nil, true},
		{"with an approval that nobody may give", `@approval("dba") permit (principal in Group::"owners", action == Action::"administer", resource);
			permit (principal in Group::"dba", action == Action::"approve", resource is Connection);`, known, []Principal{ada}, false},
		{"with an approval of a group that nobody is in", `@approval("db") permit (principal in Group::"owners", action == Action::"administer", resource);
			permit (principal, action == Action::"approve", resource);`, known, []Principal{ada}, false},
		{"by a condition, for a person", `permit (principal, action == Action::"administer", resource) when { principal == User::"test:ada" };`, known, nil, true},
	} {
		set, err := Compile(Input{Policies: []Source{{Name: "p.cedar", Text: []byte(c.text)}}})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := set.Administrable(c.known, c.persons...); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestManyGroups: who could publish, and whom policies are about, is found out of thousands of groups without asking every
// two of them.
func TestManyGroups(t *testing.T) {
	var b strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&b, "permit (principal in Group::\"g%d\", action == Action::\"administer\", resource);\n", i)
	}
	set, err := Compile(Input{Policies: []Source{{Name: "p.cedar", Text: []byte(b.String())}}})
	if err != nil {
		t.Fatal(err)
	}
	if !set.Administrable(nil) || !set.Administrable(func(g string) bool { return strings.HasPrefix(g, "g99") }) {
		t.Error("nobody is found")
	}
	if set.Administrable(func(string) bool { return false }) {
		t.Error("somebody in no group is found")
	}
	if n := len(set.Cast()); n < 10_000 || n > 30_000 {
		t.Errorf("the cast has %d", n)
	}
	// A few groups are asked for in pairs.
	few, err := Compile(Input{Policies: []Source{{Name: "p.cedar", Text: []byte(`
		permit (principal in Group::"a", action == Action::"administer", resource) when { principal in Group::"b" };
		forbid (principal in Group::"c", action == Action::"administer", resource);`)}}})
	if err != nil || !few.Administrable(nil) {
		t.Errorf("%v: somebody in two groups is not found", err)
	}
}
