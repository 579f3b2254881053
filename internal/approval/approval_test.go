package approval

import (
	"context"
	"errors"
	"log/slog"
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

func book(t testing.TB) (*Book, *clock) {
	s, err := store.Open(context.Background(), "sqlite:"+t.TempDir()+"/s.db")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
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
	return b, c
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

func open(t testing.TB, b *Book, h gate.Hold) string {
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
		_, err := b.Decide(ctx, c.who, id, true, "")
		var e *Error
		if !errors.As(err, &e) || e.Kind != c.kind || e.Remedy == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if v, err := b.Get(ctx, person("owner"), id); err != nil || v.State != "pending" {
		t.Errorf("the user it acts for does not see it: %v", err)
	}
	v, err := b.Decide(ctx, person("ada", "dba"), id, true, "fine")
	if err != nil || v.State != "approved" || v.Answers[0].By != "ada" {
		t.Fatalf("%+v %v", v, err)
	}
	var e *Error
	if _, err := b.Decide(ctx, person("bob", "dba"), id, false, ""); !errors.As(err, &e) || e.Kind != Conflict || !strings.Contains(e.Reason, "approved already") {
		t.Errorf("a second answer: %v", err)
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
	if _, err := b.Decide(ctx, person("ada", "dba"), id, false, "no"); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if err := b.Start(ctx, id, "h"); err == nil {
		t.Error("a denied request starts")
	}

	id = open(t, b, asked())
	c.advance(5 * time.Minute)
	if a, err := b.Wait(ctx, id); err != nil || a.State != "expired" {
		t.Errorf("%+v %v", a, err)
	}

	id = open(t, b, asked())
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := b.Wait(gone, id); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := b.Decide(ctx, person("ada", "dba"), id, true, ""); err == nil {
		t.Error("a withdrawn request was approved")
	}

	id = open(t, b, asked())
	if _, err := b.Decide(ctx, person("ada", "dba"), id, true, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Wait(gone, id); err == nil { // the answer came first, but the client has left
		t.Error("an answer for a client that left")
	}
	if err := b.Start(ctx, id, "h"); err == nil {
		t.Error("a request of a client that left starts")
	}

	id = open(t, b, asked())
	b.Decide(ctx, person("ada", "dba"), id, true, "")
	c.advance(16 * time.Minute)
	if err := b.Start(ctx, id, "h"); err == nil {
		t.Error("an approval is started after its validity")
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

// TestLife: whatever people, clients and time do, a hold starts at most once, and only when it was approved
// by enough persons, not denied, not withdrawn and not late.
func TestLife(t *testing.T) {
	b, c := book(t)
	ctx := context.Background()
	rapid.Check(t, func(t *rapid.T) {
		h := asked(policy.Approval{Group: "dba", Quorum: rapid.IntRange(1, 2).Draw(t, "quorum")})
		h.Principal.ID = rapid.StringMatching(`[a-z]{12}`).Draw(t, "principal") // each its own limit
		ticket, err := b.Open(ctx, h)
		if err != nil {
			t.Skip(err)
		}
		opened := c.now()
		var approvedAt time.Time
		approvals, dead, started := map[string]bool{}, false, 0
		t.Repeat(map[string]func(*rapid.T){
			"approve": func(t *rapid.T) {
				who := rapid.SampledFrom([]string{"ada", "bob", "cy"}).Draw(t, "who")
				late := !c.now().Before(opened.Add(5 * time.Minute))
				_, err := b.Decide(ctx, person(who, "dba"), ticket.ID, true, "")
				if err == nil {
					if dead || late || approvals[who] || !approvedAt.IsZero() {
						t.Fatal("an answer was taken that must not be")
					}
					approvals[who] = true
					if len(approvals) == h.Needs[0].Quorum {
						approvedAt = c.now()
					}
				}
			},
			"deny": func(t *rapid.T) {
				if _, err := b.Decide(ctx, person("eve", "dba"), ticket.ID, false, ""); err == nil {
					dead = true
				}
			},
			"withdraw": func(t *rapid.T) {
				gone, cancel := context.WithCancel(ctx)
				cancel()
				b.Wait(gone, ticket.ID)
				if started == 0 {
					dead = true
				}
			},
			"time": func(t *rapid.T) { c.advance(time.Duration(rapid.IntRange(1, 400).Draw(t, "seconds")) * time.Second) },
			"start": func(t *rapid.T) {
				hash := rapid.SampledFrom([]string{"h", "other"}).Draw(t, "hash")
				if b.Start(ctx, ticket.ID, hash) == nil {
					started++
					if started > 1 || dead || approvedAt.IsZero() || hash != "h" || c.now().Sub(approvedAt) > 15*time.Minute {
						t.Fatal("it started and must not")
					}
				}
			},
		})
		b.Finish(ctx, ticket.ID, gate.Outcome{Status: "ok"})
		b.o.Store.Move(ctx, ticket.ID, []store.State{store.Pending, store.Approved}, store.Withdrawn, "", c.now())
	})
}
