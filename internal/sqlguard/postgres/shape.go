package postgres

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
)

// Bounds of a shape; longer texts and literals have none.
const (
	maxShape   = 8 << 10
	maxLiteral = 256
	maxHoles   = 64
)

// Shape is a text with its literals taken out.
type Shape struct {
	// Key is equal for two texts only if they are the same token for token but for plain integers (at most nine
	// digits, which makes them all of type int4) and plain strings (printable ASCII without quotes and
	// backslashes), and the same byte for byte between these.
	Key      string
	literals []literal
}

// literal is one literal as it stands in the text: with its quotes.
type literal struct {
	at   int
	text string
}

// ShapeOf takes the literals out of a text; ok is false where it holds anything whose tokens cannot be told
// without the server's own scanner: comments, dollar quotes, escape strings, bytes outside ASCII. It says nothing
// about whether the literals matter: Guard.Template does.
func ShapeOf(text string) (shape Shape, ok bool) {
	if len(text) > maxShape {
		return Shape{}, false
	}
	key := make([]byte, 0, len(text))
	afterString := false
	for i := 0; i < len(text); {
		c, end := text[i], i+1
		switch {
		case c == '\'':
			for end < len(text) && plain(text[end]) {
				end++
			}
			if end >= len(text) || text[end] != '\'' || afterString || i > 0 && (inName(text[i-1]) || text[i-1] == '&') {
				return Shape{}, false
			}
			end++
			if end < len(text) && text[end] == '\'' || end-i > maxLiteral || len(shape.literals) == maxHoles {
				return Shape{}, false
			}
			key = append(key, 0, 's')
			shape.literals = append(shape.literals, literal{i, text[i:end]})
			i, afterString = end, true
			continue
		case c == '"':
			for end < len(text) && text[end] != '"' && text[end] >= ' ' && text[end] < 0x7f {
				end++
			}
			if end >= len(text) || text[end] != '"' || i > 0 && text[i-1] == '&' {
				return Shape{}, false
			}
			end++
		case digit(c):
			for end < len(text) && (inName(text[end]) || text[end] == '.') {
				end++
			}
			if wholeNumber(text[i:end]) && (i == 0 || text[i-1] != '.') {
				if len(shape.literals) == maxHoles {
					return Shape{}, false
				}
				key = append(key, 0, 'i')
				shape.literals = append(shape.literals, literal{i, text[i:end]})
				i, afterString = end, false
				continue
			}
			if last := text[end-1]; (last == 'e' || last == 'E') && end < len(text) && (text[end] == '-' || text[end] == '+') {
				return Shape{}, false // a number may go on behind the sign
			}
		case c == '$':
			if end >= len(text) || !digit(text[end]) {
				return Shape{}, false
			}
			for end < len(text) && inName(text[end]) {
				end++
			}
		case inName(c):
			for end < len(text) && inName(text[end]) {
				end++
			}
		case c == '-' && end < len(text) && text[end] == '-', c == '/' && end < len(text) && text[end] == '*', c == '\\':
			return Shape{}, false
		case c == ' ', c == '\t', c == '\n', c == '\r':
			key = append(key, c)
			i = end
			continue
		case c < ' ' || c >= 0x7f:
			return Shape{}, false
		}
		key = append(key, text[i:end]...)
		i, afterString = end, false
	}
	shape.Key = string(key)
	return shape, true
}

func plain(c byte) bool { return c >= ' ' && c < 0x7f && c != '\'' && c != '\\' }

func digit(c byte) bool { return c >= '0' && c <= '9' }

// inName says whether a byte can stand in a name, or right after a number as its part.
func inName(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || digit(c) || c == '_' || c == '$'
}

// wholeNumber says whether a token is an integer as it is printed, and of type int4 whatever its digits are.
func wholeNumber(s string) bool {
	if len(s) > 9 || len(s) > 1 && s[0] == '0' {
		return false
	}
	for i := range len(s) {
		if !digit(s[i]) {
			return false
		}
	}
	return true
}

// Template makes the plans of all texts of one shape. Where DESIGN asks for plans by exact text, it is because
// literals can decide what a text does (LIMIT, names in strings, roles); a template leaves open only those whose
// values the analysis never looks at. It is immutable.
type Template struct {
	plan  *Plan
	fixed []string // by literal: what it must be; "" where it is open
	parts []string // of the plan's text, around the holes
	holes []int    // which literal stands between parts[i] and parts[i+1]
}

