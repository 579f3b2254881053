package test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"gatehouse/internal/record"
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

// copyPolicies are policies under which a table without labels may be written, and one column of customers may not.
const copyPolicies = readWrite + `
@id("no-phone") forbid (principal, action == Action::"insert", resource == Column::"shop/public.customers.phone");
`

// TestCopyIn: rows come in by permit, in every format and by every client, and what they were is recorded.
func TestCopyIn(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: copyPolicies})
	name := table(t, "id int PRIMARY KEY, v text, n numeric")
	count := func(want int) {
		t.Helper()
		if n := truth[int](t, "SELECT count(*)::int FROM "+name); n != want {
			t.Errorf("%d rows, want %d", n, want)
		}
	}
	var rows strings.Builder
	for i := range 100000 {
		fmt.Fprintf(&rows, "%d\tvalue %d\t%d.5\n", i, i, i)
	}
	g.write("rows.txt", rows.String())
	g.write("rows.csv", "id,v\n200000,\"two\nlines\"\n200001,\n")
	r := g.psql("\\copy " + name + " from 'rows.txt'\n\\copy " + name + " (id, v) from 'rows.csv' with (format csv, header match)\nCOPY " + name + "(id) FROM STDIN;\n300000\n300001\n\\.\nSELECT 'after';\nCOPY customers(id, phone) FROM STDIN;\nCOPY " + name + " FROM '/etc/passwd';\n")
	if !strings.Contains(r.out, "COPY 100000\nCOPY 2\nCOPY 2\n") || !strings.Contains(r.out, "after") || strings.Count(r.err, "ERROR:  42501") != 2 {
		t.Errorf("psql: %s %s", r.out, r.err)
	}
	count(100004)
	if sum, want := truth[string](t, "SELECT md5(string_agg(id || E'\\t' || v || E'\\t' || n || E'\\n', '' ORDER BY id)) FROM "+name+" WHERE id < 200000"), fmt.Sprintf("%x", md5.Sum([]byte(rows.String()))); sum != want {
		t.Error("the rows are not those that were sent")
	}
	sum := sha256.Sum256([]byte(rows.String()))
	list, err := record.List(t.Context(), g.recordings(), record.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	shown := g.ok("grace", nil, "sessions", "replay", list[0].ID)
	contains(t, shown, fmt.Sprintf("the client sent %d bytes (done), sha256 %x", rows.Len(), sum))
	conn := g.dial(nil)
	n, err := conn.CopyFrom(within(t), pgx.Identifier{name}, []string{"id", "v"}, pgx.CopyFromSlice(5000, func(i int) ([]any, error) { return []any{400000 + i, "pgx"}, nil }))
	if err != nil || n != 5000 {
		t.Errorf("%d %v", n, err)
	}
	count(105004)
	// A source that fails, a row that is wrong, a key that is there: nothing is kept, and the session goes on.
	_, err = conn.CopyFrom(within(t), pgx.Identifier{name}, []string{"id", "v"}, pgx.CopyFromSlice(5000, func(i int) ([]any, error) {
		if i == 4000 {
			return nil, errors.New("the source failed")
		}
		return []any{500000 + i, "pgx"}, nil
	}))
	if err == nil || !strings.Contains(err.Error(), "57014") {
		t.Error(err)
	}
	_, err = conn.PgConn().CopyFrom(within(t), strings.NewReader("600000\n600001\nwrong\n"+strings.Repeat("600002\n", 200000)), "COPY "+name+"(id) FROM STDIN")
	var e *pgconn.PgError
	if !errors.As(err, &e) || e.Code != "22P02" || e.Where != "COPY "+name+", line 3" || strings.Contains(e.Message, "wrong") {
		t.Errorf("%+v", e)
	}
	_, err = conn.PgConn().CopyFrom(within(t), strings.NewReader("1\n"), "COPY "+name+"(id) FROM STDIN")
	if err == nil || !strings.Contains(err.Error(), "23505") {
		t.Error(err)
	}
	if tag, err := conn.PgConn().CopyFrom(within(t), strings.NewReader("700000\n"), "COPY "+name+"(id) FROM STDIN"); err != nil || tag.String() != "COPY 1" {
		t.Error(tag, err)
	}
	count(105005)
}

