package postgres

import (
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"gatehouse/internal/policy"
)

// TempSchema is how statements name the schema of their session's temporary tables, and MaxTemporary how many of
// those a session may have.
const (
	TempSchema   = "pg_temp"
	MaxTemporary = 1000
)

// Temporary are the temporary relations of one session, as its own upstream session last said. They belong to
// nobody else, so that whoever may make them (`temporary` on the connection) may do with them what an owner may.
// It is immutable.
type Temporary struct {
	// Schema is the OID of the session's schema of temporary objects, and Name its name (pg_temp_3).
	Schema uint32
	Name   string
	// Relations are by their own names; their schema is TempSchema.
	Relations map[string]*Relation
	// Version differs from that of every other Temporary of the process.
	Version uint64
}

// Holding is what is known of a temporary relation besides its columns.
type Holding struct {
	// Made is set where a statement of the client's made it, and not a function that one called.
	Made bool
	// Sources are what was read to fill it.
	Sources []Source
}

// Source is something that a temporary table has values of, as it was shown when they were written: who is shown
// less of it now may not read the table.
type Source struct {
	Relation uint32
	Column   int16 // attribute number; 0: the relation itself
	Resource policy.Resource
	Shown    policy.Exposure
}

// With is the catalog as a session with temporary relations sees it; nil: none.
func (c *Catalog) With(t *Temporary) *Catalog {
	if t == nil || len(t.Relations) == 0 {
		return c
	}
	own := *c
	own.Temporary = t
	return &own
}

// ownTables decides what is done with a session's own temporary tables: it is not for the policies on tables.
type ownTables struct {
	Sight
	prefix string
}

// tempPrefix is what the resources of temporary tables begin with.
func (c *Catalog) tempPrefix() string { return c.Connection.ID + "/" + TempSchema + "." }

// own wraps what a principal sees where the session has temporary tables.
func (c *Catalog) own(s Sight) Sight {
	if _, is := s.(ownTables); is || c.Temporary == nil {
		return s
	}
	return ownTables{s, c.tempPrefix()}
}

var wholly = policy.Exposure{Visible: true, Mask: policy.MaskNone, Own: true}

func (o ownTables) Read(r policy.Resource) policy.Exposure {
	if strings.HasPrefix(r.ID, o.prefix) {
		return wholly
	}
	return o.Sight.Read(r)
}

func (o ownTables) May(action string, r policy.Resource) policy.Exposure {
	if strings.HasPrefix(r.ID, o.prefix) {
		return wholly
	}
	return o.Sight.May(action, r)
}

func (o ownTables) Permits(t policy.Touch) bool {
	return strings.HasPrefix(t.Resource.ID, o.prefix) || o.Sight.Permits(t)
}

// unqualified finds what a name without a schema means: the server looks for temporary relations first, or where
// the search path names their schema.
func (c *Catalog) unqualified(name string) *Relation {
	for i := 0; i <= len(c.SearchPath); i++ {
		if i == min(c.TempAt, len(c.SearchPath)) && c.Temporary != nil {
			if r := c.Temporary.Relations[name]; r != nil {
				return r
			}
		}
		if i < len(c.SearchPath) {
			if r := c.Relations[Name{c.SearchPath[i], name}]; r != nil {
				return r
			}
		}
	}
	return nil
}

// qualified finds a relation by its whole name.
func (c *Catalog) qualified(n Name) *Relation {
	if !c.isTempSchema(n.Schema) {
		return c.Relations[n]
	}
	if c.Temporary == nil {
		return nil
	}
	return c.Temporary.Relations[n.Name]
}

// isTempSchema says whether a schema is that of the session's temporary objects.
func (c *Catalog) isTempSchema(schema string) bool {
	return schema == TempSchema || c.Temporary != nil && schema == c.Temporary.Name
}

// settled refuses a name that can mean a temporary table that is made or dropped by what was sent together with it.
func (a *analysis) settled(schema, name string, location int32) error {
	if schema != "" && !a.env.Catalog.isTempSchema(schema) || !a.state.Unsure(name) {
		return nil
	}
	return refused(NotBuilt, "0A000", a.at(location), "The name "+quoted(name)+" can mean a temporary table that a statement further up, sent together with this one, makes or drops.", "Send the statements one after the other, or name the schema of the table.")
}

