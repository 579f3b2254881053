package test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/internal/approval"
)

// asking is a client whose statements wait for people.
type asking struct {
	*pgx.Conn
	g       *gateway
	notices chan *pgconn.Notice
	silent  atomic.Bool // it asks for no cancel when its connection breaks, as one that was killed
}

func (g *gateway) asking(change ...func(*pgx.ConnConfig)) *asking {
	g.t.Helper()
	a := &asking{g: g, notices: make(chan *pgconn.Notice, 100)}
	a.Conn = g.dial(func(c *pgx.ConnConfig) {
		c.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { a.notices <- n }
		dial := c.DialFunc
		c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			if a.silent.Load() {
				return nil, net.ErrClosed
			}
			return dial(ctx, network, address)
		}
		for _, f := range change {
			f(c)
		}
	})
	return a
}

// held is a statement that waits.
type held struct {
	g    *gateway
	id   string
	url  string
	tag  pgconn.CommandTag
	err  error
	done chan struct{}
}

var (
	approvalID  = regexp.MustCompile(`\bap-[a-z0-9]+\b`)
	approvalURL = regexp.MustCompile(`https://\S+/approvals/ap-[a-z0-9]+`)
)

// hold sends something, and waits until the client is told that it waits.
func (a *asking) hold(ctx context.Context, do func(context.Context) (pgconn.CommandTag, error)) *held {
	a.g.t.Helper()
	h, _ := a.told(ctx, do)
	return h
}

// told is hold, with the notice.
func (a *asking) told(ctx context.Context, do func(context.Context) (pgconn.CommandTag, error)) (*held, *pgconn.Notice) {
	a.g.t.Helper()
	h := &held{g: a.g, done: make(chan struct{})}
	go func() {
		h.tag, h.err = do(ctx)
		close(h.done)
	}()
	select {
	case n := <-a.notices:
		h.id, h.url = approvalID.FindString(n.Message), approvalURL.FindString(n.Hint)
		if h.id == "" || !strings.HasSuffix(h.url, h.id) || n.Severity != "NOTICE" {
			a.g.t.Fatalf("the notice says %+v", n)
		}
		return h, n
	case <-h.done:
		a.g.t.Fatalf("it did not wait: %s %v", h.tag, h.err)
	case <-time.After(patience):
		a.g.t.Fatal("no notice came")
	}
	return nil, nil
}

func (a *asking) holdSQL(sql string, args ...any) *held {
	a.g.t.Helper()
	return a.hold(within(a.g.t), func(ctx context.Context) (pgconn.CommandTag, error) { return a.Exec(ctx, sql, args...) })
}

func (h *held) wait() error {
	h.g.t.Helper()
	select {
	case <-h.done:
		return h.err
	case <-time.After(patience):
		h.g.t.Fatalf("%s did not end", h.id)
		return nil
	}
}

// state is the hold's state as its approvers see it.
func (h *held) state() string {
	h.g.t.Helper()
	var v approval.View
	if err := json.Unmarshal([]byte(h.g.ok("ada", nil, "approvals", "show", h.id, "-o", "json")), &v); err != nil {
		h.g.t.Fatal(err)
	}
	return v.State
}

func (h *held) becomes(state string) {
	h.g.t.Helper()
	eventually(h.g.t, h.id+" is "+state, func() bool { return h.state() == state })
}

