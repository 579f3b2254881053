package api_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/api"
	"gatehouse/internal/api/client"
	"gatehouse/internal/approval"
	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
	"gatehouse/internal/store"
)

// people are verified by their names: the tokens themselves are the identity package's business.
type people map[string]identity.Identity

func (p people) VerifyPerson(_ context.Context, token string) (identity.Identity, error) {
	if who, ok := p[token]; ok {
		return who, nil
	}
	return identity.Identity{}, &identity.Error{Reason: "The token is not known.", Remedy: "Sign in."}
}

func TestAPI(t *testing.T) {
	ctx := context.Background()
	s, err := store.Open(ctx, "sqlite:"+t.TempDir()+"/s.db")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	set, err := policy.Compile(policy.Input{Policies: []policy.Source{{Name: "p", Text: []byte(`@id("a") permit(principal in Group::"dba", action == Action::"approve", resource);`)}}})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	book, err := approval.New(approval.Options{Store: s, Policies: func() *policy.Set { return set }, Connections: []gate.Connection{{Name: "orders"}}, Log: log, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	who := func(id string, groups ...string) identity.Identity {
		return identity.Identity{Principal: policy.Principal{Kind: policy.User, ID: id, Name: id, Groups: groups}}
	}
	other := newControl(t, false, nil)
	book.Attach(other.gate)
	h, err := api.New(api.Options{Verifier: people{"ada": who("ada", "dba"), "x": who("x")}, Book: book, Versions: other.versions, Glass: other.glass, Grants: other.grants, Gate: other.gate, Policies: other.set.Load, Catalogs: catalogs, Log: log, Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	defer server.Close()
	as := func(token string) *client.Client {
		return &client.Client{Base: server.URL, HTTP: server.Client(), Token: func(context.Context) (string, error) { return token, nil }}
	}
	ticket, err := book.Open(ctx, gate.Hold{Principal: policy.Principal{Kind: policy.Agent, ID: "bot"}, Connection: "orders", Hash: "h", Needs: []policy.Approval{{Group: "dba", Quorum: 1}},
		Intents: []gate.Intent{{Text: "UPDATE t", Parameters: []gate.Parameter{{Value: []byte{0, 1}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	want := func(err error, text string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want %q", err, text)
		}
	}
	_, err = as("nobody").Approvals(ctx, "", 0)
	want(err, "The token is not known. Sign in.")
	_, err = as("").Whoami(ctx)
	want(err, "no bearer token")
	if me, err := as("ada").Whoami(ctx); err != nil || me.Groups[0] != "dba" {
		t.Errorf("%+v %v", me, err)
	}
	if list, err := as("x").Approvals(ctx, "", 0); err != nil || len(list) != 0 {
		t.Errorf("a stranger sees %v, %v", list, err)
	}
	_, err = as("x").Answer(ctx, ticket.ID, approval.Said{Approve: true, Reason: ""})
	want(err, "There is no approval")
	_, err = as("ada").Approvals(ctx, "odd", 0)
	want(err, "state")
	list, err := as("ada").Approvals(ctx, "pending", 0)
	if err != nil || len(list) != 1 || list[0].Hold.Intents[0].Text != "UPDATE t" {
		t.Fatalf("%+v %v", list, err)
	}
	_, err = as("ada").Approval(ctx, "../x")
	if err == nil {
		t.Error("an odd id is taken")
	}
	_, err = as("ada").Answer(ctx, ticket.ID, approval.Said{Approve: false, Reason: strings.Repeat("x", 3000)})
	want(err, "reason")
	v, err := as("ada").Answer(ctx, ticket.ID, approval.Said{Approve: true, Reason: "fine"})
	if err != nil || v.State != "approved" {
		t.Fatal(v, err)
	}
	_, err = as("ada").Answer(ctx, ticket.ID, approval.Said{Approve: true, Reason: ""})
	want(err, "approved already")

	for path, status := range map[string]int{"/approvals/" + ticket.ID: 200, "/approvals/ap-unknown": 200, "/approvals/%3Cscript%3E": 404, "/healthz": 200, "/openapi.json": 200, "/docs": 404} {
		r, err := server.Client().Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if r.StatusCode != status || strings.Contains(string(b), "UPDATE t") || r.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s: %d %s", path, r.StatusCode, b)
		}
	}
	r, err := server.Client().Post(server.URL+"/api/v1/approvals/"+ticket.ID+"/approve", "application/json", strings.NewReader(strings.Repeat("x", 1<<20)))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusUnauthorized {
		t.Errorf("a large body without a token: %d", r.StatusCode)
	}
}
