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
	"slices"
	"strings"
	"sync"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
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
	Log         *slog.Logger
	Now         func() time.Time
}

// Book keeps holds. Safe for concurrent use. It implements gate.Approvals.
type Book struct {
	o           Options
	connections map[string]gate.Connection

	mu      sync.Mutex
	waiting map[string]chan struct{} // closed when a hold's state has changed
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
	b := &Book{o: o, connections: map[string]gate.Connection{}, waiting: map[string]chan struct{}{}}
	for _, c := range o.Connections {
		b.connections[c.Name] = c
	}
	return b, nil
}

// Answered is one person's answer, as people see it.
type Answered struct {
	By      string    `json:"by"`
	Approve bool      `json:"approve"`
	Reason  string    `json:"reason,omitempty"`
	At      time.Time `json:"at"`
}

// View is a hold as people see it.
type View struct {
	ID      string     `json:"id"`
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
	v := View{ID: h.ID, State: string(h.State), URL: b.url(h.ID), Created: h.Created.UTC(), Expires: h.Expires.UTC(), Changed: h.Changed.UTC(), Outcome: h.Outcome}
	if err := json.Unmarshal(h.Body, &v.Hold); err != nil {
		return v, fmt.Errorf("approval %s: %w", h.ID, err)
	}
	for _, a := range h.Answers {
		v.Answers = append(v.Answers, Answered{By: a.Name, Approve: a.Approve, Reason: a.Reason, At: a.At.UTC()})
	}
	return v, nil
}

func (b *Book) url(id string) string {
	return strings.TrimSuffix(b.o.BaseURL, "/") + "/approvals/" + id
}

// Open registers a hold.
func (b *Book) Open(ctx context.Context, h gate.Hold) (gate.Ticket, error) {
	if h.Hash == "" || len(h.Needs) == 0 {
		return gate.Ticket{}, errors.New("approval: a hold without a hash or without a need")
	}
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
	now := b.o.Now()
	kept := store.Hold{
		ID: "ap-" + strings.ToLower(rand.Text()[:14]), Connection: h.Connection, Principal: h.Principal.ID,
		Hash: h.Hash, Body: body, Created: now, Expires: now.Add(b.o.Hold),
	}
	b.mu.Lock()
	b.waiting[kept.ID] = make(chan struct{})
	b.mu.Unlock()
	err = b.o.Store.Create(ctx, kept, maxPending, maxPendingOne)
	if err != nil {
		b.forget(kept.ID)
	}
	switch {
	case errors.Is(err, store.ErrFullOne):
		return gate.Ticket{}, tooMany(fmt.Sprintf("You have %d requests waiting for approvals already.", maxPendingOne))
	case errors.Is(err, store.ErrFull):
		return gate.Ticket{}, tooMany(fmt.Sprintf("%d requests are waiting for approvals already.", maxPending))
	case err != nil:
		return gate.Ticket{}, err
	}
	b.o.Log.Info("a request waits for an approval", "approval", kept.ID, "session", h.Session, "request", h.RequestID, "principal", h.Principal.ID, "connection", h.Connection)
	return gate.Ticket{ID: kept.ID, URL: b.url(kept.ID), Expires: kept.Expires}, nil
}

func tooMany(reason string) *gate.Refusal {
	return &gate.Refusal{Code: gate.LimitExceeded, Reason: reason, Remedy: "Wait until some are answered, or cancel some."}
}

