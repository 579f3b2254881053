package postgres

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// regTypes are the types that show an object's OID as its name, with the kind of object.
var regTypes = map[string]string{
	"regclass": "class", "regtype": "type", "regproc": "proc", "regprocedure": "proc", "regoper": "operator", "regoperator": "operator",
	"regnamespace": "namespace", "regrole": "-", "regconfig": "config", "regdictionary": "dictionary", "regcollation": "collation",
}

// oidTypes are the types whose values are numbers of objects, or are taken for such.
var oidTypes = listed("oid int2 int4 int8 regclass regtype regproc regprocedure regoper regoperator regnamespace regrole regconfig regdictionary regcollation oidvector int2vector _oid")

func typeNameOf(t *pg.TypeName) string {
	names := stringsOf(t.GetNames())
	if len(names) == 1 || len(names) == 2 && names[0] == "pg_catalog" {
		return names[len(names)-1]
	}
	return ""
}

// isOID says whether an expression is known to be the number of an object, not a name.
func (a *analysis) isOID(n *pg.Node, s *scope) bool {
	switch v := n.GetNode().(type) {
	case *pg.Node_AConst:
		text, ok := stringConst(n)
		return v.AConst.GetIval() != nil || ok && numeral(text)
	case *pg.Node_TypeCast:
		return oidTypes[typeNameOf(v.TypeCast.TypeName)]
	case *pg.Node_AIndirection:
		return len(v.AIndirection.Indirection) == 1 && v.AIndirection.Indirection[0].GetAIndices() != nil && a.isOID(v.AIndirection.Arg, s)
	case *pg.Node_ColumnRef:
		parts := make([]string, 0, 2)
		for _, f := range v.ColumnRef.Fields {
			parts = append(parts, f.GetString_().GetSval())
		}
		var c *column
		switch len(parts) {
		case 1:
			for level := s; level != nil && c == nil; level = level.up {
				_, c, _ = level.bare(a, parts[0], 0)
			}
		case 2:
			if it := s.find(parts[0]); it != nil {
				for i := range it.columns {
					if it.columns[i].name == parts[1] {
						c = &it.columns[i]
					}
				}
			}
		}
		return c != nil && (c.oid || len(c.from) > 0 && c.from[0].column.Type.Schema == "pg_catalog" && oidTypes[c.from[0].column.Type.Name])
	}
	return false
}

// regCast understands a cast to a type that shows an object's name. n is the cast's node.
func (a *analysis) regCast(n *pg.Node, v *pg.TypeCast, s *scope) error {
	t := v.TypeName
	name := typeNameOf(t)
	kind := regTypes[name]
	if len(t.Typmods) > 0 || t.Setof || t.PctType {
		return a.notUnderstood(nil, t.Location, "The type is not on the list of what is understood.")
	}
	a.walk(t)
	t.Names = []*pg.Node{pg.MakeStrNode("pg_catalog"), pg.MakeStrNode(name)}
	if err := a.exprs(s, v.Arg); err != nil {
		return err
	}
	if len(t.ArrayBounds) > 0 {
		return a.regArray(v, kind)
	}
	if kind != "namespace" && kind != "-" {
		a.prints[n] = true
	}
	if text, ok := stringConst(v.Arg); ok {
		oid, err := a.objectNamed(kind, text, t.Location)
		if err != nil {
			return err
		}
		if oid != nil {
			a.later(func() error { v.Arg = a.wrote(oid); return nil })
			return nil
		}
	}
	if v.Arg.GetAConst().GetIsnull() || kind == "-" {
		return nil
	}
	named := (kind == "class" || kind == "type") && !a.isOID(v.Arg, s)
	a.later(func() (err error) {
		if named {
			v.Arg, err = a.resolved(kind, &pg.Node{Node: v.Arg.Node}, true)
		} else {
			v.Arg, err = a.guarded(kind, &pg.Node{Node: v.Arg.Node})
		}
		return err
	})
	return nil
}

