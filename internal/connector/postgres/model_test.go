package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	guard "gatehouse/internal/sqlguard/postgres"
)

// TestSnapshotOfDatabase: of a real catalog with everything in it the snapshot is the same catalog.
func TestSnapshotOfDatabase(t *testing.T) {
	database(t, "snapshotted", strings.ReplaceAll(catalogSetup, "catalog_reader", "snapshot_reader")+"INSERT INTO customers (id, email) VALUES (1, 'a-value-of-a-row@shop.example');")
	t.Setenv("READER", "reader")
	o := options(t, "url: "+testServer.URL("snapshot_reader", "", "snapshotted")+"\npassword: {env: READER}\nlabels: {public.customers: {email: pii.email}}")
	c := gate.Connection{Name: "orders", Kind: kind, Tags: []string{"env:test"}, Options: o}
	reading, err := newCatalogs(o, c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer reading.close()
	want, err := reading.Reload(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	text, err := want.Snapshot(fmt.Sprintf("PostgreSQL %d.1", want.Server), true)
	if err != nil {
		t.Fatal(err)
	}
	got, err := guard.ReadSnapshot(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range want.ByOID { // what a snapshot leaves out
		r.Version, r.Definition = "", ""
	}
	want.Harmless = nil // for temporary tables, which only a session has
	for _, f := range reflect.VisibleFields(reflect.TypeOf(*want)) {
		a, b := reflect.ValueOf(*got).FieldByIndex(f.Index).Interface(), reflect.ValueOf(*want).FieldByIndex(f.Index).Interface()
		if !reflect.DeepEqual(a, b) && f.Name != "Epoch" && !(empty(a) && empty(b)) {
			t.Errorf("%s: got %#v\nwant %#v", f.Name, a, b)
		}
	}
	i, err := newInspector(c)
	if err != nil {
		t.Fatal(err)
	}
	text, err = i.Snapshot(context.Background(), false)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "pii.email") || !strings.Contains(string(text), `"PostgreSQL `) {
		t.Error("the inspector's snapshot has no label or no server")
	}
	for _, never := range []string{"a-value-of-a-row", "RETURN NEW", "split_part"} {
		if strings.Contains(string(text), never) {
			t.Errorf("%q is in the snapshot", never)
		}
	}
}

func empty(v any) bool {
	r := reflect.ValueOf(v)
	return (r.Kind() == reflect.Map || r.Kind() == reflect.Slice) && r.Len() == 0
}

// TestModel: what a text does is said without a server, also where it is refused.
func TestModel(t *testing.T) {
	database(t, "modelled", strings.ReplaceAll(catalogSetup, "catalog_reader", "model_reader"))
	t.Setenv("READER", "reader")
	o := options(t, "url: "+testServer.URL("model_reader", "", "modelled")+"\npassword: {env: READER}\nlabels: {public.customers: {email: pii.email}}")
	i, err := newInspector(gate.Connection{Name: "orders", Kind: kind, Options: o})
	if err != nil {
		t.Fatal(err)
	}
	text, err := i.Snapshot(context.Background(), false)
	if err != nil {
		t.Fatal(err)
	}
	m, err := connector{}.Model(text)
	if err != nil {
		t.Fatal(err)
	}
	set, err := policy.Compile(policy.Input{Schemas: []policy.Source{{Name: "postgres", Text: schema}}, Policies: []policy.Source{{Name: "p", Text: []byte(`
		@id("read") permit (principal, action == Action::"read", resource) unless { resource == Column::"orders/public.customers.ssn" };
		@id("connect") permit (principal, action == Action::"connect", resource);`)}}})
	if err != nil {
		t.Fatal(err)
	}
	slice := set.For(policy.Principal{Kind: policy.Agent, ID: "bot"})
	u := m.Understand(slice, "SELECT c.id, c.email FROM customers c")
	want := map[string]string{"orders/public.customers.id": "none", "orders/public.customers.email": "email"}
	if u.Refusal != nil || !maps.Equal(u.Shown, want) || len(u.Touches) != 3 {
		t.Errorf("got %+v", u)
	}
	u = m.Understand(slice, "SELECT ssn FROM customers")
	if u.Refusal == nil || u.Refusal.Code != gate.PolicyDenied || !slices.ContainsFunc(u.Touches, func(t policy.Touch) bool { return t.String() == "read column orders/public.customers.ssn" }) {
		t.Errorf("got %+v", u)
	}
	if u = m.Understand(slice, "SELECT FROM FROM"); u.Refusal == nil || u.Refusal.SQLState != "42601" || u.Touches != nil {
		t.Errorf("got %+v", u)
	}
	for name, id := range map[string]string{"customers.email": "orders/public.customers.email", "public.customers.email": "orders/public.customers.email", "orders/public.contacts.contact": "orders/public.contacts.contact"} {
		if r, err := m.Find("Column", name); err != nil || r.ID != id || len(r.Labels) != 1 || len(r.Parents) != 3 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	if _, err := m.Find("Column", "customers.emial"); err == nil || !strings.Contains(err.Error(), "is public.customers.email meant?") {
		t.Error(err)
	}
}
