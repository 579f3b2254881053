package postgres

import (
	pg "github.com/pganalyze/pg_query_go/v6"

	"gatehouse/internal/policy"
)

// Lock is LOCK TABLE.
const Lock Verb = "LOCK TABLE"

const accessShare = 1 // AccessShareLock (PostgreSQL's lockdefs.h)

// lock understands LOCK TABLE. The mode ACCESS SHARE is what a read takes too: dumps lock what they will read.
// Any other needs what the server asks for it: that the table may be updated.
func (a *analysis) lock(v *pg.LockStmt) error {
	a.walk(v)
	a.statement.Verb = Lock
	for _, n := range v.Relations {
		a.walk(n)
		if v.Mode != accessShare {
			if _, err := a.existing(n.GetRangeVar(), "update"); err != nil {
				return err
			}
			continue
		}
		r, err := a.lookup(n.GetRangeVar())
		if err != nil {
			return err
		}
		if table := a.barred(r); table != nil {
			return a.denied(n.GetRangeVar().Location, "The statement locks "+table.ID+", which no policy permits to read.", policy.Touch{Action: "read", Resource: *table})
		}
		if r.Kind != Table && r.Kind != PartitionedTable {
			return a.notBuilt(n.GetRangeVar().Location, "Locks on views are")
		}
		a.touch("read", a.env.Catalog.TableResource(r.Name))
		qualify(n.GetRangeVar(), r)
	}
	return nil
}

// restricting understands what pg_dump asks in its first statements, to set a setting where the server has it:
// SELECT set_config(name, '…', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'. The gateway
// does not show the setting, so that no row is found; false for any other statement.
func (a *analysis) restricting(v *pg.SelectStmt) bool {
	if len(v.TargetList) != 1 || len(v.FromClause) != 1 || v.FromClause[0].GetRangeVar().GetRelname() != "pg_settings" {
		return false
	}
	t := v.TargetList[0].GetResTarget()
	f := t.GetVal().GetFuncCall()
	names := stringsOf(f.GetFuncname())
	equal := v.WhereClause.GetAExpr()
	if len(names) == 0 || names[len(names)-1] != "set_config" || len(f.Args) != 3 || f.Args[0].GetColumnRef() == nil ||
		equal == nil || len(equal.Name) != 1 || equal.Name[0].GetString_().GetSval() != "=" || constant(equal.Rexpr) != "restrict_nonsystem_relation_kind" {
		return false
	}
	t.Val, t.Name = pg.MakeColumnRefNode([]*pg.Node{pg.MakeStrNode("setting")}, -1), "set_config"
	return true
}
