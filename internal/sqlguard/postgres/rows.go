package postgres

import (
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"

	"gatehouse/internal/policy"
)

// OutsideFilter is in the message of the error that the database raises where a row would be written that is
// outside the row filter of a policy.
const OutsideFilter = "gatehouse_row_outside_the_filter_of_a_policy"

// Rows are the rows of a table that may be touched with an action, by its own policies and by those of the
// tables that it is inherited from.
func (c *Catalog) Rows(s Sight, action string, r *Relation) policy.Rows {
	e := s.May(action, c.TableResource(r.Name))
	for _, oid := range r.Parents {
		if p := c.ByOID[oid]; p != nil {
			e = e.And(s.May(action, c.TableResource(p.Name)))
		}
	}
	return e.Rows
}

func (a *analysis) rowsOf(action string, r *Relation) policy.Rows {
	return a.env.Catalog.Rows(a.env.Sight, action, r)
}

// filteredColumn says whether any column of a relation that may be read is so in some rows only.
func (a *analysis) filteredColumn(r *Relation) bool {
	for i := range r.Columns {
		if e := a.read(r, &r.Columns[i]); e.Visible && len(e.Rows) > 0 {
			return true
		}
	}
	return false
}

// filterScan begins the filter of a scan. A child whose own filter the parent's does not have must be named.
func (a *analysis) filterScan(it *item, children bool, location int32) error {
	r := it.relation
	it.rows = a.rowsOf("read", r)
	if err := a.childrenWithin("read", r, it.rows, children, location); err != nil {
		return err
	}
	it.filtered = len(it.rows) > 0 || a.filteredColumn(r)
	a.wide[r] = a.wide[r] || it.filtered // the filter binds columns by position
	return nil
}

// childrenWithin refuses a statement that goes through a parent to the rows of a child with a filter of its own.
func (a *analysis) childrenWithin(action string, r *Relation, rows policy.Rows, children bool, location int32) error {
	for _, oid := range r.Children {
		child := a.env.Catalog.ByOID[oid]
		if !children || child == nil {
			continue
		}
		if own := a.env.Sight.May(action, a.env.Catalog.TableResource(child.Name)); own.Visible && !own.Rows.Within(rows) {
			return refused(Denied, "42501", a.at(location), "The table "+child.Name.String()+", which "+r.Name.String()+" holds, has a row filter of its own.", "Name the tables that it holds one by one, or ONLY "+r.Name.String()+".")
		}
	}
	return nil
}

// whole refuses what touches all rows of a table of which the principal may touch some only.
func (a *analysis) whole(r *Relation, location int32, what string) error {
	for _, action := range []string{"read", "update", "delete"} {
		if len(a.rowsOf(action, r)) > 0 || action == "read" && a.filteredColumn(r) {
			return refused(Denied, "42501", a.at(location), what+" touches all rows of "+r.Name.String()+", which has a row filter.", "Leave that out, or ask a policy owner for all rows.")
		}
	}
	return nil
}

// pendingWrite is the filter of a written table, which is put into the statement at its end.
type pendingWrite struct {
	item   *item
	region *region
	// where is the condition that says which rows are written; nil where the statement's kind has none that
	// the filter can be added to.
	where **pg.Node
	// checked is set where the new rows are checked, or are none.
	checked  bool
	location int32
}

// filterTarget begins the filter of a written table: rows that may be read and written, and what new rows
// must pass.
func (a *analysis) filterTarget(it *item, action string, v *pg.RangeVar) error {
	r := it.relation
	own := a.rowsOf(action, r)
	if action == "insert" || action == "update" {
		it.check = own
	}
	if action != "insert" {
		it.rows = own
		if read := a.env.Sight.Read(a.env.Catalog.TableResource(r.Name)); read.Visible {
			it.rows = it.rows.And(a.rowsOf("read", r))
		}
	}
	it.inserted = action == "insert"
	if err := a.childrenWithin(action, r, it.rows.And(it.check), v.Inh, v.Location); err != nil {
		return err
	}
	a.targeted = append(a.targeted, &pendingWrite{item: it, region: a.region, location: v.Location})
	return nil
}

func (a *analysis) pendingOf(it *item) *pendingWrite {
	i := slices.IndexFunc(a.targeted, func(p *pendingWrite) bool { return p.item == it })
	if i < 0 {
		return &pendingWrite{item: it, region: a.region}
	}
	return a.targeted[i]
}

