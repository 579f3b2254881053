package postgres

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	guard "gatehouse/internal/sqlguard/postgres"
)

// TestTheWireIsCheckedASecondTime: what describes a raw labelled column, or whole rows of a table that has one, ends
// the session, whatever the plan was.
func TestTheWireIsCheckedASecondTime(t *testing.T) {
	ctx := context.Background()
	admin := database(t, "wire", `CREATE TABLE customers (id int, email text)`)
	var oid, row, rows uint32
	if err := admin.QueryRow(ctx, `SELECT c.oid, c.reltype, t.typarray FROM pg_class c JOIN pg_type t ON t.oid = c.reltype WHERE relname = 'customers'`).Scan(&oid, &row, &rows); err != nil {
		t.Fatal(err)
	}
	plan := &guard.Plan{Statements: []guard.Statement{{Verb: guard.Select}}, Guarded: map[uint32][]int16{oid: {2}}, GuardedRows: []uint32{row, rows}}
	for text, fits := range map[string]bool{
		"SELECT id FROM customers":                          true,
		"SELECT email || '' FROM customers":                 true, // no origin to tell by: that is the guard's part
		"SELECT email FROM customers":                       false,
		"SELECT c.e FROM (SELECT email e FROM customers) c": false,
		"SELECT customers FROM customers":                   false,
		"SELECT array_agg(c) FROM customers c":              false,
		"SELECT r FROM (SELECT 1, 2) r":                     true,
	} {
		d, err := admin.Prepare(ctx, "", text)
		if err != nil {
			t.Fatal(err)
		}
		body := rowDescription(d.Fields)
		if why := misfit(body, plan, 0); (why == "") != fits {
			t.Errorf("%s: %q", text, why)
		}
	}
}

func rowDescription(fields []pgconn.FieldDescription) []byte {
	body := []byte{0, byte(len(fields))}
	for _, f := range fields {
		body = append(append(body, f.Name...), 0)
		body = binary.BigEndian.AppendUint32(body, f.TableOID)
		body = binary.BigEndian.AppendUint16(body, f.TableAttributeNumber)
		body = binary.BigEndian.AppendUint32(body, f.DataTypeOID)
		body = append(body, make([]byte, 8)...)
	}
	return body
}

// TestOtherColumnsThanExpected: what describes other columns than those of the statement ends the session.
func TestOtherColumnsThanExpected(t *testing.T) {
	ctx := context.Background()
	admin := database(t, "outputs", `CREATE DOMAIN short AS text; CREATE TABLE a (id int, name text, d short, v varchar(5)); CREATE ROLE outputs_reader LOGIN PASSWORD 'p'; GRANT ALL ON a TO outputs_reader`)
	t.Setenv("OUTPUTS", "p")
	o := options(t, "url: "+testServer.URL("outputs_reader", "", "outputs")+"\npassword: {env: OUTPUTS}")
	catalog, err := newCatalogsOf(t, o).Reload(ctx)
	if err != nil {
		t.Fatal(err)
	}
	g, err := guard.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ understood, described, why string }{
		{"SELECT * FROM a", "SELECT * FROM a", ""},
		{"SELECT * FROM a", "SELECT id, name, d FROM a", "3 columns"},
		{"SELECT id, name FROM a", "SELECT id, name, 1 FROM a", "3 columns"},
		{"SELECT id, name FROM a", "SELECT name, id FROM a", "2 columns"},
		{"SELECT id AS x, count(*) FROM a GROUP BY id", "SELECT id AS x, count(*) FROM a GROUP BY id", ""},
		{"SELECT id AS x FROM a", "SELECT id FROM a", "1 columns"},
		{"SELECT id FROM a", "SELECT id::text FROM a", "1 columns"},
		{"SELECT d, v FROM a", "SELECT d, v FROM a", ""},
		{"SELECT id FROM a UNION SELECT 2.5", "SELECT id FROM a UNION SELECT 2.5", ""},
		{"SELECT id FROM a UNION SELECT 2.5", "SELECT id, 1 FROM a", "2 columns"},
		{"VALUES (1, 2)", "VALUES (1, 2)", ""},
		{"SELECT * FROM a JOIN a b USING (id)", "SELECT * FROM a JOIN a b USING (id)", ""},
		{"SELECT * FROM a LEFT JOIN LATERAL (SELECT a.name AS n) l ON true", "SELECT * FROM a LEFT JOIN LATERAL (SELECT a.name AS n) l ON true", ""},
		{"SELECT * FROM generate_series(1, 2)", "SELECT * FROM generate_series(1, 2)", ""},
		{"UPDATE a SET id = 1 RETURNING *", "UPDATE a SET id = 1 RETURNING *", ""},
		{"UPDATE a SET id = 1 RETURNING id, name AS n", "UPDATE a SET id = 1 RETURNING id, d AS n", ""},
		{"UPDATE a SET id = 1 RETURNING id, name AS n", "UPDATE a SET id = 1 RETURNING id", "1 columns"},
		{"UPDATE a SET id = 1", "SELECT 1", "1 columns"},
		{"PREPARE p AS SELECT id FROM a; EXECUTE p", "SELECT name FROM a", "1 columns"},
	} {
		plan, err := g.Analyze(guard.Environment{Catalog: catalog, Sight: guard.Everything{}}, c.understood)
		if err != nil {
			t.Fatalf("%s: %v", c.understood, err)
		}
		d, err := admin.Prepare(ctx, "", c.described)
		if err != nil {
			t.Fatal(err)
		}
		if why := misfit(rowDescription(d.Fields), plan, len(plan.Statements)-1); (why == "") != (c.why == "") || !strings.HasPrefix(why, c.why) {
			t.Errorf("%s, described as %s: %q", c.understood, c.described, why)
		}
	}
}
