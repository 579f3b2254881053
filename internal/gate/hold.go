package gate

import (
	"context"
	"time"

	"gatehouse/internal/policy"
)

// Approvals keeps held requests and the answers that people give them.
type Approvals interface {
	// Open registers a hold. When it returns nil the hold can be seen and answered.
	Open(ctx context.Context, h Hold) (Ticket, error)
	// Wait blocks until the hold is answered or expires. When ctx ends first the hold is withdrawn
	// and the context's error returned; an answer that came before that counts as withdrawn too.
	Wait(ctx context.Context, id string) (Answer, error)
	// Start moves an approved hold to running, once in its life; every other state is an error.
	// hash must be the hash that was approved.
	Start(ctx context.Context, id, hash string) error
	// Finish moves a running hold to done; outcome "unknown" is kept as such.
	Finish(ctx context.Context, id string, o Outcome) error
}

// Hold is a request that waits for people, as they will see it.
type Hold struct {
	Session    string            `json:"session"`
	RequestID  string            `json:"request_id"`
	Principal  policy.Principal  `json:"principal"`
	Connection string            `json:"connection"`
	Intents    []Intent          `json:"intents"` // the whole batch, in order
	Touches    []string          `json:"touches"`
	Policies   []string          `json:"policies"`
	Needs      []policy.Approval `json:"needs"`
	Previews   []Preview         `json:"previews,omitempty"`
	// Hash binds an approval to exactly this: principal, connection, texts, parameters, settings,
	// position and object versions.
	Hash string `json:"hash"`
}

// Ticket is what the client is told of its hold.
type Ticket struct {
	ID      string
	URL     string
	Expires time.Time
}

// Answer is how a hold ended.
type Answer struct {
	// State is "approved", "denied", or "expired".
	State string
	// By names the persons who answered; Reason is what the last one said.
	By     []string
	Reason string
}
