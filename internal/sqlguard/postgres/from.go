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
	case *pg.Node_RangeTableSample:
		return a.tableSample(v.RangeTableSample, s, left)
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
}

// valueNamed are set-returning functions whose one column is called otherwise than the function.
var valueNamed = map[string]string{
	"json_array_elements": "value", "json_array_elements_text": "value",
	"jsonb_array_elements": "value", "jsonb_array_elements_text": "value",
}

func (a *analysis) rangeFunction(v *pg.RangeFunction, s *scope, left []*item) ([]*item, error) {
	if len(v.Functions) != 1 || v.IsRowsfrom {
		return nil, a.notBuilt(0, "ROWS FROM lists are")
	}
	entry := v.Functions[0].GetList().GetItems()
	if len(entry) == 0 {
		return nil, a.notUnderstood(v.Functions[0], 0, "")
	}
	inner := &scope{up: s.up, ctes: s.ctes, items: left} // functions are lateral by themselves
	if err := a.exprs(inner, entry[0]); err != nil {
		return nil, err
	}
	if len(entry) > 1 && entry[1].GetNode() != nil {
		return nil, a.notBuilt(0, "Column definition lists inside ROWS FROM are")
	}
	f := entry[0].GetFuncCall()
	if f == nil {
		if entry[0].GetSqlvalueFunction() == nil {
			return nil, a.notUnderstood(entry[0], 0, "")
		}
	}
	name := figureName(entry[0])
	it := &item{alias: name}
	switch {
	case len(v.Coldeflist) > 0:
		for _, d := range v.Coldeflist {
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
			it.columns = append(it.columns, column{name: def.Colname})
		}
	case tableFunctions[name] != nil:
		for _, c := range tableFunctions[name] {
			it.columns = append(it.columns, column{name: c})
		}
	case name == "unnest" && f != nil && len(f.Args) > 1:
		for range f.Args {
			it.columns = append(it.columns, column{name: "unnest"})
		}
	default:
		c := name
		if valueNamed[name] != "" {
			c = valueNamed[name]
		} else if v.Alias != nil {
			c = v.Alias.Aliasname
		}
		it.columns = append(it.columns, column{name: c})
	}
	if v.Ordinality {
		it.columns = append(it.columns, column{name: "ordinality"})
	}
	if err := a.alias(it, v.Alias, 0); err != nil {
		return nil, err
	}
	return []*item{it}, nil
}

func (a *analysis) tableSample(v *pg.RangeTableSample, s *scope, left []*item) ([]*item, error) {
	items, err := a.fromItem(v.Relation, s, left)
	if err != nil {
		return nil, err
	}
	if v.Relation.GetRangeVar() == nil || items[0].relation == nil {
		return nil, a.notBuilt(v.Location, "TABLESAMPLE of tables with masked columns is")
	}
	if len(v.Method) != 1 || !contains([]string{"system", "bernoulli"}, v.Method[0].GetString_().GetSval()) {
		return nil, a.notUnderstood(nil, v.Location, "The sampling methods are system and bernoulli.")
	}
	return items, a.exprs(s, append(v.Args, v.Repeatable)...)
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
		for _, c := range bareColumns(l) {
			if hasColumn(bareColumns(r), c.name) && !slices.Contains(merged, c.name) {
				merged = append(merged, c.name)
			}
		}
	}
	sides := &scope{up: s.up, ctes: s.ctes, items: append(slices.Clone(l), r...)}
	if v.Quals != nil {
		if err := a.exprs(sides, v.Quals); err != nil {
			return nil, err
		}
	}
	out := &item{bare: true, joined: v.Alias == nil}
	for _, name := range merged {
		var m column
		m.name = name
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
		}
		out.columns = append(out.columns, m)
	}
	for _, side := range [][]*item{l, r} {
		for _, c := range bareColumns(side) {
			if !slices.Contains(merged, c.name) {
				out.columns = append(out.columns, c)
			}
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
