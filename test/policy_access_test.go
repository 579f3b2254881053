package test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// TestWhoCan: who may do something is said for every group and principal that is known, with the policy.
func TestWhoCan(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"p.cedar": casePolicies + `@id("ada") permit (principal == User::"test:ada", action == Action::"reveal", resource);
		@id("ada-reads") permit (principal == User::"test:ada", action == Action::"read", resource);`})
	who := func(args ...string) result {
		return offline(t, dir, append([]string{"policy", "who-can", "--policies", "p.cedar", "--catalog", "shop.catalog.json"}, args...)...)
	}
	r := who("read", "shop/public.customers.email")
	if r.code != 0 || r.err != "" {
		t.Fatalf("exit %d %s", r.code, r.err)
	}
	for _, want := range []string{
		`read column shop/public.customers.email`, `labels pii.email`, `any agent +no +- +no policy permits it`, `agents in ai +masked +email +read\n`,
		`users in ai +masked +email +read\n`, `agents in eu +no `, `test:ada \(user\) +yes +- +ada-reads\n`,
	} {
		if !regexp.MustCompile(want).MatchString(r.out) {
			t.Errorf("%s is not in\n%s", want, r.out)
		}
	}
	r = who("delete", "shop/orders", "-o", "json")
	var got struct {
		Touch   string
		Answers []struct {
			Who, Can, Known, Effect string
			Approvals, Policies     []string
		}
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || got.Touch != "delete table shop/public.orders" || len(got.Answers) != 7 {
		t.Fatalf("%v %+v", err, got)
	}
	for _, a := range got.Answers {
		if in := strings.HasSuffix(a.Who, "in ai"); in != (a.Can == "hold") || in && (a.Approvals[0] != "dba,2" || a.Policies[0] != "write") {
			t.Errorf("%+v", a)
		}
	}
	for want, args := range map[string][]string{
		"write CONNECTION/customers.email":         {"read", "customers.email"},
		"is public.customers.email meant?":         {"read", "shop/customers.emial"},
		`there is no action "raed": is read meant`: {"raed", "shop/customers.email"},
		`there is no connection "shpo": is shop`:   {"read", "shpo/customers.email"},
		"read needs an object":                     {"read", "shop"},
	} {
		if r := who(args...); r.code != 1 || !strings.Contains(r.err, want) {
			t.Errorf("%v: exit %d, want %q in %s", args, r.code, want, r.err)
		}
	}
}

// TestWhatCan: everything that a principal may do is a matrix, and what the matrix cannot say stands below it.
func TestWhatCan(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"p.cedar": casePolicies})
	what := func(args ...string) result {
		return offline(t, dir, append([]string{"policy", "what-can", "--policies", "p.cedar", "--catalog", "shop.catalog.json"}, args...)...)
	}
	r := what("x", "--group", "ai", "--group", "eu")
	if r.code != 0 || r.err != "" {
		t.Fatalf("exit %d %s", r.code, r.err)
	}
	for _, want := range []string{
		`x \(agent\) in ai, eu`, `connection shop: connect no set no`, `TABLE +READ +INSERT +UPDATE +DELETE +TRUNCATE +DDL +DROP`,
		`public.customers +part\+masked +hold +hold +hold +no +no +no`, `public.orders +rows +hold`, `public.products +yes +hold`,
		`masked: email \(email\), national_id \(partial\), birth_date \(null\), profile \(null\)\n`, `cannot be read: phone\n`, `read: where status = 'paid'; rows=10\n`, `delete, insert, update: approval by dba,2\n`,
	} {
		if !regexp.MustCompile(want).MatchString(r.out) {
			t.Errorf("%s is not in\n%s", want, r.out)
		}
	}
	r = what("x", "--group", "ai", "--json")
	var got struct {
		Principal   struct{ Groups []string }
		Connections []struct {
			Connection string
			Tables     []struct {
				Name, Read string
				Columns    []struct {
					Name    string
					Actions map[string]struct{ Effect, Mask string }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || len(got.Connections) != 1 || len(got.Connections[0].Tables) != 4 || len(got.Principal.Groups) != 1 {
		t.Fatalf("%v %+v", err, got)
	}
	if c := got.Connections[0].Tables[0].Columns[2]; c.Name != "email" || c.Actions["read"].Mask != "email" || c.Actions["reveal"].Effect != "refuse" {
		t.Errorf("%+v", c)
	}
	if r := what("x", "--connection", "shpo"); r.code != 1 || !strings.Contains(r.err, "is shop meant?") {
		t.Errorf("exit %d %s", r.code, r.err)
	}
}

// TestWhatCanOfGateway: with a gateway nothing needs to be named: the catalog is its own, and a principal that was
// recorded has the groups that it had.
func TestWhatCanOfGateway(t *testing.T) {
	t.Parallel()
	g := start(t, options{upstream: shopAlone(t, "what_can")})
	g.psql("SELECT 1")
	g.ok("ada", []string{"shop-agent (agent)", "in ai-agents", "connection shop: connect yes set no", "public.customers  masked", "masked: email (email)"}, "policy", "what-can", agentID)
	g.ok("", []string{"connection shop: connect no", "public.customers  no"}, "policy", "what-can", agentID, "--no-recordings")
	out := g.ok("ada", []string{"agents in ai-agents", "users in dba"}, "policy", "who-can", "read", "shop/public.customers.email")
	for _, want := range []string{`agents in ai-agents +masked +email +read`, `any agent +no +may not connect +no policy permits it`, `shop-agent \(agent\) \[.*\] in ai-agents +masked +email +read`} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("%s is not in\n%s", want, out)
		}
	}
	g.ok("ada", []string{"connect connection shop"}, "policy", "who-can", "connect", "shop")
}
