package postgres

import (
	"gatehouse/internal/policy"
)

// unasked refuses a view by whose rows the principal could ask for values that it does not see: which rows there are
// depends on a column under a mask, and on another that it may write or a setting that it may choose. That a view's
// condition is over labelled columns alone is its owner's to say.
func (a *analysis) unasked(view *Relation, location int32) error {
	for _, ask := range view.Asks {
		var masked *policy.Resource
		for _, u := range ask.Labelled {
			below, c := a.mentioned(u)
			if c == nil || a.read(below, c).Mask != policy.MaskNone {
				masked = &policy.Resource{}
				if c != nil {
					*masked = a.env.Catalog.ColumnResource(below, c)
				}
				break
			}
		}
		if masked == nil {
			continue
		}
		by := ""
		if ask.Settings && a.env.Sight.May("set", a.env.Catalog.Connection).Visible {
			by = "a setting"
		}
		for _, u := range ask.Beside {
			if below, c := a.mentioned(u); c == nil || a.influences(below, c) {
				by = "a column that may be written"
			}
		}
		if by != "" {
			return a.denied(location, "Which rows the view "+view.Name.String()+" has depends on masked values and on "+by+", and would tell about them.", policy.Touch{Action: "reveal", Resource: *masked})
		}
	}
	return nil
}

// outrunnable says whether a view that the principal reads by a policy of its own leaves out what the principal may
// not read: a condition of the client's that the database evaluates before those of the view would tell about it.
func (a *analysis) outrunnable(r *Relation) bool {
	if r.Kind != View || !a.env.Sight.Read(a.env.Catalog.TableResource(r.Name)).Own {
		return false
	}
	for _, oid := range r.Reaches {
		if a.reached(r, oid, 0) != nil {
			return true
		}
	}
	return a.unasked(r, 0) != nil
}

func (a *analysis) mentioned(u Use) (*Relation, *Column) {
	if r := a.env.Catalog.ByOID[u.OID]; r != nil {
		for i := range r.Columns {
			if r.Columns[i].Number == u.Column {
				return r, &r.Columns[i]
			}
		}
	}
	return nil, nil
}

// influences says whether the principal may put values into a column, or into anything that a view's column can come from.
func (a *analysis) influences(r *Relation, c *Column) bool {
	if r.Kind == View || r.Kind == MaterializedView {
		return !a.env.Catalog.readOnlyView(a.env.Sight, r)
	}
	return a.mayWrite(r, c)
}

// readOnlyView says whether nothing that a view reads may be written.
func (c *Catalog) readOnlyView(s Sight, r *Relation) bool {
	for _, oid := range r.Reaches {
		below := c.ByOID[oid]
		if below == nil {
			return false
		}
		for _, action := range []string{"insert", "update", "delete"} {
			if s.May(action, c.TableResource(below.Name)).Visible {
				return false
			}
		}
	}
	return !r.Unknown
}

// mentions says whether a view, or one that it reads, mentions a column of a relation that it reads.
func (c *Catalog) mentions(view *Relation, oid uint32, number int16) bool {
	for _, v := range append([]uint32{view.OID}, view.Reaches...) {
		through := c.ByOID[v]
		if v == view.OID {
			through = view
		}
		if through == nil || len(through.Reaches) > 0 && len(through.Uses) == 0 {
			return true
		}
		for _, u := range through.Uses {
			if u.OID == oid && (u.All || u.Column == number) {
				return true
			}
		}
	}
	return false
}
