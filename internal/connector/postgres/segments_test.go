package postgres

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// TestTextsOfSeveralStatements: a text that begins and ends transactions means what it means to the database.
func TestTextsOfSeveralStatements(t *testing.T) {
	f := evasionField(t)
	f.serve()
	ctx := context.Background()
	conn, err := pgconn.Connect(ctx, f.url("app"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, c := range []struct{ text, tags, state string }{
		{"BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM customers; COMMIT", "BEGIN SELECT 1 COMMIT", ""},
		{"SELECT 1; COMMIT; SELECT count(*) FROM customers; SELECT 2", "SELECT 1 COMMIT SELECT 1 SELECT 1", ""},
		{"BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM customers; SHOW transaction_isolation; ROLLBACK", "BEGIN SET SELECT 1 SHOW ROLLBACK", ""},
		{"BEGIN; SAVEPOINT s; SELECT FROM products WHERE id = 1 FOR UPDATE; ROLLBACK TO s; SELECT count(*) FROM customers; COMMIT; SELECT count(*) FROM customers", "BEGIN SAVEPOINT SELECT 1 ROLLBACK SELECT 1 COMMIT SELECT 1", ""},
		{"BEGIN; SELECT count(*) FROM customers; SELECT 1/0; COMMIT; SELECT count(*) FROM customers", "BEGIN SELECT 1", "22012"},
		{"ROLLBACK; SELECT count(*) FROM customers WHERE id/0 = 1; SELECT count(*) FROM customers", "ROLLBACK", "22012"},
	} {
		results, err := conn.Exec(ctx, c.text).ReadAll()
		var tags []string
		for _, r := range results {
			if r.Err == nil {
				tags = append(tags, r.CommandTag.String())
			}
		}
		state := ""
		if pe, ok := err.(*pgconn.PgError); ok {
			state = pe.Code
		} else if err != nil {
			t.Fatalf("%s: %v", c.text, err)
		}
		if got := strings.Join(tags, " "); got != c.tags || state != c.state {
			t.Errorf("%s: %s, error %q (%v), want %s, error %q", c.text, got, state, err, c.tags, c.state)
		}
	}
}
