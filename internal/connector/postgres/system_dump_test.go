package postgres

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// dumped is what pg_dump prints, without what differs between two runs.
func dumped(t *testing.T, url string, arguments ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "pg_dump", append([]string{"--schema-only", "--enable-row-security", "-d", url}, arguments...)...)
	cmd.Env = os.Environ()
	out, err := cmd.CombinedOutput()
	return regexp.MustCompile(`(?m)^\\(un)?restrict .*$`).ReplaceAllString(string(out), ""), err
}

// TestDump: pg_dump prints to a principal that sees everything the schema that it prints to the role itself, and to
// one that sees part what it sees.
func TestDump(t *testing.T) {
	name := systemDatabase(t)
	want, err := dumped(t, testServer.URL("gw", "p", name))
	if err != nil {
		t.Fatalf("%v\n%s", err, want)
	}
	got, err := dumped(t, serveSystem(t, name, everythingPolicy))
	if err != nil {
		t.Fatalf("%v\n%s", err, got)
	}
	if d := lineDiff(want, got); d != "" {
		t.Errorf("the dump differs:\n%.4000s", d)
	}
	// What a view is made of is not shown where it reads what is hidden, and pg_dump stops there.
	part, err := dumped(t, serveSystem(t, name, partly()), "-T", "ids_of_vault")
	if err != nil || strings.Contains(part, "hidden") || !strings.Contains(part, "CREATE TABLE public.customers") {
		t.Errorf("%v\n%.1500s", err, part)
	}
}
