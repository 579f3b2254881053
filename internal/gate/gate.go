// Package gate is the path of a request: from understood to allowed, recorded and closed.
//
// It knows no protocol, no database and no way to send anything: a connector brings requests, and an
// Entry from Admit is the only key to its upstream writer.
package gate

import (
	"errors"
	"log/slog"
	"time"

	"gatehouse/internal/policy"
)

// Config is what a gate is made of; every part is required.
type Config struct {
	// Policies returns the set in force.
	Policies  func() *policy.Set
	Recorder  Recorder
	Approvals Approvals
	Log       *slog.Logger
	Now       func() time.Time
}

// Gate admits requests. Safe for concurrent use.
type Gate struct{ cfg Config }

// New makes a gate; a missing part is an error.
func New(c Config) (*Gate, error) {
	if c.Policies == nil || c.Recorder == nil || c.Approvals == nil || c.Log == nil || c.Now == nil {
		return nil, errors.New("gate: every part of its configuration is required")
	}
	return &Gate{cfg: c}, nil
}
