package test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/record"
)

// unsigned makes a token by hand: a header, claims, a signature.
func unsigned(t testing.TB, header string, claims map[string]any, sign func(string) []byte) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding
	text := enc.EncodeToString([]byte(header)) + "." + enc.EncodeToString(payload)
	var signature []byte
	if sign != nil {
		signature = sign(text)
	}
	return text + "." + enc.EncodeToString(signature)
}

// TestTokensThatAreRefused: each with the reason and the remedy, before anything else is said.
func TestTokensThatAreRefused(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	var claims map[string]any
	good := g.token(func(c map[string]any) { claims = c })
	parts := strings.Split(good, ".")
	set := func(name string, v any) func(map[string]any) {
		return func(c map[string]any) {
			if c[name] = v; v == nil {
				delete(c, name)
			}
		}
	}
	now := time.Now()
	other := newIssuer(t, 0)
	foreign, err := other.AgentToken(agentID)
	if err != nil {
		t.Fatal(err)
	}
	pretending, err := other.AgentToken(agentID, set("iss", g.issuer.URL()))
	if err != nil {
		t.Fatal(err)
	}
	wrongType, err := g.issuer.Sign(claims, "dpop+jwt")
	if err != nil {
		t.Fatal(err)
	}
	public, err := g.issuer.PublicKey().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range []struct{ what, token, reason string }{
		{"nothing", "", "The password is empty"},
		{"garbage", "hunter2", "not a token"},
		{"dots", "a.b.c", "not a token"},
		{"five parts", "a.b.c.d.e", "not a token"},
		{"not ASCII", "ä.ö.ü", "not a token"},
		{"very long", strings.Repeat("x", 20<<10), "too long"},
		{"another audience", g.token(set("aud", "api://other")), "meant for another audience"},
		{"no audience", g.token(set("aud", nil)), "meant for another audience"},
		{"expired", g.token(set("exp", now.Add(-time.Hour).Unix())), "expired"},
		{"just expired", g.token(set("exp", now.Add(-2*time.Second).Unix())), "expired"},
		{"no expiry", g.token(set("exp", nil)), "no expiry"},
		{"not valid yet", g.token(set("nbf", now.Add(time.Hour).Unix())), "not valid yet"},
		{"another issuer", foreign, "does not trust"},
		{"another issuer's signature", pretending, "signature is not valid"},
		{"another tenant", g.token(set("tid", "99999999-2222-3333-4444-555555555555")), "another tenant"},
		{"an ID token", g.token(set("nonce", "x")), "ID token"},
		{"an ID token without a client", g.token(set("azp", nil)), "ID token"},
		{"a type of its own", wrongType, "not an access token"},
		{"bound to a key", g.token(set("cnf", map[string]any{"jkt": "x"})), "bound to a key"},
		{"too many groups", g.token(set("hasgroups", true)), "leaves out groups"},
		{"neither agent nor user", g.token(set("idtyp", nil), set("sub", "x")), "neither proves"},
		{"a changed claim", parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+g.issuer.URL()+`"}`)) + "." + parts[2], "signature"},
		{"no algorithm", unsigned(t, `{"alg":"none","typ":"JWT"}`, claims, nil), "not a token"},
		{"None", unsigned(t, `{"alg":"None","typ":"JWT"}`, claims, nil), "not a token"},
		{"HS256 with the public key", unsigned(t, `{"alg":"HS256","typ":"JWT","kid":"`+g.issuer.PublicKey().KeyID+`"}`, claims, func(s string) []byte {
			m := hmac.New(sha256.New, public)
			m.Write([]byte(s))
			return m.Sum(nil)
		}), "not a token"},
		{"a key of its own", unsigned(t, `{"alg":"ES256","jwk":`+string(public)+`}`, claims, func(string) []byte { return make([]byte, 64) }), ""},
	} {
		if one.token == good {
			t.Fatal(one.what)
		}
		err := g.signIn(one.token, func(c *pgx.ConnConfig) { c.RuntimeParams["application_name"] = "x" })
		if err == nil {
			t.Errorf("%s: signed in", one.what)
			continue
		}
		e := refused(t, err, "identity_rejected", "28000", one.reason)
		if e.Severity != "FATAL" || one.token != "" && len(one.token) > 10 && strings.Contains(err.Error(), one.token[:10]) {
			t.Errorf("%s: %v", one.what, err)
		}
	}
	if err := g.signIn(good); err != nil {
		t.Error(err)
	}
	r := g.command(t.Context(), g.psqlEnv("hunter2"), "", "psql", "-X", "-c", "SELECT 1")
	if r.code != 2 {
		t.Errorf("psql: exit %d", r.code)
	}
	contains(t, r.err, "FATAL:  That is not a token of a configured issuer.", "DETAIL:  code: identity_rejected", "HINT:  Give an access token in place of the password")
}

// TestWhoMayConnect: groups of a connection, a name that is no connection.
func TestWhoMayConnect(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	outsider, err := g.issuer.AgentToken(otherAgent)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, g.signIn(outsider), "policy_denied", "42501", "connect", "groups")
	refused(t, g.signIn(g.person("mallory", cliClient)), "policy_denied", "42501")
	e := refused(t, g.signIn(g.token(), func(c *pgx.ConnConfig) { c.Database = "postgres" }), "policy_denied", "3D000", `There is no connection named "postgres"`)
	if strings.Contains(e.Message+e.Hint, "shop") {
		t.Error("the refusal names another connection")
	}
	for name, value := range map[string]string{"role": "postgres", "options": "-c role=postgres", "replication": "database", "client_encoding": "LATIN1", "session_preload_libraries": "x"} {
		refused(t, g.signIn(g.token(), func(c *pgx.ConnConfig) { c.RuntimeParams[name] = value }), "not_understood", "0A000")
	}
}