// TestCopyInMessages: every message that can come while rows are taken, by both protocols.
func TestCopyInMessages(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: copyPolicies})
	name := table(t, "id int PRIMARY KEY")
	w := g.wire()
	query := func(sql string) *pgproto3.Query { return &pgproto3.Query{String: sql} }
	data := func(s string) *pgproto3.CopyData { return &pgproto3.CopyData{Data: []byte(s)} }
	begin := func(m ...pgproto3.FrontendMessage) {
		t.Helper()
		w.do(m...)
		names := w.until("CopyInResponse")
		if strings.Contains(strings.Join(names, " "), "Error") {
			t.Fatal(names)
		}
	}
	extended := func(sql string) []pgproto3.FrontendMessage {
		return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}}
	}
	done, sync, flush := &pgproto3.CopyDone{}, &pgproto3.Sync{}, &pgproto3.Flush{}
	in := "COPY " + name + " FROM STDIN"

	begin(query(in))
	w.steps("CommandComplete COPY 2, ReadyForQuery I", data("1\n"), flush, sync, data("2\n"), done)
	// Two in one text, with others around them.
	begin(query("SELECT 1; " + in + "; SELECT 2; " + in + "; SELECT 3"))
	begin(data("3\n"), done)
	w.steps("CommandComplete COPY 1, RowDescription, DataRow, CommandComplete SELECT 1, ReadyForQuery I", data("4\n"), done)
	// Everything at once: what comes before the database asks waits.
	w.steps("CopyInResponse, CommandComplete COPY 1, ReadyForQuery I", query(in), data("5\n"), done)
	// CopyFail, another message, an error of the database: the session goes on.
	begin(query(in))
	w.steps("ErrorResponse 57014, ReadyForQuery I", data("6\n"), &pgproto3.CopyFail{Message: "no more"})
	begin(query(in))
	w.steps("ErrorResponse 57014, ReadyForQuery I", data("7\n"), query("DROP TABLE customers"))
	begin(query(in))
	w.steps("ErrorResponse 22P02, ReadyForQuery I", data("x\n"), done)
	w.steps("RowDescription, DataRow, CommandComplete SELECT 1, ReadyForQuery I", data("8\n"), done, query("SELECT 1"))
	// The extended protocol: the first Sync is not heeded where rows are taken, and is where they are not.
	begin(append(extended(in), sync)...)
	w.steps("CommandComplete COPY 1, ReadyForQuery I", data("9\n"), done, sync)
	begin(append(extended(in), flush)...)
	w.steps("ErrorResponse 57014, ReadyForQuery I", data("10\n"), &pgproto3.CopyFail{Message: "x"}, data("11\n"), done, query("SELECT 'skipped'"), sync)
	w.steps("ParseComplete, BindComplete, RowDescription, ErrorResponse 22012, ReadyForQuery I", append(append(extended("SELECT 1/(id-id) FROM products"), extended(in)...), sync)...)
	w.steps("ErrorResponse 0A000, ReadyForQuery I", append(append(extended(in), extended("SELECT 1")...), sync)...)
	w.steps("ErrorResponse 42501, ReadyForQuery I", append(extended("COPY customers(phone) FROM STDIN"), sync)...)
	// In a transaction that fails.
	w.steps("CommandComplete BEGIN, ReadyForQuery T", query("BEGIN"))
	begin(query(in))
	w.steps("ErrorResponse 22P02, ReadyForQuery E", data("y\n"), done)
	w.steps("ErrorResponse 25P02, ReadyForQuery E", query(in))
	w.steps("CommandComplete ROLLBACK, ReadyForQuery I", query("ROLLBACK"))
	if got := truth[string](t, "SELECT string_agg(id::text, ',' ORDER BY id) FROM "+name); got != "1,2,3,4,5,9" {
		t.Errorf("kept %s", got)
	}
	// A client that leaves in the middle leaves nothing behind.
	begin(query(in))
	w.do(data("20\n"))
	w.Conn.Close()
	eventually(t, "the COPY is stopped", func() bool {
		return truth[int](t, "SELECT count(*)::int FROM pg_stat_activity WHERE query LIKE '%"+name+"%' AND usename = 'gatehouse'") == 0
	})
	if n := truth[int](t, "SELECT count(*)::int FROM "+name); n != 6 {
		t.Errorf("%d rows were kept, want 6", n)
	}
}
