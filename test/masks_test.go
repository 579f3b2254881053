package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// reading are ways to ask for what is masked.
var reading = []struct{ name, sql string }{
	{"column", "SELECT id, name, email, national_id, phone, birth_date, profile FROM customers WHERE id <= 40 ORDER BY id"},
	{"star", "SELECT * FROM customers WHERE id <= 40 ORDER BY id"},
	{"alias", "SELECT c.email AS a, c.national_id AS b, c.phone AS c, c.birth_date AS d FROM customers AS c WHERE c.id <= 40"},
	{"expression", "SELECT upper(email), reverse(national_id), md5(phone), profile->>'email', left(email, 30), encode(email::bytea, 'hex') FROM customers WHERE id <= 40"},
	{"whole row", "SELECT c FROM customers c WHERE id <= 40"},
	{"row to json", "SELECT to_jsonb(c), row_to_json(c)::text FROM customers c WHERE id <= 40"},
	{"join", "SELECT o.id, c.email, c.phone FROM orders o JOIN customers c ON c.id = o.customer_id WHERE c.id <= 40"},
	{"using", "SELECT * FROM customers a JOIN customers b USING (id) WHERE id <= 40"},
	{"cte", "WITH x AS (SELECT id, email AS e, phone FROM customers WHERE id <= 40) SELECT e || phone FROM x"},
	{"sub-select", "SELECT (SELECT string_agg(email, ',') FROM customers c WHERE c.id <= 40)"},
	{"union", "SELECT name FROM customers WHERE id <= 40 UNION ALL SELECT email FROM customers WHERE id <= 40"},
	{"lateral", "SELECT v FROM customers c, LATERAL unnest(ARRAY[c.email, c.phone, c.national_id]) v WHERE c.id <= 40"},
	{"aggregate", "SELECT array_agg(email), min(email), max(phone), count(DISTINCT national_id) FROM customers WHERE id <= 40"},
	{"window", "SELECT first_value(email) OVER (ORDER BY id), lag(phone) OVER (ORDER BY id) FROM customers WHERE id <= 40"},
	{"case", "SELECT CASE WHEN id > 0 THEN email ELSE phone END FROM customers WHERE id <= 40"},
	{"distinct on", "SELECT DISTINCT ON (tier) tier, email, phone FROM customers WHERE id <= 40 ORDER BY tier, id"},
	{"values of another table", "SELECT coalesce(c.email, p.name) FROM products p LEFT JOIN customers c ON c.id = p.id WHERE p.id <= 40"},
}

// TestMasksHold reads what is masked in every way that a client has, in every mode of the protocol.
func TestMasksHold(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	conn := g.dial(nil)
	modes := []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol}
	for _, r := range reading {
		for _, mode := range modes {
			noRaw(t, r.name+" in mode "+mode.String(), rowsOf(t, conn, r.sql, mode))
		}
		for _, format := range []int16{pgx.TextFormatCode, pgx.BinaryFormatCode} {
			res := conn.PgConn().ExecParams(within(t), r.sql, nil, nil, nil, []int16{format}).Read()
			if res.Err != nil {
				t.Errorf("%s in format %d: %v", r.name, format, res.Err)
				continue
			}
			noRaw(t, fmt.Sprintf("%s in format %d", r.name, format), fmt.Sprintf("%s", res.Rows))
			if len(res.Rows) == 0 {
				t.Errorf("%s: no rows came back", r.name)
			}
		}
	}
	var script strings.Builder
	for _, r := range reading {
		script.WriteString(r.sql + ";\n")
	}
	res := g.psql(script.String())
	if res.err != "" || strings.Count(res.out, " row") < len(reading) {
		t.Errorf("psql: %s", res.err)
	}
	noRaw(t, "psql", res.out)
}

func rowsOf(t testing.TB, conn *pgx.Conn, sql string, args ...any) string {
	t.Helper()
	rows, err := conn.Query(within(t), sql, args...)
	if err != nil {
		t.Errorf("%s: %v", sql, err)
		return ""
	}
	defer rows.Close()
	var out strings.Builder
	n := 0
	for rows.Next() {
		n++
		for _, v := range rows.RawValues() {
			fmt.Fprintf(&out, "%s\n", v)
		}
	}
	if rows.Err() != nil || n == 0 {
		t.Errorf("%s: %d rows, %v", sql, n, rows.Err())
	}
	return out.String()
}

// TestMasksShow says what a mask leaves, so that an agent can still work with it.
func TestMasksShow(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	conn := g.dial(nil)
	var email, id, phone string
	var birth, profile *string
	if err := conn.QueryRow(within(t), "SELECT email, national_id, phone, birth_date::text, profile::text FROM customers WHERE id = 7").Scan(&email, &id, &phone, &birth, &profile); err != nil {
		t.Fatal(err)
	}
	raw := truth[string](t, "SELECT national_id FROM customers WHERE id = 7")
	if !strings.HasSuffix(email, "@***.invalid") || !strings.HasSuffix(id, raw[len(raw)-4:]) || strings.Contains(id, raw) || birth != nil || profile != nil {
		t.Errorf("got %q %q %q %v %v", email, id, phone, birth, profile)
	}
	// A predicate sees the mask too: a guess cannot be confirmed.
	for _, sql := range []string{
		"SELECT count(*) FROM customers WHERE national_id = '" + raw + "'",
		"SELECT count(*) FROM customers WHERE national_id LIKE '" + raw[:6] + "%'",
		"SELECT count(*) FROM customers a JOIN (VALUES ('" + raw + "')) v(x) ON v.x = a.national_id",
		"SELECT count(*) FROM customers WHERE birth_date > '1900-01-01'",
	} {
		var n int
		if err := conn.QueryRow(within(t), sql).Scan(&n); err != nil || n != 0 {
			t.Errorf("%s: %d %v", sql, n, err)
		}
	}
}

