package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/api"
	"gatehouse/internal/api/client"
	"gatehouse/internal/approval"
	"gatehouse/internal/breakglass"
	"gatehouse/internal/gate"
	"gatehouse/internal/grant"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
	"gatehouse/internal/record"
	"gatehouse/internal/store"
	"gatehouse/internal/versions"
)

// control is a control API over a real store and real recordings.
type control struct {
	t        *testing.T
	dir      string
	server   *httptest.Server
	store    *store.Store
	book     *approval.Book
	gate     *gate.Gate
	versions *versions.History
	glass    *breakglass.Book
	grants   *grant.Book
	set      atomic.Pointer[policy.Set]
	now      atomic.Int64
	files    map[string]string // of the configuration
}

func user(id string, groups ...string) identity.Identity {
	return identity.Identity{Principal: policy.Principal{Kind: policy.User, ID: id, Name: id, Groups: groups}, Expires: time.Now().Add(time.Hour)}
}

var known = people{
	"ada": user("ada", "owners"), "bob": user("bob", "owners", "second"), "cyd": user("cyd", "second"), "rita": user("rita", "auditors"), "x": user("x"),
}

func newControl(t *testing.T, published bool, files map[string]string) *control {
	t.Helper()
	c := &control{t: t, dir: t.TempDir(), files: files}
	c.now.Store(time.Now().UnixMicro())
	log := slog.New(slog.DiscardHandler)
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	journal, err := record.Open(record.Options{Dir: c.dir + "/recordings"})
	fail(err)
	t.Cleanup(func() { journal.Close() })
	c.store, err = store.Open(t.Context(), "sqlite:"+c.dir+"/s.db")
	fail(err)
	t.Cleanup(func() { c.store.Close() })
	c.book, err = approval.New(approval.Options{Store: c.store, Policies: c.set.Load, Connections: []gate.Connection{{Name: "orders"}}, Log: log, Now: c.clock,
		Approved: func(ctx context.Context, v approval.View, hash string) error {
			return c.versions.Approved(ctx, v, hash)
		}})
	fail(err)
	c.glass, err = breakglass.New(t.Context(), breakglass.Options{Store: c.store, Policies: c.set.Load, Connections: []gate.Connection{{Name: "orders"}}, Log: log, Now: c.clock})
	fail(err)
	c.grants, err = grant.New(t.Context(), grant.Options{Store: c.store, Policies: c.set.Load, Connections: []gate.Connection{{Name: "orders"}}, Log: log, Now: c.clock})
	fail(err)
	c.gate, err = gate.New(gate.Config{Policies: c.set.Load, Recorder: journal, Approvals: c.book, BreakGlass: c.glass, Grants: c.grants, Log: log, Now: c.clock})
	fail(err)
	c.book.Attach(c.gate)
	c.glass.Attach(c.gate)
	c.grants.Attach(c.gate)
	c.versions, err = versions.New(versions.Options{
		Store: c.store, Gate: c.gate, Approvals: c.book, Published: published,
		Files: c.texts, Force: c.set.Store, InForce: c.set.Load, Log: log, Now: c.clock,
		Compile: func(texts []policy.Source) (*policy.Set, error) { return policy.Compile(policy.Input{Policies: texts}) },
		Groups:  func(g string) bool { return g == "owners" || g == "second" || g == "auditors" },
	})
	fail(err)
	fail(c.versions.Load(t.Context()))
	h, err := api.New(api.Options{Verifier: known, Book: c.book, Versions: c.versions, Glass: c.glass, Grants: c.grants, Gate: c.gate, Policies: c.set.Load, Catalogs: catalogs, Log: log, Version: "1"})
	fail(err)
	c.server = httptest.NewServer(h)
	t.Cleanup(c.server.Close)
	return c
}

func (c *control) clock() time.Time { return time.UnixMicro(c.now.Load()) }

func (c *control) texts() ([]policy.Source, error) {
	var out []policy.Source
	for name, text := range c.files {
		out = append(out, policy.Source{Name: name, Text: []byte(text)})
	}
	return out, nil
}

