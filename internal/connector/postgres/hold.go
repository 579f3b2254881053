package postgres

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/gate"
)

// holdNotices is how often a client that waits is told so: some networks and drivers give up what is silent.
var holdNotices = 30 * time.Second

// hold is called when the batch that is being admitted waits for a person. What is due to the client is
// sent, then a NOTICE with the id and the URL, and one again from time to time. Until the wait is over the client is
// watched: one that cancels withdraws the hold; one that leaves, or whose statement_timeout is over, can send the same
// statement again.
func (s *session) hold(t gate.Ticket) (over func()) {
	end := s.withdraw
	s.held = true
	leave := func() { end(nil) }
	limit, err := s.statementTimeout()
	if err != nil {
		leave()
	}
	s.mu.Lock()
	s.waiting = end
	killed := s.killed != nil
	s.mu.Unlock()
	if killed || s.writeNow(holdNotice(t)) != nil {
		leave()
	}
	late := after(limit, func() { end(gate.ErrWaitedEnough) })
	still := s.tellAgain(t, leave)
	unwatch := s.watch(leave)
	return func() {
		late()
		still()
		unwatch()
	}
}

// after calls do when a time has passed, if there is one.
func after(d time.Duration, do func()) (stop func()) {
	if d <= 0 {
		return func() {}
	}
	timer := time.AfterFunc(d, do)
	return func() { timer.Stop() }
}

// tellAgain tells the client that it still waits, until stop is called; a client that takes no notice is gone.
func (s *session) tellAgain(t gate.Ticket, gone func()) (stop func()) {
	var mu sync.Mutex
	var timer *time.Timer
	over := false
	tell := func() {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return
		}
		s.conn.SetWriteDeadline(time.Now().Add(holdNotices))
		err := s.writeNow(encodeError(nil, 'N', map[byte]string{
			'S': "NOTICE", 'V': "NOTICE", 'C': "01000",
			'M': "This statement still waits for approval " + t.ID + ".",
			'D': "It can be answered until " + t.Expires.UTC().Format(time.RFC3339) + ".",
			'H': "An approver opens " + t.URL + ". Cancel to withdraw it.",
		}))
		s.conn.SetWriteDeadline(time.Time{})
		if err != nil {
			gone()
			return
		}
		timer.Reset(holdNotices)
	}
	mu.Lock()
	timer = time.AfterFunc(holdNotices, tell)
	mu.Unlock()
	return func() {
		mu.Lock()
		over = true
		mu.Unlock()
		timer.Stop()
	}
}

// statementTimeout gives what is due to the client, and asks the database for the session's statement_timeout; 0: none.
// SHOW takes no snapshot, so that a transaction sees what it would have seen.
func (s *session) statementTimeout() (time.Duration, error) {
	if err := s.drain(); err != nil {
		return 0, err
	}
	value := s.settings["statement_timeout"]
	if s.up != nil {
		if s.unsynced || s.skipping || s.status == 'E' {
			return 0, nil // nothing can be asked in between
		}
		if err := s.push([]item{{kind: answerSetting, setting: &value}}); err != nil {
			return 0, err
		}
		if err := s.write(appendMessage(nil, 'Q', []byte("SHOW statement_timeout"), []byte{0})); err != nil {
			return 0, err
		}
		if err := s.drain(); err != nil {
			return 0, err
		}
	}
	return milliseconds(value), nil
}

// answerSetting reads the answer of a SHOW.
func (s *session) answerSetting(value *string) error {
	for {
		typ, body, err := s.next()
		if err != nil {
			return err
		}
		switch typ {
		case 'T', 'C', 'E':
		case 'D':
			f := fields{b: body}
			if f.int16() == 1 {
				*value = string(f.take(max(int(f.int32()), 0)))
			}
			if err := f.end("DataRow"); err != nil {
				return s.breach("a malformed DataRow")
			}
		case 'Z':
			return nil
		default:
			return s.breach(fmt.Sprintf("a message of type %q", typ))
		}
	}
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
	fields := map[byte]string{
		'S': "NOTICE", 'V': "NOTICE", 'C': "01000",
		'M': "This statement waits for an approval: " + t.ID,
		'D': "It can be answered until " + t.Expires.UTC().Format(time.RFC3339) + ".",
		'H': "An approver opens " + t.URL + " or runs `gatehouse approvals approve " + t.ID + "`. Cancel to withdraw it.",
	}
	if t.Approved {
		fields['M'], fields['D'], fields['H'] = "This statement runs by an approval that was given before: "+t.ID, "", ""
	}
	if t.Other != "" {
		fields['D'] += " Approval " + t.Other + " does not fit: " + strings.Join(t.Differs, "; ") + "."
	}
	return encodeError(nil, 'N', fields)
}
