package mask

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Bounds of what a document makes a masker keep.
const (
	maxDepth = 512
	maxValue = 64 << 10 // bytes of a masked value that are looked at; a longer one shows what redact does
	maxKey   = 6*maxName + 64
)

// ErrNotJSON is in the chain of every error about a document: it is not JSON (RFC 8259) as UTF-8, or nests too deep.
var ErrNotJSON = errors.New("not well-formed JSON")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrNotJSON, fmt.Sprintf(format, args...))
}

type state uint8

const (
	wantValue state = iota
	wantFirstItem
	wantFirstKey
	wantKey
	wantColon
	wantMore // a comma, or the end of the container
	inString
	inKey
	inNumber
	inWord
	ended
)

type frame struct {
	array bool
	node  *node
	next  int // index of the item
}

// Masker masks a document as it streams by: what it does not mask it gives back byte for byte. It keeps no more than
// one masked value of at most 64 KiB, and the way to where it is.
type Masker struct {
	plan *Plan
	many bool // documents may follow each other

	state state
	stack []frame
	node  *node // of the value that is expected or read
	skip  int   // the depth of the container that is left out; 0: none
	mute  bool  // what is read is not given back

	rule   *Rule // of the value that is kept
	kept   []byte
	keeps  bool
	over   bool // more than the bound came
	escape int  // 1 after a backslash, then 2 to 5 before the digits of \u
	runes  [utf8.UTFMax]byte
	rune   int // bytes of a character that is cut off
	number numeral
	word   string // what is left of true, false or null
	seen   bool   // a value began
}

// Masker begins a document; with many, documents may follow each other (JSON lines).
func (p *Plan) Masker(many bool) *Masker {
	return &Masker{plan: p, many: many, node: p.paths.nodes[0]}
}

// numeral is where in a number one is (RFC 8259 section 6).
type numeral uint8

const (
	afterMinus numeral = iota
	zero
	integer
	afterPoint
	fraction
	afterE
	afterSign
	exponent
)

func (n numeral) step(c byte) (numeral, bool) {
	digit := c >= '0' && c <= '9'
	switch n {
	case afterMinus:
		if c == '0' {
			return zero, true
		}
		return integer, digit
	case zero, integer:
		switch {
		case digit && n == integer:
			return integer, true
		case c == '.':
			return afterPoint, true
		case c == 'e' || c == 'E':
			return afterE, true
		}
		return n, false
	case afterPoint, fraction:
		if digit {
			return fraction, true
		}
		return afterE, n == fraction && (c == 'e' || c == 'E')
	case afterE:
		if c == '+' || c == '-' {
			return afterSign, true
		}
	}
	return exponent, digit
}

func (n numeral) complete() bool {
	return n == zero || n == integer || n == fraction || n == exponent
}

// plain are the bytes of a string that mean themselves.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 0x80; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

