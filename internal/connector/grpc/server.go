package grpc

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"runtime/debug"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // clients may compress what they send
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"gatehouse/internal/gate"
	"gatehouse/internal/grpcguard"
	"gatehouse/internal/identity"
)

// Bounds of calls.
const (
	holdWait   = 20 * time.Second // that a held call waits before its client is told to come back
	drainTime  = 5 * time.Second
	maxStreams = 1000 // of one client's connection at a time
	idleTime   = 5 * time.Minute
	pulseTime  = time.Minute // of silence of a client, after which it is asked whether it is there
	leastPulse = 10 * time.Second
	workers    = 64 // goroutines that are kept for calls, so that their stacks need not grow for each; more are made where they do not do
)

// server answers gRPC clients for every connection of this kind.
type server struct {
	verifier gate.Verifier
	tls      *tls.Config
	log      *slog.Logger
	targets  map[string]*target
	hosts    map[string]*target
	only     *target // the one connection that there is; nil: there are several
	pool     *gate.Pool
	builtIn  *grpcguard.Schema
	most     int  // bytes of a request's message
	plain    bool // some connection takes clients without TLS

	life context.Context // ends with the gateway; its cause is what clients are told
	over context.CancelCauseFunc
}

func newServer(d gate.Deps) (*server, error) {
	if d.Gate == nil || d.Verifier == nil || d.Log == nil {
		return nil, errors.New("grpc: a gate, a verifier and a log are required")
	}
	s := &server{verifier: d.Verifier, tls: d.TLS, log: d.Log, targets: map[string]*target{}, hosts: map[string]*target{}, pool: gate.NewPool(d.Gate, kind, d.Log)}
	var err error
	if s.builtIn, err = builtIn(); err != nil {
		return nil, err
	}
	s.life, s.over = context.WithCancelCause(context.Background())
	for _, c := range d.Connections {
		t, err := newTarget(c, d.Secret, d.Log)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("connection %s: %w", c.Name, err)
		}
		s.targets[c.Name] = t
		s.most, s.plain = max(s.most, t.options.MaxMessage), s.plain || t.options.PlaintextClients
		for _, h := range t.options.Hosts {
			if other := s.hosts[h]; other != nil {
				s.close()
				return nil, fmt.Errorf("connection %s: the host %s is that of connection %s", c.Name, h, other.connection.Name)
			}
			s.hosts[h] = t
		}
		s.only = t
	}
	if len(s.targets) != 1 {
		s.only = nil
	}
	return s, nil
}

func (s *server) close() {
	s.over(stopping())
	for _, t := range s.targets {
		t.close()
	}
}

// Serve serves the listener until ctx ends.
func (s *server) Serve(ctx context.Context, l net.Listener) error {
	if s.tls == nil {
		return errors.New("grpc: TLS is required")
	}
	defer s.close()
	running, stop := context.WithCancel(ctx)
	defer stop()
	go s.pool.Run(running)
	g := grpc.NewServer(
		grpc.Creds(newClients(s.tls.Clone(), s.plain)), grpc.UnknownServiceHandler(s.handle), grpc.ForceServerCodecV2(codec{}), grpc.WaitForHandlers(true), grpc.NumStreamWorkers(workers),
		grpc.MaxRecvMsgSize(max(s.most, 1024)), grpc.MaxSendMsgSize(math.MaxInt32), grpc.MaxConcurrentStreams(maxStreams), grpc.MaxHeaderListSize(maxHeaders), grpc.ConnectionTimeout(handshakeTime),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleTime, Time: pulseTime, Timeout: pingWait}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: leastPulse, PermitWithoutStream: true}))
	ended := make(chan struct{})
	context.AfterFunc(running, func() {
		defer close(ended)
		late := time.AfterFunc(drainTime, func() {
			s.over(stopping())
			g.Stop()
		})
		g.GracefulStop()
		late.Stop()
	})
	err := g.Serve(l)
	stop()
	<-ended
	s.pool.Shutdown()
	return err
}