// TestApproved: an UPDATE waits, a person sees exactly what will run, approves it, and it runs once.
func TestApproved(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	name := table(t, "id int PRIMARY KEY, n int, note text")
	admin(t, "INSERT INTO "+name+" VALUES (1, 0, ''), (2, 0, '')")
	conn := g.asking()
	h := conn.holdSQL("UPDATE "+name+" SET n = n + 1, note = $2 WHERE id = $1", 1, "it's")
	g.ok("ada", []string{h.id, "pending", "shop-agent (agent)", "shop"}, "approvals", "list", "--state", "pending")
	g.ok("ada", []string{h.id, "will run:", "UPDATE", name, "it''s", "update table shop/public." + name, "1 of dba (policy write-with-approval)"}, "approvals", "show", h.id)
	if n := truth[int](t, "SELECT sum(n)::int FROM "+name); n != 0 {
		t.Fatal("it ran before it was approved")
	}
	g.ok("ada", []string{h.id + " is approved"}, "approvals", "approve", h.id, "--reason", "the customer called")
	if err := h.wait(); err != nil || h.tag.String() != "UPDATE 1" {
		t.Fatalf("%s %v", h.tag, err)
	}
	h.becomes("done")
	g.refuses("grace", []string{"is done already"}, "approvals", "approve", h.id)
	g.refuses("ada", []string{h.id}, "approvals", "deny", h.id)
	if n := truth[int](t, "SELECT sum(n)::int FROM "+name); n != 1 {
		t.Errorf("it ran %d times", n)
	}
	// A batch waits as one, in a transaction too, and reads in it do not wait by themselves.
	exec1(t, conn.Conn, "BEGIN")
	h = conn.hold(within(t), func(ctx context.Context) (pgconn.CommandTag, error) {
		b := &pgx.Batch{}
		b.Queue("SELECT count(*) FROM " + name)
		b.Queue("UPDATE " + name + " SET n = 10 WHERE id = 1")
		b.Queue("UPDATE " + name + " SET n = 20 WHERE id = 2")
		return pgconn.CommandTag{}, conn.SendBatch(ctx, b).Close()
	})
	g.ok("grace", []string{"SET n = 10", "SET n = 20", "in transaction"}, "approvals", "show", h.id)
	g.ok("grace", []string{"is approved"}, "approvals", "approve", h.id)
	if err := h.wait(); err != nil {
		t.Fatal(err)
	}
	if tag := exec1(t, conn.Conn, "COMMIT"); tag != "COMMIT" {
		t.Error(tag)
	}
	if n := truth[int](t, "SELECT sum(n)::int FROM "+name); n != 30 {
		t.Errorf("the sum is %d, want 30", n)
	}
	if id := approvalID.FindString(g.ok("ada", nil, "approvals", "list", "-o", "json", "--limit", "1")); id != h.id {
		t.Errorf("the newest is %s, want %s", id, h.id)
	}
	g.ok("ada", []string{"No held requests."}, "approvals", "list", "--state", "pending")
	g.ok("mallory", []string{"No held requests."}, "approvals", "list")
	g.refuses("mallory", []string{"There is no approval", "or you may not see it"}, "approvals", "show", h.id)
}

// TestDenied: the reason reaches the client, and a transaction fails.
func TestDenied(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	name := table(t, "id int PRIMARY KEY, n int")
	conn := g.asking()
	h := conn.holdSQL("INSERT INTO " + name + " VALUES (1, 1)")
	g.ok("ada", []string{"is denied"}, "approvals", "deny", h.id, "--reason", "name the order's id")
	e := judgedRefusal(t, h.wait(), "approval_denied", "42501", h.id, "denied by ada: name the order's id.")
	if e.Severity != "ERROR" {
		t.Errorf("%+v", e)
	}
	h.becomes("denied")
	g.refuses("grace", []string{"is denied already"}, "approvals", "approve", h.id)
	exec1(t, conn.Conn, "BEGIN")
	h = conn.holdSQL("INSERT INTO " + name + " VALUES (2, 2)")
	g.ok("ada", nil, "approvals", "deny", h.id)
	judgedRefusal(t, h.wait(), "approval_denied", "42501", h.id)
	if s := conn.PgConn().TxStatus(); s != 'E' {
		t.Errorf("the status is %c", s)
	}
	if tag := exec1(t, conn.Conn, "COMMIT"); tag != "ROLLBACK" {
		t.Error(tag)
	}
	if n := truth[int](t, "SELECT count(*)::int FROM "+name); n != 0 {
		t.Errorf("%d rows", n)
	}
	g.refuses("ada", []string{"begins with ap-"}, "approvals", "approve", "7")
	g.refuses("ada", []string{"There is no approval"}, "approvals", "approve", "ap-nosuch")
	g.refuses("ada", nil, "approvals", "approve", "ap-../../x")
}

// TestExpires: nobody answers in time.
func TestExpires(t *testing.T) {
	t.Parallel()
	g := start(t, options{hold: "400ms"})
	conn := g.asking()
	h := conn.holdSQL("UPDATE orders SET status = status WHERE id = 1")
	judgedRefusal(t, h.wait(), "approval_required", "42501", "Nobody answered approval "+h.id+" in time")
	h.becomes("expired")
	g.refuses("ada", []string{"is expired already"}, "approvals", "approve", h.id)
	exec1(t, conn.Conn, "SELECT 1")
}