// holds looks at a temporary table that is about to be used: its values are decided as a reading of what they came
// from, and where less is shown of that now, they are not shown.
func (a *analysis) holds(r *Relation, location int32) error {
	if r.Holding == nil {
		return nil
	}
	if !r.Holding.Made {
		return refused(NotUnderstood, "42501", a.at(location), "The temporary table "+quoted(r.Name.Name)+" was made by a function, so that it is not known what it holds.", "Make it by a statement of your own.")
	}
	for i := range r.Holding.Sources {
		if err := a.source(r, &r.Holding.Sources[i], location); err != nil {
			return err
		}
	}
	return nil
}

func (a *analysis) source(r *Relation, s *Source, location int32) error {
	now, resource := policy.Exposure{}, s.Resource
	below := a.env.Catalog.ByOID[s.Relation]
	switch {
	case below == nil: // dropped since; its name is what the policies have to go by
		now = a.env.Sight.Read(resource)
	case s.Column == 0:
		if err := a.readable(below, location); err != nil {
			return err
		}
		now, resource = whole(a.rowsOf("read", below)), a.env.Catalog.TableResource(below.Name)
	default:
		now = a.env.Sight.Read(resource)
		for i := range below.Columns {
			if c := &below.Columns[i]; c.Number == s.Column {
				now, resource = a.read(below, c), a.env.Catalog.ColumnResource(below, c)
			}
		}
	}
	if !covers(now, s.Shown) {
		missing := policy.Touch{Action: "reveal", Resource: resource}
		if s.Column == 0 || !now.Visible {
			missing.Action = "read"
		}
		e := a.denied(location, "The temporary table "+quoted(r.Name.Name)+" holds values of "+resource.ID+", of which less is shown to you now than when they were written.", missing)
		e.Remedy = "Drop the table and make it again: it will hold what is shown now."
		return e
	}
	a.touch("read", resource)
	return nil
}

func whole(rows policy.Rows) policy.Exposure {
	return policy.Exposure{Visible: true, Mask: policy.MaskNone, Rows: rows}
}

// covers says whether everything that was shown then would be shown now.
func covers(now, then policy.Exposure) bool {
	both := now.And(then)
	return now.Visible && both.Visible && both.Mask == then.Mask && both.All == then.All && both.Width == then.Width && now.Rows.Within(then.Rows)
}

// sources are what the statement reads, as it is shown: what is written then holds values of that. Where one is a
// temporary table, its own sources are.
func (a *analysis) sources() []Source {
	var out []Source
	add := func(s Source) {
		if !slices.ContainsFunc(out, func(o Source) bool { return o.Relation == s.Relation && o.Column == s.Column && same(o.Shown, s.Shown) }) {
			out = append(out, s)
		}
	}
	for i, r := range a.named {
		if slices.Contains(a.named[:i], r) {
			continue
		}
		switch {
		case r.Holding != nil:
			for _, s := range r.Holding.Sources {
				add(s)
			}
			continue
		case isSystemSchema(r.Name.Schema):
			continue
		}
		if t := a.env.Catalog.TableResource(r.Name); a.reads[t.ID] {
			add(Source{r.OID, 0, t, whole(a.rowsOf("read", r))})
		}
		for k := range r.Columns {
			if c := a.env.Catalog.ColumnResource(r, &r.Columns[k]); a.reads[c.ID] {
				add(Source{r.OID, r.Columns[k].Number, c, a.read(r, &r.Columns[k])})
			}
		}
	}
	return out
}

func same(a, b policy.Exposure) bool {
	return a.Mask == b.Mask && a.All == b.All && a.Width == b.Width && a.Rows.Within(b.Rows) && b.Rows.Within(a.Rows)
}

// WithSources adds the sources that are not there yet.
func WithSources(have, more []Source) []Source {
	for _, s := range more {
		if !slices.ContainsFunc(have, func(o Source) bool { return o.Relation == s.Relation && o.Column == s.Column && same(o.Shown, s.Shown) }) {
			have = append(slices.Clip(have), s)
		}
	}
	return have
}

