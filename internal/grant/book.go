package grant

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
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
	maxAlive   = 1000
	maxReason  = 2000 // bytes
	maxID      = 300  // bytes of an agent's id
	shortest   = time.Minute
	usual      = 30 * time.Minute
	longest    = 12 * time.Hour
	answerIn   = 24 * time.Hour
	sweepEvery = time.Second
)

// groupName is what can be a group (identity's short names, and namespaced ids).
var groupName = regexp.MustCompile(`^[^\s"\\]{1,200}$`)

// Options are what a book is made of. All but Notify are required.
type Options struct {
	Store       *store.Store
	Policies    func() *policy.Set
	Connections []gate.Connection
	BaseURL     string
	Notify      *notify.Sender
	Log         *slog.Logger
	Now         func() time.Time
}

// Book keeps grants. Safe for concurrent use. It implements gate.Grants.
type Book struct {
	o           Options
	gate        *gate.Gate
	connections map[string]gate.Connection

	// inForce are those that are granted in the store, by who has them. Whether their time is over is looked at each time.
	inForce atomic.Pointer[map[key][]*gate.Grant]
	lapses  atomic.Int64 // when the time of the first of those alive is over, in microseconds; 0: none is alive
	mu      sync.Mutex   // what changes the store and inForce together
	used    map[string]int64
}

type key struct {
	kind       policy.Kind
	principal  string
	connection string
}

// New makes a book; a missing part is an error. Attach it to a gate before anything is served.
func New(ctx context.Context, o Options) (*Book, error) {
	if o.Store == nil || o.Policies == nil || o.Log == nil || o.Now == nil {
		return nil, errors.New("grant: every part is required")
	}
	b := &Book{o: o, connections: map[string]gate.Connection{}, used: map[string]int64{}}
	for _, c := range o.Connections {
		b.connections[c.Name] = c
	}
	return b, b.Sweep(ctx)
}

// Attach gives the gate through which it is recorded what people do here.
func (b *Book) Attach(g *gate.Gate) { b.gate = g }

// Grants are those in force now for a principal, or whom it acts for, on a connection.
func (b *Book) Grants(p *policy.Principal, connection string) []*gate.Grant {
	all := b.inForce.Load()
	if all == nil || len(*all) == 0 {
		return nil
	}
	var out []*gate.Grant
	for ; p != nil; p = p.OnBehalfOf {
		for _, g := range (*all)[key{p.Kind, p.ID, connection}] {
			if b.o.Now().Before(g.Expires) {
				out = append(out, g)
			}
		}
	}
	return out
}

// load reads what is in force. The caller holds mu.
func (b *Book) load(ctx context.Context) error {
	list, err := b.o.Store.AliveGrants(ctx)
	if err != nil {
		return err
	}
	before := map[string]*gate.Grant{}
	if was := b.inForce.Load(); was != nil {
		for _, grants := range *was {
			for _, g := range grants {
				before[g.ID] = g
			}
		}
	}
	all := map[key][]*gate.Grant{}
	var first int64
	for _, kept := range list {
		g, err := b.read(kept)
		if err != nil {
			return err
		}
		over := g.Lapses
		if g.State == store.GrantGranted {
			over = g.Expires
			one := before[g.ID]
			if one == nil {
				one = &gate.Grant{ID: g.ID, Kind: policy.Kind(kept.Kind), Principal: kept.Principal, Connection: kept.Connection, Group: kept.Group, Expires: g.Expires}
			}
			k := key{one.Kind, one.Principal, one.Connection}
			all[k] = append(all[k], one)
		}
		if at := over.UnixMicro(); first == 0 || at < first {
			first = at
		}
	}
	b.inForce.Store(&all)
	b.lapses.Store(first)
	return nil
}

func (b *Book) read(kept store.Grant) (Grant, error) {
	var g Grant
	if err := json.Unmarshal(kept.Body, &g); err != nil {
		return g, fmt.Errorf("grant %s: %w", kept.ID, err)
	}
	g.ID, g.State, g.LastUsed, g.URL = kept.ID, kept.State, kept.Used, b.url(kept.ID)
	return g, nil
}

func (b *Book) url(id string) string {
	return strings.TrimSuffix(b.o.BaseURL, "/") + "/approvals/" + id
}

func (b *Book) moment() policy.Moment { return policy.Moment{Millis: b.o.Now().UnixMilli()} }

// Ask is what somebody asks for.
type Ask struct {
	Connection string
	Group      string
	Reason     string
	For        time.Duration // 0: half an hour
	// Agent is the id of an agent that is in the group in place of the person; "" for the person.
	Agent string
}

