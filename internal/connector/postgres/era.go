package postgres

import (
	"strings"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// eras count how often the settings that decide what a literal means (DateStyle, IntervalStyle, TimeZone) can have
// changed. The database reads the literals of a prepared statement once, under the settings of then; who approves it
// later is shown those of now. They are the answering goroutine's own, and the judge's while nothing is outstanding.
type eras struct {
	now     uint64
	shaky   bool              // they changed in the transaction under way: its end can take that back
	ofNamed map[string]uint64 // of statements prepared in SQL, by their name at the server
}

// first is the first era; 0 is that of a statement that the database has not taken yet.
const first = 1

func (e *eras) number() uint64 { return e.now + first }

// after notes a statement that succeeded.
func (e *eras) after(st *guard.Statement) {
	switch {
	case st.Styles:
		e.now++
		e.shaky = true
	case st.Verb == guard.RollbackTo && e.shaky:
		e.now++
	case st.Verb == guard.Prepare && st.Named != nil:
		if e.ofNamed == nil || len(e.ofNamed) > 2*maxStatements {
			e.ofNamed = map[string]uint64{} // those that are forgotten are to be prepared again
		}
		e.ofNamed[st.Named.Server] = e.number()
	}
}

// reported notes that the database says that one of the settings is another now. Where a statement or the end of a
// transaction was seen to do that, it counts once.
func (e *eras) reported() {
	if !e.shaky {
		e.now++
	}
}

// idle notes that no transaction is open any more.
func (e *eras) idle() {
	if e.shaky {
		e.now++
		e.shaky = false
	}
}

// outdated says whether a statement that writes has literals that were read under other settings than those of now.
func (r *request) outdated() bool {
	e := &r.session.eras
	if !r.plan.Writes || r.prepare {
		return false
	}
	if r.statement != nil {
		then := r.statement.era.Load()
		return then != 0 && then != e.number() && strings.Contains(r.plan.Text, "'")
	}
	for i := range r.plan.Statements {
		st := &r.plan.Statements[i]
		if st.Verb != guard.Execute || !strings.Contains(strings.Join(r.plan.Means, ""), "'") {
			continue
		}
		if n := r.session.state.Prepared(st.Name); n != nil && e.ofNamed[n.Server] != e.number() {
			return true
		}
		if p := r.session.statements[st.Name]; p != nil && p.era.Load() != e.number() {
			return true
		}
	}
	return false
}

// outdatedRefusal is one that drivers answer by preparing the statement again.
func outdatedRefusal() *gate.Refusal {
	return &gate.Refusal{
		Code:     gate.NotUnderstood,
		SQLState: "0A000",
		Reason:   "cached plan must not change: the literals of the statement were read under another date style or time zone",
		Remedy:   "Prepare the statement again, or send the values as parameters.",
	}
}
