package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"gatehouse/internal/config"
	"gatehouse/internal/demo/issuer"
	"gatehouse/internal/demo/shoprpc"
	"gatehouse/internal/record/faultfs"
)

// endless is a service whose calls end only with their client.
type endless struct {
	shoprpc.UnimplementedCustomersServer
	open atomic.Int64
}

func (e *endless) until(ctx context.Context) error {
	e.open.Add(1)
	defer e.open.Add(-1)
	<-ctx.Done()
	return ctx.Err()
}

func (e *endless) Get(ctx context.Context, _ *shoprpc.GetRequest) (*shoprpc.Customer, error) {
	return nil, e.until(ctx)
}

func (e *endless) List(r *shoprpc.ListRequest, out grpc.ServerStreamingServer[shoprpc.Customer]) error {
	e.open.Add(1)
	defer e.open.Add(-1)
	for r.City == "flood" {
		if err := out.Send(&shoprpc.Customer{Photo: make([]byte, 1<<16)}); err != nil {
			return err
		}
	}
	if err := out.Send(&shoprpc.Customer{}); err != nil {
		return err
	}
	<-out.Context().Done()
	return out.Context().Err()
}

func (e *endless) Import(in grpc.ClientStreamingServer[shoprpc.Customer, shoprpc.ImportSummary]) error {
	in.Recv()
	return e.until(in.Context())
}

func (e *endless) Chat(both grpc.BidiStreamingServer[shoprpc.Note, shoprpc.Note]) error {
	n, err := both.Recv()
	if err != nil {
		return err
	}
	if err := both.Send(n); err != nil {
		return err
	}
	return e.until(both.Context())
}

// relaying counts the goroutines that are in a call of the gRPC connector.
func relaying() (n int, stacks string) {
	buf := make([]byte, 16<<20)
	buf = buf[:runtime.Stack(buf, true)]
	for one := range strings.SplitSeq(string(buf), "\n\n") {
		if strings.Contains(one, "connector/grpc.(*call)") || strings.Contains(one, "connector/grpc.(*server).handle") || strings.Contains(one, "connector/grpc.(*questions)") {
			n++
			stacks += one + "\n\n"
		}
	}
	return n, stacks
}

// TestGRPCLeavesNothingBehind: however a call ends, no goroutine of it stays, here or at the service.
func TestGRPCLeavesNothingBehind(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	service := &endless{}
	up := grpc.NewServer()
	shoprpc.RegisterCustomersServer(up, service)
	reflection.Register(up)
	go up.Serve(l)
	t.Cleanup(up.Stop)
	is, err := issuer.Start("127.0.0.1:0", issuer.Options{Tenant: "t", Audience: "api://gatehouse", Agents: []issuer.Agent{{ClientID: "bot", Secret: rand.Text(), Name: "bot", Groups: []string{"g"}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { is.Close() })
	dir := t.TempDir()
	for name, text := range map[string]string{"gatehouse.yaml": fmt.Sprintf(`listen: {https: "127.0.0.1:0", grpc: "127.0.0.1:0"}
tls: {self_signed: true}
issuers: [{name: test, kind: entra, issuer: %s, audiences: ["api://gatehouse"], groups: {names: {g: agents}}}]
store: sqlite:gatehouse.db
recordings: file:recordings
policies: [all.cedar]
connections:
  - {name: shop, kind: grpc, url: "http://%s", groups: [agents], reflection: true, labels: {shop.v1.Customer.email: pii.email}}
`, is.URL(), l.Addr()), "all.cedar": `permit (principal, action in [Action::"call", Action::"read"], resource);`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	conf, err := config.Load(filepath.Join(dir, "gatehouse.yaml"), connectors())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g, err := openOn(ctx, conf, slog.New(slog.DiscardHandler), faultfs.OS{})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- g.serve(ctx) }()
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			cancel()
			<-served
		}
	}
	t.Cleanup(stop)
	addr := ""
	for _, s := range g.services {
		if s.name == "grpc" {
			addr = s.listener.Addr().String()
		}
	}
	token, err := is.AgentToken("bot")
	if err != nil {
		t.Fatal(err)
	}
	dial := func() (shoprpc.CustomersClient, *grpc.ClientConn) {
		cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})))
		if err != nil {
			t.Fatal(err)
		}
		return shoprpc.NewCustomersClient(cc), cc
	}
	with := func(ctx context.Context) context.Context {
		return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	begun := func(c shoprpc.CustomersClient, ctx context.Context, flooded bool) {
		t.Helper()
		list, err := c.List(with(ctx), &shoprpc.ListRequest{})
		if err == nil {
			_, err = list.Recv()
		}
		var floodErr error
		if flooded {
			var flood grpc.ServerStreamingClient[shoprpc.Customer]
			if flood, floodErr = c.List(with(ctx), &shoprpc.ListRequest{City: "flood"}); floodErr == nil {
				_, floodErr = flood.Recv() // and no more: it waits for its client
			}
		}
		chat, chatErr := c.Chat(with(ctx))
		if chatErr == nil {
			if chatErr = chat.Send(&shoprpc.Note{Text: "x"}); chatErr == nil {
				_, chatErr = chat.Recv()
			}
		}
		in, inErr := c.Import(with(ctx))
		if inErr == nil {
			inErr = in.Send(&shoprpc.Customer{Id: 1})
		}
		go c.Get(with(ctx), &shoprpc.GetRequest{})
		for _, err := range []error{err, floodErr, chatErr, inErr} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	atService := func(n int64) {
		t.Helper()
		for end := time.Now().Add(patience); service.open.Load() != n; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d calls are open at the service, want %d", service.open.Load(), n)
			}
		}
	}
	nothing := func(after string) {
		t.Helper()
		atService(0)
		for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			n, stacks := relaying()
			if n == 0 {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("after %s %d goroutines are left:\n%s", after, n, stacks)
			}
		}
	}
	const all = 5

	c, cc := dial()
	calling, leave := context.WithCancel(context.Background())
	begun(c, calling, true)
	atService(all)
	leave()
	nothing("calls that were cancelled")

	begun(c, context.Background(), true)
	atService(all)
	cc.Close()
	nothing("a client that left")

	c, cc = dial()
	defer cc.Close()
	short, late := context.WithTimeout(context.Background(), 3*time.Second)
	defer late()
	begun(c, short, true)
	nothing("deadlines")

	stream, err := reflectionpb.NewServerReflectionClient(cc).ServerReflectionInfo(with(short))
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.DeadlineExceeded {
		t.Error(err)
	}
	nothing("a stream of reflection without a question")

	begun(c, context.Background(), false)
	atService(all - 1) // what waits for its client goes on waiting
	up.Stop()
	nothing("a service that went away")

	stop()
	nothing("the gateway's end")
}
