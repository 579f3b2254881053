package postgres

import (
	"context"
	"log/slog"
	"net"
	"net/url"
	"testing"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	"gatehouse/internal/record"
)

// serveTest serves a connection called shop, with everything real but the tokens and the people, until the test
// ends. text are the connection's options; its password is in GW_PASSWORD.
func serveTest(t *testing.T, text string, policies ...policy.Source) (s *server, address string) {
	t.Helper()
	return serveWith(t, yes{}, text, policies...)
}

// serveWith is serveTest with other people.
func serveWith(t *testing.T, approvals gate.Approvals, text string, policies ...policy.Source) (s *server, address string) {
	t.Helper()
	set := compiled(t, policies...)
	return serveSets(t, approvals, text, func() *policy.Set { return set })
}

func compiled(t *testing.T, policies ...policy.Source) *policy.Set {
	t.Helper()
	set, err := policy.Compile(policy.Input{
		Schemas:  []policy.Source{{Name: "postgres.cedarschema", Text: schema}},
		Policies: policies,
		Access:   []policy.Access{{Connection: "shop", Groups: []string{"ai-agents"}}},
		Rows:     connector{}.CheckRows,
	})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// serveSets is serveWith with policies that can change.
func serveSets(t *testing.T, approvals gate.Approvals, text string, policies func() *policy.Set) (s *server, address string) {
	t.Helper()
	journal, err := record.Open(record.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { journal.Close() })
	log := slog.New(slog.DiscardHandler)
	g, err := gate.New(gate.Config{Policies: policies, Recorder: journal, Approvals: approvals, Log: log, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GW_PASSWORD", "p")
	s, err = newServer(gate.Deps{
		Gate: g, Verifier: tokens{}, Log: log, Secret: []byte("a secret of the gateway in tests"),
		Connections: []gate.Connection{{Name: "shop", Kind: kind, Groups: []string{"ai-agents"}, Options: options(t, text)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, l.Addr().String()
}

// clientURL is where a client finds what serveTest serves.
func clientURL(address string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword("app", "token-of-app"), Host: address, Path: "shop", RawQuery: "sslmode=disable"}
	return u.String()
}
