package gate

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"testing"

	"gatehouse/internal/policy"
)

const factPolicies = `
@id("reads") permit(principal, action == Action::"read", resource in Schema::"shop/public");
@id("orders") @rows("region = 'eu'") @limit("rows=10") permit(principal, action == Action::"read", resource in Table::"shop/other.orders");
@id("writes") @approval("dba,2") permit(principal, action == Action::"update", resource);
@id("never") forbid(principal, action == Action::"delete", resource);
@id("vague") @mask("partial") forbid(principal, action == Action::"read", resource is Column) when { resource.labels.contains("pii.email") };
`

func factSlice(t *testing.T) *policy.Slice {
	t.Helper()
	schema, err := os.ReadFile("../connector/postgres/schema.cedarschema")
	if err != nil {
		t.Fatal(err)
	}
	set, err := policy.Compile(policy.Input{
		Schemas:  []policy.Source{{Name: "postgres", Text: schema}},
		Policies: []policy.Source{{Name: "test.cedar", Text: []byte(factPolicies)}},
		Rows:     func(string) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return set.For(policy.Principal{Kind: policy.Agent, ID: "dev:bot"})
}

// TestFacts: what a decision was recorded with gives back its touches as they were, with the decision on each.
func TestFacts(t *testing.T) {
	slice := factSlice(t)
	connection := []policy.Entity{{Type: "Connection", ID: "shop"}, {Type: "Tag", ID: "env:prod"}}
	in := func(parents ...policy.Entity) []policy.Entity { return append(parents, connection...) }
	thing := func(action, typ, id string, parents []policy.Entity, labels ...string) policy.Touch {
		return policy.Touch{Action: action, Resource: policy.Resource{Entity: policy.Entity{Type: typ, ID: id}, Parents: parents, Labels: labels}}
	}
	public, other := policy.Entity{Type: "Schema", ID: "shop/public"}, policy.Entity{Type: "Schema", ID: "shop/other"}
	odd := policy.Entity{Type: "Table", ID: `shop/public."a column x.y"`}
	orders := policy.Entity{Type: "Table", ID: "shop/other.orders"}
	for name, touches := range map[string][]policy.Touch{
		"permitted": {
			thing("read", "Table", odd.ID, in(public)),
			thing("read", "Column", odd.ID+".mail", in(odd, public), "pii.email"),
			thing("read", "Column", orders.ID+".id", in(orders, other)),
			thing("connect", "Connection", "shop", connection[1:]),
		},
		"held":    {thing("update", "Table", odd.ID, in(public)), thing("read", "Table", odd.ID, in(public))},
		"refused": {thing("delete", "Table", odd.ID, in(public)), thing("read", "Table", "shop/no.t", in()), thing("read", "Table", odd.ID, in(public))},
	} {
		t.Run(name, func(t *testing.T) {
			body := DecisionBody{Decision: slice.Decide(touches)}
			body.state(touches, slice)
			text, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			var again DecisionBody
			if err := json.Unmarshal(text, &again); err != nil {
				t.Fatal(err)
			}
			got, err := again.Judged()
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range touches {
				verdict := slice.Verdict(want)
				verdict.Policies = nil // not recorded for each
				if len(got) != len(touches) || !reflect.DeepEqual(got[i], policy.Judged{Touch: want, Verdict: verdict}) {
					t.Errorf("%s\n got %+v\nwant %+v", text, got[i], policy.Judged{Touch: want, Verdict: verdict})
				}
			}
		})
	}
}

func TestFactsRefuse(t *testing.T) {
	for name, text := range map[string]string{
		"fewer facts":   `{"touches":["read table a","read table b"],"facts":[{"type":"Table"}]}`,
		"another type":  `{"touches":["read table a"],"facts":[{"type":"Column"}]}`,
		"no such place": `{"touches":["read table a"],"facts":[{"type":"Table","in":1}]}`,
		"below zero":    `{"touches":["read table a"],"facts":[{"type":"Table","in":-1}]}`,
		"no type":       `{"touches":["read  a"],"facts":[{"type":""}]}`,
		"no action":     `{"touches":[" table a"],"facts":[{"type":"Table"}]}`,
	} {
		var b DecisionBody
		if err := json.Unmarshal([]byte(text), &b); err != nil {
			t.Fatal(name, err)
		}
		if got, err := b.Judged(); err == nil || errors.Is(err, ErrNoFacts) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	old := DecisionBody{Touches: []string{"read table a"}}
	if _, err := old.Judged(); !errors.Is(err, ErrNoFacts) {
		t.Errorf("without facts: %v", err)
	}
}
