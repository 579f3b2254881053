package postgres

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// flushAt is how many bytes are gathered for the client before they are written.
const flushAt = 64 << 10

// item is one answer that is due, in the order in which the client gets them.
type item struct {
	kind      itemKind
	bytes     []byte // answerLocal
	entry     *gate.Entry
	plan      *guard.Plan
	statement *prepared
	portal    *portal
	sequence  uint64
	resumes   bool          // answerQuery: of a segment that is not the first
	more      bool          // answerQuery: of a segment that is not the last
	extended  bool          // answerQuery: it was sent by the extended protocol
	done      chan struct{} // answerBarrier
	setting   *string       // answerSetting: where the value goes
	copy      *copyIn       // of a batch with a COPY FROM STDIN
}

type itemKind int

const (
	answerLocal   itemKind = iota // bytes of the gateway's own
	answerReady                   // a ReadyForQuery of the gateway's own, with the database's status
	answerBarrier                 // everything before is on its way to the client
	answerFailing                 // of the statement that fails a transaction; the client sees nothing of it
	answerSetting                 // of a SHOW that the gateway sends for itself; the client sees nothing of it
	answerBatchEnd
	answerQuery
	answerParse
	answerBind
	answerDescribeStatement
	answerDescribePortal
	answerExecute
	answerBounded // of a simple query whose rows are counted before it takes effect
	answerClose
	answerSync
	answerCut // of a Sync of the gateway's own; the client sees nothing of it
)

// answering is the state of the goroutine that answers the client.
type answering struct {
	status        byte // of the last ReadyForQuery: I, T or E
	skipping      bool // the database ignores everything until a Sync
	inTransaction atomic.Bool
	pending       atomic.Int64 // batches that have not been answered
	redacting     atomic.Bool  // the session is, or was, under a mask
	deadline      *deadline    // of the answers that are being given
	exceeded      bool         // a statement changed more rows than its approver allows; the judge's after a drain
	muted         bool         // the client was told of an error that the database knows nothing of: until a ReadyForQuery
	broken        error        // why it ended; read after dead is closed
	out           []byte       // for the client, not yet written
	current       *result      // of the request whose rows are coming
	finished      []*result    // complete, but their transaction may still fail
	open          []*portal    // with entries that are not closed
	changed       bool         // a statement changed the catalog

	changes   []change // what the judge has not yet taken up; it does so while nothing is outstanding
	eras      eras
	unsettled bool   // there were some since no transaction was open
	alert     string // what of an answer did not fit the plan
	paused    bool   // a simple query has a segment that is not sent yet
	stopped   bool   // the part of a batch in front of a cut failed
}

// answer is the answering goroutine: it takes what is due in order, and reads what the database says only
// where an answer needs it.
func (s *session) answer() {
	defer close(s.dead)
	for items, ok := s.due(); ok; items, ok = s.due() {
		s.take(items)
		s.outstanding.Add(-1)
	}
	s.lose()
}

// take gives the client answers that are due. It is called by the answering goroutine, or by the judge while
// nothing is outstanding: then nobody else touches what is the answering goroutine's own.
func (s *session) take(items []item) {
	if s.deadline == nil {
		s.deadline = s.startDeadline(items)
	}
	for i := range items {
		if s.broken == nil {
			s.broken = s.answerItem(&items[i])
			if s.broken != nil && s.alert != "" {
				s.broken = errors.Join(s.broken, s.recordAlert(&items[i]))
			}
		}
		if s.broken != nil {
			s.lose()
			s.loseItem(&items[i])
		}
	}
	if s.broken == nil && len(s.queue) == 0 {
		if s.broken = s.settle(); s.broken != nil {
			s.lose()
		}
	}
	if s.broken != nil {
		s.endBroken()
	}
	s.endDeadline()
	for i := range items {
		switch items[i].kind { // the judge may look at everything here from now on
		case answerBarrier:
			close(items[i].done)
		case answerBatchEnd:
			items[i].copy.finish()
		}
	}
}

// failure is why the session must end, for the judge.
func (s *session) failure() error {
	if k := s.killing(); k != nil {
		return k.refusal
	}
	if s.broken != nil {
		return s.broken
	}
	return connectionLost(s.target.connection.Name)
}

