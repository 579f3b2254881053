package postgres

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"regexp"
	"sync/atomic"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// copyIn joins the judge, which reads the rows of a COPY FROM STDIN from the client, and the answering
// goroutine, which hears of the database when it wants them and when it has had enough (PostgreSQL
// documentation, 55.2.6).
type copyIn struct {
	entry  *gate.Entry
	begun  chan struct{} // one for each CopyInResponse
	over   chan struct{} // closed when the batch has been answered
	failed atomic.Bool   // an error came: what the client still sends of the rows is dropped

	// The judge's own.
	open  bool // the database waits for rows
	sum   hash.Hash
	bytes uint64
	out   []byte // for the database, not yet written
}

// copyLine is the part of an error's context that says which of the client's own lines is wrong.
var copyLine = regexp.MustCompile(`^COPY [^,\n]*, line [0-9]+`)

func newCopyIn(e *gate.Entry) *copyIn {
	return &copyIn{entry: e, begun: make(chan struct{}, 1), over: make(chan struct{})}
}

func (c *copyIn) fail() {
	if c != nil {
		c.failed.Store(true)
	}
}

func (c *copyIn) finish() {
	if c != nil {
		close(c.over)
	}
}

// copyBegins passes a CopyInResponse on, and tells the judge.
func (s *session) copyBegins(it *item, body []byte) error {
	if err := s.checkCopy(body, guard.CopyIn); err != nil || it.copy == nil || s.current.copying {
		return s.breach("an unexpected CopyInResponse")
	}
	s.gatherRows()
	s.forward('G', body)
	if err := s.settle(); err != nil {
		return err
	}
	select {
	case it.copy.begun <- struct{}{}:
		return nil
	default: // the rows of the one before have not ended
		return s.breach("a CopyInResponse within a COPY")
	}
}

// sendAndCopy sends a batch; one with a COPY FROM STDIN is on its way, or answered, when it returns.
func (s *session) sendAndCopy(entries []*gate.Entry, plan *guard.Plan, frames []byte, items []item, inside bool) error {
	if err := s.sendGrounded(entries, []*guard.Plan{plan}, frames, items, true, inside); err != nil || s.copy == nil {
		return err
	}
	return s.awaitCopy()
}

// awaitCopy waits until the database wants the rows of the next COPY, or the batch has been answered.
// A client that leaves meanwhile is seen to.
func (s *session) awaitCopy() error {
	c := s.copy
	c.open = false
	defer s.watch(s.abandoned)()
	select {
	case <-c.begun:
		c.open, c.sum, c.bytes = true, sha256.New(), 0
		return nil
	case <-c.over:
	case <-s.dead:
		return s.failure()
	}
	s.copy = nil
	if s.broken != nil {
		return s.failure()
	}
	return nil
}

// copyMessage handles a message of the client while a COPY FROM STDIN is under way. It gives false for one
// that is to be handled as any other.
func (s *session) copyMessage(typ byte, body []byte) (taken bool, err error) {
	c := s.copy
	if c.failed.Load() {
		if err := s.endCopy("failed"); err != nil {
			return true, err
		}
		return typ == 'd' || typ == 'c' || typ == 'f', s.awaitCopy()
	}
	switch typ {
	case 'X':
		return false, nil
	case 'd':
		c.sum.Write(body)
		c.bytes += uint64(len(body))
		c.out = appendMessage(c.out, 'd', body)
		if len(c.out) < flushAt && s.in.r.Buffered() > 0 {
			return true, nil
		}
		return true, s.writeCopy()
	case 'H', 'S': // ignored, for clients that send one after every Execute
		return true, nil
	case 'c':
		if len(body) == 0 {
			return true, s.copyDone()
		}
	case 'f':
		f := fields{b: body}
		reason := f.string()
		if f.end("CopyFail") == nil {
			return true, s.copyFail(shorten(reason))
		}
	}
	return true, s.copyFail("a message that does not belong there")
}

// copyDone lets the rows take effect: what they were is on the disk before.
func (s *session) copyDone() error {
	if err := s.endCopy("done"); err != nil {
		return err
	}
	s.copy.out = appendMessage(s.copy.out, 'c')
	return s.answerCopy()
}

// copyFail makes the database give the COPY up.
func (s *session) copyFail(reason string) error {
	if err := s.endCopy("failed"); err != nil {
		return err
	}
	s.copy.out = appendMessage(s.copy.out, 'f', []byte(reason), []byte{0})
	return s.answerCopy()
}

// answerCopy sends the end of the rows and waits for the answer. In the extended protocol the database keeps it
// until it is asked.
func (s *session) answerCopy() error {
	if s.unsynced {
		s.copy.out = appendMessage(s.copy.out, 'H')
	}
	if err := s.writeCopy(); err != nil {
		return err
	}
	return s.awaitCopy()
}

// endCopy records what the client sent. A request that has ended has its record.
func (s *session) endCopy(how string) error {
	c := s.copy
	if !c.open || !c.entry.Open() {
		return nil
	}
	c.open = false
	body := gate.StreamBody{Ended: how, Bytes: c.bytes, SHA256: hex.EncodeToString(c.sum.Sum(nil))}
	err := c.entry.RecordOnDisk(gate.Event{Kind: gate.StreamBytes, Body: body})
	if err != nil && !c.entry.Open() {
		return nil
	}
	return err
}

func (s *session) writeCopy() error {
	frames := s.copy.out
	s.copy.out = frames[:0]
	if cap(frames) > 4*flushAt {
		s.copy.out = nil
	}
	return s.write(frames)
}

// copies says whether a batch executes a COPY FROM STDIN, and whether that is misplaced: something stands
// behind it that the database would take for a part of the rows.
func (d *draft) copies() (copying, misplaced bool) {
	for i := range d.steps {
		st := &d.steps[i]
		if st.message.typ == 'E' && has(d.planOf(st.portal), guard.CopyIn) {
			return true, i != len(d.steps)-1
		}
	}
	return false, false
}

// planOf is the plan of a portal, also of one that this batch binds; nil where it is not known yet.
func (d *draft) planOf(p *portal) *guard.Plan {
	if p.plan == nil && p.asked != nil {
		return p.asked.plan
	}
	return p.plan
}

// copyBatch sends a batch that ends with the Execute of a COPY FROM STDIN. Its Sync is sent only where the
// database does not take rows: while it does it would not heed one.
func (s *session) copyBatch(end byte, d *draft, entries []*gate.Entry, frames []byte, items []item) error {
	s.copy = newCopyIn(d.steps[len(d.steps)-1].portal.entry)
	if err := s.endBatch(0, entries, d.bound(), frames, items); err != nil {
		return err
	}
	if s.copy != nil { // else an earlier statement of the batch has failed
		if err := s.awaitCopy(); err != nil {
			return err
		}
	}
	if s.copy != nil || end != 'S' {
		return nil
	}
	return s.endBatch('S', nil, nil, nil, nil)
}
