package postgres

import (
	"strconv"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// settings are those that a client may set and show: they change how values are written, time limits,
// transactions, and how the planner works; none of them what a statement means.
var settings = listed(`application_name statement_timeout lock_timeout idle_in_transaction_session_timeout
	idle_session_timeout transaction_timeout timezone datestyle intervalstyle extra_float_digits
	default_transaction_isolation default_transaction_read_only default_transaction_deferrable
	transaction_isolation transaction_read_only transaction_deferrable
	synchronize_seqscans work_mem jit geqo plan_cache_mode from_collapse_limit join_collapse_limit constraint_exclusion
	cursor_tuple_fraction random_page_cost seq_page_cost cpu_tuple_cost cpu_index_tuple_cost cpu_operator_cost
	effective_cache_size max_parallel_workers_per_gather parallel_setup_cost parallel_tuple_cost
	enable_seqscan enable_indexscan enable_indexonlyscan enable_bitmapscan enable_tidscan enable_sort
	enable_incremental_sort enable_hashagg enable_material enable_memoize enable_nestloop enable_mergejoin
	enable_hashjoin enable_gathermerge enable_parallel_append enable_parallel_hash enable_partition_pruning
	enable_partitionwise_join enable_partitionwise_aggregate`)

// pinnedSettings decide what a text means, so the gateway pins them: a client that sets one to the value that it
// has is answered, and nothing changes. No value: any may be given, and none has an effect here.
var pinnedSettings = map[string][]string{
	"client_encoding":             {"utf8", "utf-8", "unicode"},
	"standard_conforming_strings": {"on", "true", "yes", "1"},
	"bytea_output":                {"hex"},
	"backslash_quote":             {"safe_encoding"},
	"transform_null_equals":       {"off", "false", "no", "0"},
	"quote_all_identifiers":       {"off", "false", "no", "0"},
	"row_security":                {"on", "true", "yes", "1"},
	"check_function_bodies":       {"on", "true", "yes", "1"},
	"xmloption":                   {"content"},
	"client_min_messages":         nil, // notices do not reach the client
	"escape_string_warning":       nil,
}

// shown may be shown besides.
var shown = listed(`server_version server_version_num server_encoding integer_datetimes max_identifier_length
	max_index_keys max_function_args block_size in_hot_standby lc_collate lc_ctype lc_messages lc_monetary lc_numeric lc_time
	default_text_search_config`)

// maxWorkMem bounds work_mem, in kB.
const maxWorkMem = 256 << 10

const ownSettings = "gatehouse." // prefix of the gateway's own settings at the server

// set understands SET and RESET.
func (a *analysis) set(v *pg.VariableSetStmt) error {
	a.statement.Verb = Set
	a.touch("connect", a.env.Catalog.Connection)
	name := strings.ToLower(v.Name)
	switch v.Kind {
	case pg.VariableSetKind_VAR_SET_MULTI:
		if name != "transaction" && name != "session characteristics" {
			return a.notBuilt(0, "SET "+strings.ToUpper(name)+" statements are")
		}
		return a.transactionOptions(v.Args)
	case pg.VariableSetKind_VAR_RESET_ALL: // the pinned ones go back to what they are pinned to
		a.setPath(nil, false)
		a.statement.Styles = true
		return nil
	case pg.VariableSetKind_VAR_SET_VALUE, pg.VariableSetKind_VAR_SET_DEFAULT, pg.VariableSetKind_VAR_RESET:
	default:
		return a.notBuilt(0, "SET FROM CURRENT is")
	}
	if name == "search_path" {
		return a.setSearchPath(v)
	}
	if err := a.maySet(name); err != nil {
		return err
	}
	a.sets(name)
	if _, pinned := pinnedSettings[name]; pinned {
		return a.setPinned(v, name)
	}
	for _, arg := range v.Args {
		if err := a.settingValue(name, arg); err != nil {
			return err
		}
	}
	return nil
}

// sets notes that a setting changes.
func (a *analysis) sets(name string) {
	a.statement.Styles = a.statement.Styles || contains([]string{"datestyle", "intervalstyle", "timezone"}, name)
}

// maySet says whether a setting may be set, read or shown; one of the database's users needs a permit.
func (a *analysis) maySet(name string) error {
	_, pinned := pinnedSettings[name]
	switch {
	case settings[name] || pinned:
		return nil
	case strings.Contains(name, ".") && !strings.HasPrefix(name, ownSettings) && !strings.HasPrefix(name, "auto_explain."):
		a.touch("set", a.env.Catalog.Connection)
		return nil
	}
	return refused(NotBuilt, "42501", 0, "The setting "+quoted(name)+" may not be changed through this gateway.", "Leave it out; the gateway pins the settings that decide what a statement means.")
}

// setPinned answers a SET of a pinned setting: the server sets it to what it is.
func (a *analysis) setPinned(v *pg.VariableSetStmt, name string) error {
	if v.Kind != pg.VariableSetKind_VAR_SET_VALUE {
		return nil
	}
	for _, arg := range v.Args {
		if err := pinnedValue(name, constant(arg)); err != nil {
			return err
		}
		a.walk(arg)
	}
	v.Kind, v.Args = pg.VariableSetKind_VAR_SET_DEFAULT, nil
	return nil
}

func pinnedValue(name, value string) error {
	if values := pinnedSettings[name]; values != nil && !contains(values, strings.ToLower(value)) {
		return refused(NotBuilt, "42501", 0, "The setting "+quoted(name)+" is pinned by this gateway to "+quoted(values[0])+", since it decides what a statement means.", "Leave it out.")
	}
	return nil
}

// constant is the text of a constant; "" for what is none.
func constant(n *pg.Node) string {
	c := n.GetAConst()
	switch {
	case c.GetSval() != nil:
		return c.GetSval().Sval
	case c.GetIval() != nil:
		return strconv.Itoa(int(c.GetIval().Ival))
	case c.GetFval() != nil:
		return c.GetFval().Fval
	case c.GetBoolval() != nil:
		return strconv.FormatBool(c.GetBoolval().Boolval)
	}
	return ""
}

// settingValue understands a value of SET: a constant, and for the time zone a cast of one.
func (a *analysis) settingValue(name string, n *pg.Node) error {
	if n.GetAConst() != nil {
		if name == "work_mem" && !smallMemory(constant(n)) {
			return refused(NotUnderstood, "42501", 0, "The setting work_mem may be at most 256MB through this gateway.", "Give a smaller one.")
		}
		return nil
	}
	if t := n.GetTypeCast(); t != nil && name == "timezone" && t.Arg.GetAConst() != nil {
		a.walk(n)
		return a.typeName(t.TypeName)
	}
	return a.notUnderstood(n, 0, "")
}

// smallMemory says whether an amount of memory, in kB where it has no unit, is within maxWorkMem.
func smallMemory(s string) bool {
	factor := 1
	for unit, kB := range map[string]int{"kB": 1, "MB": 1 << 10} {
		if rest, ok := strings.CutSuffix(s, unit); ok {
			s, factor = strings.TrimSpace(rest), kB
		}
	}
	n, err := strconv.Atoi(s)
	return err == nil && n > 0 && n <= maxWorkMem/factor
}

// setPath notes a search path that the client chose; nil is the connection's own.
func (a *analysis) setPath(p *Path, local bool) {
	a.plan.Stateful = true
	own := &Path{Schemas: a.base.SearchPath, Spelled: spell(a.base.SearchPath)}
	a.statement.Setting = &Setting{Path: p, Default: own, Local: local}
}

// setSearchPath understands SET search_path: the gateway keeps it, and the server's own stays pinned.
func (a *analysis) setSearchPath(v *pg.VariableSetStmt) error {
	var path *Path
	if v.Kind == pg.VariableSetKind_VAR_SET_VALUE {
		var names []string
		for _, arg := range v.Args {
			if arg.GetAConst() == nil {
				return a.notUnderstood(arg, 0, "")
			}
			a.walk(arg)
			names = append(names, constant(arg))
		}
		path = chosen(names)
		v.Kind, v.Args = pg.VariableSetKind_VAR_SET_DEFAULT, nil
	}
	a.setPath(path, v.IsLocal)
	return nil
}

// chosen is the path of these schemas. Those of the system are searched as ever, and none belongs to the user.
func chosen(names []string) *Path {
	p := &Path{Spelled: spell(names)}
	named := false
	for i, n := range names {
		if n == TempSchema && !named {
			named, p.TempAt, p.TempFirst = true, len(p.Schemas), i == 0
		}
		if n != "" && n != "$user" && !isSystemSchema(n) {
			p.Schemas = append(p.Schemas, n)
		}
	}
	return p
}

func spell(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = Quote(n)
	}
	return strings.Join(out, ", ")
}

