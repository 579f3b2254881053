package approval

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
	"gatehouse/internal/store"
)

type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.UnixMicro(c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(d.Microseconds()) }

// tested is a book that can crash.
type tested struct {
	*Book
	path string
	tape *tape
}

// restart opens the store as a new process does, without having closed anything in order.
func (b *tested) restart(t interface{ Fatal(...any) }) {
	b.o.Store.Close()
	s, err := store.Open(context.Background(), b.path)
	if err != nil {
		t.Fatal(err)
	}
	o := b.o
	o.Store = s
	if b.Book, err = New(o); err != nil {
		t.Fatal(err)
	}
	b.record(t)
}

// record gives the book a gate that keeps what is recorded.
func (b *tested) record(t interface{ Fatal(...any) }) {
	g, err := gate.New(gate.Config{Policies: b.o.Policies, Recorder: b.tape, Approvals: b.Book, Log: b.o.Log, Now: b.o.Now})
	if err != nil {
		t.Fatal(err)
	}
	b.Attach(g)
}

// tape is a recording in memory.
type tape struct {
	mu     sync.Mutex
	events []gate.Event
	full   bool
}

func (t *tape) Open(gate.SessionInfo) (gate.Recording, error) { return t, t.Append(false) }
func (t *tape) Sync() error                                   { return nil }
func (t *tape) Close(gate.SessionEnd) error                   { return nil }

func (t *tape) Append(_ bool, events ...gate.Event) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.full {
		return errors.New("the disk is full")
	}
	t.events = append(t.events, events...)
	return nil
}

// TestAnswersAreRecorded: before an answer counts it is on the disk; where it cannot be, it does not count.
func TestAnswersAreRecorded(t *testing.T) {
	b, _ := book(t)
	ctx := context.Background()
	id := open(t, b, asked())
	b.tape.full = true
	if _, err := b.Decide(ctx, person("ada", "dba"), id, Said{Approve: true}); err == nil {
		t.Error("an answer counts that was not recorded")
	}
	if v, err := b.Get(ctx, person("ada", "dba"), id); err != nil || v.State != "pending" || len(v.Answers) != 0 {
		t.Fatalf("%+v %v", v, err)
	}
	b.tape.full = false
	if v, err := b.Decide(ctx, person("ada", "dba"), id, Said{Approve: true, Reason: "fine"}); err != nil || v.State != "approved" {
		t.Fatalf("%+v %v", v, err)
	}
	var text string
	for _, e := range b.tape.events {
		if r, ok := e.Body.(gate.RequestBody); ok {
			text += r.Intent.Text
		}
	}
	if !strings.HasPrefix(text, "approve "+id+" of ") || !strings.HasSuffix(text, ": fine") {
		t.Errorf("recorded %q", text)
	}
	b.gate = nil
	if _, err := b.Decide(ctx, person("bob", "dba"), open(t, b, asked()), Said{Approve: true}); err == nil {
		t.Error("an answer counts without a gate")
	}
}

func book(t testing.TB) (*tested, *clock) {
	path := "sqlite:" + t.TempDir() + "/s.db"
	s, err := store.Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	set, err := policy.Compile(policy.Input{Policies: []policy.Source{{Name: "p.cedar", Text: []byte(
		`@id("a") permit(principal is User in Group::"dba", action in [Action::"approve", Action::"review"], resource);
		 @id("b") permit(principal is User in Group::"owners", action == Action::"approve", resource);`)}}})
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{}
	c.at.Store(time.Now().UnixMicro())
	b, err := New(Options{Store: s, Policies: func() *policy.Set { return set }, Connections: []gate.Connection{{Name: "orders"}}, Log: slog.New(slog.DiscardHandler), Now: c.now, BaseURL: "https://gw/"})
	if err != nil {
		t.Fatal(err)
	}
	out := &tested{b, path, &tape{}}
	out.record(t)
	t.Cleanup(func() { out.o.Store.Close() })
	return out, c
}

