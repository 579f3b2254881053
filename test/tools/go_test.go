package tools

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/lib/pq"
)

// lines gathers the steps of a Go client as the programs of other languages print them.
type lines struct{ strings.Builder }

func (l *lines) say(step string, value any) {
	b, err := json.Marshal(map[string]any{"step": step, "value": value})
	if err != nil {
		b = fmt.Appendf(nil, `{"step": %q, "value": %q}`, step, fmt.Sprint(value))
	}
	l.Write(append(b, '\n'))
}

// value is the parameters of a row of drivers, in the order of its columns.
func value() []any {
	return []any{1, "12345.67", "it's \"ünï\" \\ ☃", true, time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC), time.Date(2024, 2, 29, 12, 34, 56, 789e6, time.UTC),
		"00000000-0000-4000-8000-000000000001", `{"a": [1, null]}`, `{"b": "x"}`, []byte{0, 255, 222}}
}

const insertValue = "INSERT INTO drivers (id, n, t, b, d, ts, u, j, jb, by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"

// TestPgx: pgx in each of its modes.
func TestPgx(t *testing.T) {
	b := bedOf(t, "")
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			b.compareLines(t, func(r road) string { return usePgx(t, r, mode) })
		})
	}
	b.healthy(t)
}

func usePgx(t *testing.T, r road, mode pgx.QueryExecMode) string {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	config, err := pgx.ParseConfig(r.url())
	if err != nil {
		t.Fatal(err)
	}
	config.DefaultQueryExecMode = mode
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		t.Fatalf("%s: %v", r.name, err)
	}
	defer conn.Close(context.Background())
	out := &lines{}
	rows := func(step, query string, args ...any) {
		rs, err := conn.Query(ctx, query, args...)
		var got [][]any
		if err == nil {
			got, err = pgx.CollectRows(rs, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
		}
		out.say(step, []any{got, state(err)})
	}
	exec := func(step, query string, args ...any) {
		tag, err := conn.Exec(ctx, query, args...)
		out.say(step, []any{tag.String(), state(err)})
	}
	rows("one", "SELECT $1::int + 1, $2::text", 41, "x")
	exec("insert", insertValue, value()...)
	exec("nulls", "INSERT INTO drivers (id, t, a, at, f, big, iv) VALUES ($1, $2, $3, $4, $5, $6, $7)", 2, nil, []int{1, 2}, []string{"x", "b c"}, 1.5, int64(1)<<40, 76*time.Hour)
	rows("select", "SELECT * FROM drivers ORDER BY id")
	rows("any", "SELECT id, name, price FROM products WHERE id = ANY($1) ORDER BY id", []int{1, 2, 3})
	for i := range 3 {
		rows("again", "SELECT name FROM products WHERE id = $1", i+1)
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		inner := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "INSERT INTO drivers (id) VALUES ($1)", 1)
			return err
		})
		out.say("savepoint", state(inner))
		if _, err := tx.Exec(ctx, "UPDATE drivers SET t = $1 WHERE id = $2", "changed", 2); err != nil {
			return err
		}
		return errors.New("roll back")
	})
	out.say("rolled back", err.Error())
	rows("unchanged", "SELECT t FROM drivers WHERE id = $1", 2)
	exec("division", "SELECT 1/$1::int", 0)
	exec("no table", "SELECT * FROM nowhere WHERE id = $1", 1)
	exec("bad value", "SELECT id FROM products WHERE name = $1 AND 1/(id-id) > 0", "x")

	batch := &pgx.Batch{}
	for i := range 50 {
		batch.Queue("INSERT INTO drivers (id, t) VALUES ($1, $2)", 100+i, fmt.Sprint(i))
	}
	batch.Queue("SELECT count(*), sum(id) FROM drivers WHERE id >= $1", 100)
	results := conn.SendBatch(ctx, batch)
	for range 50 {
		if _, err := results.Exec(); err != nil {
			out.say("batch", state(err))
			break
		}
	}
	var count, sum int64
	err = results.QueryRow().Scan(&count, &sum)
	out.say("batch", []any{count, sum, state(err), state(results.Close())})
	failing := &pgx.Batch{}
	failing.Queue("INSERT INTO drivers (id) VALUES ($1)", 200)
	failing.Queue("INSERT INTO drivers (id) VALUES ($1)", 1)
	out.say("failing batch", state(conn.SendBatch(ctx, failing).Close()))
	rows("nothing of it", "SELECT id FROM drivers WHERE id = $1", 200)
	n, err := conn.CopyFrom(ctx, pgx.Identifier{"drivers"}, []string{"id", "t", "big"}, pgx.CopyFromSlice(100, func(i int) ([]any, error) { return []any{300 + i, fmt.Sprint(i), int64(i)}, nil }))
	out.say("copy", []any{n, state(err)})
	exec("delete", "DELETE FROM drivers")
	rows("labelled", "SELECT id, email, phone FROM customers WHERE id < $1 ORDER BY id", 4)
	return out.String()
}