// path takes up the search path that the client chose.
func (a *analysis) path() {
	a.env.Catalog = a.base
	if p := a.state.Path(); p != nil {
		own := *a.base
		own.SearchPath, own.TempAt, own.TempFirst = p.Schemas, p.TempAt, p.TempFirst
		a.env.Catalog = &own
	}
}

// spelledPath is the search path as SHOW shows it.
func (a *analysis) spelledPath() string {
	if p := a.state.Path(); p != nil {
		return p.Spelled
	}
	return spell(a.base.SearchPath)
}

// show understands SHOW.
func (a *analysis) show(n *pg.Node, v *pg.VariableShowStmt) error {
	name := strings.ToLower(v.Name)
	a.statement.Verb = Show
	a.touch("connect", a.env.Catalog.Connection)
	if name == "search_path" {
		a.plan.Stateful = true
		sel, err := parseSelect("SELECT " + quoteLiteral(a.spelledPath()) + "::text AS search_path")
		if err != nil {
			return a.unprintable()
		}
		n.Node = sel.Node
		a.wrote(n)
		a.statement.Answers = Select
		return nil
	}
	if shown[name] || harmlessSettings[name] {
		return nil
	}
	if err := a.maySet(name); err != nil {
		return refused(NotBuilt, "42501", 0, "The setting "+quoted(v.Name)+" may not be shown through this gateway.", "Leave it out.")
	}
	return nil
}

