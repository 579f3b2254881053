package postgres

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

// systemCatalogs lists the system catalogs that can be read, and their columns.
//
//go:embed systemcatalogs.txt
var systemCatalogs string

// catalogColumns are the columns of a system catalog that are known, by the catalog's name. A relation that is
// not here cannot be read.
var catalogColumns = func() map[Name][]string {
	out := map[Name][]string{}
	for line := range strings.Lines(systemCatalogs) {
		name, columns, ok := strings.Cut(line, ":")
		if schema, relation, is := strings.Cut(name, "."); ok && is && !strings.HasPrefix(name, "#") {
			out[Name{schema, relation}] = strings.Fields(columns)
		}
	}
	return out
}()

// firstUser is the condition that an object came with the server.
func builtin(oid string) string { return oid + " < " + itoa(firstUserOID) }

// anyOf is the condition that an OID is one of a list.
func anyOf(oid string, list oids) string {
	if len(list) == 0 {
		return "false"
	}
	return oid + " = ANY (" + list.literal() + ")"
}

func either(conditions ...string) string { return join(" OR ", "true", "false", conditions) }
func both(conditions ...string) string   { return join(" AND ", "false", "true", conditions) }

// join puts conditions together; absorbing decides alone, neutral says nothing.
func join(operator, absorbing, neutral string, conditions []string) string {
	var list []string
	for _, c := range conditions {
		if c == absorbing {
			return absorbing
		}
		if c != neutral && c != "" {
			list = append(list, c)
		}
	}
	switch len(list) {
	case 0:
		return neutral
	case 1:
		return list[0]
	}
	return "(" + strings.Join(list, operator) + ")"
}

func where(condition string) string {
	if condition == "true" {
		return ""
	}
	return " WHERE " + condition
}

// attribute is the condition that a column of a relation is seen. A relation's system columns are not columns here.
func (s *Seen) attribute(relation, number string) string {
	if len(s.partial) == 0 {
		return either(builtin(relation), anyOf(relation, s.relations))
	}
	return either(builtin(relation), anyOf(relation, s.full), keyText(relation, number)+" = ANY ("+s.attributes.literal()+")")
}

// attributes is the condition that every column of an array is seen; zero says whether 0 (a whole row, an
// expression) is taken for one that is.
func (s *Seen) every(relation, array string, zero bool) string {
	c := either(builtin(relation), anyOf(relation, s.full))
	if len(s.partial) == 0 {
		return c
	}
	hidden := keyText(relation, "u.n") + " <> ALL (" + s.attributes.literal() + ")"
	if zero {
		hidden = "u.n <> 0 AND " + hidden
	}
	return either(c, both(anyOf(relation, s.partial), "NOT EXISTS (SELECT FROM pg_catalog.unnest("+array+"::pg_catalog.int2[]) AS u(n) WHERE "+hidden+")"))
}

// depends is the condition that nothing depends on a hidden column of its own relation: an index with what it
// computes, the expression of a column.
func (s *Seen) depends(class uint32, object, relation string) string {
	c := either(builtin(relation), anyOf(relation, s.full))
	if len(s.partial) == 0 {
		return c
	}
	return either(c, fmt.Sprintf("NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d WHERE d.classid = %d AND d.objid = %s AND d.refclassid = %d AND d.refobjid = %s AND d.deptype IN ('n', 'a') AND %s <> ALL (%s))",
		class, object, classRelation, relation, keyText("d.refobjid", "d.refobjsubid"), s.attributes.literal()))
}

// The OIDs of system catalogs that are fixed (PostgreSQL's include/catalog/*.h, CATALOG()).
const (
	classType       = 1247
	classFunction   = 1255
	classRelation   = 1259
	classDatabase   = 1262
	classDefault    = 2604
	classCast       = 2605
	classConstraint = 2606
	classConversion = 2607
	classLanguage   = 2612
	classSchema     = 2615
	classOpclass    = 2616
	classOperator   = 2617
	classRule       = 2618
	classTrigger    = 2620
	classFamily     = 2753
	classExtension  = 3079
	classPolicy     = 3256
	classStatistics = 3381
	classCollation  = 3456
	classDictionary = 3600
	classParser     = 3601
	classConfig     = 3602
	classTemplate   = 3764
)

