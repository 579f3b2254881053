package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
)

// Cursor is a place between two entries of a journal, for who reads on from where it stopped. The zero value is the
// beginning.
type Cursor struct {
	Segment uint64 `json:"segment"`
	Offset  int64  `json:"offset"` // in bytes, of the next entry; 0: the segment's first
}

// Followed is an entry, and where it stands.
type Followed struct {
	Entry
	At   Cursor // of the entry itself
	Next Cursor // after it
}

// ErrGone is returned where the segment of a cursor is not there any more.
var ErrGone = errors.New("the recordings before this place are not there any more")

// After gives the entries of a journal that stand after a cursor, in order, until the end of what is written now; that
// the last one is not whole is no error. An error is the last thing that it gives.
func After(ctx context.Context, dir string, from Cursor) iter.Seq2[Followed, error] {
	return after(ctx, dir, from, "")
}

// after is After of one session, or of all.
func after(ctx context.Context, dir string, from Cursor, session string) iter.Seq2[Followed, error] {
	return func(yield func(Followed, error) bool) {
		list, err := segmentsFrom(dir, from.Segment)
		if err != nil {
			yield(Followed{}, err)
			return
		}
		found := from == Cursor{}
		for _, s := range list {
			if s.seq < from.Segment {
				continue
			}
			start := int64(0)
			if s.seq == from.Segment {
				found, start = true, from.Offset
			}
			if !found {
				break
			}
			if !s.after(ctx, start, session, yield) {
				return
			}
		}
		if !found {
			yield(Followed{}, fmt.Errorf("%w: segment %d", ErrGone, from.Segment))
		}
	}
}

// after gives the entries of a segment from an offset on, those of one session or of all; false where the reader is to stop.
func (s *segment) after(ctx context.Context, offset int64, session string, yield func(Followed, error) bool) bool {
	f, err := os.Open(s.path)
	if err != nil {
		yield(Followed{}, err)
		return false
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() < offset {
		yield(Followed{}, errors.Join(err, fmt.Errorf("%w: segment %d ends before byte %d", ErrGone, s.seq, offset)))
		return false
	}
	on := true
	s.rawFrom(ctx, f, offset, func(at place, whole []byte, err error) bool {
		if errors.Is(err, errTail) {
			return false
		}
		if err != nil {
			on = false
			yield(Followed{}, err)
			return false
		}
		if session != "" && !isOf(whole, session) {
			return true
		}
		e, err := decodeEntry(whole, s.keys)
		if err != nil {
			on = false
			yield(Followed{}, &damage{at, err.Error(), err})
			return false
		}
		on = yield(Followed{e, Cursor{s.seq, at.offset}, Cursor{s.seq, at.offset + frameSize + int64(len(whole))}}, nil)
		return on
	})
	return on
}

// isOf says whether an entry is one of a session.
func isOf(whole []byte, session string) bool {
	n := int(whole[1])
	return n == len(session) && len(whole) >= 2+n && string(whole[2:2+n]) == session
}

// ReadAt gives the entry that stands at a place.
func ReadAt(ctx context.Context, dir string, at Cursor) (Entry, error) {
	for f, err := range After(ctx, dir, at) {
		return f.Entry, err
	}
	return Entry{}, fmt.Errorf("%w: segment %d, byte %d", ErrGone, at.Segment, at.Offset)
}

// Size is how many bytes of a journal are after a cursor; below 0 where its segment ends before it.
func Size(dir string, from Cursor) (int64, error) {
	list, err := segmentsFrom(dir, from.Segment)
	if err != nil {
		return 0, err
	}
	var sum int64
	found := from == Cursor{}
	for _, s := range list {
		if s.seq < from.Segment {
			continue
		}
		info, err := os.Stat(s.path)
		if err != nil {
			return 0, err
		}
		sum += info.Size()
		if s.seq == from.Segment {
			found = true
			sum -= from.Offset
		}
	}
	if !found {
		return 0, fmt.Errorf("%w: segment %d", ErrGone, from.Segment)
	}
	return sum, nil
}

// Body decodes the body of an event.
func Body[T any](e Event) (v T, err error) {
	if err := json.Unmarshal(e.Body, &v); err != nil {
		return v, fmt.Errorf("its %s: %w", e.Kind, err)
	}
	return v, nil
}
