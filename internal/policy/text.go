package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a policy's text. What is deeper or longer could exhaust the stack of whoever reads it as a tree.
const (
	maxPolicy = 64 << 10 // bytes of one policy
	maxDepth  = 100      // brackets in brackets, and signs in a row that each hold the next one: !!!true
)

// token is a word, a string with its quotes, or a sign of a policy's text.
type token struct {
	from, to int // bytes
}

// tokens takes a Cedar text apart: comments and white space are left out, `Group::"a"` is one token, and so is `@id`.
func tokens(text string) []token {
	var out []token
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			i++
		case strings.HasPrefix(text[i:], "//"):
			end := strings.IndexByte(text[i:], '\n')
			if end < 0 {
				return out
			}
			i += end
		default:
			from := i
			i = next(text, i)
			out = append(out, token{from, i})
		}
	}
	return out
}

// next is the end of the token that begins at i.
func next(text string, i int) int {
	switch {
	case text[i] == '"':
		return quoted(text, i)
	case text[i] == '@' && i+1 < len(text) && letter(text[i+1]), letter(text[i]):
		for i++; i < len(text); {
			switch {
			case letter(text[i]) || text[i] >= '0' && text[i] <= '9':
				i++
			case strings.HasPrefix(text[i:], "::") && i+2 < len(text) && letter(text[i+2]):
				i += 3
			case strings.HasPrefix(text[i:], `::"`):
				return quoted(text, i+2)
			default:
				return i
			}
		}
		return i
	}
	_, size := utf8.DecodeRuneInString(text[i:])
	return i + size
}

// quoted is the end of the string that begins at i.
func quoted(text string, i int) int {
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// unquote reads a string of Cedar, with its quotes.
func unquote(s string) (string, error) {
	bad := fmt.Errorf("%s is not a string", s)
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return "", bad
	}
	var b strings.Builder
	for s = s[1 : len(s)-1]; s != ""; {
		plain, rest, escaped := strings.Cut(s, `\`)
		b.WriteString(plain)
		if !escaped {
			break
		}
		if rest == "" {
			return "", bad
		}
		kind := rest[0]
		s = rest[1:]
		switch kind {
		case 'u', 'x':
			digits := ""
			if kind == 'x' {
				digits, s = s[:min(2, len(s))], s[min(2, len(s)):]
			} else {
				inner, after, closed := strings.Cut(strings.TrimPrefix(s, "{"), "}")
				if !closed || !strings.HasPrefix(s, "{") {
					return "", bad
				}
				if strings.HasPrefix(inner, "_") {
					return "", bad
				}
				digits, s = strings.ReplaceAll(inner, "_", ""), after // Cedar lets them part digits, as Rust does
			}
			n, err := strconv.ParseInt(digits, 16, 32)
			if err != nil || n > utf8.MaxRune {
				return "", bad
			}
			b.WriteRune(rune(n))
		default:
			i := strings.IndexByte(`nrt0\'"*`, kind)
			if i < 0 {
				return "", bad
			}
			b.WriteByte("\n\r\t\x00\\'\"*"[i])
		}
	}
	return b.String(), nil
}

