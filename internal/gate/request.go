package gate

import (
	"context"

	"gatehouse/internal/policy"
)

// Request is one unit that is decided, as its connector understood it.
type Request interface {
	// Touches are what the request does. An error, or none, refuses. A *Refusal as the error is
	// given to the client as it is; anything else becomes an internal error. A list that was returned
	// is never changed: equal lists may be returned as one, and are then decided once.
	Touches(context.Context) ([]policy.Touch, error)
	// Intent is what will run. It is recorded, hashed and shown to an approver. It is asked for
	// also when Touches failed; then it carries what the client sent.
	Intent() Intent
	// Bound is the intent with everything that an approval is bound to: the versions that the objects have now,
	// and the settings. It is asked for only where a request is held.
	Bound(context.Context) (Intent, error)
	// Preview is what an approver sees of the effect before it runs.
	Preview(context.Context) (Preview, error)
	// Recheck is called after a hold. It fails when anything that the decision stood on has changed.
	Recheck(context.Context) error
}

// Intent is what a request will do when it is let through: recorded before the first byte goes upstream,
// bound by hash to an approval.
type Intent struct {
	// Received is the text that the client sent; it is never forwarded.
	Received string `json:"received,omitempty"`
	// Text is the text that will run, printed from what was understood.
	Text string `json:"text,omitempty"`
	// Means are the texts that Text uses by a name only: those of prepared statements and cursors, in order.
	Means []string `json:"means,omitempty"`
	// Parameters are the values bound to Text, in order.
	Parameters []Parameter `json:"parameters,omitempty"`
	// Objects are the identities and versions of what Text names.
	Objects []Object `json:"objects,omitempty"`
	// Settings are the session's settings that change what Text means.
	Settings map[string]string `json:"settings,omitempty"`
	// Position is where in a transaction the request stands: "idle", "in transaction".
	Position string `json:"position,omitempty"`
	// Durable asks for the record to be on disk before the request is forwarded: it writes or executes.
	Durable bool `json:"durable,omitempty"`
	// Prepare says that nothing runs yet (a statement is only prepared): it is decided and recorded,
	// but not held; what is executed later is.
	Prepare bool `json:"prepare,omitempty"`
}

// Parameter is one bound value.
type Parameter struct {
	Type   uint32 `json:"type,omitempty"`   // the protocol's own type number
	Format string `json:"format,omitempty"` // "text" or "binary"
	Null   bool   `json:"null,omitempty"`
	Value  []byte `json:"value,omitempty"`
}

// Object is one thing that a request names, with the version that it had when it was understood.
type Object struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	ID      string `json:"id,omitempty"`
	Version string `json:"version,omitempty"`
}

// Preview is what an approver sees of the effect before it runs. Every field may be empty.
type Preview struct {
	Summary string `json:"summary,omitempty"`
	// Statement is what will run with every value taken out: what may be told to people outside of the gateway.
	Statement string   `json:"statement,omitempty"`
	Lines     []string `json:"lines,omitempty"`
	// Countable says that the connector counts what the request changes before that takes effect, so that an approver may
	// bound it.
	Countable bool `json:"countable,omitempty"`
}
