package breakglass

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/internal/approval"
	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
	"gatehouse/internal/record"
	"gatehouse/internal/store"
)

const policies = `
@id("break") @breakglass("security,1h") permit (principal in Group::"oncall", action == Action::"breakglass", resource);
@id("review") permit (principal in Group::"security", action in [Action::"approve", Action::"review"], resource);
@id("connect") permit (principal in Group::"grant:breakglass", action == Action::"connect", resource);
`

// world is a book on a real store with a clock that is set by hand.
type world struct {
	dir   string
	now   time.Time
	set   *policy.Set
	store *store.Store
	gate  *gate.Gate
	book  *Book

	journal *record.Journal
}

func (w *world) close() {
	w.store.Close()
	w.journal.Close()
}

func newWorld(t interface{ Fatal(...any) }, dir string) *world {
	w := &world{dir: dir, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	var err error
	if w.set, err = policy.Compile(policy.Input{Policies: []policy.Source{{Name: "p.cedar", Text: []byte(policies)}}}); err != nil {
		t.Fatal(err)
	}
	journal, err := record.Open(record.Options{Dir: dir + "/recordings"})
	if err != nil {
		t.Fatal(err)
	}
	w.journal = journal
	w.open(t)
	if w.gate, err = gate.New(gate.Config{Policies: func() *policy.Set { return w.set }, Recorder: journal, Approvals: never{}, BreakGlass: current{w},
		Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return w.now }}); err != nil {
		t.Fatal(err)
	}
	w.book.Attach(w.gate)
	return w
}

// never is where no request is held.
type never struct{ gate.Approvals }

// current is the book of now, over restarts.
type current struct{ w *world }

func (c current) Windows(p *policy.Principal, connection string) []*gate.Window {
	return c.w.book.Windows(p, connection)
}

func (c current) Used(ctx context.Context, w *gate.Window, session string) error {
	return c.w.book.Used(ctx, w, session)
}