// kinds are the kinds of objects, each with the catalog that holds them.
var kinds = map[string]string{
	"class": "pg_class", "type": "pg_type", "proc": "pg_proc", "namespace": "pg_namespace", "constraint": "pg_constraint",
	"index": "pg_index", "trigger": "pg_trigger", "rule": "pg_rewrite", "statistics": "pg_statistic_ext",
	"operator": "pg_operator", "config": "pg_ts_config", "dictionary": "pg_ts_dict", "parser": "pg_ts_parser",
	"template": "pg_ts_template", "collation": "pg_collation", "conversion": "pg_conversion", "opclass": "pg_opclass",
	"family": "pg_opfamily", "database": "pg_database", "policy": "pg_policy", "default": "pg_attrdef", "cast": "pg_cast",
}

// object is the condition that an object of a kind is seen.
func (s *Seen) object(kind, oid string) string {
	column := "oid"
	if kind == "index" {
		column = "indexrelid"
	}
	switch kind {
	case "proc":
		return either(builtin(oid), anyOf(oid, s.functions))
	case "namespace":
		return either(builtin(oid), anyOf(oid, s.schemas))
	}
	return fmt.Sprintf("(%s OR %s IN (SELECT t.%s FROM pg_catalog.%s AS t%s))", builtin(oid), oid, column, kinds[kind], where(s.catalog(kinds[kind])))
}

// any is the condition that an object is seen, whose catalog is known to the query alone; sub, where not empty,
// is a column of a relation.
func (s *Seen) any(class, oid, sub string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "(%s OR CASE %s", builtin(oid), class)
	for _, c := range []struct {
		class uint32
		kind  string
	}{
		{classType, "type"}, {classFunction, "proc"}, {classConstraint, "constraint"}, {classSchema, "namespace"},
		{classTrigger, "trigger"}, {classRule, "rule"}, {classPolicy, "policy"}, {classStatistics, "statistics"},
		{classDefault, "default"}, {classCast, "cast"}, {classOperator, "operator"}, {classOpclass, "opclass"},
		{classFamily, "family"}, {classCollation, "collation"}, {classConversion, "conversion"},
		{classConfig, "config"}, {classDictionary, "dictionary"}, {classParser, "parser"}, {classTemplate, "template"},
	} {
		fmt.Fprintf(&b, " WHEN %d THEN %s", c.class, s.object(c.kind, oid))
	}
	relation := s.object("class", oid)
	if sub != "" && len(s.partial) > 0 {
		relation = both(relation, either(sub+" = 0", "NOT "+parens(anyOf(oid, s.partial)), keyText(oid, sub)+" = ANY ("+s.attributes.literal()+")"))
	}
	fmt.Fprintf(&b, " WHEN %d THEN %s", classRelation, relation)
	fmt.Fprintf(&b, " WHEN %d THEN true WHEN %d THEN true", classExtension, classLanguage)
	fmt.Fprintf(&b, " ELSE %t END)", s.all)
	return b.String()
}

func parens(s string) string { return "(" + s + ")" }

// inSchema is the condition of objects that are seen where their schema may be read as a whole.
func (s *Seen) inSchema(namespace string) string {
	return either(builtin("t.oid"), anyOf(namespace, s.whole))
}

// uncounted is the condition that an OID is one of a relation of which not every row is seen, or of what belongs
// to it: its size says how many there are.
func (s *Seen) uncounted(oid string) string {
	if len(s.filtered) == 0 {
		return "false"
	}
	return either(anyOf(oid, s.filtered),
		oid+" IN (SELECT i.indexrelid FROM pg_catalog.pg_index AS i WHERE "+anyOf("i.indrelid", s.filtered)+")",
		oid+" IN (SELECT r.reltoastrelid FROM pg_catalog.pg_class AS r WHERE "+anyOf("r.oid", s.filtered)+")",
		fmt.Sprintf("%[1]s IN (SELECT d.objid FROM pg_catalog.pg_depend AS d WHERE d.classid = %[2]d AND d.refclassid = %[2]d AND d.deptype IN ('a', 'i') AND %[3]s)", oid, classRelation, anyOf("d.refobjid", s.filtered)))
}

// counted is the condition that the size of a relation may be shown.
func (s *Seen) counted(oid string) string {
	if u := s.uncounted(oid); u != "false" {
		return "NOT " + u
	}
	return "true"
}

// relationNamed is the condition that the relation of a name is seen; column, where not empty, is a column's name.
func (s *Seen) relationNamed(schema, name, column string) string {
	if column == "" {
		return fmt.Sprintf("EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s AND %s)", schema, name, either(builtin("c.oid"), anyOf("c.oid", s.relations)))
	}
	return fmt.Sprintf("EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid WHERE n.nspname = %s AND c.relname = %s AND a.attname = %s AND a.attnum > 0 AND %s)", schema, name, column, s.attribute("c.oid", "a.attnum"))
}

