package postgres

import (
	"fmt"
	"strings"

	"gatehouse/internal/policy"
)

// session is the shop for a session with temporary tables: mine holds nothing of others, mails what was shown as it
// is shown now, raw what was shown without a mask, gone what a table had that is not there any more; customers hides
// the real one, and planted was made by a function.
func session() Environment {
	env := shop()
	col := func(n int16, name string) Column {
		return Column{Name: name, Number: n, Type: Name{"pg_catalog", "text"}, TypeOID: 25, TypeMod: -1, Spelled: "text"}
	}
	customers := env.Catalog.Relations[Name{"public", "customers"}]
	source := func(column string, shown policy.Exposure) []Source {
		c := customers.Column(column)
		return []Source{
			{customers.OID, 0, env.Catalog.TableResource(customers.Name), whole(nil)},
			{customers.OID, c.Number, env.Catalog.ColumnResource(customers, c), shown},
		}
	}
	gone := policy.Resource{Entity: policy.Entity{Type: "Column", ID: "orders/public.vault.id"}}
	own := &Temporary{Schema: 9000, Name: "pg_temp_3", Version: 1, Relations: map[string]*Relation{}}
	for i, r := range []*Relation{
		{Name: Name{TempSchema, "mine"}, Columns: []Column{col(1, "id"), col(2, "body")}, Holding: &Holding{Made: true}, PrimaryKey: []int16{1}},
		{Name: Name{TempSchema, "mails"}, Columns: []Column{col(1, "email")}, Holding: &Holding{Made: true, Sources: source("email", policy.Exposure{Visible: true, Mask: policy.MaskEmail})}},
		{Name: Name{TempSchema, "raw"}, Columns: []Column{col(1, "email")}, Holding: &Holding{Made: true, Sources: source("email", policy.Exposure{Visible: true, Mask: policy.MaskNone})}},
		{Name: Name{TempSchema, "hidden"}, Columns: []Column{col(1, "v")}, Holding: &Holding{Made: true, Sources: source("secret", policy.Exposure{Visible: true, Mask: policy.MaskNull})}},
		{Name: Name{TempSchema, "gone"}, Columns: []Column{col(1, "id")}, Holding: &Holding{Made: true, Sources: []Source{{999, 1, gone, policy.Exposure{Visible: true, Mask: policy.MaskNone}}}}},
		{Name: Name{TempSchema, "customers"}, Columns: []Column{col(1, "id"), col(2, "email")}, Holding: &Holding{Made: true}},
		{Name: Name{TempSchema, "planted"}, Columns: []Column{col(1, "email")}, Holding: &Holding{}},
	} {
		r.OID, r.Kind = uint32(500+i), Table
		own.Relations[r.Name.Name] = r
	}
	env.Catalog = env.Catalog.With(own)
	return env
}

// revealing is what a session sees where e-mail addresses are shown as they are.
func revealing() Environment {
	env := shop()
	seen := eyes{}
	for id, x := range env.Sight.(eyes) {
		seen[id] = x
	}
	seen["orders/public.customers.email"] = policy.Exposure{Visible: true, Mask: policy.MaskNone}
	env.Sight = seen
	return env
}

// temporaryReport is what a statement does to temporary tables.
func temporaryReport(p *Plan) string {
	var b strings.Builder
	for _, st := range p.Statements {
		if st.Temporary != nil || st.Fills != nil {
			fmt.Fprintf(&b, "temporary %q makes %q fills %v\n", st.Temporary, st.Makes, st.Fills)
		}
		for _, s := range st.Sources {
			fmt.Fprintf(&b, "  from %s as %s\n", s.Resource.ID, policy.MaskText(s.Shown))
		}
	}
	return b.String()
}
