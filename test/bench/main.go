// Command bench measures what the gateway adds, in paired runs: every round sends the same statement direct
// and through the gateway, in random order, so that the noise of the machine hits both alike.
//
//	go run ./test/bench [-only statements|pgbench|scans|sessions|holds|simulate|search|grpc|http|bed] [-rounds 5000] [-gatehouse bin/gatehouse] [-dir FOLDER]
//
// The folder's disk is the one that recordings are synced to.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/demo/cluster"
	"gatehouse/internal/demo/issuer"
	"gatehouse/internal/demo/shop"
)

var (
	rounds    = flag.Int("rounds", 5000, "pairs of each case")
	gatehouse = flag.String("gatehouse", "bin/gatehouse", "the binary to measure")
	only      = flag.String("only", "", "statements, pgbench, scans, sessions, holds, simulate, search, grpc or http, all by default; bed: start everything, print the DSNs, wait")
	requests  = flag.Int("requests", 1_000_000, "how many are recorded for simulate")
	keep      = flag.String("keep", "", "record those for simulate in this folder, and leave them there")
	folder    = flag.String("dir", "", "where the database and the recordings are; a temporary folder by default")
)

func main() {
	if len(os.Args) == 5 && os.Args[1] == "relay" {
		fmt.Fprintln(os.Stderr, "bench: the relay:", relay(os.Args[2], os.Args[3], os.Args[4] == "true"))
		os.Exit(1)
	}
	if len(os.Args) == 4 && os.Args[1] == "rpc" {
		fmt.Fprintln(os.Stderr, "bench: the gRPC relay:", relayRPC(os.Args[2], os.Args[3]))
		os.Exit(1)
	}
	if len(os.Args) == 3 && os.Args[1] == "rpc" {
		fmt.Fprintln(os.Stderr, "bench: the gRPC service:", serveRPC(os.Args[2]))
		os.Exit(1)
	}
	if len(os.Args) == 3 && os.Args[1] == "api" {
		fmt.Fprintln(os.Stderr, "bench: the API:", serveAPI(os.Args[2]))
		os.Exit(1)
	}
	if len(os.Args) == 6 && os.Args[1] == "api" {
		fmt.Fprintln(os.Stderr, "bench: Go's reverse proxy:", relayAPI(os.Args[2], os.Args[3], os.Args[4], os.Args[5]))
		os.Exit(1)
	}
	flag.Parse()
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

const policies = `
@id("read") permit (principal, action == Action::"read", resource);
@id("write") permit (principal, action in Action::"write", resource);
`

// report is a query of sixty lines.
const report = `WITH monthly AS (
  SELECT
    date_trunc('month', o.created_at) AS month,
    c.tier,
    p.name,
    count(DISTINCT o.id) AS orders,
    sum(o.total) AS revenue
  FROM orders o
  JOIN customers c
    ON c.id = o.customer_id
  JOIN products p
    ON p.id = o.id % 200 + 1
  WHERE o.id BETWEEN %d
      AND %d + 5
    AND o.status IN (
      'paid',
      'shipped',
      'open'
    )
  GROUP BY
    date_trunc('month', o.created_at),
    c.tier,
    p.name
),
ranked AS (
  SELECT
    month,
    tier,
    name,
    orders,
    revenue,
    rank() OVER (
      PARTITION BY month
      ORDER BY revenue DESC
    ) AS place,
    sum(revenue) OVER (
      PARTITION BY tier
      ORDER BY month
    ) AS running
  FROM monthly
)
SELECT
  r.month,
  r.tier,
  r.name,
  r.orders,
  round(r.revenue, 2) AS revenue,
  CASE
    WHEN r.place = 1 THEN 'first'
    WHEN r.place <= 3 THEN 'top'
    ELSE 'other'
  END AS class,
  coalesce(r.running, 0) AS running
FROM ranked r
WHERE r.revenue > 0
  AND EXISTS (
    SELECT 1
    FROM orders x
    WHERE x.id = %d
  )
ORDER BY
  r.month,
  r.place
LIMIT 50`

// bed is a database with a gateway before it.
type bed struct {
	direct string // DSNs
	admin  string
	role   string
	plain  string
	issuer *issuer.Issuer
	https  string
	tls    string
	relay  map[bool]*aside // a bare relay, by whether it syncs
	pid    int
	end    func() // ends the gateway
	dir    string
	seen   int // the numbers in texts go on from here
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp(*folder, "gatehouse-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil {
		return err
	}
	if *only == "" || *only == "simulate" {
		if err := simulations(ctx, filepath.Join(dir, "simulate")); err != nil {
			return fmt.Errorf("simulate: %w", err)
		}
	}
	if *only == "" || *only == "search" {
		if err := searches(ctx, filepath.Join(dir, "simulate")); err != nil {
			return fmt.Errorf("search: %w", err)
		}
	}
	if *only == "" || *only == "grpc" {
		if err := rpcs(ctx, filepath.Join(dir, "grpc")); err != nil {
			return fmt.Errorf("grpc: %w", err)
		}
	}
	if *only == "" || *only == "http" {
		if err := apis(ctx, filepath.Join(dir, "http")); err != nil {
			return fmt.Errorf("http: %w", err)
		}
	}
	if *only == "simulate" || *only == "search" || *only == "grpc" || *only == "http" {
		return nil
	}
	b, stop, err := start(ctx, dir)
	if err != nil {
		return err
	}
	defer stop()
	parts := []struct {
		name string
		run  func(context.Context) error
	}{{"statements", b.statements}, {"pgbench", b.pgbench}, {"scans", b.scans}, {"sessions", b.crowd}, {"holds", b.holds}, {"bed", b.keep}}
	for _, p := range parts {
		if *only == "" && p.name != "bed" || *only == p.name {
			if err := p.run(ctx); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	return nil
}

// keep keeps the bed until a signal, for a profiler.
func (b *bed) keep(ctx context.Context) error {
	fmt.Printf("direct=%q\ngateway=%q\nrelay=%q\nadmin=%q\npid=%d\n", b.direct, b.plain, b.relay[false].dsn, b.admin, b.pid)
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	<-ctx.Done()
	return nil
}

func (b *bed) statements(ctx context.Context) error {
	fmt.Printf("%-34s %10s %10s %10s %10s %8s %12s %12s\n", "case", "direct p50", "via p50", "added p50", "added p99", "ratio", "gateway CPU", "relay adds")
	for _, gw := range []struct{ name, dsn string }{{"", b.plain}, {", TLS", b.tls}} {
		for _, c := range cases {
			if err := b.measure(ctx, c, c.name+gw.name, gw.dsn); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	return nil
}

// one is a statement to measure.
type one struct {
	name  string
	sql   string // %d becomes a number that is new in every round
	mode  pgx.QueryExecMode
	write bool
}

var cases = []one{
	{"known read, prepared", "SELECT status, total FROM orders WHERE id = $1", pgx.QueryExecModeCacheStatement, false},
	{"known read, simple", "SELECT status, total FROM orders WHERE id = 4711", pgx.QueryExecModeSimpleProtocol, false},
	{"known masked read, prepared", "SELECT name, email, phone FROM customers WHERE id = $1", pgx.QueryExecModeCacheStatement, false},
	{"first-seen point select, simple", "SELECT status, total FROM orders WHERE id = %d", pgx.QueryExecModeSimpleProtocol, false},
	{"first-seen 60-line query, simple", report, pgx.QueryExecModeSimpleProtocol, false},
	{"write, prepared", "UPDATE products SET price = price WHERE id = $1", pgx.QueryExecModeCacheStatement, true},
	{"write, simple", "UPDATE products SET price = price WHERE id = 17", pgx.QueryExecModeSimpleProtocol, true},
}

func (b *bed) measure(ctx context.Context, c one, name, dsn string) error {
	var conns [3]*pgx.Conn
	for i, d := range []string{b.direct, dsn, b.relay[c.write].dsn} {
		conn, err := pgx.Connect(ctx, d)
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		conns[i] = conn
	}
	ask := func(conn *pgx.Conn, n int) (time.Duration, error) {
		args := []any{c.mode}
		if strings.Contains(c.sql, "$1") {
			args = append(args, 1+n%200)
		}
		sql := strings.ReplaceAll(c.sql, "%d", strconv.Itoa(b.seen+n))
		begun := time.Now()
		rows, err := conn.Query(ctx, sql, args...)
		if err != nil {
			return 0, err
		}
		for rows.Next() {
		}
		rows.Close()
		return time.Since(begun), rows.Err()
	}
	disk, err := newDisk(b.dir)
	if err != nil {
		return err
	}
	defer disk.close()
	var times [4]samples // direct, through the gateway, through the bare relay, the disk alone
	count := *rounds
	if c.write || c.sql == report {
		count = max(count/4, 200)
	}
	var cpu time.Duration
	for n := range count + count/10 {
		if n == count/10 { // the rest was warm-up
			times = [4]samples{}
			cpu = cpuOf(b.pid)
		}
		for _, i := range mathrand.Perm(len(times)) {
			var d time.Duration
			var err error
			switch {
			case i < len(conns):
				d, err = ask(conns[i], n)
			case c.write:
				d, err = disk.sync()
			}
			if err != nil {
				return err
			}
			times[i] = append(times[i], d)
		}
	}
	if strings.Contains(c.sql, "%d") {
		b.seen += count + count/10 // no case sends a text that another has sent
	}
	cpu = cpuOf(b.pid) - cpu
	added := make(samples, len(times[0]))
	for i := range added {
		added[i] = times[1][i] - times[0][i]
	}
	for _, s := range []samples{times[0], times[1], times[2], times[3], added} {
		slices.Sort(s)
	}
	gain := times[1].at(50) - times[0].at(50)
	floor := times[2].at(50) - times[0].at(50)
	fmt.Printf("%-34s %10s %10s %10s %10s %8.2f %12s %12s", name, micro(times[0].at(50)), micro(times[1].at(50)), micro(gain), micro(added.at(99)), float64(times[1].at(50))/float64(times[0].at(50)), micro(cpu/time.Duration(count)), micro(floor))
	if c.write {
		fmt.Printf("   without the disk's fdatasync (p50 %s): gateway %s, relay %s", micro(times[3].at(50)), micro(gain-times[3].at(50)), micro(floor-times[3].at(50)))
	}
	fmt.Println()
	return nil
}

// samples are sorted times.
type samples []time.Duration

func (s samples) at(percent float64) time.Duration {
	return s[min(len(s)-1, int(math.Ceil(float64(len(s))*percent/100))-1)]
}

func micro(d time.Duration) string { return fmt.Sprintf("%.1fµs", float64(d.Nanoseconds())/1000) }

// disk measures what an append that is synced takes, in the same rounds as the statements.
type disk struct {
	file *os.File
	b    []byte
}

// entry is about the size of what is recorded before a write.
const entry = 800

func newDisk(dir string) (*disk, error) {
	f, err := os.CreateTemp(dir, "fdatasync-")
	if err != nil {
		return nil, err
	}
	d := &disk{f, make([]byte, entry)}
	rand.Read(d.b)
	return d, nil
}

func (d *disk) close() { d.file.Close(); os.Remove(d.file.Name()) }

func (d *disk) sync() (time.Duration, error) {
	begun := time.Now()
	if _, err := d.file.Write(d.b); err != nil {
		return 0, err
	}
	err := syscall.Fdatasync(int(d.file.Fd()))
	return time.Since(begun), err
}

// cpuOf is the processor time that a process has used.
func cpuOf(pid int) time.Duration {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	var sum time.Duration
	for _, t := range tasks {
		if b, err := os.ReadFile(t); err == nil {
			var ns int64
			fmt.Sscan(string(b), &ns)
			sum += time.Duration(ns)
		}
	}
	return sum
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// start makes the bed: database, issuer, gateway.
func start(ctx context.Context, dir string) (*bed, func(), error) {
	var stops []func()
	stop := func() {
		for _, s := range slices.Backward(stops) {
			s()
		}
	}
	fail := func(err error) (*bed, func(), error) { stop(); return nil, nil, err }
	// The database does not wait for its disk, so that a write shows what the gateway's own sync costs.
	c, err := cluster.Start(ctx, cluster.Options{Dir: filepath.Join(dir, "postgres"), Ephemeral: true, Settings: map[string]string{"max_connections": "700", "track_activity_query_size": "16kB"}})
	if err != nil {
		return fail(err)
	}
	stops = append(stops, func() { c.Stop() })
	password := rand.Text()
	if err := shop.Load(ctx, c.AdminURL, password); err != nil {
		return fail(err)
	}
	if err := execute(ctx, c.AdminURL("shop"), wide+shop.Role); err != nil {
		return fail(err)
	}
	is, err := issuer.Start("127.0.0.1:0", issuer.Options{Tenant: "bench", Audience: "bench", Lifetime: time.Hour, Agents: []issuer.Agent{{ClientID: "bench", Secret: rand.Text(), Name: "bench", Groups: []string{"bench"}}},
		Clients: []string{"bench-cli"}, People: []issuer.Person{{Name: "ada", Groups: []string{"people"}}}})
	if err != nil {
		return fail(err)
	}
	stops = append(stops, func() { is.Close() })
	https, err1 := freePort()
	pg, err2 := freePort()
	token, err3 := is.AgentToken("bench")
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return fail(err)
		}
	}
	config := fmt.Sprintf(`listen: {https: "127.0.0.1:%d", postgres: "127.0.0.1:%d"}
issuers: [{name: bench, kind: entra, issuer: "%s", audiences: [bench], groups: {names: {bench: bench, waiting: waiting, people: people}}}]
people: {clients: [bench-cli]}
store: sqlite:gatehouse.db
recordings: file:recordings
policies: [bench.cedar]
connections:
  - {name: shop, kind: postgres, url: "%s", password: {file: "%s/password"}, groups: [bench], labels: {%s, %s}}
`, https, pg, is.URL(), c.URL(shop.Role, "", "shop"), dir, strings.TrimSuffix(strings.TrimPrefix(shop.Labels, "{"), "}"), wideLabels)
	for name, text := range map[string]string{"gatehouse.yaml": config, "password": password, "bench.cedar": policies + maskPolicies() + holdPolicy} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return fail(err)
		}
	}
	pid, end, err := serve(dir, "postgres")
	if err != nil {
		return fail(err)
	}
	b := &bed{pid: pid, end: end, dir: dir, seen: 1, issuer: is, https: fmt.Sprintf("https://127.0.0.1:%d", https)}
	stops = append(stops, func() { b.end() })
	through := fmt.Sprintf("host=127.0.0.1 port=%d dbname=shop user=bench password=%s ", pg, token)
	direct := c.URL(shop.Role, password, "shop")
	relays := map[bool]*aside{}
	for _, sync := range []bool{false, true} {
		one, err := startRelay(dir, direct, sync)
		if err != nil {
			return fail(err)
		}
		stops = append(stops, one.stop)
		relays[sync] = one
	}
	b.relay, b.admin, b.role, b.direct = relays, c.AdminURL("shop"), shop.Role, direct
	b.plain = through + "sslmode=disable"
	b.tls = through + "sslmode=verify-full sslrootcert=" + filepath.Join(dir, "tls.crt")
	return b, stop, nil
}

// serve starts the gateway and waits until it serves on a listener.
func serve(dir, listener string) (pid int, stop func(), err error) {
	cmd := exec.Command(*gatehouse, "serve", "--config", filepath.Join(dir, "gatehouse.yaml"))
	log, err := cmd.StderrPipe()
	if err != nil {
		return 0, nil, err
	}
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	stop = func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() }
	lines := bufio.NewScanner(log)
	var seen []string
	for lines.Scan() {
		seen = append(seen, lines.Text())
		if strings.Contains(lines.Text(), "listener="+listener) {
			go func() {
				for lines.Scan() {
					if strings.Contains(lines.Text(), "level=ERROR") {
						fmt.Fprintln(os.Stderr, lines.Text())
					}
				}
			}()
			return cmd.Process.Pid, stop, nil
		}
	}
	stop()
	return 0, nil, fmt.Errorf("the gateway did not start:\n%s", strings.Join(seen, "\n"))
}
