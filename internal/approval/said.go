package approval

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
)

// Said is what a person answers.
type Said struct {
	Approve bool
	// Reason is recorded, and told to who asked where it is a denial; at most 2,000 bytes.
	Reason string
	// MaxRows bounds the rows that an approved request may change; 0: as many as it does. Where several persons
	// bound it the least counts.
	MaxRows int64
}

func (s Said) check(v View) error {
	switch {
	case len(s.Reason) > maxReason:
		return &Error{Invalid, fmt.Sprintf("The reason is longer than %d bytes.", maxReason), "Say it shorter."}
	case s.MaxRows < 0:
		return &Error{Invalid, "A bound on the rows that change is 1 or more.", "Deny the request where it may change none."}
	case s.MaxRows > 0 && !s.Approve:
		return &Error{Invalid, "A denial has no bound on the rows that change.", "Leave it out, or approve."}
	case s.MaxRows > 0 && !v.Hold.Countable():
		return &Error{Invalid, "The rows that this request changes are not counted, so they cannot be bounded.", "Approve it without a bound, or deny it and ask for one INSERT, UPDATE, DELETE or MERGE at a time."}
	}
	return nil
}

// record writes down what a person answers, on the disk, before it counts.
func (b *Book) record(ctx context.Context, person identity.Identity, v View, said Said, do func(context.Context) (string, error)) error {
	if b.gate == nil {
		return errors.New("approval: an answer without a gate to record it")
	}
	text := "deny "
	if said.Approve {
		text = "approve "
	}
	text += fmt.Sprintf("%s of %s on %s", v.ID, v.Hold.Principal, where(v.Hold.Connection))
	if said.MaxRows > 0 {
		text += fmt.Sprintf(", for at most %d rows", said.MaxRows)
	}
	if said.Reason != "" {
		text += ": " + said.Reason
	}
	resource := policy.Gateway()
	if c, ok := b.connections[v.Hold.Connection]; ok {
		resource = c.Resource()
	}
	act := gate.Act{Who: person, Settled: true, Intent: gate.Intent{Text: text, Durable: true}, Touches: []policy.Touch{{Action: "approve", Resource: resource}}}
	return b.gate.Act(ctx, act, func(ctx context.Context, _ policy.Decision) (string, error) { return do(ctx) })
}
