// Package tools holds the tests of what people bring along: real clients, real extensions, honest SQL. Each runs
// against a database directly and through the built gateway, and what comes back is compared.
//
// A missing tool fails them: a test that cannot run proves nothing.
package tools

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/demo/cluster"
	"gatehouse/internal/demo/issuer"
	"gatehouse/internal/demo/shop"
)

// testAll asks for the long versions: `make test-all`.
var testAll = os.Getenv("GATEHOUSE_TEST_ALL") != ""

// gatehouse is the binary; scratch is the folder of all that the tests write.
var gatehouse, scratch string

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	var err error
	if scratch, err = os.MkdirTemp("", "gatehouse-tools-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(scratch)
	os.Chmod(scratch, 0o711) // the servers' user goes through it
	if gatehouse = os.Getenv("GATEHOUSE_BIN"); gatehouse == "" {
		gatehouse = filepath.Join(scratch, "gatehouse")
		build := exec.Command("go", "build", "-race", "-o", gatehouse, "../../cmd/gatehouse")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "the binary cannot be built: %v\n%s", err, out)
			return 1
		}
	}
	defer func() {
		for _, b := range beds {
			b.stop()
		}
	}()
	return m.Run()
}

// Who signs in: both may read and write everything, one sees labelled columns as they are.
const (
	revealing = "sees-all"
	masking   = "sees-masks"
)

const policies = `
@id("read") permit (principal, action in Action::"readonly", resource);
@id("write") permit (principal, action in Action::"write", resource);
@id("reveal") permit (principal in Group::"sees-all", action == Action::"reveal", resource);
`

// labels are those of a bed's databases; each is a connection of its gateway.
var labels = map[string]string{
	"shop":       shop.Labels,
	"bench":      `{}`,
	"extensions": `{public.people: {email: pii.email}}`,
	"postgis":    `{public.places: {owner: pii.name}}`,
	"tpch":       `{public.customer: {c_name: pii.name, c_phone: pii.phone, c_address: pii.address}}`,
}

// filled are the databases that a bed has: what needs a package that not every machine has is for long runs, and
// PostGIS is Debian's, for the machine's own server.
func filled(programs string) []string {
	out := []string{"shop", "bench"}
	if testAll {
		out = append(out, "extensions", "tpch")
	}
	if testAll && programs == "" {
		out = append(out, "postgis")
	}
	return out
}

// bed is a database server with a gateway before it.
type bed struct {
	*cluster.Cluster
	dir      string
	programs string
	password string // of the role that the gateway signs in with
	issuer   *issuer.Issuer
	pg       string // the gateway's address
	log      output
	cmd      *exec.Cmd
	exited   chan struct{}
}

var (
	bedsMu sync.Mutex
	beds   = map[string]*bed{}
)

// bedOf is the bed of a server, by the folder of its programs; "" is the machine's own. Tests share it.
func bedOf(t testing.TB, programs string) *bed {
	t.Helper()
	bedsMu.Lock()
	defer bedsMu.Unlock()
	if beds[programs] == nil {
		b := &bed{programs: programs, dir: filepath.Join(scratch, fmt.Sprintf("bed%d", len(beds))), password: rand.Text()}
		if err := b.start(context.Background()); err != nil {
			b.stop()
			t.Fatalf("%v\n%s", err, b.log.String())
		}
		beds[programs] = b
	}
	return beds[programs]
}

// start makes the server, fills the databases and starts the gateway.
func (b *bed) start(ctx context.Context) (err error) {
	if err := os.Mkdir(b.dir, 0o711); err != nil {
		return err
	}
	b.Cluster, err = cluster.Start(ctx, cluster.Options{Dir: filepath.Join(b.dir, "pg"), TLS: true, Ephemeral: true, Programs: b.programs})
	if err != nil {
		return err
	}
	if err := shop.Load(ctx, b.AdminURL, b.password); err != nil {
		return err
	}
	for _, name := range filled(b.programs) {
		if err := b.fill(ctx, name); err != nil {
			return fmt.Errorf("fill the database %s: %w", name, err)
		}
	}
	agents := []issuer.Agent{}
	for _, name := range []string{revealing, masking} {
		agents = append(agents, issuer.Agent{ClientID: name, Secret: rand.Text(), Name: name, Groups: []string{name}})
	}
	if b.issuer, err = issuer.Start("127.0.0.1:0", issuer.Options{Tenant: "tools", Audience: "tools", Lifetime: time.Hour, Agents: agents}); err != nil {
		return err
	}
	if err := b.configure(); err != nil {
		return err
	}
	return b.serve()
}