func (c *control) as(token string) *client.Client {
	return &client.Client{Base: c.server.URL, HTTP: c.server.Client(), Token: func(context.Context) (string, error) { return token, nil }}
}

func (c *control) wrong(err error, want ...string) {
	c.t.Helper()
	for _, w := range want {
		if err == nil || !strings.Contains(err.Error(), w) {
			c.t.Errorf("got %v, want %q", err, w)
		}
	}
}

// recorded is everything that the recordings say, as JSON.
func (c *control) recorded() string {
	c.t.Helper()
	list, err := record.List(c.t.Context(), c.dir+"/recordings", record.Filter{})
	if err != nil {
		c.t.Fatal(err)
	}
	var out strings.Builder
	for _, s := range list {
		for e, err := range record.Read(c.t.Context(), c.dir+"/recordings", s.ID) {
			if err != nil {
				c.t.Fatal(err)
			}
			b, _ := json.Marshal(e)
			out.Write(b)
		}
	}
	return out.String()
}

const owned = `
@id("owners") permit (principal in Group::"owners", action == Action::"administer", resource);
@id("auditors") permit (principal in Group::"auditors", action == Action::"review", resource);
`

func file(text string) []store.PolicyFile {
	return []store.PolicyFile{{Name: "a.cedar", Text: text}}
}

func TestPublish(t *testing.T) {
	ctx := t.Context()
	c := newControl(t, true, map[string]string{"a.cedar": owned})
	more := owned + `@id("more") permit (principal, action == Action::"connect", resource);` + "\n"
	publish := func(who string, d versions.Draft) (versions.Result, error) {
		if d.Reason == "" {
			d.Reason = "because"
		}
		return c.as(who).PublishPolicies(ctx, d)
	}

	_, err := publish("x", versions.Draft{Base: 1, Files: file(more)})
	c.wrong(err, "No policy permits you to publish policies")
	_, err = c.as("x").PolicyVersions(ctx, 0)
	c.wrong(err, "No policy permits you to see the policies")
	_, err = c.as("x").PolicyVersion(ctx, "head")
	c.wrong(err, "No policy permits you to see the policies")
	_, err = publish("rita", versions.Draft{Base: 1, Files: file(more)})
	c.wrong(err, "No policy permits you to publish policies")

	for _, bad := range []struct {
		d    versions.Draft
		want string
	}{
		{versions.Draft{Base: 1, Files: file("permit (")}, "a.cedar:1:"},
		{versions.Draft{Base: 1, Files: file(`permit (principal == Robot::"x", action, resource);`)}, "a.cedar:1:1"},
		{versions.Draft{Base: 1, Files: file(`@id("read") permit (principal, action == Action::"connect", resource);`)}, "Nobody could publish"},
		{versions.Draft{Base: 1, Files: file(strings.ReplaceAll(owned, "owners", "ownres"))}, "Nobody could publish"},
		{versions.Draft{Base: 1, Files: file(owned)}, "Nothing would change"},
		{versions.Draft{Base: 1, Files: nil}, "no file"},
		{versions.Draft{Base: 1, Files: []store.PolicyFile{{Name: "../a.cedar", Text: owned}}}, "cannot be the name"},
		{versions.Draft{Base: 1, Files: []store.PolicyFile{{Name: "a.cedar", Text: owned}, {Name: "A.cedar"}}}, "two files"},
		{versions.Draft{Base: 1, Files: file(strings.Repeat("// long\n", 1<<19+1))}, "limit"},
		{versions.Draft{Base: 1, Files: file(more), Reason: " "}, "needs a reason"},
		{versions.Draft{Base: 0, Files: file(more)}, "stand on version 0, and since then came version 1 by the files"},
		{versions.Draft{Base: 9, Files: file(more)}, "There is no version 9"},
	} {
		_, err := publish("ada", bad.d)
		c.wrong(err, bad.want)
	}

	dry, err := publish("ada", versions.Draft{Base: 1, Files: file(more), DryRun: true})
	if err != nil || dry.Version != nil || !strings.Contains(dry.Diff, `+@id("more")`) {
		t.Fatalf("%+v %v", dry, err)
	}
	before := c.set.Load().Version()
	r, err := publish("ada", versions.Draft{Base: 1, Files: file(more), Reason: "they connect"})
	if err != nil || r.Version == nil || r.Version.Number != 2 || r.Version.Author != "ada" || c.set.Load().Version() == before {
		t.Fatalf("%+v %v", r, err)
	}
	_, err = publish("bob", versions.Draft{Base: 1, Files: file(owned + "// bob")})
	c.wrong(err, "since then came version 2 by ada on", "(they connect)", "--base 2")

	s, err := c.as("rita").PolicyVersions(ctx, 0)
	if err != nil || s.Source != "store" || s.InForce.Number != 2 || s.Effective != c.set.Load().Version() || len(s.Versions) != 2 || s.Drift == nil || !strings.Contains(s.Drift.Diff, `-@id("more")`) {
		t.Fatalf("%+v %v", s, err)
	}
	for which, number := range map[string]int64{"1": 1, "head": 2, before: 1, s.Effective: 2} {
		if v, err := c.as("rita").PolicyVersion(ctx, which); err != nil || v.Number != number || len(v.Files) != 1 {
			t.Errorf("%s: %+v %v", which, v, err)
		}
	}
	for _, which := range []string{"3", "0", "0123456789abcdef", "x", "-1"} {
		if _, err := c.as("rita").PolicyVersion(ctx, which); err == nil {
			t.Errorf("there is a version %s", which)
		}
	}

	back, err := c.as("bob").RollBackPolicies(ctx, "1", 2, "too much", false)
	if err != nil || back.Version.Number != 3 || back.Version.Restores != 1 || c.set.Load().Version() != before {
		t.Fatalf("%+v %v", back, err)
	}
	_, err = c.as("rita").RollBackPolicies(ctx, "2", 3, "no", false)
	c.wrong(err, "No policy permits you to publish policies")
	_, err = c.as("bob").RollBackPolicies(ctx, "7", 3, "no", false)
	c.wrong(err, "There is no version 7")
	if s, err := c.as("ada").PolicyVersions(ctx, 1); err != nil || s.Drift != nil || len(s.Versions) != 1 {
		t.Fatalf("%+v %v", s, err)
	}

	said := c.recorded()
	for _, want := range []string{"publish policies in place of version 1", "they connect", `+@id(\\\"more\\\")`, "version 2 is in force", "roll back to version 1 of the policies, in place of 2",
		"version 3 is in force", `"id":"x"`, "policy_denied", `"policy_version":"` + before + `"`, gate.GatewayConnection} {
		if !strings.Contains(said, want) && !strings.Contains(said, strings.ReplaceAll(want, `\\\"`, `\"`)) {
			t.Errorf("the recordings do not say %s", want)
		}
	}
}

