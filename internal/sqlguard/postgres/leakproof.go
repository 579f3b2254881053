package postgres

import (
	"slices"
	"strconv"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
)

// Operator is an operator of pg_catalog, by its name and the names of its operands' types.
type Operator struct{ Name, Left, Right string }

// Leakproof is what the server says that tells nothing of its arguments but by its result: it never raises an
// error (pg_proc.proleakproof). The zero value has nothing.
type Leakproof struct {
	Operators map[Operator]bool
	// Casts are those of pg_catalog, from type to type, by function or because the bytes are the same.
	Casts map[[2]string]bool
}

// region is a part of a statement in which conditions can reach each other's tables.
type region struct {
	leaky bool // some condition is not leakproof
}

// apart understands what is evaluated after the filters of the tables around it: its own conditions do not
// reach those.
func (a *analysis) apart(f func() error) error {
	outer := a.region
	a.region = &region{}
	err := f()
	a.region = outer
	return err
}

// conditions notes what is evaluated where tables are scanned: possibly before their row filters.
func (a *analysis) conditions(s *scope, list ...*pg.Node) {
	for _, n := range list {
		if n.GetNode() != nil && !a.probe(n, s).safe {
			a.region.leaky = true
		}
	}
}

// probed is what is known of an expression that was understood. The zero value is not safe.
type probed struct {
	typ  string // of pg_catalog, "int4[]" for arrays; "unknown" for a literal; "" where it is not known
	vars bool   // it reads a column
	safe bool   // it never raises an error that depends on a row
}

// unknownType is the type of literals and undeclared parameters, which take that of what they meet.
const unknownType = "unknown"

// plainType is the type that operators are looked up by.
func plainType(name string) string {
	if rest, ok := strings.CutPrefix(name, "_"); ok {
		return plainType(rest) + "[]"
	}
	if name == "varchar" {
		return "text"
	}
	return name
}

// plainType is the type of a column, where it is one of pg_catalog whose value is stored.
func (c *Column) plainType() string {
	if c.Type.Schema != "pg_catalog" || c.Domain || c.Extension || c.Generated {
		return ""
	}
	return plainType(c.Type.Name)
}

// probe says what is known of an expression. What it does not know is not safe where it reads a column.
func (a *analysis) probe(n *pg.Node, s *scope) probed {
	p := a.probeNode(n, s)
	if !p.safe && !p.vars && !reads(n) {
		p.safe = true // it is the same for every row
	} else if !p.safe {
		p.vars = true
	}
	return p
}

func (a *analysis) probeNode(n *pg.Node, s *scope) probed {
	switch v := n.GetNode().(type) {
	case *pg.Node_AConst:
		return probed{typ: constType(v.AConst), safe: true}
	case *pg.Node_ParamRef:
		return probed{typ: a.parameterType(v.ParamRef.Number), safe: true}
	case *pg.Node_ColumnRef:
		c := a.referred(v.ColumnRef, s)
		return probed{typ: c.plain, vars: true, safe: c.safe}
	case *pg.Node_TypeCast:
		return a.probeCast(v.TypeCast, s)
	case *pg.Node_AExpr:
		return a.probeOperator(v.AExpr, s)
	case *pg.Node_BoolExpr:
		return a.probeAll(s, "bool", v.BoolExpr.Args...)
	case *pg.Node_NullTest:
		return a.probeAll(s, "bool", v.NullTest.Arg)
	case *pg.Node_BooleanTest:
		return a.probeAll(s, "bool", v.BooleanTest.Arg)
	case *pg.Node_CoalesceExpr:
		return a.probeAll(s, "", v.CoalesceExpr.Args...)
	case *pg.Node_CaseExpr:
		if v.CaseExpr.Arg == nil {
			return a.probeAll(s, "", append(slices.Clone(v.CaseExpr.Args), v.CaseExpr.Defresult)...)
		}
	case *pg.Node_CaseWhen:
		when, then := a.probe(v.CaseWhen.Expr, s), a.probe(v.CaseWhen.Result, s)
		return probed{typ: then.typ, vars: when.vars || then.vars, safe: when.safe && then.safe}
	case *pg.Node_CollateClause:
		return a.probe(v.CollateClause.Arg, s)
	case *pg.Node_AArrayExpr:
		return a.probeArray(v.AArrayExpr.Elements, s)
	case *pg.Node_SqlvalueFunction:
		switch v.SqlvalueFunction.Op {
		case pg.SQLValueFunctionOp_SVFOP_CURRENT_DATE:
			return probed{typ: "date", safe: true}
		case pg.SQLValueFunctionOp_SVFOP_CURRENT_TIMESTAMP:
			return probed{typ: "timestamptz", safe: true}
		case pg.SQLValueFunctionOp_SVFOP_LOCALTIMESTAMP:
			return probed{typ: "timestamp", safe: true}
		}
		return probed{safe: true}
	case *pg.Node_FuncCall:
		names := stringsOf(v.FuncCall.Funcname)
		if last := names[len(names)-1]; contains([]string{"now", "statement_timestamp", "transaction_timestamp", "clock_timestamp"}, last) {
			return probed{typ: "timestamptz", safe: true}
		}
	case *pg.Node_SubLink:
		return a.probeSubLink(v.SubLink, s)
	}
	return probed{}
}