func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// settingFunction understands current_setting and set_config; false for other functions.
func (a *analysis) settingFunction(n *pg.Node, v *pg.FuncCall, s *scope) (bool, error) {
	names := stringsOf(v.Funcname)
	last := names[len(names)-1]
	if last != "current_setting" && last != "set_config" || len(names) > 2 || len(names) == 2 && names[0] != "pg_catalog" {
		return false, nil
	}
	if last == "current_setting" && len(v.Args) > 0 && v.Args[0].GetAConst() == nil {
		return true, a.computedSetting(v, s)
	}
	if len(v.Args) == 0 || v.Args[0].GetAConst().GetSval() == nil || v.AggFilter != nil || v.Over != nil || len(v.AggOrder) > 0 {
		return true, refused(NotUnderstood, "42501", a.at(v.Location), "The name of a setting must be a constant.", "Write it as one.")
	}
	name := strings.ToLower(constant(v.Args[0]))
	if name == "search_path" {
		if last == "set_config" {
			return true, a.notBuilt(v.Location, "Calls of set_config for search_path inside of other expressions are")
		}
		a.plan.Stateful = true
		sel, err := parseSelect("SELECT " + quoteLiteral(a.spelledPath()) + "::text")
		if err != nil {
			return true, a.unprintable()
		}
		n.Node = sel.GetSelectStmt().TargetList[0].GetResTarget().Val.Node
		a.wrote(n)
		return true, nil
	}
	if _, pinned := pinnedSettings[name]; last == "set_config" && pinned {
		return true, a.notBuilt(v.Location, "Calls of set_config for pinned settings inside of other expressions are")
	}
	if last == "set_config" && name == "work_mem" {
		return true, a.notBuilt(v.Location, "Calls of set_config for work_mem are")
	}
	if last == "set_config" {
		a.sets(name)
	}
	if last != "current_setting" || !shown[name] && !harmlessSettings[name] {
		if err := a.maySet(name); err != nil {
			return true, err
		}
	}
	v.Funcname = []*pg.Node{pg.MakeStrNode("pg_catalog"), pg.MakeStrNode(last)}
	return true, a.exprs(s, v.Args...)
}

