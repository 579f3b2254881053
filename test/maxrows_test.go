package test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// TestMaxRows: an approver bounds the rows that a statement may change. What changes more is rolled back, however it was
// sent, and the client is told.
func TestMaxRows(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	name := table(t, "id int PRIMARY KEY, n int")
	admin(t, "INSERT INTO "+name+" SELECT i, 0 FROM generate_series(1, 9) AS i")
	sum := func() int { return truth[int](t, "SELECT sum(n)::int FROM "+name) }
	simple := g.asking(func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol })
	extended := g.asking()
	plain := g.asking(func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = pgx.QueryExecModeExec })
	returning := func(a *asking) func(context.Context) (pgconn.CommandTag, error) {
		return func(ctx context.Context) (pgconn.CommandTag, error) {
			rows, err := a.Query(ctx, "UPDATE "+name+" SET n = n + 1 WHERE id <= 4 RETURNING id")
			if err != nil {
				return pgconn.CommandTag{}, err
			}
			_, err = pgx.CollectRows(rows, pgx.RowTo[int])
			return rows.CommandTag(), err
		}
	}
	for what, c := range map[string]struct {
		a  *asking
		do func(*asking) func(context.Context) (pgconn.CommandTag, error)
	}{
		"simple":              {simple, nil},
		"extended":            {extended, nil},
		"unnamed":             {plain, nil},
		"simple, returning":   {simple, returning},
		"extended, returning": {extended, returning},
	} {
		do := func(a *asking) func(context.Context) (pgconn.CommandTag, error) {
			return func(ctx context.Context) (pgconn.CommandTag, error) {
				return a.Exec(ctx, "UPDATE "+name+" SET n = n + 1 WHERE id <= 4")
			}
		}
		if c.do != nil {
			do = c.do
		}
		before := sum()
		h := c.a.hold(within(t), do(c.a))
		g.ok("ada", []string{"is approved"}, "approvals", "approve", h.id, "--max-rows", "3")
		err := h.wait()
		if err == nil {
			t.Fatalf("%s: %s", what, h.tag)
		}
		contains(t, err.Error(), "changed 4 rows", "allowed 3", "rolled back", "54000")
		if n := sum(); n != before {
			t.Errorf("%s: %d rows were changed", what, n-before)
		}
		h.becomes("done")
		g.ok("ada", []string{"approved for at most 3 rows", "outcome", "error", "changed 4 rows"}, "approvals", "show", h.id)
		// The connection goes on, and what stays within the bound takes effect.
		h = c.a.hold(within(t), do(c.a))
		g.ok("ada", nil, "approvals", "approve", h.id, "--max-rows", "4")
		if err := h.wait(); err != nil || h.tag.String() != "UPDATE 4" {
			t.Fatalf("%s: %s %v", what, h.tag, err)
		}
		if n := sum(); n != before+4 {
			t.Errorf("%s: %d rows were changed, want 4", what, n-before)
		}
	}
	before := sum()
	// In a transaction all of it is rolled back; behind a savepoint what is behind that.
	exec1(t, extended.Conn, "BEGIN")
	exec1(t, extended.Conn, "SAVEPOINT s")
	h := extended.holdSQL("UPDATE " + name + " SET n = 100")
	g.ok("ada", nil, "approvals", "approve", h.id, "--max-rows", "1")
	if h.wait() == nil {
		t.Error("it was not refused")
	}
	if _, err := extended.Exec(within(t), "SELECT 1"); err == nil || !strings.Contains(err.Error(), "25P02") {
		t.Errorf("the transaction has not failed: %v", err)
	}
	exec1(t, extended.Conn, "ROLLBACK TO s")
	h = extended.holdSQL("UPDATE " + name + " SET n = n + 1 WHERE id = 1")
	g.ok("ada", nil, "approvals", "approve", h.id, "--max-rows", "1")
	if err := h.wait(); err != nil {
		t.Fatal(err)
	}
	if tag := exec1(t, extended.Conn, "COMMIT"); tag != "COMMIT" || sum() != before+1 {
		t.Errorf("%s, and %d rows were changed", tag, sum()-before)
	}
	// An error of the database is its own.
	h = simple.holdSQL("INSERT INTO " + name + " VALUES (1, 1)")
	g.ok("ada", nil, "approvals", "approve", h.id, "--max-rows", "1")
	if err := h.wait(); err == nil || !strings.Contains(err.Error(), "23505") {
		t.Errorf("%v", err)
	}
	exec1(t, simple.Conn, "SELECT 1")
}

