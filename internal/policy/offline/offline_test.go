package offline

import (
	"slices"
	"testing"

	"gatehouse/internal/policy"
	guard "gatehouse/internal/sqlguard/postgres"
)

var connection = policy.Resource{Entity: policy.Entity{Type: "Connection", ID: "orders"}, Parents: []policy.Entity{{Type: "Tag", ID: "env:prod"}}}

// TestTouch: what a touch is written as is read as the same touch, whatever its things are called.
func TestTouch(t *testing.T) {
	c := &guard.Catalog{Connection: connection}
	rel := &guard.Relation{Name: guard.Name{Schema: "Odd.One", Name: `with "quotes" (and) more`}}
	col := &guard.Column{Name: "a.b c", Labels: []string{"pii"}}
	const field = `orders/customers/{id}#$.accounts[*]["e-mail"]`
	for _, want := range []policy.Touch{
		{Action: "connect", Resource: connection},
		{Action: "review", Resource: policy.Resource{Entity: policy.Entity{Type: "Gateway", ID: "gatehouse"}}},
		{Action: "ddl", Resource: c.SchemaResource("public")},
		{Action: "read", Resource: c.TableResource(guard.Name{Schema: "public", Name: "customers"})},
		{Action: "read", Resource: c.TableResource(rel.Name)},
		{Action: "read", Resource: c.ColumnResource(rel, col)},
		{Action: "call", Resource: c.FunctionResource(guard.Function{Name: guard.Name{Schema: "public", Name: "f"}, Arguments: `integer, other."t.u"`})},
		{Action: "call", Resource: c.FunctionResource(guard.Function{Name: guard.Name{Schema: "public", Name: "f"}})},
		{Action: "GET", Resource: policy.Resource{Entity: policy.Entity{Type: "Endpoint", ID: "orders/customers/{id}"}, Parents: []policy.Entity{connection.Entity, {Type: "Tag", ID: "env:prod"}}}},
		{Action: "read", Resource: policy.Resource{Entity: policy.Entity{Type: "Field", ID: field}, Labels: []string{"pii"}, Parents: []policy.Entity{{Type: "Endpoint", ID: "orders/customers/{id}"}, connection.Entity, {Type: "Tag", ID: "env:prod"}}}},
		{Action: "call", Resource: policy.Resource{Entity: policy.Entity{Type: "Service", ID: "orders/shop.v1.Customers"}, Parents: []policy.Entity{connection.Entity, {Type: "Tag", ID: "env:prod"}}}},
		{Action: "call", Resource: policy.Resource{Entity: policy.Entity{Type: "Method", ID: "orders/shop.v1.Customers/Get"}, Parents: []policy.Entity{{Type: "Service", ID: "orders/shop.v1.Customers"}, connection.Entity, {Type: "Tag", ID: "env:prod"}}}},
		{Action: "update", Resource: policy.Resource{Entity: policy.Entity{Type: "Field", ID: "orders/shop.v1.Customers/Get#shop.v1.Customer.email"}, Parents: []policy.Entity{{Type: "Method", ID: "orders/shop.v1.Customers/Get"}, {Type: "Service", ID: "orders/shop.v1.Customers"}, {Type: "Message", ID: "orders/shop.v1.Customer"}, connection.Entity, {Type: "Tag", ID: "env:prod"}}}},
		{Action: "listen", Resource: c.ChannelResource("My channel")},
	} {
		got, err := Touch(want.String(), connection, func(id string) []string {
			if id == c.ColumnResource(rel, col).ID || id == field {
				return col.Labels
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", want, err)
			continue
		}
		if got.Action != want.Action || got.Resource.Entity != want.Resource.Entity || !slices.Equal(got.Resource.Parents, want.Resource.Parents) || !slices.Equal(got.Resource.Labels, want.Resource.Labels) {
			t.Errorf("%s: got %+v, want %+v", want, got, want)
		}
	}
}

func TestTouchRefuses(t *testing.T) {
	for _, line := range []string{
		"", "read", "read column", "read thing orders/a.b.c", "read column other/a.b.c", "read column ordersa.b.c", "read column orders/a.b", "read column orders/a.b.c.d",
		"read column orders/a..c", `read column orders/a."b.c`, "read table orders/", "connect connection other", " column orders/a.b.c", "call function orders/f(x.y)",
		"read field orders/customers", "read field orders/customers#email", "GET endpoint orders/customers#$.email", "GET endpoint other/customers",
		"call method orders/shop.v1.Customers", "call method orders/shop.v1.Customers/Get/x", "call method orders/shop..v1/Get", "call method orders//Get", "call service orders/a/b", "read message orders/a#b",
		"read field orders/shop.v1.Customers/Get#email", "read field orders/shop.v1.Customers#shop.v1.Customer.email", "read field orders/shop.v1.Customers/Get#", "read field other/shop.v1.Customers/Get#a.b",
	} {
		if got, err := Touch(line, connection, nil); err == nil {
			t.Errorf("%q is read as %+v", line, got)
		}
	}
	if _, err := Resource(policy.Resource{}, "Table", "/a.b"); err == nil {
		t.Error("the zero connection has tables")
	}
}

func FuzzTouch(f *testing.F) {
	f.Add("read column orders/public.customers.email")
	f.Add(`call function orders/public."f""("(int, "a.b")`)
	f.Fuzz(func(t *testing.T, line string) {
		got, err := Touch(line, connection, nil)
		if err == nil && got.String() != line {
			t.Fatalf("%q is read as %q", line, got)
		}
	})
}
