package postgres

import (
	"errors"
	"slices"
	"strings"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// segments cuts a text of several statements where what its tables are has to be asked anew: behind the end of a
// transaction, which gives the locks up, and behind its beginning, which must come before any question. The
// statements of a segment are sent as one; a text that fails in one segment is not sent on, as the server does
// not run it on.
func segments(p *guard.Plan) []*guard.Plan {
	if !stands([]*guard.Plan{p}) || has(p, guard.CopyIn) {
		return []*guard.Plan{p}
	}
	var out []*guard.Plan
	begun, explicit := 0, false
	cut := func(end int) {
		one := *p
		one.Statements = p.Statements[begun:end]
		texts := make([]string, 0, end-begun)
		for _, st := range one.Statements {
			texts = append(texts, st.Text)
		}
		one.Text = strings.Join(texts, "; ")
		out, begun = append(out, &one), end
	}
	for i := range p.Statements {
		before := slices.ContainsFunc(p.Statements[begun:i], func(st guard.Statement) bool {
			switch st.Verb {
			case guard.Begin, guard.Commit, guard.Rollback, guard.RollbackTo:
				return true
			}
			return explicit && st.Verb == guard.Set
		})
		if len(p.Statements[i].Footing) > 0 && before {
			cut(i)
		}
		explicit = explicit || p.Statements[i].Verb == guard.Begin
	}
	if begun == 0 {
		return []*guard.Plan{p}
	}
	cut(len(p.Statements))
	return out
}

// sendSegments sends a simple query, segment by segment.
func (s *session) sendSegments(entries []*gate.Entry, plan *guard.Plan, inside bool) error {
	list := segments(plan)
	for i, one := range list {
		it := item{kind: answerQuery, entry: entries[0], plan: plan, sequence: s.sequence, resumes: i > 0, more: i < len(list)-1}
		s.paused = false
		err := s.sendAndCopy(entries, one, appendMessage(nil, 'Q', []byte(one.Text), []byte{0}), append(make([]item, 0, 2), it), inside)
		if i > 0 && errors.Is(err, errMoved) { // what went before has run
			return s.refuseSimple(movedRefusal())
		}
		if err != nil || !it.more {
			return err
		}
		if err := s.drain(); err != nil {
			return err
		}
		if !s.paused {
			return nil
		}
		inside = false
	}
	return nil
}

// resume begins the result of a simple query, or goes on with it.
func (s *session) resume(it *item) *result {
	if it.resumes && s.current != nil {
		return s.current
	}
	return s.begin(it.entry, it.plan)
}

// pause ends a segment that others follow: the client gets no ReadyForQuery.
func (s *session) pause(body []byte) error {
	if len(body) != 1 {
		return s.breach("a malformed ReadyForQuery")
	}
	s.setStatus(body[0])
	s.paused = true
	return nil
}
