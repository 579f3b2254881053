package test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/demo/shop"
)

// wiretap is a road to the database that can be cut.
type wiretap struct {
	net.Listener
	mu   sync.Mutex
	open map[net.Conn]bool
	down bool
}

func newWiretap(t testing.TB) *wiretap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wiretap{Listener: l, open: map[net.Conn]bool{}}
	t.Cleanup(func() { l.Close(); w.cut(true) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go w.carry(c)
		}
	}()
	return w
}

// url is the database's, by this road, with the certificate checked all the same.
func (w *wiretap) url() string {
	_, port, _ := net.SplitHostPort(w.Addr().String())
	return strings.Replace(server.URL(shop.Role, "", "shop"), fmt.Sprintf(":%d/", server.Port), ":"+port+"/", 1)
}

func (w *wiretap) carry(c net.Conn) {
	up, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", server.Port))
	if err != nil {
		c.Close()
		return
	}
	w.mu.Lock()
	down := w.down
	w.open[c], w.open[up] = true, true
	w.mu.Unlock()
	if down {
		c.Close()
		up.Close()
		return
	}
	pipe := func(to, from net.Conn) {
		b := make([]byte, 32<<10)
		for {
			n, err := from.Read(b)
			if n > 0 {
				if _, err := to.Write(b[:n]); err != nil {
					break
				}
			}
			if err != nil {
				break
			}
		}
		to.Close()
		from.Close()
	}
	go pipe(up, c)
	pipe(c, up)
}

// cut closes every connection, and with down refuses new ones.
func (w *wiretap) cut(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
	for c := range w.open {
		c.Close()
	}
	clear(w.open)
}

// TestDatabaseLost: in the middle of a statement, between two, and before the first; and back.
func TestDatabaseLost(t *testing.T) {
	t.Parallel()
	tap := newWiretap(t)
	g := start(t, options{upstream: tap.url(), policies: readWrite})
	name := table(t, "id int PRIMARY KEY")
	admin(t, "INSERT INTO "+name+" SELECT generate_series(1, 3000)")
	busy, idle, fresh := g.dial(nil), g.dial(nil), g.dial(nil)
	exec1(t, idle, "SELECT 1")
	ended := make(chan error, 1)
	go func() {
		_, err := busy.Exec(within(t), "SELECT count(*) FROM "+name+" a, "+name+" b, "+name+" c", pgx.QueryExecModeSimpleProtocol)
		ended <- err
	}()
	eventually(t, "the statement runs", func() bool {
		return truth[int](t, "SELECT count(*)::int FROM pg_stat_activity WHERE state = 'active' AND usename = 'gatehouse' AND query LIKE '%"+name+"%'") > 0
	})
	tap.cut(true)
	e := refused(t, <-ended, "unavailable", "08006", "was lost; whether the statement took effect is unknown", "look before you repeat a write")
	if e.Severity != "FATAL" {
		t.Errorf("%+v", e)
	}
	_, err := idle.Exec(within(t), "INSERT INTO "+name+" VALUES (9001)", pgx.QueryExecModeSimpleProtocol)
	refused(t, err, "unavailable", "08006")
	_, err = fresh.Exec(within(t), "SELECT 2", pgx.QueryExecModeSimpleProtocol)
	refused(t, err, "unavailable", "08006", "cannot be reached")
	tap.cut(false)
	eventually(t, "it works again", func() bool { return g.signIn(g.token()) == nil })
	exec1(t, fresh, "SELECT 2")
	exec1(t, g.dial(nil), "INSERT INTO "+name+" VALUES (9002)")
	if n := truth[int](t, "SELECT count(*)::int FROM "+name+" WHERE id > 9000"); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
	// The backend is ended by its administrator: the same, and the reason is told.
	conn := g.dial(nil)
	exec1(t, conn, "BEGIN")
	exec1(t, conn, "INSERT INTO "+name+" VALUES (9003)")
	admin(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%9003%' AND usename = 'gatehouse'")
	if _, err := conn.Exec(within(t), "COMMIT", pgx.QueryExecModeSimpleProtocol); err == nil {
		t.Error("a lost transaction was committed")
	}
	if n := truth[int](t, "SELECT count(*)::int FROM "+name+" WHERE id = 9003"); n != 0 {
		t.Error("a lost transaction was kept")
	}
}

// TestRecordingsFail: the disk is full in the middle. From then on nothing runs, and what was recorded is
// whole after a restart.
func TestRecordingsFail(t *testing.T) {
	t.Parallel()
	prlimit, err := exec.LookPath("prlimit")
	if err != nil {
		t.Fatalf("prlimit was not found on PATH, and this test needs it: install the package util-linux: %v", err)
	}
	g := start(t, options{policies: readWrite, wrap: []string{prlimit, "--fsize=400000:400000"}})
	name := table(t, "id int PRIMARY KEY, note text")
	reader, writer := g.dial(nil), g.dial(nil)
	exec1(t, reader, "SELECT 1")
	wrote := 0
	noise := make([]byte, 6000)
	for {
		state := uint32(wrote + 1)
		for i := range noise { // nothing that could be made smaller
			state = state*1664525 + 1013904223
			noise[i] = 'a' + byte(state>>24)%26
		}
		if _, err = writer.Exec(within(t), "INSERT INTO "+name+" VALUES ($1, $2)", wrote, string(noise)); err != nil {
			break
		}
		wrote++
	}
	if wrote == 0 || wrote > 100 {
		t.Errorf("%d writes passed before the disk was full", wrote)
	}
	const sentence = "The recording of this session cannot be written, and nothing runs unrecorded."
	refused(t, err, "unavailable", "58000", sentence, "Tell the operator of this gateway")
	_, err = reader.Exec(within(t), "SELECT 1", pgx.QueryExecModeSimpleProtocol)
	refused(t, err, "unavailable", "58000", sentence)
	refused(t, g.signIn(g.token()), "unavailable", "58000", sentence)
	contains(t, g.logs("the recordings cannot be written.*"), "every request is refused until a restart")
	n := truth[int](t, "SELECT count(*)::int FROM "+name)
	if n != wrote {
		t.Errorf("%d rows are in the table, %d writes succeeded", n, wrote)
	}
	g.stop(syscall.SIGTERM)
	g.o.wrap = nil
	g.restart()
	exec1(t, g.dial(nil), "SELECT 1")
	g.ok("", []string{"verified: "}, "sessions", "verify")
}

// TestFolderRemoved: the recordings are taken away under the gateway.
func TestFolderRemoved(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: readWrite, damaged: true})
	conn := g.dial(nil)
	exec1(t, conn, "SELECT 1")
	if err := os.Rename(g.recordings(), g.recordings()+".away"); err != nil {
		t.Fatal(err)
	}
	exec1(t, conn, "SELECT 1") // the journal is open: it goes on where it is
	g.stop(syscall.SIGTERM)
	if err := os.Rename(g.recordings()+".away", g.recordings()); err != nil {
		t.Fatal(err)
	}
	g.verify()
}

