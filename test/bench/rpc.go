package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/reflection"

	"gatehouse/internal/demo/issuer"
	"gatehouse/internal/demo/shoprpc"
)

// rpcService is the service of the gRPC measurements: it answers with about 1 KiB.
type rpcService struct {
	shoprpc.UnimplementedCustomersServer
	answer *shoprpc.Customer
}

func newRPCService() *rpcService {
	c := &shoprpc.Customer{Id: 7, Name: "Ada Lovelace", Email: "ada.lovelace@example.com", Phone: "+44 20 7946 0958", City: "London"}
	for range 12 {
		c.Friends = append(c.Friends, &shoprpc.Customer{Id: 8, Name: "Grace Hopper", Email: "grace.hopper@example.com", Phone: "+1 202 555 0143", City: "Arlington"})
	}
	return &rpcService{answer: c}
}

func (s *rpcService) Get(context.Context, *shoprpc.GetRequest) (*shoprpc.Customer, error) {
	return s.answer, nil
}

// serveRPC serves it until the process ends.
func serveRPC(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	shoprpc.RegisterCustomersServer(s, newRPCService())
	reflection.Register(s)
	return s.Serve(l)
}

// rawFrame and rawCodec hand the bytes of messages through.
type rawFrame struct{ b []byte }

type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.(*rawFrame).b)}, nil
}
func (rawCodec) Unmarshal(b mem.BufferSlice, v any) error {
	v.(*rawFrame).b = b.Materialize()
	return nil
}

// relayRPC is the least that can stand before a gRPC service in Go: one request in, the same on, one answer back.
func relayRPC(address, upstream string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	cc, err := grpc.NewClient("passthrough:///"+upstream, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
	if err != nil {
		return err
	}
	return grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.NumStreamWorkers(64), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		var in, out rawFrame
		if err := stream.RecvMsg(&in); err != nil {
			return err
		}
		method, _ := grpc.MethodFromServerStream(stream)
		if err := cc.Invoke(stream.Context(), method, &in, &out, grpc.ForceCodecV2(rawCodec{})); err != nil {
			return err
		}
		return stream.SendMsg(&out)
	})).Serve(l)
}

// rpcToken puts a token into calls.
type rpcToken string

func (t rpcToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(t)}, nil
}
func (rpcToken) RequireTransportSecurity() bool { return false }

