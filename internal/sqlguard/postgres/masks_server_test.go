package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/policy"
)

// ownDatabase is a database of the test's own.
func ownDatabase(t *testing.T, name, setup string) *pgx.Conn {
	t.Helper()
	ctx := context.Background()
	admin, err := pgx.Connect(ctx, server.AdminURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	if _, err := admin.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, server.AdminURL(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(ctx) })
	if _, err := conn.Exec(ctx, setup); err != nil {
		t.Fatal(err)
	}
	return conn
}

// partialOf is what partial shows of a text, by the words of its rule.
func partialOf(s string) string {
	chars := []rune(s)
	most := 4
	if beyond := len(s) - len(chars); len(s) > 10 && beyond < 4 {
		most -= beyond
	}
	if len(chars) < 8 {
		return "***"
	}
	return "***" + string(chars[len(chars)-most:])
}

// TestPartialOfTexts: in every type, by every collation, of whatever characters, partial shows the last four of eight or
// more, or fewer, and never raises. email shows the first of three or more before the first "@".
func TestPartialOfTexts(t *testing.T) {
	ctx := context.Background()
	conn := ownDatabase(t, "partial", `CREATE COLLATION loose (provider = icu, locale = 'und-u-ka-shifted-ks-level1', deterministic = false); CREATE TABLE v (t text)`)
	values := []string{"", "*", "***", "1234", "1234567", "12345678", "123-45-6789", "+49 170 1234567", "--- ---- ----", "***********", "        1234", "1234        ",
		"Müller-Schmidt", "Müllerü", "éééé", "ééééééé", "éééééééé", "Αθανασία Παπαδοπούλου", "山田太郎東京都千代田区", "山田太郎東京", "日本語123", "٠١٢٣٤٥٦٧٨٩", "aaaaaaaaaé", "aaaaaé", "aaaaaa𝄞a", "𝄞𝄞𝄞𝄞𝄞𝄞𝄞𝄞", "e\u0301e\u0301e\u0301e\u0301", strings.Repeat("x", 5000) + "tail", strings.Repeat("é", 5000)}
	for _, s := range values {
		if _, err := conn.Exec(ctx, "INSERT INTO v VALUES ($1)", s); err != nil {
			t.Fatal(err)
		}
		if s := partialOf(s); utf8.RuneCountInString(s) > 7 {
			t.Fatalf("the rule shows %q", s)
		}
	}
	for _, column := range []struct{ expr, spelled string }{
		{"t", "text"}, {`t COLLATE loose`, "text"}, {`t COLLATE "C"`, "text"}, {"t::varchar", "character varying"}, {"t::varchar(5100)", "character varying(5100)"}, {"t::char(5100)", "character(5100)"},
	} {
		kind := map[string]string{"text": "text", "character varying": "varchar", "character": "bpchar"}[strings.Split(column.spelled, "(")[0]]
		c := &Column{Name: "c", Type: Name{"pg_catalog", kind}, TypeMod: -1, Spelled: column.spelled}
		mask := maskText(c, policy.Exposure{Visible: true, Mask: policy.MaskPartial}, "s.c")
		rows, err := conn.Query(ctx, fmt.Sprintf("SELECT s.t, (%s)::text, pg_typeof(%s)::text FROM (SELECT t, %s AS c FROM v) s", mask, mask, column.expr))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for ; rows.Next(); n++ {
			var raw, got, typ string
			if err := rows.Scan(&raw, &got, &typ); err != nil {
				t.Fatal(err)
			}
			if kind == "bpchar" {
				raw = strings.TrimRight(raw, " ")
			}
			if want := partialOf(raw); got != want || typ != strings.Split(column.spelled, "(")[0] {
				t.Errorf("%s of %.40q: %q of type %s, want %q", column.expr, raw, got, typ, want)
			}
		}
		if rows.Err() != nil || n != len(values) {
			t.Errorf("%s: %d rows, %v", column.expr, n, rows.Err())
		}
	}
	email := maskText(&Column{Name: "c", Type: Name{"pg_catalog", "text"}, TypeMod: -1, Spelled: "text"}, policy.Exposure{Visible: true, Mask: policy.MaskEmail}, "s.c")
	for raw, want := range map[string]string{
		"": "***", "@": "***", "bo@x": "***", "bob@x": "b***@***.invalid", "ééé@x": "é***@***.invalid", "éé@x": "***", "nobody": "***", "a@b.example@c": "***", "abc@": "a***@***.invalid", "𝄞bc@x.example": "𝄞***@***.invalid",
	} {
		for _, collation := range []string{"loose", `"C"`, `"default"`} {
			var got string
			if err := conn.QueryRow(ctx, "SELECT "+email+" FROM (SELECT $1::text COLLATE "+collation+" AS c) s", raw).Scan(&got); err != nil || got != want {
				t.Errorf("email of %q in %s: %q %v, want %q", raw, collation, got, err, want)
			}
		}
	}
	var null *string
	if err := conn.QueryRow(ctx, "SELECT "+partialText("NULL::text")).Scan(&null); err != nil || null != nil {
		t.Errorf("of NULL: %v %v", null, err)
	}
}

