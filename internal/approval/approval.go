// Package approval is the book of held requests: who may answer them, when they have enough answers, and
// that each runs at most once.
//
// It never runs anything, and it never lets anyone answer a request of their own.
package approval

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
	"gatehouse/internal/notify"
	"gatehouse/internal/policy"
	"gatehouse/internal/store"
)

// Bounds of what may be pending.
const (
	maxPending    = 1000
	maxPendingOne = 20
	maxReason     = 2000     // bytes of what a person says
	maxHold       = 1 << 20  // bytes of a request that a person can be asked to look at
	maxListed     = 16 << 20 // bytes of the requests that are listed at once
)

// Options are what a book is made of.
type Options struct {
	Store *store.Store
	// Hold is how long a request waits for its answers; 5 minutes by default. Valid is how long an
	// approval may be started; 15 minutes by default.
	Hold, Valid time.Duration
	// BaseURL is where people reach this gateway's pages: "https://gw.example:8443".
	BaseURL     string
	Policies    func() *policy.Set
	Connections []gate.Connection
	// Notify, where there is one, tells people of holds and of how they ended.
	Notify *notify.Sender
	// Approved does what was proposed and is approved now; hash is that of what was approved. Without it nothing
	// can be proposed.
	Approved func(ctx context.Context, v View, hash string) error
	// Preview, where there is one, looks at what a hold would do for a person who asks from an address.
	Preview func(ctx context.Context, person identity.Identity, client string, h gate.Hold) (gate.Effect, error)
	Log     *slog.Logger
	Now     func() time.Time
}

// Book keeps holds. Safe for concurrent use. It implements gate.Approvals.
type Book struct {
	o           Options
	gate        *gate.Gate
	connections map[string]gate.Connection

	mu      sync.Mutex
	waiting map[string]chan struct{} // by hold that a client waits for: closed when its state has changed
	// escalating are holds that another group has to be told of, and when.
	escalating map[string]time.Time
}

// New makes a book; a missing part is an error.
func New(o Options) (*Book, error) {
	if o.Store == nil || o.Policies == nil || o.Log == nil || o.Now == nil {
		return nil, errors.New("approval: every part is required")
	}
	if o.Hold == 0 {
		o.Hold = 5 * time.Minute
	}
	if o.Valid == 0 {
		o.Valid = 15 * time.Minute
	}
	b := &Book{o: o, connections: map[string]gate.Connection{}, waiting: map[string]chan struct{}{}, escalating: map[string]time.Time{}}
	for _, c := range o.Connections {
		b.connections[c.Name] = c
	}
	return b, nil
}

// Attach gives the gate through which it is recorded what people answer; before it nobody can.
func (b *Book) Attach(g *gate.Gate) { b.gate = g }

// Answered is one person's answer, as people see it.
type Answered struct {
	By      string    `json:"by"`
	Approve bool      `json:"approve"`
	Reason  string    `json:"reason,omitempty"`
	MaxRows int64     `json:"max_rows,omitempty" doc:"more changed rows than these are rolled back"`
	At      time.Time `json:"at"`
}

// View is a hold as people see it.
type View struct {
	ID      string     `json:"id"`
	Kind    string     `json:"kind" enum:"request,publish,break-glass" doc:"a request whose client waits, a version of the policies, or a window in which somebody broke the glass"`
	State   string     `json:"state"`
	URL     string     `json:"url"`
	Created time.Time  `json:"created"`
	Expires time.Time  `json:"expires"`
	Changed time.Time  `json:"changed"`
	Hold    gate.Hold  `json:"hold"`
	Answers []Answered `json:"answers,omitempty"`
	Outcome string     `json:"outcome,omitempty"`
}

func (b *Book) view(h store.Hold) (View, error) {
	v := View{ID: h.ID, Kind: h.Kind, State: string(h.State), URL: b.url(h.ID), Created: h.Created.UTC(), Expires: h.Expires.UTC(), Changed: h.Changed.UTC(), Outcome: h.Outcome}
	if err := json.Unmarshal(h.Body, &v.Hold); err != nil {
		return v, fmt.Errorf("approval %s: %w", h.ID, err)
	}
	for _, a := range h.Answers {
		v.Answers = append(v.Answers, Answered{By: a.Name, Approve: a.Approve, Reason: a.Reason, MaxRows: a.MaxRows, At: a.At.UTC()})
	}
	return v, nil
}

func (b *Book) url(id string) string {
	return strings.TrimSuffix(b.o.BaseURL, "/") + "/approvals/" + id
}

// Open registers a hold, or gives the one that the same principal left behind with the same request: an approval is
// used by sending the request again.
func (b *Book) Open(ctx context.Context, h gate.Hold) (gate.Ticket, error) {
	if h.Hash == "" || len(h.Needs) == 0 {
		return gate.Ticket{}, errors.New("approval: a hold without a hash or without a need")
	}
	return b.open(ctx, store.HoldRequest, h, b.o.Hold)
}

