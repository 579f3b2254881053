package postgres

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/deploy"
	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
	guard "gatehouse/internal/sqlguard/postgres"
)

var (
	update = flag.Bool("update", false, "write the golden files anew")
	only   = flag.String("evasion", "", "run the evasions whose id begins so, and say all that they show")
)

// evasion is one entry of testdata/evasions.sql; the head of that file says what its fields mean.
type evasion struct {
	id, category, role, protocol string
	witness                      *regexp.Regexp
	safe                         string
	parts                        []string
}

// entryStart begins an entry; the head of a file has a line of its own on the format.
var entryStart = regexp.MustCompile(`(?m)^-- @([0-9clmn][0-9])`)

func evasions(t *testing.T) []evasion {
	t.Helper()
	var entries []string
	files := []string{"testdata/evasions.sql", "testdata/evasions-more.sql", "testdata/evasions-copy.sql", "testdata/evasions-later.sql"}
	if serverVersion(t) >= 18 {
		files = append(files, "testdata/evasions-18.sql")
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, strings.Split(entryStart.ReplaceAllString(string(b), "\x00$1"), "\x00")[1:]...) // the head comes first
	}
	var out []evasion
	for _, entry := range entries {
		head, body, _ := strings.Cut(entry, "\n")
		f := strings.Split(head, " | ")
		if len(f) < 6 {
			t.Fatalf("not an entry: %s", head)
		}
		n := len(f) - 1 // a witness may hold a bar
		witness, err := regexp.Compile(strings.Join(f[4:n], " | "))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(f[0], *only) {
			continue
		}
		out = append(out, evasion{f[0], f[1], f[2], f[3], witness, f[n], strings.Split(strings.TrimSpace(body), "\n;;\n")})
	}
	return out
}

// serverVersion is the major version of the tests' server.
func serverVersion(t *testing.T) int {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), testServer.AdminURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	return guard.MajorVersion(conn.PgConn().ParameterStatus("server_version"))
}

// tokens takes one token, which is agent app.
type tokens struct{}

func (tokens) Verify(_ context.Context, token string) (identity.Identity, error) {
	if token != "token-of-app" {
		return identity.Identity{}, &identity.Error{Reason: "unknown token", Remedy: "Use another one."}
	}
	return identity.Identity{
		Principal: policy.Principal{Kind: policy.Agent, ID: "test:app", Issuer: "test", Groups: []string{"ai-agents"}},
		Expires:   time.Now().Add(time.Hour),
	}, nil
}

// yes approves everything at once: what the guard lets through counts, not what people would refuse.
type yes struct{}

func (yes) Open(context.Context, gate.Hold) (gate.Ticket, error) {
	return gate.Ticket{ID: "ap-1", Expires: time.Now().Add(time.Hour)}, nil
}
func (yes) Wait(context.Context, string) (gate.Answer, error) {
	return gate.Answer{State: "approved", By: []string{"test"}}, nil
}
func (yes) Start(context.Context, string, string) error        { return nil }
func (yes) Finish(context.Context, string, gate.Outcome) error { return nil }
func (yes) Void(context.Context, string, string) error         { return nil }
func (yes) Leave(string)                                       {}

// field is a database with the set-up of the evasions, made anew where something wrote to it.
type field struct {
	t      *testing.T
	admin  *pgx.Conn
	name   string
	server *server // nil: reached directly
	listen string
}

const evasionRoles = `CREATE ROLE app LOGIN PASSWORD 'p'; CREATE ROLE gw LOGIN PASSWORD 'p'; CREATE ROLE rep LOGIN REPLICATION PASSWORD 'p'; CREATE ROLE su LOGIN SUPERUSER PASSWORD 'p'; GRANT pg_read_all_stats TO app`

