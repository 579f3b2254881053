package postgres

import (
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"

	"gatehouse/internal/policy"
)

// column is one column of a thing in FROM, by the name that it has there.
type column struct {
	name string
	// from are the columns of relations that a reference reads; none for computed ones, whose sources
	// were touched where they were computed.
	from []source
	// extension is set where its operators are not those of pg_catalog.
	extension bool
	// typ is the type's OID where it is known, so that parts of the value can be taken; else 0.
	typ uint32
	// oid is set for a computed one whose values are numbers of objects.
	oid bool
	// plain and safe are what is known of its value (see probed); the zero values say that nothing is.
	plain string
	safe  bool
	// sure is set where the name is certain to be the server's; typed is the type that the server says the column to be of,
	// 0 where that is not certain.
	sure  bool
	typed uint32
	// home is the item that its full name belongs to, where it is offered by a join; nil for a merged one.
	home *item
}

type source struct {
	item   *item
	column *Column
}

// item is one thing in FROM that names can refer to (a range table entry).
type item struct {
	alias    string
	aliased  bool // the alias was given, so the relation's own name does not count
	relation *Relation
	columns  []column
	// raw is set for the relation that a statement writes: its values are not masked where they are read.
	raw bool
	// of is set for the old and the new row of a written table in RETURNING: the item of the table.
	of *item
	// masked is set where the scan became a sub-select.
	masked bool
	// virtual is set for a system catalog: what is seen of it was decided when it was named.
	virtual bool
	// joined is set for what a join without an alias offers by bare names.
	joined bool
	// qualified and bare say whether its columns can be named with and without the alias.
	qualified, bare bool
	// deep are the relations that are read below it, for row locks.
	deep []*Relation
	// used are the columns of a masked scan that were referred to, for GROUP BY.
	used []*Column
	// all is set where the columns count by position: then every column that is seen is exposed.
	all bool
	// system are the system columns that were referred to; whole is set where the columns are taken together
	// (a star, a whole row, a natural join), which a system column of a masked scan would change.
	system []string
	whole  bool
	// filtered is set where rows may be left out; rows are the filters of what was read and written so far,
	// check those that new rows must pass, lookups conditions that may stand beside them.
	filtered bool
	// fenced is set for a view that must be evaluated before conditions which are not leakproof.
	fenced   bool
	inserted bool // rows are only added
	rows     policy.Rows
	check    policy.Rows
	lookups  []*pg.Node
	// refused, where set, is why a use of the columns is an error.
	refused *Error
}

// scope is a level of names: what FROM offers, then the levels outside.
type scope struct {
	up    *scope
	items []*item
	ctes  []*cte
	// merged is set for the RETURNING of a MERGE.
	merged bool
}

type cte struct {
	name    string
	columns []column
	known   bool // its columns are known: a reference can be resolved
	deep    []*Relation
}

func (s *scope) cte(name string) *cte {
	for ; s != nil; s = s.up {
		for i := len(s.ctes) - 1; i >= 0; i-- {
			if s.ctes[i].name == name {
				return s.ctes[i]
			}
		}
	}
	return nil
}

// use notes that a column of an item is read.
func (a *analysis) use(it *item, c *column, location int32, direct bool) error {
	if it.refused != nil {
		return it.refused
	}
	if c.extension && !direct {
		return a.notBuilt(location, "Operators and functions over the extension type of column "+quoted(c.name)+" are")
	}
	for _, src := range c.from {
		if err := a.useSource(src, location); err != nil {
			return err
		}
	}
	return nil
}

