package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/demo/cluster"
)

// pgbench runs the select-only script direct, through pgbouncer in session mode, through the bare relay and through the
// gateway, in turn.
func (b *bed) pgbench(ctx context.Context) error {
	programs, err := cluster.Programs()
	if err != nil {
		return err
	}
	pgbench := filepath.Join(programs, "pgbench")
	if out, err := exec.CommandContext(ctx, pgbench, "-i", "-q", "-s", "10", "--unlogged-tables", b.admin).CombinedOutput(); err != nil {
		return fmt.Errorf("pgbench -i: %w\n%s", err, out)
	}
	if err := b.adminExec(ctx, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "+b.role); err != nil {
		return err
	}
	bouncer, err := b.pgbouncer()
	if err != nil {
		return err
	}
	defer bouncer.stop()
	fmt.Printf("\n%-24s %8s %18s %18s %18s %8s %8s\n", "pgbench -S", "direct", "pgbouncer", "relay", "gateway", "/direct", "/bouncer")
	for _, mode := range []string{"simple", "prepared"} {
		for _, clients := range []int{32, 8} {
			ways := []*way{{dsn: b.direct}, {dsn: bouncer.dsn, pid: bouncer.pid}, {dsn: b.relay[false].dsn, pid: b.relay[false].pid}, {dsn: b.plain, pid: b.pid}}
			for range 3 {
				for _, w := range ways {
					if err := w.run(ctx, pgbench, mode, clients); err != nil {
						return err
					}
				}
			}
			fmt.Printf("%-24s", fmt.Sprintf("%s, %d clients", mode, clients))
			for _, w := range ways {
				slices.Sort(w.rates)
				if w.pid == 0 {
					fmt.Printf(" %8.0f", w.rates[1])
				} else {
					fmt.Printf(" %8.0f %9s", w.rates[1], micro(time.Duration(float64(w.cpu)/w.count)))
				}
			}
			fmt.Printf(" %8.2f %8.2f\n", ways[3].rates[1]/ways[0].rates[1], ways[3].rates[1]/ways[1].rates[1])
		}
	}
	return nil
}

// way is a road to the database under load; pid is the process that stands in it, 0 for none.
type way struct {
	dsn   string
	pid   int
	rates []float64
	cpu   time.Duration // of that process
	count float64
}

func (w *way) run(ctx context.Context, program, mode string, clients int) error {
	before := cpuOf(w.pid)
	rate, n, err := runPgbench(ctx, program, mode, clients, w.dsn)
	if err != nil {
		return err
	}
	w.rates, w.cpu, w.count = append(w.rates, rate), w.cpu+cpuOf(w.pid)-before, w.count+n
	return nil
}

var (
	tps          = regexp.MustCompile(`(?m)^tps = ([0-9.]+)`)
	transactions = regexp.MustCompile(`(?m)^number of transactions actually processed: ([0-9]+)`)
)

func runPgbench(ctx context.Context, program, mode string, clients int, dsn string) (rate, count float64, err error) {
	cmd := exec.CommandContext(ctx, program, "-S", "-n", "-M", mode, "-c", strconv.Itoa(clients), "-j", "2", "-T", "4", "-s", "10", dsn)
	out, err := cmd.CombinedOutput()
	rates, counts := tps.FindSubmatch(out), transactions.FindSubmatch(out)
	if err != nil || rates == nil || counts == nil {
		return 0, 0, fmt.Errorf("pgbench: %w\n%s", err, out)
	}
	rate, err1 := strconv.ParseFloat(string(rates[1]), 64)
	count, err2 := strconv.ParseFloat(string(counts[1]), 64)
	if err1 != nil || err2 != nil {
		return 0, 0, fmt.Errorf("pgbench said\n%s", out)
	}
	return rate, count, nil
}

