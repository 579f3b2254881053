package test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/gate"
)

// TestKill ends sessions from outside: an idle one, one in the middle of a statement, one that waits for an approval; who may
// not, may not; it is recorded, and the client is told.
func TestKill(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: `
@id("all") permit (principal, action in [Action::"readonly", Action::"call", Action::"connect"], resource);
@id("writes") @approval("dba") permit (principal, action in Action::"write", resource);
@id("dba") permit (principal is User in Group::"dba", action in [Action::"approve", Action::"review"], resource);
@id("all-review") permit (principal is User, action == Action::"review", resource);
@id("dba-kill") permit (principal in Group::"dba", action == Action::"kill", resource == Connection::"shop");`})
	idle, busy, held := g.asking(), g.asking(), g.asking()
	h := held.holdSQL("UPDATE orders SET status = status WHERE id = 1")
	ended := make(chan error, 1)
	go func() {
		_, err := busy.Exec(context.Background(), "SELECT count(*) FROM orders a, orders b", pgx.QueryExecModeSimpleProtocol)
		ended <- err
	}()
	if got := one[int](t, idle.Conn, "SELECT 1"); got != 1 {
		t.Fatal(got)
	}
	var live []gate.Live
	eventually(t, "three sessions are open", func() bool {
		return json.Unmarshal([]byte(g.ok("ada", nil, "sessions", "live", "-o", "json")), &live) == nil && len(live) == 3
	})
	g.ok("mallory", []string{live[0].ID, "shop-agent"}, "sessions", "live")
	g.refuses("mallory", []string{"No policy lets you end sessions"}, "sessions", "kill", live[0].ID, "--reason", "x")
	g.refuses("ada", []string{"no open session"}, "sessions", "kill", "s-nothing", "--reason", "x")
	for _, l := range live {
		g.ok("ada", []string{l.ID + " is ended"}, "sessions", "kill", l.ID, "--reason", "it is too much")
	}
	refused(t, <-ended, "unavailable", "57P01", "The session was ended by ada: it is too much")
	if err := h.wait(); err == nil {
		t.Error("what was held ran")
	}
	if _, err := idle.Exec(within(t), "SELECT 1"); err == nil {
		t.Error("the idle one goes on")
	}
	g.ok("ada", []string{"No open sessions."}, "sessions", "live")
	g.ok("", []string{"killed"}, "sessions", "list", "-o", "json")
	eventually(t, "the index has it", func() bool {
		return strings.Contains(g.ok("", nil, "sessions", "search", "--connection", "(gateway)", "kill", "-o", "json"), "it is too much")
	})
	if got := truth[int](t, "SELECT count(*)::int FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%FROM public.orders a%' AND pid <> pg_backend_pid()"); got != 0 {
		t.Errorf("%d still run", got)
	}
}

// TestWatch: what waits is shown as it comes, and its answer, past a restart of the gateway.
func TestWatch(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	first := g.asking()
	h := first.holdSQL("UPDATE orders SET status = status WHERE id = 1")
	g.ok("ada", nil, "approvals", "list") // it is signed in
	cmd := exec.Command(gatehouse, "approvals", "watch", "-o", "json")
	cmd.Env = append(os.Environ(), "GATEHOUSE_HOME="+g.path("home"), "GATEHOUSE_PROFILE=ada", "GATEHOUSE_CONFIG="+g.path("gatehouse.yaml"))
	out := newOutput()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	shows := func(what string) {
		t.Helper()
		eventually(t, what, func() bool { return strings.Contains(out.String(), what) })
	}
	shows(h.id + `","kind":"request","state":"pending"`)
	g.ok("ada", nil, "approvals", "approve", h.id)
	if err := h.wait(); err != nil {
		t.Fatal(err)
	}
	shows(h.id + `","kind":"request","state":"done"`)
	g.stop(syscall.SIGKILL)
	shows("does not answer")
	g.restart()
	shows("answers again")
	second := g.asking().holdSQL("UPDATE orders SET status = status WHERE id = 2")
	shows(second.id)
	g.ok("ada", nil, "approvals", "deny", second.id)
	shows(second.id + `","kind":"request","state":"denied"`)
	second.wait()
}
