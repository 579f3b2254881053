package postgres

import (
	"errors"
	"strconv"
)

// ruleNode is a node of a rule as pg_rewrite.ev_action holds it: {KIND :field value …}. A list has the kind "" and its
// elements in list; an atom has its text alone. (PostgreSQL's nodes/outfuncs.c and read.c.)
type ruleNode struct {
	kind   string
	fields map[string]*ruleNode
	list   []*ruleNode
	atom   string
}

var errRuleTree = errors.New("the rule's tree is not one that is known")

// field is a field of a node; nil where there is none, or it is NULL.
func (n *ruleNode) field(name string) *ruleNode {
	if n == nil {
		return nil
	}
	f := n.fields[name]
	if f != nil && f.kind == "" && f.list == nil && f.atom == "<>" {
		return nil
	}
	return f
}

// number is a field that is a number.
func (n *ruleNode) number(name string) (int, bool) {
	f := n.field(name)
	if f == nil {
		return 0, false
	}
	i, err := strconv.ParseInt(f.atom, 10, 64)
	return int(i), err == nil
}

// atomOf is the text of a field that is an atom; "" where there is none.
func (n *ruleNode) atomOf(name string) string {
	if f := n.field(name); f != nil {
		return f.atom
	}
	return ""
}

func (n *ruleNode) elements() []*ruleNode {
	if n == nil {
		return nil
	}
	return n.list
}

// ruleParser reads the text of a tree. Tokens end at white space and brackets; a backslash makes the next byte part of one.
type ruleParser struct {
	text  string
	at    int
	depth int
}

func parseRule(text string) (*ruleNode, error) {
	p := &ruleParser{text: text}
	n, err := p.value()
	if err != nil {
		return nil, err
	}
	if p.token() != "" {
		return nil, errRuleTree
	}
	return n, nil
}

func (p *ruleParser) token() string {
	for p.at < len(p.text) && (p.text[p.at] == ' ' || p.text[p.at] == '\n' || p.text[p.at] == '\t') {
		p.at++
	}
	start := p.at
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\n', '\t':
			return p.text[start:p.at]
		case '(', ')', '{', '}':
			if p.at == start {
				p.at++
			}
			return p.text[start:p.at]
		case '\\':
			p.at++
		}
		p.at++
	}
	p.at = min(p.at, len(p.text))
	return p.text[start:p.at]
}

func (p *ruleParser) peek() string {
	at := p.at
	t := p.token()
	p.at = at
	return t
}

func (p *ruleParser) value() (*ruleNode, error) {
	if p.depth++; p.depth > 1000 {
		return nil, errRuleTree
	}
	defer func() { p.depth-- }()
	switch t := p.token(); t {
	case "", ")", "}":
		return nil, errRuleTree
	case "(":
		n := &ruleNode{list: []*ruleNode{}}
		for p.peek() != ")" {
			one, err := p.value()
			if err != nil {
				return nil, err
			}
			n.list = append(n.list, one)
		}
		p.token()
		return n, nil
	case "{":
		n := &ruleNode{kind: p.token(), fields: map[string]*ruleNode{}}
		for {
			name := p.token()
			if name == "}" {
				return n, nil
			}
			if len(name) < 2 || name[0] != ':' {
				return nil, errRuleTree
			}
			v, err := p.value()
			if err != nil {
				return nil, err
			}
			n.fields[name[1:]] = v
			if p.peek() == "[" { // the bytes of a constant
				for t := p.token(); t != "]"; t = p.token() {
					if t == "" {
						return nil, errRuleTree
					}
				}
			}
		}
	default:
		return &ruleNode{atom: t}, nil
	}
}
