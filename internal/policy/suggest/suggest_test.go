package suggest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"pgregory.net/rapid"

	"gatehouse/internal/policy"
	"gatehouse/internal/policy/offline"
)

func compile(t rapid.TB, text string) *policy.Set {
	t.Helper()
	schema, err := os.ReadFile("../../connector/postgres/schema.cedarschema")
	if err != nil {
		t.Fatal(err)
	}
	set, err := policy.Compile(policy.Input{
		Schemas:  []policy.Source{{Name: "postgres", Text: schema}},
		Policies: []policy.Source{{Name: "suggested.cedar", Text: []byte(text)}},
		Rows:     func(string) error { return nil },
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return set
}

func joined(list []Policy) string {
	var b strings.Builder
	for _, p := range list {
		b.WriteString(p.Cedar + "\n")
	}
	return b.String()
}

var shop = policy.Resource{Entity: policy.Entity{Type: "Connection", ID: "shop"}, Parents: []policy.Entity{{Type: "Tag", ID: "env:prod"}}}

var columns = map[string][]string{
	"shop/public.a": {"shop/public.a.id", "shop/public.a.email"},
	"shop/public.b": {"shop/public.b.id", "shop/public.b.email", "shop/public.b.phone", "shop/public.b.both"},
	"shop/other.c":  {"shop/other.c.id"},
}

func labels(column string) []string {
	switch column[strings.LastIndex(column, ".")+1:] {
	case "email":
		return []string{"pii.email"}
	case "phone":
		return []string{"pii.phone"}
	case "both":
		return []string{"pii.email", "pii.phone"}
	}
	return nil
}

func touch(t rapid.TB, line string) policy.Touch {
	t.Helper()
	out, err := offline.Touch(line, shop, labels)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// world is everything that can be touched.
func world(t rapid.TB) []policy.Touch {
	lines := []string{"connect connection shop", "set connection shop", "ddl schema shop/public", "call function shop/public.f(integer)", "call function shop/public.g()", "call function shop/other.h()", "listen channel shop/news", "notify channel shop/news"}
	for table, list := range columns {
		for _, a := range []string{"read", "explain", "insert", "update", "delete", "truncate"} {
			lines = append(lines, a+" table "+table)
		}
		for _, c := range list {
			for _, a := range []string{"read", "insert", "update"} {
				lines = append(lines, a+" column "+c)
			}
		}
	}
	slices.Sort(lines)
	out := make([]policy.Touch, len(lines))
	for i, l := range lines {
		out[i] = touch(t, l)
	}
	return out
}

var (
	scopes = []string{"principal", `principal is User`, `principal == Agent::"bot"`, `principal in Group::"staff"`}
	places = []string{"resource", `resource in Schema::"shop/public"`, `resource in Table::"shop/public.b"`, `resource in Table::"shop/public.a"`}
	reads  = []string{"", `@mask("partial")`, `@mask("email")`, `@mask("bucket:3")`, `@mask("bucket:2")`, `@mask("null")`, `@rows("region = 'eu'")`, `@rows("owner = principal.id")`, `@limit("rows=7")`, `@limit("seconds=3")`, `@approval("dba")`, `@approval("sec,2")`, `@rows("x = 1") @limit("rows=9") @mask("token")`}
	others = []string{"", `@approval("dba")`, `@approval("sec,2")`}
)

// base draws a set of policies.
func base(t *rapid.T) string {
	var b strings.Builder
	fmt.Fprintln(&b, `permit(principal, action, resource);`)
	if rapid.Bool().Draw(t, "reveal is forbidden") {
		fmt.Fprintln(&b, `forbid(principal is User, action == Action::"reveal", resource);`)
	}
	for n := range rapid.IntRange(0, 7).Draw(t, "policies") {
		effect := rapid.SampledFrom([]string{"permit", "forbid", "forbid"}).Draw(t, "effect")
		action, how := `action == Action::"read"`, rapid.SampledFrom(reads).Draw(t, "how")
		if rapid.IntRange(0, 3).Draw(t, "about") == 0 {
			action, how = rapid.SampledFrom([]string{`action in Action::"write"`, `action in [Action::"call", Action::"ddl"]`, `action == Action::"reveal"`}).Draw(t, "action"), rapid.SampledFrom(others).Draw(t, "how")
		}
		fmt.Fprintf(&b, "@id(\"p%d\") %s %s(%s, %s, %s);\n", n, how, effect, rapid.SampledFrom(scopes).Draw(t, "who"), action, rapid.SampledFrom(places).Draw(t, "where"))
	}
	return b.String()
}

// terms are what a verdict comes to, without the policies that made it.
func terms(v policy.Verdict) string {
	var filters []string
	for _, clause := range v.Rows {
		byID := map[string][]string{}
		for _, r := range clause {
			byID[r.ID] = union(byID[r.ID], r.Text)
		}
		for id, texts := range byID {
			slices.Sort(texts)
			text := texts[0]
			if len(texts) > 1 {
				text = "(" + strings.Join(texts, ") OR (") + ")"
			}
			filters = union(filters, id+": "+text)
		}
	}
	slices.Sort(filters)
	mask := v.Mask
	if strings.Contains(mask, "bucket:0") || strings.HasPrefix(mask, "null") {
		mask = "nothing"
	}
	for _, more := range []string{"+partial", "+email"} { // nothing is left of a text that they could show
		if strings.HasPrefix(mask, "redact") {
			mask = strings.Replace(mask, more, "", 1)
		}
	}
	return fmt.Sprintf("%v mask %s rows %q limit %v approvals %q", v.Effect, mask, filters, v.Limit, approvals(v))
}

// TestRoundTrip: whatever was used under whatever policies, the suggestion permits exactly that, on the same terms, and
// refuses everything else; and nobody else anything.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		everything := world(t)
		set := compile(t, base(t))
		bot, ada, eve := policy.Principal{Kind: policy.Agent, ID: "bot", Groups: []string{"staff"}}, policy.Principal{Kind: policy.User, ID: `a"da`, Groups: []string{"staff"}}, policy.Principal{Kind: policy.User, ID: "eve"}
		behalf := func(u policy.Principal) policy.Principal { p := bot; p.OnBehalfOf = &u; return p }
		var u Usage
		if rapid.Bool().Draw(t, "the columns are known") {
			u.Columns = columns
		}
		people := rapid.SampledFrom([][]policy.Principal{{bot}, {ada}, {behalf(ada)}, {bot, behalf(ada)}, {behalf(ada), behalf(eve)}, {bot, behalf(ada), behalf(eve)}}).Draw(t, "who")
		used := make([]map[thing]policy.Verdict, len(people))
		for i, p := range people {
			used[i] = map[thing]policy.Verdict{}
			slice := set.For(p)
			for n := range rapid.IntRange(0, 8).Draw(t, "requests") {
				var judged []policy.Judged
				var touches []policy.Touch
				for _, at := range rapid.SliceOfN(rapid.IntRange(0, len(everything)-1), 1, 12).Draw(t, "touches") {
					touches = append(touches, everything[at])
					judged = append(judged, policy.Judged{Touch: everything[at], Verdict: slice.Verdict(everything[at])})
				}
				if slice.Decide(touches).Effect == policy.Refuse {
					continue
				}
				for _, j := range judged {
					used[i][thing{j.Action, j.Resource.Entity}] = j.Verdict
				}
				if err := u.Add(p, judged, Evidence{Requests: 1, First: "1", Last: "2", Examples: []string{fmt.Sprintf("s-%d.%d", i, n)}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		text := joined(u.Suggest("bot"))
		again := compile(t, text)
		for i, p := range people {
			slice := again.For(p)
			for _, touch := range everything {
				got := slice.Verdict(touch)
				want, was := used[i][thing{touch.Action, touch.Resource.Entity}]
				switch {
				case was && terms(got) != terms(want) && !maskedMore(used, people, i, touch, got):
					t.Fatalf("%s: %s\n got %s\nwant %s\n%s", p, touch, terms(got), terms(want), text)
				case !was && got.Effect != policy.Refuse && !forOthers(used, people, i, touch):
					t.Fatalf("%s: %s was not used and is permitted\n%s", p, touch, text)
				}
			}
		}
		for _, stranger := range []policy.Principal{{Kind: policy.Agent, ID: "other", Groups: []string{"staff"}}, {Kind: policy.User, ID: "bot"}, {Kind: policy.Agent, ID: `a"da`}} {
			for _, touch := range everything {
				if v := again.For(stranger).Verdict(touch); v.Effect != policy.Refuse {
					t.Fatalf("%s: %s is permitted\n%s", stranger, touch, text)
				}
			}
		}
	})
}

// maskedMore says whether a verdict differs from what was used only in that it has more masks, and an agent used the thing under
// others for somebody else: an agent has one way, the one that shows most, whomever it acts for, and Cedar cannot tell for whom.
// Its mask and that of its user can be ones that show different parts.
func maskedMore(used []map[thing]policy.Verdict, people []policy.Principal, i int, touch policy.Touch, got policy.Verdict) bool {
	at := thing{touch.Action, touch.Resource.Entity}
	want := used[i][at]
	if people[i].OnBehalfOf == nil {
		return false
	}
	more, _ := policy.MasksOf(got.Mask)
	least, _ := policy.MasksOf(want.Mask)
	if slices.ContainsFunc(least, func(m string) bool { return !slices.Contains(more, m) }) {
		return false
	}
	got.Mask = want.Mask
	return terms(got) == terms(want) && slices.ContainsFunc(used, func(u map[thing]policy.Verdict) bool {
		other, was := u[at]
		return was && other.Mask != want.Mask
	})
}

// forOthers says whether an agent used a thing for somebody: by itself it is then permitted it too, since Cedar cannot
// tell whom an agent acts for.
func forOthers(used []map[thing]policy.Verdict, people []policy.Principal, i int, touch policy.Touch) bool {
	if people[i].OnBehalfOf != nil {
		return false
	}
	for k := range people {
		if _, was := used[k][thing{touch.Action, touch.Resource.Entity}]; was && people[k].ID == people[i].ID {
			return true
		}
	}
	return false
}

// TestNamesDoNotEscape: names that try to be policies stay names.
func TestNamesDoNotEscape(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
			`x" };permit(principal,action,resource);//`, "x\n};permit(principal,action,resource);\n//", "a\\", `\"`, "\u202e\u2028\r\n@id(\"x\")", "*/permit(principal,action,resource);/*", `\u{22}`, "é", "",
		})).Draw(t, "name")
		table := policy.Entity{Type: "Table", ID: "shop/public." + name}
		parents := []policy.Entity{{Type: "Schema", ID: "shop/" + name}, {Type: "Connection", ID: name}}
		p := policy.Principal{Kind: policy.Agent, ID: "bot" + name, Name: name}
		var judged []policy.Judged
		column := func(c string) policy.Touch {
			return policy.Touch{Action: "read", Resource: policy.Resource{Entity: policy.Entity{Type: "Column", ID: table.ID + "." + c}, Parents: append([]policy.Entity{table}, parents...)}}
		}
		touches := []policy.Touch{{Action: "read", Resource: policy.Resource{Entity: table, Parents: parents}}, column(name), column("b"), {Action: "call", Resource: policy.Resource{Entity: policy.Entity{Type: "Function", ID: name}}}}
		for _, x := range touches {
			v := policy.Verdict{Effect: policy.Hold, Mask: "none", Approvals: []policy.Approval{{Group: "dba", Quorum: 1}}}
			if x.Action == "read" {
				v.Rows = policy.Rows{{{Text: name + "r", ID: p.ID}}}
			}
			judged = append(judged, policy.Judged{Touch: x, Verdict: v})
		}
		var u Usage
		if err := u.Add(p, judged, Evidence{Requests: 1, First: name, Last: name, Examples: []string{name}}); err != nil {
			t.Fatal(err)
		}
		list := u.Suggest(name)
		text := joined(list)
		parsed, err := cedar.NewPolicyListFromBytes("x", []byte(text))
		if err != nil || len(parsed) != len(list) {
			t.Fatalf("%d policies are read as %d: %v\n%s", len(list), len(parsed), err, text)
		}
		for i, one := range parsed {
			if string(one.Annotations()["id"]) != list[i].ID {
				t.Fatalf("%v is not %s\n%s", one.Annotations(), list[i].ID, text)
			}
		}
		set := compile(t, text)
		slice := set.For(p)
		for _, x := range touches {
			if v := slice.Verdict(x); v.Effect != policy.Hold || x.Action == "read" && len(v.Rows) != 1 {
				t.Fatalf("%s: %+v\n%s", x, v, text)
			}
		}
		for _, x := range []policy.Touch{column("another column"), column(name + "x"), {Action: "read", Resource: policy.Resource{Entity: policy.Entity{Type: "Table", ID: "x"}}}, {Action: "connect", Resource: shop}} {
			if v := slice.Verdict(x); v.Effect != policy.Refuse {
				t.Fatalf("%s is permitted\n%s", x, text)
			}
		}
		if q := types.String(name); name == strings.ToValidUTF8(name, "\ufffd") {
			if one, err := cedar.NewPolicyListFromBytes("x", []byte("@a("+quote(name)+") permit(principal,action,resource);")); err != nil || one[0].Annotations()["a"] != q {
				t.Fatalf("%q is quoted as %s: %v", name, quote(name), err)
			}
		}
	})
}

