package http

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
)

// Bounds of requests.
const (
	maxBody    = 1 << 20 // bytes of a request's body
	bodyTime   = 60 * time.Second
	writeTime  = 2 * time.Minute  // without the client taking anything
	holdWait   = 20 * time.Second // that a held request waits before its client is told to come back
	headerWait = 10 * time.Second
	drainTime  = 5 * time.Second
)

// server answers HTTP clients for every connection of this kind.
type server struct {
	verifier gate.Verifier
	tls      *tls.Config
	log      *slog.Logger
	targets  map[string]*target
	hosts    map[string]*target
	pool     *gate.Pool
	working  sync.WaitGroup
}

func newServer(d gate.Deps) (*server, error) {
	if d.Gate == nil || d.Verifier == nil || d.Log == nil {
		return nil, errors.New("http: a gate, a verifier and a log are required")
	}
	s := &server{
		verifier: d.Verifier, tls: d.TLS, log: d.Log, targets: map[string]*target{}, hosts: map[string]*target{},
		pool: gate.NewPool(d.Gate, kind, d.Log),
	}
	for _, c := range d.Connections {
		t, err := newTarget(c, d.Secret, d.Log)
		if err != nil {
			return nil, fmt.Errorf("connection %s: %w", c.Name, err)
		}
		s.targets[c.Name] = t
		for _, h := range t.options.Hosts {
			if other := s.hosts[h]; other != nil {
				return nil, fmt.Errorf("connection %s: the host %s is that of connection %s", c.Name, h, other.connection.Name)
			}
			s.hosts[h] = t
		}
	}
	return s, nil
}