// rpcs measures unary calls direct and through the gateway, in turn: how many a second, and how long one takes.
func rpcs(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	own, err := os.Executable()
	if err != nil {
		return err
	}
	upstreamPort, err1 := freePort()
	https, err2 := freePort()
	plainPort, err3 := freePort()
	is, err4 := issuer.Start("127.0.0.1:0", issuer.Options{Tenant: "bench", Audience: "bench", Lifetime: time.Hour, Agents: []issuer.Agent{{ClientID: "bench", Secret: rand.Text(), Name: "bench", Groups: []string{"bench"}}}})
	for _, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			return err
		}
	}
	defer is.Close()
	upstream := fmt.Sprintf("127.0.0.1:%d", upstreamPort)
	service := exec.Command(own, "rpc", upstream)
	if err := service.Start(); err != nil {
		return err
	}
	defer func() { service.Process.Kill(); service.Wait() }()
	relayPort, err := freePort()
	if err != nil {
		return err
	}
	bare := fmt.Sprintf("127.0.0.1:%d", relayPort)
	relay := exec.Command(own, "rpc", bare, upstream)
	if err := relay.Start(); err != nil {
		return err
	}
	defer func() { relay.Process.Kill(); relay.Wait() }()
	connection := func(name, labels string) string {
		return fmt.Sprintf("  - {name: %s, kind: grpc, url: \"http://%s\", groups: [bench], reflection: true, plaintext_clients: true, hosts: [%s.example]%s}\n", name, upstream, name, labels)
	}
	config := fmt.Sprintf(`listen: {https: "127.0.0.1:%d", grpc: "127.0.0.1:%d"}
issuers: [{name: bench, kind: entra, issuer: "%s", audiences: [bench], groups: {names: {bench: bench}}}]
store: sqlite:gatehouse.db
recordings: file:recordings
policies: [bench.cedar]
connections:
%s%s`, https, plainPort, is.URL(), connection("plain", ""), connection("masked", ", labels: {shop.v1.Customer.email: pii.email, shop.v1.Customer.phone: pii.phone}"))
	for name, text := range map[string]string{"gatehouse.yaml": config, "bench.cedar": `@id("call") permit (principal, action in [Action::"call", Action::"read"], resource);`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	pid, stop, err := serve(dir, "grpc")
	if err != nil {
		return err
	}
	defer stop()
	token, err := is.AgentToken("bench")
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(filepath.Join(dir, "tls.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	gateway := fmt.Sprintf("127.0.0.1:%d", plainPort)
	dial := func(address, host string, encryption credentials.TransportCredentials) (*grpc.ClientConn, error) {
		return grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(encryption), grpc.WithPerRPCCredentials(rpcToken(token)), grpc.WithAuthority(host))
	}
	encrypted := credentials.NewTLS(&tls.Config{RootCAs: roots, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	fmt.Printf("\n%-28s %9s %9s %9s %7s %7s %9s %9s %9s %7s %12s\n", "gRPC unary, 1 KiB", "direct/s", "relay/s", "via/s", "relay", "via", "p50", "relay p50", "via p50", "via", "gateway CPU")
	for _, c := range []struct {
		name, host string
		encryption credentials.TransportCredentials
	}{{"plain", "plain.example", insecure.NewCredentials()}, {"masked", "masked.example", insecure.NewCredentials()}, {"masked, TLS", "masked.example", encrypted}} {
		for _, clients := range []int{32, 1} {
			direct, err := dial(upstream, "upstream.example", insecure.NewCredentials())
			if err != nil {
				return err
			}
			via, err := dial(gateway, c.host, c.encryption)
			if err != nil {
				return err
			}
			through, err := dial(bare, "upstream.example", insecure.NewCredentials())
			if err != nil {
				return err
			}
			if err := rpcCase(ctx, c.name, clients, []*grpc.ClientConn{direct, through, via}, pid, strings.HasPrefix(c.name, "masked")); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			direct.Close()
			through.Close()
			via.Close()
		}
	}
	return nil
}

const rpcTime = 2 * time.Second // of one run of a case

// rpcCase measures one case: direct, through the bare relay, through the gateway.
func rpcCase(ctx context.Context, name string, clients int, ways []*grpc.ClientConn, pid int, masked bool) error {
	rates, times := make([][]float64, len(ways)), make([]samples, len(ways))
	gateway := len(ways) - 1
	var cpu time.Duration
	calls := 0
	for round := range 4 { // the first is warm-up
		for i, cc := range ways {
			before := cpuOf(pid)
			n, took, err := rpcLoad(ctx, cc, clients, i == gateway && masked)
			if err != nil {
				return err
			}
			if round == 0 {
				continue
			}
			rates[i], times[i] = append(rates[i], float64(n)/rpcTime.Seconds()), append(times[i], took...)
			if i == gateway {
				cpu, calls = cpu+cpuOf(pid)-before, calls+n
			}
		}
	}
	for i := range ways {
		slices.Sort(rates[i])
		slices.Sort(times[i])
	}
	rate := func(i int) float64 { return rates[i][1] }
	p50 := func(i int) time.Duration { return times[i].at(50) }
	fmt.Printf("%-28s %9.0f %9.0f %9.0f %7.2f %7.2f %9s %9s %9s %7.2f %12s\n", fmt.Sprintf("%s, %d at a time", name, clients), rate(0), rate(1), rate(2), rate(1)/rate(0), rate(2)/rate(0),
		micro(p50(0)), micro(p50(1)), micro(p50(2)), float64(p50(0))/float64(p50(2)), micro(cpu/time.Duration(calls)))
	return nil
}

// rpcLoad calls for a while, with so many calls at a time.
func rpcLoad(ctx context.Context, cc *grpc.ClientConn, clients int, masked bool) (int, samples, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	var failed atomic.Pointer[error]
	lists := make([]samples, clients)
	end := time.Now().Add(rpcTime)
	for i := range clients {
		all.Go(func() {
			client := shoprpc.NewCustomersClient(cc)
			for {
				begun := time.Now()
				if begun.After(end) || failed.Load() != nil {
					return
				}
				got, err := client.Get(ctx, &shoprpc.GetRequest{By: &shoprpc.GetRequest_Id{Id: 7}}, grpc.WaitForReady(true))
				if err == nil && strings.HasPrefix(got.Email, "ada.") == masked {
					err = fmt.Errorf("the answer has the e-mail address %q", got.Email)
				}
				if err != nil {
					failed.Store(&err)
					return
				}
				lists[i] = append(lists[i], time.Since(begun))
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return 0, nil, *err
	}
	out := slices.Concat(lists...)
	return len(out), out, nil
}
