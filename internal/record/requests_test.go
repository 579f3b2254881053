package record_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	"gatehouse/internal/record"
)

// TestReadManyDecisions: who asks for ever other things does not fill the memory of who reads that.
func TestReadManyDecisions(t *testing.T) {
	dir := t.TempDir()
	j := open(t, record.Options{Dir: dir})
	r, err := j.Open(info("s-1"))
	must(t, err)
	for n := range uint64(100) {
		body := gate.DecisionBody{Touches: []string{fmt.Sprintf("listen channel orders/c%d", n)}, Facts: []gate.Fact{{Type: "Channel"}}, Refusal: &gate.Refusal{Code: gate.PolicyDenied}}
		must(t, r.Append(false, gate.Event{Kind: gate.Requested, Request: n + 1, Body: gate.RequestBody{ID: "x"}}, gate.Event{Kind: gate.Decided, Request: n + 1, Body: body}))
	}
	must(t, r.Close(gate.SessionEnd{}))
	must(t, j.Close())
	if got, err := record.ReadRequests(t.Context(), dir, record.Query{}); err != nil || len(got.Asked) != 100 {
		t.Errorf("%v", err)
	}
	if _, err := record.ReadRequests(t.Context(), dir, record.Query{Most: 2000}); err != record.ErrMany {
		t.Errorf("%v", err)
	}
}

