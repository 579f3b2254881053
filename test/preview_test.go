package test

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/gate"
)

// TestPreview: an approver sees what a held statement would do: what the planner expects, how many rows match, and some
// of them as the policies show them to the approver. Nothing is changed, and whoever looked is recorded.
func TestPreview(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: previewPolicies})
	a := g.asking()
	effect := func(h *held) gate.StatementEffect {
		t.Helper()
		var e gate.Effect
		if err := json.Unmarshal([]byte(g.ok("ada", nil, "approvals", "preview", h.id, "-o", "json")), &e); err != nil || len(e.Statements) != 1 {
			t.Fatalf("%v %+v", err, e)
		}
		return e.Statements[0]
	}
	drop := func(h *held) {
		t.Helper()
		g.ok("ada", nil, "approvals", "deny", h.id)
		h.wait()
	}
	// The rows are chosen by what they hold, and shown to the approver under their own masks.
	email := truth[string](t, "SELECT email FROM customers WHERE id = 1")
	h := a.holdSQL("UPDATE customers SET tier = $2 WHERE id <= $1", 7, "Nowhere")
	e := effect(h)
	if e.Rows == nil || *e.Rows != 7 || e.Planned == nil || e.Planned.Rows < 1 || !strings.Contains(e.Planned.Steps, "customers") {
		t.Errorf("%+v", e)
	}
	if e.Sample == nil || len(e.Sample.Rows) != 5 || len(e.Notes) != 0 {
		t.Fatalf("%+v", e)
	}
	column := -1
	for i, name := range e.Sample.Columns {
		if name == "email" {
			column = i
		}
	}
	if column < 0 {
		t.Fatalf("the columns are %q", e.Sample.Columns)
	}
	for _, row := range e.Sample.Rows {
		if row[column] == nil || !strings.Contains(*row[column], "***") {
			t.Errorf("an address is shown as %v", row[column])
		}
	}
	text := g.ok("ada", []string{"rows that match now: 7", "the planner expects", "***"}, "approvals", "preview", h.id)
	noRaw(t, "the preview", text)
	if strings.Contains(text, email) {
		t.Errorf("it shows %s", email)
	}
	// Who may not approve sees nothing.
	g.refuses("mallory", []string{"There is no approval"}, "approvals", "preview", h.id)
	if n := truth[int](t, "SELECT count(*)::int FROM customers WHERE tier = 'Nowhere'"); n != 0 {
		t.Errorf("%d rows were changed", n)
	}
	if out := g.ok("", nil, "sessions", "list", "--principal", "ada"); !strings.Contains(out, "ada") {
		t.Errorf("the look is not recorded: %s", out)
	}
	drop(h)
	g.refuses("ada", []string{"waits for nobody"}, "approvals", "preview", h.id)
	// A condition on a masked column is the agent's, not the approver's.
	h = a.holdSQL("DELETE FROM customers WHERE id = 3 AND email IS NOT NULL")
	if e := effect(h); e.Rows == nil || *e.Rows != 1 || len(e.Sample.Rows) != 1 {
		t.Errorf("%+v", e)
	}
	drop(h)
	// In simple texts, with several tables.
	simple := g.asking(func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol })
	h = simple.holdSQL("DELETE FROM orders o USING customers c WHERE c.id = o.customer_id AND c.id IN (1, 2)")
	if e, n := effect(h), truth[int64](t, "SELECT count(*) FROM orders WHERE customer_id IN (1, 2)"); e.Rows == nil || *e.Rows != n {
		t.Errorf("%+v, want %d rows", e, n)
	}
	drop(h)
	// What a look could run is not looked at; a trigger does not run by a look.
	name := table(t, "id int PRIMARY KEY, n int")
	admin(t, "INSERT INTO "+name+" VALUES (1, 1)")
	admin(t, "CREATE FUNCTION public.f_"+name+"(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1'; GRANT EXECUTE ON FUNCTION public.f_"+name+"(int) TO gatehouse")
	admin(t, "ALTER TABLE "+name+" ADD COLUMN m int DEFAULT public.f_"+name+"(1)")
	h = a.holdSQL("INSERT INTO " + name + " (id) VALUES (7)")
	if e := effect(h); e.Rows != nil || e.Planned != nil || len(e.Notes) != 1 || !strings.Contains(e.Notes[0], "function of the database's own") {
		t.Errorf("%+v", e)
	}
	drop(h)
	name = table(t, "id int PRIMARY KEY, n int")
	admin(t, "INSERT INTO "+name+" VALUES (1, 1)")
	admin(t, "CREATE FUNCTION public.g_"+name+"() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER t BEFORE UPDATE ON public."+name+" FOR EACH ROW EXECUTE FUNCTION public.g_"+name+"()")
	exec1(t, a.Conn, "SELECT count(*) FROM "+name)
	h = a.holdSQL("UPDATE " + name + " SET n = 2")
	if e := effect(h); e.Rows == nil || *e.Rows != 1 {
		t.Errorf("%+v", e)
	}
	drop(h)
	// What others cannot see is said to be so.
	exec1(t, a.Conn, "BEGIN")
	h = a.holdSQL("INSERT INTO " + name + " VALUES (2, 2)")
	if e := effect(h); e.Planned == nil || e.Planned.Rows != 1 || e.Rows != nil || len(e.Notes) != 1 || !strings.Contains(e.Notes[0], "in a transaction") {
		t.Errorf("%+v", e)
	}
	drop(h)
	exec1(t, a.Conn, "ROLLBACK")
	// A slow count ends.
	h = a.holdSQL("DELETE FROM " + name + " WHERE n = (SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b)")
	if e := effect(h); e.Rows != nil || len(e.Notes) == 0 || !strings.Contains(strings.Join(e.Notes, " "), "longer than 2s") {
		t.Errorf("%+v", e)
	}
	drop(h)
	// Who may read nothing sees how many, and is told why not which. Who would need an approval does not wait for one.
	for what, policy := range map[string]string{
		"permit":            `@id("more") forbid (principal is User, action == Action::"read", resource);`,
		"needs an approval": `@id("more") @approval("dba") forbid (principal is User, action == Action::"read", resource);`,
	} {
		g.write("policies/more.cedar", policy)
		g.cmd.Process.Signal(syscall.SIGHUP)
		h = a.holdSQL("UPDATE customers SET tier = 'Nowhere' WHERE id <= 7")
		eventually(t, "the policies are in force", func() bool {
			text := g.ok("grace", []string{"rows that match now: 7"}, "approvals", "preview", h.id)
			return strings.Contains(text, "Rows are not shown to you") && strings.Contains(text, what)
		})
		drop(h)
	}
	g.ok("ada", []string{"No held requests."}, "approvals", "list", "--state", "pending")
}

// previewPolicies hold every write of agents. Everybody reads, people with masks.
const previewPolicies = `
@id("write") @approval("dba") permit (principal is Agent, action in Action::"write", resource);
@id("call") permit (principal is Agent, action == Action::"call", resource);
@id("read") permit (principal, action == Action::"read", resource);
@id("reveal") permit (principal is Agent, action == Action::"reveal", resource);
@id("dba-connects") permit (principal is User in Group::"dba", action == Action::"connect", resource);
@id("dba-approves") permit (principal is User in Group::"dba", action in [Action::"approve", Action::"review"], resource);`
