package postgres

import (
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"

	"gatehouse/internal/policy"
)

// target finds the table that a statement writes and makes its item: the values are raw there.
func (a *analysis) target(v *pg.RangeVar, action string) (*item, error) {
	r, err := a.lookup(v)
	if err != nil {
		return nil, err
	}
	switch {
	case r.Kind != Table && r.Kind != PartitionedTable:
		return nil, a.notBuilt(v.Location, "Writes to views, foreign tables and sequences ("+r.Name.String()+") are")
	case r.Rules:
		return nil, a.notBuilt(v.Location, "Writes to tables with rewrite rules ("+r.Name.String()+") are")
	case r.Unknown:
		return nil, a.notBuilt(v.Location, "Writes to tables whose triggers cannot be traced ("+r.Name.String()+") are")
	}
	if err := a.holds(r, v.Location); err != nil {
		return nil, err
	}
	if r.Holding != nil {
		a.statement.Fills = append(a.statement.Fills, r.OID)
	}
	a.statement.Writes = true
	a.relation(r)
	a.touch(action, a.env.Catalog.TableResource(r.Name))
	for _, f := range r.Calls {
		a.touch("call", a.env.Catalog.FunctionResource(f))
	}
	for _, c := range r.Cascades {
		does := c.OnDelete
		if action == "update" {
			does = c.OnUpdate
		}
		if action == "insert" || does == "" {
			continue
		}
		below := a.env.Catalog.ByOID[c.OID]
		if below == nil {
			return nil, a.notBuilt(v.Location, "Writes that cascade outside the connection's schemas are")
		}
		a.touch(does, a.env.Catalog.TableResource(below.Name))
		if err := a.whole(below, v.Location, "The foreign key's action"); err != nil {
			return nil, err
		}
		for _, f := range below.Calls {
			a.touch("call", a.env.Catalog.FunctionResource(f))
		}
	}
	qualify(v, r)
	it := a.rawItem(r, v)
	return it, a.filterTarget(it, action, v)
}

// rawItem is the item of a relation whose values are seen as they are.
func (a *analysis) rawItem(r *Relation, v *pg.RangeVar) *item {
	it := &item{alias: v.Relname, relation: r, raw: true, qualified: true, bare: true, deep: []*Relation{r}}
	if v.Alias != nil {
		it.alias, it.aliased = v.Alias.Aliasname, true
	}
	for i := range r.Columns {
		c := &r.Columns[i]
		it.columns = append(it.columns, column{name: c.Name, from: []source{{it, c}}, extension: c.Extension, typ: c.TypeOID, plain: c.plainType(), safe: c.plainType() != ""})
	}
	return it
}

// masked are the columns of the relation that are not shown as they are.
func (a *analysis) maskedColumns(r *Relation) []policy.Touch {
	var missing []policy.Touch
	for i := range r.Columns {
		e := a.read(r, &r.Columns[i])
		resource := a.env.Catalog.ColumnResource(r, &r.Columns[i])
		if !e.Visible {
			missing = append(missing, policy.Touch{Action: "read", Resource: resource})
		} else if e.Mask != policy.MaskNone {
			missing = append(missing, policy.Touch{Action: "reveal", Resource: resource})
		}
	}
	return missing
}

// writes notes that a statement writes a column.
func (a *analysis) writes(action string, it *item, name string, location int32) error {
	c := it.relation.Column(name)
	if c == nil {
		return refused(UnknownName, "42703", a.at(location), "column "+quoted(name)+" of relation "+quoted(it.relation.Name.Name)+" does not exist", "Correct the name.")
	}
	a.touch(action, a.env.Catalog.ColumnResource(it.relation, c))
	rows := a.env.Sight.May(action, a.env.Catalog.ColumnResource(it.relation, c)).Rows
	it.check = it.check.And(rows)
	if !it.inserted {
		it.rows = it.rows.And(rows)
	}
	return nil
}

