package grpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"gatehouse/internal/credential"
	"gatehouse/internal/gate"
	"gatehouse/internal/grpcguard"
	"gatehouse/internal/mask"
	"gatehouse/internal/policy"
	"gatehouse/internal/secret"
)

// Bounds of an exchange with a service.
const (
	dialTime   = 10 * time.Second
	pingTime   = 5 * time.Minute // of silence; servers allow no less by default
	pingWait   = 20 * time.Second
	maxHeaders = 64 << 10 // bytes of metadata
	maxUses    = 4096     // remembered
	schemaTurn = 5 * time.Minute
	schemaLook = 10 * time.Second // between two attempts to read the descriptors
)

// target is one connection of this kind with what its calls share.
type target struct {
	connection gate.Connection
	options    *Options
	credential *credential.Credential
	upstream   *grpc.ClientConn
	forwarded  []string // names of metadata that are sent on
	tokenKey   []byte
	log        *slog.Logger

	reading sync.Mutex // who has it reads the descriptors
	mu      sync.RWMutex
	world   *world
	read    time.Time // when the descriptors were asked for last
	failed  error     // why that failed
}

// world is what a service is, and how the policies see it. Its uses grow; nothing else of it changes.
type world struct {
	schema *grpcguard.Schema
	read   time.Time

	mu    sync.RWMutex
	uses  map[useKey]*use
	shown map[string]*shown // by slice
}

// useKey is everything that a use depends on.
type useKey struct {
	slice  string
	method *grpcguard.Method
	asked  string
}

// use is a method as one slice of the policies sees it. It is never changed.
type use struct {
	touches []policy.Touch
	plan    *grpcguard.Plan
	// may are the labelled fields that a stream of requests may have in it.
	may []*grpcguard.Field
	// guarded says that texts and metadata of the answer could hold what the principal may not see.
	guarded bool
}

func newTarget(c gate.Connection, own []byte, log *slog.Logger) (*target, error) {
	o, ok := c.Options.(*Options)
	if !ok || o.url == nil {
		return nil, errors.New("its options were not decoded by this connector")
	}
	t := &target{connection: c, options: o, log: log.With("connection", c.Name), credential: credential.New(o.Credential, dialTime), forwarded: slices.Concat(forwarded, o.Metadata)}
	if !o.Reflection {
		s, err := o.load()
		if err != nil {
			return nil, err
		}
		t.world = newWorld(s)
	}
	transport := insecure.NewCredentials()
	if o.url.Scheme == "https" {
		encryption, err := credential.TLS(o.CA, o.ClientCertificate)
		if err != nil {
			return nil, err
		}
		transport = credentials.NewTLS(encryption)
	}
	var err error
	t.upstream, err = grpc.NewClient("passthrough:///"+o.host(),
		grpc.WithTransportCredentials(transport), grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithNoProxy(),
		grpc.WithUserAgent("gatehouse"), grpc.WithMaxHeaderListSize(maxHeaders), grpc.WithConnectParams(grpc.ConnectParams{Backoff: slow, MinConnectTimeout: dialTime}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingTime, Timeout: pingWait}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(o.MaxMessage), grpc.MaxCallSendMsgSize(math.MaxInt32)))
	if err != nil {
		return nil, err
	}
	if t.tokenKey, err = secret.TokenKey(o.TokenKey, own, "gatehouse grpc token\x00"+c.Name); err != nil {
		return nil, errors.Join(err, t.upstream.Close())
	}
	return t, nil
}

func newWorld(s *grpcguard.Schema) *world {
	return &world{schema: s, read: time.Now(), uses: map[useKey]*use{}, shown: map[string]*shown{}}
}

func (t *target) close() { t.upstream.Close() }

// sign is a context for a call with its metadata and the gateway's own credential. Its error never holds a secret.
func (t *target) sign(ctx context.Context, md metadata.MD) (context.Context, error) {
	name, value, err := t.credential.Get()
	if err != nil {
		return nil, err
	}
	out := md.Copy()
	if name != "" {
		out.Set(name, value)
	}
	return metadata.NewOutgoingContext(ctx, out), nil
}

// look is the service as it is known. Where it is asked by reflection it is asked again now and then, and where a method is
// not known.
func (t *target) look(ctx context.Context, method string) (*world, error) {
	if !t.options.Reflection {
		return t.world, nil
	}
	now := time.Now()
	fresh := func() (*world, error, bool) {
		t.mu.RLock()
		defer t.mu.RUnlock()
		known := t.world != nil && (method == "" || t.world.schema.Method(method) != nil) && now.Sub(t.world.read) < schemaTurn
		return t.world, t.failed, known || now.Sub(t.read) < schemaLook
	}
	if w, err, ok := fresh(); ok {
		return w, err
	}
	t.reading.Lock()
	defer t.reading.Unlock()
	if w, err, ok := fresh(); ok {
		return w, err
	}
	s, err := t.ask(context.WithoutCancel(ctx))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.read = time.Now()
	if err != nil {
		t.log.Error("the service does not say what its methods are", "error", err)
		t.world, t.failed = nil, err // a service that cannot be understood is not shown as it was
		return nil, err
	}
	t.failed = nil
	if t.world == nil || t.world.schema.Digest() != s.Digest() {
		t.world = newWorld(s)
	}
	t.world.read = t.read
	return t.world, nil
}

