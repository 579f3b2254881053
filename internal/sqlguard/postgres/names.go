package postgres

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
)

// maxNames bounds the prepared statements and cursors of a session.
const maxNames = 2048

const (
	maxNamed = 32 << 20 // bytes of their texts
	keepText = 16 << 10 // a text up to this length is always kept
)

// Reserved says whether a name is one that only the gateway gives to statements and cursors: it ends with a
// colon and a hash.
func Reserved(name string) bool {
	n := len(name) - 25
	return n >= 0 && name[n] == ':' && strings.Trim(name[n+1:], "0123456789abcdef") == ""
}

// serverName is what a prepared statement or cursor is called at the server: the beginning of the client's
// name, and a hash of that name and of all that was printed.
func serverName(name, printed string) string {
	sum := sha256.Sum256([]byte(name + "\x00" + printed))
	short := name
	for len(short) > 30 {
		_, n := utf8.DecodeLastRuneInString(short)
		short = short[:len(short)-n]
	}
	return short + ":" + hex.EncodeToString(sum[:12])
}

// ClientNames takes what the gateway added to names out of a message of the server.
func ClientNames(message string) string { return addedName.ReplaceAllString(message, `"`) }

var addedName = regexp.MustCompile(`:[0-9a-f]{24}"`)

// print is the text of one statement.
func (a *analysis) print(n *pg.Node) (string, error) {
	return pg.Deparse(&pg.ParseResult{Version: a.version, Stmts: []*pg.RawStmt{{Stmt: n}}})
}

// inside understands the statement in a PREPARE or a DECLARE: as a text of its own.
func (a *analysis) inside(n *pg.Node) (*Named, error) {
	own := proto.Clone(n).(*pg.Node)
	text, ok := printExactly(&pg.ParseResult{Version: a.version, Stmts: []*pg.RawStmt{{Stmt: own}}})
	if !ok {
		return nil, a.unprintable()
	}
	plan, err := a.understand(text, a.env.Declared)
	if err != nil {
		return nil, err
	}
	return &Named{Text: text, Plan: plan, Declared: a.env.Declared}, nil
}

// understand makes the plan of a text that stands in another one; places in it mean nothing to the client.
func (a *analysis) understand(text string, declared []uint32) (*Plan, error) {
	env := a.env
	env.State, env.Declared = a.state.doubts(), declared // it names none
	plan, err := (&Guard{}).Analyze(env, text)
	if e, ok := err.(*Error); ok {
		e.Position = 0
	}
	if err != nil {
		return nil, err
	}
	if len(plan.Statements) != 1 {
		return nil, a.notUnderstood(nil, 0, "The statement was not understood.")
	}
	return plan, nil
}

// again understands a prepared statement or a cursor when it is used: by the policies and the catalog of now it
// must be what the server holds. What it does is done by the statement that uses it.
func (a *analysis) again(n *Named, what string) error {
	plan, err := a.understoodAgain(n, what)
	if err != nil {
		return err
	}
	for _, t := range append(slices.Clip(plan.Touches), n.Calls...) {
		a.touch(t.Action, t.Resource)
	}
	for _, r := range plan.Relations {
		a.relation(r)
	}
	a.statement.Footing = append(a.statement.Footing, plan.Statements[0].Footing...)
	a.statement.Kin = append(a.statement.Kin, plan.Statements[0].Kin...)
	a.statement.Writes = a.statement.Writes || plan.Writes
	a.statement.Fills = append(a.statement.Fills, plan.Statements[0].Fills...)
	a.plan.Masked, a.plan.Filtered = a.plan.Masked || plan.Masked, a.plan.Filtered || plan.Filtered
	return nil
}

// understoodAgain is the plan of now of a prepared statement or a cursor, which is what the server holds.
func (a *analysis) understoodAgain(n *Named, what string) (*Plan, error) {
	plan, err := a.understand(n.Text, n.Declared)
	if err != nil {
		return nil, err
	}
	if plan.Text != n.Plan.Text {
		return nil, refused(NotUnderstood, "0A000", 0, "The "+what+" means something else now: the catalog, the policies or the search path changed since it was made.", "Make it again.")
	}
	return plan, nil
}

