package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"gatehouse/internal/policy"
)

// written is a random policy.
type written struct {
	text   string
	forbid bool
}

// errs is a condition that cannot be evaluated.
const errs = "when { 9223372036854775807 + 1 > 0 }"

// random draws a policy that is valid and can be evaluated.
func random(t *rapid.T, id string) written {
	one := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
	w := written{forbid: rapid.Bool().Draw(t, "forbid")}
	action := one("action", "", `== Action::"read"`, `== Action::"read"`, `in Action::"readonly"`, `in [Action::"read", Action::"reveal"]`, `== Action::"reveal"`, `in Action::"write"`, `in [Action::"update", Action::"delete"]`)
	rows := slices.Contains([]string{`== Action::"read"`, `in Action::"write"`, `in [Action::"update", Action::"delete"]`}, action)
	var b strings.Builder
	fmt.Fprintf(&b, "@id(%q) ", id)
	if rapid.IntRange(0, 3).Draw(t, "approval") == 0 {
		fmt.Fprintf(&b, "@approval(%q) ", one("group", "dba", "dba,2", "board"))
	}
	if action == `== Action::"read"` && rapid.IntRange(0, 2).Draw(t, "mask") == 0 {
		fmt.Fprintf(&b, "@mask(%q) ", one("mask", "null", "redact", "bucket:10", "bucket:7", "year", "token", "partial", "email"))
	}
	if rows && rapid.IntRange(0, 2).Draw(t, "rows") == 0 {
		fmt.Fprintf(&b, "@rows(%q) ", one("filter", "r6", "r7", "r8", "r9"))
	}
	if action != "" && !strings.Contains(action, "reveal") && rapid.IntRange(0, 3).Draw(t, "limit") == 0 {
		fmt.Fprintf(&b, "@limit(%q) ", one("bound", "rows=5", "rows=50", "seconds=3", "rows=50,seconds=3"))
	}
	places := []string{"", "", `in Connection::"orders"`, `in Schema::"orders/public"`, `in Table::"orders/public.t"`, `in Tag::"env:prod"`, `in Connection::"other"`}
	if action != `== Action::"reveal"` {
		places = append(places, `== Table::"orders/public.t"`)
	}
	b.WriteString(map[bool]string{true: "forbid", false: "permit"}[w.forbid])
	fmt.Fprintf(&b, "(principal %s, action %s, resource %s)",
		one("principal", "", "", `in Group::"a"`, `in Group::"b"`, `== Agent::"test:x"`, "is User"), action,
		one("resource", places...))
	switch rapid.IntRange(0, 5).Draw(t, "condition") {
	case 0:
		b.WriteString(` when { resource is Column && resource.labels.contains("pii.email") }`)
	case 1:
		b.WriteString(` unless { resource is Column && resource.labels.containsAny(["secret", "pii"]) }`)
	case 2:
		b.WriteString(` when { context.source.isInRange(ip("10.0.0.0/8")) }`)
	case 3:
		b.WriteString(` when { context.time.toTime() < duration("18h") }`)
	}
	b.WriteString(";")
	w.text = b.String()
	return w
}

// asked are touches that random policies speak of.
var asked = []policy.Touch{
	touch("read table orders/public.t"), touch("read column orders/public.t.a"), touch("read column orders/public.t.email [pii.email]"),
	touch("read column orders/public.t.s [pii,secret]"), touch("read column orders/other.u.a"), touch("reveal column orders/public.t.email [pii.email]"),
	touch("update table orders/public.t"), touch("delete table orders/public.t"), touch("insert column orders/public.t.a"), touch("explain table orders/public.t"),
}

// moments are those at which random policies are asked.
var moments = []policy.Moment{
	{Millis: 1767258000000, Source: "10.1.2.3"},            // 09:00
	{Millis: 1767301200000, Source: "192.0.2.1"},           // 21:00
	{Millis: 1767258000000, Source: "::ffff:10.1.2.3"},     // an IPv4 address in IPv6's clothes
	{Millis: 1767258000000, Source: "fe80::1%eth0"},        // with a zone
	{Millis: 1767301200000, Source: "2001:db8::1"},         // IPv6
	{Millis: 1767258000000 + 12*3600_000, Source: "::1"},   // 21:00 again
	{Millis: 1767258000000 + 999, Source: "10.255.255.25"}, // within the same second as the first
}