// TestPublishNeedsASecondPerson: where the policies ask for it, a version waits for somebody else's approval.
func TestPublishNeedsASecondPerson(t *testing.T) {
	ctx := t.Context()
	two := `
@id("two-persons") @approval("second") permit (principal in Group::"owners", action == Action::"administer", resource);
@id("second") permit (principal in Group::"second", action == Action::"approve", resource);
`
	c := newControl(t, true, map[string]string{"a.cedar": two})
	propose := func(who, text string) versions.Result {
		t.Helper()
		r, err := c.as(who).PublishPolicies(ctx, versions.Draft{Base: 1, Files: file(two + text), Reason: "need it"})
		if err != nil || r.Version != nil || r.Approval == "" || len(r.Needs) != 1 {
			t.Fatalf("%+v %v", r, err)
		}
		return r
	}
	before := c.set.Load()
	one, other := propose("ada", "// one\n"), propose("bob", "// other\n")
	if c.set.Load() != before {
		t.Fatal("it is in force before anyone approved it")
	}
	v, err := c.as("cyd").Approval(ctx, one.Approval)
	if err != nil || v.Kind != "publish" || v.State != "pending" || !strings.Contains(v.Hold.Intents[0].Text, "+// one") || v.Hold.Intents[0].Settings["reason"] != "need it" {
		t.Fatalf("%+v %v", v, err)
	}
	_, err = c.as("bob").Answer(ctx, other.Approval, approval.Said{Approve: true, Reason: ""})
	c.wrong(err, "Nobody answers a request of their own")
	_, err = c.as("ada").Answer(ctx, other.Approval, approval.Said{Approve: true, Reason: ""})
	c.wrong(err, "There is no approval") // ada may not approve, and sees nothing of it
	denied := propose("ada", "// denied\n")
	if v, err := c.as("cyd").Answer(ctx, denied.Approval, approval.Said{Approve: false, Reason: "no"}); err != nil || v.State != "denied" {
		t.Fatal(v.State, err)
	}
	if v, err := c.as("cyd").Answer(ctx, one.Approval, approval.Said{Approve: true, Reason: "fine"}); err != nil || v.State != "done" || v.Outcome != "published as version 2" {
		t.Fatalf("%+v %v", v, err)
	}
	if v, err := c.as("cyd").Answer(ctx, other.Approval, approval.Said{Approve: true, Reason: ""}); err != nil || v.State != "withdrawn" || !strings.Contains(v.Outcome, "in between") {
		t.Fatalf("%+v %v", v, err)
	}
	s, err := c.as("ada").PolicyVersions(ctx, 0)
	if err != nil || s.InForce.Number != 2 || s.InForce.Author != "ada" || s.InForce.Approval != one.Approval || fmt.Sprint(s.InForce.ApprovedBy) != "[cyd]" || len(s.Versions) != 2 {
		t.Fatalf("%+v %v", s, err)
	}
	if said := c.recorded(); !strings.Contains(said, `"state":"approved","by":"cyd"`) || !strings.Contains(said, "it waits for approval "+one.Approval) {
		t.Error("the recordings do not say who approved")
	}

	late, err := c.as("ada").PublishPolicies(ctx, versions.Draft{Base: 2, Files: file(two + "// late\n"), Reason: "r"})
	if err != nil {
		t.Fatal(err)
	}
	c.now.Add((73 * time.Hour).Microseconds())
	_, err = c.as("cyd").Answer(ctx, late.Approval, approval.Said{Approve: true, Reason: ""})
	c.wrong(err, "is expired already")
}

