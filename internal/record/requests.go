package record

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
)

// Query says which requests are read, and how much of them.
type Query struct {
	// Since and Until bound when they were asked; a zero time does not.
	Since, Until time.Time
	Connection   string // empty: all
	// Who says whose requests are read; nil: everyone's.
	Who func(policy.Principal) bool
	// Examples is how many examples are kept of what was asked alike.
	Examples int
	// Moments keeps when and from where every single request was asked.
	Moments bool
	// Progress is told now and then how far it is, in bytes; it may be nil.
	Progress func(done, all int64, requests int)
	// Most bounds the different decisions that are held, in bytes as they were recorded; 0: 512 MiB. More are ErrMany.
	Most int64
}

// Requests are the requests of a journal, gathered by what decided them.
type Requests struct {
	Asked []*Asked // in the order in which each was asked first
	// Requests and Sessions are how many were read: those that the query wants.
	Requests, Sessions int
	// Headless counts requests whose session begins before these recordings do: who asked is not known.
	Headless int
}

// Asked is what one principal asked on one connection in one way: requests with the same touches that were decided
// alike.
type Asked struct {
	Principal  policy.Principal
	Connection string
	Protocol   string
	// Connect is set for the sessions that were opened; they are not among the requests.
	Connect bool
	// Prepare is set where nothing was run yet, only prepared.
	Prepare bool
	// Decision is shared. Of the refusal it has the code only.
	Decision *gate.DecisionBody
	// Damaged says why the decision cannot be read; nil where it can.
	Damaged error
	Count   int
	// Stopped counts those that were not forwarded, whatever the decision said: the approval was not given, or
	// another request of the batch was refused.
	Stopped     int
	First, Last time.Time
	LastClient  string // the address that the last one came from
	Examples    []Example
	Moments     []Moment
}

// Ran counts the requests that were forwarded, or the sessions that were opened.
func (a *Asked) Ran() int {
	if a.Decision == nil || a.Decision.Decision.Effect == policy.Refuse {
		return 0
	}
	return a.Count - a.Stopped
}

// Example is one request.
type Example struct {
	Session string    `json:"session"`
	Request uint64    `json:"request,omitempty"` // 0: the session itself
	Time    time.Time `json:"time"`
	// Text is what ran, else what the client sent; cut short where it is long.
	Text string `json:"text,omitempty"`
}

// ID is the request's id, or the session's.
func (e Example) ID() string {
	if e.Request == 0 {
		return e.Session
	}
	return fmt.Sprintf("%s.%d", e.Session, e.Request)
}

// Moment is when and from where a request was asked.
type Moment struct {
	Time    time.Time
	Client  string // its address
	Session string
	Request uint64
}

const (
	// chunkSize is from how many bytes on entries are decoded as one piece of work.
	chunkSize = 256 << 10
	// maxText bounds the text of an example, in bytes.
	maxText = 4 << 10
	// maxDecisions bounds the different decisions that are held, in bytes as they were recorded: who asks chooses how many
	// there are.
	maxDecisions = 512 << 20
)

// ErrMany is the error where recordings have more different decisions than can be held.
var ErrMany = errors.New("they have more different decisions than can be held at once: look at less of them, by --since and --until")

