package record

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gatehouse/internal/gate"
)

// Report is what a verification found.
type Report struct {
	Segments int `json:"segments"`
	Entries  int `json:"entries"`
	// Sessions are those that were asked for, in the order in which they were opened.
	Sessions []SessionReport `json:"sessions"`
	// Problems are what is wrong with the journal; empty means that it is whole.
	Problems []string `json:"problems,omitempty"`
	// Sealed says that the keys of the sessions are not here: the chains were looked at, and what happened could not be.
	Sealed bool `json:"sealed,omitempty"`
	// Heads is how many signed heads the journal comes to, the last one signed at Signed; Keys are the public keys, in hex,
	// that they were signed with.
	Heads  int       `json:"heads"`
	Signed time.Time `json:"signed,omitzero"`
	Keys   []string  `json:"keys,omitempty"`
	// Notes are no problems: an entry that is just being written.
	Notes []string `json:"notes,omitempty"`
}

// SessionReport is what a verification found of one session.
type SessionReport struct {
	ID      string `json:"id"`
	Entries uint64 `json:"entries"`
	Closed  bool   `json:"closed"`
	// Erased says that its key was destroyed: its chain was looked at, what happened in it cannot be.
	Erased bool `json:"erased,omitempty"`
	// Unknown are the requests whose outcome is not known: forwarded, and nothing came back.
	Unknown  []uint64 `json:"unknown,omitempty"`
	Problems []string `json:"problems,omitempty"`
}

// OK says whether everything that was looked at is whole.
func (r Report) OK() bool {
	return len(r.Problems) == 0 && !slices.ContainsFunc(r.Sessions, func(s SessionReport) bool { return len(s.Problems) > 0 })
}

// verified is a session on the way.
type verified struct {
	SessionReport
	head    hash
	slot    uint32 // of its key, where its entries are sealed
	sealed  bool
	waiting map[uint64]bool
}

// verifier follows the chains through a journal.
type verifier struct {
	node     hash
	byID     map[string]*verified
	order    []*verified
	segment  *segment
	first    *segment
	seen     map[hash]bool // the node heads that the journal comes to; nil: they are not kept
	expected uint64        // the next segment's sequence number
	report   Report
	absent   bool // the keys are not here
	sealed   bool // there was what they are needed for
	shipped  bool // the folder is a copy that was shipped: its segments have ended
}

func (v *verifier) problem(at place, format string, args ...any) {
	if len(v.report.Problems) < 100 {
		v.report.Problems = append(v.report.Problems, at.String()+": "+fmt.Sprintf(format, args...))
	}
}

// add follows one entry.
func (v *verifier) add(at place, e Entry) {
	if at.segment != v.segment {
		v.begin(at)
	}
	v.report.Entries++
	s := v.byID[e.Session]
	if s == nil {
		s = &verified{SessionReport: SessionReport{ID: e.Session}, waiting: map[uint64]bool{}}
		v.byID[e.Session] = s
		v.order = append(v.order, s)
	}
	wrong := func(format string, args ...any) {
		if len(s.Problems) < 20 {
			s.Problems = append(s.Problems, at.String()+": "+fmt.Sprintf(format, args...))
		}
	}
	if e.Number != s.Entries+1 {
		wrong("entry %d is followed by entry %d", s.Entries, e.Number)
	}
	if e.previous != s.head {
		wrong("entry %d does not follow from the one before it", e.Number)
	}
	if s.Closed {
		wrong("entry %d comes after the end", e.Number)
	}
	opens := e.Number == 1
	closes := slices.ContainsFunc(e.Events, func(ev Event) bool { return ev.Kind == gate.SessionClosed })
	if e.Erased {
		s.Erased = !v.absent
		v.sealed = true
		closes = !opens && e.flags&flagNode != 0
	}
	if marked := e.flags&flagNode != 0; marked != (opens || closes) {
		wrong("entry %d is not marked as it should be", e.Number)
	} else if marked {
		if e.node != v.node {
			v.problem(at, "the sessions before %s are not those that were recorded: one is missing or was changed", e.Session)
			v.node = e.node
		}
		v.node = advance(v.node, e.hash)
		v.saw()
	}
	s.Entries, s.head, s.Closed = e.Number, e.hash, s.Closed || closes
	s.slot, s.sealed = e.slot, e.flags&flagSealed != 0
	for _, ev := range e.Events {
		switch ev.Kind {
		case gate.Requested:
			s.waiting[ev.Request] = true
		case gate.Responded:
			delete(s.waiting, ev.Request)
		}
	}
}

