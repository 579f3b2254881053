package gate

import (
	"context"

	"gatehouse/internal/policy"
)

// Snapshotter is an inspector that can write down what its target looks like, so that requests can be understood
// without the target.
type Snapshotter interface {
	// Snapshot reads the target's catalog and the labels in force. It holds names and types, never a value. With
	// system the target's own catalogs are in it too.
	Snapshot(ctx context.Context, system bool) ([]byte, error)
}

// Modeller is a connector that understands requests by a snapshot.
type Modeller interface {
	// Model reads what Snapshot wrote. Its error says what is wrong, and where.
	Model(snapshot []byte) (Model, error)
}

// Model is a connection as a snapshot shows it. It opens nothing and is safe for concurrent use.
type Model interface {
	// Connection is the connection as policies see it: in its tags.
	Connection() policy.Resource
	// Understand says what a text does when the principal of a slice sends it first in a session.
	Understand(slice *policy.Slice, text string) Understood
	// Find finds a thing by its type and a name as clients write it (customers.email), or by its id.
	Find(typ, name string) (policy.Resource, error)
	// Things are the tables, each before its columns, and the functions, by name.
	Things() []policy.Resource
	// Actions are what can be done to things of a type, in the order in which they are shown.
	Actions(typ string) []string
	// Shown says how a column that may be read is shown to the principal: the mask's word, or "none".
	Shown(slice *policy.Slice, column policy.Resource) string
}

// Understood is what a text does.
type Understood struct {
	// Text is what would be sent.
	Text string
	// Touches are what it does; where it is refused, as far as they are known.
	Touches []policy.Touch
	// Refusal is set where it is refused for what it is, whatever the policies say of its touches.
	Refusal *Refusal
	// Shown are the columns that it reads, by id, each with its mask's word, or "none".
	Shown map[string]string
	// Rows are the filters that it is under, by the id of the table.
	Rows map[string]policy.Rows
}
