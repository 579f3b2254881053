package postgres

import "fmt"

// informationRules say which rows of the views of information_schema a principal sees, over the alias t.
func informationRules() map[string]func(*Seen) string {
	relation := func(schema, name string) func(*Seen) string {
		return func(s *Seen) string { return s.relationNamed("t."+schema, "t."+name, "") }
	}
	column := func(schema, name, column string) func(*Seen) string {
		return func(s *Seen) string { return s.relationNamed("t."+schema, "t."+name, "t."+column) }
	}
	typed := func(schema, name string) func(*Seen) string {
		return func(s *Seen) string { return s.typeNamed("t."+schema, "t."+name) }
	}
	constraint := func(s *Seen) string {
		return either(s.constraintNamed("t.constraint_schema", "t.constraint_name"), s.notNull("t.constraint_name"))
	}
	routine := func(s *Seen) string { return s.routineNamed("t.specific_name") }
	and := func(rules ...func(*Seen) string) func(*Seen) string {
		return func(s *Seen) string {
			list := make([]string, len(rules))
			for i, r := range rules {
				list[i] = r(s)
			}
			return both(list...)
		}
	}
	inCollation := func(s *Seen) string {
		return fmt.Sprintf("EXISTS (SELECT FROM pg_catalog.pg_namespace AS n WHERE n.nspname = t.collation_schema AND %s)", either(builtin("n.oid"), anyOf("n.oid", s.whole)))
	}
	table, tableColumn := relation("table_schema", "table_name"), column("table_schema", "table_name", "column_name")
	return map[string]func(*Seen) string{
		"tables": table, "views": table, "columns": tableColumn,
		"foreign_tables": relation("foreign_table_schema", "foreign_table_name"),
		"schemata": func(s *Seen) string {
			return fmt.Sprintf("EXISTS (SELECT FROM pg_catalog.pg_namespace AS n WHERE n.nspname = t.schema_name AND %s)", s.object("namespace", "n.oid"))
		},
		"table_constraints": and(table, constraint), "constraint_table_usage": and(table, constraint),
		"key_column_usage": and(tableColumn, constraint), "constraint_column_usage": and(tableColumn, constraint),
		"referential_constraints": constraint, "check_constraints": constraint,
		"routines": routine, "parameters": routine, "routine_privileges": routine, "role_routine_grants": routine,
		"sequences":                relation("sequence_schema", "sequence_name"),
		"triggers":                 and(relation("event_object_schema", "event_object_table"), func(s *Seen) string { return relationIn("t.event_object_schema", "t.event_object_table", s.full) }),
		"triggered_update_columns": and(relation("event_object_schema", "event_object_table"), column("event_object_schema", "event_object_table", "event_object_column")),
		"domains":                  typed("domain_schema", "domain_name"), "domain_udt_usage": typed("domain_schema", "domain_name"),
		"domain_constraints":  and(typed("domain_schema", "domain_name"), constraint),
		"column_domain_usage": tableColumn, "column_udt_usage": tableColumn,
		"column_privileges": tableColumn, "role_column_grants": tableColumn,
		"table_privileges": table, "role_table_grants": table,
		"udt_privileges": typed("udt_schema", "udt_name"), "role_udt_grants": typed("udt_schema", "udt_name"),
		"user_defined_types": typed("user_defined_type_schema", "user_defined_type_name"), "attributes": typed("udt_schema", "udt_name"),
		"element_types": described, "data_type_privileges": described,
		"view_table_usage":    and(relation("view_schema", "view_name"), table),
		"view_column_usage":   and(relation("view_schema", "view_name"), tableColumn),
		"column_column_usage": and(tableColumn, column("table_schema", "table_name", "dependent_column")),
		"enabled_roles":       everything, "applicable_roles": everything, "administrable_role_authorizations": everything,
		"character_sets": everything, "collations": inCollation, "collation_character_set_applicability": inCollation,
		"information_schema_catalog_name": everything, "sql_features": everything, "sql_implementation_info": everything,
		"sql_parts": everything, "sql_sizing": everything,
	}
}

// described is the rule of rows that belong to a column, a type or a function, as their object_type says.
func described(s *Seen) string {
	number := "(CASE WHEN t.dtd_identifier::pg_catalog.text ~ '^\\d{1,4}$' THEN t.dtd_identifier::pg_catalog.text END)::pg_catalog.int2"
	of := fmt.Sprintf("EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = t.object_schema AND c.relname = t.object_name AND %s)",
		parens(s.attribute("c.oid", number)))
	return fmt.Sprintf("CASE t.object_type::pg_catalog.text WHEN 'TABLE' THEN %s WHEN 'ROUTINE' THEN %s ELSE %s END", of, s.routineNamed("t.object_name"), s.typeNamed("t.object_schema", "t.object_name"))
}

// informationValues are what stands for columns of information_schema, as catalogValues.
func informationValues() map[string]func(*Seen, *analysis) string {
	return map[string]func(*Seen, *analysis) string{
		"views.view_definition": func(s *Seen, a *analysis) string {
			return "CASE WHEN t.view_definition IS NOT NULL THEN " + a.definition("t.table_schema", "t.table_name") + " END"
		},
		"columns.column_default":        columnExpression("column_default"),
		"columns.generation_expression": columnExpression("generation_expression"),
		"triggers.action_statement": func(s *Seen, a *analysis) string {
			return a.underPath("(SELECT pg_catalog.substring(pg_catalog.pg_get_triggerdef(g.oid), pg_catalog.strpos(pg_catalog.substring(pg_catalog.pg_get_triggerdef(g.oid), 48), 'EXECUTE FUNCTION') + 47) FROM pg_catalog.pg_trigger AS g JOIN pg_catalog.pg_class AS c ON c.oid = g.tgrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = t.event_object_schema AND c.relname = t.event_object_table AND g.tgname = t.trigger_name)")
		},
	}
}

// columnExpression prints a column's default for the client's search path, where it reads nothing hidden.
func columnExpression(name string) func(*Seen, *analysis) string {
	return func(s *Seen, a *analysis) string {
		return "CASE WHEN t." + name + " IS NOT NULL THEN " + a.underPath(fmt.Sprintf("(SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE n.nspname = t.table_schema AND c.relname = t.table_name AND a.attname = t.column_name AND %s)", s.object("default", "d.oid"))) + " END"
	}
}
