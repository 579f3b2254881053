package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// groundSetup makes the tables of a round anew; witness values are in customers.email and what came from it.
const groundSetup = `
	DROP SCHEMA IF EXISTS ground CASCADE; CREATE SCHEMA ground; GRANT ALL ON SCHEMA ground TO gw; SET search_path = ground;
	CREATE TABLE customers (id int PRIMARY KEY, gone text, email text, note text);
	CREATE TABLE plain (id int PRIMARY KEY, gone text, email text, note text);
	CREATE TABLE notes (id int, body text);
	INSERT INTO customers SELECT g, 'g', 'witness' || g, 'n' FROM generate_series(1, 20) g;
	INSERT INTO plain SELECT g, 'g', 'p', 'n' FROM generate_series(1, 20) g;
	CREATE VIEW shown AS SELECT id, note AS text FROM customers;
	CREATE VIEW over AS SELECT id, text FROM shown;
	GRANT ALL ON customers, plain, notes, shown, over TO gw;`

// moves are changes by another session that put witness values where the gateway's catalog has none.
var moves = map[string]string{
	"columns swap names":      `ALTER TABLE customers RENAME email TO x; ALTER TABLE customers RENAME note TO email; ALTER TABLE customers RENAME x TO note`,
	"columns change places":   `ALTER TABLE customers DROP COLUMN gone; ALTER TABLE customers ADD COLUMN gone text`,
	"tables swap names":       `ALTER TABLE customers RENAME TO spare; ALTER TABLE plain RENAME TO customers; ALTER TABLE spare RENAME TO plain`,
	"a table takes a place":   `DROP TABLE plain; ALTER TABLE customers RENAME TO plain; CREATE TABLE customers (id int, gone text, email text, note text); GRANT ALL ON customers TO gw`,
	"a view is replaced":      `CREATE OR REPLACE VIEW shown AS SELECT id, email AS text FROM customers`,
	"a view below is made":    `DROP VIEW over, shown; CREATE VIEW shown AS SELECT id, email AS text FROM customers; CREATE VIEW over AS SELECT id, text FROM shown; GRANT ALL ON shown, over TO gw`,
	"a table becomes a view":  `DROP TABLE plain; CREATE VIEW plain AS SELECT id, email AS gone, gone AS email, note FROM customers; GRANT ALL ON plain TO gw`,
	"a column changes type":   `DROP VIEW over, shown; ALTER TABLE customers DROP COLUMN gone; ALTER TABLE customers ALTER COLUMN note TYPE varchar(40); ALTER TABLE customers ADD COLUMN gone text`,
	"a column takes the name": `ALTER TABLE customers DROP COLUMN note CASCADE; ALTER TABLE customers RENAME email TO note; ALTER TABLE customers ADD COLUMN email text; CREATE VIEW shown AS SELECT 1 AS id, 'x'::text AS text; CREATE VIEW over AS SELECT * FROM shown; GRANT ALL ON shown, over TO gw`,
}

// groundTexts are what clients ask all the time. What they write is read again.
var groundTexts = []string{
	"SELECT * FROM customers ORDER BY id",
	"SELECT gone, note FROM customers WHERE id < 5",
	"SELECT max(note), max(gone), string_agg(c::text, ',') FROM customers c",
	"SELECT * FROM plain",
	"SELECT note || gone || email FROM plain WHERE id = 3",
	"SELECT p.note, c.note FROM plain p JOIN customers c USING (id)",
	"SELECT * FROM shown",
	"SELECT text FROM over WHERE id = 2",
	"SELECT body FROM notes WHERE body LIKE '%witness%'",
	"INSERT INTO notes SELECT id, note || gone FROM customers RETURNING body",
	"UPDATE notes SET body = p.note || p.gone || p.email FROM plain p WHERE p.id = notes.id",
	"UPDATE customers SET id = id WHERE id = 1 RETURNING id, note, gone",
	"DELETE FROM notes WHERE body IN (SELECT text FROM shown) RETURNING body",
}

// expected are the states that a client may meet while tables change under it.
var expected = []string{"40001", "42P01", "42703", "0A000", "42P10", "40P01", "42501", "42883", "42804", "42702"}