// TestMaxRowsCounts: what is not counted is not bounded, and the least of several bounds counts.
func TestMaxRowsCounts(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: twoApprovers})
	name := table(t, "id int PRIMARY KEY, n int")
	admin(t, "INSERT INTO "+name+" SELECT i, 0 FROM generate_series(1, 9) AS i")
	a := g.asking(func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol })
	for _, sql := range []string{
		"UPDATE " + name + " SET n = 1 WHERE id = 1; UPDATE " + name + " SET n = 1 WHERE id = 2",
		"WITH d AS (DELETE FROM " + name + " RETURNING id) SELECT count(*) FROM d",
		"WITH d AS (DELETE FROM " + name + " WHERE id > 2 RETURNING id) UPDATE " + name + " SET n = 1 WHERE id = 1",
	} {
		h := a.holdSQL(sql)
		g.refuses("ada", []string{"are not counted", "one INSERT, UPDATE, DELETE or MERGE at a time"}, "approvals", "approve", h.id, "--max-rows", "9")
		g.ok("ada", nil, "approvals", "deny", h.id)
		h.wait()
	}
	h := a.holdSQL("UPDATE " + name + " SET n = 1")
	g.refuses("ada", []string{"1 or more"}, "approvals", "approve", h.id, "--max-rows=-1")
	g.ok("ada", []string{"more persons"}, "approvals", "approve", h.id, "--max-rows", "5")
	g.ok("grace", []string{"is approved"}, "approvals", "approve", h.id, "--max-rows", "100")
	if err := h.wait(); err == nil || !strings.Contains(err.Error(), "allowed 5") {
		t.Errorf("%v", err)
	}
	if n := truth[int](t, "SELECT sum(n)::int FROM "+name); n != 0 {
		t.Errorf("%d rows were changed", n)
	}
}

// twoApprovers has every write asked of two persons.
const twoApprovers = `
@id("two") @approval("dba,2") permit (principal, action in Action::"write", resource);
@id("read") permit (principal, action == Action::"read", resource);
@id("dba-approves") permit (principal is User in Group::"dba", action in [Action::"approve", Action::"review"], resource);`

// TestMaxRowsByItself: what stands behind a bounded statement in its batch could make its changes take effect, or put a
// savepoint behind them, before they are counted: it is refused.
func TestMaxRowsByItself(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	name := table(t, "id int PRIMARY KEY, n int")
	admin(t, "INSERT INTO "+name+" SELECT i, 0 FROM generate_series(1, 9) AS i")
	update := "UPDATE public." + name + " SET n = n + 1"
	run := func(sql string) []pgproto3.FrontendMessage {
		return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Execute{}}
	}
	for _, inside := range []bool{false, true} {
		for _, behind := range []string{"COMMIT", "SAVEPOINT s", "SELECT 1"} {
			w := g.wire()
			if inside {
				w.do(&pgproto3.Query{String: "BEGIN"})
				w.until("ReadyForQuery T")
			}
			w.do(&pgproto3.Parse{Name: "u", Query: update}, &pgproto3.Bind{DestinationPortal: "u", PreparedStatement: "u"}, &pgproto3.Flush{})
			id := ""
			for id == "" {
				if m, _ := w.read(); m != nil {
					if n, ok := m.(*pgproto3.NoticeResponse); ok {
						id = approvalID.FindString(n.Message)
					}
				}
			}
			g.ok("ada", nil, "approvals", "approve", id, "--max-rows", "1")
			w.do(append(append([]pgproto3.FrontendMessage{&pgproto3.Execute{Portal: "u"}}, run(behind)...), &pgproto3.Sync{})...)
			said := strings.Join(w.until("ReadyForQuery"), " ")
			if !strings.Contains(said, "ErrorResponse") || strings.Contains(said, "CommandComplete") {
				t.Errorf("inside=%v, %s: %s", inside, behind, said)
			}
			if inside {
				w.do(&pgproto3.Query{String: "ROLLBACK TO s"})
				w.until("ReadyForQuery")
				w.do(&pgproto3.Query{String: "COMMIT"})
				w.until("ReadyForQuery I")
			}
			if n := truth[int](t, "SELECT sum(n)::int FROM "+name); n != 0 {
				t.Fatalf("inside=%v, %s: %d rows were changed", inside, behind, n)
			}
		}
	}
}
