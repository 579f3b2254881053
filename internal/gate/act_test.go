package gate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
)

// TestPoliciesThatCameSince: a session that the policies of now would not let connect does nothing more than end
// its transaction; when they do again, it goes on.
func TestPoliciesThatCameSince(t *testing.T) {
	w := newWorld(t)
	s := w.open()
	read := func() error {
		_, err := w.admit(s, &ask{action: "read"})
		return err
	}
	if err := read(); err != nil {
		t.Fatal(err)
	}
	w.policies(strings.ReplaceAll(policies, `Action::"connect"`, `Action::"approve"`))
	wantRefusal(t, read(), gate.PolicyDenied, "connect connection orders")
	if _, err := w.admit(s, &ask{action: "read", concludes: true}); err != nil {
		t.Errorf("it cannot end its transaction: %v", err)
	}
	w.policies(policies)
	if err := read(); err != nil {
		t.Error(err)
	}
	w.book.during = func() { w.policies(strings.ReplaceAll(policies, `Action::"connect"`, `Action::"approve"`)) }
	_, err := w.admit(s, &ask{action: "update"})
	wantRefusal(t, err, gate.PolicyDenied, "connect connection orders")
	if w.book.started != 0 {
		t.Error("it ran")
	}
}

// TestAct: what people do to the gateway is decided, and recorded before it is done.
func TestAct(t *testing.T) {
	w := newWorld(t)
	w.policies(`@id("own") permit (principal in Group::"owners", action == Action::"administer", resource);
		@id("two") @approval("second") permit (principal in Group::"held", action == Action::"administer", resource);`)
	act := func(do func(context.Context, policy.Decision) (string, error), groups ...string) error {
		who := identity.Identity{Principal: policy.Principal{Kind: policy.User, ID: "test:ada", Groups: groups}, Expires: w.now.Add(time.Hour)}
		return w.gate.Act(t.Context(), gate.Act{Who: who, Intent: gate.Intent{Text: "publish"}, Touches: policy.Administer()}, do)
	}
	never := func(context.Context, policy.Decision) (string, error) {
		t.Error("it was done")
		return "", nil
	}
	wantRefusal(t, act(never), gate.PolicyDenied, "administer gateway gatehouse")
	wantRefusal(t, act(never, "others"), gate.PolicyDenied, "No policy permits")
	var got policy.Decision
	before := ""
	do := func(_ context.Context, d policy.Decision) (string, error) {
		got, before = d, w.recorder.log()
		return "done", nil
	}
	w.recorder.events = nil
	if err := act(do, "owners"); err != nil || got.Effect != policy.Permit {
		t.Fatal(got, err)
	}
	if want := "0 session.open\n1 request durable\n1 decision permit durable"; before != want {
		t.Errorf("it was done after\n%s\nwant\n%s", before, want)
	}
	if log := w.recorder.log(); log != before+"\n1 response ok durable\n0 session.close" {
		t.Error(log)
	}
	if err := act(do, "held"); err != nil || got.Effect != policy.Hold || got.Approvals[0].Group != "second" {
		t.Fatal(got, err)
	}
	broken := errors.New("broken")
	if err := act(func(context.Context, policy.Decision) (string, error) { return "", broken }, "owners"); !errors.Is(err, broken) || !strings.Contains(w.recorder.log(), "1 response error") {
		t.Error(err, w.recorder.log())
	}
	for fail := range 2 {
		w.recorder.calls, w.recorder.fail = 0, fail+1
		wantRefusal(t, act(never, "owners"), gate.Unavailable, "cannot be written")
	}
}
