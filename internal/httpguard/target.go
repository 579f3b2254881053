// Package httpguard understands what an HTTP request asks for: its target, normalised once, and the path template
// that it fits.
//
// It is pure. What two servers could read in two ways is an error, so that what was decided is what the server
// behind the gateway sees.
package httpguard

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Bounds of a request target.
const (
	maxTarget     = 8 << 10 // bytes
	maxSegments   = 64
	maxParameters = 128
)

// Target is a request target that means one thing.
type Target struct {
	// Segments are the decoded parts of the path. The last one is empty where the path ends in a slash.
	Segments []string
	Query    []Parameter
}

// Parameter is one parameter of a query, decoded.
type Parameter struct{ Name, Value string }

// ParseTarget reads the target of a request line in origin form (RFC 9112 section 3.2.1), as it was sent. Its error
// says what about it could be read in more than one way.
func ParseTarget(raw string) (Target, error) {
	if len(raw) > maxTarget {
		return Target{}, fmt.Errorf("the request target has more than %d bytes", maxTarget)
	}
	if !strings.HasPrefix(raw, "/") {
		return Target{}, errors.New("the request target is not a path: the absolute form, CONNECT and * are not taken")
	}
	path, query, has := strings.Cut(raw, "?")
	t := Target{}
	for part := range strings.SplitSeq(path[1:], "/") {
		s, err := segment(part)
		if err != nil {
			return Target{}, err
		}
		if t.Segments = append(t.Segments, s); len(t.Segments) > maxSegments {
			return Target{}, fmt.Errorf("the path has more than %d segments", maxSegments)
		}
	}
	for i, s := range t.Segments {
		if s == "" && i < len(t.Segments)-1 {
			return Target{}, errors.New("the path has an empty segment (//)")
		}
	}
	if !has || query == "" {
		return t, nil
	}
	var err error
	t.Query, err = parseQuery(query)
	return t, err
}

// segment decodes one part of a path, once.
func segment(raw string) (string, error) {
	for i := range len(raw) {
		if c := raw[i]; !pathByte(c) && c != '%' {
			return "", fmt.Errorf("the path has the character %q, which servers read differently", rune(c))
		}
	}
	s, ok := unescape(raw, false)
	if !ok {
		return "", errors.New("the path has a broken percent-encoding")
	}
	if err := decoded("path", s, `/\;%`); err != nil {
		return "", err
	}
	if strings.Trim(s, ". ") == "" && s != "" || strings.HasSuffix(s, ".") || strings.HasSuffix(s, " ") {
		return "", errors.New("the path has a segment of dots, or one that ends in a dot or a space")
	}
	return s, nil
}

// pathByte says whether a byte stands for itself in a path (RFC 3986, pchar), without what parameters begin with.
func pathByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~!$&'()*+,=:@", c) >= 0
}

// decoded refuses what a second decoding, or another one, would read as something else.
func decoded(where, s, not string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("the %s is not UTF-8", where)
	}
	for _, r := range s {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0xff00 && r <= 0xffef || r == 0x2215 || r == 0x2044 || r == 0xfffd {
			return fmt.Errorf("the %s has a character that servers read differently (%U)", where, r)
		}
		if r < 0x80 && strings.IndexByte(not, byte(r)) >= 0 {
			return fmt.Errorf("the %s has an encoded %q, which servers read differently", where, r)
		}
	}
	return nil
}

// parseQuery reads a query as forms write it.
func parseQuery(raw string) ([]Parameter, error) {
	for i := range len(raw) {
		if c := raw[i]; !pathByte(c) && strings.IndexByte("%/?[]", c) < 0 {
			return nil, fmt.Errorf("the query has the character %q, which servers read differently", rune(c))
		}
	}
	var out []Parameter
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		n, ok1 := unescape(name, true)
		v, ok2 := unescape(value, true)
		switch {
		case !ok1 || !ok2:
			return nil, errors.New("the query has a broken percent-encoding")
		case n == "":
			return nil, errors.New("the query has a parameter without a name")
		}
		if err := decoded("query", n, "%;&=#"); err != nil {
			return nil, err
		}
		if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
			return nil, errors.New("the query is not UTF-8")
		}
		if strings.EqualFold(n, "_method") {
			return nil, errors.New("the query has the parameter _method, which some servers take for another method")
		}
		if out = append(out, Parameter{n, v}); len(out) > maxParameters {
			return nil, fmt.Errorf("the query has more than %d parameters", maxParameters)
		}
	}
	return out, nil
}

// Path is the path as it is sent on: each segment encoded in the one way.
func (t Target) Path() string {
	var b strings.Builder
	for _, s := range t.Segments {
		b.WriteByte('/')
		b.WriteString(escape(s))
	}
	return b.String()
}

// unescape decodes percent-encodings, once; ok is false where one is broken. In a query + is a space.
func unescape(s string, plus bool) (out string, ok bool) {
	if !strings.Contains(s, "%") && !plus {
		return s, true
	}
	digit := func(c byte) byte { return byte(strings.IndexByte("0123456789abcdef", c|0x20)) }
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+' && plus:
			b.WriteByte(' ')
		case c != '%':
			b.WriteByte(c)
		case i+2 >= len(s) || !hexDigit(s[i+1]) || !hexDigit(s[i+2]):
			return "", false
		default:
			b.WriteByte(digit(s[i+1])<<4 | digit(s[i+2]))
			i += 2
		}
	}
	return b.String(), true
}

func hexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// queryEscape encodes a part of a query as forms do: a space is a +.
func queryEscape(s string) string { return encode(s, "-._~", true) }

// escape encodes a segment: all but the unreserved characters and a few that mean themselves there.
func escape(s string) string { return encode(s, "-._~@:,+$", false) }

func encode(s, plain string, plus bool) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(plain, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		if c == ' ' && plus {
			b.WriteByte('+')
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

// RawQuery is the query as it is sent on.
func (t Target) RawQuery() string {
	var b strings.Builder
	for i, p := range t.Query {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(queryEscape(p.Name))
		b.WriteByte('=')
		b.WriteString(queryEscape(p.Value))
	}
	return b.String()
}

// String is the target as it is sent on.
func (t Target) String() string {
	if len(t.Query) == 0 {
		return t.Path()
	}
	return t.Path() + "?" + t.RawQuery()
}
