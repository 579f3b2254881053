package postgres

import "gatehouse/internal/policy"

// Exposure says how a column is shown: as the policies say of it, and no better than they show it in any table
// that it is inherited from. A child or a partition that is named directly is no way around its parent's policy.
func (c *Catalog) Exposure(s Sight, r *Relation, col *Column) policy.Exposure {
	e := s.Read(c.ColumnResource(r, col))
	for _, oid := range r.Parents {
		p := c.ByOID[oid]
		if p == nil {
			return policy.Exposure{}
		}
		if own := p.Column(col.Name); own != nil {
			e = e.And(s.Read(c.ColumnResource(p, own)))
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