func (a *analysis) useSource(src source, location int32) error {
	r := src.item.relation
	if src.item.virtual {
		src.item.used = append(src.item.used, src.column)
		return nil
	}
	resource := a.env.Catalog.ColumnResource(r, src.column)
	e := a.read(r, src.column)
	switch {
	case !e.Visible:
		return a.denied(location, "The statement reads the column "+resource.ID+", which no policy permits.", policy.Touch{Action: "read", Resource: resource})
	case src.item.raw && e.Mask != policy.MaskNone:
		return a.denied(location, "A statement that writes a table sees its values as they are, and this one reads the masked column "+resource.ID+".", policy.Touch{Action: "reveal", Resource: resource})
	}
	if !src.item.inserted {
		src.item.rows = src.item.rows.And(e.Rows)
	}
	if src.item.raw {
		a.touch("read", a.env.Catalog.TableResource(r.Name))
	}
	if src.item.masked {
		src.item.used = append(src.item.used, src.column)
	}
	a.touch("read", resource)
	return nil
}

// useAll notes that every column of an item is read: a star or a whole row.
func (a *analysis) useAll(it *item, location int32) error {
	it.whole = true
	if err := a.step(8 * len(it.columns)); err != nil {
		return err
	}
	for i := range it.columns {
		for _, src := range it.columns[i].from {
			src.item.whole = true
			a.wide[src.item.relation] = true
		}
		if err := a.use(it, &it.columns[i], location, true); err != nil {
			return err
		}
	}
	return nil
}

// systemColumns can be read of plain tables (PostgreSQL documentation, 5.5); they carry no data.
var systemColumns = map[string]bool{"ctid": true, "tableoid": true, "xmin": true, "xmax": true, "cmin": true, "cmax": true}

// columnRef resolves a reference. Stars are handled by the target list. direct is set where the reference
// is a whole output column.
func (a *analysis) columnRef(c *pg.ColumnRef, s *scope, direct bool) (column, error) {
	a.walk(c)
	if err := a.step(s.inSight()); err != nil {
		return column{}, err
	}
	var parts []string
	for _, f := range c.Fields {
		if f.GetAStar() != nil {
			return column{}, a.notUnderstood(f, c.Location, "")
		}
		parts = append(parts, f.GetString_().GetSval())
	}
	switch len(parts) {
	case 1:
		return a.bareName(c, parts[0], s, direct)
	case 2:
		it := s.find(parts[0])
		if it == nil {
			return column{}, missingFrom(a, parts[0], c.Location)
		}
		return a.itemColumn(it, parts[1], c.Location, direct)
	case 3:
		it := s.findRelation(Name{parts[0], parts[1]})
		if it == nil {
			return column{}, missingFrom(a, parts[1], c.Location)
		}
		if s.find(it.alias) != it {
			return column{}, a.shadowed(it.alias, c.Location)
		}
		c.Fields = c.Fields[1:] // the scan may be a sub-select, which has no schema
		return a.itemColumn(it, parts[2], c.Location, direct)
	}
	return column{}, a.notUnderstood(nil, c.Location, "A column is named with at most a schema and a table.")
}

func missingFrom(a *analysis, name string, location int32) *Error {
	return refused(UnknownName, "42P01", a.at(location), "missing FROM-clause entry for table "+quoted(name), "Name the table in FROM, or correct the name.")
}

// find is the item that a qualified reference means.
func (s *scope) find(alias string) *item {
	for ; s != nil; s = s.up {
		for _, it := range s.items {
			if it.qualified && it.alias == alias {
				return it
			}
		}
	}
	return nil
}

func (s *scope) findRelation(n Name) *item {
	for ; s != nil; s = s.up {
		for _, it := range s.items {
			if it.qualified && !it.aliased && it.relation != nil && it.relation.Name == n {
				return it
			}
		}
	}
	return nil
}