// used understands what a statement uses by its name, and says what that is.
func (a *analysis) used(n *Named, what string) error {
	a.plan.Means = append(a.plan.Means, n.Plan.Text)
	a.statement.Outputs = n.Plan.Statements[0].Outputs
	for _, st := range n.Plan.Statements {
		a.statement.Styles = a.statement.Styles || st.Styles
	}
	return a.again(n, what)
}

// preparedNamed is the prepared statement of a name, whoever made it; nil where there is none.
func (a *analysis) preparedNamed(name string) *Named {
	if n := a.state.Prepared(name); n != nil || a.env.Behind == nil || a.gone[Deallocate][name] || a.gone[Deallocate][""] {
		return n
	}
	return a.env.Behind.Prepared(name)
}

// cursorNamed is the cursor or portal of a name; nil where there is none.
func (a *analysis) cursorNamed(name string) *Named {
	if n := a.state.Cursor(name); n != nil || a.env.Behind == nil || a.gone[CloseCursor][name] || a.gone[CloseCursor][""] {
		return n
	}
	return a.env.Behind.Cursor(name)
}

// ends notes that a name means nothing any more in the rest of the text; "": that none does.
func (a *analysis) ends(verb Verb, name string) {
	if a.gone == nil {
		a.gone = map[Verb]map[string]bool{Deallocate: {}, CloseCursor: {}}
	}
	a.gone[verb][name] = true
}

func (a *analysis) newName(name string) error {
	switch {
	case Reserved(name):
		return refused(NotUnderstood, "42602", 0, "The name "+quoted(name)+" is kept for the gateway.", "Choose another name.")
	case a.state.Count() >= maxNames:
		return refused(NotUnderstood, "54000", 0, "A session may hold 2048 prepared statements and cursors.", "Deallocate or close some.")
	case len(a.text) > keepText && a.state.size()+len(a.text) > maxNamed:
		return refused(NotUnderstood, "54000", 0, "The prepared statements and cursors of a session may be 32 MiB long together.", "Deallocate or close some, or send the values as parameters.")
	}
	return nil
}

// prepareStmt understands PREPARE. What the statement does is decided when it is executed.
func (a *analysis) prepareStmt(v *pg.PrepareStmt) error {
	if a.preparedNamed(v.Name) != nil {
		return refused(NotUnderstood, "42P05", 0, "prepared statement "+quoted(v.Name)+" already exists", "Deallocate it first, or use another name.")
	}
	if err := a.newName(v.Name); err != nil {
		return err
	}
	before := len(a.plan.Touches)
	for _, n := range v.Argtypes {
		t := n.GetTypeName()
		if t == nil {
			return a.notUnderstood(n, 0, "")
		}
		a.walk(n)
		if err := a.typeName(t); err != nil {
			return err
		}
	}
	switch v.Query.GetNode().(type) {
	case *pg.Node_SelectStmt, *pg.Node_InsertStmt, *pg.Node_UpdateStmt, *pg.Node_DeleteStmt, *pg.Node_MergeStmt:
	default:
		return a.notBuilt(0, "PREPARE of this kind of statement is")
	}
	if len(v.Argtypes) > 0 { // they are of types that are not looked into
		a.env.Declared = slices.Repeat([]uint32{math.MaxUint32}, len(v.Argtypes))
	}
	named, err := a.inside(v.Query)
	if err != nil {
		return err
	}
	named.Calls = slices.Clone(a.plan.Touches[before:])
	a.statement.Verb, a.statement.Name, a.statement.Named = Prepare, v.Name, named
	a.touch("connect", a.env.Catalog.Connection)
	v.Query, err = parseSelect(named.Plan.Text)
	if err != nil {
		return a.unprintable()
	}
	a.wrote(v.Query)
	name := v.Name
	v.Name = "x"
	printed, err := a.print(&pg.Node{Node: &pg.Node_PrepareStmt{PrepareStmt: v}})
	if err != nil {
		return a.unprintable()
	}
	named.Server = serverName(name, printed)
	v.Name = named.Server
	return nil
}

// executeStmt understands EXECUTE: the prepared statement, and the expressions that are its arguments.
func (a *analysis) executeStmt(v *pg.ExecuteStmt) error {
	named := a.preparedNamed(v.Name)
	if named == nil {
		return noStatement(v.Name)
	}
	if err := a.exprs(&scope{}, v.Params...); err != nil {
		return err
	}
	a.statement.Verb, a.statement.Name = Execute, v.Name
	v.Name, a.statement.Answers = named.Server, named.Plan.Statements[0].Verb
	return a.used(named, "prepared statement "+quoted(a.statement.Name))
}

