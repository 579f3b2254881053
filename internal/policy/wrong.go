package policy

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// wrong is what is wrong, in words for who writes policies, and what to do.
type wrong struct{ message, remedy string }

var (
	wanted     = regexp.MustCompile(`^(?:exact )?got (.*) want (\S+)$`)
	noPolicy   = regexp.MustCompile(`^unexpected effect: (.*)$`)
	noType     = regexp.MustCompile("^unrecognized entity type `(.*)`$")
	noAction   = regexp.MustCompile("^unrecognized action `Action::\"(.*)\"`$")
	noPart     = regexp.MustCompile("^attribute `(.*)` on entity type `(.*)` not found$")
	nowhere    = "unable to find an applicable action given the policy scope constraints"
	asPolicies = `names have a type and straight quotes: principal in Group::"agents", action == Action::"read"`
)

// unparsed says in other words why a text does not parse: at is what stands there, and why the parser's words.
func unparsed(at, why string) wrong {
	m := wanted.FindStringSubmatch(why)
	switch {
	case noPolicy.MatchString(why) && strings.HasPrefix(noPolicy.FindStringSubmatch(why)[1], "#"):
		return wrong{"a policy begins with permit or forbid, not with #", "begin a comment with //"}
	case noPolicy.MatchString(why):
		return wrong{fmt.Sprintf("a policy begins with permit or forbid, not with %s", noPolicy.FindStringSubmatch(why)[1]), ""}
	case m != nil && at == `""`:
		return wrong{fmt.Sprintf("the file ends where %q is expected", m[2]), ""}
	case m != nil && m[1] == "=":
		return wrong{fmt.Sprintf("= stands where %q is expected, before %s", m[2], at), "to compare, write =="}
	case m != nil && (m[2] == "::" || m[1] == ":"):
		return wrong{fmt.Sprintf("%q is expected before %s", m[2], at), asPolicies}
	case m != nil:
		return wrong{fmt.Sprintf("%s stands where %q is expected, before %s", m[1], m[2], at), ""}
	case why == "unexpected token", why == "expected ident", why == "expected string":
		return wrong{fmt.Sprintf("it does not parse at %s: %s", at, why), asPolicies}
	}
	return wrong{fmt.Sprintf("it does not parse at %s: %s", at, why), ""}
}

// untyped says in other words what the validator found wrong with one policy.
func (c *compiler) untyped(p *ast.Policy, messages []string) []wrong {
	var out []wrong
	parts := map[string][]string{} // attribute -> the types that do not have it
	for _, m := range messages {
		if at := noPart.FindStringSubmatch(m); at != nil {
			parts[at[1]] = union(parts[at[1]], []string{at[2]})
		}
	}
	for _, m := range messages {
		switch {
		case noAction.MatchString(m):
			name := noAction.FindStringSubmatch(m)[1]
			out = append(out, wrong{m, meant(name, slices.Sorted(maps.Keys(c.set.actions)))})
		case noType.MatchString(m):
			out = append(out, wrong{m, meant(noType.FindStringSubmatch(m)[1], c.types)})
		case noPart.MatchString(m):
			name := noPart.FindStringSubmatch(m)[1]
			if list := parts[name]; list != nil {
				delete(parts, name)
				slices.Sort(list)
				one := wrong{fmt.Sprintf("attribute `%s` of %s not found", name, strings.Join(list, ", ")), ""}
				if name == "labels" {
					one.remedy = "only columns and fields have labels: write resource is Column && resource.labels…"
				}
				out = append(out, one)
			}
		case m != nowhere:
			out = append(out, wrong{m, ""})
		}
	}
	if len(out) == 0 && len(messages) > 0 {
		out = append(out, wrong{"it fits nothing: none of its actions is done to what its resource names, by what its principal is", c.doneTo(p)})
	}
	return out
}

func meant(word string, words []string) string {
	near := nearest(word, words)
	if near == "" || editDistance(strings.ToLower(word), strings.ToLower(near)) > max(2, len(word)/3) {
		return "there is " + strings.Join(words, ", ")
	}
	return fmt.Sprintf("is %s meant?", near)
}

// doneTo says what the first action of a policy is done to; "" where it names none.
func (c *compiler) doneTo(p *ast.Policy) string {
	var named []types.EntityUID
	switch a := p.Action.(type) {
	case ast.ScopeTypeEq:
		named = []types.EntityUID{a.Entity}
	case ast.ScopeTypeInSet:
		named = a.Entities
	}
	if len(named) == 0 || len(c.set.applies[string(named[0].ID)]) == 0 {
		return ""
	}
	name := string(named[0].ID)
	return fmt.Sprintf("%s is done to a %s: name one, or write `resource in` for all that is in something", name, strings.Join(c.set.applies[name], ", a "))
}
