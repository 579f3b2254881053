package test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"gatehouse/internal/demo/shoprpc"
	"gatehouse/internal/gate"
)

// shopRPC is the shop's gRPC service, and what it was asked.
type shopRPC struct {
	shoprpc.UnimplementedCustomersServer
	shoprpc.UnimplementedAdminServer
	addr string

	mu    sync.Mutex
	calls []string
	seen  metadata.MD // of the last call
	sent  []*shoprpc.Customer
}

func ada(id int32) *shoprpc.Customer {
	return &shoprpc.Customer{Id: id, Name: "Ada", Email: rawEmail, Phone: rawPhone, City: "London"}
}

func startShopRPC(t testing.TB) *shopRPC {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &shopRPC{addr: l.Addr().String()}
	note := func(ctx context.Context, method string) error {
		md, _ := metadata.FromIncomingContext(ctx)
		if strings.HasPrefix(method, "/shop.") {
			s.mu.Lock()
			s.calls, s.seen = append(s.calls, method), md
			s.mu.Unlock()
		}
		if v := md["authorization"]; len(v) != 1 || v[0] != "Bearer "+apiSecret {
			return status.Error(codes.Unauthenticated, "only the gateway may ask")
		}
		return nil
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(64<<20),
		grpc.UnaryInterceptor(func(ctx context.Context, r any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := note(ctx, info.FullMethod); err != nil {
				return nil, err
			}
			grpc.SetHeader(ctx, metadata.Pairs("x-customer", rawEmail, "x-request-id", "42", "set-cookie", rawEmail))
			grpc.SetTrailer(ctx, metadata.Pairs("x-late", rawEmail, "x-late-bin", rawEmail))
			return next(ctx, r)
		}),
		grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			if err := note(ss.Context(), info.FullMethod); err != nil {
				return err
			}
			return next(srv, ss)
		}))
	shoprpc.RegisterCustomersServer(server, s)
	shoprpc.RegisterAdminServer(server, s)
	reflection.Register(server)
	healthy := health.NewServer()
	healthy.SetServingStatus("shop.v1.Customers", healthpb.HealthCheckResponse_SERVING)
	healthy.SetServingStatus("shop.v1.Admin", healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(server, healthy)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	return s
}

// got are the customers that came so far, and what came with the last call.
func (s *shopRPC) got() (sent []*shoprpc.Customer, seen metadata.MD) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sent), s.seen
}

func (s *shopRPC) count() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.calls) }

func (s *shopRPC) Get(ctx context.Context, r *shoprpc.GetRequest) (*shoprpc.Customer, error) {
	c := ada(r.GetId())
	switch r.GetId() {
	case 1: // everywhere that a customer can be
		c.Friends = []*shoprpc.Customer{ada(2), {Friends: []*shoprpc.Customer{ada(3)}}}
		c.Family = map[string]*shoprpc.Customer{"sister": ada(4)}
		c.Contact = &shoprpc.Customer_Agent{Agent: ada(5)}
		c.Card, _ = anypb.New(ada(6))
	case 404:
		s, _ := status.New(codes.NotFound, "no customer "+rawEmail).WithDetails(&errdetails.ErrorInfo{Reason: rawEmail}, ada(1))
		return nil, s.Err()
	case 600: // a field that the descriptors do not have
		c.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 99, protowire.BytesType), rawEmail))
	case 601: // a labelled field of another wire type
		c.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), 1))
	case 602: // an Any of a type that the descriptors do not have
		c.Card = &anypb.Any{TypeUrl: "x/shop.v2.Customer", Value: []byte("\x1a\x0f" + rawEmail)}
	case 603: // much
		c.Photo = make([]byte, 5<<20)
	case 604: // a card that is no customer, though it says so
		c.Card = &anypb.Any{TypeUrl: "x/shop.v1.Customer", Value: []byte{0xff}}
	case 605:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return c, nil
}

func (s *shopRPC) List(r *shoprpc.ListRequest, out grpc.ServerStreamingServer[shoprpc.Customer]) error {
	out.SetHeader(metadata.Pairs("x-customer", rawEmail))
	out.SetTrailer(metadata.Pairs("x-late", rawEmail))
	for i := range r.Count {
		if err := out.Send(ada(i)); err != nil {
			return err
		}
	}
	switch r.City {
	case "forever":
		<-out.Context().Done()
		return out.Context().Err()
	case "nowhere":
		return status.Error(codes.NotFound, "nobody but "+rawEmail)
	}
	return nil
}

