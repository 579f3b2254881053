package approval

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	"gatehouse/internal/store"
)

// mayAnswer says for which of the groups that a hold asks for a person counts.
func (b *Book) mayAnswer(p policy.Principal, v View) ([]string, error) {
	h := v.Hold
	for q := &h.Principal; q != nil; q = q.OnBehalfOf {
		if q.PersonID() == p.PersonID() || p.ID == "" {
			return nil, &Error{NotAllowed, "Nobody answers a request of their own, nor one made on their behalf.", "Ask somebody else of the group to answer."}
		}
	}
	var groups, asked []string
	for _, n := range h.Needs {
		asked = append(asked, n.Group)
		escalated := b.escalated(n, v.Created)
		if escalated {
			asked = append(asked, n.Escalate)
		}
		if (p.InGroup(n.Group) || escalated && p.InGroup(n.Escalate)) && !slices.Contains(groups, n.Group) {
			groups = append(groups, n.Group)
		}
	}
	if p.Kind != policy.User || len(groups) == 0 {
		return nil, &Error{NotAllowed, fmt.Sprintf("This approval is for people in %s.", strings.Join(asked, ", ")), "Ask one of them to answer."}
	}
	if !b.permitted(p, "approve", h.Connection) {
		return nil, &Error{NotAllowed, fmt.Sprintf("No policy permits you to approve on %s.", where(h.Connection)), "Ask a policy owner for a permit of the action approve."}
	}
	return groups, nil
}

// escalated says whether a need has waited so long that another group may answer too.
func (b *Book) escalated(n policy.Approval, since time.Time) bool {
	return n.Escalate != "" && !b.o.Now().Before(since.Add(time.Duration(n.After)*time.Second))
}

// permitted says whether a person may act on a connection; "" is the gateway itself.
func (b *Book) permitted(p policy.Principal, action, connection string) bool {
	resource := policy.Gateway()
	if connection != "" {
		c, ok := b.connections[connection]
		if !ok {
			return false
		}
		resource = c.Resource()
	}
	d := b.o.Policies().At(p, policy.Moment{Millis: b.o.Now().UnixMilli()}).Decide([]policy.Touch{{Action: action, Resource: resource}})
	return d.Effect == policy.Permit
}

// next is the state of a hold with these answers.
func next(needs []policy.Approval, answers []store.Answer) store.State {
	for _, a := range answers {
		if !a.Approve {
			return store.Denied
		}
	}
	if enough(needs, answers) {
		return store.Approved
	}
	return store.Pending
}

// enough says whether every need has its quorum of distinct persons: each person counts for one need. It
// is a matching of persons to places (augmenting paths).
func enough(needs []policy.Approval, answers []store.Answer) bool {
	var places []string
	for _, n := range needs {
		for range max(n.Quorum, 1) {
			places = append(places, n.Group)
		}
	}
	taken := make([]int, len(answers)) // person → place + 1
	var seat func(place int, tried []bool) bool
	seat = func(place int, tried []bool) bool {
		for i, a := range answers {
			if tried[i] || !a.Approve || !slices.Contains(a.Groups, places[place]) {
				continue
			}
			tried[i] = true
			if taken[i] == 0 || seat(taken[i]-1, tried) {
				taken[i] = place + 1
				return true
			}
		}
		return false
	}
	for i := range places {
		if !seat(i, make([]bool, len(answers))) {
			return false
		}
	}
	return len(places) > 0
}

// find gets a hold that the person may see.
func (b *Book) find(ctx context.Context, p policy.Principal, id string) (store.Hold, View, error) {
	h, err := b.o.Store.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return h, View{}, notFound(id)
	}
	if err != nil {
		return h, View{}, err
	}
	v, err := b.view(h)
	if err != nil {
		return h, v, err
	}
	if !b.maySee(p, v.Hold) {
		return h, View{}, notFound(id)
	}
	return h, v, nil
}

// maySee says whether a person sees a hold: those who approve or review on its connection, and the user
// that it is asked for.
func (b *Book) maySee(p policy.Principal, h gate.Hold) bool {
	if p.Kind != policy.User || p.ID == "" {
		return false
	}
	for q := &h.Principal; q != nil; q = q.OnBehalfOf {
		if q.Kind == policy.User && q.PersonID() == p.PersonID() {
			return true
		}
	}
	return b.permitted(p, "approve", h.Connection) || b.permitted(p, "review", h.Connection)
}
