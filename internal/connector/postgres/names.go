package postgres

import (
	"fmt"
	"strconv"
	"strings"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// moment is what a text means besides the catalog and the policies: what earlier statements left behind.
type moment struct {
	state  *guard.State
	behind guard.Behind
	types  declaredTypes
	temp   *temporaries
}

func (r *request) moment() moment {
	return moment{r.state, protocolNames{r.session, r.draft}, r.declared(), r.session.temporary}
}

// protocolNames are the statements and portals of the protocol, as the guard asks for them.
type protocolNames struct {
	session *session
	draft   *draft // nil: those of the session
}

func (n protocolNames) Prepared(name string) *guard.Named {
	p := n.session.statements[name]
	if n.draft != nil {
		if own, ok := n.draft.statements[name]; ok {
			p = own
		}
	}
	if name == "" || p == nil || p.failed.Load() || p.plan == nil || len(p.types) > 0 || len(p.plan.Statements) != 1 || p.plan.Stateful {
		return nil
	}
	return &guard.Named{Server: p.name, Text: p.text, Plan: p.plan}
}

func (n protocolNames) Cursor(name string) *guard.Named {
	d := n.draft
	if d == nil {
		d = &draft{session: n.session}
	}
	p := d.portal(name)
	if name == "" || p == nil || p.plan == nil || len(p.plan.Statements) != 1 || p.plan.Stateful {
		return nil
	}
	return &guard.Named{Server: name, Text: p.statement.text, Plan: p.plan}
}

// change is something that happened to what a session's statements left behind: one succeeded, or an error
// came, or no transaction is open any more.
type change struct {
	statement *guard.Statement
	failed    bool
}

// succeeded notes a statement that ended well, where it leaves something behind.
func (s *session) succeeded(r *result) {
	p := r.plan
	if p == nil || r.done >= len(p.Statements) {
		return
	}
	s.eras.after(&p.Statements[r.done])
	if st := &p.Statements[r.done]; st.Keeps() {
		s.changes = append(s.changes, change{statement: st})
		s.unsettled = true
	}
	r.done++
}

// settled notes the status of a ReadyForQuery.
func (s *session) settled(status byte) {
	if status == 'I' {
		s.eras.idle()
	}
	if status == 'I' && (s.unsettled || s.status != 'I') {
		s.changes = append(s.changes, change{})
		s.unsettled = false
	}
}

// catchUp takes up what the answers said. Nothing is outstanding when it is called.
func (s *session) catchUp() {
	for _, c := range s.changes {
		switch {
		case c.failed:
			s.state = s.state.Failed()
		case c.statement == nil:
			s.state = s.state.Idle()
		default:
			s.forgetProtocol(c.statement)
			s.state = s.state.After(*c.statement)
		}
	}
	clear(s.changes)
	s.changes = s.changes[:0]
	s.countTexts()
}

// forgetProtocol takes statements and portals of the protocol away that SQL has ended.
func (s *session) forgetProtocol(st *guard.Statement) {
	if st.All && (st.Verb == guard.Discard || st.Verb == guard.Deallocate) {
		s.ground.known = nil
	}
	switch {
	case st.Verb == guard.Discard && st.All:
		clear(s.statements)
		clear(s.portals)
	case st.Verb == guard.Deallocate && st.All:
		clear(s.statements)
	case st.Verb == guard.Deallocate && s.state.Prepared(st.Name) == nil:
		delete(s.statements, st.Name)
	case st.Verb == guard.CloseCursor && st.All:
		clear(s.portals)
	case st.Verb == guard.CloseCursor && s.state.Cursor(st.Name) == nil:
		delete(s.portals, st.Name)
	}
}

// stateAt is what is left behind before a step, where every Execute before it succeeds; where one does not, the
// database skips the step. It is asked for in the order of the steps.
func (d *draft) stateAt(step int) *guard.State {
	for ; d.looked < step; d.looked++ {
		st := &d.steps[d.looked]
		if st.message.typ != 'E' {
			continue
		}
		if p := d.planOf(st.portal); p != nil && len(p.Statements) == 1 {
			d.state = d.state.After(p.Statements[0])
		}
	}
	return d.state
}

// preparedInSQL is a statement that was prepared in SQL, as the protocol uses it; nil where there is none.
func (s *session) preparedInSQL(name string) *prepared {
	n := s.state.Prepared(name)
	if n == nil || len(n.Calls) > 0 {
		return nil
	}
	p := &prepared{name: n.Server, text: n.Text, plan: n.Plan}
	p.era.Store(max(s.eras.ofNamed[n.Server], first))
	return p
}

// declaredInSQL is a cursor that was declared in SQL, as the protocol describes it; nil where there is none.
func (s *session) declaredInSQL(name string) *portal {
	n := s.state.Cursor(name)
	if n == nil {
		return nil
	}
	return &portal{server: n.Server, plan: n.Plan, statement: &prepared{}}
}

// close is a Close message. One of a name that SQL gave is refused: its transaction would have to be known.
func (d *draft) close(m *message, st *step) {
	name := m.describe.name
	if m.describe.kind == 'S' {
		if d.session.state.Prepared(name) != nil {
			d.err = nameError("0A000", fmt.Sprintf("The statement %q was prepared in SQL.", shorten(name)), "Close it with DEALLOCATE.")
			return
		}
		if p := d.session.statements[name]; p != nil {
			if d.closed == nil {
				d.closed = map[string]*prepared{}
			}
			d.closed[name] = p
		}
		d.statements[name] = nil
		return
	}
	if d.session.state.Cursor(name) != nil {
		d.err = nameError("0A000", fmt.Sprintf("The cursor %q was declared in SQL.", shorten(name)), "Close it with CLOSE.")
		return
	}
	d.portals[name] = nil
}

// portalName says what is wrong with the name of a new portal.
func (d *draft) portalName(name string) *gate.Refusal {
	if guard.Reserved(name) {
		return reservedName(name)
	}
	if d.session.state.Cursor(name) != nil {
		return nameError("42P03", fmt.Sprintf("cursor %q already exists", shorten(name)), "Close it first, or use another name.")
	}
	return nil
}

func reservedName(name string) *gate.Refusal {
	return nameError("42602", fmt.Sprintf("The name %q is kept for the gateway.", shorten(name)), "Choose another name.")
}

// serverName is what a step names, as the database knows it.
func (st *step) serverName() string {
	switch {
	case st.statement != nil:
		return st.statement.name
	case st.portal != nil && st.portal.server != "":
		return st.portal.server
	}
	return st.message.describe.name
}

// fetch is an Execute of a cursor that was declared in SQL: a FETCH, which is judged as one.
func (d *draft) fetch(m *message, st *step) {
	name := m.execute.portal
	count := "ALL"
	if m.execute.rows > 0 {
		count = strconv.Itoa(int(m.execute.rows))
	}
	st.fetch = "FETCH FORWARD " + count + ` FROM "` + strings.ReplaceAll(name, `"`, `""`) + `"`
	st.statement = &prepared{}
	st.portal = &portal{server: d.session.state.Cursor(name).Server, statement: st.statement}
}

// portalName is the portal of an Execute, as the database knows it.
func (st *step) portalName() string {
	if st.portal != nil && st.portal.server != "" {
		return st.portal.server
	}
	return st.message.execute.portal
}

// to is the body of a Bind for a statement as the database knows it.
func (m *bindMessage) to(statement string) []byte {
	if statement == m.statement {
		return m.body
	}
	rest := m.body[len(m.portal)+1+len(m.statement)+1:]
	out := append(append(append(append([]byte(m.portal), 0), statement...), 0), rest...)
	return out
}

// clientNames takes the gateway's names out of an error that speaks of a statement or a cursor.
func clientNames(values map[byte]string) {
	if strings.Contains(values['M'], ":") {
		values['M'] = guard.ClientNames(values['M'])
	}
}