// TestStopping: sessions are told in a way that drivers connect again on, and holds are kept: who asks
// again has what was approved meanwhile.
func TestStopping(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	idle := g.wire()
	conn := g.asking()
	h := conn.holdSQL("UPDATE orders SET status = status WHERE id = 1")
	conn.silent.Store(true)
	busy := g.dial(nil)
	ended := make(chan error, 1)
	go func() {
		_, err := busy.Exec(context.Background(), "SELECT count(*) FROM orders a, orders b", pgx.QueryExecModeSimpleProtocol)
		ended <- err
	}()
	if code := g.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d", code)
	}
	if e := idle.fatal(); e.Code != "57P01" || e.Severity != "FATAL" || e.Message != "The gateway is stopping." {
		t.Errorf("%+v", e)
	}
	refused(t, <-ended, "unavailable", "57P01", "stopping", "Connect again")
	if h.wait() == nil {
		t.Error("a held statement ran")
	}
	g.ok("", []string{"shutdown"}, "sessions", "list", "-o", "json")
	g.restart()
	if s := h.state(); s != "pending" {
		t.Errorf("the hold is %s", s)
	}
	g.ok("ada", nil, "approvals", "approve", h.id)
	exec1(t, g.asking().Conn, "UPDATE orders SET status = status WHERE id = 1")
	h.becomes("done")
	if code := g.stop(syscall.SIGINT); code != 0 {
		t.Errorf("exit %d", code)
	}
}

// TestReload: policies are read again on SIGHUP, for open sessions too; bad ones change nothing.
func TestReload(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: readWrite})
	conn := g.dial(nil)
	if _, err := conn.Prepare(within(t), "names", "SELECT id, name FROM customers WHERE id = 1"); err != nil {
		t.Fatal(err)
	}
	exec1(t, conn, "UPDATE orders SET status = status WHERE id = 1")
	g.write("policies/test.cedar", "permit (principal,")
	g.cmd.Process.Signal(syscall.SIGHUP)
	contains(t, g.logs("the policies were not read again.*"), "those from before stay in force", "test.cedar:1:")
	exec1(t, conn, "UPDATE orders SET status = status WHERE id = 1")
	g.write("policies/test.cedar", hiding)
	g.cmd.Process.Signal(syscall.SIGHUP)
	g.logs("the policies were read again.*version=")
	_, err := conn.Exec(within(t), "UPDATE orders SET status = status WHERE id = 1", pgx.QueryExecModeSimpleProtocol)
	judgedRefusal(t, err, "policy_denied", "42501", "No policy permits")
	_, err = conn.Exec(within(t), "names")
	judgedRefusal(t, err, "policy_denied", "42501", "name")
	exec1(t, conn, "SELECT id FROM customers WHERE id = 1")
}
