package test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/demo/shop"
)

// suggested is what policy suggest says in JSON, as far as tests look.
type suggested struct {
	Used, Refused, Stopped, Alike int
	Otherwise                     map[string]int
	Policies                      []struct{ ID, Cedar, Why string }
	Unneeded                      []struct{ ID string }
	OnlyHeld                      []struct {
		Touch     string
		Approvals []string
	} `json:"only_held"`
	Notes []string
}

func (g *gateway) suggest(args ...string) suggested {
	g.t.Helper()
	var s suggested
	if err := json.Unmarshal([]byte(g.ok("", nil, append([]string{"policy", "suggest", "--principal", agentID, "-o", "json"}, args...)...)), &s); err != nil {
		g.t.Fatal(err)
	}
	return s
}

// TestSuggest lets psql work, takes the suggestion for it as the gateway's only policies, and lets it work again: what
// was used works as before, masks and holds too, and nothing else does.
func TestSuggest(t *testing.T) {
	t.Parallel()
	odd := `x" };permit(principal,action,resource);//`
	quoted := `"` + strings.ReplaceAll(odd, `"`, `""`) + `"`
	admin(t, `DROP TABLE IF EXISTS public.`+quoted+`; CREATE TABLE public.`+quoted+` (id int, "née
é" text); INSERT INTO public.`+quoted+` VALUES (1, 'a'); GRANT SELECT ON public.`+quoted+` TO `+shop.Role)
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), server.AdminURL("shop"))
		if err == nil {
			_, err = conn.Exec(context.Background(), `DROP TABLE public.`+quoted)
			err = errors.Join(err, conn.Close(context.Background()))
		}
		if err != nil {
			t.Error(err)
		}
	})
	g := start(t, options{})
	const used = `SELECT id, email FROM customers WHERE id = 3;
SELECT id, name, price FROM products WHERE id = 3;
SELECT count(*) FROM orders;
`
	script := used + `SELECT "née
é" FROM ` + quoted + `;
`
	before := g.psql(script)
	g.psql(`DROP TABLE payments;
SELECT nonsense FROM customers;
`)
	conn := g.asking()
	h := conn.holdSQL("UPDATE orders SET status = status WHERE id = 1")
	g.ok("ada", nil, "approvals", "approve", h.id, "--reason", "fine")
	if err := h.wait(); err != nil {
		t.Fatal(err)
	}
	denied := conn.holdSQL("DELETE FROM orders WHERE id = 1")
	g.ok("ada", nil, "approvals", "deny", denied.id, "--reason", "no")
	if denied.wait() == nil {
		t.Fatal("it was denied")
	}

	s := g.suggest()
	if s.Alike != s.Used || s.Used < 6 || s.Refused < 2 || s.Stopped != 1 || len(s.Otherwise) != 0 || len(s.Notes) != 0 {
		t.Errorf("%+v", s)
	}
	var unneeded, held []string
	for _, u := range s.Unneeded {
		unneeded = append(unneeded, u.ID)
	}
	for _, o := range s.OnlyHeld {
		held = append(held, o.Touch+" "+strings.Join(o.Approvals, "+"))
	}
	if got := strings.Join(unneeded, " "); !strings.Contains(got, "ddl-with-approval") || strings.Contains(got, "read") || strings.Contains(got, "dba-approves") || strings.Contains(got, "drop-with") {
		t.Errorf("unneeded: %s", got)
	}
	if got := strings.Join(held, "\n"); !strings.Contains(got, "update table shop/public.orders dba") || strings.Contains(got, "delete") {
		t.Errorf("only held: %s", got)
	}

	text := g.ok("", []string{
		"read table shop/public.products: all of its columns were used", `resource in Table::"shop/public.products"`, `Column::"shop/public.customers.email"`,
		"come out as they were", "such as s-", "ddl-with-approval (test.cedar:", "// Used only with an approval:", `@approval("dba")`,
	}, "policy", "suggest", "--principal", agentID)
	noRaw(t, "a suggestion", text)
	if strings.Contains(text, `resource in Table::"shop/public.customers"`) || strings.Contains(text, "payments") || strings.Contains(text, "= 3") {
		t.Errorf("it permits more than was used, or has a literal:\n%s", text)
	}
	g.write("policies/test.cedar", text)
	g.ok("", []string{"valid: policies"}, "policy", "check", g.path("policies/test.cedar"))
	if s := g.simulate("--policies", g.path("policies"), "--principal", agentID); s.Totals["newly refused"] != 1 || s.Totals["newly permitted"] != 0 || s.Totals["newly held"] != 0 || s.Totals["unmasked"] != 0 || s.Changed != 1 {
		t.Errorf("of what was recorded only the denied DELETE may be refused: %+v", s)
	}
	if err := g.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	g.logs("the policies were read again")
	if after := g.psql(script); after.out != before.out || after.code != before.code {
		t.Errorf("under the suggestion:\n%s%s\nbefore:\n%s%s", after.out, after.err, before.out, before.err)
	}
	for _, sql := range []string{"SELECT name FROM customers", "SELECT * FROM payments", "SELECT total FROM orders", "INSERT INTO orders (id) VALUES (1)", "DELETE FROM orders", "DROP TABLE products", "SELECT id FROM public." + quoted} {
		if r := g.psql(sql + ";\n"); !strings.Contains(r.err, "ERROR:  42501") {
			t.Errorf("%s under the suggestion: %s%s", sql, r.out, r.err)
		}
	}
	again := g.asking()
	h = again.holdSQL("UPDATE orders SET status = status WHERE id = 1")
	again.leave(h)
	g.ok("", nil, "policy", "suggest", "--principal", agentID, "--offline")
	if offline := g.suggest("--offline"); strings.Contains(offline.Policies[len(offline.Policies)-1].Cedar, "new ones are permitted") {
		t.Error("without the catalog a table was permitted")
	}

	g.refuses("", []string{`nothing is recorded of a principal "nobody"; these are:`, "shop-agent (agent)"}, "policy", "suggest", "--principal", "nobody")
	g.refuses("", []string{"look further back with --since"}, "policy", "suggest", "--principal", agentID, "--until", "2020-01-01", "--since", "2019-01-01")
	g.refuses("", []string{"--since is not before --until"}, "policy", "suggest", "--principal", agentID, "--until", "2019-01-01", "--since", "2020-01-01")
}