// regArray bounds each element of an array of OIDs.
func (a *analysis) regArray(v *pg.TypeCast, kind string) error {
	if kind == "-" || v.Arg.GetAConst().GetIsnull() {
		return nil
	}
	a.later(func() (err error) {
		condition := a.seenNow().guardCondition(kind, "_gatehouse_e.e")
		v.Arg, err = a.template("(SELECT CASE WHEN _gatehouse_a._gatehouse_o IS NOT NULL THEN ARRAY(SELECT CASE WHEN "+condition+" THEN _gatehouse_e.e END FROM pg_catalog.unnest(_gatehouse_a._gatehouse_o) WITH ORDINALITY AS _gatehouse_e(e, n) ORDER BY _gatehouse_e.n) END FROM (SELECT CAST($60000 AS pg_catalog.oid[]) AS _gatehouse_o OFFSET 0) AS _gatehouse_a)", &pg.Node{Node: v.Arg.Node})
		return err
	})
	return nil
}

// typeof notes that pg_typeof shows the name of a type that users made. Given back as it is, it keeps its own type.
func (a *analysis) typeof(n *pg.Node, v *pg.FuncCall, s *scope) {
	if names := stringsOf(v.Funcname); names[len(names)-1] == "pg_typeof" && len(v.Args) == 1 && a.env.Catalog.TypesByOID[a.valueType(v.Args[0], s)] != nil {
		a.typeofs[n] = true
	}
}

// printed makes text of a value that shows a name, as the client's search path would have it.
func (a *analysis) printed(n *pg.Node) {
	if !a.prints[n] && !a.typeofs[n] {
		return
	}
	a.later(func() error {
		out, err := a.template(a.underPath("CAST($60000 AS pg_catalog.text)"), &pg.Node{Node: n.Node})
		if err == nil {
			n.Node = out.Node
		}
		return err
	})
}

// objectNamed finds the object that a constant names: its OID as a node, or nil where only the database can say.
// A name that is not seen is as one that is not there.
func (a *analysis) objectNamed(kind, text string, location int32) (*pg.Node, error) {
	if numeral(text) {
		return nil, nil
	}
	seen := a.seenNow()
	number := func(oid uint32) *pg.Node { return pg.MakeAConstStrNode(strconv.FormatUint(uint64(oid), 10), -1) }
	missing := func(state, what string) error {
		return refused(UnknownName, state, a.at(location), what+" "+quoted(text)+" does not exist", "Correct the name.")
	}
	same := func() *pg.Node { return pg.MakeAConstStrNode(text, -1) }
	switch kind {
	case "class", "view", "size", "full":
		names := identifiers(text)
		if names == nil {
			return nil, nil
		}
		if len(names) == 1 && (a.env.Catalog.System[Name{"pg_catalog", names[0]}] != nil) || len(names) == 2 && a.env.Catalog.System[Name{names[0], names[1]}] != nil {
			return same(), nil
		}
		if r := a.relationCalled(names); r != nil && seen.relations.has(r.OID) && kind != "view" && (kind != "full" || seen.full.has(r.OID)) && (kind != "size" || len(seen.filtered) == 0) {
			return number(r.OID), nil
		}
		return nil, nil
	case "namespace":
		names := identifiers(text)
		if len(names) != 1 {
			return nil, missing("3F000", "schema")
		}
		if isSystemSchema(names[0]) || seen.schemas.has(a.env.Catalog.Schemas[names[0]]) {
			return same(), nil
		}
		return nil, missing("3F000", "schema")
	case "database":
		return nil, nil
	case "-":
		return same(), nil
	case "type":
		oid, err := a.typeCalled(text)
		switch {
		case err != nil:
			return nil, missing("42704", "type")
		case oid != 0:
			return number(oid), nil
		}
		return same(), nil // one of pg_catalog's, which the pinned path finds
	case "proc":
		name, _, _ := strings.Cut(text, "(")
		names := identifiers(name)
		if names == nil {
			return nil, missing("42883", "function")
		}
		var found []uint32
		var schema string
		for _, f := range a.env.Catalog.Routines {
			if f.Name.Name == names[len(names)-1] && seen.functions.has(f.OID) && (len(names) == 2 && f.Name.Schema == names[0] || len(names) == 1 && slices.Contains(a.env.Catalog.SearchPath, f.Name.Schema)) &&
				(!strings.Contains(text, "(") || strings.HasSuffix(text, "("+f.Arguments+")")) {
				found = append(found, f.OID)
			} else if f.Name.Name == names[len(names)-1] && seen.functions.has(f.OID) && (len(names) == 2 && f.Name.Schema == names[0] || len(names) == 1 && schema == "" && slices.Contains(a.env.Catalog.SearchPath, f.Name.Schema)) {
				schema = f.Name.Schema
			}
		}
		if len(found) == 0 && schema != "" { // the database knows which of them has these arguments
			_, arguments, _ := strings.Cut(text, "(")
			return pg.MakeAConstStrNode(ident(schema)+"."+ident(names[len(names)-1])+"("+arguments, -1), nil
		}
		if len(found) == 1 {
			return number(found[0]), nil
		}
		if len(found) == 0 && (len(names) == 1 || names[0] == "pg_catalog") {
			return same(), nil // one of pg_catalog's, which the pinned path finds
		}
		return nil, missing("42883", "function")
	}
	// Operators, text search objects, collations: those of pg_catalog, by the pinned path.
	if strings.Contains(text, ".") && !strings.HasPrefix(text, "pg_catalog.") || strings.Contains(text, `"`) {
		return nil, missing("42704", "object")
	}
	return same(), nil
}

