package postgres

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	guard "gatehouse/internal/sqlguard/postgres"
)

// Grants are the least rights that whoever the slices belong to needs, as SQL for an administrator: it takes
// away what the role has on the connection's tables, and gives back what is needed, in one transaction.
func (i *inspector) Grants(ctx context.Context, slices []*policy.Slice) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, inspectTime)
	defer cancel()
	l, err := i.open(ctx)
	if err != nil {
		return "", err
	}
	defer l.close()
	if len(l.mistaken) > 0 {
		return "", fmt.Errorf("%s %s", l.mistaken[0].Problem, l.mistaken[0].Remedy)
	}
	w := &grants{catalog: l.reader.catalog, slices: slices, role: sql(i.options.config.User), schemas: map[string]bool{}}
	w.sequences, err = l.sequences(ctx)
	if err != nil {
		return "", err
	}
	w.invoker, err = l.invokerViews(ctx)
	if err != nil {
		return "", err
	}
	return w.text(i.connection.Name, i.options.config.Database), nil
}

// sequences are, by table and column, those that a default takes values from.
func (l *survey) sequences(ctx context.Context) (map[columnKey]guard.Name, error) {
	out := map[columnKey]guard.Name{}
	rows, err := l.tx.Query(ctx, `SELECT ad.adrelid, ad.adnum, n.nspname, s.relname FROM pg_attrdef ad
		JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = ad.oid AND d.refclassid = 'pg_class'::regclass
		JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace`)
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var k columnKey
		var name guard.Name
		if err := rows.Scan(&k.oid, &k.number, &name.Schema, &name.Name); err != nil {
			return nil, fmt.Errorf("read the catalog: %w", err)
		}
		out[k] = name
	}
	return out, rows.Err()
}

// invokerViews are the views that read with the rights of whoever asks (PostgreSQL 15).
func (l *survey) invokerViews(ctx context.Context) (map[uint32]bool, error) {
	out := map[uint32]bool{}
	rows, err := l.tx.Query(ctx, `SELECT oid FROM pg_class WHERE relkind = 'v' AND EXISTS (SELECT FROM pg_options_to_table(reloptions) WHERE option_name = 'security_invoker' AND option_value IN ('true', 'on', 'yes', '1'))`)
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var oid uint32
		if err := rows.Scan(&oid); err != nil {
			return nil, fmt.Errorf("read the catalog: %w", err)
		}
		out[oid] = true
	}
	return out, rows.Err()
}

// grants gathers what is needed, table by table.
type grants struct {
	catalog   *guard.Catalog
	slices    []*policy.Slice
	role      string
	sequences map[columnKey]guard.Name
	invoker   map[uint32]bool
	schemas   map[string]bool
	lines     []string
	notes     []string
}

// may says whether anyone may do something, with or without an approval.
func (w *grants) may(action string, r policy.Resource) bool {
	return slices.ContainsFunc(w.slices, func(s *policy.Slice) bool {
		return s.Decide([]policy.Touch{{Action: action, Resource: r}}).Effect != policy.Refuse
	})
}

