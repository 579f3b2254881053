package stream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
)

func (t *Target) path() string { return strings.TrimPrefix(t.To, "file:") }

// lines is a file of JSON lines. It is opened for each batch, so that it can be moved away (logrotate).
type lines struct {
	path    string
	checked bool // that the last line is whole
}

func (s *lines) answers() bool { return true }

func (s *lines) close() error { return nil }

// send is back when the lines are on the disk. What of them was written when it failed is taken back.
func (s *lines) send(_ context.Context, batch []message) (_ int, err error) {
	f, err := os.OpenFile(s.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	if !s.checked { // a crash may have torn the last line; its event is sent again
		if end, err = wholeLines(f, end); err != nil {
			return 0, err
		}
	}
	s.checked = false
	var b []byte
	for _, m := range batch {
		b = append(append(b, m.text...), '\n')
	}
	if _, err = f.WriteAt(b, end); err == nil {
		err = f.Sync()
	}
	if err != nil {
		return 0, errors.Join(err, f.Truncate(end))
	}
	s.checked = true
	return 0, nil
}

// wholeLines cuts off what follows the last line end, and gives where that is.
func wholeLines(f *os.File, end int64) (int64, error) {
	b := make([]byte, 64<<10)
	for at := end; at > 0; {
		from := max(at-int64(len(b)), 0)
		part := b[:at-from]
		if _, err := f.ReadAt(part, from); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			at = from + int64(i) + 1
			if at == end {
				return end, nil
			}
			return at, f.Truncate(at)
		}
		at = from
	}
	return 0, f.Truncate(0)
}
