package test

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"gatehouse/internal/grant"
)

const grantPolicies = `
@id("read") permit (principal, action == Action::"read", resource);
@id("repairs") permit (principal in Group::"temp-writers", action in Action::"write", resource in Connection::"shop");
@id("dba-grants") permit (principal in Group::"dba", action == Action::"grant", resource == Group::"temp-writers") when { resource in Connection::"shop" };
@id("dba-approves") permit (principal is User in Group::"dba", action in [Action::"approve", Action::"review"], resource);
`

// TestGrantedGroups: what is refused names the group that would permit it; asked for and granted it runs in the open session, for as
// long as it was granted, and not after it was revoked; everything of it is recorded and listed.
func TestGrantedGroups(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: grantPolicies})
	name := table(t, "id int PRIMARY KEY, n int")
	admin(t, "INSERT INTO "+name+" VALUES (1, 0)")
	update := "UPDATE " + name + " SET n = n + 1 WHERE id = 1"
	conn := g.asking().Conn
	var agent struct{ Principal struct{ ID string } }
	_, err := conn.Exec(within(t), update)
	refused(t, err, "policy_denied", "42501", "No policy permits", "ask for the group temp-writers: gatehouse access request --connection shop --group temp-writers --agent ")
	var sessions []struct{ Principal struct{ ID string } }
	if err := json.Unmarshal([]byte(g.ok("", nil, "sessions", "list", "-o", "json")), &sessions); err != nil || len(sessions) == 0 {
		t.Fatal(err)
	}
	agent.Principal.ID = sessions[0].Principal.ID

	ask := func(who string, args ...string) grant.Grant {
		t.Helper()
		var one grant.Grant
		out := g.ok(who, nil, append([]string{"access", "request", "--connection", "shop", "--group", "temp-writers", "--reason", "stuck orders", "-o", "json"}, args...)...)
		if err := json.Unmarshal([]byte(out), &one); err != nil {
			t.Fatal(err)
		}
		return one
	}
	one := ask("ada", "--agent", agent.Principal.ID, "--for", "1h")
	g.refuses("ada", []string{"Nobody grants what they asked for"}, "access", "grant", one.ID)
	g.refuses("ada", []string{"or has asked for it"}, "access", "request", "--connection", "shop", "--group", "temp-writers", "--reason", "again", "--agent", agent.Principal.ID)
	g.refuses("ada", []string{`No policy lets anybody grant the group "dba"`}, "access", "request", "--connection", "shop", "--group", "dba", "--reason", "x")
	g.ok("grace", []string{one.ID, "pending", "temp-writers", "stuck orders"}, "access", "list", "--state", "pending")
	g.ok("grace", []string{one.ID, "temp-writers for "}, "approvals", "list", "--state", "pending")
	_, err = conn.Exec(within(t), update)
	refused(t, err, "policy_denied", "42501")

	g.ok("grace", []string{one.ID + " is granted until "}, "access", "grant", one.ID, "--for", "10m", "--reason", "this once")
	exec1(t, conn, update) // the session that was open
	other := g.asking().Conn
	exec1(t, other, update)
	g.ok("ada", []string{"grant", one.ID, "asked", "by ada", "answered", "by grace", "this once", "last used"}, "access", "show", one.ID)
	// It outlives the gateway.
	g.stop(syscall.SIGKILL)
	g.restart()
	conn = g.asking().Conn
	exec1(t, conn, update)
	// A decision says which grant it was made with.
	list := g.ok("", nil, "sessions", "list", "-o", "json")
	if err := json.Unmarshal([]byte(list), &sessions); err != nil {
		t.Fatal(err)
	}
	var ids []struct{ ID string }
	if err := json.Unmarshal([]byte(list), &ids); err != nil {
		t.Fatal(err)
	}
	if replay := g.ok("", nil, "sessions", "replay", ids[0].ID, "-o", "json"); !strings.Contains(replay, `"grants":["`+one.ID+`"]`) {
		t.Errorf("the grant is not in\n%s", replay)
	}
	g.ok("ada", []string{one.ID + " is revoked"}, "access", "revoke", one.ID, "--reason", "done")
	_, err = conn.Exec(within(t), update)
	refused(t, err, "policy_denied", "42501")
	g.refuses("grace", []string{"it is not in force"}, "access", "revoke", one.ID)

	// One that runs out by itself, in the middle of a session.
	short := ask("grace", "--agent", agent.Principal.ID, "--for", "1m")
	g.refuses("grace", []string{"Nobody grants what they asked for"}, "access", "grant", short.ID)
	g.ok("ada", nil, "access", "deny", short.ID, "--reason", "not now")
	g.ok("grace", []string{"denied", "not now"}, "access", "show", short.ID)

	// What a grant permitted for a time is not suggested for good; what it was not needed for is.
	exec1(t, conn, "SELECT count(*) FROM "+name)
	if s := g.simulate("--policies", g.path("policies")); s.Changed != 0 || !strings.Contains(fmt.Sprint(s.Undecided), "granted for a time") {
		t.Errorf("decided again by the same policies: %+v", s)
	}
	if text := g.ok("", []string{"are left out: they were decided with a group that was granted for a time", `Action::"read"`}, "policy", "suggest", "--principal", agent.Principal.ID, "--offline"); strings.Contains(text, `Action::"update"`) {
		t.Errorf("a suggestion of what was granted for a time:\n%s", text)
	}

	// What people did is recorded as everything is.
	g.ok("", []string{"(gateway)"}, "sessions", "list", "--connection", "(gateway)")
	eventually(t, "the index has it", func() bool {
		return strings.Contains(g.ok("", nil, "sessions", "search", "temp-writers", "--connection", "(gateway)"), "revoke")
	})
	if truth[int](t, "SELECT n FROM "+name+" WHERE id = 1") != 3 {
		t.Error("it ran as often as it should not")
	}
}
