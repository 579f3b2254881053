package test

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

// byOAuth makes pgx sign in by OAUTHBEARER, in the way that it is asked for.
func byOAuth(token, how string) func(*pgx.ConnConfig) {
	return func(c *pgx.ConnConfig) {
		c.Password = ""
		c.OAuthTokenProvider = func(context.Context) (string, error) { return token, nil }
		if how == "options" {
			c.RuntimeParams["options"] = "-c gatehouse.auth=oauthbearer -c statement_timeout=7s"
		} else {
			c.RuntimeParams["gatehouse.auth"] = how
		}
	}
}

// TestOAuthBearer: a token by OAUTHBEARER is as good as one for a password, and no better.
func TestOAuthBearer(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	for _, how := range []string{"options", "oauthbearer", "OAuthBearer"} {
		conn := g.dial(byOAuth(g.token(), how))
		text := rowsOf(t, conn, "SELECT name, email FROM customers ORDER BY id LIMIT 3")
		contains(t, text, "***@***.invalid")
		noRaw(t, how, text)
		if how == "options" {
			contains(t, rowsOf(t, conn, "SHOW statement_timeout"), "7s")
		}
	}
	for what, token := range map[string]string{
		"a wrong token":   "abc.def.ghi",
		"an expired one":  g.token(func(c map[string]any) { c["exp"] = 1000 }),
		"another's":       g.token(func(c map[string]any) { c["aud"] = "someone else" }),
		"not even a word": "a b",
	} {
		err := g.signIn("", byOAuth(token, "options"))
		if err == nil || strings.Contains(err.Error(), token) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Other clients see nothing of it.
	exec1(t, g.dial(nil), "SELECT 1")
	if err := g.signIn(g.token(), func(c *pgx.ConnConfig) { c.RuntimeParams["gatehouse.auth"] = "password" }); err != nil {
		t.Error(err)
	}
	refused(t, g.signIn(g.token(), func(c *pgx.ConnConfig) { c.RuntimeParams["gatehouse.auth"] = "kerberos" }), "not_understood", "0A000", `"kerberos"`, "password or oauthbearer")
	refused(t, g.signIn(g.token(), func(c *pgx.ConnConfig) { c.RuntimeParams["options"] = "-B 5" }), "not_understood", "0A000", "options")
	r := g.command(within(t), append(os.Environ(), g.psqlEnv(g.token())...), "", "psql", "-X", "-w", "-c", "SELECT 1")
	if r.code != 0 {
		t.Errorf("psql: %+v", r)
	}
}

// TestOAuthBearerMessages: what goes over the wire, message by message (RFC 7628).
func TestOAuthBearerMessages(t *testing.T) {
	t.Parallel()
	g := start(t, options{change: replacing("issuers:\n", "issuers:\n  - {name: other, kind: oidc, issuer: 'https://other.example/x', audiences: [gw], scopes: [openid, db]}\n")})
	begin := func(more map[string]string) *wire {
		w := g.open()
		p := map[string]string{"user": "agent", "database": "shop", "gatehouse.auth": "oauthbearer"}
		for k, v := range more {
			p[k] = v
		}
		w.do(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersionNumber, Parameters: p})
		m := w.expect("AuthenticationSASL").(*pgproto3.AuthenticationSASL)
		if len(m.AuthMechanisms) != 1 || m.AuthMechanisms[0] != "OAUTHBEARER" {
			t.Fatalf("%+v", m)
		}
		return w
	}
	initial := func(response string) pgproto3.FrontendMessage {
		return &pgproto3.SASLInitialResponse{AuthMechanism: "OAUTHBEARER", Data: []byte(response)}
	}
	good := "n,,\x01auth=Bearer " + g.token() + "\x01\x01"

	w := begin(nil)
	w.do(initial(good))
	w.expect("AuthenticationOk")
	w.until("ReadyForQuery")
	w.steps("RowDescription, DataRow, CommandComplete SELECT 1, ReadyForQuery I", &pgproto3.Query{String: "SELECT 1"})

	// The response may come after the choice of the mechanism.
	w = begin(nil)
	w.do(raw("p", "OAUTHBEARER\x00\xff\xff\xff\xff"))
	if m := w.expect("AuthenticationSASLContinue").(*pgproto3.AuthenticationSASLContinue); len(m.Data) != 0 {
		t.Errorf("%q", m.Data)
	}
	w.do(&pgproto3.SASLResponse{Data: []byte(good)})
	w.expect("AuthenticationOk")

	// Without a token, and with a wrong one, the client is told where to get one.
	for _, response := range []string{"n,,\x01auth=\x01\x01", "n,,\x01auth=Bearer abc.def.ghi\x01\x01"} {
		for issuer, want := range map[string]map[string]string{
			"test":  {"status": "invalid_token", "scope": audience + "/.default", "openid-configuration": g.issuer.URL() + "/.well-known/openid-configuration"},
			"other": {"status": "invalid_token", "scope": "openid db", "openid-configuration": "https://other.example/x/.well-known/openid-configuration"},
			"":      {"status": "invalid_token", "scope": "openid db", "openid-configuration": "https://other.example/x/.well-known/openid-configuration"},
		} {
			more := map[string]string{}
			if issuer != "" {
				more["gatehouse.issuer"] = issuer
			}
			w = begin(more)
			w.do(initial(response))
			var got map[string]string
			m := w.expect("AuthenticationSASLContinue").(*pgproto3.AuthenticationSASLContinue)
			if err := json.Unmarshal(m.Data, &got); err != nil || len(got) != 3 {
				t.Fatalf("%s: %v", m.Data, err)
			}
			for k, v := range want {
				if got[k] != v {
					t.Errorf("%s: %s is %q, want %q", issuer, k, got[k], v)
				}
			}
			w.do(&pgproto3.SASLResponse{Data: []byte{1}})
			e := w.fatal()
			if e.Code != "28000" || e.Severity != "FATAL" || e.Hint == "" || strings.Contains(e.Message+e.Detail+e.Hint, "abc.def.ghi") {
				t.Errorf("%+v", e)
			}
		}
	}
	// What is not OAUTHBEARER ends the connection, with a word.
	for what, one := range map[string]struct {
		messages []pgproto3.FrontendMessage
		code     string
	}{
		"a password":             {[]pgproto3.FrontendMessage{&pgproto3.PasswordMessage{Password: g.token()}}, "08P01"},
		"another mechanism":      {[]pgproto3.FrontendMessage{&pgproto3.SASLInitialResponse{AuthMechanism: "SCRAM-SHA-256", Data: []byte("n,,n=,r=x")}}, "08P01"},
		"a query":                {[]pgproto3.FrontendMessage{&pgproto3.Query{String: "SELECT 1"}}, "08P01"},
		"not a response":         {[]pgproto3.FrontendMessage{initial("hello")}, "08P01"},
		"two tokens":             {[]pgproto3.FrontendMessage{initial("n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01")}, "08P01"},
		"channel binding":        {[]pgproto3.FrontendMessage{initial("p=tls-exporter,,\x01auth=Bearer a\x01\x01")}, "08P01"},
		"someone else":           {[]pgproto3.FrontendMessage{initial("n,a=admin," + strings.TrimPrefix(good, "n,,"))}, "0A000"},
		"a length that is wrong": {[]pgproto3.FrontendMessage{raw("p", "OAUTHBEARER\x00\x7f\xff\xff\xffx")}, "08P01"},
		"a query for an answer":  {[]pgproto3.FrontendMessage{initial("n,,\x01auth=\x01\x01"), &pgproto3.Query{String: "SELECT 1"}}, "08P01"},
		"a token for an answer":  {[]pgproto3.FrontendMessage{initial("n,,\x01auth=\x01\x01"), &pgproto3.SASLResponse{Data: []byte(good)}}, "08P01"},
	} {
		w := begin(nil)
		w.do(one.messages...)
		if e := w.fatal(); e.Code != one.code || strings.Contains(e.Message+e.Detail+e.Hint, tokenStart) {
			t.Errorf("%s: %+v", what, e)
		}
	}
	// A response that is too long is refused by its announced length.
	w = begin(nil)
	if _, err := w.Conn.Write(header('p', 64<<10)); err != nil {
		t.Fatal(err)
	}
	if e := w.fatal(); e.Code != "54000" {
		t.Errorf("%+v", e)
	}
	e := func() *pgproto3.ErrorResponse {
		w := g.open()
		w.do(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersionNumber, Parameters: map[string]string{"user": "a", "database": "shop", "gatehouse.auth": "oauthbearer", "gatehouse.issuer": "nobody"}})
		return w.fatal()
	}()
	if e.Code != "0A000" || !strings.Contains(e.Hint, "other, test") {
		t.Errorf("%+v", e)
	}
	exec1(t, g.dial(nil), "SELECT 1")
}