// Serve serves the connector's own listener, with TLS, until ctx ends. Nil as the listener serves none: the connections
// are then reached on the https listener alone.
func (s *server) Serve(ctx context.Context, l net.Listener) error {
	defer s.shutdown()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go s.pool.Run(ctx)
	if l == nil {
		<-ctx.Done()
		return nil
	}
	if s.tls == nil {
		return errors.New("http: TLS is required")
	}
	h := &http.Server{
		Handler: s, TLSConfig: s.tls.Clone(), ReadHeaderTimeout: headerWait, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() {
		ending, cancel := context.WithTimeout(context.Background(), drainTime)
		defer cancel()
		if h.Shutdown(ending) != nil {
			h.Close()
		}
	})
	defer stop()
	if err := h.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// shutdown waits for requests for a while, and ends the sessions.
func (s *server) shutdown() {
	done := make(chan struct{})
	go func() { s.working.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(drainTime):
		s.log.Warn("requests did not end in time")
	}
	s.pool.Shutdown()
	for _, t := range s.targets {
		t.close()
	}
}

// Takes says whether a request on the https listener is for a connection.
func (s *server) Takes(r *http.Request) bool {
	return strings.HasPrefix(r.RequestURI, prefix) || s.hosts[hostOf(r)] != nil
}

// hostOf is the name that a client reached the gateway by.
func hostOf(r *http.Request) string {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// place finds the connection of a request, what is in front of its paths, and the target below that.
func (s *server) place(r *http.Request) (t *target, front, raw string) {
	if t := s.hosts[hostOf(r)]; t != nil {
		return t, "", r.RequestURI
	}
	rest, ok := strings.CutPrefix(r.RequestURI, prefix)
	if !ok {
		return nil, "", ""
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	raw = rest[end:]
	if !strings.HasPrefix(raw, "/") {
		raw = "/" + raw
	}
	return s.targets[rest[:end]], prefix + rest[:end], raw
}

// bearer is the token of a request. Without one, or with one that is given in two ways, why says so.
func bearer(r *http.Request) (token, why string) {
	own, usual := r.Header.Values("X-Gatehouse-Token"), r.Header.Values("Authorization")
	switch {
	case len(own) > 1 || len(usual) > 1:
		return "", "The token is there several times."
	case len(own) == 1:
		return own[0], ""
	case len(usual) == 0:
		return "", "There is no token."
	}
	scheme, token, ok := strings.Cut(usual[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", "The Authorization header is not `Bearer TOKEN`."
	}
	return strings.TrimSpace(token), ""
}

// ServeHTTP brings one request from its header to the end of its answer.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.working.Add(1)
	defer s.working.Done()
	own := &writer{ResponseWriter: w, control: http.NewResponseController(w)}
	own.control.SetReadDeadline(time.Now().Add(bodyTime))
	own.control.SetWriteDeadline(time.Time{})
	if r.ProtoMajor == 1 && (r.ProtoMinor == 0 || len(r.TransferEncoding) > 0) {
		// Where somebody in between reads the length of such a request in another way, nothing follows it.
		own.Header().Set("Connection", "close")
	}
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p != http.ErrAbortHandler {
			s.log.Error("a request ended in a panic", "client", r.RemoteAddr, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
		panic(http.ErrAbortHandler)
	}()
	token, why := bearer(r)
	if why != "" {
		refuse(own, &gate.Refusal{Code: gate.IdentityRejected, Reason: why, Remedy: "Send `Authorization: Bearer TOKEN`, or X-Gatehouse-Token: `gatehouse token` prints one."}, 0, "")
		return
	}
	id, err := s.verifier.Verify(r.Context(), token)
	if err != nil {
		s.turnAway(own, r, err)
		return
	}
	t, front, raw := s.place(r)
	if t == nil {
		refuse(own, &gate.Refusal{Code: gate.NotUnderstood, Reason: "There is no connection of that name here.", Remedy: "Use " + prefix + "NAME/... with the name of a connection (`gatehouse connections list`)."}, http.StatusNotFound, "")
		return
	}
	s.serve(own, r, t, front, raw, id, sha256.Sum256([]byte(token)))
}

// turnAway answers where there is no identity, or no session.
func (s *server) turnAway(w http.ResponseWriter, r *http.Request, err error) {
	var bad *identity.Error
	if errors.As(err, &bad) {
		refuse(w, &gate.Refusal{Code: gate.IdentityRejected, Reason: bad.Reason, Remedy: bad.Remedy}, 0, "")
		return
	}
	if refusal, ok := gate.AsRefusal(err); ok {
		refuse(w, refusal, 0, "")
		return
	}
	switch {
	case errors.Is(err, gate.ErrStopped):
		refuse(w, &gate.Refusal{Code: gate.Unavailable, Reason: "The gateway is stopping.", Remedy: "Send the request again."}, 0, "")
	case errors.Is(err, gate.ErrCrowded):
		w.Header().Set("Retry-After", "1")
		refuse(w, &gate.Refusal{Code: gate.LimitExceeded, Reason: fmt.Sprintf("More than %d requests with this token wait to be decided.", gate.MaxPooled), Remedy: "Send fewer at a time."}, http.StatusTooManyRequests, "")
	default:
		s.log.Error("a request could not be served", "client", r.RemoteAddr, "error", err)
		refuse(w, &gate.Refusal{Code: gate.Unavailable, Reason: "The gateway had an error of its own.", Remedy: "Tell the operator of this gateway; its log names the cause."}, http.StatusInternalServerError, "")
	}
}

// serve is the path of a request: understood, admitted, sent on, answered.
func (s *server) serve(w *writer, r *http.Request, t *target, front, raw string, id identity.Identity, token [sha256.Size]byte) {
	client, _, _ := net.SplitHostPort(r.RemoteAddr)
	one, err := s.pool.Take(r.Context(), gate.PoolKey{Token: token, Connection: t.connection.Name, Client: client}, id, t.connection, r.RemoteAddr, bounded(r.UserAgent(), 200))
	if err != nil {
		s.turnAway(w, r, err)
		return
	}
	defer s.pool.Leave(one)
	c := &call{server: s, target: t, session: one, writer: w, received: raw, front: front}
	c.understand(r, raw)
	if c.refusal == nil {
		c.readBody(r)
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer context.AfterFunc(one.Life, func() { cancel(context.Cause(one.Life)) })()
	r = r.WithContext(ctx) // not sooner: a copy would not see the trailers that came behind the body
	ticket, err := s.admit(ctx, c)
	if err != nil {
		if killed := one.Killed(); killed != nil {
			err = killed
		}
		if refusal, ok := gate.AsRefusal(err); ok {
			refuse(w, refusal, c.status, ticket.URL)
			return
		}
		s.turnAway(w, r, err)
		return
	}
	if refusal := c.send(w, r); refusal != nil {
		refusal.RequestID = c.entry.ID()
		c.end(gate.Outcome{Status: "error", Summary: "not forwarded", Error: refusal.Reason})
		refuse(w, refusal, c.status, "")
	}
}

func bounded(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "?")
}

// readBody reads what the client sends, within bounds: it is judged, recorded and bound to approvals as a whole.
func (c *call) readBody(r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	switch {
	case len(b) > maxBody:
		c.refuse(gate.LimitExceeded, 0, fmt.Sprintf("The request's body is larger than %d bytes.", maxBody), "Send less at a time.")
	case err != nil:
		c.refuse(gate.NotUnderstood, 0, "The request's body was cut off.", "Send it whole.")
	case len(r.Trailer) > 0:
		c.refuse(gate.NotUnderstood, 0, "Trailers are not taken.", "Send the fields as headers.")
	case c.target.endpoints.labelled && looksLikeGraphQL(b):
		c.graphQL()
	}
	c.body = b[:min(len(b), maxBody)]
}

// admit brings a call through the gate. A held one waits for a while; then its client is told to send it again.
func (s *server) admit(ctx context.Context, c *call) (gate.Ticket, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var ticket gate.Ticket
	var err error
	c.entry, err = s.pool.Admit(ctx, c.session, c, func(t gate.Ticket) {
		ticket = t
		timer := time.AfterFunc(holdWait, func() { cancel(gate.ErrWaitedEnough) })
		context.AfterFunc(ctx, func() { timer.Stop() })
	})
	return ticket, err
}

// send gives the request to the API. A refusal says why it was not.
func (c *call) send(w *writer, r *http.Request) *gate.Refusal {
	limit := c.entry.Limit()
	if limit.Rows > 0 {
		return &gate.Refusal{Code: gate.LimitExceeded, Reason: "A policy limits the rows that the request gives back, and the answers of an API have none.", Remedy: "Ask a policy owner to limit the seconds instead."}
	}
	c.upstreamHeader = c.header.Clone()
	u := c.target.upstream(c.at)
	if err := c.target.sign(c.upstreamHeader, u); err != nil {
		c.target.log.Error("the API's credential cannot be had", "error", err)
		return &gate.Refusal{Code: gate.Unavailable, Reason: "The gateway's own credential for connection " + c.target.connection.Name + " cannot be had.", Remedy: "Tell the operator of this gateway; its log names the cause."}
	}
	c.upstreamQuery = u.RawQuery
	if err := c.entry.Ready(); err != nil {
		if refusal, ok := gate.AsRefusal(err); ok {
			return refusal
		}
		return &gate.Refusal{Code: gate.Unavailable, Reason: "The request was not admitted.", Remedy: "Send it again."}
	}
	end := c.session.Expires().Add(gate.Grace)
	if limit.Seconds > 0 {
		end = earlier(end, time.Now().Add(time.Duration(limit.Seconds)*time.Second))
	}
	ctx, cancel := context.WithDeadline(context.WithValue(r.Context(), callKey{}, c), end)
	defer cancel()
	w.control.SetReadDeadline(time.Time{})
	out := r.WithContext(ctx)
	out.Header, out.TransferEncoding, out.Trailer = c.header, nil, nil
	out.Body, out.ContentLength = http.NoBody, int64(len(c.body))
	if len(c.body) > 0 {
		out.Body = io.NopCloser(bytes.NewReader(c.body))
	}
	defer c.end(gate.Outcome{Status: "unknown", Error: "the request ended without an answer"})
	c.target.proxy.ServeHTTP(w, out)
	return nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// writer is the way to the client. What the API says before or after its answer (1xx, trailers) is not given out.
type writer struct {
	http.ResponseWriter
	control *http.ResponseController
	sent    bool
	streams bool // between writes as much time may pass as the API takes
}

// Header is the answer's; after it was sent, changes to it go nowhere.
func (w *writer) Header() http.Header {
	if w.sent {
		return http.Header{}
	}
	return w.ResponseWriter.Header()
}

func (w *writer) WriteHeader(status int) {
	if status < 200 || w.sent {
		return
	}
	h := w.ResponseWriter.Header()
	delete(h, "Trailer")
	if h["Content-Type"] == nil {
		h["Content-Type"] = nil // none is guessed
	}
	h.Set("X-Content-Type-Options", "nosniff")
	w.sent = true
	w.control.SetWriteDeadline(time.Now().Add(writeTime))
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	if !w.sent {
		w.WriteHeader(http.StatusOK)
	}
	if !w.streams {
		return w.ResponseWriter.Write(p)
	}
	w.control.SetWriteDeadline(time.Now().Add(writeTime))
	n, err := w.ResponseWriter.Write(p)
	w.control.SetWriteDeadline(time.Time{})
	return n, err
}

// Flush gives out what was written.
func (w *writer) Flush() {
	if w.streams {
		w.control.SetWriteDeadline(time.Now().Add(writeTime))
		defer w.control.SetWriteDeadline(time.Time{})
	}
	w.control.Flush()
}