// fillTargets writes the filters of written tables.
func (a *analysis) fillTargets() error {
	for _, p := range a.targeted {
		it := p.item
		if len(it.check) > 0 && !p.checked {
			return a.notBuilt(p.location, "Writes of this kind to tables with a row filter ("+it.relation.Name.String()+") are")
		}
		if len(it.rows) == 0 || it.inserted && p.where == nil {
			continue
		}
		switch {
		case p.where == nil:
			return a.notBuilt(p.location, "Writes of this kind to tables with a row filter ("+it.relation.Name.String()+") are")
		case p.region.leaky:
			return refused(Denied, "42501", a.at(p.location), "The table "+it.relation.Name.String()+" has a row filter, and a condition of this write could tell about rows outside it.",
				"Use conditions that compare columns with values of their own types by =, <, >, IN or BETWEEN, on types such as integers, text, uuid and dates; or select the keys first and write by them.")
		}
		filter, err := a.filterNode(it.relation, it.rows, func(c *Column) *pg.Node { return fieldOf(it.alias, c.Name) })
		if err != nil {
			return err
		}
		*p.where = joined(pg.BoolExprType_AND_EXPR, []*pg.Node{*p.where, filter})
		a.plan.Filtered = true
	}
	return nil
}

func fieldOf(alias, name string) *pg.Node {
	return pg.MakeColumnRefNode([]*pg.Node{pg.MakeStrNode(alias), pg.MakeStrNode(name)}, 0)
}

// fillFilter puts the filter into a scan's sub-select. It is fenced (OFFSET 0: conditions outside are not
// evaluated before it) where any of them is not leakproof; those that are and look up rows go inside too.
func (a *analysis) fillFilter(p *pendingScan) error {
	it := p.item
	sel := p.node.Subquery.GetSelectStmt()
	if len(it.rows) == 0 {
		if it.fenced && p.region.leaky {
			return a.fence(sel, p)
		}
		return nil
	}
	inside := func(c *Column) *pg.Node { return fieldOf("t", "c"+itoa(it.relation.position(c)+1)) }
	filter, err := a.filterNode(it.relation, it.rows, inside)
	if err != nil {
		return err
	}
	sel.WhereClause = filter
	a.plan.Filtered = true
	if !p.region.leaky && it.relation.Kind != View {
		return nil
	}
	if it.relation.Kind != View {
		sel.WhereClause = joined(pg.BoolExprType_AND_EXPR, append([]*pg.Node{filter}, it.lookups...))
	}
	return a.fence(sel, p)
}

// fence keeps conditions outside of a scan's sub-select from being evaluated before those inside.
func (a *analysis) fence(sel *pg.SelectStmt, p *pendingScan) error {
	it := p.item
	if p.locked {
		return refused(Denied, "42501", 0, "The table "+it.relation.Name.String()+" has a row filter, and a condition beside FOR UPDATE could tell about rows outside it.",
			"Use conditions that compare columns with values of their own types by =, <, >, IN or BETWEEN, or leave FOR UPDATE out.")
	}
	sel.LimitOffset = pg.MakeAConstIntNode(0, 0)
	sel.LimitOption = pg.LimitOption_LIMIT_OPTION_COUNT
	return nil
}

// position is the place of a column among those of its relation.
func (r *Relation) position(c *Column) int {
	return slices.IndexFunc(r.Columns, func(o Column) bool { return o.Number == c.Number })
}

// lookups notes the conditions of a WHERE that compare columns of one filtered table with what is known
// outside it: leakproof and strict ones, so that it does not matter whether they are evaluated inside too.
func (a *analysis) lookups(where *pg.Node, s *scope) {
	conditions := []*pg.Node{where}
	if b := where.GetBoolExpr(); b != nil && b.Boolop == pg.BoolExprType_AND_EXPR {
		conditions = b.Args
	}
	for _, n := range conditions {
		v := n.GetAExpr()
		if v == nil || !a.probe(n, s).safe {
			continue
		}
		switch v.Kind {
		case pg.A_Expr_Kind_AEXPR_OP, pg.A_Expr_Kind_AEXPR_IN, pg.A_Expr_Kind_AEXPR_BETWEEN, pg.A_Expr_Kind_AEXPR_OP_ANY:
		default:
			continue
		}
		if it, inside := a.lookup1(n, s); it != nil {
			it.lookups = append(it.lookups, inside)
		}
	}
}

