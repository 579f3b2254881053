package postgres

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	guard "gatehouse/internal/sqlguard/postgres"
)

// copyOut passes on a message of a COPY to the client (PostgreSQL documentation, 55.2.6): CopyOutResponse,
// the rows as CopyData, CopyDone. One that the plan does not have, or out of its order, is a breach.
func (s *session) copyOut(typ byte, body []byte) error {
	r := s.current
	switch typ {
	case 'H':
		if err := s.checkCopy(body, guard.CopyOut); err != nil || r.copying {
			return s.breach("an unexpected CopyOutResponse")
		}
		s.gatherRows()
		r.copying, r.copied = true, 0
		s.forward(typ, body)
	case 'd':
		if !r.copying {
			return s.breach("CopyData outside of a COPY")
		}
		s.rowOf(typ, body)
		r.copied++
	case 'c':
		if !r.copying || len(body) > 0 {
			return s.breach("an unexpected CopyDone")
		}
		s.gatherRows()
		r.copying = false
		s.forward(typ, body)
	}
	return nil
}

// checkCopy says whether the plan has a COPY in that direction and the response that begins it is well-formed.
func (s *session) checkCopy(body []byte, verb guard.Verb) error {
	p := s.current.plan
	if !has(p, verb) {
		return fmt.Errorf("the plan has no %s", verb)
	}
	return decodeCopyResponse(body)
}

// has says whether a plan has a statement of the verb.
func has(p *guard.Plan, verb guard.Verb) bool {
	return p != nil && slices.ContainsFunc(p.Statements, func(st guard.Statement) bool { return st.Verb == verb })
}

// decodeCopyResponse checks a CopyInResponse or CopyOutResponse: the format, and one for each column.
func decodeCopyResponse(body []byte) error {
	f := fields{b: body}
	if format := f.byte(); format > 1 {
		f.bad = true
	}
	f.formats()
	return f.end("CopyResponse")
}

// copiedRows corrects how many rows a COPY had by its command tag: a header is not a row.
func (r *result) copiedRows(tag string) {
	count, ok := strings.CutPrefix(tag, "COPY ")
	if !ok {
		return
	}
	if n, err := strconv.ParseUint(count, 10, 64); err == nil {
		r.outcome.Rows += n - r.copied
		r.copied = 0
	}
}

// copyCell is what a recorded CopyData message shows: one line of text or CSV as it came, else hex.
func copyCell(body []byte) *string {
	text := strings.TrimSuffix(string(body), "\n")
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		text = fmt.Sprintf(`\x%x`, body)
	}
	return &text
}

// frame takes the first recorded message off: its type, its body and the rest.
func frame(data []byte) (typ byte, body, rest []byte, ok bool) {
	if len(data) < 5 {
		return 0, nil, nil, false
	}
	n := int64(binary.BigEndian.Uint32(data[1:5]))
	if n < 4 || n+1 > int64(len(data)) {
		return 0, nil, nil, false
	}
	return data[0], data[5 : 1+n], data[1+n:], true
}
