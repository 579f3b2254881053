package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/record"
)

var sessionID = regexp.MustCompile(`\bs-[a-z0-9]{8,}\b`)

// TestSessions looks at a real session with every command, as text and as JSON.
func TestSessions(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	conn := g.asking(func(c *pgx.ConnConfig) { c.RuntimeParams["application_name"] = "order-bot" })
	rowsOf(t, conn.Conn, "SELECT id, email FROM customers WHERE id = $1", 17)
	if _, err := conn.Exec(within(t), "DROP TABLE customers"); err == nil {
		t.Fatal("dropped")
	}
	h := conn.holdSQL("UPDATE orders SET status = status WHERE id = 1")
	g.ok("ada", nil, "approvals", "approve", h.id, "--reason", "a fine idea")
	if err := h.wait(); err != nil {
		t.Fatal(err)
	}
	g.ok("", []string{"open", "shop-agent (agent)"}, "sessions", "list")
	conn.Close(within(t))
	eventually(t, "the session is closed", func() bool { return strings.Contains(g.ok("", nil, "sessions", "list"), "closed") })
	list := g.ok("", []string{"SESSION", "OPENED", "REQUESTS", "shop"}, "sessions", "list", "--connection", "shop", "--principal", "shop-agent", "--limit", "1")
	id := sessionID.FindString(list)
	g.ok("", []string{"No sessions."}, "sessions", "list", "--connection", "other")
	var summaries []record.Summary
	if err := json.Unmarshal([]byte(g.ok("", nil, "sessions", "list", "--connection", "shop", "-o", "json")), &summaries); err != nil || len(summaries) != 1 {
		t.Fatalf("%v %+v", err, summaries)
	}
	if s := summaries[0]; s.ID != id || s.Requests < 3 || s.Refused < 1 || s.Held != 1 || s.Unknown != 0 {
		t.Errorf("%+v", s)
	}
	replay := g.ok("", []string{
		"session     " + id, "principal   shop-agent (agent)", "connection  shop (postgres) from 127.0.0.1", "application_name=order-bot",
		"| 17 | ", "ok: PREPARE", "permit by read", "received as: SELECT id, email", "@***", "refuse (policy_denied): It is forbidden by policy agents-never-drop: drop table ", "hint: ",
		"hold by read, write-with-approval", "approval " + h.id + ": pending", ": approved by ada (a fine idea)", ": running by ada", "ok: UPDATE 1", "closed: client",
	}, "sessions", "replay", id)
	noRaw(t, "a replay", replay)
	show := g.ok("", []string{"refuse (policy_denied)"}, "sessions", "show", id)
	if strings.Contains(show, "| 17 |") {
		t.Error("show shows results")
	}
	kinds := map[string]int{}
	for line := range strings.Lines(g.ok("", nil, "sessions", "replay", id, "-o", "json")) {
		var e struct {
			Kind string
			Rows [][]*string
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		kinds[e.Kind]++
		if e.Kind == "result.rows" && len(e.Rows) == 0 {
			t.Errorf("rows without rows: %s", line)
		}
	}
	for _, k := range []string{"session.open", "request", "decision", "approval", "result.schema", "result.rows", "response", "session.close"} {
		if kinds[k] == 0 {
			t.Errorf("no event of the kind %s", k)
		}
	}
	g.ok("", []string{"verified: 2 sessions (0 open)", "every hash and chain fits"}, "sessions", "verify")
	var report record.Report
	if err := json.Unmarshal([]byte(g.ok("", nil, "sessions", "verify", id, "-o", "json")), &report); err != nil || len(report.Sessions) != 1 || !report.Sessions[0].Closed {
		t.Errorf("%v %+v", err, report)
	}
	g.ok("", []string{"verified:"}, "sessions", "verify", "--recordings", g.recordings())
	g.refuses("", []string{"s-nosuch"}, "sessions", "replay", "s-nosuch")
	g.refuses("", []string{"s-nosuch"}, "sessions", "verify", "s-nosuch")
	g.refuses("", nil, "sessions", "verify", "--recordings", g.path("nowhere"))
}

// TestTamperedRecordings: a changed byte is found, wherever it is, and named; the gateway does not go on with
// such a journal.
func TestTamperedRecordings(t *testing.T) {
	t.Parallel()
	g := start(t, options{damaged: true})
	for range 3 {
		conn := g.dial(nil)
		exec1(t, conn, "SELECT name FROM products WHERE id <= 20")
		conn.Close(within(t))
	}
	g.stop(syscall.SIGTERM)
	files, err := filepath.Glob(g.recordings() + "/*.ghj")
	if err != nil || len(files) != 1 {
		t.Fatalf("%v %v", files, err)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	put := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(files[0], b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Base(files[0])
	for _, at := range []int{3, 60, len(whole) / 3, len(whole) / 2, len(whole) * 9 / 10} {
		changed := append([]byte{}, whole...)
		changed[at] ^= 1
		put(changed)
		r := g.cli("", "sessions", "verify")
		if r.code != 1 {
			t.Errorf("byte %d: exit %d\n%s", at, r.code, r.out)
		}
		contains(t, r.out+r.err, name, "keep the folder as it is")
		if r := g.cli("", "sessions", "verify", "-o", "json"); r.code != 1 || !json.Valid([]byte(r.out)) {
			t.Errorf("byte %d as JSON: exit %d\n%s", at, r.code, r.out)
		}
		if at != len(whole)/2 {
			continue
		}
		g.log.mark = len(g.log.String())
		g.run()
		g.endsWith(1, "the journal is damaged", "keep it as evidence")
	}
	// A part that was cut out, and two that were swapped, are found too.
	cut := append(append([]byte{}, whole[:len(whole)/3]...), whole[len(whole)/2:]...)
	put(cut)
	if r := g.cli("", "sessions", "verify"); r.code != 1 {
		t.Errorf("a part was cut out: exit %d\n%s", r.code, r.out)
	}
	put(whole)
	g.ok("", []string{"verified: 3 sessions (0 open)"}, "sessions", "verify")
	// What a crash tore is moved aside at the next start, and only that.
	put(append(append([]byte{}, whole...), whole[100:150]...))
	g.ok("", []string{"note:", "a crash tore it"}, "sessions", "verify")
	g.restart()
	g.logs("was torn by a crash, and was moved aside")
	g.ok("", []string{"verified: 3 sessions"}, "sessions", "verify")
}