func (s *shopRPC) Update(ctx context.Context, r *shoprpc.UpdateRequest) (*shoprpc.Customer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, r.Customer)
	return r.Customer, nil
}

func (s *shopRPC) Import(in grpc.ClientStreamingServer[shoprpc.Customer, shoprpc.ImportSummary]) error {
	n := int32(0)
	for {
		c, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return in.SendAndClose(&shoprpc.ImportSummary{Imported: n})
		} else if err != nil {
			return err
		}
		s.mu.Lock()
		s.sent = append(s.sent, c)
		s.mu.Unlock()
		n++
	}
}

func (s *shopRPC) Chat(both grpc.BidiStreamingServer[shoprpc.Note, shoprpc.Note]) error {
	for {
		n, err := both.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := both.Send(&shoprpc.Note{Text: "re: " + n.Text, About: ada(9)}); err != nil {
			return err
		}
	}
}

func (s *shopRPC) Purge(context.Context, *shoprpc.PurgeRequest) (*shoprpc.PurgeSummary, error) {
	return &shoprpc.PurgeSummary{}, nil
}

const rpcPolicies = `
@id("call") permit (principal, action == Action::"call", resource in Service::"shop-rpc/shop.v1.Customers");
@id("read") permit (principal, action == Action::"read", resource in Connection::"shop-rpc");
@id("send") permit (principal, action == Action::"update", resource in Message::"shop-rpc/shop.v1.Customer");
@id("update-waits") @approval("dba") forbid (principal, action == Action::"call", resource == Method::"shop-rpc/shop.v1.Customers/Update");
@id("dba-approves") permit (principal is User in Group::"dba", action in [Action::"approve", Action::"review", Action::"kill"], resource);
`

// rpc is a gateway with the shop's gRPC service behind it.
type rpc struct {
	*gateway
	addr    string
	service *shopRPC
}

func startRPC(t testing.TB, more ...func(*options)) *rpc {
	t.Helper()
	s := startShopRPC(t)
	r := &rpc{addr: address(t), service: s}
	o := options{policies: rpcPolicies, change: func(text string) string {
		return strings.Replace(text, "listen: {", `listen: {grpc: "`+r.addr+`", `, 1) + `  - name: shop-rpc
    kind: grpc
    url: http://` + s.addr + `
    credential: {bearer: {file: ` + apiSecretFile(t) + `}}
    groups: [ai-agents]
    hosts: [shop.example.com]
    reflection: true
    labels: {shop.v1.Customer.email: pii.email, shop.v1.Customer.phone: pii.phone, shop.v1.GetRequest.email: pii.email}
    writes: [shop.v1.Customers/Update, shop.v1.Customers/Import, shop.v1.Customers/Chat]
    metadata: [x-tenant]
`
	}}
	for _, m := range more {
		m(&o)
	}
	r.gateway = start(t, o)
	return r
}

// bearerToken puts a token into calls.
type bearerToken struct {
	token string
	plain bool
}

func (b bearerToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	if b.token == "" {
		return nil, nil
	}
	return map[string]string{"authorization": "Bearer " + b.token}, nil
}
func (b bearerToken) RequireTransportSecurity() bool { return !b.plain }

// dial is a client with a token.
func (r *rpc) dial(token string, more ...grpc.DialOption) *grpc.ClientConn {
	r.t.Helper()
	pem, err := os.ReadFile(r.path("tls.crt"))
	if err != nil {
		r.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return r.client(append([]grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "localhost"})),
		grpc.WithPerRPCCredentials(bearerToken{token, false}), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64 << 20))}, more...)...)
}

func (r *rpc) client(options ...grpc.DialOption) *grpc.ClientConn {
	r.t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+r.addr, options...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { cc.Close() })
	return cc
}

func (r *rpc) customers() shoprpc.CustomersClient {
	return shoprpc.NewCustomersClient(r.dial(r.token()))
}

func byID(id int32) *shoprpc.GetRequest {
	return &shoprpc.GetRequest{By: &shoprpc.GetRequest_Id{Id: id}}
}

func byEmail(email string) *shoprpc.GetRequest {
	return &shoprpc.GetRequest{By: &shoprpc.GetRequest_Email{Email: email}}
}

