package postgres

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/demo/cluster"
	"gatehouse/internal/demo/cluster/clustertest"
)

var server *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(clustertest.Run(m, nil, func(c *cluster.Cluster) { server = c }))
}

// reviewed are functions on the list that are volatile, each with its reason.
var reviewed = map[string]string{
	"random": "a random source", "random_normal": "a random source", "array_sample": "a random source", "array_shuffle": "a random source",
	"uuidv4": "a random source", "uuidv7": "the clock and a random source", "gen_random_uuid": "a random source",
	"clock_timestamp": "the clock", "timeofday": "the clock",
}

// TestFunctionsOfTheServer: every overload in the server's pg_catalog of a listed name is a plain function
// that reads nothing: not volatile, not one that runs text, reads settings, files or tables.
func TestFunctionsOfTheServer(t *testing.T) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, server.AdminURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	names := make([]string, 0, len(functions))
	for n := range functions {
		names = append(names, n)
	}
	rows, err := conn.Query(ctx, `SELECT p.proname, p.provolatile::text, p.prosrc, pg_get_function_arguments(p.oid), prolang = (SELECT oid FROM pg_language WHERE lanname = 'sql'), proargtypes::oid[] && ARRAY['regclass','regproc','regtype','regnamespace','regrole','regconfig','regdictionary']::regtype[]::oid[]
		FROM pg_proc p WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY($1)`, names)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for rows.Next() {
		var name, volatile, source, arguments string
		var sql, names bool
		if err := rows.Scan(&name, &volatile, &source, &arguments, &sql, &names); err != nil {
			t.Fatal(err)
		}
		seen[name] = true
		if volatile == "v" && reviewed[name] == "" {
			t.Errorf("%s(%s) is volatile", name, arguments)
		}
		if sql && strings.Contains(strings.ToLower(source), " from ") && !strings.Contains(source, "substring") {
			t.Errorf("%s(%s) is a query: %s", name, arguments, source)
		}
		if strings.HasPrefix(name, "xml") && name != "xmlagg" && name != "xmlcomment" {
			t.Errorf("%s(%s) is on the list", name, arguments)
		}
		for _, bad := range []string{"to_xml", "setting", "file", "query_to", "cursor", "stat_get", "ts_rewrite"} {
			if strings.Contains(name, bad) {
				t.Errorf("%s(%s) is on the list", name, arguments)
			}
		}
	}
	if rows.Err() != nil {
		t.Fatal(rows.Err())
	}
	var missing []string
	for n := range functions {
		if !seen[n] {
			missing = append(missing, n)
		}
	}
	slices.Sort(missing)
	// Words of SQL syntax, and functions of newer servers.
	allowed := []string{"ceiling", "like_escape", "trim_array", "unistr", "coalesce", "regexp_count", "regexp_instr", "regexp_like", "regexp_substr", "date_bin", "bit_xor", "range_agg", "range_intersect_agg", "system_user", "erf", "erfc", "gamma", "lgamma", "array_sample", "array_shuffle", "array_sort", "array_reverse", "to_bin", "to_oct", "casefold", "crc32", "crc32c",
		"date_add", "date_subtract", "random_normal", "uuidv4", "uuidv7", "uuid_extract_version", "uuid_extract_timestamp", "unicode_assigned", "any_value", "json_array", "character_length", "char_length"}
	for _, n := range missing {
		if !slices.Contains(allowed, n) {
			t.Errorf("%s is on the list, and the server does not have it", n)
		}
	}
}

// setup makes on the server what the shop of the golden cases describes.
const setup = `
	CREATE TYPE mood AS ENUM ('happy', 'sad');
	CREATE TABLE customers (id int PRIMARY KEY, name text, email text, ssn varchar(20), gone int, profile jsonb, secret text);
	ALTER TABLE customers DROP COLUMN gone;
	CREATE TABLE orders (id int PRIMARY KEY, customer_id int, total numeric, status text);
	CREATE TABLE audited (id int);
	CREATE TABLE "Odd Table" ("Col ""x""" text, tag text);
	INSERT INTO customers VALUES (1, 'Ada', 'ada.l@corp.example', '123-45-6789', '{"email": "ada.l@corp.example"}', 'witness-1'),
		(2, 'Bo', 'bo@x', '12', NULL, 'witness-2'), (3, 'Cy', NULL, NULL, '{}', NULL);
	INSERT INTO orders VALUES (1, 1, 10, 'paid'), (2, 1, 20, 'open'), (3, 2, 5, 'paid');
	INSERT INTO audited VALUES (1), (2);
`

