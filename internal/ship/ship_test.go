package ship_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	"gatehouse/internal/record"
	"gatehouse/internal/record/recordtest"
	"gatehouse/internal/secret"
	"gatehouse/internal/ship"
	"gatehouse/test/s3server"
)

var must = recordtest.Must

// gateway is a recordings folder that is written to and shipped.
type gateway struct {
	t       testing.TB
	dir     string
	key     ed25519.PrivateKey
	journal *record.Journal
	n       int
	log     *recordtest.Log
	clock   *recordtest.Clock
	silence time.Duration
	stop    func()
}

func newGateway(t testing.TB) *gateway {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	must(t, err)
	g := &gateway{t: t, dir: t.TempDir(), key: key, log: &recordtest.Log{}, clock: recordtest.NewClock(), silence: recordtest.Patience}
	g.open()
	t.Cleanup(func() {
		g.end()
		must(t, g.journal.Close())
	})
	return g
}

func (g *gateway) open() {
	g.t.Helper()
	var err error
	g.journal, err = record.Open(record.Options{Dir: g.dir, Signer: g.key, SegmentSize: 64 << 10, SignInterval: 10 * time.Millisecond})
	must(g.t, err)
}

// fill records sessions until so many segments have ended.
func (g *gateway) fill(segments int) {
	g.t.Helper()
	for until := g.ended() + segments; g.ended() < until; {
		g.n++
		id := fmt.Sprintf("s-%d", g.n)
		r, err := g.journal.Open(gate.SessionInfo{ID: id, Connection: "orders", Principal: policy.Principal{Kind: policy.Agent, ID: "bot"}})
		must(g.t, err)
		rows := make([]byte, 20<<10)
		rand.Read(rows)
		must(g.t, r.Append(true, gate.Event{Kind: gate.Requested, Request: 1, Body: gate.RequestBody{ID: id + ".1", Intent: gate.Intent{Text: "SELECT 'a secret of the session'"}}}))
		must(g.t, r.Append(false, gate.Event{Kind: gate.ResultRows, Request: 1, Data: rows}, gate.Event{Kind: gate.Responded, Request: 1, Body: gate.Outcome{Status: "ok"}}))
		must(g.t, r.Close(gate.SessionEnd{Reason: "client", Requests: 1}))
	}
}

func (g *gateway) ended() (n int) {
	g.t.Helper()
	list, err := record.Segments(g.dir)
	must(g.t, err)
	for _, s := range list {
		if s.Ended {
			n++
		}
	}
	return n
}

