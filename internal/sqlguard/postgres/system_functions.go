package postgres

import (
	"fmt"
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
)

// catalogFunction is a function that looks into the catalogs: it may be asked only about objects that are seen.
type catalogFunction struct {
	// arguments are, in order, what each is about: a kind of object, or "-" for one that is about nothing. The
	// last one is repeated.
	arguments []string
	// path is set where it prints names, which the client's search path decides.
	path bool
	// after, where not 0, is how many arguments stand after the object: has_…_privilege may have a role before it.
	after int
	// named is set where the first argument may be a relation's name.
	named bool
	// replaced, where not empty, is what stands for the whole call, with $60000 and on for its arguments.
	replaced func(s *Seen, arguments int) string
}

// catalogFunctions are the functions of pg_catalog that look into the catalogs, by name.
var catalogFunctions = func() map[string]catalogFunction {
	out := map[string]catalogFunction{}
	for line := range strings.Lines(`
		path format_type type -
		path pg_get_indexdef index -
		path pg_get_constraintdef constraint -
		path pg_get_viewdef view -
		path pg_get_ruledef rule -
		path pg_get_triggerdef trigger -
		path pg_get_functiondef proc
		path pg_get_function_arguments proc
		path pg_get_function_identity_arguments proc
		path pg_get_function_result proc
		path pg_get_function_sqlbody proc
		path pg_get_function_arg_default proc -
		path pg_get_partkeydef class
		path pg_get_partition_constraintdef full
		path pg_get_statisticsobjdef statistics
		path pg_get_statisticsobjdef_columns statistics
		path pg_get_statisticsobjdef_expressions statistics
		path pg_table_is_visible class
		path pg_type_is_visible type
		path pg_function_is_visible proc
		path pg_operator_is_visible operator
		path pg_opclass_is_visible opclass
		path pg_opfamily_is_visible family
		path pg_collation_is_visible collation
		path pg_conversion_is_visible conversion
		path pg_statistics_obj_is_visible statistics
		path pg_ts_config_is_visible config
		path pg_ts_dict_is_visible dictionary
		path pg_ts_parser_is_visible parser
		path pg_ts_template_is_visible template
		privilege has_table_privilege class
		column has_column_privilege full
		privilege has_any_column_privilege class
		privilege has_sequence_privilege class
		privilege has_schema_privilege namespace
		privilege has_database_privilege database
		privilege has_function_privilege proc
		privilege has_type_privilege type
		privilege has_language_privilege -
		privilege has_tablespace_privilege -
		plain pg_stat_get_numscans size
		plain pg_stat_get_live_tuples size
		plain pg_stat_get_dead_tuples size
		plain pg_stat_get_last_analyze_time size
		plain pg_stat_get_last_autoanalyze_time size
		plain pg_stat_get_last_vacuum_time size
		plain pg_stat_get_last_autovacuum_time size
		plain pg_has_role -
		plain row_security_active class
		plain pg_relation_size size -
		plain pg_table_size size
		plain pg_indexes_size size
		plain pg_total_relation_size size
		plain pg_database_size database
		plain pg_tablespace_size -
		plain pg_relation_is_publishable class
		plain pg_relation_is_updatable class -
		plain pg_column_is_updatable class - -
		plain pg_partition_ancestors class
		plain pg_partition_tree class
		plain pg_partition_root class
		plain pg_index_column_has_property index -
		plain pg_index_has_property index -
		plain pg_indexam_has_property -
		plain pg_sequence_parameters class
		plain pg_sequence_last_value size
		plain ts_token_type parser
		plain pg_get_userbyid -
		plain pg_encoding_to_char -
		plain pg_char_to_encoding -
		plain pg_encoding_max_length -
		plain getdatabaseencoding -
		plain pg_get_keywords -
		plain pg_options_to_table -
		plain aclexplode -
		plain acldefault -
		plain pg_tablespace_location -
		plain pg_postmaster_start_time -
		plain pg_conf_load_time -
		plain pg_backend_pid -
		plain pg_is_in_recovery -
		plain txid_current -
		plain txid_current_if_assigned -
		plain txid_current_snapshot -
		plain pg_my_temp_schema -
		plain pg_is_other_temp_schema -
		plain pg_timezone_names -
		plain pg_timezone_abbrevs -
	`) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		out[f[1]] = catalogFunction{arguments: f[2:], path: f[0] == "path", after: map[string]int{"privilege": 1, "column": 2}[f[0]]}
	}
	described := func(class, sub string) func(*Seen, int) string {
		return func(s *Seen, n int) string {
			class := class
			if class == "" {
				class = "(SELECT c.oid FROM pg_catalog.pg_class AS c WHERE c.relname = CAST($60001 AS pg_catalog.text) AND c.relnamespace = 11)"
				if n == 1 {
					class = "t.classoid"
				}
			}
			return "(SELECT t.description FROM (SELECT CAST($60000 AS pg_catalog.oid) AS o" + also(n == 2 && sub != "0", ", CAST($60001 AS pg_catalog.int4) AS s") + " OFFSET 0) AS _gatehouse_a, pg_catalog.pg_description AS t" +
				" WHERE t.objoid = _gatehouse_a.o AND t.classoid = " + class + " AND t.objsubid = " + sub + " AND " + s.rules[Name{"pg_catalog", "pg_description"}](s) + ")"
		}
	}
	out["obj_description"] = catalogFunction{replaced: described("", "0")}
	out["col_description"] = catalogFunction{replaced: described(itoa(classRelation), "_gatehouse_a.s")}
	out["shobj_description"] = catalogFunction{replaced: func(s *Seen, _ int) string {
		return "(SELECT t.description FROM (SELECT CAST($60000 AS pg_catalog.oid) AS o OFFSET 0) AS _gatehouse_a, pg_catalog.pg_shdescription AS t" +
			" WHERE t.objoid = _gatehouse_a.o AND t.classoid = (SELECT c.oid FROM pg_catalog.pg_class AS c WHERE c.relname = CAST($60001 AS pg_catalog.text) AND c.relnamespace = 11) AND " + s.rules[Name{"pg_catalog", "pg_shdescription"}](s) + ")"
	}}
	out["pg_get_expr"] = catalogFunction{path: true, replaced: func(s *Seen, n int) string {
		// The expression of one relation may be printed with the names of another.
		condition := s.object("class", "_gatehouse_a.r")
		if len(s.partial) > 0 {
			condition = both(condition, s.printable("_gatehouse_a.r", "_gatehouse_a.e"))
		}
		return "(SELECT CASE WHEN " + condition + " THEN pg_catalog.pg_get_expr(_gatehouse_a.e, _gatehouse_a.r" + also(n == 3, ", _gatehouse_a.b") + ") END" +
			" FROM (SELECT CAST($60000 AS pg_catalog.pg_node_tree) AS e, CAST($60001 AS pg_catalog.oid) AS r" + also(n == 3, ", CAST($60002 AS pg_catalog.bool) AS b") + " OFFSET 0) AS _gatehouse_a)"
	}}
	out["pg_describe_object"] = catalogFunction{path: true, replaced: func(s *Seen, _ int) string {
		return "(SELECT CASE WHEN " + s.any("_gatehouse_a.c", "_gatehouse_a.o", "_gatehouse_a.s") + " THEN pg_catalog.pg_describe_object(_gatehouse_a.c, _gatehouse_a.o, _gatehouse_a.s) END" +
			" FROM (SELECT CAST($60000 AS pg_catalog.oid) AS c, CAST($60001 AS pg_catalog.oid) AS o, CAST($60002 AS pg_catalog.int4) AS s OFFSET 0) AS _gatehouse_a)"
	}}
	out["pg_get_serial_sequence"] = catalogFunction{named: true, replaced: func(s *Seen, _ int) string {
		return "(SELECT CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = _gatehouse_a.o AND a.attname = _gatehouse_a.c AND a.attnum > 0 AND " + s.attribute("a.attrelid", "a.attnum") + ") THEN pg_catalog.pg_get_serial_sequence(CAST(CAST(_gatehouse_a.o AS pg_catalog.regclass) AS pg_catalog.text), _gatehouse_a.c) END" +
			" FROM (SELECT CAST($60000 AS pg_catalog.oid) AS o, CAST($60001 AS pg_catalog.text) AS c OFFSET 0) AS _gatehouse_a)"
	}}
	for name, cast := range map[string]string{"to_regclass": "pg_catalog.regclass", "to_regnamespace": "pg_catalog.regnamespace"} {
		out[name] = catalogFunction{named: true, replaced: func(*Seen, int) string { return "CAST($60000 AS " + cast + ")" }, arguments: []string{map[string]string{"to_regclass": "class", "to_regnamespace": "namespace"}[name]}}
	}
	return out
}()

