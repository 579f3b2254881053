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
	fmt.Printf("\n%-34s %9s %9s %7s %9s %9s %7s %12s\n", "gRPC unary, 1 KiB", "direct/s", "via/s", "ratio", "p50", "via p50", "ratio", "gateway CPU")
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
			if err := rpcCase(ctx, c.name, clients, direct, via, pid, strings.HasPrefix(c.name, "masked")); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			direct.Close()
			via.Close()
		}
	}
	return nil
}

const rpcTime = 2 * time.Second // of one run of a case

func rpcCase(ctx context.Context, name string, clients int, direct, via *grpc.ClientConn, pid int, masked bool) error {
	var rates [2][]float64
	var times [2]samples
	var cpu time.Duration
	calls := 0
	for round := range 4 { // the first is warm-up
		for i, cc := range []*grpc.ClientConn{direct, via} {
			before := cpuOf(pid)
			n, took, err := rpcLoad(ctx, cc, clients, i == 1 && masked)
			if err != nil {
				return err
			}
			if round == 0 {
				continue
			}
			rates[i], times[i] = append(rates[i], float64(n)/rpcTime.Seconds()), append(times[i], took...)
			if i == 1 {
				cpu, calls = cpu+cpuOf(pid)-before, calls+n
			}
		}
	}
	for i := range rates {
		slices.Sort(rates[i])
		slices.Sort(times[i])
	}
	d, v := rates[0][1], rates[1][1]
	fmt.Printf("%-34s %9.0f %9.0f %7.2f %9s %9s %7.2f %12s\n", fmt.Sprintf("%s, %d at a time", name, clients), d, v, v/d, micro(times[0].at(50)), micro(times[1].at(50)),
		float64(times[0].at(50))/float64(times[1].at(50)), micro(cpu/time.Duration(calls)))
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
