package test

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

// memory is how much the gateway's process has had at most, in MiB.
func (g *gateway) memory() int {
	g.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		g.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		g.t.Fatal(err)
	}
	return kib >> 10
}

func header(typ byte, n uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{typ}, n)
}

// TestMalformedMessages: the sender is told and disconnected, nobody else notices.
func TestMalformedMessages(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	bystander := g.dial(nil)
	before := g.memory()
	for what, one := range map[string]struct {
		bytes []byte
		state string
	}{
		"too large":          {header('Q', 64<<20+5), "54000"},
		"as large as can be": {header('P', 0xffffffff), "54000"},
		"a negative length":  {header('Q', 3), "08P01"},
		"an unknown type":    {header('!', 4), "08P01"},
		"a second start":     {header('p', 4), "08P01"},
		"a Sync with a body": {append(header('S', 8), 1, 2, 3, 4), "08P01"},
		"binary":             {[]byte{0, 0, 0, 0, 0, 0, 0, 0}, "08P01"},
		"HTTP":               {[]byte("GET / HTTP/1.1\r\n\r\n"), ""},
	} {
		w := g.wire()
		if _, err := w.Write(one.bytes); err != nil {
			t.Fatal(err)
		}
		e := w.fatal()
		if e.Severity != "FATAL" || one.state != "" && e.Code != one.state || e.Hint == "" {
			t.Errorf("%s: %+v", what, e)
		}
	}
	// These are refused, and the session goes on.
	w := g.wire()
	for what, one := range map[string]pgproto3.FrontendMessage{
		"NUL in a text":    raw("Q", "SELECT 'a\x00b'\x00"),
		"no end":           raw("Q", "SELECT 1"),
		"empty":            raw("Q", ""),
		"not UTF-8":        raw("Q", "SELECT '\xff\xfe'\x00"),
		"half a character": raw("Q", "SELECT '\xc3'\x00"),
		"overlong":         raw("Q", "SELECT '\xc0\x80'\x00"),
	} {
		w.do(one)
		m := w.expect("ErrorResponse").(*pgproto3.ErrorResponse)
		if m.Severity != "ERROR" || m.Hint == "" || m.Message == "" {
			t.Errorf("%s: %+v", what, m)
		}
		w.until("ReadyForQuery I")
	}
	for what, m := range map[string]pgproto3.FrontendMessage{
		"Parse without types":         raw("P", "\x00SELECT 1\x00"),
		"Parse with a wrong count":    raw("P", "\x00SELECT 1\x00\x00\x05"),
		"Bind of nothing":             raw("B", ""),
		"Bind with a negative length": raw("B", "\x00\x00\x00\x00\x00\x01\xff\xff\xff\x00\x00\x00"),
		"Describe of something":       raw("D", "Xname\x00"),
		"Execute without a count":     raw("E", "\x00"),
		"Close of something":          raw("C", "Z\x00"),
		"a name that is not UTF-8":    raw("P", "\xff\x00SELECT 1\x00\x00\x00"),
	} {
		w.do(m, &pgproto3.Sync{})
		names := strings.Join(w.until("ReadyForQuery"), ", ")
		if !strings.HasPrefix(names, "ErrorResponse ") || !strings.HasSuffix(names, "ReadyForQuery I") {
			if what == "a name that is not UTF-8" && names == "ParseComplete, ReadyForQuery I" {
				continue
			}
			t.Errorf("%s: %s", what, names)
		}
	}
	// Parameters that are not text of the encoding are the database's to refuse.
	w.steps("ParseComplete, ErrorResponse 22021, ReadyForQuery I", &pgproto3.Parse{Query: "SELECT $1::text"}, &pgproto3.Bind{Parameters: [][]byte{{0xff, 0xfe}}}, &pgproto3.Execute{}, &pgproto3.Sync{})
	// Deep and long texts.
	for _, sql := range []string{
		"SELECT " + strings.Repeat("(", 20000) + "1" + strings.Repeat(")", 20000),
		"SELECT " + strings.Repeat("- ", 50000) + "1",
		"SELECT " + strings.Repeat("1+", 50000) + "1",
		"SELECT 1" + strings.Repeat(" UNION SELECT 1", 50000),
		strings.Repeat("SELECT 1;", 20000),
		"SELECT '" + strings.Repeat("x", 3<<20) + "' FRM",
	} {
		w.do(&pgproto3.Query{String: sql})
		names := w.until("ReadyForQuery I")
		if !strings.HasPrefix(names[0], "ErrorResponse") && !strings.HasPrefix(names[0], "RowDescription") {
			t.Errorf("%.20s: %v", sql, names[0])
		}
	}
	w.steps("RowDescription, DataRow, CommandComplete SELECT 1, ReadyForQuery I", &pgproto3.Query{String: "SELECT 1"})
	exec1(t, bystander, "SELECT 1")
	t.Logf("the gateway's memory: %d MiB before, %d MiB at most", before, g.memory())
}

// raw is a message of a type with a body as it is.
type rawMessage struct {
	typ  byte
	body string
}

func raw(typ, body string) pgproto3.FrontendMessage { return rawMessage{typ[0], body} }

