package policy

import (
	"slices"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// index finds the policies that can match a party: those about everybody, and those whose scope names it or a group that it is
// in. A policy whose scope does not fit is not evaluated further, and cannot err: leaving it out changes no decision.
type index struct {
	everybody []*rule
	named     map[types.EntityUID][]*rule // by the one entity that their scope of principals names
}

func indexed(rules []*rule) index {
	x := index{named: map[types.EntityUID][]*rule{}}
	for _, r := range rules {
		if e := principalOf(r.policy.AST().Principal); e != (types.EntityUID{}) {
			x.named[e] = append(x.named[e], r)
		} else {
			x.everybody = append(x.everybody, r)
		}
	}
	return x
}

// touching calls yield for the policies that can match a party and an action, each once, until it says no.
func (s *Set) touching(p party, action string, yield func(*rule) bool) {
	each := func(list []*rule) bool {
		for _, r := range list {
			if (s.whole || s.reaches(r, action)) && !yield(r) {
				return false
			}
		}
		return true
	}
	if s.whole {
		each(s.rules)
		return
	}
	if !each(s.index.everybody) || !each(s.index.named[p.uid]) {
		return
	}
	for e := range p.entity.Parents.All() {
		if e != p.uid && !each(s.index.named[e]) {
			return
		}
	}
}

// about is the set without the policies that are about none of the actions: it decides these alike.
func (s *Set) about(actions ...string) *Set {
	out := &Set{version: s.version, actions: s.actions, most: s.most}
	for _, r := range s.rules {
		if slices.ContainsFunc(actions, func(a string) bool { return s.reaches(r, a) }) {
			out.rules = append(out.rules, r)
		}
	}
	out.index = indexed(out.rules)
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
