package policy

// And is what two exposures both show: of a thing that is also part of another, such as a partition.
func (e Exposure) And(x Exposure) Exposure {
	if !e.Visible || !x.Visible {
		return Exposure{}
	}
	s := shown{e.Mask, e.All, e.Width}.and(shown{x.Mask, x.All, x.Width})
	return Exposure{Visible: true, Mask: s.mask, All: s.all, Width: s.width, Rows: e.Rows.And(x.Rows), Own: e.Own && x.Own}
}