// planned is what a plan does, without what it costs and without the names of its rows.
type planned struct {
	NodeType      string    `json:"Node Type"`
	ParallelAware bool      `json:"Parallel Aware"`
	Index         string    `json:"Index Name"`
	Relation      string    `json:"Relation Name"`
	Workers       int       `json:"Workers Planned"`
	Parent        string    `json:"Parent Relationship"`
	Plans         []planned `json:"Plans"`
}

func (p planned) write(b *strings.Builder, depth int) {
	if p.Parent == "InitPlan" && p.NodeType == "Result" { // the key of pseudonyms is read once
		return
	}
	p.NodeType = strings.ReplaceAll(p.NodeType, "Index Only Scan", "Index Scan") // a constant needs no table
	fmt.Fprintf(b, "%s%s %s %s parallel=%v workers=%d\n", strings.Repeat("  ", depth), p.NodeType, p.Relation, p.Index, p.ParallelAware, p.Workers)
	for _, below := range p.Plans {
		below.write(b, depth+1)
	}
}

func explained(ctx context.Context, t *testing.T, conn *pgx.Conn, path, sql string) string {
	t.Helper()
	if _, err := conn.Exec(ctx, "SET search_path = "+path); err != nil {
		t.Fatal(err)
	}
	var text string
	if err := conn.QueryRow(ctx, "EXPLAIN (FORMAT JSON) "+sql, pgx.QueryExecModeSimpleProtocol).Scan(&text); err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
	var top []struct{ Plan planned }
	if err := json.Unmarshal([]byte(text), &top); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	top[0].Plan.write(&b, 0)
	return b.String()
}

