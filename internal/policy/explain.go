package policy

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go"
	publicast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// Actions are the actions that a touch can have, sorted; those that only hold others are not among them.
func (s *Set) Actions() []string {
	c := &compiler{set: s}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.actions)), c.group)
}

// AppliesTo are the types of resources that an action is done to, sorted.
func (s *Set) AppliesTo(action string) []string { return slices.Clone(s.applies[action]) }

// Part is the part of a policy that a touch did not fit.
type Part string

// The parts, in the order in which they are looked at.
const (
	NoPart    Part = "" // it matches
	Action    Part = "action"
	Who       Part = "principal"
	What      Part = "resource"
	Condition Part = "condition"
)

// Considered is one policy that was looked at for one touch, and what came of it.
type Considered struct {
	Policy string `json:"policy"`
	// Source and Line are where it stands.
	Source string `json:"source,omitempty"`
	Line   int    `json:"line,omitempty"`
	Effect string `json:"effect"` // permit or forbid
	// Matches says that its scope and its conditions fit.
	Matches bool `json:"matches"`
	// Decides says that it is among those that made the decision.
	Decides bool `json:"decides"`
	// Fails is the part that does not fit, and Why says so in a sentence, or what came of one that does.
	Fails Part   `json:"fails,omitempty"`
	Why   string `json:"why"`
	// Asks are its obligations, as annotations.
	Asks []string `json:"asks,omitempty"`
}

// Explanation is why one touch was decided so for one party: who asks, or the user that it acts for.
type Explanation struct {
	Party Principal `json:"party"`
	Touch Touch     `json:"touch"`
	// Effect is what the policies say to this party.
	Effect Effect `json:"effect"`
	// Policies are all of the set, by id.
	Policies []Considered `json:"policies"`
	// Errors name policies whose evaluation failed: then nothing is permitted.
	Errors []string `json:"errors,omitempty"`
}

// Explain says why a touch is decided as it is at a moment, for the principal and for each that it acts for. It decides as
// Slice does, and remembers nothing.
func (s *Set) Explain(p Principal, m Moment, t Touch) []Explanation {
	var out []Explanation
	slice := s.At(p, m)
	at := &p
	for _, one := range slice.parties {
		out = append(out, s.explain(*at, one, t))
		at = at.OnBehalfOf
	}
	return out
}

func (s *Set) explain(p Principal, one party, t Touch) Explanation {
	p.OnBehalfOf = nil
	v := s.decide(one, &t)
	m := s.matching(one, &t)
	out := Explanation{Party: p, Touch: t, Effect: v.effect, Errors: m.errs}
	known := &parts{one, &t, s}
	for _, r := range s.rules {
		pos := r.policy.Position()
		c := Considered{Policy: r.id, Source: pos.Filename, Line: pos.Line, Effect: "permit", Decides: slices.Contains(v.policies, r.id), Asks: r.asks()}
		if r.forbid {
			c.Effect = "forbid"
		}
		switch {
		case slices.Contains(m.permits, r) || slices.Contains(m.forbids, r):
			c.Matches = true
			c.Why = r.came(c.Decides, v, &t)
		default:
			c.Fails, c.Why = known.fails(r)
		}
		out.Policies = append(out.Policies, c)
	}
	return out
}

// asks are the obligations of a policy, as annotations.
func (r *rule) asks() []string {
	var out []string
	for _, name := range []types.AnnotationKey{"approval", "escalate", "mask", "rows", "limit"} {
		if v, ok := r.policy.Annotations()[name]; ok {
			out = append(out, fmt.Sprintf("@%s(%s)", name, strconv.Quote(string(v))))
		}
	}
	return out
}

// came says what came of a policy that matches.
func (r *rule) came(decides bool, v *verdict, t *Touch) string {
	switch {
	case r.forbid && slices.Contains(v.forbidden, r.id) && r.obliges():
		return "it forbids this: its row filter cannot be met by " + t.Action
	case r.forbid && slices.Contains(v.forbidden, r.id):
		return "it forbids this"
	case r.forbid && v.effect == Refuse:
		return "it permits this only with what it asks, and this is refused anyway"
	case r.forbid:
		return "it permits this only with what it asks"
	case len(v.forbidden) > 0:
		return "it permits this, and a forbid wins"
	case decides:
		return "it permits this"
	}
	return "it permits this too; another permit asks for less, or shows more"
}

// parts evaluates the parts of policies one by one.
type parts struct {
	party party
	touch *Touch
	set   *Set
}

// fails is the first part of a policy that does not fit, and why.
func (p *parts) fails(r *rule) (Part, string) {
	whole := (*ast.Policy)(r.policy.AST())
	all := ast.Scope{}.All()
	for _, scope := range []struct {
		part  Part
		alone *ast.Policy
		is    string
	}{
		{Action, &ast.Policy{Principal: all, Action: whole.Action, Resource: all}, p.touch.Action},
		{Who, &ast.Policy{Principal: whole.Principal, Action: all, Resource: all}, p.partyText()},
		{What, &ast.Policy{Principal: all, Action: all, Resource: whole.Resource}, p.touch.Resource.String()},
	} {
		if ok, err := p.holds(scope.alone); !ok {
			return scope.part, "it is about " + scopeText(scope.alone, scope.part) + "; this is " + scope.is + failure(err)
		}
	}
	for _, c := range whole.Conditions {
		for _, one := range conjuncts(c) {
			alone := &ast.Policy{Principal: all, Action: all, Resource: all, Conditions: []ast.ConditionType{one}}
			ok, err := p.holds(alone)
			switch {
			case err != nil:
				return Condition, "its condition " + conditionText(alone) + " cannot be evaluated: " + err.Error()
			case !ok && c.Condition == ast.ConditionUnless:
				return Condition, "what it excepts is so: " + conditionText(alone) + p.labels()
			case !ok:
				return Condition, "its condition is not so: " + conditionText(alone) + p.labels()
			}
		}
	}
	return Condition, "it does not match"
}

