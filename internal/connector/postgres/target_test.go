package postgres

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	guard "gatehouse/internal/sqlguard/postgres"
)

// TestLargeTexts: while a large text is understood another one waits, and a small one does not.
func TestLargeTexts(t *testing.T) {
	set, err := policy.Compile(policy.Input{Schemas: []policy.Source{{Name: "postgres.cedarschema", Text: schema}}})
	if err != nil {
		t.Fatal(err)
	}
	slice := set.For(policy.Principal{Kind: policy.Agent, ID: "test:a"})
	o := options(t, "url: "+testServer.URL("gw", "", "postgres")+"\npassword: {env: GW_PASSWORD}")
	one, err := newTarget(gate.Connection{Name: "shop", Kind: kind, Options: o}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	catalog := &guard.Catalog{}
	large := "SELECT 1 -- " + strings.Repeat("x", largeText)
	one.large <- struct{}{}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := one.plan(ended, catalog, slice, large, moment{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a large text beside another: %v", err)
	}
	if _, err := one.plan(ended, catalog, slice, "SELECT 1", moment{}); err != nil {
		t.Errorf("a small text: %v", err)
	}
	<-one.large
	if _, err := one.plan(t.Context(), catalog, slice, large, moment{}); err != nil || len(one.large) != 0 {
		t.Errorf("a large text by itself: %v", err)
	}
}