// begin follows the step into a segment.
func (v *verifier) begin(at place) {
	s := at.segment
	if v.segment != nil && s.seq != v.expected {
		v.problem(place{s, 0}, "segment %d is missing", v.expected)
	}
	if v.segment == nil && s.seq != 1 {
		v.problem(place{s, 0}, "the segments before %d are missing", s.seq)
		v.node = s.node
	}
	if s.node != v.node {
		v.problem(place{s, 0}, "the segment does not follow from the one before it")
		v.node = s.node
	}
	v.saw()
	if v.first == nil {
		v.first = s
	}
	v.segment, v.expected = s, s.seq+1
	v.report.Segments++
}

func (v *verifier) saw() {
	if v.seen != nil {
		v.seen[v.node] = true
	}
}

func newVerifier() *verifier { return &verifier{byID: map[string]*verified{}} }

// Verify proves a journal: every checksum and hash, each session's chain, and the chain of sessions. It
// reports on the sessions with the ids, or on all. Its error is one of reading, not of what was read.
func Verify(ctx context.Context, dir string, ids ...string) (Report, error) {
	return VerifyAgainst(ctx, dir, nil, nil, ids...)
}

// VerifyAgainst is Verify with signed heads that were kept elsewhere, and with the public keys (in hex) that heads must be
// signed with; without keys any will do, and the report says which.
func VerifyAgainst(ctx context.Context, dir string, kept []Head, keys []string, ids ...string) (Report, error) {
	v := newVerifier()
	own, err := Heads(dir) // before the journal: it comes to what was signed by now
	if err != nil {
		v.report.Problems = append(v.report.Problems, err.Error())
	}
	return v.verify(ctx, dir, own, kept, keys, ids)
}

// VerifyShipped is VerifyAgainst of a folder that recordings were shipped to: each segment in it has ended, and a head proves
// that all segments before the one that it stands on belong there.
func VerifyShipped(ctx context.Context, dir string, kept []Head, keys []string, ids ...string) (Report, error) {
	v := newVerifier()
	v.shipped = true
	own, wrong, err := shippedHeads(dir)
	if err != nil {
		return v.report, err
	}
	v.report.Problems = wrong
	return v.verify(ctx, dir, own, kept, keys, ids)
}

func (v *verifier) verify(ctx context.Context, dir string, own, kept []Head, keys, ids []string) (Report, error) {
	v.seen = map[hash]bool{}
	list, err := segments(dir)
	if err != nil {
		return v.report, err
	}
	if v.shipped && len(list) > 0 {
		list[len(list)-1].last = false
	}
	if _, err := os.Stat(filepath.Join(dir, keysName)); errors.Is(err, os.ErrNotExist) {
		v.absent = true
	}
	for at, e := range scanAll(ctx, dir, list, v.absent) {
		var d *damage
		switch {
		case errors.Is(e.err, errTail):
			rest, torn, err := tail(at)
			if err != nil {
				return v.report, err
			}
			if !torn && !wholeEntryAt(rest, 0) { // a writer may have completed it since
				v.report.Problems = append(v.report.Problems, fmt.Sprintf("%s: an entry is damaged, and more follows it; nothing after it was looked at", at))
				continue
			}
			v.report.Notes = append(v.report.Notes, e.err.Error()+": it is being written, or a crash tore it (the next start moves it aside)")
		case errors.As(e.err, &d):
			v.report.Problems = append(v.report.Problems, d.Error()+"; nothing after it was looked at")
		case e.err != nil:
			return v.report, e.err
		default:
			v.add(at, e.entry)
		}
	}
	v.report.Sealed = v.absent && v.sealed
	v.heads(own, kept, keys)
	for _, s := range v.order {
		if len(ids) > 0 && !slices.Contains(ids, s.ID) {
			continue
		}
		if s.Closed {
			for r := range s.waiting {
				s.Unknown = append(s.Unknown, r)
			}
			slices.Sort(s.Unknown)
		}
		v.report.Sessions = append(v.report.Sessions, s.SessionReport)
	}
	for _, id := range ids {
		if v.byID[id] == nil {
			return v.report, fmt.Errorf("%w: %s", ErrNoSession, id)
		}
	}
	return v.report, nil
}