func numeral(text string) bool {
	_, err := strconv.ParseUint(text, 10, 32)
	return err == nil
}

// relationCalled finds a relation by its name in parts, as a statement would.
func (a *analysis) relationCalled(names []string) *Relation {
	if len(names) == 2 {
		return a.env.Catalog.qualified(Name{names[0], names[1]})
	}
	return a.env.Catalog.unqualified(names[0])
}

// typeCalled finds a type by its text: its OID where users made it, 0 where it is one of pg_catalog's.
func (a *analysis) typeCalled(text string) (uint32, error) {
	n, err := parseSelect("SELECT NULL::" + text)
	if err != nil {
		return 0, err
	}
	list := n.GetSelectStmt().GetTargetList()
	cast := list[0].GetResTarget().GetVal().GetTypeCast()
	if len(list) != 1 || cast == nil || cast.Arg.GetAConst() == nil || n.GetSelectStmt().FromClause != nil || n.GetSelectStmt().WhereClause != nil {
		return 0, fmt.Errorf("not a type")
	}
	t := cast.TypeName
	names := stringsOf(t.Names)
	if len(names) == 2 && names[0] == "pg_catalog" {
		return 0, nil
	}
	own := a.ownType(names)
	if own != nil && (a.seenNow().types.has(own.OID) || own.Kind == 'c' && a.env.Catalog.Relations[own.Name] != nil && a.seenNow().relations.has(a.env.Catalog.Relations[own.Name].OID)) {
		if len(t.ArrayBounds) > 0 {
			return own.Array, nil
		}
		return own.OID, nil
	}
	if len(names) == 1 {
		return 0, nil // the pinned path finds no other
	}
	return 0, fmt.Errorf("no such type")
}

// identifiers are the parts of a qualified name, at most two; nil where the text is not one.
func identifiers(text string) []string {
	n, err := parseSelect("SELECT FROM " + text)
	if err != nil {
		return nil
	}
	sel := n.GetSelectStmt()
	if len(sel.GetFromClause()) != 1 || sel.WhereClause != nil || sel.SortClause != nil || sel.LimitCount != nil || len(sel.LockingClause) > 0 || sel.Op != pg.SetOperation_SETOP_NONE {
		return nil
	}
	v := sel.FromClause[0].GetRangeVar()
	if v == nil || v.Catalogname != "" || v.Alias != nil || !v.Inh || strings.Contains(text, "*") {
		return nil
	}
	if v.Schemaname == "" {
		return []string{v.Relname}
	}
	return []string{v.Schemaname, v.Relname}
}

