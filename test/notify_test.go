package test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// TestNotified: people are told of a hold and of its answer, by a signed call and without any value; a receiver that
// is not there costs no request anything, and gets what it missed over a restart of the gateway.
func TestNotified(t *testing.T) {
	t.Parallel()
	type call struct {
		path string
		head http.Header
		body []byte
	}
	calls := make(chan call, 100)
	var down atomic.Bool
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if down.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		calls <- call{r.URL.Path, r.Header, b}
	}))
	t.Cleanup(receiver.Close)
	const key = "the key of the webhook's signature"
	g := start(t, options{change: func(config string) string {
		return strings.Replace(config, "valid: 5m}", `valid: 5m, notify: [
  {name: ops, kind: webhook, url: {file: hook.url}, secret: {file: hook.secret}, events: [approval.pending, approval.approved]},
  {name: chat, kind: slack, url: {file: chat.url}, groups: [dba]},
  {name: others, kind: slack, url: {file: chat.url}, groups: [elsewhere]}]}`, 1)
	}, fails: true})
	g.o.fails = false
	g.write("hook.url", receiver.URL+"/hook")
	g.write("hook.secret", key)
	g.write("chat.url", receiver.URL+"/chat")
	g.stop(syscall.SIGTERM)
	g.restart()
	verifier, err := standardwebhooks.NewWebhookRaw([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	next := func() map[string]call {
		t.Helper()
		got := map[string]call{}
		for range 2 {
			eventually(t, "a call comes", func() bool {
				select {
				case c := <-calls:
					got[c.path] = c
					return true
				default:
					return false
				}
			})
		}
		return got
	}
	g.ok("ada", []string{"ops (webhook): delivered", "chat (slack): delivered", "others (slack): delivered"}, "notifications", "test", "--config", g.path("gatehouse.yaml"))
	for range 3 {
		<-calls
	}
	name := table(t, "id int PRIMARY KEY, note text")
	admin(t, "INSERT INTO "+name+" VALUES (1, '')")
	conn := g.asking()
	h := conn.holdSQL("UPDATE "+name+" SET note = 'a hidden word' || $2 WHERE id = $1", 1, "another hidden word")
	for path, c := range next() {
		if !bytes.Contains(c.body, []byte(h.url)) || !bytes.Contains(c.body, []byte(name)) || bytes.Contains(c.body, []byte("hidden word")) {
			t.Errorf("%s: %s", path, c.body)
		}
		if path == "/hook" {
			if err := verifier.Verify(c.body, c.head); err != nil {
				t.Error(err)
			}
		}
	}
	down.Store(true)
	g.ok("ada", []string{"is approved"}, "approvals", "approve", h.id, "--reason", "a hidden word")
	if err := h.wait(); err != nil {
		t.Fatal(err)
	}
	g.log.wait(t, func(s string) bool { return strings.Contains(s, "was not delivered") }, g.exited, "nothing was tried")
	conn.Close(t.Context())
	g.stop(syscall.SIGTERM)
	down.Store(false)
	g.restart()
	eventually(t, "the answer is told after a restart", func() bool { return len(calls) == 1 })
	if c := <-calls; c.path != "/hook" || !bytes.Contains(c.body, []byte(`"approval.approved"`)) || !bytes.Contains(c.body, []byte("ada")) || bytes.Contains(c.body, []byte("hidden word")) {
		t.Errorf("%s %s", c.path, c.body)
	}
	if log := g.log.String(); strings.Contains(log, strings.TrimPrefix(receiver.URL, "http://")+"/") || strings.Contains(log, key) {
		t.Error("the log has a webhook's address or key")
	}
	g.write("hook.url", "http://127.0.0.1:1/nobody")
	g.refuses("ada", []string{"not everyone was reached"}, "notifications", "test", "ops", "--config", g.path("gatehouse.yaml"))
	g.refuses("ada", []string{fmt.Sprintf("no approvals.notify named %q", "opps")}, "notifications", "test", "opps", "--config", g.path("gatehouse.yaml"))
}
