package postgres

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// jsonNodes are the expressions of SQL/JSON (PostgreSQL documentation, 9.16) and what they are made of. They
// compute from their arguments; a RETURNING type is a cast.
var jsonNodes = listed(`JsonObjectConstructor JsonArrayConstructor JsonArrayQueryConstructor JsonObjectAgg JsonArrayAgg
	JsonAggConstructor JsonIsPredicate JsonFuncExpr JsonParseExpr JsonScalarExpr JsonSerializeExpr JsonTable
	JsonTableColumn JsonTablePathSpec JsonOutput JsonReturning JsonFormat JsonValueExpr JsonKeyValue JsonArgument
	JsonBehavior`)

// isJSON says whether a node is one of SQL/JSON.
func isJSON(n *pg.Node) bool {
	m := inner(n)
	return m != nil && layoutOf(m).json
}

// json understands a node of SQL/JSON with its parts, in the order of its fields.
func (a *analysis) json(m protoreflect.Message, s *scope) error {
	if err := a.enter(); err != nil {
		return err
	}
	defer a.leave()
	switch v := m.Interface().(type) {
	case *pg.Node:
		if sel := v.GetSelectStmt(); sel != nil {
			a.walk(v)
			_, err := a.selectStmt(sel, s, nil)
			return err
		}
		if b := v.GetSortBy(); b != nil {
			return a.exprs(s, b.Node)
		}
		if !isJSON(v) {
			return a.exprs(s, v)
		}
		a.walk(v)
		return a.json(m.Get(m.WhichOneof(m.Descriptor().Oneofs().Get(0))).Message(), s)
	case *pg.TypeName:
		return a.typeName(v)
	case *pg.WindowDef:
		return a.window(v, s)
	case *pg.Alias:
		return nil
	}
	if name := string(m.Descriptor().Name()); !jsonNodes[name] {
		return a.notUnderstoodPart(name)
	}
	a.walk(m.Interface())
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.Message() == nil || !m.Has(f) {
			continue
		}
		if !f.IsList() {
			if err := a.json(m.Get(f).Message(), s); err != nil {
				return err
			}
			continue
		}
		for k := range m.Get(f).List().Len() {
			if err := a.json(m.Get(f).List().Get(k).Message(), s); err != nil {
				return err
			}
		}
	}
	return nil
}

// jsonName is the name of an output column that such a node is (FigureColname in PostgreSQL's parse_target.c).
func jsonName(n *pg.Node) string {
	switch v := n.GetNode().(type) {
	case *pg.Node_JsonObjectConstructor:
		return "json_object"
	case *pg.Node_JsonArrayConstructor, *pg.Node_JsonArrayQueryConstructor:
		return "json_array"
	case *pg.Node_JsonObjectAgg:
		return "json_objectagg"
	case *pg.Node_JsonArrayAgg:
		return "json_arrayagg"
	case *pg.Node_JsonParseExpr:
		return "json"
	case *pg.Node_JsonScalarExpr:
		return "json_scalar"
	case *pg.Node_JsonSerializeExpr:
		return "json_serialize"
	case *pg.Node_JsonFuncExpr:
		return strings.ToLower(strings.TrimSuffix(v.JsonFuncExpr.Op.String(), "_OP"))
	}
	return ""
}

// jsonTable understands JSON_TABLE in FROM, which sees what stands before it.
func (a *analysis) jsonTable(v *pg.JsonTable, s *scope, left []*item) ([]*item, error) {
	if err := a.json(v.ProtoReflect(), &scope{up: s.up, ctes: s.ctes, items: left}); err != nil {
		return nil, err
	}
	it := &item{alias: "json_table", columns: jsonColumns(v.Columns)}
	return []*item{it}, a.alias(it, v.Alias, v.Location)
}

func jsonColumns(list []*pg.Node) (out []column) {
	for _, n := range list {
		c := n.GetJsonTableColumn()
		if c.GetColtype() == pg.JsonTableColumnType_JTC_NESTED {
			out = append(out, jsonColumns(c.Columns)...)
			continue
		}
		out = append(out, column{name: c.GetName()})
	}
	return out
}