func space(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// Write appends to dst what is shown of the next part of the document. After an error nothing more may be given out.
func (m *Masker) Write(dst, p []byte) ([]byte, error) {
	from := 0 // what passes as it is begins here, unless mute
	for i := 0; i < len(p); {
		c := p[i]
		switch m.state {
		case inString, inKey:
			end, done, err := m.text(p, i)
			if err != nil {
				return dst, err
			}
			if m.keeps {
				m.keep(p[i:end])
			}
			if i = end; !done {
				continue
			}
			i++ // the quote
			if m.state == inKey {
				m.key()
				continue
			}
			dst, from = m.valueEnded(dst, from, i)
		case inNumber:
			begin := i
			ok := true
			for i < len(p) {
				var next numeral
				if next, ok = m.number.step(p[i]); !ok {
					break
				}
				m.number = next
				i++
			}
			if m.keeps {
				m.keep(p[begin:i])
			}
			if ok {
				continue
			}
			if !m.number.complete() {
				return dst, malformed("a number is cut off")
			}
			dst, from = m.valueEnded(dst, from, i)
		case inWord:
			if c != m.word[0] {
				return dst, malformed("a word that is not true, false or null")
			}
			if m.keeps {
				m.keep(p[i : i+1])
			}
			i++
			if m.word = m.word[1:]; m.word == "" {
				dst, from = m.valueEnded(dst, from, i)
			}
		default:
			if space(c) {
				i++
				continue
			}
			var err error
			if dst, from, i, err = m.structure(dst, p, from, i); err != nil {
				return dst, err
			}
		}
	}
	if !m.mute {
		dst = append(dst, p[from:]...)
	}
	return dst, nil
}

// structure takes one byte between values.
func (m *Masker) structure(dst, p []byte, from, i int) ([]byte, int, int, error) {
	c := p[i]
	switch m.state {
	case ended:
		if !m.many {
			return dst, from, i, malformed("something follows the document")
		}
		m.node = m.plan.paths.nodes[0]
	case wantFirstItem:
		if c == ']' {
			return m.closed(dst, from, i)
		}
		m.item()
	case wantFirstKey, wantKey:
		switch {
		case c == '}' && m.state == wantFirstKey:
			return m.closed(dst, from, i)
		case c != '"':
			return dst, from, i, malformed("a key is missing")
		}
		m.state, m.over, m.kept = inKey, false, m.kept[:0]
		m.keeps = m.skip == 0 && m.top().node.names != nil
		end := i + 1
		for end < len(p) && plain[p[end]] {
			end++
		}
		if end < len(p) && p[end] == '"' { // the whole key is here, and means itself
			m.state = wantColon
			m.named(p[i+1 : end])
			return dst, from, end + 1, nil
		}
		return dst, from, i + 1, nil
	case wantColon:
		if c != ':' {
			return dst, from, i, malformed("a colon is missing")
		}
		m.state = wantValue
		return dst, from, i + 1, nil
	case wantMore:
		t := m.top()
		switch {
		case c == ',' && t.array:
			m.item()
			m.state = wantValue
		case c == ',':
			m.state = wantKey
		case c == ']' && t.array, c == '}' && !t.array:
			return m.closed(dst, from, i)
		default:
			return dst, from, i, malformed("a comma or the end of a list or an object is missing")
		}
		return dst, from, i + 1, nil
	}
	return m.begin(dst, p, from, i)
}

func (m *Masker) top() *frame { return &m.stack[len(m.stack)-1] }

// item moves on to the next item of a list.
func (m *Masker) item() {
	t := m.top()
	m.node = t.node.item
	if n := t.node.index[t.next]; n != nil {
		m.node = n
	}
	t.next++
}

// begin begins a value.
func (m *Masker) begin(dst, p []byte, from, i int) ([]byte, int, int, error) {
	c := p[i]
	m.seen = true
	var rule *Rule
	if m.skip == 0 {
		rule = m.plan.rules[m.node.id]
	}
	if rule != nil {
		dst = append(dst, p[from:i]...)
		m.mute = true
	}
	m.rule, m.kept, m.keeps, m.over = rule, m.kept[:0], rule != nil, false
	switch {
	case c == '"':
		m.state = inString
		m.keeps = rule != nil
	case c == '{' || c == '[':
		if len(m.stack) >= maxDepth {
			return dst, from, i, malformed("it nests deeper than %d", maxDepth)
		}
		m.stack = append(m.stack, frame{array: c == '[', node: m.node})
		m.keeps = false
		if rule != nil {
			m.skip = len(m.stack)
		}
		m.state = wantFirstKey
		if c == '[' {
			m.state = wantFirstItem
		}
	case c == '-' || c >= '0' && c <= '9':
		m.state, m.number = inNumber, afterMinus
		if c != '-' {
			m.number, _ = afterMinus.step(c)
		}
		if m.keeps {
			m.keep(p[i : i+1])
		}
	case c == 't' || c == 'f' || c == 'n':
		m.state, m.word = inWord, map[byte]string{'t': "rue", 'f': "alse", 'n': "ull"}[c]
	default:
		return dst, from, i, malformed("a value is missing")
	}
	if rule != nil && m.keeps && m.kept == nil {
		m.kept = make([]byte, 0, 64)
	}
	if m.state == inString && m.keeps {
		m.kept = append(m.kept, '"')
	}
	return dst, from, i + 1, nil
}

// closed ends a list or an object.
func (m *Masker) closed(dst []byte, from, i int) ([]byte, int, int, error) {
	depth := len(m.stack)
	m.stack = m.stack[:depth-1]
	if m.skip == depth {
		m.skip, m.mute = 0, false
		dst, from = append(dst, "null"...), i+1
	}
	m.after()
	return dst, from, i + 1, nil
}

// after is the state behind a value.
func (m *Masker) after() {
	m.state = wantMore
	if len(m.stack) == 0 {
		m.state = ended
	}
}

// valueEnded gives out what is shown of a text, a number or a word that ended before i.
func (m *Masker) valueEnded(dst []byte, from, i int) ([]byte, int) {
	m.after()
	if m.rule == nil {
		return dst, from
	}
	dst = m.masked(dst)
	m.rule, m.keeps, m.mute = nil, false, false
	return dst, i
}

// masked appends what is shown of the value that was kept.
func (m *Masker) masked(dst []byte) []byte {
	if len(m.kept) == 0 || m.kept[0] != '"' {
		if len(m.kept) > 0 && (m.kept[0] == '-' || m.kept[0] >= '0' && m.kept[0] <= '9') && !m.over {
			if s, ok := m.rule.Number(string(m.kept)); ok {
				return append(dst, s...)
			}
		}
		return append(dst, "null"...)
	}
	if m.over {
		long := Rule{Exposure: m.rule.Exposure}
		if s, ok := long.Text(""); !ok || s != Redacted {
			return append(dst, "null"...)
		}
		return append(dst, `"`+Redacted+`"`...)
	}
	s, ok := m.rule.Text(unquote(m.kept[1:]))
	if !ok {
		return append(dst, "null"...)
	}
	return appendText(dst, s)
}

// appendText appends a text as JSON writes it.
func appendText(dst []byte, s string) []byte {
	for i := range len(s) {
		if !plain[s[i]] {
			b, err := json.Marshal(s)
			if err != nil {
				return append(dst, "null"...)
			}
			return append(dst, b...)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}

// key finds where the value of a key is.
func (m *Masker) key() {
	m.state = wantColon
	if m.skip > 0 {
		return
	}
	t := m.top()
	m.node = t.node.other
	if m.keeps && !m.over {
		n, ok := t.node.names[string(m.kept)]
		if bytes.IndexByte(m.kept, '\\') >= 0 {
			n, ok = t.node.names[unquote(m.kept)]
		}
		if ok {
			m.node = n
		}
	}
	m.keeps = false
}

// named finds where the value of a key is that means itself.
func (m *Masker) named(key []byte) {
	if m.skip > 0 {
		return
	}
	t := m.top()
	m.node = t.node.other
	if m.keeps {
		if n, ok := t.node.names[string(key)]; ok {
			m.node = n
		}
	}
	m.keeps = false
}

// unquote is what the inside of a well-formed string means.
func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw)
	}
	var s string
	if json.Unmarshal(append(append([]byte{'"'}, raw...), '"'), &s) != nil {
		return ""
	}
	return s
}