func (s *session) answerItem(it *item) error {
	switch it.kind {
	case answerLocal:
		if !s.muted {
			s.out = append(s.out, it.bytes...)
		}
		return nil
	case answerReady:
		s.muted = false
		s.out = append(s.out, 'Z', 0, 0, 0, 5, s.status)
		return nil
	case answerBarrier:
		return s.settle()
	case answerFailing:
		return s.answerFailed()
	case answerSetting:
		return s.answerSetting(it.setting)
	case answerBatchEnd:
		s.pending.Add(-1)
		return nil
	case answerQuery:
		return s.answerQuery(it)
	case answerSync:
		return s.answerSync(it)
	case answerBounded:
		return s.answerBounded(it)
	case answerCut:
		return s.answerCut(it)
	}
	if s.skipping {
		return s.skip(it)
	}
	switch it.kind {
	case answerParse:
		return s.answerParse(it)
	case answerBind:
		s.open = append(s.open, it.portal)
		_, err := s.expect(it, '2')
		return err
	case answerClose:
		_, err := s.expect(it, '3')
		return err
	case answerDescribeStatement:
		return s.answerDescribeStatement(it)
	case answerDescribePortal:
		body, err := s.expect(it, 'T', 'n')
		if err == nil && len(body) > 0 { // NoData has no body
			it.portal.described = bytes.Clone(body)
			err = s.checkRows(body, it.portal.plan, 0)
		}
		return err
	case answerExecute:
		return s.answerExecute(it)
	}
	return fmt.Errorf("postgres: an answer of kind %d", it.kind)
}

func (s *session) forward(typ byte, body []byte) {
	if !s.muted {
		s.out = appendMessage(s.out, typ, body)
	}
}

// expect reads the one message that an answer has, or an error. The body is nil after an error.
func (s *session) expect(it *item, types ...byte) ([]byte, error) {
	typ, body, err := s.next()
	if err != nil {
		return nil, err
	}
	if typ == 'E' {
		return nil, s.fail(it, body)
	}
	if !slices.Contains(types, typ) {
		return nil, s.breach(fmt.Sprintf("a message of type %q", typ))
	}
	s.forward(typ, body)
	if body == nil { // it is empty, which is no error
		body = []byte{}
	}
	return body, nil
}

// fail passes an error of the database on, and skips what the database skips.
func (s *session) fail(it *item, body []byte) error {
	text, err := s.forwardError(body)
	if err != nil {
		return err
	}
	s.skipping = true
	return s.notRun(it, gate.Outcome{Status: "error", Error: text})
}

// skip answers what the database ignores after an error: nothing.
func (s *session) skip(it *item) error {
	return s.notRun(it, gate.Outcome{Status: "error", Summary: "not run: an earlier statement failed"})
}

func (s *session) notRun(it *item, o gate.Outcome) error {
	if it.kind == answerParse {
		it.statement.failed.Store(true)
		return closeEntry(it.entry, o)
	}
	if it.portal != nil {
		return closeEntry(it.portal.entry, o)
	}
	return nil
}

func closeEntry(e *gate.Entry, o gate.Outcome, events ...gate.Event) error {
	if !e.Open() {
		return nil
	}
	return e.Close(o, events...)
}

// forwardError passes an ErrorResponse on without what could show a masked value or the gateway's own
// text, and gives its message as the client sees it.
func (s *session) forwardError(body []byte) (string, error) {
	s.changes = append(s.changes, change{failed: true})
	s.unsettled = true
	values, err := decodeError(body)
	if err != nil {
		return "", s.breach("a malformed ErrorResponse")
	}
	where := copyLine.FindString(values['W'])
	for _, code := range []byte("PpqWFLR") { // they speak of the text that was printed
		delete(values, code)
	}
	clientNames(values)
	if outsideFilter(values) {
		return values['C'] + ": " + values['M'], s.tell(values)
	}
	if s.redacting.Load() {
		values = guard.RedactError(values)
	}
	values['W'] = where
	s.out = encodeError(s.out, 'E', values)
	return values['C'] + ": " + values['M'], nil
}

func (s *session) answerParse(it *item) error {
	body, err := s.expect(it, '1')
	if err != nil || body == nil {
		return err
	}
	it.statement.era.Store(s.eras.number())
	return closeEntry(it.entry, gate.Outcome{Status: "ok", Summary: "PREPARE"})
}

func (s *session) answerDescribeStatement(it *item) error {
	if body, err := s.expect(it, 't'); err != nil || body == nil {
		return err
	}
	body, err := s.expect(it, 'T', 'n')
	if err != nil || len(body) == 0 {
		return err
	}
	kept := bytes.Clone(body)
	it.statement.described.Store(&kept)
	return s.checkRows(body, it.statement.plan, 0)
}

