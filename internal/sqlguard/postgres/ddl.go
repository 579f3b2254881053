package postgres

import (
	pg "github.com/pganalyze/pg_query_go/v6"

	"gatehouse/internal/policy"
)

// changes notes that the statement changes the catalog.
func (a *analysis) changes() {
	a.statement.Verb = DDL
	a.statement.Writes = true
	a.plan.ChangesCatalog = true
}

// changesTable notes that the statement changes a table.
func (a *analysis) changesTable(r *Relation) {
	if r.Holding == nil {
		a.changes()
		return
	}
	a.statement.Verb = DDL
	a.temporary(r.Name.Name)
}

// home is the schema that a new object goes into.
func (a *analysis) home(v *pg.RangeVar) (string, error) {
	a.walk(v)
	if v.Catalogname != "" {
		return "", a.notUnderstood(nil, v.Location, "A relation is named with at most a schema.")
	}
	if v.Relpersistence != "p" {
		return "", a.notBuilt(v.Location, "Unlogged tables are")
	}
	schema := v.Schemaname
	if schema == "" && len(a.env.Catalog.SearchPath) > 0 {
		schema = a.env.Catalog.SearchPath[0]
	}
	if schema == "" || isSystemSchema(schema) {
		return "", refused(NotUnderstood, "3F000", a.at(v.Location), "There is no schema to create it in.", "Name a schema of the connection.")
	}
	return schema, nil
}

func (a *analysis) createTable(v *pg.CreateStmt) error {
	if len(v.InhRelations) > 0 || v.Partbound != nil || v.Partspec != nil || v.OfTypename != nil || len(v.Options) > 0 ||
		v.Tablespacename != "" || v.AccessMethod != "" {
		return a.notBuilt(v.Relation.GetLocation(), "CREATE TABLE with inheritance, partitions or storage options is")
	}
	a.statement.Verb = DDL
	schema, temporary, err := a.newHome(v.Relation, v.Oncommit)
	if err != nil {
		return err
	}
	if !temporary {
		v.Relation.Schemaname = schema
		a.changes()
		a.touch("ddl", a.env.Catalog.SchemaResource(schema))
	}
	own := &item{alias: v.Relation.Relname, qualified: true, bare: true}
	for _, n := range v.TableElts {
		if d := n.GetColumnDef(); d != nil {
			own.columns = append(own.columns, column{name: d.Colname})
		}
	}
	s := &scope{items: []*item{own}}
	for _, n := range v.TableElts {
		switch e := n.GetNode().(type) {
		case *pg.Node_ColumnDef:
			err = a.columnDef(e.ColumnDef, s)
		case *pg.Node_Constraint:
			err = a.constraint(e.Constraint, s)
		case *pg.Node_TableLikeClause:
			if err = a.notBuilt(v.Relation.Location, "CREATE TABLE with LIKE, but for temporary tables, is"); temporary {
				err = a.like(e.TableLikeClause, own)
			}
		default:
			err = a.notUnderstood(n, v.Relation.Location, "")
		}
		if err != nil {
			return err
		}
	}
	for _, n := range v.Constraints {
		if err := a.constraint(n.GetConstraint(), s); err != nil {
			return err
		}
	}
	return nil
}

func (a *analysis) columnDef(d *pg.ColumnDef, s *scope) error {
	if d.Compression != "" || d.StorageName != "" || d.Identity != "" || d.Generated != "" || len(d.Fdwoptions) > 0 {
		return a.notBuilt(d.Location, "Column options other than constraints are")
	}
	// serial is a word of its own here, not a type.
	if names := stringsOf(d.TypeName.GetNames()); !(len(names) == 1 && contains([]string{"serial", "bigserial", "smallserial", "serial4", "serial8", "serial2"}, names[0])) {
		if err := a.typeName(d.TypeName); err != nil {
			return err
		}
	}
	a.walk(d.TypeName)
	if d.CollClause != nil {
		if err := a.collation(d.CollClause); err != nil {
			return err
		}
	}
	if err := a.exprs(s, d.RawDefault); err != nil {
		return err
	}
	for _, n := range d.Constraints {
		if err := a.constraint(n.GetConstraint(), s); err != nil {
			return err
		}
	}
	return nil
}