func person(id string, groups ...string) identity.Identity {
	return identity.Identity{Principal: policy.Principal{Kind: policy.User, ID: id, Name: id, Groups: groups}}
}

func asked(needs ...policy.Approval) gate.Hold {
	if needs == nil {
		needs = []policy.Approval{{Group: "dba", Quorum: 1}}
	}
	return gate.Hold{Principal: policy.Principal{Kind: policy.Agent, ID: "bot", OnBehalfOf: &policy.Principal{Kind: policy.User, ID: "owner"}}, Connection: "orders", Hash: "h", Needs: needs}
}

func open(t testing.TB, b *tested, h gate.Hold) string {
	t.Helper()
	ticket, err := b.Open(context.Background(), h)
	if err != nil || !strings.HasPrefix(ticket.URL, "https://gw/approvals/ap-") {
		t.Fatal(ticket, err)
	}
	return ticket.ID
}

func TestWhoMayAnswer(t *testing.T) {
	b, _ := book(t)
	ctx := context.Background()
	id := open(t, b, asked())
	agent := person("agent", "dba")
	agent.Principal.Kind = policy.Agent
	for name, c := range map[string]struct {
		who  identity.Identity
		kind Kind
	}{
		"a stranger sees nothing":      {person("x"), NotFound},
		"an agent sees nothing":        {agent, NotFound},
		"the user it acts for":         {person("owner", "dba"), NotAllowed},
		"approver of another group":    {person("o", "owners"), NotAllowed},
		"the requester under its name": {person("bot", "dba"), NotAllowed},
	} {
		_, err := b.Decide(ctx, c.who, id, Said{Approve: true, Reason: ""})
		var e *Error
		if !errors.As(err, &e) || e.Kind != c.kind || e.Remedy == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if v, err := b.Get(ctx, person("owner"), id); err != nil || v.State != "pending" {
		t.Errorf("the user it acts for does not see it: %v", err)
	}
	v, err := b.Decide(ctx, person("ada", "dba"), id, Said{Approve: true, Reason: "fine"})
	if err != nil || v.State != "approved" || v.Answers[0].By != "ada" {
		t.Fatalf("%+v %v", v, err)
	}
	var e *Error
	if _, err := b.Decide(ctx, person("bob", "dba"), id, Said{Approve: false, Reason: ""}); !errors.As(err, &e) || e.Kind != Conflict || !strings.Contains(e.Reason, "approved already") {
		t.Errorf("a second answer: %v", err)
	}
}

// TestOnePersonWithSeveralIDs: who has several ids answers no request of their own by another of them, and counts once.
func TestOnePersonWithSeveralIDs(t *testing.T) {
	b, _ := book(t)
	ctx := context.Background()
	h := asked()
	h.Needs = []policy.Approval{{Policy: "p", Group: "dba", Quorum: 2}}
	id := open(t, b, h)
	also := func(name, one string) identity.Identity {
		who := person(name, "dba")
		who.Principal.Person = one
		return who
	}
	var e *Error
	if _, err := b.Decide(ctx, also("elsewhere", h.Principal.OnBehalfOf.ID), id, Said{Approve: true}); !errors.As(err, &e) || e.Kind != NotAllowed {
		t.Errorf("the user it acts for, by another id: %v", err)
	}
	if _, err := b.Decide(ctx, also("ada", "ada"), id, Said{Approve: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Decide(ctx, also("ada2", "ada"), id, Said{Approve: true}); !errors.As(err, &e) || e.Kind != Conflict {
		t.Errorf("the same person again: %v", err)
	}
	if v, err := b.Decide(ctx, also("bob", ""), id, Said{Approve: true}); err != nil || v.State != "approved" {
		t.Errorf("%+v %v", v, err)
	}
}

func TestWaitAnswersExpiresAndWithdraws(t *testing.T) {
	b, c := book(t)
	ctx := context.Background()
	id := open(t, b, asked())
	var wg sync.WaitGroup
	wg.Go(func() {
		if a, err := b.Wait(ctx, id); err != nil || a.State != "denied" || a.Reason != "no" || a.By[0] != "ada" {
			t.Errorf("%+v %v", a, err)
		}
	})
	if _, err := b.Decide(ctx, person("ada", "dba"), id, Said{Approve: false, Reason: "no"}); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if err := b.Start(ctx, id, "h"); err == nil {
		t.Error("a denied request starts")
	}

	b.Leave(id)
	id = open(t, b, asked())
	c.advance(5 * time.Minute)
	if a, err := b.Wait(ctx, id); err != nil || a.State != "expired" {
		t.Errorf("%+v %v", a, err)
	}

	// A client that has left can be answered all the same, and finds its approval when it comes again.
	id = open(t, b, asked())
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := b.Wait(gone, id); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	b.Leave(id)
	if _, err := b.Decide(ctx, person("ada", "dba"), id, Said{Approve: true, Reason: ""}); err != nil {
		t.Fatal(err)
	}
	if again := open(t, b, asked()); again != id {
		t.Errorf("it found %s, not %s", again, id)
	}
	if other := open(t, b, asked()); other == id {
		t.Error("two clients have one approval")
	} else {
		b.Leave(other)
		if err := b.Void(ctx, other, "withdrawn"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Decide(ctx, person("ada", "dba"), other, Said{Approve: true, Reason: ""}); err == nil {
			t.Error("a withdrawn request was approved")
		}
	}
	if a, err := b.Wait(ctx, id); err != nil || a.State != "approved" {
		t.Error(a, err)
	}
	if _, err := b.Wait(gone, id); err == nil { // the answer came first, but the client has left
		t.Error("an answer for a client that left")
	}
	if err := b.Start(ctx, id, "h"); err != nil {
		t.Error(err)
	}
	b.Leave(id)
	if again := open(t, b, asked()); again == id {
		t.Error("an approval was found again after it was used")
	} else {
		b.Void(ctx, again, "")
		b.Leave(again)
	}

	id = open(t, b, asked())
	b.Decide(ctx, person("ada", "dba"), id, Said{Approve: true, Reason: ""})
	c.advance(16 * time.Minute)
	if err := b.Start(ctx, id, "h"); err == nil {
		t.Error("an approval is started after its validity")
	}
}

// TestDoesNotFit: an approval of a request that looks like another one is not used for it, and it is said why.
func TestDoesNotFit(t *testing.T) {
	b, c := book(t)
	ctx := context.Background()
	ask := func(value, style string) gate.Hold {
		h := asked()
		h.Intents = []gate.Intent{{Text: "DELETE FROM t WHERE day = '" + value + "'", Settings: map[string]string{"DateStyle": style}}}
		h.Previews = []gate.Preview{{Statement: "DELETE FROM t WHERE day = $1"}}
		h.Hash = h.Digest()
		return h
	}
	id := open(t, b, ask("01/02/2026", "MDY"))
	b.Leave(id)
	if _, err := b.Decide(ctx, person("ada", "dba"), id, Said{Approve: true, Reason: ""}); err != nil {
		t.Fatal(err)
	}
	for want, h := range map[string]gate.Hold{
		`DateStyle was "MDY" and is "DMY"`:   ask("01/02/2026", "DMY"),
		"a value in the text is another one": ask("03/02/2026", "MDY"),
	} {
		ticket, err := b.Open(ctx, h)
		if err != nil || ticket.ID == id || ticket.Other != id || strings.Join(ticket.Differs, "; ") != want {
			t.Errorf("%+v %v, want %s", ticket, err, want)
		}
	}
	other := ask("01/02/2026", "MDY")
	other.Principal.ID = "another"
	other.Hash = other.Digest()
	if ticket, err := b.Open(ctx, other); err != nil || ticket.ID == id || ticket.Other != "" {
		t.Errorf("%+v %v", ticket, err)
	}
	asks := ask("01/02/2026", "MDY")
	asks.Needs = []policy.Approval{{Group: "owners", Quorum: 1}}
	if ticket, err := b.Open(ctx, asks); err != nil || ticket.ID == id {
		t.Errorf("%+v %v", ticket, err)
	}
	c.advance(16 * time.Minute)
	if ticket, err := b.Open(ctx, ask("01/02/2026", "MDY")); err != nil || ticket.ID == id {
		t.Errorf("an approval was used after its validity: %+v %v", ticket, err)
	}
	if err := b.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if v, err := b.Get(ctx, person("ada", "dba"), id); err != nil || v.State != "expired" {
		t.Errorf("%+v %v", v, err)
	}
}

func TestLimits(t *testing.T) {
	b, _ := book(t)
	for range maxPendingOne {
		open(t, b, asked())
	}
	_, err := b.Open(context.Background(), asked())
	if r, ok := gate.AsRefusal(err); !ok || r.Code != gate.LimitExceeded {
		t.Errorf("one more: %v", err)
	}
	long := asked()
	long.Principal.ID = "another"
	long.Intents = []gate.Intent{{Text: strings.Repeat("x", maxHold)}}
	if r, ok := gate.AsRefusal(func() error { _, err := b.Open(context.Background(), long); return err }()); !ok || r.Code != gate.LimitExceeded {
		t.Errorf("one that nobody can read: %v", r)
	}
	if _, err := b.Open(context.Background(), gate.Hold{}); err == nil {
		t.Error("the zero hold is taken")
	}
}

// TestEnough: a matching by brute force agrees.
func TestEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		group := rapid.SampledFrom([]string{"a", "b", "c"})
		var needs []policy.Approval
		for range rapid.IntRange(1, 3).Draw(t, "needs") {
			needs = append(needs, policy.Approval{Group: group.Draw(t, "group"), Quorum: rapid.IntRange(1, 2).Draw(t, "quorum")})
		}
		var answers []store.Answer
		for range rapid.IntRange(0, 5).Draw(t, "answers") {
			answers = append(answers, store.Answer{Approve: true, Groups: rapid.SliceOfNDistinct(group, 0, 3, rapid.ID).Draw(t, "groups")})
		}
		var places []string
		for _, n := range needs {
			for range n.Quorum {
				places = append(places, n.Group)
			}
		}
		var try func(i int, used []bool) bool
		try = func(i int, used []bool) bool {
			if i == len(places) {
				return true
			}
			for k, a := range answers {
				if used[k] {
					continue
				}
				for _, g := range a.Groups {
					if g == places[i] {
						used[k] = true
						if try(i+1, used) {
							return true
						}
						used[k] = false
						break
					}
				}
			}
			return false
		}
		if want := try(0, make([]bool, len(answers))); enough(needs, answers) != want {
			t.Fatalf("enough says %v, want %v", !want, want)
		}
	})
}

// TestLife: whatever people, clients, time and crashes do, in any order, a request starts at most once for each time that
// enough persons approved exactly it, never after it was denied, withdrawn or late, and none is lost: a client that comes
// again finds what it left behind.
func TestLife(t *testing.T) {
	b, c := book(t)
	ctx := context.Background()
	rapid.Check(t, func(t *rapid.T) {
		quorum := rapid.IntRange(1, 2).Draw(t, "quorum")
		who := rapid.StringMatching(`[a-z]{12}`).Draw(t, "principal") // each its own limit
		request := func(value string) gate.Hold {
			h := asked(policy.Approval{Group: "dba", Quorum: quorum})
			h.Principal.ID = who
			h.Intents = []gate.Intent{{Text: value}}
			h.Hash = h.Digest()
			return h
		}
		values := []string{"one", "two"}
		type hold struct {
			value              string
			opened, approvedAt time.Time
			answered           map[string]bool
			attached           bool // a client waits
			denied, void       bool
			started            bool
		}
		holds := map[string]*hold{}
		open := func(h *hold) bool { // somebody can still answer or use it
			if h.denied || h.void || h.started {
				return false
			}
			if h.approvedAt.IsZero() {
				return c.now().Before(h.opened.Add(5 * time.Minute))
			}
			return c.now().Sub(h.approvedAt) <= 15*time.Minute
		}
		some := func(t *rapid.T) (string, *hold) {
			if len(holds) == 0 {
				t.Skip("none")
			}
			ids := slices.Sorted(maps.Keys(holds))
			id := rapid.SampledFrom(ids).Draw(t, "id")
			return id, holds[id]
		}
		t.Repeat(map[string]func(*rapid.T){
			"ask": func(t *rapid.T) {
				value := rapid.SampledFrom(values).Draw(t, "value")
				left := false
				for _, h := range holds {
					left = left || h.value == value && !h.attached && open(h)
				}
				ticket, err := b.Open(ctx, request(value))
				if err != nil {
					t.Skip(err)
				}
				h := holds[ticket.ID]
				switch {
				case h == nil && left:
					t.Fatal("what a client left behind was lost")
				case h == nil:
					holds[ticket.ID] = &hold{value: value, opened: c.now(), answered: map[string]bool{}, attached: true}
				case h.attached || !open(h) || h.value != value || ticket.Approved == h.approvedAt.IsZero():
					t.Fatalf("a client was given a hold that is not its own: %+v", h)
				default:
					h.attached = true
				}
			},
			"leave": func(t *rapid.T) {
				id, h := some(t)
				b.Leave(id)
				h.attached = false
			},
			"answer": func(t *rapid.T) {
				id, h := some(t)
				by := rapid.SampledFrom([]string{"ada", "bob", "cy"}).Draw(t, "by")
				approve := rapid.IntRange(0, 4).Draw(t, "deny") > 0
				can := open(h) && h.approvedAt.IsZero() && !h.answered[by]
				v, err := b.Decide(ctx, person(by, "dba"), id, Said{Approve: approve, Reason: ""})
				if (err == nil) != can {
					t.Fatalf("an answer to %+v: %v", h, err)
				}
				if err != nil {
					return
				}
				h.answered[by] = true
				h.denied = !approve
				if approve && len(h.answered) == quorum {
					h.approvedAt = c.now()
				}
				if want := map[bool]string{true: "approved", false: "pending"}[!h.approvedAt.IsZero()]; approve && v.State != want {
					t.Fatalf("it is %s, want %s", v.State, want)
				}
			},
			"withdraw": func(t *rapid.T) {
				id, h := some(t)
				if err := b.Void(ctx, id, "withdrawn"); err != nil {
					t.Fatal(err)
				}
				h.void = h.void || !h.started
			},
			"time":  func(t *rapid.T) { c.advance(time.Duration(rapid.IntRange(1, 400).Draw(t, "seconds")) * time.Second) },
			"sweep": func(t *rapid.T) { b.Sweep(ctx) },
			"start": func(t *rapid.T) {
				id, h := some(t)
				now := request(rapid.SampledFrom(values).Draw(t, "value"))
				can := open(h) && !h.approvedAt.IsZero() && now.Hash == request(h.value).Hash
				if err := b.Start(ctx, id, now.Hash); (err == nil) != can {
					t.Fatalf("start %+v: %v", h, err)
				} else if err == nil {
					h.started = true
				}
			},
			"finish": func(t *rapid.T) {
				id, h := some(t)
				if err := b.Finish(ctx, id, gate.Outcome{Status: "ok"}); err == nil && !h.started {
					t.Fatal("it finished and never started")
				}
			},
			"crash": func(t *rapid.T) {
				b.restart(t)
				for id, h := range holds {
					h.attached = false
					v, err := b.Get(ctx, person("ada", "dba"), id)
					if err != nil {
						t.Fatalf("a hold was lost: %v", err)
					}
					if h.started && v.State != "done" && v.State != "unknown" || !h.started && (v.State == "done" || v.State == "unknown" || v.State == "running") {
						t.Fatalf("%+v is %s after a crash", h, v.State)
					}
				}
			},
		})
		for id := range holds {
			b.Leave(id)
			b.Void(ctx, id, "")
		}
	})
}

// TestEscalation: another group counts when a need has waited, not before; it is told then, once.
func TestEscalation(t *testing.T) {
	b, c := book(t)
	ctx := context.Background()
	id := open(t, b, asked(policy.Approval{Group: "dba", Quorum: 1, Escalate: "owners", After: 600}))
	var e *Error
	if _, err := b.Decide(ctx, person("o", "owners"), id, Said{Approve: true, Reason: ""}); !errors.As(err, &e) || e.Kind != NotAllowed || strings.Contains(e.Reason, "owners") {
		t.Errorf("too early: %v", err)
	}
	c.advance(4 * time.Minute)
	if err := b.Sweep(ctx); err != nil || len(b.escalating) != 1 {
		t.Errorf("%v %v", err, b.escalating)
	}
	if _, err := b.Decide(ctx, person("x", "x"), id, Said{Approve: true, Reason: ""}); err == nil {
		t.Error("a stranger answered")
	}
	b.escalating = map[string]time.Time{}
	if err := b.resume(ctx); err != nil || len(b.escalating) != 1 {
		t.Errorf("after a restart: %v %v", err, b.escalating)
	}
	other := open(t, b, asked(policy.Approval{Group: "dba", Quorum: 1, Escalate: "owners", After: 60}, policy.Approval{Group: "x", Quorum: 1}))
	c.advance(time.Minute)
	if err := b.Sweep(ctx); err != nil || len(b.escalating) != 1 {
		t.Errorf("%v %v", err, b.escalating)
	}
	if v, err := b.Decide(ctx, person("o", "owners"), other, Said{Approve: true, Reason: ""}); err != nil || v.State != "pending" {
		t.Errorf("%+v %v", v, err)
	}
	if v, err := b.Decide(ctx, person("o2", "owners"), other, Said{Approve: true, Reason: ""}); err != nil || v.State != "pending" {
		t.Errorf("one group stands for two: %+v %v", v, err)
	}
}

// TestSweep: what is late ends, also where somebody cannot be told of what escalates, and an approval that was not used in
// its time.
func TestSweep(t *testing.T) {
	b, c := book(t)
	ctx := context.Background()
	h := asked()
	h.Needs = []policy.Approval{{Policy: "p", Group: "dba", Quorum: 1, Escalate: "owners", After: 60}}
	pending := open(t, b, h)
	other := asked()
	other.Hash = "another"
	approved := open(t, b, other)
	if _, err := b.Decide(ctx, person("ada", "dba"), approved, Said{Approve: true}); err != nil {
		t.Fatal(err)
	}
	state := func(id string) string {
		v, err := b.Get(ctx, person("ada", "dba"), id)
		if err != nil {
			t.Fatal(err)
		}
		return v.State
	}
	c.advance(2 * time.Minute)
	if err := b.Sweep(ctx); err != nil || state(pending) != "pending" || len(b.escalating) != 0 {
		t.Errorf("%v %s %v", err, state(pending), b.escalating)
	}
	b.escalating["ap-gone"] = c.now() // one that cannot be told of
	c.advance(20 * time.Minute)
	if err := b.Sweep(ctx); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("nobody says that one could not be told of: %v", err)
	}
	if state(pending) != "expired" || state(approved) != "expired" {
		t.Errorf("they are %s and %s", state(pending), state(approved))
	}
}