// newTemporary understands the name of a temporary table that is made.
func (a *analysis) newTemporary(v *pg.RangeVar) error {
	switch {
	case v.Schemaname != "" && !a.env.Catalog.isTempSchema(v.Schemaname):
		return refused(NotUnderstood, "42P16", a.at(v.Location), "cannot create temporary relation in non-temporary schema", "Leave the schema out.")
	case strings.HasPrefix(v.Relname, "pg_"): // it would hide a system catalog
		return refused(NotUnderstood, "42939", a.at(v.Location), "The names of temporary tables may not begin with pg_ here: such a table would hide a system catalog.", "Choose another name.")
	case a.env.Catalog.Temporary != nil && len(a.env.Catalog.Temporary.Relations) >= MaxTemporary:
		return refused(NotUnderstood, "54000", a.at(v.Location), "A session may have "+itoa(MaxTemporary)+" temporary tables and sequences.", "Drop some first.")
	}
	v.Schemaname, v.Relpersistence = TempSchema, "t"
	a.temporary(v.Relname)
	a.statement.Makes = v.Relname
	return nil
}

// temporary notes that the statement makes, changes or drops a temporary table.
func (a *analysis) temporary(name string) {
	a.statement.Writes = true
	a.statement.Temporary = append(a.statement.Temporary, name)
	a.touch("temporary", a.env.Catalog.Connection)
}

// createAs understands CREATE TABLE … AS: the query as it is shown to the principal fills the new table.
func (a *analysis) createAs(v *pg.CreateTableAsStmt) error {
	into := v.Into
	rel := into.GetRel()
	a.walk(v)
	a.walk(into)
	switch {
	case v.Objtype != pg.ObjectType_OBJECT_TABLE:
		return a.notBuilt(rel.GetLocation(), "Materialized views are")
	case into == nil || rel == nil || v.Query.GetSelectStmt() == nil:
		return a.notBuilt(rel.GetLocation(), "CREATE TABLE AS of anything but a query is")
	case len(into.Options) > 0 || into.TableSpaceName != "" || into.AccessMethod != "" || into.ViewQuery != nil:
		return a.notBuilt(rel.Location, "CREATE TABLE AS with storage options is")
	}
	if v.IsSelectInto { // the same in other words
		v.IsSelectInto = false
	}
	a.statement.Verb = CreateAs
	schema, temporary, err := a.newHome(rel, into.OnCommit)
	if err != nil {
		return err
	}
	if !temporary {
		rel.Schemaname = schema
		a.plan.ChangesCatalog, a.statement.Writes = true, true
		a.touch("ddl", a.env.Catalog.SchemaResource(schema))
	}
	a.walk(v.Query)
	if _, err := a.selectStmt(v.Query.GetSelectStmt(), nil, nil); err != nil {
		return err
	}
	if temporary {
		return nil
	}
	return a.unlabelledCopy(rel)
}

// unlabelledCopy refuses a new permanent table with values of labelled columns as they are: nothing would say that
// its columns are labelled too.
func (a *analysis) unlabelledCopy(v *pg.RangeVar) error {
	for _, s := range a.sources() {
		if len(s.Resource.Labels) > 0 && s.Shown.Mask == policy.MaskNone {
			return refused(Denied, "42501", a.at(v.Location), "The new table could hold values of the labelled column "+s.Resource.ID+" as they are, and its own columns have no label.",
				"Create the table first, label its columns in the connection's labels and INSERT … SELECT into it; or make a temporary table.")
		}
	}
	return nil
}

// newHome is the schema that a new table goes into, or that it is temporary.
func (a *analysis) newHome(v *pg.RangeVar, commit pg.OnCommitAction) (schema string, temporary bool, err error) {
	none := commit == pg.OnCommitAction_ONCOMMIT_NOOP || commit == pg.OnCommitAction_ON_COMMIT_ACTION_UNDEFINED
	if v != nil && (v.Relpersistence == "t" || v.Relpersistence == "p" && (a.env.Catalog.isTempSchema(v.Schemaname) || v.Schemaname == "" && a.env.Catalog.TempFirst)) {
		a.walk(v)
		if v.Catalogname != "" {
			return "", true, a.notUnderstood(nil, v.Location, "A relation is named with at most a schema.")
		}
		return "", true, a.newTemporary(v)
	}
	if !none {
		return "", false, refused(NotUnderstood, "42P16", a.at(v.GetLocation()), "ON COMMIT can only be used on temporary tables", "Leave it out, or write CREATE TEMPORARY TABLE.")
	}
	schema, err = a.home(v)
	return schema, false, err
}