// insert, update and delete give the columns that they return. up is what a WITH query sees from outside:
// other WITH queries, never columns.
func (a *analysis) insert(v *pg.InsertStmt, up *scope) ([]column, error) {
	a.walk(v)
	s := &scope{up: up}
	if err := a.with(v.WithClause, s); err != nil {
		return nil, err
	}
	it, err := a.target(v.Relation, "insert")
	if err != nil {
		return nil, err
	}
	width := 0
	if q := v.SelectStmt.GetSelectStmt(); q != nil {
		outer := &scope{up: up, ctes: s.ctes}
		out, err := a.selectStmt(q, outer, nil)
		if err != nil {
			return nil, err
		}
		width = len(out)
	}
	if v.Cols == nil && v.SelectStmt != nil {
		// Which columns are meant is said, so that it cannot change before the statement runs.
		if width > len(it.relation.Columns) {
			return nil, refused(NotUnderstood, "42601", 0, "INSERT has more expressions than target columns", "Give one expression for each column.")
		}
		for _, c := range it.relation.Columns[:width] {
			v.Cols = append(v.Cols, &pg.Node{Node: &pg.Node_ResTarget{ResTarget: &pg.ResTarget{Name: c.Name}}})
		}
	}
	for _, n := range v.Cols {
		t := n.GetResTarget()
		if t == nil {
			return nil, a.notUnderstood(n, 0, "")
		}
		if err := a.writes("insert", it, t.Name, t.Location); err != nil {
			return nil, err
		}
		if err := a.part(it, t, &scope{}, false); err != nil {
			return nil, err
		}
	}
	if err := a.checkInsert(v, it); err != nil {
		return nil, err
	}
	if v.OnConflictClause != nil {
		if err := a.onConflict(v.OnConflictClause, it, s); err != nil {
			return nil, err
		}
	}
	s.items = []*item{it}
	return a.returning(&v.ReturningList, it, s)
}

func (a *analysis) onConflict(v *pg.OnConflictClause, it *item, s *scope) error {
	if err := a.conflictRows(v, it); err != nil {
		return err
	}
	alone := &scope{up: s.up, items: []*item{it}, ctes: s.ctes}
	named := v.Infer != nil && len(v.Infer.IndexElems) > 0
	if !named {
		// Whichever unique key there is: whether a row came in tells about its values.
		if missing := a.maskedColumns(it.relation); len(missing) > 0 {
			return a.denied(v.Location, "Whether ON CONFLICT finds a row tells about masked columns of "+it.relation.Name.String()+"; name the columns of the conflict.", missing...)
		}
	} else {
		if v.Infer.Conname != "" {
			return a.notUnderstood(nil, v.Location, "ON CONFLICT names columns or a constraint, not both.")
		}
		for _, n := range v.Infer.IndexElems {
			e := n.GetIndexElem()
			if e == nil || e.Expr != nil || len(e.Collation) > 0 || len(e.Opclass) > 0 {
				return a.notBuilt(v.Location, "Conflict targets other than columns are")
			}
			if _, err := a.itemColumn(it, e.Name, v.Location, true); err != nil {
				return err
			}
		}
		if err := a.exprs(alone, v.Infer.WhereClause); err != nil {
			return err
		}
	}
	if v.Action != pg.OnConflictAction_ONCONFLICT_UPDATE {
		return nil
	}
	a.touch("update", a.env.Catalog.TableResource(it.relation.Name))
	excluded := a.rawItem(it.relation, &pg.RangeVar{Relname: "excluded"})
	excluded.aliased = true
	both := &scope{up: s.up, items: []*item{it, excluded}, ctes: s.ctes}
	excluded.bare = false // the server finds a bare name ambiguous; the table's own is meant at most
	if err := a.assignments(v.TargetList, it, both); err != nil {
		return err
	}
	if err := a.exprs(both, v.WhereClause); err != nil {
		return err
	}
	return a.filterConflict(v, it, both)
}

// assignments understands the SET list of an update.
func (a *analysis) assignments(list []*pg.Node, it *item, s *scope) error {
	for _, n := range list {
		t := n.GetResTarget()
		if t == nil {
			return a.notUnderstood(n, 0, "")
		}
		if err := a.writes("update", it, t.Name, t.Location); err != nil {
			return err
		}
		if err := a.part(it, t, s, true); err != nil {
			return err
		}
		if err := a.apart(func() error { return a.exprs(s, t.Val) }); err != nil {
			return err
		}
	}
	return nil
}

