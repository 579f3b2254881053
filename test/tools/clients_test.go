package tools

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// programs are the clients of other languages: one program each, which prints what it got as lines of JSON.
var programs = map[string]struct {
	command []string
	needs   []string // files; the commands themselves too
	install string
}{
	"psycopg2":      {[]string{"/usr/bin/python3", "python/client_psycopg2.py"}, []string{"/usr/lib/python3/dist-packages/psycopg2"}, "python3-psycopg2"},
	"psycopg":       {[]string{"/usr/bin/python3", "python/client_psycopg.py"}, []string{"/usr/lib/python3/dist-packages/psycopg"}, "python3-psycopg"},
	"SQLAlchemy":    {[]string{"/usr/bin/python3", "python/client_sqlalchemy.py"}, []string{"/usr/lib/python3/dist-packages/sqlalchemy"}, "python3-sqlalchemy"},
	"node-postgres": {[]string{"node", "node/client.mjs"}, []string{"node/node_modules/pg"}, "nodejs npm, then npm ci in test/tools/node"},
	"pgjdbc":        {[]string{"java", "-Xshare:auto", "-cp", "/usr/share/java/postgresql.jar", "java/Client.java"}, []string{"/usr/share/java/postgresql.jar"}, "default-jdk-headless libpostgresql-jdbc-java"},
}

// TestPrograms: clients of other languages get through the gateway what they get without it, masks apart.
func TestPrograms(t *testing.T) {
	onlyAll(t)
	b := bedOf(t, "")
	for name, p := range programs {
		t.Run(name, func(t *testing.T) {
			for _, file := range p.needs {
				if _, err := os.Stat(file); err != nil {
					t.Fatalf("%s is missing: make deps-all installs it (%s)", file, p.install)
				}
			}
			if _, err := exec.LookPath(p.command[0]); err != nil {
				t.Fatalf("%s is missing: make deps-all installs it (%s)", p.command[0], p.install)
			}
			b.compareLines(t, func(r road) string { return r.run(t, p.command...) })
		})
	}
	b.healthy(t)
}

// run runs a program on a road, and gives what it printed.
func (r road) run(t testing.TB, command ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(r.env(), "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH=python")
	cmd.WaitDelay = time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Errorf("%s: %v\n%s\n%s", r.name, err, lastLines(out.String(), 3), lastLines(strings.ReplaceAll(errs.String(), r.password, "…"), 40))
	}
	return out.String()
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// compareLines runs something on each road of the shop and compares the lines that it printed. The step
// `labelled` of one who sees masks has none of the raw values, and as many lines.
func (b *bed) compareLines(t *testing.T, run func(road) string) {
	t.Helper()
	var direct []string
	for _, r := range b.roads(t, "shop") {
		if err := b.admin(t.Context(), "shop", "TRUNCATE drivers"); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(run(r)), "\n")
		if t.Failed() {
			return
		}
		if r.name == "direct" {
			direct = lines
			continue
		}
		if len(lines) != len(direct) {
			t.Errorf("%s: %d lines, and %d without the gateway; the last is\n%s", r.name, len(lines), len(direct), lines[len(lines)-1])
		}
		for i := range min(len(lines), len(direct)) {
			var step struct {
				Step string `json:"step"`
			}
			if err := json.Unmarshal([]byte(direct[i]), &step); err != nil {
				t.Fatalf("%v: %s", err, direct[i])
			}
			if step.Step == "labelled" && r.name == masking {
				for _, value := range b.rawForms(t, "shop") {
					if strings.Contains(lines[i], value) {
						t.Errorf("%s: the raw value %q came back: %s", r.name, value, lines[i])
					}
				}
				if !strings.Contains(lines[i], "***") {
					t.Errorf("%s: no mask came back: %s", r.name, lines[i])
				}
				continue
			}
			if lines[i] != direct[i] {
				t.Errorf("%s:\n%s\nwithout the gateway:\n%s", r.name, lines[i], direct[i])
			}
		}
	}
}

// TestPgbench: pgbench's own scripts run by each protocol without an error, and leave consistent balances.
func TestPgbench(t *testing.T) {
	onlyAll(t)
	pgbench, err := exec.LookPath("pgbench")
	if err != nil {
		t.Fatal("pgbench is missing: make deps-all installs it (postgresql-contrib)")
	}
	b := bedOf(t, "")
	admin := road{"direct", "127.0.0.1", fmt.Sprint(b.Port), "postgres", b.Cluster.Password, b.CA, "bench"}
	admin.run(t, pgbench, "-i", "-q", "-s", "1")
	if err := b.admin(t.Context(), "bench", "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO gatehouse"); err != nil {
		t.Fatal(err)
	}
	r := b.roads(t, "bench")[2]
	for _, protocol := range []string{"simple", "extended", "prepared"} {
		for script, args := range map[string][]string{"select only": {"-S"}, "simple update": {"-N"}, "tpcb-like": nil} {
			t.Run(protocol+"/"+script, func(t *testing.T) {
				// -n: vacuum and truncate are not for agents.
				out := r.run(t, append([]string{pgbench, "-n", "-c", "4", "-j", "2", "-t", "50", "-M", protocol}, args...)...)
				for _, want := range []string{"number of transactions actually processed: 200/200", "number of failed transactions: 0 (0.000%)"} {
					if !strings.Contains(out, want) {
						t.Errorf("%q is not in\n%s", want, out)
					}
				}
			})
		}
	}
	got := column(t, b.AdminURL("bench"), "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history) AND (SELECT count(*) FROM pgbench_history) = 1200")
	if got[0] != "t" {
		t.Error("the balances do not add up")
	}
	b.healthy(t)
}

// nodePath is where what npm brings is.
var nodePath = filepath.Join("node", "node_modules")
