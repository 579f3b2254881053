package policy

import (
	"fmt"
	"regexp"
	"slices"
)

// named is a principal or a group where the text of a policy names one.
var named = regexp.MustCompile(`\b(Group|Agent|User)::("(?:[^"\\]|\\.)*")`)

// maxCast bounds a cast that is more than every group and every principal by itself.
const maxCast = 20_000

// Cast are principals such that whatever the set permits to anyone, it permits to one of them: agents and
// users in none, all, every one and every two of the groups that the policies name, and those that are named by
// themselves. A policy that asks for three groups at once, and not for all, is the exception. Where there would be
// more than 20,000 of them, as with some hundred groups, nobody is in two groups; and where there still would be, those who
// are named are in no group, or in all.
func (s *Set) Cast() []Principal {
	var groups []string
	people := map[Kind][]string{Agent: {"any agent"}, User: {"any user"}}
	for _, r := range s.rules {
		for _, m := range named.FindAllStringSubmatch(string(r.policy.MarshalCedar()), -1) {
			id, err := unquote(m[2])
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
	all, n := len(people[Agent])+len(people[User]), len(groups)
	pairs := all*(2+n+n*(n-1)/2) <= maxCast
	each := all*(2+n) <= maxCast
	var out []Principal
	for _, kind := range []Kind{Agent, User} {
		for i, id := range people[kind] {
			for _, in := range subsets(groups, each || i == 0, pairs) {
				out = append(out, Principal{Kind: kind, ID: id, Name: id + " in " + few(in), Groups: in})
			}
		}
	}
	return out
}

// few names some groups.
func few(groups []string) string {
	if len(groups) > 3 {
		return fmt.Sprintf("%d groups", len(groups))
	}
	return fmt.Sprint(groups)
}

// subsets are none, all, and where it is said each one and each two.
func subsets(groups []string, each, pairs bool) [][]string {
	out := [][]string{nil}
	if len(groups) > 2 || !each && len(groups) > 0 {
		out = append(out, groups)
	}
	for i, a := range groups {
		if each {
			out = append(out, groups[i:i+1:i+1])
		}
		for _, b := range groups[i+1:] {
			if !pairs {
				break
			}
			out = append(out, []string{a, b})
		}
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
