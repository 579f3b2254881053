package test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatehouse/deploy"
	"gatehouse/internal/demo/issuer"
	"gatehouse/internal/demo/shop"
	"gatehouse/internal/login"
	"gatehouse/internal/record"
)

// patience is how long anything may take before a test gives up on it.
const patience = 2 * time.Minute

// options say how a test's gateway differs from the usual one. The zero value is the usual one.
type options struct {
	policies string        // the starter policies
	hold     string        // how long a request waits; 5m
	lifetime time.Duration // of tokens; 15m
	upstream string        // the URL of the database
	password string        // of the role
	change   func(config string) string
	wrap     []string // a command that runs the binary
	fails    bool     // it must not start
	damaged  bool     // the test damages the recordings: they need not verify
}

// Who there is for every test's gateway.
const (
	agentID    = "shop-agent"
	otherAgent = "other-agent"
	cliClient  = "gatehouse-cli"
	audience   = "api://gatehouse"
	tenant     = "11111111-2222-3333-4444-555555555555"
)

// gateway is a gateway of a test's own: its folder, its issuer, its process.
type gateway struct {
	t      testing.TB
	o      options
	dir    string
	issuer *issuer.Issuer
	pg     string // addresses
	https  string
	log    *output
	said   *output // what psql and the command line said
	cmd    *exec.Cmd
	exited chan struct{}
}

// start runs a gateway and waits until it serves. At the test's end it is stopped, and what must always be
// true of it is checked: its recordings verify, nothing raced, no secret shows anywhere.
func start(t testing.TB, o options) *gateway {
	t.Helper()
	if setUp != nil {
		t.Fatal(setUp)
	}
	g := &gateway{t: t, o: o, dir: t.TempDir(), log: newOutput(), said: newOutput()}
	g.issuer = newIssuer(t, o.lifetime)
	g.pg, g.https = address(t), address(t)
	g.configure()
	t.Cleanup(g.finish)
	g.run()
	if !o.fails {
		g.serving()
	}
	return g
}

func newIssuer(t testing.TB, lifetime time.Duration) *issuer.Issuer {
	t.Helper()
	group := func(n string) []string { return []string{issuer.ObjectID("group " + n)} }
	is, err := issuer.Start("127.0.0.1:0", issuer.Options{
		Tenant: tenant, Audience: audience, Clients: []string{cliClient}, Lifetime: lifetime,
		Agents: []issuer.Agent{
			{ClientID: agentID, Secret: rand.Text(), Name: agentID, Groups: group("ai-agents")},
			{ClientID: otherAgent, Secret: rand.Text(), Name: otherAgent, Groups: group("elsewhere")},
		},
		People: []issuer.Person{
			{Name: "ada", Groups: group("dba")}, {Name: "grace", Groups: group("dba")}, {Name: "mallory", Groups: group("elsewhere")},
			{Name: "eve", Groups: append(group("dba"), group("ai-agents")...)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { is.Close() })
	return is
}

var (
	portsMu sync.Mutex
	ports   = map[int]bool{}
)

// address is a free one on loopback, outside of the range that the kernel takes client ports from.
func address(t testing.TB) string {
	t.Helper()
	portsMu.Lock()
	defer portsMu.Unlock()
	for range 1000 {
		n, err := rand.Int(rand.Reader, big.NewInt(12000))
		if err != nil {
			t.Fatal(err)
		}
		port := 20000 + int(n.Int64())
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil || ports[port] {
			continue
		}
		l.Close()
		ports[port] = true
		return l.Addr().String()
	}
	t.Fatal("no free port")
	return ""
}

func (g *gateway) path(name string) string { return filepath.Join(g.dir, name) }

func (g *gateway) recordings() string { return g.path("recordings") }

func (g *gateway) write(name, text string) {
	g.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(g.path(name)), 0o700), os.WriteFile(g.path(name), []byte(text), 0o600)); err != nil {
		g.t.Fatal(err)
	}
}

// configure writes the configuration, the policies and the password.
func (g *gateway) configure() {
	g.t.Helper()
	or := func(s, otherwise string) string {
		if s == "" {
			return otherwise
		}
		return s
	}
	text := fmt.Sprintf(`listen: {https: "%s", postgres: "%s"}
url: https://%s
tls: {self_signed: true}
issuers:
  - name: test
    kind: entra
    issuer: %s
    audiences: [%s]
    groups: {names: {%s: ai-agents, %s: dba}}
    agents: {copilot: [ai-agents]}
people: {clients: [%s]}
store: sqlite:gatehouse.db
recordings: file:recordings
policies: [policies/*.cedar]
approvals: {hold: %s, valid: 5m}
connections:
  - name: shop
    kind: postgres
    tags: [env:test]
    url: %s
    password: {file: %q}
    groups: [ai-agents, dba]
    labels: %s
`, g.https, g.pg, g.https, g.issuer.URL(), audience, issuer.ObjectID("group ai-agents"), issuer.ObjectID("group dba"), cliClient,
		or(g.o.hold, "5m"), or(g.o.upstream, server.URL(shop.Role, "", "shop")), g.path("database.password"), shop.Labels)
	if g.o.change != nil {
		text = g.o.change(text)
	}
	g.write("gatehouse.yaml", text)
	g.write("policies/test.cedar", or(g.o.policies, string(deploy.Starter)))
	g.write("database.password", or(g.o.password, password)+"\n")
}

// run starts the process; it ends with this one, also where that is killed.
func (g *gateway) run() {
	g.t.Helper()
	args := append(append([]string{}, g.o.wrap...), gatehouse, "serve", "--config", g.path("gatehouse.yaml"))
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = g.log, g.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	exited, started := make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread() // the death signal is tied to the thread that started the process
		defer runtime.UnlockOSThread()
		started <- cmd.Start()
		cmd.Wait()
		close(exited)
	}()
	if err := <-started; err != nil {
		g.t.Fatalf("start the gateway: %v", err)
	}
	g.cmd, g.exited = cmd, exited
}

