package tools

import (
	"os/exec"
	"strings"
	"testing"
)

// TestPsql: a script of psql prints through the gateway what it prints without: several statements, errors,
// savepoints of its own, cursors, variables, \copy, \gexec.
func TestPsql(t *testing.T) {
	psql, err := exec.LookPath("psql")
	if err != nil {
		t.Fatal("psql is missing: install the package postgresql-client")
	}
	b := bedOf(t, "")
	roads := b.roads(t, "shop")
	for name, args := range map[string][]string{
		"script":             {"-f", "testdata/psql.sql"},
		"several statements": {"-c", "SELECT 1 AS a; SELECT 2 AS b", "-c", "SELECT 3 AS c", "-A"},
		"one transaction":    {"-1", "-c", "SELECT 1", "-c", "SELECT count(*) FROM orders"},
		"unaligned":          {"-At", "-F,", "-c", "SELECT * FROM products WHERE id < 4 ORDER BY id"},
		"csv":                {"--csv", "-c", "SELECT id, t, a4 FROM everything ORDER BY id"},
		"html":               {"-H", "-c", "TABLE staff.people"},
	} {
		t.Run(name, func(t *testing.T) {
			var want string
			for _, r := range roads {
				cmd := exec.Command(psql, append([]string{"-X"}, args...)...)
				cmd.Env = r.env()
				out, _ := cmd.CombinedOutput()
				if r.name == "direct" {
					want = string(out)
					if name == "script" && !strings.Contains(want, "still here") {
						t.Fatalf("the script did not run:\n%s", want)
					}
					continue
				}
				if w, g := errorTexts(want), errorTexts(string(out)); w != g {
					t.Errorf("%s:\n%s\nwithout the gateway:\n%s", r.name, g, w)
				}
			}
		})
	}
	b.healthy(t)
}

// errorTexts leaves out what the gateway words itself: the texts of errors, where they stood, what to do.
func errorTexts(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		at := strings.Index(line, "ERROR:")
		switch {
		case at >= 0:
			out = append(out, line[:at]+"ERROR\n")
		case strings.HasPrefix(line, "LINE "), strings.HasPrefix(line, "DETAIL:"), strings.HasPrefix(line, "HINT:"), strings.HasPrefix(line, "LOCATION:"), strings.TrimSpace(line) == "^":
		default:
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}