// selectInto takes the INTO out of a SELECT: it means CREATE TABLE AS (transformOptionalSelectInto in PostgreSQL's
// analyze.c); nil where there is none.
func selectInto(n *pg.Node) *pg.CreateTableAsStmt {
	v := n.GetSelectStmt()
	first := v
	for first.GetOp() != pg.SetOperation_SETOP_NONE && first.GetLarg() != nil {
		first = first.Larg
	}
	into := first.GetIntoClause()
	if into == nil {
		return nil
	}
	first.IntoClause = nil
	return &pg.CreateTableAsStmt{Query: &pg.Node{Node: &pg.Node_SelectStmt{SelectStmt: v}}, Into: into, Objtype: pg.ObjectType_OBJECT_TABLE}
}

// like understands LIKE in a new temporary table: names, types and NOT NULL of columns that are all seen. What
// INCLUDING adds says more of the table than its columns do, or takes values from its sequences.
func (a *analysis) like(v *pg.TableLikeClause, own *item) error {
	a.walk(v)
	if v.Options != 0 {
		return a.notBuilt(v.Relation.GetLocation(), "LIKE with INCLUDING (defaults, constraints, statistics and the like) is")
	}
	r, err := a.lookup(v.Relation)
	if err != nil {
		return err
	}
	if r.Kind != Table && r.Kind != PartitionedTable {
		return a.notBuilt(v.Relation.Location, "LIKE of views, foreign tables and sequences is")
	}
	if err := a.readable(r, v.Relation.Location); err != nil {
		return err
	}
	if err := a.holds(r, v.Relation.Location); err != nil {
		return err
	}
	a.touch("read", a.env.Catalog.TableResource(r.Name))
	for i := range r.Columns {
		c := a.env.Catalog.ColumnResource(r, &r.Columns[i])
		if !a.read(r, &r.Columns[i]).Visible {
			return a.denied(v.Relation.Location, "LIKE names the column "+c.ID+", which no policy permits.", policy.Touch{Action: "read", Resource: c})
		}
		own.columns = append(own.columns, column{name: r.Columns[i].Name})
	}
	for _, f := range r.Calls { // of the types of its columns
		a.touch("call", a.env.Catalog.FunctionResource(f))
	}
	qualify(v.Relation, r)
	return nil
}

// dropsNothing says whether a table that DROP TABLE IF EXISTS does not find could only have been a temporary one: the
// principal may drop no other.
func (a *analysis) dropsNothing(v *pg.RangeVar) bool {
	may := func(action string, r policy.Resource) bool {
		return a.env.Sight.Permits(policy.Touch{Action: action, Resource: r})
	}
	if a.env.Catalog.isTempSchema(v.Schemaname) {
		return true
	}
	if v.Schemaname != "" || !may("temporary", a.env.Catalog.Connection) {
		return false
	}
	schema := "public"
	if len(a.env.Catalog.SearchPath) > 0 {
		schema = a.env.Catalog.SearchPath[0]
	}
	return !may("drop", a.env.Catalog.TableResource(Name{schema, v.Relname}))
}

// withTemporary puts the schema of temporary tables into a list of the schemas of the search path: where it is
// searched, or last where the session has none.
func (c *Catalog) withTemporary(path []string, schema string) []string {
	at := len(path)
	if c.Temporary != nil {
		at = min(c.TempAt, at)
	}
	return slices.Insert(path, at, schema)
}

// temporary adds the temporary relations of the session. How their values are spread is not shown: what the
// principal may see of that can have changed since they were written.
func (s *Seen) temporary(c *Catalog, usable map[uint32]bool) {
	if c.Temporary == nil {
		return
	}
	s.schemas = append(s.schemas, c.Temporary.Schema)
	for _, r := range c.Temporary.Relations {
		s.relations, s.full = append(s.relations, r.OID), append(s.full, r.OID)
		for i := range r.Columns {
			s.covered = append(s.covered, keyOf(r.OID, r.Columns[i].Number))
			usable[r.Columns[i].TypeOID] = true
		}
	}
}