// evasionField makes the roles, and the database that every field is a copy of.
func evasionField(t *testing.T) *field {
	t.Helper()
	ctx := context.Background()
	admin, err := pgx.Connect(ctx, testServer.AdminURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { admin.Close(ctx) })
	var exists bool
	if err := admin.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'evasions')").Scan(&exists); err != nil {
		t.Fatal(err)
	}
	if !exists {
		if _, err := admin.Exec(ctx, evasionRoles); err != nil {
			t.Fatal(err)
		}
		var setup []string
		for _, file := range []string{"testdata/evasions-setup.sql", "testdata/evasions-more-setup.sql"} {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			setup = append(setup, string(b))
		}
		database(t, "evasions", strings.Join(setup, "\n")).Close(ctx)
	}
	f := &field{t: t, admin: admin, name: "field"}
	f.reset()
	return f
}

// reset makes the database anew.
func (f *field) reset() {
	f.t.Helper()
	for _, text := range []string{"DROP DATABASE IF EXISTS field WITH (FORCE)", "CREATE DATABASE field TEMPLATE evasions STRATEGY file_copy"} {
		_, err := f.admin.Exec(context.Background(), text)
		for try := 0; err != nil && strings.Contains(err.Error(), "replication slot") && try < 100; try++ { // its reader has not left yet
			time.Sleep(50 * time.Millisecond)
			_, err = f.admin.Exec(context.Background(), text)
		}
		if err != nil {
			f.t.Fatal(err)
		}
	}
	if f.server != nil {
		f.server.targets["shop"].catalogs.Invalidate()
	}
}

const evasionLabels = `
labels:
  public.customers: {email: pii.email, ssn: pii, profile: pii}
  public.audit_log: {row_data: pii}
  public.mailbox: {email: pii.email}
allow_privileged_role: true
`

// serve puts the gateway before the field, with everything real but the tokens and the people.
func (f *field) serve() {
	f.t.Helper()
	f.serveWith("url: " + testServer.URL("gw", "", f.name) + "\npassword: {env: GW_PASSWORD}" + evasionLabels)
}

// serveWith is serve with the options of the connection.
func (f *field) serveWith(text string) {
	f.t.Helper()
	f.server, f.listen = serveTest(f.t, text, policy.Source{Name: "starter.cedar", Text: deploy.Starter}, policy.Source{Name: "test.cedar", Text: []byte(`@id("test-writes") permit (principal, action in Action::"write", resource);
@id("test-set") permit (principal, action == Action::"set", resource);
@id("test-no-insert") forbid (principal, action == Action::"insert", resource in Table::"shop/public.orders");`)})
}

// url is where a client finds the field.
func (f *field) url(role string) string {
	if f.server == nil {
		return testServer.URL(role, "p", f.name)
	}
	return clientURL(f.listen)
}

// wrote matches the completion of a statement that may have changed something.
var wrote = regexp.MustCompile(`(?m)^C\t(INSERT|UPDATE|DELETE|MERGE|COPY|CREATE|ALTER|DROP|TRUNCATE|DO|CALL|SELECT INTO)`)

// writes matches texts whose completion does not tell that they write.
var writes = regexp.MustCompile(`(?i)\b(update|delete|merge|insert|into)\b|\bcreate table\b`)

// run sends an entry and gives the transcript. A session that was ended is not an error.
func (f *field) run(e evasion, how form) (*rawClient, bool) {
	f.t.Helper()
	fill := strings.NewReplacer("{{dir}}", testServer.Dir, "{{port}}", fmt.Sprint(testServer.Port), "{{db}}", f.name, "{{log}}", testServer.LogFile())
	if name, ok := strings.CutPrefix(e.protocol, "x:"); ok {
		return script(f.t, name, f.url(e.role), testServer.URL("su", "p", f.name), e.parts[0])
	}
	c, err := dialRaw(f.url(e.role), nil)
	if err != nil {
		f.t.Fatalf("@%s: %v", e.id, err)
	}
	defer c.close()
	for _, p := range e.parts {
		if err := c.part(how, fill.Replace(p)); err != nil {
			c.refusals = append(c.refusals, "the session ended")
			break
		}
	}
	if wrote.MatchString(c.transcript.String()) || writes.MatchString(strings.Join(e.parts, "\n")) || strings.Contains(e.parts[0], "slot") || strings.Contains(e.parts[0], "setval") {
		c.close()
		f.reset()
	}
	return c, true
}

