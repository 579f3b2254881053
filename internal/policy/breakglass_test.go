package policy

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const glassSchema = `
entity Table in [Connection];
entity Column in [Table] = { labels: Set<String> };
action read, reveal, update appliesTo { principal: [Agent, User], resource: [Table, Column] };
`

func glassSet(t interface{ Fatal(...any) }, text string) *Set {
	set, err := Compile(Input{Schemas: []Source{{Name: "s", Text: []byte(glassSchema)}}, Policies: []Source{{Name: "p.cedar", Text: []byte(text)}}})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestParseReview(t *testing.T) {
	for text, want := range map[string]string{
		"security": "security 60", "security,30m": "security 30", "security, 2h": "security 120", "security,24h": "security 1440",
		"entra:group:6e1f,1m": "entra:group:6e1f 1",
		"":                    "!", ",1h": "!", "security,": "!", "security,0m": "!", "security,25h": "!", "security,1441m": "!", "security,1": "!", "security,1d": "!",
		"security,1hm": "!", "security,-5m": "!", "a:b": "!", "security,1h,2h": "!",
	} {
		r, err := ParseReview(text)
		got := fmt.Sprint(r.Group, " ", r.Minutes)
		if err != nil {
			got = "!"
		}
		if got != want {
			t.Errorf("%q: %s, want %s (%v)", text, got, want, err)
		}
	}
}

func TestBreakGlassIsMisplaced(t *testing.T) {
	for _, text := range []string{
		`@breakglass("security") permit (principal, action == Action::"read", resource);`,
		`@breakglass("security") permit (principal, action, resource);`,
		`@breakglass("security") forbid (principal, action == Action::"breakglass", resource);`,
		`@breakglass("") permit (principal, action == Action::"breakglass", resource);`,
		`@approval("dba") permit (principal, action == Action::"breakglass", resource);`,
		`@limit("rows=1") permit (principal, action == Action::"breakglass", resource);`,
	} {
		_, err := Compile(Input{Schemas: []Source{{Name: "s", Text: []byte(glassSchema)}}, Policies: []Source{{Name: "p.cedar", Text: []byte(text)}}})
		if err == nil || !strings.Contains(err.Error(), "p.cedar:1:1: @") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestWhoMayBreakGlass(t *testing.T) {
	set := glassSet(t, `
		@id("all") permit (principal, action, resource);
		@id("short") @breakglass("security,5m") permit (principal in Group::"oncall", action == Action::"breakglass", resource);
		@id("long") @breakglass("board,2h") permit (principal in Group::"oncall", action == Action::"breakglass", resource == Connection::"orders");
		@id("never") forbid (principal in Group::"interns", action == Action::"breakglass", resource);`)
	for _, c := range []struct {
		p          Principal
		connection string
		want       string
	}{
		{Principal{Kind: User, ID: "u", Groups: []string{"oncall"}}, "orders", "long"},
		{Principal{Kind: User, ID: "u", Groups: []string{"oncall"}}, "other", "short"},
		{Principal{Kind: User, ID: "u", Groups: []string{"oncall", "interns"}}, "orders", ""},
		{Principal{Kind: User, ID: "u"}, "orders", ""}, // a permit that names no reviewers
		{Principal{Kind: Agent, ID: "a", Groups: []string{"oncall"}}, "orders", ""},
		{Principal{Kind: User, ID: "u", Groups: []string{"oncall"}, OnBehalfOf: &Principal{Kind: User, ID: "v"}}, "orders", ""},
		{Principal{}, "orders", ""},
	} {
		r, ok := set.BreakGlass(c.p, Resource{Entity: Entity{Type: "Connection", ID: c.connection}}, Moment{})
		if ok != (c.want != "") || r.Policy != c.want {
			t.Errorf("%v on %s: %+v %v, want %q", c.p, c.connection, r, ok, c.want)
		}
	}
}

func TestBreaking(t *testing.T) {
	p := Principal{Kind: Agent, ID: "x", Groups: []string{"g"}, OnBehalfOf: &Principal{Kind: User, ID: "x"}}
	q := p.Breaking(User, "x")
	if q.InGroup(BreakGlassGroup) || !q.OnBehalfOf.InGroup(BreakGlassGroup) || p.OnBehalfOf.InGroup(BreakGlassGroup) || len(p.Groups) != 1 {
		t.Errorf("%+v %+v", p, q)
	}
	if q := p.Breaking(User, "y"); q.OnBehalfOf.InGroup(BreakGlassGroup) {
		t.Errorf("%+v", q)
	}
}

// TestBreakingLiftsNoMask: whatever the policies are, who breaks the glass sees a column that it sees anyway no
// better, unless it is permitted to reveal it.
func TestBreakingLiftsNoMask(t *testing.T) {
	masks := []string{"", `@mask("null") `, `@mask("redact") `, `@mask("partial") `, `@mask("email") `, `@mask("token") `}
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		reveals := false
		for i := range rapid.IntRange(1, 6).Draw(t, "policies") {
			group := rapid.SampledFrom([]string{"", ` in Group::"grant:breakglass"`, ` in Group::"staff"`}).Draw(t, "group")
			mask := rapid.SampledFrom(masks).Draw(t, "mask")
			effect := rapid.SampledFrom([]string{"permit", "permit", "forbid"}).Draw(t, "effect")
			action := "read"
			if effect == "permit" && rapid.IntRange(0, 5).Draw(t, "reveal") == 0 {
				action, mask, reveals = "reveal", "", true
			}
			if effect == "forbid" && mask == "" {
				mask = masks[1]
			}
			fmt.Fprintf(&text, "@id(\"p%d\") %s%s (principal%s, action == Action::\"%s\", resource);\n", i, mask, effect, group, action)
		}
		set := glassSet(t, text.String())
		column := Resource{Entity: Entity{Type: "Column", ID: "orders/t.c"}, Parents: []Entity{{Type: "Table", ID: "orders/t"}, {Type: "Connection", ID: "orders"}}}
		if rapid.Bool().Draw(t, "labelled") {
			column.Labels = []string{"pii.email"}
		}
		p := Principal{Kind: User, ID: "u", Groups: []string{"staff"}}
		before, after := set.For(p).Read(column), set.For(p.Breaking(User, "u")).Read(column)
		mayReveal := reveals && len(column.Labels) > 0
		if before.Visible && after.Visible && !mayReveal && (after.Mask > before.Mask || before.All&^after.All != 0) {
			t.Fatalf("%s\nbefore %+v\nafter %+v", text.String(), before, after)
		}
	})
}

func TestBreakingReveals(t *testing.T) {
	set := glassSet(t, `
		@id("read") @mask("null") permit (principal, action == Action::"read", resource);
		@id("wide") permit (principal in Group::"grant:breakglass", action in [Action::"read", Action::"update"], resource);
		@id("reveal") permit (principal in Group::"grant:breakglass", action == Action::"reveal", resource) when { resource is Column && resource.labels.contains("pii.email") };`)
	column := func(label string) Resource {
		return Resource{Entity: Entity{Type: "Column", ID: "orders/t.c"}, Labels: []string{label}, Parents: []Entity{{Type: "Connection", ID: "orders"}}}
	}
	p := Principal{Kind: User, ID: "u"}
	broken := set.For(p.Breaking(User, "u"))
	for _, c := range []struct {
		slice *Slice
		label string
		want  Mask
	}{{set.For(p), "pii.email", MaskNull}, {broken, "pii.email", MaskNone}, {broken, "pii.phone", MaskNull}, {broken, "secret", MaskNull}} {
		if e := c.slice.Read(column(c.label)); e.Mask != c.want || !e.Visible {
			t.Errorf("%s: %+v, want %s", c.label, e, c.want)
		}
	}
	if set.For(p).Permits(Touch{Action: "update", Resource: column("secret")}) || !broken.Permits(Touch{Action: "update", Resource: column("secret")}) {
		t.Error("what a window gives")
	}
	if set.For(p).Key() == broken.Key() {
		t.Error("plans would be shared")
	}
}
