package postgres

import (
	"errors"
	"slices"
)

// next reads a message of the database that belongs to an answer. What comes unasked is dealt with here.
// Before it waits for the database the client gets what is there.
func (s *session) next() (byte, []byte, error) {
	for {
		if s.up.in.r.Buffered() < 5 && len(s.out) > 0 || len(s.out) >= flushAt {
			if err := s.settle(); err != nil {
				return 0, nil, err
			}
		}
		typ, body, err := s.up.in.next(maxMessage)
		if large := (*errMessage)(nil); errors.As(err, &large) && large.state == "54000" {
			s.target.log.Error("an answer is too large", "session", s.gate.ID(), "error", err)
			return 0, nil, answerTooLarge()
		}
		if full := (*errNoRoom)(nil); errors.As(err, &full) {
			s.target.log.Error("there is no room for an answer", "session", s.gate.ID())
			return 0, nil, noRoomForAnswer(full.limit)
		}
		if err != nil {
			if s.killing() == nil {
				s.target.log.Error("the database went away", "session", s.gate.ID(), "error", err)
			}
			return 0, nil, connectionLost(s.target.connection.Name)
		}
		switch typ {
		case 'N':
			// Notices can carry values.
		case 'A':
			if err := s.notification(body); err != nil {
				return 0, nil, err
			}
		case 'S':
			if err := s.parameter(body); err != nil {
				return 0, nil, err
			}
		default:
			return typ, body, nil
		}
	}
}

// shownParameters are the settings whose reports the client gets; the others would name roles.
var shownParameters = []string{
	"application_name", "client_encoding", "DateStyle", "IntervalStyle", "TimeZone",
	"standard_conforming_strings", "integer_datetimes", "server_encoding", "server_version",
}

func (s *session) parameter(body []byte) error {
	f := fields{b: body}
	name, value := f.string(), f.string()
	if err := f.end("ParameterStatus"); err != nil {
		return s.breach("a malformed ParameterStatus")
	}
	s.mu.Lock()
	changed := s.reported[name] != value
	s.reported[name] = value
	s.mu.Unlock()
	if changed && slices.Contains(meaningSettings, name) {
		s.eras.reported()
	}
	if slices.Contains(shownParameters, name) {
		s.forward('S', body)
	}
	return nil
}
