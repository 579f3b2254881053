package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const everything = `
@id("read") permit (principal, action in Action::"readonly", resource);
@id("write") permit (principal, action in Action::"write", resource);
`

// TestMaskedCitext: a citext column shows its mask, and what is compared with it compares as citext does.
func TestMaskedCitext(t *testing.T) {
	gatewayRole(t)
	database(t, "masked_citext", `
		REVOKE CREATE ON SCHEMA public FROM PUBLIC;
		CREATE EXTENSION citext;
		CREATE TABLE people (id int, email citext, ssn citext, key citext, plain citext);
		INSERT INTO people VALUES (1, 'Ada@X.example', '123-45-6789', 'witness', 'Open');
		GRANT ALL ON ALL TABLES IN SCHEMA public TO rows_gw`).Close(context.Background())
	conn := dialPGX(t, before(t, "masked_citext", everything+`@id("t") @mask("token") permit (principal, action == Action::"read", resource == Column::"shop/public.people.key");`,
		"\nlabels:\n  public.people: {email: pii.email, ssn: pii.national_id, key: secret}\n"), pgx.QueryExecModeSimpleProtocol)
	for text, want := range map[string]string{
		"SELECT email FROM people": "A***@***.invalid",
		"SELECT ssn FROM people":   "***6789",
		"SELECT key FROM people":   "***",
		"SELECT plain FROM people WHERE plain = 'OPEN' AND email = 'a***@***.INVALID'": "Open",
		"SELECT count(*)::text FROM people WHERE email = 'ada@x.example'":              "0",
	} {
		if got, err := lines(conn, text); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
	rows, err := conn.Query(context.Background(), "SELECT email, plain FROM people")
	if err != nil {
		t.Fatal(err)
	}
	if f := rows.FieldDescriptions(); f[0].DataTypeOID != f[1].DataTypeOID {
		t.Errorf("the types are %d and %d", f[0].DataTypeOID, f[1].DataTypeOID)
	}
	rows.Close()
}

// TestCommandTags: what the gateway answers by another statement ends as the client's own would.
func TestCommandTags(t *testing.T) {
	gatewayRole(t)
	database(t, "command_tags", "CREATE TABLE a (id int)").Close(context.Background())
	address := before(t, "command_tags", everything, "")
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec, pgx.QueryExecModeDescribeExec} {
		conn := dialPGX(t, address, mode)
		for text, want := range map[string]string{
			"SHOW search_path": "SHOW", "SHOW datestyle": "SHOW", "SET search_path = public": "SET", "EXPLAIN SELECT 1": "EXPLAIN",
			"SELECT set_config('search_path', 'public', false)": "SELECT 1",
		} {
			if tag, err := conn.Exec(context.Background(), text); err != nil || tag.String() != want {
				t.Errorf("%s in mode %s: %q, %v", text, mode, tag, err)
			}
		}
	}
}

// TestRestyledBatch: in one batch nothing is written behind a change of the date style.
func TestRestyledBatch(t *testing.T) {
	gatewayRole(t)
	database(t, "restyled", "CREATE TABLE a (id int, d date); GRANT ALL ON a TO rows_gw").Close(context.Background())
	conn := dialPGX(t, before(t, "restyled", everything, ""), pgx.QueryExecModeExec)
	ctx := context.Background()
	send := func(texts ...string) error {
		b := &pgconn.Batch{}
		for _, text := range texts {
			b.ExecParams(text, nil, nil, nil, nil)
		}
		_, err := conn.PgConn().ExecBatch(ctx, b).ReadAll()
		return err
	}
	insert := "INSERT INTO a VALUES (1, '01/02/2026')"
	var pe *pgconn.PgError
	if err := send("SET datestyle = 'ISO, DMY'", insert); !errors.As(err, &pe) || pe.Hint == "" || !strings.Contains(pe.Message, "date style") {
		t.Errorf("a write behind SET: %v", err)
	}
	if got, err := lines(conn, "SHOW datestyle"); err != nil || got != "ISO, MDY" {
		t.Errorf("the SET of a refused batch has taken effect: %s, %v", got, err)
	}
	for _, texts := range [][]string{{"SET datestyle = 'ISO, DMY'"}, {insert}, {insert, "SET datestyle = 'ISO, MDY'"}, {"SET datestyle = 'ISO, MDY'", "SELECT * FROM a"}} {
		if err := send(texts...); err != nil {
			t.Errorf("%s: %v", texts, err)
		}
	}
}
