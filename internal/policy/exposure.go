package policy

// And is what two exposures both show: of a thing that is also part of another, such as a partition.
func (e Exposure) And(x Exposure) Exposure {
	if !e.Visible || !x.Visible {
		return Exposure{}
	}
	s := shown{e.Mask, e.All, e.Width}.and(shown{x.Mask, x.All, x.Width})
	return Exposure{Visible: true, Mask: s.mask, All: s.all, Width: s.width, Rows: e.Rows.And(x.Rows), Own: e.Own && x.Own}
}

// Has says whether a mask is among those of an exposure.
func (e Exposure) Has(m Mask) bool { return e.Mask == m || e.All&m.set() != 0 }

// Instead is the exposure with another mask in the place of one.
func (e Exposure) Instead(m, by Mask) Exposure {
	if !e.Has(m) {
		return e
	}
	e.All = (e.All|e.Mask.set())&^m.set() | by.set()
	e.Mask = e.All.List()[0]
	return e
}