// lookup1 writes a condition for the inside of the one table of this level that it reads; nil where there is
// no such.
func (a *analysis) lookup1(n *pg.Node, s *scope) (*item, *pg.Node) {
	if holds(n, func(m proto.Message) bool {
		switch m := m.(type) {
		case *pg.SubLink, *pg.FuncCall, *pg.A_Indirection:
			return true
		case *pg.TypeCast:
			return !plainCast(m)
		}
		return false
	}) {
		return nil, nil
	}
	inside, _ := proto.Clone(n).(*pg.Node)
	var in *item
	ok := true
	eachColumn(inside, func(c *pg.ColumnRef) {
		names := stringsOf(c.Fields)
		if len(names) != 2 {
			ok = false
			return
		}
		it := s.find(names[0])
		if it == nil || !slices.Contains(s.items, it) {
			ok = ok && it != nil && names[0] != "t" // of a level outside, which the sub-select sees too
			return
		}
		i := slices.IndexFunc(it.columns, func(c column) bool { return c.name == names[1] })
		if in != nil && in != it || !it.filtered || it.raw || i < 0 || len(it.columns[i].from) != 1 || it.columns[i].from[0].item != it {
			ok = false
			return
		}
		col := it.columns[i].from[0].column
		if a.read(it.relation, col).Mask != policy.MaskNone {
			ok = false
			return
		}
		in = it
		c.Fields = []*pg.Node{pg.MakeStrNode("t"), pg.MakeStrNode("c" + itoa(it.relation.position(col)+1))}
	})
	if !ok || in == nil {
		return nil, nil
	}
	return in, inside
}

// checkRows puts a check of the new row into the values that a statement gives: at gives the value of a
// column, nil where the column keeps what it has, and put takes the value that stands for it. Where no value
// of a filter's column is given there is nothing to check.
func (a *analysis) checkRows(it *item, at func(name string) (value *pg.Node, given bool), put func(name string, value *pg.Node), location int32) error {
	names := filterColumns(it.check)
	first := ""
	for _, name := range names {
		value, given := at(name)
		if !given {
			continue
		}
		if value == nil || !plainValue(value) {
			return refused(Denied, "42501", a.at(location), "The row filter of "+it.relation.Name.String()+" reads the column "+quoted(name)+", and whether its new value passes cannot be checked.",
				"Give the column a constant, a parameter or a plain column as its value.")
		}
		if first == "" {
			first = name
		}
	}
	if first == "" {
		return nil
	}
	filter, err := a.filterNode(it.relation, it.check, func(c *Column) *pg.Node {
		if value, given := at(c.Name); given {
			return typed(value, c)
		}
		return fieldOf(it.alias, c.Name)
	})
	if err != nil {
		return err
	}
	col := it.relation.Column(first)
	value, _ := at(first)
	raising, err := parseSelect("SELECT ('" + OutsideFilter + "'::text)::pg_catalog.regclass::text::" + ident(col.Type.Schema) + "." + ident(col.Type.Name))
	if err != nil {
		return a.unprintable()
	}
	when := &pg.Node{Node: &pg.Node_CaseWhen{CaseWhen: &pg.CaseWhen{Expr: filter, Result: typed(value, col)}}}
	otherwise := raising.GetSelectStmt().TargetList[0].GetResTarget().Val
	put(first, a.wrote(&pg.Node{Node: &pg.Node_CaseExpr{CaseExpr: &pg.CaseExpr{Args: []*pg.Node{when}, Defresult: otherwise}}}))
	a.plan.Filtered = true
	return nil
}

// plainValue says whether a value may be evaluated twice, and is then the same.
func plainValue(n *pg.Node) bool {
	switch v := n.GetNode().(type) {
	case *pg.Node_AConst, *pg.Node_ParamRef:
		return true
	case *pg.Node_ColumnRef:
		return v.ColumnRef.Fields[len(v.ColumnRef.Fields)-1].GetAStar() == nil
	case *pg.Node_TypeCast:
		return plainCast(v.TypeCast) && plainValue(v.TypeCast.Arg)
	}
	return false
}

// plainCast says whether a cast is to a type whose values name nothing, and that is written as it stands.
func plainCast(v *pg.TypeCast) bool {
	names := stringsOf(v.TypeName.Names)
	return len(names) == 2 && names[0] == "pg_catalog" && contains([]string{"bool", "int2", "int4", "int8", "numeric", "float4",
		"float8", "text", "varchar", "bpchar", "uuid", "date", "timestamp", "timestamptz", "interval"}, names[1])
}

// typed is a copy of a value with the type of a column, without its modifier.
func typed(value *pg.Node, c *Column) *pg.Node {
	clone, _ := proto.Clone(value).(*pg.Node)
	t := &pg.TypeName{Names: []*pg.Node{pg.MakeStrNode(c.Type.Schema), pg.MakeStrNode(c.Type.Name)}, Typemod: -1}
	return &pg.Node{Node: &pg.Node_TypeCast{TypeCast: &pg.TypeCast{Arg: clone, TypeName: t}}}
}