// fill makes a database with what testdata/setup-NAME.sql says, where there is one, as the superuser.
func (b *bed) fill(ctx context.Context, name string) error {
	if name != "shop" {
		if err := b.admin(ctx, "postgres", "CREATE DATABASE "+name); err != nil {
			return err
		}
	}
	text, err := os.ReadFile("testdata/setup-" + name + ".sql")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return b.admin(ctx, name, string(text)+"\n;GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "+shop.Role)
}

// admin runs SQL as the superuser, past the gateway.
func (b *bed) admin(ctx context.Context, database, sql string) error {
	conn, err := pgx.Connect(ctx, b.AdminURL(database))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}

func (b *bed) configure() error {
	var ports [2]string
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		ports[i] = l.Addr().String()
	}
	b.pg = ports[1]
	var text strings.Builder
	fmt.Fprintf(&text, `listen: {https: %q, postgres: %q}
tls: {self_signed: true}
issuers: [{name: tools, kind: entra, issuer: %q, audiences: [tools], groups: {names: {%s: %s, %s: %s}}}]
store: sqlite:gatehouse.db
recordings: file:recordings
policies: [tools.cedar]
connections:
`, ports[0], ports[1], b.issuer.URL(), revealing, revealing, masking, masking)
	for _, name := range filled(b.programs) {
		fmt.Fprintf(&text, "  - {name: %s, kind: postgres, url: %q, password: {file: %q}, groups: [%s, %s], labels: %s}\n",
			name, b.URL(shop.Role, "", name), filepath.Join(b.dir, "password"), revealing, masking, labels[name])
	}
	for name, content := range map[string]string{"gatehouse.yaml": text.String(), "password": b.password, "tools.cedar": policies} {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// serve starts the gateway and waits until it serves; it ends with this process.
func (b *bed) serve() error {
	b.cmd = exec.Command(gatehouse, "serve", "--config", filepath.Join(b.dir, "gatehouse.yaml"))
	b.cmd.Dir = b.dir
	b.cmd.Stdout, b.cmd.Stderr = &b.log, &b.log
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	b.exited = make(chan struct{})
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the death signal is tied to the thread that started the process
		started <- b.cmd.Start()
		b.cmd.Wait()
		close(b.exited)
	}()
	if err := <-started; err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); strings.Count(b.log.String(), "msg=serving") < 2; time.Sleep(20 * time.Millisecond) {
		select {
		case <-b.exited:
			return errors.New("the gateway did not start")
		default:
		}
		if time.Now().After(deadline) {
			return errors.New("the gateway does not serve")
		}
	}
	return nil
}

func (b *bed) stop() {
	if b.exited != nil {
		b.cmd.Process.Signal(syscall.SIGTERM)
		<-b.exited
	}
	if b.issuer != nil {
		b.issuer.Close()
	}
	if b.Cluster != nil {
		b.Stop()
	}
}

// healthy fails the test where the gateway's log says that something is wrong with it.
func (b *bed) healthy(t testing.TB) {
	t.Helper()
	for line := range strings.Lines(b.log.String()) {
		for _, bad := range []string{"DATA RACE", "ALERT", "panic", "level=ERROR"} {
			if strings.Contains(line, bad) {
				t.Errorf("the gateway's log: %s", line)
			}
		}
	}
}

// road is a way to a database: directly, or through the gateway as someone.
type road struct {
	name, host, port, user, password, ca, database string
}

// roads are the ways that are compared: the direct one comes first.
func (b *bed) roads(t testing.TB, database string) []road {
	t.Helper()
	out := []road{{"direct", "127.0.0.1", fmt.Sprint(b.Port), shop.Role, b.password, b.CA, database}}
	for _, who := range []string{revealing, masking} {
		token, err := b.issuer.AgentToken(who)
		if err != nil {
			t.Fatal(err)
		}
		host, port, _ := net.SplitHostPort(b.pg)
		out = append(out, road{who, host, port, "agent", token, filepath.Join(b.dir, "tls.crt"), database})
	}
	return out
}

// url is the road as a connection string.
func (r road) url() string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(r.user, r.password), Host: net.JoinHostPort(r.host, r.port), Path: r.database,
		RawQuery: url.Values{"sslmode": {"verify-full"}, "sslrootcert": {r.ca}}.Encode()}
	return u.String()
}

// env is the road as libpq's environment variables, which other clients are given too.
func (r road) env() []string {
	return append(os.Environ(), "PGHOST="+r.host, "PGPORT="+r.port, "PGUSER="+r.user, "PGPASSWORD="+r.password, "PGDATABASE="+r.database,
		"PGSSLMODE=verify-full", "PGSSLROOTCERT="+r.ca, "PGCONNECT_TIMEOUT=20", "LC_ALL=C", "TZ=UTC")
}

// output is what a process writes, readable while it writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
