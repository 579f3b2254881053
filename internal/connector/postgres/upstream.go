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
// Operators are found in pg_catalog, then in the schemas of operators.
func (t *target) dial(ctx context.Context, settings map[string]string, operators []string) (*upstream, map[string]string, error) {
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
	if t.tokenKey != nil {
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
	return &upstream{conn: h.Conn, in: newWireReader(h.Conn), socket: socket{rawOf(h.Conn), &t.polls}, config: h}, h.ParameterStatuses, nil
}

// takeOver connects and gives the bare connection: nobody else reads it any more. (Where a write to it took long,
// pgconn reads it in the background, also what would come after it was taken over.)
func takeOver(ctx context.Context, config *pgconn.Config) (*pgconn.HijackedConn, error) {
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

// mayBlock says whether reading the next message can take long: a part of it is missing, or nothing of it comes
// at once.
func (u *upstream) mayBlock() bool {
	begun, whole := u.in.ahead()
	return !whole && (begun || !u.socket.readable(patience))
}

// socket is a connection's socket, for waiting on it without the scheduler. The zero value never waits.
type socket struct {
	raw   syscall.RawConn
	polls *atomic.Int64 // how many wait now
}

// alone is how long a wait keeps its processor where it is the only one of its connection: waking a processor
// that sleeps takes about as long.
const alone = 50 * time.Microsecond

// maxPolls bounds the threads that wait for the sockets of one connection's sessions: with more sessions at work
// the scheduler finds the next of them at hand without anybody waking (32 clients: 30 % less processor time).
const maxPolls = 1

// readable waits until there is something to read, or the peer has closed: false where nothing came in time.
// It takes a thread for as long; at most maxPolls do so at a time, others do not wait.
func (s socket) readable(patience time.Duration) bool {
	if s.raw == nil {
		return false
	}
	defer s.polls.Add(-1)
	waiting := s.polls.Add(1)
	if waiting > maxPolls {
		return false
	}
	n := 0
	err := s.raw.Control(func(fd uintptr) {
		list := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		spin := runtime.GOMAXPROCS(0) > 1
		for begun := time.Now(); spin && n == 0 && time.Since(begun) < alone; {
			n, _ = unix.Poll(list, 0)
		}
		if n > 0 {
			return
		}
		n, _ = unix.Poll(list, int(patience.Milliseconds()))
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
