package postgres

import (
	"maps"
	"slices"

	"gatehouse/internal/policy"
)

// reading are the verbs whose statements give values of what they scan. The others may have to be alone in their
// transaction.
var reading = map[Verb]bool{
	Select: true, Insert: true, Update: true, Delete: true, Merge: true, CopyOut: true, CreateAs: true, Declare: true,
	Execute: true, Explain: true, Fetch: true,
}

// kin is the query that says, for the tables that the statement scans itself and below views, whether the transaction has
// one snapshot for all its statements, and whether any of those tables has a child or partition that the catalog does not
// know of. What hangs below a table is read with it, so that a labelled table that is attached somewhere shows its values
// there. The lock that a footing takes does not keep one from being attached, so the query goes right in front of the
// statement. Temporary children are those of other sessions, which no statement reads, or the session's own.
func (a *analysis) kin() string {
	tables, known := map[uint32]bool{}, map[uint32]bool{}
	add := func(r *Relation) {
		if r == nil || r.Holding != nil || isSystemSchema(r.Name.Schema) || r.Kind != Table && r.Kind != PartitionedTable {
			return
		}
		tables[r.OID] = true
		for _, oid := range r.Children {
			if known[oid] = true; a.mayHaveChildren(oid) {
				tables[oid] = true
			}
		}
	}
	for _, r := range a.named {
		add(r)
		for _, oid := range r.Reaches {
			add(a.env.Catalog.ByOID[oid])
		}
	}
	if len(tables) == 0 || !a.attachable(tables) {
		return ""
	}
	text := "SELECT pg_catalog.current_setting('transaction_isolation') <> 'read committed', EXISTS (SELECT FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = ANY (" +
		literalOf(tables) + ") AND c.relpersistence <> 't'"
	if len(known) > 0 {
		text += " AND i.inhrelid <> ALL (" + literalOf(known) + ")"
	}
	return text + ")"
}

// attachable says whether a table that the principal sees in part could become a child or partition of one of these
// tables: the server wants it to have all of their columns, by name and type. Names are left out of account here, so that
// a column that is renamed before counts; one that is added, or gets another type, before the catalog is read again does
// not.
func (a *analysis) attachable(tables map[uint32]bool) bool {
	for oid := range tables {
		r := a.env.Catalog.ByOID[oid]
		if r == nil {
			return true
		}
		for _, other := range a.env.Catalog.ByOID {
			if other.OID == oid || len(other.Columns) < len(r.Columns) || slices.Contains(r.Children, other.OID) || other.Kind == View || other.Kind == MaterializedView || other.Kind == Sequence {
				continue
			}
			if fitsBelow(other, r) && a.partly(other) {
				return true
			}
		}
	}
	return false
}

// fitsBelow says whether a relation has, for each column of another, one of the same type.
func fitsBelow(r, other *Relation) bool {
	used := make([]bool, len(r.Columns))
	for i := range other.Columns {
		found := false
		for k := range r.Columns {
			if !used[k] && r.Columns[k].TypeOID == other.Columns[i].TypeOID {
				used[k], found = true, true
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// partly says whether a relation has a column that is masked or hidden, or rows that are filtered.
func (a *analysis) partly(r *Relation) bool {
	if len(a.rowsOf("read", r)) > 0 || a.barred(r) != nil {
		return true
	}
	for i := range r.Columns {
		if e := a.read(r, &r.Columns[i]); !e.Visible || e.Mask != policy.MaskNone || len(e.Rows) > 0 {
			return true
		}
	}
	return false
}

// mayHaveChildren says whether a child can have children of its own: a partition that is no partitioned table cannot.
func (a *analysis) mayHaveChildren(oid uint32) bool {
	r := a.env.Catalog.ByOID[oid]
	if r == nil || r.Kind == PartitionedTable || len(r.Children) > 0 {
		return true
	}
	for _, over := range r.Parents {
		if p := a.env.Catalog.ByOID[over]; p != nil && p.Kind == PartitionedTable {
			return false
		}
	}
	return true
}

func literalOf(set map[uint32]bool) string { return oids(slices.Sorted(maps.Keys(set))).literal() }
