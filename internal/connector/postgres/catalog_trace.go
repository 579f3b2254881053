package postgres

import (
	"maps"
	"slices"
	"strconv"

	guard "gatehouse/internal/sqlguard/postgres"
)

// readTraces traces the definitions of views. One that was traced before and is the same is not read again.
func (r *reader) readTraces() error {
	now := map[uint32]string{}
	err := r.rows(`SELECT ev_class, oid::text || '/' || xmin::text FROM pg_rewrite WHERE rulename = '_RETURN'`, func(scan func(...any) error) error {
		var view uint32
		var version string
		if err := scan(&view, &version); err != nil {
			return err
		}
		if r.catalog.ByOID[view] != nil {
			now[view] = version
		}
		return nil
	})
	if err != nil {
		return err
	}
	known := map[uint32]knownTrace{}
	var views []uint32
	for view, version := range now {
		if k, ok := r.kept.traces[view]; ok && k.version == version {
			known[view] = k
		} else {
			views = append(views, view)
		}
	}
	if len(views) > 0 {
		immutable := map[uint32]bool{}
		err := r.rows(`SELECT oid FROM pg_proc WHERE provolatile = 'i' AND pronamespace = 'pg_catalog'::regnamespace`, func(scan func(...any) error) error {
			var oid uint32
			err := scan(&oid)
			immutable[oid] = true
			return err
		})
		if err != nil {
			return err
		}
		rows, err := r.tx.Query(r.ctx, `SELECT ev_class, ev_action::text FROM pg_rewrite WHERE rulename = '_RETURN' AND ev_class = ANY($1) AND length(ev_action::text) < 4 << 20`, views)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var view uint32
			var action string
			if err := rows.Scan(&view, &action); err != nil {
				return err
			}
			t, err := traceView(action, func(f uint32) bool { return immutable[f] })
			if err != nil {
				t = nil // every column may show all that it reads
			}
			known[view] = knownTrace{now[view], t}
		}
		if err := rows.Err(); err != nil {
			return err
		}
	}
	r.kept.traces = known
	r.traces = map[uint32]*traced{}
	for view, k := range known {
		if k.traced != nil && r.catalog.ByOID[view].Kind != guard.Table {
			r.traces[view] = k.traced
		}
	}
	return nil
}

// knownTrace is what came of tracing one version of a view; nil where it cannot be traced.
type knownTrace struct {
	version string
	traced  *traced
}

// decide notes by which conditions views ask for values under a label, those of the views that they read included.
func (r *reader) decide() {
	for _, rel := range r.catalog.ByOID {
		if r.reads[rel.OID] == nil {
			continue
		}
		for _, view := range append([]uint32{rel.OID}, rel.Reaches...) {
			t := r.traces[view]
			if below := r.catalog.ByOID[view]; t == nil && below != nil && len(below.Uses) > 0 {
				t = untraced(below)
			}
			if t != nil {
				for _, c := range t.conditions {
					if ask := r.ask(c); len(ask.Labelled) > 0 && (len(ask.Beside) > 0 || ask.Settings) {
						rel.Asks = append(rel.Asks, ask)
					}
				}
			}
		}
	}
}

// untraced is what is taken of a view that cannot be traced: anything in it may be compared with anything.
func untraced(view *guard.Relation) *traced {
	c := condition{columns: sources{}, setting: true}
	for _, u := range view.Uses {
		if u.All || u.Column != 0 {
			c.columns[columnKey{u.OID, u.Column}] = true
		}
	}
	return &traced{conditions: []condition{c}}
}

// ask is a condition of a view as the guard needs it.
func (r *reader) ask(c condition) guard.Ask {
	ask := guard.Ask{Settings: c.setting}
	keys := slices.SortedFunc(maps.Keys(c.columns), compareKeys)
	for _, k := range keys {
		rel := r.catalog.ByOID[k.oid]
		if rel == nil {
			continue // a system catalog
		}
		for _, col := range rel.Columns {
			if k.number != 0 && col.Number != k.number {
				continue
			}
			use := guard.Use{OID: k.oid, Column: col.Number}
			if len(col.Labels) > 0 {
				ask.Labelled = append(ask.Labelled, use)
			} else {
				ask.Beside = append(ask.Beside, use)
			}
		}
	}
	return ask
}

