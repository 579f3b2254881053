package test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"gatehouse/internal/record"
)

// TestPreparedStatements are used again and again, with parameters and results in both formats.
func TestPreparedStatements(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	conn := g.dial(nil)
	if _, err := conn.Prepare(within(t), "by id", "SELECT id, email, total FROM customers JOIN orders USING (id) WHERE id = $1"); err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 50; i++ {
		var id int
		var email string
		var total float64
		if err := conn.QueryRow(within(t), "by id", i).Scan(&id, &email, &total); err != nil || id != i || total <= 0 {
			t.Fatalf("%d: %d %v %v", i, id, total, err)
		}
		noRaw(t, "a prepared statement", email)
	}
	if err := conn.Deallocate(within(t), "by id"); err != nil {
		t.Fatal(err)
	}
	_, err := conn.PgConn().ExecPrepared(within(t), "by id", nil, nil, nil).Close()
	refused(t, err, "not_understood", "26000", "does not exist")
	// The parameters' types are the database's to say.
	d, err := conn.Prepare(within(t), "", "SELECT $1::date, $2::text[] FROM orders WHERE total > $3 LIMIT 1")
	if err != nil || len(d.ParamOIDs) != 3 || d.ParamOIDs[0] != 1082 || d.ParamOIDs[1] != 1009 || d.ParamOIDs[2] != 1700 || len(d.Fields) != 2 {
		t.Errorf("%+v %v", d, err)
	}
	// A refused statement leaves no name behind.
	_, err = conn.Prepare(within(t), "bad", "DROP TABLE customers")
	judgedRefusal(t, err, "policy_denied", "42501")
	if _, err = conn.Prepare(within(t), "bad", "SELECT 1"); err != nil {
		t.Error(err)
	}
}

// TestBatches: what is sent together is judged together.
func TestBatches(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: readWrite})
	name := table(t, "id int PRIMARY KEY, n int")
	conn := g.dial(nil)
	send := func(sql ...string) ([]string, error) {
		b := &pgx.Batch{}
		for _, s := range sql {
			b.Queue(s)
		}
		r := conn.SendBatch(within(t), b)
		var tags []string
		for range sql {
			tag, err := r.Exec()
			if err != nil {
				return tags, errors.Join(err, ignore(r.Close()))
			}
			tags = append(tags, tag.String())
		}
		return tags, r.Close()
	}
	tags, err := send("INSERT INTO "+name+" VALUES (1, 1)", "SELECT * FROM "+name, "UPDATE "+name+" SET n = 2")
	if got := strings.Join(tags, ", "); err != nil || got != "INSERT 0 1, SELECT 1, UPDATE 1" {
		t.Errorf("%s %v", got, err)
	}
	_, err = send("INSERT INTO "+name+" VALUES (2, 2)", "DROP TABLE customers", "INSERT INTO "+name+" VALUES (3, 3)")
	judgedRefusal(t, err, "policy_denied", "42501")
	if _, err = send("INSERT INTO "+name+" VALUES (4, 4)", "INSERT INTO "+name+" VALUES (1, 1)"); err == nil {
		t.Error("a unique violation passed")
	}
	if got := truth[string](t, "SELECT string_agg(id::text, ',') FROM "+name); got != "1" {
		t.Errorf("kept %s, want 1", got)
	}
	many := make([]string, 700) // more than one batch of the gateway's own
	for i := range many {
		many[i] = fmt.Sprintf("INSERT INTO %s VALUES (%d, 0)", name, 100+i)
	}
	if tags, err = send(many...); err != nil || len(tags) != len(many) {
		t.Errorf("%d of %d: %v", len(tags), len(many), err)
	}
	if n := truth[int](t, "SELECT count(*)::int FROM "+name); n != 701 {
		t.Errorf("%d rows, want 701", n)
	}
}

func ignore(error) error { return nil }