// harmless are the entries that show nothing on the test's server even without a gateway, and why.
var harmless = map[string]string{
	"128": "the server refuses the message itself",
	"131": "the stream is not read to its first change",
	"167": "the server has no socket, and asks for passwords",
	"168": "the server has no socket, and asks for passwords",
	"173": "the server's log is not readable for its own user",
	"177": "a view depends on the column",
	"186": "the server is older than the function",
}

// TestEvasionsWork: without the gateway every entry gets its value out, so that a witness that is not seen
// behind the gateway means something.
func TestEvasionsWork(t *testing.T) {
	f := evasionField(t)
	for _, e := range evasions(t) {
		how := simple
		if e.protocol == "qb" {
			how = extendedBinary
		}
		c, ok := f.run(e, how)
		if !ok {
			continue
		}
		leaked := e.witness.MatchString(c.transcript.String())
		if why := harmless[e.id]; leaked == (why != "") {
			if e.id == "186" && leaked && serverVersion(t) >= 17 {
				continue
			}
			t.Errorf("@%s %s: leaked %v, known as harmless %q\n%.1000s", e.id, e.parts[0], leaked, why, c.transcript.String())
		}
	}
}

// TestEvasions runs every entry through the gateway in each form of result. No value may come back, and what
// could be answered masked but is refused is listed in testdata/evasions-refused.txt.
func TestEvasions(t *testing.T) {
	f := evasionField(t)
	f.serve()
	var refused bytes.Buffer
	var table strings.Builder
	counts := map[string]int{}
	for _, e := range evasions(t) {
		var skipped []string
		for how := simple; how <= extendedBinary; how++ {
			if how != simple && strings.HasPrefix(e.protocol, "x:") {
				continue
			}
			c, ok := f.run(e, how)
			if !ok {
				skipped = append(skipped, e.protocol)
				continue
			}
			if e.witness.MatchString(c.transcript.String()) {
				if e.safe == "LIMIT" {
					t.Logf("@%s (%s) is a known limit", e.id, how)
				} else {
					t.Errorf("LEAK @%s (%s): %s\n%.2000s", e.id, how, strings.Join(e.parts, "\n;;\n"), c.transcript.String())
				}
			}
			if *only != "" {
				t.Logf("@%s (%s)\n%s", e.id, how, c.transcript.String())
			}
			if how != simple {
				continue
			}
			verdict := "answered"
			switch {
			case len(c.refusals) > 0:
				verdict = "refused: " + c.refusals[0]
			case len(c.errors) > 0:
				verdict = "error: " + c.errors[0]
			}
			word, _, _ := strings.Cut(verdict, ":")
			counts[e.safe+" "+word]++
			fmt.Fprintf(&table, "@%s %-7s %-6s %s\n", e.id, e.category, e.safe, verdict)
			if e.safe == "MASK" && verdict != "answered" {
				fmt.Fprintf(&refused, "%s %s\n", e.id, verdict)
			}
		}
		if len(skipped) > 0 {
			t.Errorf("@%s was not run: there is no script for %s", e.id, skipped)
		}
	}
	var words []string
	for w, n := range counts {
		words = append(words, fmt.Sprintf("%s %d", w, n))
	}
	slices.Sort(words)
	t.Logf("what became of the entries (%s):\n%s", strings.Join(words, ", "), table.String())
	if *only != "" {
		return
	}
	const golden = "testdata/evasions-refused.txt"
	if *update {
		if err := os.WriteFile(golden, refused.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(refused.Bytes(), want) {
		t.Errorf("entries that could be answered masked and are not:\n%swant\n%s", refused.Bytes(), want)
	}
}
