package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	"gatehouse/internal/record"
	"gatehouse/internal/record/recordtest"
)

// TestExpire: what is older than its connection's retention is erased, and nothing else; not what is held, not what is open.
func TestExpire(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "gatehouse.yaml")
	recordtest.Must(t, os.WriteFile(config, []byte(`listen: {https: "127.0.0.1:1", postgres: "127.0.0.1:2"}
store: sqlite:gatehouse.db
recordings: {keep: file:recordings, retention: 400d}
issuers: [{name: dev, kind: oidc, issuer: "https://id.example.com", audiences: [gatehouse]}]
policies: [x.cedar]
connections:
  - {name: short, kind: postgres, url: "postgres://gate@127.0.0.1/shop", password: {env: X}, retention: 30d}
  - {name: usual, kind: postgres, url: "postgres://gate@127.0.0.1/shop", password: {env: X}}
`), 0o600))
	now := time.Now()
	clock := now
	j, err := record.Open(record.Options{Dir: filepath.Join(dir, "recordings"), Now: func() time.Time { return clock }})
	recordtest.Must(t, err)
	t.Cleanup(func() { recordtest.Must(t, j.Close()) })
	session := func(id, connection, who string, age time.Duration, open bool) {
		clock = now.Add(-age)
		r, err := j.Open(gate.SessionInfo{ID: id, Opened: clock, Connection: connection, Protocol: "postgres", Principal: policy.Principal{Kind: policy.Agent, ID: who}})
		recordtest.Must(t, err)
		recordtest.Must(t, r.Append(true, gate.Event{Kind: gate.Requested, Request: 1, Body: gate.RequestBody{ID: id + ".1", Intent: gate.Intent{Text: "SELECT 'of " + id + "'"}}}))
		if !open {
			recordtest.Must(t, r.Close(gate.SessionEnd{Closed: clock, Reason: "client"}))
		}
		clock = now
	}
	day := 24 * time.Hour
	session("s-short-old", "short", "bot", 31*day, false)
	session("s-short-held", "short", "suspect", 31*day, false)
	session("s-short-open", "short", "bot", 31*day, true)
	session("s-short-new", "short", "bot", 29*day, false)
	session("s-usual-old", "usual", "bot", 401*day, false)
	session("s-usual-new", "usual", "bot", 399*day, false)
	session("s-gone-old", "gone", "bot", 401*day, false)
	do := func(code int, args ...string) string {
		t.Helper()
		var out bytes.Buffer
		if got := run(context.Background(), append(args, "--config", config), streams{os.Stdin, &out, &out}); got != code {
			t.Fatalf("%v: exit %d\n%s", args, got, &out)
		}
		return out.String()
	}
	has := func(text string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%q is not in\n%s", w, text)
			}
		}
	}
	states := func() map[string]string {
		t.Helper()
		list, err := record.List(t.Context(), filepath.Join(dir, "recordings"), record.Filter{})
		recordtest.Must(t, err)
		out := map[string]string{}
		for _, s := range list {
			out[s.ID] = s.State
		}
		return out
	}
	do(2, "recordings", "hold", "--reason", "x")
	hold := strings.Fields(do(0, "recordings", "hold", "--principal", "suspect", "--connection", "short", "--reason", "case 4711"))[0]
	has(do(0, "recordings", "holds"), hold, "connection short, principal suspect", "case 4711")
	has(do(1, "sessions", "erase", "s-short-held", "--reason", "x"), "is held by "+hold, "case 4711")
	has(do(0, "recordings", "expire", "--dry-run"), "s-short-old", "held by "+hold, "3 sessions would be erased, 1 held")
	if s := states(); s["s-short-old"] != "closed" {
		t.Errorf("a dry run erased: %v", s)
	}
	has(do(0, "recordings", "expire"), "3 sessions erased, 1 held")
	want := map[string]string{"s-short-old": "erased", "s-short-held": "closed", "s-short-open": "open", "s-short-new": "closed", "s-usual-old": "erased", "s-usual-new": "closed", "s-gone-old": "erased"}
	if s := states(); fmt.Sprint(s) != fmt.Sprint(want) {
		t.Errorf("%v, want\n%v", s, want)
	}
	has(do(0, "recordings", "expire"), "0 sessions erased, 1 held")
	has(do(0, "sessions", "verify"), "verified: 7 sessions")
	b, err := os.ReadFile(filepath.Join(dir, "recordings", "erased.jsonl"))
	recordtest.Must(t, err)
	has(string(b), `"session":"s-short-old"`, "older than the retention of 30d", "older than the retention of 400d")
	has(do(1, "recordings", "release", "h-none", "--reason", "x"), "there is no hold h-none")
	do(0, "recordings", "release", hold, "--reason", "closed")
	has(do(0, "recordings", "holds"), "Nothing is held")
	has(do(0, "recordings", "expire"), "1 session erased, 0 held")

	// Who looks is noted before anything is shown.
	do(0, "sessions", "replay", "s-usual-new")
	do(0, "sessions", "show", "s-usual-new")
	do(0, "sessions", "tail", "s-short-open")
	do(0, "sessions", "export", "s-usual-new", "--format", "jsonl", "-o", "-")
	if got := do(0, "recordings", "reviews", "s-usual-new"); strings.Count(got, "s-usual-new") != 3 || !strings.Contains(got, "export") || !strings.Contains(got, who()) {
		t.Errorf("%s", got)
	}
	// A line that a crash tore is no line; and a list of holds that cannot be read erases nothing.
	holds := filepath.Join(dir, "recordings", "holds.jsonl")
	b, err = os.ReadFile(holds)
	recordtest.Must(t, err)
	recordtest.Must(t, os.WriteFile(holds, append(b, `{"id":"h-to`...), 0o600))
	has(do(0, "recordings", "holds"), "Nothing is held")
	do(0, "recordings", "hold", "--session", "s-usual-new", "--reason", "again")
	has(do(0, "recordings", "holds"), "session s-usual-new")
	recordtest.Must(t, os.WriteFile(holds, append([]byte("what?\n"), b...), 0o600))
	has(do(1, "recordings", "expire"), "what is held cannot be read, so nothing is erased")
	has(do(1, "sessions", "erase", "s-usual-new", "--reason", "x"), "holds.jsonl, line 1")
	// Where it cannot be noted, nothing is shown.
	reviews := filepath.Join(dir, "recordings", "reviews.jsonl")
	recordtest.Must(t, os.Remove(reviews))
	recordtest.Must(t, os.Mkdir(reviews, 0o700))
	if got := do(1, "sessions", "replay", "s-usual-new"); strings.Contains(got, "SELECT") || !strings.Contains(got, "cannot be noted, so it is not shown") {
		t.Errorf("%s", got)
	}
	has(do(0, "sessions", "replay", "s-usual-new", "--recordings", filepath.Join(dir, "recordings")), "could not be noted", "SELECT 'of s-usual-new'")
}