func (a *analysis) constraint(c *pg.Constraint, s *scope) error {
	if c == nil || len(c.Options) > 0 || c.Indexspace != "" || c.Indexname != "" || c.WhereClause != nil {
		return a.notBuilt(c.GetLocation(), "Constraints with storage options or an existing index are")
	}
	switch c.Contype {
	case pg.ConstrType_CONSTR_NULL, pg.ConstrType_CONSTR_NOTNULL, pg.ConstrType_CONSTR_PRIMARY, pg.ConstrType_CONSTR_UNIQUE,
		pg.ConstrType_CONSTR_ATTR_DEFERRABLE, pg.ConstrType_CONSTR_ATTR_NOT_DEFERRABLE,
		pg.ConstrType_CONSTR_ATTR_DEFERRED, pg.ConstrType_CONSTR_ATTR_IMMEDIATE:
		return nil
	case pg.ConstrType_CONSTR_DEFAULT, pg.ConstrType_CONSTR_CHECK:
		return a.exprs(s, c.RawExpr)
	case pg.ConstrType_CONSTR_FOREIGN:
		if c.Pktable == nil {
			return a.notUnderstood(nil, c.Location, "The foreign key was not understood.")
		}
		if a.statement.Makes != "" {
			return a.notBuilt(c.Location, "Foreign keys of temporary tables are")
		}
		r, err := a.lookup(c.Pktable)
		if err != nil {
			return err
		}
		if r.Holding != nil {
			return refused(NotUnderstood, "42P16", a.at(c.Location), "constraints on permanent tables may reference only permanent tables", "Name another table.")
		}
		if err := a.whole(r, c.Location, "A foreign key to it"); err != nil {
			return err
		}
		// The new table's rows will tell about the other's keys.
		for _, m := range a.maskedColumns(r) {
			return a.denied(c.Location, "A foreign key to "+r.Name.String()+" tells about its masked columns.", m)
		}
		a.relation(r)
		a.touch("read", a.env.Catalog.TableResource(r.Name))
		a.touch("ddl", a.env.Catalog.TableResource(r.Name))
		qualify(c.Pktable, r)
		return nil
	}
	return a.notBuilt(c.Location, "This kind of constraint is")
}

// existing finds the table that a statement changes.
func (a *analysis) existing(v *pg.RangeVar, action string) (*Relation, error) {
	r, err := a.lookup(v)
	if err != nil {
		return nil, err
	}
	if r.Kind != Table && r.Kind != PartitionedTable {
		return nil, a.notBuilt(v.Location, "Changes of views, foreign tables and sequences are")
	}
	if err := a.whole(r, v.Location, "A change of the table"); err != nil {
		return nil, err
	}
	if action != "truncate" {
		if err := a.holds(r, v.Location); err != nil {
			return nil, err
		}
	}
	a.relation(r)
	a.touch(action, a.env.Catalog.TableResource(r.Name))
	qualify(v, r)
	return r, nil
}

func (a *analysis) createIndex(v *pg.IndexStmt) error {
	if v.WhereClause != nil || len(v.Options) > 0 || v.TableSpace != "" || len(v.ExcludeOpNames) > 0 {
		return a.notBuilt(v.Relation.GetLocation(), "Partial indexes and index options are")
	}
	if !contains([]string{"", "btree", "hash", "gin", "gist", "brin", "spgist"}, v.AccessMethod) {
		return a.notBuilt(0, "Index methods of extensions are")
	}
	r, err := a.existing(v.Relation, "ddl")
	if err != nil {
		return err
	}
	a.changesTable(r)
	for i, list := range [][]*pg.Node{v.IndexParams, v.IndexIncludingParams} {
		for _, n := range list {
			e := n.GetIndexElem()
			if e == nil || e.Expr != nil || len(e.Collation) > 0 || len(e.Opclass) > 0 || len(e.Opclassopts) > 0 {
				return a.notBuilt(0, "Indexes on expressions, and with operator classes, are")
			}
			c := r.Column(e.Name)
			if c == nil {
				return a.unknownColumn(e.Name, 0)
			}
			if x := a.read(r, c); v.Unique && i == 0 && (!x.Visible || x.Mask != policy.MaskNone) {
				return a.denied(0, "Whether a unique index can be made tells about the values of "+e.Name+".", policy.Touch{Action: "reveal", Resource: a.env.Catalog.ColumnResource(r, c)})
			}
		}
	}
	return nil
}