func source(t interface{ Fatal(...any) }, sources ...policy.Source) *policy.Set {
	set, err := policy.Compile(policy.Input{Schemas: []policy.Source{sqlSchema(t)}, Policies: sources, Rows: rows})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestLawsOfRandomPolicies holds the engine to what DESIGN promises of any policies: adding a forbid never permits or shows
// more; adding a permit never refuses or holds more; one that cannot be evaluated permits nothing; neither the order of
// files nor what was asked before decides anything; observing lets no mask, no connect and no reveal through.
func TestLawsOfRandomPolicies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var texts []string
		for i := range rapid.IntRange(0, 6).Draw(t, "policies") {
			texts = append(texts, random(t, fmt.Sprintf("p%d", i)).text)
		}
		more := random(t, "more")
		who := principal(rapid.SampledFrom([]string{"agent x", "agent x in a", "user u in a,dba", "agent x for user u in a", "agent y in a,b for user u in b"}).Draw(t, "who"))
		at := rapid.SampledFrom(moments).Draw(t, "moment")
		var files, shuffled []policy.Source
		for i, text := range texts {
			files = append(files, policy.Source{Name: fmt.Sprintf("f%d.cedar", i), Text: []byte(text)})
		}
		shuffled = rapid.Permutation(files).Draw(t, "order")
		added := append(slices.Clone(files), policy.Source{Name: "more.cedar", Text: []byte(more.text)})
		erring := append(slices.Clone(files), policy.Source{Name: "err.cedar", Text: []byte(`@id("err") ` + rapid.SampledFrom([]string{"permit", "forbid"}).Draw(t, "erring") + "(principal, action, resource) " + errs + ";")})
		before, after := source(t, files...).At(who, at), source(t, added...).At(who, at)
		for _, one := range asked { // what was asked before is remembered
			before.Decide([]policy.Touch{one})
		}
		one := rapid.SampledFrom(asked).Draw(t, "touch")
		was, is := before.Verdict(one), after.Verdict(one)
		if fresh := source(t, shuffled...).At(who, at).Verdict(one); fmt.Sprint(fresh) != fmt.Sprint(was) {
			t.Fatalf("the order of files, or what was asked before, decides: %+v and %+v", was, fresh)
		}
		if v := source(t, erring...).At(who, at).Verdict(one); v.Effect != policy.Refuse || len(v.Errors) == 0 {
			t.Fatalf("a policy that cannot be evaluated: %+v", v)
		}
		several := rapid.SliceOfN(rapid.SampledFrom(asked), 1, 4).Draw(t, "request")
		least := policy.Permit
		for _, one := range several {
			least = min(least, before.Verdict(one).Effect)
		}
		if d := before.Decide(several); d.Effect != least {
			t.Fatalf("a request is %v, its touches are at least %v", d.Effect, least)
		}
		observed := before.Observing()
		watched := observed.Verdict(one)
		switch {
		case one.Action == "reveal":
			if watched.Effect != was.Effect {
				t.Fatalf("observing let reveal through: %+v", watched)
			}
		case watched.Effect != policy.Permit:
			t.Fatalf("observing refuses: %+v", watched)
		case was.Effect != policy.Refuse && (policy.Reveals(watched.Mask, was.Mask) > 0 || fmt.Sprint(watched.Rows) != fmt.Sprint(was.Rows) || watched.Limit != was.Limit):
			t.Fatalf("observing shows more: %+v than %+v", watched, was)
		case was.Effect == policy.Refuse && one.Action == "read" && len(one.Resource.Labels) > 0 && watched.Mask == "none":
			t.Fatalf("observing shows a labelled column as it is: %+v", watched)
		}
		// What is refused is shown at most as it would be were everything permitted: the forbids that ask for something count.
		var opened []policy.Source
		for _, f := range files {
			if text := string(f.Text); strings.Contains(text, "forbid") && strings.Count(text, "@") > 1 {
				opened = append(opened, f)
			}
		}
		opened = append(opened, policy.Source{Name: "open.cedar", Text: []byte(`@id("open") permit(principal, action, resource) unless { action == Action::"reveal" };`)})
		if open := source(t, opened...).At(who, at).Verdict(one); one.Action != "reveal" && len(one.Resource.Labels) == 0 && open.Effect != policy.Refuse {
			if policy.Reveals(watched.Mask, open.Mask) > 0 || !passes(open.Rows, watched.Rows) || watched.Limit.And(open.Limit) != watched.Limit {
				t.Fatalf("observing shows %+v, and more than %+v, which a permit of everything would", watched, open)
			}
		}
		if d := observed.Decide([]policy.Touch{one}); one.Action != "reveal" && was.Effect != policy.Permit && d.Would != was.Effect.String() || was.Effect == policy.Permit && d.Would != "" {
			t.Fatalf("observing says that it would be %q, and it is %v", d.Would, was.Effect)
		}
		if !more.forbid {
			if is.Effect < was.Effect {
				t.Fatalf("adding %s turned %v into %v", more.text, was.Effect, is.Effect)
			}
			return
		}
		switch {
		case is.Effect > was.Effect:
			t.Fatalf("adding %s turned %v into %v", more.text, was.Effect, is.Effect)
		case is.Effect == policy.Refuse:
		case policy.Reveals(is.Mask, was.Mask) > 0:
			t.Fatalf("adding %s turned the mask %s into %s", more.text, was.Mask, is.Mask)
		case !passes(was.Rows, is.Rows):
			t.Fatalf("adding %s turned the rows %v into %v", more.text, was.Rows, is.Rows)
		case is.Limit.And(was.Limit) != is.Limit:
			t.Fatalf("adding %s turned the limit %v into %v", more.text, was.Limit, is.Limit)
		case is.Effect == policy.Hold && was.Effect == policy.Hold && !all(was.Approvals, is.Approvals):
			t.Fatalf("adding %s turned the approvals %v into %v", more.text, was.Approvals, is.Approvals)
		}
	})
}