// relationIn is the condition that the relation of a name is on a list.
func relationIn(schema, name string, list oids) string {
	if len(list) == 0 {
		return "false"
	}
	return fmt.Sprintf("EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s AND %s)", schema, name, anyOf("c.oid", list))
}

func (s *Seen) typeNamed(schema, name string) string {
	return fmt.Sprintf("EXISTS (SELECT FROM pg_catalog.pg_type AS t1 JOIN pg_catalog.pg_namespace AS n ON n.oid = t1.typnamespace WHERE n.nspname = %s AND t1.typname = %s AND %s)", schema, name, s.object("type", "t1.oid"))
}

func (s *Seen) constraintNamed(schema, name string) string {
	return fmt.Sprintf("EXISTS (SELECT FROM pg_catalog.pg_constraint AS k JOIN pg_catalog.pg_namespace AS n ON n.oid = k.connamespace WHERE n.nspname = %s AND k.conname = %s AND %s)", schema, name, s.object("constraint", "k.oid"))
}

// notNull is the condition that a constraint of information_schema is NOT NULL of a column that is seen: before
// PostgreSQL 18 it has no row in pg_constraint, and its name is made of numbers.
func (s *Seen) notNull(name string) string {
	part := func(i int, t string) string {
		return fmt.Sprintf("(CASE WHEN %[1]s::pg_catalog.text ~ '^\\d{1,9}_\\d{1,9}_\\d{1,4}_not_null$' THEN pg_catalog.split_part(%[1]s::pg_catalog.text, '_', %[2]d) END)::pg_catalog.%[3]s", name, i, t)
	}
	return parens(s.attribute(part(2, "oid"), part(3, "int4")))
}

// routineNamed is the condition that a function is seen whose specific name is known: its name, then its OID.
func (s *Seen) routineNamed(name string) string {
	oid := fmt.Sprintf("(CASE WHEN %[1]s::pg_catalog.text ~ '_\\d{1,9}$' THEN pg_catalog.substring(%[1]s::pg_catalog.text, '_(\\d{1,9})$') END)::pg_catalog.oid", name)
	return either(builtin(oid), anyOf(oid, s.functions))
}

// catalog is the condition that a row of a catalog of pg_catalog is seen, over the alias t. An unknown catalog
// shows nothing.
func (s *Seen) catalog(name string) string {
	if f := s.rules[Name{"pg_catalog", name}]; f != nil {
		return f(s)
	}
	return "false"
}

func everything(*Seen) string { return "true" }

// bySchema is the rule of catalogs whose objects live in a schema.
func bySchema(column string) func(*Seen) string {
	return func(s *Seen) string { return s.inSchema("t." + column) }
}

// byObject is the rule of catalogs whose rows belong to an object.
func byObject(kind, column string) func(*Seen) string {
	return func(s *Seen) string { return s.object(kind, "t."+column) }
}

// byRelation is the rule of catalogs whose rows belong to a table, view or sequence.
func byRelation(column string) func(*Seen) string {
	return func(s *Seen) string { return either(builtin("t."+column), anyOf("t."+column, s.relations)) }
}

// byName is the rule of views that name a relation.
func byName(name string) func(*Seen) string {
	return func(s *Seen) string { return s.relationNamed("t.schemaname", "t."+name, "") }
}

// byPlain is the rule of statistics: they are shown of relations without a masked column.
func plainNamed(name string) func(*Seen) string {
	return func(s *Seen) string { return relationIn("t.schemaname", "t."+name, s.plain) }
}

