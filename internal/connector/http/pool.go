package http

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"sync"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
)

// Bounds of sessions.
const (
	sessionIdle = 30 * time.Second // after which a session that does nothing is closed
	sessionLook = 5 * time.Second
	maxSessions = 128 // of one token on one connection: as many of its requests can be decided, or held, at a time
)

// sessionKey is whose a session is: one token, from one address, on one connection.
type sessionKey struct {
	token      [sha256.Size]byte
	connection string
	client     string
}

// session is a session of the gate. Requests take it one at a time to be admitted; their answers go on beside.
type session struct {
	key  sessionKey
	gate *gate.Session

	waiting func(gate.Ticket) // of the request that is admitted now

	// life ends when the session is ended from outside; its cause is what its clients are told then.
	life context.Context
	over context.CancelCauseFunc

	open   int // requests whose answer goes on; under the pool's lock
	used   time.Time
	broken bool // it takes no further request
	free   bool
	reason string // why it ended, where it was ended from outside
}

// killed is what its clients are told where the session was ended from outside; else nil.
func (s *session) killed() *gate.Refusal {
	r, _ := gate.AsRefusal(context.Cause(s.life))
	return r
}

// pool keeps sessions, so that many requests of one client are one session in the recordings.
type pool struct {
	gate *gate.Gate
	log  *slog.Logger

	mu       sync.Mutex
	sessions map[sessionKey][]*session
	stopped  bool
}

var (
	errStopped = errors.New("the gateway is stopping")
	errCrowded = errors.New("too many requests of one client at a time")
)

// take finds a session that admits nothing at the moment, or opens one. leave must be called with it.
func (p *pool) take(ctx context.Context, key sessionKey, id identity.Identity, c gate.Connection, client string, agent string) (*session, error) {
	p.mu.Lock()
	list := p.sessions[key]
	for _, s := range list {
		if s.free && !s.broken {
			s.free = false
			s.open++
			p.mu.Unlock()
			return s, nil
		}
	}
	stopped, many := p.stopped, len(list) >= maxSessions
	p.mu.Unlock()
	if stopped {
		return nil, errStopped
	}
	if many {
		return nil, errCrowded
	}
	s := &session{key: key, open: 1, used: time.Now()}
	s.life, s.over = context.WithCancelCause(context.Background())
	kill := func(reason string, r *gate.Refusal) { p.kill(s, reason, r) }
	o := gate.Opening{Identity: id, Connection: c, Protocol: kind, Client: client, Kill: kill, Waiting: func(t gate.Ticket) func() {
		if s.waiting != nil {
			s.waiting(t)
		}
		return func() {}
	}}
	if agent != "" {
		o.Attributes = map[string]string{"user_agent": agent}
	}
	opened, err := p.gate.Open(ctx, o)
	if err != nil {
		s.over(nil)
		return nil, err
	}
	p.mu.Lock()
	s.gate = opened
	p.sessions[key] = append(p.sessions[key], s)
	p.mu.Unlock()
	if r := s.killed(); r != nil { // before it was in the list
		opened.End(r)
	}
	return s, nil
}

// kill ends a session from outside: what it waits for and what goes on of its answers ends too.
func (p *pool) kill(s *session, reason string, r *gate.Refusal) {
	s.over(r)
	p.mu.Lock()
	s.broken = true
	if s.reason == "" {
		s.reason = reason
	}
	opened := s.gate
	idle := opened != nil && s.open == 0
	if idle {
		p.drop(s)
	}
	p.mu.Unlock()
	if opened != nil {
		opened.End(r)
	}
	if idle {
		p.end(s, reason)
	}
}

// admitted gives a session back to be taken by the next request; broken: it takes none any more.
func (p *pool) admitted(s *session, broken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.waiting, s.free = nil, true
	s.broken = s.broken || broken
}

// leave says that a request of a session is over.
func (p *pool) leave(s *session) {
	p.mu.Lock()
	s.open--
	s.used = time.Now()
	ended := s.broken && s.open == 0
	if ended {
		p.drop(s)
	}
	reason := cmp.Or(s.reason, "expired")
	p.mu.Unlock()
	if ended {
		p.end(s, reason)
	}
}

// drop forgets a session; the caller has the lock.
func (p *pool) drop(s *session) {
	list := p.sessions[s.key]
	for i, other := range list {
		if other == s {
			list = append(list[:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(p.sessions, s.key)
		return
	}
	p.sessions[s.key] = list
}

func (p *pool) end(s *session, reason string) {
	defer s.over(nil)
	if err := s.gate.Close(reason, ""); err != nil {
		p.log.Error("the end of a session was not recorded", "session", s.gate.ID(), "error", err)
	}
}

// run closes what is idle or has expired, until ctx ends; then everything.
func (p *pool) run(ctx context.Context) {
	tick := time.NewTicker(sessionLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			p.sweep(now)
		}
	}
}

func (p *pool) sweep(now time.Time) {
	type over struct {
		s   *session
		why string
	}
	var done []over
	p.mu.Lock()
	for _, list := range p.sessions {
		for _, s := range list {
			switch {
			case s.open > 0:
			case !now.Before(s.gate.Expires()):
				done = append(done, over{s, "expired"})
			case now.Sub(s.used) > sessionIdle:
				done = append(done, over{s, "client"})
			}
		}
	}
	for _, d := range done {
		p.drop(d.s)
	}
	p.mu.Unlock()
	for _, d := range done {
		p.end(d.s, d.why)
	}
}

// shutdown ends every session.
func (p *pool) shutdown() {
	p.mu.Lock()
	p.stopped = true
	var all []*session
	for _, list := range p.sessions {
		all = append(all, list...)
	}
	clear(p.sessions)
	p.mu.Unlock()
	for _, s := range all {
		p.end(s, "shutdown")
	}
}
