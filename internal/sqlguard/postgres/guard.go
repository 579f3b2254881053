package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"

	"gatehouse/internal/policy"
)

// Bounds of a text; beyond them it is refused before it is parsed.
const (
	MaxText       = 4 << 20 // bytes
	maxNesting    = 400     // levels of sub-selects and expressions
	maxStatements = 1000
)

// Guard analyses texts. It holds nothing and is safe for concurrent use.
type Guard struct{}

// New is a guard. It checks that the parser that it stands on works, and has the stack that it needs.
func New() (*Guard, error) {
	if !stackReady() {
		return nil, errors.New("the SQL parser needs threads with a stack of 8 MiB, and the limit of this process is lower: raise its hard limit (ulimit -H -s)")
	}
	if _, err := pg.Parse("SELECT 1"); err != nil {
		return nil, fmt.Errorf("the SQL parser does not work: %w", err)
	}
	layouts() // so that no statement waits for them
	return &Guard{}, nil
}

// Analyze makes the plan of a text: parsed, every node on the lists, every name found in the catalog, masks
// put where tables are read, printed, and the print parsed again to the same tree. Its errors are *Error.
func (g *Guard) Analyze(env Environment, text string) (*Plan, error) {
	if env.Catalog == nil || env.Sight == nil {
		return nil, refused(NotUnderstood, "0A000", 0, "There is no catalog to understand the statement with.", "Tell the operator of this gateway.")
	}
	if len(text) > MaxText {
		return nil, refused(NotUnderstood, "54000", 0, fmt.Sprintf("The text is longer than %d MiB.", MaxText>>20), "Send the values as parameters, or in several statements.")
	}
	if strings.ContainsRune(text, 0) || !utf8.ValidString(text) {
		return nil, refused(NotUnderstood, "22021", 0, "The text is not valid UTF-8, or holds a NUL byte.", "Send it as UTF-8 without NUL bytes.")
	}
	chain, tokens := measure(text)
	if tokens > maxTokens {
		return nil, refused(NotUnderstood, "54000", 0, fmt.Sprintf("The text has more than %d tokens.", maxTokens), "Send it in several statements, the rows by COPY, or the values as an array in one parameter.")
	}
	if chain {
		return nil, refused(NotUnderstood, "54001", 0, fmt.Sprintf("The statement has a chain of more than %d tokens without a comma.", maxChain), "Send a shorter statement: a list such as IN (…) or VALUES may be as long as it likes.")
	}
	tree, err := pg.Parse(text)
	if err != nil {
		return nil, syntaxError(text, err)
	}
	if len(tree.Stmts) > maxStatements {
		return nil, refused(NotUnderstood, "54000", 0, fmt.Sprintf("The text has more than %d statements.", maxStatements), "Send them in several texts.")
	}
	if deeper(tree, 6*maxNesting) {
		return nil, refused(NotUnderstood, "54001", 0, "The statement is nested too deeply.", "Send a simpler statement.")
	}
	env.Sight = env.Catalog.own(env.Sight)
	a := &analysis{env: env, version: tree.Version, state: env.State, base: env.Catalog, text: text, plan: &Plan{Guarded: map[uint32][]int16{}}, seen: map[string]bool{}, walked: map[proto.Message]bool{}, own: map[*pg.Node]bool{}, wide: map[*Relation]bool{},
		prints: map[*pg.Node]bool{}, typeofs: map[*pg.Node]bool{}, inFrom: map[*pg.FuncCall]bool{}, outer: map[*pg.Node]bool{}}
	a.arguments = map[*pg.FuncCall]bool{}
	a.subLinks, a.scanned = map[*pg.SubLink][]column{}, map[*pg.RangeSubselect]bool{}
	a.repeated = repeatedParameters(text, tree)
	for _, raw := range tree.Stmts {
		a.statement, a.region, a.reads = Statement{}, &region{}, map[string]bool{}
		a.path()
		if err := a.top(raw.Stmt); err != nil {
			return nil, err
		}
		if a.statement.Verb == "" {
			return nil, a.notUnderstood(nil, 0, "The statement was not understood.")
		}
		a.stand()
		if a.statement.Makes != "" || a.statement.Fills != nil {
			a.statement.Sources = a.sources()
		}
		a.plan.Statements = append(a.plan.Statements, a.statement)
		a.state = a.state.After(a.statement)
		a.plan.Writes = a.plan.Writes || a.statement.Writes
	}
	return a.finish(tree)
}

