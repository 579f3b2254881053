package identity_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/internal/demo/issuer"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
)

const tenant = "0a0a0a0a-1111-2222-3333-444444444444"

type world struct {
	issuer *issuer.Issuer
	v      *identity.Verifier
	now    atomic.Int64
}

func (w *world) clock() time.Time { return time.Unix(w.now.Load(), 0) }

func start(t testing.TB, change ...func(*identity.Config)) *world {
	t.Helper()
	w := &world{}
	w.now.Store(time.Now().Unix())
	var err error
	w.issuer, err = issuer.Start("127.0.0.1:0", issuer.Options{
		Tenant: tenant, Audience: "api", Clients: []string{"cli"}, Now: w.clock,
		Agents: []issuer.Agent{{ClientID: "bot", Secret: "s", Name: "Bot", Groups: []string{"g1", "g2"}, Roles: []string{"reader"}}},
		People: []issuer.Person{{Name: "ada", Groups: []string{"g1"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.issuer.Close() })
	c := identity.Config{
		Issuers: []identity.Issuer{{Name: "entra", Kind: "entra", Issuer: w.issuer.URL(), Audiences: []string{"api"},
			Groups: identity.Groups{Names: map[string]string{"g1": "agents", "role:reader": "readers"}},
			Agents: map[string][]string{"copilot": {"agents"}}}},
		People: identity.People{Clients: []string{"cli"}, Scope: "access"},
		Now:    w.clock,
	}
	for _, f := range change {
		f(&c)
	}
	if w.v, err = identity.New(c); err != nil {
		t.Fatal(err)
	}
	return w
}

func set(kv ...any) func(map[string]any) {
	return func(c map[string]any) {
		for i := 0; i < len(kv); i += 2 {
			if kv[i+1] == nil {
				delete(c, kv[i].(string))
			} else {
				c[kv[i].(string)] = kv[i+1]
			}
		}
	}
}

// TestPeople: which clients people sign in with can be said for each issuer, and which ids are one person's.
func TestPeople(t *testing.T) {
	ctx := context.Background()
	id := "entra:" + issuer.ObjectID("ada") + "@" + tenant
	w := start(t, func(c *identity.Config) {
		c.Issuers = append(c.Issuers, identity.Issuer{Name: "okta", Kind: "oidc", Issuer: "https://okta.example.com", Audiences: []string{"api"}})
		c.People.Same = [][]string{{"okta:ada", id}}
	})
	for _, client := range []string{"cli", "copilot"} {
		token, _ := w.issuer.PersonToken("ada", client)
		who, err := w.v.Verify(ctx, token)
		p := &who.Principal
		if p.OnBehalfOf != nil {
			if p.PersonID() != p.ID {
				t.Errorf("an agent is the person %s", p.PersonID())
			}
			p = p.OnBehalfOf
		}
		if err != nil || p.ID != id || p.PersonID() != "okta:ada" {
			t.Errorf("%+v %v", who, err)
		}
	}
	for _, clients := range [][]string{{}, {"other"}, {"cli"}} {
		w := start(t, func(c *identity.Config) { c.Issuers[0].People = clients })
		token, _ := w.issuer.PersonToken("ada", "cli")
		_, err := w.v.VerifyPerson(ctx, token)
		if want := len(clients) == 1 && clients[0] == "cli"; (err == nil) != want {
			t.Errorf("people sign in with %q: %v", clients, err)
		}
	}
}

func TestEntra(t *testing.T) {
	w := start(t)
	ctx := context.Background()
	token, err := w.issuer.AgentToken("bot")
	if err != nil {
		t.Fatal(err)
	}
	id, err := w.v.Verify(ctx, token)
	want := policy.Principal{Kind: policy.Agent, ID: "entra:" + issuer.ObjectID("bot") + "@" + tenant, Name: "Bot", Issuer: "entra", Client: "bot", Groups: []string{"agents", "entra:group:g2", "readers"}}
	if err != nil || !reflect.DeepEqual(id.Principal, want) || id.Expires.Unix() != w.clock().Add(15*time.Minute).Unix() {
		t.Fatalf("%+v %v", id, err)
	}
	if _, err := w.v.VerifyPerson(ctx, token); err == nil {
		t.Error("an agent acts as a person")
	}
	token, _ = w.issuer.PersonToken("ada", "cli")
	ada := policy.Principal{Kind: policy.User, ID: "entra:" + issuer.ObjectID("ada") + "@" + tenant, Name: "ada", Issuer: "entra", Client: "cli", Groups: []string{"agents"}}
	for _, verify := range []func(context.Context, string) (identity.Identity, error){w.v.Verify, w.v.VerifyPerson} {
		if id, err := verify(ctx, token); err != nil || !reflect.DeepEqual(id.Principal, ada) {
			t.Fatalf("%+v %v", id, err)
		}
	}
	token, _ = w.issuer.PersonToken("ada", "copilot")
	ada.Client = "copilot"
	on := policy.Principal{Kind: policy.Agent, ID: "entra:copilot@" + tenant, Name: "copilot", Issuer: "entra", Client: "copilot", Groups: []string{"agents"}, OnBehalfOf: &ada}
	if id, err := w.v.Verify(ctx, token); err != nil || !reflect.DeepEqual(id.Principal, on) {
		t.Fatalf("%+v %v", id, err)
	}
	if _, err := w.v.VerifyPerson(ctx, token); err == nil {
		t.Error("an agent on behalf of a person acts as that person")
	}
	token, _ = w.issuer.PersonToken("ada", "cli", set("scp", "other"))
	if _, err := w.v.VerifyPerson(ctx, token); err == nil || !strings.Contains(err.Error(), "scope") {
		t.Errorf("without the scope: %v", err)
	}
}

func TestRefusedTokens(t *testing.T) {
	w := start(t, func(c *identity.Config) {
		c.Issuers[0].Roles = []string{"reader"}
		c.Issuers[0].Scopes = []string{"access"}
	})
	ctx := context.Background()
	now := w.clock()
	for name, c := range map[string]struct {
		change []any
		want   string
	}{
		"wrong audience":     {[]any{"aud", "other"}, "another audience"},
		"no audience":        {[]any{"aud", nil}, "another audience"},
		"expired":            {[]any{"exp", now.Add(-2 * time.Minute).Unix()}, "expired 2m0s ago"},
		"no expiry":          {[]any{"exp", nil}, "no expiry"},
		"odd expiry":         {[]any{"exp", "soon"}, `"exp"`},
		"not yet":            {[]any{"nbf", now.Add(2 * time.Minute).Unix()}, "not valid yet"},
		"bound to a key":     {[]any{"cnf", map[string]string{"jkt": "x"}}, "cnf"},
		"another tenant":     {[]any{"tid", "other"}, "another tenant"},
		"no object":          {[]any{"oid", nil}, `"oid"`},
		"no version":         {[]any{"ver", nil}, `"ver"`},
		"an id token":        {[]any{"azp", nil}, "ID token"},
		"an id token, nonce": {[]any{"nonce", "x"}, "ID token"},
		"unproved app":       {[]any{"idtyp", nil, "sub", "other"}, "neither proves"},
		"odd type":           {[]any{"idtyp", "device"}, "neither proves"},
		"app with a user":    {[]any{"scp", "access"}, `"idtyp"`},
		"overage":            {[]any{"hasgroups", true}, "Microsoft Graph is not built yet"},
		"overage, names":     {[]any{"_claim_names", map[string]string{"groups": "src1"}}, "Microsoft Graph is not built yet"},
		"groups of a shape":  {[]any{"groups", map[string]string{}}, `"groups"`},
		"no role":            {[]any{"roles", nil}, "none of the scopes or roles"},
		"other issuer":       {[]any{"iss", "https://elsewhere.example"}, "does not trust"},
		"no issuer":          {[]any{"iss", nil}, "does not trust"},
	} {
		token, err := w.issuer.AgentToken("bot", set(c.change...))
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.v.Verify(ctx, token)
		var e *identity.Error
		if !errors.As(err, &e) || !strings.Contains(e.Reason, c.want) || e.Remedy == "" {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), token) {
			t.Errorf("%s: the error shows the token", name)
		}
	}
	// Within the leeway at the door, but the identity keeps the true end.
	token, _ := w.issuer.AgentToken("bot", set("exp", now.Add(-30*time.Second).Unix()))
	if id, err := w.v.Verify(ctx, token); err != nil || !id.Expires.Before(now) {
		t.Errorf("within the leeway: %v %v", id.Expires, err)
	}
}

func TestForgedTokens(t *testing.T) {
	w := start(t)
	ctx := context.Background()
	good, _ := w.issuer.AgentToken("bot")
	parts := strings.Split(good, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	public, _ := x509.MarshalPKIXPublicKey(w.issuer.PublicKey().Key)
	sign := func(alg jose.SignatureAlgorithm, key any, kid string) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", kid).WithType("JWT"))
		if err != nil {
			t.Fatal(err)
		}
		payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
		o, err := s.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		out, _ := o.CompactSerialize()
		return out
	}
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	kid := w.issuer.PublicKey().KeyID
	idToken, _ := w.issuer.Sign(map[string]any{"iss": w.issuer.URL()}, "logout+jwt")
	for name, token := range map[string]string{
		"none":                   b64([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".",
		"hmac with the key":      sign(jose.HS256, public, kid),
		"another key":            sign(jose.ES256, other, kid),
		"another key, other kid": sign(jose.ES256, other, "unknown"),
		"changed payload":        parts[0] + "." + b64([]byte(`{"iss":"`+w.issuer.URL()+`"}`)) + "." + parts[2],
		"another type":           idToken,
		"empty":                  "",
		"noise":                  "abc.def.ghi",
		"long":                   strings.Repeat("x", 20<<10),
		"a password":             "hunter2",
	} {
		_, err := w.v.Verify(ctx, token)
		var e *identity.Error
		if !errors.As(err, &e) || e.Remedy == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.v.Verify(ctx, good); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestKeysRotate(t *testing.T) {
	w := start(t)
	ctx := context.Background()
	old, _ := w.issuer.AgentToken("bot")
	for range 3 {
		if _, err := w.v.Verify(ctx, old); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.issuer.KeyRequests(); n != 1 {
		t.Errorf("the keys were fetched %d times", n)
	}
	w.issuer.Rotate()
	w.now.Add(11)
	fresh, _ := w.issuer.AgentToken("bot")
	if _, err := w.v.Verify(ctx, fresh); err != nil {
		t.Errorf("a token under the new key: %v", err)
	}
	if _, err := w.v.Verify(ctx, old); err == nil {
		t.Error("a token under a key that disappeared is still remembered")
	}
	before := w.issuer.KeyRequests()
	stranger, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	for range 20 {
		s, _ := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: stranger}, (&jose.SignerOptions{}).WithHeader("kid", rand.Text()))
		o, _ := s.Sign([]byte(`{"iss":"` + w.issuer.URL() + `"}`))
		token, _ := o.CompactSerialize()
		if _, err := w.v.Verify(ctx, token); err == nil {
			t.Fatal("a forged token")
		}
	}
	if n := w.issuer.KeyRequests() - before; n > 1 {
		t.Errorf("unknown kids made %d fetches", n)
	}
}

func TestIssuerDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	w := start(t, func(c *identity.Config) {
		c.Issuers = append(c.Issuers, identity.Issuer{Name: "down", Kind: "oidc", Issuer: "http://" + address, Audiences: []string{"api"}})
	})
	token, _ := w.issuer.Sign(map[string]any{"iss": "http://" + address, "aud": "api"}, "JWT")
	if _, err := w.v.Verify(context.Background(), token); err == nil || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("got %v", err)
	}
	good, _ := w.issuer.AgentToken("bot")
	if _, err := w.v.Verify(context.Background(), good); err != nil {
		t.Errorf("another issuer's token: %v", err)
	}
}

func TestOIDC(t *testing.T) {
	w := start(t, func(c *identity.Config) {
		c.Issuers[0].Kind = "oidc"
		c.Issuers[0].Name = "idp"
	})
	ctx := context.Background()
	for name, c := range map[string]struct {
		claims []any
		want   policy.Principal
		err    string
	}{
		"client credentials": {[]any{"sub", "bot", "azp", "bot", "groups", []string{"g1"}, "roles", nil},
			policy.Principal{Kind: policy.Agent, ID: "idp:bot", Client: "bot", Groups: []string{"agents"}}, ""},
		"a group that is called like a role": {[]any{"sub", "bot", "azp", "bot", "groups", []string{"role:reader"}, "roles", nil},
			policy.Principal{Kind: policy.Agent, ID: "idp:bot", Client: "bot", Groups: []string{"idp:group:role:reader"}}, ""},
		"a person with the cli": {[]any{"sub", "u1", "azp", "cli", "groups", nil, "roles", nil},
			policy.Principal{Kind: policy.User, ID: "idp:u1", Client: "cli"}, ""},
		"an agent for a person": {[]any{"sub", "u1", "azp", "copilot", "groups", []string{"g1"}, "roles", nil},
			policy.Principal{Kind: policy.Agent, ID: "idp:copilot", Name: "copilot", Client: "copilot", Groups: []string{"agents"},
				OnBehalfOf: &policy.Principal{Kind: policy.User, ID: "idp:u1", Issuer: "idp", Client: "copilot", Groups: []string{"agents"}}}, ""},
		"act": {[]any{"sub", "u1", "azp", "x", "act", map[string]any{"sub": "copilot"}, "groups", nil, "roles", nil},
			policy.Principal{Kind: policy.Agent, ID: "idp:copilot", Name: "copilot", Client: "x", Groups: []string{"agents"},
				OnBehalfOf: &policy.Principal{Kind: policy.User, ID: "idp:u1", Issuer: "idp", Client: "x"}}, ""},
		"a chain":    {[]any{"act", map[string]any{"sub": "a", "act": map[string]any{"sub": "b"}}}, policy.Principal{}, "not built yet"},
		"no client":  {[]any{"azp", nil, "sub", "u1"}, policy.Principal{}, "which client"},
		"no subject": {[]any{"sub", nil}, policy.Principal{}, `"sub"`},
	} {
		token, _ := w.issuer.AgentToken("bot", set("app_displayname", nil), set(c.claims...))
		id, err := w.v.Verify(ctx, token)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %q", name, err, c.err)
			}
			continue
		}
		c.want.Issuer = "idp"
		if err != nil || !reflect.DeepEqual(id.Principal, c.want) {
			t.Errorf("%s: %+v %v", name, id.Principal, err)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := identity.Issuer{Name: "entra", Kind: "entra", Issuer: "https://login.microsoftonline.com/" + tenant + "/v2.0", Audiences: []string{"api"}}
	if _, err := identity.New(identity.Config{Issuers: []identity.Issuer{good}}); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*identity.Issuer){
		"plain http":              func(i *identity.Issuer) { i.Issuer = "http://login.example/" + tenant + "/v2.0" },
		"audiences":               func(i *identity.Issuer) { i.Audiences = nil },
		"is not one of":           func(i *identity.Issuer) { i.Algorithms = []string{"HS256"} },
		"without a colon":         func(i *identity.Issuer) { i.Groups.Names = map[string]string{"x": "entra:group:y"} },
		"TENANT":                  func(i *identity.Issuer) { i.Issuer = "https://login.microsoftonline.com/common/v2.0" },
		"entra or oidc":           func(i *identity.Issuer) { i.Kind = "" },
		"short word":              func(i *identity.Issuer) { i.Name = "a:b" },
		"for kind oidc":           func(i *identity.Issuer) { i.Principal = "user" },
		"groups of bot should be": func(i *identity.Issuer) { i.Agents = map[string][]string{"bot": {"a:b"}} },
	} {
		is := good
		change(&is)
		if _, err := identity.New(identity.Config{Issuers: []identity.Issuer{is}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := identity.New(identity.Config{Issuers: []identity.Issuer{good, good}}); err == nil {
		t.Error("an issuer is taken twice")
	}
}

func BenchmarkVerifyCached(b *testing.B) {
	w := start(b)
	token, _ := w.issuer.AgentToken("bot")
	ctx := context.Background()
	for b.Loop() {
		if _, err := w.v.Verify(ctx, token); err != nil {
			b.Fatal(err)
		}
	}
}
