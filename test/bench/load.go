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

// pgbench runs the select-only script direct, through pgbouncer in session mode and through the gateway, in turn.
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
	bouncer, stop, err := b.pgbouncer()
	if err != nil {
		return err
	}
	defer stop()
	fmt.Printf("\n%-34s %12s %12s %12s %16s %18s %14s\n", "pgbench -S, transactions/s", "direct", "pgbouncer", "gateway", "gateway/direct", "gateway/pgbouncer", "gateway CPU")
	for _, mode := range []string{"simple", "prepared"} {
		for _, clients := range []int{32, 8} {
			var rates [3][]float64
			var cpu time.Duration
			var count float64
			for range 3 {
				for i, dsn := range []string{b.direct, bouncer, b.plain} {
					before := cpuOf(b.pid)
					rate, n, err := runPgbench(ctx, pgbench, mode, clients, dsn)
					if err != nil {
						return err
					}
					rates[i] = append(rates[i], rate)
					if i == 2 {
						cpu += cpuOf(b.pid) - before
						count += n
					}
				}
			}
			for i := range rates {
				slices.Sort(rates[i])
			}
			direct, bounced, via := rates[0][1], rates[1][1], rates[2][1]
			fmt.Printf("%-34s %12.0f %12.0f %12.0f %16.2f %18.2f %14s\n", fmt.Sprintf("%s, %d clients", mode, clients), direct, bounced, via, via/direct, via/bounced, micro(time.Duration(float64(cpu)/count)))
		}
	}
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
func (b *bed) pgbouncer() (dsn string, stop func(), err error) {
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		return "", nil, fmt.Errorf("pgbouncer is missing: apt-get install --no-install-recommends pgbouncer")
	}
	port, err := freePort()
	if err != nil {
		return "", nil, err
	}
	c, err := pgx.ParseConfig(b.direct)
	if err != nil {
		return "", nil, err
	}
	ini := filepath.Join(b.dir, "pgbouncer.ini")
	text := fmt.Sprintf("[databases]\nshop = host=127.0.0.1 port=%d user=%s password='%s'\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\nauth_type = any\npool_mode = session\nmax_client_conn = 200\ndefault_pool_size = 100\nignore_startup_parameters = extra_float_digits\n", c.Port, c.User, c.Password, port)
	if err := os.WriteFile(ini, []byte(text), 0o644); err != nil {
		return "", nil, err
	}
	args := []string{ini}
	if os.Geteuid() == 0 {
		args = append([]string{"-u", "nobody"}, args...)
	}
	cmd := exec.Command(program, args...)
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() { cmd.Process.Kill(); cmd.Wait() }
	dsn = fmt.Sprintf("host=127.0.0.1 port=%d dbname=shop user=bench sslmode=disable", port)
	for range 100 {
		conn, err := pgx.Connect(context.Background(), dsn)
		if err == nil {
			conn.Close(context.Background())
			return dsn, stop, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return "", nil, fmt.Errorf("pgbouncer did not start")
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
GRANT SELECT ON wide, wide_null, wide_redact, wide_email, wide_partial TO `

// wideLabels label three columns of each view for its mask.
const wideLabels = `public.wide_null: {c2: bench.null, c3: bench.null, c9: bench.null}, public.wide_redact: {c2: bench.redact, c3: bench.redact, c9: bench.redact}, public.wide_email: {c2: bench.email, c3: bench.email, c9: bench.email}, public.wide_partial: {c2: bench.partial, c3: bench.partial, c9: bench.partial}`

// maskPolicies give each view's labels its mask. What shows more than a label's own mask is a permit's, what shows
// less a forbid's.
func maskPolicies() string {
	var b strings.Builder
	for _, m := range masks {
		effect := "permit"
		if m == "null" {
			effect = "forbid"
		}
		fmt.Fprintf(&b, "@id(%q) @mask(%q) %s (principal, action == Action::\"read\", resource is Column) when { resource.labels.contains(\"bench.%s\") };\n", m, m, effect, m)
	}
	return b.String()
}

var masks = []string{"null", "redact", "email", "partial"}

// scans reads the whole table, in turn direct, through the gateway and through it with each mask.
func (b *bed) scans(ctx context.Context) error {
	names := []string{"direct", "unmasked"}
	tables := []string{"wide", "wide"}
	for _, m := range masks {
		names, tables = append(names, m), append(tables, "wide_"+m)
	}
	times := make([]samples, len(names))
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
			size, d, err := scan(ctx, dsn, "SELECT * FROM "+table)
			if err != nil {
				return fmt.Errorf("scan, %s: %w", names[i], err)
			}
			if n == 0 {
				continue // warm-up
			}
			times[i] = append(times[i], d)
			if i == 1 {
				cpu += cpuOf(b.pid) - before
				bytes += size
			}
		}
	}
	for _, s := range times {
		slices.Sort(s)
	}
	fmt.Printf("\n%-34s %10s %16s %18s\n", "scan, 1,000,000 rows × 10 columns", "p50", "speed/direct", "speed/unmasked")
	for i, s := range times {
		fmt.Printf("%-34s %10s %16.2f %18.2f\n", names[i], s.at(50).Round(time.Millisecond), float64(times[0].at(50))/float64(s.at(50)), float64(times[1].at(50))/float64(s.at(50)))
	}
	fmt.Printf("gateway CPU, unmasked: %.1f s per GB\n", cpu.Seconds()/float64(bytes)*1e9)
	return nil
}

func scan(ctx context.Context, dsn, sql string) (bytes int64, took time.Duration, err error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close(ctx)
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
		return 0, 0, err
	}
	if rows != 1_000_000 {
		return 0, 0, fmt.Errorf("%d rows", rows)
	}
	return bytes, time.Since(begun), nil
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
		pid, end, err := serve(b.dir)
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
