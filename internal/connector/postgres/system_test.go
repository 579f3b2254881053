package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/policy"
)

// systemSetup is a database with something of each kind that the system catalogs list. What is called hidden is
// hidden from a principal that sees part; its values and names all hold the word.
const systemSetup = `
	CREATE TYPE mood AS ENUM ('glad', 'sad');
	CREATE TYPE hidden_mood AS ENUM ('hidden_glad');
	CREATE DOMAIN code AS text CHECK (VALUE ~ '^[a-z]+$');
	CREATE TYPE pair AS (a int, b text);
	CREATE TABLE customers (id serial PRIMARY KEY, name text NOT NULL DEFAULT 'nobody', email text UNIQUE, feeling mood, hidden_note text DEFAULT 'hidden default',
		gone int, hidden_state hidden_mood, CONSTRAINT hidden_check CHECK (length(hidden_note) < 100), CONSTRAINT named CHECK (name <> ''));
	ALTER TABLE customers DROP COLUMN gone;
	CREATE INDEX customers_lower ON customers (lower(name)) WHERE id > 0;
	CREATE INDEX hidden_index ON customers (lower(hidden_note));
	CREATE INDEX hidden_where ON customers (id) WHERE hidden_note IS NOT NULL;
	CREATE STATISTICS customers_stat ON id, name FROM customers;
	CREATE STATISTICS hidden_stat ON id, hidden_note FROM customers;
	COMMENT ON TABLE customers IS 'who buys'; COMMENT ON COLUMN customers.name IS 'how to call them';
	COMMENT ON COLUMN customers.hidden_note IS 'hidden comment'; COMMENT ON CONSTRAINT named ON customers IS 'not empty';
	CREATE TABLE hidden_table (id int PRIMARY KEY, hidden_value text, c code);
	COMMENT ON TABLE hidden_table IS 'hidden comment';
	CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int REFERENCES customers ON DELETE CASCADE, twice int GENERATED ALWAYS AS (id2 * 2) STORED, id2 int,
		vault int REFERENCES hidden_table, total numeric(10,2), at timestamptz DEFAULT now(), CONSTRAINT fifth CHECK (vault > 0));
	CREATE TABLE hidden_child (id int REFERENCES customers);
	CREATE TABLE archive () INHERITS (orders);
	CREATE TABLE parts (id int, region text) PARTITION BY LIST (region);
	CREATE TABLE parts_eu PARTITION OF parts FOR VALUES IN ('eu');
	CREATE INDEX ON parts (id);
	CREATE VIEW order_list AS SELECT o.id, c.name FROM orders o JOIN customers c ON c.id = o.customer;
	CREATE VIEW totals AS SELECT customer, sum(total) AS total FROM orders GROUP BY customer;
	CREATE VIEW hidden_view AS SELECT hidden_value FROM hidden_table;
	CREATE VIEW ids_of_vault AS SELECT id FROM hidden_table WHERE hidden_value = 'hidden literal';
	CREATE MATERIALIZED VIEW monthly AS SELECT date_trunc('month', at) AS month FROM orders;
	CREATE SEQUENCE counter; CREATE SEQUENCE hidden_sequence;
	CREATE FUNCTION add(a int, b int DEFAULT 1) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + b';
	CREATE FUNCTION hidden_function(x hidden_table) RETURNS int LANGUAGE sql AS 'SELECT 1 /* hidden body */';
	CREATE PROCEDURE work() LANGUAGE sql AS 'SELECT 1';
	CREATE AGGREGATE total_of (int) (SFUNC = int4pl, STYPE = int);
	CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
	CREATE TRIGGER touched BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch();
	CREATE TRIGGER hidden_trigger BEFORE UPDATE OF hidden_note ON customers FOR EACH ROW EXECUTE FUNCTION touch();
	CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
	CREATE SCHEMA other; CREATE TABLE other.things (id int PRIMARY KEY, pair pair, codes code[]); CREATE TABLE other.customers (id int);
	CREATE SCHEMA empty; CREATE SCHEMA hidden_schema; CREATE TABLE hidden_schema.hidden_far (id int);
	CREATE PUBLICATION news FOR TABLE orders;
	ALTER TABLE orders ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON orders USING (id > 0);
	CREATE RULE quiet AS ON DELETE TO parts_eu DO INSTEAD NOTHING;
	ALTER DEFAULT PRIVILEGES IN SCHEMA other GRANT SELECT ON TABLES TO PUBLIC;
	CREATE COLLATION plain (provider = libc, locale = 'C');
	CREATE TEXT SEARCH CONFIGURATION words (COPY = simple);
	CREATE EXTENSION hstore SCHEMA other;
	INSERT INTO customers (name, email, hidden_note) SELECT 'n' || g, 'secret' || g || '@x.example', 'hidden note ' || g FROM generate_series(1, 200) g;
	INSERT INTO hidden_table SELECT g, 'hidden value ' || g FROM generate_series(1, 20) g;
	INSERT INTO orders (customer, id2, total) SELECT g, g, g FROM generate_series(1, 100) g;
	ANALYZE;
	GRANT USAGE ON SCHEMA other, empty, hidden_schema TO gw;
	GRANT ALL ON ALL TABLES IN SCHEMA public, other, hidden_schema TO gw; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO gw;
`

// everythingPolicy permits all that there is; partPolicy all but what is called hidden, with e-mail masked.
const (
	everythingPolicy = `@id("all") permit (principal, action, resource);`
	partPolicy       = `@id("read") permit (principal, action == Action::"read", resource);
		@id("call") permit (principal, action == Action::"call", resource);
`
)

