package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"gatehouse/internal/secret"
)

// box is an outbox in memory.
type box struct {
	mu   sync.Mutex
	kept []Message
}

func (b *box) add(m ...Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept = append(b.kept, m...)
}

func (b *box) Due(_ context.Context, target string, now time.Time, limit int) (out []Message, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.kept {
		if m.Target == target && !m.Due.After(now) && len(out) < limit {
			out = append(out, m)
		}
	}
	return out, nil
}

func (b *box) Next(_ context.Context, target string) (next time.Time, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.kept {
		if m.Target == target && (next.IsZero() || m.Due.Before(next)) {
			next = m.Due
		}
	}
	return next, nil
}

func (b *box) Remove(_ context.Context, id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept = slices.DeleteFunc(b.kept, func(m Message) bool { return m.ID == id })
	return nil
}

func (b *box) Postpone(_ context.Context, id string, due time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.kept {
		if b.kept[i].ID == id {
			b.kept[i].Due = due
			b.kept[i].Tries++
		}
	}
	return nil
}

func (b *box) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.kept)
}

func kept(t testing.TB, value string) secret.Ref {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return secret.Ref{File: path}
}

func pending() Event {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return Event{
		Kind: Pending, At: at, Approval: "ap-1", URL: "https://gw/approvals/ap-1", Connection: "orders",
		Principal: "agent main:bot", Statement: "UPDATE customers SET email = $1", Summary: "UPDATE",
		Touches: []string{"update public.customers.email"}, Groups: []string{"dba"}, Expires: at.Add(5 * time.Minute),
	}
}

// received is what a receiver got.
type received struct {
	header http.Header
	body   []byte
}