// TestMaskedReturning reads through what a write gives back: a write sees the table as it is, so what is
// masked can be asked of it in no form.
func TestMaskedReturning(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: readWrite})
	conn := g.dial(nil)
	for _, sql := range []string{
		"UPDATE customers SET tier = tier WHERE id = 11 RETURNING *",
		"UPDATE customers SET tier = tier WHERE id = 12 RETURNING id, email, upper(phone), national_id AS n",
		"UPDATE customers c SET tier = c.tier FROM orders o WHERE o.customer_id = c.id AND c.id = 13 RETURNING c.email, c",
		"WITH w AS (UPDATE customers SET tier = tier WHERE id = 14 RETURNING email, phone) SELECT email || phone FROM w",
		"UPDATE customers SET tier = left(email, 5) WHERE id = 15",
		"UPDATE customers SET name = c.phone FROM customers c WHERE c.id = customers.id AND customers.id = 15",
		"UPDATE customers SET tier = 'gold' WHERE email LIKE 'ada%'",
		"DELETE FROM customers WHERE national_id = 'x' RETURNING id",
		"INSERT INTO customers (id, name, email, national_id, created_at) VALUES (1, 'a', 'b', 'c', now()) ON CONFLICT (id) DO UPDATE SET name = customers.email RETURNING name",
	} {
		res := conn.PgConn().ExecParams(within(t), sql, nil, nil, nil, nil).Read()
		if res.Err == nil {
			noRaw(t, sql, fmt.Sprintf("%s", res.Rows))
			continue
		}
		code, state, word := "policy_denied", "42501", "masked column"
		if strings.HasPrefix(sql, "WITH") {
			code, state, word = "not_understood", "0A000", "not built yet"
		}
		e := judgedRefusal(t, res.Err, code, state, word)
		noRaw(t, sql, e.Message+e.Detail+e.Hint)
	}
	if tag := exec1(t, conn, "UPDATE customers SET tier = tier WHERE id = 11 RETURNING id, name, tier"); tag != "UPDATE 1" {
		t.Error(tag)
	}
	if n := truth[int](t, "SELECT count(*)::int FROM customers WHERE name LIKE '+1%' OR tier NOT IN ('standard', 'silver', 'gold')"); n != 0 {
		t.Errorf("%d masked values were copied to where they can be read", n)
	}
}

// hiding are policies under which one column cannot be read at all.
const hiding = `
@id("read") permit (principal, action == Action::"read", resource);
@id("no-notes") forbid (principal, action == Action::"read", resource == Column::"shop/public.customers.name");
`

// TestHiddenColumn reads a table with a column that the policies hide.
func TestHiddenColumn(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: hiding})
	conn := g.dial(nil)
	_, err := conn.Exec(within(t), "SELECT name FROM customers")
	judgedRefusal(t, err, "policy_denied", "42501", "name")
	_, err = conn.Exec(within(t), "SELECT id FROM customers WHERE name = 'Ada Adler'")
	judgedRefusal(t, err, "policy_denied", "42501")
	rows, err := conn.Query(within(t), "SELECT * FROM customers WHERE id = 1")
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
	}
	for _, f := range rows.FieldDescriptions() {
		if f.Name == "name" {
			t.Error("the hidden column shows in *")
		}
	}
	if rows.Err() != nil || len(rows.FieldDescriptions()) != 8 {
		t.Errorf("%v %v", rows.FieldDescriptions(), rows.Err())
	}
}

// TestErrorsShowNoValue makes the database complain about values that are masked.
func TestErrorsShowNoValue(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: readWrite})
	conn := g.dial(nil)
	for sql, state := range map[string]string{
		"SELECT email::int FROM customers WHERE id = 5":           "22P02",
		"SELECT (phone || 'x')::date FROM customers WHERE id = 5": "22007",
		"SELECT 1 / (id - id) FROM customers WHERE id = 5":        "22012",
		"INSERT INTO customers (id, name, email, national_id, created_at) SELECT 20001, 'x', 'ada.brook' || id, 'n', now() FROM products": "23505",
		"UPDATE customers SET id = 6 WHERE id = 5": "23505",
		"DELETE FROM customers WHERE id = 5":       "",
		"INSERT INTO orders (id, customer_id, product_id, quantity, total, status, created_at) VALUES (900001, 77777777, 1, 1, 1, 'x', now())": "23503",
	} {
		_, err := conn.Exec(within(t), sql, pgx.QueryExecModeSimpleProtocol)
		var e *pgconn.PgError
		if !asPg(err, &e) || state != "" && e.Code != state {
			t.Errorf("%s: got %v, want the state %s", sql, err, state)
			continue
		}
		text := e.Message + e.Detail + e.Hint + e.Where + e.InternalQuery
		noRaw(t, sql, text)
		if strings.Contains(text, "77777777") || strings.Contains(text, "ada.brook") || e.Where != "" {
			t.Errorf("%s: the error shows a value: %+v", sql, e)
		}
	}
	if tag := exec1(t, conn, "SELECT 1"); tag != "SELECT 1" {
		t.Error("the session did not go on")
	}
}
