package postgres

import (
	"fmt"
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"gatehouse/internal/policy"
)

// lookup finds the relation that a range variable names.
func (a *analysis) lookup(v *pg.RangeVar) (*Relation, error) {
	a.walk(v)
	if v.Catalogname != "" {
		return nil, a.notUnderstood(nil, v.Location, "A relation is named with at most a schema.")
	}
	if err := a.settled(v.Schemaname, v.Relname, v.Location); err != nil {
		return nil, err
	}
	if v.Schemaname != "" {
		if isSystemSchema(v.Schemaname) && !a.env.Catalog.isTempSchema(v.Schemaname) {
			return nil, a.notSystem(v)
		}
		if r := a.env.Catalog.qualified(Name{v.Schemaname, v.Relname}); r != nil {
			return r, nil
		}
		return nil, a.unknownTable(v.Schemaname+"."+v.Relname, v.Location)
	}
	if strings.HasPrefix(v.Relname, "pg_") {
		return nil, a.notSystem(v)
	}
	if r := a.env.Catalog.unqualified(v.Relname); r != nil {
		return r, nil
	}
	return nil, a.unknownTable(v.Relname, v.Location)
}

func isSystemSchema(s string) bool {
	return s == "information_schema" || strings.HasPrefix(s, "pg_")
}

// name puts the relation's full name into a range variable.
func qualify(v *pg.RangeVar, r *Relation) { v.Schemaname, v.Relname = r.Name.Schema, r.Name.Name }

// scan makes the item of a relation in FROM. Where the principal sees it only in part, the node becomes a
// sub-select that exposes exactly what is seen, with the columns bound by position.
func (a *analysis) scan(n *pg.Node, v *pg.RangeVar, s *scope) (*item, error) {
	if err := a.step(s.inSight()); err != nil {
		return nil, err
	}
	if v.Schemaname == "" && v.Catalogname == "" {
		if c := s.cte(v.Relname); c != nil {
			if !c.known {
				return nil, a.notBuilt(v.Location, "References to a later WITH query are")
			}
			if err := a.hold(len(c.columns)); err != nil {
				return nil, err
			}
			it := &item{alias: v.Relname, columns: slices.Clone(c.columns), deep: c.deep}
			return it, a.alias(it, v.Alias, v.Location)
		}
	}
	if r, err := a.system(v); err != nil {
		return nil, err
	} else if r != nil {
		return a.scanSystem(n, v, r)
	}
	r, err := a.lookup(v)
	if err != nil {
		return nil, err
	}
	if err := a.readable(r, v.Location); err != nil {
		return nil, err
	}
	if err := a.holds(r, v.Location); err != nil {
		return nil, err
	}
	if len(a.named) >= maxTables {
		return nil, refused(NotUnderstood, "54000", a.at(v.Location), fmt.Sprintf("The text names more than %d tables.", maxTables), "Send several statements.")
	}
	a.relation(r)
	a.touch("read", a.env.Catalog.TableResource(r.Name))
	if err := a.hold(len(r.Columns)); err != nil {
		return nil, err
	}
	it := &item{alias: v.Relname, relation: r, deep: []*Relation{r}}
	seen := make([]policy.Exposure, len(r.Columns))
	for i := range r.Columns {
		c := &r.Columns[i]
		seen[i] = a.read(r, c)
		if seen[i].Visible {
			it.columns = append(it.columns, column{name: c.Name, from: []source{{it, c}}, extension: c.Extension && seen[i].Mask == policy.MaskNone, typ: c.TypeOID, plain: c.plainType(), safe: c.plainType() != ""})
		}
		it.masked = it.masked || !seen[i].Visible || seen[i].Mask != policy.MaskNone
	}
	if err := a.filterScan(it, v.Inh, v.Location); err != nil {
		return nil, err
	}
	it.fenced = a.outrunnable(r)
	it.masked = it.masked || it.filtered || it.fenced
	if err := a.alias(it, v.Alias, v.Location); err != nil {
		return nil, err
	}
	if !it.masked {
		qualify(v, r)
		return it, nil
	}
	alias := v.Alias
	if alias == nil {
		alias = &pg.Alias{Aliasname: v.Relname}
	}
	sub := &pg.RangeSubselect{Alias: alias}
	a.walk(sub)
	n.Node = &pg.Node_RangeSubselect{RangeSubselect: sub}
	a.scanned[sub] = true
	a.scans = append(a.scans, pendingScan{node: sub, item: it, seen: seen, children: v.Inh, region: a.region})
	return it, nil
}

// pendingScan is a sub-select whose body is written when it is known which columns are used.
type pendingScan struct {
	node     *pg.RangeSubselect
	item     *item
	seen     []policy.Exposure
	children bool // its inheritance children too
	sample   *pg.RangeTableSample
	catalog  *Catalog // of a system catalog: what the names that it shows are printed for
	region   *region
	locked   bool // a row lock is on it
}

