package test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// What gRPC's own project, and others, test and call with. Each is built from its own module, by its own dependencies.
const (
	interopClient = "google.golang.org/grpc/interop/client@v1.85.0"
	interopServer = "google.golang.org/grpc/interop/server@v1.85.0"
	grpcurlTool   = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4"
)

var toolsOnce sync.Mutex

// goTool builds a tool and gives its path.
func goTool(t testing.TB, module string) string {
	t.Helper()
	toolsOnce.Lock()
	defer toolsOnce.Unlock()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path, version, _ := strings.Cut(module, "@")
	dir := filepath.Join(cache, "gatehouse-test-tools", version, filepath.Base(filepath.Dir(path)))
	program := filepath.Join(dir, filepath.Base(path))
	if _, err := os.Stat(program); err == nil {
		return program
	}
	build := exec.Command("go", "install", module)
	build.Dir = t.TempDir() // outside of our module
	build.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go install %s: %v\n%s", module, err, out)
	}
	return program
}

// interopCases are those of the interop client that need no cloud, and that gRPC's own server passes (pick_first_unary and
// orca_per_rpc it does not). What they check is in its own source.
var interopCases = []string{"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream", "timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response",
	"status_code_and_message", "special_status_message", "custom_metadata", "unimplemented_method", "unimplemented_service"}

// TestGRPCInterop: gRPC's interop client passes the same cases at gRPC's interop server through the gateway as it does direct.
func TestGRPCInterop(t *testing.T) {
	client, server := goTool(t, interopClient), goTool(t, interopServer)
	upstream := address(t)
	_, port, _ := net.SplitHostPort(upstream)
	cmd := exec.Command(server, "-port", port)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	eventually(t, "the interop server listens", func() bool {
		c, err := net.Dial("tcp", upstream)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	set := &descriptorpb.FileDescriptorSet{}
	for _, f := range []protoreflect.FileDescriptor{testgrpc.File_grpc_testing_empty_proto, testgrpc.File_grpc_testing_messages_proto, testgrpc.File_grpc_testing_test_proto} {
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
	}
	b, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "interop.bin")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	addr := address(t)
	g := start(t, options{
		policies: `@id("call") permit (principal, action == Action::"call", resource in Connection::"interop");`,
		change: func(text string) string {
			return strings.Replace(text, "listen: {", `listen: {grpc: "`+addr+`", `, 1) + `  - name: interop
    kind: grpc
    url: http://` + upstream + `
    groups: [ai-agents]
    descriptor_set: ` + file + `
    metadata: [x-grpc-test-echo-initial, x-grpc-test-echo-trailing-bin]
`
		},
	})
	run := func(name string, args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, client, append([]string{"-test_case", name}, args...)...).CombinedOutput()
		return strings.ReplaceAll(string(out), g.token(), "…"), err
	}
	_, gatewayPort, _ := net.SplitHostPort(addr)
	for _, name := range interopCases {
		if out, err := run(name, "-server_host", "127.0.0.1", "-server_port", port); err != nil {
			t.Errorf("direct: %s: %v\n%s", name, err, out)
		}
		if out, err := run(name, "-server_host", "localhost", "-server_port", gatewayPort, "-use_tls", "-use_test_ca", "-ca_file", g.path("tls.crt"), "-additional_metadata", "authorization:Bearer "+g.token()); err != nil {
			t.Errorf("through the gateway: %s: %v\n%s", name, err, out)
		}
	}
	g.ok("", []string{"interop"}, "sessions", "list")
}

// TestGRPCCurl: grpcurl, by the gateway's reflection, with everything that an agent does with it.
func TestGRPCCurl(t *testing.T) {
	tool := goTool(t, grpcurlTool)
	r := startRPC(t)
	ask := func(args ...string) result {
		// The token goes in by the environment, not on the command line.
		args = append([]string{tool, "-cacert", r.path("tls.crt"), "-expand-headers", "-H", "authorization: Bearer ${GATEHOUSE_TOKEN}", "-authority", "localhost"}, args...)
		return r.command(within(t), []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.dir, "GATEHOUSE_TOKEN=" + r.token()}, "", args...)
	}
	list := ask(r.addr, "list")
	list.has(t, "shop.v1.Customers")
	if strings.Contains(list.out, "Admin") {
		t.Errorf("a service that may not be called is listed:\n%s", list.out)
	}
	ask(r.addr, "describe", "shop.v1.Customers").has(t, "rpc Get", "rpc List", "stream .shop.v1.Customer")
	got := ask("-d", `{"id": 1}`, r.addr, "shop.v1.Customers/Get")
	got.has(t, `"email": "a***@***.invalid"`, `"phone": "***0958"`, `"@type": "type.googleapis.com/shop.v1.Customer"`)
	noEmail(t, "grpcurl", got.out+got.err)
	got = ask("-d", `{"count": 3}`, r.addr, "shop.v1.Customers/List")
	if n := strings.Count(got.out, "a***@***.invalid"); n != 3 {
		t.Errorf("%d customers came, want 3:\n%s%s", n, got.out, got.err)
	}
	got = ask("-d", `{"id": 1} {"id": 2}`, r.addr, "shop.v1.Customers/Import")
	got.has(t, `"imported": 2`)
	got = ask("-format-error", "-d", `{"email": "x@example.org"}`, r.addr, "shop.v1.Customers/Get")
	if got.code == 0 {
		t.Error("asking by a labelled field was not refused")
	}
	contains(t, got.err, `"code": 7`, `"reason": "POLICY_DENIED"`, `"domain": "gatehouse"`, `"remedy"`, "request_id")
	contains(t, ask("-d", `{}`, r.addr, "shop.v1.Admin/Purge").err, "does not expose service")
	ask("-d", `{"service": "shop.v1.Customers"}`, r.addr, "grpc.health.v1.Health/Check")
}

// TestGRPCPython: Python's grpcio, without the descriptors' generated code.
func TestGRPCPython(t *testing.T) {
	const python = "/usr/bin/python3"
	if out, err := exec.Command(python, "-c", "import grpc").CombinedOutput(); err != nil {
		t.Fatalf("python3-grpcio was not found, and this test needs it: install the package python3-grpcio: %v\n%s", err, out)
	}
	r := startRPC(t)
	got := r.command(within(t), []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.dir, "GATEHOUSE_TOKEN=" + r.token(), "ADDRESS=" + strings.Replace(r.addr, "127.0.0.1", "localhost", 1), "CA=" + r.path("tls.crt")}, "", python, testdata(t, "client_grpc.py"))
	if got.code != 0 {
		t.Fatalf("exit %d\n%s%s", got.code, got.out, got.err)
	}
	noEmail(t, "Python", got.out+got.err)
	got.has(t, "unary a***@***.invalid", "stream 5", "stream unary 3", "both 4", "refused PERMISSION_DENIED", "gatehouse", "deadline DEADLINE_EXCEEDED", "gzip ok")
}

func testdata(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(fmt.Errorf("a file of this test is missing: %w", err))
	}
	return path
}