// refusedWith fails where a call did not end with a status and these words; it gives the ErrorInfo, where there is one.
func refusedWith(t testing.TB, err error, code codes.Code, words ...string) *errdetails.ErrorInfo {
	t.Helper()
	s, ok := status.FromError(err)
	if !ok || s.Code() != code {
		t.Errorf("got %v, want %s", err, code)
		return &errdetails.ErrorInfo{}
	}
	noEmail(t, "an error", s.String())
	for _, w := range words {
		if !strings.Contains(s.Message(), w) {
			t.Errorf("%q is not in %q", w, s.Message())
		}
	}
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			if info.Domain != "gatehouse" || info.Reason != strings.ToUpper(info.Metadata["code"]) || info.Metadata["remedy"] == "" {
				t.Errorf("the ErrorInfo is %v", info)
			}
			return info
		}
	}
	return &errdetails.ErrorInfo{}
}

// masked fails where a message shows a labelled value, or shows none of the masks.
func masked(t testing.TB, what string, m proto.Message) {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	noEmail(t, what, string(b))
}

func TestGRPCMasks(t *testing.T) {
	r := startRPC(t)
	c := r.customers()
	var header, trailer metadata.MD
	got, err := c.Get(t.Context(), byID(1), grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil {
		t.Fatal(err)
	}
	masked(t, "Get", got)
	const email, phone = "a***@***.invalid", "***0958"
	card := &shoprpc.Customer{}
	if err := got.Card.UnmarshalTo(card); err != nil {
		t.Fatal(err)
	}
	for _, one := range []*shoprpc.Customer{got, got.Friends[0], got.Friends[1].Friends[0], got.Family["sister"], got.GetAgent(), card} {
		if one.Email != email || one.Phone != phone || one.City != "London" {
			t.Errorf("got %v", one)
		}
	}
	for name := range header {
		if name != "content-type" && name != "x-request-id" {
			t.Errorf("the header %s came back", name)
		}
	}
	if len(trailer) != 0 {
		t.Errorf("trailers came back: %v", trailer)
	}
	if got, err = c.Get(t.Context(), byID(600)); err != nil || len(got.ProtoReflect().GetUnknown()) != 0 || got.Email != email {
		t.Error("an unknown field came back", err)
	}
	if got, err = c.Get(t.Context(), byID(602)); err != nil || got.Card.GetTypeUrl() != "" || len(got.Card.GetValue()) != 0 {
		t.Error("an Any of an unknown type came back", err)
	}
	_, err = c.Get(t.Context(), byID(601))
	refusedWith(t, err, codes.Internal, "not what its descriptors say", "shop.v1.Customer.email")
	_, err = c.Get(t.Context(), byID(604))
	refusedWith(t, err, codes.Internal, "not what its descriptors say")
	_, err = c.Get(t.Context(), byID(603))
	refusedWith(t, err, codes.ResourceExhausted)
	_, err = c.Get(t.Context(), byID(404))
	refusedWith(t, err, codes.NotFound, "its own text is not shown")
	if len(status.Convert(err).Details()) != 0 {
		t.Error("details of an error came back")
	}

	list, err := c.List(t.Context(), &shoprpc.ListRequest{Count: 100, City: "nowhere"})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		one, err := list.Recv()
		if err != nil {
			t.Fatal(err)
		}
		masked(t, "List", one)
		if one.Email != email {
			t.Errorf("got %v", one)
		}
	}
	_, err = list.Recv()
	refusedWith(t, err, codes.NotFound)
	if md := list.Trailer(); len(md) != 0 {
		t.Errorf("trailers came back: %v", md)
	}

	chat, err := c.Chat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 10 { // one waits for the other
		if err := chat.Send(&shoprpc.Note{Text: "hello", About: &shoprpc.Customer{Id: 9}}); err != nil {
			t.Fatal(err)
		}
		n, err := chat.Recv()
		if err != nil || n.Text != "re: hello" || n.About.Email != email {
			t.Fatal(n, err)
		}
	}
	chat.CloseSend()
	if _, err := chat.Recv(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}

	in, err := c.Import(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if err := in.Send(&shoprpc.Customer{Id: int32(i), Email: "new@example.org"}); err != nil {
			t.Fatal(err)
		}
	}
	sum, err := in.CloseAndRecv()
	if sent, _ := r.service.got(); err != nil || sum.Imported != 10 || sent[9].Email != "new@example.org" {
		t.Error(sum, err)
	}
}