// TestSlicingChangesNothing: that only policies are evaluated whose scope names a party, a group of it or nobody, and the action,
// changes no decision, whatever the conditions are: one that cannot be evaluated among them.
func TestSlicingChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b strings.Builder
		for i := range rapid.IntRange(0, 8).Draw(t, "policies") {
			text := random(t, fmt.Sprintf("p%d", i)).text
			switch rapid.IntRange(0, 7).Draw(t, "more") {
			case 0:
				text = strings.TrimSuffix(text, ";") + " " + errs + ";"
			case 1:
				text = strings.TrimSuffix(text, ";") + ` when { principal in Group::"b" };`
			case 2:
				text = strings.Replace(text, "(principal ,", `(principal is Agent in Group::"a",`, 1)
			case 3:
				text = strings.Replace(text, "(principal ,", `(principal in User::"test:u",`, 1)
			}
			b.WriteString(text + "\n")
		}
		set := source(t, policy.Source{Name: "x.cedar", Text: []byte(b.String())})
		who := principal(rapid.SampledFrom([]string{"agent x", "agent x in a", "user u in a,dba", "agent x for user u in a", "agent y in a,b for user u in b", "user x in grant:breakglass,b", "agent u", "agent x in a for agent x in b for user u"}).Draw(t, "who"))
		at := rapid.SampledFrom(moments).Draw(t, "moment")
		for _, one := range asked {
			if sliced, whole := set.At(who, at).Verdict(one), set.Whole().At(who, at).Verdict(one); fmt.Sprintf("%+v", sliced) != fmt.Sprintf("%+v", whole) {
				t.Fatalf("%s: %+v, and with every policy evaluated %+v\n%s", one, sliced, whole, b.String())
			}
		}
	})
}

