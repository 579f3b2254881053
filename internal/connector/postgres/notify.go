package postgres

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// idlePoll is how often a session that listens looks for notifications while nothing is asked.
const idlePoll = 100 * time.Millisecond

// listens notes that a batch may LISTEN: from then on the answering goroutine alone reads the database.
func (s *session) listens(items []item) {
	if s.listening.Load() {
		return
	}
	for i := range items {
		plan := items[i].plan
		if p := items[i].portal; p != nil {
			plan = p.plan
		}
		if has(plan, guard.Listen) {
			s.listening.Store(true)
			return
		}
	}
}

// due waits for the next answers; ok is false when there will be none. A session that listens gets its
// notifications meanwhile.
func (s *session) due() (items []item, ok bool) {
	for s.listening.Load() && s.broken == nil {
		select {
		case items, ok = <-s.queue:
			return items, ok
		case <-time.After(idlePoll):
			if s.broken = s.unasked(); s.broken != nil {
				s.lose()
				s.endBroken()
			}
		}
	}
	items, ok = <-s.queue
	return items, ok
}

// unasked passes on what the database says while nothing is asked.
func (s *session) unasked() error {
	s.reading.Lock()
	defer s.reading.Unlock()
	for s.up.in.r.Buffered() > 0 || s.up.socket.readable() {
		if s.outstanding.Load() > 0 || s.pending.Load() > 0 { // it can be an answer
			return nil
		}
		typ, body, err := s.up.in.next(maxMessage)
		switch {
		case err != nil:
			return connectionLost(s.target.connection.Name)
		case typ == 'A':
			err = s.notification(body)
		case typ == 'S':
			err = s.parameter(body)
		case typ == 'N':
		default: // an error here ends the session
			return connectionLost(s.target.connection.Name)
		}
		if err != nil {
			return err
		}
	}
	return s.settle()
}

// notification passes a NotificationResponse on to a session that listens.
func (s *session) notification(body []byte) error {
	if !s.listening.Load() {
		return nil
	}
	pid, channel, payload, err := decodeNotification(body)
	if err != nil {
		return s.breach("a malformed NotificationResponse")
	}
	if err := s.gate.Record(gate.Event{Kind: gate.Notified, Body: gate.NotificationBody{Channel: channel, Payload: payload}}); err != nil {
		return err
	}
	s.gatherRows()
	out := slices.Clone(body)
	if pid == s.up.config.PID { // its own: the client knows the session by another number
		binary.BigEndian.PutUint32(out, s.pid)
	}
	s.forward('A', out)
	return nil
}

var errNotification = errors.New("not a notification")

func decodeNotification(body []byte) (pid uint32, channel, payload string, err error) {
	f := fields{b: body}
	pid, channel, payload = uint32(f.int32()), f.string(), f.string()
	if f.end("NotificationResponse") != nil || channel == "" {
		return 0, "", "", errNotification
	}
	return pid, channel, payload, nil
}
