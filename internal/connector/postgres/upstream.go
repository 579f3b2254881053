package postgres

import (
	"context"
	"fmt"
	"maps"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

const dialTime = 10 * time.Second

// pinned are the settings of every upstream session: they decide what a text means, so the
// client cannot choose them.
var pinned = map[string]string{
	"search_path":                 "pg_catalog, pg_temp",
	"standard_conforming_strings": "on",
	"client_encoding":             "UTF8",
	"client_min_messages":         "error",
	"backslash_quote":             "safe_encoding",
	"transform_null_equals":       "off",
	"quote_all_identifiers":       "off",
	"row_security":                "on",
	"check_function_bodies":       "on",
	"xmloption":                   "content",
	"bytea_output":                "hex",
}

// upstream is a session of its own at the database, for one client.
type upstream struct {
	conn   net.Conn
	in     *wireReader
	socket socket
	config *pgconn.HijackedConn
}

// dial opens an upstream session with the client's settings under the pinned ones.
// With keyed it holds the key of pseudonyms. Operators are found in pg_catalog, then in the schemas of operators.
func (t *target) dial(ctx context.Context, settings map[string]string, operators []string, keyed bool, session uint32) (*upstream, map[string]string, error) {
	config, err := t.options.connConfig()
	if err != nil {
		return nil, nil, err
	}
	// The sub-selects of masks and of system catalogs look dear to the planner, which would compile them, for
	// longer than they take. A client may set it.
	config.RuntimeParams = map[string]string{"jit": "off"}
	maps.Copy(config.RuntimeParams, settings)
	maps.Copy(config.RuntimeParams, pinned)
	config.RuntimeParams["search_path"] = pinnedPath(operators)
	if keyed && t.tokenKey != nil {
		config.RuntimeParams[guard.TokenSetting] = fmt.Sprintf(`\x%x`, t.tokenKey)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	h, err := takeOver(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	if err := h.Conn.SetDeadline(time.Time{}); err != nil {
		h.Conn.Close()
		return nil, nil, err
	}
	return &upstream{conn: h.Conn, in: newWireReader(h.Conn), socket: socket{rawOf(h.Conn), &t.company, session}, config: h}, h.ParameterStatuses, nil
}

// takeOver connects and gives the bare connection: nobody else reads it any more. (Where a write to it took long,
// pgconn reads it in the background, also what would come after it was taken over.)
func takeOver(ctx context.Context, config *pgconn.Config) (*pgconn.HijackedConn, error) {
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return quick(c), nil
	}
	pg, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	if err = pg.SyncConn(ctx); err == nil {
		var h *pgconn.HijackedConn
		if h, err = pg.Hijack(); err == nil {
			return h, nil
		}
	}
	pg.Close(ctx)
	return nil, fmt.Errorf("take over the connection: %w", err)
}

// company says whether a session is the only one of its connection that is at work. With more, the scheduler finds
// the next of them at hand without anybody waking, and whoever waits by itself takes the processor from them.
type company struct {
	last atomic.Uint32 // the session that waited last
	run  atomic.Uint32 // how often it did so in a row
	size atomic.Uint32 // sessions that there ever were
}

// join numbers a session.
func (c *company) join() uint32 { return c.size.Add(1) }

// aloneAfter is how many waits in a row make a session the only one at work: two or three for a statement.
const aloneAfter = 100

func (c *company) alone(session uint32) bool {
	if c.last.Load() != session {
		c.last.Store(session)
		c.run.Store(0)
		return false
	}
	return c.run.Load() >= aloneAfter || c.run.Add(1) >= aloneAfter
}

// socket is a connection's socket, for waiting on it without the scheduler. The zero value never waits.
type socket struct {
	raw     syscall.RawConn
	company *company
	session uint32
}

// awake is how long a wait keeps its processor: waking one that sleeps takes about as long.
const awake = 50 * time.Microsecond

// waited is how a wait ended.
type waited int

const (
	unwaited waited = iota // nobody waited: reading is the way to wait
	came                   // there is something to read, or the peer has closed
	slow                   // nothing came in time
)

// wait waits until there is something to read, where the session is the only one at work: waking a processor that
// sleeps, and another thread, takes longer than most answers. It takes a thread for as long.
func (s socket) wait(patience time.Duration) waited {
	if s.raw == nil || !s.company.alone(s.session) {
		return unwaited
	}
	n := 0
	err := s.raw.Control(func(fd uintptr) {
		list := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		spin := runtime.GOMAXPROCS(0) > 1
		for begun := time.Now(); spin && n == 0 && time.Since(begun) < awake; {
			n, _ = unix.Poll(list, 0)
		}
		if n > 0 {
			return
		}
		n, _ = unix.Poll(list, int(patience.Milliseconds()))
	})
	if err == nil && n > 0 {
		return came
	}
	return slow
}

// readable says whether there is something to read now, or the peer has closed.
func (s socket) readable() bool {
	if s.raw == nil {
		return false
	}
	n := 0
	err := s.raw.Control(func(fd uintptr) {
		n, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	})
	return err == nil && n > 0
}

// rawOf is the socket under a connection; nil where there is none.
func rawOf(c net.Conn) syscall.RawConn {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn()
	}
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}

// cancel asks the database to stop what the session runs.
func (u *upstream) cancel(ctx context.Context) error {
	pg, err := pgconn.Construct(u.config)
	if err != nil {
		return err
	}
	return pg.CancelRequest(ctx)
}

// pinnedPath is the search path of an upstream session. pg_temp comes last: what is in it hides nothing.
func pinnedPath(operators []string) string {
	path := "pg_catalog, "
	for _, schema := range operators {
		path += `"` + strings.ReplaceAll(schema, `"`, `""`) + `", `
	}
	return path + "pg_temp"
}

// reaches says whether the upstream session finds the operators that a catalog counts on. A session that has
// not begun yet will.
func (s *session) reaches(c *guard.Catalog) error {
	if s.up == nil {
		s.operators = c.OperatorPath
		return nil
	}
	if slices.Equal(s.operators, c.OperatorPath) {
		return nil
	}
	return &gate.Refusal{
		Code:     gate.Unavailable,
		SQLState: "57P01",
		Reason:   "The extensions of the database changed since this session began, so that its operators are not those that the statement means.",
		Remedy:   "Connect again.",
	}
}