// TestFilesAreTheSource: where the files are, nothing can be published; each load that differs is a version.
func TestFilesAreTheSource(t *testing.T) {
	ctx := t.Context()
	c := newControl(t, false, map[string]string{"a.cedar": owned})
	_, err := c.as("ada").PublishPolicies(ctx, versions.Draft{Base: 1, Files: file(owned + "//"), Reason: "r"})
	c.wrong(err, "come from files")
	_, err = c.as("ada").RollBackPolicies(ctx, "1", 1, "r", false)
	c.wrong(err, "come from files")
	s, err := c.as("ada").PolicyVersions(ctx, 0)
	if err != nil || s.Source != "files" || s.InForce.Number != 1 || s.InForce.Source != "files" || s.Drift != nil {
		t.Fatalf("%+v %v", s, err)
	}
	c.files["b.cedar"] = `@id("b") permit (principal, action == Action::"connect", resource);`
	if s, err = c.as("ada").PolicyVersions(ctx, 0); err != nil || s.Drift == nil || !strings.Contains(s.Drift.Problem, "differ from version 1") {
		t.Fatalf("%+v %v", s, err)
	}
	if err := c.versions.Load(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.versions.Load(ctx); err != nil {
		t.Fatal(err)
	}
	if s, err = c.as("ada").PolicyVersions(ctx, 0); err != nil || s.Drift != nil || s.InForce.Number != 2 || len(s.Versions) != 2 {
		t.Fatalf("%+v %v", s, err)
	}
	effective := c.set.Load()
	c.files["b.cedar"] = "permit ("
	if err := c.versions.Load(ctx); err == nil || c.set.Load() != effective {
		t.Fatal("bad files are in force")
	}
	if s, err = c.as("ada").PolicyVersions(ctx, 0); err != nil || s.Drift == nil || !strings.Contains(s.Drift.Problem, "not valid") {
		t.Fatalf("%+v %v", s, err)
	}
	if _, err := os.Stat(filepath.Join(c.dir, "s.db")); err != nil {
		t.Fatal(err)
	}
}
