package postgres

import (
	"slices"

	"gatehouse/internal/policy"
)

// Exposure says how a column is shown: as the policies say of it, and no better than they show it in any table
// that it is inherited from. A child or a partition that is named directly is no way around its parent's policy.
func (c *Catalog) Exposure(s Sight, r *Relation, col *Column) policy.Exposure {
	e := c.made(s, r, col)
	for _, oid := range r.Parents {
		p := c.ByOID[oid]
		if p == nil {
			return policy.Exposure{}
		}
		if own := p.Column(col.Name); own != nil {
			e = e.And(c.made(s, p, own))
		}
	}
	return e
}

// made is the exposure of a column by itself. A generated column that no policy names shows no more than what it is made
// of: labels have come to it from there; that a column is hidden, or masked without a label, has not.
func (c *Catalog) made(s Sight, r *Relation, col *Column) policy.Exposure {
	e := s.Read(c.ColumnResource(r, col))
	if e.Own {
		return e
	}
	for _, n := range col.Made {
		i := slices.IndexFunc(r.Columns, func(o Column) bool { return o.Number == n })
		if i < 0 {
			return policy.Exposure{}
		}
		base := s.Read(c.ColumnResource(r, &r.Columns[i]))
		if !base.Visible || len(r.Columns[i].Labels) == 0 {
			e = e.And(base)
		}
	}
	return e
}

// barred is the first of a relation and of those it inherits from that the principal may not read at all; nil
// where all may be read.
func (a *analysis) barred(r *Relation) *policy.Resource {
	for _, oid := range append([]uint32{r.OID}, r.Parents...) {
		named := r
		if oid != r.OID {
			named = a.env.Catalog.ByOID[oid]
		}
		if named == nil {
			t := a.env.Catalog.TableResource(r.Name)
			return &t
		}
		if t := a.env.Catalog.TableResource(named.Name); !a.env.Sight.Read(t).Visible {
			return &t
		}
	}
	return nil
}
