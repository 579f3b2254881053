package test

import (
	"os"
	"strings"
	"testing"
)

// TestCapture: of a bounded connection the first rows are recorded and the rest is counted; what looks like a secret is not
// recorded, and comes to the client all the same.
func TestCapture(t *testing.T) {
	t.Parallel()
	g := start(t, options{change: func(config string) string {
		return strings.Replace(config, "    groups: [ai-agents, dba]\n", "    groups: [ai-agents, dba]\n    recording: {results: rows=3, mask_detected: true}\n", 1)
	}})
	out := g.psql("SELECT id AS the_id, 'made-up@example.com' AS mail FROM customers ORDER BY id LIMIT 20;\nSELECT '4111' || '111111111111' AS card;\n")
	if strings.Count(out.out, "made-up@example.com") != 20 || !strings.Contains(out.out, "4111111111111111") {
		t.Fatalf("the client got\n%s%s", out.out, out.err)
	}
	eventually(t, "the session is closed", func() bool { return strings.Contains(g.ok("", nil, "sessions", "list"), "closed") })
	id := sessionID.FindString(g.ok("", nil, "sessions", "list"))
	got := g.ok("", []string{"17 of 20 rows", "sha256 of the whole result", "the_id | mail"}, "sessions", "replay", id, "--rows", "0")
	if strings.Count(got, "| *******************\n") != 3 || strings.Contains(got, "made-up@example.com") || strings.Contains(got, "4111111111111111") {
		t.Errorf("the recording has\n%s", got)
	}
	g.refuses("", []string{"should be all, none, or rows=N"}, "config", "validate", "--config", g.with("rows=3", "some"))
}

// with writes a configuration in which a text is another.
func (g *gateway) with(from, to string) string {
	g.t.Helper()
	b, err := os.ReadFile(g.path("gatehouse.yaml"))
	if err != nil {
		g.t.Fatal(err)
	}
	g.write("other.yaml", strings.Replace(string(b), from, to, 1))
	return g.path("other.yaml")
}
