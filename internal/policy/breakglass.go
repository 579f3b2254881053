package policy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// BreakGlassGroup is the group in which a principal is on a connection while it breaks the glass there. No issuer
// can give it.
const BreakGlassGroup = "grant:breakglass"

// Review is what breaking the glass costs: somebody of the group looks at it afterwards.
type Review struct {
	Group string `json:"group"`
	// Minutes are how long a window may be open, at most.
	Minutes int `json:"minutes"`
	// Policy is the id of the policy that lets the glass be broken.
	Policy string `json:"policy"`
}

// Bounds of how long a window is open, in minutes.
const (
	defaultWindow = 60
	maxWindow     = 24 * 60
)

// ParseReview reads what @breakglass says: the group that reviews, and how long a window may be open, "security" or
// "security,30m" or "security,2h".
func ParseReview(text string) (Review, error) {
	group, length, given := strings.Cut(text, ",")
	r := Review{Group: strings.TrimSpace(group), Minutes: defaultWindow}
	if r.Group == "" || strings.Contains(r.Group, ":") && !namespaced.MatchString(r.Group) {
		return Review{}, fmt.Errorf("%q names no group of people that can review: write \"security\", or \"security,2h\"", text)
	}
	if !given {
		return r, nil
	}
	length = strings.TrimSpace(length)
	number, minutes := strings.TrimRight(length, "mh"), 1
	if strings.HasSuffix(length, "h") {
		minutes = 60
	}
	n, err := strconv.Atoi(number)
	if err != nil || len(length) != len(number)+1 || n < 1 || n > maxWindow/minutes {
		return Review{}, fmt.Errorf("%q: how long a window may be open is written 30m or 2h, from 1m to 24h", text)
	}
	r.Minutes = n * minutes
	return r, nil
}

// breakglass takes an annotation @breakglass.
func (c *compiler) breakglass(r *rule, value string) error {
	review, err := ParseReview(value)
	if err != nil {
		return fmt.Errorf("@breakglass: %w", err)
	}
	if r.forbid || !c.confined(r, func(action string) bool { return action == "breakglass" }) {
		return errors.New("@breakglass is misplaced: it belongs on a permit whose action is breakglass, and says who reviews; what a window gives is permitted to the group " + BreakGlassGroup)
	}
	review.Policy = r.id
	r.review = &review
	return nil
}

// BreakGlass says whether a person may break the glass on a connection, and what that costs. Of several permits
// the one with the longest window counts. A permit that names no reviewers lets nobody; any forbid forbids, and
// any error of evaluation refuses.
func (s *Set) BreakGlass(p Principal, connection Resource, at Moment) (Review, bool) {
	if p.ID == "" || p.Kind != User || p.OnBehalfOf != nil {
		return Review{}, false
	}
	m := s.matching(s.At(p, at).parties[0], &Touch{Action: "breakglass", Resource: connection})
	permits := slices.DeleteFunc(m.permits, func(r *rule) bool { return r.review == nil })
	if len(permits) == 0 || len(m.forbids) > 0 || len(m.errs) > 0 {
		return Review{}, false
	}
	return *slices.MaxFunc(permits, func(a, b *rule) int { return a.review.Minutes - b.review.Minutes }).review, true
}

// Breaking is the principal where one, itself or whom it acts for, breaks the glass.
func (p Principal) Breaking(kind Kind, id string) Principal {
	return p.Within(kind, id, BreakGlassGroup)
}

// Within is the principal where one, itself or whom it acts for, is in a group besides its own.
func (p Principal) Within(kind Kind, id, group string) Principal {
	if p.Kind == kind && p.ID == id && !p.InGroup(group) {
		p.Groups = append(slices.Clone(p.Groups), group)
	}
	if p.OnBehalfOf != nil {
		user := p.OnBehalfOf.Within(kind, id, group)
		p.OnBehalfOf = &user
	}
	return p
}

// careful is a party that does not break the glass.
func (p Principal) careful() Principal {
	p.Groups = slices.DeleteFunc(slices.Clone(p.Groups), func(g string) bool { return g == BreakGlassGroup })
	return p
}

// unlifted keeps the masks of a party that breaks the glass: what it sees anyway it sees no better, unless reveal
// is permitted. decide says what a party gets, with broken glass and without.
func (s *Set) unlifted(p party, t *Touch, decide func(party, *Touch) *verdict) *verdict {
	v := decide(p, t)
	if p.careful == nil || v.effect == Refuse || !readsColumn(t) {
		return v
	}
	if len(t.Resource.Labels) > 0 && s.reveals(p, t) {
		return v
	}
	if without := decide(*p.careful, t); without.effect != Refuse {
		v.shown = v.shown.and(without.shown)
	}
	return v
}