// open opens the store and a book on it, as a start of the gateway does.
func (w *world) open(t interface{ Fatal(...any) }) {
	s, err := store.Open(context.Background(), "sqlite:"+w.dir+"/s.db")
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(context.Background(), Options{Store: s, Policies: func() *policy.Set { return w.set }, Connections: []gate.Connection{{Name: "orders"}, {Name: "other"}},
		Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	b.Attach(w.gate)
	w.store, w.book = s, b
}

func person(id string, groups ...string) identity.Identity {
	return identity.Identity{Principal: policy.Principal{Kind: policy.User, ID: id, Name: id, Groups: groups}}
}

var (
	ona  = person("ona", "oncall")
	omar = person("omar", "oncall", "security") // breaks the glass and reviews, never the same
	sue  = person("sue", "security")
	eve  = person("eve")
)

// model is what must be true of one window.
type model struct {
	by       string
	target   string
	expires  time.Time
	over     bool // it has been seen not to be open
	reviewed bool
}

// TestWindows runs everything that anyone can do, in any order, and looks at what must always be true: the glass
// is broken only from an opening on, until its time is over or somebody revokes it, and never again after that;
// an ended window is reviewed once, by somebody of the reviewing group who neither opened it nor was in it; until
// then it is on the list. Restarts change nothing.
func TestWindows(t *testing.T) {
	ctx := context.Background()
	people := []identity.Identity{ona, omar, sue, eve, person("bot", "security")}
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		dir, err := os.MkdirTemp("", "glass-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		w := newWorld(t, dir)
		defer w.close()
		windows := map[string]*model{}
		who := func() identity.Identity { return rapid.SampledFrom(people).Draw(t, "who") }
		which := func() string {
			ids := []string{"bg-none"}
			for id := range windows {
				ids = append(ids, id)
			}
			slices.Sort(ids)
			return ids[rapid.IntRange(0, len(ids)-1).Draw(t, "which")]
		}
		open := func(id string) bool { m := windows[id]; return m != nil && !m.over && w.now.Before(m.expires) }
		t.Repeat(map[string]func(*rapid.T){
			"open": func(t *rapid.T) {
				p, minutes := who(), rapid.IntRange(1, 70).Draw(t, "minutes")
				ask := Ask{Connection: "orders", Reason: "r", For: time.Duration(minutes) * time.Minute}
				target := p.Principal.ID
				if rapid.IntRange(0, 3).Draw(t, "agent") == 0 {
					ask.Agent, target = "bot", "bot"
				}
				taken := slices.ContainsFunc(slices.Collect(keys(windows)), func(id string) bool { return windows[id].target == target && open(id) })
				got, err := w.book.Open(ctx, p, ask)
				if may := p.Principal.InGroup("oncall") && minutes <= 60 && !taken; may != (err == nil) {
					t.Fatalf("%s opens for %d minutes, taken %v: %v", p.Principal.ID, minutes, taken, err)
				}
				if err == nil {
					windows[got.ID] = &model{by: p.Principal.ID, target: target, expires: w.now.Add(ask.For)}
				}
			},
			"advance": func(t *rapid.T) {
				w.now = w.now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "minutes")) * time.Minute)
			},
			"revoke": func(t *rapid.T) {
				p, id := who(), which()
				was := open(id)
				_, err := w.book.Revoke(ctx, p, id, "")
				may := windows[id] != nil && (p.Principal.ID == windows[id].by || p.Principal.InGroup("security"))
				if (was && may) != (err == nil) {
					t.Fatalf("%s revokes %s, open %v: %v", p.Principal.ID, id, was, err)
				}
				if err == nil {
					windows[id].over = true
				}
			},
			"review": func(t *rapid.T) {
				p, id := who(), which()
				m, was := windows[id], open(id)
				_, err := w.book.Review(ctx, p, id, "fine")
				may := m != nil && !was && !m.reviewed && p.Principal.InGroup("security") && p.Principal.ID != m.by && p.Principal.ID != m.target
				if may != (err == nil) {
					t.Fatalf("%s reviews %s of %+v: %v", p.Principal.ID, id, m, err)
				}
				if err == nil {
					m.reviewed = true
				}
			},
			"sweep": func(t *rapid.T) {
				if err := w.book.Sweep(ctx); err != nil {
					t.Fatal(err)
				}
			},
			"restart": func(t *rapid.T) {
				w.store.Close()
				w.open(t)
			},
			"": func(t *rapid.T) {
				for id, m := range windows {
					m.over = m.over || !w.now.Before(m.expires)
					kind := policy.User
					if m.target == "bot" {
						kind = policy.Agent
					}
					in := slices.ContainsFunc(w.book.Windows(&policy.Principal{Kind: kind, ID: m.target}, "orders"), func(g *gate.Window) bool { return g.ID == id })
					if in == m.over {
						t.Fatalf("%s: broken %v, over %v", id, in, m.over)
					}
				}
				for _, p := range []policy.Principal{{Kind: policy.Agent, ID: "ona"}, {Kind: policy.User, ID: "bot"}, {Kind: policy.User, ID: "eve"}, {}} {
					if len(w.book.Windows(&p, "orders")) > 0 {
						t.Fatalf("%v breaks the glass", p)
					}
				}
				if len(w.book.Windows(&ona.Principal, "other")) > 0 {
					t.Fatal("on another connection")
				}
				list, err := w.book.List(ctx, sue, "", 500)
				if err != nil || len(list) != len(windows) {
					t.Fatalf("%d windows are listed of %d: %v", len(list), len(windows), err)
				}
				for i := range list {
					want := store.WindowOpen
					if m := windows[list[i].ID]; m.reviewed {
						want = store.WindowReviewed
					} else if m.over {
						want = store.WindowEnded
					}
					if list[i].State != want {
						t.Fatalf("%s is %s, want %s", list[i].ID, list[i].State, want)
					}
				}
			},
		})
	})
	if runs == 0 {
		t.Fatal("nothing ran")
	}
}

func keys(m map[string]*model) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func kindOf(err error) approval.Kind {
	var e *approval.Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return 0
}

