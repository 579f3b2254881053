package postgres

import (
	"slices"
	"strings"
	"testing"
)

// TestCallsByPermit: a function of a user's is a touch for each function that the name can mean; what it gives as rows of a
// table that is not wholly seen is refused.
func TestCallsByPermit(t *testing.T) {
	g, err := New()
	if err != nil {
		t.Fatal(err)
	}
	env := extended()
	c := env.Catalog
	c.Relations[Name{"public", "customers"}].RowTypes = []uint32{30001, 30003}
	c.Relations[Name{"public", "orders"}].RowTypes = []uint32{30002, 30004}
	c.Functions[Name{"public", "array"}] = &Overloads{Called: true, Result: 30003}
	c.Functions[Name{"open", "ask"}] = &Overloads{Called: true, Result: 25}
	for i, f := range []Function{
		{Name: Name{"public", "ask"}, Arguments: "integer"}, {Name: Name{"public", "ask"}, Arguments: "text"}, {Name: Name{"open", "ask"}}, {Name: Name{"public", "change"}},
		{Name: Name{"public", "people"}}, {Name: Name{"public", "goods"}}, {Name: Name{"public", "array"}},
	} {
		f.OID = uint32(40000 + i)
		c.Routines = append(c.Routines, f)
	}
	for _, one := range []struct {
		in, text string // text is "" where it is refused
		calls    string
		writes   bool
		why      string
	}{
		{in: "SELECT ask(1)", text: "SELECT public.ask(1)", calls: "orders/public.ask(integer) orders/public.ask(text)"},
		{in: "SELECT public.ask(email) FROM customers", calls: "orders/public.ask(integer) orders/public.ask(text)",
			text: `SELECT public.ask(customers.email) FROM (SELECT CASE WHEN pg_catalog.strpos(t.c3 COLLATE "C", '@') < 4 THEN '***' ELSE pg_catalog."left"(t.c3, 1) || '***@***.invalid' END AS email FROM public.customers t(c1, c2, c3, c4, c5, c6)) customers`},
		{in: "SELECT open.ask()", text: "SELECT open.ask()", calls: "orders/open.ask()"},
		{in: "SELECT change()", text: "SELECT public.change()", calls: "orders/public.change()", writes: true},
		{in: "SELECT id FROM goods()", text: "SELECT goods.id FROM public.goods()", calls: "orders/public.goods()"},
		{in: "SELECT id FROM people()", why: "gives rows of the table public.customers"},
		{in: "SELECT people()", why: "gives rows of the table public.customers"},
		{in: `SELECT "array"()`, why: "gives rows of the table public.customers"},
		{in: "SELECT public.nothing()", why: "does not exist"},
		{in: "SELECT own('x')", why: "a procedure or a trigger's function"},
		{in: "SELECT other.public.ask(1)", why: "not built"},
		{in: "SELECT (orders.*).ask FROM orders", why: "Fields of values"},
		{in: "SELECT o.ask FROM orders o", why: "ask"},
	} {
		plan, err := g.Analyze(env, one.in)
		if one.text == "" {
			if err == nil || !strings.Contains(err.Error(), one.why) {
				t.Errorf("%s: %v", one.in, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", one.in, err)
			continue
		}
		var calls []string
		for _, touch := range plan.Touches {
			if touch.Action == "call" {
				calls = append(calls, touch.Resource.ID)
			}
		}
		if plan.Text != one.text || !slices.Equal(calls, strings.Fields(one.calls)) || plan.Writes != one.writes {
			t.Errorf("%s\n%s\n%q writes=%v", one.in, plan.Text, calls, plan.Writes)
		}
	}
	// A function can tell of rows before a filter hides them: the filter is under a fence.
	env = filtered()
	env.Catalog.Functions = map[Name]*Overloads{{"public", "ask"}: {Called: true, Result: 16}}
	env.Catalog.Routines = []Function{{OID: 40000, Name: Name{"public", "ask"}, Arguments: "text"}}
	plan, err := g.Analyze(env, "SELECT id FROM customers WHERE public.ask(name)")
	if err != nil || !strings.Contains(plan.Text, "OFFSET 0") {
		t.Errorf("%+v %v", plan, err)
	}
}
