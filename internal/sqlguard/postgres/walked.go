package postgres

import (
	"fmt"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
)

// walk notes that a node was understood.
func (a *analysis) walk(n proto.Message) { a.walked[n] = true }

// wrote notes that a node, with all that it holds, was written by this package.
func (a *analysis) wrote(n *pg.Node) *pg.Node {
	a.own[n] = true
	return n
}

// frames are the nodes that hold others and mean nothing by themselves: what they hold is looked at. Every
// other node of a tree must have been walked.
var frames = listed(`ParseResult RawStmt Node List String Integer Float Boolean BitString A_Const A_Star
	ResTarget SortBy WindowDef Alias WithClause CommonTableExpr LockingClause DefElem GroupingSet
	OnConflictClause InferClause IndexElem A_Indices ColumnDef Constraint AlterTableCmd
	TransactionStmt VariableSetStmt VariableShowStmt CreateStmt IndexStmt
	AlterTableStmt DropStmt TruncateStmt CopyStmt PrepareStmt ExecuteStmt
	ListenStmt UnlistenStmt NotifyStmt LockStmt
	VacuumStmt ReindexStmt ClusterStmt DeallocateStmt DiscardStmt CreateTableAsStmt DeclareCursorStmt FetchStmt ClosePortalStmt ExplainStmt`)

// unwalked finds a node that no rule has looked at: a clause that was forgotten must not reach the server.
// It goes before the sub-selects of scans are written, which are this package's own.
func (a *analysis) unwalked(m proto.Message) error {
	if n, ok := m.(*pg.Node); ok {
		if n.GetNode() == nil || a.own[n] {
			return nil
		}
		if a.walked[n] {
			m = inner(n)
		}
	} else if !layoutOf(m).frame && !a.walked[m] {
		return a.notUnderstoodPart(string(m.ProtoReflect().Descriptor().Name()))
	}
	var err error
	each(m, func(m proto.Message) bool {
		err = a.unwalked(m)
		return err == nil
	})
	return err
}

func (a *analysis) notUnderstoodPart(name string) *Error {
	return refused(NotUnderstood, "0A000", 0, fmt.Sprintf("The clause that holds %s is not on the list of what is understood.", strings.TrimSuffix(name, "Stmt")), "Write the statement without that.")
}
