package test

import (
	"encoding/json"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"gatehouse/deploy"
	"gatehouse/internal/store"
	"gatehouse/internal/versions"
)

// fromStore makes the store the source of the policies.
func fromStore(config string) string {
	return strings.Replace(config, "policies: [policies/*.cedar]", "policies: {source: store, files: [policies/*.cedar]}", 1)
}

const owned = `
@id("dba-publishes") permit (principal in Group::"dba", action == Action::"administer", resource);
@id("dba-approves") permit (principal is User in Group::"dba", action in [Action::"approve", Action::"review"], resource);
@id("read") permit (principal, action == Action::"read", resource);
`

func (g *gateway) status() versions.Status {
	g.t.Helper()
	var s versions.Status
	if err := json.Unmarshal([]byte(g.ok("ada", nil, "policy", "versions", "-o", "json")), &s); err != nil {
		g.t.Fatal(err)
	}
	return s
}

// TestPolicyVersions: people publish policies, which count at once in open sessions and for what waits; a
// recorded decision names the version that made it; they are rolled back, exported, changed and imported.
func TestPolicyVersions(t *testing.T) {
	t.Parallel()
	const writes = "@id(\"writes\") @approval(\"dba\")\npermit (principal, action in Action::\"write\", resource);\n"
	g := start(t, options{policies: owned + writes, change: fromStore})
	conn := g.asking()
	exec1(t, conn.Conn, "SELECT id FROM customers WHERE id = 1")
	first := g.status()
	if first.Source != "store" || first.InForce.Number != 1 || first.InForce.Source != "files" || first.Drift != nil {
		t.Fatalf("%+v", first)
	}
	g.refuses("mallory", []string{"No policy permits you to see the policies"}, "policy", "versions")
	g.refuses("mallory", []string{"No policy permits you to publish"}, "policy", "publish", g.path("policies/test.cedar"), "--base", "1", "--reason", "mine")
	g.refuses(agentID, []string{"Only people act here"}, "policy", "versions")

	// The editor's round: export, change, import.
	g.ok("ada", []string{"version 1 is in"}, "policy", "export", g.path("work"))
	g.ok("ada", []string{"version 1 is in"}, "policy", "export", g.path("work")) // nothing was changed there
	g.write("work/test.cedar", owned)
	g.refuses("ada", []string{"was changed since version 1"}, "policy", "export", g.path("work"))
	h := conn.holdSQL("UPDATE orders SET status = status WHERE id = 1")
	g.ok("ada", []string{"-@id(\"writes\")", "nothing was published"}, "policy", "import", g.path("work"), "--reason", "no writes", "--dry-run")
	g.ok("ada", []string{"version 2 is in force"}, "policy", "import", g.path("work"), "--reason", "no writes")
	g.ok("ada", nil, "approvals", "approve", h.id)
	judgedRefusal(t, h.wait(), "approval_required", "42501", "policies changed")
	_, err := conn.Exec(within(t), "UPDATE orders SET status = status WHERE id = 1", pgx.QueryExecModeSimpleProtocol)
	judgedRefusal(t, err, "policy_denied", "42501", "No policy permits")
	exec1(t, conn.Conn, "SELECT id FROM customers WHERE id = 1")

	g.write("new.cedar", owned+"// grace\n")
	g.refuses("grace", []string{"stand on version 1", "version 2 by ada on", "(no writes)", "--base 2"}, "policy", "publish", g.path("new.cedar"), "--base", "1", "--reason", "late")
	g.write("bad.cedar", owned+"permit (principal, action == Action::\"raed\", resource);\n")
	g.refuses("grace", []string{"bad.cedar:5:30", "raed"}, "policy", "publish", g.path("bad.cedar"), "--base", "2", "--reason", "typo")
	g.write("locked.cedar", string(deploy.Starter))
	g.refuses("grace", []string{"Nobody could publish policies any more"}, "policy", "publish", g.path("locked.cedar"), "--base", "2", "--reason", "oops")

	g.ok("grace", []string{"version 3 is in force"}, "policy", "rollback", "1", "--reason", "writes are needed")
	h = conn.holdSQL("UPDATE orders SET status = status WHERE id = 1")
	g.ok("ada", nil, "approvals", "approve", h.id)
	if err := h.wait(); err != nil {
		t.Fatal(err)
	}
	g.ok("ada", []string{"version 3 is in force", "(version 1 again) writes are needed", "grace", "the files", "no writes"}, "policy", "versions")
	g.ok("ada", []string{`+@id("writes")`}, "policy", "diff")
	g.ok("ada", []string{`-@id("writes")`}, "policy", "diff", "2")
	g.ok("ada", []string{"no difference"}, "policy", "diff", "1", "head")
	g.ok("ada", []string{"+// grace"}, "policy", "diff", "2", "--files", g.path("new.cedar"))
	now := g.status()
	if now.Effective != first.Effective || now.InForce.Number != 3 {
		t.Errorf("%+v", now)
	}
	g.ok("ada", []string{"version 3, published", "by grace", "writes are needed", `@id("writes")`}, "policy", "show", first.Effective)

	// What is recorded names the policies that decided, and who published them.
	conn.Close(within(t))
	said := g.ok("", nil, "sessions", "list", "--connection", "(gateway)", "-o", "json")
	if strings.Count(said, `"id": "s-`) != 5 || strings.Count(said, "ada") < 2 || !strings.Contains(said, "mallory") || !strings.Contains(said, "grace") {
		t.Errorf("what people did to the gateway is recorded as\n%s", said)
	}

	// The files do not count any more, and that is shown; a restart keeps what was published.
	g.write("policies/test.cedar", owned+"// the files\n")
	g.cmd.Process.Signal(syscall.SIGHUP)
	g.logs("the policies drifted.*differ from version 3")
	g.ok("ada", []string{"DRIFT: The files differ from version 3", "not in force"}, "policy", "versions")
	if code := g.stop(syscall.SIGTERM); code != 0 {
		t.Fatal(code)
	}
	g.ok("", []string{"is valid", now.Effective}, "config", "validate")
	g.restart()
	if again := g.status(); again.InForce.Number != 3 || again.Effective != now.Effective || len(again.Versions) != 3 {
		t.Errorf("%+v", again)
	}

	// With the files as the source again, they count from the start on.
	g.stop(syscall.SIGTERM)
	config, err := os.ReadFile(g.path("gatehouse.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	g.write("gatehouse.yaml", strings.Replace(string(config), "source: store", "source: files", 1))
	g.restart()
	if files := g.status(); files.Source != "files" || files.InForce.Number != 4 || files.InForce.Source != "files" || files.Drift != nil {
		t.Errorf("%+v", files)
	}
	g.logs("what was published is not in force any more.*published=3")
	g.refuses("ada", []string{"come from files"}, "policy", "rollback", "1", "--reason", "x")
}

// TestPublishedTwiceAtOnce: of two who publish on one base, one is told who was first.
func TestPublishedTwiceAtOnce(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: owned, change: fromStore})
	g.profile("ada")
	g.profile("grace")
	done := make(chan result, 2)
	for _, who := range []string{"ada", "grace"} {
		g.write(who+".cedar", owned+"// "+who+"\n")
		go func() {
			done <- g.cli(who, "policy", "publish", g.path(who+".cedar"), "--base", "1", "--reason", "by "+who)
		}()
	}
	a, b := <-done, <-done
	if a.code+b.code != 1 {
		t.Fatalf("%+v\n%+v", a, b)
	}
	contains(t, a.err+b.err, "stand on version 1", "version 2 by")
	if s := g.status(); s.InForce.Number != 2 || len(s.Versions) != 2 {
		t.Errorf("%+v", s)
	}
}