// TestTheCatalogCannotMoveUnderAPlan: while another session renames and swaps columns and tables, replaces views and
// makes tables anew, no client sees a witness value, in any form of the protocol and at any isolation.
func TestTheCatalogCannotMoveUnderAPlan(t *testing.T) {
	f := evasionField(t)
	ctx := context.Background()
	field, err := pgx.Connect(ctx, testServer.AdminURL("field"))
	if err != nil {
		t.Fatal(err)
	}
	defer field.Close(ctx)
	change := func(t *testing.T, sql string) {
		t.Helper()
		for {
			var pe *pgconn.PgError
			_, err := field.Exec(ctx, sql)
			switch {
			case err == nil:
				return
			case !errors.As(err, &pe) || pe.Code != "40P01": // of a deadlock with the clients the server takes either
				t.Fatalf("%s: %v", sql, err)
			}
		}
	}
	change(t, groundSetup)
	f.serveWith("url: " + testServer.URL("gw", "", f.name) + "\npassword: {env: GW_PASSWORD}\nsearch_path: [ground]\nlabels: {ground.customers: {email: pii}}\nallow_privileged_role: true")
	for name, move := range moves {
		t.Run(name, func(t *testing.T) {
			change(t, groundSetup)
			f.server.targets["shop"].catalogs.Reload(ctx)
			g := &groundLoad{t: t, url: f.url("app")}
			defer g.stop()
			for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec, pgx.QueryExecModeCacheStatement, pgx.QueryExecModeDescribeExec} {
				for _, isolation := range []pgx.TxIsoLevel{"", pgx.ReadCommitted, pgx.RepeatableRead, pgx.Serializable} {
					g.client(mode, isolation)
				}
			}
			g.until(400) // plans are made and statements prepared
			change(t, move)
			g.until(g.answered.Load() + 400)
		})
	}
}

// groundLoad are clients that ask all the time.
type groundLoad struct {
	t        *testing.T
	url      string
	ended    atomic.Bool
	answered atomic.Int64
	running  sync.WaitGroup
	leaks    sync.Map
}

func (g *groundLoad) until(n int64) {
	g.t.Helper()
	for begun := time.Now(); g.answered.Load() < n; time.Sleep(time.Millisecond) {
		if time.Since(begun) > 15*time.Second {
			g.t.Log(activity(g.t))
			g.t.Fatalf("%d statements were answered within a minute, of %d", g.answered.Load(), n)
		}
	}
}

func (g *groundLoad) stop() {
	g.ended.Store(true)
	done := make(chan struct{})
	go func() { g.running.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		g.t.Errorf("clients do not end:\n%s", activity(g.t))
	}
	g.leaks.Range(func(what, _ any) bool { g.t.Errorf("LEAK %s", what); return true })
}

func (g *groundLoad) client(mode pgx.QueryExecMode, isolation pgx.TxIsoLevel) {
	g.running.Add(1)
	go func() {
		defer g.running.Done()
		ctx := context.Background()
		config, err := pgx.ParseConfig(g.url)
		if err != nil {
			g.t.Error(err)
			return
		}
		config.DefaultQueryExecMode = mode
		var conn *pgx.Conn
		for i := 0; !g.ended.Load(); i++ {
			if conn == nil || conn.IsClosed() {
				if conn, err = pgx.ConnectConfig(ctx, config); err != nil {
					g.t.Error(err)
					return
				}
			}
			text := groundTexts[i%len(groundTexts)]
			out, err := g.ask(ctx, conn, isolation, text)
			if strings.Contains(out, "witness") {
				g.leaks.Store(fmt.Sprintf("%v %s: %s: %.200s", mode, isolation, text, out), true)
			}
			var pe *pgconn.PgError
			switch {
			case err == nil:
				g.answered.Add(1)
			case errors.As(err, &pe):
				if !strings.Contains(strings.Join(expected, " "), pe.Code) {
					g.t.Errorf("%v %s: %s: %v", mode, isolation, text, err)
				}
				if strings.Contains(err.Error(), "witness") {
					g.leaks.Store(fmt.Sprintf("%v %s: %s: %v", mode, isolation, text, err), true)
				}
			case !conn.IsClosed():
				// pgx found that the result is not what it had prepared for.
			}
		}
		if conn != nil {
			conn.Close(ctx)
		}
	}()
}

// ask runs a statement, in a transaction of that isolation where one is given, and gives all that came back.
func (g *groundLoad) ask(ctx context.Context, conn *pgx.Conn, isolation pgx.TxIsoLevel, text string) (string, error) {
	var run interface {
		Query(context.Context, string, ...any) (pgx.Rows, error)
	} = conn
	if isolation != "" {
		tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: isolation})
		if err != nil {
			return "", err
		}
		defer tx.Commit(ctx)
		run = tx
		if rows, err := tx.Query(ctx, "SELECT 1"); err == nil { // its snapshot is older than the statement
			rows.Close()
		}
	}
	rows, err := run.Query(ctx, text)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var b strings.Builder
	for rows.Next() {
		for _, v := range rows.RawValues() {
			b.Write(v)
			b.WriteByte('|')
		}
	}
	return b.String(), rows.Err()
}

// activity is what the database's sessions do.
func activity(t *testing.T) string {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, testServer.AdminURL("field"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `SELECT pid || ' ' || state || ' ' || coalesce(wait_event, '') || ' ' || pg_blocking_pids(pid)::text || ' ' || (now() - query_start)::text || ' ' || left(query, 100) FROM pg_stat_activity WHERE datname = 'field'`)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}
