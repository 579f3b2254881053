package postgres

import (
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"gatehouse/internal/policy"
)

// What EXPLAIN shows is made of more than what the statement reads: how many rows there are, from the statistics of
// columns and, with ANALYZE, from their values (also those that a filter removes); what views, row security policies
// and functions of users look like inside. So a plan is shown only of a statement behind which nothing is masked,
// filtered or hidden: the answer must not depend on what the principal may not see.

// explainOptions are the options of EXPLAIN (PostgreSQL documentation, EXPLAIN), and the words that each may have
// besides those of a boolean.
var explainOptions = map[string][]string{
	"analyze": nil, "verbose": nil, "costs": nil, "settings": nil, "generic_plan": nil, "buffers": nil, "wal": nil,
	"timing": nil, "summary": nil, "memory": nil,
	"serialize": {"none", "text", "binary"}, "format": {"text", "xml", "json", "yaml"},
}

// explain understands EXPLAIN. With ANALYZE the statement runs, and does all that it does; else nothing of it runs
// but what the planner works out beforehand, and reading is what it does to the tables that it names.
func (a *analysis) explain(v *pg.ExplainStmt) error {
	options, err := a.explained(v)
	if err != nil {
		return err
	}
	a.statement.Verb = Explain
	var plan *Plan
	var calls []policy.Touch
	switch q := v.Query.GetNode().(type) {
	case *pg.Node_SelectStmt, *pg.Node_InsertStmt, *pg.Node_UpdateStmt, *pg.Node_DeleteStmt, *pg.Node_MergeStmt:
		named, err := a.inside(v.Query)
		if err != nil {
			return err
		}
		plan = named.Plan
		if v.Query, err = parseSelect(plan.Text); err != nil {
			return a.unprintable()
		}
		a.wrote(v.Query)
	case *pg.Node_ExecuteStmt:
		if plan, calls, err = a.explainedExecute(q.ExecuteStmt); err != nil {
			return err
		}
	default:
		return refused(NotUnderstood, "0A000", 0, "EXPLAIN of "+statementName(v.Query)+" statements is not understood.", "Explain the query in it by itself.")
	}
	if !contains([]string{"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"}, string(plan.Statements[0].Verb)) {
		return refused(NotUnderstood, "0A000", 0, "EXPLAIN of this statement is not understood: the gateway answers it itself.", "Send it without EXPLAIN.")
	}
	if err := a.mayExplain(plan, options["verbose"]); err != nil {
		return err
	}
	a.explains(plan, calls, options["analyze"])
	return nil
}

// explained understands the options, and writes each of them in one way. It gives those that are set.
func (a *analysis) explained(v *pg.ExplainStmt) (map[string]bool, error) {
	set := map[string]bool{}
	for _, n := range v.Options {
		o := n.GetDefElem()
		words, known := explainOptions[o.GetDefname()]
		word := "true"
		if o.GetArg().GetNode() != nil {
			word = strings.ToLower(optionWord(o.Arg))
		}
		switch {
		case o == nil || !known || o.Defnamespace != "":
			return nil, refused(NotUnderstood, "42601", a.at(o.GetLocation()), "unrecognized EXPLAIN option "+quoted(o.GetDefname()), "Leave it out.")
		case contains(words, word):
			o.Arg = pg.MakeStrNode(word)
		case o.Defname == "format" || !contains([]string{"true", "on", "1", "false", "off", "0"}, word):
			return nil, refused(NotUnderstood, "22023", a.at(o.Location), "The option "+quoted(o.Defname)+" of EXPLAIN does not have that value.", "Correct it.")
		default:
			set[o.Defname] = contains([]string{"true", "on", "1"}, word)
			o.Arg = pg.MakeStrNode(map[bool]string{true: "on", false: "off"}[set[o.Defname]])
			if o.Defname == "serialize" { // its words are none, text and binary
				o.Arg = pg.MakeStrNode(map[bool]string{true: "text", false: "none"}[set[o.Defname]])
			}
		}
	}
	return set, nil
}

// optionWord is the value of an option as text; "" for what is none.
func optionWord(n *pg.Node) string {
	switch {
	case n.GetString_() != nil:
		return n.GetString_().Sval
	case n.GetInteger() != nil:
		return itoa(int(n.GetInteger().Ival))
	case n.GetBoolean() != nil:
		return map[bool]string{true: "true", false: "false"}[n.GetBoolean().Boolval]
	}
	return ""
}

// explainedExecute understands the EXECUTE in an EXPLAIN: the prepared statement is understood again, as its own
// EXECUTE would.
func (a *analysis) explainedExecute(v *pg.ExecuteStmt) (*Plan, []policy.Touch, error) {
	a.plan.Stateful = true
	named := a.preparedNamed(v.Name)
	if named == nil {
		return nil, nil, noStatement(v.Name)
	}
	if err := a.exprs(&scope{}, v.Params...); err != nil {
		return nil, nil, err
	}
	a.statement.Name = v.Name
	plan, err := a.understoodAgain(named, "prepared statement "+quoted(v.Name))
	if err != nil {
		return nil, nil, err
	}
	v.Name = named.Server
	a.plan.Means = append(a.plan.Means, named.Plan.Text)
	return plan, named.Calls, nil
}

