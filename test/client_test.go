package test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// within bounds what a test's client does.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// config is how pgx connects, with TLS and a token.
func (g *gateway) config(token string) *pgx.ConnConfig {
	g.t.Helper()
	host, port, _ := net.SplitHostPort(g.pg)
	c, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%s dbname=shop user=agent sslmode=verify-full sslrootcert=%s", host, port, g.path("tls.crt")))
	if err != nil {
		g.t.Fatal(err)
	}
	c.Password = token
	c.ConnectTimeout = patience
	return c
}

// dial connects as the agent; change may be nil.
func (g *gateway) dial(change func(*pgx.ConnConfig)) *pgx.Conn {
	g.t.Helper()
	c := g.config(g.token())
	if change != nil {
		change(c)
	}
	conn, err := pgx.ConnectConfig(within(g.t), c)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// signIn is only the error of connecting.
func (g *gateway) signIn(token string, change ...func(*pgx.ConnConfig)) error {
	g.t.Helper()
	c := g.config(token)
	for _, f := range change {
		f(c)
	}
	conn, err := pgx.ConnectConfig(within(g.t), c)
	if err == nil {
		conn.Close(context.Background())
	} else {
		fmt.Fprintln(g.said, err)
	}
	return err
}

// psqlEnv is the environment of a psql that signs in with a token.
func (g *gateway) psqlEnv(token string) []string {
	host, port, _ := net.SplitHostPort(g.pg)
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + g.dir, "PGHOST=" + host, "PGPORT=" + port, "PGDATABASE=shop", "PGUSER=agent", "PGPASSWORD=" + token,
		"PGSSLMODE=verify-full", "PGSSLROOTCERT=" + g.path("tls.crt"), "PGCONNECT_TIMEOUT=20", "LC_ALL=C",
	}
}

// psql runs psql as the agent: a script on its standard input, errors in full.
func (g *gateway) psql(script string, args ...string) result {
	g.t.Helper()
	args = append([]string{"psql", "-X", "-v", "VERBOSITY=verbose", "-v", "ON_ERROR_STOP=0"}, args...)
	r := g.command(within(g.t), g.psqlEnv(g.token()), script, args...)
	fmt.Fprint(g.said, r.out, r.err)
	return r
}

// exec1 runs statements by the simple protocol.
func exec1(t testing.TB, conn *pgx.Conn, sql string) string {
	t.Helper()
	tag, err := conn.Exec(within(t), sql, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return tag.String()
}

var requestID = regexp.MustCompile(`request: s-[a-z0-9]+\.[0-9]+`)

// refused checks that an error is a refusal: its class, its state, a sentence with the cause, another one
// with the remedy. words must be in its texts.
func refused(t testing.TB, err error, code, state string, words ...string) *pgconn.PgError {
	t.Helper()
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a refusal %s with the state %s", err, code, state)
	}
	text := fmt.Sprintf("%s\nDETAIL: %s\nHINT: %s", e.Message, e.Detail, e.Hint)
	if e.Code != state || !strings.HasPrefix(e.Detail, "code: "+code) {
		t.Errorf("got the state %s, want %s, with the code %s:\n%s", e.Code, state, code, text)
	}
	if e.Message == "" || e.Hint == "" || !strings.HasSuffix(e.Hint, ".") {
		t.Errorf("the refusal does not name a cause and a remedy:\n%s", text)
	}
	contains(t, text, words...)
	return e
}

// judgedRefusal checks that a request was judged and refused: it has an id.
func judgedRefusal(t testing.TB, err error, code, state string, words ...string) *pgconn.PgError {
	t.Helper()
	e := refused(t, err, code, state, words...)
	if !requestID.MatchString(e.Detail) {
		t.Errorf("the refusal does not name its request: %s", e.Detail)
	}
	return e
}

// wire is a client that speaks messages.
type wire struct {
	t testing.TB
	net.Conn
	*pgproto3.Frontend
	pid uint32
	key []byte
}

// open opens a connection without TLS, which is permitted on loopback, and sends nothing.
func (g *gateway) open() *wire {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.pg)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return &wire{t: g.t, Conn: conn, Frontend: pgproto3.NewFrontend(conn, conn)}
}

// wire signs in and waits until the gateway is ready.
func (g *gateway) wire(token ...string) *wire {
	g.t.Helper()
	token = append(token, g.token())
	w := g.open()
	w.do(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersionNumber, Parameters: map[string]string{"user": "agent", "database": "shop"}})
	w.expect("AuthenticationCleartextPassword")
	w.do(&pgproto3.PasswordMessage{Password: token[0]})
	w.until("ReadyForQuery")
	return w
}

func (w *wire) do(messages ...pgproto3.FrontendMessage) {
	w.t.Helper()
	for _, m := range messages {
		w.Send(m)
	}
	if err := w.Flush(); err != nil {
		w.t.Fatal(err)
	}
}

// read gives the next message and its name.
func (w *wire) read() (pgproto3.BackendMessage, string) {
	w.t.Helper()
	m, err := w.Receive()
	if err != nil {
		w.t.Fatalf("read from the gateway: %v", err)
	}
	name := strings.TrimPrefix(fmt.Sprintf("%T", m), "*pgproto3.")
	if k, ok := m.(*pgproto3.BackendKeyData); ok {
		w.pid, w.key = k.ProcessID, k.SecretKey
	}
	return m, name
}

func (w *wire) expect(name string) pgproto3.BackendMessage {
	w.t.Helper()
	m, got := w.read()
	if got != name {
		w.t.Fatalf("got a %s %+v, want a %s", got, m, name)
	}
	return m
}

// until reads to a message of this name and gives the names of all.
func (w *wire) until(name string) []string {
	w.t.Helper()
	var names []string
	for {
		m, got := w.read()
		switch m := m.(type) {
		case *pgproto3.ReadyForQuery:
			got += " " + string(m.TxStatus)
		case *pgproto3.ErrorResponse:
			got += " " + m.Code
		case *pgproto3.CommandComplete:
			got += " " + string(m.CommandTag)
		case *pgproto3.ParameterStatus:
			continue
		}
		names = append(names, got)
		if strings.HasPrefix(got, name) {
			return names
		}
		if strings.HasPrefix(got, "ErrorResponse") && m.(*pgproto3.ErrorResponse).Severity == "FATAL" {
			w.t.Fatalf("the session ended: %+v", m)
		}
	}
}

// steps sends messages and compares the names of all that comes back, up to ReadyForQuery.
func (w *wire) steps(want string, messages ...pgproto3.FrontendMessage) {
	w.t.Helper()
	w.do(messages...)
	if got := strings.Join(w.until("ReadyForQuery"), ", "); got != want {
		w.t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// fatal reads the error that ends the connection, and sees it end.
func (w *wire) fatal() *pgproto3.ErrorResponse {
	w.t.Helper()
	var e *pgproto3.ErrorResponse
	for {
		m, err := w.Receive()
		if err != nil {
			if e == nil {
				w.t.Fatalf("the connection ended without a word: %v", err)
			}
			return e
		}
		if m, ok := m.(*pgproto3.ErrorResponse); ok {
			own := *m
			e = &own
		}
	}
}

// closed sees the connection end, with or without a word.
func (w *wire) closed(what string) {
	w.t.Helper()
	b := make([]byte, 4096)
	for {
		if _, err := w.Conn.Read(b); err != nil {
			if isTimeout(err) {
				w.t.Errorf("%s: the connection was not closed", what)
			}
			return
		}
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