// ReadRequests reads the requests of a journal, in one pass, on every processor. It checks what protects against
// accidents; Verify proves that nothing was changed. What a gateway is writing meanwhile may be left out.
func ReadRequests(ctx context.Context, dir string, q Query) (*Requests, error) {
	list, err := segments(dir)
	if err == nil && len(list) == 0 {
		_, err = os.Stat(dir)
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &requestReader{query: q, since: q.Since.UnixMicro(), decisions: map[string]*decision{}, work: make(chan *chunk), order: make(chan *chunk, 4*runtime.GOMAXPROCS(0))}
	if q.Since.IsZero() {
		r.since = -1 << 62
	}
	var running sync.WaitGroup
	running.Go(func() { r.feed(ctx, list) })
	for range runtime.GOMAXPROCS(0) {
		running.Go(r.decode)
	}
	g := gathering{query: q, all: sizes(list), out: &Requests{Asked: []*Asked{}}, sessions: map[string]*askingSession{}, asked: map[askedKey]*Asked{}, who: map[string]*policy.Principal{}, connects: map[string]*decision{}}
	for c := range r.order {
		<-c.done
		if err == nil {
			err = g.take(c)
		}
		if err != nil {
			cancel()
		}
		r.put(c)
	}
	running.Wait()
	if err != nil {
		return nil, err
	}
	if q.Progress != nil {
		q.Progress(g.done, g.all, g.out.Requests)
	}
	return g.out, nil
}

func sizes(list []*segment) (sum int64) {
	for _, s := range list {
		if i, err := os.Stat(s.path); err == nil {
			sum += i.Size()
		}
	}
	return sum
}

// requestReader reads entries in order and decodes them side by side.
type requestReader struct {
	query Query
	since int64 // microseconds
	work  chan *chunk
	order chan *chunk
	pool  sync.Pool

	mu        sync.RWMutex
	decisions map[string]*decision
	held      int64 // bytes of their keys
}

// decision is a body that was decoded once.
type decision struct {
	body *gate.DecisionBody
	err  error
}

// chunk is a run of entries, and what happened in them.
type chunk struct {
	bytes    []byte
	entries  []span
	happened []happening
	err      error
	done     chan struct{}
}

type span struct {
	at       place
	from, to int
}

// happening is one event of those that matter here. Its bytes are parts of the chunk.
type happening struct {
	session  string
	time     time.Time
	request  uint64
	opened   *gate.SessionInfo
	decision *decision // of a request
	intent   []byte
	response bool
	refused  bool
	closed   bool
}

func (r *requestReader) get() *chunk {
	if c, ok := r.pool.Get().(*chunk); ok {
		c.bytes, c.entries, c.happened, c.err = c.bytes[:0], c.entries[:0], c.happened[:0], nil
		c.done = make(chan struct{})
		return c
	}
	return &chunk{bytes: make([]byte, 0, chunkSize+chunkSize/4), done: make(chan struct{})}
}

func (r *requestReader) put(c *chunk) {
	if cap(c.bytes) <= 16*chunkSize {
		clear(c.happened)
		r.pool.Put(c)
	}
}

// feed reads the entries into chunks. It ends with ctx.
func (r *requestReader) feed(ctx context.Context, list []*segment) {
	defer close(r.work)
	defer close(r.order)
	c := r.get()
	send := func() {
		r.order <- c // who takes from it drains it, whatever happens
		r.work <- c
		c = r.get()
	}
	for _, s := range list {
		f, err := os.Open(s.path)
		if err == nil {
			s.raw(ctx, f, func(at place, whole []byte, e error) bool {
				if e != nil {
					err = e
					return false
				}
				from := len(c.bytes)
				c.bytes = append(c.bytes, whole...)
				c.entries = append(c.entries, span{at, from, len(c.bytes)})
				if len(c.bytes) >= chunkSize {
					send()
				}
				return true
			})
			f.Close()
		}
		if err != nil {
			if !errors.Is(err, errTail) {
				c.err = err
			}
			break
		}
	}
	send()
}

func (r *requestReader) decode() {
	for c := range r.work {
		for _, s := range c.entries {
			if err := r.entry(c, c.bytes[s.from:s.to], s.at.segment.keys); err != nil && c.err == nil {
				if c.err = err; !errors.Is(err, ErrMany) {
					c.err = &damage{s.at, err.Error(), err}
				}
				break
			}
		}
		close(c.done)
	}
}

// entry notes what happened in an entry.
func (r *requestReader) entry(c *chunk, b []byte, keys *keyring) error {
	if at, node, err := whenWritten(b); err != nil {
		return err
	} else if at < r.since && !node {
		return nil
	}
	e, rest, err := openEntry(b, keys)
	if err != nil {
		return err
	}
	var asked Event
	for len(rest) > 0 {
		var ev Event
		if ev, rest, err = nextEvent(rest); err != nil {
			return err
		}
		h := happening{session: e.Session, time: e.Time, request: ev.Request}
		switch ev.Kind {
		case gate.SessionOpened:
			h.opened = new(gate.SessionInfo)
			if err := json.Unmarshal(ev.Body, h.opened); err != nil {
				return fmt.Errorf("its session.open: %w", err)
			}
		case gate.Requested:
			asked = ev
			continue
		case gate.Decided:
			if h.decision = r.decision(ev.Body); h.decision == nil {
				return ErrMany
			}
			if asked.Request == ev.Request {
				h.intent = asked.Body
			}
		case gate.Responded:
			h.response, h.refused = true, bytes.HasPrefix(ev.Body, []byte(`{"status":"refused"`))
		case gate.SessionClosed:
			h.closed = true
		default:
			continue
		}
		c.happened = append(c.happened, h)
	}
	return nil
}

// whenWritten looks at an entry's time, and whether it opens or closes a session.
func whenWritten(b []byte) (at int64, node bool, err error) {
	if len(b) < minEntry || len(b) < minEntry-1+int(b[1]) {
		return 0, false, errFormat
	}
	when := b[2+int(b[1])+8:]
	for _, x := range when[:8] {
		at = at<<8 | int64(x)
	}
	return at, b[0]&flagNode != 0, nil
}

// decision decodes a body, once for equal ones. Refusals are equal whose code is: what they say further differs from
// request to request. nil: there are too many.
func (r *requestReader) decision(body []byte) *decision {
	key := body
	if refused := bytes.Index(body, []byte(`,"refusal":{"code":"`)); refused >= 0 { // in a string quotes are escaped
		code := refused + len(`,"refusal":{"code":"`)
		if end := bytes.IndexByte(body[code:], '"'); end >= 0 {
			key = body[:code+end+1]
		}
	}
	r.mu.RLock()
	d := r.decisions[string(key)]
	r.mu.RUnlock()
	if d != nil {
		return d
	}
	d = &decision{body: new(gate.DecisionBody)}
	if d.err = json.Unmarshal(body, d.body); d.err == nil && d.body.Refusal != nil {
		d.body.Refusal = &gate.Refusal{Code: d.body.Refusal.Code}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if first := r.decisions[string(key)]; first != nil {
		return first
	}
	if r.held += int64(len(key)); r.held > cmp.Or(r.query.Most, maxDecisions) {
		return nil
	}
	r.decisions[string(key)] = d
	return d
}

// gathering puts what happened together, in order.
type gathering struct {
	query    Query
	out      *Requests
	done     int64
	all      int64
	chunks   int
	sessions map[string]*askingSession
	asked    map[askedKey]*Asked
	who      map[string]*policy.Principal
	connects map[string]*decision
}

// askingSession is a session that is open at this point of the journal.
type askingSession struct {
	info    *gate.SessionInfo
	who     *policy.Principal // nil: the query does not want it
	counted bool
	waiting map[uint64]*Asked // without a response yet
}

type askedKey struct {
	who              *policy.Principal
	connection       string
	decision         *decision
	connect, prepare bool
}

func (g *gathering) take(c *chunk) error {
	for i := range c.happened {
		g.happen(&c.happened[i])
	}
	g.done += int64(len(c.bytes) + frameSize*len(c.entries))
	if g.chunks++; g.query.Progress != nil && g.chunks%64 == 0 {
		g.query.Progress(g.done, g.all, g.out.Requests)
	}
	return c.err
}

func (g *gathering) wanted(t time.Time) bool {
	return (g.query.Since.IsZero() || !t.Before(g.query.Since)) && (g.query.Until.IsZero() || t.Before(g.query.Until))
}

func (g *gathering) happen(h *happening) {
	s := g.sessions[h.session]
	switch {
	case h.opened != nil:
		s = g.open(h)
		g.sessions[h.session] = s
		if s.who != nil && h.opened.Connect != nil && h.opened.Connect.Decision.Effect != policy.Refuse && g.wanted(h.time) {
			g.count(s, h, g.connected(h.opened.Connect), true, false)
		}
	case h.closed:
		delete(g.sessions, h.session)
	case h.decision != nil:
		g.request(s, h)
	case h.response && s != nil:
		if a := s.waiting[h.request]; a != nil && h.refused {
			a.Stopped++
		}
		delete(s.waiting, h.request)
	}
}

// connected is the decision on connecting, one for equal ones.
func (g *gathering) connected(body *gate.DecisionBody) *decision {
	key, err := json.Marshal(body)
	if d := g.connects[string(key)]; d != nil {
		return d
	}
	d := &decision{body: body, err: err}
	g.connects[string(key)] = d
	return d
}

func (g *gathering) open(h *happening) *askingSession {
	s := &askingSession{info: h.opened, waiting: map[uint64]*Asked{}}
	if q := g.query; q.Connection != "" && q.Connection != s.info.Connection || q.Who != nil && !q.Who(s.info.Principal) {
		return s
	}
	text, err := json.Marshal(s.info.Principal)
	if err != nil {
		return s
	}
	if s.who = g.who[string(text)]; s.who == nil {
		s.who = &s.info.Principal
		g.who[string(text)] = s.who
	}
	return s
}

func (g *gathering) request(s *askingSession, h *happening) {
	switch {
	case !g.wanted(h.time):
	case s == nil:
		g.out.Headless++
	case s.who != nil:
		g.out.Requests++
		a := g.count(s, h, h.decision, false, bytes.Contains(h.intent, []byte(`"prepare":true`)))
		if h.decision.body.Decision.Effect != policy.Refuse {
			s.waiting[h.request] = a
		}
	}
}

func (g *gathering) count(s *askingSession, h *happening, d *decision, connect, prepare bool) *Asked {
	if !s.counted {
		s.counted = true
		g.out.Sessions++
	}
	key := askedKey{s.who, s.info.Connection, d, connect, prepare}
	a := g.asked[key]
	if a == nil {
		a = &Asked{Principal: *s.who, Connection: s.info.Connection, Protocol: s.info.Protocol, Connect: connect, Prepare: prepare, Decision: d.body, Damaged: d.err, First: h.time}
		g.asked[key] = a
		g.out.Asked = append(g.out.Asked, a)
	}
	a.Count++
	a.Last, a.LastClient = h.time, s.info.Client
	if len(a.Examples) < g.query.Examples {
		a.Examples = append(a.Examples, Example{Session: h.session, Request: h.request, Time: h.time, Text: intentText(h.intent)})
	}
	if g.query.Moments {
		a.Moments = append(a.Moments, Moment{h.time, s.info.Client, h.session, h.request})
	}
	return a
}

// intentText is the text of a recorded request.
func intentText(body []byte) string {
	var b gate.RequestBody
	if len(body) == 0 || json.Unmarshal(body, &b) != nil {
		return ""
	}
	text := b.Intent.Text
	if text == "" {
		text = b.Intent.Received
	}
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}
