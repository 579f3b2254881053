// Package policy holds the vocabulary of a decision (principal, touch, decision, obligation) and the
// engine that makes one from Cedar policies.
//
// It is pure: no network, no files, no clock, no store. The zero value of every type here refuses.
package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Kind says what a principal is.
type Kind string

// The kinds of principals. The empty kind is nobody: everything is refused to it.
const (
	Agent Kind = "agent" // a workload identity
	User  Kind = "user"  // a person
)

// Principal is who asks: an agent, a user, or an agent on behalf of a user.
type Principal struct {
	Kind Kind `json:"kind"`
	// ID is stable and namespaced by the issuer's configured name: "entra:OID@TID".
	ID string `json:"id"`
	// Name is for people to read. It decides nothing.
	Name string `json:"name,omitempty"`
	// Issuer is the configured name of the issuer that vouched for the principal.
	Issuer string `json:"issuer"`
	// Client is the id of the OIDC client that the token was issued to.
	Client string `json:"client,omitempty"`
	// Groups are the configured short names of the groups and roles that the token proves, or their
	// namespaced ids ("entra:group:6e1f…") where no short name is configured.
	Groups []string `json:"groups,omitempty"`
	// Person is the first of the ids of a user who has several (people.same); empty: ID.
	Person string `json:"person,omitempty"`
	// OnBehalfOf is the user that an agent acts for. A touch must then be permitted to both.
	OnBehalfOf *Principal `json:"on_behalf_of,omitempty"`
}

// String is the principal as people read it: "deploy-bot (agent) on behalf of ada (user)".
func (p Principal) String() string {
	name := p.Name
	if name == "" {
		name = p.ID
	}
	s := fmt.Sprintf("%s (%s)", name, p.Kind)
	if p.OnBehalfOf != nil {
		s += " on behalf of " + p.OnBehalfOf.String()
	}
	return s
}

// Same says whether two principals are the same one, acting for the same one.
func (p Principal) Same(q Principal) bool {
	if p.Kind != q.Kind || p.ID != q.ID || p.ID == "" {
		return false
	}
	if p.OnBehalfOf == nil || q.OnBehalfOf == nil {
		return p.OnBehalfOf == nil && q.OnBehalfOf == nil
	}
	return p.OnBehalfOf.Same(*q.OnBehalfOf)
}

// PersonID is the id by which people are told apart: the same for all ids of one person.
func (p Principal) PersonID() string {
	if p.Person != "" {
		return p.Person
	}
	return p.ID
}

// InGroup says whether the principal itself (not the user it acts for) is in the group.
func (p Principal) InGroup(group string) bool { return slices.Contains(p.Groups, group) }

// Entity names one Cedar entity: Type "Column", ID "orders/public.customers.email".
type Entity struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

func (e Entity) String() string { return e.Type + `::"` + e.ID + `"` }

// Resource is a thing that a request touches, with its place in the tree of resources.
type Resource struct {
	Entity
	// Parents are all of its ancestors, nearest first: a column's table, schema, connection, tags.
	Parents []Entity `json:"-"`
	// Labels are the data classes on a column or field.
	Labels []string `json:"labels,omitempty"`
}

// Touch is one thing that a request does: an action on a resource.
type Touch struct {
	Action   string   `json:"action"`
	Resource Resource `json:"resource"`
}

// String is the touch in one line: `read Column orders/public.customers.email`.
func (t Touch) String() string {
	return t.Action + " " + strings.ToLower(t.Resource.Type) + " " + t.Resource.ID
}

// Effect is the outcome of a decision. The zero value refuses.
type Effect int

// The effects, in the order of what they let through.
const (
	Refuse Effect = iota
	Hold
	Permit
)

func (e Effect) String() string {
	switch e {
	case Permit:
		return "permit"
	case Hold:
		return "hold"
	}
	return "refuse"
}

// MarshalText writes the effect's word.
func (e Effect) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText reads the effect's word; an unknown word is an error and leaves Refuse.
func (e *Effect) UnmarshalText(b []byte) error {
	*e = Refuse
	switch string(b) {
	case "permit":
		*e = Permit
	case "hold":
		*e = Hold
	case "refuse":
	default:
		return fmt.Errorf("unknown effect %q", b)
	}
	return nil
}

// Mask names how a value is shown. Masks are ordered by what they show; the zero value shows nothing.
type Mask int

// The masks, from the one that shows least to no mask at all.
const (
	MaskNull Mask = iota
	MaskRedact
	MaskBucket // a number or date by the lower bound of its bucket
	MaskYear   // a date by the first day of its year
	MaskToken  // a keyed pseudonym
	MaskPartial
	MaskEmail
	MaskNone // the raw value
)

var maskNames = [...]string{"null", "redact", "bucket", "year", "token", "partial", "email", "none"}

func (m Mask) String() string {
	if m < 0 || int(m) >= len(maskNames) {
		return "null"
	}
	return maskNames[m]
}

// MarshalText writes the mask's name.
func (m Mask) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// ParseMask reads the name of a mask as policies and configuration write it.
func ParseMask(name string) (Mask, error) {
	for i, n := range maskNames[:MaskNone] {
		if n == name {
			return Mask(i), nil
		}
	}
	return MaskNull, fmt.Errorf("unknown mask %q: use %s", name, strings.Join(maskNames[:MaskNone], ", "))
}

// Approval is what a hold asks for: so many distinct persons of a group.
type Approval struct {
	Group  string `json:"group"`
	Quorum int    `json:"quorum"`
	// Policy is the id of the policy that asked.
	Policy string `json:"policy"`
	// Escalate is another group whose people count too, After so many seconds without enough answers; "": none.
	Escalate string `json:"escalate,omitempty"`
	After    int    `json:"after,omitempty"`
}

// Decision is the answer for one request.
type Decision struct {
	Effect Effect `json:"effect"`
	// Policies are the ids of the policies that made the decision, sorted.
	Policies []string `json:"policies,omitempty"`
	// Missing are the touches without a permit, in the order asked; set on Refuse.
	Missing []Touch `json:"missing,omitempty"`
	// Forbidden are the ids of the forbids that matched; set on Refuse.
	Forbidden []string `json:"forbidden,omitempty"`
	// Barred are the touches that they forbid; set on Refuse.
	Barred []Touch `json:"barred,omitempty"`
	// Approvals must all be given, by distinct persons; set on Hold.
	Approvals []Approval `json:"approvals,omitempty"`
	// Limit is the smallest that any of the touches is under.
	Limit Limit `json:"limit,omitzero"`
	// Errors name the policies whose evaluation failed, each with its error; any error refuses.
	Errors []string `json:"errors,omitempty"`
	// Would is "refuse" or "hold" where that is what the policies say, and they are only observed.
	Would string `json:"would,omitempty"`
}

// Exposure says how much of one thing a principal may touch with an action. The zero value hides it.
type Exposure struct {
	// Visible is false where no policy permits it: to read, it does not exist for the principal.
	Visible bool
	// Mask is how it is shown when visible; MaskNone shows the raw value.
	Mask Mask
	// All are the masks that it is under: it shows no more than any of them does for its type. Mask is the
	// least of them.
	All Masks
	// Width is that of a bucket, in units or years; 0 where several do not fit together: nothing is shown.
	Width int64
	// Rows are the rows that may be touched.
	Rows Rows
	// Own is set where a permit names exactly this thing, and not only something that it is part of, and gives by itself
	// what is given here: without an approval, a filter, a limit or a mask of its own.
	Own bool
}
