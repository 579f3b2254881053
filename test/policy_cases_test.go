package test

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"gatehouse/internal/connector/postgres"
	"gatehouse/internal/gate"
)

var updateCatalog = flag.Bool("catalog", false, "write deploy/policies/shop.catalog.json anew")

// shopCatalog is the catalog of the demo's shop that is kept beside the policies.
const shopCatalog = "../deploy/policies/shop.catalog.json"

// things are what a snapshot says of a connection.
func things(t *testing.T, text []byte) []string {
	t.Helper()
	m, err := postgres.New().(gate.Modeller).Model(text)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range m.Things() {
		out = append(out, strings.TrimSpace(r.ID+" "+strings.Join(r.Labels, ",")))
	}
	return out
}

// TestShopCatalog: the catalog that is kept in a file is that of the shop.
func TestShopCatalog(t *testing.T) {
	t.Parallel()
	g := start(t, options{upstream: shopAlone(t, "kept"), change: replacing("[env:test]", "[env:demo]")})
	g.ok("", []string{"shop.catalog.json: 4 tables, 5 columns with labels"}, "connections", "snapshot", "shop", "--file", "shop.catalog.json")
	if *updateCatalog {
		if err := os.WriteFile(shopCatalog, []byte(g.text("shop.catalog.json")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(shopCatalog)
	if err != nil {
		t.Fatal(err)
	}
	fresh := []byte(g.text("shop.catalog.json"))
	if a, b := things(t, kept), things(t, fresh); !reflect.DeepEqual(a, b) {
		t.Errorf("run this test with -args -catalog: kept is\n%s\nthe shop has\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
	if out := g.ok("", nil, "connections", "snapshot", "shop"); out != string(fresh) {
		t.Error("a second snapshot differs")
	}
	noRaw(t, "the snapshot", string(fresh))
	with := g.ok("", nil, "connections", "snapshot", "shop", "--system")
	if strings.Contains(string(fresh), "pg_class") || !strings.Contains(with, "pg_catalog.pg_class") {
		t.Error("--system makes no difference, or is the default")
	}
	g.refuses("", []string{`there is no connection "shpo"`, "is shop meant?"}, "connections", "snapshot", "shpo")
}

// offline runs gatehouse in a folder, with nothing that it could connect to.
func offline(t *testing.T, dir string, args ...string) result {
	t.Helper()
	cmd := exec.Command(gatehouse, args...)
	var out, errs strings.Builder
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	cmd.Env = append(os.Environ(), "GATEHOUSE_HOME="+t.TempDir())
	cmd.Run()
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// folder makes a folder with files, and the shop's catalog in it.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile(shopCatalog)
	if err != nil {
		t.Fatal(err)
	}
	files["shop.catalog.json"] = string(text)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestStarterCases: the cases beside the starter policies pass, and there are some of every kind.
func TestStarterCases(t *testing.T) {
	t.Parallel()
	r := offline(t, "../deploy/policies", "policy", "test", "-v", "starter_test.yaml")
	if r.code != 0 || r.err != "" {
		t.Fatalf("exit %d\n%s%s", r.code, r.out, r.err)
	}
	contains(t, r.out, "(permit)", "(hold)", "(refuse)", "ok    starter_test.yaml")
}

const casePolicies = `
@id("read") permit (principal in Group::"ai", action == Action::"read", resource) unless { resource == Column::"shop/public.customers.phone" };
@id("write") @approval("dba,2") permit (principal in Group::"ai", action in Action::"write", resource);
@id("eu") @rows("status = 'paid'") @limit("rows=10") forbid (principal in Group::"eu", action == Action::"read", resource in Table::"shop/public.orders");
@id("no-drop") forbid (principal, action == Action::"drop", resource);
`

const caseHead = `principals:
  bot: {id: "test:bot", groups: [ai]}
  eu: {id: "test:eu", groups: [ai, eu]}
  for-ada: {id: "test:bot", groups: [ai], on_behalf_of: {id: "test:ada"}}
cases:
`

// TestPolicyTest: what is as expected passes; what is not fails, with its place and what came in its stead.
func TestPolicyTest(t *testing.T) {
	t.Parallel()
	good := caseHead + `
  - {name: masked, principal: bot, sql: "select email, name from customers", want: {decision: permit, mask: {customers.email: email, public.customers.name: none}, policies: [read]}}
  - {name: a date shows nothing, principal: bot, sql: "select birth_date from customers", want: {mask: {customers.birth_date: "null"}}}
  - {name: no mask, principal: bot, sql: "select id from customers where name = 'x'", want: {mask: {}}}
  - {name: held, principal: bot, connection: shop, sql: "update orders set status = 'x' where id = 1", want: {approvals: ["dba,2"]}}
  - {name: rows, principal: eu, sql: "select id from orders", want: {rows: {orders: "status = 'paid'"}, limit: rows=10}}
  - {name: no rows, principal: bot, sql: "select id from orders", want: {rows: {}, limit: none}}
  - {name: missing, principal: for-ada, sql: "select id from orders", want: {missing: [read orders, read orders.id]}}
  - {name: a hidden column, principal: bot, sql: "select phone from customers", want: {missing: [read customers.phone]}}
  - {name: star leaves it out, principal: bot, sql: "select * from customers", want: {decision: permit}}
  - {name: forbidden, principal: bot, touches: [drop table customers, {action: read, resource: customers.email}], want: {forbidden: [drop public.customers]}}
  - {name: a touch, principal: bot, action: read, resource: public.customers.email, want: {mask: {customers.email: email}}}
  - {name: unknown, principal: bot, sql: "select nope from customers", want: {decision: refuse, code: not_understood}}
  - {principal: {kind: user, id: x}, action: connect, want: refuse}
`
	dir := folder(t, map[string]string{"p.cedar": casePolicies, "good_test.yaml": good})
	if r := offline(t, dir, "policy", "test"); r.code != 0 || !strings.HasPrefix(r.out, "ok    good_test.yaml  13 cases") {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
	}
	bad := caseHead + `
  - name: wrong mask
    principal: bot
    sql: select email, national_id from customers
    want:
      decision: permit
      mask: {customers.email: partial}
  - name: wrong decision
    principal: bot
    sql: drop table customers
    want: permit
  - {name: fine, principal: bot, sql: "select id from orders", want: permit}
`
	dir = folder(t, map[string]string{"p.cedar": casePolicies, "bad_test.yaml": bad})
	r := offline(t, dir, "policy", "test", "-v")
	if r.code != 1 {
		t.Errorf("exit %d", r.code)
	}
	contains(t, r.out, "--- FAIL: wrong mask",
		"bad_test.yaml:12: mask: got public.customers.email email, want partial", "bad_test.yaml:12: mask: got public.customers.national_id partial, want no mask on it",
		"--- FAIL: wrong decision", "bad_test.yaml:16: decision: got refuse (forbidden by no-drop: drop table shop/public.customers), want permit",
		"--- ok: fine (permit)", "FAIL  bad_test.yaml  2 of 3 cases failed")
	contains(t, r.err, "gatehouse: 2 of 3 cases failed")
	if r := offline(t, dir, "policy", "test", "--run", "^fine$"); r.code != 0 || !strings.Contains(r.out, "1 case ") {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
	}
	r = offline(t, dir, "policy", "test", "--json")
	var got struct {
		Files []struct {
			File  string
			Cases []struct {
				Name        string
				OK          bool
				Differences []struct {
					Field, Got, Want string
					Line             int
				}
				Outcome struct{ Decision string }
			}
		}
		Cases, Failed int
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != 1 || got.Cases != 3 || got.Failed != 2 || got.Files[0].Cases[0].Differences[0].Line != 12 || got.Files[0].Cases[2].Outcome.Decision != "permit" {
		t.Errorf("%v, exit %d: %+v", err, r.code, got)
	}
	other := filepath.Join(dir, "other.cedar")
	if err := os.WriteFile(other, []byte(`@id("all") permit (principal, action, resource);`), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := offline(t, dir, "policy", "test", "--policies", "other.cedar", "--run", "wrong decision"); r.code != 0 {
		t.Errorf("a draft: exit %d\n%s%s", r.code, r.out, r.err)
	}
}

// TestPolicyTestRefuses: what is wrong with a file of cases is said with its place.
// TestPolicyTestAPI: cases about an HTTP API, whose fields have the labels that the file gives them.
func TestPolicyTestAPI(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"p.cedar": `@id("see") permit (principal in Group::"ai-agents", action in Action::"readonly", resource in Connection::"crm");
@id("emails") @mask("email") permit (principal, action == Action::"read", resource is Field) when { resource.labels.contains("pii.email") };
@id("writes") @approval("dba") permit (principal in Group::"ai-agents", action == Action::"POST", resource == Endpoint::"crm/customers");`,
		"p_test.yaml": `connections:
  crm: {groups: [ai-agents], labels: {"/customers/{id}#$.email": [pii.email]}}
principals:
  bot: {id: bot, groups: [ai-agents]}
cases:
  - {name: see, principal: bot, connection: crm, touches: ["GET /customers/{id}", "read /customers/{id}#$.email"], want: {decision: permit, mask: {"/customers/{id}#$.email": email}}}
  - {name: in full, principal: bot, connection: crm, action: reveal, resource: "/customers/{id}#$.email", want: {missing: ["reveal /customers/{id}#$.email"]}}
  - {name: held, principal: bot, connection: crm, action: POST, resource: endpoint crm/customers, want: {approvals: [dba]}}
  - {name: not there, principal: bot, connection: crm, action: DELETE, resource: "/customers/{id}", want: refuse}
`})
	if r := offline(t, dir, "policy", "test", "-v"); r.code != 0 {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
	}
}

func TestPolicyTestRefuses(t *testing.T) {
	t.Parallel()
	one := func(text string) string { return caseHead + "  - {" + text + "}\n" }
	for name, c := range map[string]struct{ text, want string }{
		"an unknown key":        {one("principal: bot, sql: select 1, wnt: permit"), `bad_test.yaml:6:37: unknown key "cases[0].wnt": did you mean "cases[0].want"?`},
		"an unknown key inside": {one("principal: bot, sql: select 1, want: {decison: permit}"), `unknown key "decison": did you mean "decision"?`},
		"a key twice":           {one("principal: bot, sql: select 1, sql: select 2, want: permit"), `is given twice`},
		"no cases":              {"cases: []\n", "bad_test.yaml:1:8: it has 0 cases"},
		"nothing":               {"", "bad_test.yaml: it is empty"},
		"two documents":         {one("principal: bot, sql: select 1, want: permit") + "---\ncases: []\n", "more than one YAML document"},
		"an anchor":             {one("principal: bot, sql: &x select 1, want: permit"), "anchors and aliases"},
		"no YAML":               {"cases: [", "bad_test.yaml: yaml: line 1"},
		"no principal":          {one("sql: select 1, want: permit"), "bad_test.yaml:6:5: the case has no principal"},
		"an unknown principal":  {one("principal: bott, sql: select 1, want: permit"), `bad_test.yaml:6:17: there is no principal "bott": is bot meant?`},
		"a principal's kind":    {one("principal: {kind: robot, id: x}, sql: select 1, want: permit"), `kind is "robot" and should be agent or user`},
		"a principal's id":      {one("principal: {kind: user}, sql: select 1, want: permit"), "the principal has no id"},
		"a user for a user":     {one("principal: {kind: user, id: x, on_behalf_of: {id: y}}, sql: select 1, want: permit"), "a user acts for nobody"},
		"no connection":         {one("principal: bot, connection: shpo, sql: select 1, want: permit"), `there is no connection "shpo": is shop meant?`},
		"nothing asked":         {one("principal: bot, want: permit"), "a case asks for one thing"},
		"two things asked":      {one("principal: bot, sql: select 1, action: connect, want: permit"), "a case asks for one thing"},
		"no want":               {one("principal: bot, sql: select 1"), "does not say what it wants"},
		"no decision":           {one("principal: bot, sql: select 1, want: maybe"), `a decision is permit, hold or refuse, not "maybe"`},
		"an action":             {one("principal: bot, action: raed, resource: customers, want: permit"), `there is no action "raed": is read meant?`},
		"an object":             {one("principal: bot, action: read, resource: customers.emial, want: permit"), "connection shop has no column customers.emial: is public.customers.email meant?"},
		"a mask's column":       {one("principal: bot, sql: select 1, want: {mask: {customers.emial: email}}"), "is public.customers.email meant?"},
		"a mask":                {one("principal: bot, sql: select 1, want: {mask: {customers.email: blur}}"), `unknown mask "blur"`},
		"a limit":               {one("principal: bot, sql: select 1, want: {limit: 5}"), `write "rows=1000"`},
		"a case twice":          {one("name: a, principal: bot, sql: select 1, want: permit") + "  - {name: a, principal: bot, sql: select 2, want: permit}\n", "is there twice, first in line 6"},
		"no policy file":        {"policies: [none.cedar]\n" + one("principal: bot, sql: select 1, want: permit"), "bad_test.yaml:1:11: there is no file none.cedar"},
		"no catalog":            {"catalogs: [none.json]\n" + one("principal: bot, sql: select 1, want: permit"), "there is no file none.json"},
		"a bad catalog":         {"catalogs: [bad_test.yaml]\n" + one("principal: bot, sql: select 1, want: permit"), "bad_test.yaml: line 1, column"},
		"bad policies":          {"policies: [broken.cedar]\n" + one("principal: bot, sql: select 1, want: permit"), "broken.cedar:1:"},
		"text without catalog":  {"catalogs: []\nconnections: {orders: {}}\n" + one("principal: bot, sql: select 1, want: permit"), "there is no catalog of the connection orders"},
		"tags twice":            {"connections: {shop: {tags: [a]}}\n" + one("principal: bot, sql: select 1, want: permit"), "the catalog of shop says which tags"},
	} {
		dir := folder(t, map[string]string{"p.cedar": casePolicies, "broken.cedar.txt": "", "bad_test.yaml": c.text})
		if strings.Contains(c.text, "broken.cedar") {
			if err := os.WriteFile(filepath.Join(dir, "broken.cedar"), []byte("permit (princpal, action, resource);"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r := offline(t, dir, "policy", "test")
		if r.code != 1 || !strings.Contains(r.out+r.err, c.want) || strings.Contains(r.out+r.err, "panic") {
			t.Errorf("%s: exit %d, want %q in\n%s%s", name, r.code, c.want, r.out, r.err)
		}
	}
	if r := offline(t, t.TempDir(), "policy", "test"); r.code != 1 || !strings.Contains(r.err, "there is no file of cases (*_test.yaml) in .") {
		t.Errorf("exit %d %s", r.code, r.err)
	}
	if r := offline(t, "../deploy/policies", "policy", "test", "--run", "("); r.code != 1 || !strings.Contains(r.err, "--run: error parsing regexp") {
		t.Errorf("exit %d %s", r.code, r.err)
	}
}
