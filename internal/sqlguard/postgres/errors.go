package postgres

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"strings"
	"unicode/utf8"

	pg "github.com/pganalyze/pg_query_go/v6"
	"github.com/pganalyze/pg_query_go/v6/parser"

	"gatehouse/internal/policy"
)

func refused(reason Reason, state string, position int, message, remedy string) *Error {
	return &Error{Reason: reason, SQLState: state, Position: position, Message: message, Remedy: remedy}
}

// syntaxError is what the parser said, without what it quotes of the text: that can be a literal.
func syntaxError(text string, err error) *Error {
	if returningWith.MatchString(text) { // PostgreSQL 18
		return refused(NotUnderstood, "0A000", 0, "RETURNING WITH (OLD AS …, NEW AS …) is not understood.", "Use the names old and new, and aliases for tables that have these names.")
	}
	e := refused(Syntax, "42601", 0, "The text is not a statement of PostgreSQL: syntax error.", "Correct the statement.")
	var p *parser.Error
	if errors.As(err, &p) {
		e.Position = p.Cursorpos
		if strings.Contains(p.Message, "end of input") {
			e.Message = "The text is not a statement of PostgreSQL: syntax error at its end."
		} else if p.Cursorpos > 0 {
			e.Message = fmt.Sprintf("The text is not a statement of PostgreSQL: syntax error at character %d.", p.Cursorpos)
		}
	}
	return e
}

var returningWith = regexp.MustCompile(`(?i)\breturning\s+with\s*\(`)

// at turns a byte offset of the tree into a 1-based character of the text.
func (a *analysis) at(location int32) int {
	if location <= 0 || int(location) > len(a.text) {
		return 0
	}
	return utf8.RuneCountInString(a.text[:location]) + 1
}

func (a *analysis) notBuilt(location int32, what string) *Error {
	return refused(NotBuilt, "0A000", a.at(location), what+" not built yet in this gateway.", remedyFor(what))
}

// remedyFor says what to do instead of something that is not built.
func remedyFor(what string) string {
	switch {
	case strings.HasSuffix(what, " statements are"):
		return "This kind of statement cannot be sent; docs/postgres.md lists those that can."
	}
	return "Write the statement without that."
}

func (a *analysis) notUnderstood(n *pg.Node, location int32, message string) *Error {
	if n != nil {
		message = fmt.Sprintf("%s is not on the list of what is understood.", nodeName(n))
	}
	return refused(NotUnderstood, "0A000", a.at(location), message, "Write the statement without that.")
}

func (a *analysis) unknownTable(n string, location int32) *Error {
	return refused(UnknownName, "42P01", a.at(location), fmt.Sprintf("relation %s does not exist", quoted(n)), "Correct the name; only relations of this connection's schemas can be named.")
}

func (a *analysis) unknownColumn(n string, location int32) *Error {
	return refused(UnknownName, "42703", a.at(location), fmt.Sprintf("column %s does not exist", quoted(n)), "Correct the name.")
}

// quoted puts a name from the text into a message, shortened.
func quoted(n string) string {
	if r := []rune(n); len(r) > 130 {
		n = string(r[:130]) + "…"
	}
	return `"` + n + `"`
}

// denied says which permit a statement would need to be understood.
func (a *analysis) denied(location int32, message string, missing ...policy.Touch) *Error {
	e := refused(Denied, "42501", a.at(location), message, "")
	e.Missing = missing
	names := make([]string, len(missing))
	for i, t := range missing {
		names[i] = t.String()
	}
	e.Remedy = "Leave that out, or ask a policy owner to permit: " + strings.Join(names, ", ") + "."
	return e
}

// nodeName is the kind of a node in words: "Node_MergeStmt" is "MERGE STMT" no more than it must be.
func nodeName(n *pg.Node) string {
	if n.GetNode() == nil {
		return "An empty part"
	}
	name := strings.TrimPrefix(reflect.TypeOf(n.GetNode()).Elem().Name(), "Node_")
	return "The expression or clause " + name
}

// statementName is a statement's kind as people say it: Node_CopyStmt is COPY.
func statementName(n *pg.Node) string {
	if n.GetNode() == nil {
		return "Empty"
	}
	name := strings.TrimPrefix(reflect.TypeOf(n.GetNode()).Elem().Name(), "Node_")
	name = strings.TrimSuffix(name, "Stmt")
	var b strings.Builder
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}

// openClasses are the SQLSTATE classes whose messages name objects and states, never values.
var openClasses = []string{"42", "08", "57", "3D", "25", "26", "34", "2D", "3B", "40", "53", "54", "55", "0A"}

// plainMessages are what stands for the messages of other classes.
var plainMessages = map[string]string{
	"22":    "data exception",
	"22001": "value too long for its type",
	"22003": "numeric value out of range",
	"22007": "invalid date or time format",
	"22008": "date or time out of range",
	"22012": "division by zero",
	"22P02": "invalid input syntax",
	"22P03": "invalid binary representation",
	"21000": "more than one row returned by a subquery used as an expression, or a row would be affected twice",
	"23":    "integrity constraint violation",
	"23502": "null value in a column that must not be null",
	"23503": "foreign key violation",
	"23505": "unique violation",
	"23514": "check constraint violation",
	"44":    "a row violates the check option of a view",
	"P0":    "an error was raised by a function",
}

// RedactError keeps of an error's fields (PostgreSQL protocol, error and notice message fields) what cannot
// carry a value: severity and SQLSTATE, the names of objects, and the message only where its class names
// objects. The rest is dropped or replaced.
func RedactError(fields map[byte]string) map[byte]string {
	out := map[byte]string{}
	maps.Copy(out, fields)
	for k := range out {
		switch k {
		case 'S', 'V', 'C', 'M', 's', 't', 'c', 'd', 'n':
		default:
			delete(out, k)
		}
	}
	state := fields['C']
	// What a text search value cannot be read from is quoted under a state that else speaks of the statement.
	quotes := state == "42601" && strings.HasPrefix(fields['M'], "syntax error in ts")
	if len(state) >= 2 && contains(openClasses, state[:2]) && !quotes {
		return out
	}
	message := plainMessages[state]
	if quotes {
		message = "invalid input syntax"
	}
	if message == "" && len(state) >= 2 {
		message = plainMessages[state[:2]]
	}
	if message == "" {
		message = "the statement failed"
	}
	out['M'] = message + " (the details are hidden, since columns are masked)"
	return out
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}
