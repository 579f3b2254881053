package gate_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
)

// glass says that somebody breaks the glass until a time.
type glass struct {
	w       *world
	windows []*gate.Window
	used    []string
	fail    error
}

func (g *glass) Windows(p *policy.Principal, connection string) []*gate.Window {
	var out []*gate.Window
	for ; p != nil; p = p.OnBehalfOf {
		for _, w := range g.windows {
			if w.Kind == p.Kind && w.Principal == p.ID && w.Connection == connection && g.w.now.Before(w.Expires) {
				out = append(out, w)
			}
		}
	}
	return out
}

func (g *glass) Used(_ context.Context, w *gate.Window, session string) error {
	g.used = append(g.used, w.ID)
	return g.fail
}

const glassPolicies = policies + `
@id("broken") permit(principal in Group::"grant:breakglass", action == Action::"update", resource);
`

// TestBreakGlass: while a window is open what it gives runs at once, recorded on the disk with what would have been
// otherwise; from its end on nothing does, in the same session.
func TestBreakGlass(t *testing.T) {
	w := newWorld(t)
	w.policies(glassPolicies)
	g := &glass{w: w}
	var log strings.Builder
	var err error
	w.gate, err = gate.New(gate.Config{Policies: func() *policy.Set { return w.set }, Recorder: w.recorder, Approvals: w.book, BreakGlass: g,
		Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	w.book.answer = gate.Answer{State: "expired"}
	s := w.open()
	held := func(s *gate.Session) {
		t.Helper()
		_, err := w.admit(s, &ask{action: "update"})
		wantRefusal(t, err, gate.ApprovalRequired, "Nobody answered")
	}
	runs := func(s *gate.Session) {
		t.Helper()
		w.recorder.events = nil
		entries, err := w.admit(s, &ask{action: "read", concludes: true}, &ask{action: "update"})
		if err == nil {
			err = entries[0].Ready()
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := w.recorder.log(); !strings.HasSuffix(got, "synced") || !strings.Contains(got, "decision permit") {
			t.Errorf("recorded\n%s", got)
		}
	}
	held(s)
	window := &gate.Window{ID: "bg-1", Kind: policy.Agent, Principal: "test:bot", Connection: "orders", Expires: w.now.Add(10 * time.Minute)}
	for _, not := range []*gate.Window{
		{ID: "bg-2", Kind: policy.User, Principal: "test:bot", Connection: "orders", Expires: w.now.Add(time.Hour)},
		{ID: "bg-3", Kind: policy.Agent, Principal: "test:other", Connection: "orders", Expires: w.now.Add(time.Hour)},
		{ID: "bg-4", Kind: policy.Agent, Principal: "test:bot", Connection: "other", Expires: w.now.Add(time.Hour)},
	} {
		g.windows = []*gate.Window{not}
		held(s)
	}
	g.windows, g.fail = []*gate.Window{window}, errors.New("disk full")
	held(s) // its use cannot be kept
	g.fail, g.used = nil, nil
	runs(s)
	runs(s)
	if len(g.used) != 1 {
		t.Errorf("its use was kept %d times", len(g.used))
	}
	if text := log.String(); !strings.Contains(text, "alert=break-glass") || !strings.Contains(text, "otherwise=hold") {
		t.Errorf("the log says\n%s", text)
	}
	_, err = w.admit(s, &ask{action: "drop"})
	wantRefusal(t, err, gate.PolicyDenied, "forbidden by policy never-drop")
	w.now = window.Expires
	held(s)

	// Whom an agent acts for breaks the glass: that does not let the agent do more.
	user := &policy.Principal{Kind: policy.User, ID: "test:ada"}
	g.windows = []*gate.Window{{ID: "bg-5", Kind: policy.User, Principal: "test:ada", Connection: "orders", Expires: w.now.Add(time.Hour)}}
	behalf, err := w.gate.Open(t.Context(), gate.Opening{
		Identity:   identity.Identity{Principal: policy.Principal{Kind: policy.Agent, ID: "test:bot", OnBehalfOf: user}, Expires: w.now.Add(time.Hour)},
		Connection: gate.Connection{Name: "orders"},
	})
	if err != nil {
		t.Fatal(err)
	}
	held(behalf)
	g.windows = append(g.windows, &gate.Window{ID: "bg-6", Kind: policy.Agent, Principal: "test:bot", Connection: "orders", Expires: w.now.Add(time.Hour)})
	runs(behalf)
}

// TestBreakGlassIsRecorded: a decision names the windows, and what it would have been otherwise.
func TestBreakGlassIsRecorded(t *testing.T) {
	w := newWorld(t)
	w.policies(glassPolicies + `
@id("few") @limit("rows=5") forbid(principal, action == Action::"read", resource == Table::"orders/public.few") unless { principal in Group::"grant:breakglass" };
@id("board") @approval("board") forbid(principal, action == Action::"update", resource == Table::"orders/public.board") unless { principal in Group::"grant:breakglass" };
@id("ops") @approval("ops") forbid(principal in Group::"grant:breakglass", action == Action::"update", resource == Table::"orders/public.board");
`)
	kept := &bodies{}
	g := &glass{w: w, windows: []*gate.Window{{ID: "bg-1", Kind: policy.Agent, Principal: "test:bot", Connection: "orders", Expires: w.now.Add(time.Hour)}}}
	var err error
	w.gate, err = gate.New(gate.Config{Policies: func() *policy.Set { return w.set }, Recorder: kept, Approvals: w.book, BreakGlass: g,
		Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	s := w.open()
	w.admit(s, &ask{action: "update"})
	w.admit(s, &ask{action: "read"})
	w.admit(s, &ask{action: "drop"})
	w.admit(s, &ask{action: "read", table: "orders/public.few"})
	w.admit(s, &ask{action: "update", table: "orders/public.board"})
	want := []string{"hold", "permit", "refuse", "permit, showing less", "hold, by other approvals"}
	if len(kept.decisions) != len(want) {
		t.Fatalf("%d decisions are recorded", len(kept.decisions))
	}
	for i, d := range kept.decisions {
		if d.BreakGlass == nil || d.BreakGlass.Windows[0] != "bg-1" || d.BreakGlass.Otherwise != want[i] {
			t.Errorf("decision %d: %+v, want otherwise %s", i, d.BreakGlass, want[i])
		}
	}
}

// bodies keeps the decisions.
type bodies struct{ decisions []gate.DecisionBody }

func (b *bodies) Open(gate.SessionInfo) (gate.Recording, error) { return b, nil }

func (b *bodies) Sync() error { return nil }

func (b *bodies) Close(gate.SessionEnd) error { return nil }

func (b *bodies) Append(_ bool, events ...gate.Event) error {
	for _, e := range events {
		if e.Kind != gate.Decided {
			continue
		}
		raw, err := json.Marshal(e.Body)
		if err != nil {
			return err
		}
		var d gate.DecisionBody
		if err := json.Unmarshal(raw, &d); err != nil {
			return err
		}
		b.decisions = append(b.decisions, d)
	}
	return nil
}
