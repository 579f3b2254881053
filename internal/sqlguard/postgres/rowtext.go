package postgres

import (
	"errors"
	"fmt"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"

	"gatehouse/internal/policy"
)

// maxFilter bounds the text of a row filter, in bytes.
const maxFilter = 4096

// CheckRows says what is wrong with the text of a row filter: a condition over columns of a table, constants,
// principal.id and principal.user. It is made of comparisons, IN, BETWEEN, IS and AND, OR, NOT: they never
// raise an error that depends on a row, and call nothing that a user made.
func CheckRows(text string) error {
	_, err := parseFilter(text)
	return err
}

// parseFilter is the tree of a filter's condition.
func parseFilter(text string) (*pg.Node, error) {
	if chain, _ := measure(text); chain || len(text) > maxFilter {
		return nil, fmt.Errorf("the filter is longer than %d bytes", maxFilter)
	}
	tree, err := pg.Parse("SELECT 1 WHERE (" + text + "\n)")
	if err != nil {
		return nil, fmt.Errorf("%q is not a condition: write it as after WHERE, such as region = 'eu'", text)
	}
	wrong := fmt.Errorf("%q is not one condition: write it as after WHERE, such as region = 'eu'", text)
	if len(tree.Stmts) != 1 || tree.Stmts[0].Stmt.GetSelectStmt() == nil || deeper(tree, 300) {
		return nil, wrong
	}
	where := tree.Stmts[0].Stmt.GetSelectStmt().WhereClause
	tree.Stmts[0].Stmt.GetSelectStmt().WhereClause = nil
	plain, err := pg.Parse("SELECT 1")
	if err != nil || where == nil {
		return nil, wrong
	}
	forgetPlaces(tree)
	forgetPlaces(plain)
	if !proto.Equal(tree, plain) { // the text closes the bracket and goes on
		return nil, wrong
	}
	columns := 0
	if err := filterPart(where, &columns); err != nil {
		return nil, err
	}
	if columns == 0 {
		return nil, fmt.Errorf("%q names no column", text)
	}
	return where, nil
}

// comparisons are the operators of a filter.
var comparisons = []string{"=", "<>", "<", "<=", ">", ">="}

// filterPart lets conditions through that a filter may be made of.
func filterPart(n *pg.Node, columns *int) error {
	switch v := n.GetNode().(type) {
	case *pg.Node_BoolExpr:
		return filterParts(columns, v.BoolExpr.Args...)
	case *pg.Node_NullTest:
		return filterValue(v.NullTest.Arg, columns)
	case *pg.Node_BooleanTest:
		return filterPart(v.BooleanTest.Arg, columns)
	case *pg.Node_ColumnRef:
		return filterValue(n, columns)
	case *pg.Node_AConst:
		if v.AConst.GetBoolval() != nil {
			return nil
		}
	case *pg.Node_AExpr:
		return filterComparison(v.AExpr, columns)
	}
	return errors.New("a row filter is made of comparisons (=, <>, <, <=, >, >=, IN, BETWEEN, IS) and AND, OR, NOT: no functions, patterns, arithmetic or sub-selects")
}

func filterParts(columns *int, list ...*pg.Node) error {
	for _, n := range list {
		if err := filterPart(n, columns); err != nil {
			return err
		}
	}
	return nil
}

func filterComparison(v *pg.A_Expr, columns *int) error {
	names := stringsOf(v.Name)
	values := []*pg.Node{v.Lexpr, v.Rexpr}
	switch v.Kind {
	case pg.A_Expr_Kind_AEXPR_OP, pg.A_Expr_Kind_AEXPR_DISTINCT, pg.A_Expr_Kind_AEXPR_NOT_DISTINCT:
	case pg.A_Expr_Kind_AEXPR_IN, pg.A_Expr_Kind_AEXPR_BETWEEN, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN:
		values = append([]*pg.Node{v.Lexpr}, v.Rexpr.GetList().GetItems()...)
		names = names[:0]
	default:
		return errors.New("a row filter compares with =, <>, <, <=, >, >=, IN, BETWEEN and IS DISTINCT FROM alone")
	}
	if len(names) > 1 || len(names) == 1 && !contains(comparisons, names[0]) {
		return errors.New("a row filter compares with =, <>, <, <=, >, >=, IN, BETWEEN and IS DISTINCT FROM alone")
	}
	for _, n := range values {
		if err := filterValue(n, columns); err != nil {
			return err
		}
	}
	return nil
}