// TestReadRequests writes random sessions through the journal, over many segments, and compares what is read with
// what was written.
func TestReadRequests(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	begun := now
	j := open(t, record.Options{Dir: dir, SegmentSize: 64 << 10, Now: func() time.Time { now = now.Add(time.Second); return now }})
	rnd := rand.New(rand.NewPCG(1, 2))
	type key struct {
		who, connection, touch string
		prepare                bool
	}
	want, stopped := map[key]int{}, map[key]int{}
	total, since := 0, begun.Add(500*time.Second)
	var live []gate.Recording
	var infos []gate.SessionInfo
	for n := range 40 {
		i := info(fmt.Sprintf("s-%d", n))
		i.Principal.ID, i.Connection = fmt.Sprintf("bot%d", n%3), []string{"orders", "shop"}[n%2]
		i.Connect = &gate.DecisionBody{Decision: policy.Decision{Effect: policy.Permit}, Touches: []string{"connect connection " + i.Connection}, Facts: []gate.Fact{{Type: "Connection"}}}
		r, err := j.Open(i)
		must(t, err)
		if now.After(since) || now.Equal(since) {
			want[key{i.Principal.ID, i.Connection, i.Connect.Touches[0], false}]++
		}
		live, infos = append(live, r), append(infos, i)
		for range 60 {
			at := rnd.IntN(len(live))
			total++
			k := key{infos[at].Principal.ID, infos[at].Connection, fmt.Sprintf("read table t%d", rnd.IntN(3)), rnd.IntN(4) == 0}
			body := gate.DecisionBody{Decision: policy.Decision{Effect: policy.Permit}, Touches: []string{k.touch}, Facts: []gate.Fact{{Type: "Table"}}}
			request := gate.RequestBody{ID: "x", Intent: gate.Intent{Text: "SELECT" + strings.Repeat(" 1", rnd.IntN(3000)), Received: `"prepare":true`, Prepare: k.prepare}}
			refuse := rnd.IntN(5) == 0
			if refuse {
				k.touch = "refused " + k.touch
				body = gate.DecisionBody{Touches: []string{k.touch}, Facts: []gate.Fact{{Type: "Table"}}, Refusal: &gate.Refusal{Code: gate.PolicyDenied, RequestID: fmt.Sprint(total)}}
			}
			n := uint64(total)
			must(t, live[at].Append(false, gate.Event{Kind: gate.Requested, Request: n, Body: request}, gate.Event{Kind: gate.Decided, Request: n, Body: body}))
			counts := !now.Before(since)
			if counts {
				want[k]++
			}
			status := []string{"ok", "refused", "error"}[rnd.IntN(3)]
			must(t, live[at].Append(false, gate.Event{Kind: gate.ResultRows, Request: n, Data: make([]byte, rnd.IntN(9000))}, gate.Event{Kind: gate.Responded, Request: n, Body: gate.Outcome{Status: status}}))
			if counts && status == "refused" && !refuse {
				stopped[k]++
			}
		}
	}
	progress := 0
	got, err := record.ReadRequests(ctx, dir, record.Query{Since: since, Examples: 2, Moments: true, Progress: func(done, all int64, n int) { progress++ }})
	must(t, err)
	seen := 0
	for _, a := range got.Asked {
		k := key{a.Principal.ID, a.Connection, a.Decision.Touches[0], a.Prepare}
		if a.Count != want[k] || a.Stopped != stopped[k] || len(a.Moments) != a.Count || len(a.Examples) != min(2, a.Count) || a.First.Before(since) || a.Last.Before(a.First) {
			t.Errorf("%+v: %+v; want %d, stopped %d", k, a, want[k], stopped[k])
		}
		if a.Connect != strings.HasPrefix(k.touch, "connect") || a.Connect != (a.Examples[0].Text == "") || !a.Connect && !strings.HasPrefix(a.Examples[0].Text, "SELECT") {
			t.Errorf("%+v: connect %v, %.20q", k, a.Connect, a.Examples[0].Text)
		}
		if !a.Connect {
			seen += a.Count
		}
		delete(want, k)
	}
	if len(want) > 0 || got.Requests != seen || got.Headless != 0 || progress == 0 {
		t.Errorf("missing %v; %d requests, %d seen, %d headless", want, got.Requests, seen, got.Headless)
	}
	if one, err := record.ReadRequests(ctx, dir, record.Query{Connection: "shop", Who: func(p policy.Principal) bool { return p.ID == "bot1" }}); err != nil || one.Requests == 0 || one.Sessions == 0 {
		t.Errorf("%+v %v", one, err)
	} else {
		for _, a := range one.Asked {
			if a.Connection != "shop" || a.Principal.ID != "bot1" {
				t.Errorf("%+v", a)
			}
		}
	}

	// A session whose beginning is gone.
	names, err := filepath.Glob(filepath.Join(dir, "*.ghj"))
	must(t, err)
	must(t, j.Close())
	must(t, os.Remove(names[0]))
	if part, err := record.ReadRequests(ctx, dir, record.Query{}); err != nil || part.Headless == 0 || part.Headless+part.Requests >= total {
		t.Errorf("without the first segment: %+v %v", part, err)
	}
	// A change of a byte in the middle is an error; at the end it is what is being written.
	middle, last := names[len(names)/2], names[len(names)-1]
	b, err := os.ReadFile(last)
	must(t, err)
	must(t, os.WriteFile(last, b[:len(b)-3], 0o600))
	if _, err := record.ReadRequests(ctx, dir, record.Query{}); err != nil {
		t.Errorf("a torn tail: %v", err)
	}
	b, err = os.ReadFile(middle)
	must(t, err)
	b[len(b)/2] ^= 1
	must(t, os.WriteFile(middle, b, 0o600))
	if _, err := record.ReadRequests(ctx, dir, record.Query{}); err == nil || !strings.Contains(err.Error(), filepath.Base(middle)) {
		t.Errorf("a changed byte: %v", err)
	}
	if _, err := record.ReadRequests(ctx, filepath.Join(dir, "none"), record.Query{}); err == nil {
		t.Error("a folder that is not there")
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := record.ReadRequests(gone, dir, record.Query{}); err == nil {
		t.Error("a context that has ended")
	}
}

// TestReadOldRequests: what was recorded without facts is read, and says so.
func TestReadOldRequests(t *testing.T) {
	dir := t.TempDir()
	j := open(t, record.Options{Dir: dir})
	r := session(t, j, "s-a")
	must(t, r.Append(false, asked(1, "SELECT 1"), gate.Event{Kind: gate.Decided, Request: 1, Body: json.RawMessage(`{"decision":{"effect":"permit","policies":["read"]},"touches":["read table orders/public.t"],"policy_version":"1"}`)}))
	must(t, r.Append(false, asked(2, "SELECT 2"), gate.Event{Kind: gate.Decided, Request: 2, Body: json.RawMessage(`{"decision":{"effect":"what"}}`)}))
	must(t, j.Close())
	got, err := record.ReadRequests(context.Background(), dir, record.Query{})
	must(t, err)
	if len(got.Asked) != 2 || got.Asked[0].Damaged != nil || got.Asked[1].Damaged == nil {
		t.Fatalf("%+v", got)
	}
	if _, err := got.Asked[0].Decision.Judged(); err != gate.ErrNoFacts {
		t.Error(err)
	}
}