// printable is the condition that an expression names no hidden column where it is read as one of a relation.
func (s *Seen) printable(relation, expression string) string {
	var b strings.Builder
	b.WriteString("CASE " + relation)
	for _, oid := range s.partial {
		b.WriteString(" WHEN " + itoa(int(oid)) + " THEN " + expression + "::pg_catalog.text !~ ':varattno (0")
		for _, n := range s.hidden[oid] {
			b.WriteString("|" + itoa(int(n)))
		}
		b.WriteString(") '")
	}
	b.WriteString(" ELSE true END")
	return b.String()
}

func also(yes bool, text string) string {
	if yes {
		return text
	}
	return ""
}

// guardCondition is the condition that an object of a kind may be asked about.
func (s *Seen) guardCondition(kind, oid string) string {
	switch kind {
	case "view":
		return either(builtin(oid), oid+" IN (SELECT w.ev_class FROM pg_catalog.pg_rewrite AS w WHERE w.rulename = '_RETURN' AND "+s.rule()+")")
	case "full":
		return either(builtin(oid), anyOf(oid, s.full))
	case "rule":
		return "(" + oid + " IN (SELECT w.oid FROM pg_catalog.pg_rewrite AS w WHERE " + s.rule() + "))"
	case "size":
		return both(s.object("class", oid), s.counted(oid))
	}
	return s.object(kind, oid)
}

