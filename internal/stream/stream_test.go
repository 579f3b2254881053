package stream_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	"gatehouse/internal/record"
	"gatehouse/internal/record/recordtest"
	"gatehouse/internal/secret"
	"gatehouse/internal/stream"
)

var (
	must  = recordtest.Must
	until = recordtest.Until
)

// gateway is a recordings folder that is written to and streamed.
type gateway struct {
	t       testing.TB
	dir     string
	journal *record.Journal
	n       int
	log     *recordtest.Log
	clock   *recordtest.Clock
	stop    func()
}

func newGateway(t testing.TB) *gateway {
	t.Helper()
	g := &gateway{t: t, dir: t.TempDir(), log: &recordtest.Log{}, clock: recordtest.NewClock()}
	g.open()
	t.Cleanup(func() {
		g.end()
		must(t, g.journal.Close())
		if t.Failed() {
			t.Log(g.log)
		}
	})
	return g
}

func (g *gateway) open() {
	g.t.Helper()
	var err error
	g.journal, err = record.Open(record.Options{Dir: g.dir, SegmentSize: 16 << 10})
	must(g.t, err)
}

// session records one, whose requests have these texts.
func (g *gateway) session(texts ...string) {
	g.t.Helper()
	r := g.begin()
	for i, text := range texts {
		g.request(r, uint64(i+1), text)
	}
	must(g.t, r.Close(gate.SessionEnd{Reason: "client"}))
}

func (g *gateway) begin() gate.Recording {
	g.t.Helper()
	g.n++
	r, err := g.journal.Open(gate.SessionInfo{ID: fmt.Sprintf("s-%d", g.n), Connection: "orders", Protocol: "plain", Principal: policy.Principal{Kind: policy.Agent, ID: "bot"}})
	must(g.t, err)
	return r
}

func (g *gateway) request(r gate.Recording, n uint64, text string) {
	g.t.Helper()
	must(g.t, r.Append(true, gate.Event{Kind: gate.Requested, Request: n, Body: gate.RequestBody{ID: fmt.Sprintf("s-%d.%d", g.n, n), Intent: gate.Intent{Text: text}}}))
	must(g.t, r.Append(false,
		gate.Event{Kind: gate.ResultSchema, Request: n, Data: []byte("id,email")},
		gate.Event{Kind: gate.ResultRows, Request: n, Data: []byte("1,a***@example.com\n")},
		gate.Event{Kind: gate.Responded, Request: n, Body: gate.Outcome{Status: "ok"}}))
}

// plain is a protocol whose results are lines of fields.
type plain struct{}

func (plain) Schema(data []byte) (out []gate.ResultColumn, _ error) {
	for _, name := range strings.Split(string(data), ",") {
		out = append(out, gate.ResultColumn{Name: name})
	}
	return out, nil
}

func (plain) Rows(schema []gate.ResultColumn, data []byte, _ int) (out [][]*string, _ error) {
	if len(schema) == 0 {
		return nil, fmt.Errorf("rows of a result whose columns are not known")
	}
	for line := range strings.Lines(string(data)) {
		var row []*string
		for _, cell := range strings.Split(strings.TrimSpace(line), ",") {
			row = append(row, &cell)
		}
		out = append(out, row)
	}
	return out, nil
}

