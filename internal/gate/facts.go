package gate

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatehouse/internal/policy"
)

// Fact is what a decision stood on for one touch, besides what its line says: enough to decide it again by other
// policies, and to see what they change.
type Fact struct {
	Type string `json:"type"`
	// In says where the thing is: the number of its place in the body, from 1; 0: in nothing.
	In     int      `json:"in,omitempty"`
	Labels []string `json:"labels,omitempty"`
	// Mask is how a column that was read was shown (policy.MaskText).
	Mask      string            `json:"mask,omitempty"`
	Rows      policy.Rows       `json:"rows,omitempty"`
	Limit     policy.Limit      `json:"limit,omitzero"`
	Approvals []policy.Approval `json:"approvals,omitempty"`
}

// ErrNoFacts is the error for a decision that was recorded without facts: by an earlier version, or because what
// the request does was not understood.
var ErrNoFacts = errors.New("it was recorded without the facts that deciding it again needs")

// state writes the touches and the facts of a decision by a slice.
func (b *DecisionBody) state(touches []policy.Touch, slice *policy.Slice) {
	b.Touches = lines(touches)
	b.Facts = make([]Fact, len(touches))
	for i, t := range touches {
		v := slice.Verdict(t)
		b.Facts[i] = Fact{Type: t.Resource.Type, In: b.place(t.Resource.Parents), Labels: t.Resource.Labels,
			Mask: v.Mask, Rows: v.Rows, Limit: v.Limit, Approvals: v.Approvals}
	}
}

// place is the number of a list of ancestors, which is added where it is new.
func (b *DecisionBody) place(parents []policy.Entity) int {
	if len(parents) == 0 {
		return 0
	}
	for i, p := range b.Places {
		if slices.Equal(p, parents) {
			return i + 1
		}
	}
	b.Places = append(b.Places, parents)
	return len(b.Places)
}

// Judged are the touches with what the policies say to each. ErrNoFacts where they were not recorded; any other error says
// that the facts do not fit the touches.
func (b *DecisionBody) Judged() ([]policy.Judged, error) {
	if len(b.Facts) == 0 {
		return nil, ErrNoFacts
	}
	if len(b.Facts) != len(b.Touches) {
		return nil, fmt.Errorf("it has %d touches and the facts of %d", len(b.Touches), len(b.Facts))
	}
	out := make([]policy.Judged, len(b.Facts))
	for i := range b.Facts {
		j, err := b.judged(i)
		if err != nil {
			return nil, err
		}
		out[i] = j
	}
	return out, nil
}

// Followed are the touches with what was done about each: where the policies are only observed, what they would have
// refused was let through.
func (b *DecisionBody) Followed() ([]policy.Judged, error) {
	own := *b
	if b.Decision.Would != "" {
		own.Decision.Missing, own.Decision.Barred = nil, nil
	}
	return own.Judged()
}

// SourceOf is the source that policies read of a client's address: without its port; "" where it is none.
func SourceOf(client string) string { return sourceOf(client) }

func (b *DecisionBody) judged(i int) (policy.Judged, error) {
	f, line := &b.Facts[i], b.Touches[i]
	action, rest, _ := strings.Cut(line, " ")
	id, fits := strings.CutPrefix(rest, strings.ToLower(f.Type)+" ")
	if !fits || action == "" || f.Type == "" || f.In < 0 || f.In > len(b.Places) {
		return policy.Judged{}, fmt.Errorf("the facts do not fit the touch %q", line)
	}
	var j policy.Judged
	j.Action = action
	j.Resource = policy.Resource{Entity: policy.Entity{Type: f.Type, ID: id}, Labels: f.Labels}
	if f.In > 0 {
		j.Resource.Parents = b.Places[f.In-1]
	}
	j.Verdict = policy.Verdict{Effect: policy.Permit, Mask: f.Mask, Rows: f.Rows, Limit: f.Limit, Approvals: f.Approvals}
	switch {
	case names(b.Decision.Missing, j.Touch) || names(b.Decision.Barred, j.Touch):
		j.Verdict = policy.Verdict{}
	case len(f.Approvals) > 0:
		j.Effect = policy.Hold
	}
	if b.Decision.Effect == policy.Refuse && len(b.Decision.Missing)+len(b.Decision.Barred) == 0 {
		j.Verdict = policy.Verdict{} // refused as a whole: a policy erred
	}
	return j, nil
}

func names(list []policy.Touch, t policy.Touch) bool {
	return slices.ContainsFunc(list, func(o policy.Touch) bool {
		return o.Action == t.Action && o.Resource.Entity == t.Resource.Entity
	})
}
