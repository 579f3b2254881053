package test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// leave ends the client as a crash does: without a word to the gateway.
func (a *asking) leave(h *held) {
	a.g.t.Helper()
	a.silent.Store(true)
	a.PgConn().Conn().Close()
	h.wait()
}

// notice is the next one that the client got.
func (a *asking) notice() *pgconn.Notice {
	a.g.t.Helper()
	select {
	case n := <-a.notices:
		return n
	case <-time.After(patience):
		a.g.t.Fatal("no notice came")
		return nil
	}
}

// TestRedeemed: an approval whose client has left is used by sending the same request again, with a new token, in a new
// session: at once where it was approved meanwhile, once, and nobody else's.
func TestRedeemed(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	name := table(t, "id int PRIMARY KEY, n int, note text")
	admin(t, "INSERT INTO "+name+" VALUES (1, 0, '')")
	n := func() int { return truth[int](t, "SELECT n FROM "+name) }
	update := "UPDATE " + name + " SET n = n + 1, note = $2 WHERE id = $1"
	first := g.asking()
	h := first.holdSQL(update, 1, "a")
	first.leave(h)
	if h.state() != "pending" {
		t.Fatalf("it is %s", h.state())
	}
	// Sent again while nobody has answered, it waits for the same approval.
	second := g.asking()
	again := second.holdSQL(update, 1, "a")
	if again.id != h.id {
		t.Errorf("it waits for %s, not for %s", again.id, h.id)
	}
	// Another client with the same request, while that one waits, has its own.
	third := g.asking()
	other := third.holdSQL(update, 1, "a")
	if other.id == h.id {
		t.Error("two clients wait for one approval")
	}
	second.leave(again)
	g.ok("ada", []string{"is approved"}, "approvals", "approve", h.id)
	if n() != 0 {
		t.Error("it ran without its client")
	}
	// Somebody else's same request does not use it.
	eve := g.asking(func(c *pgx.ConnConfig) { c.Password = g.person("eve", "copilot") })
	hers := eve.holdSQL(update, 1, "a")
	if hers.id == h.id {
		t.Error("somebody else's approval was used")
	}
	fourth := g.asking()
	if _, err := fourth.Exec(within(t), update, 1, "a"); err != nil {
		t.Fatal(err)
	}
	if notice := fourth.notice(); !strings.Contains(notice.Message, "approval that was given before: "+h.id) {
		t.Errorf("%+v", notice)
	}
	if n() != 1 {
		t.Errorf("it ran %d times", n())
	}
	h.becomes("done")
	once := fourth.holdSQL(update, 1, "a")
	if once.id == h.id {
		t.Error("an approval was used twice")
	}
	third.leave(other)
	eve.leave(hers)
	fourth.leave(once)
}

// TestNotRedeemed: what is not exactly as it was approved asks anew, and the client is told why.
func TestNotRedeemed(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: readHolds})
	name := table(t, "id int PRIMARY KEY, day date, note text")
	admin(t, "CREATE FUNCTION public.tell_"+name+"() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER tell BEFORE UPDATE ON public."+name+" FOR EACH ROW EXECUTE FUNCTION public.tell_"+name+"()")
	admin(t, "CREATE VIEW public.v_"+name+" AS SELECT id, day FROM public."+name+"; GRANT SELECT ON public.v_"+name+" TO gatehouse")
	write := "UPDATE " + name + " SET note = 'x' WHERE day = '01/02/2026'"
	read := "SELECT count(*) FROM v_" + name + " WHERE day = '01/02/2026'"
	for _, one := range []struct {
		why, sql, then string
		change         string // by an administrator
		set            string // by the client, before it sends it again
	}{
		{why: "a value in the text is another one", sql: write, then: strings.Replace(write, "01/02", "03/02", 1)},
		{why: `DateStyle was "ISO, MDY" and is "ISO, DMY"`, sql: write, set: "SET DateStyle = 'ISO, DMY'"},
		{why: `DateStyle was "ISO, MDY" and is "SQL, DMY"`, sql: read, set: "SET DateStyle = 'SQL, DMY'"},
		{why: "TimeZone was", sql: read, set: "SET TimeZone = 'Asia/Tokyo'"},
		{why: "search_path was", sql: write, set: "SET search_path = public, pg_catalog"},
		{why: "in transaction", sql: write, set: "BEGIN"},
		{why: "relation public." + name + " was changed", sql: write, change: "ALTER TABLE public." + name + " ADD CHECK (id > 0)"},
		{why: "relation public.v_" + name + " was changed", sql: read, change: "CREATE OR REPLACE VIEW public.v_" + name + " AS SELECT id, day FROM public." + name + " WHERE id > 0"},
		{why: "the relation public." + name + " was changed or repl", sql: read, change: "ALTER TABLE public." + name + " ALTER note SET DEFAULT 'y'"},
	} {
		t.Run(one.why, func(t *testing.T) {
			conn := g.asking(func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol })
			h := conn.holdSQL(one.sql)
			conn.leave(h)
			g.ok("ada", nil, "approvals", "approve", h.id)
			if one.change != "" {
				admin(t, one.change)
			}
			again := g.asking(func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol })
			if one.set != "" {
				exec1(t, again.Conn, one.set)
			}
			if one.then == "" {
				one.then = one.sql
			}
			next, notice := again.told(within(t), func(ctx context.Context) (pgconn.CommandTag, error) { return again.Exec(ctx, one.then) })
			if next.id == h.id || notice == nil || !strings.Contains(notice.Detail, "Approval "+h.id+" does not fit: ") || !strings.Contains(notice.Detail, one.why) {
				t.Errorf("%+v", notice)
			}
			g.ok("ada", nil, "approvals", "deny", next.id)
			next.wait()
			if one.set == "BEGIN" {
				exec1(t, again.Conn, "ROLLBACK")
			}
			if s := h.state(); s != "approved" {
				t.Errorf("the first is %s", s)
			}
			use := g.asking(func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol })
			if one.change == "" { // as it was approved it still runs
				exec1(t, use.Conn, one.sql)
				h.becomes("done")
			}
		})
	}
	// A function that the write runs.
	conn := g.asking()
	h := conn.holdSQL(write)
	conn.leave(h)
	g.ok("ada", nil, "approvals", "approve", h.id)
	admin(t, "CREATE OR REPLACE FUNCTION public.tell_"+name+"() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.note = NEW.note || 1; RETURN NEW; END'")
	last := g.asking()
	next, notice := last.told(within(t), func(ctx context.Context) (pgconn.CommandTag, error) { return last.Exec(ctx, write) })
	if next.id == h.id || !strings.Contains(notice.Detail, "function public.tell_"+name+"() was changed") {
		t.Errorf("a replaced function: %+v", notice)
	}
	last.leave(next)
}