// sources are columns that something is made of; number 0 stands for all of a relation.
type sources map[columnKey]bool

// traced is what the definition of a view says of it.
type traced struct {
	// columns are what each output column is made of, by its number.
	columns map[int16]sources
	// conditions decide which rows there are, the parts of an AND each by itself.
	conditions []condition
}

// condition is what decides which rows a view has, and the columns that have a part in it.
type condition struct {
	columns sources
	// session is set where more than rows of tables can have a part: what is not immutable. setting is set where a
	// setting has one that the client can choose a text for.
	session, setting bool
}

// tracer follows the columns of a view's rule to those of the relations that it reads. What it does not know is an error,
// and the view is then taken to show in each column all that it reads.
type tracer struct {
	immutable func(function uint32) bool
	steps     int
	out       *traced
	// recursive are what is known so far of the columns of recursive queries.
	recursive map[*ruleNode]map[int]sources
}

// The kinds of range table entries (RTEKind in PostgreSQL's parsenodes.h).
const (
	rteRelation = 0
	rteSubquery = 1
	rteJoin     = 2
	rteFunction = 3
	rteTable    = 4
	rteValues   = 5
	rteCTE      = 6
	rteResult   = 8
	rteGroup    = 9
)

// traceView reads the tree of a view's rule.
func traceView(action string, immutable func(uint32) bool) (t *traced, err error) {
	tree, err := parseRule(action)
	if err != nil {
		return nil, err
	}
	if len(tree.list) != 1 || tree.list[0].kind != "QUERY" {
		return nil, errRuleTree
	}
	r := &tracer{immutable: immutable, out: &traced{columns: map[int16]sources{}}, recursive: map[*ruleNode]map[int]sources{}}
	stack := []*ruleNode{tree.list[0]}
	outputs, err := r.outputs(stack)
	if err != nil {
		return nil, err
	}
	for number, s := range outputs {
		r.out.columns[int16(number)] = s
	}
	if err := r.conditions(stack); err != nil {
		return nil, err
	}
	return r.out, nil
}

func (r *tracer) step() error {
	if r.steps++; r.steps > 200_000 {
		return errRuleTree
	}
	return nil
}

func top(stack []*ruleNode) *ruleNode { return stack[len(stack)-1] }

// below is a stack with a query inside of its last.
func below(stack []*ruleNode, q *ruleNode) []*ruleNode {
	return append(append([]*ruleNode{}, stack...), q)
}