// ship begins to ship; end ends it.
func (g *gateway) ship(targets ...ship.Target) {
	g.t.Helper()
	s, err := ship.New(ship.Options{Dir: g.dir, Targets: targets, Log: slog.New(slog.NewTextHandler(g.log, nil)), Now: g.clock.Now, Wait: g.clock.Wait, Silence: g.silence})
	must(g.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	g.stop = func() { cancel(); <-done }
}

func (g *gateway) end() {
	if g.t.Failed() {
		g.t.Log(g.log)
	}
	if g.stop != nil {
		g.stop()
		g.stop = nil
	}
}

func (g *gateway) status(target ship.Target) ship.Status {
	g.t.Helper()
	list, err := ship.Statuses(g.dir, []ship.Target{target})
	must(g.t, err)
	return list[0]
}

func (g *gateway) until(what string, is func() bool) {
	g.t.Helper()
	recordtest.Until(g.t, what, is)
}

// allShipped waits until a target has everything that ended, with the heads of it, and proves what is there.
func (g *gateway) allShipped(target ship.Target) (copied string) {
	g.t.Helper()
	g.until("everything is shipped", func() bool {
		s := g.status(target)
		info, err := os.Stat(filepath.Join(g.dir, "heads.jsonl"))
		return err == nil && s.Backlog.Segments == 0 && s.Heads == info.Size() && s.Failing == ""
	})
	copied = filepath.Join(g.t.TempDir(), "copy")
	files, _, err := ship.Fetch(g.t.Context(), target, copied)
	must(g.t, err)
	list, err := record.Segments(g.dir)
	must(g.t, err)
	segments := 0
	for _, s := range list {
		if !s.Ended {
			continue
		}
		segments++
		here, err := os.ReadFile(s.Path)
		must(g.t, err)
		there, err := os.ReadFile(filepath.Join(copied, s.Name()))
		must(g.t, err)
		if !bytes.Equal(here, there) {
			g.t.Errorf("%s is not what was shipped", s.Name())
		}
	}
	if files <= segments {
		g.t.Errorf("%d files of %d segments: heads are missing", files, segments)
	}
	r := g.verify(copied)
	if !r.OK() || r.Segments != segments || !r.Sealed || r.Heads+len(r.Notes) == 0 {
		g.t.Errorf("what was shipped does not prove itself: %+v", r)
	}
	return copied
}

func (g *gateway) verify(dir string) record.Report {
	g.t.Helper()
	r, err := record.VerifyShipped(g.t.Context(), dir, nil, []string{hex.EncodeToString(g.key.Public().(ed25519.PublicKey))})
	must(g.t, err)
	return r
}

func inFolder(t testing.TB) ship.Target {
	return ship.Target{Name: "archive", To: "file:" + filepath.Join(t.TempDir(), "archive")}
}

// inBucket is a target with its secrets in files.
func inBucket(t testing.TB, s *s3server.Server, to string) ship.Target {
	t.Helper()
	file := func(name, secretText string) secret.Ref {
		path := filepath.Join(t.TempDir(), name)
		must(t, os.WriteFile(path, []byte(secretText+"\n"), 0o600))
		return secret.Ref{File: path}
	}
	out := ship.Target{Name: "bucket", To: to, Endpoint: s.Endpoint(), Region: "us-east-1", AccessKey: file("access", s.Access), SecretKey: file("secret", s.Secret)}
	must(t, out.Check())
	return out
}

// TestShip: what ended is at the place, byte for byte, while more is written, over restarts, and where the cursor was lost.
func TestShip(t *testing.T) {
	places := map[string]func(t *testing.T) ship.Target{
		"folder": func(t *testing.T) ship.Target { return inFolder(t) },
		"bucket": func(t *testing.T) ship.Target { return inBucket(t, s3server.New(t), "s3://recordings/gateways/one") },
	}
	for name, place := range places {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			target := place(t)
			g.fill(3)
			g.ship(target)
			g.fill(4)
			g.allShipped(target)
			first := g.status(target)
			g.end()
			must(t, g.journal.Close())
			g.open()
			g.fill(3)
			if b := g.status(target).Backlog; b.Segments != 3 || b.Bytes == 0 || b.Oldest.IsZero() {
				t.Errorf("the backlog while nothing ships: %+v", b)
			}
			g.ship(target)
			g.allShipped(target)
			if s := g.status(target); s.Files <= first.Files || s.Bytes <= first.Bytes {
				t.Errorf("%+v after %+v", s, first)
			}
			// The cursor is lost: what is there is looked at again, and nothing is stored twice or overwritten.
			g.end()
			must(t, os.Remove(filepath.Join(g.dir, "ship-"+target.Name+".json")))
			g.ship(target)
			copied := g.allShipped(target)
			if _, err := os.Stat(filepath.Join(copied, "keys.ghk")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("keys were shipped: %v", err)
			}
			if strings.Contains(g.log.String(), "level=WARN") {
				t.Errorf("something failed:\n%s", g.log)
			}
		})
	}
}

// TestShippedProof: what is missing or altered at the place shows without the gateway.
func TestShippedProof(t *testing.T) {
	g := newGateway(t)
	target := inFolder(t)
	g.ship(target)
	for range 3 { // heads in between, in files of their own
		g.fill(2)
		g.allShipped(target)
	}
	var heads []string
	list, err := os.ReadDir(g.allShipped(target))
	must(t, err)
	for _, f := range list {
		if strings.HasPrefix(f.Name(), "heads-") {
			heads = append(heads, f.Name())
		}
	}
	if len(heads) < 2 {
		t.Fatalf("files of heads: %v", heads)
	}
	last := fmt.Sprintf("journal-%08d.ghj", g.ended())
	for name, c := range map[string]struct {
		harm func(dir string) error
		want string
	}{
		"the last segment is taken away": {func(dir string) error { return os.Remove(filepath.Join(dir, last)) }, "are missing: the head that was signed"},
		"one in the middle is":           {func(dir string) error { return os.Remove(filepath.Join(dir, "journal-00000003.ghj")) }, "segment 3 is missing"},
		"the first is":                   {func(dir string) error { return os.Remove(filepath.Join(dir, "journal-00000001.ghj")) }, "segments before 2 are missing"},
		"heads are":                      {func(dir string) error { return os.Remove(filepath.Join(dir, heads[0])) }, "signed heads before it are missing"},
		"the last segment is cut": {func(dir string) error {
			info, err := os.Stat(filepath.Join(dir, last))
			return errors.Join(err, os.Truncate(filepath.Join(dir, last), info.Size()-1))
		}, "the entry is not whole"},
		"a bit is flipped": {func(dir string) error {
			b, err := os.ReadFile(filepath.Join(dir, "journal-00000002.ghj"))
			b[len(b)/2] ^= 4
			return errors.Join(err, os.WriteFile(filepath.Join(dir, "journal-00000002.ghj"), b, 0o600))
		}, "journal-00000002.ghj at byte"},
		"a head is": {func(dir string) error {
			b, err := os.ReadFile(filepath.Join(dir, heads[0]))
			at := bytes.Index(b, []byte(`"signature":"`)) + 20
			b[at] = "01"[b[at]&1^1]
			return errors.Join(err, os.WriteFile(filepath.Join(dir, heads[0]), b, 0o600))
		}, "signature does not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "copy")
			_, _, err := ship.Fetch(t.Context(), target, dir)
			must(t, err)
			must(t, c.harm(dir))
			r := g.verify(dir)
			if all := fmt.Sprint(r.Problems, r.Sessions); r.OK() || !strings.Contains(all, c.want) {
				t.Errorf("%q is not in %v", c.want, r.Problems)
			}
		})
	}
}

