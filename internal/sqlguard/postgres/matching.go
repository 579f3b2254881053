package postgres

import (
	"errors"
	"slices"
	"strconv"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
)

// Matching are selects of the rows that one UPDATE or DELETE would change. They read nothing but what its WHERE reads,
// and give back no value of a row.
type Matching struct {
	// Count gives how many rows match.
	Count string
	// Keys gives tableoid, ctid and xmin of some of them, each as text.
	Keys string
	// Table is the one whose rows they are.
	Table Name
	// Uses are the numbers of the parameters that Count and Keys use.
	Uses []int32
}

// ErrNoMatching says that a statement is none whose rows can be counted before it runs.
var ErrNoMatching = errors.New("only the rows of one UPDATE or DELETE with a WHERE of its own can be counted before it runs")

// MatchingOf makes the selects of one printed statement; keys is how many rows Keys gives at most.
func MatchingOf(printed string, keys int32) (Matching, error) {
	var m Matching
	tree, err := pg.Parse(printed)
	if err != nil || len(tree.Stmts) != 1 {
		return m, ErrNoMatching
	}
	var target *pg.RangeVar
	var from []*pg.Node
	var where *pg.Node
	var with *pg.WithClause
	switch n := tree.Stmts[0].Stmt.Node.(type) {
	case *pg.Node_UpdateStmt:
		u := n.UpdateStmt
		target, from, where, with = u.Relation, u.FromClause, u.WhereClause, u.WithClause
	case *pg.Node_DeleteStmt:
		d := n.DeleteStmt
		target, from, where, with = d.Relation, d.UsingClause, d.WhereClause, d.WithClause
	default:
		return m, ErrNoMatching
	}
	current := func(m proto.Message) bool { _, ok := m.(*pg.CurrentOfExpr); return ok }
	if target == nil || where != nil && holds(where, current) || !OneWrite(printed) {
		return m, ErrNoMatching
	}
	m.Table = Name{target.Schemaname, target.Relname}
	alias := Quote(target.Relname)
	if target.Alias != nil {
		alias = Quote(target.Alias.Aliasname)
	}
	distinct, count := "", "SELECT pg_catalog.count(*) FROM x"
	if len(from) > 0 { // a row that several rows of the others meet is changed once
		distinct, count = "DISTINCT ", "SELECT pg_catalog.count(*) FROM (SELECT DISTINCT "+alias+".tableoid, "+alias+".ctid FROM x) AS matching"
	}
	from = append([]*pg.Node{{Node: &pg.Node_RangeVar{RangeVar: target}}}, from...)
	graft := func(skeleton string) (string, error) {
		made, err := pg.Parse(skeleton)
		if err != nil {
			return "", ErrNoMatching
		}
		s := made.Stmts[0].Stmt.GetSelectStmt()
		if sub := s.FromClause[0].GetRangeSubselect(); sub != nil {
			s = sub.Subquery.GetSelectStmt()
		}
		s.FromClause, s.WhereClause, s.WithClause = from, where, with
		text, ok := printExactly(made)
		if !ok {
			return "", ErrNoMatching
		}
		return text, nil
	}
	if m.Count, err = graft(count); err != nil {
		return m, err
	}
	keyed := "SELECT " + distinct + alias + ".tableoid::pg_catalog.text, " + alias + ".ctid::pg_catalog.text, " + alias + ".xmin::pg_catalog.text FROM x LIMIT " + strconv.Itoa(int(keys))
	if m.Keys, err = graft(keyed); err != nil {
		return m, err
	}
	for _, n := range from {
		m.uses(n)
	}
	if where != nil {
		m.uses(where)
	}
	if with != nil {
		m.uses(with)
	}
	slices.Sort(m.Uses)
	m.Uses = slices.Compact(m.Uses)
	return m, nil
}

func (m *Matching) uses(in proto.Message) bool {
	if p, ok := in.(*pg.ParamRef); ok {
		m.Uses = append(m.Uses, p.Number)
	}
	return each(in, m.uses)
}

// StatementsOf are the texts of the statements of a printed text, in order.
func StatementsOf(printed string) ([]string, error) { return pg.SplitWithParser(printed, true) }
