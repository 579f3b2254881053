package ship

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
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
	// Failing says why nothing is shipped now, since Since; empty: nothing is wrong. Tries are the attempts since then.
	Failing string    `json:"failing,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Tries   int       `json:"tries,omitempty"`
}

func statePath(dir, target string) string { return filepath.Join(dir, "ship-"+target+".json") }

// readState gives the zero state where there is none for this target.
func readState(dir string, t *Target) (State, error) {
	fresh := State{Target: t.Name, To: t.To, Segment: 1}
	b, err := os.ReadFile(statePath(dir, t.Name))
	if errors.Is(err, os.ErrNotExist) {
		return fresh, nil
	} else if err != nil {
		return fresh, err
	}
	var s State
	if err := json.Unmarshal(b, &s); err != nil {
		return fresh, fmt.Errorf("%s cannot be read: %w", statePath(dir, t.Name), err)
	}
	if s.Target != t.Name || s.To != t.To || s.Segment == 0 || s.Heads < 0 {
		return fresh, nil // it is about another place
	}
	return s, nil
}

// write puts the state on the disk, whole or not at all.
func (s State) write(dir string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	path := statePath(dir, s.Target)
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(dir)
}