// TestNothingIsOverwritten: where something else has a name already, shipping stops and says so.
func TestNothingIsOverwritten(t *testing.T) {
	g := newGateway(t)
	target := inFolder(t)
	dir := strings.TrimPrefix(target.To, "file:")
	must(t, os.Mkdir(dir, 0o700))
	path := filepath.Join(dir, "journal-00000001.ghj")
	must(t, os.WriteFile(path, []byte("what another gateway shipped"), 0o600))
	g.fill(2)
	g.ship(target)
	g.until("it says so", func() bool { return strings.Contains(g.status(target).Failing, "something else is there already") })
	if b, err := os.ReadFile(path); err != nil || string(b) != "what another gateway shipped" {
		t.Errorf("%q %v", b, err)
	}
	if s := g.status(target); s.Files != 0 || s.Backlog.Segments != 2 {
		t.Errorf("%+v", s)
	}
	g.end()
	target.To = "file:" + g.dir
	g.ship(target)
	g.until("its own folder is refused", func() bool {
		return strings.Contains(g.status(target).Failing, "that is the recordings folder itself")
	})
}

// TestBucketFails: a server that is stopped for an hour, silent, full, gone in the middle, or that does not know the key: what
// is recorded stays, is shown as the backlog, and is there afterwards.
func TestBucketFails(t *testing.T) {
	server := s3server.New(t)
	prlimit := func(limit string) []string { return []string{"prlimit", "--fsize=" + limit} }
	rewrite := func(r secret.Ref, text string) { must(t, os.WriteFile(r.File, []byte(text), 0o600)) }
	for name, c := range map[string]struct {
		harm, mend func(target ship.Target)
		want       string // in what is said
		hour       bool
	}{
		"stopped": {func(ship.Target) { server.Stop() }, func(ship.Target) { server.Start(t) }, "connection refused", true},
		"silent":  {func(ship.Target) { server.Signal(t, syscall.SIGSTOP) }, func(ship.Target) { server.Signal(t, syscall.SIGCONT) }, "timeout", false},
		"full": {func(ship.Target) { server.Stop(); server.Start(t, prlimit("20000:20000")...) },
			func(ship.Target) { server.Stop(); server.Start(t) }, "journal-", false},
		"wrong secret": {func(x ship.Target) { rewrite(x.SecretKey, "not-the-secret") }, func(x ship.Target) { rewrite(x.SecretKey, server.Secret) }, "look at access_key and secret_key", false},
		"no secret":    {func(x ship.Target) { rewrite(x.SecretKey, "") }, func(x ship.Target) { rewrite(x.SecretKey, server.Secret) }, "which should hold a secret, is empty", false},
		"wrong key":    {func(x ship.Target) { rewrite(x.AccessKey, "nobody") }, func(x ship.Target) { rewrite(x.AccessKey, server.Access) }, "look at access_key and secret_key", false},
		"no bucket": {func(ship.Target) {
			must(t, os.Rename(filepath.Join(server.Dir, "recordings"), filepath.Join(server.Dir, "away")))
		},
			func(ship.Target) {
				must(t, os.Rename(filepath.Join(server.Dir, "away"), filepath.Join(server.Dir, "recordings")))
			}, "NoSuchBucket", false},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			if name == "silent" {
				g.silence = 300 * time.Millisecond
			}
			target := inBucket(t, server, "s3://recordings/"+strings.ReplaceAll(name, " ", "-"))
			g.fill(2)
			g.ship(target)
			g.allShipped(target)
			c.harm(target)
			begun := g.clock.Now()
			g.fill(3) // recording goes on
			g.until("it says why", func() bool { return strings.Contains(g.status(target).Failing, c.want) })
			if s := g.status(target); s.Backlog.Segments != 3 || s.Since.IsZero() || s.Tries == 0 {
				t.Errorf("%+v", s)
			}
			if c.hour {
				g.until("an hour is over", func() bool { return g.clock.Now().Sub(begun) > time.Hour })
				if s := g.status(target); s.Tries < 5 || s.Tries > 100 {
					t.Errorf("%d tries in an hour", s.Tries)
				}
				// The gateway stops and starts meanwhile.
				g.end()
				must(t, g.journal.Close())
				g.open()
				g.ship(target)
			}
			c.mend(target)
			g.allShipped(target)
			for _, hidden := range []string{server.Secret, server.Access, "not-the-secret"} {
				if strings.Contains(g.log.String(), hidden) {
					t.Errorf("a secret is in the log:\n%s", g.log)
				}
			}
			if !strings.Contains(g.log.String(), "recordings can be shipped again") || !strings.Contains(g.log.String(), "backlog=") {
				t.Errorf("the log does not say that it goes on:\n%s", g.log)
			}
		})
	}
}