func invalid(format string, args ...any) error {
	return &approval.Error{Kind: approval.Invalid, Reason: fmt.Sprintf(format, args...)}
}

// short writes a length of time without zeros: 1h, 30m.
func short(d time.Duration) string {
	s := strings.TrimSuffix(d.String(), "0s")
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Request asks for a group on a connection. It is recorded before anybody sees it.
func (b *Book) Request(ctx context.Context, who identity.Identity, a Ask) (Grant, error) {
	g := Grant{
		ID: "gr-" + strings.ToLower(rand.Text()[:14]), State: store.GrantPending, Principal: who.Principal, Connection: a.Connection, Group: a.Group,
		By: *personOf(who.Principal), Reason: strings.TrimSpace(a.Reason), Asked: b.o.Now().UTC(),
	}
	if a.Agent != "" {
		g.Principal = policy.Principal{Kind: policy.Agent, ID: a.Agent}
	}
	length := a.For
	if length == 0 {
		length = usual
	}
	g.Seconds, g.Lapses = int64(length/time.Second), g.Asked.Add(answerIn)
	c, ok := b.connections[a.Connection]
	switch {
	case !ok:
		return g, &approval.Error{Kind: approval.NotFound, Reason: fmt.Sprintf("There is no connection %q.", a.Connection), Remedy: "Name one that is configured."}
	case !groupName.MatchString(a.Group) || strings.HasPrefix(a.Group, "grant:"):
		return g, invalid("%q is not a group that can be granted.", a.Group)
	case g.Reason == "":
		return g, invalid("Asking for access needs a reason: whoever grants it reads it.")
	case len(g.Reason) > maxReason:
		return g, invalid("The reason is longer than %d bytes.", maxReason)
	case len(a.Agent) > maxID:
		return g, invalid("The agent's id is longer than %d bytes.", maxID)
	case length < shortest || length > longest:
		return g, invalid("A grant is for %s at least, and for %s at most.", short(shortest), short(longest))
	case !b.o.Policies().Grantable(c.Resource(), a.Group):
		return g, &approval.Error{Kind: approval.NotAllowed, Reason: fmt.Sprintf("No policy lets anybody grant the group %q on connection %q.", a.Group, a.Connection),
			Remedy: "Ask a policy owner for a permit of the action grant on that group, or for another group."}
	}
	err := b.gate.Act(ctx, b.act(who, &g, "ask for "+g.headline()), func(ctx context.Context, _ policy.Decision) (string, error) {
		return g.ID + " is pending", b.keep(context.WithoutCancel(ctx), g)
	})
	if err != nil {
		return Grant{}, told(err)
	}
	g.URL = b.url(g.ID)
	b.o.Log.Info("access was asked for", "grant", g.ID, "person", g.By.ID, "principal", g.Principal.ID, "group", g.Group, "connection", g.Connection)
	b.o.Notify.Wake()
	return g, nil
}

// act is what is recorded of what somebody does here. Whether they may is found out here.
func (b *Book) act(who identity.Identity, g *Grant, text string) gate.Act {
	c := b.connections[g.Connection]
	c.Name = g.Connection // it may not be configured any more
	return gate.Act{Who: who, Settled: true, Intent: gate.Intent{Text: text, Durable: true}, Touches: []policy.Touch{policy.GrantTouch(c.Resource(), g.Group)}}
}

// keep puts a grant that was asked for into the store.
func (b *Book) keep(ctx context.Context, g Grant) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.sweep(ctx); err != nil { // one whose time is over is not in the way
		return err
	}
	body, err := json.Marshal(g)
	if err != nil {
		return err
	}
	err = b.o.Store.AskGrant(ctx, store.Grant{ID: g.ID, Connection: g.Connection, Kind: string(g.Principal.Kind), Principal: g.Principal.ID, Group: g.Group, Body: body, Asked: g.Asked},
		maxAlive, b.o.Notify.Messages(b.event(notify.AccessAsked, &g))...)
	switch {
	case errors.Is(err, store.ErrGrantAlive):
		return &approval.Error{Kind: approval.Conflict, Reason: fmt.Sprintf("%s has the group %s on connection %s, or has asked for it.", g.Principal, g.Group, g.Connection), Remedy: "See `gatehouse access list`."}
	case errors.Is(err, store.ErrGrants):
		return &approval.Error{Kind: approval.Conflict, Reason: fmt.Sprintf("%d grants are pending or in force already.", maxAlive), Remedy: "Have some answered or revoked."}
	case err != nil:
		return err
	}
	return b.load(ctx)
}

