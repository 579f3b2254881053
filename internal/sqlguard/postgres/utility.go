package postgres

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// transaction understands BEGIN, COMMIT and the like. Two-phase commit is refused: a prepared transaction
// would outlive its session.
func (a *analysis) transaction(v *pg.TransactionStmt) error {
	verbs := map[pg.TransactionStmtKind]Verb{
		pg.TransactionStmtKind_TRANS_STMT_BEGIN:       Begin,
		pg.TransactionStmtKind_TRANS_STMT_START:       Begin,
		pg.TransactionStmtKind_TRANS_STMT_COMMIT:      Commit,
		pg.TransactionStmtKind_TRANS_STMT_ROLLBACK:    Rollback,
		pg.TransactionStmtKind_TRANS_STMT_SAVEPOINT:   Savepoint,
		pg.TransactionStmtKind_TRANS_STMT_RELEASE:     Release,
		pg.TransactionStmtKind_TRANS_STMT_ROLLBACK_TO: RollbackTo,
	}
	verb := verbs[v.Kind]
	if verb == "" {
		return a.notBuilt(v.Location, "Two-phase commit statements are")
	}
	if err := a.transactionOptions(v.Options); err != nil {
		return err
	}
	a.statement.Verb, a.statement.Name = verb, v.SavepointName
	a.touch("connect", a.env.Catalog.Connection)
	return nil
}

func (a *analysis) transactionOptions(list []*pg.Node) error {
	for _, n := range list {
		o := n.GetDefElem()
		if o == nil || !contains([]string{"transaction_isolation", "transaction_read_only", "transaction_deferrable"}, o.Defname) || o.Arg.GetAConst() == nil {
			return a.notUnderstood(n, 0, "")
		}
	}
	return nil
}
