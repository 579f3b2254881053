package postgres

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// A statement whose approver bounded the rows that it changes is sent without the end of its implicit transaction: its
// command tag says how many there are (PostgreSQL documentation, 55.7: CommandComplete), and where they are too many the
// transaction is made to fail. What triggers and cascades change besides is not in the tag.

func bounded(entries []*gate.Entry) bool {
	return slices.ContainsFunc(entries, func(e *gate.Entry) bool { return e.MaxRows() > 0 })
}

// countable says whether the command tag of a plan counts everything that its statement itself changes.
func countable(p *guard.Plan) bool {
	if len(p.Statements) != 1 {
		return false
	}
	switch p.Statements[0].Verb {
	case guard.Insert, guard.Update, guard.Delete, guard.Merge:
		return guard.OneWrite(p.Text)
	}
	return false
}

// together refuses a batch in which something runs beside a bounded statement: what stands behind it, such as a COMMIT or a
// SAVEPOINT, would run before its rows are counted, and make its changes last. Nil where one statement runs alone.
func (d *draft) together() *gate.Refusal {
	runs := 0
	for i := range d.steps {
		if d.steps[i].message.typ == 'E' {
			runs++
		}
	}
	if runs <= 1 {
		return nil
	}
	return &gate.Refusal{
		Code:   gate.LimitExceeded,
		Reason: "An approver bounded the rows that a statement of this batch may change, so that nothing else may run together with it.",
		Remedy: "Send a Sync or a Flush behind it, and the rest when its answer has come.",
	}
}

// queryBounded sends a simple query that is bounded: as the extended protocol has it, so that its transaction stays
// open, and with the answers of the simple one.
func (s *session) queryBounded(entries []*gate.Entry, plan *guard.Plan, inside bool) error {
	frames := appendMessage(extended(plan.Text), 'H')
	s.unsynced = true
	items := []item{{kind: answerBounded, entry: entries[0], plan: plan, sequence: s.sequence}}
	if err := s.sendGrounded(entries, []*guard.Plan{plan}, frames, items, false, inside); err != nil {
		return err
	}
	return s.endBounded('S')
}

// endBounded waits for the answers of what is bounded, and then ends its batch, or makes its transaction fail.
func (s *session) endBounded(end byte) error {
	if err := s.drain(); err != nil {
		return err
	}
	if s.exceeded {
		s.exceeded = false
		if err := s.failTransaction(); err != nil {
			return err
		}
		if s.discarding = end != 'S'; s.discarding {
			return nil
		}
		return s.ready()
	}
	if end != 'S' && end != cutEnd {
		return nil
	}
	return s.endBatch(end, nil, nil, nil, nil)
}

// exceeds says whether a statement that has ended with a tag, or stands still before its end (""), may have changed more
// rows than its approver allows. Then the client is told so, and the judge makes its transaction fail.
func (s *session) exceeds(r *result, tag string) bool {
	most := r.entry.MaxRows()
	if most == 0 {
		return false
	}
	count := tag[strings.LastIndexByte(tag, ' ')+1:]
	n, err := strconv.ParseInt(count, 10, 64)
	if err == nil && n <= most {
		return false
	}
	e := &gate.Refusal{
		Code: gate.LimitExceeded, SQLState: "54000", RequestID: r.entry.ID(),
		Reason: fmt.Sprintf("The statement changed %d rows, and its approver allowed %d; it is rolled back.", n, most),
		Remedy: "Narrow it, or ask for an approval of more rows.",
	}
	if err != nil {
		e.Reason = fmt.Sprintf("The approver allowed the statement to change %d rows, which cannot be counted before all that it gives back is fetched; it is rolled back.", most)
		e.Remedy = "Send it again, and fetch all of its rows at once."
	}
	s.out = encodeError(s.out, 'E', errorFields("ERROR", e))
	s.muted, s.exceeded = true, true
	r.outcome.Status, r.outcome.Error = "error", e.Reason
	return true
}

// answerBounded reads the answer to queryBounded.
func (s *session) answerBounded(it *item) error {
	if s.skipping {
		return closeEntry(it.entry, gate.Outcome{Status: "error", Summary: "not run: an earlier statement failed"})
	}
	r := s.begin(it.entry, it.plan)
	for {
		typ, body, err := s.next()
		if err != nil {
			return err
		}
		switch typ {
		case '1', '2', 'n':
		case 'T':
			if err := s.checkRows(body, it.plan, 0); err != nil {
				return err
			}
			r.events = append(r.events, gate.Event{Kind: gate.ResultSchema, Data: slices.Clone(body)})
			s.forward(typ, body)
		case 'D':
			s.row(body)
		case 'C':
			if body, err = s.complete(body); err != nil {
				return err
			}
			s.current = nil
			if s.exceeds(r, r.outcome.Summary) {
				return closeEntry(r.entry, r.outcome, r.events...)
			}
			if s.limitError(r, true) != nil {
				s.muted = true
			}
			s.forward(typ, body)
			s.finished = append(s.finished, r)
			return nil
		case 'E':
			s.gatherRows()
			s.current, s.skipping = nil, true
			r.late.stop()
			if s.limitError(r, false) == nil {
				if r.outcome.Error, err = s.forwardError(body); err != nil {
					return err
				}
				r.outcome.Status = "error"
			}
			return closeEntry(r.entry, r.outcome, r.events...)
		default:
			return s.breach(fmt.Sprintf("a message of type %q", typ))
		}
	}
}
