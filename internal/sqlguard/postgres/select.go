package postgres

import (
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// selectStmt understands a SELECT, VALUES or set operation and gives its output columns. early, where not
// nil, is given the outputs of the left arm before the right one is read: a recursive query's own columns.
func (a *analysis) selectStmt(v *pg.SelectStmt, up *scope, early func([]column)) ([]column, error) {
	if err := a.enter(); err != nil {
		return nil, err
	}
	defer a.leave()
	if v == nil {
		return nil, a.notUnderstood(nil, 0, "A query without a body was not understood.")
	}
	if v.IntoClause != nil {
		return nil, a.notBuilt(0, "SELECT INTO statements are")
	}
	a.walk(v)
	s := &scope{up: up}
	if err := a.with(v.WithClause, s); err != nil {
		return nil, err
	}
	var out []column
	var err error
	switch {
	case v.Op != pg.SetOperation_SETOP_NONE:
		out, err = a.setOperation(v, s, early)
	case v.ValuesLists != nil:
		if out, err = a.values(v.ValuesLists, s); err == nil {
			sorted := &scope{up: up, ctes: s.ctes, items: []*item{{bare: true, columns: out}}}
			err = a.sortBy(v.SortClause, sorted, out)
		}
	default:
		out, err = a.simpleSelect(v, s)
	}
	if err != nil {
		return nil, err
	}
	return out, a.exprs(s, v.LimitOffset, v.LimitCount)
}

func (a *analysis) setOperation(v *pg.SelectStmt, s *scope, early func([]column)) ([]column, error) {
	if len(v.LockingClause) > 0 {
		return nil, a.notUnderstood(nil, 0, "Row locks on a set operation are not possible.")
	}
	out, err := a.selectStmt(v.Larg, s, nil)
	if err != nil {
		return nil, err
	}
	if early != nil {
		early(out)
	}
	right, err := a.selectStmt(v.Rarg, s, nil)
	if err != nil {
		return nil, err
	}
	out = arms(out, right)
	return out, a.sortBy(v.SortClause, s, out)
}

func (a *analysis) values(lists []*pg.Node, s *scope) ([]column, error) {
	var out []column
	for i, l := range lists {
		items := l.GetList().GetItems()
		if err := a.exprs(s, items...); err != nil {
			return nil, err
		}
		var row []column
		for k := range items {
			row = append(row, a.computed("column"+itoa(k+1), items[k], s))
		}
		if i == 0 {
			out = row
		}
		out = arms(out, row)
	}
	return out, nil
}

func (a *analysis) simpleSelect(v *pg.SelectStmt, s *scope) ([]column, error) {
	before := len(a.named)
	if err := a.from(v.FromClause, s); err != nil {
		return nil, err
	}
	if err := a.locks(v.LockingClause, s, before); err != nil {
		return nil, err
	}
	out, err := a.targets(v.TargetList, s)
	if err != nil {
		return nil, err
	}
	if err := a.exprs(s, v.WhereClause, v.HavingClause); err != nil {
		return nil, err
	}
	a.conditions(s, v.WhereClause, v.HavingClause)
	a.lookups(v.WhereClause, s)
	for _, n := range v.GroupClause {
		if err := a.groupBy(n, s, out); err != nil {
			return nil, err
		}
	}
	for _, w := range v.WindowClause {
		if err := a.window(w.GetWindowDef(), s); err != nil {
			return nil, err
		}
	}
	for _, d := range v.DistinctClause {
		if d.GetNode() == nil { // plain DISTINCT
			continue
		}
		if err := a.outputOrInput(d, s, out); err != nil {
			return nil, err
		}
	}
	if err := a.sortBy(v.SortClause, s, out); err != nil {
		return nil, err
	}
	a.extendGroupBy(v, s)
	return out, nil
}

// targets understands a target list and gives the output columns.
func (a *analysis) targets(list []*pg.Node, s *scope) ([]column, error) {
	var out []column
	for _, n := range list {
		t := n.GetResTarget()
		if t == nil || len(t.Indirection) > 0 {
			return nil, a.notUnderstood(n, 0, "")
		}
		if err := a.outputs(len(out)+1, t.Location); err != nil {
			return nil, err
		}
		if c := t.Val.GetColumnRef(); c != nil {
			cols, star, err := a.star(c, s)
			if err != nil {
				return nil, err
			}
			if star {
				out = append(out, cols...)
				if err := a.outputs(len(out), t.Location); err != nil {
					return nil, err
				}
				continue
			}
			col, err := a.columnRef(c, s, true)
			if err != nil {
				return nil, err
			}
			// What an output reads was touched here; a level outside reads a computed column.
			out = append(out, column{name: outputName(t), extension: col.extension, typ: col.typ, plain: col.plain, safe: col.safe, oid: a.isOID(t.Val, s), sure: true, typed: col.described()})
			continue
		}
		cols, star, err := a.rowStar(t.Val, s)
		if err != nil {
			return nil, err
		}
		if star {
			out = append(out, cols...)
			continue
		}
		nameSetting(t)
		before := len(a.rewrites)
		if err := a.apart(func() error { return a.exprs(s, t.Val) }); err != nil {
			return nil, err
		}
		if a.outer[n] && !a.typeofs[t.Val] {
			a.printed(t.Val)
		}
		if len(a.rewrites) > before { // what is written in its place has another name
			t.Name = outputName(t)
		}
		c := a.computed(outputName(t), t.Val, s)
		c.typ, c.oid, c.sure = a.valueType(t.Val, s), a.isOID(t.Val, s), t.Name != ""
		out = append(out, c)
	}
	return out, nil
}

// star expands `*`, `t.*` and `schema.t.*`; the node itself can stay, since partly seen tables are
// sub-selects.
func (a *analysis) star(c *pg.ColumnRef, s *scope) (out []column, star bool, err error) {
	a.walk(c)
	last := c.Fields[len(c.Fields)-1]
	if last.GetAStar() == nil {
		return nil, false, nil
	}
	var items []*item
	switch len(c.Fields) {
	case 1:
		for _, it := range s.items {
			if it.bare {
				items = append(items, it)
			}
		}
		if len(items) == 0 {
			return nil, true, refused(UnknownName, "42601", a.at(c.Location), "SELECT * with no tables specified is not valid", "Name a table in FROM.")
		}
	case 2:
		name := c.Fields[0].GetString_().GetSval()
		it := s.find(name)
		if it == nil {
			return nil, true, missingFrom(a, name, c.Location)
		}
		items = []*item{it}
	case 3:
		n := Name{c.Fields[0].GetString_().GetSval(), c.Fields[1].GetString_().GetSval()}
		it := s.findRelation(n)
		if it == nil {
			return nil, true, missingFrom(a, n.Name, c.Location)
		}
		c.Fields = c.Fields[1:]
		items = []*item{it}
	default:
		return nil, true, a.notUnderstood(nil, c.Location, "A column is named with at most a schema and a table.")
	}
	for _, it := range items {
		if err := a.outputs(len(out)+len(it.columns), c.Location); err != nil {
			return nil, true, err
		}
		if err := a.useAll(it, c.Location); err != nil {
			return nil, true, err
		}
		for _, c := range it.columns {
			out = append(out, column{name: c.name, extension: c.extension, typ: c.typ, plain: c.plain, safe: c.safe, sure: true, typed: c.described()})
		}
	}
	return out, true, nil
}

// with understands the WITH queries and puts them into the scope.
func (a *analysis) with(w *pg.WithClause, s *scope) error {
	if w == nil {
		return nil
	}
	var all []*cte
	for _, n := range w.Ctes {
		e := n.GetCommonTableExpr()
		c := &cte{name: e.GetCtename()}
		all = append(all, c)
		if w.Recursive {
			s.ctes = append(s.ctes, c)
		}
	}
	for i, n := range w.Ctes {
		e := n.GetCommonTableExpr()
		if e == nil {
			return a.notUnderstood(n, 0, "")
		}
		c := all[i]
		named := func(out []column) error {
			if len(e.Aliascolnames) > len(out) {
				return refused(UnknownName, "42P10", a.at(e.Location), "WITH query "+quoted(c.name)+" has fewer columns than it names", "Name fewer columns.")
			}
			c.columns = slices.Clone(out)
			for k, n := range e.Aliascolnames {
				c.columns[k].name = n.GetString_().GetSval()
			}
			c.known = true
			return nil
		}
		before := len(a.named)
		var early func([]column)
		var earlyErr error
		if w.Recursive {
			early = func(out []column) { earlyErr = named(out) }
		}
		out, err := a.withQuery(e, s, early)
		if err != nil {
			return err
		}
		if earlyErr != nil {
			return earlyErr
		}
		if err := named(out); err != nil {
			return err
		}
		added, err := a.searchAndCycle(e)
		if err != nil {
			return err
		}
		c.columns = append(c.columns, added...)
		c.deep = slices.Clone(a.named[before:])
		if !w.Recursive {
			s.ctes = append(s.ctes, c)
		}
	}
	return nil
}

// withQuery understands the body of a WITH query. One that writes stands at the top of its statement.
func (a *analysis) withQuery(e *pg.CommonTableExpr, s *scope, early func([]column)) ([]column, error) {
	if q := e.Ctequery.GetSelectStmt(); q != nil {
		return a.selectStmt(q, s, early)
	}
	if s.up != nil {
		return nil, refused(NotUnderstood, "0A000", a.at(e.Location), "A WITH query that writes must stand at the top of the statement.", "Move it there.")
	}
	var out []column
	err := a.apart(func() (err error) { // it runs by itself: conditions do not move in or out
		out, err = a.withWrite(e, s)
		return err
	})
	return out, err
}

func (a *analysis) withWrite(e *pg.CommonTableExpr, s *scope) ([]column, error) {
	switch q := e.Ctequery.GetNode().(type) {
	case *pg.Node_InsertStmt:
		return a.insert(q.InsertStmt, s)
	case *pg.Node_UpdateStmt:
		return a.update(q.UpdateStmt, s)
	case *pg.Node_DeleteStmt:
		return a.delete(q.DeleteStmt, s)
	case *pg.Node_MergeStmt:
		return a.merge(q.MergeStmt, s)
	}
	return nil, a.notBuilt(e.Location, "WITH queries of this kind are")
}

// locks understands FOR UPDATE and the like: a lock on rows counts as an update of the table.
func (a *analysis) locks(list []*pg.Node, s *scope, before int) error {
	for _, n := range list {
		l := n.GetLockingClause()
		if l == nil {
			return a.notUnderstood(n, 0, "")
		}
		locked := a.named[before:]
		if len(l.LockedRels) > 0 {
			locked = nil
			for _, r := range l.LockedRels {
				v := r.GetRangeVar()
				it := s.find(v.GetRelname())
				a.walk(v)
				if v == nil || v.Schemaname != "" || it == nil {
					return missingFrom(a, v.GetRelname(), v.GetLocation())
				}
				locked = append(locked, it.deep...)
			}
		}
		if err := a.step(64 * len(locked)); err != nil {
			return err
		}
		for _, r := range locked {
			if r.Kind != Table && r.Kind != PartitionedTable || isSystemSchema(r.Name.Schema) && r.Holding == nil {
				return a.notBuilt(0, "Row locks on views and foreign tables are")
			}
			a.touch("update", a.env.Catalog.TableResource(r.Name))
			if !a.rowsOf("update", r).Within(a.rowsOf("read", r)) {
				return a.notBuilt(0, "Row locks on tables whose rows that may be updated are others than those that may be read ("+r.Name.String()+") are")
			}
			for i := range a.scans {
				a.scans[i].locked = a.scans[i].locked || a.scans[i].item.relation == r
			}
		}
	}
	return nil
}

// arms are the columns of two arms of a set operation, or of two rows: what is known of both.
func arms(l, r []column) []column {
	out := slices.Clone(l)
	for i := range out {
		out[i].typed = 0
		if i >= len(r) || !r[i].safe {
			out[i].safe = false
		}
		switch {
		case i >= len(r):
		case out[i].plain == unknownType:
			out[i].plain = r[i].plain
		case r[i].plain != unknownType && out[i].plain != r[i].plain:
			out[i].plain = ""
		}
	}
	return out
}

// sortBy understands ORDER BY: a bare name is an output column first (SQL92), else an input column.
func (a *analysis) sortBy(list []*pg.Node, s *scope, out []column) error {
	for _, n := range list {
		b := n.GetSortBy()
		if b == nil {
			return a.notUnderstood(n, 0, "")
		}
		if err := a.operatorName(b.UseOp, b.Location); err != nil {
			return err
		}
		if err := a.outputOrInput(b.Node, s, out); err != nil {
			return err
		}
	}
	return nil
}

func (a *analysis) outputOrInput(n *pg.Node, s *scope, out []column) error {
	if err := a.step(len(out)); err != nil {
		return err
	}
	if name, ok := bareIdent(n); ok && hasColumn(out, name) {
		a.walk(n)
		return nil
	}
	if c := n.GetColumnRef(); c != nil {
		_, err := a.columnRef(c, s, true)
		return err
	}
	return a.exprs(s, n)
}

// groupBy understands one element of GROUP BY: a bare name is an input column of this level first, then an
// output column.
func (a *analysis) groupBy(n *pg.Node, s *scope, out []column) error {
	if g := n.GetGroupingSet(); g != nil {
		for _, e := range g.Content {
			if err := a.groupBy(e, s, out); err != nil {
				return err
			}
		}
		return nil
	}
	if r := n.GetRowExpr(); r != nil {
		a.walk(n)
		for _, e := range r.Args {
			if err := a.groupBy(e, s, out); err != nil {
				return err
			}
		}
		return nil
	}
	if name, ok := bareIdent(n); ok {
		if err := a.step(len(out)); err != nil {
			return err
		}
		it, c, err := s.bare(a, name, n.GetColumnRef().Location)
		if err != nil {
			return err
		}
		if it == nil && hasColumn(out, name) {
			a.walk(n)
			return nil
		}
		if c != nil {
			if err := a.bind(n.GetColumnRef(), it, c, s); err != nil {
				return err
			}
			return a.use(it, c, n.GetColumnRef().Location, true)
		}
	}
	if c := n.GetColumnRef(); c != nil {
		_, err := a.columnRef(c, s, true)
		return err
	}
	return a.exprs(s, n)
}

func bareIdent(n *pg.Node) (string, bool) {
	c := n.GetColumnRef()
	if c == nil || len(c.Fields) != 1 || c.Fields[0].GetString_() == nil {
		return "", false
	}
	return c.Fields[0].GetString_().Sval, true
}

func hasColumn(out []column, name string) bool {
	return slices.ContainsFunc(out, func(c column) bool { return c.name == name })
}

// extendGroupBy keeps what GROUP BY of a primary key implies: the table's other columns depend on it, which
// the server cannot see through a sub-select. They are added, as far as they can be grouped.
func (a *analysis) extendGroupBy(v *pg.SelectStmt, s *scope) {
	if len(v.GroupClause) == 0 {
		return
	}
	for _, it := range s.items {
		if !it.masked || !it.qualified || len(it.relation.PrimaryKey) == 0 || !a.groupedByKey(v.GroupClause, it, s) {
			continue
		}
		done := map[*Column]bool{}
		for _, c := range it.used {
			if done[c] || slices.Contains(it.relation.PrimaryKey, c.Number) || !groupable(c) {
				continue
			}
			done[c] = true
			for i := range it.columns {
				if it.columns[i].from[0].column == c {
					v.GroupClause = append(v.GroupClause, a.wrote(pg.MakeColumnRefNode([]*pg.Node{pg.MakeStrNode(it.alias), pg.MakeStrNode(it.columns[i].name)}, 0)))
				}
			}
		}
	}
}

// groupedByKey says whether every column of the primary key stands in GROUP BY as it is, unmasked.
func (a *analysis) groupedByKey(group []*pg.Node, it *item, s *scope) bool {
	for _, number := range it.relation.PrimaryKey {
		found := false
		for _, g := range group {
			c := g.GetColumnRef()
			if c == nil {
				if g.GetGroupingSet() != nil {
					return false
				}
				continue
			}
			var name string
			switch len(c.Fields) {
			case 1:
				name = c.Fields[0].GetString_().GetSval()
				if in, _, err := s.bare(a, name, 0); err != nil || in == nil {
					continue
				} else if _, col, _ := s.bare(a, name, 0); !slices.ContainsFunc(col.from, func(src source) bool { return src.item == it && src.column.Number == number }) {
					continue
				}
				found = true
				continue
			case 2:
				if s.find(c.Fields[0].GetString_().GetSval()) != it {
					continue
				}
				name = c.Fields[1].GetString_().GetSval()
			default:
				continue
			}
			for i := range it.columns {
				if it.columns[i].name == name && it.columns[i].from[0].column.Number == number {
					found = true
				}
			}
		}
		if !found || slices.Contains(a.plan.Guarded[it.relation.OID], number) {
			return false
		}
	}
	return true
}

// groupable says whether values of the column's type can be grouped.
func groupable(c *Column) bool {
	switch c.Type.Name {
	case "json", "xml", "point", "box", "lseg", "path", "polygon", "circle", "line":
		return false
	}
	return true
}