func letter(c byte) bool { return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// text is the text of policies, taken apart once.
type text struct {
	name   string
	text   string
	tokens []token
	lines  []int // where each begins
	plain  bool  // all of it is ASCII: a byte is a character
}

func newText(s Source) *text {
	t := &text{name: s.Name, text: string(s.Text), lines: []int{0}, plain: true}
	t.tokens = tokens(t.text)
	for i := range len(t.text) {
		switch c := t.text[i]; {
		case c == '\n':
			t.lines = append(t.lines, i+1)
		case c >= utf8.RuneSelf:
			t.plain = false
		}
	}
	return t
}

// place is a line and a column, both from 1, of a byte; a column is a character.
func (t *text) place(at int) (line, column int) {
	i, found := slices.BinarySearch(t.lines, at)
	if !found {
		i--
	}
	if t.plain {
		return i + 1, at - t.lines[i] + 1
	}
	return i + 1, utf8.RuneCountInString(t.text[t.lines[i]:at]) + 1
}

// bounded says where a text is too deep or a policy of it too long to be read as a tree.
func (t *text) bounded() (Problem, bool) {
	depth, signs, start := 0, 0, -1
	wrong := func(at int, format string, args ...any) (Problem, bool) {
		line, column := t.place(at)
		return Problem{Source: t.name, Line: line, Column: column, Code: "too-large", Message: fmt.Sprintf(format, args...)}, false
	}
	for _, k := range t.tokens {
		if start < 0 {
			start = k.from
		}
		if k.to-start > maxPolicy {
			return wrong(start, "the policy is longer than %d KiB: make several of it", maxPolicy>>10)
		}
		word := t.text[k.from:k.to]
		if word != "!" && word != "-" {
			signs = 0
		} else if signs++; signs > maxDepth {
			return wrong(k.from, "more than %d signs stand in a row here: take them out", maxDepth)
		}
		switch word {
		case "(", "[", "{":
			if depth++; depth > maxDepth {
				return wrong(k.from, "more than %d brackets are in each other here: write it flatter", maxDepth)
			}
		case ")", "]", "}":
			depth = max(depth-1, 0)
		case ";":
			if depth == 0 {
				start = -1
			}
		}
	}
	return Problem{}, true
}

// hidden says where a text has what can make it look other than it is read: what moves the cursor, ends a line for some
// programs only, or turns the direction of writing. A comment can end, or begin, where it does not seem to.
func (t *text) hidden() (Problem, bool) {
	for i, r := range t.text {
		why := ""
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(t.text[i:], "\uFFFD"):
			why = "a byte that is not UTF-8"
		case r == '\n', r == '\t', r == '\r' && strings.HasPrefix(t.text[i+1:], "\n"), r >= ' ' && r < 0x7f:
			continue
		case r == '\uFEFF' && i == 0:
			why = "a byte order mark"
		case unicode.IsControl(r), r == '\u2028', r == '\u2029', unicode.Is(unicode.Bidi_Control, r), r == '\uFEFF':
			why = fmt.Sprintf("a character that does not show, U+%04X", r)
		default:
			continue
		}
		line, column := t.place(i)
		p := Problem{Source: t.name, Line: line, Column: column, Code: "hidden", Message: why + " can make the text look other than it is read",
			Remedy: "take it out, or write it in a string as " + fmt.Sprintf(`\u{%x}`, r)}
		if i == 0 && r == '\uFEFF' || r == utf8.RuneError {
			p.Remedy = "save the file as UTF-8, without a mark at its beginning"
		}
		return p, true
	}
	return Problem{}, false
}

// span is the part of a text that a policy takes: from its first annotation to the semicolon.
type span struct {
	text   *text
	tokens []token
}

// span is the policy that begins at a byte.
func (t *text) span(offset int) span {
	i, _ := slices.BinarySearchFunc(t.tokens, offset, func(k token, at int) int { return k.from - at })
	depth := 0
	for end := i; end < len(t.tokens); end++ {
		switch t.text[t.tokens[end].from:t.tokens[end].to] {
		case "(", "[", "{":
			depth++
		case ")", "]", "}":
			depth--
		case ";":
			if depth <= 0 {
				return span{t, t.tokens[i : end+1]}
			}
		}
	}
	return span{t, t.tokens[i:]}
}

// generated says that nobody wrote it.
func (s span) generated() bool { return len(s.tokens) == 0 }

// words are its tokens as they are written.
func (s span) words() []string {
	out := make([]string, len(s.tokens))
	for i, t := range s.tokens {
		out[i] = s.text.text[t.from:t.to]
	}
	return out
}

// at is a problem where the first of some words stands in the span; where none does, at its beginning.
func (s span) at(words []string, p Problem) Problem {
	p.Source = s.text.name
	if s.generated() {
		return p
	}
	if len(words) > 0 {
		all := s.words()
		for _, w := range words {
			if i := slices.Index(all, w); i >= 0 {
				return s.on(i, p)
			}
		}
	}
	p.Line, p.Column = s.text.place(s.tokens[0].from)
	p.EndLine, p.EndColumn = s.text.place(s.tokens[len(s.tokens)-1].to)
	return p
}

// on is a problem with one of its tokens.
func (s span) on(i int, p Problem) Problem {
	p.Source = s.text.name
	p.Line, p.Column = s.text.place(s.tokens[i].from)
	p.EndLine, p.EndColumn = s.text.place(s.tokens[i].to)
	return p
}
