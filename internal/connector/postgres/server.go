package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
)

const (
	handshakeTime = 15 * time.Second
	maxHandshakes = 512 // beyond it the oldest unfinished one is dropped
	drainTime     = 5 * time.Second
)

// server answers PostgreSQL clients for every connection of this kind: the database name chooses.
type server struct {
	gate     *gate.Gate
	verifier gate.Verifier
	issuers  []gate.Issuer
	tls      *tls.Config
	log      *slog.Logger
	targets  map[string]*target
	memory   *memory

	cancels cancelKeys

	mu         sync.Mutex
	handshakes []*handshake // in order of accept
	sessions   map[*session]struct{}
	stopping   bool
	working    sync.WaitGroup
}

// handshake is a client that has not signed in yet.
type handshake struct{ conn net.Conn }

func newServer(d gate.Deps) (*server, error) {
	if d.Gate == nil || d.Verifier == nil || d.Log == nil {
		return nil, errors.New("postgres: a gate, a verifier and a log are required")
	}
	s := &server{
		gate:     d.Gate,
		verifier: d.Verifier,
		issuers:  d.Issuers,
		log:      d.Log,
		targets:  map[string]*target{},
		memory:   newMemory(d.Memory),
		sessions: map[*session]struct{}{},
	}
	s.cancels.keys = map[uint32]cancelKey{}
	if d.TLS != nil {
		s.tls = d.TLS.Clone()
		s.tls.NextProtos = []string{"postgresql"}
	}
	for _, c := range d.Connections {
		t, err := newTarget(c, d.Secret, d.Log)
		if err != nil {
			return nil, fmt.Errorf("connection %s: %w", c.Name, err)
		}
		s.targets[c.Name] = t
	}
	return s, nil
}

// Serve accepts until ctx ends; then sessions are told that the gateway stops, and it returns.
func (s *server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer s.shutdown()
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			// Out of descriptors or the like: others may end meanwhile.
			s.log.Warn("accept failed", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		default:
			s.accept(ctx, quick(conn), nil)
		}
	}
}

// accept hands a client to a goroutine of its own and returns at once. known is who it is, for one inside of the gateway;
// nil: it has to say.
func (s *server) accept(ctx context.Context, conn net.Conn, known *identity.Identity) {
	h := &handshake{conn: conn}
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		conn.Close()
		return
	}
	if len(s.handshakes) >= maxHandshakes {
		s.handshakes[0].conn.Close()
		s.handshakes = s.handshakes[1:]
	}
	s.handshakes = append(s.handshakes, h)
	s.working.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.working.Done()
		defer conn.Close()
		defer func() {
			if p := recover(); p != nil {
				s.log.Error("a session ended in a panic", "client", conn.RemoteAddr().String(), "panic", fmt.Sprint(p))
			}
		}()
		conn.SetDeadline(time.Now().Add(handshakeTime))
		session, err := s.signIn(ctx, conn, known)
		if session == nil {
			s.signedIn(h)
		}
		if err != nil {
			s.log.Info("sign-in refused", "client", conn.RemoteAddr().String(), "error", err)
			return
		}
		if session != nil {
			// From here on it ends with a reason, also while it is greeted.
			s.add(session)
			s.signedIn(h)
			if err := session.greet(); err != nil {
				s.remove(session)
				if err := session.gate.Close("error", "the client left while it signed in"); err != nil {
					s.log.Error("the end of a session was not recorded", "session", session.gate.ID(), "error", err)
				}
				return
			}
			session.run(context.WithoutCancel(ctx)) // the shutdown ends it, with a reason
		}
	}()
}

func (s *server) signedIn(h *handshake) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, other := range s.handshakes {
		if other == h {
			s.handshakes = append(s.handshakes[:i], s.handshakes[i+1:]...)
			return
		}
	}
}

func (s *server) add(one *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[one] = struct{}{}
}

func (s *server) remove(one *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, one)
}

// shutdown ends every session with an error that drivers reconnect on, and waits for them.
func (s *server) shutdown() {
	s.mu.Lock()
	s.stopping = true
	for _, h := range s.handshakes {
		h.conn.Close()
	}
	var open []*session
	for one := range s.sessions {
		open = append(open, one)
	}
	s.mu.Unlock()
	for _, one := range open {
		one.kill("shutdown", &gate.Refusal{
			Code:     gate.Unavailable,
			SQLState: "57P01",
			Reason:   "The gateway is stopping.",
			Remedy:   "Connect again.",
		})
	}
	done := make(chan struct{})
	go func() { s.working.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(drainTime):
		s.log.Warn("sessions did not end in time")
	}
	for _, t := range s.targets {
		t.close()
	}
}
