package postgres

import (
	"fmt"
	"slices"

	"gatehouse/internal/gate"
)

// answerSync reads up to the ReadyForQuery of a Sync. An error that comes here is the transaction's.
func (s *session) answerSync(it *item) error {
	body, _, err := s.synced()
	if err != nil {
		return err
	}
	s.skipping = false
	return s.readyForQuery(it.sequence, body)
}

// synced reads up to a ReadyForQuery, and says whether there was an error in front of it.
func (s *session) synced() (ready []byte, failed bool, err error) {
	for {
		typ, body, err := s.next()
		if err != nil {
			return nil, false, err
		}
		switch typ {
		case 'E':
			text, err := s.forwardError(body)
			if err != nil {
				return nil, false, err
			}
			failed = true
			for _, r := range s.finished {
				r.outcome.Status, r.outcome.Error = "error", text
			}
		case 'Z':
			return body, failed, nil
		default:
			return nil, false, s.breach(fmt.Sprintf("a message of type %q", typ))
		}
	}
}

// answerFailed swallows the answer of the statement that fails a transaction.
func (s *session) answerFailed() error {
	for {
		typ, body, err := s.next()
		if err != nil {
			return err
		}
		if typ == 'Z' && len(body) == 1 {
			s.setStatus(body[0])
			return s.closeFinished()
		}
		if typ != 'E' {
			return s.breach(fmt.Sprintf("a message of type %q", typ))
		}
		s.changes = append(s.changes, change{failed: true})
		s.unsettled = true
		for _, r := range s.finished {
			r.outcome.Summary += " (rolled back: a later statement of its batch was refused)"
		}
	}
}

func (s *session) readyForQuery(sequence uint64, body []byte) error {
	if len(body) != 1 {
		return s.breach("a malformed ReadyForQuery")
	}
	s.deadline.stop() // the next statement can be under way as soon as the client has this
	s.setStatus(body[0])
	s.muted = false
	if body[0] == 'I' {
		s.answered.Store(sequence)
	}
	if err := s.closeFinished(); err != nil {
		return err
	}
	s.forward('Z', body)
	return nil
}

func (s *session) setStatus(status byte) {
	s.settled(status)
	s.status = status
	s.inTransaction.Store(status != 'I')
	if status == 'I' && s.changed {
		s.changed = false
		s.target.catalogs.Invalidate()
	}
}

// closeFinished records how the requests of a batch ended, before the client is told so. Outside a
// transaction no portal is left.
func (s *session) closeFinished() error {
	for _, r := range s.finished {
		if r.plan != nil && r.plan.ChangesCatalog {
			s.changed = true
			s.target.catalogs.Invalidate()
		}
		if err := closeEntry(r.entry, r.outcome, r.events...); err != nil {
			return err
		}
	}
	s.finished = s.finished[:0]
	if s.status == 'T' {
		s.open = slices.DeleteFunc(s.open, func(p *portal) bool { return !p.entry.Open() })
		return nil
	}
	for _, p := range s.open {
		if err := closeEntry(p.entry, gate.Outcome{Status: "ok", Summary: "portal closed"}); err != nil {
			return err
		}
	}
	s.open = s.open[:0]
	return nil
}
