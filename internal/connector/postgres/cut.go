package postgres

import guard "gatehouse/internal/sqlguard/postgres"

// A batch of the extended protocol is asked for its ground once, in front of it. The end of a transaction in it gives the
// locks up that keep what was answered true. So the batch is cut behind each end of a transaction, and behind what must
// come before any question of the transaction: the parts are judged and sent one after the other, each with a look at its
// own ground. The gateway's Sync between them changes nothing for the database, which has committed there anyway; what
// follows an error is not sent, as the database would ignore it.

// cutEnd ends a part of a batch that others follow.
const cutEnd byte = 'c'

// cuts are the lengths of the parts in front of the last one; none for most batches.
func (s *session) cuts(batch []message) []int {
	executes := 0
	for i := range batch {
		if batch[i].typ == 'E' {
			executes++
		}
	}
	if executes < 2 {
		return nil
	}
	texts, portals := map[string]string{}, map[string]string{}
	var out []int
	begun := 0
	for i := range batch[:len(batch)-1] {
		switch m := &batch[i]; m.typ {
		case 'P':
			texts[m.parse.name] = m.parse.text
		case 'B':
			text, ok := texts[m.bind.statement]
			if p := s.statements[m.bind.statement]; !ok && p != nil {
				text = p.text
			}
			portals[m.bind.portal] = text
		case 'E':
			text, ok := portals[m.execute.portal]
			if p := s.portals[m.execute.portal]; !ok && p != nil {
				text = p.statement.text
			}
			if guard.Divides(text) {
				out = append(out, i+1-begun)
				begun = i + 1
			}
		}
	}
	return out
}

// cut waits for the answers of the part in front. Where that failed, the rest up to the client's Sync is ignored.
func (s *session) cut() error {
	if err := s.drain(); err != nil {
		return err
	}
	s.discarding = s.stopped
	return nil
}

// answerCut reads up to the ReadyForQuery of the gateway's own Sync.
func (s *session) answerCut(it *item) error {
	body, failed, err := s.synced()
	if err != nil {
		return err
	}
	if len(body) != 1 {
		return s.breach("a malformed ReadyForQuery")
	}
	s.stopped = failed || s.skipping || s.muted
	s.skipping = false
	s.setStatus(body[0])
	if body[0] == 'I' {
		s.answered.Store(it.sequence)
	}
	return s.closeFinished()
}
