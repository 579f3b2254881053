package test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// TestPolicyExplain: a request that is only described is explained without a gateway, for people and for programs.
func TestPolicyExplain(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"p.cedar": casePolicies})
	explain := func(args ...string) result {
		return offline(t, dir, append([]string{"policy", "explain", "--policies", "p.cedar", "--catalog", "shop.catalog.json"}, args...)...)
	}
	r := explain("--principal", "test:bot", "--group", "ai", "--sql", "select phone, email from customers")
	if r.code != 0 || r.err != "" {
		t.Fatalf("exit %d %s", r.code, r.err)
	}
	contains(t, r.out, "principal   test:bot (agent) in ai", "connection  shop", "decision    refuse (policy_denied)",
		"read column shop/public.customers.phone\n  refuse; labels pii.phone\n",
		`- permit read (p.cedar:2): what it excepts is so: resource == Column::"shop/public.customers.phone" (the column has the labels pii.phone)`,
		"read column shop/public.customers.email\n  permit; masked: email; labels pii.email\n  * permit read (p.cedar:2): it permits this",
		"are about other actions", "what it would need", `permit (principal == Agent::"test:bot", action == Action::"read", resource == Column::"shop/public.customers.phone");`)
	if strings.Index(r.out, "customers.phone\n  refuse") > strings.Index(r.out, "customers.email\n  permit") {
		t.Error("what is refused is not first")
	}
	r = explain("--principal", "test:bot", "--group", "ai,eu", "--on-behalf-of", "test:ada", "--action", "read", "--resource", "orders")
	contains(t, r.out, "on behalf of test:ada (user)", "test:bot (agent) in ai, eu: permit", `@rows("status = 'paid'") @limit("rows=10"): it permits this only with what it asks`,
		"test:ada (user): refuse", `it is about principal in Group::"ai"; this is User::"test:ada" in no group`, `permit (principal == User::"test:ada", action == Action::"read", resource == Table::"shop/public.orders");`)
	r = explain("--principal", "test:bot", "--group", "ai", "--sql", "update customers set tier = 'x' where email = 'y'", "--json")
	var got struct {
		Outcome struct{ Decision, Code string }
		Touches []struct {
			Touch, Effect string
			Parties       []struct {
				Policies []struct {
					Policy, Effect, Why string
					Matches, Decides    bool
				}
			}
		}
		Needed struct{ Permits string }
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || got.Outcome.Decision != "refuse" || len(got.Touches) == 0 || got.Touches[0].Touch != "reveal column shop/public.customers.email" ||
		got.Needed.Permits != `permit (principal == Agent::"test:bot", action == Action::"reveal", resource == Column::"shop/public.customers.email");`+"\n" {
		t.Errorf("%v %+v", err, got)
	}
	r = explain("--principal", "test:bot", "--group", "ai", "--sql", "delete from orders where id = 1")
	contains(t, r.out, "decision    hold, for approval by dba,2", "approval by dba,2")
	r = explain("--principal", "test:bot", "--group", "ai", "--sql", "drop table orders")
	contains(t, r.out, "* forbid no-drop (p.cedar:5): it forbids this", "excepted from no-drop, which forbids it")
	r = explain("--principal", "test:bot", "--group", "ai", "--sql", "select from from")
	contains(t, r.out, "decision    refuse (not_understood)", "syntax error")
	for want, args := range map[string][]string{
		"which request? name a recorded one":          {},
		"say what is asked for: --sql TEXT":           {"--principal", "x"},
		"--resource goes with --action":               {"--principal", "x", "--sql", "select 1", "--resource", "orders"},
		`there is no action "raed": is read meant?`:   {"--principal", "x", "--action", "raed", "--resource", "orders"},
		"connection shop has no table ordres":         {"--principal", "x", "--action", "drop", "--resource", "table ordres"},
		"a user acts for nobody":                      {"--principal", "x", "--kind", "user", "--on-behalf-of", "y", "--sql", "select 1"},
		"--user-group is for the user":                {"--principal", "x", "--user-group", "y", "--sql", "select 1"},
		`there is no connection "orders"`:             {"--principal", "x", "--connection", "orders", "--sql", "select 1"},
		"leave out --principal":                       {"--principal", "x", "s-abc.1"},
		"there is no configuration that says where":   {"s-abc.1"},
		`"s-abc" is not the id of a request, such as`: {"s-abc", "--recordings", dir},
	} {
		if r := explain(args...); r.code != 1 || !strings.Contains(r.err, want) {
			t.Errorf("%v: exit %d, want %q in %s", args, r.code, want, r.err)
		}
	}
}