func receiver(t testing.TB, answer func(n int, w http.ResponseWriter)) (string, func() []received) {
	var mu sync.Mutex
	var got []received
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		got = append(got, received{r.Header, b})
		n := len(got)
		mu.Unlock()
		if answer != nil {
			answer(n, w)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []received { mu.Lock(); defer mu.Unlock(); return slices.Clone(got) }
}

func start(t *testing.T, log io.Writer, targets ...Target) (*Sender, *box) {
	t.Helper()
	b := &box{}
	s, err := New(Options{Targets: targets, Outbox: b, Log: slog.New(slog.NewTextHandler(log, nil)), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
	return s, b
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 500 {
		if is() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal(what)
}

// The signature is checked by the specification's own library.
func TestWebhookIsSigned(t *testing.T) {
	for _, key := range []string{"a plain secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"} {
		url, got := receiver(t, nil)
		s, b := start(t, io.Discard, Target{Name: "ops", Kind: "webhook", URL: kept(t, url), Secret: kept(t, key)})
		e := pending()
		e.At = time.Now()
		e.Expires = e.At.Add(time.Minute)
		b.add(s.Messages(e)...)
		s.Wake()
		eventually(t, "nothing came", func() bool { return len(got()) == 1 && b.len() == 0 })
		r := got()[0]
		verifier, err := standardwebhooks.NewWebhook(strings.TrimPrefix(key, "whsec_"))
		if !strings.HasPrefix(key, "whsec_") {
			verifier, err = standardwebhooks.NewWebhookRaw([]byte(key))
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := verifier.Verify(r.body, r.header); err != nil {
			t.Fatal(err)
		}
		if err := verifier.Verify(append(r.body, ' '), r.header); err == nil {
			t.Fatal("a changed body verifies")
		}
		var v struct {
			Type string
			Data Event
		}
		if err := json.Unmarshal(r.body, &v); err != nil || v.Type != Pending || v.Data.Approval != "ap-1" || v.Data.Statement == "" {
			t.Fatalf("%s %v", r.body, err)
		}
	}
}

func TestRetriesUntilItIsDelivered(t *testing.T) {
	var log lockedBuffer
	url, got := receiver(t, func(n int, w http.ResponseWriter) {
		if n == 1 {
			w.WriteHeader(503)
		}
	})
	s, b := start(t, &log, Target{Name: "ops", Kind: "slack", URL: kept(t, url+"/T0/hookpath")})
	e := pending()
	e.At = time.Now()
	e.Expires = e.At.Add(time.Minute)
	b.add(s.Messages(e)...)
	s.Wake()
	eventually(t, "it was not tried again", func() bool { return len(got()) == 2 && b.len() == 0 })
	if l := log.String(); !strings.Contains(l, "503") || strings.Contains(l, "hookpath") {
		t.Fatal(l)
	}
}

// A target that is not there, and never answers, holds up no other; its address stays out of the log.
func TestTargetsAreApart(t *testing.T) {
	var log lockedBuffer
	url, got := receiver(t, nil)
	s, b := start(t, &log,
		Target{Name: "gone", Kind: "webhook", URL: kept(t, "http://127.0.0.1:1/secretpath"), Secret: kept(t, "k")},
		Target{Name: "odd", Kind: "slack", URL: kept(t, "ftp://secrethost/x")},
		Target{Name: "ops", Kind: "teams", URL: kept(t, url)})
	e := pending()
	e.At = time.Now()
	e.Expires = e.At.Add(time.Minute)
	b.add(s.Messages(e)...)
	s.Wake()
	eventually(t, "nothing came", func() bool { return len(got()) == 1 && b.len() == 2 })
	eventually(t, "nothing was logged", func() bool {
		return strings.Contains(log.String(), "target=gone") && strings.Contains(log.String(), "target=odd")
	})
	if l := log.String(); strings.Contains(l, "secretpath") || strings.Contains(l, "secrethost") {
		t.Fatal(l)
	}
}

// Of a message that nobody takes, the delays double up to ten minutes, and it ends when it is of no use.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &box{}
		s, err := New(Options{Targets: []Target{{Name: "ops", Kind: "slack", URL: secret.Ref{File: "/nonexistent"}}}, Outbox: b, Log: slog.New(slog.DiscardHandler), Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		e := pending()
		e.At, e.Kind = time.Now(), Pending
		e.Expires = e.At.Add(time.Hour)
		b.add(s.Messages(e)...)
		ctx, stop := context.WithCancel(t.Context())
		go s.Run(ctx)
		time.Sleep(59 * time.Minute)
		b.mu.Lock()
		if len(b.kept) != 1 || b.kept[0].Tries < 8 || b.kept[0].Tries > 16 {
			t.Errorf("%+v", b.kept)
		}
		b.mu.Unlock()
		time.Sleep(12 * time.Minute)
		if b.len() != 0 {
			t.Error("it was not given up")
		}
		stop()
		synctest.Wait()
	})
}

func TestWants(t *testing.T) {
	e := pending()
	for _, c := range []struct {
		target Target
		want   bool
	}{
		{Target{}, true},
		{Target{Events: []string{Denied}}, false},
		{Target{Connections: []string{"orders"}}, true},
		{Target{Connections: []string{"other"}}, false},
		{Target{Groups: []string{"dba", "x"}}, true},
		{Target{Groups: []string{"x"}}, false},
	} {
		if got := c.target.wants(e); got != c.want {
			t.Errorf("%+v: %v", c.target, got)
		}
	}
}

func TestCheck(t *testing.T) {
	file := secret.Ref{File: "x"}
	mail := Target{Name: "m", Kind: "email", SMTP: "mail.example.com:587", From: "g@example.com", To: []string{"a@example.com"}}
	for want, change := range map[string]func(*Target){
		"":                               func(*Target) {},
		"name":                           func(t *Target) { t.Name = "A b" },
		"kind is missing":                func(t *Target) { t.Kind = "" },
		"not a kind":                     func(t *Target) { t.Kind = "pager" },
		"HOST:PORT":                      func(t *Target) { t.SMTP = "mail.example.com" },
		"none is for a mail server":      func(t *Target) { t.TLS = "none" },
		"should be starttls":             func(t *Target) { t.TLS = "maybe" },
		"given together":                 func(t *Target) { t.Username = "u" },
		"to is missing":                  func(t *Target) { t.To = nil },
		"not a mail address":             func(t *Target) { t.To = []string{"a@b\r\nBcc: x@y"} },
		"is not an event":                func(t *Target) { t.Events = []string{"all"} },
		"url is missing":                 func(t *Target) { *t = Target{Name: "w", Kind: "webhook", Secret: file} },
		"secret is missing":              func(t *Target) { *t = Target{Name: "w", Kind: "webhook", URL: file} },
		"belong to the kind email":       func(t *Target) { *t = Target{Name: "w", Kind: "slack", URL: file, From: "a@b.c"} },
		"belong to webhooks, not to the": func(t *Target) { t.URL = file },
	} {
		one := mail
		change(&one)
		err := one.Check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// What agents named means nothing to Slack, Teams or a mail program.
func TestBodies(t *testing.T) {
	e := pending()
	e.Connection = "orders"
	e.Touches = []string{"read public.<!channel>", "read [x](https://evil.example)", "read a\u202eb\x1b[2J"}
	for _, body := range []any{slack(e), teams(e)} {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		walk(t, body)
		if !bytes.Contains(b, []byte("https://gw/approvals/ap-1")) || bytes.Contains(b, []byte("\u202e")) || bytes.ContainsRune(b, 0x1b) || bytes.Contains(b, []byte(`\u001b`)) {
			t.Errorf("%s", b)
		}
	}
	if text := letterText(e); strings.ContainsAny(text, "\u202e\x1b") || !strings.Contains(text, "https://gw/approvals/ap-1") {
		t.Error(text)
	}
	e.Touches = slices.Repeat([]string{"read public.t.c"}, 1000)
	e.Statement = strings.Repeat("é", 100_000)
	if b, _ := json.Marshal(e.bounded()); len(b) > 4000 {
		t.Error(len(b))
	}
}

// walk finds agents' words where Slack or Teams would read markup.
func walk(t *testing.T, v any) {
	switch v := v.(type) {
	case object:
		s, _ := v["text"].(string)
		if strings.Contains(s, "<!channel>") && v["type"] != "plain_text" && v["type"] != "TextRun" {
			t.Errorf("%v", v)
		}
		for _, one := range v {
			walk(t, one)
		}
	case []object:
		for _, one := range v {
			walk(t, one)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }
