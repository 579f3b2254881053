package postgres

import (
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// from understands a FROM clause and puts its items into the scope.
func (a *analysis) from(list []*pg.Node, s *scope) error {
	for _, n := range list {
		items, err := a.fromItem(n, s, s.items)
		if err != nil {
			return err
		}
		if err := a.distinctNames(s.items, items); err != nil {
			return err
		}
		s.items = append(s.items, items...)
	}
	return nil
}

// distinctNames refuses two things in FROM under one name, as the server does.
func (a *analysis) distinctNames(have, more []*item) error {
	if err := a.step(len(have) * len(more)); err != nil {
		return err
	}
	for _, x := range have {
		for _, y := range more {
			if !x.qualified || !y.qualified || x.alias != y.alias || x.alias == "" {
				continue
			}
			if !x.aliased && !y.aliased && x.relation != nil && y.relation != nil && x.relation != y.relation {
				continue // two tables of one name in different schemas
			}
			return refused(UnknownName, "42712", 0, "table name "+quoted(x.alias)+" specified more than once", "Give one of them an alias.")
		}
	}
	return nil
}

// fromItem understands one element of FROM. left are the items before it, for LATERAL.
func (a *analysis) fromItem(n *pg.Node, s *scope, left []*item) ([]*item, error) {
	if err := a.enter(); err != nil {
		return nil, err
	}
	defer a.leave()
	a.walk(n)
	switch v := n.GetNode().(type) {
	case *pg.Node_RangeVar:
		it, err := a.scan(n, v.RangeVar, s)
		return []*item{it}, err
	case *pg.Node_RangeSubselect:
		return a.subselect(v.RangeSubselect, s, left)
	case *pg.Node_RangeFunction:
		return a.rangeFunction(v.RangeFunction, s, left)
	case *pg.Node_JoinExpr:
		return a.join(v.JoinExpr, s, left)
	case *pg.Node_JsonTable:
		return a.jsonTable(v.JsonTable, s, left)
	case *pg.Node_RangeTableSample:
		return a.tableSample(n, v.RangeTableSample, s, left)
	}
	return nil, a.notUnderstood(n, 0, "")
}

func (a *analysis) subselect(v *pg.RangeSubselect, s *scope, left []*item) ([]*item, error) {
	up := &scope{up: s.up, ctes: s.ctes}
	if v.Lateral {
		up = &scope{up: s.up, ctes: s.ctes, items: left}
	}
	before := len(a.named)
	out, err := a.selectStmt(v.Subquery.GetSelectStmt(), up, nil)
	if err != nil {
		return nil, err
	}
	it := &item{columns: out, deep: slices.Clone(a.named[before:])}
	if err := a.alias(it, v.Alias, 0); err != nil {
		return nil, err
	}
	it.qualified = v.Alias != nil
	return []*item{it}, nil
}

// tableFunctions are the functions of pg_catalog that return several columns, with their names.
var tableFunctions = map[string][]string{
	"json_each":       {"key", "value"},
	"json_each_text":  {"key", "value"},
	"jsonb_each":      {"key", "value"},
	"jsonb_each_text": {"key", "value"},

	"_pg_expandarray":        {"x", "n"},
	"aclexplode":             {"grantor", "grantee", "privilege_type", "is_grantable"},
	"pg_get_keywords":        {"word", "catcode", "barelabel", "catdesc", "baredesc"},
	"pg_options_to_table":    {"option_name", "option_value"},
	"pg_partition_tree":      {"relid", "parentrelid", "isleaf", "level"},
	"pg_sequence_parameters": {"start_value", "minimum_value", "maximum_value", "increment", "cycle_option", "cache_size", "data_type"},
	"pg_timezone_abbrevs":    {"abbrev", "utc_offset", "is_dst"},
	"pg_timezone_names":      {"name", "abbrev", "utc_offset", "is_dst"},
	"ts_token_type":          {"tokid", "alias", "description"},
}

// valueNamed are set-returning functions whose one column is called otherwise than the function.
var valueNamed = map[string]string{
	"json_array_elements": "value", "json_array_elements_text": "value",
	"jsonb_array_elements": "value", "jsonb_array_elements_text": "value",
	"pg_partition_ancestors": "relid",
}

func (a *analysis) rangeFunction(v *pg.RangeFunction, s *scope, left []*item) ([]*item, error) {
	inner := &scope{up: s.up, ctes: s.ctes, items: left} // functions are lateral by themselves
	it := &item{}
	for i, n := range v.Functions {
		a.walk(n)
		entry := n.GetList().GetItems()
		if len(entry) == 0 {
			return nil, a.notUnderstood(n, 0, "")
		}
		if err := a.exprs(inner, entry[0]); err != nil {
			return nil, err
		}
		if entry[0].GetFuncCall() == nil && entry[0].GetSqlvalueFunction() == nil {
			return nil, a.notUnderstood(entry[0], 0, "")
		}
		if f := entry[0].GetFuncCall(); f != nil {
			a.inFrom[f] = true
			if c := catalogFunctions[figureName(entry[0])]; c.replaced != nil {
				return nil, a.notBuilt(f.Location, "Calls of "+quoted(figureName(entry[0]))+" as a table are")
			}
		}
		if f := entry[0].GetFuncCall(); f != nil && figureName(entry[0]) == "unnest" && len(f.Args) > 1 {
			f.Funcname = f.Funcname[1:] // several arrays are syntax, which has no schema
		}
		definitions := v.Coldeflist
		if len(entry) > 1 && entry[1].GetNode() != nil {
			a.walk(entry[1])
			definitions = entry[1].GetList().GetItems()
		}
		if i == 0 {
			it.alias = figureName(entry[0])
		}
		var alias *pg.Alias
		if len(v.Functions) == 1 {
			alias = v.Alias
		}
		columns, err := a.functionColumns(entry[0], definitions, alias, inner)
		if err != nil {
			return nil, err
		}
		it.columns = append(it.columns, columns...)
	}
	if v.Ordinality {
		it.columns = append(it.columns, column{name: "ordinality"})
	}
	if err := a.alias(it, v.Alias, 0); err != nil {
		return nil, err
	}
	return []*item{it}, nil
}

// functionColumns are the columns of a function in FROM. alias is given where it is the only one there: then
// it also names the column of a function that returns one.
func (a *analysis) functionColumns(f *pg.Node, definitions []*pg.Node, alias *pg.Alias, s *scope) ([]column, error) {
	name := figureName(f)
	var out []column
	switch {
	case len(definitions) > 0:
		for _, d := range definitions {
			a.walk(d)
			def := d.GetColumnDef()
			if def == nil || def.RawDefault != nil || len(def.Constraints) > 0 {
				return nil, a.notUnderstood(d, 0, "")
			}
			if def.CollClause != nil {
				if err := a.collation(def.CollClause); err != nil {
					return nil, err
				}
			}
			if err := a.typeName(def.TypeName); err != nil {
				return nil, err
			}
			out = append(out, column{name: def.Colname})
		}
		return out, nil
	case name == "unnest" && f.GetFuncCall() != nil:
		// Several arrays stand side by side, and a tsvector is a table of its own.
		for _, arg := range f.GetFuncCall().Args {
			if a.isTSVector(arg, s) {
				out = append(out, column{name: "lexeme"}, column{name: "positions"}, column{name: "weights"})
			} else {
				out = append(out, column{name: "unnest"})
			}
		}
		if len(out) > 1 {
			return out, nil
		}
	case populating[name] && f.GetFuncCall() != nil:
		for _, field := range a.populates(f.GetFuncCall()).Fields {
			out = append(out, column{name: field.Name, typ: field.TypeOID})
		}
		return out, nil
	case f.GetFuncCall() != nil && a.extensionFunction(stringsOf(f.GetFuncCall().Funcname)) != nil && !functions[name]:
		o := a.extensionFunction(stringsOf(f.GetFuncCall().Funcname))
		if o.Differ {
			return nil, a.notBuilt(f.GetFuncCall().Location, "Calls in FROM of "+name+", whose overloads return different columns, are")
		}
		for _, field := range o.Fields {
			out = append(out, column{name: field.Name, typ: field.TypeOID})
		}
		if len(out) > 0 {
			return out, nil
		}
	case tableFunctions[name] != nil:
		for _, c := range tableFunctions[name] {
			out = append(out, column{name: c})
		}
		return out, nil
	}
	switch {
	case valueNamed[name] != "":
		name = valueNamed[name]
	case alias != nil:
		name = alias.Aliasname
	}
	return []column{{name: name}}, nil
}

// isTSVector says whether an expression is known to be a tsvector.
func (a *analysis) isTSVector(n *pg.Node, s *scope) bool {
	switch v := n.GetNode().(type) {
	case *pg.Node_FuncCall:
		names := stringsOf(v.FuncCall.Funcname)
		return contains([]string{"to_tsvector", "setweight", "strip", "ts_delete", "ts_filter", "array_to_tsvector"}, names[len(names)-1])
	case *pg.Node_TypeCast:
		names := stringsOf(v.TypeCast.TypeName.Names)
		return names[len(names)-1] == "tsvector" && len(v.TypeCast.TypeName.ArrayBounds) == 0
	case *pg.Node_ColumnRef: // its table was written into it
		names := stringsOf(v.ColumnRef.Fields)
		if len(names) != 2 {
			return false
		}
		it := s.find(names[0])
		if it == nil {
			return false
		}
		for _, c := range it.columns {
			if c.name == names[1] {
				return len(c.from) > 0 && c.from[0].column.Type == Name{"pg_catalog", "tsvector"}
			}
		}
	}
	return false
}

// tableSample understands TABLESAMPLE. That of a partly seen table moves into its sub-select.
func (a *analysis) tableSample(n *pg.Node, v *pg.RangeTableSample, s *scope, left []*item) ([]*item, error) {
	if v.Relation.GetRangeVar() == nil {
		return nil, a.notUnderstood(v.Relation, v.Location, "")
	}
	if len(v.Method) != 1 || !contains([]string{"system", "bernoulli"}, v.Method[0].GetString_().GetSval()) {
		return nil, a.notUnderstood(nil, v.Location, "The sampling methods are system and bernoulli.")
	}
	items, err := a.fromItem(v.Relation, s, left)
	if err != nil {
		return nil, err
	}
	if items[0].relation == nil || items[0].virtual {
		return nil, a.notUnderstood(nil, v.Location, "Only tables can be sampled.")
	}
	if items[0].masked {
		for _, arg := range append(slices.Clone(v.Args), v.Repeatable) {
			if arg != nil && arg.GetAConst() == nil && arg.GetParamRef() == nil {
				return nil, a.notBuilt(v.Location, "Computed arguments of TABLESAMPLE over tables with masked columns are")
			}
		}
		n.Node = v.Relation.Node
		a.scans[len(a.scans)-1].sample = v
	}
	return items, a.exprs(s, append(slices.Clone(v.Args), v.Repeatable)...)
}

// join understands a JOIN: its sides stay reachable by their names, its columns by their bare names.
func (a *analysis) join(v *pg.JoinExpr, s *scope, left []*item) ([]*item, error) {
	l, err := a.fromItem(v.Larg, s, left)
	if err != nil {
		return nil, err
	}
	r, err := a.fromItem(v.Rarg, s, append(slices.Clone(left), l...))
	if err != nil {
		return nil, err
	}
	if err := a.distinctNames(l, r); err != nil {
		return nil, err
	}
	var merged []string
	for _, u := range v.UsingClause {
		merged = append(merged, u.GetString_().GetSval())
	}
	if v.IsNatural {
		for _, it := range append(slices.Clone(l), r...) {
			it.whole = true
		}
		columns, others := bareColumns(l), bareColumns(r)
		if err := a.step(len(columns) * (len(others) + 1)); err != nil {
			return nil, err
		}
		for _, c := range columns {
			if hasColumn(others, c.name) && !slices.Contains(merged, c.name) {
				merged = append(merged, c.name)
			}
		}
	}
	sides := &scope{up: s.up, ctes: s.ctes, items: append(slices.Clone(l), r...)}
	if v.Quals != nil {
		if err := a.exprs(sides, v.Quals); err != nil {
			return nil, err
		}
		a.conditions(sides, v.Quals)
	}
	out := &item{bare: true, joined: v.Alias == nil}
	for _, name := range merged {
		var m column
		m.name = name
		var compared []probed
		for _, side := range [][]*item{l, r} {
			one := &scope{items: side}
			it, c, err := one.bare(a, name, 0)
			if err != nil {
				return nil, err
			}
			if c == nil {
				return nil, a.unknownColumn(name, 0)
			}
			if err := a.use(it, c, 0, false); err != nil {
				return nil, err
			}
			m.from = append(m.from, c.from...)
			compared = append(compared, probed{typ: c.plain, vars: true, safe: c.safe})
		}
		if a.compared("=", compared[0], compared[1]).safe {
			m.safe = true
			if compared[0].typ == compared[1].typ {
				m.plain = compared[0].typ
			}
		} else {
			a.region.leaky = true
		}
		out.columns = append(out.columns, m)
	}
	for _, side := range [][]*item{l, r} {
		for _, c := range bareColumns(side) {
			if !slices.Contains(merged, c.name) {
				out.columns = append(out.columns, c)
			}
		}
		if err := a.hold(len(out.columns)); err != nil {
			return nil, err
		}
		if err := a.step(len(out.columns) * (len(merged) + 1)); err != nil {
			return nil, err
		}
		for _, it := range side {
			out.deep = append(out.deep, it.deep...)
		}
	}
	if v.Alias != nil {
		if err := a.alias(out, v.Alias, 0); err != nil {
			return nil, err
		}
		if len(v.Alias.Colnames) > 0 {
			for _, c := range out.columns {
				for _, src := range c.from {
					src.item.all = true
				}
			}
		}
		return append([]*item{out}, hidden(l, r, true)...), nil
	}
	items := append([]*item{out}, hidden(l, r, false)...)
	if v.JoinUsingAlias != nil {
		u := &item{alias: v.JoinUsingAlias.Aliasname, aliased: true, qualified: true, columns: out.columns[:len(merged)]}
		items = append(items, u)
	}
	return items, nil
}

// bareColumns are the columns that a side offers by their bare names.
func bareColumns(side []*item) []column {
	var out []column
	for _, it := range side {
		if !it.bare {
			continue
		}
		for _, c := range it.columns {
			if !it.joined {
				c.home = it
			}
			out = append(out, c)
		}
	}
	return out
}

// hidden are the items of both sides as they can be named outside the join: not by bare names of columns,
// and not at all under the join's alias. They are the same items, so that their use is still seen.
func hidden(l, r []*item, aliased bool) []*item {
	if aliased {
		return nil
	}
	var out []*item
	for _, it := range append(slices.Clone(l), r...) {
		it.bare = false
		if it.qualified {
			out = append(out, it)
		}
	}
	return out
}