func noStatement(name string) *Error {
	return refused(NotUnderstood, "26000", 0, "prepared statement "+quoted(name)+" does not exist", "Prepare it first.")
}

func noCursor(name string) *Error {
	return refused(NotUnderstood, "34000", 0, "cursor "+quoted(name)+" does not exist", "Declare it first; without WITH HOLD it ends with its transaction.")
}

func (a *analysis) deallocate(v *pg.DeallocateStmt) error {
	a.statement.Verb, a.statement.Name, a.statement.All = Deallocate, v.Name, v.Isall
	a.touch("connect", a.env.Catalog.Connection)
	if v.Isall {
		a.ends(Deallocate, "")
		return nil
	}
	named := a.preparedNamed(v.Name)
	if named == nil {
		return noStatement(v.Name)
	}
	a.ends(Deallocate, v.Name)
	v.Name = named.Server
	return nil
}

// holdCursor is CURSOR_OPT_HOLD of PostgreSQL's parsenodes.h.
const holdCursor = 0x20

// declare understands DECLARE: its query is judged as a SELECT is.
func (a *analysis) declare(v *pg.DeclareCursorStmt) error {
	if a.cursorNamed(v.Portalname) != nil {
		return refused(NotUnderstood, "42P03", 0, "cursor "+quoted(v.Portalname)+" already exists", "Close it first, or use another name.")
	}
	if err := a.newName(v.Portalname); err != nil {
		return err
	}
	if v.Query.GetSelectStmt() == nil {
		return a.notBuilt(0, "Cursors over this kind of statement are")
	}
	named, err := a.inside(v.Query)
	if err != nil {
		return err
	}
	named.Hold = v.Options&holdCursor != 0
	a.statement.Verb, a.statement.Name, a.statement.Named = Declare, v.Portalname, named
	if err := a.again(named, "cursor"); err != nil {
		return err
	}
	if v.Query, err = parseSelect(named.Plan.Text); err != nil {
		return a.unprintable()
	}
	a.wrote(v.Query)
	name := v.Portalname
	v.Portalname = "x"
	printed, err := a.print(&pg.Node{Node: &pg.Node_DeclareCursorStmt{DeclareCursorStmt: v}})
	if err != nil {
		return a.unprintable()
	}
	named.Server = serverName(name, printed)
	v.Portalname = named.Server
	return nil
}

// fetch understands FETCH and MOVE.
func (a *analysis) fetch(v *pg.FetchStmt) error {
	named := a.cursorNamed(v.Portalname)
	if named == nil {
		return noCursor(v.Portalname)
	}
	a.statement.Verb, a.statement.Name = Fetch, v.Portalname
	v.Portalname = named.Server
	return a.used(named, "cursor "+quoted(a.statement.Name))
}

func (a *analysis) closeCursor(v *pg.ClosePortalStmt) error {
	a.statement.Verb, a.statement.Name, a.statement.All = CloseCursor, v.Portalname, v.Portalname == ""
	a.touch("connect", a.env.Catalog.Connection)
	if v.Portalname == "" {
		a.ends(CloseCursor, "")
		return nil
	}
	named := a.cursorNamed(v.Portalname)
	if named == nil {
		return noCursor(v.Portalname)
	}
	a.ends(CloseCursor, v.Portalname)
	v.Portalname = named.Server
	return nil
}

// namesStatement understands the statements that use names of the session: their plans stand for its state alone.
func (a *analysis) namesStatement(n *pg.Node) error {
	a.plan.Stateful = true
	switch v := n.GetNode().(type) {
	case *pg.Node_PrepareStmt:
		return a.prepareStmt(v.PrepareStmt)
	case *pg.Node_ExecuteStmt:
		return a.executeStmt(v.ExecuteStmt)
	case *pg.Node_DeallocateStmt:
		return a.deallocate(v.DeallocateStmt)
	case *pg.Node_DeclareCursorStmt:
		return a.declare(v.DeclareCursorStmt)
	case *pg.Node_FetchStmt:
		return a.fetch(v.FetchStmt)
	case *pg.Node_ClosePortalStmt:
		return a.closeCursor(v.ClosePortalStmt)
	}
	return a.notBuilt(0, statementName(n)+" statements are")
}
