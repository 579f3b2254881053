package postgres

// Reached are the relations and the functions outside of pg_catalog that a plan can reach, with their names: those that
// it names, what views among them read, what writing to them runs, and what the statements call.
func (c *Catalog) Reached(p *Plan) (relations, functions map[uint32]string) {
	relations, functions = map[uint32]string{}, map[uint32]string{}
	var reach func(r *Relation)
	reach = func(r *Relation) {
		if r == nil || relations[r.OID] != "" {
			return
		}
		relations[r.OID] = r.Name.String()
		for _, f := range r.Calls {
			functions[f.OID] = f.Name.String() + "(" + f.Arguments + ")"
		}
		for _, oid := range r.Reaches {
			reach(c.ByOID[oid])
		}
		for _, oid := range r.Children {
			reach(c.ByOID[oid])
		}
		for _, one := range r.Cascades {
			reach(c.ByOID[one.OID])
		}
	}
	for _, r := range p.Relations {
		reach(r)
	}
	called := map[string]bool{}
	for _, t := range p.Touches {
		if t.Action == "call" {
			called[t.Resource.ID] = true
		}
	}
	if len(called) > 0 {
		for _, f := range c.Routines {
			if called[c.FunctionResource(f).ID] {
				functions[f.OID] = f.Name.String() + "(" + f.Arguments + ")"
			}
		}
	}
	return relations, functions
}
