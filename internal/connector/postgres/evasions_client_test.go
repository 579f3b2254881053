package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	pg "github.com/pganalyze/pg_query_go/v6"
)

// rawClient speaks the protocol message by message and keeps all that came back.
type rawClient struct {
	conn       net.Conn
	in         *wireReader
	transcript strings.Builder
	refusals   []string // of the gateway
	errors     []string // of the database
	fresh      bool     // the next error is the first of its part
	rows       int
}

// dialRaw signs in with pgconn and takes its connection over.
func dialRaw(url string, parameters map[string]string) (*rawClient, error) {
	config, err := pgconn.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	for k, v := range parameters {
		config.RuntimeParams[k] = v
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := c.SyncConn(ctx); err != nil { // it may still read in the background
		return nil, err
	}
	h, err := c.Hijack()
	if err != nil {
		return nil, err
	}
	h.Conn.SetDeadline(time.Now().Add(30 * time.Second))
	return &rawClient{conn: h.Conn, in: newWireReader(h.Conn)}, nil
}

func (c *rawClient) close() { c.conn.Close() }

// form is how a text is sent.
type form int

const (
	simple form = iota
	extendedText
	extendedBinary
)

func (f form) String() string { return [...]string{"simple", "text", "binary"}[f] }

// part sends one part of an entry and reads until the server is ready.
func (c *rawClient) part(f form, text string) error {
	if f == simple {
		return c.send(appendMessage(nil, 'Q', []byte(text), []byte{0}))
	}
	statements, err := pg.SplitWithScanner(text, true)
	if err != nil || len(statements) == 0 {
		statements = []string{text}
	}
	for _, one := range statements {
		if err := c.extended(one, byte(f-extendedText)); err != nil {
			return err
		}
	}
	return nil
}

func (c *rawClient) extended(text string, format byte) error {
	b := appendMessage(nil, 'P', []byte{0}, []byte(text), []byte{0, 0, 0})
	b = appendMessage(b, 'B', []byte{0, 0, 0, 0, 0, 0, 0, 1, 0, format})
	b = appendMessage(b, 'D', []byte{'P', 0})
	b = appendMessage(b, 'E', []byte{0, 0, 0, 0, 0})
	return c.send(appendMessage(b, 'S'))
}

// send writes messages and reads what comes up to ReadyForQuery.
func (c *rawClient) send(b []byte) error {
	c.fresh = true
	if _, err := c.conn.Write(b); err != nil {
		return err
	}
	for {
		typ, body, err := c.in.next(maxMessage)
		if err != nil {
			return err
		}
		c.note(typ, body)
		switch typ {
		case 'Z':
			return nil
		case 'G': // CopyInResponse: one row
			row := appendMessage(nil, 'd', []byte("900\t\\N\t1\n"))
			if _, err := c.conn.Write(appendMessage(row, 'c')); err != nil {
				return err
			}
		case 'W': // CopyBothResponse: enough was shown
			return nil
		}
	}
}

// note writes a message into the transcript: a line with its type and its fields.
func (c *rawClient) note(typ byte, body []byte) {
	fmt.Fprintf(&c.transcript, "%c\t", typ)
	switch typ {
	case 'D':
		c.rows++
		for rest := body[2:]; len(rest) >= 4; {
			n := int32(binary.BigEndian.Uint32(rest))
			rest = rest[4:]
			if n > 0 {
				c.transcript.Write(rest[:n])
				rest = rest[n:]
			}
			c.transcript.WriteByte('\t')
		}
	default:
		c.transcript.WriteString(strings.ReplaceAll(string(body), "\x00", "\t"))
	}
	c.transcript.WriteByte('\n')
	if typ == 'E' && c.fresh {
		c.fresh = false
		fields, err := decodeError(body)
		if err != nil {
			return
		}
		if strings.HasPrefix(fields['D'], "code: ") {
			c.refusals = append(c.refusals, fields['M'])
		} else {
			c.errors = append(c.errors, fields['C']+" "+fields['M'])
		}
	}
}

// lookUp asks the database itself for an OID.
func lookUp(t *testing.T, url, query string) (oid uint32) {
	t.Helper()
	c, err := dialRaw(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.part(simple, query); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(c.transcript.String(), "\n") {
		if rest, ok := strings.CutPrefix(line, "D\t"); ok {
			fmt.Sscan(rest, &oid)
		}
	}
	if oid == 0 {
		t.Fatalf("%s gives nothing", query)
	}
	return oid
}

// script runs what an entry with a protocol of its own describes, through the server at url. It gives false
// where it knows none for the name.
func script(t *testing.T, name, url, direct, text string) (*rawClient, bool) {
	t.Helper()
	open := func(parameters map[string]string) *rawClient {
		c, err := dialRaw(url, parameters)
		if err != nil {
			c = &rawClient{}
			c.transcript.WriteString("E\t" + err.Error() + "\n")
			c.refusals = append(c.refusals, err.Error())
		}
		return c
	}
	send := func(c *rawClient, b []byte) {
		if c.conn != nil {
			c.send(b)
		}
	}
	query := func(text string) []byte { return appendMessage(nil, 'Q', []byte(text), []byte{0}) }
	var c *rawClient
	switch name {
	case "activity": // another session's statement holds the value as a literal
		other, err := dialRaw(direct, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer other.close()
		if err := other.part(simple, "SELECT 1 FROM customers WHERE email = 'alice.w@corp.example'"); err != nil {
			t.Fatal(err)
		}
		c = open(nil)
		send(c, query(text))
	case "parameter": // declared to be of a domain whose check calls a function
		c = open(nil)
		b := append([]byte{0}, text...)
		b = binary.BigEndian.AppendUint32(append(b, 0, 0, 1), lookUp(t, direct, "SELECT 'longer'::regtype::oid"))
		b = appendMessage(nil, 'P', b)
		b = appendMessage(b, 'B', []byte{0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 'x', 0, 0})
		b = appendMessage(b, 'E', []byte{0, 0, 0, 0, 0})
		send(c, appendMessage(b, 'S'))
	case "fcall":
		c = open(nil)
		b := binary.BigEndian.AppendUint32(nil, lookUp(t, direct, "SELECT 'get_contact'::regproc::oid"))
		b = append(b, 0, 0, 0, 1, 0, 0, 0, 1, '1', 0, 0) // one argument, as text; the result too
		send(c, appendMessage(nil, 'F', b))
	case "nul":
		c = open(nil)
		send(c, query("SELECT 1\x00SELECT email FROM customers WHERE id=1"))
	case "logical":
		c = open(map[string]string{"replication": "database"})
		send(c, query("CREATE_REPLICATION_SLOT s TEMPORARY LOGICAL test_decoding"))
		send(c, query("START_REPLICATION SLOT s LOGICAL 0/0"))
		plain := open(nil)
		send(plain, query("START_REPLICATION SLOT s LOGICAL 0/0"))
		c.transcript.WriteString(plain.transcript.String())
		plain.close()
	case "basebackup":
		c = open(map[string]string{"replication": "true"})
		send(c, query("BASE_BACKUP"))
		plain := open(nil)
		send(plain, query("BASE_BACKUP"))
		c.transcript.WriteString(plain.transcript.String())
		plain.close()
	case "parseonly17":
		c = open(nil)
		send(c, query(text))
	default:
		return nil, false
	}
	if c.conn != nil {
		c.close()
	}
	return c, true
}
