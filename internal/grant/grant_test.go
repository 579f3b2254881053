package grant_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/internal/approval"
	"gatehouse/internal/gate"
	"gatehouse/internal/grant"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
	"gatehouse/internal/record"
	"gatehouse/internal/store"
)

const policies = `
@id("leads") permit (principal in Group::"leads", action == Action::"grant", resource == Group::"temp") when { resource in Connection::"orders" };
@id("nobody-lends") forbid (principal in Group::"barred", action == Action::"grant", resource);
`

// bed is a book that can be closed and opened again on the same store.
type bed struct {
	book  *grant.Book
	store *store.Store
	now   time.Time
	dir   string
	set   *policy.Set
	gate  *gate.Gate
	tb    interface {
		Fatal(...any)
		Fatalf(string, ...any)
	}
	journal *record.Journal
}

func (b *bed) open() {
	var err error
	fail := func(err error) {
		if err != nil {
			b.tb.Fatal(err)
		}
	}
	b.store, err = store.Open(context.Background(), "sqlite:"+b.dir+"/s.db")
	fail(err)
	b.journal, err = record.Open(record.Options{Dir: b.dir + "/recordings"})
	fail(err)
	log := slog.New(slog.DiscardHandler)
	now := func() time.Time { return b.now }
	policies := func() *policy.Set { return b.set }
	b.book, err = grant.New(context.Background(), grant.Options{Store: b.store, Policies: policies, Connections: []gate.Connection{{Name: "orders"}, {Name: "other"}}, Log: log, Now: now})
	fail(err)
	holds, err := approval.New(approval.Options{Store: b.store, Policies: policies, Connections: []gate.Connection{{Name: "orders"}}, Log: log, Now: now})
	fail(err)
	b.gate, err = gate.New(gate.Config{Policies: policies, Recorder: b.journal, Approvals: holds, Grants: b.book, Log: log, Now: now})
	fail(err)
	b.book.Attach(b.gate)
}

func (b *bed) close() {
	if err := errors.Join(b.store.Close(), b.journal.Close()); err != nil {
		b.tb.Fatal(err)
	}
}

func newBed(t testing.TB, dir string) *bed {
	set, err := policy.Compile(policy.Input{Policies: []policy.Source{{Name: "p", Text: []byte(policies)}}})
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{dir: dir, set: set, now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), tb: t}
	b.open()
	return b
}

