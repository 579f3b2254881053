package postgres

import (
	"errors"
	"sync/atomic"
	"time"

	"gatehouse/internal/gate"
)

// hold is called when the batch that is being admitted waits for a person. What is due to the client is
// sent, then a NOTICE with the id and the URL. Until the wait is over the client is watched: one that
// leaves or cancels withdraws the hold.
func (s *session) hold(t gate.Ticket) (over func()) {
	withdraw := s.withdraw
	if s.drain() != nil {
		withdraw()
	}
	s.mu.Lock()
	s.waiting = withdraw
	killed := s.killed != nil
	s.mu.Unlock()
	if killed {
		withdraw()
	}
	if s.writeNow(holdNotice(t)) != nil {
		withdraw()
	}
	return s.watch(withdraw)
}

// watch calls gone when the client leaves; stop ends the watch and leaves the reader as it was.
func (s *session) watch(gone func()) (stop func()) {
	watched := make(chan struct{})
	var over atomic.Bool
	go func() {
		defer close(watched)
		// Bytes that came already say that the client was there.
		if _, err := s.in.r.Peek(1); err != nil && !(over.Load() && isTimeout(err)) {
			gone()
		}
	}()
	return func() {
		over.Store(true)
		s.conn.SetReadDeadline(time.Unix(1, 0))
		<-watched
		s.conn.SetReadDeadline(time.Time{})
		s.mu.Lock()
		s.waiting = nil
		s.mu.Unlock()
	}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

func holdNotice(t gate.Ticket) []byte {
	return encodeError(nil, 'N', map[byte]string{
		'S': "NOTICE", 'V': "NOTICE", 'C': "01000",
		'M': "This statement waits for an approval: " + t.ID,
		'D': "It can be answered until " + t.Expires.UTC().Format(time.RFC3339) + ".",
		'H': "An approver opens " + t.URL + " or runs `gatehouse approvals approve " + t.ID + "`. Cancel to withdraw it.",
	})
}
