package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/internal/config"
	"gatehouse/internal/demo/cluster"
	"gatehouse/internal/demo/issuer"
	"gatehouse/internal/record/faultfs"
)

const patience = 2 * time.Minute

// road is the way to the database, with a disk for recordings at its side. It notes in which order a text is
// written to the recordings, put on the disk, and sent to the database.
type road struct {
	net.Listener
	to string

	mu       sync.Mutex
	marker   []byte
	order    []string
	sent     []byte
	fail     error
	block    chan struct{} // syncs wait until it is closed
	covers   bool          // the sync of a segment that runs began after the marker was written
	appended chan struct{} // closed when the marker was written
}

// watch begins with a text that will be sent.
func (r *road) watch(marker string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.marker, r.order, r.sent, r.appended = []byte(marker), nil, nil, make(chan struct{})
}

func (r *road) note(what string) {
	if len(r.order) == 0 || r.order[len(r.order)-1] != what {
		r.order = append(r.order, what)
	}
}

func (r *road) history() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.order, ", ")
}

func (r *road) disk() faultfs.FS {
	return &faultfs.Faults{
		FS: faultfs.OS{},
		Write: func(path string, _ []byte) (int, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			// Entries are encrypted: the first one since is that of what was sent since.
			if r.marker != nil && len(r.order) == 0 && segment(path) {
				r.note("written")
				close(r.appended)
			}
			return 0, nil
		},
		Sync: func(path string) error {
			r.mu.Lock()
			if segment(path) {
				r.covers = len(r.order) == 1
			}
			block, fail := r.block, r.fail
			r.mu.Unlock()
			if block != nil {
				<-block
			}
			return fail
		},
		Synced: func(path string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if segment(path) && r.covers && len(r.order) == 1 {
				r.note("synced")
			}
		},
	}
}

func segment(path string) bool { return strings.HasPrefix(filepath.Base(path), "journal-") }

func (r *road) carry() {
	for {
		c, err := r.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			up, err := net.Dial("tcp", r.to)
			if err != nil {
				return
			}
			defer up.Close()
			go func() {
				defer c.Close()
				copyBytes(c, up, func([]byte) {})
			}()
			copyBytes(up, c, func(b []byte) {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.sent = append(r.sent, b...)
				if r.marker != nil && bytes.Contains(r.sent, r.marker) {
					r.note("sent")
				}
			})
		}()
	}
}

// copyBytes shows bytes before they go on.
func copyBytes(to, from net.Conn, show func([]byte)) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			show(b[:n])
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

const agent = "bot"