// TestWithdrawn: who cancels withdraws the request, and an answer comes too late.
func TestWithdrawn(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	name := table(t, "id int PRIMARY KEY, n int")
	insert := "INSERT INTO " + name + " VALUES (1, 1)"
	late := func(h *held) {
		t.Helper()
		h.becomes("withdrawn")
		g.refuses("ada", []string{"is withdrawn already"}, "approvals", "approve", h.id)
	}
	t.Run("cancel request", func(t *testing.T) {
		conn := g.asking()
		h := conn.holdSQL(insert)
		if err := conn.PgConn().CancelRequest(within(t)); err != nil {
			t.Fatal(err)
		}
		judgedRefusal(t, h.wait(), "approval_required", "57014", "cancelled while it waited", h.id)
		exec1(t, conn.Conn, "SELECT 1")
		late(h)
	})
	t.Run("context", func(t *testing.T) {
		conn := g.asking()
		ctx, cancel := context.WithCancel(within(t))
		h := conn.hold(ctx, func(ctx context.Context) (pgconn.CommandTag, error) { return conn.Exec(ctx, insert) })
		cancel()
		if h.wait() == nil {
			t.Error("it ran")
		}
		late(h)
	})
	t.Run("ctrl-c in psql", func(t *testing.T) {
		out := newOutput()
		cmd := exec.Command("psql", "-X", "-v", "VERBOSITY=verbose", "-c", insert)
		cmd.Env, cmd.Stdout, cmd.Stderr = g.psqlEnv(g.token()), out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		exited := make(chan struct{})
		go func() { cmd.Wait(); close(exited) }()
		text := out.wait(t, func(s string) bool { return strings.Contains(s, "HINT:") }, exited, "psql was not told that it waits")
		contains(t, text, "NOTICE:  01000: This statement waits for an approval: ap-")
		cmd.Process.Signal(syscall.SIGINT)
		out.wait(t, func(s string) bool { return strings.Contains(s, "ERROR:  57014: The request was cancelled") }, nil, "psql was not told that it is cancelled")
		<-exited
		late(&held{g: g, id: approvalID.FindString(text)})
	})
	if n := truth[int](t, "SELECT count(*)::int FROM "+name); n != 0 {
		t.Errorf("%d rows were written", n)
	}
}

// TestWhoMayAnswer: nobody a request of her own, no agent, nobody outside of the group.
func TestWhoMayAnswer(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	name := table(t, "id int PRIMARY KEY, n int")
	insert := "INSERT INTO " + name + " VALUES (1, 1)"
	h := g.asking().holdSQL(insert)
	g.refuses(agentID, []string{"Only people act here", "Sign in yourself"}, "approvals", "approve", h.id)
	g.refuses("mallory", []string{"There is no approval"}, "approvals", "approve", h.id)
	for _, who := range []string{"eve", "mallory"} {
		token := g.person(who, "copilot") // a client of agents: not her own action
		if status, body := g.request("POST", "/api/v1/approvals/"+h.id+"/approve", token, `{}`); status != 401 {
			t.Errorf("%d %s", status, body)
		}
	}
	for _, token := range []string{"", "x", g.token(), g.person("ada", cliClient, func(c map[string]any) { c["aud"] = "api://other" })} {
		if status, body := g.request("POST", "/api/v1/approvals/"+h.id+"/approve", token, `{}`); status != 401 || strings.Contains(body, tokenStart) {
			t.Errorf("%d %s", status, body)
		}
	}
	if h.state() != "pending" {
		t.Error("it was answered")
	}
	// Eve asks as herself, and through an agent that acts for her: she answers neither.
	for _, client := range []string{cliClient, "copilot"} {
		conn := g.asking(func(c *pgx.ConnConfig) { c.Password = g.person("eve", client) })
		own := conn.holdSQL(insert)
		g.refuses("eve", []string{"Nobody answers a request of their own"}, "approvals", "approve", own.id)
		g.ok("ada", nil, "approvals", "deny", own.id)
		judgedRefusal(t, own.wait(), "approval_denied", "42501")
	}
	g.ok("eve", []string{"is approved"}, "approvals", "approve", h.id)
	if err := h.wait(); err != nil {
		t.Error(err)
	}
}