// recover reads the journal that there is, moves a torn tail aside, and closes what was left open.
func (j *Journal) recover() error {
	list, err := segments(j.o.Dir)
	if err != nil {
		return err
	}
	if j.keys, err = openKeys(j.o.Dir, j.o.FS); err != nil {
		return err
	}
	if j.o.Signer != nil {
		if j.heads, j.signed, err = openHeads(j.o.Dir, j.o.FS); err != nil {
			return err
		}
	}
	v := newVerifier()
	var end int64
	for _, s := range list {
		end = int64(headerSize)
		for at, e := range s.scan(context.Background()) {
			if errors.Is(e.err, errTail) {
				if err := j.setAside(at); err != nil {
					return err
				}
				end = at.offset
				break
			}
			if e.err != nil {
				return fmt.Errorf("the journal is damaged (%w): move the folder away to keep it as evidence, and start with an empty one", e.err)
			}
			v.add(at, e.entry)
			end = -1
		}
		if v.segment != s && end != 0 { // it has no entry; where its header was torn, it is begun anew
			v.begin(place{s, 0})
		}
	}
	j.node = v.node
	for _, s := range slices.SortedFunc(slices.Values(v.order), func(a, b *verified) int { return cmp.Compare(a.slot, b.slot) }) {
		if s.sealed && s.slot >= j.keys.next {
			if err := j.keys.lost(s.slot, s.ID); err != nil {
				return err
			}
		}
	}
	if len(v.report.Problems) > 0 {
		return fmt.Errorf("the journal is damaged (%s): move the folder away to keep it as evidence, and start with an empty one", v.report.Problems[0])
	}
	if len(list) == 0 {
		if err := j.create(1); err != nil {
			return err
		}
	} else {
		s := list[len(list)-1]
		if end >= 0 && end < int64(headerSize) { // its header was torn
			if err := os.Remove(s.path); err != nil {
				return err
			}
			if err := j.create(s.seq); err != nil {
				return err
			}
		} else {
			info, err := os.Stat(s.path)
			if err != nil {
				return err
			}
			f, err := j.o.FS.Append(s.path)
			if err != nil {
				return err
			}
			j.file, j.seq, j.size, j.begun = f, s.seq, info.Size(), j.o.Now()
		}
	}
	return j.interrupt(v)
}

// interrupt closes the sessions that a crash left open.
func (j *Journal) interrupt(v *verifier) error {
	now := j.o.Now()
	keys := newKeyring(j.o.Dir)
	for _, s := range v.order {
		if s.Closed {
			continue
		}
		c := &chain{journal: j, id: s.ID, number: s.Entries, head: s.head}
		if s.sealed {
			var err error
			if c.seal, err = keys.find(s.slot, s.ID); err != nil {
				return err
			}
		}
		event := gate.Event{Kind: gate.SessionClosed, Body: gate.SessionEnd{Closed: now, Reason: "interrupted", Detail: "the gateway stopped without ending the session"}}
		if err := j.append(c, false, true, true, []gate.Event{event}); err != nil {
			return err
		}
		j.o.Log.Warn("a session was interrupted", "session", s.ID, "unknown_outcomes", len(s.waiting))
	}
	j.mu.Lock()
	target := j.written
	j.mu.Unlock()
	return j.sync(target)
}

// tail reads what stands from a place to the end of its segment. It is torn if it can be one entry that was
// not written to its end: no whole entry is in it, and it is not longer than an entry can be.
func tail(at place) (b []byte, torn bool, err error) {
	f, err := os.Open(at.segment.path)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	if _, err := f.Seek(at.offset, io.SeekStart); err != nil {
		return nil, false, err
	}
	b, err = io.ReadAll(io.LimitReader(f, maxEntry+frameSize+1))
	return b, err == nil && len(b) <= maxEntry+frameSize && !wholeEntryIn(b), err
}

// setAside copies a torn tail to a file of its own and cuts it off. Where the damage is not a tear nothing is
// touched.
func (j *Journal) setAside(at place) error {
	tail, torn, err := tail(at)
	if err != nil {
		return err
	}
	if !torn {
		return fmt.Errorf("the journal is damaged (%s, and more follows): move the folder away to keep it as evidence, and start with an empty one", at)
	}
	if len(tail) == 0 {
		return nil
	}
	f, err := os.OpenFile(at.segment.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	aside := fmt.Sprintf("%s.torn-%d", at.segment.path, at.offset)
	if err := os.WriteFile(aside, tail, 0o600); err != nil {
		return err
	}
	j.o.Log.Warn("the end of the journal was torn by a crash, and was moved aside", "file", aside, "bytes", len(tail))
	if err := f.Truncate(at.offset); err != nil {
		return err
	}
	return errors.Join(f.Sync(), syncDir(j.o.Dir))
}

// wholeEntryIn says whether anything after the first byte is a frame with a good checksum.
func wholeEntryIn(b []byte) bool {
	for i := 1; i+frameSize+minEntry <= len(b); i++ {
		if wholeEntryAt(b, i) {
			return true
		}
	}
	return false
}

func wholeEntryAt(b []byte, i int) bool {
	if i+frameSize+minEntry > len(b) {
		return false
	}
	n := int64(binary.BigEndian.Uint32(b[i:]))
	if n < minEntry || n > int64(len(b)-i-frameSize) || bytes.Equal(b[i:i+frameSize], make([]byte, frameSize)) {
		return false
	}
	return crc32.Checksum(b[i+frameSize:i+frameSize+int(n)], castagnoli) == binary.BigEndian.Uint32(b[i+4:])
}
