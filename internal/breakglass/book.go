package breakglass

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/approval"
	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
	"gatehouse/internal/notify"
	"gatehouse/internal/policy"
	"gatehouse/internal/store"
)

// Bounds.
const (
	maxOpen    = 1000
	maxReason  = 2000 // bytes
	maxID      = 300  // bytes of an agent's id
	shortest   = time.Minute
	usual      = 15 * time.Minute
	sweepEvery = time.Second
)

// Options are what a book is made of. All but Notify are required.
type Options struct {
	Store       *store.Store
	Gate        *gate.Gate
	Policies    func() *policy.Set
	Connections []gate.Connection
	BaseURL     string
	Notify      *notify.Sender
	Log         *slog.Logger
	Now         func() time.Time
}

// Book keeps windows. Safe for concurrent use. It implements gate.BreakGlass.
type Book struct {
	o           Options
	connections map[string]gate.Connection

	// open are the windows that are open in the store, by who is in them. Whether their time is over is looked at
	// each time.
	open atomic.Pointer[map[key]*gate.Window]
	mu   sync.Mutex // what changes the store and open together
}

type key struct {
	kind       policy.Kind
	principal  string
	connection string
}

// New makes a book; a missing part is an error. Attach it to a gate before anything is served.
func New(ctx context.Context, o Options) (*Book, error) {
	if o.Store == nil || o.Policies == nil || o.Log == nil || o.Now == nil {
		return nil, errors.New("breakglass: every part is required")
	}
	b := &Book{o: o, connections: map[string]gate.Connection{}}
	for _, c := range o.Connections {
		b.connections[c.Name] = c
	}
	return b, b.Sweep(ctx)
}

// Attach gives the gate through which it is recorded what people do here.
func (b *Book) Attach(g *gate.Gate) { b.o.Gate = g }

// Windows are those that are open now for a principal, or whom it acts for, on a connection.
func (b *Book) Windows(p *policy.Principal, connection string) []*gate.Window {
	all := b.open.Load()
	if all == nil || len(*all) == 0 {
		return nil
	}
	var out []*gate.Window
	for ; p != nil; p = p.OnBehalfOf {
		w := (*all)[key{p.Kind, p.ID, connection}]
		if w != nil && b.o.Now().Before(w.Expires) {
			out = append(out, w)
		}
	}
	return out
}

// Used keeps that a session uses a window.
func (b *Book) Used(ctx context.Context, w *gate.Window, session string) error {
	return b.o.Store.UseWindow(ctx, w.ID, session, b.o.Now())
}

// load reads which windows are open. The caller holds mu.
func (b *Book) load(ctx context.Context) error {
	list, err := b.o.Store.OpenWindows(ctx)
	if err != nil {
		return err
	}
	before := b.open.Load()
	all := map[key]*gate.Window{}
	for _, kept := range list {
		w, err := b.read(kept)
		if err != nil {
			return err
		}
		k := key{policy.Kind(kept.Kind), kept.Principal, kept.Connection}
		all[k] = &gate.Window{ID: w.ID, Kind: k.kind, Principal: k.principal, Connection: k.connection, Expires: w.Expires}
		if before != nil && (*before)[k] != nil && (*before)[k].ID == w.ID {
			all[k] = (*before)[k]
		}
	}
	b.open.Store(&all)
	return nil
}

func (b *Book) read(kept store.Window) (Window, error) {
	var w Window
	if err := json.Unmarshal(kept.Body, &w); err != nil {
		return w, fmt.Errorf("break-glass window %s: %w", kept.ID, err)
	}
	w.ID, w.State, w.Sessions, w.URL = kept.ID, kept.State, kept.Sessions, b.url(kept.ID)
	return w, nil
}

func (b *Book) url(id string) string {
	return strings.TrimSuffix(b.o.BaseURL, "/") + "/approvals/" + id
}

