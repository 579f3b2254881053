// Package canary holds the tests that try to get labelled values out of the built binary by generated
// statements: a canary stands in every labelled and hidden column, and two databases differ in these alone.
//
// Every failure names its seed and the number of its statement:
//
//	go test ./test/canary -run TestCanaries -args -seed 7 -only 1234
package canary

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/demo/cluster"
	"gatehouse/internal/demo/cluster/clustertest"
	"gatehouse/internal/demo/issuer"
	"gatehouse/internal/demo/shop"
)

var (
	seed       = flag.Uint64("seed", 20261124, "where the generator starts; 0: anywhere, as `make fuzz` does")
	only       = flag.Int("only", -1, "run the statement of this number alone, and show it")
	statements = flag.Int("statements", 0, "how many statements; 0: 300, or 10000 with GATEHOUSE_TEST_ALL")
	duration   = flag.Duration("for", 0, "stop after this time, however many statements were run; 0: when they are")
	refusals   = flag.Bool("refusals", false, "list what was refused and what failed, with an example of each")
)

// What all tests share.
var (
	gatehouse string
	server    *cluster.Cluster
	password  string
	first     = plant("first", 1, ordinary)
	second    = plant("second", 2, ordinary)
	third     = plant("third", 1, ordinary) // the first once more, and again, for tests that run beside
	fourth    = plant("fourth", 1, ordinary)
	fifth     = plant("fifth", 1, ordinary)
	sixth     = plant("sixth", 1, outsiders)
	seventh   = plant("seventh", 2, outsiders)
	eighth    = plant("eighth", 1, alike)
	ninth     = plant("ninth", 2, alike)
	tenth     = plant("tenth", 1, ordinary) // those of sqlsmith
	eleventh  = plant("eleventh", 2, ordinary)
	twelfth   = plant("twelfth", 1, ordinary)
	setUp     error
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(runAll(m))
}