// TestPipeline sends ahead of the answers; a refusal takes only what stands up to the next Sync.
func TestPipeline(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	conn := g.dial(nil).PgConn()
	p := conn.StartPipeline(within(t))
	for i := range 40 {
		p.SendQueryParams(fmt.Sprintf("SELECT %d::int, email FROM customers WHERE id = $1", i), [][]byte{fmt.Append(nil, i+1)}, nil, nil, nil)
		if i%4 == 3 {
			p.SendQueryParams("DROP TABLE customers", nil, nil, nil, nil)
			p.SendQueryParams("SELECT 'never'", nil, nil, nil, nil)
		}
		if err := p.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	results, refusals, syncs := 0, 0, 0
	for syncs < 40 {
		r, err := p.GetResults()
		var e *pgconn.PgError
		switch {
		case asPg(err, &e):
			judgedRefusal(t, err, "policy_denied", "42501")
			refusals++
			continue
		case err != nil:
			t.Fatal(err)
		}
		switch r := r.(type) {
		case *pgconn.PipelineSync:
			syncs++
		case *pgconn.ResultReader:
			res := r.Read()
			if res.Err != nil || len(res.Rows) != 1 {
				t.Fatalf("%d rows, %v", len(res.Rows), res.Err)
			}
			noRaw(t, "a pipeline", string(res.Rows[0][1]))
			results++
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if results != 30 || refusals != 10 {
		t.Errorf("%d results and %d refusals, want 30 and 10", results, refusals)
	}
}

// TestPortals: rows are fetched in parts, portals end with their transaction, and an answer comes for every
// message in its order.
func TestPortals(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: readWrite})
	w := g.wire()
	parse := func(name, sql string) *pgproto3.Parse { return &pgproto3.Parse{Name: name, Query: sql} }
	bind := func(portal, name string) *pgproto3.Bind {
		return &pgproto3.Bind{DestinationPortal: portal, PreparedStatement: name}
	}
	run := func(portal string, n uint32) *pgproto3.Execute { return &pgproto3.Execute{Portal: portal, MaxRows: n} }
	sync := &pgproto3.Sync{}
	rows := func(n int) string { return strings.Repeat("DataRow, ", n) }
	w.steps("CommandComplete BEGIN, ReadyForQuery T", &pgproto3.Query{String: "BEGIN"})
	w.steps("ParseComplete, BindComplete, RowDescription, "+rows(2)+"PortalSuspended, ReadyForQuery T",
		parse("s", "SELECT id, email FROM customers WHERE id <= 5 ORDER BY id"), bind("p", "s"), &pgproto3.Describe{ObjectType: 'P', Name: "p"}, run("p", 2), sync)
	w.steps(rows(2)+"PortalSuspended, ReadyForQuery T", run("p", 2), sync)
	w.steps(rows(1)+"CommandComplete SELECT 1, ReadyForQuery T", run("p", 2), sync)
	w.steps("CommandComplete COMMIT, ReadyForQuery I", &pgproto3.Query{String: "COMMIT"})
	w.steps("ErrorResponse 34000, ReadyForQuery I", run("p", 2), sync)
	w.steps("ParameterDescription, RowDescription, ReadyForQuery I", &pgproto3.Describe{ObjectType: 'S', Name: "s"}, sync)
	w.steps("ErrorResponse 26000, ReadyForQuery I", &pgproto3.Describe{ObjectType: 'S', Name: "none"}, sync)
	w.steps("ErrorResponse 42P05, ReadyForQuery I", parse("s", "SELECT 1"), sync)
	w.steps("CloseComplete, ParseComplete, ReadyForQuery I", &pgproto3.Close{ObjectType: 'S', Name: "s"}, parse("s", "SELECT 1"), sync)
	w.steps("ParseComplete, ReadyForQuery I", parse("i", "INSERT INTO products SELECT * FROM products WHERE false"), sync)
	w.steps("BindComplete, NoData, CommandComplete INSERT 0 0, ReadyForQuery I", bind("", "i"), &pgproto3.Describe{ObjectType: 'P'}, run("", 0), sync)
	// An empty text, and everything at once without waiting.
	w.steps("EmptyQueryResponse, ReadyForQuery I", &pgproto3.Query{String: ""})
	w.steps("ParseComplete, BindComplete, DataRow, CommandComplete SELECT 1, ParseComplete, BindComplete, "+rows(3)+"CommandComplete SELECT 3, ReadyForQuery I",
		parse("", "SELECT 1"), bind("", ""), run("", 0), parse("", "SELECT * FROM generate_series(1,3) g"), bind("", ""), run("", 0), sync)
	// After an error everything up to the Sync is ignored, and a refusal is an error like others.
	w.steps("ErrorResponse 42501, ReadyForQuery I", parse("", "DROP TABLE customers"), bind("", ""), run("", 0), parse("", "SELECT 1"), bind("", ""), run("", 0), sync)
	w.steps("ParseComplete, BindComplete, ErrorResponse 22012, ReadyForQuery I", parse("", "SELECT 1/(id-id) FROM products"), bind("", ""), run("", 0), parse("", "SELECT 1"), bind("", ""), run("", 0), sync)
	// A Flush gives what is there; the Sync comes later.
	w.do(parse("", "SELECT 7"), bind("", ""), run("", 0), &pgproto3.Flush{})
	if got := strings.Join(w.until("CommandComplete"), ", "); got != "ParseComplete, BindComplete, DataRow, CommandComplete SELECT 1" {
		t.Error(got)
	}
	w.steps("ReadyForQuery I", sync)
	w.steps("ErrorResponse 0A000, ReadyForQuery I", &pgproto3.FunctionCall{Function: 1})
}

// TestRefusedInsideAnImplicitTransaction: writes that stand before a refusal, with no Sync between, are
// undone.
func TestRefusedInsideAnImplicitTransaction(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: readWrite})
	name := table(t, "id int PRIMARY KEY")
	w := g.wire()
	one := func(sql string) []pgproto3.FrontendMessage {
		return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Execute{}}
	}
	w.do(append(one("INSERT INTO "+name+" VALUES (1)"), &pgproto3.Flush{})...)
	w.until("CommandComplete INSERT")
	w.steps("ErrorResponse 42501, ReadyForQuery I", append(one("DROP TABLE customers"), &pgproto3.Sync{})...)
	if n := truth[int](t, "SELECT count(*)::int FROM "+name); n != 0 {
		t.Errorf("%d rows were kept", n)
	}
}