func (b *Book) forget(id string) {
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

// Wait blocks until the hold is answered or expires; when ctx ends first the hold is withdrawn.
func (b *Book) Wait(ctx context.Context, id string) (gate.Answer, error) {
	defer b.forget(id)
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
			return gate.Answer{}, b.withdraw(own, ctx.Err(), id)
		}
		if h.State != store.Pending {
			return answerOf(h), nil
		}
		left := h.Expires.Sub(b.o.Now())
		if left <= 0 {
			err := b.o.Store.Move(own, id, []store.State{store.Pending}, store.Expired, "", b.o.Now())
			if err != nil && !errors.Is(err, store.ErrConflict) {
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

func (b *Book) withdraw(ctx context.Context, why error, id string) error {
	err := b.o.Store.Move(ctx, id, []store.State{store.Pending, store.Approved}, store.Withdrawn, "cancelled by the client", b.o.Now())
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return errors.Join(why, err)
	}
	return why
}

func answerOf(h store.Hold) gate.Answer {
	a := gate.Answer{State: string(h.State)}
	for _, one := range h.Answers {
		if one.Approve == (h.State == store.Approved) {
			a.By = append(a.By, one.Name)
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
)

// Error is why a person's action was not done: one sentence why, one what to do next.
type Error struct {
	Kind           Kind
	Reason, Remedy string
}

func (e *Error) Error() string { return e.Reason }

func notFound(id string) *Error {
	return &Error{NotFound, fmt.Sprintf("There is no approval %q, or you may not see it.", id), "List what you may see with `gatehouse approvals list`."}
}

// Decide keeps a person's answer. One denial denies; approvals count until every need has its quorum, by
// distinct persons.
func (b *Book) Decide(ctx context.Context, person identity.Identity, id string, approve bool, reason string) (View, error) {
	h, v, err := b.find(ctx, person.Principal, id)
	if err != nil {
		return v, err
	}
	if len(reason) > maxReason {
		return v, &Error{NotAllowed, fmt.Sprintf("The reason is longer than %d bytes.", maxReason), "Say it shorter."}
	}
	groups, err := b.mayAnswer(person.Principal, v.Hold)
	if err != nil {
		return v, err
	}
	name := person.Principal.Name
	if name == "" {
		name = person.Principal.ID
	}
	answer := store.Answer{Person: person.Principal.ID, Name: name, Approve: approve, Reason: reason, Groups: groups, At: b.o.Now()}
	kept, err := b.o.Store.Answer(ctx, h.ID, answer, func(h store.Hold) store.State { return next(v.Hold.Needs, h.Answers) })
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
	b.o.Log.Info("an approval was answered", "approval", id, "person", person.Principal.ID, "approve", approve, "state", kept.State)
	return b.view(kept)
}

// mayAnswer says for which of the groups that a hold asks for a person counts.
func (b *Book) mayAnswer(p policy.Principal, h gate.Hold) ([]string, error) {
	for q := &h.Principal; q != nil; q = q.OnBehalfOf {
		if q.ID == p.ID || p.ID == "" {
			return nil, &Error{NotAllowed, "Nobody answers a request of their own, nor one made on their behalf.", "Ask somebody else of the group to answer."}
		}
	}
	var groups, asked []string
	for _, n := range h.Needs {
		asked = append(asked, n.Group)
		if p.InGroup(n.Group) && !slices.Contains(groups, n.Group) {
			groups = append(groups, n.Group)
		}
	}
	if p.Kind != policy.User || len(groups) == 0 {
		return nil, &Error{NotAllowed, fmt.Sprintf("This approval is for people in %s.", strings.Join(asked, ", ")), "Ask one of them to answer."}
	}
	if !b.permitted(p, "approve", h.Connection) {
		return nil, &Error{NotAllowed, fmt.Sprintf("No policy permits you to approve on connection %s.", h.Connection), "Ask a policy owner for a permit of the action approve."}
	}
	return groups, nil
}

func (b *Book) permitted(p policy.Principal, action, connection string) bool {
	c, ok := b.connections[connection]
	if !ok {
		return false
	}
	d := b.o.Policies().For(p).Decide([]policy.Touch{{Action: action, Resource: c.Resource()}})
	return d.Effect == policy.Permit
}

// next is the state of a hold with these answers.
func next(needs []policy.Approval, answers []store.Answer) store.State {
	for _, a := range answers {
		if !a.Approve {
			return store.Denied
		}
	}
	if enough(needs, answers) {
		return store.Approved
	}
	return store.Pending
}

// enough says whether every need has its quorum of distinct persons: each person counts for one need. It
// is a matching of persons to places (augmenting paths).
func enough(needs []policy.Approval, answers []store.Answer) bool {
	var places []string
	for _, n := range needs {
		for range max(n.Quorum, 1) {
			places = append(places, n.Group)
		}
	}
	taken := make([]int, len(answers)) // person → place + 1
	var seat func(place int, tried []bool) bool
	seat = func(place int, tried []bool) bool {
		for i, a := range answers {
			if tried[i] || !a.Approve || !slices.Contains(a.Groups, places[place]) {
				continue
			}
			tried[i] = true
			if taken[i] == 0 || seat(taken[i]-1, tried) {
				taken[i] = place + 1
				return true
			}
		}
		return false
	}
	for i := range places {
		if !seat(i, make([]bool, len(answers))) {
			return false
		}
	}
	return len(places) > 0
}

// find gets a hold that the person may see.
func (b *Book) find(ctx context.Context, p policy.Principal, id string) (store.Hold, View, error) {
	h, err := b.o.Store.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return h, View{}, notFound(id)
	}
	if err != nil {
		return h, View{}, err
	}
	v, err := b.view(h)
	if err != nil {
		return h, v, err
	}
	if !b.maySee(p, v.Hold) {
		return h, View{}, notFound(id)
	}
	return h, v, nil
}

// maySee says whether a person sees a hold: those who approve or review on its connection, and the user
// that it is asked for.
func (b *Book) maySee(p policy.Principal, h gate.Hold) bool {
	if p.Kind != policy.User || p.ID == "" {
		return false
	}
	for q := &h.Principal; q != nil; q = q.OnBehalfOf {
		if q.Kind == policy.User && q.ID == p.ID {
			return true
		}
	}
	return b.permitted(p, "approve", h.Connection) || b.permitted(p, "review", h.Connection)
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
