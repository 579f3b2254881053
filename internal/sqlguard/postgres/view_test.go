package postgres

import "gatehouse/internal/policy"

// labelled sees columns with labels redacted, no hidden column of the shop, and writes any table or none.
type labelled struct{ writes bool }

func (l labelled) May(action string, r policy.Resource) policy.Exposure {
	switch {
	case r.ID == "orders/public.customers.secret":
		return policy.Exposure{}
	case action == "read" && len(r.Labels) > 0:
		return policy.Exposure{Visible: true, Mask: policy.MaskRedact}
	case action == "read":
		return policy.Exposure{Visible: true, Mask: policy.MaskNone}
	}
	if l.writes {
		return policy.Exposure{Visible: true, Mask: policy.MaskNone}
	}
	return policy.Exposure{}
}

func (l labelled) Read(r policy.Resource) policy.Exposure { return l.May("read", r) }

func (l labelled) Permits(t policy.Touch) bool { return l.May(t.Action, t.Resource).Visible }

// watched is the shop with views over customers: plain shows columns without labels and mentions none, chosen compares
// e-mail addresses with names, above reads chosen, secretive mentions a hidden column, and unsaid is one of which
// nobody knows what it mentions.
func watched(writes bool) Environment {
	env := shop()
	env.Sight = labelled{writes}
	col := func(n int16, name string, labels ...string) Column {
		return Column{Name: name, Number: n, Type: Name{"pg_catalog", "text"}, TypeOID: 25, TypeMod: -1, Spelled: "text", Labels: labels}
	}
	customers := env.Catalog.Relations[Name{"public", "customers"}]
	use := func(names ...string) (out []Use) {
		for _, n := range names {
			out = append(out, Use{OID: customers.OID, Column: customers.Column(n).Number})
		}
		return out
	}
	asks := []Ask{{Labelled: use("email"), Beside: use("name")}}
	for _, r := range []*Relation{
		{OID: 150, Name: Name{"public", "plain"}, Reaches: []uint32{customers.OID}, Uses: use("id", "name"), Columns: []Column{col(1, "id"), col(2, "name")}},
		{OID: 151, Name: Name{"public", "chosen"}, Reaches: []uint32{customers.OID}, Uses: use("id", "name", "email"), Asks: asks, Columns: []Column{col(1, "id"), col(2, "name"), col(3, "mail", "pii.email")}},
		{OID: 152, Name: Name{"public", "above"}, Reaches: []uint32{customers.OID, 151}, Uses: []Use{{OID: 151, Column: 1}}, Asks: asks, Columns: []Column{col(1, "id")}},
		{OID: 153, Name: Name{"public", "secretive"}, Reaches: []uint32{customers.OID}, Uses: use("id", "secret"), Columns: []Column{col(1, "id")}},
		{OID: 154, Name: Name{"public", "unsaid"}, Reaches: []uint32{customers.OID}, Columns: []Column{col(1, "id")}},
	} {
		r.Kind = View
		env.Catalog.Relations[r.Name], env.Catalog.ByOID[r.OID] = r, r
	}
	return env
}