// TestGRPCReveal: who may see a field as it is sees it, and errors with their text; who may ask by it may.
func TestGRPCReveal(t *testing.T) {
	r := startRPC(t, func(o *options) {
		o.policies += `@id("reveal") permit (principal, action == Action::"reveal", resource in Method::"shop-rpc/shop.v1.Customers/Get");`
	})
	c := r.customers()
	got, err := c.Get(t.Context(), byEmail("x@example.org"))
	if err != nil || got.Email != rawEmail || got.Phone != rawPhone {
		t.Error(got, err)
	}
	if _, err = c.Get(t.Context(), byID(404)); !strings.Contains(status.Convert(err).Message(), rawEmail) {
		t.Error(err)
	}
	list, err := c.List(t.Context(), &shoprpc.ListRequest{Count: 1})
	if err != nil {
		t.Fatal(err)
	}
	one, err := list.Recv() // another method
	if err != nil {
		t.Fatal(err)
	}
	masked(t, "List", one)
}

func TestGRPCRefusals(t *testing.T) {
	r := startRPC(t)
	token := r.token()
	c := shoprpc.NewCustomersClient(r.dial(token))
	_, err := shoprpc.NewCustomersClient(r.dial("")).Get(t.Context(), byID(1))
	refusedWith(t, err, codes.Unauthenticated, "no token", "gatehouse token")
	_, err = shoprpc.NewCustomersClient(r.dial("nonsense")).Get(t.Context(), byID(1))
	refusedWith(t, err, codes.Unauthenticated)
	other, _ := r.issuer.AgentToken(otherAgent)
	_, err = shoprpc.NewCustomersClient(r.dial(other)).Get(t.Context(), byID(1))
	refusedWith(t, err, codes.PermissionDenied, "No policy permits")
	_, err = c.Get(t.Context(), byEmail("x@example.org"))
	info := refusedWith(t, err, codes.PermissionDenied, "reveal field shop-rpc/shop.v1.Customers/Get#shop.v1.GetRequest.email")
	if info.Reason != "POLICY_DENIED" || !strings.Contains(info.Metadata["missing"], "reveal field") || !strings.HasPrefix(info.Metadata["request_id"], "s-") {
		t.Errorf("the ErrorInfo is %v", info)
	}
	_, err = shoprpc.NewAdminClient(r.dial(token)).Purge(t.Context(), &shoprpc.PurgeRequest{})
	refusedWith(t, err, codes.PermissionDenied, "call method shop-rpc/shop.v1.Admin/Purge")
	cc := r.dial(token)
	for _, method := range []string{"/shop.v1.Customers/Delete", "/shop.v2.Customers/Get", "/shop.v1.customers/Get", "/shop.v1.Customers/Get/x", "/x"} {
		err = cc.Invoke(t.Context(), method, byID(1), &shoprpc.Customer{})
		refusedWith(t, err, codes.Unimplemented)
	}
	unknown := byID(1)
	unknown.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 7, protowire.VarintType), 1))
	_, err = c.Get(t.Context(), unknown)
	refusedWith(t, err, codes.InvalidArgument, "shop.v1.GetRequest has no field with the number 7")
	d, _ := anypb.New(durationpb.New(1))
	_, err = c.Update(t.Context(), &shoprpc.UpdateRequest{Customer: &shoprpc.Customer{Card: d}})
	refusedWith(t, err, codes.InvalidArgument, "an Any holds a type that the descriptors do not have")
	_, err = c.Update(t.Context(), &shoprpc.UpdateRequest{Customer: &shoprpc.Customer{Photo: make([]byte, 5<<20)}})
	refusedWith(t, err, codes.ResourceExhausted)
	_, err = c.Update(t.Context(), &shoprpc.UpdateRequest{Customer: &shoprpc.Customer{Photo: make([]byte, 60<<20)}}, grpc.UseCompressor(gzip.Name))
	refusedWith(t, err, codes.ResourceExhausted, "max 4194304")
	if most := 300; r.memory() > most {
		t.Errorf("it took %d MiB of memory, more than %d", r.memory(), most)
	}
	_, err = c.Get(t.Context(), byID(1), grpc.ForceCodec(jsonCodec{}))
	refusedWith(t, err, codes.InvalidArgument, "Only messages of protocol buffers")
	_, err = c.Get(metadata.AppendToOutgoingContext(t.Context(), "x-gatehouse-connection", "nothing"), byID(1))
	refusedWith(t, err, codes.NotFound, "no connection of that name")
	_, err = c.Get(metadata.AppendToOutgoingContext(t.Context(), "x-gatehouse-connection", "shop-rpc", "x-gatehouse-connection", "shop-rpc"), byID(1))
	refusedWith(t, err, codes.InvalidArgument, "several connections")
	_, err = c.Get(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token), byID(1))
	refusedWith(t, err, codes.Unauthenticated, "several tokens")

	// A stream that asks for more than was permitted ends there.
	chat, err := c.Chat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	chat.Send(&shoprpc.Note{Text: "1", About: &shoprpc.Customer{Email: "may-be-sent@example.org"}})
	if _, err := chat.Recv(); err != nil {
		t.Error(err)
	}
	if n := r.service.count(); n != 1 {
		t.Errorf("%d calls reached the service, want 1", n)
	}
	bad := &shoprpc.Note{}
	bad.ProtoReflect().SetUnknown([]byte{0x38, 1})
	chat.Send(bad)
	_, err = chat.Recv()
	refusedWith(t, err, codes.InvalidArgument, "A request of the stream is not understood")

	// What is forwarded: the list, and the gateway's own credential.
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-tenant", "acme", "x-other", "no", "cookie", "a=b", "x-forwarded-for", "1.2.3.4", "traceparent", "00-1-2-3")
	if _, err := c.Get(ctx, byID(7), grpc.UseCompressor(gzip.Name)); err != nil {
		t.Error(err)
	}
	_, seen := r.service.got()
	for name, want := range map[string]string{"x-tenant": "acme", "x-other": "", "cookie": "", "x-forwarded-for": "", "traceparent": "00-1-2-3", "authorization": "Bearer " + apiSecret, "x-gatehouse-connection": "", "x-gatehouse-token": ""} {
		if got := strings.Join(seen[name], ","); got != want {
			t.Errorf("the service got %s: %q, want %q", name, got, want)
		}
	}
}

