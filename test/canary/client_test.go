package canary

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// form is how a statement is sent, and how its results come back.
type form int

const (
	simple form = iota
	extendedText
	extendedBinary
	forms
)

func (f form) String() string { return [...]string{"simple", "extended, text", "extended, binary"}[f] }

// client speaks the protocol and keeps every byte that it is sent.
type client struct {
	url  string
	conn net.Conn
	in   *bufio.Reader
}

// dial opens a session; it signs in with pgconn and takes its connection over.
func dial(t testing.TB, url string) *client {
	t.Helper()
	c := &client{url: url}
	if err := c.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.conn.Close() })
	return c
}

func (g *gateway) url(who string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword("agent", g.tokens[who]), Host: g.address, Path: "shop", RawQuery: "sslmode=disable"}
	return u.String()
}

func (c *client) open() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	one, err := pgconn.Connect(ctx, c.url)
	if err != nil {
		return err
	}
	if err := one.SyncConn(ctx); err != nil { // nothing reads in the background
		return err
	}
	h, err := one.Hijack()
	if err != nil {
		return err
	}
	c.conn, c.in = h.Conn, bufio.NewReaderSize(h.Conn, 64<<10)
	return nil
}

// answer is what came back for one step.
type answer struct {
	messages []message
	status   byte // of ReadyForQuery
}

type message struct {
	typ  byte
	body []byte
}

// fields are those of an ErrorResponse.
func (m message) fields() map[byte]string {
	out := map[byte]string{}
	for _, f := range bytes.Split(m.body, []byte{0}) {
		if len(f) > 0 {
			out[f[0]] = string(f[1:])
		}
	}
	return out
}

func (a answer) failed() (message, bool) {
	for _, m := range a.messages {
		if m.typ == 'E' {
			return m, true
		}
	}
	return message{}, false
}

// bytes are all bodies; a canary cannot be split by the head of a message.
func (a answer) bytes() []byte {
	var b []byte
	for _, m := range a.messages {
		b = append(append(b, m.body...), '\n')
	}
	return b
}

func frame(typ byte, body ...[]byte) []byte {
	all := bytes.Join(body, nil)
	return append(binary.BigEndian.AppendUint32([]byte{typ}, uint32(len(all)+4)), all...)
}

func zero(s string) []byte { return append([]byte(s), 0) }

// run sends one step and reads up to ReadyForQuery.
func (c *client) run(f form, s step) (answer, error) {
	c.conn.SetDeadline(time.Now().Add(60 * time.Second))
	var b []byte
	if f == simple {
		b = frame('Q', zero(s.inline()))
	} else {
		format := byte(f - extendedText)
		b = frame('P', []byte{0}, zero(s.text), []byte{0, 0})
		bind := binary.BigEndian.AppendUint16([]byte{0, 0, 0, 0}, uint16(len(s.values)))
		for _, v := range s.values {
			bind = append(binary.BigEndian.AppendUint32(bind, uint32(len(v))), v...)
		}
		b = append(b, frame('B', bind, []byte{0, 1, 0, format})...)
		b = append(b, frame('D', []byte{'P', 0})...)
		b = append(b, frame('E', []byte{0, 0, 0, 0, 0})...)
		b = append(b, frame('S')...)
	}
	if _, err := c.conn.Write(b); err != nil {
		return answer{}, err
	}
	var a answer
	var head [5]byte
	for {
		if _, err := io.ReadFull(c.in, head[:]); err != nil {
			return a, fmt.Errorf("after %d messages: %w", len(a.messages), err)
		}
		n := binary.BigEndian.Uint32(head[1:])
		if n < 4 || n > 64<<20 {
			return a, fmt.Errorf("a message of %d bytes", n)
		}
		m := message{head[0], make([]byte, n-4)}
		if _, err := io.ReadFull(c.in, m.body); err != nil {
			return a, err
		}
		a.messages = append(a.messages, m)
		switch m.typ {
		case 'G':
			if _, err := c.conn.Write(frame('f', zero("nothing to say"))); err != nil {
				return a, err
			}
		case 'Z':
			a.status = m.body[0]
			return a, nil
		}
	}
}

// script runs the steps one after the other and leaves no transaction open.
func (c *client) script(f form, steps []step) ([]answer, error) {
	var out []answer
	status := byte('I')
	for _, s := range steps {
		a, err := c.run(f, s)
		out = append(out, a)
		if err != nil {
			err = fmt.Errorf("%s: %w", c.conn.LocalAddr(), err)
			c.conn.Close()
			if again := c.open(); again != nil {
				return out, again
			}
			if m, ended := a.failed(); ended && m.fields()['C'] == "54000" { // a row that is too large ends a session
				return out, nil
			}
			return out, fmt.Errorf("%s: %w", s.inline(), err)
		}
		status = a.status
	}
	if status != 'I' {
		if _, err := c.run(simple, step{text: "ROLLBACK"}); err != nil {
			return out, err
		}
	}
	return out, nil
}

// step is one text with its parameters, written as text.
type step struct {
	text   string
	values []string
}

var parameter = regexp.MustCompile(`\$\d+`)

// inline is the text with its parameters written into it.
func (s step) inline() string {
	return parameter.ReplaceAllStringFunc(s.text, func(p string) string {
		var n int
		fmt.Sscan(p[1:], &n)
		if n < 1 || n > len(s.values) {
			return p
		}
		return "'" + strings.ReplaceAll(s.values[n-1], "'", "''") + "'"
	})
}