func (a *analysis) update(v *pg.UpdateStmt, up *scope) ([]column, error) {
	a.walk(v)
	s := &scope{up: up}
	if err := a.with(v.WithClause, s); err != nil {
		return nil, err
	}
	it, err := a.target(v.Relation, "update")
	if err != nil {
		return nil, err
	}
	if err := a.beside(v.FromClause, it, s); err != nil {
		return nil, err
	}
	if err := a.assignments(v.TargetList, it, s); err != nil {
		return nil, err
	}
	if err := a.exprs(s, v.WhereClause); err != nil {
		return nil, err
	}
	a.conditions(s, v.WhereClause)
	p := a.pendingOf(it)
	p.where, p.checked = &v.WhereClause, true
	if err := a.checkUpdate(v.TargetList, it, it.check, v.Relation.Location); err != nil {
		return nil, err
	}
	return a.returning(&v.ReturningList, it, s)
}

func (a *analysis) delete(v *pg.DeleteStmt, up *scope) ([]column, error) {
	a.walk(v)
	s := &scope{up: up}
	if err := a.with(v.WithClause, s); err != nil {
		return nil, err
	}
	it, err := a.target(v.Relation, "delete")
	if err != nil {
		return nil, err
	}
	if err := a.beside(v.UsingClause, it, s); err != nil {
		return nil, err
	}
	if err := a.exprs(s, v.WhereClause); err != nil {
		return nil, err
	}
	a.conditions(s, v.WhereClause)
	p := a.pendingOf(it)
	p.where, p.checked = &v.WhereClause, true
	return a.returning(&v.ReturningList, it, s)
}

// beside understands the FROM of an update or the USING of a delete: it does not see the written table.
func (a *analysis) beside(list []*pg.Node, it *item, s *scope) error {
	if err := a.from(list, s); err != nil {
		return err
	}
	if err := a.distinctNames(s.items, []*item{it}); err != nil {
		return err
	}
	s.items = append([]*item{it}, s.items...)
	return nil
}

// returning understands a RETURNING list. A plain column of the written table comes back masked; a star
// becomes the columns that are seen; an expression must not read a masked column.
func (a *analysis) returning(list *[]*pg.Node, it *item, s *scope) ([]column, error) {
	s = a.versions(it, s)
	var out []*pg.Node
	var columns []column
	for _, n := range *list {
		if err := a.outputs(len(columns)+1, 0); err != nil {
			return nil, err
		}
		t := n.GetResTarget()
		if t == nil || len(t.Indirection) > 0 {
			return nil, a.notUnderstood(n, 0, "")
		}
		c := t.Val.GetColumnRef()
		if c == nil {
			before := len(a.rewrites)
			if err := a.exprs(s, t.Val); err != nil {
				return nil, err
			}
			if len(a.rewrites) > before { // what is written in its place has another name
				t.Name = outputName(t)
			}
			columns = append(columns, column{name: outputName(t), sure: t.Name != ""})
			out = append(out, n)
			continue
		}
		if c.Fields[len(c.Fields)-1].GetAStar() != nil {
			expanded, names, err := a.returningStar(c, it, s)
			if err != nil {
				return nil, err
			}
			columns = append(columns, names...)
			out = append(out, expanded...)
			continue
		}
		owner, col := a.plainTarget(c, it, s)
		if col == nil {
			found, err := a.columnRef(c, s, true)
			if err != nil {
				return nil, err
			}
			columns = append(columns, column{name: outputName(t), extension: found.extension, sure: true, typed: found.described()})
			out = append(out, n)
			continue
		}
		node, err := a.returned(col, owner, outputName(t), c.Location)
		if err != nil {
			return nil, err
		}
		columns = append(columns, a.returnedColumn(it.relation, col, outputName(t)))
		out = append(out, node)
	}
	*list = out
	return columns, a.outputs(len(columns), 0)
}

// returnedColumn is a column of the written table as a WITH query offers it.
func (a *analysis) returnedColumn(r *Relation, c *Column, name string) column {
	return column{name: name, extension: c.Extension && a.read(r, c).Mask == policy.MaskNone, sure: true, typed: c.described()}
}

// versions adds what RETURNING calls old and new: the written table's row before and after (PostgreSQL 18). As at the
// server, they are not there where something in FROM that can be named has the name; older servers know neither.
func (a *analysis) versions(it *item, s *scope) *scope {
	if a.env.Catalog.Server < 18 {
		return s
	}
	out := *s
	out.items = slices.Clone(s.items)
	for _, alias := range []string{"old", "new"} {
		if slices.ContainsFunc(s.items, func(i *item) bool { return i.qualified && i.alias == alias }) {
			continue
		}
		v := &item{alias: alias, aliased: true, relation: it.relation, raw: true, qualified: true, deep: it.deep, of: it}
		for _, c := range it.columns { // what is read of it is read of the table
			c.home = nil
			v.columns = append(v.columns, c)
		}
		out.items = append(out.items, v)
	}
	return &out
}

