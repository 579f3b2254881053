package ship_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	"gatehouse/internal/record"
	"gatehouse/internal/ship"
	"gatehouse/internal/stream"
)

// victim names the folder in which this process is the one that is killed.
const victim = "GATEHOUSE_TEST_VICTIM"

func TestMain(m *testing.M) {
	if dir := os.Getenv(victim); dir != "" {
		if err := load(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// targets are where the victim's recordings go.
func targets(dir string) ([]ship.Target, []stream.Target) {
	return []ship.Target{{Name: "archive", To: "file:" + filepath.Join(dir, "archive")}},
		[]stream.Target{{Name: "lines", Kind: "jsonl", To: "file:" + filepath.Join(dir, "events.jsonl")}}
}

// load records, ships and streams until it is killed. What was acknowledged as being on the disk it says, a line each.
func load(dir string) error {
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", 32)))
	j, err := record.Open(record.Options{Dir: filepath.Join(dir, "recordings"), Signer: key, SegmentSize: 24 << 10, SegmentAge: 20 * time.Millisecond, SignInterval: 2 * time.Millisecond, SyncInterval: time.Millisecond})
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	places, sinks := targets(dir)
	fast := func(ctx context.Context, _ time.Duration) bool { time.Sleep(time.Millisecond); return ctx.Err() == nil }
	shipper, err := ship.New(ship.Options{Dir: filepath.Join(dir, "recordings"), Targets: places, Log: log, Wait: fast})
	if err != nil {
		return err
	}
	streamer, err := stream.New(stream.Options{Dir: filepath.Join(dir, "recordings"), Targets: sinks, Log: log, Wait: fast})
	if err != nil {
		return err
	}
	go shipper.Run(context.Background())
	go streamer.Run(context.Background())
	var failed error
	var say sync.Mutex
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for failed == nil {
				id := "s-" + rand.Text()
				r, err := j.Open(gate.SessionInfo{ID: id, Connection: "orders", Protocol: "plain", Principal: policy.Principal{Kind: policy.Agent, ID: "bot"}})
				for n := uint64(1); err == nil && n <= 5; n++ {
					text := hex.EncodeToString([]byte(rand.Text() + rand.Text()))
					if err = r.Append(true, gate.Event{Kind: gate.Requested, Request: n, Body: gate.RequestBody{ID: fmt.Sprintf("%s.%d", id, n), Intent: gate.Intent{Text: text}}}); err != nil {
						break
					}
					say.Lock()
					fmt.Printf("%s.%d\n", id, n)
					say.Unlock()
					err = r.Append(false, gate.Event{Kind: gate.Responded, Request: n, Body: gate.Outcome{Status: "ok"}})
				}
				if err == nil {
					err = r.Close(gate.SessionEnd{Reason: "client", Requests: 5})
				}
				if err != nil {
					say.Lock()
					failed = err
					say.Unlock()
				}
			}
		})
	}
	all.Wait()
	return failed
}

// TestKilled kills a process that records, ships and streams at random points, again and again in the same folder. Every time what it
// acknowledged is there, the journal proves itself, and in the end everything was shipped and streamed.
func TestKilled(t *testing.T) {
	kills, each := 12, 6
	if os.Getenv("GATEHOUSE_TEST_ALL") != "" {
		kills, each = 200, 10
	}
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", 32)))
	public := hex.EncodeToString(key.Public().(ed25519.PublicKey))
	said := 0
	for done := 0; done < kills; done += each {
		dir := t.TempDir()
		recordings := filepath.Join(dir, "recordings")
		acknowledged := map[string]bool{}
		for range each {
			for _, id := range kill(t, dir) {
				acknowledged[id] = true
			}
			r, err := record.VerifyAgainst(t.Context(), recordings, nil, []string{public})
			must(t, err)
			if !r.OK() {
				t.Fatalf("as the kill left it: %v %v", r.Problems, r.Sessions)
			}
		}
		said += len(acknowledged)
		j, err := record.Open(record.Options{Dir: recordings, Signer: key})
		must(t, err)
		must(t, j.Close())
		found := map[string]bool{}
		var events []string
		for f, err := range record.After(t.Context(), recordings, record.Cursor{}) {
			must(t, err)
			for i, ev := range f.Events {
				events = append(events, fmt.Sprintf("%s.%d.%d", f.Session, f.Number, i))
				if ev.Kind == gate.Requested {
					found[fmt.Sprintf("%s.%d", f.Session, ev.Request)] = true
				}
			}
		}
		for id := range acknowledged {
			if !found[id] {
				t.Errorf("%s was acknowledged, and is not there", id)
			}
		}
		list, err := record.List(t.Context(), recordings, record.Filter{})
		must(t, err)
		for _, s := range list {
			if s.State == "open" {
				t.Errorf("%s is open after the restart", s.ID)
			}
		}
		finish(t, dir, public, events)
	}
	if said < kills {
		t.Errorf("%d acknowledgments before %d kills: that was no load", said, kills)
	}
	t.Logf("%d kills, %d entries acknowledged on the disk", kills, said)
}

// kill runs the load and kills it at a random moment. It gives what was acknowledged.
func kill(t *testing.T, dir string) (out []string) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), victim+"="+dir)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewScanner(pipe)
	after := mathrand.IntN(120) // acknowledgments, and then some microseconds
	for lines.Scan() {
		if out = append(out, lines.Text()); len(out) == after+1 {
			time.Sleep(time.Duration(mathrand.IntN(3000)) * time.Microsecond)
			must(t, cmd.Process.Signal(syscall.SIGKILL))
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("it ended by itself: %v", err)
	}
	return out
}

// finish ships and streams the rest, and looks at what is there.
func finish(t *testing.T, dir, public string, events []string) {
	t.Helper()
	places, sinks := targets(dir)
	recordings := filepath.Join(dir, "recordings")
	log := slog.New(slog.DiscardHandler)
	shipper, err := ship.New(ship.Options{Dir: recordings, Targets: places, Log: log})
	must(t, err)
	streamer, err := stream.New(stream.Options{Dir: recordings, Targets: sinks, Log: log})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { shipper.Run(ctx) })
	running.Go(func() { streamer.Run(ctx) })
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		a, err := ship.Statuses(recordings, places)
		must(t, err)
		b, err := stream.Statuses(recordings, sinks)
		must(t, err)
		info, err := os.Stat(filepath.Join(recordings, "heads.jsonl"))
		must(t, err)
		if a[0].Backlog.Segments == 0 && a[0].Heads == info.Size() && b[0].Backlog == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%+v %+v", a, b)
		}
	}
	cancel()
	running.Wait()
	r, err := record.VerifyShipped(t.Context(), filepath.Join(dir, "archive"), nil, []string{public})
	if err != nil || !r.OK() {
		t.Errorf("what was shipped: %v %v", err, r.Problems)
	}
	b, err := os.ReadFile(filepath.Join(dir, "events.jsonl"))
	must(t, err)
	next := 0
	seen := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		var e stream.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if seen[e.ID] {
			continue // sent again after a kill
		}
		seen[e.ID] = true
		if next >= len(events) || events[next] != e.ID {
			t.Fatalf("event %d is %s", next, e.ID)
		}
		next++
	}
	if next != len(events) {
		t.Errorf("%d of %d events were streamed", next, len(events))
	}
}