// jsonCodec says that it sends JSON.
type jsonCodec struct{}

func (jsonCodec) Marshal(any) ([]byte, error)     { return []byte("{}"), nil }
func (jsonCodec) Unmarshal(b []byte, v any) error { return nil }
func (jsonCodec) Name() string                    { return "json" }

// TestGRPCStreamPolicy: a stream of requests may not have a labelled field that is not permitted, and cannot be held.
func TestGRPCStreamPolicy(t *testing.T) {
	r := startRPC(t, func(o *options) {
		o.policies = strings.Replace(o.policies, `@id("send") permit`, `@id("send") @approval("dba") permit`, 1) +
			`@id("chat-waits") @approval("dba") forbid (principal, action == Action::"call", resource == Method::"shop-rpc/shop.v1.Customers/Chat");`
	})
	c := r.customers()
	in, err := c.Import(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in.Send(&shoprpc.Customer{Id: 1})
	in.Send(&shoprpc.Customer{Id: 2, Email: "new@example.org"})
	_, err = in.CloseAndRecv()
	refusedWith(t, err, codes.PermissionDenied, "shop.v1.Customer.email", "update")
	sent, _ := r.service.got()
	for _, sent := range sent {
		if sent.Email != "" {
			t.Error("a field that is not permitted was sent on")
		}
	}
	chat, err := c.Chat(t.Context())
	if err == nil {
		_, err = chat.Recv()
	}
	refusedWith(t, err, codes.PermissionDenied, "a stream of requests cannot be held")
}

func TestGRPCHold(t *testing.T) {
	r := startRPC(t)
	c := r.customers()
	update := func(name string, timeout time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		_, err := c.Update(ctx, &shoprpc.UpdateRequest{Customer: &shoprpc.Customer{Id: 1, Name: name}})
		return err
	}
	got := make(chan error, 1)
	go func() { got <- update("Eve", patience) }()
	id := r.heldRequest()
	r.ok("ada", []string{`shop.v1.Customers/Update`, `customer {id: 1 name: "Eve"}`}, "approvals", "show", id)
	r.ok("ada", []string{"is approved"}, "approvals", "approve", id)
	err := <-got
	if sent, _ := r.service.got(); err != nil || r.service.count() != 1 || sent[0].Name != "Eve" {
		t.Error(err, sent)
	}
	// The client's deadline is near: it is told in time, and calls again when it was approved; that runs once.
	err = update("Eve 2", 4*time.Second)
	info := refusedWith(t, err, codes.FailedPrecondition)
	if info.Reason != "APPROVAL_REQUIRED" || !strings.HasPrefix(info.Metadata["approval"], "https://") {
		t.Errorf("the ErrorInfo is %v", info)
	}
	r.ok("ada", []string{"is approved"}, "approvals", "approve", r.heldRequest())
	if err := update("Eve 2", patience); err != nil || r.service.count() != 2 {
		t.Error(err, r.service.count())
	}
	refusedWith(t, update("Eve 2", 4*time.Second), codes.FailedPrecondition)
	go func() { got <- update("Eve 3", patience) }()
	eventually(t, "a second one waits", func() bool { return strings.Contains(r.ok("ada", nil, "approvals", "list"), "pending") })
	if n := r.service.count(); n != 2 {
		t.Errorf("%d calls reached the service, want 2", n)
	}
	r.stop(15)
	refusedWith(t, <-got, codes.Unavailable)
}

// TestGRPCEnds: a session that is ended, and a token that expires, end streams and calls that wait.
func TestGRPCEnds(t *testing.T) {
	r := startRPC(t)
	streams, calls, waits := r.token(), r.token(), r.token()
	list, err := shoprpc.NewCustomersClient(r.dial(streams)).List(t.Context(), &shoprpc.ListRequest{Count: 1, City: "forever"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := list.Recv(); err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 2)
	go func() {
		_, err := shoprpc.NewCustomersClient(r.dial(calls)).Get(t.Context(), byID(605))
		got <- err
	}()
	go func() {
		_, err := shoprpc.NewCustomersClient(r.dial(waits)).Update(t.Context(), &shoprpc.UpdateRequest{Customer: &shoprpc.Customer{Id: 1}})
		got <- err
	}()
	r.heldRequest()
	eventually(t, "the service is asked", func() bool { return r.service.count() == 2 })
	var live []gate.Live
	eventually(t, "three sessions are open", func() bool { live = r.live(); return len(live) == 3 })
	for _, l := range live {
		r.ok("ada", []string{l.ID + " is ended"}, "sessions", "kill", l.ID, "--reason", "it is too much")
	}
	_, err = list.Recv()
	refusedWith(t, err, codes.Unavailable, "ended by ada", "it is too much")
	for range 2 {
		refusedWith(t, <-got, codes.Unavailable, "ended by ada")
	}
	eventually(t, "none is open", func() bool { return len(r.live()) == 0 })
	if n := r.service.count(); n != 2 {
		t.Errorf("%d calls reached the service, want 2", n)
	}
	// A stream outlives its token by the time that a session has to end, and no more.
	soon := r.token(func(claims map[string]any) { claims["exp"] = time.Now().Add(3 * time.Second).Unix() })
	list, err = shoprpc.NewCustomersClient(r.dial(soon)).List(t.Context(), &shoprpc.ListRequest{Count: 1, City: "forever"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := list.Recv(); err != nil {
		t.Fatal(err)
	}
	_, err = list.Recv()
	refusedWith(t, err, codes.Unauthenticated, "has expired")
}

// TestGRPCReflection: reflection and health say of what the principal may call, and of nothing else.
func TestGRPCReflection(t *testing.T) {
	r := startRPC(t)
	cc := r.dial(r.token())
	for _, method := range []string{"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"} {
		stream, err := cc.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
		if err != nil {
			t.Fatal(err)
		}
		ask := func(q *reflectionpb.ServerReflectionRequest) string {
			out := &reflectionpb.ServerReflectionResponse{}
			if err := stream.SendMsg(q); err != nil {
				t.Fatal(err)
			}
			if err := stream.RecvMsg(out); err != nil {
				t.Fatal(err)
			}
			return out.String()
		}
		list := ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
		if !strings.Contains(list, "shop.v1.Customers") || strings.Contains(list, "Admin") {
			t.Error(list)
		}
		of := func(name string) string {
			return ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: name}})
		}
		if text := of("shop.v1.Customers"); !strings.Contains(text, "UpdateRequest") || strings.Contains(text, "\x05Admin") || strings.Contains(text, "\\x05Admin") || strings.Contains(text, "Purge\\x12") {
			t.Error(text)
		}
		if text := of("shop.v1.Admin"); !strings.Contains(text, "error_response") {
			t.Error(text)
		}
		stream.CloseSend()
		if err := stream.RecvMsg(&reflectionpb.ServerReflectionResponse{}); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	}
	h := healthpb.NewHealthClient(cc)
	for service, want := range map[string]codes.Code{"": codes.OK, "shop.v1.Customers": codes.OK, "shop.v1.Admin": codes.NotFound, "shop.v1.Nothing": codes.NotFound} {
		got, err := h.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
		if status.Code(err) != want || want == codes.OK && got.Status != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("the health of %q: %v %v", service, got, err)
		}
	}
	watch, err := h.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err == nil {
		_, err = watch.Recv()
	}
	if err != nil {
		t.Error(err)
	}
	_, err = h.List(t.Context(), &healthpb.HealthListRequest{})
	refusedWith(t, err, codes.Unimplemented)
	// Nobody asks without a token, nor who may not connect.
	_, err = healthpb.NewHealthClient(r.dial("")).Check(t.Context(), &healthpb.HealthCheckRequest{})
	refusedWith(t, err, codes.Unauthenticated)
	other, _ := r.issuer.AgentToken(otherAgent)
	_, err = healthpb.NewHealthClient(r.dial(other)).Check(t.Context(), &healthpb.HealthCheckRequest{})
	refusedWith(t, err, codes.PermissionDenied)
}