// Template makes a template from a text and its plan; nil where its plan depends on its literals, or that cannot
// be ruled out. Open are literals that are compared with a column (=, <>, <, <=, >, >=, IN), inserted as a row's
// value, or assigned to a column, each by itself: no rule of the guard looks at those. It is checked by analysing
// the text again with other literals in their places: everything but these must come out the same.
func (g *Guard) Template(env Environment, text string, shape Shape, plan *Plan) *Template {
	if len(plan.Statements) != 1 || plan.Statements[0].Text != plan.Text || !slices.Contains([]Verb{Select, Insert, Update, Delete}, plan.Statements[0].Verb) {
		return nil
	}
	tree, err := pg.Parse(text)
	if err != nil {
		return nil
	}
	open := map[int]bool{}
	openLiterals(tree, text, open)
	t := &Template{plan: plan, fixed: make([]string, len(shape.literals))}
	var other strings.Builder
	strange := map[string]int{} // the other literals
	last, found := 0, false
	for i, l := range shape.literals {
		other.WriteString(text[last:l.at])
		last = l.at + len(l.text)
		if !open[l.at] {
			t.fixed[i] = l.text
			other.WriteString(l.text)
			continue
		}
		found = true
		s := fmt.Sprintf("%d", 718_281_800+i)
		if l.text[0] == '\'' {
			s = fmt.Sprintf("'another literal %d.'", i)
		}
		if strings.Contains(text, s) || strings.Contains(plan.Text, s) {
			return nil
		}
		strange[s] = i
		other.WriteString(s)
	}
	other.WriteString(text[last:])
	if !found {
		return nil
	}
	second, err := g.Analyze(env, other.String())
	if err != nil || !sameButText(plan, second) {
		return nil
	}
	t.cut(second.Text, strange)
	if same := t.Plan(shape); same == nil || same.Text != plan.Text {
		return nil
	}
	return t
}

// cut takes a text apart at the literals that stand in it, each as often as it does.
func (t *Template) cut(text string, literals map[string]int) {
	for {
		first, length, which := -1, 0, 0
		for s, i := range literals {
			if at := strings.Index(text, s); at >= 0 && (first < 0 || at < first) {
				first, length, which = at, len(s), i
			}
		}
		if first < 0 {
			t.parts = append(t.parts, text)
			return
		}
		t.parts, t.holes = append(t.parts, text[:first]), append(t.holes, which)
		text = text[first+length:]
	}
}

// Plan is the plan of a text of the template's shape; nil where a literal that is not open differs.
func (t *Template) Plan(shape Shape) *Plan {
	if len(shape.literals) != len(t.fixed) {
		return nil
	}
	for i, f := range t.fixed {
		if f != "" && f != shape.literals[i].text {
			return nil
		}
	}
	var b strings.Builder
	b.Grow(len(t.plan.Text) + 64)
	b.WriteString(t.parts[0])
	for i, which := range t.holes {
		b.WriteString(shape.literals[which].text)
		b.WriteString(t.parts[i+1])
	}
	p := *t.plan
	p.Text = b.String()
	p.Statements = slices.Clone(p.Statements)
	p.Statements[0].Text = p.Text
	return &p
}

// sameButText says whether two plans of one statement are equal but for its text.
func sameButText(a, b *Plan) bool {
	if len(b.Statements) != 1 || b.Statements[0].Text != b.Text {
		return false
	}
	x, y := *a, *b
	x.Text, y.Text = "", ""
	x.Statements, y.Statements = slices.Clone(x.Statements), slices.Clone(y.Statements)
	x.Statements[0].Text, y.Statements[0].Text = "", ""
	return reflect.DeepEqual(x, y)
}

// openLiterals notes where in the text literals stand that no rule looks at.
func openLiterals(m proto.Message, text string, open map[int]bool) {
	switch v := m.(type) {
	case *pg.A_Expr:
		list := v.Kind == pg.A_Expr_Kind_AEXPR_IN
		if (list || v.Kind == pg.A_Expr_Kind_AEXPR_OP) && compares(v.Name) {
			left, right := v.Lexpr, v.Rexpr
			if right.GetColumnRef() != nil {
				left, right = right, left
			}
			if left.GetColumnRef() != nil {
				openLiteral(right, text, open)
				if list {
					for _, n := range right.GetList().GetItems() {
						openLiteral(n, text, open)
					}
				}
			}
		}
	case *pg.InsertStmt:
		for _, row := range v.GetSelectStmt().GetSelectStmt().GetValuesLists() {
			for _, n := range row.GetList().GetItems() {
				openLiteral(n, text, open)
			}
		}
	case *pg.UpdateStmt:
		for _, n := range v.TargetList {
			openLiteral(n.GetResTarget().GetVal(), text, open)
		}
	}
	each(m, func(m proto.Message) bool {
		openLiterals(m, text, open)
		return true
	})
}

// compares says whether an operator's name is that of a comparison, without a schema.
func compares(name []*pg.Node) bool {
	return len(name) == 1 && slices.Contains([]string{"=", "<>", "<", "<=", ">", ">="}, name[0].GetString_().GetSval())
}

// openLiteral notes a literal, if it is one and stands in the text as it is in the tree.
func openLiteral(n *pg.Node, text string, open map[int]bool) {
	c := n.GetAConst()
	if c == nil || c.Location < 0 || int(c.Location) >= len(text) {
		return
	}
	var want string
	switch v := c.Val.(type) {
	case *pg.A_Const_Ival:
		want = fmt.Sprint(v.Ival.Ival)
	case *pg.A_Const_Sval:
		want = "'" + v.Sval.Sval + "'"
	default:
		return
	}
	if strings.HasPrefix(text[c.Location:], want) {
		open[int(c.Location)] = true
	}
}