// finish prints the statements and checks the print.
func (a *analysis) finish(tree *pg.ParseResult) (*Plan, error) {
	if len(a.plan.Touches) == 0 {
		a.touch("connect", a.env.Catalog.Connection)
	}
	if err := a.unwalked(tree); err != nil {
		return nil, err
	}
	if err := a.rewriteAll(); err != nil {
		return nil, err
	}
	if err := a.fillScans(); err != nil {
		return nil, err
	}
	if err := a.fillTargets(); err != nil {
		return nil, err
	}
	var texts []string
	for i, raw := range tree.Stmts {
		raw.StmtLocation, raw.StmtLen = 0, 0
		one := &pg.ParseResult{Version: tree.Version, Stmts: []*pg.RawStmt{raw}}
		text, ok := printExactly(one)
		if !ok {
			return nil, a.unprintable()
		}
		a.plan.Statements[i].Text = text
		texts = append(texts, text)
	}
	a.plan.Text = strings.Join(texts, "; ")
	return a.plan, nil
}

func (a *analysis) unprintable() *Error {
	return refused(NotUnderstood, "0A000", 0, "The statement cannot be printed again exactly as it was understood.", "Write it in a simpler way.")
}

// analysis is the work on one text.
type analysis struct {
	env       Environment
	version   int32                    // of the parser's trees
	state     *State                   // after the statements before
	base      *Catalog                 // with the connection's own search path
	gone      map[Verb]map[string]bool // names that ended in this text
	text      string
	plan      *Plan
	statement Statement
	seen      map[string]bool // touches
	reads     map[string]bool // resources that the statement reads
	depth     int
	scans     []pendingScan
	walked    map[proto.Message]bool // nodes that were understood
	own       map[*pg.Node]bool      // nodes that this package wrote
	wide      map[*Relation]bool     // relations whose columns are taken together
	written   int                    // bytes that were written in the place of catalogs and calls
	sees      *Seen                  // what the principal sees; nil until it is asked for
	rules     map[Name]string        // of the system catalogs that are named
	rewrites  []func() error         // what is done when the whole text is understood
	prints    map[*pg.Node]bool      // casts that show an object's name
	typeofs   map[*pg.Node]bool      // calls of pg_typeof that show the name of a type that users made
	inFrom    map[*pg.FuncCall]bool  // calls that are tables of their own
	outer     map[*pg.Node]bool      // output columns of a statement, which the client gets
	named     []*Relation            // every relation that was scanned, in order, with repetitions
	spent     budget
	region    *region                  // where conditions are noted
	subLinks  map[*pg.SubLink][]column // what sub-selects in expressions give
	scanned   map[*pg.RangeSubselect]bool
	arguments map[*pg.FuncCall]bool // direct arguments of functions of extensions
	callsAny  *bool                 // whether any function of users may run
	repeated  map[int32]bool        // parameters that are used more than once
	targeted  []*pendingWrite
}

// touch adds a touch, once.
func (a *analysis) touch(action string, r policy.Resource) {
	if strings.HasPrefix(r.ID, a.env.Catalog.tempPrefix()) { // the session's own: one permit for all of it
		action, r = "temporary", a.env.Catalog.Connection
	}
	if action == "read" {
		a.reads[r.ID] = true
	}
	key := action + " " + r.Type + " " + r.ID
	if a.seen[key] {
		return
	}
	a.seen[key] = true
	a.plan.Touches = append(a.plan.Touches, policy.Touch{Action: action, Resource: r})
}