// ask asks the service what it is.
func (t *target) ask(ctx context.Context) (*grpcguard.Schema, error) {
	ctx, err := t.sign(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("the credential cannot be had: %w", err)
	}
	return t.options.reflect(ctx, t.upstream)
}

// resource is a method as policies see it.
func (t *target) resource(m *grpcguard.Method) policy.Resource {
	c := t.connection.Resource()
	at := c.ID + "/"
	return policy.Resource{Entity: policy.Entity{Type: "Method", ID: at + m.String()},
		Parents: append([]policy.Entity{{Type: "Service", ID: at + m.Service}, c.Entity}, c.Parents...)}
}

// fieldResource is a labelled field of a method's messages as policies see it.
func (t *target) fieldResource(m *grpcguard.Method, f *grpcguard.Field) policy.Resource {
	of := t.resource(m)
	c := t.connection.Resource()
	parents := append([]policy.Entity{of.Entity, of.Parents[0], {Type: "Message", ID: c.ID + "/" + f.Scope()}}, of.Parents[1:]...)
	return policy.Resource{Entity: policy.Entity{Type: "Field", ID: of.ID + "#" + f.Name}, Parents: parents, Labels: f.Labels}
}

// class is what a method does to what the service keeps.
type class int

const (
	unsaid class = iota // nobody says: it may do anything
	reads
	writes
)

func (c class) String() string { return [...]string{"unsaid", "reads", "writes"}[c] }

func (t *target) class(m *grpcguard.Method) class {
	switch {
	case listed(t.options.Writes, m):
		return writes
	case m.Reads, listed(t.options.Reads, m):
		return reads
	}
	return unsaid
}

// sends is the action on a labelled field of a request: who asks by its value could find out what it is.
func (t *target) sends(m *grpcguard.Method) string {
	if t.class(m) == writes {
		return "update"
	}
	return "reveal"
}

// use says what a call touches and how its answer is shown. asked are the labelled fields that its request has; of a
// method that takes a stream of them, those that the principal may send.
func (t *target) use(w *world, slice *policy.Slice, m *grpcguard.Method, asked []*grpcguard.Field) *use {
	var b strings.Builder
	for _, f := range asked {
		b.WriteString(f.Name)
		b.WriteByte(0)
	}
	key := useKey{slice.Key(), m, b.String()}
	w.mu.RLock()
	u := w.uses[key]
	w.mu.RUnlock()
	if u != nil {
		return u
	}
	u = t.newUse(w, slice, m, asked)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.uses) >= maxUses {
		clear(w.uses)
	}
	w.uses[key] = u
	return u
}

func (t *target) newUse(w *world, slice *policy.Slice, m *grpcguard.Method, asked []*grpcguard.Field) *use {
	u := &use{touches: []policy.Touch{{Action: "call", Resource: t.resource(m)}}}
	rules := map[*grpcguard.Field]mask.Rule{}
	token := t.tokenKey
	if t.changes(w, slice) {
		token = nil
	}
	for _, f := range m.Answered {
		r := t.fieldResource(m, f)
		one := mask.Rule{Exposure: slice.Read(r), Class: f.Labels[0], Key: token}
		if one.Visible {
			u.touches = append(u.touches, policy.Touch{Action: "read", Resource: r})
		}
		rules[f] = one
	}
	send := func(f *grpcguard.Field) policy.Touch {
		return policy.Touch{Action: t.sends(m), Resource: t.fieldResource(m, f)}
	}
	if m.ClientStreams {
		for _, f := range m.Asked {
			if one := send(f); slice.Verdict(one).Effect == policy.Permit {
				u.may, u.touches = append(u.may, f), append(u.touches, one)
			}
		}
	}
	for _, f := range asked {
		u.touches = append(u.touches, send(f))
	}
	for _, f := range w.schema.Labelled() { // those that the method's answers cannot have are not in them
		if _, ok := rules[f]; !ok {
			rules[f] = mask.Rule{}
		}
	}
	u.plan = w.schema.Under(rules)
	u.guarded = len(w.schema.Labelled()) > 0 && !(len(m.Answered) > 0 && all(m.Answered, func(f *grpcguard.Field) bool { r := rules[f]; return r.Raw() }))
	return u
}

func all[T any](list []T, is func(T) bool) bool {
	return !slices.ContainsFunc(list, func(one T) bool { return !is(one) })
}

// changes says whether the principal may send anything that the service could keep: then it could find the value of a
// pseudonym by trying.
func (t *target) changes(w *world, slice *policy.Slice) bool {
	return slices.ContainsFunc(w.schema.Methods(), func(m *grpcguard.Method) bool {
		return t.class(m) != reads && t.permits(slice, m)
	})
}

func (t *target) permits(slice *policy.Slice, m *grpcguard.Method) bool {
	return slice.Permits(policy.Touch{Action: "call", Resource: t.resource(m)})
}
