package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// TestBatchesWithTransactions: a batch in which transactions begin and end means what it means to the database, with and
// without the gateway.
func TestBatchesWithTransactions(t *testing.T) {
	f := evasionField(t)
	ctx := context.Background()
	run := func(url string, texts []string) (string, string) {
		t.Helper()
		conn, err := pgconn.Connect(ctx, url)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		var out []string
		state := ""
		for range 2 { // the second time everything is known
			b := &pgconn.Batch{}
			for _, text := range texts {
				b.ExecParams(text, nil, nil, nil, nil)
			}
			results, err := conn.ExecBatch(ctx, b).ReadAll()
			for _, r := range results {
				if r.Err == nil {
					out = append(out, r.CommandTag.String())
					for _, row := range r.Rows {
						out = append(out, string(row[0]))
					}
				}
			}
			var pe *pgconn.PgError
			if errors.As(err, &pe) {
				state += " " + pe.Code
			} else if err != nil {
				t.Fatalf("%s: %v", texts, err)
			}
			out = append(out, string(conn.TxStatus()))
			if conn.TxStatus() != 'I' {
				if _, err := conn.Exec(ctx, "ROLLBACK").ReadAll(); err != nil {
					t.Fatal(err)
				}
			}
		}
		return strings.Join(out, " "), state
	}
	batches := [][]string{
		{"SELECT 1", "COMMIT", "SELECT count(*) FROM products"},
		{"BEGIN", "SELECT count(*) FROM products", "COMMIT", "SELECT count(*) FROM products", "SELECT 2"},
		{"BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM products", "SHOW transaction_isolation", "ROLLBACK", "SELECT count(*) FROM products"},
		{"BEGIN", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SELECT count(*) FROM products", "SHOW transaction_isolation", "COMMIT"},
		{"BEGIN", "INSERT INTO scratch VALUES ('kept') RETURNING t", "COMMIT", "SELECT 1/0", "SELECT count(*) FROM products"},
		{"BEGIN", "INSERT INTO scratch VALUES ('lost') RETURNING t", "SELECT 1/0", "COMMIT", "SELECT count(*) FROM products"},
		{"BEGIN", "SELECT 1/0", "ROLLBACK", "SELECT count(*) FROM products"},
		{"BEGIN", "SAVEPOINT s", "SELECT count(*) FROM products", "ROLLBACK TO s", "SELECT count(*) FROM products", "END WORK", "/* a /* b */ */ -- c\n abort", "SELECT 3"},
		{"COMMIT", "ROLLBACK", "END"},
		{"BEGIN", "COMMIT AND CHAIN", "SELECT count(*) FROM products"},
		{"SELECT t FROM scratch ORDER BY t", "COMMIT", "SELECT id FROM products"},
	}
	var want [][2]string
	for _, texts := range batches {
		out, state := run(f.url("app"), texts)
		want = append(want, [2]string{out, state})
	}
	f.reset()
	f.serve()
	for i, texts := range batches {
		if out, state := run(f.url("app"), texts); out != want[i][0] || state != want[i][1] {
			t.Errorf("%s\nthrough the gateway %s, error%s\ndirect              %s, error%s", texts, out, state, want[i][0], want[i][1])
		}
	}
}

// TestGroundBehindTheEndOfATransaction: what stands in a batch behind a COMMIT is looked at when that is over.
func TestGroundBehindTheEndOfATransaction(t *testing.T) {
	f := evasionField(t)
	ctx := context.Background()
	admin, err := pgx.Connect(ctx, testServer.AdminURL("field"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	setup := `DROP SCHEMA IF EXISTS kin CASCADE; CREATE SCHEMA kin; GRANT ALL ON SCHEMA kin TO gw; SET search_path = kin;
		CREATE TABLE customers (id int, email text, note text); INSERT INTO customers VALUES (1, 'witness', 'n'); CREATE TABLE held (id int);
		GRANT ALL ON ALL TABLES IN SCHEMA kin TO gw`
	if _, err := admin.Exec(ctx, setup); err != nil {
		t.Fatal(err)
	}
	f.serveWith("url: " + testServer.URL("gw", "", f.name) + "\npassword: {env: GW_PASSWORD}\nsearch_path: [kin]\nlabels: {kin.customers: {email: pii}}\nallow_privileged_role: true")
	for _, end := range []string{"COMMIT", "ROLLBACK"} {
		if _, err := admin.Exec(ctx, setup); err != nil {
			t.Fatal(err)
		}
		if _, err := f.server.targets["shop"].catalogs.Reload(ctx); err != nil {
			t.Fatal(err)
		}
		conn, err := pgconn.Connect(ctx, f.url("app"))
		if err != nil {
			t.Fatal(err)
		}
		// The batch's own lock on the table keeps the other session waiting until the end of the transaction; then that
		// swaps the names before the batch goes on, because the batch waits for a lock of its own.
		other, err := pgx.Connect(ctx, testServer.AdminURL("field"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Exec(ctx, "BEGIN; LOCK TABLE kin.held IN ACCESS EXCLUSIVE MODE"); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		var rows string
		go func() {
			b := &pgconn.Batch{}
			for _, text := range []string{"BEGIN", "SELECT note FROM customers", end, "SELECT id FROM held", "SELECT note FROM customers"} {
				b.ExecParams(text, nil, nil, nil, nil)
			}
			results, err := conn.ExecBatch(ctx, b).ReadAll()
			for _, r := range results {
				for _, row := range r.Rows {
					rows += string(row[0]) + " "
				}
			}
			done <- err
		}()
		for waiting := 0; waiting == 0; {
			if err := admin.QueryRow(ctx, "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'kin.held'::regclass").Scan(&waiting); err != nil {
				t.Fatal(err)
			}
		}
		swap := "SET lock_timeout = '5s'; ALTER TABLE kin.customers RENAME email TO x; ALTER TABLE kin.customers RENAME note TO email; ALTER TABLE kin.customers RENAME x TO note; COMMIT"
		if _, err := other.Exec(ctx, swap); err != nil {
			t.Fatalf("behind %s: %v", end, err)
		}
		err = <-done
		var pe *pgconn.PgError
		if err != nil && (!errors.As(err, &pe) || pe.Code != "40001") {
			t.Errorf("behind %s: %v", end, err)
		}
		if strings.Contains(rows, "witness") {
			t.Errorf("LEAK behind %s: %s", end, rows)
		}
		other.Close(ctx)
		conn.Close(ctx)
	}
}
