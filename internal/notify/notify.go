// Package notify tells people elsewhere that something waits for them: by signed webhooks, in Slack, in
// Microsoft Teams, by mail.
//
// Nobody waits for a delivery. A message is kept in an outbox before it is sent, sent at least once, and tried
// again until it is of no use any more. A notification tells what happens and links to it; it never carries a
// value that a statement holds or a database answered, and nothing can be answered through it.
package notify

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kinds of events.
const (
	Pending  = "approval.pending"  // somebody has to answer
	Approved = "approval.approved" // enough persons have approved
	Denied   = "approval.denied"
	Expired  = "approval.expired" // nobody answered in time
	// Somebody breaks the glass; it ended, and has to be reviewed.
	BreakGlass = "breakglass.opened"
	Review     = "breakglass.ended"
	// Somebody asks for a group on a connection; it was granted, or not.
	AccessAsked   = "access.asked"
	AccessGranted = "access.granted"
	AccessEnded   = "access.ended" // denied, lapsed, revoked
	Test          = "test"         // somebody tries whether notifications arrive
)

// Event is what people are told. It has names of things and of people, and no values.
type Event struct {
	Kind string    `json:"kind"`
	At   time.Time `json:"at"`
	// Approval is the id, and URL the page, of what this is about.
	Approval   string `json:"approval,omitempty"`
	URL        string `json:"url,omitempty"`
	Connection string `json:"connection,omitempty"`
	// Principal is who asked, with whom it acts for.
	Principal string `json:"principal,omitempty"`
	// Statement is what would run, with every value taken out; empty where that cannot be said.
	Statement string `json:"statement,omitempty"`
	// Summary is what it is in a word: "UPDATE".
	Summary string   `json:"summary,omitempty"`
	Touches []string `json:"touches,omitempty"`
	// Groups are those whose people can answer.
	Groups []string `json:"groups,omitempty"`
	// By names the persons who answered.
	By      []string  `json:"by,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
}

// Message is an event on its way to one target.
type Message struct {
	ID     string
	Target string
	Event  []byte // an Event in JSON
	// Due is when it is to be sent, Until when it is of no use any more.
	Due, Until time.Time
	Tries      int
}

// Outbox keeps messages until they are delivered. Implementations are safe for concurrent use.
type Outbox interface {
	// Due gives the messages for a target that are due, the oldest first.
	Due(ctx context.Context, target string, now time.Time, limit int) ([]Message, error)
	// Next says when the first message for a target comes due; the zero time where there is none.
	Next(ctx context.Context, target string) (time.Time, error)
	// Remove takes a message out: it was delivered, or given up.
	Remove(ctx context.Context, id string) error
	// Postpone keeps a message for later, as tried once more.
	Postpone(ctx context.Context, id string, due time.Time) error
}

// Bounds of what is sent.
const (
	attempt    = 10 * time.Second // an attempt may take
	keep       = 24 * time.Hour   // what does not end by itself is tried
	maxTouches = 20
	maxText    = 2000 // bytes of a statement
	maxAtOnce  = 32   // messages that are read from the outbox
	firstRetry = 2 * time.Second
	lastRetry  = 10 * time.Minute
	look       = 30 * time.Second // the outbox is looked at, woken or not
)

// channel delivers to one target. An error never holds a secret; Retry in it says when to try again.
type channel interface {
	deliver(ctx context.Context, m Message, e Event) error
}

// Sender delivers what the outbox has. Make it with New.
type Sender struct {
	outbox Outbox
	log    *slog.Logger
	now    func() time.Time
	routes []*route
}

type route struct {
	target  Target
	channel channel
	wake    chan struct{}
}

// Options are what a sender is made of; every part is required.
type Options struct {
	Targets []Target
	Outbox  Outbox
	Log     *slog.Logger
	Now     func() time.Time
}

// New makes a sender. It reads no secret: that is done at each delivery, so that secrets can be changed.
func New(o Options) (*Sender, error) {
	if o.Outbox == nil || o.Log == nil || o.Now == nil {
		return nil, errors.New("notify: every part is required")
	}
	s := &Sender{outbox: o.Outbox, log: o.Log, now: o.Now}
	for _, t := range o.Targets {
		if err := t.Check(); err != nil {
			return nil, err
		}
		s.routes = append(s.routes, &route{target: t, channel: t.channel(o.Now), wake: make(chan struct{}, 1)})
	}
	return s, nil
}

// Messages are the messages that an event becomes: one for each target that wants it. They are to be kept in
// the outbox together with what the event tells of; then Wake.
func (s *Sender) Messages(e Event) []Message {
	if s == nil {
		return nil
	}
	var out []Message
	var body []byte
	for _, r := range s.routes {
		if !r.target.wants(e) {
			continue
		}
		if body == nil {
			var err error
			if body, err = json.Marshal(e.bounded()); err != nil {
				s.log.Error("a notification cannot be written", "approval", e.Approval, "error", err)
				return nil
			}
		}
		until := e.At.Add(keep)
		if e.Kind == Pending && !e.Expires.IsZero() {
			until = e.Expires
		}
		out = append(out, Message{ID: "msg_" + strings.ToLower(rand.Text()), Target: r.target.Name, Event: body, Due: e.At, Until: until})
	}
	return out
}

// bounded is the event without what would be too long to read.
func (e Event) bounded() Event {
	if more := len(e.Touches) - maxTouches; more > 0 {
		e.Touches = append(slices.Clone(e.Touches[:maxTouches]), fmt.Sprintf("and %d more", more))
	}
	if len(e.Statement) > maxText {
		e.Statement = strings.ToValidUTF8(e.Statement[:maxText], "") + " …"
	}
	return e
}

// Wake says that the outbox has something new.
func (s *Sender) Wake() {
	if s == nil {
		return
	}
	for _, r := range s.routes {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// Run delivers until ctx ends. Each target has its own queue: one that hangs does not hold up the others.
func (s *Sender) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, r := range s.routes {
		all.Go(func() { s.serve(ctx, r) })
	}
	all.Wait()
}

func (s *Sender) serve(ctx context.Context, r *route) {
	for ctx.Err() == nil {
		wait := min(max(s.drain(ctx, r).Sub(s.now()), 0), look)
		timer := time.NewTimer(wait)
		select {
		case <-r.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// drain sends what is due, and says when to look again: when the next one comes due, or after a while.
func (s *Sender) drain(ctx context.Context, r *route) time.Time {
	for ctx.Err() == nil {
		due, err := s.outbox.Due(ctx, r.target.Name, s.now(), maxAtOnce)
		for i := 0; i < len(due) && err == nil; i++ {
			err = s.send(ctx, r, due[i])
		}
		if err == nil && len(due) < maxAtOnce {
			var next time.Time
			if next, err = s.outbox.Next(ctx, r.target.Name); err == nil && !next.IsZero() {
				return next
			}
		}
		if err != nil && ctx.Err() == nil {
			s.log.Error("the outbox of notifications cannot be used", "target", r.target.Name, "error", err)
			return s.now().Add(firstRetry)
		}
		if len(due) < maxAtOnce {
			break
		}
	}
	return s.now().Add(look)
}

// send tries one message; the error is the outbox's.
func (s *Sender) send(ctx context.Context, r *route, m Message) error {
	var e Event
	if err := json.Unmarshal(m.Event, &e); err != nil {
		s.log.Error("a notification cannot be read, and is given up", "target", r.target.Name, "message", m.ID, "error", err)
		return s.outbox.Remove(ctx, m.ID)
	}
	if !s.now().Before(m.Until) {
		s.log.Warn("a notification could not be delivered in time, and is given up", "target", r.target.Name, "kind", e.Kind, "approval", e.Approval, "tries", m.Tries)
		return s.outbox.Remove(ctx, m.ID)
	}
	bounded, cancel := context.WithTimeout(ctx, attempt)
	err := r.channel.deliver(bounded, m, e)
	cancel()
	if err == nil {
		return s.outbox.Remove(ctx, m.ID)
	}
	if ctx.Err() != nil { // stopping: it is tried at the next start
		return nil
	}
	delay := backoff(m.Tries)
	var later *retryAfter
	if errors.As(err, &later) {
		delay = max(delay, min(later.delay, lastRetry))
	}
	s.log.Warn("a notification was not delivered, and is tried again", "target", r.target.Name, "kind", e.Kind, "approval", e.Approval, "tries", m.Tries+1, "again", delay.String(), "error", err)
	return s.outbox.Postpone(ctx, m.ID, s.now().Add(delay))
}

// backoff is how long to wait after so many failed tries: twice as long each time.
func backoff(tries int) time.Duration {
	if tries > 10 {
		return lastRetry
	}
	return min(firstRetry<<tries, lastRetry)
}

// retryAfter is an error of a target that says when to come back.
type retryAfter struct {
	error
	delay time.Duration
}

// Deliver sends an event to one target now, once: to try whether it arrives.
func Deliver(ctx context.Context, t Target, e Event, now func() time.Time) error {
	if err := t.Check(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	return t.channel(now).deliver(ctx, Message{ID: "msg_" + strings.ToLower(rand.Text()), Target: t.Name}, e.bounded())
}