// handle brings one call from its metadata to the end of its answer.
func (s *server) handle(_ any, stream grpc.ServerStream) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("a call ended in a panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = refusal(ownError(""), codes.Internal, "")
		}
	}()
	ctx := stream.Context()
	md, _ := metadata.FromIncomingContext(ctx)
	token, why := bearer(md)
	if why != "" {
		return refusal(&gate.Refusal{Code: gate.IdentityRejected, Reason: why, Remedy: "Send the metadata `authorization: Bearer TOKEN`, or x-gatehouse-token: `gatehouse token` prints one."}, codes.OK, "")
	}
	client, _ := peer.FromContext(ctx)
	if client == nil {
		return refusal(ownError(""), codes.Internal, "")
	}
	id, err := s.verifier.Verify(ctx, token)
	if err != nil {
		var bad *identity.Error
		if errors.As(err, &bad) {
			return refusal(&gate.Refusal{Code: gate.IdentityRejected, Reason: bad.Reason, Remedy: bad.Remedy}, codes.OK, "")
		}
		s.log.Error("a token could not be looked at", "error", err)
		return refusal(ownError(""), codes.Internal, "")
	}
	t, refused, code := s.place(md)
	if refused != nil {
		return refusal(refused, code, "")
	}
	if _, plain := client.AuthInfo.(withoutTLS); plain && !t.options.PlaintextClients {
		return refusal(&gate.Refusal{Code: gate.IdentityRejected, Reason: "The connection " + t.connection.Name + " takes no clients without TLS.", Remedy: "Call with TLS; the token that was sent should not be used any more."}, codes.OK, "")
	}
	path, _ := grpc.MethodFromServerStream(stream)
	c := &call{server: s, target: t, path: path, header: t.forward(md)}
	return c.serve(stream, md, client.Addr.String(), id, sha256.Sum256([]byte(token)))
}

// serve is the path of a call: understood, admitted, sent on, answered.
func (c *call) serve(stream grpc.ServerStream, md metadata.MD, client string, id identity.Identity, token [sha256.Size]byte) error {
	c.special()
	if subtype := md["content-type"]; len(subtype) != 1 || !strings.HasPrefix(subtype[0], "application/grpc") || strings.Contains(subtype[0], "+") && subtype[0] != "application/grpc+proto" {
		c.refuse(gate.NotUnderstood, codes.OK, "Only messages of protocol buffers are understood.", "Send them as application/grpc+proto.")
	}
	c.understand(stream.Context())
	if c.refusal == nil && !c.method.ClientStreams {
		if err := c.readOne(stream); err != nil {
			return err
		}
	}
	host, _, _ := net.SplitHostPort(client)
	agent := ""
	if v := md["user-agent"]; len(v) > 0 {
		agent = bounded(v[0], 200)
	}
	one, err := c.server.pool.Take(stream.Context(), gate.PoolKey{Token: token, Connection: c.target.connection.Name, Client: host}, id, c.target.connection, client, agent)
	if err != nil {
		return c.turnAway(err)
	}
	defer c.server.pool.Leave(one)
	c.session = one
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	for _, from := range []context.Context{one.Life, c.server.life} {
		defer context.AfterFunc(from, func() { cancel(context.Cause(from)) })()
	}
	ticket, err := c.admit(ctx)
	if err != nil {
		if r := c.stopped(); r != nil {
			err = r
		}
		if r, ok := gate.AsRefusal(err); ok {
			return refusal(r, c.status, ticket.URL)
		}
		return c.turnAway(err)
	}
	return c.send(ctx, stream)
}

// readOne reads the one request that a method has. Its error is that of a client that left. Where the library refuses a
// message (too large, not decompressed) it has told the client so itself, and the call is recorded as refused.
func (c *call) readOne(stream grpc.ServerStream) error {
	var f, more frame
	err := stream.RecvMsg(&f)
	switch {
	case errors.Is(err, io.EOF):
		c.refuse(gate.NotUnderstood, codes.OK, "The call has no request.", "Send one.")
	case err == nil && len(f.b) > c.target.options.MaxMessage, status.Code(err) == codes.ResourceExhausted:
		c.refusal = c.tooLarge()
	case err != nil && stream.Context().Err() == nil:
		c.refuse(gate.NotUnderstood, codes.OK, "The request cannot be read: it is cut off, or compressed in a way that is not known.", "Send it whole, uncompressed or with gzip.")
	case err != nil:
		return err
	default:
		c.read(f.b)
		if err := stream.RecvMsg(&more); err == nil {
			c.refuse(gate.NotUnderstood, codes.OK, "The call has several requests, and its method takes one.", "Send one.")
		} else if !errors.Is(err, io.EOF) {
			return err
		}
	}
	return nil
}