// rule is the condition that the definition of a rule, w in pg_rewrite, names nothing that is hidden: the server
// keeps what it depends on, by column.
func (s *Seen) rule() string {
	relation := either(both("d.refobjsubid = 0", either(builtin("d.refobjid"), anyOf("d.refobjid", s.relations))), s.attribute("d.refobjid", "d.refobjsubid"))
	return either(builtin("w.oid"), both(anyOf("w.ev_class", s.relations),
		fmt.Sprintf("NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d WHERE d.classid = %d AND d.objid = w.oid AND (d.refclassid = %d AND NOT %s OR d.refclassid = %d AND NOT %s))",
			classRule, classRelation, parens(relation), classFunction, parens(s.object("proc", "d.refobjid")))))
}

// guarded is an OID that is NULL where its object is not seen.
func (a *analysis) guarded(kind string, value *pg.Node) (*pg.Node, error) {
	condition := a.seenNow().guardCondition(kind, "_gatehouse_a._gatehouse_o")
	return a.template("(SELECT _gatehouse_a._gatehouse_o FROM (SELECT CAST($60000 AS pg_catalog.oid) AS _gatehouse_o OFFSET 0) AS _gatehouse_a"+where(condition)+")", value)
}

// template is an expression that this package wrote, with nodes of the statement in the places of its
// parameters, which are numbered from 60000.
func (a *analysis) template(text string, nodes ...*pg.Node) (*pg.Node, error) {
	if err := a.write(text); err != nil {
		return nil, err
	}
	n, err := parseSelect("SELECT " + text)
	if err != nil {
		return nil, a.unprintable()
	}
	out := n.GetSelectStmt().TargetList[0].GetResTarget().Val
	fill(out, nodes)
	return a.wrote(out), nil
}

// maxWritten bounds what is written in place of catalogs and calls, in bytes.
const maxWritten = 16 << 20

// write notes that a text is written in the place of a part of the statement.
func (a *analysis) write(text string) error {
	a.written += len(text)
	a.plan.virtual = true
	if a.written > maxWritten {
		return refused(NotUnderstood, "54000", 0, "The statement asks too much of the system catalogs.", "Send several statements.")
	}
	return nil
}

func fill(m proto.Message, nodes []*pg.Node) {
	if n, ok := m.(*pg.Node); ok {
		if p := n.GetParamRef(); p != nil && p.Number >= 60000 {
			n.Node = nodes[p.Number-60000].Node
			return
		}
	}
	each(m, func(m proto.Message) bool {
		fill(m, nodes)
		return true
	})
}

// later puts off a rewriting until the whole statement is understood: what it writes is not the client's. An
// inner one comes before the one around it.
func (a *analysis) later(rewrite func() error) {
	catalog := a.env.Catalog // with the search path of now, which a later statement of the text can change
	a.rewrites = append(a.rewrites, func() error {
		a.env.Catalog = catalog
		return rewrite()
	})
}

