package postgres

import (
	"fmt"

	"gatehouse/internal/policy"
)

// Sight is what one principal sees of the readable things of a catalog.
type Sight interface {
	// Read says how a column (or a table, asked for as a whole) is shown.
	Read(policy.Resource) policy.Exposure
	// Permits says whether a touch is permitted, with an approval or without.
	Permits(policy.Touch) bool
	// May says how much of a thing may be touched with an action.
	May(action string, r policy.Resource) policy.Exposure
}

// Environment is everything besides the text that decides what a statement means.
type Environment struct {
	Catalog *Catalog
	Sight   Sight
	// State is what earlier statements of the session left behind; nil: nothing.
	State *State
	// Behind are the names that the protocol gave; nil: none.
	Behind Behind
	// Seen gives what NewSeen says of the two, where that is kept; nil: it is found out when needed.
	Seen func() *Seen
	// Declared are the types that the client declares parameters to be of, in order; 0: not declared.
	Declared []uint32
	// Tokens is set where the upstream session holds the key of pseudonyms (TokenSetting), and the server's
	// encoding is UTF8.
	Tokens bool
}

// Verb is the kind of a statement. The zero value is nothing that may be sent.
type Verb string

// The verbs that are understood.
const (
	Select     Verb = "SELECT"
	Insert     Verb = "INSERT"
	Update     Verb = "UPDATE"
	Delete     Verb = "DELETE"
	Merge      Verb = "MERGE"
	Begin      Verb = "BEGIN"
	Commit     Verb = "COMMIT"
	Rollback   Verb = "ROLLBACK"
	Savepoint  Verb = "SAVEPOINT"
	Release    Verb = "RELEASE"
	RollbackTo Verb = "ROLLBACK TO"
	Set        Verb = "SET"
	Show       Verb = "SHOW"
	DDL        Verb = "DDL"
	CopyOut    Verb = "COPY TO"
	CopyIn     Verb = "COPY FROM"
	CreateAs   Verb = "CREATE TABLE AS"

	Prepare     Verb = "PREPARE"
	Execute     Verb = "EXECUTE"
	Deallocate  Verb = "DEALLOCATE"
	Declare     Verb = "DECLARE"
	Fetch       Verb = "FETCH"
	CloseCursor Verb = "CLOSE"
	Discard     Verb = "DISCARD"
	Listen      Verb = "LISTEN"
	Unlisten    Verb = "UNLISTEN"
	Notify      Verb = "NOTIFY"
	Maintain    Verb = "VACUUM"
	Explain     Verb = "EXPLAIN"
)

// Statement is one statement of a plan.
type Statement struct {
	Verb Verb
	// Text is the statement as it will run, printed from the tree that was walked.
	Text string
	// Writes is set where the statement changes rows or objects.
	Writes bool
	// Footing is what the statement takes the relations to be that it names, each once.
	Footing []Footing
	// Kin are queries that say whether relations that the statement scans have children or partitions that it does not
	// know of; none where there is nothing to know.
	Kin []string
	// Outputs are the columns that the statement gives, none for no rows; nil where they are not known.
	Outputs []Output
	// Answers is the verb whose command tag the server answers with, where that is not Verb's own.
	Answers Verb
	// Name is the client's name of what the statement makes, uses or ends: a savepoint, a prepared statement,
	// a cursor. All is set where it is every one of them.
	Name string
	All  bool
	// Named is what a PREPARE or DECLARE makes.
	Named *Named
	// Setting is a setting that the gateway keeps itself, as the statement sets it.
	Setting *Setting
	// Temporary are the names of temporary tables that the statement makes, changes or drops; "" is every one.
	Temporary []string
	// Makes is the name of the temporary table that it makes, Fills are the OIDs of those that it writes to, and
	// Sources what the values come from.
	Makes   string
	Fills   []uint32
	Sources []Source
	// Styles is set where the statement can change what the text of a date, a time or an interval means.
	Styles bool
}

// Output is what is known of a column that a statement gives.
type Output struct {
	// Name is what it is called; Named is set where that is known.
	Name  string
	Named bool
	// TypeOID is its type; 0 where that is not known.
	TypeOID uint32
}

// Setting is a search path that a statement sets: nil is the connection's own, which is Default.
type Setting struct {
	Path    *Path
	Default *Path
	Local   bool // until the transaction ends
}

// Plan is a text that was understood. It is immutable: a cached plan is shared between sessions.
type Plan struct {
	// Statements are the statements in order; none for an empty text.
	Statements []Statement
	// Text is what is sent: the statements' texts joined by "; ".
	Text string
	// Means are the texts of the prepared statements and cursors that Text uses by name, as the server holds
	// them, in order.
	Means []string
	// Touches is everything that the statements do, each touch once, in order of first appearance. It is
	// never empty: a statement that names nothing touches `connect` on the connection.
	Touches []policy.Touch
	// Relations are the relations named, for the identities that an approval is bound to.
	Relations []*Relation
	// Guarded are, by relation OID, the attribute numbers whose raw values must not come back: a column of
	// a result that names one as its origin is a breach.
	Guarded map[uint32][]int16
	// Calls is set where the text itself calls a function of a user's, by permit.
	Calls bool
	// GuardedRows are the types of whole rows of those relations: no result may have one.
	GuardedRows []uint32
	// Masked is set where a value was replaced or a column left out.
	Masked bool
	// Filtered is set where a row filter was put in.
	Filtered bool
	// Writes is set where any statement writes.
	Writes bool
	// ChangesCatalog is set where a statement changes the catalog.
	ChangesCatalog bool
	// Stateful is set where the plan stands for the session's state of now alone.
	Stateful bool
	// virtual is set where something was written in the place of a system catalog or a function that asks it.
	virtual bool
}

// Reason is the class of an Error.
type Reason string

// The reasons for which a text has no plan.
const (
	Syntax        Reason = "syntax"         // it does not parse
	UnknownName   Reason = "unknown_name"   // a table, column or type that does not exist
	NotUnderstood Reason = "not_understood" // outside the lists
	NotBuilt      Reason = "not_built"      // understood, but this gateway cannot do it yet
	Denied        Reason = "denied"         // a touch that no policy permits is needed to understand it
)

// Error says why a text has no plan: one sentence why, one what to do next. It never quotes a literal of
// the text.
type Error struct {
	Reason Reason
	// SQLState is the state that PostgreSQL itself would give, where there is one; else 42501 or 0A000.
	SQLState string
	Message  string
	Remedy   string
	// Position is the 1-based character in the client's text; 0 where unknown.
	Position int
	// Missing are the touches that lack a permit (Denied).
	Missing []policy.Touch
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Reason, e.Message) }
