package test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

// grows fails where the gateway's process came to have more than so many MiB beyond what it had. The binary of the
// tests has the race detector in it, which takes a multiple of what it watches.
func (g *gateway) grows(what string, before, most int) {
	g.t.Helper()
	now := g.memory()
	g.t.Logf("%s: the gateway's memory was %d MiB, and %d MiB at most", what, before, now)
	if now-before > most {
		g.t.Errorf("%s: the gateway took %d MiB more, the bound is %d", what, now-before, most)
	}
}

// frames are a session's worth of well-formed messages, as bytes.
func frames(t testing.TB) [][]byte {
	t.Helper()
	var out [][]byte
	for _, m := range []pgproto3.FrontendMessage{
		&pgproto3.Query{String: "SELECT id, email FROM customers WHERE id < 4"},
		&pgproto3.Parse{Name: "a", Query: "SELECT $1::int, $2::text FROM orders LIMIT 2", ParameterOIDs: []uint32{23, 25}},
		&pgproto3.Bind{PreparedStatement: "a", DestinationPortal: "p", ParameterFormatCodes: []int16{1, 0}, Parameters: [][]byte{{0, 0, 0, 7}, []byte("x")}, ResultFormatCodes: []int16{1}},
		&pgproto3.Describe{ObjectType: 'P', Name: "p"},
		&pgproto3.Execute{Portal: "p", MaxRows: 1},
		&pgproto3.Flush{},
		&pgproto3.Close{ObjectType: 'S', Name: "a"},
		&pgproto3.Sync{},
		&pgproto3.CopyData{Data: []byte("1\tx\n")},
		&pgproto3.CopyDone{},
		&pgproto3.Query{String: "BEGIN; SELECT 1; COMMIT"},
		&pgproto3.FunctionCall{Function: 1, Arguments: [][]byte{{1}}, ArgFormatCodes: []uint16{0}},
	} {
		b, err := m.Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

// TestFuzzedFrames sends messages with bytes changed, cut, repeated and out of order. Each such session is answered
// or ended; the gateway stays, does not grow, and nobody else notices.
func TestFuzzedFrames(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	g := start(t, options{})
	bystander := g.dial(nil)
	exec1(t, bystander, "SELECT 1")
	before := g.memory()
	whole := frames(t)
	for n := range 150 {
		var b []byte
		for range 1 + r.IntN(12) {
			one := slices.Clone(whole[r.IntN(len(whole))])
			switch r.IntN(6) {
			case 0:
				one[r.IntN(len(one))] ^= 1 << r.IntN(8)
			case 1:
				one = one[:r.IntN(len(one)+1)]
			case 2:
				one[1+r.IntN(4)] = byte(r.IntN(256))
			case 3:
				at := r.IntN(len(one) + 1)
				one = slices.Insert(one, at, byte(r.IntN(256)), byte(r.IntN(256)))
			}
			b = append(b, one...)
		}
		w := g.wire()
		if _, err := w.Write(b); err != nil {
			continue // ended meanwhile
		}
		// What is cut short is waited for: the end of the client's side settles it.
		w.Conn.(interface{ CloseWrite() error }).CloseWrite()
		w.closed(fmt.Sprintf("session %d of seed %d", n, seed))
		w.Conn.Close()
		if n%30 == 0 {
			exec1(t, bystander, "SELECT 1")
		}
	}
	exec1(t, bystander, "SELECT 1")
	g.grows("fuzzed frames", before, 300)
}

// TestDeepNesting: ten thousand levels of anything are refused with a word, and the session goes on.
func TestDeepNesting(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	w := g.wire()
	before := g.memory()
	const n = 10_000
	deep := func(before, middle, after string) string {
		return "SELECT " + strings.Repeat(before, n) + middle + strings.Repeat(after, n)
	}
	for what, sql := range map[string]string{
		"parentheses":   deep("(", "1", ")"),
		"sub-selects":   deep("(SELECT ", "1", ")"),
		"calls":         deep("abs(", "1", ")"),
		"CASE":          deep("CASE WHEN true THEN ", "1", " END"),
		"arrays":        deep("ARRAY[", "1", "]"),
		"NOT":           deep("NOT ", "true", ""),
		"casts":         deep("", "1", "::int"),
		"indirections":  deep("", "(ARRAY[1])", "[1]"),
		"FROM":          "SELECT 1 FROM " + strings.Repeat("(SELECT 1 FROM ", n) + "customers" + strings.Repeat(") x", n),
		"joins":         "SELECT 1 FROM " + strings.Repeat("(", n) + "customers" + strings.Repeat(" CROSS JOIN customers)", n),
		"WITH":          strings.Repeat("WITH a AS (", n) + "SELECT 1" + strings.Repeat(") SELECT 1", n),
		"set operation": strings.Repeat("(", n) + "SELECT 1" + strings.Repeat(" UNION SELECT 1)", n),
	} {
		w.do(&pgproto3.Query{String: sql})
		var e *pgproto3.ErrorResponse
		for {
			m, name := w.read()
			if m, ok := m.(*pgproto3.ErrorResponse); ok {
				own := *m
				e = &own
			}
			if name == "ReadyForQuery" {
				break
			}
		}
		if e == nil && what == "parentheses" { // they leave no trace in the tree
			continue
		}
		if e == nil || e.Severity != "ERROR" || e.Message == "" || e.Hint == "" || !slices.Contains([]string{"54001", "54000", "42601"}, e.Code) {
			t.Errorf("%s: %+v", what, e)
		}
	}
	w.steps("RowDescription, DataRow, CommandComplete SELECT 1, ReadyForQuery I", &pgproto3.Query{String: "SELECT 1"})
	g.grows("deep nesting", before, 600)
}

// TestLargeStatement sends a text of 64 MiB: more than is understood, and not more than a message may have;
// then parameters of that order, which are recorded as a whole.
func TestLargeStatement(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	bystander := g.dial(nil)
	w := g.wire()
	before := g.memory()
	text := "SELECT '" + strings.Repeat("x", 64<<20-64) + "'"
	for range 3 {
		w.SetDeadline(time.Now().Add(patience))
		w.do(&pgproto3.Query{String: text})
		e, ok := w.expect("ErrorResponse").(*pgproto3.ErrorResponse)
		if !ok || e.Code != "54000" || e.Hint == "" {
			t.Errorf("%+v", e)
		}
		w.until("ReadyForQuery I")
		w.do(&pgproto3.Parse{Query: text}, &pgproto3.Sync{})
		if names := strings.Join(w.until("ReadyForQuery I"), ", "); !strings.HasPrefix(names, "ErrorResponse 54000") {
			t.Errorf("%.300s", names)
		}
	}
	exec1(t, bystander, "SELECT 1")
	g.grows("large texts", before, 600)
	for size, want := range map[int]string{
		45 << 20: "ParseComplete, BindComplete, DataRow, CommandComplete SELECT 1, ReadyForQuery I",
		60 << 20: "ErrorResponse 54000, ReadyForQuery I",
	} {
		w.SetDeadline(time.Now().Add(patience))
		w.steps(want, &pgproto3.Parse{Query: "SELECT length($1::text)"}, &pgproto3.Bind{Parameters: [][]byte{[]byte(strings.Repeat("x", size))}}, &pgproto3.Execute{}, &pgproto3.Sync{})
	}
	exec1(t, bystander, "SELECT 1")
	g.grows("large parameters", before, 3000)
}

// TestManyStatements prepares a thousand, uses each, and goes beyond what a session may have.
func TestManyStatements(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	w := g.wire()
	before := g.memory()
	name := func(i int) string { return fmt.Sprintf("s%d", i) }
	for i := range 1000 {
		w.do(&pgproto3.Parse{Name: name(i), Query: fmt.Sprintf("SELECT %d, email FROM customers WHERE id = $1", i)})
	}
	w.do(&pgproto3.Sync{})
	w.until("ReadyForQuery I")
	for i := range 1000 {
		w.do(&pgproto3.Bind{PreparedStatement: name(i), Parameters: [][]byte{[]byte("7")}}, &pgproto3.Execute{})
		if i%100 == 99 {
			w.SetDeadline(time.Now().Add(patience))
			w.do(&pgproto3.Sync{})
			names := w.until("ReadyForQuery I")
			if len(names) != 301 {
				t.Fatalf("%d: %v", i, names)
			}
		}
	}
	refused := 0
	for i := 1000; i < 2100; i++ {
		w.do(&pgproto3.Parse{Name: name(i), Query: "SELECT 1"}, &pgproto3.Sync{})
		if strings.HasPrefix(w.until("ReadyForQuery I")[0], "ErrorResponse 54000") {
			refused++
		}
	}
	if refused != 2100-2048 {
		t.Errorf("%d of 2100 statements were refused, want those beyond 2048", refused)
	}
	w.steps("CloseComplete, ParseComplete, ReadyForQuery I", &pgproto3.Close{ObjectType: 'S', Name: name(3)}, &pgproto3.Parse{Name: name(3000), Query: "SELECT 1"}, &pgproto3.Sync{})
	g.grows("many statements", before, 500)
}

// TestClientNeverReads: results that nobody takes wait in the database, not in the gateway, and disturb nobody.
func TestClientNeverReads(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	bystander := g.dial(func(c *pgx.ConnConfig) {})
	exec1(t, bystander, "SELECT 1")
	before := g.memory()
	const big = "SELECT repeat('never read ', 1000) FROM generate_series(1, 100000)" // a gigabyte
	var idle []*wire
	for i := range 8 {
		w := g.wire()
		idle = append(idle, w)
		if i%2 == 0 {
			w.do(&pgproto3.Query{String: big})
			continue
		}
		w.do(&pgproto3.Parse{Query: big}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
	}
	running := "SELECT count(*)::int FROM pg_stat_activity WHERE query LIKE '%never read%' AND pid <> pg_backend_pid() AND state = 'active' AND wait_event = 'ClientWrite'"
	eventually(t, "the results wait at the database", func() bool { return truth[int](t, running) == len(idle) })
	for range 20 {
		exec1(t, bystander, "SELECT email FROM customers WHERE id = 3")
	}
	g.grows("clients that never read", before, 400)
	for _, w := range idle {
		w.Conn.Close()
	}
	eventually(t, "nothing runs for clients that have gone", func() bool { return truth[int](t, running) == 0 })
	exec1(t, bystander, "SELECT 1")
}