func (w *grants) text(connection, database string) string {
	var needs []string
	for _, r := range sortedByName(w.catalog) {
		if r.Kind != guard.Sequence {
			w.relation(r)
		}
	}
	w.functions()
	w.extensions()
	w.creation()
	var b strings.Builder
	fmt.Fprintf(&b, `-- The least rights that the role %s of connection %s needs for what the policies permit to anyone.
-- Run it as an administrator, in the database %s: psql -X -v ON_ERROR_STOP=1 -d %s -f FILE
-- A column that only ever shows as a constant (null, redact) is not read at all, and not granted.
-- Rights that come from PUBLIC or from other roles are not taken away; "gatehouse connections check %s" names them.
BEGIN;
`, w.role, connection, sql(database), sql(database), connection)
	fmt.Fprintf(&b, "GRANT CONNECT ON DATABASE %s TO %s;\n", sql(database), w.role)
	if w.may("temporary", w.catalog.Connection) {
		fmt.Fprintf(&b, "GRANT TEMPORARY ON DATABASE %s TO %s;\n", sql(database), w.role)
	}
	for _, schema := range w.allSchemas() {
		s := sql(schema)
		fmt.Fprintf(&b, "REVOKE ALL ON ALL TABLES IN SCHEMA %s FROM %s;\nREVOKE ALL ON ALL SEQUENCES IN SCHEMA %s FROM %s;\n", s, w.role, s, w.role)
		if w.schemas[schema] {
			needs = append(needs, fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s;", s, w.role))
		}
	}
	for _, line := range append(needs, w.lines...) {
		b.WriteString(line + "\n")
	}
	b.WriteString("COMMIT;\n")
	for _, n := range w.notes {
		b.WriteString("-- " + n + "\n")
	}
	return b.String()
}

func (w *grants) allSchemas() []string {
	var out []string
	for n := range w.catalog.Relations {
		out = append(out, n.Schema)
	}
	for schema := range w.schemas {
		out = append(out, schema)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// extensions: what is used of an extension is public, but its schema must be open to the role.
func (w *grants) extensions() {
	for n, o := range w.catalog.Functions {
		if o.Allowed {
			w.schemas[n.Schema] = true
		}
	}
	for _, schema := range w.catalog.OperatorPath {
		w.schemas[schema] = true
	}
}

// relation notes what is needed on a table or view.
func (w *grants) relation(r *guard.Relation) {
	table := w.catalog.TableResource(r.Name)
	reads, all := w.reads(r)
	w.columns("SELECT", r, reads, all)
	if w.may("insert", table) && (r.Kind == guard.Table || r.Kind == guard.PartitionedTable) {
		columns, all := w.written("insert", r)
		w.columns("INSERT", r, columns, all)
		w.defaults(r)
	}
	if w.may("update", table) && (r.Kind == guard.Table || r.Kind == guard.PartitionedTable) {
		columns, all := w.written("update", r)
		w.columns("UPDATE", r, columns, all)
	}
	for _, action := range []string{"delete", "truncate"} {
		if w.may(action, table) && (r.Kind == guard.Table || r.Kind == guard.PartitionedTable) {
			w.columns(strings.ToUpper(action), r, nil, true)
		}
	}
	if len(reads) > 0 && w.invoker[r.OID] {
		w.notes = append(w.notes, "The view "+r.Name.String()+" reads with the rights of whoever asks (security_invoker): grant SELECT on what it reads below, or it fails.")
	}
}

// reads are the columns whose values a statement of anyone's refers to, and whether that is every column, as
// it is.
func (w *grants) reads(r *guard.Relation) (columns []string, all bool) {
	all = len(r.Columns) > 0
	table := w.catalog.TableResource(r.Name)
	for i := range r.Columns {
		c := &r.Columns[i]
		refers, raw := w.filters(table, c.Name), false
		for _, s := range w.slices {
			if s.Read(table).Visible {
				e := s.Read(w.catalog.ColumnResource(r, c))
				refers = refers || guard.Reads(c, e)
				raw = raw || e.Visible && e.Mask == policy.MaskNone
			}
		}
		if refers {
			columns = append(columns, c.Name)
		}
		all = all && raw
	}
	return columns, all
}

// filters says whether a row filter of anyone's may name a column. It goes by the words of its text.
func (w *grants) filters(table policy.Resource, column string) bool {
	word := regexp.MustCompile(`(?i)(^|[^\pL\pN_$])` + regexp.QuoteMeta(column) + `($|[^\pL\pN_$])`)
	for _, s := range w.slices {
		for _, action := range []string{"read", "update", "delete"} {
			for _, clause := range s.May(action, table).Rows {
				if slices.ContainsFunc(clause, func(r policy.Row) bool { return word.MatchString(r.Text) }) {
					return true
				}
			}
		}
	}
	return false
}

func (w *grants) written(action string, r *guard.Relation) (columns []string, all bool) {
	all = len(r.Columns) > 0
	for i := range r.Columns {
		if w.may(action, w.catalog.ColumnResource(r, &r.Columns[i])) {
			columns = append(columns, r.Columns[i].Name)
		} else {
			all = false
		}
	}
	return columns, all
}

// columns grants a right on the whole table where every column has it: then on columns to come too, which
// the policies decide on as on the others.
func (w *grants) columns(right string, r *guard.Relation, columns []string, all bool) {
	if !all && len(columns) == 0 {
		return
	}
	if !all {
		names := make([]string, len(columns))
		for i, c := range columns {
			names[i] = sql(c)
		}
		right += " (" + strings.Join(names, ", ") + ")"
	}
	w.schemas[r.Name.Schema] = true
	w.lines = append(w.lines, fmt.Sprintf("GRANT %s ON %s TO %s;", right, sqlName(r.Name), w.role))
}

func sqlName(n guard.Name) string { return sql(n.Schema) + "." + sql(n.Name) }

// defaults grants the sequences that an INSERT takes values from. (Identity columns need no grant.)
func (w *grants) defaults(r *guard.Relation) {
	for _, c := range r.Columns {
		if s, ok := w.sequences[columnKey{r.OID, c.Number}]; ok {
			w.schemas[s.Schema] = true
			w.lines = append(w.lines, fmt.Sprintf("GRANT USAGE ON SEQUENCE %s TO %s;", sqlName(s), w.role))
		}
	}
}

// functions grants those that tables and views run, and that somebody may call.
func (w *grants) functions() {
	seen := map[uint32]bool{}
	for _, r := range sortedByName(w.catalog) {
		for _, f := range r.Calls {
			if !seen[f.OID] && w.may("call", w.catalog.FunctionResource(f)) {
				w.schemas[f.Name.Schema] = true
				w.lines = append(w.lines, fmt.Sprintf("GRANT EXECUTE ON FUNCTION %s(%s) TO %s;", sqlName(f.Name), f.Arguments, w.role))
			}
			seen[f.OID] = true
		}
	}
}

// creation says what is not granted: rights that only an owner has, or that let the role make objects.
func (w *grants) creation() {
	for _, schema := range w.allSchemas() {
		if w.may("ddl", w.catalog.SchemaResource(schema)) {
			w.notes = append(w.notes, fmt.Sprintf("The policies permit CREATE TABLE in %s, with or without an approval. It lets the role make objects of its own, so it is not granted here: GRANT CREATE ON SCHEMA %s TO %s;", guard.Quote(schema), sql(schema), w.role))
		}
	}
	owned := slices.ContainsFunc(sortedByName(w.catalog), func(r *guard.Relation) bool {
		t := w.catalog.TableResource(r.Name)
		return w.may("ddl", t) || w.may("drop", t)
	})
	if owned {
		w.notes = append(w.notes, "The policies permit ALTER TABLE, CREATE INDEX or DROP TABLE on tables that exist. PostgreSQL lets only their owner do so, and the owner of labelled tables is refused: do such changes with another role.")
	}
}

var _ gate.Inspector = (*inspector)(nil)