// all says whether every approval of one list is in another, whoever asks for it.
func all(of, in []policy.Approval) bool {
	return !slices.ContainsFunc(of, func(a policy.Approval) bool {
		return !slices.ContainsFunc(in, func(b policy.Approval) bool { return a.Group == b.Group && a.Quorum <= b.Quorum })
	})
}

// TestMoment: policies read the time and the source; what is not known refuses; what nobody reads makes no other slice.
func TestMoment(t *testing.T) {
	set := compile(t, `
@id("office") permit(principal, action == Action::"read", resource) when { context.source.isInRange(ip("10.0.0.0/8")) && context.time.toTime() >= duration("8h") && context.time.toTime() < duration("18h") };`)
	who := principal("agent x")
	read := []policy.Touch{touch("read table orders/public.t")}
	for i, want := range []policy.Effect{policy.Permit, policy.Refuse, policy.Permit, policy.Refuse, policy.Refuse, policy.Refuse, policy.Permit} {
		if d := set.At(who, moments[i]).Decide(read); d.Effect != want || len(d.Errors) > 0 {
			t.Errorf("%+v: %+v, want %v", moments[i], d, want)
		}
	}
	for _, m := range []policy.Moment{{}, {Millis: moments[0].Millis}, {Source: "10.0.0.1"}, {Millis: moments[0].Millis, Source: "nowhere"}} {
		if d := set.At(who, m).Decide(read); d.Effect != policy.Refuse || len(d.Errors) == 0 {
			t.Errorf("%+v: %+v", m, d)
		}
	}
	if !set.Momentary() || set.At(who, moments[0]) != set.At(who, policy.Moment{Millis: moments[0].Millis + 500, Source: moments[0].Source}) || set.At(who, moments[0]).Key() == set.At(who, moments[1]).Key() {
		t.Error("slices do not follow the moment")
	}
	plain := compile(t, pool[0])
	if plain.Momentary() || plain.At(who, moments[0]) != plain.For(who) || plain.At(who, moments[0]) != plain.At(who, moments[1]) {
		t.Error("what nobody reads makes slices of its own")
	}
	sourceOnly := compile(t, `permit(principal, action == Action::"read", resource) when { context.source.isLoopback() };`)
	if sourceOnly.At(who, moments[0]) != sourceOnly.At(who, policy.Moment{Millis: 1, Source: "10.1.2.3"}) {
		t.Error("a policy that reads the source depends on the time")
	}
	if _, err := policy.Compile(policy.Input{Schemas: []policy.Source{sqlSchema(t)}, Policies: []policy.Source{{Name: "x", Text: []byte(`permit(principal, action == Action::"read", resource) when { context.weather == "fine" };`)}}}); err == nil {
		t.Error("a context that is not there is taken")
	}
}

// TestReads: what of the moment a policy reads, however it is written; what is not plain counts as both.
func TestReads(t *testing.T) {
	who := principal("agent x")
	for condition, want := range map[string]string{
		`when { true }`: "", `unless { principal in Group::"context" }`: "",
		`when { context.time > datetime("2026-01-01") }`: "time", `unless { context["time"] > datetime("2026-01-01") }`: "time",
		`when { true || [context.source].contains(ip("::1")) }`: "source", `when { {a: {b: context.source}}.a.b.isLoopback() }`: "source",
		`when { if context.source.isLoopback() then context.time > datetime("2026-01-01") else true }`: "time source",
		`when { true } when { !(context.source.isLoopback()) }`:                                        "source",
		`when { context has time }`: "time source", `when { {".": {left: context, attr: 1}} has a || true }`: "time source",
		`when { context == context }`: "time source",
	} {
		set := compile(t, `permit(principal, action == Action::"read", resource) `+condition+`;`)
		var got []string
		if set.At(who, policy.Moment{Millis: 1000}) != set.At(who, policy.Moment{Millis: 2000}) {
			got = append(got, "time")
		}
		if set.At(who, policy.Moment{Source: "10.0.0.1"}) != set.At(who, policy.Moment{Source: "10.0.0.2"}) {
			got = append(got, "source")
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s reads %q, want %q", condition, got, want)
		}
	}
}