// fillScans writes the sub-selects. One exposes what is seen and used; under an alias with column names,
// which count by position, all that is seen.
func (a *analysis) fillScans() error {
	for i := range a.scans {
		p := &a.scans[i]
		used := func(c *Column) bool { return slices.Contains(p.item.used, c) }
		if p.item.all || len(p.node.Alias.Colnames) > 0 {
			used = func(*Column) bool { return true }
		}
		for i := range p.seen {
			if used(&p.item.relation.Columns[i]) && p.seen[i].Mask != policy.MaskNone {
				a.plan.Masked = true
			}
		}
		if len(p.item.system) > 0 && (p.item.whole || p.item.all) {
			return a.notBuilt(0, "System columns beside a star, a whole row or column names of a join, over a table with masked columns, are")
		}
		var err error
		text := ""
		if p.item.virtual {
			a.env.Catalog = p.catalog
			text = a.systemText(p.item, used)
			if err := a.write(text); err != nil {
				return err
			}
		} else {
			text = scanText(p.item.relation, p.seen, used, p.item.system, p.children)
		}
		if p.node.Subquery, err = parseSelect(text); err != nil {
			return a.unprintable()
		}
		if err := a.fillFilter(p); err != nil {
			return err
		}
		if p.sample != nil {
			from := p.node.Subquery.GetSelectStmt().FromClause
			p.sample.Relation = from[0]
			from[0] = &pg.Node{Node: &pg.Node_RangeTableSample{RangeTableSample: p.sample}}
		}
	}
	return nil
}

// readable refuses relations that cannot be read safely.
func (a *analysis) readable(r *Relation, location int32) error {
	if table := a.barred(r); table != nil {
		return a.denied(location, "The statement reads "+table.ID+", which no policy permits.", policy.Touch{Action: "read", Resource: *table})
	}
	switch r.Kind {
	case Table, PartitionedTable, ForeignTable:
	case View, MaterializedView:
		if r.Unknown {
			return a.notBuilt(location, "Views whose definition cannot be traced ("+r.Name.String()+") are")
		}
		reaches := r.Reaches
		if a.env.Sight.Read(a.env.Catalog.TableResource(r.Name)).Own {
			reaches = nil // a policy of its own says who sees it
		} else if err := a.unasked(r, location); err != nil {
			return err
		}
		for _, oid := range reaches {
			if err := a.reached(r, oid, location); err != nil {
				return err
			}
		}
		for _, f := range r.Calls {
			a.touch("call", a.env.Catalog.FunctionResource(f))
		}
	default:
		return a.notBuilt(location, "Reads of sequences are")
	}
	if r.Rules && r.Kind != View {
		return a.notBuilt(location, "Tables with rewrite rules ("+r.Name.String()+") are")
	}
	return nil
}

// reached says whether a view may show what it reads of a relation: a relation that the principal sees only
// in part by hidden columns is not shown through a view. Masked columns are: the view's own columns carry
// their labels.
func (a *analysis) reached(view *Relation, oid uint32, location int32) error {
	below := a.env.Catalog.ByOID[oid]
	if below == nil {
		return a.notBuilt(location, "Views over relations outside the connection's schemas ("+view.Name.String()+") are")
	}
	if table := a.barred(below); table != nil {
		return a.denied(location, "The view "+view.Name.String()+" reads "+table.ID+", which no policy permits.", policy.Touch{Action: "read", Resource: *table})
	}
	if len(a.rowsOf("read", below)) > 0 || a.filteredColumn(below) {
		return a.denied(location, "The view "+view.Name.String()+" reads "+below.Name.String()+", of which some rows may be read only; a view over such a table needs a permit that names it.", policy.Touch{Action: "read", Resource: a.env.Catalog.TableResource(view.Name)})
	}
	for i := range below.Columns {
		if a.env.Catalog.mentions(view, oid, below.Columns[i].Number) && !a.read(below, &below.Columns[i]).Visible {
			c := a.env.Catalog.ColumnResource(below, &below.Columns[i])
			return a.denied(location, "The view "+view.Name.String()+" can show the column "+c.ID+", which no policy permits.", policy.Touch{Action: "read", Resource: c})
		}
	}
	return nil
}

// alias gives an item the name, and the names of columns, that the statement gives it.
func (a *analysis) alias(it *item, alias *pg.Alias, location int32) error {
	it.qualified, it.bare = true, true
	if alias == nil {
		return nil
	}
	it.alias, it.aliased = alias.Aliasname, true
	if len(alias.Colnames) > len(it.columns) {
		return refused(UnknownName, "42P10", a.at(location), "table "+quoted(it.alias)+" has fewer columns than its alias names", "Name fewer columns.")
	}
	for i, n := range alias.Colnames {
		it.columns[i].name = n.GetString_().GetSval()
	}
	return nil
}

// ident writes an identifier for SQL text, always quoted.
func ident(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// scanText is the sub-select of a partly seen relation. Its columns are bound by position, so that a renamed
// column cannot take the place of another.
func scanText(r *Relation, seen []policy.Exposure, used func(*Column) bool, system []string, children bool) string {
	var b strings.Builder
	b.WriteString("SELECT ")
	first := true
	for i := range r.Columns {
		if !seen[i].Visible || !used(&r.Columns[i]) {
			continue
		}
		if !first {
			b.WriteString(", ")
		}
		first = false
		c := &r.Columns[i]
		b.WriteString(maskText(c, seen[i], fmt.Sprintf("t.c%d", i+1)))
		b.WriteString(" AS ")
		b.WriteString(ident(c.Name))
	}
	for _, name := range system {
		if !first {
			b.WriteString(", ")
		}
		first = false
		b.WriteString("t." + name + " AS " + name)
	}
	b.WriteString(" FROM ")
	if !children {
		b.WriteString("ONLY ")
	}
	b.WriteString(ident(r.Name.Schema) + "." + ident(r.Name.Name) + " AS t(")
	for i := range r.Columns {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "c%d", i+1)
	}
	b.WriteString(")")
	return b.String()
}

// parseSelect is the tree of a select that this package wrote.
func parseSelect(text string) (*pg.Node, error) {
	tree, err := pg.Parse(text)
	if err != nil {
		return nil, err
	}
	return tree.Stmts[0].Stmt, nil
}
