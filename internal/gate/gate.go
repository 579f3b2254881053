// Package gate is the path of a request: from understood to allowed, recorded and closed.
//
// It knows no protocol, no database and no way to send anything: a connector brings requests, and an
// Entry from Admit is the only key to its upstream writer.
package gate

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"gatehouse/internal/policy"
)

// Config is what a gate is made of; every part is required but BreakGlass and Grants.
type Config struct {
	// Policies returns the set in force. It is asked before every batch.
	Policies  func() *policy.Set
	Recorder  Recorder
	Approvals Approvals
	// BreakGlass is nil where nobody can break the glass.
	BreakGlass BreakGlass
	// Grants is nil where there are none.
	Grants Grants
	Log    *slog.Logger
	Now    func() time.Time
}

// Gate admits requests. Safe for concurrent use.
type Gate struct {
	cfg  Config
	live sync.Map // *Live by id
	held crowd
}

// New makes a gate; a missing part is an error.
func New(c Config) (*Gate, error) {
	if c.Policies == nil || c.Recorder == nil || c.Approvals == nil || c.Log == nil || c.Now == nil {
		return nil, errors.New("gate: every part of its configuration is required")
	}
	return &Gate{cfg: c, held: crowd{release: debug.FreeOSMemory}}, nil
}

// Admit takes a batch from understood to allowed: touches, decision, one write, holds, recheck. All of
// it or none: on an error nothing of the batch may be forwarded, and its requests are recorded as
// refused. What writes is on the disk when its entry is Ready. It blocks while the batch is held; when ctx ends first
// nothing runs, and the hold is withdrawn where the cause is ErrWithdrawn.
//
// A *Refusal is for the client. One goroutine at a time calls it for a session.
func (g *Gate) Admit(ctx context.Context, s *Session, batch []Request) ([]*Entry, error) {
	ending := concludes(batch)
	if err := s.live(ending); err != nil {
		return nil, err
	}
	s.refresh()
	judged, refusal := s.judge(ctx, batch)
	unsynced, err := s.recordIntent(judged, refusal)
	if err != nil {
		return nil, s.unrecorded(err)
	}
	if refusal != nil {
		return nil, refusal
	}
	hold, err := s.hold(ctx, judged)
	if err != nil {
		return nil, err
	}
	return s.entries(judged, hold, ending, unsynced), nil
}
