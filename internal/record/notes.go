package record

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Beside the journal a folder has lists of what people did with it, a line of JSON each, appended and put on the disk before it is
// done: what was erased, what is held, who looked at what.
const (
	erasedName  = "erased.jsonl"
	holdsName   = "holds.jsonl"
	reviewsName = "reviews.jsonl"
)

// Erasure is a line of erased.jsonl.
type Erasure struct {
	Session string    `json:"session"`
	Time    time.Time `json:"time"`
	By      string    `json:"by"`
	Reason  string    `json:"reason"`
}

// Hold keeps sessions from being erased: the session named, those of a connection, or those of principals whose id or name has a text in
// it; of what several of these say, those that are all of it.
type Hold struct {
	ID         string    `json:"id"`
	Time       time.Time `json:"time"`
	By         string    `json:"by"`
	Reason     string    `json:"reason"`
	Session    string    `json:"session,omitempty"`
	Connection string    `json:"connection,omitempty"`
	Principal  string    `json:"principal,omitempty"`
	// Released ends the hold of this ID, which an earlier line has.
	Released bool `json:"released,omitempty"`
}

// Holds says whether a session is held.
func (h Hold) Holds(s Summary) bool {
	return (h.Session == "" || h.Session == s.ID) && (h.Connection == "" || h.Connection == s.Connection) &&
		(h.Principal == "" || strings.Contains(s.Principal.ID+" "+s.Principal.String(), h.Principal)) && h.Session+h.Connection+h.Principal != ""
}

// Review is a line of reviews.jsonl: somebody looked at what happened in a session.
type Review struct {
	Session string    `json:"session"`
	Time    time.Time `json:"time"`
	By      string    `json:"by"`
	Action  string    `json:"action"` // replay, show, tail, export
}

// NoteErasure notes that a session is about to be erased.
func NoteErasure(dir string, e Erasure) error { return note(dir, erasedName, e) }

// NoteReview notes that somebody is about to look at a session.
func NoteReview(dir string, r Review) error { return note(dir, reviewsName, r) }

// PlaceHold begins a hold, to which it gives an id.
func PlaceHold(dir string, h Hold) (Hold, error) {
	if h.Session+h.Connection+h.Principal == "" || strings.TrimSpace(h.Reason) == "" {
		return h, errors.New("record: a hold names what it holds, and why")
	}
	h.ID, h.Released = "h-"+strings.ToLower(rand.Text()[:10]), false
	return h, note(dir, holdsName, h)
}

// ReleaseHold ends a hold.
func ReleaseHold(dir string, h Hold) error {
	list, err := Holds(dir)
	if err != nil {
		return err
	}
	for _, one := range list {
		if one.ID == h.ID {
			h.Released = true
			return note(dir, holdsName, h)
		}
	}
	return fmt.Errorf("there is no hold %s (`gatehouse recordings holds` lists them)", h.ID)
}

// Holds are those of a folder that were not released, in the order in which they were placed. What cannot be read is an error: nothing
// is erased past a hold that nobody can read.
func Holds(dir string) (out []Hold, err error) {
	list, err := notes[Hold](dir, holdsName)
	for _, h := range list {
		if !h.Released {
			out = append(out, h)
			continue
		}
		for i := range out {
			if out[i].ID == h.ID {
				out = append(out[:i], out[i+1:]...)
				break
			}
		}
	}
	return out, err
}

// Reviews are those of a folder, in order.
func Reviews(dir string) ([]Review, error) { return notes[Review](dir, reviewsName) }

func note(dir, name string, v any) (err error) {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	if err := cutTorn(f); err != nil {
		return err
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		return err
	}
	return errors.Join(f.Sync(), syncDir(dir))
}

// cutTorn cuts off a last line that a crash tore: what it says was not done.
func cutTorn(f *os.File) error {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	from := max(info.Size()-64<<10, 0)
	b := make([]byte, info.Size()-from)
	if _, err := f.ReadAt(b, from); err != nil {
		return err
	}
	if end := bytes.LastIndexByte(b, '\n') + 1; end < len(b) && (end > 0 || from == 0) {
		return f.Truncate(from + int64(end))
	}
	return nil
}

// notes reads a list. A last line that is not whole was torn while it was written, and what it says was not done.
func notes[T any](dir, name string) (out []T, err error) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	for n := 1; len(b) > 0; n++ {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		var v T
		if !whole {
			break
		}
		if err := json.Unmarshal(line, &v); err != nil {
			return out, fmt.Errorf("%s, line %d: %w", name, n, err)
		}
		out, b = append(out, v), rest
	}
	return out, nil
}