// Ask is what somebody wants to break the glass for.
type Ask struct {
	Connection string
	Reason     string
	For        time.Duration // 0: 15 minutes, or less where the policies say so
	// Agent is the id of an agent that is in the window in place of the person; "" for the person.
	Agent string
}

// Open opens a window for a person who the policies let break the glass. It is recorded before it is open.
func (b *Book) Open(ctx context.Context, who identity.Identity, a Ask) (Window, error) {
	c, ok := b.connections[a.Connection]
	review, may := policy.Review{}, false
	if ok {
		review, may = b.o.Policies().BreakGlass(who.Principal, c.Resource(), b.moment())
	}
	switch {
	case !ok && b.visible(who.Principal):
		return Window{}, &approval.Error{Kind: approval.NotFound, Reason: fmt.Sprintf("There is no connection %q.", a.Connection), Remedy: "Name one that is configured."}
	case !may:
		return Window{}, b.refused(ctx, who, a, c)
	}
	w := Window{
		ID: "bg-" + strings.ToLower(rand.Text()[:14]), State: store.WindowOpen, Principal: who.Principal, Connection: a.Connection,
		By: personOf(who.Principal), Reason: strings.TrimSpace(a.Reason), Review: review, Opened: b.o.Now().UTC(),
	}
	if a.Agent != "" {
		w.Principal = policy.Principal{Kind: policy.Agent, ID: a.Agent}
	}
	if err := b.bound(&w, a); err != nil {
		return Window{}, err
	}
	err := b.o.Gate.Act(ctx, gate.Act{Who: who, Intent: gate.Intent{Text: w.headline(), Durable: true}, Touches: touch(c)}, func(ctx context.Context, d policy.Decision) (string, error) {
		return w.ID + " is open", b.keep(context.WithoutCancel(ctx), w)
	})
	if err != nil {
		return Window{}, told(err)
	}
	w.URL = b.url(w.ID)
	b.o.Log.Warn("break-glass: a window is open", "alert", "break-glass", "window", w.ID, "person", w.By.ID, "principal", w.Principal.ID, "connection", w.Connection, "expires", w.Expires, "reviewers", review.Group, "reason", w.Reason)
	b.o.Notify.Wake()
	return w, nil
}

// moment is now, as policies read it.
func (b *Book) moment() policy.Moment { return policy.Moment{Millis: b.o.Now().UnixMilli()} }

func touch(c gate.Connection) []policy.Touch {
	return []policy.Touch{{Action: "breakglass", Resource: c.Resource()}}
}

// visible says whether a person may know which connections there are: whoever may do something on one.
func (b *Book) visible(p policy.Principal) bool {
	for _, c := range b.connections {
		if _, may := b.o.Policies().BreakGlass(p, c.Resource(), b.moment()); may {
			return true
		}
	}
	return false
}

// bound takes the reason and the length of a window.
func (b *Book) bound(w *Window, a Ask) error {
	most := time.Duration(w.Review.Minutes) * time.Minute
	length := a.For
	if length == 0 {
		length = min(usual, most)
	}
	switch {
	case w.Reason == "":
		return invalid("Breaking the glass needs a reason: it is recorded, and whoever reviews reads it.")
	case len(w.Reason) > maxReason:
		return invalid("The reason is longer than %d bytes.", maxReason)
	case len(a.Agent) > maxID:
		return invalid("The agent's id is longer than %d bytes.", maxID)
	case length < shortest:
		return invalid("A window is open for a minute at least.")
	case length > most:
		return invalid("Policy %s lets the glass be broken for %s at most.", w.Review.Policy, short(most))
	}
	w.Expires = w.Opened.Add(length)
	return nil
}

