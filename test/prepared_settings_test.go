package test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// TestSettingsOfPrepared: an approver is shown the settings that the literals of a statement were read under. One
// that was prepared under others is not run.
func TestSettingsOfPrepared(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	name := table(t, "id int PRIMARY KEY, d date, n int")
	admin(t, "INSERT INTO "+name+" VALUES (1, '2026-01-02', 0), (2, '2026-02-01', 0)")
	update := "UPDATE " + name + " SET n = n + 1 WHERE d = '01/02/2026'"
	conn := g.asking(func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol })
	exec1(t, conn.Conn, "SET datestyle TO 'ISO, MDY'")
	exec1(t, conn.Conn, "PREPARE p AS "+update)
	if _, err := conn.PgConn().Prepare(t.Context(), "s", update, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.PgConn().Prepare(t.Context(), "free", "UPDATE "+name+" SET n = 7 WHERE d = $1", nil); err != nil {
		t.Fatal(err)
	}
	exec1(t, conn.Conn, "BEGIN; SET LOCAL datestyle TO 'ISO, DMY'")
	_, err := conn.Exec(t.Context(), "EXECUTE p")
	refused(t, err, "not_understood", "0A000", "cached plan must not change")
	exec1(t, conn.Conn, "ROLLBACK")
	execute := func(ctx context.Context, name string, values ...[]byte) (pgconn.CommandTag, error) {
		r := conn.PgConn().ExecPrepared(ctx, name, values, nil, nil).Read()
		return r.CommandTag, r.Err
	}
	exec1(t, conn.Conn, "SET datestyle TO 'ISO, DMY'")
	_, err = execute(t.Context(), "s")
	refused(t, err, "not_understood", "0A000", "cached plan must not change")
	for _, one := range []string{"free", "again"} {
		if one == "again" {
			if _, err := conn.PgConn().Prepare(t.Context(), one, update, nil); err != nil {
				t.Fatal(err)
			}
		}
		h := conn.hold(within(t), func(ctx context.Context) (pgconn.CommandTag, error) {
			if one == "free" {
				return execute(ctx, one, []byte("01/02/2026"))
			}
			return execute(ctx, one)
		})
		g.ok("ada", []string{"DateStyle = ISO, DMY"}, "approvals", "show", h.id)
		g.ok("ada", []string{"is approved"}, "approvals", "approve", h.id)
		if err := h.wait(); err != nil {
			t.Fatal(one, err)
		}
	}
	// What a text's own SET changes, no approver could be shown.
	for _, text := range []string{
		"SET datestyle TO 'ISO, MDY'; UPDATE " + name + " SET n = 9 WHERE d = '05/02/1999'",
		"PREPARE later AS " + update + "; SET datestyle TO 'ISO, MDY'; EXECUTE later",
	} {
		_, err := conn.PgConn().Exec(within(t), text).ReadAll()
		refused(t, err, "not_understood", "0A000", "changes a date style or a time zone in front of a statement that writes")
	}
	for i, change := range []string{"RESET ALL", "SELECT set_config('DateStyle', 'ISO, MDY', false)", "EXECUTE style", "DISCARD ALL"} {
		if i == 0 {
			exec1(t, conn.Conn, "PREPARE style AS SELECT set_config('datestyle', 'ISO, MDY', false)")
		}
		exec1(t, conn.Conn, "SET datestyle TO 'ISO, DMY'")
		if change == "DISCARD ALL" { // it takes the names along, as the database does
			exec1(t, conn.Conn, change)
			_, err := conn.Exec(t.Context(), "EXECUTE p")
			refused(t, err, "not_understood", "26000")
			continue
		}
		exec1(t, conn.Conn, fmt.Sprintf("PREPARE q%d AS %s", i, update))
		exec1(t, conn.Conn, change)
		_, err := conn.Exec(within(t), fmt.Sprintf("EXECUTE q%d", i))
		refused(t, err, "not_understood", "0A000", "cached plan must not change")
	}
	if n := truth[string](t, "SELECT string_agg(n::text, ' ' ORDER BY id) FROM "+name); n != "0 8" {
		t.Errorf("the rows have %s", n)
	}
}