func TestGRPCRecording(t *testing.T) {
	r := startRPC(t)
	c := r.customers()
	if _, err := c.Get(t.Context(), byID(1)); err != nil {
		t.Fatal(err)
	}
	c.Get(t.Context(), byEmail("asked@example.org"))
	in, err := c.Import(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in.Send(&shoprpc.Customer{Id: 1, Name: "imported"})
	if _, err := in.CloseAndRecv(); err != nil {
		t.Fatal(err)
	}
	id := sessionID.FindString(r.ok("", []string{"shop-rpc"}, "sessions", "list"))
	noEmail(t, "a replay", r.ok("", []string{"connection  shop-rpc (grpc) from 127.0.0.1", "shop.v1.Customers/Get", "id: 1", "from | message", "service | id: 1 name: \"Ada\" email: \"a***@***.invalid\"",
		"call method shop-rpc/shop.v1.Customers/Get", "read field shop-rpc/shop.v1.Customers/Get#shop.v1.Customer.email", "ok: OK", "refuse (policy_denied)", "client | id: 1 name: \"imported\"", "service | imported: 1"},
		"sessions", "replay", id))
	eventually(t, "it is found", func() bool { return strings.Contains(r.cli("", "sessions", "search", "Customers/Import").out, id) })
	r.ok("", []string{"permit"}, "policy", "explain", id+".1")
	r.ok("", []string{"permit"}, "policy", "explain", "--principal", agentID, "--group", "ai-agents", "--connection", "shop-rpc", "--action", "call", "--resource", "shop.v1.Customers/Get")
	r.ok("", []string{"11 methods, 15 fields with labels"}, "connections", "snapshot", "shop-rpc", "--file", r.path("shop-rpc.json"))
	snapshot := r.path("shop-rpc.json")
	r.ok("", []string{"agents in ai-agents", "email"}, "policy", "who-can", "--catalog", snapshot, "read", "shop-rpc/shop.v1.Customers/Get#shop.v1.Customer.email")
	r.ok("", []string{"permit"}, "policy", "explain", "--catalog", snapshot, "--principal", agentID, "--group", "ai-agents", "--connection", "shop-rpc", "--action", "call", "--resource", "shop.v1.Customers/Get")
}

func TestGRPCPlaintext(t *testing.T) {
	r := startRPC(t)
	token := r.token()
	plain := func() error {
		_, err := shoprpc.NewCustomersClient(r.client(grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithPerRPCCredentials(bearerToken{token, true}))).Get(t.Context(), byID(1))
		return err
	}
	if err := plain(); status.Code(err) != codes.Unavailable {
		t.Errorf("a client without TLS: %v", err)
	}
	r.stop(15)
	r.write("gatehouse.yaml", r.text("gatehouse.yaml")+"    plaintext_clients: true\n")
	r.restart()
	if err := plain(); err != nil {
		t.Error(err)
	}
	if _, err := shoprpc.NewCustomersClient(r.dial(token)).Get(t.Context(), byID(1)); err != nil {
		t.Errorf("a client with TLS: %v", err)
	}
}

// TestGRPCConnections: which connection a call is for, where there are several.
func TestGRPCConnections(t *testing.T) {
	r := startRPC(t, func(o *options) {
		was := o.change
		o.change = func(s string) string {
			s = was(s)
			i := strings.Index(s, "  - name: shop-rpc")
			return s + strings.NewReplacer("shop-rpc", "other-rpc", "shop.example.com", "other.example.com").Replace(s[i:])
		}
	})
	token := r.token()
	get := func(ctx context.Context, authority ...string) error {
		cc := r.dial(token)
		for _, a := range authority { // the certificate has no such name
			cc = r.client(grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})), grpc.WithPerRPCCredentials(bearerToken{token, false}), grpc.WithAuthority(a))
		}
		_, err := shoprpc.NewCustomersClient(cc).Get(ctx, byID(1))
		return err
	}
	named := func(name string) context.Context {
		return metadata.AppendToOutgoingContext(t.Context(), "x-gatehouse-connection", name)
	}
	refusedWith(t, get(t.Context()), codes.InvalidArgument, "which connection")
	refusedWith(t, get(named("other-rpc")), codes.PermissionDenied, "other-rpc")
	refusedWith(t, get(named("other-rpc"), "shop.example.com"), codes.InvalidArgument, "two connections")
	for _, err := range []error{get(named("shop-rpc")), get(t.Context(), "shop.example.com"), get(named("shop-rpc"), "Shop.Example.com:443")} {
		if err != nil {
			t.Error(err)
		}
	}
}