// short writes a length of time without zeros: 1h, 30m.
func short(d time.Duration) string {
	s := d.String()
	s = strings.TrimSuffix(s, "0s")
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func invalid(format string, args ...any) error {
	return &approval.Error{Kind: approval.Invalid, Reason: fmt.Sprintf(format, args...)}
}

// refused records that somebody tried who may not.
func (b *Book) refused(ctx context.Context, who identity.Identity, a Ask, c gate.Connection) error {
	refusal := &approval.Error{Kind: approval.NotAllowed, Reason: fmt.Sprintf("No policy lets you break the glass on connection %q.", a.Connection),
		Remedy: "Ask for an approval, or ask a policy owner for a permit of the action breakglass that names reviewers (@breakglass)."}
	c.Name = a.Connection
	reason := a.Reason
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "")
	}
	b.o.Log.Warn("break-glass: refused", "person", who.Principal.ID, "connection", a.Connection)
	act := gate.Act{Who: who, Intent: gate.Intent{Text: "break the glass on " + c.Name + ": " + reason}, Touches: touch(c)}
	err := b.o.Gate.Act(ctx, act, func(context.Context, policy.Decision) (string, error) { return "", refusal })
	if r, ok := gate.AsRefusal(err); ok && r.Code != gate.PolicyDenied {
		return told(err)
	}
	return refusal
}

// keep puts a window in the store and into force.
func (b *Book) keep(ctx context.Context, w Window) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.sweep(ctx); err != nil { // one whose time is over is not in the way
		return err
	}
	body, err := json.Marshal(w)
	if err != nil {
		return err
	}
	err = b.o.Store.OpenWindow(ctx, store.Window{ID: w.ID, Connection: w.Connection, Kind: string(w.Principal.Kind), Principal: w.Principal.ID, Body: body, Opened: w.Opened},
		maxOpen, b.o.Notify.Messages(b.event(notify.BreakGlass, &w))...)
	switch {
	case errors.Is(err, store.ErrWindowOpen):
		return &approval.Error{Kind: approval.Conflict, Reason: fmt.Sprintf("There is an open window on connection %s already.", w.Connection), Remedy: "Use it; `gatehouse access list` shows it. To have a longer one, revoke it first."}
	case errors.Is(err, store.ErrWindows):
		return &approval.Error{Kind: approval.Conflict, Reason: fmt.Sprintf("%d windows are open already.", maxOpen), Remedy: "Have some revoked."}
	case err != nil:
		return err
	}
	return b.load(ctx)
}

func (b *Book) event(kind string, w *Window) notify.Event {
	e := notify.Event{
		Kind: kind, At: w.Opened, Approval: w.ID, URL: b.url(w.ID), Connection: w.Connection, Principal: w.Principal.String(),
		Summary: "break-glass, opened by " + w.By.String(), Groups: []string{w.Review.Group}, Expires: w.Expires,
	}
	if kind == notify.Review {
		e.At = w.Ended
	}
	return e
}

// told turns a refusal of the gate into an error for a person.
func told(err error) error {
	if r, ok := gate.AsRefusal(err); ok {
		kind := approval.Conflict
		if r.Code == gate.PolicyDenied {
			kind = approval.NotAllowed
		}
		return &approval.Error{Kind: kind, Reason: r.Reason, Remedy: r.Remedy}
	}
	return err
}

// Sweep ends the windows whose time is over, and says so.
func (b *Book) Sweep(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.sweep(ctx); err != nil {
		return err
	}
	return b.load(ctx)
}

func (b *Book) sweep(ctx context.Context) error {
	list, err := b.o.Store.OpenWindows(ctx)
	if err != nil {
		return err
	}
	for _, kept := range list {
		w, err := b.read(kept)
		if err != nil {
			return err
		}
		if !w.Expire(b.o.Now()) {
			continue
		}
		if err := b.move(ctx, &w, store.WindowOpen, notify.Review); err != nil && !errors.Is(err, store.ErrWindowState) {
			return err
		}
		b.o.Log.Warn("break-glass: a window ended, and waits for a review", "alert", "break-glass", "window", w.ID, "how", w.EndedHow, "reviewers", w.Review.Group)
	}
	return nil
}

