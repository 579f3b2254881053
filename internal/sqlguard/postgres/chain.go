package postgres

import "strings"

// maxChain bounds the tokens that can follow each other in one chain (a+b+c, a UNION b, a JOIN b, a::t::t).
const maxChain = 8000

// maxTokens bounds the tokens of a text: each takes about 1 kB of memory while it is understood.
const maxTokens = 1_000_000

// measure says whether a text may hold a longer chain, and how many tokens it has; what is found first ends it.
// The grammar makes a tree of a chain that is as deep as the chain is long, and the parser walks it on a stack that
// cannot grow: without this bound a statement of 100 kB ends the process. It overestimates, and allocates little.
//
// Only a comma ends a chain: what it joins is a list in the tree. What brackets enclose counts as a part of
// the chain around it, and the tokens of joins and set operations, which go on over commas, count for the whole
// level. (AND and OR make lists too, but the AND of BETWEEN does not, and CASE nests without brackets.)
func measure(text string) (chain bool, tokens int) {
	if len(text) <= maxChain {
		return false, 0
	}
	c := chains{open: []run{{}}}
	for i := 0; i < len(text) && tokens <= maxTokens; {
		n := c.token(text[i:])
		if c.total > maxChain {
			return true, tokens
		}
		if text[i] > ' ' {
			tokens++
		}
		i += n
	}
	return false, tokens
}

// run is what stands at one level of brackets.
type run struct {
	bracket byte // '(' or '['
	tokens  int  // of the chain that is going on
	joins   int  // tokens for joins and set operations, of the whole level
	most    int  // of the chains that ended
}

func (r *run) length() int { return max(r.most, r.tokens) + r.joins }

type chains struct {
	open  []run
	total int // over the open levels
}

func (c *chains) top() *run { return &c.open[len(c.open)-1] }

func (c *chains) add(n int) {
	c.top().tokens += n
	c.total += n
}

// end ends the chain that is going on, not the joins.
func (c *chains) end() {
	r := c.top()
	r.most = max(r.most, r.tokens)
	c.total -= r.tokens
	r.tokens = 0
}

func (c *chains) push(bracket byte) {
	c.add(1)
	c.open = append(c.open, run{bracket: bracket})
}

// pop closes levels down to one of the bracket; where there is none it does nothing.
func (c *chains) pop(bracket byte) {
	at := len(c.open) - 1
	for at > 0 && c.open[at].bracket != bracket {
		at--
	}
	for at > 0 && len(c.open) > at {
		r := *c.top()
		c.total -= r.tokens + r.joins
		c.open = c.open[:len(c.open)-1]
		c.add(r.length())
	}
}

// token takes one token off the text and says how long it is (PostgreSQL documentation, 4.1).
func (c *chains) token(s string) int {
	switch b := s[0]; {
	case b == ' ' || b >= '\t' && b <= '\r':
		return 1
	case strings.HasPrefix(s, "--"):
		return upTo(s, strings.IndexAny(s, "\n\r"), 0)
	case strings.HasPrefix(s, "/*"):
		return comment(s)
	case b == '\'':
		c.add(1)
		return quotedLength(s, '\'', false)
	case b == '"':
		c.add(1)
		return quotedLength(s, '"', false)
	case b == '$':
		c.add(1)
		return dollar(s)
	case b == '(' || b == '[':
		c.push(b)
	case b == ')':
		c.pop('(')
	case b == ']':
		c.pop('[')
	case b == ',':
		c.end()
	case b == ';':
		c.open = append(c.open[:0], run{})
		c.total = 0
	case b >= '0' && b <= '9':
		c.add(1)
		return span(s, func(b byte) bool { return letter(b) || b >= '0' && b <= '9' || b == '.' })
	case letter(b):
		return c.word(s)
	default:
		c.add(1)
	}
	return 1
}

func (c *chains) word(s string) int {
	n := span(s, func(b byte) bool { return letter(b) || b >= '0' && b <= '9' || b == '$' })
	if n == 1 && len(s) > 1 && s[1] == '\'' && (s[0] == 'e' || s[0] == 'E') {
		c.add(1)
		return 1 + escaped(s[1:])
	}
	if n > len("intersect") {
		c.add(1)
		return n
	}
	switch strings.ToLower(s[:n]) {
	case "join", "union", "intersect", "except":
		c.top().joins += 4
		c.total += 4
	default:
		c.add(1)
	}
	return n
}

func letter(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == '_' || b >= 0x80
}

func span(s string, in func(byte) bool) int {
	n := 1
	for n < len(s) && in(s[n]) {
		n++
	}
	return n
}

// upTo is a length: of all where the end was not found.
func upTo(s string, end, more int) int {
	if end < 0 {
		return len(s)
	}
	return end + more
}

// quotedLength is the length of a string or name in quotes; a doubled quote, and with escapes one after a
// backslash, does not end it.
func quotedLength(s string, quote byte, escapes bool) int {
	for i := 1; i < len(s); i++ {
		switch {
		case escapes && s[i] == '\\':
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return i + 1
		}
	}
	return len(s)
}

// escaped is the length of a string with escapes, and of those that continue it: strings on later lines with
// nothing but white space and line comments between have escapes too.
func escaped(s string) int {
	end := quotedLength(s, '\'', true)
	next, line := end, false
	for next < len(s) {
		switch {
		case strings.HasPrefix(s[next:], "--"):
			next += upTo(s[next:], strings.IndexAny(s[next:], "\n\r"), 0)
		case s[next] == ' ' || s[next] >= '\t' && s[next] <= '\r':
			line = line || s[next] == '\n' || s[next] == '\r'
			next++
		case s[next] == '\'' && line:
			end = next + quotedLength(s[next:], '\'', true)
			next, line = end, false
		default:
			return end
		}
	}
	return end
}

// comment is the length of a block comment; they nest.
func comment(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch {
		case strings.HasPrefix(s[i:], "/*"):
			depth++
			i++
		case strings.HasPrefix(s[i:], "*/"):
			depth--
			i++
			if depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

// dollar is the length of a string in dollar quotes, or of a dollar sign before a parameter's number.
func dollar(s string) int {
	n := span(s, func(b byte) bool { return letter(b) || b >= '0' && b <= '9' })
	if n >= len(s) || s[n] != '$' || n > 1 && s[1] >= '0' && s[1] <= '9' {
		return 1
	}
	tag := s[:n+1]
	return upTo(s, strings.Index(s[n+1:], tag), 2*len(tag))
}
