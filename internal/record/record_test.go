package record_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	"gatehouse/internal/record"
	"gatehouse/internal/record/faultfs"
)

func open(t testing.TB, o record.Options) *record.Journal {
	t.Helper()
	j, err := record.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func info(id string) gate.SessionInfo {
	return gate.SessionInfo{ID: id, Connection: "orders", Principal: policy.Principal{Kind: policy.Agent, ID: "bot"}}
}

func asked(n uint64, text string) gate.Event {
	return gate.Event{Kind: gate.Requested, Request: n, Body: gate.RequestBody{ID: fmt.Sprint(n), Intent: gate.Intent{Text: text}}}
}

func answered(n uint64) gate.Event {
	return gate.Event{Kind: gate.Responded, Request: n, Body: gate.Outcome{Status: "ok"}}
}

func session(t testing.TB, j *record.Journal, id string) gate.Recording {
	t.Helper()
	r, err := j.Open(info(id))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWriteAndRead(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	j := open(t, record.Options{Dir: dir, SegmentSize: 1 << 10})
	a, b := session(t, j, "s-a"), session(t, j, "s-b")
	rows := []byte(strings.Repeat("row and row ", 1000))
	must(t, a.Append(true, asked(1, "SELECT 1")))
	must(t, b.Append(false, asked(1, strings.Repeat("x", 3000))))
	must(t, a.Append(false, gate.Event{Kind: gate.ResultRows, Request: 1, Data: rows}, answered(1)))
	must(t, b.Append(false, asked(2, "y"), answered(2)))
	must(t, a.Close(gate.SessionEnd{Reason: "client", Requests: 1}))
	if a.Append(false, asked(2, "late")) == nil {
		t.Error("an append after the end")
	}
	if _, err := record.Open(record.Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another gateway") {
		t.Errorf("a second process: %v", err)
	}
	// While it is open, too.
	if r, err := record.Verify(ctx, dir); err != nil || !r.OK() || len(r.Sessions) != 2 || r.Segments < 2 {
		t.Errorf("%+v %v", r, err)
	}
	must(t, j.Close())
	if b.Append(false, asked(3, "late")) == nil {
		t.Error("an append to a closed journal")
	}
	open(t, record.Options{Dir: dir}).Close() // recovers: closes s-b

	list, err := record.List(ctx, dir, record.Filter{})
	if err != nil || len(list) != 2 || list[0].ID != "s-b" || list[0].State != "interrupted" || list[0].Unknown != 1 || list[0].Requests != 2 || list[1].State != "closed" || list[1].Principal.ID != "bot" {
		t.Errorf("%+v %v", list, err)
	}
	if one, err := record.List(ctx, dir, record.Filter{Limit: 1, Connection: "orders", Principal: "bo"}); err != nil || len(one) != 1 {
		t.Errorf("%+v %v", one, err)
	}
	if none, err := record.List(ctx, dir, record.Filter{Connection: "x"}); err != nil || len(none) != 0 {
		t.Errorf("%+v %v", none, err)
	}
	var got []string
	for e, err := range record.Read(ctx, dir, "s-a") {
		must(t, err)
		for _, ev := range e.Events {
			got = append(got, string(ev.Kind))
			if ev.Kind == gate.ResultRows && !bytes.Equal(ev.Data, rows) {
				t.Error("the rows are others")
			}
		}
	}
	if s := strings.Join(got, " "); s != "session.open request result.rows response session.close" {
		t.Error(s)
	}
	for _, err := range record.Read(ctx, dir, "s-none") {
		if !errors.Is(err, record.ErrNoSession) {
			t.Error(err)
		}
	}
	r, err := record.Verify(ctx, dir, "s-b")
	if err != nil || !r.OK() || len(r.Sessions) != 1 || len(r.Sessions[0].Unknown) != 1 || !r.Sessions[0].Closed {
		t.Errorf("%+v %v", r, err)
	}
}

// TestEveryChangeShows: a changed, removed, doubled or moved byte anywhere fails the verification.
func TestEveryChangeShows(t *testing.T) {
	dir := t.TempDir()
	j := open(t, record.Options{Dir: dir})
	for _, id := range []string{"s-a", "s-b", "s-c"} {
		r := session(t, j, id)
		must(t, r.Append(false, asked(1, "SELECT 1")))
		must(t, r.Append(false, answered(1)))
		must(t, r.Close(gate.SessionEnd{Reason: "client"}))
	}
	must(t, j.Close())
	path := filepath.Join(dir, "journal-00000001.ghj")
	whole, err := os.ReadFile(path)
	must(t, err)
	verify := func(b []byte) bool {
		other := t.TempDir()
		must(t, os.WriteFile(filepath.Join(other, filepath.Base(path)), b, 0o600))
		r, err := record.Verify(context.Background(), other)
		return err == nil && r.OK() && len(r.Notes) == 0
	}
	if !verify(whole) { // without its keys
		t.Fatal("the journal as it is does not verify")
	}
	if r, err := record.Verify(t.Context(), dir); err != nil || !r.OK() || r.Sealed || len(r.Sessions) != 3 {
		t.Fatalf("with its keys: %+v %v", r, err)
	}
	if bytes.Contains(whole, []byte("SELECT 1")) {
		t.Error("what was asked can be read in the segment")
	}
	for i := 0; i < len(whole); i += 7 {
		changed := bytes.Clone(whole)
		changed[i] ^= 1
		if verify(changed) {
			t.Fatalf("byte %d can be changed", i)
		}
	}
	// Frames start where a length and a checksum stand; find them by walking.
	var frames [][]byte
	for at := 48; at < len(whole); {
		n := 8 + int(whole[at])<<24 + int(whole[at+1])<<16 + int(whole[at+2])<<8 + int(whole[at+3])
		frames = append(frames, whole[at:at+n])
		at += n
	}
	if len(frames) != 12 {
		t.Fatalf("%d frames", len(frames))
	}
	// A change before the last entry is damage, not a tear.
	for i := 48; i < len(whole)-len(frames[11]); i += 5 {
		changed := bytes.Clone(whole)
		changed[i] ^= 1
		other := t.TempDir()
		must(t, os.WriteFile(filepath.Join(other, filepath.Base(path)), changed, 0o600))
		if r, err := record.Verify(context.Background(), other); err != nil || r.OK() {
			t.Fatalf("byte %d can be changed: %v %+v", i, err, r)
		}
	}
	join := func(list ...[][]byte) []byte {
		b := bytes.Clone(whole[:48])
		for _, l := range list {
			b = append(b, bytes.Join(l, nil)...)
		}
		return b
	}
	for name, b := range map[string][]byte{
		"an entry is missing":     join(frames[:1], frames[2:]),
		"a session is missing":    join(frames[:4], frames[8:]),
		"the first is missing":    join(frames[4:]),
		"two entries are swapped": join(frames[:1], frames[2:3], frames[1:2], frames[3:]),
		"sessions are swapped":    join(frames[4:8], frames[:4], frames[8:]),
		"an entry is doubled":     join(frames[:2], frames[1:]),
		"an entry is cut in two":  append(bytes.Clone(whole[:60]), whole[70:]...),
		"the last entry is cut":   whole[:len(whole)-3],
		"noise follows":           append(bytes.Clone(whole), "noise and noise"...),
		"an impossible length":    append(bytes.Clone(whole), 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0),
	} {
		if verify(b) {
			t.Errorf("%s, and it verifies", name)
		}
	}
	// Damage in the middle is not taken for a torn tail.
	broken := bytes.Clone(whole)
	broken[60] ^= 1
	must(t, os.WriteFile(path, broken, 0o600))
	if _, err := record.Open(record.Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged journal is continued: %v", err)
	}
	if now, _ := os.ReadFile(path); !bytes.Equal(now, broken) {
		t.Error("the evidence was changed")
	}
}

func TestUnusableFolder(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/file", nil, 0o600))
	for name, o := range map[string]record.Options{
		"a file":    {Dir: dir + "/file"},
		"read-only": {Dir: dir + "/ro", FS: readOnly{}},
	} {
		if _, err := record.Open(o); err == nil || !strings.Contains(err.Error(), o.Dir) || !strings.Contains(err.Error(), "make it writable") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// readOnly is a file system that cannot be written: tests may run as root, whom no mode stops.
type readOnly struct{}

func (readOnly) Create(path string) (faultfs.File, error) {
	return nil, &os.PathError{Op: "open", Path: path, Err: syscall.EROFS}
}
func (readOnly) Append(path string) (faultfs.File, error) { return readOnly{}.Create(path) }

// TestFailuresPoison: after a failed write or sync nothing is acknowledged any more, and what was is there.
func TestFailuresPoison(t *testing.T) {
	disk := errors.New("no space left on device")
	for name, fault := range map[string]func(*faultfs.Faults, *atomic.Int64){
		"write": func(f *faultfs.Faults, n *atomic.Int64) {
			f.Write = func(string, []byte) (int, error) {
				if n.Add(-1) < 0 {
					return 5, disk
				}
				return 0, nil
			}
		},
		"sync": func(f *faultfs.Faults, n *atomic.Int64) {
			f.Sync = func(string) error {
				if n.Add(-1) < 0 {
					return disk
				}
				return nil
			}
		},
	} {
		for after := int64(2); after < 8; after++ {
			dir := t.TempDir()
			var left atomic.Int64
			left.Store(after)
			fs := &faultfs.Faults{FS: faultfs.OS{}}
			fault(fs, &left)
			j, err := record.Open(record.Options{Dir: dir, FS: fs, SyncInterval: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			var acknowledged int
			var failed error
			r, err := j.Open(info("s-a"))
			for i := uint64(1); err == nil && i <= 10; i++ {
				if err = r.Append(true, asked(i, "x")); err == nil {
					acknowledged++
				}
			}
			if failed = err; failed == nil || !strings.Contains(failed.Error(), "restart the gateway") {
				t.Fatalf("%s after %d: %v", name, after, failed)
			}
			if _, err := j.Open(info("s-b")); err == nil {
				t.Errorf("%s after %d: a session is opened", name, after)
			}
			j.Close()
			again := open(t, record.Options{Dir: dir})
			must(t, again.Close())
			var found int
			for e, err := range record.Read(context.Background(), dir, "s-a") {
				if errors.Is(err, record.ErrNoSession) {
					break
				}
				must(t, err)
				for _, ev := range e.Events {
					if ev.Kind == gate.Requested {
						found++
					}
				}
			}
			if found < acknowledged {
				t.Errorf("%s after %d: %d were acknowledged, %d are there", name, after, acknowledged, found)
			}
		}
	}
}

// TestSyncBeforeDurableReturns: a durable append returns after a sync that began after its write, and so does a Sync.
func TestSyncBeforeDurableReturns(t *testing.T) {
	var writes, synced atomic.Int64
	fs := &faultfs.Faults{FS: faultfs.OS{}}
	fs.Write = func(string, []byte) (int, error) { writes.Add(1); return 0, nil }
	var pending atomic.Int64
	fs.Sync = func(string) error { pending.Store(writes.Load()); return nil }
	fs.Synced = func(string) { synced.Store(pending.Load()) }
	j := open(t, record.Options{Dir: t.TempDir(), FS: fs, SyncInterval: time.Hour})
	defer j.Close()
	r := session(t, j, "s-a")
	for i := uint64(1); i < 50; i++ {
		must(t, r.Append(false, asked(i, "read")))
		before := synced.Load()
		must(t, r.Append(true, asked(i, "write")))
		if synced.Load() < writes.Load() || synced.Load() == before {
			t.Fatal("it returned before it was on the disk")
		}
		must(t, r.Append(false, asked(i, "write")))
		must(t, r.Sync())
		if synced.Load() < writes.Load() {
			t.Fatal("Sync returned before it was on the disk")
		}
	}
}

// TestSlowSyncHoldsNobodyElse: while one sync takes long, appends that need none go on.
func TestSlowSyncHoldsNobodyElse(t *testing.T) {
	release, syncing := make(chan struct{}), make(chan struct{})
	var armed atomic.Bool
	fs := &faultfs.Faults{FS: faultfs.OS{}}
	fs.Sync = func(string) error {
		if armed.CompareAndSwap(true, false) {
			close(syncing)
			<-release
		}
		return nil
	}
	j := open(t, record.Options{Dir: t.TempDir(), FS: fs, SyncInterval: time.Hour})
	a, b := session(t, j, "s-a"), session(t, j, "s-b")
	armed.Store(true)
	done := make(chan error)
	go func() { done <- a.Append(true, asked(1, "write")) }()
	<-syncing
	for i := uint64(1); i <= 100; i++ {
		must(t, b.Append(false, asked(i, "read")))
	}
	close(release)
	must(t, <-done)
	must(t, j.Close())
}

func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	j := open(t, record.Options{Dir: dir, SegmentSize: 16 << 10})
	var wg sync.WaitGroup
	for s := range 8 {
		wg.Go(func() {
			r := session(t, j, fmt.Sprint("s-", s))
			for i := uint64(1); i <= 50; i++ {
				if err := r.Append(i%10 == 0, asked(i, "x"), answered(i)); err != nil {
					t.Error(err)
				}
			}
			if err := r.Close(gate.SessionEnd{Reason: "client"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	must(t, j.Close())
	r, err := record.Verify(context.Background(), dir)
	if err != nil || !r.OK() || len(r.Sessions) != 8 || r.Entries != 8*52 {
		t.Errorf("%+v %v", r, err)
	}
}

// TestCrash: whatever was appended, and wherever the file ends after a crash, the journal opens again,
// verifies, and has everything that was durable before that place.
func TestCrash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "record-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "journal-00000001.ghj")
		for range rapid.IntRange(1, 3).Draw(t, "lives") {
			j, err := record.Open(record.Options{Dir: dir, SyncInterval: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			var recordings []gate.Recording
			type mark struct {
				size  int64
				id    string
				count int
			}
			var marks []mark
			counts := map[string]int{}
			for i := range rapid.IntRange(0, 12).Draw(t, "steps") {
				if len(recordings) == 0 || rapid.IntRange(0, 3).Draw(t, "what") == 0 {
					r, err := j.Open(info(fmt.Sprintf("s-%p-%d", j, i)))
					if err != nil {
						t.Fatal(err)
					}
					recordings = append(recordings, r)
					continue
				}
				k := rapid.IntRange(0, len(recordings)-1).Draw(t, "session")
				text := strings.Repeat("x", rapid.IntRange(0, 3000).Draw(t, "size"))
				if err := recordings[k].Append(true, asked(1, text)); err != nil {
					t.Fatal(err)
				}
				id := fmt.Sprint(k)
				counts[id]++
				st, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				marks = append(marks, mark{st.Size(), id, counts[id]})
			}
			j.Close()
			st, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			cut := rapid.Int64Range(0, st.Size()).Draw(t, "cut")
			if err := os.Truncate(path, cut); err != nil {
				t.Fatal(err)
			}
			if rapid.Bool().Draw(t, "noise") {
				f, _ := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
				f.Write(make([]byte, rapid.IntRange(0, 20).Draw(t, "zeros")))
				f.Close()
			}
			durable := 0
			for _, m := range marks {
				if m.size <= cut {
					durable++
				}
			}
			again, err := record.Open(record.Options{Dir: dir})
			if err != nil {
				t.Fatalf("cut at %d of %d: %v", cut, st.Size(), err)
			}
			again.Close()
			r, err := record.Verify(context.Background(), dir)
			if err != nil || !r.OK() || len(r.Notes) != 0 {
				t.Fatalf("cut at %d of %d: %+v %v", cut, st.Size(), r, err)
			}
			found := 0
			list, err := record.List(context.Background(), dir, record.Filter{})
			if err != nil {
				t.Fatal(err)
			}
			prefix := fmt.Sprintf("s-%p-", j)
			for _, s := range list {
				if s.State == "open" {
					t.Fatalf("%s is open after a recovery", s.ID)
				}
				if strings.HasPrefix(s.ID, prefix) {
					found += s.Requests
				}
			}
			if found != durable {
				t.Fatalf("%d entries were durable before the cut, %d are there", durable, found)
			}
		}
	})
}

// FuzzSegment: no bytes make the readers panic or take much memory.
func FuzzSegment(f *testing.F) {
	dir := f.TempDir()
	j := open(f, record.Options{Dir: dir})
	r := session(f, j, "s-a")
	r.Append(false, asked(1, strings.Repeat("x", 5000)))
	r.Close(gate.SessionEnd{})
	j.Close()
	whole, _ := os.ReadFile(filepath.Join(dir, "journal-00000001.ghj"))
	f.Add(whole)
	f.Add(whole[:50])
	f.Add([]byte("GHJRNL1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "journal-00000001.ghj"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		record.Verify(ctx, dir)
		record.List(ctx, dir, record.Filter{})
		for range record.Read(ctx, dir, "s-a") {
		}
		if j, err := record.Open(record.Options{Dir: dir}); err == nil {
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			if r, err := record.Verify(ctx, dir); err != nil || !r.OK() {
				t.Fatalf("recovered, and it does not verify: %+v %v", r, err)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, durable := range []bool{false, true} {
		b.Run(fmt.Sprintf("durable=%v", durable), func(b *testing.B) {
			j := open(b, record.Options{Dir: b.TempDir()})
			defer j.Close()
			r := session(b, j, "s-a")
			request, decision := asked(1, "SELECT id, name FROM customers WHERE id = $1"), gate.Event{Kind: gate.Decided, Request: 1, Body: gate.DecisionBody{Version: "0123456789abcdef", Touches: []string{"read table orders/public.customers", "read column orders/public.customers.id"}}}
			for b.Loop() {
				if err := r.Append(durable, request, decision); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
