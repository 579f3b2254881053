package search_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	"gatehouse/internal/record"
	"gatehouse/internal/search"
)

// asked is a request as the test knows it.
type asked struct {
	id, who, connection, effect, policy, text string
	touches                                   []string
	at                                        time.Time
}

// recorded writes sessions of a few principals, interleaved, and gives what was asked, in order.
func recorded(t *testing.T, dir string, j *record.Journal, now *time.Time, rnd *rand.Rand, requests int) []asked {
	t.Helper()
	type live struct {
		recording       gate.Recording
		who, connection string
		id              string
		n               uint64
	}
	var sessions []*live
	words := strings.Fields("select update delete orders customers email total status nächste id_7 where from")
	var out []asked
	for len(out) < requests {
		if len(sessions) < 5 || rnd.IntN(20) == 0 {
			l := &live{who: fmt.Sprintf("Agent-%d", rnd.IntN(4)), connection: []string{"orders", "shop"}[rnd.IntN(2)], id: fmt.Sprintf("s-%d", rnd.Int64())}
			r, err := j.Open(gate.SessionInfo{ID: l.id, Opened: *now, Principal: policy.Principal{Kind: policy.Agent, ID: "issuer:" + l.who, Name: l.who}, Connection: l.connection, Protocol: "postgres"})
			if err != nil {
				t.Fatal(err)
			}
			l.recording = r
			sessions = append(sessions, l)
		}
		l := sessions[rnd.IntN(len(sessions))]
		l.n++
		a := asked{id: fmt.Sprintf("%s.%d", l.id, l.n), who: l.who, connection: l.connection, policy: fmt.Sprintf("policy-%d", rnd.IntN(3))}
		for range 1 + rnd.IntN(5) {
			a.text += words[rnd.IntN(len(words))] + " "
		}
		effect := policy.Effect(rnd.IntN(3))
		a.effect = effect.String()
		table := []string{"public.orders", "public.customers"}[rnd.IntN(2)]
		a.touches = []string{"read table " + l.connection + "/" + table, "update column " + l.connection + "/" + table + ".email"}
		d := gate.DecisionBody{Decision: policy.Decision{Effect: effect, Policies: []string{a.policy}}, Touches: a.touches}
		if err := l.recording.Append(false, gate.Event{Kind: gate.Requested, Request: l.n, Body: gate.RequestBody{ID: a.id, Intent: gate.Intent{Received: a.text}}}, gate.Event{Kind: gate.Decided, Request: l.n, Body: d}); err != nil {
			t.Fatal(err)
		}
		a.at = *now
		if err := l.recording.Append(false, gate.Event{Kind: gate.Responded, Request: l.n, Body: gate.Outcome{Status: "ok"}}); err != nil {
			t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}

func has(text string, words ...string) bool {
	fields := strings.Fields(text)
	for _, w := range words {
		if !slices.Contains(fields, w) {
			return false
		}
	}
	return true
}

// TestSearch compares what is found with what was recorded, for random queries, page by page.
func TestSearch(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rnd := rand.New(rand.NewPCG(5, 6))
	tick := func() time.Time {
		if now = now.Add(time.Second); rnd.IntN(50) == 0 {
			now = now.Add(-30 * time.Second) // clocks do
		}
		return now
	}
	j, err := record.Open(record.Options{Dir: dir, SegmentSize: 64 << 10, Now: tick})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	x := open(t, dir)
	all := recorded(t, dir, j, &now, rnd, 500)
	catchUp(t, x)
	all = append(all, recorded(t, dir, j, &now, rnd, 500)...)
	catchUp(t, x)
	if behind, err := x.Behind(ctx); err != nil || behind != 0 {
		t.Fatal(behind, err)
	}
	for range 60 {
		var q search.Query
		var keep []func(asked) bool
		add := func(one int, set func(), f func(asked) bool) {
			if rnd.IntN(one) == 0 {
				set()
				keep = append(keep, f)
			}
		}
		one := all[rnd.IntN(len(all))]
		word := strings.Fields(one.text)[0]
		add(3, func() { q.Text = strings.ToUpper(word) }, func(a asked) bool { return has(a.text, word) })
		add(3, func() { q.Principal = strings.ToLower(one.who[2:]) }, func(a asked) bool { return a.who == one.who })
		add(4, func() { q.Connection = one.connection }, func(a asked) bool { return a.connection == one.connection })
		add(4, func() { q.Effect = one.effect }, func(a asked) bool { return a.effect == one.effect })
		add(4, func() { q.Policy = one.policy }, func(a asked) bool { return a.policy == one.policy })
		add(4, func() { q.Since = one.at }, func(a asked) bool { return !a.at.Before(one.at) })
		until := one.at.Add(time.Minute)
		add(4, func() { q.Until = until }, func(a asked) bool { return a.at.Before(until) })
		table := one.touches[0][len("read table "):]
		add(4, func() { q.Object = strings.TrimPrefix(table, one.connection+"/") }, func(a asked) bool { return strings.HasSuffix(a.touches[0], strings.TrimPrefix(table, one.connection)) })
		add(6, func() { q.Object, q.Action = table+".email", "update" }, func(a asked) bool { return a.touches[0] == one.touches[0] })
		var want, got []string
		for _, a := range slices.Backward(all) {
			if !slices.ContainsFunc(keep, func(f func(asked) bool) bool { return !f(a) }) {
				want = append(want, a.id)
			}
		}
		q.Limit = 10 + rnd.IntN(300)
		for {
			page, err := x.Search(ctx, q)
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range page.Hits {
				got = append(got, h.ID)
				if h.Status != "ok" || len(h.Touches) != 2 || h.Principal.Kind != policy.Agent {
					t.Fatalf("%+v", h)
				}
				e, err := record.ReadAt(ctx, dir, h.At)
				if err != nil || e.Session != h.Session {
					t.Fatalf("%s: %s %v", h.ID, e.Session, err)
				}
			}
			if page.Next == 0 {
				break
			}
			if len(page.Hits) != q.Limit {
				t.Fatalf("a page of %d with %d and more", q.Limit, len(page.Hits))
			}
			q.Before = page.Next
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%+v: got %d, want %d\n%v\n%v", q, len(got), len(want), got, want)
		}
	}
}

func open(t *testing.T, dir string) *search.Index {
	t.Helper()
	x, err := search.Open(context.Background(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

func catchUp(t *testing.T, x *search.Index) {
	t.Helper()
	if err := x.CatchUp(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
}

func find(t *testing.T, x *search.Index, q search.Query) []string {
	t.Helper()
	page, err := x.Search(context.Background(), q)
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	out := []string{}
	for _, h := range page.Hits {
		out = append(out, h.ID)
	}
	return out
}

// TestWords: how the words of a search are read; nothing of it is an expression of the index's own.
func TestWords(t *testing.T) {
	dir := t.TempDir()
	j, err := record.Open(record.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	r, err := j.Open(gate.SessionInfo{ID: "s", Principal: policy.Principal{Kind: policy.Agent, ID: "a"}, Connection: "shop", Protocol: "postgres"})
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range []string{`SELECT "order_total" FROM shop.orders WHERE name = 'Ünal O''Neil'`, "DELETE FROM orders", "orders FROM delete", "NEAR AND OR NOT marks p_1"} {
		n := uint64(i + 1)
		if err := r.Append(false, gate.Event{Kind: gate.Requested, Request: n, Body: gate.RequestBody{Intent: gate.Intent{Received: text}}}, gate.Event{Kind: gate.Decided, Request: n, Body: gate.DecisionBody{}}); err != nil {
			t.Fatal(err)
		}
	}
	x := open(t, dir)
	catchUp(t, x)
	for text, want := range map[string][]string{
		"orders": {"s.3", "s.2", "s.1"}, "DELETE orders": {"s.3", "s.2"}, `"delete from"`: {"s.2"}, "ord*": {"s.3", "s.2", "s.1"},
		"order_total": {"s.1"}, "unal": {"s.1"}, "ünal": {"s.1"}, "shop.orders": {"s.1"}, "o'neil": {"s.1"}, "nothing": {}, "NEAR": {"s.4"}, "NOT": {"s.4"},
		"AND": {"s.4"}, "marks": {"s.4"}, "p_1": {"s.4"}, `"p_1"`: {"s.4"}, "text : orders": {}, "orders ;": {"s.3", "s.2", "s.1"}, "^orders": {"s.3", "s.2", "s.1"},
		"(orders": {"s.3", "s.2", "s.1"}, "orders)": {"s.3", "s.2", "s.1"}, "e_refuse": {},
	} {
		if got := find(t, x, search.Query{Text: text}); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
	for _, q := range []search.Query{{Text: "*"}, {Text: `"orders`}, {Text: " ; "}, {Effect: "maybe"}, {Limit: -1}, {Limit: 1 << 30}, {Text: strings.Repeat("x", 5000)}} {
		if _, err := x.Search(context.Background(), q); !errors.Is(err, search.ErrQuery) {
			t.Errorf("%.40v: %v", q, err)
		}
	}
}

// TestOneWriter: a second process reads what the first keeps up to date; what is not an index of these recordings is made
// anew.
func TestOneWriter(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	j, err := record.Open(record.Options{Dir: dir, SegmentSize: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	rnd := rand.New(rand.NewPCG(1, 1))
	recorded(t, dir, j, &now, rnd, 200)
	x := open(t, dir)
	second := open(t, dir)
	if !x.Writes() || second.Writes() {
		t.Error("both or none write")
	}
	catchUp(t, second)
	if got := find(t, second, search.Query{}); len(got) != 0 {
		t.Error("a reader wrote")
	}
	catchUp(t, x)
	if got := find(t, second, search.Query{Limit: 1000}); len(got) != 200 {
		t.Error(len(got))
	}
	// Who wrote ends, and the second goes on, at the pace of a process with other work too.
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	catchUp(t, second)
	if !second.Writes() {
		t.Error("nobody writes")
	}
	recorded(t, dir, j, &now, rnd, 200)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { second.Run(ctx, time.Millisecond); close(ended) }()
	for len(find(t, second, search.Query{Limit: 1000})) < 400 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-ended
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	// Segments that were taken away, and an index that is none.
	segments, err := filepath.Glob(filepath.Join(dir, "journal-*.ghj"))
	if err != nil || len(segments) < 3 {
		t.Fatal(segments, err)
	}
	x = open(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "other.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, s := range segments[1:] {
		if err := os.Rename(s, s+".away"); err != nil {
			t.Fatal(err)
		}
	}
	catchUp(t, x)
	if got := len(find(t, x, search.Query{Limit: 1000})); got == 0 || got >= 400 {
		t.Errorf("%d after the segments went", got)
	}
	x.Close()
	if err := os.WriteFile(filepath.Join(dir, "search.db"), []byte("not a database at all, but long enough to be looked at as one ...................................................."), 0o600); err != nil {
		t.Fatal(err)
	}
	x = open(t, dir)
	catchUp(t, x)
	if got := len(find(t, x, search.Query{Limit: 1000})); got == 0 {
		t.Error("nothing after the index was damaged")
	}
}
