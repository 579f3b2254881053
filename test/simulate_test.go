package test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// simulated is what policy simulate says in JSON, as far as tests look.
type simulated struct {
	Requests, Unchanged, Changed int
	Totals                       map[string]int
	Undecided                    []struct {
		Reason   string
		Requests int
	}
	Changes []struct {
		Kind, From, To string
		Principal      struct{ ID string }
		Policies       []string
		Requests       int
		Touches        []struct {
			Touch, Was, Is string
			Requests       int
		}
		Examples []struct{ Session, Text string }
	}
}

func (g *gateway) simulate(args ...string) simulated {
	g.t.Helper()
	var s simulated
	if err := json.Unmarshal([]byte(g.ok("", nil, append([]string{"policy", "simulate", "-o", "json"}, args...)...)), &s); err != nil {
		g.t.Fatal(err)
	}
	return s
}

// TestSimulate decides what psql did again, by the policies in force and by a draft, while the gateway runs.
func TestSimulate(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	g.psql(`SELECT id, email FROM customers WHERE id = 3;
SELECT count(*) FROM orders;
SELECT count(*) FROM orders;
SELECT name FROM products WHERE name = 'Oak lamp 1';
DROP TABLE payments;
SELECT nonsense FROM nowhere;
BEGIN;
COMMIT;
`)
	g.write("same/p.cedar", readFile(t, g.path("policies/test.cedar")))
	if s := g.simulate("--policies", g.path("same")); s.Changed != 0 || s.Requests < 8 || s.Unchanged < 7 || len(s.Undecided) != 1 || s.Undecided[0].Requests != 1 || !strings.Contains(s.Undecided[0].Reason, "not_understood") {
		t.Errorf("the policies in force: %+v", s)
	}
	g.write("draft/p.cedar", `
@id("read") permit (principal, action == Action::"read", resource);
@id("no-products") forbid (principal, action == Action::"read", resource in Table::"shop/public.products");
@id("look-first") @approval("dba") forbid (principal is Agent, action == Action::"read", resource in Table::"shop/public.orders");
@id("sees-mail") permit (principal in Group::"ai-agents", action == Action::"reveal", resource) when { resource.labels.contains("pii.email") };
@id("drops") permit (principal, action == Action::"drop", resource);
`)
	s := g.simulate("--policies", g.path("draft"), "--since", "1h", "--connection", "shop", "--principal", agentID)
	want := map[string]string{
		"newly refused":   "read table shop/public.products by no-products: 1 SELECT products.name FROM",
		"newly held":      "read table shop/public.orders by look-first,read: 2 SELECT pg_catalog.count(*)",
		"unmasked":        "read column shop/public.customers.email by read,sees-mail: 1 SELECT",
		"newly permitted": "drop table shop/public.payments by drops: 1 DROP TABLE",
	}
	for _, c := range s.Changes {
		w, known := want[c.Kind]
		touch, rest, _ := strings.Cut(w, " by ")
		policies, rest, _ := strings.Cut(rest, ": ")
		var touches []string
		for _, t := range c.Touches {
			touches = append(touches, t.Touch)
		}
		if !known || !strings.Contains(strings.Join(touches, "\n"), touch) || strings.Join(c.Policies, ",") != policies || c.Requests != s.Totals[c.Kind] || len(c.Examples) != min(3, c.Requests) ||
			!strings.HasPrefix(strings.Join([]string{itoa(c.Requests), c.Examples[0].Text}, " "), rest) {
			t.Errorf("%+v\nwant %s", c, w)
		}
		delete(want, c.Kind)
	}
	if len(want) > 0 || s.Changed != 5 {
		t.Errorf("missing %v in %+v", want, s)
	}
	out := g.ok("", []string{"NEWLY REFUSED: 1 request by shop-agent (agent) on shop (permit, now refuse)", "draft     no-products", "recorded  read", "e.g. s-", "2 newly held", "1 unmasked", "not decided again: they were refused (not_understood)", "email, now none"},
		"policy", "simulate", "--policies", g.path("draft/p.cedar"))
	noRaw(t, "a simulation", out)
	g.refuses("", []string{"changes 1 request (newly refused), and --fail-on refused"}, "policy", "simulate", "--policies", g.path("draft"), "--fail-on", "refused")
	g.ok("", nil, "policy", "simulate", "--policies", g.path("same"), "--fail-on", "any")

	for when, refused := range map[string]int{
		`context.time < datetime("2100-01-01")`: 1, `context.time > datetime("2100-01-01")`: 0, `context.source.isLoopback()`: 1, `!context.source.isLoopback()`: 0,
	} {
		g.write("timed/p.cedar", readFile(t, g.path("policies/test.cedar"))+`
@id("timed") forbid (principal, action == Action::"read", resource in Table::"shop/public.products") when { `+when+` };
`)
		if s := g.simulate("--policies", g.path("timed")); s.Totals["newly refused"] != refused || s.Changed != refused || refused > 0 && !strings.HasPrefix(s.Changes[0].Examples[0].Text, "SELECT products.name") {
			t.Errorf("when %s: %+v", when, s)
		}
	}

	g.write("bad/p.cedar", "permit (principal, action == Action::\"raed\", resource);")
	g.refuses("", []string{"the draft: the policies are not valid", "p.cedar:1:30"}, "policy", "simulate", "--policies", g.path("bad"))
	g.write("empty/p.txt", "")
	g.refuses("", []string{"there is no policy in the folder"}, "policy", "simulate", "--policies", g.path("empty"))
	g.refuses("", []string{"no such file"}, "policy", "simulate", "--policies", g.path("none"))
	g.refuses("", []string{"cannot be read"}, "policy", "simulate", "--policies", g.path("same"), "--recordings", g.path("none"))
	if r := g.cli("", "policy", "simulate", "--policies", g.path("same"), "--since", "lately"); r.code != 2 || !strings.Contains(r.err, `"lately" is not a time`) {
		t.Errorf("%+v", r)
	}
}

