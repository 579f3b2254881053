package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	"gatehouse/internal/record"
	"gatehouse/internal/record/recordtest"
	"gatehouse/internal/search"
)

// recorded is a folder of recordings with a clock of its own.
type recorded struct {
	t       testing.TB
	dir     string
	journal *record.Journal
	mu      sync.Mutex
	now     time.Time
}

func newRecorded(t testing.TB) *recorded {
	t.Helper()
	r := &recorded{t: t, dir: t.TempDir(), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	var err error
	r.journal, err = record.Open(record.Options{Dir: r.dir, Now: r.clock})
	recordtest.Must(t, err)
	t.Cleanup(func() { recordtest.Must(t, r.journal.Close()) })
	return r
}

func (r *recorded) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *recorded) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

func (r *recorded) session(id string) gate.Recording {
	r.t.Helper()
	one, err := r.journal.Open(gate.SessionInfo{ID: id, Opened: r.clock(), Connection: "shop", Protocol: "postgres", Principal: policy.Principal{Kind: policy.Agent, ID: "bot"}})
	recordtest.Must(r.t, err)
	return one
}

// ask records a request; its result comes in so many entries of one row, each a second after the one before.
func (r *recorded) ask(s gate.Recording, n uint64, text string, rows int, pad string) {
	r.t.Helper()
	recordtest.Must(r.t, s.Append(false, gate.Event{Kind: gate.Requested, Request: n, Body: gate.RequestBody{ID: fmt.Sprint(n), Intent: gate.Intent{Text: text}}}))
	r.pass(time.Second)
	if rows > 0 {
		recordtest.Must(r.t, s.Append(false, gate.Event{Kind: gate.ResultSchema, Request: n, Data: rowDescription("row", "pad")}))
	}
	for i := range rows {
		recordtest.Must(r.t, s.Append(false, gate.Event{Kind: gate.ResultRows, Request: n, Data: dataRow(fmt.Sprintf("row-%d", i), pad)}))
		r.pass(time.Second)
	}
	recordtest.Must(r.t, s.Append(false, gate.Event{Kind: gate.Responded, Request: n, Body: gate.Outcome{Status: "ok", Summary: "SELECT"}}))
}

func message(kind byte, body []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4)), body...)
}

func rowDescription(names ...string) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(names)))
	for _, n := range names {
		b = append(append(b, n...), 0)
		b = append(b, make([]byte, 6)...)
		b = binary.BigEndian.AppendUint32(b, 25) // text
		b = append(b, make([]byte, 8)...)
	}
	return b // the body alone
}

func dataRow(values ...string) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(values)))
	for _, v := range values {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
	}
	return message('D', b)
}

// gatehouse runs a command.
func (r *recorded) gatehouse(args ...string) (out, errs string, code int) {
	var o, e bytes.Buffer
	code = run(context.Background(), append(args, "--recordings", r.dir), streams{os.Stdin, &o, &e})
	return o.String(), e.String(), code
}

func (r *recorded) ok(args ...string) string {
	r.t.Helper()
	out, errs, code := r.gatehouse(args...)
	if code != 0 {
		r.t.Fatalf("%v: exit %d: %s", args, code, errs)
	}
	return out
}

func (r *recorded) index() {
	r.t.Helper()
	x, err := search.Open(r.t.Context(), r.dir, nil)
	recordtest.Must(r.t, err)
	recordtest.Must(r.t, x.CatchUp(r.t.Context(), nil))
	recordtest.Must(r.t, x.Close())
}

// TestReplayFrom begins in the middle of a result: with an index and without one it shows the same, and nothing from before.
func TestReplayFrom(t *testing.T) {
	r := newRecorded(t)
	s, other := r.session("s-one"), r.session("s-other")
	random := make([]byte, 128<<10)
	rand.Read(random)
	pad := hex.EncodeToString(random) // 256 KiB: a place in the index every few rows
	r.ask(s, 1, "SELECT 'the first'", 2, "")
	r.ask(other, 1, "SELECT 'of another session'", 3, pad)
	r.ask(s, 2, "SELECT 'the long one'", 40, pad)
	r.ask(s, 3, "SELECT 'the last'", 1, "")
	recordtest.Must(t, s.Close(gate.SessionEnd{Reason: "client"}))
	for _, from := range []string{"0s", "1s", "20s", "40s", "49s", "2h"} {
		plain := r.ok("sessions", "replay", "s-one", "--from", from, "--rows", "0")
		r.index()
		indexed := r.ok("sessions", "replay", "s-one", "--from", from, "--rows", "0")
		if plain != indexed {
			t.Errorf("--from %s: without an index\n%.600s\nwith one\n%.600s", from, plain, indexed)
		}
		recordtest.Must(t, os.Remove(filepath.Join(r.dir, "search.db")))
		if !strings.HasPrefix(plain, "session     s-one") || strings.Contains(plain, "another session") {
			t.Errorf("--from %s: %.300s", from, plain)
		}
	}
	r.index()
	spot, found, err := search.Seek(t.Context(), r.dir, "s-one", r.clock().Add(-10*time.Second))
	if err != nil || !found || spot.At.Offset <= spot.First.Offset || spot.Columns.Offset <= spot.First.Offset || spot.Columns.Offset >= spot.At.Offset {
		t.Errorf("%+v %v %v", spot, found, err)
	}
	out := r.ok("sessions", "replay", "s-one", "--from", "40s", "--rows", "0")
	for _, not := range []string{"the first", "the long one", "row-1 ", "row-15 "} {
		if strings.Contains(out, not) {
			t.Errorf("%q is from before", not)
		}
	}
	if !strings.Contains(out, "(request 2)") || !strings.Contains(out, "row-39 ") || !strings.Contains(out, "the last") {
		t.Errorf("%.500s", out)
	}
	if _, errs, code := r.gatehouse("sessions", "replay", "s-none", "--from", "1s"); code != 1 || !strings.Contains(errs, "there is no such session") {
		t.Errorf("%d %s", code, errs)
	}
	for _, wrong := range [][]string{{"--speed", "-1"}, {"--skip-idle", "1s"}, {"--from", "-1s"}} {
		if _, _, code := r.gatehouse(append([]string{"sessions", "replay", "s-one"}, wrong...)...); code != 2 {
			t.Errorf("%v: exit %d", wrong, code)
		}
	}
}