// move keeps a window in its new state.
func (b *Book) move(ctx context.Context, w *Window, from store.WindowState, event string) error {
	kept := *w
	kept.Sessions, kept.URL = nil, ""
	body, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	var tell []notify.Message
	if event != "" {
		tell = b.o.Notify.Messages(b.event(event, w))
	}
	if err := b.o.Store.MoveWindow(ctx, w.ID, from, w.State, body, tell...); err != nil {
		return err
	}
	b.o.Notify.Wake()
	return nil
}

// Run sweeps until ctx ends.
func (b *Book) Run(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !b.due() {
			continue
		}
		if err := b.Sweep(ctx); err != nil && ctx.Err() == nil {
			b.o.Log.Error("break-glass: the windows whose time is over could not be ended; nobody breaks the glass in them", "error", err)
		}
	}
}

// due says whether the time of an open window is over.
func (b *Book) due() bool {
	all := b.open.Load()
	if all == nil {
		return true
	}
	for _, w := range *all {
		if !b.o.Now().Before(w.Expires) {
			return true
		}
	}
	return false
}

// maySee says whether a person sees a window: who opened it, who reviews it, and who reviews or approves on its
// connection.
func (b *Book) maySee(p policy.Principal, w *Window) bool {
	if p.Kind != policy.User || p.ID == "" {
		return false
	}
	return p.PersonID() == w.By.ID || p.InGroup(w.Review.Group) || b.permitted(p, "review", w.Connection) || b.permitted(p, "approve", w.Connection)
}

func (b *Book) permitted(p policy.Principal, action, connection string) bool {
	c, ok := b.connections[connection]
	return ok && b.o.Policies().At(p, b.moment()).Decide([]policy.Touch{{Action: action, Resource: c.Resource()}}).Effect == policy.Permit
}

// Get gives a window to a person who may see it.
func (b *Book) Get(ctx context.Context, who identity.Identity, id string) (Window, error) {
	kept, err := b.o.Store.GetWindow(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNoWindow) {
		return Window{}, err
	}
	if err == nil {
		w, err := b.read(kept)
		if err != nil {
			return w, err
		}
		if b.maySee(who.Principal, &w) {
			w.Expire(b.o.Now()) // where the sweep has not come yet
			return w, nil
		}
	}
	return Window{}, &approval.Error{Kind: approval.NotFound, Reason: fmt.Sprintf("There is no window %q, or you may not see it.", id), Remedy: "List what you may see with `gatehouse access list`."}
}

// List gives the newest windows that a person may see; state "" is all.
func (b *Book) List(ctx context.Context, who identity.Identity, state store.WindowState, limit int) ([]Window, error) {
	if err := b.Sweep(ctx); err != nil {
		return nil, err
	}
	list, err := b.o.Store.ListWindows(ctx, state, 10*limit)
	if err != nil {
		return nil, err
	}
	out := []Window{}
	for _, kept := range list {
		w, err := b.read(kept)
		if err != nil {
			return nil, err
		}
		if len(out) < limit && b.maySee(who.Principal, &w) {
			out = append(out, w)
		}
	}
	return out, nil
}

// Revoke ends a window at once: whoever opened it, reviews it, or approves on its connection may.
func (b *Book) Revoke(ctx context.Context, who identity.Identity, id, reason string) (Window, error) {
	w, err := b.Get(ctx, who, id)
	if err != nil {
		return w, err
	}
	p := who.Principal
	if p.PersonID() != w.By.ID && !p.InGroup(w.Review.Group) && !b.permitted(p, "approve", w.Connection) {
		return w, &approval.Error{Kind: approval.NotAllowed, Reason: "You may see this window, and not end it.", Remedy: "Ask somebody of " + w.Review.Group + "."}
	}
	return b.change(ctx, who, w, "revoke", reason, notify.Review, func(w *Window) error { return w.Revoke(personOf(p), strings.TrimSpace(reason), b.o.Now().UTC()) })
}

