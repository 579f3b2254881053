package httpguard

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Template is the shape of paths: /customers/{id}. A variable is one whole segment; the last one may be {name...},
// which is one segment or more.
type Template struct {
	text  string
	parts []part
}

type part struct {
	literal  string // where variable is empty
	variable string
	rest     bool
}

var variable = regexp.MustCompile(`^\{([A-Za-z_][A-Za-z0-9_.-]*?)(\.\.\.)?\}$`)

// ParseTemplate reads a template; its literal parts are written decoded.
func ParseTemplate(text string) (*Template, error) {
	if !strings.HasPrefix(text, "/") {
		return nil, errors.New("a path begins with /")
	}
	t := &Template{text: text}
	all := strings.Split(text[1:], "/")
	seen := map[string]bool{}
	for i, s := range all {
		m := variable.FindStringSubmatch(s)
		switch {
		case m != nil && m[2] != "" && i < len(all)-1:
			return nil, fmt.Errorf("{%s...} is the last segment", m[1])
		case m != nil && seen[m[1]]:
			return nil, fmt.Errorf("the variable {%s} is there twice", m[1])
		case m != nil:
			seen[m[1]] = true
			t.parts = append(t.parts, part{variable: m[1], rest: m[2] != ""})
			continue
		case strings.ContainsAny(s, "{}%?#*"):
			return nil, fmt.Errorf("%q is not understood: a segment is a word, {name}, or at the end {name...}", s)
		case s == "" && i < len(all)-1:
			return nil, errors.New("it has an empty segment (//)")
		}
		if _, err := segment(escape(s)); err != nil {
			return nil, fmt.Errorf("no request could have it: %w", err)
		}
		t.parts = append(t.parts, part{literal: s})
	}
	return t, nil
}

func (t *Template) String() string { return t.text }

// Variables are the names of the template's variables, in order.
func (t *Template) Variables() []string {
	var out []string
	for _, p := range t.parts {
		if p.variable != "" {
			out = append(out, p.variable)
		}
	}
	return out
}

// fits says whether a path has the template's shape.
func (t *Template) fits(segments []string) bool {
	for i, p := range t.parts {
		switch {
		case i >= len(segments):
			return false
		case p.rest:
			return segments[len(segments)-1] != ""
		case p.variable != "" && segments[i] == "", p.variable == "" && p.literal != segments[i]:
			return false
		}
	}
	return len(segments) == len(t.parts)
}

// Find is the position of the template that a path fits best, -1 where it fits none: of two that fit, the one whose
// first difference is a word rather than a variable, or a variable rather than a rest.
func Find(templates []*Template, segments []string) int {
	best := -1
	for i, t := range templates {
		if t.fits(segments) && (best < 0 || t.closer(templates[best])) {
			best = i
		}
	}
	return best
}

func (t *Template) closer(than *Template) bool {
	for i := range min(len(t.parts), len(than.parts)) {
		if a, b := t.parts[i].rank(), than.parts[i].rank(); a != b {
			return a < b
		}
	}
	return false
}

func (p part) rank() int {
	switch {
	case p.rest:
		return 2
	case p.variable != "":
		return 1
	}
	return 0
}

// Ambiguous says whether two templates fit the same paths.
func (t *Template) Ambiguous(u *Template) bool {
	if len(t.parts) != len(u.parts) {
		return false
	}
	for i := range t.parts {
		a, b := t.parts[i], u.parts[i]
		if a.rank() != b.rank() || a.literal != b.literal {
			return false
		}
	}
	return true
}
