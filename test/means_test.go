package test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// TestExecuteIsShown: an approver of an EXECUTE sees the statement that it stands for.
func TestExecuteIsShown(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	name := table(t, "id int PRIMARY KEY, n int")
	admin(t, "INSERT INTO "+name+" VALUES (1, 0)")
	conn := g.asking(func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol })
	exec1(t, conn.Conn, "PREPARE harmless(int) AS UPDATE "+name+" SET n = n + 41 WHERE id = $1")
	h := conn.hold(within(t), func(ctx context.Context) (pgconn.CommandTag, error) { return conn.Exec(ctx, "EXECUTE harmless(1)") })
	g.ok("ada", []string{"EXECUTE", "which uses, by its name:", "UPDATE public." + name + " SET n = " + name + ".n + 41 WHERE " + name + ".id = $1"}, "approvals", "show", h.id)
	g.ok("ada", []string{"is approved"}, "approvals", "approve", h.id)
	if err := h.wait(); err != nil {
		t.Fatal(err)
	}
	if n := truth[int](t, "SELECT n FROM "+name); n != 41 {
		t.Errorf("n is %d", n)
	}
}