func (a *analysis) rewriteAll() error {
	if len(a.rewrites) > 0 && strings.Contains(strings.ToLower(a.text), "_gatehouse_") {
		return refused(NotUnderstood, "42602", 0, "Names that begin with _gatehouse_ are the gateway's own.", "Use another name.")
	}
	for _, r := range a.rewrites {
		if err := r(); err != nil {
			return err
		}
	}
	return nil
}

// catalogCall understands a call of a function that looks into the catalogs. n is the call's node.
func (a *analysis) catalogCall(n *pg.Node, v *pg.FuncCall, f catalogFunction, s *scope) error {
	if v.AggStar || v.Over != nil || v.AggFilter != nil || len(v.AggOrder) > 0 || v.AggDistinct || v.FuncVariadic {
		return a.notUnderstood(nil, v.Location, "The call of "+quoted(figureName(n))+" is not on the list of what is understood.")
	}
	for _, arg := range v.Args {
		if counts(arg) {
			return a.notBuilt(v.Location, "Counts and window functions inside of "+quoted(figureName(n))+" are")
		}
		if arg.GetNamedArgExpr() != nil {
			return a.notBuilt(v.Location, "Named arguments of "+quoted(figureName(n))+" are")
		}
	}
	if f.replaced != nil {
		return a.replaceCall(n, v, f)
	}
	kinds := make([]string, len(v.Args))
	for i := range v.Args {
		kinds[i] = f.arguments[min(i, len(f.arguments)-1)]
	}
	if f.after > 0 {
		if len(v.Args) <= f.after || len(v.Args) > f.after+2 {
			return a.notUnderstood(nil, v.Location, "The call is not on the list of what is understood.")
		}
		for i := range kinds {
			kinds[i] = "-"
		}
		kinds[len(kinds)-1-f.after] = f.arguments[0]
	}
	for i, kind := range kinds {
		if kind == "-" {
			continue
		}
		if err := a.guardArgument(v, i, kind, s); err != nil {
			return err
		}
	}
	if f.path {
		a.later(func() error {
			if a.inFrom[v] { // a table of its own stays one
				return nil
			}
			inner := &pg.Node{Node: n.Node}
			out, err := a.template(a.underPath("$60000"), inner)
			if err != nil {
				return err
			}
			n.Node = out.Node
			return nil
		})
	}
	return nil
}

// counts says whether an expression holds a count of rows or a window function of its own: inside of the sub-select
// that an argument becomes they would mean another.
func counts(m proto.Message) bool {
	switch v := m.(type) {
	case *pg.SubLink:
		return false
	case *pg.FuncCall:
		if v.AggStar || v.Over != nil {
			return true
		}
	}
	return !each(m, func(m proto.Message) bool { return !counts(m) })
}

// guardArgument bounds an argument to what is seen.
func (a *analysis) guardArgument(v *pg.FuncCall, i int, kind string, s *scope) error {
	arg := v.Args[i]
	if text, ok := stringConst(arg); ok {
		oid, err := a.objectNamed(kind, text, v.Location)
		if err != nil {
			return err
		}
		if oid != nil {
			a.later(func() (err error) {
				v.Args[i] = a.wrote(oid)
				if text, _ := stringConst(oid); numeral(text) {
					v.Args[i], err = a.template("CAST($60000 AS pg_catalog.oid)", oid)
				}
				return err
			})
			return nil
		}
	}
	named := slices.Contains([]string{"class", "view", "size", "full", "namespace", "database"}, kind) && !a.isOID(arg, s)
	a.later(func() error {
		var out *pg.Node
		var err error
		if named {
			out, err = a.resolved(kind, &pg.Node{Node: arg.Node}, false)
		} else {
			out, err = a.guarded(kind, &pg.Node{Node: arg.Node})
		}
		if err != nil {
			return err
		}
		v.Args[i] = out
		return nil
	})
	return nil
}

