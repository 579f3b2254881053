package policy

import "slices"

// Gateway is the gateway itself, as policies see it: who administers it publishes its policies.
func Gateway() Resource { return Resource{Entity: Entity{Type: "Gateway", ID: "gatehouse"}} }

// Administer is what publishing policies does.
func Administer() []Touch { return []Touch{{Action: "administer", Resource: Gateway()}} }

// Administrable says whether anyone could publish policies under the set: one of the principals given, or
// somebody whom its policies name, in groups that are known (nil: any). Where publishing asks for approvals,
// somebody must be able to give each. It is not exact: who a condition is about is not guessed, and of so many policies
// about publishing that asking everybody would take long, it says no where nobody was found soon.
func (s *Set) Administrable(known func(string) bool, persons ...Principal) bool {
	a := asking{set: s.about("administer", "approve"), known: known}
	a.left = maxAsked / max(1, len(a.set.rules))
	for _, p := range append(slices.Clone(persons), a.set.Cast()...) {
		if p.Kind != User {
			continue
		}
		if known != nil {
			p.Groups = slices.DeleteFunc(slices.Clone(p.Groups), func(g string) bool { return !known(g) })
		}
		a.cast = append(a.cast, p)
	}
	return slices.ContainsFunc(a.cast, a.publishes)
}

// maxAsked bounds how often a policy is evaluated to find out whether anyone could publish.
const maxAsked = 20_000_000

// asking is who could publish, and approve that, under a set.
type asking struct {
	set   *Set
	known func(string) bool
	cast  []Principal
	left  int // how often it may still be asked
	asked map[string]bool
}

func (a *asking) decide(p Principal, touches []Touch) Decision {
	if a.left--; a.left < 0 {
		return Decision{}
	}
	return a.set.For(p).Decide(touches)
}

func (a *asking) publishes(p Principal) bool {
	d := a.decide(p, Administer())
	return d.Effect != Refuse && !slices.ContainsFunc(d.Approvals, func(one Approval) bool { return !a.approvable(one.Group) })
}

// approvable says whether somebody of the cast could give an approval, where they are of a group.
func (a *asking) approvable(group string) bool {
	if a.known != nil && !a.known(group) {
		return false
	}
	found, before := a.asked[group]
	if before {
		return found
	}
	found = slices.ContainsFunc(a.cast, func(p Principal) bool {
		p.Groups = union(slices.Clone(p.Groups), []string{group})
		return a.decide(p, []Touch{{Action: "approve", Resource: Gateway()}}).Effect == Permit
	})
	if a.asked == nil {
		a.asked = map[string]bool{}
	}
	a.asked[group] = found
	return found
}
