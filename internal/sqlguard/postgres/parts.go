package postgres

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// Field is one field of a composite type.
type Field struct {
	Name    string `json:"name"`
	TypeOID uint32 `json:"type_oid"`
}

// field finds a field by name; nil where there is none, also for a type that is not known.
func (t *Type) field(name string) *Field {
	if t == nil {
		return nil
	}
	for i := range t.Fields {
		if t.Fields[i].Name == name {
			return &t.Fields[i]
		}
	}
	return nil
}

// composite is the composite type of an OID; nil where it is none that is known.
func (c *Catalog) composite(oid uint32) *Type {
	if t := c.TypesByOID[oid]; t != nil && t.Kind == 'c' {
		return t
	}
	return nil
}

// valueType is the type of an expression that was understood, as far as parts of it can be taken: 0 where it
// is not known.
func (a *analysis) valueType(n *pg.Node, s *scope) uint32 {
	switch v := n.GetNode().(type) {
	case *pg.Node_ColumnRef:
		if c := s.known(stringsOf(v.ColumnRef.Fields)); c != nil {
			return c.typ
		}
	case *pg.Node_TypeCast:
		t := a.ownType(stringsOf(v.TypeCast.TypeName.GetNames()))
		switch {
		case t == nil:
		case len(v.TypeCast.TypeName.ArrayBounds) > 0:
			return t.Array
		default:
			return t.OID
		}
	case *pg.Node_AArrayExpr:
		if list := v.AArrayExpr.Elements; len(list) > 0 {
			if t := a.env.Catalog.TypesByOID[a.valueType(list[0], s)]; t != nil {
				return t.Array
			}
		}
	case *pg.Node_FuncCall:
		if names := stringsOf(v.FuncCall.Funcname); populating[names[len(names)-1]] {
			if t := a.populates(v.FuncCall); t != nil {
				return t.OID
			}
		}
		if f := a.extensionFunction(stringsOf(v.FuncCall.Funcname)); f != nil {
			return f.Result
		}
	case *pg.Node_AIndirection:
		oid := a.valueType(v.AIndirection.Arg, s)
		for i, n := range v.AIndirection.Indirection {
			if i == 0 && n.GetString_() != nil && a.isRow(v.AIndirection.Arg, s) {
				name, _ := bareIdent(v.AIndirection.Arg)
				if c := s.known([]string{name, n.GetString_().Sval}); c != nil {
					oid = c.typ
				}
				continue
			}
			oid = a.partType(oid, n)
		}
		return oid
	}
	return 0
}

// partType is the type of a field, or of an element, of a type; 0 where it is not known.
func (a *analysis) partType(oid uint32, n *pg.Node) uint32 {
	if i := n.GetAIndices(); i != nil {
		if i.IsSlice {
			return oid
		}
		for _, t := range a.env.Catalog.TypesByOID {
			if t.Array == oid && oid != 0 {
				return t.OID
			}
		}
		return 0
	}
	if f := a.env.Catalog.composite(oid).field(n.GetString_().GetSval()); f != nil {
		return f.TypeOID
	}
	return 0
}

// known is the column that a name means, where it is sure; it touches nothing.
func (s *scope) known(names []string) *column {
	switch len(names) {
	case 1:
		for ; s != nil; s = s.up {
			var found *column
			for _, it := range s.items {
				for i := range it.columns {
					if it.bare && it.columns[i].name == names[0] {
						if found != nil {
							return nil
						}
						found = &it.columns[i]
					}
				}
			}
			if found != nil {
				return found
			}
		}
	case 2:
		it := s.find(names[0])
		if it == nil {
			return nil
		}
		for i := range it.columns {
			if it.columns[i].name == names[1] {
				return &it.columns[i]
			}
		}
	}
	return nil
}

// rowStar understands (row).* as an output: the columns of the row.
func (a *analysis) rowStar(n *pg.Node, s *scope) (out []column, star bool, err error) {
	v := n.GetAIndirection()
	if v == nil || v.Indirection[len(v.Indirection)-1].GetAStar() == nil {
		return nil, false, nil
	}
	a.walk(n)
	last := len(v.Indirection) - 1
	a.walk(v.Indirection[last])
	whole := v.Arg
	if last > 0 {
		whole = &pg.Node{Node: &pg.Node_AIndirection{AIndirection: &pg.A_Indirection{Arg: v.Arg, Indirection: v.Indirection[:last]}}}
	}
	if err := a.exprs(s, whole); err != nil {
		return nil, true, err
	}
	if last == 0 && a.isRow(v.Arg, s) {
		name, _ := bareIdent(v.Arg)
		for _, c := range s.find(name).columns {
			out = append(out, column{name: c.name, extension: c.extension, typ: c.typ})
		}
		return out, true, nil
	}
	fields := a.fieldsOf(whole, s)
	if fields == nil {
		return nil, true, a.notBuilt(0, "Stars over values whose type is not known are")
	}
	for _, f := range fields {
		out = append(out, column{name: f.Name, typ: f.TypeOID, extension: a.env.Catalog.Foreign(f.TypeOID)})
	}
	return out, true, nil
}

// part understands the part of a column that is written: elements and fields. The rest of the value stays, so
// that an update reads it: whether a part can be set tells about the rest.
func (a *analysis) part(it *item, t *pg.ResTarget, s *scope, reads bool) error {
	if len(t.Indirection) == 0 {
		return nil
	}
	c := it.relation.Column(t.Name)
	if c.Domain {
		return a.notBuilt(t.Location, "Writes to a part of a domain's value are")
	}
	if reads {
		if _, err := a.itemColumn(it, t.Name, t.Location, false); err != nil {
			return err
		}
	}
	oid := c.TypeOID
	for _, n := range t.Indirection {
		if i := n.GetAIndices(); i != nil {
			if err := a.exprs(s, i.Lidx, i.Uidx); err != nil {
				return err
			}
		} else if n.GetString_() == nil || a.env.Catalog.composite(oid).field(n.GetString_().Sval) == nil {
			return a.unknownColumn(t.Name+"."+n.GetString_().GetSval(), t.Location)
		}
		oid = a.partType(oid, n)
	}
	return nil
}

// searchAndCycle understands SEARCH and CYCLE, and gives the columns that they add (PostgreSQL documentation,
// 7.8.2).
func (a *analysis) searchAndCycle(e *pg.CommonTableExpr) (added []column, err error) {
	if c := e.SearchClause; c != nil {
		a.walk(c)
		added = append(added, column{name: c.SearchSeqColumn})
	}
	if c := e.CycleClause; c != nil {
		a.walk(c)
		if err := a.exprs(&scope{}, c.CycleMarkValue, c.CycleMarkDefault); err != nil {
			return nil, err
		}
		added = append(added, column{name: c.CycleMarkColumn}, column{name: c.CyclePathColumn})
	}
	return added, nil
}

// populating are the functions that make a row of the type of their first argument.
var populating = listed(`json_populate_record jsonb_populate_record json_populate_recordset jsonb_populate_recordset`)

// populates is the type that such a call makes a row of; nil where it is not a composite type by name.
func (a *analysis) populates(f *pg.FuncCall) *Type {
	if len(f.GetArgs()) == 0 {
		return nil
	}
	cast := f.Args[0].GetTypeCast()
	if cast == nil || len(cast.TypeName.ArrayBounds) > 0 {
		return nil
	}
	if t := a.ownType(stringsOf(cast.TypeName.Names)); t != nil && t.Kind == 'c' {
		return t
	}
	return nil
}