// catalogRules say which rows of the catalogs of pg_catalog a principal sees, over the alias t.
func catalogRules() map[string]func(*Seen) string {
	rules := map[string]func(*Seen) string{
		"pg_class":       (*Seen).classes,
		"pg_attribute":   byObject("class", "attrelid"),
		"pg_type":        (*Seen).typeRows,
		"pg_proc":        byObject("proc", "oid"),
		"pg_aggregate":   byObject("proc", "aggfnoid::pg_catalog.oid"),
		"pg_namespace":   byObject("namespace", "oid"),
		"pg_index":       (*Seen).indexes,
		"pg_constraint":  (*Seen).constraints,
		"pg_attrdef":     (*Seen).defaults,
		"pg_trigger":     (*Seen).triggers,
		"pg_rewrite":     byRelation("ev_class"),
		"pg_policy":      byRelation("polrelid"),
		"pg_description": func(s *Seen) string { return s.any("t.classoid", "t.objoid", "t.objsubid") },
		"pg_seclabel":    func(s *Seen) string { return s.any("t.classoid", "t.objoid", "t.objsubid") },
		"pg_seclabels":   func(s *Seen) string { return s.any("t.classoid", "t.objoid", "t.objsubid") },
		"pg_init_privs":  func(s *Seen) string { return s.any("t.classoid", "t.objoid", "t.objsubid") },
		"pg_shdescription": func(s *Seen) string {
			return either("t.classoid <> "+itoa(classDatabase), s.object("database", "t.objoid"))
		},
		"pg_depend": func(s *Seen) string {
			return both(s.any("t.classid", "t.objid", "t.objsubid"), s.any("t.refclassid", "t.refobjid", "t.refobjsubid"))
		},
		"pg_inherits":          func(s *Seen) string { return both(s.object("class", "t.inhrelid"), s.object("class", "t.inhparent")) },
		"pg_partitioned_table": func(s *Seen) string { return s.every("t.partrelid", "t.partattrs", false) },
		"pg_sequence":          byObject("class", "seqrelid"),
		"pg_enum":              byObject("type", "enumtypid"),
		"pg_range":             byObject("type", "rngtypid"),
		"pg_cast": func(s *Seen) string {
			return both(s.object("type", "t.castsource"), s.object("type", "t.casttarget"), s.object("proc", "t.castfunc"))
		},
		"pg_transform":     func(s *Seen) string { return both(s.object("type", "t.trftype")) },
		"pg_operator":      bySchema("oprnamespace"),
		"pg_opclass":       bySchema("opcnamespace"),
		"pg_opfamily":      bySchema("opfnamespace"),
		"pg_amop":          byObject("family", "amopfamily"),
		"pg_amproc":        byObject("family", "amprocfamily"),
		"pg_collation":     bySchema("collnamespace"),
		"pg_conversion":    bySchema("connamespace"),
		"pg_ts_config":     bySchema("cfgnamespace"),
		"pg_ts_config_map": byObject("config", "mapcfg"),
		"pg_ts_dict":       bySchema("dictnamespace"),
		"pg_ts_parser":     bySchema("prsnamespace"),
		"pg_ts_template":   bySchema("tmplnamespace"),
		"pg_statistic_ext": func(s *Seen) string {
			if len(s.partial) == 0 {
				return s.every("t.stxrelid", "t.stxkeys", false)
			}
			return both(s.every("t.stxrelid", "t.stxkeys", false), s.depends(classStatistics, "t.oid", "t.stxrelid"))
		},
		"pg_default_acl": func(s *Seen) string {
			return either("t.defaclnamespace = 0", s.object("namespace", "t.defaclnamespace"))
		},
		"pg_publication_rel": func(s *Seen) string {
			return both(either(builtin("t.prrelid"), anyOf("t.prrelid", s.full)))
		},
		"pg_publication_namespace": byObject("namespace", "pnnspid"),
		"pg_publication_tables":    func(s *Seen) string { return relationIn("t.schemaname", "t.tablename", s.full) },
		"pg_foreign_table":         byRelation("ftrelid"),
		"pg_database":              func(*Seen) string { return either(builtin("t.oid"), "t.datname = pg_catalog.current_database()") },
		"pg_stat_database":         func(*Seen) string { return "t.datname = pg_catalog.current_database()" },
		"pg_stat_activity":         func(*Seen) string { return "t.pid = pg_catalog.pg_backend_pid()" },
		"pg_locks":                 func(*Seen) string { return "t.pid = pg_catalog.pg_backend_pid()" },
		"pg_settings":              func(*Seen) string { return "t.name = ANY (" + textArray(harmlessSettings) + ")" },
		"pg_stat_user_functions":   byObject("proc", "funcid"),
		"pg_tables":                byName("tablename"),
		"pg_views":                 byName("viewname"),
		"pg_matviews":              byName("matviewname"),
		"pg_sequences":             byName("sequencename"),
		"pg_policies":              byName("tablename"),
		"pg_rules":                 byName("tablename"),
		"pg_indexes": func(s *Seen) string {
			return fmt.Sprintf("EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = t.schemaname AND c.relname = t.indexname AND %s)", s.object("class", "c.oid"))
		},
		"pg_stats": func(s *Seen) string {
			return fmt.Sprintf("EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid WHERE n.nspname = t.schemaname AND c.relname = t.tablename AND a.attname = t.attname AND a.attnum > 0 AND %s)",
				s.uncovered("c.oid", "a.attnum")) // not those of the catalogs, whose values are names
		},
		"pg_stats_ext": plainNamed("tablename"),
	}
	for _, name := range strings.Fields(`pg_roles pg_user pg_group pg_auth_members pg_db_role_setting pg_tablespace pg_am pg_language pg_extension
		pg_available_extensions pg_available_extension_versions pg_timezone_names pg_timezone_abbrevs pg_publication pg_foreign_data_wrapper pg_foreign_server`) {
		rules[name] = everything
	}
	for _, name := range strings.Fields("pg_event_trigger pg_subscription pg_largeobject_metadata") {
		rules[name] = func(s *Seen) string { return fmt.Sprint(s.all) }
	}
	for _, scope := range []string{"all", "user", "sys"} {
		for _, prefix := range []string{"pg_stat_", "pg_stat_xact_", "pg_statio_"} {
			rules[prefix+scope+"_tables"] = func(s *Seen) string {
				return both(either(builtin("t.relid"), anyOf("t.relid", s.relations)), s.counted("t.relid"))
			}
			rules[prefix+scope+"_sequences"] = byObject("class", "relid")
			rules[prefix+scope+"_indexes"] = func(s *Seen) string {
				return both(s.object("class", "t.indexrelid"), s.counted("t.indexrelid"))
			}
		}
	}
	return rules
}