// resolved finds an object by a computed text, which is its name or its number: NULL where it is not seen, or
// where strict is set, for a name, the error of a name that does not exist.
func (a *analysis) resolved(kind string, value *pg.Node, strict bool) (*pg.Node, error) {
	seen := a.seenNow()
	argument := "(SELECT CAST($60000 AS pg_catalog.text) AS n OFFSET 0) AS _gatehouse_a"
	number := "(CASE WHEN _gatehouse_a.n ~ '^[0-9]{1,10}$' THEN _gatehouse_a.n END)::pg_catalog.oid"
	catalog, name := "pg_class", ""
	switch kind {
	case "namespace":
		catalog, name = "pg_namespace", "nspname"
	case "database":
		catalog, name = "pg_database", "datname"
	}
	if name != "" {
		return a.template(fmt.Sprintf("(SELECT t.oid FROM %s, pg_catalog.%s AS t WHERE (t.%s = _gatehouse_a.n OR t.oid = %s) AND %s LIMIT 1)", argument, catalog, name, number, seen.guardCondition(kind, "t.oid")), value)
	}
	var path []string
	for _, s := range a.env.Catalog.SearchPath {
		path = append(path, stringText(s))
	}
	own := "i.p[1]"
	if t := a.env.Catalog.Temporary; t != nil {
		path = a.env.Catalog.withTemporary(path, stringText(t.Name))
		own = "CASE i.p[1] WHEN 'pg_temp' THEN " + stringText(t.Name) + " ELSE i.p[1] END"
	}
	path = append([]string{stringText("pg_catalog")}, path...)
	schemas := "ARRAY[" + strings.Join(path, ", ") + "]::pg_catalog.name[]"
	condition := seen.guardCondition(kind, "t.oid")
	if kind == "type" {
		return a.template(fmt.Sprintf("(SELECT COALESCE((SELECT t.oid FROM pg_catalog.pg_type AS t WHERE t.oid = %[2]s AND %[3]s), (SELECT t.oid FROM pg_catalog.pg_type AS t WHERE t.oid = pg_catalog.to_regtype(CASE WHEN _gatehouse_a.n !~ '^[0-9]{1,10}$' THEN _gatehouse_a.n END) AND %[3]s)) FROM %[1]s)", argument, number, condition), value)
	}
	found := fmt.Sprintf("(SELECT t.oid FROM pg_catalog.pg_class AS t WHERE t.oid = %[1]s AND %[2]s UNION ALL (SELECT t.oid FROM (SELECT pg_catalog.parse_ident(CASE WHEN _gatehouse_a.n !~ '^[0-9]{1,10}$' AND _gatehouse_a.n <> '-' THEN _gatehouse_a.n END) AS p OFFSET 0) AS i, pg_catalog.pg_class AS t, pg_catalog.pg_namespace AS n"+
		" WHERE n.oid = t.relnamespace AND t.relname = i.p[pg_catalog.array_length(i.p, 1)] AND CASE pg_catalog.array_length(i.p, 1) WHEN 1 THEN n.nspname = ANY (%[3]s) WHEN 2 THEN n.nspname = %[4]s WHEN 3 THEN n.nspname = i.p[2] AND i.p[1] = pg_catalog.current_database() ELSE false END AND %[2]s ORDER BY pg_catalog.array_position(%[3]s, n.nspname) LIMIT 1))",
		number, condition, schemas, own)
	if strict {
		// A name that is not found gives the server's own error for a name that does not exist.
		found = "COALESCE(" + found + ", CAST(CAST((CASE WHEN _gatehouse_a.n !~ '^[0-9]{1,10}$' AND _gatehouse_a.n <> '-' THEN pg_catalog.concat('pg_catalog.', pg_catalog.quote_ident(pg_catalog.concat(_gatehouse_a.n, ' '))) END) AS pg_catalog.regclass) AS pg_catalog.oid))"
	}
	return a.template("(SELECT "+found+" FROM "+argument+")", value)
}

// noteOutputs notes the output columns of a statement. In an arm of a set operation a value keeps its type, which
// the others have too.
func (a *analysis) noteOutputs(v *pg.SelectStmt) {
	if v.GetOp() != pg.SetOperation_SETOP_NONE {
		return
	}
	for _, t := range v.GetTargetList() {
		a.outer[t] = true
	}
}

// recordField says whether a field is one of those of a function that returns rows, or of an output of a
// sub-select that can only be such. (None of their names is one of a function that takes a row.)
func (a *analysis) recordField(n *pg.Node, field string, s *scope) bool {
	if f := n.GetFuncCall(); f != nil {
		return contains(tableFunctions[figureName(n)], field)
	}
	ref := n.GetColumnRef()
	if ref == nil || len(ref.Fields) != 2 || field != "x" && field != "n" {
		return false
	}
	it := s.find(ref.Fields[0].GetString_().GetSval())
	if it == nil {
		return false
	}
	for i := range it.columns {
		if it.columns[i].name == ref.Fields[1].GetString_().GetSval() {
			return len(it.columns[i].from) == 0
		}
	}
	return false
}

// unnamed says whether a type may not be named: one of hidden columns alone, or of the rows of a relation that is
// not seen in full, would tell about them.
func (a *analysis) unnamed(t *Type) bool {
	seen := a.seenNow()
	if r := a.env.Catalog.Relations[t.Name]; r != nil && t.Kind == 'c' {
		return !seen.full.has(r.OID)
	}
	return seen.unnamed.has(t.OID)
}
