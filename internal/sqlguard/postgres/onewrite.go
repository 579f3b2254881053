package postgres

import pg "github.com/pganalyze/pg_query_go/v6"

// OneWrite says whether a printed text is one INSERT, UPDATE, DELETE or MERGE whose WITH queries change nothing: its
// command tag then counts every row that it changes itself.
func OneWrite(printed string) bool {
	tree, err := pg.Parse(printed)
	if err != nil || len(tree.Stmts) != 1 {
		return false
	}
	var with, inner *pg.WithClause
	switch n := tree.Stmts[0].Stmt.Node.(type) {
	case *pg.Node_InsertStmt:
		with, inner = n.InsertStmt.WithClause, n.InsertStmt.GetSelectStmt().GetSelectStmt().GetWithClause()
	case *pg.Node_UpdateStmt:
		with = n.UpdateStmt.WithClause
	case *pg.Node_DeleteStmt:
		with = n.DeleteStmt.WithClause
	case *pg.Node_MergeStmt:
		with = n.MergeStmt.WithClause
	default:
		return false
	}
	for _, one := range append(with.GetCtes(), inner.GetCtes()...) {
		if one.GetCommonTableExpr().GetCtequery().GetSelectStmt() == nil {
			return false
		}
	}
	return true
}