func who(id string, groups ...string) identity.Identity {
	return identity.Identity{Principal: policy.Principal{Kind: policy.User, ID: id, Name: id, Groups: groups}, Expires: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
}

var (
	ada   = who("ada")
	lead  = who("lead", "leads")
	lead2 = who("lead2", "leads")
)

func kindOf(err error) approval.Kind {
	var e *approval.Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return approval.Kind(-1)
}

// TestWho: who may ask, see, grant and revoke.
func TestWho(t *testing.T) {
	ctx := context.Background()
	b := newBed(t, t.TempDir())
	defer func() { b.close() }()
	ask := func(i identity.Identity, a grant.Ask) (grant.Grant, error) { return b.book.Request(ctx, i, a) }
	for name, one := range map[string]struct {
		ask  grant.Ask
		want string
	}{
		"no connection": {grant.Ask{Connection: "nowhere", Group: "temp", Reason: "r"}, "no connection"},
		"no reason":     {grant.Ask{Connection: "orders", Group: "temp", Reason: " "}, "needs a reason"},
		"long reason":   {grant.Ask{Connection: "orders", Group: "temp", Reason: strings.Repeat("x", 10<<20)}, "longer than 2000"},
		"too long":      {grant.Ask{Connection: "orders", Group: "temp", Reason: "r", For: 13 * time.Hour}, "at most"},
		"too short":     {grant.Ask{Connection: "orders", Group: "temp", Reason: "r", For: time.Second}, "at least"},
		"the glass":     {grant.Ask{Connection: "orders", Group: "grant:breakglass", Reason: "r"}, "not a group"},
		"odd":           {grant.Ask{Connection: "orders", Group: `a"b`, Reason: "r"}, "not a group"},
		"nobody grants": {grant.Ask{Connection: "orders", Group: "dba", Reason: "r"}, "No policy lets anybody grant"},
	} {
		if _, err := ask(ada, one.ask); err == nil || !strings.Contains(err.Error(), one.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	g, err := ask(ada, grant.Ask{Connection: "orders", Group: "temp", Reason: "stuck", For: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ask(ada, grant.Ask{Connection: "orders", Group: "temp", Reason: "again"}); kindOf(err) != approval.Conflict {
		t.Error(err)
	}
	if _, err := b.book.Get(ctx, who("stranger"), g.ID); kindOf(err) != approval.NotFound {
		t.Error(err)
	}
	for name, i := range map[string]identity.Identity{"herself": ada, "herself as a lead": who("ada", "leads"), "somebody": who("x"), "a barred lead": who("y", "leads", "barred")} {
		if _, err := b.book.Give(ctx, i, g.ID, 0, ""); kindOf(err) != approval.NotAllowed && kindOf(err) != approval.NotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	forAgent, err := ask(lead, grant.Ask{Connection: "orders", Group: "temp", Reason: "for it", Agent: "bot"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.book.Give(ctx, lead, forAgent.ID, 0, ""); kindOf(err) != approval.NotAllowed {
		t.Errorf("what one asked for an agent: %v", err)
	}
	if g, err = b.book.Give(ctx, lead, g.ID, 30*time.Minute, "fine"); err != nil || !g.Expires.Equal(b.now.Add(30*time.Minute)) {
		t.Fatalf("%v %+v", err, g)
	}
	p := ada.Principal
	if len(b.book.Grants(&p, "orders")) != 1 || len(b.book.Grants(&p, "other")) != 0 {
		t.Error("not in force, or elsewhere too")
	}
	agent := policy.Principal{Kind: policy.Agent, ID: "x", OnBehalfOf: &p}
	if len(b.book.Grants(&agent, "orders")) != 1 {
		t.Error("not for an agent on her behalf")
	}
	// What is granted is not there for granting: nobody gets further by a grant.
	if b.set.MayGrant(p.Within(p.Kind, p.ID, "temp"), gate.Connection{Name: "orders"}.Resource(), "temp", policy.Moment{}) {
		t.Error("the group may grant itself")
	}
	b.close()
	b.open()
	if len(b.book.Grants(&p, "orders")) != 1 {
		t.Error("a restart forgets")
	}
	if g, err = b.book.Revoke(ctx, ada, g.ID, "done"); err != nil || g.State != store.GrantRevoked || len(b.book.Grants(&p, "orders")) != 0 {
		t.Errorf("%v %+v", err, g)
	}
	if _, err := b.book.Revoke(ctx, ada, g.ID, ""); kindOf(err) != approval.Conflict {
		t.Error(err)
	}
	// Clocks.
	late, err := ask(ada, grant.Ask{Connection: "orders", Group: "temp", Reason: "late"})
	if err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(25 * time.Hour)
	if _, err := b.book.Give(ctx, lead, late.ID, 0, ""); kindOf(err) != approval.Conflict {
		t.Error(err)
	}
}

// TestLife: whatever people do, in whatever order, with crashes in between: a group is there only while somebody who may
// has granted it, never longer than asked for or granted, and never after it was revoked.
func TestLife(t *testing.T) {
	root := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		ctx := context.Background()
		set, err := policy.Compile(policy.Input{Policies: []policy.Source{{Name: "p", Text: []byte(policies)}}})
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(root, fmt.Sprint(n))
		b := &bed{dir: dir, set: set, now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), tb: t}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		b.open()
		defer func() { b.close() }()
		type known struct {
			id    string
			until time.Time // zero: not in force
			alive bool      // pending or in force
			ends  time.Time // of what is alive
		}
		var all []*known
		people := []identity.Identity{ada, lead, lead2, who("x")}
		pick := func() *known {
			if len(all) == 0 {
				return nil
			}
			return all[rapid.IntRange(0, len(all)-1).Draw(t, "which")]
		}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"ask", "give", "give", "deny", "revoke", "wait", "crash"}).Draw(t, "step") {
			case "ask":
				length := time.Duration(rapid.IntRange(1, 90).Draw(t, "minutes")) * time.Minute
				if g, err := b.book.Request(ctx, ada, grant.Ask{Connection: "orders", Group: "temp", Reason: "r", For: length}); err == nil {
					for _, k := range all {
						if k.alive && b.now.Before(k.ends) {
							t.Fatalf("two are alive: %s and %s", k.id, g.ID)
						}
					}
					all = append(all, &known{id: g.ID, alive: true, ends: g.Lapses})
				}
			case "give":
				if k := pick(); k != nil {
					by := rapid.SampledFrom(people).Draw(t, "by")
					length := time.Duration(rapid.IntRange(0, 60).Draw(t, "length")) * time.Minute
					g, err := b.book.Give(ctx, by, k.id, length, "")
					if err != nil {
						continue
					}
					if !by.Principal.InGroup("leads") || !k.alive || !k.until.IsZero() || !b.now.Before(k.ends) || length > 0 && g.Expires.After(b.now.Add(length)) || g.Expires.After(b.now.Add(time.Duration(g.Seconds)*time.Second)) {
						t.Fatalf("%s gave %+v: %+v", by.Principal.ID, k, g)
					}
					k.until, k.ends = g.Expires, g.Expires
				}
			case "deny":
				if k := pick(); k != nil {
					by := rapid.SampledFrom(people).Draw(t, "by")
					if _, err := b.book.Deny(ctx, by, k.id, ""); err == nil {
						if !by.Principal.InGroup("leads") || !k.alive || !k.until.IsZero() {
							t.Fatalf("%s denied %+v", by.Principal.ID, k)
						}
						k.alive = false
					}
				}
			case "revoke":
				if k := pick(); k != nil {
					if _, err := b.book.Revoke(ctx, rapid.SampledFrom(people).Draw(t, "by"), k.id, ""); err == nil {
						k.alive, k.until = false, time.Time{}
					}
				}
			case "wait":
				b.now = b.now.Add(time.Duration(rapid.IntRange(0, 120).Draw(t, "minutes")) * time.Minute)
			case "crash":
				b.close()
				b.open()
			}
			want := 0
			for _, k := range all {
				if !k.until.IsZero() && b.now.Before(k.until) {
					want++
				}
			}
			p := ada.Principal
			if got := b.book.Grants(&p, "orders"); len(got) != want || want > 1 {
				t.Fatalf("%d grants are in force, want %d", len(got), want)
			}
		}
	})
}