// TestVoided: what was approved must still be what would run.
func TestVoided(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	name := table(t, "id int PRIMARY KEY, n int")
	admin(t, "INSERT INTO "+name+" VALUES (1, 0)")
	conn := g.asking()
	for what, change := range map[string]func(){
		"a column was added": func() { admin(t, "ALTER TABLE "+name+" ADD COLUMN extra int DEFAULT 1") },
		"the table was remade": func() {
			admin(t, "DROP TABLE "+name+"; CREATE TABLE "+name+" (id int PRIMARY KEY, n int, more int); GRANT ALL ON "+name+" TO gatehouse; INSERT INTO "+name+" VALUES (1, 0, 0)")
		},
	} {
		h := conn.holdSQL("UPDATE " + name + " SET n = n + 1 WHERE id = 1")
		change()
		g.ok("ada", nil, "approvals", "approve", h.id)
		judgedRefusal(t, h.wait(), "approval_required", "42501", "changed while it waited")
		if n := truth[int](t, "SELECT n FROM "+name); n != 0 {
			t.Errorf("%s: it ran", what)
		}
	}
	h := conn.holdSQL("UPDATE " + name + " SET n = n + 1 WHERE id = 1")
	g.write("policies/more.cedar", `@id("no-writes") forbid (principal, action in Action::"write", resource);`)
	g.cmd.Process.Signal(syscall.SIGHUP)
	g.logs(`the policies were read again`)
	g.ok("ada", nil, "approvals", "approve", h.id)
	judgedRefusal(t, h.wait(), "approval_required", "42501", "policies changed")
	if n := truth[int](t, "SELECT n FROM "+name); n != 0 {
		t.Error("it ran")
	}
}

// TestQuorum: two persons have to agree, and one of them counts once.
func TestQuorum(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: twoApprovers})
	h := g.asking().holdSQL("UPDATE orders SET status = status WHERE id = 1")
	g.ok("ada", []string{"more persons have to answer"}, "approvals", "approve", h.id)
	g.refuses("ada", []string{"You have answered this approval already"}, "approvals", "approve", h.id)
	if h.state() != "pending" {
		t.Error("one approval was enough")
	}
	g.ok("grace", []string{"is approved"}, "approvals", "approve", h.id)
	if err := h.wait(); err != nil {
		t.Error(err)
	}
}

// request is an HTTPS request to the gateway.
func (g *gateway) request(method, path, token, body string) (int, string) {
	status, _, text := g.fetch(method, path, token, body)
	return status, text
}

func (g *gateway) fetch(method, path, token, body string) (int, http.Header, string) {
	g.t.Helper()
	pem, err := os.ReadFile(g.path("tls.crt"))
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		g.t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}, Timeout: patience}
	r, err := http.NewRequestWithContext(within(g.t), method, "https://"+g.https+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	a, err := client.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		g.t.Fatal(errors.Join(err, fmt.Errorf("%s %s", method, path)))
	}
	fmt.Fprintf(g.said, "%s", b)
	return a.StatusCode, a.Header, string(b)
}

// TestPage: the URL of a hold shows what to do, the same for every id, and nothing of what is sent to it.
func TestPage(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	for _, path := range []string{"/approvals/ap-abc123", "/approvals/ap-other"} {
		status, header, body := g.fetch("GET", path, "", "")
		if status != 200 || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") || header.Get("Content-Type") != "text/html; charset=utf-8" || strings.Contains(body, "<script") {
			t.Errorf("%s: %d %v", path, status, header)
		}
		contains(t, body, "gatehouse approvals show ap-")
	}
	for _, path := range []string{"/approvals/%3Cscript%3Ealert(1)%3C/script%3E", "/approvals/ap-%22onload=x", "/approvals/ap-x%0d%0aSet-Cookie:a", "/approvals/ap-" + strings.Repeat("a", 5000), "/approvals/..%2f..%2fetc", "/nowhere"} {
		status, header, body := g.fetch("GET", path, "", "")
		if status != 404 || strings.Contains(body, "script") || strings.Contains(body, "onload") || header.Get("Set-Cookie") != "" || header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s: %d %v %s", path, status, header, body)
		}
	}
	if status, body := g.request("GET", "/healthz", "", ""); status != 200 || body != "ok\n" {
		t.Errorf("%d %s", status, body)
	}
	if status, body := g.request("POST", "/api/v1/approvals/ap-abc/approve", g.person("ada", cliClient), strings.Repeat("x", 70<<10)); status < 400 || status >= 500 {
		t.Errorf("a body that is too long: %d %s", status, body)
	}
}
