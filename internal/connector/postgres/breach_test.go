package postgres

import (
	"context"
	"encoding/binary"
	"testing"

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
	plan := &guard.Plan{Guarded: map[uint32][]int16{oid: {2}}, GuardedRows: []uint32{row, rows}}
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
		body := []byte{0, byte(len(d.Fields))}
		for _, f := range d.Fields {
			body = append(append(body, f.Name...), 0)
			body = binary.BigEndian.AppendUint32(body, f.TableOID)
			body = binary.BigEndian.AppendUint16(body, f.TableAttributeNumber)
			body = binary.BigEndian.AppendUint32(body, f.DataTypeOID)
			body = append(body, make([]byte, 8)...)
		}
		if why := misfit(body, plan); (why == "") != fits {
			t.Errorf("%s: %q", text, why)
		}
	}
}