// setConfig understands a SELECT that does nothing but set a setting that the gateway keeps or pins, as drivers
// and dumps do; false for any other.
func (a *analysis) setConfig(v *pg.SelectStmt) (bool, error) {
	if len(v.TargetList) != 1 || v.FromClause != nil || v.WhereClause != nil || v.GroupClause != nil || v.HavingClause != nil || v.WithClause != nil ||
		v.LimitCount != nil || v.LimitOffset != nil || v.DistinctClause != nil || v.SortClause != nil || v.WindowClause != nil || v.IntoClause != nil || v.LockingClause != nil {
		return false, nil
	}
	t := v.TargetList[0].GetResTarget()
	f := t.GetVal().GetFuncCall()
	names := stringsOf(f.GetFuncname())
	if len(names) == 0 || names[len(names)-1] != "set_config" || len(names) > 2 || len(names) == 2 && names[0] != "pg_catalog" || len(f.Args) != 3 || len(t.Indirection) > 0 {
		return false, nil
	}
	name := strings.ToLower(constant(f.Args[0]))
	_, pinned := pinnedSettings[name]
	local := f.Args[2].GetAConst().GetBoolval()
	if name != "search_path" && !pinned || f.Args[1].GetAConst().GetSval() == nil || f.Args[2].GetAConst() == nil || local == nil {
		return false, nil
	}
	value := constant(f.Args[1])
	a.statement.Verb, a.statement.Answers = Set, Select
	a.touch("connect", a.env.Catalog.Connection)
	if pinned {
		if err := pinnedValue(name, value); err != nil {
			return true, err
		}
	} else {
		path, ok := splitPath(value)
		if !ok {
			return true, refused(NotUnderstood, "22023", 0, "invalid value for parameter \"search_path\"", "Give names of schemas, with commas between.")
		}
		a.setPath(chosen(path), local.Boolval)
	}
	if t.Name == "" {
		t.Name = "set_config"
	}
	sel, err := parseSelect("SELECT " + quoteLiteral(value) + "::text")
	if err != nil {
		return true, a.unprintable()
	}
	t.Val = sel.GetSelectStmt().TargetList[0].GetResTarget().Val
	a.wrote(t.Val)
	a.walk(v)
	return true, nil
}

// splitPath takes a list of identifiers apart (SplitIdentifierString in PostgreSQL's varlena.c).
func splitPath(s string) (names []string, ok bool) {
	s = strings.TrimSpace(s)
	for s != "" {
		var name string
		if s[0] == '"' {
			n := quotedLength(s, '"', false)
			if n < 2 || s[n-1] != '"' {
				return nil, false
			}
			name, s = strings.ReplaceAll(s[1:n-1], `""`, `"`), strings.TrimSpace(s[n:])
		} else {
			n := strings.IndexByte(s+",", ',')
			name, s = strings.ToLower(strings.TrimSpace(s[:n])), s[n:]
			if name == "" || strings.ContainsAny(name, " \t\n\"") {
				return nil, false
			}
		}
		names = append(names, name)
		if s == "" {
			return names, true
		}
		if s[0] != ',' {
			return nil, false
		}
		if s = strings.TrimSpace(s[1:]); s == "" {
			return nil, false
		}
	}
	return names, true
}

// discard understands DISCARD.
func (a *analysis) discard(v *pg.DiscardStmt) error {
	a.statement.Verb, a.statement.All = Discard, v.Target == pg.DiscardMode_DISCARD_ALL
	a.statement.Styles = a.statement.All
	if (a.statement.All || v.Target == pg.DiscardMode_DISCARD_TEMP) && (a.env.Catalog.Temporary != nil || a.state.Asks()) {
		a.statement.Temporary = []string{""}
	}
	a.plan.Stateful = true
	a.touch("connect", a.env.Catalog.Connection)
	return nil
}

// Startup says what becomes of a setting that a client gives when it signs in: it is passed on, or it is the
// search path that the session begins with, or neither, since the gateway pins it. An error refuses it.
func Startup(name, value string) (pass bool, path *Path, err error) {
	name = strings.ToLower(name)
	if name == "search_path" {
		names, ok := splitPath(value)
		if !ok {
			return false, nil, refused(NotUnderstood, "22023", 0, "invalid value for parameter \"search_path\"", "Give names of schemas, with commas between.")
		}
		return false, chosen(names), nil
	}
	if _, pinned := pinnedSettings[name]; pinned {
		return false, nil, pinnedValue(name, value)
	}
	if !settings[name] || name == "work_mem" && !smallMemory(value) {
		return false, nil, refused(NotBuilt, "42501", 0, "The setting "+quoted(name)+" may not be given through this gateway, or not with this value.", "Leave it out of the connection string (also out of PGOPTIONS).")
	}
	return true, nil, nil
}

// Beginning is the state of a session that begins with a search path of its own; nil is the connection's.
func Beginning(p *Path) *State {
	if p == nil {
		return nil
	}
	return &State{now: kept{path: p}, start: kept{path: p}}
}

// nameSetting keeps the name of an output that reads the search path, which becomes a constant.
func nameSetting(t *pg.ResTarget) {
	f := t.Val.GetFuncCall()
	if names := stringsOf(f.GetFuncname()); t.Name == "" && len(names) > 0 && names[len(names)-1] == "current_setting" && len(f.Args) > 0 && strings.EqualFold(constant(f.Args[0]), "search_path") {
		t.Name = "current_setting"
	}
}
