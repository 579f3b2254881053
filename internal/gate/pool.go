package gate

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"sync"
	"time"

	"gatehouse/internal/identity"
)

// Bounds of the sessions of a pool.
const (
	poolIdle = 30 * time.Second // after which a session that does nothing is closed
	poolLook = 5 * time.Second
	// MaxPooled is how many sessions one client has on one connection: as many of its requests can be decided, or held,
	// at a time.
	MaxPooled = 128
)

// What Take fails with besides what Open does.
var (
	ErrStopped = errors.New("the gateway is stopping")
	ErrCrowded = errors.New("too many requests of one client at a time")
)

// PoolKey is whose a session is: one token, from one address, on one connection.
type PoolKey struct {
	Token      [sha256.Size]byte
	Connection string
	Client     string
}

// Pooled is a session of a pool. Requests take it one at a time to be admitted; their answers go on beside.
type Pooled struct {
	*Session
	// Life ends when the session is ended from outside; its cause is what its clients are told then: see Killed.
	Life context.Context

	key     PoolKey
	over    context.CancelCauseFunc
	waiting func(Ticket) // of the request that is admitted now

	open   int // requests whose answer goes on; under the pool's lock
	used   time.Time
	broken bool // it takes no further request
	free   bool
	reason string // why it ended, where it was ended from outside
}

// Killed is what its clients are told where the session was ended from outside; else nil.
func (s *Pooled) Killed() *Refusal {
	r, _ := AsRefusal(context.Cause(s.Life))
	return r
}

// Pool keeps sessions for protocols whose requests bring their token each, so that many requests of one client are one
// session in the recordings.
type Pool struct {
	gate     *Gate
	protocol string
	log      *slog.Logger

	mu       sync.Mutex
	sessions map[PoolKey][]*Pooled
	stopped  bool
}

// NewPool makes a pool without a session. Run must run while it is used.
func NewPool(g *Gate, protocol string, log *slog.Logger) *Pool {
	return &Pool{gate: g, protocol: protocol, log: log, sessions: map[PoolKey][]*Pooled{}}
}

// Take finds a session that admits nothing at the moment, or opens one. client is the address with its port; agent is what
// the client says of itself. Leave must be called with the session.
func (p *Pool) Take(ctx context.Context, key PoolKey, id identity.Identity, c Connection, client, agent string) (*Pooled, error) {
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
	stopped, many := p.stopped, len(list) >= MaxPooled
	p.mu.Unlock()
	if stopped {
		return nil, ErrStopped
	}
	if many {
		return nil, ErrCrowded
	}
	s := &Pooled{key: key, open: 1, used: time.Now()}
	s.Life, s.over = context.WithCancelCause(context.Background())
	kill := func(reason string, r *Refusal) { p.kill(s, reason, r) }
	o := Opening{Identity: id, Connection: c, Protocol: p.protocol, Client: client, Kill: kill, Waiting: func(t Ticket) func() {
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
	s.Session = opened
	p.sessions[key] = append(p.sessions[key], s)
	p.mu.Unlock()
	if r := s.Killed(); r != nil { // before it was in the list
		opened.End(r)
	}
	return s, nil
}

// Admit is Gate.Admit for one request of a session that was taken; the session can then be taken by the next one. waiting
// is called where the request is held.
func (p *Pool) Admit(ctx context.Context, s *Pooled, r Request, waiting func(Ticket)) (*Entry, error) {
	s.waiting = waiting
	entries, err := p.gate.Admit(ctx, s.Session, []Request{r})
	refusal, refused := AsRefusal(err)
	p.mu.Lock()
	s.waiting, s.free = nil, true
	s.broken = s.broken || refused && (refusal.Code == IdentityRejected || refusal.Code == Unavailable)
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return entries[0], nil
}

// kill ends a session from outside: what it waits for and what goes on of its answers ends too.
func (p *Pool) kill(s *Pooled, reason string, r *Refusal) {
	s.over(r)
	p.mu.Lock()
	s.broken = true
	if s.reason == "" {
		s.reason = reason
	}
	opened := s.Session
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

// Leave says that a request of a session is over.
func (p *Pool) Leave(s *Pooled) {
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
func (p *Pool) drop(s *Pooled) {
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

func (p *Pool) end(s *Pooled, reason string) {
	defer s.over(nil)
	if err := s.Close(reason, ""); err != nil {
		p.log.Error("the end of a session was not recorded", "session", s.ID(), "error", err)
	}
}

// Run closes what is idle or has expired, until ctx ends. Shutdown is to be called then.
func (p *Pool) Run(ctx context.Context) {
	tick := time.NewTicker(poolLook)
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

func (p *Pool) sweep(now time.Time) {
	type over struct {
		s   *Pooled
		why string
	}
	var done []over
	p.mu.Lock()
	for _, list := range p.sessions {
		for _, s := range list {
			switch {
			case s.open > 0:
			case !now.Before(s.Expires()):
				done = append(done, over{s, "expired"})
			case now.Sub(s.used) > poolIdle:
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

// Shutdown ends every session.
func (p *Pool) Shutdown() {
	p.mu.Lock()
	p.stopped = true
	var all []*Pooled
	for _, list := range p.sessions {
		all = append(all, list...)
	}
	clear(p.sessions)
	p.mu.Unlock()
	for _, s := range all {
		p.end(s, "shutdown")
	}
}
