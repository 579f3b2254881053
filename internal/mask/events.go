package mask

import (
	"bytes"
	"errors"
)

// maxLine bounds a line of an event stream that is not data, in bytes.
const maxLine = 1024

var (
	errEventLine = errors.New("a line of the event stream is not understood, or too long")
	done         = []byte("[DONE]") // ends some streams in the place of JSON
)

// Events masks a stream of server-sent events (HTML standard, section 9.2) whose data are JSON, as it streams by.
// Comments become empty ones, unknown fields are left out, and so is what an event is missing at the stream's end.
type Events struct {
	plan   *Plan
	json   *Masker
	line   []byte // a line that is not data, or the name of a field
	inData bool   // behind "data:", and past its first space
	first  bool   // nothing came after "data:" yet
	cr     bool   // the last byte was a CR
	begun  bool   // of the event, data came
	done   int    // bytes of [DONE] that came as data
	masked []byte
	start  int // bytes of the mark at the stream's beginning that came
}

// Events begins a stream.
func (p *Plan) Events() *Events { return &Events{plan: p} }

// Write appends what is shown of the next part of the stream.
func (e *Events) Write(dst, p []byte) ([]byte, error) {
	const mark = "\xef\xbb\xbf"
	for len(p) > 0 {
		if e.start < len(mark) {
			if p[0] == mark[e.start] {
				e.start++
				p = p[1:]
				continue
			}
			if e.start > 0 {
				return dst, errEventLine
			}
			e.start = len(mark)
		}
		if e.cr && p[0] == '\n' {
			e.cr, p = false, p[1:]
			continue
		}
		e.cr = false
		n := bytes.IndexAny(p, "\r\n")
		part := p
		if n >= 0 {
			part = p[:n]
		}
		var err error
		if dst, err = e.part(dst, part); err != nil {
			return dst, err
		}
		if n < 0 {
			return dst, nil
		}
		if dst, err = e.lineEnded(dst); err != nil {
			return dst, err
		}
		e.cr = p[n] == '\r'
		p = p[n+1:]
	}
	return dst, nil
}

// part takes a part of a line.
func (e *Events) part(dst, p []byte) ([]byte, error) {
	var err error
	for len(p) > 0 {
		if e.inData {
			if e.first && p[0] == ' ' {
				e.first, p = false, p[1:]
				continue
			}
			e.first = false
			return e.data(dst, p)
		}
		e.line = append(e.line, p[0])
		p = p[1:]
		if string(e.line) == "data:" {
			if dst, err = e.dataBegins(dst); err != nil {
				return dst, err
			}
			continue
		}
		if len(e.line) > maxLine {
			return dst, errEventLine
		}
	}
	return dst, nil
}

func (e *Events) dataBegins(dst []byte) ([]byte, error) {
	e.line, e.inData, e.first = e.line[:0], true, true
	if e.begun {
		if e.done > 0 {
			return dst, errEventLine
		}
		return e.data(dst, []byte{'\n'})
	}
	e.begun, e.done, e.json = true, 0, e.plan.Masker(false)
	return append(dst, "data: "...), nil
}

// data masks a part of an event's data. A line end within it begins a new line of data.
func (e *Events) data(dst, p []byte) ([]byte, error) {
	if e.json.Fresh() && (e.done > 0 || p[0] == done[0]) && e.done+len(p) <= len(done) && bytes.HasPrefix(done[e.done:], p) {
		e.done += len(p)
		return dst, nil
	}
	var err error
	if e.done > 0 {
		kept := done[:e.done]
		e.done = 0
		if e.masked, err = e.json.Write(e.masked[:0], kept); err != nil {
			return dst, err
		}
		dst = append(dst, e.masked...)
	}
	if e.masked, err = e.json.Write(e.masked[:0], p); err != nil {
		return dst, err
	}
	return appendLines(dst, e.masked), nil
}

func appendLines(dst, p []byte) []byte {
	for {
		n := bytes.IndexByte(p, '\n')
		if n < 0 {
			return append(dst, p...)
		}
		dst = append(append(dst, p[:n]...), "\ndata: "...)
		p = p[n+1:]
	}
}

// lineEnded ends a line, and an event where the line is empty.
func (e *Events) lineEnded(dst []byte) ([]byte, error) {
	if e.inData {
		e.inData = false
		return dst, nil // the line is ended by what comes next
	}
	line := e.line
	e.line = e.line[:0]
	name, value, _ := bytes.Cut(line, []byte{':'})
	switch {
	case len(line) == 0:
		return e.eventEnded(dst)
	case len(name) == 0:
		if e.begun {
			return dst, nil
		}
		return append(dst, ":\n"...), nil
	case string(line) == "data":
		dst, err := e.dataBegins(dst)
		e.inData = false
		return dst, err
	case string(name) == "event" || string(name) == "id" || string(name) == "retry":
		if e.begun {
			return dst, errEventLine // within data there is nothing else: it would cut a line of it
		}
		return append(append(append(append(dst, name...), ':'), value...), '\n'), nil
	}
	return dst, nil
}

// eventEnded ends an event, whose data must be complete.
func (e *Events) eventEnded(dst []byte) ([]byte, error) {
	if !e.begun {
		return append(dst, '\n'), nil
	}
	e.begun = false
	switch {
	case e.done == len(done) && e.json.Fresh():
		dst = append(dst, done...)
	case e.json.Fresh() && e.done == 0:
	default:
		var err error
		if dst, err = e.json.End(dst); err != nil {
			return dst, err
		}
	}
	e.done = 0
	return append(dst, "\n\n"...), nil
}

// End says whether the stream ended between events: what is cut off was not given out as an event, so that it is none.
func (e *Events) End(dst []byte) ([]byte, error) {
	if e.begun || len(e.line) > 0 {
		return dst, errEventLine
	}
	return dst, nil
}
