package demo

import (
	"context"
	"crypto/subtle"
	"net"
	"os"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"gatehouse/internal/demo/shoprpc"
)

// rpcPolicies permit what the starter set says nothing of: gRPC services.
const rpcPolicies = `// Agents may call the shop's gRPC service. Labelled fields come back masked; what changes anything waits for an approval.
@id("call-services")
permit (principal, action in [Action::"call", Action::"read"], resource in Connection::"shop-rpc");

@id("updates-wait") @approval("dba")
forbid (principal, action == Action::"call", resource == Method::"shop-rpc/shop.v1.Customers/Update");
`

// rpc is the shop's gRPC service, which wants the same credential as its HTTP API.
type rpc struct {
	shoprpc.UnimplementedCustomersServer
	server *grpc.Server
	addr   string
}

// startRPC starts it on loopback. The credential was written by startAPI.
func (d *demo) startRPC() (*rpc, error) {
	secret, err := os.ReadFile(d.path("api.secret"))
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	own := "Bearer " + strings.TrimSpace(string(secret))
	known := func(ctx context.Context) error {
		md, _ := metadata.FromIncomingContext(ctx)
		if v := md["authorization"]; len(v) != 1 || subtle.ConstantTimeCompare([]byte(v[0]), []byte(own)) != 1 {
			return status.Error(codes.Unauthenticated, "only the gateway may ask")
		}
		return nil
	}
	r := &rpc{addr: l.Addr().String()}
	r.server = grpc.NewServer(
		grpc.UnaryInterceptor(func(ctx context.Context, q any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := known(ctx); err != nil {
				return nil, err
			}
			return next(ctx, q)
		}),
		grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			if err := known(stream.Context()); err != nil {
				return err
			}
			return next(srv, stream)
		}))
	shoprpc.RegisterCustomersServer(r.server, r)
	reflection.Register(r.server)
	go r.server.Serve(l)
	d.say("  a gRPC service of the shop on %s, which takes the gateway's credential only", r.addr)
	return r, nil
}

func (c customer) message() *shoprpc.Customer {
	return &shoprpc.Customer{Id: int32(c.ID), Name: c.Name, Email: c.Email, Phone: c.Phone, City: c.City}
}

// Get is one customer, by id or by e-mail address.
func (*rpc) Get(_ context.Context, q *shoprpc.GetRequest) (*shoprpc.Customer, error) {
	for _, c := range customers {
		if int32(c.ID) == q.GetId() || c.Email == q.GetEmail() {
			return c.message(), nil
		}
	}
	return nil, status.Error(codes.NotFound, "no such customer")
}

// List is every customer.
func (*rpc) List(_ *shoprpc.ListRequest, out grpc.ServerStreamingServer[shoprpc.Customer]) error {
	for _, c := range customers {
		if err := out.Send(c.message()); err != nil {
			return err
		}
	}
	return nil
}

// Update answers with what it was sent: nothing is kept.
func (*rpc) Update(_ context.Context, q *shoprpc.UpdateRequest) (*shoprpc.Customer, error) {
	return q.GetCustomer(), nil
}

// config is the service as a connection.
func (r *rpc) config(secret string) string {
	return "  - name: shop-rpc\n    kind: grpc\n    tags: [env:demo]\n    url: http://" + r.addr + "\n    credential: {bearer: {file: " + strconv.Quote(secret) + "}}\n    groups: [ai-agents]\n" +
		"    reflection: true\n    labels: {shop.v1.Customer.email: pii.email, shop.v1.Customer.phone: pii.phone, shop.v1.GetRequest.email: pii.email}\n    writes: [shop.v1.Customers/Update]\n"
}