// TestObservingMasks: what is refused, and only observed, keeps the masks, filters and limits of all that matches: of forbids,
// of the permits of either party, and of a forbid that cannot be evaluated.
func TestObservingMasks(t *testing.T) {
	const narrow = `@mask("null") @limit("rows=7") forbid(principal, action == Action::"read", resource is Column in Table::"orders/public.t");
@rows("r1") forbid(principal, action == Action::"read", resource in Table::"orders/public.t");
`
	const permits = `@mask("partial") @limit("rows=9") permit(principal is Agent, action == Action::"read", resource is Column);
@rows("r2") permit(principal is Agent, action == Action::"read", resource is Table);`
	for name, c := range map[string]struct{ text, who, column, table string }{
		"nothing permits it":         {narrow, "agent x", "null [r1] rows=7", "none [r1] "},
		"only the agent may":         {permits, "agent x for user u", "partial [] rows=9", "none [r2] "},
		"only the agent may, and so": {narrow + permits, "agent x for user u", "null+partial [r1] rows=7", "none [r1 r2] "},
		"a forbid that refuses":      {permits + "\n" + `forbid(principal, action == Action::"read", resource);`, "agent x", "partial [] rows=9", "none [r2] "},
		"a forbid that cannot be evaluated": {`@mask("null") @limit("rows=7") forbid(principal, action == Action::"read", resource is Column) ` + errs + `;
@rows("r1") forbid(principal, action == Action::"read", resource) ` + errs + `;`, "agent x", "null [r1] rows=7", "none [r1] "},
		"nothing is said": {`permit(principal, action == Action::"connect", resource);`, "agent x", "none [] ", "none [] "},
	} {
		slice := compile(t, c.text).For(principal(c.who)).Observing()
		for line, want := range map[string]string{"read column orders/public.t.a": c.column, "read table orders/public.t": c.table} {
			v := slice.Verdict(touch(line))
			var filters []string
			for _, clause := range v.Rows {
				for _, r := range clause {
					filters = append(filters, r.Text)
				}
			}
			slices.Sort(filters)
			filters = slices.Compact(filters)
			mask := v.Mask
			if mask == "" {
				mask = "none"
			}
			if got := fmt.Sprintf("%s %v %s", mask, filters, v.Limit); v.Effect != policy.Permit || got != want {
				t.Errorf("%s: %s: %v %q, want %q", name, line, v.Effect, got, want)
			}
		}
	}
}

// TestObserving: nobody, connect and reveal are not let through.
func TestObserving(t *testing.T) {
	set := compile(t, `@id("held") @approval("dba") permit(principal, action == Action::"update", resource); @id("no") forbid(principal, action == Action::"delete", resource);`)
	slice := set.For(principal("agent x")).Observing()
	for line, want := range map[string]string{
		"read table orders/public.t": "permit refuse", "update table orders/public.t": "permit hold", "delete table orders/public.t": "permit refuse",
		"reveal column orders/public.t.email [pii.email]": "refuse ", "connect connection orders": "refuse ",
	} {
		d := slice.Decide([]policy.Touch{touch(line)})
		if got := d.Effect.String() + " " + d.Would; got != want || len(d.Approvals) > 0 && d.Would != "hold" {
			t.Errorf("%s: %q, want %q (%+v)", line, got, want, d)
		}
	}
	if e := slice.Read(touch("read column orders/public.t.email [pii.email]").Resource); !e.Visible || e.Mask != policy.MaskEmail {
		t.Errorf("%+v", e)
	}
	for _, nobody := range []policy.Principal{{}, {ID: "x"}, {Kind: policy.Agent, ID: "x", OnBehalfOf: &policy.Principal{}}} {
		if d := set.For(nobody).Observing().Decide([]policy.Touch{touch("read table orders/public.t")}); d.Effect != policy.Refuse {
			t.Errorf("%+v: %+v", nobody, d)
		}
	}
	var none *policy.Slice
	if none.Observing().Decide(asked).Effect != policy.Refuse || slice.Key() == set.For(principal("agent x")).Key() || slice.Observing() == nil {
		t.Error("observing is not a slice of its own")
	}
}