// explains notes what an EXPLAIN does. What is not run writes nothing: reading is what it does in that place.
func (a *analysis) explains(plan *Plan, calls []policy.Touch, analyze bool) {
	for _, r := range plan.Relations {
		a.touch("explain", a.env.Catalog.TableResource(r.Name))
		a.relation(r)
	}
	for _, t := range append(slices.Clip(plan.Touches), calls...) {
		if !analyze && contains([]string{"insert", "update", "delete"}, t.Action) {
			t.Action = "read"
		}
		a.touch(t.Action, t.Resource)
	}
	st := &plan.Statements[0]
	a.statement.Footing = append(a.statement.Footing, st.Footing...)
	a.statement.Kin = append(a.statement.Kin, st.Kin...)
	a.statement.Writes = analyze && plan.Writes
	a.statement.Styles = analyze && st.Styles
	if analyze {
		a.statement.Fills = append(a.statement.Fills, st.Fills...)
	}
	a.plan.Stateful = a.plan.Stateful || plan.Stateful
}

// mayExplain says whether everything that the plan of a statement depends on may be seen.
func (a *analysis) mayExplain(plan *Plan, verbose bool) error {
	if plan.Masked {
		return a.denied(0, "EXPLAIN tells about the values of columns that are masked: how many rows match comes from their statistics.", a.maskedReads(plan)...)
	}
	if plan.virtual {
		return refused(NotUnderstood, "0A000", 0, "EXPLAIN of statements that ask the system catalogs is not understood: each principal is shown its own.", "Run the statement itself.")
	}
	for _, r := range plan.Relations {
		if err := a.mayExplainRelation(r); err != nil {
			return err
		}
		if verbose && plan.Guarded[r.OID] != nil {
			return a.denied(0, "EXPLAIN (VERBOSE) names all columns of "+r.Name.String()+", also those that are masked or hidden.", a.maskedColumns(r)...)
		}
	}
	if plan.Filtered {
		return filteredExplain("the statement")
	}
	for _, t := range plan.Touches {
		if t.Action == "call" && (verbose || !a.ofTarget(plan, t)) {
			return refused(NotUnderstood, "42501", 0, "EXPLAIN can show the inside of "+t.Resource.ID+", a function of a user's own.", "Run the statement itself, or explain it without the function.")
		}
	}
	return nil
}

// ofTarget says whether a call is one of a written table's own: its triggers, defaults and checks.
func (a *analysis) ofTarget(plan *Plan, t policy.Touch) bool {
	return slices.ContainsFunc(plan.Relations, func(r *Relation) bool {
		return r.Kind != View && slices.ContainsFunc(r.Calls, func(f Function) bool { return a.env.Catalog.FunctionResource(f).ID == t.Resource.ID })
	})
}

// maskedReads are the permits that a plan would need to read everything as it is.
func (a *analysis) maskedReads(plan *Plan) []policy.Touch {
	var missing []policy.Touch
	for _, r := range plan.Relations {
		for _, t := range a.maskedColumns(r) {
			used := slices.ContainsFunc(plan.Touches, func(p policy.Touch) bool { return p.Action == "read" && p.Resource.ID == t.Resource.ID })
			if used {
				missing = append(missing, t)
			}
		}
	}
	return missing
}

func filteredExplain(what string) *Error {
	return refused(Denied, "42501", 0, "EXPLAIN counts rows that a row filter leaves out of "+what+".", "Run the statement itself: its result is filtered.")
}

// mayExplainRelation says whether all that a relation in a plan brings with it may be seen: of a table its partitions
// and children, of a view all that it reads.
func (a *analysis) mayExplainRelation(r *Relation) error {
	if err := a.mayExplainTable(r, r); err != nil {
		return err
	}
	for _, oid := range r.Children {
		below := a.env.Catalog.ByOID[oid]
		if below == nil || !a.env.Sight.Read(a.env.Catalog.TableResource(below.Name)).Visible {
			return refused(Denied, "42501", 0, "EXPLAIN names the partitions and children of "+r.Name.String()+", of which some may not be read.", "Run the statement itself.")
		}
		if err := a.mayExplainTable(below, below); err != nil {
			return err
		}
	}
	if r.Kind != View {
		return nil
	}
	for _, oid := range r.Reaches {
		below := a.env.Catalog.ByOID[oid]
		if below == nil || a.barred(below) != nil {
			return refused(Denied, "42501", 0, "EXPLAIN shows the inside of the view "+r.Name.String()+", which reads what may not be read by itself.", "Run the statement itself.")
		}
		if missing := a.maskedColumns(below); len(missing) > 0 {
			return a.denied(0, "EXPLAIN shows the inside of the view "+r.Name.String()+", which reads "+below.Name.String()+" with columns that are masked or hidden.", missing...)
		}
		if err := a.mayExplainTable(below, r); err != nil {
			return err
		}
	}
	return nil
}

// mayExplainTable looks at one relation that is scanned, under the name of the one that was named.
func (a *analysis) mayExplainTable(r, named *Relation) error {
	switch {
	case r.Kind == ForeignTable:
		return refused(NotUnderstood, "42501", 0, "EXPLAIN shows where the rows of the foreign table "+r.Name.String()+" come from.", "Run the statement itself.")
	case r.RowSecurity:
		return refused(NotUnderstood, "42501", 0, "EXPLAIN shows the row security policies of "+r.Name.String()+", and counts the rows that they leave out.", "Run the statement itself.")
	}
	for _, action := range []string{"read", "insert", "update", "delete", "explain"} {
		if len(a.rowsOf(action, r)) > 0 {
			return filteredExplain(named.Name.String())
		}
	}
	if a.filteredColumn(r) {
		return filteredExplain(named.Name.String())
	}
	return nil
}
