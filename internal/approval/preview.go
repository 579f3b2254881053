package approval

import (
	"context"
	"fmt"

	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
	"gatehouse/internal/store"
)

// Preview is what a request that waits would do now, for a person who may approve on its connection and asks from the
// address client. It reads the target, so that it is made when somebody asks for it.
func (b *Book) Preview(ctx context.Context, person identity.Identity, client, id string) (gate.Effect, error) {
	h, v, err := b.find(ctx, person.Principal, id)
	if err != nil {
		return gate.Effect{}, err
	}
	switch {
	case !b.permitted(person.Principal, "approve", v.Hold.Connection):
		return gate.Effect{}, &Error{NotAllowed, fmt.Sprintf("No policy permits you to approve on %s.", where(v.Hold.Connection)), "Ask a policy owner for a permit of the action approve."}
	case h.Kind != store.HoldRequest || b.o.Preview == nil:
		return gate.Effect{}, &Error{Invalid, "There is nothing to look at: it is no request to a target.", "See `gatehouse approvals show " + id + "`."}
	case !b.usable(&h):
		return gate.Effect{}, &Error{Conflict, fmt.Sprintf("Approval %s waits for nobody any more.", id), "See `gatehouse approvals show " + id + "`."}
	}
	b.o.Log.Info("a held request is looked at", "approval", id, "person", person.Principal.ID, "connection", v.Hold.Connection)
	e, err := b.o.Preview(ctx, person, client, v.Hold)
	if r, ok := gate.AsRefusal(err); ok {
		return e, &Error{Conflict, r.Reason, r.Remedy}
	}
	return e, err
}