// serving waits until every listener serves.
func (g *gateway) serving() {
	g.t.Helper()
	from := g.log.mark
	listen, _, _ := strings.Cut(g.text("gatehouse.yaml"), "}")
	listeners := strings.Count(listen, `: "`)
	g.log.wait(g.t, func(s string) bool { return strings.Count(s[from:], "msg=serving") == listeners }, g.exited, "the gateway did not start")
	g.log.mark = len(g.log.String())
}

// stop ends the process as an operator does, and gives its exit code.
func (g *gateway) stop(sig syscall.Signal) int {
	g.cmd.Process.Signal(sig)
	select {
	case <-g.exited:
	case <-time.After(patience):
		g.cmd.Process.Kill()
		<-g.exited
		g.t.Error("the gateway did not end when it was told to")
	}
	return g.cmd.ProcessState.ExitCode()
}

func (g *gateway) running() bool {
	select {
	case <-g.exited:
		return false
	default:
		return true
	}
}

// restart runs it again with what is in its folder.
func (g *gateway) restart() {
	g.t.Helper()
	g.log.mark = len(g.log.String())
	g.run()
	g.serving()
}

// finish stops the gateway and checks what must be true of every one.
func (g *gateway) finish() {
	if g.running() {
		g.stop(syscall.SIGTERM)
	}
	log := g.log.String()
	for _, bad := range []string{"DATA RACE", "ALERT", "panic", "goroutine "} {
		if strings.Contains(log, bad) {
			g.t.Errorf("the gateway's log has %q in it", bad)
		}
	}
	if !g.o.damaged && !g.o.fails {
		g.verify()
	}
	g.secrets()
	if g.t.Failed() {
		g.t.Logf("the gateway's log:\n%s", log)
	}
}

// verify proves the recordings.
func (g *gateway) verify() record.Report {
	g.t.Helper()
	r, err := record.Verify(context.Background(), g.recordings())
	if err != nil || !r.OK() {
		g.t.Errorf("the recordings do not verify: %v %+v", err, r)
	}
	return r
}

// tokenStart is how every token of the issuer begins: the header {"alg":…
const tokenStart = "eyJhbGci"