func failure(err error) string {
	if err == nil {
		return ""
	}
	return " (" + err.Error() + ")"
}

// labels say which a column has: most conditions are about them.
func (p *parts) labels() string {
	switch {
	case !Labelled(p.touch.Resource.Type):
		return ""
	case len(p.touch.Resource.Labels) == 0:
		return " (the " + strings.ToLower(p.touch.Resource.Type) + " has no labels)"
	}
	return " (the " + strings.ToLower(p.touch.Resource.Type) + " has the labels " + strings.Join(p.touch.Resource.Labels, ", ") + ")"
}

func (p *parts) partyText() string {
	text := p.party.uid.String()
	var groups []string
	for g := range p.party.entity.Parents.All() {
		groups = append(groups, string(g.ID))
	}
	if slices.Sort(groups); len(groups) > 0 {
		return text + " in " + strings.Join(groups, ", ")
	}
	return text + " in no group"
}

// single is one policy to be evaluated.
type single struct{ policy *cedar.Policy }

func (s single) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) { yield("part", s.policy) }
}

// holds says whether a policy that is made of one part matches.
func (p *parts) holds(alone *ast.Policy) (bool, error) {
	alone.Effect = ast.EffectPermit
	req := cedar.Request{
		Principal: p.party.uid,
		Action:    types.NewEntityUID("Action", types.String(p.touch.Action)),
		Resource:  uid(p.touch.Resource.Entity),
		Context:   p.party.context,
	}
	known := &entities{party: p.party, touch: p.touch, resource: req.Resource, actions: p.set}
	decision, diag := cedar.Authorize(single{cedar.NewPolicyFromAST((*publicast.Policy)(alone))}, known, req)
	if len(diag.Errors) > 0 {
		return false, fmt.Errorf("%s", diag.Errors[0].Message)
	}
	return decision == cedar.Allow, nil
}

// conjuncts are the conditions that a when is made of, in the order of evaluation; an unless stays whole.
func conjuncts(c ast.ConditionType) []ast.ConditionType {
	and, is := c.Body.(ast.NodeTypeAnd)
	if !is || c.Condition == ast.ConditionUnless {
		return []ast.ConditionType{c}
	}
	return append(conjuncts(ast.ConditionType{Condition: c.Condition, Body: and.Left}), conjuncts(ast.ConditionType{Condition: c.Condition, Body: and.Right})...)
}

// conditionText is the condition of a policy that has one and nothing else, as Cedar writes it.
func conditionText(alone *ast.Policy) string {
	text := string(cedar.NewPolicyFromAST((*publicast.Policy)(alone)).MarshalCedar())
	_, text, _ = strings.Cut(text, "{")
	if i := strings.LastIndex(text, "}"); i >= 0 {
		text = text[:i]
	}
	return strings.Join(strings.Fields(text), " ")
}

// scopeText is one part of the scope of a policy, as Cedar writes it.
func scopeText(alone *ast.Policy, part Part) string {
	var node ast.IsScopeNode
	switch part {
	case Action:
		node = alone.Action
	case Who:
		node = alone.Principal
	case What:
		node = alone.Resource
	}
	switch n := node.(type) {
	case ast.ScopeTypeEq:
		return string(part) + " == " + n.Entity.String()
	case ast.ScopeTypeIn:
		return string(part) + " in " + n.Entity.String()
	case ast.ScopeTypeInSet:
		var list []string
		for _, e := range n.Entities {
			list = append(list, e.String())
		}
		return string(part) + " in [" + strings.Join(list, ", ") + "]"
	case ast.ScopeTypeIs:
		return string(part) + " is " + string(n.Type)
	case ast.ScopeTypeIsIn:
		return string(part) + " is " + string(n.Type) + " in " + n.Entity.String()
	}
	return string(part)
}

// LeastPermit is Cedar that permits a party exactly some touches: one permit for each action and thing.
func LeastPermit(p Principal, touches []Touch) string {
	var b strings.Builder
	typ := "Agent"
	if p.Kind == User {
		typ = "User"
	}
	seen := map[string]bool{}
	for _, t := range touches {
		text := fmt.Sprintf("permit (principal == %s, action == %s, resource == %s);\n",
			types.NewEntityUID(types.EntityType(typ), types.String(p.ID)), types.NewEntityUID("Action", types.String(t.Action)), uid(t.Resource.Entity))
		if !seen[text] {
			seen[text] = true
			b.WriteString(text)
		}
	}
	return b.String()
}

// Mentioned are the groups, agents and users that policies name, sorted.
func (s *Set) Mentioned() (groups, agents, users []string) {
	for _, r := range s.rules {
		for _, m := range named.FindAllStringSubmatch(string(r.policy.MarshalCedar()), -1) {
			id, err := unquote(m[2])
			if err != nil {
				continue
			}
			switch m[1] {
			case "Group":
				groups = union(groups, []string{id})
			case "Agent":
				agents = union(agents, []string{id})
			case "User":
				users = union(users, []string{id})
			}
		}
	}
	slices.Sort(groups)
	slices.Sort(agents)
	slices.Sort(users)
	return groups, agents, users
}
