// Package issuer is a development OIDC issuer with the shape of Microsoft Entra v2.0: for the demo and for
// tests that need real signed tokens over real HTTP.
//
// It serves on loopback only and hands out tokens to whoever asks as one of its people: it must never be
// trusted by a gateway that guards anything real.
package issuer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Agent is a workload with a client secret.
type Agent struct {
	ClientID, Secret, Name string
	Groups                 []string
	Roles                  []string
}

// Person is somebody who can sign in.
type Person struct {
	Name   string // what is shown, and `preferred_username`
	Groups []string
}

// Options say who there is.
type Options struct {
	Tenant   string
	Audience string // of every token
	Agents   []Agent
	People   []Person
	// Clients are the public clients that people sign in with.
	Clients []string
	// Lifetime of access tokens; 15 minutes by default.
	Lifetime time.Duration
	Now      func() time.Time
}

// Issuer is a running issuer.
type Issuer struct {
	o        Options
	listener net.Listener
	server   *http.Server

	mu       sync.Mutex
	key      *ecdsa.PrivateKey
	kid      string
	devices  map[string]*device // by device code
	refresh  map[string]grant   // by refresh token
	requests int                // of the keys, for tests
}

// device is a sign-in that a person has to confirm (RFC 8628).
type device struct {
	user    string // the code that the person types
	client  string
	scope   string
	expires time.Time
	person  string // once confirmed
}

type grant struct{ person, client, scope string }

// Start serves on a loopback address such as 127.0.0.1:0.
func Start(address string, o Options) (*Issuer, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("the demo issuer serves on loopback only, not on %s", address)
	}
	if o.Tenant == "" || o.Audience == "" {
		return nil, errors.New("the demo issuer needs a tenant and an audience")
	}
	if o.Lifetime == 0 {
		o.Lifetime = 15 * time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	is := &Issuer{o: o, listener: l, devices: map[string]*device{}, refresh: map[string]grant{}}
	if err := is.Rotate(); err != nil {
		return nil, err
	}
	is.server = &http.Server{Handler: is.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	go is.server.Serve(l)
	return is, nil
}

// Close stops serving.
func (is *Issuer) Close() error { return is.server.Close() }

// URL is the issuer's `iss`.
func (is *Issuer) URL() string { return "http://" + is.listener.Addr().String() + is.base() }

func (is *Issuer) base() string { return "/" + is.o.Tenant + "/v2.0" }

// Secret is an agent's client secret; "" where there is no such agent.
func (is *Issuer) Secret(clientID string) string {
	for _, a := range is.o.Agents {
		if a.ClientID == clientID {
			return a.Secret
		}
	}
	return ""
}

// Rotate makes a new signing key; the old one disappears.
func (is *Issuer) Rotate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	is.mu.Lock()
	defer is.mu.Unlock()
	is.key, is.kid = key, strings.ToLower(rand.Text()[:10])
	return nil
}

// KeyRequests counts how often the keys were asked for.
func (is *Issuer) KeyRequests() int {
	is.mu.Lock()
	defer is.mu.Unlock()
	return is.requests
}

// PublicKey is the signing key as its users see it.
func (is *Issuer) PublicKey() jose.JSONWebKey {
	is.mu.Lock()
	defer is.mu.Unlock()
	return jose.JSONWebKey{Key: is.key.Public(), KeyID: is.kid, Algorithm: "ES256", Use: "sig"}
}