// outputs are what each column of the last query of the stack is made of, by number.
func (r *tracer) outputs(stack []*ruleNode) (map[int]sources, error) {
	q := top(stack)
	if q.atomOf("commandType") != "1" || len(stack) > 50 {
		return nil, errRuleTree
	}
	out := map[int]sources{}
	if q.field("setOperations") != nil {
		for _, rte := range q.field("rtable").elements() {
			if kind, ok := rte.number("rtekind"); !ok || kind != rteSubquery {
				continue // what a rule calls old and new
			}
			arm, err := r.outputs(below(stack, rte.field("subquery")))
			if err != nil {
				return nil, err
			}
			for n, s := range arm {
				if out[n] == nil {
					out[n] = sources{}
				}
				maps.Copy(out[n], s)
			}
		}
		return out, nil
	}
	for _, entry := range q.field("targetList").elements() {
		if entry.atomOf("resjunk") == "true" {
			continue
		}
		n, ok := entry.number("resno")
		if !ok {
			return nil, errRuleTree
		}
		out[n] = sources{}
		if err := r.mentions(entry.field("expr"), stack, out[n]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// mentions adds every column that an expression is made of, those of conditions inside of it too.
func (r *tracer) mentions(n *ruleNode, stack []*ruleNode, into sources) error {
	if n == nil {
		return nil
	}
	if err := r.step(); err != nil {
		return err
	}
	switch n.kind {
	case "VAR":
		return r.variable(n, stack, into)
	case "QUERY":
		return r.whole(below(stack, n), into)
	case "WINDOWFUNC": // what it is ordered and parted by stands beside
		q := top(stack)
		for _, entry := range q.field("targetList").elements() {
			if ref, ok := entry.number("ressortgroupref"); ok && ref != 0 && entry.field("expr") != nil && entry.field("expr").kind != "WINDOWFUNC" {
				if err := r.mentions(entry.field("expr"), stack, into); err != nil {
					return err
				}
			}
		}
		if err := r.mentions(q.field("windowClause"), stack, into); err != nil {
			return err
		}
	}
	for _, f := range n.fields {
		if err := r.mentions(f, stack, into); err != nil {
			return err
		}
	}
	for _, e := range n.list {
		if err := r.mentions(e, stack, into); err != nil {
			return err
		}
	}
	return nil
}

// whole adds every column that any part of the last query of the stack is made of.
func (r *tracer) whole(stack []*ruleNode, into sources) error {
	outputs, err := r.outputs(stack)
	if err != nil {
		return err
	}
	for _, s := range outputs {
		maps.Copy(into, s)
	}
	inner := &tracer{immutable: r.immutable, steps: r.steps, out: &traced{}, recursive: r.recursive}
	err = inner.conditions(stack)
	r.steps = inner.steps
	for _, c := range inner.out.conditions {
		maps.Copy(into, c.columns)
	}
	return err
}

// variable adds what a column reference stands for.
func (r *tracer) variable(n *ruleNode, stack []*ruleNode, into sources) error {
	entry, ok1 := n.number("varno")
	column, ok2 := n.number("varattno")
	up, ok3 := n.number("varlevelsup")
	if !ok1 || !ok2 || !ok3 || up < 0 || up >= len(stack) || column < 0 {
		return errRuleTree
	}
	stack = stack[:len(stack)-up]
	table := top(stack).field("rtable").elements()
	if entry < 1 || entry > len(table) {
		return errRuleTree
	}
	rte := table[entry-1]
	kind, ok := rte.number("rtekind")
	if !ok {
		return errRuleTree
	}
	switch kind {
	case rteRelation:
		oid, err := strconv.ParseUint(rte.atomOf("relid"), 10, 32)
		if err != nil {
			return errRuleTree
		}
		into[columnKey{uint32(oid), int16(column)}] = true
		return nil
	case rteSubquery:
		return r.ofQuery(below(stack, rte.field("subquery")), column, into)
	case rteJoin:
		return r.oneOf(rte.field("joinaliasvars"), column, stack, into)
	case rteGroup:
		return r.oneOf(rte.field("groupexprs"), column, stack, into)
	case rteFunction:
		return r.mentions(rte.field("functions"), stack, into)
	case rteTable:
		return r.mentions(rte.field("tablefunc"), stack, into)
	case rteValues:
		return r.mentions(rte.field("values_lists"), stack, into)
	case rteCTE:
		outputs, err := r.commonTable(rte, stack)
		if err != nil {
			return err
		}
		return oneOutput(outputs, column, into)
	}
	return errRuleTree
}

// ofQuery adds what a column of a query is made of; all of them, where column is 0.
func (r *tracer) ofQuery(stack []*ruleNode, column int, into sources) error {
	outputs, err := r.outputs(stack)
	if err != nil {
		return err
	}
	return oneOutput(outputs, column, into)
}

func oneOutput(outputs map[int]sources, column int, into sources) error {
	if column != 0 && outputs[column] == nil {
		return errRuleTree
	}
	for n, s := range outputs {
		if column == 0 || n == column {
			maps.Copy(into, s)
		}
	}
	return nil
}

func (r *tracer) oneOf(list *ruleNode, column int, stack []*ruleNode, into sources) error {
	if column == 0 {
		return r.mentions(list, stack, into)
	}
	all := list.elements()
	if column > len(all) {
		return errRuleTree
	}
	return r.mentions(all[column-1], stack, into)
}

// commonTable are the outputs of the query of a WITH that an entry names. Those of a recursive one grow with every look
// at what it makes of itself, until they are the same.
func (r *tracer) commonTable(rte *ruleNode, stack []*ruleNode) (map[int]sources, error) {
	up, ok := rte.number("ctelevelsup")
	if !ok || up < 0 || up >= len(stack) {
		return nil, errRuleTree
	}
	stack = stack[:len(stack)-up]
	for _, c := range top(stack).field("cteList").elements() {
		if c.atomOf("ctename") != rte.atomOf("ctename") {
			continue
		}
		q := c.field("ctequery")
		switch {
		case q == nil || c.field("search_clause") != nil || c.field("cycle_clause") != nil:
			return nil, errRuleTree
		case c.atomOf("cterecursive") == "false":
			return r.outputs(below(stack, q))
		case r.recursive[q] != nil:
			return r.recursive[q], nil
		}
		known := map[int]sources{}
		for _, entry := range q.field("targetList").elements() {
			n, ok := entry.number("resno")
			if !ok {
				return nil, errRuleTree
			}
			known[n] = sources{}
		}
		for size := -1; size != count(known); {
			size = count(known)
			r.recursive[q] = known
			out, err := r.outputs(below(stack, q))
			if err != nil {
				return nil, err
			}
			known = out
		}
		return known, nil
	}
	return nil, errRuleTree
}

func count(outputs map[int]sources) (n int) {
	for _, s := range outputs {
		n += len(s)
	}
	return n
}

// conditions adds what decides which rows the last query of the stack has.
func (r *tracer) conditions(stack []*ruleNode) error {
	q := top(stack)
	if q == nil || q.kind != "QUERY" || q.atomOf("hasTargetSRFs") == "" || q.atomOf("hasModifyingCTE") != "false" {
		return errRuleTree
	}
	sorted := map[int]bool{}
	for _, c := range q.field("sortClause").elements() {
		ref, ok := c.number("tleSortGroupRef")
		if !ok {
			return errRuleTree
		}
		sorted[ref] = true
	}
	for _, part := range []string{"jointree", "havingQual", "limitOffset", "limitCount"} {
		if err := r.condition(q.field(part), stack); err != nil {
			return err
		}
	}
	for _, entry := range q.field("targetList").elements() {
		if ref, ok := entry.number("ressortgroupref"); !ok {
			return errRuleTree
		} else if ref != 0 || q.atomOf("hasTargetSRFs") == "true" { // GROUP BY, DISTINCT, functions that return sets
			if err := r.single(entry.field("expr"), stack); err != nil {
				return err
			}
			if sorted[ref] { // the order of the rows tells that of the values
				r.out.conditions[len(r.out.conditions)-1].session = true
			}
		}
	}
	if s := q.field("setOperations"); s != nil && !unionAll(s) { // which rows are the same
		outputs, err := r.outputs(stack)
		if err != nil {
			return err
		}
		for _, n := range slices.Sorted(maps.Keys(outputs)) {
			r.out.conditions = append(r.out.conditions, condition{columns: outputs[n]})
		}
	}
	for _, rte := range q.field("rtable").elements() {
		kind, ok := rte.number("rtekind")
		if !ok {
			return errRuleTree
		}
		switch kind {
		case rteRelation, rteJoin, rteGroup, rteResult, rteCTE, rteValues:
			if err := r.condition(rte.field("tablesample"), stack); err != nil {
				return err
			}
		case rteSubquery:
			if err := r.conditions(below(stack, rte.field("subquery"))); err != nil {
				return err
			}
		case rteFunction, rteTable:
			if err := r.condition(rte.field("functions"), stack); err != nil {
				return err
			}
			if err := r.condition(rte.field("tablefunc"), stack); err != nil {
				return err
			}
		default:
			return errRuleTree
		}
	}
	for _, c := range q.field("cteList").elements() {
		if err := r.conditions(below(stack, c.field("ctequery"))); err != nil {
			return err
		}
	}
	return nil
}

// unionAll says whether set operations keep every row.
func unionAll(n *ruleNode) bool {
	if n == nil || n.kind != "SETOPERATIONSTMT" {
		return n != nil && n.kind == "RANGETBLREF"
	}
	return n.atomOf("op") == "1" && n.atomOf("all") == "true" && unionAll(n.field("larg")) && unionAll(n.field("rarg"))
}

// condition adds the columns of a condition, of each part of an AND by itself.
func (r *tracer) condition(n *ruleNode, stack []*ruleNode) error {
	if n == nil {
		return nil
	}
	if err := r.step(); err != nil {
		return err
	}
	switch n.kind {
	case "FROMEXPR", "JOINEXPR":
		for _, f := range []string{"fromlist", "larg", "rarg", "quals"} {
			if err := r.condition(n.field(f), stack); err != nil {
				return err
			}
		}
		return nil
	case "RANGETBLREF":
		return nil
	case "BOOLEXPR":
		if n.atomOf("boolop") == "and" {
			return r.condition(n.field("args"), stack)
		}
	case "":
		for _, e := range n.list {
			if err := r.condition(e, stack); err != nil {
				return err
			}
		}
		return nil
	}
	return r.single(n, stack)
}

// single adds the columns of a condition that is no AND of others.
func (r *tracer) single(n *ruleNode, stack []*ruleNode) error {
	c := condition{columns: sources{}}
	r.influences(n, &c)
	r.out.conditions = append(r.out.conditions, c)
	return r.mentions(n, stack, c.columns)
}

// currentSetting are current_setting(text) and current_setting(text, bool), by their OIDs (pg_proc.dat).
var currentSetting = []int{2077, 3294}

// influences notes what has a part in a condition besides rows.
func (r *tracer) influences(n *ruleNode, c *condition) {
	if n == nil {
		return
	}
	for _, name := range []string{"funcid", "opfuncid", "aggfnoid", "winfnoid"} {
		if n.fields[name] == nil {
			continue
		}
		f, ok := n.number(name)
		c.session = c.session || !ok || f <= 0 || !r.immutable(uint32(f))
		c.setting = c.setting || slices.Contains(currentSetting, f)
	}
	switch n.kind {
	case "", "VAR", "CONST", "PARAM", "BOOLEXPR", "NULLTEST", "BOOLEANTEST", "CASEEXPR", "CASE", "CASEWHEN", "WHEN", "CASETESTEXPR", "COALESCEEXPR", "COALESCE", "RELABELTYPE", "ARRAYEXPR", "ARRAY", "TARGETENTRY",
		"FUNCEXPR", "OPEXPR", "SCALARARRAYOPEXPR", "DISTINCTEXPR", "NULLIFEXPR", "AGGREF", "FIELDSELECT", "SUBSCRIPTINGREF", "ARRAYCOERCEEXPR", "MINMAXEXPR", "MINMAX", "ROWEXPR", "ROW", "COLLATEEXPR", "COLLATE",
		"SUBLINK", "QUERY", "RANGETBLENTRY", "RANGETBLFUNCTION", "RTEPERMISSIONINFO", "RANGETBLREF", "JOINEXPR", "FROMEXPR", "ALIAS", "SORTGROUPCLAUSE", "GROUPINGSET", "GROUPINGFUNC", "SETOPERATIONSTMT", "COMMONTABLEEXPR":
	default: // comparisons of rows by operators that are not looked up, values of the session, XML, JSON
		c.session = true
	}
	for _, f := range n.fields {
		r.influences(f, c)
	}
	for _, e := range n.list {
		r.influences(e, c)
	}
}