// TestOnBehalfOf: a person with her own client is herself; through an agent's client it is the agent that
// asks, and both must be permitted.
func TestOnBehalfOf(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: `
@id("read") permit (principal, action == Action::"read", resource);
@id("people-see-mail") permit (principal is User in Group::"dba", action == Action::"reveal", resource) when { resource.labels.contains("pii.email") };
`})
	email := func(token string) string {
		t.Helper()
		conn := g.dial(func(c *pgx.ConnConfig) { c.Password = token })
		var s string
		if err := conn.QueryRow(within(t), "SELECT email FROM customers WHERE id = 3").Scan(&s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	raw := truth[string](t, "SELECT email FROM customers WHERE id = 3")
	if got := email(g.person("ada", cliClient)); got != raw {
		t.Errorf("ada herself sees %s", got)
	}
	if got := email(g.token()); got == raw {
		t.Error("the agent sees what only people may")
	}
	if got := email(g.person("ada", "copilot")); got == raw {
		t.Error("the agent that acts for ada sees what only people may")
	}
	refused(t, g.signIn(g.person("mallory", "copilot")), "policy_denied", "42501") // she may not connect herself
	refused(t, g.signIn(g.person("ada", "unknown-client")), "policy_denied", "42501")
	g.stop(syscall.SIGTERM)
	list, err := record.List(context.Background(), g.recordings(), record.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range list {
		names = append(names, s.Principal.String())
	}
	contains(t, strings.Join(names, "\n"), "ada (user)", "shop-agent (agent)", "copilot (agent) on behalf of ada (user)")
}

// TestTokenEndsDuringSession: after the token's end no statement starts, a transaction can still be ended for
// a while, and then the session is.
func TestTokenEndsDuringSession(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: readWrite})
	name := table(t, "id int PRIMARY KEY")
	token := g.token(func(c map[string]any) { c["exp"] = time.Now().Add(12 * time.Second).Unix() })
	same := func(c *pgx.ConnConfig) { c.Password = token }
	refusedOne, committed, watching := g.dial(same), g.dial(same), g.dial(same)
	idle := g.wire(token)
	for i, conn := range []*pgx.Conn{refusedOne, committed} {
		exec1(t, conn, "BEGIN")
		exec1(t, conn, fmt.Sprintf("INSERT INTO %s VALUES (%d)", name, i))
	}
	var err error
	eventually(t, "the token ends", func() bool {
		_, err = watching.Exec(within(t), "SELECT 1", pgx.QueryExecModeSimpleProtocol)
		return err != nil
	})
	if e := refused(t, err, "identity_rejected", "28000", "expired", "gatehouse token"); e.Severity != "ERROR" {
		t.Errorf("%+v", e)
	}
	if tag := exec1(t, committed, "COMMIT"); tag != "COMMIT" {
		t.Error(tag)
	}
	_, err = refusedOne.Exec(within(t), "SELECT 1")
	refused(t, err, "identity_rejected", "28000")
	if s := refusedOne.PgConn().TxStatus(); s != 'E' {
		t.Errorf("the status is %c", s)
	}
	if tag := exec1(t, refusedOne, "COMMIT"); tag != "ROLLBACK" {
		t.Error(tag)
	}
	if got := truth[string](t, "SELECT string_agg(id::text, ',') FROM "+name); got != "1" {
		t.Errorf("kept %s, want what was committed in time", got)
	}
	if e := idle.fatal(); e.Severity != "FATAL" || e.Code != "28000" || !strings.Contains(e.Message, "expired") {
		t.Errorf("%+v", e)
	}
	refused(t, g.signIn(token), "identity_rejected", "28000", "expired")
}

// TestRotation: a new key is fetched when it is seen, and the old one counts no more.
func TestRotation(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	old := g.token()
	if err := g.signIn(old); err != nil {
		t.Fatal(err)
	}
	open := g.dial(nil)
	if err := g.issuer.Rotate(); err != nil {
		t.Fatal(err)
	}
	fresh := g.token()
	eventually(t, "a token of the new key is accepted", func() bool { return g.signIn(fresh) == nil })
	refused(t, g.signIn(old), "identity_rejected", "28000")
	exec1(t, open, "SELECT 1")
}

// TestIssuerDown: keys that are known go on; a gateway that knows none says so.
func TestIssuerDown(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	if err := g.signIn(g.token()); err != nil {
		t.Fatal(err)
	}
	g.issuer.Close()
	if err := g.signIn(g.token()); err != nil {
		t.Errorf("with known keys: %v", err)
	}
	g.stop(syscall.SIGTERM)
	g.restart()
	refused(t, g.signIn(g.token()), "identity_rejected", "28000", "cannot be reached", "Try again")
}

// TestPlainLoopback: on loopback a client may do without TLS.
func TestPlainLoopback(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	for _, mode := range []string{"disable", "prefer", "require", "verify-ca", "verify-full"} {
		env := append(g.psqlEnv(g.token()), "PGSSLMODE="+mode)
		r := g.command(t.Context(), env, "", "psql", "-X", "-At", "-c", "SELECT 6 * 7")
		if r.code != 0 || r.out != "42\n" {
			t.Errorf("%s: %s %s", mode, r.out, r.err)
		}
	}
	if err := g.signIn(g.token(), func(c *pgx.ConnConfig) { c.TLSConfig = nil }); err != nil {
		t.Error(err)
	}
	r := g.command(t.Context(), append(g.psqlEnv(g.token()), "PGSSLROOTCERT="+server.CA), "", "psql", "-X", "-c", "SELECT 1")
	if r.code != 2 || !strings.Contains(r.err, "certificate verify failed") {
		t.Errorf("a certificate of another authority: %s", r.err)
	}
}
