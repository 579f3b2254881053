package postgres

import (
	"slices"
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
		if st.Verb != guard.Execute && (st.Verb != guard.Explain || st.Name == "") || !strings.Contains(strings.Join(r.plan.Means, ""), "'") {
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

// meaning are the settings that change what the request's text means, with a word where the text changes them itself.
func (r *request) meaning() map[string]string {
	settings := r.session.meaning()
	if restyles(r.plan) {
		settings["(in this text)"] = "changes these before it writes"
	}
	return settings
}

// restyles says whether a text sets what decides the meaning of a literal in front of something that writes.
func restyles(p *guard.Plan) bool {
	styled := false
	for i := range p.Statements {
		if styled && p.Statements[i].Writes {
			return true
		}
		styled = styled || p.Statements[i].Styles
	}
	return false
}

// restyled says whether an Execute in front of a step of the same batch sets what decides the meaning of a literal: an
// approver of the step would be shown the settings from before.
func (d *draft) restyled(step int) bool {
	for i := range d.steps[:step] {
		if st := &d.steps[i]; st.message.typ == 'E' {
			if p := d.planOf(st.portal); p != nil && slices.ContainsFunc(p.Statements, func(st guard.Statement) bool { return st.Styles }) {
				return true
			}
		}
	}
	return false
}

// restyledRefusal is for a batch or a text.
func restyledRefusal(what, remedy string) *gate.Refusal {
	return &gate.Refusal{
		Code:     gate.NotUnderstood,
		SQLState: "0A000",
		Reason:   "The " + what + " changes a date style or a time zone in front of a statement that writes, so that nobody can be shown what its values mean.",
		Remedy:   remedy,
	}
}