// TestMasksKeepPlans: under every mask a statement whose conditions and order are over columns without a label is
// planned as it would be over the table itself: indexes, their order, workers.
func TestMasksKeepPlans(t *testing.T) {
	ctx := context.Background()
	conn := ownDatabase(t, "plans", `
		CREATE TABLE customers (id int PRIMARY KEY, name text, email text, ssn varchar(20), gone int, profile jsonb, secret text);
		ALTER TABLE customers DROP COLUMN gone;
		CREATE TABLE orders (id int PRIMARY KEY, customer_id int, total numeric, status text);
		INSERT INTO customers SELECT i, 'name ' || i, 'a' || i || '@b.example', '123-45-' || i, '{}', 'x' FROM generate_series(1, 100000) i;
		INSERT INTO orders SELECT i, i % 100000, i, 'paid' FROM generate_series(1, 100000) i;
		CREATE INDEX by_name ON customers (name); CREATE INDEX partly ON customers (id) WHERE name > 'name 9'; CREATE INDEX upper_name ON customers (upper(name));
		CREATE INDEX by_customer ON orders (customer_id);
		ANALYZE; SET jit = off; SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 10; SET gatehouse.token_key = '\x00'`)
	g, err := New()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []policy.Mask{policy.MaskNull, policy.MaskRedact, policy.MaskPartial, policy.MaskEmail, policy.MaskToken} {
		env := shop()
		env.Tokens = true
		sight := maps.Clone(env.Sight.(eyes))
		for _, column := range []string{"email", "ssn"} {
			sight["orders/public.customers."+column] = policy.Exposure{Visible: true, Mask: m}
			for _, action := range []string{"insert", "update"} {
				sight[action+" orders/public.customers."+column] = policy.Exposure{}
			}
		}
		sight["insert orders/public.customers"], sight["update orders/public.customers"] = policy.Exposure{}, policy.Exposure{}
		sight["orders/public.audited"], sight["orders/public.names"] = policy.Exposure{}, policy.Exposure{}
		env.Sight = sight
		for _, f := range []string{"public.trg()", "public.trg"} {
			sight["call orders/"+f] = policy.Exposure{}
		}
		for sql, node := range map[string]string{
			"SELECT name, email, ssn FROM customers WHERE id = 7":                                                                              "Index Scan customers customers_pkey",
			"SELECT * FROM (SELECT id, email FROM customers) c WHERE c.id IN (1, 2, 3)":                                                        "Index Scan customers customers_pkey",
			"SELECT email FROM customers WHERE id BETWEEN 10 AND 20 AND name LIKE 'n%'":                                                        "Index Scan customers customers_pkey",
			"SELECT id, email FROM customers ORDER BY id LIMIT 10":                                                                             "Index Scan customers customers_pkey",
			"SELECT email, ssn FROM customers ORDER BY name DESC LIMIT 10 OFFSET 5":                                                            "Index Scan customers by_name",
			"SELECT email FROM customers WHERE upper(name) = 'NAME 12'":                                                                        "upper_name",
			"SELECT email FROM customers WHERE name > 'name 9' AND id < 100":                                                                   "Index Scan customers partly",
			"SELECT o.total, c.email FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.id = 9":                                    "Index Scan customers customers_pkey",
			"SELECT c.email, o.total FROM customers c LEFT JOIN orders o ON o.customer_id = c.id WHERE c.id = 9":                               "by_customer",
			"SELECT o.id, c.email FROM orders o LEFT JOIN customers c ON c.id = o.customer_id WHERE o.id = 9":                                  "Index Scan customers customers_pkey",
			"SELECT o.id FROM orders o WHERE o.id < 5 AND EXISTS (SELECT 1 FROM customers c WHERE c.id = o.customer_id AND c.name <> 'x')":     "Index Scan customers customers_pkey",
			"SELECT max(id), min(id) FROM customers":                                                                                           "Index Scan customers customers_pkey",
			"SELECT count(*) FROM customers WHERE name LIKE '%99%'":                                                                            "Seq Scan customers  parallel=true",
			"SELECT count(email), max(ssn) FROM customers":                                                                                     "Seq Scan customers  parallel=true",
			"SELECT email FROM customers WHERE name LIKE '%99%99%'":                                                                            "Seq Scan customers  parallel=true",
			"WITH c AS (SELECT id, email FROM customers) SELECT email FROM c WHERE id = 3":                                                     "Index Scan customers customers_pkey",
			"SELECT o.id, (SELECT c.email FROM customers c WHERE c.id = o.customer_id) FROM orders o WHERE o.id = 1":                           "Index Scan customers customers_pkey",
			"SELECT x.email FROM orders o, LATERAL (SELECT c.email FROM customers c WHERE c.id = o.customer_id LIMIT 1) x WHERE o.id IN (1,2)": "Index Scan customers customers_pkey",
		} {
			plan, err := g.Analyze(env, sql)
			if err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
			if !strings.Contains(plan.Text, "t(c1") || m == policy.MaskToken && strings.Contains(sql, "email") && !strings.Contains(plan.Text, "sha256") {
				t.Errorf("%v is not put: %s", m, plan.Text)
			}
			direct := explained(ctx, t, conn, "public", sql)
			masked := explained(ctx, t, conn, "pg_catalog, pg_temp", plan.Text)
			if direct != masked || !strings.Contains(masked, node) {
				t.Errorf("%v: %s\ndirect\n%smasked\n%swant in it %s\n%s", m, sql, direct, masked, node, plan.Text)
			}
		}
	}
}
