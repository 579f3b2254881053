package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// Bounds of a batch: it ends at a Sync or a Flush, and before it grows beyond these.
const (
	maxBatchBytes    = 1 << 20
	maxBatchExecutes = 256
	maxStatements    = 2048     // prepared statements, and portals, of a session
	maxPrepared      = 32 << 20 // bytes of the prepared statements of a session
	keepText         = 16 << 10 // a text up to this length is always kept
)

var errTerminate = errors.New("the client has said goodbye")

// message is one message of the extended protocol, kept until its batch ends.
type message struct {
	typ      byte
	parse    parseMessage
	bind     bindMessage
	describe describeMessage
	execute  executeMessage
}

// judge reads what the client sends until it leaves. Its error says why the session must end.
func (s *session) judge(ctx context.Context) error {
	for {
		if s.in.r.Buffered() == 0 && s.up != nil && s.outstanding.Load() == 0 {
			s.socket.wait(lull) // a busy client's next message is here before the scheduler would be
		}
		typ, body, err := s.in.nextRequest(maxMessage)
		if full := (*errNoRoom)(nil); errors.As(err, &full) {
			if err := s.refuseMessage(typ, noRoom(full.limit)); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if s.copy != nil {
			if taken, err := s.copyMessage(typ, body); err != nil {
				return err
			} else if taken {
				continue
			}
		}
		switch typ {
		case 'X':
			return errTerminate
		case 'Q':
			err = s.simple(ctx, body)
		case 'P', 'B', 'D', 'E', 'C':
			err = s.gather(ctx, typ, body)
		case 'H', 'S':
			if len(body) != 0 {
				return &errMessage{"08P01", "A Sync or Flush message has a body."}
			}
			err = s.finish(ctx, typ)
		case 'F':
			err = s.refuseSimple(&gate.Refusal{
				Code:   gate.NotUnderstood,
				Reason: "The function call protocol is not supported.",
				Remedy: "Call the function in a SELECT.",
			})
		case 'd', 'c', 'f':
			// Outside a COPY these are ignored, as PostgreSQL does.
		default:
			return &errMessage{"08P01", fmt.Sprintf("A message of type %q is not known.", typ)}
		}
		if err != nil {
			return err
		}
	}
}

// refuseMessage refuses a message that was not read.
func (s *session) refuseMessage(typ byte, r *gate.Refusal) error {
	switch {
	case s.copy != nil: // it cannot go on without it
		return r
	case typ == 'Q':
		if len(s.batch) > 0 {
			if err := s.refuseBatch(r); err != nil {
				return err
			}
		}
		s.discarding = false
		return s.refuseSimple(r)
	case strings.IndexByte("PBDEC", typ) >= 0:
		return s.refuseBatch(r)
	}
	return r
}

// simple handles a Query message: judged whole, sent as one.
func (s *session) simple(ctx context.Context, body []byte) error {
	if len(s.batch) > 0 { // an extended batch without its end: PostgreSQL runs it first
		if err := s.finish(ctx, 'H'); err != nil {
			return err
		}
	}
	// Where in a transaction it stands is bound to an approval, and depends on the answers before it.
	if s.unsynced || s.outstanding.Load() > 0 {
		if err := s.drain(); err != nil {
			return err
		}
		if s.unsynced && s.skipping { // the database ignores everything until a Sync
			return nil
		}
	}
	text, err := decodeQuery(body)
	if err != nil {
		r, _ := refusalFrom(err)
		return s.refuseSimple(r)
	}
	s.discarding = false
	if n := 2 * int64(len(text)); n > 2*keepText { // it can be a PREPARE
		if !s.texts.hold(s.texts.held + n) {
			return s.refuseSimple(noRoom(s.server.memory.limit))
		}
		s.judging = n
		defer func() { s.judging = 0; s.countTexts() }()
	}
	for attempt := 0; ; attempt++ {
		if err := s.query(ctx, text); !errors.Is(err, errMoved) {
			return err
		}
		if r := s.again(ctx, attempt); r != nil {
			return s.refuseSimple(r)
		}
	}
}

// query judges a simple query and sends it.
func (s *session) query(ctx context.Context, text string) error {
	s.catchUp()
	if r, err := s.ask(); err != nil {
		return err
	} else if r != nil {
		return s.refuseSimple(r)
	}
	req := &request{session: s, text: text, position: s.position(), state: s.state}
	entries, err := s.admit(ctx, []gate.Request{req})
	if err != nil {
		r, err := s.refusal(err)
		if err != nil {
			return err
		}
		return s.refuseSimple(r)
	}
	if r := unlimited(entries, req.plan); r != nil {
		if err := refuseAdmitted(entries, r); err != nil {
			return err
		}
		return s.refuseSimple(r)
	}
	s.sent(req.plan)
	s.sequence++
	delete(s.portals, "") // a simple query drops what has no name
	delete(s.statements, "")
	inside := s.unsynced && s.status == 'I'
	s.unsynced = false
	if bounded(entries) {
		return s.queryBounded(entries, req.plan, inside)
	}
	if has(req.plan, guard.CopyIn) {
		s.copy = newCopyIn(entries[0])
	}
	return s.sendSegments(entries, req.plan, inside)
}

// admit passes a batch through the gate. While it is held a cancel withdraws it, and a client that
// leaves ends the wait.
func (s *session) admit(ctx context.Context, batch []gate.Request) ([]*gate.Entry, error) {
	if s.admitting == nil {
		s.admitting, s.withdraw = context.WithCancelCause(ctx)
	}
	entries, err := s.server.gate.Admit(s.admitting, s.gate, batch)
	if s.held { // a cancel that comes late must not meet the next batch
		s.withdraw(nil)
		s.admitting, s.held = nil, false
	}
	if err != nil {
		return nil, err
	}
	err = s.noteMasks(ctx)
	if err == nil {
		err = s.connect(ctx)
	}
	if err != nil {
		for _, e := range entries {
			err = errors.Join(err, e.Close(gate.Outcome{Status: "refused", Summary: "not forwarded: the database cannot be reached"}))
		}
		return nil, err
	}
	return entries, nil
}

// refusal sorts an error of admit: what the client is told and the session goes on, or why it must end.
func (s *session) refusal(err error) (*gate.Refusal, error) {
	if k := s.killing(); k != nil {
		return nil, k.refusal
	}
	r, internal := refusalFrom(err)
	if internal {
		s.target.log.Error("a request failed", "session", s.gate.ID(), "error", err)
	}
	return r, nil
}

// refuseSimple answers a simple query with a refusal.
func (s *session) refuseSimple(r *gate.Refusal) error {
	if err := s.failTransaction(); err != nil {
		return err
	}
	return s.push([]item{{kind: answerLocal, bytes: encodeError(nil, 'E', errorFields("ERROR", r))}, {kind: answerReady}})
}

// failTransaction makes the database fail a transaction that is open: a refusal must roll it back, as the
// client is told. Nothing is sent where none is open.
func (s *session) failTransaction() error {
	if err := s.drain(); err != nil {
		return err
	}
	if s.up == nil || s.skipping || s.status == 'I' && !s.unsynced || s.status == 'E' {
		return nil
	}
	frame := appendMessage(nil, 'Q', []byte(failing), []byte{0})
	s.unsynced = false
	if err := s.push([]item{{kind: answerFailing}}); err != nil {
		return err
	}
	if err := s.write(frame); err != nil {
		return err
	}
	return s.drain()
}

// failing is the statement that fails a transaction: it names nothing and always raises an error.
const failing = "SELECT 1 OPERATOR(pg_catalog./) 0"

// position says where in a transaction the next request stands, as far as is known.
func (s *session) position() string {
	if s.inTransaction.Load() {
		return "in transaction"
	}
	return "idle"
}

// send puts a batch's answers into the queue and its bytes upstream; the entries are the keys to that.
func (s *session) send(entries []*gate.Entry, frames []byte, items []item) error {
	if err := ready(entries); err != nil {
		return err
	}
	s.pending.Add(1)
	s.listens(items)
	items = append(items, item{kind: answerBatchEnd})
	for i := range items {
		items[i].copy = s.copy
	}
	if s.copy == nil && !s.listening.Load() && len(frames) <= maxExchange && s.outstanding.Load() == 0 {
		return s.exchange(frames, items)
	}
	if err := s.push(items); err != nil {
		return err
	}
	return s.write(frames)
}

// ready says whether the entries may be used now; if not, they are closed.
func ready(entries []*gate.Entry) error {
	for _, e := range entries {
		if err := e.Ready(); err != nil {
			for _, e := range entries {
				err = errors.Join(err, closeEntry(e, gate.Outcome{Status: "refused", Summary: "not forwarded: the session ended before it was sent"}))
			}
			return err
		}
	}
	return nil
}

// write sends bytes upstream whose answers are in the queue already: the database may answer the first of
// them, and wait until that is read, before it reads the last.
func (s *session) write(frames []byte) error {
	if _, err := s.up.conn.Write(frames); err != nil {
		s.target.log.Error("the database went away", "session", s.gate.ID(), "error", err)
		return connectionLost(s.target.connection.Name)
	}
	return nil
}

const (
	// maxExchange is the size of a batch that the database's socket always has room for: nothing else is
	// under way.
	maxExchange = 8 << 10
	// patience is how long the judge itself waits for the first byte of an answer. A client that leaves
	// while a statement runs longer is seen to.
	patience = 5 * time.Millisecond
	// lull is how long the judge waits by itself for a client's next message.
	lull = time.Millisecond
)

// exchange sends a small batch while nothing is outstanding, and answers it at once where the database does:
// waking another goroutine takes longer than most statements.
func (s *session) exchange(frames []byte, items []item) error {
	if err := s.write(frames); err != nil {
		return errors.Join(err, s.push(items))
	}
	return s.exchanged(items)
}

// exchanged answers a small batch that was just sent.
func (s *session) exchanged(items []item) error {
	if s.listening.Load() {
		return s.push(items)
	}
	if s.up.in.r.Buffered() == 0 && s.up.socket.wait(patience) == slow {
		return s.push(items)
	}
	defer s.inlined()()
	return s.takeNow(items)
}

// inlined says that the judge reads the database's answers itself until over is called: the client is watched
// meanwhile, where it takes long.
func (s *session) inlined() (over func()) {
	s.reading.Lock()
	s.lookout.begin()
	return s.inlinedOver
}

func (s *session) inlineEnds() {
	s.lookout.end()
	s.reading.Unlock()
}

// abandoned stops what runs for a client that has left.
func (s *session) abandoned() {
	ctx, cancel := context.WithTimeout(context.Background(), dialTime)
	defer cancel()
	if err := s.up.cancel(ctx); err != nil {
		s.target.log.Warn("a statement could not be cancelled", "session", s.gate.ID(), "error", err)
	}
}

// takeNow answers without the answering goroutine: nothing is outstanding.
func (s *session) takeNow(items []item) error {
	s.take(items)
	if s.broken != nil {
		return s.failure()
	}
	return nil
}

// push hands answers to the answering goroutine, or gives those that need no database at once.
func (s *session) push(items []item) error {
	if !s.listening.Load() && s.outstanding.Load() == 0 && !slices.ContainsFunc(items, func(it item) bool { return it.kind > answerBarrier }) {
		return s.takeNow(items)
	}
	s.outstanding.Add(1)
	select {
	case s.queue <- items:
		return nil
	case <-s.dead:
		return s.failure()
	}
}

// drain waits until everything before has been answered; then the judge may read the status.
func (s *session) drain() error {
	done := make(chan struct{})
	if err := s.push([]item{{kind: answerBarrier, done: done}}); err != nil {
		return err
	}
	select {
	case <-done:
	case <-s.dead:
		return s.failure()
	}
	if s.broken != nil { // the barrier is closed then too
		return s.failure()
	}
	return nil
}