// Sign signs claims as they are, with a type of token.
func (is *Issuer) Sign(claims map[string]any, typ string) (string, error) {
	is.mu.Lock()
	key := jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: is.key, KeyID: is.kid}}
	is.mu.Unlock()
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// ObjectID is the stable id (`oid`) of a person or an agent: made of the name, shaped like a UUID.
func ObjectID(name string) string {
	sum := sha256.Sum256([]byte("object " + name))
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

func (is *Issuer) claims() map[string]any {
	now := is.o.Now()
	return map[string]any{
		"iss": is.URL(), "aud": is.o.Audience, "tid": is.o.Tenant, "ver": "2.0",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(is.o.Lifetime).Unix(),
	}
}

// AgentToken is an access token of an agent, acting for itself. mods change its claims before it is signed.
func (is *Issuer) AgentToken(clientID string, mods ...func(map[string]any)) (string, error) {
	for _, a := range is.o.Agents {
		if a.ClientID != clientID {
			continue
		}
		c := is.claims()
		c["azp"], c["oid"], c["sub"], c["idtyp"] = a.ClientID, ObjectID(a.ClientID), ObjectID(a.ClientID), "app"
		c["app_displayname"] = a.Name
		if a.Groups != nil {
			c["groups"] = a.Groups
		}
		if a.Roles != nil {
			c["roles"] = a.Roles
		}
		return is.modified(c, mods)
	}
	return "", fmt.Errorf("there is no agent %q", clientID)
}

// PersonToken is an access token of a person who signed in with a client.
func (is *Issuer) PersonToken(name, clientID string, mods ...func(map[string]any)) (string, error) {
	for _, p := range is.o.People {
		if p.Name != name {
			continue
		}
		c := is.claims()
		c["azp"], c["oid"], c["sub"], c["scp"] = clientID, ObjectID(p.Name), "pairwise-"+ObjectID(p.Name+clientID), "access"
		c["preferred_username"] = p.Name
		if p.Groups != nil {
			c["groups"] = p.Groups
		}
		return is.modified(c, mods)
	}
	return "", fmt.Errorf("there is no person %q", name)
}

func (is *Issuer) modified(c map[string]any, mods []func(map[string]any)) (string, error) {
	for _, m := range mods {
		m(c)
	}
	return is.Sign(c, "JWT")
}

func (is *Issuer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+is.base()+"/.well-known/openid-configuration", is.discovery)
	mux.HandleFunc("GET "+is.base()+"/keys", is.keys)
	mux.HandleFunc("POST "+is.base()+"/token", is.token)
	mux.HandleFunc("POST "+is.base()+"/devicecode", is.deviceCode)
	mux.HandleFunc("GET /device", is.devicePage)
	mux.HandleFunc("POST /device", is.confirm)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Demo", "development issuer: never trust it with anything real")
		mux.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

func (is *Issuer) discovery(w http.ResponseWriter, _ *http.Request) {
	u := is.URL()
	answer(w, 200, map[string]any{
		"issuer": u, "jwks_uri": u + "/keys", "token_endpoint": u + "/token",
		"device_authorization_endpoint":         u + "/devicecode",
		"grant_types_supported":                 []string{"client_credentials", "urn:ietf:params:oauth:grant-type:device_code", "refresh_token"},
		"response_types_supported":              []string{"none"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"ES256"},
		"demo":                                  "a development issuer: never trust it with anything real",
	})
}

func (is *Issuer) keys(w http.ResponseWriter, _ *http.Request) {
	is.mu.Lock()
	is.requests++
	is.mu.Unlock()
	answer(w, 200, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{is.PublicKey()}})
}

func oauthError(w http.ResponseWriter, status int, code, description string) {
	answer(w, status, map[string]string{"error": code, "error_description": description})
}

func (is *Issuer) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		oauthError(w, 400, "invalid_request", "The form is not well-formed.")
		return
	}
	switch r.PostForm.Get("grant_type") {
	case "client_credentials":
		is.clientCredentials(w, r)
	case "urn:ietf:params:oauth:grant-type:device_code":
		is.deviceToken(w, r)
	case "refresh_token":
		is.refreshed(w, r)
	default:
		oauthError(w, 400, "unsupported_grant_type", "This issuer knows client_credentials, device_code and refresh_token.")
	}
}

