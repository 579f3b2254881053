package record

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
)

// segment is one file of a journal.
type segment struct {
	path string
	seq  uint64
	node hash
	last bool
	keys *keyring
}

// place is where an entry stands.
type place struct {
	segment *segment
	offset  int64
}

func (p place) String() string {
	return fmt.Sprintf("%s at byte %d", filepath.Base(p.segment.path), p.offset)
}

// errTail is an entry that is not whole at the end of the last segment: it is being written, or a crash tore
// it.
var errTail = errors.New("the last entry is not whole")

// damage is an entry that cannot be read.
type damage struct {
	place place
	why   string
	cause error // nil: none of its own
}

func (d *damage) Unwrap() error { return d.cause }

func (d *damage) Error() string { return d.place.String() + ": " + d.why }

func segments(dir string) ([]*segment, error) {
	names, err := filepath.Glob(filepath.Join(strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir), "journal-*.ghj"))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var out []*segment
	keys := newKeyring(dir)
	for _, n := range names {
		s := &segment{path: n, keys: keys}
		if _, err := fmt.Sscanf(filepath.Base(n), "journal-%d.ghj", &s.seq); err != nil {
			return nil, fmt.Errorf("%s is not the name of a segment", n)
		}
		out = append(out, s)
	}
	if len(out) > 0 {
		out[len(out)-1].last = true
	}
	return out, nil
}

// segmentsFrom are those of a folder from a number on. Where that one is there it costs the same however many there are before it.
func segmentsFrom(dir string, from uint64) ([]*segment, error) {
	keys := newKeyring(dir)
	var out []*segment
	for seq := from; from > 0; seq++ {
		path := segmentPath(dir, seq)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			break
		} else if err != nil {
			return nil, err
		}
		out = append(out, &segment{path: path, seq: seq, keys: keys})
	}
	if len(out) == 0 {
		return segments(dir)
	}
	out[len(out)-1].last = true
	return out, nil
}

// scan reads a segment's entries in order. After an error it ends.
func (s *segment) scan(ctx context.Context) iter.Seq2[place, entryOrError] {
	return func(yield func(place, entryOrError) bool) {
		f, err := os.Open(s.path)
		if err != nil {
			yield(place{s, 0}, entryOrError{err: err})
			return
		}
		defer f.Close()
		s.frames(ctx, f, yield)
	}
}

type entryOrError struct {
	entry Entry
	err   error
}

// frames reads the header and the frames of a segment.
func (s *segment) frames(ctx context.Context, f io.Reader, yield func(place, entryOrError) bool) {
	s.raw(ctx, f, func(at place, whole []byte, err error) bool {
		if err != nil {
			return yield(at, entryOrError{err: err})
		}
		e, err := decodeEntry(whole, s.keys)
		if err != nil {
			yield(at, entryOrError{err: &damage{at, err.Error(), err}})
			return false
		}
		return yield(at, entryOrError{entry: e})
	})
}

// raw reads the header and the frames of a segment, and gives each entry as it stands, its checksum checked. The
// bytes are overwritten by the next one. After an error it ends.
func (s *segment) raw(ctx context.Context, f io.Reader, yield func(place, []byte, error) bool) {
	s.rawFrom(ctx, f, 0, yield)
}

// rawFrom is raw from the entry at an offset on, where it is not 0; then f is an io.Seeker.
func (s *segment) rawFrom(ctx context.Context, f io.Reader, offset int64, yield func(place, []byte, error) bool) {
	r := bufio.NewReaderSize(f, 256<<10)
	at := place{s, 0}
	fail := func(err error) { yield(at, nil, err) }
	broken := func(why string) {
		if s.last {
			fail(fmt.Errorf("%w: %w", errTail, &damage{at, why, nil}))
		} else {
			fail(&damage{at, why, nil})
		}
	}
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(r, header); err != nil {
		broken("the header is not whole")
		return
	}
	if !bytes.HasPrefix(header, []byte(magic)) || binary.BigEndian.Uint64(header[len(magic):]) != s.seq {
		fail(&damage{at, "that is not this segment of a journal", nil})
		return
	}
	copy(s.node[:], header[len(magic)+8:])
	at.offset = int64(headerSize)
	if offset > at.offset {
		if _, err := f.(io.Seeker).Seek(offset, io.SeekStart); err != nil {
			fail(err)
			return
		}
		r.Reset(f)
		at.offset = offset
	}
	var buffer []byte
	for {
		if err := ctx.Err(); err != nil {
			fail(err)
			return
		}
		var head [frameSize]byte
		if _, err := io.ReadFull(r, head[:]); err == io.EOF {
			return
		} else if err != nil {
			broken("the frame is not whole")
			return
		}
		n, sum := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
		if n < minEntry || n > maxEntry { // a torn tail can be zeros: their length and checksum are 0
			broken("the length of the entry is impossible")
			return
		}
		buffer = slices.Grow(buffer[:0], int(min(n, 1<<20)))
		whole, err := readN(r, buffer, int(n))
		buffer = whole
		if err != nil {
			broken("the entry is not whole")
			return
		}
		if crc32.Checksum(whole, castagnoli) != sum {
			broken("the entry's checksum does not fit")
			return
		}
		if !yield(at, whole, nil) {
			return
		}
		at.offset += frameSize + int64(n)
	}
}

// readN reads n bytes into b, growing it as they come.
func readN(r io.Reader, b []byte, n int) ([]byte, error) {
	for len(b) < n {
		step := min(n-len(b), 1<<20)
		b = slices.Grow(b, step)
		k, err := io.ReadFull(r, b[len(b):len(b)+step])
		b = b[:len(b)+k]
		if err != nil {
			return b, err
		}
	}
	return b, nil
}

