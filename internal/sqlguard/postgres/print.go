package postgres

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
	"github.com/pganalyze/pg_query_go/v6/parser"
	"google.golang.org/protobuf/proto"
)

// printExactly prints one statement, and checks that the print means the tree: parsed again it is the same but for places,
// which it may forget.
func printExactly(one *pg.ParseResult) (string, bool) {
	ours, err := proto.Marshal(one)
	if err != nil {
		return "", false
	}
	text, err := parser.DeparseFromProtobuf(ours)
	if err != nil {
		return "", false
	}
	if means(text, one, ours) {
		return text, true
	}
	text = withParentheses(one)
	return text, text != "" && means(text, one, ours)
}

// means says whether a text is the statement of a tree, which is given as it is encoded too. It may forget its places.
func means(text string, one *pg.ParseResult, ours []byte) bool {
	theirs, err := parser.ParseToProtobuf(text)
	if err != nil {
		return false
	}
	if sameWire(layoutOf(one), ours, theirs) {
		return true
	}
	var back pg.ParseResult // the same tree could be encoded in another order
	if err := proto.Unmarshal(theirs, &back); err != nil {
		return false
	}
	forgetPlaces(one)
	forgetPlaces(&back)
	return proto.Equal(one, &back)
}

// withParentheses prints a tree with parentheses around everything that a subscript or a field is taken of, which the
// printer leaves out around some kinds of expressions: (CASE … END)[1]. They are printed as calls of a function, whose
// name is taken out of the text. "" where that cannot be done; whether it was right is for the caller to see.
func withParentheses(one *pg.ParseResult) string {
	own := proto.Clone(one).(*pg.ParseResult)
	mark := "gatehouse_parentheses"
	if before, err := pg.Deparse(own); err != nil || strings.Contains(before, mark) {
		return ""
	}
	var put func(proto.Message) bool
	put = func(m proto.Message) bool {
		each(m, put)
		if of, ok := m.(*pg.A_Indirection); ok {
			of.Arg = &pg.Node{Node: &pg.Node_FuncCall{FuncCall: &pg.FuncCall{
				Funcname: []*pg.Node{pg.MakeStrNode(mark)}, Args: []*pg.Node{of.Arg}, Funcformat: pg.CoercionForm_COERCE_EXPLICIT_CALL,
			}}}
		}
		return true
	}
	put(own)
	text, err := pg.Deparse(own)
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(text, mark+"(", "(")
}
