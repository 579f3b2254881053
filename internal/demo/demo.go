// Package demo shows the gateway to a newcomer: a private PostgreSQL with a shop in it, a development issuer,
// a real gateway in front, and a tour that runs real commands.
//
// Everything listens on loopback and lives in one folder. It must never be used to guard anything real.
package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/deploy"
	"gatehouse/internal/demo/cluster"
	"gatehouse/internal/demo/issuer"
	"gatehouse/internal/demo/shop"
	"gatehouse/internal/login"
	"gatehouse/internal/secret"
)

// Options say where the demo lives and how it goes.
type Options struct {
	// Dir is the data folder: made if it is missing, used again if it is an earlier demo's.
	Dir string
	// TourOnly ends after the tour; otherwise the demo stays up until its context ends.
	TourOnly bool
	Out      io.Writer
	// Serve runs the gateway of a configuration until ctx ends; it calls ready when clients can connect.
	Serve func(ctx context.Context, config string, ready func()) error
}

// Who there is in the demo.
const (
	tenant   = "11111111-2222-3333-4444-555555555555"
	audience = "api://gatehouse"
	agent    = "shop-agent"
	person   = "ada"
	client   = "gatehouse-cli"

	tokenTurn = 4 * time.Minute // how often the agent's passfile gets a fresh token
)

// demo is one run.
type demo struct {
	o      Options
	dir    string
	issuer *issuer.Issuer
	api    *api
	rpc    *rpc
	store  login.Store
	https  int
	grpc   int
	pg     int
	raw    []string
}

// Run sets everything up, walks the tour, and stays up until ctx ends. Its error names the steps of the tour
// that did not behave.
func Run(ctx context.Context, o Options) error {
	if _, err := exec.LookPath("curl"); err != nil {
		return errors.New("curl was not found on PATH: install the package curl (Debian: apt-get install curl)")
	}
	if _, err := exec.LookPath("psql"); err != nil {
		return errors.New("psql was not found on PATH: install the package postgresql-client (Debian: apt-get install postgresql-client)")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return err
	}
	unlock, err := claim(dir)
	if err != nil {
		return err
	}
	defer unlock()
	d := &demo{o: o, dir: dir}
	d.say("Gatehouse demo. Everything here is made up, listens on loopback, and lives in %s.\n", dir)

	stop, err := d.cluster(ctx)
	if err != nil {
		return err
	}
	defer stop()
	defer d.api.server.Close()
	defer d.rpc.server.Stop()
	if err := d.identities(); err != nil {
		return err
	}
	defer d.issuer.Close()
	return d.withGateway(ctx, func(ctx context.Context) error {
		if err := d.signIn(ctx); err != nil {
			return err
		}
		return d.tour(ctx)
	})
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.o.Out, format+"\n", args...) }

func (d *demo) path(name string) string { return filepath.Join(d.dir, name) }

// marker tells a demo's folder from any other.
const marker = ".gatehouse-demo"

// claim takes the data folder for this process.
func claim(dir string) (unlock func(), err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the data folder: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, marker)); err != nil && len(entries) > 0 {
		return nil, fmt.Errorf("%s is not empty and not an earlier demo's: name another folder with --data", dir)
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("the data folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, marker), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another demo runs in %s: stop it, or name another folder with --data", dir)
	}
	return func() { f.Close() }, nil
}

// cluster makes the database. Where its user may not enter the data folder it lives in a temporary one, which
// stop removes.
func (d *demo) cluster(ctx context.Context) (stop func(), err error) {
	begun := time.Now()
	dir, clean := d.path("postgres"), func() {}
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	c, err := cluster.Start(ctx, cluster.Options{Dir: dir, Ephemeral: true})
	if errors.Is(err, cluster.ErrUnreachable) {
		os.RemoveAll(dir)
		if dir, err = os.MkdirTemp("", "gatehouse-demo-"); err != nil {
			return nil, err
		}
		clean = func() { os.RemoveAll(dir) }
		c, err = cluster.Start(ctx, cluster.Options{Dir: dir, Ephemeral: true})
	}
	if err != nil {
		clean()
		return nil, err
	}
	stop = func() { c.Stop(); clean() }
	password := rand.Text()
	if err := errors.Join(shop.Load(ctx, c.AdminURL, password), d.values(ctx, c), d.config(c, password)); err != nil {
		stop()
		return nil, err
	}
	d.say("  PostgreSQL on 127.0.0.1:%d: 10,000 customers, 100,000 orders (%s)", c.Port, time.Since(begun).Round(100*time.Millisecond))
	return stop, nil
}

