package postgres

import (
	"fmt"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
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
	VacuumStmt ReindexStmt ClusterStmt DeallocateStmt DiscardStmt DeclareCursorStmt FetchStmt ClosePortalStmt`)

// unwalked finds a node that no rule has looked at: a clause that was forgotten must not reach the server.
// It goes before the sub-selects of scans are written, which are this package's own.
func (a *analysis) unwalked(m protoreflect.Message) error {
	own := m.Interface()
	if n, ok := own.(*pg.Node); ok {
		if n.GetNode() == nil || a.own[n] {
			return nil
		}
		if a.walked[n] {
			inner := m.WhichOneof(m.Descriptor().Oneofs().Get(0))
			return a.unwalkedBelow(m.Get(inner).Message())
		}
	} else if name := string(m.Descriptor().Name()); !frames[name] && !a.walked[own] {
		return a.notUnderstoodPart(name)
	}
	return a.unwalkedBelow(m)
}

func (a *analysis) unwalkedBelow(m protoreflect.Message) (err error) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Kind() != protoreflect.MessageKind:
		case f.IsList():
			for i := 0; i < v.List().Len() && err == nil; i++ {
				err = a.unwalked(v.List().Get(i).Message())
			}
		default:
			err = a.unwalked(v.Message())
		}
		return err == nil
	})
	return err
}

func (a *analysis) notUnderstoodPart(name string) *Error {
	return refused(NotUnderstood, "0A000", 0, fmt.Sprintf("The clause that holds %s is not on the list of what is understood.", strings.TrimSuffix(name, "Stmt")), "Write the statement without that.")
}