func (is *Issuer) clientCredentials(w http.ResponseWriter, r *http.Request) {
	id, secret, ok := r.BasicAuth()
	if !ok {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	for _, a := range is.o.Agents {
		if a.ClientID == id && subtle.ConstantTimeCompare([]byte(a.Secret), []byte(secret)) == 1 && secret != "" {
			token, err := is.AgentToken(id)
			is.issue(w, token, "", err)
			return
		}
	}
	oauthError(w, 401, "invalid_client", "The client or its secret is wrong.")
}

func (is *Issuer) issue(w http.ResponseWriter, token, refresh string, err error) {
	if err != nil {
		oauthError(w, 400, "invalid_grant", err.Error())
		return
	}
	body := map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": int(is.o.Lifetime.Seconds())}
	if refresh != "" {
		body["refresh_token"] = refresh
	}
	answer(w, 200, body)
}

func (is *Issuer) known(client string) bool {
	for _, c := range is.o.Clients {
		if c == client {
			return true
		}
	}
	return false
}

func (is *Issuer) deviceCode(w http.ResponseWriter, r *http.Request) {
	client := r.FormValue("client_id")
	if !is.known(client) {
		oauthError(w, 401, "invalid_client", "The client is not known.")
		return
	}
	code := rand.Text()
	d := &device{user: rand.Text()[:8], client: client, scope: r.FormValue("scope"), expires: is.o.Now().Add(10 * time.Minute)}
	is.mu.Lock()
	if len(is.devices) >= 1000 {
		clear(is.devices)
	}
	is.devices[code] = d
	is.mu.Unlock()
	page := "http://" + is.listener.Addr().String() + "/device"
	answer(w, 200, map[string]any{
		"device_code": code, "user_code": d.user, "verification_uri": page,
		"verification_uri_complete": page + "?code=" + d.user, "expires_in": 600, "interval": 1,
	})
}

func (is *Issuer) deviceToken(w http.ResponseWriter, r *http.Request) {
	code := r.PostForm.Get("device_code")
	is.mu.Lock()
	d := is.devices[code]
	var g grant
	switch {
	case d == nil || d.client != r.PostForm.Get("client_id") || is.o.Now().After(d.expires):
		is.mu.Unlock()
		oauthError(w, 400, "expired_token", "The sign-in was not found, or took too long.")
		return
	case d.person == "":
		is.mu.Unlock()
		oauthError(w, 400, "authorization_pending", "The person has not confirmed yet.")
		return
	}
	delete(is.devices, code)
	g = grant{d.person, d.client, d.scope}
	is.mu.Unlock()
	is.grant(w, g)
}

func (is *Issuer) grant(w http.ResponseWriter, g grant) {
	token, err := is.PersonToken(g.person, g.client)
	refresh := rand.Text()
	is.mu.Lock()
	is.refresh[refresh] = g
	is.mu.Unlock()
	is.issue(w, token, refresh, err)
}

func (is *Issuer) refreshed(w http.ResponseWriter, r *http.Request) {
	old := r.PostForm.Get("refresh_token")
	is.mu.Lock()
	g, ok := is.refresh[old]
	delete(is.refresh, old)
	is.mu.Unlock()
	if !ok || g.client != r.PostForm.Get("client_id") {
		oauthError(w, 400, "invalid_grant", "The refresh token is not known any more: sign in again.")
		return
	}
	is.grant(w, g)
}

//go:embed device.html
var deviceHTML string

var devicePage = template.Must(template.New("device").Parse(deviceHTML))

func (is *Issuer) devicePage(w http.ResponseWriter, r *http.Request) {
	is.show(w, r.URL.Query().Get("code"), "")
}

func (is *Issuer) show(w http.ResponseWriter, code, done string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'")
	devicePage.Execute(w, map[string]any{"Code": code, "People": is.o.People, "Done": done})
}

// confirm is the person's click: whoever can reach this page can be anyone of the demo.
func (is *Issuer) confirm(w http.ResponseWriter, r *http.Request) {
	if err := is.Confirm(r.FormValue("code"), r.FormValue("person")); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		is.show(w, r.FormValue("code"), err.Error())
		return
	}
	is.show(w, "", "You are signed in as "+r.FormValue("person")+". Go back to the terminal.")
}

// Confirm confirms the sign-in with a user code as a person.
func (is *Issuer) Confirm(code, person string) error {
	code = strings.ToUpper(strings.TrimSpace(code))
	if !is.person(person) {
		return fmt.Errorf("there is no person %q in this demo", person)
	}
	is.mu.Lock()
	defer is.mu.Unlock()
	for _, d := range is.devices {
		if d.user == code && d.person == "" && is.o.Now().Before(d.expires) {
			d.person = person
			return nil
		}
	}
	return errors.New("there is no sign-in with this code")
}

func (is *Issuer) person(name string) bool {
	for _, p := range is.o.People {
		if p.Name == name {
			return true
		}
	}
	return false
}

// Shutdown stops serving after the requests that run.
func (is *Issuer) Shutdown(ctx context.Context) error { return is.server.Shutdown(ctx) }