// values are raw ones that the tour must not see again, and what could be made of them.
func (d *demo) values(ctx context.Context, c *cluster.Cluster) error {
	conn, err := pgx.Connect(ctx, c.AdminURL("shop"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `SELECT lower(f) FROM customers, LATERAL unnest(ARRAY[email, national_id, phone, birth_date::text, profile->>'email']) v,
		LATERAL unnest(ARRAY[v, reverse(v), md5(v)]) f WHERE id <= 50`)
	if err != nil {
		return err
	}
	d.raw, err = pgx.CollectRows(rows, pgx.RowTo[string])
	return err
}

// config writes the gateway's configuration and policies. Policies that are there stay: they may have been
// changed to try something.
func (d *demo) config(c *cluster.Cluster, password string) error {
	var err error
	if d.https, err = port(8443); err != nil {
		return err
	}
	if d.pg, err = port(6432); err != nil {
		return err
	}
	if d.issuer, err = issuer.Start("127.0.0.1:0", issuer.Options{
		Tenant: tenant, Audience: audience, Clients: []string{client},
		Agents: []issuer.Agent{{ClientID: agent, Secret: rand.Text(), Name: agent, Groups: []string{issuer.ObjectID("group ai-agents")}}},
		People: []issuer.Person{{Name: person, Groups: []string{issuer.ObjectID("group dba")}}, {Name: "grace", Groups: []string{issuer.ObjectID("group dba")}}},
	}); err != nil {
		return err
	}
	if d.grpc, err = port(8444); err != nil {
		return err
	}
	if d.api, err = d.startAPI(); err != nil {
		return err
	}
	if d.rpc, err = d.startRPC(); err != nil {
		return err
	}
	if err := os.MkdirAll(d.path("policies"), 0o700); err != nil {
		return err
	}
	if err := d.policies(); err != nil {
		return err
	}
	text := fmt.Sprintf(`# The demo's configuration; it is written anew at each start.
listen: {https: "127.0.0.1:%d", grpc: "127.0.0.1:%d", postgres: "127.0.0.1:%d"}
url: https://localhost:%d
tls: {self_signed: true}
issuers:
  - name: demo
    kind: entra
    issuer: %s
    audiences: [%s]
    groups: {names: {%s: ai-agents, %s: dba}}
people: {clients: [%s]}
store: sqlite:gatehouse.db
recordings: file:recordings
policies: [policies/*.cedar]
approvals: {hold: 30m, valid: 30m}
connections:
  - name: shop
    kind: postgres
    tags: [env:demo]
    url: %s
    password: {file: %q}
    groups: [ai-agents]
    labels: %s
%s%s`, d.https, d.grpc, d.pg, d.https, d.issuer.URL(), audience, issuer.ObjectID("group ai-agents"), issuer.ObjectID("group dba"), client,
		c.URL(shop.Role, "", "shop"), d.path("database.password"), shop.Labels, d.api.config(d.path("api.secret")), d.rpc.config(d.path("api.secret")))
	return errors.Join(
		os.WriteFile(d.path("database.password"), []byte(password+"\n"), 0o600),
		os.WriteFile(d.path("agent.secret"), []byte(d.issuer.Secret(agent)+"\n"), 0o600),
		os.WriteFile(d.path("gatehouse.yaml"), []byte(text), 0o600),
	)
}

// policies writes the starter set, unless somebody has changed the one that was written before.
func (d *demo) policies() error {
	file, copied := d.path("policies/starter.cedar"), d.path("starter.written")
	now, err1 := os.ReadFile(file)
	before, err2 := os.ReadFile(copied)
	if !errors.Is(err1, os.ErrNotExist) && (err1 != nil || err2 != nil || !bytes.Equal(now, before)) {
		return err1
	}
	return errors.Join(os.WriteFile(copied, deploy.Starter, 0o600), os.WriteFile(file, deploy.Starter, 0o600), fresh(d.path("policies/api.cedar"), apiPolicies), fresh(d.path("policies/rpc.cedar"), rpcPolicies))
}

// fresh writes a file where there is none.
func fresh(path, text string) error {
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o600)
}