func (a *analysis) replaceCall(n *pg.Node, v *pg.FuncCall, f catalogFunction) error {
	if len(v.Args) == 0 || len(v.Args) > 3 {
		return a.notUnderstood(nil, v.Location, "The call is not on the list of what is understood.")
	}
	if len(f.arguments) > 0 && f.arguments[0] == "class" {
		a.prints[n] = true
	}
	a.later(func() error {
		if f.named {
			kind := "class"
			if len(f.arguments) > 0 {
				kind = f.arguments[0]
			}
			first, err := a.resolved(kind, &pg.Node{Node: v.Args[0].Node}, false)
			if err != nil {
				return err
			}
			v.Args[0] = first
		}
		text := f.replaced(a.seenNow(), len(v.Args))
		if f.path {
			text = a.underPath(text)
		}
		if strings.Contains(text, fmt.Sprintf("$%d", 60000+len(v.Args))) {
			return a.notUnderstood(nil, v.Location, "The call has too few arguments.")
		}
		out, err := a.template(text, v.Args...)
		if err != nil {
			return err
		}
		n.Node = out.Node
		return nil
	})
	return nil
}

func stringConst(n *pg.Node) (string, bool) {
	if c := n.GetAConst(); c != nil {
		if s, ok := c.Val.(*pg.A_Const_Sval); ok && !c.Isnull {
			return s.Sval.GetSval(), true
		}
	}
	return "", false
}

// constant functions are those whose answer is the gateway's: the client's search path is not the server's.
func (a *analysis) pathFunction(n *pg.Node, v *pg.FuncCall, name string) bool {
	switch {
	case name == "current_schema" && len(v.Args) == 0:
		a.later(func() error { return a.replace(n, "("+a.schemaNames()+")[1]") })
	case name == "current_schemas" && len(v.Args) == 1 && v.Args[0].GetAConst() != nil:
		with := v.Args[0].GetAConst().GetBoolval().GetBoolval()
		if s, ok := stringConst(v.Args[0]); ok {
			with = slices.Contains([]string{"t", "true", "on", "yes", "1"}, strings.ToLower(s))
		}
		a.later(func() error {
			if with {
				return a.replace(n, "pg_catalog.array_prepend('pg_catalog'::pg_catalog.name, "+a.schemaNames()+")")
			}
			return a.replace(n, a.schemaNames())
		})
	default:
		return false
	}
	return true
}

// schemaNames are the schemas of the client's search path that there are.
func (a *analysis) schemaNames() string {
	var list []string
	for _, s := range a.env.Catalog.SearchPath {
		if _, ok := a.env.Catalog.Schemas[s]; ok {
			list = append(list, stringText(s))
		}
	}
	return "ARRAY[" + strings.Join(list, ", ") + "]::pg_catalog.name[]"
}

func (a *analysis) replace(n *pg.Node, text string) error {
	out, err := a.template(text)
	if err == nil {
		n.Node = out.Node
	}
	return err
}

// catalogFunction understands a call of a function that looks into the catalogs, or whose answer is the
// gateway's. is is false for any other.
func (a *analysis) catalogFunction(n *pg.Node, v *pg.FuncCall, s *scope) (err error, is bool) {
	names := stringsOf(v.Funcname)
	last := names[len(names)-1]
	if len(names) == 2 && names[0] == "information_schema" && last == "_pg_expandarray" {
		return a.exprs(s, v.Args...), true
	}
	if len(names) > 2 || len(names) == 2 && names[0] != "pg_catalog" {
		return nil, false
	}
	asks, catalog := catalogFunctions[last]
	if own := contains([]string{"current_schema", "current_schemas"}, last); !catalog && !own {
		return nil, false
	}
	v.Funcname = []*pg.Node{pg.MakeStrNode("pg_catalog"), pg.MakeStrNode(last)}
	if err := a.exprs(s, v.Args...); err != nil {
		return err, true
	}
	switch {
	case catalog:
		return a.catalogCall(n, v, asks, s), true
	case a.pathFunction(n, v, last):
		return nil, true
	}
	return a.notUnderstood(nil, v.Location, "The call of "+quoted(last)+" is not on the list of what is understood."), true
}

// printedArguments makes text of the names that a function of texts is given.
func (a *analysis) printedArguments(v *pg.FuncCall) {
	names := stringsOf(v.Funcname)
	if contains([]string{"format", "concat", "concat_ws", "string_agg", "quote_ident", "json_build_object", "jsonb_build_object"}, names[len(names)-1]) {
		for _, arg := range v.Args {
			a.printed(arg)
		}
	}
}