func constType(c *pg.A_Const) string {
	switch v := c.GetVal().(type) {
	case *pg.A_Const_Ival:
		return "int4"
	case *pg.A_Const_Fval:
		if _, err := strconv.ParseInt(v.Fval.Fval, 10, 64); err == nil {
			return "int8"
		}
		return "numeric"
	case *pg.A_Const_Boolval:
		return "bool"
	case *pg.A_Const_Bsval:
		return ""
	}
	return unknownType
}

// probeAll is of a node that is safe where all of its parts are. An empty typ is that of the parts, where
// they have one.
func (a *analysis) probeAll(s *scope, typ string, list ...*pg.Node) probed {
	out := probed{typ: typ, safe: true}
	common := unknownType
	for _, n := range list {
		if n.GetNode() == nil {
			continue
		}
		p := a.probe(n, s)
		out.vars, out.safe = out.vars || p.vars, out.safe && p.safe
		switch common {
		case unknownType:
			common = p.typ
		case p.typ:
		default:
			if p.typ != unknownType {
				common = ""
			}
		}
	}
	if typ == "" {
		out.typ = common
		out.safe = out.safe && (common != "" || !out.vars) // a cast to a common type may raise an error
	}
	return out
}

func (a *analysis) probeArray(list []*pg.Node, s *scope) probed {
	p := a.probeAll(s, "", list...)
	if p.typ != "" && p.typ != unknownType && !strings.HasSuffix(p.typ, "[]") {
		p.typ += "[]"
	} else if p.typ != unknownType {
		p.typ = ""
	}
	return p
}

func (a *analysis) probeCast(v *pg.TypeCast, s *scope) probed {
	arg := a.probe(v.Arg, s)
	names := stringsOf(v.TypeName.Names)
	typ := ""
	if len(names) == 2 && names[0] == "pg_catalog" {
		typ = plainType(names[1])
		for range v.TypeName.ArrayBounds {
			typ += "[]"
		}
	}
	if !arg.vars {
		return probed{typ: typ, safe: true}
	}
	same := typ != "" && (typ == arg.typ && len(v.TypeName.Typmods) == 0 || a.env.Catalog.Leakproof.Casts[[2]string{arg.typ, typ}] && len(v.TypeName.Typmods) == 0)
	return probed{typ: typ, vars: true, safe: arg.safe && same}
}

