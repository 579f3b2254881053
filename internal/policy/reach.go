package policy

import (
	"slices"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// Granted is a permit that speaks of a principal.
type Granted struct {
	ID     string `json:"id"`
	Source string `json:"source"`
	Line   int    `json:"line,omitempty"`
}

// Grants are the permits whose scope reaches a principal, or the user that it acts for, by id; without those for what
// people do to the gateway.
func (s *Set) Grants(p Principal) []Granted {
	out := []Granted{}
	for _, r := range s.rules {
		if r.forbid || forPeople(r) || !reaches(r, p) {
			continue
		}
		at := r.policy.Position()
		out = append(out, Granted{ID: r.id, Source: at.Filename, Line: at.Line})
	}
	return out
}

// forPeople says whether a policy is about nothing but what people do to the gateway.
func forPeople(r *rule) bool {
	own := func(e types.EntityUID) bool {
		return slices.Contains(personal, string(e.ID)) || e.ID == "administer" || e.ID == "grant"
	}
	switch a := r.policy.AST().Action.(type) {
	case ast.ScopeTypeEq:
		return own(a.Entity)
	case ast.ScopeTypeIn:
		return own(a.Entity)
	case ast.ScopeTypeInSet:
		return !slices.ContainsFunc(a.Entities, func(e types.EntityUID) bool { return !own(e) })
	}
	return false
}

// reaches says whether the scope of a policy can match one of the parties; its conditions are not looked at.
func reaches(r *rule, p Principal) bool {
	for at := &p; at != nil; at = at.OnBehalfOf {
		one := newParty(*at)
		in := func(e types.EntityUID) bool { return e == one.uid || one.entity.Parents.Contains(e) }
		matches := false
		switch s := r.policy.AST().Principal.(type) {
		case ast.ScopeTypeAll:
			matches = true
		case ast.ScopeTypeEq:
			matches = s.Entity == one.uid
		case ast.ScopeTypeIn:
			matches = in(s.Entity)
		case ast.ScopeTypeIs:
			matches = s.Type == one.uid.Type
		case ast.ScopeTypeIsIn:
			matches = s.Type == one.uid.Type && in(s.Entity)
		}
		if matches && one.valid {
			return true
		}
	}
	return false
}

// Needed are the policies that make decisions of a principal: of the touches, and of showing labelled columns as they
// are.
func (s *Slice) Needed(touches []Touch) []string {
	var out []string
	for _, t := range touches {
		v := s.Verdict(t)
		out = union(out, v.Policies)
		if v.Mask == MaskNone.String() && len(t.Resource.Labels) > 0 {
			out = union(out, s.Verdict(Touch{Action: "reveal", Resource: t.Resource}).Policies)
		}
	}
	slices.Sort(out)
	return out
}