func TestBad(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t, t.TempDir())
	defer w.close()
	for _, c := range []struct {
		who  identity.Identity
		ask  Ask
		kind approval.Kind
		want string
	}{
		{eve, Ask{Connection: "orders", Reason: "r"}, approval.NotAllowed, "No policy lets you"},
		{eve, Ask{Connection: "nowhere", Reason: "r"}, approval.NotAllowed, "No policy lets you"},
		{ona, Ask{Connection: "nowhere", Reason: "r"}, approval.NotFound, "no connection"},
		{ona, Ask{Connection: "orders", Reason: " "}, approval.Invalid, "needs a reason"},
		{ona, Ask{Connection: "orders", Reason: strings.Repeat("x", 2001)}, approval.Invalid, "longer than"},
		{ona, Ask{Connection: "orders", Reason: "r", For: time.Second}, approval.Invalid, "a minute at least"},
		{ona, Ask{Connection: "orders", Reason: "r", For: -time.Hour}, approval.Invalid, "a minute at least"},
		{ona, Ask{Connection: "orders", Reason: "r", For: 2 * time.Hour}, approval.Invalid, "for 1h at most"},
		{ona, Ask{Connection: "orders", Reason: "r", Agent: strings.Repeat("x", 301)}, approval.Invalid, "agent's id"},
		{identity.Identity{Principal: policy.Principal{Kind: policy.Agent, ID: "a", Groups: []string{"oncall"}}}, Ask{Connection: "orders", Reason: "r"}, approval.NotAllowed, "No policy lets you"},
	} {
		_, err := w.book.Open(ctx, c.who, c.ask)
		if kindOf(err) != c.kind || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.ask, err)
		}
	}
	one, err := w.book.Open(ctx, ona, Ask{Connection: "orders", Reason: "stuck"})
	if err != nil || one.Expires.Sub(one.Opened) != 15*time.Minute {
		t.Fatalf("%+v %v", one, err)
	}
	_, err = w.book.Open(ctx, ona, Ask{Connection: "orders", Reason: "again"})
	if kindOf(err) != approval.Conflict {
		t.Error(err)
	}
	if _, err := w.book.Get(ctx, eve, one.ID); kindOf(err) != approval.NotFound {
		t.Error("a stranger sees it:", err)
	}
	if _, err := w.book.Review(ctx, sue, one.ID, "fine"); kindOf(err) != approval.Conflict || !strings.Contains(err.Error(), "still open") {
		t.Error(err)
	}
	if _, err := w.book.Review(ctx, sue, one.ID, " "); kindOf(err) != approval.Invalid {
		t.Error(err)
	}
	said := recorded(t, w.dir)
	for _, want := range []string{"break the glass on orders until", "stuck", "policy_denied", "break the glass on nowhere"} {
		if !strings.Contains(said, want) {
			t.Errorf("the recordings do not say %q", want)
		}
	}
}

func recorded(t *testing.T, dir string) string {
	t.Helper()
	list, err := record.List(t.Context(), dir+"/recordings", record.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, s := range list {
		for e, err := range record.Read(t.Context(), dir+"/recordings", s.ID) {
			if err != nil {
				t.Fatal(err)
			}
			for _, ev := range e.Events {
				fmt.Fprintf(&out, "%s %s\n", ev.Kind, ev.Body)
			}
		}
	}
	return out.String()
}

// TestUnrecorded: what cannot be recorded does not break the glass.
func TestUnrecorded(t *testing.T) {
	w := newWorld(t, t.TempDir())
	defer w.close()
	g, err := gate.New(gate.Config{Policies: func() *policy.Set { return w.set }, Recorder: full{}, Approvals: never{}, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	w.book.Attach(g)
	if _, err := w.book.Open(t.Context(), ona, Ask{Connection: "orders", Reason: "r"}); kindOf(err) != approval.Conflict || len(w.book.Windows(&ona.Principal, "orders")) > 0 {
		t.Error(err)
	}
}

type full struct{}

func (full) Open(gate.SessionInfo) (gate.Recording, error) { return nil, errors.New("disk full") }