// Review marks a window as reviewed, with what was found.
func (b *Book) Review(ctx context.Context, who identity.Identity, id, finding string) (Window, error) {
	if err := b.Sweep(ctx); err != nil {
		return Window{}, err
	}
	w, err := b.Get(ctx, who, id)
	if err != nil {
		return w, err
	}
	finding = strings.TrimSpace(finding)
	if finding == "" {
		return w, invalid("A review needs a finding: what you looked at, and whether it was right.")
	}
	return b.change(ctx, who, w, "review", finding, "", func(w *Window) error { return w.MarkReviewed(who.Principal, finding, b.o.Now().UTC()) })
}

// change records what somebody does to a window, and does it.
func (b *Book) change(ctx context.Context, who identity.Identity, w Window, verb, text, event string, do func(*Window) error) (Window, error) {
	if len(text) > maxReason {
		return w, invalid("What you say is longer than %d bytes.", maxReason)
	}
	from := w.State
	next := w
	if err := do(&next); err != nil {
		return w, b.why(&w, err)
	}
	c := b.connections[w.Connection]
	c.Name = w.Connection // it may not be configured any more
	act := gate.Act{Who: who, Settled: true, Intent: gate.Intent{Text: fmt.Sprintf("%s break-glass window %s of %s on %s: %s", verb, w.ID, w.By, w.Connection, text), Durable: true}, Touches: touch(c)}
	err := b.o.Gate.Act(ctx, act, func(ctx context.Context, _ policy.Decision) (string, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		ctx = context.WithoutCancel(ctx)
		if err := b.move(ctx, &next, from, event); err != nil {
			if errors.Is(err, store.ErrWindowState) {
				return "", b.why(&w, errNotOpen)
			}
			return "", err
		}
		return next.ID + " is " + string(next.State), b.load(ctx)
	})
	if err != nil {
		return w, told(err)
	}
	b.o.Log.Warn("break-glass: a window changed", "alert", "break-glass", "window", w.ID, "state", next.State, "person", who.Principal.ID)
	return next, nil
}

// why is an error of a window for a person.
func (b *Book) why(w *Window, err error) error {
	e := &approval.Error{Kind: approval.Conflict, Reason: fmt.Sprintf("Window %s: %s.", w.ID, err), Remedy: "See `gatehouse access show " + w.ID + "`."}
	switch {
	case errors.Is(err, errOwn), errors.Is(err, errNoReviewer):
		e.Kind, e.Remedy = approval.NotAllowed, "Ask somebody else of "+w.Review.Group+" to review it."
	case errors.Is(err, errStillOpen):
		e.Remedy = fmt.Sprintf("It ends at %s, or at once with `gatehouse access revoke %s`.", w.Expires.UTC().Format("15:04:05 UTC"), w.ID)
	}
	return e
}

// AwaitingReview is the state of a window that has ended, in a list of what waits for people.
const AwaitingReview = "awaiting-review"

// View is a window as it stands in a list of what waits for people.
func (w *Window) View() approval.View {
	v := approval.View{
		ID: w.ID, Kind: "break-glass", State: string(w.State), URL: w.URL, Created: w.Opened, Expires: w.Expires, Changed: w.Opened,
		Hold: gate.Hold{
			Principal: w.Principal, Connection: w.Connection, Intents: []gate.Intent{{Text: w.headline()}},
			Touches: []string{}, Policies: []string{w.Review.Policy}, Needs: []policy.Approval{{Group: w.Review.Group, Quorum: 1, Policy: w.Review.Policy}},
		},
		Outcome: w.EndedHow,
	}
	switch w.State {
	case store.WindowEnded:
		v.State, v.Changed = AwaitingReview, w.Ended
	case store.WindowReviewed:
		v.Changed = w.Reviewed
		v.Answers = []approval.Answered{{By: w.ReviewedBy.String(), Approve: true, Reason: w.Finding, At: w.Reviewed}}
	}
	return v
}