// TestMaskedOnTheServer runs every query of the golden cases as it is printed: it must be valid there, and
// show no raw value. Without masks it must give exactly what the client's own text gives.
func TestMaskedOnTheServer(t *testing.T) {
	ctx := context.Background()
	admin, err := pgx.Connect(ctx, server.AdminURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	if _, err := admin.Exec(ctx, "CREATE DATABASE guard"); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, server.AdminURL("guard"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, setup); err != nil {
		t.Fatal(err)
	}
	g, err := New()
	if err != nil {
		t.Fatal(err)
	}
	masked := shop()
	open := shop()
	open.Sight = eyes{}
	for _, c := range cases(t, "testdata/select.txtar") {
		if strings.Contains(c.sql, "$1") || strings.HasPrefix(c.name, "extension") || c.name == "view" || c.name == "hidden-table" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			if plan, err := g.Analyze(masked, c.sql); err == nil {
				got, err := dump(ctx, conn, "SET search_path = pg_catalog, pg_temp", plan.Text)
				if err != nil {
					t.Errorf("masked: %v\n%s", err, plan.Text)
				}
				for _, raw := range []string{"ada.l@", "bo@x", "123-45", "witness"} {
					if strings.Contains(got, raw) {
						t.Errorf("%q came back:\n%s\n%s", raw, got, plan.Text)
					}
				}
			}
			plan, err := g.Analyze(open, c.sql)
			if err != nil {
				return // refused whoever asks
			}
			got, err1 := dump(ctx, conn, "SET search_path = pg_catalog, pg_temp", plan.Text)
			want, err2 := dump(ctx, conn, "SET search_path = public", c.sql)
			if err1 != nil || err2 != nil || got != want {
				t.Errorf("through the guard: %v\n%s\ndirect: %v\n%s\n%s", err1, got, err2, want, plan.Text)
			}
		})
	}
	// The masks themselves, and that the types stay.
	plan, err := g.Analyze(masked, "SELECT id, email, ssn, profile FROM customers ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	got, err := dump(ctx, conn, "SET search_path = pg_catalog, pg_temp", plan.Text)
	want := "id/23/-1 email/25/-1 ssn/1043/24 profile/3802/-1\n" +
		"1|a***@***.invalid|***6789|null\n2|***|***|null\n3|null|null|null\n"
	if err != nil || got != want {
		t.Errorf("%v\ngot\n%s\nwant\n%s\n%s", err, got, want, plan.Text)
	}
}

// dump runs texts and gives the last one's result: columns with type and modifier, and rows.
func dump(ctx context.Context, conn *pgx.Conn, before, text string) (string, error) {
	if _, err := conn.Exec(ctx, before); err != nil {
		return "", err
	}
	var b strings.Builder
	results, err := conn.PgConn().Exec(ctx, text).ReadAll()
	if err != nil {
		return "", err
	}
	for _, r := range results {
		for i, f := range r.FieldDescriptions {
			if i > 0 {
				b.WriteString(" ")
			}
			b.WriteString(f.Name + "/" + itoa(int(f.DataTypeOID)) + "/" + itoa(int(f.TypeModifier)))
		}
		b.WriteString("\n")
		lines := []string{}
		for _, row := range r.Rows {
			cells := make([]string, len(row))
			for i, c := range row {
				cells[i] = string(c)
				if c == nil {
					cells[i] = "null"
				}
			}
			lines = append(lines, strings.Join(cells, "|"))
		}
		if !strings.Contains(text, "ORDER BY") {
			slices.Sort(lines)
		}
		for _, l := range lines {
			b.WriteString(l + "\n")
		}
	}
	return b.String(), nil
}