func runAll(m *testing.M) int {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	if *statements == 0 {
		*statements = 300
		if os.Getenv("GATEHOUSE_TEST_ALL") != "" {
			*statements = 10_000
		}
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	if gatehouse = os.Getenv("GATEHOUSE_BIN"); gatehouse == "" {
		dir, err := os.MkdirTemp("", "gatehouse-bin-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		gatehouse = filepath.Join(dir, "gatehouse")
		args := []string{"build", "-o", gatehouse}
		if *statements <= 1000 { // many take the time that the race detector does
			args = append(args, "-race")
		}
		if out, err := exec.Command("go", append(args, "../../cmd/gatehouse")...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "the binary cannot be built: %v\n%s", err, out)
			return 1
		}
	}
	// What decides about plans and the order of rows beside the statement is the same in both databases.
	settings := map[string]string{
		"log_min_error_statement": "panic", "max_connections": "100", "autovacuum": "off", "jit": "off",
		"max_parallel_workers_per_gather": "0", "synchronize_seqscans": "off", "statement_timeout": "5s",
	}
	return clustertest.Run(m, settings, func(c *cluster.Cluster) {
		server, password = c, rand.Text()
		setUp = load(context.Background(), c, password, first, second, third, fourth, fifth, sixth, seventh, eighth, ninth, tenth, eleventh, twelfth)
	})
}

// Who there is: an agent under masks, one with row filters besides, one that sees pseudonyms and writes nothing, and
// one that may see everything.
const (
	masked     = "masked-agent"
	narrow     = "narrow-agent"
	researcher = "researcher-agent"
	trusted    = "trusted-agent"
	audience   = "api://gatehouse"
)

// groups are those of each.
var groups = map[string][]string{masked: {"ai-agents"}, narrow: {"ai-agents", "narrow"}, researcher: {"ai-agents", "researchers"}, trusted: {"auditors"}}

// rules let the agent read and write, with labelled columns masked, and hide columns from it.
func rules() string {
	var b strings.Builder
	b.WriteString(`@id("read") permit (principal, action == Action::"read", resource);
@id("write") permit (principal, action in Action::"write", resource) unless { principal in Group::"researchers" };
@id("temporary") permit (principal, action == Action::"temporary", resource);
@id("reveal") permit (principal in Group::"auditors", action == Action::"reveal", resource);
`)
	for i, h := range hidden {
		fmt.Fprintf(&b, "@id(\"hide-%d\") forbid (principal in Group::\"ai-agents\", action == Action::\"read\", resource == Column::\"shop/%s\");\n", i, h)
	}
	for i, f := range filters {
		fmt.Fprintf(&b, "@id(\"rows-%d\") @rows(\"%s\") forbid (principal in Group::\"narrow\", action in [%s], resource in Table::\"shop/%s\");\n", i, f.rows, f.actions, f.table)
	}
	b.WriteString(`@id("contacts") permit (principal in Group::"narrow", action == Action::"read", resource == Table::"shop/public.contacts");
@id("token") @mask("token") forbid (principal in Group::"researchers", action == Action::"read", resource is Column) when { resource.labels.containsAny(` + pseudonymous + `) };
@id("reveal-token") permit (principal in Group::"researchers", action == Action::"reveal", resource is Column) when { resource.labels.containsAny(` + pseudonymous + `) };
`)
	return b.String()
}

// gateway is a running gateway in front of one database.
type gateway struct {
	t       testing.TB
	address string
	tokens  map[string]string
	log     string
	cmd     *exec.Cmd
}

// start runs the binary in front of a twin, and waits until it serves.
func start(t testing.TB, database string) *gateway {
	t.Helper()
	if setUp != nil {
		t.Fatal(setUp)
	}
	dir := t.TempDir()
	var agents []issuer.Agent
	var names []string
	for who, in := range groups {
		agent := issuer.Agent{ClientID: who, Secret: rand.Text(), Name: who}
		for _, n := range in {
			agent.Groups = append(agent.Groups, issuer.ObjectID("group "+n))
			names = append(names, issuer.ObjectID("group "+n)+": "+n)
		}
		agents = append(agents, agent)
	}
	slices.Sort(names)
	is, err := issuer.Start("127.0.0.1:0", issuer.Options{
		Tenant: "11111111-2222-3333-4444-555555555555", Audience: audience, Clients: []string{"cli"}, Lifetime: 72 * time.Hour,
		Agents: agents,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { is.Close() })
	g := &gateway{t: t, address: address(t), tokens: map[string]string{}, log: filepath.Join(dir, "log")}
	https := address(t)
	config := fmt.Sprintf(`listen: {https: "%s", postgres: "%s"}
url: https://%s
tls: {self_signed: true}
issuers:
  - {name: test, kind: entra, issuer: %s, audiences: [%s], groups: {names: {%s}}}
people: {clients: [cli]}
store: sqlite:gatehouse.db
recordings: file:recordings
policies: [rules.cedar]
connections:
  - name: shop
    kind: postgres
    url: %s
    password: {file: %s}
    groups: [ai-agents, auditors]
    token_key: {file: %s}
    labels: %s
`, https, g.address, https, is.URL(), audience, strings.Join(slices.Compact(names), ", "),
		server.URL(shop.Role, "", database), filepath.Join(dir, "password"), filepath.Join(dir, "key"), labels)
	for name, text := range map[string]string{"gatehouse.yaml": config, "rules.cedar": rules(), "password": password + "\n", "key": strings.Repeat("a key of the tests ", 4)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for who := range groups {
		if g.tokens[who], err = is.AgentToken(who); err != nil {
			t.Fatal(err)
		}
	}
	g.run(filepath.Join(dir, "gatehouse.yaml"))
	return g
}

func (g *gateway) run(config string) {
	g.t.Helper()
	log, err := os.Create(g.log)
	if err != nil {
		g.t.Fatal(err)
	}
	g.cmd = exec.Command(gatehouse, "serve", "--config", config)
	g.cmd.Stdout, g.cmd.Stderr = log, log
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, exited := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the death signal is tied to the thread that started the process
		defer runtime.UnlockOSThread()
		started <- g.cmd.Start()
		g.cmd.Wait()
		close(exited)
	}()
	if err := <-started; err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		g.cmd.Process.Signal(syscall.SIGTERM)
		<-exited
		log.Close()
		said := g.said()
		for _, bad := range []string{"DATA RACE", "ALERT", "panic", "goroutine "} {
			if strings.Contains(said, bad) {
				g.t.Errorf("the gateway's log has %q in it:\n%.8000s", bad, said)
			}
		}
	})
	for deadline := time.Now().Add(30 * time.Second); strings.Count(g.said(), "msg=serving") < 2; time.Sleep(20 * time.Millisecond) {
		select {
		case <-exited:
			g.t.Fatalf("the gateway did not start:\n%s", g.said())
		default:
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("the gateway did not start in time:\n%s", g.said())
		}
	}
}

func (g *gateway) said() string {
	b, err := os.ReadFile(g.log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		g.t.Error(err)
	}
	return string(b)
}

// address is a free one on loopback.
func address(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