// TestReplayPace waits as long as things took, divided by the speed, and not longer than idle time is wanted.
func TestReplayPace(t *testing.T) {
	r := newRecorded(t)
	s := r.session("s-one")
	r.pass(time.Minute)
	r.ask(s, 1, "SELECT 1", 2, "")
	r.pass(-time.Hour) // the clock goes back
	r.ask(s, 2, "SELECT 2", 0, "")
	recordtest.Must(t, s.Close(gate.SessionEnd{Reason: "client"}))
	for _, c := range []struct {
		speed float64
		idle  time.Duration
		from  time.Duration
		want  string
	}{
		{1, 0, 0, "[1m0s 1s 1s 1s 1s]"},
		{2, 0, 0, "[30s 500ms 500ms 500ms 500ms]"},
		{1, 10 * time.Second, 0, "[10s 1s 1s 1s 1s]"},
		{1, 0, 61 * time.Second, "[1s 1s]"},
	} {
		var waited []time.Duration
		p := &pace{speed: c.speed, idle: c.idle, sleep: func(_ context.Context, d time.Duration) bool { waited = append(waited, d); return true }}
		var out bytes.Buffer
		recordtest.Must(t, recordingsFlag{Recordings: r.dir}.replay(t.Context(), outputFlag{}, "s-one", &replay{out: &out, pace: p, from: c.from}))
		if fmt.Sprint(waited) != c.want {
			t.Errorf("speed %v, idle %s, from %s: %v, want %s", c.speed, c.idle, c.from, waited, c.want)
		}
	}
}

// TestTail shows the last requests, then what happens while it looks, and ends with the session.
func TestTail(t *testing.T) {
	r := newRecorded(t)
	s := r.session("s-one")
	for n := range 5 {
		r.ask(s, uint64(n+1), fmt.Sprintf("SELECT 'request %d'", n+1), 1, "")
	}
	out := r.ok("sessions", "tail", "s-one", "-n", "2")
	if strings.Contains(out, "request 3'") || !strings.Contains(out, "request 4'") || !strings.Contains(out, "request 5'") || strings.Contains(out, "closed") {
		t.Errorf("%s", out)
	}
	followed := &recordtest.Log{}
	done := make(chan int)
	go func() {
		done <- run(context.Background(), []string{"sessions", "tail", "-f", "-n", "0", "s-one", "--recordings", r.dir}, streams{os.Stdin, followed, followed})
	}()
	recordtest.Until(t, "it shows the session", func() bool { return strings.Contains(followed.String(), "s-one") })
	r.ask(s, 6, "SELECT 'as it happens \x1b[2J\u202e'", 1, "\x1b]0;title\x07")
	recordtest.Until(t, "it shows what happens", func() bool { return strings.Contains(followed.String(), "as it happens") })
	recordtest.Must(t, s.Close(gate.SessionEnd{Reason: "client"}))
	if code := <-done; code != 0 || !strings.Contains(followed.String(), "closed: client") || strings.Contains(followed.String(), "request 5'") {
		t.Errorf("exit %d: %s", code, followed)
	}
	// Nothing of it steers a terminal.
	for _, text := range []string{followed.String(), r.ok("sessions", "replay", "s-one"), r.ok("sessions", "replay", "s-one", "--output", "json"), r.ok("sessions", "show", "s-one")} {
		if i := strings.IndexFunc(text, func(c rune) bool {
			return c != '\n' && (c < ' ' || c == 0x7f || c == '\u202e' && !strings.Contains(text, `"kind"`))
		}); i >= 0 {
			t.Errorf("%q", text[max(0, i-20):min(len(text), i+20)])
		}
	}
	if _, errs, code := r.gatehouse("sessions", "tail", "s-none"); code != 1 || !strings.Contains(errs, "there is no such session") {
		t.Errorf("%d %s", code, errs)
	}
}

// TestExportFormats writes OCSF, and says that there is no terminal.
func TestExportFormats(t *testing.T) {
	r := newRecorded(t)
	s := r.session("s-one")
	r.ask(s, 1, "SELECT 1", 1, "")
	recordtest.Must(t, s.Append(false, gate.Event{Kind: gate.Requested, Request: 2, Body: gate.RequestBody{ID: "2", Intent: gate.Intent{Text: "SELECT 2"}}}))
	lines := slices.Collect(strings.Lines(r.ok("sessions", "export", "s-one", "--format", "ocsf", "-o", "-")))
	if len(lines) != 3 || !strings.Contains(lines[0], `"class_uid":6005`) || !strings.Contains(lines[1], `"query_string":"SELECT 1"`) || !strings.Contains(lines[2], `"status":"Unknown"`) {
		t.Errorf("%q", lines)
	}
	if _, errs, code := r.gatehouse("sessions", "export", "s-one", "--format", "asciicast", "-o", "-"); code != 1 || !strings.Contains(errs, "asciicast is for sessions with a terminal, and this one has none") {
		t.Errorf("%d %s", code, errs)
	}
}