// port is the preferred one where it is free, else any.
func port(preferred int) (int, error) {
	for _, p := range []int{preferred, 0} {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
		if err == nil {
			defer l.Close()
			return l.Addr().(*net.TCPAddr).Port, nil
		}
		if p == 0 {
			return 0, err
		}
	}
	return 0, nil
}

// identities makes the profiles and the file that sets up a terminal.
func (d *demo) identities() error {
	d.say("  a development OIDC issuer on %s (DEMO: it gives tokens to whoever asks)", d.issuer.URL())
	d.store = login.Store{Dir: d.path("home"), HTTP: login.HTTP()}
	common := login.Profile{Issuer: d.issuer.URL(), Scope: audience + "/.default", API: fmt.Sprintf("https://localhost:%d", d.https), CA: d.path("tls.crt")}
	bot, ada := common, common
	bot.Name, bot.ClientID, bot.Secret = "agent", agent, secret.Ref{File: d.path("agent.secret")}
	ada.Name, ada.ClientID = person, client
	bin, err := d.commands()
	if err != nil {
		return err
	}
	var env strings.Builder
	fmt.Fprintf(&env, "# Sets up a terminal for the demo: psql and curl with -H \"$AGENT\" are the agent, gatehouse is %s, who may approve.\n", person)
	for _, one := range [][2]string{
		{"GATEHOUSE_CONFIG", d.path("gatehouse.yaml")}, {"GATEHOUSE_HOME", d.path("home")}, {"GATEHOUSE_PROFILE", person},
		{"PGHOST", "localhost"}, {"PGPORT", fmt.Sprint(d.pg)}, {"PGDATABASE", "shop"}, {"PGUSER", "agent"},
		{"PGSSLMODE", "verify-full"}, {"PGSSLROOTCERT", d.path("tls.crt")}, {"PGPASSFILE", d.path("agent.pgpass")}, {"PSQLRC", "/dev/null"},
		{"SHOP_RPC", fmt.Sprintf("https://localhost:%d", d.grpc)}, {"SHOP_API", fmt.Sprintf("https://localhost:%d/http/shop-api", d.https)}, {"CURL_CA_BUNDLE", d.path("tls.crt")}, {"AGENT", "@" + d.path("agent.header")},
	} {
		fmt.Fprintf(&env, "export %s=%s\n", one[0], quote(one[1]))
	}
	fmt.Fprintf(&env, "unset PGPASSWORD PGSERVICE PGOPTIONS PGHOSTADDR PGSSLCERT PGSSLKEY\nexport PATH=%s:\"$PATH\"\n", quote(bin))
	return errors.Join(d.store.Save(bot), d.store.Save(ada), os.WriteFile(d.path("env.sh"), []byte(env.String()), 0o600))
}

// commands is the folder in which this program is called gatehouse: its own, or one of the demo's.
func (d *demo) commands() (string, error) {
	binary, err := os.Executable()
	if err != nil {
		return "", err
	}
	if filepath.Base(binary) == "gatehouse" {
		return filepath.Dir(binary), nil
	}
	dir := d.path("bin")
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, errors.Join(os.Mkdir(dir, 0o700), os.Symlink(binary, filepath.Join(dir, "gatehouse")))
}

// quote makes a word of a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// withGateway runs do while the gateway serves; the first that fails ends both.
func (d *demo) withGateway(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready, served := make(chan struct{}), make(chan error, 1)
	go func() {
		defer cancel()
		served <- d.o.Serve(ctx, d.path("gatehouse.yaml"), func() { close(ready) })
	}()
	select {
	case <-ready:
	case err := <-served:
		return fmt.Errorf("the gateway did not start: %w", err)
	}
	d.say("  the gateway: PostgreSQL on 127.0.0.1:%d, https://localhost:%d; its log is %s", d.pg, d.https, d.path("gatehouse.log"))
	err := do(ctx)
	cancel()
	return errors.Join(err, <-served)
}

