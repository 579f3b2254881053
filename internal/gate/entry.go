package gate

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"gatehouse/internal/policy"
)

// Entry is the key to the upstream writer for one admitted request. The zero value refuses everything.
type Entry struct {
	session *Session
	number  uint64
	id      string
	held    *held
	limit   policy.Limit
	// concludes is set where the whole batch does nothing but end a transaction.
	concludes bool
	unsynced  atomic.Bool // its intent may not be on the disk yet, and has to be
	closed    atomic.Bool
}

// held is a hold that is running; the last of its entries finishes it.
type held struct {
	id      string
	maxRows int64

	mu      sync.Mutex
	open    int
	outcome Outcome
}

var errNoEntry = errors.New("gate: no entry: the request was not admitted, or is closed")

func (s *Session) entries(batch []judged, h *held, concludes, unsynced bool) []*Entry {
	out := make([]*Entry, len(batch))
	for i := range batch {
		out[i] = &Entry{session: s, number: batch[i].number, id: batch[i].id, held: h, concludes: concludes, limit: batch[i].decision.Limit}
		out[i].unsynced.Store(unsynced)
	}
	if h != nil {
		h.open = len(out)
	}
	return out
}

// ID is the request's id, for error messages: "s-….7".
func (e *Entry) ID() string {
	if e == nil {
		return ""
	}
	return e.id
}

// Limit bounds what the request may give back and how long it may run. The connector sees to it.
func (e *Entry) Limit() policy.Limit {
	if e == nil {
		return policy.Limit{}
	}
	return e.limit
}

// MaxRows is how many rows the request may change, as its approver said; 0: as many as it does. The connector sees to
// it that the changes of a request beyond it do not take effect.
func (e *Entry) MaxRows() int64 {
	if e == nil || e.held == nil {
		return 0
	}
	return e.held.maxRows
}

// Ready says whether bytes of this request may go upstream now: it was admitted, is not closed, its session's token
// is still good, and where it writes its record is on the disk: Ready waits for that.
func (e *Entry) Ready() error {
	if !e.Open() {
		return errNoEntry
	}
	if e.unsynced.Load() {
		if err := e.session.recording.Sync(); err != nil {
			return e.session.unrecorded(err)
		}
		e.unsynced.Store(false)
	}
	return e.session.live(e.concludes)
}

// Open says whether the request was admitted and has not been closed.
func (e *Entry) Open() bool { return e != nil && e.session != nil && !e.closed.Load() }

// Record writes a part of the response, before the client gets it. After an error the session must end.
func (e *Entry) Record(events ...Event) error { return e.record(false, events) }

// RecordOnDisk writes a part of what was asked, and is back when it is on the disk: before what makes it take
// effect is forwarded.
func (e *Entry) RecordOnDisk(events ...Event) error { return e.record(true, events) }

func (e *Entry) record(durable bool, events []Event) error {
	if !e.Open() {
		return errNoEntry
	}
	for i := range events {
		events[i].Request = e.number
	}
	if err := e.session.recording.Append(durable, events...); err != nil {
		return e.session.unrecorded(err)
	}
	return nil
}

// Close writes the last parts of the response and how the request ended, once; later calls do nothing.
// A request that is never closed has an unknown outcome.
func (e *Entry) Close(o Outcome, events ...Event) error {
	if e == nil || e.session == nil {
		return errNoEntry
	}
	if e.closed.Swap(true) {
		return nil
	}
	events = append(events, Event{Kind: Responded, Body: o})
	for i := range events {
		events[i].Request = e.number
	}
	err := e.session.recording.Append(false, events...)
	if e.held != nil {
		err = errors.Join(err, e.held.finish(e.session, o))
	}
	if err != nil {
		return e.session.unrecorded(err)
	}
	return nil
}

// finish counts an entry of a hold as closed; with the last one the hold is done. The worst outcome of
// its requests is the hold's.
func (h *held) finish(s *Session, o Outcome) error {
	h.mu.Lock()
	if h.outcome.Status == "" || rank(o.Status) > rank(h.outcome.Status) {
		h.outcome = o
	}
	h.open--
	last, outcome := h.open == 0, h.outcome
	h.mu.Unlock()
	if !last {
		return nil
	}
	return s.gate.cfg.Approvals.Finish(context.Background(), h.id, outcome)
}

func rank(status string) int {
	switch status {
	case "ok":
		return 0
	case "error", "refused":
		return 1
	}
	return 2
}
