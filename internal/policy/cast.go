package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// named is a principal or a group where the text of a policy names one.
var named = regexp.MustCompile(`\b(Group|Agent|User)::("(?:[^"\\]|\\.)*")`)

// Cast are principals such that whatever the set permits to anyone, it permits to one of them: agents and
// users in every one, every two and all of the groups that the policies name, and those that are named by
// themselves. A policy that asks for three groups at once, and not for all, is the exception.
func (s *Set) Cast() []Principal {
	var groups []string
	people := map[Kind][]string{Agent: {"any agent"}, User: {"any user"}}
	for _, r := range s.rules {
		for _, m := range named.FindAllStringSubmatch(string(r.policy.MarshalCedar()), -1) {
			id, err := strconv.Unquote(m[2])
			if err != nil {
				continue
			}
			if m[1] == "Group" {
				groups = union(groups, []string{id})
			} else {
				kind := map[string]Kind{"Agent": Agent, "User": User}[m[1]]
				people[kind] = union(people[kind], []string{id})
			}
		}
	}
	slices.Sort(groups)
	var out []Principal
	for _, kind := range []Kind{Agent, User} {
		for _, id := range people[kind] {
			for _, in := range subsets(groups) {
				out = append(out, Principal{Kind: kind, ID: id, Name: fmt.Sprintf("%s in %v", id, in), Groups: in})
			}
		}
	}
	return out
}

// subsets are none, each one, each two, and all.
func subsets(groups []string) [][]string {
	out := [][]string{nil}
	for i, a := range groups {
		out = append(out, []string{a})
		for _, b := range groups[i+1:] {
			out = append(out, []string{a, b})
		}
	}
	if len(groups) > 2 {
		out = append(out, groups)
	}
	return out
}

// Reaching are the slices of those of the cast that may connect.
func (s *Set) Reaching(connection Resource) []*Slice {
	var out []*Slice
	for _, p := range s.Cast() {
		slice := s.For(p)
		if slice.Decide([]Touch{{Action: "connect", Resource: connection}}).Effect != Refuse {
			out = append(out, slice)
		}
	}
	return out
}