// TestGRPCDescriptors: by .proto files; labels on fields that there are not; a service that is not there.
func TestGRPCDescriptors(t *testing.T) {
	r := startRPC(t)
	good := r.text("gatehouse.yaml")
	path, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	proto := path + "/../internal/demo/shoprpc/shop.proto"
	byProto := strings.Replace(good, "reflection: true", "protos: ["+proto+"]", 1)
	r.stop(15)
	r.write("gatehouse.yaml", byProto)
	r.restart()
	got, err := r.customers().Get(t.Context(), byID(1))
	if err != nil {
		t.Fatal(err)
	}
	masked(t, "by .proto files", got)
	r.ok("", []string{"shop.v1.Customers/Get (reads)", "shop.v1.Customers/Import (writes, takes a stream)", "shop.v1.Admin/Purge (unsaid)", "grpcurl", "shop.v1.Customer.email"}, "connections", "show", "shop-rpc")
	r.ok("", []string{"/shop.v1.Customers/Get"}, "connections", "grants", "shop-rpc")
	r.ok("", []string{"Nobody says whether these methods change anything"}, "connections", "check", "shop-rpc")

	wrong := strings.Replace(good, "shop.v1.Customer.phone:", "shop.v1.Customer.phones:", 1)
	r.stop(15)
	r.write("gatehouse.yaml", wrong)
	r.restart()
	_, err = r.customers().Get(t.Context(), byID(1))
	refusedWith(t, err, codes.Unavailable, "does not say what its methods are")
	r.logs("no field shop.v1.Customer.phones: is shop.v1.Customer.phone meant")
	r.stop(15)
	r.write("gatehouse.yaml", strings.Replace(byProto, r.service.addr, "127.0.0.1:1", 1))
	r.restart()
	_, err = r.customers().Get(t.Context(), byID(1))
	refusedWith(t, err, codes.Unavailable, "cannot be reached")
	if strings.Contains(err.Error(), "127.0.0.1") {
		t.Error("the service's address is told")
	}
}