// state is an error as a client tells errors apart: by SQLSTATE.
func state(err error) string {
	var pgx *pgconn.PgError
	var lib *pq.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &pgx):
		return pgx.Code
	case errors.As(err, &lib):
		return string(lib.Code)
	}
	return reflect.TypeOf(err).String()
}

// TestLibPQ: lib/pq under database/sql.
func TestLibPQ(t *testing.T) {
	b := bedOf(t, "")
	for _, binary := range []string{"no", "yes"} {
		t.Run("binary_parameters="+binary, func(t *testing.T) {
			b.compareLines(t, func(r road) string { return useLibPQ(t, r, binary) })
		})
	}
	b.healthy(t)
}

func useLibPQ(t *testing.T, r road, binary string) string {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	db, err := sql.Open("postgres", r.url()+"&binary_parameters="+binary)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	out := &lines{}
	rows := func(step, query string, args ...any) {
		rs, err := db.QueryContext(ctx, query, args...)
		if err != nil {
			out.say(step, state(err))
			return
		}
		defer rs.Close()
		names, _ := rs.Columns()
		var got []any
		for rs.Next() {
			row, to := make([]any, len(names)), make([]any, len(names))
			for i := range row {
				to[i] = &row[i]
			}
			if err := rs.Scan(to...); err != nil {
				t.Error(err)
			}
			for i, v := range row {
				if b, ok := v.([]byte); ok {
					row[i] = string(b)
				}
			}
			got = append(got, row)
		}
		out.say(step, []any{names, got, state(rs.Err())})
	}
	exec := func(step, query string, args ...any) {
		res, err := db.ExecContext(ctx, query, args...)
		n := int64(-1)
		if err == nil {
			n, _ = res.RowsAffected()
		}
		out.say(step, []any{n, state(err)})
	}
	rows("one", "SELECT $1::int + 1, $2::text", 41, "x")
	exec("insert", insertValue, value()...)
	exec("nulls", "INSERT INTO drivers (id, t, a, at) VALUES ($1, $2, $3, $4)", 2, nil, pq.Array([]int64{1, 2}), pq.Array([]string{"x", "b c"}))
	rows("select", "SELECT * FROM drivers ORDER BY id")
	rows("any", "SELECT id, name FROM products WHERE id = ANY($1) ORDER BY id", pq.Array([]int64{1, 2}))
	stmt, err := db.PrepareContext(ctx, "SELECT name FROM products WHERE id = $1")
	if err != nil {
		t.Fatalf("%s: %v", r.name, err)
	}
	for i := range 3 {
		var name string
		err := stmt.QueryRowContext(ctx, i+1).Scan(&name)
		out.say("prepared", []any{name, state(err)})
	}
	stmt.Close()
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	if err != nil {
		t.Fatalf("%s: %v", r.name, err)
	}
	for _, text := range []string{"SAVEPOINT a", "INSERT INTO drivers (id) VALUES (1)", "SELECT 1", "ROLLBACK TO a", "UPDATE drivers SET t = 'changed' WHERE id = 2"} {
		_, err := tx.ExecContext(ctx, text)
		out.say("transaction", []any{text, state(err)})
	}
	copying, err := tx.PrepareContext(ctx, `COPY "drivers" ("id", "t") FROM STDIN`)
	out.say("copy", state(err))
	if err == nil {
		for i := range 100 {
			if _, err := copying.ExecContext(ctx, 300+i, fmt.Sprint(i)); err != nil {
				out.say("copy", state(err))
			}
		}
		_, err = copying.ExecContext(ctx)
		out.say("copied", []any{state(err), state(copying.Close())})
	}
	out.say("commit", state(tx.Commit()))
	rows("committed", "SELECT count(*), sum(id), max(t) FROM drivers")
	exec("division", "SELECT 1/0")
	exec("multi", "SELECT 1; SELECT 2")
	exec("delete", "DELETE FROM drivers")
	rows("labelled", "SELECT id, email, phone FROM customers WHERE id < $1 ORDER BY id", 4)
	return out.String()
}