func (a *analysis) probeOperator(v *pg.A_Expr, s *scope) probed {
	name := ""
	if len(v.Name) > 0 {
		name = v.Name[len(v.Name)-1].GetString_().GetSval()
	}
	if v.Lexpr.GetNode() == nil || v.Rexpr.GetNode() == nil {
		return probed{}
	}
	l := a.probe(v.Lexpr, s)
	switch v.Kind {
	case pg.A_Expr_Kind_AEXPR_OP, pg.A_Expr_Kind_AEXPR_DISTINCT, pg.A_Expr_Kind_AEXPR_NOT_DISTINCT:
		if v.Kind != pg.A_Expr_Kind_AEXPR_OP {
			name = "="
		}
		return a.compared(name, l, a.probe(v.Rexpr, s))
	case pg.A_Expr_Kind_AEXPR_OP_ANY, pg.A_Expr_Kind_AEXPR_OP_ALL:
		r := a.probe(v.Rexpr, s)
		if element, ok := strings.CutSuffix(r.typ, "[]"); ok {
			r.typ = element
		} else if r.typ != unknownType {
			r.typ = ""
		}
		return a.compared(name, l, r)
	case pg.A_Expr_Kind_AEXPR_IN, pg.A_Expr_Kind_AEXPR_BETWEEN, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN:
		operators := []string{"="}
		if v.Kind != pg.A_Expr_Kind_AEXPR_IN {
			operators = []string{"<", "<=", ">", ">="}
		} else if name == "<>" {
			operators = []string{"<>"}
		}
		out := probed{typ: "bool", vars: l.vars, safe: true}
		for _, n := range v.Rexpr.GetList().GetItems() {
			r := a.probe(n, s)
			for _, op := range operators {
				p := a.compared(op, l, r)
				out.vars, out.safe = out.vars || p.vars, out.safe && p.safe
			}
		}
		return out
	}
	return probed{vars: l.vars}
}

// compared is the result of an operator.
func (a *analysis) compared(name string, l, r probed) probed {
	if l.typ == unknownType {
		l.typ = r.typ
	} else if r.typ == unknownType {
		r.typ = l.typ
	}
	out := probed{vars: l.vars || r.vars}
	known := l.typ != "" && r.typ != "" && l.typ != unknownType
	switch {
	case contains(comparisons, name):
		out.typ = "bool"
	case known && contains([]string{"+", "-"}, name) && r.typ == "interval" && contains([]string{"timestamptz", "timestamp", "interval"}, l.typ):
		out.typ = l.typ
	case known && contains([]string{"+", "-"}, name) && r.typ == "int4" && contains([]string{"int4", "date"}, l.typ):
		out.typ = l.typ
	}
	out.safe = !out.vars || l.safe && r.safe && known && a.env.Catalog.Leakproof.Operators[Operator{name, l.typ, r.typ}]
	return out
}

// probeSubLink is of a sub-select in a condition. It can be evaluated for rows that a filter will leave out,
// so that it must be plain: what stands in it then was noted as conditions.
func (a *analysis) probeSubLink(v *pg.SubLink, s *scope) probed {
	out := a.subLinks[v]
	sel := v.Subselect.GetSelectStmt()
	plain := sel != nil && sel.Op == pg.SetOperation_SETOP_NONE && sel.ValuesLists == nil && sel.WithClause == nil &&
		sel.LimitCount == nil && sel.LimitOffset == nil && sel.GroupClause == nil && sel.HavingClause == nil &&
		sel.WindowClause == nil && sel.DistinctClause == nil && sel.LockingClause == nil && plainFrom(sel.FromClause, a.scanned)
	for _, c := range out {
		plain = plain && c.safe
	}
	switch v.SubLinkType {
	case pg.SubLinkType_EXISTS_SUBLINK:
		return probed{typ: "bool", vars: true, safe: plain}
	case pg.SubLinkType_ANY_SUBLINK, pg.SubLinkType_ALL_SUBLINK:
		if len(out) != 1 || v.Testexpr == nil {
			break
		}
		name := "="
		if len(v.OperName) > 0 {
			name = v.OperName[len(v.OperName)-1].GetString_().GetSval()
		}
		p := a.compared(name, a.probe(v.Testexpr, s), probed{typ: out[0].plain, vars: true, safe: plain})
		p.typ = "bool"
		return p
	}
	return probed{vars: true} // it raises an error where it has several rows
}

