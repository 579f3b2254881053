package postgres

import (
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// merge understands MERGE (PostgreSQL 15): a join of the source with the written table, whose values are raw there,
// and what is done with each row. Each WHEN sees what the server lets it see: both, the source alone, or the
// written table alone. Merges touch what the inserts, updates and deletes in them touch. It gives the columns of its
// RETURNING (PostgreSQL 17), which sees both, the source first. up is what a WITH query sees from outside.
func (a *analysis) merge(v *pg.MergeStmt, up *scope) ([]column, error) {
	a.walk(v)
	if len(v.ReturningList) > 0 && a.env.Catalog.Server < 17 {
		return nil, refused(NotUnderstood, "42601", 0, "MERGE … RETURNING needs PostgreSQL 17 or later.", "Send the MERGE without RETURNING, then read the rows.")
	}
	s := &scope{up: up}
	if err := a.with(v.WithClause, s); err != nil {
		return nil, err
	}
	it, source, err := a.mergeTables(v, s)
	if err != nil {
		return nil, err
	}
	s.items, s.merged = append(slices.Clone(source), it), true
	return a.returning(&v.ReturningList, it, s)
}

// mergeTables understands the written table, the source and what is done with the rows.
func (a *analysis) mergeTables(v *pg.MergeStmt, s *scope) (*item, []*item, error) {
	var it *item
	for _, n := range v.MergeWhenClauses {
		w := n.GetMergeWhenClause()
		if w == nil {
			return nil, nil, a.notUnderstood(n, 0, "")
		}
		a.walk(w)
		if w.CommandType == pg.CmdType_CMD_NOTHING {
			continue
		}
		action := mergeActions[w.CommandType]
		if action == "" {
			return nil, nil, a.notUnderstood(n, 0, "")
		}
		own, err := a.target(v.Relation, action)
		if err != nil {
			return nil, nil, err
		}
		if it == nil {
			it = own
		}
	}
	if it == nil {
		return nil, nil, a.notUnderstood(nil, v.Relation.GetLocation(), "A MERGE that does nothing was not understood.")
	}
	if len(a.rowsOf("read", it.relation)) > 0 { // which rows match would tell about the others
		return nil, nil, a.notBuilt(v.Relation.Location, "MERGE into tables with a row filter ("+it.relation.Name.String()+") is")
	}
	source, err := a.fromItem(v.SourceRelation, s, nil)
	if err != nil {
		return nil, nil, err
	}
	if err := a.distinctNames(source, []*item{it}); err != nil {
		return nil, nil, err
	}
	both := &scope{up: s.up, ctes: s.ctes, items: append([]*item{it}, source...)}
	if err := a.exprs(both, v.JoinCondition); err != nil {
		return nil, nil, err
	}
	a.conditions(both, v.JoinCondition)
	if err := a.whole(it.relation, v.Relation.Location, "MERGE"); err != nil { // what matches tells which rows there are
		return nil, nil, err
	}
	a.touch("read", a.env.Catalog.TableResource(it.relation.Name)) // which rows match tells which there are
	for _, n := range v.MergeWhenClauses {
		if err := a.mergeWhen(n.GetMergeWhenClause(), it, both, &scope{up: s.up, ctes: s.ctes, items: source}); err != nil {
			return nil, nil, err
		}
	}
	return it, source, nil
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
		seen = &scope{up: both.up, ctes: both.ctes, items: []*item{it}}
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

// mergeAction understands merge_action(), which stands in the RETURNING of a MERGE alone, also further inside it.
func (a *analysis) mergeAction(s *scope) error {
	for level := s; level != nil; level = level.up {
		if level.merged {
			return nil
		}
	}
	return refused(NotUnderstood, "42P20", 0, "MERGE_ACTION() can only be used in the RETURNING list of a MERGE command", "Write the statement without it.")
}
