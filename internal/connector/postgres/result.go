package postgres

import (
	"errors"
	"slices"
	"strings"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// result is what came back for one request, not yet recorded.
type result struct {
	entry   *gate.Entry
	plan    *guard.Plan
	events  []gate.Event
	start   int // where in out the rows that are not in events begin; -1: none
	outcome gate.Outcome
	copying bool   // between CopyOutResponse and CopyDone
	copied  uint64 // its CopyData messages
	done    int    // statements of the plan that have ended
	limiting
}

// begin starts the result of a request.
func (s *session) begin(e *gate.Entry, plan *guard.Plan) *result {
	s.current = &result{entry: e, plan: plan, start: -1, outcome: gate.Outcome{Status: "ok"}, events: make([]gate.Event, 0, 3)} // schema, rows, end
	s.current.limit, s.current.late = e.Limit(), s.deadline
	return s.current
}

// row passes a DataRow on as it is.
func (s *session) row(body []byte) {
	s.rowOf('D', body)
}

func (s *session) rowOf(typ byte, body []byte) {
	r := s.current
	if s.beyond(r) {
		return
	}
	if r.start < 0 {
		r.start = len(s.out)
	}
	s.forward(typ, body)
	r.outcome.Rows++
	r.outcome.Bytes += uint64(len(body))
}

// gatherRows makes an event of the rows that have come since the last one.
func (s *session) gatherRows() {
	if r := s.current; r != nil && r.start >= 0 {
		r.events = append(r.events, gate.Event{Kind: gate.ResultRows, Data: s.out[r.start:len(s.out):len(s.out)]})
		r.start = -1
	}
}

// complete notes how a statement ended, and gives what the client is told. A command that the plan does not have is
// a breach.
func (s *session) complete(body []byte) ([]byte, error) {
	s.gatherRows()
	f := fields{b: body}
	tag := f.string()
	if err := f.end("CommandComplete"); err != nil {
		return nil, s.breach("a malformed CommandComplete")
	}
	s.current.outcome.Summary = tag
	s.current.copiedRows(tag)
	if p := s.current.plan; p == nil || !slices.ContainsFunc(p.Statements, func(st guard.Statement) bool { return fits(tag, &st) }) {
		return nil, s.breach("another command than was asked for: " + tag)
	}
	if answersFor(s.current) == guard.Show { // a SELECT was sent for it
		body = []byte("SHOW\x00")
	}
	s.succeeded(s.current)
	return body, nil
}

// answersFor is the verb of the statement that has just ended, where another was sent for it.
func answersFor(r *result) guard.Verb {
	if r.done < len(r.plan.Statements) {
		if st := &r.plan.Statements[r.done]; st.Answers != "" {
			return st.Verb
		}
	}
	return ""
}

// fits says whether a statement ends with the command tag.
func fits(tag string, st *guard.Statement) bool {
	var words []string
	verb := st.Verb
	if st.Answers != "" {
		verb = st.Answers
	}
	switch verb {
	case guard.Maintain:
		words = []string{"VACUUM", "ANALYZE", "REINDEX", "CLUSTER"}
	case guard.Fetch:
		words = []string{"FETCH", "MOVE", "SELECT"} // SELECT by an Execute of the cursor
	case guard.Begin:
		words = []string{"BEGIN", "START TRANSACTION"}
	case guard.Commit:
		words = []string{"COMMIT", "ROLLBACK"} // of a transaction that has failed
	case guard.RollbackTo:
		words = []string{"ROLLBACK"}
	case guard.Set:
		words = []string{"SET", "RESET"}
	case guard.CopyOut, guard.CopyIn:
		words = []string{"COPY"}
	case guard.CreateAs:
		words = []string{"SELECT", "CREATE TABLE AS"}
	case guard.DDL:
		words = []string{"CREATE", "ALTER", "DROP", "TRUNCATE"}
	default:
		words = []string{string(verb)}
	}
	first, _, _ := strings.Cut(tag, " ")
	return slices.ContainsFunc(words, func(w string) bool { return w == tag || w == first })
}

// settle records what has come back and writes it to the client, in this order.
func (s *session) settle() error {
	if len(s.out) == 0 {
		return nil
	}
	if s.current != nil {
		s.gatherRows()
	}
	for _, r := range append(s.finished, s.current) {
		if r == nil || len(r.events) == 0 {
			continue
		}
		if err := r.entry.Record(r.events...); err != nil {
			return err
		}
		r.events = r.events[:0]
	}
	err := s.writeNow(s.out)
	if cap(s.out) > 4*flushAt {
		s.out = nil
	}
	s.out = s.out[:0]
	return err
}

// lose closes what has an unknown outcome now.
func (s *session) lose() {
	if s.current != nil {
		s.finished = append(s.finished, s.current)
		s.current = nil
	}
	for _, r := range s.finished {
		o := gate.Outcome{Status: "unknown", Rows: r.outcome.Rows, Bytes: r.outcome.Bytes, Error: "the connection was lost"}
		s.report(closeEntry(r.entry, o))
	}
	s.finished = nil
	for _, p := range s.open {
		s.report(closeEntry(p.entry, gate.Outcome{Status: "unknown", Error: "the session ended"}))
	}
	s.open = nil
}

func (s *session) loseItem(it *item) {
	o := gate.Outcome{Status: "unknown", Error: "the connection was lost"}
	s.report(closeEntry(it.entry, o))
	if it.portal != nil {
		s.report(closeEntry(it.portal.entry, o))
	}
}

func (s *session) report(err error) {
	if err != nil {
		s.target.log.Error("an outcome was not recorded", "session", s.gate.ID(), "error", err)
	}
}

// endBroken tells the client why the session ends, and makes the judge stop reading.
func (s *session) endBroken() {
	if s.pending.Swap(0) < 0 { // told already
		s.pending.Store(-1 << 32)
		return
	}
	s.pending.Store(-1 << 32)
	var op interface{ Timeout() bool }
	if errors.As(s.broken, &op) {
		s.conn.Close()
		return
	}
	r, _ := refusalFrom(s.broken)
	s.kill("error", r)
}
