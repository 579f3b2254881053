package postgres

import (
	"context"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"gopkg.in/yaml.v3"

	"gatehouse/internal/demo/cluster"
	"gatehouse/internal/demo/cluster/clustertest"
	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

var testServer *cluster.Cluster

func TestMain(m *testing.M) {
	settings := map[string]string{"wal_level": "logical", "shared_preload_libraries": "pg_stat_statements", "synchronous_commit": "on"} // for the evasions
	os.Exit(clustertest.Run(m, settings, func(c *cluster.Cluster) { testServer = c }))
}

func options(t *testing.T, text string) *Options {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		t.Fatal(err)
	}
	o, err := decodeOptions(n.Content[0])
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// database makes a database and gives a connection of the superuser to it.
func database(t *testing.T, name, setup string) *pgx.Conn {
	t.Helper()
	ctx := context.Background()
	admin, err := pgx.Connect(ctx, testServer.AdminURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	if _, err := admin.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, testServer.AdminURL(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(ctx) })
	if _, err := conn.Exec(ctx, setup); err != nil {
		t.Fatal(err)
	}
	return conn
}

const catalogSetup = `
	CREATE ROLE catalog_reader LOGIN PASSWORD 'reader';
	CREATE TABLE customers (id int PRIMARY KEY, gone int, email text UNIQUE, ssn varchar(11), domain text GENERATED ALWAYS AS (split_part(email, '@', 2)) STORED);
	ALTER TABLE customers DROP COLUMN gone;
	CREATE TABLE orders (id int PRIMARY KEY, customer_email text REFERENCES customers(email) ON UPDATE CASCADE ON DELETE SET NULL);
	CREATE TABLE lines (id int, order_id int REFERENCES orders ON DELETE CASCADE);
	CREATE TABLE archive () INHERITS (customers);
	CREATE VIEW contacts AS SELECT id, email AS contact FROM customers;
	CREATE VIEW above AS SELECT contact FROM contacts;
	CREATE VIEW stats AS SELECT tablename FROM pg_stats;
	CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
	CREATE TRIGGER loud BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION loud();
	CREATE FUNCTION ok(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
	CREATE DOMAIN word AS text CHECK (ok(VALUE));
	CREATE TABLE words (w word);
	CREATE TYPE mood AS ENUM ('a');
	CREATE TABLE moods (m mood, list mood[]);
	CREATE RULE quiet AS ON DELETE TO moods DO INSTEAD NOTHING;
	CREATE VIEW whole AS SELECT id, to_jsonb(c) AS j FROM customers c;
	CREATE TABLE boxes (id int, c customers, list customers[]);
	CREATE DOMAIN longer AS word;
	CREATE TABLE parent (w int);
	CREATE TABLE child (x longer[]) INHERITS (parent);
	CREATE TRIGGER loud BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION loud();
	CREATE TABLE under (id int PRIMARY KEY); CREATE TABLE beside (id int REFERENCES under ON DELETE CASCADE);
	CREATE TABLE over (id int); ALTER TABLE under INHERIT over;
	GRANT SELECT ON ALL TABLES IN SCHEMA public TO catalog_reader;
`

func TestCatalog(t *testing.T) {
	ctx := context.Background()
	admin := database(t, "catalog", catalogSetup)
	t.Setenv("READER", "reader")
	o := options(t, "url: "+testServer.URL("catalog_reader", "", "catalog")+"\npassword: {env: READER}\nlabels: {public.customers: {email: pii.email, ssn: [pii.national_id, secret]}}")
	c, err := newCatalogs(o, gate.Connection{Name: "catalog"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	got, facts, err := c.Current(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if facts.ServerVersion == "" || facts.TimeZone != "UTC" {
		t.Errorf("facts %+v", facts)
	}
	rel := func(name string) *guard.Relation {
		r := got.Relations[guard.Name{Schema: "public", Name: name}]
		if r == nil {
			t.Fatalf("no relation %s", name)
		}
		return r
	}
	for at, want := range map[string][]string{
		"customers.email": {"pii.email"}, "customers.ssn": {"pii.national_id", "secret"}, "customers.domain": {"pii.email"},
		"customers.id": nil, "orders.customer_email": {"pii.email"}, "archive.ssn": {"pii.national_id", "secret"},
		"contacts.contact": {"pii.email"}, "above.contact": {"pii.email"},
		"whole.j": {"pii.email", "pii.national_id", "secret"}, "boxes.c": {"pii.email", "pii.national_id", "secret"},
		"boxes.list": {"pii.email", "pii.national_id", "secret"}, "boxes.id": nil,
	} {
		table, column, _ := strings.Cut(at, ".")
		if c := rel(table).Column(column); c == nil || !reflect.DeepEqual(c.Labels, want) {
			t.Errorf("%s: %+v, want labels %v", at, c, want)
		}
	}
	customers := rel("customers")
	if c := customers.Column("ssn"); c.Spelled != "character varying(11)" || c.Number != 4 || customers.Natts != 5 || len(customers.Columns) != 4 {
		t.Errorf("ssn %+v of %d columns, %d numbers", c, len(customers.Columns), customers.Natts)
	}
	if want := []guard.Cascade{{OID: rel("orders").OID, OnDelete: "update", OnUpdate: "update"}}; !reflect.DeepEqual(customers.Cascades, want) {
		t.Errorf("cascades of customers %+v", customers.Cascades)
	}
	if want := []guard.Cascade{{OID: rel("lines").OID, OnDelete: "delete"}}; !reflect.DeepEqual(rel("orders").Cascades, want) {
		t.Errorf("cascades of orders %+v", rel("orders").Cascades)
	}
	if !reflect.DeepEqual(customers.PrimaryKey, []int16{1}) {
		t.Errorf("primary key %v", customers.PrimaryKey)
	}
	if calls := rel("orders").Calls; len(calls) != 1 || calls[0].Name.Name != "loud" {
		t.Errorf("calls of orders %+v", calls)
	}
	if calls := rel("words").Calls; len(calls) != 1 || calls[0].Name.Name != "ok" || calls[0].Arguments != "text" {
		t.Errorf("calls of words %+v", calls)
	}
	var names []string
	for _, f := range rel("parent").Calls {
		names = append(names, f.Name.Name)
	}
	if slices.Sort(names); !slices.Equal(names, []string{"loud", "ok"}) || !slices.Equal(rel("parent").Children, []uint32{rel("child").OID}) {
		t.Errorf("parent calls %v and has children %v", names, rel("parent").Children)
	}
	if calls := got.Types[guard.Name{Schema: "public", Name: "longer"}].Calls; len(calls) != 1 || calls[0].Name.Name != "ok" {
		t.Errorf("calls of a domain over a domain %+v", calls)
	}
	if want := []guard.Cascade{{OID: rel("beside").OID, OnDelete: "delete"}}; !reflect.DeepEqual(rel("over").Cascades, want) {
		t.Errorf("cascades of a parent %+v", rel("over").Cascades)
	}
	if !rel("words").Columns[0].Domain || rel("moods").Columns[0].Extension || rel("moods").Columns[1].Extension || !rel("moods").Rules {
		t.Errorf("words %+v, moods %+v", rel("words"), rel("moods"))
	}
	if rel("above").Unknown || len(rel("above").Reaches) != 2 || !rel("stats").Unknown {
		t.Errorf("above %+v, stats %+v", rel("above"), rel("stats"))
	}
	again, err := c.Reload(ctx)
	if err != nil || again != got {
		t.Errorf("an unchanged catalog is another one: %v", err)
	}
	if _, err := admin.Exec(ctx, "ALTER TABLE orders ADD COLUMN note text"); err != nil {
		t.Fatal(err)
	}
	changed, err := c.Reload(ctx)
	if err != nil || changed.Epoch <= got.Epoch || changed.Relations[guard.Name{Schema: "public", Name: "orders"}].Column("note") == nil {
		t.Errorf("a change was not seen: %v", err)
	}
	// A lost connection is made again.
	if _, err := admin.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gatehouse catalog'"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Reload(ctx); err != nil {
		t.Errorf("after the connection was lost: %v", err)
	}
}

func TestRolesThatAreTooPowerful(t *testing.T) {
	database(t, "roles", `CREATE TABLE customers (email text);
		CREATE ROLE owner LOGIN PASSWORD 'p'; ALTER TABLE customers OWNER TO owner;
		CREATE ROLE monitor LOGIN PASSWORD 'p'; GRANT pg_monitor TO monitor;
		CREATE ROLE bypass LOGIN BYPASSRLS PASSWORD 'p';
		CREATE ROLE replica LOGIN REPLICATION PASSWORD 'p';
		CREATE ROLE super LOGIN SUPERUSER PASSWORD 'p';
		CREATE ROLE creator LOGIN CREATEROLE PASSWORD 'p';
		CREATE ROLE behind SUPERUSER; CREATE ROLE distant LOGIN NOINHERIT PASSWORD 'p'; GRANT behind TO distant;
		CREATE ROLE between; GRANT pg_read_all_stats TO between; CREATE ROLE far LOGIN PASSWORD 'p'; GRANT between TO far;
		CREATE ROLE owners; CREATE TABLE others (email text); ALTER TABLE others OWNER TO owners; CREATE ROLE partner LOGIN NOINHERIT PASSWORD 'p'; GRANT owners TO partner;
		CREATE ROLE reader LOGIN PASSWORD 'p'; GRANT EXECUTE ON FUNCTION pg_read_file(text) TO reader;
		CREATE ROLE plain LOGIN CREATEDB PASSWORD 'p'; GRANT pg_signal_backend TO plain`)
	t.Setenv("P", "p")
	for role, want := range map[string]string{
		"owner": "owner of labelled tables (public.customers)", "monitor": "a member of pg_monitor", "bypass": "BYPASSRLS",
		"replica": "REPLICATION", "super": "a superuser", "plain": "",
		"creator": "CREATEROLE", "distant": "a member of behind, which is superuser (by SET ROLE)", "far": "a member of pg_read_all_stats",
		"partner": "owner of labelled tables (public.others)", "reader": "reach the server's files with pg_read_file",
	} {
		for _, allow := range []string{"false", "true"} {
			o := options(t, "url: "+testServer.URL(role, "", "roles")+"\npassword: {env: P}\nallow_privileged_role: "+allow+"\nlabels: {public.customers: {email: pii.email}, public.others: {email: pii.email}}")
			c, err := newCatalogs(o, gate.Connection{Name: "roles"}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = c.Current(context.Background())
			c.close()
			if want == "" || allow == "true" {
				if err != nil {
					t.Errorf("%s, allowed %s: %v", role, allow, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q", role, err, want)
			}
		}
	}
}

func TestOptionsAreStrict(t *testing.T) {
	for text, want := range map[string]string{
		"url: postgres://r@h/d\nlabls: {}":                               `line 2: unknown key "labls": did you mean "labels"?`,
		"url: postgres://r:secret@h/d":                                   "the password is not written in url",
		"url: mysql://r@h/d":                                             "url should be postgres://",
		"url: postgres://r@h/d?sslmode=prefer":                           "does not say whether the connection is encrypted",
		"url: postgres://r@h/d\npassword: secret":                        "use {env: NAME} or {file: PATH}",
		"url: postgres://r@h/d\nlimits: {}":                              `line 2: key "limits" is not built yet`,
		"url: postgres://r@h/d\nreviewed: {public.a: [b]}":               "reviewed means nothing without `strict: true`",
		"url: postgres://r@h/d\nstrict: true\nreviewed: {a: [b]}":        "should be schema.table",
		"url: postgres://r@h/d\nlabels: {public.a: {b: unreviewed}}":     "use another word",
		"url: postgres://r@h/d\nlabels: {customers: {email: pii.email}}": "should be schema.table",
		"url: postgres://r@h/d\nsearch_path: [pg_catalog]":               "is not one",
	} {
		var n yaml.Node
		if err := yaml.Unmarshal([]byte(text), &n); err != nil {
			t.Fatal(err)
		}
		_, err := decodeOptions(n.Content[0])
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") && !strings.Contains(err.Error(), "a secret is") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
	o := options(t, "url: postgres://r@db.example/d")
	if o.config.TLSConfig == nil || o.config.TLSConfig.ServerName != "db.example" || len(o.config.Fallbacks) != 0 {
		t.Error("a database elsewhere is reached without TLS")
	}
}