// stream begins; end ends it.
func (g *gateway) stream(targets ...stream.Target) {
	g.t.Helper()
	for i := range targets {
		must(g.t, targets[i].Check())
	}
	s, err := stream.New(stream.Options{
		Dir: g.dir, Targets: targets, Decoders: map[string]gate.ResultDecoder{"plain": plain{}}, Version: "test",
		Log: slog.New(slog.NewTextHandler(g.log, nil)), Now: g.clock.Now, Wait: g.clock.Wait, Silence: 2 * time.Second,
	})
	must(g.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	g.stop = func() { cancel(); <-done }
}

func (g *gateway) end() {
	if g.stop != nil {
		g.stop()
		g.stop = nil
	}
}

func (g *gateway) status(target stream.Target) stream.Status {
	g.t.Helper()
	list, err := stream.Statuses(g.dir, []stream.Target{target})
	must(g.t, err)
	return list[0]
}

// want are the ids of all events of the recordings, in order; those of results only where they are asked for.
func (g *gateway) want(results bool) (out []string) {
	g.t.Helper()
	for f, err := range record.After(g.t.Context(), g.dir, record.Cursor{}) {
		must(g.t, err)
		for i, ev := range f.Events {
			if results || ev.Kind != gate.ResultSchema && ev.Kind != gate.ResultRows {
				out = append(out, fmt.Sprintf("%s.%d.%d", f.Session, f.Number, i))
			}
		}
	}
	return out
}

// once leaves out what came again; each event must have come, and for the first time in its place.
func once(t testing.TB, want, got []string) {
	t.Helper()
	seen := map[string]bool{}
	var first []string
	for _, id := range got {
		if !seen[id] {
			first = append(first, id)
		}
		seen[id] = true
	}
	if a, b := strings.Join(want, " "), strings.Join(first, " "); a != b {
		t.Errorf("%d events were recorded and %d came:\n%.2000s\n%.2000s", len(want), len(first), a, b)
	}
}

// events are those in a file of JSON lines.
func events(t testing.TB, path string) (out []stream.Event) {
	t.Helper()
	b, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil
	}
	must(t, err)
	for _, line := range bytes.Split(b, []byte("\n")) {
		var e stream.Event
		if len(line) > 0 && json.Unmarshal(line, &e) == nil {
			out = append(out, e)
		}
	}
	return out
}

func ids(list []stream.Event) (out []string) {
	for _, e := range list {
		out = append(out, e.ID)
	}
	return out
}

// TestLines: a file has every event, in order, over restarts in the middle of sessions, and says whose it is.
func TestLines(t *testing.T) {
	g := newGateway(t)
	path := filepath.Join(t.TempDir(), "events.jsonl")
	target := stream.Target{Name: "siem", Kind: "jsonl", To: "file:" + path, Results: true}
	long := g.begin() // open over a restart of the stream
	g.request(long, 1, "SELECT 'first'")
	g.stream(target)
	for i := range 300 {
		g.session(fmt.Sprintf("SELECT %d", i), strings.Repeat("x", 200))
	}
	until(t, "it is sent", func() bool { return g.status(target).Backlog == 0 })
	g.end()
	g.session("SELECT 'while nothing streams'")
	// A crash tore the last line.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString(`{"id":"s-torn`)
	must(t, err)
	must(t, f.Close())
	must(t, long.Append(false,
		gate.Event{Kind: gate.ResultSchema, Request: 2, Data: []byte("id,email")}))
	g.stream(target)
	until(t, "it is sent", func() bool { return g.status(target).Backlog == 0 })
	g.end() // between a result's columns and its rows
	must(t, long.Append(false, gate.Event{Kind: gate.ResultRows, Request: 2, Data: []byte("2,b***@example.com\n")}))
	must(t, long.Close(gate.SessionEnd{Reason: "client"}))
	g.stream(target)
	until(t, "it is sent", func() bool { return g.status(target).Backlog == 0 })
	got := events(t, path)
	if a, b := g.want(true), ids(got); strings.Join(a, " ") != strings.Join(b, " ") {
		t.Errorf("want %d, got %d events", len(a), len(b))
	}
	b, err := os.ReadFile(path)
	must(t, err)
	if strings.Contains(string(b), "s-torn") {
		t.Error("the torn line is still there")
	}
	for _, e := range got {
		if e.Principal != "bot" || e.Connection != "orders" || e.Protocol != "plain" {
			t.Fatalf("%+v does not say whose it is", e)
		}
		if e.Kind == gate.ResultRows && (len(e.Rows) != 1 || !strings.HasSuffix(*e.Rows[0][1], "***@example.com")) {
			t.Errorf("%+v", e.Rows)
		}
	}
	g.end()
	// The file is moved away, as logrotate does.
	must(t, os.Rename(path, path+".1"))
	g.stream(target)
	g.session("SELECT 'after'")
	until(t, "it is sent", func() bool { return len(events(t, path)) == 4+2 })
	if s := g.status(target); s.Failing != "" || s.Rejected != 0 {
		t.Errorf("%+v", s)
	}
	// Where it cannot be written, everything waits.
	must(t, os.Remove(path))
	must(t, os.Mkdir(path, 0o700))
	g.session("SELECT 'it waits'")
	until(t, "it says why", func() bool { return strings.Contains(g.status(target).Failing, "is a directory") })
	must(t, os.Remove(path))
	until(t, "it goes on", func() bool {
		return strings.Contains(fmt.Sprint(events(t, path)), "it waits") || len(events(t, path)) == 6
	})
	until(t, "nothing fails", func() bool { return g.status(target).Failing == "" })
}

