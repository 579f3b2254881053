package policy

import (
	"slices"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// MayGrant says whether a person may put somebody into a group on a connection for a time (the action grant on that group,
// which is in the connection). Only people may, for nobody else; anything but a plain permit refuses.
func (s *Set) MayGrant(p Principal, connection Resource, group string, at Moment) bool {
	if p.ID == "" || p.Kind != User || p.OnBehalfOf != nil {
		return false
	}
	return s.At(p, at).Decide([]Touch{GrantTouch(connection, group)}).Effect == Permit
}

// GrantTouch is what granting a group on a connection touches.
func GrantTouch(connection Resource, group string) Touch {
	return Touch{Action: "grant", Resource: Resource{Entity: Entity{Type: "Group", ID: group}, Parents: append([]Entity{connection.Entity}, connection.Parents...)}}
}

// Grantable says whether any policy lets somebody grant a group on a connection, as far as their scopes show.
func (s *Set) Grantable(connection Resource, group string) bool {
	t := GrantTouch(connection, group)
	for _, r := range s.rules {
		if r.forbid || !(&compiler{set: s}).scoped(r, func(action string) bool { return action == "grant" }) {
			continue
		}
		switch scope := r.policy.AST().Resource.(type) {
		case ast.ScopeTypeEq:
			if scope.Entity == uid(t.Resource.Entity) {
				return true
			}
		case ast.ScopeTypeIn:
			if within(t.Resource, scope.Entity) {
				return true
			}
		case ast.ScopeTypeIsIn:
			if scope.Type == "Group" && within(t.Resource, scope.Entity) {
				return true
			}
		case ast.ScopeTypeIs:
			if scope.Type == "Group" {
				return true
			}
		default:
			return true
		}
	}
	return false
}

func within(r Resource, e types.EntityUID) bool {
	return uid(r.Entity) == e || slices.ContainsFunc(r.Parents, func(p Entity) bool { return uid(p) == e })
}

// GrantedGroups are the groups that policies name as what somebody may grant, in the order of the policies.
func (s *Set) GrantedGroups() []string {
	var out []string
	for _, r := range s.rules {
		scope, ok := r.policy.AST().Resource.(ast.ScopeTypeEq)
		if !r.forbid && ok && scope.Entity.Type == "Group" && !slices.Contains(out, string(scope.Entity.ID)) {
			out = append(out, string(scope.Entity.ID))
		}
	}
	return out
}