func (a *analysis) alterTable(v *pg.AlterTableStmt) error {
	if v.Objtype != pg.ObjectType_OBJECT_TABLE {
		return a.notBuilt(0, "ALTER statements other than ALTER TABLE are")
	}
	r, err := a.existing(v.Relation, "ddl")
	if err != nil {
		return err
	}
	a.changesTable(r)
	own := a.rawItem(r, v.Relation) // whether its rows pass a new check tells about their values
	s := &scope{items: []*item{own}}
	for _, n := range v.Cmds {
		c := n.GetAlterTableCmd()
		switch c.GetSubtype() {
		case pg.AlterTableType_AT_AddColumn:
			d := c.Def.GetColumnDef()
			if d == nil {
				return a.notUnderstood(c.Def, 0, "")
			}
			own.columns = append(own.columns, column{name: d.Colname})
			if err := a.columnDef(d, s); err != nil {
				return err
			}
		case pg.AlterTableType_AT_DropColumn:
			if c.Behavior == pg.DropBehavior_DROP_CASCADE {
				return a.notBuilt(0, "DROP COLUMN … CASCADE is")
			}
			if r.Column(c.Name) == nil && !c.MissingOk {
				return a.unknownColumn(c.Name, 0)
			}
			if err := a.columnsMove(r); err != nil {
				return err
			}
			a.touch("drop", a.env.Catalog.TableResource(r.Name))
		default:
			return a.notBuilt(0, "ALTER TABLE other than ADD COLUMN and DROP COLUMN is")
		}
	}
	return nil
}

// columnsMove refuses a change of the positions of a table's columns where masks are bound by position, in
// the table itself or in one that inherits from it: until the change is committed no catalog shows it.
func (a *analysis) columnsMove(r *Relation) error {
	if r.Holding != nil { // none of its columns is masked
		return nil
	}
	for _, oid := range append([]uint32{r.OID}, r.Children...) {
		below := a.env.Catalog.ByOID[oid]
		if below == nil {
			return a.notBuilt(0, "Changes of tables with children outside the connection's schemas are")
		}
		if missing := a.maskedColumns(below); len(missing) > 0 {
			return a.denied(0, "A column that is dropped moves the masked ones of "+below.Name.String()+" to other positions.", missing...)
		}
	}
	return nil
}

func (a *analysis) drop(v *pg.DropStmt) error {
	if v.RemoveType != pg.ObjectType_OBJECT_TABLE {
		return a.notBuilt(0, "DROP statements other than DROP TABLE are")
	}
	if v.Behavior == pg.DropBehavior_DROP_CASCADE {
		return a.notBuilt(0, "DROP TABLE … CASCADE is")
	}
	a.statement.Verb, a.statement.Writes = DDL, true
	for _, n := range v.Objects {
		names := stringsOf(n.GetList().GetItems())
		rv := &pg.RangeVar{Relpersistence: "p"}
		switch len(names) {
		case 1:
			rv.Relname = names[0]
		case 2:
			rv.Schemaname, rv.Relname = names[0], names[1]
		default:
			return a.notUnderstood(n, 0, "")
		}
		r, err := a.lookup(rv)
		full := Name{rv.Schemaname, rv.Relname}
		switch {
		case err == nil:
			if err := a.whole(r, 0, "DROP TABLE"); err != nil {
				return err
			}
			a.relation(r)
			full = r.Name
			a.changesTable(r)
		case v.MissingOk && err.(*Error).Reason == UnknownName && a.dropsNothing(rv):
			full.Schema = TempSchema
		case v.MissingOk && err.(*Error).Reason == UnknownName:
			if full.Schema, err = a.home(rv); err != nil {
				return err
			}
			a.changes()
		default:
			return err
		}
		a.touch("drop", a.env.Catalog.TableResource(full))
		n.GetList().Items = []*pg.Node{pg.MakeStrNode(full.Schema), pg.MakeStrNode(full.Name)}
	}
	return nil
}

func (a *analysis) truncate(v *pg.TruncateStmt) error {
	if v.Behavior == pg.DropBehavior_DROP_CASCADE {
		return a.notBuilt(0, "TRUNCATE … CASCADE is")
	}
	a.statement.Verb = DDL
	a.statement.Writes = true
	for _, n := range v.Relations {
		rv := n.GetRangeVar()
		if rv == nil {
			return a.notUnderstood(n, 0, "")
		}
		r, err := a.existing(rv, "truncate")
		if err != nil {
			return err
		}
		for _, f := range r.Calls {
			a.touch("call", a.env.Catalog.FunctionResource(f))
		}
	}
	return nil
}