// TestObserved: where policies are only observed, simulations go by what they say, and suggestions by what was used.
func TestObserved(t *testing.T) {
	t.Parallel()
	g := start(t, options{
		policies: `@id("products") permit (principal, action == Action::"read", resource in Table::"shop/public.products");
@id("never") forbid (principal, action == Action::"read", resource in Table::"shop/public.payments");`,
		change: func(c string) string {
			return strings.Replace(c, "    groups: [ai-agents, dba]\n", "    groups: [ai-agents, dba]\n    observe: true\n", 1)
		},
	})
	r := g.psql(`SELECT id, email FROM customers WHERE id = 3;
SELECT count(*) FROM payments;
SELECT name FROM products WHERE id = 3;
`)
	if r.err != "" || !strings.Contains(r.out, "@***") {
		t.Fatalf("%+v", r)
	}
	if s := g.simulate("--policies", g.path("policies")); s.Changed != 0 || s.Requests != 4 {
		t.Errorf("the same policies: %+v", s)
	}
	g.write("draft/p.cedar", `@id("all") permit (principal, action == Action::"read", resource);`)
	if s := g.simulate("--policies", g.path("draft")); s.Changed != 2 || s.Totals["newly permitted"] != 2 {
		t.Errorf("a draft that permits: %+v", s)
	}
	s := g.suggest()
	text := ""
	for _, p := range s.Policies {
		text += p.Cedar
	}
	contains(t, text, `Column::"shop/public.customers.email"`, `Column::"shop/public.products.name"`)
	if strings.Contains(text, "payments") || strings.Contains(text, "reveal") || s.Alike != s.Used || s.Used != 3 {
		t.Errorf("%+v\n%s", s, text)
	}
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func itoa(n int) string { return strconv.Itoa(n) }

// TestRecordedHTTP: what was asked of an HTTP API is decided again, suggested and explained as what was asked of a database is.
func TestRecordedHTTP(t *testing.T) {
	t.Parallel()
	api := startCRM(t)
	g := startHTTP(t, api.URL)
	g.curl("/http/crm/customers/7").has(t, "HTTP/2 200", "a***@***.invalid")
	g.curl("/http/crm/customers?page=2").has(t, "HTTP/2 200")
	denied := g.curl("/http/crm/customers?email=x")
	denied.has(t, "HTTP/2 403", `"request_id":"s-`)
	g.curl("/http/crm/other").has(t, "HTTP/2 404")
	if s := g.simulate("--policies", g.path("policies")); s.Changed != 0 || s.Requests < 5 || s.Unchanged < 4 {
		t.Errorf("the policies in force: %+v", s)
	}
	g.write("draft/p.cedar", crmPolicies+`
@id("one-customer") forbid (principal, action == Action::"GET", resource == Endpoint::"crm/customers/{id}");
@id("no-mail") @mask("null") forbid (principal, action == Action::"read", resource is Field) when { resource.labels.contains("pii.email") };
`)
	s := g.simulate("--policies", g.path("draft"))
	if s.Totals["newly refused"] != 1 || s.Totals["other mask"] != 1 || s.Changed != 2 || !strings.Contains(fmt.Sprint(s.Changes), "GET endpoint crm/customers/{id}") {
		t.Errorf("a draft: %+v", s)
	}

	text := g.ok("", []string{`Endpoint::"crm/customers"`, `Field::"crm/customers#$..email"`, `Action::"GET"`, "come out as they were"}, "policy", "suggest", "--principal", agentID)
	noEmail(t, "a suggestion", text)
	if strings.Contains(text, `Action::"reveal"`) || strings.Contains(text, `Action::"POST"`) {
		t.Errorf("it suggests what was not used:\n%s", text)
	}
	g.write("least/p.cedar", text)
	if s := g.simulate("--policies", g.path("least")); s.Changed != 0 {
		t.Errorf("the suggestion: %+v", s)
	}

	id := regexp.MustCompile(`"request_id":"(s-[a-z0-9]+\.\d+)"`).FindStringSubmatch(denied.out)
	if id == nil {
		t.Fatal(denied.out)
	}
	g.ok("", []string{"reveal field crm/customers#$..email", "what it would need", `action == Action::"reveal"`}, "policy", "explain", id[1])
	g.ok("", []string{"agents in ai-agents", "yes"}, "policy", "who-can", "GET", "crm/customers/{id}")
	g.ok("", []string{"labels pii.email", "agents in ai-agents", "masked"}, "policy", "who-can", "read", "crm/customers#$..email", "--label", "pii.email")
	g.refuses("", []string{"--label LABEL, or --label none"}, "policy", "who-can", "read", "crm/customers#$..email")
}
