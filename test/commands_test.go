package test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestHelp: every command says what it does, and those with something to show have examples.
func TestHelp(t *testing.T) {
	t.Parallel()
	run := func(args ...string) (string, int) {
		cmd := exec.Command(gatehouse, args...)
		cmd.Env = append(os.Environ(), "GATEHOUSE_HOME="+t.TempDir())
		cmd.Dir = t.TempDir()
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	for _, command := range []string{
		"demo", "serve", "config validate", "connections", "connections list", "connections show", "connections check", "connections grants", "connections snapshot", "policy check", "policy test", "policy explain", "policy who-can", "policy what-can", "policy simulate", "policy suggest", "login", "logout", "token",
		"approvals", "approvals list", "approvals show", "approvals approve", "approvals deny",
		"sessions", "sessions list", "sessions show", "sessions replay", "sessions verify", "version",
		"", "config", "policy",
	} {
		examples := !slices.Contains([]string{"", "config", "policy"}, command)
		out, code := run(append(strings.Fields(command), "--help")...)
		if code != 0 || !strings.Contains(out, "Usage: gatehouse") || strings.Contains(out, "%!") {
			t.Errorf("gatehouse %s --help: exit %d\n%s", command, code, out)
		}
		if examples && !strings.Contains(out, "Examples") {
			t.Errorf("gatehouse %s --help has no examples\n%s", command, out)
		}
	}
	if out, code := run(); code != 0 || !strings.Contains(out, "gatehouse demo") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if out, code := run("version"); code != 0 || !strings.HasPrefix(out, "gatehouse ") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if out, code := run("--version"); code != 0 || !strings.HasPrefix(out, "gatehouse ") {
		t.Errorf("exit %d\n%s", code, out)
	}
	for args, want := range map[string]string{
		"serf":                                 `"serf" is not a command: did you mean "serve"?`,
		"serve extra":                          `"extra" is one word too many`,
		"serve --config":                       "--config needs a value after it",
		"approvals approve":                    "the id is missing\nRun `gatehouse approvals approve --help`",
		"approvals":                            `which one is missing: "list", "show"`,
		"sessions list --limit x":              `--limit should be a number, not "x"`,
		"sessions list -o xml":                 `--output cannot be "xml": it is one of "text", "json"`,
		"approvals list --state pnding":        `"pnding" is not a state: choose one of pending, approved`,
		"policy check /no/such.cedar":          "there is no file /no/such.cedar",
		"config":                               `a word is missing: "validate"`,
		"login --secret-env A --secret-file B": "can't be used together",
	} {
		out, code := run(strings.Fields(args)...)
		if code != 2 || !strings.Contains(out, want) || !strings.Contains(out, "--help`") || strings.Contains(out, "EOL") {
			t.Errorf("gatehouse %s: exit %d\n%s", args, code, out)
		}
	}
	for _, args := range [][]string{{"serf"}, {"serve", "--nope"}, {"approvals", "approve"}, {"sessions", "list", "--limit", "x"}, {"sessions", "list", "-o", "xml"}, {"serve", "--log-level", "loud"}} {
		if out, code := run(args...); code != 2 || !strings.Contains(out, "gatehouse: ") || strings.Contains(out, "goroutine") {
			t.Errorf("gatehouse %v: exit %d\n%s", args, code, out)
		}
	}
	for _, args := range [][]string{{"serve"}, {"config", "validate"}, {"sessions", "list"}, {"approvals", "list"}, {"token"}, {"login"}} {
		out, code := run(args...)
		if code != 1 || !strings.HasPrefix(out, "gatehouse: ") || strings.Contains(out, "goroutine") || !strings.Contains(out, "`gatehouse ") {
			t.Errorf("gatehouse %v: exit %d, without a word on what to do\n%s", args, code, out)
		}
	}
}

var userCode = regexp.MustCompile(`enter the code (\S+)`)

// TestLogin signs a person in with a code and an agent with its secret, and uses both.
func TestLogin(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	env := func(profile string) []string {
		return append(os.Environ(), "GATEHOUSE_HOME="+g.path("home"), "GATEHOUSE_PROFILE="+profile)
	}
	out := newOutput()
	cmd := exec.Command(gatehouse, "login", "--issuer", g.issuer.URL(), "--client-id", cliClient, "--scope", audience+"/access", "--api", "https://"+g.https, "--ca", g.path("tls.crt"))
	cmd.Env, cmd.Stdout, cmd.Stderr = env("person"), out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	text := out.wait(t, userCode.MatchString, exited, "no code was shown")
	if err := g.issuer.Confirm(userCode.FindStringSubmatch(text)[1], "ada"); err != nil {
		t.Fatal(err)
	}
	contains(t, out.wait(t, func(s string) bool { return strings.Contains(s, "Signed in") }, exited, "the sign-in did not end"), "profile person")
	<-exited
	g.ok("person", []string{"No held requests."}, "approvals", "list")
	fmt.Fprint(g.said, out.String())

	g.write("home/agent.secret", g.issuer.Secret(agentID)+"\n")
	r := g.command(context.Background(), env("bot"), "", gatehouse, "login", "--issuer", g.issuer.URL(), "--client-id", agentID, "--scope", audience+"/.default", "--secret-file", g.path("home/agent.secret"))
	if r.code != 0 || r.out != "" {
		t.Fatalf("%+v", r)
	}
	r = g.command(context.Background(), env("bot"), "", gatehouse, "token")
	if r.code != 0 || strings.Count(r.out, ".") != 2 || strings.Count(r.out, "\n") != 1 || r.err != "" {
		t.Fatalf("exit %d, %d bytes: %s", r.code, len(r.out), r.err)
	}
	if err := g.signIn(strings.TrimSpace(r.out)); err != nil {
		t.Error(err)
	}
	files, err := filepath.Glob(g.path("home/*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s can be read by others: %v %v", f, info.Mode(), err)
		}
	}
	g.write("home/agent.secret", "wrong\n")
	r = g.command(context.Background(), env("bot"), "", gatehouse, "login")
	if r.code != 1 || !strings.Contains(r.err, "the issuer refused the sign-in") {
		t.Errorf("%+v", r)
	}
	if err := os.Chmod(g.path("home/person.token.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	r = g.cli("person", "approvals", "list")
	if r.code != 1 || !strings.Contains(r.err, "can be read by others: run `chmod 600") {
		t.Errorf("%+v", r)
	}
	for _, want := range []string{"Signed out of profile person.", "Profile person was not signed in."} {
		r = g.command(context.Background(), env("person"), "", gatehouse, "logout")
		if r.code != 0 || !strings.Contains(r.err, want) {
			t.Errorf("%+v", r)
		}
	}
	if _, err := os.Stat(g.path("home/person.token.json")); !os.IsNotExist(err) {
		t.Errorf("the token is still there: %v", err)
	}
	r = g.command(context.Background(), env("person"), "", gatehouse, "token")
	if r.code != 1 || !strings.Contains(r.err, "you are not signed in: run `gatehouse login --profile person`") {
		t.Errorf("%+v", r)
	}
	r = g.command(context.Background(), env("nobody"), "", gatehouse, "token")
	if r.code != 1 || !strings.Contains(r.err, "--scope SCOPE") {
		t.Errorf("%+v", r)
	}
}

// TestFrontPage: the https address itself says what it is, and nothing else of the gateway.
func TestFrontPage(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	status, header, body := g.fetch("GET", "/", "", "")
	contains(t, body, "<h1>Gatehouse</h1>", "gatehouse login", `href="openapi.json"`)
	if status != 200 || !strings.Contains(header.Get("Content-Type"), "text/html") || strings.Contains(body, "shop") {
		t.Errorf("%d %v\n%s", status, header, body)
	}
	if status, _, _ := g.fetch("GET", "/openapi.json", "", ""); status != 200 {
		t.Errorf("what the page links to: %d", status)
	}
}

// TestDemo walks the tour, and nothing stays behind.
func TestDemo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	renamed := filepath.Join(dir, "gh-1.0") // the tour calls it gatehouse all the same
	if err := os.Symlink(gatehouse, renamed); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(within(t), renamed, "demo", "--tour", "--data", dir+"/demo")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	out, err := cmd.CombinedOutput()
	text := string(out)
	if err != nil {
		t.Errorf("%v\n%s", err, text)
	}
	contains(t, text, "verified:", "UPDATE 1", "refunded")
	steps := regexp.MustCompile(`(?m)^(\d+)/(\d+)  `).FindAllStringSubmatch(text, -1)
	if n := len(steps); n == 0 || steps[n-1][1] != steps[n-1][2] || fmt.Sprint(n) != steps[n-1][2] {
		t.Errorf("the tour did not go to its end: %q", steps)
	}
	if strings.Contains(text, "!!") || strings.Contains(text, tokenStart) {
		t.Error(text)
	}
	noRaw(t, "the tour", text)
	for _, f := range []string{"gatehouse.yaml", "policies/starter.cedar", "gatehouse.log", "env.sh"} {
		if _, err := os.Stat(filepath.Join(dir, "demo", f)); err != nil {
			t.Error(err)
		}
	}
	// Whoever has the folder in its command line or as its own is a process that was left.
	left, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range left {
		b, _ := os.ReadFile(p)
		cwd, _ := os.Readlink(filepath.Dir(p) + "/cwd")
		if strings.Contains(string(b), dir) || strings.HasPrefix(cwd, dir) {
			t.Errorf("%s is left: %q in %s", filepath.Dir(p), b, cwd)
		}
	}
	r, err := exec.Command(gatehouse, "demo", "--tour", "--data", "/proc/self").CombinedOutput()
	if err == nil || !strings.Contains(string(r), "not an earlier demo's") {
		t.Errorf("a folder that is no demo's: %v %s", err, r)
	}
}
