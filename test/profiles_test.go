package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestExamples decides the cases of docs/examples.md by the policies beside them.
func TestExamples(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/examples.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(section, language string) string {
		_, rest, _ := strings.Cut(section, "\n```"+language+"\n")
		body, _, ok := strings.Cut(rest, "\n```\n")
		if !ok {
			t.Errorf("no %s in %.60q", language, section)
		}
		return body + "\n"
	}
	sections := strings.Split(string(text), "\n## ")
	if len(sections) != 14 {
		t.Fatalf("%d examples", len(sections)-1)
	}
	head := block(sections[0], "yaml")
	for _, s := range sections[1:] {
		name, _, _ := strings.Cut(s, "\n")
		t.Run(name, func(t *testing.T) {
			cases := block(s, "yaml")
			if !strings.HasPrefix(cases, "catalogs:") { // it brings its own beginning
				cases = head + cases
			}
			dir := folder(t, map[string]string{"p.cedar": block(s, "cedar"), "x_test.yaml": cases})
			if r := offline(t, dir, "policy", "test"); r.code != 0 || !strings.HasPrefix(r.out, "ok ") {
				t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
			}
			if r := offline(t, dir, "policy", "check", "p.cedar"); r.code != 0 {
				t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
			}
		})
	}
}

// filled writes a profile, with the parameters that it needs, and gives its text.
func filled(t *testing.T, name, group string, more ...string) string {
	t.Helper()
	args := append([]string{"policy", "profile", name, "--connection", "shop", "--group", group}, more...)
	if name == "support-lookup" {
		args = append(args, "--table", "customers")
	}
	r := offline(t, t.TempDir(), args...)
	if r.code != 0 || r.err != "" {
		t.Fatalf("exit %d\n%s", r.code, r.err)
	}
	return r.out
}

// TestProfiles: each profile is valid, says what it does in cases that pass, and has no parameter left in it.
func TestProfiles(t *testing.T) {
	t.Parallel()
	list := offline(t, t.TempDir(), "policy", "profile").out
	files, err := filepath.Glob("../deploy/profiles/*.cedar")
	if err != nil || len(files) != 5 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".cedar")
		if !strings.Contains(list, "\n"+name+"\n") && !strings.HasPrefix(list, name+"\n") {
			t.Errorf("%s is not in\n%s", name, list)
		}
		text := filled(t, name, "them")
		if left := regexp.MustCompile(`\b[A-Z]{5,}\b`).FindString(text); left != "" {
			t.Errorf("%s: %s is left in\n%s", name, left, text)
		}
		cases, err := os.ReadFile(strings.TrimSuffix(file, ".cedar") + "_test.yaml")
		if err != nil {
			t.Fatal(err)
		}
		dir := folder(t, map[string]string{name + ".cedar": text, "x_test.yaml": string(cases)})
		if r := offline(t, dir, "policy", "test"); r.code != 0 || !strings.HasPrefix(r.out, "ok ") {
			t.Errorf("%s: exit %d\n%s%s", name, r.code, r.out, r.err)
		}
	}
	for _, one := range []struct{ args, want string }{
		{"analyst", `there is no profile "analyst": there is ci-schema-check`},
		{"support-lookup --connection shop --group a", "needs --table (the table that they look into)"},
		{"read-only-analyst", "needs --connection (the connection's name), --group"},
		{"read-only-analyst --connection shop --group a --table x", "has no parameter --table"},
		{`read-only-analyst --connection shop --group a"};`, `--group has '"' in it`},
		{"read-only-analyst --connection shop --group a --limit many", "does not fit these parameters"},
		{"migration-runner --connection shop --group a --approvers dba,0", "does not fit these parameters"},
		{"read-only-analyst --connection a/b --group a", `--connection has '/' in it`},
	} {
		if r := offline(t, t.TempDir(), append([]string{"policy", "profile"}, strings.Fields(one.args)...)...); r.code != 1 || !strings.Contains(r.err, one.want) || r.out != "" {
			t.Errorf("%s: exit %d\n%s%s", one.args, r.code, r.out, r.err)
		}
	}
}

// TestProfilesWithPsql: under two profiles a real psql may do what they say, and nothing else.
func TestProfilesWithPsql(t *testing.T) {
	t.Parallel()
	email := truth[string](t, "SELECT email FROM customers WHERE id = 17")
	for name, one := range map[string]struct {
		rows    map[string]string // by statement, the last line that psql prints
		refused []string
	}{
		"read-only-analyst": {
			map[string]string{
				"SELECT count(*) = 10000 AND count(DISTINCT email) = count(*) FROM customers": "t",
				"SELECT bool_and(email LIKE 'tok_%') FROM customers":                          "t",
				"SELECT count(*) FROM customers WHERE email = '" + email + "'":                "0",
				"SELECT status IS NOT NULL FROM orders WHERE id = 17":                         "t",
			},
			[]string{"UPDATE orders SET status = status WHERE id = 1", "DROP TABLE orders"},
		},
		"support-lookup": {
			map[string]string{
				"SELECT id, email FROM customers WHERE email = '" + email + "'": "17|" + email,
				"SELECT name IS NOT NULL FROM customers WHERE id = 17":          "t",
			},
			[]string{"SELECT total FROM orders LIMIT 1", "SELECT national_id FROM customers WHERE id = 17", "SELECT birth_date FROM customers WHERE id = 17", "UPDATE customers SET tier = 'gold' WHERE id = 17"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, options{policies: filled(t, name, "ai-agents")})
			for sql, want := range one.rows {
				if r := g.psql("\\pset format unaligned\n\\pset tuples_only on\n" + sql + ";\n"); r.err != "" || lastLine(r.out) != want {
					t.Errorf("%s: got %q, want %q\n%s", sql, lastLine(r.out), want, r.err)
				}
			}
			for _, sql := range one.refused {
				if r := g.psql(sql + ";\n"); !strings.Contains(r.err, "ERROR:  42") {
					t.Errorf("%s: %s%s", sql, r.out, r.err)
				}
			}
		})
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// TestMomentOfExplanations: what reads the time or the address is explained as of then, or as of the moment that is named.
func TestMomentOfExplanations(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: `@id("mine") permit (principal, action in [Action::"readonly", Action::"connect"], resource) when { context.source.isLoopback() && context.time >= datetime("2026-01-01") };`})
	g.psql("SELECT status FROM orders WHERE id = 1;\n")
	id := sessionID.FindString(g.ok("", nil, "sessions", "list")) + ".1"
	g.ok("", []string{"permit", "mine"}, "policy", "explain", id)
	g.ok("", []string{"its condition is not so"}, "policy", "explain", id, "--from", "10.0.0.1")
	g.ok("", []string{"its condition is not so"}, "policy", "explain", id, "--at", "2025-01-01T00:00:00Z")
	g.refuses("", []string{`--from "here" is not an address`}, "policy", "explain", id, "--from", "here")
	for from, can := range map[string]string{"127.0.0.1": "yes", "10.0.0.1": "no"} {
		if out := g.ok("", nil, "policy", "what-can", agentID, "--from", from); !regexp.MustCompile(`public\.orders +` + can).MatchString(out) {
			t.Errorf("from %s: not %s in\n%s", from, can, out)
		}
	}
}