func (b *Book) open(ctx context.Context, kind string, h gate.Hold, patience time.Duration) (gate.Ticket, error) {
	body, err := json.Marshal(h)
	if err != nil {
		return gate.Ticket{}, err
	}
	if len(body) > maxHold {
		return gate.Ticket{}, &gate.Refusal{
			Code:   gate.LimitExceeded,
			Reason: fmt.Sprintf("The request needs an approval, and is longer than the %d bytes that a person can be asked to look at.", maxHold),
			Remedy: "Send it in smaller parts.",
		}
	}
	var behind []store.Hold
	if kind == store.HoldRequest {
		if behind, err = b.o.Store.Left(ctx, h.Connection, h.Principal.ID, maxPendingOne); err != nil {
			return gate.Ticket{}, err
		}
		if t, ok, err := b.redeem(ctx, &h, behind); ok || err != nil {
			return t, err
		}
	}
	now := b.o.Now()
	kept := store.Hold{
		ID: "ap-" + strings.ToLower(rand.Text()[:14]), Kind: kind, Connection: h.Connection, Principal: h.Principal.ID,
		Hash: h.Hash, Body: body, Created: now, Expires: now.Add(patience),
	}
	if kind == store.HoldRequest {
		b.attach(kept.ID)
	}
	err = b.o.Store.Create(ctx, kept, maxPending, maxPendingOne, b.o.Notify.Messages(b.event(notify.Pending, kept, h))...)
	if err != nil {
		b.Leave(kept.ID)
	}
	switch {
	case errors.Is(err, store.ErrFullOne):
		return gate.Ticket{}, tooMany(fmt.Sprintf("You have %d requests waiting for approvals already.", maxPendingOne))
	case errors.Is(err, store.ErrFull):
		return gate.Ticket{}, tooMany(fmt.Sprintf("%d requests are waiting for approvals already.", maxPending))
	case err != nil:
		return gate.Ticket{}, err
	}
	b.o.Notify.Wake()
	b.escalateLater(kept.ID, h.Needs, now)
	b.o.Log.Info("a request waits for an approval", "approval", kept.ID, "session", h.Session, "request", h.RequestID, "principal", h.Principal.ID, "connection", h.Connection)
	t := gate.Ticket{ID: kept.ID, URL: b.url(kept.ID), Expires: kept.Expires}
	t.Other, t.Differs, err = b.nearest(ctx, &h, behind)
	if err != nil {
		b.o.Log.Warn("approvals left behind were not compared", "approval", kept.ID, "error", err)
	}
	return t, nil
}

// usable says whether a hold can still be answered or started.
func (b *Book) usable(h *store.Hold) bool {
	now := b.o.Now()
	switch h.State {
	case store.Pending:
		return now.Before(h.Expires)
	case store.Approved:
		return !h.Changed.Before(now.Add(-b.o.Valid))
	}
	return false
}

// whole is a hold with its body.
func (b *Book) whole(ctx context.Context, id string) (View, error) {
	h, err := b.o.Store.Get(ctx, id)
	if err != nil {
		return View{}, err
	}
	return b.view(h)
}

func tooMany(reason string) *gate.Refusal {
	return &gate.Refusal{Code: gate.LimitExceeded, Reason: reason, Remedy: "Wait until some are answered, or cancel some."}
}

// attach notes that a client waits for a hold; false where one does already.
func (b *Book) attach(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting[id] != nil {
		return false
	}
	b.waiting[id] = make(chan struct{})
	return true
}

func (b *Book) attached(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting[id] != nil
}

// Leave says that the client waits no more: the hold can be found by Open again.
func (b *Book) Leave(id string) {
	b.mu.Lock()
	delete(b.waiting, id)
	b.mu.Unlock()
}

// changed wakes who waits for a hold.
func (b *Book) changed(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.waiting[id]; c != nil {
		close(c)
		b.waiting[id] = make(chan struct{})
	}
}