// uncovered is the condition that a column of a user's relation is neither hidden nor masked.
func (s *Seen) uncovered(relation, number string) string {
	if len(s.covered) == 0 {
		return anyOf(relation, s.plain)
	}
	return either(anyOf(relation, s.plain), both(anyOf(relation, s.relations), "NOT "+parens(keyText(relation, number)+" = ANY ("+s.covered.literal()+")")))
}

// classes: what a relation that is seen has made of itself is seen too: its indexes, its TOAST table, the
// sequences of its columns.
func (s *Seen) classes() string {
	toast := "SELECT r.reltoastrelid FROM pg_catalog.pg_class AS r WHERE " + anyOf("r.oid", s.relations)
	owned := fmt.Sprintf("SELECT d.objid FROM pg_catalog.pg_depend AS d WHERE d.classid = %[1]d AND d.refclassid = %[1]d AND d.deptype IN ('a', 'i') AND %s", classRelation, s.attribute("d.refobjid", "d.refobjsubid"))
	return either(
		builtin("t.oid"),
		anyOf("t.oid", s.relations),
		"t.relkind IN ('i', 'I') AND t.oid IN (SELECT i.indexrelid FROM pg_catalog.pg_index AS i WHERE "+s.index("i")+")",
		"t.relkind = 'S' AND t.oid IN ("+owned+")",
		"t.relkind = 't' AND t.oid IN ("+toast+")",
		both("t.relkind = 'c'", anyOf("t.reltype", s.types)),
	)
}

func (s *Seen) indexes() string { return s.index("t") }

func (s *Seen) index(t string) string {
	relation := t + ".indrelid"
	return either(
		builtin(relation),
		both(s.every(relation, t+".indkey", true), s.depends(classRelation, t+".indexrelid", relation)),
		relation+" IN (SELECT r.reltoastrelid FROM pg_catalog.pg_class AS r WHERE "+anyOf("r.oid", s.relations)+")",
	)
}

func (s *Seen) typeRows() string {
	return either(
		builtin("t.oid"),
		anyOf("t.oid", s.types),
		anyOf("t.typrelid", s.relations),
		anyOf("t.typelem", s.types),
		both("t.typelem <> 0", "t.typelem IN (SELECT r.reltype FROM pg_catalog.pg_class AS r WHERE "+anyOf("r.oid", s.relations)+")"),
	)
}

func (s *Seen) constraints() string {
	own := both("t.conrelid <> 0", s.every("t.conrelid", "t.conkey", false),
		either("t.confrelid = 0", s.every("t.confrelid", "t.confkey", false)))
	return either(builtin("t.oid"), own, both("t.contypid <> 0", anyOf("t.contypid", s.types)))
}

func (s *Seen) defaults() string {
	own := s.attribute("t.adrelid", "t.adnum")
	if len(s.partial) == 0 {
		return own
	}
	return both(own, s.depends(classDefault, "t.oid", "t.adrelid"))
}

func (s *Seen) triggers() string {
	own := either(builtin("t.tgrelid"), anyOf("t.tgrelid", s.full))
	if len(s.partial) > 0 {
		own = either(own, both("t.tgqual IS NULL", s.every("t.tgrelid", "t.tgattr", false)))
	}
	return both(own, either("t.tgconstrrelid = 0", anyOf("t.tgconstrrelid", s.relations)))
}

// textArray is a list of words as SQL.
func textArray(words map[string]bool) string {
	list := make([]string, 0, len(words))
	for w := range words {
		list = append(list, w)
	}
	slices.Sort(list)
	return "'{" + strings.Join(list, ",") + "}'::pg_catalog.text[]"
}
