package postgres

import (
	"slices"
	"strconv"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

func itoa(n int) string { return strconv.Itoa(n) }

// exprs understands expressions; empty ones are skipped.
func (a *analysis) exprs(s *scope, list ...*pg.Node) error {
	for _, n := range list {
		if n == nil || n.GetNode() == nil {
			continue
		}
		if err := a.expr(n, s); err != nil {
			return err
		}
	}
	return nil
}

// expr understands one expression. What is not listed here is refused.
func (a *analysis) expr(n *pg.Node, s *scope) error {
	if err := a.enter(); err != nil {
		return err
	}
	defer a.leave()
	a.walk(n)
	switch v := n.Node.(type) {
	case *pg.Node_AConst:
		// Servers before 16 read 0xFFFFFFFFFF as 0 under the name xffffffffff, and 1_0.5 as 1 under the name _0.
		if f := v.AConst.GetFval(); f != nil && strings.ContainsAny(f.Fval, "xXoObB_") {
			return refused(NotUnderstood, "42601", a.at(v.AConst.Location), "Servers do not agree on what the number means.", "Write it in plain decimal digits.")
		}
		return nil
	case *pg.Node_ParamRef, *pg.Node_SetToDefault:
		return nil
	case *pg.Node_ColumnRef:
		return a.reference(v.ColumnRef, s)
	case *pg.Node_AExpr:
		return a.operator(v.AExpr, s)
	case *pg.Node_BoolExpr:
		return a.exprs(s, v.BoolExpr.Args...)
	case *pg.Node_NullTest:
		return a.exprs(s, v.NullTest.Arg)
	case *pg.Node_BooleanTest:
		return a.exprs(s, v.BooleanTest.Arg)
	case *pg.Node_CaseExpr:
		return a.exprs(s, append(append([]*pg.Node{v.CaseExpr.Arg}, v.CaseExpr.Args...), v.CaseExpr.Defresult)...)
	case *pg.Node_CaseWhen:
		return a.exprs(s, v.CaseWhen.Expr, v.CaseWhen.Result)
	case *pg.Node_CoalesceExpr:
		return a.exprs(s, v.CoalesceExpr.Args...)
	case *pg.Node_MinMaxExpr:
		return a.exprs(s, v.MinMaxExpr.Args...)
	case *pg.Node_RowExpr:
		return a.exprs(s, v.RowExpr.Args...)
	case *pg.Node_AArrayExpr:
		return a.exprs(s, v.AArrayExpr.Elements...)
	case *pg.Node_List:
		return a.exprs(s, v.List.Items...)
	case *pg.Node_NamedArgExpr:
		return a.exprs(s, v.NamedArgExpr.Arg)
	case *pg.Node_GroupingFunc:
		return a.exprs(s, v.GroupingFunc.Args...)
	case *pg.Node_MultiAssignRef:
		return a.exprs(s, v.MultiAssignRef.Source)
	case *pg.Node_SqlvalueFunction:
		return a.sqlValue(n, v.SqlvalueFunction)
	case *pg.Node_TypeCast:
		if regTypes[typeNameOf(v.TypeCast.TypeName)] != "" {
			return a.regCast(n, v.TypeCast, s)
		}
		if err := a.typeName(v.TypeCast.TypeName); err != nil {
			return err
		}
		// Qualified, 't'::bool would be printed as true.
		if t := v.TypeCast.TypeName; len(t.Names) == 2 && t.Names[1].GetString_().GetSval() == "bool" && v.TypeCast.Arg.GetAConst().GetSval() != nil {
			t.Names = t.Names[1:]
		}
		if err := a.exprs(s, v.TypeCast.Arg); err != nil {
			return err
		}
		if contains([]string{"text", "varchar", "name", "bpchar"}, typeNameOf(v.TypeCast.TypeName)) {
			a.printed(v.TypeCast.Arg)
		}
		return nil
	case *pg.Node_CollateClause:
		if err := a.collation(v.CollateClause); err != nil {
			return err
		}
		return a.exprs(s, v.CollateClause.Arg)
	case *pg.Node_AIndirection:
		return a.indirection(v.AIndirection, s)
	case *pg.Node_SubLink:
		return a.subLink(v.SubLink, s)
	case *pg.Node_XmlExpr:
		return a.xml(n, v.XmlExpr, s)
	case *pg.Node_XmlSerialize:
		if err := a.typeName(v.XmlSerialize.TypeName); err != nil {
			return err
		}
		return a.exprs(s, v.XmlSerialize.Expr)
	case *pg.Node_MergeSupportFunc:
		return a.mergeAction(s)
	case *pg.Node_FuncCall:
		if setting, err := a.ownFunction(n, v.FuncCall, s); setting {
			return err
		}
		return a.function(n, v.FuncCall, s)
	}
	if isJSON(n) && n.GetJsonTable() == nil {
		return a.json(n.ProtoReflect(), s)
	}
	return a.notUnderstood(n, 0, "")
}

// reference is a column reference inside an expression; a star stands there only in row(t.*) and f(t.*).
func (a *analysis) reference(c *pg.ColumnRef, s *scope) error {
	if _, star, err := a.star(c, s); star || err != nil {
		return err
	}
	_, err := a.columnRef(c, s, false)
	return err
}

func (a *analysis) operator(v *pg.A_Expr, s *scope) error {
	switch v.Kind {
	case pg.A_Expr_Kind_AEXPR_OP, pg.A_Expr_Kind_AEXPR_OP_ANY, pg.A_Expr_Kind_AEXPR_OP_ALL,
		pg.A_Expr_Kind_AEXPR_DISTINCT, pg.A_Expr_Kind_AEXPR_NOT_DISTINCT, pg.A_Expr_Kind_AEXPR_NULLIF,
		pg.A_Expr_Kind_AEXPR_IN, pg.A_Expr_Kind_AEXPR_LIKE, pg.A_Expr_Kind_AEXPR_ILIKE, pg.A_Expr_Kind_AEXPR_SIMILAR,
		pg.A_Expr_Kind_AEXPR_BETWEEN, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN,
		pg.A_Expr_Kind_AEXPR_BETWEEN_SYM, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN_SYM:
	default:
		return a.notUnderstood(nil, v.Location, "The operator is not on the list of what is understood.")
	}
	if err := a.operatorName(v.Name, v.Location); err != nil {
		return err
	}
	if err := a.exprs(s, v.Lexpr, v.Rexpr); err != nil {
		return err
	}
	if v.Kind == pg.A_Expr_Kind_AEXPR_OP && v.Name[len(v.Name)-1].GetString_().GetSval() == "||" {
		a.printed(v.Lexpr)
		a.printed(v.Rexpr)
	}
	return nil
}

func (a *analysis) collation(c *pg.CollateClause) error {
	a.walk(c)
	names := stringsOf(c.Collname)
	last := names[len(names)-1]
	if len(names) > 2 || len(names) == 2 && names[0] != "pg_catalog" {
		return a.notBuilt(c.Location, "Collations outside pg_catalog are")
	}
	c.Collname = []*pg.Node{pg.MakeStrNode("pg_catalog"), pg.MakeStrNode(last)}
	return nil
}

func stringsOf(list []*pg.Node) []string {
	out := make([]string, len(list))
	for i, n := range list {
		out[i] = n.GetString_().GetSval()
	}
	return out
}

func (a *analysis) indirection(v *pg.A_Indirection, s *scope) error {
	if err := a.exprs(s, v.Arg); err != nil {
		return err
	}
	for k, n := range v.Indirection {
		switch i := n.GetNode().(type) {
		case *pg.Node_AIndices:
			if err := a.exprs(s, i.AIndices.Lidx, i.AIndices.Uidx); err != nil {
				return err
			}
		case *pg.Node_String_:
			// A field of a row. The server would also take (t).f for f(t), with f on the pinned path.
			if k == 0 && a.recordField(v.Arg, i.String_.Sval, s) {
				continue
			}
			if k == 0 && a.isRow(v.Arg, s) {
				if !a.rowHas(v.Arg, s, i.String_.Sval) {
					return a.unknownColumn(i.String_.Sval, 0)
				}
				continue
			}
			whole := v.Arg
			if k > 0 {
				whole = &pg.Node{Node: &pg.Node_AIndirection{AIndirection: &pg.A_Indirection{Arg: v.Arg, Indirection: v.Indirection[:k]}}}
			}
			fields := a.fieldsOf(whole, s)
			if fields == nil {
				return a.notBuilt(0, "Fields of values whose type is not known are")
			}
			at := slices.IndexFunc(fields, func(f Field) bool { return f.Name == i.String_.Sval })
			if at < 0 {
				return a.unknownColumn(i.String_.Sval, 0)
			}
			if a.env.Catalog.Foreign(fields[at].TypeOID) {
				return a.notBuilt(0, "Operators and functions over the extension type of field "+quoted(i.String_.Sval)+" are")
			}
		default:
			return a.notUnderstood(n, 0, "")
		}
	}
	return nil
}

// isRow says whether an expression is the whole row of something in FROM.
func (a *analysis) isRow(n *pg.Node, s *scope) bool {
	name, ok := bareIdent(n)
	if !ok || s.find(name) == nil {
		return false
	}
	for level := s; level != nil; level = level.up {
		if _, c, err := level.bare(a, name, 0); err != nil || c != nil {
			return false
		}
	}
	return true
}

func (a *analysis) rowHas(n *pg.Node, s *scope, field string) bool {
	name, _ := bareIdent(n)
	it := s.find(name)
	return it != nil && hasColumn(it.columns, field)
}

func (a *analysis) subLink(v *pg.SubLink, s *scope) error {
	switch v.SubLinkType {
	case pg.SubLinkType_EXISTS_SUBLINK, pg.SubLinkType_ALL_SUBLINK, pg.SubLinkType_ANY_SUBLINK,
		pg.SubLinkType_EXPR_SUBLINK, pg.SubLinkType_ARRAY_SUBLINK:
	default:
		return a.notUnderstood(nil, v.Location, "The kind of sub-select is not on the list of what is understood.")
	}
	if err := a.operatorName(v.OperName, v.Location); err != nil {
		return err
	}
	if err := a.exprs(s, v.Testexpr); err != nil {
		return err
	}
	out, err := a.selectStmt(v.Subselect.GetSelectStmt(), s, nil)
	a.subLinks[v] = out
	return err
}

// xml understands what builds XML out of values; what parses it is not on the list.
func (a *analysis) xml(n *pg.Node, v *pg.XmlExpr, s *scope) error {
	if xmlNames[v.Op] == "" {
		return a.notUnderstood(n, v.Location, "")
	}
	for _, arg := range v.NamedArgs {
		t := arg.GetResTarget()
		if t == nil || len(t.Indirection) > 0 {
			return a.notUnderstood(arg, v.Location, "")
		}
		if err := a.exprs(s, t.Val); err != nil {
			return err
		}
	}
	return a.exprs(s, v.Args...)
}

var xmlNames = map[pg.XmlExprOp]string{
	pg.XmlExprOp_IS_XMLCONCAT: "xmlconcat", pg.XmlExprOp_IS_XMLELEMENT: "xmlelement", pg.XmlExprOp_IS_XMLFOREST: "xmlforest",
	pg.XmlExprOp_IS_XMLPI: "xmlpi", pg.XmlExprOp_IS_XMLROOT: "xmlroot", pg.XmlExprOp_IS_DOCUMENT: "?column?",
}

func (a *analysis) sqlValue(n *pg.Node, v *pg.SQLValueFunction) error {
	switch v.Op {
	case pg.SQLValueFunctionOp_SVFOP_CURRENT_DATE, pg.SQLValueFunctionOp_SVFOP_CURRENT_TIME, pg.SQLValueFunctionOp_SVFOP_CURRENT_TIME_N,
		pg.SQLValueFunctionOp_SVFOP_CURRENT_TIMESTAMP, pg.SQLValueFunctionOp_SVFOP_CURRENT_TIMESTAMP_N,
		pg.SQLValueFunctionOp_SVFOP_LOCALTIME, pg.SQLValueFunctionOp_SVFOP_LOCALTIME_N,
		pg.SQLValueFunctionOp_SVFOP_LOCALTIMESTAMP, pg.SQLValueFunctionOp_SVFOP_LOCALTIMESTAMP_N,
		pg.SQLValueFunctionOp_SVFOP_CURRENT_USER, pg.SQLValueFunctionOp_SVFOP_SESSION_USER,
		pg.SQLValueFunctionOp_SVFOP_USER, pg.SQLValueFunctionOp_SVFOP_CURRENT_ROLE, pg.SQLValueFunctionOp_SVFOP_CURRENT_CATALOG:
		return nil
	}
	return a.notUnderstood(n, v.Location, "")
}

func (a *analysis) window(w *pg.WindowDef, s *scope) error {
	if w == nil {
		return nil
	}
	if err := a.exprs(s, w.PartitionClause...); err != nil {
		return err
	}
	for _, n := range w.OrderClause {
		b := n.GetSortBy()
		if b == nil {
			return a.notUnderstood(n, 0, "")
		}
		if err := a.operatorName(b.UseOp, b.Location); err != nil {
			return err
		}
		if err := a.exprs(s, b.Node); err != nil {
			return err
		}
	}
	return a.exprs(s, w.StartOffset, w.EndOffset)
}

// function understands a call: by name, on the list of functions of pg_catalog.
func (a *analysis) function(n *pg.Node, v *pg.FuncCall, s *scope) error {
	if err, is := a.catalogFunction(n, v, s); is || err != nil {
		return err
	}
	if err := a.functionName(v); err != nil {
		return err
	}
	if err := a.exprs(s, v.Args...); err != nil {
		return err
	}
	a.printedArguments(v)
	a.typeof(n, v, s)
	for _, n := range v.AggOrder {
		b := n.GetSortBy()
		if b == nil {
			return a.notUnderstood(n, 0, "")
		}
		if err := a.operatorName(b.UseOp, b.Location); err != nil {
			return err
		}
		if err := a.exprs(s, b.Node); err != nil {
			return err
		}
	}
	if err := a.exprs(s, v.AggFilter); err != nil {
		return err
	}
	return a.window(v.Over, s)
}

// types are the types of pg_catalog that may be named. Those that look names up (regclass and the like),
// and those whose text reaches the server's files or other objects, are not among them.
var types = listed(`bool int2 int4 int8 float4 float8 numeric money
	text varchar bpchar char name bytea bit varbit uuid date time timetz timestamp timestamptz interval
	pg_lsn txid_snapshot pg_snapshot
	json jsonb jsonpath inet cidr macaddr macaddr8 oid tsvector tsquery
	point line lseg box path polygon circle
	int4range int8range numrange tsrange tstzrange daterange
	int4multirange int8multirange nummultirange tsmultirange tstzmultirange datemultirange record
	xid xid8 cid tid oidvector int2vector aclitem`)

func listed(s string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields(s) {
		out[w] = true
	}
	return out
}

// typeName understands the name of a type, and qualifies it.
func (a *analysis) typeName(t *pg.TypeName) error {
	if t == nil || t.Setof || t.PctType || t.TypeOid != 0 {
		return a.notUnderstood(nil, t.GetLocation(), "The type is not on the list of what is understood.")
	}
	for _, m := range t.Typmods {
		if c := m.GetColumnRef(); c != nil && len(c.Fields) == 1 && c.Fields[0].GetString_() != nil {
			a.walk(m) // a word, as in geometry(Point, 4326)
			a.walk(c)
			continue
		}
		if m.GetAConst() == nil {
			return a.notUnderstood(m, t.Location, "")
		}
	}
	a.walk(t)
	names := stringsOf(t.Names)
	switch {
	case names[len(names)-1] == "char" && (len(names) == 1 || names[0] == "pg_catalog"):
		t.Names = t.Names[len(names)-1:] // qualified it would be printed as another type
		return nil
	case names[len(names)-1] == "bpchar" && len(t.Typmods) == 0 && (len(names) == 1 || names[0] == "pg_catalog"):
		t.Names = t.Names[len(names)-1:] // qualified it would be printed as char, which is char(1)
		return nil
	case len(names) == 1 && (types[names[0]] || arrayName(names[0])):
		t.Names = []*pg.Node{pg.MakeStrNode("pg_catalog"), t.Names[0]}
		return nil
	case len(names) == 2 && names[0] == "pg_catalog":
		if types[names[1]] || arrayName(names[1]) {
			return nil
		}
		return refused(NotUnderstood, "42501", a.at(t.Location), "The type "+quoted(names[1])+" is not on the list of types that may be named.", "Write the statement without it.")
	}
	found := a.ownType(names)
	if found == nil || a.unnamed(found) {
		return refused(UnknownName, "42704", a.at(t.Location), "type "+quoted(strings.Join(names, "."))+" does not exist, or may not be named", "Correct the name.")
	}
	switch found.Kind {
	case 'e', 'd', 'c', 'r', 'm':
	case 'b':
		if !found.Usable {
			return a.notBuilt(t.Location, "Casts to types of extensions that are not trusted, or not in a schema that the gateway can rely on ("+found.Name.String()+"), are")
		}
	default:
		return a.notBuilt(t.Location, "Casts to this kind of type are")
	}
	for _, f := range found.Calls {
		a.touch("call", a.env.Catalog.FunctionResource(f))
	}
	t.Names = []*pg.Node{pg.MakeStrNode(found.Name.Schema), pg.MakeStrNode(found.Name.Name)}
	return nil
}

// arrayName says whether a name is that of an array type, as the catalog spells it: _text.
func arrayName(name string) bool {
	element, ok := strings.CutPrefix(name, "_")
	return ok && types[element] && regTypes[element] == ""
}

func (a *analysis) ownType(names []string) *Type {
	switch len(names) {
	case 1:
		for _, schema := range a.env.Catalog.SearchPath {
			if t := a.env.Catalog.Types[Name{schema, names[0]}]; t != nil {
				return t
			}
		}
	case 2:
		return a.env.Catalog.Types[Name{names[0], names[1]}]
	}
	return nil
}

// outputName is the name of an output column (FigureColname in PostgreSQL's parse_target.c).
func outputName(t *pg.ResTarget) string {
	if t.Name != "" {
		return t.Name
	}
	return figureName(t.Val)
}

func figureName(n *pg.Node) string {
	if name, _ := figure(n); name != "" {
		return name
	}
	return "?column?"
}

// figure gives a name and how strong it is: 0 none, 1 weak, 2 good.
func figure(n *pg.Node) (string, int) {
	switch v := n.GetNode().(type) {
	case *pg.Node_ColumnRef:
		if s := v.ColumnRef.Fields[len(v.ColumnRef.Fields)-1].GetString_(); s != nil {
			return s.Sval, 2
		}
	case *pg.Node_AIndirection:
		for _, i := range slices.Backward(v.AIndirection.Indirection) {
			if s := i.GetString_(); s != nil {
				return s.Sval, 2
			}
		}
		return figure(v.AIndirection.Arg)
	case *pg.Node_FuncCall:
		names := stringsOf(v.FuncCall.Funcname)
		return names[len(names)-1], 2
	case *pg.Node_AExpr:
		if v.AExpr.Kind == pg.A_Expr_Kind_AEXPR_NULLIF {
			return "nullif", 2
		}
	case *pg.Node_TypeCast:
		if name, strength := figure(v.TypeCast.Arg); strength > 1 {
			return name, strength
		}
		if names := stringsOf(v.TypeCast.TypeName.GetNames()); len(names) > 0 {
			return names[len(names)-1], 1
		}
	case *pg.Node_CollateClause:
		return figure(v.CollateClause.Arg)
	case *pg.Node_GroupingFunc:
		return "grouping", 2
	case *pg.Node_MergeSupportFunc:
		return "merge_action", 2
	case *pg.Node_SubLink:
		switch v.SubLink.SubLinkType {
		case pg.SubLinkType_EXISTS_SUBLINK:
			return "exists", 2
		case pg.SubLinkType_ARRAY_SUBLINK:
			return "array", 2
		case pg.SubLinkType_EXPR_SUBLINK:
			sel := v.SubLink.Subselect.GetSelectStmt()
			for sel.GetLarg() != nil {
				sel = sel.Larg
			}
			if t := sel.GetTargetList(); len(t) > 0 {
				if t[0].GetResTarget().GetName() != "" {
					return t[0].GetResTarget().Name, 2
				}
				return figure(t[0].GetResTarget().GetVal())
			}
			if len(sel.GetValuesLists()) > 0 {
				return "column1", 2
			}
		}
	case *pg.Node_CaseExpr:
		if name, strength := figure(v.CaseExpr.Defresult); strength > 1 {
			return name, strength
		}
		return "case", 1
	case *pg.Node_AArrayExpr:
		return "array", 2
	case *pg.Node_RowExpr:
		return "row", 2
	case *pg.Node_CoalesceExpr:
		return "coalesce", 2
	case *pg.Node_MinMaxExpr:
		if v.MinMaxExpr.Op == pg.MinMaxOp_IS_LEAST {
			return "least", 2
		}
		return "greatest", 2
	case *pg.Node_XmlExpr:
		if v.XmlExpr.Op == pg.XmlExprOp_IS_DOCUMENT {
			return "", 0
		}
		return xmlNames[v.XmlExpr.Op], 2
	case *pg.Node_XmlSerialize:
		return "xmlserialize", 2
	case *pg.Node_SqlvalueFunction:
		return strings.TrimSuffix(strings.ToLower(strings.TrimPrefix(v.SqlvalueFunction.Op.String(), "SVFOP_")), "_n"), 2
	}
	if name := jsonName(n); name != "" {
		return name, 2
	}
	return "", 0
}