func (a *analysis) itemColumn(it *item, name string, location int32, direct bool) (column, error) {
	if err := a.step(len(it.columns)); err != nil {
		return column{}, err
	}
	var found *column
	for i := range it.columns {
		if it.columns[i].name == name {
			if found != nil {
				return column{}, ambiguous(a, name, location)
			}
			found = &it.columns[i]
		}
	}
	if found != nil {
		return *found, a.use(it, found, location, direct)
	}
	if it.relation != nil {
		if c := it.relation.Column(name); c != nil && !it.virtual { // hidden
			return column{}, a.useSource(source{it, c}, location)
		}
		if systemColumns[name] {
			if it.masked && it.relation.Kind != Table {
				return column{}, a.notBuilt(location, "System columns of views and partitioned tables with masked columns are")
			}
			if it.masked && !slices.Contains(it.system, name) {
				it.system = append(it.system, name)
			}
			if !it.virtual {
				a.touch("read", a.env.Catalog.TableResource(it.relation.Name))
			}
			return column{name: name}, nil
		}
	}
	return column{}, a.unknownColumn(it.alias+"."+name, location)
}

// bareName resolves a name without a qualifier: a column at the innermost level that has one, else a
// whole row.
func (a *analysis) bareName(ref *pg.ColumnRef, name string, s *scope, direct bool) (column, error) {
	location := ref.Location
	for level := s; level != nil; level = level.up {
		it, c, err := level.bare(a, name, location)
		if err != nil {
			return column{}, err
		}
		if c != nil {
			if err := a.bind(ref, it, c, s); err != nil {
				return column{}, err
			}
			return *c, a.use(it, c, location, direct)
		}
		if systemColumns[name] {
			for _, it := range level.items {
				if it.bare && it.relation != nil {
					return a.itemColumn(it, name, location, direct)
				}
			}
		}
	}
	if it := s.find(name); it != nil {
		return column{name: name}, a.useAll(it, location)
	}
	for level := s; level != nil; level = level.up {
		for _, it := range level.items {
			if it.relation != nil && it.bare {
				if c := it.relation.Column(name); c != nil {
					return column{}, a.useSource(source{it, c}, location)
				}
			}
		}
	}
	return column{}, a.unknownColumn(name, location)
}

// bind writes the table into a bare reference, so that the server cannot find another column under the name:
// what a function in FROM returns is not known in full. (A merged column of a join has no table; both sides
// are known to have it, or the server finds the join invalid.)
func (a *analysis) bind(ref *pg.ColumnRef, it *item, c *column, s *scope) error {
	a.walk(ref)
	if it.joined {
		it = c.home
	}
	if it == nil || !it.qualified {
		return nil
	}
	if s.find(it.alias) != it {
		return a.shadowed(it.alias, ref.Location)
	}
	ref.Fields = []*pg.Node{pg.MakeStrNode(it.alias), ref.Fields[0]}
	return nil
}

func (a *analysis) shadowed(alias string, location int32) *Error {
	return refused(NotUnderstood, "42712", a.at(location), "The table name "+quoted(alias)+" is used again further inside, so that what is meant is not sure.", "Give one of the tables another alias, and name it.")
}

// bare finds the one column of a level that a bare name means.
func (s *scope) bare(a *analysis, name string, location int32) (*item, *column, error) {
	var in *item
	var found *column
	for _, it := range s.items {
		if !it.bare {
			continue
		}
		if err := a.step(len(it.columns)); err != nil {
			return nil, nil, err
		}
		for i := range it.columns {
			if it.columns[i].name != name {
				continue
			}
			if found != nil {
				return nil, nil, ambiguous(a, name, location)
			}
			in, found = it, &it.columns[i]
		}
	}
	return in, found, nil
}

func ambiguous(a *analysis, name string, location int32) *Error {
	return refused(UnknownName, "42702", a.at(location), "column reference "+quoted(name)+" is ambiguous", "Qualify it with its table.")
}

// enter guards the stack of the walk.
func (a *analysis) enter() error {
	a.depth++
	if a.depth > maxNesting {
		return refused(NotUnderstood, "54001", 0, "The statement is nested too deeply.", "Send a simpler statement.")
	}
	return nil
}

func (a *analysis) leave() { a.depth-- }
