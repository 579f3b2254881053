// Package test holds the end-to-end tests: the built binary in front of a real PostgreSQL, spoken to by real
// psql and pgx. They say what a client sees; what happens inside is the business of the rooms' own tests.
//
// A missing psql or PostgreSQL fails them: a test that cannot run proves nothing.
package test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/demo/cluster"
	"gatehouse/internal/demo/cluster/clustertest"
	"gatehouse/internal/demo/shop"
)

// What all tests share: the binary, and one server with the shop in it.
var (
	gatehouse string
	server    *cluster.Cluster
	password  string // of the gateway's role
	rawForms  []string
	setUp     error
)

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	if _, err := exec.LookPath("psql"); err != nil {
		fmt.Fprintln(os.Stderr, "psql was not found on PATH, and these tests need it: install the package postgresql-client")
		return 1
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // each run of the binary would end with a second of sleep
	if gatehouse = os.Getenv("GATEHOUSE_BIN"); gatehouse == "" {
		dir, err := os.MkdirTemp("", "gatehouse-bin-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		gatehouse = filepath.Join(dir, "gatehouse")
		build := exec.Command("go", "build", "-race", "-o", gatehouse, "../cmd/gatehouse")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "the binary cannot be built: %v\n%s", err, out)
			return 1
		}
	}
	settings := map[string]string{"log_line_prefix": "%m [%p] %u ", "log_min_error_statement": "panic", "max_connections": "200"}
	return clustertest.Run(m, settings, func(c *cluster.Cluster) {
		server, password = c, rand.Text()
		ctx := context.Background()
		setUp = errors.Join(shop.Load(ctx, c.AdminURL, password), readRawForms(ctx))
	})
}

// readRawForms gathers values that no client may see, and what could be made of them.
func readRawForms(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, server.AdminURL("shop"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `SELECT lower(f) FROM customers,
		LATERAL unnest(ARRAY[email, national_id, phone, birth_date::text, profile->>'email', profile->>'notes']) v,
		LATERAL unnest(ARRAY[v, reverse(v), md5(v), encode(v::bytea, 'hex'), encode(v::bytea, 'base64')]) f WHERE id <= 40`)
	if err != nil {
		return err
	}
	rawForms, err = pgx.CollectRows(rows, pgx.RowTo[string])
	return err
}

// noRaw fails where a value that is masked shows in what came back.
func noRaw(t testing.TB, what, text string) {
	t.Helper()
	text = strings.ToLower(text)
	for _, raw := range rawForms {
		if strings.Contains(text, raw) {
			t.Errorf("%s: the raw value %q came back in\n%s", what, raw, text)
			return
		}
	}
}

// admin runs SQL in the shop as the superuser, past the gateway.
func admin(t testing.TB, sql string, args ...any) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.AdminURL("shop"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// truth is one value as the database has it.
func truth[T any](t testing.TB, sql string, args ...any) T {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.AdminURL("shop"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var v T
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// table makes a table of the test's own, which the gateway's role may read and write.
func table(t testing.TB, columns string) string {
	t.Helper()
	name := "t_" + strings.ToLower(rand.Text()[:10])
	admin(t, fmt.Sprintf("CREATE TABLE public.%s (%s); GRANT SELECT, INSERT, UPDATE, DELETE ON public.%s TO %s", name, columns, name, shop.Role))
	return name
}