// TestLargeObject: an object of several parts comes back as it was.
func TestLargeObject(t *testing.T) {
	server := s3server.New(t)
	g := newGateway(t)
	must(t, g.journal.Close())
	var err error
	g.journal, err = record.Open(record.Options{Dir: g.dir, Signer: g.key, SegmentSize: 40 << 20, SignInterval: 10 * time.Millisecond})
	must(t, err)
	r, err := g.journal.Open(gate.SessionInfo{ID: "s-large", Connection: "orders", Principal: policy.Principal{Kind: policy.Agent, ID: "bot"}})
	must(t, err)
	rows := make([]byte, 1<<20)
	for g.ended() == 0 {
		rand.Read(rows)
		must(t, r.Append(false, gate.Event{Kind: gate.ResultRows, Request: 1, Data: rows}))
	}
	must(t, r.Close(gate.SessionEnd{Reason: "client"}))
	target := inBucket(t, server, "s3://recordings")
	g.ship(target)
	g.allShipped(target)
}

// TestObjectLock: in a bucket with object lock, what was shipped cannot be taken away before its time; without one, retain
// does not go unnoticed.
func TestObjectLock(t *testing.T) {
	server := s3server.New(t)
	server.Bucket(t, "locked", true)
	g := newGateway(t)
	g.fill(1)
	target := inBucket(t, server, "s3://locked/one")
	target.Retain, target.RetainMode = ship.Days(48*time.Hour), "compliance"
	g.ship(target)
	g.allShipped(target)
	client := server.Client(t)
	o, err := client.StatObject(t.Context(), "locked", "one/journal-00000001.ghj", minio.StatObjectOptions{})
	must(t, err)
	until, err := time.Parse(time.RFC3339, o.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"))
	if mode := o.Metadata.Get("X-Amz-Object-Lock-Mode"); err != nil || mode != "COMPLIANCE" || until.Before(time.Now().Add(47*time.Hour)) {
		t.Fatalf("retention: %q %v %v %v", mode, until, err, o.Metadata)
	}
	if err := client.RemoveObject(t.Context(), "locked", "one/journal-00000001.ghj", minio.RemoveObjectOptions{VersionID: o.VersionID, ForceDelete: true}); err == nil && o.VersionID != "" {
		t.Error("it was removed")
	}
	r, err := client.GetObject(t.Context(), "locked", "one/journal-00000001.ghj", minio.GetObjectOptions{VersionID: o.VersionID})
	must(t, err)
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Errorf("it is gone: %v", err)
	}
	g.end()
	plain := inBucket(t, server, "s3://recordings/two")
	plain.Retain = ship.Days(time.Hour)
	g.ship(plain)
	g.until("it says that there is no lock", func() bool { return g.status(plain).Failing != "" })
	t.Log(g.status(plain).Failing)
}
