package search

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/record"
)

// placeEvery is how many bytes of a session's entries are between two places that the index has of it.
const placeEvery = 1 << 20

// walk is how far a session was followed.
type walk struct {
	bytes   int64         // since the last place
	columns record.Cursor // of the newest result; zero: none
}

// walked notes now and then where a session is.
func (w *writer) walked(ctx context.Context, f record.Followed) error {
	s, err := w.session(ctx, f.Session)
	if err != nil || s.id == 0 {
		return err
	}
	at := w.walks[f.Session]
	if f.At.Segment == f.Next.Segment {
		at.bytes += f.Next.Offset - f.At.Offset
	}
	columns := at.columns // as a reader needs them who begins with this entry
	for _, ev := range f.Events {
		if ev.Kind == gate.ResultSchema {
			at.columns = f.At
		}
	}
	if f.Number == 1 || f.Closes() || at.bytes >= placeEvery {
		if _, err := w.place.ExecContext(ctx, s.id, f.Time.UnixMicro(), f.At.Segment, f.At.Offset, columns.Segment, columns.Offset); err != nil {
			return err
		}
		at.bytes = 0
	}
	if f.Closes() {
		delete(w.walks, f.Session)
		return nil
	}
	if _, ok := w.walks[f.Session]; !ok {
		room(w.walks)
	}
	w.walks[f.Session] = at
	return nil
}

// Spot is where to read a session from to see what happened at a time.
type Spot struct {
	First record.Cursor // its first entry
	At    record.Cursor // an entry of it that is not later than the time, and not long before
	// Columns is where the columns of the result are described that may go on at At; zero: nowhere.
	Columns record.Cursor
}

// Seek finds where a session is at a time; of a time before its begin, its first entry. found is false where the index does not
// have the session.
func Seek(ctx context.Context, dir, session string, at time.Time) (_ Spot, found bool, err error) {
	x := &Index{dir: dir}
	if err := x.connect(x.path(), true); errors.Is(err, os.ErrNotExist) {
		return Spot{}, false, nil
	} else if err != nil {
		return Spot{}, false, err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	var spot Spot
	err = x.db.QueryRowContext(ctx, "SELECT segment, offset FROM places WHERE session = (SELECT id FROM sessions WHERE name = ?) ORDER BY at, segment, offset LIMIT 1", session).
		Scan(&spot.First.Segment, &spot.First.Offset)
	if errors.Is(err, sql.ErrNoRows) {
		return Spot{}, false, nil
	} else if err != nil {
		return Spot{}, false, err
	}
	err = x.db.QueryRowContext(ctx, "SELECT segment, offset, columns_segment, columns_offset FROM places WHERE session = (SELECT id FROM sessions WHERE name = ?) AND at <= ? ORDER BY at DESC, segment DESC, offset DESC LIMIT 1", session, at.UnixMicro()).
		Scan(&spot.At.Segment, &spot.At.Offset, &spot.Columns.Segment, &spot.Columns.Offset)
	if errors.Is(err, sql.ErrNoRows) {
		spot.At, err = spot.First, nil
	}
	return spot, err == nil, err
}
