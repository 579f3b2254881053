package postgres

import (
	"cmp"
	"slices"

	guard "gatehouse/internal/sqlguard/postgres"
)

// spreadChildren follows inheritance: a write to a relation is one to its children too, with their triggers,
// checks and foreign keys.
func (r *reader) spreadChildren() {
	calls, cascades := map[uint32][]guard.Function{}, map[uint32][]guard.Cascade{}
	for oid, rel := range r.catalog.ByOID {
		calls[oid], cascades[oid] = slices.Clone(rel.Calls), r.cascades[oid]
	}
	for oid, rel := range r.catalog.ByOID {
		var visit func(uint32)
		visit = func(o uint32) {
			for _, child := range r.children[o] {
				if slices.Contains(rel.Children, child) {
					continue
				}
				rel.Children = append(rel.Children, child)
				below := r.catalog.ByOID[child]
				below.Parents = append(below.Parents, oid)
				for _, f := range calls[child] {
					r.call(oid, f.OID)
				}
				r.cascades[oid] = append(slices.Clone(r.cascades[oid]), cascades[child]...)
				visit(child)
			}
		}
		visit(oid)
	}
}

// spreadReach follows views over views. A view that reads a relation outside the catalog is unknown.
func (r *reader) spreadReach() {
	for oid, rel := range r.catalog.ByOID {
		if r.reads[oid] == nil {
			continue
		}
		seen := map[uint32]bool{}
		var visit func(uint32)
		visit = func(o uint32) {
			for _, below := range r.reads[o] {
				if seen[below] {
					continue
				}
				seen[below] = true
				b := r.catalog.ByOID[below]
				if b == nil {
					rel.Unknown = true
					continue
				}
				if b.Kind != guard.Sequence {
					rel.Reaches = append(rel.Reaches, below)
				}
				for _, f := range b.Calls {
					if b.Kind == guard.View {
						r.call(oid, f.OID)
					}
				}
				visit(below)
			}
		}
		visit(oid)
	}
}

// spreadCascades follows foreign keys' actions transitively.
func (r *reader) spreadCascades() {
	for oid, rel := range r.catalog.ByOID {
		found := map[uint32]*guard.Cascade{}
		var visit func(at uint32, deleted, updated bool)
		visit = func(at uint32, deleted, updated bool) {
			for _, c := range r.cascades[at] {
				does := guard.Cascade{OID: c.OID}
				if deleted {
					does.OnDelete = c.OnDelete
				}
				if updated {
					does.OnUpdate = c.OnUpdate
				}
				have := found[c.OID]
				if have == nil {
					have = &guard.Cascade{OID: c.OID}
					found[c.OID] = have
				}
				before := *have
				if does.OnDelete == "delete" || have.OnDelete == "" {
					have.OnDelete = cmp.Or(does.OnDelete, have.OnDelete)
				}
				have.OnUpdate = cmp.Or(have.OnUpdate, does.OnUpdate)
				if *have != before {
					visit(c.OID, have.OnDelete == "delete", have.OnUpdate != "" || have.OnDelete == "update")
				}
			}
		}
		visit(oid, true, true)
		for _, c := range found {
			if c.OID != oid && (c.OnDelete != "" || c.OnUpdate != "") {
				rel.Cascades = append(rel.Cascades, *c)
			}
		}
	}
}

// applyLabels puts the configured labels on their columns and lets them flow to every column that can carry
// the same values: over foreign keys, inheritance, generated columns and views.
func (r *reader) applyLabels(labels map[guard.Name]map[string][]string) error {
	has := map[columnKey][]string{}
	for name, columns := range labels {
		for c, list := range columns {
			k, err := r.labelled(name, c)
			if err != nil {
				return err
			}
			if k.oid != 0 {
				has[k] = append(has[k], list...)
			}
		}
	}
	r.kept.restore(r.catalog, has)
	before := withoutReview(has)
	var work []columnKey
	for k := range has {
		work = append(work, k)
	}
	for len(work) > 0 {
		k := work[len(work)-1]
		work = work[:len(work)-1]
		for _, to := range r.edges[k] {
			grew := false
			for _, l := range has[k] {
				if !slices.Contains(has[to], l) {
					has[to] = append(has[to], l)
					grew = true
				}
			}
			if grew {
				work = append(work, to)
			}
		}
	}
	if r.reviewed != nil {
		if err := r.review(r.reviewed, has, before); err != nil {
			return err
		}
	}
	for k, list := range has {
		rel := r.catalog.ByOID[k.oid]
		if rel == nil {
			continue
		}
		for i := range rel.Columns {
			if rel.Columns[i].Number == k.number {
				slices.Sort(list)
				rel.Columns[i].Labels = slices.Compact(list)
				r.kept.keep(rel, &rel.Columns[i])
			}
		}
	}
	return nil
}

// sort gives every list an order, so that equal catalogs are equal.
func (r *reader) sort() {
	byOID := func(a, b guard.Function) int { return cmp.Compare(a.OID, b.OID) }
	for _, rel := range r.catalog.ByOID {
		slices.Sort(rel.Reaches)
		slices.Sort(rel.Children)
		slices.Sort(rel.Parents)
		slices.SortFunc(rel.Uses, func(a, b guard.Use) int { return cmp.Or(cmp.Compare(a.OID, b.OID), cmp.Compare(a.Column, b.Column)) })
		slices.SortFunc(rel.Calls, byOID)
		slices.SortFunc(rel.Cascades, func(a, b guard.Cascade) int { return cmp.Compare(a.OID, b.OID) })
	}
	for _, t := range r.catalog.Types {
		slices.SortFunc(t.Calls, byOID)
	}
}

func sortedRelations(c *guard.Catalog) []*guard.Relation {
	list := make([]*guard.Relation, 0, len(c.ByOID))
	for _, r := range c.ByOID {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *guard.Relation) int { return cmp.Compare(a.OID, b.OID) })
	return list
}

func sortedTypes(c *guard.Catalog) []*guard.Type {
	list := make([]*guard.Type, 0, len(c.Types))
	for _, t := range c.Types {
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b *guard.Type) int { return cmp.Compare(a.OID, b.OID) })
	return list
}

// sortedFunctions are the overloads by name: a map with struct keys has no JSON.
func sortedFunctions(c *guard.Catalog) map[string]*guard.Overloads {
	out := make(map[string]*guard.Overloads, len(c.Functions))
	for n, o := range c.Functions {
		out[n.String()] = o
	}
	return out
}
