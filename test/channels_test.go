package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"gatehouse/internal/record"
)

// TestChannels: LISTEN and NOTIFY by permit; what others send comes while nothing is asked, and is recorded.
func TestChannels(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: readWrite + `
@id("listen") permit (principal, action == Action::"listen", resource == Channel::"shop/jobs");
@id("notify") permit (principal, action == Action::"notify", resource in Connection::"shop");
`})
	conn := g.dial(nil)
	_, err := conn.Exec(within(t), "LISTEN secrets")
	judgedRefusal(t, err, "policy_denied", "42501", `listen channel shop/secrets`)
	if _, err := conn.Exec(within(t), "LISTEN jobs"); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		payload := fmt.Sprintf("job %d", i)
		admin(t, "SELECT pg_notify('secrets', 'hidden'), pg_notify('jobs', $1)", payload)
		n, err := conn.WaitForNotification(within(t))
		if err != nil || n.Channel != "jobs" || n.Payload != payload {
			t.Fatal(n, err)
		}
		var id int
		if err := conn.QueryRow(within(t), "SELECT id FROM customers WHERE id = $1", i+1).Scan(&id); err != nil || id != i+1 {
			t.Fatal(id, err)
		}
	}
	// Its own come with the number that it knows itself by, between rows of others too.
	if _, err := conn.Exec(within(t), "NOTIFY jobs, 'mine'"); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.WaitForNotification(within(t)); err != nil || n.Payload != "mine" || n.PID != conn.PgConn().PID() {
		t.Error(n, err)
	}
	if _, err := conn.Exec(within(t), "DROP TABLE customers"); err == nil {
		t.Error("a refusal was expected")
	}
	if _, err := conn.Exec(within(t), "SELECT pg_notify('jobs', email) FROM customers WHERE id <= 3"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		n, err := conn.WaitForNotification(within(t))
		if err != nil {
			t.Fatal(err)
		}
		noRaw(t, "a notification", n.Payload)
	}
	if _, err := conn.Exec(within(t), "UNLISTEN *"); err != nil {
		t.Error(err)
	}
	// One that does not listen gets none, and answers come in order where they are many.
	w := g.wire()
	w.steps("CommandComplete NOTIFY, ReadyForQuery I", &pgproto3.Query{String: "NOTIFY jobs, 'x'"})
	w.steps("ErrorResponse 42501, ReadyForQuery I", &pgproto3.Query{String: "SELECT 1; LISTEN secrets"})
	w.steps("RowDescription, DataRow, CommandComplete SELECT 1, CommandComplete LISTEN, ReadyForQuery I", &pgproto3.Query{String: "SELECT id FROM customers WHERE id = 1; LISTEN jobs"})
	admin(t, "NOTIFY jobs, 'late'")
	if n := w.expect("NotificationResponse").(*pgproto3.NotificationResponse); n.Payload != "late" {
		t.Errorf("%+v", n)
	}
	w.steps("CommandComplete BEGIN, ReadyForQuery T", &pgproto3.Query{String: "BEGIN"})
	w.steps("ErrorResponse 42501, ReadyForQuery E", &pgproto3.Query{String: "DROP TABLE customers"})
	w.steps("CommandComplete ROLLBACK, ReadyForQuery I", &pgproto3.Query{String: "ROLLBACK"})
	list, err := record.List(t.Context(), g.recordings(), record.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	shown := ""
	for _, s := range list {
		shown += g.ok("grace", nil, "sessions", "replay", s.ID)
	}
	contains(t, shown, "notification on jobs: job 4", "notification on jobs: late")
	if strings.Contains(shown, "hidden") {
		t.Error("a notification of another channel is in the recording")
	}
}

// TestLocksAndUpkeep: locks and the upkeep of tables by the permits that they stand for.
func TestLocksAndUpkeep(t *testing.T) {
	t.Parallel()
	g := start(t, options{policies: readWrite + `
@id("ddl") permit (principal, action == Action::"ddl", resource == Table::"shop/public.products");
`})
	name := table(t, "id int")
	r := g.psql("BEGIN; LOCK TABLE customers IN ACCESS SHARE MODE; LOCK TABLE " + name + " IN SHARE MODE; COMMIT;\nSELECT pg_try_advisory_lock(7), pg_advisory_unlock(7);\nVACUUM products;\nANALYZE products(id);\nVACUUM customers;\nVACUUM;\nCHECKPOINT;\nDO 'BEGIN END';\nREINDEX INDEX products_pkey;\n")
	for _, want := range []string{"LOCK TABLE\nLOCK TABLE\nCOMMIT\n", " t                    | t\n", "VACUUM\nANALYZE\n"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is missing in %s", want, r.out)
		}
	}
	contains(t, r.err, "ddl table shop/public.customers", "Name the tables", "CHECKPOINT", "one by one", "REINDEX TABLE")
}
