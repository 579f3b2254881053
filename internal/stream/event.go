package stream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/record"
)

// Event is what is sent of one event of a recording.
type Event struct {
	// ID is the same each time that the event is sent: SESSION.ENTRY.NUMBER, the number from 0.
	ID         string         `json:"id"`
	Time       time.Time      `json:"time"`
	Kind       gate.EventKind `json:"kind"`
	Session    string         `json:"session"`
	Request    uint64         `json:"request,omitempty"`
	Connection string         `json:"connection,omitempty"`
	Protocol   string         `json:"protocol,omitempty"`
	// Principal is its id; session.open has all of it.
	Principal string              `json:"principal,omitempty"`
	Body      json.RawMessage     `json:"body,omitempty"`
	Columns   []gate.ResultColumn `json:"columns,omitempty"`
	Rows      [][]*string         `json:"rows,omitempty"`
	// Cut is set where the event was longer than the sink takes: the body or the rows are not there.
	Cut *Cut `json:"cut,omitempty"`
}

// Cut is what stands for a part that was too long.
type Cut struct {
	Part   string `json:"part"` // body or rows
	Bytes  int    `json:"bytes"`
	SHA256 string `json:"sha256"` // of its JSON, in hex
	Begin  string `json:"begin,omitempty"`
}

// message is an event as it is sent.
type message struct {
	Event
	text []byte // its JSON
}

// encode gives an event as JSON of at most max bytes.
func encode(e Event, max int) (message, error) {
	text, err := marshal(e)
	if err != nil || len(text) <= max {
		return message{e, text}, err
	}
	part, name := []byte(e.Body), "body"
	if e.Rows != nil || e.Columns != nil {
		if part, err = marshal(e.Rows); err != nil {
			return message{}, err
		}
		name = "rows"
		e.Rows, e.Columns = nil, nil
	}
	sum := sha256.Sum256(part)
	e.Body, e.Cut = nil, &Cut{Part: name, Bytes: len(part), SHA256: hex.EncodeToString(sum[:])}
	if text, err = marshal(e); err != nil {
		return message{}, err
	}
	if room := max - len(text) - len(`,"begin":""`); name == "body" && room > 0 {
		e.Cut.Begin = strings.ToValidUTF8(string(part[:min(len(part), room/6)]), "") // a byte can become six in JSON
		if text, err = marshal(e); err != nil {
			return message{}, err
		}
	}
	return message{e, text}, nil
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// reader reads the journal on from a cursor, and knows of each event whose it is.
type reader struct {
	dir      string
	decoders map[string]gate.ResultDecoder
	results  bool
	max      int
	next     record.Cursor
	open     map[string]*session
}

// session is one that had not ended where the reader is.
type session struct {
	at      record.Cursor // of its first entry
	info    gate.SessionInfo
	columns map[uint64][]gate.ResultColumn
}

// resume makes a reader that stands at a cursor; oldest is where the first of the sessions begins that are open there.
func resume(ctx context.Context, o Options, t *Target, oldest, at record.Cursor) (*reader, error) {
	r := &reader{dir: o.Dir, decoders: o.Decoders, results: t.Results, max: t.max(), next: oldest, open: map[string]*session{}}
	if oldest == at {
		return r, nil
	}
	for f, err := range record.After(ctx, r.dir, oldest) {
		if err != nil {
			return nil, err
		}
		if f.At.Segment > at.Segment || f.At.Segment == at.Segment && f.At.Offset >= at.Offset {
			break
		}
		if _, err := r.entry(f, false); err != nil {
			return nil, err
		}
	}
	r.next = at
	return r, nil
}

// oldest is where a reader must begin to know the sessions that are open here.
func (r *reader) oldest() record.Cursor {
	out := r.next
	for _, s := range r.open {
		if s.at.Segment < out.Segment || s.at.Segment == out.Segment && s.at.Offset < out.Offset {
			out = s.at
		}
	}
	return out
}

// enough bounds a batch, in events and in bytes of JSON; an entry is never divided.
const (
	enoughEvents = 512
	enoughBytes  = 1 << 20
)

// read gives the next events; none where there are none yet.
func (r *reader) read(ctx context.Context) (out []message, err error) {
	size := 0
	for f, err := range record.After(ctx, r.dir, r.next) {
		if err != nil {
			return nil, err
		}
		list, err := r.entry(f, true)
		if err != nil {
			return nil, fmt.Errorf("session %s, entry %d: %w", f.Session, f.Number, err)
		}
		r.next = f.Next
		out = append(out, list...)
		for _, m := range list {
			size += len(m.text)
		}
		if len(out) >= enoughEvents || size >= enoughBytes {
			break
		}
	}
	return out, nil
}

// entry follows an entry, and gives its events where they are wanted.
func (r *reader) entry(f record.Followed, wanted bool) (out []message, err error) {
	s := r.open[f.Session]
	if s == nil {
		s = &session{at: f.At, columns: map[uint64][]gate.ResultColumn{}}
		r.open[f.Session] = s
	}
	for i, ev := range f.Events {
		m := Event{
			ID: fmt.Sprintf("%s.%d.%d", f.Session, f.Number, i), Time: f.Time, Kind: ev.Kind, Session: f.Session, Request: ev.Request,
			Body: ev.Body,
		}
		wanted := wanted
		switch decoder := r.decoders[s.info.Protocol]; ev.Kind {
		case gate.SessionOpened:
			if s.info, err = record.Body[gate.SessionInfo](ev); err != nil {
				return nil, err
			}
		case gate.ResultSchema:
			wanted = wanted && r.results
			if r.results && decoder != nil {
				if m.Columns, err = decoder.Schema(ev.Data); err != nil {
					return nil, err
				}
				s.columns[ev.Request] = m.Columns
			}
		case gate.ResultRows:
			wanted = wanted && r.results
			if wanted && decoder != nil {
				if m.Rows, err = decoder.Rows(s.columns[ev.Request], ev.Data, 1<<30); err != nil {
					return nil, err
				}
			}
		case gate.Responded:
			delete(s.columns, ev.Request)
		case gate.SessionClosed:
			delete(r.open, f.Session)
		}
		if !wanted {
			continue
		}
		m.Connection, m.Protocol, m.Principal = s.info.Connection, s.info.Protocol, s.info.Principal.ID
		one, err := encode(m, r.max)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	if f.Erased && f.Closes() {
		delete(r.open, f.Session)
	}
	return out, nil
}