// TestSecondPersonPublishes: the policies ask for a second person, whose answer puts a version in force; it
// waits over a kill of the gateway.
func TestSecondPersonPublishes(t *testing.T) {
	t.Parallel()
	two := strings.Replace(owned, `@id("dba-publishes")`, `@id("dba-publishes") @approval("dba")`, 1)
	g := start(t, options{policies: two, change: fromStore})
	g.write("new.cedar", two+"// new\n")
	said := g.ok("ada", []string{"it waits for approval ap-", "1 of dba (policy dba-publishes)"}, "policy", "publish", g.path("new.cedar"), "--base", "1", "--reason", "it is time")
	id := approvalID.FindString(said)
	g.stop(syscall.SIGKILL)
	g.restart()
	g.ok("grace", []string{id, "pending", "publish policies in place of version 1"}, "approvals", "list", "--state", "pending")
	g.ok("grace", []string{"+// new", "will be published:", "it is time", "administer gateway gatehouse"}, "approvals", "show", id)
	g.refuses("ada", []string{"Nobody answers a request of their own"}, "approvals", "approve", id)
	if s := g.status(); s.InForce.Number != 1 {
		t.Fatalf("%+v", s)
	}
	g.ok("grace", []string{id + " is done"}, "approvals", "approve", id, "--reason", "yes")
	if s := g.status(); s.InForce.Number != 2 || s.InForce.Author != "ada" || strings.Join(s.InForce.ApprovedBy, "") != "grace" {
		t.Fatalf("%+v", s)
	}
	if v, err := store.Head(t.Context(), "sqlite:"+g.path("gatehouse.db")); err != nil || v.Number != 2 || v.Approval != id {
		t.Errorf("%+v %v", v, err)
	}

	// Rolling back is publishing: it waits too. What was approved after another version came is withdrawn, and names that.
	back := approvalID.FindString(g.ok("ada", []string{"it waits for approval ap-"}, "policy", "rollback", "1", "--reason", "it was not"))
	g.write("other.cedar", two+"// other\n")
	first := approvalID.FindString(g.ok("grace", nil, "policy", "publish", g.path("other.cedar"), "--base", "2", "--reason", "mine first"))
	g.refuses("grace", []string{"Nobody answers a request of their own"}, "approvals", "approve", first)
	g.ok("ada", []string{first + " is done"}, "approvals", "approve", first)
	g.ok("grace", nil, "approvals", "approve", back)
	g.ok("grace", []string{"withdrawn", "another version was published in between"}, "approvals", "show", back)
	if s := g.status(); s.InForce.Number != 3 || s.InForce.Author != "grace" {
		t.Errorf("%+v", s)
	}
	// Nothing is put before a person that looks other than it is.
	g.write("turned.cedar", two+"// \u202e ;)ecruoser ,noitca ,lapicnirp( tibrof\n")
	g.refuses("ada", []string{"turned.cedar:5:4", "U+202E"}, "policy", "publish", g.path("turned.cedar"), "--base", "3", "--reason", "a comment")
}