// serveOn runs a real gateway in this process, on a disk with faults, and gives what connects to it.
func serveOn(t *testing.T, db *cluster.Cluster, password string) (*road, func() *pgx.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &road{Listener: l, to: fmt.Sprintf("127.0.0.1:%d", db.Port)}
	t.Cleanup(func() { l.Close() })
	go r.carry()
	is, err := issuer.Start("127.0.0.1:0", issuer.Options{Tenant: "t", Audience: "api://gatehouse", Agents: []issuer.Agent{{ClientID: agent, Secret: "s", Name: agent, Groups: []string{"g"}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { is.Close() })
	dir := t.TempDir()
	text := fmt.Sprintf(`listen: {https: "127.0.0.1:0", postgres: "127.0.0.1:0"}
tls: {self_signed: true}
issuers: [{name: test, kind: entra, issuer: %s, audiences: ["api://gatehouse"], groups: {names: {g: agents}}}]
store: sqlite:gatehouse.db
recordings: file:recordings
policies: [all.cedar]
connections:
  - {name: things, kind: postgres, url: "postgres://writer@%s/postgres?sslmode=disable", password: {file: %q}, groups: [agents]}
`, is.URL(), l.Addr(), filepath.Join(dir, "password"))
	for name, text := range map[string]string{"gatehouse.yaml": text, "password": password, "all.cedar": `permit (principal, action in [Action::"read", Action::"write"], resource);`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	conf, err := config.Load(filepath.Join(dir, "gatehouse.yaml"), connectors())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g, err := openOn(ctx, conf, slog.New(slog.DiscardHandler), r.disk())
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- g.serve(ctx) }()
	t.Cleanup(func() { cancel(); <-served })
	return r, func() *pgx.Conn {
		t.Helper()
		token, err := is.AgentToken(agent)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range g.services {
			if s.name != "postgres" {
				continue
			}
			conn, err := pgx.Connect(within(t), fmt.Sprintf("postgres://x:%s@%s/things?sslmode=disable", token, s.listener.Addr()))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close(context.Background()) })
			if _, err := conn.Exec(within(t), "SELECT 1"); err != nil { // the upstream session is open
				t.Fatal(err)
			}
			return conn
		}
		return nil
	}
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// TestSyncBeforeUpstream: the record of a write is on the disk before the first byte of it goes to the
// database; a read waits for no disk; where the disk fails, nothing goes.
func TestSyncBeforeUpstream(t *testing.T) {
	dir, err := os.MkdirTemp("", "gatehouse-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	db, err := cluster.Start(context.Background(), cluster.Options{Dir: dir + "/pg", Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Stop() })
	password := rand.Text()
	admin, err := pgx.Connect(within(t), db.AdminURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.Background())
	if _, err := admin.Exec(within(t), "CREATE TABLE things (name text); CREATE ROLE writer LOGIN PASSWORD '"+password+"'; GRANT ALL ON things TO writer"); err != nil {
		t.Fatal(err)
	}
	stored := func(name string) (n int) {
		t.Helper()
		if err := admin.QueryRow(within(t), "SELECT count(*) FROM things WHERE name = $1", name).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	modes := []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec}

	t.Run("order", func(t *testing.T) {
		r, dial := serveOn(t, db, password)
		conn := dial()
		for i, mode := range modes {
			name := fmt.Sprintf("ordered-%d", i)
			r.watch(name)
			if _, err := conn.Exec(within(t), "INSERT INTO things VALUES ('"+name+"')", mode); err != nil {
				t.Fatal(err)
			}
			if got := r.history(); got != "written, synced, sent" {
				t.Errorf("in mode %s: %s", mode, got)
			}
		}
	})
	t.Run("slow disk", func(t *testing.T) {
		r, dial := serveOn(t, db, password)
		writer, reader := dial(), dial()
		for i, mode := range modes {
			name := fmt.Sprintf("slow-%d", i)
			r.watch(name)
			release := make(chan struct{})
			r.mu.Lock()
			r.block = release
			r.mu.Unlock()
			ended := make(chan error, 1)
			go func() {
				_, err := writer.Exec(within(t), "INSERT INTO things VALUES ('"+name+"')", mode)
				ended <- err
			}()
			select {
			case <-r.appended:
			case <-time.After(patience):
				t.Fatal("the write was not recorded")
			}
			for range 20 { // each of them goes the whole way to the database and back
				if _, err := reader.Exec(within(t), "SELECT count(*) FROM things", mode); err != nil {
					t.Fatal(err)
				}
			}
			select {
			case err := <-ended:
				t.Fatalf("the write did not wait for the disk: %v", err)
			default:
			}
			if got := r.history(); got != "written" || stored(name) != 0 {
				t.Errorf("in mode %s: %s before the disk was ready", mode, got)
			}
			r.mu.Lock()
			r.block = nil
			r.mu.Unlock()
			close(release)
			if err := <-ended; err != nil || stored(name) != 1 {
				t.Errorf("in mode %s: %v", mode, err)
			}
			if got := r.history(); got != "written, synced, sent" {
				t.Errorf("in mode %s: %s", mode, got)
			}
		}
	})
	for i, mode := range modes {
		t.Run("failing disk in mode "+mode.String(), func(t *testing.T) {
			r, dial := serveOn(t, db, password)
			writer, reader := dial(), dial()
			name := fmt.Sprintf("failing-%d", i)
			r.watch(name)
			r.mu.Lock()
			r.fail = errors.New("no space left on device")
			r.mu.Unlock()
			_, err := writer.Exec(within(t), "INSERT INTO things VALUES ('"+name+"')", mode)
			var e *pgconn.PgError
			if !errors.As(err, &e) || e.Code != "58000" || !strings.Contains(e.Message, "nothing runs unrecorded") || e.Hint == "" || strings.Contains(e.Message+e.Hint+e.Detail, "no space") {
				t.Errorf("%v", err)
			}
			if _, err := reader.Exec(within(t), "SELECT 1", mode); err == nil {
				t.Error("a read ran with a journal that failed")
			}
			if got := r.history(); strings.Contains(got, "sent") || stored(name) != 0 {
				t.Errorf("%s", got)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			// the gateway may have asked what the table is: that is its own question
			if bytes.Contains(r.sent, []byte("INSERT")) || bytes.Contains(r.sent, []byte(name)) {
				t.Errorf("a part of it went to the database: %q", r.sent)
			}
		})
	}
}
