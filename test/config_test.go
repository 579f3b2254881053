package test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// mustNotStart runs a gateway that cannot start, and gives what it says.
func mustNotStart(t testing.TB, o options, want ...string) {
	t.Helper()
	o.fails = true
	g := start(t, o)
	g.endsWith(1, want...)
}

// endsWith waits until the process has ended by itself.
func (g *gateway) endsWith(code int, want ...string) {
	g.t.Helper()
	g.log.wait(g.t, func(string) bool { return !g.running() }, g.exited, "")
	<-g.exited
	if got := g.cmd.ProcessState.ExitCode(); got != code {
		g.t.Errorf("exit %d, want %d", got, code)
	}
	contains(g.t, g.log.String()[g.log.mark:], want...)
}

func replacing(old, by string) func(string) string {
	return func(s string) string {
		if !strings.Contains(s, old) {
			panic(old)
		}
		return strings.Replace(s, old, by, 1)
	}
}

// TestBadConfiguration: nothing is served, and the error names the file, the place and what is wrong.
func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	for what, one := range map[string]struct {
		change func(string) string
		want   []string
	}{
		"an unknown key":                  {replacing("url: https", "urll: https"), []string{"gatehouse.yaml: ", "line 2", "urll"}},
		"a planned key":                   {func(s string) string { return s + "replica: {lease: 5s}\n" }, []string{"gatehouse.yaml: ", "replica", "not built yet"}},
		"an unknown option":               {replacing("    tags:", "    passwort: x\n    tags:"), []string{"gatehouse.yaml: ", "passwort"}},
		"a planned option":                {replacing("    tags:", "    durability: always\n    tags:"), []string{"gatehouse.yaml: ", "durability", "not built yet"}},
		"a password in a URL":             {replacing("postgres://gatehouse@", "postgres://gatehouse:hunter2@"), []string{"gatehouse.yaml: ", "the password is not written in url"}},
		"no encryption word":              {replacing("sslmode=verify-full", "sslmode=prefer"), []string{"sslmode=prefer"}},
		"another listener":                {replacing("listen: {", "listen: {mysql: '127.0.0.1:1', "), []string{"listen.mysql is not built yet"}},
		"no issuer":                       {func(s string) string { return s[:strings.Index(s, "issuers:")] + s[strings.Index(s, "people:"):] }, []string{"issuers is missing"}},
		"http elsewhere":                  {replacing("issuer: http://127.0.0.1", "issuer: http://issuer.example"), []string{"plain http is accepted on loopback only"}},
		"s3":                              {replacing("recordings: file:recordings", "recordings: s3://bucket"), []string{"recordings are kept in a folder and shipped to a bucket"}},
		"no such policy":                  {replacing("policies/*.cedar", "nowhere/*.cedar"), []string{"no file matches", "nowhere"}},
		"not YAML":                        {func(string) string { return "listen: {\n" }, []string{"gatehouse.yaml: ", "line"}},
		"empty":                           {func(string) string { return "" }, []string{"the file is empty"}},
		"a store elsewhere":               {replacing("store: sqlite:gatehouse.db", "store: postgres://x"), []string{"not built yet: use sqlite:PATH"}},
		"a certificate that is not there": {replacing("tls: {self_signed: true}", "tls: {cert: a.crt, key: a.key}"), []string{"tls: open"}},
	} {
		t.Run(what, func(t *testing.T) { mustNotStart(t, options{change: one.change}, one.want...) })
	}
}

