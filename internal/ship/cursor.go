package ship

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gatehouse/internal/pump"
)

// State is how far a target is, as the disk has it.
type State struct {
	Target string `json:"target"`
	To     string `json:"to"`
	// Segment is the next one to be shipped, Heads how many bytes of heads.jsonl were.
	Segment uint64 `json:"segment"`
	Heads   int64  `json:"heads"`
	// Files and Bytes are what was shipped in all, the last of it at Shipped.
	Files   uint64    `json:"files"`
	Bytes   int64     `json:"bytes"`
	Shipped time.Time `json:"shipped,omitzero"`
	pump.Trouble
}

func statePath(dir, target string) string { return filepath.Join(dir, "ship-"+target+".json") }

// readState gives the zero state where there is none for this target.
func readState(dir string, t *Target) (State, error) {
	fresh := State{Target: t.Name, To: t.To, Segment: 1}
	var s State
	switch err := pump.ReadCursor(statePath(dir, t.Name), &s); {
	case errors.Is(err, os.ErrNotExist):
		return fresh, nil
	case err != nil:
		return fresh, fmt.Errorf("%s cannot be read: %w", statePath(dir, t.Name), err)
	case s.Target != t.Name || s.To != t.To || s.Segment == 0 || s.Heads < 0:
		return fresh, nil // it is about another place
	}
	return s, nil
}

// write puts the state on the disk, whole or not at all.
func (s State) write(dir string) error { return pump.WriteCursor(statePath(dir, s.Target), s) }