// Wait blocks until the hold is answered or expires; when ctx ends first its error is returned.
func (b *Book) Wait(ctx context.Context, id string) (gate.Answer, error) {
	own := context.WithoutCancel(ctx) // what is kept must not depend on a client that left
	for {
		b.mu.Lock()
		wake := b.waiting[id]
		b.mu.Unlock()
		h, err := b.o.Store.Get(own, id)
		if err != nil {
			return gate.Answer{}, err
		}
		if ctx.Err() != nil {
			return gate.Answer{}, ctx.Err()
		}
		if h.State != store.Pending {
			return answerOf(h), nil
		}
		left := h.Expires.Sub(b.o.Now())
		if left <= 0 {
			if err := b.expire(own, h); err != nil {
				return gate.Answer{}, err
			}
			continue
		}
		timer := time.NewTimer(left)
		select {
		case <-wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// Void ends a hold that was not started.
func (b *Book) Void(ctx context.Context, id, why string) error {
	err := b.o.Store.Move(ctx, id, []store.State{store.Pending, store.Approved}, store.Withdrawn, why, b.o.Now())
	if errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}

func answerOf(h store.Hold) gate.Answer {
	a := gate.Answer{State: string(h.State)}
	for _, one := range h.Answers {
		if one.Approve == (h.State == store.Approved) {
			a.By = append(a.By, one.Name)
			if one.MaxRows > 0 && (a.MaxRows == 0 || one.MaxRows < a.MaxRows) {
				a.MaxRows = one.MaxRows
			}
		}
		if one.Reason != "" {
			a.Reason = one.Reason
		}
	}
	return a
}

// Start moves an approved hold to running, once, within the validity of its approval.
func (b *Book) Start(ctx context.Context, id, hash string) error {
	now := b.o.Now()
	return b.o.Store.Start(context.WithoutCancel(ctx), id, hash, now.Add(-b.o.Valid), now)
}

// Finish keeps how a running hold ended.
func (b *Book) Finish(ctx context.Context, id string, o gate.Outcome) error {
	to := store.Done
	if o.Status == "unknown" {
		to = store.Unknown
	}
	outcome := o.Status
	if o.Summary != "" {
		outcome += ": " + o.Summary
	}
	if o.Error != "" {
		outcome += ": " + o.Error
	}
	return b.o.Store.Move(context.WithoutCancel(ctx), id, []store.State{store.Running}, to, outcome, b.o.Now())
}

// Kind is the class of an Error.
type Kind int

// The kinds of errors of people's actions.
const (
	NotFound Kind = iota + 1
	NotAllowed
	Conflict
	Invalid
)

// Error is why a person's action was not done: one sentence why, one what to do next.
type Error struct {
	Kind           Kind
	Reason, Remedy string
}

func (e *Error) Error() string { return e.Reason }

// Text is all that a person is told.
func (e *Error) Text() string { return strings.TrimSpace(e.Reason + " " + e.Remedy) }

func notFound(id string) *Error {
	return &Error{NotFound, fmt.Sprintf("There is no approval %q, or you may not see it.", id), "List what you may see with `gatehouse approvals list`."}
}

// Decide keeps a person's answer. One denial denies; approvals count until every need has its quorum, by
// distinct persons.
func (b *Book) Decide(ctx context.Context, person identity.Identity, id string, said Said) (View, error) {
	h, v, err := b.find(ctx, person.Principal, id)
	if err != nil {
		return v, err
	}
	if err := said.check(v); err != nil {
		return v, err
	}
	groups, err := b.mayAnswer(person.Principal, v)
	if err != nil {
		return v, err
	}
	name := person.Principal.Name
	if name == "" {
		name = person.Principal.ID
	}
	answer := store.Answer{Person: person.Principal.PersonID(), Name: name, Approve: said.Approve, Reason: said.Reason, MaxRows: said.MaxRows, Groups: groups, At: b.o.Now()}
	var kept store.Hold
	err = b.record(ctx, person, v, said, func(ctx context.Context) (string, error) {
		var err error
		kept, err = b.o.Store.Answer(ctx, h.ID, answer, func(h store.Hold) (store.State, []notify.Message) {
			to := next(v.Hold.Needs, h.Answers)
			h.Changed = answer.At
			return to, b.o.Notify.Messages(b.event(told[to], h, v.Hold))
		})
		return id + " is " + string(kept.State), err
	})
	switch {
	case errors.Is(err, store.ErrAnswered):
		return v, &Error{Conflict, "You have answered this approval already.", "Another person has to answer."}
	case errors.Is(err, store.ErrConflict):
		now, err := b.o.Store.Get(ctx, id)
		if err != nil {
			return v, err
		}
		state := now.State
		if state == store.Pending {
			state = store.Expired
		}
		return v, &Error{Conflict, fmt.Sprintf("Approval %s is %s already.", id, state), "There is nothing left to answer; see `gatehouse approvals show " + id + "`."}
	case err != nil:
		return v, err
	}
	b.changed(id)
	b.o.Notify.Wake()
	b.o.Log.Info("an approval was answered", "approval", id, "person", person.Principal.ID, "approve", said.Approve, "state", kept.State)
	if kept.Kind == store.HoldPublish && kept.State == store.Approved {
		return b.carryOut(ctx, kept)
	}
	return b.view(kept)
}

// Get gives a hold to a person who may see it.
func (b *Book) Get(ctx context.Context, person identity.Identity, id string) (View, error) {
	_, v, err := b.find(ctx, person.Principal, id)
	return v, err
}

// List gives the newest holds that the person may see; state "" is all.
func (b *Book) List(ctx context.Context, person identity.Identity, state string, limit int) ([]View, error) {
	list, err := b.o.Store.List(ctx, store.State(state), 10*limit, maxListed)
	if err != nil {
		return nil, err
	}
	out := []View{}
	for _, h := range list {
		v, err := b.view(h)
		if err != nil {
			return nil, err
		}
		if b.maySee(person.Principal, v.Hold) && len(out) < limit {
			out = append(out, v)
		}
	}
	return out, nil
}