// keep keeps a part of a value or a key, within bounds.
func (m *Masker) keep(b []byte) {
	limit := maxValue
	if m.state == inKey {
		limit = maxKey
	}
	if m.over || len(m.kept)+len(b) > limit {
		m.over = true
		return
	}
	m.kept = append(m.kept, b...)
}

// text goes on through a string to where it ends (done, at the quote) or the part does.
func (m *Masker) text(p []byte, i int) (end int, done bool, err error) {
	for i < len(p) {
		c := p[i]
		switch {
		case m.rune > 0:
			m.runes[m.rune] = c
			m.rune++
			if i++; !utf8.FullRune(m.runes[:m.rune]) {
				continue
			}
			if r, size := utf8.DecodeRune(m.runes[:m.rune]); r == utf8.RuneError || size != m.rune {
				return i, false, malformed("a text is not UTF-8")
			}
			m.rune = 0
		case m.escape == 1:
			switch c {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
				m.escape = 0
			case 'u':
				m.escape = 2
			default:
				return i, false, malformed("an escape that there is not")
			}
			i++
		case m.escape > 1:
			if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
				return i, false, malformed("an escape that there is not")
			}
			if m.escape++; m.escape == 6 {
				m.escape = 0
			}
			i++
		case plain[c]:
			i++
			for i < len(p) && plain[p[i]] {
				i++
			}
		case c == '"':
			return i, true, nil
		case c == '\\':
			m.escape = 1
			i++
		case c < 0x20 || c == 0x7f && !plain[c]:
			return i, false, malformed("a control character in a text")
		default:
			if !utf8.FullRune(p[i:]) {
				m.rune = copy(m.runes[:], p[i:])
				return len(p), false, nil
			}
			r, size := utf8.DecodeRune(p[i:])
			if r == utf8.RuneError && size < 2 {
				return i, false, malformed("a text is not UTF-8")
			}
			i += size
		}
	}
	return i, false, nil
}

// End says whether the document is complete, and appends what is left to show of it.
func (m *Masker) End(dst []byte) ([]byte, error) {
	if m.state == inNumber && len(m.stack) == 0 && m.number.complete() {
		if m.rule != nil {
			dst = m.masked(dst)
		}
		m.rule, m.mute, m.state = nil, false, ended
	}
	if m.state != ended && (m.seen || !m.many) {
		return dst, malformed("it is cut off")
	}
	return dst, nil
}

// Fresh says whether nothing of a document was read yet.
func (m *Masker) Fresh() bool { return !m.seen }