// relation notes that a relation is named by the plan, and which of its columns must stay masked.
func (a *analysis) relation(r *Relation) {
	a.named = append(a.named, r)
	if slices.Contains(a.plan.Relations, r) {
		return
	}
	a.plan.Relations = append(a.plan.Relations, r)
	var guarded []int16
	for i := range r.Columns {
		if e := a.read(r, &r.Columns[i]); !e.Visible || e.Mask != policy.MaskNone {
			guarded = append(guarded, r.Columns[i].Number)
		}
	}
	if guarded != nil {
		a.plan.Guarded[r.OID] = guarded
		a.plan.GuardedRows = append(a.plan.GuardedRows, r.RowTypes...)
	}
}

func (a *analysis) read(r *Relation, c *Column) policy.Exposure {
	e := a.env.Catalog.Exposure(a.env.Sight, r, c)
	if e.Has(policy.MaskToken) && !a.mayToken(r, c) {
		e = e.Instead(policy.MaskToken, policy.MaskRedact)
	}
	return e
}

// top understands one statement.
func (a *analysis) top(n *pg.Node) error {
	a.named = nil
	switch v := n.GetNode().(type) {
	case *pg.Node_SelectStmt:
		if into := selectInto(n); into != nil {
			n.Node = &pg.Node_CreateTableAsStmt{CreateTableAsStmt: into}
			return a.createAs(into)
		}
		if is, err := a.setConfig(v.SelectStmt); is {
			return err
		}
		a.restricting(v.SelectStmt)
		a.statement.Verb = Select
		a.noteOutputs(v.SelectStmt)
		open := openOutputs(v.SelectStmt)
		out, err := a.selectStmt(v.SelectStmt, nil, nil)
		a.expects(out, open)
		return err
	case *pg.Node_InsertStmt:
		a.statement.Verb = Insert
		open := openOutputs(v.InsertStmt)
		out, err := a.insert(v.InsertStmt, nil)
		a.expects(out, open)
		return err
	case *pg.Node_UpdateStmt:
		a.statement.Verb = Update
		open := openOutputs(v.UpdateStmt)
		out, err := a.update(v.UpdateStmt, nil)
		a.expects(out, open)
		return err
	case *pg.Node_MergeStmt:
		a.statement.Verb = Merge
		open := openOutputs(v.MergeStmt)
		out, err := a.merge(v.MergeStmt, nil)
		a.expects(out, open)
		return err
	case *pg.Node_DeleteStmt:
		a.statement.Verb = Delete
		open := openOutputs(v.DeleteStmt)
		out, err := a.delete(v.DeleteStmt, nil)
		a.expects(out, open)
		return err
	case *pg.Node_TransactionStmt:
		return a.transaction(v.TransactionStmt)
	case *pg.Node_VariableSetStmt:
		return a.set(v.VariableSetStmt)
	case *pg.Node_VariableShowStmt:
		return a.show(n, v.VariableShowStmt)
	case *pg.Node_LockStmt:
		return a.lock(v.LockStmt)
	case *pg.Node_DiscardStmt:
		return a.discard(v.DiscardStmt)
	case *pg.Node_CreateStmt:
		return a.createTable(v.CreateStmt)
	case *pg.Node_CreateTableAsStmt:
		return a.createAs(v.CreateTableAsStmt)
	case *pg.Node_IndexStmt:
		return a.createIndex(v.IndexStmt)
	case *pg.Node_AlterTableStmt:
		return a.alterTable(v.AlterTableStmt)
	case *pg.Node_DropStmt:
		return a.drop(v.DropStmt)
	case *pg.Node_TruncateStmt:
		return a.truncate(v.TruncateStmt)
	case *pg.Node_CopyStmt:
		return a.copy(v.CopyStmt)
	case *pg.Node_PrepareStmt, *pg.Node_ExecuteStmt, *pg.Node_DeallocateStmt, *pg.Node_DeclareCursorStmt, *pg.Node_FetchStmt, *pg.Node_ClosePortalStmt:
		return a.namesStatement(n)
	}
	return a.more(n)
}