func TestRefusesWhatIsNoType(t *testing.T) {
	var u Usage
	bad := policy.Judged{Touch: policy.Touch{Action: "read", Resource: policy.Resource{Entity: policy.Entity{Type: `T::"x");permit(principal,action,resource);//`, ID: "x"}}}}
	if u.Add(policy.Principal{Kind: policy.Agent, ID: "bot"}, []policy.Judged{bad}, Evidence{}) == nil || len(u.Suggest("x")) != 0 {
		t.Error("a type that is none")
	}
	if u.Add(policy.Principal{Kind: "robot", ID: "bot"}, nil, Evidence{}) == nil || u.Add(policy.Principal{Kind: policy.Agent}, nil, Evidence{}) == nil {
		t.Error("a principal that is none")
	}
}

// TestGolden: what suggestions look like.
func TestGolden(t *testing.T) {
	u := Usage{Columns: columns}
	set := compile(t, `permit(principal, action, resource);
@approval("dba") forbid(principal, action in Action::"write", resource);
@rows("region = 'eu'") forbid(principal, action == Action::"read", resource in Table::"shop/other.c");
@mask("partial") forbid(principal, action == Action::"read", resource == Column::"shop/public.b.phone");`)
	bot := policy.Principal{Kind: policy.Agent, ID: "entra:1@2", Name: "deploy-bot", OnBehalfOf: &policy.Principal{Kind: policy.User, ID: "entra:ada", Name: "ada"}}
	alone := bot
	alone.OnBehalfOf = nil
	for i, request := range []struct {
		who   policy.Principal
		lines []string
	}{
		{alone, []string{"connect connection shop"}},
		{alone, []string{"read table shop/public.a", "read column shop/public.a.id", "read column shop/public.a.email"}},
		{alone, []string{"read table shop/public.b", "read column shop/public.b.id", "read column shop/public.b.phone", "call function shop/public.f(integer)", "call function shop/public.g()"}},
		{alone, []string{"update table shop/public.a", "update column shop/public.a.id", "read table shop/public.a", "insert table shop/public.a", "insert column shop/public.a.id"}},
		{bot, []string{"read table shop/other.c", "read column shop/other.c.id"}},
	} {
		var judged []policy.Judged
		for _, l := range request.lines {
			judged = append(judged, policy.Judged{Touch: touch(t, l), Verdict: set.For(request.who).Verdict(touch(t, l))})
		}
		if err := u.Add(request.who, judged, Evidence{Requests: 10 * (i + 1), First: "2026-01-01", Last: fmt.Sprintf("2026-01-%02d", i+1), Examples: []string{fmt.Sprintf("s-%d.1", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	got := joined(u.Suggest("deploy-bot"))
	file := filepath.Join("testdata", "golden.cedar")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || got != string(want) {
		t.Errorf("%v\n%s", err, got)
	}
}