// checkInsert checks the rows of an INSERT.
func (a *analysis) checkInsert(v *pg.InsertStmt, it *item) error {
	p := a.pendingOf(it)
	p.checked = true
	if len(it.check) == 0 {
		return nil
	}
	missing := refused(Denied, "42501", a.at(v.Relation.Location), "The table "+it.relation.Name.String()+" has a row filter, and whether the new rows pass it cannot be checked.",
		"Give every column of the filter a plain value: INSERT … VALUES, or a simple SELECT.")
	sel := v.SelectStmt.GetSelectStmt()
	if sel == nil || sel.Op != pg.SetOperation_SETOP_NONE || len(sel.DistinctClause) > 0 {
		return missing
	}
	if holds(v.SelectStmt, func(m proto.Message) bool { _, star := m.(*pg.A_Star); return star }) {
		return missing // its columns are not known one by one
	}
	rows := [][]*pg.Node{}
	for _, l := range sel.ValuesLists {
		rows = append(rows, l.GetList().GetItems())
	}
	if sel.ValuesLists == nil {
		var row []*pg.Node
		for _, n := range sel.TargetList {
			row = append(row, n.GetResTarget().GetVal())
		}
		rows = append(rows, row)
	}
	index := map[string]int{}
	for i, n := range v.Cols {
		index[n.GetResTarget().Name] = i
	}
	for k, row := range rows {
		for _, name := range filterColumns(it.check) {
			if i, ok := index[name]; !ok || i >= len(row) || row[i].GetSetToDefault() != nil {
				return missing
			}
		}
		if len(row) > len(v.Cols) {
			return missing
		}
		err := a.checkRows(it, func(name string) (*pg.Node, bool) {
			i, ok := index[name]
			if !ok || i >= len(row) {
				return nil, false
			}
			return row[i], true
		}, func(name string, value *pg.Node) {
			if sel.ValuesLists != nil {
				sel.ValuesLists[k].GetList().Items[index[name]] = value
			} else {
				sel.TargetList[index[name]].GetResTarget().Val = value
			}
		}, v.Relation.Location)
		if err != nil {
			return err
		}
	}
	return nil
}

// checkUpdate checks the new rows of an UPDATE, or of the one in ON CONFLICT.
func (a *analysis) checkUpdate(list []*pg.Node, it *item, rows policy.Rows, location int32) error {
	checked := *it
	checked.check = rows
	targets := map[string]*pg.ResTarget{}
	for _, n := range list {
		if t := n.GetResTarget(); t != nil {
			targets[t.Name] = t
		}
	}
	return a.checkRows(&checked, func(name string) (*pg.Node, bool) {
		t := targets[name]
		return t.GetVal(), t != nil
	}, func(name string, value *pg.Node) { targets[name].Val = value }, location)
}

// conflictRows lets ON CONFLICT on a table with a row filter through where the columns of the conflict may be
// revealed: whether a row is found tells about the rows that are left out.
func (a *analysis) conflictRows(v *pg.OnConflictClause, it *item) error {
	r := it.relation
	if len(a.rowsOf("read", r)) == 0 && len(a.rowsOf("update", r)) == 0 && !a.filteredColumn(r) {
		return nil
	}
	if v.Infer == nil || len(v.Infer.IndexElems) == 0 {
		return a.denied(v.Location, "Whether ON CONFLICT finds a row tells about rows of "+r.Name.String()+" outside the row filter; name the columns of the conflict.", policy.Touch{Action: "read", Resource: a.env.Catalog.TableResource(r.Name)})
	}
	for _, n := range v.Infer.IndexElems {
		if c := r.Column(n.GetIndexElem().GetName()); c != nil {
			a.touch("reveal", a.env.Catalog.ColumnResource(r, c))
		}
	}
	if v.Action == pg.OnConflictAction_ONCONFLICT_UPDATE {
		it.inserted = false
		it.rows = it.rows.And(a.rowsOf("update", r)).And(a.rowsOf("read", r))
	}
	return nil
}

// filterConflict is the filter of the row that ON CONFLICT updates, and the check of what it becomes.
func (a *analysis) filterConflict(v *pg.OnConflictClause, it *item, s *scope) error {
	check := a.rowsOf("update", it.relation)
	for _, n := range v.TargetList {
		if c := it.relation.Column(n.GetResTarget().GetName()); c != nil {
			check = check.And(a.env.Sight.May("update", a.env.Catalog.ColumnResource(it.relation, c)).Rows)
		}
	}
	it.rows = it.rows.And(check)
	a.conditions(s, v.WhereClause)
	a.pendingOf(it).where = &v.WhereClause
	return a.checkUpdate(v.TargetList, it, check, v.Location)
}
