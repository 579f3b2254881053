package test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// TestCopyOut: what COPY gives the client is masked as a SELECT is, whole, recorded, and can be cancelled.
func TestCopyOut(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	r := g.psql(`\copy customers to 'all.txt'
\copy customers(id, email) to 'some.csv' with (format csv, header)
\copy (select id, upper(email) from customers where id <= 40) to 'query.csv' csv
\copy customers to 'all.bin' with (format binary)
COPY (SELECT 1, 'two') TO STDOUT;
COPY customers TO '/tmp/customers';
COPY (SELECT email FROM customers) TO PROGRAM 'cat';
`)
	if !strings.Contains(r.out, "COPY 10000\nCOPY 10000\nCOPY 40\nCOPY 10000\n1\ttwo\n") || strings.Count(r.err, "ERROR:  42501") != 2 {
		t.Errorf("psql: %s %s", r.out, r.err)
	}
	for name, lines := range map[string]int{"all.txt": 10000, "some.csv": 10001, "query.csv": 40, "all.bin": -1} {
		b, err := os.ReadFile(g.path(name))
		if err != nil || lines >= 0 && bytes.Count(b, []byte("\n")) != lines {
			t.Errorf("%s: %d lines, %v", name, bytes.Count(b, []byte("\n")), err)
		}
		noRaw(t, name, string(b))
	}
	// What is not masked comes as the database has it, and every row is in the recording.
	conn := g.dial(nil)
	var out bytes.Buffer
	tag, err := conn.PgConn().CopyTo(within(t), &out, "COPY (SELECT id, total FROM orders ORDER BY id) TO STDOUT")
	want := truth[string](t, "SELECT string_agg(id || E'\\t' || total, E'\\n' ORDER BY id) FROM orders")
	if err != nil || tag.RowsAffected() != 100000 || strings.TrimSuffix(out.String(), "\n") != want {
		t.Errorf("%s %v: %d bytes, want %d", tag, err, out.Len(), len(want))
	}
	// In the extended protocol, between others, and with an error in the middle.
	w := g.wire()
	run := func(sql string) []pgproto3.FrontendMessage {
		return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}}
	}
	sync := &pgproto3.Sync{}
	w.steps("ParseComplete, BindComplete, NoData, CopyOutResponse, CopyData, CopyData, CopyDone, CommandComplete COPY 2, ReadyForQuery I",
		append(run("COPY (SELECT id, email FROM customers WHERE id < 3) TO STDOUT"), sync)...)
	w.steps("RowDescription, DataRow, CommandComplete SELECT 1, CopyOutResponse, CopyData, CopyDone, CommandComplete COPY 1, RowDescription, DataRow, CommandComplete SELECT 1, ReadyForQuery I",
		&pgproto3.Query{String: "SELECT 1; COPY (SELECT 2) TO STDOUT; SELECT 3"})
	w.steps("CopyOutResponse, CopyData, CopyData, ErrorResponse 22012, ReadyForQuery I", &pgproto3.Query{String: "COPY (SELECT 1/(3-g) FROM generate_series(1,5) g) TO STDOUT"})
	w.do(&pgproto3.Query{String: "COPY (SELECT repeat('x', 1000) FROM orders a, orders b) TO STDOUT"})
	w.expect("CopyOutResponse")
	for range 1000 {
		w.expect("CopyData")
	}
	right := g.open()
	right.do(&pgproto3.CancelRequest{ProcessID: w.pid, SecretKey: w.key})
	names := w.until("ReadyForQuery")
	if got := strings.Join(names[len(names)-2:], ", "); got != "ErrorResponse 57014, ReadyForQuery I" {
		t.Error(got)
	}
	// CopyData outside of a COPY says nothing.
	w.steps("RowDescription, DataRow, CommandComplete SELECT 1, ReadyForQuery I", &pgproto3.CopyData{Data: []byte("x")}, &pgproto3.CopyDone{}, &pgproto3.CopyFail{}, &pgproto3.Query{String: "SELECT 1"})
}
