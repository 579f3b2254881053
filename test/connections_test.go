package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/internal/demo/shop"
	"gatehouse/internal/gate"
)

// ownDatabase makes a database of the test's own, and gives a connection of the superuser to it.
func ownDatabase(t testing.TB, name, setUp string) *pgx.Conn {
	t.Helper()
	admin(t, "CREATE DATABASE "+name)
	conn, err := pgx.Connect(t.Context(), server.AdminURL(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	if _, err := conn.Exec(t.Context(), setUp); err != nil {
		t.Fatal(err)
	}
	return conn
}

// shopAlone makes a database with the shop's tables, in which no other test makes more, and gives its URL.
func shopAlone(t testing.TB, name string) string {
	t.Helper()
	ownDatabase(t, name, shop.Tables()+"; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "+shop.Role)
	return server.URL(shop.Role, "", name)
}

// labels gives the connection other labels.
func labels(s string) func(string) string {
	return replacing("labels: "+shop.Labels, "labels: "+s)
}

// TestConnections: what is configured, for people and for programs, without a secret.
func TestConnections(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	g.ok("", []string{"CONNECTION", "shop  ", "postgres://", "/shop", "env:test", "ai-agents dba", "gatehouse"}, "connections", "list")
	var list []struct {
		Name, Kind, Target, Role string
		Labels                   []gate.Labelled
	}
	if err := json.Unmarshal([]byte(g.ok("", nil, "connections", "list", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Name != "shop" || list[0].Kind != "postgres" || list[0].Role != shop.Role || len(list[0].Labels) != 5 {
		t.Errorf("%+v", list)
	}
	g.ok("", []string{"target ", "role ", "from the file " + g.path("database.password"), "sslmode", "verify-full", "public.customers.email", "pii.email", "connect to " + g.pg + " with the database name shop"}, "connections", "show", "shop")
	if text := g.ok("", []string{`"name": "shop"`}, "connections", "show", "shop", "--output", "json"); !json.Valid([]byte(text)) {
		t.Error(text)
	}
	for _, verb := range []string{"show", "check", "grants"} {
		g.refuses("", []string{`there is no connection "shpo"`, "is shop meant?"}, "connections", verb, "shpo")
	}
}

// inspection is what `connections check -o json` prints.
type inspection struct {
	Connection string
	OK         bool
	gate.Inspection
}

func (g *gateway) inspects(code int) inspection {
	g.t.Helper()
	r := g.cli("", "connections", "check", "shop", "--output", "json")
	var i inspection
	if err := json.Unmarshal([]byte(r.out), &i); err != nil || r.code != code || i.OK != (code == 0) || i.Connection != "shop" {
		g.t.Fatalf("exit %d, want %d: %v\n%s%s", r.code, code, err, r.out, r.err)
	}
	return i
}

// TestCheckFindsRisks: every right beyond rows is named with its remedy, and the remedies are right: run as
// they are printed, they leave nothing to say.
func TestCheckFindsRisks(t *testing.T) {
	t.Parallel()
	conn := ownDatabase(t, "risky", `CREATE TABLE public.people (id int PRIMARY KEY, email text, phone text, "homeAddress" text, email_sent_at date, is_token bool, api_key text);
		CREATE TABLE public.log (id int, who int REFERENCES people);
		CREATE VIEW public.contacts AS SELECT id, email AS contact FROM people;
		CREATE MATERIALIZED VIEW public.kept AS SELECT upper(email) AS m FROM people;
		CREATE TABLE public.parts (id int, mail text) PARTITION BY RANGE (id);
		CREATE TABLE public.parts_1 PARTITION OF public.parts FOR VALUES FROM (0) TO (10);
		CREATE TABLE public.keys (email text UNIQUE);
		CREATE TABLE public.refs (address text REFERENCES keys (email));
		CREATE ROLE riskygroup; CREATE ROLE riskysuper SUPERUSER;
		CREATE ROLE risky LOGIN PASSWORD 'made_up_secret_x' CREATEROLE CREATEDB BYPASSRLS REPLICATION;
		GRANT pg_monitor, pg_read_server_files, pg_write_server_files, pg_execute_server_program, pg_signal_backend, riskygroup, riskysuper TO risky;
		GRANT pg_read_all_settings TO riskygroup; GRANT EXECUTE ON FUNCTION pg_read_file(text) TO risky;
		ALTER TABLE log OWNER TO risky; ALTER VIEW contacts OWNER TO risky;
		GRANT CREATE ON DATABASE risky TO risky; CREATE SCHEMA IF NOT EXISTS ext; GRANT CREATE ON SCHEMA public TO risky`)
	g := start(t, options{password: "made_up_secret_x", upstream: server.URL("risky", "", "risky"),
		change: labels(`{public.people: {email: pii.email, phon: pii.phone}, public.peeple: {email: pii.email}, public.parts: {mail: pii.email}, public.keys: {email: pii.email}}`)})

	found := g.inspects(1)
	text := g.refuses("", []string{"connection shop is not fit for use"}, "connections", "check", "shop")
	if strings.Contains(text, "made_up_secret_x") {
		t.Error("the password is shown")
	}
	said := ""
	for _, f := range found.Findings {
		said += fmt.Sprintf("%s: %s %s\n", f.Level, f.Problem, f.Remedy)
	}
	contains(t, said,
		`error: The table public.people has no column phon, which the configuration names: is phone meant?`,
		`error: There is no table public.peeple, which the configuration names: is public.people meant?`,
		`error: The role risky is BYPASSRLS. ALTER ROLE "risky" NOBYPASSRLS;`,
		`error: The role risky is REPLICATION. ALTER ROLE "risky" NOREPLICATION;`,
		`error: The role risky is CREATEROLE. ALTER ROLE "risky" NOCREATEROLE;`,
		`warning: The role risky is CREATEDB.`,
		`error: The role risky is a member of pg_monitor. REVOKE "pg_monitor" FROM "risky";`,
		`error: The role risky is a member of pg_read_all_settings. Revoke from "risky" the role through which`,
		`error: The role risky is a member of pg_read_server_files.`, `error: The role risky is a member of pg_write_server_files.`,
		`error: The role risky is a member of pg_execute_server_program.`, `warning: The role risky is a member of pg_signal_backend.`,
		`error: The role risky is a member of riskysuper, which is superuser.`, `warning: The role risky is a member of riskygroup, whose rights are its own too.`,
		`error: The role risky is owner of labelled tables (public.contacts).`, `warning: The role risky is owner of tables (public.log).`,
		`error: The role risky is allowed to reach the server's files with pg_read_file.`,
		`warning: The role risky is allowed to create schemas in the database.`, `warning: The role risky is allowed to create objects in the schema public.`,
	)
	flowed := fmt.Sprint(found.Labels)
	contains(t, flowed, "{public.people.email [pii.email] }", "{public.contacts.contact [pii.email] view over public.people.email}", "{public.kept.m [pii.email] view over public.people.email}",
		"{public.parts_1.mail [pii.email] partition of public.parts.mail}", "{public.refs.address [pii.email] foreign key or row type with public.keys.email}")
	if got := fmt.Sprint(found.Suggestions); got != `[{public.people.phone [pii.phone] } {public.people."homeAddress" [pii.address] } {public.people.api_key [secret] }]` {
		t.Errorf("suggestions %s", got)
	}
	refused(t, g.signIn(g.token()), "unavailable", "08006")
	g.logs(`level=WARN msg="a connection was looked at" connection=shop problem="The role risky is BYPASSRLS\."`)

	// What is printed helps.
	g.write("gatehouse.yaml", replacing("phon: pii.phone}, public.peeple: {email: pii.email}", "phone: pii.phone}")(g.text("gatehouse.yaml")))
	for _, f := range found.Findings {
		if strings.HasSuffix(f.Remedy, ";") && !strings.Contains(f.Remedy, "…") {
			if _, err := conn.Exec(t.Context(), f.Remedy); err != nil {
				t.Errorf("%s: %v", f.Remedy, err)
			}
		}
	}
	if _, err := conn.Exec(t.Context(), `ALTER VIEW contacts OWNER TO postgres; REVOKE EXECUTE ON FUNCTION pg_read_file(text) FROM risky`); err != nil {
		t.Fatal(err)
	}
	found = g.inspects(0)
	if len(found.Findings) != 2 { // it owns the table log, and may create in public
		t.Errorf("%+v", found.Findings)
	}
	if code := g.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d", code)
	}
	g.restart()
	exec1(t, g.dial(nil), "SELECT 1")
}

func (g *gateway) text(name string) string {
	g.t.Helper()
	b, err := os.ReadFile(g.path(name))
	if err != nil {
		g.t.Fatal(err)
	}
	return string(b)
}

// TestCheckOfAUsualRole: nothing is wrong with the shop's; a superuser is refused, or accepted by name; and a
// database that cannot be reached is an error with a remedy.
func TestCheckOfAUsualRole(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	if i := g.inspects(0); !strings.HasPrefix(i.Server, "PostgreSQL ") || len(i.Labels) < 5 {
		t.Errorf("%+v", i)
	}
	g.ok("", []string{"labels in force", "public.customers.email"}, "connections", "check", "shop")
	for what, one := range map[string]struct {
		o    options
		code int
		want string
	}{
		"superuser": {options{password: server.Password, upstream: server.URL("postgres", "", "shop"), fails: true}, 1, "The role postgres is a superuser."},
		"accepted":  {options{password: server.Password, upstream: server.URL("postgres", "", "shop"), change: func(s string) string { return s + "    allow_privileged_role: true\n" }}, 0, "It is accepted by allow_privileged_role."},
		"password":  {options{password: "wrong-password-of-the-role"}, 1, "Correct the role in url, its password, or the server's pg_hba.conf."},
		"database":  {options{upstream: server.URL(shop.Role, "", "nowhere")}, 1, "Correct the database's name in url."},
		"nobody":    {options{upstream: "postgres://gatehouse@" + address(t) + "/shop?sslmode=disable"}, 1, "cannot be reached"},
	} {
		t.Run(what, func(t *testing.T) {
			one.o.fails = false
			g := start(t, one.o)
			r := g.cli("", "connections", "check", "shop")
			if r.code != one.code || !strings.Contains(r.out, one.want) || strings.Contains(r.out+r.err, "wrong-password") {
				t.Errorf("exit %d, want %d with %q\n%s%s", r.code, one.code, one.want, r.out, r.err)
			}
		})
	}
}

// TestStartWithoutADatabase: the gateway serves, and says at once what is wrong with each connection.
func TestStartWithoutADatabase(t *testing.T) {
	t.Parallel()
	g := start(t, options{upstream: "postgres://gatehouse@" + address(t) + "/shop?sslmode=disable"})
	g.logs(`level=WARN msg="a connection was looked at" connection=shop problem="The database cannot be reached: .*refused`)
	g.ok("ada", []string{"No held requests."}, "approvals", "list")

	env := start(t, options{change: func(s string) string {
		at := strings.Index(s, "    password: {")
		return s[:at] + "    password: {env: SHOP_PASSWORD_NOT_SET}\n" + s[at+strings.Index(s[at:], "\n")+1:]
	}})
	env.logs(`level=WARN msg="a connection was looked at" connection=shop problem="The environment variable SHOP_PASSWORD_NOT_SET`)
	env.refuses("", []string{"a secret that it names is not there", `connection "shop"`, "SHOP_PASSWORD_NOT_SET", "set it in the environment"}, "config", "validate")
	env.refuses("", []string{"not fit for use"}, "connections", "check", "shop")

	file := start(t, options{})
	if err := os.Remove(file.path("database.password")); err != nil {
		t.Fatal(err)
	}
	file.refuses("", []string{`connection "shop"`, file.path("database.password"), "cannot be read (no such file or directory)"}, "config", "validate")
}

// TestGrants gives a fresh role what is printed, by psql, and does the tour's work with it: it is enough, and
// what only shows as a constant cannot be read by the role at all.
func TestGrants(t *testing.T) {
	t.Parallel()
	admin(t, `CREATE ROLE "fresh Role" LOGIN PASSWORD 'made_up_secret_x'`)
	admin(t, `CREATE SCHEMA more; CREATE TABLE more.tickets (id serial PRIMARY KEY, customer int REFERENCES public.customers, note text, at date DEFAULT now());
		CREATE VIEW more.mails AS SELECT id, email FROM public.customers;
		GRANT ALL ON ALL TABLES IN SCHEMA more TO "fresh Role"; GRANT SELECT ON public.customers TO "fresh Role"`) // too much: it goes
	upstream, err := url.Parse(server.URL(shop.Role, "", "shop"))
	if err != nil {
		t.Fatal(err)
	}
	upstream.User = url.User("fresh Role")
	g := start(t, options{password: "made_up_secret_x", upstream: upstream.String(), change: replacing("groups: [ai-agents, dba]", "groups: [ai-agents, dba]\n    search_path: [public, more]")})
	text := g.ok("", []string{"BEGIN;", "COMMIT;", `GRANT SELECT ("id", "name", "email", "national_id", "phone", "tier", "created_at") ON "public"."customers" TO "fresh Role";`,
		`GRANT SELECT ON "public"."orders" TO "fresh Role";`, `"email") ON "more"."mails" TO "fresh Role";`, `GRANT USAGE ON SEQUENCE "more"."tickets_id_seq" TO "fresh Role";`,
		"-- The policies permit CREATE TABLE in public"}, "connections", "grants", "shop")
	g.write("grants.sql", text)
	psql := exec.CommandContext(within(t), "psql", "-X", "-v", "ON_ERROR_STOP=1", "-f", g.path("grants.sql"), server.AdminURL("shop"))
	if out, err := psql.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, text)
	}

	direct, err := pgx.Connect(t.Context(), strings.Replace(upstream.String(), "@", ":made_up_secret_x@", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close(context.Background())
	for _, sql := range []string{"SELECT birth_date FROM public.customers", "SELECT profile FROM public.customers", "SELECT * FROM public.customers", "CREATE TABLE public.mine (i int)"} {
		_, err := direct.Exec(t.Context(), sql)
		var e *pgconn.PgError
		if !errors.As(err, &e) || e.Code != "42501" {
			t.Errorf("the role itself: %s: %v", sql, err)
		}
	}

	conn := g.dial(nil)
	for _, sql := range []string{
		"SELECT id, name, email, national_id, phone, birth_date FROM customers ORDER BY id LIMIT 3",
		"SELECT * FROM customers ORDER BY id LIMIT 2",
		"SELECT upper(c.email) AS contact, reverse(c.national_id) AS x, md5(c.phone) AS y, c.profile->>'email' AS z FROM customers c WHERE c.email LIKE '%@%' ORDER BY c.id LIMIT 3",
		"SELECT status, count(*), sum(total) FROM orders GROUP BY status ORDER BY status",
		"SELECT count(*) FROM customers WHERE birth_date IS NULL",
		"SELECT c.name, count(*) FROM customers c JOIN orders o ON o.customer_id = c.id GROUP BY c.id ORDER BY 2 DESC LIMIT 2",
		"SELECT * FROM mails ORDER BY id LIMIT 2",
		"SELECT c FROM customers c ORDER BY id LIMIT 1",
		"SELECT * FROM orders o, payments p, products r WHERE p.order_id = o.id AND r.id = o.product_id LIMIT 1",
	} {
		noRaw(t, sql, rowsOf(t, conn, sql))
	}
	refused(t, second(conn.Exec(t.Context(), "DROP TABLE customers")), "policy_denied", "42501")
	for sql, tag := range map[string]string{
		"INSERT INTO tickets (customer, note) VALUES (7, 'n') RETURNING id, note":                           "INSERT 0 1",
		"UPDATE tickets SET note = 'm' WHERE id = 1":                                                        "UPDATE",
		"UPDATE customers SET tier = 'gold', birth_date = NULL WHERE id = 9999 RETURNING birth_date, email": "UPDATE 1",
		"SELECT id FROM orders WHERE id = 42 FOR UPDATE":                                                    "SELECT 1",
		"DELETE FROM tickets WHERE id < 0":                                                                  "DELETE 0",
	} {
		a := g.asking()
		h := a.holdSQL(sql)
		g.ok("ada", []string{"is approved"}, "approvals", "approve", h.id)
		if err := h.wait(); err != nil || !strings.HasPrefix(h.tag.String(), tag) {
			t.Errorf("%s: %s %v", sql, h.tag, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
