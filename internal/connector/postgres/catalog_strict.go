package postgres

import (
	"fmt"
	"slices"
	"strings"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// unreviewed is the label of a column of a strict connection that nobody has looked at.
const unreviewed = "unreviewed"

// review labels what nobody has said anything of: a stored column without a label that is not among the reviewed ones
// (nil: the connection is not strict). From there the label flows as others do, but not into a column that was
// reviewed: what it holds was looked at. A partition or child is reviewed with the table that it inherits from.
// before are the columns that were unreviewed once: another name does not make them others.
func (r *reader) review(reviewed map[guard.Name][]string, has map[columnKey][]string, before []columnKey) error {
	fine := map[columnKey]bool{}
	for table, columns := range reviewed {
		for _, name := range columns {
			k, err := r.labelled(table, name)
			if err != nil {
				return err
			}
			k = r.kept.looked(configuredColumn{table, name}, k)
			fine[k] = true
			for _, child := range r.inheritors(k) {
				fine[child] = true
			}
		}
	}
	for _, k := range before {
		delete(fine, k)
	}
	var work []columnKey
	mark := func(k columnKey) {
		if !fine[k] && len(has[k]) == 0 {
			has[k] = []string{unreviewed}
			work = append(work, k)
		}
	}
	for _, k := range before {
		mark(k)
	}
	for oid, rel := range r.catalog.ByOID {
		for i := range rel.Columns {
			if c := &rel.Columns[i]; stores(rel) && !c.Generated {
				mark(columnKey{oid, c.Number})
			}
		}
	}
	for len(work) > 0 {
		k := work[len(work)-1]
		work = work[:len(work)-1]
		for _, to := range r.edges[k] {
			mark(to)
		}
	}
	return nil
}

// inheritors are the columns of children and partitions that are a column of their parent.
func (r *reader) inheritors(k columnKey) (out []columnKey) {
	rel := r.catalog.ByOID[k.oid]
	if rel == nil {
		return nil
	}
	for _, c := range rel.Columns {
		for _, child := range rel.Children {
			if below := r.catalog.ByOID[child]; c.Number == k.number && below != nil && below.Column(c.Name) != nil {
				out = append(out, columnKey{child, below.Column(c.Name).Number})
			}
		}
	}
	return out
}

// stores says whether a relation holds rows that came from outside: what a view shows is reviewed where it is stored.
func stores(r *guard.Relation) bool {
	return slices.Contains([]guard.RelationKind{guard.Table, guard.PartitionedTable, guard.ForeignTable}, r.Kind)
}

// withoutReview takes the label of unreviewed columns off, and gives the columns that had it.
func withoutReview(has map[columnKey][]string) (had []columnKey) {
	for k, list := range has {
		if rest := slices.DeleteFunc(slices.Clone(list), func(l string) bool { return l == unreviewed }); len(rest) < len(list) {
			had = append(had, k)
			has[k] = rest
		}
	}
	return had
}

// unreviewedColumns is a finding about what a strict connection masks since nobody has looked at it; its remedy can
// be pasted.
func unreviewedColumns(c *guard.Catalog) []gate.Finding {
	var lines []string
	count := 0
	for _, r := range sortedByName(c) {
		var names []string
		for i := range r.Columns {
			if slices.Contains(r.Columns[i].Labels, unreviewed) && stores(r) && len(r.Parents) == 0 && !r.Columns[i].Generated {
				names = append(names, guard.Quote(r.Columns[i].Name))
			}
		}
		if count += len(names); names != nil {
			lines = append(lines, r.Name.String()+": ["+strings.Join(names, ", ")+"]")
		}
	}
	if count == 0 {
		return nil
	}
	return []gate.Finding{{
		Level:   gate.Warning,
		Problem: fmt.Sprintf("The connection is strict, and nobody has said what %d columns hold: they are masked.", count),
		Remedy:  "Label them, or list those with nothing to mask: reviewed: {" + strings.Join(lines, ", ") + "}",
	}}
}
