package test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/record"
)

// TestObserve: a connection that only observes its policies refuses and holds nothing, masks as ever, and records what
// the policies say; who may not connect does not.
func TestObserve(t *testing.T) {
	t.Parallel()
	g := start(t, options{
		policies: `@id("writes") @approval("dba") permit (principal, action == Action::"insert", resource);
@id("no-delete") forbid (principal, action == Action::"delete", resource);`,
		change: func(config string) string {
			return strings.Replace(config, "    kind: postgres\n", "    kind: postgres\n    observe: true\n", 1)
		},
	})
	g.logs("the policies are only observed")
	name := table(t, "id int PRIMARY KEY, n int")
	admin(t, "INSERT INTO "+name+" VALUES (1, 0), (2, 0)")
	conn := g.dial(nil)
	exec1(t, conn, "INSERT INTO "+name+" VALUES (3, 3)")
	exec1(t, conn, "UPDATE "+name+" SET n = 1 WHERE id = 1")
	exec1(t, conn, "DELETE FROM "+name+" WHERE id = 2")
	var n int
	var email string
	if err := conn.QueryRow(within(t), "SELECT n FROM "+name+" ORDER BY id LIMIT 1").Scan(&n); err != nil || n != 1 {
		t.Error(n, err)
	}
	if err := conn.QueryRow(within(t), "SELECT email FROM customers LIMIT 1").Scan(&email); err != nil || !strings.HasSuffix(email, "***.invalid") {
		t.Errorf("%s %v", email, err)
	}
	if _, err := conn.Exec(within(t), "SELECT pg_read_file('/etc/passwd')"); err == nil {
		t.Error("what is not understood went through")
	}
	conn.Close(within(t))
	list, err := record.List(within(t), g.recordings(), record.Filter{})
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	text := g.ok("", []string{"the policies are only observed: they would hold it (approval of dba)", "; forbidden by no-delete)", "they would refuse it (no permit for update table shop/public." + name},
		"sessions", "replay", list[0].ID)
	if strings.Contains(text, "refuse (policy_denied)") {
		t.Error(text)
	}
	g.ok("", []string{"observe", "the policies refuse and hold nothing"}, "connections", "show", "shop", "--config", g.path("gatehouse.yaml"))
	token, err := g.issuer.AgentToken(otherAgent)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.signIn(token); err == nil {
		t.Error("who may not connect did")
	}
}

// TestPoliciesOfTheMoment: policies read the client's address and the time, for each request anew.
func TestPoliciesOfTheMoment(t *testing.T) {
	t.Parallel()
	policies := func(until time.Time) string {
		return `
@id("until") permit (principal, action == Action::"read", resource in Table::"shop/public.orders") when { context.time < datetime("` + until.Format("2006-01-02T15:04:05Z") + `") };
@id("here") permit (principal, action == Action::"read", resource in Table::"shop/public.products") when { context.source.isLoopback() };
@id("elsewhere") permit (principal, action == Action::"read", resource in Table::"shop/public.customers") when { context.source.isInRange(ip("192.0.2.0/24")) };`
	}
	g := start(t, options{policies: policies(time.Now().Add(time.Hour).UTC())})
	conn := g.dial(func(c *pgx.ConnConfig) {})
	exec1(t, conn, "SELECT count(*) FROM products")
	exec1(t, conn, "SELECT count(*) FROM orders")
	if _, err := conn.Exec(within(t), "SELECT count(*) FROM customers"); err == nil {
		t.Error("another network's permit was used")
	}
	soon := time.Now().Add(3 * time.Second).UTC().Truncate(time.Second)
	g.write("policies/test.cedar", policies(soon))
	g.cmd.Process.Signal(syscall.SIGHUP)
	g.logs("the policies were read again.*version=")
	eventually(t, "the permit ends with its time", func() bool {
		_, err := conn.Exec(within(t), "SELECT count(*) FROM orders")
		return err != nil
	})
	if time.Now().Before(soon) {
		t.Error("it ended too soon")
	}
	exec1(t, conn, "SELECT count(*) FROM products")
}