// answerQuery reads the answer of a simple query up to its ReadyForQuery.
func (s *session) answerQuery(it *item) error {
	r := s.resume(it)
	for {
		typ, body, err := s.next()
		if err != nil {
			return err
		}
		if it.extended && (typ == '1' || typ == '2' || typ == 'n') {
			continue // the client has sent a simple query
		}
		switch typ {
		case 'T':
			if err := s.checkRows(body, it.plan, r.done); err != nil {
				return err
			}
			s.gatherRows()
			r.events = append(r.events, gate.Event{Kind: gate.ResultSchema, Data: bytes.Clone(body)})
			s.forward(typ, body)
		case 'D':
			s.row(body)
		case 'H', 'd', 'c':
			if err := s.copyOut(typ, body); err != nil {
				return err
			}
		case 'G':
			if err := s.copyBegins(it, body); err != nil {
				return err
			}
		case 'C':
			if body, err = s.complete(body); err != nil {
				return err
			}
			if !s.muted && s.limitError(r, true) != nil {
				s.muted = true
			}
			s.forward(typ, body)
		case 'I':
			s.forward(typ, body)
		case 'E':
			it.copy.fail()
			s.gatherRows()
			r.late.stop()
			if s.muted || s.limitError(r, false) != nil {
				continue
			}
			text, err := s.forwardError(body)
			if err != nil {
				return err
			}
			r.outcome.Status, r.outcome.Error = "error", text
		case 'Z':
			s.gatherRows()
			if it.more && r.outcome.Status == "ok" {
				return s.pause(body)
			}
			s.current = nil
			s.finished = append(s.finished, r)
			return s.readyForQuery(it.sequence, body)
		default:
			return s.breach(fmt.Sprintf("a message of type %q", typ))
		}
	}
}

// answerExecute reads the answer of an Execute.
func (s *session) answerExecute(it *item) error {
	p := it.portal
	if !p.entry.Open() {
		// The portal ended in this batch; the database has nothing more for it, and no row may come.
		_, err := s.expect(it, 'C', 'I')
		return err
	}
	r := s.begin(p.entry, p.plan)
	r.before = p.given
	if schema := p.schema(); schema != nil {
		r.events = append(r.events, gate.Event{Kind: gate.ResultSchema, Data: schema})
	}
	for {
		typ, body, err := s.next()
		if err != nil {
			return err
		}
		switch typ {
		case 'D':
			s.row(body)
			continue
		case 'H', 'd', 'c':
			if err := s.copyOut(typ, body); err != nil {
				return err
			}
			continue
		case 'G':
			if err := s.copyBegins(it, body); err != nil {
				return err
			}
			continue
		case 'C':
			if body, err = s.complete(body); err != nil {
				return err
			}
			if s.exceeds(r, r.outcome.Summary) {
				s.current = nil
				return closeEntry(p.entry, r.outcome, r.events...)
			}
			if !s.muted && s.limitError(r, true) != nil {
				s.muted = true
			}
			s.forward(typ, body)
		case 'I':
			s.forward(typ, body)
		case 's':
			p.given += r.outcome.Rows
			s.gatherRows()
			if s.exceeds(r, "") {
				s.current = nil
				return closeEntry(p.entry, r.outcome, r.events...)
			}
			if !s.muted && s.limitError(r, true) != nil {
				s.muted = true
			}
			s.forward(typ, body)
			s.current = nil
			if p.server != "" { // another Execute of the cursor is another request
				s.finished = append(s.finished, r)
				return nil
			}
			return p.entry.Record(r.events...) // it can be executed again
		case 'E':
			it.copy.fail()
			s.gatherRows()
			s.current = nil
			r.late.stop()
			s.skipping = true
			if s.limitError(r, false) != nil {
				return closeEntry(p.entry, r.outcome, r.events...)
			}
			text, err := s.forwardError(body)
			if err != nil {
				return err
			}
			r.outcome.Status, r.outcome.Error = "error", text
			return closeEntry(p.entry, r.outcome, r.events...)
		default:
			return s.breach(fmt.Sprintf("a message of type %q", typ))
		}
		s.gatherRows()
		s.current = nil
		s.finished = append(s.finished, r)
		return nil
	}
}

// schema is the RowDescription of a portal as it is recorded: once.
func (p *portal) schema() []byte {
	body := p.described
	p.described = nil
	if body != nil {
		return body
	}
	if d := p.statement.described.Load(); d != nil && p.plan != nil {
		return withFormats(*d, p.results)
	}
	return nil
}