func (rawMessage) Frontend()           {}
func (rawMessage) Decode([]byte) error { return nil }
func (m rawMessage) Encode(b []byte) ([]byte, error) {
	return append(append(b, header(m.typ, uint32(len(m.body)+4))...), m.body...), nil
}

// TestAnnouncedIsNotAllocated: forty sessions announce messages of the largest size and send none of it.
func TestAnnouncedIsNotAllocated(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	for range 40 {
		w := g.wire()
		if _, err := w.Write(header('Q', 64<<20)); err != nil {
			t.Fatal(err)
		}
	}
	exec1(t, g.dial(nil), "SELECT 1")
	if m := g.memory(); m > 1000 {
		t.Errorf("the gateway took %d MiB for bytes that never came", m)
	}
}

// TestMalformedStarts: nothing that comes before a token disturbs.
func TestMalformedStarts(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	startup := func(code uint32, body string) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(len(body)+8))
		return append(binary.BigEndian.AppendUint32(b, code), body...)
	}
	const v3, ssl, gss = 3 << 16, 1234<<16 | 5679, 1234<<16 | 5680
	for what, b := range map[string][]byte{
		"HTTP":                   []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"zeros":                  make([]byte, 64),
		"ones":                   {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"a length of 9999999":    binary.BigEndian.AppendUint32(nil, 9999999),
		"protocol 2":             startup(2<<16, "user\x00a\x00\x00"),
		"protocol 9":             startup(9<<16, "user\x00a\x00\x00"),
		"no end":                 startup(v3, "user\x00a"),
		"after the end":          startup(v3, "user\x00a\x00\x00more"),
		"a name without value":   startup(v3, "user\x00"),
		"a cancel that is short": startup(1234<<16|5678, "\x00\x00"),
		"a TLS record of noise":  append([]byte{0x16, 3, 1, 0, 64}, make([]byte, 64)...),
		"many negotiations":      []byte(strings.Repeat(string(startup(gss, "")), 10)),
		"SSLRequest with a body": startup(ssl, "xxxx"),
	} {
		w := g.open()
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		w.Conn.(*net.TCPConn).CloseWrite()
		w.closed(what)
	}
	// Bytes behind an SSLRequest must not be taken for encrypted ones (CVE-2021-23222).
	w := g.open()
	if _, err := w.Write(append(startup(ssl, ""), startup(v3, "user\x00a\x00database\x00shop\x00\x00")...)); err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(w.Conn); len(b) > 0 {
		t.Errorf("an SSLRequest with more behind it was answered with %q", b)
	}
	// The password's message is bounded before it is read.
	w = g.open()
	w.do(&pgproto3.StartupMessage{ProtocolVersion: v3, Parameters: map[string]string{"user": "a", "database": "shop"}})
	w.expect("AuthenticationCleartextPassword")
	if _, err := w.Write(header('p', 1<<30)); err != nil {
		t.Fatal(err)
	}
	if e := w.fatal(); e.Code != "54000" {
		t.Errorf("%+v", e)
	}
	// TLS of an old version, and TLS without the protocol's name.
	for _, c := range []*tls.Config{
		{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10, NextProtos: []string{"postgresql"}},
		{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}},
	} {
		if conn, err := tls.Dial("tcp", g.pg, c); err == nil {
			conn.Close()
			t.Errorf("a TLS session was opened with %v", c.NextProtos)
		}
	}
	// Direct TLS with it is fine, and so is a version 3.2 with extensions, which is negotiated down.
	direct, err := tls.Dial("tcp", g.pg, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"postgresql"}})
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	direct.SetDeadline(time.Now().Add(patience))
	w = &wire{t: t, Conn: direct, Frontend: pgproto3.NewFrontend(direct, direct)}
	w.do(&pgproto3.StartupMessage{ProtocolVersion: v3 | 2, Parameters: map[string]string{"user": "a", "database": "shop", "_pq_.x": "1"}})
	w.expect("NegotiateProtocolVersion")
	w.expect("AuthenticationCleartextPassword")
	w.do(&pgproto3.PasswordMessage{Password: g.token()})
	w.until("ReadyForQuery I")
	exec1(t, g.dial(nil), "SELECT 1")
}

// TestCrowd: connections that are idle, or send half of something, delay nobody, and are closed.
func TestCrowd(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	halves := [][]byte{
		nil, {0}, {0, 0, 0, 90, 0, 3, 0, 0, 'u'}, {0x16, 3, 1, 2, 0, 1}, {0x16},
		binary.BigEndian.AppendUint32([]byte{0, 0, 0, 8}, 1234<<16|5679), []byte("GET / HTTP/1.1\r\n"),
	}
	var crowd []*wire
	for i := range 600 {
		w := g.open()
		crowd = append(crowd, w)
		w.Write(halves[i%len(halves)])
	}
	for range 20 {
		if err := g.signIn(g.token()); err != nil {
			t.Fatal(err)
		}
	}
	conn := g.dial(func(c *pgx.ConnConfig) {})
	exec1(t, conn, "SELECT 1")
	for _, w := range crowd {
		w.SetDeadline(time.Now().Add(patience))
		w.closed("one of the crowd")
		w.Conn.Close()
		if t.Failed() {
			break
		}
	}
	exec1(t, conn, "SELECT 1")
}
