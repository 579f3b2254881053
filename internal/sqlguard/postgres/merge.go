package postgres

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// merge understands MERGE (PostgreSQL 15): a join of the source with the written table, whose values are raw there,
// and what is done with each row. Each WHEN sees what the server lets it see: both, the source alone, or the
// written table alone. Merges touch what the inserts, updates and deletes in them touch.
func (a *analysis) merge(v *pg.MergeStmt) error {
	a.walk(v)
	if len(v.ReturningList) > 0 {
		return a.notBuilt(0, "MERGE … RETURNING is")
	}
	s := &scope{}
	if err := a.with(v.WithClause, s); err != nil {
		return err
	}
	var it *item
	for _, n := range v.MergeWhenClauses {
		w := n.GetMergeWhenClause()
		if w == nil {
			return a.notUnderstood(n, 0, "")
		}
		a.walk(w)
		if w.CommandType == pg.CmdType_CMD_NOTHING {
			continue
		}
		action := mergeActions[w.CommandType]
		if action == "" {
			return a.notUnderstood(n, 0, "")
		}
		own, err := a.target(v.Relation, action)
		if err != nil {
			return err
		}
		if it == nil {
			it = own
		}
	}
	if it == nil {
		return a.notUnderstood(nil, v.Relation.GetLocation(), "A MERGE that does nothing was not understood.")
	}
	if len(a.rowsOf("read", it.relation)) > 0 { // which rows match would tell about the others
		return a.notBuilt(v.Relation.Location, "MERGE into tables with a row filter ("+it.relation.Name.String()+") is")
	}
	source, err := a.fromItem(v.SourceRelation, s, nil)
	if err != nil {
		return err
	}
	if err := a.distinctNames(source, []*item{it}); err != nil {
		return err
	}
	both := &scope{ctes: s.ctes, items: append([]*item{it}, source...)}
	if err := a.exprs(both, v.JoinCondition); err != nil {
		return err
	}
	a.conditions(both, v.JoinCondition)
	if err := a.whole(it.relation, v.Relation.Location, "MERGE"); err != nil { // what matches tells which rows there are
		return err
	}
	a.touch("read", a.env.Catalog.TableResource(it.relation.Name)) // which rows match tells which there are
	for _, n := range v.MergeWhenClauses {
		if err := a.mergeWhen(n.GetMergeWhenClause(), it, both, &scope{ctes: s.ctes, items: source}); err != nil {
			return err
		}
	}
	return nil
}

// mergeActions are what a WHEN does, as the policies name it.
var mergeActions = map[pg.CmdType]string{
	pg.CmdType_CMD_INSERT: "insert", pg.CmdType_CMD_UPDATE: "update", pg.CmdType_CMD_DELETE: "delete",
}

func (a *analysis) mergeWhen(w *pg.MergeWhenClause, it *item, both, source *scope) error {
	seen := both
	switch w.MatchKind {
	case pg.MergeMatchKind_MERGE_WHEN_MATCHED:
	case pg.MergeMatchKind_MERGE_WHEN_NOT_MATCHED_BY_TARGET:
		seen = source
	case pg.MergeMatchKind_MERGE_WHEN_NOT_MATCHED_BY_SOURCE:
		seen = &scope{ctes: both.ctes, items: []*item{it}}
	default:
		return a.notUnderstood(nil, 0, "The WHEN clause was not understood.")
	}
	if err := a.exprs(seen, w.Condition); err != nil {
		return err
	}
	switch w.CommandType {
	case pg.CmdType_CMD_UPDATE:
		return a.assignments(w.TargetList, it, seen)
	case pg.CmdType_CMD_INSERT:
		return a.mergeInsert(w, it, seen)
	}
	return nil
}

func (a *analysis) mergeInsert(w *pg.MergeWhenClause, it *item, s *scope) error {
	if w.TargetList == nil && len(w.Values) > 0 {
		// Which columns are meant is said, so that it cannot change before the statement runs.
		if len(w.Values) > len(it.relation.Columns) {
			return refused(NotUnderstood, "42601", 0, "INSERT has more expressions than target columns", "Give one expression for each column.")
		}
		for _, c := range it.relation.Columns[:len(w.Values)] {
			w.TargetList = append(w.TargetList, &pg.Node{Node: &pg.Node_ResTarget{ResTarget: &pg.ResTarget{Name: c.Name}}})
		}
	}
	for _, n := range w.TargetList {
		t := n.GetResTarget()
		if t == nil || len(t.Indirection) > 0 {
			return a.notBuilt(t.GetLocation(), "Parts of columns in a MERGE are")
		}
		if err := a.writes("insert", it, t.Name, t.Location); err != nil {
			return err
		}
	}
	return a.exprs(s, w.Values...)
}
