package postgres

import "gatehouse/internal/policy"

// Shown says how a principal is shown a column: the exposure that a statement would use, and the mask that is left
// of it for the column's type.
func (e Environment) Shown(r *Relation, c *Column) (policy.Exposure, policy.Mask) {
	x := (&analysis{env: e}).read(r, c)
	if !x.Visible || x.Mask == policy.MaskNone {
		return x, x.Mask
	}
	if c.Domain {
		return x, policy.MaskNull
	}
	return x, fitting(c, x)
}

// Everything is a sight that sees and may do everything: what a text would touch is found out with it.
type Everything struct{}

// Read shows it as it is.
func (Everything) Read(policy.Resource) policy.Exposure {
	return policy.Exposure{Visible: true, Mask: policy.MaskNone}
}

// Permits permits it.
func (Everything) Permits(policy.Touch) bool { return true }

// May lets it be touched as it is.
func (e Everything) May(_ string, r policy.Resource) policy.Exposure { return e.Read(r) }
