package gate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
)

const schema = `
entity Table in [Connection];
action read, update, drop appliesTo { principal: [Agent, User], resource: [Table] };
`

const policies = `
@id("connect") permit(principal, action == Action::"connect", resource);
@id("reads") permit(principal, action == Action::"read", resource);
@id("writes") @approval("dba") permit(principal, action == Action::"update", resource);
@id("never-drop") forbid(principal, action == Action::"drop", resource);
`

// world is a gate with a recorder and a book that remember, and a clock that is set by hand.
type world struct {
	t        *testing.T
	gate     *gate.Gate
	now      time.Time
	recorder *recorder
	book     *book
	set      *policy.Set
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), recorder: &recorder{}, book: &book{answer: gate.Answer{State: "approved", By: []string{"ada"}}}}
	w.policies(policies)
	g, err := gate.New(gate.Config{
		Policies:  func() *policy.Set { return w.set },
		Recorder:  w.recorder,
		Approvals: w.book,
		Log:       slog.New(slog.DiscardHandler),
		Now:       func() time.Time { return w.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.gate = g
	return w
}

func (w *world) policies(text string) {
	w.t.Helper()
	set, err := policy.Compile(policy.Input{
		Schemas:  []policy.Source{{Name: "test.cedarschema", Text: []byte(schema)}},
		Policies: []policy.Source{{Name: "test.cedar", Text: []byte(text)}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.set = set
}

func (w *world) open() *gate.Session {
	w.t.Helper()
	s, err := w.gate.Open(context.Background(), gate.Opening{
		Identity: identity.Identity{
			Principal: policy.Principal{Kind: policy.Agent, ID: "test:bot", Issuer: "test"},
			Expires:   w.now.Add(time.Hour),
		},
		Connection: gate.Connection{Name: "orders", Kind: "test"},
		Protocol:   "test",
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) admit(s *gate.Session, batch ...gate.Request) ([]*gate.Entry, error) {
	return w.gate.Admit(context.Background(), s, batch)
}

// ask is a request with one touch.
type ask struct {
	action    string
	table     string
	err       error
	text      string
	recheck   func() error
	concludes bool
	settings  map[string]string
	unbound   error
}

func (a *ask) Touches(context.Context) ([]policy.Touch, error) {
	if a.err != nil || a.action == "" {
		return nil, a.err
	}
	table := a.table
	if table == "" {
		table = "orders/public.t"
	}
	return []policy.Touch{{Action: a.action, Resource: policy.Resource{
		Entity:  policy.Entity{Type: "Table", ID: table},
		Parents: []policy.Entity{{Type: "Connection", ID: "orders"}},
	}}}, nil
}

func (a *ask) Intent() gate.Intent {
	return gate.Intent{Text: a.action + a.text, Durable: a.action == "update"}
}
func (a *ask) Bound(context.Context) (gate.Intent, error) {
	i := a.Intent()
	i.Settings = a.settings
	return i, a.unbound
}
func (a *ask) Preview(context.Context) (gate.Preview, error) { return gate.Preview{}, nil }
func (a *ask) Recheck(context.Context) error {
	if a.recheck != nil {
		return a.recheck()
	}
	return nil
}
func (a *ask) Concludes() bool { return a.concludes }

// recorder keeps every event, and fails from the nth append on where it is told to.
type recorder struct {
	mu     sync.Mutex
	events []string
	fail   int
	calls  int
}

func (r *recorder) Open(i gate.SessionInfo) (gate.Recording, error) {
	return r, r.Append(false, gate.Event{Kind: gate.SessionOpened})
}

func (r *recorder) Append(durable bool, events ...gate.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	if r.fail > 0 && r.calls >= r.fail {
		return errors.New("disk full")
	}
	for _, e := range events {
		line := fmt.Sprintf("%d %s", e.Request, e.Kind)
		if raw, ok := e.Body.(json.RawMessage); ok && e.Kind == gate.Decided {
			var b gate.DecisionBody
			if err := json.Unmarshal(raw, &b); err != nil {
				return err
			}
			e.Body = b
		}
		switch b := e.Body.(type) {
		case gate.DecisionBody:
			line += " " + b.Decision.Effect.String()
		case gate.Outcome:
			line += " " + b.Status
		case gate.ApprovalBody:
			line += " " + b.State
		}
		if durable {
			line += " durable"
		}
		r.events = append(r.events, line)
	}
	return nil
}

func (r *recorder) Sync() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	if r.fail > 0 && r.calls >= r.fail {
		return errors.New("disk full")
	}
	r.events = append(r.events, "synced")
	return nil
}

func (r *recorder) Close(e gate.SessionEnd) error {
	return r.Append(false, gate.Event{Kind: gate.SessionClosed})
}

func (r *recorder) log() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.events, "\n")
}

// book answers every hold the same way.
type book struct {
	answer   gate.Answer
	during   func() // what happens while it waits
	err      error
	hold     gate.Hold
	started  int
	voided   int
	open     int
	finished []string
}

func (b *book) Open(_ context.Context, h gate.Hold) (gate.Ticket, error) {
	b.hold = h
	if b.err == nil {
		b.open++
	}
	return gate.Ticket{ID: "ap-1", URL: "https://gw/approvals/ap-1"}, b.err
}

func (b *book) Wait(ctx context.Context, id string) (gate.Answer, error) {
	if b.during != nil {
		b.during()
	}
	return b.answer, ctx.Err()
}

func (b *book) Start(_ context.Context, id, hash string) error {
	if hash != b.hold.Hash {
		return errors.New("not what was approved")
	}
	b.started++
	return nil
}

func (b *book) Void(context.Context, string, string) error { b.voided++; return nil }
func (b *book) Leave(string)                               { b.open-- }

func (b *book) Finish(_ context.Context, id string, o gate.Outcome) error {
	b.finished = append(b.finished, o.Status)
	return nil
}

func wantRefusal(t *testing.T, err error, code gate.Code, reason string) *gate.Refusal {
	t.Helper()
	r, ok := gate.AsRefusal(err)
	if !ok || r.Code != code || !strings.Contains(r.Reason, reason) {
		t.Fatalf("got %v, want a refusal %s with %q", err, code, reason)
	}
	if r.Remedy == "" {
		t.Errorf("the refusal says nothing about what to do next: %v", r)
	}
	return r
}

func TestZeroValuesRefuse(t *testing.T) {
	var e *gate.Entry
	for _, e := range []*gate.Entry{e, {}} {
		if e.Ready() == nil || e.Record(gate.Event{}) == nil || e.Close(gate.Outcome{}) == nil || e.Open() {
			t.Error("an entry that was never admitted lets something through")
		}
	}
	if _, err := gate.New(gate.Config{}); err == nil {
		t.Error("a gate without its parts was made")
	}
	w := newWorld(t)
	if _, err := w.admit(w.open()); err == nil {
		t.Error("an empty batch was admitted")
	}
	if _, err := w.admit(w.open(), &ask{}); err == nil {
		t.Error("a request without touches was admitted")
	}
}

func TestAdmitRecordsBeforeItReturns(t *testing.T) {
	w := newWorld(t)
	s := w.open()
	entries, err := w.admit(s, &ask{action: "read"})
	if err != nil {
		t.Fatal(err)
	}
	want := "0 session.open\n1 request\n1 decision permit"
	if got := w.recorder.log(); got != want {
		t.Errorf("recorded\n%s\nwant\n%s", got, want)
	}
	if err := entries[0].Close(gate.Outcome{Status: "ok"}); err != nil {
		t.Fatal(err)
	}
	if entries[0].Ready() == nil {
		t.Error("a closed entry is ready")
	}
	if err := s.Close("client", ""); err != nil {
		t.Fatal(err)
	}
	if got := w.recorder.log(); !strings.HasSuffix(got, "1 response ok\n0 session.close") {
		t.Errorf("recorded\n%s", got)
	}
	if _, err := w.admit(s, &ask{action: "read"}); err == nil {
		t.Error("a closed session admits")
	}
}

// TestWritesAreOnTheDiskBeforeTheyAreReady: what writes, and what stands in a batch with it, is not ready before its
// record is on the disk, and never where it does not get there.
func TestWritesAreOnTheDiskBeforeTheyAreReady(t *testing.T) {
	w := newWorld(t)
	w.policies(`permit(principal, action, resource);`)
	s := w.open()
	entries, err := w.admit(s, &ask{action: "read"}, &ask{action: "update"})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := e.Ready(); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(w.recorder.log(), "synced") {
			t.Errorf("ready, and not on the disk:\n%s", w.recorder.log())
		}
	}
	if entries, err = w.admit(s, &ask{action: "update"}); err != nil {
		t.Fatal(err)
	}
	w.recorder.fail = w.recorder.calls + 1
	for range 2 {
		wantRefusal(t, entries[0].Ready(), gate.Unavailable, "recording")
	}
}

func TestOneRefusalRefusesTheBatch(t *testing.T) {
	w := newWorld(t)
	_, err := w.admit(w.open(), &ask{action: "read"}, &ask{action: "drop"}, &ask{action: "update"})
	r := wantRefusal(t, err, gate.PolicyDenied, "never-drop")
	if !strings.HasSuffix(r.RequestID, ".2") {
		t.Errorf("request %s is named, want the second", r.RequestID)
	}
	if got := w.recorder.log(); strings.Count(got, "response refused") != 3 || strings.Contains(got, "durable") {
		t.Errorf("recorded\n%s", got)
	}
	if w.book.hold.Hash != "" {
		t.Error("a refused batch was held")
	}
}

func TestNothingRunsUnrecorded(t *testing.T) {
	for fail := 1; fail <= 5; fail++ {
		w := newWorld(t)
		s := w.open()
		w.recorder.fail = w.recorder.calls + fail
		_, err := w.admit(s, &ask{action: "update"})
		if fail <= 4 { // intent, pending, approved, running
			wantRefusal(t, err, gate.Unavailable, "recording")
		} else if err != nil {
			t.Fatal(err)
		}
		if fail == 4 && (w.book.started != 1 || len(w.book.finished) != 1) {
			t.Errorf("a hold that was started and could not be recorded is left running")
		}
	}
}

func TestHeldRunsOnceAsApproved(t *testing.T) {
	w := newWorld(t)
	entries, err := w.admit(w.open(), &ask{action: "read"}, &ask{action: "update"})
	if err != nil {
		t.Fatal(err)
	}
	if len(w.book.hold.Intents) != 2 || w.book.started != 1 {
		t.Errorf("held %d of 2 requests, started %d times", len(w.book.hold.Intents), w.book.started)
	}
	if got := w.recorder.log(); !strings.HasSuffix(got, "2 approval pending\n2 approval approved\n2 approval running durable") {
		t.Errorf("recorded\n%s", got)
	}
	entries[0].Close(gate.Outcome{Status: "ok"})
	if len(w.book.finished) != 0 {
		t.Error("finished before its last request")
	}
	entries[1].Close(gate.Outcome{Status: "unknown"})
	entries[1].Close(gate.Outcome{Status: "ok"})
	if len(w.book.finished) != 1 || w.book.finished[0] != "unknown" {
		t.Errorf("finished as %v, want unknown, once", w.book.finished)
	}
}

func TestHeldDoesNotRun(t *testing.T) {
	for name, tt := range map[string]struct {
		set    func(*world, *ask)
		code   gate.Code
		reason string
	}{
		"denied": {func(w *world, _ *ask) {
			w.book.answer = gate.Answer{State: "denied", By: []string{"ada"}, Reason: "not today"}
		}, gate.ApprovalDenied, "denied by ada: not today."},
		"expired":  {func(w *world, _ *ask) { w.book.answer = gate.Answer{State: "expired"} }, gate.ApprovalRequired, "in time"},
		"no store": {func(w *world, _ *ask) { w.book.err = errors.New("disk") }, gate.Unavailable, "approvals"},
		"token ended meanwhile": {func(w *world, _ *ask) {
			w.book.during = func() { w.now = w.now.Add(2 * time.Hour) }
		}, gate.IdentityRejected, "expired"},
		"policy gone meanwhile": {func(w *world, _ *ask) {
			w.book.during = func() { w.policies(`permit(principal, action == Action::"connect", resource);`) }
		}, gate.ApprovalRequired, "policies changed"},
		"another approver meanwhile": {func(w *world, _ *ask) {
			w.book.during = func() { w.policies(strings.ReplaceAll(policies, `"dba"`, `"board"`)) }
		}, gate.ApprovalRequired, "policies changed"},
		"text changed meanwhile": {func(w *world, a *ask) {
			w.book.during = func() { a.text = " more" }
		}, gate.ApprovalRequired, "stands on changed"},
		"settings changed meanwhile": {func(w *world, a *ask) {
			a.settings = map[string]string{"DateStyle": "ISO, MDY"}
			w.book.during = func() { a.settings = map[string]string{"DateStyle": "ISO, DMY"} }
		}, gate.ApprovalRequired, "stands on changed"},
		"not to be looked at meanwhile": {func(w *world, a *ask) {
			w.book.during = func() { a.unbound = errors.New("no database") }
		}, gate.Unavailable, "error of its own"},
		"not to be looked at": {func(w *world, a *ask) { a.unbound = errors.New("no database") }, gate.Unavailable, "error of its own"},
		"recheck failed": {func(w *world, a *ask) {
			a.recheck = func() error { return errors.New("gone") }
		}, gate.Unavailable, "error of its own"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.open()
			a := &ask{action: "update"}
			tt.set(w, a)
			_, err := w.admit(s, a)
			wantRefusal(t, err, tt.code, tt.reason)
			if w.book.started != 0 || w.book.open != 0 {
				t.Error("it was started, or somebody still waits for it")
			}
			if changed := strings.HasSuffix(name, "meanwhile") || name == "recheck failed"; (w.book.voided == 1) != changed {
				t.Errorf("voided %d times", w.book.voided)
			}
			if got := w.recorder.log(); !strings.HasSuffix(got, "1 response refused") && !strings.Contains(got, "1 response refused\n") {
				t.Errorf("recorded\n%s", got)
			}
		})
	}
}

// TestEndOfTheWait: who cancels withdraws the request, who leaves can send it again.
func TestEndOfTheWait(t *testing.T) {
	for cause, want := range map[error]string{gate.ErrWithdrawn: "withdrawn", nil: "stays open"} {
		w := newWorld(t)
		ctx, cancel := context.WithCancelCause(context.Background())
		w.book.during = func() { cancel(cause) }
		_, err := w.gate.Admit(ctx, w.open(), []gate.Request{&ask{action: "update"}})
		if r := wantRefusal(t, err, gate.ApprovalRequired, want); r.SQLState != "57014" {
			t.Errorf("state %s", r.SQLState)
		}
		if (w.book.voided == 1) != (cause != nil) || w.book.open != 0 {
			t.Errorf("%v: voided %d times, %d wait", cause, w.book.voided, w.book.open)
		}
	}
}

// TestDiffers: what an approval does not fit for is said in words, and never by a value.
func TestDiffers(t *testing.T) {
	base := func() *gate.Hold {
		return &gate.Hold{
			Principal: policy.Principal{Kind: policy.Agent, ID: "bot", Groups: []string{"a", "b"}}, Connection: "orders",
			Intents: []gate.Intent{{Prepare: true, Text: "x"}, {
				Received: "/* 1 */ update", Text: "UPDATE t SET a = 'secret'", Parameters: []gate.Parameter{{Type: 25, Value: []byte("secret")}},
				Settings: map[string]string{"DateStyle": "ISO, MDY"}, Objects: []gate.Object{{Kind: "relation", Name: "t", ID: "1", Version: "a"}},
			}},
			Previews: []gate.Preview{{}, {Statement: "UPDATE t SET a = $1"}},
			Needs:    []policy.Approval{{Group: "dba", Quorum: 1}},
		}
	}
	for want, change := range map[string]func(*gate.Hold){
		"": func(h *gate.Hold) {
			h.Intents = h.Intents[1:]
			h.Previews = h.Previews[1:]
			h.Intents[0].Received = "other"
			h.Principal.Groups = []string{"b", "a"}
		},
		"a value in the text is another one":         func(h *gate.Hold) { h.Intents[1].Text = "UPDATE t SET a = 'public'" },
		"parameter $1 is another one":                func(h *gate.Hold) { h.Intents[1].Parameters[0].Value = []byte("secret2") },
		"parameter $2 is another one":                func(h *gate.Hold) { h.Intents[1].Parameters = append(h.Intents[1].Parameters, gate.Parameter{}) },
		`DateStyle was "ISO, MDY" and is "ISO, DMY"`: func(h *gate.Hold) { h.Intents[1].Settings = map[string]string{"DateStyle": "ISO, DMY"} },
		"the relation t was changed or replaced": func(h *gate.Hold) {
			h.Intents[1].Objects = []gate.Object{{Kind: "relation", Name: "t", ID: "1", Version: "b"}}
		},
		"it stood outside of a transaction and stands in transaction": func(h *gate.Hold) { h.Intents[1].Position = "in transaction" },
		"your groups are others": func(h *gate.Hold) { h.Principal.Groups = []string{"a"} },
		"not alike":              func(h *gate.Hold) { h.Intents[1].Text = "DELETE FROM t"; h.Previews[1].Statement = "DELETE FROM t" },
	} {
		h, from := base(), base()
		change(h)
		what, alike := h.Differs(from)
		got := strings.Join(what, "; ")
		if !alike {
			got = "not alike"
		}
		if got != want || strings.Contains(got, "secret") || (h.Digest() == from.Digest()) != (want == "") {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	h, from := base(), base()
	h.Needs[0].Group = "board"
	if what, ok := h.Differs(from); !ok || what[0] != "the policies ask for other approvals" {
		t.Error(what)
	}
}

func TestNothingStartsAfterTheToken(t *testing.T) {
	w := newWorld(t)
	s := w.open()
	entries, err := w.admit(s, &ask{action: "read"})
	if err != nil {
		t.Fatal(err)
	}
	w.now = s.Expires()
	if entries[0].Ready() == nil {
		t.Error("an entry is ready after the token's end")
	}
	_, err = w.admit(s, &ask{action: "read"})
	wantRefusal(t, err, gate.IdentityRejected, "expired")
	if ends, err := w.admit(s, &ask{action: "read", concludes: true}); err != nil || ends[0].Ready() != nil {
		t.Errorf("a transaction could not be ended: %v", err)
	}
	w.now = s.Expires().Add(gate.Grace)
	_, err = w.admit(s, &ask{action: "read", concludes: true})
	wantRefusal(t, err, gate.IdentityRejected, "expired")
}

func TestConnectMustBePermitted(t *testing.T) {
	w := newWorld(t)
	w.policies(`permit(principal, action == Action::"read", resource);`)
	_, err := w.gate.Open(context.Background(), gate.Opening{
		Identity:   identity.Identity{Principal: policy.Principal{Kind: policy.Agent, ID: "test:bot"}, Expires: w.now.Add(time.Hour)},
		Connection: gate.Connection{Name: "orders"},
	})
	wantRefusal(t, err, gate.PolicyDenied, "connect connection orders")
	if got := w.recorder.log(); !strings.HasSuffix(got, "1 response refused\n0 session.close") {
		t.Errorf("recorded\n%s", got)
	}
}
