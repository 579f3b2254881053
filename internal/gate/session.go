package gate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
)

// Grace is how long after the end of its token a session may still end a transaction.
const Grace = 10 * time.Second

// Opening is what a connector knows when a client has signed in.
type Opening struct {
	Identity   identity.Identity
	Connection Connection
	Protocol   string
	Client     string            // address of the client
	Attributes map[string]string // what the client said of itself; they decide nothing
	// Waiting is called when a request is held, and the function that it returns when the wait is over:
	// the connector tells its client, and ends Admit's context when the client leaves or cancels. It may
	// be nil.
	Waiting func(Ticket) (over func())
	// Unattended says that nobody is there to wait: what needs an approval is refused.
	Unattended bool
	// Kill ends the session from outside, at any time, more than once too; the refusal is what the client is told. It must not
	// wait for the session. Nil: nobody can.
	Kill func(reason string, r *Refusal)
}

// Session is one principal on one connection, from accept to close.
type Session struct {
	gate       *Gate
	id         string
	identity   identity.Identity
	connection Connection
	source     string // the client's address, without its port
	waiting    func(Ticket) (over func())
	unattended bool
	recording  Recording

	// slice is what the policies say to the principal. It changes only at the start of Admit.
	set      *policy.Set
	slice    *policy.Slice
	version  string // of the policies that slice is from
	requests uint64
	decided  map[*policy.Touch]*decided // by the first touch of a list
	plain    *policy.Slice              // what slice would be without broken glass
	broken   []*Window                  // in which the glass is broken for slice
	granted  []*Grant                   // that slice is made with
	barred   *Refusal                   // why the policies that came since let it connect no more

	mu     sync.Mutex
	ended  *Refusal // why no request starts any more
	closed bool
}

// Open starts a session: the principal must be permitted to connect, and the recording must start.
func (g *Gate) Open(ctx context.Context, o Opening) (*Session, error) {
	if o.Identity.Principal.ID == "" {
		return nil, errors.New("gate: a session needs a principal")
	}
	now := g.cfg.Now()
	if !now.Before(o.Identity.Expires) {
		return nil, expired()
	}
	s := &Session{
		gate:       g,
		id:         newID("s-"),
		identity:   o.Identity,
		connection: o.Connection,
		source:     sourceOf(o.Client),
		waiting:    o.Waiting,
		unattended: o.Unattended,
	}
	s.refresh()
	connecting := s.connectTouch()
	body := DecisionBody{Decision: s.slice.Decide(connecting), Version: s.version}
	body.BreakGlass, body.Grants = s.without(connecting, body.Decision), s.grantIDs()
	body.state(connecting, s.slice)
	recording, err := g.cfg.Recorder.Open(SessionInfo{
		ID:            s.id,
		Opened:        now,
		Principal:     o.Identity.Principal,
		Connection:    o.Connection.Name,
		Protocol:      o.Protocol,
		Client:        o.Client,
		Attributes:    o.Attributes,
		PolicyVersion: s.version,
		Connect:       &body,
	})
	if err != nil {
		return nil, s.unrecorded(err)
	}
	s.recording = o.Connection.captured(recording)
	if refusal := s.barred; refusal != nil {
		_, err := s.recordIntent([]judged{{id: s.requestID(1), number: 1, refused: true, decided: s.decide(s.connectTouch())}}, refusal)
		s.requests = 1
		return nil, errors.Join(refusal, err, s.Close("error", "may not connect"))
	}
	g.live.Store(s.id, &Live{ID: s.id, Opened: now, Principal: o.Identity.Principal, Connection: o.Connection.Name, Protocol: o.Protocol, Client: o.Client, kill: o.Kill})
	return s, nil
}

// refresh takes up the policies in force, what they say now where they read the time, and whether the glass is broken.
// A session that they would not let connect stays, and does nothing more than end its transaction.
func (s *Session) refresh() {
	set, broken, granted := s.gate.cfg.Policies(), s.windows(), s.grants()
	same := slices.Equal(broken, s.broken) && slices.Equal(granted, s.granted)
	if set == s.set && !set.Momentary() && same {
		return
	}
	slice, plain := s.slices(set, broken, granted)
	if slice == s.slice && same {
		return
	}
	s.set, s.slice, s.plain, s.broken, s.granted, s.version = set, slice, plain, broken, granted, set.Version()
	s.decided = nil
	s.barred = s.connect()
}