func (c *call) tooLarge() *gate.Refusal {
	return &gate.Refusal{Code: gate.LimitExceeded, Reason: fmt.Sprintf("The request's message has more than %d bytes.", c.target.options.MaxMessage), Remedy: "Send less at a time, or ask the connection's operator to raise max_message."}
}

// turnAway answers where there is no session, or none was admitted for the gateway's own reasons.
func (c *call) turnAway(err error) error {
	if r := asRefusal(err); r != nil {
		return refusal(r, codes.OK, "")
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return refusal(&gate.Refusal{Code: gate.Unavailable, Reason: "The call ended before it was decided.", Remedy: "Call again with a later deadline."}, codes.DeadlineExceeded, "")
	}
	c.target.log.Error("a call could not be served", "error", err)
	return refusal(ownError(""), codes.Internal, "")
}

// stopped is why the call was ended from outside; nil where it was not.
func (c *call) stopped() *gate.Refusal {
	if c.session != nil {
		if r := c.session.Killed(); r != nil {
			return r
		}
	}
	r, _ := gate.AsRefusal(context.Cause(c.server.life))
	return r
}

// admit brings a call through the gate. A held one waits for a while, not longer than its client does; then its client is
// told to call again.
func (c *call) admit(ctx context.Context) (gate.Ticket, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	wait := holdWait
	if end, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(end)*3/4)
	}
	var ticket gate.Ticket
	var err error
	c.entry, err = c.server.pool.Admit(ctx, c.session, c, func(t gate.Ticket) {
		ticket = t
		timer := time.AfterFunc(wait, func() { cancel(gate.ErrWaitedEnough) })
		context.AfterFunc(ctx, func() { timer.Stop() })
	})
	return ticket, err
}

// place finds the connection of a call: by the host that it is for, by the name in its metadata, or the only one.
func (s *server) place(md metadata.MD) (*target, *gate.Refusal, codes.Code) {
	var by *target
	if v := md[":authority"]; len(v) == 1 {
		host := v[0]
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		by = s.hosts[strings.TrimSuffix(strings.ToLower(host), ".")]
	}
	names := md["x-gatehouse-connection"]
	switch {
	case len(names) > 1:
		return nil, &gate.Refusal{Code: gate.NotUnderstood, Reason: "The metadata names several connections.", Remedy: "Send x-gatehouse-connection once."}, codes.InvalidArgument
	case len(names) == 1:
		t := s.targets[names[0]]
		if t == nil {
			return nil, &gate.Refusal{Code: gate.NotUnderstood, Reason: "There is no connection of that name here.", Remedy: "Send x-gatehouse-connection with the name of a connection (`gatehouse connections list`)."}, codes.NotFound
		}
		if by != nil && by != t {
			return nil, &gate.Refusal{Code: gate.NotUnderstood, Reason: "The host that is called and x-gatehouse-connection name two connections.", Remedy: "Leave one of them out."}, codes.InvalidArgument
		}
		return t, nil, codes.OK
	case by != nil:
		return by, nil, codes.OK
	case s.only != nil:
		return s.only, nil, codes.OK
	}
	return nil, &gate.Refusal{Code: gate.NotUnderstood, Reason: "The call does not say which connection it is for.", Remedy: "Send the metadata x-gatehouse-connection with the name of a connection (`gatehouse connections list`)."}, codes.InvalidArgument
}

// bearer is the token of a call. Without one, or with one that is given in two ways, why says so.
func bearer(md metadata.MD) (token, why string) {
	own, usual := md["x-gatehouse-token"], md["authorization"]
	switch {
	case len(own) > 1 || len(own) == 0 && len(usual) > 1:
		return "", "The call carries several tokens."
	case len(own) == 1:
		return strings.TrimSpace(own[0]), ""
	case len(usual) == 0:
		return "", "The call carries no token."
	}
	scheme, token, ok := strings.Cut(usual[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", "The authorization metadata is not `Bearer TOKEN`."
	}
	return strings.TrimSpace(token), ""
}

func bounded(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "?")
}