// scan reads a whole journal, in order; sealed: without its keys.
func scan(ctx context.Context, dir string, sealed bool) iter.Seq2[place, entryOrError] {
	return func(yield func(place, entryOrError) bool) {
		list, err := segments(dir)
		if err != nil {
			yield(place{&segment{path: dir}, 0}, entryOrError{err: err})
			return
		}
		scanAll(ctx, dir, list, sealed)(yield)
	}
}

// scanAll reads segments of a folder, in order.
func scanAll(ctx context.Context, dir string, list []*segment, sealed bool) iter.Seq2[place, entryOrError] {
	return func(yield func(place, entryOrError) bool) {
		if len(list) == 0 {
			if _, err := os.Stat(dir); err != nil {
				yield(place{&segment{path: dir}, 0}, entryOrError{err: err})
			}
			return
		}
		for _, s := range list {
			s.keys.absent = sealed
			for at, e := range s.scan(ctx) {
				if !yield(at, e) || e.err != nil {
					return
				}
			}
		}
	}
}

// Summary is one session in a list.
type Summary struct {
	ID         string           `json:"id"`
	Opened     time.Time        `json:"opened"`
	Closed     time.Time        `json:"closed,omitzero"`
	Principal  policy.Principal `json:"principal"`
	Connection string           `json:"connection"`
	Protocol   string           `json:"protocol"`
	Client     string           `json:"client,omitempty"`
	// State is open, closed, interrupted or erased.
	State    string `json:"state"`
	Reason   string `json:"reason,omitempty"`
	Requests int    `json:"requests"`
	Refused  int    `json:"refused"`
	Held     int    `json:"held"`
	// Unknown counts requests whose outcome is not known.
	Unknown int `json:"unknown,omitempty"`
}

// Filter says which sessions are listed; empty fields match all.
type Filter struct {
	Connection string
	Principal  string // a part of its id or name
	Limit      int    // the newest so many; 0 is all
}

// List gives the sessions of a journal, newest first.
func List(ctx context.Context, dir string, f Filter) ([]Summary, error) {
	byID := map[string]*summary{}
	var order []*summary
	for _, e := range scan(ctx, dir, false) {
		if errors.Is(e.err, errTail) {
			break
		}
		if e.err != nil {
			return nil, e.err
		}
		s := byID[e.entry.Session]
		if s == nil {
			s = &summary{waiting: map[uint64]bool{}}
			s.ID, s.State = e.entry.Session, "open"
			byID[e.entry.Session] = s
			order = append(order, s)
		}
		s.add(e.entry)
	}
	out := []Summary{}
	for _, s := range slices.Backward(order) {
		text := s.Principal.ID + " " + s.Principal.String()
		if f.Connection != "" && s.Connection != f.Connection || !strings.Contains(text, f.Principal) {
			continue
		}
		if s.State != "open" {
			s.Unknown += len(s.waiting)
		}
		out = append(out, s.Summary)
		if f.Limit > 0 && len(out) == f.Limit {
			break
		}
	}
	return out, nil
}

// summary counts a session's requests; waiting are those forwarded without an outcome yet.
type summary struct {
	Summary
	waiting map[uint64]bool
}

func (s *summary) add(e Entry) {
	if e.Erased {
		s.State = "erased"
		if s.Opened.IsZero() {
			s.Opened = e.Time
		}
		if e.Closes() {
			s.Closed = e.Time
		}
		return
	}
	for _, ev := range e.Events {
		switch ev.Kind {
		case gate.SessionOpened:
			var i gate.SessionInfo
			if json.Unmarshal(ev.Body, &i) == nil {
				s.Opened, s.Principal, s.Connection, s.Protocol, s.Client = i.Opened, i.Principal, i.Connection, i.Protocol, i.Client
			}
		case gate.Requested:
			s.Requests++
			s.waiting[ev.Request] = true
		case gate.Decided:
			var d gate.DecisionBody
			if json.Unmarshal(ev.Body, &d) == nil && d.Decision.Effect == policy.Hold {
				s.Held++
			}
		case gate.Responded:
			delete(s.waiting, ev.Request)
			var o gate.Outcome
			if json.Unmarshal(ev.Body, &o) == nil {
				switch o.Status {
				case "refused":
					s.Refused++
				case "unknown":
					s.Unknown++
				}
			}
		case gate.SessionClosed:
			var end gate.SessionEnd
			if json.Unmarshal(ev.Body, &end) == nil {
				s.Closed, s.Reason, s.State = end.Closed, end.Reason, "closed"
				if end.Reason == "interrupted" {
					s.State = "interrupted"
				}
			}
		}
	}
}

// ErrNoSession is returned where a journal has no such session.
var ErrNoSession = errors.New("there is no such session in these recordings (`gatehouse sessions list` shows them)")

// Read gives the entries of a session, in order. An error is the last thing that it gives.
func Read(ctx context.Context, dir, session string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		found := false
		for f, err := range ReadFrom(ctx, dir, session, Cursor{}) {
			found = true
			if !yield(f.Entry, err) || err != nil {
				return
			}
		}
		if !found {
			yield(Entry{}, fmt.Errorf("%w: %s", ErrNoSession, session))
		}
	}
}

// ReadFrom gives the entries of a session that stand after a cursor, in order, until its last one or until the end of what is
// written now. Entries of other sessions are passed over without a look into them. An error is the last thing that it gives.
func ReadFrom(ctx context.Context, dir, session string, from Cursor) iter.Seq2[Followed, error] {
	return func(yield func(Followed, error) bool) {
		last := false
		for f, err := range after(ctx, dir, from, session) {
			if last = err == nil && f.Closes(); !yield(f, err) || last {
				return
			}
		}
	}
}