// slices are what a set says to the principal now with its grants, in the windows that are open and without them.
func (s *Session) slices(set *policy.Set, broken []*Window, grants []*Grant) (now, plain *policy.Slice) {
	who := granted(s.identity.Principal, grants)
	at := policy.Moment{Millis: s.gate.cfg.Now().UnixMilli(), Source: s.source}
	plain = set.At(who, at)
	now = plain
	if len(broken) > 0 {
		now = set.At(breaking(who, broken), at)
	}
	if s.connection.Observe {
		now, plain = now.Observing(), plain.Observing()
	}
	return now, plain
}

// sourceOf is an address without its port; "" where it is none.
func sourceOf(client string) string {
	if ap, err := netip.ParseAddrPort(client); err == nil {
		return ap.Addr().Unmap().String()
	}
	if a, err := netip.ParseAddr(client); err == nil {
		return a.Unmap().String()
	}
	return ""
}

func (s *Session) connectTouch() []policy.Touch {
	return []policy.Touch{{Action: "connect", Resource: s.connection.Resource()}}
}

func (s *Session) connect() *Refusal {
	d := s.slice.Decide(s.connectTouch())
	switch d.Effect {
	case policy.Permit:
		return nil
	case policy.Hold:
		return &Refusal{
			Code:     PolicyDenied,
			Reason:   fmt.Sprintf("Connecting to %s needs an approval, and holding a connection is not built yet.", s.connection.Name),
			Remedy:   "Ask a policy owner to hold requests instead of `connect`.",
			Policies: d.Policies,
		}
	}
	r := refusalOf(d)
	r.Remedy = "Ask for membership of one of the connection's groups."
	return r
}

// ID is the session's id: "s-…".
func (s *Session) ID() string { return s.id }

// Principal is who the session belongs to.
func (s *Session) Principal() policy.Principal { return s.identity.Principal }

// Expires is the end of the session's token: no request starts after it.
func (s *Session) Expires() time.Time { return s.identity.Expires }

// Slice is what the policies say to the principal. It changes only at the start of Admit: what a request
// computes from it during Admit is decided by the same policies.
func (s *Session) Slice() *policy.Slice { return s.slice }

// End lets no further request start; the refusal is what the client is told then. The first call counts.
func (s *Session) End(r *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended == nil {
		s.ended = r
	}
}

// Close ends the session and its recording. Closing twice does nothing.
func (s *Session) Close(reason, detail string) error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	if s.ended == nil {
		s.ended = &Refusal{Code: Unavailable, Reason: "The session has ended.", Remedy: "Connect again."}
	}
	s.mu.Unlock()
	if closed || s.recording == nil {
		return nil
	}
	s.gate.live.Delete(s.id)
	return s.recording.Close(SessionEnd{Closed: s.gate.cfg.Now(), Reason: reason, Detail: detail, Requests: s.requests})
}

// Record writes what comes to the client without a request, before the client gets it. After an error the
// session must end.
func (s *Session) Record(events ...Event) error {
	if err := s.recording.Append(false, events...); err != nil {
		return s.unrecorded(err)
	}
	return nil
}

// live says whether something may start now; concluding says that it does nothing but end a transaction.
func (s *Session) live(concluding bool) error {
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	if ended != nil {
		return ended
	}
	end := s.identity.Expires
	if concluding {
		end = end.Add(Grace)
	}
	if s.gate.cfg.Now().Before(end) {
		return nil
	}
	return expired()
}

// Concluder is a Request that may say of itself that it only ends a transaction: such a one is still
// admitted for Grace after the token's end.
type Concluder interface{ Concludes() bool }

// concludes says whether a batch does nothing but end a transaction.
func concludes(batch []Request) bool {
	for _, r := range batch {
		if c, ok := r.(Concluder); !ok || !c.Concludes() {
			return false
		}
	}
	return len(batch) > 0
}

func expired() *Refusal {
	return &Refusal{
		Code:   IdentityRejected,
		Reason: "The token that this session was opened with has expired.",
		Remedy: "Get a fresh token (`gatehouse token`) and connect again.",
	}
}

// unrecorded is the refusal for a recording that cannot be written. The cause goes to the log.
func (s *Session) unrecorded(err error) *Refusal {
	s.gate.cfg.Log.Error("the recording cannot be written", "session", s.id, "connection", s.connection.Name, "error", err)
	return &Refusal{
		Code:   Unavailable,
		Reason: "The recording of this session cannot be written, and nothing runs unrecorded.",
		Remedy: "Tell the operator of this gateway; its log names the cause. Then connect again.",
	}
}

func (s *Session) requestID(number uint64) string { return s.id + "." + strconv.FormatUint(number, 10) }

func newID(prefix string) string { return prefix + strings.ToLower(rand.Text()[:16]) }