var refusedRequest = regexp.MustCompile(`request: (s-[a-z0-9]+\.[0-9]+)`)

// TestExplainRecorded: the id in a refusal is enough to be told why, and what the policies of now would say.
func TestExplainRecorded(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	said := g.psql("SELECT id, email FROM customers LIMIT 1; DROP TABLE customers;")
	m := refusedRequest.FindStringSubmatch(said.err)
	if m == nil {
		t.Fatalf("no request's id in %s", said.err)
	}
	g.ok("", []string{"request     " + m[1], "shop-agent (agent)", "in ai-agents", "connection  shop", "decision    refuse: forbidden is drop table shop/public.customers",
		"recorded    refuse, by the policies", "* forbid agents-never-drop (test.cedar:", "excepted from agents-never-drop"}, "policy", "explain", m[1])
	session, _, _ := strings.Cut(m[1], ".")
	g.write("draft.cedar", `@id("draft") permit (principal, action, resource);`)
	g.ok("", []string{"decision    permit", "recorded    refuse", "* permit draft (draft.cedar:1): it permits this"}, "policy", "explain", m[1], "--policies", "draft.cedar")
	said = g.psql("SELECT id, email FROM customers LIMIT 1")
	list := g.ok("", nil, "sessions", "list", "--limit", "1", "-o", "json")
	id := regexp.MustCompile(`s-[a-z0-9]+`).FindString(list)
	g.ok("", []string{"decision    permit", "read column shop/public.customers.email\n  permit; masked: email; labels pii.email"}, "policy", "explain", id+".1")
	// What was not understood has no touches: it is understood again, with the catalog that there is.
	said = g.psql("SELECT nothing FROM customers")
	if m = refusedRequest.FindStringSubmatch(said.err); m == nil {
		t.Fatal(said.err)
	}
	g.ok("ada", []string{"refuse (not_understood)", "nothing"}, "policy", "explain", m[1])
	g.refuses("", []string{"there is no request " + session + ".99 in the recordings"}, "policy", "explain", session+".99")
	g.refuses("", []string{"s-unknown"}, "policy", "explain", "s-unknown.1")
}

// TestCatalogOfGateway: the control API gives a connection's catalog to who may review it, and to nobody else.
func TestCatalogOfGateway(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	for who, want := range map[string]int{"ada": 200, "mallory": 404} {
		status, body := g.request("GET", "/api/v1/connections/shop/catalog", g.person(who, cliClient), "")
		if status != want || (status == 200) != strings.Contains(body, `"public.customers"`) {
			t.Errorf("%s: %d %s", who, status, body)
		}
		noRaw(t, "the catalog", body)
	}
	if status, _ := g.request("GET", "/api/v1/connections/shpo/catalog", g.person("ada", cliClient), ""); status != 404 {
		t.Errorf("an unknown connection: %d", status)
	}
	if status, _ := g.request("GET", "/api/v1/connections/shop/catalog", g.token(), ""); status != 401 {
		t.Errorf("an agent: %d", status)
	}
	// A person far from the gateway has the policies and a profile: the gateway gives the catalog.
	g.write("far/p.cedar", casePolicies)
	g.ok("ada", []string{"masked: email"}, "policy", "explain", "--config", "far/none.yaml", "--policies", "far/p.cedar", "--connection", "shop",
		"--principal", "x", "--group", "ai", "--sql", "select email from customers")
	g.refuses("mallory", []string{"There is no connection \"shop\" whose catalog you may see", "--catalog"}, "policy", "explain", "--config", "far/none.yaml", "--policies", "far/p.cedar", "--connection", "shop",
		"--principal", "x", "--group", "ai", "--sql", "select email from customers")
}