// pgbouncer starts one in session mode before the database.
func (b *bed) pgbouncer() (*aside, error) {
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		return nil, fmt.Errorf("pgbouncer is missing: apt-get install --no-install-recommends pgbouncer")
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	c, err := pgx.ParseConfig(b.direct)
	if err != nil {
		return nil, err
	}
	ini := filepath.Join(b.dir, "pgbouncer.ini")
	text := fmt.Sprintf("[databases]\nshop = host=127.0.0.1 port=%d user=%s password='%s'\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\nauth_type = any\npool_mode = session\nmax_client_conn = 200\ndefault_pool_size = 100\nignore_startup_parameters = extra_float_digits\n", c.Port, c.User, c.Password, port)
	if err := os.WriteFile(ini, []byte(text), 0o644); err != nil {
		return nil, err
	}
	args := []string{ini}
	if os.Geteuid() == 0 {
		args = append([]string{"-u", "nobody"}, args...)
	}
	cmd := exec.Command(program, args...)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop := func() { cmd.Process.Kill(); cmd.Wait() }
	dsn := fmt.Sprintf("host=127.0.0.1 port=%d dbname=shop user=bench sslmode=disable", port)
	for range 100 {
		conn, err := pgx.Connect(context.Background(), dsn)
		if err == nil {
			conn.Close(context.Background())
			return &aside{dsn, cmd.Process.Pid, stop}, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return nil, fmt.Errorf("pgbouncer did not start")
}

// wide is the table of the scans: a million rows of ten columns.
const wide = `
CREATE UNLOGGED TABLE wide AS SELECT i AS c0, i * 7 % 1000 AS c1, 'person' || i || '@example.com' AS c2, 'Person Number ' || i AS c3,
	'+49 30 ' || 1000000 + i AS c4, date '2020-01-01' + i % 1000 AS c5, (i % 10000) / 100.0 AS c6, i % 2 = 0 AS c7, 'street ' || i % 5000 AS c8,
	md5(i::text) AS c9 FROM generate_series(1, 1000000) i;
CREATE VIEW wide_null AS SELECT * FROM wide;
CREATE VIEW wide_redact AS SELECT * FROM wide;
CREATE VIEW wide_email AS SELECT * FROM wide;
CREATE VIEW wide_partial AS SELECT * FROM wide;
CREATE VIEW wide_token AS SELECT * FROM wide;
GRANT SELECT ON wide, wide_null, wide_redact, wide_email, wide_partial, wide_token TO `

// wideLabels label three columns of each view for its mask.
const wideLabels = `public.wide_null: {c2: bench.null, c3: bench.null, c9: bench.null}, public.wide_redact: {c2: bench.redact, c3: bench.redact, c9: bench.redact}, public.wide_email: {c2: bench.email, c3: bench.email, c9: bench.email}, public.wide_partial: {c2: bench.partial, c3: bench.partial, c9: bench.partial}, public.wide_token: {c2: bench.token, c3: bench.token, c9: bench.token}`

// maskPolicies give each view's labels its mask. What shows more than a label's own mask is a permit's, what shows
// less a forbid's. Pseudonyms are shown only of what nobody may write.
func maskPolicies() string {
	var b strings.Builder
	for _, table := range []string{"wide", "wide_token"} {
		fmt.Fprintf(&b, "forbid (principal, action in Action::\"write\", resource in Table::\"shop/public.%s\");\n", table)
	}
	for _, m := range masks {
		effect := "permit"
		if m == "null" {
			effect = "forbid"
		}
		fmt.Fprintf(&b, "@id(%q) @mask(%q) %s (principal, action == Action::\"read\", resource is Column) when { resource.labels.contains(\"bench.%s\") };\n", m, m, effect, m)
	}
	return b.String()
}

var masks = []string{"null", "redact", "email", "partial", "token"}

// scans reads the whole table, in turn direct, through the gateway and through it with each mask; and direct with each
// statement as the gateway printed it, which is what the same masks cost who writes them by hand.
func (b *bed) scans(ctx context.Context) error {
	names := []string{"direct", "unmasked"}
	tables := []string{"wide", "wide"}
	for _, m := range masks {
		names, tables = append(names, m), append(tables, "wide_"+m)
	}
	times, byHand := make([]samples, len(names)), make([]samples, len(names))
	var bytes int64
	var cpu time.Duration
	const runs = 3
	for n := range runs + 1 {
		for i, table := range tables {
			dsn := b.plain
			if i == 0 {
				dsn = b.direct
			}
			before := cpuOf(b.pid)
			size, d, printed, err := b.scan(ctx, dsn, "SELECT * FROM "+table, i > 1)
			if err != nil {
				return fmt.Errorf("scan, %s: %w", names[i], err)
			}
			if i > 1 {
				_, hand, _, err := b.scan(ctx, b.direct, printed, false)
				if err != nil {
					return fmt.Errorf("scan, %s by hand: %w", names[i], err)
				}
				byHand[i] = append(byHand[i], hand)
			}
			if n == 0 {
				byHand[i] = nil
				continue // warm-up
			}
			times[i] = append(times[i], d)
			if i == 1 {
				cpu += cpuOf(b.pid) - before
				bytes += size
			}
		}
	}
	byHand[1] = times[0]
	for i := range times {
		slices.Sort(times[i])
		slices.Sort(byHand[i])
	}
	fmt.Printf("\n%-34s %10s %16s %18s %18s\n", "scan, 1,000,000 rows × 10 columns", "p50", "speed/direct", "speed/unmasked", "speed/by hand")
	for i, s := range times {
		fmt.Printf("%-34s %10s %16.2f %18.2f", names[i], s.at(50).Round(time.Millisecond), float64(times[0].at(50))/float64(s.at(50)), float64(times[1].at(50))/float64(s.at(50)))
		if byHand[i] != nil {
			fmt.Printf(" %18.2f", float64(byHand[i].at(50))/float64(s.at(50)))
		}
		fmt.Println()
	}
	fmt.Printf("gateway CPU, unmasked: %.1f s per GB\n", cpu.Seconds()/float64(bytes)*1e9)
	return nil
}

// lastText is the masked statement that the gateway's session at the database ran last, as the database got it.
func (b *bed) lastText(ctx context.Context) (text string, err error) {
	conn, err := pgx.Connect(ctx, b.admin)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	err = conn.QueryRow(ctx, "SELECT query FROM pg_stat_activity WHERE usename = $1 AND query LIKE '%.wide_% t(c1,%'", b.role).Scan(&text)
	return text, err
}

// scan reads a million rows. printed is what the database got, where that is asked for.
func (b *bed) scan(ctx context.Context, dsn, sql string, ask bool) (bytes int64, took time.Duration, printed string, err error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return 0, 0, "", err
	}
	defer conn.Close(ctx)
	if strings.Contains(sql, "token_key") {
		if _, err := conn.Exec(ctx, `SET gatehouse.token_key = '\x`+strings.Repeat("5a", 32)+"'"); err != nil {
			return 0, 0, "", err
		}
	}
	begun := time.Now()
	results := conn.PgConn().Exec(ctx, sql)
	rows := 0
	for results.NextResult() {
		r := results.ResultReader()
		for r.NextRow() {
			rows++
			for _, v := range r.Values() {
				bytes += int64(len(v)) + 4
			}
			bytes += 7
		}
	}
	if err := results.Close(); err != nil {
		return 0, 0, "", err
	}
	took = time.Since(begun)
	if rows != 1_000_000 {
		return 0, 0, "", fmt.Errorf("%d rows", rows)
	}
	if ask {
		printed, err = b.lastText(ctx)
	}
	return bytes, took, printed, err
}

// crowd measures what sessions that wait cost in memory: logged in only, then with a database session each.
func (b *bed) crowd(ctx context.Context) error {
	fmt.Printf("\n%-34s %10s %14s %14s\n", "sessions", "count", "RSS", "each")
	for _, c := range []struct {
		name, dsn string
		count     int
		live      bool
	}{{"idle, logged in", b.plain, 5000, false}, {"idle, logged in, TLS", b.tls, 1000, false}, {"with a database session", b.plain, 500, true}} {
		b.end() // each begins with a gateway that has held no others
		pid, end, err := serve(b.dir, "postgres")
		if err != nil {
			return err
		}
		b.pid, b.end = pid, end
		before := rss(b.pid)
		var conns []*pgx.Conn
		var failed error
		for range c.count {
			conn, err := pgx.Connect(ctx, c.dsn)
			if err != nil {
				failed = err
				break
			}
			conns = append(conns, conn)
			if c.live {
				if _, err := conn.Exec(ctx, "SELECT 1"); err != nil {
					failed = err
					break
				}
			}
		}
		time.Sleep(2 * time.Second)
		after := rss(b.pid)
		for _, conn := range conns {
			conn.Close(ctx)
		}
		if failed != nil {
			return fmt.Errorf("session %d: %w", len(conns), failed)
		}
		fmt.Printf("%-34s %10d %10d KiB %10d KiB\n", c.name, c.count, after, (after-before)/int64(c.count))
	}
	return nil
}

// rss is a process's resident memory in KiB.
func rss(pid int) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		var n int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &n); err == nil {
			return n
		}
	}
	return 0
}

func (b *bed) adminExec(ctx context.Context, sql string) error { return execute(ctx, b.admin, sql) }

func execute(ctx context.Context, dsn, sql string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
	return err
}