// plainFrom says whether FROM has nothing but relations, and joins of them.
func plainFrom(list []*pg.Node, scans map[*pg.RangeSubselect]bool) bool {
	for _, n := range list {
		switch v := n.GetNode().(type) {
		case *pg.Node_RangeVar:
		case *pg.Node_RangeSubselect:
			if !scans[v.RangeSubselect] {
				return false
			}
		case *pg.Node_JoinExpr:
			if !plainFrom([]*pg.Node{v.JoinExpr.Larg, v.JoinExpr.Rarg}, scans) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// referred is the column that a reference means, which was found before.
func (a *analysis) referred(ref *pg.ColumnRef, s *scope) column {
	names := make([]string, 0, 2)
	for _, f := range ref.Fields {
		if f.GetString_() == nil {
			return column{}
		}
		names = append(names, f.GetString_().Sval)
	}
	if len(names) == 2 {
		if it := s.find(names[0]); it != nil {
			for _, c := range it.columns {
				if c.name == names[1] {
					return c
				}
			}
		}
		return column{}
	}
	for level := s; level != nil && len(names) == 1; level = level.up {
		if _, c, err := level.bare(a, names[0], 0); err != nil {
			break
		} else if c != nil {
			return *c
		}
	}
	return column{}
}

// computed is the output column of an expression. A sub-select in it could become a part of a condition.
func (a *analysis) computed(name string, n *pg.Node, s *scope) column {
	p := a.probe(n, s)
	return column{name: name, plain: p.typ, safe: p.safe && !holds(n, func(m proto.Message) bool { _, ok := m.(*pg.SubLink); return ok })}
}

// reads says whether an expression reads a column, or anything else of a row.
func reads(n *pg.Node) bool {
	return holds(n, func(m proto.Message) bool {
		switch m.(type) {
		case *pg.ColumnRef, *pg.SubLink:
			return true
		}
		return false
	})
}

// eachColumn calls f for every column reference of a tree.
func eachColumn(n *pg.Node, f func(*pg.ColumnRef)) {
	holds(n, func(m proto.Message) bool {
		if c, ok := m.(*pg.ColumnRef); ok {
			f(c)
		}
		return false
	})
}

// declarable are the types of pg_catalog that drivers declare parameters to be of, by OID (pg_type.dat).
var declarable = map[uint32]string{
	16: "bool", 20: "int8", 21: "int2", 23: "int4", 25: "text", 1043: "text", 1042: "bpchar", 700: "float4", 701: "float8",
	1082: "date", 1114: "timestamp", 1184: "timestamptz", 2950: "uuid", 1700: "numeric", 0: unknownType, 705: unknownType,
	1005: "int2[]", 1007: "int4[]", 1016: "int8[]", 1009: "text[]", 1015: "text[]", 2951: "uuid[]",
}

// parameterType is the type that the client declared a parameter to be of. One that is used in several places
// and not declared takes that of another place.
func (a *analysis) parameterType(number int32) string {
	if declared := a.env.Declared; number >= 1 && int(number) <= len(declared) && declared[number-1] != 0 {
		return declarable[declared[number-1]]
	}
	if a.repeated[number] {
		return ""
	}
	return unknownType
}

// repeatedParameters are the parameters that a text uses more than once. Those of PREPARE, which declares them in
// SQL, count as such.
func repeatedParameters(text string, tree *pg.ParseResult) map[int32]bool {
	if !strings.Contains(text, "$") {
		return nil
	}
	out := map[int32]bool{}
	for _, raw := range tree.Stmts {
		declared := len(raw.Stmt.GetPrepareStmt().GetArgtypes()) > 0
		holds(raw, func(m proto.Message) bool {
			if p, ok := m.(*pg.ParamRef); ok {
				_, before := out[p.Number]
				out[p.Number] = before || declared
			}
			return false
		})
	}
	return out
}