// plainTarget is the column of the written table that a reference is, and the item by which it is named: the table
// itself, or its old or new row; nil for any other.
func (a *analysis) plainTarget(c *pg.ColumnRef, it *item, s *scope) (*item, *Column) {
	names := stringsOf(c.Fields)
	var owner *item
	switch len(names) {
	case 1:
		var err error
		if owner, _, err = s.bare(a, names[0], 0); err != nil {
			return nil, nil
		}
	case 2:
		owner = s.find(names[0])
	case 3:
		owner = s.findRelation(Name{names[0], names[1]})
	}
	if owner == nil || owner != it && owner.of != it {
		return nil, nil
	}
	return owner, it.relation.Column(names[len(names)-1])
}

func (a *analysis) returningStar(c *pg.ColumnRef, it *item, s *scope) (out []*pg.Node, columns []column, err error) {
	var items []*item
	switch len(c.Fields) {
	case 1:
		for _, i := range s.items {
			if i.bare {
				items = append(items, i)
			}
		}
	default:
		if _, _, err := a.starItem(c, s, &items); err != nil {
			return nil, nil, err
		}
	}
	for _, i := range items {
		if i != it && i.of != it {
			if !i.qualified {
				return nil, nil, a.notBuilt(c.Location, "RETURNING * over a join is")
			}
			if err := a.useAll(i, c.Location); err != nil {
				return nil, nil, err
			}
			for _, c := range i.columns {
				columns = append(columns, column{name: c.name, extension: c.extension, sure: true, typed: c.described()})
			}
			ref := pg.MakeColumnRefNode([]*pg.Node{pg.MakeStrNode(i.alias), {Node: &pg.Node_AStar{AStar: &pg.A_Star{}}}}, 0)
			out = append(out, a.wrote(pg.MakeResTargetNodeWithVal(ref, 0)))
			continue
		}
		for k := range it.relation.Columns {
			col := &it.relation.Columns[k]
			if !a.read(it.relation, col).Visible {
				a.plan.Masked = true
				continue
			}
			node, err := a.returned(col, i, col.Name, c.Location)
			if err != nil {
				return nil, nil, err
			}
			columns = append(columns, a.returnedColumn(it.relation, col, col.Name))
			out = append(out, node)
		}
	}
	if len(out) == 0 {
		return nil, nil, a.denied(c.Location, "No column of "+it.relation.Name.String()+" may be read.", a.maskedColumns(it.relation)...)
	}
	return out, columns, nil
}

// starItem finds what `t.*` or `schema.t.*` means.
func (a *analysis) starItem(c *pg.ColumnRef, s *scope, items *[]*item) (string, bool, error) {
	names := stringsOf(c.Fields[:len(c.Fields)-1])
	var it *item
	if len(names) == 1 {
		it = s.find(names[0])
	} else if len(names) == 2 {
		it = s.findRelation(Name{names[0], names[1]})
	}
	if it == nil {
		return "", false, missingFrom(a, names[len(names)-1], c.Location)
	}
	*items = append(*items, it)
	return it.alias, true, nil
}

// returned is the target of a column of the written table, masked where it must be.
func (a *analysis) returned(c *Column, it *item, name string, location int32) (*pg.Node, error) {
	resource := a.env.Catalog.ColumnResource(it.relation, c)
	e := a.read(it.relation, c)
	if !e.Visible {
		return nil, a.denied(location, "The statement returns the column "+resource.ID+", which no policy permits.", policy.Touch{Action: "read", Resource: resource})
	}
	target := it
	if it.of != nil {
		target = it.of
	}
	if !target.inserted { // the value is read, whatever the condition says
		target.rows = target.rows.And(e.Rows)
	}
	a.touch("read", a.env.Catalog.TableResource(it.relation.Name))
	a.touch("read", resource)
	ref := ident(it.alias) + "." + ident(c.Name)
	if e.Mask != policy.MaskNone {
		a.plan.Masked = true
	}
	sub, err := parseSelect("SELECT " + maskText(c, e, ref) + " AS " + ident(name))
	if err != nil {
		return nil, a.unprintable()
	}
	return a.wrote(sub.GetSelectStmt().TargetList[0]), nil
}
