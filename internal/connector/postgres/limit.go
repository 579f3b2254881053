package postgres

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	guard "gatehouse/internal/sqlguard/postgres"
)

// limiting is how a result stands to the limit that its request is under.
type limiting struct {
	limit  policy.Limit
	before uint64    // rows that the portal gave in earlier executions
	over   bool      // more rows came than may be given; none is forwarded any more
	late   *deadline // of its batch; nil: none
}

// deadline stops what runs too long. What is sent together counts together: the database answers it together.
type deadline struct {
	seconds int64
	timer   *time.Timer
	passed  atomic.Bool
	told    chan struct{} // closed when the database was told
	over    bool          // what it was for has ended
}

// startDeadline begins to measure the time of answers that are due; nil where no limit is among them.
func (s *session) startDeadline(items []item) *deadline {
	var least policy.Limit
	for i := range items {
		switch it := &items[i]; it.kind {
		case answerQuery, answerBounded:
			least = least.And(it.entry.Limit())
		case answerExecute:
			least = least.And(it.portal.entry.Limit())
		}
	}
	if least.Seconds == 0 {
		return nil
	}
	d := &deadline{seconds: least.Seconds, told: make(chan struct{})}
	d.timer = time.AfterFunc(time.Duration(d.seconds)*time.Second, func() {
		d.passed.Store(true)
		s.abandoned()
		close(d.told)
	})
	return d
}

// stop ends the measuring. A cancel that is under way has arrived when this returns: it must not hit the next
// statement.
func (d *deadline) stop() {
	if d == nil || d.over {
		return
	}
	d.over = true
	if !d.timer.Stop() {
		<-d.told
	}
}

func (s *session) endDeadline() {
	s.deadline.stop()
	s.deadline = nil
}

// beyond says whether the next row is one too many; with the first of those the database is told to stop.
func (s *session) beyond(r *result) bool {
	if r.limit.Rows == 0 || r.over {
		return r.over
	}
	if r.before+r.outcome.Rows < uint64(r.limit.Rows) {
		return false
	}
	r.over = true
	s.abandoned()
	return true
}

// limitError tells the client that a statement ended at its limit, in the place of the database's answer;
// nil where it did not. done is set where the database has completed it.
func (s *session) limitError(r *result, done bool) *gate.Refusal {
	if !r.over && r.late == nil {
		return nil
	}
	e := &gate.Refusal{Code: gate.LimitExceeded, SQLState: "54000", RequestID: r.entry.ID()}
	switch {
	case r.over:
		e.Reason = fmt.Sprintf("The statement gives back more than %d rows, which a policy allows; those up to there were sent.", r.limit.Rows)
		e.Remedy = "Ask for fewer rows (WHERE, LIMIT), or count them."
		if done && r.plan != nil && r.plan.Writes {
			e.Reason += " Its changes have taken effect, unless its transaction is rolled back."
		}
	case r.late != nil && r.late.passed.Load() && !done:
		e.Reason, e.SQLState = fmt.Sprintf("The statement ran longer than the %d seconds that a policy allows.", r.late.seconds), "57014"
		e.Remedy = "Ask for less at a time."
	default:
		return nil
	}
	s.out = encodeError(s.out, 'E', errorFields("ERROR", e))
	r.outcome.Status, r.outcome.Error = "error", e.Reason
	return e
}

// unlimited refuses a batch in which a result that ends at its limit would be followed by a write: the client
// takes the error for the end of the batch, and the database does not.
func unlimited(entries []*gate.Entry, plans ...*guard.Plan) *gate.Refusal {
	statements, writes, limited := 0, false, false
	for i, p := range plans {
		statements += len(p.Statements)
		writes = writes || p.Writes
		limited = limited || entries[i].Limit().Rows > 0
	}
	if statements < 2 || !writes || !limited {
		return nil
	}
	return &gate.Refusal{
		Code:   gate.LimitExceeded,
		Reason: "A policy limits how many rows a result may have, so that writes cannot be sent together with other statements.",
		Remedy: "Send the statements one by one.",
	}
}

func (d *draft) unlimited(entries []*gate.Entry) *gate.Refusal {
	if !slices.ContainsFunc(entries, func(e *gate.Entry) bool { return e.Limit().Rows > 0 }) {
		return nil
	}
	return unlimited(entriesOf(d.requests, entries), plansOf(d.requests)...)
}

// refuseAdmitted closes entries of which nothing will be sent.
func refuseAdmitted(entries []*gate.Entry, r *gate.Refusal) error {
	for _, e := range entries {
		if err := closeEntry(e, gate.Outcome{Status: "refused", Summary: "not forwarded: " + r.Reason}); err != nil {
			return err
		}
	}
	return nil
}

func plansOf(requests []gate.Request) []*guard.Plan {
	var out []*guard.Plan
	for _, r := range requests {
		if one := r.(*request); !one.prepare {
			out = append(out, one.plan)
		}
	}
	return out
}

// entriesOf are the entries of the requests that run.
func entriesOf(requests []gate.Request, entries []*gate.Entry) []*gate.Entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e *gate.Entry) bool {
		i := slices.Index(entries, e)
		return requests[i].(*request).prepare
	})
}

// CheckRows says what is wrong with the text of a row filter.
func (connector) CheckRows(text string) error { return guard.CheckRows(text) }

// outsideFilter turns the error of a new row that is outside a row filter into words for it.
func outsideFilter(values map[byte]string) bool {
	if values['C'] != "42P01" || !strings.Contains(values['M'], guard.OutsideFilter) {
		return false
	}
	for k := range values {
		if k != 'S' && k != 'V' {
			delete(values, k)
		}
	}
	values['C'], values['M'] = "42501", "The row that would be written is outside the row filter of a policy."
	values['H'] = "Write rows that the filter lets through, or ask a policy owner for more."
	return true
}

func (s *session) tell(values map[byte]string) error {
	s.out = encodeError(s.out, 'E', values)
	return nil
}