var userCode = regexp.MustCompile(`enter the code (\S+)`)

// confirmer is the person in front of the browser, who confirms the sign-in that she is asked for.
type confirmer struct{ issuer *issuer.Issuer }

func (c confirmer) Write(b []byte) (int, error) {
	m := userCode.FindSubmatch(b)
	if m == nil {
		return len(b), nil
	}
	return len(b), c.issuer.Confirm(string(m[1]), person)
}

// signIn signs the person in, and keeps a fresh token of the agent in a passfile until ctx ends.
func (d *demo) signIn(ctx context.Context) error {
	ada, err := d.store.Profile(person)
	if err != nil {
		return err
	}
	if _, err := d.store.Login(ctx, ada, confirmer{d.issuer}); err != nil {
		return err
	}
	bot, err := d.store.Profile("agent")
	if err != nil {
		return err
	}
	if _, err := d.store.Login(ctx, bot, io.Discard); err != nil {
		return err
	}
	if err := d.passfile(ctx, bot); err != nil {
		return err
	}
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(tokenTurn):
			}
			if _, err := d.store.Login(ctx, bot, io.Discard); err != nil {
				continue // the next turn comes before the token ends
			}
			if err := d.passfile(ctx, bot); err != nil && ctx.Err() == nil {
				d.say("the agent's passfile cannot be written: %v", err)
			}
		}
	}()
	return nil
}

// passfile puts the agent's token where psql looks for a password.
func (d *demo) passfile(ctx context.Context, bot login.Profile) error {
	token, _, err := d.store.Token(ctx, bot)
	if err != nil {
		return err
	}
	next := d.path("agent.pgpass.next")
	if err := os.WriteFile(next, []byte(fmt.Sprintf("localhost:%d:*:*:%s\n", d.pg, token)), 0o600); err != nil {
		return err
	}
	header := d.path("agent.header.next")
	if err := os.WriteFile(header, []byte("Authorization: Bearer "+token+"\n"), 0o600); err != nil {
		return err
	}
	return errors.Join(os.Rename(next, d.path("agent.pgpass")), os.Rename(header, d.path("agent.header")))
}

// tour walks the tour; then, unless that was all, the demo waits for its person.
func (d *demo) tour(ctx context.Context) error {
	t := &tour{out: d.o.Out, env: d.path("env.sh"), dir: d.dir, raw: d.raw}
	if t.unchecked = !d.starter(); t.unchecked {
		d.say("  The policies in %s are not the starter set any more: the tour shows what they do, and checks nothing.", d.path("policies"))
	}
	err := t.run(ctx)
	if ctx.Err() != nil {
		return nil // the person has seen enough
	}
	if d.o.TourOnly {
		if err == nil && !t.unchecked {
			d.say("\nThe tour is over; every step behaved. In a terminal, `gatehouse demo` stays up after it.")
		}
		return err
	}
	if err != nil {
		d.say("\n!! %v", err)
	}
	left, leaveErr := t.leave(ctx)
	if leaveErr != nil {
		d.say("\nNo agent waits for an answer: %v\nCtrl-C ends the demo.", leaveErr)
		<-ctx.Done()
		return err
	}
	defer left.stop()
	d.say("Ctrl-C ends the demo; only %s stays.", d.dir)
	select {
	case <-left.done:
		d.say("\nThe agent's statement was answered:")
		t.print(left.output.String())
		<-ctx.Done()
	case <-ctx.Done():
	}
	return err
}

// starter says whether the demo's policies are the starter set.
func (d *demo) starter() bool {
	files, err := filepath.Glob(d.path("policies/*.cedar"))
	if err != nil || len(files) != 2 { // in order of their names
		return false
	}
	own, err1 := os.ReadFile(files[0])
	text, err2 := os.ReadFile(files[1])
	return err1 == nil && err2 == nil && string(own) == apiPolicies && bytes.Equal(text, deploy.Starter)
}
