// Package pump is what everything that leaves the recordings is moved by: a loop that tries again for as long as it takes, and a
// cursor on the disk.
package pump

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

const (
	// look is how often a loop looks for more where there was nothing to do.
	look = time.Second
	// again is how long it waits after a failure, doubled as failures go on, up to longest.
	again   = time.Second
	longest = 5 * time.Minute
)

// Wait is back with true after a time, with false when ctx ends.
func Wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Loop is what is done over and over.
type Loop struct {
	// Step does the next piece of work; did is false where there was none.
	Step func(context.Context) (did bool, err error)
	// Failed is told why a step failed, and after about how long it is tried again.
	Failed func(err error, pause time.Duration)
	Wait   func(context.Context, time.Duration) bool
}

// Run steps until ctx ends.
func (l Loop) Run(ctx context.Context) {
	pause := time.Duration(0)
	for ctx.Err() == nil {
		did, err := l.Step(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			pause = min(max(2*pause, again), longest)
			l.Failed(err, pause)
			if !l.Wait(ctx, pause/2+rand.N(pause/2+1)) {
				return
			}
		default:
			pause = 0
			if !did && !l.Wait(ctx, look) {
				return
			}
		}
	}
}

// Trouble is why something does not move, as a cursor's file has it. The zero value is none.
type Trouble struct {
	// Failing says why nothing moves now, since Since; empty: nothing is wrong. Tries are the attempts since then.
	Failing string    `json:"failing,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Tries   int       `json:"tries,omitempty"`
}

// Add notes one more failure.
func (t *Trouble) Add(err error, now time.Time) {
	if t.Failing == "" {
		t.Since = now.UTC().Truncate(time.Second)
	}
	t.Failing, t.Tries = err.Error(), t.Tries+1
}

// ReadCursor reads what WriteCursor wrote. That there is no file is an error of os.ErrNotExist.
func ReadCursor(path string, into any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// WriteCursor puts a value on the disk as JSON, whole or not at all.
func WriteCursor(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
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
	return SyncDir(filepath.Dir(path))
}

// SyncDir puts the names of a folder on the disk.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