// secrets looks for tokens and passwords wherever the gateway writes.
func (g *gateway) secrets() {
	hidden := map[string]string{
		"a token": tokenStart, "the database's password": password, "the superuser's password": server.Password,
		"a client secret": g.issuer.Secret(agentID),
	}
	look := func(where string, b []byte) {
		for what, secret := range hidden {
			if bytes.Contains(b, []byte(secret)) {
				g.t.Errorf("%s is in %s", what, where)
			}
		}
	}
	look("the gateway's log", []byte(g.log.String()))
	look("what the commands said", []byte(g.said.String()))
	err := filepath.WalkDir(g.dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path == g.path("home"):
			return fs.SkipDir
		case !d.Type().IsRegular(), path == g.path("database.password"):
			return nil
		}
		b, err := os.ReadFile(path)
		look(path, b)
		return err
	})
	if err != nil {
		g.t.Error(err)
	}
	if g.o.damaged || g.o.fails {
		return
	}
	list, err := record.List(context.Background(), g.recordings(), record.Filter{})
	if err != nil {
		g.t.Error(err)
	}
	for _, s := range list {
		for e, err := range record.Read(context.Background(), g.recordings(), s.ID) {
			if err != nil {
				g.t.Error(err)
				break
			}
			for _, ev := range e.Events {
				look("the recording of "+s.ID, ev.Body)
				look("the recording of "+s.ID, ev.Data)
			}
		}
	}
}

// token is the agent's; mods change its claims.
func (g *gateway) token(mods ...func(map[string]any)) string {
	g.t.Helper()
	token, err := g.issuer.AgentToken(agentID, mods...)
	if err != nil {
		g.t.Fatal(err)
	}
	return token
}

// person is the token of a person who signed in with a client.
func (g *gateway) person(name, client string, mods ...func(map[string]any)) string {
	g.t.Helper()
	token, err := g.issuer.PersonToken(name, client, mods...)
	if err != nil {
		g.t.Fatal(err)
	}
	return token
}

// result is how a command ended.
type result struct {
	out, err string
	code     int
}

func (g *gateway) command(ctx context.Context, env []string, stdin string, args ...string) result {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	cmd.Env, cmd.Dir = env, g.dir
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		g.t.Fatalf("%s: %v %v", strings.Join(args, " "), err, ctx.Err())
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// profile lets the command line act as a person (or, for agentID, as the agent) who has signed in.
func (g *gateway) profile(name string) {
	g.t.Helper()
	p := login.Profile{Name: name, Issuer: g.issuer.URL(), ClientID: cliClient, API: "https://" + g.https, CA: g.path("tls.crt")}
	token := ""
	if name == agentID {
		token = g.token()
	} else {
		token = g.person(name, cliClient)
	}
	b, err := json.Marshal(map[string]any{"access_token": token, "expires": time.Now().Add(10 * time.Minute)})
	if err != nil {
		g.t.Fatal(err)
	}
	if err := (login.Store{Dir: g.path("home")}).Save(p); err != nil {
		g.t.Fatal(err)
	}
	g.write("home/"+name+".token.json", string(b))
}

// cli runs gatehouse as a person.
func (g *gateway) cli(who string, args ...string) result {
	g.t.Helper()
	if who != "" {
		if _, err := os.Stat(g.path("home/" + who + ".token.json")); err != nil {
			g.profile(who)
		}
	}
	env := append(os.Environ(), "GATEHOUSE_HOME="+g.path("home"), "GATEHOUSE_PROFILE="+who, "GATEHOUSE_CONFIG="+g.path("gatehouse.yaml"))
	r := g.command(context.Background(), env, "", append([]string{gatehouse}, args...)...)
	if len(args) == 0 || args[0] != "token" {
		fmt.Fprint(g.said, r.out, r.err)
	}
	return r
}

// ok is a command that must succeed with all of these in its output.
func (g *gateway) ok(who string, want []string, args ...string) string {
	g.t.Helper()
	r := g.cli(who, args...)
	if r.code != 0 {
		g.t.Fatalf("gatehouse %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
	contains(g.t, r.out+r.err, want...)
	return r.out
}

// refuses is a command that must fail, with all of these in its error.
func (g *gateway) refuses(who string, want []string, args ...string) string {
	g.t.Helper()
	r := g.cli(who, args...)
	if r.code != 1 {
		g.t.Fatalf("gatehouse %s: exit %d, want 1\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
	contains(g.t, r.err, want...)
	return r.err
}

func contains(t testing.TB, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in\n%s", w, text)
		}
	}
}

// logs waits until the gateway's log matches.
func (g *gateway) logs(pattern string) string {
	g.t.Helper()
	re := regexp.MustCompile(pattern)
	return re.FindString(g.log.wait(g.t, re.MatchString, g.exited, "the log does not say "+pattern))
}