// TestGRPCConfig: what is wrong in the configuration is named with its line.
func TestGRPCConfig(t *testing.T) {
	r := startRPC(t)
	good := r.text("gatehouse.yaml")
	for change, want := range map[[2]string]string{
		{"reflection: true", "proto_paths: [x]"}:                                                  "nothing says what the service's methods are",
		{"reflection: true", "reflection: true\n    descriptor_set: x.bin"}:                       "in several ways",
		{"reflection: true", "descriptor_set: none.bin"}:                                          "none.bin",
		{"shop.v1.Customer.email: pii.email", "email: pii.email"}:                                 "full name of a message's field",
		{"writes: [shop.v1.Customers/Update", "writes: [Update"}:                                  "SERVICE/METHOD",
		{"metadata: [x-tenant]", "metadata: [authorization]"}:                                     "is not forwarded",
		{"metadata: [x-tenant]", "metadata: [grpc-timeout]"}:                                      "is not forwarded",
		{"metadata: [x-tenant]", "max_message: 1"}:                                                "number of bytes",
		{"url: http://" + r.service.addr, "url: http://shop.internal"}:                            "without TLS",
		{"url: http://" + r.service.addr, "url: https://shop.internal/v1"}:                        "without a path",
		{"hosts: [shop.example.com]", "hosts: [SHOP]"}:                                            "small letters",
		{"credential: {bearer: {", "credential: {query: {name: key, value: {env: X}}, bearer: {"}: "credential",
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		if text == good {
			t.Fatalf("%q is not in the configuration", change[0])
		}
		r.write("bad.yaml", text)
		r.refuses("", []string{"bad.yaml", want}, "config", "validate", "--config", r.path("bad.yaml"))
	}
}

// live are the sessions on the service's connection that are open now.
func (r *rpc) live() (out []gate.Live) {
	r.t.Helper()
	if text := r.ok("ada", nil, "sessions", "live", "-o", "json"); !strings.HasPrefix(text, "No ") {
		if err := json.Unmarshal([]byte(text), &out); err != nil {
			r.t.Fatal(err)
		}
	}
	return out
}