// TestCut: what is longer than a sink takes is cut, says so, and names what it was.
func TestCut(t *testing.T) {
	g := newGateway(t)
	path := filepath.Join(t.TempDir(), "events.jsonl")
	target := stream.Target{Name: "siem", Kind: "jsonl", To: "file:" + path, MaxMessage: 1024}
	g.session("SELECT '"+strings.Repeat("\x01é", 5000)+"'", "SELECT 2")
	g.stream(target)
	until(t, "it is sent", func() bool { return g.status(target).Backlog == 0 })
	b, err := os.ReadFile(path)
	must(t, err)
	for line := range bytes.Lines(b) {
		if len(line) > 1025 {
			t.Errorf("%d bytes: %s", len(line), line)
		}
	}
	got := events(t, path)
	once(t, g.want(false), ids(got))
	cut := got[1]
	if cut.Cut == nil || cut.Cut.Part != "body" || cut.Cut.Bytes < 30000 || len(cut.Cut.SHA256) != 64 || !strings.HasPrefix(cut.Cut.Begin, `{"id":"s-1.1","intent":{"text":"SELECT '`) {
		t.Errorf("%+v", cut)
	}
}

// collector receives OTLP over HTTP.
type collector struct {
	*httptest.Server
	mu     sync.Mutex
	got    []stream.Event
	answer func(w http.ResponseWriter) (done bool)
	saw    http.Header
}

func newCollector(t testing.TB) *collector {
	c := &collector{}
	c.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.saw = r.Header.Clone()
		if c.answer != nil && c.answer(w) {
			return
		}
		z, err := gzip.NewReader(r.Body)
		var b []byte
		if err == nil {
			b, err = io.ReadAll(z)
		}
		var data logs.LogsData
		if err == nil {
			err = proto.Unmarshal(b, &data)
		}
		if err != nil || r.Header.Get("Content-Type") != "application/x-protobuf" || r.Method != http.MethodPost || r.URL.Path != "/v1/logs" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		for _, one := range data.ResourceLogs {
			if one.Resource.Attributes[0].Value.GetStringValue() != "gatehouse" {
				t.Errorf("the resource is %v", one.Resource)
			}
			for _, l := range one.ScopeLogs[0].LogRecords {
				var e stream.Event
				if err := json.Unmarshal([]byte(l.Body.GetStringValue()), &e); err != nil {
					t.Error(err)
				}
				if l.TimeUnixNano != uint64(e.Time.UnixNano()) || l.Attributes[0].Value.GetStringValue() != e.ID || l.EventName != "gatehouse."+string(e.Kind) {
					t.Errorf("%v is not of %+v", l, e)
				}
				c.got = append(c.got, e)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) set(answer func(http.ResponseWriter) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = answer
}

func (c *collector) events() []stream.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]stream.Event{}, c.got...)
}

func (c *collector) target(t testing.TB) stream.Target {
	dir := t.TempDir()
	ca, token := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "token")
	must(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate().Raw}), 0o600))
	must(t, os.WriteFile(token, []byte("Bearer made-up-otlp-token\n"), 0o600))
	return stream.Target{
		Name: "otel", Kind: "otlp", To: c.URL + "/v1/logs", CA: secret.Path{File: secret.Ref{File: ca}},
		Headers: []stream.Header{{Name: "Authorization", Value: secret.Ref{File: token}}},
	}
}