// readHolds holds reads and writes.
const readHolds = `
@id("connect") permit (principal, action == Action::"connect", resource);
@id("all") @approval("dba") permit (principal, action in [Action::"readonly", Action::"write", Action::"call"], resource);
@id("set") permit (principal, action == Action::"set", resource);
@id("dba-approves") permit (principal is User in Group::"dba", action in [Action::"approve", Action::"review"], resource);`

// TestHeldThroughACrash: the gateway is killed while a hundred requests wait. Approvals given before and after are used by
// who sends the request again; each runs once.
func TestHeldThroughACrash(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	name := table(t, "id int PRIMARY KEY, n int")
	const all = 100
	admin(t, fmt.Sprintf("INSERT INTO %s SELECT i, 0 FROM generate_series(1, %d) i", name, all))
	who := func(i int) func(map[string]any) {
		return func(c map[string]any) { c["oid"] = fmt.Sprintf("00000000-0000-0000-0000-%012d", i/10) } // ten requests each
	}
	dial := func(i int) *asking {
		return g.asking(func(c *pgx.ConnConfig) { c.Password = g.token(who(i)) })
	}
	update := func(i int) string { return fmt.Sprintf("UPDATE %s SET n = n + 1 WHERE id = %d", name, i+1) }
	holds := make([]*held, all)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() { holds[i] = dial(i).holdSQL(update(i)) })
	}
	wg.Wait()
	ada := g.person("ada", cliClient)
	approve := func(h *held) {
		t.Helper()
		if status, body := g.request("POST", "/api/v1/approvals/"+h.id+"/approve", ada, `{}`); status != 200 {
			t.Fatalf("%d %s", status, body)
		}
	}
	// Some are being approved, and run, while it is killed.
	var before atomic.Int64
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		for before.Load() < 30 {
			time.Sleep(time.Millisecond)
		}
		g.stop(syscall.SIGKILL)
	}()
	for i := range all / 2 {
		if !g.running() {
			break
		}
		if g.tryApprove(holds[i].id, ada) {
			before.Add(1)
		}
	}
	<-killed
	for _, h := range holds {
		h.wait()
	}
	g.restart()
	unknown := 0
	for i, h := range holds {
		switch s := h.state(); s {
		case "pending":
			approve(h)
		case "approved":
		case "done", "unknown":
			if s == "unknown" {
				unknown++
			}
			continue
		default:
			t.Fatalf("request %d is %s", i, s)
		}
		conn := dial(i)
		if _, err := conn.Exec(within(t), update(i)); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		if n := conn.notice(); !strings.Contains(n.Message, h.id) {
			t.Errorf("request %d: %s", i, n.Message)
		}
		conn.Close(context.Background())
		if s := h.state(); s != "done" {
			t.Errorf("request %d is %s", i, s)
		}
	}
	if most := truth[int](t, "SELECT max(n)::int FROM "+name); most != 1 {
		t.Errorf("one ran %d times", most)
	}
	if ran := truth[int](t, "SELECT sum(n)::int FROM "+name); ran < all-unknown || ran > all {
		t.Errorf("%d of %d ran, %d have an unknown outcome", ran, all, unknown)
	}
	t.Logf("%d were answered before, %d have an unknown outcome", before.Load(), unknown)
}

// tryApprove says whether an approval was taken by a gateway that may be gone.
func (g *gateway) tryApprove(id, token string) bool {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}, Timeout: patience}
	r, err := http.NewRequestWithContext(within(g.t), "POST", "https://"+g.https+"/api/v1/approvals/"+id+"/approve", strings.NewReader("{}"))
	if err != nil {
		g.t.Error(err)
		return false
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	a, err := client.Do(r)
	if err != nil {
		return false
	}
	a.Body.Close()
	return a.StatusCode == http.StatusOK
}