// hiddenThings are the resources that partPolicy hides.
var hiddenThings = []string{
	`Column::"shop/public.customers.hidden_note"`, `Column::"shop/public.customers.hidden_state"`, `Table::"shop/public.hidden_table"`, `Table::"shop/public.hidden_child"`, `Table::"shop/public.hidden_view"`,
	`Table::"shop/public.hidden_sequence"`, `Function::"shop/public.hidden_function(x public.hidden_table)"`, `Schema::"shop/hidden_schema"`,
}

func partly() string {
	policies := partPolicy
	for i, r := range hiddenThings {
		policies += fmt.Sprintf("@id(\"hidden-%d\") forbid (principal, action, resource in %s);\n", i, r)
	}
	return policies
}

// serveSystem puts a gateway with the policies before a database, and gives its address.
func serveSystem(t *testing.T, database, policies string) string {
	t.Helper()
	_, address := serveTest(t, "url: "+testServer.URL("gw", "", database)+"\npassword: {env: GW_PASSWORD}\nlabels: {public.customers: {email: pii.email}}\nallow_privileged_role: true",
		policy.Source{Name: "test.cedar", Text: []byte(policies)})
	return clientURL(address)
}

// systemDatabase makes the database of these tests, once.
func systemDatabase(t *testing.T) string {
	t.Helper()
	ctx := context.Background()
	admin, err := pgx.Connect(ctx, testServer.AdminURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	var there, role bool
	if err := admin.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'systems'), EXISTS (SELECT FROM pg_roles WHERE rolname = 'gw')").Scan(&there, &role); err != nil {
		t.Fatal(err)
	}
	if !role {
		if _, err := admin.Exec(ctx, evasionRoles); err != nil {
			t.Fatal(err)
		}
	}
	if !there {
		database(t, "systems", systemSetup).Close(ctx)
	}
	return "systems"
}

// table is the whole answer of a query as text.
func table(ctx context.Context, conn *pgx.Conn, query string) (string, error) {
	results, err := conn.PgConn().Exec(ctx, query).ReadAll()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, r := range results {
		for _, f := range r.FieldDescriptions {
			b.WriteString(f.Name + "|")
		}
		b.WriteByte('\n')
		for _, row := range r.Rows {
			for _, v := range row {
				if v == nil {
					b.WriteString("∅|")
				} else {
					b.WriteString(string(v) + "|")
				}
			}
			b.WriteByte('\n')
		}
	}
	return b.String(), nil
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// differing are the catalogs whose rows differ by design, or by what runs meanwhile.
var differing = map[string]string{
	"pg_settings": "harmless settings", "pg_rewrite": "its rules' trees are not shown", "pg_stat_activity": "the session's own", "pg_locks": "the session's own",
	"pg_stat_database": "this database's", "pg_database": "this database and the server's own", "pg_attribute": "no missing values", "pg_views": "qualified names", "pg_db_role_setting": "",
	"pg_aggregate": "qualified names of functions", "pg_stats_ext": "no statistics of a table with a masked column",
}

// TestSystemCatalogs: every catalog on the list shows a principal that sees everything what it shows the role
// itself, and one that sees part nothing that is hidden from it, by each of its columns.
func TestSystemCatalogs(t *testing.T) {
	ctx := context.Background()
	name := systemDatabase(t)
	direct := connect(t, testServer.URL("gw", "p", name))
	all := connect(t, serveSystem(t, name, everythingPolicy))
	part := connect(t, serveSystem(t, name, partly()))
	list, err := table(ctx, direct, `SELECT n.nspname || '.' || relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('pg_catalog', 'information_schema') AND relkind IN ('r', 'v') ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	answered := 0
	for _, relation := range strings.Split(strings.TrimSpace(list), "\n")[1:] {
		relation = strings.TrimSuffix(relation, "|")
		query := "SELECT * FROM " + relation + " ORDER BY 1, 2"
		if strings.Contains(relation, "_catalog_name") || strings.Contains(relation, "enabled_roles") {
			query = "SELECT * FROM " + relation
		}
		got, err := table(ctx, all, query)
		if err != nil {
			if !strings.Contains(err.Error(), "is not on the list") && !strings.Contains(err.Error(), "permission denied for table") {
				t.Errorf("%s: %v", relation, err)
			}
			continue
		}
		answered++
		want, err := table(ctx, direct, query)
		if err != nil { // the gateway does not ask for the columns that the role may not read
			want = got
		}
		short := strings.TrimPrefix(relation, "pg_catalog.")
		if _, known := differing[short]; lineDiff(want, got) != "" && !known && !strings.HasPrefix(short, "pg_stat") {
			t.Errorf("%s differs:\n%.3000s", relation, lineDiff(want, got))
		}
		hidden, err := table(ctx, part, query)
		if err != nil {
			t.Errorf("%s for a part: %v", relation, err)
		}
		for line := range strings.Lines(hidden) {
			if strings.Contains(line, "hidden") || strings.Contains(line, "secret1") {
				t.Errorf("%s shows what is hidden: %.300s", relation, line)
			}
		}
	}
	if answered < 120 {
		t.Errorf("%d catalogs were answered", answered)
	}
}

// lineDiff are the lines that are in one text alone.
func lineDiff(want, got string) string {
	count := map[string]int{}
	for line := range strings.Lines(want) {
		count[line]++
	}
	for line := range strings.Lines(got) {
		count[line]--
	}
	var b strings.Builder
	for line, n := range count {
		if n > 0 {
			b.WriteString("- " + line)
		} else if n < 0 {
			b.WriteString("+ " + line)
		}
	}
	return b.String()
}