// TestOTLP: every event comes, once where nothing fails, and again where the receiver did not say that it has it; what it refuses
// to take is counted.
func TestOTLP(t *testing.T) {
	g := newGateway(t)
	c := newCollector(t)
	target := c.target(t)
	for i := range 300 {
		g.session(fmt.Sprintf("SELECT %d", i), "SELECT 2")
	}
	g.stream(target)
	until(t, "it is sent", func() bool { return g.status(target).Backlog == 0 })
	if a, b := g.want(false), ids(c.events()); strings.Join(a, " ") != strings.Join(b, " ") {
		t.Errorf("want %d, got %d events", len(a), len(b))
	}
	if c.saw.Get("Authorization") != "Bearer made-up-otlp-token" {
		t.Errorf("the header is %q", c.saw)
	}
	for name, answer := range map[string]func(http.ResponseWriter) bool{
		"503 Service Unavailable": func(w http.ResponseWriter) bool { w.WriteHeader(503); return true },
		"400 Bad Request: no such tenant": func(w http.ResponseWriter) bool {
			w.Header().Set("Content-Type", "application/x-protobuf")
			w.WriteHeader(400)
			w.Write([]byte("\x08\x03\x12\x0eno such tenant"))
			return true
		},
		"302 Found": func(w http.ResponseWriter) bool {
			w.Header().Set("Location", "https://elsewhere.example")
			w.WriteHeader(302)
			return true
		},
		"EOF":            func(w http.ResponseWriter) bool { panic(http.ErrAbortHandler) },
		"cannot be read": func(w http.ResponseWriter) bool { w.Write([]byte("<html>who are you?")); return true },
	} {
		c.set(answer)
		g.session("SELECT 'while it fails'")
		until(t, "it says "+name, func() bool { return strings.Contains(g.status(target).Failing, name) })
		c.set(nil)
		until(t, "it is sent", func() bool { s := g.status(target); return s.Backlog == 0 && s.Failing == "" })
		once(t, g.want(false), ids(c.events()))
	}
	c.set(func(w http.ResponseWriter) bool { w.Write([]byte("\x0a\x02\x08\x02")); return true }) // partial_success: 2 rejected
	g.session("SELECT 'not wanted'")
	until(t, "it is counted", func() bool { return g.status(target).Rejected >= 2 })
	if strings.Contains(g.log.String(), "made-up-otlp-token") {
		t.Error("the token is in the log")
	}
}

// TestForeignReceiver: who is not the receiver gets nothing.
func TestForeignReceiver(t *testing.T) {
	g := newGateway(t)
	c, other := newCollector(t), newCollector(t)
	target := c.target(t)
	target.To = strings.Replace(other.URL, "127.0.0.1", "localhost", 1) + "/v1/logs" // the certificate is not for that name
	g.session("SELECT 1")
	g.stream(target)
	until(t, "it says why", func() bool { return strings.Contains(g.status(target).Failing, "certificate") })
	if len(other.events()) > 0 || other.saw != nil {
		t.Error("it got something")
	}
}

func TestTargetCheck(t *testing.T) {
	for want, target := range map[string]stream.Target{
		"":                                   {Name: "a", Kind: "syslog", To: "tls://siem.example.com:6514"},
		"is read by everyone on the way":     {Name: "a", Kind: "syslog", To: "tcp://siem.example.com:514"},
		"should be tls://HOST:PORT":          {Name: "a", Kind: "syslog", To: "siem.example.com:514"},
		"should be https://HOST/v1/logs":     {Name: "a", Kind: "otlp", To: "http://collector.example.com/v1/logs"},
		"there are jsonl, syslog, otlp":      {Name: "a", Kind: "kafka", To: "x"},
		"kind is missing":                    {Name: "a", To: "x"},
		"should be file:PATH":                {Name: "a", Kind: "jsonl", To: "/var/log/x"},
		"should be a word of small letters":  {Name: "../a", Kind: "jsonl", To: "file:x"},
		"headers belong to the kind otlp":    {Name: "a", Kind: "jsonl", To: "file:x", Headers: []stream.Header{{Name: "A"}}},
		"should be {name: NAME, value:":      {Name: "a", Kind: "otlp", To: "https://x/v1/logs", Headers: []stream.Header{{Name: "A\r\nB", Value: secret.Ref{Env: "X"}}}},
		"cert and key are given together":    {Name: "a", Kind: "syslog", To: "tls://x:1", Cert: secret.Path{File: secret.Ref{File: "x"}}},
		"should be a number of bytes from":   {Name: "a", Kind: "jsonl", To: "file:x", MaxMessage: 10},
		"ca, cert and key belong to tls://":  {Name: "a", Kind: "syslog", To: "tcp://127.0.0.1:1", CA: secret.Path{File: secret.Ref{File: "x"}}},
		"ca, cert and key belong to syslog ": {Name: "a", Kind: "jsonl", To: "file:x", CA: secret.Path{File: secret.Ref{File: "x"}}},
	} {
		err := target.Check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: %v, want %q", target, err, want)
		}
	}
}
