package test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// slow fails after the database has worked for a while, so that what is behind it is judged meanwhile.
const slow = "SELECT sum(1/(g-3000000)) FROM generate_series(1,4000000) g"

// TestSkippedMessages: what the database skips after an error it has not parsed or closed. A batch behind it is
// not judged by another text than the database would run.
func TestSkippedMessages(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	name := table(t, "id int primary key, v text")
	admin(t, "INSERT INTO "+name+" VALUES (1, 'before')")
	failing := []pgproto3.FrontendMessage{&pgproto3.Parse{Name: "x", Query: slow}, &pgproto3.Bind{PreparedStatement: "x"}, &pgproto3.Execute{}}
	sync := &pgproto3.Sync{}
	for what, one := range map[string]struct {
		first  string
		behind []pgproto3.FrontendMessage
	}{
		"a Parse without a name": {"", []pgproto3.FrontendMessage{&pgproto3.Parse{Query: "SELECT 1"}, sync, &pgproto3.Bind{}, &pgproto3.Execute{}, sync}},
		"a Close": {"a", []pgproto3.FrontendMessage{&pgproto3.Close{ObjectType: 'S', Name: "a"}, sync,
			&pgproto3.Parse{Name: "a", Query: "SELECT 1"}, sync, &pgproto3.Bind{PreparedStatement: "a"}, &pgproto3.Execute{}, sync}},
	} {
		w := g.wire()
		// It is only prepared, so it is not held.
		w.do(&pgproto3.Parse{Name: one.first, Query: "UPDATE public." + name + " SET v = 'after' WHERE id = 1"}, sync)
		w.until("ReadyForQuery I")
		w.do(append(append([]pgproto3.FrontendMessage{}, failing...), one.behind...)...)
		for _, m := range one.behind {
			if m == sync {
				w.until("ReadyForQuery I")
			}
		}
		if v := truth[string](t, "SELECT v FROM "+name); v != "before" {
			t.Errorf("%s: a write ran that nobody approved", what)
		}
	}
}

// TestPipelines: whatever is pipelined, flushed, suspended or wrong, every answer belongs to its statement.
func TestPipelines(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	w := g.wire()
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	for round := range 20 {
		var want, got []string
		for i := range 40 {
			rows, bad := []int{1, 1, 1, 60000}[random.IntN(4)], random.IntN(6) == 0
			value := fmt.Sprintf("%d-%d", round, i)
			query := fmt.Sprintf("SELECT '%s' || (count(*)*0)::text FROM generate_series(1,%d)", value, rows)
			value += "0"
			if bad {
				query, value = fmt.Sprintf("SELECT sum(1/(g-%d))::text FROM generate_series(1,%d) g", rows, rows), "22012"
			}
			want = append(want, value)
			w.Send(&pgproto3.Parse{Query: query})
			if !bad && random.IntN(2) == 0 {
				w.Send(&pgproto3.Flush{})
			}
			w.Send(&pgproto3.Bind{})
			w.Send(&pgproto3.Execute{MaxRows: uint32(random.IntN(2))})
			w.Send(&pgproto3.Sync{})
			if random.IntN(4) == 0 {
				w.do()
			}
		}
		w.do()
		for range want {
			row := ""
			for {
				m, name := w.read()
				switch m := m.(type) {
				case *pgproto3.DataRow:
					row = string(m.Values[0])
				case *pgproto3.ErrorResponse:
					row = m.Code
				}
				if strings.HasPrefix(name, "ReadyForQuery") {
					break
				}
			}
			got = append(got, row)
		}
		if w, g := strings.Join(want, " "), strings.Join(got, " "); w != g {
			t.Fatalf("seed %d\nwant %s\ngot  %s", seed, w, g)
		}
	}
}

// TestLeavingDuringRows: a client that leaves after the first rows came stops its statement.
func TestLeavingDuringRows(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	w := g.wire()
	const mark = "leaving-during-rows"
	w.do(&pgproto3.Query{String: "SELECT repeat('x', 20000) || '" + mark + "' UNION ALL SELECT count(*)::text FROM generate_series(1, (SELECT 4000000000)) a"})
	running := func(want bool) {
		deadline := time.Now().Add(patience)
		for want != (truth[int](t, "SELECT count(*)::int FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE '%"+mark+"%'") > 0) {
			if time.Now().After(deadline) {
				t.Fatalf("the statement runs: %v", !want)
			}
		}
	}
	running(true)
	w.Conn.Close()
	running(false)
}
