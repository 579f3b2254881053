package postgres

import (
	"fmt"
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// system finds the system catalog that a range variable names; nil where it names something else. Without a
// schema the server looks into pg_catalog first, whatever the search path.
func (a *analysis) system(v *pg.RangeVar) (*Relation, error) {
	n := Name{v.Schemaname, v.Relname}
	if n.Schema == "" && strings.HasPrefix(n.Name, "pg_") {
		n.Schema = "pg_catalog"
	}
	if v.Catalogname != "" || n.Schema != "pg_catalog" && n.Schema != "information_schema" {
		return nil, nil
	}
	r := a.env.Catalog.System[n]
	known := catalogColumns[n]
	if r == nil && known == nil {
		return nil, nil
	}
	if r == nil {
		return nil, a.unknownTable(n.String(), v.Location)
	}
	if known == nil || a.ruleOf(n) == "" {
		return nil, refused(NotUnderstood, "42501", a.at(v.Location), "The system catalog "+n.String()+" is not on the list of those that can be read.", "docs/postgres-catalogs.md lists those that can.")
	}
	return r, nil
}

func (a *analysis) seenNow() *Seen {
	if a.sees == nil {
		if a.env.Seen != nil {
			a.sees = a.env.Seen()
		} else {
			a.sees = NewSeen(a.env.Catalog, a.env.Sight)
		}
	}
	return a.sees
}

// ruleOf is the condition under which a row of a system catalog is seen; "" for one that cannot be read.
func (a *analysis) ruleOf(n Name) string {
	rules := a.rules
	if rules == nil {
		rules = map[Name]string{}
		a.rules = rules
	}
	rule, ok := rules[n]
	if !ok {
		s := a.seenNow()
		if f := s.rules[n]; f != nil {
			rule = f(s)
		}
		rules[n] = rule
	}
	return rule
}

// scanSystem makes the item of a system catalog in FROM: a sub-select of what the principal may see of it. What
// is seen follows from what may be read and written, so that it asks for no permit of its own.
func (a *analysis) scanSystem(n *pg.Node, v *pg.RangeVar, r *Relation) (*item, error) {
	a.walk(v)
	a.named = append(a.named, r) // a row lock on it is refused
	a.touch("connect", a.env.Catalog.Connection)
	it := &item{alias: v.Relname, relation: r, virtual: true, masked: true, deep: []*Relation{r}}
	if err := a.hold(len(r.Columns)); err != nil {
		return nil, err
	}
	for i := range r.Columns {
		it.columns = append(it.columns, column{name: r.Columns[i].Name, from: []source{{it, &r.Columns[i]}}})
	}
	if err := a.alias(it, v.Alias, v.Location); err != nil {
		return nil, err
	}
	alias := v.Alias
	if alias == nil {
		alias = &pg.Alias{Aliasname: v.Relname}
	}
	sub := &pg.RangeSubselect{Alias: alias}
	a.walk(sub)
	n.Node = &pg.Node_RangeSubselect{RangeSubselect: sub}
	a.scans = append(a.scans, pendingScan{node: sub, item: it, catalog: a.env.Catalog})
	return it, nil
}

// systemText is the sub-select of a system catalog.
func (a *analysis) systemText(it *item, used func(*Column) bool) string {
	r := it.relation
	known := catalogColumns[r.Name]
	var b strings.Builder
	b.WriteString("SELECT ")
	list := 0
	add := func(text, name string) {
		if list++; list > 1 {
			b.WriteString(", ")
		}
		b.WriteString(text + " AS " + ident(name))
	}
	for i := range r.Columns {
		c := &r.Columns[i]
		if !used(c) {
			continue
		}
		value := "t." + ident(c.Name)
		switch {
		case !slices.Contains(known, c.Name):
			value = nothing(c)
		default:
			if f := a.seenNow().values[r.Name.Name+"."+c.Name]; f != nil {
				if v := f(a.seenNow(), a); v != "" {
					value = v
				}
			}
		}
		if value == "NULL" {
			value = nothing(c)
		}
		add(value, c.Name)
	}
	for _, name := range it.system {
		add("t."+name, name)
	}
	b.WriteString(" FROM " + r.Name.Schema + "." + ident(r.Name.Name) + " AS t" + where(a.ruleOf(r.Name)))
	return b.String()
}

// nothing is NULL of a column's type.
func nothing(c *Column) string {
	switch c.Type.Name {
	case "anyarray":
		return "CASE WHEN false THEN t." + ident(c.Name) + " END"
	}
	return "NULL::" + c.Spelled
}

// underPath is an expression that is evaluated while the session has the client's search path: what prints names
// leaves the schema out where the client would find them without. The path is set and put back around it, within
// the evaluation of this one expression; an error puts it back too, since it ends the (sub)transaction.
// Names of the statement are resolved before it runs, so that they do not depend on it.
func (a *analysis) underPath(expression string) string {
	return "(SELECT _gatehouse_3._gatehouse_r FROM (SELECT pg_catalog.current_setting('search_path') AS _gatehouse_o OFFSET 0) AS _gatehouse_0," +
		" LATERAL (SELECT pg_catalog.set_config('search_path', CASE WHEN _gatehouse_0._gatehouse_o IS NOT NULL THEN " + stringText(a.clientPath()) + " END, true) AS _gatehouse_p OFFSET 0) AS _gatehouse_1," +
		" LATERAL (SELECT CASE WHEN _gatehouse_1._gatehouse_p IS NOT NULL THEN " + expression + " END AS _gatehouse_r OFFSET 0) AS _gatehouse_2," +
		" LATERAL (SELECT _gatehouse_2._gatehouse_r AS _gatehouse_r, pg_catalog.set_config('search_path', _gatehouse_0._gatehouse_o, true) AS _gatehouse_p OFFSET 0) AS _gatehouse_3" +
		" WHERE _gatehouse_3._gatehouse_p IS NOT NULL)"
}

// clientPath is the client's search path as a value of the setting.
func (a *analysis) clientPath() string {
	var list []string
	for _, s := range a.env.Catalog.SearchPath {
		list = append(list, ident(s))
	}
	return strings.Join(a.env.Catalog.withTemporary(list, TempSchema), ", ")
}

// stringText writes a string for SQL text.
func stringText(s string) string {
	quoted := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return "E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}

// catalogValues are what stands for a column of a system catalog, over the alias t; "" leaves the column as it
// is, NULL shows nothing.
func catalogValues() map[string]func(*Seen, *analysis) string {
	null := func(*Seen, *analysis) string { return "NULL" }
	values := map[string]func(*Seen, *analysis) string{
		"pg_rewrite.ev_qual":                 null,
		"pg_rewrite.ev_action":               null,
		"pg_subscription.subconninfo":        null,
		"pg_foreign_server.srvoptions":       null,
		"pg_foreign_data_wrapper.fdwoptions": null,
		"pg_attribute.attmissingval":         null,
		"pg_roles.rolconfig":                 shownSettings("rolconfig"),
		"pg_user.useconfig":                  shownSettings("useconfig"),
		"pg_db_role_setting.setconfig":       shownSettings("setconfig"),
		"pg_settings.sourcefile":             null,
		"pg_settings.sourceline":             null,
		"pg_policy.polqual":                  whereFull("polrelid", "polqual"),
		"pg_policy.polwithcheck":             whereFull("polrelid", "polwithcheck"),
		"pg_policies.qual":                   whereFullNamed("qual"),
		"pg_policies.with_check":             whereFullNamed("with_check"),
		"pg_rules.definition": func(s *Seen, a *analysis) string {
			return a.underPath("(SELECT pg_catalog.pg_get_ruledef(w.oid) FROM pg_catalog.pg_rewrite AS w JOIN pg_catalog.pg_class AS c ON c.oid = w.ev_class JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = t.schemaname AND c.relname = t.tablename AND w.rulename = t.rulename AND " + s.rule() + ")")
		},
		"pg_views.definition":    viewDefinition("viewname"),
		"pg_matviews.definition": viewDefinition("matviewname"),
		"pg_sequences.last_value": func(s *Seen, _ *analysis) string {
			if len(s.filtered) == 0 {
				return ""
			}
			return "CASE WHEN NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = t.schemaname AND c.relname = t.sequencename AND " + s.uncounted("c.oid") + ") THEN t.last_value END"
		},
		"pg_class.relchecks": func(s *Seen, _ *analysis) string {
			if len(s.partial) == 0 {
				return ""
			}
			return "CASE WHEN " + anyOf("t.oid", s.partial) + " THEN (SELECT pg_catalog.count(*) FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = t.oid AND k.contype = 'c' AND " + s.object("constraint", "k.oid") + ")::pg_catalog.int2 ELSE t.relchecks END"
		},
		"pg_class.relpartbound": func(s *Seen, _ *analysis) string {
			if len(s.covered) == 0 {
				return ""
			}
			// The bounds of a partition are values of the columns that it is made by.
			return fmt.Sprintf("CASE WHEN t.relpartbound IS NULL OR NOT EXISTS (SELECT FROM pg_catalog.pg_inherits AS h JOIN pg_catalog.pg_partitioned_table AS p ON p.partrelid = h.inhparent, LATERAL pg_catalog.unnest(p.partattrs::pg_catalog.int2[]) AS u(n) WHERE h.inhrelid = t.oid AND (u.n = 0 OR %s = ANY (%s))) THEN t.relpartbound END",
				keyText("h.inhparent", "u.n"), s.covered.literal())
		},
	}
	for name, nothing := range map[string]string{"reltuples": "'-1'", "relpages": "'0'", "relallvisible": "'0'", "relallfrozen": "'0'"} {
		values["pg_class."+name] = func(s *Seen, _ *analysis) string {
			if len(s.filtered) == 0 {
				return ""
			}
			return "CASE WHEN " + s.uncounted("t.oid") + " THEN " + nothing + " ELSE t." + name + " END"
		}
	}
	// A hidden column looks like one that was dropped (RemoveAttributeById in PostgreSQL's heap.c).
	for name, gone := range map[string]string{
		"attname":  "pg_catalog.concat('........pg.dropped.', t.attnum, '........')::pg_catalog.name",
		"atttypid": "'0'", "attlen": "'0'", "atttypmod": "'-1'", "attndims": "'0'", "attbyval": "'false'", "attalign": "'c'",
		"attstorage": "'p'", "attcompression": "''", "attnotnull": "'false'", "atthasdef": "'false'", "atthasmissing": "'false'",
		"attidentity": "''", "attgenerated": "''", "attisdropped": "'true'", "attislocal": "'true'", "attinhcount": "'0'",
		"attcollation": "'0'", "attstattarget": "NULL", "attacl": "NULL", "attoptions": "NULL", "attfdwoptions": "NULL",
	} {
		values["pg_attribute."+name] = func(s *Seen, _ *analysis) string {
			if len(s.partial) == 0 {
				return ""
			}
			return fmt.Sprintf("CASE WHEN t.attnum > 0 AND %s AND %s <> ALL (%s) THEN %s ELSE t.%s END", anyOf("t.attrelid", s.partial), keyText("t.attrelid", "t.attnum"), s.attributes.literal(), gone, name)
		}
	}
	return values
}

// shownSettings keeps of a list of settings those that are harmless.
func shownSettings(column string) func(*Seen, *analysis) string {
	return func(*Seen, *analysis) string {
		return fmt.Sprintf("CASE WHEN t.%[1]s IS NOT NULL THEN ARRAY(SELECT u.s FROM pg_catalog.unnest(t.%[1]s) AS u(s) WHERE pg_catalog.lower(pg_catalog.split_part(u.s, '=', 1)) = ANY (%[2]s)) END", column, textArray(harmlessSettings))
	}
}

func whereFull(relation, column string) func(*Seen, *analysis) string {
	return func(s *Seen, _ *analysis) string {
		if len(s.partial) == 0 {
			return ""
		}
		return fmt.Sprintf("CASE WHEN %s THEN t.%s END", anyOf("t."+relation, s.full), column)
	}
}

func whereFullNamed(column string) func(*Seen, *analysis) string {
	return func(s *Seen, _ *analysis) string {
		if len(s.partial) == 0 {
			return ""
		}
		return fmt.Sprintf("CASE WHEN %s THEN t.%s END", relationIn("t.schemaname", "t.tablename", s.full), column)
	}
}

// viewDefinition prints a view's definition for the client's search path, where it names nothing hidden.
func viewDefinition(name string) func(*Seen, *analysis) string {
	return func(s *Seen, a *analysis) string {
		return a.definition("t.schemaname", "t."+name)
	}
}

func (a *analysis) definition(schema, name string) string {
	s := a.seenNow()
	return a.underPath(fmt.Sprintf("(SELECT pg_catalog.pg_get_viewdef(c.oid) FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s AND %s)",
		schema, name, s.guardCondition("view", "c.oid")))
}

// notSystem refuses a system catalog where it cannot stand: it is read, and nothing else.
func (a *analysis) notSystem(v *pg.RangeVar) *Error {
	if v.Schemaname != "" && v.Schemaname != "pg_catalog" && v.Schemaname != "information_schema" || a.env.Catalog.System[Name{"pg_catalog", v.Relname}] == nil && v.Schemaname == "" {
		return a.unknownTable(v.Relname, v.Location)
	}
	return refused(NotUnderstood, "42501", a.at(v.Location), "The system catalogs are read here, and nothing else.", "Change objects by their own statements, such as ALTER TABLE.")
}