// filterValue lets a column, a constant, and what is known of the principal through.
func filterValue(n *pg.Node, columns *int) error {
	switch v := n.GetNode().(type) {
	case *pg.Node_ColumnRef:
		switch names := stringsOf(v.ColumnRef.Fields); {
		case len(names) == 1 && names[0] != "":
			*columns++
			return nil
		case len(names) == 2 && names[0] == "principal" && contains([]string{"id", "user"}, names[1]):
			return nil
		}
		return errors.New("a row filter names columns without their table, principal.id or principal.user")
	case *pg.Node_AConst:
		if f := v.AConst.GetFval(); f == nil || !strings.ContainsAny(f.Fval, "xXoObB_") {
			return nil
		}
	case *pg.Node_TypeCast:
		names := stringsOf(v.TypeCast.TypeName.GetNames())
		if v.TypeCast.Arg.GetAConst() != nil && len(names) > 0 && types[names[len(names)-1]] && (len(names) == 1 || len(names) == 2 && names[0] == "pg_catalog") && v.TypeCast.TypeName.ArrayBounds == nil {
			return nil
		}
	}
	return errors.New("a row filter compares columns, constants, and principal.id or principal.user")
}

// filterNode is the condition that rows fulfil, with its columns as ref writes them. nil is no condition.
func (a *analysis) filterNode(r *Relation, rows policy.Rows, ref func(*Column) *pg.Node) (*pg.Node, error) {
	var all []*pg.Node
	for _, clause := range rows {
		var any []*pg.Node
		for _, row := range clause {
			n, err := parseFilter(row.Text)
			if err != nil {
				return nil, a.badFilter(r, row)
			}
			if n, err = a.bindFilter(n, r, row, ref); err != nil {
				return nil, err
			}
			any = append(any, n)
		}
		if len(any) == 0 {
			any = []*pg.Node{{Node: &pg.Node_AConst{AConst: &pg.A_Const{Val: &pg.A_Const_Boolval{Boolval: &pg.Boolean{}}}}}}
		}
		all = append(all, joined(pg.BoolExprType_OR_EXPR, any))
	}
	return joined(pg.BoolExprType_AND_EXPR, all), nil
}

// bindFilter puts a filter's columns and what is known of the principal in their places.
func (a *analysis) bindFilter(n *pg.Node, r *Relation, row policy.Row, ref func(*Column) *pg.Node) (*pg.Node, error) {
	if c := n.GetColumnRef(); c != nil {
		names := stringsOf(c.Fields)
		if len(names) == 2 {
			value := row.ID
			if names[1] == "user" {
				value = row.User
			}
			if value == "" {
				return &pg.Node{Node: &pg.Node_AConst{AConst: &pg.A_Const{Isnull: true}}}, nil
			}
			return pg.MakeAConstStrNode(value, 0), nil
		}
		col := r.Column(names[0])
		if col == nil || col.Extension {
			return nil, a.badFilter(r, row)
		}
		return ref(col), nil
	}
	var err error
	bind := func(list ...**pg.Node) {
		for _, at := range list {
			if *at != nil && err == nil {
				*at, err = a.bindFilter(*at, r, row, ref)
			}
		}
	}
	switch v := n.GetNode().(type) {
	case *pg.Node_BoolExpr:
		for i := range v.BoolExpr.Args {
			bind(&v.BoolExpr.Args[i])
		}
	case *pg.Node_NullTest:
		bind(&v.NullTest.Arg)
	case *pg.Node_BooleanTest:
		bind(&v.BooleanTest.Arg)
	case *pg.Node_AExpr:
		bind(&v.AExpr.Lexpr, &v.AExpr.Rexpr)
	case *pg.Node_List:
		for i := range v.List.Items {
			bind(&v.List.Items[i])
		}
	}
	return n, err
}

func (a *analysis) badFilter(r *Relation, row policy.Row) *Error {
	return refused(Denied, "42501", 0, "The row filter "+quoted(row.Text)+" of a policy does not fit the table "+r.Name.String()+".", "Tell the owner of the policy: it names columns that the table does not have, or of an extension's type.")
}

// joined joins conditions by AND or OR, as flat as the parser makes it of the print.
func joined(by pg.BoolExprType, list []*pg.Node) *pg.Node {
	var flat []*pg.Node
	for _, n := range list {
		switch b := n.GetBoolExpr(); {
		case n.GetNode() == nil:
		case b != nil && b.Boolop == by:
			flat = append(flat, b.Args...)
		default:
			flat = append(flat, n)
		}
	}
	switch len(flat) {
	case 0:
		return nil
	case 1:
		return flat[0]
	}
	return pg.MakeBoolExprNode(by, flat, 0)
}

// filterColumns are the names of the columns that filters read.
func filterColumns(rows policy.Rows) []string {
	var out []string
	for _, clause := range rows {
		for _, row := range clause {
			n, err := parseFilter(row.Text)
			if err != nil {
				continue // it is refused where it is written
			}
			eachColumn(n, func(c *pg.ColumnRef) {
				if names := stringsOf(c.Fields); len(names) == 1 && !contains(out, names[0]) {
					out = append(out, names[0])
				}
			})
		}
	}
	return out
}