// TestCancel stops what the database runs, and the session goes on.
func TestCancel(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	conn := g.dial(nil)
	name := table(t, "n int")
	admin(t, "INSERT INTO "+name+" SELECT generate_series(1, 5000)")
	w := g.wire()
	w.do(&pgproto3.Query{String: fmt.Sprintf("SELECT count(*) FROM %s a, %s b, %s c", name, name, name)})
	busy := func() bool {
		return truth[int](t, "SELECT count(*)::int FROM pg_stat_activity WHERE state = 'active' AND usename = 'gatehouse' AND query LIKE '%"+name+"%'") > 0
	}
	eventually(t, "the statement runs", busy)
	// A wrong key cancels nothing.
	other := g.open()
	other.do(&pgproto3.CancelRequest{ProcessID: w.pid, SecretKey: []byte{1, 2, 3, 4}})
	other.closed("a cancel request")
	if !busy() {
		t.Error("a wrong key cancelled a statement")
	}
	right := g.open()
	right.do(&pgproto3.CancelRequest{ProcessID: w.pid, SecretKey: w.key})
	if got := strings.Join(w.until("ReadyForQuery"), ", "); got != "ErrorResponse 57014, ReadyForQuery I" && got != "RowDescription, ErrorResponse 57014, ReadyForQuery I" {
		t.Error(got)
	}
	w.steps("RowDescription, DataRow, CommandComplete SELECT 1, ReadyForQuery I", &pgproto3.Query{String: "SELECT 1"})
	if err := conn.Ping(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestLargeResult: what is not masked arrives as the database has it, whole and in order, also by psql.
func TestLargeResult(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	const sql = "SELECT id, customer_id, product_id, quantity, total::text, status, created_at::text FROM orders ORDER BY id"
	want := truth[string](t, "SELECT md5(string_agg(concat_ws(',', id, customer_id, product_id, quantity, total::text, status), ';' ORDER BY id)) FROM orders WHERE id <= 100000")
	conn := g.dial(nil)
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement} {
		rows, err := conn.Query(within(t), "SELECT id::text, customer_id::text, product_id::text, quantity::text, total::text, status FROM orders WHERE id <= 100000 ORDER BY orders.id", mode)
		if err != nil {
			t.Fatal(err)
		}
		sum, n := md5.New(), 0
		for rows.Next() {
			if n > 0 {
				sum.Write([]byte(";"))
			}
			n++
			sum.Write(bytes.Join(rows.RawValues(), []byte(",")))
		}
		if got := hex.EncodeToString(sum.Sum(nil)); rows.Err() != nil || n != 100000 || got != want {
			t.Errorf("in mode %s: %d rows, %v, %s, want %s", mode, n, rows.Err(), got, want)
		}
	}
	if r := g.psql(sql+";\n", "-At"); r.err != "" || strings.Count(r.out, "\n") < 100000 {
		t.Errorf("psql: %d lines, %s", strings.Count(r.out, "\n"), r.err)
	}
}

// TestClientLeaves: what runs for a client that has gone is stopped, and its outcome is unknown.
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	name := table(t, "n int")
	admin(t, "INSERT INTO "+name+" SELECT generate_series(1, 5000)")
	running := func() bool {
		return truth[int](t, "SELECT count(*)::int FROM pg_stat_activity WHERE state = 'active' AND usename = 'gatehouse' AND query LIKE '%"+name+"%'") > 0
	}
	w := g.wire()
	w.do(&pgproto3.Query{String: fmt.Sprintf("SELECT count(*) FROM %s a, %s b, %s c", name, name, name)})
	eventually(t, "the statement runs", running)
	w.Conn.Close()
	eventually(t, "the statement is stopped", func() bool { return !running() })
	eventually(t, "the session is closed", func() bool {
		list, err := record.List(context.Background(), g.recordings(), record.Filter{})
		return err == nil && len(list) == 1 && list[0].State == "closed" && list[0].Requests == 1
	})
}
