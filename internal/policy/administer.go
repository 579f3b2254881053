package policy

import (
	"slices"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// Gateway is the gateway itself, as policies see it: who administers it publishes its policies.
func Gateway() Resource { return Resource{Entity: Entity{Type: "Gateway", ID: "gatehouse"}} }

// Administer is what publishing policies does.
func Administer() []Touch { return []Touch{{Action: "administer", Resource: Gateway()}} }

// Administrable says whether anyone could publish policies under the set: one of the principals given, or
// somebody whom its policies name, in groups that are known (nil: any). Where publishing asks for approvals,
// somebody must be able to give each. It is not exact: who a condition is about is not guessed.
func (s *Set) Administrable(known func(string) bool, persons ...Principal) bool {
	small := s.about("administer", "approve")
	cast := append(slices.Clone(persons), small.Cast()...)
	cast = slices.DeleteFunc(cast, func(p Principal) bool {
		return p.Kind != User || known != nil && slices.ContainsFunc(p.Groups, func(g string) bool { return !known(g) })
	})
	return slices.ContainsFunc(cast, func(p Principal) bool {
		d := small.For(p).Decide(Administer())
		return d.Effect != Refuse && !slices.ContainsFunc(d.Approvals, func(a Approval) bool { return !small.approvable(a, cast, known) })
	})
}

// approvable says whether somebody of the cast could give an approval.
func (s *Set) approvable(a Approval, cast []Principal, known func(string) bool) bool {
	if known != nil && !known(a.Group) {
		return false
	}
	return slices.ContainsFunc(cast, func(p Principal) bool {
		p.Groups = union(slices.Clone(p.Groups), []string{a.Group})
		return s.For(p).Decide([]Touch{{Action: "approve", Resource: Gateway()}}).Effect == Permit
	})
}

// about is the set without the policies that are about none of the actions: it decides these alike.
func (s *Set) about(actions ...string) *Set {
	out := &Set{version: s.version, actions: s.actions}
	for _, r := range s.rules {
		if slices.ContainsFunc(actions, func(a string) bool { return s.reaches(r, a) }) {
			out.rules = append(out.rules, r)
		}
	}
	return out
}

// reaches says whether the scope of a policy reaches an action.
func (s *Set) reaches(r *rule, action string) bool {
	is := func(e types.EntityUID) bool { return string(e.ID) == action || s.actions[action].Contains(e) }
	switch a := r.policy.AST().Action.(type) {
	case ast.ScopeTypeEq:
		return is(a.Entity)
	case ast.ScopeTypeIn:
		return is(a.Entity)
	case ast.ScopeTypeInSet:
		return slices.ContainsFunc(a.Entities, is)
	}
	return true
}
