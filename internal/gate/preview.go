package gate

import (
	"context"

	"gatehouse/internal/identity"
)

// Previewer is a server that can look at what a held request would do, while it waits.
type Previewer interface {
	// Preview looks at what a hold on one of the server's connections would do now. It changes nothing, holds no lock that
	// others would wait for, and shows of rows what the policies show to who, who asks from the address client.
	Preview(ctx context.Context, who identity.Identity, client string, h Hold) (Effect, error)
}

// Effect is what a held request would do, as far as that can be seen before it runs.
type Effect struct {
	Statements []StatementEffect `json:"statements"`
}

// StatementEffect is what one statement of a held request would do. What could not be seen is missing, and Notes say why.
type StatementEffect struct {
	Text string `json:"text"`
	// Planned is what the target's planner expects.
	Planned *Planned `json:"planned,omitempty"`
	// Rows is how many rows match now, of a statement that changes or deletes them.
	Rows *int64 `json:"rows,omitempty"`
	// Sample are some of them, as the policies show them to who asks.
	Sample *Sample  `json:"sample,omitempty"`
	Notes  []string `json:"notes,omitempty"`
}

// Planned is a planner's estimate.
type Planned struct {
	Rows  float64 `json:"rows"`
	Cost  float64 `json:"cost" doc:"in the planner's own unit"`
	Steps string  `json:"steps" doc:"what reads tables, in order"`
}

// Sample is a small table; a nil cell is a null.
type Sample struct {
	Columns []string    `json:"columns"`
	Rows    [][]*string `json:"rows"`
}