func (b *Book) event(kind string, g *Grant) notify.Event {
	e := notify.Event{
		Kind: kind, At: b.o.Now().UTC(), Approval: g.ID, URL: b.url(g.ID), Connection: g.Connection, Principal: g.Principal.String(),
		Summary: fmt.Sprintf("%s for %s, %s", g.Group, short(time.Duration(g.Seconds)*time.Second), g.State), Expires: g.Expires,
	}
	if g.AnsweredBy != nil {
		e.By = []string{g.AnsweredBy.String()}
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

// Sweep ends what is over.
func (b *Book) Sweep(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.sweep(ctx); err != nil {
		return err
	}
	return b.load(ctx)
}

func (b *Book) sweep(ctx context.Context) error {
	if err := b.keepUse(ctx); err != nil {
		return err
	}
	list, err := b.o.Store.AliveGrants(ctx)
	if err != nil {
		return err
	}
	for _, kept := range list {
		g, err := b.read(kept)
		if err != nil {
			return err
		}
		from := g.State
		if !g.Expire(b.o.Now()) {
			continue
		}
		if err := b.move(ctx, &g, from); err != nil && !errors.Is(err, store.ErrGrantState) {
			return err
		}
		b.o.Log.Info("a grant is over", "grant", g.ID, "state", g.State, "principal", g.Principal.ID, "group", g.Group, "connection", g.Connection)
	}
	return nil
}

// keepUse keeps when grants were used last. The caller holds mu.
func (b *Book) keepUse(ctx context.Context) error {
	all := b.inForce.Load()
	if all == nil {
		return nil
	}
	for _, grants := range *all {
		for _, g := range grants {
			if at := g.Used(); at > b.used[g.ID] {
				if err := b.o.Store.UsedGrant(ctx, g.ID, time.UnixMicro(at)); err != nil {
					return err
				}
				b.used[g.ID] = at
			}
		}
	}
	return nil
}

// move keeps a grant in its new state.
func (b *Book) move(ctx context.Context, g *Grant, from store.GrantState) error {
	kept := *g
	kept.URL, kept.LastUsed = "", time.Time{}
	body, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	kind := notify.AccessEnded
	if g.State == store.GrantGranted {
		kind = notify.AccessGranted
	}
	if err := b.o.Store.MoveGrant(ctx, g.ID, from, g.State, body, b.o.Notify.Messages(b.event(kind, g))...); err != nil {
		return err
	}
	if g.State != store.GrantGranted {
		delete(b.used, g.ID)
	}
	b.o.Notify.Wake()
	return nil
}

// Run ends what is over, until ctx ends.
func (b *Book) Run(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		first := b.lapses.Load()
		if first == 0 || b.o.Now().UnixMicro() < first && n%10 != 0 { // every ten seconds for the last use
			continue
		}
		if err := b.Sweep(ctx); err != nil && ctx.Err() == nil {
			b.o.Log.Error("grants whose time is over could not be ended; they give nothing any more", "error", err)
		}
	}
}

// mayGrant says whether a person may grant what was asked for.
func (b *Book) mayGrant(p policy.Principal, g *Grant) bool {
	c, ok := b.connections[g.Connection]
	return ok && b.o.Policies().MayGrant(p, c.Resource(), g.Group, b.moment())
}

// maySee says whether a person sees a grant: who asked for it or has it, who may grant it, who reviews its connection.
func (b *Book) maySee(p policy.Principal, g *Grant) bool {
	if p.Kind != policy.User || p.ID == "" {
		return false
	}
	if g.own(p) || b.mayGrant(p, g) {
		return true
	}
	c, ok := b.connections[g.Connection]
	return ok && b.o.Policies().At(p, b.moment()).Decide([]policy.Touch{{Action: "review", Resource: c.Resource()}}).Effect == policy.Permit
}

// Get gives a grant to a person who may see it.
func (b *Book) Get(ctx context.Context, who identity.Identity, id string) (Grant, error) {
	kept, err := b.o.Store.GetGrant(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNoGrant) {
		return Grant{}, err
	}
	if err == nil {
		g, err := b.read(kept)
		if err != nil {
			return g, err
		}
		if b.maySee(who.Principal, &g) {
			g.Expire(b.o.Now()) // where the sweep has not come yet
			return g, nil
		}
	}
	return Grant{}, &approval.Error{Kind: approval.NotFound, Reason: fmt.Sprintf("There is no grant %q, or you may not see it.", id), Remedy: "List what you may see with `gatehouse access list`."}
}

// List gives the newest grants that a person may see; state "" is all.
func (b *Book) List(ctx context.Context, who identity.Identity, state store.GrantState, limit int) ([]Grant, error) {
	if err := b.Sweep(ctx); err != nil {
		return nil, err
	}
	list, err := b.o.Store.ListGrants(ctx, state, 10*limit)
	if err != nil {
		return nil, err
	}
	out := []Grant{}
	for _, kept := range list {
		g, err := b.read(kept)
		if err != nil {
			return nil, err
		}
		if len(out) < limit && b.maySee(who.Principal, &g) {
			out = append(out, g)
		}
	}
	return out, nil
}

// Give grants what was asked for, for as long or less (0: as long).
func (b *Book) Give(ctx context.Context, who identity.Identity, id string, length time.Duration, answer string) (Grant, error) {
	return b.change(ctx, who, id, "grant", answer, true, func(g *Grant) error { return g.Give(who.Principal, length, answer, b.o.Now().UTC()) })
}

// Deny says no to what was asked for.
func (b *Book) Deny(ctx context.Context, who identity.Identity, id, answer string) (Grant, error) {
	return b.change(ctx, who, id, "deny", answer, true, func(g *Grant) error { return g.Deny(who.Principal, answer, b.o.Now().UTC()) })
}

// Revoke ends a grant, or takes back what was asked for, at once: who asked or has it may, and who may grant it.
func (b *Book) Revoke(ctx context.Context, who identity.Identity, id, why string) (Grant, error) {
	return b.change(ctx, who, id, "revoke", why, false, func(g *Grant) error { return g.End(who.Principal, why, b.o.Now().UTC()) })
}

// change records what somebody does to a grant, and does it.
func (b *Book) change(ctx context.Context, who identity.Identity, id, verb, text string, granting bool, do func(*Grant) error) (Grant, error) {
	text = strings.TrimSpace(text)
	if len(text) > maxReason {
		return Grant{}, invalid("What you say is longer than %d bytes.", maxReason)
	}
	g, err := b.Get(ctx, who, id)
	if err != nil {
		return g, err
	}
	if may := b.mayGrant(who.Principal, &g); !may && (granting || !g.own(who.Principal)) {
		return g, &approval.Error{Kind: approval.NotAllowed, Reason: fmt.Sprintf("No policy lets you grant the group %s on connection %s.", g.Group, g.Connection), Remedy: "Ask somebody who may."}
	}
	from, next := g.State, g
	if g.State == store.GrantLapsed || g.State == store.GrantExpired {
		return g, b.why(&g, errNotInForce)
	}
	if err := do(&next); err != nil {
		return g, b.why(&g, err)
	}
	err = b.gate.Act(ctx, b.act(who, &g, fmt.Sprintf("%s %s, %s: %s", verb, g.ID, g.headline(), text)), func(ctx context.Context, _ policy.Decision) (string, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		ctx = context.WithoutCancel(ctx)
		if err := errors.Join(b.keepUse(ctx), b.move(ctx, &next, from)); err != nil {
			if errors.Is(err, store.ErrGrantState) {
				return "", b.why(&g, errNotPending)
			}
			return "", err
		}
		return next.ID + " is " + string(next.State), b.load(ctx)
	})
	if err != nil {
		return g, told(err)
	}
	b.o.Log.Info("a grant changed", "grant", g.ID, "state", next.State, "person", who.Principal.ID, "principal", g.Principal.ID, "group", g.Group, "connection", g.Connection)
	return next, nil
}

// why is an error of a grant for a person.
func (b *Book) why(g *Grant, err error) error {
	e := &approval.Error{Kind: approval.Conflict, Reason: fmt.Sprintf("Grant %s is %s: %s.", g.ID, g.State, err), Remedy: "See `gatehouse access show " + g.ID + "`."}
	if errors.Is(err, errOwn) {
		e.Kind, e.Reason, e.Remedy = approval.NotAllowed, "Nobody grants what they asked for, or get, themselves.", "Ask somebody else who may."
	}
	return e
}

// View is a grant as it stands in a list of what waits for people.
func (g *Grant) View() approval.View {
	v := approval.View{
		ID: g.ID, Kind: "access", State: string(g.State), URL: g.URL, Created: g.Asked, Expires: g.Lapses, Changed: g.Asked,
		Hold: gate.Hold{Principal: g.Principal, Connection: g.Connection, Intents: []gate.Intent{{Text: g.headline()}}, Touches: []string{"grant group " + g.Group}},
	}
	if g.AnsweredBy != nil {
		v.Changed = g.Answered
		v.Answers = []approval.Answered{{By: g.AnsweredBy.String(), Approve: g.State != store.GrantDenied, Reason: g.Answer, At: g.Answered}}
	}
	return v
}