// TestBadPolicies: the same for the policies, with line and column, by every command that reads them.
func TestBadPolicies(t *testing.T) {
	t.Parallel()
	for what, one := range map[string]struct {
		text string
		want string
	}{
		"syntax":     {"permit (principal,\n  action resource);\n", "test.cedar:2:"},
		"attribute":  {"@id(\"x\")\npermit (principal, action == Action::\"read\", resource) when { resource.colour == 1 };", "test.cedar:2:72: attribute"},
		"action":     {"\npermit (principal, action == Action::\"reed\", resource);", "test.cedar:2:"},
		"quorum":     {"@approval(\"dba:2\") permit (principal, action == Action::\"update\", resource);", `test.cedar:1:1: @approval("dba:2") names a group that nobody can be in: for 2 persons of the group dba write @approval("dba,2")`},
		"no group":   {"@approval(\"dba:two\") permit (principal, action == Action::\"update\", resource);", "a group is a word of groups.names"},
		"one line":   {"permit (principal, action == Action::\"read\", resource); permit (principal, action == Action::\"update\", resource);", "give each an @id"},
		"annotation": {"@aproval(\"dba\") permit (principal, action == Action::\"read\", resource);", "did you mean @approval?"},
	} {
		t.Run(what, func(t *testing.T) {
			g := start(t, options{policies: one.text, fails: true})
			g.endsWith(1, "the policies are not valid", one.want)
			g.refuses("", []string{"the policies are not valid", one.want}, "config", "validate")
			g.refuses("", []string{"the policies are not valid", one.want}, "policy", "check", g.path("policies/test.cedar"))
		})
	}
	g := start(t, options{})
	g.ok("", []string{"is valid: 1 connection, policies "}, "config", "validate")
	g.ok("", []string{"valid: policies "}, "policy", "check", g.path("policies/test.cedar"))
	g.write("policies/more.cedar", "@id(\"typo\") @approval(\"dbas\") permit (principal, action == Action::\"delete\", resource);\n@id(\"fine\") @approval(\"test:group:x\") permit (principal, action == Action::\"delete\", resource);\n")
	r := g.cli("", "config", "validate")
	if contains(t, r.err, `more.cedar:1:13: no issuer gives anyone the group "dbas"`); r.code != 0 || strings.Contains(r.err, "test:group:x") {
		t.Errorf("exit %d\n%s", r.code, r.err)
	}
	os.Remove(g.path("policies/more.cedar"))
	g.write("policies/folder.cedar/x", "")
	g.refuses("", []string{"folder.cedar is a folder", "name the files in it"}, "config", "validate")
	os.RemoveAll(g.path("policies/folder.cedar"))
}

// TestTakenResources: what another process has is named, with what to do.
func TestTakenResources(t *testing.T) {
	t.Parallel()
	first := start(t, options{})
	mustNotStart(t, options{change: func(s string) string {
		_, port, _ := net.SplitHostPort(first.pg)
		at := strings.Index(s, `postgres: "`) + len(`postgres: "`)
		return s[:at] + "127.0.0.1:" + port + s[at+strings.Index(s[at:], `"`):]
	}}, "listen.postgres", "address already in use", "stop what uses that address")
	mustNotStart(t, options{change: replacing("file:recordings", "file:"+first.recordings())}, "is used by another gateway: give each its own")
	mustNotStart(t, options{change: replacing("sqlite:gatehouse.db", "sqlite:"+first.path("gatehouse.db"))}, "is used by another process")
	exec1(t, first.dial(nil), "SELECT 1")
}

// TestUnusableFolder: without a place for recordings nothing starts.
func TestUnusableFolder(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, file + "/below", "/proc/nowhere"} {
		mustNotStart(t, options{change: replacing("file:recordings", "file:"+dir)}, "the recordings folder "+dir+" cannot be used", "nothing is forwarded")
	}
}

// TestUpstreamRole: a database that does not let the gateway in, and one that lets it in too far.
func TestUpstreamRole(t *testing.T) {
	t.Parallel()
	wrong := start(t, options{password: "wrong-password-of-the-role"})
	e := refused(t, wrong.signIn(wrong.token()), "unavailable", "08006", "The database behind connection shop cannot be reached", "its log names the cause")
	if strings.Contains(fmt.Sprint(e), "wrong-password") {
		t.Error("the refusal shows the password")
	}
	contains(t, wrong.logs("password authentication failed"), "password")
	if strings.Contains(wrong.log.String(), "wrong-password") {
		t.Error("the log shows the password")
	}
	strong := start(t, options{password: server.Password, upstream: server.URL("postgres", "", "shop")})
	refused(t, strong.signIn(strong.token()), "unavailable", "58000", "too powerful", "a superuser", "allow_privileged_role")
	allowed := start(t, options{password: server.Password, upstream: server.URL("postgres", "", "shop"), change: func(s string) string { return s + "    allow_privileged_role: true\n" }})
	exec1(t, allowed.dial(nil), "SELECT 1")
	for name, grant := range map[string]string{"reads_files": "GRANT pg_read_server_files TO %s", "past_rls": "ALTER ROLE %s BYPASSRLS", "replicates": "ALTER ROLE %s REPLICATION"} {
		admin(t, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD 'made_up_secret_x'; "+grant, name, name))
		g := start(t, options{password: "made_up_secret_x", upstream: server.URL(name, "", "shop")})
		refused(t, g.signIn(g.token()), "unavailable", "58000", "too powerful")
	}
	nobody := start(t, options{upstream: "postgres://gatehouse@" + address(t) + "/shop?sslmode=disable"})
	refused(t, nobody.signIn(nobody.token()), "unavailable", "08006", "cannot be reached")
	plain := start(t, options{upstream: strings.Split(server.URL("gatehouse", "", "shop"), "?")[0] + "?sslmode=verify-full"})
	refused(t, plain.signIn(plain.token(), func(c *pgx.ConnConfig) {}), "unavailable", "08006")
	plain.logs("certificate")
	if code := plain.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d", code)
	}
}
