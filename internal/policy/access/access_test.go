package access

import (
	"os"
	"testing"

	"gatehouse/internal/policy"
	"gatehouse/internal/policy/offline"
)

var connection = policy.Resource{Entity: policy.Entity{Type: "Connection", ID: "orders"}}

func compile(t *testing.T, text string) *policy.Set {
	t.Helper()
	schema, err := os.ReadFile("../../connector/postgres/schema.cedarschema")
	if err != nil {
		t.Fatal(err)
	}
	set, err := policy.Compile(policy.Input{Schemas: []policy.Source{{Name: "postgres", Text: schema}}, Policies: []policy.Source{{Name: "p.cedar", Text: []byte(text)}},
		Access: []policy.Access{{Connection: "orders", Groups: []string{"ai"}}}, Rows: func(string) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func thing(t *testing.T, typ, id string, labels ...string) policy.Resource {
	t.Helper()
	r, err := offline.Resource(connection, typ, "orders/"+id)
	if err != nil {
		t.Fatal(err)
	}
	r.Labels = labels
	return r
}

const policies = `
@id("read") permit (principal, action == Action::"read", resource) unless { resource is Column && resource.labels.contains("secret") };
@id("write") @approval("dba,2") permit (principal, action in Action::"write", resource);
@id("eu") @rows("x = 1") @limit("rows=3") forbid (principal, action == Action::"read", resource in Table::"orders/public.b");
`

// TestMatrix: the words of a table follow from its columns, and who may not connect may do nothing.
func TestMatrix(t *testing.T) {
	set := compile(t, policies)
	things := []policy.Resource{
		thing(t, "Table", "public.a"), thing(t, "Column", "public.a.x"), thing(t, "Column", "public.a.mail", "pii.email"), thing(t, "Column", "public.a.key", "secret"),
		thing(t, "Table", "public.b"), thing(t, "Column", "public.b.x"),
		thing(t, "Table", "public.c"), thing(t, "Column", "public.c.mail", "pii.email"),
		thing(t, "Function", "public.f()"),
	}
	actions := func(typ string) []string {
		return map[string][]string{"Table": {"read", "update", "drop"}, "Column": {"read"}, "Function": {"call"}}[typ]
	}
	got := Matrix(set.For(policy.Principal{Kind: policy.Agent, ID: "bot", Groups: []string{"ai"}}), connection, things, actions, func(_ *policy.Slice, c policy.Resource) string {
		if c.ID == "orders/public.c.mail" {
			return "null"
		}
		return ""
	})
	if len(got) != 4 || len(got[0].Parts) != 3 {
		t.Fatalf("%+v", got)
	}
	for i, want := range []string{"part+masked", "rows", "masked", "no"} {
		if read := got[i].Read(); read != want {
			t.Errorf("%s is read: %s, want %s", got[i].Resource.ID, read, want)
		}
	}
	if a := got[0].Actions["update"]; a.Word() != "hold" || a.Approvals[0] != "dba,2" || a.Policies[0] != "write" {
		t.Errorf("%+v", a)
	}
	if a := got[1].Actions["read"]; a.Limit != "rows=3" || a.Rows[0] != "x = 1" {
		t.Errorf("%+v", a)
	}
	if a := got[2].Parts[0].Actions["read"]; a.Mask != "null" {
		t.Errorf("%+v", a)
	}
	if a := got[0].Parts[1].Actions["read"]; a.Mask != "email" {
		t.Errorf("%+v", a)
	}
	stranger := set.For(policy.Principal{Kind: policy.Agent, ID: "x"})
	if a := Ask(stranger, connection, policy.Touch{Action: "read", Resource: things[0]}, nil); a.Word() != "no" || a.Because != "may not connect" {
		t.Errorf("%+v", a)
	}
	if a := Ask(stranger, policy.Resource{}, policy.Touch{Action: "read", Resource: things[0]}, nil); a.Word() != "yes" {
		t.Errorf("%+v", a)
	}
	held := compile(t, `@id("c") @approval("dba") forbid (principal, action in [Action::"connect", Action::"update"], resource); @id("r") permit (principal, action == Action::"read", resource);`)
	if a := Ask(held.For(policy.Principal{Kind: policy.Agent, ID: "x", Groups: []string{"ai"}}), connection, policy.Touch{Action: "read", Resource: things[0]}, nil); a.Word() != "no" || a.Because != "may not connect" {
		t.Errorf("connecting cannot be held: %+v", a)
	}
	set = compile(t, `@id("t") @approval("dba") permit (principal, action == Action::"read", resource is Table); @id("c") permit (principal, action in [Action::"read", Action::"update"], resource is Column);`)
	bot := set.For(policy.Principal{Kind: policy.Agent, ID: "bot"})
	if a := Ask(bot, policy.Resource{}, policy.Touch{Action: "read", Resource: things[1]}, nil); a.Word() != "hold" || len(a.Policies) != 2 {
		t.Errorf("a column of a table that is held: %+v", a)
	}
	if a := Ask(bot, policy.Resource{}, policy.Touch{Action: "update", Resource: things[1]}, nil); a.Word() != "no" {
		t.Errorf("a column of a table that may not be updated: %+v", a)
	}
	if a := Ask(nil, policy.Resource{}, policy.Touch{Action: "read", Resource: things[0]}, nil); a.Word() != "no" {
		t.Errorf("the zero slice: %+v", a)
	}
}
