package login

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/demo/issuer"
	"gatehouse/internal/secret"
)

func start(t *testing.T, lifetime time.Duration) (*issuer.Issuer, Store) {
	is, err := issuer.Start("127.0.0.1:0", issuer.Options{
		Tenant: "t", Audience: "api", Lifetime: lifetime, Clients: []string{"cli"},
		Agents: []issuer.Agent{{ClientID: "bot", Secret: "s3cret"}}, People: []issuer.Person{{Name: "ada"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { is.Close() })
	return is, Store{Dir: t.TempDir() + "/home", HTTP: http.DefaultClient}
}

func TestAgent(t *testing.T) {
	is, s := start(t, time.Hour)
	ctx := context.Background()
	t.Setenv("BOT", "s3cret")
	p := Profile{Name: "bot", Issuer: is.URL(), ClientID: "bot", Secret: secret.Ref{Env: "BOT"}}
	if err := s.Save(p); err != nil {
		t.Fatal(err)
	}
	p, err := s.Profile("bot")
	if err != nil {
		t.Fatal(err)
	}
	first, expires, err := s.Token(ctx, p)
	if err != nil || first == "" || time.Until(expires) < 50*time.Minute {
		t.Fatal(expires, err)
	}
	if second, _, err := s.Token(ctx, p); err != nil || second != first {
		t.Errorf("a good token was replaced: %v", err)
	}
	file := s.Dir + "/bot.token.json"
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	os.Chmod(file, 0o644)
	if _, _, err := s.Token(ctx, p); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a token that others can read: %v", err)
	}
	os.Remove(file)
	t.Setenv("BOT", "wrong-one")
	if _, _, err := s.Token(ctx, p); err == nil || strings.Contains(err.Error(), "wrong-one") || !strings.Contains(err.Error(), "secret is wrong") {
		t.Errorf("a wrong secret: %v", err)
	}
	if _, err := s.Profile("nobody"); err == nil || !strings.Contains(err.Error(), "gatehouse login") {
		t.Error(err)
	}
	if _, err := s.Profile("../x"); err == nil {
		t.Error("a path is a profile")
	}
}

// prompted is a writer that finds the code and confirms it, as a person would in a browser.
type prompted struct {
	bytes.Buffer
	is   *issuer.Issuer
	once sync.Once
}

var userCode = regexp.MustCompile(`code (\w+)`)

func (p *prompted) Write(b []byte) (int, error) {
	n, err := p.Buffer.Write(b)
	if m := userCode.FindStringSubmatch(p.String()); m != nil {
		p.once.Do(func() { p.is.Confirm(m[1], "ada") })
	}
	return n, err
}

func TestPerson(t *testing.T) {
	is, s := start(t, 30*time.Second) // always about to end, so that each use refreshes
	ctx := context.Background()
	p := Profile{Name: "ada", Issuer: is.URL(), ClientID: "cli", Scope: "access"}
	if _, _, err := s.Token(ctx, p); err == nil || !strings.Contains(err.Error(), "you are not signed in") {
		t.Fatal(err)
	}
	if _, err := s.Login(ctx, p, &prompted{is: is}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 { // refresh tokens rotate: who asks at once must take turns
		wg.Go(func() {
			if _, _, err := s.Token(ctx, p); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	is.Close()
	if _, _, err := s.Token(ctx, p); err == nil || !strings.Contains(err.Error(), "cannot be used") {
		t.Errorf("with the issuer down: %v", err)
	}
}
